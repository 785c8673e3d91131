"""VOC is laid out whole from its archives, verified, or drawn from, and detectron2 reads it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from detect_scene import DETECTRON2
from voc_scene import EVERY_CLASS, OBJECTS, write_voc, write_voc_image

from transfer.data import prepare
from transfer.data.download import Archive
from transfer.data.prepare_voc import VOC, VOC_ARCHIVES, prepare_voc
from transfer.detect.sets import VOC_CLASSES, SetFiles, read_names

COUNTS = {2007: {"trainval": 4, "test": 3}, 2012: {"trainval": 2, "train": 1}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three archives as the official ones are built, with folders and lists that nobody wants."""
    source = tmp_path / "source"
    source.mkdir()
    for name, year, splits in (
        ("1_trainval_2007.tar", 2007, {"trainval": 4}),
        ("2_test_2007.tar", 2007, {"unused": 4, "test": 3}),  # for other names than those of trainval
        ("3_trainval_2012.tar", 2012, {"train": 1, "trainval": 1}),
    ):
        root = tmp_path / name
        write_voc(root, year, splits, every_class=True)
        folder = root / f"VOC{year}"
        lists = folder / "ImageSets" / "Main"
        if year == 2012:
            (lists / "trainval.txt").write_text("000001\n000002\n")
        if "unused" in splits:
            for image in (lists / "unused.txt").read_text().split():
                (folder / "Annotations" / f"{image}.xml").unlink()
                (folder / "JPEGImages" / f"{image}.jpg").unlink()
            (lists / "unused.txt").unlink()
        else:
            (lists / "cat_trainval.txt").write_text("000001  1\n")
        (folder / "SegmentationClass").mkdir()
        (folder / "SegmentationClass" / "000001.png").write_bytes(b"")
        with tarfile.open(source / name, "w") as archive:
            archive.add(folder, f"VOCdevkit/VOC{year}")
    return source


def archives_of(source: Path) -> dict[int, tuple[Archive, ...]]:
    archives = [
        Archive(path.name, "http://127.0.0.1:9/", hashlib.md5(path.read_bytes()).hexdigest())
        for path in sorted(source.glob("*.tar"))
    ]
    return {2007: tuple(archives[:2]), 2012: tuple(archives[2:])}


def lay_out(target: Path, source: Path | None, **options: Any) -> list[str]:
    archives = archives_of(source) if source else VOC_ARCHIVES
    return list(prepare_voc(target, source, **{"expected": COUNTS, "archives": archives, **options}))


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_archives_become_the_layout_of_detectron2(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "sets"
    lines = lay_out(target, source)
    published = [line for line in lines if line.endswith("is the published file")]
    assert len(published) == 3
    verified = [
        f"{target}/VOC{year}: {split}: {count} images, as expected; no file is unusable"
        for year, splits in COUNTS.items()
        for split, count in splits.items()
    ]
    assert [line for line in lines if line not in published] == verified
    assert sorted(path.name for path in target.iterdir()) == ["VOC2007", "VOC2012"]
    names = names_below(target / "VOC2007")
    assert len([name for name in names if name.startswith("Annotations/")]) == 7
    assert len([name for name in names if name.startswith("JPEGImages/")]) == 7
    assert [name for name in names if name.startswith("ImageSets/")] == [
        f"ImageSets/Main/{name}.txt" for name in ("cat_trainval", "test", "trainval")
    ]
    assert len(names) == 17, "nothing else of the archives"
    assert lay_out(target, None) == verified
    assert lay_out(target, source, years=[2012]) == [f"{target}/VOC2012: is there already", *verified[2:]]


def test_only_the_years_that_are_asked_for(tmp_path: Path, source: Path) -> None:
    lay_out(tmp_path / "sets", source, years=[2012])
    assert [path.name for path in (tmp_path / "sets").iterdir()] == ["VOC2012"]


def test_nothing_is_written_of_a_dry_run(tmp_path: Path, source: Path) -> None:
    lines = lay_out(tmp_path / "sets", source, dry_run=True)
    assert lines[2] == f"{tmp_path}/sets/VOC2007: would be written from {source}"
    assert not (tmp_path / "sets").exists()


def add(archive: Path, member: tarfile.TarInfo) -> None:
    with tarfile.open(archive, "a") as members:
        members.addfile(member, io.BytesIO())


def twice(source: Path) -> None:
    add(source / "2_test_2007.tar", tarfile.TarInfo("VOCdevkit/VOC2007/JPEGImages/000001.jpg"))


def lead_out(source: Path) -> None:
    add(source / "2_test_2007.tar", tarfile.TarInfo("VOCdevkit/VOC2007/JPEGImages/../../../evil.jpg"))


def link(source: Path) -> None:
    member = tarfile.TarInfo("VOCdevkit/VOC2007/JPEGImages/000099.jpg")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
    add(source / "2_test_2007.tar", member)


def cut(source: Path) -> None:
    path = source / "2_test_2007.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_by_text(source: Path) -> None:
    (source / "2_test_2007.tar").write_text("<html>404</html>")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (twice, r"2_test_2007.tar: holds .*000001.jpg, which is there already"),
        (lead_out, r"2_test_2007.tar: refused member .*evil.jpg': it would land outside"),
        (link, r"2_test_2007.tar: refused member .*000099.jpg': only plain files"),
        (cut, r"2_test_2007.tar: a damaged archive|voc_2007_test: .* faults"),
        (replace_by_text, r"2_test_2007.tar: a damaged archive .*get it again"),
    ],
)
def test_a_bad_archive_leaves_nothing(
    tmp_path: Path, source: Path, harm: Callable[[Path], None], message: str
) -> None:
    harm(source)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        lay_out(tmp_path / "sets", source)
    assert list((tmp_path / "sets").iterdir()) == []


def test_other_counts_other_archives_and_faults_are_refused(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "sets"
    with pytest.raises(ValueError, match="VOC2007: trainval: expected 5011 images, found 4"):
        lay_out(target, source, expected=VOC)
    with pytest.raises(
        FileNotFoundError, match=r"lacks VOCtrainval_06-Nov-2007.tar, VOCtest_06-Nov-2007.tar"
    ):
        lay_out(target, source, archives=VOC_ARCHIVES)
    (source / "VOCtest_06-Nov-2007.tar").write_bytes(b"")
    (source / "VOCtrainval_06-Nov-2007.tar").write_bytes(b"")
    with pytest.raises(ValueError, match="expected md5 c52e279531787c972589f7e41ab4ae64 of VOCtrainval_06"):
        lay_out(target, source, archives=VOC_ARCHIVES)
    assert list(target.iterdir()) == []
    for path in source.glob("VOC*.tar"):
        path.unlink()
    lay_out(target, source)
    path = target / "VOC2007" / "Annotations" / "000002.xml"
    path.write_text(path.read_text().replace("<width>64<", "<width>65<"))
    with pytest.raises(ValueError, match="voc_2007_trainval: 1 kinds of faults:\n  - image-size"):
        lay_out(target, None)


def test_a_subset_shows_every_class(tmp_path: Path, source: Path) -> None:
    for number, place in enumerate((source, source)):
        lay_out(tmp_path / str(number), place, years=[2007], subset=2)
    drawn = [
        json.loads((tmp_path / str(number) / "VOC2007" / "subset.json").read_text()) for number in (0, 1)
    ]
    assert drawn[0] == drawn[1]
    assert (drawn[0]["of"], drawn[0]["counts"]) == ("VOC 2007", {"trainval": 2, "test": 1})
    folder = tmp_path / "0" / "VOC2007"
    for split, names in drawn[0]["images"].items():
        assert read_names(SetFiles(voc_dir=str(folder), split=split)) == names
        text = "".join((folder / "Annotations" / f"{name}.xml").read_text() for name in names)
        assert all(f"<name>{label}</name>" in text for label in VOC_CLASSES)
    assert len(names_below(folder)) == 2 * 3 + 2 + 1  # images and XML, two lists, subset.json
    [line, _] = lay_out(tmp_path / "0", None, years=[2007])
    assert line.endswith("trainval: 2 images, as expected, a subset; no file is unusable")


def test_a_subset_is_drawn_from_a_layout_too(tmp_path: Path, source: Path) -> None:
    lay_out(tmp_path / "all", source)
    lay_out(tmp_path / "archives", source, subset=2, subset_test=2)
    lay_out(tmp_path / "layout", tmp_path / "all", subset=2, subset_test=2, archives={})
    assert names_below(tmp_path / "layout") == names_below(tmp_path / "archives")
    with pytest.raises(ValueError, match="VOC2007: is laid out already"):
        lay_out(tmp_path / "other", tmp_path / "all", archives={})
    with pytest.raises(FileExistsError, match="VOC2007: is there already; remove it"):
        lay_out(tmp_path / "all", source, subset=2)


def test_a_subset_of_damaged_annotations_is_refused(tmp_path: Path, source: Path) -> None:
    lay_out(tmp_path / "all", source)
    (tmp_path / "all" / "VOC2007" / "Annotations" / "000001.xml").write_text("<annotation>")
    with pytest.raises(ValueError, match=r"sets/VOC2007/Annotations/000001\.xml: not XML: no element found"):
        lay_out(tmp_path / "sets", tmp_path / "all", years=[2007], subset=2, archives={})
    assert list((tmp_path / "sets").iterdir()) == []


def test_a_subset_that_cannot_show_every_class_is_refused(tmp_path: Path, source: Path) -> None:
    lay_out(tmp_path / "all", source)
    folder = tmp_path / "all" / "VOC2007"
    write_voc_image(folder, "000001", EVERY_CLASS[:10])
    write_voc_image(folder, "000002", [*EVERY_CLASS[10:], *OBJECTS])
    with pytest.raises(ValueError, match="VOC2007 trainval: 1 images cannot show all 20 classes; 2 can"):
        lay_out(tmp_path / "sets", tmp_path / "all", subset=1, archives={})
    path = folder / "Annotations" / "000002.xml"
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
    with pytest.raises(ValueError, match="VOC2007 trainval: no image shows "):
        lay_out(tmp_path / "sets", tmp_path / "all", subset=4, archives={})
    assert not (tmp_path / "sets").exists() or list((tmp_path / "sets").iterdir()) == []
    with pytest.raises(ValueError, match="expected 1 to 4 images to draw, found 9"):
        lay_out(tmp_path / "sets", source, subset=9)


def test_the_command_line_knows_the_years(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(["voc", "--to", str(tmp_path), "--download", "--dry-run", "--years", "2012"]) == 0
    text = capsys.readouterr().out
    assert "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar" in text
    assert "2007" not in text
    assert prepare.main(["voc", "--to", str(tmp_path), "--subset", "3"]) == 1
    assert "a subset comes from archives or a folder" in capsys.readouterr().err


class TestDetectron2:
    """detectron2's own loader is the reference of the counts."""

    pytestmark = DETECTRON2

    def test_detectron2_reads_the_layout(self, tmp_path: Path, source: Path) -> None:
        from detectron2.data.datasets import load_voc_instances

        lay_out(tmp_path / "sets", source)
        for year, splits in COUNTS.items():
            for split, count in splits.items():
                if count > 1:  # it cannot read a list of one image
                    found = load_voc_instances(str(tmp_path / "sets" / f"VOC{year}"), split, VOC_CLASSES)
                    assert len(found) == count
                    assert all(Path(image["file_name"]).is_file() for image in found)
