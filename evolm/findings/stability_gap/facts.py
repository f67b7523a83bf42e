"""The synthetic world of the chapter: facts in a general and a medical domain, and the sentences that speak of them.

    world = FactWorld(seed=3)
    rows = world.asked("medical", world.facts["new"], 10, rng)       # such as "ask mr1 of m7 ? reply mv20 ."

A fact gives an entity's value in a relation. All sentences have eight words, so that a text is an array. General text
states facts, asks and answers, adds numbers and fills in; medical text states facts in templates of its own, and never
asks. Which facts who speaks of is drawn by the seed (`facts`):

    general kept, general lost    all in pre-training; later text that is general speaks of the kept ones alone
    absent, repeated              medical facts in pre-training, the *old* ones; medical text holds the repeated alone
    new                           in medical text alone

So what becomes of `absent` and `general lost` after pre-training is never learning: nothing states or asks them again.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Domain = Literal["general", "medical"]
SENTENCE = 8
ENTITIES: dict[str, int] = {"general": 48, "medical": 96}
RELATIONS, VALUES, NUMBERS, WORDS, FOLLOWERS = 4, 16, 20, 80, 6
#: Share of general entities that pre-training asks about at all.
ASKED = 0.7
#: How often each of a filler word's followers comes.
FOLLOWED = (0.4, 0.25, 0.15, 0.1, 0.06, 0.04)

STATED = {
    "general": (
        "the R of E is always V .",
        "for E the R was V indeed .",
        "E shows a R which is V .",
        "as R of E we note V .",
    ),
    "medical": (
        "exam of E revealed R tobe V .",
        "patient E presents R graded V today .",
        "R in E , assessed as V .",
        "E : R reading came out V .",
    ),
}
ASK, ADD = "ask R of E ? reply V .", "sum A plus B ? reply C ."
SPECIAL = ("<pad>", "<bos>", "<eos>", "<sep>")


class Probe(NamedTuple):
    """Prompts (rows, time), the right next word of each (rows,), and the words that would be of its kind (rows, n)."""

    prompts: Array
    answers: Array
    candidates: Array


class FactWorld:
    """Vocabulary, facts and sentences of a seed. Facts are rows (entity, relation) of the arrays in `facts`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = np.random.default_rng([seed, 11])
        templates = " ".join((*STATED["general"], *STATED["medical"], ASK, ADD)).split()
        slots = {"E", "R", "V", "A", "B", "C"}
        self.words = [*SPECIAL, *(word for word in dict.fromkeys(templates) if word not in slots)]
        domains: tuple[Domain, ...] = ("general", "medical")
        self.entities = {d: self._block(d[0], ENTITIES[d]) for d in domains}
        self.relations = {d: self._block(f"{d[0]}r", RELATIONS) for d in domains}
        self.values = {d: self._block(f"{d[0]}v", RELATIONS * VALUES).reshape(RELATIONS, VALUES) for d in domains}
        self.filler = {d: self._block(f"{d[0]}w", WORDS) for d in domains}
        self.numbers = self._block("n", 2 * NUMBERS - 1)
        self.truth = {d: rng.integers(VALUES, size=(ENTITIES[d], RELATIONS)) for d in domains}
        self.follows = {d: np.stack([rng.permutation(WORDS)[:FOLLOWERS] for _ in range(WORDS)]) for d in domains}
        self.facts = self._shares(rng)

    def _block(self, prefix: str, count: int) -> Array:
        """Ids of `count` new words."""
        start = len(self.words)
        self.words += [f"{prefix}{i}" for i in range(count)]
        return np.arange(start, start + count)

    def _shares(self, rng: np.random.Generator) -> dict[str, Array]:
        def every(domain: Domain) -> Array:
            return np.stack(np.divmod(np.arange(ENTITIES[domain] * RELATIONS), RELATIONS), 1)

        order = rng.permutation(ENTITIES["general"])
        asked, kept = order[: round(ASKED * len(order))], order[::2]
        general = every("general")
        in_kept, in_asked = np.isin(general[:, 0], kept), np.isin(general[:, 0], asked)
        medical = rng.permutation(every("medical"))
        half = len(medical) // 2
        return {
            "general": general,
            "general asked": general[in_asked],
            "general kept": general[in_kept],
            "general kept asked": general[in_kept & in_asked],
            "general lost": general[~in_kept],
            "absent": medical[: half // 2],
            "repeated": medical[half // 2 : half],
            "old": medical[:half],
            "new": medical[half:],
            "taught": medical[half // 2 :],
        }

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    def stated(
        self, style: Domain, of: Domain, facts: Array, rows: int, rng: np.random.Generator, wrong: Array | None = None
    ) -> Array:
        """Sentences (rows, 8) that state facts `of` a domain in the style of one; `wrong` rows get the value wrong."""
        slots = self._drawn(of, facts, rows, rng, wrong)
        kind = rng.integers(len(STATED[style]), size=rows)
        return np.choose(kind[:, None], [self._filled(template, rows, slots) for template in STATED[style]])

    def asked(self, of: Domain, facts: Array, rows: int, rng: np.random.Generator) -> Array:
        """Questions about facts with their answers, (rows, 8)."""
        return self._filled(ASK, rows, self._drawn(of, facts, rows, rng))

    def sums(self, rows: int, rng: np.random.Generator) -> Array:
        """Additions with their results, (rows, 8)."""
        a, b = rng.integers(NUMBERS, size=(2, rows))
        return self._filled(ADD, rows, {"A": self.numbers[a], "B": self.numbers[b], "C": self.numbers[a + b]})

    def filled(self, domain: Domain, rows: int, rng: np.random.Generator) -> Array:
        """Filler of a domain, (rows, 8): each word is one of the six that follow the one before."""
        place = rng.integers(WORDS, size=rows)
        places = [place]
        for _ in range(SENTENCE - 2):
            place = self.follows[domain][place, rng.choice(FOLLOWERS, p=FOLLOWED, size=rows)]
            places.append(place)
        return np.column_stack([*(self.filler[domain][p] for p in places), np.full(rows, self.ids["."])])

    def junk(self, rows: int, rng: np.random.Generator) -> Array:
        """Medical words in no order, (rows, 8)."""
        words = self.filler["medical"][rng.integers(WORDS, size=(rows, SENTENCE - 1))]
        return np.column_stack([words, np.full(rows, self.ids["."])])

    def asking(self, of: Domain, facts: Array) -> Probe:
        """Every fact as a question, up to its answer; candidates are the relation's values."""
        return self._probe(ASK, of, facts)

    def stating(self, of: Domain, facts: Array) -> Probe:
        """Every fact as a statement in general style, up to its value."""
        return self._probe(STATED["general"][0], of, facts)

    def adding(self) -> Probe:
        """Every addition, up to its result."""
        a, b = (grid.ravel() for grid in np.meshgrid(np.arange(NUMBERS), np.arange(NUMBERS)))
        rows = self._filled(ADD, len(a), {"A": self.numbers[a], "B": self.numbers[b], "C": self.numbers[a + b]})
        candidates = np.broadcast_to(self.numbers, (len(a), len(self.numbers)))
        return Probe(rows[:, : ADD.split().index("C")], self.numbers[a + b], candidates)

    def _probe(self, template: str, of: Domain, facts: Array) -> Probe:
        entity, relation = facts.T
        answers = self.values[of][relation, self.truth[of][entity, relation]]
        slots = {"E": self.entities[of][entity], "R": self.relations[of][relation], "V": answers}
        rows = self._filled(template, len(facts), slots)
        return Probe(rows[:, : template.split().index("V")], answers, self.values[of][relation])

    def _drawn(
        self, of: Domain, facts: Array, rows: int, rng: np.random.Generator, wrong: Array | None = None
    ) -> dict[str, Array]:
        entity, relation = facts[rng.integers(len(facts), size=rows)].T
        value = self.truth[of][entity, relation]
        if wrong is not None:
            value = np.where(wrong, (value + rng.integers(1, VALUES, size=rows)) % VALUES, value)
        return {
            "E": self.entities[of][entity],
            "R": self.relations[of][relation],
            "V": self.values[of][relation, value],
        }

    def _filled(self, template: str, rows: int, slots: dict[str, Array]) -> Array:
        columns = [slots[word] if word in slots else np.full(rows, self.ids[word]) for word in template.split()]
        return np.column_stack(columns)
