"""Certified success probabilities: equal to enumeration, always around the truth, refused where nothing certifies."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evolm.lm.architecture import tiny_llama
from evolm.lm.certify import BudgetTooSmall, CannotCertify, can_certify, certified, clopper_pearson, evaluate
from evolm.lm.forward import decoder_for
from evolm.lm.memory import SmallerBatch, fitting
from evolm.lm.passk import pass_at_k_from_p
from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.automaton_world import AutomatonSettings
from evolm.lm.tasks.base import Problem

VOCAB, EOS, DEPTH = 5, 4, 4


class TableDecoder:
    """A language model whose logits are random numbers seeded by the prefix: cheap, and as irregular as can be."""

    vocab_size, max_length, device = VOCAB, 64, torch.device("cpu")

    def __init__(self, seed: int = 0, scale: float = 2.0, fail_above: int = 10**9) -> None:
        self.seed, self.scale, self.fail_above = seed, scale, fail_above

    def new_cache(self, rows: int, length: int) -> SimpleNamespace:
        return _cache([])

    def prefill(self, tokens: Tensor, cache: SimpleNamespace, padding: Tensor | None = None) -> Tensor:
        pads = [0] * len(tokens) if padding is None else padding.tolist()
        cache.rows_of_tokens, cache.rows = [row[p:] for row, p in zip(tokens.tolist(), pads, strict=True)], len(tokens)
        return self._logits(cache.rows_of_tokens)

    def step(self, tokens: Tensor, cache: SimpleNamespace) -> Tensor:
        if len(tokens) > self.fail_above:
            raise torch.OutOfMemoryError
        cache.rows_of_tokens = [[*r, t] for r, t in zip(cache.rows_of_tokens, tokens.tolist(), strict=True)]
        return self._logits(cache.rows_of_tokens)

    def _logits(self, rows: list[list[int]]) -> Tensor:
        seeds = [hash((self.seed, *row)) % 2**32 for row in rows]
        return torch.tensor(
            np.array([self.scale * np.random.default_rng(seed).normal(size=VOCAB) for seed in seeds]),
            dtype=torch.float32,
        )


def _cache(rows: list[list[int]]) -> SimpleNamespace:
    cache = SimpleNamespace(rows_of_tokens=rows, rows=len(rows))
    cache.select = lambda index: _cache([list(cache.rows_of_tokens[i]) for i in index.tolist()])
    return cache


@dataclass
class SumTask:
    """Accepts completions of tokens 0 ... 3 whose sum is the problem's answer, then EOS: it can judge prefixes."""

    name: str = "sum"
    max_new_tokens: int = DEPTH
    tokenizer: Any = None

    def encode(self, problems: list[Problem]) -> list[list[int]]:
        return [p.facts["prompt"] for p in problems]

    def viable(self, problem: Problem, prefixes: Tensor) -> Tensor:
        wanted = int(problem.answer)
        total = prefixes.sum(1, keepdim=True) + torch.arange(VOCAB)  # (rows, vocab)
        mask = total <= wanted
        mask[:, EOS] = prefixes.sum(1) == wanted
        return mask

    def grade(self, problems: list[Problem], tokens: Tensor, lengths: Tensor) -> Any:
        correct = [
            bool(length) and row[length - 1] == EOS and sum(row[: length - 1]) == int(p.answer)
            for p, row, length in zip(problems, tokens.tolist(), lengths.tolist(), strict=True)
        ]
        return SimpleNamespace(correct=np.array(correct))


class ListTask:
    """The same verifier, which lists what it accepts instead."""

    name, max_new_tokens, tokenizer = "list", DEPTH, SimpleNamespace(eos_token_id=EOS)

    def encode(self, problems: list[Problem]) -> list[list[int]]:
        return SumTask().encode(problems)

    def accepting(self, problem: Problem) -> list[list[int]]:
        return [list(c) for c in accepted(problem)]


class BlackBox:
    name, max_new_tokens, tokenizer = "black box", DEPTH, SimpleNamespace(eos_token_id=EOS)
    encode, grade = SumTask.encode, SumTask.grade


def accepted(problem: Problem, depth: int = DEPTH) -> list[tuple[int, ...]]:
    bodies = itertools.chain.from_iterable(itertools.product(range(4), repeat=t) for t in range(depth))
    return [(*body, EOS) for body in bodies if sum(body) == int(problem.answer)]


def some_problems(count: int = 6) -> list[Problem]:
    return [Problem(f"{i:02d}", "", str(i), {"prompt": [i % 4] * (1 + i % 3)}) for i in range(count)]


def enumerated(decoder: TableDecoder, problem: Problem, temperature: float = 1.0, depth: int = DEPTH) -> float:
    """Sum over the accepted completions of their probability, one token at a time."""
    total = 0.0
    for completion in accepted(problem, depth):
        rows = [[*problem.facts["prompt"], *completion[:t]] for t in range(len(completion))]
        logprobs = (decoder._logits(rows).double() / temperature).log_softmax(-1)
        total += math.exp(sum(float(logprobs[t, token]) for t, token in enumerate(completion)))
    return total


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), temperature=st.sampled_from([0.3, 1.0, 1.7]), max_rows=st.sampled_from([1, 7, 4096]))
def test_exact_equals_the_sum_over_all_accepted_completions(seed: int, temperature: float, max_rows: int) -> None:
    decoder, problems = TableDecoder(seed), some_problems()
    options: dict[str, Any] = {"tolerance": 0.0, "temperature": temperature, "max_rows": max_rows, "eos": EOS}
    table = certified(decoder, SumTask(), problems, **options)
    assert set(table["method"]) == {"exact"}
    assert table["within_tolerance"].all()
    np.testing.assert_allclose(table["low"], [enumerated(decoder, p, temperature) for p in problems], rtol=1e-9)
    assert (table["low"] == table["high"]).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    tolerance=st.floats(1e-6, 0.5),
    k=st.sampled_from([None, 1, 16, 1024]),
    budget=st.sampled_from([1, 5, 20, 10**6]),
)
@pytest.mark.filterwarnings("ignore::evolm.lm.certify.BudgetTooSmall")
def test_bounds_hold_the_truth_and_keep_the_tolerance(seed: int, tolerance: float, k: int | None, budget: int) -> None:
    decoder, problems = TableDecoder(seed, scale=4.0), some_problems()
    table = certified(
        decoder, SumTask(), problems, tolerance=tolerance, tolerance_k=k, max_expansions=budget, eos=EOS, max_rows=16
    )
    truth = np.array([enumerated(decoder, p) for p in problems])
    assert (table["low"] <= truth + 1e-9).all()
    assert (truth <= table["high"] + 1e-9).all()
    assert (table["expansions"] <= max(budget, 1)).all()
    gap = pass_at_k_from_p(table["high"].clip(upper=1), k or 1) - pass_at_k_from_p(table["low"], k or 1)
    assert (gap[table["within_tolerance"]] <= tolerance + 1e-9).all()
    if budget == 10**6:
        assert table["within_tolerance"].all()


def test_a_smaller_tolerance_never_widens_the_bounds_or_saves_work() -> None:
    decoder, problems = TableDecoder(3), some_problems()
    tables = [certified(decoder, SumTask(), problems, tolerance=t, eos=EOS) for t in (0.3, 0.1, 0.01, 1e-4, 0.0)]
    for wide, tight in itertools.pairwise(tables):
        assert (tight["high"] - tight["low"] <= wide["high"] - wide["low"] + 1e-12).all()
        assert (tight["expansions"] >= wide["expansions"]).all()
        assert (tight["low"] >= wide["low"] - 1e-12).all()


def test_listed_completions_give_the_same_as_judged_prefixes() -> None:
    decoder, problems = TableDecoder(1), some_problems()
    listed = certified(decoder, ListTask(), problems, tolerance=0.0)
    judged = certified(decoder, SumTask(), problems, tolerance=0.0, eos=EOS)
    np.testing.assert_allclose(listed["low"], judged["low"], rtol=1e-12)


def test_completions_longer_than_the_limit_do_not_count() -> None:
    decoder, problems = TableDecoder(2), some_problems()
    for depth in (1, 2):
        table = certified(decoder, SumTask(), problems, tolerance=0.0, eos=EOS, max_new_tokens=depth)
        np.testing.assert_allclose(table["low"], [enumerated(decoder, p, depth=depth) for p in problems], rtol=1e-9)


def test_a_real_llama_is_certified_as_its_forward_pass_says() -> None:
    from evolm.lm.forward import decoder_for

    model, problems = tiny_llama(VOCAB, width=16, hidden=32, init_std=0.5, seed=0), some_problems()
    table = certified(decoder_for(model), SumTask(), problems, tolerance=0.0, eos=EOS)
    for problem, low in zip(problems, table["low"], strict=True):
        total, prompt = 0.0, problem.facts["prompt"]
        for completion in accepted(problem):
            with torch.no_grad():
                logprobs = model(torch.tensor([[*prompt, *completion]])).logits[0].double().log_softmax(-1)
            total += math.exp(sum(float(logprobs[len(prompt) - 1 + t, v]) for t, v in enumerate(completion)))
        assert low == pytest.approx(total, rel=1e-4)


def test_the_automaton_task_is_certified_as_the_sum_over_completions_that_its_grader_accepts() -> None:
    from evolm.lm.forward import decoder_for
    from evolm.lm.tasks.automaton import AutomatonSettings, AutomatonTask

    task = AutomatonTask(AutomatonSettings(states=3, steps=3, answer_states=2, prior=(0.6, 0.4)))
    problems = task.problems("test", 3, seed=0)
    model = tiny_llama(task.vocab_size, width=16, hidden=32, init_std=0.5, seed=1)
    table = certified(decoder_for(model), task, problems, tolerance=0.0)
    words = itertools.product(task.styles, *[task.states] * 3, [task.eos])
    completions = torch.from_numpy(np.array(list(words)))  # (completions, time): all that are well formed
    lengths = np.full(len(completions), completions.shape[1])
    for problem, low in zip(problems, table["low"], strict=True):
        correct = task.grade([problem] * len(completions), completions, lengths).correct
        prompt = torch.tensor(task.encode([problem])).expand(len(completions), -1)
        with torch.no_grad():
            logits = model(torch.cat([prompt, completions], 1)).logits[:, prompt.shape[1] - 1 : -1]
        logprobs = logits.double().log_softmax(-1).gather(-1, completions[..., None])[..., 0].sum(1)
        assert correct.sum() == 2 * 3
        assert low == pytest.approx(float(logprobs.exp()[torch.from_numpy(correct)].sum()), rel=1e-4)


def test_samples_fall_within_the_binomial_error_of_the_exact_value() -> None:
    from evolm.lm.forward import decoder_for

    decoder = decoder_for(tiny_llama(VOCAB, width=16, hidden=32, init_std=0.5, seed=0))
    problems, n = some_problems(), 4096
    exact = evaluate(decoder, SumTask(), problems, method="exact", eos=EOS)
    drawn = evaluate(decoder, SumTask(), problems, method="samples", n=n, eos=EOS, level=0.9999, seed=5)
    assert list(exact["method"].unique()) == ["exact"]
    assert list(drawn["method"].unique()) == ["samples"]
    assert (drawn["low"] <= exact["p"]).all()
    assert (exact["p"] <= drawn["high"]).all()
    assert (drawn["n"] == n).all()
    assert (exact["error"] == 0).all()


def test_evaluate_chooses_by_what_the_task_can_say() -> None:
    decoder, problems = TableDecoder(), some_problems()
    auto = evaluate(decoder, ListTask(), problems, tolerance=0.05)
    assert set(auto["method"]) <= {"exact", "certified"}
    assert (auto["error"] <= 0.025 + 1e-12).all()
    assert not can_certify(BlackBox())
    with pytest.raises(ValueError, match="say how many per problem"):
        evaluate(decoder, BlackBox(), problems)


def test_a_black_box_is_sent_to_sampling() -> None:
    with pytest.raises(CannotCertify, match="sample instead"):
        certified(TableDecoder(), BlackBox(), some_problems())


def test_a_spent_budget_is_said_and_the_bounds_still_hold() -> None:
    decoder, problems = TableDecoder(4, scale=0.5), some_problems()
    with pytest.warns(BudgetTooSmall, match="raise max_expansions"):
        table = certified(decoder, SumTask(), problems, tolerance=1e-6, max_expansions=6, eos=EOS)
    truth = np.array([enumerated(decoder, p) for p in problems])
    assert not table["within_tolerance"].all()
    assert ((table["low"] <= truth + 1e-12) & (truth <= table["high"] + 1e-12)).all()


def test_out_of_memory_halves_the_batch_and_says_so() -> None:
    problems = some_problems()
    with pytest.warns(SmallerBatch, match="going on with 4"):
        table = certified(TableDecoder(fail_above=4), SumTask(), problems, tolerance=0.0, eos=EOS, max_rows=8)
    np.testing.assert_allclose(
        table["low"], certified(TableDecoder(), SumTask(), problems, eos=EOS, tolerance=0)["low"]
    )


def test_a_single_row_that_does_not_fit_is_an_error_and_other_errors_pass_through() -> None:
    def run(rows: int) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(MemoryError, match="one row"), pytest.warns(SmallerBatch):
        fitting(run, 2)
    with pytest.raises(ZeroDivisionError):
        fitting(lambda rows: 1 // 0, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tolerance": -1.0}, "tolerance -1"),
        ({"temperature": 0.0}, "positive temperature"),
        ({"max_expansions": 0}, "at least one expansion"),
        ({"max_new_tokens": 64}, "exceed the model's 64 positions"),
        ({"eos": None}, "say which token ends"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        certified(TableDecoder(), SumTask(), some_problems(), **({"eos": EOS} | options))


def test_accepted_lists_must_end_in_eos_and_masks_must_span_the_vocabulary() -> None:
    task = ListTask()
    task.accepting = lambda problem: [[1, 2]]  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="end in their only EOS"):
        certified(TableDecoder(), task, some_problems())
    narrow = SumTask()
    narrow.viable = lambda problem, prefixes: torch.ones(len(prefixes), 3, dtype=torch.bool)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="one column per"):
        certified(TableDecoder(), narrow, some_problems(), eos=EOS)


def test_no_problems_give_an_empty_table() -> None:
    assert certified(TableDecoder(), SumTask(), [], eos=EOS).empty


def test_clopper_pearson_covers_at_least_its_level() -> None:
    n, p = 20, 0.13
    low, high = clopper_pearson(n, np.arange(n + 1), 0.9)
    covered = sum(math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1) if low[c] <= p <= high[c])
    assert covered >= 0.9
    assert low[0] == 0
    assert high[n] == 1


def test_a_table_of_accepted_tokens_gives_what_judging_prefixes_gives() -> None:
    task = AutomatonTask(AutomatonSettings(states=5, steps=3, answer_states=2, emit_start=True))
    problems = task.problems("test", 12, seed=3)
    decoder = decoder_for(tiny_llama(task.vocab_size, width=32, init_std=0.3, seed=1))
    fast = certified(decoder, task, problems, tolerance=0.0)
    one_by_one = certified(decoder, _PrefixJudge(task), problems, tolerance=0.0)
    np.testing.assert_allclose(fast["low"], one_by_one["low"], rtol=1e-5)
    assert (fast["low"] > 0).all()


class _PrefixJudge:
    """The task without its table."""

    def __init__(self, task: AutomatonTask) -> None:
        self.name, self.tokenizer, self.max_new_tokens = task.name, task.tokenizer, task.max_new_tokens
        self.encode, self.viable = task.encode, task.viable
