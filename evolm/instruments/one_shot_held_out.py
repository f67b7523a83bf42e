"""Problems that training sees and problems that it does not, and how a model does on the latter.

pool, held_out = split(task, 32, 200, seed=0)
evaluate(decoder_for(model), task, held_out, samples=8, seed=0)           # greedy and sampled, (problems,) each
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from evolm.lm.forward import Decoder
from evolm.lm.passk import Array
from evolm.lm.rewards import REWARDS
from evolm.lm.rollout import Source
from evolm.lm.sample import sample
from evolm.lm.tasks.base import Grades, Problem, Task


class SharedProblems(ValueError):
    """A problem would be trained on and tested on."""


@dataclass(frozen=True)
class Outcome:
    """One model on the held-out problems, (problems,) each, and the mean training reward of its last steps.

    `greedy`: right or not, greedy decoding. `sampled` and `well_formed`: shares of its samples.
    """

    greedy: Array
    sampled: Array
    well_formed: Array
    reward: float = float("nan")


def split(task: Any, count: int, held_out: int, seed: int) -> tuple[list[Problem], list[Problem]]:
    """A pool of `count` training problems and the held-out ones: two parts of a file, a task's splits rl and test.

    A file's parts are drawn by the seed; the second is what the first leaves, `held_out` problems at most. Raises
    SharedProblems, and ValueError for a file that is too short.
    """
    if hasattr(task, "all_problems"):
        problems = task.all_problems
        if len(problems) < count + 2:
            raise ValueError(
                f"{task.name} holds {len(problems)} problems: a pool of {count} leaves fewer than 2 to test on, "
                "so lower pool"
            )
        drawn = [problems[i] for i in np.random.default_rng(seed).permutation(len(problems))[: count + held_out]]
        pool, rest = drawn[:count], drawn[count:]
    else:
        pool, rest = task.problems("rl", count, seed), task.problems("test", held_out, seed)
    check_apart(task, pool, rest)
    return pool, rest


def check_apart(task: Task, pool: Sequence[Problem], held_out: Sequence[Problem]) -> None:
    """Refuse held-out problems that are, or read like, one of the pool. Raises SharedProblems."""
    trained, prompts = {problem.id for problem in pool}, set(map(tuple, task.encode(pool)))
    for problem, prompt in zip(held_out, task.encode(held_out), strict=True):
        if problem.id in trained or tuple(prompt) in prompts:
            raise SharedProblems(
                f"problem {problem.id} of {task.name} is in the training pool and among the held-out ones; expected "
                "two sets that share none"
            )


@torch.no_grad()
def evaluate(
    decoder: Decoder,
    task: Task,
    problems: Sequence[Problem],
    *,
    samples: int,
    seed: int,
    temperature: float = 1.0,
    max_new_tokens: int | None = None,
) -> Outcome:
    """One greedy completion and `samples` drawn ones per problem, graded. Models of one seed share their noise."""
    source = Source(task, task.tokenizer, REWARDS["verifier"])
    limit = min(task.max_new_tokens, max_new_tokens or task.max_new_tokens)

    def grades(n: int, temperature: float) -> Grades:
        drawn = sample(
            decoder,
            task.encode(problems),
            n,
            max_new_tokens=limit,
            eos=source.eos,
            pad=source.pad,
            temperature=temperature,
            seed=seed,
            method="lockstep",
        )
        return task.grade([problems[i] for i in drawn.prompt.tolist()], drawn.tokens, drawn.lengths)

    greedy, sampled = grades(1, 0.0), grades(samples, temperature)
    shares = (np.asarray(a, float).reshape(len(problems), -1).mean(1) for a in (sampled.correct, sampled.well_formed))
    return Outcome(np.asarray(greedy.correct, float), *shares)
