"""Verdicts of every kind, on frames whose right answer is plain."""

from __future__ import annotations

import json
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolm.decisions import holm, planned_critical_values
from evolm.finding import Claim, Params
from evolm.intervals import critical_value, seed_interval
from evolm.verdict import Verdict, judge

SEEDS = 8
NOISE = 0.05 * np.array([-1.5, -0.9, -0.4, -0.1, 0.2, 0.5, 0.8, 1.4])  # sums to zero


def claim(kind="superiority", name="it", **changes) -> Claim:
    fields = {
        "name": name,
        "statement": "it is so",
        "paper": "Fig. 1",
        "kind": kind,
        "measure": name.replace("-", "_"),
        "estimand": "how much",
        "unit": "nats",
        "delta": 0.5,
        "margin": 0.5,
        "predicted": 1.0,
        "controls": {} if kind in ("equivalence", "form", "single_model") else {"control": "because"},
        "scope": "here",
        "core": True,
    }
    return Claim(**{**fields, **changes})


def arms(seeds=SEEDS, **values) -> pd.DataFrame:
    """A frame with each arm at its value, plus noise that differs between arms and has mean zero."""
    rows = []
    for shift, (arm, value) in enumerate(values.items()):
        noise = np.roll(NOISE, shift)[:seeds]
        rows += [(s, arm, v) for s, v in enumerate(value + noise - noise.mean())]
    return pd.DataFrame(rows, columns=["seed", "arm", "value"])


def estimands(**frames) -> ModuleType:
    module = ModuleType("made_up_estimands")
    for name, frame in frames.items():
        setattr(module, name, lambda tables, params, frame=frame: frame)
    return module


def verdict(one: Claim, frame) -> Verdict:
    return judge([one], {}, Params(), estimands(it=frame))[0]


@pytest.mark.parametrize(
    ("arm", "control", "expected"),
    [
        (2.0, 0.0, "reproduced"),
        (0.0, 0.0, "not reproduced"),
        (2.0, 2.0, "not specific"),
        (2.0, 1.49, "inconclusive"),
        (0.5, 0.0, "inconclusive"),
        (0.0, -3.0, "not reproduced"),  # it exceeds the control only because the control fell
    ],
)
def test_superiority_follows_arm_and_difference(arm, control, expected):
    assert verdict(claim(), arms(arm=arm, control=control)).verdict == expected


def test_superiority_must_hold_against_every_control():
    two = claim(controls={"control": "x", "other": "y"})
    assert verdict(two, arms(arm=2.0, control=0.0, other=0.1)).verdict == "reproduced"
    assert verdict(two, arms(arm=2.0, control=0.0, other=1.5)).verdict == "inconclusive"
    judged = verdict(two, arms(arm=2.0, control=0.0, other=2.0))
    assert judged.verdict == "not specific"
    assert [(c.name, round(c.estimate, 6)) for c in judged.controls] == [("control", 2.0), ("other", 0.0)]


def test_pairing_by_seed_removes_what_arm_and_control_share():
    shared = 20.0 * NOISE
    frame = arms(arm=2.0, control=0.0)
    frame["value"] += shared[frame["seed"]]
    judged = verdict(claim(), frame)
    assert judged.verdict == "reproduced"
    assert judged.controls[0].high - judged.controls[0].low < 1 < judged.high - judged.low


def test_only_shared_seeds_are_paired():
    frame = arms(arm=2.0, control=0.0)
    frame = frame[~((frame["arm"] == "control") & (frame["seed"] < 2))]
    judged = verdict(claim(), frame)
    assert judged.seeds == 6
    own = frame[frame["arm"] == "arm"].set_index("seed")["value"]
    other = frame[frame["arm"] == "control"].set_index("seed")["value"]
    difference = (own - other).dropna()
    assert (judged.controls[0].low, judged.controls[0].high) == pytest.approx(seed_interval(difference.to_numpy()))
    assert (judged.low, judged.high) == pytest.approx(seed_interval(own.to_numpy()))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"arm": 0.1}, "reproduced"),
        ({"arm": -2.0}, "not reproduced"),
        ({"arm": 0.5}, "inconclusive"),
        ({"arm": 1.0, "b": 1.1, "c": 0.9}, "reproduced"),
        ({"arm": 1.0, "b": 1.1, "c": 3.0}, "not reproduced"),
        ({"arm": 1.0, "b": 1.1, "c": 1.5}, "inconclusive"),
    ],
)
def test_equivalence_compares_with_zero_or_all_arms_with_each_other(values, expected):
    assert verdict(claim("equivalence"), arms(**values)).verdict == expected


def test_equivalence_of_several_arms_shows_the_largest_difference():
    judged = verdict(claim("equivalence"), arms(arm=1.0, b=1.2, c=0.9))
    assert judged.estimate == pytest.approx(0.3)
    assert "b - c" in judged.note


def test_equivalence_that_the_control_shows_too_is_not_specific():
    one = claim("equivalence", controls={"control": "because"})
    assert verdict(one, arms(arm=0.1, control=0.0)).verdict == "not specific"
    judged = verdict(one, arms(arm=0.1, control=2.0))
    assert judged.verdict == "reproduced"
    assert judged.controls[0].estimate == pytest.approx(2.0)


@pytest.mark.parametrize(("arm", "expected"), [(0.0, "reproduced"), (2.0, "not reproduced"), (0.5, "inconclusive")])
def test_non_inferiority_looks_at_the_excess_over_the_null(arm, expected):
    assert verdict(claim("non_inferiority"), arms(arm=arm + 3, control=3.0)).verdict == expected


def test_non_inferiority_is_not_assessable_when_the_control_covers_everything():
    frame = arms(arm=0.0, control=0.0)
    assert verdict(claim("non_inferiority"), frame.assign(coverage=0.97)).verdict == "reproduced"
    judged = verdict(claim("non_inferiority"), frame.assign(coverage=0.99))
    assert judged.verdict == "not assessable"
    assert "99" in judged.note


def sizes(law, count=8, seeds=SEEDS, noise=0.02) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    x = 4.0 * 2.0 ** np.arange(count)
    return pd.DataFrame(
        [(s, v, law(v) * np.exp(rng.normal(0, noise))) for s in range(seeds) for v in x], columns=["seed", "x", "y"]
    )


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        (lambda x: 3 / x, "reproduced"),
        (lambda x: 3 / x**2, "not reproduced"),
        (lambda x: 3 / x + 0.05, "not reproduced"),  # a floor predicts the largest sizes better
        (lambda x: 20 * np.exp(-0.1 * np.log(x) ** 2), "not reproduced"),  # and here a bend does
        (lambda x: 3 / (1 + (x / 30) ** 1.5), "not reproduced"),  # and here a ceiling
    ],
)
def test_form_needs_the_exponent_and_a_prediction_as_good_as_the_alternatives(law, expected):
    judged = verdict(claim("form", delta=0.1), sizes(law))
    assert judged.verdict == expected
    assert [c.name for c in judged.controls] == ["bent", "offset", "saturating"]
    assert "local exponent" in judged.note


def test_form_states_exponent_and_slopes():
    judged = verdict(claim("form", delta=0.1), sizes(lambda x: 3 / x, noise=0.001))
    assert judged.estimate == pytest.approx(1.0, abs=0.01)
    assert "R² 1.000" in judged.note
    assert "1.00 at the small end, 1.00 at the large end" in judged.note


def test_form_says_which_alternative_has_become_the_power_law():
    steepening = verdict(claim("form", delta=0.1), sizes(lambda x: 3 / (1 + (x / 30) ** 1.5)))
    assert "the offset form fits no offset: it is the power law here" in steepening.note
    assert "no ceiling" not in steepening.note
    flattening = verdict(claim("form", delta=0.1), sizes(lambda x: 3 / x + 0.05))
    assert "the saturating form fits no ceiling" in flattening.note
    assert "no offset" not in flattening.note


def test_form_with_few_sizes_cannot_speak():
    judged = verdict(claim("form"), sizes(lambda x: 3 / x, count=5))
    assert judged.verdict == "not run at this scale"
    assert "5 sizes" in judged.note


def events(arm, control, censored=(), seeds=SEEDS) -> pd.DataFrame:
    rows = [(s, a, t * 2.0 ** NOISE[(s + i) % 8]) for i, (a, t) in enumerate((("arm", arm), ("control", control)))
            for s in range(seeds)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["seed", "arm", "time"])
    frame["observed"] = [(a, s) not in censored for a, s in zip(frame["arm"], frame["seed"], strict=True)]
    return frame


@pytest.mark.parametrize(("arm", "expected"), [(10, "reproduced"), (80, "not reproduced"), (56.57, "inconclusive")])
def test_event_compares_times_by_their_paired_log_ratio(arm, expected):
    judged = verdict(claim("event"), events(arm, 80))
    assert judged.verdict == expected
    assert "logrank against control: p =" in judged.note


def test_event_with_censored_controls_is_still_decided_and_unbounded_above():
    judged = verdict(claim("event"), events(10, 80, censored={("control", s) for s in range(7)}))
    assert judged.verdict == "reproduced"
    assert judged.high is None
    assert judged.low == pytest.approx(3, abs=0.2)
    assert judged.estimate == pytest.approx(3, abs=0.2)


def test_event_that_the_arm_rarely_shows_is_not_assessable():
    judged = verdict(claim("event"), events(10, 80, censored={("arm", 0), ("arm", 1)}))
    assert judged.verdict == "not assessable"
    assert "under 80%" in judged.note


def test_single_model_is_measured_and_never_reproduced():
    rows = pd.DataFrame(
        {"unit": ["a", "b", "c"], "value": [9.0, 1.0, 2.0], "low": [8.0, 0.5, 1.5], "high": [10.0, 1.5, 2.5]}
    )
    judged = verdict(claim("single_model"), rows)
    assert (judged.verdict, judged.estimate, judged.low, judged.high) == ("measured", None, None, None)
    assert "3 measured, not pooled: b 1 [0.5, 1.5], c 2 [1.5, 2.5], a 9 [8, 10]" in judged.note
    one = verdict(claim("single_model"), rows.iloc[[0]])
    assert (one.verdict, one.estimate, one.low, one.high) == ("measured", 9.0, 8.0, 10.0)
    assert one.note.startswith("a; interval over")


def test_a_claim_that_cannot_speak_is_not_measured():
    silent = claim(cannot_speak=lambda params: f"{params.seeds} seeds only")
    judged = judge([silent], {}, Params(), ModuleType("nothing"))[0]
    assert (judged.verdict, judged.note, judged.estimate) == ("not run at this scale", "5 seeds only", None)


@pytest.mark.parametrize("frame", [None, pd.DataFrame(columns=["seed", "arm", "value"]), arms(arm=2.0)])
def test_missing_rows_or_arms_are_not_run_at_this_scale(frame):
    assert verdict(claim(), frame).verdict == "not run at this scale"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_or_infinite_evidence_is_refused_by_claim_and_column(bad):
    frame = arms(arm=2.0, control=0.0)
    frame.loc[3, "value"] = bad
    with pytest.raises(ValueError, match=r"claim 'it': column 'value'.*NaN or infinity"):
        verdict(claim(), frame)


def test_malformed_frames_are_refused():
    frame = arms(arm=2.0, control=0.0)
    with pytest.raises(ValueError, match=r"must return columns seed, arm, value; missing: \['value'\]"):
        verdict(claim(), frame.drop(columns="value"))
    with pytest.raises(ValueError, match="several rows for one seed and arm"):
        verdict(claim(), pd.concat([frame, frame]))
    with pytest.raises(ValueError, match="'y' must be positive"):
        verdict(claim("form"), sizes(lambda x: -1.0))
    with pytest.raises(ValueError, match=r"has no function 'its'.*did you mean 'it'"):
        judge([claim(measure="its")], {}, Params(), estimands(it=frame))


@pytest.mark.parametrize("seeds", [1, 2, 3, 4])
def test_fewer_than_five_seeds_are_inconclusive_however_strong_the_effect(seeds):
    judged = verdict(claim(), arms(seeds=seeds, arm=1e6, control=0.0))
    assert judged.verdict == "inconclusive"
    assert f"{seeds} of at least 5 seeds" in judged.note


def family(count: int, *, weak: float, core: bool = True) -> list[Verdict]:
    """One weak claim (its effect exceeds delta by `weak`) among claims that hold plainly."""
    names = [f"strong{i}" for i in range(count - 1)]
    frames = dict.fromkeys(names, arms(arm=50.0, control=0.0)) | {"weak": arms(arm=0.5 + weak, control=0.0)}
    claims = [claim(name=name, core=core) for name in (*names, "weak")]
    return judge(claims, {}, Params(), estimands(**frames))


def test_core_claims_share_a_holm_correction_and_show_the_level_they_were_judged_at():
    levels = [v.level for v in family(4, weak=5.0)]
    assert sorted(levels) == pytest.approx([0.95, 0.975, 1 - 0.05 / 3, 0.9875])
    assert [v.level for v in family(4, weak=0.0)][-1] == pytest.approx(0.95)


def test_holm_keeps_the_level_of_the_first_failure_for_all_that_remain():
    p = np.array([[0.2, 0.001, 0.04, 0.03], [0.012, 0.001, 0.016, 0.024]])
    a = 0.05
    assert holm(p) == pytest.approx(np.array([[a / 3, a / 4, a / 3, a / 3], [a / 3, a / 4, a / 2, a]]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_holm_rejects_what_the_adjusted_p_values_reject(p_values):
    p = np.array(p_values)
    order, m = np.argsort(p, kind="stable"), len(p)
    adjusted = np.empty(m)
    adjusted[order] = np.maximum.accumulate(np.sort(p) * (m - np.arange(m)))
    near = np.isclose(adjusted, 0.05)
    assert ((p <= holm(p)) == (adjusted <= 0.05))[~near].all()


def test_exploratory_claims_are_unadjusted_and_do_not_weigh_on_core_ones():
    assert {v.level for v in family(4, weak=5.0, core=False)} == {0.95}
    mixed = [claim(name="a"), claim(name="b", core=False), claim(name="c", core=False)]
    frame = arms(arm=2.0, control=0.0)
    assert {v.level for v in judge(mixed, {}, Params(), estimands(a=frame, b=frame, c=frame))} == {0.95}


def test_claims_that_cannot_speak_or_are_only_measured_do_not_weigh_on_the_family():
    frame = arms(arm=2.0, control=0.0)
    rows = pd.DataFrame({"unit": ["a"], "value": [1.0], "low": [0.0], "high": [2.0]})
    claims = [claim(name="a"), claim(name="b", cannot_speak=lambda p: "no"), claim("single_model", name="c")]
    verdicts = judge(claims, {}, Params(), estimands(a=frame, b=frame, c=rows))
    assert [v.verdict for v in verdicts] == ["reproduced", "not run at this scale", "measured"]
    assert verdicts[0].level == 0.95


def test_verdict_and_shown_interval_never_disagree():
    for weak in np.linspace(-0.2, 0.2, 41):
        for judged in family(4, weak=float(weak)):
            assert (judged.verdict == "reproduced") == (judged.controls[0].low > 0.5)
            assert (judged.verdict == "not reproduced") == (judged.high < 0.5)


def test_inconclusive_states_the_seeds_that_would_decide_and_these_do():
    judged = family(1, weak=0.05)[0]
    assert judged.verdict == "inconclusive"
    assert f"about {judged.seeds_needed} seeds" in judged.note
    difference = arms(arm=0.55, control=0.0).pivot(index="seed", columns="arm", values="value")
    sd = (difference["arm"] - difference["control"]).std()
    for seeds, enough in ((judged.seeds_needed, True), (judged.seeds_needed - 2, False)):
        half = critical_value(seeds, 0.05) * sd / np.sqrt(seeds)
        assert (half < 0.05 * 1.03) == enough


def test_planned_critical_values_follow_the_simulated_ones():
    planned = planned_critical_values(0.0125)
    for n in (6, 12, 24, 48, 200):
        assert planned[n - 5] == pytest.approx(float(critical_value(n, 0.0125)), rel=0.06)


def test_an_estimate_on_the_boundary_is_said_to_be_there():
    judged = family(1, weak=0.0005)[0]
    assert judged.seeds_needed is None
    assert "on the boundary" in judged.note


def test_too_few_pairs_for_an_event_state_how_many_would_do():
    judged = verdict(claim("event"), events(10, 80, seeds=5))
    assert (judged.verdict, judged.seeds_needed, judged.low) == ("inconclusive", 6, None)


def test_values_that_do_not_vary_are_pointed_out():
    frame = arms(arm=2.0, control=0.0).assign(value=lambda f: f["arm"].map({"arm": 1.0, "control": 0.0}))
    assert "no width" in verdict(claim(), frame).note
    assert "no width" not in verdict(claim(), arms(arm=2.0, control=0.0)).note


def test_verdicts_survive_json_and_cannot_be_changed():
    judged = verdict(claim("event"), events(10, 80, censored={("control", s) for s in range(7)}))
    text = judged.model_dump_json()
    assert Verdict.model_validate_json(text) == judged
    assert json.loads(text)["high"] is None
    with pytest.raises(ValueError, match="frozen"):
        judged.verdict = "reproduced"


def test_rows_in_another_order_give_the_same_verdict():
    frame = arms(arm=1.0, control=0.4)
    assert verdict(claim(), frame.sample(frac=1, random_state=1)) == verdict(claim(), frame)
