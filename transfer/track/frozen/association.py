"""Link what is given in each frame into tracks: by appearance, then by overlap with where tracks should be.

The tracker of UniTrack (arXiv 2107.02156), which follows JDE (arXiv 1909.12605), for boxes, masks and
poses alike. In each frame:

1. confirmed tracks and lost ones are compared with the observations by their last features
   (:mod:`~transfer.track.frozen.similarity`), with motion cues where asked for, and assigned;
2. confirmed tracks that are left, by overlap of the Kalman filter's prediction with the observations left;
3. unconfirmed tracks (one frame old), by overlap; without a partner they end;
4. the rest of the observations start tracks: boxes confirmed ones only in a video's first frame, masks and
   poses in every frame;
5. lost tracks end when they are too old, and of two tracks in one place the younger one ends.

Where this differs from the papers it follows the code that published numbers are from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from transfer.track.frozen import kalman
from transfer.track.frozen.matching import Assignment, assign, iou_costs
from transfer.track.frozen.similarity import reconstruction_cost

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """One thing that is given in a frame."""

    box: Float  # (4,) left, top, width, height, in a unit that is the same throughout the video
    score: float
    points: Tensor  # (P, C) raw features, float32; not read without appearance
    payload: object = None


@dataclass(frozen=True)
class Thresholds:
    """The constants of the tracker, at the values of MOT; costs are 1 - similarity or 1 - IoU."""

    first_stage: float = 0.7  # highest cost of an assignment by appearance
    second_stage: float = 0.5  # by overlap
    confirm_iou: float = 0.7  # by overlap, of an unconfirmed track
    duplicate_iou: float = 0.15  # two tracks closer than this cost are one
    confidence: float = 0.5  # lowest score that starts a track
    track_buffer: int = 30  # frames that a lost track is kept, at 30 frames a second
    use_kalman: bool = True  # False: only step 1, and every track counts at once
    motion: bool = False  # whether the cost of appearance has a part of motion
    motion_lambda: float = 0.98  # the share of appearance in it
    motion_gated: bool = True  # whether a pair that motion finds unlikely is forbidden
    only_position: bool = False  # motion by the centre alone
    appearance: bool = True  # False: step 1 assigns nothing
    confirmed_at_once: bool = False  # whether a track counts from its first frame on, as masks' and poses' do


@dataclass(frozen=True)
class Tracked:
    """A confirmed track and the observation that it holds in this frame."""

    track_id: int
    index: int  # of the observations given to :meth:`Tracker.update`
    box: Float  # (4,) as the Kalman filter has it after that observation; the observation's without
    came_back: bool = False  # it was lost until this frame


@dataclass(eq=False)
class _Track:
    track_id: int
    observation: Observation  # the last one
    index: int
    mean: Float  # (8,)
    covariance: Float  # (8, 8)
    start_frame: int
    last_frame: int
    confirmed: bool
    lost: bool = False
    came_back: bool = False


class Tracker:
    """Tracks of one video; :meth:`update` takes its frames in order."""

    def __init__(self, thresholds: Thresholds, frame_rate: float = 30.0) -> None:
        self.thresholds = thresholds
        self.frames_kept = int(frame_rate / 30.0 * thresholds.track_buffer)
        self.frame = 0
        self.tracked: list[_Track] = []
        self.lost: list[_Track] = []
        self.ended: set[int] = set()
        self.num_tracks = 0

    def update(self, observations: Sequence[Observation]) -> list[Tracked]:
        """Take the observations of the next frame.

        Returns:
            Confirmed tracks, each with an observation of this frame, by no particular order.

        Raises:
            ImportError: no SciPy.
            ValueError: features that are not finite.
        """
        limits = self.thresholds
        self.frame += 1
        unconfirmed = [track for track in self.tracked if not track.confirmed]
        confirmed = [track for track in self.tracked if track.confirmed]
        pool = confirmed + self.lost
        if limits.use_kalman:
            self._predict(pool)
        free = list(range(len(observations)))
        rest = pool
        held: list[_Track] = []
        if limits.appearance:
            found = assign(self._appearance_costs(pool, observations), limits.first_stage)
            held += self._take(pool, free, observations, found)
            rest, free = [pool[row] for row in found.rows], found.columns
        if limits.use_kalman:
            rest = [track for track in rest if not track.lost]
            for group, limit in ((rest, limits.second_stage), (unconfirmed, limits.confirm_iou)):
                found = assign(self._overlap_costs(group, observations, free), limit)
                held += self._take(group, free, observations, found)
                free = [free[column] for column in found.columns]
                if group is rest:
                    rest = [group[row] for row in found.rows]
                else:
                    unconfirmed = [group[row] for row in found.rows]
        newly_lost = [track for track in rest if not track.lost]
        for track in newly_lost:
            track.lost = True
        sure = [index for index in free if observations[index].score >= limits.confidence]
        held += self._start(sure, observations)
        self._settle(held, newly_lost, unconfirmed)
        return [
            Tracked(track.track_id, track.index, self._box(track), track.came_back)
            for track in self.tracked
            if track.confirmed
        ]

    def _predict(self, pool: Sequence[_Track]) -> None:
        """Move the tracks to this frame; a lost one keeps its height."""
        if not pool:
            return
        means = np.stack([track.mean for track in pool])
        means[[track.lost for track in pool], 7] = 0.0
        covariances = np.stack([track.covariance for track in pool])
        for track, mean, covariance in zip(pool, *kalman.predict(means, covariances), strict=True):
            track.mean, track.covariance = mean, covariance

    def _appearance_costs(self, pool: Sequence[_Track], observations: Sequence[Observation]) -> Float:
        limits = self.thresholds
        points = [track.observation.points for track in pool]
        costs = reconstruction_cost(points, [observation.points for observation in observations])
        found = costs.cpu().numpy().astype(np.float64)
        if limits.motion and limits.use_kalman and found.size:
            distances = kalman.gating_distances(
                np.stack([track.mean for track in pool]),
                np.stack([track.covariance for track in pool]),
                kalman.to_measurement(np.stack([observation.box for observation in observations])),
                limits.only_position,
            )
            found = limits.motion_lambda * found + (1.0 - limits.motion_lambda) * distances
            if limits.motion_gated:
                found[distances > kalman.CHI2_95[2 if limits.only_position else 4]] = np.inf
        return np.asarray(found)

    def _overlap_costs(
        self, group: Sequence[_Track], observations: Sequence[Observation], free: Sequence[int]
    ) -> Float:
        boxes = np.array([self._box(track) for track in group])
        return iou_costs(boxes, np.array([observations[index].box for index in free]))

    def _take(
        self,
        group: Sequence[_Track],
        free: Sequence[int],
        observations: Sequence[Observation],
        found: Assignment,
    ) -> list[_Track]:
        """Give the tracks of a group the observations they were assigned."""
        chosen = [(group[row], free[column]) for row, column in found.pairs]
        if chosen and self.thresholds.use_kalman:
            means, covariances = kalman.update(
                np.stack([track.mean for track, _ in chosen]),
                np.stack([track.covariance for track, _ in chosen]),
                kalman.to_measurement(np.stack([observations[index].box for _, index in chosen])),
            )
            for (track, _), mean, covariance in zip(chosen, means, covariances, strict=True):
                track.mean, track.covariance = mean, covariance
        for track, index in chosen:
            track.observation, track.index = observations[index], index
            track.came_back = track.lost
            track.last_frame, track.confirmed, track.lost = self.frame, True, False
        return [track for track, _ in chosen]

    def _start(self, indices: Sequence[int], observations: Sequence[Observation]) -> list[_Track]:
        if not indices:
            return []
        limits = self.thresholds
        confirmed = self.frame == 1 or limits.confirmed_at_once or not limits.use_kalman
        boxes = np.stack([observations[index].box for index in indices])
        started = []
        for index, mean, covariance in zip(
            indices, *kalman.initiate(kalman.to_measurement(boxes)), strict=True
        ):
            self.num_tracks += 1
            started.append(
                _Track(
                    self.num_tracks,
                    observations[index],
                    index,
                    mean,
                    covariance,
                    self.frame,
                    self.frame,
                    confirmed,
                )
            )
        return started

    def _settle(
        self, held: Sequence[_Track], newly_lost: Sequence[_Track], unconfirmed: Sequence[_Track]
    ) -> None:
        """Which tracks go on, once all that hold an observation of this frame are known."""
        aged = [track for track in self.lost if self.frame - track.last_frame > self.frames_kept]
        self.tracked = list(held)
        # A track that is too old is compared once more in the next frame, and one that came back in it ends
        # for good when it is lost again: the list of ended tracks is of the frame before.
        self.lost = [
            track
            for track in (*(track for track in self.lost if track.lost), *newly_lost)
            if track.track_id not in self.ended
        ]
        self.ended.update(track.track_id for track in (*aged, *unconfirmed))
        self._end_duplicates()

    def _end_duplicates(self) -> None:
        tracked, lost = (np.array([self._box(track) for track in part]) for part in (self.tracked, self.lost))
        close = np.argwhere(iou_costs(tracked, lost) < self.thresholds.duplicate_iou)
        younger: set[int] = set()
        for row, column in close:
            one, other = self.tracked[row], self.lost[column]
            older = one.last_frame - one.start_frame > other.last_frame - other.start_frame
            younger.add(other.track_id if older else one.track_id)
        self.tracked = [track for track in self.tracked if track.track_id not in younger]
        self.lost = [track for track in self.lost if track.track_id not in younger]

    def _box(self, track: _Track) -> Float:
        return kalman.to_box(track.mean) if self.thresholds.use_kalman else track.observation.box
