"""The supervised baseline: a network trained from scratch with all labels of an image set.

It is fine-tuning (``transfer.classify.finetuning``) of random weights, its classifier cut off. No number is
reported here: what comes out is a backbone like any other, which the tasks measure.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING

from transfer import __version__
from transfer.backbone.contract import Backbone, BackboneInfo, read_backbone, write_backbone
from transfer.backbone.load import write_random
from transfer.classify.finetuning import Recipe, fine_tune
from transfer.classify.loop import lr_factors
from transfer.data.folders import ImageSetConfig, read_splits
from transfer.ranks import World

logger = logging.getLogger(__name__)


@dataclass
class Config(ImageSetConfig):
    """Training from scratch with one learning rate; ``dataset`` becomes the backbone's pre-training data."""

    protocol: str = "supervised"  # of no row
    arch: str = MISSING
    min_scale: float = 0.08  # smallest area of a random crop
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    epochs: int = MISSING
    schedule: str = "cosine"


def train_supervised(config: Config, out: Path) -> Path:
    """Train on the training images and write the backbone to ``out``, a contract file.

    Meanwhile ``out`` with the suffix ``.pt`` holds the last saved epoch: a run that was killed goes on from
    there, to the same bits. So ``out`` must be another file for another configuration.

    Raises:
        FileNotFoundError: the image set is not there.
        ValueError: an unknown arch or schedule, images that cannot be used, a leftover checkpoint of another
            network, or a loss that is not finite.
    """
    factors = lr_factors(config.schedule, config.epochs)
    initial = random_weights(config)
    train, _ = read_splits(config)  # both: no validation image may be among those that train
    recipe = Recipe(
        lr_backbone=config.lr,
        lr_head=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        nesterov=config.nesterov,
        min_scale=config.min_scale,
        factors=factors,
    )
    logger.info(
        "supervised baseline: %s on %d images of %d classes, %d epochs",
        config.arch, len(train), len(train.classes), config.epochs,
    )  # fmt: skip
    checkpoint = out.with_suffix(".pt")
    model = fine_tune(initial, train, recipe, config, World(), checkpoint)
    info = BackboneInfo(
        method="supervised",
        arch=config.arch,
        pretrain_data=config.dataset,
        pretrain_epochs=str(config.epochs),
        branch="",
        source_name=f"transfer.classify.supervised, seed {config.seed}",
        source_sha256="",
        tool_version=__version__,
    )
    write_backbone(out, model.encoder.resnet.state_dict(), info)
    checkpoint.unlink(missing_ok=True)
    return out


def random_weights(config: Config) -> Backbone:
    """Where training starts: torchvision's initialisation under the configuration's seed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.safetensors"
        write_random(path, config.arch, config.seed)
        return read_backbone(path)
