"""Findings: settings that contradict the weights or the published protocol, and faults of a set.

A linter (``transfer/detect/lint_*.py``, ``transfer/track/mm/lint.py``) turns a configuration and
:class:`Weights` into findings, ``transfer/detect/faults.py`` a set of images. What a name means, and
whether it stops a run, is in two literal tables: :data:`NAMES` of settings, whose sources
docs/config_lint.md gives, and :data:`FAULTS` of sets, docs/detection_data.md. An exception is made by name
(:func:`sort_out`), never by switching the linter off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfer.backbone.contract import BackboneInfo

ERROR, WARNING = "error", "warning"
REMOVE = object()  # in a fix: take the key out instead of giving it a value


@dataclass(frozen=True)
class Name:
    """What a finding of this name means."""

    level: str  # ERROR stops a run, WARNING is printed
    why: str


NAMES: dict[str, Name] = {
    "channel-order": Name(ERROR, "the weights were trained on the other order of colour channels"),
    "pixel-mean": Name(ERROR, "the weights were trained on pixels centred by another mean"),
    "pixel-std": Name(ERROR, "the weights were trained on pixels scaled by another standard deviation"),
    "stride-in-1x1": Name(
        ERROR, "the weights' network strides in the bottlenecks' other convolution: other features"
    ),
    "depth": Name(ERROR, "the weights are of a network with another number of layers"),
    "width": Name(ERROR, "the weights are of a network with another number of channels"),
    "groups": Name(ERROR, "the weights are of a network with other groups in its 3x3 convolutions"),
    "network": Name(ERROR, "the weights are of another network than the one that would be built"),
    "norm-type": Name(ERROR, "the weights' batch norms find no place in this norm"),
    "frozen-stages": Name(ERROR, "self-supervised backbones are fine-tuned in every layer"),
    "frozen-norm": Name(ERROR, "batch norms train with self-supervised backbones"),
    "norm-eval": Name(ERROR, "batch norms would keep the statistics of the pre-training"),
    "pretrained-url": Name(ERROR, "weights from elsewhere would take the place of the weights under test"),
    "other-weights": Name(ERROR, "the configuration names another file than the weights under test"),
    "weights-prefix": Name(ERROR, "without it not one tensor arrives, and mmcv only logs that"),
    "no-weights": Name(ERROR, "no weights are named, so the backbone would start from random numbers"),
    "extra-norm": Name(WARNING, "the published C4 head has one more batch norm behind res5"),
    "precise-bn": Name(WARNING, "trained batch norms get their statistics recomputed before evaluation"),
    "learning-rate": Name(WARNING, "learning rate and batch are not in the published ratio (linear scaling)"),
    "schedule": Name(WARNING, "length, decay or warm-up differ from the published schedule at this batch"),
    "accumulated-norm": Name(ERROR, "trained batch norms see one pass of the batch, not the batch"),
}

FAULTS: dict[str, Name] = {
    "empty-set": Name(ERROR, "nothing to learn from, and no average precision without an object"),
    "missing-image": Name(ERROR, "detectron2 stops when it first draws such an image"),
    "unreadable-image": Name(ERROR, "detectron2 stops when it first draws such an image"),
    "image-size": Name(ERROR, "detectron2 stops at pixels of another size than the annotations say"),
    "unreadable-annotations": Name(ERROR, "detectron2 cannot read the annotations of such an image"),
    "annotation-fields": Name(
        ERROR, "training or evaluation stops at what lacks a field or has it otherwise"
    ),
    "annotation-id": Name(
        ERROR, "pycocotools counts objects whose id is not a number above 0 as never found"
    ),
    "duplicate-id": Name(ERROR, "of two with one id, readers keep one or stop"),
    "unknown-image": Name(ERROR, "detectron2 leaves out annotations of images that are not listed"),
    "unknown-category": Name(ERROR, "the detector has no output for it, and detectron2 stops"),
    "invalid-box": Name(ERROR, "a box is four finite numbers, and its sides are not negative"),
    "box-outside": Name(ERROR, "no pixel of the image is in the box: wrong image, wrong size or wrong order"),
    "lost-object": Name(ERROR, "detectron2 leaves out objects whose polygons all have fewer than 3 points"),
    "invalid-mask": Name(ERROR, "masks are run lengths of the image's size, or polygons of finite numbers"),
    "absent-class": Name(
        ERROR, "detectron2 counts a class of VOC without objects as an average precision of 0"
    ),
    "box-over-edge": Name(WARNING, "detectron2 cuts boxes off at the image's edge in training only"),
    "empty-box": Name(WARNING, "detectron2 leaves out boxes of no area in training; in a test none is found"),
    "short-polygon": Name(WARNING, "detectron2 leaves out polygons of fewer than 3 points"),
    "no-mask": Name(
        WARNING, "some objects have masks; detectron2 stops at those without when it trains masks"
    ),
    "category-gaps": Name(WARNING, "detectron2 counts categories through; results keep the ids of the file"),
}


@dataclass(frozen=True)
class Finding:
    """One setting that contradicts something, or one kind of fault of a set.

    ``fix`` lists the dotted settings that resolve it and their values (:data:`REMOVE` takes a key
    out); empty when it takes a person, and ``advice`` says what to do.
    """

    name: str  # a key of NAMES or FAULTS
    setting: str  # dotted, as in the configuration; sets.<name> of a set
    found: Any
    expected: Any
    fix: tuple[tuple[str, Any], ...] = ()
    advice: str = ""

    @property
    def level(self) -> str:
        """ERROR or WARNING."""
        return _meaning(self.name).level

    @property
    def why(self) -> str:
        """What the setting contradicts, in a sentence."""
        return _meaning(self.name).why

    def __str__(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return (
            f"{self.name}: {self.setting}={_shown(self.found)}, expected {_shown(self.expected)}: "
            f"{self.why}{advice}"
        )


@dataclass(frozen=True)
class Weights:
    """The weights under test as a configuration may name them."""

    info: BackboneInfo
    path: str  # what a configuration should name
    refusal: Callable[[str, str], str]
    """``(path, class of the backbone)``: why the path is not these weights for it; "" when it is."""

    @classmethod
    def at(cls, path: Path, info: BackboneInfo) -> Weights:
        """Weights that a configuration names by exactly this path."""

        def refusal(named: str, kind: str) -> str:
            return "" if Path(named) == path else f"the weights under test are {path}"

        return cls(info, str(path), refusal)


@dataclass(frozen=True)
class Sorted:
    """Findings by what they mean for a run."""

    errors: list[Finding]
    warnings: list[Finding]
    allowed: list[Finding]


def sort_out(findings: Sequence[Finding], allow: Sequence[str], where: str) -> Sorted:
    """Separate what stops a run, what is only said and what is allowed.

    Args:
        findings: of one configuration.
        allow: exceptions, each ``NAME`` or ``NAME:SETTING``.
        where: opens the error message, for example the configuration's path.

    Raises:
        ValueError: an exception that no finding needs; it would hide one to come.
    """
    idle = [entry for entry in allow if not any(concerns(entry, finding) for finding in findings)]
    if idle:
        raise ValueError(
            f"{where}: allow {', '.join(idle)} has no effect: expected the name of a finding, found "
            f"{', '.join(sorted({f.name for f in findings})) or 'none'}; remove it"
        )
    allowed = [finding for finding in findings if any(concerns(entry, finding) for entry in allow)]
    rest = [finding for finding in findings if finding not in allowed]
    return Sorted(
        errors=[finding for finding in rest if finding.level == ERROR],
        warnings=[finding for finding in rest if finding.level == WARNING],
        allowed=allowed,
    )


def concerns(entry: str, finding: Finding) -> bool:
    """Whether an exception, ``NAME`` or ``NAME:SETTING``, is about a finding."""
    return entry in (finding.name, f"{finding.name}:{finding.setting}")


def refuse(findings: Sequence[Finding], allow: Sequence[str], where: str) -> None:
    """Stop a run by its findings of level ERROR; log what is only a warning or allowed.

    Raises:
        ValueError: names every finding of level ERROR that is not allowed, or an exception that no
            finding needs.
    """
    logger = logging.getLogger("transfer.lint")
    result = sort_out(findings, allow, where)
    for finding in result.warnings:
        logger.warning("%s: %s", where, finding)
    for finding in result.allowed:
        logger.warning("%s: allowed: %s", where, finding)
    if result.errors:
        what = "settings contradict the weights or the protocol; change them"
        if any(finding.name in FAULTS for finding in result.errors):
            what = "findings stop this run; mend the sets, change the settings"
        raise ValueError(
            f"{where}: {len(result.errors)} {what}, or name the exception in `allow`:\n"
            + "\n".join(f"  - {finding}" for finding in result.errors)
        )


def _meaning(name: str) -> Name:
    return NAMES[name] if name in NAMES else FAULTS[name]


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_shown(entry) for entry in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
