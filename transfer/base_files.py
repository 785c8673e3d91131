"""Configuration files that give only what differs from another one, their ``base``."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from transfer.plain_yaml import load_yaml


def read_with_bases(path: Path) -> DictConfig:
    """A YAML file merged over the file that its ``base`` names, that one over its own, and so on.

    ``base`` is a path from the folder of the file that names it; it is no key of the result. A list replaces
    the base's list. Interpolations are left as they stand: a base's ``${oc.env:...}`` that is overridden is
    never looked up.

    Raises:
        FileNotFoundError: one of the files is not there; the message gives the chain that led to it.
        ValueError: a chain that comes back to itself, a ``base`` that is no path, or a file that holds
            anything but keys and values, or that :func:`~transfer.plain_yaml.load_yaml` refuses; the message
            gives the chain.
    """
    layers: list[DictConfig] = []
    chain: list[Path] = []
    following: Path | None = path
    while following is not None:
        seen = following.resolve() in [earlier.resolve() for earlier in chain]
        chain.append(following)
        if seen:
            raise ValueError(f"{_say(chain)}: a chain of base: that never ends; remove one of them")
        layer = _read(chain)
        base = layer.pop("base", None)
        if base is not None and not (isinstance(base, str) and base):
            raise ValueError(f"{_say(chain)}: base: expected the path of a configuration, found {base!r}")
        layers.insert(0, layer)
        following = None if base is None else following.parent / base
    merged = OmegaConf.merge(*layers)
    assert isinstance(merged, DictConfig)  # each layer is one
    return merged


def _read(chain: list[Path]) -> DictConfig:
    if not chain[-1].is_file():
        place = "its folder" if len(chain) == 1 else f"the folder of {chain[-2]}"
        raise FileNotFoundError(f"{_say(chain)}: no such configuration; base: is a path from {place}")
    try:
        layer = load_yaml(chain[-1])
    except ValueError as error:
        raise ValueError(_say([*chain[:-1], Path(str(error))])) from None
    if not isinstance(layer, DictConfig):
        raise ValueError(f"{_say(chain)}: expected keys and values, found {type(layer).__name__}")
    return layer


def _say(chain: list[Path]) -> str:
    return ", whose base is ".join(map(str, chain))
