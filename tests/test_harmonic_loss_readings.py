"""Sentences of the harmonic-loss chapter on tables with planted numbers: what they print, and what they conclude."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from evolm.findings.harmonic_loss import (
    FINDING,
    arms,
    experiment,
    readings,
    readings_data,
    readings_geometry,
    readings_tasks,
)
from evolm.findings.harmonic_loss import readings_words as words
from evolm.findings.harmonic_loss.parameters import HarmonicLossParams
from evolm.intervals import seed_interval
from evolm.wording import with_interval

Tables = dict[str, pd.DataFrame]
NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "harmonic-loss.ipynb"
SEEDS = (20, 21, 22)
MODULES = (readings, readings_data, readings_geometry, readings_tasks)
PARAMS = cast(HarmonicLossParams, FINDING.resolve("cpu", first_seed=20, seeds=3))
#: Group -> arms, task, split, share.
GROUPS: dict[str, tuple[Sequence[str], str, str, float]] = {
    "addition": (tuple(arms.addition_arms()), "addition", "clean", PARAMS.share),
    "authors": (tuple(arms.AUTHORS), "addition", "clean", PARAMS.share),
    "undecayed": (tuple(arms.UNDECAYED), "addition", "clean", PARAMS.share),
    "data": (tuple(arms.CHOSEN), "addition", "clean", 0.4),
    "leaky": (tuple(arms.AUTHORS), "addition", "leaky", PARAMS.share),
    "shuffled": (tuple(arms.AUTHORS), "addition", "shuffled", PARAMS.share),
    "task": (tuple(arms.CHOSEN), "lattice", "clean", PARAMS.share),
}
USUAL = {
    "generalised_seen": True, "generalised_epoch": 30, "fit_seen": True, "fit_epoch": 10, "delay": 1.0, "learnt": 0.5,
    "test_accuracy": 1.0, "train_accuracy": 1.0, "unseen_accuracy": 1.0, "ev2": 0.5, "vector_norm_slope": 0.0,
}  # fmt: skip
Planted = Mapping[tuple[str, str], Mapping[str, Any]]


def models(planted: Planted, seeds: Sequence[int] = SEEDS) -> pd.DataFrame:
    """The table `models`, in no order: usual numbers, but for (group, arm) -> column -> a number or one per seed."""
    frames = []
    for name, (names, task, split, share) in GROUPS.items():
        group = "split" if name in ("leaky", "shuffled") else name
        labels = {"group": group, "task": task, "split": split, "share": share}
        for arm in names:
            found = {key: np.resize(value, len(seeds)) for key, value in planted.get((name, arm), {}).items()}
            frames.append(pd.DataFrame({"seed": list(seeds), "arm": arm, **labels, **USUAL, **found}))
    return pd.concat(frames).sample(frac=1, random_state=0).reset_index(drop=True)


def one(planted: Planted, seeds: Sequence[int] = SEEDS) -> Tables:
    return {"models": models(planted, seeds)}


def hull(relative: Sequence[float], negative: Sequence[float], seeds: Sequence[int] = SEEDS) -> pd.DataFrame:
    """Two classes per seed, `relative` and `negative` their mean for harmonic loss; of other arms 0.9 and 0.5."""
    rows = []
    for arm in readings_tasks.LAYER:
        for place, seed in enumerate(seeds):
            mine = (relative[place], negative[place]) if arm == "harmonic" else (0.9, 0.5)
            rows += [(seed, arm, mine[0] + shift, mine[1] + shift) for shift in (-0.05, 0.05)]
    found = pd.DataFrame(rows, columns=["seed", "arm", "relative", "negative"]).assign(images="digits")
    return pd.concat([found, found.assign(images="mnist", relative=0.0)])


def vision(accuracy: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    frames = [pd.DataFrame({"seed": SEEDS[: len(v)], "arm": arm, "test_accuracy": v}) for arm, v in accuracy.items()]
    found = pd.concat(frames).assign(images="digits", backbone="network")
    return pd.concat([found, found.assign(backbone="linear", test_accuracy=0.0)])


def text_table() -> pd.DataFrame:
    rows = [("cross-entropy", 3.0, 0.11, 90.0), ("cross-entropy", 3.2, 0.13, 94.0), ("harmonic", 3.61, 0.2, 70.0)]
    return pd.DataFrame(rows, columns=["arm", "nats", "unsteadiness", "vector_rank"]).assign(trigram=3.5)


@cache
def everything(seeds: tuple[int, ...] = SEEDS) -> Tables:
    """All tables; not to be changed."""
    few = len(seeds)
    return {
        "models": models({}, seeds),
        "hull": hull([0.7] * few, [0.2] * few, seeds),
        "vision": vision({"cross-entropy": [0.9] * few, "harmonic, cosine": [0.92] * few}),
        "text": text_table(),
    }


def sentences() -> dict[str, Callable[[Tables, Any], str]]:
    """Every public function of the modules that makes a sentence."""
    return {
        name: f
        for module in MODULES for name, f in inspect.getmembers(module, inspect.isfunction)
        if f.__module__ == module.__name__ and list(inspect.signature(f).parameters) == ["tables", "params"]
        and not name.startswith("_") and name != "of_settings"
    }  # fmt: skip


NUMBER = re.compile(r"(?<![\w.])[+−-]?\d+(?:\.\d+)?(?!\w)")


def says(text: str, *expected: float) -> None:
    """The numbers of a text, in its order, are those expected, rounded to the digits that they are printed with."""
    printed = NUMBER.findall(text)
    assert len(printed) == len(expected), (printed, text)
    for word, value in zip(printed, expected, strict=True):
        digits = len(word.partition(".")[2])
        assert float(word.replace("−", "-")) == pytest.approx(value, abs=0.5 * 10**-digits + 1e-9), (word, value, text)


def bracketed(values: Sequence[float]) -> list[float]:
    low, high = seed_interval(values)
    return [float(np.mean(values)), float(low), float(high)]


# --- any record -------------------------------------------------------------------------------------------------


def test_the_page_shows_every_sentence() -> None:
    page = NOTEBOOK.read_text()
    inside = {"tuning"}  # part of the answer
    assert [name for name in sentences() if f".{name}(*chapter.leading)" not in page] == sorted(inside)


@pytest.mark.parametrize("name", sentences())
def test_a_sentence_copes_with_any_record(name: str) -> None:
    say = sentences()[name]
    whole = everything()
    for tables in (whole, everything(SEEDS[:1]), {}):
        text = say(tables, PARAMS)
        assert "nan" not in text.split()
        assert "inf" not in text.split()
        assert not text or text.endswith((".", "has it.", "count."))
    for table in whole:
        say({key: rows for key, rows in whole.items() if key != table}, PARAMS)
    for arm in ("cross-entropy", "harmonic", "distance"):
        less = {key: rows[~rows["arm"].str.fullmatch(f"{arm}(, .*)?")] for key, rows in whole.items()}
        assert "nan" not in say(less, PARAMS)
    for group in GROUPS:
        say({"models": whole["models"][whole["models"]["group"] == group]}, PARAMS)


def test_with_one_seed_nothing_is_concluded() -> None:
    tables = everything(SEEDS[:1])
    said = " ".join(say(tables, PARAMS) for say in sentences().values())
    assert "[" not in said
    conclusions = (
        "So ", "not specific", "leak flatters", "does not hold", "adds to", "accurate than", "(slower)",
        "is ahead", "edge of stability", "grow there",
    )  # fmt: skip
    for conclusion in conclusions:
        assert conclusion not in said, conclusion


# --- words ------------------------------------------------------------------------------------------------------


def test_a_median_epoch_counts_runs_that_never_get_there_as_later_than_any_other() -> None:
    rows = pd.DataFrame({"arm": "a", "generalised_epoch": [5, 7, 200, 200]})
    rows["generalised_seen"] = rows["generalised_epoch"] < 200
    assert words.median_epoch(rows, "a") == "7"  # half of four are there
    assert words.median_epoch(rows[1:], "a") == "more than 200"
    assert words.learnt(rows, "a") == "2 of 4"


def test_a_median_epoch_is_that_of_the_curve_of_kaplan_and_meier() -> None:
    from scipy.stats import CensoredData, ecdf

    rng = np.random.default_rng(0)
    for size in range(3, 12):
        times, seen = rng.integers(1, 30, size), rng.random(size) < 0.7
        times = np.where(seen, times, 30)  # censored at the end only, as runs are
        curve = ecdf(CensoredData.right_censored(times, ~seen)).sf
        below = curve.quantiles[curve.probabilities <= 0.5 + 1e-12]
        reached = below[below < 30]
        rows = pd.DataFrame({"arm": "a", "generalised_epoch": times, "generalised_seen": seen})
        assert words.median_epoch(rows, "a") == (f"{reached[0]:.0f}" if len(reached) else "more than 30")


def test_differences_are_paired_by_seed_and_lack_seeds_that_only_one_arm_has() -> None:
    rows = pd.DataFrame({"seed": [2, 1, 1, 3], "arm": ["b", "a", "b", "a"], "x": [9.0, 3.0, 1.0, 5.0]})
    assert words.less(rows, "a", "b", "x").to_dict() == {1: 2.0}


# --- addition ---------------------------------------------------------------------------------------------------


def test_the_answer_has_the_median_epoch_of_every_head_at_both_settings() -> None:
    planted: dict[tuple[str, str], dict[str, Any]] = {
        ("authors", f"{head}, authors'"): {"generalised_epoch": [100 + i, 100 + i, 500]}
        for i, head in enumerate(words.HEADS)
    }
    planted["addition", "harmonic"] = {"generalised_epoch": [9, 200, 200], "generalised_seen": [True, False, False]}
    text = readings.answer(one(planted), PARAMS)
    authors, chosen = text.split("**When every head")
    for i, head in enumerate(words.HEADS):
        assert f"{head} {100 + i} (3 of 3 runs)" in authors
    assert "harmonic more than 200 (1 of 3 runs)" in chosen
    assert "cross-entropy 30 (3 of 3 runs)" in chosen


AHEAD, BEHIND, LEVEL = [0.70, 0.71, 0.72], [0.30, 0.31, 0.32], [0.2, 0.5, 0.8]


@pytest.mark.parametrize(
    ("learnt", "epochs", "said"),
    [
        (AHEAD, [8, 7, 8], "harmonic loss generalises sooner; the fastest head of all is harmonic."),
        (BEHIND, [118, 119, 121], "cross-entropy generalises sooner; the"),
        (LEVEL, [7, 30, 110], "neither generalises sooner for certain; the"),
        (
            BEHIND,
            [8, 7, 8],
            "harmonic loss has 95 % of the test pairs right sooner, and by mean accuracy over training cross-",
        ),
        (
            LEVEL,
            [8, 7, 8],
            "harmonic loss has 95 % of the test pairs right sooner, and by mean accuracy over training neither",
        ),
    ],
)
def test_the_answer_opens_with_who_generalises_sooner(learnt: list[float], epochs: list[int], said: str) -> None:
    planted = {("addition", "harmonic"): {"learnt": learnt, "generalised_epoch": epochs}}
    text = readings.answer(one(planted), PARAMS)
    assert text.startswith(f"Of harmonic loss and cross-entropy, tuned alike, {said}")
    assert "At the authors' settings neither generalises sooner for certain." in text


@pytest.mark.parametrize(
    ("learnt", "epochs", "said"),
    [
        (AHEAD, [8, 7, 8], ("harmonic loss is ahead", "harmonic loss is ahead")),
        (AHEAD, [118, 119, 121], ("harmonic loss is ahead", "cross-entropy is ahead")),
        (BEHIND, [7, 30, 110], ("cross-entropy is ahead", "the interval of this mean includes 0")),
        (LEVEL, [8, 7, 8], ("the interval of this mean includes 0", "harmonic loss is ahead")),
    ],
)
def test_what_tuning_does_follows_the_interval_of_both_measures(
    learnt: list[float], epochs: list[int], said: tuple[str, str]
) -> None:
    planted = {("addition", "harmonic"): {"learnt": learnt, "generalised_epoch": epochs}}
    text = readings.tuning(one(planted), PARAMS)
    accuracy, doublings = text.split("in doublings of the epoch")
    level = "0.00 [0.00, 0.00] at the authors' settings (the interval of this mean includes 0)"
    for part, verdict, gaps in (
        (accuracy, said[0], np.array(learnt) - 0.5),
        (doublings, said[1], np.log2(np.array(epochs) / 30)),
    ):
        assert level in part
        chosen = part.split(level)[1]
        assert f"as chosen ({verdict})" in chosen
        says(chosen.split(" as chosen")[0], *bracketed(list(gaps)))


def test_the_delay_is_told_apart_into_distance_and_form() -> None:
    planted: Planted = {
        ("authors", "cross-entropy, authors'"): {"delay": [2.9, 3.0, 3.1]},
        ("authors", "distance, authors'"): {"delay": [1.02, 1.0, 0.98]},
        ("authors", "harmonic, authors'"): {"delay": [0.5, 0.5, 0.5]},
    }
    text = readings.ingredients(one(planted), PARAMS)
    authors, chosen = text.split("As chosen")
    says(
        authors,
        *bracketed([2.4, 2.5, 2.6]),
        *bracketed([1.88, 2.0, 2.12]),
        100 * 2 / 2.5,
        *bracketed([0.52, 0.5, 0.48]),
    )
    assert "the harmonic form shortens it further" in authors
    assert "do not tell what the harmonic form adds from nothing" in chosen
    assert "% of the whole" not in chosen  # nothing is shorter there
    worse = {**planted, ("authors", "harmonic, authors'"): {"delay": [1.6, 1.6, 1.6]}}
    assert "lengthens it again" in readings.ingredients(one(worse), PARAMS)


def test_a_control_does_as_much_only_where_its_interval_ends_below_the_smallest_effect() -> None:
    planted: Planted = {
        ("authors", "cross-entropy, authors'"): {"delay": [2.9, 3.0, 3.1]},
        ("authors", "normalised, authors'"): {"delay": [0.2, 1.0, 1.8]},
        ("authors", "distance, authors'"): {"delay": [0.49, 0.50, 0.52]},
        ("authors", "squared distance, authors'"): {"delay": [1.0, 1.01, 1.02]},
        ("authors", "harmonic, authors'"): {"delay": [0.5, 0.5, 0.5]},
    }
    rows = models(planted)
    text = readings.specific({"models": rows[rows["group"] == "authors"]}, PARAMS)
    assert "squared distance and distance have a shorter delay than cross-entropy" in text
    assert "distance has one as short as harmonic loss's" in text
    assert "longer: squared distance (difference 0.51" in text
    assert "not told apart: normalised (difference 0.50 [−" in text
    assert text.endswith("not specific to harmonic loss: distance at the authors' settings.")
    alone = models({**planted, ("authors", "distance, authors'"): {"delay": [2.0, 2.1, 2.2]}})
    text = readings.specific({"models": alone[alone["group"] == "authors"]}, PARAMS)
    assert "none has one as short" in text
    assert "not specific" not in text


def test_a_control_as_short_where_nothing_is_shortened_does_not_do_as_much() -> None:
    text = readings.specific(one({}), PARAMS).split("as chosen, ")[1]
    assert text.startswith("none has a shorter delay than cross-entropy, and normalised, squared distance and distance")
    assert "not specific" not in text


def test_delays_are_means_by_head_and_settings_and_medians_of_doublings() -> None:
    planted: Planted = {
        ("addition", "distance"): {"delay": [0.1, 0.2, 0.6], "generalised_epoch": [10, 40, 40]},
        ("authors", "distance, authors'"): {"delay": 2.5},
        ("authors", "harmonic, authors'"): {"fit_seen": [True, True, False], "generalised_seen": [True, False, False]},
    }
    text = readings.delay(one(planted), PARAMS)
    three = float(np.log2(3))
    says(text.split("Doublings from")[0], 1, 1, 1, 2.5, 1, 1, 1, 1, 0.3, 1)
    assert "no head" not in text  # cross-entropy has a delay of 1, four times the smallest effect
    says(text.split("last epoch:")[1], *[three] * 8, 2.0, three, 1, 15, 1, 0, 15)


@pytest.mark.parametrize(("others", "who"), [(0.4, "no head has"), (0.6, "cross-entropy has not")])
def test_a_delay_too_short_to_be_shortened_is_said_to_be(others: float, who: str) -> None:
    planted: dict[tuple[str, str], dict[str, Any]] = {
        ("addition", head): {"delay": others if head == "distance" else 0.4} for head in words.HEADS
    }
    text = readings.delay(one(planted), PARAMS)
    assert f"As chosen {who} much delay to shorten (cross-entropy's is 0.40 doublings, and 0.25 is the smallest" in text
    assert "grokking is at the authors' settings" in text  # 1 doubling there
    planted["authors", "cross-entropy, authors'"] = {"delay": 0.4}
    assert "grokking is at" not in readings.delay(one(planted), PARAMS)


def test_failed_runs_and_runs_that_lose_the_task_again_are_counted() -> None:
    planted: Planted = {
        ("addition", "distance"): {"generalised_seen": [False, True, True], "test_accuracy": [0.1, 0.2, 1.0]},
        ("addition", "harmonic"): {"test_accuracy": [0.9, 0.9, 1.0]},
        ("addition", "harmonic, n = 1"): {"generalised_seen": False},  # not one of the five heads
    }
    text = readings.failures(one(planted), PARAMS)
    says(text, 0, 15, 95, 1, 15, 95, 1, 3, 1, 2)
    assert "(distance 1 and harmonic 2)" in text


def test_accuracy_on_less_data_is_beside_the_runs_that_learnt() -> None:
    planted = {("data", "normalised"): {"test_accuracy": [0.2, 0.3, 1.0], "generalised_seen": [False, False, True]}}
    text = readings_data.less_data(one(planted), PARAMS)
    assert "on 40 % of the pairs cross-entropy 100 % (3 of 3), normalised 50 % (1 of 3)," in text
    assert "ceiling" not in text
    sooner = {("data", "harmonic"): {"learnt": [0.6, 0.7, 0.75], "test_accuracy": 0.95}}
    text = readings_data.less_data(one(sooner), PARAMS)
    assert "On 40 % every head ends above 90 %" in text
    says(text.split("harmonic loss less cross-entropy:")[2], *bracketed([0.1, 0.2, 0.25]), 40)
    says(text.split("harmonic loss less cross-entropy:")[1].split(" An epoch")[0], *bracketed([-0.05] * 3), 40)


def test_heads_that_learn_in_fewer_runs_from_more_pairs_are_named() -> None:
    planted = {
        ("addition", "cross-entropy"): {"generalised_seen": [True, False, False]},
        ("data", "distance"): {"generalised_seen": [True, True, False]},
    }
    text = readings_data.edge(one(planted), PARAMS)
    assert "cross-entropy learns in 3 of 3 runs on 40 % of the pairs and in 1 of 3 runs on 80 %." in text
    assert "distance" not in text
    assert readings_data.edge(one({}), PARAMS) == ""


def test_the_leak_flatters_only_heads_that_are_worse_on_unseen_pairs() -> None:
    planted = {
        ("leaky", "cross-entropy, authors'"): {"test_accuracy": [0.5, 0.6, 0.55], "unseen_accuracy": [0.1, 0.1, 0.12]},
        ("leaky", "harmonic, authors'"): {"test_accuracy": [0.8, 0.82, 0.84], "unseen_accuracy": [0.7, 0.72, 0.75]},
    }
    text = readings_data.leak(one(planted), PARAMS)
    assert "cross-entropy 55 % and 11 %" in text
    gaps = text.split("The first less the second: cross-entropy")[1].split(", normalised")[0]
    says(gaps, *bracketed([0.4, 0.5, 0.43]))
    assert "The leak flatters cross-entropy and harmonic, cross-entropy most:" in text
    alone = readings_data.leak(one({key: planted[key] for key in list(planted)[:1]}), PARAMS)
    assert "The leak flatters cross-entropy: what" in alone
    assert "flatters" not in readings_data.leak(one({}), PARAMS)


def test_the_settings_are_those_of_the_arms() -> None:
    text = readings.settings({}, PARAMS)
    trials = pd.read_csv(NOTEBOOK.parent.parent / "data" / "choices" / "harmonic-loss.csv")
    for name, arm in arms.CHOSEN.items():
        own = trials.query("experiment == 'addition' and head == @name and knob == @arm.head.knob")
        score = own.query("lr == @arm.lr and decay == @arm.decay")["score"].mean()
        assert f"{name}: rate {arm.lr:g}, decay {arm.decay:g}, knob {arm.head.knob:g}, score {score:.2f}" in text


# --- geometry ---------------------------------------------------------------------------------------------------


def test_a_plane_is_never_shown_without_how_many_runs_have_the_task() -> None:
    planted: Planted = {
        ("authors", "harmonic, authors'"): {"ev2": [0.6, 0.7, 0.8]},
        ("addition", "cross-entropy"): {"ev2": 0.25, "test_accuracy": [1.0, 0.9, 1.0]},
        ("addition", "harmonic, untied"): {"ev2": [0.9, 0.99, 0.5], "test_accuracy": [0.3, 0.4, 1.0]},
        ("shuffled", "harmonic, authors'"): {"ev2": 0.45, "train_accuracy": 0.6},
    }
    text = readings_geometry.plane(one(planted), PARAMS)
    assert "70 % under harmonic loss (3 of 3 runs end above 95 %) and 50 % under cross-entropy (3 of 3" in text
    assert "25 % under cross-entropy (2 of 3 runs end above 95 %)" in text
    assert f"{PARAMS.long_epochs:,} epochs here" in text
    assert "with up to 99 % of the variance in two dimensions (harmonic, untied)" in text
    assert "(harmonic, untied) and 71 % on average; the others have" in text
    assert "distance 50 % (of the answers memorised: 100 %) and harmonic 45 % (of the answers memorised: 60 %)." in text
    assert "harmonic 50 % (1 of 3 runs end above 95 %, 0.00 over the head's tied runs)" in text
    assert f"have {100 * words.chance_ev():.0f} %." in text


def test_random_points_have_more_variance_in_two_dimensions_the_fewer_they_have() -> None:
    assert words.chance_ev(31, 2) == pytest.approx(1)
    assert words.chance_ev(5, 1000) == pytest.approx(2 / 4, abs=0.03)  # four centred directions of one length
    # The largest eigenvalues of a Wishart matrix lie below the edge of Marchenko and Pastur's law.
    edge = (1 + np.sqrt(16 / 30)) ** 2 / 16
    assert 1.5 * edge < words.chance_ev() < 2 * edge


def test_a_plane_that_is_there_before_the_task_is_told_with_the_runs_that_stay_in_it() -> None:
    planted: Planted = {
        ("authors", "harmonic, authors'"): {
            "test_accuracy": [1.0, 0.6, 0.5], "train_accuracy": [1.0, 0.8, 0.7], "ev2": [0.9, 1.0, 0.98],
        }
    }  # fmt: skip
    # Seed by seed the variance in the plane at epochs 1, 10 and 100; the second is there at once, the last is late.
    planes = {20: (0.5, 0.96, 0.9), 21: (0.97, 0.99, 1.0), 22: (0.3, 0.4, 0.98)}
    rows = [
        {"seed": seed, "epoch": 10**i, "ev2": ev2, "train_accuracy": 0.1 * (i + 1)}
        for seed, shares in planes.items()
        for i, ev2 in enumerate(shares)
    ]
    own = {"group": "authors", "arm": "harmonic, authors'", "share": PARAMS.share}
    others = [own | {"arm": "cross-entropy, authors'"}, own | {"group": "addition"}, own | {"share": 0.5}]
    curves = pd.concat(
        [pd.DataFrame(rows).assign(**own), *(pd.DataFrame(rows).assign(ev2=1.0, **other) for other in others)]
    )
    text = readings_geometry.stuck(one(planted) | {"curves": curves.sample(frac=1, random_state=0)}, PARAMS)
    says(text, 3, 3, 95, 10, 20, 2, 3, 95, 75, 55, 100 / 31, 99, 0)
    learnt = readings_geometry.stuck(one({}) | {"curves": curves}, PARAMS)
    says(learnt, 3, 3, 95, 10, 20)
    flat = curves.assign(ev2=0.5)
    assert readings_geometry.stuck(one(planted) | {"curves": flat}, PARAMS) == ""


def test_runs_that_fail_are_told_with_their_variance_beside_the_others() -> None:
    planted = {("addition", "harmonic, untied"): {"ev2": 0.2, "test_accuracy": 0.3}}
    text = readings_geometry.plane(one(planted), PARAMS)
    assert "3 end below 95 % of test pairs" in text
    assert "20 % on average; the others have 50 % on average." in text
    assert "end below" not in readings_geometry.plane(one({}), PARAMS)


@pytest.mark.parametrize(
    ("last", "said"),
    [([60, 61, 62], " (slower)"), ([5, 6, 7], " (faster)"), ([20, 40, 30], " (the interval includes 0)")],
)
def test_what_the_exponent_does_follows_the_interval_against_the_chosen_one(last: list[int], said: str) -> None:
    planted: Planted = {
        ("addition", "harmonic, n = 16"): {"generalised_epoch": last},
        ("addition", "harmonic, n = 2"): {"ev2": [0.9, 0.6, 0.2], "test_accuracy": [0.5, 1.0, 1.0]},
    }
    text = readings_geometry.exponents(one(planted), PARAMS)
    assert f"{np.median(last):.0f} at n = 16 (3 of 3 runs)" in text
    assert "40 % at n = 2" in text  # the stuck run's plane does not count
    gap = with_interval(pd.Series(np.log2(np.array(last) / 30)))
    assert f"{gap} at n = 16{said}." in text
    assert "0.00 [0.00, 0.00] at n = 2 (the interval includes 0)" in text
    assert "tuned for n = 4" in text


def test_late_slopes_count_diverged_runs_and_say_when_the_fit_was_over() -> None:
    start = 0.25 * experiment.epochs_of(PARAMS, "undecayed")
    planted = {
        ("undecayed", "harmonic, no decay"): {"vector_norm_slope": [-0.03, 0.0, -0.03], "fit_epoch": start + 1},
        ("undecayed", "distance, no decay"): {"vector_norm_slope": [0.2, np.nan, 0.3], "fit_epoch": start},
        ("undecayed", "harmonic, no decay, small"): {
            "vector_norm_slope": 0.3, "train_accuracy": [0.6, 0.7, 0.8], "fit_epoch": start + 1,
        },
    }  # fmt: skip
    text = readings_geometry.norms(one(planted), PARAMS)
    # Those that begin small are no part of the share that has fitted.
    over = (0.02, *seed_interval(np.array([0.03, 0.0, 0.03])))
    says(text, 75, 0, 0, 0, 0.5, -0.02, 80, 95, 0, 0, 0, *over, *over, 1, 1, 0, 100, 0.3, 70)
    assert "normalised head bounds logits without a distance" in text


def test_hulls_are_told_beside_what_they_make_of_held_out_images() -> None:
    known = hull([0.7] * 3, [0.2] * 3)
    reference = known[known["arm"] == "harmonic"].assign(arm="a held-out image", relative=0.55)
    text = readings_tasks.convexity({"hull": pd.concat([known, reference])}, PARAMS)
    assert "For comparison: a held-out image 0.55." in text
    assert "For comparison" not in readings_tasks.convexity({"hull": known}, PARAMS)


# --- tasks, images, text ----------------------------------------------------------------------------------------


def test_tasks_show_accuracy_beside_variance() -> None:
    planted = {("task", "harmonic"): {"test_accuracy": [0.9, 1.0, 0.8], "ev2": [0.3, 0.4, 0.5]}}
    text = readings_tasks.tasks(one(planted), PARAMS)
    assert "lattice: cross-entropy 100 % (variance 50 %)" in text
    assert "harmonic 90 % (variance 40 %)" in text
    assert "rates are 4 times harmonic loss's" in text
    assert "No run of any head" not in text
    never = {("task", head): {"generalised_seen": False} for head in words.HEADS}
    assert "No run of any head has 95 % of the test examples of lattice" in readings_tasks.tasks(one(never), PARAMS)


def test_the_theorem_fails_to_the_letter_only_where_both_signs_of_it_do() -> None:
    far, negative = [0.7, 0.72, 0.74], [0.15, 0.16, 0.17]
    text = readings_tasks.convexity({"hull": hull(far, negative)}, PARAMS)
    assert "harmonic 0.72 (negative weights 16 %)" in text
    assert "**At the end of these epochs class vectors are no weighted means of images**" in text
    assert "(mean" not in text  # this record has no losses
    says(text.split("that ratio is ")[1], *bracketed(far), *bracketed(negative))
    for near in (hull([-0.01, 0.0, 0.01], negative), hull(far, [-0.01, 0.0, 0.01])):
        assert "no weighted means" not in readings_tasks.convexity({"hull": near}, PARAMS)


def test_the_losses_at_which_hulls_are_read_are_those_of_the_layer() -> None:
    arms_of = dict.fromkeys(readings_tasks.LAYER, [0.9] * 3)
    table = vision(arms_of)
    table = table.assign(train_loss=np.where(table["backbone"] == "linear", 0.25, 9.0))
    text = readings_tasks.convexity({"hull": hull([0.7] * 3, [0.2] * 3), "vision": table}, PARAMS)
    assert "(mean training loss cross-entropy 0.25, squared distance 0.25, harmonic 0.25 and" in text


@pytest.mark.parametrize(("slope", "grows"), [([0.1, 0.11, 0.12], True), ([-0.1, 0.0, 0.1], False)])
def test_class_vectors_behind_a_network_grow_only_where_the_interval_says_so(slope: list[float], grows: bool) -> None:
    table = vision(dict.fromkeys(("cross-entropy", "normalised", "harmonic, euclidean"), [0.9] * 3))
    table["vector_norm_slope"] = np.where(table["arm"] == "harmonic, euclidean", np.resize(slope, len(table)), 0.2)
    text = readings_tasks.network_norms({"vision": table}, PARAMS)
    says(text.split("are:")[1], *[0.2] * 6, *bracketed(slope))
    assert ("grow there" in text) == grows
    assert readings_tasks.network_norms({"vision": vision({"cross-entropy": [0.9] * 3})}, PARAMS) == ""


def test_heads_are_called_more_accurate_only_where_pairs_of_seeds_say_so() -> None:
    accuracy = {
        "cross-entropy": [0.90, 0.92, 0.94], "harmonic, cosine": [0.95, 0.97, 0.99],
        "harmonic, manhattan": [0.96, 0.90, 0.93], "harmonic, canberra": [0.80, 0.82, 0.84],
    }  # fmt: skip
    text = readings_tasks.distances({"vision": vision(accuracy)}, PARAMS)
    order = "harmonic, cosine 97.0 %; harmonic, manhattan 93.0 %; cross-entropy 92.0 %; harmonic, canberra 82.0 %."
    assert order in text
    assert "harmonic, cosine is more accurate than cross-entropy" in text
    assert "harmonic, canberra is less accurate than cross-entropy" in text
    assert "1 of 3 are not told from it" in text
    spread = np.mean([np.std(values, ddof=1) for values in accuracy.values()])
    assert f"spread by {100 * spread:.1f} points" in text


def test_language_models_are_beside_their_trigram() -> None:
    text = readings_tasks.text({"text": text_table()}, PARAMS)
    says(text, 3.1, 0.12, 92, 3.61, 0.2, 70, 2, 3, 3.5)
    assert "`text_seeds`" in readings_tasks.text({}, PARAMS)


def test_the_map_is_told_by_the_least_share_that_half_of_the_runs_learn_from() -> None:
    """Euclidean: n = 1 learns from 60 % on, n = 2 and 4 from 40 %, n = 16 never; cosine at n = 2 from 60 %."""
    ends = {
        ("", 1): (0.5, 1.0), ("", 2): (0.97, 1.0), ("", 4): (0.96, 1.0), ("", 16): (0.1, 0.2),
        (", cosine", 2): (0.2, 1.0),
    }  # fmt: skip
    frames = []
    for (suffix, n), right in ends.items():
        for share, accuracy in zip((0.4, 0.6), right, strict=True):
            accuracies = [accuracy, accuracy, 0.0, 0.0]  # half of the seeds, which is enough
            rows = pd.DataFrame({"seed": range(4), "test_accuracy": accuracies}).assign(share=share, ev2=0.5)
            seen = rows["test_accuracy"] >= 0.95
            times = np.where(seen, 10 * n, 200)
            frames.append(rows.assign(arm=f"harmonic, n = {n}{suffix}", generalised_seen=seen, generalised_epoch=times))
    chosen = [
        frames[0].assign(arm=arm, group=group, share=share, test_accuracy=accuracy)
        for arm, group, share, accuracy in (
            ("cross-entropy", "data", 0.4, 0.3), ("cross-entropy", "addition", 0.8, 1.0),
            ("distance", "data", 0.4, 1.0),
        )
    ]  # fmt: skip
    table = pd.concat([pd.concat(frames).assign(group="map"), *chosen])
    text = readings_data.sweep({"models": table}, PARAMS)
    assert "cosine 60 % at n = 2; euclidean 40 % at n = 2 and 4, 60 % at n = 1, none at n = 16." in text
    assert "distance 40 % and cross-entropy 80 %" in text
    assert "cosine 20 at n = 2; euclidean 10 at n = 1, 20 at n = 2, 40 at n = 4 and never at n = 16." in text
    assert readings_data.sweep({"models": table[table["group"] != "map"]}, PARAMS) == ""
