"""From samples over seeds to a verdict: which bounds must hold, at which level, and how many seeds would do.

    rules = superiority(arm=SeedMean(a), differences=[SeedMean(a - c)], delta=0.1)
    alpha = holm(np.stack([favourable_p(rules), ...], -1))     # one level per claim of the family
    outcome = OUTCOMES[decide(rules, 1 - alpha[0])]

Everything works on leading axes: `evolm.verdict` judges one record and `evolm.calibration` simulates
thousands of families through these same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from evolm.intervals import Array, critical_value, median_interval, median_p_value, seed_interval, seed_p_value

OUTCOMES = ("inconclusive", "reproduced", "not reproduced", "not specific")
INCONCLUSIVE, REPRODUCED, NOT_REPRODUCED, NOT_SPECIFIC = range(4)
ALPHA = 0.05
MIN_SEEDS = 5
MAX_PLANNED_SEEDS = 1000


class Sample(Protocol):
    """What a bound can be asked about: a location with an interval and the p-value that inverts it."""

    @property
    def seeds(self) -> int: ...
    @property
    def estimate(self) -> Array: ...
    def interval(self, level: ArrayLike) -> tuple[Array, Array]: ...
    def p_value(self, threshold: float, above: bool) -> Array: ...
    def seeds_needed(self, threshold: float, above: bool, alpha: float) -> int | None: ...


@dataclass(frozen=True)
class SeedMean:
    """Mean of `values` (..., seed)."""

    values: Array

    @property
    def seeds(self) -> int:
        return self.values.shape[-1]

    @cached_property
    def estimate(self) -> Array:
        return np.asarray(self.values.mean(-1))

    def interval(self, level: ArrayLike) -> tuple[Array, Array]:
        return seed_interval(self.values, level)

    def p_value(self, threshold: float, above: bool) -> Array:
        return seed_p_value(self.values, threshold) if above else seed_p_value(-self.values, -threshold)

    def seeds_needed(self, threshold: float, above: bool, alpha: float) -> int | None:
        """Smallest number of seeds whose expected half-width is the distance to the threshold (even odds)."""
        if self.seeds < 2:
            return None
        sizes = np.arange(MIN_SEEDS, MAX_PLANNED_SEEDS + 1)
        half = planned_critical_values(alpha)[: len(sizes)] * self.values.std(ddof=1) / np.sqrt(sizes)
        enough = sizes[half < abs(float(self.estimate) - threshold)]
        return int(enough[0]) if len(enough) else None


@dataclass(frozen=True)
class PairedMedian:
    """Median over pairs of values known to lie in [lower, upper], each (..., pair)."""

    lower: Array
    upper: Array

    @property
    def seeds(self) -> int:
        return self.lower.shape[-1]

    @cached_property
    def estimate(self) -> Array:
        """The median where censoring leaves it known, else its known bound, else NaN."""
        with np.errstate(invalid="ignore"):
            low, high = np.median(self.lower, -1), np.median(self.upper, -1)
        best = np.where(np.isfinite(low), low, high)
        return np.where(np.isfinite(best), best, np.nan)

    def interval(self, level: ArrayLike) -> tuple[Array, Array]:
        return median_interval(self.lower, self.upper, level)

    def p_value(self, threshold: float, above: bool) -> Array:
        return median_p_value(self.lower, threshold) if above else median_p_value(-self.upper, -threshold)

    def seeds_needed(self, threshold: float, above: bool, alpha: float) -> int | None:
        """Smallest number of pairs whose sign test passes if the share beyond the threshold stays as it is."""
        share = float((self.lower > threshold).mean() if above else (self.upper < threshold).mean())
        sizes = np.arange(MIN_SEEDS, MAX_PLANNED_SEEDS + 1)
        short = sizes - np.floor(share * sizes + 1e-9)
        enough = sizes[2 * stats.binom.cdf(short, sizes, 0.5) <= alpha]
        return int(enough[0]) if len(enough) else None


@dataclass(frozen=True)
class Bound:
    """The statement that a sample's location lies above, or below, a threshold."""

    sample: Sample
    above: bool
    threshold: float

    def holds(self, level: ArrayLike) -> NDArray[np.bool_]:
        low, high = self.sample.interval(level)
        return np.asarray(low > self.threshold if self.above else high < self.threshold)

    def p_value(self) -> Array:
        return self.sample.p_value(self.threshold, self.above)

    def supported(self) -> bool:
        """Does the estimate itself lie on the stated side?"""
        estimate = float(self.sample.estimate)
        return estimate > self.threshold if self.above else estimate < self.threshold


@dataclass(frozen=True)
class Rule:
    """An outcome and the bounds that must all hold for it; of several rules the first that holds decides."""

    outcome: int
    bounds: tuple[Bound, ...]


def above(sample: Sample, threshold: float) -> Bound:
    return Bound(sample, True, threshold)


def below(sample: Sample, threshold: float) -> Bound:
    return Bound(sample, False, threshold)


def inside(sample: Sample, centre: float, margin: float) -> tuple[Bound, Bound]:
    return above(sample, centre - margin), below(sample, centre + margin)


def superiority(arm: Sample, differences: Sequence[Sample], delta: float) -> list[Rule]:
    """The arm's effect exceeds every control's by more than delta, paired by seed, and may itself be above delta.

    The differences decide because pairing takes out what arm and control share; an arm whose own effect is excluded
    (upper bound below delta) is not reproduced, however low its controls are.
    """
    return [
        Rule(NOT_REPRODUCED, (below(arm, delta),)),
        Rule(REPRODUCED, tuple(above(d, delta) for d in differences)),
        *(Rule(NOT_SPECIFIC, (above(arm, delta), below(d, delta))) for d in differences),
    ]


def equivalence(deviations: Sequence[Sample], controls: Sequence[Sample], margin: float) -> list[Rule]:
    """Every deviation lies within the margin, and no control's does."""
    alike = tuple(bound for d in deviations for bound in inside(d, 0.0, margin))
    return [
        *(Rule(NOT_REPRODUCED, (bound,)) for d in deviations for bound in (above(d, margin), below(d, -margin))),
        *(Rule(NOT_SPECIFIC, alike + inside(c, 0.0, margin)) for c in controls),
        Rule(REPRODUCED, alike),
    ]


def non_inferiority(differences: Sequence[Sample], margin: float) -> list[Rule]:
    """The arm exceeds no control by the margin."""
    return [
        *(Rule(NOT_REPRODUCED, (above(d, margin),)) for d in differences),
        Rule(REPRODUCED, tuple(below(d, margin) for d in differences)),
    ]


def form(exponent: Sample, errors: Sequence[Sample], predicted: float, margin: float, delta: float) -> list[Rule]:
    """The exponent is the predicted one within the margin, and no alternative predicts better by delta."""
    outside = (above(exponent, predicted + margin), below(exponent, predicted - margin))
    return [
        *(Rule(NOT_REPRODUCED, (bound,)) for bound in (*outside, *(above(e, delta) for e in errors))),
        Rule(REPRODUCED, inside(exponent, predicted, margin) + tuple(below(e, delta) for e in errors)),
    ]


def event(ratios: Sequence[Sample], delta: float) -> list[Rule]:
    """The arm's event comes sooner than every control's by a factor of more than 2**delta."""
    return [
        *(Rule(NOT_REPRODUCED, (below(r, delta),)) for r in ratios),
        Rule(REPRODUCED, tuple(above(r, delta) for r in ratios)),
    ]


def decide(rules: Sequence[Rule], level: ArrayLike) -> NDArray[np.int8]:
    """Index into `OUTCOMES`, over the leading axes of the samples; too few seeds are inconclusive."""
    fewest = min(bound.sample.seeds for rule in rules for bound in rule.bounds)
    outcome = np.zeros(np.shape(rules[0].bounds[0].sample.estimate), np.int8)
    for rule in reversed(rules if fewest >= MIN_SEEDS else []):
        holds = np.logical_and.reduce([bound.holds(level) for bound in rule.bounds])
        outcome = np.where(holds, np.int8(rule.outcome), outcome)
    return outcome


def favourable_p(rules: Sequence[Rule]) -> Array:
    """Smallest alpha at which the bounds of "reproduced" all hold (an intersection-union test); 1 below 5 seeds."""
    bounds = next(rule.bounds for rule in rules if rule.outcome == REPRODUCED)
    p = np.maximum.reduce([bound.p_value() for bound in bounds])
    return p if min(bound.sample.seeds for bound in bounds) >= MIN_SEEDS else np.ones_like(p)


def holm(p_values: Array, alpha: float = ALPHA) -> Array:
    """The alpha of each claim, (..., claim), by Holm's step-down; after the first failure it stays the same."""
    claims = p_values.shape[-1]
    steps = alpha / (claims - np.arange(claims))
    order = np.argsort(p_values, axis=-1, kind="stable")
    passed = np.logical_and.accumulate(np.take_along_axis(p_values, order, -1) <= steps, axis=-1)
    first_failure = np.minimum(passed.sum(-1, keepdims=True), claims - 1)
    levels = np.empty(p_values.shape)
    np.put_along_axis(levels, order, np.where(passed, steps, steps[first_failure]), -1)
    return levels


def seeds_needed(rules: Sequence[Rule], alpha: float) -> int | None:
    """Seeds that would decide if the estimates stay as they are; None above `MAX_PLANNED_SEEDS`."""
    plans = []
    for rule in rules:
        if all(bound.supported() for bound in rule.bounds):
            needed = [_bound_seeds(bound, alpha) for bound in rule.bounds]
            plans += [max(n for n in needed if n is not None)] if None not in needed else []
    return min(plans, default=None)


def _bound_seeds(bound: Bound, alpha: float) -> int | None:
    if bound.sample.seeds >= MIN_SEEDS and bound.holds(1 - alpha):
        return bound.sample.seeds
    needed = bound.sample.seeds_needed(bound.threshold, bound.above, alpha)
    return None if needed is None else max(needed, bound.sample.seeds + 1, MIN_SEEDS)


@lru_cache(maxsize=16)
def planned_critical_values(alpha: float) -> Array:
    """Critical values for 5 to 1000 seeds: interpolated between a few simulated sizes, enough for a plan."""
    known = np.array([5, 8, 16, 32, 64, 128])
    values = np.array([float(critical_value(int(n), alpha)) for n in known])
    sizes = np.arange(MIN_SEEDS, MAX_PLANNED_SEEDS + 1)
    near = np.exp(np.interp(np.log(sizes), np.log(known), np.log(values)))
    limit = special.ndtri(1 - alpha)  # the effect of skewness fades with the root of n
    far = limit + (values[-1] - limit) * np.sqrt(known[-1] / sizes)
    student = special.stdtrit(sizes - 1, 1 - alpha / 2)
    return np.maximum(np.where(sizes > known[-1], far, near), student)
