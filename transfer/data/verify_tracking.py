"""Tracking benchmarks that are laid out: faults of their videos, and their numbers against the published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from transfer.data.davis import read_davis
from transfer.data.mot_sequences import read_mot_sequences, read_mots_sequences
from transfer.data.mots import PEDESTRIAN
from transfer.data.otb import read_lasot, read_otb
from transfer.data.posetrack import read_posetrack
from transfer.data.tracking_names import (
    DAVIS2017_VAL,
    DAVIS2017_VAL_COUNTS,
    LASOT_TEST,
    OTB100,
    POSETRACK18_VIDEOS,
)
from transfer.data.video_faults import VideoFaults, named

Frames = Mapping[str, int]  # of each sequence


def verify_otb(folder: Path, names: Sequence[str] = (), expected: Frames = OTB100) -> Iterator[str]:
    """OTB-2015: a hundred targets, each with the benchmark's frames."""
    sequences = read_otb(folder, names or list(expected))
    frames = {sequence.name: len(sequence.frames) for sequence in sequences}
    yield _check_frames(folder, frames, expected, partial=bool(names))


def verify_lasot(
    folder: Path, names: Sequence[str] = (), expected: Sequence[str] = LASOT_TEST
) -> Iterator[str]:
    """LaSOT: the 280 sequences of its test set; the others are of its training set."""
    sequences = read_lasot(folder, names or expected)
    frames = sum(len(sequence.frames) for sequence in sequences)
    part = "" if names else ", the test set"
    yield f"{folder}: {len(sequences)} sequences with {frames} frames{part}; no file is unusable"


def verify_davis(
    folder: Path,
    names: Sequence[str] = (),
    expected: Sequence[str] = DAVIS2017_VAL,
    counts: tuple[int, int] = DAVIS2017_VAL_COUNTS,
) -> Iterator[str]:
    """DAVIS-2017: the 30 sequences of its validation set, at 480p."""
    sequences = read_davis(folder, "" if names else "val", names or expected)
    found = (
        sum(len(sequence.frames) for sequence in sequences),
        sum(len(sequence.object_ids) for sequence in sequences),
    )
    if not names and found != counts:
        raise ValueError(
            f"{folder}: val: expected {counts[0]} frames and {counts[1]} objects, "
            f"found {found[0]} and {found[1]}; DAVIS-2016 has one object a sequence"
        )
    part = "" if names else ", as published"
    yield f"{folder}: val: {len(sequences)} sequences, {found[0]} frames, {found[1]} objects{part}"


def verify_mot(
    folder: Path, names: Sequence[str], train: Frames, test: Frames, targets: int, masks: bool
) -> Iterator[str]:
    """MOT16, MOT17 or MOTS20: its training set, and its test set where that is there.

    Args:
        folder: holds ``train`` and perhaps ``test``.
        names: only these sequences.
        train, test: frames of each sequence.
        targets: boxes or masks of pedestrians that count in the whole training set.
        masks: the objects are masks.
    """
    unknown = set(names) - {*train, *test}
    if unknown:
        raise ValueError(f"{folder}: no sequence {', '.join(sorted(unknown))}; it has {', '.join(train)}")
    asked_of_test = [name for name in names if name in test]
    if asked_of_test and not (folder / "test").is_dir():
        raise FileNotFoundError(f"{folder / 'test'}: no such folder, but {named(asked_of_test)} is of it")
    found: dict[str, int] = {}
    chosen = [name for name in names or train if name in train]
    if chosen and masks:
        opened = read_mots_sequences(folder / "train", chosen, given=False)
        found = {sequence.name: len(sequence.frames) for sequence in opened}
        count = sum(line.class_id == PEDESTRIAN for sequence in opened for line in sequence.masks)
    elif chosen:
        boxed = read_mot_sequences(folder / "train", chosen)
        found = {sequence.name: len(sequence.frames) for sequence in boxed}
        count = sum(box.is_target for sequence in boxed for box in sequence.boxes)
    if chosen:
        if not names and count != targets:
            raise ValueError(f"{folder}/train: expected {targets} pedestrians that count, found {count}")
        line = _check_frames(folder / "train", found, train, partial=bool(names))
        yield f"{line}; {count} pedestrians"
    chosen = [name for name in names or test if name in test]
    if (folder / "test").is_dir() and chosen:
        read = read_mots_sequences if masks else read_mot_sequences
        tested = read(folder / "test", chosen, truth=False, given=False)
        found = {sequence.name: len(sequence.frames) for sequence in tested}
        yield _check_frames(folder / "test", found, test, partial=bool(names))


def verify_posetrack(
    folder: Path, names: Sequence[str] = (), expected: Frames = POSETRACK18_VIDEOS
) -> Iterator[str]:
    """PoseTrack 2018: its validation set, and its training set where that is there."""
    there = {
        split: {path.stem for path in (folder / "annotations" / split).glob("*.json")} for split in expected
    }
    for split, count in expected.items():
        if split != "val" and not there[split]:
            continue
        elsewhere = {name for other, names_there in there.items() if other != split for name in names_there}
        chosen = [
            name for name in names if name in there[split] or (split == "val" and name not in elsewhere)
        ]
        if names and not chosen:
            continue
        sequences = read_posetrack(folder, split, chosen)
        if not names and len(sequences) != count:
            raise ValueError(f"{folder}: {split}: expected {count} videos, found {len(sequences)}")
        frames = sum(len(sequence.frames) for sequence in sequences)
        people = sum(len(frame.people) for sequence in sequences for frame in sequence.frames)
        yield f"{folder}: {split}: {len(sequences)} videos, {frames} frames, {people} poses"


def _check_frames(folder: Path, found: Frames, expected: Frames, partial: bool) -> str:
    """Raise ValueError with every sequence whose number of frames is not the published one."""
    faults = VideoFaults()
    for name, count in found.items():
        if name not in expected:
            faults.add(name, "is no sequence of the benchmark")
        elif count != expected[name]:
            faults.add(name, f"expected {expected[name]} frames, found {count}")
    faults.raise_found(folder)
    part = f" of {len(expected)}" if partial else ""
    return f"{folder}: {len(found)}{part} sequences with {sum(found.values())} frames, as published"
