"""What the claims of the pass@k boundary estimate, on tables whose answers follow by hand, and their verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evolm import judging, paths
from evolm.evidence import COLUMNS
from evolm.finding import Claim
from evolm.findings.rlvr_boundary import FINDING, estimands
from evolm.findings.rlvr_boundary.measure import TOLERANCE
from evolm.record import Record, Store
from evolm.verdict import judge

K = 256
#: An arm's models: (step, temperature) -> success probability of every problem.
Models = Mapping[tuple[int, float], Sequence[float]]
TWO: dict[str, Any] = {"k_max": 2}


def success(arms: Mapping[str, Models], *, cue: float = 0.5, seed: int = 1000, problems: str = "test") -> pd.DataFrame:
    labels = {"seed": seed, "cue": cue, "set": problems}
    rows = [
        {**labels, "arm": arm, "step": step, "temperature": temperature, "problem": i, "p": p}
        for arm, models in arms.items() for (step, temperature), values in models.items() for i, p in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def one(*p: float, step: int = 0) -> Models:
    """An arm measured once, at temperature 1."""
    return {(step, 1.0): p}


def parameters(**overrides: Any) -> Any:
    return FINDING.resolve("cpu", **overrides)


def values(frame: pd.DataFrame) -> dict[str, float]:
    assert not frame.duplicated(["seed", "arm"]).any()
    return dict(zip(frame["arm"], frame["value"], strict=True))


#: The base solves a tenth of all samples of every problem; the tuned model nine tenths of one half's and no other.
SHARP = {"base": one(*[0.1] * 4), "rl": one(0.9, 0.9, 0, 0, step=150)}


# --- pass@k ---------------------------------------------------------------------------------------------------


def test_curves_are_means_over_problems_of_the_closed_form() -> None:
    found = estimands.curves({"success": success({"base": one(0.1, 0.5)})}, [1, 3])
    assert dict(zip(found["k"], found["value"], strict=True)) == {
        1: pytest.approx(0.3), 3: pytest.approx(1 - (0.9**3 + 0.5**3) / 2)
    }  # fmt: skip
    assert list(found.columns) == ["seed", "cue", "arm", "step", "temperature", "k", "value"]


def test_an_arm_is_judged_at_its_last_step_temperature_one_and_the_cue_asked_for() -> None:
    rl = {(10, 1.0): [0.2], (50, 1.0): [0.3], (50, 1.5): [0.4]}
    tables = {"success": pd.concat([success({"base": one(0.1), "rl": rl}), success({"rl": one(0.9)}, cue=1.0)])}
    wide = estimands.by_arm(tables, 0.5, 1)
    assert wide.loc[1000].to_dict() == {"base": pytest.approx(0.1), "rl": pytest.approx(0.3)}


def test_gain_loss_and_crossing_of_a_sharpened_model() -> None:
    tables, params = {"success": success(SHARP)}, parameters()
    lead, deficit = 0.45 - 0.1, (1 - 0.9**K) - 0.5 * (1 - 0.1**K)
    assert values(estimands.gain_at_one(tables, params)) == {"rl": pytest.approx(lead)}
    assert values(estimands.coverage_lost(tables, params)) == {"rl": pytest.approx(deficit)}
    assert values(estimands.crossing(tables, params)) == {"rl": pytest.approx(lead)}


def test_other_rewards_are_taken_at_the_best_of_their_measured_steps_and_reinforcement_at_its_last() -> None:
    arms = {
        "base": one(0.3, 0.3),  # pass@1 .3, pass@2 .51
        "rl": {(5, 1.0): [0.9, 0.0], (9, 1.0): [0.4, 0.4], (9, 1.5): [1.0, 1.0]},  # it crosses at step 5 alone
        "random": {(5, 1.0): [0.35, 0.35], (9, 1.0): [0.0, 0.0], (9, 0.2): [1.0, 1.0]},
        "format": {(5, 1.0): [0.1, 0.1], (9, 1.0): [0.7, 0.0]},  # .35 and .455: it crosses at its last step
    }
    tables, params = {"success": pd.concat([success(arms), success({"rl": one(1.0)}, cue=1.0)])}, parameters(**TWO)
    lead = {"rl": 0.1, "random": 0.05, "format": 0.05}
    assert values(estimands.gain_at_one(tables, params)) == pytest.approx(lead)
    # random leads by .05 and is ahead at two by .0675, then falls by .3 and .51: never one and then the other
    assert values(estimands.crossing(tables, params)) == pytest.approx({"rl": -0.13, "random": -0.0675, "format": 0.05})


def test_the_best_step_of_another_reward_is_chosen_for_every_seed_alone() -> None:
    parts = []
    for seed, early, late in ((2000, 0.5, 0.1), (2001, 0.1, 0.4)):
        steps: Models = {(5, 1.0): [early], (9, 1.0): [late]}
        parts.append(success({"base": one(0.2), "rl": one(0.3, step=9), "format": steps}, seed=seed))
    frame = estimands.gain_at_one({"success": pd.concat(parts)}, parameters())
    lead = frame[frame["arm"] == "format"].set_index("seed")["value"].to_dict()
    assert lead == {2000: pytest.approx(0.3), 2001: pytest.approx(0.2)}


@pytest.mark.parametrize(
    ("rl", "crosses"), [((0.9, 0.0), True), ((0.9, 0.9), False), ((0.05, 0.0), False), ((0.1, 0.1), False)]
)
def test_curves_cross_only_where_the_tuned_model_leads_at_one_and_trails_at_many(
    rl: tuple[float, float], crosses: bool
) -> None:
    tables = {"success": success({"base": one(0.1, 0.1), "rl": one(*rl, step=1)})}
    assert (values(estimands.crossing(tables, parameters()))["rl"] > 0) == crosses


def test_loss_at_either_end_of_the_cue_is_that_of_the_lowest_and_highest_cue() -> None:
    parts = [success({"base": one(1.0), "rl": one(1 - cue / 2)}, cue=cue) for cue in (0.0, 0.5, 1.0)]
    tables, params = {"success": pd.concat(parts)}, parameters(k_max=2)
    lost = (estimands.coverage_lost_unhinted, estimands.coverage_lost, estimands.coverage_lost_hinted)
    assert [values(measure(tables, params))["rl"] for measure in lost] == pytest.approx([0, 0.25**2, 0.5**2])


# --- solvable sets --------------------------------------------------------------------------------------------


def test_solvable_sets_are_the_products_of_what_two_models_solve() -> None:
    arms = {"base": one(0.5, 0.1), "rl": one(0.9, 0.0, step=9)}
    table = estimands.solvable_sets({"success": success(arms)}, parameters(**TWO), 0.5).set_index("arm")
    base, tuned = np.array([0.75, 0.19]), np.array([0.99, 0.0])
    assert table.loc["rl", "both"] == pytest.approx((base * tuned).mean())
    assert table.loc["rl", "base_only"] == pytest.approx((base * (1 - tuned)).mean())
    assert table.loc["rl", "other_only"] == pytest.approx(((1 - base) * tuned).mean())
    assert table.loc["rl", "neither"] == pytest.approx(((1 - base) * (1 - tuned)).mean())
    assert table["base"].to_list() == pytest.approx([base.mean()] * 2)
    assert table[["both", "base_only", "other_only", "neither"]].sum(axis=1).to_list() == pytest.approx([1, 1])
    assert table["base_only"]["base"] == table["other_only"]["base"]  # two draws of one model are alike


def test_what_lies_outside_is_measured_beside_a_second_draw_of_the_base() -> None:
    arms = {"base": one(0.5, 0.0), "rl": one(0.5, 1.0, step=9), "rft": one(1, 1, step=9)}
    frequent = success({"base": one(0.0, 0.0), "rl": one(1.0, 1.0)})
    elsewhere = success({"base": one(1.0, 1.0), "rl": one(0.0, 0.0)}, cue=0.0, problems="rare")
    core, high = success(arms, problems="rare"), success(arms, cue=1.0, problems="rare")
    params = parameters(**TWO)
    for measure, part in ((estimands.solved_outside, core), (estimands.solved_outside_hinted, high)):
        frame = measure({"success": pd.concat([frequent, elsewhere, part])}, params)  # rare problems alone
        expected = {"second-draw": pytest.approx(0.25 * 0.75 / 2), "rl": pytest.approx((0.25 * 0.75 + 1) / 2)}
        assert values(frame) == expected
        assert frame["coverage"].to_list() == pytest.approx([0.375] * 2)


def test_second_draw_is_what_drawing_twice_gives() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 0.05, 200)
    draws = rng.random((2, 400, 200)) < 1 - (1 - p) ** 16  # (draw, repeat, problem)
    counted = (draws[0] & ~draws[1]).mean()
    rows = success({"base": one(*p)}, problems="rare")
    frame = estimands.solved_outside({"success": rows}, parameters(k_max=16))
    assert values(frame)["second-draw"] == pytest.approx(counted, abs=0.005)


# --- over training, on rare problems, in perplexity -----------------------------------------------------------


def test_narrowing_is_the_fall_from_the_first_checkpoint_to_the_last_step_at_the_core_cue_and_the_highest() -> None:
    arms = {
        "base": one(1.0),
        "rl": {(100, 1.0): [0.2], (10, 1.0): [0.6], (150, 1.0): [0.1], (150, 1.6): [1.0]},
        "format": {(10, 1.0): [0.5], (150, 1.0): [0.1]},
        "rft": one(0.3, step=150),
    }
    hinted = {"base": one(0.1), "rl": {(10, 1.0): [0.5], (150, 1.0): [0.7]}}
    between = {"rl": {(10, 1.0): [1.0], (150, 1.0): [0.0]}}
    parts = [success(arms), success(hinted, cue=1.0), success(between, cue=0.0), success(between, problems="rare")]
    frame = estimands.narrowing({"success": pd.concat(parts)}, parameters(**TWO))
    fall = {"rl": (1 - 0.4**2) - (1 - 0.9**2), "hinted": (1 - 0.5**2) - (1 - 0.3**2)}
    assert values(frame) == pytest.approx(fall)


def test_narrowing_has_no_evidence_without_a_checkpoint_or_without_reinforcement() -> None:
    assert len(estimands.narrowing({"success": success(SHARP)}, parameters())) == 0
    other = success({"base": one(0.1), "format": {(10, 1.0): [0.5], (150, 1.0): [0.1]}})
    assert len(estimands.narrowing({"success": other}, parameters())) == 0


def test_rare_problems_are_their_own_set_found_where_hinted_and_lost_at_the_core() -> None:
    parts = [
        success({"base": one(0.0), "rl": one(0.5), "rft": one(0.2)}, cue=1.0, problems="rare"),
        success({"base": one(1.0), "rl": one(0.0), "rft": one(0.5)}, cue=0.5, problems="rare"),
        success({"base": one(1.0), "rl": one(1.0), "rft": one(1.0)}, cue=1.0),
        success({"base": one(1.0), "rl": one(1.0), "rft": one(1.0)}, cue=0.5),
    ]
    tables, params = {"success": pd.concat(parts)}, parameters(**TWO)
    assert values(estimands.rare_found(tables, params)) == {"rl": pytest.approx(0.75), "rft": pytest.approx(0.36)}
    assert values(estimands.rare_lost(tables, params)) == {"rl": pytest.approx(1), "rft": pytest.approx(0.25)}


def perplexities(levels: Mapping[tuple[str, float], float], cue: float = 0.5, seed: int = 1000) -> pd.DataFrame:
    """Two samples of each model, whose log perplexities lie 0.1 above and below the level given."""
    rows = [
        {"seed": seed, "cue": cue, "arm": arm, "temperature": t, "under_base": np.float32(np.exp(nats + shift))}
        for (arm, t), nats in levels.items() for shift in (-0.1, 0.1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_perplexities_are_compared_in_nats_with_cool_samples_of_the_base_beside() -> None:
    levels = {("base", 1.0): 0.6, ("base", 0.6): 0.4, ("rl", 1.0): 0.1, ("rft", 1.0): 0.3}
    tables = {"perplexity": pd.concat([perplexities(levels), perplexities({("rl", 1.0): 9.0}, cue=1.0)])}
    found = values(estimands.likely_under_base(tables, parameters()))
    assert found == {"rl": pytest.approx(0.5, abs=1e-6), "cooled": pytest.approx(0.2, abs=1e-6)}


# --- temperatures ---------------------------------------------------------------------------------------------


#: The base, (pass@1, pass@2): (.2, .36) at temperature 1 and (.4, .48) at the middle one; others are not looked at.
COOLED: Models = {(0, 1.0): [0.2, 0.2], (0, 0.2): [1.0, 1.0], (0, 0.5): [0.0, 0.8], (0, 0.8): [0.0, 0.0]}
MIDDLE: dict[str, Any] = {"k_max": 2, "temperatures": (0.8, 0.2, 0.5)}


def test_an_arm_is_compared_at_the_pass_at_one_of_the_base_at_its_middle_temperature() -> None:
    arms = {
        "base": COOLED,
        "rl": one(0.0, 1.0, step=9),  # (.5, .5): two thirds of the way from the base is .4
        "rft": one(0.4, 0.4, step=9),  # (.4, .64): there
        "named": one(1.0, 1.0),
    }
    frame = estimands.below_envelope({"success": success(arms)}, parameters(**MIDDLE))
    path = 0.36 + (0.5 - 0.36) * 2 / 3
    assert values(frame) == {"rl": pytest.approx(0.48 - path), "rft": pytest.approx(0.48 - 0.64)}


def test_the_middle_of_an_even_number_of_temperatures_is_the_upper_one() -> None:
    arms = {"base": COOLED, "rl": one(0.0, 1.0, step=9), "rft": one(0.0, 0.0, step=9)}
    params = parameters(k_max=2, temperatures=(0.5, 0.2))
    path = 0.36 + (0.5 - 0.36) * 2 / 3
    assert values(estimands.below_envelope({"success": success(arms)}, params))["rl"] == pytest.approx(0.48 - path)


def test_the_path_of_an_arm_goes_through_its_checkpoints() -> None:
    arms = {
        "base": COOLED,
        "rl": {(5, 1.0): [0.4, 0.4], (9, 1.0): [0.0, 1.0], (9, 1.5): [1.0, 1.0]},  # (.4, .64), (.5, .5)
        "rft": one(0.2, 0.2, step=9),
    }
    frame = estimands.below_envelope({"success": success(arms)}, parameters(**MIDDLE))
    assert values(frame)["rl"] == pytest.approx(0.48 - 0.64)
    rows = estimands.curves({"success": success(arms)}, [1, 2])
    cooled = rows[(rows["arm"] == "base") & rows["temperature"].isin([0.5, 1.0])]
    assert estimands.frontier(cooled, 2)[[1, 2]].to_numpy().tolist() == [
        pytest.approx([0.2, 0.36]), pytest.approx([0.4, 0.48])
    ]  # fmt: skip


def test_an_arm_that_does_not_get_as_far_as_the_cooled_base_is_taken_where_it_ends() -> None:
    arms = {"base": COOLED, "rl": one(0.3, 0.3, step=9)}  # (.3, .51)
    frame = estimands.below_envelope({"success": success(arms)}, parameters(**MIDDLE))
    assert values(frame) == {"rl": pytest.approx(0.48 - 0.51)}


def test_without_the_base_at_its_middle_temperature_nothing_is_said_of_cooling() -> None:
    frame = estimands.below_envelope({"success": success(SHARP)}, parameters(**MIDDLE))
    assert frame.empty
    assert list(frame.columns) == ["seed", "arm", "value"]


def test_a_warmed_model_is_judged_at_its_best_temperature_and_the_base_at_one() -> None:
    arms = {
        "base": {(0, 1.0): [0.5], (0, 2.0): [0.9]},
        "rl": {(5, 1.0): [0.9], (9, 1.0): [0.1], (9, 1.5): [0.3], (9, 2.0): [0.2]},
        "rft": one(0.4, step=9),
    }
    found = values(estimands.warmed({"success": success(arms)}, parameters(**TWO)))
    assert found == {"rl": pytest.approx(0.75 - 0.51), "rft": pytest.approx(0.75 - 0.64)}


# --- other arms -----------------------------------------------------------------------------------------------


def test_the_efficiency_gap_is_from_pass_at_one_to_the_bases_coverage() -> None:
    arms = {"base": one(0.5), "rl": one(0.3, step=9), "named": {(0, 1.0): [0.4], (0, 0.1): [0.7]}}
    found = values(estimands.efficiency_gap({"success": success(arms)}, parameters(**TWO)))
    assert found == {"rl": pytest.approx(0.45), "named": pytest.approx(0.05)}


def test_iteration_is_the_arm_of_the_most_rounds() -> None:
    arms = {"base": one(1.0), "rft": one(0.8), "rft-4": one(0.5), "rft-16": one(0.2)}
    found = values(estimands.iteration({"success": success(arms)}, parameters(k_max=2, rft_rounds=(1, 4, 16))))
    assert found == {"rft-rounds": pytest.approx(0.8**2), "rft": pytest.approx(0.2**2)}


def test_imitation_is_ahead_where_it_leads_reinforcement_at_one_and_at_many() -> None:
    arms = {
        "base": one(0.1),
        "rl": {(9, 1.0): [0.5], (9, 1.5): [1.0]},  # (.5, .75)
        "rft": one(0.4, step=9),  # (.4, .64)
        "rft-2": one(1.0, step=9),
        "rft-4": {(9, 1.0): [0.8]},  # (.8, .96)
    }
    params = parameters(k_max=2, rft_rounds=(1, 4, 2))
    tables = {"success": pd.concat([success(arms), success({"rl": one(1.0)}, cue=1.0)])}
    found = values(estimands.imitation_ahead(tables, params))
    assert found == {"rft-rounds": pytest.approx(0.21), "rft": pytest.approx(-0.11)}


@pytest.mark.parametrize(
    ("imitated", "expected"),
    [
        ((1.0, 0.5), 0.125),  # (.75, .875): ahead at both, less so at many
        ((1.0, 0.2), -0.07),  # (.6, .68): ahead at one, behind at many
        ((0.49, 0.49), -0.0101),  # (.49, .7399): behind at both
    ],
)
def test_a_lead_at_one_end_alone_is_not_ahead(imitated: tuple[float, float], expected: float) -> None:
    arms = {"base": one(0.1, 0.1), "rl": one(0.5, 0.5, step=9), "rft-4": one(*imitated, step=9)}
    found = values(estimands.imitation_ahead({"success": success(arms)}, parameters(k_max=2, rft_rounds=(1, 4))))
    assert found == {"rft-rounds": pytest.approx(expected)}


def test_without_reinforcement_or_rounds_there_is_nothing_to_be_ahead_of() -> None:
    params = parameters(k_max=2, rft_rounds=(1, 4))
    assert len(estimands.imitation_ahead({"success": success({"base": one(0.1), "rft-4": one(0.9)})}, params)) == 0
    assert len(estimands.imitation_ahead({"success": success({"base": one(0.1), "rl": one(0.9)})}, params)) == 0


def test_distillation_and_its_controls_are_gains_over_the_base() -> None:
    arms = {"base": one(0.5), "distil": one(1.0), "distil-known": one(0.5), "rl": one(0.0), "rft": one(1.0)}
    found = values(estimands.distilled({"success": success(arms)}, parameters(**TWO)))
    assert found == {"distil": pytest.approx(0.25), "distil-known": 0, "rl": pytest.approx(-0.75)}


def test_algorithms_are_compared_at_one_and_at_many() -> None:
    compared = {"rl-grpo": one(0.2), "rl-rloo": one(0.4)}
    tables = {"success": success({"base": one(0.5), "rl": one(0.9), **compared, "rl-kl=0.1": one(1.0)})}
    params = parameters(k_max=2, algorithms=("grpo", "rloo"))
    assert values(estimands.algorithms_gain(tables, params)) == {"rl": 0.2, "rl-rloo": 0.4}
    assert values(estimands.algorithms_coverage(tables, params)) == pytest.approx({"rl": 0.36, "rl-rloo": 0.64})
    assert len(estimands.algorithms_gain(tables, parameters())) == 0  # one algorithm is no comparison


def test_bayes_routing_is_a_share_of_the_test_problems_of_the_cue() -> None:
    levels = pd.DataFrame(
        [(1000, 0.5, "test", True), (1000, 0.5, "test", False), (1000, 0.5, "rare", True), (1000, 1.0, "test", True)],
        columns=["seed", "cue", "set", "bayes"],
    )
    tables = {"success": success({"base": one(0.1), "rl": one(0.45)}), "levels": levels}
    assert values(estimands.above_bayes(tables, parameters())) == pytest.approx({"rl": -0.05, "base": -0.4})


@pytest.mark.parametrize(("samples", "k"), [(4, 1), (7, 1), (8, 2), (16, 4), (63, 8), (64, 16), (1024, 256)])
def test_a_quarter_of_the_samples_is_a_power_of_two(samples: int, k: int) -> None:
    assert estimands.quarter(parameters(model_samples=samples)) == k


def test_open_models_are_read_at_one_sample_and_at_a_quarter_of_them() -> None:
    quantities = ["pass@k"] * 3 + ["chance: guess"]
    rows = pd.DataFrame({"quantity": quantities, "k": [1, 4, 16, 4], "value": [0.2, 0.4, 0.6, 0.9]})
    rows = rows.assign(model="m", low=0.1, high=0.7)
    params = parameters(model_samples=16)
    at_one, at_many = (
        f({"open_models": rows}, params) for f in (estimands.open_models_at_one, estimands.open_models_at_many)
    )
    assert (at_one["value"].item(), at_many["value"].item()) == (0.2, 0.4)
    assert list(at_one.columns) == ["unit", "value", "low", "high"]
    assert len(estimands.open_models_at_one({}, params)) == 0


# --- every claim, and its verdict -----------------------------------------------------------------------------

SEEDS = range(2000, 2006)
PROBLEMS = 40
ALGORITHMS = ("grpo", "ppo", "rloo", "remax", "reinforce++", "dapo")
CHOSEN: dict[str, Any] = {
    "seeds": len(SEEDS), "cues": (0.0, 0.5, 1.0), "rft_rounds": (1, 4), "algorithms": ALGORITHMS,
}  # fmt: skip


def first(count: int, p: float) -> list[float]:
    """The first `count` problems solved with probability p, the others never."""
    return [p] * count + [0.0] * (PROBLEMS - count)


BASE = first(32, 0.1)
#: Everything as the paper says: tuned models are sure of few problems, and controls stay where the base is.
EFFECT: dict[str, Models] = {
    "base": {(0, 1.0): BASE, (0, 0.4): first(30, 0.3), (0, 0.1): first(28, 0.5)},
    "named": {(0, 1.0): first(32, 0.7), (0, 0.1): first(32, 0.95)},
    "rl": {(10, 1.0): first(28, 0.3), (1000, 1.0): first(16, 0.9), (1000, 1.6): first(18, 0.5)},
    "rft": {(1000, 1.0): first(30, 0.3)},
    "rft-4": {(1000, 1.0): first(24, 0.7)},
    "random": {(10, 1.0): BASE, (1000, 1.0): BASE},
    "format": {(10, 1.0): BASE, (1000, 1.0): BASE},
    "distil": {(400, 1.0): first(40, 0.5)},
    "distil-known": {(400, 1.0): first(32, 0.5)},
    **{f"rl-{name}": {(1000, 1.0): first(16, 0.9)} for name in ALGORITHMS},
}
#: Where the prompt names the method training longer narrows no further.
STEADY: Models = {step: first(16, 0.9) for step in EFFECT["rl"]}
#: Tuning of any kind does nothing.
NULL: dict[str, Models] = {arm: dict.fromkeys(models, BASE) for arm, models in EFFECT.items()}
RARE_FOUND: dict[str, Models] = {"base": one(0.0005, 0.0005), "rl": one(0.9, 0.9), "rft": one(0.0005, 0.0005)}
#: The base covers half of them, so that there is something to lose and something to find outside it.
RARE_LOST: dict[str, Models] = {"base": one(0.05, 0.0), "rl": one(0.0, 0.0), "rft": one(0.05, 0.0)}
RARE_SAME: dict[str, Models] = dict.fromkeys(("base", "rl", "rft"), one(0.01, 0.0))
NATS = {("base", 1.0): 0.64, ("base", 0.6): 0.53, ("rl", 1.0): 0.34}
SAME_NATS = dict.fromkeys(NATS, 0.64)


def planted(
    arms: Mapping[str, Models],
    rare: Mapping[float, Mapping[str, Models]],
    nats: Mapping[tuple[str, float], float],
    *,
    hinted: Models | None = None,
) -> dict[str, pd.DataFrame]:
    """Tables of six seeds in which every probability and perplexity is what is planted, within a few per cent.

    `hinted` is reinforcement at the highest cue, where it differs from that at the others.
    """  # fmt: skip
    rng = np.random.default_rng(0)
    frames, levels, ppl = [], [], []
    for seed in SEEDS:
        for cue in CHOSEN["cues"]:
            changed = {"rl": hinted} if hinted is not None and cue == max(CHOSEN["cues"]) else {}
            frames.append(success({**arms, **changed}, cue=cue, seed=seed))
            frames.append(success(rare.get(cue, RARE_SAME), cue=cue, seed=seed, problems="rare"))
            levels += [(seed, cue, "test", i < 16) for i in range(PROBLEMS)]
        ppl.append(perplexities({key: value + 0.01 * rng.standard_normal() for key, value in nats.items()}, seed=seed))
    rows = pd.concat(frames, ignore_index=True)
    rows["p"] = (rows["p"] * np.exp(0.03 * rng.standard_normal(len(rows)))).clip(upper=1)
    level_rows = pd.DataFrame(levels, columns=["seed", "cue", "set", "bayes"])
    return {"success": rows, "levels": level_rows, "perplexity": pd.concat(ppl, ignore_index=True)}


def verdicts(tables: dict[str, pd.DataFrame]) -> dict[str, str]:
    return {v.claim: v.verdict for v in judge(FINDING, tables, FINDING.resolve("gpu", **CHOSEN), estimands)}


OPEN = {"open-models-at-one", "open-models-at-many"}
#: True where tuning does nothing: no new problem is solved, and algorithms agree.
TRUE_OF_NOTHING = {
    "inside-the-base", "inside-the-base-hinted", "algorithms-alike-at-one", "algorithms-alike-at-many",
}  # fmt: skip


def test_planted_effects_are_reproduced_claim_by_claim() -> None:
    found = verdicts(planted(EFFECT, {1.0: RARE_FOUND, 0.5: RARE_LOST}, NATS, hinted=STEADY))
    assert {claim: verdict for claim, verdict in found.items() if verdict != "reproduced"} == {
        **dict.fromkeys(OPEN, "not run at this scale"),
        "inside-the-base-hinted": "not reproduced",  # what is found there, the base does not solve: both cannot hold
    }


def test_nothing_outside_the_base_is_found_where_the_prompt_names_a_method_that_stays_as_rare() -> None:
    found = verdicts(planted(EFFECT, {0.5: RARE_LOST}, NATS, hinted=STEADY))
    assert {claim for claim, verdict in found.items() if verdict != "reproduced"} == {*OPEN, "rare-method-found"}


def test_where_tuning_does_nothing_no_effect_is_reproduced() -> None:
    found = verdicts(planted(NULL, {}, SAME_NATS))
    assert {claim for claim, verdict in found.items() if verdict == "reproduced"} == TRUE_OF_NOTHING


#: Right at one of two measured steps and in ruins at the other.
EARLY: Models = {(10, 1.0): first(16, 0.9), (1000, 1.0): first(0, 0.0)}
LATE: Models = {(10, 1.0): first(0, 0.0), (1000, 1.0): first(16, 0.9)}


@pytest.mark.parametrize(
    ("changed", "claim", "expected"),
    [
        ({"format": EARLY}, "gain-at-one", "not specific"),
        ({"random": LATE}, "gain-at-one", "not specific"),
        ({"random": EARLY}, "curves-cross", "not specific"),
        ({"format": LATE}, "curves-cross", "not specific"),
        ({"format": EFFECT["rl"]}, "longer-training-narrows", "reproduced"),
        ({"rl": {(10, 1.0): first(16, 0.9), (1000, 1.0): first(16, 0.9)}}, "longer-training-narrows", "not reproduced"),
        ({"rft": {(1000, 1.0): first(16, 0.9)}}, "coverage-lost", "not specific"),
        ({"rl": {(1000, 1.0): first(32, 0.9)}}, "curves-cross", "not reproduced"),
        ({"rl-dapo": {(1000, 1.0): first(24, 0.9)}}, "algorithms-alike-at-many", "not reproduced"),
        ({"distil-known": EFFECT["distil"]}, "distillation-expands", "not specific"),
        ({"rl": {(1000, 1.0): first(40, 0.9)}}, "routing-by-the-cue", "not reproduced"),
        ({"rft": {(1000, 1.0): first(16, 0.9)}}, "loss-beyond-cooling", "not specific"),
        ({"rl": {(10, 1.0): first(31, 0.3), (1000, 1.0): first(16, 0.9)}}, "loss-beyond-cooling", "not reproduced"),
        ({"rft": {(1000, 1.0): first(26, 0.9)}}, "imitation-ahead", "not specific"),
        ({"rft-4": {(1000, 1.0): first(30, 0.4)}}, "imitation-ahead", "not reproduced"),  # behind at one sample
        ({"rft-4": {(1000, 1.0): first(15, 1.0)}}, "imitation-ahead", "not reproduced"),  # behind at many
    ],
)
def test_a_control_or_an_arm_that_behaves_otherwise_turns_the_verdict(
    changed: dict[str, Models], claim: str, expected: str
) -> None:
    tables = planted({**EFFECT, **changed}, {1.0: RARE_FOUND, 0.5: RARE_LOST}, NATS, hinted=STEADY)
    assert verdicts(tables)[claim] == expected


def test_narrowing_where_the_prompt_names_the_method_is_not_specific_to_the_cue() -> None:
    tables = planted(EFFECT, {1.0: RARE_FOUND, 0.5: RARE_LOST}, NATS, hinted=EFFECT["rl"])
    assert verdicts(tables)["longer-training-narrows"] == "not specific"


@pytest.mark.parametrize(
    ("rare", "expected"),
    [
        ({"base": one(0.05, 0.0), "rl": one(0.9, 0.9)}, "not reproduced"),
        ({"base": one(0.05, 0.0), "rl": one(0.9, 0.0)}, "reproduced"),
        ({"base": one(0.05, 0.05), "rl": one(0.9, 0.9)}, "not assessable"),
    ],
)
@pytest.mark.parametrize(("claim", "cue"), [("inside-the-base", 0.5), ("inside-the-base-hinted", 1.0)])
def test_what_reinforcement_solves_of_rare_problems_decides_whether_it_stays_inside(
    rare: dict[str, Models], expected: str, claim: str, cue: float
) -> None:
    assert verdicts(planted(EFFECT, {cue: rare}, NATS, hinted=STEADY))[claim] == expected


ARMS_THERE = [("base",), ("base", "rl"), ("base", "rft"), ("base", "rl", "rft", "named")]


@pytest.mark.parametrize("claim", FINDING.claims, ids=lambda claim: claim.name)
@pytest.mark.parametrize("there", ARMS_THERE, ids="+".join)
def test_a_measure_whose_arms_are_missing_returns_the_columns_of_its_kind(claim: Claim, there: tuple[str, ...]) -> None:
    tables = planted({arm: EFFECT[arm] for arm in there}, {}, {key: n for key, n in NATS.items() if key[0] in there})
    frame = getattr(estimands, claim.measure)(tables, FINDING.resolve("gpu", **CHOSEN))
    if len(frame):
        assert set(COLUMNS[claim.kind]) <= set(frame.columns)
        assert np.isfinite(frame["value"].to_numpy(float)).all()


def test_every_claim_is_measured_by_an_estimand_that_names_its_arm_and_controls() -> None:
    params = FINDING.resolve("gpu", **CHOSEN)
    tables = planted(EFFECT, {1.0: RARE_FOUND, 0.5: RARE_LOST}, NATS, hinted=STEADY)
    for claim in (claim for claim in FINDING.claims if claim.name not in OPEN):
        arms = set(getattr(estimands, claim.measure)(tables, params)["arm"])
        assert {claim.arm, *claim.controls} <= arms, claim.name


# --- the records that the pages cite --------------------------------------------------------------------------


def kept() -> list[Record]:
    folder = paths.kept_records()
    return Store(folder).records(FINDING.name) if folder.is_dir() else []


def test_the_base_of_every_kept_record_leaves_room_to_gain_and_to_lose() -> None:
    if not kept():
        pytest.skip("no record of rlvr-boundary is kept yet")
    for record in kept():
        params: Any = judging.params_of(FINDING, record)
        tables = record.tables()
        ks = [1, params.k_max]
        rows = estimands.curves(tables, ks)
        rows = rows[(rows["arm"] == "base") & (rows["temperature"] == 1)]
        one_sample, many = (rows[rows["k"] == k].groupby("cue")["value"].mean() for k in ks)
        levels = tables["levels"][tables["levels"]["set"] == "test"]
        blind = levels.assign(many=-np.expm1(params.k_max * np.log1p(-levels["blind_search"])))
        assert sorted(one_sample.index) == sorted(params.cues)
        assert one_sample.between(0.05, 0.35).all(), record.key
        assert ((many >= 2 * one_sample) & (many < 0.98)).all(), record.key
        assert (many >= 10 * blind.groupby("cue")["many"].mean()).all(), record.key
        assert (tables["evaluations"]["error"] <= TOLERANCE).all(), record.key
