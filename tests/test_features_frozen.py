"""Features are the backbone's own, of pixels as its header asks, and the backbone does not move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from classify_images import make_backbone, write_digits
from PIL import Image
from sklearn.metrics import top_k_accuracy_score
from torch import nn
from torchvision import transforms

from transfer.backbone.contract import BackboneInfo, build_resnet
from transfer.classify.features import Encoder, assert_frozen, extract_features, top_k_hits
from transfer.classify.knn import Config
from transfer.data.folders import read_split
from transfer.data.images import Images, eval_transform


def config_for(data_dir: Path) -> Config:
    return Config(dataset="digits", protocol="knn-k20", data_dir=str(data_dir), resize_size=40, image_size=32)


def test_features_equal_torchvision_on_each_image_alone(tmp_path: Path) -> None:
    data_dir = write_digits(tmp_path / "digits", 1, 2, num_classes=3)
    backbone = make_backbone(tmp_path)
    split = read_split(data_dir, "val")
    [(features, labels)] = extract_features(backbone, [split], config_for(data_dir))

    prepare = transforms.Compose(
        [
            transforms.Resize(40),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    model = build_resnet(backbone)
    with torch.no_grad():
        expected = torch.cat(
            [model(prepare(Image.open(split.split_dir / name).convert("RGB"))[None]) for name in split.names]
        )
    assert features.shape == (6, 512)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_pixels_are_fed_in_the_order_of_the_header(order: str) -> None:
    info = BackboneInfo("", "resnet18", "", "", "", "", "", "", order, "0.2,0.2,0.25", "0.1,0.1,0.2")
    pixel = torch.tensor([255, 153, 140], dtype=torch.uint8).view(1, 3, 1, 1)
    # RGB: (1.0 - 0.2) / 0.1, (0.6 - 0.2) / 0.1, (140/255 - 0.25) / 0.2
    expected_rgb = [8.0, 4.0, (140 / 255 - 0.25) / 0.2]
    expected_bgr = [(140 / 255 - 0.2) / 0.1, 4.0, (1.0 - 0.25) / 0.2]
    found = Encoder(nn.Identity(), info)(pixel).flatten()
    torch.testing.assert_close(found, torch.tensor(expected_rgb if order == "RGB" else expected_bgr))


def test_cached_pixels_are_the_decoded_ones(tmp_path: Path) -> None:
    split = read_split(write_digits(tmp_path, 2, 1, num_classes=2), "train")
    transform = eval_transform(32, 32)
    plain, cached = Images(split, transform, cache=False), Images(split, transform, cache=True)
    for index in range(4):
        assert torch.equal(plain[index][0], cached[index][0])
        assert plain[index][1] == cached[index][1]
    assert plain[0][0].dtype == torch.uint8
    assert plain[0][0].shape == (3, 32, 32)
    assert not torch.equal(plain[0][0], plain[1][0])  # not all images alike


def test_unreadable_image_is_named(tmp_path: Path) -> None:
    split = read_split(write_digits(tmp_path, 2, 1, num_classes=2), "train")
    (split.split_dir / split.names[1]).write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"digit0_1\.png: not a readable image"):
        Images(split, eval_transform(32, 32), cache=True)


def test_frozen_check_passes_on_the_backbone_itself(tmp_path: Path) -> None:
    backbone = make_backbone(tmp_path)
    assert_frozen(build_resnet(backbone), backbone.state)


@pytest.mark.parametrize(
    "key", ["layer3.1.bn2.running_mean", "layer1.0.bn1.num_batches_tracked", "layer4.0.conv1.weight"]
)
def test_frozen_check_names_the_one_tensor_that_moved(tmp_path: Path, key: str) -> None:
    backbone = make_backbone(tmp_path)
    model = build_resnet(backbone)
    moved = model.state_dict()[key]
    moved.view(-1)[0] += 1
    with pytest.raises(ValueError, match=rf"1 tensors moved, such as \['{key}'\]"):
        assert_frozen(model, backbone.state)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_top_k_agrees_with_scikit_learn(k: int) -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(200, 8))
    labels = generator.integers(0, 8, size=200)
    expected = top_k_accuracy_score(labels, scores, k=k, labels=range(8)) * 100
    hits = top_k_hits(torch.tensor(scores), torch.tensor(labels), k)
    assert hits.double().mean().item() * 100 == pytest.approx(expected)


def test_top_k_gives_a_constant_model_nothing() -> None:
    assert not top_k_hits(torch.zeros(4, 10), torch.tensor([0, 1, 2, 9]), 5).any()


def test_top_k_refuses_scores_that_are_not_numbers() -> None:
    scores = torch.tensor([[0.0, float("nan")], [1.0, 0.0]])
    with pytest.raises(ValueError, match="NaN"):
        top_k_hits(scores, torch.tensor([0, 0]), 1)


def test_logits_have_full_precision_under_bf16() -> None:
    from transfer.classify.loop import Classifier

    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 8))
    model = Classifier(encoder, torch.nn.Linear(8, 4), frozen=True).eval()  # type: ignore[arg-type]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.rand(64, 3, 2, 2))
        half = model.head(model.encoder(torch.rand(64, 3, 2, 2)))
    assert logits.dtype == torch.float32
    assert half.dtype == torch.bfloat16  # what the head alone would give
    assert not torch.equal(logits, logits.bfloat16().float())
