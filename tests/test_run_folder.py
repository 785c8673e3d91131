"""What a run removes from its folder before and after: its own files, and no other's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from classify_images import SETTINGS, make_backbone, write_digits

from transfer.__main__ import main
from transfer.run_folder import prepare_folder, remove_checkpoints

OWN = ("linear.pt", "point-0.pt", "point-12.pt", "final.pt", ".point-3.pt.4711", ".linear.pt.7")
OTHERS = ("checkpoint_00000100-0123abcd.pt", "resnet50.pt", "mypoint-1.pt", "labels.csv", "notes.txt")


def fill(out: Path) -> None:
    out.mkdir(exist_ok=True)
    for name in (*OWN, *OTHERS):
        (out / name).write_text("x")


def names(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def test_only_checkpoints_of_the_tasks_are_removed(tmp_path: Path) -> None:
    fill(tmp_path)
    prepare_folder(tmp_path, "linear", "a key")
    assert names(tmp_path) == {*OTHERS, "resume.txt"}
    fill(tmp_path)
    prepare_folder(tmp_path, "linear", "a key")  # the same run goes on
    assert names(tmp_path) == {*OWN, *OTHERS, "resume.txt"}
    prepare_folder(tmp_path, "linear", "another key")
    assert names(tmp_path) == {*OTHERS, "resume.txt"}
    fill(tmp_path)
    remove_checkpoints(tmp_path, "linear")
    assert names(tmp_path) == set(OTHERS)


DETECTION_OWN = (
    *("model_0004999.pth", "last_checkpoint", ".model_0004999.pth.17", ".last_checkpoint.17"),
    *("search/lr-0.02/model_0000099.pth", "search/lr-0.02/.model_0000199.pth.3"),
)
DETECTION_RECORDS = (
    *("model_final.pth", "metrics.json", "events.out.tfevents.1.host", "selection.csv", "holdout/rest.json"),
    *("search/lr-0.02/scores.json", "search/lr-0.02/model_final.pth", "predictions_val/set.json"),
)
DETECTION_OTHERS = (
    "linear.pt",
    "my_model.pth",
    "model_best.pth",
    "search/notes.txt",
    "predictions_val/mine.png",
)


def test_a_detector_keeps_its_last_weights_until_another_run(tmp_path: Path) -> None:
    def fill_and(act: Callable[[], None]) -> set[str]:
        for name in (*DETECTION_OWN, *DETECTION_RECORDS, *DETECTION_OTHERS):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        act()
        return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}

    others, records = set(DETECTION_OTHERS), set(DETECTION_RECORDS)
    assert fill_and(lambda: prepare_folder(tmp_path, "detect", "a key")) == others | {"resume.txt"}
    everything = {*DETECTION_OWN, *records, *others, "resume.txt"}
    assert fill_and(lambda: prepare_folder(tmp_path, "detect", "a key")) == everything
    assert fill_and(lambda: prepare_folder(tmp_path, "detect", "another key")) == others | {"resume.txt"}
    assert fill_and(lambda: remove_checkpoints(tmp_path, "detect")) == others | records


MOT_OWN = ("detector/iter_40.pth", "detector/latest.pth", "tracker/epoch_1.pth", "reid/.epoch_2.pth.17")
MOT_RECORDS = (
    *("detector.pth", "reid.json", "tracker/key.txt", "tracker/train.log", "tracker/train.log.json"),
    *("backbone.pth", "results.json", "tracks/scores.json", "tracks/track/A.txt", "data/train.json"),
)
MOT_OTHERS = ("my.pth", "detector/mine.pth", "backbone.safetensors", "data/notes.json", "linear.pt")


@pytest.mark.parametrize("task", ["mot", "vis"])
def test_a_tracker_keeps_its_last_weights_until_another_run(task: str, tmp_path: Path) -> None:
    def fill_and(act: Callable[[], None]) -> set[str]:
        for name in (*MOT_OWN, *MOT_RECORDS, *MOT_OTHERS):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if path.name == "latest.pth":
                path.symlink_to("iter_40.pth")  # as mmcv does
            else:
                path.write_text("x")
        act()
        return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir()}

    others, records = set(MOT_OTHERS), set(MOT_RECORDS)
    assert fill_and(lambda: prepare_folder(tmp_path, task, "a key")) == others | {"resume.txt"}
    everything = {*MOT_OWN, *records, *others, "resume.txt"}
    assert fill_and(lambda: prepare_folder(tmp_path, task, "a key")) == everything
    assert fill_and(lambda: prepare_folder(tmp_path, task, "another key")) == others | {"resume.txt"}
    assert fill_and(lambda: remove_checkpoints(tmp_path, task)) == others | records


TASKS = {
    "sweep": ("linear", "protocol: linear-cached-sgd\naugment: false\noptimiser: sgd\nlrs: [0.1, 0.5]\n"
              "epochs: 1\nholdout: 0.2\n", {"holdout.txt", "selection.csv", "predictions.npz"}),
    "semisup": ("semisup", "protocol: semisup-ft\nlabel_fraction: 0.5\nepochs: 1\n",
                {"labels.txt", "predictions.npz"}),
    "fewshot": ("fewshot", "protocol: fewshot-5\ndraws: 2\n", {"draws.csv"}),
    "knn": ("knn", "protocol: knn\nks: [3, 5]\n", {"predictions-knn-k3.npz", "predictions-knn-k5.npz"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("left")
    write_digits(made / "digits", 5, 2, num_classes=3)
    make_backbone(made)
    return made


def test_what_a_task_leaves_is_that_of_the_last_run(folder: Path) -> None:
    always = {"results.csv", "items.csv", "config.yaml", "run.json", "code.diff"}
    out = folder / "out"
    for name in ("sweep", "semisup", "fewshot", "knn", "sweep"):
        task, settings, left = TASKS[name]
        path = folder / f"{name}.yaml"
        path.write_text(SETTINGS.format(data_dir=folder / "digits") + settings)
        command = [task, str(path), "--backbone", str(folder / "backbone.safetensors"), "--out", str(out)]
        assert main(command) == 0
        assert names(out) - always == left
