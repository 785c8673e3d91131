"""Label propagation: soft masks move from earlier frames to the next by similarity of features.

As in videowalk (Jabri et al., NeurIPS 2020) and UniTrack (Wang et al., NeurIPS 2021): a position takes the
labels of the ``topk`` most similar positions of its context, weighted by a softmax of the similarities over
``temperature``. The context is the whole first frame, and of each of the ``num_context`` frames before, the
positions closer than ``radius``; before frame 0 come copies of it, which count as often as they occur.

The result is that of all similarities, most of which are never computed: recent frames are taken in windows
around tiles of positions, and of the first frame only what can be among the ``topk`` by a bound.

Shapes: C channels and L labels on a feature map of H rows and W columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = (12, 16)  # rows and columns of positions that share one matrix of context features
DIMENSIONS = 32  # of the subspace in which similarities to the first frame are bounded
SAMPLED = 256  # positions of the first frame that span it
SLACK = 1e-4  # of a bound, for rounding: far more than float32's, far less than similarities differ by


@dataclass(frozen=True)
class Constants:
    """The published constants (``ssib_s3_womotion.yaml`` of UniTrack, part ``vos``)."""

    temperature: float = 0.05
    topk: int = 10
    radius: float = 12.0  # in positions; one exactly as far does not belong to the context
    num_context: int = 5  # frames
    first_frame: bool = True  # whether the whole first frame belongs to the context
    normalise: bool = True  # features to unit length

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature < math.inf:
            raise ValueError(f"temperature: expected a positive number, found {self.temperature}")
        if not self.radius > 0.0:
            raise ValueError(f"radius: expected a positive number, found {self.radius}")
        for name, lowest in (("topk", 1), ("num_context", 0 if self.first_frame else 1)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name}: expected at least {lowest}, found {getattr(self, name)}")


@dataclass(frozen=True)
class Tile:
    """A rectangle of positions, and the smallest one that holds all their discs."""

    rows: slice
    columns: slice
    window_rows: slice
    window_columns: slice
    outside: Tensor  # bool (positions of the tile, positions of the window): not in the disc


class Propagation:
    """The state of one video: features and labels of its first frame and of the last few.

    Its size does not depend on the length of the video.
    """

    def __init__(self, first: Tensor, labels: Tensor, constants: Constants) -> None:
        """Begin with frame 0.

        Args:
            first: its features ``(C, H, W)``, float32.
            labels: the share of each label in each position, ``(L, H, W)``, float32.
            constants: of the protocol.

        Raises:
            ValueError: sizes that differ, features that are not finite, or fewer positions than ``topk``.
        """
        self.constants = constants
        self.size = first.shape[1], first.shape[2]
        if labels.shape[1:] != first.shape[1:]:
            raise ValueError(f"labels: expected {self.size} as the features, found {tuple(labels.shape[1:])}")
        self.tiles = lay_tiles(*self.size, constants.radius, first.device)
        features, shares = self._prepare(first), labels.permute(1, 2, 0).contiguous()
        count = constants.num_context
        smallest = min(int((~tile.outside).sum(dim=1).min()) for tile in self.tiles) * count
        smallest += len(features) if constants.first_frame else 0
        if smallest < constants.topk:
            raise ValueError(
                f"topk: expected at most the {smallest} positions of the smallest context on features of "
                f"{self.size[0]}x{self.size[1]}, found {constants.topk}; use larger images"
            )
        self.first, self.first_labels = features, shares.flatten(0, 1)
        self.basis = find_basis(features)
        self.bounded = self._bound(features)
        self.recent = features.view(*self.size, -1).repeat(count, 1, 1, 1)  # (frames, H, W, C)
        self.recent_labels = shares.repeat(count, 1, 1, 1)  # (frames, H, W, L)
        self.num_frames = 1

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Tensor:
        """The labels ``(L, H, W)`` of the next frame from its features ``(C, H, W)``.

        Raises:
            ValueError: features that are not finite or of another size than those of frame 0.
        """
        if features.shape[1:] != self.size:
            raise ValueError(
                f"frame {self.num_frames}: expected features of {self.size} as frame 0, found "
                f"{tuple(features.shape[1:])}"
            )
        queries = self._prepare(features, self.num_frames).view(*self.size, -1)
        labels = queries.new_empty(*self.size, self.first_labels.shape[1])
        for tile in self.tiles:
            part = queries[tile.rows, tile.columns]
            labels[tile.rows, tile.columns] = self._predict(part.flatten(0, 1), tile).view(
                *part.shape[:2], -1
            )
        if self.constants.num_context:
            place = (self.num_frames - 1) % self.constants.num_context  # of the oldest
            self.recent[place], self.recent_labels[place] = queries, labels
        self.num_frames += 1
        return labels.permute(2, 0, 1)

    def _prepare(self, features: Tensor, frame: int = 0) -> Tensor:
        """Features as rows ``(H * W, C)``."""
        rows = features.flatten(1).t().contiguous()
        if not torch.isfinite(rows.sum()):
            raise ValueError(f"frame {frame}: its features are not finite")
        return F.normalize(rows, dim=1) if self.constants.normalise else rows

    def _bound(self, rows: Tensor) -> Tensor:
        """Rows ``(N, C)`` as ``(N, D + 1)``: the part in the subspace and the length of the rest.

        The product of two of them is at least that of the rows (Cauchy and Schwarz, for the rests).
        """
        inside = rows @ self.basis
        outside = (rows - inside @ self.basis.t()).norm(dim=1, keepdim=True)
        return torch.cat([inside, outside], dim=1)

    def _reaching(self, queries: Tensor, least: Tensor) -> Tensor:
        """Positions of the first frame that may be as similar to any of the queries ``(M, C)`` as it needs.

        ``least`` ``(M, 1)`` is what a position needs to be among the ``topk``; most are bounded below it.
        """
        slack = SLACK * queries.norm(dim=1, keepdim=True) * self.bounded.norm(dim=1).max()
        bounds = self._bound(queries) @ self.bounded.t()
        return torch.nonzero((bounds >= least - slack).any(dim=0))[:, 0]

    def _predict(self, queries: Tensor, tile: Tile) -> Tensor:
        """Labels ``(M, L)`` of the M positions of a tile."""
        topk, found, votes = self.constants.topk, [], []
        least = queries.new_full((len(queries), 1), -math.inf)
        if self.constants.num_context:
            keys = self.recent[:, tile.window_rows, tile.window_columns].flatten(0, 2)
            similarities = queries @ keys.t()
            by_frame = similarities.view(len(queries), self.constants.num_context, -1)
            by_frame.masked_fill_(tile.outside[:, None], -math.inf)
            values, places = similarities.topk(min(topk, len(keys)), dim=1)
            if len(keys) >= topk:
                least = values[:, -1:]
            found.append(values)
            votes.append(self.recent_labels[:, tile.window_rows, tile.window_columns].flatten(0, 2)[places])
        if self.constants.first_frame:
            reaching = self._reaching(queries, least)
            values, places = (queries @ self.first[reaching].t()).topk(min(topk, len(reaching)), dim=1)
            found.append(values)
            votes.append(self.first_labels[reaching][places])
        values, chosen = torch.cat(found, dim=1).topk(topk, dim=1)
        weights = torch.softmax(values / self.constants.temperature, dim=1)
        labels = torch.cat(votes, dim=1)  # (M, columns of found, L)
        labels = labels.gather(1, chosen[..., None].expand(-1, -1, labels.shape[2]))
        return (weights[..., None] * labels).sum(dim=1)


def find_basis(rows: Tensor) -> Tensor:
    """Orthonormal columns ``(C, D)`` that hold most of rows ``(N, C)``; which decides the speed alone."""
    sample = rows[:: max(1, len(rows) // SAMPLED)]
    directions: Tensor = torch.linalg.svd(sample, full_matrices=False).Vh
    return directions[:DIMENSIONS].t().contiguous()


@lru_cache(maxsize=8)
def lay_tiles(height: int, width: int, radius: float, device: torch.device) -> tuple[Tile, ...]:
    """Tiles that cover a feature map; the distance of two positions is that of their centres."""
    reach = math.ceil(radius) - 1
    tiles = []
    for top in range(0, height, TILE[0]):
        rows = slice(top, min(top + TILE[0], height))
        window_rows = slice(max(0, top - reach), min(height, rows.stop + reach))
        for left in range(0, width, TILE[1]):
            columns = slice(left, min(left + TILE[1], width))
            window_columns = slice(max(0, left - reach), min(width, columns.stop + reach))
            down = _offsets(rows, window_rows, device)[:, None, :, None]
            across = _offsets(columns, window_columns, device)[None, :, None, :]
            outside = (down**2 + across**2 >= radius**2).flatten(0, 1).flatten(1)
            tiles.append(Tile(rows, columns, window_rows, window_columns, outside))
    return tuple(tiles)


def _offsets(positions: slice, window: slice, device: torch.device) -> Tensor:
    """Signed distances from each position of one range to each of another."""
    first, second = (torch.arange(part.start, part.stop, device=device) for part in (positions, window))
    return second[None] - first[:, None]
