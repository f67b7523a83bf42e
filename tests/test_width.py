"""Loss against width: the planted exponent comes back, the interval covers it, and the published one does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from evolm.findings.superposition import published
from evolm.instruments.width import (
    EXPONENTS,
    WidthDesign,
    check_losses,
    fit_width,
    measure_models,
    naive_error,
    read_losses,
)

WIDTHS = {"a": (256, 512, 1024, 2048, 4096), "b": (384, 768, 1536, 3072)}


def losses(exponent: float = 0.9, coefficient: float = 400.0, datasets: str = "xyz") -> pd.DataFrame:
    """A noiseless table of two families; every family and dataset has its own offset."""
    rows = [
        (
            f"{family}-{width}",
            family,
            dataset,
            width,
            coefficient / width**exponent + 1.5 + 0.1 * i + 0.3 * (family == "b"),
        )
        for family, widths in WIDTHS.items()
        for width in widths
        for i, dataset in enumerate(datasets)
    ]
    return pd.DataFrame(rows, columns=["model", "family", "dataset", "width", "loss"])


def noisy(seed: int, scale: float = 0.05, **planted: float) -> pd.DataFrame:
    table = losses(**planted)
    return table.assign(loss=table["loss"] + scale * np.random.default_rng(seed).normal(size=len(table)))


# --- the fit ----------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(exponent=st.floats(0.1, 3.0), height=st.floats(0.1, 10.0))
def test_a_planted_exponent_comes_back_exactly_without_noise(exponent: float, height: float) -> None:
    table = losses(exponent, height * 1000**exponent)
    fit = fit_width(table, draws=40)
    assert fit.exponent == pytest.approx(exponent, abs=1e-6)
    assert fit.coefficient == pytest.approx(height * 1000**exponent, rel=1e-5)
    assert fit.low == pytest.approx(exponent, abs=1e-4)
    assert fit.high == pytest.approx(exponent, abs=1e-4)
    planted = 1.5 + 0.1 * fit.offsets["dataset"].map("xyz".index) + 0.3 * fit.offsets["family"].map(ord) - 29.1
    np.testing.assert_allclose(fit.offsets["offset"], planted, atol=1e-4)
    assert fit.rmse < 1e-6
    assert (fit.points, fit.models) == (27, 9)


@pytest.mark.parametrize("seed", range(4))
def test_variable_projection_equals_full_nonlinear_least_squares(seed: int) -> None:
    table = noisy(seed)
    cell = pd.get_dummies(table["family"] + table["dataset"]).to_numpy(float)
    width, loss = table["width"].to_numpy(float) / 1000, table["loss"].to_numpy()

    def residuals(p: np.ndarray) -> np.ndarray:
        return p[0] * width ** -p[1] + cell @ p[2:] - loss

    start = np.concatenate([[1.0, 1.0], np.full(cell.shape[1], loss.mean())])
    full = optimize.least_squares(residuals, start, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    fit = fit_width(table, draws=40)
    assert fit.exponent == pytest.approx(full.x[1], abs=1e-6)
    assert fit.coefficient == pytest.approx(full.x[0] * 1000 ** full.x[1], rel=1e-5)
    assert fit.rmse == pytest.approx(np.sqrt(2 * full.cost / len(table)), rel=1e-9)


def test_the_fast_exponents_of_the_bootstrap_equal_the_refined_ones() -> None:
    tables = [noisy(seed, exponent=a, coefficient=1000**a) for seed in range(5) for a in (0.5, 1.5)]
    fast = WidthDesign(tables[0]).exponents(np.stack([table["loss"] for table in tables]))
    np.testing.assert_allclose(fast, [fit_width(table, draws=40).exponent for table in tables], atol=1e-3)


def test_offsets_and_the_unit_of_width_do_not_move_the_exponent_or_its_interval() -> None:
    table = noisy(0)
    fit = fit_width(table)
    shift = table["dataset"].map({"x": 0.0, "y": 5.0, "z": -1.0})
    moved = fit_width(table.assign(loss=table["loss"] + shift, width=table["width"] / 64))
    assert (moved.exponent, moved.low, moved.high) == pytest.approx((fit.exponent, fit.low, fit.high), abs=1e-5)
    assert moved.coefficient == pytest.approx(fit.coefficient / 64**fit.exponent, rel=1e-5)
    shuffled = fit_width(table.sample(frac=1, random_state=1))
    assert shuffled.exponent == pytest.approx(fit.exponent, abs=1e-6)
    assert shuffled.shared_share == pytest.approx(fit.shared_share, abs=1e-6)


def test_the_naive_error_is_that_of_a_line_through_known_offsets() -> None:
    table = losses(datasets="x")
    design = WidthDesign(table)
    curve = 400 / design.width**0.9
    excess = curve * np.exp(0.1 * np.resize([1, -1], len(table)))
    log_width = np.log(design.width)
    spread = np.sqrt(len(table)) * log_width.std()
    error = naive_error(design.width, excess, 400.0, 0.9)
    assert error == pytest.approx(0.1 * np.sqrt(len(table) / (len(table) - 3)) / spread)
    # A loss below its offset has no logarithm; the notebook then takes 0 for it.
    below = naive_error(design.width, np.where(np.arange(len(table)) == 0, -0.1, curve), 400.0, 0.9)
    assert below == pytest.approx(abs(np.log(curve[0])) / np.sqrt(len(table) - 3) / spread)


# --- the interval -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_variance_and_shared_share_of_planted_noise_are_recovered(share: float) -> None:
    table = published.fitted_losses()
    design = WidthDesign(table)
    draws = design.noise(np.random.default_rng(0), 300, 0.05, share)
    loss = table["loss"].to_numpy()
    found = [design.variance(design.project(published.EXPONENT, loss + noise)[1]) for noise in draws]
    variance, estimated = np.mean(found, axis=0)
    # The exponent is held at its true value here, so one of the counted degrees of freedom, 1 in 21 to 90, is not lost.
    assert variance == pytest.approx(0.05**2, rel=0.08)
    assert estimated == pytest.approx(share, abs=0.06)


def test_the_interval_covers_the_planted_exponent_and_the_naive_one_does_not() -> None:
    simulations, share = 150, 0.5
    fits = [fit_width(published.simulated_losses(share, seed), draws=200) for seed in range(simulations)]
    honest = sum(fit.low <= published.EXPONENT <= fit.high for fit in fits)
    naive = sum(abs(fit.exponent - published.EXPONENT) <= 1.96 * fit.naive_error for fit in fits)
    assert stats.binomtest(honest, simulations, 0.95).pvalue > 0.001
    assert stats.binomtest(naive, simulations, 0.95, alternative="less").pvalue < 1e-6


def test_a_wider_level_gives_a_wider_interval_and_a_seed_repeats_it() -> None:
    table = noisy(3)
    fits = {level: fit_width(table, level=level, seed=1) for level in (0.5, 0.8, 0.95)}
    assert fits[0.95].low < fits[0.8].low < fits[0.5].low < fits[0.5].exponent < fits[0.5].high < fits[0.8].high
    again, other = (fit_width(table, level=0.8, seed=seed) for seed in (1, 2))
    assert (again.low, again.high) == (fits[0.8].low, fits[0.8].high)
    assert (other.low, other.high) != (fits[0.8].low, fits[0.8].high)


def test_losses_too_noisy_to_bound_the_exponent_leave_an_infinite_end() -> None:
    fit = fit_width(noisy(2, scale=0.8))
    assert EXPONENTS[0] < fit.exponent < EXPONENTS[-1]
    assert fit.low == -np.inf


# --- refusals ---------------------------------------------------------------------------------------------


def changed(column: str, value: object, row: int = 4) -> pd.DataFrame:
    table = losses().astype({"width": object, "loss": object})
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (losses().drop(columns=["width", "loss"]), "lacks width, loss; expected the columns model, family"),
        (losses().iloc[:0], "too few"),
        (changed("loss", np.nan), "loss of a-512 on y is nan; expected a finite number"),
        (changed("loss", "n/a"), "loss of a-512 on y is n/a"),
        (changed("loss", np.inf), "expected a finite number"),
        (changed("width", 0), "width of a-512 on y is 0; expected a positive number"),
        (changed("width", -512), "expected a positive number"),
        (changed("width", np.nan), "expected a positive number"),
        (changed("width", 513), "a-512 has two losses on a dataset, two families or two widths"),
        (changed("dataset", "x"), "a-512 has two losses on a dataset"),
        (changed("family", None), "row 5 has no family"),
        (pd.concat([losses(), losses().tail(1).assign(model="c", family="c")]), "family c has one width on z"),
        (losses()[losses()["family"] == "b"].iloc[:9], "3 models of 3 widths are too few; expected at least 4 models"),
        (losses().assign(width=lambda t: t["width"].clip(1000, 1001)), "of 2 widths are too few"),
        (losses().assign(loss=lambda t: -t["loss"]), "the losses rise with width"),
        (losses().assign(loss=2.0), "do not fall as a power of width"),
        (losses().assign(loss=lambda t: (t["width"] < 300) + 2.0), "no exponent between 0.02 and 8 fits best"),
    ],
)
def test_a_table_that_cannot_be_fitted_is_refused_with_a_sentence(table: pd.DataFrame, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        fit_width(table)


@pytest.mark.parametrize("options", [{"level": 1.0}, {"level": 0.0}, {"draws": 20}, {"level": "high"}, {"draws": 99.5}])
def test_a_level_and_draws_that_give_no_interval_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="gives no interval"):
        fit_width(losses(), **options)


def test_checking_drops_other_columns_and_leaves_the_callers_table_alone() -> None:
    table = losses().assign(note="", width=lambda t: t["width"].astype(str))
    checked = check_losses(table)
    assert list(checked) == ["model", "family", "dataset", "width", "loss"]
    assert checked["width"].dtype == float
    assert table["width"].iloc[0] == "256"


# --- files and the command line ---------------------------------------------------------------------------


def test_tables_are_measured_from_csv_and_parquet_alike(tmp_path: Path) -> None:
    table = noisy(0)
    table.to_csv(tmp_path / "losses.csv", index=False)
    table.to_parquet(tmp_path / "losses.parquet", index=False)
    rows = measure_models([tmp_path / "losses.csv", tmp_path / "losses.parquet"], draws=100)
    assert rows["table"].tolist() == [str(tmp_path / "losses.csv"), str(tmp_path / "losses.parquet")]
    fit = fit_width(read_losses(tmp_path / "losses.parquet"), draws=100)
    for column in ("exponent", "low", "high", "naive_error", "points", "models", "rmse", "shared_share"):
        assert rows[column].tolist() == pytest.approx([getattr(fit, column)] * 2)


def test_a_missing_file_or_another_format_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "losses.xlsx").write_text("")
    (tmp_path / "empty.csv").write_text("")
    for name in ("absent.csv", "losses.xlsx", "empty.csv"):
        with pytest.raises(ValueError, match=name):
            measure_models([tmp_path / name])


def evolm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "evolm", *words], capture_output=True, text=True, timeout=120)


def test_the_command_line_measures_a_table(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    noisy(0).to_csv(path, index=False)
    done = evolm("measure", "width", str(path), "-p", "draws=100", "-p", "level=0.9", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    fit = fit_width(noisy(0), draws=100, level=0.9)
    measured = (row["exponent"], row["low"], row["high"])
    assert measured == pytest.approx((fit.exponent, fit.low, fit.high), abs=1e-6)
    assert (row["points"], row["models"], row["level"]) == (27, 9, 0.9)


def test_the_command_line_refuses_a_bad_table_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    losses().drop(columns="width").to_csv(path, index=False)
    done = evolm("measure", "width", str(path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.strip() == (
        f"evolm: {path}: the table lacks width; expected the columns model, family, dataset, width, loss"
    )


# --- the published fit ------------------------------------------------------------------------------------


def test_the_published_curve_has_their_points_models_and_numbers() -> None:
    table = published.fitted_losses()
    assert (len(table), table["model"].nunique(), table.groupby(["family", "dataset"]).ngroups) == (108, 27, 16)
    fit = fit_width(table, draws=40)
    assert fit.exponent == pytest.approx(0.9098, abs=1e-6)
    assert fit.coefficient == pytest.approx(476.0763, rel=1e-5)
    np.testing.assert_allclose(fit.offsets["offset"], np.ravel(list(published.OFFSETS.values())), atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_simulated_losses_leave_the_published_error_and_spread_the_exponent_as_the_interval_says(share: float) -> None:
    tables = [published.simulated_losses(share, seed) for seed in range(200)]
    design = WidthDesign(tables[0])
    simulated = np.stack([table["loss"] for table in tables])
    exponents = design.exponents(simulated)
    left = [np.mean(design.project(a, loss)[1] ** 2) for a, loss in zip(exponents, simulated, strict=True)]
    assert np.mean(left) == pytest.approx(published.MEAN_SQUARED_ERROR, rel=0.08)
    low, high = published.honest_interval(share)
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, 21) * exponents.std(), rel=0.15)


def test_the_honest_interval_is_wider_than_the_reported_one_and_more_so_when_models_share_noise() -> None:
    reported = published.EXPONENT - 0.04, published.EXPONENT + 0.04
    alone, half = published.honest_interval(0.0), published.honest_interval(0.5)
    assert half[0] < alone[0] < reported[0] - 0.04
    assert half[1] > alone[1] > reported[1] + 0.04
