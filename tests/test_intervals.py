"""Guarded intervals, order-statistic intervals for censored pairs, and power-law fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from evolm import intervals
from evolm.floor_fit import fit_with_floor, predict_with_floor

finite = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))


def all_draws_above_zero(n: int) -> float:
    """Closed form: P(every one of n centred left-skewed lognormal draws is positive)."""
    return float(stats.norm.cdf(0.5) ** n)


def test_reference_matches_the_closed_form_for_two_draws():
    # For n = 2, t = (x + y) / |x - y|, so P(t > 1) is the chance that both draws are positive.
    statistic = intervals.reference_statistics(2)
    assert (statistic > 1).mean() == pytest.approx(all_draws_above_zero(2), abs=0.005)


def test_reference_matches_quadrature_for_two_draws_at_another_value():
    # t > c > 1 with n = 2 means y between x (c-1)/(c+1) and x (c+1)/(c-1).
    c = 5.0
    mean = np.exp(0.5)

    def cdf(value: float) -> float:  # of mean - lognormal
        return 1 - stats.norm.cdf(np.log(mean - value)) if value < mean else 1.0

    def density(value: float) -> float:
        return stats.norm.pdf(np.log(mean - value)) / (mean - value)

    low, high = (c - 1) / (c + 1), (c + 1) / (c - 1)
    expected = integrate.quad(lambda x: density(x) * (cdf(x * high) - cdf(x * low)), 0, mean)[0]
    assert (intervals.reference_statistics(2) > c).mean() == pytest.approx(expected, abs=0.004)


@pytest.mark.parametrize("n", [5, 8, 12, 32])
@pytest.mark.parametrize("alpha", [0.05, 0.0125])
def test_guarded_lower_bound_holds_its_error_under_the_worst_case_where_student_does_not(n, alpha):
    noise = np.exp(0.5) - np.exp(np.random.default_rng(5).standard_normal((40_000, n)))
    low, _ = intervals.seed_interval(noise, 1 - alpha)
    error = stats.binomtest(int((low > 0).sum()), len(noise)).proportion_ci()
    assert error.low <= alpha
    half = stats.t.ppf(1 - alpha / 2, n - 1) * noise.std(-1, ddof=1) / np.sqrt(n)
    assert (noise.mean(-1) - half > 0).mean() > 1.5 * alpha


def test_interval_is_never_narrower_than_students():
    for n in (2, 5, 30, 256):
        student = stats.t.ppf(0.975, n - 1)
        assert intervals.critical_value(n, 0.05) >= student
    assert intervals.critical_value(256, 0.05) < 1.15 * stats.t.ppf(0.975, 255)


def test_more_seeds_and_lower_levels_narrow_the_interval():
    by_seeds = [intervals.critical_value(n, 0.05) / np.sqrt(n) for n in (5, 8, 12, 16, 32, 64)]
    assert (np.diff(by_seeds) < 0).all()
    assert (np.diff(intervals.critical_value(8, [0.2, 0.05, 0.025, 0.0125, 0.001])) > 0).all()


def test_intervals_are_the_same_for_one_sample_and_for_many_at_mixed_levels():
    values = np.random.default_rng(0).normal(size=(3, 4, 7))
    levels = np.array([0.9, 0.95, 0.975, 0.9875])
    low, high = intervals.seed_interval(values, levels)
    for i in range(3):
        for j in range(4):
            assert np.allclose((low[i, j], high[i, j]), intervals.seed_interval(values[i, j], levels[j]), atol=0)


@settings(max_examples=60, deadline=None)
@given(st.lists(finite, min_size=5, max_size=12), finite, st.sampled_from([0.05, 0.025, 0.05 / 3, 0.0125]))
def test_p_value_inverts_the_interval(values, threshold, alpha):
    low, high = intervals.seed_interval(values, 1 - alpha)
    p_above = intervals.seed_p_value(values, threshold)
    p_below = intervals.seed_p_value(-np.array(values), -threshold)
    scale = 1e-9 * (1 + np.abs(values).max() + abs(threshold))
    if abs(low - threshold) > scale:
        assert (p_above <= alpha) == (low > threshold)
    if abs(high - threshold) > scale:
        assert (p_below <= alpha) == (high < threshold)


@settings(max_examples=40, deadline=None)
@given(st.lists(finite, min_size=2, max_size=9), finite, st.floats(0.1, 50))
def test_interval_moves_and_stretches_with_the_values(values, shift, scale):
    low, high = intervals.seed_interval(values)
    moved = intervals.seed_interval(np.array(values) * scale + shift)
    mirrored = intervals.seed_interval(-np.array(values))
    assert np.allclose(moved, (low * scale + shift, high * scale + shift), atol=1e-6, rtol=1e-9)
    assert np.allclose(mirrored, (-high, -low))


def test_equal_values_give_no_width_and_one_seed_gives_no_bound():
    assert intervals.seed_interval([0.1] * 7) == (pytest.approx(0.1), pytest.approx(0.1))
    assert intervals.seed_interval([3.0]) == (-np.inf, np.inf)
    assert intervals.seed_p_value([3.0], 0.0) == 1.0


@pytest.mark.parametrize("bad", [[1.0, np.nan], [1.0, np.inf], []])
def test_bad_values_are_refused(bad):
    with pytest.raises(ValueError, match="values hold"):
        intervals.seed_interval(bad)


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5])
def test_impossible_levels_are_refused(level):
    with pytest.raises(ValueError, match="between 0 and 1"):
        intervals.seed_interval([1.0, 2.0, 3.0], level)


def test_median_interval_is_the_textbook_order_statistic():
    values = np.arange(1.0, 11.0)  # n = 10: P(Bin <= 1) = 11/1024, so the 2nd and 9th at 95 %
    assert intervals.median_interval(values, values, 0.95) == (2.0, 9.0)
    assert intervals.median_interval(values, values, 1 - 2 / 1024) == (1.0, 10.0)


def test_median_interval_is_unbounded_with_too_few_pairs():
    values = np.arange(5.0)  # 2 / 32 > .05
    assert intervals.median_interval(values, values, 0.95) == (-np.inf, np.inf)
    assert intervals.median_interval(values, values, 0.9) == (0.0, 4.0)


def test_censoring_widens_the_median_interval_on_its_side_only():
    ratios = np.linspace(1, 2, 10)
    exact = intervals.median_interval(ratios, ratios)
    upper = ratios.copy()
    upper[[3, 7]] = np.inf
    low, high = intervals.median_interval(ratios, upper)
    assert low == exact[0]
    assert high > exact[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(finite, min_size=5, max_size=14), finite, st.sampled_from([0.05, 0.025, 0.0125]))
def test_sign_test_inverts_the_median_interval(values, threshold, alpha):
    low, _ = intervals.median_interval(values, values, 1 - alpha)
    assert (intervals.median_p_value(values, threshold) <= alpha) == (low > threshold)


def test_median_interval_covers_the_median_of_a_skewed_law():
    draws = np.random.default_rng(1).exponential(size=(20_000, 9))
    low, high = intervals.median_interval(draws, draws)
    covered = ((low < np.log(2)) & (np.log(2) < high)).mean()
    assert covered == pytest.approx(1 - 2 * stats.binom.cdf(1, 9, 0.5), abs=0.006)


def test_log_time_ratio_opens_the_censored_side():
    lower, upper = intervals.log_time_ratio([2, 2, 2, 2], [1, 0, 1, 0], [8, 8, 8, 8], [1, 1, 0, 0])
    assert lower.tolist() == [2, -np.inf, 2, -np.inf]
    assert upper.tolist() == [2, 2, np.inf, np.inf]


def test_power_law_fit_recovers_a_known_exponent_over_leading_axes():
    x = np.array([4, 8, 16, 32, 64, 128])
    exponents = np.array([[0.5, 1.0], [1.5, 2.0]])
    y = 3.0 * x ** -exponents[..., None]
    fit = intervals.fit_power_law(x, y)
    assert np.allclose(fit.exponent, exponents)
    assert np.allclose(np.exp(fit.intercept), 3.0)
    assert np.allclose(fit.r2, 1.0)
    assert np.allclose(intervals.local_slopes(x, y), -exponents[..., None])


def test_each_form_predicts_held_out_sizes_of_its_own_law_and_the_power_law_does_not():
    x = np.array([4, 8, 16, 32, 64, 128, 256.0])
    laws = {
        "power": 3 / x,
        "bent": np.exp(-0.2 * np.log(x) ** 2),
        "offset": 3 / x + 0.05,
        "saturating": 2 / (1 + (x / 30) ** 1.5),
    }
    for form in intervals.FORMS:
        assert intervals.held_out_error(x, laws[form], form) < 1e-3
    assert intervals.held_out_error(x, laws["bent"], "power") > 0.1
    assert intervals.held_out_error(x, laws["offset"], "power") > 0.1
    assert intervals.held_out_error(x, laws["saturating"], "power") > 0.1
    assert intervals.held_out_error(x, laws["saturating"], "offset") > 0.1  # a floor cannot bend downwards
    assert intervals.held_out_error(x, laws["power"], "offset") < 1e-3
    assert intervals.held_out_error(x, laws["power"], "saturating") < 1e-3


def test_held_out_sizes_are_the_largest_whatever_the_order():
    x = np.array([4, 8, 16, 32, 64, 128.0])
    y = np.where(x > 32, 10 / x, 1 / x)
    shuffled = np.array([5, 0, 3, 1, 4, 2])
    assert intervals.held_out_error(x, y, "power") == pytest.approx(np.log(10))
    assert intervals.held_out_error(x[shuffled], y[shuffled], "power") == pytest.approx(np.log(10))


def test_held_out_error_gives_one_number_per_series():
    x = np.array([4, 8, 16, 32, 64, 128.0])
    y = np.exp(np.random.default_rng(2).normal(0, 0.1, (2, 3, 6))) / x
    for form in intervals.FORMS:
        errors = intervals.held_out_error(x, y, form)
        assert errors.shape == (2, 3)
        assert errors[1, 2] == pytest.approx(float(intervals.held_out_error(x, y[1, 2], form)), rel=1e-4)


@pytest.mark.parametrize("exponent", [0.7, 1.0, 2.5])
def test_planted_floors_and_ceilings_give_their_parameters_back(exponent):
    log_x = np.log([5, 8, 12, 18, 27, 40.0])
    ceilings = np.array([[0.5], [3.0]])
    y = ceilings / (1 + np.exp(exponent * (log_x - np.log(12))))
    level, slope, floor = fit_with_floor(log_x, -np.log(y)).T
    assert slope == pytest.approx(exponent, abs=1e-3)
    assert np.exp(-floor) == pytest.approx(ceilings[:, 0], rel=1e-3)
    assert np.exp((floor - level) / slope) == pytest.approx(12, rel=1e-3)
    y = 3 * np.exp(-exponent * log_x) + 0.1 * ceilings
    level, slope, floor = fit_with_floor(log_x, np.log(y)).T
    assert slope == pytest.approx(-exponent, abs=1e-2)
    assert np.exp(floor) == pytest.approx(0.1 * ceilings[:, 0], rel=1e-2)
    assert np.exp(level) == pytest.approx(3, rel=1e-2)


@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_the_fit_with_a_floor_finds_what_a_bounded_solver_finds(noise):
    log_x = np.log([5, 8, 12, 18.0])
    log_y = -1.2 * log_x + noise * np.random.default_rng(4).normal(size=(12, 4))
    predicted = predict_with_floor(log_x, log_y, np.log([27.0, 40.0]))
    for row, found in zip(log_y, predicted, strict=True):
        level, slope = row.mean() + 1.2 * log_x.mean(), -1.2
        best = min(
            (
                optimize.least_squares(
                    lambda p, row=row: np.logaddexp(p[0] + p[1] * log_x, p[2]) - row,
                    (level, slope, row.min() - below),
                    bounds=([-60, -60, -60], [60, 0, 60]),
                    ftol=1e-12,
                    xtol=1e-12,
                )
                for below in (1.0, 10.0)
            ),
            key=lambda fit: fit.cost,
        )
        expected = np.logaddexp(best.x[0] + best.x[1] * np.log([27.0, 40.0]), best.x[2])
        assert found == pytest.approx(expected, abs=2e-3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-8, 8), min_size=6, max_size=6))
def test_no_series_breaks_a_form(log_y):
    x = np.array([5, 8, 12, 18, 27, 40.0])
    for form in intervals.FORMS:
        assert np.isfinite(intervals.held_out_error(x, np.exp(log_y), form))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [([1, 2, 4], [1, -1, 1], "positive"), ([1, 2], [1, 2, 3], "do not match"), ([2, 2], [1, 2], "distinct sizes")],
)
def test_series_that_no_power_law_fits_are_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        intervals.fit_power_law(x, y)


def test_too_few_sizes_to_hold_some_out_are_refused():
    with pytest.raises(ValueError, match="too few"):
        intervals.held_out_error([1, 2, 4], [1, 2, 3], "power")
