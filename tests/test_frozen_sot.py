"""Single-object tracking as a task: against a plain tracker, and from folders of frames to rows."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from test_frozen_appearance import make_backbone, plain_features
from torch import Tensor
from track_sets import write_lasot, write_otb

from transfer.backbone.contract import Backbone
from transfer.data.otb import read_otb
from transfer.report.rows import Measurement
from transfer.track.frozen.appearance import AppearanceModel, build_appearance
from transfer.track.frozen.dcf import gaussian_label
from transfer.track.frozen.search_region import TemplatePart, crop
from transfer.track.frozen.sot_task import METRICS, Config, run, track_sequence
from transfer.track.frozen.sot_tracking import Tracker, track

CPU = torch.device("cpu")
CROP, CELLS = 104, 13  # pixels and features along a side; 2 features, 5 and 6, on the target
FIRST = np.array([103.0, 101.0, 20.0, 20.0])  # of the scene's square
IDS = ("xcorr-layer3", "xcorr-layer4", "dcf-layer3", "dcf-layer4")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return make_backbone()


@pytest.fixture(scope="module")
def model(backbone: Backbone) -> AppearanceModel:
    return build_appearance(backbone, [3, 4], CPU)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_otb(tmp_path / "otb", ("A", "B"), num_frames=4)


def configure(root: Path, **changes: object) -> Config:
    config = Config(dataset="squares", root=str(root), crop_size=CROP, device="cpu", frames_at_once=5)
    return replace(config, **changes)  # type: ignore[arg-type]


def scene(num_frames: int, shift: tuple[int, int] = (0, 0), size: int = 224) -> list[Tensor]:
    """A textured square of 20 pixels that moves over a smooth background; all moved by ``shift`` x, y."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(60, 180, (1, 3, 14, 14)))
    background = F.interpolate(coarse, size=(size, size), mode="bilinear").numpy()[0]
    square = rng.integers(0, 256, (3, 5, 5)).repeat(4, axis=1).repeat(4, axis=2)
    frames = []
    for frame in range(num_frames):
        image = background.copy()
        top, left = 100 + 2 * frame, 102 - 3 * frame
        image[:, top : top + 20, left : left + 20] = square
        frames.append(torch.from_numpy(np.roll(image, (shift[1], shift[0]), (1, 2)).astype(np.uint8)))
    return frames


def follow(frames: list[Tensor], first: NDArray[np.float64], model: AppearanceModel) -> list[Tracker]:
    config = configure(Path())
    trackers = [Tracker(config.new_head(head), layer) for head, layer in config.trackers.values()]
    track(iter(frames), first, model, trackers, config.search, 5)
    return trackers


@lru_cache(maxsize=1)
def follow_still() -> tuple[AppearanceModel, list[Tracker]]:
    """What every example is compared with."""
    model = build_appearance(make_backbone(), [3, 4], CPU)
    return model, follow(scene(3), FIRST, model)


@settings(max_examples=4, deadline=None)
@given(st.integers(-4, 4), st.integers(-4, 4))
def test_a_scene_that_is_moved_moves_the_boxes(dx: int, dy: int) -> None:
    """By whole strides of the network, though any pixel would do: crops follow the target."""
    model, still = follow_still()
    shift = np.array([8.0 * dx, 8.0 * dy, 0.0, 0.0])
    moved = follow(scene(3, (8 * dx, 8 * dy)), FIRST + shift, model)
    for a, b in zip(still, moved, strict=True):
        np.testing.assert_allclose(np.stack(b.boxes), np.stack(a.boxes) + shift, atol=1e-6)
    assert any(np.abs(tracker.boxes[2] - FIRST).max() > 1 for tracker in still)


def test_a_plain_tracker_finds_the_same_boxes(model: AppearanceModel, backbone: Backbone) -> None:
    """Frame by frame, scale by scale: whole crops, torch's convolution, transforms of every channel."""
    frames = scene(3)
    found = follow(frames, FIRST, model)
    for tracker, name in zip(found, IDS, strict=True):
        expected = plain_tracker(frames, FIRST, backbone, name[:-7], int(name[-1]))
        np.testing.assert_allclose(np.stack(tracker.boxes), expected, atol=1e-6, err_msg=name)


def plain_tracker(
    frames: list[Tensor], first: NDArray[np.float64], backbone: Backbone, head: str, layer: int
) -> NDArray[np.float64]:
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (backbone.info.mean(), backbone.info.std()))
    window = torch.from_numpy(np.outer(np.hanning(CELLS), np.hanning(CELLS))).float()
    on_target = torch.zeros(CELLS, CELLS)
    on_target[5:7, 5:7] = 1
    label = torch.fft.rfft2(gaussian_label(CELLS, CELLS / 4.5 * 0.1))
    centre, size = first[:2] - 1 + first[2:] / 2, first[2:].copy()
    least, most, boxes = np.maximum(0.2 * size, 4), np.minimum(frames[0].shape[1:], 5 * size), [first]

    def look(frame: Tensor, scale: float) -> Tensor:
        image = ((frame.float() / 255 - mean) / std)[None]
        return plain_features(backbone, crop(image, [(centre, size * (scale * 4.5))], CROP))[layer]

    def fit(features: Tensor) -> tuple[Tensor, Tensor]:
        spectrum = torch.fft.rfft2(features * on_target)
        return spectrum, label / (spectrum.abs().square().sum(1) + 1e-4)

    template = look(frames[0], 1.0)
    spectrum, weights = fit(template)
    for frame in frames[1:]:
        best: tuple[float, int, float, int] = (-np.inf, 0, 0.0, 0)
        for step in (-1, 0, 1):
            features = look(frame, 1.0275**step) * window
            if head == "xcorr":
                response = 0.1 * F.conv2d(features, template[..., 5:7, 5:7])[0, 0]
            else:
                product = (torch.fft.rfft2(features) * spectrum.conj()).sum(1)
                response = torch.fft.irfft2(product * weights, s=(CELLS, CELLS))[0]
            peak = float(response.max()) * 0.985 ** abs(step)
            if peak > best[0]:
                best = (peak, int(response.argmax()), 1.0275**step, response.shape[0])
        _, index, scale, side = best
        at = np.array([index % side, index // side], dtype=float)
        at = at - side / 2 if head == "xcorr" else np.where(at > side / 2, at - side, at)
        centre = centre + at / side * size * (scale * 4.5)
        size = np.clip(size * scale, least, most)
        if head == "dcf":
            new_spectrum, new_weights = fit(look(frame, 1.0))
            spectrum = 0.99 * spectrum + 0.01 * new_spectrum
            weights = 0.99 * weights + 0.01 * new_weights
        boxes.append(np.concatenate([centre - size / 2 + 1, size]))
    return np.stack(boxes)


@pytest.mark.parametrize("layer", [3, 4])
def test_a_part_of_a_crop_gives_the_features_of_the_whole(model: AppearanceModel, layer: int) -> None:
    search = replace(configure(Path()).search, crop_size=328)
    image = model.prepare(scene(1)[0][None])
    place, cells = [(np.array([110.0, 100.0]), np.array([90.0, 90.0]))], search.template_cells
    whole = model(crop(image, place, 328), (layer,))[layer][..., cells, cells]
    part = TemplatePart.of(search, model.radius[layer])
    assert part.pixels.stop - part.pixels.start < 328
    found = model(crop(image, place, 328, part.pixels), (layer,))[layer][..., part.cells, part.cells]
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-4)
    less = TemplatePart.of(search, model.radius[layer] // 4)
    wrong = model(crop(image, place, 328, less.pixels), (layer,))[layer][..., less.cells, less.cells]
    assert not torch.allclose(wrong, whole, rtol=1e-3, atol=1e-3)


def test_rows_of_heads_layers_and_the_floor(backbone: Backbone, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rows = list(run(backbone, configure(root, videos_at_once=2), out))
    protocols = (*(f"unitrack-{name}@crop_size=104" for name in IDS), "static-box")
    assert configure(root).protocols == protocols
    assert [(row.protocol, row.metric) for row in rows] == [(p, m) for p in protocols for m in METRICS]
    assert {(row.dataset, row.split, row.n, row.status) for row in rows} == {("squares", "test", 2, "ok")}
    index = json.loads((out / "tracks" / "sequences.json").read_text())
    assert [sequence["name"] for sequence in index["sequences"]] == ["A", "B"]
    for protocol in protocols:
        lines = (out / "tracks" / protocol / "A.txt").read_text().splitlines()
        assert len(lines) == 4
        assert lines[0] == "7,7,16,16"
    with (out / "per_sequence.csv").open() as handle:
        values = list(csv.DictReader(handle))
    for row in rows:
        own = [
            float(v["value"]) for v in values if (v["protocol"], v["metric"]) == (row.protocol, row.metric)
        ]
        assert row.value == pytest.approx(np.mean(own))
        assert row.items is not None
        assert row.items.values == pytest.approx(own)
    success = {row.protocol: row.value for row in rows if row.metric == "success"}
    # A box of 16 pixels that stays while the target moves 3 a frame.
    overlaps = [(16 - 3 * frame) / (16 + 3 * frame) for frame in range(4)]
    floor = np.mean([[overlap > t for t in np.arange(0, 1.05, 0.05)] for overlap in overlaps])
    assert success["static-box"] == pytest.approx(100 * floor)


def test_side_by_side_or_not_the_rows_are_the_same(backbone: Backbone, root: Path, tmp_path: Path) -> None:
    together = list(run(backbone, configure(root, videos_at_once=2), tmp_path / "a"))
    alone = list(run(backbone, configure(root, videos_at_once=1, frames_at_once=1), tmp_path / "b"))
    assert [row.value for row in together] == pytest.approx([row.value for row in alone])
    one = configure(root, layers=[4], heads=["dcf"], floors=False, sequences=["A"])
    for row, same in zip(run(backbone, one, tmp_path / "c"), together[9:12], strict=True):
        assert same.items is not None
        assert row.value == pytest.approx(same.items.values[0])


def test_one_layer_without_numbers_costs_its_own_rows_only(
    backbone: Backbone, root: Path, tmp_path: Path
) -> None:
    huge = {
        key: tensor * 1e38 if key.startswith("layer4") and key.endswith("conv1.weight") else tensor
        for key, tensor in backbone.state.items()
    }
    rows = list(run(replace(backbone, state=huge), configure(root), tmp_path / "out"))
    by_protocol: dict[str, list[Measurement]] = {}
    for row in rows:
        by_protocol.setdefault(row.protocol.split("@")[0], []).append(row)
    for name, group in by_protocol.items():
        if name.endswith("layer4"):
            assert {(row.value, row.n) for row in group} == {(None, None)}
            assert group[0].status == (
                "failed: A: the response to frame 2 is NaN or infinite (and 1 more sequences)"
            )
        else:
            assert {row.status for row in group} == {"ok"}
    assert (tmp_path / "out/tracks/unitrack-xcorr-layer3@crop_size=104/B.txt").is_file()
    assert not (tmp_path / "out/tracks/unitrack-xcorr-layer4@crop_size=104").exists()
    cells = (tmp_path / "out" / "per_sequence.csv").read_text()
    assert "unitrack-dcf-layer4@crop_size=104,A,success,\n" in cells


def test_frames_without_a_target_are_left_out_of_lasot(backbone: Backbone, tmp_path: Path) -> None:
    lasot = write_lasot(tmp_path / "lasot")
    flags = lasot / "square" / "square-1" / "full_occlusion.txt"
    flags.write_text("0,1,0,1\n")
    rows = list(run(backbone, configure(lasot, layout="lasot", heads=[]), tmp_path / "out"))
    overlaps = [(16 - 3 * frame) / (16 + 3 * frame) for frame in (0, 2)]
    floor = np.mean([[overlap > t for t in np.arange(0, 1.05, 0.05)] for overlap in overlaps])
    assert rows[0].value == pytest.approx(100 * floor)


def test_a_random_network_follows_a_square(
    backbone: Backbone, model: AppearanceModel, tmp_path: Path
) -> None:
    """Not a statement about networks: what the whole path does for an easy target."""
    folder = tmp_path / "otb" / "Easy" / "img"
    folder.mkdir(parents=True)
    for index, frame in enumerate(scene(6)):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(folder / f"{index + 1:04d}.png")
    truth = [f"{103 - 3 * index},{101 + 2 * index},20,20" for index in range(6)]
    (folder.parent / "groundtruth_rect.txt").write_text("\n".join(truth))
    config = configure(tmp_path / "otb", layers=[3], crop_size=136)
    tracked = track_sequence(read_otb(tmp_path / "otb")[0], model, config)
    last = {name.split("@")[0]: boxes[-1] for name, boxes in tracked.boxes.items()}
    assert np.abs(last["unitrack-dcf-layer3"][:2] - [88, 111]).max() < 5
    assert np.abs(last["static-box"][:2] - [88, 111]).max() == 15


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "vot"}, "layout: expected otb or lasot or davis or mot, found vot"),
        ({"heads": ["siam"]}, "heads: expected xcorr or dcf"),
        ({"layers": [3, 3]}, "layers: expected 3 or 4"),
        ({"heads": [], "floors": False}, "expected something to measure"),
        ({"padding": 0.0}, "padding: expected a positive number, found 0"),
        ({"interp_factor": 1.5}, "interp_factor: expected 0 to 1"),
        ({"crop_size": 100}, "crop_size: expected a multiple of 8 of at least 72, found 100"),
        ({"crop_size": 64}, "crop_size: expected a multiple of 8 of at least 72, found 64"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configure(Path(), **changes)


def test_ids_name_what_their_own_head_does_otherwise() -> None:
    config = Config(dataset="x", root="y", layers=[3], lambda0=0.01, sequences=["a"], frames_at_once=1)
    assert config.protocols == ("unitrack-xcorr-layer3", "unitrack-dcf-layer3@lambda0=0.01", "static-box")
