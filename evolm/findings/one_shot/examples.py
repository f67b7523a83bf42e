"""Which problems a model may train on: the pool, the examples drawn from it before any run, and wrong labels for them.

    pool = pool_of(params, task)                         the full set
    drawn = draw(params, task, pool)                     places in the pool of the examples, by a published seed
    mislabelled(task, problem, "unguessable", seed)      the same problem with another answer

What an example can teach is known before any run, from the task alone. Its kind is `switch` where the sloppy chain is
wrong, so that a right answer speaks for the careful mode; `either` where both modes are right; `unknown` where it needs
the method that no corpus holds. The draw takes of each kind about what the pool has of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from evolm.findings.one_shot.world import confused
from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.base import Problem

if TYPE_CHECKING:
    from evolm.findings.one_shot.parameters import OneShotParams

Label = Literal["near", "guessable", "unguessable"]
#: Kinds of the examples drawn, in turn: ten hold six, three and one, near the pool's 61, 27 and 12 per cent; controls
#: get the first few.
ORDER = ("switch", "either", "switch", "switch", "either", "switch", "unknown", "switch", "either", "switch")
#: Examples that the variance score picks have these numbers, those drawn by seed have 0, 1, 2 ...
FIRST_RANKED = 100


def pool_of(params: OneShotParams, task: AutomatonTask) -> list[Problem]:
    """The full set: problems of the split "rl", the same for every arm of a world."""
    return task.problems("rl", params.pool, seed=params.example_seed)


def kinds_of(task: AutomatonTask, problems: Sequence[Problem]) -> list[str]:
    """The kind of each problem: switch, either or unknown."""
    x = np.array([problem.facts["x"] for problem in problems], np.int64).reshape(-1, task.settings.steps + 1)
    method = np.array([problem.facts["method"] for problem in problems], np.int64)
    differs = (task.world.chains(x, method) != task.world.chains(confused(x), method)).any(1)
    kinds = np.where(method == task.settings.absent, "unknown", np.where(differs, "switch", "either"))
    return [str(kind) for kind in kinds]


def draw(params: OneShotParams, task: AutomatonTask, pool: Sequence[Problem]) -> list[int]:
    """Places in the pool of the examples, without replacement; in each kind a function of the published seed alone."""
    order = np.random.default_rng(params.example_seed).permutation(len(pool)).tolist()
    kinds = kinds_of(task, pool)
    left = {kind: iter([place for place in order if kinds[place] == kind]) for kind in ORDER}
    drawn = [next(left[ORDER[number % len(ORDER)]], None) for number in range(params.examples)]
    if None in drawn:
        lacking = ORDER[drawn.index(None) % len(ORDER)]
        raise ValueError(
            f"a pool of {len(pool)} has too few problems of the kind {lacking!r} for {params.examples} examples; raise "
            "pool or lower examples"
        )
    return [int(place) for place in drawn if place is not None]


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
