"""What random class vectors of the same shape look like: the null beside each measure of a head.

    null = random_rows(31, 16, draws=200, seed=0, k=2)
    null["explained_variance"]                       (draws,)

Random rows are independent normal numbers, the geometry of a head before training. In few dimensions they too lie
near a plane, so no measure is read without them.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from evolm.instruments.geometry_collapse import PAIRED_ROWS, simplex
from evolm.instruments.geometry_measures import circle_evenness, effective_rank, explained_variance

#: Numbers drawn at most for one null, and at a time; a large head's measures hardly vary, and few draws do.
NUMBERS, AT_ONCE = 2**25, 2**22
LEAST_DRAWS = 20


def affordable(draws: int, classes: int, width: int) -> int:
    """`draws`, or fewer for a large head, but at least `LEAST_DRAWS` of them."""
    return min(draws, max(LEAST_DRAWS, NUMBERS // (min(classes, PAIRED_ROWS) * width)))


@lru_cache(maxsize=8)
def random_rows(classes: int, width: int, *, draws: int, seed: int, k: int = 2) -> dict[str, Tensor]:
    """Each measure of a head without examples on random rows of this shape, (draws,), rows centred first.

    Up to `PAIRED_ROWS` classes the rows themselves are drawn. Above, the spectrum is drawn for all classes (Bartlett's
    decomposition), the pairs are those of so many rows, and there is no circle. The checkpoints of a series share one
    null, which is kept: leave it as it is.
    """
    draws, generator = affordable(draws, classes, width), torch.Generator().manual_seed(seed)
    drawn_rows = min(classes, PAIRED_ROWS)
    size = max(1, AT_ONCE // (drawn_rows * max(drawn_rows, width)))
    parts = []
    for start in range(0, draws, size):
        some = min(size, draws - start)
        rows = torch.randn(some, drawn_rows, width, generator=generator, dtype=torch.float64)
        rows = rows - rows.mean(-2, keepdim=True)
        full = rows if classes == drawn_rows else random_spectrum(classes, width, some, seed + start)
        ranks = effective_rank(full)
        part = {
            "explained_variance": explained_variance(full, k),
            "entropy": ranks.entropy,
            "participation": ranks.participation,
            **simplex(rows),
        }
        # Of centred rows |WW'|_F^2 = (tr WW')^2 / participation, so the distance follows from the spectrum.
        cosine = (ranks.participation / (classes - 1)).sqrt()
        part["distance"] = (2 - 2 * cosine).clamp(min=0).sqrt()
        if 3 <= classes == drawn_rows:
            part["radius"], part["angle"] = circle_evenness(rows)
        parts.append(part)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def random_spectrum(classes: int, width: int, draws: int, seed: int) -> Tensor:
    """Few rows with the centred spectrum of `classes` random rows, (draws, p + 1, p), p = min(classes - 1, width).

    The Gram matrix of centred normal rows is Wishart with classes - 1 degrees of freedom: A A' with A lower
    triangular, chi on its diagonal and normal below (Bartlett 1933). The p + 1 rows sum to zero and have that Gram.
    """
    rng = np.random.default_rng(seed)
    p, freedom = min(classes - 1, width), max(classes - 1, width)
    factor = np.tril(rng.normal(size=(draws, p, p)), -1)
    factor[:, range(p), range(p)] = np.sqrt(rng.chisquare(freedom - np.arange(p), size=(draws, p)))
    centring = np.eye(p + 1) - 1 / (p + 1)
    basis = np.linalg.svd(centring)[0][:, :p]  # orthonormal columns that sum to zero
    return torch.from_numpy(basis @ factor)


def summary(null: Tensor, value: float, level: float, *, larger: bool) -> dict[str, float]:
    """Mean of a null, (draws,), its central interval at `level`, and p of `value`: one-sided, never 0."""
    if not math.isfinite(value) or not null.isfinite().all():
        return {}
    null = null.cpu()
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=null.dtype)
    low, high = null.quantile(tails).tolist()
    slack = 1e-12 * max(1.0, abs(value))  # rounding is no difference
    beyond = (null >= value - slack) if larger else (null <= value + slack)
    p = (1 + int(beyond.sum())) / (1 + len(null))
    return {"null": float(null.mean()), "null_low": low, "null_high": high, "p": p}
