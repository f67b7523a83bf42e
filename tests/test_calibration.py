"""The engine errs in at most 5 % of families at the boundary, and the simulation can tell when it does not."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from evolm.calibration import (
    CONTROL_NOISES,
    NOISES,
    SCENARIOS,
    StudentMean,
    censored,
    draw_families,
    false_positive_table,
    outcomes,
    power_table,
)
from evolm.decisions import OUTCOMES
from evolm.finding import Claim, Params
from evolm.verdict import judge

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.fixture(scope="module")
def errors() -> pd.DataFrame:
    return false_positive_table(families=1000)


def test_no_boundary_scenario_breaks_five_percent_per_family(errors):
    broken = errors[errors["low"] > 0.05]
    assert broken.empty, broken.to_string()


def test_every_combination_was_simulated(errors):
    interval_based = errors[errors["kind"] != "event"]
    assert set(interval_based["noise"]) == set(NOISES)
    assert set(interval_based["control_noise"]) == set(CONTROL_NOISES)
    assert set(errors["seeds"]) == {5, 8, 12}
    assert set(errors["claims"]) == {1, 4}
    assert set(errors["kind"]) == {"superiority", "equivalence", "non_inferiority", "event"}
    assert not errors.duplicated(["scenario", "noise", "control_noise", "seeds", "claims"]).any()


def test_the_worst_case_is_reached_so_that_the_bound_is_no_accident_of_weak_tests(errors):
    assert errors["false_reproduced"].max() > 0.03


def test_students_t_fails_the_same_simulation_under_skewed_noise():
    table = false_positive_table(
        [BY_NAME["all null"], BY_NAME["deviation at margin"]],
        ["lognormal, left", "lognormal, right"],
        ["noiseless"],
        claims=[4],
        families=500,
        sample=StudentMean,
    )
    worst = table.groupby("kind")["low"].max()
    assert (worst > 0.15).all()


def test_students_t_passes_under_normal_noise_so_the_failure_is_the_skewness():
    table = false_positive_table(
        [BY_NAME["all null"]], ["normal"], ["noiseless"], claims=[4], families=1000, sample=StudentMean
    )
    assert (table["low"] <= 0.05).all()


@pytest.mark.parametrize("noise", list(NOISES))
def test_noises_have_mean_zero_and_unit_spread(noise):
    draws = NOISES[noise](np.random.default_rng(0), (400_000,))
    assert draws.mean() == pytest.approx(0, abs=0.02)
    assert draws.std() == pytest.approx(1, abs=0.12)  # heavy tails: the sample spread itself is noisy


def test_power_is_high_at_large_effects_and_grows_with_seeds_and_effect():
    table = power_table(effects=(1.0, 4.0, 12.0), noises=("normal",), families=300)
    large = table[table["effect"] == 12.0]
    assert (large["reproduced"] > 0.9).all()
    for (_, _), group in table.groupby(["effect", "claims"]):
        assert group.sort_values("seeds")["reproduced"].is_monotonic_increasing
    for (_, _), group in table.groupby(["seeds", "claims"]):
        assert group.sort_values("effect")["reproduced"].is_monotonic_increasing
    one, four = (table[table["claims"] == m]["reproduced"].to_numpy() for m in (1, 4))
    assert (one >= four - 0.02).all()


def test_the_table_is_the_same_for_the_same_seed():
    arguments = ([BY_NAME["all null"]], ["normal"], ["equal"], [5], [4])
    first, again = (false_positive_table(*arguments, families=200, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)


@pytest.mark.parametrize(
    ("name", "noise", "control_noise", "seeds"),
    [
        ("arm at delta, control zero", "lognormal, left", "noiseless", 5),
        ("control as strong as arm", "normal", "equal", 8),
        ("half true, half at delta", "exponential, left", "3x", 8),
        ("deviation at margin", "lognormal, right", "equal", 5),
        ("excess at margin", "t3", "equal", 12),
        ("equal times", "normal", "equal", 8),
    ],
)
def test_simulated_families_get_the_same_outcomes_from_judge(name, noise, control_noise, seeds):
    families, claims, scenario = 60, 4, BY_NAME[name]
    shape = (families, claims, seeds)
    arm, control = draw_families(scenario, noise, control_noise, shape, np.random.default_rng(11))
    simulated = np.array(OUTCOMES)[outcomes(scenario, arm, control)]
    frames = _frames(scenario.kind, arm, control)
    stated = [_claim(scenario, f"claim{i}") for i in range(claims)]
    for family in range(families):
        module = ModuleType("simulated")
        for i in range(claims):
            setattr(module, f"claim{i}", lambda tables, params, key=(family, i): frames[key])
        for i, verdict in enumerate(judge(stated, {}, Params(), module)):
            if verdict.verdict != "not assessable":
                assert verdict.verdict == simulated[family, i]


def _frames(kind, arm, control) -> dict[tuple[int, int], pd.DataFrame]:
    families, claims, seeds = arm.shape
    labels = {"seed": np.tile(np.arange(seeds), 2), "arm": ["arm"] * seeds + ["control"] * seeds}
    if kind == "event":
        (t, seen), (t0, seen0) = censored(arm, control)
        columns = {"time": np.concatenate([t, t0], -1), "observed": np.concatenate([seen, seen0], -1)}
    else:
        columns = {"value": np.concatenate([arm, control], -1)}
    return {
        (f, c): pd.DataFrame({**labels, **{k: v[f, c] for k, v in columns.items()}})
        for f in range(families)
        for c in range(claims)
    }


def _claim(scenario, name) -> Claim:
    return Claim(
        name=name,
        statement="simulated",
        paper="none",
        kind=scenario.kind,
        measure=name,
        estimand="simulated",
        unit="sd",
        delta=scenario.threshold,
        margin=scenario.threshold or None,
        controls={} if scenario.kind == "equivalence" else {"control": "simulated"},
        scope="simulated",
        core=True,
    )
