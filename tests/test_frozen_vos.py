"""Video object segmentation as a task: from folders of frames to masks, scores and rows."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from track_sets import HEIGHT, SIDE, STEP, WIDTH, draw_ids, write_davis

from transfer.backbone.architecture import empty_resnet
from transfer.backbone.contract import Backbone, BackboneInfo
from transfer.data.davis import read_mask
from transfer.report.rows import Measurement
from transfer.track.frozen import vos_task
from transfer.track.frozen.appearance import build_appearance
from transfer.track.frozen.frames import read_image
from transfer.track.frozen.propagation import Propagation
from transfer.track.frozen.videos import SequenceError
from transfer.track.frozen.vos_task import Config, run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    info = BackboneInfo("random", "resnet18", "none", "random", "", "", "", "")
    return Backbone(info, empty_resnet("resnet18").state_dict(), "0" * 64, Path("random"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_davis(tmp_path / "davis", ("a", "b"), num_frames=5)


def configure(root: Path, **changes: object) -> Config:
    return replace(
        Config(dataset="squares", root=str(root), image_set="val", device="cpu", frames_at_once=2),
        **changes,  # type: ignore[arg-type]
    )


def by_row(measured: list[Measurement]) -> dict[tuple[str, str], Measurement]:
    return {(row.protocol, row.metric): row for row in measured}


def test_rows_of_both_layers_and_of_the_floor(backbone: Backbone, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rows = by_row(list(run(backbone, configure(root), out)))
    protocols = ("unitrack-layer3", "unitrack-layer4", "first-frame-copy")
    assert list(rows) == [(p, m) for p in protocols for m in ("j_mean", "f_mean", "j_and_f")]
    assert {(row.n, row.status, row.split) for row in rows.values()} == {(4, "ok", "val")}
    # Squares of 16 that moved by 3, 6 and 9 of 16 columns: the frames between the first and the last.
    overlaps = [(SIDE - STEP * frame) / (SIDE + STEP * frame) for frame in (1, 2, 3)]
    assert rows["first-frame-copy", "j_mean"].value == pytest.approx(100 * sum(overlaps) / 3)
    for protocol in protocols:
        j, f = (rows[protocol, metric].value for metric in ("j_mean", "f_mean"))
        assert j is not None
        assert f is not None
        assert rows[protocol, "j_and_f"].value == pytest.approx((j + f) / 2)
        written = sorted((out / "tracks" / protocol / "a").iterdir())
        assert [path.name for path in written] == [f"{frame:05d}.png" for frame in range(5)]
        with Image.open(written[0]) as image:
            assert image.mode == "P"
        np.testing.assert_array_equal(read_mask(written[0]), draw_ids(0, 2))
    index = json.loads((out / "tracks" / "sequences.json").read_text())
    assert index["kind"] == "masks"
    assert [entry["name"] for entry in index["sequences"]] == ["a", "b"]
    assert len(index["sequences"][0]["frames"]) == 5
    with (out / "per_sequence.csv").open() as handle:
        lines = list(csv.DictReader(handle))
    assert len(lines) == 3 * 2 * 3
    assert float(lines[-3]["value"]) == pytest.approx(rows["first-frame-copy", "j_mean"].value)


def test_masks_are_the_largest_of_the_enlarged_labels(backbone: Backbone, root: Path, tmp_path: Path) -> None:
    """Frame by frame from the description, one layer, one image at a time."""
    config = configure(root, layers=[3], floors=False, sequences=["a"])
    list(run(backbone, config, tmp_path / "out"))
    model = build_appearance(backbone, [3], CPU)
    frames = [root / "JPEGImages" / "480p" / "a" / f"{frame:05d}.png" for frame in range(5)]
    features = [model(model.prepare(read_image(path)[None]))[3][0] for path in frames]
    one_hot = torch.stack([torch.from_numpy(draw_ids(0, 2) == number) for number in range(3)]).float()
    size = (HEIGHT // 8, WIDTH // 8)
    labels = F.interpolate(one_hot[None], size, mode="bilinear")[0]
    state = Propagation(features[0], labels, config.constants)
    for frame in range(1, 5):
        enlarged = F.interpolate(state(features[frame])[None], (HEIGHT, WIDTH), mode="bilinear")[0]
        found = read_mask(tmp_path / "out" / "tracks" / "unitrack-layer3" / "a" / f"{frame:05d}.png")
        assert (torch.from_numpy(found) == enlarged.argmax(dim=0)).float().mean() > 0.999


def test_objects_are_followed_better_than_by_a_copy(backbone: Backbone, root: Path, tmp_path: Path) -> None:
    rows = by_row(list(run(backbone, configure(root), tmp_path / "out")))
    floor = rows["first-frame-copy", "j_mean"].value
    found = rows["unitrack-layer3", "j_mean"].value
    assert floor is not None
    assert found is not None
    assert found > floor + 5


def test_videos_side_by_side_and_batches_change_nothing(
    backbone: Backbone, root: Path, tmp_path: Path
) -> None:
    values = []
    for number, (videos, frames) in enumerate(((1, 1), (2, 4))):
        config = configure(root, videos_at_once=videos, frames_at_once=frames)
        values.append([row.value for row in run(backbone, config, tmp_path / str(number))])
    assert values[0] == pytest.approx(values[1], abs=0.5)


def test_a_constant_that_is_not_the_published_one_is_in_the_id(root: Path) -> None:
    config = configure(root, topk=5, sequences=["a"], frames_at_once=7)
    assert config.protocols == ("unitrack-layer3@topk=5", "unitrack-layer4@topk=5", "first-frame-copy")
    assert configure(root).protocols[0] == "unitrack-layer3"


def test_features_that_are_not_finite_fail_their_layer_alone(
    backbone: Backbone, root: Path, tmp_path: Path
) -> None:
    state = {key: value.clone() for key, value in backbone.state.items()}
    state["layer4.1.conv2.weight"][0, 0, 0, 0] = math.inf
    broken = replace(backbone, state=state)
    rows = by_row(list(run(broken, configure(root), tmp_path / "out")))
    assert rows["unitrack-layer3", "j_mean"].status == "ok"
    assert rows["first-frame-copy", "j_mean"].status == "ok"
    failed = rows["unitrack-layer4", "j_mean"]
    assert failed.value is None
    assert failed.status == "failed: a: frame 0: its features are not finite"
    with (tmp_path / "out" / "per_sequence.csv").open() as handle:
        values = {(line["protocol"], line["sequence"]): line["value"] for line in csv.DictReader(handle)}
    assert values["unitrack-layer4", "a"] == ""
    assert values["unitrack-layer3", "a"] != ""


def test_videos_without_a_score_are_named_before_the_work(
    backbone: Backbone, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for frame in range(1, 5):
        (root / "Annotations" / "480p" / "a" / f"{frame:05d}.png").unlink()
    for kind, suffix in (("JPEGImages", "png"), ("Annotations", "png")):
        for frame in range(2, 5):
            (root / kind / "480p" / "b" / f"{frame:05d}.{suffix}").unlink()
    monkeypatch.setattr(vos_task, "build_appearance", lambda *_: pytest.fail("the work had begun"))
    with pytest.raises(ValueError, match=r"a: expected at least 3 frames, .* found 5 and 1 masks") as caught:
        list(run(backbone, configure(root), tmp_path / "out"))
    assert "b: expected at least 3 frames, all with a mask, found 2 and 2 masks" in str(caught.value)


def test_images_too_small_for_the_context_fail_the_rows_and_say_so(
    backbone: Backbone, root: Path, tmp_path: Path
) -> None:
    config = configure(root, topk=1000, layers=[3])
    rows = by_row(list(run(backbone, config, tmp_path / "out")))
    status = rows["unitrack-layer3@topk=1000", "j_mean"].status
    assert status.startswith("failed: a: topk: expected at most the ")


def test_an_image_that_cannot_be_read_stops_all(backbone: Backbone, root: Path, tmp_path: Path) -> None:
    path = root / "JPEGImages" / "480p" / "b" / "00003.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises((ValueError, SequenceError), match="00003"):
        list(run(backbone, configure(root), tmp_path / "out"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": []}, "layers: expected 3, 4 or both, found"),
        ({"layers": [3, 3]}, "layers: expected 3, 4 or both, found"),
        ({"layers": [2]}, "layers: expected 3, 4 or both, found"),
        ({"frames_at_once": 0}, "frames_at_once: expected at least 1, found 0"),
        ({"topk": 0}, "topk: expected at least 1, found 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(root: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configure(root, **changes)
