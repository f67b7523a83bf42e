"""A dip over repeated runs: where it is lowest is read off the other runs, and runs are the unit of every interval.

measure_runs(series, settings)          series.values: (runs, points), two runs or more
"""

from __future__ import annotations

import numpy as np

from evolm.instruments import dip_statistics as shape
from evolm.instruments.dip_results import Dip, Estimate, Settings
from evolm.instruments.dip_statistics import Array
from evolm.instruments.dip_tables import Series
from evolm.intervals import median_interval, seed_interval, seed_p_value

FEW_RUNS = 5


def measure_runs(series: Series, settings: Settings) -> Dip:
    """Depth and area of each run where the mean of the others has them; medians of recovery; means of the rest."""
    y, steps = series.oriented, series.steps  # (runs, points), (points,)
    runs, weights = len(y), shape.trapezoid_weights(steps)
    others = (y.sum(0) - y) / (runs - 1)
    lowest, each = 1 + others[:, 1:].argmin(1), np.arange(runs)
    gap = y[:, :1] - y
    depths, below = gap[each, lowest], others < others[:, :1]
    last = shape.end_points(steps.size)
    ends = -gap[:, -last:].mean(1)
    depth = _mean(depths, settings)
    p = float(seed_p_value(depths, 0.0))
    found = depth.low > 0 and p <= 1 - settings.level
    noise = _noise(series)
    notes = [f"{runs} runs: intervals over so few are wide"] if runs < FEW_RUNS else []
    recovery = forgetting = Estimate()
    if found:
        back = np.array([shape.recovery_step(steps, run, noise) for run in y])
        recovery = _median(back, steps, settings)
        forgetting = _forgotten(-ends, depths, settings)
        if np.isinf(back).any():
            late = int(np.isinf(back).sum())
            notes.append(f"{late} of {runs} runs {'is' if late == 1 else 'are'} not back by step {steps[-1]:,.12g}")
    logs = _mean((gap * below) @ shape.log_weights(steps), settings) if settings.log_steps else Estimate()
    return Dip(
        depth=depth,
        depth_seen=float(shape.depth(y).mean()),
        p=p,
        step=_median(steps[1 + y[:, 1:].argmin(1)], steps, settings),
        area=_mean((gap * below) @ weights, settings),
        area_seen=float(shape.area(y, weights).mean()),
        log_area=logs,
        recovery=recovery,
        forgetting=forgetting,
        end=_mean(ends, settings),
        noise=noise,
        method=f"step chosen on the other runs, read on the one left out; intervals over {runs} runs",
        found=found,
        notes=notes,
    )


def _noise(series: Series) -> float:
    """Standard error of one point of one run: stated, or from scatter; 0 where nothing tells it."""
    if series.stderr is not None:
        return float(np.sqrt((series.stderr**2).mean()))
    if series.steps.size < 5:
        return 0.0
    return float(np.sqrt((shape.scatter_noise(series.oriented) ** 2).mean()))


def _mean(values: Array, settings: Settings) -> Estimate:
    low, high = seed_interval(values, settings.level)
    return Estimate(float(values.mean()), float(low), float(high))


def _median(values: Array, steps: Array, settings: Settings) -> Estimate:
    """Median over runs; a run that is not back by the last step is known to be back later only."""
    low, high = median_interval(np.minimum(values, steps[-1]), values, settings.level)
    middle = float(np.quantile(values, 0.5, method="higher"))  # an order statistic: values may be infinite
    finite = float(np.median(values)) if np.isfinite(values).all() else middle
    return Estimate(finite, float(max(low, steps[0])), float(high))


def _forgotten(lost: Array, fallen: Array, settings: Settings) -> Estimate:
    """Ratio of means in [0, 1], with the interval of its linear approximation."""
    ratio = lost.mean() / fallen.mean()
    low, high = seed_interval(ratio + (lost - ratio * fallen) / fallen.mean(), settings.level)
    value, low, high = np.clip([ratio, low, high], 0, 1)
    return Estimate(float(value), float(low), float(high))
