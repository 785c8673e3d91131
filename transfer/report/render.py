"""All tables in their three forms, and folders of files written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from transfer.report.latex import to_latex
from transfer.report.long_csv import to_csv
from transfer.report.markdown import to_markdown
from transfer.report.shown import Table


def render_all(tables: Sequence[Table]) -> dict[str, str]:
    """File name -> content of every table in its three forms."""
    files = {}
    for table in tables:
        files[f"{table.name}.csv"] = to_csv(table)
        files[f"{table.name}.md"] = to_markdown(table)
        files[f"{table.name}.tex"] = to_latex(table)
    return files


def write_files(folder: Path, files: Mapping[str, str] | Mapping[str, bytes]) -> None:
    """Write every file to a temporary name and rename it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        temporary = folder / f".{name}.{os.getpid()}"
        try:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
            temporary.replace(folder / name)
        finally:
            temporary.unlink(missing_ok=True)
