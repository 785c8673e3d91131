"""One-target sequences made of masks and of MOTChallenge ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transfer.data import one_target
from transfer.data.davis import write_mask
from transfer.data.one_target import box_of, read_davis_boxes, read_mot_targets


def write_frames(folder: Path, names: list[str], size: tuple[int, int]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", size).save(folder / name)


def test_box_is_the_extent_of_a_mask_counted_from_one() -> None:
    mask = np.zeros((10, 12), dtype=bool)
    mask[2:5, 3] = True
    mask[4, 3:8] = True
    assert box_of(mask).tolist() == [4, 3, 5, 3]
    assert np.isnan(box_of(mask & False)).all()


def test_every_object_of_a_video_is_a_sequence_and_a_hidden_one_is_absent(tmp_path: Path) -> None:
    write_frames(tmp_path / "JPEGImages" / "480p" / "two", ["00000.jpg", "00001.jpg"], (12, 10))
    first = np.zeros((10, 12), dtype=np.uint8)
    first[0:2, 0:3], first[5:9, 6:8] = 1, 2
    (tmp_path / "Annotations" / "480p" / "two").mkdir(parents=True)
    write_mask(tmp_path / "Annotations" / "480p" / "two" / "00000.png", first)
    write_mask(tmp_path / "Annotations" / "480p" / "two" / "00001.png", np.where(first == 2, first, 0))
    one, two = read_davis_boxes(tmp_path)
    assert (one.name, two.name) == ("two-1", "two-2")
    assert one.boxes[0].tolist() == [1, 1, 3, 2]
    assert np.isnan(one.boxes[1]).all()
    assert two.boxes.tolist() == [[7, 6, 2, 4], [7, 6, 2, 4]]
    assert two.size == (12, 10)


def write_mot(root: Path, rows: list[str], num_frames: int) -> None:
    folder = root / "walk"
    write_frames(folder / "img1", [f"{number:06d}.jpg" for number in range(1, num_frames + 1)], (40, 30))
    info = (
        f"name=walk\nimDir=img1\nframeRate=7\nseqLength={num_frames}\nimWidth=40\nimHeight=30\nimExt=.jpg\n"
    )
    (folder / "seqinfo.ini").write_text(f"[Sequence]\n{info}")
    (folder / "gt").mkdir()
    (folder / "gt" / "gt.txt").write_text("".join(f"{row}\n" for row in rows))


def test_a_person_is_followed_through_the_first_unbroken_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_target, "MIN_FRAMES", 3)
    monkeypatch.setattr(one_target, "MAX_FRAMES", 4)
    rows = [f"{frame},7,{frame},2,5,9,1,1,1" for frame in (2, 3, 4, 6, 7, 8, 9)]  # breaks at frame 5
    rows += [f"{frame},8,{frame},2,5,9,1,1,1" for frame in (1, 2)]  # too short
    rows += [f"{frame},9,{frame},2,5,9,1,1,1" for frame in range(1, 9)]  # too long
    rows += [f"{frame},3,{frame},2,5,9,0,1,1" for frame in range(1, 9)]  # not to be considered
    write_mot(tmp_path, rows, 9)
    seven, nine = read_mot_targets(tmp_path)
    assert (seven.name, nine.name) == ("walk-007", "walk-009")
    assert [path.name for path in seven.frames] == ["000002.jpg", "000003.jpg", "000004.jpg"]
    assert seven.boxes.tolist() == [[frame, 2, 5, 9] for frame in (2, 3, 4)]
    assert len(nine.frames) == len(nine.boxes) == 4


def test_a_set_without_a_long_run_is_refused(tmp_path: Path) -> None:
    write_mot(tmp_path, [f"{frame},1,{frame},2,5,9,1,1,1" for frame in (1, 2)], 2)
    with pytest.raises(ValueError, match="no target is annotated in 60 frames on end"):
        read_mot_targets(tmp_path)
