#!/usr/bin/env python3
"""Rebuild the tables from results files, check that the committed ones are what the rows say, compare two.

    tools/make_tables.py            results/published.csv + results/measured/*.csv -> results/tables
    tools/make_tables.py --check    exit 1 at the first byte that differs
    tools/make_tables.py --measured runs/mini --out runs/mini/tables
    tools/make_tables.py --collect runs/mini --into results/measured/mini.csv
    tools/make_tables.py --compare old.csv results/measured/mini.csv

--collect puts what the numbers are means of (hits of images, scores of sequences) into mini.items.csv beside
mini.csv. --compare prints the numbers that changed, with the 95 % interval of the difference (t over common
seeds; McNemar or bootstrap over common items; Wilson). It exits with 1 where one changed beyond noise,
changed with no spread known, or is missing now; with 2 where a file cannot be read.

Needs Python 3.10 or newer and nothing else: no torch, no installation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit status 0 when done, 1 for a difference (--check, --compare), 2 for unusable input."""
    sys.path.insert(0, str(ROOT))
    from transfer.report.aggregate import collect, find_results
    from transfer.report.build import render_tables
    from transfer.report.compare import compare_files, exit_status, render_changes
    from transfer.report.items import SUFFIX
    from transfer.report.render import first_difference, write_files

    results = ROOT / "results"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--published", type=Path, default=results / "published.csv", help="literature rows")
    parser.add_argument(
        "--measured",
        type=Path,
        nargs="+",
        help="results files, or run folders (default: results/measured/*.csv)",
    )
    parser.add_argument(
        "--notes", type=Path, default=results / "notes.csv", help="sentences below the sections"
    )
    parser.add_argument("--out", type=Path, default=results / "tables", help="folder of the tables")
    parser.add_argument(
        "--check", action="store_true", help="compare the folder with the rows, write nothing"
    )
    parser.add_argument(
        "--collect", type=Path, metavar="RUNS", help="join the results.csv files below a folder"
    )
    parser.add_argument("--into", type=Path, metavar="CSV", help="where --collect writes")
    parser.add_argument(
        "--compare",
        type=Path,
        nargs=2,
        metavar=("A", "B"),
        help="what changed from one results file to another",
    )
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
        if args.measured is None:
            files_beside = sorted((results / "measured").glob("*.csv"))
            measured = [path for path in files_beside if not path.name.endswith(SUFFIX)]
        else:
            measured = [path for given in args.measured for path in find_results(given)]
        files = render_tables(args.published, measured, args.notes)
    except (OSError, ValueError) as error:
        print(f"make_tables: {error}", file=sys.stderr)
        return 2
    if not args.check:
        write_files(args.out, files)
        print(f"{args.out}: {len(files)} files written")
        return 0
    difference = first_difference(args.out, files)
    if difference:
        print(f"make_tables: {difference}", file=sys.stderr)
        return 1
    print(f"{args.out}: {len(files)} files agree with the rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
