"""Tables as Markdown (GitHub's). Whatever comes from files stays text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from transfer.report.shown import Part, Record, Section, Table

LEGEND = "Bold: best, <u>underlined</u>: second, unless a section says otherwise. *Italics*: measured here."
SPECIAL = "\\|*_<>`~$&"


def to_markdown(table: Table) -> str:
    """One heading and one pipe table a section; measured lines in italics."""
    lines = [f"# {_escape(table.title)}", ""]
    lines += [LEGEND, ""] if table.sections else ["No rows.", ""]
    for section in table.sections:
        grouped = any(record.group for record in section.records)
        head = [*(["group"] if grouped else []), *map(_escape, section.head)]
        headings = [_escape(f"{group} {name}".strip()) for group, name in section.columns]
        lines += [f"## {_escape(section.title)}", "", _pipe_line([*head, *headings])]
        lines.append("|" + " --- |" * len(head) + " ---: |" * len(section.columns))
        above = ""
        for record in section.records:
            label = [_escape(record.group) if record.group != above else ""] if grouped else []
            lines.append(_pipe_line([*label, *_line(section, record)]))
            above = record.group
        lines += ["", *(f"- {_escape_start(_escape(note))}" for note in section.notes), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def padded_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A pipe table whose columns are padded, so that it reads as text too; for terminals."""
    shown = [[" ".join(text.split()).replace("|", "\\|") for text in line] for line in (head, *lines)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    shown.insert(1, ["-" * width for width in widths])
    return [
        _pipe_line([text.ljust(width) for text, width in zip(texts, widths, strict=True)]) for texts in shown
    ]


def _line(section: Section, record: Record) -> list[str]:
    identity = [_escape(text) for text in record.identity]
    cells = [" / ".join(map(_part, text.parts)) for text in record.texts]
    return [f"*{text}*" if record.measured and text else text for text in [*identity, *cells]]


def _part(part: Part) -> str:
    shown = _escape(part.text)
    shown = f"**{shown}**" if part.bold else shown
    return f"<u>{shown}</u>" if part.underline else shown


def _escape(text: str) -> str:
    text = " ".join(text.split())
    text = "".join("\\" + character if character in SPECIAL else character for character in text)
    return text.replace("](", "]\\(").replace("][", "]\\[").replace("]:", "]\\:")


def _escape_start(text: str) -> str:
    """At the start of a list's item: no list, heading or task box of its own."""
    return re.sub(r"^(?=[-+#=\[])|^(?P<number>\d+)(?=[.)])", lambda match: f"{match['number'] or ''}\\", text)


def _pipe_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
