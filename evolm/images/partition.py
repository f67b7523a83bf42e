"""Training, validation and test parts of an `ImageSet`: stratified by class and drawn by seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evolm.images.image_set import ImageSet


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of images, int64 and ascending; no image is in two parts."""

    train: Tensor
    validation: Tensor
    test: Tensor


def split(
    images: ImageSet, seed: int, *, validation: float = 0.1, test: float = 0.2, train_share: float = 1.0
) -> Split:
    """Divide each class by these shares of its images, every share rounded to whole images.

    A set with a test part of its own keeps that whole, whatever `test` says, and `validation` is a share of the rest.
    `train_share` keeps only so much of each class's training images (at least one), to learn from less data: a smaller
    share is inside a larger one of the same seed, and validation and test stay as they are. Raises ValueError for
    shares out of range, and for a class that is left without an image to train on.
    """
    for name, share in (("validation", validation), ("test", test)):
        if not 0 <= share < 1:
            raise ValueError(f"{name} = {share} is not a share; expected 0 or more, and less than 1")
    if not 0 < train_share <= 1:
        raise ValueError(f"train_share = {train_share} is not a share; expected more than 0, and at most 1")
    rng = np.random.default_rng(seed)
    divided = len(images.labels) - images.test_count
    labels = images.labels[:divided].numpy()
    tests = [np.arange(divided, len(images.labels))]  # the set's own test part, or none yet
    trains, validations = [], []
    for index, name in enumerate(images.classes):
        members = rng.permutation(np.flatnonzero(labels == index))
        if not len(members):
            continue  # nothing of this class to divide
        tested = 0 if images.test_count else _rounded(test * len(members))
        held_out = tested + _rounded(validation * len(members))
        if held_out >= len(members):
            raise ValueError(
                f"{images.name}: class {name!r} has {len(members)} images, and {held_out} are held out: none is left "
                "to train on; hold out less"
            )
        tests.append(members[:tested])
        validations.append(members[tested:held_out])
        trains.append(members[held_out:][: max(1, _rounded(train_share * (len(members) - held_out)))])
    return Split(*(torch.from_numpy(np.sort(np.concatenate(part))) for part in (trains, validations, tests)))


def _rounded(count: float) -> int:
    """To the nearest whole number, halves up: `round` would send them to the even one."""
    return math.floor(count + 0.5)
