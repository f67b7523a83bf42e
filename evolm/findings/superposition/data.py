"""Sparse data of the superposition toy model (Liu, Liu, Gore 2025, section 2).

    x_i = u_i v_i,  u_i ~ Bernoulli(p_i),  v_i ~ Uniform(0, 2),  p_i proportional to i^-alpha,  sum_i p_i = E

With about one active feature per sample, drawing a dense batch of `rand` costs more than a training
step. `SparseBatches` draws the active entries alone, exactly: a Bernoulli(p) variable is "at least one
event" of a Poisson variable of rate -log(1-p), and independent Poisson variables superpose into one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

#: E[v^2] of Uniform(0, 2): the loss of a feature that is ignored is this times its frequency.
MEAN_SQUARE = 4 / 3
STEPS_PER_DRAW = 64


def frequencies(n: int, alpha: float, density: float = 1.0) -> NDArray[np.float64]:
    """Activation probability of each of `n` features, most frequent first; they sum to `density`.

    Raises `ValueError` where the law would need a probability of 1 or more.
    """
    weights = np.arange(1, n + 1, dtype=np.float64) ** -alpha
    p = density * weights / weights.sum()
    if p[0] >= 1:
        raise ValueError(
            f"alpha = {alpha} with density = {density} and {n} features gives the first feature probability "
            f"{p[0]:.2f}; lower the density or alpha"
        )
    return p


@dataclass(frozen=True)
class SparseBatch:
    """Active entries of one batch: `values[k]` at (`rows[k]`, `features[k]`), each position at most once."""

    rows: NDArray[np.int64]
    features: NDArray[np.int64]
    values: NDArray[np.float32]

    def dense(self, batch_size: int, n: int) -> NDArray[np.float32]:
        x = np.zeros((batch_size, n), np.float32)  # (batch, feature)
        x[self.rows, self.features] = self.values
        return x


class SparseBatches:
    """Endless stream of batches for one frequency law and one seed."""

    def __init__(self, p: NDArray[np.float64], batch_size: int, seed: int | list[int]) -> None:
        self.n, self.batch_size = len(p), batch_size
        rates = -np.log1p(-p)
        self._total_rate = float(rates.sum())
        self._cumulative = np.cumsum(rates) / self._total_rate
        self._cumulative[-1] = 1.0
        self._rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[SparseBatch]:
        while True:
            yield from self._draw(STEPS_PER_DRAW)

    def _draw(self, steps: int) -> Iterator[SparseBatch]:
        events = self._rng.poisson(steps * self.batch_size * self._total_rate)
        sample = self._rng.integers(0, steps * self.batch_size, events)
        feature = np.searchsorted(self._cumulative, self._rng.random(events), side="right")
        position = np.unique(sample * self.n + feature)  # two events at one position are still one activation
        values = self._rng.uniform(0.0, 2.0, len(position)).astype(np.float32)
        sample, feature = np.divmod(position, self.n)
        edges = np.searchsorted(sample, np.arange(steps + 1) * self.batch_size)
        for step, (start, stop) in enumerate(pairwise(edges)):
            yield SparseBatch(sample[start:stop] - step * self.batch_size, feature[start:stop], values[start:stop])
