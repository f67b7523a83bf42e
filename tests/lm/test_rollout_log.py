"""The log of rollouts: what the verifier paid, by problem and pass."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

from evolm.lm.rollout_log import RolloutLog
from evolm.lm.tasks.base import Grades

COLUMNS = ["problem", "epoch", "step", "accuracy", "rollouts"]


def logged(names: Sequence[Hashable], steps: Sequence[Sequence[int]], per_step: int, group_size: int) -> pd.DataFrame:
    """The table after these steps, whose rows were right (1) or wrong (0)."""
    log = RolloutLog(names, per_step, group_size)
    for right in steps:
        correct, other = np.array(right, bool), ~np.array(right, bool)
        reward = log(Grades(correct=correct, well_formed=other, valid=other), np.random.default_rng(0))
        assert list(reward) == right
    return log.table()


def test_groups_are_named_in_turn_and_a_pass_that_ends_in_the_middle_stays_in() -> None:
    table = logged("abc", [[1, 1, 0, 1], [0, 0, 1, 1]], per_step=2, group_size=2)
    expected = [("a", 0, 1, 1.0, 2), ("b", 0, 1, 0.5, 2), ("c", 0, 2, 0.0, 2), ("a", 1, 2, 1.0, 2)]
    assert list(table.columns) == COLUMNS
    assert list(table.itertuples(index=False, name=None)) == expected


def test_a_step_may_hold_several_passes() -> None:
    table = logged([7, 9], [[1, 0, 0, 0, 1], [1, 1, 1, 1, 0]], per_step=5, group_size=1)
    assert list(table["problem"]) == [7, 9] * 5
    assert list(table["epoch"]) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert list(table["step"]) == [1] * 5 + [2] * 5
    assert list(table["accuracy"]) == [1, 0, 0, 0, 1, 1, 1, 1, 1, 0]


def test_accuracy_is_the_mean_of_the_rows_of_one_prompt() -> None:
    right = np.random.default_rng(3).integers(0, 2, (4, 3, 8))  # (step, prompt, sample)
    table = logged("abcdef", [step.ravel().tolist() for step in right], per_step=3, group_size=8)
    assert table["accuracy"].tolist() == [sum(group) / 8 for step in right.tolist() for group in step]
    assert set(table["rollouts"]) == {8}


def test_a_log_of_nothing_is_an_empty_table() -> None:
    table = logged("ab", [], per_step=2, group_size=2)
    assert (len(table), list(table.columns)) == (0, COLUMNS)
