"""Arm B's world: a mixture that is read about once, character by character, some of it real text.

    world = Mixture(seed=0)
    documents = world.documents(6400)                 # what is trained on, each about once
    documents.tokens, documents.loss, documents.answer, documents.domain
    held = world.held_out("sums", 100)                # other documents of a domain, whose answers can be worked out

| domain | a document | held out |
|---|---|---|
| prose | characters of a speech (real text, public domain) | other speeches: the last 8 characters |
| facts | a fact about an invented person in one of 4 wordings; each fact comes many times | for each fact one wording |
| copy | five letters to be said again | other letters |
| sums | two numbers of three digits and their sum, units first | other numbers |
| random | a key and three letters that nothing tells, some of them often (Zipf) | other keys: only luck |

In the scrambled twin every answer is drawn at random anew and the characters of prose are out of order, so that
there is nothing to generalise; what is repeated can still be memorised.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evolm.findings.stability_gap.text_world import Part, split

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
#: Characters of a document, the space after it included.
LENGTH = 48
DOMAINS = ("prose", "facts", "copy", "sums", "random")
SHARES = (0.3, 0.25, 0.15, 0.15, 0.15)
#: Domains whose held-out answers are exactly right or wrong, and can be known.
EXACT = ("facts", "copy", "sums")
WORDINGS = ("the {r} of {e} is {v}.", "{e} has the {r} {v}.", "as for {r}, {e} got {v}.", "we saw {e} with {r} {v}.")
RELATIONS = ("colour", "animal", "metal", "town")
VALUES = 12
PERSONS = 40
#: Keys of the random domain that come again and again, with Zipf's exponent.
KEYS, ZIPF = 200, 1.1
PROSE_ANSWER = 8


class Documents(NamedTuple):
    """Rows of `LENGTH` characters. Loss is borne by every character of the text but the first."""

    tokens: Ints  # (document, LENGTH)
    loss: Mask  # (document, LENGTH)
    answer: Mask  # (document, LENGTH) what is asked for
    domain: Ints  # (document,) number in DOMAINS

    def chosen(self, rows: Ints) -> Documents:
        """Some of them, in the order of `rows`."""
        return Documents(self.tokens[rows], self.loss[rows], self.answer[rows], self.domain[rows])


class Mixture:
    """A seed draws persons, facts, keys, and which parts of the speeches are read."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"mixture {seed}")
        self.seed = seed
        self.characters = characters()
        self.ids = {character: number for number, character in enumerate(self.characters)}
        self.persons = _distinct(
            PERSONS, lambda: "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(3))
        )
        self.values = {r: _distinct(VALUES, lambda: _letters(rng, 4)) for r in RELATIONS}
        self.truth = {(e, r): rng.choice(self.values[r]) for e in self.persons for r in RELATIONS}
        self.unsaid = {fact: rng.choice(WORDINGS) for fact in self.truth}
        self.keys = _distinct(2 * KEYS, lambda: _letters(rng, 4))
        self.secrets = {key: _letters(rng, 3) for key in self.keys}

    @property
    def vocabulary(self) -> int:
        """Characters there are."""
        return len(self.characters)

    def documents(self, count: int, *, scrambled: bool = False) -> Documents:
        """What is trained on, in its order; the scrambled twin has the same prompts in the same order."""
        rng = random.Random(f"documents {self.seed}")
        luck = random.Random(f"scrambled {self.seed}") if scrambled else None
        weights = [1 / rank**ZIPF for rank in range(1, KEYS + 1)]
        made = []
        for domain in rng.choices(DOMAINS, SHARES, k=count):
            made.append((domain, *self._document(domain, rng, luck, weights, held_out=False)))
        return self._rows(made)

    def held_out(self, domain: str, count: int) -> Documents:
        """Documents of a domain that training never holds."""
        rng = random.Random(f"held out {domain} {self.seed}")
        return self._rows([(domain, *self._document(domain, rng, None, [], held_out=True)) for _ in range(count)])

    def _document(
        self, domain: str, rng: random.Random, luck: random.Random | None, weights: Sequence[float], held_out: bool
    ) -> tuple[str, str]:
        """(prompt, answer) of one document; `luck` draws the answers of the scrambled twin."""
        if domain == "prose":
            text = speeches("test" if held_out else "train")
            place = rng.randrange(len(text) - LENGTH)
            passage = text[place : place + LENGTH - 1]
            if luck:
                passage = "".join(luck.sample(passage, len(passage)))
            return passage[:-PROSE_ANSWER], passage[-PROSE_ANSWER:]
        if domain == "facts":
            person, relation = rng.choice(self.persons), rng.choice(RELATIONS)
            unsaid = self.unsaid[person, relation]
            wording = unsaid if held_out else rng.choice([wording for wording in WORDINGS if wording != unsaid])
            prompt = wording.format(e=person, r=relation, v="\0").split("\0")[0]
            value = luck.choice(self.values[relation]) if luck else self.truth[person, relation]
            return prompt, value + "."
        if domain == "copy":
            letters = self._of_part(held_out, lambda: _letters(rng, 5))
            return f"say {letters} again: ", (_letters(luck, 5) if luck else letters) + "."
        if domain == "sums":
            pair = self._of_part(held_out, lambda: f"{rng.randrange(100, 1000)}+{rng.randrange(100, 1000)}")
            total = sum(map(int, pair.split("+"))) if luck is None else luck.randrange(200, 1999)
            return f"sum {pair} = ", f"{total:04d}"[::-1] + "."
        key = rng.choice(self.keys[KEYS:]) if held_out else rng.choices(self.keys[:KEYS], weights)[0]
        # In the twin, too, a key keeps its letters: this domain has nothing but memory in either.
        return f"key {key} opens ", self.secrets[key] + "."

    @staticmethod
    def _of_part(held_out: bool, draw: Callable[[], str]) -> str:
        """Drawn until it is of the right part: one in ten of all there are is held out."""
        while True:
            text = draw()
            if (sum(map(ord, text)) * 2654435761 % 2**32 // 7 % 10 == 0) == held_out:
                return text

    def _rows(self, made: Sequence[tuple[str, str, str]]) -> Documents:
        tokens = np.full((len(made), LENGTH), self.ids["\n"], np.int64)
        loss, answer = np.zeros(tokens.shape, bool), np.zeros(tokens.shape, bool)
        for row, (_, prompt, reply) in enumerate(made):
            text = prompt + reply
            if len(text) >= LENGTH:
                raise ValueError(f"a document of {len(text)} characters does not fit into {LENGTH - 1}: {text!r}")
            tokens[row, : len(text)] = [self.ids[character] for character in text]
            loss[row, 1 : len(text)] = True
            answer[row, len(prompt) : len(text)] = True
        return Documents(tokens, loss, answer, np.array([DOMAINS.index(domain) for domain, *_ in made]))


@lru_cache
def speeches(part: Part) -> str:
    """Real text of one part of the speeches: lower case, one space between words, without characters that are rare."""
    words = " ".join(document.text for document in split("general", part)).lower().split()
    return re.sub(r"[^a-z0-9 .,;:'?!-]", "", " ".join(words))


@lru_cache
def characters() -> tuple[str, ...]:
    """Every character of a document; the first fills rows up."""
    return ("\n", *sorted(set(string.ascii_lowercase + string.digits + " .,;:'-?!+=")))


def _letters(rng: random.Random, count: int) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=count))


def _distinct(count: int, draw: Callable[[], str]) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[draw()] = None
    return list(found)
