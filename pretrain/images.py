"""The images a run trains on: a folder of class folders, decoded on the fly or once."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import pil_to_tensor

from pretrain.config import DataConfig

SUFFIXES = (".jpg", ".jpeg", ".png")
ARCHIVE_MARK = ".archive-sha256"  # in an unpacked folder; the transfer tasks look for the same mark


class UnlabelledImages(Dataset[Tensor]):
    """All images below a folder, in sorted order; item i is ``transform(image)`` of ``(3, H, W)`` uint8.

    Raises:
        FileNotFoundError: the folder is missing or holds no image.
        ValueError: an image that cannot be decoded; names the file.
    """

    def __init__(self, root: Path, transform: Callable[[Tensor], Tensor], in_memory: bool = False) -> None:
        self.paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not self.paths:
            raise FileNotFoundError(f"{root}: no images ({', '.join(SUFFIXES)}) below this folder")
        self.transform = transform
        self.decoded = [_decode(path) for path in self.paths] if in_memory else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        image = _decode(self.paths[index]) if self.decoded is None else self.decoded[index]
        return self.transform(image)


def prepare(config: DataConfig) -> Path:
    """The image folder; extracts ``archive`` first when the folder is not there yet.

    Raises:
        FileNotFoundError: neither folder nor archive.
    """
    root = Path(config.dir)
    if root.is_dir():
        return root
    archive = Path(config.archive)
    if not config.archive or not archive.is_file():
        raise FileNotFoundError(f"{root}: no such folder of images, and no archive to make it from")
    if not hasattr(tarfile, "data_filter"):
        raise ValueError(
            f"{archive}: safe extraction needs Python 3.10.12 or newer; extract it by hand to {root}"
        )
    if root.parent.exists():
        raise FileNotFoundError(
            f"{root}: no such folder, but {root.parent} exists; remove it to extract {archive}"
        )
    root.parent.parent.mkdir(parents=True, exist_ok=True)
    partial = root.parent.with_name(f".{root.parent.name}.{os.getpid()}")
    try:
        with tarfile.open(archive) as handle:
            handle.extractall(partial, filter="data")  # refuses paths and links that leave the folder
        (partial / ARCHIVE_MARK).write_text(hashlib.sha256(archive.read_bytes()).hexdigest() + "\n")
        partial.rename(root.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if not root.is_dir():
        raise FileNotFoundError(f"{archive}: extracted, but it holds no {root.name}/ for {root}")
    return root


def _decode(path: Path) -> Tensor:
    try:
        with Image.open(path) as image:
            pixels: Tensor = pil_to_tensor(image.convert("RGB"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be decoded as an image ({error})") from error
    return pixels
