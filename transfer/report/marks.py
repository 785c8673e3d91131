"""Which numbers are bold and which underlined: a column is ranked over its lines, by its metric."""

from __future__ import annotations

from collections.abc import Mapping

from transfer.report.aggregate import Cell
from transfer.report.papers import Bold, Underline
from transfer.report.rows import METRICS

NEAR = 0.2  # MEC's Table 3
Place = tuple[int, int]  # record, and position in a cell that holds several numbers


def bold_places(column: Mapping[Place, Cell], rule: Bold, places: int) -> set[Place]:
    """Places of one column that are bold; numbers count as they are shown, to ``places`` decimals.

    ``best``: the best, ties included, where there is something to be better than; ``near``: within 0.2 of
    the best; ``pair``: the better number of each cell, both where they tie; ``line``: none here, see
    :func:`bold_in_line`.
    """
    if rule == "line":
        return set()
    scores = _scores(column, places)
    if rule == "pair":
        by_record: dict[int, list[float]] = {}
        for (record, _), score in scores.items():
            by_record.setdefault(record, []).append(score)
        return {
            place
            for place, score in scores.items()
            if len(by_record[place[0]]) > 1 and score == max(by_record[place[0]])
        }
    if len(set(scores.values())) < 2:
        return set()
    best = max(scores.values())
    slack = NEAR if rule == "near" else 0.0
    return {place for place, score in scores.items() if round(best - score, 6) <= slack}


def bold_in_line(line: Mapping[Place, Cell], places: int) -> set[Place]:
    """Places of one line that are the best of its numbers of one protocol and metric: settings compared."""
    alike: dict[tuple[str, str], dict[Place, Cell]] = {}
    for place, cell in line.items():
        alike.setdefault((cell.column.protocol, cell.column.metric), {})[place] = cell
    return {place for among in alike.values() for place in bold_places(among, "best", places)}


def underlined_places(column: Mapping[Place, Cell], rule: Underline, places: int) -> set[Place]:
    """Places of one column that are underlined; a rank is one more than the number of better lines.

    ``second``: rank 2; ``top two``: the best number of each line of rank 1 or 2.
    """
    if not rule:
        return set()
    scores = _scores(column, places)
    best_of: dict[int, float] = {}
    for (record, _), score in scores.items():
        best_of[record] = max(score, best_of.get(record, score))
    ranks: dict[float, int] = {}
    for rank, score in enumerate(sorted(best_of.values(), reverse=True), 1):
        ranks.setdefault(score, rank)
    if rule == "second" and len(ranks) < 3:
        return set()  # the second of two is the last
    wanted = (2,) if rule == "second" else (1, 2)
    return {place for place, score in scores.items() if score == best_of[place[0]] and ranks[score] in wanted}


def _scores(column: Mapping[Place, Cell], places: int) -> dict[Place, float]:
    """Higher is better; places without a number have none."""
    return {
        place: round(cell.value, places) * (1 if METRICS[cell.column.metric].higher_is_better else -1)
        for place, cell in column.items()
        if cell.value is not None
    }
