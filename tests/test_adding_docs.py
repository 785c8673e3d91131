"""docs/adding.md, done step by step in a copy of the checkout; docs/cluster.md names only what is there."""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_set import write_tiny_set

from transfer.backbone.contract import read_backbone
from transfer.backbone.load import write_random
from transfer.suite.__main__ import _parser as suite_parser

ROOT = Path(__file__).resolve().parent.parent
ADDING, CLUSTER = ROOT / "docs" / "adding.md", ROOT / "docs" / "cluster.md"
COPIED = ("transfer", "pretrain", "configs", "tests", "pyproject.toml")
TINY = ("resize_size=32", "image_size=32")


def steps(kind: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", ADDING.read_text(encoding="utf-8"), re.M | re.S)


def new_files() -> dict[str, str]:
    text = ADDING.read_text(encoding="utf-8")
    return dict(re.findall(r"^`([\w./]+)`:\n\n```(?:python|yaml)\n(.*?)^```$", text, re.M | re.S))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with everything that the page adds."""
    root = tmp_path_factory.mktemp("checkout")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    for name, text in new_files().items():
        assert not (root / name).exists(), f"{name}: the page says that it is new"
        (root / name).write_text(text, encoding="utf-8")
    for number, patch in enumerate(steps("diff"), 1):
        applied = subprocess.run(
            ["git", "apply", "-"],
            input=patch,
            cwd=root,
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(root.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert applied.returncode == 0, f"diff {number} of docs/adding.md no longer fits:\n{applied.stderr}"
    write_tiny_set(root / "data" / "mini" / "classify")
    write_random(root / "F", "resnet18", seed=1)
    return root


def python(checkout: Path, *words: str) -> str:
    """What ``python words`` prints, run in the copy."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": f"{checkout}:{checkout}/tests", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def commands(beginning: str) -> list[list[str]]:
    """The page's commands that begin so, word by word, without ``python``."""
    lines = [line for block in steps("sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"python -m {beginning}")]


def test_the_page_has_its_steps() -> None:
    assert set(new_files()) == {
        "transfer/classify/centroid.py",
        "configs/classify/centroid_mini.yaml",
        "configs/classify/linear_mini_sgd.yaml",
    }
    assert len(steps("diff")) == 7
    assert len(commands("transfer")) == 3
    assert len(commands("pytest")) == 2


@pytest.mark.parametrize("task", ["centroid", "linear"])
def test_the_new_task_and_the_new_protocol_give_rows(checkout: Path, task: str) -> None:
    (command,) = commands(f"transfer {task}")
    python(checkout, *command, *TINY)
    with (checkout / command[command.index("--out") + 1] / "results.csv").open(newline="") as file:
        rows = [(row["metric"], row["status"], float(row["value"])) for row in csv.DictReader(file)]
    assert rows == [("top1", "ok", 100.0), ("top5", "ok", 100.0)]  # bright and dark images


def test_without_the_steps_there_is_no_such_task() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "transfer", "centroid", "x"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"invalid choice: 'centroid'" in done.stderr


def test_the_new_layout_is_told_and_read(checkout: Path) -> None:
    code = (
        "from pathlib import Path; from layouts import FIXTURES\n"
        "Path('runs').mkdir(exist_ok=True); FIXTURES['twinned'].write(Path('runs'), 'resnet18')"
    )
    python(checkout, "-c", code)
    (command,) = commands("transfer import")
    python(checkout, *command)
    info = read_backbone(checkout / "runs/twinned.safetensors").info
    assert (info.method, info.arch, info.branch, info.pretrain_epochs) == (
        "twinned",
        "resnet18",
        "target",
        "100",
    )


@pytest.mark.slow
def test_the_tests_of_layouts_cover_the_new_one(checkout: Path) -> None:
    said = python(checkout, *commands("pytest")[0], "-p", "no:cacheprovider")
    assert int(re.findall(r"(\d+) passed", said)[-1]) >= 2


@pytest.mark.parametrize("page", [ADDING, CLUSTER])
def test_every_file_that_the_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:configs|tools|transfer|tests|results|docs)/[\w./-]+\.\w+", text))
    named |= {f"docs/{name}" for name in re.findall(r"\]\((\w+\.md)\)", text)}
    made = set(new_files())
    assert len(named) > 4
    assert [name for name in sorted(named - made) if not (ROOT / name).is_file()] == []


def test_every_option_that_the_page_of_clusters_names_is_there() -> None:
    ours = {option for action in suite_parser()._actions for option in action.option_strings}
    text = CLUSTER.read_text(encoding="utf-8")
    theirs = {  # of sbatch, python -m transfer, eval_all.sh and tests/compare_executors.py
        *("--gpus-per-node", "--nodes", "--cpus-per-task", "--mem", "--wrap", "--requeue"),
        *("--machine-rank", "--dist-url", "--suite", "--folder"),
    }
    named = set(re.findall(r"--[a-z][a-z-]*", text))
    assert named - ours - theirs == set()
    assert theirs <= named
    run = {"--jobs", "--executor", "--partition", "--account", "--time", "--array-parallelism", "--slurm"}
    assert run | {"--num-gpus", "--num-machines", "--status", "--retry-failed"} <= named
