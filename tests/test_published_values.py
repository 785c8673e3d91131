"""results/published.csv against MEC's Tables 1 to 4 (arXiv 2210.11464), typed a second time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from transfer.report.rows import Row, read_placed_rows, read_rows

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


@pytest.fixture(scope="module")
def published() -> list[Row]:
    return list(read_rows(RESULTS_DIR / "published.csv"))


def test_published_totals_are_those_of_the_four_tables(published: list[Row]) -> None:
    totals = Counter(row.source for row in published)
    assert totals.pop("public leaderboard page of arXiv 2210.11464 (a value that is not in the paper)") == 2
    assert totals == {
        "MEC (arXiv 2210.11464) Table 1, p. 6": 7 * 4,  # methods x pre-training lengths
        "MEC (arXiv 2210.11464) Table 2, p. 6": 7 * 4,  # methods x (1 %, 10 %) x (top-1, top-5)
        "MEC (arXiv 2210.11464) Table 3, p. 6": 9 * 12,  # methods x (VOC07, VOC07+12, COCO box, mask) x 3
        "MEC (arXiv 2210.11464) Table 4, p. 8": 13 * 9 * 2,  # methods x metrics x (layer3, layer4)
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
    ]
    assert found == [value]


@pytest.mark.parametrize("task", METHODS)
def test_published_methods_are_those_of_the_table(published: list[Row], task: str) -> None:
    assert {row.method for row in published if row.task == task} == METHODS[task]


def test_published_top5_and_ap_are_ordered(published: list[Row]) -> None:
    """Within a line top-5 >= top-1 and AP50 >= AP: a slip of a column would break it."""
    values = {
        (row.method, row.pretrain_epochs, row.dataset, row.protocol, row.metric): row.value
        for row in published
    }
    pairs = 0
    for (*line, metric), value in values.items():
        for lower, upper in (("top1", "top5"), ("box_ap", "box_ap50"), ("mask_ap", "mask_ap50")):
            above = values.get((*line, upper)) if metric == lower else None  # type: ignore[arg-type]
            if above is not None and value is not None:
                assert above >= value, (line, lower, value, upper, above)
                pairs += 1
    assert pairs == 7 * 2 + 9 * 3 + 9  # Table 2; Table 3 boxes; Table 3 masks


def test_every_committed_row_is_sound_and_names_no_absolute_path() -> None:
    for path in sorted(RESULTS_DIR.glob("measured/*.csv")):
        for place, row in read_placed_rows(path):
            words = row.source.replace("=", " ").split()
            assert not [word for word in words if word.startswith("/")], f"{place}: {row.source}"
            assert row.backbone_sha256, f"{place}: measured with which backbone?"
            assert row.hardware, f"{place}: measured on what?"
