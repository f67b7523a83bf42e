"""Interpolated n-grams: equal to the recursion written out in dictionaries, proper distributions, fitted discounts."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from evolm.lm.ngram import USUAL_DISCOUNTS, NGram

V = 7


def markov(length: int, seed: int, vocab: int = V) -> np.ndarray:
    """A stream whose next token depends on the two before it, some n-grams never seen and some often."""
    rng = np.random.default_rng(seed)
    tables = np.random.default_rng(99).dirichlet(np.full(vocab, 0.3), size=(vocab, vocab))
    tokens = [0, 1]
    for _ in range(length - 2):
        tokens.append(int(rng.choice(vocab, p=tables[tokens[-2], tokens[-1]])))
    return np.array(tokens)


def by_hand(stream: list[int], discounts: np.ndarray, context: tuple[int, ...], word: int, vocab: int = V) -> float:
    """p(word | context) by the definition: counts of occurrences at the top, of distinct tokens before it below."""
    order = len(discounts)

    def count(gram: tuple[int, ...]) -> int:
        places = [i for i in range(len(stream) - len(gram) + 1) if tuple(stream[i : i + len(gram)]) == gram]
        if len(gram) == order:
            return len(places)
        # What opens the stream has nothing before it, and that counts as one more thing.
        return len({stream[i - 1] if i else None for i in places})

    def p(context: tuple[int, ...]) -> float:
        lower = p(context[1:]) if context else 1 / vocab
        counts = {w: count((*context, w)) for w in range(vocab)}
        total = sum(counts.values())
        if not total:
            return lower
        discount = {w: discounts[len(context)][min(c, 3) - 1] if c else 0.0 for w, c in counts.items()}
        return (counts[word] - discount[word] + sum(discount.values()) * lower) / total

    return p(context[-(order - 1) :] if order > 1 else ())


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_equal_the_recursion_written_out(order: int) -> None:
    stream = markov(60, seed=order)
    model = NGram.count(stream, V, order)
    text = markov(25, seed=50).tolist()
    expected = [by_hand(stream.tolist(), model.discounts, tuple(text[:i]), text[i]) for i in range(len(text))]
    np.testing.assert_allclose(model.logprobs(text), np.log(expected), rtol=1e-12)


def test_one_discount_by_hand() -> None:
    # The stream 0 1 0 1 0 2: after 0 stand 1, 1 and 2. Before 0 stands 1, and nothing at the start, so 0 continues
    # twice; 1 and 2 continue once each, always 0.
    model = NGram.count([0, 1, 0, 1, 0, 2], 4, order=2)
    d1, d2, _ = USUAL_DISCOUNTS
    freed = (d2 + d1 + d1) / 4
    assert model.distribution([])[1] == pytest.approx((1 - d1) / 4 + freed / 4)
    assert model.distribution([])[3] == pytest.approx(freed / 4)
    unigram = model.distribution([])[1]
    assert model.distribution([0])[1] == pytest.approx((2 - d2) / 3 + (d2 + d1) / 3 * unigram)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("context", [[], [3], [0, 1], [6, 6, 6, 2, 5]])
def test_distributions_sum_to_one_and_leave_nothing_impossible(order: int, context: list[int]) -> None:
    model = NGram.count(markov(300, seed=1), V, order).fitted(markov(300, seed=2))
    distribution = model.distribution(context)
    assert distribution.sum() == pytest.approx(1, abs=1e-12)
    assert (distribution > 0).all()


def test_an_unseen_context_is_as_good_as_the_shorter_one() -> None:
    model = NGram.count([0, 1, 2, 0, 1, 3, 0, 2, 1], 6, order=3)
    np.testing.assert_allclose(model.distribution([5, 1]), model.distribution([1]))
    np.testing.assert_allclose(model.distribution([5, 5]), model.distribution([]))
    assert np.abs(model.distribution([0, 1]) - model.distribution([1])).max() > 0.01


def test_rows_are_scored_each_from_its_own_start() -> None:
    model = NGram.count(markov(300, seed=1), V)
    rows = np.stack([markov(12, seed=s) for s in (3, 4)])
    np.testing.assert_array_equal(model.logprobs(rows), np.stack([model.logprobs(row) for row in rows]))
    np.testing.assert_array_equal(model.logprobs(rows)[:, 0], np.log(model.distribution([]))[rows[:, 0]])


def test_nats_per_token_is_the_mean_over_the_mask() -> None:
    model = NGram.count(markov(300, seed=1), V)
    rows = np.stack([markov(12, seed=s) for s in (3, 4)])
    mask = np.zeros(rows.shape, bool)
    mask[0, 5:7] = True
    assert model.nats_per_token(rows, mask) == pytest.approx(-model.logprobs(rows)[0, 5:7].mean())
    assert model.nats_per_token(rows) == pytest.approx(-model.logprobs(rows)[:, 1:].mean())


def test_fitting_makes_the_heldout_text_more_likely_and_carries_over() -> None:
    model = NGram.count(markov(400, seed=1, vocab=12), 12)
    heldout, fresh = markov(4000, seed=2, vocab=12), markov(4000, seed=3, vocab=12)
    fitted = model.fitted(heldout)
    assert fitted.nats_per_token(heldout) < model.nats_per_token(heldout) - 1e-3
    assert fitted.nats_per_token(fresh) < model.nats_per_token(fresh)
    assert ((fitted.discounts > 0) & (fitted.discounts < [1, 2, 3])).all()
    nudged = [fitted.discounts + step * np.eye(9)[k].reshape(3, 3) for k in range(9) for step in (-0.01, 0.01)]
    inside = [d for d in nudged if ((d > 0) & (d < [1, 2, 3])).all()]
    others = [NGram(12, model.orders, d).nats_per_token(heldout) for d in inside]
    # `fitted` weighs the two tokens without a full context as well, and stops at a tolerance.
    assert min(others) > fitted.nats_per_token(heldout) - 1e-4


def test_more_context_helps_on_text_of_second_order() -> None:
    train, test = markov(20_000, seed=1), markov(4000, seed=2)
    one, two, three = (NGram.count(train, V, order).fitted(test).nats_per_token(test) for order in (1, 2, 3))
    tables = np.random.default_rng(99).dirichlet(np.full(V, 0.3), size=(V, V))
    entropy = -np.mean([math.log(tables[a, b, c]) for a, b, c in zip(test, test[1:], test[2:], strict=False)])
    assert one > two > three
    assert three == pytest.approx(entropy, abs=0.02)


def test_counts_are_those_of_the_stream() -> None:
    stream = markov(500, seed=5)
    top = NGram.count(stream, V, order=2).orders[1]
    expected = Counter(int(a) * V + int(b) for a, b in itertools.pairwise(stream))
    assert dict(zip(top.codes.tolist(), top.counts.tolist(), strict=True)) == expected


def test_what_is_no_text_of_the_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match=r"token id 7 is in the text; expected 0 to 6"):
        NGram.count([1, 2, 7], V)
    with pytest.raises(ValueError, match="token id -1"):
        NGram.count([0, 1, 2], V).logprobs([0, -1])
    with pytest.raises(ValueError, match="as whole numbers"):
        NGram.count([0.5, 1.0], V)
    with pytest.raises(ValueError, match=r"2 tokens; expected at least 3"):
        NGram.count([0, 1], V)
    with pytest.raises(ValueError, match=r"below 2\*\*63"):
        NGram.count([0, 1, 2], 50_000, order=5)
