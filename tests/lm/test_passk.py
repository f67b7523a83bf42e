"""pass@k: the estimator is the paper's, exact against rationals and enumeration, and refuses what it cannot know."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolm.lm.passk import pass_at_k, pass_at_k_curve, pass_at_k_from_p, usual_ks


def rational(n: int, c: int, k: int) -> Fraction:
    return 1 - Fraction(math.comb(n - c, k), math.comb(n, k))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_pass_at_k_equals_the_rational_formula(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 2000))
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert float(pass_at_k(n, c, k)) == pytest.approx(float(rational(n, c, k)), rel=1e-11, abs=0)


def test_pass_at_k_equals_enumeration_for_small_n() -> None:
    for n in range(1, 8):
        for c, k in itertools.product(range(n + 1), range(1, n + 1)):
            draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
            assert float(pass_at_k(n, c, k)) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)


def test_pass_at_k_agrees_with_the_product_of_the_paper_for_every_count() -> None:
    n = 1024
    for k in (1, 7, 256, 1023, 1024):
        paper = [1.0 if n - c < k else 1 - float(np.prod(1 - k / np.arange(n - c + 1, n + 1))) for c in range(n + 1)]
        np.testing.assert_allclose(pass_at_k(n, np.arange(n + 1), k), paper, atol=1e-9, rtol=0)


def test_pass_at_k_is_unbiased_for_unequal_sample_counts() -> None:
    p, k = 0.2, 3
    for n in (3, 5, 12):
        weights = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
        assert np.dot(weights, pass_at_k(n, range(n + 1), k)) == pytest.approx(float(pass_at_k_from_p(p, k)))
    mixed = pass_at_k([3, 12], [1, 1], k)
    assert mixed.tolist() == [1.0, pytest.approx(0.25)]


def test_curve_has_a_row_per_problem_and_grows_with_k() -> None:
    curve = pass_at_k_curve(16, [0, 1, 16], range(1, 17))
    assert curve.shape == (3, 16)
    assert (np.diff(curve, axis=1) >= 0).all()
    assert (curve[0] == 0).all()
    assert (curve[2] == 1).all()
    np.testing.assert_allclose(curve[1], np.arange(1, 17) / 16)


def test_pass_at_k_from_p_keeps_its_digits_for_tiny_p() -> None:
    assert float(pass_at_k_from_p(1e-20, 1024)) == pytest.approx(1024e-20, rel=1e-12)
    assert pass_at_k_from_p([0.0, 0.5, 1.0], 2).tolist() == [0.0, 0.75, 1.0]


def test_usual_ks_are_powers_of_two_and_n() -> None:
    assert usual_ks(1) == (1,)
    assert usual_ks(8) == (1, 2, 4, 8)
    assert usual_ks(12) == (1, 2, 4, 8, 12)


@pytest.mark.parametrize(
    ("n", "c", "k", "words"),
    [
        (4, 1, 5, "pass@5 cannot be estimated from 4 samples"),
        ([16, 4], [1, 1], 8, "from 4 samples"),
        (4, 5, 1, "5 correct among 4"),
        (4, -1, 1, "-1 correct among 4"),
        (4, 1, 0, "k is 0"),
        (0, 0, 1, "0 samples"),
        (4, 0.5, 1, "c holds a value that is not a whole number"),
        (4, float("nan"), 1, "not a whole number"),
    ],
)
def test_impossible_counts_are_refused(n: object, c: object, k: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pass_at_k(n, c, k)  # type: ignore[arg-type]


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_the_unit_interval_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        pass_at_k_from_p(p, 2)
