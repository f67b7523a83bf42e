"""Geometry of class vectors: planes, circles, lattices, collapse, hulls and growth, for many replicas at once.

    explained_variance(w)                   share of the centred variance in two principal components
    fourier_share(w).share                  classes in ring order: share of the best single frequency
    circle_evenness(w)                      how round and how even the points are in their best plane
    lattice_fit(w, coordinates)             share that the task's own coordinates explain
    collapse(features, labels, w)           neural collapse NC1 to NC4
    convexity(w, features, labels)          is each class vector a mean of examples of its class?
    norm_slope(steps, norms)                0: bounded; 0.5: the norm grows as the root of the step

`w` is (..., classes, width): the rows of a classifier head or an embedding, behind any replica dimensions. All is
done in float64 on the tensor's own device. A replica that holds a value that is not finite, or whose rows are all
the same, has no geometry: its measures are NaN, and the other replicas keep theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from evolm.instruments.geometry_collapse import collapse, simplex, simplex_floor
from evolm.instruments.geometry_hull import convexity, hull_distance

__all__ = [
    "CircleEvenness",
    "EffectiveRank",
    "FourierShare",
    "circle_evenness",
    "collapse",
    "convexity",
    "effective_rank",
    "explained_variance",
    "fourier_null",
    "fourier_share",
    "hull_distance",
    "lattice_fit",
    "norm_slope",
    "simplex",
    "simplex_floor",
]

#: Centred rows shorter than this share of the raw ones are rounding: the rows are all the same.
SAME = 1e-12


class EffectiveRank(NamedTuple):
    """Two readings of how many directions the centred rows fill, each (...), from 1 to min(classes - 1, width)."""

    entropy: Tensor
    participation: Tensor


class FourierShare(NamedTuple):
    """`share` of the centred variance at the best `frequency` (whole turns of the ring), each (...)."""

    share: Tensor
    frequency: Tensor


class CircleEvenness(NamedTuple):
    """How even the `radius` and the gaps of the `angle` are in the best plane, each (...), 1 for a regular polygon."""

    radius: Tensor
    angle: Tensor


def explained_variance(w: Tensor, k: int = 2) -> Tensor:
    """Share of the centred variance of the rows of `w`, (..., classes, width), in `k` principal components, (...).

    Baek et al. (2025) call it EV, with k = 2. It says nothing of accuracy: stuck runs have a high one too.
    Raises ValueError for fewer than two classes, or k below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}; expected the number of principal components, 1 or more")
    spectrum = _spectrum(_centred(w, 2))  # (..., min(classes, width)), rising
    return spectrum[..., -k:].sum(-1) / spectrum.sum(-1)


def effective_rank(w: Tensor) -> EffectiveRank:
    """Effective rank of the centred rows of `w`, (..., classes, width).

    `entropy`: exp of the entropy of the singular values over their sum (Roy & Vetterli 2007, Definition 1).
    `participation`: (sum l)^2 / sum l^2 of the variances l of the principal components.
    Raises ValueError for fewer than two classes.
    """
    spectrum = _spectrum(_centred(w, 2))
    singular = spectrum.sqrt()
    share = singular / singular.sum(-1, keepdim=True)
    entropy = -torch.xlogy(share, share).sum(-1)
    return EffectiveRank(entropy.exp(), spectrum.sum(-1) ** 2 / (spectrum**2).sum(-1))


def fourier_share(w: Tensor) -> FourierShare:
    """Best single frequency's share of the centred variance of `w`, (..., classes, width), classes in ring order.

    With F the discrete Fourier transform over the classes, 2 |F_k|^2 / sum_(j > 0) |F_j|^2, at the k from 1 to below
    classes/2 where it is largest. It is 1 where class c lies at the angle 2 pi k c / classes on a circle, or on an
    ellipse or line that such a circle is squeezed into: see `circle_evenness`. Frequency classes/2 only alternates
    and cannot win. Three classes always give 1: compare with `fourier_null`. No geometry: NaN at frequency 0.
    Raises ValueError for fewer than three classes.
    """
    rows = _centred(w, 3)
    classes = rows.shape[-2]
    power = torch.fft.rfft(rows, dim=-2).abs().square().sum(-1)[..., 1:]  # (..., classes // 2), frequencies from 1
    total = rows.square().sum((-2, -1)) * classes  # Parseval
    best = (2 * power[..., : (classes - 1) // 2]).max(-1)
    share = best.values / total
    return FourierShare(share, torch.where(share.isnan(), 0, best.indices + 1))


def fourier_null(w: Tensor, draws: int = 200, seed: int = 0) -> Tensor:
    """`fourier_share` of `w` with its rows in random orders, (draws, ...): what the ring order alone must beat.

    All replicas of a draw share its order. Raises ValueError for fewer than three classes, or no draws.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}; expected 1 or more")
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(w.shape[-2], generator=generator).to(w.device) for _ in range(draws)]
    return torch.stack([fourier_share(w[..., order, :]).share for order in orders])


def circle_evenness(w: Tensor) -> CircleEvenness:
    """How nearly the centred rows of `w`, (..., classes, width), form a regular polygon in their first two PCs.

    `radius`: 1 - sd/mean of the distances from the centre; random points of a plane have 0.48. `angle`: 1 - sd/mean
    of the gaps between neighbouring angles; random points have about 0. Negative values are set to 0. Neither sees
    the order of the classes (`fourier_share` does), nor what lies outside of the plane (`explained_variance`).
    Raises ValueError for fewer than three classes.
    """
    rows = _centred(w, 3)
    planar = _plane(rows)  # (..., classes, 2)
    radii = planar.norm(dim=-1)
    angles = torch.atan2(planar[..., 1], planar[..., 0]).sort(-1).values
    gaps = torch.cat([angles.diff(dim=-1), angles[..., :1] + 2 * math.pi - angles[..., -1:]], -1)
    return CircleEvenness(_evenness(radii), _evenness(gaps))


def lattice_fit(w: Tensor, coordinates: Tensor) -> Tensor:
    """R^2 of the best affine map from the classes' `coordinates` to the rows of `w`, (..., classes, width), (...).

    `coordinates`, (..., classes, k) or (classes, k), are the task's own: the cell of a lattice, the sine and cosine
    of a ring, the depth in a tree. Random rows have k / (classes - 1) on average, so k must be well below classes.
    Raises ValueError for coordinates of another number of classes, not finite, or the same for all classes.
    """
    rows = _centred(w, 2)
    if coordinates.ndim < 2 or coordinates.shape[-2] != rows.shape[-2]:
        expected = f"({rows.shape[-2]}, k), a row per class"
        raise ValueError(f"coordinates have shape {list(coordinates.shape)}; expected {expected}")
    if not coordinates.isfinite().all():
        raise ValueError("coordinates hold a value that is not finite; expected a place for every class")
    points = coordinates.to(rows)
    points = points - points.mean(-2, keepdim=True)
    basis, size, _ = torch.linalg.svd(points, full_matrices=False)  # (..., classes, k), (..., k)
    used = size > 1e-10 * size.amax(-1, keepdim=True)
    if not used.any(-1).all():
        raise ValueError("coordinates are the same for all classes; expected the task's own place for each class")
    explained = ((basis * used[..., None, :]).mT @ rows).square().sum((-2, -1))
    return explained / rows.square().sum((-2, -1))


def norm_slope(steps: Tensor | Sequence[float], norms: Tensor) -> Tensor:
    """Least-squares slope of log `norms`, (..., points), on log `steps`, (points,), (...).

    Give the points after the fit only: what comes before is learning, not growth. A replica with a norm that is not
    finite or not positive gets NaN. Raises ValueError for steps that are not positive, fewer than two of them, or of
    another number than the norms.
    """
    at = torch.as_tensor(steps, dtype=torch.float64, device=norms.device)
    if at.ndim != 1 or norms.ndim < 1 or norms.shape[-1] != len(at):
        shapes = f"{list(at.shape)} steps and {list(norms.shape)} norms"
        raise ValueError(f"there are {shapes}; expected a norm for each step, (..., points)")
    if not (at.isfinite() & (at > 0)).all():
        raise ValueError("a step is zero, negative or not finite, and has no logarithm; leave step 0 out")
    if len(at.unique()) < 2:
        raise ValueError(f"{len(at)} checkpoints at one step give no slope; expected two steps or more")
    x = at.log() - at.log().mean()
    y = norms.double()
    y = torch.where(y > 0, y, math.nan).log()  # inf stays, and makes the slope NaN below
    slope = (y - y.mean(-1, keepdim=True)) @ x / (x @ x)
    return torch.where(slope.isfinite(), slope, math.nan)


def _centred(w: Tensor, least: int) -> Tensor:
    """Rows of `w` less their mean, float64, (..., classes, width); all NaN in replicas without a geometry."""
    if w.ndim < 2 or w.shape[-2] < least or w.shape[-1] < 1:
        raise ValueError(
            f"class vectors have shape {list(w.shape)}; expected (..., classes, width), classes >= {least}"
        )
    rows = w.double()
    scale = rows.abs().amax((-2, -1), keepdim=True)
    rows = rows / scale  # squares of float64 neither overflow nor vanish
    centred = rows - rows.mean(-2, keepdim=True)
    there = centred.abs().amax((-2, -1), keepdim=True) > SAME
    return torch.where(there, centred, math.nan)


def _spectrum(rows: Tensor) -> Tensor:
    """Squared singular values of `rows`, rising, rounding set to zero, (..., min(classes, width)); NaN where NaN."""
    missing = rows.isnan().any(-1).any(-1)
    rows = rows.nan_to_num(0)
    gram = rows @ rows.mT if rows.shape[-2] < rows.shape[-1] else rows.mT @ rows
    values = torch.linalg.eigvalsh(gram)
    values = torch.where(values > values[..., -1:] * gram.shape[-1] * torch.finfo(torch.float64).eps, values, 0)
    return torch.where(missing[..., None], math.nan, values)


def _plane(rows: Tensor) -> Tensor:
    """Coordinates of centred `rows`, (..., classes, width), along their first two principal components."""
    missing = rows.isnan().any(-1).any(-1)
    rows = rows.nan_to_num(0)
    if rows.shape[-2] < rows.shape[-1]:  # the smaller of the two Gram matrices
        values, vectors = torch.linalg.eigh(rows @ rows.mT)
        planar = vectors[..., -2:] * values[..., None, -2:].clamp(min=0).sqrt()
    else:
        planar = rows @ torch.linalg.eigh(rows.mT @ rows).eigenvectors[..., -2:]
    if planar.shape[-1] < 2:  # rows of width 1 lie on a line
        planar = torch.cat([planar, torch.zeros_like(planar)], -1)
    return torch.where(missing[..., None, None], math.nan, planar)


def _evenness(values: Tensor) -> Tensor:
    """1 - sd/mean over the last dimension, at least 0."""
    return (1 - values.std(-1, correction=0) / values.mean(-1)).clamp(min=0)
