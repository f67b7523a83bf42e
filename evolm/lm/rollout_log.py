"""The verifier's reward, writing down what it pays: the rollouts' accuracy by problem and pass.

    log = RolloutLog([p.id for p in problems], prompts_per_step=16, group_size=8)
    reinforce(model, task, settings, problems=problems, reward=log)
    log.table()

`reinforce` takes problems in turn and gives the rows of a step prompt by prompt.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from evolm.lm.rewards import REWARDS
from evolm.lm.tasks.base import Array, Grades


class RolloutLog:
    """A reward function: 1 where the answer is right. `names` are those of the problems, in their order."""

    def __init__(self, names: Sequence[Hashable], prompts_per_step: int, group_size: int) -> None:
        self.names, self.per_step, self.group_size = list(names), prompts_per_step, group_size
        self._right: list[Array] = []  # (prompts of a step,) each

    def __call__(self, grades: Grades, rng: np.random.Generator) -> Any:
        self._right.append(np.asarray(grades.correct).reshape(self.per_step, self.group_size).mean(1))
        return REWARDS["verifier"](grades, rng)

    def table(self) -> pd.DataFrame:
        """problem (its name), epoch (from 0), step (from 1), accuracy, rollouts; a row per group."""
        accuracy = np.concatenate(self._right) if self._right else np.zeros(0)
        place, rows = np.arange(len(accuracy)), len(self.names)
        columns = {
            "problem": [self.names[i] for i in place % rows],
            "epoch": place // rows,
            "step": place // self.per_step + 1,
            "accuracy": accuracy,
            "rollouts": self.group_size,
        }
        return pd.DataFrame(columns)
