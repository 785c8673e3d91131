"""Rebuild tables and page from results files, check that the committed ones are what the rows say, compare.

    tools/make_tables.py            results/published.csv + results/measured/*.csv -> tables/ and report.html
    tools/make_tables.py --check    rebuild into a temporary folder, exit 1 at the first byte that differs
    tools/make_tables.py --measured runs/mini --out runs/mini/tables
    tools/make_tables.py --collect runs/mini --into results/measured/mini.csv
    tools/make_tables.py --compare old.csv results/measured/mini.csv

--check names file, line and, in a CSV file, the cell of the first difference and the row it comes from; a
row that cannot be read fails it too. --collect puts what the numbers are means of (hits of images, scores
of sequences) into mini.items.csv beside mini.csv. --compare prints the numbers that changed, with the 95 %
interval of the difference (t over common seeds; McNemar or bootstrap over common items; Wilson). It exits
with 1 where one changed beyond noise, changed with no spread known, or is missing now; with 2 where a file
cannot be read.

Needs Python 3.10 or newer, pandas, pandera and jinja2 (pip install --group report); no torch, no installation of
this project.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from transfer.report.aggregate import collect, find_results
from transfer.report.build import render_results
from transfer.report.check import first_difference
from transfer.report.compare import compare_files, exit_status, render_changes
from transfer.report.items import SUFFIX
from transfer.report.page.check import page_difference
from transfer.report.render import write_files

RESULTS = Path(__file__).resolve().parents[2] / "results"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit status 0 when done, 1 for a difference (--check, --compare), 2 for unusable input."""
    parser = _parser()
    args = parser.parse_args(argv)
    if (args.collect is None) != (args.into is None):
        parser.error("--collect and --into belong together")
    try:
        if args.collect:
            print(f"{args.into}: {collect(args.collect, args.into)} rows")
            return 0
        if args.compare:
            changes = compare_files(*args.compare)
            print(render_changes(changes, (str(args.compare[0]), str(args.compare[1]))), end="")
            return exit_status(changes)
        measured = _measured(args.measured)
        files, page = render_results(args.published, measured, args.notes)
        page_path = args.page or args.out.resolve().parent / "report.html"
        if args.check:
            inputs = [args.published, *measured]
            return _check(args.out, files, inputs, page_path, page)
        write_files(args.out, files)
        write_files(page_path.parent, {page_path.name: page})
    except (OSError, ValueError) as error:
        print(f"make_tables: {error}", file=sys.stderr)
        return 1 if args.check and isinstance(error, ValueError) else 2
    print(f"{args.out}: {len(files)} files written, and {page_path}")
    return 0


def _measured(given: Sequence[Path] | None) -> list[Path]:
    if given is not None:
        return [path for each in given for path in find_results(each)]
    found = sorted((RESULTS / "measured").glob("*.csv"))
    return [path for path in found if not path.name.endswith(SUFFIX)]


def _check(out: Path, files: dict[str, str], inputs: Sequence[Path], page_path: Path, page: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), files)
        difference = first_difference(Path(folder), out, inputs) or page_difference(page_path, page)
    if difference:
        print(f"make_tables: {difference}", file=sys.stderr)
        return 1
    print(f"{out}: {len(files)} files agree with the rows, and so does {page_path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/make_tables.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--published", type=Path, default=RESULTS / "published.csv", help="literature rows")
    add(
        "--measured",
        type=Path,
        nargs="*",
        help="results files, or run folders (default: results/measured/*.csv)",
    )
    add("--notes", type=Path, default=RESULTS / "notes.csv", help="sentences below the sections")
    add("--out", type=Path, default=RESULTS / "tables", help="folder of the tables")
    add("--page", type=Path, metavar="HTML", help="the page (default: report.html beside that folder)")
    add("--check", action="store_true", help="compare the folder with the rows, write nothing")
    add("--collect", type=Path, metavar="RUNS", help="join the results.csv files below a folder")
    add("--into", type=Path, metavar="CSV", help="where --collect writes")
    add("--compare", type=Path, nargs=2, metavar=("A", "B"), help="what changed from one file to another")
    return parser
