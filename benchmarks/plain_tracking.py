"""Frozen-feature tracking the plain way, as a reference for speed and results: benchmarks/frozen_tracking.py.

One run a row (layer, and head or motion cues): its own decoding and forward passes, torch's network in eval
mode as it is, one frame at a time (SOT: the scales of a frame in one batch, as UniTrack has it), every
affinity in one dense matrix, every reconstruction made. What is not feature or similarity (crops, letterbox,
Kalman filter, assignment) is the project's own code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from transfer.backbone.contract import Backbone, build_resnet
from transfer.data.davis import MaskSequence, read_mask
from transfer.data.mot_sequences import MotSequence
from transfer.data.otb import BoxSequence
from transfer.track.frozen import kalman, mot_task, sot_task
from transfer.track.frozen.appearance import STRIDE, set_strides
from transfer.track.frozen.association import Observation, Thresholds, Tracker
from transfer.track.frozen.frames import read_image
from transfer.track.frozen.letterbox import Letterbox
from transfer.track.frozen.propagation import Constants
from transfer.track.frozen.search_region import SearchSettings, Target, crop

Features = Callable[[Tensor], Tensor]  # uint8 (3, H, W) or normalised (B, 3, H, W) -> (B, C, h, w)


class PlainNetwork:
    """The ResNet with strides set, cut after a layer."""

    def __init__(self, backbone: Backbone, layer: int) -> None:
        resnet = build_resnet(backbone).eval()
        set_strides(resnet)
        stages = [resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool]
        stages += [getattr(resnet, f"layer{number}") for number in range(1, layer + 1)]
        self.network = nn.Sequential(*stages)  # type: ignore[arg-type]
        self.mean = torch.tensor(backbone.info.mean()).view(1, 3, 1, 1)
        self.std = torch.tensor(backbone.info.std()).view(1, 3, 1, 1)

    def prepare(self, image: Tensor) -> Tensor:
        """uint8 (3, H, W) -> (1, 3, H, W)."""
        return (image[None].float() / 255.0 - self.mean) / self.std

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.network(pixels)
        return features


def track_xcorr(sequence: BoxSequence, network: PlainNetwork, config: sot_task.Config) -> list[np.ndarray]:  # type: ignore[type-arg]
    """Boxes of every frame."""
    template: list[Tensor] = []

    def learn(features: Tensor) -> None:
        if not template:
            template.append(features)

    def respond(search: Tensor) -> Tensor:
        return config.response_scale * F.conv2d(search, template[0])[:, 0]

    def shift(row: int, column: int, side: int) -> np.ndarray:  # type: ignore[type-arg]
        return (np.array([column, row]) - side / 2) / side

    return _follow(sequence, network, config.search, learn, respond, shift, learns=False)


def track_dcf(sequence: BoxSequence, network: PlainNetwork, config: sot_task.Config) -> list[np.ndarray]:  # type: ignore[type-arg]
    """Boxes of every frame."""
    settings = config.search
    state: dict[str, Tensor] = {}
    n, cells = settings.num_cells, settings.template_cells
    distance = np.minimum(np.arange(n), n - np.arange(n)) ** 2.0
    sigma = n / (1 + settings.padding) * config.output_sigma_factor
    label = torch.from_numpy(np.exp(-0.5 / sigma**2 * (distance[:, None] + distance[None]))).float()
    label_f = torch.fft.rfft2(label)

    def learn(features: Tensor) -> None:
        masked = torch.zeros(features.shape[1], n, n)
        masked[:, cells, cells] = features[0]
        z = torch.fft.rfft2(masked)
        alpha = label_f / ((z * z.conj()).real.sum(0) + config.lambda0)
        rate = config.interp_factor if state else 1.0
        state["z"] = (1 - rate) * state["z"] + rate * z if state else z
        state["alpha"] = (1 - rate) * state["alpha"] + rate * alpha if "alpha" in state else alpha

    def respond(search: Tensor) -> Tensor:
        kernel = (torch.fft.rfft2(search) * state["z"].conj()).sum(1)
        response: Tensor = torch.fft.irfft2(kernel * state["alpha"], s=(n, n))
        return response

    def shift(row: int, column: int, side: int) -> np.ndarray:  # type: ignore[type-arg]
        return np.array([at - side if at > side / 2 else at for at in (column, row)]) / side

    return _follow(sequence, network, settings, learn, respond, shift, learns=True)


def _follow(
    sequence: BoxSequence,
    network: PlainNetwork,
    settings: SearchSettings,
    learn: Callable[[Tensor], None],
    respond: Callable[[Tensor], Tensor],
    shift: Callable[[int, int, int], np.ndarray],  # type: ignore[type-arg]
    *,
    learns: bool,
) -> list[np.ndarray]:  # type: ignore[type-arg]
    n, cells, padding = settings.num_cells, settings.template_cells, settings.padding
    window = torch.from_numpy(np.outer(np.hanning(n), np.hanning(n))).float()
    target = Target.from_box(sequence.boxes[0], sequence.size, settings)
    boxes = [sequence.boxes[0]]
    for number, path in enumerate(sequence.frames):
        image = network.prepare(read_image(path))
        if number:
            places = [(target.centre, target.window(scale, padding)) for scale in settings.scales]
            response = respond(network(crop(image, places, settings.crop_size)) * window)
            highest, index = response.flatten(1).max(1)
            best = int(np.argmax(highest.numpy() * settings.penalties))
            row, column = divmod(int(index[best]), response.shape[-1])
            moved = shift(row, column, response.shape[-1])
            target = target.moved(moved, float(settings.scales[best]), padding)
            boxes.append(target.box())
        if learns or not number:
            place = (target.centre, target.window(1.0, padding))
            learn(network(crop(image, [place], settings.crop_size))[..., cells, cells])
    return boxes


@torch.no_grad()
def propagate(sequence: MaskSequence, network: PlainNetwork, constants: Constants) -> list[np.ndarray]:  # type: ignore[type-arg]
    """Masks of every frame but the first, ``(H, W)``."""
    assert sequence.masks[0] is not None
    first_mask = read_mask(sequence.masks[0])
    ids = np.array([0, *sequence.object_ids], dtype=np.uint8)
    one_hot = torch.from_numpy(first_mask[None] == ids[:, None, None]).float()
    features: list[Tensor] = []
    labels: list[Tensor] = []
    masks, outside = [], torch.empty(0)
    for number, path in enumerate(sequence.frames):
        found = network(network.prepare(read_image(path)))[0]
        height, width = found.shape[1:]
        rows = F.normalize(found.flatten(1).T, dim=1)
        if not number:
            shares = F.interpolate(one_hot[None], (height, width), mode="bilinear", align_corners=False)
            features, labels = [rows], [shares[0].flatten(1).T]
            y, x = (part.flatten() for part in torch.meshgrid(
                torch.arange(height), torch.arange(width), indexing="ij"))  # fmt: skip
            outside = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2 >= constants.radius**2
            continue
        recent = range(number - constants.num_context, number)
        context = torch.cat([features[0], *(features[max(k, 0)] for k in recent)])
        voters = torch.cat([labels[0], *(labels[max(k, 0)] for k in recent)])
        affinities = rows @ context.T
        affinities[:, len(rows) :].masked_fill_(outside.repeat(1, constants.num_context), -torch.inf)
        values, places = (affinities / constants.temperature).topk(constants.topk, dim=1)
        predicted = (values.softmax(1)[..., None] * voters[places]).sum(1)
        features.append(rows)
        labels.append(predicted)
        whole = F.interpolate(
            predicted.T.view(1, -1, height, width), first_mask.shape, mode="bilinear", align_corners=False
        )
        masks.append(ids[whole[0].argmax(0).numpy()])
    return masks


class PlainTracker(Tracker):
    """The tracker, with every reconstruction made and compared."""

    def _appearance_costs(self, pool, observations):  # type: ignore[no-untyped-def]
        limits = self.thresholds
        if not pool or not observations:
            return np.zeros((len(pool), len(observations)))
        tracks = F.normalize(torch.stack([track.observation.points for track in pool]), dim=2)
        given = F.normalize(torch.stack([one.points for one in observations]), dim=2)
        costs = 1 - 0.5 * (_rebuilt(tracks, given) + _rebuilt(given, tracks).T)
        found = costs.numpy().astype(np.float64)
        if limits.motion:
            distances = kalman.gating_distances(
                np.stack([track.mean for track in pool]),
                np.stack([track.covariance for track in pool]),
                kalman.to_measurement(np.stack([one.box for one in observations])),
            )
            found = limits.motion_lambda * found + (1 - limits.motion_lambda) * distances
            if limits.motion_gated:
                found[distances > kalman.CHI2_95[4]] = np.inf
        return found


def _rebuilt(sets: Tensor, sources: Tensor, temperature: float = 100.0) -> Tensor:
    """Cosines (N, M) of sets (N, P, C) with what each of the sources (M, Q, C) makes of them."""
    (num, points, channels), (others, other_points, _) = sets.shape, sources.shape
    affinities = sets.flatten(0, 1) @ sources.flatten(0, 1).T
    weights = (temperature * affinities).softmax(1).view(num, points, others, other_points)
    rebuilt = torch.einsum("npmq,mqc->nmpc", weights, sources).flatten(2)
    whole = sets.flatten(1)[:, None]
    return F.cosine_similarity(rebuilt, whole.expand(-1, others, points * channels), dim=2)


def link_boxes(
    sequence: MotSequence, network: PlainNetwork, thresholds: Thresholds, config: mot_task.Config
) -> list[list[tuple[int, int]]]:
    """For each frame the tracks and the given boxes that they hold."""
    tracker = PlainTracker(thresholds, sequence.info.frame_rate)
    width, height = config.img_size
    letterbox = Letterbox((sequence.info.width, sequence.info.height), (width, height))
    held = []
    for frame, path in enumerate(sequence.frames, start=1):
        boxes = sequence.detections.of(frame)
        boxes = boxes[boxes[:, 4] > config.conf_thres]
        features = network(network.prepare(letterbox.fit_image(read_image(path))))
        corners = torch.from_numpy(letterbox.fit_boxes(boxes)).float()
        pooled = roi_align(features, [corners], tuple(config.feat_size), spatial_scale=1 / STRIDE)
        points = pooled.flatten(2).transpose(1, 2)
        observations: Sequence[Observation] = [
            Observation(box[:4], float(box[4]), part) for box, part in zip(boxes, points, strict=True)
        ]
        held.append(sorted((track.track_id, track.index) for track in tracker.update(observations)))
    return held
