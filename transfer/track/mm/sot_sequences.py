"""Single-object sequences in the layouts of OTB and LaSOT, as a dataset of mmtrack's.

The sequences are read, and refused where they are crooked, by :mod:`transfer.data.otb`; sampling, pipelines
and evaluation are mmtrack's. Its own readers take lists of frame ranges from separate files instead,
and stop at a bad sequence only when it is drawn. Boxes are used as written: OTB counts pixels from 1, and
neither mmtrack nor this reader shifts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transfer.data.otb import BoxSequence, read_lasot, read_otb
from transfer.data.tracking_names import LASOT_TEST, OTB100

DATASET_TYPE = "SequenceFolder"  # the name under which mmtrack configurations ask for it
LAYOUTS = {"otb": read_otb, "lasot": read_lasot}
BENCHMARKS: dict[str, Sequence[str]] = {"lasot": LASOT_TEST, "otb100": tuple(OTB100)}
ABSENT = (1.0, 1.0, 0.0, 0.0)  # no size: mmtrack then counts the frame as missed, wherever the tracker is


def read_names(path: Path) -> list[str]:
    """Names of the sequences of a split, one a line.

    Raises:
        FileNotFoundError: no such list.
        ValueError: an empty list.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list of sequences; expected one name a line")
    names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not names:
        raise ValueError(f"{path}: names no sequence")
    return names


def read_sequences(root: Path, layout: str, list_path: Path | None, benchmark: str = "") -> list[BoxSequence]:
    """The sequences of a folder that a list names, else those of a benchmark's test set, else all of them.

    Raises:
        FileNotFoundError, ValueError: an unknown layout or benchmark, or what the layout's reader refuses:
            every fault of every sequence in one message.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"{root}: layout: expected one of {', '.join(LAYOUTS)}, found {layout!r}")
    if benchmark and benchmark not in BENCHMARKS:
        raise ValueError(f"{root}: benchmark: expected one of {', '.join(BENCHMARKS)}, found {benchmark!r}")
    return LAYOUTS[layout](root, read_names(list_path) if list_path else BENCHMARKS.get(benchmark, ()))


def sequence_names(dataset: Any) -> list[str]:
    """A name for each sequence of any of mmtrack's single-object datasets."""
    return [str(info.get("name", info["video_path"])) for info in dataset.data_infos]


def register_dataset() -> None:
    """Make :data:`DATASET_TYPE` known to mmtrack; safe to call again.

    ``img_prefix`` is the root folder, ``layout`` one of :data:`LAYOUTS` and ``ann_file`` a list of names;
    without one ``benchmark`` names the sequences (a folder of LaSOT may hold its training set, too), or all
    are taken. Where LaSOT's target is occluded or out of view it is not visible.
    """
    from mmtrack.datasets import DATASETS
    from mmtrack.datasets.base_sot_dataset import BaseSOTDataset

    class SequenceFolder(BaseSOTDataset):  # type: ignore[misc]  # mmtrack has no types
        def __init__(self, *args: Any, layout: str = "otb", benchmark: str = "", **kwargs: Any) -> None:
            self.layout, self.benchmark = layout, benchmark
            super().__init__(*args, **kwargs)

        def load_data_infos(self, split: str = "test") -> list[dict[str, Any]]:
            list_path = Path(self.ann_file) if self.ann_file else None
            self.sequences = read_sequences(Path(self.img_prefix), self.layout, list_path, self.benchmark)
            return [
                {"name": sequence.name, "video_path": sequence.name, "ann_path": str(sequence.ground_truth)}
                for sequence in self.sequences
            ]

        def get_len_per_video(self, video_ind: int) -> int:
            return len(self.sequences[video_ind].frames)

        def get_bboxes_from_video(self, video_ind: int) -> NDArray[np.float64]:
            boxes = self.sequences[video_ind].boxes.copy()
            boxes[np.isnan(boxes).any(axis=1)] = ABSENT
            return boxes

        def get_visibility_from_video(self, video_ind: int) -> dict[str, NDArray[np.bool_]]:
            return {"visible": ~np.isnan(self.sequences[video_ind].boxes).any(axis=1)}

        def get_img_infos_from_video(self, video_ind: int) -> dict[str, Any]:
            frames = self.sequences[video_ind].frames
            names = [str(path.relative_to(self.img_prefix)) for path in frames]
            return {"filename": names, "frame_ids": np.arange(len(frames)), "video_id": video_ind}

    DATASETS.register_module(name=DATASET_TYPE, module=SequenceFolder, force=True)
