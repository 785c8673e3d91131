"""Fine-tuning trains everything, on the chosen labels only, however few they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from classify_images import make_backbone, write_digits
from finetune_scene import semisup_config

from transfer.backbone.contract import Backbone
from transfer.classify import semisup
from transfer.classify.features import build_encoder
from transfer.classify.loop import Classifier, build_head, build_optimiser, fit
from transfer.data.batches import train_batches
from transfer.data.folders import read_split

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"), 12, 4)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return make_backbone(tmp_path_factory.mktemp("backbone"))


def test_fine_tuning_moves_every_tensor(data_dir: Path, backbone: Backbone) -> None:
    encoder = build_encoder(backbone, CPU)
    head = build_head(512, 10, feature_norm=False)
    # trained before the backbone: through a classifier near zero hardly any gradient flows back
    torch.nn.init.normal_(head[0].weight)
    model = Classifier(encoder, head, frozen=False)
    optimiser = build_optimiser([{"params": list(model.parameters()), "lr": 0.1}], "sgd", 0.9, 0.0)
    batches = train_batches(read_split(data_dir, "train"), semisup_config(data_dir), 0.8)
    fit(model, batches, optimiser, [1.0], CPU)
    after = encoder.resnet.state_dict()
    assert after.keys() == backbone.state.keys()
    assert [key for key in after if torch.equal(after[key], backbone.state[key])] == []


def test_run_learns_digits_and_lists_its_labels(data_dir: Path, backbone: Backbone, tmp_path: Path) -> None:
    top1, top5 = semisup.run(backbone, semisup_config(data_dir), tmp_path)
    assert (top1.dataset, top1.split, top1.protocol) == ("digits-10pct", "val", "semisup-ft")
    assert (top1.n, top1.selection) == (40, "last")
    assert top1.value is not None
    assert top5.value is not None
    assert 40.0 < top1.value <= top5.value  # chance is 10
    assert len((tmp_path / "labels.txt").read_text().splitlines()) == 120


def test_run_with_one_label_a_class_repeats_exactly(
    data_dir: Path, backbone: Backbone, tmp_path: Path
) -> None:
    # 10 labelled images in batches of 9: the last batch would hold one image
    config = semisup_config(data_dir, label_fraction=0.01, batch_size=9, epochs=2)
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    rows = list(semisup.run(backbone, config, first))
    assert len((first / "labels.txt").read_text().splitlines()) == 10
    assert list(semisup.run(backbone, config, second)) == rows


def test_run_reads_a_fixed_list(data_dir: Path, backbone: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("".join(f"digit{label}_0.png\n" for label in range(10)))
    config = semisup_config(data_dir, label_fraction=None, subset_list=str(path), epochs=1)
    list(semisup.run(backbone, config, tmp_path))
    expected = [f"digit{label}/digit{label}_0.png" for label in range(10)]
    assert (tmp_path / "labels.txt").read_text().splitlines() == expected


@pytest.mark.parametrize("given", [{"label_fraction": None}, {"label_fraction": 0.1, "subset_list": "x.txt"}])
def test_labels_come_from_exactly_one_place(
    data_dir: Path, backbone: Backbone, tmp_path: Path, given: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match="exactly one of label_fraction and subset_list"):
        list(semisup.run(backbone, semisup_config(data_dir, **given), tmp_path))


def test_an_image_alone_would_stop_batch_normalisation(backbone: Backbone) -> None:
    encoder = build_encoder(backbone, CPU).train()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        encoder(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    assert encoder(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 512)
