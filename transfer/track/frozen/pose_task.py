"""Pose tracking on frozen features: link given poses by what a backbone sees under their skeletons.

UniTrack's protocol (arXiv 2107.02156), as in :mod:`~transfer.track.frozen.mots_task`: a pose is drawn as a
mask (:mod:`~transfer.track.frozen.skeleton`) and its box is that of its joints. Poses without a track share
one identity, 1000 in the original, which its tracks can reach, and here one that they cannot. Among them is
that in which a lost track comes back: the original finds the poses of a track again by their joints, and
leaves such a track its old ones for that frame. Published numbers contain it. Scores are PoseTrack's
(:mod:`~transfer.track.scores.pose_scores`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from omegaconf import MISSING

from transfer.backbone.contract import Backbone
from transfer.data.posetrack import (
    UNTRACKED,
    PersonPose,
    PoseFrame,
    PoseSequence,
    collect_given_poses,
    read_posetrack,
)
from transfer.data.video_faults import VideoFaults
from transfer.ranks import choose_device
from transfer.report.rows import Measurement
from transfer.track.frozen.appearance import AppearanceModel, build_appearance
from transfer.track.frozen.mask_tracking import Given, Links, Variant, Video, link_masks
from transfer.track.frozen.pose_results import write_poses
from transfer.track.frozen.protocol_ids import row_ids
from transfer.track.frozen.results import (
    IndexEntry,
    tracks_folder,
    write_index,
)
from transfer.track.frozen.skeleton import draw_poses, pose_box
from transfer.track.frozen.variants import (
    DATA_FIELDS,
    Scores,
    check_links,
    list_variants,
    measure_variants,
    stems,
)
from transfer.track.frozen.videos import map_videos
from transfer.track.scores.pose_scores import METRICS, require_motmetrics, score_poses

GivenPoses = Mapping[Path, tuple[PersonPose, ...]]


@dataclass
class Config:
    """Where the set lies, how it is run, and the constants of the protocol, each at its published value."""

    dataset: str = MISSING  # as in the rows: posetrack18, mini
    split: str = "val"
    protocol: str = "unitrack"
    seed: int = 0
    root: str = MISSING  # folder with images/ and annotations/, PoseTrack 2018's layout
    sequences: list[str] = field(default_factory=list)  # none: all
    detections: str = ""  # folder of the given poses, NAME.json; none: <root>/detections/<split>
    layers: list[int] = field(default_factory=lambda: [3, 4])
    motion: list[bool] = field(default_factory=lambda: [False, True])
    floors: bool = True
    device: str = "auto"
    frames_at_once: int = 2  # frames in one forward pass
    videos_at_once: int = 0  # sequences side by side; 0: as the machine allows
    frame_rate: float = 6.0  # a lost track is kept for frame_rate / 30 * track_buffer frames
    max_mask_area_layer3: int = 400  # cells of the feature grid
    max_mask_area_layer4: int = 200
    feat_size: list[int] = field(default_factory=lambda: [4, 10])  # random points of an empty mask
    first_stage_thres: float = 0.7
    iou_thres: float = 0.5
    confirm_iou_thres: float = 0.6  # of no effect, as in the original: tracks of poses count at once
    dup_iou_thres: float = 0.2
    conf_thres: float = 0.5
    track_buffer: int = 30
    use_kalman: bool = True
    motion_lambda: float = 0.9999  # of the variants with motion cues
    motion_gated: bool = False
    only_position: bool = False  # true in the original's configuration, which its code does not read

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols of the rows."""
        return row_ids(self, stems(self), DATA_FIELDS)


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """IDF1, identity switches and MOTA of each variant; tracks as PoseTrack JSON below ``out/tracks``.

    Raises:
        ImportError: no motmetrics.
        FileNotFoundError, ValueError: a setting that cannot be, or what the readers refuse, of all sequences
            together and before any work.
    """
    areas = {3: config.max_mask_area_layer3, 4: config.max_mask_area_layer4}
    check_links(config, areas)
    require_motmetrics()
    if not config.frame_rate > 0:
        raise ValueError(f"frame_rate: expected a positive number, found {config.frame_rate}")
    root = Path(config.root)
    sequences = read_posetrack(root, config.split, config.sequences)
    given = _read_given(sequences, root, config)
    model = build_appearance(backbone, config.layers, choose_device(config.device))
    variants = list_variants(config, areas, config.only_position, confirmed_at_once=True)
    follow = partial(_follow, given=given, model=model, variants=variants, config=config)
    found: list[dict[str, Links]] = map_videos(follow, sequences, config.videos_at_once)
    write_index(
        out,
        "pose",
        [
            IndexEntry(sequence.name, [frame.path for frame in sequence.frames], sequence.ground_truth)
            for sequence in sequences
        ],
    )
    truth = {sequence.name: sequence.frames for sequence in sequences}

    def score(protocol: str) -> Scores:
        tracks = {
            sequence.name: _tracked_frames(sequence, given[sequence.name], part[protocol])
            for sequence, part in zip(sequences, found, strict=True)
        }
        for name, frames in tracks.items():
            write_poses(tracks_folder(out, protocol) / f"{name}.json", frames, root)
        return score_poses(truth, tracks)

    yield from measure_variants(config, out, "torch, motmetrics", METRICS, variants, found, score)


def _read_given(sequences: Sequence[PoseSequence], root: Path, config: Config) -> dict[str, GivenPoses]:
    """The given poses of all sequences, whose faults are raised together; poses without a joint go."""
    folder = Path(config.detections) if config.detections else root / "detections" / config.split
    faults = VideoFaults()
    given: dict[str, GivenPoses] = {}
    for sequence in sequences:
        path = folder / f"{sequence.name}.json"
        if not path.is_file():
            faults.add(sequence.name, f"has no given poses: expected {path}")
            continue
        found = collect_given_poses(path, sequence, root, faults)
        given[sequence.name] = {
            frame: tuple(person for person in people if np.isfinite(person.points[:, :2]).all(axis=1).any())
            for frame, people in found.items()
        }
    faults.raise_found(folder)
    return given


def _follow(
    sequence: PoseSequence,
    given: Mapping[str, GivenPoses],
    model: AppearanceModel,
    variants: Sequence[Variant],
    config: Config,
) -> dict[str, Links]:
    """Link the given poses of one sequence."""

    def observe(index: int, size: tuple[int, int], grid: tuple[int, int]) -> Given:
        people = given[sequence.name].get(sequence.frames[index].path, ())
        joints = np.array([person.points[:, :2] for person in people]).reshape(-1, 15, 2)
        boxes = np.array([pose_box(pose) for pose in joints]).reshape(-1, 4)
        return Given(draw_poses(joints, size, grid), boxes, range(len(people)))

    video = Video(sequence.name, [frame.path for frame in sequence.frames], config.frame_rate, observe)
    num_random = int(np.prod(config.feat_size))
    return link_masks(model, video, variants, config.frames_at_once, num_random, config.seed)


def _tracked_frames(sequence: PoseSequence, given: GivenPoses, links: Links) -> list[PoseFrame]:
    """The given poses with the identities that a variant gave them."""
    frames = []
    for frame, pairs, came_back in zip(sequence.frames, links.frames, links.came_back, strict=True):
        identities = {index: identity for identity, index in pairs if identity not in came_back}
        people = tuple(
            replace(person, track_id=identities.get(index, UNTRACKED))
            for index, person in enumerate(given.get(frame.path, ()))
        )
        frames.append(replace(frame, people=people))
    return frames
