"""Which configurations are executed, what YAML is let through, and what may stand in a batch script."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from transfer import trust
from transfer.plain_yaml import HARMLESS_TAGS, compose, load_yaml
from transfer.suite.words import (
    as_folder,
    as_word,
    check_inside,
    check_name,
    check_path,
    check_slurm_word,
    one_line,
    read_plain,
)
from transfer.trust import check_options, check_program, is_own, is_trusting, own_trees, trusting

CHECKOUT = Path(__file__).resolve().parent.parent
RECIPES = CHECKOUT / "configs" / "track" / "mmtrack"
RUN = "import pathlib\npathlib.Path({marker!r}).touch()\nmodel = dict(type='X')\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is one of our own for the test."""
    folder = tmp_path / "configs"
    folder.mkdir()
    monkeypatch.setattr(trust, "own_trees", lambda: (folder.resolve(),))
    return folder


def test_our_own_and_the_frameworks_configurations_are_executed() -> None:
    assert own_trees()[0] == CHECKOUT / "configs"
    for path in sorted(RECIPES.glob("*.py")):
        check_program(path)


def test_a_program_elsewhere_is_refused_until_somebody_vouches_for_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.py"
    path.write_text(RUN.format(marker=str(tmp_path / "ran")))
    with pytest.raises(ValueError, match=rf"^{path}: .*give --trust-config if you would run it$"):
        check_program(path)
    with trusting(True):
        check_program(path)
        with trusting(False), pytest.raises(ValueError, match="--trust-config"):
            check_program(path)
    assert not is_trusting()
    assert not (tmp_path / "ran").exists()


@pytest.mark.mmtrack
@pytest.mark.filterwarnings("ignore")
def test_what_is_refused_would_have_run(tmp_path: Path) -> None:
    """The control: mmcv and detectron2 do execute what the check keeps from them."""
    from mmcv import Config

    (tmp_path / "recipe.py").write_text(RUN.format(marker=str(tmp_path / "mmcv")))
    Config.fromfile(str(tmp_path / "recipe.py"))
    assert (tmp_path / "mmcv").exists()
    yaml.unsafe_load(f"!!python/object/apply:os.mkdir ['{tmp_path}/yaml']")
    assert (tmp_path / "yaml").exists()


@pytest.mark.parametrize(
    "text", ["_base_ = '{base}'", "_base_ = ['{base}']", "a = 1\nif a:\n    _base_ = '{base}'"]
)
def test_a_base_outside_is_refused(text: str, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("a = 1\n")
    (tree / "recipe.py").write_text(text.replace("{base}", "../outside.py") + "\n")
    with pytest.raises(ValueError, match=rf"recipe\.py: {tmp_path}/outside\.py: "):
        check_program(tree / "recipe.py")
    (tree / "outside.py").write_text("a = 1\n")
    (tree / "recipe.py").write_text(text.replace("{base}", "outside.py") + "\n")
    check_program(tree / "recipe.py")


def test_a_lazy_configuration_is_followed_through_its_relative_imports(tree: Path, tmp_path: Path) -> None:
    (tree / "deep").mkdir()
    (tmp_path / "outside.py").write_text("model = {}\n")
    for place, dots in (("lazy.py", ".."), ("deep/lazy.py", "...")):
        (tree / place).write_text(f"from {dots}outside import model\n")
        with pytest.raises(ValueError, match=r"outside\.py: a configuration that is executed"):
            check_program(tree / place)
    (tree / "deep/lazy.py").write_text("from ..common import model\n")
    (tree / "common.py").write_text("model = {}\n")
    check_program(tree / "deep/lazy.py")


def test_a_base_that_is_computed_is_refused(tree: Path) -> None:
    (tree / "recipe.py").write_text("import os\n_base_ = os.environ['BASE']\n")
    with pytest.raises(ValueError, match="_base_ is computed"):
        check_program(tree / "recipe.py")


def test_options_that_would_be_unpickled_are_refused() -> None:
    options = {"data": {"train": [{"type": "CocoDataset", "proposal_file": "p.PKL"}]}, "b": "a.json"}
    with pytest.raises(ValueError, match=r"options: 'p\.PKL' would be read as a pickle"):
        check_options(options)
    with trusting(True):
        check_options(options)
    check_options({"data": {"train": [{"ann_file": "a.json"}, 1, None]}})


def test_links_are_followed_both_ways(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("a = 1\n")
    (tree / "link.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises(ValueError, match=r"where a link leads to .*outside\.py"):
        check_program(tree / "link.py")
    (tree / "folder").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="where a link leads"):
        check_program(tree / "folder" / "outside.py")
    (tree / "own.py").write_text("a = 1\n")
    (tmp_path / "to_own.py").symlink_to(tree / "own.py")
    check_program(tmp_path / "to_own.py")
    assert is_own(tree / "folder" / "configs" / "own.py")


def test_a_folder_whose_name_begins_alike_is_not_ours(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "configs_of_others").mkdir()
    (tmp_path / "configs_of_others" / "a.py").write_text("a = 1\n")
    for path in (tmp_path / "configs_of_others/a.py", tree / "../configs_of_others/a.py"):
        with pytest.raises(ValueError, match="--trust-config"):
            check_program(path)


def test_yaml_of_every_configuration_is_plain() -> None:
    paths = sorted((CHECKOUT / "configs").rglob("*.yaml"))
    assert len(paths) > 100
    for path in paths:
        compose(path, HARMLESS_TAGS)


def test_yaml_is_read_as_omegaconf_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/fast")
    path = tmp_path / "a.yaml"
    path.write_text(
        "a: &a [1, 1e-3, 2020-01-01, yes]\nb: *a\nc: ${oc.env:SCRATCH}/x\nd: ${oc.env:TMPDIR,none}\n"
    )
    found = load_yaml(path)
    assert found.a == found.b == [1, 0.001, "2020-01-01", True]
    assert found.c == "/fast/x"
    path.write_text("")
    assert load_yaml(path) == {}


def test_aliases_count_as_often_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: &a [" + "1, " * 990 + "1]\nb: [" + "*a, " * 50 + "*a]\n")
    compose(path)
    path.write_text("a: &a [" + "1, " * 990 + "1]\nb: [" + "*a, " * 150 + "*a]\n")
    with pytest.raises(ValueError, match="aliases that make more"):
        compose(path)


def test_submitit_would_write_the_injected_line() -> None:
    """The control of check_slurm_word: unchecked, the second line of a value is a command of the script."""
    from submitit.slurm.slurm import _make_sbatch_string

    script = _make_sbatch_string("true", "/tmp/x", partition="gpu\ntouch /tmp/injected #")
    assert "touch /tmp/injected #'" in script.splitlines()
    with pytest.raises(ValueError, match="slurm parameter partition"):
        check_slurm_word("partition", "gpu\ntouch /tmp/injected #", named=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[
            ("qos", "high"),
            ("constraint", "[a100|h100]&ib*2"),
            ("gres", "gpu:a100:2"),
            ("mem_per_gpu", "40G"),
        ],
        *[("exclude", "n[1-3,7]"), ("mail_user", "a.b@c.de"), ("nice", "100"), ("reservation", "user+x=1")],
    ],
)
def test_what_clusters_use_is_let_through(key: str, value: str) -> None:
    check_slurm_word(key, value)


def test_partition_and_account_are_named_by_their_options_alone() -> None:
    check_slurm_word("partition", "gpu,cpu", named=True)
    with pytest.raises(ValueError, match="decided otherwise; --partition"):
        check_slurm_word("partition", "gpu")


def test_words_that_are_fine_stay_as_they_are() -> None:
    for name in ("mini", "table-1", "a.b_c", "2024"):
        assert check_name(name) == name
    for path in ("a b", "-x", "é\u0301", "אב", "a'\"$(x)`;|*"):
        check_path(path, "p")
    assert (as_word("a b"), as_word("-x"), as_word("./-x")) == ("a b", "./-x", "./-x")
    assert as_folder("moco-v2 (a/b)") == "moco-v2__a_b_"
    assert one_line("a\n b\x1b[2J\u202e") == "a b\\x1b[2J\\u202e"


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        Path.mkdir,
        lambda path: path.symlink_to("/etc/hostname"),
        lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    ],
    ids=["pipe", "folder", "link", "socket"],
)
def test_only_plain_files_are_read(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "state")
    with pytest.raises(ValueError, match=r"state: expected a plain file, found a (link or|folder, pipe)"):
        read_plain(tmp_path / "state")
    (tmp_path / "plain").write_text("a\r\nb")
    assert read_plain(tmp_path / "plain") == "a\r\nb"


def test_a_folder_that_a_link_leads_out_of_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    check_inside(tmp_path / "out/a/b", tmp_path / "out")
    (tmp_path / "out/a").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="a link leads out"):
        check_inside(tmp_path / "out/a/b", tmp_path / "out")
    (tmp_path / "scratch").symlink_to(tmp_path / "out")  # the run folder itself may be a link
    check_inside(tmp_path / "scratch/c", tmp_path / "scratch")


ODD = ["a b", "-rf", "$(touch ran)", "`touch ran`", "x;touch ran", "*", "é\u0301", 'it\'s "x"', "a\nb", ""]


def test_eval_all_passes_odd_words_on_as_they_are(tmp_path: Path) -> None:
    """The script itself, with a Python that writes down its words in place of the environment's."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/eval_all.sh").write_bytes((CHECKOUT / "tools/eval_all.sh").read_bytes())
    (tmp_path / "tools/setup.sh").write_text("")
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/bash\nprintf "%s\\0" "$@"\n')
    python.chmod(0o755)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in filter(None, ODD):  # words that name files are made absolute
        (elsewhere / name).touch()
    for folder in (tmp_path, elsewhere):
        done = subprocess.run(
            ["bash", str(tmp_path / "tools/eval_all.sh"), "--suite", "a b.yaml", *ODD],
            cwd=folder,
            capture_output=True,
            check=True,
        )
        words = done.stdout.decode().split("\0")[:-1]
        expected = [str(elsewhere / word) if word and folder == elsewhere else word for word in ODD]
        assert words == ["-m", "transfer.suite", "a b.yaml", *expected]
    assert not list(tmp_path.rglob("ran"))


def test_a_word_that_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "transfer.suite", b"\xff\xfe.yaml", b"--out", b"\xff", b"--dry-run"],
        cwd=CHECKOUT,
        capture_output=True,
    )
    assert done.returncode == 2
    [line] = done.stderr.decode().splitlines()
    assert line.startswith("suite: ")
