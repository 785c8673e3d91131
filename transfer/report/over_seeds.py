"""Numbers over seeds of pre-training: what several backbones of one recipe say about the recipe.

In the other tables a backbone file is a line of its own, with an interval over images, which says nothing
about what another pre-training by the same recipe would give. Here the backbones of a results file that
rows do not tell apart by anything but the digest are one sample; each counts once, as the mean over the seeds
of its evaluation, and the interval is Student's over them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transfer.report.aggregate import Cell, Column, Line, interval_over_seeds, read_all, to_cells
from transfer.report.markdown import padded_table
from transfer.report.rows import METRICS
from transfer.report.statistics import Comparison, holm, mean, sample_std, welch_t

HEAD = ("method", "question", "backbones", "mean", "std", "95 % interval of the mean")
HEAD_AGAINST = ("minus {}", "95 % interval of the difference", "p", "p (Holm)")
ASSUMPTION = (
    "Intervals are Student's, over backbones of equal method, network, pre-training data, length and\n"
    "branch. That these differ in nothing but the seed of their pre-training is not in the rows: whoever\n"
    "made the file has to know it.\n"
)


@dataclass(frozen=True)
class Sample:
    """The cells of one question whose backbones differ in their digest alone; ``line`` has none.

    ``comparison`` is this sample minus the one of the reference, ``holm_p`` its p value adjusted for the
    comparisons of the column; None where there is none.
    """

    column: Column
    line: Line
    cells: tuple[Cell, ...]
    comparison: Comparison | None = None
    holm_p: float | None = None

    @property
    def values(self) -> tuple[float, ...]:
        """One number a backbone, or () where one of them has none."""
        values = tuple(cell.value for cell in self.cells if cell.value is not None)
        return values if len(values) == len(self.cells) else ()

    @property
    def std(self) -> float | None:
        """Sample standard deviation over backbones; None for one, or where one has no number."""
        return sample_std(self.values) if len(self.values) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % t interval of the mean, cut at the ends of the metric's range; None where nothing varies."""
        if not self.std:
            return None
        return interval_over_seeds(self.values, self.column.metric)


def read_samples(path: Path, against: str | None = None) -> list[Sample]:
    """The samples of a file of measured rows, compared with those of the method ``against`` by Welch's t.

    A comparison stays within a column, network, backend and selection, and needs two backbones on each side.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that cannot be read, a sample of several evaluation configurations, or a reference
            that the file lacks or has several of for one question.
    """
    grouped: dict[tuple[Column, Line], list[Cell]] = defaultdict(list)
    for cell in to_cells([], read_all([path], published=False)):
        grouped[cell.column, replace(cell.line, backbone_sha256="")].append(cell)
    samples = [Sample(column, line, tuple(cells)) for (column, line), cells in grouped.items()]
    for sample in samples:
        if len({row.config_sha256 for cell in sample.cells for row in cell.rows}) > 1:
            raise ValueError(
                f"{path}: {_name(sample)}: backbones evaluated by different configurations (config_sha256) "
                "are no sample; evaluate all by one, or give the other a protocol of its own"
            )
    return samples if against is None else _compare(path, samples, against)


def render_samples(samples: Sequence[Sample], against: str | None = None) -> str:
    """A Markdown table, aligned so that it reads as text, and what it assumes."""
    head = (*HEAD, *(text.format(against) for text in HEAD_AGAINST if against is not None))
    lines = [(*_texts(sample), *(_comparison(sample) if against is not None else ())) for sample in samples]
    return "\n".join([*padded_table(head, lines), "", ASSUMPTION])


def _compare(path: Path, samples: Sequence[Sample], against: str) -> list[Sample]:
    methods = sorted({sample.line.method for sample in samples})
    if against not in methods:
        raise ValueError(f"{path}: no row of method {against!r} to compare with; it has {', '.join(methods)}")
    columns: dict[Column, list[Sample]] = defaultdict(list)
    for sample in samples:
        reference = _find_reference(path, sample, samples, against)
        if reference is not None and reference is not sample:
            sample = replace(sample, comparison=_minus(sample, reference))
        columns[sample.column].append(sample)
    return [sample for members in columns.values() for sample in _adjust(members)]


def _find_reference(path: Path, sample: Sample, samples: Sequence[Sample], against: str) -> Sample | None:
    def setting(one: Sample) -> tuple[Column, str, str, str]:
        return one.column, one.line.arch, one.line.backend, one.line.selection

    found = [one for one in samples if one.line.method == against and setting(one) == setting(sample)]
    if len(found) > 1:
        raise ValueError(
            f"{path}: {len(found)} samples of method {against!r} to compare {_name(sample)} with: "
            f"{'; '.join(map(_name, found))}. Leave one in the file, or compare with another method"
        )
    return found[0] if found else None


def _minus(sample: Sample, reference: Sample) -> Comparison | None:
    if sample.std is None or reference.std is None or not (sample.std or reference.std):
        return None
    return welch_t(reference.values, sample.values)


def _adjust(members: Sequence[Sample]) -> list[Sample]:
    """Holm's p values of one column."""
    p_values = [sample.comparison.p_value for sample in members if sample.comparison is not None]
    adjusted = iter(holm([p for p in p_values if p is not None]))
    return [
        sample if sample.comparison is None else replace(sample, holm_p=next(adjusted)) for sample in members
    ]


def _name(sample: Sample) -> str:
    line, column = sample.line, sample.column
    parts = (line.method, line.arch, line.pretrain_data, line.pretrain_epochs, line.branch, line.selection)
    return " ".join(part for part in (*parts, column.task, column.dataset, column.protocol) if part)


def _texts(sample: Sample) -> tuple[str, ...]:
    line, column = sample.line, sample.column
    who = (line.method, line.arch, line.pretrain_data, line.pretrain_epochs, line.branch, line.backend)
    asked = (column.task, column.dataset, column.split, column.protocol, METRICS[column.metric].name)
    names = [" ".join(part for part in parts if part) for parts in (who, (*asked, line.selection))]
    seeds = sorted({len(cell.rows) for cell in sample.cells})
    several = f" of {' or '.join(map(str, seeds))} seeds" if seeds != [1] else ""
    failures = sorted({failure for cell in sample.cells for failure in cell.failures})
    number = f"{mean(sample.values):.2f}" if sample.values else "; ".join(failures)
    std = "" if sample.std is None else f"{sample.std:.2f}"
    interval = "" if sample.interval is None else "[{:.2f}, {:.2f}]".format(*sample.interval)
    return (*names, f"{len(sample.cells)}{several}", number, std, interval)


def _comparison(sample: Sample) -> tuple[str, ...]:
    found = sample.comparison
    if found is None or found.p_value is None or sample.holm_p is None:
        return ("",) * len(HEAD_AGAINST)
    interval = f"[{found.low:+.2f}, {found.high:+.2f}]"
    return f"{found.difference:+.2f}", interval, f"{found.p_value:.2g}", f"{sample.holm_p:.2g}"
