"""Does the norm of a head grow without bound? The slope of log norm against log step, over one run's checkpoints.

    growth = norm_growth(steps, norms, level=0.95, bound=0.02)
    growth.verdict                                 "growing", "bounded", "undecided", "not assessable"

Under cross-entropy without decay the norm grows for ever, as log t on separable data (Soudry et al. 2018), whose
slope is 1/log t: about 0.1 at ten thousand steps. A slope that stays below `bound` counts as bounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from evolm.instruments.geometry_measures import norm_slope

#: Checkpoints that the later half of a series needs, to be judged by itself.
LATER_POINTS = 3


@dataclass(frozen=True)
class Slope:
    """A slope, its interval, and the points and steps that it is over."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    points: int = 0
    first: float = math.nan
    last: float = math.nan


@dataclass(frozen=True)
class Growth:
    """Slopes over all points and, if there are enough, over the later half, which then carries the `verdict`."""

    whole: Slope
    later: Slope | None
    verdict: str
    note: str

    @property
    def judged(self) -> Slope:
        return self.later or self.whole


def norm_growth(
    steps: Sequence[float], norms: Sequence[float], *, level: float, bound: float, start: float | None = None
) -> Growth:
    """Slopes of log `norms` on log `steps`, (points,) each, steps rising, from step `start` on (default: above 0).

    Growing: the interval is above `bound`. Bounded: it is below. Less than three checkpoints give no interval.
    Raises ValueError for a bound that is not positive, and a start after the last step.
    """
    if not bound > 0:
        raise ValueError(f"bound is {bound}; expected the smallest slope that counts as growth, above 0")
    at, sizes = np.asarray(steps, float), np.asarray(norms, float)
    kept = (at > 0) if start is None else (at > 0) & (at >= start)
    if start is not None and not kept.any():
        raise ValueError(f"growth_from is {start:g}, and the last step is {at[-1]:g}; name a step of the series")
    left_out = "step 0 has no logarithm and is left out; " if start is None and not kept.all() else ""
    at, sizes = at[kept], sizes[kept]
    if len(at) < 2:
        note = "one checkpoint: give two or more of one run, at steps above 0" if len(at) else "no step above 0"
        return Growth(Slope(points=len(at)), None, "not assessable", left_out + note)
    whole, later = slope(at, sizes, level), None
    half = at >= math.sqrt(at[0] * at[-1])
    if half.sum() >= LATER_POINTS and not half.all():
        later = slope(at[half], sizes[half], level)
    judged = later or whole
    note = left_out + f"interval: of this run's slope, over its checkpoints, not over seeds; bounded is below {bound:g}"
    if not math.isfinite(judged.low):
        reason = "two checkpoints give no interval" if len(at) == 2 else "a norm is zero or not finite"
        return Growth(whole, later, "not assessable", left_out + reason)
    verdict = "growing" if judged.low > bound else "bounded" if judged.high < bound else "undecided"
    return Growth(whole, later, verdict, note)


def slope(steps: np.ndarray, norms: np.ndarray, level: float) -> Slope:
    """Least-squares slope with a t interval, widened by (1 + r)/(1 - r) for residuals with serial correlation r > 0.

    The variance of a mean of a first-order autoregression. From five points on, r is read from neighbouring residuals
    with Kendall's (1954) correction of its bias. In simulations of 6 to 24 points at 95 % the interval covers 95 to
    96 % under independent noise, and 84 to 89 % under r = 0.6.
    """
    value = float(norm_slope(torch.from_numpy(steps), torch.from_numpy(norms)))
    n = len(steps)
    if n < 3 or not math.isfinite(value):
        return Slope(value, points=n, first=steps[0], last=steps[-1])
    x, y = np.log(steps), np.log(norms)
    x, y = x - x.mean(), y - y.mean()
    rest = y - value * x
    squares = float(rest @ rest)
    r = 0.0
    if n >= 5 and squares > 1e-24 * max(float(y @ y), 1e-300):
        r = float(rest[1:] @ rest[:-1]) / squares
        r = min(max(r + (1 + 3 * r) / n, 0.0), 0.9)
    error = math.sqrt(squares / (n - 2) / float(x @ x) * (1 + r) / (1 - r))
    freedom = max(1.0, n * (1 - r) / (1 + r) - 2)  # as if of so many independent points
    half_width = float(stats.t.ppf(0.5 + level / 2, freedom)) * error
    return Slope(value, value - half_width, value + half_width, n, steps[0], steps[-1])
