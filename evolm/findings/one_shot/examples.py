"""Which problems a model may train on: the pool, the examples drawn from it before any run, and wrong labels for them.

pool = pool_of(params, task)                         # the full set
drawn = draw(params, pool)                           # (index in the pool) of the examples, by a published seed
mislabelled(task, problem, "unguessable", seed)      # the same problem with another answer
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from evolm.findings.one_shot.world import confused
from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.base import Problem

if TYPE_CHECKING:
    from evolm.findings.one_shot.parameters import OneShotParams

Label = Literal["near", "guessable", "unguessable"]
#: Examples that the variance score picks have these numbers, those drawn by seed have 0, 1, 2 ...
FIRST_RANKED = 100


def pool_of(params: OneShotParams, task: AutomatonTask) -> list[Problem]:
    """The full set: problems of the split "rl", the same for every arm of a world."""
    return task.problems("rl", params.pool, seed=params.example_seed)


def draw(params: OneShotParams) -> list[int]:
    """Places in the pool of the examples, without replacement; a function of the published seed alone."""
    rng = np.random.default_rng(params.example_seed)
    return [int(place) for place in rng.permutation(params.pool)[: params.examples]]


def mislabelled(task: AutomatonTask, problem: Problem, label: Label, seed: int) -> Problem:
    """The problem with a wrong answer, paid for by the verifier as if it were right.

    near: the right chain but for its last state. guessable: the chain that a sloppy writer gives, or where that is
    right the chain of the most frequent other method. unguessable: states drawn at random, which no method gives.
    """
    chain = list(problem.facts["chain"])
    x, method = np.array([problem.facts["x"]]), problem.facts["method"]
    match label:
        case "near":
            chain[-1] = (chain[-1] + 1) % task.settings.states
        case "guessable":
            sloppy = task.world.chains(confused(x), np.array([method]))[0].tolist()
            other = int(method == 0)
            chain = sloppy if sloppy != chain else task.world.chains(x, np.array([other]))[0].tolist()
        case "unguessable":
            rng = np.random.default_rng([seed, int(problem.id, 16) % 2**32])
            chain = rng.integers(task.settings.states, size=len(chain)).tolist()
    answer = " ".join(f"s{state}" for state in chain)
    return replace(problem, answer=answer, facts={**problem.facts, "chain": chain})
