"""Single-object tracking by frozen features: cross-correlation and a correlation filter, on two layers.

UniTrack's protocol (commit a83e782) with its hard-coded constants; nothing is trained. Rows
``unitrack-xcorr-layer3``, ``unitrack-dcf-layer3``, the same of layer4, and the floor ``static-box``: the
first box, which never moves.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import MISSING

from transfer.backbone.contract import Backbone
from transfer.data.one_target import read_davis_boxes, read_mot_targets
from transfer.data.otb import BoxSequence, read_lasot, read_otb
from transfer.ranks import choose_device
from transfer.report.items import name_items
from transfer.report.rows import Measurement
from transfer.track.frozen.appearance import STRIDE, AppearanceModel, build_appearance
from transfer.track.frozen.dcf import DCF
from transfer.track.frozen.frames import read_ahead
from transfer.track.frozen.protocol_ids import row_ids
from transfer.track.frozen.results import (
    IndexEntry,
    SequenceValue,
    tracks_folder,
    write_index,
    write_per_sequence,
)
from transfer.track.frozen.search_region import SearchSettings
from transfer.track.frozen.sot_tracking import Head, Tracker, track
from transfer.track.frozen.videos import map_videos
from transfer.track.frozen.xcorr import XCorr
from transfer.track.scores.ope_scores import score_sequence
from transfer.writing import write_text

logger = logging.getLogger(__name__)
METRICS = ("success", "norm_precision", "precision")
READERS = {"otb": read_otb, "lasot": read_lasot, "davis": read_davis_boxes, "mot": read_mot_targets}
DERIVED = ("davis", "mot")  # whose truth is in no text of OTB's form: it is written beside the tracks
XCORR_FIELDS = ("response_scale",)
DCF_FIELDS = ("lambda0", "output_sigma_factor", "interp_factor")
POSITIVE = (
    *("padding", "scale_step", "scale_penalty", "min_scale", "max_scale", "min_size", "num_scales"),
    *("response_scale", "lambda0", "output_sigma_factor", "frames_at_once"),
)
OTHERS = ("layout", "heads")  # that choose data or rows


@dataclass
class Config:
    """A set of videos with one target each, and the constants of the search."""

    dataset: str = MISSING  # as in the rows: otb2015, otb-crossing, mini-sot
    split: str = "test"
    protocol: str = "unitrack"
    seed: int = 0  # of the rows; nothing here is random
    root: str = MISSING
    sequences: list[str] = field(default_factory=list)  # none: all that are there
    layout: str = "otb"  # or davis, mot; or lasot, whose frames without target are left out
    layers: list[int] = field(default_factory=lambda: [3, 4])
    heads: list[str] = field(default_factory=lambda: ["xcorr", "dcf"])
    floors: bool = True
    crop_size: int = 520  # pixels along a side of a crop
    padding: float = 3.5  # of the target's size, added to it
    num_scales: int = 3
    scale_step: float = 1.0275
    scale_penalty: float = 0.985
    min_scale: float = 0.2  # of the first size
    max_scale: float = 5.0
    min_size: float = 4.0  # pixels
    response_scale: float = 0.1  # XCorr
    lambda0: float = 1e-4  # DCF, like those below
    output_sigma_factor: float = 0.1
    interp_factor: float = 0.01
    device: str = "auto"
    frames_at_once: int = 12  # crops in one forward pass
    videos_at_once: int = 0  # 0: as many as there are cores

    def __post_init__(self) -> None:
        for key, known in (("layout", tuple(READERS)), ("heads", ("xcorr", "dcf")), ("layers", (3, 4))):
            given = getattr(self, key)
            values = given if isinstance(given, list) else [given]
            if not set(values) <= set(known) or len(set(values)) != len(values):
                raise ValueError(f"{key}: expected {' or '.join(map(str, known))}, found {given}")
        if not self.protocols:
            raise ValueError("layers, heads, floors: expected something to measure, found none")
        for key in POSITIVE:
            if not getattr(self, key) > 0:
                raise ValueError(f"{key}: expected a positive number, found {getattr(self, key)}")
        if not 0.0 <= self.interp_factor <= 1.0:
            raise ValueError(f"interp_factor: expected 0 to 1, found {self.interp_factor}")
        cells = self.search.template_cells
        if self.crop_size % STRIDE or cells.stop <= cells.start:
            least = STRIDE * int(np.ceil(2 * (self.padding + 1)))
            raise ValueError(
                f"crop_size: expected a multiple of {STRIDE} of at least {least}, found {self.crop_size}; "
                "the target would have no feature of its own"
            )

    @property
    def search(self) -> SearchSettings:
        """The constants that both heads share."""
        return SearchSettings(
            self.crop_size,
            self.padding,
            self.num_scales,
            self.scale_step,
            self.scale_penalty,
            self.min_scale,
            self.max_scale,
            self.min_size,
        )

    @property
    def trackers(self) -> dict[str, tuple[str, int]]:
        """Head and layer of each row but the floor, by protocol."""
        unused = {"xcorr": DCF_FIELDS, "dcf": XCORR_FIELDS}
        pairs = [(head, layer) for head in self.heads for layer in self.layers]
        ids = [
            row_ids(self, [f"{self.protocol}-{head}-layer{layer}"], (*OTHERS, *unused[head]))[0]
            for head, layer in pairs
        ]
        return dict(zip(ids, pairs, strict=True))

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols of the rows."""
        return (*self.trackers, *(("static-box",) if self.floors else ()))

    def new_head(self, name: str) -> Head:
        """``xcorr`` or ``dcf``, before its first frame."""
        if name == "xcorr":
            return XCorr(self.search, self.response_scale)
        return DCF(self.search, self.lambda0, self.output_sigma_factor, self.interp_factor)


@dataclass(frozen=True)
class Tracked:
    """Boxes ``(N, 4)`` of one sequence by protocol, as written, or why there are none."""

    boxes: dict[str, NDArray[np.float64]]
    faults: dict[str, str]


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """Track every sequence; write ``out/tracks`` and ``out/per_sequence.csv``; give means over sequences.

    A protocol whose numbers become NaN in any sequence has rows that say so; the others' stay.

    Raises:
        FileNotFoundError, ValueError: as the reader of the set, or a backbone without stride 8.
        SequenceError: what went wrong in one sequence.
    """
    sequences = READERS[config.layout](Path(config.root), config.sequences)
    device = choose_device(config.device)
    model = build_appearance(backbone, config.layers, device) if config.trackers else None
    truths = {s.name: s.ground_truth for s in sequences}
    if config.layout in DERIVED:
        truths = {s.name: out.resolve() / "truth" / f"{s.name}.txt" for s in sequences}
        for sequence in sequences:
            write_boxes(truths[sequence.name], sequence.boxes)
    write_index(out, "boxes", [IndexEntry(s.name, s.frames, truths[s.name]) for s in sequences])

    def one(sequence: BoxSequence) -> Tracked:
        tracked = track_sequence(sequence, model, config)
        for protocol, boxes in tracked.boxes.items():
            write_boxes(tracks_folder(out, protocol) / f"{sequence.name}.txt", boxes)
        return tracked

    results = map_videos(one, sequences, config.videos_at_once)
    scores = {
        protocol: [
            score_boxes(tracked.boxes.get(protocol), sequence, config.layout)
            for sequence, tracked in zip(sequences, results, strict=True)
        ]
        for protocol in config.protocols
    }
    write_per_sequence(
        out,
        [
            SequenceValue(protocol, sequence.name, metric, None if score is None else score[metric])
            for protocol in config.protocols
            for sequence, score in zip(sequences, scores[protocol], strict=True)
            for metric in METRICS
        ],
    )
    names = [sequence.name for sequence in sequences]
    for protocol in config.protocols:
        faults = {
            name: tracked.faults[protocol]
            for name, tracked in zip(names, results, strict=True)
            if protocol in tracked.faults
        }
        yield from measure(protocol, names, scores[protocol], faults, config)


def track_sequence(sequence: BoxSequence, model: AppearanceModel | None, config: Config) -> Tracked:
    """All of a configuration's trackers on one sequence; boxes rounded to what is written."""
    made = {
        protocol: Tracker(config.new_head(head), layer) for protocol, (head, layer) in config.trackers.items()
    }
    if model is not None:
        frames = read_ahead(sequence.frames)
        track(frames, sequence.boxes[0], model, list(made.values()), config.search, config.frames_at_once)
    boxes = {protocol: np.stack(tracker.boxes) for protocol, tracker in made.items() if not tracker.fault}
    if config.floors:
        boxes["static-box"] = np.repeat(sequence.boxes[:1], len(sequence.frames), axis=0)
    faults = {protocol: tracker.fault for protocol, tracker in made.items() if tracker.fault}
    return Tracked({protocol: np.round(found, 4) for protocol, found in boxes.items()}, faults)


def write_boxes(path: Path, boxes: NDArray[np.float64]) -> None:
    """OTB's format: ``x,y,width,height`` from 1, one line a frame."""
    lines = [",".join(f"{value:.10g}" for value in box) for box in boxes]
    write_text(path, "".join(f"{line}\n" for line in lines))


def score_boxes(
    boxes: NDArray[np.float64] | None, sequence: BoxSequence, layout: str
) -> dict[str, float] | None:
    """The metrics of one sequence; None where the tracker stopped."""
    if boxes is None:
        return None
    if layout == "lasot":
        present = ~np.isnan(sequence.boxes).any(axis=1)
        return score_sequence(boxes[present], sequence.boxes[present])
    return score_sequence(boxes, sequence.boxes)


def measure(
    protocol: str,
    names: Sequence[str],
    scores: Sequence[Mapping[str, float] | None],
    faults: Mapping[str, str],
    config: Config,
) -> Iterator[Measurement]:
    """The means over sequences of one protocol, or rows that say why there is none."""
    status, whole = "ok", [score for score in scores if score is not None]
    if faults:
        name, fault = next(iter(faults.items()))
        more = f" (and {len(faults) - 1} more sequences)" if len(faults) > 1 else ""
        status = f"failed: {name}: {fault}{more}"
        logger.warning("%s: %s", protocol, status)
    for metric in METRICS:
        values = [score[metric] for score in whole]
        yield Measurement(
            config.dataset,
            config.split,
            protocol,
            "torch",
            metric,
            None if faults else float(np.mean(values)),
            None if faults else len(names),
            status=status,
            items=None if faults else name_items(names, values),
        )
