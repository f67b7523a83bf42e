"""Tasks of reasoning_gym (Stojanovski et al. 2025), graded by its own scorers, right or wrong.

    task = GymTask("chain_sum", tokenizer, template="{prompt}\\nAnswer:", min_terms=2, max_terms=3)
    print(task.chance(task.problems("test", 200, seed=0)).table())      # how far guessing goes

Scorers pay part of the reward for near misses and for mere form; only a full score counts here. Some of them run
the model's answer as Python (eval, or sympy's parser, which calls it): those tasks are refused. Many tasks can be
guessed (gcd, maze, syllogism: .9 and more at 256 tries), so look at `chance` before reading anything into a curve.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from evolm.lm.tasks.base import (
    Chance,
    NotEnoughProblems,
    Problem,
    Split,
    check_split,
    integer_keys,
    problem_id,
    split_of_id,
)
from evolm.lm.tasks.text import TextTask, answer_chance

_CHUNK = 512  # items drawn at a time; fixed, so that a longer draw begins with a shorter one
_PATIENCE = 8  # chunks in a row without a new problem before a split counts as used up
_POOL = 1500  # items whose answers make the answer marginal
_POOL_SEED = 2**31 - 1  # stands apart from the seeds that people choose
_EVALUATION = re.compile(r"\b(eval|exec|parse_expr|sympify)\(")
#: Tasks whose source evaluates text, but only text that their own generator wrote (or with a parser of their own).
_HARMLESS = frozenset({"basic_arithmetic", "bitwise_arithmetic", "number_sorting", "propositional_logic"})
_ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


class GymTask(TextTask):
    """A reasoning_gym dataset by name. `config` goes to the dataset, as in `reasoning_gym.create_dataset`.

    The answer is what stands in the last <answer></answer> of a completion, or all of it where there is none.
    """

    def __init__(
        self,
        name: str,
        tokenizer: Any,
        *,
        template: str | None = None,
        max_new_tokens: int = 256,
        **config: Any,
    ) -> None:
        super().__init__(name, tokenizer, template, max_new_tokens)
        _refuse(name, config)
        self.config = config
        self._entries: dict[str, tuple[Any, Any]] = {}  # problem id -> dataset and entry, for its scorer
        self._dataset(0, 1)  # so that a wrong option fails here

    def problems(self, split: Split, count: int, seed: int) -> list[Problem]:
        """`count` distinct problems of `split`, by the hash of the question."""
        check_split(split)
        found: dict[str, Problem] = {}
        idle, chunk = 0, 0
        while len(found) < count and idle < _PATIENCE:
            before = len(found)
            for problem in self._items(seed, chunk):
                if split_of_id(problem.id) == split:
                    found.setdefault(problem.id, problem)
                if len(found) == count:  # some generators take a second for an item
                    break
            idle = 0 if len(found) > before else idle + 1
            chunk += 1
        if len(found) < count:
            raise NotEnoughProblems(
                f"The {split} split of {self.name} gave only {len(found)} distinct problems of the {count} asked for; "
                "ask for fewer, or choose options that allow more of them."
            )
        return list(found.values())

    def judge(self, pairs: Sequence[tuple[Problem, str]]) -> list[tuple[bool, bool]]:
        """Right is a score of exactly 1. A scorer that raises has been given something malformed: wrong."""
        return [self._judge(problem, _extract(text)) for problem, text in pairs]

    def _judge(self, problem: Problem, answer: str) -> tuple[bool, bool]:
        if not answer:
            return False, False
        dataset, entry = self._entry(problem)
        try:
            return bool(dataset.score_answer(answer, entry) == 1.0), True
        except Exception:  # scorers raise whatever their parsing runs into
            return False, True

    def chance(self, problems: Sequence[Problem]) -> Chance:
        """Guessability: the answer marginal is that of a fresh draw of 1,500 items (`answer_chance`)."""
        chunks = range(-(-_POOL // _CHUNK))
        pool = [problem for chunk in chunks for problem in self._items(_POOL_SEED, chunk)]
        return answer_chance(problems, pool[:_POOL])

    def _dataset(self, seed: int, size: int) -> Any:
        import reasoning_gym

        try:
            return reasoning_gym.create_dataset(self.name, seed=seed, size=size, **self.config)
        except (TypeError, AssertionError, ValueError) as problem:
            raise ValueError(f"reasoning_gym refused the options {self.config} for {self.name}: {problem}") from problem

    def _items(self, seed: int, chunk: int) -> Iterator[Problem]:
        """The problems of one chunk; their entries are kept for the scorer."""
        # Item i of a dataset is drawn from its seed + i: neighbouring seeds would share items.
        base = int(integer_keys(np.array([[seed, chunk]]))[0]) % 2**30
        dataset = self._dataset(base, _CHUNK)
        for index in range(len(dataset)):
            entry = dataset[index]
            problem = self._problem(entry, base, index)
            self._entries.setdefault(problem.id, (dataset, entry))
            yield problem

    def _problem(self, entry: Any, seed: int, index: int) -> Problem:
        question, answer = str(entry["question"]), entry["answer"]
        identity = problem_id(f"{self.name}\n{question}")
        return Problem(identity, question, "" if answer is None else str(answer), {"seed": seed, "index": index})

    def _entry(self, problem: Problem) -> tuple[Any, Any]:
        """Dataset and entry of a problem, made again from its seed and index when another process drew it."""
        if problem.id not in self._entries:
            dataset = self._dataset(problem.facts["seed"], _CHUNK)
            entry = dataset[problem.facts["index"]]
            if self._problem(entry, 0, 0).id != problem.id:
                raise ValueError(
                    f"Problem {problem.id} is not one of {self.name} with the options {self.config}; grade it with the "
                    "task and the version of reasoning_gym that drew it."
                )
            self._entries[problem.id] = (dataset, entry)
        return self._entries[problem.id]


def _extract(text: str) -> str:
    tagged = _ANSWER_TAG.findall(text)
    return (tagged[-1] if tagged else text).strip()


def _refuse(name: str, config: dict[str, Any]) -> None:
    """Fail for names that are not there, tasks that run answers as code, and options that are ours to set."""
    try:
        import reasoning_gym  # noqa: F401
        from reasoning_gym.factory import DATASETS
    except ImportError as absent:
        raise ImportError("Tasks of reasoning_gym need that package: pip install 'evolm[paper]'.") from absent
    if name not in DATASETS:
        near = get_close_matches(name, DATASETS, n=3)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise ValueError(f"reasoning_gym has no task {name!r}{hint}.")
    if name == "composite" or evaluates_text(name):
        raise ValueError(
            f"The task {name!r} is refused: reasoning_gym generates or scores it by running text as Python, and an "
            "answer that a model wrote must never be run. Choose a task that compares answers."
        )
    for option in ("seed", "size"):
        if option in config:
            raise ValueError(f"{option} is not an option here: problems(split, count, seed) sets it.")


def evaluates_text(name: str) -> bool:
    """Whether the source of this reasoning_gym task runs text that its generator did not write as code."""
    from reasoning_gym.factory import DATASETS

    if name in _HARMLESS:
        return False
    modules = {kind.__module__ for kind in DATASETS[name][0].__mro__ if kind.__module__.startswith("reasoning_gym")}
    return any(_EVALUATION.search(inspect.getsource(sys.modules[module])) for module in modules)
