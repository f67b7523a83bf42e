"""Rewards of a rollout, as small named functions of what the verifier said, and a check that they are numbers.

    REWARDS["verifier"](grades, rng)      # 1 where the answer is right
    REWARDS["format"](grades, rng)        # 1 where the form is right, whatever the answer
    REWARDS["random"](grades, rng)        # Bernoulli(1/2), whatever the completion: control
    REWARDS["zero"](grades, rng)          # nothing to learn: control

Any function of the same shape can be given to `reinforce`. A verifier grades the completion only, never the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from evolm.lm.tasks.base import Array, Grades

RewardName = Literal["verifier", "format", "random", "zero"]
RewardFunction = Callable[[Grades, np.random.Generator], Any]


class BadReward(ValueError):
    """A reward function gave something that is no reward: NaN, infinite, or not one number per completion."""


def verifier(grades: Grades, rng: np.random.Generator) -> Array:
    """1 where the answer is right, else 0; (rows,)."""
    return grades.correct.astype(np.float32)


def well_formed(grades: Grades, rng: np.random.Generator) -> Array:
    """1 where the completion has the form of an answer, right or wrong; (rows,)."""
    return grades.well_formed.astype(np.float32)


def coin(grades: Grades, rng: np.random.Generator) -> Array:
    """Bernoulli(1/2) whatever the completion (Shao et al. 2025, "spurious rewards"); (rows,)."""
    return (rng.random(len(grades.correct)) < 0.5).astype(np.float32)


def zero(grades: Grades, rng: np.random.Generator) -> Array:
    """0 for every completion; (rows,)."""
    return np.zeros(len(grades.correct), np.float32)


REWARDS: Mapping[RewardName, RewardFunction] = {
    "verifier": verifier,
    "format": well_formed,
    "random": coin,
    "zero": zero,
}


def checked(rewards: Any, rows: int, name: str, step: int) -> Array:
    """The rewards as float32 (rows,). Raises BadReward, saying which completion's reward is not a finite number."""
    values = np.asarray(rewards, np.float32)
    if values.shape != (rows,):
        raise BadReward(
            f"the reward function {name!r} returned shape {values.shape} at step {step}; "
            f"expected one number for each of {rows} completions."
        )
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise BadReward(
            f"the reward function {name!r} gave {values[bad[0]]} to completion {bad[0]} at step {step} "
            f"({len(bad)} of {rows} are not finite). A reward must be a finite number: give 0 to what cannot be graded."
        )
    return values


def overlong_penalty(lengths: Array, max_new_tokens: int, buffer: int) -> Array:
    """DAPO's soft overlong punishment (Yu et al. 2025, Eq. 13), (rows,): 0 to -1 over the last `buffer` tokens."""
    allowed = max_new_tokens - buffer
    return np.clip((allowed - lengths) / buffer, -1.0, 0.0).astype(np.float32)
