"""The instrument dip: flat noise shows no dip, planted dips come back, bad tables and checkpoints are named."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolm import describe
from evolm.cli import main
from evolm.instruments import dip_series
from evolm.instruments import dip_statistics as shape
from evolm.instruments.causal_model import open_model
from evolm.instruments.dip import measure_dip, measure_models
from evolm.instruments.dip_cells import BadSeries
from evolm.instruments.dip_inference import measure_series
from evolm.instruments.dip_results import Dip, Estimate, Settings
from evolm.instruments.dip_series import Probe, Questions, checkpoint_steps
from evolm.instruments.dip_tables import Reading, Series, from_table, is_lower_better, read_series
from evolm.instruments.dip_words import number
from evolm.lm.architecture import tiny_llama
from evolm.lm.vocabulary import word_tokenizer

POINTS, ITEMS, SD = 17, 200, 0.035
STEPS = 10.0 * np.arange(POINTS)
FLAT = np.full(POINTS, 0.5)
#: Falls by .15 at step 50, is back by step 100.
GAP = FLAT - 0.15 * np.exp(-(((np.arange(POINTS) - 5) / 2.5) ** 2)) * (np.arange(POINTS) > 0)
#: Falls by .15 and stays there.
LOSS = FLAT - 0.15 * (1 - np.exp(-np.arange(POINTS) / 2))
QUICK = Settings(draws=200)


def drawn(kind: str, curve: np.ndarray, rng: np.random.Generator) -> Series:
    """A noisy series of one of the four designs."""
    if kind == "runs":
        return Series("x", "accuracy", STEPS, curve + rng.normal(0, SD, (5, POINTS)))
    if kind == "scatter":
        return Series("x", "accuracy", STEPS, (curve + rng.normal(0, SD, POINTS))[None])
    if kind == "n":
        share = rng.binomial(ITEMS, curve) / ITEMS
        sd = np.sqrt(share * (1 - share) / ITEMS)
        return Series("x", "accuracy", STEPS, share[None], stderr=sd[None], noise=f"{ITEMS} items a point")
    hard = np.linspace(-0.3, 0.3, ITEMS)
    outcomes = (rng.random((POINTS, ITEMS)) < np.clip(curve[:, None] + hard, 0, 1)).astype(float)
    return Series("x", "accuracy", STEPS, outcomes.mean(1)[None], outcomes=outcomes)


def dips(kind: str, curve: np.ndarray, count: int) -> list[Dip]:
    rng = np.random.default_rng(3)
    return [measure_series(drawn(kind, curve, rng), QUICK) for _ in range(count)]


def value(table: pd.DataFrame, quantity: str, column: str = "value") -> float:
    row = table[table["quantity"] == quantity]
    assert len(row) == 1, quantity
    return float(row[column].iloc[0])


# --- calibration ------------------------------------------------------------------------------------------

KINDS = ("n", "scatter", "items", "runs")


@pytest.mark.parametrize("kind", KINDS)
def test_flat_noise_has_a_minimum_but_no_corrected_depth(kind: str) -> None:
    found = dips(kind, FLAT, 80)
    assert np.mean([dip.depth_seen for dip in found]) > 0.04
    assert abs(np.mean([dip.depth.value for dip in found])) < 0.018
    assert np.mean([dip.depth.low <= 0 <= dip.depth.high for dip in found]) >= 0.9
    assert np.mean([dip.area.low <= 0 <= dip.area.high for dip in found]) >= 0.9
    # .05 expected; 80 draws of it give .125 or more once in two hundred times.
    assert np.mean([dip.p <= 0.05 for dip in found]) <= 0.125
    assert np.mean([dip.found for dip in found]) <= 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_dip_is_found_at_its_depth(kind: str) -> None:
    found = dips(kind, GAP, 50)
    depths = np.array([dip.depth.value for dip in found])
    # A step that is chosen without its own noise is not always the lowest: the estimate may fall short a little.
    assert 0.115 <= depths.mean() <= 0.16
    assert np.mean([dip.depth_seen for dip in found]) > depths.mean()
    assert np.mean([dip.depth.low <= 0.15 <= dip.depth.high for dip in found]) >= 0.88
    assert np.mean([dip.p <= 0.05 for dip in found]) >= 0.5
    truth = shape.area(GAP, shape.trapezoid_weights(STEPS))
    assert np.mean([dip.area.low <= truth <= dip.area.high for dip in found]) >= 0.88
    shares = [dip.forgetting.value for dip in found if dip.found]
    assert np.median(shares) <= 0.25


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_stays_is_forgetting_and_is_not_recovered(kind: str) -> None:
    found = [dip for dip in dips(kind, LOSS, 30) if dip.found]
    assert len(found) >= 15
    assert np.mean([math.isinf(dip.recovery.value) for dip in found]) >= 0.9
    assert np.median([dip.forgetting.value for dip in found]) >= 0.85


def test_the_p_value_is_about_uniform_on_flat_noise_whose_size_is_not_known() -> None:
    p = np.array([dip.p for dip in dips("scatter", FLAT, 150)])
    assert 0.38 <= np.mean(p <= 0.5) <= 0.66
    assert np.mean(p <= 0.1) <= 0.18


def test_a_curve_that_only_rises_is_no_dip() -> None:
    found = dips("n", FLAT + np.linspace(0, 0.3, POINTS), 30)
    assert np.mean([dip.p <= 0.05 for dip in found]) <= 0.1
    assert np.mean([dip.found for dip in found]) <= 0.1


def test_noise_is_recovered_from_the_scatter_of_neighbours_even_beside_a_spike() -> None:
    rng = np.random.default_rng(0)
    curves = np.linspace(0, 3, 200) + rng.normal(0, 0.2, (40, 200))
    assert shape.scatter_noise(curves).mean() == pytest.approx(0.2, rel=0.03)
    curves[:, 100] -= 5
    assert shape.scatter_noise(curves).mean() == pytest.approx(0.2, rel=0.08)


def test_halves_of_items_vary_as_the_mean_does() -> None:
    rng = np.random.default_rng(0)
    outcomes = (rng.random((3, 400)) < rng.random(400)).astype(float)
    wanted = np.cov(outcomes) / 400
    for noise in (shape.half_splits(outcomes, 4000, rng), shape.item_noise(outcomes, 4000, rng)):
        assert np.cov(noise.T) == pytest.approx(wanted, rel=0.15, abs=3e-5)


# --- closed forms -----------------------------------------------------------------------------------------


def exact(values: list[float], steps: list[float] | None = None, **options: Any) -> pd.DataFrame:
    """A noise-free series: its standard errors are 0."""
    at = list(range(len(values))) if steps is None else steps
    table = pd.DataFrame({"step": at, "accuracy": values, "stderr": 0.0})
    return measure_dip(table, draws=100, **options)


def test_a_curve_without_noise_gives_the_closed_forms() -> None:
    table = exact([0.5, 0.3, 0.4, 0.6, 0.6], [0, 10, 20, 30, 40], log_steps=True)
    assert [value(table, "depth", end) for end in ("value", "low", "high")] == pytest.approx([0.2] * 3)
    assert [value(table, f"area{what}") for what in ("", " as seen")] == pytest.approx([10 * (0.2 + 0.1)] * 2)
    assert value(table, "area per log10 step") == pytest.approx(
        0.2 * np.log10(2) / 2 + 0.1 * np.log10(3) / 2  # halves of the widths 10 to 20 and 10 to 30
    )
    assert value(table, "recovery step") == pytest.approx(25)  # halfway between .4 and .6
    assert value(table, "step of the worst point") == 10
    assert value(table, "forgetting share") == 0
    assert value(table, "end, less baseline") == pytest.approx(0.1)


def test_half_of_a_fall_that_comes_back_is_half_forgetting() -> None:
    table = exact([0.5, 0.3, 0.35, 0.4, 0.4])
    assert value(table, "forgetting share") == pytest.approx(0.5)
    assert value(table, "recovery step") == math.inf
    row = table[table["quantity"] == "recovery step"].iloc[0]
    assert row["censored"]
    assert row["note"] == "not recovered by step 4"
    assert "not back by step 4" in row["sentence"]
    assert "50 %" in row["sentence"]


def test_a_loss_dips_upwards() -> None:
    table = measure_dip(
        pd.DataFrame({"step": [0, 1, 2, 3], "eval_loss": [2.0, 3.0, 2.5, 1.5], "stderr": 0.0}), draws=100
    )
    assert value(table, "depth") == pytest.approx(1.0)
    assert value(table, "end, less baseline") == pytest.approx(-0.5)
    assert table["lower_is_better"].all()
    assert "rises by" in table["sentence"].iloc[0]
    assert "lower is better, by its name" in table["sentence"].iloc[0]


@pytest.mark.parametrize(
    ("values", "noise", "wanted"),
    [
        ([1.0, 0.0, 0.5, 1.5], 0.0, 2.5),
        ([1.0, 0.0, 0.5, 1.5], 0.25, 2.25),
        ([1.0, 0.0, 1.5, 0.2, 0.3], 0.0, math.inf),  # back for one point only: smoothed, it is not
        ([1.0, 1.1, 1.2], 0.0, 0.0),
        ([1.0, 0.5, 0.5], 0.0, math.inf),
    ],
)
def test_recovery_is_interpolated_on_the_smoothed_curve(values: list[float], noise: float, wanted: float) -> None:
    assert shape.recovery_step(np.arange(len(values), dtype=float), np.array(values), noise) == pytest.approx(wanted)


def test_a_valley_falls_then_rises_and_is_the_nearest() -> None:
    assert shape.valley(GAP) == pytest.approx(GAP)
    rng = np.random.default_rng(0)
    for _ in range(20):
        noisy = rng.normal(size=6)
        fit = shape.valley(noisy)
        low = int(fit.argmin())
        assert (np.diff(fit[: low + 1]) <= 1e-12).all()
        assert (np.diff(fit[low:]) >= -1e-12).all()
        for at in range(6):  # no other valley on a coarse search is nearer
            other = np.concatenate([-shape.rising(-noisy[:at]) if at else noisy[:0], shape.rising(noisy[at:])])
            if at == 0 or other[at - 1] >= other[at]:
                assert ((fit - noisy) ** 2).sum() <= ((other - noisy) ** 2).sum() + 1e-12


def test_what_cannot_be_a_dip_is_never_below_its_first_point() -> None:
    curve = shape.without_dip(np.array([0.5, 0.2, 0.4, 0.9, 1.0]), np.array(0.1))
    assert curve[0] == 0
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] == pytest.approx(1.0 - 0.35 - 0.2)


# --- properties -------------------------------------------------------------------------------------------

curves = st.lists(st.integers(0, 60), min_size=6, max_size=9).map(lambda whole: np.array(whole) / 60)


def quantities(values: np.ndarray, steps: np.ndarray) -> dict[str, tuple[float, float, float]]:
    dip = measure_series(Series("x", "m", steps, values[None]), Settings(draws=100))
    found = {name: getattr(dip, name) for name in ("depth", "area", "recovery", "forgetting", "end", "step")}
    return {name: (e.value, e.low, e.high) for name, e in found.items()} | {"p": (dip.p, dip.noise, dip.found)}


@settings(max_examples=25, deadline=None)
@given(curves, st.sampled_from([0.25, 2.0, 16.0]), st.sampled_from([-2.0, 0.0, 8.0]), st.sampled_from([0.5, 4.0]))
def test_units_change_nothing_but_units(values: np.ndarray, unit: float, shift: float, time: float) -> None:
    values = values + np.linspace(0, 1e-4, len(values))  # no ties, which rounding would break either way
    steps = np.arange(len(values), dtype=float)
    plain, other = quantities(values, steps), quantities(unit * values + shift, time * steps)
    factor = {"depth": unit, "end": unit, "area": unit * time, "recovery": time, "step": time, "forgetting": 1.0}
    for name, by in factor.items():
        assert other[name] == pytest.approx(tuple(by * v for v in plain[name]), rel=1e-6, abs=1e-7 * by, nan_ok=True)
    assert other["p"] == pytest.approx((plain["p"][0], unit * plain["p"][1], plain["p"][2]), rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(curves)
def test_area_is_that_of_the_clipped_gap_and_shares_lie_between_0_and_1(values: np.ndarray) -> None:
    steps = np.cumsum(1 + np.arange(len(values)))
    wanted = np.trapezoid(np.maximum(values[0] - values, 0), steps)
    assert shape.area(values, shape.trapezoid_weights(steps)) == pytest.approx(wanted)
    share = float(shape.forgotten(values, shape.depth(values)))
    assert math.isnan(share) == (shape.depth(values) <= 0)
    assert math.isnan(share) or 0 <= share <= 1


# --- tables -----------------------------------------------------------------------------------------------


def write(folder: Path, text: str, name: str = "run.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, "is empty"),
        ("step,accuracy\n", {}, "is empty"),
        ("step,accuracy\n0,.5\n", {}, "a single point, step 0; a dip needs a baseline"),
        ("step,accuracy\n0,.5\n20,.4\n10,.3\n", {}, "row 3: step 10 comes after step 20; sort the rows by step"),
        ("step,accuracy\n0,.5\n10,.4\n10,.3\n", {}, "row 3: step 10 is there already; keep one row"),
        (
            "step,accuracy,run\n0,.5,a\n9,.4,a\n0,.5,b\n9,.4,b\n5,.3,b\n",
            {},
            "row 5: step 5 of run b comes after step 9",
        ),
        ("step,accuracy\n0,.5\n10,\n", {}, "row 2: accuracy is empty or NaN; expected a finite number"),
        ("step,accuracy\n0,.5\n10,inf\n", {}, "row 2: accuracy is inf"),
        ("step,accuracy\n0,.5\n10,good\n", {}, "row 2: accuracy is 'good'"),
        ("step,accuracy\n0,.5\nten,.4\n", {}, "row 2: step is 'ten'"),
        ("step,accuracy\n10,.5\n20,.4\n", {}, "no step 0 (the first is 10); add the model before training"),
        ("step,accuracy\n10,.5\n20,.4\n", {"baseline_step": 15}, "no step 15 (the nearest is 10)"),
        ("step,accuracy,run\n0,.5,a\n9,.4,a\n5,.5,b\n9,.4,b\n", {}, "a run of it has no step 0"),
        ("step,accuracy\n0,.5\n10,.4\n", {"metric": "acuracy"}, "no metric 'acuracy' - did you mean 'accuracy'?"),
        ("steps,accuracy\n0,.5\n10,.4\n", {}, "no column 'step' - did you mean 'steps'?; name the column"),
        ("step,name\n0,a\n1,b\n", {}, "row 1: name is 'a'"),
        ("step\n0\n1\n", {}, "no column of numbers beside step"),
        ("step,accuracy,n\n0,.5,0\n1,.4,9\n", {}, "row 1: n is 0; expected the number of test items"),
        (
            "step,accuracy,n\n0,50,9\n1,40,9\n",
            {},
            "accuracy reaches 50, and n gives the items behind a share in [0, 1]",
        ),
        ("step,accuracy,stderr\n0,.5,-1\n1,.4,0\n", {}, "row 1: stderr is -1"),
        ("step,accuracy,run\n0,.5,a\n1,.4,\n", {}, "row 2: run is empty"),
        ("step,item,correct\n0,a,1\n1,a,2\n", {}, "row 2: correct is 2; expected true or false"),
        ("step,item,correct\n0,a,1\n0,a,0\n1,a,1\n", {}, "row 2: item a of step 0 is there already"),
        ("step,item,correct\n0,a,1\n0,b,0\n1,a,1\n", {}, "the items of step 1 are not those of the first step (b"),
        ("step,item,correct\n0,,1\n1,a,1\n", {}, "row 1: item is empty"),
        ("step,item,correct\n5,a,1\n6,a,1\n", {}, "no step 0 (the first is 5)"),
    ],
)
def test_bad_tables_are_refused_by_file_row_and_fix(
    tmp_path: Path, text: str, options: dict[str, Any], words: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadSeries) as refused:
        measure_models([path], **options)
    assert path in str(refused.value)
    assert words in str(refused.value)


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSeries, match="there is no table"):
        read_series(tmp_path / "run.csv", Reading())
    with pytest.raises(BadSeries, match="line 2: this is not JSON"):
        read_series(write(tmp_path, '{"step": 0}\n{"step"\n', "run.jsonl"), Reading())
    with pytest.raises(BadSeries, match="line 1: expected an object"):
        read_series(write(tmp_path, "[1]\n", "run.jsonl"), Reading())
    with pytest.raises(BadSeries, match="cannot be read as a table"):
        read_series(write(tmp_path, "no parquet", "run.parquet"), Reading())
    with pytest.raises(ValueError, match=r"ckpt-0 is not a table .* probes=FILE.jsonl"):
        measure_models(["ckpt-0"])
    with pytest.raises(ValueError, match="steps is about checkpoints"):
        measure_models([str(tmp_path / "run.csv")], steps=[0])
    with pytest.raises(ValueError, match="no tables"):
        measure_models([])
    with pytest.raises(ValueError, match=r"cannot draw 'dip.gif'"):
        measure_models(["run.csv"], plot="dip.gif")
    with pytest.raises(ValueError, match="level 2 with 1000 draws"):
        measure_models(["run.csv"], level=2)


def test_three_formats_give_one_answer(tmp_path: Path) -> None:
    frame = pd.DataFrame({"step": STEPS, "accuracy": GAP, "n": 500})
    frame.to_csv(tmp_path / "run.csv", index=False)
    frame.to_parquet(tmp_path / "run.parquet")
    frame.to_json(tmp_path / "run.jsonl", orient="records", lines=True)
    tables = [measure_models([tmp_path / f"run{end}"], draws=100) for end in (".csv", ".parquet", ".jsonl")]
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0].drop(columns="model"), other.drop(columns="model"))


def test_every_numeric_column_is_a_metric_with_its_own_noise() -> None:
    table = pd.DataFrame(
        {"Step": STEPS, "acc": GAP, "acc_stderr": 0.01, "ppl": 9.0, "n": 50, "lr": 1.0, "note": "x", "up": True}
    )
    found = {series.metric: series for series in from_table(table, Reading())}
    assert set(found) == {"acc", "ppl"}
    assert found["acc"].stderr is not None
    assert found["acc"].stderr[0, 0] == 0.01
    assert found["ppl"].lower_is_better
    assert found["ppl"].stderr is None  # n says nothing of a perplexity
    [one] = from_table(table, Reading(metric=["acc"], lower_is_better=True, baseline_step=20))
    assert one.lower_is_better
    assert one.steps[0] == 20
    assert "2 steps before step 20 are left out" in one.notes
    assert measure_dip(table[["Step", "acc", "ppl"]], metric="ppl,acc", draws=100)["metric"].unique().tolist() == [
        "ppl",
        "acc",
    ]


@pytest.mark.parametrize(
    ("name", "lower"),
    [("eval/loss", True), ("val_ppl", True), ("perplexity", True), ("accuracy", False), ("glossary", False)],
)
def test_direction_is_guessed_from_the_name_and_can_be_told(name: str, lower: bool) -> None:
    assert is_lower_better(name, None) == (lower, ("taken as lower is better, by its name",) if lower else ())
    assert is_lower_better(name, not lower) == (not lower, ())


def test_runs_keep_the_steps_they_share() -> None:
    rows = [(run, step, 0.5 - 0.1 * step) for run in "ab" for step in (0, 1, 2)]
    table = pd.DataFrame([*rows, ("b", 3, 0.1)], columns=["seed", "step", "accuracy"])
    [series] = from_table(table, Reading())
    assert series.values.shape == (2, 3)
    assert series.notes == ("1 of 4 steps are not in every run and are left out",)
    found = measure_dip(table, draws=100)
    assert "2 runs: intervals over so few are wide" in found["sentence"].iloc[0]


def test_runs_that_are_not_back_stay_in_the_median() -> None:
    rng = np.random.default_rng(0)
    curves = np.array([GAP] * 5 + [LOSS] * 3) + rng.normal(0, 0.002, (8, POINTS))
    dip = measure_series(Series("x", "accuracy", STEPS, curves), Settings())
    assert dip.found
    assert 60 < dip.recovery.value < math.inf
    assert dip.recovery.high == math.inf
    assert any("3 of 8 runs are not back by step 160" in note for note in dip.notes)


def test_few_points_without_noise_are_only_described() -> None:
    table = measure_dip(pd.DataFrame({"step": [0, 1, 2], "accuracy": [0.5, 0.4, 0.45]}))
    assert math.isnan(value(table, "depth"))
    assert value(table, "depth as seen") == pytest.approx(0.1)
    assert "3 points do not tell their noise" in table["sentence"].iloc[0]
    assert "add a column n or stderr" in table["sentence"].iloc[0]


def test_the_same_items_at_every_step_make_less_noise_than_their_number_says() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"step": STEPS, "accuracy": GAP + rng.normal(0, 0.003, POINTS), "n": 100})
    found = measure_dip(table, draws=200)
    assert value(found, "noise of a point") < 0.01
    assert "so the scatter is taken" in found["sentence"].iloc[0]
    jumpy = measure_dip(table.assign(accuracy=0.5 + rng.normal(0, 0.1, POINTS), n=10_000), draws=200)
    assert "repeated runs would show" in jumpy["sentence"].iloc[0]


def test_right_and_wrong_answers_are_read_by_item_whatever_the_order() -> None:
    rng = np.random.default_rng(0)
    series = drawn("items", GAP, rng)
    assert series.outcomes is not None
    rows = [(int(step), i, o) for o_, step in zip(series.outcomes, STEPS, strict=True) for i, o in enumerate(o_)]
    table = pd.DataFrame(rows, columns=["step", "item", "correct"])
    shuffled = table.groupby("step", group_keys=False)[["step", "item", "correct"]].apply(
        lambda part: part.sample(frac=1, random_state=int(part["step"].iloc[0]))
    )
    one, other = (from_table(t, Reading())[0] for t in (table, shuffled))
    assert one.outcomes is not None
    assert one.outcomes.shape == (POINTS, ITEMS)
    assert one.values == pytest.approx(other.values)
    assert other.outcomes is not None
    assert sorted(map(tuple, one.outcomes.T)) == sorted(map(tuple, other.outcomes.T))
    found = measure_dip(table, draws=200)
    assert set(found["items"]) == {ITEMS}
    assert "one half of 200 items" in found["note"].iloc[0]


# --- words, command, picture ------------------------------------------------------------------------------


def test_numbers_have_the_decimals_that_their_interval_bears() -> None:
    assert number(Estimate(0.1134, 0.0712, 0.1518)) == "0.11 [0.07, 0.15]"
    assert number(Estimate(12.34, 9.0, 17.0)) == "12 [9, 17]"
    assert number(Estimate(0.25, 0.25, 0.25)) == "0.25 [0.25, 0.25]"


def test_the_command_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pd.DataFrame({"step": STEPS, "accuracy": GAP, "n": 5000, "loss": 3.0 - STEPS / 100}).to_csv(tmp_path / "run.csv")
    with pytest.raises(SystemExit) as stopped:
        main(["measure", "dip", str(tmp_path / "run.csv"), "-p", "draws=200", "-p", f"plot={tmp_path / 'dip.svg'}"])
    assert stopped.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "accuracy falls by 0.15" in said
    assert "forgetting without return" in said
    assert "loss shows no dip that stands out from noise" in said
    assert (tmp_path / "dip.svg").read_text().count("<svg") == 1
    with pytest.raises(SystemExit) as stopped:
        main(["measure", "dip", str(tmp_path / "run.csv"), "-p", "metrik=loss"])
    assert stopped.value.code == 2
    assert "no option 'metrik' - did you mean 'metric'?" in capsys.readouterr().err
    assert "dip" in describe.instruments()


@pytest.mark.parametrize("curve", [GAP, LOSS, FLAT])
def test_the_page_has_both_themes_and_both_widths(tmp_path: Path, curve: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    runs = [{"step": s, "run": r, "acc": a + rng.normal(0, 0.01)} for r in range(5) for s, a in zip(STEPS, curve)]  # noqa: B905
    measure_dip(pd.DataFrame(runs), plot=str(tmp_path / "deep" / "dip.html"), draws=100)
    page = (tmp_path / "deep" / "dip.html").read_text()
    assert page.count("data:image/") == 4
    assert 'alt="acc ' in page


# --- checkpoints ------------------------------------------------------------------------------------------

WORDS = ["cats", "dogs", "eat", "fish", "meat", "grass"]


def save_model(folder: Path, seed: int, words: list[str] = WORDS) -> str:
    tokenizer = word_tokenizer(words)
    tiny_llama(len(tokenizer), width=16, hidden=32, init_std=0.3, seed=seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("series")
    return [save_model(folder / f"ckpt-{100 * i}", i) for i in range(3)]


@pytest.fixture
def probes(tmp_path: Path) -> str:
    rows = [
        {
            "prompt": f"{who} eat",
            "choices": ["fish", "meat grass"] if i % 2 else ["grass", "dogs", "cats"],
            "answer": i % 2,
        }
        for i in range(6)
        for who in ("cats", "dogs")
    ]
    return write(tmp_path, "\n".join(map(json.dumps, rows)), "food.jsonl")


def test_choices_are_scored_by_log_likelihood_per_token(checkpoints: list[str]) -> None:
    import torch

    model = open_model(checkpoints[0], "cpu")
    ids = model.tokenizer("cats eat meat grass").input_ids
    prompt = len(model.tokenizer("cats eat").input_ids)
    logs = torch.log_softmax(model.decoder.logits(torch.tensor([ids])), -1)[0].detach()
    wanted = np.mean([float(logs[i - 1, ids[i]]) for i in range(prompt, prompt + 2)])
    pair = dip_series._tokens(model, "cats eat", "meat grass")
    short = dip_series._tokens(model, "cats eat ", " fish")
    with torch.inference_mode():
        scores = dip_series._scores(model, [pair, short], 8)
    assert scores[0] == pytest.approx(wanted, abs=1e-5)
    best = 0 if scores[0] > scores[1] else 1
    for answer in (0, 1):
        probe = Probe("cats eat", ("meat grass", "fish"), answer)
        assert dip_series.answered(model, [probe]) == [answer == best]


def test_checkpoints_answer_probes_and_their_answers_read_again(
    checkpoints: list[str], probes: str, tmp_path: Path
) -> None:
    saved = tmp_path / "answers.csv"
    table = measure_models(checkpoints, probes=probes, device="cpu", save=str(saved), draws=100)
    assert set(table["metric"]) == {"food"}
    assert set(table["points"]) == {3}
    assert set(table["items"]) == {12}
    again = measure_models([saved], draws=100)
    pd.testing.assert_frame_equal(table.drop(columns="model"), again.drop(columns="model"))
    late = measure_models(checkpoints, probes=[probes], steps=[0, 5, 7], limit=4, device="cpu", draws=100)
    assert set(late["items"]) == {4}
    assert value(late, "step of the worst point") in (5, 7)


def test_checkpoints_of_other_tokenizers_are_refused(checkpoints: list[str], probes: str, tmp_path: Path) -> None:
    other = save_model(tmp_path / "ckpt-300", 0, WORDS[::-1])
    with pytest.raises(BadSeries, match=r"different tokenizers.*measure them apart"):
        measure_models([*checkpoints[:1], other], probes=probes, device="cpu")


def test_steps_are_the_numbers_that_names_end_in() -> None:
    assert checkpoint_steps(["run/ckpt-0", "run/step100/"], None) == [0, 100]
    assert checkpoint_steps(["a", "b"], [1, 2]) == [1, 2]
    with pytest.raises(BadSeries, match="1 steps for 2 checkpoints"):
        checkpoint_steps(["a", "b"], [1])
    with pytest.raises(BadSeries, match=r"the name of last ends in no step; .* -p steps=0,100"):
        checkpoint_steps(["ckpt-0", "last"], None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "is empty"),
        ("{", "line 1: this is not JSON"),
        ('{"choices": ["a", "b"], "answer": 0}', 'line 1: expected an object with "prompt"'),
        ('{"prompt": "a", "choices": ["a"], "answer": 0}', "line 1: choices is"),
        ('{"prompt": "a", "choices": ["a", "b"], "answer": 2}', "line 1: answer is 2; expected the index"),
        ('{"prompt": "a", "choices": ["a", "b"], "answer": "b"}', "line 1: answer is 'b'"),
    ],
)
def test_bad_probes_are_refused_by_line(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(BadSeries) as refused:
        measure_models(["ckpt-0", "ckpt-1"], probes=write(tmp_path, line, "p.jsonl"))
    assert words in str(refused.value)


def test_tasks_need_lm_eval_and_use_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(BadSeries, match="pip install lm_eval, or use probes="):
        measure_models(["ckpt-0", "ckpt-1"], tasks="medqa_4options,pubmedqa")
    asked = []

    def simple_evaluate(**given: Any) -> dict[str, Any]:
        asked.append(given)
        right = given["model_args"]["pretrained"] == "ckpt-0"
        return {"samples": {task: [{"doc_id": i, "acc": float(right)} for i in range(40)] for task in given["tasks"]}}

    monkeypatch.setitem(sys.modules, "lm_eval", SimpleNamespace(simple_evaluate=simple_evaluate))
    table = measure_models(["ckpt-0", "ckpt-1"], tasks="medqa_4options,pubmedqa", limit=40, draws=100)
    assert asked[0]["tasks"] == ["medqa_4options", "pubmedqa"]
    assert asked[0]["log_samples"] is True
    assert set(table["metric"]) == {"medqa_4options", "pubmedqa"}
    assert table.loc[table["quantity"] == "depth", "value"].tolist() == [1.0, 1.0]
    monkeypatch.setitem(
        sys.modules, "lm_eval", SimpleNamespace(simple_evaluate=lambda **_: {"samples": {"t": [{"doc_id": 0}]}})
    )
    with pytest.raises(BadSeries, match="task t of lm_eval says of no answer whether it is right"):
        dip_series.answers(["ckpt-0"], Questions(tasks=["t"]), None)
