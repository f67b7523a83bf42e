"""Arm A's worlds: tables of two operands, some of whose labels follow a rule and some of whose labels do not.

    world = hidden_classes(seed=0)                    # groups k4, k7, k10 and random: 40 x 40 pairs each
    world = modular(97, seed=0)                       # groups plus, minus, times, mixed and random
    world.sequences[world.train]                      # (sample, 3): task, a, b; what is asked is world.labels

In group kK the label of a pair is T[class of a, class of b]: balanced maps of the operands to K hidden classes each,
and a table T of K x K labels, all drawn from the seed. What can be generalised is that operands are alike, and the more
classes there are the harder that is to see. A pair of classes is a *cell*; held-out pairs are matched with the training
pairs of their cell. In the random group labels are dealt out at random, so that only memory helps; `scrambled` deals
out those of every group. Modular arithmetic is split by unordered pair: where an operation commutes, a held-out (a, b)
would else be given away by (b, a).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
#: The group whose labels follow no rule.
RANDOM = "random"
#: Share of each group's pairs that is trained on.
FRACTION, RANDOM_FRACTION = 0.25, 0.2
#: Hidden classes of the operands in the random group before its labels are dealt out: its labels are as common as k7's.
RANDOM_CLASSES = 7
OPERATIONS = ("plus", "minus", "times", "mixed")
#: Shares of modular arithmetic: harder operations get more, so that all generalise in one run.
MODULAR_FRACTIONS: Mapping[str, float] = {"plus": 0.3, "minus": 0.4, "times": 0.35, "mixed": 0.6, RANDOM: 0.2}


@dataclass(frozen=True)
class World:
    """Every pair of every group, in the order of `groups`; arrays are (sample,) unless said.

    Sequences are [task, a, b], the task's token being `symbols` + the group's number. `half` is 0 for samples on which
    groups are defined and memorisation is dated, 1 for those on which anything else is measured.
    """

    symbols: int
    groups: tuple[str, ...]
    sequences: Ints  # (sample, 3)
    labels: Ints
    group: Ints
    cell: Ints
    train: Mask
    half: Ints

    @property
    def vocabulary(self) -> int:
        """Operands, which are labels too, and tasks."""
        return self.symbols + len(self.groups)

    @property
    def learnable(self) -> tuple[str, ...]:
        """Groups whose held-out pairs can be known."""
        return tuple(name for name in self.groups if name != RANDOM)

    def of(self, group: str) -> Mask:
        """(sample,) which samples are of a group."""
        return self.group == self.groups.index(group)

    def scrambled(self, seed: int) -> World:
        """The same pairs and split with every group's labels dealt out again at random: only memory helps."""
        rng = np.random.default_rng([seed, 2])
        labels = self.labels.copy()
        for number in range(len(self.groups)):
            here = np.flatnonzero(self.group == number)
            labels[here] = labels[rng.permutation(here)]
        return replace(self, labels=labels)


def hidden_classes(
    classes: tuple[int, ...] = (4, 7, 10),
    symbols: int = 40,
    fraction: float = FRACTION,
    random_fraction: float = RANDOM_FRACTION,
    *,
    seed: int,
) -> World:
    """One group for each number of hidden classes, and the random group. Raises ValueError for classes without use."""
    if not classes or min(classes) < 2 or max(classes) > symbols:
        raise ValueError(f"hidden classes are {list(classes)}; expected numbers from 2 to the {symbols} symbols")
    rng = np.random.default_rng([seed, 0])
    a, b = np.divmod(np.arange(symbols**2), symbols)
    labels: dict[str, Ints] = {}
    cells: dict[str, Ints] = {}
    trained: dict[str, Mask] = {}
    for k in (*classes, RANDOM_CLASSES):
        name = f"k{k}" if len(labels) < len(classes) else RANDOM
        of_a, of_b = (rng.permutation(np.arange(symbols) % k) for _ in range(2))
        table = rng.integers(0, symbols, (k, k))
        cells[name] = of_a[a] * k + of_b[b]
        labels[name] = table[of_a[a], of_b[b]]
        share = fraction if name != RANDOM else random_fraction
        trained[name] = rng.permutation(symbols**2) < round(share * symbols**2)
    labels[RANDOM] = rng.permutation(labels[RANDOM])
    return _world(symbols, labels, cells, trained, rng)


def modular(p: int, fractions: Mapping[str, float] = MODULAR_FRACTIONS, *, seed: int) -> World:
    """Arithmetic modulo p: a + b, a - b, a * b, a^2 + ab, and random labels; a label is its cell.

    `fractions` are shares of the unordered pairs {a, b}; (a, b) and (b, a) are on the same side of the split.
    Raises ValueError where p is no prime, since multiplication would have groups of its own.
    """
    if p < 3 or any(p % divisor == 0 for divisor in range(2, int(p**0.5) + 1)):
        raise ValueError(f"p is {p}; expected a prime above 2, such as 97 or 113")
    rng = np.random.default_rng([seed, 1])
    a, b = np.divmod(np.arange(p * p), p)
    results = {"plus": a + b, "minus": a - b, "times": a * b, "mixed": a * a + a * b}
    labels = {name: (results[name] % p) for name in OPERATIONS if name in fractions}
    if RANDOM in fractions:
        labels[RANDOM] = rng.permutation(np.arange(p * p) % p)
    unordered = np.minimum(a, b) * p + np.maximum(a, b)  # one number for (a, b) and (b, a)
    _, pair = np.unique(unordered, return_inverse=True)
    trained = {name: rng.random(pair.max() + 1)[pair] < fractions[name] for name in labels}
    return _world(p, labels, labels, trained, rng)


def _world(
    symbols: int, labels: Mapping[str, Ints], cells: Mapping[str, Ints], trained: Mapping[str, Mask],
    rng: np.random.Generator,
) -> World:  # fmt: skip
    pairs = np.stack(np.divmod(np.arange(symbols**2), symbols), 1)
    group = np.repeat(np.arange(len(labels)), symbols**2)
    sequences = np.concatenate([symbols + group[:, None], np.tile(pairs, (len(labels), 1))], 1)
    joined = [np.concatenate([part[name] for name in labels]) for part in (labels, cells, trained)]
    half = rng.integers(0, 2, len(group))
    return World(symbols, tuple(labels), sequences, joined[0], group, joined[1], joined[2], half)
