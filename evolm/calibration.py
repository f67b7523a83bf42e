"""How often the verdict engine errs at the boundary, and how strong an effect it takes to decide.

    errors = false_positive_table()      # tidy: share of families with a false "reproduced"
    power = power_table()                # share of true claims called "reproduced", against effect and seeds

Families of claims are drawn with the true effect exactly at the threshold and judged by the functions that
`evolm.verdict` uses. Noise has mean 0 and standard deviation 1; all effects are in these units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from evolm import decisions
from evolm.decisions import NOT_REPRODUCED, REPRODUCED, PairedMedian, Rule, SeedMean, decide, favourable_p, holm
from evolm.intervals import Array, log_time_ratio

LOGNORMAL_SD = float(np.sqrt((np.e - 1) * np.e))
NOISES: MappingProxyType[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = MappingProxyType(
    {
        "normal": lambda rng, shape: rng.standard_normal(shape),
        "t3": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
        "exponential, right": lambda rng, shape: rng.standard_exponential(shape) - 1,
        "exponential, left": lambda rng, shape: 1 - rng.standard_exponential(shape),
        "lognormal, right": lambda rng, shape: _lognormal(rng, shape),
        "lognormal, left": lambda rng, shape: -_lognormal(rng, shape),
    }
)
CONTROL_NOISES = MappingProxyType({"noiseless": 0.0, "equal": 1.0, "3x": 3.0})
SEEDS = (5, 8, 12)
CLAIMS = (1, 4)
EFFECTS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
CENSORED = 0.15


@dataclass(frozen=True)
class Scenario:
    """True effects of arm and control, at the threshold; `true_share` of a family's claims truly hold instead."""

    name: str
    kind: str
    arm: float
    control: float
    threshold: float
    true_share: float = 0.0


STRONG = 30.0  # an effect that no test misses
SCENARIOS = (
    Scenario("all null", "superiority", 0.0, 0.0, 0.0),
    Scenario("arm at delta, control zero", "superiority", 0.5, 0.0, 0.5),
    Scenario("control as strong as arm", "superiority", STRONG, STRONG, 0.0),
    Scenario("half true, half at delta", "superiority", 0.5, 0.0, 0.5, true_share=0.5),
    Scenario("deviation at margin", "equivalence", STRONG, 0.0, STRONG),
    Scenario("excess at margin", "non_inferiority", 0.5, 0.0, 0.5),
    Scenario("equal times", "event", 0.0, 0.0, 0.0),
)


def false_positive_table(
    scenarios: Iterable[Scenario] = SCENARIOS,
    noises: Iterable[str] = tuple(NOISES),
    control_noises: Iterable[str] = tuple(CONTROL_NOISES),
    seeds: Iterable[int] = SEEDS,
    claims: Iterable[int] = CLAIMS,
    families: int = 4000,
    seed: int = 0,
    sample: type[SeedMean] = SeedMean,
) -> pd.DataFrame:
    """Share of families in which a claim that does not hold is called "reproduced", one row per setting.

    Columns: scenario, kind, noise, control_noise, seeds, claims, families, false_reproduced, low, high (95 %
    Clopper-Pearson). At the boundary "not reproduced" is wrong too: false_not_reproduced is its share of the
    claims there, each counted alone, since no family shares that error. `sample` swaps the interval, to show
    what another one would do (`StudentMean`).
    """
    rows = []
    grid = [
        (scenario, noise, control, n, m)
        for scenario in scenarios
        for noise in noises
        for control in (control_noises if scenario.kind != "event" else ("equal",))  # null: equal distributions
        for n in seeds
        for m in claims
        if m > 1 or scenario.true_share == 0
    ]
    for stream, (scenario, noise, control, n, m) in enumerate(grid):
        rng = np.random.default_rng([seed, stream])
        arm_values, control_values = draw_families(scenario, noise, control, (families, m, n), rng)
        called = outcomes(scenario, arm_values, control_values, sample)[:, _true_claims(scenario, m) :]
        wrong, rejected = int((called == REPRODUCED).any(-1).sum()), float((called == NOT_REPRODUCED).mean())
        labels = [scenario.name, scenario.kind, noise, control, n, m]
        rows.append([*labels, families, wrong / families, *clopper_pearson(wrong, families), rejected])
    names = "scenario kind noise control_noise seeds claims families false_reproduced low high false_not_reproduced"
    return pd.DataFrame(rows, columns=names.split())


def power_table(
    effects: Iterable[float] = EFFECTS,
    noises: Iterable[str] = ("normal", "lognormal, left"),
    seeds: Iterable[int] = (*SEEDS, 24),
    claims: Iterable[int] = CLAIMS,
    families: int = 1000,
    seed: int = 1,
) -> pd.DataFrame:
    """Share of true superiority claims called "reproduced", with a control as noisy as the arm.

    `effect` is the distance of arm - control from delta, in standard deviations of that paired difference.
    Columns: noise, effect, seeds, claims, families, reproduced, low, high, false_not_reproduced.
    """
    rows = []
    grid = [(noise, effect, n, m) for noise in noises for effect in effects for n in seeds for m in claims]
    for stream, (noise, effect, n, m) in enumerate(grid):
        rng = np.random.default_rng([seed, stream])
        scenario = Scenario("true", "superiority", effect * np.sqrt(2), 0.0, 0.0)
        arm_values, control_values = draw_families(scenario, noise, "equal", (families, m, n), rng)
        called = outcomes(scenario, arm_values, control_values)
        hits, rejected = int((called == REPRODUCED).sum()), float((called == NOT_REPRODUCED).mean())
        rows.append([noise, effect, n, m, families, hits / called.size, *clopper_pearson(hits, called.size), rejected])
    names = "noise effect seeds claims families reproduced low high false_not_reproduced"
    return pd.DataFrame(rows, columns=names.split())


def draw_families(
    scenario: Scenario, noise: str, control_noise: str, shape: tuple[int, int, int], rng: np.random.Generator
) -> tuple[Array, Array]:
    """Values of arm and control, each (family, claim, seed); for kind `event` log2 times of the event."""
    arm = scenario.arm + NOISES[noise](rng, shape)
    control = scenario.control + CONTROL_NOISES[control_noise] * NOISES[noise](rng, shape)
    arm[:, : _true_claims(scenario, shape[1])] += STRONG
    return arm, control


def outcomes(scenario: Scenario, arm: Array, control: Array, sample: type[SeedMean] = SeedMean) -> NDArray[np.int8]:
    """Index into `decisions.OUTCOMES` of every claim, (family, claim), at its level under Holm."""
    rules = _rules(scenario, arm, control, sample)
    return decide(rules, 1 - holm(favourable_p(rules)))


def censored(arm: Array, control: Array) -> tuple[tuple[Array, NDArray[np.bool_]], tuple[Array, NDArray[np.bool_]]]:
    """(times, observed) of arm and control from log2 times: all runs end at the time that cuts off 15 % of them."""
    end = float(np.quantile(np.stack([arm, control]), 1 - CENSORED))
    first, second = ((np.exp2(np.minimum(values, end)), values <= end) for values in (arm, control))
    return first, second


def _rules(scenario: Scenario, arm: Array, control: Array, sample: type[SeedMean]) -> list[Rule]:
    if scenario.kind == "superiority":
        return decisions.superiority(sample(arm), [sample(arm - control)], scenario.threshold)
    if scenario.kind == "equivalence":
        return decisions.equivalence([sample(arm - control)], [], scenario.threshold)
    if scenario.kind == "non_inferiority":
        return decisions.non_inferiority([sample(arm - control)], scenario.threshold)
    first, second = censored(arm, control)
    return decisions.event([PairedMedian(*log_time_ratio(*first, *second))], scenario.threshold)


class StudentMean(SeedMean):
    """The plain two-sided t interval, unguarded: what the engine would do without its reference worst case."""

    def interval(self, level: ArrayLike) -> tuple[Array, Array]:
        n = self.values.shape[-1]
        half = special.stdtrit(n - 1, 0.5 + np.asarray(level, float) / 2) * self.values.std(-1, ddof=1) / np.sqrt(n)
        return self.estimate - half, self.estimate + half

    def p_value(self, threshold: float, above: bool) -> Array:
        n = self.values.shape[-1]
        statistic = (self.estimate - threshold) / (self.values.std(-1, ddof=1) / np.sqrt(n))
        return np.minimum(1.0, 2 * special.stdtr(n - 1, -statistic if above else statistic))


def _true_claims(scenario: Scenario, claims: int) -> int:
    return round(scenario.true_share * claims)


def _lognormal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return (np.exp(rng.standard_normal(shape)) - np.exp(0.5)) / LOGNORMAL_SD


def clopper_pearson(hits: int, total: int) -> tuple[float, float]:
    """Exact 95 % interval of a share."""
    interval = stats.binomtest(hits, total).proportion_ci(method="exact")
    return float(interval.low), float(interval.high)
