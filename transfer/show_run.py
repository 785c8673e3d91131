"""Print the record of a run readably: ``python -m transfer show RUN``."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transfer.report.rows import Row, read_rows
from transfer.run_record import DIFF_NAME, RUNNING, folder_of, read_record
from transfer.suite.doctor import print_table
from transfer.suite.words import one_line

Lines = list[tuple[str, str]]


def show(run: Path, as_json: bool = False) -> int:
    """Print the record of a run folder with its rows; or only the record, as it is stored.

    Raises:
        FileNotFoundError, ValueError: no record, or one that cannot be read; damaged rows.
    """
    record = read_record(run)
    if as_json:
        print(json.dumps(record, indent=2))
        return 0
    results = folder_of(run) / "results.csv"
    rows = read_rows(results) if results.is_file() else []
    try:
        shown = [*sections(record), ("Rows", row_lines(rows))]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{run}: not a record of a run, or damaged ({type(error).__name__}: {error}); --json prints it"
        ) from None
    for title, lines in shown:
        if lines:
            print_table(title, [(one_line(name), one_line(text)) for name, text in lines])
    return 0


def sections(record: dict[str, Any]) -> Iterator[tuple[str, Lines]]:
    """Titles and lines of a record."""
    command, task, backbone, data, code = (
        record[part] for part in ("command", "task", "backbone", "data", "code")
    )
    yield "Run", list(_run_lines(record))
    yield "Command", [("line", command["line"]), ("folder", command["folder"]), ("python", command["python"])]
    yield "Task", [(name, str(value)) for name, value in task.items()]
    yield "Backbone", [(name, str(value)) for name, value in backbone.items() if value]
    lines = [("sha256", data["sha256"] or f"not known: {data.get('unknown', '')}")]
    lines += [("absent" if path in data.get("absent", ()) else "read", path) for path in data["paths"]]
    yield "Data", lines
    changes = ""
    if code["dirty"]:
        cut = ", cut" if code["diff_cut"] else ""
        changes = f"{code['diff_characters']} characters of changes{cut}, in {DIFF_NAME}"
    lines = [("version", code["version"]), ("commit", code["commit"] or "no checkout, or no git")]
    yield (
        "Code",
        [*lines, ("branch", code["branch"]), ("changes", changes or "none"), ("sha256", code["sha256"])],
    )
    yield "Hardware", list(_hardware_lines(record["hardware"]))
    yield "Packages", list(record["packages"].items())
    yield "Environment", list(record["environment"].items())


def _run_lines(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    processes, host = record["processes"], record["hardware"]["host"]
    state = record["state"]
    if state == RUNNING:
        place = f"process {processes['pid']} on {host}"
        gone = host == socket.gethostname() and not _is_alive(int(processes["pid"]))
        state = f"was killed ({place} is gone)" if gone else f"running ({place}), or was killed"
    yield "state", f"{state}: {record['reason']}" if record["reason"] else state
    yield "started", record["started"]
    if "ended" in record:
        yield "ended", record["ended"]
        yield "wall clock", f"{record['wall_s']} s"
        yield "processor", ", ".join(f"{seconds} s {who}" for who, seconds in record["cpu_s"].items())
        peaks = record["peak_memory_mb"].items()
        yield "peak memory", ", ".join(f"{size} MB {who.replace('_', ' ')}" for who, size in peaks)
    yield "processes", f"{processes['number']} on {processes['machines']} machine(s)"
    yield "threads", str(processes["threads"])


def _hardware_lines(hardware: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in hardware.items():
        if name == "memory_gb":
            yield "memory", f"{value} GB"
        elif name != "gpus":
            yield name, str(value)
    for gpu in hardware["gpus"]:
        yield "GPU", f"{gpu['name']}, {gpu['memory']}, driver {gpu['driver']}"


def row_lines(rows: list[Row]) -> Lines:
    """What was measured, and the value or why there is none."""
    return [(row_name(row), row.status if row.value is None else f"{row.value:.10g}") for row in rows]


def row_name(row: Row) -> str:
    """How a person tells a row of a run from its others."""
    return " ".join(filter(None, (row.dataset, row.split, row.protocol, row.metric)))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
