"""Sentences of the pass@k boundary chapter, on tables whose numbers follow by hand."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evolm.findings.rlvr_boundary import FINDING, published, readings, readings_arms
from evolm.instruments.passk import measure_booleans

Tables = dict[str, pd.DataFrame]
#: (step, temperature) -> success probability of every problem.
Models = Mapping[tuple[int, float], Sequence[float]]
SEED, OTHER = 2000, 2001
#: Every sentence that a page takes from tables.
SENTENCES: dict[str, Callable[[Tables, Any], str]] = {
    f.__name__: f for f in (
        readings.gate, readings.crossover, readings.closed_form, readings.rare, readings.outside_of_all, readings.valid,
        readings.open_models, readings_arms.cooling, readings_arms.imitation, readings_arms.warming,
        readings_arms.damage, readings_arms.perplexity, readings_arms.routing_bound, readings_arms.falls,
    )
}  # fmt: skip


def parameters(**overrides: Any) -> Any:
    return FINDING.resolve("cpu", **{"seeds": 1, "cues": (0.5,), "k_max": 2, "models": (), **overrides})


def one(*p: float, step: int = 0) -> Models:
    """An arm measured once, at temperature 1."""
    return {(step, 1.0): p}


def success(arms: Mapping[str, Models], *, cue: float = 0.5, seed: int = SEED, problems: str = "test") -> pd.DataFrame:
    labels = {"seed": seed, "cue": cue, "set": problems}
    rows = [
        {**labels, "arm": arm, "step": step, "temperature": temperature, "problem": i, "p": p}
        for arm, models in arms.items() for (step, temperature), values in models.items() for i, p in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def levels(*, cue: float = 0.5, seed: int = SEED, problems: str = "test", **columns: Sequence[Any]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    return pd.DataFrame({"seed": seed, "cue": cue, "set": problems, "problem": range(count), **columns})


# --- the paper's own numbers ----------------------------------------------------------------------------------


def test_the_papers_tables_are_counted() -> None:
    assert published.base_behind() == (10, 18)
    assert published.base_behind_at_the_ceiling() == 6
    assert (published.gaps(0), published.gaps(1)) == ((35.8, 42.8), (41.0, 45.3))
    assert published.LONGER[150] == published.ALGORITHMS["GRPO"]  # Table 3 starts from Table 2


def test_what_is_said_of_the_papers_tables_is_what_they_hold() -> None:
    text = readings.own_tables()
    assert "at or above the base in 10 of 18 cells: 6 on MATH500, where the base has 96.2 % already" in text
    assert "is 41 to 45.3 points on Omni-MATH test and 35.8 to 42.8 on its training set" in text
    assert "68.3, 66.6, 63.9 % on Omni-MATH test after 150, 300 and 450 steps, from 69.1 %" in text
    assert list(published.LONGER) == [150, 300, 450]
    on_omni = [(row[i][1], published.BASE[i][1]) for row in published.ALGORITHMS.values() for i in (0, 1)]
    ahead = [tuned - base for tuned, base in on_omni if tuned >= base]
    assert len(ahead) == 10 - 6
    assert max(ahead) < 1  # "by less than a point"


# --- base and tuned model -------------------------------------------------------------------------------------


def test_the_gate_sets_the_base_beside_blind_search_and_random_routing() -> None:
    base: Models = {(0, 1.0): [0.5, 0.1], (0, 0.2): [1.0, 1.0]}
    parts = [success({"base": base}), success({"base": one(1.0, 1.0)}, problems="rare")]
    knows: dict[str, Any] = {"blind_search": [0.01, 0.01], "random_routing": [0.4, 0.0]}
    wrong: dict[str, Any] = {"blind_search": [0.9, 0.9], "random_routing": [0.9, 0.9]}
    there = [levels(**knows), levels(**wrong, problems="rare"), levels(**wrong, cue=1.0)]
    text = readings.gate({"success": pd.concat(parts), "levels": pd.concat(there)}, parameters(cues=(0.5, 1.0)))
    assert text.startswith("At cue 0.5 the base solves 30% of the held-out problems with one sample and 47% with 2. ")
    assert "would reach 1.99% with 2 samples, so the base is 24 times above it" in text  # 0.47 / (1 - 0.99^2)
    assert "picks one at random would reach 32%" in text


def curves(base: Sequence[float], rl: Sequence[float], seed: int = SEED, cue: float = 0.5) -> pd.DataFrame:
    """Two models at their last step, among rows that must not count."""
    tuned: Models = {(5, 1.0): [1.0] * len(rl), (9, 1.0): rl, (9, 1.5): [1.0] * len(rl)}
    arms = {"base": {(0, 1.0): base, (0, 0.2): [1.0] * len(base)}, "rl": tuned, "rft": one(*rl, step=9)}
    rare = success({"base": one(0.0), "rl": one(1.0)}, cue=cue, seed=seed, problems="rare")
    return pd.concat([success(arms, cue=cue, seed=seed), rare])


@pytest.mark.parametrize(
    ("base", "rl", "expected"),
    [
        ((0.1, 0.1), (0.9, 0.0), 7),  # 1 - 0.9^k is above one half, by the margin, from 7 on
        ((0.2, 0.2), (0.9, 0.0), 4),
        ((0.1, 0.1), (0.9, 0.9), None),
        ((0.1, 0.1), (0.05, 0.05), None),  # behind at every k: nothing to be overtaken
        ((0.1, 0.1), (0.104, 0.0), None),  # a lead of 0.4 points at one sample is none
        ((0.5,) * 250, (0.9,) * 249 + (0.0,), None),  # one problem of 250 is lost: 0.4 points
        ((0.5,) * 150, (0.9,) * 149 + (0.0,), 10),  # one of 150: 0.67 points, once the base is as near to one
        ((1e-5, 1e-5), (2e-2, 0.0), None),  # it would cross far beyond 1,024
    ],
)
def test_the_crossing_is_the_first_k_at_which_the_base_leads_by_the_margin_after_the_tuned_model_led(
    base: Sequence[float], rl: Sequence[float], expected: int | None
) -> None:
    tables = {"success": pd.concat([curves(base, rl), curves((0.1, 0.1), (0.9, 0.0), seed=OTHER)])}
    assert readings.crossing_k(tables, SEED, 0.5) == expected


def test_crossings_are_counted_over_seeds_for_every_cue() -> None:
    at_seven, at_four, never = ((0.1, 0.1), (0.9, 0.0)), ((0.2, 0.2), (0.9, 0.0)), ((0.1, 0.1), (0.9, 0.9))
    planted = {0.0: (at_seven, at_four), 0.3: (at_seven, at_seven), 0.5: (never, at_four), 1.0: (never, never)}
    parts = [
        curves(*pair, seed=seed, cue=cue)
        for cue, pairs in planted.items() for seed, pair in zip((SEED, OTHER), pairs, strict=True)
    ]  # fmt: skip
    text = readings.crossover({"success": pd.concat(parts)}, parameters(seeds=2, cues=tuple(planted)))
    assert text == (
        "With a margin of half a point, at cue 0 they cross in every seed, at k = 4 to 7; at cue 0.3 they cross in "
        "every seed, at k = 7; at cue 0.5 they cross in 1 of 2 seeds, at k = 4; at cue 1 they do not cross up to 1,024."
    )


def test_the_tuned_model_is_set_beside_the_formula_and_split_by_what_the_formula_solves() -> None:
    rl: Models = {(5, 1.0): [0.0, 0.0], (9, 1.0): [0.9, 0.1], (9, 1.5): [0.0, 0.0]}
    other: Models = {(9, 1.0): [0.5, 0.3]}
    parts = [
        success({"base": one(0.0, 0.0), "rl": rl}),
        success({"rl": other}, seed=OTHER),
        *(success({"rl": one(1.0, 1.0, step=9)}, seed=seed, cue=1.0) for seed in (SEED, OTHER)),
        success({"rl": one(0.0, 0.0, step=9)}, problems="rare"),
    ]
    there = [levels(bayes=[True, False], seed=seed) for seed in (SEED, OTHER)]
    there += [levels(bayes=[True, True], seed=seed, cue=1.0) for seed in (SEED, OTHER)]
    there += [levels(bayes=[False, True], problems="rare")]
    tables, params = {"success": pd.concat(parts), "levels": pd.concat(there)}, parameters(seeds=2, cues=(0.5, 1.0))
    right, wrong = readings.routed(tables, params)
    assert right == pytest.approx((0.7, (0.99 + 0.75) / 2))
    assert wrong == pytest.approx((0.2, (0.19 + 0.51) / 2))
    text = readings.closed_form(tables, params)
    assert "at cue 0.5 the formula gives 50%, and the tuned models have 45% at k = 1 and 61% at k = 2" in text
    assert "at cue 1 the formula gives 100%, and the tuned models have 100% at k = 1 and 100% at k = 2" in text
    assert (
        "At cue 0.5 that is 70% at one sample on the problems that the formula solves, and 20.0% on the others" in text
    )
    assert "of which 35% are still found with 2 samples" in text


@pytest.mark.parametrize("imitated", [True, False])
def test_the_rare_method_is_counted_by_seed_and_set_beside_a_second_draw(imitated: bool) -> None:
    more = {"rft": one(0.9, step=9)} if imitated else {}
    parts = [
        success({"base": one(0.5), "rl": one(0.1, step=9), **more}, problems="rare"),
        success({"base": one(0.1), "rl": one(1.0, step=9), **more}, problems="rare", seed=OTHER),
        success({"base": one(1.0), "rl": one(1.0, step=9), **more}),
    ]
    text = readings.rare({"success": pd.concat(parts)}, parameters(seeds=2))
    (line,) = re.findall("^- (.*)$", text, re.M)
    counts = "reinforcement in 1 of 2 seeds" + " and fine-tuning on own samples in 2 of 2 seeds" * imitated
    assert (
        line
        == (  # solved: base 0.75 and 0.19, tuned 0.19 and 1; alone 0.25 x 0.19 and 0.81; again 0.75 x 0.25 and ...
            f"at cue 0.5 the base covers 47% of them with 2 samples; {counts} end above one half; "
            "43% are solved by the tuned model alone, where a second draw of the base gives 17%"
        )
    )


def test_the_rare_method_pays_from_the_cue_at_which_its_own_problems_outweigh_those_of_the_first() -> None:
    first, rare, methods = 0.36, 0.04, 7
    cue = (first - rare) / (first - rare + methods * rare)  # rare x (cue + (1 - cue) / 7) = first x (1 - cue) / 7
    tables = {"success": success({"base": one(0.5), "rl": one(0.1)}, problems="rare")}
    assert readings.rare(tables, parameters()).startswith(f"Below cue {cue:.2f} the formula routes away")


def test_what_could_be_found_outside_among_all_problems_leaves_out_those_of_the_absent_method() -> None:
    base = one(0.5, 0.1, 0.2)  # solved with two samples: 0.75, 0.19, 0.36
    parts = [success({"base": base, "rl": one(1, 1, 1)}), success({"base": one(1.0)}, problems="rare")]
    tables = {"success": pd.concat(parts), "levels": pd.concat([levels(method=[0, 1, 6]), levels(method=[1], cue=1.0)])}
    room = (0.25 - 0.75 * 0.25 + 0.81 - 0.19 * 0.81 - 0.36 * 0.64) / 3
    assert f"would have {room:.1%} to itself" in readings.outside_of_all(tables, parameters())
    assert f"{room:.1%}" == "16.3%"


def test_right_answers_are_counted_beside_those_with_right_reasoning() -> None:
    right, sound = np.arange(3000) < 1500, np.arange(3000) % 2 == 0
    text = readings.valid({"perplexity": pd.DataFrame({"correct": right, "valid": sound})}, parameters())
    assert text.startswith("Of 1,500 right answers among 3,000 graded samples of all arms, 750 also announce")


# --- open models ----------------------------------------------------------------------------------------------


def test_without_open_models_a_sentence_says_so() -> None:
    assert readings.open_models({}, parameters()) == "No open model was measured in this record."


def measured(*, answers: list[str] | None) -> pd.DataFrame:
    """Rows as a record holds them: the instrument on one model after the other, each with its own rows of guesses."""
    drawn = {"second/b": np.arange(16) < [[4]] * 4, "a": np.arange(16) < [[16], [16], [0], [0]]}
    parts = [measure_booleans({name: right}, answers=answers, draws=200) for name, right in drawn.items()]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("answers", [["3", "3", "5", "7"], None])
def test_open_models_are_told_one_by_one_and_guessing_is_no_model(answers: list[str] | None) -> None:
    rows = measured(answers=answers)
    assert ("guess" in set(rows["model"])) == (answers is not None)
    text = readings.open_models({"open_models": rows}, parameters(model_samples=16, model_problems=4))
    b = "second/b solves 25% [25%, 25%] of 4 problems with one sample and 73% [73%, 73%] with 4"  # 1 - C(12,4)/C(16,4)
    a = r"a solves 50% \[(\d+)%, (\d+)%\] of 4 problems with one sample and 50% \[\1%, \2%\] with 4"
    found = re.match(re.escape(b) + "; " + a + r"\.", text)
    assert found is not None, text
    assert int(found[1]) < 50 < int(found[2])
    assert text.count(" solves ") == 2
    assert ("of the other problems reach 40% with 4." in text) == (answers is not None)  # (1 - (2/3)^4) / 2
    assert "guess" not in text
    assert "nan" not in text


# --- arms -----------------------------------------------------------------------------------------------------

#: (pass@1, pass@2): (.2, .36) at temperature 1, (.25, .375) at 0.8, (.4, .48) at 0.5, and beyond reach at 0.1.
COOLED: Models = {
    (0, 1.0): [0.2, 0.2],
    (0, 0.8): [0.0, 0.5],
    (0, 0.5): [0.0, 0.8],
    (0, 0.1): [1.0, 1.0],
}
SHARP = one(0.0, 1.0, step=9)  # (.5, .5)


def test_cooling_is_compared_at_every_temperature_whose_pass_at_one_reinforcement_reaches() -> None:
    arms = {"base": COOLED, "rl": {**SHARP, (9, 1.5): [1.0, 1.0]}, "rft": one(1.0, 1.0, step=9)}
    tables = {"success": pd.concat([success(arms), success({"base": one(0.0), "rl": one(1.0)}, cue=1.0)])}
    path = 0.36 + 0.14 * np.array([0.05, 0.2]) / 0.3  # coverage of reinforcement where pass@1 is .25 and .4
    assert [f"{100 * d:+.1f}" for d in np.array([0.375, 0.48]) - path] == ["-0.8", "+2.7"]
    assert readings_arms.cooling(tables, parameters(temperatures=(0.1, 0.5, 0.8))) == (
        "The base's coverage less that of reinforcement, at equal pass@1: −0.8 points at a pass@1 of 25%, +2.7 points "
        "at a pass@1 of 40%."
    )


def test_cooling_is_told_only_where_every_seed_reaches_that_far() -> None:
    near = success({"base": COOLED, "rl": one(0.3, 0.3, step=9)}, seed=OTHER)  # (.3, .51)
    tables = {"success": pd.concat([success({"base": COOLED, "rl": SHARP}), near])}
    params = parameters(seeds=2, temperatures=(0.1, 0.5, 0.8))
    mean = 100 * (0.375 - (0.36 + 0.14 / 6 + 0.36 + 0.15 / 2) / 2)
    assert readings_arms.cooling(tables, params).endswith(
        f"at equal pass@1: {mean:+.1f} points at a pass@1 of 25%.".replace("-", "−")
    )
    assert readings_arms.cooling(tables, parameters(seeds=2, temperatures=(0.1,))) == ""
    assert readings_arms.cooling(tables, parameters(seeds=2, temperatures=())) == ""


def test_imitation_is_told_for_the_rounds_there_are() -> None:
    arms = {
        "base": one(0.1),
        "rl": {(5, 1.0): [1.0], (9, 1.0): [0.5], (9, 1.5): [1.0]},
        "rft": one(0.4, step=9),
        "rft-4": one(0.8, step=9),
    }
    params = parameters(rft_rounds=(1, 4, 16))
    told = ["reinforcement 50% and 75%", "one round of imitation 40% and 64%", "4 rounds 80% and 96%"]
    start = "pass@1 and pass@2 at cue 0.5: "
    assert readings_arms.imitation({"success": success(arms)}, params) == f"{start}{'; '.join(told)}."
    few = {"success": success({arm: arms[arm] for arm in ("base", "rl")})}
    assert readings_arms.imitation(few, params) == f"{start}{told[0]}."


@pytest.mark.parametrize(
    ("warmer", "end"),
    [
        ({1.5: 0.3}, "19% at 1, 51% at 1.5, where it was still rising."),
        ({1.5: 0.3, 2.0: 0.2}, "19% at 1, 51% at 1.5, 36% at 2, with its best at 1.5."),
        ({1.5: 0.05}, "19% at 1, 10% at 1.5, with its best at 1."),
    ],
)
def test_warming_tells_every_temperature_and_where_the_best_lies(warmer: dict[float, float], end: str) -> None:
    tuned: Models = {(5, 1.0): [1.0], (9, 1.0): [0.1], **{(9, t): [p] for t, p in warmer.items()}}
    tables = {"success": success({"base": {(0, 1.0): [0.5], (0, 3.0): [1.0]}, "rl": tuned})}
    assert readings_arms.warming(tables, parameters()) == f"Sampled warmer, the tuned model covers {end}"


def test_without_a_warmer_temperature_nothing_is_said_of_warming() -> None:
    tables = {"success": success({"base": one(0.5), "rl": one(0.1, step=9)})}
    assert readings_arms.warming(tables, parameters()) == ""


def test_damage_tells_where_other_rewards_end_and_that_hinted_training_keeps_coverage() -> None:
    arms = {
        "base": one(0.5),
        "rl": one(0.1, step=9),
        "random": {(5, 1.0): [0.6], (9, 1.0): [0.2]},
        "format": {(5, 1.0): [0.6], (9, 1.0): [0.3]},
    }
    rows = success(arms)
    told = (
        "end at 20.0% at k = 1 and 36% at k = 2 with a coin for a reward and 30.0% at k = 1 and 51% at k = 2 with a "
        "reward for form; the base has 50.0% and 75%."
    )
    alone = readings_arms.damage({"success": rows}, parameters())
    assert told in alone
    assert "the same training" not in alone
    hinted = pd.concat([rows, success({"base": one(0.6), "rl": one(0.7, step=9)}, cue=1.0)])
    text = readings_arms.damage({"success": hinted}, parameters(cues=(0.5, 1.0)))
    assert text.startswith(alone)
    assert text.endswith("the same training at cue 1: there it goes from 84% to 91% at k = 2.")


@pytest.mark.parametrize("missing", ["random", "format"])
def test_without_both_other_rewards_nothing_is_said_of_damage(missing: str) -> None:
    arms = {arm: one(0.5) for arm in ("base", "rl", "random", "format") if arm != missing}
    assert readings_arms.damage({"success": success(arms)}, parameters()) == ""


def perplexities(cue: float = 0.5, **nats: tuple[float, float, float]) -> pd.DataFrame:
    """Twenty samples of each model, 0.1 nats around a level: arm=(temperature, nats, share malformed)."""
    parts = []
    for arm, (temperature, level, malformed) in nats.items():
        i = np.arange(20)
        under = np.exp(level + np.linspace(-0.1, 0.1, 20)).astype(np.float32)
        graded = {"well_formed": i >= malformed * 20, "correct": i < 5, "valid": i < 5}
        labels: dict[str, Any] = {"seed": SEED, "cue": cue, "arm": arm.rstrip("_"), "temperature": temperature}
        parts.append(pd.DataFrame({"under_base": under, **graded}).assign(**labels))
    return pd.concat(parts)


def test_perplexities_are_told_in_nats_with_the_malformed_share_of_the_bases_own_samples() -> None:
    core = perplexities(base=(1.0, 0.64, 0.1), base_=(0.6, 0.53, 0.5), rl=(1.0, 0.34, 0.9), rft=(1.0, 0.1, 0.9))
    elsewhere = perplexities(1.0, base=(1.0, 5.0, 0.9), base_=(0.6, 5.0, 0.9), rl=(1.0, 5.0, 0.9))
    text = readings_arms.perplexity({"perplexity": pd.concat([core, elsewhere])}, parameters(cues=(0.5, 1.0)))
    assert "its own samples take 0.640 nats per token (10% of them are malformed)" in text
    assert "its samples at temperature 0.6 take 0.530, and the tuned model's 0.340" in text


def test_the_routing_bound_is_the_bases_coverage_less_the_formula() -> None:
    parts = [success({"base": one(0.5, 0.5)}), success({"base": one(0.5, 0.5)}, seed=OTHER)]
    there = [levels(bayes=[True, False]), levels(bayes=[False, False], seed=OTHER)]
    there += [levels(bayes=[True, True], problems="rare"), levels(bayes=[True, True], cue=1.0)]
    tables = {"success": pd.concat(parts), "levels": pd.concat(there)}
    assert "Of that gap 50% is the routing bound" in readings_arms.routing_bound(tables, parameters(seeds=2))


def test_falls_are_told_step_by_step_at_the_core_cue() -> None:
    rl: Models = {(150, 1.0): [0.2], (10, 1.0): [0.4], (150, 1.5): [1.0]}
    arms = {"base": {(0, 1.0): [0.5], (0, 0.2): [1.0]}, "rl": rl, "format": one(1.0, step=10)}
    tables = {"success": pd.concat([success(arms), success({"base": one(1.0), "rl": one(1.0, step=10)}, cue=1.0)])}
    text = readings_arms.falls(tables, parameters(cues=(0.5, 1.0)))
    assert text == "At cue 0.5 pass@2 goes from 75% to 64% after 10, 36% after 150 steps."


# --- every sentence, on any record ----------------------------------------------------------------------------


def a_record(params: Any, arms: Sequence[str], rng: np.random.Generator) -> Tables:
    """What every run holds: base and reinforcement at every cue, and `arms` besides."""
    parts, there, graded = [], [], []
    methods = np.arange(14) % 7
    for seed in params.seed_list:
        for cue in params.cues:

            def draw(count: int) -> Sequence[float]:
                return list(rng.beta(0.5, 1, count))

            for name, count in (("test", 14), ("rare", 5)):
                models: dict[str, Models] = {arm: one(*draw(count), step=9) for arm in arms}
                models["base"] = {(0, t): draw(count) for t in {1.0, *params.temperatures}}
                last = params.rl_steps
                runs = [
                    *((step, 1.0) for step in (*params.checkpoints, last)),
                    *((last, t) for t in params.rl_temperatures),
                ]
                models["rl"] = {run: draw(count) for run in runs}
                parts.append(success(models, cue=cue, seed=seed, problems=name))
                needed = methods if name == "test" else [5] * 5
                known: dict[str, Any] = {"method": needed, "bayes": np.arange(count) % 3 == 0}
                known |= {"blind_search": [1e-5] * count, "random_routing": [0.1] * count}
                there.append(levels(cue=cue, seed=seed, problems=name, **known))
            graded.append(perplexities(cue, base=(1.0, 0.6, 0.1), base_=(0.6, 0.5, 0.1), rl=(1.0, 0.4, 0.1)))
    return {
        name: pd.concat(f, ignore_index=True)
        for name, f in zip(("success", "levels", "perplexity"), (parts, there, graded), strict=True)
    }


RECORDS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "one seed and cue, reinforcement alone": (
        {"checkpoints": (), "temperatures": (), "rl_temperatures": (), "rft_rounds": (1,)}, ()
    ),
    "three cues, every arm": (
        {"seeds": 2, "cues": (0.0, 0.5, 1.0)}, ("rft", "rft-4", "random", "format", "named", "distil")
    ),
    "no core cue in the middle": ({"cues": (0.5, 1.0), "core_cue": 1.0, "k_max": 256}, ("rft", "random", "format")),
}  # fmt: skip


@pytest.mark.parametrize("record", RECORDS)
def test_every_sentence_can_be_told_of_any_record(record: str) -> None:
    overrides, arms = RECORDS[record]
    params = parameters(**overrides)
    tables = a_record(params, arms, np.random.default_rng(0))
    if "rft" in arms:
        tables["open_models"] = measured(answers=["3", "3", "5", "7"])
    for name, tell in SENTENCES.items():
        text = tell(tables, params)
        assert isinstance(text, str), name
        assert not re.search(r"\b(nan|inf|None)\b|\{|  ", text), (name, text)
        assert text == "" or text.rstrip().endswith((".", "%")), (name, text)
    silent = {name for name, tell in SENTENCES.items() if not tell(tables, params)}
    assert silent - {"cooling"} == (set() if arms else {"warming", "damage"})  # of cooling where no seed gets that far


@pytest.mark.parametrize("module", [readings, readings_arms], ids=lambda module: module.__name__.rpartition(".")[2])
def test_no_sentence_is_left_untold_here(module: ModuleType) -> None:
    own = {name for name, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == module.__name__}
    helpers = {"crossing_k", "routed", "own_tables"}
    assert {name for name in own if not name.startswith("_")} - helpers <= set(SENTENCES)
