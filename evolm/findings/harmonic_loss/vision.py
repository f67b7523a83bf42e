"""Images: one layer whose class vectors can be looked at, and a small network under many distances.

    tables = trained(images, "linear", arms, seeds, epochs=40)     # "vision", "vision_curves", "centres", "hull"

With one layer the class vectors live among the pixels, where Theorem 3 of Baek et al. (2025) makes them weighted means
of images: so each is held against the convex hull of its class. With a network in between, what is measured is the
test images' penultimate features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from evolm.findings.harmonic_loss.algorithmic import LATE, LEARNT, measured_epochs
from evolm.findings.harmonic_loss.replicas import Arm, Replicas
from evolm.images import ImageSet, split
from evolm.instruments.geometry_measures import collapse, convexity, effective_rank, explained_variance, norm_slope

Backbone = Literal["linear", "network"]
#: Layers behind the pixels: none, or the network of the pilot study.
LAYERS: dict[Backbone, tuple[int, ...]] = {"linear": (), "network": (128, 64)}
BATCH = 64
#: Training images on which accuracy is measured, and which make the hulls.
EVALUATED = 2000
#: What a hull of so many images makes of points that are what class vectors should be: rows of `hull` beside the arms.
HELD_OUT_IMAGE, HELD_OUT_MEAN = "a held-out image", "mean of held-out images"


class Parts:
    """Pixels and labels of each seed's own division: (seed, image, pixel) and (seed, image)."""

    def __init__(self, images: ImageSet, seeds: Sequence[int], *, test: bool, device: str = "cpu") -> None:
        divided = [split(images, seed) for seed in seeds]
        held_out = "test" if test else "validation"
        flat = images.images.flatten(1).to(device)
        labels = images.labels.to(device)
        self.classes = len(images.classes)
        train = torch.stack([part.train for part in divided]).to(device)
        tested = torch.stack([getattr(part, held_out) for part in divided]).to(device)
        self._flat, self._labels, self._train = flat, labels, train
        self.test = flat[tested], labels[tested]
        self.seen = flat[train[:, :EVALUATED]], labels[train[:, :EVALUATED]]

    def batches(self, seeds: Sequence[int], epoch: int) -> list[tuple[Tensor, Tensor]]:
        """An epoch's batches in an order of each seed's own; what does not fill one is left."""
        count = self._train.shape[1]
        orders = [
            torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch)) for seed in seeds
        ]
        chosen = self._train.gather(1, torch.stack(orders).to(self._train.device))
        cuts = [chosen[:, i : i + BATCH] for i in range(0, count - BATCH + 1, BATCH)]
        return [(self._flat[cut], self._labels[cut]) for cut in cuts]


def trained(
    images: ImageSet,
    backbone: Backbone,
    arms: Mapping[str, Arm],
    seeds: Sequence[int],
    *,
    epochs: int,
    test: bool = True,
    device: str = "cpu",
) -> dict[str, pd.DataFrame]:
    """Train every arm on every seed's division; `test=False` measures on validation images instead, to choose by."""
    parts = Parts(images, seeds, test=test, device=device)
    pixels = parts.test[0].shape[-1]
    nets = Replicas(LAYERS[backbone], list(arms.values()), seeds, places=pixels, classes=parts.classes, device=device)
    labels = {"images": images.name, "backbone": backbone}
    replicas = pd.DataFrame([{**labels, "arm": arm, "seed": seed} for arm in arms for seed in seeds])
    history, at = [], measured_epochs(epochs)
    for epoch in range(1, epochs + 1):
        for inputs, answers in parts.batches(seeds, epoch):
            nets.step(inputs, answers)
        if epoch in at:
            history.append(_measured(nets, parts))
    run = {name: torch.stack([row[name] for row in history], 1).double().cpu() for name in history[0]}
    tables = {"vision": pd.concat([replicas, _summary(nets, parts, run, at)], axis=1)}
    long = replicas.loc[replicas.index.repeat(len(at))].reset_index(drop=True).assign(epoch=np.tile(at, len(replicas)))
    tables["vision_curves"] = long.assign(**{name: values.ravel().float().numpy() for name, values in run.items()})
    if backbone == "linear":
        tables |= {"centres": _centres(nets, replicas), "hull": _hull(nets, parts, replicas)}
    return tables


@torch.no_grad()
def _measured(nets: Replicas, parts: Parts) -> dict[str, Tensor]:
    (train_loss, train), (test_loss, test) = (nets.evaluate(*part) for part in (parts.seen, parts.test))
    norms = {"norm": nets.norm(), "vector_norm": nets.class_vectors().square().sum((1, 2)).sqrt()}
    return {"train_accuracy": train, "test_accuracy": test, "train_loss": train_loss, "test_loss": test_loss, **norms}


@torch.no_grad()
def _summary(nets: Replicas, parts: Parts, run: Mapping[str, Tensor], at: Sequence[int]) -> pd.DataFrame:
    """The end of every replica: accuracy, norms' slopes over the last two doublings, geometry of test features."""
    epochs = torch.tensor(at, dtype=torch.float64)
    late = epochs >= LATE * at[-1]
    found = {name: values[:, -1] for name, values in run.items()}
    for name in ("norm", "vector_norm"):
        found[f"{name}_slope"] = norm_slope(epochs[late], run[name][:, late])
    found["fit_late"] = (run["train_accuracy"][:, late] >= LEARNT).all(1)
    features = nets.features(parts.test[0])  # (replica, image, width)
    answers = parts.test[1].repeat(len(nets.arms), 1)
    found["ev2"] = explained_variance(standardised(features))
    found["vector_ev2"] = explained_variance(nets.class_vectors())
    found["rank"] = effective_rank(features).participation
    chosen = nets.logits(features).argmax(-1)
    collapsed = collapse(features, answers, nets.class_vectors(), predictions=chosen)
    found |= {name: collapsed[name] for name in ("nc1", "nc2_distance_means", "nc3", "nc4")}
    return pd.DataFrame({name: values.cpu().numpy() for name, values in found.items()})


def standardised(features: Tensor) -> Tensor:
    """Each feature with mean 0 and variance 1 over images, as the second paper does before its explained variance.

    A feature that never changes stays 0.
    """
    centred = features - features.mean(1, keepdim=True)
    spread = centred.square().mean(1, keepdim=True).sqrt()
    return centred / torch.where(spread > 1e-6 * spread.amax(2, keepdim=True), spread, 1)


@torch.no_grad()
def _centres(nets: Replicas, replicas: pd.DataFrame) -> pd.DataFrame:
    """Class vectors of the first seed: arm, class, pixel, value."""
    vectors = nets.class_vectors().cpu().numpy()
    frames = []
    for place in np.flatnonzero((replicas["seed"] == nets.seeds[0]).to_numpy()):
        classes, pixels = vectors[place].shape
        grid = {"class": np.repeat(range(classes), pixels), "pixel": np.tile(range(pixels), classes)}
        labels = {name: replicas[name].iloc[place] for name in ("images", "arm", "seed")}
        frames.append(pd.DataFrame(grid).assign(value=vectors[place].ravel(), **labels))
    return pd.concat(frames, ignore_index=True)


@torch.no_grad()
def _hull(nets: Replicas, parts: Parts, replicas: pd.DataFrame) -> pd.DataFrame:
    """Each class vector against its class's training images: a row per replica and class, and per reference."""
    images, labels = parts.seen
    points = []  # arm, place of the seed, (class, pixel)
    for place, vectors in enumerate(nets.class_vectors()):
        seed = place % len(nets.seeds)
        form = nets.arms[place // len(nets.seeds)].head.form
        placed = _in_units_of_images(vectors, form, images[seed], labels[seed])
        points.append((replicas["arm"].iloc[place], seed, placed))
    for seed, (held_out, answers) in enumerate(zip(*parts.test, strict=True)):
        own = [held_out[answers == index] for index in range(parts.classes)]
        points.append((HELD_OUT_IMAGE, seed, torch.stack([each[0] for each in own])))
        points.append((HELD_OUT_MEAN, seed, torch.stack([each.mean(0) for each in own])))
    frames = []
    for arm, seed, placed in points:
        found = convexity(placed, images[seed], labels[seed])
        measures = {name: getattr(found, name).cpu().numpy() for name in found._fields}
        named = {"images": replicas["images"].iloc[0], "arm": arm, "seed": nets.seeds[seed]}
        frames.append(pd.DataFrame({"class": range(parts.classes), **measures}).assign(**named))
    return pd.concat(frames, ignore_index=True)


def _in_units_of_images(vectors: Tensor, form: str, images: Tensor, labels: Tensor) -> Tensor:
    """Class vectors (class, pixel) where distances to images mean something.

    An inner product gives a vector no length of its own: it gets the one that brings it nearest to its class's mean.
    """
    if form not in ("dot", "normalised"):
        return vectors
    means = torch.stack([images[labels == index].mean(0) for index in range(len(vectors))])
    return vectors * ((vectors * means).sum(1) / vectors.square().sum(1)).clamp(min=0)[:, None]
