"""Detection and instance segmentation: fine-tune a detector that starts from the backbone.

detectron2 does all the work with its own trainer, loader and evaluator; this module sees to it
that the weights it starts from are the backbone's and that the numbers are what they seem.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from transfer.backbone.contract import Backbone, BackboneInfo
from transfer.backbone.targets import write_detectron2
from transfer.detect.backbone import check_arrival
from transfer.detect.lint_yaml import find
from transfer.detect.score import evaluate
from transfer.detect.sets import register
from transfer.detect.settings import Config, resolve
from transfer.findings import Weights, refuse
from transfer.report.rows import Measurement

__all__ = ["Config", "run"]


def run(backbone: Backbone, config: Config, out: Path) -> Iterator[Measurement]:
    """Train on ``config.train`` and measure AP, in percent, on ``config.val``.

    ``out`` receives the converted backbone (``backbone.pkl``), detectron2's own files
    (``detectron2.yaml``, ``log.txt``, ``metrics.json``, TensorBoard events, ``model_final.pth``)
    and the predictions on each split. ``n`` is the number of images of the split.
    """
    weights_path = out / "backbone.pkl"
    write_detectron2(backbone, weights_path)
    yield from measure(weights_path, backbone.info, config, out)


def measure(weights_path: Path, info: BackboneInfo, config: Config, out: Path) -> Iterator[Measurement]:
    """As :func:`run`, from a backbone that is already converted.

    Raises:
        ValueError: before anything is trained, settings that contradict the backbone or the
            published protocol and are not in ``config.allow``.
    """
    train = register(config.dataset, "train", config.train)
    val = register(config.dataset, "val", config.val)
    cfg = resolve(config, info, weights_path, train, val, out)
    refuse(find(cfg, Weights.at(weights_path, info)), config.allow, config.detectron2_path)
    (out / "detectron2.yaml").write_text(cfg.dump(), encoding="utf-8")
    model = fit(cfg)
    for images in (val, train) if config.evaluate_train else (val,):
        folder = out / f"predictions_{images.split}"
        for metric, value in evaluate(model, cfg, images, folder).items():
            yield Measurement(
                config.dataset, images.split, config.protocol, "detectron2", metric, value, images.num_images
            )


def fit(cfg: Any) -> nn.Module:
    """Train a detector by detectron2's trainer from the converted backbone ``cfg.MODEL.WEIGHTS``.

    Raises:
        ValueError: before the first iteration, when a backbone tensor did not arrive.
        FloatingPointError: the loss became infinite or NaN.
    """
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.engine import DefaultTrainer, hooks
    from detectron2.utils.env import seed_all_rng

    class Trainer(DefaultTrainer):  # type: ignore[misc]  # detectron2 is untyped
        """detectron2's trainer, with proof of arrival and without its closing evaluation."""

        @classmethod
        def build_model(cls, cfg: Any) -> nn.Module:
            # First of all that a trainer builds: nothing is opened or written before it succeeds.
            model: nn.Module = super().build_model(cfg)
            DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
            check_arrival(model, Path(cfg.MODEL.WEIGHTS))
            return model

        def build_hooks(self) -> list[Any]:
            # Its NaN means two things; evaluate() tells them apart.
            return [hook for hook in super().build_hooks() if not isinstance(hook, hooks.EvalHook)]

    with _log_to(Path(cfg.OUTPUT_DIR) / "log.txt"):
        seed_all_rng(cfg.SEED)
        trainer = Trainer(cfg)
        trainer.train()
    model: nn.Module = trainer.model
    return model


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Send detectron2's log to standard output and to a file.

    Its own ``setup_logger`` never lets go of a file, so a second run in the same process would
    also write into the first one's.
    """
    handlers: list[logging.Handler] = [
        logging.StreamHandler(sys.stdout),
        logging.FileHandler(path, encoding="utf-8"),
    ]
    loggers = [logging.getLogger("detectron2"), logging.getLogger("fvcore")]
    logging.getLogger("detectron2.engine.defaults").setLevel(logging.WARNING)  # prints the whole model
    for handler in handlers:
        handler.setFormatter(logging.Formatter("[%(asctime)s] %(message)s", datefmt="%H:%M:%S"))
    for logger in loggers:
        logger.setLevel(logging.INFO)
        for handler in handlers:
            logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            for logger in loggers:
                logger.removeHandler(handler)
            handler.close()
