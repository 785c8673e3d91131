"""Label subsets are stratified, repeatable and nested; fixed lists are checked to the last name."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from transfer.data.folders import ImageSplit
from transfer.data.subsets import (
    SIMCLR_LISTS,
    check_published,
    images_per_class,
    read_list,
    read_names,
    stratified_subset,
    write_list,
)


def make_split(*sizes: int) -> ImageSplit:
    """Class ``n000`` has ``sizes[0]`` images ``n000/n000_0.JPEG`` ..., and so on."""
    classes = tuple(f"n{label:03}" for label in range(len(sizes)))
    pairs = [
        (f"{name}/{name}_{i}.JPEG", label) for label, name in enumerate(classes) for i in range(sizes[label])
    ]
    return ImageSplit(Path("train"), classes, tuple(n for n, _ in pairs), tuple(label for _, label in pairs))


def test_fraction_holds_in_each_class_with_at_least_one_image() -> None:
    split = make_split(200, 140, 40, 3)
    chosen = split.select(stratified_subset(split, 0.1, seed=0))
    assert [chosen.labels.count(label) for label in range(4)] == [20, 14, 4, 1]
    assert len(set(chosen.names)) == 39
    assert list(chosen.names) == [name for name in split.names if name in set(chosen.names)]


def test_smaller_fraction_lies_within_the_larger_one() -> None:
    split = make_split(200, 300)
    small, large = (set(stratified_subset(split, fraction, seed=3)) for fraction in (0.01, 0.1))
    assert len(small) == 5
    assert small < large


def test_choice_depends_on_the_seed_and_on_nothing_else() -> None:
    split = make_split(50, 50)
    assert stratified_subset(split, 0.1, seed=0) == stratified_subset(split, 0.1, seed=0)
    assert stratified_subset(split, 0.1, seed=0) != stratified_subset(split, 0.1, seed=1)
    names = [f"n000/n000_{i}.JPEG" for i in range(50)]
    expected = min(names, key=lambda name: hashlib.sha256(b"7\0" + name.encode()).hexdigest())
    first = stratified_subset(split, 0.02, seed=7)[0]
    assert split.names[first] == expected


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5, float("nan")])
def test_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"expected a number in \(0, 1\]"):
        stratified_subset(make_split(5), fraction, seed=0)


def test_list_survives_writing_and_reading(tmp_path: Path) -> None:
    split = make_split(30, 30)
    indices = stratified_subset(split, 0.2, seed=0)
    write_list(tmp_path / "labels.txt", split.select(indices).names)
    assert read_list(tmp_path / "labels.txt", split) == indices
    assert [path.name for path in tmp_path.iterdir()] == ["labels.txt"]


def test_simclr_list_gives_the_class_before_the_underscore(tmp_path: Path) -> None:
    path = tmp_path / "1percent.txt"
    path.write_text("n001_2.JPEG\nn000_4.JPEG\n")
    assert read_list(path, make_split(5, 5)) == [7, 4]


def test_published_list_is_known_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "1percent.txt"
    path.write_text("n000_0.JPEG\n")
    digest = hashlib.sha256(b"n000_0.JPEG\n").hexdigest()
    assert read_list(path, make_split(1), digest) == [0]
    path.write_text("n000_0.JPEG\n\n")
    with pytest.raises(ValueError, match=f"expected sha256 {digest}, found "):
        read_list(path, make_split(1), digest)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "n000_0.JPEG\nn001_0.JPEG\nn000_9.JPEG\n",
            r"1 of 3 names are not in train, such as \['n000/n000_9.JPEG'\]",
        ),
        (
            "n000_0.JPEG\nn001_0.JPEG\nn007_0.JPEG\n",
            r"1 of 3 names are not in train, such as \['n007/n007_0.JPEG'\]",
        ),
        (
            "n000_0.JPEG\nn001_0.JPEG\nn000/n000_0.JPEG\n",
            r"1 names occur more than once, such as \['n000/n000_0",
        ),
        ("n001_0.JPEG\n", r"1 classes have no labelled image, such as \['n000'\]"),
        ("", r"2 classes have no labelled image"),
    ],
)
def test_list_that_does_not_fit_is_refused(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(lines)
    with pytest.raises(ValueError, match=message):
        read_list(path, make_split(5, 5))


def test_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such list of labelled images"):
        read_list(tmp_path / "absent.txt", make_split(1))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00n000_0.JPEG\n", b"\x89PNG\r\n\x1a\n"])
def test_list_that_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"list.txt: expected a text file of one image name a line"):
        read_list(tmp_path / "list.txt", make_split(1))


def test_number_of_images_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("n000_0.JPEG\nn000_1.JPEG\n")
    assert read_list(path, make_split(5), num_images=2) == [0, 1]
    with pytest.raises(ValueError, match="expected 3 images, found 2"):
        read_list(path, make_split(5), num_images=3)


def write_fake_simclr_list(path: Path, num_images: int, num_classes: int = 1000) -> Path:
    path.write_text("".join(f"n{i % num_classes:08}_{i}.JPEG\n" for i in range(num_images)))
    return path


@pytest.mark.parametrize(
    ("num_images", "num_classes", "message"),
    [
        (12_810, 1000, "expected 12811 images of 1000 classes, found 12810 of 1000"),
        (12_811, 999, "expected 12811 images of 1000 classes, found 12811 of 999"),
        (12_811, 1000, "expected sha256 71e82a48.*, found "),
    ],
)
def test_simclr_list_must_name_as_many_images_and_classes_as_it_does(
    tmp_path: Path, num_images: int, num_classes: int, message: str
) -> None:
    path = write_fake_simclr_list(tmp_path / "1percent.txt", num_images, num_classes)
    with pytest.raises(ValueError, match=message):
        read_list(path, make_split(1), SIMCLR_LISTS["1percent.txt"].sha256)


@pytest.mark.parametrize("name", ["1percent.txt", "10percent.txt"])
def test_simclr_lists_are_those_described(name: str) -> None:
    folder = os.environ.get("MEC_TRANSFER_DATA")
    if not folder:
        pytest.skip("MEC_TRANSFER_DATA is not set")
    path = Path(folder) / "imagenet_subsets" / name
    check_published(path, SIMCLR_LISTS[name])
    names = read_names(path)
    classes = sorted({image.partition("/")[0] for image in names})
    index = {image: i for i, image in enumerate(classes)}
    labels = tuple(index[image.partition("/")[0]] for image in names)
    split = ImageSplit(Path("train"), tuple(classes), tuple(names), labels)
    assert read_list(path, split, SIMCLR_LISTS[name].sha256) == list(range(len(names)))


def test_count_of_each_class_is_exact_and_nested() -> None:
    split = make_split(9, 5)
    two, four = images_per_class(split, 2, seed=3), images_per_class(split, 4, seed=3)
    assert [sum(split.labels[i] == label for i in four) for label in (0, 1)] == [4, 4]
    assert set(two) < set(four)
    assert four != images_per_class(split, 4, seed=4)
    with pytest.raises(ValueError, match=r"at least 6 images of each class, but 1 classes .* \['n001'\]"):
        images_per_class(split, 6, seed=3)
