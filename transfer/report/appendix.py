"""The other tables and figures of MEC's paper as data: networks, strategies, image sets, ablations.

Which of their numbers the paper prints bold was not transcribed: they are marked by the rule of all tables.
"""

from __future__ import annotations

from transfer.report.papers import MEC, Heading, Paper
from transfer.report.variants import VARIANTS, Variant

MARKS = "bold: best, underlined: second of the column; the paper's own marks were not transcribed"
SETTINGS_MARKS = "bold: best of the line; the paper's own marks were not transcribed"
MEC_ALONE = (("mec", "MEC"),)


def _paper(title: str, source: str, lines: tuple[tuple[str, str], ...], *asked: Heading) -> Paper:
    """Lines are compared."""
    return Paper(title, "method", f"{MEC} {source},", lines, asked, MARKS, underline="second")


def _settings(title: str, source: str, lines: tuple[tuple[str, str], ...], *asked: Heading) -> Paper:
    """Settings are compared, which stand side by side."""
    return Paper(title, "method", f"{MEC} {source},", lines, asked, SETTINGS_MARKS, bold="line")


def _network(name: str, arch: str, epochs: str) -> Heading:
    asked = ("imagenet-1k", ("mec-linear-architectures",), "top1")
    return Heading("", f"{name}, {epochs} ep.", *asked, epochs, arch)


TABLE_6 = _paper(
    "MEC's Table 6: linear probe on ImageNet, top-1, by network",
    "Table 6",
    (
        *(("mec", "MEC"), ("ibot", "iBOT"), ("mae", "MAE"), ("dino", "DINO"), ("moco-v3", "MoCo v3")),
        *(("simclr", "SimCLR"), ("byol", "BYOL"), ("swav", "SwAV")),
    ),
    _network("R-50", "resnet50", "800"),
    _network("ViT-S", "vit-small", "300"),
    _network("ViT-B", "vit-base", "300"),
)
TABLE_7 = _paper(
    "MEC's Table 7: linear probe on ImageNet with extra strategies",
    "Table 7",
    (
        *(("mec-multi-crop", "MEC, multi-crop"), ("mec-large-projector", "MEC, large projector")),
        *(("mec", "MEC"), ("byol", "BYOL"), ("simsiam", "SimSiam")),
        *(("barlow-twins", "Barlow, large projector"), ("vicreg", "VICReg, large projector")),
        *(("dino", "DINO, multi-crop"), ("unigrad", "UniGrad, both")),
    ),
    Heading("", "top-1", "imagenet-1k", ("original-linear",), "top1"),
)
IMAGE_SETS: dict[str, tuple[str, str]] = {  # as Table 8 orders and names them, with what it reports
    "food101": ("Food101", "accuracy"),
    "cifar10": ("CIFAR10", "accuracy"),
    "cifar100": ("CIFAR100", "accuracy"),
    "sun397": ("SUN397", "accuracy"),
    "cars": ("Cars", "accuracy"),
    "aircraft": ("Aircraft", "accuracy"),
    "voc07-classification": ("VOC2007", "map_voc07"),
    "dtd": ("DTD", "accuracy"),
    "pets": ("Pets", "accuracy"),
    "caltech101": ("Caltech-101", "accuracy"),
    "flowers": ("Flowers", "accuracy"),
}
TABLE_8_LINES = (
    ("random", "Random init"),
    ("supervised", "Supervised"),
    ("simclr", "SimCLR"),
    ("byol", "BYOL"),
)


def _image_sets(how: str, protocol: str) -> Paper:
    asked = [
        Heading("", name, dataset, (protocol,), metric, split="", measured_split="test")
        for dataset, (name, metric) in IMAGE_SETS.items()
    ]
    title = f"MEC's Table 8: transfer to 11 image sets, {how}"
    return _paper(title, "Table 8", (*TABLE_8_LINES, ("mec", "MEC")), *asked)


TABLE_8_LINEAR = _image_sets("linear", "mec-transfer-linear")
TABLE_8_FINE_TUNED = _image_sets("fine-tuned", "mec-transfer-finetune")
TABLE_9 = _paper(
    "MEC's Table 9: pre-trained on Places365, linear probe",
    "Table 9",
    (("simclr", "SimCLR"), ("byol", "BYOL"), ("mec", "MEC")),
    Heading("", "Places365", "places365", ("mec-places-linear",), "accuracy"),
    Heading("", "ImageNet", "imagenet-1k", ("mec-places-linear",), "accuracy"),
)


def _study(title: str, part: str, *variants: str) -> Paper:
    """A part of Table 5: one setting varied at 100 epochs."""
    asked = [_varied(VARIANTS[f"mec-{name}"]) for name in variants]
    return _settings(f"MEC's Table 5({part}): {title}", f"Table 5({part})", MEC_ALONE, *asked)


def _varied(variant: Variant) -> Heading:
    name = variant.setting if variant.value is None else f"{variant.value:g}"
    return Heading("", name, "imagenet-1k", ("mec-linear",), "top1", "100", setting=variant.setting)


def _lengths(*lengths: str) -> Paper:
    asked = [
        Heading("", f"{length} ep.", "imagenet-1k", ("mec-linear",), "top1", length) for length in lengths
    ]
    title = "MEC's Table 5(a): pre-training epochs"
    return _settings(title, "Table 5(a)", MEC_ALONE, *asked)


def _cifar(group: str, task: str, name: str, setting: str) -> Heading:
    return Heading(group, name, "cifar10", (f"mec-cifar-{task}",), "top1", setting=setting)


TABLE_5 = (
    _lengths("30", "50", "70", "100"),
    _study("batch size", "b", *(f"batch-{size}" for size in (128, 256, 512, 1024))),
    _study("eps_d^2", "c", *(f"distortion-{value}" for value in ("0.02", "0.06", "0.25", "1"))),
    _study("momentum m", "d", *(f"momentum-{m}" for m in ("0", "0.9", "0.99", "0.996", "0.999"))),
    _study("order of the Taylor series", "e", *(f"order-{order}" for order in range(1, 6))),
    _study("projector", "f", "asymmetric", "symmetric", "projector-4096", "projector-8192"),
)
FIGURE_4 = _settings(
    "MEC's Fig. 4(c): eps_d^2 on CIFAR-10",
    "Fig. 4(c)",
    MEC_ALONE,
    *(
        _cifar(group, task, f"{value:g}", f"eps_d^2 = {value:g}")
        for group, task in (("linear", "linear"), ("kNN", "knn"))
        for value in (0.03, 0.06, 0.12, 0.25, 0.5)
    ),
)
FIGURE_5 = _settings(
    "MEC's Fig. 5: MEC added to other objectives on CIFAR-10",
    "Fig. 5",
    (("simsiam", "SimSiam"), ("simclr", "SimCLR")),
    *(
        _cifar(group, task, name, setting)
        for group, task in (("kNN", "knn"), ("linear", "linear"))
        for name, setting in (("alone", ""), ("with MEC", "with MEC"))
    ),
)
NORMALISATION = _settings(
    "MEC's appendix E: normalisation of the embeddings",
    "App. E",
    (("barlow-twins", "Barlow"), ("mec", "MEC")),
    *(
        Heading("", name, "imagenet-1k", ("mec-linear",), "top1", "100", setting=name)
        for name in ("batch norm", "l2 norm")
    ),
)
