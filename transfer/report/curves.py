"""Pre-training curves as tidy tables: what a run logged, one line a number, in ``results/curves/NAME.csv``.

``collect_curves`` makes them from a run folder of ``python -m pretrain`` (``config.json``,
``metrics.jsonl``) and from the kNN results of its checkpoints, if there are any below the folder. It
runs no code of the run and reads no weights. A run folder does not say which hardware computed it, so that
cell is empty for what it logged, and its version is that in the header of its backbone, if it has one;
kNN rows say both themselves.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from transfer.report.rows import read_rows

# Metric -> key in metrics.jsonl, in each of its lines.
LOGGED = {
    "loss": "loss",
    "spectral_norm": "spectral_norm",
    "cosine": "cosine",
    "effective_rank": "effective_rank",
    "lambda": "lambda",
}
SIZES = (("optim", "batch_size"), ("model", "dim"), ("optim", "epochs"))  # m, d and the run's length
LARGEST_HEADER = 1 << 20
KNN = "knn_top1"  # of checkpoints, by `python -m transfer knn`; as a key of metrics.jsonl it is ONLINE_KNN
ONLINE_KNN = "online_knn_top1"  # the loop's monitor, by knn.* of its recipe: another protocol than KNN
LENGTH = "coding_length"
METRICS = (*LOGGED, LENGTH, KNN, ONLINE_KNN)
# What a source says, for those who must tell two definitions of a metric apart.
DERIVED = "from loss and lambda in "  # begins that of a coding length that follows from the loss
OBJECTIVE = ", objective "  # goes before the name of one that is not MEC, whose loss is no coding length


@dataclass(frozen=True)
class CurvePoint:
    """One number of one run."""

    run: str
    step: int
    epoch: float
    metric: str
    value: float
    source: str  # where the number stands, or how it follows
    config_sha256: str  # of the run's config.json; of a kNN number, of the evaluation's configuration
    code_version: str
    hardware: str


HEADER = tuple(field.name for field in fields(CurvePoint))
Curves = Mapping[str, tuple[CurvePoint, ...]]


def collect_curves(runs: Sequence[Path], into: Path) -> int:
    """Write the curves of runs that belong in one figure; returns the number of lines.

    The coding length is the logged one: Eq. 1, exact, of the target's first view at the final lambda; nats.
    A log in which no line has it gives :func:`coding_length` if the run trained MEC, else none.

    Raises:
        FileNotFoundError: no ``config.json`` or ``metrics.jsonl`` in the folder.
        ValueError: a recipe without sizes or with an objective that is no name, a line of the log that lacks
            a number, or an unusable kNN row; names file and line.
    """
    points = [point for run in runs for point in _run_points(run)]
    points.sort(key=lambda p: (p.run, METRICS.index(p.metric), p.step))
    write_curves(into, points)
    return len(points)


def _run_points(run: Path) -> list[CurvePoint]:
    """What one run logged, and the kNN rows of its checkpoints."""
    recipe, log = run / "config.json", run / "metrics.jsonl"
    for path in (recipe, log):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; is {run} a run folder of python -m pretrain?")
    config = json.loads(recipe.read_text(encoding="utf-8"))
    digest = hashlib.sha256(recipe.read_bytes()).hexdigest()
    batch, dim, epochs = (_read_size(recipe, config, *key) for key in SIZES)
    objective = _read_objective(recipe, config)
    logged = f"metrics.jsonl of a run of {epochs} epochs"
    logged += "" if objective == "mec" else OBJECTIVE + objective
    version = _tool_version(run / "backbone.safetensors")
    lines = [
        _read_facts(log, number, line)
        for number, line in enumerate(log.read_text(encoding="utf-8").splitlines(), 1)
    ]
    derive = objective == "mec" and not any(LENGTH in facts for facts in lines)
    points = []
    for facts in lines:
        said = {metric: (facts[key], logged) for metric, key in LOGGED.items()}
        if LENGTH in facts:
            said[LENGTH] = facts[LENGTH], f"Eq. 1 at the final lambda, in {logged}"
        elif derive:
            said[LENGTH] = coding_length(facts["loss"], facts["lambda"], batch, dim), DERIVED + logged
        if KNN in facts:
            said[ONLINE_KNN] = facts[KNN], f"while training, by knn.* of config.json, in {logged}"
        for metric, (value, source) in said.items():
            points.append(
                CurvePoint(
                    *(run.name, int(facts["step"]), facts["epoch"], metric, value),
                    *(source, digest, version, ""),
                )
            )
    steps_per_epoch = _steps_per_epoch(log, points)
    return points + _knn_points(run, steps_per_epoch)


def coding_length(loss: float, lam: float, batch: int, dim: int) -> float:
    """L in nats (MEC, arXiv 2210.11464, Eqs. 1 to 3), as the series that was trained with has it.

    MEC's loss is -(S12 + S21) / (2 lambda m) with S the series of log det(I + C) over a batch of m, so the
    mean of both directions is L = mu (S12 + S21) / 2 = -loss lambda m mu, mu = (m + d) / 2.
    """
    return -loss * lam * batch * (batch + dim) / 2


def read_curves(folder: Path) -> dict[str, tuple[CurvePoint, ...]]:
    """Every curve file of a folder by name; no folder is no curves.

    Raises:
        ValueError: a header, number or metric that is none, or a number that stands twice; file and line.
    """
    return {path.stem: tuple(_read_file(path)) for path in sorted(folder.glob("*.csv"))}


def write_curves(path: Path, points: Iterable[CurvePoint]) -> None:
    """Write one file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(HEADER)
            writer.writerows([_to_text(cell) for cell in astuple(point)] for point in points)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _tool_version(backbone: Path) -> str:
    """The package version in the header of a backbone file; "" where there is no file yet."""
    if not backbone.is_file():
        return ""
    with backbone.open("rb") as handle:
        size = int.from_bytes(handle.read(8), "little")
        if size > LARGEST_HEADER:
            raise ValueError(f"{backbone}: no safetensors file, its header would take {size} bytes")
        header = json.loads(handle.read(size))
    return str(header.get("__metadata__", {}).get("tool_version", ""))


def _read_facts(log: Path, number: int, line: str) -> dict[str, float]:
    try:
        facts = {key: float(value) for key, value in json.loads(line).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{log}:{number}: no line of numbers: {error}") from error
    wanted = ("step", "epoch", *LOGGED.values(), *(key for key in (LENGTH, KNN) if key in facts))
    missing = [key for key in wanted if not math.isfinite(facts.get(key, math.nan))]
    if missing:
        raise ValueError(f"{log}:{number}: expected a finite number for {', '.join(missing)}")
    return facts


def _read_size(recipe: Path, config: Mapping[str, object], group: str, name: str) -> int:
    try:
        return int(config[group][name])  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{recipe}: expected a whole number {group}.{name}, found none: {error}") from error


def _read_objective(recipe: Path, config: Mapping[str, object]) -> str:
    """The objective's name; "mec" where there is none, because the versions that wrote none knew no other."""
    group = config.get("objective", {})
    name = group.get("name", "mec") if isinstance(group, dict) else None
    if not isinstance(name, str):
        raise ValueError(f"{recipe}: expected a name as objective.name, found {json.dumps(group)}")
    return name


def _steps_per_epoch(log: Path, points: list[CurvePoint]) -> float:
    if not points:
        raise ValueError(f"{log}: holds no line")
    last = max(points, key=lambda p: p.step)
    return last.step / last.epoch


def _knn_points(run: Path, steps_per_epoch: float) -> list[CurvePoint]:
    """kNN top-1 of the run's checkpoints: rows of ``results.csv`` files below the folder."""
    points = []
    for path in sorted(run.rglob("results.csv")):
        for row in read_rows(path, published=False):
            if row.task != "knn" or row.metric != "top1" or row.value is None:
                continue
            if not row.pretrain_epochs.isdecimal():
                raise ValueError(f"{path}: a kNN row without a number of pre-training epochs")
            epoch = int(row.pretrain_epochs)
            points.append(
                CurvePoint(
                    *(run.name, round(epoch * steps_per_epoch), float(epoch), KNN, row.value),
                    *(row.source, row.config_sha256, row.code_version, row.hardware),
                )
            )
    return points


def _read_file(path: Path) -> Iterable[CurvePoint]:
    seen: set[tuple[object, ...]] = set()
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.reader(handle)
        if tuple(next(reader, ())) != HEADER:
            raise ValueError(f"{path}:1: expected the header {','.join(HEADER)}")
        for cells in reader:
            place = f"{path}:{reader.line_num}"
            if len(cells) != len(HEADER):
                raise ValueError(f"{place}: expected {len(HEADER)} cells, found {len(cells)}")
            run, step, epoch, metric, value, *rest = cells
            if metric not in METRICS:
                raise ValueError(f"{place}: metric {metric!r} is none of {', '.join(METRICS)}")
            if not step.isdecimal() or not all(_is_finite(text) for text in (epoch, value)):
                raise ValueError(
                    f"{place}: step, epoch or value is no finite number: {step}, {epoch}, {value}"
                )
            point = CurvePoint(run, int(step), float(epoch), metric, float(value), *rest)
            key = (point.run, point.metric, point.step)
            if not run or key in seen:
                raise ValueError(f"{place}: run, metric and step must be there, and only once: {key}")
            seen.add(key)
            yield point


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _to_text(cell: object) -> str:
    return f"{cell:.8g}" if isinstance(cell, float) else str(cell)
