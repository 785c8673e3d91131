"""Repeat a run from its record and compare the rows: ``python -m transfer rerun RUN``."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfer import provenance
from transfer.backbone.contract import read_backbone
from transfer.data.checksum import data_sha256
from transfer.evaluate import load_config
from transfer.identity import identity
from transfer.inputs import data_paths
from transfer.keys import KEY_VARIABLE, code_of
from transfer.report.rows import Row, read_rows
from transfer.run_record import folder_of, read_record
from transfer.show_run import row_name
from transfer.suite.doctor import print_table
from transfer.suite.words import as_word, one_line
from transfer.tasks import TASKS

# How many threads add up a sum decides its last digits; so do a library's kernels.
RESTORED = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE"),
    *("ATEN_CPU_CAPABILITY", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE"),
)
ALLOW = "--allow-changes"


@dataclass(frozen=True)
class Repeat:
    """A run to repeat.

    Attributes:
        run: its folder, or its results.csv.
        out: the new run folder; None for RUN-rerun.
        backbone: the backbone's file where it lies elsewhere now; None for the recorded path.
        overrides: ``key=value``, for data that lie elsewhere now.
        allow_changes: go on although data or configuration are not what they were.
        trust_config: for a configuration outside of this project's; see ``transfer.trust``.
    """

    run: Path
    out: Path | None = None
    backbone: Path | None = None
    overrides: tuple[str, ...] = ()
    allow_changes: bool = False
    trust_config: bool = False


def rerun(asked: Repeat) -> int:
    """Repeat a run in a new folder and print its rows beside the old ones.

    Returns:
        0 when all rows are equal, 1 when they are not, 2 when the repeated run could not be started.

    Raises:
        FileNotFoundError, ValueError, OmegaConfBaseException: a run without record or rows, a backbone or
            data that are not what they were, a folder that exists; nothing was written.
    """
    folder = folder_of(asked.run)
    record = read_record(folder)
    old = _rows(folder)
    out = asked.out if asked.out is not None else _beside(asked.run)
    if out.exists():
        raise ValueError(f"{out}: is there already; choose another folder with --out")
    backbone = _backbone(record, asked.backbone)
    config_path = folder / "config.yaml"
    processes = _processes(record)
    for warning in check(record, config_path, asked):
        print(f"transfer rerun: warning: {one_line(warning)}", file=sys.stderr)
    words = [record["task"]["name"], as_word(config_path), "--backbone", as_word(backbone)]
    words += ["--out", as_word(out), *processes, *asked.overrides]
    words += ["--trust-config"] if asked.trust_config else []
    print(f"python -m transfer {shlex.join(words)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "transfer", *words],
        env=_environment(record),
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode not in (0, 1):
        print(f"transfer rerun: the repeated run ended with status {done.returncode}", file=sys.stderr)
        return 2
    lines, equal = compare(old, _rows(out))
    print_table(f"{folder}: recorded, repeated, difference", lines)
    print("all rows are equal" if equal else "rows differ")
    return 0 if equal else 1


def _beside(run: Path) -> Path:
    folder = folder_of(run)
    folder = folder if folder.name not in ("", "..") else folder.resolve()  # ".", which has no name
    return folder.with_name(f"{folder.name}-rerun")


def _rows(folder: Path) -> list[Row]:
    path = folder / "results.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no rows to compare with; the run was killed, or is still running")
    return read_rows(path)


def _backbone(record: dict[str, Any], given: Path | None) -> Path:
    """The backbone's file, which must be the very one."""
    recorded = record["backbone"]
    path = given if given is not None else Path(recorded["path"])
    if given is None and not path.is_file():
        path = Path(record["command"]["folder"]) / path  # relative to where the run was started
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such backbone file; give the file's new place with --backbone")
    found = read_backbone(path).sha256
    if found != recorded["sha256"]:
        raise ValueError(
            f"{path}: expected the run's backbone, sha256 {recorded['sha256'][:12]}, found {found[:12]}; "
            "give the right file with --backbone"
        )
    return path


def check(record: dict[str, Any], config_path: Path, asked: Repeat) -> Iterator[str]:
    """What is not as it was, one sentence each.

    Raises:
        ValueError: data or configuration differ, and ``allow_changes`` is not given.
    """
    task = record["task"]
    name = task["name"]
    config = load_config(TASKS[name], config_path, asked.overrides)
    refused = []
    if provenance.config_sha256(identity(config)) != task["config_sha256"]:
        refused.append(
            f"{config_path}: the configuration, or a file that it names, is not the run's any more (sha256 "
            f"{task['config_sha256'][:12]}... then)"
        )
    paths = data_paths(name, config)
    found, recorded = data_sha256(paths), record["data"]["sha256"]
    absent = [str(path) for path in paths if not path.exists()]
    if absent and absent != record["data"].get("absent"):
        folder = record["command"]["folder"]
        refused.append(
            f"{absent[0]}: no such data; the run was started in {folder}, with MEC_TRANSFER_DATA "
            f"{record['environment'].get('MEC_TRANSFER_DATA', 'not set')}"
        )
    elif found != recorded:
        refused.append(
            f"the data are not the run's: sha256 {recorded[:12] or 'not known'} then, {found[:12]} now, of "
            f"{', '.join(map(str, paths))}"
        )
    if refused and not asked.allow_changes:
        raise ValueError(f"{'; '.join(refused)}. To run on what is there now: {ALLOW}")
    yield from refused
    yield from differences(record, name)


def differences(record: dict[str, Any], name: str) -> Iterator[str]:
    """What else can move a number: code, packages, machine."""
    code, now = record["code"], provenance.ask_git("rev-parse", "HEAD").strip()
    if code["sha256"] != code_of(name):
        then, today = _commit(code["commit"], code["dirty"]), _commit(now, bool(provenance.git_diff()))
        yield f"the code of {name} is not the run's: commit {then} then, {today} now"
    elif code["commit"] != now:
        commits = f"{_commit(code['commit'])} then, {_commit(now)} now"
        yield f"commit {commits}; the code of {name} is the same"
    before, installed = record["packages"], provenance.versions()
    for package in sorted(before.keys() | installed.keys()):
        if before.get(package) != installed.get(package):
            yield f"{package} {before.get(package, 'absent')} then, {installed.get(package, 'absent')} now"
    machine = provenance.machine()
    for part in ("cpu", "cores", "gpus"):
        if record["hardware"].get(part) != machine[part]:
            yield f"{part}: {record['hardware'].get(part)} then, {machine[part]} now"


def _commit(commit: str, dirty: bool = False) -> str:
    return (commit[:12] or "unknown") + ("-dirty" if dirty else "")


def _processes(record: dict[str, Any]) -> list[str]:
    processes = record["processes"]
    if processes["machines"] > 1:
        raise ValueError(
            f"the run took {processes['machines']} machines; start its command on each of them: "
            f"{record['command']['line']}"
        )
    return [] if processes["number"] == 1 else ["--num-gpus", str(processes["number"])]


def _environment(record: dict[str, Any]) -> dict[str, str]:
    """This process's environment, with the variables by which the run computed as it did."""
    kept = {name: value for name, value in os.environ.items() if name not in (*RESTORED, KEY_VARIABLE)}
    return kept | {name: value for name, value in record["environment"].items() if name in RESTORED}


def compare(old: Sequence[Row], new: Sequence[Row]) -> tuple[list[tuple[str, str]], bool]:
    """Each row's name with both values and their difference; and whether nothing differs."""
    befores, afters = ({(row_name(row), row.backend): row for row in rows} for rows in (old, new))
    lines, equal = [], len(old) == len(new) == len(befores) == len(afters)
    for key in dict.fromkeys([*befores, *afters]):
        before, after = befores.get(key), afters.get(key)
        verdict = _verdict(before, after)
        equal = equal and verdict == "equal"
        lines.append((key[0], f"{_shown(before)}  {_shown(after)}  {verdict}"))
    return lines, equal


def _verdict(before: Row | None, after: Row | None) -> str:
    if before is None or after is None:
        return "only in one"
    if before.value is None or after.value is None:
        return "equal" if (before.value, before.status) == (after.value, after.status) else "differs"
    if (before.value, before.n) == (after.value, after.n):
        return "equal"
    return (
        f"{after.value - before.value:+.10g}" if before.value != after.value else f"n {before.n}, {after.n}"
    )


def _shown(row: Row | None) -> str:
    if row is None:
        return "no row"
    return row.status if row.value is None else f"{row.value:.10g}"
