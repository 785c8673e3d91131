"""Two guards that turn a diverging tracker into one sentence: at the loss, and at the predicted box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

LOSS_HOOK = "FiniteLoss"  # the name under which an mmtrack configuration lists it in custom_hooks


def register_loss_guard() -> None:
    """Make :data:`LOSS_HOOK` known to mmcv's runner; safe to call again.

    mmdet's ``CheckInvalidLossHook`` stops too, but with an assertion that carries no message.
    """
    from mmcv.runner import HOOKS, Hook

    class FiniteLoss(Hook):  # type: ignore[misc]  # mmcv has no types
        def after_train_iter(self, runner: Any) -> None:
            loss = runner.outputs["log_vars"]["loss"]  # the mean over processes: they all stop
            if not math.isfinite(loss):
                raise ValueError(
                    f"training diverged: the loss is {loss} at iteration {runner.iter + 1} of "
                    f"{runner.max_iters}; lower optimizer.lr or lengthen the warm-up"
                )

    HOOKS.register_module(name=LOSS_HOOK, module=FiniteLoss, force=True)


class FrameGuard:
    """Forward hook of a tracker under test: refuses a box that is not finite.

    mmtrack itself crashes one frame later, while cropping around that box, without saying where.

    Args:
        names: a name for each sequence.
        frames: ``(sequence, frame)`` in the order in which they will be tracked, both from 0.

    Raises:
        ValueError: on the frame whose box holds NaN or infinity; names sequence, frame and box.
    """

    def __init__(self, names: Sequence[str], frames: Sequence[tuple[int, int]]) -> None:
        self.names = names
        self.frames = iter(frames)

    def __call__(self, model: nn.Module, args: Any, output: dict[str, Any]) -> None:
        sequence, frame = next(self.frames)
        box = [float(value) for value in output["track_bboxes"][:4]]
        if not all(math.isfinite(value) for value in box):
            raise ValueError(
                f"sequence {self.names[sequence]}, frame {frame + 1}: the tracker predicted the box {box}; "
                "it diverged (weights, or too few training steps)"
            )
