"""Cosines over all pairs of rows, from blocks of rows: exact means, sampled variance, and their nulls.

    pairs = measure_pairs(blocks, n)             # blocks() yields (rows, m) float64 tensors, any number of times
    null = simulate_pairs(eigenvalues, n, 3, seed)

For unit rows U the sum of squared cosines over all ordered pairs i != j is ||U'U||_F^2 - n, and the sum
of cosines is ||sum of rows||^2 - n. So the means are exact from an m x m Gram matrix, and no pair is
ever formed. Sums are in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Blocks = Callable[[], Iterable[Tensor]]
#: Rows drawn to estimate the variance of cos^2; all pairs among them are used.
SAMPLED_ROWS = 2048
NULL_SAMPLED_ROWS = 1024
#: Rows per simulated draw at most. The mean over pairs is unbiased for any number of rows, so fewer than n is fair.
NULL_ROWS = 4096
NULL_BLOCK = 1024


@dataclass(frozen=True)
class PairStatistics:
    """Cosines over ordered pairs i != j of the rows that have a direction; NaN where there is no pair."""

    rows: int
    zero_rows: int
    mean_cos: float
    mean_cos2: float
    cos2_se: float
    cos2_variance: float
    pairs_sampled: int
    group_cos2: tuple[float, ...]


def welch_level(n: int, m: int) -> float:
    """Least mean squared cosine that n unit rows of width m can have; an equiangular tight frame attains it."""
    return max(0.0, (n - m) / (m * (n - 1))) if n > 1 else math.nan


def random_level(m: int) -> float:
    """Mean squared cosine of isotropic random rows: cos^2 ~ Beta(1/2, (m-1)/2)."""
    return 1 / m


def random_variance(m: int) -> float:
    """Variance of the squared cosine of one pair of isotropic random rows."""
    return 2 * (m - 1) / (m**2 * (m + 2))


def random_sd(n: int, m: int) -> float:
    """Standard deviation, over draws, of the mean squared cosine of n isotropic rows.

    Pairs that share a row are uncorrelated there, so the n(n-1)/2 pairs count in full.
    """
    return math.sqrt(2 * random_variance(m) / (n * (n - 1)))


def moments(blocks: Blocks) -> tuple[Tensor, Tensor, np.ndarray]:
    """Mean (m,), second moment about zero (m, m), and norms (n,) of the rows."""
    total, gram = None, None
    norms = []
    for x in blocks():
        total = x.sum(dim=0) if total is None else total.add_(x.sum(dim=0))
        gram = x.T @ x if gram is None else gram.addmm_(x.T, x)
        norms.append(x.norm(dim=1).cpu().numpy())
    if total is None or gram is None:
        raise ValueError("there are no rows")
    lengths = np.concatenate(norms)
    return total / len(lengths), gram / len(lengths), lengths


def measure_pairs(
    blocks: Blocks,
    n: int,
    *,
    smallest: float = 0.0,
    groups: Tensor | None = None,
    interval: bool = True,
    sampled_rows: int = SAMPLED_ROWS,
    seed: int = 0,
) -> PairStatistics:
    """Statistics of the cosines between those of the n rows whose norm exceeds `smallest`.

    `groups`, (n,) labels from 0 up, adds the mean squared cosine within each group. `cos2_se` is the
    delete-one-row jackknife standard error of the mean, for one more reading; NaN without `interval`.
    """
    labels = torch.zeros(n, dtype=torch.long) if groups is None else groups
    sums = _sum_directions(blocks, smallest, labels, _choose(n, sampled_rows, seed))
    rows = sum(sums.counts)
    if rows < 2:
        nothing = (math.nan,) * len(sums.counts)
        return PairStatistics(rows, n - rows, math.nan, math.nan, math.nan, math.nan, 0, nothing)
    gram = torch.stack(sums.grams).sum(dim=0)
    mean_cos2 = _mean_cos2(gram, rows)
    variance, pairs = _sampled_variance(sums.sample, mean_cos2)
    return PairStatistics(
        rows=rows,
        zero_rows=n - rows,
        mean_cos=(float(sums.total @ sums.total) - rows) / (rows * (rows - 1)),
        mean_cos2=mean_cos2,
        cos2_se=_jackknife_se(blocks, gram, smallest, rows) if interval else math.nan,
        cos2_variance=variance,
        pairs_sampled=pairs,
        group_cos2=tuple(_mean_cos2(g, c) for g, c in zip(sums.grams, sums.counts, strict=True)),
    )


def simulate_pairs(spectrum: Tensor, n: int, draws: int, seed: int) -> PairStatistics:
    """`draws` simulations of n Gaussian rows whose second moment has the eigenvalues `spectrum`, averaged.

    In the eigenbasis the rows are N(0, diag(spectrum)), so no rotation is needed: cosines do not see it.
    `cos2_se` is the standard error of the mean over the draws, NaN for a single draw.
    """
    rows, scale = min(n, NULL_ROWS), spectrum.double().sqrt()
    results = [
        measure_pairs(_gaussian(rows, scale, seed + 1000 * draw), rows, interval=False, sampled_rows=NULL_SAMPLED_ROWS)
        for draw in range(draws)
    ]
    means = [r.mean_cos2 for r in results]
    return PairStatistics(
        rows=rows,
        zero_rows=0,
        mean_cos=float(np.mean([r.mean_cos for r in results])),
        mean_cos2=float(np.mean(means)),
        cos2_se=float(np.std(means, ddof=1)) / math.sqrt(draws) if draws > 1 else math.nan,
        cos2_variance=float(np.mean([r.cos2_variance for r in results])),
        pairs_sampled=sum(r.pairs_sampled for r in results),
        group_cos2=(float(np.mean(means)),),
    )


@dataclass
class _Sums:
    """Per group: Gram matrix and number of unit rows; their sum; and a random sample of them."""

    grams: list[Tensor]
    counts: list[int]
    total: Tensor
    sample: Tensor


def _choose(n: int, size: int, seed: int) -> Tensor:
    """Mask (n,) of `size` rows chosen at random, all of them where there are fewer."""
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:size]] = True
    return chosen


def _sum_directions(blocks: Blocks, smallest: float, labels: Tensor, chosen: Tensor) -> _Sums:
    groups = int(labels.max()) + 1
    sums: _Sums | None = None
    sample, start = [], 0
    for x in blocks():
        here = slice(start, start + len(x))
        start += len(x)
        u, used = _unit_rows(x, smallest)
        if sums is None:
            m = x.shape[1]
            sums = _Sums([x.new_zeros(m, m) for _ in range(groups)], [0] * groups, x.new_zeros(m), x.new_zeros(0, m))
        sums.total += u.sum(dim=0)
        own = labels[here].to(x.device)[used]
        for g in range(groups):
            members = u if groups == 1 else u[own == g]  # (members, m)
            sums.grams[g].addmm_(members.T, members)
            sums.counts[g] += len(members)
        sample.append(u[chosen[here].to(x.device)[used]])
    if sums is None:
        raise ValueError("there are no rows")
    sums.sample = torch.cat(sample)
    return sums


def _unit_rows(x: Tensor, smallest: float) -> tuple[Tensor, Tensor]:
    """Rows scaled to norm one, without those whose norm is at most `smallest`; and which were kept."""
    norms = x.norm(dim=1, keepdim=True)
    used = norms[:, 0] > smallest
    return (x / norms if bool(used.all()) else x[used] / norms[used]), used


def _mean_cos2(gram: Tensor, rows: int) -> float:
    if rows < 2:
        return math.nan
    return max(0.0, (float(gram.square().sum()) - rows) / (rows * (rows - 1)))  # rounding may dip below zero


def _sampled_variance(sample: Tensor, mean_cos2: float) -> tuple[float, int]:
    """Variance of cos^2 about its exact mean, over all pairs of the sampled unit rows; and their number."""
    pairs = len(sample) * (len(sample) - 1) // 2
    if pairs == 0:
        return math.nan, 0
    deviation = (sample @ sample.T).square_().sub_(mean_cos2).fill_diagonal_(0.0)  # (sampled, sampled)
    return float(deviation.square_().sum()) / (2 * pairs), pairs


def _jackknife_se(blocks: Blocks, gram: Tensor, smallest: float, rows: int) -> float:
    """Exact delete-one-row jackknife: without row i the mean is (S - 2 s_i) / ((n-1)(n-2)).

    s_i is row i's sum of squared cosines with the others, u_i' G u_i - 1, and S the sum of the s_i.
    """
    if rows < 3:
        return math.nan
    per_row = []
    for x in blocks():
        u, _ = _unit_rows(x, smallest)
        per_row.append(((u @ gram) * u).sum(dim=1) - 1)
    s = torch.cat(per_row)
    spread = float((s - s.mean()).square().sum())
    return 2 * math.sqrt(spread * (rows - 1) / rows) / ((rows - 1) * (rows - 2))


def _gaussian(rows: int, scale: Tensor, seed: int) -> Blocks:
    def blocks() -> Iterable[Tensor]:
        generator = torch.Generator(scale.device).manual_seed(seed)
        for start in range(0, rows, NULL_BLOCK):
            shape = (min(NULL_BLOCK, rows - start), len(scale))
            yield torch.randn(shape, generator=generator, dtype=torch.float64, device=scale.device) * scale

    return blocks
