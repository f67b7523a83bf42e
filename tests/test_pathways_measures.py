"""Pathway measures: closed forms, distances against a plain table, consistency by the paper's formula, bad input."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity

from evolm.instruments.pathway_measures import (
    Pathway,
    as_symbols,
    as_text,
    consistency,
    consistency_of,
    distinct_pathways,
    drawn_pairs,
    expert_load,
    layer_distances,
    load_imbalance,
    mean_pairwise,
    pair_distances,
    path_length,
    pathways_cumulative,
    pathways_topk,
    routing_entropy,
    routing_weights,
    stacked,
    token_average,
)


def one_layer(*weights: float) -> torch.Tensor:
    """Routing weights of one sample in one layer, (1, 1, expert)."""
    return torch.tensor([[weights]], dtype=torch.float64)


def edit_distance(one: str, other: str) -> int:
    """Wagner and Fischer's table, row by row."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row = row, [i]
        for j, b in enumerate(other, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b)))
    return row[-1]


# --- routing weights --------------------------------------------------------------------------------------


def test_routing_weights_are_the_softmax_of_logits_in_float32() -> None:
    logits = torch.tensor([[0.0, math.log(3), -2.0], [5.0, 5.0, 5.0]], dtype=torch.bfloat16)
    weights = routing_weights(logits)
    assert weights.dtype == torch.float32
    wanted = torch.tensor(logits.tolist(), dtype=torch.float64).exp()
    assert torch.allclose(weights.double(), wanted / wanted.sum(-1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_router_outputs_that_are_probabilities_are_refused_unless_said(dtype: torch.dtype) -> None:
    probabilities = torch.randn(40, 64, generator=torch.Generator().manual_seed(0)).softmax(-1).to(dtype)
    with pytest.raises(ValueError, match="probability distribution already"):
        routing_weights(probabilities)
    weights = routing_weights(probabilities, already_probabilities=True)
    assert torch.allclose(weights.sum(-1), torch.ones(40))
    assert torch.allclose(weights, probabilities.float(), rtol=0.02)
    with pytest.raises(ValueError, match="do not return probabilities"):
        routing_weights(torch.randn(4, 8), already_probabilities=True)


def test_one_row_that_could_be_probabilities_is_no_reason_to_refuse() -> None:
    logits = torch.tensor([[0.25, 0.75], [3.0, -1.0]])
    assert torch.allclose(routing_weights(logits), logits.softmax(-1))


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        (torch.tensor([[0.0, math.nan]]), "not finite"),
        (torch.tensor([[0.0, math.inf]]), "not finite"),
        (torch.zeros(4, 1), "two experts or more"),
        (torch.zeros(4), "two experts or more"),
        (torch.zeros(0, 8), "two experts or more"),
    ],
)
def test_logits_that_route_nowhere_are_refused(logits: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        routing_weights(logits)


def test_stacked_keeps_sample_token_layer_and_expert_in_place() -> None:
    layers = [torch.arange(24.0).reshape(6, 4) + 100 * layer for layer in range(3)]  # 2 samples of 3 tokens
    found = stacked(layers, batch=2)
    assert found.shape == (2, 3, 3, 4)
    assert found[1, 2, 1, 3] == 100 + 5 * 4 + 3
    with pytest.raises(ValueError, match="dense model"):
        stacked([], batch=2)
    with pytest.raises(ValueError, match="do not divide"):
        stacked(layers, batch=4)
    with pytest.raises(ValueError, match="one number of experts throughout"):
        stacked([torch.zeros(6, 4), torch.zeros(6, 8)], batch=2)


def test_token_average_counts_only_the_tokens_of_the_mask() -> None:
    weights = torch.randn(2, 4, 3, 5).softmax(-1)
    mask = torch.tensor([[True, True, False, False], [False, False, False, True]])
    average = token_average(weights, mask)
    assert torch.allclose(average[0], weights[0, :2].mean(0))
    assert torch.allclose(average[1], weights[1, 3])
    weights[0, 2:] = torch.rand(2, 3, 5)  # padding
    assert torch.equal(token_average(weights, mask), average)
    with pytest.raises(ValueError, match="sample 1 has no token"):
        token_average(weights, torch.tensor([[True] * 4, [False] * 4]))
    with pytest.raises(ValueError, match="expected \\(sample, token, layer, expert\\)"):
        token_average(weights, mask[:, :3])


# --- pathways ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "threshold", "wanted"),
    [
        ((0.1, 0.6, 0.05, 0.25), 0.7, (1, 3)),
        ((0.1, 0.6, 0.05, 0.25), 0.5, (1,)),
        ((0.1, 0.6, 0.05, 0.25), 0.9, (1, 3, 0)),
        ((0.5, 0.5), 0.5, (0, 1)),  # .5 does not exceed .5
        ((0.25, 0.25, 0.25, 0.25), 0.7, (0, 1, 2)),  # ties: the lower index first
        ((0.5, 0.25, 0.25), 0.999, (0, 1, 2)),
    ],
)
def test_a_pathway_is_the_shortest_that_exceeds_the_threshold(
    weights: tuple[float, ...], threshold: float, wanted: tuple[int, ...]
) -> None:
    assert pathways_cumulative(one_layer(*weights), threshold) == [(wanted,)]


@settings(max_examples=50)
@given(st.integers(0, 2**16), st.integers(2, 12), st.floats(0.05, 0.95))
def test_a_pathway_exceeds_its_threshold_and_not_without_its_last_expert(
    seed: int, experts: int, threshold: float
) -> None:
    weights = torch.from_numpy(np.random.default_rng(seed).dirichlet(np.full(experts, 0.5), size=(4, 2)))
    for path, sample in zip(pathways_cumulative(weights, threshold), weights, strict=True):
        for layer, row in zip(path, sample, strict=True):
            kept = [float(row[expert]) for expert in layer]
            assert kept == sorted(kept, reverse=True)
            assert sum(kept) > threshold - 1e-12
            assert sum(kept[:-1]) <= threshold + 1e-12
            assert len(kept) == experts or min(kept) >= max(float(w) for i, w in enumerate(row) if i not in layer)
    assert [tuple(p[:1] for p in path) for path in pathways_cumulative(weights, threshold)] == pathways_topk(weights, 1)


def test_topk_pathways_are_those_of_torch() -> None:
    weights = torch.randn(6, 3, 16).softmax(-1)
    wanted = [tuple(map(tuple, sample)) for sample in weights.topk(4).indices.tolist()]
    assert pathways_topk(weights, 4) == wanted
    for k in (0, 17):
        with pytest.raises(ValueError, match=f"k is {k} of 16 experts"):
            pathways_topk(weights, k)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (torch.randn(2, 3, 4), "no probabilities"),
        (torch.full((2, 3, 4), 0.5), "no probabilities"),
        (torch.full((3, 4), 0.25), "expected \\(sample, layer, expert\\)"),
        (torch.zeros(0, 3, 4), "none empty"),
    ],
)
def test_weights_that_are_no_routing_are_refused(weights: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pathways_cumulative(weights)


@pytest.mark.parametrize("threshold", [0.0, 1.0, 70])
def test_a_threshold_that_is_no_share_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        pathways_cumulative(one_layer(0.5, 0.5), threshold)


# --- distance ---------------------------------------------------------------------------------------------

PATHS: list[Pathway] = [((3, 10), (0,)), ((3, 1), (0, 3)), ((3, 10), (0,))]


def test_text_is_the_papers_string_and_symbols_count_indices() -> None:
    assert as_text(PATHS) == ["3,10-0", "3,1-0,3", "3,10-0"]
    symbols = as_symbols(PATHS)
    assert [len(text) for text in symbols] == [3, 4, 3]
    assert len({*symbols[1]}) == 4  # expert 3 of layer 0 is not expert 3 of layer 1
    assert len({*as_symbols(PATHS, by_layer=False)[1]}) == 3
    found = pair_distances(as_text(PATHS))
    assert found.raw.tolist() == [3, 0, 3]  # "10" to "1", then ",3" added
    assert found.normalised == pytest.approx([3 / 7, 0, 3 / 7])
    assert pair_distances(symbols).raw.tolist() == [2, 0, 2]
    by_layer = layer_distances(PATHS)
    assert by_layer.raw.tolist() == [[1, 0, 1], [1, 0, 1]]
    assert by_layer.normalised.tolist() == [[0.5, 0, 0.5], [0.5, 0, 0.5]]
    assert layer_distances(PATHS, text=True).raw.tolist() == [[1, 0, 1], [2, 0, 2]]


def test_letters_are_one_to_one_over_layers_and_experts() -> None:
    path: Pathway = tuple(tuple(range(0, 4096, 63)) for _ in range(64))
    letters = as_symbols([path])[0]
    assert len(set(letters)) == len(letters) == 64 * 66
    assert not any(0xD800 <= ord(letter) < 0xE000 for letter in letters)
    with pytest.raises(ValueError, match="4096 or more"):
        as_symbols([((4096,),)])


letters = st.text(alphabet="\0abc", max_size=7)


@settings(max_examples=60)
@given(st.lists(letters, min_size=2, max_size=7), st.integers(0, 99))
def test_distances_are_those_of_the_plain_table_however_pairs_are_asked_for(texts: list[str], seed: int) -> None:
    every = list(itertools.combinations(range(len(texts)), 2))
    raw = [edit_distance(texts[i], texts[j]) for i, j in every]
    longest = [max(len(texts[i]), len(texts[j]), 1) for i, j in every]
    found = pair_distances(texts)
    assert found.raw.tolist() == raw
    assert found.normalised == pytest.approx(np.array(raw) / longest)
    few = np.random.default_rng(seed).integers(0, len(texts), (2, 2))  # fewer than a whole table: the other way
    assert pair_distances(texts, few).raw.tolist() == [edit_distance(texts[i], texts[j]) for i, j in few]


def test_mean_over_drawn_pairs_is_near_the_mean_over_all() -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(chr(97 + c) for c in rng.integers(0, 5, 6)) for _ in range(120)]
    every, drawn = mean_pairwise(texts, 10**6, rng), mean_pairwise(texts, 3000, rng)
    assert (every.pairs, drawn.pairs) == (7140, 3000)
    assert drawn.raw == pytest.approx(every.raw, abs=0.06)
    assert drawn.normalised == pytest.approx(drawn.raw / 6)
    with pytest.raises(ValueError, match="there are 1 samples"):
        mean_pairwise(["a"], 10, rng)


@pytest.mark.parametrize("samples", [2, 3, 50, 4000])
def test_drawn_pairs_are_distinct_ordered_and_reach_every_sample(samples: int) -> None:
    total = samples * (samples - 1) // 2
    pairs = drawn_pairs(samples, min(total, 20_000) - (samples == 50), np.random.default_rng(1))
    assert len({(i, j) for i, j in pairs.tolist()}) == len(pairs)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert pairs.min() == 0
    assert pairs.max() == samples - 1


@pytest.mark.parametrize("pairs", [[[0, 3]], [[-1, 0]], [0, 1], [[0, 1, 2]]])
def test_pairs_that_are_none_are_refused(pairs: Any) -> None:
    with pytest.raises(ValueError, match="pair"):
        pair_distances(["a", "b", "c"], np.array(pairs))


# --- consistency ------------------------------------------------------------------------------------------


def test_consistency_is_the_papers_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(5, 4, 6, generator=generator).softmax(-1).double()
    router = torch.randn(4, 6, 9, generator=generator).double() + 0.5
    found = consistency(weights, router)
    for i in range(5):
        e = [sum(weights[i, at, k] * router[at, k] for k in range(6)) for at in range(4)]
        cosines = [float(cosine_similarity(e[at], e[at + 1], dim=0)) for at in range(3)]
        assert found.cosines[i] == pytest.approx(cosines)
        assert found.cosine[i] == pytest.approx(np.mean(cosines))
        assert found.c[i] == pytest.approx(1 - np.mean(cosines) / (max(cosines) + 1e-8))
        assert found.s[i] == pytest.approx(1 - found.c[i])
    assert found.reason == ""
    assert found.undefined == 0
    assert found.frame().columns.tolist() == ["cosine", "max_cosine", "C", "S"]


def test_given_embeddings_have_the_closed_form() -> None:
    def unit(degrees: float) -> list[float]:
        return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]

    turns = torch.tensor([[unit(0), unit(60), unit(60)], [unit(0), unit(0), unit(0)]])
    scales = torch.tensor([1.0, 7.0, 0.01])[None, :, None]
    found = consistency_of(turns * scales)
    assert found.cosine == pytest.approx([0.75, 1.0])
    assert found.c == pytest.approx([0.25, 0.0], abs=1e-6)


def test_with_two_layers_c_is_not_defined_and_says_why() -> None:
    found = consistency_of(torch.randn(3, 2, 4))
    assert np.isfinite(found.cosine).all()
    assert np.isnan(found.c).all()
    assert np.isnan(found.s).all()
    assert "two layers" in found.reason
    with pytest.raises(ValueError, match="there is one"):
        consistency_of(torch.randn(3, 1, 4))


def test_negative_cosines_and_zero_vectors_leave_c_undefined_and_are_counted() -> None:
    embeddings = torch.tensor(
        [
            [[1.0, 0.0], [-1.0, 0.1], [1.0, 0.2]],  # every cosine is negative
            [[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]],  # no direction in the middle
            [[1.0, 0.0], [1.0, 0.1], [1.0, 0.2]],
        ]
    )
    found = consistency_of(embeddings)
    assert np.isnan(found.c).tolist() == [True, True, False]
    assert found.cosine[0] < 0
    assert np.isnan(found.cosine).tolist() == [False, True, False]
    assert found.undefined == pytest.approx(2 / 3)


def test_consistency_refuses_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="expected \\(sample, layer, expert\\) and"):
        consistency(torch.rand(2, 3, 4), torch.rand(3, 5, 8))
    with pytest.raises(ValueError, match="expected \\(sample, layer, width\\)"):
        consistency_of(torch.rand(2, 3))


# --- entropy, load, counts --------------------------------------------------------------------------------


def test_entropy_load_and_counts_have_their_closed_forms() -> None:
    entropy = routing_entropy(torch.tensor([[0.25] * 4, [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]]))
    assert entropy.tolist() == pytest.approx([math.log(4), 0.0, math.log(2)])
    # four tokens, one layer, top 1: experts 0, 0, 0, 1 of 4
    weights = torch.tensor([[0.7, 0.1, 0.1, 0.1]] * 3 + [[0.1, 0.7, 0.1, 0.1]])[:, None]
    load = expert_load(weights, 1)
    assert load.tolist() == [[0.75, 0.25, 0.0, 0.0]]
    assert load_imbalance(load).tolist() == [2.0]
    assert load_imbalance(torch.full((2, 8), 1 / 8)).tolist() == [0.0, 0.0]
    assert expert_load(torch.rand(50, 3, 8), 2).sum(-1).tolist() == pytest.approx([1.0] * 3)
    with pytest.raises(ValueError, match="k is 9 of 8"):
        expert_load(torch.rand(5, 3, 8), 9)
    assert path_length(PATHS).tolist() == [3, 4, 3]
    assert distinct_pathways(PATHS) == 2
