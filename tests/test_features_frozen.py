"""Features are the backbone's own, of pixels as its header asks, and the backbone does not move."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from classify_images import make_backbone, write_digits
from PIL import Image
from torch import nn
from torchvision import transforms

from transfer.backbone.contract import BackboneInfo, build_resnet
from transfer.classify.features import (
    Encoder,
    FeatureBatches,
    assert_frozen,
    build_encoder,
    extract_features,
    layer_dims,
    predict_split,
)
from transfer.classify.knn import Config
from transfer.data.batches import train_batches
from transfer.data.folders import read_split
from transfer.data.images import Images, eval_transform
from transfer.ranks import World


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
    "key",
    ["layer3.1.bn2.running_mean", "layer1.0.bn1.running_var", "layer4.0.conv1.weight", "bn1.bias"],
)
def test_frozen_check_sees_the_smallest_step_of_one_number(tmp_path: Path, key: str) -> None:
    backbone = make_backbone(tmp_path)
    model = build_resnet(backbone)
    number = model.state_dict()[key].view(-1)[:1]
    number.copy_(torch.nextafter(number, torch.tensor([torch.inf])))
    with pytest.raises(ValueError, match=rf"1 tensors moved, such as \['{key}'\]"):
        assert_frozen(model, backbone.state)


def test_frozen_check_sees_a_counter_and_a_sign_of_zero(tmp_path: Path) -> None:
    backbone = make_backbone(tmp_path)
    model = build_resnet(backbone)
    model.state_dict()["layer1.0.bn1.num_batches_tracked"] += 1
    bias = model.state_dict()["bn1.bias"]
    assert not bias.any()
    bias.neg_()  # -0.0: equal as a number
    with pytest.raises(ValueError, match=r"2 tensors moved, such as \['bn1.bias', 'layer1.0.bn1.num_b"):
        assert_frozen(model, backbone.state)


def test_layers_are_averages_of_the_stages_in_one_pass(tmp_path: Path) -> None:
    backbone = make_backbone(tmp_path)
    layers = ("layer1", "layer3", "avgpool")
    encoder = build_encoder(backbone, torch.device("cpu"), layers)
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    seen = {}
    for name in ("layer1", "layer3", "layer4"):
        encoder.resnet.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output.mean((2, 3))})
        )
    with torch.no_grad():
        found = encoder(images)
        usual = build_encoder(backbone, torch.device("cpu"))(images)
    dims = layer_dims("resnet18", layers)
    assert dims == {"layer1": 64, "layer3": 256, "avgpool": 512}
    assert list(seen) == ["layer1", "layer3", "layer4"]
    torch.testing.assert_close(found, torch.cat([*seen.values()], dim=1))
    torch.testing.assert_close(found[:, -512:], usual, rtol=0.0, atol=0.0)


def test_unknown_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"layers: expected some of layer1, .*, found \['fc'\]"):
        build_encoder(make_backbone(tmp_path), torch.device("cpu"), ("avgpool", "fc"))


def test_cached_features_go_through_the_batches_of_images(tmp_path: Path) -> None:
    split = read_split(write_digits(tmp_path, 5, 1, num_classes=3), "train")
    config = config_for(tmp_path)
    config.batch_size = 7
    labels = torch.tensor(split.labels)
    for rank in range(2):
        world = World(rank, 2)
        images = train_batches(split, config, 0.5, world)
        cached = FeatureBatches(torch.arange(15.0)[:, None], labels, 7, config.seed, world)
        assert cached.batch_sizes == images.batch_sizes == [7, 8]
        orders = []
        for epoch in (3, 0, 3):
            images.set_epoch(epoch)
            cached.set_epoch(epoch)
            rows = list(cached)
            assert [labels[ids[:, 0].long()].tolist() for ids, _ in rows] == [y.tolist() for _, y in rows]
            assert [y.tolist() for _, y in rows] == [y.tolist() for _, y in images]
            orders.append(torch.cat([ids for ids, _ in rows]).flatten().tolist())
        assert orders[0] == orders[2] != orders[1]


def test_more_processes_than_images_are_refused(tmp_path: Path) -> None:
    split = read_split(write_digits(tmp_path, 1, 1, num_classes=2), "val")
    encoder = build_encoder(make_backbone(tmp_path), torch.device("cpu"))
    with pytest.raises(ValueError, match=r"val: 2 images cannot be shared by 3 processes"):
        predict_split(encoder, split, config_for(tmp_path), torch.device("cpu"), World(0, 3))


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
