"""The bundled set as a whole: what its readers rely on, checked on a fresh build."""

from __future__ import annotations

import configparser
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from transfer.data.mini import build as build_module
from transfer.data.mini.__main__ import main
from transfer.data.mini.build import CONTENT_SHA256, PARTS, build, content_sha256, is_up_to_date
from transfer.data.mini.videos import write_davis

# pycocotools 2.0 still has the array protocol of NumPy 1
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundled") / "mini"
    assert build(root)
    return root


def _manifest(root: Path) -> Any:
    return json.loads((root / "manifest.json").read_text())


def test_content_is_the_reference_whatever_the_platform(mini: Path) -> None:
    found = {name: part["content_sha256"] for name, part in _manifest(mini)["parts"].items()}
    assert found == CONTENT_SHA256
    assert CONTENT_SHA256.keys() == PARTS.keys()


@pytest.mark.parametrize(("split", "num_images"), [("train", 160), ("val", 40)])
def test_detection_boxes_and_areas_are_those_of_the_masks(mini: Path, split: str, num_images: int) -> None:
    coco = COCO(str(mini / "detect" / "annotations" / f"instances_{split}.json"))
    assert coco.getCatIds() == list(range(1, 11))
    assert len(coco.imgs) == num_images
    assert {a["category_id"] for a in coco.anns.values()} == set(range(1, 11))
    for image_id, image in coco.imgs.items():
        with Image.open(mini / "detect" / split / image["file_name"]) as opened:
            assert (opened.size, opened.mode) == ((image["width"], image["height"]), "RGB")
        annotations = coco.imgToAnns[image_id]
        assert 1 <= len(annotations) <= 4
        covered = np.zeros((image["height"], image["width"]), dtype=np.int64)
        for annotation in annotations:
            mask = coco.annToMask(annotation)
            ys, xs = np.nonzero(mask)
            x, y, width, height = annotation["bbox"]
            assert [x, y, x + width, y + height] == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            assert annotation["area"] == mask.sum()
            assert annotation["iscrowd"] == 0
            covered += mask
        assert covered.max() == 1  # masks of one image share no pixel


@pytest.mark.parametrize(
    ("split", "names", "num_frames"),
    [("train", ["MINI-01", "MINI-02"], 40), ("val", ["MINI-03", "MINI-04"], 30)],
)
def test_tracking_files_agree_with_each_other(
    mini: Path, split: str, names: list[str], num_frames: int
) -> None:
    content = json.loads((mini / "mot" / "annotations" / f"{split}.json").read_text())
    assert [video["name"] for video in content["videos"]] == names
    images = {image["id"]: image for image in content["images"]}
    assert len(images) == len(content["images"]) == num_frames * len(names)
    for video in content["videos"]:
        folder = mini / "mot" / split / video["name"]
        info = configparser.ConfigParser()
        info.read(folder / "seqinfo.ini")
        sequence = info["Sequence"]
        width, height = int(sequence["imWidth"]), int(sequence["imHeight"])
        assert (sequence["name"], int(sequence["seqLength"])) == (video["name"], num_frames)
        frames = sorted((folder / sequence["imDir"]).glob(f"*{sequence['imExt']}"))
        assert [frame.stem for frame in frames] == [f"{n:06d}" for n in range(1, num_frames + 1)]
        with Image.open(frames[0]) as opened:
            assert opened.size == (width, height) == (video["width"], video["height"])

        rows = [line.split(",") for line in (folder / "gt" / "gt.txt").read_text().splitlines()]
        assert {len(row) for row in rows} == {9}
        from_text = {(int(row[0]), int(row[1])): [int(cell) for cell in row[2:6]] for row in rows}
        assert len(from_text) == len(rows)  # no identity twice in a frame
        from_json = {}
        for annotation in content["annotations"]:
            image = images[annotation["image_id"]]
            if image["video_id"] == video["id"]:
                assert (mini / "mot" / split / image["file_name"]).is_file()
                from_json[image["frame_id"] + 1, annotation["mot_instance_id"]] = annotation["bbox"]
        assert from_json == from_text
        for x, y, box_width, box_height in from_text.values():
            assert min(x, y) >= 0
            assert min(box_width, box_height) >= 1
            assert x + box_width <= width
            assert y + box_height <= height
        identities = {identity for _, identity in from_text}
        assert identities == set(range(1, len(identities) + 1))
        present = [sum(frame == n for frame, _ in from_text) for n in range(1, num_frames + 1)]
        assert min(present) >= 1
        assert 2.5 <= sum(present) / num_frames <= 5
        assert all(0 <= float(row[8]) <= 1 for row in rows)
    owners = {a["instance_id"]: images[a["image_id"]]["video_id"] for a in content["annotations"]}
    for annotation in content["annotations"]:
        assert owners[annotation["instance_id"]] == images[annotation["image_id"]]["video_id"]
    assert set(owners) == set(range(content["num_instances"]))


def test_single_object_boxes_lie_inside_the_frames(mini: Path) -> None:
    names = {split: (mini / "sot" / f"{split}.txt").read_text().split() for split in ("train", "val")}
    assert (len(names["train"]), len(names["val"])) == (6, 3)
    assert not set(names["train"]) & set(names["val"])
    for name in names["train"] + names["val"]:
        folder = mini / "sot" / name
        frames = sorted((folder / "img").iterdir())
        lines = (folder / "groundtruth_rect.txt").read_text().splitlines()
        assert [frame.name for frame in frames] == [f"{n:04d}.png" for n in range(1, 31)]
        assert len(lines) == 30
        with Image.open(frames[0]) as opened:
            frame_width, frame_height = opened.size
        for line in lines:
            x, y, width, height = map(int, line.split(","))
            assert min(x, y) >= 1  # counted from 1
            assert min(width, height) >= 10
            assert x - 1 + width <= frame_width
            assert y - 1 + height <= frame_height


def test_video_masks_hold_every_object_in_every_frame(mini: Path) -> None:
    root = mini / "davis"
    for split, names in (("train", ["digits-a", "digits-b"]), ("val", ["digits-c", "digits-d"])):
        assert (root / "ImageSets" / "2017" / f"{split}.txt").read_text().split() == names
        for name, num_objects in zip(names, (2, 3), strict=True):
            masks = sorted((root / "Annotations" / "480p" / name).iterdir())
            images = sorted((root / "JPEGImages" / "480p" / name).iterdir())
            assert [path.name for path in masks] == [path.name for path in images]
            assert len(masks) == 12
            for mask_path, image_path in zip(masks, images, strict=True):
                with Image.open(mask_path) as mask, Image.open(image_path) as image:
                    assert (mask.mode, image.mode, mask.size) == ("P", "RGB", image.size)
                    assert set(np.unique(np.array(mask))) == set(range(num_objects + 1))
                    assert (mask.getpalette() or [])[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]


@pytest.fixture
def small_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where to build a set of one real part, which takes a moment only."""
    monkeypatch.setattr(build_module, "PARTS", {"davis": write_davis})
    return tmp_path / "data" / "mini"


def test_an_intact_set_is_left_alone_and_a_damaged_one_rebuilt(small_root: Path) -> None:
    assert build(small_root)
    before = _manifest(small_root)
    assert not build(small_root)
    image = small_root / "davis" / "JPEGImages" / "480p" / "digits-a" / "00000.png"
    damaged = bytearray(image.read_bytes())
    damaged[-20] ^= 1
    for content in (bytes(damaged), b"", None):
        if content is None:
            image.unlink()
        else:
            image.write_bytes(content)
        assert not is_up_to_date(small_root)
        assert build(small_root)
        assert _manifest(small_root) == before
    (small_root / "manifest.json").write_text('{"version": 1, "parts"')
    assert build(small_root)
    assert [path.name for path in small_root.parent.iterdir()] == ["mini"]  # nothing left beside it


def test_a_set_made_by_other_code_is_rebuilt(small_root: Path) -> None:
    assert build(small_root)
    manifest = _manifest(small_root)
    (small_root / "manifest.json").write_text(json.dumps({**manifest, "code_sha256": "0" * 64}))
    assert build(small_root)
    assert _manifest(small_root) == manifest


def test_a_foreign_folder_is_refused_and_kept(small_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_root.mkdir(parents=True)
    (small_root / "thesis.tex").write_text("years of work")
    assert main([str(small_root)]) == 2
    assert "thesis.tex" in capsys.readouterr().err
    assert [path.name for path in small_root.iterdir()] == ["thesis.tex"]


def test_a_set_of_earlier_code_whose_part_had_another_name_is_replaced(small_root: Path) -> None:
    (small_root / "vos").mkdir(parents=True)
    assert build(small_root)
    assert sorted(path.name for path in small_root.iterdir()) == ["davis", "manifest.json"]


def test_a_failed_build_leaves_nothing(small_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(root: Path) -> None:
        (root / "mot").mkdir()
        raise FileNotFoundError("moon.png")

    monkeypatch.setattr(build_module, "PARTS", {"davis": write_davis, "mot": fail})
    with pytest.raises(FileNotFoundError, match=r"moon\.png"):
        build(small_root)
    assert not list(small_root.parent.iterdir())


def test_the_content_digest_sees_one_changed_pixel_and_ignores_the_encoding(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    path = tmp_path / "a.png"
    digests = []
    for level in (0, 9):
        Image.fromarray(pixels).save(path, compress_level=level)
        digests.append(content_sha256(tmp_path))
    pixels[3, 3, 2] += 1
    Image.fromarray(pixels).save(path)
    assert digests[0] == digests[1] != content_sha256(tmp_path)
