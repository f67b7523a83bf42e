"""Success probabilities without sampling noise: exact, or between certified bounds; else by samples.

    certified(decoder, task, problems, tolerance=1e-3)                     low and high for every problem
    certified(decoder, task, problems, tolerance=1e-2, tolerance_k=1024)   as tight as pass@1024 asks for
    evaluate(decoder, task, problems, n=1024)                              the best method that the task allows

A task allows the first two where its verifier can judge prefixes, `viable(problem, prefixes)`, list what it accepts,
`accepting(problem)`, or say which tokens it accepts in each place, `accepted_tokens(problems)`; a verifier that only
grades whole completions leaves sampling. pass@k follows for
every k: `pass_at_k_from_p` of both bounds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from evolm.lm.expansion import Expansion, Viable, expand
from evolm.lm.memory import fitting
from evolm.lm.tasks.base import Problem

Method = Literal["auto", "exact", "certified", "samples"]
#: Gap of a first, coarse pass when pass@k is to be certified: what it finds tells which problems need more.
COARSE, FINER = 0.05, 30.0
#: Prefixes, and logits, in one forward pass unless told.
MOST_ROWS, MOST_LOGITS = {"cpu": 2048, "cuda": 16384}, 2**27
#: Gaps are sums in float64; the logits behind them are float32, so a sum called exact has about six digits.
ROUNDING = 1e-12


class CannotCertify(ValueError):
    """The task's verifier judges whole completions only."""


class BudgetTooSmall(UserWarning):
    """Some bounds are valid but wider than asked for."""


class AcceptedCompletions:
    """A verifier of prefixes made from the list of completions that it accepts, each ending in `eos`."""

    def __init__(self, completions: Sequence[Sequence[int]], vocab: int, eos: int) -> None:
        self.vocab = vocab
        self._next: dict[tuple[int, ...], set[int]] = {}
        for completion in completions:
            tokens = tuple(int(token) for token in completion)
            if not tokens or tokens[-1] != eos or eos in tokens[:-1] or not all(0 <= t < vocab for t in tokens):
                raise ValueError(
                    f"accepting() listed {list(tokens)}; expected token ids below {vocab} that end in their only "
                    f"EOS ({eos})"
                )
            for t, token in enumerate(tokens):
                self._next.setdefault(tokens[:t], set()).add(token)

    def viable(self, prefixes: Tensor) -> Tensor:
        """(rows, vocab) bool: which tokens keep each prefix, (rows, t), the start of an accepted completion."""
        mask = np.zeros((len(prefixes), self.vocab), bool)
        for row, prefix in enumerate(prefixes.tolist()):
            mask[row, list(self._next.get(tuple(prefix), ()))] = True
        return torch.from_numpy(mask)


def can_certify(task: Any) -> bool:
    """Whether the task's verifier can judge prefixes or list what it accepts."""
    return any(callable(getattr(task, name, None)) for name in ("accepted_tokens", "viable", "accepting"))


def certified(
    decoder: Any,
    task: Any,
    problems: Sequence[Problem],
    *,
    tolerance: float = 1e-3,
    tolerance_k: int | None = None,
    temperature: float = 1.0,
    max_new_tokens: int | None = None,
    eos: int | None = None,
    max_expansions: int = 200_000,
    max_rows: int | None = None,
) -> pd.DataFrame:
    """Bounds low <= p <= high on each problem's success probability at `temperature`, (problems,) rows.

    `tolerance` bounds high - low, or with `tolerance_k` the gap of pass@tolerance_k; 0 asks for the exact sum. At
    most `max_expansions` prefixes of a problem are expanded: where that does not do, the bounds hold but are wider,
    `within_tolerance` is False and a `BudgetTooSmall` warning says how many. `method` is "exact" where nothing was
    left unexpanded. A completion has at most `max_new_tokens` tokens, EOS included (default: the task's own).
    Columns: problem, low, high, method, expansions, within_tolerance. Raises CannotCertify, ValueError.
    """
    if not (0 <= tolerance < 1 and temperature > 0 and max_expansions >= 1):
        raise ValueError(
            f"tolerance {tolerance}, temperature {temperature}, max_expansions {max_expansions}: expected a tolerance "
            "in [0, 1), a positive temperature and at least one expansion"
        )
    depth, eos, prompts = max_new_tokens or task.max_new_tokens, _eos(task, eos), task.encode(problems)
    _check_lengths(decoder, prompts, depth)
    viable = _verifier(task, problems, decoder.vocab_size, eos)
    most = MOST_ROWS.get(torch.device(decoder.device).type, MOST_ROWS["cpu"])
    rows = max_rows or max(1, min(most, MOST_LOGITS // decoder.vocab_size))
    low, high = torch.zeros(len(problems), dtype=torch.float64), torch.ones(len(problems), dtype=torch.float64)
    allowance = _allowance(low, tolerance, tolerance_k)
    if tolerance_k is not None and tolerance > 0:
        allowance = allowance.clamp(min=COARSE)
    left = torch.full((len(problems),), max_expansions)
    todo = torch.arange(len(problems))

    def one_pass(chosen: list[int], gap: Tensor, rows: int) -> Expansion:
        return expand(
            decoder,
            [prompts[i] for i in chosen],
            lambda problem, prefixes: viable(torch.tensor(chosen)[problem], prefixes),
            eos=eos,
            max_new_tokens=depth,
            allowance=gap[chosen],
            budget=left[chosen],
            temperature=temperature,
            max_rows=rows,
        )

    while len(todo):
        found, rows = fitting(partial(one_pass, todo.tolist(), allowance), rows)
        low[todo] = torch.maximum(low[todo], found.accepted.clamp(max=1))
        high[todo] = torch.minimum(high[todo], found.accepted + found.unexpanded)
        left[todo] -= found.expansions
        needed = _allowance(low, tolerance, tolerance_k)
        # What the allowance alone left is mended by a smaller one; what the budget left is not.
        wide = (high - low)[todo] > needed[todo] + ROUNDING
        cut = found.unexpanded > allowance[todo] + ROUNDING
        todo = todo[wide & ~cut & (left[todo] > 0)]
        allowance = torch.maximum(needed, allowance / FINER)
    return _table(problems, low, high, left, max_expansions, _allowance(low, tolerance, tolerance_k))


def evaluate(
    decoder: Any,
    task: Any,
    problems: Sequence[Problem],
    *,
    n: int | None = None,
    method: Method = "auto",
    level: float = 0.95,
    temperature: float = 1.0,
    seed: int = 0,
    **options: Any,
) -> pd.DataFrame:
    """Success probability of each problem by the best method that the task allows, or the one asked for.

    "auto" certifies where the verifier can judge prefixes and otherwise draws `n` samples; `options` are those of
    `certified`, or of `sample`. Columns: problem, method ("exact", "certified", "samples"), p, low, high, error (half
    of high - low), n and c (0 where nothing was sampled), expansions. For samples, [low, high] is the Clopper-Pearson
    interval at `level`; otherwise it is certain.
    """
    if method == "auto":
        method = "certified" if can_certify(task) else "samples"
    if method != "samples":
        options |= {"tolerance": 0.0} if method == "exact" else {}
        table = certified(decoder, task, problems, temperature=temperature, **options)
        table = table.assign(n=0, c=0, p=(table["low"] + table["high"]) / 2)
    elif n is None or n < 1:
        raise ValueError(f"{task.name} is evaluated by samples: say how many per problem, n=256 for instance")
    else:
        correct = count_correct(decoder, task, problems, n, temperature=temperature, seed=seed, **options)
        low, high = clopper_pearson(n, correct, level)
        table = pd.DataFrame({"problem": [p.id for p in problems], "n": n, "c": correct, "p": correct / n})
        table = table.assign(method="samples", low=low, high=high, expansions=0)
    table["error"] = (table["high"] - table["low"]) / 2
    return table[["problem", "method", "p", "low", "high", "error", "n", "c", "expansions"]]


def count_correct(
    decoder: Any, task: Any, problems: Sequence[Problem], n: int, *, eos: int | None = None, seed: int, **options: Any
) -> np.ndarray:
    """How many of `n` sampled completions of each problem are correct, (problems,)."""
    from evolm.lm.sample import sample

    ids = {"eos": (eos := _eos(task, eos)), "pad": eos}  # what follows the end is not graded
    settings: dict[str, Any] = {"max_new_tokens": task.max_new_tokens, "seed": seed} | ids | options
    samples = sample(decoder, task.encode(problems), n, **settings)
    index = samples.prompt.cpu().numpy()
    grades = task.grade([problems[i] for i in index], samples.tokens.cpu(), samples.lengths.cpu())
    counts = samples.count.cpu().numpy() * np.asarray(grades.correct)
    return np.bincount(index, weights=counts, minlength=len(problems)).astype(np.int64)


def clopper_pearson(n: int, correct: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Interval for a proportion that covers it at least `level` of the time, whatever it is."""
    tail = (1 - level) / 2
    low = np.where(correct > 0, stats.beta.ppf(tail, np.maximum(correct, 1), n - correct + 1), 0.0)
    high = np.where(correct < n, stats.beta.isf(tail, correct + 1, np.maximum(n - correct, 1)), 1.0)
    return low, high


def _allowance(low: Tensor, tolerance: float, k: int | None) -> Tensor:
    """The gap of p that is enough where p >= low: (1-low)^k - (1-low-gap)^k = tolerance, for k = 1 the tolerance."""
    if k is None:
        return torch.full_like(low, tolerance)
    failing = (1 - low) ** k
    enough = 1 - low - (failing - tolerance).clamp(min=0) ** (1 / k)
    # For small gaps the difference of roots loses its digits; the tangent, which is a little stricter, does not.
    tangent = tolerance / (k * (1 - low).clamp(min=1e-300) ** (k - 1)).clamp(min=1e-300)
    return torch.where(tangent < 1e-6, tangent, enough)


def _verifier(task: Any, problems: Sequence[Problem], vocab: int, eos: int) -> Viable:
    """The task's verifier for rows of prefixes, each of the problem with the given index."""
    if callable(getattr(task, "accepted_tokens", None)):
        accepted = task.accepted_tokens(problems)  # (problem, place, vocab)
        return lambda problem, prefixes: accepted[problem, prefixes.shape[1]]
    if callable(getattr(task, "viable", None)):
        return _each(lambda index, prefixes: task.viable(problems[index], prefixes))
    if not callable(getattr(task, "accepting", None)):
        raise CannotCertify(
            f"the verifier of {task.name} grades whole completions only, so success probabilities cannot be certified; "
            'sample instead: evaluate(..., n=1024, method="samples")'
        )
    acceptors = [AcceptedCompletions(task.accepting(problem), vocab, eos) for problem in problems]
    return _each(lambda index, prefixes: acceptors[index].viable(prefixes))


def _each(viable: Callable[[int, Tensor], Tensor]) -> Viable:
    """A verifier that takes one problem at a time, asked once per problem: the rows of a problem lie together."""

    def of_rows(problem: Tensor, prefixes: Tensor) -> Tensor:
        problems, counts = torch.unique_consecutive(problem, return_counts=True)
        parts = zip(problems.tolist(), prefixes.split(counts.tolist()), strict=True)
        return torch.cat([viable(index, rows) for index, rows in parts])

    return of_rows


def _eos(task: Any, eos: int | None) -> int:
    found = getattr(getattr(task, "tokenizer", None), "eos_token_id", None) if eos is None else eos
    if found is None:
        raise ValueError(f"{task.name} has no tokenizer with an EOS token; say which token ends a completion: eos=ID")
    return int(found)


def _check_lengths(decoder: Any, prompts: Sequence[Sequence[int]], depth: int) -> None:
    longest = max(map(len, prompts), default=0)
    if longest + depth > decoder.max_length:
        raise ValueError(
            f"a prompt of {longest} tokens and {depth} new ones exceed the model's {decoder.max_length} positions; "
            "shorten the prompts or lower max_new_tokens"
        )


def _table(
    problems: Sequence[Problem], low: Tensor, high: Tensor, left: Tensor, budget: int, needed: Tensor
) -> pd.DataFrame:
    gap = (high - low).clamp(min=0)
    within = gap <= needed + ROUNDING
    if not bool(within.all()):
        wide = f"{int((~within).sum())} of {len(problems)} problems have bounds up to {float(gap.max()):.2g} apart"
        advice = "raise max_expansions or the tolerance"
        warnings.warn(f"{wide} after {budget} expansions each, wider than asked for: {advice}", BudgetTooSmall, 3)
    method = np.where((gap == 0).numpy(), "exact", "certified")
    columns = {"low": low, "high": high, "method": method, "expansions": budget - left, "within_tolerance": within}
    return pd.DataFrame({"problem": [p.id for p in problems]} | {name: np.asarray(v) for name, v in columns.items()})
