"""Link given masks through a video by the features inside them: what MOTS and pose tracking share.

The features of a frame are computed once; every variant (layer, motion cues, the floor without appearance)
has a tracker of its own on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer.track.frozen.appearance import STRIDE, AppearanceModel
from transfer.track.frozen.association import Observation, Thresholds, Tracker
from transfer.track.frozen.frames import in_batches, read_ahead
from transfer.track.frozen.mask_points import find_positions, random_points, take_points

SCORE = 1.0  # given masks and poses are all believed, as in the original


@dataclass(frozen=True)
class Given:
    """What is to be linked in a frame, N of it.

    ``masks`` (N, h, w) bool on the feature grid; ``boxes`` (N, 4) left, top, width, height, in any unit of
    length that is the same throughout the video; ``indices`` (N,) name it among all that was given there.
    """

    masks: Tensor
    boxes: NDArray[np.float64]
    indices: Sequence[int]


@dataclass(frozen=True)
class Variant:
    """One way to link: by the features of ``layer``, or by overlap alone where it is None."""

    protocol: str
    layer: int | None
    thresholds: Thresholds
    max_area: int = 0  # cells of the grid; 0 without a layer


@dataclass
class Links:
    """What one variant found in one video: for each frame (track id, index) pairs, or why it failed."""

    frames: list[list[tuple[int, int]]] = field(default_factory=list)
    came_back: list[set[int]] = field(default_factory=list)  # for each frame the tracks lost until then
    failure: str = ""


# Of a frame from 0, the image's and the grid's (height, width).
Observe = Callable[[int, tuple[int, int], tuple[int, int]], Given]


@dataclass(frozen=True)
class Video:
    """One video to link masks in."""

    name: str
    frames: Sequence[Path]
    frame_rate: float
    observe: Observe


def link_masks(
    model: AppearanceModel,
    video: Video,
    variants: Sequence[Variant],
    frames_at_once: int,
    num_random: int,
    seed: int,
) -> dict[str, Links]:
    """Track the given masks of one video, once for each variant.

    Args:
        model: gives the features of all layers in one pass.
        video: its frames are read once.
        variants: with different protocols.
        frames_at_once: frames in one pass.
        num_random: points of a mask without a cell on the grid; their features are random.
        seed: of these.

    Returns:
        By protocol. Features that are not finite end the variants of their layer, and no other.
    """
    found = {variant.protocol: Links() for variant in variants}
    trackers = {variant.protocol: Tracker(variant.thresholds, video.frame_rate) for variant in variants}
    index = 0
    for images in in_batches(read_ahead(video.frames), frames_at_once):
        maps = model(model.prepare(images))
        for number, image in enumerate(images):
            size = (image.shape[1], image.shape[2])
            grid = (-(-size[0] // STRIDE), -(-size[1] // STRIDE))
            given = video.observe(index, size, grid)
            points = _Points(given, {layer: part[number] for layer, part in maps.items()}, model.device)
            for variant in variants:
                links = found[variant.protocol]
                if links.failure:
                    continue
                features = points.of(variant, (seed, video.name, index), num_random)
                if features is None:
                    links.failure = (
                        f"features of layer{variant.layer} are not finite in {video.name}, frame {index + 1}"
                    )
                    continue
                observations = [
                    Observation(box, SCORE, part, payload)
                    for box, part, payload in zip(given.boxes, features, given.indices, strict=True)
                ]
                tracked = trackers[variant.protocol].update(observations)
                links.frames.append([(track.track_id, given.indices[track.index]) for track in tracked])
                links.came_back.append({track.track_id for track in tracked if track.came_back})
            index += 1
    return found


class _Points:
    """Point features of the masks of a frame, computed when asked for and once for each layer and area."""

    def __init__(self, given: Given, maps: dict[int, Tensor], device: torch.device) -> None:
        self.given = given
        self.maps = maps
        self.masks = given.masks.to(device)
        self.device = device
        self.features: dict[tuple[int, int], list[Tensor] | None] = {}

    def of(self, variant: Variant, place: tuple[int, str, int], num_random: int) -> list[Tensor] | None:
        """Features ``(P_i, C)`` of each mask, none of a point without a layer; None if not all are finite."""
        if variant.layer is None:
            return [torch.zeros(0, 1, device=self.device) for _ in self.given.indices]
        key = (variant.layer, variant.max_area)
        if key not in self.features:
            features = self.maps[variant.layer]
            parts = []
            for index, mask in zip(self.given.indices, self.masks, strict=True):
                positions = find_positions(mask, variant.max_area)
                if positions is None:
                    parts.append(random_points(num_random, len(features), (*place, index), self.device))
                else:
                    parts.append(take_points(features, positions))
            finite = not parts or bool(torch.isfinite(torch.cat(parts)).all())
            self.features[key] = parts if finite else None
        return self.features[key]
