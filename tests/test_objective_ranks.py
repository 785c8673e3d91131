"""The objectives over real gloo processes: one, two and four give the same values and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from ranks import run_ranks
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pretrain.collective import World
from pretrain.low_order import barlow_twins, cosine, simsiam_mec, vicreg
from pretrain.objective import coding_length, lambda_from_eps, mec_loss, spectral_norm

SIZES = (2, 4)
SHAPES = [(16, 24), (15, 26), (27, 14), (13, 13)]  # m < d, m > d, m = d; all but the first divide unevenly
ORDERS = [0, 1, 2, 4, 7]
LARGE = (32, 48)  # where the sizes of tensors are recorded

Views = tuple[Sequence[Tensor], Sequence[Tensor]]
Result = tuple[float, list[Tensor]]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mec": lambda p, z, **rows: mec_loss(p, z, lambda_from_eps(0.5, 15), 4, **rows),
    "cosine": cosine,
    "barlow twins": barlow_twins,
    "vicreg": vicreg,
    "simsiam+mec": lambda p, z, **rows: simsiam_mec(p, z, lambda_from_eps(0.5, 15), 4, weight=0.5, **rows),
}


def views(m: int, dim: int) -> Views:
    """Three online views and two targets, float32 unit rows that resemble each other."""
    generator = torch.Generator().manual_seed(m * dim)
    image = torch.randn(m, dim, generator=generator)
    noisy = [F.normalize(image + 0.3 * torch.randn(m, dim, generator=generator), dim=1) for _ in range(5)]
    return noisy[:3], noisy[3:]


class Sizes(TorchDispatchMode):
    """How many elements the tensors have that operations make."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.found |= {
            x.numel() for x in (out if isinstance(out, tuple) else (out,)) if isinstance(x, Tensor)
        }
        return out


def length_and_gradients(p: Tensor, z: Tensor, order: int, m: int, world: World) -> Result:
    """Of this rank's rows, with both sides differentiated."""
    p, z = p.clone().requires_grad_(), z.clone().requires_grad_()
    length = coding_length(p, z, lambda_from_eps(0.5, m), order, batch_size=m, world=world)
    return length.item(), list(torch.autograd.grad(length, (p, z)))


def loss_and_gradients(name: str, p: Sequence[Tensor], z: Sequence[Tensor], world: World) -> Result:
    p = [x.clone().requires_grad_() for x in p]
    loss = LOSSES[name](p, z, batch_size=15, world=world)
    return loss.item(), list(torch.autograd.grad(loss, p))


def results(world: World) -> dict[Any, Any]:
    """Everything that the tests compare, as this rank sees it."""
    found: dict[Any, Any] = {}
    for m, dim in SHAPES:
        p, z = views(m, dim)
        own = world.share(m)
        for order in ORDERS:
            found[m, dim, order] = length_and_gradients(p[0][own], z[1][own], order, m, world)
        found["norm", m, dim] = spectral_norm(p[0][own], z[1][own], 0.1, batch_size=m, world=world)
    p, z = ([x[world.share(15)] for x in side] for side in views(15, 26))
    for name in LOSSES:
        found[name] = loss_and_gradients(name, p, z, world)
    for shape in (LARGE, LARGE[::-1]):
        (p, *_), (z, *_) = ([x[world.share(shape[0])] for x in side] for side in views(*shape))
        with Sizes() as sizes:
            length_and_gradients(p, z, 4, shape[0], world)
        found["sizes", shape] = sizes.found
    return found


@pytest.fixture(scope="module")
def ranks() -> dict[int, list[dict[Any, Any]]]:
    """By number of processes, what each found."""
    return {size: run_ranks(size, results) for size in SIZES}


@pytest.fixture(scope="module")
def alone() -> dict[Any, Any]:
    return results(World())


def assert_same(parts: list[Result], whole: Result) -> None:
    """Every rank has the whole value; the ranks' gradients, stacked, are the whole gradient."""
    for value, _ in parts:
        assert value == pytest.approx(whole[0], rel=1e-6)
    for i, reference in enumerate(whole[1]):
        stacked = torch.cat([gradients[i] for _, gradients in parts])
        assert stacked.shape == reference.shape
        assert ((stacked - reference).norm() / reference.norm()).item() < 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_coding_length_is_that_of_one_process(
    ranks: dict[int, list[dict[Any, Any]]], alone: dict[Any, Any], size: int
) -> None:
    for m, dim in SHAPES:
        for order in ORDERS:
            assert_same([found[m, dim, order] for found in ranks[size]], alone[m, dim, order])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_one_process(
    ranks: dict[int, list[dict[Any, Any]]], alone: dict[Any, Any], size: int, name: str
) -> None:
    assert_same([found[name] for found in ranks[size]], alone[name])


@pytest.mark.parametrize("size", SIZES)
def test_spectral_norm_is_that_of_one_process(
    ranks: dict[int, list[dict[Any, Any]]], alone: dict[Any, Any], size: int
) -> None:
    for m, dim in SHAPES:
        for found in ranks[size]:
            assert found["norm", m, dim] == pytest.approx(alone["norm", m, dim], rel=1e-5)


@pytest.mark.parametrize("shape", [LARGE, LARGE[::-1]])
def test_no_rank_holds_more_than_its_share_of_a_square_matrix(
    ranks: dict[int, list[dict[Any, Any]]], alone: dict[Any, Any], shape: tuple[int, int]
) -> None:
    s = min(shape)
    embeddings = shape[0] * shape[1]
    assert s * s in alone["sizes", shape]  # one process does hold one
    for size, found in ranks.items():
        for rank in found:
            # the embeddings and this rank's rows of them are the other things there are
            assert max(rank["sizes", shape] - {embeddings, embeddings // size}) <= s * s // size


def test_wrong_share_of_the_batch_is_refused_before_anything_is_sent() -> None:
    p, z = (side[0][:4] for side in views(8, 12))
    with pytest.raises(
        ValueError, match=r"4 rows, expected 3: rank 1's share of batch_size 7 over 2 processes"
    ):
        coding_length(p, z, 0.1, 4, batch_size=7, world=World(1, 2))
