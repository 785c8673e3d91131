"""What is said beneath a section, from the data: questions, lengths, origins, spreads, budgets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from transfer.report.aggregate import Cell, Column, Line
from transfer.report.layout import DATASETS, Note, method_name, method_rank, rank_in, rank_text
from transfer.report.pairs import pairs
from transfer.report.protocols import find_protocol, rank_protocol
from transfer.report.rows import METRICS, REPORTED
from transfer.report.shown import FEWER_SEEDS, SELECTED_ON_TEST, published_std

MOST_PAIRED = 4  # lines of a section whose differences are said; more have too many

NOT_COMPARABLE = (
    "Compare within this section only. These numbers are not comparable with published ones, which come "
    "from other datasets or other protocols."
)
REPORTERS = {
    "own": "the source itself",
    "quoted": "others, quoted by the source",
    "unknown": "not stated",
}


def number_protocols(columns: Iterable[Column]) -> dict[str, int]:
    """Protocols by number, from 1, where a dataset is asked about under several of them; else nothing."""
    asked: dict[str, set[str]] = {}
    for column in columns:
        asked.setdefault(column.dataset, set()).add(column.protocol)
    if all(len(protocols) == 1 for protocols in asked.values()):
        return {}
    found = sorted(set().union(*asked.values()), key=rank_protocol)
    return {protocol: number for number, protocol in enumerate(found, 1)}


def say_questions(columns: Sequence[Column], numbers: Mapping[str, int]) -> list[str]:
    """Datasets by split and protocols, then where each protocol is written down."""
    asked: dict[tuple[str, str], set[str]] = {}
    for column in columns:
        asked.setdefault((column.dataset, column.split), set()).add(column.protocol)
    datasets: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for dataset, split in sorted(asked, key=lambda key: (rank_in(tuple(DATASETS), key[0]), key[1])):
        protocols = tuple(sorted(asked[dataset, split], key=rank_protocol))
        named = DATASETS.get(dataset, dataset)
        named += f" ({dataset})" if named.lower() != dataset else ""
        datasets.setdefault((split, protocols), []).append(named)
    written: dict[str, list[str]] = {}
    for protocol in dict.fromkeys(protocol for _, protocols in datasets for protocol in protocols):
        mark = f"[{numbers[protocol]}] " if protocol in numbers else ""
        known = find_protocol(protocol)
        source = known.source if known else "written down nowhere"
        written.setdefault(source, []).append(mark + protocol)
    places = [
        f"{', '.join(names)}: split {split or 'not stated'}, protocol {' and '.join(protocols)}"
        for (split, protocols), names in datasets.items()
    ]
    return [f"{'; '.join(places)}.", *(f"{', '.join(names)}: {source}." for source, names in written.items())]


def say_epochs(cells: Sequence[Cell], names: Mapping[str, str]) -> list[str]:
    """Pre-training epochs of every published number, methods of one length together."""
    said = _by_property(cells, names, lambda cell: cell.line.pretrain_epochs)
    parts = [
        (epochs or "not stated") + (f" ({said[epochs]})" if said[epochs] else "")
        for epochs in sorted(said, key=lambda epochs: (not epochs, rank_text(epochs)))
        if epochs not in ("random", "none")
    ]
    return [f"Pre-training epochs: {'; '.join(parts)}."] if parts else []


def say_reporters(cells: Sequence[Cell], names: Mapping[str, str]) -> list[str]:
    """Which published lines are the source's own and which it quotes."""
    said = _by_property(cells, names, lambda cell: cell.rows[0].reported)
    parts = [
        REPORTERS[kind] + (f" ({said[kind]})" if said[kind] else "") for kind in REPORTED if kind in said
    ]
    return [f"Who measured: {'; '.join(parts)}."]


def _by_property(
    cells: Sequence[Cell], names: Mapping[str, str], get: Callable[[Cell], str]
) -> dict[str, str]:
    """Methods by a property of their numbers, with the datasets where it differs; nothing where all agree."""
    datasets: dict[tuple[str, str], set[str]] = {}
    for cell in cells:
        datasets.setdefault((cell.line.method, get(cell)), set()).add(cell.column.dataset)
    ambiguous = Counter(method for method, _ in datasets)
    order = [*names, *sorted(ambiguous.keys() - names.keys(), key=method_rank)]
    said: dict[str, list[str]] = {}
    for method, found in sorted(datasets, key=lambda key: (order.index(key[0]), key[1])):
        places = sorted(datasets[method, found], key=lambda name: rank_in(tuple(DATASETS), name))
        where = f" on {' and '.join(DATASETS.get(name, name) for name in places)}"
        shown = names.get(method, method_name(method)) + (where if ambiguous[method] > 1 else "")
        said.setdefault(found, []).append(shown)
    return {found: "" if len(said) == 1 else ", ".join(shown) for found, shown in said.items()}


def say_spreads(cells: Sequence[Cell]) -> list[str]:
    """What ± is beside a published number, and how many items or trials it stands for."""
    if not any(published_std(cell) is not None for cell in cells):
        return []
    return ["±: the standard deviation over trials that the source gives."]


def say_marks(cells: Sequence[Cell]) -> list[str]:
    """What the marks beside numbers mean, for the marks that are there."""
    said = []
    if any(cell.line.selection == "best-test" for cell in cells):
        said.append(
            f"{SELECTED_ON_TEST}: the epoch or a setting was chosen by its score on the test data itself."
        )
    if any(cell.is_short for cell in cells):
        over = " or ".join(sorted({cell.over for cell in cells if cell.is_short}))
        said.append(f"{FEWER_SEEDS}: fewer {over} than other lines of the column.")
    return said


def say_intervals(cells: Sequence[Cell]) -> list[str]:
    """What brackets and ± are beside a measured number."""
    said = []
    kinds = sorted({cell.spread.kind for cell in cells if cell.spread and cell.interval and cell.std is None})
    if kinds:
        said.append(f"[low, high]: 95 % interval ({'; '.join(kinds)}), one seed.")
    if any(cell.std is not None for cell in cells):
        counts = sorted({(len(cell.rows), cell.over) for cell in cells if cell.std is not None})
        named = " or ".join(f"{count} {over}" for count, over in counts)
        of_one = " of one recipe" if any(over != "seeds" for _, over in counts) else ""
        said.append(f"±: sample standard deviation over {named}{of_one}.")
    return said


def say_pairs(cells: Sequence[Cell], by_protocol: bool = False) -> list[str]:
    """Differences between the measured lines of a section, where these are few, and their noise.

    ``by_protocol`` names a column by its protocol instead of its metric.
    """
    lines = {replace(cell.line, selection="") if by_protocol else cell.line for cell in cells}
    if not 1 < len(lines) <= MOST_PAIRED:
        return []
    several = len({line.method for line in lines}) < len(lines)

    def name(line: Line) -> str:
        return method_name(line.method) + (f" {line.backbone_sha256[:8]}" if several else "")

    # The later line minus the earlier one, as they stand in the table.
    ordered = sorted(cells, key=lambda cell: (method_rank(cell.line.method), str(cell.line)))
    said = []
    for pair in pairs(ordered):
        found = pair.comparison
        p = pair.holm_p
        tail = "" if p is None else ", p < 0.001" if p < 0.001 else f", p = {p:.3f}"
        asked = pair.column.protocol if by_protocol else METRICS[pair.column.metric].name
        said.append(
            f"{asked}: {name(pair.second)} minus {name(pair.first)} "
            f"{found.difference:+.1f} [{found.low:.1f}, {found.high:.1f}] ({found.test}{tail}, n = {found.n})"
        )
    if not said:
        return []
    holm = ", p adjusted by Holm within a column" if len(lines) > 2 else ""
    return [f"Differences, 95 % interval{holm}: {'; '.join(said)}."]


def say_budget(cells: Sequence[Cell]) -> str:
    """Hardware and wall time of measured cells, in one sentence."""
    rows = [row for cell in cells for row in cell.rows]
    hardware = sorted({row.hardware for row in rows if row.hardware})
    times = sorted(row.wall_s for row in rows if row.wall_s is not None)
    text = f"Hardware: {'; '.join(hardware) or 'not recorded'}."
    if times:
        text += f" One run took {times[0]:.0f} s" + (
            f" to {times[-1]:.0f} s." if times[-1] > times[0] else "."
        )
    return text


def say_measured_line(letter: str, line: Line, cells: Sequence[Cell]) -> str:
    """Who a measured line among published ones is, and how it reads what the protocol leaves open."""
    seeds = sorted({row.seed for cell in cells for row in cell.rows if row.seed is not None})
    counts = sorted({row.n for cell in cells for row in cell.rows if row.n is not None})
    known = {
        "network": line.arch,
        "data": line.pretrain_data,
        "epochs": line.pretrain_epochs,
        "branch": line.branch,
        "backbone": line.backbone_sha256[:8],
        "backend": line.backend,
        "selection": line.selection,
        "seeds": ",".join(map(str, seeds)),
        "n": ", ".join(map(str, counts)),
    }
    said = [", ".join(f"{name} {value}" for name, value in known.items() if value)]
    for protocol in sorted({cell.column.protocol for cell in cells}):
        found = find_protocol(protocol)
        if found and found.reading:
            said.append(f"{protocol} read as: {found.reading}")
    return f"{letter}: measured with this repository; {'; '.join(said)}."


def say_notes(cells: Iterable[Cell], notes: Sequence[Note]) -> list[str]:
    """The sentences of notes.csv about these tasks and datasets."""
    shown = {(cell.column.task, cell.column.dataset) for cell in cells}
    return [
        note.note
        for note in notes
        if any(note.task in ("*", task) and note.dataset == dataset for task, dataset in shown)
    ]
