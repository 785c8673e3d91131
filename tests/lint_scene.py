"""Configurations as users have them, for the tests of the lint."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transfer.backbone.contract import BackboneInfo
from transfer.config_files import KINDS, kind_of, lint, read_config, repair
from transfer.findings import Finding, Weights
from transfer.trust import trusting

# facebookresearch/moco at 7397dfe, detection/configs: three files, each over the one before.
MOCO = {
    "Base-RCNN-C4-BN.yaml": """
        MODEL:
          META_ARCHITECTURE: "GeneralizedRCNN"
          RPN:
            PRE_NMS_TOPK_TEST: 6000
            POST_NMS_TOPK_TEST: 1000
          ROI_HEADS:
            NAME: "Res5ROIHeadsExtraNorm"
          BACKBONE:
            FREEZE_AT: 0
          RESNETS:
            NORM: "naiveSyncBN"
        TEST:
          PRECISE_BN:
            ENABLED: True
        SOLVER:
          IMS_PER_BATCH: 16
          BASE_LR: 0.02
        VERSION: 2
        """,
    "pascal_voc_R_50_C4_24k.yaml": """
        _BASE_: "Base-RCNN-C4-BN.yaml"
        MODEL:
          MASK_ON: False
          WEIGHTS: "mec.pkl"
          ROI_HEADS:
            NUM_CLASSES: 20
        INPUT:
          MIN_SIZE_TRAIN: (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
          MIN_SIZE_TEST: 800
        DATASETS:
          TRAIN: ('voc_2007_trainval', 'voc_2012_trainval')
          TEST: ('voc_2007_test',)
        SOLVER:
          STEPS: (18000, 22000)
          MAX_ITER: 24000
          WARMUP_ITERS: 100
        """,
    "pascal_voc_R_50_C4_24k_moco.yaml": """
        _BASE_: "pascal_voc_R_50_C4_24k.yaml"
        MODEL:
          PIXEL_MEAN: [123.675, 116.280, 103.530]
          PIXEL_STD: [58.395, 57.120, 57.375]
          RESNETS:
            STRIDE_IN_1X1: False
        INPUT:
          FORMAT: "RGB"
        """,
}


def write_moco(folder: Path, extra: str = "") -> Path:
    """MoCo's VOC configuration; ``extra`` is a fourth file over it, which is then what is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in MOCO.items():
        (folder / name).write_text(textwrap.dedent(text))
    path = folder / list(MOCO)[-1]
    if not extra:
        return path
    over = folder / "mine.yaml"
    over.write_text(f"_BASE_: {path.name}\n{extra}\n")
    return over


def an_info(arch: str = "resnet50", **changes: str) -> BackboneInfo:
    return BackboneInfo("mec", arch, "imagenet", "100", "online", "s", "0" * 64, "0", **changes)


def findings_of(
    path: Path, weights_name: str, arch: str = "resnet50", gpus: int | None = None, **header: str
) -> list[Finding]:
    """Findings of a file against weights of this name."""
    kind = KINDS[kind_of(path)]
    weights = Weights.at(Path(weights_name), an_info(arch, **header))
    with trusting(True):
        return lint(kind, read_config(kind, path), weights, gpus)


def repaired(
    path: Path, weights_name: str, out: Path, allow: Sequence[str] = (), arch: str = "resnet50"
) -> list[Finding]:
    """What is left after ``--fix``."""
    weights = Weights.at(Path(weights_name), an_info(arch))
    with trusting(True):
        return repair(KINDS[kind_of(path)], path, weights, allow, None, out)


def names(findings: Sequence[Finding]) -> list[str]:
    return sorted({finding.name for finding in findings})


def settings(findings: Sequence[Finding]) -> dict[str, Any]:
    return {finding.setting: finding.found for finding in findings}
