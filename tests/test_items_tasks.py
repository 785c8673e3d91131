"""Tasks give what their numbers are means of: hits of images, scores of sequences."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sot_scene import FRAMEWORK_WARNINGS, write_sequence
from tiny_set import write_knn_config, write_tiny_set

from transfer import evaluate
from transfer.__main__ import main
from transfer.backbone.load import write_random
from transfer.report.items import IDENTITY, items_path, name_items, read_items
from transfer.report.rows import Measurement, read_rows

NAMES = [f"{label}/{i}.png" for label in ("bright", "dark") for i in range(3)]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    write_random(tmp_path / "b.safetensors", "resnet18", seed=1)
    config = write_knn_config(tmp_path / "knn.yaml", write_tiny_set(tmp_path / "set"), k=1)
    return ["knn", str(config), "--backbone", str(tmp_path / "b.safetensors"), "--out", str(tmp_path / "out")]


def test_a_run_leaves_its_items_beside_its_rows(command: list[str], tmp_path: Path) -> None:
    results = tmp_path / "out" / "results.csv"
    assert main(command) == 0
    rows = read_rows(results)
    found = read_items([results], rows)
    assert [key[IDENTITY.index("metric")] for key in found] == ["top1", "top5"]
    assert list(found.values()) == [name_items(NAMES, [1.0] * 6)] * 2
    assert {key[0] for key in found} == {"random"}


def test_a_failed_run_leaves_no_items_of_the_one_before(command: list[str], tmp_path: Path) -> None:
    results = tmp_path / "out" / "results.csv"
    assert main(command) == 0
    assert items_path(results).exists()
    assert main([*command, "data_dir=absent"]) == 1
    assert read_rows(results)[0].status.startswith("failed: ")
    assert not items_path(results).exists()


def test_items_that_contradict_their_number_fail_the_run(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(backbone: object, config: object, out: Path) -> list[Measurement]:
        items = name_items(NAMES, [1, 1, 1, 1, 0, 0])
        return [Measurement("tiny", "val", "knn-k1", "torch", "top1", 66.7, 6, items=items)]

    task = SimpleNamespace(Config=evaluate.importlib.import_module("transfer.classify.knn").Config, run=run)
    monkeypatch.setattr(evaluate.importlib, "import_module", lambda name: task)
    assert main(command) == 1
    (status,) = {row.status for row in read_rows(tmp_path / "out" / "results.csv")}
    assert status.startswith("failed: ValueError: values: their mean is 66.66666667, the row's top1 is 66.7")


@pytest.mark.mmtrack
class TestSequences:
    pytestmark = FRAMEWORK_WARNINGS

    def test_scores_of_sequences_average_to_mmtracks_own(self, tmp_path: Path) -> None:
        from mmtrack.datasets import build_dataset

        from transfer.track.mm.sot import METRICS, score_sequences
        from transfer.track.mm.sot_sequences import DATASET_TYPE, register_dataset

        register_dataset()
        write_sequence(tmp_path, "A")
        write_sequence(tmp_path, "B", num_frames=2)
        dataset = build_dataset(
            {
                "type": DATASET_TYPE,
                "img_prefix": str(tmp_path),
                "ann_file": str(tmp_path / "list.txt"),
                "pipeline": [],
                "split": "test",
                "test_mode": True,
            }
        )
        lefts = np.array([30, 32, 34, 40, 42])  # A exactly, B by half a box
        boxes = [np.array([left, 25, left + 20, 45, 0.9]) for left in lefts]
        scores = score_sequences(dataset, boxes)
        assert scores["success"] == pytest.approx([100 * 20 / 21, 100 * 7 / 21])
        assert scores["norm_precision"] == [100.0, 0.0]
        together = dataset.evaluate({"track_bboxes": boxes}, logger="silent")
        for metric in METRICS:
            assert np.mean(scores[metric]) == pytest.approx(together[metric], abs=5.1e-4)

    def test_a_dataset_with_an_evaluation_of_its_own_gives_no_items(self) -> None:
        from transfer.track.mm.sot import score_sequences

        class Other:
            def evaluate(self) -> None: ...

        assert score_sequences(Other(), []) == {}
