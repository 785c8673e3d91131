"""The tasks: one literal table, with nothing imported, so that it can be read anywhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """Where a task lives and what it measures.

    The module has a dataclass ``Config`` (with at least ``dataset``, ``protocol`` and ``seed``)
    and ``run(backbone, config, out)``, which yields Measurements.
    """

    module: str
    metrics: tuple[str, ...]
    backend: str
    asks: str = ""  # the task of its rows where the command has another name

    @property
    def package(self) -> str:
        """Below ``transfer``: classify, detect or track."""
        return self.module.split(".")[1]

    @property
    def shared(self) -> bool:
        """Whether several processes (torchrun) can share one run."""
        return self.package in ("classify", "detect") or self.module.startswith("transfer.track.mm.")


TASKS: dict[str, Task] = {
    "knn": Task("transfer.classify.knn", ("top1", "top5"), "torch"),
    "linear": Task("transfer.classify.linear", ("top1", "top5"), "torch"),
    "semisup": Task("transfer.classify.semisup", ("top1", "top5"), "torch"),
    "finetune": Task("transfer.classify.finetune", ("top1", "top5"), "torch"),
    "fewshot": Task("transfer.classify.fewshot", ("top1",), "torch"),
    "detect": Task(
        "transfer.detect.task",
        (
            *("box_ap", "box_ap50", "box_ap75", "box_ap_small", "box_ap_medium", "box_ap_large"),
            *("mask_ap", "mask_ap50", "mask_ap75", "mask_ap_small", "mask_ap_medium", "mask_ap_large"),
        ),
        "detectron2",
    ),
    "frozen-sot": Task(
        "transfer.track.frozen.sot_task", ("success", "norm_precision", "precision"), "torch", "sot"
    ),
    "frozen-vos": Task(
        "transfer.track.frozen.vos_task", ("j_mean", "f_mean", "j_and_f"), "torch, TrackEval", "vos"
    ),
    "frozen-mot": Task(
        "transfer.track.frozen.mot_task",
        ("mota", "idf1", "hota", "id_switches"),
        "torch, TrackEval",
        "mot",
    ),
    "frozen-mots": Task(
        "transfer.track.frozen.mots_task",
        ("smota", "idf1", "hota", "id_switches"),
        "torch, TrackEval",
        "mots",
    ),
    "frozen-pose": Task(
        "transfer.track.frozen.pose_task", ("mota", "idf1", "id_switches"), "torch, motmetrics", "pose"
    ),
    "sot": Task("transfer.track.mm.sot", ("success", "norm_precision", "precision"), "mmtrack"),
    "mot": Task("transfer.track.mm.mot", ("mota", "idf1", "hota", "id_switches"), "mmtrack"),
    "vis": Task("transfer.track.mm.vis", ("mask_ap", "mask_ap50", "mask_ap75"), "mmtrack"),
}
