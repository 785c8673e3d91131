"""Each way a checkpoint can be wrong has its own message, and the way out is in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from layouts import FIXTURES, backbone_state
from torch import Tensor, nn

from transfer.backbone.load import load_source

State = dict[str, Tensor]


def saved(folder: Path, content: object) -> Path:
    torch.save(content, folder / "x.pth")
    return folder / "x.pth"


def below(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def trained() -> State:
    return backbone_state("resnet18", 0)


def test_two_layouts_that_fit_are_both_named_and_the_source_decides(tmp_path: Path) -> None:
    state = below("backbone.", trained()) | {"backbone.fc.0.weight": torch.ones(2, 512)}
    path = saved(tmp_path, {"state_dict": state, "meta": {"epoch": 7}})
    with pytest.raises(ValueError, match=r"2 layouts fit: simclr .*openmmlab .*choose with --source"):
        load_source(path)
    assert load_source(path, "simclr").info.method == "simclr"
    assert load_source(path, "openmmlab").info.pretrain_epochs == "7"
    with pytest.raises(ValueError, match=r"no backbone found: .* in mec"):
        load_source(path, "mec")


def test_an_unknown_part_is_refused_until_it_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, {"state_dict": {**trained(), "my_head.weight": torch.ones(3)}})
    with pytest.raises(
        ValueError, match=r"1 tensors belong to no known part .*my_head.weight(.|\n)*--ignore"
    ):
        load_source(path)
    backbone = load_source(path, ignore=["state_dict/my_head."])
    assert backbone.origin is not None
    assert backbone.origin.ignored == ("state_dict/my_head.",)
    with pytest.raises(ValueError, match=r"--ignore state_dict/your_head\. names no tensor"):
        load_source(path, ignore=["state_dict/my_head.", "state_dict/your_head."])


def test_a_branch_that_is_not_in_the_file_is_refused(tmp_path: Path) -> None:
    path = FIXTURES["moco-v2-released"].write(tmp_path, "resnet18")
    with pytest.raises(ValueError, match="no tensor of this branch in the file; it has 'online'"):
        load_source(path, branch="target")


def test_a_module_that_is_there_twice_must_be_the_same(tmp_path: Path) -> None:
    content = torch.load(FIXTURES["openselfsup"].write(tmp_path, "resnet18"), weights_only=True)
    key = "backbone.layer3.0.bn1.running_mean"
    content["state_dict"][key] = content["state_dict"][key] + 1e-3
    with pytest.raises(ValueError, match=rf"{key} should repeat a tensor"):
        load_source(saved(tmp_path, content))


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_wrappers_are_taken_off_a_whole_container_only(tmp_path: Path, wrapper: str) -> None:
    state = below(wrapper, trained())
    assert load_source(saved(tmp_path, state)).info.arch == "resnet18"
    state["conv1.weight"] = state[f"{wrapper}conv1.weight"]
    with pytest.raises(ValueError, match="belong to no known part"):
        load_source(saved(tmp_path, state))


def test_a_tensor_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = FIXTURES["detectron2-trained"].write(tmp_path, "resnet18")
    content = torch.load(path, weights_only=True)
    content["model"]["backbone.stem.conv1.weight"] = content["model"]["backbone.bottom_up.stem.conv1.weight"]
    with pytest.raises(ValueError, match=r"conv1.weight is already there; a tensor is in the file twice"):
        load_source(saved(tmp_path, content))
    flat = {"state_dict/conv1.weight": torch.ones(1), "state_dict": {"conv1.weight": torch.ones(1)}}
    with pytest.raises(ValueError, match=r"two tensors are called state_dict/conv1\.weight"):
        load_source(saved(tmp_path, flat))


def change(key: str, function: Callable[[Tensor], Tensor | None]) -> Callable[[State], None]:
    def apply(state: State) -> None:
        new = function(state.pop(key))
        if new is not None:
            state[key] = new

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change("layer2.0.conv1.weight", lambda t: None), r"missing layer2.0.conv1.weight"),
        (change("layer2.0.conv1.weight", lambda t: t[:, :5]), r"layer2.0.conv1.weight: expected shape"),
        (change("bn1.bias", lambda t: t.fill_(float("nan"))), r"bn1.bias: holds NaN or infinity"),
        (change("bn1.bias", lambda t: t * float("inf")), r"bn1.bias: holds NaN or infinity"),
        (
            change("bn1.bias", lambda t: t.double()),
            r"bn1.bias: expected float32 weights, found torch.float64",
        ),
        (change("bn1.bias", lambda t: t.to_sparse()), r"bn1.bias: expected a plain tensor"),
        (change("bn1.bias", lambda t: t.to(torch.complex64)), r"found torch.complex64"),
        (change("bn1.num_batches_tracked", lambda t: t.float()), r"expected an integer, found torch.float32"),
        (change("bn1.num_batches_tracked", lambda t: None), r"missing bn1.num_batches_tracked"),
        (change("conv1.weight", lambda t: t[:32]), r"no supported ResNet has .*stem of .32, 3, 7, 7"),
        (change("layer1.0.conv2.weight", lambda t: t[0]), r"no ResNet: expected the convolutions"),
    ],
)
def test_a_damaged_tensor_is_named(tmp_path: Path, damage: Callable[[State], None], message: str) -> None:
    state = trained()
    assert load_source(saved(tmp_path, state)).info.arch == "resnet18"  # the control
    damage(state)
    with pytest.raises(ValueError, match=message):
        load_source(saved(tmp_path, state))


def test_half_precision_is_widened_and_said(tmp_path: Path) -> None:
    state = {key: value.half() if value.is_floating_point() else value for key, value in trained().items()}
    backbone = load_source(saved(tmp_path, state))
    assert backbone.origin is not None
    assert backbone.origin.changes == ("100 half-precision tensors widened to float32",)
    assert torch.equal(backbone.state["conv1.weight"], state["conv1.weight"].float())


def test_a_file_that_names_another_network_than_its_own_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {"arch": "resnet50", "state_dict": trained()})
    with pytest.raises(ValueError, match=r"the file says arch 'resnet50', the shapes .* say 'resnet18'"):
        load_source(path)
    assert load_source(saved(tmp_path, {"arch": "resnet18", "state_dict": trained()})).info.arch == "resnet18"


def test_an_initialisation_is_refused_and_one_counted_step_is_not(tmp_path: Path) -> None:
    state = trained()
    for key, value in state.items():
        if key.endswith(("running_mean", "num_batches_tracked")):
            value.zero_()
    with pytest.raises(ValueError, match="the weights are an initialisation"):
        load_source(saved(tmp_path, state))
    state["layer4.1.bn2.num_batches_tracked"].fill_(1)
    assert load_source(saved(tmp_path, state)).info.arch == "resnet18"


def test_solo_learns_cifar_stem_is_refused_because_its_padding_differs(tmp_path: Path) -> None:
    path = FIXTURES["solo-learn"].write(tmp_path, "resnet18-cifar")
    with pytest.raises(ValueError, match="pads its 3x3 stem by 2 pixels"):
        load_source(path)
    assert load_source(FIXTURES["simsiam"].write(tmp_path, "resnet18-cifar")).info.arch == "resnet18-cifar"
    # The reason: equal weights, other features.
    weight, images = backbone_state("resnet18-cifar", 0)["conv1.weight"], torch.randn(1, 3, 32, 32)
    ours, theirs = (nn.functional.conv2d(images, weight, padding=padding) for padding in (1, 2))
    assert ours.shape != theirs.shape


def test_a_whole_pickled_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"names torch.nn.modules.linear.Linear.* save its state_dict\(\)"):
        load_source(saved(tmp_path, nn.Linear(2, 2)))
