"""Curves and geometry of the harmonic-loss chapter: drawn from what a record has, captions with its numbers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evolm.findings.harmonic_loss import figures_curves, figures_exponents, figures_geometry
from evolm.findings.harmonic_loss.arms import AUTHORS, CHOSEN, UNDECAYED, addition_arms
from evolm.findings.harmonic_loss.figure_style import STYLE, base
from evolm.findings.harmonic_loss.readings_words import chance_ev
from evolm.fragments import Fragment
from evolm.plotting import Figure

PARAMS: Any = SimpleNamespace(share=0.8)
FIGURES: list[Callable[..., Figure | Fragment]] = [
    figures_curves.accuracy_curves,
    figures_curves.survival,
    figures_curves.norms,
    figures_geometry.planes,
    figures_geometry.evidence,
    figures_exponents.exponents,
]
GROUPS = {"addition": addition_arms(), "authors": AUTHORS, "undecayed": UNDECAYED, "data": CHOSEN, "split": AUTHORS}
LAST = 50


def a_record(seeds: int = 2, **planted: Any) -> dict[str, pd.DataFrame]:
    """Every group of addition, with the same numbers for every run but for those that are planted."""
    runs = pd.DataFrame(
        [
            {"group": group, "arm": arm, "seed": seed, "task": "addition"}
            for group, arms in GROUPS.items()
            for arm in arms
            for seed in range(seeds)
        ]
    )
    runs["share"] = np.where(runs["group"] == "data", 0.5, 0.8)
    runs["split"] = np.where(runs["group"] == "split", "shuffled", "clean")
    ends = {
        "generalised_seen": True, "generalised_epoch": 10, "test_accuracy": 1.0, "ev2": 0.5, "delay": 1.0,
        "vector_norm_slope": 0.1, "shape": 0.25,
    }  # fmt: skip
    main = runs[runs["group"].isin(["addition", "authors", "undecayed"])]
    curves = main.merge(pd.DataFrame({"epoch": [0, 1, 10, LAST]}), how="cross")
    curves = curves.assign(train_accuracy=1.0, test_accuracy=curves["epoch"] / LAST, vector_norm=2.0 + curves["epoch"])
    angle = 2 * np.pi * 3 * np.arange(31) / 31
    ring = pd.DataFrame({"token": range(31), "x": np.cos(angle), "y": np.sin(angle)})
    return {"models": runs.assign(**{**ends, **planted}), "curves": curves, "vectors": main.merge(ring, how="cross")}


def caption(shown: Figure | Fragment) -> str:
    assert isinstance(shown, Figure)
    return shown.html.split("<figcaption>")[1]


def without(tables: dict[str, pd.DataFrame], keep: Callable[[pd.DataFrame], Any]) -> dict[str, pd.DataFrame]:
    return {name: rows[keep(rows)] for name, rows in tables.items()}


@pytest.mark.parametrize("show", FIGURES)
def test_every_figure_is_drawn_with_one_seed_and_with_several(show: Any, drawn_once: None) -> None:
    for seeds in (1, 3):
        shown = show(a_record(seeds), PARAMS)
        assert isinstance(shown, Figure)
        assert shown.name.startswith("harmonic-loss-")
        assert "nan" not in shown.alt + caption(shown)


@pytest.mark.parametrize("show", FIGURES)
def test_every_figure_copes_with_absent_arms_and_groups(show: Any, drawn_once: None) -> None:
    record = a_record(1)
    show(without(record, lambda rows: rows["arm"].map(base) == "normalised"), PARAMS)
    for head in ("harmonic", "cross-entropy"):
        show({name: rows[~rows["arm"].str.startswith(head)] for name, rows in record.items()}, PARAMS)
    for group in GROUPS:
        show({name: rows[rows["group"] == group] for name, rows in record.items()}, PARAMS)


@pytest.mark.parametrize("show", FIGURES)
def test_a_record_without_the_tables_gets_a_sentence(show: Any) -> None:
    for tables in ({}, without(a_record(1), lambda rows: rows["group"] == "map")):
        shown = show(tables, PARAMS)
        assert isinstance(shown, Fragment)
        assert shown.text.startswith("This record holds no ")


@pytest.mark.parametrize("show", FIGURES)
def test_runs_that_never_learn_are_drawn_too(show: Any, drawn_once: None) -> None:
    never = {"generalised_seen": False, "generalised_epoch": LAST, "test_accuracy": 0.0}
    assert isinstance(show(a_record(2, **never), PARAMS), Figure)


def test_all_arms_of_the_main_programs_have_a_look() -> None:
    drawn = [arm for arm in (*CHOSEN, *AUTHORS, *UNDECAYED) if not arm.endswith(", small")]  # those are told of alone
    assert {base(arm) for arm in drawn} == set(STYLE)
    assert base("harmonic, untied") not in STYLE  # neither it nor an exponent is drawn as the head itself
    assert len({look.shade for look in STYLE.values()}) == len({look.marker for look in STYLE.values()}) == len(STYLE)


def test_survival_counts_censored_runs_and_tests_harmonic_against_cross_entropy(drawn_once: None) -> None:
    record = a_record(5)
    models = record["models"]
    late = (models["arm"] == "cross-entropy") & (models["group"] == "addition")
    models.loc[late, "generalised_epoch"] = [20, 21, 22, LAST, LAST]
    models.loc[late, "generalised_seen"] = [True, True, True, False, False]
    text = caption(figures_curves.survival(record, PARAMS))
    assert "censored are cross-entropy 2 of 5 each" in text
    assert "median epoch cross-entropy 22, normalised 10," in text
    # All five harmonic runs end at once, of ten at risk: (5 - 2.5)^2 over 5 (5/10)^2 (5/9), so chi^2 = 9 of one degree.
    assert "harmonic p = 0.0027" in text
    assert "normalised p = 0.0027" in text
    # At the authors' settings all are there at once.
    assert "log-rank tests against cross-entropy, one by one: normalised undefined" in text
    never = models.assign(generalised_seen=models["generalised_seen"] & (models["arm"] != "harmonic"))
    never.loc[never["arm"] == "cross-entropy", "generalised_seen"] = False
    shown = caption(figures_curves.survival({"models": never[never["group"] == "addition"]}, PARAMS))
    assert "harmonic more than 10;" in shown
    assert "harmonic p" not in shown  # without an event there is no test


def test_late_slopes_are_means_with_ranges_and_divergence_counts_as_growth(drawn_once: None) -> None:
    record = a_record(2)
    models = record["models"]
    models.loc[models["arm"] == "harmonic, no decay", "vector_norm_slope"] = [-0.04, 0.02]
    models.loc[models["arm"] == "distance, no decay", "vector_norm_slope"] = [0.5, np.nan]
    text = caption(figures_curves.norms(record, PARAMS))
    assert "harmonic −0.01 (−0.04 to 0.02)" in text
    assert "distance 0.75 (0.50 to 1.00)" in text
    assert "runs that diverged count as 1: 1" in text


def test_a_ring_of_any_frequency_is_joined_in_its_order() -> None:
    _, shown = figures_geometry._planes(a_record(1), PARAMS)
    assert len(shown) == 4
    for _, points, order, _, _ in shown:
        sides = np.linalg.norm(np.diff(points[[*order, order[0]]], axis=0), axis=1)
        assert sides == pytest.approx(2 * np.sin(np.pi / 31))  # neighbours on the circle


def test_planes_are_of_the_first_seed_and_the_share_of_the_main_program(drawn_once: None) -> None:
    record = a_record(2)
    models = record["models"]
    models.loc[models["seed"] == 0, ["test_accuracy", "ev2"]] = [0.25, 0.75]
    other = {name: rows.assign(share=0.5) for name, rows in record.items()}
    both = {name: pd.concat([other[name].assign(ev2=0.1), rows]) for name, rows in record.items()}
    assert "harmonic, as chosen 25 %, 75 % and 25 %" in caption(figures_geometry.planes(both, PARAMS))


def test_evidence_tells_runs_that_learnt_from_others_and_from_random_answers(drawn_once: None) -> None:
    record = a_record(1)
    models = record["models"]
    models.loc[models["group"] == "split", ["test_accuracy", "ev2"]] = [0.03, 0.44]
    models.loc[models["arm"] == "harmonic, authors'", "ev2"] = [0.9, 0.6]
    models.loc[models["arm"] == "harmonic, untied", ["test_accuracy", "ev2"]] = [0.7, 0.99]
    models.loc[(models["arm"] == "harmonic") & (models["group"] == "data"), ["test_accuracy", "ev2"]] = [0.4, 0.8]
    text = caption(figures_geometry.evidence(record, PARAMS))
    assert "Runs that learnt reach 50 % to 90 % (15)" in text
    assert "runs that did not reach 80 % to 99 % (2)" in text  # one of them with class vectors of its own
    assert "runs with random answers reach 44 % to 60 % (5)" in text
    assert f"drawn from a standard normal, have {100 * chance_ev():.0f} % on average (dashed)" in text


def test_exponents_are_read_from_the_names_of_arms(drawn_once: None) -> None:
    record = a_record(2)
    models = record["models"]
    models.loc[models["arm"] == "harmonic, n = 16", "generalised_epoch"] = [30, 40]
    models.loc[models["arm"] == "harmonic, n = 16", "generalised_seen"] = [True, False]
    text = caption(figures_exponents.exponents(record, PARAMS))
    assert "10 at n = 1, 10 at n = 2, 10 at n = 4, 10 at n = 8, 35 at n = 16, 10 under cross-entropy" in text
    assert "1 of 10 harmonic runs never get there" in text
