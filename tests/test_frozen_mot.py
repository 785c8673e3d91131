"""MOT on frozen features: from given boxes to files and rows."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from track_sets import COLOURS, GREY, HEIGHT, SIDE, WIDTH, write_mot

from transfer.backbone.architecture import empty_resnet
from transfer.backbone.contract import Backbone, BackboneInfo
from transfer.data.mot_sequences import read_mot_sequences
from transfer.report.rows import Measurement
from transfer.track.frozen.appearance import build_appearance
from transfer.track.frozen.mot_task import (
    Config,
    Video,
    box_points,
    pool_boxes,
    prepare_video,
    run,
    to_lines,
)

pytest.importorskip("trackeval")
SMALL = [192, 128]  # twice the tiny frames
VARIANTS = (
    *("unitrack-layer3", "unitrack-layer4", "unitrack-motion-layer3", "unitrack-motion-layer4"),
    "no-appearance",
)
NAMED = tuple(f"{variant}@img_size=192x128" for variant in VARIANTS)


def make_backbone() -> Backbone:
    torch.manual_seed(0)
    info = BackboneInfo("random", "resnet18", "none", "random", "", "", "", "test")
    return Backbone(info, dict(empty_resnet("resnet18").state_dict()), "0" * 64, Path("none"))


def make_config(root: Path, **settings: Any) -> Config:
    chosen = {"dataset": "tiny", "root": str(root), "device": "cpu", "img_size": SMALL, **settings}
    return Config(**chosen)


def table(rows: list[Measurement]) -> dict[tuple[str, str], float | None]:
    return {(row.protocol, row.metric): row.value for row in rows}


def write_swap(root: Path, num_frames: int = 8) -> Path:
    """Two squares of different colours that change places halfway."""
    folder = write_mot(root, num_frames=num_frames) / "TINY-01"
    truth, given = [], []
    for frame in range(num_frames):
        pixels = np.full((HEIGHT, WIDTH, 3), GREY, dtype=np.uint8)
        for target, colour in enumerate(COLOURS):
            top = 6 if (target == 0) == (frame < num_frames // 2) else 38
            pixels[top : top + SIDE, 40 : 40 + SIDE] = colour
            box = f"41,{top + 1},{SIDE},{SIDE}"
            truth.append(f"{frame + 1},{target + 1},{box},1,1,1\n")
            given.append(f"{frame + 1},-1,{box},0.9,-1,-1,-1\n")
        Image.fromarray(pixels).save(folder / "img1" / f"{frame + 1:06d}.png")
    (folder / "gt" / "gt.txt").write_text("".join(truth))
    (folder / "det" / "det.txt").write_text("".join(given))
    return root


def test_boxes_that_are_right_give_tracks_that_are_right(tmp_path: Path) -> None:
    root = write_mot(tmp_path / "set", names=("TINY-01", "TINY-02"), num_frames=6)
    config = make_config(root)
    rows = list(run(make_backbone(), config, tmp_path / "out"))
    assert [row.protocol for row in rows[::4]] == [*NAMED] == [*config.protocols]
    assert {row.status for row in rows} == {"ok"}
    assert {row.n for row in rows} == {2}
    for (_, metric), value in table(rows).items():
        limits = {"id_switches": (0, 0), "hota": (80, 100)}.get(metric, (100, 100))
        assert value is not None
        assert limits[0] <= value <= limits[1] + 1e-9
    index = json.loads((tmp_path / "out" / "tracks" / "sequences.json").read_text())
    assert index["kind"] == "mot"
    assert [len(sequence["frames"]) for sequence in index["sequences"]] == [6, 6]
    with (tmp_path / "out" / "per_sequence.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(NAMED) * 2 * 4
    first = (tmp_path / "out" / "tracks" / NAMED[0] / "TINY-01.txt").read_text().splitlines()[0]
    cells = first.split(",")
    assert cells[:2] == ["1", "1"]
    assert [float(cell) for cell in cells[2:6]] == pytest.approx([7, 7, SIDE, SIDE], abs=1e-3)
    assert cells[6:] == ["1", "-1", "-1", "-1"]


def test_appearance_follows_what_changes_places_and_the_floor_does_not(tmp_path: Path) -> None:
    config = make_config(write_swap(tmp_path / "set"), motion=[False])
    found = table(list(run(make_backbone(), config, tmp_path / "out")))
    for layer in (NAMED[0], NAMED[1]):
        assert found[layer, "id_switches"] == 0
        # Written boxes are the Kalman filter's, which needs a frame to follow a leap: a miss and a false box.
        assert found[layer, "idf1"] == pytest.approx(100 * 2 * 14 / (2 * 14 + 2 + 2))
    assert found[NAMED[-1], "id_switches"] == 2
    assert found[NAMED[-1], "idf1"] == pytest.approx(50)


def test_rows_do_not_depend_on_how_the_machine_computes(tmp_path: Path) -> None:
    root = write_mot(tmp_path / "set", names=("TINY-01", "TINY-02"), num_frames=5)
    found = []
    for frames_at_once, videos_at_once in ((1, 1), (4, 2)):
        settings = {"frames_at_once": frames_at_once, "videos_at_once": videos_at_once}
        found.append(table(list(run(make_backbone(), make_config(root, **settings), tmp_path / "out"))))
    assert found[0] == found[1]


def test_frames_without_a_box_that_counts_are_never_decoded(tmp_path: Path) -> None:
    root = write_mot(tmp_path / "set", num_frames=5)
    folder = root / "TINY-01"
    kept = [
        line.replace(",0.9,", ",0.5,") if line.startswith("3,") else line
        for line in (folder / "det" / "det.txt").read_text().splitlines(keepends=True)
        if not line.startswith("1,")
    ]
    (folder / "det" / "det.txt").write_text("".join(kept))
    config = make_config(root, frames_at_once=2)
    sequence = read_mot_sequences(root)[0]
    given = [sequence.detections.of(frame) for frame in range(1, 6)]
    given = [boxes[boxes[:, 4] > config.conf_thres] for boxes in given]
    for frame in (1, 3):
        (folder / "img1" / f"{frame:06d}.png").unlink()
    model = build_appearance(make_backbone(), [3], torch.device("cpu"))
    counts = [len(points[3]) for points in box_points(sequence, given, model, config)]
    assert counts == [0, 2, 0, 2, 2]


def test_points_of_a_box_are_means_of_its_cells() -> None:
    features = torch.arange(12 * 20, dtype=torch.float32).view(1, 1, 12, 20)
    corners = torch.tensor([[16.0, 16.0, 96.0, 48.0]])  # columns 2..11, rows 2..5 of stride 8
    (points,) = pool_boxes(features, [corners], [4, 10])
    # A cell of one feature: its middle lies half a feature on, where four features meet.
    rows, columns = torch.arange(2, 6).view(-1, 1) + 0.5, torch.arange(2, 12) + 0.5
    torch.testing.assert_close(points[0, :, 0], (20 * rows + columns).flatten())


def test_small_and_wide_boxes_are_not_written() -> None:
    from transfer.track.frozen.association import Tracked

    def line_of(width: float, height: float) -> str:
        return to_lines([[Tracked(3, 0, np.array([5.0, 6.0, width, height]))]], 200.0, 1.6)

    assert line_of(20, 20) == "1,3,5.000000,6.000000,20.000000,20.000000,1,-1,-1,-1\n"
    assert line_of(10, 20) == ""
    assert line_of(40, 20) == ""
    assert line_of(32, 20) != ""


def test_features_that_are_not_finite_fail_their_own_layer_alone(tmp_path: Path) -> None:
    backbone = make_backbone()
    weights = {name: tensor.clone() for name, tensor in backbone.state.items()}
    weights["layer4.1.bn2.bias"][0] = float("nan")
    config = make_config(write_mot(tmp_path / "set"))
    rows = list(run(replace(backbone, state=weights), config, tmp_path / "out"))
    failed = {row.protocol for row in rows if row.status != "ok"}
    assert failed == {NAMED[1], NAMED[3]}
    reasons = {row.status for row in rows if row.protocol == NAMED[1]}
    assert reasons == {"failed: features of layer4 are not finite in TINY-01, frame 1"}
    assert len(rows) == 4 * len(NAMED)
    assert not (tmp_path / "out" / "tracks" / NAMED[1] / "TINY-01.txt").exists()


def test_settings_that_cannot_be_are_refused_before_any_work(tmp_path: Path) -> None:
    root = write_mot(tmp_path / "set")
    for settings, message in (
        ({"layers": [2]}, "layers"),
        ({"img_size": [32, 608]}, "img_size"),
        ({"iou_thres": 2.0}, "iou_thres"),
        ({"sequences": ["TINY-07"]}, "TINY-07"),
    ):
        with pytest.raises(ValueError, match=message):
            list(run(make_backbone(), make_config(root, **settings), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_published_constants_have_the_plain_name() -> None:
    assert Config(dataset="mot16", root="r").protocols == VARIANTS
    moved = Config(dataset="mot16", root="r", detections="d", sequences=["A"], video=Video("a.avi"))
    assert moved.protocols == VARIANTS
    assert (
        Config(dataset="mot16", root="r", track_buffer=60).protocols[0] == "unitrack-layer3@track_buffer=60"
    )


def test_a_video_is_decoded_once_with_its_boxes_beside_it(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    for frame in range(3):
        writer.write(np.full((HEIGHT, WIDTH, 3), 20 * frame, dtype=np.uint8))
    writer.release()
    (tmp_path / "gt.txt").write_text("1,1,5,5,20,20,1,-1,-1,-1\n")
    (tmp_path / "det.txt").write_text("1,-1,5,5,20,20,0.9,-1,-1,-1\n")
    video = Video(str(path), str(tmp_path / "gt.txt"), str(tmp_path / "det.txt"), str(tmp_path / "set" / "W"))
    prepare_video(video)
    sequence = read_mot_sequences(tmp_path / "set")[0]
    assert len(sequence.frames) == 3
    assert len(sequence.detections) == 1
    path.unlink()
    prepare_video(video)


def test_the_task_needs_no_framework_before_it_scores() -> None:
    code = (
        "import sys; import transfer.track.frozen.mot_task; "
        "print(*sorted({'cv2', 'scipy', 'trackeval', 'motmetrics', 'mmcv'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
