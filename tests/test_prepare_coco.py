"""COCO is laid out whole from its archives, verified, or drawn from: counts agree with pycocotools'."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from detect_scene import NUM_IMAGES, write_set
from pycocotools.coco import COCO

from transfer.data import prepare
from transfer.data.download import Archive
from transfer.data.prepare_coco import COCO_2017, COCO_ARCHIVES, prepare_coco

COUNTS = {"train": (NUM_IMAGES, 2 * NUM_IMAGES), "val": (NUM_IMAGES, 2 * NUM_IMAGES)}
LINE = "4 images with 8 annotations of 2 categories, as expected; no file is unusable"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three archives as the official ones are built, with files that nobody wants in between."""
    scene, source = tmp_path / "scene", tmp_path / "source"
    source.mkdir()
    for split in COUNTS:
        write_set(scene, split)
    with zipfile.ZipFile(source / "annotations_trainval2017.zip", "w") as archive:
        for split in COUNTS:
            archive.write(scene / f"{split}.json", f"annotations/instances_{split}2017.json")
            archive.writestr(f"annotations/captions_{split}2017.json", "{}")
    for split in COUNTS:
        with zipfile.ZipFile(source / f"{split}2017.zip", "w") as archive:
            archive.mkdir(f"{split}2017") if hasattr(archive, "mkdir") else None
            for path in sorted((scene / split).iterdir()):
                archive.write(path, f"{split}2017/{path.name}")
    return source


def archives_of(source: Path) -> tuple[Archive, ...]:
    return tuple(
        Archive(path.name, f"http://127.0.0.1:9/{path.name}", hashlib.md5(path.read_bytes()).hexdigest())
        for path in sorted(source.iterdir())
    )


def lay_out(target: Path, source: Path | None, **options: Any) -> list[str]:
    archives = archives_of(source) if source and "archives" not in options else ()
    return list(prepare_coco(target, source, **{"expected": COUNTS, "archives": archives, **options}))


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_archives_become_the_layout_of_detectron2(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "sets"
    lines = lay_out(target, source)
    assert [line.rpartition(": ")[2] for line in lines] == ["is the published file"] * 3 + [LINE] * 2
    assert lines[3].startswith(f"{target}/coco/train2017: ")
    assert names_below(target) == sorted(
        [f"coco/annotations/instances_{split}2017.json" for split in COUNTS]
        + [f"coco/{split}2017/{number}.png" for split in COUNTS for number in range(1, NUM_IMAGES + 1)]
    )
    for split, (num_images, num_annotations) in COUNTS.items():
        reference = COCO(str(target / "coco" / "annotations" / f"instances_{split}2017.json"))
        assert (len(reference.imgs), len(reference.anns)) == (num_images, num_annotations)
    assert lay_out(target, source) == [f"{target}/coco: is there already", *lines[3:]]
    assert lay_out(target, None) == lines[3:]


def test_nothing_is_written_of_a_dry_run(tmp_path: Path, source: Path) -> None:
    before = names_below(tmp_path)
    lines = lay_out(tmp_path / "sets", source, dry_run=True)
    assert lines[-1] == f"{tmp_path}/sets/coco: would be written from {source}"
    assert lines[0] == f"{source}/annotations_trainval2017.zip: is there"
    archives = archives_of(source)
    lines = lay_out(tmp_path / "sets", None, archives=archives, downloaded=True, dry_run=True)
    assert lines[0] == (
        f"{tmp_path}/sets/archives/annotations_trainval2017.zip: would be fetched from "
        "http://127.0.0.1:9/annotations_trainval2017.zip"
    )
    assert names_below(tmp_path) == before
    assert not (tmp_path / "sets").exists()


def damage_image(source: Path) -> None:
    with zipfile.ZipFile(source / "val2017.zip", "w") as archive:
        for number in range(1, NUM_IMAGES + 1):
            archive.writestr(f"val2017/{number}.png", b"<html>")


def cut(source: Path) -> None:
    path = source / "val2017.zip"
    path.write_bytes(path.read_bytes()[:-60])


def flip(source: Path) -> None:
    path = source / "val2017.zip"
    content = bytearray(path.read_bytes())
    content[80] ^= 255  # in the first image's pixels
    path.write_bytes(content)


def lead_out(source: Path) -> None:
    with zipfile.ZipFile(source / "val2017.zip", "a") as archive:
        archive.writestr("val2017/../../evil.png", b"")


def empty(source: Path) -> None:
    with zipfile.ZipFile(source / "val2017.zip", "w"):
        pass


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage_image, r"coco_2017_val: 1 kinds of faults:\n  - unreadable-image: .*sets/coco/val2017/1.png"),
        (cut, "val2017.zip: a damaged archive .*get it again"),
        (flip, "val2017.zip: a damaged archive .*Bad CRC-32.*get it again"),
        (lead_out, r"val2017.zip: refused member 'val2017/../../evil.png'"),
        (empty, r"(?s)coco_2017_val: 1 kinds of faults.*missing-image: .*=4 images"),
    ],
)
def test_a_bad_archive_leaves_nothing(
    tmp_path: Path, source: Path, harm: Callable[[Path], None], message: str
) -> None:
    harm(source)
    target = tmp_path / "sets"
    with pytest.raises(ValueError, match=message):
        lay_out(target, source)
    assert list(target.iterdir()) == []


def test_other_counts_and_other_archives_are_refused(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "sets"
    with pytest.raises(
        ValueError, match=r"coco/annotations/instances_train2017.json: expected 118287 images"
    ):
        lay_out(target, source, expected=COCO_2017)
    assert list(target.iterdir()) == []
    with pytest.raises(
        ValueError, match=r"annotations_trainval2017.zip: expected md5 f4bbac64.*get it again"
    ):
        lay_out(target, source, archives=COCO_ARCHIVES)
    archives = archives_of(source)
    (source / "val2017.zip").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks val2017.zip; get them by hand, or by --download"):
        lay_out(target, source, archives=archives)
    assert list(target.iterdir()) == []
    with pytest.raises(FileNotFoundError, match=r"instances_train2017.json: no such annotation file"):
        lay_out(target, None)


def subset_of(target: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((target / "coco" / "subset.json").read_text())
    return content


def test_a_subset_is_drawn_by_its_seed_and_says_what_it_is(tmp_path: Path, source: Path) -> None:
    drawn = []
    for name, seed in (("a", 0), ("b", 0), ("c", 3)):
        lines = lay_out(tmp_path / name, source, subset=2, seed=seed, classes=["dark"])
        assert lines[-2].endswith(
            "2 images with 2 annotations of 1 categories, as expected, a subset; no file is unusable"
        )
        assert lines[-1].split(": ")[1].startswith("1 images with 1 annotations")
        drawn.append(subset_of(tmp_path / name))
    assert drawn[0] == drawn[1]
    assert drawn[0]["images"] != drawn[2]["images"]
    assert (drawn[0]["of"], drawn[0]["seed"], drawn[0]["classes"]) == ("COCO 2017", 0, ["dark"])
    for split in COUNTS:
        path = tmp_path / "a" / "coco" / "annotations" / f"instances_{split}2017.json"
        reference = COCO(str(path))
        names = [image["file_name"] for image in reference.loadImgs(reference.getImgIds())]
        assert names == drawn[0]["images"][split]
        assert sorted(names) == names_below(tmp_path / "a" / "coco" / f"{split}2017")
        assert [len(names), len(reference.anns)] == drawn[0]["counts"][split]
        assert {entry["category_id"] for entry in reference.anns.values()} == {7}  # as in the original
    assert lay_out(tmp_path / "a", None)[0].endswith("a subset; no file is unusable")
    (tmp_path / "a" / "coco" / "train2017" / drawn[0]["images"]["train"][0]).unlink()
    with pytest.raises(ValueError, match="missing-image"):
        lay_out(tmp_path / "a", None)


def test_a_subset_is_drawn_from_a_layout_too(tmp_path: Path, source: Path) -> None:
    lay_out(tmp_path / "all", source)
    lay_out(tmp_path / "from_archives", source, subset=3, subset_test=1)
    for number, place in enumerate((tmp_path / "all", tmp_path / "all" / "coco")):
        lay_out(tmp_path / str(number), place, subset=3, subset_test=1, archives=())
        assert subset_of(tmp_path / str(number)) == subset_of(tmp_path / "from_archives")
        assert names_below(tmp_path / str(number)) == names_below(tmp_path / "from_archives")
    assert subset_of(tmp_path / "0")["counts"] == {"train": [3, 6], "val": [1, 2]}
    with pytest.raises(ValueError, match="all/coco: is laid out already; verify it by --to"):
        lay_out(tmp_path / "other", tmp_path / "all", archives=())


def test_images_of_a_layout_may_lie_behind_a_link(tmp_path: Path, source: Path) -> None:
    lay_out(tmp_path / "all", source)
    images = tmp_path / "all" / "coco" / "train2017"
    images.rename(tmp_path / "disk")
    images.symlink_to(tmp_path / "disk")
    lay_out(tmp_path / "part", tmp_path / "all", subset=3, archives=())
    copied = tmp_path / "part" / "coco" / "train2017"
    assert not copied.is_symlink()
    assert sorted(path.name for path in copied.iterdir()) == subset_of(tmp_path / "part")["images"]["train"]


def test_what_is_wrong_with_a_layout_is_named_by_its_own_path(tmp_path: Path, source: Path) -> None:
    lay_out(tmp_path / "all", source)
    path = tmp_path / "all" / "coco" / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["image_id"] = 99
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"instances_val2017\.json: annotation 1 is of no image of it"):
        lay_out(tmp_path / "part", tmp_path / "all", subset=3, archives=())
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"part/coco/annotations/instances_val2017\.json: no such"):
        lay_out(tmp_path / "part", tmp_path / "all", subset=3, archives=())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subset": 5}, "instances_train2017.json: expected 1 to 4 images to draw, found 5"),
        ({"subset": 2, "subset_test": 0}, "instances_val2017.json: expected 1 to 4 images to draw, found 0"),
        ({"subset": 2, "classes": ["cat"]}, "no category cat; it has bright, dark"),
        ({"classes": ["dark"]}, "classes are those of a subset"),
        ({"subset_test": 2}, "images to test on are those of a subset"),
    ],
)
def test_what_cannot_be_drawn_leaves_nothing(
    tmp_path: Path, source: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        lay_out(tmp_path / "sets", source, **options)
    assert not (tmp_path / "sets").exists() or list((tmp_path / "sets").iterdir()) == []


def test_a_subset_takes_no_folders_place_and_needs_a_source(tmp_path: Path, source: Path) -> None:
    lay_out(tmp_path, source)
    with pytest.raises(FileExistsError, match="coco: is there already; remove it, or give another --to"):
        lay_out(tmp_path, source, subset=2)
    assert lay_out(tmp_path, None)
    with pytest.raises(ValueError, match="a subset comes from archives or a folder"):
        lay_out(tmp_path / "other", None, subset=2)


def test_the_command_line_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(["coco", "--to", str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith("instances_train2017.json: no such annotation file\n")
    assert prepare.main(["coco", "--to", str(tmp_path), "--download", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "train2017.zip: would be fetched from http://images.cocodataset.org/zips/train2017.zip" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif("MEC_TRANSFER_DATA" not in os.environ, reason="MEC_TRANSFER_DATA is not set")
def test_real_images_of_two_categories(tmp_path: Path) -> None:
    source = str(Path(os.environ["MEC_TRANSFER_DATA"]) / "coco200")
    command = ["coco", "--from", source, "--to", str(tmp_path), "--subset", "12", "--classes", "person,car"]
    assert prepare.main(command) == 0
    reference = COCO(str(tmp_path / "coco" / "annotations" / "instances_train2017.json"))
    assert len(reference.getImgIds()) == 12
    assert sorted(entry["name"] for entry in reference.cats.values()) == ["car", "person"]
    assert {entry["category_id"] for entry in reference.anns.values()} == {1, 3}
