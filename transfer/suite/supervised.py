"""The supervised baseline of a suite: a published checkpoint that is there, or a short training of its own.

    python -m transfer.suite.supervised configs/classify/supervised_mini.yaml --out runs/mini

makes the backbone that a suite with this ``--out`` uses, and prints its path. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf.errors import OmegaConfBaseException

from transfer import provenance
from transfer.backbone.checkpoint import file_sha256
from transfer.backbone.contract import read_backbone
from transfer.backbone.load import import_checkpoint, is_contract
from transfer.data.checksum import data_sha256
from transfer.evaluate import load_config
from transfer.identity import identity
from transfer.inputs import data_paths
from transfer.tasks import Task

TRAINING = Task("transfer.classify.supervised", (), "torch")
# torchvision puts the first digits of a file's sha256 into its name, as torch.hub expects them.
PUBLISHED_NAME = re.compile(r"resnet\d+-([0-9a-f]{8})\.pth")
PUBLISHED_EPOCHS = {"resnet50-0676ba61.pth": "90"}  # by the recipe that torchvision names for it


def supervised_backbone(value: str, out: Path) -> Path:
    """The contract file of a suite's supervised backbone, made below ``out/backbones`` unless it is there.

    Args:
        value: the suite's ``supervised``: a configuration (``.yaml``) of :mod:`transfer.classify.supervised`,
            which is trained, or a checkpoint file, which is imported; a contract file is taken as it is.

    Raises:
        FileNotFoundError, ValueError: why there is no such backbone, in one line that says what to do.
    """
    path = supervised_path(value, out)
    if not path.exists():
        if Path(value).suffix == ".yaml":
            from transfer.classify.supervised import train_supervised  # imported here: it loads torchvision

            train_supervised(load_training(Path(value)), path)
        else:
            import_supervised(Path(value), path)
    method = read_backbone(path).info.method
    if method != "supervised":
        raise ValueError(f"{path}: expected a supervised backbone, found method {method}")
    return path


def supervised_path(value: str, out: Path) -> Path:
    """Where :func:`supervised_backbone` has its file; nothing is made.

    Its name holds a digest of what decides the weights: configuration, seed, images, code; or the checkpoint.

    Raises:
        FileNotFoundError, ValueError: as for :func:`supervised_backbone`, as far as can be told beforehand.
    """
    source = Path(value)
    if source.suffix == ".yaml":
        config = load_training(source)
        code = provenance.code_sha256("backbone", "data", "classify", "ranks.py")
        data = data_sha256(data_paths("semisup", config))  # which reads the same images
        parts = [identity(config), config.seed, data, code]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    else:
        check_there(source)
        if is_contract(source):
            return source
        digest = file_sha256(source)
        check_digits(source, digest)
    return out / "backbones" / f"{source.stem}-{digest[:8]}.safetensors"


def load_training(path: Path) -> Any:
    """A configuration of :mod:`transfer.classify.supervised`.

    Raises:
        FileNotFoundError: no such configuration.
        ValueError: it cannot be used; says why in one line.
    """
    try:
        return load_config(TRAINING, path)
    except OmegaConfBaseException as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None


def import_supervised(checkpoint: Path, out: Path) -> None:
    """Import a network that was trained with labels; what torchvision published is known by its name."""
    if PUBLISHED_NAME.fullmatch(checkpoint.name) is None:
        import_checkpoint(checkpoint, out, method="supervised")
        return
    import_checkpoint(
        checkpoint,
        out,
        source="torchvision",
        method="supervised",
        pretrain_data="imagenet-1k",
        pretrain_epochs=PUBLISHED_EPOCHS.get(checkpoint.name, ""),
    )


def check_there(checkpoint: Path) -> None:
    """Raise FileNotFoundError unless the file is there; says where torchvision's own are to be had."""
    if checkpoint.is_file():
        return
    address = published_address(checkpoint.name)
    advice = f"; get it from {address}" if address else ""
    raise FileNotFoundError(f"{checkpoint}: no such checkpoint of a supervised network{advice}")


def check_digits(checkpoint: Path, digest: str) -> None:
    """Raise ValueError where a file's name holds digits that are not the first of its sha256."""
    named = PUBLISHED_NAME.fullmatch(checkpoint.name)
    if named is not None and not digest.startswith(named[1]):
        raise ValueError(
            f"{checkpoint}: expected sha256 {named[1]}..., as its name says, found {digest[:8]}...: "
            "damaged, or another file; get it again"
        )


def published_address(name: str) -> str:
    """Where torchvision publishes the file of this name; "" where it does not."""
    if PUBLISHED_NAME.fullmatch(name) is None:
        return ""
    from torchvision.models import get_model_weights  # imported here: it takes seconds

    weights = get_model_weights(name.partition("-")[0])
    return next((str(entry.url) for entry in weights if str(entry.url).endswith(f"/{name}")), "")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, or 2 when there is no such backbone."""
    parser = argparse.ArgumentParser(
        prog="python -m transfer.suite.supervised",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("value", metavar="CONFIG|CHECKPOINT", help="a suite's `supervised`")
    parser.add_argument("--out", type=Path, required=True, help="the suite's run folder")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        print(supervised_backbone(args.value, args.out))
    except (FileNotFoundError, ValueError) as error:
        print(f"supervised: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
