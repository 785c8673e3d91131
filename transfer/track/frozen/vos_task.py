"""Video object segmentation on frozen features: the first frame's masks, propagated by similarity.

UniTrack's protocol (Wang et al., NeurIPS 2021), in which nothing is trained: features of layer3 or layer4 at
stride 8 of whole frames (:mod:`transfer.track.frozen.appearance`), label propagation
(:mod:`transfer.track.frozen.propagation`), soft labels enlarged bilinearly to the frame, the largest wins.
Scored by TrackEval (:mod:`transfer.track.scores.vos_scores`). Its settings ``cropSize`` -1 (whole frames) and
``norm_mask`` false are off, and have no counterpart here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from omegaconf import MISSING
from torch import Tensor

from transfer.backbone.contract import Backbone
from transfer.data.davis import MaskSequence, read_davis, read_mask, write_mask
from transfer.ranks import choose_device
from transfer.report.items import name_items
from transfer.report.rows import FAILED, Measurement
from transfer.track.frozen.appearance import AppearanceModel, build_appearance
from transfer.track.frozen.frames import in_batches, read_ahead
from transfer.track.frozen.propagation import Constants, Propagation
from transfer.track.frozen.protocol_ids import row_ids
from transfer.track.frozen.results import (
    IndexEntry,
    SequenceValue,
    tracks_folder,
    write_index,
    write_per_sequence,
)
from transfer.track.frozen.videos import map_videos
from transfer.track.scores.vos_scores import (
    METRICS,
    ObjectScore,
    average,
    load_scorers,
    name_objects,
    score_objects,
)

logger = logging.getLogger(__name__)

FLOOR = "first-frame-copy"
BACKEND = "torch, TrackEval"
Scores: TypeAlias = "dict[int, ObjectScore]"  # by object


@dataclass
class Config:
    """Where the videos lie, and the constants of the protocol with their published values."""

    dataset: str = MISSING  # as in the rows: davis2017, davis16, mini
    split: str = "val"
    protocol: str = "unitrack"
    seed: int = 0  # decides nothing: the protocol draws nothing
    root: str = MISSING  # folder with JPEGImages and Annotations
    image_set: str = ""  # list below ImageSets: 2017/val; none: every sequence that has frames
    sequences: list[str] = field(default_factory=list)  # of these only some; none: all
    layers: list[int] = field(default_factory=lambda: [3, 4])
    floors: bool = True
    device: str = "auto"  # cuda where there is one, else cpu
    frames_at_once: int = 4  # in one forward pass
    videos_at_once: int = 0  # side by side; 0: as many as there are threads
    temperature: float = 0.05
    topk: int = 10
    radius: float = 12.0  # in positions of the features
    num_context: int = 5  # frames before the one at hand; UniTrack's videoLen
    first_frame: bool = True  # the whole first frame is context; UniTrack's long_mem [0]
    normalise: bool = True  # features to unit length; UniTrack's no_l2 false

    def __post_init__(self) -> None:
        _ = self.constants
        if not self.layers or not set(self.layers) <= {3, 4} or len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers: expected 3, 4 or both, found {list(self.layers)}")
        if self.frames_at_once < 1:
            raise ValueError(f"frames_at_once: expected at least 1, found {self.frames_at_once}")

    @property
    def constants(self) -> Constants:
        """Those of the propagation."""
        return Constants(
            self.temperature,
            self.topk,
            self.radius,
            self.num_context,
            self.first_frame,
            self.normalise,
        )

    @property
    def by_layer(self) -> dict[int, str]:
        """The protocol of each layer's rows."""
        stems = [f"{self.protocol}-layer{layer}" for layer in self.layers]
        return dict(zip(self.layers, row_ids(self, stems, ("image_set",)), strict=True))

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols of the rows: one a layer, and the floor."""
        return (*self.by_layer.values(), *((FLOOR,) if self.floors else ()))


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """J, F and their mean of every protocol, from one pass over the features of each video.

    Writes ``out/tracks/<protocol>/<sequence>/00000.png`` in DAVIS's format, the first frame as given;
    ``out/tracks/sequences.json`` and ``out/per_sequence.csv``. Features that are not finite fail the rows of
    their layer alone.

    Raises:
        FileNotFoundError, ValueError: what :func:`~transfer.data.davis.read_davis` refuses, or a video
            without masks or of fewer than three frames.
        ImportError: nothing to score with.
    """
    load_scorers()  # before the work, not after it
    sequences = read_davis(Path(config.root), config.image_set, config.sequences)
    check_scorable(sequences)
    model = build_appearance(backbone, config.layers, choose_device(config.device))
    write_index(
        out,
        "masks",
        (IndexEntry(s.name, s.frames, path.parent) for s in sequences if (path := s.masks[0]) is not None),
    )
    results = map_videos(
        lambda sequence: Video(sequence, model, config, out).score(), sequences, config.videos_at_once
    )
    by_name = {sequence.name: result for sequence, result in zip(sequences, results, strict=True)}
    write_per_sequence(out, _per_sequence(by_name, config.protocols))
    for protocol in config.protocols:
        yield from _measure(protocol, {name: result[protocol] for name, result in by_name.items()}, config)


def check_scorable(sequences: Sequence[MaskSequence]) -> None:
    """Refuse videos that have no score, all in one message.

    Raises:
        ValueError: fewer than three frames, or frames without a mask.
    """
    faults = [
        f"{sequence.name}: expected at least 3 frames, all with a mask, found {len(sequence.frames)} and "
        f"{sum(path is not None for path in sequence.masks)} masks; leave it out of sequences"
        for sequence in sequences
        if len(sequence.frames) < 3 or None in sequence.masks
    ]
    if faults:
        raise ValueError("\n".join(faults))


class Video:
    """One sequence while it is segmented; what it holds does not grow with the number of frames."""

    def __init__(self, sequence: MaskSequence, model: AppearanceModel, config: Config, out: Path) -> None:
        self.sequence = sequence
        self.model = model
        self.config = config
        self.out = out
        self.ids = torch.tensor([0, *sequence.object_ids], dtype=torch.uint8, device=model.device)
        self.failures: dict[str, str] = {}  # by protocol

    @cached_property
    def first_mask(self) -> NDArray[np.uint8]:
        """Numbers of the objects in frame 0, ``(H, W)``; what is void counts as background."""
        path = self.sequence.masks[0]
        assert path is not None  # check_scorable
        mask = read_mask(path)
        return np.where(np.isin(mask, self.sequence.object_ids), mask, np.uint8(0))

    def score(self) -> dict[str, Scores | str]:
        """Segment, write and score: by protocol the objects' scores, or why there are none."""
        self.propagate()
        if self.config.floors:
            for frame in self.sequence.frames:
                write_mask(self._path(FLOOR, frame), self.first_mask)
        return {
            protocol: self.failures.get(protocol) or self._score_written(protocol)
            for protocol in self.config.protocols
        }

    def propagate(self) -> None:
        """Segment every frame and write the masks."""
        states: dict[str, Propagation] = {}
        frames = iter(self.sequence.frames)
        for images in in_batches(read_ahead(self.sequence.frames), self.config.frames_at_once):
            features = self.model(self.model.prepare(images))
            for place in range(len(images)):
                frame = next(frames)
                for layer, protocol in self.config.by_layer.items():
                    if protocol in self.failures:
                        continue
                    try:
                        mask = self._step(states, protocol, features[layer][place])
                    except ValueError as error:
                        self.failures[protocol] = f"{self.sequence.name}: {error}"
                        logger.warning("%s: %s", protocol, self.failures[protocol])
                        continue
                    write_mask(self._path(protocol, frame), mask)

    def _step(self, states: dict[str, Propagation], protocol: str, features: Tensor) -> NDArray[np.uint8]:
        """The mask of the next frame."""
        if protocol not in states:
            size = features.shape[1], features.shape[2]
            states[protocol] = Propagation(features, self._shares(size), self.config.constants)
            return self.first_mask
        labels = F.interpolate(
            states[protocol](features)[None], self.first_mask.shape, mode="bilinear", align_corners=False
        )
        mask: NDArray[np.uint8] = self.ids[labels[0].argmax(dim=0)].cpu().numpy()
        return mask

    def _shares(self, size: tuple[int, int]) -> Tensor:
        """Labels ``(L, *size)`` of frame 0: background and objects, each a mask made smaller bilinearly."""
        ids = torch.from_numpy(self.first_mask).to(self.model.device)
        one_hot = (ids[None] == self.ids[:, None, None]).float()
        return F.interpolate(one_hot[None], size, mode="bilinear", align_corners=False)[0]

    def _score_written(self, protocol: str) -> Scores:
        """Score what lies on the disk, as whoever evaluates it elsewhere does."""
        truth = (read_mask(path) for path in self.sequence.masks if path is not None)
        found = (read_mask(self._path(protocol, frame)) for frame in self.sequence.frames)
        return score_objects(truth, found, self.sequence.object_ids)

    def _path(self, protocol: str, frame: Path) -> Path:
        return tracks_folder(self.out, protocol) / self.sequence.name / f"{frame.stem}.png"


def _per_sequence(
    by_name: Mapping[str, Mapping[str, Scores | str]], protocols: Sequence[str]
) -> Iterator[SequenceValue]:
    """Means over the objects of each sequence; nothing for those of a protocol that failed there."""
    for protocol in protocols:
        for name, results in by_name.items():
            scores = results[protocol]
            means = average(scores.values()) if not isinstance(scores, str) else dict.fromkeys(METRICS)
            yield from (SequenceValue(protocol, name, metric, means[metric]) for metric in METRICS)


def _measure(protocol: str, by_name: Mapping[str, Scores | str], config: Config) -> Iterator[Measurement]:
    """The rows of a protocol: means over all objects of all sequences, or why there are none."""
    failures = [scores for scores in by_name.values() if isinstance(scores, str)]
    scores = {name: scores for name, scores in by_name.items() if not isinstance(scores, str)}
    objects = name_objects(scores)
    means = None if failures else average(objects.values())
    of_objects = [average([score]) for score in objects.values()]
    for metric in METRICS:
        yield Measurement(
            config.dataset,
            config.split,
            protocol,
            BACKEND,
            metric,
            means[metric] if means is not None else None,
            len(objects) if means is not None else None,
            status=f"{FAILED}{failures[0]}" if failures else "ok",
            items=name_items(list(objects), [scored[metric] for scored in of_objects]) if means else None,
        )
