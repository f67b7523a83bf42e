"""What the chapter's sentences share: means, medians of censored times, differences paired by seed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import torch

from evolm.findings.harmonic_loss import FINDING
from evolm.findings.harmonic_loss.algorithmic import LEARNT, WIDTH
from evolm.findings.harmonic_loss.tasks import MODULUS
from evolm.instruments.geometry_measures import explained_variance

Tables = dict[str, pd.DataFrame]
#: The five heads, in the order of every sentence.
HEADS = ("cross-entropy", "normalised", "squared distance", "distance", "harmonic")
AUTHORS = ", authors'"
#: What is compared, and with what.
PAIR = ("harmonic", "cross-entropy")
#: Test accuracy on addition of a model that guesses.
GUESSED = 1 / MODULUS
#: Both kinds of settings.
EITHER = ("authors", "addition")


def mean(rows: pd.DataFrame, arm: str, column: str) -> float:
    """Mean over seeds of an arm; NaN where it has no rows."""
    return float(rows.loc[rows["arm"] == arm, column].astype(float).mean())


def present(rows: pd.DataFrame, *arms: str) -> bool:
    """Whether a group has all of some arms."""
    return set(arms) <= set(rows["arm"])


def learnt(rows: pd.DataFrame, arm: str) -> str:
    """How many runs of an arm ever reach 95 % of test pairs: `8 of 8`."""
    seen = rows.loc[rows["arm"] == arm, "generalised_seen"].astype(bool)
    return f"{int(seen.sum())} of {len(seen)}"


def ends(rows: pd.DataFrame, arm: str) -> str:
    """How many runs of an arm have 95 % of test pairs right at the end: `6 of 8`."""
    right = rows.loc[rows["arm"] == arm, "test_accuracy"].astype(float) >= LEARNT
    return f"{int(right.sum())} of {len(right)}"


def median_epoch(rows: pd.DataFrame, arm: str) -> str:
    """The first epoch by which half of an arm's runs have 95 % of test pairs right, as Kaplan and Meier's curve has it.

    `more than N` where half of them never get there.
    """
    part = rows[rows["arm"] == arm]
    times = np.sort(np.where(part["generalised_seen"].astype(bool), part["generalised_epoch"], np.inf))
    middle = times[(len(times) - 1) // 2]
    return f"{middle:.0f}" if np.isfinite(middle) else f"more than {part['generalised_epoch'].max():.0f}"


def less(rows: pd.DataFrame, arm: str, other: str, column: str) -> pd.Series:
    """A column of an arm less that of another, paired by seed; of seeds that have both."""
    wide = rows[rows["arm"].isin([arm, other])].pivot(index="seed", columns="arm", values=column).astype(float)
    return (wide[arm] - wide[other]).dropna()


def doublings(rows: pd.DataFrame, arm: str, other: str) -> pd.Series:
    """log2 of the epoch at which test pairs are known, an arm's less that of another, paired by seed.

    Runs that never get there count at their last epoch.
    """
    logs = np.log2(rows["generalised_epoch"].astype(float).clip(lower=1))
    return less(rows.assign(doublings=logs), arm, other, "doublings")


def delta(claim: str) -> float:
    """The smallest effect that counts for a claim, as it was frozen."""
    return float(FINDING.claim(claim).delta)


@cache
def chance_ev(tokens: int = MODULUS, width: int = WIDTH, draws: int = 400) -> float:
    """Mean share of variance in two components of standard normal points: what an embedding has before training."""
    points = torch.randn(draws, tokens, width, generator=torch.Generator().manual_seed(0))  # (draw, token, width)
    return float(explained_variance(points).mean())
