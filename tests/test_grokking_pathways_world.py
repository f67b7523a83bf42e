"""The worlds of the chapter on grokking pathways: what follows a rule, what does not, and what the split gives away."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest

from evolm.findings.grokking_pathways import mixture
from evolm.findings.grokking_pathways.mixture import DOMAINS, EXACT, LENGTH, Documents, Mixture
from evolm.findings.grokking_pathways.tables import MODULAR_FRACTIONS, RANDOM, World, hidden_classes, modular

SEED = 5


@cache
def tables() -> World:
    return hidden_classes(seed=SEED)


@cache
def arithmetic() -> World:
    return modular(23, seed=SEED)


@cache
def mixed() -> Mixture:
    return Mixture(SEED)


def accuracy_by_cell(world: World, group: str) -> float:
    """Held-out accuracy of a reader who knows the cells and answers each with its commonest training label."""
    here = world.of(group)
    known: dict[int, Counter[int]] = {}
    for cell, label in zip(world.cell[here & world.train], world.labels[here & world.train], strict=True):
        known.setdefault(int(cell), Counter())[int(label)] += 1
    asked = here & ~world.train
    answers = [known[int(c)].most_common(1)[0][0] if int(c) in known else -1 for c in world.cell[asked]]
    return float((np.array(answers) == world.labels[asked]).mean())


# --- tables of hidden classes ---------------------------------------------------------------------------------


def test_every_pair_of_every_group_is_there_once() -> None:
    world = tables()
    assert world.groups == ("k4", "k7", "k10", RANDOM)
    assert world.vocabulary == 44
    assert len(np.unique(world.sequences, axis=0)) == len(world.sequences) == 4 * 1600
    for number, name in enumerate(world.groups):
        rows = world.sequences[world.of(name)]
        assert set(rows[:, 0]) == {40 + number}
        assert set(rows[:, 1]) == set(rows[:, 2]) == set(range(40))


@pytest.mark.parametrize(("name", "classes"), [("k4", 4), ("k7", 7), ("k10", 10)])
def test_labels_of_a_learnable_group_depend_on_balanced_classes_alone(name: str, classes: int) -> None:
    world = tables()
    here = world.of(name)
    cells, labels, rows = world.cell[here], world.labels[here], world.sequences[here]
    assert all(len(set(labels[cells == cell])) == 1 for cell in np.unique(cells))
    for column, of in ((1, cells // classes), (2, cells % classes)):  # each operand has one class
        of_operand = {operand: set(of[rows[:, column] == operand]) for operand in range(40)}
        assert all(len(found) == 1 for found in of_operand.values())
        sizes = Counter(next(iter(found)) for found in of_operand.values())
        assert len(sizes) == classes
        assert max(sizes.values()) - min(sizes.values()) <= 1


@pytest.mark.parametrize(("name", "share"), [("k4", 0.25), ("k7", 0.25), ("k10", 0.25), (RANDOM, 0.2)])
def test_each_group_trains_on_its_share(name: str, share: float) -> None:
    assert tables().train[tables().of(name)].sum() == round(share * 1600)


def test_a_reader_of_classes_knows_held_out_pairs_and_none_knows_the_random_ones() -> None:
    assert accuracy_by_cell(tables(), "k4") == 1
    assert accuracy_by_cell(tables(), "k7") > 0.95
    assert accuracy_by_cell(tables(), "k10") > 0.9  # a cell or two has no training pair
    assert accuracy_by_cell(tables(), RANDOM) < 0.15


def test_the_scrambled_twin_keeps_pairs_split_and_labels_and_can_only_be_memorised() -> None:
    world, twin = tables(), tables().scrambled(SEED)
    for name in ("sequences", "group", "cell", "train", "half"):
        np.testing.assert_array_equal(getattr(twin, name), getattr(world, name))
    for name in world.groups:
        here = world.of(name)
        assert Counter(twin.labels[here].tolist()) == Counter(world.labels[here].tolist())
        commonest = max(Counter(world.labels[here].tolist()).values()) / 1600
        assert accuracy_by_cell(twin, name) < commonest + 0.1
    np.testing.assert_array_equal(tables().scrambled(SEED).labels, twin.labels)


def test_halves_are_even_and_know_nothing_of_the_split() -> None:
    world = tables()
    assert abs(world.half.mean() - 0.5) < 0.03
    assert abs(world.half[world.train].mean() - 0.5) < 0.05


def test_a_seed_redraws_tables_and_split() -> None:
    other = hidden_classes(seed=SEED + 1)
    assert not np.array_equal(other.labels, tables().labels)
    assert not np.array_equal(other.train, tables().train)
    np.testing.assert_array_equal(hidden_classes(seed=SEED).labels, tables().labels)


@pytest.mark.parametrize("classes", [(), (1,), (4, 41)])
def test_classes_that_make_no_table_are_refused(classes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected numbers from 2 to the 40 symbols"):
        hidden_classes(classes, seed=0)


# --- modular arithmetic ---------------------------------------------------------------------------------------


def test_arithmetic_is_right() -> None:
    world = arithmetic()
    rules = {
        "plus": lambda a, b: a + b, "minus": lambda a, b: a - b, "times": lambda a, b: a * b,
        "mixed": lambda a, b: a * a + a * b,
    }  # fmt: skip
    for name, rule in rules.items():
        here = world.of(name)
        _, a, b = world.sequences[here].T
        np.testing.assert_array_equal(world.labels[here], rule(a, b) % 23)
    assert world.learnable == tuple(rules)


def test_no_held_out_pair_is_trained_on_the_other_way_round() -> None:
    world = arithmetic()
    assert world.train[world.of("plus")].any()
    for name in world.groups:
        side = {
            (int(a), int(b)): bool(t)
            for (_, a, b), t in zip(world.sequences[world.of(name)], world.train[world.of(name)], strict=True)
        }
        assert all(side[a, b] == side[b, a] for a, b in side)


def test_shares_of_unordered_pairs_are_as_asked() -> None:
    world = modular(53, seed=1)
    for name, share in MODULAR_FRACTIONS.items():
        assert abs(world.train[world.of(name)].mean() - share) < 0.05


def test_random_labels_of_arithmetic_are_as_common_as_each_other() -> None:
    labels = arithmetic().labels[arithmetic().of(RANDOM)]
    assert set(Counter(labels.tolist()).values()) == {23}


@pytest.mark.parametrize("p", [2, 9, 91])
def test_a_modulus_that_is_no_prime_above_two_is_refused(p: int) -> None:
    with pytest.raises(ValueError, match="expected a prime above 2"):
        modular(p, seed=0)


# --- the mixture ----------------------------------------------------------------------------------------------


def read(documents: Documents, row: int) -> tuple[str, str]:
    """(prompt, answer) in characters."""
    characters = mixed().characters
    tokens, answer = documents.tokens[row], documents.answer[row]
    first = int(answer.argmax())
    end = first + int(answer.sum())
    assert answer[first:end].all()
    assert set(tokens[end:].tolist()) <= {0}  # filled up
    text = [characters[token] for token in tokens.tolist()]
    return "".join(text[:first]), "".join(text[first:end])


def of_domain(documents: Documents, domain: str) -> list[tuple[str, str]]:
    return [read(documents, row) for row in np.flatnonzero(documents.domain == DOMAINS.index(domain))]


@cache
def documents(scrambled: bool = False) -> Documents:
    return mixed().documents(3000, scrambled=scrambled)


def test_documents_are_mixed_in_their_shares_and_bear_loss_on_text_alone() -> None:
    shares = np.bincount(documents().domain) / 3000
    np.testing.assert_allclose(shares, mixture.SHARES, atol=0.04)
    assert documents().tokens.shape == (3000, LENGTH)
    assert not documents().loss[:, 0].any()
    assert (documents().answer <= documents().loss).all()
    ends = (documents().tokens != 0).sum(1)
    np.testing.assert_array_equal(documents().loss.sum(1), ends - 1)


def test_answers_of_copy_and_sums_follow_from_their_prompts() -> None:
    for source in (documents(), mixed().held_out("copy", 80)):
        for prompt, answer in of_domain(source, "copy"):
            assert answer == prompt.split()[1] + "."
    for source in (documents(), mixed().held_out("sums", 80)):
        for prompt, answer in of_domain(source, "sums"):
            a, b = prompt.split()[1].split("+")
            assert int(answer[:-1][::-1]) == int(a) + int(b)


def test_a_fact_has_one_value_whatever_its_wording_and_its_held_out_wording_is_never_read() -> None:
    trained, asked = of_domain(documents(), "facts"), of_domain(mixed().held_out("facts", 300), "facts")
    value_of = {}
    for prompt, answer in [*trained, *asked]:
        person = next(name for name in mixed().persons if name in prompt)
        relation = next(name for name in mixture.RELATIONS if name in prompt)
        assert value_of.setdefault((person, relation), answer) == answer == mixed().truth[person, relation] + "."
    assert not {prompt for prompt, _ in trained} & {prompt for prompt, _ in asked}
    assert len({prompt for prompt, _ in asked}) <= len(value_of)  # one wording of each


@pytest.mark.parametrize("domain", ["copy", "sums", "random"])
def test_held_out_prompts_are_never_trained_on(domain: str) -> None:
    trained = {prompt for prompt, _ in of_domain(documents(), domain)}
    assert not trained & {prompt for prompt, _ in of_domain(mixed().held_out(domain, 200), domain)}


def test_prose_is_real_text_and_its_held_out_part_is_of_other_speeches() -> None:
    for source, part in ((documents(), "train"), (mixed().held_out("prose", 40), "test")):
        for prompt, answer in of_domain(source, "prose"):
            assert prompt + answer in mixture.speeches(part)


def test_repeated_keys_follow_zipf() -> None:
    counts = Counter(prompt for prompt, _ in of_domain(documents(), "random")).most_common()
    assert counts[0][1] > 5 * counts[20][1]
    assert len(counts) > 50


def test_the_scrambled_twin_has_the_same_prompts_and_answers_that_follow_from_nothing() -> None:
    for domain in EXACT:
        plain, twin = of_domain(documents(), domain), of_domain(documents(True), domain)
        assert [prompt for prompt, _ in plain] == [prompt for prompt, _ in twin]
        same = np.mean([a == b for (_, a), (_, b) in zip(plain, twin, strict=True)])
        assert same < 0.15
    plain, twin = of_domain(documents(), "prose"), of_domain(documents(True), "prose")
    assert all(sorted(a + b) == sorted(c + d) for (a, b), (c, d) in zip(plain, twin, strict=True))
    assert of_domain(documents(), "random") == of_domain(documents(True), "random")


def test_a_mixture_is_its_seed() -> None:
    first, again, other = (Mixture(seed).documents(200).tokens for seed in (SEED, SEED, SEED + 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
