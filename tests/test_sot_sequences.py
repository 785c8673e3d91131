"""OTB and LaSOT as a dataset of mmtrack's: what its own readers give, and a refusal of what is crooked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sot_scene import FRAMEWORK_WARNINGS
from track_sets import write_lasot, write_otb

from transfer.track.mm.sot_sequences import read_names, read_sequences, register_dataset, sequence_names

SQUARE = [[7, 7, 16, 16], [10, 7, 16, 16], [13, 7, 16, 16], [16, 7, 16, 16]]


def build(root: Path, kind: str = "SequenceFolder", **settings: Any) -> Any:
    from mmtrack.datasets import build_dataset

    register_dataset()
    common = {"img_prefix": str(root), "pipeline": [], "split": "test", "test_mode": True}
    return build_dataset({"type": kind, **common, **settings})


@pytest.mark.mmtrack
class TestDataset:
    pytestmark = FRAMEWORK_WARNINGS

    def test_otb_is_what_mmtracks_reader_reads(self, tmp_path: Path) -> None:
        write_otb(tmp_path, ("A", "B"))
        (tmp_path / "infos.txt").write_text(
            "The format\nA/img,A/groundtruth_rect.txt,1,4\nB/img,B/groundtruth_rect.txt,1,4\n"
        )
        for name in ("A", "B"):  # mmtrack reads .jpg only; the names alone are compared
            for path in (tmp_path / name / "img").iterdir():
                path.rename(path.with_suffix(".jpg"))
        ours = build(tmp_path)
        theirs = build(tmp_path, "OTB100Dataset", ann_file=str(tmp_path / "infos.txt"))
        assert sequence_names(ours) == ["A", "B"]
        assert sequence_names(theirs) == ["A/img", "B/img"]
        assert len(ours) == len(theirs) == 8
        assert ours.num_frames_per_video == theirs.num_frames_per_video
        for video in (0, 1):
            np.testing.assert_array_equal(ours.get_bboxes_from_video(video), SQUARE)
            mine, other = ours.get_ann_infos_from_video(video), theirs.get_ann_infos_from_video(video)
            assert mine.keys() == other.keys()
            for key in mine:
                np.testing.assert_array_equal(mine[key], other[key])
            mine, other = ours.get_img_infos_from_video(video), theirs.get_img_infos_from_video(video)
            assert mine.pop("filename") == other.pop("filename")
            np.testing.assert_equal(mine, other)

    def test_lasot_is_scored_as_mmtracks_reader_scores_it(self, tmp_path: Path) -> None:
        write_lasot(tmp_path, ("cat-1", "cat-2"))
        (tmp_path / "cat" / "cat-1" / "full_occlusion.txt").write_text("0,0,1,0\n")
        (tmp_path / "cat" / "cat-2" / "out_of_view.txt").write_text("0,1,0,0\n")
        lines = [f"cat/cat-{number}/img,cat/cat-{number}/groundtruth.txt,1,4" for number in (1, 2)]
        (tmp_path / "infos.txt").write_text("\n".join(["The format", *lines]) + "\n")
        ours = build(tmp_path, layout="lasot", only_eval_visible=True)
        theirs = build(tmp_path, "LaSOTDataset", ann_file=str(tmp_path / "infos.txt"), only_eval_visible=True)
        assert sequence_names(ours) == ["cat-1", "cat-2"]
        for video in (0, 1):
            mine, other = ours.get_ann_infos_from_video(video), theirs.get_ann_infos_from_video(video)
            np.testing.assert_array_equal(mine["visible"], other["visible"])
        boxes = [np.array([x, y, x + w + 5, y + h, 0.9]) for x, y, w, h in SQUARE * 2]
        scores = [data.evaluate({"track_bboxes": boxes}, logger="silent") for data in (ours, theirs)]
        assert scores[0] == scores[1]
        # Three of four frames count, each with an overlap of 256/336: above the thresholds 0 to 0.75.
        assert scores[0]["success"] == pytest.approx(100 * 3 / 4 * 16 / 21, abs=1e-3)

    def test_an_absent_target_of_otb_is_a_missed_frame(self, tmp_path: Path) -> None:
        write_otb(tmp_path, ("A",))
        boxes_path = tmp_path / "A" / "groundtruth_rect.txt"
        boxes_path.write_text(boxes_path.read_text().replace("13,7,16,16", "0,0,0,0"))
        data = build(tmp_path)
        boxes = [np.array([x, y, x + w, y + h, 0.9]) for x, y, w, h in SQUARE]
        scores = data.evaluate({"track_bboxes": boxes}, logger="silent")
        assert scores["success"] == pytest.approx(100 * 3 / 4 * 20 / 21, abs=1e-3)


def test_a_list_chooses_the_sequences(tmp_path: Path) -> None:
    write_otb(tmp_path, ("A", "B", "C"))
    (tmp_path / "list.txt").write_text("C\nA\n")
    chosen = read_sequences(tmp_path, "otb", tmp_path / "list.txt")
    assert [sequence.name for sequence in chosen] == ["C", "A"]
    assert len(read_sequences(tmp_path, "otb", None)) == 3


def test_every_fault_is_named_before_any_work(tmp_path: Path) -> None:
    write_otb(tmp_path, ("A", "B", "C"))
    (tmp_path / "A" / "img" / "0002.png").unlink()
    lines = (tmp_path / "B" / "groundtruth_rect.txt").read_text().splitlines()
    (tmp_path / "B" / "groundtruth_rect.txt").write_text("\n".join([lines[0], "", "nan,1,2,3", lines[3]]))
    with pytest.raises(ValueError, match=r"(?s)A.*B.*line") as caught:
        read_sequences(tmp_path, "otb", None)
    assert " C" not in str(caught.value)


def test_what_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"list\.txt: no such list"):
        read_names(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"list\.txt: names no sequence"):
        read_names(tmp_path / "list.txt")
    with pytest.raises(ValueError, match=r"layout: expected one of otb, lasot, found 'vot'"):
        read_sequences(tmp_path, "vot", None)


def test_a_benchmark_names_its_test_set(tmp_path: Path) -> None:
    write_lasot(tmp_path, ("airplane-1", "airplane-2"))
    assert len(read_sequences(tmp_path, "lasot", None)) == 2
    with pytest.raises(ValueError, match="has no sequence airplane-9"):  # training ones in their place
        read_sequences(tmp_path, "lasot", None, "lasot")
    (tmp_path / "list.txt").write_text("airplane-2\n")
    (one,) = read_sequences(tmp_path, "lasot", tmp_path / "list.txt", "lasot")
    assert one.name == "airplane-2"
    with pytest.raises(ValueError, match="benchmark: expected one of lasot, otb100, found 'x'"):
        read_sequences(tmp_path, "lasot", None, "x")
