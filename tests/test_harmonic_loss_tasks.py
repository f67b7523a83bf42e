"""The algorithmic tasks of the harmonic-loss chapter, and their splits: twins stay together, and leaks leak."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolm.findings.harmonic_loss.tasks import (
    SAMPLES,
    TASKS,
    Task,
    equivalence,
    lattice,
    modular_addition,
    permutations,
    shuffled,
    tree,
)

NAMES = sorted(TASKS)
tasks = st.sampled_from(NAMES)
seeds = st.integers(0, 2**31)


def rows(task: Task) -> dict[tuple[int, ...], int]:
    """Input tokens -> answer; refuses a task that asks the same twice."""
    asked = [tuple(row) for row in task.inputs.tolist()]
    assert len(set(asked)) == len(asked)
    return dict(zip(asked, task.answers.tolist(), strict=True))


# --- what is asked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [2, 5, 31])
def test_addition_asks_every_pair_for_its_sum(p: int) -> None:
    assert rows(modular_addition(p)) == {(a, b): (a + b) % p for a in range(p) for b in range(p)}
    assert modular_addition(p).vocabulary == p


@pytest.mark.parametrize("side", [2, 3, 5])
def test_lattice_asks_for_the_fourth_corner_of_every_parallelogram_inside(side: int) -> None:
    place = {complex(i, j): side * i + j for i in range(side) for j in range(side)}
    expected = {
        (place[a], place[b], place[c]): place[b + c - a]
        for a, b, c in itertools.product(place, repeat=3)
        if b + c - a in place
    }
    assert rows(lattice(side)) == expected
    assert np.array_equal(lattice(side).shape[:, 0] * side + lattice(side).shape[:, 1], np.arange(side**2))


def test_equivalence_answers_with_two_tokens_that_are_no_numbers() -> None:
    task = equivalence(12, 5)
    for (x, y), answer in rows(task).items():
        assert answer == (12 if (x - y) % 5 == 0 else 13)
    assert (len(rows(task)), task.vocabulary, len(task.shape)) == (144, 14, 12)
    assert (task.shape.argmax(1) == np.arange(12) % 5).all()


def test_tree_answers_are_what_walking_the_tree_gives() -> None:
    generations = 4
    levels = [list(range(2**level - 1, 2 ** (level + 1) - 1)) for level in range(generations)]
    above = {child: levels[i - 1][k // 2] for i in range(1, generations) for k, child in enumerate(levels[i])}
    parent, grandparent, sibling = 15, 16, 17
    expected = {(node, parent): up for node, up in above.items()}
    expected |= {(node, grandparent): above[up] for node, up in above.items() if up in above}
    pairs = itertools.permutations(above, 2)
    expected |= {(node, sibling): other for node, other in pairs if above[node] == above[other]}
    task = tree(generations)
    assert rows(task) == expected
    assert task.vocabulary == 18
    assert [int(depth) for depth in task.shape.argmax(1)] == [i for i, level in enumerate(levels) for _ in level]


def test_permutations_are_a_group_and_no_commutative_one() -> None:
    task = permutations()
    members = list(itertools.permutations(range(4)))
    product = np.empty((24, 24), int)
    for (a, b), answer in rows(task).items():
        assert members[answer] == tuple(members[a][k] for k in members[b])  # a after b
        product[a, b] = answer
    everything = set(range(24))
    assert all(set(line) == everything for line in (*product, *product.T))  # a Latin square
    assert (product[product] == product[:, product]).all()  # (ab)c = a(bc)
    assert (product != product.T).any()
    assert task.twins.tolist() == list(range(24**2))


def test_the_shape_of_permutations_is_cosets_of_the_klein_four_group() -> None:
    """Six cosets of four members, and the coset of a product depends on the cosets of its factors alone."""
    task = permutations()
    coset = task.shape.argmax(1)
    assert task.shape.sum(1).tolist() == [1.0] * 24
    assert np.bincount(coset).tolist() == [4] * 6
    members = list(itertools.permutations(range(4)))
    klein = {(0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)}
    assert {members[i] for i in np.flatnonzero(coset == coset[members.index((0, 1, 2, 3))])} == klein
    products = {(coset[a], coset[b], coset[c]) for (a, b), c in rows(task).items()}
    assert len(products) == 36
    quotient = {(a, b): c for a, b, c in products}
    assert any(quotient[a, b] != quotient[b, a] for a, b in quotient)  # S3, so no commutative group of six


@given(tasks)
def test_twins_have_one_answer_or_are_each_others(name: str) -> None:
    """Swapping leaves the answer, but for siblings in a tree: there each is the other's answer."""
    task = TASKS[name]()
    for group in range(int(task.twins.max()) + 1):
        members = np.flatnonzero(task.twins == group)
        assert len(members) in (1, 2)
        if len(members) < 2:
            continue
        first, second = task.inputs[members]
        if name == "tree":
            assert (first[0], second[0]) == (task.answers[members[1]], task.answers[members[0]])
        else:
            assert sorted(first) == sorted(second)
            assert task.answers[members[0]] == task.answers[members[1]]


def test_swapped_pairs_are_twins_and_nothing_else_is() -> None:
    for task in (modular_addition(7), equivalence(9, 4)):
        number = dict(zip(map(tuple, task.inputs.tolist()), task.twins.tolist(), strict=True))
        for (a, b), (c, d) in itertools.combinations(number, 2):
            assert (number[a, b] == number[c, d]) == ((a, b) == (d, c))
    number = dict(zip(map(tuple, lattice().inputs.tolist()), lattice().twins.tolist(), strict=True))
    for (a, b, c), twin in list(number.items())[::97]:
        assert [row for row, other in number.items() if other == twin] in ([(a, b, c)], sorted({(a, b, c), (a, c, b)}))


# --- splits ----------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(tasks, st.floats(0.05, 0.95), seeds)
def test_no_twin_is_in_both_parts_and_no_example_twice(name: str, share: float, seed: int) -> None:
    task = TASKS[name]()
    train, test = task.split(share, seed)
    assert not set(task.twins[train]) & set(task.twins[test])
    together = np.concatenate([train, test])
    assert len(set(together.tolist())) == len(together)
    assert len(together) == (task.pool or len(task.answers))
    for part in (train, test):  # whole groups
        assert set(part) == set(np.flatnonzero(np.isin(task.twins, task.twins[part])))


@settings(max_examples=40)
@given(tasks, st.floats(0.05, 0.95), seeds, seeds)
def test_all_seeds_have_parts_of_one_size_which_is_the_share(name: str, share: float, one: int, other: int) -> None:
    task = TASKS[name]()
    first, second = (task.split(share, seed) for seed in (one, other))
    assert [len(part) for part in first] == [len(part) for part in second]
    assert len(first[0]) == pytest.approx(share * (task.pool or len(task.answers)), abs=2)


@settings(max_examples=25)
@given(tasks, st.floats(0.2, 0.8), seeds)
def test_a_split_is_drawn_by_its_seed(name: str, share: float, seed: int) -> None:
    task = TASKS[name]()
    first, again, other = (task.split(share, number) for number in (seed, seed, seed + 1))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_every_pair_of_twins_is_in_train_for_its_share_of_the_seeds() -> None:
    task, trials = modular_addition(5), 2000
    seen = np.zeros(25)
    for seed in range(trials):
        seen[task.split(0.6, seed)[0]] += 1
    mixed = task.inputs[:, 0] != task.inputs[:, 1]
    assert np.abs(seen[mixed] / trials - 0.6).max() < 4.5 * np.sqrt(0.24 / trials)
    assert np.abs(seen[~mixed] / trials - 0.6).max() < 4.5 * np.sqrt(0.24 / trials)


@pytest.mark.parametrize("share", [0.001, 0.9999])
def test_a_share_that_leaves_a_part_empty_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=rf"share {share:g} of .* groups of addition leaves a part empty"):
        modular_addition(5).split(share, 0)


@settings(max_examples=10)
@given(seeds)
def test_a_pool_is_another_sample_of_whole_pairs_for_every_seed(seed: int) -> None:
    task = lattice()
    assert task.pool == SAMPLES < len(task.answers)
    drawn, other = (set(np.concatenate(task.split(0.8, number)).tolist()) for number in (seed, seed + 1))
    assert len(drawn) == SAMPLES
    assert drawn != other
    assert set(np.bincount(task.twins[sorted(drawn)]).tolist()) <= {0, 2}


@given(tasks, seeds)
def test_the_authors_split_leaks_pairs_and_twins(name: str, seed: int) -> None:
    task = TASKS[name]()
    train, test = task.leaky_split(0.8, seed)
    assert (len(train), len(test)) == (800, 200)
    assert len(set(train.tolist())) < 800  # with replacement
    leaked = np.isin(task.twins[test], task.twins[train]).mean()
    # A twin group of two that 800 draws of N examples miss altogether: (1 - 2/N)^800.
    sizes = np.bincount(task.twins)[task.twins]
    expected = 1 - ((1 - sizes / len(task.answers)) ** 800).mean()
    assert leaked == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / 200))
    assert expected > 0.15


def test_half_of_the_authors_test_samples_of_addition_are_in_their_training_set() -> None:
    """539 to 557 distinct training pairs, and 49 to 59 % of test samples among them, as was measured on their code."""
    drawn = [modular_addition().leaky_split(0.8, seed) for seed in range(20)]
    assert np.mean([len(set(train.tolist())) for train, _ in drawn]) == pytest.approx(543, abs=8)
    assert np.mean([np.isin(test, train).mean() for train, test in drawn]) == pytest.approx(0.565, abs=0.03)


# --- answers that nothing determines -----------------------------------------------------------------------------


@given(tasks, seeds)
def test_shuffled_answers_are_equal_within_twins_and_drawn_from_the_tasks_own(name: str, seed: int) -> None:
    task = TASKS[name]()
    other = shuffled(task, seed)
    assert other.inputs is task.inputs
    assert other.answers.shape == task.answers.shape
    for twin in np.unique(task.twins)[::7]:
        assert len(set(other.answers[task.twins == twin].tolist())) == 1
    assert set(other.answers) <= set(task.answers)
    assert np.array_equal(other.answers, shuffled(task, seed).answers)
    assert not np.array_equal(other.answers, shuffled(task, seed + 1).answers)


def test_shuffled_answers_say_nothing_of_the_true_ones() -> None:
    task = modular_addition()
    hits = np.mean([(shuffled(task, seed).answers == task.answers).mean() for seed in range(50)])
    assert hits == pytest.approx(1 / 31, abs=4.5 * np.sqrt(2 / 31 / (50 * 961)))
