"""A dip with its intervals: from repeated runs, from right and wrong answers, or from a single noisy curve.

    measure_series(series, Settings())          Dip: depth, area, recovery, share of forgetting

Which noise there is decides how the minimum's bias is taken out. Several runs: the step is the lowest of the other
runs' mean, read on the run left out, with `seed_interval` over runs. One run with its items' answers: chosen on one
half of the items and read on the other, many times. One curve: the same with noise drawn as large as that of a point,
which `n`, `stderr` or the scatter of neighbours tells. The last two bootstrap around the nearest valley; `p` compares
with curves that never fall.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evolm.instruments import dip_statistics as shape
from evolm.instruments.dip_results import NONE, Dip, Estimate, Settings
from evolm.instruments.dip_runs import measure_runs
from evolm.instruments.dip_statistics import Array
from evolm.instruments.dip_tables import Series

#: Fewer points do not tell their own noise.
FEWEST_FOR_SCATTER = 5
#: A bootstrap draw is thinned this often, the curve itself this often; fewer times where a curve is very long.
SPLITS, SPLITS_OF_CURVE, NUMBERS = 60, 500, 2**26
#: Stated noise and scatter disagree where chance would do it this rarely, on either side.
DISAGREE = 0.01


@dataclass(frozen=True)
class Noise:
    """Draws (draws, points) of the noise of a curve; `splits` are those that thin it; `estimated` from its scatter."""

    draw: Callable[[int, np.random.Generator], Array]
    splits: Callable[[int, np.random.Generator], Array]
    words: str
    estimated: bool = False


def measure_series(series: Series, settings: Settings) -> Dip:
    """The dip of one metric: over runs where there are several, else of the one curve."""
    if len(series.values) > 1:
        return measure_runs(series, settings)
    noise, notes = _noise(series, settings)
    return _unknown_noise(series) if noise is None else _of_curve(series, noise, settings, notes)


def _unknown_noise(series: Series) -> Dip:
    """What is seen of a short curve, uncorrected."""
    y, weights = series.oriented[0], shape.trapezoid_weights(series.steps)
    few = f"{y.size} points do not tell their noise: nothing is corrected, and there are no intervals"
    return Dip(
        depth_seen=float(shape.depth(y)),
        step=Estimate(float(series.steps[1 + y[1:].argmin()])),
        area_seen=float(shape.area(y, weights)),
        end=Estimate(float(y[-shape.end_points(y.size) :].mean() - y[0])),
        method="noise not known",
        notes=[f"{few}; add a column n or stderr, repeated runs, or {FEWEST_FOR_SCATTER} points or more"],
    )


def _noise(series: Series, settings: Settings) -> tuple[Noise | None, list[str]]:
    """The noise of a single curve, and what should be said of it."""
    values, rng = series.oriented[0], np.random.default_rng([settings.seed, 3])
    points, scatter = values.size, float(shape.scatter_noise(values))
    by_scatter = _normal(np.full(points, scatter), "noise from the scatter of neighbouring points", True)
    if series.outcomes is not None:
        outcomes = -series.outcomes if series.lower_is_better else series.outcomes
        words = f"step chosen on one half of {outcomes.shape[1]} items, read on the other"
        stated = Noise(
            lambda n, rng: shape.item_noise(outcomes, n, rng), lambda n, rng: shape.half_splits(outcomes, n, rng), words
        )
    elif series.stderr is not None:
        stated = _normal(series.stderr[0], f"noise from {series.noise}")
    else:
        return (by_scatter if points >= FEWEST_FOR_SCATTER else None), []
    if points < FEWEST_FOR_SCATTER:
        return stated, []
    usual = shape.scatter_noise(stated.draw(max(settings.draws, 400), rng))
    low, high = np.quantile(usual, [DISAGREE, 1 - DISAGREE])
    if scatter > high > 0:
        more = f"neighbouring points scatter {scatter / np.median(usual):.2g} times as much as that noise"
        return stated, [f"{more}: a sharp dip, or noise of training, which repeated runs would show"]
    if scatter < low and series.outcomes is None:
        said = f"neighbouring points scatter {scatter / np.median(usual):.2g} times as much as {series.noise} would"
        return by_scatter, [
            f"{said} (the same items at every step?), so the scatter is taken: it is noise of this test"
        ]
    return stated, []


def _normal(sd: Array, words: str, estimated: bool = False) -> Noise:
    def draw(count: int, rng: np.random.Generator) -> Array:
        return rng.normal(size=(count, len(sd))) * sd

    return Noise(draw, draw, words, estimated)


def _of_curve(series: Series, noise: Noise, settings: Settings, notes: list[str]) -> Dip:
    """A single curve: thinned estimates, a bootstrap around the nearest valley, and the curves that never fall."""
    y, steps, rng = series.oriented[0], series.steps, np.random.default_rng([settings.seed, len(series.steps)])
    splits = int(np.clip(NUMBERS / (settings.draws * y.size), 8, SPLITS))
    many, few = noise.splits(SPLITS_OF_CURVE, rng), noise.splits(splits, rng)
    errors = noise.draw(settings.draws, rng)
    level = float(np.sqrt(((errors[:, :1] - errors[:, 1:]) ** 2).mean() / 2))
    valley = shape.valley(y)
    drawn = valley + errors
    scale = _scales(drawn, level, noise)

    def interval(value: float, replicates: Array, centre: float) -> Estimate:
        return _interval(value, replicates, centre, scale, settings.level)

    depth, depths = float(shape.thinned_depth(y, many)), shape.thinned_depth(drawn, few, scale)
    areas = []
    for weights in (shape.trapezoid_weights(steps), shape.log_weights(steps)):
        value, replicates = float(shape.thinned_area(y, many, weights)), shape.thinned_area(drawn, few, weights, scale)
        areas.append(interval(value, replicates, float(shape.area(valley, weights))))
    p, by_noise = _against_no_dip(y, noise, level, settings, rng)
    deep = interval(depth, depths, float(shape.depth(valley)))
    found = deep.low > 0 and p <= 1 - settings.level
    last = shape.end_points(y.size)
    ends = drawn[:, -last:].mean(1) - drawn[:, 0]
    recovery, forgetting = (
        _afterwards(series, depth, level, (drawn, depths, level * scale), settings) if found else (NONE, NONE)
    )
    return Dip(
        depth=deep,
        depth_seen=float(shape.depth(y)),
        depth_by_noise=by_noise,
        p=p,
        step=Estimate(
            float(steps[1 + y[1:].argmin()]), *_percentiles(steps[1 + drawn[:, 1:].argmin(1)], settings.level)
        ),
        area=areas[0],
        area_seen=float(shape.area(y, shape.trapezoid_weights(steps))),
        log_area=areas[1] if settings.log_steps else Estimate(),
        recovery=recovery,
        forgetting=forgetting,
        end=interval(float(y[-last:].mean() - y[0]), ends, float(valley[-last:].mean() - valley[0])),
        noise=level,
        method=noise.words,
        found=found,
        notes=notes,
    )


def _afterwards(
    series: Series, depth: float, noise: float, drawn: tuple[Array, Array, Array], settings: Settings
) -> tuple[Estimate, Estimate]:
    """Recovery and forgetting of a dip; `drawn` are the bootstrap's curves, their depths and their noise."""
    (y,), steps, (curves, depths, noises) = series.oriented, series.steps, drawn
    returns = np.array([shape.recovery_step(steps, row, sd) for row, sd in zip(curves, noises, strict=True)])
    shares = shape.forgotten(curves, np.maximum(depths, np.finfo(float).tiny))
    recovery = Estimate(shape.recovery_step(steps, y, noise), *_percentiles(returns, settings.level))
    share = float(shape.forgotten(y, np.array(depth)))
    return recovery, Estimate(share, *_percentiles(shares, settings.level))


def _scales(drawn: Array, level: float, noise: Noise) -> Array:
    """How much noisier each draw looks than the curve, where the noise is an estimate itself; else 1."""
    if not noise.estimated or level == 0:
        return np.ones(len(drawn))
    found = shape.scatter_noise(drawn)
    return np.maximum(found / np.median(found), 1e-3)


def _interval(value: float, replicates: Array, truth: float, scale: Array, level: float) -> Estimate:
    """Interval around `value`: its lower end by spread alone, its upper end also by what replicates miss of `truth`.

    A minimum that is missed makes a dip look shallower: the truth may be deeper, and a flat curve is still flat. An
    area is skewed: below a baseline that came out low there is little of it, so its own upper tail counts too.
    """
    away = (replicates - replicates.mean()) / scale
    missed = (replicates - truth) / scale
    tail = (1 - level) / 2
    low = value - np.quantile(away, 1 - tail)
    high = value + max(np.quantile(away, 1 - tail), -np.quantile(away, tail), -np.quantile(missed, tail))
    return Estimate(value, float(low), float(high))


def _against_no_dip(
    y: Array, noise: Noise, level: float, settings: Settings, rng: np.random.Generator
) -> tuple[float, Estimate]:
    """p value of the depth seen, and the depth that noise alone gives a curve which never falls."""
    null = shape.without_dip(y, np.array(level)) + noise.draw(settings.draws, rng)
    depths, seen = shape.depth(null), float(shape.depth(y))
    by_noise = Estimate(float(depths.mean()), *_percentiles(depths, settings.level))
    if noise.estimated and level > 0:
        depths, seen = depths / np.maximum(shape.scatter_noise(null), 1e-3 * level), seen / level
    at_least = int((depths >= seen - 1e-12 * abs(seen)).sum())
    return (1 + at_least) / (1 + settings.draws), by_noise


def _percentiles(draws: Array, level: float) -> tuple[float, float]:
    """Ends of the interval: order statistics, since values may be infinite."""
    low = np.quantile(draws, (1 - level) / 2, method="lower")
    return float(low), float(np.quantile(draws, (1 + level) / 2, method="higher"))
