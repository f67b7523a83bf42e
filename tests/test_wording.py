"""Numbers in sentences: signs, rounding to zero, intervals, and which side of zero may be claimed."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolm.intervals import seed_interval
from evolm.wording import high, number, side, with_interval

FINITE = st.floats(-1e6, 1e6)


def test_a_side_needs_an_interval_that_leaves_out_zero() -> None:
    sides = [side(pd.Series(values)) for values in ([1.0, 1.1, 1.2], [-1.0, -1.1, -1.2], [1.0, -1.0], [5.0])]
    assert sides == ["above", "below", "alike", ""]


def test_numbers_have_a_true_minus_and_none_before_zero() -> None:
    assert [number(x) for x in (0.294, -0.3, -0.001)] == ["0.29", "−0.30", "0.00"]
    assert [number(x, 3, sign=True) for x in (0.05, -0.05, 0.0)] == ["+0.050", "−0.050", "0.000"]


@given(FINITE, st.integers(0, 4), st.booleans())
def test_a_number_reads_back_as_the_rounded_value(value: float, digits: int, sign: bool) -> None:
    text = number(value, digits, sign=sign)
    assert float(text.replace("−", "-")) == float(f"{value:.{digits}f}")
    assert "-" not in text
    assert text.startswith("+") == (sign and float(f"{value:.{digits}f}") > 0)


def test_a_mean_stands_with_its_guarded_interval_over_seeds_and_alone_for_one_seed() -> None:
    values = np.array([0.1, 0.2, 0.24])
    low, top = seed_interval(values)
    assert with_interval(pd.Series(values)) == f"0.18 [{number(float(low))}, {number(float(top))}]"
    assert high(pd.Series(values)) == pytest.approx(float(top))
    assert with_interval(pd.Series([0.5]), 1) == "0.5"
    assert math.isinf(high(pd.Series([0.5])))
