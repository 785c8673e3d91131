"""What figures were measured on; the benchmarks print it above them."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def hardware(device: str = "cpu") -> str:
    """Processor, threads, versions, and whether anything else was running."""
    import torch  # seconds, which a benchmark of imports must not pay before it has begun

    info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next(
        (line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown CPU"
    )
    if device == "cuda":
        model = f"{torch.cuda.get_device_name()}; {model}"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{model}, {torch.get_num_threads()} threads of {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, torch {torch.__version__}; load average at the start {load}"
    )
