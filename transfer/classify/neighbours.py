"""Exact nearest neighbours by cosine similarity, in memory that does not grow with the two sets.

Shapes: N bank rows, M queries, D features, k neighbours. The product of the two sets is made in blocks and
each block only has to show what beats the k-th best so far, which is one comparison a pair; almost all
time goes to the matrix product.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from torch import Tensor

logger = logging.getLogger(__name__)
BANK_ROWS = 8192  # at once; a bank that lies elsewhere than the queries travels in such blocks
QUERY_ROWS = 2048  # at once: with the above, 64 MiB of similarities
CROWDED = 4  # times k: where a query has more candidates than this in a block, a closer bound is found
GROUP = 16  # similarities, at most, of which only the highest is looked at to find such a bound
SORTED_ROWS = 256  # at once, where whole rows must be sorted


def normalise_(features: Tensor) -> Tensor:
    """Rows ``(N, D)`` to length 1, in place; a row of zeros has no direction and stays as it is.

    Its similarity to everything is then 0, as scikit-learn has it.

    Raises:
        ValueError: a row that is not finite.
    """
    num_zero = 0
    for rows in torch.split(features, BANK_ROWS):
        norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float64)
        if not torch.isfinite(norms).all():
            raise ValueError("features hold NaN or infinity, which have no nearest neighbours")
        num_zero += int((norms == 0).sum())
        rows.div_(torch.where(norms == 0, 1.0, norms))
    if num_zero:
        logger.warning("%d of %d features are zero: similar to nothing", num_zero, len(features))
    return features


@torch.inference_mode()
def nearest(bank: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k most similar rows of ``bank`` ``(N, D)`` for each of ``queries`` ``(M, D)``, rows of length 1.

    Similarities ``(M, k)``, falling, and indices ``(M, k)``, on the queries' device; the bank may lie on
    another. Among equal similarities the lower index comes first, at the k-th place too.

    Raises:
        ValueError: k below 1 or above N.
    """
    if not 1 <= k <= len(bank):
        raise ValueError(f"k: expected 1..{len(bank)}, the number of training images, found {k}")
    best = queries.new_empty(len(queries), k)
    indices = torch.empty(len(queries), k, dtype=torch.int64, device=queries.device)
    size = min(BANK_ROWS, len(bank)) * min(QUERY_ROWS, len(queries))
    buffer, above = queries.new_empty(size), torch.empty(size, dtype=torch.bool, device=queries.device)
    found = 0  # neighbours of each query so far; k after the first block or two
    for start in range(0, len(bank), BANK_ROWS):
        block = bank[start : start + BANK_ROWS].to(queries.device, queries.dtype, non_blocking=True)
        held = min(k, found + len(block))
        for first in range(0, len(queries), QUERY_ROWS):
            rows = slice(first, first + QUERY_ROWS)
            chunk = queries[rows]
            shape = (len(chunk), len(block))
            similarities = torch.mm(chunk, block.T, out=buffer[: shape[0] * shape[1]].view(shape))
            floor = best[rows, k - 1 : k] if found == k else None
            mask = above[: similarities.numel()].view(shape)
            values, columns = _candidates(similarities, floor, k, mask)
            columns += start
            values = torch.cat([best[rows, :found], values], dim=1)
            columns = torch.cat([indices[rows, :found], columns], dim=1)
            values, order = values.sort(dim=1, descending=True, stable=True)
            best[rows, :held] = values[:, :held]
            indices[rows, :held] = columns.gather(1, order[:, :held])
        found = held
    return best, indices


def _candidates(similarities: Tensor, floor: Tensor | None, k: int, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What may be among the k best of each row of ``similarities`` ``(m, n)``: values and columns ``(m, c)``.

    Only what is above the row's ``floor`` ``(m, 1)``. Among equal values columns rise; -inf fills rows with
    fewer than c. ``mask`` ``(m, n)`` is memory to work in.
    """
    num_rows, num_columns = similarities.shape
    most = CROWDED * k
    for bound in _bounds(similarities, floor, k):
        torch.ge(similarities, bound, out=mask)
        if int(torch.count_nonzero(mask)) > most * num_rows:
            continue
        rows, columns = mask.nonzero().unbind(1)
        counts = torch.bincount(rows, minlength=num_rows)
        width = int(counts.max())
        if width <= most:
            break
    else:  # many are equal: collapsed features
        return _sorted(similarities, min(k, num_columns))
    places = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    values = similarities.new_full((num_rows, width), -torch.inf)
    values[rows, places] = similarities[rows, columns]
    padded = columns.new_zeros(num_rows, width)
    padded[rows, places] = columns
    return values, padded


def _bounds(similarities: Tensor, floor: Tensor | None, k: int) -> Iterator[Tensor]:
    """Bounds ``(m, 1)`` below which nothing is among the k best of its row, each costlier and closer."""
    least = None
    if floor is not None:
        least = torch.nextafter(floor, floor.new_tensor(torch.inf))
        yield least
    num_columns = similarities.shape[1]
    size = min(GROUP, num_columns // (2 * k))
    if size > 1:
        # The k groups with the highest maxima hold k values that are no lower than the last of these maxima.
        groups = similarities[:, : num_columns // size * size].view(len(similarities), size, -1)
        bound = groups.amax(1).topk(k, dim=1).values[:, -1:]
        yield bound if least is None else torch.maximum(bound, least)
    bound = similarities.topk(min(k, num_columns), dim=1).values[:, -1:]
    yield bound if least is None else torch.maximum(bound, least)


def _sorted(similarities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest of each row and their columns by sorting whole rows, some at a time: slow, but exact."""
    values, columns = similarities.new_empty(len(similarities), k), []
    for start in range(0, len(similarities), SORTED_ROWS):
        rows = slice(start, start + SORTED_ROWS)
        ordered = similarities[rows].sort(dim=1, descending=True, stable=True)
        values[rows] = ordered.values[:, :k]
        columns.append(ordered.indices[:, :k].clone())
    return values, torch.cat(columns)
