"""The tree of shared prefixes: counts are those of independent samples, and each prefix is computed once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from enumeration import EOS, PAD, Narrow, completion_counts, completion_law, fit, reference_logprobs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evolm.lm.architecture import tiny_llama
from evolm.lm.completions import Samples, Sampling
from evolm.lm.forward import decoder_for
from evolm.lm.sample import sample
from evolm.lm.tree import Branch, Prefixes, moved, sample_tree, split_counts

SIGNIFICANCE = 1e-4
PROMPTS = [[1, 4, 5], [1], [1, 3, 3, 5]]
FLAT = tiny_llama(6, width=16, heads=2, hidden=24, context=32, init_std=0.05, seed=0)
PEAKED = tiny_llama(6, width=16, heads=2, hidden=24, context=32, init_std=0.6, seed=1)


def draw(model: Any, n: int, *, prompts: list[list[int]] = PROMPTS, **options: Any) -> Samples:
    defaults = {"max_new_tokens": 3, "eos": EOS, "pad": PAD, "seed": 0, "method": "tree"}
    return sample(model, prompts, n, **{**defaults, **options})


@pytest.mark.parametrize("model", [FLAT, PEAKED], ids=["flat", "peaked"])
@pytest.mark.parametrize(
    "options",
    [{}, {"max_rows": 3}, {"method": "auto"}, {"method": "auto", "max_rows": 20}, {"temperature": 1.5, "top_p": 0.8}],
    ids=str,
)
def test_counts_follow_the_models_enumerated_law(model: Any, options: dict[str, Any]) -> None:
    samples = draw(model, 3000, **options)
    law_settings = {name: options[name] for name in ("temperature", "top_p") if name in options}
    for index, prompt in enumerate(PROMPTS):
        counts = completion_counts(samples, index)
        assert counts.total() == 3000
        assert fit(counts, completion_law(model, prompt, 3, **law_settings)) > SIGNIFICANCE


@pytest.mark.parametrize("switch", [False, True])
def test_the_samples_of_a_tree_are_independent(switch: bool) -> None:
    # The number of 4 samples that equal a given completion is binomial only where the 4 do not influence each other.
    prompt, n = [1, 4, 5], 4
    law = completion_law(PEAKED, prompt, 2)
    completion = min(law, key=lambda c: abs(law[c] - 0.4))
    decoder, sampling = decoder_for(PEAKED), Sampling(2, EOS, PAD)
    samples = sample_tree(decoder, [prompt] * 2000, n, sampling, seed=2, max_rows=512, switch=switch)
    rows = (samples.tokens == torch.tensor(completion + (PAD,) * (2 - len(completion)))).all(1)
    found = torch.zeros(2000, dtype=torch.long).index_add_(0, samples.prompt[rows], samples.count[rows])
    binomial = {k: float(stats.binom.pmf(k, n, law[completion])) for k in range(n + 1)}
    assert fit(Counter(found.tolist()), binomial) > SIGNIFICANCE


@pytest.mark.parametrize("max_rows", [1, 5, 1000])
def test_completions_are_distinct_and_in_the_order_of_their_prompts(max_rows: int) -> None:
    narrow = Narrow(decoder_for(FLAT))
    samples = draw(narrow, 300, max_new_tokens=5, max_rows=max_rows)
    assert max(narrow.stepped) <= max_rows
    assert samples.method == "tree"
    assert (samples.prompt.diff() >= 0).all()
    rows = torch.cat([samples.prompt[:, None], samples.tokens], 1)
    assert len(rows.unique(dim=0)) == len(samples)
    assert (samples.count >= 1).all()
    assert samples.ended.any()
    assert not samples.ended.all()


def test_every_prefix_is_computed_once() -> None:
    narrow = Narrow(decoder_for(PEAKED))
    samples = draw(narrow, 500, max_new_tokens=6)
    assert narrow.prefilled == [len(PROMPTS)]
    prefixes = {
        (owner, *tokens[:t])
        for owner, tokens, length in zip(
            samples.prompt.tolist(), samples.tokens.tolist(), samples.lengths.tolist(), strict=True
        )
        for t in range(1, length)
    }
    assert sum(narrow.stepped) == len(prefixes)
    assert max(narrow.stepped) < 1500 / 2


def test_logprobs_of_a_tree_are_those_of_the_law() -> None:
    samples = draw(PEAKED, 400)
    for index, prompt in enumerate(PROMPTS):
        law = completion_law(PEAKED, prompt, 3)
        mine = samples.select((samples.prompt == index).nonzero()[:, 0])
        for tokens, length, logprob in zip(mine.tokens.tolist(), mine.lengths.tolist(), mine.logprobs, strict=True):
            assert logprob.sum().item() == pytest.approx(np.log(law[tuple(tokens[:length])]), abs=1e-4)


@pytest.mark.parametrize("max_rows", [30, 1000])
@pytest.mark.parametrize("method", ["tree", "auto"])
def test_the_cache_stays_in_order_through_many_levels_of_branches_and_ends(method: str, max_rows: int) -> None:
    samples = draw(PEAKED, 100, max_new_tokens=25, temperature=2.0, method=method, max_rows=max_rows)
    expected = reference_logprobs(PEAKED, samples, PROMPTS, Sampling(25, EOS, PAD, temperature=2.0))
    assert len(samples) > 100
    torch.testing.assert_close(samples.logprobs, expected, atol=1e-4, rtol=0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_moving_children_in_place_gives_each_the_row_of_its_parent(parents: list[int]) -> None:
    cache = decoder_for(FLAT).new_cache(6, 4)
    mark = torch.arange(6.0)[:, None, None, None].expand(6, 2, 4, 8)
    cache.keys, cache.values = [mark.clone()], [mark.clone()]
    parent, number = torch.tensor(parents), torch.arange(len(parents))
    branch = moved(Branch(Prefixes(parent, number, number, number[:, None], number[:, None]), cache))
    assert branch.prefixes.prompt.sort().values.tolist() == number.tolist()
    assert cache.keys[0][: len(parents), 0, 0, 0].tolist() == parent[branch.prefixes.prompt].tolist()
    assert branch.prefixes.parent.tolist() == number.tolist()


def test_auto_goes_on_in_lockstep_where_samples_share_little() -> None:
    narrow = Narrow(decoder_for(FLAT))
    samples = draw(narrow, 64, prompts=[[1]], max_new_tokens=12, eos=None, method="auto")
    assert int(samples.count.sum()) == 64
    distinct = [len(samples.tokens[:, :t].unique(dim=0)) for t in range(1, 12)]
    assert narrow.stepped[0] == distinct[0]
    assert max(narrow.stepped) == 64


def test_greedy_samples_are_one_row_per_prompt() -> None:
    samples = draw(PEAKED, 1000, temperature=0.0)
    assert samples.prompt.tolist() == [0, 1, 2]
    assert samples.count.tolist() == [1000] * 3


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(1, 1000), min_size=1, max_size=6),
    vocab=st.integers(1, 9),
    seed=st.integers(0, 1000),
    forbidden=st.floats(0.0, 0.9),
)
def test_a_split_gives_every_sample_to_a_possible_token(
    counts: list[int], vocab: int, seed: int, forbidden: float
) -> None:
    rng = np.random.default_rng(seed)
    p = rng.random((len(counts), vocab)).astype(np.float32) ** 8
    p[:, 1:][rng.random((len(counts), vocab - 1)) < forbidden] = 0
    p /= p.sum(1, keepdims=True)
    before = p.copy()
    row, token, count = split_counts(np.array(counts), p, rng)
    assert (np.diff(row) >= 0).all()
    assert (count >= 1).all()
    assert (p[row, token] > 0).all()
    assert np.bincount(row, count, len(counts)).tolist() == counts
    assert len(set(zip(row.tolist(), token.tolist(), strict=True))) == len(row)
    assert (p == before).all()


@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_split_follows_the_probabilities_of_its_row(count: int) -> None:
    p = np.array([[0.1, 0.2, 0.6, 0.1], [0.25, 0.25, 0.0, 0.5]], dtype=np.float32)
    rows = 6000 // count
    row, token, split = split_counts(np.full(2 * rows, count), np.tile(p, (rows, 1)), np.random.default_rng(0))
    for kind in (0, 1):
        totals = np.bincount(token[row % 2 == kind], split[row % 2 == kind], 4).astype(int)
        counts = {t: int(total) for t, total in enumerate(totals) if total}
        assert fit(counts, {t: float(q) for t, q in enumerate(p[kind]) if q > 0}) > SIGNIFICANCE
