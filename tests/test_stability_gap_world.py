"""The synthetic world of the stability gap: what its sentences say, who speaks of which facts, how texts are mixed."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import torch

from evolm.findings.stability_gap import corpora
from evolm.findings.stability_gap.corpora import Library, Recipe, general_text, medical_text, mixture
from evolm.findings.stability_gap.facts import FOLLOWED, Array, Domain, FactWorld
from evolm.lm.token_data import TokenData, order

SEED, ROWS = 5, 4000
CLEAN, JUNK, WRONG = 0, 1, 2
E, R, V = r"(?P<e>[gm]\d+)", r"(?P<r>[gm]r\d+)", r"(?P<v>[gm]v\d+)"
FORMS = {
    "asked": (f"ask {R} of {E} \\? reply {V} \\.",),
    "general": (
        f"the {R} of {E} is always {V} \\.",
        f"for {E} the {R} was {V} indeed \\.",
        f"{E} shows a {R} which is {V} \\.",
        f"as {R} of {E} we note {V} \\.",
    ),
    "medical": (
        f"exam of {E} revealed {R} tobe {V} \\.",
        f"patient {E} presents {R} graded {V} today \\.",
        f"{R} in {E} , assessed as {V} \\.",
        f"{E} : {R} reading came out {V} \\.",
    ),
}
PATTERNS = [(form, re.compile(pattern)) for form, patterns in FORMS.items() for pattern in patterns]
SUM = re.compile(r"sum n(\d+) plus n(\d+) \? reply n(\d+) \.")
FILLER = re.compile(r"(?P<domain>[gm])w\d+( (?P=domain)w\d+){6} \.")


class Said(NamedTuple):
    """A sentence as a reader without the code understands it: asked, stated in one of two styles, a sum, or filler."""

    form: str
    about: str  # "g" or "m"
    fact: tuple[str, int, int] | None  # domain, entity, relation
    right: bool


@cache
def world(seed: int = SEED) -> FactWorld:
    return FactWorld(seed)


@cache
def library(documents: int = 600, seed: int = 1) -> Library:
    return Library.of(world(), documents, 0.5, seed)


def sentences(tokens: Array | torch.Tensor) -> list[str]:
    """The sentences of rows of tokens, in words."""
    words = world().words
    return [" ".join(words[i] for i in row) for row in np.asarray(tokens).reshape(-1, 8).tolist()]


def read(sentence: str) -> Said:
    """Raises AssertionError where the sentence is of no form."""
    if found := SUM.fullmatch(sentence):
        a, b, c = map(int, found.groups())
        assert max(a, b) < 20
        return Said("sum", "g", None, a + b == c)
    if found := FILLER.fullmatch(sentence):
        return Said("filler", found["domain"], None, True)
    for form, pattern in PATTERNS:
        if found := pattern.fullmatch(sentence):
            domain = found["e"][0]
            assert found["r"][0] == found["v"][0] == domain
            entity, relation, value = int(found["e"][1:]), int(found["r"][2:]), int(found["v"][2:])
            assert value // 16 == relation  # a value of this relation
            name: Domain = "general" if domain == "g" else "medical"
            right = bool(world().truth[name][entity, relation] == value % 16)
            return Said(form, domain, (domain, entity, relation), right)
    raise AssertionError(sentence)


def all_read(tokens: Array | torch.Tensor) -> list[Said]:
    return [read(sentence) for sentence in sentences(tokens)]


@cache
def pretraining() -> list[Said]:
    return all_read(general_text(world(), ROWS, seed=1))


@cache
def later() -> list[Said]:
    return all_read(general_text(world(), ROWS, seed=1, later=True))


def facts(domain: str, name: str) -> set[tuple[str, int, int]]:
    return {(domain, entity, relation) for entity, relation in world().facts[name].tolist()}


def spoken(said: list[Said], *forms: str) -> set[tuple[str, int, int]]:
    return {s.fact for s in said if s.fact and (not forms or s.form in forms)}


def close(count: int, of: int, share: float) -> bool:
    """Within four standard errors of a share."""
    return abs(count / of - share) <= 4 * math.sqrt(share * (1 - share) / of)


# --- vocabulary and facts -------------------------------------------------------------------------------------


def test_every_word_is_one_token_and_the_special_ones_come_first() -> None:
    words = world().words
    assert len(set(words)) == len(words) == world().vocab_size
    assert words[:4] == ["<pad>", "<bos>", "<eos>", "<sep>"]
    assert [world().ids[word] for word in words] == list(range(len(words)))


@pytest.mark.parametrize("seed", [0, SEED, 1000])
def test_the_shares_of_facts_partition_them(seed: int) -> None:
    found = {name: {tuple(row) for row in rows.tolist()} for name, rows in world(seed).facts.items()}
    assert all(len(found[name]) == len(world(seed).facts[name]) for name in found)  # none twice
    general = {(entity, relation) for entity in range(48) for relation in range(4)}
    medical = {(entity, relation) for entity in range(96) for relation in range(4)}
    assert found["general"] == general == found["general kept"] | found["general lost"]
    assert not found["general kept"] & found["general lost"]
    assert found["general kept asked"] == found["general kept"] & found["general asked"]
    assert found["old"] == found["absent"] | found["repeated"]
    assert found["taught"] == found["repeated"] | found["new"]
    assert medical == found["absent"] | found["repeated"] | found["new"]
    sizes = {name: len(rows) for name, rows in found.items()}
    assert (sizes["absent"], sizes["repeated"], sizes["new"], sizes["old"]) == (96, 96, 192, 192)
    assert sizes["general kept"] == sizes["general lost"] == 96
    assert (sizes["general asked"], sizes["general kept asked"]) == (34 * 4, 17 * 4)  # 0.7 of 48 entities
    for name in ("general kept", "general asked"):  # whole entities
        entities = Counter(entity for entity, _ in found[name])
        assert set(entities.values()) == {4}


def test_a_world_is_its_seed() -> None:
    same, other = FactWorld(SEED), FactWorld(SEED + 1)
    for domain in ("general", "medical"):
        np.testing.assert_array_equal(same.truth[domain], world().truth[domain])
        np.testing.assert_array_equal(same.follows[domain], world().follows[domain])
        assert not np.array_equal(other.truth[domain], same.truth[domain])
        assert not np.array_equal(other.follows[domain], same.follows[domain])
    for name in same.facts:
        np.testing.assert_array_equal(same.facts[name], world().facts[name])
    assert not np.array_equal(other.facts["absent"], same.facts["absent"])


def test_values_are_spread_over_all_that_a_relation_has() -> None:
    for truth in world().truth.values():
        assert set(truth.ravel()) == set(range(16))
        assert np.bincount(truth.ravel()).max() < 3 * truth.size / 16  # nothing is gained by one constant answer


# --- sentences ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["general", "medical"])
@pytest.mark.parametrize("of", ["general", "medical"])
def test_statements_are_true_in_either_style_and_every_template_is_used(style: Domain, of: Domain) -> None:
    chosen = world().facts["general lost" if of == "general" else "new"]
    rows = world().stated(style, of, chosen, 900, np.random.default_rng(0))
    assert rows.shape == (900, 8)
    said = all_read(rows)
    assert {(s.form, s.about, s.right) for s in said} == {(style, of[0], True)}
    assert spoken(said) <= {(of[0], entity, relation) for entity, relation in chosen.tolist()}
    used = Counter(next(p for _, p in PATTERNS if p.fullmatch(text)).pattern for text in sentences(rows))
    assert set(used) == set(FORMS[style])
    assert all(close(count, 900, 1 / 4) for count in used.values())


def test_wrong_rows_are_wrong_and_the_others_right() -> None:
    wrong = np.random.default_rng(1).random(800) < 0.5
    rows = world().stated("medical", "medical", world().facts["taught"], 800, np.random.default_rng(0), wrong)
    assert [not s.right for s in all_read(rows)] == wrong.tolist()


def test_answers_and_sums_are_right() -> None:
    rng = np.random.default_rng(0)
    asked = all_read(world().asked("medical", world().facts["old"], 700, rng))
    assert {(s.form, s.about, s.right) for s in asked} == {("asked", "m", True)}
    sums = world().sums(700, rng)
    assert {(s.form, s.right) for s in all_read(sums)} == {("sum", True)}
    assert len(set(sentences(sums))) > 250  # of 400


@pytest.mark.parametrize("domain", ["general", "medical"])
def test_filler_follows_the_chain_and_junk_does_not(domain: Domain) -> None:
    """Each word has six followers, of fixed frequencies; junk draws its words alike from all 80."""
    place = {word: i for i, word in enumerate(world().filler[domain].tolist())}
    rows = world().filled(domain, 2500, np.random.default_rng(2))
    assert (rows[:, -1] == world().ids["."]).all()
    ranks, followers = Counter[int](), defaultdict[int, set[int]](set)
    for row in rows[:, :-1].tolist():
        for before, after in pairwise(row):
            ranks[world().follows[domain][place[before]].tolist().index(place[after])] += 1
            followers[before].add(after)
    total = ranks.total()
    assert [ranks[rank] / total for rank in range(6)] == pytest.approx(list(FOLLOWED), abs=0.02)
    assert max(map(len, followers.values())) == 6
    junk = world().junk(2500, np.random.default_rng(2))
    assert {s.form for s in all_read(junk)} == {"filler"}
    assert {s.about for s in all_read(junk)} == {"m"}
    medical = {word: i for i, word in enumerate(world().filler["medical"].tolist())}
    pairs = [(medical[a], medical[b]) for row in junk[:, :-1].tolist() for a, b in pairwise(row)]
    assert close(sum(b in world().follows["medical"][a] for a, b in pairs), len(pairs), 6 / 80)


# --- probes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("of", "name"), [("medical", "absent"), ("general", "general asked"), ("medical", "new")])
@pytest.mark.parametrize("form", ["asked", "general"])
def test_probes_are_prefixes_of_sentences_with_their_right_ends(of: Domain, name: str, form: str) -> None:
    ask = world().asking if form == "asked" else world().stating
    probe = ask(of, world().facts[name])
    words = world().words
    said = []
    for prompt, answer in zip(probe.prompts.tolist(), probe.answers.tolist(), strict=True):
        said.append(read(" ".join(words[i] for i in [*prompt, answer]) + " ."))
    assert {(s.form, s.about, s.right) for s in said} == {(form, of[0], True)}
    assert [s.fact for s in said] == [(of[0], *row) for row in world().facts[name].tolist()]  # each once
    for (_, relation), answer, kind in zip(
        world().facts[name].tolist(), probe.answers, probe.candidates.tolist(), strict=True
    ):
        assert [words[i] for i in kind] == [f"{of[0]}v{16 * relation + i}" for i in range(16)]
        assert answer in kind


def test_every_addition_is_probed_once() -> None:
    probe, words = world().adding(), world().words
    rows = zip(probe.prompts.tolist(), probe.answers.tolist(), strict=True)
    texts = [" ".join(words[i] for i in [*prompt, answer]) + " ." for prompt, answer in rows]
    assert sorted(texts) == sorted(f"sum n{a} plus n{b} ? reply n{a + b} ." for a in range(20) for b in range(20))
    assert {tuple(row) for row in probe.candidates.tolist()} == {tuple(world().numbers.tolist())}
    assert [words[i] for i in world().numbers] == [f"n{i}" for i in range(39)]
    assert np.isin(probe.answers, probe.candidates[0]).all()


# --- texts ----------------------------------------------------------------------------------------------------

SHARES = {
    ("general", "g"): 0.34, ("asked", "g"): 0.22, ("sum", "g"): 0.12, ("filler", "g"): 0.14,
    ("general", "m"): 0.05, ("asked", "m"): 0.06, ("medical", "m"): 0.04, ("filler", "m"): 0.03,
}  # fmt: skip


@pytest.mark.parametrize("text", [pretraining, later])
def test_general_text_is_true_and_has_the_stated_share_of_every_kind(
    text: Callable[[], list[Said]],
) -> None:
    said = text()
    assert all(s.right for s in said)
    counts = Counter((s.form, s.about) for s in said)
    assert set(counts) == set(SHARES)
    assert [kind for kind, share in SHARES.items() if not close(counts[kind], len(said), share)] == []


def test_pretraining_holds_every_old_fact_and_asks_about_it_and_no_new_one() -> None:
    said = pretraining()
    general, old = facts("g", "general"), facts("m", "old")
    assert spoken(said) == general | old
    assert spoken(said, "asked") == facts("g", "general asked") | old
    assert spoken(said, "general") <= general | old
    assert spoken(said, "medical") <= old


def test_later_general_text_holds_no_fact_that_is_absent_and_no_entity_that_is_lost() -> None:
    said = later()
    kept, repeated = facts("g", "general kept"), facts("m", "repeated")
    assert spoken(said) == kept | repeated
    assert spoken(said, "asked") == facts("g", "general kept asked") | repeated
    assert not spoken(said) & facts("m", "absent")
    lost = {entity for _, entity, _ in facts("g", "general lost")}
    assert not lost & {fact[1] for fact in spoken(said) if fact[0] == "g"}


def test_medical_documents_state_what_is_taught_in_their_own_style_and_never_ask() -> None:
    kinds = np.repeat([CLEAN, JUNK, WRONG], 900)
    tokens = medical_text(world(), kinds, np.random.default_rng(3))
    assert tokens.shape == (2700, 48)
    said = np.array(all_read(tokens), dtype=object).reshape(3, -1, 4)
    clean, junk, wrong = ([Said(*row) for row in part.tolist()] for part in said)
    assert {s.form for s in clean} == {s.form for s in wrong} == {"medical", "filler"}
    assert {s.form for s in junk} == {"filler"}
    assert all(s.about == "m" for s in [*clean, *junk, *wrong])
    assert spoken(clean) == facts("m", "taught")
    assert spoken(wrong) <= facts("m", "taught")
    for part, right in ((clean, True), (wrong, False)):
        stated = [s for s in part if s.form == "medical"]
        assert {s.right for s in stated} == {right}
        assert close(len(stated), len(part), 0.6)
    place = {word: i for i, word in enumerate(world().filler["medical"].tolist())}

    def chained(rows: Array) -> float:
        """Share of neighbours in filler that follow the chain."""
        pairs = [(place[a], place[b]) for row in rows[:, :-1].tolist() for a, b in pairwise(row)]
        return float(np.mean([b in world().follows["medical"][a] for a, b in pairs]))

    fillers = [i for i, s in enumerate(clean) if s.form == "filler"]
    assert chained(tokens[:900].reshape(-1, 8)[fillers]) == 1
    assert chained(tokens[900:1800].reshape(-1, 8)) < 0.1


def test_a_corpus_has_the_stated_shares_of_kinds_and_they_are_what_they_say() -> None:
    books = library(2000)
    counts = Counter(books.kinds.tolist())
    for kind, share in {"clean": 0.5, "junk": 0.35, "wrong": 0.15}.items():
        assert close(counts[kind], 2000, share), kind
    assert counts.total() == 2000 == len(books.tokens) == len(books.nats)
    said = np.array([(s.form == "medical", s.right) for s in all_read(books.tokens)]).reshape(2000, 6, 2)
    for kind, (stated, right) in zip(books.kinds.tolist(), said.transpose(0, 2, 1).tolist(), strict=True):
        assert all(r == (kind != "wrong" or not s) for s, r in zip(stated, right, strict=True))
        assert kind != "junk" or not any(stated)


# --- the filter -----------------------------------------------------------------------------------------------


def kneser_ney(stream: list[int], row: list[int], vocabulary: int) -> list[float]:
    """Nats of each token of a row under an interpolated trigram of the stream, counted in dictionaries."""
    steps = (0.0, 0.75, 1.1, 1.4)
    trigrams = Counter(zip(stream, stream[1:], stream[2:], strict=False))
    bigrams = Counter((b, c) for _, b, c in trigrams)
    bigrams[stream[0], stream[1]] += 1  # what opens the stream follows nothing
    unigrams = Counter((c,) for _, c in bigrams)
    unigrams[(stream[0],)] += 1
    tables: list[dict[tuple[int, ...], dict[int, int]]] = []
    for grams in (unigrams, bigrams, trigrams):
        table: dict[tuple[int, ...], dict[int, int]] = defaultdict(dict)
        for gram, count in grams.items():
            table[tuple(gram[:-1])][gram[-1]] = count
        tables.append(table)
    nats = []
    for place, token in enumerate(row):
        p = 1 / vocabulary
        for length, table in enumerate(tables):
            after = table.get(tuple(row[place - length : place])) if place >= length else None
            if after:
                count = after.get(token, 0)
                freed = sum(steps[min(n, 3)] for n in after.values())
                p = (count - steps[min(count, 3)] + freed * p) / sum(after.values())
        nats.append(-float(np.log(p)))
    return nats


def test_the_filter_is_the_perplexity_of_a_trigram_of_clean_documents_that_the_corpus_lacks() -> None:
    books = library()
    reference = medical_text(world(), np.zeros(corpora.REFERENCE, int), np.random.default_rng([SEED, 1, 3]))
    assert all(s.right and s.form in ("medical", "filler") for s in all_read(reference))
    assert not {tuple(row) for row in reference.tolist()} & {tuple(row) for row in books.tokens.tolist()}
    stream = reference.ravel().tolist()
    by_hand = [np.mean(kneser_ney(stream, row, world().vocab_size)) for row in books.tokens[:12].tolist()]
    np.testing.assert_allclose(books.nats[:12], by_hand, rtol=1e-9)


def test_junk_has_the_higher_perplexity_and_wrong_documents_hide() -> None:
    books = library(2000)
    clean, junk, wrong = (books.nats[books.kinds == kind] for kind in ("clean", "junk", "wrong"))
    assert junk.min() > clean.mean()
    assert (junk[:, None] > clean).mean() > 0.99
    assert 0.5 < (wrong[:, None] > clean).mean() < 0.99  # their words are in order; a filter sees no truth
    best = books.kinds[np.argsort(books.nats)[:500]]
    assert (best == "junk").sum() == 0


def test_quality_ranks_by_perplexity_alone() -> None:
    books = library()
    rng = np.random.default_rng(8)
    relabelled = Library(books.tokens, rng.permutation(books.kinds), books.nats)
    recipe = Recipe(quality=True)
    plain = mixture(world(), books, recipe, 200, 1)
    assert torch.equal(plain.tokens, mixture(world(), relabelled, recipe, 200, 1).tokens)
    lowest = sorted(range(len(books.nats)), key=lambda i: float(books.nats[i]))[:200]
    assert documents_of(plain) == sorted(tuple(books.tokens[i]) for i in lowest)
    turned = Library(books.tokens, books.kinds, -books.nats)
    highest = sorted(range(len(books.nats)), key=lambda i: -float(books.nats[i]))[:200]
    assert documents_of(mixture(world(), turned, recipe, 200, 1)) == sorted(tuple(books.tokens[i]) for i in highest)


# --- mixtures -------------------------------------------------------------------------------------------------


def documents_of(data: TokenData) -> list[tuple[int, ...]]:
    return sorted(tuple(row) for row in data.tokens.tolist())


RECIPES = [
    Recipe(quality=quality, epochs=epochs, general=general)
    for quality in (False, True)
    for epochs in (1, 4, 5)
    for general in (0.0, 0.05, 0.2)
]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_mixture_has_as_many_documents_as_its_passes_need_and_the_replaced_share_is_general(recipe: Recipe) -> None:
    books, rows = library(), 302
    data = mixture(world(), books, recipe, rows, 1)
    documents = {1: 302, 4: 76, 5: 61}[recipe.epochs]
    assert data.tokens.shape == (documents, 48)
    kept = {tuple(row) for row in books.tokens.tolist()}
    replaced = [row for row in data.tokens.tolist() if tuple(row) not in kept]
    assert len(replaced) == round(recipe.general * documents)
    assert len(set(documents_of(data))) == documents  # no document twice
    if replaced:
        said = all_read(np.array(replaced))
        assert {"asked", "sum"} <= {s.form for s in said}
        assert spoken(said) <= facts("g", "general kept") | facts("m", "repeated")
    taught = [s for s in all_read(data.tokens) if s.fact]
    assert not spoken(taught) & (facts("m", "absent") | facts("g", "general lost"))


@pytest.mark.parametrize("epochs", [1, 4, 5])
def test_passes_read_each_document_equally_often(epochs: int) -> None:
    data = mixture(world(), library(), Recipe(epochs=epochs), 300, 1)
    read_ = np.bincount(np.concatenate([order(len(data), 10, step, seed=7) for step in range(30)]), minlength=len(data))
    assert (read_ == epochs).all()
    uneven = mixture(world(), library(), Recipe(epochs=epochs), 310, 1)
    counts = np.bincount(np.concatenate([order(len(uneven), 10, step, seed=7) for step in range(31)]))
    assert set(counts) <= {epochs, epochs - 1}


def test_a_recipe_changes_what_it_names_and_leaves_the_other_documents_alone() -> None:
    plain = mixture(world(), library(), Recipe(), 300, 1).tokens
    few = mixture(world(), library(), Recipe(general=0.05), 300, 1).tokens
    more = mixture(world(), library(), Recipe(general=0.2), 300, 1).tokens
    changed, changed_more = ((plain != other).any(1) for other in (few, more))
    assert (int(changed.sum()), int(changed_more.sum())) == (15, 60)
    assert bool(changed_more[changed].all())
    assert torch.equal(mixture(world(), library(), Recipe(epochs=5), 300, 1).tokens, plain[:60])


def test_random_documents_are_random_in_quality() -> None:
    books = library(2000)
    nats = {tuple(row): nats for row, nats in zip(books.tokens.tolist(), books.nats.tolist(), strict=True)}
    drawn = [nats[row] for row in documents_of(mixture(world(), books, Recipe(), 800, 1))]
    error = books.nats.std() / np.sqrt(800)
    assert np.mean(drawn) == pytest.approx(books.nats.mean(), abs=4 * error)


def test_a_corpus_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="a corpus of 600 documents is too small for 601"):
        mixture(world(), library(), Recipe(), 601, 1)
    assert len(mixture(world(), library(), Recipe(), 600, 1)) == 600
    assert len(mixture(world(), library(), Recipe(epochs=5), 601, 1)) == 121


def test_all_but_the_first_token_of_a_document_bear_loss() -> None:
    data = mixture(world(), library(), Recipe(), 20, 1)
    assert not data.mask[:, 0].any()
    assert data.mask[:, 1:].all()


def test_texts_are_functions_of_world_and_seed() -> None:
    first, again, other = (general_text(world(), 30, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, general_text(world(SEED + 1), 30, 1))
    books, copy = library(), Library.of(FactWorld(SEED), 600, 0.5, 1)
    for name in ("tokens", "kinds", "nats"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(books, name))
    assert not np.array_equal(Library.of(world(), 600, 0.5, 2).tokens, books.tokens)
    recipe = Recipe(general=0.2)
    mixed = mixture(world(), books, recipe, 100, 1)
    assert mixed.hash == mixture(world(), copy, recipe, 100, 1).hash
    assert mixed.hash != mixture(world(), books, recipe, 100, 2).hash


def test_the_corpus_is_left_as_it_was_by_what_is_made_of_it() -> None:
    books = library()
    before = books.tokens.copy()
    mixture(world(), books, Recipe(quality=True, general=0.5), 400, 1)
    np.testing.assert_array_equal(books.tokens, before)
