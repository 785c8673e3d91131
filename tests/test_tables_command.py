"""tools/make_tables.py as a reviewer runs it: the committed files agree, torch is not imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMAND = ROOT / "tools" / "make_tables.py"
HEAVY = "torch, torchvision, detectron2, mmcv, omegaconf, scipy, sklearn, safetensors, timm, rich"
WATCHED = f"""
import runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(name)
refused = set("{HEAVY}".split(", ")) if {{refuse}} else set()
sys.meta_path.insert(0, Refuse())
{{before}}
sys.argv = {[str(COMMAND), "--check"]!r}
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    status = end.code
found = [name for name in "{HEAVY}".split(", ") if name in sys.modules]
print(status, found)
"""


def make_tables(*words: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, str(COMMAND), *map(str, words)],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def run_watched(before: str, refuse: bool) -> str:
    code = WATCHED.format(before=before, refuse=refuse)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines()[-1]


def test_committed_files_are_what_the_rows_say_and_checking_them_imports_no_torch() -> None:
    assert run_watched("import transfer.report", refuse=False) == "0 []"


def test_the_check_works_with_the_packages_of_the_report_alone() -> None:
    assert run_watched("import transfer.report", refuse=True) == "0 []"


@pytest.mark.parametrize(("refuse", "said"), [(False, "0 ['torch'"), (True, "ModuleNotFoundError: torch")])
def test_the_watch_for_torch_can_fail(refuse: bool, said: str) -> None:
    assert run_watched("import torch", refuse).startswith(said)


def test_help_explains_with_examples() -> None:
    done = make_tables("--help")
    assert done.returncode == 0
    for line in (
        "tools/make_tables.py --check",
        "--measured runs/mini --out",
        "--compare old.csv",
        "--collect",
    ):
        assert line in done.stdout
