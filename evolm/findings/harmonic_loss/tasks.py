"""The five algorithmic tasks of Baek et al. (2025), section 4, with splits that keep swapped twins together.

    task = modular_addition(31)
    train, test = task.split(share=0.8, seed=0)          # indices of examples

An example is a few tokens and one token as its answer. Where swapping two tokens leaves the answer as it is, both
orders are *twins*: a split that puts one in each part hands the answer over. The authors' samples are drawn with
replacement and split at random, which does that and more; `leaky_split` is theirs, to say what it changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Sizes of the paper: a 5 x 5 lattice, addition mod 31, 40 numbers mod 5, a tree of 127, permutations of four.
LATTICE, MODULUS, NUMBERS, RESIDUES, GENERATIONS, PERMUTED = 5, 31, 40, 5, 7, 4
#: Samples of the authors' data sets, drawn with replacement.
SAMPLES = 1000


@dataclass(frozen=True)
class Task:
    """`inputs` (example, place) and `answers` (example,) are tokens below `vocabulary`.

    `twins` (example,) numbers what must stay together. `shape` has the coordinates (token, dimension) of the first
    tokens in the task's own geometry; tokens beyond have none. `pool` examples are drawn by the seed where there are
    more.
    """

    name: str
    inputs: Ints
    answers: Ints
    vocabulary: int
    twins: Ints
    shape: Floats = field(repr=False)
    pool: int | None = None

    def split(self, share: float, seed: int) -> tuple[Ints, Ints]:
        """Train and test examples: `share` of the twins of each size train. All seeds' parts are equally large.

        Raises ValueError where a part would be empty.
        """
        rng = np.random.default_rng([seed, 11])
        groups = self._pooled(rng)
        parts: tuple[list[Ints], list[Ints]] = ([], [])
        for size in sorted({len(group) for group in groups}):
            same = [group for group in groups if len(group) == size]
            order, cut = rng.permutation(len(same)), round(share * len(same))
            parts[0].extend(same[i] for i in order[:cut])
            parts[1].extend(same[i] for i in order[cut:])
        if not parts[0] or not parts[1]:
            raise ValueError(f"share {share:g} of {len(groups)} groups of {self.name} leaves a part empty")
        train, test = (np.sort(np.concatenate(part)) for part in parts)
        return train, test

    def leaky_split(self, share: float, seed: int) -> tuple[Ints, Ints]:
        """The authors' own: samples with replacement, cut at random; train may hold test samples, or their twins."""
        drawn = np.random.default_rng([seed, 12]).integers(len(self.answers), size=SAMPLES)
        cut = round(share * SAMPLES)
        return drawn[:cut], drawn[cut:]

    def _pooled(self, rng: np.random.Generator) -> list[Ints]:
        """Examples by twins; where there are more than `pool` of them, as many as the pool holds, twins of two only."""
        order = np.argsort(self.twins, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(self.twins[order])) + 1)
        if self.pool is None:
            return groups
        pairs = [group for group in groups if len(group) == 2]
        return [pairs[i] for i in rng.permutation(len(pairs))[: self.pool // 2]]


def _task(
    name: str,
    rows: Sequence[tuple[tuple[int, ...], int]],
    vocabulary: int,
    shape: Floats,
    twin: Callable[[tuple[int, ...]], tuple[int, ...]],
    pool: int | None = None,
) -> Task:
    inputs, answers = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    keys: dict[tuple[int, ...], int] = {}
    twins = np.array([keys.setdefault(twin(row), len(keys)) for row, _ in rows], np.int64)
    return Task(name, inputs, answers, vocabulary, twins, shape, pool)


@lru_cache
def modular_addition(p: int = MODULUS) -> Task:
    """a, b -> (a + b) mod p. Twins: (a, b) and (b, a). The geometry is a circle of any winding number."""
    rows = [((a, b), (a + b) % p) for a, b in itertools.product(range(p), repeat=2)]
    angle = 2 * np.pi * np.arange(p) / p
    return _task("addition", rows, p, np.stack([np.cos(angle), np.sin(angle)], 1), lambda row: tuple(sorted(row)))


@lru_cache
def lattice(side: int = LATTICE) -> Task:
    """a, b, c -> d = b + c - a, the fourth corner of a parallelogram inside a lattice. Twins: b and c swapped."""
    points = list(itertools.product(range(side), repeat=2))
    index = {point: i for i, point in enumerate(points)}
    rows = []
    for a, b, c in itertools.product(points, repeat=3):
        d = (b[0] + c[0] - a[0], b[1] + c[1] - a[1])
        if d in index:
            rows.append(((index[a], index[b], index[c]), index[d]))
    return _task("lattice", rows, len(points), np.array(points, float), lambda r: (r[0], *sorted(r[1:])), SAMPLES)


@lru_cache
def equivalence(numbers: int = NUMBERS, residues: int = RESIDUES) -> Task:
    """x, y -> yes where x and y are equal mod `residues`, else no. Twins: (x, y) and (y, x)."""
    yes, no = numbers, numbers + 1
    rows = [
        ((x, y), yes if x % residues == y % residues else no) for x, y in itertools.product(range(numbers), repeat=2)
    ]
    shape = np.eye(residues)[np.arange(numbers) % residues]
    return _task("equivalence", rows, numbers + 2, shape, lambda row: tuple(sorted(row)), SAMPLES)


@lru_cache
def tree(generations: int = GENERATIONS) -> Task:
    """node, relation -> node: parent, grandparent, sibling in a complete binary tree. Twins: a sibling's sibling."""
    nodes = 2**generations - 1  # node i has children 2i + 1 and 2i + 2
    parent, grandparent, sibling = nodes, nodes + 1, nodes + 2
    rows: list[tuple[tuple[int, ...], int]] = [((i, parent), (i - 1) // 2) for i in range(1, nodes)]
    rows += [((i, grandparent), ((i - 1) // 2 - 1) // 2) for i in range(3, nodes)]
    rows += [((i, sibling), i + 1 if i % 2 else i - 1) for i in range(1, nodes)]
    depth = np.floor(np.log2(np.arange(nodes) + 1)).astype(int)

    def twin(row: tuple[int, ...]) -> tuple[int, ...]:
        return (row[1], (row[0] + 1) // 2 if row[1] == sibling else -row[0])

    return _task("tree", rows, nodes + 3, np.eye(generations)[depth], twin)


@lru_cache
def permutations() -> Task:
    """a, b -> a after b in the symmetric group. It does not commute, so every example is its own twin.

    The geometry is that of cosets of the Klein four-group, by which S4 maps onto S3: six groups of four.
    """
    members = list(itertools.permutations(range(PERMUTED)))
    index = {member: i for i, member in enumerate(members)}
    rows = [
        ((i, j), index[tuple(a[k] for k in b)]) for (i, a), (j, b) in itertools.product(enumerate(members), repeat=2)
    ]
    return _task("permutations", rows, len(members), _cosets(members), lambda row: row)


def _cosets(members: list[tuple[int, ...]]) -> Floats:
    """One-hot (member, coset) by how a permutation acts on the three ways to pair four things off."""
    pairings = [frozenset(map(frozenset, ways)) for ways in (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))]
    moved = [
        tuple(pairings.index(frozenset(frozenset(m[i] for i in pair) for pair in ways)) for ways in pairings)
        for m in members
    ]
    kinds = sorted(set(moved))
    return np.eye(len(kinds))[[kinds.index(kind) for kind in moved]]


TASKS: dict[str, Callable[[], Task]] = {
    "addition": modular_addition,
    "lattice": lattice,
    "equivalence": equivalence,
    "tree": tree,
    "permutations": permutations,
}


def shuffled(task: Task, seed: int) -> Task:
    """The same inputs with answers drawn anew for each group of twins: nothing but memory can know them."""
    rng = np.random.default_rng([seed, 13])
    drawn = rng.choice(np.unique(task.answers), size=int(task.twins.max()) + 1)
    return Task(task.name, task.inputs, drawn[task.twins], task.vocabulary, task.twins, task.shape, task.pool)
