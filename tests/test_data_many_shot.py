"""The eleven sets of Table 8 are read as torchvision reads them: images, labels, splits and faults."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from many_shot_sets import VOC_CLASSES, WRITERS, label_of, voc_objects, write_image, write_set
from PIL import Image
from torchvision import datasets

from transfer.data.batches import eval_batches, train_batches
from transfer.data.folders import ImageSetConfig, ImageSplit, read_splits
from transfer.data.images import Images
from transfer.data.many_shot import MANY_SHOT, read_set

SIZES = {  # classes, training images, test images of the tiny sets
    "food101": (3, 9, 6),
    "cifar10": (10, 50, 20),
    "cifar100": (100, 200, 100),
    "sun397": (3, 6, 6),
    "cars": (3, 6, 3),
    "aircraft": (3, 9, 3),
    "voc07-classification": (20, 25, 25),
    "dtd": (3, 12, 6),
    "pets": (3, 9, 6),
    "caltech101": (2, 60, 5),
    "flowers": (102, 204, 204),
}


def config_for(name: str, root: Path, **changes: Any) -> ImageSetConfig:
    settings: dict[str, Any] = {
        "dataset": name,
        "protocol": "linear-lbfgs",
        "data_dir": str(root),
        "layout": name,
        "val_split": "test",
        "metric": MANY_SHOT[name].metric,
        "resize_size": 16,
        "image_size": 16,
        "batch_size": 64,
        "device": "cpu",
        **changes,
    }
    return ImageSetConfig(**settings)


def identity(image: Image.Image) -> Image.Image:
    return image


def as_items(split: ImageSplit) -> list[tuple[bytes, int]]:
    images = Images(split, identity, cache=False)
    return [(images[i][0].permute(1, 2, 0).numpy().tobytes(), split.labels[i]) for i in range(len(split))]


def torchvision_items(name: str, root: Path, keywords: tuple[Any, ...]) -> list[tuple[bytes, int]]:
    items = []
    for words in keywords:
        for image, label in MANY_SHOT[name].dataset(str(root), download=False, **words):
            items.append((np.asarray(image).tobytes(), int(label)))
    return items


def test_the_sets_are_those_of_the_published_rows() -> None:
    with (Path(__file__).parent.parent / "results" / "published.csv").open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["protocol"].startswith("mec-transfer-")]
    assert {row["dataset"] for row in rows} == set(MANY_SHOT) == set(WRITERS) == set(SIZES)
    assert {entry.metric for entry in MANY_SHOT.values()} == {"top1", "mean_per_class", "map_voc07"}


@pytest.mark.parametrize("name", sorted(set(SIZES) - {"voc07-classification"}))
def test_images_and_labels_are_those_of_torchvision(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = read_splits(config_for(name, write_set(name, tmp_path, monkeypatch)))
    assert (len(train.classes), len(train), len(test)) == SIZES[name]
    assert len({*train.names, *test.names}) == len(train) + len(test) or name.startswith("cifar")
    entry = MANY_SHOT[name]
    found = as_items(train), as_items(test)
    if entry.divide is None:
        assert found[0] == torchvision_items(name, tmp_path, entry.train)
        assert found[1] == torchvision_items(name, tmp_path, (entry.test,))
    else:
        everything = torchvision_items(name, tmp_path, ({},))
        assert {*found[0], *found[1]} <= set(everything)
    for split in (train, test):
        images = Images(split, identity, cache=False)
        told = [label_of(Image.fromarray(images[i][0].permute(1, 2, 0).numpy())) for i in range(len(split))]
        assert told == list(split.labels)


def test_label_off_by_one_would_be_seen(tmp_path: Path) -> None:
    for label in range(102):
        write_image(tmp_path / "image.jpg", label)
        assert label_of(Image.open(tmp_path / "image.jpg")) == label


def test_voc_targets_are_those_of_the_annotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "voc07-classification"
    train, test = read_splits(config_for(name, write_set(name, tmp_path, monkeypatch)))
    assert (len(train.classes), len(train), len(test)) == SIZES[name]
    for split, words in ((train, MANY_SHOT[name].train[0]), (test, MANY_SHOT[name].test)):
        assert split.targets is not None
        expected = torch.zeros(25, 20)
        for i, (image, annotation) in enumerate(datasets.VOCDetection(str(tmp_path), **words)):
            for thing in annotation["annotation"]["object"]:
                column = VOC_CLASSES.index(thing["name"])
                if thing["difficult"] == "0":
                    expected[i, column] = 1
                elif expected[i, column] == 0:
                    expected[i, column] = -1
            assert label_of(image) == split.labels[i]
        assert torch.equal(split.targets, expected)
        assert {-1.0, 0.0, 1.0} == set(split.targets.unique().tolist())
        assert voc_objects(24) == [("dog", True), ("cow", True)]
        assert split.labels[24] == VOC_CLASSES.index("cow")  # the first of what is only difficult
        batch = next(iter(eval_batches(split, config_for(name, tmp_path))))
        assert torch.equal(batch[1], expected)


@pytest.mark.parametrize("name", ["pets", "cifar10", "voc07-classification"])
def test_batches_are_made_of_every_kind(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_for(name, write_set(name, tmp_path, monkeypatch), batch_size=5)
    train, _ = read_splits(config)
    images, labels = next(iter(train_batches(train, config, 0.5)))
    assert images.shape == (5, 3, 16, 16)
    assert labels.shape == ((5, 20) if train.targets is not None else (5,))


def test_sun397_follows_the_partition_file_not_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set("sun397", tmp_path, monkeypatch)
    path = tmp_path / "SUN397" / "Training_01.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(reversed(lines)) + "\n")
    train, test = read_set("sun397", tmp_path)
    assert list(train.names) == [line[1:] for line in reversed(lines)]
    assert set(train.names).isdisjoint(test.names)
    path.write_text("/a/abbey/sun_99.jpg\n")
    with pytest.raises(ValueError, match=r"1 of 1 images are not there, such as \['a/abbey/sun_99.jpg'\]"):
        read_set("sun397", tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"Training_01.txt: no such file; put the authors' partition"):
        read_set("sun397", tmp_path)


def test_caltech101_division_is_drawn_once_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set("caltech101", tmp_path, monkeypatch)
    train, test = read_set("caltech101", tmp_path)
    assert [train.labels.count(label) for label in (0, 1)] == [30, 30]
    assert [test.labels.count(label) for label in (0, 1)] == [1, 4]
    assert set(train.names).isdisjoint(test.names)
    assert read_splits(config_for("caltech101", tmp_path, seed=5)) == (train, test)
    assert not any("BACKGROUND" in name for name in train.names + test.names)
    for path in (tmp_path / "caltech101" / "101_ObjectCategories" / "accordion").glob("*_003*.jpg"):
        path.unlink()
    with pytest.raises(ValueError, match=r"expected at least 30 images of each class.*'accordion'"):
        read_set("caltech101", tmp_path)


@pytest.mark.parametrize("name", sorted(SIZES))
def test_missing_set_is_named_with_its_layout_and_left_alone(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"no such folder; {name} expects there: "):
        read_splits(config_for(name, tmp_path))
    assert list(tmp_path.iterdir()) == []  # torchvision's Caltech101 would make a folder
    (tmp_path / MANY_SHOT[name].folder).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"cannot read it .*; expected there: "):
        read_splits(config_for(name, tmp_path))


def test_damaged_cifar_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set("cifar10", tmp_path, monkeypatch)
    with (tmp_path / "cifar-10-batches-py" / "data_batch_3").open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(ValueError, match=r"torchvision's CIFAR10 cannot read it .*corrupted"):
        read_set("cifar10", tmp_path)


def test_class_without_a_training_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set("food101", tmp_path, monkeypatch)
    path = tmp_path / "food-101" / "meta" / "train.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "ramen": []}))
    with pytest.raises(ValueError, match=r"1 of 3 classes have no training image, such as \['ramen'\]"):
        read_set("food101", tmp_path)


def test_splits_that_disagree_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set("dtd", tmp_path, monkeypatch)
    path = tmp_path / "dtd" / "dtd" / "labels" / "test1.txt"
    original = path.read_text()
    path.write_text(original.replace("woven/", "zigzag/"))
    with pytest.raises(ValueError, match="the splits disagree on the classes"):
        read_set("dtd", tmp_path)
    path.write_text(original + "banded/banded_train0.jpg\n")
    with pytest.raises(ValueError, match=r"1 images of .* are listed for training and for validation"):
        read_splits(config_for("dtd", tmp_path))
    path.write_text(original)
    val = path.with_name("val1.txt")
    val.write_text(val.read_text() + "banded/banded_train0.jpg\n")
    with pytest.raises(ValueError, match="its training and validation lists share images"):
        read_set("dtd", tmp_path)


def test_pets_with_a_label_too_many_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set("pets", tmp_path, monkeypatch)
    for split in ("trainval", "test"):
        path = tmp_path / "oxford-iiit-pet" / "annotations" / f"{split}.txt"
        path.write_text(path.read_text().replace(" 3 1 1", " 4 1 1"))
    with pytest.raises(ValueError, match=r"labels \[3\] have no name among 3"):
        read_set("pets", tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("dog_test.txt", ("000103", "000999"), "expected the 25 images of test.txt, in order"),
        ("cow_trainval.txt", (" 0\n", "-1\n"), "1 images show no class, such as"),
        ("cat_test.txt", (" 1\n", " 2\n"), "KeyError: '2'"),
    ],
)
def test_voc_class_file_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, change: tuple[str, str], message: str
) -> None:
    write_set("voc07-classification", tmp_path, monkeypatch)
    main = tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main"
    if file.startswith("cow"):
        (main / "dog_trainval.txt").write_text(
            (main / "dog_trainval.txt").read_text().replace(" 0\n", "-1\n")
        )
    (main / file).write_text((main / file).read_text().replace(*change))
    with pytest.raises(ValueError, match=message):
        read_set("voc07-classification", tmp_path)


def test_voc_without_a_class_file_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set("voc07-classification", tmp_path, monkeypatch)
    (tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "sofa_test.txt").unlink()
    with pytest.raises(ValueError, match=r"No such file.*sofa_test.txt"):
        read_set("voc07-classification", tmp_path)


@pytest.mark.parametrize("changes", [{"val_split": "val"}, {"train_split": "trainval"}, {"metric": "top1"}])
def test_setting_that_contradicts_the_set_is_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    expected = "expected train_split train, val_split test and metric mean_per_class"
    with pytest.raises(ValueError, match=expected):
        read_splits(config_for("pets", tmp_path, **changes))
    with pytest.raises(ValueError, match=r"layout: expected folders or one of \['food101'"):
        read_splits(config_for("pets", tmp_path, layout="imagenet"))


def test_other_size_than_published_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_for("pets", write_set("pets", tmp_path, monkeypatch))
    with caplog.at_level(logging.WARNING):
        read_splits(config)
    expected = "pets: found 3 classes, 9 training and 6 test images; published are 37, 3680 and 3669"
    assert caplog.messages == [expected]
    caplog.clear()
    entry = dataclasses.replace(MANY_SHOT["pets"], num_classes=3, num_train=9, num_test=6)
    monkeypatch.setitem(MANY_SHOT, "pets", entry)
    read_splits(config)
    assert caplog.messages == []


def test_image_that_a_list_names_but_the_disk_lacks_is_found_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for("aircraft", write_set("aircraft", tmp_path, monkeypatch))
    missing = tmp_path / "fgvc-aircraft-2013b" / "data" / "images" / "013.jpg"
    missing.unlink()
    with pytest.raises(ValueError, match=r"1 of 12 image files cannot be used.*\n.*013.jpg: No such file"):
        read_splits(config)
    config.check_images = False
    assert len(read_splits(config)[0]) == 9
