"""What the claims of the one-shot chapter estimate, on tables whose answers follow by hand, and their verdicts."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evolm.evidence import COLUMNS
from evolm.finding import Claim
from evolm.findings.one_shot import FINDING, estimands, parts, readings
from evolm.findings.one_shot.curves import final, gain
from evolm.findings.one_shot.experiment import THRESHOLDS
from evolm.findings.one_shot.parts import PARTS
from evolm.intervals import seed_interval
from evolm.verdict import judge

Tables = dict[str, pd.DataFrame]
SEED, OTHER = 1000, 1001
TURNED, FORMED, REST = PARTS


def parameters(**overrides: Any) -> Any:
    return FINDING.resolve("cpu", **{"control_examples": 2, **overrides})


def run(arm: str, steps: Mapping[int, float], example: int = -1, **labels: Any) -> pd.DataFrame:
    """Rows of the table `accuracy` from step -> pass@1; greedy accuracy is 0.1 more unless it is given."""
    known = {"seed": SEED, "base": "latent", "set": "test", "needed": 0, "kind": "switch", "problems": 10}
    rows = pd.DataFrame({"step": list(steps), "pass_at_1": list(steps.values())})
    rows = rows.assign(
        arm=arm, example=example, greedy=rows["pass_at_1"] + 0.1, pass_at_16=rows["pass_at_1"], pass_at_256=1.0
    )
    return rows.assign(**{**known, **labels})


def base(p: float = 0.3, **labels: Any) -> pd.DataFrame:
    return run("base", {0: p}, **labels)


def accuracy(*runs: pd.DataFrame) -> Tables:
    return {"accuracy": pd.concat(runs, ignore_index=True)}


def described(*rows: tuple[int, int, str], seed: int = SEED) -> pd.DataFrame:
    """The table `examples` from (example, needed, kind)."""
    frame = pd.DataFrame(rows, columns=["example", "needed", "kind"])
    chosen = np.where(frame["example"] >= 100, "ranked", "draw")
    return frame.assign(seed=seed, base="latent", chosen=chosen, base_p=0.1, base_greedy=0.0, score=0.1, mean=0.5)


def reached(steps: Mapping[tuple[str, int], float], threshold: float = 0.95, seed: int = SEED) -> pd.DataFrame:
    """The table `saturation` from (arm, example) -> step; at every other threshold step 1."""
    labels = {"seed": seed, "base": "latent"}
    rows = [
        {**labels, "arm": arm, "example": example, "threshold": t, "step": step if t == threshold else 1.0}
        for (arm, example), step in steps.items() for t in THRESHOLDS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def values(frame: pd.DataFrame) -> dict[str, float]:
    """Arm -> value of a frame of one seed."""
    assert not frame.duplicated(["seed", "arm"]).any()
    assert frame["seed"].nunique() == 1
    return dict(zip(frame["arm"], frame["value"], strict=True))


# --- one example and the full set -----------------------------------------------------------------------------


def test_one_example_and_the_full_set_are_compared_at_the_last_step_with_the_base_beside() -> None:
    tables = accuracy(
        base(0.3), run("one", {50: 0.9, 150: 0.6}, 0), run("one", {150: 0.8}, 1), run("full", {50: 0.1, 150: 0.75}),
        base(0.9, set="validation"), run("one", {150: 0.1}, 0, set="validation"),
        base(0.1, base="absent"), run("one", {150: 0.1}, 0, base="absent"),
    )  # fmt: skip
    found = values(estimands.one_and_full(tables, parameters()))
    assert found == pytest.approx({"one": 0.7, "full": 0.75, "base": 0.3})


def test_a_seeds_value_is_the_mean_over_its_own_examples() -> None:
    runs = [base(0.2), base(0.4, seed=OTHER), run("one", {150: 0.6}, 0), run("one", {150: 0.8}, 1)]
    runs += [run("full", {150: 0.9}), run("full", {150: 0.9}, seed=OTHER)]
    frame = estimands.one_and_full(accuracy(*runs, run("one", {150: 0.5}, 0, seed=OTHER)), parameters())
    one = frame[frame["arm"] == "one"].set_index("seed")["value"].to_dict()
    assert one == pytest.approx({SEED: 0.7, OTHER: 0.5})


def test_groups_of_problems_weigh_as_many_as_they_hold() -> None:
    tables = accuracy(
        base(0.2, problems=30), base(0.6, problems=10, needed=1), base(0.9, problems=0, needed=2),
        run("one", {150: 0.4}, 0, problems=30), run("one", {150: 0.8}, 0, problems=10, needed=1),
        run("full", {150: 1.0}, problems=30), run("full", {150: 0.6}, problems=10, needed=1),
    )  # fmt: skip
    found = values(estimands.one_and_full(tables, parameters()))
    assert found == pytest.approx({"one": 0.5, "full": 0.9, "base": 0.3})


@pytest.mark.parametrize("missing", ["one", "full"])
def test_one_arm_alone_is_compared_with_nothing(missing: str) -> None:
    there = "full" if missing == "one" else "one"
    tables = accuracy(base(0.3), run(there, {150: 0.6}, 0))
    assert estimands.one_and_full(tables, parameters()).empty


SHARED = (base(0.3), run("one", {150: 0.5}, 0), run("one", {150: 0.7}, 1), run("full", {50: 0.9, 150: 0.7}))


def test_the_share_is_of_the_full_sets_gain_and_coin_tosses_have_their_best_step_but_never_less_than_none() -> None:
    tossed = (run("random", {50: 0.35, 150: 0.2}, 0), run("random", {50: 0.1, 150: 0.2}, 1))
    found = values(estimands.share(accuracy(*SHARED, *tossed), parameters()))
    assert found == pytest.approx({"one": 0.3 / 0.4, "random": 0.05 / 2 / 0.4})


def test_a_full_set_that_gains_nothing_has_no_share() -> None:
    frame = estimands.share(accuracy(base(0.3), run("one", {150: 0.5}, 0), run("full", {150: 0.3})), parameters())
    assert not len(frame) or np.isfinite(frame["value"].to_numpy(float)).all()


def test_to_lose_more_than_the_full_set_does_is_no_share_of_its_gain() -> None:
    frame = estimands.share(accuracy(base(0.3), run("one", {150: 0.1}, 0), run("full", {150: 0.2})), parameters())
    assert not len(frame) or values(frame)["one"] <= 0.5


def test_form_is_compared_on_the_control_examples_alone_and_on_all_prompts() -> None:
    tables = accuracy(
        base(0.3), *(run("one", {150: p}, i) for i, p in enumerate((0.5, 0.7, 0.9))),
        run("format", {50: 0.9, 150: 0.32}, 0), run("format", {150: 0.34}, 1), run("format-full", {150: 0.4}),
    )  # fmt: skip
    found = values(estimands.beyond_form(tables, parameters()))
    assert found == pytest.approx({"one": 0.3, "format": 0.03, "format-full": 0.1})


def test_kinds_of_base_are_compared_over_their_own_base_on_the_same_examples() -> None:
    kinds = {"latent": (0.3, 0.7), "scattered": (0.4, 0.45), "absent": (0.2, 0.1), "noisy": (0.3, 0.9)}
    runs = [base(low, base=kind) for kind, (low, _) in kinds.items()]
    runs += [run("one", {150: high}, 0, base=kind) for kind, (_, high) in kinds.items()]
    runs += [run("one", {150: 1.0}, 2), run("full", {150: 0.9}, base="scattered"), run("full", {150: 1.0})]
    params = parameters(bases=("latent", "scattered", "absent", "noisy"))
    found = values(estimands.alignment(accuracy(*runs), params))
    assert found == pytest.approx({"latent": 0.4, "scattered": 0.05, "absent": -0.1})
    assert values(estimands.full_without_switch(accuracy(*runs), params)) == pytest.approx({"full": 0.5, "one": 0.05})


def test_kinds_of_base_are_compared_in_whichever_order_they_were_asked_for() -> None:
    order = ("latent", "noisy", "scattered", "absent")
    runs = [base(0.3, base=kind) for kind in order] + [run("one", {150: 0.4}, 0, base=kind) for kind in order]
    found = values(estimands.alignment(accuracy(*runs), parameters(bases=order)))
    assert {"latent", "scattered", "absent"} <= set(found)


# --- after saturation -----------------------------------------------------------------------------------------

RISING = {50: 0.4, 100: 0.5, 150: 0.65}
LEARNT = {"saturation": 0.95}
TELLING = {"examples": described(*((i, 0, "switch") for i in range(3)), (3, 0, "either"))}


def test_what_follows_saturation_starts_at_the_next_measurement_and_leaves_out_what_never_saturates() -> None:
    runs = [base(0.3), *(run("one", RISING, i) for i in range(4)), run("format", {50: 0.3, 100: 0.4, 150: 0.38}, 1)]
    steps = {("one", 0): 20.0, ("one", 1): 51.0, ("one", 2): np.nan, ("one", 3): 51.0, ("format", 1): 20.0}
    tables = accuracy(*runs) | TELLING | {"saturation": reached(steps)}
    found = values(estimands.post_saturation(tables, parameters(**LEARNT)))
    assert found == pytest.approx({"one": (0.25 + 0.15) / 2, "format": -0.02})  # form from step 100 on, as run 1 goes
    found = values(estimands.post_saturation(tables, parameters(saturation=0.9)))
    assert found == pytest.approx({"one": 0.25, "format": 0.08})  # step 1 for all of them


def test_a_run_that_saturates_at_its_last_measurement_says_nothing_about_what_follows() -> None:
    tables = accuracy(base(0.3), run("one", RISING, 0), run("one", RISING, 1)) | TELLING
    tables["saturation"] = reached({("one", 0): 50.0, ("one", 1): 101.0})
    assert values(estimands.post_saturation(tables, parameters(**LEARNT))) == pytest.approx({"one": 0.25})


def test_without_a_saturated_run_there_is_nothing_to_follow() -> None:
    tables = accuracy(base(0.3), run("one", RISING, 0)) | TELLING | {"saturation": reached({("one", 0): np.nan})}
    assert len(estimands.post_saturation(tables, parameters(**LEARNT))) == 0


# --- other problems, other decoding, other examples -----------------------------------------------------------


def test_other_categories_are_those_of_another_method_that_corpora_hold() -> None:
    before = {0: 0.5, 1: 0.2, 2: 0.1, 6: 0.0}
    after = {0: 0.9, 1: 0.5, 2: 0.2, 6: 0.9}  # of the absent method, which does not count
    runs = [base(p, needed=m, problems=5 + m) for m, p in before.items()]
    runs += [run("one", {50: 0.0, 150: p}, 0, needed=m, problems=5 + m) for m, p in after.items()]
    runs += [run("one", {150: p}, 1, needed=m) for m, p in after.items()]
    runs += [run("one", {150: 1.0}, 2, needed=m) for m in after]  # no control example
    runs += [run("format", {150: p + 0.01 * m}, 0, needed=m) for m, p in before.items()]
    tables = accuracy(*runs) | {"examples": described((0, 1, "switch"), (1, 6, "unknown"), (2, 0, "switch"))}
    found = values(estimands.cross_category(tables, parameters()))
    own_is_one, own_is_absent = (0.4 + 0.1) / 2, (0.4 + 0.3 + 0.1) / 3
    assert found == pytest.approx({"one": (own_is_one + own_is_absent) / 2, "format": 0.01})


def test_greedy_accuracy_is_compared_with_that_of_the_base_and_with_cooling_it() -> None:
    tables = accuracy(
        base(0.9, greedy=0.27), run("one", {150: 0.0}, 0, greedy=0.7), run("one", {150: 0.0}, 1, greedy=0.8),
        run("one", {150: 0.0}, 2, greedy=1.0), run("format", {150: 0.0}, 0, greedy=0.25),
    )  # fmt: skip
    columns = ["seed", "base", "quantity", "value"]
    levels = [(SEED, "latent", "cooled", 0.3), (SEED, "latent", "forced careful", 1.0), (SEED, "absent", "cooled", 1.0)]
    found = values(estimands.greedy(tables | {"levels": pd.DataFrame(levels, columns=columns)}, parameters()))
    assert found == pytest.approx({"one": 0.48, "format": -0.02, "cooled": 0.03})


SIX = tuple(run("one", {150: p}, i) for i, p in enumerate((0.7, 0.9, 0.3, 0.35, 0.2, 0.25)))


SIX_KINDS = described(*((i, 0, kind) for i, kind in enumerate(["switch"] * 2 + ["either"] * 2 + ["unknown"] * 2)))


def test_examples_are_sorted_by_whether_both_modes_solve_them_and_hopeless_ones_left_out() -> None:
    tables = accuracy(base(0.3), *SIX, run("full", {150: 0.8})) | {"examples": SIX_KINDS}
    assert values(estimands.informative(tables, parameters())) == pytest.approx({"switch": 0.5, "either": 0.025})
    assert values(estimands.share_by_kind(tables, parameters())) == pytest.approx({"switch": 1.0, "either": 0.05})


def test_a_seed_whose_examples_are_of_one_sort_gives_no_pair() -> None:
    runs = [base(0.3), base(0.3, seed=OTHER), *SIX[:2], run("one", {150: 0.8}, 0, seed=OTHER)]
    runs += [run("one", {150: 0.3}, 1, seed=OTHER)]
    mixed = described((0, 0, "switch"), (1, 0, "either"), seed=OTHER)
    one_sort = described((0, 0, "switch"), (1, 1, "switch"))
    frame = estimands.informative(accuracy(*runs) | {"examples": pd.concat([one_sort, mixed])}, parameters())
    assert frame.groupby("seed")["arm"].agg(set).to_dict() == {SEED: {"switch"}, OTHER: {"switch", "either"}}
    alone = estimands.informative(accuracy(base(0.3), *SIX[:2]) | {"examples": one_sort}, parameters())
    assert values(alone) == pytest.approx({"switch": 0.5})


# --- controls and variants ------------------------------------------------------------------------------------


def test_imitation_is_compared_on_the_examples_that_it_had() -> None:
    runs = [run("one", {150: p}, i) for i, p in enumerate((0.5, 0.6, 0.9))]
    shown = [run("imitate", {50: 0.9, 150: 0.4}, 0), run("imitate", {150: 0.6}, 1), run("imitate-any", {150: 0.31}, 0)]
    found = values(estimands.imitation(accuracy(base(0.3), *runs, *shown), parameters()))
    assert found == pytest.approx({"imitate": 0.2, "one": 0.25, "imitate-any": 0.01})


def test_the_checkpoint_is_chosen_on_validation_and_compared_on_test_problems() -> None:
    paths = {  # (validation, test)
        ("one", 0): ({50: 0.6, 100: 0.8, 150: 0.7}, {50: 0.9, 100: 0.55, 150: 0.5}),
        ("one", 1): ({50: 0.6, 100: 0.6, 150: 0.7}, {50: 0.9, 100: 0.9, 150: 0.5}),
        ("zero", 0): ({50: 0.3, 100: 0.3, 150: 0.3}, {50: 0.3, 100: 0.3, 150: 0.3}),
    }
    runs = [base(0.3), base(1.0, set="validation")]
    for (arm, example), (validation, test) in paths.items():
        runs += [run(arm, test, example), run(arm, validation, example, set="validation")]
    assert values(estimands.best_of(accuracy(*runs), parameters())) == pytest.approx({"one": 0.025, "zero": 0})


VARIANTS: dict[str, tuple[str, ...]] = {
    "policy_gradient": ("one", "decay-only"), "entropy_helps": ("one-entropy", "one"),
    "entropy_alone": ("entropy-only", "decay-only"), "optimisers": ("one", "one-other"),
    "updates": ("one", "one-updates"), "scaling": ("one", "one-no-std"), "worked": ("worked", "one"),
    "coin_tosses": ("random-updates", "random"), "longer": ("one-long", "one"),
}  # fmt: skip


@pytest.mark.parametrize("measure", VARIANTS)
def test_a_variant_is_compared_with_one_on_their_own_examples(measure: str) -> None:
    arms = sorted({arm for pair in VARIANTS.values() for arm in pair})
    runs = [base(0.3)]
    for number, arm in enumerate(arms):
        runs += [run(arm, {50: 0.0, 150: 0.4 + 0.1 * number}, 0), run(arm, {150: 0.3 + 0.1 * number}, 1)]
        runs += [run(arm, {150: 1.0}, 2), run(arm, {150: 1.0}, 0, set="validation")]  # no control example; not held out
    found = values(getattr(estimands, measure)(accuracy(*runs), parameters()))
    assert found == pytest.approx({arm: 0.05 + 0.1 * arms.index(arm) for arm in VARIANTS[measure]})


def test_wrong_labels_are_counted_by_what_is_lost() -> None:
    tables = accuracy(base(0.3), run("guessable", {150: 0.1}, 0), run("unguessable", {150: 0.35}, 0))
    found = values(estimands.guessable_label(tables, parameters()))
    assert found == pytest.approx({"guessable": 0.2, "unguessable": -0.05})


def test_ranked_examples_are_compared_with_all_that_were_drawn() -> None:
    drawn = [run("one", {150: p}, i) for i, p in enumerate((0.3, 0.6, 0.9))]
    tables = accuracy(base(0.3), *drawn, run("ranked", {150: 0.7}, 100), run("ranked", {150: 0.9}, 101))
    assert values(estimands.ranked(tables, parameters())) == pytest.approx({"ranked": 0.5, "random": 0.3})


def test_open_models_are_read_with_their_intervals_where_they_have_any() -> None:
    quantity = ["expected gain (random), pass@1"] * 3 + ["expected range of gain", "base"]
    numbers = {"value": [0.1, 0.2, np.nan, 0.5, 0.5], "low": [0.0, 0.1, np.nan, 0.4, 0.4], "high": [0.2] * 5}
    rows = pd.DataFrame({"model": ["a", "b", "c", "a", "b"], "quantity": quantity, **numbers})
    frame = estimands.measured({"open_models": rows}, parameters())
    assert frame.to_dict("list") == {"unit": ["a", "b"], "value": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.2]}
    assert len(estimands.measured({}, parameters())) == 0


# --- every claim, and its verdict -----------------------------------------------------------------------------

SEEDS = range(2000, 2006)
STEPS = (50, 100, 150)
CHOSEN: dict[str, Any] = {"seeds": len(SEEDS), "examples": 6, "control_examples": 3, "saturation": 0.95}
#: Example, needed method, kind; the last two teach nothing.
DRAWN = (
    (0, 0, "switch"), (1, 1, "switch"), (2, 0, "switch"), (3, 1, "switch"), (4, 6, "unknown"), (5, 0, "either"),
)  # fmt: skip
RANKED = ((100, 0, "switch"), (101, 1, "switch"), (102, 0, "switch"))
#: Problems of each method, the last absent from corpora.
PROBLEMS = {0: 20, 1: 15, 6: 5}
START = 0.27
#: Gains by base and arm when everything is as the claims say.
Gains = dict[tuple[str, str], float]
EFFECT: Gains = {
    ("latent", "one"): 0.45, ("latent", "full"): 0.31, ("latent", "format"): 0.0, ("latent", "format-full"): 0.0,
    ("latent", "random"): 0.0, ("latent", "imitate"): 0.45, ("latent", "zero"): 0.0, ("latent", "one-updates"): 0.45,
    ("latent", "one-other"): 0.1, ("latent", "one-other-updates"): 0.1, ("latent", "one-no-std"): 0.45,
    ("latent", "one-entropy"): 0.5, ("latent", "entropy-only"): 0.06, ("latent", "one-decay"): 0.45,
    ("latent", "decay-only"): 0.0, ("latent", "one-kl"): 0.4, ("latent", "near"): 0.3, ("latent", "guessable"): -0.2,
    ("latent", "unguessable"): -0.05, ("latent", "ranked"): 0.45, ("latent", "imitate-any"): 0.0,
    ("latent", "worked"): 0.55, ("latent", "random-updates"): 0.1, ("latent", "one-long"): 0.5,
    ("scattered", "one"): 0.02, ("scattered", "full"): 0.3, ("absent", "one"): 0.0, ("absent", "full"): 0.1,
    ("noisy", "one"): 0.4, ("noisy", "full"): 0.3, ("low-cue", "one"): 0.4, ("low-cue", "full"): 0.3,
}  # fmt: skip
NULL: Gains = dict.fromkeys(EFFECT, 0.0)
#: Share of its gain that a run has at each step: it rises, and falls a little at the end.
PATH = (0.6, 1.1, 1.0)


def examples_of(arm: str) -> tuple[int, ...]:
    if arm in ("full", "format-full"):
        return (-1,)
    if arm in ("random", "zero", "imitate-any"):
        return (0,)
    return tuple(row[0] for row in RANKED) if arm == "ranked" else tuple(range(6 if arm == "one" else 3))


def planted(
    gains: Gains, *, path: Mapping[str, tuple[float, float, float]] | None = None, either: float = 0.0,
    cooled: float = 0.0, noise: float = 0.003,
) -> Tables:  # fmt: skip
    """Tables of six seeds in which every gain is what is planted, but for a little noise.

    `path` is that of arms with one of their own, `either` the gain of examples that teach nothing about the mode.
    """
    rng = np.random.default_rng(0)
    rows, inside, examples, levels, steps, history, training = [], [], [], [], [], [], []
    for seed in SEEDS:
        start = START + 0.02 * rng.standard_normal()

        def measure(where: dict[str, Any], p: float) -> None:
            for split in ("validation", "test"):
                known = (p + noise * rng.standard_normal()) * sum(PROBLEMS.values()) / (PROBLEMS[0] + PROBLEMS[1])
                for needed, problems in PROBLEMS.items():
                    shown = 0.0 if needed == 6 else known
                    held = {
                        "set": split,
                        "needed": needed,
                        "kind": "unknown" if needed == 6 else "switch",
                        "problems": problems,
                    }
                    rows.append(
                        {
                            **where,
                            **held,
                            "pass_at_1": shown,
                            "greedy": shown,
                            "pass_at_16": shown,
                            "pass_at_256": shown,
                        }
                    )

        for kind in dict.fromkeys(kind for kind, _ in gains):
            where = {"seed": seed, "base": kind, "arm": "base", "example": -1, "step": 0}
            measure(where, start)
            inside.append({**where, "careful": 0.25, "right_style": 0.8, "well_formed": 0.7})
            told = {"forced careful": start + 0.4, "forced careful, greedy": 0.8, "cooled": start + cooled}
            told |= {"known methods": 0.875, "blind search": 1e-8}
            levels += [{"seed": seed, "base": kind, "quantity": name, "value": value} for name, value in told.items()]
        for (kind, arm), full_gain in gains.items():
            for example in examples_of(arm)[: 3 if kind != "latent" else None]:
                teaches = arm != "one" or example < 4
                here = {"seed": seed, "base": kind, "arm": arm, "example": example}
                for step, share in zip(STEPS, (path or {}).get(arm, PATH), strict=True):
                    measure({**here, "step": step}, start + share * (full_gain if teaches else either))
                    careful = 0.25 + max(0.0, full_gain) * share * teaches
                    inside.append({**here, "step": step, "careful": careful, "right_style": 0.8, "well_formed": 0.72})
                training += [{**here, "step": step, "reward": 0.97, "clip_fraction": 0.01} for step in (115, 120, 125)]
                seen = {"random": np.nan, "zero": np.nan, "format": 10.0}.get(arm, 45.0)
                steps += [{**here, "threshold": t, "step": seen if t < 0.98 else np.nan} for t in THRESHOLDS]
        examples.append(described(*DRAWN, *RANKED, seed=seed).assign(score=rng.random(9)))
        history += [{"seed": seed, "base": "latent", "problem": 0, "epoch": e, "accuracy": 0.5} for e in range(9)]
    found = {"accuracy": rows, "inside": inside, "levels": levels, "saturation": steps, "history": history}
    found["training"] = training
    return {name: pd.DataFrame(frame) for name, frame in found.items()} | {"examples": pd.concat(examples)}


def verdicts(tables: Tables, *names: str) -> dict[str, str]:
    """Claim -> verdict of all claims, or of some and the core claims, which are judged together."""
    claims = [claim for claim in FINDING.claims if claim.core or not names or claim.name in names]
    return {v.claim: v.verdict for v in judge(claims, tables, FINDING.resolve("gpu", **CHOSEN), estimands)}


@cache
def as_claimed() -> Tables:
    return planted(EFFECT)


#: True where training does nothing, too: it all comes to the same.
ALIKE = {"updates-alike", "scaling-alike"}


def test_planted_effects_are_reproduced_claim_by_claim() -> None:
    found = verdicts(as_claimed())
    assert {claim: verdict for claim, verdict in found.items() if verdict != "reproduced"} == {
        "open-models": "not run at this scale"
    }


def test_where_training_does_nothing_no_effect_is_reproduced() -> None:
    found = verdicts(planted(NULL))
    assert {claim for claim, verdict in found.items() if verdict == "reproduced"} == ALIKE
    effects = {claim for claim, verdict in found.items() if verdict == "not reproduced"}
    assert {"beyond-form", "needs-a-switch", "post-saturation", "greedy-gain", "example-decides"} <= effects
    same = {found[claim] for claim in ("one-equals-full", "imitation-does-as-much")}
    assert same == {"not specific"}  # all is alike, the base and what learns from anything included


UP, LATE = {"one": (1.0, 1.0, 1.0)}, {"format": (0.1, 0.1, 1.0)}
ON: Callable[..., Gains] = lambda **arms: {("latent", arm.replace("_", "-")): value for arm, value in arms.items()}  # noqa: E731


@pytest.mark.parametrize(
    ("changed", "claim", "expected"),
    [
        (ON(one=0.2), "one-equals-full", "not reproduced"),
        (ON(full=0.5), "one-equals-full", "not reproduced"),
        (ON(one=0.02, full=0.015), "one-equals-full", "not specific"),
        (ON(format=0.45), "beyond-form", "not specific"),
        (ON(format_full=0.45), "beyond-form", "not specific"),
        (ON(one=0.02), "beyond-form", "not reproduced"),
        ({("scattered", "one"): 0.45}, "needs-a-switch", "not specific"),
        ({("absent", "one"): 0.45}, "needs-a-switch", "not specific"),
        (ON(one=0.0), "needs-a-switch", "not reproduced"),
        (ON(random=0.3), "share-of-full", "not specific"),
        (ON(one=0.15), "share-of-full", "not reproduced"),
        (ON(format=0.45), "greedy-gain", "not specific"),
        (ON(one=0.05), "greedy-gain", "not reproduced"),
        (ON(format=0.45), "cross-category", "not specific"),
        (ON(one=0.0), "cross-category", "not reproduced"),
        (ON(one=0.05), "example-decides", "not reproduced"),
        (ON(imitate=0.2), "imitation-does-as-much", "not reproduced"),
        (ON(imitate_any=0.45), "imitation-does-as-much", "not specific"),
        (ON(worked=0.46), "worked-gains-more", "not specific"),
        (ON(worked=0.0), "worked-gains-more", "not reproduced"),
        (ON(one=0.15), "telling-share-of-full", "not reproduced"),
        (ON(random_updates=0.0), "coin-tosses-gain", "not reproduced"),
        (ON(random=0.1), "coin-tosses-gain", "not specific"),
        (ON(one_long=0.45), "longer-helps", "not specific"),
        ({("scattered", "one"): 0.3}, "full-without-switch", "not specific"),
        ({("scattered", "full"): 0.03}, "full-without-switch", "not reproduced"),
        (ON(decay_only=0.45), "policy-gradient-drives", "not specific"),
        (ON(one=0.02), "policy-gradient-drives", "not reproduced"),
        (ON(one_entropy=0.44), "entropy-bonus-helps", "not specific"),
        (ON(one_entropy=-0.1), "entropy-bonus-helps", "not reproduced"),
        (ON(decay_only=0.06), "entropy-alone-helps", "not specific"),
        (ON(entropy_only=0.0), "entropy-alone-helps", "not reproduced"),
        (ON(one_other=0.45), "optimiser-decides", "not specific"),
        (ON(one_updates=0.2), "updates-alike", "not reproduced"),
        (ON(one_no_std=0.6), "scaling-alike", "not reproduced"),
        (ON(unguessable=-0.2), "guessable-label-harms", "not specific"),
        (ON(guessable=0.1), "guessable-label-harms", "not reproduced"),
        (ON(ranked=0.3), "variance-picks-well", "not specific"),
        (ON(ranked=0.0), "variance-picks-well", "not reproduced"),
    ],
)
def test_an_arm_or_a_control_that_behaves_otherwise_turns_the_verdict(
    changed: Gains, claim: str, expected: str
) -> None:
    assert verdicts(planted({**EFFECT, **changed}), claim)[claim] == expected


def test_a_rise_after_saturation_must_be_there_and_not_follow_from_going_on() -> None:
    claim = "post-saturation"
    assert verdicts(planted(EFFECT, path=UP), claim)[claim] == "not reproduced"
    assert verdicts(planted({**EFFECT, **ON(format=0.45)}, path=LATE), claim)[claim] == "not specific"


def test_a_better_checkpoint_must_be_there_and_not_come_from_choosing() -> None:
    assert verdicts(planted(EFFECT, path=UP), "best-of-adds")["best-of-adds"] == "not reproduced"
    peaked = {"zero": (0.5, 2.0, 1.0)}
    assert verdicts(planted({**EFFECT, **ON(zero=0.1)}, path=peaked), "best-of-adds")["best-of-adds"] == "not specific"


def test_a_cooled_base_that_does_as_well_makes_greedy_gain_unspecific() -> None:
    assert verdicts(planted(EFFECT, cooled=0.45), "greedy-gain")["greedy-gain"] == "not specific"


def test_examples_that_teach_nothing_and_gain_as_much_make_the_choice_of_example_unspecific() -> None:
    claims = ("example-decides", "telling-share-of-full")
    found = verdicts(planted(EFFECT, either=0.45), *claims)
    assert {found[claim] for claim in claims} == {"not specific"}


def test_every_claim_is_measured_by_an_estimand_that_names_its_arm_and_controls() -> None:
    tables, params = as_claimed(), FINDING.resolve("gpu", **CHOSEN)
    for claim in (claim for claim in FINDING.claims if claim.name != "open-models"):
        frame = getattr(estimands, claim.measure)(tables, params)
        assert {claim.arm, *claim.controls} <= set(frame["arm"]), claim.name
        assert not frame.duplicated(["seed", "arm"]).any(), claim.name
        assert set(frame["seed"]) == set(SEEDS), claim.name


ARMS_THERE = [(), ("one",), ("full",), ("one", "full"), ("one", "full", "format"), ("full", "random", "unguessable")]
#: (claim, arms there) -> what goes wrong where arms are missing.


@pytest.mark.parametrize("claim", FINDING.claims, ids=lambda claim: claim.name)
@pytest.mark.parametrize("there", ARMS_THERE, ids=lambda there: "+".join(there) or "base")
def test_a_measure_whose_arms_are_missing_has_no_evidence_or_the_columns_of_its_kind(
    claim: Claim, there: tuple[str, ...]
) -> None:
    tables = as_claimed()
    tables = {name: kept_arms(frame, {"base", *there}) for name, frame in tables.items()}
    frame = getattr(estimands, claim.measure)(tables, FINDING.resolve("gpu", **CHOSEN))
    if len(frame):
        assert set(COLUMNS[claim.kind]) <= set(frame.columns)
        assert np.isfinite(frame["value"].to_numpy(float)).all()


def kept_arms(frame: pd.DataFrame, arms: set[str]) -> pd.DataFrame:
    return frame[frame["arm"].isin(arms)] if "arm" in frame else frame


@pytest.mark.parametrize(
    "there",
    [
        ("one",),
        ("one", "full"),
        ("one", "full", "format", "random", "zero", "imitate"),
    ],
    ids="+".join,
)
def test_a_record_of_few_arms_is_judged_and_says_what_it_lacks(there: tuple[str, ...]) -> None:
    latent = {key: value for key, value in EFFECT.items() if key[0] == "latent" and key[1] in there}
    params = FINDING.resolve("cpu", **{**CHOSEN, "bases": ("latent",)})
    found = {v.claim: v for v in judge(FINDING, planted(latent), params, estimands)}
    assert found["needs-a-switch"].verdict == found["full-without-switch"].verdict == "not run at this scale"
    assert "scattered" in found["needs-a-switch"].note
    assert found["open-models"].note == "needs open models"
    assert found["one-equals-full"].verdict == ("reproduced" if "full" in there else "not run at this scale")
    assert (found["beyond-form"].verdict == "not run at this scale") == ("format-full" not in there)


# --- what the gain is made of ---------------------------------------------------------------------------------


def model(careful: float, *, right: float = 0.8, sloppy: float = 0.1, formed: float = 1.0) -> float:
    """pass@1 of a base that opens in the careful mode with some probability, times a factor for its form."""
    return (careful * right + (1 - careful) * sloppy) * formed


def mixture(*runs: tuple[int, float, float, float], arm: str = "one", seed: int = SEED) -> Tables:
    """Tables of a base with careful 0.25 and form 0.7, and of runs (example, pass@1, careful, well formed)."""
    rows = [base(model(0.25), seed=seed), *(run(arm, {50: 0.0, 150: p}, i, seed=seed) for i, p, _, _ in runs)]
    labels = {"seed": seed, "base": "latent"}
    inside = [{**labels, "arm": "base", "example": -1, "step": 0, "careful": 0.25, "well_formed": 0.7}]
    for i, _, careful, formed in runs:
        last = {**labels, "arm": arm, "example": i, "step": 150, "careful": careful, "well_formed": formed}
        inside += [last, {**last, "step": 50, "careful": 1.0, "well_formed": 1.0}]
    level = {**labels, "quantity": "forced careful", "value": 0.8}
    others = [{**level, "quantity": "cooled", "value": 0.0}, {**level, "base": "absent", "value": 0.0}]
    return accuracy(*rows) | {"inside": pd.DataFrame(inside), "levels": pd.DataFrame([level, *others])}


@pytest.mark.parametrize("careful", [0.9, 0.25, 0.05])
def test_the_base_with_another_mode_probability_is_elicitation_alone(careful: float) -> None:
    found = parts.by_run(mixture((0, model(careful), careful, 0.7)), "one").iloc[0]
    assert found[TURNED] == pytest.approx(model(careful) - model(0.25))
    assert found[[FORMED, REST]].to_list() == pytest.approx([0, 0])


def test_repaired_form_is_what_it_adds_to_the_mode_turned_and_better_execution_is_the_rest() -> None:
    formed = model(0.9, formed=0.95 / 0.7)
    found = parts.by_run(mixture((0, formed, 0.9, 0.95), (1, formed - 0.1, 0.9, 0.95)), "one").set_index("example")
    assert list(found.loc[0, list(PARTS)]) == pytest.approx([0.455, formed - model(0.9), 0])
    assert list(found.loc[1, list(PARTS)]) == pytest.approx([0.455, formed - model(0.9), -0.1])
    form_alone = parts.by_run(mixture((0, model(0.25, formed=0.8 / 0.7), 0.25, 0.8), arm="format"), "format").iloc[0]
    assert form_alone[list(PARTS)].to_list() == pytest.approx([0, model(0.25) / 7, 0])


def test_the_parts_add_up_to_the_gain_of_every_run() -> None:
    rng = np.random.default_rng(0)
    made = [(i, *rng.uniform(0, 1, 3)) for i in range(8)]
    tables = mixture(*made)
    sums = parts.by_run(tables, "one").set_index("example")[list(PARTS)].sum(axis=1)
    gained = final(gain(tables, base="latent", arm="one")).set_index("example")["value"]
    assert sums.to_dict() == pytest.approx(gained.to_dict(), abs=1e-12)
    full = as_claimed()
    total = parts.parts(full, parameters())["value"].sum()
    by_seed = estimands.of(estimands.gains(full, base="latent"), "one").groupby("seed")["value"].mean()
    assert total == pytest.approx(by_seed.mean(), abs=1e-12)


def test_parts_are_means_over_examples_then_seeds_with_an_interval_over_seeds() -> None:
    one, two, three = (model(c) for c in (0.5, 0.7, 0.9))
    seeds = [mixture((0, one, 0.5, 0.7), (1, three, 0.9, 0.7)), mixture((0, two, 0.7, 0.7), seed=OTHER)]
    seeds += [mixture((0, three, 0.9, 0.7), seed=OTHER + 1)]
    tables = {name: pd.concat([frame[name] for frame in seeds]) for name in seeds[0]}
    found = parts.parts(tables, parameters()).set_index("part")
    turned = np.array([0.45, 0.45, 0.65]) * 0.7  # careful less 0.25, times what the mode is worth
    low, high = seed_interval(turned, 0.95)
    assert list(found.index) == list(PARTS)
    assert list(found.loc[TURNED]) == pytest.approx([turned.mean(), float(low), float(high)])
    alone = parts.parts(mixture((0, one, 0.5, 0.7)), parameters())
    assert alone["low"].to_list() == alone["high"].to_list() == alone["value"].to_list()


# --- sentences ------------------------------------------------------------------------------------------------

SENTENCES: dict[str, Callable[[Tables, Any], str]] = {
    tell.__name__: tell for tell in (
        readings.answer, readings.bases, readings.gate, readings.greedily, readings.made_of, readings.mechanism,
        readings.ranking, readings.saturation, readings.spread, readings.supervised,
    )
}  # fmt: skip


def minimal() -> Tables:
    """A record of one seed and one example of it on the base `latent`, of which none saturates."""
    latent = {key: value for key, value in EFFECT.items() if key[0] == "latent" and key[1] in SMALL}
    tables = {name: frame[frame["seed"] == SEEDS[0]] for name, frame in planted(latent).items()}
    tables["examples"] = tables["examples"].query("example == 0")
    tables["saturation"] = tables["saturation"].assign(step=np.nan)
    return {
        name: frame[frame["example"] <= 0] if "example" in frame else frame for name, frame in tables.items()
    }  # fmt: skip


SMALL = ("one", "full", "format", "format-full", "random", "imitate", "zero")
THREE = {key: gain for key, gain in EFFECT.items() if key[0] in ("latent", "scattered", "absent") and key[1] in SMALL}
RECORDS: dict[str, tuple[Callable[[], Tables], dict[str, Any]]] = {
    "cpu": (lambda: planted(THREE), {"seeds": 6, "examples": 6, "control_examples": 3}),
    "minimal": (minimal, {"seeds": 1, "examples": 1, "control_examples": 1, "bases": ("latent",)}),
    "gpu": (as_claimed, {"bases": ("latent", "scattered", "absent", "noisy", "low-cue"), **CHOSEN}),
}


@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize("record", RECORDS)
def test_every_sentence_can_be_told_of_any_record(record: str, sentence: str) -> None:
    make, overrides = RECORDS[record]
    text = SENTENCES[sentence](make(), parameters(**overrides))
    assert text.endswith(".")
    assert len(text) > 60
    assert not re.search(r"\b(nan|inf|None)\b|\{|  ", text), text


def test_no_sentence_is_left_untold_here() -> None:
    own = {name for name, f in inspect.getmembers(readings, inspect.isfunction) if f.__module__ == readings.__name__}
    shared = {"mean_level", "mean_start", "mean_end", "turned", "clipped"}
    assert {name for name in own if not name.startswith("_")} - shared == set(SENTENCES)


def test_the_gate_tells_what_the_base_can_do_untrained() -> None:
    tables = accuracy(
        base(0.2, greedy=0.27, pass_at_16=0.9), base(0.4, seed=OTHER, greedy=0.29, pass_at_16=0.94),
        base(0.9, base="absent", greedy=0.9), run("one", {150: 1.0}, 0),
    )  # fmt: skip
    told = {"forced careful": 0.5, "forced careful, greedy": 0.78, "cooled": 0.26, "known methods": 0.88}
    level = [{"seed": s, "base": "latent", "quantity": q, "value": v} for s in (SEED, OTHER) for q, v in told.items()]
    level += [{"seed": SEED, "base": "latent", "quantity": "blind search", "value": 2e-9}]
    level += [{"seed": SEED, "base": "absent", "quantity": name, "value": 0.99} for name in told]
    text = readings.gate(tables | {"levels": pd.DataFrame(level)}, parameters())
    assert text.startswith("The base answers 30% of the held-out problems right at temperature 1 and 28% greedily")
    assert "with 16 samples 92%" in text
    assert "it answers 50% and 78% (greedily)" in text
    assert "Cooled to temperature 0.2 it stays at 26%" in text
    assert "88% of the problems need a method" in text
    assert "2.0e-09 per sample" in text


def test_the_spread_is_told_by_sort_of_example() -> None:
    text = readings.spread(accuracy(base(0.3), *SIX) | {"examples": SIX_KINDS}, parameters())
    ranges = re.findall(r"(\d) (?:have|are|need) .*? ([-+][\d.]+%) on average \(([-+][\d.]+%) to ([-+][\d.]+%)\)", text)
    assert ranges == [
        ("2", "+50.0%", "+40.0%", "+60.0%"), ("2", "+2.5%", "+0.0%", "+5.0%"), ("2", "-7.5%", "-10.0%", "-5.0%"),
    ]  # fmt: skip


def test_saturated_runs_are_counted_with_those_that_are_measured_again() -> None:
    runs = accuracy(base(0.3), *(run("one", RISING, i) for i in range(5)))
    runs |= {"examples": described(*((i, 0, "switch") for i in range(4)), (4, 0, "either"))}
    steps = {("one", 0): 20.0, ("one", 1): 60.0, ("one", 2): 140.0, ("one", 3): np.nan, ("one", 4): 2.0}
    params = parameters(saturation=0.95, rl_steps=150)
    text = readings.saturation(runs | {"saturation": reached(steps)}, params)
    assert text.startswith(
        "3 of 4 runs on an example that only the careful mode solves reach a training reward of 0.95"
    )
    assert "the median at step 60 of 150; 2 of them are measured again after that." in text
    assert "By then they have gained +15.0%." in text  # 0.4 and 0.5 over the base's 0.3
    assert "0 of them have lost a little (median +20.0%) and the best has won +25.0%" in text
    never = reached({("one", 0): np.nan, ("full", -1): 4.0})
    text = readings.saturation(runs | {"saturation": never}, params)
    assert text == "No run on a telling example reaches a training reward of 0.95 in 150 steps."


def test_what_the_gain_is_made_of_is_told_in_parts_that_add_up() -> None:
    one = mixture((0, model(0.9, formed=0.77 / 0.7) - 0.05, 0.9, 0.77))
    form = mixture((0, model(0.25, formed=0.77 / 0.7), 0.25, 0.77), arm="format")
    both = {name: pd.concat([one[name], form[name]]).drop_duplicates(ignore_index=True) for name in one}
    text = readings.made_of(both | {"examples": described((0, 0, "switch"))}, parameters())
    turned, formed = 0.455, model(0.9) / 10
    assert text.startswith(f"One example gains {turned + formed - 0.05:+.1%} of pass@1 on average.")
    shown = {name: f"{value:+.1%} [{value:+.1%}, {value:+.1%}]" for name, value in (("t", turned), ("f", formed))}
    assert f"**Elicitation** is {shown['t']}" in text
    assert f"**Form** is {shown['f']} on top" in text
    assert "**What is left**, routing and execution, is -5.0% [-5.0%, -5.0%]" in text
    assert f"A reward for form alone gains {model(0.25) / 10:+.1%} in all, of which {model(0.25) / 10:+.1%} [" in text


def test_bases_are_told_with_what_they_could_do_before_and_whether_the_example_was_learnt() -> None:
    runs = [base(0.3, pass_at_16=0.9), base(0.25, base="scattered", pass_at_16=0.6, pass_at_256=0.85)]
    runs += [run("one", {150: 0.7}, 0), run("one", {150: 1.0}, 2), run("full", {150: 0.8})]
    runs += [run("one", {150: 0.3}, 0, base="scattered"), run("full", {150: 0.5}, base="scattered")]
    rewards = {0: 0.97, 1: 0.4}
    rows = [
        {"seed": SEED, "base": "scattered", "arm": "one", "example": i, "step": step, "reward": reward}
        for i, reward in rewards.items() for step in (5, 10, 15)
    ]  # fmt: skip
    text = readings.bases(accuracy(*runs) | {"training": pd.DataFrame(rows)}, parameters(bases=("latent", "scattered")))
    assert text.startswith(
        "By kind of base. *latent*: pass@1 30%, pass@16 90%, pass@256 100%; one example +40.0%, full set +50.0%; "
        "*scattered*: pass@1 25%, pass@16 60%, pass@256 85%; one example +5.0%, full set +25.0%."
    )
    assert "(1 of 2 runs end with a training reward above 0.95)" in text


def test_the_answer_and_the_mechanism_count_the_runs_that_turned() -> None:
    runs = [run("one", {150: p}, i) for i, p in enumerate((0.7, 0.8, 0.32, 0.33))]
    inside = [
        {"seed": SEED, "base": "latent", "arm": "one", "example": i, "step": 150, "careful": c}
        for i, c in enumerate((0.99, 0.98, 0.3, 0.2))
    ]
    kinds = described((0, 0, "switch"), (1, 0, "switch"), (2, 0, "switch"), (3, 0, "either"))
    told = {"forced careful": 0.7, "forced careful, greedy": 0.72, "known methods": 0.86}
    levels = [{"seed": SEED, "base": "latent", "quantity": name, "value": value} for name, value in told.items()]
    tables = accuracy(base(0.3), *runs, run("full", {150: 0.9})) | {"inside": pd.DataFrame(inside), "examples": kinds}
    tables |= {"levels": pd.DataFrame(levels), "saturation": reached({("one", 0): np.nan})}
    answer = readings.answer(tables, parameters(**LEARNT))
    assert "(2 of 3 such runs): pass@1 goes from 30% to 61%" in answer
    assert "(70%); the full set reaches 90%" in answer
    mechanism = readings.mechanism(tables, parameters())
    assert "2 of 4 runs end with the careful mode turned (all above 98%) and gain +45.0%" in mechanism
    assert "the others end at or below 30% and gain +2.5%" in mechanism
    assert f"A telling example failed in seed {SEED} (number 2, +2.0%)" in mechanism
    assert "answers 72% greedily, of 86% whose method it knows" in mechanism
    greedily = readings.greedily(tables, parameters())
    assert "1 of 4 examples cannot turn the mode" in greedily
    assert "ends at 71%, the full set at 100%" in greedily  # greedy accuracy is 0.1 above pass@1


def test_the_score_is_correlated_with_the_gain_within_every_seed() -> None:
    gains = {SEED: (0.4, 0.5, 0.6), OTHER: (0.6, 0.4, 0.5)}
    runs = [run("one", {150: p}, i, seed=seed) for seed, ps in gains.items() for i, p in enumerate(ps)]
    runs += [base(0.3), base(0.3, seed=OTHER), run("ranked", {150: 0.0}, 100)]
    known = [described(*[(i, 0, "switch") for i in (0, 1, 2, 100)], seed=seed) for seed in gains]
    rows = pd.concat(known).assign(score=[0.1, 0.2, 0.3, 9.0] * 2)
    epochs = pd.DataFrame([{"seed": s, "base": "latent", "problem": 0, "epoch": e} for s in gains for e in range(9)])
    text = readings.ranking(accuracy(*runs) | {"examples": rows, "history": epochs}, parameters(seeds=2))
    assert "over up to 9 passes of the full-set run, with 8 rollouts each" in text
    assert "its rank correlation with the gain is 0.25 (mean over seeds; -0.50 to 1.00)" in text
    assert text.endswith("among telling examples alone it is 0.25.")  # all of them are
