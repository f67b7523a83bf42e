"""The experiment on real text at a tiny scale, and what came with it: dilution, units, later text, choosing a rate."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from evolm.findings.stability_gap import arms, choose, corpora, experiment, probes
from evolm.findings.stability_gap import text_experiment as text
from evolm.findings.stability_gap.arms import BASELINE, CONFOUNDS, FACTORIAL
from evolm.findings.stability_gap.corpora import Library, Recipe, general_text, mixture
from evolm.findings.stability_gap.facts import Array, FactWorld
from evolm.findings.stability_gap.parameters import StabilityGapParams
from evolm.findings.stability_gap.probes import Bench
from evolm.findings.stability_gap.text_experiment import TEXT_ARMS, TextBench, read_by
from evolm.findings.stability_gap.text_probes import accuracy, marks, model_logprobs
from evolm.findings.stability_gap.text_world import DOMAINS, VOCABULARY, split, text_rows, text_stream
from evolm.lm.architecture import tiny_llama
from evolm.lm.ngram import NGram
from evolm.lm.token_data import TokenData, order
from evolm.lm.train import TrainSettings, train_on_tokens

Tables = dict[str, pd.DataFrame]
Weights = dict[str, torch.Tensor]
SEED, LENGTH = 3, 64
TINY: dict[str, Any] = {
    "seeds": 1, "first_seed": SEED, "width": 16, "layers": 1, "pretrain_steps": 21, "pretrain_batch": 2,
    "steps": 20, "batch": 5, "warmup": 3, "documents": 200,
    "text_seeds": 1, "text_width": 16, "text_layers": 1, "text_pretrain_steps": 3, "text_steps": 20, "text_batch": 2,
    "text_probes": 20,
}  # fmt: skip
#: Measured steps of a run of 20: each later than the last by three tenths.
STEPS = [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 20]


def parameters(**overrides: Any) -> StabilityGapParams:
    return StabilityGapParams(**{**TINY, **overrides})


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "HELD_OUT", 16)
        patch.setattr(text, "_trigram", cache(text._trigram))  # no seed changes them
        yield


class Training(NamedTuple):
    """A call of the training loop: its model, the weights that it began with, and what it was told."""

    model: Any
    begin: Weights
    data: TokenData
    settings: TrainSettings


class Followed(NamedTuple):
    """A run of `run_text`: tables, the base and its weights before any arm, pre-training, and the arms by name."""

    tables: Tables
    base: Any
    weights: Weights
    pretraining: Training
    arms: dict[str, Training]


def weights_of(model: Any) -> Weights:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def keys(rows: torch.Tensor) -> list[bytes]:
    """Each row as something that can be counted."""
    return [row.tobytes() for row in rows.numpy()]


@cache
def rows_of(domain: str, part: Any) -> list[bytes]:
    """All rows of a part, cut from its stream by hand."""
    stream = text_stream(domain, part)
    count = len(stream) // LENGTH
    return keys(torch.from_numpy(stream[: count * LENGTH].reshape(count, LENGTH).copy()))


@cache
def medical_rows() -> tuple[set[bytes], set[bytes]]:
    """The medical rows that pre-training has, and those that come later."""
    rows = rows_of("medical", "train")
    known = set(rows[:: text.KNOWN])
    return known, set(rows) - known


@cache
def tables(seed: int) -> Tables:
    return text.run_text(parameters(), seed, "cpu")


@pytest.fixture(scope="module")
def run() -> Followed:
    calls: list[Training] = []
    kept: list[tuple[Any, Weights]] = []
    pretrained = text.pretrained

    def trained(model: Any, data: TokenData, settings: TrainSettings, **more: Any) -> Iterator[Any]:
        calls.append(Training(model, weights_of(model), data, settings))
        yield from train_on_tokens(model, data, settings, **more)

    def watched(*args: Any) -> Any:
        kept.append((base := pretrained(*args), weights_of(base)))
        return base

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "train_on_tokens", trained)
        patch.setattr(text, "pretrained", watched)
        found = text.run_text(parameters(), SEED, "cpu")
    ((base, weights),) = kept
    return Followed(found, base, weights, calls[0], dict(zip(TEXT_ARMS, calls[1:], strict=True)))


@pytest.fixture(scope="module")
def bench() -> TextBench:
    return TextBench(parameters(), SEED)


# --- tables ---------------------------------------------------------------------------------------------------


def test_a_run_has_three_tables_with_their_columns(run: Followed) -> None:
    assert {name: set(table.columns) for name, table in run.tables.items()} == {
        "text_base": {"text", "reader", "nats", "accuracy", "seed"},
        "text_curve": {"probe", "half", "items", "accuracy", "arm", "step", "seed"},
        "text_losses": {"text", "nats", "arm", "step", "seed"},
    }
    for name, table in run.tables.items():
        assert (table["seed"] == SEED).all(), name
        assert not table.isna().any(axis=None), name
        assert table.index.tolist() == list(range(len(table))), name


def test_every_arm_is_measured_at_the_base_at_the_end_and_between(run: Followed) -> None:
    curve, losses = run.tables["text_curve"], run.tables["text_losses"]
    measured = {(arm, step) for arm in TEXT_ARMS for step in STEPS}
    assert Counter(zip(curve["arm"], curve["step"], curve["probe"], curve["half"], strict=True)) == dict.fromkeys(
        ((*place, domain, half) for place in measured for domain in DOMAINS for half in (0, 1)), 1
    )
    assert Counter(zip(losses["arm"], losses["step"], losses["text"], strict=True)) == dict.fromkeys(
        ((*place, domain) for place in measured for domain in DOMAINS), 1
    )
    assert set(zip(run.tables["text_base"]["text"], run.tables["text_base"]["reader"], strict=True)) == {
        (domain, reader) for domain in DOMAINS for reader in ("trigram", "base")
    }


def test_arms_start_from_one_base_and_leave_it_as_it_was(run: Followed) -> None:
    assert equal(run.weights, weights_of(run.base))
    for name, training in run.arms.items():
        assert training.model is not run.base, name
        assert equal(training.begin, run.weights), name
        assert not equal(weights_of(training.model), run.weights), name
    for table, columns in {"text_curve": ["probe", "half"], "text_losses": ["text"]}.items():
        rows = run.tables[table]
        first = rows[rows["step"] == 0].drop(columns="arm").drop_duplicates()
        assert not first.duplicated(columns).any(), table


def test_first_and_last_rows_measure_the_base_and_the_trained_model(run: Followed, bench: TextBench) -> None:
    for step, models in {0: dict.fromkeys(run.arms, run.base), 20: {n: t.model for n, t in run.arms.items()}}.items():
        for arm, model in models.items():
            for name, expected in (("text_curve", bench.accuracy(model)), ("text_losses", bench.losses(model))):
                table = run.tables[name]
                found = table[(table["arm"] == arm) & (table["step"] == step)][list(expected.columns)]
                pd.testing.assert_frame_equal(found.reset_index(drop=True), expected)


def test_a_run_is_a_function_of_its_seed(run: Followed) -> None:
    for name, table in tables(SEED).items():
        pd.testing.assert_frame_equal(table, run.tables[name])
        assert not table.drop(columns="seed").equals(tables(SEED + 1)[name].drop(columns="seed")), name
    first, other = (tables(seed)["text_losses"] for seed in (SEED, SEED + 1))
    assert (first["nats"] != other["nats"]).all()


# --- what is read ---------------------------------------------------------------------------------------------


def test_pretraining_reads_all_general_rows_and_every_third_medical_row(run: Followed) -> None:
    known, later = medical_rows()
    assert text.KNOWN == 3
    assert len(known) + len(later) == len(rows_of("medical", "train"))  # no row comes twice
    found = Counter(keys(run.pretraining.data.tokens))
    assert found == Counter(rows_of("general", "train")) + Counter(known)
    assert not found.keys() & later
    assert run.pretraining.data.mask[:, 1:].all()


def test_pretraining_starts_from_a_new_model_at_a_rate_of_its_own(run: Followed) -> None:
    config = run.base.config
    assert (config.hidden_size, config.num_hidden_layers) == (16, 1)
    model = tiny_llama(VOCABULARY, 16, 1, 4, config.intermediate_size, context=2 * text.CONTEXT, seed=SEED)
    assert equal(run.pretraining.begin, weights_of(model))
    assert equal(run.weights, weights_of(run.pretraining.model))
    given = run.pretraining.settings
    assert (given.steps, given.lr, given.seed) == (3, parameters().text_pretrain_rate, SEED)


@pytest.mark.parametrize("arm", TEXT_ARMS)
def test_arms_read_their_share_of_medical_rows_and_none_that_pretraining_had(run: Followed, arm: str) -> None:
    known, later = medical_rows()
    general = set(rows_of("general", "train"))
    for data, rows in ((run.arms[arm].data, 40), (read_by(arm, parameters(text_batch=50), SEED), 1000)):
        found = keys(data.tokens)
        medical = sum(row in later for row in found)
        assert medical == {"baseline": rows, "null": 0, "replay": round(0.92 * rows), "low rate": rows}[arm]
        assert sum(row in general for row in found) == len(found) - medical == rows - medical
        assert not set(found) & known
        assert len(set(found)) == rows
        assert data.mask[:, 1:].all()
        assert not data.mask[:, 0].any()


def test_later_rows_are_all_read_once_before_any_is_read_twice() -> None:
    _, later = medical_rows()
    params = parameters(text_batch=400)
    assert 20 * 400 == 8000 > len(later) > 4000
    found = Counter(keys(read_by("baseline", params, SEED).tokens))
    assert found.keys() == later
    assert Counter(found.values()) == {2: 8000 - len(later), 1: 2 * len(later) - 8000}
    mixed = Counter(row for row in keys(read_by("replay", params, SEED).tokens) if row in later)
    assert Counter(mixed.values()) == {2: 7360 - len(later), 1: 2 * len(later) - 7360}
    drawn = text._endless(torch.arange(5)[:, None], 13, np.random.default_rng(0))[:, 0].tolist()
    assert [sorted(drawn[:5]), sorted(drawn[5:10]), len(set(drawn[10:]))] == [list(range(5))] * 2 + [3]
    assert drawn[:5] != drawn[5:10]  # each pass has an order of its own


def test_both_kinds_of_rows_are_spread_over_the_run() -> None:
    general = set(rows_of("general", "train"))
    found = np.array([row in general for row in keys(read_by("replay", parameters(text_batch=100), SEED).tokens)])
    by_quarter = found.reshape(4, -1).sum(1)
    assert by_quarter.sum() == 160
    assert by_quarter.min() > 20  # of 40 that are expected


def test_what_is_read_is_drawn_by_the_seed() -> None:
    for arm in TEXT_ARMS:
        first, again, other = (read_by(arm, parameters(), seed).hash for seed in (SEED, SEED, 9))
        assert first == again != other


def test_training_reads_every_row_of_an_arm_once(run: Followed) -> None:
    for name, training in run.arms.items():
        given = training.settings
        read = [order(len(training.data), given.batch_size, step, given.seed) for step in range(given.steps)]
        assert sorted(np.concatenate(read).tolist()) == list(range(40)), name


def test_nothing_read_shares_its_document_with_what_is_measured(run: Followed, bench: TextBench) -> None:
    """What is read is cut from documents of the training part; probes and held-out rows from those of the test part."""
    train = {row for domain in DOMAINS for row in rows_of(domain, "train")}
    for training in (run.pretraining, *run.arms.values()):
        assert set(keys(training.data.tokens)) <= train
    for domain in DOMAINS:
        tested = {document.id for document in split(domain, "test")}
        assert not tested & {document.id for document in split(domain, "train")}
        assert set(bench.probes[domain].documents) <= tested
        held_out = keys(bench.texts[domain])
        assert len(set(held_out)) == 16
        assert set(held_out) <= set(rows_of(domain, "test"))
        assert not set(held_out) & train


# --- how it is read -------------------------------------------------------------------------------------------


def test_the_low_rate_is_a_tenth_of_the_baselines_on_the_same_data(run: Followed) -> None:
    plain, low = run.arms["baseline"], run.arms["low rate"]
    assert low.data.hash == plain.data.hash
    assert low.settings.lr == pytest.approx(parameters().text_rate / 10)
    for step in range(20):
        assert low.settings.lr_at(step) == pytest.approx(plain.settings.lr_at(step) / 10)
    assert low.settings.model_copy(update={"lr": plain.settings.lr}) == plain.settings


def test_the_other_arms_train_as_the_baseline_does(run: Followed) -> None:
    plain = run.arms["baseline"].settings
    stated = {
        "steps": 20, "batch_size": 2, "lr": parameters().text_rate, "warmup_steps": 3, "schedule": "cosine",
        "final_lr": 0.1, "betas": (0.9, 0.95), "weight_decay": 0.1, "dtype": "bfloat16", "checkpoint_every": 1,
        "seed": SEED,
    }  # fmt: skip
    assert stated.items() <= plain.model_dump().items()
    assert run.arms["null"].settings == run.arms["replay"].settings == plain


# --- how it is measured ---------------------------------------------------------------------------------------


@cache
def sharp() -> Any:
    """A new model with opinions."""
    return tiny_llama(VOCABULARY, 16, 1, heads=4, hidden=43, context=2 * text.CONTEXT, init_std=0.5, seed=1)


@torch.no_grad()
def nats_by_hand(model: Any, rows: torch.Tensor) -> float:
    """Summed over every token but the first of each row, through transformers, and divided once."""
    total = 0.0
    for part in rows.split(100):
        logprobs = model(part[:, :-1]).logits.float().log_softmax(-1)
        total -= float(logprobs.gather(-1, part[:, 1:, None]).double().sum())
    return total / (len(rows) * (rows.shape[1] - 1))


@pytest.mark.parametrize("count", [5, 16, 37])
def test_the_loss_of_the_test_text_weights_every_token_alike(count: int) -> None:
    """37 rows are taken in parts of 16, 16 and 5."""
    data = text_rows("medical", "test", LENGTH)
    few = TokenData(data.tokens[:count], data.mask[:count])
    assert text.held_out_loss(sharp(), few) == pytest.approx(nats_by_hand(sharp(), few.tokens), rel=1e-5)


def test_losses_are_those_of_the_held_out_rows(bench: TextBench) -> None:
    found = bench.losses(sharp()).set_index("text")["nats"]
    assert list(found.index) == list(DOMAINS)
    for domain in DOMAINS:
        assert found[domain] == pytest.approx(nats_by_hand(sharp(), bench.texts[domain]), rel=1e-5)


def test_the_base_stands_beside_it_by_the_same_measures(run: Followed, bench: TextBench) -> None:
    table = run.tables["text_base"].set_index(["text", "reader"])
    test = text_rows("medical", "test", LENGTH)
    assert table.loc[("medical", "base"), "nats"] == pytest.approx(nats_by_hand(run.base, test.tokens), rel=1e-5)
    for domain, drawn in bench.probes.items():
        expected = accuracy(drawn, model_logprobs(drawn, run.base))
        assert table.loc[(domain, "base"), "accuracy"] == expected


def test_the_trigram_is_one_of_all_training_text_fitted_on_validation(run: Followed, bench: TextBench) -> None:
    table = run.tables["text_base"].set_index(["text", "reader"])
    by_hand = NGram.count(text_stream("medical", "train"), VOCABULARY, order=3)
    trigrams = {
        "general": text._trigram("general"),
        "medical": by_hand.fitted(text_rows("medical", "validation", LENGTH).tokens.numpy()),
    }
    assert int(trigrams["general"].orders[-1].counts.sum()) == len(text_stream("general", "train")) - 2
    for domain, trigram in trigrams.items():
        test = text_rows(domain, "test", LENGTH).tokens.numpy()
        expected = trigram.nats_per_token(test)  # of all but the first token of a row
        assert table.loc[(domain, "trigram"), "nats"] == pytest.approx(expected, rel=1e-9)
        drawn = bench.probes[domain]
        assert table.loc[(domain, "trigram"), "accuracy"] == accuracy(drawn, trigram.logprobs(drawn.rows))


@pytest.mark.parametrize("count", [20, 21])
def test_halves_partition_the_probes_in_equal_parts(count: int) -> None:
    bench = TextBench(parameters(text_probes=count), SEED)
    for domain, half in bench.halves.items():
        assert len(half) == len(bench.probes[domain]) == count
        assert sorted(np.bincount(half)) == [count // 2, count - count // 2]
        assert not np.array_equal(half, np.arange(count) % 2)  # drawn
    rows = {(row["probe"], row["half"]): row for row in bench.accuracy(sharp()).to_dict("records")}
    assert len(rows) == 2 * len(DOMAINS)
    for domain, drawn in bench.probes.items():
        right = marks(drawn, model_logprobs(drawn, sharp()))
        for number in (0, 1):
            part = right[bench.halves[domain] == number]
            assert rows[domain, number]["items"] == len(part)
            assert rows[domain, number]["accuracy"] == pytest.approx(part.mean())


# --- diluted --------------------------------------------------------------------------------------------------


@cache
def world() -> FactWorld:
    return FactWorld(SEED)


@cache
def library() -> Library:
    return Library.of(world(), 600, 0.5, SEED)


@cache
def perfect() -> Library:
    """The library under a filter that never errs: all clean documents come first."""
    return replace(library(), nats=(library().kinds != "clean") + library().nats / 1000)


def clean_in(books: Library, tokens: torch.Tensor) -> int:
    clean = {tuple(row) for row in books.tokens[books.kinds == "clean"].tolist()}
    return sum(tuple(row) in clean for row in tokens.tolist())


def strange(tokens: torch.Tensor) -> torch.Tensor:
    """Which rows are no documents of the library."""
    known = {tuple(row) for row in library().tokens.tolist()}
    return torch.tensor([tuple(row) not in known for row in tokens.tolist()])


@pytest.mark.parametrize("rows", [60, 101, 250])
def test_diluting_leaves_as_many_clean_documents_as_a_random_choice_has(rows: int) -> None:
    share = float((library().kinds == "clean").mean())
    tokens = mixture(world(), perfect(), Recipe(quality=True, diluted=True), rows, 1).tokens
    assert clean_in(perfect(), mixture(world(), perfect(), Recipe(quality=True), rows, 1).tokens) == rows
    assert clean_in(perfect(), tokens) == pytest.approx(share * rows, abs=0.5)
    random = np.mean([clean_in(perfect(), mixture(world(), perfect(), Recipe(), rows, s).tokens) for s in range(30)])
    assert clean_in(perfect(), tokens) == pytest.approx(random, abs=0.5 + 4 * np.sqrt(rows / 4 / 30))


def test_so_it_does_on_average_where_the_filter_errs() -> None:
    """The documents that make room are drawn, so that the number of clean ones among them is, too."""
    recipe, rows = Recipe(quality=True, diluted=True), 300
    chosen = clean_in(library(), mixture(world(), library(), replace(recipe, diluted=False), rows, 1).tokens)
    left = [clean_in(library(), mixture(world(), library(), recipe, rows, seed).tokens) for seed in range(30)]
    expected = float((library().kinds == "clean").mean()) * rows
    assert rows > chosen > expected + 50
    assert np.mean(left) == pytest.approx(expected, abs=0.5 + 4 * np.std(left) / np.sqrt(30))


def test_what_dilutes_is_medical_filler_in_its_order_and_the_rest_stays() -> None:
    plain = mixture(world(), perfect(), Recipe(quality=True), 200, 1).tokens
    diluted = mixture(world(), perfect(), Recipe(quality=True, diluted=True), 200, 1).tokens
    assert diluted.shape == plain.shape == (200, 48)
    filled = strange(diluted)
    assert int(filled.sum()) == round((1 - (library().kinds == "clean").mean()) * 200)
    assert torch.equal(diluted[~filled], plain[~filled])
    sentences = diluted[filled].reshape(-1, 8).numpy()
    assert (sentences[:, -1] == world().ids["."]).all()
    place = {word: rank for rank, word in enumerate(world().filler["medical"].tolist())}
    for row in sentences[:, :-1].tolist():
        for before, after in pairwise(row):
            assert place[after] in world().follows["medical"][place[before]]  # filler, where junk has no order
    assert len({tuple(row) for row in sentences.tolist()}) > 0.9 * len(sentences)


@pytest.mark.parametrize(("epochs", "documents"), [(1, 200), (4, 50)])
def test_dilution_goes_with_passes_and_with_general_text(epochs: int, documents: int) -> None:
    recipe = Recipe(quality=True, diluted=True, epochs=epochs, general=0.2)
    tokens = mixture(world(), perfect(), recipe, 200, 1).tokens
    assert tokens.shape == (documents, 48)
    general = {tuple(row) for row in general_text(world(), documents // 5, 1 + 10**6, later=True).tolist()}
    assert sum(tuple(row) in general for row in tokens.tolist()) == documents // 5
    again = mixture(world(), perfect(), recipe, 200, 1).tokens
    assert torch.equal(tokens, again)


@pytest.mark.parametrize("quality", [False, True])
@pytest.mark.parametrize("general", [0.0, 0.2])
def test_what_is_not_diluted_is_what_it_was_before_there_was_dilution(quality: bool, general: float) -> None:
    rng = np.random.default_rng([SEED, 1, 4])
    ranked = np.argsort(library().nats, kind="stable") if quality else rng.permutation(600)
    expected = library().tokens[ranked[:200]]
    places = rng.permutation(200)[: round(general * 200)]
    expected[places] = general_text(world(), len(places), 1 + 10**6, later=True)
    found = mixture(world(), library(), Recipe(quality=quality, general=general), 200, 1).tokens
    np.testing.assert_array_equal(found.numpy(), expected)


def test_where_the_choice_is_no_better_than_the_corpus_nothing_is_diluted() -> None:
    whole = mixture(world(), library(), Recipe(quality=True), 600, 1).tokens
    assert torch.equal(mixture(world(), library(), Recipe(quality=True, diluted=True), 600, 1).tokens, whole)


def test_the_corpus_is_left_as_it_was_by_dilution() -> None:
    before = library().tokens.copy()
    mixture(world(), library(), Recipe(quality=True, diluted=True), 300, 1)
    np.testing.assert_array_equal(library().tokens, before)


def test_the_diluted_arm_is_the_quality_arm_with_filler() -> None:
    arm = CONFOUNDS["quality, diluted"]
    assert replace(arm, diluted=False) == FACTORIAL["quality"]
    assert [name for name, other in {**arms.CORE, **FACTORIAL, **CONFOUNDS}.items() if other.diluted] == [
        "quality, diluted"
    ]
    assert arms.settings_of(arm, parameters(), 20, 7) == arms.settings_of(BASELINE, parameters(), 20, 7)
    recipe = Recipe(quality=True, diluted=True, general=parameters().residual)
    found = arms.data_of(arm, parameters(), world(), library(), 300, SEED)
    assert found.hash == mixture(world(), library(), recipe, 300, SEED).hash
    undiluted = arms.data_of(FACTORIAL["quality"], parameters(), world(), library(), 300, SEED).tokens
    assert clean_in(library(), undiluted) > clean_in(library(), found.tokens) + 40


# --- units ----------------------------------------------------------------------------------------------------


def test_units_are_seeds_of_two_worlds() -> None:
    found = experiment.units(parameters(seeds=3, text_seeds=2), "cpu")
    assert [unit.name for unit in found] == [f"facts.seed={s}" for s in (3, 4, 5)] + [f"text.seed={s}" for s in (3, 4)]
    assert [unit.arguments for unit in found] == [
        *({"world": "facts", "seed": seed} for seed in (3, 4, 5)),
        *({"world": "text", "seed": seed} for seed in (3, 4)),
    ]
    assert all(unit.cost > 0 for unit in found)
    assert {unit.arguments["world"] for unit in experiment.units(parameters(text_seeds=0), "cpu")} == {"facts"}


def test_each_world_costs_what_its_own_parameters_say() -> None:
    def costs(**overrides: Any) -> list[float]:
        return [unit.cost for unit in experiment.units(parameters(**overrides), "cpu")]

    facts, real = costs()
    for longer in ({"text_steps": 40}, {"text_pretrain_steps": 100}):
        assert (costs(**longer)[0] == facts) & (costs(**longer)[1] > real)
    for longer in ({"steps": 40}, {"pretrain_steps": 100}):
        assert (costs(**longer)[0] > facts) & (costs(**longer)[1] == real)


def test_a_unit_runs_in_its_own_world(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    answer: Tables = {"text_base": pd.DataFrame()}

    def run_text(*args: Any) -> Tables:
        asked.append(args)
        return answer

    def facts(seed: int) -> None:
        raise LookupError(f"the facts of {seed}")

    monkeypatch.setattr(experiment, "run_text", run_text)
    monkeypatch.setattr(experiment, "FactWorld", facts)
    params = parameters()
    synthetic, real = experiment.units(params, "cpu")
    assert experiment.run_unit(params, real, "cpu") is answer
    assert asked == [(params, SEED, "cpu")]
    with pytest.raises(LookupError, match=f"the facts of {SEED}"):
        experiment.run_unit(params, synthetic, "cpu")
    assert len(asked) == 1


# --- held-out text of the synthetic world ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def facts_bench() -> Bench:
    """As many held-out rows as show what is not in them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "HELD_OUT", 300)
        return Bench(world(), SEED)


@cache
def sharp_on_facts() -> Any:
    return tiny_llama(world().vocab_size, 16, 1, 4, hidden=43, init_std=0.5, seed=1)


def spoken(tokens: Array | torch.Tensor) -> set[tuple[str, int, int]]:
    """(domain's letter, entity, relation) of every sentence that names an entity, asked or stated."""
    found = set()
    for row in np.asarray(tokens).reshape(-1, 8).tolist():
        sentence = " ".join(world().words[word] for word in row)
        if entity := re.search(r"\b([gm])(\d+)\b", sentence):
            relation = re.search(rf"\b{entity[1]}r(\d+)\b", sentence)
            assert relation, sentence
            found.add((entity[1], int(entity[2]), int(relation[1])))
    return found


def test_held_out_text_is_of_three_kinds_and_the_later_one_lacks_what_is_never_read_again(facts_bench: Bench) -> None:
    texts = facts_bench.texts
    assert list(texts) == ["general", "medical", "general, later"]
    gone = {("m", *fact) for fact in world().facts["absent"].tolist()}
    gone |= {("g", *fact) for fact in world().facts["general lost"].tolist()}
    assert len(spoken(texts["general"]) & gone) > 150  # of 192: the check can see them
    said = spoken(texts["general, later"])
    assert not said & gone
    assert len(said) > 150
    rows = [set(keys(texts[name])) for name in texts]
    assert len(set.union(*rows)) == 900
    read = {
        row for part in (10**6, 3 * 10**6) for row in keys(torch.from_numpy(general_text(world(), 300, SEED + part)))
    }
    read |= set(keys(torch.from_numpy(general_text(world(), 300, SEED + 10**6, later=True))))
    assert not set.union(*rows) & read


def test_losses_are_those_of_all_three_texts(facts_bench: Bench) -> None:
    found = facts_bench.losses(sharp_on_facts())
    assert list(found.columns) == ["text", "nats"]
    assert found["text"].tolist() == ["general", "medical", "general, later"]
    for name, nats in zip(found["text"], found["nats"], strict=True):
        assert nats == pytest.approx(nats_by_hand(sharp_on_facts(), facts_bench.texts[name]), rel=1e-5), name


def test_gradients_are_of_general_and_medical_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "HELD_OUT", 6)
    bench = Bench(world(), SEED)
    before = bench.gradients(sharp_on_facts())
    later = bench.texts.pop("general, later")
    pd.testing.assert_frame_equal(bench.gradients(sharp_on_facts()), before)
    bench.texts["general"] = later
    after = bench.gradients(sharp_on_facts())
    assert after["plasticity"][0] == before["plasticity"][0]
    assert after["stability"][0] != before["stability"][0]


# --- choosing a rate ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1000, 1007])
def test_rates_are_never_chosen_on_report_seeds(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(choose, "pretrained", None)  # refused before anything is trained
    monkeypatch.setattr(text, "pretrained", None)
    for tried in (choose.trials, choose.text_trials):
        with pytest.raises(ValueError, match=f"seed {seed} is a report seed; rates are chosen on seeds below 1000"):
            tried(seed)
    assert max(choose.SEEDS) < 1000


def test_trials_are_of_every_rate_arm_and_set_of_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "StabilityGapParams", parameters)
    monkeypatch.setattr(choose, "RATES", (1e-4, 3e-2))
    monkeypatch.setattr(choose, "ARMS", ("baseline", "null"))
    monkeypatch.setattr(corpora, "REFERENCE", 60)
    peaks: list[float] = []

    def trained(model: Any, data: TokenData, settings: TrainSettings, **more: Any) -> Iterator[Any]:
        peaks.append(settings.lr)
        return train_on_tokens(model, data, settings, **more)

    monkeypatch.setattr(arms, "train_on_tokens", trained)
    found = choose.trials(SEED)
    assert peaks == [1e-4, 1e-4, 3e-2, 3e-2]
    assert list(found.columns) == ["rate", "arm", "probes", "seed", "depth", "recovery", "lost", "step", "end"]
    expected = {(r, a, p) for r in (1e-4, 3e-2) for a in ("baseline", "null") for p in ("task", "unseen", "general")}
    assert Counter(zip(found["rate"], found["arm"], found["probes"], strict=True)) == dict.fromkeys(expected, 1)
    assert set(found["seed"]) == {SEED}
    assert choose.chosen(found) in (1e-4, 3e-2)


def test_the_chosen_rate_has_the_highest_mean_end_of_the_arm_on_the_task() -> None:
    ends = {
        # arm and probes -> rate -> ends of two seeds
        ("baseline", "task"): {1e-3: (0.5, 0.5), 2e-3: (0.6, 0.6), 4e-3: (0.9, 0.2)},
        ("baseline", "general"): {1e-3: (0.9, 0.9), 2e-3: (0.1, 0.1), 4e-3: (0.1, 0.1)},
        ("all", "task"): {1e-3: (0.1, 0.1), 2e-3: (0.9, 0.9), 4e-3: (0.95, 0.95)},
    }
    table = pd.DataFrame(
        {"arm": arm, "probes": name, "rate": rate, "seed": seed, "end": end, "depth": 1 - end}
        for (arm, name), rates in ends.items()
        for rate, values in rates.items()
        for seed, end in enumerate(values)
    ).sample(frac=1, random_state=0)
    assert choose.chosen(table) == 2e-3
    assert choose.chosen(table, "all") == 4e-3
