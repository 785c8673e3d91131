"""Tracking sets are laid out from archives or folders, whole or not at all, and counted."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import track_sets

from transfer.data import prepare
from transfer.data.download import Archive
from transfer.data.prepare_tracking import prepare_tracking
from transfer.data.prepare_tracking_sets import SETS, TrackingSet
from transfer.data.tracking_names import DAVIS2017_VAL, LASOT_TEST, MOT16_TRAIN, MOTS20_TRAIN, OTB100
from transfer.data.verify_tracking import (
    verify_davis,
    verify_lasot,
    verify_mot,
    verify_otb,
    verify_posetrack,
)

FRAMES = 4


def mot(names: dict[str, int], targets: int, masks: bool) -> Callable[..., object]:
    return partial(verify_mot, train=names, test={}, targets=targets, masks=masks)


# Of each set: how a small one is written, and what that one holds.
SMALL: dict[str, tuple[Callable[[Path], Path], Callable[..., object], str]] = {
    "otb": (
        lambda root: track_sets.write_otb(root, ("Crossing", "Deer")),
        partial(verify_otb, expected={"Crossing": FRAMES, "Deer": FRAMES}),
        "2 sequences with 8 frames, as published",
    ),
    "lasot": (
        lambda root: track_sets.write_lasot(root, ("cat-1", "cat-20")),
        partial(verify_lasot, expected=("cat-1", "cat-20")),
        "2 sequences with 8 frames, the test set; no file is unusable",
    ),
    "davis": (
        lambda root: track_sets.write_davis(root, ("dog", "dogs-jump")),
        partial(verify_davis, expected=("dog", "dogs-jump"), counts=(8, 4)),
        "val: 2 sequences, 8 frames, 4 objects, as published",
    ),
    "mot16": (
        lambda root: track_sets.write_mot(root / "train", ("MOT16-02", "MOT16-04")).parent,
        mot({"MOT16-02": FRAMES, "MOT16-04": FRAMES}, 16, masks=False),
        "2 sequences with 8 frames, as published; 16 pedestrians",
    ),
    "mot17": (
        lambda root: track_sets.write_mot(root / "train", ("MOT17-02-DPM", "MOT17-02-SDP")).parent,
        mot({"MOT17-02-DPM": FRAMES, "MOT17-02-SDP": FRAMES}, 16, masks=False),
        "2 sequences with 8 frames, as published; 16 pedestrians",
    ),
    "mots": (
        lambda root: track_sets.write_mots(root / "train", ("MOTS20-02", "MOTS20-05")).parent,
        mot({"MOTS20-02": FRAMES, "MOTS20-05": FRAMES}, 16, masks=True),
        "2 sequences with 8 frames, as published; 16 pedestrians",
    ),
    "posetrack": (
        lambda root: track_sets.write_posetrack(root, ("000001_mpii", "000002_mpii")),
        partial(verify_posetrack, expected={"val": 2}),
        "val: 2 videos, 8 frames, 16 poses",
    ),
}


def small(name: str) -> TrackingSet:
    return replace(SETS[name], verify=SMALL[name][1])


def pack(folder: Path, path: Path, prefix: str) -> None:
    """An archive with files that nobody wants beside those of the set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    extra = folder.with_name("readme.txt")
    extra.write_text("read me")
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                inner = f"{prefix}{file.relative_to(folder)}"
                archive.write(file, inner)
                archive.write(extra, f"__MACOSX/{inner}")
            archive.write(extra, f"{prefix}readme.txt")
    else:
        with tarfile.open(path, "w:gz") as members:
            for file in files:
                members.add(file, f"{prefix}{file.relative_to(folder)}")
            members.add(extra, f"{prefix}readme.txt")


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_a_set_is_laid_out_and_verified(tmp_path: Path, name: str, kind: str) -> None:
    write, _, found = SMALL[name]
    root = write(tmp_path / "elsewhere" / "deep")
    source = root
    if kind != "folder":
        source = tmp_path / "archives"
        pack(root, source / f"all.{kind}", "some/folders/")
    lines = list(prepare_tracking(name, tmp_path / "sets", source, entry=small(name)))
    folder = tmp_path / "sets" / SETS[name].folder
    assert lines[0] == f"{folder}: {len(names_below(root)) - missing(name)} files from {source}"
    assert lines[1].startswith(str(folder))
    assert lines[1].endswith(found)
    assert len(names_below(folder)) == len(names_below(root)) - missing(name)
    assert list(prepare_tracking(name, tmp_path / "sets", entry=small(name))) == lines[1:]
    assert [path.name for path in (tmp_path / "sets").iterdir()] == [SETS[name].folder]


def missing(name: str) -> int:
    """Files of the small set that are no part of the benchmark: given poses."""
    return 2 if name == "posetrack" else 0


@pytest.mark.parametrize("name", SMALL)
def test_a_set_that_is_not_as_published_leaves_nothing(tmp_path: Path, name: str) -> None:
    root = SMALL[name][0](tmp_path / "small")
    with pytest.raises(ValueError, match=r"has no sequence|expected"):
        list(prepare_tracking(name, tmp_path / "sets", root))
    assert list((tmp_path / "sets").iterdir()) == []


@pytest.mark.parametrize("name", SMALL)
def test_a_bad_video_leaves_nothing(tmp_path: Path, name: str) -> None:
    root = SMALL[name][0](tmp_path / "small")
    frame = sorted(root.rglob("*2.png"))[0]
    frame.write_bytes(frame.read_bytes()[:-100])
    with pytest.raises(ValueError, match=rf"1 (frames|masks) cannot be read: .*{frame.name}") as error:
        list(prepare_tracking(name, tmp_path / "sets", root, entry=small(name)))
    assert str(error.value).startswith(str(tmp_path / "sets" / SETS[name].folder))
    assert list((tmp_path / "sets").iterdir()) == []


def test_another_number_of_frames_is_named(tmp_path: Path) -> None:
    root = track_sets.write_otb(tmp_path / "small", ("Crossing", "Deer"), num_frames=3)
    entry = replace(SETS["otb"], verify=partial(verify_otb, expected={"Crossing": 3, "Deer": 71}))
    with pytest.raises(ValueError, match="1 faults") as error:
        list(prepare_tracking("otb", tmp_path / "sets", root, entry=entry))
    assert "Deer: expected 71 frames, found 3" in str(error.value)


def test_pedestrians_are_counted(tmp_path: Path) -> None:
    root = SMALL["mot16"][0](tmp_path / "small")
    truth = root / "train" / "MOT16-02" / "gt" / "gt.txt"
    truth.write_text("".join(truth.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(ValueError, match="expected 16 pedestrians that count, found 15"):
        list(prepare_tracking("mot16", tmp_path / "sets", root, entry=small("mot16")))


def test_test_sets_need_no_ground_truth(tmp_path: Path) -> None:
    root = SMALL["mots"][0](tmp_path / "small")
    track_sets.write_mots(root / "test", ("MOTS20-01",))
    (root / "test" / "MOTS20-01" / "gt" / "gt.txt").unlink()
    verify = partial(SETS["mots"].verify, names=[])  # the published one counts the frames of both
    with pytest.raises(ValueError, match="has no sequence MOTS20-09, MOTS20-11"):
        list(verify(root))
    counted = partial(
        verify_mot,
        names=[],
        train={"MOTS20-02": 4, "MOTS20-05": 4},
        test={"MOTS20-01": 4},
        targets=16,
        masks=True,
    )
    assert list(counted(root))[1] == f"{root}/test: 1 sequences with 4 frames, as published"
    (root / "test" / "MOTS20-01" / "img1" / "000004.png").unlink()
    with pytest.raises(ValueError, match=r"1 frames are missing: 000004\.png"):
        list(counted(root))


def test_only_the_sequences_that_are_asked_for(tmp_path: Path) -> None:
    for name, chosen in (("otb", "Deer"), ("davis", "dog"), ("mot16", "MOT16-04"), ("lasot", "cat-20")):
        root = SMALL[name][0](tmp_path / name)
        lines = list(prepare_tracking(name, tmp_path / "sets", root, sequences=[chosen], entry=small(name)))
        assert "1 of 2 sequences" in lines[1] or "1 sequences" in lines[1]
        images = {path.parent for path in (tmp_path / "sets" / SETS[name].folder).rglob("*.png")}
        assert all(chosen in folder.parts for folder in images)


def test_one_folder_holds_both_targets(tmp_path: Path) -> None:
    track_sets.write_frames(tmp_path / "small" / "Jogging" / "img", 3, digits=4)
    for number in (1, 2):
        (tmp_path / "small" / "Jogging" / f"groundtruth_rect.{number}.txt").write_text("1,1,5,5\n" * 3)
    entry = replace(SETS["otb"], verify=partial(verify_otb, expected={"Jogging-1": 3, "Jogging-2": 3}))
    arguments = ("otb", tmp_path / "sets", tmp_path / "small")
    lines = list(prepare_tracking(*arguments, sequences=["Jogging-2"], entry=entry))
    assert lines[1].endswith("1 of 2 sequences with 3 frames, as published")


def test_archives_that_lead_out_or_are_damaged_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "archives"
    pack(SMALL["otb"][0](tmp_path / "small"), source / "a.zip", "")
    with zipfile.ZipFile(source / "a.zip", "a") as archive:
        archive.writestr("../Deer/img/0009.jpg", b"")
    with pytest.raises(ValueError, match="would land outside of the folder"):
        list(prepare_tracking("otb", tmp_path / "sets", source, entry=small("otb")))
    (source / "a.zip").write_bytes((tmp_path / "readme.txt").read_bytes())
    with pytest.raises(ValueError, match=r"a\.zip: a damaged archive"):
        list(prepare_tracking("otb", tmp_path / "sets", source, entry=small("otb")))
    (source / "a.zip").unlink()
    with pytest.raises(FileNotFoundError, match="holds no file of otb; expected <Sequence>/img"):
        list(prepare_tracking("otb", tmp_path / "sets", source, entry=small("otb")))
    assert not any((tmp_path / "sets").iterdir())


def test_a_file_that_is_in_two_archives_is_refused(tmp_path: Path) -> None:
    root = SMALL["otb"][0](tmp_path / "small")
    for name in ("a.zip", "b.tar.gz"):
        pack(root, tmp_path / "archives" / name, "")
    with pytest.raises(ValueError, match="is there already"):
        list(prepare_tracking("otb", tmp_path / "sets", tmp_path / "archives", entry=small("otb")))


def test_missing_archives_are_fetched_or_named(tmp_path: Path) -> None:
    archives = (Archive("Deer.zip", "http://127.0.0.1:9/Deer.zip"), Archive("Dog.zip", "http://127.0.0.1:9/"))
    entry = replace(small("otb"), archives=archives)
    lines = list(prepare_tracking("otb", tmp_path, None, downloaded=True, dry_run=True, entry=entry))
    assert lines[0] == f"{tmp_path}/archives/Deer.zip: would be fetched from http://127.0.0.1:9/Deer.zip"
    alone = prepare_tracking("otb", tmp_path, None, True, True, ["Deer"], entry)
    assert [line for line in alone if "Dog" in line] == []
    with pytest.raises(ValueError, match="cannot be fetched"):
        list(prepare_tracking("otb", tmp_path, None, downloaded=True, entry=entry))
    with pytest.raises(FileNotFoundError, match="lasot: has no public address; get LaSOT"):
        list(prepare_tracking("lasot", tmp_path, None, downloaded=True))
    with pytest.raises(FileNotFoundError, match=r"nowhere: not found; get .*Sequence>\.zip"):
        list(prepare_tracking("otb", tmp_path, tmp_path / "nowhere"))


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    root = SMALL["otb"][0](tmp_path / "small")
    lines = list(prepare_tracking("otb", tmp_path / "sets", root, dry_run=True))
    assert lines == [f"{tmp_path}/sets/otb100: would be written from {root}"]
    assert not (tmp_path / "sets").exists()


def test_the_published_counts() -> None:
    assert (len(OTB100), len(LASOT_TEST), len(DAVIS2017_VAL)) == (100, 280, 30)
    assert sum(OTB100.values()) == 59_040 - 5, "all frames of OTB-2015, without the first five of Tiger1"
    assert len({name.rpartition("-")[0] for name in LASOT_TEST}) == 70
    assert (sum(MOT16_TRAIN.values()), sum(MOTS20_TRAIN.values())) == (5_316, 2_862)


@pytest.mark.parametrize("name", SMALL)
def test_the_command_names_what_is_not_there(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main([name, "--to", str(tmp_path)]) == 1
    assert f"prepare_data: {tmp_path}/{SETS[name].folder}" in capsys.readouterr().err


def test_the_command_lays_out_a_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = track_sets.write_otb(tmp_path / "small", ("Crossing",), num_frames=OTB100["Crossing"])
    arguments = ["otb", "--from", str(root), "--to", str(tmp_path / "sets"), "--sequences", "Crossing"]
    assert prepare.main(arguments) == 0
    assert "1 of 100 sequences with 120 frames, as published" in capsys.readouterr().out


def give(root: Path, name: str) -> Path:
    """A detector's output beside a set, which is the set's own detections under another name."""
    given = root.parent / "given"
    given.mkdir()
    if name == "posetrack":
        for path in (root / "detections" / "val").glob("*.json"):
            path.rename(given / path.name)
    else:
        for path in (root / "train").glob("*/det/det.txt"):
            path.rename(given / f"{path.parent.parent.name}.txt")
    return given


@pytest.mark.parametrize(("name", "what"), [("mot16", "boxes"), ("mots", "masks"), ("posetrack", "poses")])
def test_given_detections_are_checked_against_the_sequences(tmp_path: Path, name: str, what: str) -> None:
    root = SMALL[name][0](tmp_path / "small")
    given = give(root, name)
    check = SETS[name].check_given
    assert check is not None
    assert check(root, given, []) == f"{given}: 16 {what} of 2 sequences, all of frames that exist"
    one = sorted(path.stem for path in given.iterdir())[0]
    assert check(root, given, [one]) == f"{given}: 8 {what} of 1 sequences, all of frames that exist"
    (path,) = given.glob(f"{one}.*")
    text = path.read_text()
    changes = {"mot16": ("1,-1", "99,-1"), "mots": ("1 1", "99 1"), "posetrack": ("000001.png", "000099.png")}
    path.write_text(text.replace(*changes[name], 1))
    with pytest.raises(ValueError, match=f"- {one}: .* do not exist"):
        check(root, given, [])
    path.unlink()
    with pytest.raises(ValueError, match=f"- {one}: has no given"):
        check(root, given, [])


def test_the_command_checks_given_detections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "MOT16-09"
    track_sets.write_mot(tmp_path / "mot16" / "train", (name,), num_frames=MOT16_TRAIN["09"], num_targets=0)
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / f"{name}.txt").write_text("525,1,2,3,4,0.5\n")
    arguments = ["mot16", "--to", str(tmp_path), "--sequences", name, "--detections", str(tmp_path / "given")]
    assert prepare.main(arguments) == 0
    assert f"{tmp_path}/given: 1 boxes of 1 sequences" in capsys.readouterr().out
    (tmp_path / "given" / f"{name}.txt").write_text("526,1,2,3,4,0.5\n")
    assert prepare.main(arguments) == 1
    assert "1 detections are of frames that do not exist (there are 525): 526" in capsys.readouterr().err


@pytest.mark.parametrize(("offset", "value", "says"), [(6, 1, "password"), (8, 99, "compression")])
def test_an_archive_that_python_cannot_unpack_is_named(
    tmp_path: Path, offset: int, value: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "archives" / "a.ZIP"
    pack(SMALL["otb"][0](tmp_path / "small"), path.with_suffix(".zip"), "")
    path.with_suffix(".zip").rename(path)
    assert list(prepare_tracking("otb", tmp_path / "whole", path, entry=small("otb")))
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\3\4", offset), (b"PK\1\2", offset + 2)):
        place = content.find(mark)
        while place >= 0:
            content[place + at] = value
            place = content.find(mark, place + 4)
    path.write_bytes(content)
    assert prepare.main(["otb", "--from", str(path), "--to", str(tmp_path / "sets")]) == 1
    found = capsys.readouterr().err
    assert f"{path}: cannot be unpacked (" in found
    assert says in found
    assert not any((tmp_path / "sets").iterdir())


def test_a_damaged_xz_is_named(tmp_path: Path) -> None:
    path = tmp_path / "all.tar.xz"
    with tarfile.open(path, "w:xz") as members:
        members.add(SMALL["otb"][0](tmp_path / "small"), "small")
    assert list(prepare_tracking("otb", tmp_path / "whole", path, entry=small("otb")))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    with pytest.raises(ValueError, match=r"all\.tar\.xz: a damaged archive"):
        list(prepare_tracking("otb", tmp_path / "sets", path, entry=small("otb")))


def test_sequences_of_a_test_set_that_is_not_there_are_refused(tmp_path: Path) -> None:
    assert prepare.main(["mot16", "--to", str(tmp_path), "--sequences", "MOT16-01"]) == 1
    root = SMALL["mot16"][0](tmp_path / "small")
    given = give(root, "mot16")
    check = SETS["mot16"].check_given
    assert check is not None
    assert "8 boxes of 1" in check(root, given, ["MOT16-01", "MOT16-02"])
    with pytest.raises(ValueError, match="has none of MOT16-01"):  # not: all of the training set
        check(root, given, ["MOT16-01"])


def test_poses_of_the_training_set_can_be_laid_out_alone(tmp_path: Path) -> None:
    root = SMALL["posetrack"][0](tmp_path / "small")
    for kind in ("images", "annotations"):
        (root / kind / "val").rename(root / kind / "train")
    for path in (root / "annotations" / "train").iterdir():
        path.write_text(path.read_text().replace("images/val/", "images/train/"))
    (line,) = SETS["posetrack"].verify(root, ["000001_mpii"])
    assert "train: 1 videos, 4 frames" in line
    with pytest.raises((ValueError, FileNotFoundError)):
        list(SETS["posetrack"].verify(root, ["000009_mpii"]))


def test_configurations_look_where_the_sets_are_laid_out() -> None:
    folders = {entry.folder for entry in SETS.values()}
    places = {
        "frozen/sot_otb2015.yaml": "}/otb100",
        "frozen/vos_davis2017.yaml": "data/davis2017",
        "frozen/mot_mot16.yaml": "}/mot16/train",
        "frozen/mots_mots20.yaml": "}/mots20/train",
        "frozen/pose_posetrack18.yaml": "}/posetrack18",
        "mmtrack/siamese_rpn_r50_20e_otb100.py": '"otb100"',
        "mmtrack/siamese_rpn_r50_20e_lasot.py": '"lasot"',
        "mot_mot17_half_tracktor.yaml": "}/mot17/train",
    }
    for name, place in places.items():
        assert place in (Path("configs/track") / name).read_text()
        assert any(folder in place for folder in folders)
