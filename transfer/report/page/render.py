"""One HTML file from cells and figures: styles, scripts and data inside, nothing from anywhere else."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from transfer.report.aggregate import Cell
from transfer.report.layout import CSV_ONLY, DATASETS, Note, method_name
from transfer.report.page.overview import build_overview
from transfer.report.page.records import embed, to_script_json
from transfer.report.page.texts import DATASET_TEXTS, describe_protocol, name_protocol, name_task
from transfer.report.page.views import build_chapters
from transfer.report.rows import METRICS
from transfer.report.tables import build_tables

STYLES = ("colours.css", "page.css", "tables.css", "print.css")
SCRIPTS = ("numbers.js", "tables.js", "filters.js", "dialog.js", "start.js")
HEAD_SCRIPT = "theme.js"  # before the first paint, so that the page never flashes in the other theme
TEMPLATES = ("page.html.jinja", "parts.html.jinja")


def render_page(
    cells: Sequence[Cell], *, notes: Sequence[Note] = (), figures: Mapping[str, str] | None = None
) -> str:
    """The whole page. ``figures`` are SVG documents by name; one with ``radar`` in its name stands on top,
    the others in their order at the end.

    The bytes depend on the arguments alone, and not on the order of the cells.
    """
    shown = [cell for cell in cells if cell.column.metric not in CSV_ONLY]
    ordered = sorted(shown, key=lambda cell: (str(cell.column), str(cell.line)))
    pictures = [(name, _title(name, svg), _data_url(svg)) for name, svg in (figures or {}).items()]
    style = "\n".join(_asset(name).strip() for name in STYLES)
    head_script = _asset(HEAD_SCRIPT).strip()
    script = '"use strict";\n(() => {\n' + "\n".join(_asset(name).strip() for name in SCRIPTS) + "\n})();"
    environment = Environment(
        loader=DictLoader({name: _asset(name) for name in TEMPLATES}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    columns = [cell.column for cell in ordered]
    tables = build_tables(ordered, notes)
    entries = [entry for table in tables for section in table.sections for entry in section.entries]
    return environment.get_template(TEMPLATES[0]).render(
        chapters=build_chapters(tables),
        overview=build_overview(ordered),
        radars=[picture for picture in pictures if "radar" in picture[0]],
        pictures=[picture for picture in pictures if "radar" not in picture[0]],
        choices={
            "task": _choices((column.task for column in columns), name_task),
            "protocol": _choices((column.protocol for column in columns), _with_id),
            "method": _choices((cell.line.method for cell in ordered), method_name),
        },
        datasets=[
            (name, DATASETS.get(name, name), DATASET_TEXTS.get(name, ""))
            for name in sorted({column.dataset for column in columns})
        ],
        protocols=[
            (name, name_protocol(name), describe_protocol(name))
            for name in sorted({column.protocol for column in columns})
        ],
        metrics=[(name, metric) for name, metric in METRICS.items() if name in {c.metric for c in columns}],
        anchor=_anchor,
        style=Markup(style),
        head_script=Markup(head_script),
        script=Markup(script),
        data=Markup(to_script_json(embed(ordered, entries))),
        policy=_policy(head_script, script),
        total=len(ordered),
    )


def _asset(name: str) -> str:
    return (files("transfer.report.page") / name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    """Only these scripts may run and nothing may be fetched, whatever text the rows bring."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _data_url(svg: str) -> str:
    """An SVG document as an image: there no script in it runs, and its ids and styles stay its own."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _title(name: str, svg: str) -> str:
    """What a figure calls itself, else its name."""
    said = re.search(r'<svg[^>]* aria-label="([^"]*)"', svg)
    if said:
        return html.unescape(said[1])
    words = re.sub(r"[-_/.]+", " ", name.removesuffix(".svg")).strip()
    return words[:1].upper() + words[1:]


def _anchor(kind: str, name: str) -> str:
    """An id for a name of any characters."""
    return f"{kind}-" + re.sub(r"[^A-Za-z0-9-]", lambda match: f"_{ord(match[0]):x}", name)


def _with_id(protocol: str) -> str:
    name = name_protocol(protocol)
    return protocol if name == protocol else f"{protocol} ({name})"


def _choices(ids: Iterable[str], name: Callable[[str], str]) -> list[tuple[str, str]]:
    return sorted(((i, name(i)) for i in set(ids)), key=lambda choice: (choice[1].lower(), choice[0]))
