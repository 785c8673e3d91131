"""Which layout explains a checkpoint, and which of its tensors are the backbone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from transfer.backbone.naming import inverse, rename_key
from transfer.backbone.sources import AROUND, HEAD, LAYOUTS, WRAPPERS, Layout


@dataclass(frozen=True)
class Fit:
    """How well a layout explains a checkpoint's tensors."""

    name: str
    container: str
    branches: tuple[str, ...]  # that have a first convolution
    unaccounted: tuple[str, ...]  # tensors that are no known part of the layout
    lacking: tuple[str, ...]  # marks that do not occur

    @property
    def perfect(self) -> bool:
        """Every tensor is accounted for, every mark is there, and so is a backbone."""
        return bool(self.branches) and not self.unaccounted and not self.lacking


def unwrap(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off what wrapper modules put before every key of a container."""
    containers: dict[str, list[str]] = {}
    for key in tensors:
        containers.setdefault(key[: key.rfind("/") + 1], []).append(key)
    bare: dict[str, Tensor] = {}
    for container, keys in containers.items():
        prefix = container
        while wrapper := next((w for w in WRAPPERS if all(k.startswith(prefix + w) for k in keys)), ""):
            prefix += wrapper
        bare |= {container + key[len(prefix) :]: tensors[key] for key in keys}
    return bare


def choose(
    path: Path,
    tensors: dict[str, Tensor],
    others: Iterable[str],
    source: str | None = None,
    branch: str | None = None,
) -> Fit:
    """The layout of a checkpoint: the one that was named, or the only one that fits.

    Raises:
        ValueError: an unknown layout or branch, a named layout that does not fit, none that fits
            (the nearest are listed with what stands in the way), or several (all are listed).
    """
    if source is not None and source not in LAYOUTS:
        raise ValueError(f"source {source!r} is unknown; known: {', '.join(LAYOUTS)}")
    fits = [
        fit_layout(tensors, others, name, container)
        for name in ([source] if source else LAYOUTS)
        for container in LAYOUTS[name].containers
    ]
    perfect = [
        fit for fit in fits if fit.perfect and (branch is None or branch in LAYOUTS[fit.name].branches)
    ]
    if len(perfect) == 1:
        return perfect[0]
    if perfect:
        names = ", ".join(f"{fit.name} (branches {_names(fit.branches)})" for fit in perfect)
        raise ValueError(f"{path}: {len(perfect)} layouts fit: {names}; choose with --source and --branch")
    if branch is not None and (fitting := [fit for fit in fits if fit.perfect]):
        raise ValueError(
            f"{path}: layout {fitting[0].name} has no branch {branch!r}; it has {_names(fitting[0].branches)}"
        )
    near = sorted(
        (fit for fit in fits if fit.branches), key=lambda fit: (len(fit.unaccounted), len(fit.lacking))
    )
    if not near:
        raise ValueError(
            f"{path}: no backbone found: no tensor is called as the first convolution of a ResNet is in "
            f"{source or 'any known layout'}. First keys: {first_keys(tensors)}"
        )
    lines = [f"  {fit.name}: {_obstacle(fit)}" for fit in near[:3]]
    raise ValueError(
        f"{path}: cannot tell the checkpoint's layout: none in docs/checkpoints.md fits. Nearest:\n"
        + "\n".join(lines)
        + "\nTensors that are no backbone can be left out with --ignore PREFIX. First keys: "
        + first_keys(tensors)
    )


def fit_layout(tensors: dict[str, Tensor], others: Iterable[str], name: str, container: str) -> Fit:
    """Compare a layout with a checkpoint's tensors and the paths of whatever else it holds."""
    layout = LAYOUTS[name]
    branches = tuple(
        branch
        for branch, prefixes in layout.branches.items()
        if any(f"{container}{prefix}{layout.names['conv1.weight']}" in tensors for prefix in prefixes)
    )
    roles, rules = _roles(layout, container), inverse(layout.names)
    unaccounted = tuple(
        key
        for key in tensors
        if not _accounted(key, roles, rules, container) and not _without(key, layout, container)
    )
    paths = [*tensors, *others]
    lacking = tuple(
        mark for mark in layout.marks if not any(key.startswith(_absolute(mark, container)) for key in paths)
    )
    return Fit(name, container, branches, unaccounted, lacking)


def extract(tensors: dict[str, Tensor], layout: Layout, container: str, branch: str) -> dict[str, Tensor]:
    """The tensors of one branch under torchvision's names; a key that no rule knows stays as it is.

    Raises:
        ValueError: two tensors with the same new name, or a repeated module that differs.
    """
    roles = _roles(layout, container)
    rules = inverse(layout.names)
    state: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        prefix = _longest(key, roles)
        if prefix is None or roles[prefix] != branch or _without(key, layout, container):
            continue
        new = rename_key(key[len(prefix) :], rules) or key
        if new in state:
            raise ValueError(f"{key}: {new} is already there; a tensor is in the file twice")
        state[new] = tensor
    for prefix, originals in layout.repeats.items():
        for key, tensor in tensors.items():
            if not key.startswith(container + prefix):
                continue
            name = key[len(container + prefix) :]
            for twin in (tensors.get(original + name) for original in _absolute(originals, container)):
                if twin is not None and not torch.equal(twin, tensor):
                    raise ValueError(f"{key} should repeat a tensor of {originals} but differs from it")
    return state


def _roles(layout: Layout, container: str) -> dict[str, str | None]:
    """Prefix -> the branch it begins, or None for what is no backbone. The longest that fits decides."""
    roles: dict[str, str | None] = dict.fromkeys(AROUND)
    for branch, prefixes in layout.branches.items():
        for prefix in prefixes:
            roles[container + prefix] = branch
            roles[container + prefix + HEAD] = None
    for prefix in (*layout.beside, *layout.repeats):
        roles[_absolute(prefix, container)[0]] = None
    return roles


def _accounted(key: str, roles: dict[str, str | None], rules: dict[str, str], container: str) -> bool:
    """Whether a tensor has a place: below a prefix, or, where that is empty, by its own name."""
    prefix = _longest(key, roles)
    if prefix is None:
        return False
    return prefix != container or roles[prefix] is None or rename_key(key[len(prefix) :], rules) is not None


def _without(key: str, layout: Layout, container: str) -> bool:
    """Whether the layout knows a tensor by its whole name, and that it is no backbone's."""
    return key.startswith(container) and bool(re.fullmatch(layout.without, key[len(container) :]))


def _absolute(prefix: str, container: str) -> tuple[str, ...]:
    """The alternatives of a prefix from the top of the file; one that begins with a slash starts there."""
    return tuple(one[1:] if one.startswith("/") else container + one for one in prefix.split("|"))


def _longest(key: str, roles: dict[str, str | None]) -> str | None:
    return max((prefix for prefix in roles if key.startswith(prefix)), key=len, default=None)


def first_keys(tensors: Iterable[str]) -> str:
    """A few names of a checkpoint's tensors, for messages; optimizer state and the like left out."""
    return ", ".join(sorted(key for key in tensors if not key.startswith(AROUND))[:4]) or "none"


def _names(branches: tuple[str, ...]) -> str:
    return ", ".join(repr(branch) for branch in branches)


def _obstacle(fit: Fit) -> str:
    parts = []
    if fit.unaccounted:
        parts.append(
            f"{len(fit.unaccounted)} tensors belong to no known part of it, first {fit.unaccounted[0]!r}"
        )
    if fit.lacking:
        parts.append(f"no tensor begins with {', '.join(fit.lacking)}")
    return "; ".join(parts)
