"""kNN top-1 of the online encoder while it trains: a monitor; nothing is selected by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as transforms

from pretrain.config import Config
from pretrain.images import decode, find_images
from pretrain.views import MEAN, STD


class OnlineKNN:
    """Two folders of class folders, decoded once at the views' size.

    The vote is Wu et al.'s (2018): the k nearest by cosine, weighted by exp(cosine / temperature).

    Raises:
        FileNotFoundError: a folder without images.
        ValueError: a class of the validation folder that the training folder lacks.
    """

    def __init__(self, config: Config) -> None:
        knn = config.knn
        self.k, self.temperature = knn.k, knn.temperature
        size = knn.size or config.views.size
        train, val = Path(knn.train_dir), Path(knn.val_dir)
        self.train_images, train_classes = _read(train, size, knn.max_images)
        self.val_images, val_classes = _read(val, size, knn.max_images)
        unknown = sorted(set(val_classes) - set(train_classes))
        if unknown:
            raise ValueError(f"{val}: class {unknown[0]} and {len(unknown) - 1} more are not below {train}")
        names = sorted(set(train_classes))
        self.train_labels, self.val_labels = (
            torch.tensor([names.index(name) for name in classes]) for classes in (train_classes, val_classes)
        )
        self.num_classes = len(names)

    @torch.no_grad()
    def top1(self, encoder: nn.Module, device: torch.device, autocast: Callable[[], torch.autocast]) -> float:
        """Percent of the validation images whose vote is right; the encoder stays in train mode."""
        encoder.eval()
        try:
            with autocast():
                bank, queries = (
                    torch.cat([_features(encoder, chunk.to(device)) for chunk in torch.split(images, 256)])
                    for images in (self.train_images, self.val_images)
                )
        finally:
            encoder.train()
        labels = self.train_labels.to(device)
        right = 0
        for chunk, truth in zip(
            torch.split(queries, 1024), torch.split(self.val_labels.to(device), 1024), strict=True
        ):
            cosine, nearest = (chunk @ bank.T).topk(min(self.k, len(bank)))
            votes = torch.zeros(len(chunk), self.num_classes, device=device)
            votes.scatter_add_(1, labels[nearest], (cosine / self.temperature).exp())
            right += int((votes.argmax(1) == truth).sum())
        return 100 * right / len(self.val_labels)


def _features(encoder: nn.Module, images: Tensor) -> Tensor:
    mean, std = ([255 * value for value in values] for values in (MEAN, STD))
    x = transforms.normalize(images.float(), mean, std).contiguous(memory_format=torch.channels_last)
    return F.normalize(encoder(x).float(), dim=1)


def _read(folder: Path, size: int, max_images: int) -> tuple[Tensor, list[str]]:
    paths = find_images(folder)
    paths = paths[:: -(-len(paths) // max_images)]
    whole = v2.Compose([v2.Resize(size, antialias=True), v2.CenterCrop(size)])
    images = torch.stack([whole(decode(path)) for path in paths])
    return images, [path.relative_to(folder).parts[0] for path in paths]
