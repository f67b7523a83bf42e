"""Correlations of series over checkpoints, the course over steps taken out, and what chance alone makes of them.

    detrended(step, values, "curve")            what is left of a series without its course over steps
    shift_null(x, y)                            p of a correlation of two detrended series, by exact shifts
    pooled_shift_null(runs)                     the same over runs, which are the units
    swapped_null(metric, accuracy)              does a run's metric fit its own accuracy best?

A circular shift keeps what a series owes to its own past and breaks its relation to another. Swapping runs takes out
whatever course they share, of any form. Nothing here reads a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import permutations
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]
Given = Literal["step", "log step", "curve"]
#: A residual smaller than this share of its series' range, or of its size in the last digits, is rounding.
ROUNDING, LAST_DIGITS = 1e-9, 1e-14
#: Runs whose order is enumerated in full: 7! is 5,040.
ENUMERATED = 7


class ShiftNull(NamedTuple):
    """A correlation `r`, those of the shifted series (shift,), and the share of all shifts at least as strong."""

    r: float
    null: Array
    p: float


def correlation(x: ArrayLike, y: ArrayLike, *, ranks: bool = False) -> Array:
    """Pearson's r over the last dimension, (...); Spearman's with `ranks`. NaN where a series is constant."""
    one, other = np.asarray(x, float), np.asarray(y, float)
    if ranks:
        one, other = stats.rankdata(one, axis=-1), stats.rankdata(other, axis=-1)
    one, other = _centred(one), _centred(other)
    with np.errstate(divide="ignore", invalid="ignore"):
        r: Array = (one * other).sum(-1) / np.sqrt((one**2).sum(-1) * (other**2).sum(-1))
    return np.clip(r, -1, 1)


def detrended(step: ArrayLike, values: ArrayLike, given: Given = "curve") -> Array:
    """Residuals of `values` (..., point) on the course of `step` (point,) by least squares; 0 where none is left."""
    at, series = np.asarray(step, float), np.asarray(values, float)
    basis, _ = np.linalg.qr(np.column_stack([np.ones(len(at)), *time_columns(at, given)]))
    left = series - (series @ basis) @ basis.T
    size, span = np.abs(series).max(-1, keepdims=True), np.ptp(series, axis=-1, keepdims=True)
    smallest = np.maximum(ROUNDING * span, LAST_DIGITS * size)
    rest: Array = np.where(np.abs(left).max(-1, keepdims=True) > smallest, left, 0.0)
    return rest


def time_columns(step: Array, given: Given) -> list[Array]:
    """Columns (point,) that stand for the time: the step, its logarithm, or both and the logarithm's square.

    The logarithm is log(1 + step / the smallest positive step), so that a step 0 has one.
    """
    if given not in get_args(Given):
        raise ValueError(f"given is {given!r}; expected one of {', '.join(get_args(Given))}")
    if (step < 0).any() or not (step > 0).any():
        raise ValueError("steps are negative, or all 0; expected the optimiser's steps, 0 or more")
    logs = np.log1p(step / step[step > 0].min())
    line, logs = step / step.max(), logs / logs.max()
    return {"step": [line], "log step": [logs], "curve": [line, logs, logs**2]}[given]


def shift_null(x: ArrayLike, y: ArrayLike) -> ShiftNull:
    """Correlation of detrended `x` and `y` (point,) against those of every circular shift of `x`, enumerated.

    A shift keeps each series' own dependence on its past and breaks their relation. p counts the unshifted series
    too, so that with n points it is never below 1 / n.
    """
    one, other = np.asarray(x, float), np.asarray(y, float)
    every = _shifted_correlations(one, other)
    if not np.isfinite(every[0]):
        return ShiftNull(math.nan, every[1:], math.nan)
    return ShiftNull(float(every[0]), every[1:], float(np.mean(np.abs(every) >= abs(every[0]) - 1e-12)))


def pooled_shift_null(
    runs: Iterable[tuple[ArrayLike, ArrayLike, ArrayLike]],
    given: Given = "curve",
    *,
    draws: int = 4000,
    seed: int = 0,
) -> ShiftNull:
    """Mean partial correlation over runs of (step, metric, accuracy), each shifted by its own amount in every draw."""
    rng = np.random.default_rng(seed)
    every = []
    for step, metric, accuracy in runs:
        at, x, y = checked_series(step, metric, accuracy)
        every.append(_shifted_correlations(detrended(at, x, given), detrended(at, y, given)))
    if not every:
        raise ValueError("there are no runs; expected (step, metric, accuracy) for each")
    r = float(np.mean([each[0] for each in every]))
    null = np.mean([each[rng.integers(0, len(each), draws)] for each in every], axis=0)
    at_least = int((np.abs(null) >= abs(r) - 1e-12).sum())
    return ShiftNull(r, null, (1 + at_least) / (1 + draws) if math.isfinite(r) else math.nan)


def swapped_null(metric: ArrayLike, accuracy: ArrayLike, *, draws: int = 4000, seed: int = 0) -> ShiftNull:
    """Mean raw correlation over runs against that with accuracies of other runs: (run, point), equal steps.

    Whatever course the runs share, of any form, is in both. Every order of up to 7 runs is enumerated.
    """
    x, y = np.asarray(metric, float), np.asarray(accuracy, float)
    if x.ndim != 2 or x.shape != y.shape or len(x) < 3:
        raise ValueError(f"metric and accuracy have shapes {x.shape} and {y.shape}; expected (run, point), three runs")
    table = correlation(x[:, None], y[None])  # (run, run): metric of one, accuracy of the other
    runs = np.arange(len(x))
    if len(x) <= ENUMERATED:
        orders = np.array(list(permutations(range(len(x)))))[1:]  # the first is the runs' own
    else:
        orders = np.random.default_rng(seed).permuted(np.tile(runs, (draws, 1)), axis=1)
    r, null = float(table[runs, runs].mean()), table[runs, orders].mean(1)
    every = np.append(null, r)
    # From their centre, not from 0: a course that all runs share lifts every one of them.
    away = np.abs(every - every.mean())
    return ShiftNull(r, null, float(np.mean(away >= away[-1] - 1e-12)) if math.isfinite(r) else math.nan)


def checked_series(step: ArrayLike, metric: ArrayLike, accuracy: ArrayLike) -> tuple[Array, Array, Array]:
    """Step, metric and accuracy as arrays of one length. Raises ValueError where they are no series."""
    at, x, y = (np.asarray(values, float) for values in (step, metric, accuracy))
    if not (at.ndim == 1 and at.shape == x.shape == y.shape and at.size):
        found = f"step, metric and accuracy have shapes {at.shape}, {x.shape} and {y.shape}"
        raise ValueError(f"{found}; expected one number of each for every checkpoint")
    for name, values in (("step", at), ("metric", x), ("accuracy", y)):
        if (bad := np.flatnonzero(~np.isfinite(values))).size:
            raise ValueError(f"{name} of checkpoint {bad[0] + 1} is {values[bad[0]]}; expected finite numbers")
    if (np.diff(at) <= 0).any():
        raise ValueError("steps do not rise; sort the checkpoints by step, one of each")
    return at, x, y


def _shifted_correlations(x: Array, y: Array) -> Array:
    """Correlations of `y` with every circular shift of `x`, the unshifted one first, (point,)."""
    at = np.arange(len(x))
    return correlation(x[(at[:, None] + at) % len(x)], y)


def _centred(values: Array) -> Array:
    """Values less their mean; exactly 0 where they are constant up to rounding."""
    left = values - values.mean(-1, keepdims=True)
    size = np.abs(values).max(-1, keepdims=True)
    centred: Array = np.where(np.abs(left).max(-1, keepdims=True) > LAST_DIGITS * size, left, 0.0)
    return centred
