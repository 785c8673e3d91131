"""One target through one video, by several trackers side by side: the frames are read and prepared once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer.track.frozen.appearance import AppearanceModel
from transfer.track.frozen.search_region import Pair, SearchSettings, Target, TemplatePart, crop

Boxes = NDArray[np.float64]


class Head(Protocol):
    """What finds the target among the features of a crop: XCorr or DCF."""

    learns: bool  # from every frame, or from the first one only

    def update(self, template: Tensor) -> None: ...

    def respond(self, search: Tensor) -> Tensor: ...

    def shift(self, row: int, column: int, side: int) -> NDArray[np.float64]: ...


@dataclass
class Tracker:
    """A head on a layer, and where it believes the target to be."""

    head: Head
    layer: int
    boxes: list[NDArray[np.float64]] = field(default_factory=list)  # x, y, width, height from 1, one a frame
    fault: str = ""  # why it stopped; then it has fewer boxes than the video has frames
    target: Target | None = None

    def place(self, scale: float, padding: float) -> tuple[Pair, Pair]:
        """Centre and window of a crop."""
        assert self.target is not None, "a tracker starts with a box"
        return self.target.centre, self.target.window(scale, padding)


def track(
    frames: Iterator[Tensor],
    first_box: NDArray[np.float64],
    model: AppearanceModel,
    trackers: Sequence[Tracker],
    settings: SearchSettings,
    crops_at_once: int,
) -> None:
    """Follow the target through all frames; each tracker gets its boxes, or the reason why it stopped.

    Args:
        frames: uint8 ``(3, H, W)``, RGB.
        first_box: ``x, y, width, height`` from 1, in the first frame.
        model: gives the trackers' layers.
        trackers: new ones.
        settings: of the search.
        crops_at_once: in one forward pass.
    """
    n = settings.num_cells
    window = torch.from_numpy(np.outer(np.hanning(n), np.hanning(n)).astype(np.float32)).to(model.device)
    for number, frame in enumerate(frames):
        image = model.prepare(frame[None])
        alive = [tracker for tracker in trackers if not tracker.fault]
        if number == 0:
            for tracker in alive:
                size = (frame.shape[2], frame.shape[1])
                tracker.target = Target.from_box(first_box, size, settings)
            learners = alive
        else:
            _search(image, model, alive, settings, window, crops_at_once, number)
            learners = [tracker for tracker in alive if tracker.head.learns and not tracker.fault]
        _learn(image, model, learners, settings, crops_at_once)
        for tracker in alive:
            if not tracker.fault:
                assert tracker.target is not None
                # The first box as given: what is known is not computed.
                tracker.boxes.append(tracker.target.box() if number else first_box)


def _search(
    image: Tensor,
    model: AppearanceModel,
    trackers: Sequence[Tracker],
    settings: SearchSettings,
    window: Tensor,
    crops_at_once: int,
    number: int,
) -> None:
    """Move each tracker's target to the best of its responses at all scales, or note why that is none."""
    scales, padding = settings.scales, settings.padding
    peaks: list[Tensor] = []
    sides: list[int] = []
    for layer, group in by_layer(trackers).items():
        places = [tracker.place(scale, padding) for tracker in group for scale in scales]
        features = _features(image, model, layer, places, settings.crop_size, None, crops_at_once)
        for tracker, search in zip(group, torch.split(features.mul_(window), len(scales)), strict=True):
            response = tracker.head.respond(search)
            highest, index = response.flatten(1).max(1)
            peaks.append(torch.stack([highest.double(), index.double()]))
            sides.append(response.shape[-1])
    if not peaks:
        return
    found = torch.stack(peaks).cpu().numpy()  # one wait for the device a frame
    ordered = [tracker for group in by_layer(trackers).values() for tracker in group]
    for tracker, (heights, indices), side in zip(ordered, found, sides, strict=True):
        if not np.isfinite(heights).all():
            tracker.fault = f"the response to frame {number + 1} is NaN or infinite"
            continue
        best = int(np.argmax(heights * settings.penalties))
        row, column = divmod(int(indices[best]), side)
        assert tracker.target is not None
        shift = tracker.head.shift(row, column, side)
        tracker.target = tracker.target.moved(shift, float(scales[best]), padding)


def _learn(
    image: Tensor,
    model: AppearanceModel,
    trackers: Sequence[Tracker],
    settings: SearchSettings,
    crops_at_once: int,
) -> None:
    """Show each head the target where it is now."""
    for layer, group in by_layer(trackers).items():
        part = TemplatePart.of(settings, model.radius[layer])
        places = [tracker.place(1.0, settings.padding) for tracker in group]
        features = _features(image, model, layer, places, settings.crop_size, part.pixels, crops_at_once)
        for tracker, template in zip(
            group, torch.split(features[..., part.cells, part.cells], 1), strict=True
        ):
            tracker.head.update(template)


def _features(
    image: Tensor,
    model: AppearanceModel,
    layer: int,
    places: Sequence[tuple[Pair, Pair]],
    crop_size: int,
    pixels: slice | None,
    crops_at_once: int,
) -> Tensor:
    """Features of crops, ``(len(places), C, n, n)``."""
    return torch.cat(
        [
            model(crop(image, places[start : start + crops_at_once], crop_size, pixels), (layer,))[layer]
            for start in range(0, len(places), crops_at_once)
        ]
    )


def by_layer(trackers: Sequence[Tracker]) -> Mapping[int, list[Tracker]]:
    """Trackers that share forward passes."""
    groups: dict[int, list[Tracker]] = {}
    for tracker in trackers:
        groups.setdefault(tracker.layer, []).append(tracker)
    return groups
