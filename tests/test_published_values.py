"""results/published.csv against the papers: totals of every table, and cells typed a second time.

The cells were typed from the papers' tables, not from the file. MEC's Tables 1 to 4 stand in CELLS, all
other sources in MORE_CELLS.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from transfer.report.aggregate import find_results
from transfer.report.protocols import PROTOCOLS
from transfer.report.rows import REPORTED, Row, read_placed_rows, read_rows
from transfer.report.variants import STUDIES, VARIANTS

RESULTS_DIR = Path(__file__).resolve().parent.parent / "results"
METHODS = {
    "linear": {"simclr", "moco-v2", "byol", "swav", "simsiam", "barlow-twins", "mec"},
    "semisup": {"supervised", "simclr", "byol", "barlow-twins", "dino", "vicreg", "mec"},
    "detect": {
        *("random", "supervised", "simclr", "moco-v2", "byol", "swav", "barlow-twins", "simsiam", "mec"),
    },
    "mot": {
        *("random", "supervised", "insdis", "moco-v1", "simclr", "moco-v2", "infomin", "barlow-twins"),
        *("byol", "swav", "pixpro", "detco", "mec"),
    },
}
CELLS = [
    # Table 1: method, pre-training epochs
    ("simclr", "100", "imagenet-1k", "mec-linear", "top1", 66.5),
    ("simclr", "800", "imagenet-1k", "mec-linear", "top1", 70.4),
    ("moco-v2", "200", "imagenet-1k", "mec-linear", "top1", 69.9),
    ("byol", "400", "imagenet-1k", "mec-linear", "top1", 73.2),
    ("swav", "800", "imagenet-1k", "mec-linear", "top1", 71.8),
    ("simsiam", "100", "imagenet-1k", "mec-linear", "top1", 68.1),
    ("barlow-twins", "100", "imagenet-1k", "mec-linear", "top1", 67.3),
    ("mec", "100", "imagenet-1k", "mec-linear", "top1", 70.6),
    ("mec", "200", "imagenet-1k", "mec-linear", "top1", 71.9),
    ("mec", "400", "imagenet-1k", "mec-linear", "top1", 73.5),
    ("mec", "800", "imagenet-1k", "mec-linear", "top1", 74.5),
    # Table 2
    ("supervised", "", "imagenet-1k-1pct", "mec-semisup", "top1", 25.4),
    ("simclr", "1000", "imagenet-1k-1pct", "mec-semisup", "top5", 75.5),
    ("vicreg", "1000", "imagenet-1k-1pct", "mec-semisup", "top1", 54.8),
    ("dino", "", "imagenet-1k-10pct", "mec-semisup", "top5", 89.1),
    ("mec", "800", "imagenet-1k-1pct", "mec-semisup", "top1", 55.9),
    ("mec", "800", "imagenet-1k-1pct", "mec-semisup", "top5", 79.6),
    ("mec", "800", "imagenet-1k-10pct", "mec-semisup", "top1", 70.3),
    ("mec", "800", "imagenet-1k-10pct", "mec-semisup", "top5", 89.7),
    # the leaderboard's other values, which are not the paper's
    ("mec", "", "imagenet-1k-1pct", "unknown", "top1", 44.442),
    ("mec", "", "imagenet-1k-10pct", "unknown", "top1", 63.918),
    # Table 3
    ("random", "random", "voc07", "mec-faster-rcnn-c4", "box_ap75", 13.0),
    ("random", "random", "coco2017", "mec-mask-rcnn-c4-1x", "mask_ap", 29.3),
    ("supervised", "", "voc07+12", "mec-faster-rcnn-c4-24k", "box_ap50", 81.3),
    ("moco-v2", "200", "voc07", "mec-faster-rcnn-c4", "box_ap", 48.5),
    ("moco-v2", "800", "voc07+12", "mec-faster-rcnn-c4-24k", "box_ap75", 64.0),
    ("barlow-twins", "1000", "coco2017", "mec-mask-rcnn-c4-1x", "box_ap50", 59.0),
    ("barlow-twins", "", "voc07", "mec-faster-rcnn-c4", "box_ap75", 50.3),
    ("simsiam", "200", "coco2017", "mec-mask-rcnn-c4-1x", "mask_ap75", 36.7),
    ("mec", "800", "voc07", "mec-faster-rcnn-c4", "box_ap50", 77.4),
    ("mec", "800", "voc07", "mec-faster-rcnn-c4", "box_ap", 48.3),
    ("mec", "800", "voc07", "mec-faster-rcnn-c4", "box_ap75", 52.3),
    ("mec", "800", "voc07+12", "mec-faster-rcnn-c4-24k", "box_ap", 57.5),
    ("mec", "800", "coco2017", "mec-mask-rcnn-c4-1x", "box_ap50", 59.8),
    ("mec", "800", "coco2017", "mec-mask-rcnn-c4-1x", "box_ap", 39.8),
    ("mec", "800", "coco2017", "mec-mask-rcnn-c4-1x", "box_ap75", 43.2),
    ("mec", "800", "coco2017", "mec-mask-rcnn-c4-1x", "mask_ap75", 36.8),
    # Table 4
    ("random", "random", "otb2015", "unitrack-xcorr-layer4", "success", 9.0),
    ("random", "random", "posetrack", "unitrack-layer4", "id_switches", 90963.0),
    ("insdis", "", "davis2017", "unitrack-layer4", "j_mean", 60.1),
    ("moco-v1", "", "otb2015", "unitrack-dcf-layer3", "success", 62.2),
    ("swav", "", "mots20", "unitrack-layer3", "hota", 69.9),
    ("detco", "", "mot16", "unitrack-layer3", "idf1", 75.3),
    ("mec", "", "otb2015", "unitrack-xcorr-layer3", "success", 56.8),
    ("mec", "", "otb2015", "unitrack-dcf-layer4", "success", 60.6),
    ("mec", "", "davis2017", "unitrack-layer3", "j_mean", 62.0),
    ("mec", "", "mot16", "unitrack-layer4", "hota", 63.3),
    ("mec", "", "mots20", "unitrack-layer3", "idf1", 70.7),
    ("mec", "", "posetrack", "unitrack-layer3", "id_switches", 6665.0),
]


MEC = "MEC (arXiv 2210.11464)"
# Source: lines of method, pre-training epochs (- where unknown), dataset, protocol, metric, value.
MORE_CELLS = {
    "public leaderboard page of arXiv 2210.11464": """
        mec - coco2017 unknown box_ap75 43.2
        mec - coco2017 unknown mask_ap75 36.8""",
    f"{MEC} Table 5(a), p. 8": """
        mec 30 imagenet-1k mec-linear top1 62.1
        mec 70 imagenet-1k mec-linear top1 69.2""",
    f"{MEC} Table 5(b), p. 8": """
        mec-batch-128 100 imagenet-1k mec-linear top1 69.5
        mec-batch-512 100 imagenet-1k mec-linear top1 70.4""",
    f"{MEC} Table 5(c), p. 8": """
        mec-distortion-0.25 100 imagenet-1k mec-linear top1 70.2
        mec-distortion-1 100 imagenet-1k mec-linear top1 69.5""",
    f"{MEC} Table 5(d), p. 8": """
        mec-momentum-0 100 imagenet-1k mec-linear top1 69.0
        mec-momentum-0.996 100 imagenet-1k mec-linear top1 70.6
        mec-momentum-0.999 100 imagenet-1k mec-linear top1 70.2""",
    f"{MEC} Table 5(e), p. 8": """
        mec-order-1 100 imagenet-1k mec-linear top1 70.0
        mec-order-2 100 imagenet-1k mec-linear top1 70.3
        mec-order-5 100 imagenet-1k mec-linear top1 70.6""",
    f"{MEC} Table 5(f), p. 8": """
        mec-symmetric 100 imagenet-1k mec-linear top1 70.1
        mec-projector-8192 100 imagenet-1k mec-linear top1 71.2""",
    f"{MEC} Table 7, p. 17": """
        mec-multi-crop 800 imagenet-1k original-linear top1 75.5
        mec-large-projector 800 imagenet-1k original-linear top1 75.1
        byol 1000 imagenet-1k original-linear top1 74.3
        dino 800 imagenet-1k original-linear top1 75.3""",
    f"{MEC} Table 8, p. 18": """
        supervised - flowers mec-transfer-linear accuracy 94.7
        simclr - cars mec-transfer-linear accuracy 50.3
        byol - voc07-classification mec-transfer-linear map_voc07 82.5
        mec - food101 mec-transfer-linear accuracy 75.6
        mec - pets mec-transfer-linear accuracy 90.9
        random random dtd mec-transfer-finetune accuracy 64.8
        supervised - cifar100 mec-transfer-finetune accuracy 86.4
        simclr - voc07-classification mec-transfer-finetune map_voc07 84.1
        byol - sun397 mec-transfer-finetune accuracy 63.7
        mec - aircraft mec-transfer-finetune accuracy 88.5
        mec - caltech101 mec-transfer-finetune accuracy 94.9""",
    f"{MEC} Table 9, p. 18": """
        simclr - imagenet-1k mec-places-linear accuracy 56.5
        byol - places365 mec-places-linear accuracy 53.2
        mec - imagenet-1k mec-places-linear accuracy 59.9""",
    f"{MEC} Fig. 5, p. 7": """
        simsiam 600 cifar10 mec-cifar-knn top1 83.5
        simsiam-with-mec 600 cifar10 mec-cifar-linear top1 87.3
        simclr-with-mec 600 cifar10 mec-cifar-knn top1 87.0""",
    f"{MEC} Fig. 4(c), read off the plot to ±0.03": """
        mec-distortion-0.06 600 cifar10 mec-cifar-linear top1 90.18
        mec-distortion-0.5 600 cifar10 mec-cifar-knn top1 88.77""",
    f"{MEC} App. E, p. 20": """
        barlow-twins-batch-norm 100 imagenet-1k mec-linear top1 67.3
        barlow-twins-l2-norm 100 imagenet-1k mec-linear top1 67.4""",
    f"{MEC} Fig. 3, p. 4": """
        mec-order-4 - samples-256 mec-taylor-error relative_error 0.24
        mec-order-4 - samples-2048 mec-taylor-error relative_error 0.07""",
    f"{MEC} Fig. 6, p. 17": """
        mec-order-1 - samples-2048 mec-taylor-error relative_error 2.56
        mec-order-2 - samples-512 mec-taylor-error relative_error 0.28""",
    f"{MEC} App. C, p. 16": """
        mec 100 imagenet-1k mec-cost-8xv100 wall_hours 42
        barlow-twins 100 imagenet-1k mec-cost-8xv100 wall_hours 48""",
    "MEC README (commit 35045dc), released checkpoint": """
        mec 100 imagenet-1k mec-code-linear top1 70.8""",
    "VICReg (arXiv 2105.04906) Table 1": """
        pirl - imagenet-1k original-linear top1 63.6
        infomin - imagenet-1k original-linear top5 91.1
        obow - imagenet-1k original-linear top1 73.8
        swav-multi-crop - imagenet-1k original-linear top1 75.3
        vicreg 1000 imagenet-1k vicreg-linear top5 91.1
        vicreg 1000 imagenet-1k-1pct vicreg-semisup top1 54.8
        swav-multi-crop - imagenet-1k-1pct original-semisup top5 78.5
        obow - imagenet-1k-10pct original-semisup top5 90.7
        pirl - imagenet-1k-1pct original-semisup top5 57.2""",
    "Barlow Twins (arXiv 2103.03230) Table 1": """
        moco-v2 800 imagenet-1k original-linear top5 90.1
        barlow-twins 1000 imagenet-1k barlow-linear top1 73.2""",
    "BYOL (arXiv 2006.07733) Table 1": """
        simclr 1000 imagenet-1k original-linear top5 89.0
        byol 1000 imagenet-1k byol-linear top5 91.6""",
    "Barlow Twins README (commit 8e8d284), released checkpoint": """
        barlow-twins 1000 imagenet-1k barlow-linear top1 73.5""",
    "MoCo README (commit 7397dfe)": """
        moco-v1 - imagenet-1k moco-linear top1 60.6
        moco-v2 800 imagenet-1k moco-linear top1 71.1""",
    "MoCo README (commit 7397dfe), mean of 5 trials": """
        moco-v1 - imagenet-1k moco-linear top1 60.8
        moco-v2 200 imagenet-1k moco-linear top1 67.5
        moco-v1 200 voc07+12 moco-faster-rcnn-c4-24k box_ap 55.9
        moco-v2 200 voc07+12 moco-faster-rcnn-c4-24k box_ap75 63.6
        moco-v2 800 voc07+12 moco-faster-rcnn-c4-24k box_ap50 82.5""",
    "MoCo README (commit 7397dfe), released checkpoint": """
        moco-v2 200 imagenet-1k moco-linear top1 67.7""",
    "MoCo v1 (arXiv 1911.05722) Table 2b": """
        random random voc07+12 moco-faster-rcnn-c4-24k box_ap 33.8""",
    "SimSiam (arXiv 2011.10566) Table 4, p. 7": """
        simsiam 800 imagenet-1k simsiam-linear top1 71.3""",
    "SimSiam README (commit a7bc177), batch 512": """
        simsiam 100 imagenet-1k simsiam-code-linear top1 68.1""",
    "SimSiam README (commit a7bc177), batch 256": """
        simsiam 100 imagenet-1k simsiam-code-linear top1 68.3""",
    "SimSiam (arXiv 2011.10566) Table C.1": """
        simclr 200 imagenet-1k original-linear top1 66.6
        simclr 200 imagenet-1k simsiam-linear top1 68.3
        moco-v2 800 imagenet-1k original-linear top1 71.1
        byol 300 imagenet-1k simsiam-linear top1 72.4
        byol 1000 imagenet-1k original-linear top1 74.3
        swav 400 imagenet-1k original-linear top1 70.1""",
    "SimSiam (arXiv 2011.10566) Table 5, p. 7": """
        moco-v2 200 voc07+12 simsiam-faster-rcnn-c4 box_ap 57.0
        moco-v2 200 coco2017 simsiam-mask-rcnn-c4-1x mask_ap75 36.6
        swav 200 voc07+12 simsiam-faster-rcnn-c4 box_ap75 61.4
        swav 200 coco2017 simsiam-mask-rcnn-c4-1x box_ap50 57.6
        simsiam-base 200 voc07 simsiam-faster-rcnn-c4 box_ap50 75.5
        simsiam-base 200 coco2017 simsiam-mask-rcnn-c4-1x mask_ap 33.2
        simsiam 200 voc07 simsiam-faster-rcnn-c4 box_ap75 52.5""",
    "BYOL (arXiv 2006.07733) Table 2a": """
        supervised - imagenet-1k-10pct original-semisup top5 80.4
        byol 1000 imagenet-1k-1pct byol-semisup top1 53.2""",
    "Barlow Twins (arXiv 2103.03230) Table 2": """
        barlow-twins 1000 imagenet-1k-10pct barlow-semisup top1 69.7
        swav-multi-crop - imagenet-1k-1pct original-semisup top1 53.9""",
    "Barlow Twins (arXiv 2103.03230) Table 4": """
        supervised - coco2017 barlow-mask-rcnn-c4-1x box_ap 38.2
        moco-v2 800 coco2017 barlow-mask-rcnn-c4-1x mask_ap50 55.8
        swav - voc07+12 barlow-faster-rcnn-c4-24k box_ap 56.1
        simsiam 200 voc07+12 barlow-faster-rcnn-c4-24k box_ap 57
        barlow-twins 1000 voc07+12 barlow-faster-rcnn-c4-24k box_ap75 63.4
        barlow-twins 1000 coco2017 barlow-mask-rcnn-c4-1x mask_ap75 36.5""",
    "VICReg (arXiv 2105.04906) Table 2": """
        byol - coco2017 vicreg-mask-rcnn-fpn-1x box_ap 40.4
        obow - voc07+12 vicreg-faster-rcnn-c4-24k box_ap50 82.9
        vicreg 1000 coco2017 vicreg-mask-rcnn-fpn-1x mask_ap 36.4""",
    "BYOL (arXiv 2006.07733) Table 4a": """
        moco-v1 - voc07 byol-faster-rcnn-c4-frozen box_ap50 74.9
        byol - voc07 byol-faster-rcnn-c4-frozen box_ap50 77.5""",
    "detectron2 MODEL_ZOO.md (commit 02b5c4e2), MSRA weights": """
        supervised - coco2017 detectron2-mask-rcnn-c4-1x box_ap 36.8
        supervised - coco2017 detectron2-mask-rcnn-c4-1x mask_ap 32.2""",
    "UniTrack docs/RESULTS.md (commit a83e782)": """
        supervised - otb2015 unitrack-system-dcf success 61.8
        supervised - davis2017 unitrack-system j_mean 58.4
        supervised - mot16 unitrack-system mota 74.7
        supervised - mots20 unitrack-system smota 68.9
        supervised - posetrack2018 unitrack-system id_switches 6760""",
}
ARCHITECTURES = [  # MEC's Table 6
    ("mec", "resnet50", 74.5),
    ("moco-v3", "resnet50", 73.8),
    ("mec", "vit-small", 73.4),
    ("mae", "vit-small", 68.2),
    ("swav", "vit-small", 67.1),
    ("ibot", "vit-base", 75.6),
    ("moco-v3", "vit-base", 76.5),
]
TOTALS = {
    f"{MEC} Table 1, p. 6": 7 * 4,  # methods x pre-training lengths
    f"{MEC} Table 2, p. 6": 7 * 4,  # methods x (1 %, 10 %) x (top-1, top-5)
    f"{MEC} Table 3, p. 6": 9 * 12,  # methods x (VOC07, VOC07+12, COCO box, mask) x 3
    f"{MEC} Table 4, p. 8": 13 * 9 * 2,  # methods x metrics x (layer3, layer4)
    f"{MEC} Table 5(a), p. 8": 4,
    f"{MEC} Table 5(b), p. 8": 4,
    f"{MEC} Table 5(c), p. 8": 4,
    f"{MEC} Table 5(d), p. 8": 5,
    f"{MEC} Table 5(e), p. 8": 5,
    f"{MEC} Table 5(f), p. 8": 4,
    f"{MEC} Table 6, p. 9": 5 + 8 + 8,  # ResNet-50, ViT-S, ViT-B
    f"{MEC} Table 7, p. 17": 9,
    f"{MEC} Table 8, p. 18": (4 + 5) * 11,  # (linear, fine-tuned) methods x datasets
    f"{MEC} Table 9, p. 18": 3 * 2,
    f"{MEC} Fig. 3, p. 4": 4,
    f"{MEC} Fig. 4(c), read off the plot to ±0.03": 5 * 2,  # distortions x (linear, kNN)
    f"{MEC} Fig. 5, p. 7": 4 * 2,
    f"{MEC} Fig. 6, p. 17": 2 * 4,  # orders x sizes
    f"{MEC} App. C, p. 16": 3,
    f"{MEC} App. E, p. 20": 2 * 2,
    "MEC README (commit 35045dc), released checkpoint": 1,
    "public leaderboard page of arXiv 2210.11464": 2,
    "public leaderboard page of arXiv 2210.11464 (a value that is not in the paper)": 2,
    "BYOL (arXiv 2006.07733) Table 1": 2 * 2,
    "BYOL (arXiv 2006.07733) Table 2a": 3 * 4,
    "BYOL (arXiv 2006.07733) Table 4a": 4,
    "Barlow Twins (arXiv 2103.03230) Table 1": 5 + 2,  # top-1, top-5
    "Barlow Twins (arXiv 2103.03230) Table 2": 2 * 4,
    "Barlow Twins (arXiv 2103.03230) Table 4": 5 * 9,
    "Barlow Twins README (commit 8e8d284), released checkpoint": 2,
    "MoCo README (commit 7397dfe)": 2,
    "MoCo README (commit 7397dfe), mean of 5 trials": 2 + 4 * 3,  # linear; VOC07+12
    "MoCo README (commit 7397dfe), released checkpoint": 1,
    "MoCo v1 (arXiv 1911.05722) Table 2b": 3,
    "SimSiam (arXiv 2011.10566) Table 4, p. 7": 1,
    "SimSiam (arXiv 2011.10566) Table 5, p. 7": 4 * 12,
    "SimSiam (arXiv 2011.10566) Table C.1": 8 + 7,  # originals, reproductions
    "SimSiam README (commit a7bc177), batch 256": 1,
    "SimSiam README (commit a7bc177), batch 512": 1,
    "UniTrack docs/RESULTS.md (commit a83e782)": 2 + 1 + 3 + 3 + 3,  # SOT, VOS, MOT, MOTS, pose
    "VICReg (arXiv 2105.04906) Table 1": (10 + 3) + (4 + 4 + 2 + 2),  # linear; 1 % and 10 %
    "VICReg (arXiv 2105.04906) Table 2": 7 + 2 * 6,  # VOC07+12; COCO box and mask
    "detectron2 MODEL_ZOO.md (commit 02b5c4e2), MSRA weights": 2,
}
PLACE = re.compile(
    r"[A-Z][\w ]+ \(arXiv \d{4}\.\d{5}\) ((Table|Fig\.) [A-C\d][\w.]*(\([a-f]\))?|App\. [A-H])"
    r"(, p\. \d+|, read off the plot to ±0\.03)?"
    r"|[\w ]+ (README|MODEL_ZOO\.md|docs/RESULTS\.md) \(commit [0-9a-f]{7,8}\)(, [\w ]+)?"
    r"|public leaderboard page of arXiv 2210\.11464( \(a value that is not in the paper\))?"
)


@pytest.fixture(scope="module")
def published() -> list[Row]:
    return list(read_rows(RESULTS_DIR / "published.csv"))


def test_published_totals_are_those_of_the_tables(published: list[Row]) -> None:
    assert Counter(row.source for row in published) == TOTALS


FIRST_SOURCES = {
    *(source for source in TOTALS if re.match(rf"{re.escape(MEC)} Table [1-4],", source)),
    "public leaderboard page of arXiv 2210.11464 (a value that is not in the paper)",
}


@pytest.mark.parametrize(("method", "epochs", "dataset", "protocol", "metric", "value"), CELLS)
def test_published_cell_is_what_the_paper_prints(
    published: list[Row], method: str, epochs: str, dataset: str, protocol: str, metric: str, value: float
) -> None:
    key = (method, epochs, dataset, protocol, metric)
    found = [
        row.value
        for row in published
        if (row.method, row.pretrain_epochs, row.dataset, row.protocol, row.metric) == key
        and row.source in FIRST_SOURCES
    ]
    assert found == [value]


@pytest.mark.parametrize("source", MORE_CELLS)
def test_cells_of_a_source_are_what_it_prints(published: list[Row], source: str) -> None:
    for line in MORE_CELLS[source].strip().splitlines():
        method, epochs, dataset, protocol, metric, value = line.split()
        key = (source, method, epochs.strip("-"), dataset, protocol, metric)
        found = [
            row.value
            for row in published
            if (row.source, row.method, row.pretrain_epochs, row.dataset, row.protocol, row.metric) == key
        ]
        assert found == [float(value)], line


@pytest.mark.parametrize(("method", "arch", "value"), ARCHITECTURES)
def test_networks_of_table_6_are_told_apart(
    published: list[Row], method: str, arch: str, value: float
) -> None:
    found = [
        (row.value, row.pretrain_epochs)
        for row in published
        if (row.method, row.arch, row.protocol) == (method, arch, "mec-linear-architectures")
    ]
    assert found == [(value, "800" if arch == "resnet50" else "300")]


def test_enough_cells_were_typed_a_second_time() -> None:
    typed = sum(len(lines.strip().splitlines()) for lines in MORE_CELLS.values()) + len(ARCHITECTURES)
    assert typed >= 60
    assert set(TOTALS) - set(MORE_CELLS) == FIRST_SOURCES | {f"{MEC} Table 6, p. 9"}


def test_every_source_is_a_place_that_can_be_looked_up(published: list[Row]) -> None:
    for row in published:
        assert PLACE.fullmatch(row.source), row.source
    assert not PLACE.fullmatch("MEC Table 5")


def test_every_published_row_says_how_it_came_about(published: list[Row]) -> None:
    for row in published:
        assert row.protocol in PROTOCOLS, row
        assert row.reported in REPORTED, row
        assert row.selection == "unknown", row  # no paper says which epoch it reports
        if row.protocol.startswith("original-") and row.reported != "quoted":
            assert row.source == f"{MEC} Table 7, p. 17", row  # which sets MEC beside quoted numbers


@pytest.mark.parametrize(
    ("source", "method", "reported"),
    [
        (f"{MEC} Table 1, p. 6", "mec", {"own"}),
        (f"{MEC} Table 1, p. 6", "simsiam", {"quoted"}),  # SimSiam's Table 4
        (f"{MEC} Table 1, p. 6", "barlow-twins", {"unknown"}),
        (f"{MEC} Table 2, p. 6", "dino", {"unknown"}),
        (f"{MEC} Table 3, p. 6", "barlow-twins", {"quoted", "unknown"}),  # its VOC07 numbers are nowhere else
        (f"{MEC} Table 4, p. 8", "byol", {"unknown"}),
        (f"{MEC} Table 7, p. 17", "dino", {"quoted"}),
        ("SimSiam (arXiv 2011.10566) Table C.1", "byol", {"own", "quoted"}),
        ("VICReg (arXiv 2105.04906) Table 2", "barlow-twins", {"own"}),
        ("public leaderboard page of arXiv 2210.11464", "mec", {"quoted"}),
    ],
)
def test_who_measured_a_number_is_kept(
    published: list[Row], source: str, method: str, reported: set[str]
) -> None:
    assert {row.reported for row in published if (row.source, row.method) == (source, method)} == reported


def test_spreads_are_those_that_the_sources_state(published: list[Row]) -> None:
    spreads = Counter((row.protocol, row.metric, row.std) for row in published if row.std is not None)
    assert spreads == {
        ("moco-linear", "top1", 0.2): 1,  # MoCo v1, 60.8 ± 0.2
        ("moco-linear", "top1", 0.1): 1,  # MoCo v2, 67.5 ± 0.1
        ("moco-faster-rcnn-c4-24k", "box_ap50", 0.2): 4,
        ("moco-faster-rcnn-c4-24k", "box_ap", 0.2): 4,
        ("moco-faster-rcnn-c4-24k", "box_ap75", 0.4): 4,
    }


def test_every_variant_is_published_and_its_method_known(published: list[Row]) -> None:
    assert set(VARIANTS) <= {row.method for row in published}
    assert {variant.study for variant in VARIANTS.values()} == set(STUDIES)
    for variant in VARIANTS.values():
        assert variant.method in {row.method for row in published} - set(VARIANTS)


def test_the_default_of_each_study_is_the_100_epoch_number(published: list[Row]) -> None:
    """Every ablation of Table 5 contains the unvaried model, 70.6."""
    defaults = [
        row.value
        for row in published
        if row.source.startswith(f"{MEC} Table 5(")
        and row.method in VARIANTS
        and VARIANTS[row.method].default
    ]
    assert defaults == [70.6] * 5  # (b) to (f)


@pytest.mark.parametrize("task", METHODS)
def test_published_methods_are_those_of_the_table(published: list[Row], task: str) -> None:
    found = {row.method for row in published if row.task == task and row.source in FIRST_SOURCES}
    assert found == METHODS[task]


def test_published_top5_and_ap_are_ordered(published: list[Row]) -> None:
    """Within a line top-5 >= top-1 and AP50 >= AP: a slip of a column would break it."""
    values = {
        (row.source, row.method, row.pretrain_epochs, row.dataset, row.protocol, row.metric): row.value
        for row in published
    }
    pairs = 0
    for (*line, metric), value in values.items():
        for lower, upper in (("top1", "top5"), ("box_ap", "box_ap50"), ("mask_ap", "mask_ap50")):
            above = values.get((*line, upper)) if metric == lower else None  # type: ignore[arg-type]
            if above is not None and value is not None:
                assert above >= value, (line, lower, value, upper, above)
                pairs += 1
    mec = 7 * 2 + 9 * 3 + 9  # Table 2; Table 3 boxes; Table 3 masks
    linear = 3 + 2 + 2 + 1  # VICReg, Barlow Twins, BYOL, Barlow Twins' README
    semisup = (3 + 2 + 2) * 2  # BYOL, Barlow Twins, VICReg
    detect = 4 * 4 + 5 * 3 + 4 + 1  # SimSiam, Barlow Twins, MoCo README, MoCo v1
    assert pairs == mec + linear + semisup + detect


def test_every_committed_row_is_sound_and_names_no_absolute_path() -> None:
    for path in find_results(RESULTS_DIR / "measured"):
        for place, row in read_placed_rows(path):
            words = row.source.replace("=", " ").split()
            assert not [word for word in words if word.startswith("/")], f"{place}: {row.source}"
            assert row.backbone_sha256, f"{place}: measured with which backbone?"
            assert row.hardware, f"{place}: measured on what?"
