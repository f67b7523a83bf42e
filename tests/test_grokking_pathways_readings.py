"""Sentences of the grokking-pathways chapter on tables with planted numbers: what they print and conclude."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from evolm.findings.grokking_pathways import (
    FINDING,
    readings,
    readings_metrics,
    readings_relations,
    readings_worlds,
)
from evolm.findings.grokking_pathways import readings_words as words
from evolm.findings.grokking_pathways.metrics import NO_RULE
from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams
from evolm.intervals import seed_interval
from evolm.verdict import Verdict

Tables = dict[str, pd.DataFrame]
NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "grokking-pathways.ipynb"
MODULES = (readings, readings_metrics, readings_relations, readings_worlds)
SEEDS = (2000, 2001, 2002)
PARAMS = cast(
    GrokkingPathwaysParams,
    FINDING.resolve("cpu", first_seed=2000, seeds=3, scales=("wide",), scale_seeds=3, text_seeds=3, modular_seeds=3),
)
GROUPS = ("k4", "k10", "random")
ARMS = (
    "trained", "scrambled", "frozen router", "no decay", "dense", "aux 0", "aux 0, scrambled", "penalised",
    "norm penalised",
)  # fmt: skip
#: Measurements: 8 early ones that date nothing, then 20; a group is memorised at the first of these.
STEPS = np.array([*range(8), *range(10, 210, 10)], float)
LATER = STEPS >= 10
#: Where the means of the first and of the last fifth of the lag lie, as shares of it.
ENDS = (1.5 / 19, 17.5 / 19)
#: Reading -> arm or "arm, group" -> change per seed over the lag.
Planted = Mapping[tuple[str, str, str], Mapping[str, Sequence[float]]]
ALONE: Planted = {}
READINGS = [
    *((quantity, tokens, rule) for quantity in ("distance", "distance, characters", "length")
      for tokens in ("answer", "all") for rule in ("0.7", "top-k")),
    *((quantity, tokens, NO_RULE) for quantity in ("cosine", "C", "S") for tokens in ("answer", "all")),
    ("cosine, outputs", "answer", NO_RULE), ("distance, shuffled", "answer", "0.7"),
    ("cosine, shuffled", "answer", NO_RULE),
]  # fmt: skip
DISTANCE, COSINE = ("distance", "answer", "0.7"), ("cosine", "answer", NO_RULE)


def ramp(change: float) -> np.ndarray:
    """A series whose mean over the last fifth of the lag exceeds that over the first by `change`."""
    share = np.where(LATER, (STEPS - 10) / 190, 0.0)
    return 0.5 + change * share / (ENDS[1] - ENDS[0])


def rows_of(world: str, seed: int, arm: str, group: str, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"world": world, "seed": seed, "arm": arm, "group": group, "step": STEPS, **columns})


def of_readings(
    world: str, seed: int, arm: str, group: str, moved: Sequence[float], rng: np.random.Generator
) -> pd.DataFrame:
    """Rows of every reading of one run, each with its change."""
    values = np.stack([ramp(change) for change in moved]) + rng.normal(0, 1e-6, (len(READINGS), len(STEPS)))
    names = pd.DataFrame(READINGS, columns=["quantity", "tokens", "rule"]).loc[
        np.repeat(np.arange(len(READINGS)), len(STEPS))
    ]
    labels: dict[str, Any] = {"world": world, "seed": seed, "arm": arm, "group": group}
    labels["step"] = np.tile(STEPS, len(READINGS))
    return names.assign(**labels, value=values.ravel()).reset_index(drop=True)


def record(
    planted: Planted = ALONE, ends: Mapping[str, Sequence[float]] | None = None, seeds: Sequence[int] = SEEDS,
    world: str = "tables", arms: Sequence[str] = ARMS, groups: Sequence[str] = GROUPS,
) -> Tables:  # fmt: skip
    """A record in which every reading changes by nothing but what is planted, and an arm ends where `ends` has it."""
    curve, pathways, layers = [], [], []
    for place, seed in enumerate(seeds):
        for arm in arms:
            for number, group in enumerate(groups):
                rng = np.random.default_rng([seed, number, len(arm)])
                last = (ends or {}).get(arm, [0.8] * len(seeds))[place] if group != "random" else 0.03
                accuracy = np.linspace(min(0.3, last), last, len(STEPS)) if not ends else np.full(len(STEPS), last)
                curve.append(
                    rows_of(world, seed, arm, group, dating_accuracy=LATER * 1.0, test_accuracy=accuracy,
                            train_nats=rng.normal(1, 0.1, len(STEPS)))
                )  # fmt: skip
                if arm == "dense":
                    continue
                own = [planted.get(reading, {}) for reading in READINGS]
                moved = [each.get(f"{arm}, {group}", each.get(arm, [0.001, -0.001, 0.0005]))[place] for each in own]
                pathways.append(of_readings(world, seed, arm, group, moved, rng))
                change = moved[READINGS.index(DISTANCE)]
                layers += [
                    rows_of(world, seed, arm, group, quantity="distance", tokens="answer", layer=layer,
                            value=ramp(change * (layer + 1)))
                    for layer in range(2)
                ]  # fmt: skip
    return {"curve": pd.concat(curve), "pathways": pd.concat(pathways), "layers": pd.concat(layers)}


def cells(later: float, seeds: Sequence[int] = SEEDS) -> pd.DataFrame:
    """Eight cells per table: those memorised late (the odd ones) generalise `later` doublings after the others."""
    frames = []
    for seed in seeds:
        for group in GROUPS:
            late = np.arange(8) % 2
            shift = (later if group != "random" else 0.0) * late + 1e-4 * np.random.default_rng(seed).normal(size=8)
            dates = {"memorised": 6.0 + late, "generalised": 8 + shift, "trained": 3, "held_out": 3}
            labels = {"world": "tables", "seed": seed, "arm": "trained", "group": group, "cell": range(8)}
            frames.append(pd.DataFrame({**labels, **dates}))
    return pd.concat(frames, ignore_index=True)


@cache
def everything(seeds: tuple[int, ...] = SEEDS) -> Tables:
    """Every world; not to be changed."""
    pair = ("trained", "scrambled")
    parts = [
        record(seeds=seeds), record(seeds=seeds, world="tables, wide", arms=pair),
        record(seeds=seeds, world="modular", arms=pair, groups=("plus", "random")),
        record(seeds=seeds, world="text", arms=pair, groups=("prose", "facts", "copy", "sums", "random")),
    ]  # fmt: skip
    tables = {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}
    return {**tables, "cells": cells(0.5, seeds)}


@cache
def sentences() -> dict[str, Callable[[Tables, Any], str]]:
    """Every public function of the modules that makes a sentence."""
    return {
        name: f
        for module in MODULES for name, f in inspect.getmembers(module, inspect.isfunction)
        if f.__module__ == module.__name__ and list(inspect.signature(f).parameters) == ["tables", "params"]
        and not name.startswith("_")
    }  # fmt: skip


def bracketed(values: Sequence[float], digits: int, *, sign: bool = True) -> str:
    """A mean with its interval as the sentences print it."""
    low, high = seed_interval(values)
    texts = [f"{float(value):.{digits}f}" for value in (np.mean(values), low, high)]
    texts = [text.replace("-", "−") if float(text) else text.lstrip("-") for text in texts]
    plus = "+" if sign and np.mean(values) > 0 else ""
    return f"{plus}{texts[0]} [{texts[1]}, {texts[2]}]"


# --- any record -------------------------------------------------------------------------------------------------


def test_the_page_shows_every_sentence() -> None:
    page = NOTEBOOK.read_text()
    elsewhere = {name for name in sentences() if f".{name}(*chapter.leading)" not in page}
    assert elsewhere == {"mixture", "needs", "decay"}
    assert "readings.needs(*controls)" in page  # of the record that has the controls
    assert "readings.decay(*controls)" in page
    assert "readings_worlds.mixture(*mixed)" in page  # of the record that has arm B


@pytest.mark.parametrize("name", sentences())
def test_a_sentence_copes_with_any_record(name: str) -> None:
    say = sentences()[name]
    whole = everything()
    records: list[Tables] = [whole, everything(SEEDS[:1]), {}]
    records += [{"curve": whole["curve"], "cells": whole["cells"]}]
    records += [{key: rows[rows["arm"] != "scrambled"] for key, rows in everything(SEEDS[:1]).items()}]
    for tables in records:
        text = say(tables, PARAMS)
        assert not {"nan", "inf", "−inf", "+nan"} & set(text.replace("[", " ").replace(",", " ").split())
        assert not text or text.endswith((".", ".*", ".**", ")."))


def test_with_one_seed_nothing_is_concluded() -> None:
    tables = everything(SEEDS[:1])
    said = " ".join(say(tables, PARAMS) for say in sentences().values())
    assert "[" not in said
    for conclusion in (
        "it rises",
        "it falls",
        "than there",
        "paper's way",
        "alike",
        "So ",
        "tracks better",
        "no relation",
        "weak",
        "counts)",
        "chance)",
    ):
        assert conclusion not in said, conclusion


# --- words ------------------------------------------------------------------------------------------------------


def test_a_change_has_its_sign_its_interval_and_what_it_amounts_to() -> None:
    for values, said in (
        ([0.1, 0.11, 0.12], "it rises"),
        ([-0.1, -0.11, -0.12], "it falls"),
        ([0.1, -0.1, 0.02], "not told from none"),
    ):
        text = words.changed(pd.Series(values))
        assert text.startswith(bracketed(values, 3))
        assert said in text
    assert words.changed(pd.Series([0.2])) == "+0.200"
    assert words.changed(pd.Series([-0.0001])) == "0.000"


def test_a_difference_is_paired_by_seed() -> None:
    found = {"a": pd.Series([3.0, 5.0], index=[1, 2]), "b": pd.Series([9.0, 1.0], index=[3, 1])}
    assert words.less(found, "a", "b").to_dict() == {1: 2.0}
    assert words.less(found, "a", "missing").empty
    assert words.against(found, "a", "missing") == ""


def test_readings_and_groups_have_words() -> None:
    assert (
        words.reading_words("distance, characters", "all", "top-k") == "raw distance in characters, all tokens, top-k"
    )
    assert words.reading_words(*DISTANCE) == "normalised distance, the answer's token, 70 % of weight"
    assert words.reading_words(*COSINE) == "cosine, the answer's token"
    assert [words.group_words(name) for name in ("k10", "random", "facts")] == ["10 classes", "random labels", "facts"]


# --- metrics beside the twin ------------------------------------------------------------------------------------

FALL, MORE, LITTLE = [-0.05, -0.052, -0.054], [-0.15, -0.152, -0.149], [0.001, -0.001, 0.0]


@pytest.mark.parametrize(
    ("own", "twin", "said"),
    [
        (FALL, LITTLE, "It goes the paper's way, and further than where nothing can be generalised"),
        (
            FALL,
            [x + e for x, e in zip(FALL, LITTLE, strict=True)],
            "where nothing can be generalised it goes 1.00 times as far; these seeds do not",
        ),
        (FALL, [-0.09, 0.0, -0.03], "goes the paper's way; these seeds do not tell it from where nothing can be"),
        (FALL, MORE, "where nothing can be generalised it goes further"),
        (LITTLE, LITTLE[::-1], "What the paper describes is not seen here.**"),
        ([-x for x in FALL], LITTLE, "What the paper describes is not seen here.**"),
        (LITTLE, [-x for x in FALL], "not seen here, though beside the twin the trained models differ that way"),
    ],
)
def test_what_distance_does_follows_its_interval_and_the_twins(own: list[float], twin: list[float], said: str) -> None:
    text = readings_metrics.distance(record({DISTANCE: {"trained": own, "scrambled": twin}}), PARAMS)
    assert said in text
    assert bracketed(own, 3) in text
    assert bracketed(twin, 3) in text


def test_the_random_group_and_frozen_routers_are_beside_the_cosine() -> None:
    planted = {
        "trained": [0.06, 0.061, 0.062], "scrambled": [0.03, 0.031, 0.033],
        "trained, random": [0.02, 0.021, 0.025], "frozen router": FALL,
    }  # fmt: skip
    text = readings_metrics.consistency(record({COSINE: planted}), PARAMS)
    assert f"random labels of the same runs it changes by {bracketed(planted['trained, random'], 3)} (it rises)" in text
    assert f"With router weights that never learn it changes by {bracketed(FALL, 3)} (it falls)" in text
    assert "further than where nothing can be generalised" in text


def test_the_cosine_without_weight_decay_is_beside_what_is_gained_there() -> None:
    planted = [0.02, 0.021, 0.022]
    tables = record({COSINE: {"no decay": planted}})
    text = readings_metrics.consistency(tables, PARAMS)
    assert f"Without weight decay it changes by {bracketed(planted, 3)} (it rises)" in text
    assert "held-out accuracy there changes by +0." in text
    none = {key: rows[rows["arm"] != "no decay"] for key, rows in tables.items()}
    assert "Without weight decay" not in readings_metrics.consistency(none, PARAMS)


def test_distance_is_told_beside_what_chance_gives() -> None:
    renamed = ("distance, shuffled", "answer", "0.7")
    lower = record({DISTANCE: {"trained": FALL, "scrambled": LITTLE}, renamed: {"trained": MORE, "scrambled": LITTLE}})
    rows = lower["pathways"]
    far = rows.assign(value=rows["value"] + 0.5 * (rows["quantity"] == renamed[0]))
    text = readings_metrics.shuffled({**lower, "pathways": far}, PARAMS)
    own = bracketed(np.subtract(FALL, MORE).tolist(), 3)
    assert f"renamed experts changes by {own} (towards chance), in the twin by 0.000" in text
    near = rows.assign(value=rows["value"] - 0.5 * (rows["quantity"] == renamed[0]))
    assert f"{own} (it rises)" in readings_metrics.shuffled({**lower, "pathways": near}, PARAMS)


def test_readings_that_answer_otherwise_are_named() -> None:
    top = ("distance", "all", "top-k")
    text = readings_metrics.distance_readings(record({top: {"trained": FALL, "scrambled": LITTLE}}), PARAMS)
    name = words.reading_words(*top)
    assert f"in common with the twin, 1 go the paper's way ({name}), 0 the other way" in text
    assert text.startswith("Of 8 readings of distance,")
    assert f"Another answer than the fixed reading ({words.reading_words(*DISTANCE)}): {name}." in text
    assert "So no reading changes the answer." in readings_metrics.distance_readings(record(), PARAMS)


def test_c_is_more_consistent_where_it_falls() -> None:
    tables = record({("C", "answer", NO_RULE): {"trained": FALL, "scrambled": LITTLE}})
    text = readings_metrics.consistency_readings(tables, PARAMS)
    assert "1 go the paper's way (C, the answer's token)" in text
    assert "4 of 5 do not go the paper's way, the paper's own among them (C, all tokens)" in text
    assert "C is (1 − smaller / larger cosine) / 2" in text
    deep = cast(GrokkingPathwaysParams, FINDING.resolve("cpu", layers=4))
    assert "smaller / larger" not in readings_metrics.consistency_readings(tables, deep)


def test_layers_have_their_own_changes() -> None:
    text = readings_metrics.layers(record({DISTANCE: {"trained": FALL}}), PARAMS)
    assert f"layer 1 {bracketed(FALL, 3)} (it falls)" in text
    assert f"layer 2 {bracketed([2 * x for x in FALL], 3)} (it falls)" in text


# --- the lag ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("twin", "undecided"), [([0.75, 0.8, 0.7], True), ([0.1, 0.2, 0.1], False)])
def test_an_arm_that_learns_nothing_beyond_its_twin_says_so_first(twin: list[float], undecided: bool) -> None:
    ends = {"trained": [0.8, 0.75, 0.7], "scrambled": twin}
    tables = record(world="text", ends=ends, arms=("trained", "scrambled"), groups=("facts", "copy", "random"))
    text = readings_worlds.mixture(tables, PARAMS)
    assert text.startswith("**Nothing generalises here") == undecided
    assert text.startswith("Held-out answers that are right at the end") != undecided


def test_the_lag_is_dated_on_half_of_the_training_samples() -> None:
    tables = record(ends={"trained": [0.7, 0.8, 0.9]})
    text = readings.lag(tables, PARAMS)
    assert "4 classes at update 10 (median; 3 of 3 seeds), with 80 % of held-out pairs right then and 80 % at" in text
    assert "half of the training samples that is kept for dating" in text
    curve = tables["curve"]
    never = curve.assign(dating_accuracy=curve["dating_accuracy"].where(curve["seed"] != SEEDS[0], 0.5))
    assert "4 classes at update 10 (median; 2 of 3 seeds)" in readings.lag({**tables, "curve": never}, PARAMS)


@pytest.mark.parametrize(
    ("frozen", "said"),
    [
        ([0.78, 0.79, 0.8], "it generalises alike, within 0.1"),
        ([0.761, 0.76, 0.762], "it generalises alike, within 0.1, though not quite as well"),
        ([0.5, 0.51, 0.52], "it generalises less"),
        ([0.95, 0.96, 0.97], "it generalises more"),
        ([0.5, 0.9, 0.8], "these seeds do not tell which is better"),
    ],
)
def test_what_routers_that_never_learn_cost_follows_the_interval(frozen: list[float], said: str) -> None:
    ends = {"trained": [0.8, 0.801, 0.799], "frozen router": frozen}
    text = readings.needs(record(ends=ends), PARAMS)
    part = text.split("as they were drawn: ")[1].split(". A dense")[0]
    assert part.endswith(said)
    assert part.startswith(bracketed(frozen, 2, sign=False))


@pytest.mark.parametrize(("later", "said"), [(0.5, "That is more than chance"), (-0.5, "A random pairing does more")])
def test_the_order_is_held_against_random_pairings(later: float, said: str) -> None:
    text = readings.order({"cells": cells(later)}, PARAMS)
    assert said in text
    assert f"mastered {'−' * (later < 0)}0.5" in text
    assert ("tied cell by cell" in text) == (later > 0)
    assert "what is memorised late lags less" in text  # memorised a doubling later, generalised half of one


# --- relations --------------------------------------------------------------------------------------------------


def test_a_metric_that_follows_the_step_correlates_no_more_than_it() -> None:
    tables = record({COSINE: {"trained": [0.1, 0.11, 0.12]}, DISTANCE: {"trained": [0.1, 0.11, 0.12]}})
    text = readings_relations.correlations(tables, PARAMS)
    assert "r = 1.00 [1.00, 1.00] with the step itself" in text
    assert "1.00 [1.00, 1.00] with consistency" in text
    assert "−1.00 [−1.00, −1.00] with the distance" in text
    assert "that of the distance is lower" in text


def test_noise_that_accuracy_does_not_share_is_no_relation_given_time() -> None:
    tables = everything()
    rng = np.random.default_rng(1)
    curve = tables["curve"].assign(
        test_accuracy=tables["curve"]["test_accuracy"] + rng.normal(0, 0.01, len(tables["curve"]))
    )
    shared = tables["pathways"].merge(curve[["world", "seed", "arm", "group", "step", "test_accuracy"]])
    related = shared.assign(value=np.where(shared["quantity"] == "cosine", shared["test_accuracy"], shared["value"]))
    text = readings_relations.given_time({**tables, "curve": curve, "pathways": related}, PARAMS)
    assert "r over each group's own lag is: consistency 1.00 [1.00, 1.00] (p = 0.00)" in text
    assert (
        "Beyond the course of time, consistency has a relation with accuracy that these seeds show; distance has"
        in text
    )
    pure = tables["pathways"].assign(value=tables["pathways"]["value"] + rng.normal(0, 0.01, len(tables["pathways"])))
    text = readings_relations.given_time({**tables, "curve": curve, "pathways": pure}, PARAMS)
    assert "relation (r below" in text or "show (r below" in text
    assert "has a relation" not in text


def test_a_metric_of_its_own_seed_fits_its_own_accuracy_best() -> None:
    tables = record(arms=("trained",), groups=("k4",))
    curve, rows = tables["curve"], tables["pathways"]
    wave = {seed: np.sin(STEPS / 30 + 2 * np.pi * place / 3) for place, seed in enumerate(SEEDS)}
    moved = lambda part: np.concatenate([wave[seed] for seed in part["seed"].to_numpy()[:: len(STEPS)]])  # noqa: E731
    related = {"curve": curve.assign(test_accuracy=moved(curve)), "pathways": rows.assign(value=moved(rows))}
    text = readings_relations.given_time(related, PARAMS)
    own, other = text.split("is: consistency ")[-1].split(" (p by")[0].split(" and ")
    assert own == "1.00"
    assert float(other.replace("−", "-")) < 0
    same = {key: part.assign(**{name: np.tile(wave[SEEDS[0]], len(part) // len(STEPS))}) for (key, part), name in zip(
        {"curve": curve, "pathways": rows}.items(), ("test_accuracy", "value"), strict=True)}  # fmt: skip
    assert "consistency 1.00 and 1.00 (p by swapping seeds" in readings_relations.given_time(same, PARAMS)


def test_levels_of_seeds_are_taken_out_of_the_prediction() -> None:
    tables = everything()
    noise = dict(zip(SEEDS, (0.0, 0.1, -0.2), strict=True))
    curve = tables["curve"].assign(test_accuracy=tables["curve"]["test_accuracy"] + tables["curve"]["seed"].map(noise))
    lifted = tables["pathways"].assign(value=tables["pathways"]["value"] + 3 * tables["pathways"]["seed"].map(noise))
    before, after = ({**tables, "curve": curve, "pathways": rows} for rows in (tables["pathways"], lifted))
    texts = [readings_relations.prediction(each, PARAMS) for each in (before, after)]
    assert texts[0].split("Levels differ")[1] == texts[1].split("Levels differ")[1]
    assert texts[0].split("With them")[1] != texts[1].split("With them")[1]
    assert "Without them it errs by 0." in texts[0]


def test_loss_that_tracks_better_is_said_to() -> None:
    tables = record(arms=("trained", "scrambled"))
    tracked = tables["curve"].assign(train_nats=1 - tables["curve"]["test_accuracy"])
    noisy = tables["pathways"].assign(value=np.random.default_rng(0).normal(size=len(tables["pathways"])))
    assert "the averaged loss, which costs nothing, tracks better" in readings_relations.loss(
        {**tables, "curve": tracked, "pathways": noisy}, PARAMS
    )
    clear = record({COSINE: {"trained": [0.1, 0.11, 0.12]}}, arms=("trained", "scrambled"))
    swinging = clear["curve"].assign(train_nats=1 + 0.1 * (-1) ** (clear["curve"]["step"] // 10))
    assert "consistency tracks better than the averaged loss" in readings_relations.loss(
        {**clear, "curve": swinging}, PARAMS
    )


def test_core_claims_say_whether_they_are_specific_and_what_would_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    def verdict(word: Any, needed: int | None = None) -> Verdict:
        return Verdict(claim="c", kind="superiority", core=True, verdict=word, unit="", seeds=8, seeds_needed=needed)

    found = [
        ("A.", verdict("reproduced")), ("B.", verdict("not specific")), ("C.", verdict("not reproduced")),
        ("D.", verdict("inconclusive", 23)),
    ]  # fmt: skip
    monkeypatch.setattr(readings_relations, "_core", lambda tables, params: found)
    lines = readings_relations.specific(everything(), PARAMS).splitlines()
    assert [line.split("**")[1] for line in lines] == ["Specific", "Not specific", "Not seen", "Undecided"]
    assert "about 23 seeds would decide" in lines[-1]
    development = FINDING.resolve("cpu", first_seed=3, seeds=1)
    assert "decide no claim" in readings_relations.specific(everything(), cast(GrokkingPathwaysParams, development))


def test_verdicts_are_those_of_the_record() -> None:
    said = readings_relations.specific(everything(), PARAMS)
    assert said.count("\n- ") == 3
    assert "of at least 5 seeds" in said or "seeds would decide" in said


# --- other worlds -----------------------------------------------------------------------------------------------


def test_what_a_record_lacks_names_the_command_that_has_it() -> None:
    for say in (
        readings_worlds.balancing,
        readings_worlds.intervention,
        readings_worlds.sizes,
        readings_worlds.mixture,
    ):
        assert "evolm run grokking-pathways --preset " in say({}, PARAMS)


@pytest.mark.parametrize(
    ("penalised", "norm", "said"),
    [
        ([0.9, 0.901, 0.902], [0.8, 0.8, 0.801], "(more than counts). This penalty brings generalisation forward."),
        (
            [0.9, 0.901, 0.902],
            [0.9, 0.902, 0.901],
            "beside that on norms 0.00 [−0.01, 0.01] (less than counts). The first",
        ),
        ([0.81, 0.811, 0.8101], [0.8, 0.801, 0.8], "] (above zero, but less than counts); beside that on norms"),
        ([0.9, 0.7, 0.8], [0.8, 0.8, 0.801], "] (not told whether it counts); beside that on norms"),
        ([0.7, 0.701, 0.7], [0.8, 0.8, 0.801], "] (it loses); beside that on norms"),
    ],
)
def test_the_intervention_needs_to_beat_both_controls(penalised: list[float], norm: list[float], said: str) -> None:
    ends = {"trained": [0.8, 0.801, 0.8], "penalised": penalised, "norm penalised": norm}
    assert said in readings_worlds.intervention(record(ends=ends), PARAMS)


def test_the_intervention_shows_what_each_penalty_does_to_pathways() -> None:
    tables = record({DISTANCE: {"penalised": MORE, "norm penalised": FALL}})
    text = readings_worlds.intervention(tables, PARAMS)
    assert "of which 0.02 counts" in text
    assert "(the first brings pathways closer)" in text
    assert "without a penalty 0." in text
    assert "cannot be put down to distance alone" in text
    other = record({DISTANCE: {"penalised": FALL, "norm penalised": MORE}})
    assert "(the norm penalty brings pathways closer)" in readings_worlds.intervention(other, PARAMS)


def test_arm_b_is_told_by_domain_over_its_second_half() -> None:
    groups = ("prose", "facts", "copy", "sums", "random")
    ends = {"trained": [0.3, 0.4, 0.5], "scrambled": [0.1, 0.1, 0.1]}
    tables = record(ends=ends, world="text", arms=("trained", "scrambled"), groups=groups)
    text = readings_worlds.mixture(tables, PARAMS)
    assert "facts 0.40 (twin 0.10), copy 0.40 (twin 0.10) and sums 0.40 (twin 0.10)" in text
    assert "Of 9 domains of runs 9 are ever memorised" in text
    assert "prose 0" not in text


def test_arms_have_their_sizes_and_passes() -> None:
    text = readings_worlds.arms({}, PARAMS)
    assert "Arm A, many passes" in text
    assert f"about {800 * 256 / (3 * 400 + 320):.0f} times in 800 updates" in text
    assert "64,000 documents" in text
    assert "read about once" in text
