"""Convexity: is a class vector a weighted mean of its class's examples, as harmonic loss promises?

    hull_distance(vectors, examples).distance     (...), 0 where the vector is a convex combination
    convexity(w, features, labels)                each class against its own examples, its mean, and another class

Baek et al. (2025), Theorem 3. The nearest point of a hull is one non-negative least squares without any penalty to
choose: with b_i = example i - vector, minimise |sum x_i b_i|^2 + (sum x_i - 1)^2 over x >= 0. A direction whose
point lies at the distance d costs d^2 / (1 + d^2) at its best scale, so the least cost is at the least distance, and
x / sum x are the weights.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from evolm.instruments.geometry_collapse import check_examples

#: A coordinate counts as negative, or as out of the examples' range, beyond this share of their largest size.
TOLERANCE = 0.01


class HullDistance(NamedTuple):
    """Nearest points of convex hulls: `distance` (...), and the `weights` (..., n) of the examples that give them."""

    distance: Tensor
    weights: Tensor


class Convexity(NamedTuple):
    """Class vectors against the examples of their classes, each (..., classes), float64.

    `own`: distance from the hull of the class's examples; `to_mean`: from their mean; `other`: from the hull of the
    next class's examples, the null; `relative`: own / to_mean, 0 for a convex combination, 1 where nothing in the
    hull is nearer than the mean. `outside`: share of coordinates out of the range of the class's examples;
    `negative`: share of coordinates below 0, NaN where examples have negative ones too. Both count from
    `TOLERANCE` times the largest size in the class's examples.
    """

    own: Tensor
    to_mean: Tensor
    other: Tensor
    relative: Tensor
    outside: Tensor
    negative: Tensor


def hull_distance(vectors: Tensor, examples: Tensor) -> HullDistance:
    """Distance of each vector, (..., width), from the convex hull of its `examples`, (..., n, width) or (n, width).

    Non-negative least squares by scipy, one vector after another on the CPU: about 0.1 s for 1000 examples of width
    784, 0.5 s for 3000. A vector or an example that is not finite gives NaN. Raises ValueError for shapes that do not
    fit, and RuntimeError where scipy does not converge.
    """
    if vectors.ndim < 1 or examples.ndim < 2 or examples.shape[-1] != vectors.shape[-1] or not examples.shape[-2]:
        shapes = f"vectors have shape {list(vectors.shape)} and examples {list(examples.shape)}"
        raise ValueError(f"{shapes}; expected (..., width) and (..., n, width), n >= 1")
    batch = torch.broadcast_shapes(vectors.shape[:-1], examples.shape[:-2])
    n, width = examples.shape[-2:]
    each = vectors.detach().double().cpu().expand(*batch, width).reshape(-1, width).numpy()
    sets = examples.detach().double().cpu().expand(*batch, n, width).reshape(-1, n, width).numpy()
    found = [_nearest(vector, points) for vector, points in zip(each, sets, strict=True)]
    distance = torch.tensor([d for d, _ in found], dtype=torch.float64).reshape(batch)
    weights = torch.from_numpy(np.stack([x for _, x in found])).reshape(*batch, n)
    return HullDistance(distance.to(vectors.device), weights.to(vectors.device))


def convexity(w: Tensor, features: Tensor, labels: Tensor) -> Convexity:
    """Each row of `w`, (..., classes, width), against the `features`, (..., n, width), of its label, (..., n).

    See `Convexity`. The distance from the hull of few examples is no less than that from the hull of many: compare
    heads on the same examples. Raises what `hull_distance` raises, and ValueError for labels out of range or a class
    without examples.
    """
    labels = check_examples(features, labels, w)
    classes, width = w.shape[-2:]
    n = features.shape[-2]
    batch = torch.broadcast_shapes(w.shape[:-2], features.shape[:-2], labels.shape[:-1])
    replicas = zip(
        w.expand(*batch, classes, width).reshape(-1, classes, width),
        features.expand(*batch, n, width).reshape(-1, n, width),
        labels.expand(*batch, n).reshape(-1, n),
        strict=True,
    )
    found = torch.stack([_replica(*replica) for replica in replicas])  # (replicas, measures, classes)
    return Convexity(*found.reshape(*batch, *found.shape[1:]).unbind(-2))


def _replica(w: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    """The measures of `Convexity` of one head, (measures, classes)."""
    examples = [features[labels == c].double() for c in range(len(w))]
    columns = []
    for c, (vector, mine) in enumerate(zip(w.double(), examples, strict=True)):
        own = hull_distance(vector, mine).distance
        other = hull_distance(vector, examples[(c + 1) % len(w)]).distance
        to_mean = (vector - mine.mean(0)).norm()
        slack = TOLERANCE * mine.abs().max()
        outside = (vector < mine.amin(0) - slack) | (vector > mine.amax(0) + slack)
        negative = (vector < -slack).double().mean() if (mine >= 0).all() else torch.full_like(own, math.nan)
        relative = torch.where(own <= 1e-9 * mine.abs().max(), 0, own / to_mean)  # rounding is no distance
        outside_share = torch.where(own.isfinite(), outside.double().mean(), math.nan)
        columns.append(torch.stack([own, to_mean, other, relative, outside_share, negative]))
    return torch.stack(columns, -1)


def _nearest(vector: np.ndarray, points: np.ndarray) -> tuple[float, np.ndarray]:
    """Distance of `vector` (width,) from the hull of `points` (n, width), and the weights (n,) of the nearest point."""
    apart = points - vector
    scale = float(np.sqrt((apart**2).sum(1).mean()))
    if not math.isfinite(scale):
        return math.nan, np.full(len(points), math.nan)
    if scale == 0:
        return 0.0, np.full(len(points), 1 / len(points))
    system = np.vstack([apart.T / scale, np.ones(len(points))])  # (width + 1, n)
    wanted = np.zeros(len(system))
    wanted[-1] = 1
    if len(points) < len(system):  # the same normal equations in fewer rows
        basis, system = np.linalg.qr(system)
        wanted = basis.T @ wanted
    weights, _ = optimize.nnls(system, wanted, maxiter=30 * len(points))
    weights = weights / weights.sum()
    return float(np.linalg.norm(weights @ apart)), weights
