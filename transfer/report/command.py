"""Rebuild tables, figures and page from results files, check the committed ones, compare.

    tools/make_tables.py            results/published.csv + results/measured/*.csv -> tables, figures and page
    tools/make_tables.py --check    rebuild into a temporary folder, exit 1 at the first byte that differs
    tools/make_tables.py --measured runs/mini --out runs/mini/tables
    tools/make_tables.py --collect runs/mini --into results/measured/mini.csv
    tools/make_tables.py --collect-curves runs/pretrain/mini --into results/curves/mini.csv
    tools/make_tables.py --compare old.csv results/measured/mini.csv
    tools/make_tables.py --over-seeds results/measured/cifar10_objectives.csv --against random

--check names file, line and, in a CSV file, the cell of the first difference and the row it comes from;
a row that cannot be read fails it too. --collect puts what the numbers are means of (hits of images,
scores of sequences) into mini.items.csv beside mini.csv. --collect-curves takes what pre-training runs
logged, and kNN results of their checkpoints below their folders. --compare prints the numbers that
changed, with the 95 % interval of the difference (t over common seeds; McNemar or bootstrap over common
items; Wilson). It exits with 1 where one changed beyond noise, changed with no spread known, or is
missing now; with 2 where a file cannot be read. --over-seeds takes the backbones of a recipe as one
sample and prints mean and 95 % t interval over them; --against adds the differences to a method, by
Welch's t test with Holm's p values.

Needs Python 3.10 or newer, pandas, pandera, jinja2 and matplotlib: pip install --group report. No torch, no
installation of this project.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from transfer.report.aggregate import collect, find_results
from transfer.report.build import Results, render_results
from transfer.report.check import first_difference
from transfer.report.compare import compare_files, exit_status, render_changes
from transfer.report.curves import collect_curves
from transfer.report.items import SUFFIX
from transfer.report.over_seeds import read_samples, render_samples
from transfer.report.page.check import page_difference
from transfer.report.render import write_files

RESULTS = Path(__file__).resolve().parents[2] / "results"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit status 0 when done, 1 for a difference (--check, --compare), 2 for unusable input."""
    parser = _parser()
    args = parser.parse_args(argv)
    if (args.collect is None and args.collect_curves is None) != (args.into is None):
        parser.error("--into belongs together with --collect or --collect-curves")
    if args.against is not None and args.over_seeds is None:
        parser.error("--against belongs together with --over-seeds")
    try:
        if args.collect:
            print(f"{args.into}: {collect(args.collect, args.into)} rows")
            return 0
        if args.collect_curves:
            print(f"{args.into}: {collect_curves(args.collect_curves, args.into)} numbers")
            return 0
        if args.compare:
            changes = compare_files(*args.compare)
            print(render_changes(changes, (str(args.compare[0]), str(args.compare[1]))), end="")
            return exit_status(changes)
        if args.over_seeds:
            print(render_samples(read_samples(args.over_seeds, args.against), args.against), end="")
            return 0
        measured = _measured(args.measured)
        beside = args.out.resolve().parent  # figures, curves and page stand beside the tables
        results = render_results(args.published, measured, args.notes, beside / "curves")
        page_path = args.page or beside / "report.html"
        if args.check:
            inputs = [args.published, *measured]
            return _check(args.out, beside / "figures", page_path, results, inputs, args.notes)
        write_files(args.out, results.tables)
        write_files(beside / "figures", results.figures)
        write_files(page_path.parent, {page_path.name: results.page})
    except (OSError, ValueError) as error:
        print(f"make_tables: {error}", file=sys.stderr)
        return 1 if args.check and isinstance(error, ValueError) else 2
    print(_say(args.out, beside / "figures", page_path, results) + " written")
    return 0


def _measured(given: Sequence[Path] | None) -> list[Path]:
    if given is not None:
        return [path for each in given for path in find_results(each)]
    found = sorted((RESULTS / "measured").glob("*.csv"))
    return [path for path in found if not path.name.endswith(SUFFIX)]


def _check(
    out: Path, figures: Path, page: Path, results: Results, inputs: Sequence[Path], notes: Path
) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder / "tables", results.tables)
        write_files(folder / "figures", results.figures)
        difference = (
            first_difference(folder / "tables", out, inputs, notes)
            or first_difference(folder / "figures", figures)
            or page_difference(page, results.page)
        )
    if difference:
        print(f"make_tables: {difference}", file=sys.stderr)
        return 1
    print(_say(out, figures, page, results) + " agree with the rows")
    return 0


def _say(out: Path, figures: Path, page: Path, results: Results) -> str:
    return f"{out}: {len(results.tables)} files, {figures}: {len(results.figures)} files, and {page}"


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
    add("--collect-curves", type=Path, nargs="+", metavar="RUN", help="what pre-training runs logged")
    add("--into", type=Path, metavar="CSV", help="where --collect and --collect-curves write")
    add("--compare", type=Path, nargs=2, metavar=("A", "B"), help="what changed from one file to another")
    add("--over-seeds", type=Path, metavar="CSV", help="means over backbones of one recipe")
    add("--against", metavar="METHOD", help="for --over-seeds: the method whose means are subtracted")
    return parser
