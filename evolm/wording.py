"""Numbers in sentences: with a true minus, with their interval over seeds, and where that interval lies.

with_interval(values)      # mean and 95 % interval, as text
side(values)               # "above", "below" or "alike": what a sentence may conclude
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from evolm.intervals import seed_interval


def high(values: pd.Series) -> float:
    """Upper end of the 95 % interval of a mean over seeds, as `seed_interval` has it; infinite for one seed."""
    return float(seed_interval(values.to_numpy(float))[1]) if len(values) > 1 else np.inf


def side(values: pd.Series) -> str:
    """Where the 95 % interval of a mean over seeds lies: `above` 0, `below` it, or `alike`; empty for one seed."""
    if len(values) < 2:
        return ""
    low, high = seed_interval(values.to_numpy(float))
    return "above" if low > 0 else "below" if high < 0 else "alike"


def with_interval(values: pd.Series, digits: int = 2) -> str:
    """A mean with its 95 % interval over seeds, where there are seeds for one: 0.29 [0.11, 0.46]."""
    text = number(float(values.mean()), digits)
    if len(values) < 2:
        return text
    low, high = seed_interval(values.to_numpy(float))
    return f"{text} [{number(float(low), digits)}, {number(float(high), digits)}]"


def number(value: float, digits: int = 2, *, sign: bool = False) -> str:
    """With a true minus, and none before zero: 0.05, −0.30; with a plus if asked for."""
    text = f"{value:+.{digits}f}"
    if not float(text):
        return text[1:]
    return text.replace("-", "−") if sign or value < 0 else text[1:]
