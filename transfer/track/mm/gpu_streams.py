"""mmcv's copies to a GPU on torch 2: the one function of torch's that changed its argument."""

from __future__ import annotations

from typing import Any


def mend_streams() -> None:
    """Let mmcv 1.7 move batches to a GPU; safe to call again.

    mmcv asks torch for a background stream by the GPU's number; since torch 2.1 that function takes a device,
    and the first batch of a training or test ends in ``'int' object has no attribute 'type'``.
    """
    import torch
    from mmcv.parallel import _functions
    from torch.nn.parallel._functions import _get_stream

    def get_stream(device: int | torch.device) -> Any:
        return _get_stream(torch.device("cuda", device) if isinstance(device, int) else device)

    _functions._get_stream = get_stream
