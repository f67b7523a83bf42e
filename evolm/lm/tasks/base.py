"""What a task is: problems in four splits that share none, a grader that sees completions only, and chance levels.

    problems = task.problems("test", 500, seed=0)
    samples = sample(model, task.encode(problems), 256, ...)
    grades = task.grade([problems[i] for i in samples.prompt.tolist()], samples.tokens, samples.lengths)

Which split a problem belongs to is a function of its canonical form alone, through a 64-bit key: sha256 of the
text (`problem_id`), or for problems that are arrays of integers, drawn by the hundred thousand, a vectorised
mix of those integers (`integer_keys`). The split's shares are cut from the key's range, one rule for both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import pandas as pd

from evolm.lm.passk import pass_at_k_from_p

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, np.dtype[Any]]
Split = Literal["pretrain", "rl", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
#: Fraction of all problems in each split. Fixed: to change it would move problems between splits.
SHARES: Mapping[Split, float] = {"pretrain": 0.5, "rl": 0.2, "validation": 0.1, "test": 0.2}
_BOUNDS = np.array([int(share * 2**64) for share in np.cumsum(list(SHARES.values()))[:-1]], np.uint64)


class NotEnoughProblems(ValueError):
    """A split holds fewer distinct problems than were asked for."""


@dataclass(frozen=True)
class Problem:
    """One problem. `id`: hash of the canonical problem, 16 hex digits; `facts`: what the grader needs, JSON-able."""

    id: str
    prompt: str
    answer: str
    facts: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Grades:
    """Boolean arrays (rows,): the answer is right; the form is; the answer and every checkable step are."""

    correct: Array
    well_formed: Array
    valid: Array


@dataclass(frozen=True)
class Chance:
    """Success probability of one sample, (problems,) each, of strategies that know less than a solver.

    `answer_guess` draws an answer from the task's answer marginal. `blind_search` draws a well-formed completion
    without knowing which is right. `informed` holds further reference levels of the task by name. NaN: not known.
    """

    answer_guess: Array
    blind_search: Array
    informed: Mapping[str, Array] = field(default_factory=dict)

    def levels(self) -> dict[str, Array]:
        """Every level by name, (problems,) each."""
        return {"answer guess": self.answer_guess, "blind search": self.blind_search, **self.informed}

    def table(self, ks: Iterable[int] = (1, 16, 256, 1024)) -> pd.DataFrame:
        """Mean pass@k of each level (rows) at each k (columns), over the problems where it is known."""
        known = {name: p[~np.isnan(p)] for name, p in self.levels().items()}
        rows = {name: {k: pass_at_k_from_p(p, k).mean() if len(p) else np.nan for k in ks} for name, p in known.items()}
        return pd.DataFrame(rows).T.rename_axis(index="level", columns="k")


@runtime_checkable
class Task(Protocol):
    """What samplers, trainers and measurements need of a task."""

    name: str
    max_new_tokens: int
    tokenizer: Any  # a transformers fast tokenizer

    def problems(self, split: Split, count: int, seed: int) -> list[Problem]:
        """`count` distinct problems of `split`; fails with `NotEnoughProblems` when the split holds fewer."""

    def encode(self, problems: Sequence[Problem]) -> list[list[int]]:
        """Prompt token ids, ready for the model."""

    def grade(self, problems: Sequence[Problem], tokens: Array | Tensor, lengths: Array | Tensor) -> Grades:
        """Grade completions: row i of `tokens`, (rows, time), answers `problems[i]`.

        `tokens` holds the completion only, `lengths` (rows,) its length with EOS where one was emitted.
        """

    def chance(self, problems: Sequence[Problem]) -> Chance:
        """What guessing and blind search would score on each problem."""


def problem_id(canonical: str) -> str:
    """Id of a problem from its canonical text: the first 64 bits of its sha256, 16 hex digits."""
    return hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()[:16]


def split_of(canonical: str) -> Split:
    """Split of the problem whose canonical text this is."""
    return split_of_id(problem_id(canonical))


def split_of_id(identity: str) -> Split:
    """Split of the problem with this id."""
    return SPLITS[int(split_indices(np.array([int(identity, 16)], np.uint64))[0])]


def split_indices(keys: Array) -> Array:
    """Index into `SPLITS` of each 64-bit key (any shape, uint64)."""
    return np.searchsorted(_BOUNDS, keys, side="right")


def check_split(split: str) -> None:
    """Refuse a split that is not there."""
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}; the splits are {', '.join(SPLITS)}.")


def integer_keys(integers: Array, salt: Sequence[int] = ()) -> Array:
    """64-bit keys (rows,) of rows of small integers (rows, columns), with `salt` before each row.

    Every column is folded in through the finaliser of splitmix64 (Steele, Lea, Flood 2014), a bijection whose output
    bits each depend on all input bits; so rows that differ in one column never share a key.
    """
    keys = np.zeros(len(integers), np.uint64)
    columns = [np.full(len(integers), value % 2**64, np.uint64) for value in salt]
    columns += [integers[:, i].astype(np.uint64) for i in range(integers.shape[1])]
    for column in columns:
        keys = (keys ^ column) + np.uint64(0x9E3779B97F4A7C15)
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys = keys ^ (keys >> np.uint64(31))
    return keys


def as_numpy(values: Array | Tensor) -> Array:
    """A numpy view of a tensor (copied from its device if need be) or of an array."""
    return values if isinstance(values, np.ndarray) else values.detach().cpu().numpy()


def distinct(problems: Sequence[Problem]) -> tuple[list[Problem], Array]:
    """The distinct problems, and for each row its index among them: sampled rows repeat a problem many times."""
    handles = np.fromiter(map(id, problems), np.int64, len(problems))
    _, first, index = np.unique(handles, return_index=True, return_inverse=True)
    return [problems[i] for i in first], index


def check_rows(problems: Sequence[Problem], tokens: Array, lengths: Array) -> None:
    """Refuse completions that do not line up with their problems."""
    if tokens.ndim != 2 or lengths.shape != (len(tokens),) or len(problems) != len(tokens):
        raise ValueError(
            f"grade() got {len(problems)} problems, tokens of shape {tuple(tokens.shape)} and lengths of shape "
            f"{tuple(lengths.shape)}; it needs one problem, one row and one length for each completion."
        )
    if len(lengths) and not (lengths.min() >= 0 and lengths.max() <= tokens.shape[1]):
        raise ValueError(
            f"grade() got lengths from {lengths.min()} to {lengths.max()} for completions of {tokens.shape[1]} tokens; "
            "a length counts the tokens of its row, EOS included."
        )
