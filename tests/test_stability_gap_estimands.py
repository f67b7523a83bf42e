"""What the claims of the stability-gap chapter estimate, on tables with a planted truth, and their verdicts."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure as Canvas
from scipy import stats

from evolm import plotting
from evolm.evidence import COLUMNS, CannotSpeakError, gather
from evolm.finding import Claim, ParameterError
from evolm.findings.stability_gap import FINDING, arms, curves, estimands, figures_corpora
from evolm.findings.stability_gap.curves import ABILITIES, KEPT, STATEMENTS, TASK, UNSEEN
from evolm.findings.stability_gap.figure_style import STYLE
from evolm.findings.stability_gap.parameters import StabilityGapParams
from evolm.fragments import Fragment
from evolm.intervals import seed_interval
from evolm.plotting import Figure, theme
from evolm.verdict import Verdict, judge

Tables = dict[str, pd.DataFrame]
CLAIMS = {claim.name: claim for claim in FINDING.claims}
#: Items of a half, by probe.
ITEMS = {
    "absent": 24, "repeated": 20, "new": 48, "general kept": 17, "general lost": 15, "sums": 100,
    "absent, stated": 24, "repeated, stated": 20, "general lost, stated": 15,
}  # fmt: skip
TEXT_ITEMS = {"medical": 200, "general": 150}
STEPS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 225, 250)
LOW = STEPS.index(10)


def resolved(preset: str, **overrides: Any) -> StabilityGapParams:
    return cast(StabilityGapParams, FINDING.resolve(preset, **overrides))


PARAMS = resolved("gpu")


class Curve(NamedTuple):
    """Accuracy at the start, at its lowest and over the last measurements."""

    start: float
    low: float
    end: float

    @property
    def depth(self) -> float:
        return self.start - self.low

    @property
    def recovery(self) -> float:
        return self.end - self.low

    @property
    def lost(self) -> float:
        return self.start - self.end

    def path(self, low: int = LOW) -> np.ndarray[Any, Any]:
        """By line from start to low and on to the end, which the last measurements share."""
        places = [0, low, len(STEPS) - curves.LAST]
        return np.interp(np.arange(len(STEPS)), places, [self.start, self.low, self.end])


#: (seed, arm) -> probe -> what is planted.
Truth = Mapping[tuple[int, str], Mapping[str, Curve]]


def curve_rows(
    truth: Truth, items: Mapping[str, int] = ITEMS, noise: float = 0.0, rng: np.random.Generator | None = None
) -> pd.DataFrame:
    """The table `curve`, or `text_curve`; the second half is .02 easier, which no difference should see."""
    keys = [(seed, arm, probe) for (seed, arm), probes in truth.items() for probe in probes]
    paths = np.array([truth[seed, arm][probe].path() for seed, arm, probe in keys])  # (key, step)
    both = np.stack([paths, paths + 0.02], 1)  # (key, half, step)
    if noise:
        both += noise * (rng or np.random.default_rng(0)).standard_normal(both.shape)
    key, half, step = np.indices(both.shape).reshape(3, -1)
    rows = pd.DataFrame(keys, columns=["seed", "arm", "probe"]).iloc[key].reset_index(drop=True)
    rows = rows.assign(step=np.array(STEPS)[step], half=half, items=rows["probe"].map(items), accuracy=both.ravel())
    return rows.sample(frac=1, random_state=0)  # in no order


def loss_rows(nats: Mapping[tuple[int, str], Any], steps: Sequence[int] = STEPS) -> pd.DataFrame:
    """The table `losses`, or `text_losses`: medical text as planted, and general text that only rises."""
    frames = [
        pd.DataFrame({"seed": seed, "arm": arm, "step": steps, "text": text, "nats": values})
        for (seed, arm), medical in nats.items()
        for text, values in (("medical", medical), ("general", np.arange(len(steps)) / 10))
    ]
    return pd.concat(frames, ignore_index=True).sample(frac=1, random_state=0)


def found(frame: pd.DataFrame) -> dict[tuple[int, str], float]:
    """(seed, arm) -> value."""
    assert list(frame.columns) == ["seed", "arm", "value"]
    assert not frame.duplicated(["seed", "arm"]).any()
    return dict(zip(zip(frame["seed"], frame["arm"], strict=True), frame["value"], strict=True))


# --- every estimand against a planted truth --------------------------------------------------------------------

SEEDS = (3, 4, 7)
EVERY_ARM = (*arms.CORE, *arms.FACTORIAL, *arms.CONFOUNDS, *arms.swept(PARAMS))
TEXT_ARMS = ("baseline", "null", "replay", "low rate")


def drawn(names: Sequence[str], probes: Mapping[str, int], number: int) -> dict[tuple[int, str], dict[str, Curve]]:
    """Any starts and ends above any lowest points, all different."""
    rng = np.random.default_rng(number)

    def curve() -> Curve:
        low = rng.uniform(0, 0.4)
        return Curve(low + rng.uniform(0.05, 0.5), low, low + rng.uniform(0.05, 0.5))

    return {(seed, arm): {probe: curve() for probe in probes} for seed in SEEDS for arm in names}


FACTS, CLOZE = drawn(EVERY_ARM, ITEMS, 1), drawn(TEXT_ARMS, TEXT_ITEMS, 2)


@cache
def anything() -> Tables:
    return {"curve": curve_rows(FACTS), "text_curve": curve_rows(CLOZE, TEXT_ITEMS)}


def pooled(probes: Mapping[str, Curve], names: Sequence[str], weights: Mapping[str, int] | None = None) -> Curve:
    """The curve of several probes: every kind counts the same, or by its weight."""
    counts = [1 if weights is None else weights[name] for name in names]
    return Curve(*np.average([probes[name] for name in names], axis=0, weights=counts))


#: Estimand -> probes, whether kinds count alike, quantity of the curve, arms.
LEVELS: dict[str, tuple[Sequence[str], bool, str, tuple[str, str]]] = {
    "dip": (TASK, False, "depth", ("baseline", "null")),
    "recovery": (UNSEEN, False, "recovery", ("baseline", "no general")),
    "forgetting": (ABILITIES, True, "lost", ("replay", "no general")),
    "task_recovery": (TASK, False, "recovery", ("baseline", "no general")),
    "spared": (KEPT, True, "lost", ("replay", "no general")),
    "annealing": (TASK, False, "recovery", ("baseline", "constant")),
    "fresh_state": (TASK, False, "depth", ("baseline", "kept state")),
    "warming_up": (TASK, False, "depth", ("no warm-up", "baseline")),
    "dip_at_peak": (TASK, False, "depth", ("residual 0.05, rate 0.002", "null, rate 0.002")),
    "recovery_above": (TASK, False, "recovery", ("residual 0.05, rate 0.004", "residual 0, rate 0.004")),
    "text_dip": (("medical",), False, "depth", ("baseline", "null")),
    "text_forgetting": (("general",), False, "lost", ("replay", "baseline")),
}
#: Estimand -> quantity of the task's curve, sign, arms that are compared with the baseline.
OVER_BASELINE: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "strategies": ("end", 1, ("all, 40 %", "baseline, 40 %")),
    "strategies_equal": ("end", 1, ("all",)),
    "shrinkage": ("depth", -1, ("all", "epochs", "quality", "mix")),
    "exposures": ("end", 1, ("quality, diluted",)),
}


@pytest.mark.parametrize("name", LEVELS)
def test_planted_depths_recoveries_and_losses_are_read_per_seed_and_arm(name: str) -> None:
    probes, alike, quantity, names = LEVELS[name]
    truth, items = (CLOZE, TEXT_ITEMS) if name.startswith("text") else (FACTS, ITEMS)
    planted = {
        (seed, arm): getattr(pooled(truth[seed, arm], probes, None if alike else items), quantity)
        for seed in SEEDS for arm in names
    }  # fmt: skip
    assert found(getattr(estimands, name)(anything(), PARAMS)) == pytest.approx(planted, abs=1e-12)


@pytest.mark.parametrize("name", OVER_BASELINE)
def test_planted_gains_are_those_over_the_baseline_of_the_same_seed_which_is_zero(name: str) -> None:
    quantity, sign, names = OVER_BASELINE[name]
    at = {key: getattr(pooled(probes, TASK, ITEMS), quantity) for key, probes in FACTS.items()}
    planted = {(seed, arm): sign * (at[seed, arm] - at[seed, "baseline"]) for seed in SEEDS for arm in names}
    planted |= {(seed, "baseline"): 0.0 for seed in SEEDS}
    assert found(getattr(estimands, name)(anything(), PARAMS)) == pytest.approx(planted, abs=1e-12)


def test_questions_and_statements_are_about_the_same_facts_and_of_the_baseline_alone() -> None:
    asked = ("absent", "repeated", "general lost")
    assert tuple(f"{name}, stated" for name in asked) == STATEMENTS
    planted = {
        (seed, form): pooled(FACTS[seed, "baseline"], names, ITEMS).depth
        for seed in SEEDS for form, names in (("questions", asked), ("statements", STATEMENTS))
    }  # fmt: skip
    assert found(estimands.forms(anything(), PARAMS)) == pytest.approx(planted, abs=1e-12)


def test_rewarming_is_the_depth_of_general_ability_in_the_null_shift_beside_no_update_at_all() -> None:
    planted = {(seed, "null"): pooled(FACTS[seed, "null"], ABILITIES).depth for seed in SEEDS}
    planted |= {(seed, "base"): 0.0 for seed in SEEDS}
    assert found(estimands.rewarming(anything(), PARAMS)) == pytest.approx(planted, abs=1e-12)


def test_standing_is_zero_for_every_seed_of_the_arm_and_over_baseline_leaves_out_seeds_without_one() -> None:
    rows = [(3, "null", 0.4), (4, "null", -0.1), (4, "baseline", 0.2), (5, "baseline", 0.1), (4, "all", 0.9)]
    values = pd.DataFrame(rows, columns=["seed", "arm", "value"])
    assert found(estimands.standing(values, "null")) == {(3, "base"): 0, (4, "base"): 0}
    over = found(estimands.over_baseline(values, "null"))
    assert over == pytest.approx({(4, "null"): -0.3, (4, "baseline"): 0, (5, "baseline"): 0})
    assert found(estimands.over_baseline(values, "null", sign=-1))[4, "null"] == pytest.approx(0.3)


def literal(**by_arm: Sequence[float]) -> Tables:
    """Arms of one seed with the same start, low and end in all probes; `_` stands for a space."""
    truth = {(0, arm.replace("_", " ")): dict.fromkeys(ITEMS, Curve(*curve)) for arm, curve in by_arm.items()}
    return {"curve": curve_rows(truth)}


def test_signs_are_those_of_the_words() -> None:
    tables = literal(baseline=(0.8, 0.5, 0.9), all=(0.8, 0.7, 0.95), null=(0.8, 0.8, 0.8), replay=(0.8, 0.6, 0.7))
    tables = {"curve": pd.concat([tables["curve"], literal(no_general=(0.8, 0.2, 0.3))["curve"]])}
    found_by = {name: found(getattr(estimands, name)(tables, PARAMS)) for name in ("dip", "recovery", "forgetting")}
    assert found_by["dip"] == pytest.approx({(0, "baseline"): 0.3, (0, "null"): 0})  # a fall is positive
    assert found_by["recovery"] == pytest.approx(
        {(0, "baseline"): 0.4, (0, "no general"): 0.1}
    )  # so is a rise after it
    assert found_by["forgetting"] == pytest.approx({(0, "replay"): 0.1, (0, "no general"): 0.5})  # and what is lost
    assert found(estimands.shrinkage(tables, PARAMS))[0, "all"] == pytest.approx(0.2)  # shallower is better
    assert found(estimands.strategies_equal(tables, PARAMS))[0, "all"] == pytest.approx(0.05)  # so is a higher end
    assert found(estimands.forgetting(literal(replay=(0.8, 0.7, 0.9)), PARAMS)) == pytest.approx({(0, "replay"): -0.1})


def test_loss_is_read_where_the_task_is_lowest_between_measurements_by_line() -> None:
    """The halves are lowest after 10 and 20 updates, so 15; the task of the null shift is lowest after 5."""
    frames = []
    for half, low in ((0, 10), (1, 20)):
        rows = curve_rows({(0, "baseline"): dict.fromkeys(TASK, Curve(0.8, 0.5, 0.9))})
        rows = rows[rows["half"] == half]
        path = Curve(0.8, 0.5, 0.9).path(STEPS.index(low))
        frames.append(rows.assign(accuracy=rows["step"].map(dict(zip(STEPS, path, strict=True)))))
    null = curve_rows({(0, "null"): dict.fromkeys(TASK, Curve(0.8, 0.5, 0.9))})
    steps = (0, 5, 10, 20, 250)
    losses = loss_rows({(0, "baseline"): (3.0, 2.9, 2.5, 1.5, 1.0), (0, "null"): (3.0, 3.0, 3.1, 3.3, 4.0)}, steps)
    tables = {"curve": pd.concat([*frames, null]), "losses": losses}
    assert found(estimands.meanwhile(tables, PARAMS)) == pytest.approx({(0, "baseline"): 1.0, (0, "null"): -0.2})


def test_every_seed_has_a_step_of_its_own_at_which_loss_is_read() -> None:
    truth = {(seed, "baseline"): dict.fromkeys(TASK, Curve(0.8, 0.5, 0.9)) for seed in (0, 1)}
    rows = curve_rows(truth)
    late = dict(zip(STEPS, Curve(0.8, 0.5, 0.9).path(STEPS.index(50)), strict=True))
    rows["accuracy"] = rows["accuracy"].where(rows["seed"] == 0, rows["step"].map(late))
    losses = loss_rows(
        {(seed, arm): [3 - step / 100 for step in STEPS] for seed in (0, 1) for arm in ("baseline", "null")}
    )
    planted = {(seed, arm): step / 100 for seed, step in ((0, 10), (1, 50)) for arm in ("baseline", "null")}
    assert found(estimands.meanwhile({"curve": rows, "losses": losses}, PARAMS)) == pytest.approx(planted)


@pytest.mark.parametrize(("warmup", "fallen"), [(10, 0.5), (15, 0.75), (20, 1.0)])
def test_loss_on_real_text_is_read_when_the_rate_has_warmed_up(warmup: int, fallen: float) -> None:
    nats = {(0, "baseline"): (5.0, 4.5, 4.0, 3.0), (0, "null"): (5.0, 5.1, 5.2, 5.3), (0, "replay"): (5.0, 0, 0, 0)}
    tables = {"text_losses": loss_rows(nats, (0, 10, 20, 180))}
    values = found(estimands.text_loss(tables, resolved("gpu", warmup=warmup)))
    assert values == pytest.approx({(0, "baseline"): fallen, (0, "null"): -fallen / 5})


def test_every_claim_has_an_estimand_that_is_tested_here_and_names_its_arm_and_controls() -> None:
    here = {*LEVELS, *OVER_BASELINE, "forms", "rewarming", "meanwhile", "text_loss"}
    assert {claim.measure for claim in FINDING.claims} == here
    own = inspect.getmembers(estimands, inspect.isfunction)
    taking = {name for name, f in own if list(inspect.signature(f).parameters) == ["tables", "params"]}
    assert taking == here
    for claim in FINDING.claims:
        frame = getattr(estimands, claim.measure)(as_claimed(), PARAMS)
        assert {claim.arm, *claim.controls} <= set(frame["arm"]), claim.name
        assert set(frame["seed"]) == set(TWELVE), claim.name


# --- weights of probes, and the choice of the step ------------------------------------------------------------


def test_abilities_count_alike_whatever_their_items_and_accuracy_counts_items() -> None:
    values = {"general kept": 1.0, "general lost": 0.4, "sums": 0.1}
    tables = {"curve": curve_rows({(0, "a"): {name: Curve(v, v, v) for name, v in values.items()}})}
    tables["curve"] = tables["curve"].query("half == 0")
    assert curves.abilities(tables, ABILITIES)["value"].to_numpy() == pytest.approx(0.5)
    by_item = (17 * 1.0 + 15 * 0.4 + 100 * 0.1) / 132
    assert curves.accuracy(tables, ABILITIES)["value"].to_numpy() == pytest.approx(by_item)
    more = tables["curve"].assign(items=tables["curve"]["items"].where(tables["curve"]["probe"] != "sums", 10**6))
    assert curves.abilities({"curve": more}, ABILITIES)["value"].to_numpy() == pytest.approx(0.5)
    assert curves.accuracy({"curve": more}, ABILITIES)["value"].to_numpy() == pytest.approx(0.1, abs=1e-4)


RUNS = 120


@settings(max_examples=12, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    measured=st.integers(4, 30), sd=st.floats(0.01, 0.2), memory=st.floats(0, 0.9), seed=st.integers(0, 10**6)
)  # fmt: skip
def test_flat_noise_has_no_depth_on_average_unless_the_step_is_chosen_where_it_is_read(
    measured: int, sd: float, memory: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    noise = sd * rng.standard_normal((RUNS, 2, measured))  # (run, half, step)
    for step in range(1, measured):  # noise that one measurement hands on to the next
        noise[..., step] = memory * noise[..., step - 1] + np.sqrt(1 - memory**2) * noise[..., step]
    honest, naive = (curves.dips(as_rows(part)) for part in (noise, noise[:, [0, 0]]))
    assert abs(in_errors(honest["depth"])) < 4
    assert in_errors(naive["depth"]) > 4
    assert abs(in_errors(honest["lost"])) < 4
    assert naive["depth"].mean() == pytest.approx((noise[:, 0, 0] - noise[:, 0].min(-1)).mean())


def in_errors(values: pd.Series) -> float:
    """A mean over runs in its standard errors."""
    return float(stats.ttest_1samp(values, 0.0).statistic)


def as_rows(values: np.ndarray[Any, Any]) -> pd.DataFrame:
    """Rows of runs with these accuracies (run, half, step) around one half."""
    places = np.indices(values.shape).reshape(3, -1)
    columns = dict(zip(("seed", "half", "step"), places, strict=True))
    return pd.DataFrame({**columns, "arm": "a", "value": 0.5 + values.ravel()})


# --- every claim, and its verdict -----------------------------------------------------------------------------

TWELVE = range(2000, 2012)
#: Arm -> probe -> start, low and end when everything is as the claims say.
Plan = dict[str, dict[str, tuple[float, float, float]]]
TASK_AS_IT_IS = {"absent": (1.0, 0.6, 0.8), "repeated": (1.0, 0.8, 0.95), "new": (0.1, 0.05, 0.8)}
FORGOTTEN = {"general kept": (1.0, 0.4, 0.4), "general lost": (1.0, 0.1, 0.1), "sums": (0.9, 0.2, 0.2)}
KNOWN = {"general kept": (1.0, 0.9, 0.98), "general lost": (1.0, 0.3, 0.6), "sums": (0.9, 0.7, 0.85)}
REPLAYED = {"general kept": (1.0, 0.9, 0.99), "general lost": (1.0, 0.9, 0.99), "sums": (0.9, 0.85, 0.89)}
STATED = dict.fromkeys(STATEMENTS, (1.0, 0.97, 0.98))
STANDING = {"absent": (1.0, 1.0, 1.0), "repeated": (1.0, 1.0, 1.0), "new": (0.1, 0.1, 0.1)}


def task(*, shallower: float = 0.0, higher: float = 0.0) -> dict[str, tuple[float, float, float]]:
    """The task of the baseline with its lowest point and its end raised."""
    return {name: (a, b + shallower, c + higher) for name, (a, b, c) in TASK_AS_IT_IS.items()}


EFFECT: Plan = {
    "residual 0.05, rate 0.002": task(),
    "null, rate 0.002": STANDING,
    "residual 0.05, rate 0.004": task(),
    "residual 0, rate 0.004": STANDING,
    "baseline": {**TASK_AS_IT_IS, **KNOWN, **STATED},
    "null": {**STANDING, "general kept": (1.0, 0.8, 1.0), "general lost": (1.0, 0.8, 0.9), "sums": (0.9, 0.8, 0.9)},
    "no general": {"absent": (1.0, 0.4, 0.4), "repeated": (1.0, 0.6, 0.6), "new": (0.1, 0.02, 0.1), **FORGOTTEN},
    "replay": {**TASK_AS_IT_IS, **REPLAYED},
    "all": task(shallower=0.04, higher=0.05),
    "all, 40 %": task(higher=0.05),
    "baseline, 40 %": task(higher=-0.1),
    "epochs": task(shallower=0.04),
    "quality": task(shallower=0.04),
    "mix": task(shallower=0.04),
    "quality, diluted": task(higher=0.05),
    "constant": task(higher=-0.2),
    "kept state": task(shallower=0.04),
    "no warm-up": task(shallower=-0.04),
}
#: Loss on medical text at the end, from 3.
NATS = {"baseline": 1.0, "null": 3.1}
#: The same of real text, and of its loss.
TEXT: Plan = {
    "baseline": {"medical": (0.4, 0.3, 0.6), "general": (0.7, 0.5, 0.5)},
    "null": {"medical": (0.4, 0.4, 0.4), "general": (0.7, 0.7, 0.7)},
    "replay": {"medical": (0.4, 0.35, 0.55), "general": (0.7, 0.68, 0.69)},
}


def planted(
    changed: Plan | None = None, *, nats: Mapping[str, float] = NATS, text: Plan | None = None, noise: float = 0.002
) -> Tables:
    """Tables of twelve seeds in which every effect is what is planted, but for a little noise per seed and row."""
    plan = {arm: {**EFFECT.get(arm, {}), **(changed or {}).get(arm, {})} for arm in {**EFFECT, **(changed or {})}}
    cloze = {arm: {**probes, **(text or {}).get(arm, {})} for arm, probes in TEXT.items()}
    rng = np.random.default_rng(5)

    def seeds_of(wanted: Plan) -> dict[tuple[int, str], dict[str, Curve]]:
        return {
            (seed, arm): {name: Curve(*(np.array(c) + noise * rng.standard_normal(3))) for name, c in probes.items()}
            for arm, probes in wanted.items() for seed in TWELVE
        }  # fmt: skip

    falling = {
        (seed, arm): 3 + (end - 3 + noise * rng.standard_normal()) * np.array(STEPS) / STEPS[-1]
        for arm, end in nats.items() for seed in TWELVE
    }  # fmt: skip
    return {
        "curve": curve_rows(seeds_of(plan), noise=noise, rng=rng),
        "losses": loss_rows(falling),
        "text_curve": curve_rows(seeds_of(cloze), TEXT_ITEMS, noise=noise, rng=rng),
        "text_losses": loss_rows(falling),
    }


@cache
def as_claimed() -> Tables:
    return planted()


def judged(tables: Tables, params: Any = PARAMS, claims: Sequence[Claim] = FINDING.claims) -> dict[str, Verdict]:
    return {verdict.claim: verdict for verdict in judge(claims, tables, params, estimands)}


def arms_of(claim: Claim) -> list[str]:
    """The arms of a record that a claim is about, the one that others are compared with first."""
    renamed = {"questions": "baseline", "statements": "baseline", "base": "null"}
    return list(dict.fromkeys(renamed.get(name, name) for name in (claim.arm, *claim.controls)))


def only(tables: Tables, names: Sequence[str]) -> Tables:
    return {name: rows[rows["arm"].isin(list(names))] for name, rows in tables.items()}


def verdict_of(name: str, tables: Tables) -> str:
    """Of one claim: a core one is judged with the others of the core, which share their error."""
    claims = [claim for claim in FINDING.claims if claim.core] if CLAIMS[name].core else [CLAIMS[name]]
    wanted = {"baseline", *(arm for claim in claims for arm in arms_of(claim))}
    return judged(only(tables, sorted(wanted)), claims=claims)[name].verdict


def test_planted_effects_are_reproduced_claim_by_claim() -> None:
    assert {name: v.verdict for name, v in judged(as_claimed()).items() if v.verdict != "reproduced"} == {}


def test_a_verdict_shows_the_number_that_was_planted() -> None:
    seen = judged(planted(noise=1e-4))
    # per item 24, 20 and 48 of 92; the other half's offset cancels
    depth = (24 * 0.4 + 20 * 0.2 + 48 * 0.05) / 92
    assert seen["accuracy-dips"].estimate == pytest.approx(depth, abs=1e-3)
    assert seen["accuracy-dips"].seeds == 12
    assert seen["unseen-recovers"].estimate == pytest.approx((24 * 0.2 + 15 * 0.3) / 39, abs=1e-3)
    assert seen["replay-prevents-forgetting"].estimate == pytest.approx(0.01, abs=1e-3)
    assert seen["strategies-beat-corpus"].estimate == pytest.approx(0.05, abs=1e-3)


def falls(depth: float, then: float = 0.0) -> dict[str, tuple[float, float, float]]:
    """The task falls by so much in all its probes and ends `then` above its start."""
    return dict.fromkeys(TASK, (0.5, 0.5 - depth, 0.5 + then))


UNSEEN_FLAT = dict.fromkeys(UNSEEN, (1.0, 0.3, 0.3))
UNSEEN_BACK = dict.fromkeys(UNSEEN, (1.0, 0.3, 0.6))
LITTLE_AND_MUCH = {
    "replay": dict.fromkeys(ABILITIES, (0.9, 0.8, 0.89)), "no general": dict.fromkeys(ABILITIES, (0.9, 0.3, 0.4)),
}  # fmt: skip
EVEN: Plan = {"no general": {name: EFFECT["replay"][name] for name in ABILITIES}}


@pytest.mark.parametrize(
    ("changed", "claim", "expected"),
    [
        ({"baseline": falls(0.05, 0.2), "null": falls(0.0)}, "accuracy-dips", "reproduced"),
        ({"baseline": falls(0.05, 0.2), "null": falls(0.05)}, "accuracy-dips", "not specific"),
        ({"baseline": falls(0.0), "null": falls(0.0)}, "accuracy-dips", "not reproduced"),
        ({"baseline": falls(0.0, 0.3)}, "accuracy-dips", "not reproduced"),
        ({"baseline": UNSEEN_BACK, "no general": UNSEEN_FLAT}, "unseen-recovers", "reproduced"),
        ({"baseline": UNSEEN_FLAT, "no general": UNSEEN_FLAT}, "unseen-recovers", "not reproduced"),
        ({"baseline": UNSEEN_BACK, "no general": UNSEEN_BACK}, "unseen-recovers", "not specific"),
        (LITTLE_AND_MUCH, "replay-prevents-forgetting", "reproduced"),
        ({"replay": dict.fromkeys(ABILITIES, (0.9, 0.5, 0.6))}, "replay-prevents-forgetting", "not reproduced"),
        ({"replay": dict.fromkeys(ABILITIES, (0.6, 0.5, 0.9))}, "replay-prevents-forgetting", "not reproduced"),
        (EVEN, "replay-prevents-forgetting", "not specific"),
        ({"all, 40 %": task(higher=0.05)}, "strategies-beat-corpus", "reproduced"),
        ({"all, 40 %": task(higher=-0.05)}, "strategies-beat-corpus", "not reproduced"),
        ({"baseline, 40 %": task(higher=0.05)}, "strategies-beat-corpus", "not specific"),
        ({"all": task(higher=-0.05)}, "strategies-at-equal-tokens", "not reproduced"),
        ({"all": task()}, "together-shrink-the-dip", "not reproduced"),
        ({"epochs": task(shallower=-0.04)}, "epochs-shrink-the-dip", "not reproduced"),
        ({"quality": task()}, "quality-shrinks-the-dip", "not reproduced"),
        ({"mix": task()}, "mix-shrinks-the-dip", "not reproduced"),
        ({"quality, diluted": task()}, "quality-beyond-exposures", "not reproduced"),
        ({"no general": TASK_AS_IT_IS}, "task-recovers", "not specific"),
        ({"baseline": dict.fromkeys(TASK, (0.8, 0.4, 0.4))}, "task-recovers", "not reproduced"),
        ({"baseline": dict.fromkeys(STATEMENTS, (1.0, 0.6, 0.7))}, "form-not-knowledge", "not specific"),
        ({"baseline": dict.fromkeys((*TASK, *UNSEEN), (1.0, 1.0, 1.0))}, "form-not-knowledge", "not reproduced"),
        (EVEN, "replayed-kinds-are-kept", "not specific"),
        ({"replay": {"sums": (0.9, 0.4, 0.5)}}, "replayed-kinds-are-kept", "not reproduced"),
        ({"null": dict.fromkeys(ABILITIES, (1.0, 0.98, 1.0))}, "rewarming-alone-dips", "not reproduced"),
        ({"constant": TASK_AS_IT_IS}, "recovery-is-annealing", "not specific"),
        ({"kept state": TASK_AS_IT_IS}, "fresh-state-deepens", "not specific"),
        ({"no warm-up": TASK_AS_IT_IS}, "warm-up-softens", "not specific"),
        ({"no warm-up": falls(0.0)}, "warm-up-softens", "not reproduced"),
    ],
)  # fmt: skip
def test_an_arm_or_a_control_that_behaves_otherwise_turns_the_verdict(changed: Plan, claim: str, expected: str) -> None:
    assert verdict_of(claim, planted(changed)) == expected


@pytest.mark.parametrize(
    ("nats", "expected"),
    [
        ({"baseline": 3.5, "null": 3.1}, "not reproduced"),
        ({"baseline": 1.0, "null": 1.0}, "not specific"),
    ],
)
@pytest.mark.parametrize("claim", ["loss-falls-meanwhile", "text-loss-falls"])
def test_loss_must_fall_and_more_than_in_the_null_shift(nats: dict[str, float], expected: str, claim: str) -> None:
    assert verdict_of(claim, planted(nats=nats)) == expected


@pytest.mark.parametrize(
    ("text", "claim", "expected"),
    [
        ({"baseline": {"medical": (0.4, 0.4, 0.6)}}, "text-dips", "not reproduced"),
        ({"null": {"medical": (0.4, 0.3, 0.4)}}, "text-dips", "not specific"),
        ({"replay": {"general": (0.7, 0.5, 0.5)}}, "text-replay-prevents-forgetting", "not reproduced"),
        ({"baseline": {"general": (0.7, 0.68, 0.69)}}, "text-replay-prevents-forgetting", "not specific"),
    ],
)
def test_claims_about_real_text_read_its_own_tables(text: Plan, claim: str, expected: str) -> None:
    assert verdict_of(claim, planted(text=text)) == expected


RECORDS = 60


def test_flat_noisy_curves_seldom_reproduce_the_dip() -> None:
    """Both arms flat at .8, halves of 92 answers each: the allowed error is 2.5 % on the side of "reproduced"."""
    rng = np.random.default_rng(11)
    where = pd.MultiIndex.from_product(
        [TWELVE, ("baseline", "null"), STEPS, TASK, (0, 1)], names=["seed", "arm", "step", "probe", "half"]
    ).to_frame(index=False)
    items = where["probe"].map(ITEMS)
    seen = []
    for _ in range(RECORDS):
        answered = rng.binomial(items.to_numpy(), 0.8) / items
        tables = {"curve": where.assign(items=items, accuracy=answered)}
        seen.append(judged(tables, claims=[CLAIMS["accuracy-dips"]])["accuracy-dips"].verdict)
    assert set(seen) <= {"reproduced", "not reproduced", "not specific", "inconclusive"}
    assert seen.count("reproduced") <= stats.binom.ppf(0.999, RECORDS, 0.025)
    assert seen.count("not specific") <= stats.binom.ppf(0.999, RECORDS, 0.025)


# --- records that lack something ------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", sorted({claim.measure for claim in FINDING.claims}))
def test_a_record_without_tables_has_no_evidence(measure: str) -> None:
    assert getattr(estimands, measure)({}, PARAMS).empty


@pytest.mark.parametrize("measure", sorted({claim.measure for claim in FINDING.claims}))
def test_tables_without_rows_are_no_evidence(measure: str) -> None:
    assert getattr(estimands, measure)({name: rows[:0] for name, rows in as_claimed().items()}, PARAMS).empty


def pairs_of_claims_and_arms() -> list[tuple[str, str]]:
    """Every claim without its arm, and without each of its controls."""
    return [(claim.name, arm) for claim in FINDING.claims for arm in arms_of(claim)]


@pytest.mark.parametrize(("claim", "absent"), pairs_of_claims_and_arms())
def test_an_absent_arm_leaves_no_evidence_or_is_named(claim: str, absent: str) -> None:
    there = {"baseline", *arms_of(CLAIMS[claim])} - {absent}
    tables = only(as_claimed(), sorted(there))
    frame = getattr(estimands, CLAIMS[claim].measure)(tables, PARAMS)
    assert set(COLUMNS[CLAIMS[claim].kind]) <= set(frame.columns)
    if len(frame):
        with pytest.raises(CannotSpeakError, match=re.escape(absent)):
            gather(CLAIMS[claim], frame)
    assert judged(tables, claims=[CLAIMS[claim]])[claim].verdict == "not run at this scale"


def core_alone() -> Tables:
    """What a run with the core group and without real text leaves."""
    tables = {name: rows for name, rows in as_claimed().items() if not name.startswith("text")}
    return only(tables, list(arms.CORE))


NEEDS = {
    "epochs-shrink-the-dip": "factorial", "quality-shrinks-the-dip": "factorial", "mix-shrinks-the-dip": "factorial",
    "dips-at-pre-training-rate": "rates", "general-text-restores": "rates",
    "quality-beyond-exposures": "confounds", "recovery-is-annealing": "confounds", "fresh-state-deepens": "confounds",
    "warm-up-softens": "confounds", "text-dips": "text_seeds", "text-loss-falls": "text_seeds",
    "text-replay-prevents-forgetting": "text_seeds",
}  # fmt: skip


def test_a_record_of_the_core_is_judged_and_each_other_claim_says_what_it_needs() -> None:
    seen = judged(core_alone(), resolved("cpu"))
    assert {name for name, v in seen.items() if v.verdict == "not run at this scale"} == set(NEEDS)
    for name, needed in NEEDS.items():
        assert seen[name].note.startswith("needs ")
        assert needed in seen[name].note
    assert {v.verdict for name, v in seen.items() if name not in NEEDS} == {"reproduced"}
    assert all(v.verdict == "reproduced" for v in seen.values() if v.core)


def test_a_record_of_the_core_whose_parameters_ask_for_more_says_which_arm_is_missing() -> None:
    seen = judged(core_alone(), PARAMS)
    assert {name for name, v in seen.items() if v.verdict == "not run at this scale"} == set(NEEDS)
    assert "'kept state'" in seen["fresh-state-deepens"].note
    assert "'quality, diluted'" in seen["quality-beyond-exposures"].note
    assert seen["text-dips"].note == "the record holds no rows for this claim"


def test_a_record_of_real_text_alone_is_judged() -> None:
    tables = {name: rows for name, rows in as_claimed().items() if name.startswith("text")}
    claims = [claim for claim in FINDING.claims if claim.name != "loss-falls-meanwhile"]
    seen = judged(tables, claims=claims)
    assert {name for name, v in seen.items() if v.verdict == "reproduced"} == {n for n in NEEDS if n.startswith("text")}


def test_one_seed_decides_nothing() -> None:
    tables = {name: rows[rows["seed"] == TWELVE[0]] for name, rows in as_claimed().items()}
    assert {v.verdict for v in judged(tables).values()} == {"inconclusive"}


# --- corpora of different quality -----------------------------------------------------------------------------

#: Where the task ends in (all, all at 40 %, baseline), by share of good documents; each seed adds to it.
ENDS = {0.1: (0.5, 0.45, 0.3), 0.5: (0.8, 0.76, 0.7), 0.8: (0.9, 0.84, 0.88)}


def corpora(ends: Mapping[float, tuple[float, float, float]] = ENDS, seeds: Sequence[int] = (0, 1, 2)) -> Tables:
    """The corpus of the parameters has plain names, the others say their share; other arms have nothing to do here."""
    truth = {}
    for share, at in ends.items():
        suffix = "" if share == 0.5 else f", clean {share:g}"
        for seed in seeds:
            for place, arm in enumerate(("all", "all, 40 %", "baseline")):
                # the level of a seed and of a quality is common to its arms, what the strategies gain is not
                end = at[place] + 0.03 * seed * share + 0.01 * seed * (arm == "all")
                truth[seed, arm + suffix] = dict.fromkeys(TASK, Curve(0.4, 0.2, end))
    truth |= {(seed, "residual 0.1, rate 0.001"): dict.fromkeys(TASK, Curve(0.4, 0.2, 0.99)) for seed in seeds}
    truth |= {(seed, "replay"): dict.fromkeys(TASK, Curve(0.4, 0.2, 0.99)) for seed in seeds}
    return {"curve": curve_rows(truth)}


def test_gains_are_over_the_plain_corpus_of_the_same_quality_and_seed() -> None:
    rows = figures_corpora.gains(corpora(), PARAMS)
    planted = {
        (share, seed, arm): at[place] - at[2] + 0.01 * seed * (arm == "all")
        for share, at in ENDS.items() for seed in range(3) for place, arm in enumerate(("all", "all, 40 %"))
    }  # fmt: skip
    assert not rows.duplicated(["clean", "seed", "arm"]).any()
    assert rows.set_index(["clean", "seed", "arm"])["value"].to_dict() == pytest.approx(planted)


def test_a_seed_without_the_plain_corpus_of_a_quality_has_no_gain_there() -> None:
    rows = corpora()["curve"]
    rows = rows[(rows["seed"] != 1) | (rows["arm"] != "baseline, clean 0.8")]
    seeds = figures_corpora.gains({"curve": rows}, PARAMS).groupby("clean")["seed"].agg(set).to_dict()
    assert seeds == {0.1: {0, 1, 2}, 0.5: {0, 1, 2}, 0.8: {0, 2}}


def test_the_share_of_the_plain_arms_is_that_of_the_parameters() -> None:
    rows = figures_corpora.gains(corpora({0.5: ENDS[0.5]}), resolved("cpu", clean=0.3))
    assert set(rows["clean"]) == {0.3}


def test_arms_of_corpora_have_the_names_that_the_experiment_gives() -> None:
    params = resolved("cpu", cleans=(0.1, 0.25, 1e-5))
    for name, arm in arms.arms_of(params).items():
        said = figures_corpora.CLEAN.fullmatch(name)
        assert (said is None) == (arm.clean is None)
        if said:
            assert float(said[2]) == arm.clean
            assert said[1] in ("baseline", *figures_corpora.ARMS)


def caption_of(shown: Figure | Fragment) -> str:
    assert isinstance(shown, Figure)
    assert not re.search(r"\bnan\b", shown.html)
    words = re.search("<figcaption>(.*)</figcaption>", shown.html)
    assert words is not None
    return html.unescape(words[1])


def test_lines_go_through_the_mean_gains_with_intervals_over_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []

    def pictures(draw: Any, name: str, alt: str, size: tuple[float, float], panels: int, narrow_height: float) -> str:
        for inches in (size, (3.9, narrow_height)):
            with theme("light"):
                kept.append(Canvas(figsize=inches).subplots())
                draw(kept[-1])
        return name

    monkeypatch.setattr(plotting, "_pictures", pictures)
    caption = caption_of(figures_corpora.quality(corpora(), PARAMS))
    lines = {line.get_label(): line for line in kept[0].get_lines()}
    assert lines[STYLE["all"].label].get_ydata() == pytest.approx([21, 11, 3])
    assert lines[STYLE["all, 40 %"].label].get_ydata() == pytest.approx([15, 6, -4])
    assert lines[STYLE["all"].label].get_xdata() == pytest.approx([0.1, 0.5, 0.8], abs=0.02)
    (low, high) = kept[0].collections[0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx(seed_interval(np.array([20.0, 21.0, 22.0])))
    assert "all three +21 (10 %), +11 (50 %) and +3 (80 %)" in caption
    assert "all three, 40 % +15 (10 %), +6 (50 %) and −4 (80 %)" in caption
    assert "Means over 3 seeds with 95 % intervals." in caption
    one = caption_of(figures_corpora.quality(corpora(seeds=(0,)), PARAMS))
    assert one.endswith("One seed.")


def test_all_four_drawings_over_corpora_are_made() -> None:
    shown = figures_corpora.quality(corpora(), PARAMS)
    assert isinstance(shown, Figure)
    assert shown.name == "stability-gap-quality"
    assert shown.html.count("data:image/svg+xml") + shown.html.count("data:image/png") == 4


def test_one_quality_alone_is_said_in_a_sentence() -> None:
    shown = figures_corpora.quality(corpora({0.5: ENDS[0.5]}), PARAMS)
    assert isinstance(shown, Fragment)
    assert "`cleans`" in shown.text
    assert "nan" not in shown.html


def test_a_record_without_curves_says_so_in_place_of_the_figure_over_corpora() -> None:
    assert isinstance(figures_corpora.quality({}, PARAMS), Fragment)


@pytest.mark.parametrize("absent", ["all, 40 %, clean 0.1", "all, clean 0.8"])
def test_the_figure_over_corpora_copes_with_an_absent_arm(absent: str) -> None:
    rows = corpora()["curve"]
    shown = figures_corpora.quality({"curve": rows[rows["arm"] != absent]}, PARAMS)
    assert "nan" not in shown.html


# --- parameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"documents": 5999}, ["documents = 5999", "6000", "250 updates of 24"]),
        ({"steps": 400, "batch": 50}, ["documents = 12000", "20000"]),
        ({"warmup": 100}, ["warmup = 100", "100 updates of the short arms"]),
        ({"steps": 20}, ["warmup = 10", "8 updates"]),
        ({"width": 100}, ["width = 100", "multiple of 8"]),
        ({"residuals": (0.1,)}, ["residuals", "rates"]),
        ({"rates": (1e-3,)}, ["residuals", "rates"]),
        ({"groups": ("factorial",)}, ["groups = ['factorial']", "'core'"]),
        ({"groups": ("all",)}, ["groups"]),
        ({"groups": ()}, ["groups"]),
        ({"clean": 0.0}, ["clean"]),
        ({"clean": 1.0}, ["clean"]),
        ({"cleans": (1.0,)}, ["cleans"]),
        ({"cleans": (0.5, 0.8)}, ["cleans", "clean = 0.5"]),
        ({"cleans": (0.0,)}, ["cleans", "above 0"]),
        ({"text_seeds": 1, "warmup": 60, "text_steps": 40}, ["warmup = 60", "text_steps = 40"]),
        ({"rates": (0.0,), "residuals": (0.1,)}, ["rates"]),
        ({"epochs": 1}, ["epochs"]),
        ({"text_probes": 401}, ["text_probes"]),
        ({"residuls": (0.1,)}, ["residuls", "residual"]),
    ],
)
def test_parameters_that_do_not_go_together_are_refused_by_name(overrides: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(ParameterError) as refused:
        resolved("cpu", **overrides)
    assert all(words in str(refused.value) for words in said), str(refused.value)
    assert "Traceback" not in str(refused.value)


@pytest.mark.parametrize("width", [18, 100])
def test_a_width_of_real_text_that_four_heads_cannot_have_is_refused(width: int) -> None:
    with pytest.raises(ParameterError, match="text_width"):
        resolved("gpu", text_width=width)


def test_the_edge_of_what_is_refused_is_taken() -> None:
    for overrides in ({"documents": 6000}, {"warmup": 99}, {"width": 104}, {"rates": (1e-3,), "residuals": (0.0,)}):
        resolved("cpu", **overrides)


@pytest.mark.parametrize("preset", FINDING.presets)
def test_every_preset_resolves_to_arms_that_its_claims_can_name(preset: str) -> None:
    params = resolved(preset)
    assert isinstance(params, StabilityGapParams)
    there = {*arms.arms_of(params), "questions", "statements", "base"}
    for claim in FINDING.claims:
        if claim.cannot_speak(params) is None:
            assert {claim.arm, *claim.controls} <= there, claim.name
    assert all(claim.cannot_speak(params) is None for claim in FINDING.claims if claim.core)


def test_seeds_of_real_text_begin_with_the_first_seed() -> None:
    assert resolved("cpu").text_seed_list == []
    params = resolved("gpu", text_seeds=3, first_seed=2004, seeds=2)
    assert (params.text_seed_list, params.seed_list) == ([2004, 2005, 2006], [2004, 2005])


def test_the_short_share_that_warm_up_must_leave_room_in_is_that_of_the_short_arms() -> None:
    assert arms.SHORT == arms.CORE["all, 40 %"].share == arms.CORE["baseline, 40 %"].share == 0.4
    for steps in (57, 100, 250):
        short = round(arms.SHORT * steps)
        resolved("cpu", steps=steps, warmup=short - 1)
        with pytest.raises(ParameterError, match=f"none of the {short} updates"):
            resolved("cpu", steps=steps, warmup=short)
