"""Variants of a method: what the ablations changed in its pre-training, by method id. One literal table.

An ablation's row has the variant as its ``method``, and the protocol of the unvaried method, because
the question is the same. Where a field of the row already says what was varied (the pre-training
length, the network), there is no variant.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """A method with one setting changed."""

    method: str  # the id of the method that is varied
    study: str  # what is varied: a key of STUDIES
    setting: str  # as shown
    value: float | None = None  # where it is a number: the place on a figure's axis
    default: bool = False  # the setting that the method has elsewhere


STUDIES: dict[str, str] = {
    "batch": "batch size",
    "distortion": "squared distortion per dimension",  # eps_d^2
    "momentum": "momentum of the target network",
    "order": "order of the Taylor series",
    "projector": "projector",
    "normalisation": "normalisation of the embeddings",
    "regulariser": "added objective",
    "strategy": "extra strategy",
}
BATCHES = (128, 256, 512, 1024)
DISTORTIONS = (0.02, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0)
MOMENTA = (0.0, 0.9, 0.99, 0.996, 0.999)
ORDERS = (1, 2, 3, 4, 5)

VARIANTS: dict[str, Variant] = {
    **{f"mec-batch-{b}": Variant("mec", "batch", f"batch {b}", b, b == 1024) for b in BATCHES},
    **{
        f"mec-distortion-{e:g}": Variant("mec", "distortion", f"eps_d^2 = {e:g}", e, e == 0.06)
        for e in DISTORTIONS
    },
    **{f"mec-momentum-{m:g}": Variant("mec", "momentum", f"m = {m:g}", m, m == 0.996) for m in MOMENTA},
    **{f"mec-order-{n}": Variant("mec", "order", f"order {n}", n, n == 4) for n in ORDERS},
    "mec-asymmetric": Variant("mec", "projector", "asymmetric", default=True),
    "mec-symmetric": Variant("mec", "projector", "symmetric"),
    "mec-projector-4096": Variant("mec", "projector", "width 4096", 4096),
    "mec-projector-8192": Variant("mec", "projector", "width 8192", 8192),
    "mec-batch-norm": Variant("mec", "normalisation", "batch norm"),
    "mec-l2-norm": Variant("mec", "normalisation", "l2 norm", default=True),
    "barlow-twins-batch-norm": Variant("barlow-twins", "normalisation", "batch norm", default=True),
    "barlow-twins-l2-norm": Variant("barlow-twins", "normalisation", "l2 norm"),
    "simsiam-with-mec": Variant("simsiam", "regulariser", "with MEC"),
    "simclr-with-mec": Variant("simclr", "regulariser", "with MEC"),
    "mec-multi-crop": Variant("mec", "strategy", "multi-crop"),
    "mec-large-projector": Variant("mec", "strategy", "large projector"),
    "swav-multi-crop": Variant("swav", "strategy", "multi-crop"),
    "simsiam-base": Variant("simsiam", "strategy", "base recipe"),
}
