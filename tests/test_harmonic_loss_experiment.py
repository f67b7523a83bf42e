"""The harmonic-loss experiment at a tiny scale: its units, their arms, its tables, resuming, and its parameters."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch

from evolm.finding import Claim, ParameterError
from evolm.findings.harmonic_loss import FINDING, algorithmic, arms, estimands, experiment, vision
from evolm.findings.harmonic_loss.parameters import HarmonicLossParams
from evolm.findings.harmonic_loss.tasks import TASKS
from evolm.record import Store
from evolm.runner import RunInterrupted, run_experiment
from evolm.unit import Unit
from evolm.verdict import judge

Tables = dict[str, pd.DataFrame]
PRESETS = list(FINDING.presets)
MAP = {"map_exponents": (1.0,), "map_distances": ("cosine",), "map_shares": (0.5, 0.8)}
TINY: dict[str, Any] = {
    "seeds": 5, "first_seed": 1003, "epochs": 8, "share": 0.2, "shares": (0.1,), "long_epochs": 20,
    "authors_shares": (), "splits": ("leaky",), "tasks": ("permutations",), "images": ("digits",), "image_epochs": 4,
}  # fmt: skip


def resolved(preset: str, **overrides: Any) -> HarmonicLossParams:
    return cast(HarmonicLossParams, FINDING.resolve(preset, **overrides))


@pytest.fixture
def all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every set of images were on this machine."""
    monkeypatch.setattr(experiment, "_present", lambda name: True)


@cache
def first() -> Tables:
    """The tables of the first unit of every program, as the runner would join them; one seed."""
    params = HarmonicLossParams(**{**TINY, "seeds": 1})
    parts = [experiment.run_unit(params, unit, "cpu") for unit in experiment.units(params, "cpu")]
    names = {name for part in parts for name in part}
    return {name: pd.concat([part[name] for part in parts if name in part], ignore_index=True) for name in names}


# --- units -----------------------------------------------------------------------------------------------------


def expected_programs(params: HarmonicLossParams) -> list[tuple[Any, ...]]:
    """What the parameters ask for, written out: group, then task, split, share, distance, or images and backbone."""
    found: list[tuple[Any, ...]] = [("addition", params.share), ("undecayed", params.share)]
    found += [("data", share) for share in params.shares]
    found += [("authors", share) for share in (params.share, *params.authors_shares)]
    found += [("split", split) for split in params.splits] + [("task", task) for task in params.tasks]
    found += [("map", distance, share) for distance in params.map_distances for share in params.map_shares]
    found += [("beside", share) for share in params.map_shares if share not in (params.share, *params.shares)]
    return found + [("images", name, kind) for name in params.images for kind in ("linear", "network")]


def most_seeds(params: HarmonicLossParams, group: str) -> float:
    if group == "images":
        return params.image_seeds
    return params.slow_seeds if group in experiment.SLOW else math.inf


@pytest.mark.usefixtures("all_images")
@pytest.mark.parametrize("preset", PRESETS)
def test_every_program_of_a_preset_is_run_once_for_every_seed(preset: str) -> None:
    params = resolved(preset)
    units = experiment.units(params, "cpu")
    assert len({unit.name for unit in units}) == len(units)
    assert all(np.isfinite(unit.cost) and unit.cost > 0 for unit in units)
    done = Counter(
        (*(value for key, value in unit.arguments.items() if key != "seeds"), seed)
        for unit in units for seed in unit.arguments["seeds"]
    )  # fmt: skip
    expected = Counter(
        (*program, seed)
        for program in expected_programs(params)
        for place, seed in enumerate(params.seed_list)
        if place < most_seeds(params, program[0])
    )
    expected += Counter(("text", arm, seed) for arm in arms.TEXT for seed in params.text_seed_list)
    assert done == expected


def test_seeds_run_together_in_eights_and_the_language_model_one_by_one() -> None:
    params = resolved("cpu", seeds=9, text_seeds=2)
    sizes = Counter(
        len(unit.arguments["seeds"])
        for unit in experiment.units(params, "cpu")
        if unit.arguments["group"] == "addition"
    )
    assert sizes == {8: 1, 1: 1}
    texts = [unit for unit in experiment.units(params, "cpu") if unit.arguments["group"] == "text"]
    assert [len(unit.arguments["seeds"]) for unit in texts] == [1] * 2 * len(arms.TEXT)


def test_a_hub_id_makes_a_valid_name_and_a_set_that_is_not_here_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    params = resolved("cpu", images=("digits", "uoft-cs/cifar10"))
    here = {unit.arguments.get("images") for unit in experiment.units(params, "cpu")}
    assert here == {None, "digits"}
    monkeypatch.setattr(experiment, "_present", lambda name: True)
    names = [unit.name for unit in experiment.units(params, "cpu") if unit.arguments.get("images") == "uoft-cs/cifar10"]
    assert len(names) == 2  # two backbones, eight seeds together
    assert all("uoft-cs_cifar10" in name for name in names)


def test_slow_programs_and_images_have_fewer_seeds() -> None:
    seeds: dict[str, set[int]] = {}
    for unit in experiment.units(resolved("cpu", seeds=20, slow_seeds=9, image_seeds=3, first_seed=1100, **MAP), "cpu"):
        seeds.setdefault(unit.arguments["group"], set()).update(unit.arguments["seeds"])
    assert {group for group, own in seeds.items() if own == set(range(1100, 1109))} == set(experiment.SLOW)
    assert seeds["images"] == {1100, 1101, 1102}
    assert seeds["addition"] == seeds["data"] == seeds["undecayed"] == set(range(1100, 1120))


def test_key_data_name_what_a_run_reads() -> None:
    small, large = experiment.key_data(resolved("cpu")), experiment.key_data(resolved("gpu", text_seeds=1))
    assert set(small) == {"digits"}
    assert {"digits", "mnist", "speeches.jsonl.xz", "tokenizer.json"} <= set(large)
    assert all(len(value) == 64 or value == "absent" for value in large.values())


def test_the_costs_of_units_are_in_the_ratio_of_what_they_compute() -> None:
    """Updates times arms times seeds: the only thing that programs of one network differ in."""
    params = resolved("cpu")
    for unit in experiment.units(params, "cpu"):
        given = unit.arguments
        if given["group"] == "images":
            continue
        task, share = TASKS[given.get("task", "addition")](), given.get("share", params.share)
        train, _ = task.split(share, 0)
        updates = experiment.epochs_of(params, given["group"]) * len(train) / algorithmic.BATCH
        expected = updates * len(experiment.arms_of(params, given)) * len(given["seeds"])
        assert unit.cost == pytest.approx(expected, rel=0.02), unit.name


@pytest.mark.parametrize("count", [100, 1500, 20_000, 60_000, 10**6])
def test_a_larger_set_of_images_takes_fewer_passes_but_some(count: int) -> None:
    found = experiment.image_epochs(resolved("cpu"), count)
    assert experiment.FEWEST_EPOCHS <= found <= 40
    assert found == 40 if count <= 10_000 else found < 40
    assert experiment.image_epochs(resolved("cpu", image_epochs=4), count) == 4


# --- arms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["addition", "undecayed", "authors", "data", "split", "task", "map", "beside"])
def test_arms_of_a_program_are_all_there_with_equal_heads_side_by_side(group: str) -> None:
    """One batched product for each kind of head: heads that differ in numbers alone are neighbours."""
    program = {"group": group, "distance": "manhattan"}
    found = experiment.arms_of(resolved("gpu"), program)
    kinds = [(arm.head.form, arm.head.distance, arm.head.power) for arm in found.values()]
    assert sum(one != other for one, other in pairwise(kinds)) + 1 == len(set(kinds))
    base = {"undecayed": ", no decay", "authors": ", authors'", "split": ", authors'"}.get(group, "")
    if group != "map":
        heads = {"cross-entropy", "normalised", "squared distance", "distance", "harmonic"}
        heads -= {"harmonic"} if group == "beside" else set()  # the map itself has it
        assert {f"{head}{base}" for head in heads} <= set(found)


def test_norms_are_watched_without_decay_and_with_one_rate() -> None:
    assert {arm.decay for arm in arms.UNDECAYED.values()} == {0}
    assert {arm.lr for arm in (*arms.UNDECAYED.values(), *arms.AUTHORS.values())} == {2e-3}
    for name, arm in arms.AUTHORS.items():
        assert arms.UNDECAYED[name.replace("authors'", "no decay")].head == arm.head


def test_exponents_differ_from_harmonic_loss_in_the_exponent_alone_and_none_is_trained_twice() -> None:
    assert list(arms.swept().values()) == sorted(arms.EXPONENTS)  # the chosen one is among them
    assert len(set(arms.addition_arms().values())) == len(arms.addition_arms())
    for name, n in arms.swept().items():
        arm = arms.addition_arms()[name]
        assert arm.head.knob == n
        assert (arm.lr, arm.decay, arm.tied) == (arms.CHOSEN["harmonic"].lr, arms.CHOSEN["harmonic"].decay, True)
    assert arms.exponent_arm(4, "cosine") in arms.exponent_arms((4,), "cosine")
    assert arms.RECOMMENDED == np.sqrt(algorithmic.WIDTH) == 4


def test_the_exponent_on_more_pixels_grows_as_their_root() -> None:
    small, large = arms.linear_arms(64), arms.linear_arms(784)
    assert small == arms.LINEAR
    assert large["harmonic"].head.knob == pytest.approx(28)  # what the authors' MNIST code means by n
    assert large["cross-entropy"] == arms.LINEAR["cross-entropy"]


def arms_produced(params: HarmonicLossParams, claim: Claim) -> set[str]:
    """Arms that the tables of a claim would hold, and those that its estimand makes out of others."""
    groups = {
        "delay": ("addition",), "sooner": ("addition",), "data": ("data",), "growth": ("undecayed",),
        "slope": ("undecayed",),
        "geometry": ("authors", "addition"), "ring": ("authors", "addition"), "delay_authors": ("authors",),
        "data_authors": ("authors",), "memory": ("split",), "lattice_plane": ("task",), "residues": ("task",),
        "tree_accuracy": ("task",), "permutation_accuracy": ("task",),
    }  # fmt: skip
    if claim.measure == "leak":
        return {"as published", "unseen"} if "leaky" in params.splits else set()
    if claim.measure in ("hull", "one_layer"):
        return set(arms.LINEAR)
    if claim.measure in ("cosine_accuracy", "cosine_mnist", "sharpness", "collapse"):
        return set(arms.NETWORK)
    if claim.measure.startswith("text_"):
        return set(arms.TEXT)
    there = [program for program in experiment.programs(params) if program["group"] in groups[claim.measure]]
    return {name for program in there for name in experiment.arms_of(params, program)}


@pytest.mark.usefixtures("all_images")
@pytest.mark.parametrize("preset", PRESETS)
def test_the_arm_and_controls_of_every_claim_are_among_those_of_the_preset(preset: str) -> None:
    params = resolved(preset)
    for claim in FINDING.claims:
        if claim.name != "less-energy" and claim.cannot_speak(params) is None:
            named = {claim.arm, *claim.controls} - {estimands.CHANCE}  # which no run has
            assert named <= arms_produced(params, claim), claim.name


def test_the_claims_that_carry_the_chapter_can_be_judged_at_cpu() -> None:
    core = [claim for claim in FINDING.claims if claim.core]
    assert 1 <= len(core) <= 4
    assert all(claim.controls for claim in core)
    params = resolved("cpu")
    assert params.seeds >= 5
    assert all(claim.cannot_speak(params) is None for claim in core)
    speaking = [claim for claim in FINDING.claims if any(claim.cannot_speak(resolved(p)) is None for p in PRESETS)]
    assert len(speaking) == len(FINDING.claims)


def test_report_seeds_of_the_presets_do_not_meet() -> None:
    assert not set(resolved("cpu").seed_list) & set(resolved("gpu").seed_list)


# --- tables ----------------------------------------------------------------------------------------------------


def test_tables_hold_every_program_and_arm() -> None:
    tables = first()
    assert set(tables) == {"models", "curves", "vectors", "vision", "vision_curves", "centres", "hull"}
    models = tables["models"]
    params = HarmonicLossParams(**{**TINY, "seeds": 1})
    for program in experiment.programs(params):
        if program["group"] == "images":
            continue
        where = {
            "group": program["group"],
            "task": program.get("task", "addition"),
            "split": program.get("split", "clean"),
        }
        where["share"] = program.get("share", params.share)
        rows = models[(models[list(where)] == pd.Series(where)).all(axis=1)]
        assert sorted(rows["arm"]) == sorted(experiment.arms_of(params, program)), program
    assert len(models) == len(models.drop_duplicates(["group", "task", "split", "share", "arm", "seed"]))
    assert set(tables["curves"]["group"]) == {"addition", "undecayed", "authors"}
    assert set(tables["vectors"]["group"]) == {"addition", "authors", "task"}
    assert set(tables["vision"]["backbone"]) == {"linear", "network"}


def test_every_claim_can_be_judged_on_the_tables_of_a_run() -> None:
    """Nothing is malformed; with one seed nothing can be decided either."""
    params = resolved("cpu", **{**TINY, "seeds": 1})
    verdicts = {verdict.claim: verdict for verdict in judge(FINDING, first(), params, estimands)}
    for claim in FINDING.claims:
        expected = {"not run at this scale"} if claim.cannot_speak(params) else {"inconclusive", "not assessable"}
        if claim.name in ("less-energy", "less-data-authors"):
            expected = {"not run at this scale"}
        assert verdicts[claim.name].verdict in expected, (claim.name, verdicts[claim.name])


def test_a_unit_gives_the_same_bits_again_and_leaves_torch_as_it_was() -> None:
    params = HarmonicLossParams(**{**TINY, "seeds": 1})
    unit = next(unit for unit in experiment.units(params, "cpu") if unit.arguments["group"] == "data")
    one, again = (experiment.run_unit(params, unit, "cpu") for _ in range(2))
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, again[name], check_exact=True)
    tiny = torch.tensor([1e-40]) * 1.0
    assert float(tiny) > 0  # denormals are back


def test_torch_is_left_as_it_was_when_a_unit_fails() -> None:
    with pytest.raises(KeyError):
        experiment.run_unit(
            HarmonicLossParams(**TINY), Unit(name="x", arguments={"group": "task", "task": "none", "seeds": [1]}), "cpu"
        )
    assert float(torch.tensor([1e-40]) * 1.0) > 0


@pytest.mark.parametrize("name", arms.TEXT)
def test_the_language_model_is_handed_its_own_head_rate_and_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from evolm.findings.harmonic_loss import text

    asked: list[Any] = []
    monkeypatch.setattr(text, "trained", lambda *args, **kwargs: asked.append((args, kwargs)) or {})
    params = resolved("gpu", first_seed=2000, text_seeds=1)
    unit = next(u for u in experiment.units(params, "cpu") if u.arguments.get("arm") == name)
    experiment.run_unit(params, unit, "cpu")
    size = text.Size(width=128, layers=3, steps=4000)
    assert asked == [((name, arms.TEXT[name].head, arms.TEXT[name].lr, 2000, size), {"device": "cpu"})]


def test_an_interrupted_run_resumes_to_the_same_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLM_DEVICE", "cpu")
    params = resolved("smoke", **{**TINY, "seeds": 1, "shares": (), "tasks": (), "splits": (), "images": ()})
    whole = run_experiment(FINDING, params, store=Store(tmp_path / "whole"), workers=1, progress=False)
    run_unit, done = experiment.run_unit, []

    def stopped(*args: Any) -> Tables:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(args[1].name)
        return run_unit(*args)

    monkeypatch.setattr(experiment, "run_unit", stopped)
    store = Store(tmp_path / "parts")
    with pytest.raises(RunInterrupted):
        run_experiment(FINDING, params, store=store, workers=1, progress=False)
    again: list[str] = []

    def counted(*args: Any) -> Tables:
        again.append(args[1].name)
        return run_unit(*args)

    monkeypatch.setattr(experiment, "run_unit", counted)
    resumed = run_experiment(FINDING, params, store=store, workers=1, progress=False)
    assert sorted(again + done) == sorted(unit.name for unit in experiment.units(params, "cpu"))
    assert resumed.key == whole.key
    assert set(resumed.tables()) == set(whole.tables())
    for name, table in whole.tables().items():
        pd.testing.assert_frame_equal(table, resumed.tables()[name], check_exact=True)


# --- parameters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"share": 0.0}, ["share = 0.0", "greater than 0"]),
        ({"share": 1.0}, ["share = 1.0", "less than 1"]),
        ({"share": 0.4}, ["shares = [0.35, 0.4, 0.45]", "smaller than share = 0.4"]),
        ({"shares": (0.5, 0.8)}, ["shares = [0.5, 0.8]", "smaller than share = 0.8"]),
        ({"authors_shares": (0.9,)}, ["authors_shares = [0.9]", "smaller than share = 0.8"]),
        ({"shares": (0.5, 0.5)}, ["shares = [0.5, 0.5]", "twice"]),
        ({"shares": (1.5,)}, ["shares", "less than 1"]),
        ({"epochs": 7}, ["epochs = 7", "8"]),
        ({"long_epochs": 5}, ["long_epochs = 5"]),
        ({"map_exponents": (1.0,)}, ["map_exponents, map_distances and map_shares"]),
        ({**MAP, "map_exponents": (0.0,)}, ["map_exponents", "greater than 0"]),
        ({**MAP, "map_exponents": (1.0, 1.0)}, ["map_exponents", "twice"]),
        ({**MAP, "map_distances": ("cosin",)}, ["map_distances", "'cosine'"]),
        ({"tasks": ("addition",)}, ["tasks", "'lattice'"]),
        ({"tasks": ("tree", "tree")}, ["tasks = ['tree', 'tree']", "twice"]),
        ({"splits": ("clean",)}, ["splits", "'leaky' or 'shuffled'"]),
        ({"images": ("digits", "digits")}, ["images", "twice"]),
        ({"text_width": 100}, ["text_width = 100", "multiple of 8"]),
        ({"text_steps": 10}, ["text_steps = 10", "40"]),
        ({"text_seeds": -1}, ["text_seeds = -1"]),
        ({"seeds": 0}, ["seeds = 0"]),
        ({"epoch": 10}, ["epoch", "'epochs'"]),
        ({"epochs": "many"}, ["epochs = 'many'"]),
    ],
)  # fmt: skip
def test_parameters_that_make_no_run_are_refused_by_name(overrides: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(ParameterError) as refused:
        resolved("cpu", **overrides)
    assert all(words in str(refused.value) for words in said), str(refused.value)


def test_the_edge_of_what_is_refused_is_taken() -> None:
    for overrides in (
        {"epochs": 8}, {"long_epochs": 20}, {"shares": ()}, {"tasks": (), "splits": (), "images": ()},
        {"text_width": 104}, MAP, {"shares": (0.79,)},
    ):  # fmt: skip
        assert experiment.units(resolved("cpu", **overrides), "cpu")


def test_seeds_of_the_language_model_begin_with_the_first() -> None:
    assert resolved("cpu").text_seed_list == []
    assert resolved("cpu", text_seeds=2, first_seed=1500).text_seed_list == [1500, 1501]


def test_the_scale_in_words_names_what_is_run() -> None:
    words = FINDING.scale(resolved("gpu", seeds=16, text_seeds=3))
    assert "16 seeds of addition" in words
    assert "3 seeds" in words
    assert "digits and mnist" in words
    assert "language model" not in FINDING.scale(resolved("cpu"))


def test_backbones_of_images_are_those_of_the_programs() -> None:
    assert set(vision.LAYERS) == {"linear", "network"}
