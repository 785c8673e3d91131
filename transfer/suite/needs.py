"""What a job takes: hours, disk and GPUs so far as a run or a paper says, and the files it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transfer.inputs import data_paths
from transfer.suite.costs import Cost, cost_of, measured_hours
from transfer.suite.job import Needs
from transfer.suite.machine import can_use_a_gpu

# What a ResNet-18's run leaves at most, where the costs do not say: rows, or checkpoints too (docs/costs.md).
DISK_GB = {
    **dict.fromkeys(("knn", "linear", "fewshot"), 0.01),
    **dict.fromkeys(("semisup", "finetune"), 0.3),
    **dict.fromkeys(("frozen-sot", "frozen-vos", "frozen-mot", "frozen-mots", "frozen-pose"), 0.02),
    **dict.fromkeys(("detect", "vis"), 0.6),
    **dict.fromkeys(("sot", "mot"), 0.3),
}


def needs_of(
    task: str,
    config_path: Path,
    config: Any,
    *,
    cores: int,
    memory_gb: float,
    num_gpus: int,
    num_machines: int = 1,
    elsewhere: bool = False,
) -> Needs:
    """What a job of this configuration takes; docs/costs.md says how each number comes about.

    Args:
        config: as resolved.
        cores, memory_gb: of each job, as the suite says; 0 where it does not.
        num_gpus, num_machines: that each job is to share. What takes one GPU at most runs on processors where
            this machine has no GPU.
        elsewhere: other machines run it, which have the GPUs that the costs speak of.
    """
    cost = cost_of(config_path)
    gpus = _gpus(config, cost, num_gpus, elsewhere)
    shared = gpus * num_machines
    hours, hours_source = measured_hours(config, config_path, gpus)
    if not hours and cost and cost.hours and shared:
        hours = cost.hours * cost.gpus / shared
        grown = f", from {cost.gpus} to {shared} GPUs as if speed grew with them"
        hours_source = f"{cost.source} ({cost.gpus} x {cost.gpu}{grown if shared != cost.gpus else ''})"
    # On fewer GPUs each has more of the batch.
    share = max(1.0, cost.gpus / shared) if cost and shared else 0.0
    return Needs(
        cores=cores,
        memory_gb=memory_gb or (cost.memory_gb if cost else 0.0),
        gpus=gpus,
        machines=num_machines,
        gpu_memory_gb=cost.gpu_memory_gb * share if cost else 0.0,
        disk_gb=cost.disk_gb if cost and cost.disk_gb else DISK_GB[task],
        hours=hours,
        hours_source=hours_source,
        data=tuple(map(str, data_paths(task, config))),
        packages=task,
    )


def _gpus(config: Any, cost: Cost | None, num_gpus: int, elsewhere: bool) -> int:
    if str(config.device).startswith("cpu"):
        return 0
    known = cost.gpus if cost else 0
    wanted = num_gpus > 1 or known > 1 or (known == 1 and elsewhere)
    return max(num_gpus, 1) if wanted or can_use_a_gpu() else 0
