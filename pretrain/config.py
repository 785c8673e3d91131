"""The recipe as dataclasses; OmegaConf merges YAML and ``key=value`` overrides into them.

An unknown key or a value of the wrong type is an error that names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING, OmegaConf

ARCHS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet18-cifar")


@dataclass
class DataConfig:
    """Images to pre-train on; labels are never read."""

    name: str = MISSING  # what rows will call the pre-training data
    dir: str = MISSING  # folder of class folders of images
    archive: str = ""  # .tar.gz to extract into the parent of `dir` when `dir` is not there
    in_memory: bool = False  # decode once and keep; for sets that fit
    workers: int = 0


@dataclass
class ViewsConfig:
    """Two-view augmentation (BYOL's and Barlow Twins' parameters; MEC App. C)."""

    size: int = 224
    crop_scale: tuple[float, float] = (0.2, 1.0)
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)  # brightness, contrast, saturation, hue
    jitter_p: float = 0.8
    gray_p: float = 0.2
    blur_p: tuple[float, float] = (1.0, 0.1)  # of view 1 and view 2
    solarize_p: tuple[float, float] = (0.0, 0.2)


@dataclass
class ModelConfig:
    """Network sizes; the defaults are the paper's for a ResNet-50."""

    arch: str = "resnet50"
    projector_layers: int = 3
    projector_hidden_dim: int = 2048
    dim: int = 2048
    predictor_hidden_dim: int = 512
    momentum: float = 0.996  # of the target, rises to 1


@dataclass
class ObjectiveConfig:
    """Coding length (Eq. 3)."""

    eps_d_sq: float = 0.06  # distortion; the released code's default is 0.03125
    order: int = 4
    lambda_warmup_epochs: float = 10


@dataclass
class OptimConfig:
    """SGD with linear scaling of the rate and cosine decay."""

    epochs: int = 100
    batch_size: int = 1024
    base_lr: float = 0.5  # times batch_size / 256
    momentum: float = 0.9
    weight_decay: float = 1e-5
    warmup_epochs: float = 10


@dataclass
class Config:
    """A whole run."""

    out: str = MISSING  # run folder
    data: DataConfig = field(default_factory=DataConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    branch: str = "online"  # which encoder is exported: online or target
    precision: str = "fp32"  # fp32 or bf16 (autocast; the objective stays in float32)
    device: str = "auto"  # auto, cpu or cuda
    seed: int = 0
    log_every: int = 10  # steps between log lines


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a recipe.

    Raises:
        FileNotFoundError: no such file.
        OmegaConfBaseException: unknown key, wrong type, or a value that is still missing.
        ValueError: a value outside its range.
    """
    merged = OmegaConf.merge(
        OmegaConf.structured(Config), OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides))
    )
    config = OmegaConf.to_object(merged)
    assert isinstance(config, Config)
    for name, value, allowed in (
        ("model.arch", config.model.arch, ARCHS),
        ("branch", config.branch, ("online", "target")),
        ("precision", config.precision, ("fp32", "bf16")),
        ("device", config.device, ("auto", "cpu", "cuda")),
    ):
        if value not in allowed:
            raise ValueError(f"{path}: {name} is {value!r}, expected one of {', '.join(allowed)}")
    for name, number, lowest in (
        ("optim.epochs", config.optim.epochs, 1),
        ("optim.batch_size", config.optim.batch_size, 2),
        ("objective.order", config.objective.order, 1),
        ("model.projector_layers", config.model.projector_layers, 1),
    ):
        if number < lowest:
            raise ValueError(f"{path}: {name} is {number}, expected at least {lowest}")
    if not config.objective.eps_d_sq > 0:
        raise ValueError(f"{path}: objective.eps_d_sq is {config.objective.eps_d_sq}, expected above 0")
    return config


def to_dict(config: Config) -> dict[str, object]:
    """The resolved recipe as plain data."""
    plain = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
