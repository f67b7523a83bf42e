"""Interpolated n-gram models of token streams: the baseline that a language model has to beat.

    trigram = NGram.count(stream, vocab_size=2048)                    # modified Kneser-Ney, its usual discounts
    trigram = trigram.fitted(heldout)                                 # discounts that make `heldout` most likely
    trigram.nats_per_token(rows)                                      # (N, T) rows, or one stream
    trigram.logprobs(rows)                                            # nats, each token from those before it in its row

Modified Kneser-Ney in its interpolated form (Chen and Goodman 1999, section 3): with c the count of an n-gram, D(c)
one of three discounts (of c = 1, 2, and 3 or more) and u the context without its first token,

    p(w | context) = (c(context w) - D(c)) / c(context) + sum_x D(c(context x)) / c(context) * p(w | u)

The highest order counts occurrences; the lower ones count the different tokens that precede. Below the unigram lies
the uniform distribution. A context that was never seen hands all its mass to the shorter one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Discounts of n-grams seen once, twice, and more often, near what Chen and Goodman's formula gives on real text.
USUAL_DISCOUNTS = (0.75, 1.1, 1.4)
#: Most tokens of held-out text that `fitted` reads; nine numbers need no more.
FIT_TOKENS = 200_000


@dataclass(frozen=True)
class _Order:
    """The n-grams of one length: codes in ascending order with counts, and the same of their contexts."""

    codes: Ints
    counts: Ints
    contexts: Ints
    totals: Ints
    kinds: Ints  # (contexts, 3): how many continuations have a count of 1, 2, and 3 or more

    def look_up(self, grams: Ints, contexts: Ints) -> tuple[Ints, Ints, Ints]:
        """Counts of `grams`, totals of `contexts` and (N, 3) kinds of their continuations; 0 where unseen."""
        at, known = _find(self.codes, grams)
        inside, seen = _find(self.contexts, contexts)
        return self.counts[at] * known, self.totals[inside] * seen, self.kinds[inside] * seen[:, None]


@dataclass(frozen=True)
class NGram:
    """An interpolated model of order `order`. `discounts` (order, 3): rows from the unigram up."""

    vocab_size: int
    orders: tuple[_Order, ...]
    discounts: Floats

    @classmethod
    def count(cls, stream: ArrayLike, vocab_size: int, order: int = 3) -> Self:
        """Count the n-grams of one stream of token ids. Raises ValueError where ids do not fit the vocabulary."""
        tokens = _checked(stream, vocab_size).reshape(-1)
        if order < 1 or vocab_size**order >= 2**63:
            raise ValueError(f"order is {order}; expected at least 1, and {vocab_size}**order below 2**63")
        if len(tokens) < order:
            raise ValueError(f"the stream has {len(tokens)} tokens; expected at least {order}, one n-gram")
        grams, counts = np.unique(_codes(tokens, order, vocab_size), return_counts=True)
        orders = [_order(grams, counts, vocab_size)]
        for length in range(order - 1, 0, -1):
            # Continuation counts: each longer n-gram is one distinct token before its suffix. The n-gram that opens
            # the stream has no token before it and is not a suffix of a longer one, so it is counted as well.
            first = _codes(tokens[:length], length, vocab_size)
            suffixes = np.concatenate([grams % vocab_size**length, first])
            grams, counts = np.unique(suffixes, return_counts=True)
            orders.append(_order(grams, counts, vocab_size))
        return cls(vocab_size, tuple(reversed(orders)), np.tile(USUAL_DISCOUNTS, (order, 1)))

    @property
    def order(self) -> int:
        return len(self.orders)

    def logprobs(self, tokens: ArrayLike) -> Floats:
        """Log probability in nats of every token given those before it along the last axis; the first has none."""
        ids = _checked(tokens, self.vocab_size)
        return np.log(_interpolate(self._looked_up(ids), self.discounts, self.vocab_size)).reshape(ids.shape)

    def nats_per_token(self, tokens: ArrayLike, mask: ArrayLike | None = None) -> float:
        """Mean of `-logprobs` over the tokens that `mask` names; over all but the first of each row without one."""
        nats = -self.logprobs(tokens)
        if mask is None:
            return float(nats[..., 1:].mean())
        return float(nats[np.asarray(mask, bool)].mean())

    def distribution(self, context: Sequence[int]) -> Floats:
        """(vocab_size,) probabilities of the token that follows `context`."""
        rows = np.empty((self.vocab_size, len(context) + 1), np.int64)
        rows[:, :-1] = context
        rows[:, -1] = np.arange(self.vocab_size)
        return np.exp(self.logprobs(rows)[:, -1])

    def fitted(self, heldout: ArrayLike) -> Self:
        """The same counts with the discounts that make `heldout` most likely; never less likely than with these.

        Rows of `heldout` are scored as `logprobs` scores them, up to `FIT_TOKENS` tokens.
        """
        ids = _checked(heldout, self.vocab_size)
        if ids.ndim > 1:
            ids = ids[: max(1, FIT_TOKENS // ids.shape[-1])]
        found = self._looked_up(ids[..., :FIT_TOKENS])
        upper = np.tile((1.0, 2.0, 3.0), (self.order, 1))
        bounds = [(1e-3, high - 1e-3) for high in upper.ravel()]

        def nats(flat: Floats) -> float:
            probabilities = _interpolate(found, flat.reshape(self.discounts.shape), self.vocab_size)
            return float(-np.log(probabilities).mean())

        best: Any = minimize(nats, self.discounts.ravel(), method="L-BFGS-B", bounds=bounds)
        if best.fun >= nats(self.discounts.ravel()):
            return self
        return replace(self, discounts=np.asarray(best.x, float).reshape(self.discounts.shape))

    def _looked_up(self, ids: Ints) -> list[tuple[Ints, Ints, Ints]]:
        """Counts, context totals and continuation kinds of every token of `ids`, flat, from the unigram up.

        Where a row has too few tokens before a position, its longer contexts count as unseen.
        """
        found = []
        context = np.zeros_like(ids)
        for length, order in enumerate(self.orders, start=1):
            if length > 1:
                # The context grows by the token `length - 1` places back, as its most significant digit.
                context[..., length - 1 :] += ids[..., : 1 - length] * self.vocab_size ** (length - 2)
            missing = np.zeros(ids.shape, bool)
            missing[..., : length - 1] = True
            codes = np.where(missing, -1, context * self.vocab_size + ids)
            found.append(order.look_up(codes.ravel(), np.where(missing, -1, context).ravel()))
        return found


def _interpolate(found: Sequence[tuple[Ints, Ints, Ints]], discounts: Floats, vocab_size: int) -> Floats:
    """The recursion of the module's docstring, from the uniform distribution up."""
    probability: Floats = np.full(len(found[0][0]), 1.0 / vocab_size)
    for (counts, totals, kinds), discount in zip(found, discounts, strict=True):
        steps = np.concatenate([[0.0], discount])
        kept = counts - steps[np.minimum(counts, 3)]
        freed = kinds @ discount
        seen = totals > 0
        probability = np.where(seen, (kept + freed * probability) / np.where(seen, totals, 1), probability)
    return probability


def _order(grams: Ints, counts: Ints, vocab_size: int) -> _Order:
    contexts, inverse = np.unique(grams // vocab_size, return_inverse=True)
    kinds = np.zeros((len(contexts), 3), np.int64)
    np.add.at(kinds, (inverse, np.minimum(counts, 3) - 1), 1)
    totals = np.bincount(inverse, weights=counts, minlength=len(contexts)).astype(np.int64)
    return _Order(grams, counts.astype(np.int64), contexts, totals, kinds)


def _codes(tokens: Ints, length: int, vocab_size: int) -> Ints:
    """One number for each n-gram of `length` tokens, its digits in base `vocab_size`."""
    codes = np.zeros(len(tokens) - length + 1, np.int64)
    for offset in range(length):
        codes = codes * vocab_size + tokens[offset : len(tokens) - length + 1 + offset]
    return codes


def _find(sorted_codes: Ints, wanted: Ints) -> tuple[Ints, Ints]:
    """Places of `wanted` in `sorted_codes`, and 1 where they are there, 0 elsewhere (whose place means nothing)."""
    at = np.minimum(np.searchsorted(sorted_codes, wanted), len(sorted_codes) - 1)
    return at, (sorted_codes[at] == wanted).astype(np.int64)


def _checked(tokens: ArrayLike, vocab_size: int) -> Ints:
    ids = np.asarray(tokens)
    if not ids.size or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"tokens are {ids.dtype} of shape {ids.shape}; expected at least one, as whole numbers")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        found = f"token id {low if low < 0 else high} is in the text"
        raise ValueError(f"{found}; expected 0 to {vocab_size - 1}, the model's vocabulary")
    return ids.astype(np.int64)
