"""Every classification config loads against its task and is the published protocol that it names.

The two tables below were typed from the papers and the released code, not from the configurations.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transfer.evaluate import check_protocol, load_config
from transfer.report.appendix import IMAGE_SETS
from transfer.report.protocols import PROTOCOLS
from transfer.tasks import TASKS

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "configs" / "classify"
# Those of the supervised baselines are no task's: tests/test_supervised.py.
CONFIGS = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.startswith("supervised_"))
NEEDS_A_SET = {  # which set they are about comes from the command line
    name: ["dataset=food101", "layout=food101", "metric=top1"]
    for name in ("linear_many_shot", "finetune_many_shot")
}
NAMES = {"imagenet": "imagenet-1k", "voc07": "voc07-classification"}  # in file names -> in rows

# Linear probe on ImageNet. MEC's paper states neither the rate nor the norm of features: its code's.
LINEAR_KEYS = (
    *("optimiser", "base_lr", "scale_lr", "batch_size", "epochs", "schedule", "weight_decay", "feature_norm"),
    *("momentum", "min_scale", "milestones"),
)
LINEAR: dict[str, tuple[Any, ...]] = {
    "mec": ("lars", 0.03, True, 4096, 100, "cosine", 0.0, True, 0.9, 0.08, []),
    "mec_code": ("lars", 0.03, True, 4096, 100, "cosine", 0.0, True, 0.9, 0.08, []),
    "simsiam": ("lars", 0.02, True, 4096, 90, "cosine", 0.0, False, 0.9, 0.08, []),
    "simsiam_code": ("lars", 0.1, True, 4096, 90, "cosine", 0.0, False, 0.9, 0.08, []),
    "barlow": ("sgd", 0.3, False, 256, 100, "cosine", 1e-6, False, 0.9, 0.08, []),
    "vicreg": ("sgd", 0.02, False, 256, 100, "cosine", 1e-6, False, 0.9, 0.2, []),
    "moco": ("sgd", 30.0, False, 256, 100, "step", 0.0, False, 0.9, 0.08, [60, 80]),
}
# Semi-supervised on ImageNet: weight decay 0 and momentum 0.9 everywhere.
SEMISUP_KEYS = (
    *("lr_backbone", "lr_head", "scale_lr", "batch_size", "epochs", "schedule", "nesterov"),
    *("milestones", "gamma"),
)
GRID = [0.01, 0.02, 0.05, 0.1, 0.005]
COSINE = ("cosine", True, [], 0.1)
SEMISUP: dict[str, tuple[Any, ...]] = {
    "1pct_mec": (0.05, 0.05, True, 1024, 50, *COSINE),
    "10pct_mec": (0.05, 0.05, True, 1024, 50, *COSINE),
    "1pct_simclr": (0.05, 0.05, True, 4096, 60, *COSINE),
    "10pct_simclr": (0.05, 0.05, True, 4096, 30, *COSINE),
    "1pct_barlow": (0.002, 0.5, False, 256, 20, "step", False, [12, 16], 0.2),
    "10pct_barlow": (0.002, 0.5, False, 256, 20, "step", False, [12, 16], 0.2),
    "1pct_barlow_code": (0.005, 0.5, False, 256, 20, "cosine", False, [], 0.1),
    "10pct_barlow_code": (0.005, 0.5, False, 256, 20, "cosine", False, [], 0.1),
    "1pct_vicreg": (0.03, 0.08, False, 256, 20, "cosine", False, [], 0.1),
    "10pct_vicreg": (0.01, 0.1, False, 256, 20, "cosine", False, [], 0.1),
}
LISTS = {
    "1": "71e82a48ba78252683ae334c4d019ebd5c6e855b9599c1389fbe83eb9549cf17",
    "10": "6d09de11e7bdaf5b1f3b1f249b6183695f97310cdd20f0c03e7235b6b9392091",
}


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEC_TRANSFER_DATA", "elsewhere")


def load(name: str, *overrides: str) -> Any:
    return load_config(TASKS[name.split("_")[0]], FOLDER / f"{name}.yaml", overrides)


def deviations(config: Any, keys: tuple[str, ...], published: tuple[Any, ...]) -> dict[str, tuple[Any, Any]]:
    """Key -> what the configuration has and what was published, where these differ."""
    found = {key: (getattr(config, key), value) for key, value in zip(keys, published, strict=True)}
    return {key: pair for key, pair in found.items() if pair[0] != pair[1]}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_complete(path: Path) -> None:
    task = path.stem.split("_")[0]
    config = load(path.stem, *NEEDS_A_SET.get(path.stem, []))
    check_protocol(task, config, path)
    if path.stem not in NEEDS_A_SET:
        name = path.stem.split("_")[1]
        assert config.dataset.removesuffix("-1pct").removesuffix("-10pct") == NAMES.get(name, name)
    text = path.read_text(encoding="utf-8")
    comment = re.split(r"^(?:base|dataset):", text, maxsplit=1, flags=re.MULTILINE)[0]
    for part in ("# Protocol: ", "# Hardware and time: ", "# Expected: "):
        assert part in comment
    assert "@" not in comment  # nothing left to fill in
    assert f"python -m transfer {task} configs/classify/{path.name} " in comment
    for other in re.findall(r"\b(?:linear|knn|semisup|finetune|fewshot)_\w+\.yaml", comment):
        assert (FOLDER / other).is_file(), other


def test_all_configs_are_found() -> None:
    kinds = {task: sum(path.stem.startswith(f"{task}_") for path in CONFIGS) for task in TASKS}
    assert {task: count for task, count in kinds.items() if count} == {
        "knn": 5, "linear": 32, "semisup": 30, "finetune": 13, "fewshot": 2,
    }  # fmt: skip


@pytest.mark.parametrize("name", LINEAR)
def test_linear_protocols_on_imagenet_are_the_published_ones(name: str) -> None:
    config = load(f"linear_imagenet_{name}")
    assert deviations(config, LINEAR_KEYS, LINEAR[name]) == {}
    assert (config.augment, config.layers, config.lrs, config.holdout) == (True, ["avgpool"], [], 0.0)
    assert (config.resize_size, config.image_size) == (256, 224)
    assert config.protocol == f"{name.replace('_', '-')}-linear"
    assert config.protocol in PROTOCOLS
    if config.schedule == "step":
        assert config.gamma == 0.1


def test_what_optimisers_see_is_what_was_published() -> None:
    # MEC's code 0.03 x 4096 / 256 = 0.48; SimSiam's paper 0.02 x 16 = 0.32 and code 0.1 x 16 = 1.6
    for name, lr in (("mec_code", 0.48), ("simsiam", 0.32), ("simsiam_code", 1.6)):
        config = load(f"linear_imagenet_{name}")
        assert config.base_lr * config.batch_size / 256 == pytest.approx(lr)
    # SimCLR's 0.05 x 4096 / 256 = 0.8
    simclr = load("semisup_imagenet_1pct_simclr")
    assert simclr.lr_head * simclr.batch_size / 256 == pytest.approx(0.8)


@pytest.mark.parametrize("name", SEMISUP)
def test_semisupervised_protocols_on_imagenet_are_the_published_ones(name: str) -> None:
    config = load(f"semisup_imagenet_{name}")
    assert deviations(config, SEMISUP_KEYS, SEMISUP[name]) == {}
    assert (config.lrs, config.lrs_backbone, config.lrs_head, config.epochs_grid) == ([], [], [], [])
    check_labels(name, config)


@pytest.mark.parametrize("name", ["1pct_byol", "10pct_byol"])
def test_byol_chooses_as_published_on_training_images(name: str) -> None:
    config = load(f"semisup_imagenet_{name}")
    assert (config.lrs, config.epochs_grid) == (GRID, [30, 50])
    assert (config.batch_size, config.nesterov, config.scale_lr) == (1024, True, True)
    chosen_on = (config.holdout_images, config.holdout_from, config.choose_on)
    assert chosen_on == (10_009, "unlabelled", "holdout")
    check_labels(name, config)


def check_labels(name: str, config: Any) -> None:
    percent, _, method = name.partition("pct_")
    assert config.subset_list == f"elsewhere/imagenet_subsets/{percent}percent.txt"
    assert config.subset_sha256 == LISTS[percent]
    assert config.label_fraction is None
    assert (config.weight_decay, config.momentum, config.feature_norm) == (0.0, 0.9, False)
    assert (config.resize_size, config.image_size, config.min_scale) == (256, 224, 0.08)
    assert config.protocol == f"{method.replace('_', '-')}-semisup"


def test_one_changed_key_is_found() -> None:
    config = load("linear_imagenet_simsiam")
    for key, value in (("base_lr", 0.1), ("feature_norm", True), ("weight_decay", 1e-6), ("epochs", 100)):
        assert list(deviations(replace(config, **{key: value}), LINEAR_KEYS, LINEAR["simsiam"])) == [key]
    config = load("semisup_imagenet_1pct_barlow")
    for key, value in (("lr_backbone", 0.005), ("schedule", "cosine"), ("milestones", [12]), ("gamma", 0.1)):
        assert list(deviations(replace(config, **{key: value}), SEMISUP_KEYS, SEMISUP["1pct_barlow"])) == [
            key
        ]


CIFAR_LINEAR = {"image_size", "resize_size", "min_scale", "batch_size", "base_lr", "epochs", "milestones"}
CIFAR_SEMISUP = {
    *("image_size", "resize_size", "min_scale", "batch_size", "scale_lr", "label_fraction"),
    *("subset_list", "subset_sha256", "holdout_images"),
}
WHERE = {
    *("dataset", "protocol", "data_dir", "archive", "val_split", "cache_images", "num_workers"),
}  # decides nothing about how a head is trained


@pytest.mark.parametrize(
    "name",
    [*(f"linear {n}" for n in LINEAR), *(f"semisup {n}" for n in (*SEMISUP, "1pct_byol", "10pct_byol"))],
)
def test_cifar_protocols_are_the_published_ones_but_for_what_their_comments_say(name: str) -> None:
    task, stem = name.split()
    published, made = load(f"{task}_imagenet_{stem}"), load(f"{task}_cifar10_{stem}")
    differ = {key for key in vars(made) if getattr(made, key) != getattr(published, key)} - WHERE
    assert differ <= (CIFAR_LINEAR if task == "linear" else CIFAR_SEMISUP)
    assert made.protocol == f"{published.protocol}-cifar10"
    text = (FOLDER / f"{task}_cifar10_{stem}.yaml").read_text().split("base:")[0]
    said = " ".join(line.removeprefix("#").strip() for line in text.splitlines())
    for key, words in (
        ("min_scale", "crops of at least 20 %"),
        ("batch_size", "batch "),
        ("epochs", "10 epochs"),
        ("base_lr", "base learning rate x 100"),
        ("scale_lr", "the base learning rate is used as it is"),
        ("holdout_images", "held-out images"),
        ("label_fraction", "stratified subset"),
    ):
        assert (words in said.split("Deviations: ")[1]) == (key in differ), key
    if task == "linear" and made.optimiser == "lars":
        assert made.base_lr == pytest.approx(100 * published.base_lr)


def test_training_from_scratch_sees_the_same_labels_as_fine_tuning() -> None:
    for percent in ("1pct", "10pct"):
        scratch, tuned = (load(f"semisup_cifar10_{percent}_{name}") for name in ("scratch", "mec"))
        for key in ("dataset", "label_fraction", "subset_seed", "subset_list", "image_size", "min_scale"):
            assert getattr(scratch, key) == getattr(tuned, key)


def test_the_sweep_has_24_heads_that_no_test_image_chooses() -> None:
    for name in ("linear_cifar10_sweep", "linear_mini_sweep"):
        config = load(name)
        assert len(config.lrs) * len(config.weight_decays) * len(config.layers) == 24
        assert (config.choose_on, config.holdout) == ("holdout", 0.1)


def test_many_shot_grids_are_evenly_spaced_as_published() -> None:
    config = load("linear_food101_many_shot")
    np.testing.assert_allclose(config.l2s, np.logspace(-6, 5, 45), rtol=1e-5)
    assert (config.optimiser, config.augment, config.feature_norm) == ("lbfgs", False, False)
    config = load("finetune_food101_many_shot")
    np.testing.assert_allclose(config.lrs, np.logspace(-4, -1, 7), rtol=1e-5)
    np.testing.assert_allclose(config.weight_decays, [0.0, *np.logspace(-6, -3, 7)], rtol=1e-5)
    assert (config.steps, config.batch_size, config.momentum, config.nesterov) == (20_000, 256, 0.9, True)
    assert config.weight_decay_over_lr
    assert config.bn_momentum_by_steps


def test_many_shot_configurations_are_the_eleven_sets_with_their_metrics() -> None:
    per_class = {"aircraft", "pets", "caltech101", "flowers"}
    for task in ("linear", "finetune"):
        found = [load(path.stem) for path in CONFIGS if re.fullmatch(rf"{task}_\w+_many_shot", path.stem)]
        assert {config.dataset for config in found} == set(IMAGE_SETS)
        for config in found:
            metric = "mean_per_class" if config.dataset in per_class else "top1"
            metric = "map_voc07" if config.dataset == "voc07-classification" else metric
            assert (config.layout, config.metric) == (config.dataset, metric)
            # Table 8's columns are `accuracy`, but for VOC's
            assert config.accuracy == (IMAGE_SETS[config.dataset][1] == "accuracy")
            assert config.protocol == f"mec-transfer-{task}"


def test_knn_configurations_ask_for_the_usual_numbers() -> None:
    for name in ("knn_imagenet", "knn_cifar10_ks", "knn_mini_ks"):
        config = load(name)
        assert (config.ks, config.k, config.temperature) == ([10, 20, 100, 200], None, 0.07)
        assert all(protocol in PROTOCOLS for protocol in config.protocols)
