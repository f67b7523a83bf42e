"""The experiment of the chapter on grokking pathways at a tiny scale: arms, what is measured, tables, resuming."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from evolm.findings.grokking_pathways import arms, choose, experiment, measure, metrics, text_experiment
from evolm.findings.grokking_pathways.arms import ARMS, CORE, PAIR, shape_of
from evolm.findings.grokking_pathways.metrics import ALL, ANSWER, NO_RULE, TOP, Routing, group_metrics
from evolm.findings.grokking_pathways.mixture import DOMAINS, Mixture
from evolm.findings.grokking_pathways.model import tiny_olmoe
from evolm.findings.grokking_pathways.parameters import PRESETS, GrokkingPathwaysParams
from evolm.findings.grokking_pathways.prefixes import Tree
from evolm.findings.grokking_pathways.schedule import EARLY, measured_steps
from evolm.findings.grokking_pathways.tables import World, hidden_classes
from evolm.lm.token_data import order

Tables = dict[str, pd.DataFrame]
SEED, STEPS = 3, 20
TINY: dict[str, Any] = {
    "seeds": 1, "first_seed": SEED, "symbols": 16, "classes": (3, 5), "fraction": 0.4, "random_fraction": 0.4,
    "width": 16, "hidden": 4, "steps": STEPS, "checkpoints": 10, "batch": 32, "groups": ("core", "controls"),
    "text_seeds": 1, "text_steps": 40, "text_checkpoints": 10, "text_batch": 8, "text_width": 16,
}  # fmt: skip


def parameters(**overrides: Any) -> GrokkingPathwaysParams:
    return GrokkingPathwaysParams(**{**TINY, **overrides})


def few(steps: int, checkpoints: int) -> list[int]:
    """Where these tests measure: the start, the middle and the end."""
    return [0, steps // 2, steps]


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (arms, text_experiment):
            patch.setattr(module, "measured_steps", few)
        patch.setattr(measure, "SAMPLES", 20)
        patch.setattr(measure, "HELD_OUT", 30)
        patch.setattr(text_experiment, "FOLLOWED", 12)
        patch.setattr(text_experiment, "HELD_OUT", 6)
        yield


@cache
def world() -> World:
    return hidden_classes((3, 5), 16, 0.4, 0.4, seed=SEED)


@cache
def ran() -> dict[str, Tables]:
    params = parameters()
    return {unit.name: experiment.run_unit(params, unit, "cpu") for unit in experiment.units(params, "cpu")}


# --- parameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"groups": ("controls",)}, "lacks 'core'"),
        ({"classes": (4, 4)}, "must be different numbers"),
        ({"classes": (4, 50)}, "must be different numbers"),
        ({"active": 9}, "more than experts"),
        ({"experts": 2, "active": 2}, "leaves no choice"),
        ({"width": 20}, "no multiple of 8"),
        ({"fraction": 0.05}, "training pairs"),
        ({"scales": ("wide",)}, "give both or neither"),
        ({"scale_seeds": 2}, "give both or neither"),
        ({"steps": STEPS, "checkpoints": 41}, "no room for"),
        ({"modular_seeds": 1, "p": 91}, "no prime"),
        ({"layers": 2}, "greater than or equal to 3"),
        ({"text_passes": 2.0}, "less than or equal to 1.3"),
        ({"thresholds": (1.0,)}, "less than 1"),
    ],
)
def test_parameters_without_sense_are_refused_before_anything_runs(overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        parameters(**overrides)


def test_presets_resolve_and_hold_what_is_promised() -> None:
    found = {name: GrokkingPathwaysParams(**preset.overrides) for name, preset in PRESETS.items()}
    assert found["smoke"].text_seeds >= 1  # both arms
    assert found["cpu"].seeds >= 5
    assert min(found["gpu"].seeds, found["gpu"].text_seeds, found["gpu"].scale_seeds) >= 5
    assert {"core", "intervention"} <= set(found["gpu"].groups)
    assert found["paper"].modular_seeds >= 5
    assert found["paper"].p in (97, 113)
    assert set(found["paper"].groups) == set(ARMS)
    assert all(params.first_seed >= 1000 for params in found.values())
    assert all(params.thresholds[0] == 0.7 for params in found.values())


# --- arms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "checkpoints"), [(1000, 32), (400, 20), (41, 10), (10_000, 40)])
def test_measured_steps_are_even_after_the_early_ones(steps: int, checkpoints: int) -> None:
    found = measured_steps(steps, checkpoints)
    assert found[0] == 0
    assert found[-1] == steps
    assert len(found) == checkpoints + 1 + EARLY
    gaps = [b - a for a, b in pairwise(found)]
    late = gaps[2 * EARLY :]
    assert max(late) - min(late) <= 1
    assert max(gaps[: 2 * EARLY]) <= steps / checkpoints / 2 + 1


def test_labels_of_scrambled_arms_are_the_twins_and_all_others_the_worlds() -> None:
    every = {name: arm for group in ARMS.values() for name, arm in group.items()}
    labels = arms.labels_of(every, world(), SEED).numpy()
    for row, (name, arm) in zip(labels, every.items(), strict=True):
        assert np.array_equal(row, world().labels) == (not arm.scrambled), name
        assert arm.scrambled == ("scrambled" in name)
        if arm.scrambled:
            np.testing.assert_array_equal(row, world().scrambled(SEED).labels)


def test_arms_of_a_seed_start_alike_and_learning_rate_is_constant_after_warming_up() -> None:
    rates: list[float] = []
    shape = shape_of(parameters(), world())
    with pytest.MonkeyPatch.context() as patch:
        step = arms.Program.step
        patch.setattr(arms.Program, "step", lambda self, t, y, lr, p: (rates.append(lr), step(self, t, y, lr, p))[1])
        run = arms.followed(CORE, world(), shape, SEED, steps=STEPS, checkpoints=10, batch=16, rate=0.02, decay=1.0)
        first = next(run)
        assert first.step == 0
        for weight in first.program.weights.values():
            assert torch.equal(weight[0], weight[1])
            assert torch.equal(weight[0], weight[2])
        assert [checkpoint.step for checkpoint in run] == few(STEPS, 10)[1:]
    assert rates == pytest.approx([0.002 * (i + 1) for i in range(9)] + [0.02] * 11)


def test_updates_read_training_pairs_alone() -> None:
    seen: list[torch.Tensor] = []
    shape = shape_of(parameters(), world())
    with pytest.MonkeyPatch.context() as patch:
        of = Tree.of.__func__  # type: ignore[attr-defined]
        patch.setattr(
            arms.Tree, "of", classmethod(lambda cls, rows, device: (seen.append(rows), of(cls, rows, device))[1])
        )
        list(arms.followed(PAIR, world(), shape, SEED, steps=20, checkpoints=10, batch=16, rate=0.01, decay=0.0))
    trained = {tuple(row) for row in world().sequences[world().train].tolist()}
    assert len(seen) == 20
    assert all(tuple(row) in trained for rows in seen for row in rows.tolist())
    first_epoch = np.concatenate(seen)[: len(trained)]
    assert len(np.unique(first_epoch, axis=0)) == len(first_epoch)  # none twice before all were seen


@pytest.mark.parametrize(
    ("scale", "sizes"),
    [
        ("narrow", (32, 3, 8, 2, 16)),
        ("wide", (128, 3, 8, 2, 32)),
        ("many experts", (64, 3, 32, 4, 8)),
        ("deep", (64, 6, 8, 2, 16)),
    ],
)
def test_scales_change_what_their_name_says(scale: str, sizes: tuple[int, ...]) -> None:
    shape = shape_of(GrokkingPathwaysParams(), world(), scale)
    assert (shape.width, shape.layers, shape.experts, shape.active, shape.hidden) == sizes


# --- metrics on planted pathways ------------------------------------------------------------------------------


def planted(experts: list[list[int]], count: int = 4, sharp: float = 0.9) -> torch.Tensor:
    """Weights (sample, layer, expert): one heavy expert for each sample and layer."""
    found = torch.full((len(experts), len(experts[0]), count), (1 - sharp) / (count - 1), dtype=torch.float64)
    for sample, layers in enumerate(experts):
        for layer, expert in enumerate(layers):
            found[sample, layer, expert] = sharp
    return found


def value(found: metrics.Metrics, quantity: str, tokens: str = ANSWER, rule: str = NO_RULE) -> float:
    rows = found.quantities.query("quantity == @quantity and tokens == @tokens and rule == @rule")
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


def measured(answer: torch.Tensor, everywhere: torch.Tensor | None = None, **options: Any) -> metrics.Metrics:
    router = torch.eye(answer.shape[-1], dtype=torch.float64).expand(answer.shape[1], -1, -1)
    routing = Routing(
        answer, answer if everywhere is None else everywhere, router, torch.ones(len(answer), answer.shape[1], 2)
    )
    return group_metrics(routing, options.get("active", 1), options.get("thresholds", (0.7,)), np.random.default_rng(0))


def test_distance_counts_the_layers_in_which_two_samples_differ() -> None:
    # pairs differ in 1, 3 and 2 of 3 layers
    found = measured(planted([[0, 1, 2], [0, 1, 3], [3, 0, 2]]))
    differ = [1, 2, 3]
    for rule in ("0.7", TOP):
        assert value(found, "distance, indices", rule=rule) == pytest.approx(np.mean(differ))
        assert value(found, "distance", rule=rule) == pytest.approx(np.mean(differ) / 3)
        assert value(found, "length", rule=rule) == 3
        assert value(found, "distinct", rule=rule) == 1
    by_layer = found.layers.query("quantity == 'distance' and tokens == 'answer'").set_index("layer")["value"]
    assert by_layer.tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3])


def test_equal_pathways_have_no_distance_whatever_their_experts() -> None:
    found = measured(planted([[2, 0, 1]] * 5))
    assert value(found, "distance", rule="0.7") == value(found, "distance, characters", rule="0.7") == 0
    assert value(found, "distinct", rule="0.7") == pytest.approx(0.2)
    assert value(found, "distance, shuffled", rule="0.7") > 0.5  # renamed sample by sample, nothing is shared


def test_a_lower_threshold_never_lengthens_a_pathway() -> None:
    answer = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(6), (30, 3)))
    found = measured(answer, thresholds=(0.7, 0.5, 0.8))
    lengths = [value(found, "length", rule=rule) for rule in ("0.5", "0.7", "0.8")]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_answer_and_all_tokens_are_told_apart() -> None:
    same, apart = planted([[0, 0, 0]] * 3), planted([[0, 0, 0], [1, 1, 1], [2, 2, 2]])
    found = measured(same, apart)
    assert value(found, "distance", ANSWER, "0.7") == 0
    assert value(found, "distance", ALL, "0.7") == 1


def test_cosines_are_of_neighbouring_layers_and_c_is_the_papers() -> None:
    turns = planted([[0, 0, 1]] * 3, count=3, sharp=1.0)  # cosines 1 and 0
    found = measured(turns)
    assert value(found, "cosine") == pytest.approx(0.5)
    assert value(found, "S") == pytest.approx(0.5)
    assert value(found, "C") == pytest.approx(0.5)
    assert value(found, "cosine, outputs") == pytest.approx(1)
    by_layer = found.layers.query("quantity == 'cosine' and tokens == 'answer'")["value"]
    assert by_layer.tolist() == pytest.approx([1, 0], abs=1e-12)


def test_entropy_is_that_of_the_weights() -> None:
    assert value(measured(torch.full((4, 3, 5), 0.2)), "entropy") == pytest.approx(np.log(5))


def test_a_dense_model_has_outputs_alone() -> None:
    routing = Routing(torch.ones(4, 3, 1), torch.ones(4, 3, 1), torch.ones(3, 1, 2), torch.randn(4, 3, 2))
    found = group_metrics(routing, 1, (0.7,), np.random.default_rng(0))
    assert found.quantities["quantity"].tolist() == ["cosine, outputs"]
    assert found.layers.empty


# --- dates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "date"),
    [
        ("1111111111", 1), ("0001111111", 8), ("0100011111", 32), ("0000000000", 512), ("0000000001", 512),
        ("0111111111", 1), ("0101111111", 8), ("0111111110", 512), ("1111101111", 1),
    ],
)  # fmt: skip
def test_a_sample_is_mastered_from_where_nine_of_ten_answers_are_right(right: str, date: int) -> None:
    steps = np.array([0, 1, 2, 8, 16, 32, 64, 128, 256, 512])
    correct = np.array([[character == "1"] for character in right])
    assert 2 ** float(measure.mastered(steps, correct)[0]) == pytest.approx(date)


def test_dates_are_those_of_a_slow_reading() -> None:
    rng = np.random.default_rng(0)
    steps = np.array([0, 3, 6, 12, 20, 30, 40, 50])
    correct = rng.random((8, 2, 40)) < np.linspace(0.2, 1.0, 8)[:, None, None]
    found = measure.mastered(steps, correct)
    for replica, sample in np.ndindex(2, 40):
        series = correct[:, replica, sample]
        first = next((i for i in range(8) if series[i] and series[i:].mean() >= 0.9), 7)
        assert found[replica, sample] == pytest.approx(np.log2(max(3, steps[first])))


# --- tables ---------------------------------------------------------------------------------------------------


def test_units_are_one_per_seed_and_world_with_names_of_their_own() -> None:
    params = parameters(
        seeds=2, modular_seeds=1, scales=("wide", "many experts"), scale_seeds=2, groups=("core", "controls", "balance")
    )
    names = [unit.name for unit in experiment.units(params, "cpu")]
    assert len(set(names)) == len(names)
    assert names.count("modular.seed=3") == names.count("text.seed=3") == 1
    assert {name for name in names if "many" in name} == {"tables-many-experts.seed=3", "tables-many-experts.seed=4"}
    assert len([name for name in names if name.startswith("tables-dense")]) == 2
    assert all(unit.cost > 0 for unit in experiment.units(params, "cpu"))
    assert not any("dense" in unit.name for unit in experiment.units(parameters(groups=("core",)), "cpu"))


def test_tables_have_a_row_per_seed_arm_group_and_measured_step() -> None:
    tables = ran()[f"tables.seed={SEED}"]
    steps, groups = few(STEPS, 10), ("k3", "k5", "random")
    sparse = ("trained", "scrambled", "frozen router", "no decay")
    assert set(tables) == {"curve", "pathways", "layers", "cells", "training", "routes"}
    curve = tables["curve"]
    assert len(curve) == len(sparse) * len(steps) * len(groups)
    assert not curve.duplicated(["world", "seed", "arm", "group", "step"]).any()
    assert set(curve["arm"]) == set(sparse)
    assert sorted(curve["step"].unique()) == steps
    assert curve.filter(like="accuracy").stack().between(0, 1).all()
    keys = ["world", "seed", "arm", "group", "step", "quantity", "tokens", "rule"]
    assert not tables["pathways"].duplicated(keys).any()
    assert (tables["pathways"].groupby(keys[:5]).size().nunique()) == 1
    assert set(tables["routes"]["arm"]) == {"trained"}
    for frame in tables.values():
        assert set(frame["world"]) == {"tables"}
        assert set(frame["seed"]) == {SEED}
        defined = frame if "quantity" not in frame else frame[~frame["quantity"].isin(["C", "S"])]
        late = defined[defined["step"] > 0] if "step" in defined else defined
        assert np.isfinite(late.select_dtypes("number").to_numpy(float)).all()


def test_the_dense_unit_has_outputs_alone_and_shares_its_world() -> None:
    dense, sparse = ran()[f"tables-dense.seed={SEED}"], ran()[f"tables.seed={SEED}"]
    assert set(dense["pathways"]["quantity"]) == {"cosine, outputs"}
    assert set(dense["curve"]["arm"]) == {"dense"}
    assert len(dense["cells"]) * 4 == len(sparse["cells"])


def test_accuracy_and_cells_are_what_the_librarys_model_does() -> None:
    params = parameters()
    bench_world, shape = world(), shape_of(params, world())
    labels = arms.labels_of(PAIR, bench_world, SEED)
    bench = measure.Bench(bench_world, dict(PAIR), labels, SEED, (0.7,))
    for checkpoint in arms.followed(
        PAIR, bench_world, shape, SEED, steps=STEPS, checkpoints=10, batch=64, rate=0.02, decay=0.1
    ):
        bench.measure(checkpoint)
        models = [checkpoint.program.to_olmoe(replica) for replica in range(2)]
    curve = bench.tables()["curve"]
    for arm, model, answers in zip(PAIR, models, labels, strict=True):
        logits = model(torch.from_numpy(bench_world.sequences)).logits[:, -1]
        right = (logits.argmax(-1) == answers).numpy()
        for group in bench_world.groups:
            for column, half in (("dating_accuracy", 0), ("train_accuracy", 1)):
                chosen = bench_world.of(group) & bench_world.train & (bench_world.half == half)
                found = curve[(curve["arm"] == arm) & (curve["group"] == group) & (curve["step"] == STEPS)][column]
                assert float(found.iloc[0]) == pytest.approx(right[chosen].mean(), abs=0.03)


def test_the_same_seed_gives_the_same_tables_to_the_bit_and_another_one_others() -> None:
    params = parameters()
    for unit in experiment.units(params, "cpu"):
        for name, frame in experiment.run_unit(params, unit, "cpu").items():
            pd.testing.assert_frame_equal(frame, ran()[unit.name][name], check_exact=True)
    (unit,) = experiment.units(other := parameters(groups=("core",), first_seed=SEED + 1, text_seeds=0), "cpu")
    curve = experiment.run_unit(other, unit, "cpu")["curve"].query("step > 0")
    same = curve.merge(ran()[f"tables.seed={SEED}"]["curve"], on=["arm", "group", "step"])
    assert len(same) == len(curve)
    assert not np.isclose(same["train_nats_x"], same["train_nats_y"]).any()


def test_modular_arithmetic_and_other_scales_run_and_name_their_world() -> None:
    params = parameters(
        text_seeds=0, groups=("core",), modular_seeds=1, p=11, modular_steps=STEPS, modular_batch=16, modular_width=16,
        scales=("deep",), scale_seeds=1,
    )  # fmt: skip
    found = {unit.name: experiment.run_unit(params, unit, "cpu") for unit in experiment.units(params, "cpu")}
    assert set(found[f"modular.seed={SEED}"]["curve"]["world"]) == {"modular"}
    assert set(found[f"tables-deep.seed={SEED}"]["curve"]["world"]) == {"tables, deep"}
    assert found[f"tables-deep.seed={SEED}"]["layers"].query("quantity == 'distance'")["layer"].max() == 5
    assert set(found[f"tables-deep.seed={SEED}"]["curve"]["arm"]) == {"trained", "scrambled"}


# --- arm B ----------------------------------------------------------------------------------------------------


def test_the_mixture_is_measured_by_domain_in_both_arms() -> None:
    tables = ran()[f"text.seed={SEED}"]
    assert set(tables) == {"curve", "training", "pathways", "layers"}
    assert set(tables["curve"]["arm"]) == {"trained", "scrambled"}
    assert set(tables["curve"]["group"]) == set(DOMAINS)
    assert len(tables["curve"]) == 2 * len(few(40, 10)) * len(DOMAINS)
    for frame in tables.values():
        assert set(frame["world"]) == {"text"}


def test_one_pass_reads_every_document_once_and_a_little_more_reads_few_again() -> None:
    for passes, most in ((1.0, 1), (1.3, 2)):
        params = parameters(text_passes=passes, text_steps=65, text_batch=16)
        count = round(params.text_steps * params.text_batch / passes)
        rows = np.concatenate([text_experiment.order_of(count, params, step, SEED) for step in range(65)])
        read = np.bincount(rows, minlength=count)
        assert read.max() <= most + 1
        assert (read >= 1).mean() > 0.98
        assert len(rows) / count == pytest.approx(passes, rel=0.01)


def test_followed_documents_are_read_early() -> None:
    documents = Mixture(SEED).documents(1500)
    early = text_experiment.early(documents)
    rows = {tuple(row) for row in documents.tokens[: len(documents.tokens) // 3].tolist()}
    for domain, found in early.items():
        assert set(found.domain) == {DOMAINS.index(domain)}
        assert len(found.tokens) == 12
        assert all(tuple(row) in rows for row in found.tokens.tolist())


def test_a_probe_is_right_where_every_character_of_the_answer_is_the_likeliest() -> None:
    mixture = Mixture(SEED)
    model = tiny_olmoe(text_experiment.text_shape(parameters(), mixture), seed=0)
    documents = mixture.held_out("facts", 8)
    found = text_experiment.probed(model, documents)
    logits = model(torch.from_numpy(documents.tokens)).logits
    for row in range(8):
        at = np.flatnonzero(documents.answer[row])
        guesses = logits[row, at - 1].argmax(-1).numpy()
        assert found.correct[row] == (guesses == documents.tokens[row, at]).all()
        nats = torch.nn.functional.cross_entropy(logits[row, at - 1], torch.from_numpy(documents.tokens[row, at]))
        assert found.nats[row] == pytest.approx(float(nats.detach()), rel=1e-4)
    assert found.weights.shape == (8, 48, 3, 8)
    torch.testing.assert_close(found.weights.sum(-1), torch.ones(8, 48, 3))


# --- choices --------------------------------------------------------------------------------------------------


def test_report_seeds_choose_nothing() -> None:
    with pytest.raises(ValueError, match="report seed"):
        choose.trials(1000)
    with pytest.raises(ValueError, match="report seed"):
        choose.penalty_trials(1000, 1e-3, 1.0)


def test_the_highest_gain_is_chosen_of_settings_that_keep_what_they_memorise() -> None:
    rows = ((1e-3, 1.0, 0.1, 0.99), (2e-3, 1.0, 0.3, 0.96), (2e-3, 2.0, 0.2, 1.0), (4e-3, 2.0, 0.5, 0.9))
    table = pd.DataFrame(
        [("optimiser", rate, decay, seed, gain, held) for rate, decay, gain, held in rows for seed in (5, 6)],
        columns=["choice", "rate", "decay", "seed", "gain", "held"],
    )
    assert choose.chosen(table) == (2e-3, 1.0)
    with pytest.raises(ValueError, match="no setting keeps every group memorised"):
        choose.chosen(table[table["held"] < 0.95])


def test_the_best_penalty_is_chosen_and_the_other_one_that_leaves_as_much_dispersion() -> None:
    penalties = pd.DataFrame(
        [
            ("penalised", 0.1, 0.5, 0.8), ("penalised", 1.0, 0.6, 0.4), ("norm penalised", 0.01, 0.9, 0.7),
            ("norm penalised", 0.1, 0.2, 0.45), ("trained", 0.0, 0.7, 0.4),
        ],
        columns=["choice", "strength", "over_run", "dispersion"],
    )  # fmt: skip
    assert choose.chosen_penalties(penalties) == (1.0, 0.1)


def test_every_setting_is_tried_with_what_the_choice_needs() -> None:
    base = parameters(text_seeds=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "RATES", (0.01,))
        patch.setattr(choose, "DECAYS", (0.0, 1.0))
        first = choose.trials(SEED, base)
        second = choose.penalty_trials(SEED, 0.01, 1.0, base)
    assert list(zip(first["rate"], first["decay"], strict=True)) == [(0.01, 0.0), (0.01, 1.0)]
    assert first["held"].between(0, 1).all()
    kinds = second.groupby("choice")["strength"].apply(list).to_dict()
    assert kinds == {"trained": [0.0], "penalised": list(choose.DISPERSION), "norm penalised": list(choose.NORM)}
    assert second["dispersion"].gt(0).all()


def test_presets_use_what_was_chosen() -> None:
    from evolm import paths

    table = pd.read_csv(paths.resource("data") / "choices" / "grokking-pathways.csv")
    params = GrokkingPathwaysParams()
    assert (params.rate, params.decay) == choose.chosen(table)
    assert (params.penalty, params.norm_penalty) == choose.chosen_penalties(table)
    assert table["seed"].max() < 1000


def test_batches_of_a_seed_are_an_epoch_in_an_order_of_its_own() -> None:
    one, other = (np.concatenate([order(100, 25, step, seed) for step in range(4)]) for seed in (1, 2))
    assert sorted(one) == sorted(other) == list(range(100))
    assert not np.array_equal(one, other)
