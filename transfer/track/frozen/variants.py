"""The variants of a task that links what is given: layers, motion cues on and off, the floor.

Used by MOTS and poses; a variant is one tracker and one protocol of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

from transfer.report.rows import FAILED, Measurement
from transfer.track.frozen.association import Thresholds
from transfer.track.frozen.mask_tracking import Links, Variant
from transfer.track.frozen.results import SequenceValue, write_per_sequence

FLOOR = "no-appearance"
# Of all sequences together, and of each; None where a sequence alone has no number.
Scores: TypeAlias = tuple[Mapping[str, float], Mapping[str, Mapping[str, float | None]]]
DATA_FIELDS = ("detections",)  # no constants of the protocols


class LinkConfig(Protocol):
    """What a configuration of such a task has."""

    dataset: str
    split: str
    protocol: str
    layers: list[int]
    motion: list[bool]
    floors: bool
    first_stage_thres: float
    iou_thres: float
    confirm_iou_thres: float
    dup_iou_thres: float
    conf_thres: float
    track_buffer: int
    use_kalman: bool
    motion_lambda: float
    motion_gated: bool
    feat_size: list[int]
    frames_at_once: int

    @property
    def protocols(self) -> tuple[str, ...]: ...


def stems(config: LinkConfig) -> tuple[str, ...]:
    """The protocols without what deviates, in the order of :func:`list_variants`."""
    named = [
        f"{config.protocol}-{'motion-' if motion else ''}layer{layer}"
        for motion in config.motion
        for layer in config.layers
    ]
    return (*named, *([FLOOR] if config.floors else []))


def list_variants(
    config: LinkConfig,
    max_areas: Mapping[int, int],
    only_position: bool = False,
    confirmed_at_once: bool = False,
) -> list[Variant]:
    """The variants of a configuration.

    Args:
        config: as read.
        max_areas: cells of the feature grid that a mask may have, by layer.
        only_position: motion is judged by the boxes' centres alone.
        confirmed_at_once: a track counts from its first frame on.
    """
    common = Thresholds(
        first_stage=config.first_stage_thres,
        second_stage=config.iou_thres,
        confirm_iou=config.confirm_iou_thres,
        duplicate_iou=config.dup_iou_thres,
        confidence=config.conf_thres,
        track_buffer=config.track_buffer,
        use_kalman=config.use_kalman,
        motion=False,
        motion_lambda=config.motion_lambda,
        motion_gated=config.motion_gated,
        only_position=only_position,
        confirmed_at_once=confirmed_at_once,
    )
    chosen: list[tuple[int | None, Thresholds]] = [
        (layer, replace(common, motion=motion)) for motion in config.motion for layer in config.layers
    ]
    if config.floors:
        chosen.append((None, replace(common, appearance=False)))
    return [
        Variant(protocol, layer, thresholds, max_areas[layer] if layer is not None else 0)
        for protocol, (layer, thresholds) in zip(config.protocols, chosen, strict=True)
    ]


def check_links(config: LinkConfig, max_areas: Mapping[int, int]) -> None:
    """Refuse what cannot be, before any work.

    Raises:
        ValueError: names the setting.
    """
    if not config.layers or len(set(config.layers)) < len(config.layers) or not {*config.layers} <= {3, 4}:
        raise ValueError(f"layers: expected 3, 4 or both, found {config.layers}")
    if not config.motion or len(set(config.motion)) < len(config.motion):
        raise ValueError(f"motion: expected false, true or both, found {config.motion}")
    if len(config.feat_size) != 2 or min(config.feat_size) < 1:
        raise ValueError(f"feat_size: expected two numbers of at least 1, found {config.feat_size}")
    for name in ("first_stage_thres", "iou_thres", "confirm_iou_thres", "dup_iou_thres", "motion_lambda"):
        value = getattr(config, name)
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name}: expected a number from 0 to 1, found {value}")
    for name, found in (
        *((name, getattr(config, name)) for name in ("track_buffer", "frames_at_once")),
        *((f"max_mask_area of layer{layer}", area) for layer, area in max_areas.items()),
    ):
        if found < 1:
            raise ValueError(f"{name}: expected at least 1, found {found}")


def measure_variants(
    config: LinkConfig,
    out: Path,
    backend: str,
    metrics: Sequence[str],
    variants: Sequence[Variant],
    found: Sequence[Mapping[str, Links]],
    score: Callable[[str], Scores],
) -> Iterator[Measurement]:
    """The rows of each variant, or why it has none; ``out/per_sequence.csv`` at the end.

    Args:
        found: what was linked, by sequence, then protocol.
        score: of a protocol, the numbers of all sequences together, and those of each.
    """
    table: list[SequenceValue] = []
    for variant in variants:
        row = partial(Measurement, config.dataset, config.split, variant.protocol, backend)
        try:
            failures = [part[variant.protocol].failure for part in found if part[variant.protocol].failure]
            if failures:
                raise ValueError("; ".join(failures))
            pooled, by_sequence = score(variant.protocol)
        except ValueError as error:
            for metric in metrics:
                yield row(metric, None, None, status=f"{FAILED}{error}")
            continue
        for name, scores in by_sequence.items():
            table += [SequenceValue(variant.protocol, name, *value) for value in scores.items()]
        for metric in metrics:
            yield row(metric, pooled[metric], len(found))
    write_per_sequence(out, table)
