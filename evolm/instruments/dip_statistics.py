"""The shape of a dip: how deep, how large, when it is over, how much of it stays; and the noise of a curve.

    thinned_depth(values, noise)          a depth whose step was chosen without looking at what is read there
    thinned_area(values, noise, weights)  the gap below the baseline, likewise
    recovery_step(steps, values, noise)   where the smoothed curve is back at its baseline
    scatter_noise(values)                 noise from second differences, where nothing else tells it

Pure functions on arrays. `values` is one curve (points,) or many (..., points); its first point is the baseline and
larger is better. A minimum over noisy points lies below every true one: a flat curve has one too. So the noise of a
point is added to choose with and taken away to read with: y + w and y - w are independent where w is distributed as
the noise of y. Two halves of the test items are such a pair, w being half of their difference.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Array = NDArray[np.float64]
#: A point's null value is left above the baseline only beyond this many standard errors.
SLACK = 2.0
#: Second differences beyond this many standard errors count as if they lay there: a sharp dip is not noise.
CLIP = 2.0
#: Numbers that one block of a computation holds.
BLOCK = 2**22


def depth(values: Array) -> Array:
    """Baseline less the lowest later point, (...,): negative where all later points are higher."""
    found: Array = values[..., 0] - values[..., 1:].min(-1)
    return found


def thinned_depth(values: Array, noise: Array, scale: Array | None = None) -> Array:
    """Depth at the step where `values` + noise is lowest, read from `values` - noise: mean over draws, (...,).

    `noise` (draws, points) is distributed as that of `values`, and used with both signs; `scale` (...,) multiplies it.
    What is read is unbiased for the depth at the chosen step, and 0 on average where the true curve is flat.
    """
    return _thinned(values, noise, scale, _read_depth)


def thinned_area(values: Array, noise: Array, weights: Array, scale: Array | None = None) -> Array:
    """Area of the gap below the baseline, where `values` + noise has one, read from `values` - noise, (...,)."""

    def reading(seen: Array, read: Array) -> Array:
        found: Array = ((seen < seen[..., :1]) * _gap(read)) @ weights
        return found

    return _thinned(values, noise, scale, reading)


def area(values: Array, weights: Array) -> Array:
    """Trapezoid of max(0, baseline - value), (...,); `weights` are those of `trapezoid_weights`."""
    found: Array = np.maximum(_gap(values), 0) @ weights
    return found


def trapezoid_weights(steps: Array) -> Array:
    """What each point counts in a trapezoid over `steps`, (points,)."""
    width = np.diff(steps)
    weights: Array = (np.append(width, 0.0) + np.append(0.0, width)) / 2
    return weights


def log_weights(steps: Array) -> Array:
    """The same over log10 of the step, from the first positive step on; a step 0 counts nothing."""
    positive = steps > 0
    weights = np.zeros(len(steps))
    weights[positive] = trapezoid_weights(np.log10(steps[positive]))
    return weights


def recovery_step(steps: Array, values: Array, noise: float) -> float:
    """First step from which the curve (points,) is back at its baseline, less `noise`; infinite where it is not.

    After the lowest point the curve is smoothed by the best rising one, so that it stays back, on average, once it
    is; between points the step is interpolated. A curve that never leaves is back at its first step.
    """
    lowest, target = 1 + int(values[1:].argmin()), values[0] - noise
    smooth, after = rising(values[lowest:]), steps[lowest:]
    back = int(np.searchsorted(smooth, target))  # the first with smooth >= target
    if back == 0:
        return float(steps[0])
    if back == len(smooth):
        return float("inf")
    share = (target - smooth[back - 1]) / (smooth[back] - smooth[back - 1])
    return float(after[back - 1] + share * (after[back] - after[back - 1]))


def end_points(points: int) -> int:
    """How many points are the end of a curve: the last fifth of them, at least one."""
    return max(1, points // 5)


def forgotten(values: Array, fallen: Array) -> Array:
    """Share of a depth `fallen` (...,) that is still missing at the end, in [0, 1]; NaN where nothing fell."""
    lost = values[..., 0] - values[..., -end_points(values.shape[-1]) :].mean(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Array = np.where(fallen > 0, np.clip(lost / fallen, 0, 1), np.nan)
    return share


def rising(values: Array) -> Array:
    """The rising curve that is nearest to `values`, (points,), by least squares."""
    found: Array = np.asarray(optimize.isotonic_regression(values).x, float)
    return found


def valley(values: Array) -> Array:
    """The curve that falls, then rises, and is nearest to `values`, (points,), by least squares."""
    fits = []
    for lowest in candidates(values):
        left, right = -rising(-values[: lowest + 1]), rising(values[lowest:])
        # Either part may take the lowest point; the other one then starts beside it.
        fits += [np.append(left, rising(values[lowest + 1 :])) if lowest + 1 < len(values) else left]
        fits += [np.append(-rising(-values[:lowest]), right) if lowest else right]
    return min(fits, key=lambda fit: float(((fit - values) ** 2).sum()))


def candidates(values: Array, most: int = 64) -> NDArray[np.int64]:
    """Where a valley's floor is looked for: everywhere, in a long curve at its lowest points."""
    lowest = np.argsort(values, kind="stable")[:most]
    return np.sort(lowest)


def without_dip(values: Array, noise: Array) -> Array:
    """A curve with no dip that `values`, (points,), may be a noisy draw of: never below its first point, rising.

    It is the nearest rising curve, lowered by `SLACK` standard errors and by no more than down to the baseline:
    following its rise in full would take noise for gains, and make dips that are none look rare.
    """
    rise = rising(values)
    lowered: Array = np.maximum(rise - rise[0] - SLACK * noise, 0.0)
    return lowered


def scatter_noise(values: Array) -> Array:
    """Standard error of a point from how neighbours scatter: second differences over sqrt(6), (...,).

    von Neumann's estimator, with what lies beyond `CLIP` standard errors clipped, since a sharp dip is no noise.
    NaN for fewer than three points.
    """
    if values.shape[-1] < 3:
        return np.full(values.shape[:-1], np.nan)
    squares = np.diff(values, n=2, axis=-1) ** 2 / 6
    share = _clipped_variance(CLIP)
    variance = np.median(squares, -1) / special.ndtri(0.75) ** 2
    for _ in range(20):
        variance = np.minimum(squares, CLIP**2 * variance[..., None]).mean(-1) / share
    # Where more than half of the differences are nil, their median tells nothing.
    spread: Array = np.sqrt(np.where(variance > 0, variance, squares.mean(-1)))
    rounding: Array = 1e-13 * np.abs(values).max(-1)
    return np.where(spread > rounding, spread, 0.0)


def item_noise(outcomes: Array, draws: int, rng: np.random.Generator) -> Array:
    """Noise of a mean over items: how it moves when items are drawn again, (draws, points).

    `outcomes` is (points, items).
    """
    items = outcomes.shape[1]
    even = np.full(items, 1 / items)
    weights = rng.multinomial(items, even, size=draws) / items - even  # (draws, items)
    drawn: Array = weights @ outcomes.T
    return drawn


def half_splits(outcomes: Array, splits: int, rng: np.random.Generator) -> Array:
    """Half the difference between the means over two random halves of the items, (splits, points)."""
    items = outcomes.shape[1]
    first = np.zeros(items)
    first[: items // 2] = 1.0
    first = rng.permuted(np.tile(first, (splits, 1)), axis=1)  # (splits, items)
    in_first, in_second = first / (items // 2), (1 - first) / (items - items // 2)
    drawn: Array = (in_first - in_second) @ outcomes.T / 2
    return drawn


def _read_depth(seen: Array, read: Array) -> Array:
    lowest = 1 + seen[..., 1:].argmin(-1)
    found: Array = read[..., 0] - np.take_along_axis(read, lowest[..., None], -1)[..., 0]
    return found


def _thinned(values: Array, noise: Array, scale: Array | None, reading: Callable[[Array, Array], Array]) -> Array:
    curves = values.reshape(-1, values.shape[-1])
    scales = np.ones(len(curves)) if scale is None else np.broadcast_to(scale, values.shape[:-1]).reshape(-1)
    found, block = [], max(1, BLOCK // noise.size)
    for first in range(0, len(curves), block):
        part, drawn = curves[first : first + block, None], scales[first : first + block, None, None] * noise
        more, less = part + drawn, part - drawn  # (curves, draws, points)
        found.append((reading(more, less).mean(-1) + reading(less, more).mean(-1)) / 2)
    joined: Array = np.concatenate(found).reshape(values.shape[:-1])
    return joined


def _gap(values: Array) -> Array:
    below: Array = values[..., :1] - values
    return below


def _clipped_variance(clip: float) -> float:
    """E min(z^2, clip^2) of a standard normal z."""
    inside = 2 * special.ndtr(clip) - 1
    density = np.exp(-(clip**2) / 2) / np.sqrt(2 * np.pi)
    return float(inside - 2 * clip * density + clip**2 * (1 - inside))
