"""The SOT task in mmtrack itself: configuration, one-pass scores by hand arithmetic, training, divergence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sot_scene import FRAMEWORK_WARNINGS, write_sequence

from transfer.backbone.architecture import empty_resnet
from transfer.backbone.contract import Backbone, BackboneInfo
from transfer.track.mm.sot import Config, evaluate, run
from transfer.track.mm.sot_config import resolve
from transfer.track.mm.sot_guards import FrameGuard, register_loss_guard
from transfer.track.mm.sot_sequences import register_dataset

pytestmark = [pytest.mark.mmtrack, pytest.mark.usefixtures("trusted"), *FRAMEWORK_WARNINGS]
RECIPE = Path(__file__).parents[1] / "configs" / "track" / "mmtrack" / "siamese_rpn_mini.py"


def make_backbone() -> Backbone:
    torch.manual_seed(0)
    info = BackboneInfo("random", "resnet18", "none", "random", "", "", "", "test")
    return Backbone(info, dict(empty_resnet("resnet18").state_dict()), "0" * 64, Path("none"))


def make_options(root: Path, **top: Any) -> dict[str, Any]:
    source = {"img_prefix": str(root), "ann_file": str(root / "list.txt")}
    data = {"train": source, "test": source, "samples_per_gpu": 2, "samples_per_epoch": 4}
    return {"data": data, "total_epochs": 1, **top}


def resolved(root: Path, recipe: Path = RECIPE, **top: Any) -> Any:
    register_dataset()
    register_loss_guard()
    config = Config("scene", "test", "val", str(recipe), make_options(root, **top))
    return resolve(config, make_backbone().info, root / "b.pth", root / "work")


def test_the_configuration_carries_the_backbone_and_its_pixels(tmp_path: Path) -> None:
    config = resolved(tmp_path)
    expected = {"type": "Pretrained", "checkpoint": str(tmp_path / "b.pth"), "prefix": "backbone."}
    assert config.model.backbone.init_cfg == expected
    assert config.model.neck.in_channels == [128, 256, 512]
    for step in (config.data.train.pipeline[6], config.data.test.pipeline[2].transforms[0]):
        assert step["mean"] == pytest.approx([123.675, 116.28, 103.53])
        assert step["to_rgb"] is True


@pytest.mark.parametrize("url", ["https://host/r50.pth", "torchvision://resnet50", "open-mmlab://resnet50"])
def test_a_url_left_in_the_configuration_is_refused(url: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    text = RECIPE.read_text()
    assert "load_from = None" in text
    recipe.write_text(text.replace("load_from = None", f"load_from = {url!r}"))
    with pytest.raises(ValueError, match=rf"load_from={url}"):
        resolved(tmp_path, recipe)
    recipe.write_text(text.replace("norm_eval=True", f"norm_eval=True, pretrained={url!r}"))
    with pytest.raises(ValueError, match=rf"model\.backbone\.pretrained={url}"):
        resolved(tmp_path, recipe)


def test_an_option_that_names_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"option optimizer\.learning_rate names nothing"):
        resolved(tmp_path, optimizer={"learning_rate": 0.1})


def test_a_pipeline_without_normalisation_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text(RECIPE.read_text().replace('dict(type="Normalize", **img_norm_cfg),', ""))
    with pytest.raises(ValueError, match=r"data\.test\.pipeline must normalise exactly once"):
        resolved(tmp_path, recipe)


@pytest.mark.parametrize(
    ("shift", "success", "norm_precision"),
    [
        (0.0, 100 * 20 / 21, 100.0),  # overlap 1 exceeds the thresholds 0, 0.05 … 0.95, not 1.0 itself
        (10.0, 100 * 7 / 21, 0.0),  # overlap 200/600 exceeds 0 … 0.30; half a box away is beyond 0.2
        (25.0, 0.0, 0.0),  # no overlap, and 25 pixels away: beyond precision's 20
    ],
)
def test_one_pass_scores_by_hand(shift: float, success: float, norm_precision: float, tmp_path: Path) -> None:
    from mmtrack.datasets import build_dataset

    write_sequence(tmp_path, "A", separator="\t")
    write_sequence(tmp_path, "B", num_frames=2)
    dataset = build_dataset(resolved(tmp_path).data.test)
    lefts = np.array([30, 32, 34, 30, 32]) + shift
    boxes = [np.array([left, 25, left + 20, 45, 0.9]) for left in lefts]
    scores = dataset.evaluate({"track_bboxes": boxes}, logger="silent")
    assert scores["success"] == pytest.approx(success, abs=1e-3)
    assert scores["norm_precision"] == pytest.approx(norm_precision, abs=1e-3)
    assert scores["precision"] == (0.0 if shift > 20 else 100.0)


def test_boxes_agree_with_mmtracks_own_otb_reader(tmp_path: Path) -> None:
    from mmtrack.datasets import build_dataset

    write_sequence(tmp_path, "A", separator="\t")
    (tmp_path / "infos.txt").write_text("The format\nA/img,A/groundtruth_rect.txt,1,3\n")
    ours = build_dataset(resolved(tmp_path).data.test)
    theirs = build_dataset(
        {
            "type": "OTB100Dataset",
            "img_prefix": str(tmp_path),
            "ann_file": str(tmp_path / "infos.txt"),
            "pipeline": [],
            "split": "test",
            "test_mode": True,
        }
    )
    np.testing.assert_array_equal(ours.get_bboxes_from_video(0), theirs.get_bboxes_from_video(0))


def test_the_task_trains_a_frozen_backbone_and_scores(tmp_path: Path) -> None:
    write_sequence(tmp_path, "A")
    config = Config("scene", "test", "val", str(RECIPE), make_options(tmp_path))
    rows = list(run(make_backbone(), config, tmp_path / "out"))
    assert [row.metric for row in rows] == ["success", "norm_precision", "precision"]
    assert all(row.value is not None and 0 <= row.value <= 100 and row.n == 1 for row in rows)
    assert (rows[0].dataset, rows[0].split, rows[0].backend) == ("scene", "val", "mmtrack")
    assert {row.selection for row in rows} == {"last"}
    [protocol] = config.protocols
    assert {row.protocol for row in rows} == {protocol}
    boxes = read_boxes(tmp_path / "out" / "tracks" / protocol / "A.txt")
    np.testing.assert_allclose(boxes[0], [30, 25, 20, 20])  # the first frame's is given
    assert boxes.shape == (3, 4)
    index = json.loads((tmp_path / "out" / "tracks" / "sequences.json").read_text())
    assert index["kind"] == "boxes"
    assert [Path(frame).name for frame in index["sequences"][0]["frames"]] == [
        f"000{i}.png" for i in (1, 2, 3)
    ]
    table = (tmp_path / "out" / "per_sequence.csv").read_text().splitlines()
    assert [line.split(",")[-3:-1] for line in table[1:]] == [["A", row.metric] for row in rows]
    assert [float(line.split(",")[-1]) for line in table[1:]] == pytest.approx(
        [row.value for row in rows], abs=1e-3
    )


def read_boxes(path: Path) -> Any:
    return np.loadtxt(path, delimiter=",", ndmin=2)


def test_a_loss_that_explodes_is_named(tmp_path: Path) -> None:
    write_sequence(tmp_path, "A")
    options = make_options(tmp_path, optimizer={"lr": 1e30}, optimizer_config={"grad_clip": None})
    config = Config("scene", "test", "val", str(RECIPE), options)
    with pytest.raises(ValueError, match=r"training diverged: the loss is (nan|inf) at iteration 2 of 2"):
        list(run(make_backbone(), config, tmp_path / "out"))


def test_a_box_of_nan_names_sequence_and_frame(tmp_path: Path) -> None:
    from mmtrack.datasets import build_dataset
    from mmtrack.models import build_model

    write_sequence(tmp_path, "Jogging")
    config = resolved(tmp_path)
    config.model.backbone.init_cfg = None
    model = build_model(config.model)
    torch.nn.init.constant_(model.head.reg_heads[0].head_convs[1].conv.bias, float("nan"))
    with pytest.raises(ValueError, match=r"sequence Jogging, frame 2: the tracker predicted the box \[nan"):
        evaluate(model, build_dataset(config.data.test), config)


def test_the_frame_guard_lets_finite_boxes_pass() -> None:
    guard = FrameGuard(["A", "B"], [(0, 0), (1, 0)])
    model = torch.nn.Identity()
    guard(model, (), {"track_bboxes": np.array([1.0, 2.0, 3.0, 4.0, -1.0])})
    with pytest.raises(ValueError, match="sequence B, frame 1"):
        guard(model, (), {"track_bboxes": np.array([1.0, 2.0, np.inf, 4.0, 0.5])})
