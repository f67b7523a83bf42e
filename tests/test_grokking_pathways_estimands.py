"""What the claims on grokking pathways estimate, on tables with a planted truth and on tables of noise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from evolm.decisions import OUTCOMES, decide
from evolm.evidence import COLUMNS, CannotSpeakError, gather
from evolm.findings.grokking_pathways import curves, estimands, relations
from evolm.findings.grokking_pathways.arms import arms_of
from evolm.findings.grokking_pathways.claims import CLAIMS
from evolm.findings.grokking_pathways.curves import COSINE, DISTANCE, Reading
from evolm.findings.grokking_pathways.parameters import PRESETS, GrokkingPathwaysParams
from evolm.findings.grokking_pathways.schedule import EARLY, measured_steps
from evolm.findings.grokking_pathways.tables import RANDOM

Array = NDArray[np.float64]
Tables = dict[str, pd.DataFrame]
#: (seed, arm, group, time from 0 to 1 (step,)) -> values (step,).
Course = Callable[[int, str, str, Array], Array]
STEPS = np.array(measured_steps(1000, 32))
TIME = STEPS / STEPS[-1]
GROUPS = ("k4", "k7", "k10", RANDOM)
SEEDS = (3, 4, 7, 8, 9)
PARAMS = GrokkingPathwaysParams(**PRESETS["gpu"].overrides)
CLAIM = {claim.name: claim for claim in CLAIMS}
CHARACTERS = Reading("distance, characters", "all", "0.7")


def flat(seed: int, arm: str, group: str, time: Array) -> Array:
    return np.full(len(time), 0.5)


def rising(seed: int, arm: str, group: str, time: Array) -> Array:
    return 0.2 + 0.6 * time


def tables_of(
    accuracy: Course = rising,
    metrics: dict[Reading, Course] | None = None,
    *,
    world: str = "tables",
    arms: tuple[str, ...] = ("trained", "scrambled"),
    seeds: tuple[int, ...] = SEEDS,
    groups: tuple[str, ...] = GROUPS,
    memorised: Callable[[int, str, str], int] = lambda seed, arm, group: 200,
    loss: Course = flat,
) -> Tables:
    """The tables `curve` and `pathways` of one world, in no order."""
    keys = list(product(seeds, arms, groups))
    curve = pd.concat(
        pd.DataFrame(
            {
                "world": world, "seed": seed, "arm": arm, "group": group, "step": STEPS,
                "dating_accuracy": (memorised(seed, arm, group) <= STEPS) / 2 + 0.5,
                "test_accuracy": accuracy(seed, arm, group, TIME), "train_nats": loss(seed, arm, group, TIME),
            }
        )
        for seed, arm, group in keys
    )  # fmt: skip
    rows = [
        pd.DataFrame(
            {
                "world": world, "seed": seed, "arm": arm, "group": group, "step": STEPS, "quantity": reading.quantity,
                "tokens": reading.tokens, "rule": reading.rule, "value": course(seed, arm, group, TIME),
            }
        )
        for (seed, arm, group), (reading, course) in product(keys, (metrics or {}).items())
    ]  # fmt: skip
    found = {"curve": curve, **({"pathways": pd.concat(rows)} if rows else {})}
    return {name: frame.sample(frac=1, random_state=0) for name, frame in found.items()}


def found(frame: pd.DataFrame) -> dict[tuple[int, str], float]:
    """(seed, arm) -> value; the frame holds what a superiority claim needs and a seed once."""
    assert set(COLUMNS["superiority"]) <= set(frame.columns)
    assert not frame.duplicated(["seed", "arm"]).any()
    return dict(zip(zip(frame["seed"], frame["arm"], strict=True), frame["value"], strict=True))


def window(start: int = 200) -> NDArray[np.bool_]:
    return (start <= STEPS) & (np.arange(len(STEPS)) >= 2 * EARLY)


def change(values: Array, start: int = 200) -> float:
    """Mean of the last fifth less that of the first, done slowly."""
    inside = values[window(start)]
    fifth = max(1, round(0.2 * len(inside)))
    return float(np.mean(inside[-fifth:]) - np.mean(inside[:fifth]))


# --- windows --------------------------------------------------------------------------------------------------


def test_a_group_is_memorised_at_the_first_even_step_from_which_two_are_accurate() -> None:
    even = STEPS[2 * EARLY :]
    dates = {"k4": int(even[3]), "k7": 10, "k10": 10**6, RANDOM: int(even[-1])}
    tables = tables_of(memorised=lambda seed, arm, group: dates[group])
    dated = curves.memorised(tables, "tables")
    assert dated[3, "trained", "k4"] == even[3]
    assert dated[3, "trained", "k7"] == even[0]  # early measurements date nothing
    assert (3, "trained", "k10") not in dated.index  # never
    assert (3, "trained", RANDOM) not in dated.index  # at one measurement alone


def test_one_accurate_measurement_is_no_memorisation() -> None:
    tables = tables_of()
    curve = tables["curve"]
    curve["dating_accuracy"] = np.where((curve["step"] == STEPS[12]) | (curve["step"] >= STEPS[20]), 0.95, 0.6)
    assert set(curves.memorised(tables, "tables")) == {STEPS[20]}


def test_the_lag_of_two_arms_begins_at_the_later_memorisation_and_needs_both() -> None:
    def dates(seed: int, arm: str, group: str) -> int:
        return 10**6 if (arm, group) == ("scrambled", "k10") else {"trained": 150, "scrambled": 400}[arm]

    starts = curves.lags(tables_of(memorised=dates), "tables", ["trained", "scrambled"], GROUPS)
    assert set(starts) == set(product(SEEDS, ("k4", "k7", RANDOM)))
    assert set(starts.values()) == {int(STEPS[STEPS >= 400][0])}
    alone = curves.lags(tables_of(memorised=dates), "tables", ["trained"], GROUPS)
    assert set(alone.values()) == {int(STEPS[STEPS >= 150][0])}


def test_too_short_a_lag_has_no_change() -> None:
    assert np.isnan(curves.change_of(STEPS, TIME, float(STEPS[-4])))
    assert curves.change_of(STEPS, TIME, float(STEPS[-5])) == pytest.approx(TIME[-1] - TIME[-5])


# --- changes over the lag -------------------------------------------------------------------------------------

AFTER_MEMORY = ("trained", "scrambled")
#: Estimand -> world, reading, sign, arms.
CHANGES: dict[str, tuple[str, Reading, int, tuple[str, str]]] = {
    "distance_falls": ("tables", DISTANCE, -1, AFTER_MEMORY),
    "consistency_rises": ("tables", COSINE, 1, AFTER_MEMORY),
    "all_tokens_fall": ("tables", Reading("distance", "all", "0.7"), -1, AFTER_MEMORY),
    "top_k_falls": ("tables", Reading("distance", "answer", "top-k"), -1, AFTER_MEMORY),
    "c_rises": ("tables", Reading("C"), 1, AFTER_MEMORY),
    "outputs_agree": ("tables", Reading("cosine, outputs"), 1, AFTER_MEMORY),
    "frozen_rises": ("tables", COSINE, 1, ("trained", "frozen router")),
    "unbalanced_distance": ("tables", DISTANCE, -1, ("aux 0", "aux 0, scrambled")),
    "balanced_distance": ("tables", DISTANCE, -1, ("aux 0.1", "aux 0.1, scrambled")),
    "wide_distance": ("tables, wide", DISTANCE, -1, AFTER_MEMORY),
    "wide_cosine": ("tables, wide", COSINE, 1, AFTER_MEMORY),
    "experts_distance": ("tables, many experts", DISTANCE, -1, AFTER_MEMORY),
    "experts_cosine": ("tables, many experts", COSINE, 1, AFTER_MEMORY),
    "deep_distance": ("tables, deep", DISTANCE, -1, AFTER_MEMORY),
    "deep_cosine": ("tables, deep", COSINE, 1, AFTER_MEMORY),
    "modular_distance": ("modular", DISTANCE, -1, AFTER_MEMORY),
    "modular_cosine": ("modular", COSINE, 1, AFTER_MEMORY),
}


@pytest.mark.parametrize("name", CHANGES)
def test_planted_changes_are_read_per_seed_and_arm_of_learnable_groups_alone(name: str) -> None:
    world, reading, sign, names = CHANGES[name]
    slopes = {(seed, arm): i / 7 - 0.5 for i, (seed, arm) in enumerate(product(SEEDS, names))}
    bend = {"k4": 0.5, "k7": 1.0, "k10": 1.5}  # mean 1

    def course(seed: int, arm: str, group: str, time: Array) -> Array:
        if group == RANDOM:
            return 100 * time
        return 5 + slopes[seed, arm] * bend[group] * time

    tables = tables_of(rising, {reading: course}, world=world, arms=names)
    planted = {key: sign * slope * change(TIME) for key, slope in slopes.items()}
    assert found(getattr(estimands, name)(tables, PARAMS)) == pytest.approx(planted)


def test_characters_are_read_relative_to_where_the_lag_begins() -> None:
    tables = tables_of(
        rising, {CHARACTERS: lambda seed, arm, group, time: 100 - (20 if arm == "trained" else 0) * time}
    )
    values = found(estimands.characters_fall(tables, PARAMS))
    level = 100 - 20 * TIME[window()][: curves.FEWEST].mean()
    assert values[3, "trained"] == pytest.approx(20 * change(TIME) / level)
    assert values[3, "scrambled"] == 0


def test_gain_is_that_of_learnable_groups_beside_the_random_one() -> None:
    for world, name in (("tables", "gain"), ("modular", "modular_gain")):
        tables = tables_of(lambda seed, arm, group, time: (0.01 if group == RANDOM else seed / 10) * time, world=world)
        values = found(getattr(estimands, name)(tables, PARAMS))
        for seed in SEEDS:
            assert values[seed, "trained"] == pytest.approx(seed / 10 * change(TIME))
            assert values[seed, "random group"] == pytest.approx(0.01 * change(TIME))


def test_distance_in_a_run_sets_learnable_groups_against_the_random_one() -> None:
    tables = tables_of(rising, {DISTANCE: lambda seed, arm, group, time: -time * (1 if group == RANDOM else 3)})
    values = found(estimands.distance_in_run(tables, PARAMS))
    assert values[4, "trained"] == pytest.approx(3 * values[4, "random group"]) == pytest.approx(3 * change(TIME))


def test_ends_are_differences_to_the_trained_arm_of_the_same_seed() -> None:
    level = {"trained": 0.9, "scrambled": 0.1, "frozen router": 0.85, "dense": 0.7}
    tables = tables_of(lambda seed, arm, group, time: np.full(len(time), level[arm] + seed / 1000), arms=tuple(level))
    for name, arm in (("frozen_alike", "frozen router"), ("dense_alike", "dense")):
        values = found(getattr(estimands, name)(tables, PARAMS))
        assert set(values) == set(product(SEEDS, (arm, "scrambled")))
        assert values[3, arm] == pytest.approx(0.9 - level[arm])
        assert values[3, "scrambled"] == pytest.approx(0.8)


def test_without_decay_less_is_gained() -> None:
    slope = {"trained": 0.5, "no decay": 0.2}
    tables = tables_of(lambda seed, arm, group, time: slope[arm] * time, arms=tuple(slope))
    values = found(estimands.no_decay(tables, PARAMS))
    assert values[3, "trained"] == pytest.approx(2.5 * values[3, "no decay"]) == pytest.approx(0.5 * change(TIME))


def test_harder_groups_are_compared_in_the_second_half() -> None:
    level = {"k4": 0.9, "k7": 0.7, "k10": 0.3, RANDOM: 0.0}
    tables = tables_of(lambda seed, arm, group, time: np.where(time < 0.5, 0.99, level[group]))
    assert found(estimands.harder_later(tables, PARAMS))[3, "trained"] == pytest.approx(0.6)


def test_the_intervention_is_read_over_the_logarithm_of_the_step() -> None:
    arms = ("penalised", "norm penalised", "trained")
    tables = tables_of(lambda seed, arm, group, time: np.log(np.maximum(time, TIME[1])) + arms.index(arm), arms=arms)
    values = found(estimands.intervention(tables, PARAMS))
    middle = (np.log(TIME[1]) + np.log(TIME[-1])) / 2
    for number, arm in enumerate(arms):
        assert values[3, arm] == pytest.approx(middle + number)


def test_on_the_mixture_the_second_half_is_read_of_domains_that_can_be_known() -> None:
    domains = ("prose", "facts", "copy", "sums", "random")

    def course(seed: int, arm: str, group: str, time: Array) -> Array:
        known = group in curves.TEXT_GROUPS
        return np.where(time < 0.5, 9.0, (1.0 if known else 50.0) * time)

    tables = tables_of(rising, {DISTANCE: course, COSINE: course}, world="text", groups=domains)
    expected = change(TIME, 500)
    assert found(estimands.text_cosine(tables, PARAMS))[3, "trained"] == pytest.approx(expected)
    assert found(estimands.text_distance(tables, PARAMS))[3, "scrambled"] == pytest.approx(-expected)


# --- the order of generalising --------------------------------------------------------------------------------


def cells_of(
    generalised: Callable[[int, Array], Array], luck: float = 10.0, seeds: tuple[int, ...] = SEEDS, noise: float = 0.0
) -> Tables:
    """The table `cells`: groups memorised at different dates, whose held-out cells follow as told."""
    rng = np.random.default_rng(0)
    frames = []
    for seed, (place, group) in product(seeds, enumerate(GROUPS)):
        when = 4 + place + rng.random(40)
        then = np.full(40, luck) if group == RANDOM else generalised(seed, when) + noise * rng.standard_normal(40)
        frames.append(
            pd.DataFrame({"seed": seed, "group": group, "cell": range(40), "memorised": when, "generalised": then})
        )
    table = pd.concat(frames).assign(world="tables", arm="trained", trained=5, held_out=10)
    return {"cells": pd.concat([table, table.assign(arm="scrambled", generalised=0.0)]).sample(frac=1, random_state=1)}


def test_cells_that_follow_their_training_cells_are_later_by_as_much() -> None:
    tables = cells_of(lambda seed, when: 3 + 2 * when)
    values = found(estimands.order_of_generalising(tables, PARAMS))
    rows = tables["cells"].query("arm == 'trained' and seed == 3 and group != @RANDOM")
    late = rows["memorised"] > rows["memorised"].median()
    gap = float(rows["memorised"][late].mean() - rows["memorised"][~late].mean())
    assert values[3, "matched"] == pytest.approx(2 * gap)
    assert abs(values[3, "random pairing"]) < 0.1 * gap
    assert values[3, "random group"] == 0
    lag = found(estimands.lag_grows(tables, PARAMS))
    assert lag[3, "matched"] == pytest.approx(gap)
    assert lag[3, "random pairing"] == pytest.approx(-gap, rel=0.2)  # what is memorised late then waits less


def test_the_mean_lag_is_the_same_under_every_pairing_so_that_it_is_no_evidence() -> None:
    cells = cells_of(lambda seed, when: 3 + 2 * when)["cells"]
    shuffled = np.random.default_rng(0).permutation(cells["generalised"])
    assert (cells["generalised"] - cells["memorised"]).mean() == pytest.approx((shuffled - cells["memorised"]).mean())


def test_an_order_between_tables_alone_is_none_within_them() -> None:
    tables = cells_of(lambda seed, when: np.full(len(when), np.floor(when.mean())))
    assert found(estimands.order_of_generalising(tables, PARAMS))[3, "matched"] > 1
    assert found(estimands.order_within(tables, PARAMS))[3, "matched"] == pytest.approx(0, abs=1e-9)


def test_cells_that_are_all_memorised_at_once_have_no_order() -> None:
    tables = cells_of(lambda seed, when: when)
    tables["cells"]["memorised"] = 5.0
    assert estimands.order_of_generalising(tables, PARAMS).empty


# --- relations of metrics and accuracy ------------------------------------------------------------------------


def wandering(number: int, scale: float) -> Course:
    """A rise with a wander of its own for each run."""

    def course(seed: int, arm: str, group: str, time: Array) -> Array:
        key = [number, seed, *(sum(map(ord, name)) for name in (arm, group))]
        rng = np.random.default_rng(key)
        wander = np.convolve(rng.standard_normal(len(time) + 4), np.ones(5) / 5, "valid")
        return 0.3 + 0.4 * np.sqrt(time) + scale * wander

    return course


ACCURACY, OTHER = wandering(1, 0.1), wandering(2, 0.1)


def test_a_metric_that_is_accuracy_correlates_fully_given_time_and_predicts() -> None:
    falling: Course = lambda seed, arm, group, time: -ACCURACY(seed, arm, group, time)  # noqa: E731
    tables = tables_of(ACCURACY, {DISTANCE: falling, COSINE: ACCURACY}, arms=("trained", "frozen router"))
    for name in ("raw_distance", "raw_cosine", "detrended_distance", "detrended_cosine"):
        values = found(getattr(estimands, name)(tables, PARAMS))
        assert values[3, "metric"] == pytest.approx(1)
    assert found(estimands.differences(tables, PARAMS))[3, "trained"] == pytest.approx(1)
    predicted = found(estimands.prediction(tables, PARAMS))
    assert min(predicted[seed, "trained"] for seed in SEEDS) > 0.02
    assert np.mean([predicted[seed, "shifted"] for seed in SEEDS]) < 0.005


def test_two_unrelated_rises_correlate_raw_and_not_given_time_and_do_not_predict() -> None:
    seeds = tuple(range(12))
    small = {"accuracy": wandering(1, 0.02), "metric": wandering(2, 0.02)}
    tables = tables_of(
        small["accuracy"], {DISTANCE: OTHER, COSINE: small["metric"]}, seeds=seeds, arms=("trained", "frozen router")
    )
    raw = found(estimands.raw_cosine(tables, PARAMS))
    assert np.mean([raw[seed, "metric"] for seed in seeds]) > 0.8
    assert np.mean([raw[seed, "step"] for seed in seeds]) > np.mean([raw[seed, "metric"] for seed in seeds])
    given = found(estimands.detrended_cosine(tables, PARAMS))
    assert abs(np.mean([given[seed, "metric"] for seed in seeds])) < 0.15
    predicted = found(estimands.prediction(tables, PARAMS))
    assert np.mean([predicted[seed, "trained"] for seed in seeds]) < 0.002


def test_smoothed_loss_is_compared_by_the_size_of_its_correlation() -> None:
    tables = tables_of(rising, {COSINE: OTHER}, loss=lambda seed, arm, group, time: 2 - time)
    values = found(estimands.loss_tracks(tables, PARAMS))
    assert values[3, "loss"] > 0.99  # smoothing lags a little behind
    assert 0 <= values[3, "trained"] < 1


def test_prediction_is_better_than_the_mean_course_and_the_loss_and_not_than_the_step_alone() -> None:
    """Where seeds share one course, the baseline knows all of it, and a metric that is that course adds nothing."""
    tables = tables_of(rising, {DISTANCE: rising, COSINE: rising}, arms=("trained", "frozen router"))
    values = found(estimands.prediction(tables, PARAMS))
    assert max(abs(value) for value in values.values()) < 1e-6


def test_a_loss_that_tells_accuracy_leaves_nothing_for_a_metric_to_tell() -> None:
    def offset(seed: int, arm: str, group: str, time: Array) -> Array:
        return rising(seed, arm, group, time) + seed / 50

    tables = tables_of(offset, {DISTANCE: offset, COSINE: offset}, loss=offset, arms=("trained", "frozen router"))
    told = found(estimands.prediction(tables, PARAMS))
    tables = tables_of(offset, {DISTANCE: offset, COSINE: offset}, arms=("trained", "frozen router"))
    untold = found(estimands.prediction(tables, PARAMS))
    assert abs(told[3, "trained"]) < 0.005
    assert untold[3, "trained"] > 0.02


def test_fewer_than_three_seeds_predict_nothing() -> None:
    tables = tables_of(rising, {DISTANCE: rising, COSINE: rising}, seeds=(3, 4))
    assert relations.left_out(tables, "tables", "trained", estimands.METRICS).empty


# --- verdicts under a null ------------------------------------------------------------------------------------


def verdict_of(name: str, frame: pd.DataFrame) -> str:
    return OUTCOMES[int(decide(gather(CLAIM[name], frame).rules, 0.95))]


def noisy(trend: float, number: int, noise: float = 0.02) -> Course:
    """A drift that is a seed's and a little noise that is a run's."""

    def course(seed: int, arm: str, group: str, time: Array) -> Array:
        shared = np.random.default_rng([number, seed]).normal(trend, 0.02)
        own = np.random.default_rng([number, seed, sum(map(ord, arm + group))])
        return 0.5 + (shared + own.normal(0, noise)) * time + own.normal(0, noise, len(time))

    return course


def test_a_drift_that_the_twin_shares_is_never_called_reproduced() -> None:
    """Both metrics move far beyond delta, alike on learnable and on scrambled labels."""
    seen = []
    for number in range(12):
        tables = tables_of(rising, {DISTANCE: noisy(-0.2, number), COSINE: noisy(0.2, number)}, seeds=tuple(range(8)))
        seen.append(verdict_of("distance-falls", estimands.distance_falls(tables, PARAMS)))
        seen.append(verdict_of("consistency-rises", estimands.consistency_rises(tables, PARAMS)))
    assert seen.count("reproduced") <= 1  # of 24 at a level of 5 %
    assert seen.count("not specific") > 5


def test_a_fall_in_the_trained_arm_alone_is_found() -> None:
    def course(seed: int, arm: str, group: str, time: Array) -> Array:
        return noisy(-0.15 if arm == "trained" else 0.0, seed)(seed, arm, group, time)

    tables = tables_of(rising, {DISTANCE: course, COSINE: course}, seeds=tuple(range(8)))
    assert verdict_of("distance-falls", estimands.distance_falls(tables, PARAMS)) == "reproduced"
    assert verdict_of("consistency-rises", estimands.consistency_rises(tables, PARAMS)) == "not reproduced"


def test_cells_in_no_order_are_never_called_reproduced_and_followers_are() -> None:
    rng = np.random.default_rng(0)
    blind = cells_of(lambda seed, when: 8 + rng.standard_normal(len(when)), seeds=tuple(range(8)))
    name = "later-memorised-generalises-later"
    assert verdict_of(name, estimands.order_of_generalising(blind, PARAMS)) == "not reproduced"
    led = cells_of(lambda seed, when: 3 + when, seeds=tuple(range(8)), noise=0.5)
    assert verdict_of(name, estimands.order_of_generalising(led, PARAMS)) == "reproduced"


def test_unrelated_metrics_are_never_called_predictors() -> None:
    seen = []
    for number in range(5):
        tables = tables_of(
            wandering(10 + number, 0.08),
            {DISTANCE: wandering(40 + number, 0.08), COSINE: wandering(70 + number, 0.08)},
            seeds=tuple(range(8)), arms=("trained", "frozen router"),
        )  # fmt: skip
        seen.append(verdict_of("metrics-predict-accuracy", estimands.prediction(tables, PARAMS)))
    assert "reproduced" not in seen


# --- claims ---------------------------------------------------------------------------------------------------


def test_at_most_four_claims_are_core_and_each_names_a_measure() -> None:
    assert sum(claim.core for claim in CLAIMS) == 4
    for claim in CLAIMS:
        assert callable(getattr(estimands, claim.measure))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_a_record_without_its_tables_is_told_apart_from_evidence(claim: Any) -> None:
    frame = getattr(estimands, claim.measure)({}, PARAMS)
    assert frame.empty
    with pytest.raises((CannotSpeakError, ValueError)):
        gather(claim, frame if len(frame.columns) else pd.DataFrame(columns=["seed", "arm", "value"]))


def test_core_claims_can_speak_at_every_preset_and_others_say_what_they_need() -> None:
    for name, preset in PRESETS.items():
        params = GrokkingPathwaysParams(**preset.overrides)
        silent = {claim.name: claim.cannot_speak(params) for claim in CLAIMS}
        assert not any(silent[claim.name] for claim in CLAIMS if claim.core), name
        if name == "paper":
            assert not any(silent.values())
        for claim in CLAIMS:
            needed = {claim.arm, *claim.controls} & {"no decay", "dense", "penalised", "aux 0", "aux 0.1"}
            assert not needed or bool(silent[claim.name]) == (not needed <= set(arms_of(params))), claim.name
