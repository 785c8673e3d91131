"""Recipes as data: each resolves, and says what the paper, or the released code, says."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pretrain.config import Config, distortion, load_config, to_dict
from transfer.report.variants import VARIANTS

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "configs" / "pretrain"
BASE = RECIPES / "imagenet_resnet50_100ep.yaml"
ABLATIONS = sorted((RECIPES / "ablations").glob("*.yaml"))

# arch, epochs, batch, optimiser, base rate, weight decay, projector (layers, width), eps_d^2, expected top-1
STATED = {  # MEC (arXiv 2210.11464) App. B and C, Tables 1, 6 and 7; AdamW's settings are MoCo v3's
    "imagenet_resnet50_100ep": ("resnet50", 100, 1024, "sgd", 0.5, 1e-5, (3, 2048), 0.06, "70.6"),
    "imagenet_resnet50_100ep_authors": ("resnet50", 100, 1024, "sgd", 0.5, 1e-5, (3, 2048), 0.03125, "70.8"),
    "imagenet_resnet50_800ep": ("resnet50", 800, 4096, "lars", 0.3, 1.5e-6, (3, 2048), 0.06, "74.5"),
    "imagenet_resnet50_800ep_large_projector": (
        *("resnet50", 800, 4096, "lars", 0.3, 1.5e-6, (3, 8192), 0.06, "75.1"),
    ),
    "imagenet_resnet50_800ep_multicrop": (
        "resnet50",
        800,
        4096,
        "lars",
        0.3,
        1.5e-6,
        (3, 2048),
        0.06,
        "75.5",
    ),
    "imagenet_vit_small_300ep": (
        *("vit_small_patch16_224", 300, 4096, "adamw", 1.5e-4, 0.1, (3, 2048), 0.06, "73.4"),
    ),
    "imagenet_vit_base_300ep": (
        *("vit_base_patch16_224", 300, 4096, "adamw", 1.5e-4, 0.1, (3, 2048), 0.06, "76.5"),
    ),
    "cifar10_resnet18": ("resnet18-cifar", 600, 1024, "sgd", 0.03, 5e-4, (2, 2048), 0.06, "90"),
}
AUGMENTATION = {  # the released code's; parameters of BYOL and Barlow Twins
    "size": 224,
    "crop_scale": [0.2, 1.0],
    "jitter": [0.4, 0.4, 0.2, 0.1],
    "jitter_p": 0.8,
    "gray_p": 0.2,
    "blur_p": [1.0, 0.1],
    "solarize_p": [0.0, 0.2],
}
ABLATED = {  # Table 5, by study: the keys that may differ from the base
    "epochs": {"optim.epochs"},
    "batch": {"optim.batch_size"},
    "distortion": {"objective.eps_d_sq"},
    "momentum": {"model.momentum"},
    "order": {"objective.order"},
    "projector": {"model.projector_hidden_dim", "model.dim"},
    "symmetric": {"model.predictor"},
}


@pytest.fixture(autouse=True)
def data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEC_TRANSFER_DATA", "data")


def flat(config: Config) -> dict[str, object]:
    """The recipe by dotted key."""
    nested = to_dict(config)
    return {
        key if inner is None else f"{key}.{inner}": value
        for key, part in nested.items()
        for inner, value in (part.items() if isinstance(part, dict) else [(None, part)])
    }


def header(path: Path) -> dict[str, str]:
    """The opening comment's parts by their names: Protocol, Epsilon, Command, Hardware, Expected."""
    parts: dict[str, str] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        label, colon, rest = line.removeprefix("# ").partition(":")
        if colon and label.isalpha():
            name, line = label, rest
        parts[name] = f"{parts.get(name, '')} {line.lstrip('# ')}".strip()
    return parts


@pytest.mark.parametrize(
    "path",
    [*sorted(RECIPES.glob("*.yaml")), *ABLATIONS],
    ids=lambda path: path.relative_to(RECIPES).as_posix(),
)
def test_every_recipe_resolves_and_opens_with_what_it_is(path: Path) -> None:
    config = load_config(path)
    assert config.out == f"runs/pretrain/{path.relative_to(RECIPES).with_suffix('').as_posix()}"
    parts = header(path)
    assert parts.keys() == {"Protocol", "Epsilon", "Command", "Hardware", "Expected"}
    assert path.relative_to(ROOT).as_posix() in parts["Command"]
    stated = "released code's parametrisation" if config.objective.eps else "paper's parametrisation"
    assert parts["Epsilon"].startswith(f"the {stated}")
    if config.objective.eps is None:
        assert f"{config.objective.eps_d_sq:g}" in parts["Epsilon"]


@pytest.mark.parametrize("name", list(STATED))
def test_a_recipe_says_what_its_source_says(name: str) -> None:
    path = RECIPES / f"{name}.yaml"
    config = load_config(path)
    arch, epochs, batch, optimiser, rate, decay, projector, eps_d_sq, top1 = STATED[name]
    assert (config.model.arch, config.optim.epochs, config.optim.batch_size) == (arch, epochs, batch)
    assert (config.optim.name, config.optim.base_lr, config.optim.weight_decay) == (optimiser, rate, decay)
    assert (config.model.projector_layers, config.model.dim) == projector
    assert config.model.projector_hidden_dim == config.model.dim
    assert distortion(config) == eps_d_sq
    assert (config.objective.name, config.objective.order) == ("mec", 4)
    assert top1 in header(path)["Expected"].split()
    if name.startswith("imagenet"):
        assert {key: getattr(config.views, key) for key in AUGMENTATION} == AUGMENTATION
        assert (config.model.momentum, config.model.predictor_hidden_dim) == (0.996, 512)
        assert config.optim.momentum == 0.9
        assert config.objective.lambda_warmup_epochs == 10
    else:
        assert list(config.views.blur_p) == [0.0, 0.0]  # App. B: no blur


def test_only_multi_crop_has_small_crops() -> None:
    for path in (*RECIPES.glob("*.yaml"), *ABLATIONS):
        views = load_config(path).views
        assert views.small_crops == (6 if "multicrop" in path.stem else 0)
        if views.small_crops:
            assert views.small_size == 96
            assert views.small_scale[1] == views.crop_scale[0]  # they end where the large ones begin


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_an_ablation_differs_in_the_ablated_key_and_expects_the_published_number(path: Path) -> None:
    base, config = flat(load_config(BASE)), flat(load_config(path))
    study, _, setting = path.stem.partition("-")
    differing = {key for key in base if config[key] != base[key]} - {"out"}
    assert differing == ABLATED[study]
    for key in differing:
        assert config[key] == (float(setting) if setting else False)
    method, epochs = (f"mec-{path.stem}", "100") if study != "epochs" else ("mec", setting)
    assert study == "epochs" or method in VARIANTS
    assert f"probe {published(method, epochs)} top-1" in header(path)["Expected"]


def published(method: str, epochs: str) -> str:
    """Table 5's number in the results of the papers."""
    with (ROOT / "results" / "published.csv").open(newline="", encoding="utf-8") as handle:
        found = {
            row["value"]
            for row in csv.DictReader(handle)
            if row["method"] == method
            and row["pretrain_epochs"] == epochs
            and "Table 5(" in row["source"]
            and row["task"] == "linear"
            and "2210.11464" in row["source"]
        }
    (value,) = found
    return f"{float(value):.1f}"


def test_every_setting_of_table_5_has_a_recipe() -> None:
    numbers = {
        f"{study}-{value:g}"
        for study, values, default in (
            ("epochs", (30, 50, 70, 100), 100),
            ("batch", (128, 256, 512, 1024), 1024),
            ("distortion", (0.02, 0.06, 0.25, 1.0), 0.06),
            ("momentum", (0, 0.9, 0.99, 0.996, 0.999), 0.996),
            ("order", (1, 2, 3, 4, 5), 4),
            ("projector", (4096, 8192), None),
        )
        for value in values
        if value != default
    }
    assert {path.stem for path in ABLATIONS} == numbers | {"symmetric"}


def write(path: Path, **keys: object) -> Path:
    OmegaConf.save(OmegaConf.create(keys), path)
    return path


def test_a_recipe_overrides_its_base_and_is_overridden(tmp_path: Path) -> None:
    (tmp_path / "bases").mkdir()
    first = {"name": "noise", "dir": "images"}
    write(
        tmp_path / "bases/one.yaml", out="one", data=first, objective={"eps_d_sq": 0.5}, optim={"epochs": 7}
    )
    write(tmp_path / "two.yaml", base="bases/one.yaml", out="two", objective={"eps_d_sq": None, "eps": 64})
    path = write(tmp_path / "three.yaml", base="two.yaml", optim={"batch_size": 8})
    config = load_config(path, ["objective.order=2"])
    assert (config.out, config.data.name) == ("two", "noise")
    assert (config.optim.epochs, config.optim.batch_size) == (7, 8)
    assert (config.objective.eps, config.objective.eps_d_sq, config.objective.order) == (64, None, 2)


def test_a_base_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"b\.yaml"):
        load_config(write(tmp_path / "a.yaml", base="b.yaml"))
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ValueError, match=r"list\.yaml: expected keys and values"):
        load_config(tmp_path / "list.yaml")


def test_the_compared_objectives_share_all_but_the_objective_and_its_rate() -> None:
    base = flat(load_config(RECIPES / "cifar10_resnet18_w16.yaml"))
    for name, keys in (
        ("order1", {"objective.order", "optim.base_lr"}),
        ("barlow_twins", {"objective.name", "optim.base_lr"}),
    ):
        config = flat(load_config(RECIPES / f"cifar10_resnet18_w16_{name}.yaml"))
        assert {key for key in base if config[key] != base[key]} - {"out"} <= keys
