"""Exceptions by name, and the table of names in the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from transfer.evaluate import load_config
from transfer.findings import NAMES, Finding, refuse, sort_out
from transfer.identity import identity
from transfer.tasks import TASKS

DOCUMENT = Path(__file__).parent.parent / "docs" / "config_lint.md"


def test_an_exception_that_no_finding_needs_is_refused() -> None:
    finding = Finding("channel-order", "INPUT.FORMAT", "BGR", "RGB")
    with pytest.raises(ValueError, match=r"^here: allow pixel-std has no effect"):
        sort_out([finding], ["channel-order", "pixel-std"], "here")
    with pytest.raises(ValueError, match="found none; remove it"):
        refuse([], ["channel-order"], "here")
    assert sort_out([finding], ["channel-order:INPUT.FORMAT"], "here").allowed == [finding]
    with pytest.raises(ValueError, match="channel-order:MODEL has no effect"):
        sort_out([finding], ["channel-order:MODEL"], "here")


def test_a_protocol_without_exceptions_has_the_identity_it_had(tmp_path: Path) -> None:
    path = tmp_path / "mot.yaml"
    path.write_text("dataset: d\nprotocol: p\ntracker: t.py\ntrain: {root: a}\ntest: {root: b}\n")
    assert "allow" not in identity(load_config(TASKS["mot"], path))
    with_one = identity(load_config(TASKS["mot"], path, ["allow=[norm-eval]"]))
    assert with_one["allow"] == ["norm-eval"]


@pytest.mark.parametrize(("name", "framework"), [("config.yaml", "detectron2"), ("config.py", "mmcv")])
def test_without_its_framework_the_tool_says_what_to_run(name: str, framework: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("")
    code = (
        "import sys; sys.modules.update(detectron2=None, mmcv=None)\n"
        "from transfer.lint import main; "
        f"sys.exit(main(['absent.pkl', {str(tmp_path / name)!r}, '--trust-config']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=DOCUMENT.parent.parent
    )
    assert done.returncode == 2
    assert f"{name}: only {framework} can read it" in done.stderr
    assert "run tools/setup.sh" in done.stderr


def test_the_documents_table_is_the_programs() -> None:
    text = DOCUMENT.read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (error|warning) \|", text, flags=re.MULTILINE)
    assert rows == [(name, entry.level) for name, entry in NAMES.items()]
