"""Does a metric of a training run say more about accuracy than the step does?

    series_statistics(step, metric, accuracy)               every statistic below, one row each
    partial_correlation(step, metric, accuracy, "curve")    what is left when the course over steps is taken out
    shift_null(x, y)                                        p of a correlation of two detrended series, by exact shifts
    pooled_shift_null(runs)                                 the same over runs, which are the units
    swapped_null(metric, accuracy)                          does a run's metric fit its own accuracy best?
    lead_lag(step, metric, accuracy)                        correlation when one series is moved against the other

Whatever rises during training correlates with whatever else does: two independent trends have a raw |r| near 1. So a
raw r stands beside what remains without the step. How the step is taken out matters: a line leaves the bend that two
saturating curves share, and a third of such pairs look related. `curve` takes out step, log step and its square; in
simulations of 20 and 40 checkpoints with straight and saturating trends, and noise whose neighbours correlate up to .5,
its shift null calls 4 to 8 % of unrelated pairs related at p <= .05 (7 to 10 % where neighbours correlate .8; with
fewer than 20 checkpoints no p is that small). The nulls are in `evolm.instruments.pathway_null`, and are imported here.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from evolm.instruments.pathway_null import (
    Array,
    Given,
    ShiftNull,
    checked_series,
    correlation,
    detrended,
    pooled_shift_null,
    shift_null,
    swapped_null,
    time_columns,
)

__all__ = [
    "FEWEST",
    "Given",
    "ShiftNull",
    "correlation",
    "detrended",
    "difference_correlation",
    "lead_lag",
    "not_assessable",
    "partial_correlation",
    "pooled_shift_null",
    "series_statistics",
    "shift_null",
    "statistics_rows",
    "swapped_null",
    "time_columns",
]

#: A series of fewer checkpoints says nothing of a relation.
FEWEST = 5
#: Points that must be left over when a trend is taken out, beside those that it uses up.
SPARE = 3


def partial_correlation(
    step: ArrayLike, metric: ArrayLike, accuracy: ArrayLike, given: Given = "curve", *, ranks: bool = False
) -> float:
    """Correlation of metric and accuracy (point,) given the step. With `ranks`, of ranks given the step's rank."""
    at, x, y = _ranked(step, metric, accuracy) if ranks else checked_series(step, metric, accuracy)
    return float(correlation(detrended(at, x, given), detrended(at, y, given)))


def difference_correlation(metric: ArrayLike, accuracy: ArrayLike, *, ranks: bool = False) -> float:
    """Correlation of the changes from one checkpoint to the next."""
    return float(correlation(np.diff(np.asarray(metric, float)), np.diff(np.asarray(accuracy, float)), ranks=ranks))


def lead_lag(
    step: ArrayLike, metric: ArrayLike, accuracy: ArrayLike, given: Given = "curve", most: int | None = None
) -> pd.DataFrame:
    """Correlation of the detrended metric with the detrended accuracy `lag` checkpoints later: lag, value, points.

    Where it is largest at a positive lag, the metric moves first. `most`: the largest lag, by default a quarter of the
    checkpoints.
    """
    at, x, y = checked_series(step, metric, accuracy)
    points = len(at)
    most = points // 4 if most is None else most
    if not 0 <= most <= points - FEWEST:
        raise ValueError(f"the largest lag is {most} of {points} checkpoints; expected 0 to {points - FEWEST}")
    return pd.DataFrame(
        _lags(detrended(at, x, given), detrended(at, y, given), most), columns=["lag", "value", "points"]
    )


def series_statistics(step: ArrayLike, metric: ArrayLike, accuracy: ArrayLike) -> pd.DataFrame:
    """Raw, step-partialled and first-difference correlations of one run, and which series moves first.

    Columns: statistic, given, value, p (by circular shifts; a raw r has none, since a trend is no draw of anything),
    points, note. Where nothing can be said the value is NaN and the note says why. Raises ValueError for series of
    unequal length, values that are not finite, and steps that do not rise.
    """
    table = pd.DataFrame(statistics_rows(step, metric, accuracy), columns=["statistic", "given", "value", "p", "note"])
    table.insert(4, "points", np.size(step))
    return table


Row = tuple[str, str, float, float, str]


def statistics_rows(step: ArrayLike, metric: ArrayLike, accuracy: ArrayLike) -> list[Row]:
    """The rows of `series_statistics`, (statistic, given, value, p, note), where a frame for each series is slow."""
    at, x, y = checked_series(step, metric, accuracy)
    rows = [*_raw_rows(x, y), *_partial_rows(at, x, y), *_difference_rows(x, y), _lead_row(at, x, y)]
    if reason := not_assessable(x, y):
        return [(row[0], row[1], math.nan, math.nan, f"not assessable: {reason}") for row in rows]
    return rows


def not_assessable(metric: Array, accuracy: Array) -> str:
    """Why a series says nothing of a relation; empty where it may."""
    if len(metric) < FEWEST:
        return f"{len(metric)} checkpoint{'s' * (len(metric) != 1)}, and a relation needs {FEWEST} or more"
    for name, values in (("metric", metric), ("accuracy", accuracy)):
        if np.ptp(values) == 0:
            return f"the {name} is {values[0]:g} at every checkpoint"
    return ""


def _raw_rows(x: Array, y: Array) -> list[Row]:
    note = "of two trends: near 1 whether or not they are related"
    return [
        (name, "", float(correlation(x, y, ranks=ranks)), math.nan, note)
        for name, ranks in (("pearson", False), ("spearman", True))
    ]


def _partial_rows(at: Array, x: Array, y: Array) -> list[Row]:
    rows: list[Row] = []
    for name, given, ranks in (
        ("partial pearson", "step", False),
        ("partial pearson", "log step", False),
        ("partial pearson", "curve", False),
        ("partial spearman", "step", True),
    ):
        kind: Given = given  # type: ignore[assignment]
        time, one, other = _ranked(at, x, y) if ranks else (at, x, y)
        if len(at) < FEWEST or len(at) - 1 - len(time_columns(time, kind)) < SPARE:
            rows.append((name, given, math.nan, math.nan, f"too few points to take out the {given}"))
            continue
        found = shift_null(detrended(time, one, kind), detrended(time, other, kind))
        nothing = "nothing is left without the step" if math.isnan(found.r) else _smallest(len(at))
        rows.append((name, given, found.r, found.p, nothing))
    return rows


def _difference_rows(x: Array, y: Array) -> list[Row]:
    rows: list[Row] = []
    for name, ranks in (("difference pearson", False), ("difference spearman", True)):
        one, other = np.diff(x), np.diff(y)
        if ranks:
            one, other = stats.rankdata(one), stats.rankdata(other)
        found = shift_null(one, other) if len(one) > 1 else ShiftNull(math.nan, np.empty(0), math.nan)
        note = "a series changes by the same at every checkpoint" if math.isnan(found.r) else _smallest(len(one))
        rows.append((name, "", found.r, found.p, note))
    return rows


def _lead_row(at: Array, x: Array, y: Array) -> Row:
    if len(at) < 2 * FEWEST:
        return ("lead", "curve", math.nan, math.nan, f"fewer than {2 * FEWEST} checkpoints tell no lead")
    found = [(lag, r) for lag, r, _ in _lags(detrended(at, x), detrended(at, y), len(at) // 4) if math.isfinite(r)]
    if not found:
        return ("lead", "curve", math.nan, math.nan, "nothing is left without the step")
    lag, r = max(found, key=lambda pair: abs(pair[1]))
    return ("lead", "curve", float(lag), math.nan, f"checkpoints by which the metric leads; r {r:.2f} there")


def _lags(x: Array, y: Array, most: int) -> list[tuple[int, float, int]]:
    """Lag, correlation and points, with `y` so many points later than `x`."""
    rows = []
    for lag in range(-most, most + 1):
        early, late = (x, y) if lag >= 0 else (y, x)
        left = len(x) - abs(lag)
        rows.append((lag, float(correlation(early[:left], late[abs(lag) :])), left))
    return rows


def _smallest(points: int) -> str:
    """What a p by shifts cannot say of few points."""
    return f"{points} shifts: p is never below {1 / points:.2g}" if points < 20 else ""


def _ranked(step: ArrayLike, metric: ArrayLike, accuracy: ArrayLike) -> tuple[Array, Array, Array]:
    at, x, y = checked_series(step, metric, accuracy)
    return stats.rankdata(at), stats.rankdata(x), stats.rankdata(y)
