"""What is read: general text, medical documents good and bad, and the subsets and mixtures of the strategies.

    text = general_text(world, 28_800, seed=1)                          # pre-training
    library = Library.of(world, 12_000, clean=0.5, seed=1)  # the medical corpus and the kind of each document
    rows = mixture(world, library, Recipe(quality=True, epochs=5, general=0.2), 6_000, seed=1)

A document is a row of six sentences. A share of the medical documents is clean; `junk` ones are words in no order,
`wrong` ones state wrong values. The truth about quality is known here, but a strategy may only use what a filter can
see: the perplexity under a trigram of clean reference text, as the paper ranks documents with KenLM (Guo et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evolm.findings.stability_gap.facts import SENTENCE, Array, FactWorld
from evolm.lm.ngram import NGram
from evolm.lm.token_data import TokenData

SENTENCES = 6
#: Kind of sentence -> its share of general text.
GENERAL = {
    "stated": 0.34, "asked": 0.22, "sums": 0.12, "filler": 0.14,
    "old stated": 0.05, "old asked": 0.06, "old in medical style": 0.04, "medical filler": 0.03,
}  # fmt: skip
KINDS = ("clean", "junk", "wrong")
#: Share of the documents that are not clean which are words in no order.
JUNK = 0.7
#: Share of a document's sentences that state a fact.
STATING = 0.6
#: Clean documents that the quality filter is trained on; they are not in the corpus.
REFERENCE = 400


@dataclass(frozen=True)
class Library:
    """A medical corpus: tokens (documents, 48), the kind of each, and the filter's nats per token (documents,)."""

    tokens: Array
    kinds: Array
    nats: Array

    @classmethod
    def of(cls, world: FactWorld, documents: int, clean: float, seed: int) -> Library:
        """`documents` drawn by the seed, a share of them `clean`, ranked by a trigram of other clean ones."""
        rng = np.random.default_rng([world.seed, seed, 2])
        shares = (clean, JUNK * (1 - clean), (1 - JUNK) * (1 - clean))
        kinds = rng.choice(len(KINDS), p=shares, size=documents)
        tokens = medical_text(world, kinds, rng)
        reference = medical_text(world, np.zeros(REFERENCE, np.int64), np.random.default_rng([world.seed, seed, 3]))
        trigram = NGram.count(reference, vocab_size=world.vocab_size)
        return cls(tokens, np.array(KINDS)[kinds], -trigram.logprobs(tokens).mean(1))


@dataclass(frozen=True)
class Recipe:
    """How a training set is made of the corpus.

    `quality`: the documents of lowest perplexity instead of random ones. `epochs`: passes over a set that much smaller.
    `diluted`: some of the chosen documents are replaced by medical filler, so that as many clean ones are left as a
    random choice has. `general`: share of documents replaced by general text.
    """

    quality: bool = False
    diluted: bool = False
    epochs: int = 1
    general: float = 0.0


def mixture(world: FactWorld, library: Library, recipe: Recipe, rows: int, seed: int) -> TokenData:
    """The documents that `rows` places are filled with, in `recipe.epochs` passes over them.

    What is general among them was drawn once and is read again in each pass, as the paper's "data-fixed"; it holds
    nothing of the facts `absent` and `general lost`. Raises ValueError where the corpus is too small.
    """
    rng = np.random.default_rng([world.seed, seed, 4])
    documents = -(-rows // recipe.epochs)
    if documents > len(library.tokens):
        raise ValueError(f"a corpus of {len(library.tokens)} documents is too small for {documents} of them")
    order = np.argsort(library.nats, kind="stable") if recipe.quality else rng.permutation(len(library.tokens))
    chosen = order[:documents]
    tokens = library.tokens[chosen]
    if recipe.diluted:
        clean = library.kinds == "clean"
        spare = max(0.0, 1 - clean.mean() / max(clean[chosen].mean(), 1e-9))
        filled = rng.permutation(documents)[: round(spare * documents)]
        tokens[filled] = world.filled("medical", len(filled) * SENTENCES, rng).reshape(
            len(filled), SENTENCES * SENTENCE
        )
    replaced = rng.permutation(documents)[: round(recipe.general * documents)]
    tokens[replaced] = general_text(world, len(replaced), seed + 10**6, later=True)
    return as_data(tokens)


def general_text(world: FactWorld, rows: int, seed: int, *, later: bool = False) -> Array:
    """General text (rows, 48). What is `later` than pre-training leaves out the facts that must not be seen again."""
    rng = np.random.default_rng([world.seed, seed, 1])
    facts = world.facts
    stated, asked = ("general kept", "general kept asked") if later else ("general", "general asked")
    old = facts["repeated"] if later else facts["old"]
    make: dict[str, Callable[[int], Array]] = {
        "stated": lambda n: world.stated("general", "general", facts[stated], n, rng),
        "asked": lambda n: world.asked("general", facts[asked], n, rng),
        "sums": lambda n: world.sums(n, rng),
        "filler": lambda n: world.filled("general", n, rng),
        "old stated": lambda n: world.stated("general", "medical", old, n, rng),
        "old asked": lambda n: world.asked("medical", old, n, rng),
        "old in medical style": lambda n: world.stated("medical", "medical", old, n, rng),
        "medical filler": lambda n: world.filled("medical", n, rng),
    }
    kinds = rng.choice(len(GENERAL), p=list(GENERAL.values()), size=rows * SENTENCES)
    tokens = np.empty((rows * SENTENCES, SENTENCE), np.int64)
    for number, kind in enumerate(GENERAL):
        at = np.flatnonzero(kinds == number)
        tokens[at] = make[kind](len(at))
    return tokens.reshape(rows, SENTENCES * SENTENCE)


def medical_text(world: FactWorld, kinds: Array, rng: np.random.Generator) -> Array:
    """Medical documents (rows, 48) of the given kinds, numbers in the order of `KINDS`."""
    kind = np.repeat(kinds, SENTENCES)
    rows = len(kind)
    stated = world.stated("medical", "medical", world.facts["taught"], rows, rng, kind == KINDS.index("wrong"))
    tokens = np.where((rng.random(rows) < STATING)[:, None], stated, world.filled("medical", rows, rng))
    tokens = np.where((kind == KINDS.index("junk"))[:, None], world.junk(rows, rng), tokens)
    return tokens.reshape(len(kinds), SENTENCES * SENTENCE)


def as_data(tokens: Array | Tensor) -> TokenData:
    """Rows to learn from: every token but the first is predicted."""
    rows = torch.as_tensor(tokens)
    mask = torch.ones_like(rows, dtype=torch.bool)
    mask[:, 0] = False
    return TokenData(rows, mask)
