"""Detections of a folder of their own, checked against the sequences that they were given for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transfer.data.mot_sequences import read_mot_sequences, read_mots_sequences
from transfer.data.posetrack import collect_given_poses, read_posetrack
from transfer.data.video_faults import VideoFaults


def check_given_boxes(folder: Path, detections_dir: Path, names: Sequence[str] = ()) -> str:
    """Boxes ``<Sequence>.txt`` (or ``<Sequence>/000001.txt``) of the training sequences.

    Raises:
        ValueError: all faults together, as ``read_mot_sequences`` finds them.
    """
    sequences = read_mot_sequences(folder / "train", _of_training(folder, names), detections_dir)
    count = sum(len(sequence.detections) for sequence in sequences)
    return f"{detections_dir}: {count} boxes of {len(sequences)} sequences, all of frames that exist"


def check_given_masks(folder: Path, detections_dir: Path, names: Sequence[str] = ()) -> str:
    """Masks ``<Sequence>.txt`` (or ``<Sequence>/000001.txt``) of the training sequences.

    Raises:
        ValueError: all faults together, as ``read_mots_sequences`` finds them.
    """
    sequences = read_mots_sequences(folder / "train", _of_training(folder, names), detections_dir)
    count = sum(len(sequence.detections) for sequence in sequences)
    return f"{detections_dir}: {count} masks of {len(sequences)} sequences, all of frames that exist"


def check_given_poses(folder: Path, detections_dir: Path, names: Sequence[str] = ()) -> str:
    """Poses ``<sequence>.json``, in either format, of the validation sequences.

    Raises:
        ValueError: all faults together, as ``collect_given_poses`` finds them.
    """
    faults = VideoFaults()
    count = 0
    sequences = read_posetrack(folder, "val", names)
    for sequence in sequences:
        path = detections_dir / f"{sequence.name}.json"
        if not path.is_file():
            faults.add(sequence.name, f"has no given poses in {detections_dir}")
            continue
        given = collect_given_poses(path, sequence, folder, faults)
        count += sum(len(people) for people in given.values())
    faults.raise_found(detections_dir)
    return f"{detections_dir}: {count} poses of {len(sequences)} sequences, all of frames that exist"


def _of_training(folder: Path, names: Sequence[str]) -> list[str]:
    """Those of the training set; no names mean all of it, so names of the test set alone are refused."""
    chosen = [name for name in names if (folder / "train" / name).is_dir()]
    if names and not chosen:
        raise ValueError(f"{folder / 'train'}: has none of {', '.join(names)}; only it has a ground truth")
    return chosen
