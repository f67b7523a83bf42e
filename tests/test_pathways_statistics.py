"""Relations over checkpoints: trends alone are not found, planted relations are, closed forms and scipy agree."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evolm.instruments.pathway_prediction import held_out_errors
from evolm.instruments.pathway_statistics import (
    correlation,
    detrended,
    difference_correlation,
    lead_lag,
    partial_correlation,
    pooled_shift_null,
    series_statistics,
    shift_null,
    swapped_null,
)

POINTS = 40
STEPS = 40.0 * np.arange(1, POINTS + 1)
SHARE = STEPS / STEPS[-1]


def noise(rng: np.random.Generator, memory: float, points: int = POINTS) -> np.ndarray:
    """Noise of variance 1 whose neighbours correlate by `memory`."""
    drawn = rng.normal(size=points + 50)
    for at in range(1, len(drawn)):
        drawn[at] = memory * drawn[at - 1] + math.sqrt(1 - memory**2) * drawn[at]
    return drawn[50:]


def trend(rng: np.random.Generator, kind: str) -> np.ndarray:
    return 10 * (SHARE if kind == "straight" else 1 - np.exp(-SHARE / rng.uniform(0.1, 0.5)))


# --- calibration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["straight", "saturating"])
@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_independent_trends_have_a_raw_r_near_1_and_no_relation_beyond_the_step(kind: str, memory: float) -> None:
    rng = np.random.default_rng(0)
    raw, p, changes = [], [], []
    for _ in range(200):
        x, y = trend(rng, kind) + noise(rng, memory), trend(rng, kind) + noise(rng, memory)
        raw.append(abs(float(correlation(x, y))))
        p.append(shift_null(detrended(STEPS, x), detrended(STEPS, y)).p)
        changes.append(shift_null(np.diff(x), np.diff(y)).p)
    assert np.median(raw) > 0.75
    # .05 of 200 are 10; where neighbours correlate the null is a little liberal, as the module says.
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.105
    assert 0.4 <= np.mean(np.array(p) <= 0.5) <= 0.62
    assert np.mean(np.array(changes) <= 0.05) <= 0.08


def test_a_line_does_not_take_out_a_bend_that_two_series_share() -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(100):
        x, y = trend(rng, "saturating") + noise(rng, 0), trend(rng, "saturating") + noise(rng, 0)
        found.append([shift_null(detrended(STEPS, x, g), detrended(STEPS, y, g)).p for g in ("step", "curve")])
    shares = (np.array(found) <= 0.05).mean(0)
    assert shares[0] > 0.25
    assert shares[1] < 0.1


@pytest.mark.parametrize("kind", ["straight", "saturating"])
def test_a_relation_beyond_the_trend_is_found(kind: str) -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(60):
        shared = noise(rng, 0.3)
        x, y = trend(rng, kind) + shared + noise(rng, 0) / 2, trend(rng, kind) - shared + noise(rng, 0) / 2
        table = series_statistics(STEPS, x, y).set_index(["statistic", "given"])
        found.append(table.loc[("partial pearson", "curve"), ["value", "p"]].to_numpy(float))
        assert table.loc[("partial spearman", "step"), "value"] < 0.2
    value, p = np.array(found).T
    assert np.mean(value) == pytest.approx(-0.8, abs=0.08)  # of variances 1 in 1.25
    assert np.mean(p <= 0.05) >= 0.95


def test_pooled_runs_find_what_one_run_is_too_short_for_and_nothing_else() -> None:
    rng = np.random.default_rng(3)
    steps = STEPS[:10]
    one, null, planted = [], [], []
    for _ in range(100):
        runs, related = [], []
        for _ in range(5):
            shared = noise(rng, 0, 10)
            x, y = 10 * SHARE[:10] + shared, 10 * SHARE[:10] + noise(rng, 0, 10)
            runs.append((steps, x, y))
            related.append((steps, x, y + shared))
        one.append(shift_null(detrended(steps, related[0][1]), detrended(steps, related[0][2])).p)
        null.append(pooled_shift_null(runs, draws=500).p)
        planted.append(pooled_shift_null(related, draws=500).p)
    assert min(one) >= 0.1  # ten shifts
    assert np.mean(np.array(null) <= 0.05) <= 0.12
    assert np.mean(np.array(planted) <= 0.05) >= 0.9
    with pytest.raises(ValueError, match="there are no runs"):
        pooled_shift_null([])


@pytest.mark.parametrize("runs", [5, 9])
def test_swapping_runs_takes_out_any_shared_course_exactly(runs: int) -> None:
    rng = np.random.default_rng(4)
    course = np.where(SHARE < 0.4, 0.1, 0.9) + 0.3 * np.sin(9 * SHARE)  # no curve in the step fits this
    null, planted, raw = [], [], []
    for _ in range(120):
        own = rng.normal(0, 0.3, (runs, 3)) @ np.stack([SHARE, SHARE**2, np.ones(POINTS)])
        x = course + own
        y = course + rng.normal(0, 0.3, (runs, 3)) @ np.stack([SHARE, SHARE**2, np.ones(POINTS)])
        found = swapped_null(x, y, draws=400)
        null.append(found.p)
        raw.append(found.r)
        planted.append(swapped_null(x, y + 2 * own, draws=400).p)
    assert np.mean(raw) > 0.7
    assert np.mean(np.array(null) <= 0.05) <= 0.1
    assert np.mean(np.array(planted) <= 0.05) >= 0.7
    with pytest.raises(ValueError, match="three runs"):
        swapped_null(np.zeros((2, 5)), np.zeros((2, 5)))


# --- closed forms and reference libraries -----------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(0, 2**16), st.integers(6, 30))
def test_correlations_are_those_of_scipy_and_the_textbook(seed: int, points: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = np.round(rng.normal(size=(2, points)), 1)  # ties too
    step = np.cumsum(rng.integers(1, 50, points)).astype(float)
    assert float(correlation(x, y)) == pytest.approx(stats.pearsonr(x, y)[0])
    assert float(correlation(x, y, ranks=True)) == pytest.approx(stats.spearmanr(x, y)[0])
    assert difference_correlation(x, y) == pytest.approx(stats.pearsonr(np.diff(x), np.diff(y))[0])
    for values, ranks in (((x, y, step), False), (tuple(map(stats.rankdata, (x, y, step))), True)):
        r = np.corrcoef(np.stack(values))
        textbook = (r[0, 1] - r[0, 2] * r[1, 2]) / math.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
        assert partial_correlation(step, x, y, "step", ranks=ranks) == pytest.approx(textbook)


def test_shift_null_enumerates_every_shift() -> None:
    x, y = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 0.0, 2.0, 1.0])
    found = shift_null(x, y)
    assert sorted(found.null.tolist()) == pytest.approx(
        sorted(float(np.corrcoef(np.roll(x, s), y)[0, 1]) for s in range(1, 6))
    )
    assert found.r == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found.p == 1.0  # the unshifted one is the weakest
    assert shift_null(y, y).p == pytest.approx(1 / 6)


def test_a_series_that_is_its_trend_leaves_nothing() -> None:
    line = 3 + 0.25 * STEPS
    assert not detrended(STEPS, line, "step").any()
    assert not detrended(STEPS, 1e8 + np.log1p(STEPS / STEPS[0]), "curve").any()
    table = series_statistics(STEPS, line, np.sqrt(STEPS)).set_index(["statistic", "given"])
    assert math.isnan(table.loc[("partial pearson", "step"), "value"])
    assert "nothing is left" in table.loc[("partial pearson", "step"), "note"]
    assert "the same at every checkpoint" in table.loc[("difference pearson", ""), "note"]


@settings(max_examples=20)
@given(st.integers(0, 2**16), st.sampled_from([-3.0, 0.5, 20.0]), st.sampled_from([0.0, 7.0]))
def test_units_change_nothing_but_the_sign(seed: int, unit: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 12))
    plain, other = (
        series_statistics(time, series, y) for time, series in ((STEPS[:12], x), (5 * STEPS[:12], unit * x + offset))
    )
    signs = np.where(plain["statistic"] == "lead", 1.0, np.sign(unit))
    assert other["value"].to_numpy(float) == pytest.approx(signs * plain["value"].to_numpy(float), abs=1e-9)
    assert other["p"].to_numpy(float) == pytest.approx(plain["p"].to_numpy(float), nan_ok=True)


@pytest.mark.parametrize("lead", [-3, 0, 4])
def test_lead_lag_finds_a_planted_lead(lead: int) -> None:
    rng = np.random.default_rng(5)
    long = noise(rng, 0.4, POINTS + 20)
    metric, accuracy = long[10 : 10 + POINTS], long[10 - lead : 10 - lead + POINTS]
    table = lead_lag(STEPS, metric + 8 * SHARE, accuracy + 6 * SHARE)
    best = table.loc[table["value"].idxmax()]
    assert best["lag"] == lead
    assert best["value"] > 0.9
    assert best["points"] == POINTS - abs(lead)
    row = series_statistics(STEPS, metric + 8 * SHARE, accuracy + 6 * SHARE).set_index("statistic").loc["lead"]
    assert row["value"] == lead


# --- what cannot be assessed ------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [1, 2, 4])
def test_few_checkpoints_are_not_assessable_and_say_so(points: int) -> None:
    rng = np.random.default_rng(0)
    table = series_statistics(STEPS[:points], rng.random(points), rng.random(points))
    assert table["value"].isna().all()
    assert table["note"].str.startswith(f"not assessable: {points} checkpoint").all()


def test_a_constant_metric_is_not_assessable_and_too_rich_a_trend_is_left_out() -> None:
    rng = np.random.default_rng(0)
    assert series_statistics(STEPS, np.full(POINTS, 0.3), SHARE)["note"].iloc[0] == (
        "not assessable: the metric is 0.3 at every checkpoint"
    )
    table = series_statistics(STEPS[:5], rng.random(5), rng.random(5)).set_index(["statistic", "given"])
    assert np.isfinite(table.loc[("partial pearson", "step"), "value"])
    assert math.isnan(table.loc[("partial pearson", "curve"), "value"])
    assert "never below 0.2" in table.loc[("partial pearson", "step"), "note"]


@pytest.mark.parametrize(
    ("step", "metric", "words"),
    [
        ([1, 2, 3, 4, 5], [1, 2, 3, 4], "one number of each"),
        ([], [], "one number of each"),
        ([1, 2, 3, 4, 4], [1, 2, 3, 4, 5], "do not rise"),
        ([1, 2, 3, 4, 5], [1, 2, math.nan, 4, 5], "metric of checkpoint 3 is nan"),
        ([-1, 2, 3, 4, 5], [1, 2, 3, 4, 6], "negative"),
    ],
)
def test_bad_series_are_refused(step: Any, metric: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        series_statistics(step, metric, np.arange(len(step)) ** 2)
    with pytest.raises(ValueError, match="given is 'time'"):
        detrended(STEPS, SHARE, "time")  # type: ignore[arg-type]


# --- prediction of a run left out -------------------------------------------------------------------------


def runs_table(rng: np.random.Generator, know: float, runs: int = 6) -> pd.DataFrame:
    """Runs that generalise at their own step; the metric is a bent function of time, and knows `know` of the run."""
    tables = []
    for run in range(runs):
        jump = rng.uniform(0.2, 0.8)
        accuracy = 1 / (1 + np.exp(-(SHARE - jump) / 0.08))
        metric = np.sqrt(SHARE) + know * accuracy + rng.normal(0, 0.02, POINTS)
        loss = np.exp(-5 * SHARE) + rng.normal(0, 0.01, POINTS)
        tables.append(pd.DataFrame({"run": run, "step": STEPS, "accuracy": accuracy, "metric": metric, "loss": loss}))
    return pd.concat(tables, ignore_index=True)


Time = Literal["step", "log step", "curve", "each"]


@pytest.mark.parametrize("time", ["step", "log step", "curve", "each"])
def test_a_metric_that_knows_the_run_predicts_beyond_the_step_and_one_that_does_not_does_not(time: Time) -> None:
    rng = np.random.default_rng(6)
    knows = pd.concat([held_out_errors(runs_table(rng, 0.5), ["metric"], time=time) for _ in range(5)])
    ignorant = pd.concat([held_out_errors(runs_table(rng, 0.0), ["metric"], time=time) for _ in range(5)])
    assert (knows["difference"] > 0.05).mean() > 0.9
    assert (knows["baseline_error"] - knows["error"]).to_numpy() == pytest.approx(knows["difference"].to_numpy())
    if time != "log step":  # in which the metric's bend is not
        assert ignorant["difference"].mean() < 0.01


def test_against_a_straight_line_a_bent_function_of_the_step_wins_without_knowing_anything() -> None:
    bend = SHARE**2
    rng = np.random.default_rng(7)
    table = pd.concat(
        pd.DataFrame({"run": r, "step": STEPS, "accuracy": bend + rng.normal(0, 0.02, POINTS), "metric": bend})
        for r in range(5)
    )
    errors = {t: held_out_errors(table, ["metric"], time=t, loss=None)["difference"].mean() for t in ("step", "curve")}
    assert errors["step"] > 0.03
    assert abs(errors["curve"]) < errors["step"] / 5


def test_errors_without_penalty_are_those_of_least_squares_on_the_other_runs() -> None:
    table = runs_table(np.random.default_rng(8), 0.3, runs=3)
    found = held_out_errors(table, ["metric"], time="step", smooth=3, ridge=0.0).set_index("run")
    smooth = np.concatenate(
        [[np.mean(part[max(0, i - 2) : i + 1]) for i in range(POINTS)] for _, part in table.groupby("run")["loss"]]
    )
    x = np.column_stack([np.ones(len(table)), table["step"] / 1000, smooth, table["metric"]])
    y, out = table["accuracy"].to_numpy(), (table["run"] == 1).to_numpy()
    weights = np.linalg.lstsq(x[~out], y[~out], rcond=None)[0]
    assert found.loc[1, "error"] == pytest.approx(np.sqrt(((x[out] @ weights - y[out]) ** 2).mean()))


def test_prediction_refuses_what_cannot_be_left_out() -> None:
    table = runs_table(np.random.default_rng(9), 0.3)
    with pytest.raises(ValueError, match="not assessable: there are 2 runs"):
        held_out_errors(table[table["run"] < 2], ["metric"])
    with pytest.raises(ValueError, match="the shortest of 4 checkpoints"):
        held_out_errors(table[table["step"] <= STEPS[3]], ["metric"])
    with pytest.raises(ValueError, match="no column 'distance'"):
        held_out_errors(table, ["distance"])
    with pytest.raises(ValueError, match="time is 'hour'"):
        held_out_errors(table, ["metric"], time="hour")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="over 0 checkpoints"):
        held_out_errors(table, ["metric"], smooth=0)
    table.loc[3, "metric"] = math.nan
    with pytest.raises(ValueError, match="metric in row 4 is nan"):
        held_out_errors(table, ["metric"])
