"""What a set of labelled images is."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with one label each. Raises ValueError where the parts do not fit together.

    `images` (n, channels, height, width) float32 from 0 (dark) to 1; `labels` (n,) int64, indices into `classes`.
    The last `test_count` images are the set's own test part; 0 where it has none.
    """

    name: str
    licence: str
    classes: tuple[str, ...]
    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    test_count: int = 0

    def __post_init__(self) -> None:
        images, labels, n = self.images, self.labels, len(self.images)
        if images.ndim != 4 or images.dtype != torch.float32:
            told = f"{tuple(images.shape)} of {images.dtype}"
            raise ValueError(f"{self.name}: images are {told}; expected (n, channels, height, width) of float32")
        if labels.shape != (n,) or labels.dtype != torch.int64:
            told = f"{tuple(labels.shape)} of {labels.dtype}"
            raise ValueError(f"{self.name}: labels are {told}; expected one int64 for each of {n} images")
        if not n:
            raise ValueError(f"{self.name}: there are no images; expected at least one")
        if not (images.min() >= 0 and images.max() <= 1):
            raise ValueError(f"{self.name}: pixels reach beyond 0 to 1; divide them by the value of the brightest one")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(self.classes):
            told = f"labels from {low} to {high}"
            raise ValueError(f"{self.name}: {told}; expected 0 to {len(self.classes) - 1}, one for each class")
        if not 0 <= self.test_count < n:
            raise ValueError(f"{self.name}: a test part of {self.test_count} among {n} images leaves none to train on")
