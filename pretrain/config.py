"""The recipe as dataclasses; OmegaConf merges YAML and ``key=value`` overrides into them.

An unknown key or a value of the wrong type is an error that names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING, DictConfig, OmegaConf
from yaml import YAMLError

ARCHS = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnet18-cifar", "resnet18-cifar-w16"),
    *("vit_small_patch16_224", "vit_base_patch16_224"),
)
OBJECTIVES = ("mec", "barlow-twins", "vicreg", "simsiam+mec")
OPTIMIZERS = ("sgd", "lars", "adamw")


@dataclass
class DataConfig:
    """Images to pre-train on; labels are never read."""

    name: str = MISSING  # what rows will call the pre-training data
    dir: str = ""  # folder of images, at any depth
    shards: str = ""  # or a pattern of webdataset shards: data/imagenet-{000000..000146}.tar, or with *
    archive: str = ""  # .tar.gz to extract into the parent of `dir` when `dir` is not there
    in_memory: bool = False  # decode once and keep; for sets that fit
    workers: int = -1  # processes that decode and crop, per rank; -1: chosen from the cores


@dataclass
class ViewsConfig:
    """Two-view augmentation (BYOL's and Barlow Twins' parameters; MEC App. C), and multi-crop."""

    size: int = 224
    crop_scale: tuple[float, float] = (0.2, 1.0)
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)  # brightness, contrast, saturation, hue
    jitter_p: float = 0.8
    gray_p: float = 0.2
    blur_p: tuple[float, float] = (1.0, 0.1)  # of view 1 and view 2; small crops have view 1's
    solarize_p: tuple[float, float] = (0.0, 0.2)
    small_crops: int = 0  # further, smaller views; only the online network sees them
    small_size: int = 96
    small_scale: tuple[float, float] = (0.05, 0.2)


@dataclass
class ModelConfig:
    """Network sizes; the defaults are the paper's for a ResNet-50."""

    arch: str = "resnet50"
    projector_layers: int = 3
    projector_hidden_dim: int = 2048
    dim: int = 2048
    predictor: bool = True  # without: symmetric branches (Table 5f)
    predictor_hidden_dim: int = 512
    momentum: float = 0.996  # of the target, rises to 1; 0: the target is the online network
    sync_bn: bool = True  # batch statistics over all ranks


@dataclass
class ObjectiveConfig:
    """What is minimised; for MEC the coding length (Eq. 3).

    The distortion has two parametrisations. The paper's is ``eps_d_sq`` = eps^2 / d (0.06). The
    released code's is ``eps`` (its ``--eps``, 64), from which it takes eps_d^2 = eps / d. A recipe
    sets one of the two.
    """

    name: str = "mec"
    eps_d_sq: float | None = None  # the paper's distortion; 0.06 when neither is given
    eps: float | None = None  # the released code's
    order: int = 4  # Taylor terms; 0: the exact log-determinant
    lambda_warmup_epochs: float = 10
    lambda_warmup: str = "inverse"  # linear in 1/lambda (released code) or "linear" in lambda (paper's words)
    max_spectral_norm: float = 1.0  # a norm of C above this stops the run; 0: never
    weight: float = 1.0  # of the coding length beside SimSiam, for simsiam+mec


@dataclass
class OptimConfig:
    """Optimiser with linear scaling of the rate, warm-up and cosine decay."""

    name: str = "sgd"  # sgd, lars (timm's) or adamw
    epochs: int = 100
    batch_size: int = 1024  # of all ranks together
    chunk_size: int = 0  # images of one rank in memory at a time (gradient caching); 0: its whole share
    base_lr: float = 0.5  # times batch_size / 256
    momentum: float = 0.9
    weight_decay: float = 1e-5
    warmup_epochs: float = 10


@dataclass
class OnlineKNNConfig:
    """kNN top-1 of the online encoder while it trains: a monitor, which selects nothing."""

    train_dir: str = ""  # class folders; empty: no kNN
    val_dir: str = ""
    every_epochs: float = 1
    k: int = 20
    temperature: float = 0.07
    max_images: int = 10_000  # of either set, evenly spaced
    size: int = 0  # side of the images; 0: the views' size


@dataclass
class Config:
    """A whole run."""

    out: str = MISSING  # run folder
    data: DataConfig = field(default_factory=DataConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    knn: OnlineKNNConfig = field(default_factory=OnlineKNNConfig)
    branch: str = "online"  # which encoder is exported: online or target
    precision: str = "fp32"  # fp32, bf16 or fp16 (autocast; the objective stays in float32)
    threads: int = (
        0  # of a process's computation; 0: torch's default, under torchrun an even part of the cores
    )
    compile: bool = False  # torch.compile the online and the target network
    device: str = "auto"  # auto, cpu or cuda
    seed: int = 0
    log_every: int = 10  # steps between log lines
    save_every_epochs: float = 1.0  # a checkpoint also comes at a signal and at the end
    keep: int = 2  # newest checkpoints kept; at least 2, so that a damaged one has one before it


# What may differ between the two halves of an interrupted run: where and how fast, not what.
MACHINE_KEYS = (
    *("device", "threads", "compile", "log_every", "save_every_epochs", "keep"),
    *("data.dir", "data.shards", "data.archive", "data.in_memory", "data.workers"),
    "objective.max_spectral_norm",
)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a recipe.

    A recipe may name another as its ``base`` (a path from its own folder) and give only what differs.

    Raises:
        FileNotFoundError: no such file.
        OmegaConfBaseException: unknown key, wrong type, or a value that is still missing.
        ValueError: a value outside its range.
    """
    merged = OmegaConf.merge(
        OmegaConf.structured(Config), *_layers(path), OmegaConf.from_dotlist(list(overrides))
    )
    config = OmegaConf.to_object(merged)
    assert isinstance(config, Config)
    try:
        check(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return config


def _layers(path: Path, above: tuple[Path, ...] = ()) -> list[DictConfig]:
    """The recipe's file and before it those it is based on."""
    if path.resolve() in above:
        raise ValueError(f"{path}: is its own base, by way of {len(above)} files")
    try:
        recipe = OmegaConf.load(path)
    except (YAMLError, RecursionError) as error:
        raise ValueError(f"{path}: expected plain YAML, found {' '.join(str(error).split())}") from None
    if not isinstance(recipe, DictConfig):
        raise ValueError(f"{path}: expected keys and values, found {type(recipe).__name__}")
    base = recipe.pop("base", None)
    return [*(_layers(path.parent / base, (*above, path.resolve())) if base else []), recipe]


def check(config: Config) -> None:
    """Refuse values outside their range.

    Raises:
        ValueError: names the key, the value and what was expected.
    """
    for name, value, allowed in (
        ("model.arch", config.model.arch, ARCHS),
        ("objective.name", config.objective.name, OBJECTIVES),
        ("objective.lambda_warmup", config.objective.lambda_warmup, ("inverse", "linear")),
        ("optim.name", config.optim.name, OPTIMIZERS),
        ("branch", config.branch, ("online", "target")),
        ("precision", config.precision, ("fp32", "bf16", "fp16")),
        ("device", config.device, ("auto", "cpu", "cuda")),
    ):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(allowed)}")
    for name, number, lowest in (
        ("optim.epochs", config.optim.epochs, 1),
        ("optim.batch_size", config.optim.batch_size, 2),
        ("optim.chunk_size", config.optim.chunk_size, 0),
        ("objective.order", config.objective.order, 0),
        ("model.projector_layers", config.model.projector_layers, 1),
        ("views.small_crops", config.views.small_crops, 0),
        ("data.workers", config.data.workers, -1),
        ("log_every", config.log_every, 1),
        ("keep", config.keep, 2),
        ("threads", config.threads, 0),
        ("views.size", config.views.size, 1),
        ("model.dim", config.model.dim, 1),
        ("knn.k", config.knn.k, 1),
        ("knn.max_images", config.knn.max_images, 1),
    ):
        if number < lowest:
            raise ValueError(f"{name} is {number}, expected at least {lowest}")
    if not 0 <= config.model.momentum <= 1:
        raise ValueError(f"model.momentum is {config.model.momentum}, expected between 0 and 1")
    distortions = {"eps_d_sq": config.objective.eps_d_sq, "eps": config.objective.eps}
    if None not in distortions.values():
        raise ValueError(
            "objective.eps_d_sq and objective.eps are both given: the paper's and the released code's "
            "parametrisation of the same thing; keep one"
        )
    for name, distortion in distortions.items():
        if distortion is not None and not distortion > 0:
            raise ValueError(f"objective.{name} is {distortion}, expected above 0")
    if bool(config.data.dir) == bool(config.data.shards):
        raise ValueError(
            "data.dir (a folder of images) or data.shards (webdataset), one of the two is needed"
        )
    if bool(config.knn.train_dir) != bool(config.knn.val_dir):
        raise ValueError("knn.train_dir and knn.val_dir: both or neither")


def distortion(config: Config) -> float:
    """eps_d^2, the distortion of the paper's Eq. 1 divided by d, from either parametrisation."""
    if config.objective.eps is not None:
        return config.objective.eps / config.model.dim
    return 0.06 if config.objective.eps_d_sq is None else config.objective.eps_d_sq


def to_dict(config: Config) -> dict[str, object]:
    """The resolved recipe as plain data."""
    plain = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
