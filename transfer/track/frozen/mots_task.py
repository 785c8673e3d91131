"""MOTS on frozen features: link given masks of pedestrians by what a backbone sees inside them.

UniTrack's protocol (arXiv 2107.02156): frames at their own size, features at stride 8, similarity by
reconstruction (:mod:`~transfer.track.frozen.similarity`), a Kalman filter and two associations by overlap
behind it (:mod:`~transfer.track.frozen.association`). Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from omegaconf import MISSING

from transfer.backbone.contract import Backbone
from transfer.data.mot_sequences import MotsSequence, read_mots_sequences
from transfer.data.mots import PEDESTRIAN, MaskLine, decode, write_mots
from transfer.data.run_lengths import encode_mask
from transfer.ranks import choose_device
from transfer.report.rows import Measurement
from transfer.track.frozen.appearance import AppearanceModel, build_appearance
from transfer.track.frozen.mask_points import grid_coordinates, mask_boxes, without_duplicates
from transfer.track.frozen.mask_tracking import Given, Links, Variant, Video, link_masks
from transfer.track.frozen.protocol_ids import row_ids
from transfer.track.frozen.results import (
    IndexEntry,
    tracks_folder,
    write_index,
)
from transfer.track.frozen.variants import (
    DATA_FIELDS,
    Scores,
    check_links,
    list_variants,
    measure_variants,
    stems,
)
from transfer.track.frozen.videos import map_videos
from transfer.track.scores.mots_scores import METRICS, require_trackeval, score_masks


@dataclass
class Config:
    """Where the set lies, how it is run, and the constants of the protocol, each at its published value."""

    dataset: str = MISSING  # as in the rows: mots20, mini
    split: str = "train"
    protocol: str = "unitrack"
    seed: int = 0
    root: str = MISSING  # folder of the sequences, MOTS20's layout
    sequences: list[str] = field(default_factory=list)  # none: all
    detections: str = ""  # a detector's folder with NAME.txt; none: det/det.txt of each sequence
    layers: list[int] = field(default_factory=lambda: [3, 4])
    motion: list[bool] = field(default_factory=lambda: [False, True])
    floors: bool = True
    device: str = "auto"
    frames_at_once: int = 2  # frames in one forward pass
    videos_at_once: int = 0  # sequences side by side; 0: as the machine allows
    max_mask_area: int = 200  # cells of the feature grid
    feat_size: list[int] = field(default_factory=lambda: [4, 10])  # random points of an empty mask
    duplicate_mask_iou: float = 0.7  # given masks whose boxes overlap more are one
    first_stage_thres: float = 0.7
    iou_thres: float = 0.5
    confirm_iou_thres: float = 0.7  # of no effect, as in the original: tracks of masks count at once
    dup_iou_thres: float = 0.15
    conf_thres: float = 0.5
    track_buffer: int = 30
    use_kalman: bool = True
    motion_lambda: float = 0.98  # of the variants with motion cues
    motion_gated: bool = False

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols of the rows."""
        return row_ids(self, stems(self), DATA_FIELDS)


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """sMOTA, IDF1, HOTA and identity switches of each variant; tracks as MOTS text below ``out/tracks``.

    Raises:
        ImportError: no TrackEval.
        FileNotFoundError, ValueError: a setting that cannot be, or what the readers refuse, of all sequences
            together and before any work.
    """
    areas = dict.fromkeys(config.layers, config.max_mask_area)
    check_links(config, areas)
    require_trackeval()
    sequences = read_mots_sequences(
        Path(config.root), config.sequences, Path(config.detections) if config.detections else None
    )
    model = build_appearance(backbone, config.layers, choose_device(config.device))
    variants = list_variants(config, areas, confirmed_at_once=True)
    follow = partial(_follow, model=model, variants=variants, config=config, out=out)
    found: list[dict[str, Links]] = map_videos(follow, sequences, config.videos_at_once)
    write_index(
        out,
        "mots",
        [IndexEntry(sequence.name, sequence.frames, sequence.ground_truth) for sequence in sequences],
    )
    lengths = {sequence.name: sequence.info.num_frames for sequence in sequences}

    def score(protocol: str) -> Scores:
        return score_masks(Path(config.root), tracks_folder(out, protocol), lengths)

    yield from measure_variants(config, out, "torch, TrackEval", METRICS, variants, found, score)


def _follow(
    sequence: MotsSequence, model: AppearanceModel, variants: Sequence[Variant], config: Config, out: Path
) -> dict[str, Links]:
    """Link the masks of one sequence and write its tracks."""
    by_frame: dict[int, list[MaskLine]] = {}
    for line in sequence.detections:
        if line.class_id == PEDESTRIAN:
            by_frame.setdefault(line.frame, []).append(line)
    disjoint: dict[int, list[MaskLine]] = {}

    def observe(index: int, size: tuple[int, int], grid: tuple[int, int]) -> Given:
        rows, columns = (grid_coordinates(length, cells) for length, cells in zip(size, grid, strict=True))
        lines, masks = [], np.zeros((0, *grid), dtype=bool)
        taken = np.zeros(size, dtype=bool)
        for line in sorted(by_frame.get(index + 1, []), key=lambda line: -line.score):
            mask = decode(line)
            if (mask & taken).any():
                mask &= ~taken
                line = replace(line, rle=encode_mask(mask))
            taken |= mask
            lines.append(line)
            masks = np.concatenate([masks, mask[np.ix_(rows, columns)][None]])
        disjoint[index] = lines
        boxes = mask_boxes(torch.from_numpy(masks))
        kept = without_duplicates(boxes, config.duplicate_mask_iou)
        return Given(torch.from_numpy(masks[kept]), boxes[kept], kept)

    video = Video(sequence.name, sequence.frames, sequence.info.frame_rate, observe)
    found = link_masks(
        model, video, variants, config.frames_at_once, int(np.prod(config.feat_size)), config.seed
    )
    for protocol, links in found.items():
        if links.failure:
            continue
        lines = [
            replace(disjoint[index][given], frame=index + 1, track_id=identity)
            for index, pairs in enumerate(links.frames)
            for identity, given in pairs
        ]
        write_mots(tracks_folder(out, protocol) / f"{sequence.name}.txt", lines)
    return found
