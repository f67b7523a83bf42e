"""Figures of the grokking-pathways chapter: drawn from what a record has, captions and marks with its numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Canvas

from evolm.findings.grokking_pathways import (
    figures_controls,
    figures_lag,
    figures_layers,
    figures_metrics,
    figures_relations,
    figures_routes,
    figures_scrub,
)
from evolm.findings.grokking_pathways.arms import ARMS as RUN
from evolm.findings.grokking_pathways.figure_style import ARMS, in_words, row, signed
from evolm.fragments import Fragment
from evolm.panels import Look
from evolm.plotting import Figure

PARAMS: Any = SimpleNamespace(symbols=40, classes=(4, 10))
FIGURES: list[Callable[..., Figure | Fragment]] = [
    figures_lag.lag_curves,
    figures_lag.memorised_generalised,
    figures_metrics.metrics_beside_twin,
    figures_relations.correlations_forest,
    figures_relations.readings,
    figures_layers.distance_by_layer,
    figures_routes.ribbons,
    figures_scrub.scrub,
    figures_controls.arms,
    figures_controls.scales,
    figures_controls.mixture,
]
STEPS = [*range(0, 40, 5), *range(40, 200, 10)]  # the first 8 are early ones, which date nothing
GROUPS = {"tables": ("k4", "k10", "random"), "tables, wide": ("k4", "random"), "text": ("facts", "prose", "random")}
READINGS = [
    ("distance", "answer", "0.7"),
    ("distance", "all", "top-k"),
    *((q, "answer", "-") for q in ("cosine", "C", "S")),
]
#: How far the distance and the cosine move over a run, by arm.
SLOPE = {"trained": -0.1, "scrambled": 0.05, "frozen router": 0.0}


def a_record(seeds: int = 2) -> dict[str, pd.DataFrame]:
    """A copy of the record, which a test may change."""
    return {name: rows.copy() for name, rows in _record(seeds).items()}


@cache
def _record(seeds: int) -> dict[str, pd.DataFrame]:
    """Every world, with straight lines: accuracy rises from 0 to 1, a metric from .5 by the arm's slope."""
    keys = [
        {"world": world, "seed": seed, "arm": arm, "group": group}
        for world, groups in GROUPS.items()
        for seed in range(seeds)
        for arm in SLOPE
        for group in groups
    ]
    runs = pd.DataFrame(keys).merge(pd.DataFrame({"step": STEPS}), how="cross")
    at = runs["step"] / STEPS[-1]
    wobble = 0.01 * np.sin(runs["step"] * (2 + runs["seed"]))
    learns = (runs["arm"] != "scrambled") & (runs["group"] != "random")
    curve = runs.assign(
        dating_accuracy=np.where(runs["step"] >= 50, 1.0, 0.1), train_accuracy=1.0,
        test_accuracy=np.where(learns, at, 0.02),
        train_nats=3 - 2 * at + wobble, test_nats=3.0,
    )  # fmt: skip
    metric = runs.assign(value=0.5 + runs["arm"].map(SLOPE) * at + wobble)
    kinds = pd.DataFrame(READINGS, columns=["quantity", "tokens", "rule"])
    layers = pd.DataFrame([("distance", 0), ("distance", 1), ("cosine", 0)], columns=["quantity", "layer"])
    one = runs.drop(columns="step").drop_duplicates()
    cells = one[one["world"] == "tables"].merge(pd.DataFrame({"cell": range(8)}), how="cross")
    random = cells["group"] == "random"
    cells = cells.assign(memorised=cells["cell"] / 2 + 1, generalised=np.where(random, 8.0, 4 + cells["cell"] / 2))
    routes = runs[(runs["world"] == "tables") & (runs["arm"] == "trained") & (runs["seed"] == 0)]
    routes = routes.merge(pd.DataFrame({"sample": range(4)}), how="cross").merge(
        pd.DataFrame({"layer": range(3)}), how="cross"
    )
    late = (routes["step"] == STEPS[-1]) & (routes["group"] == "k4")
    routes = routes.assign(expert=np.where(late, 1, routes["sample"]), rank=0, weight=0.5)
    return {
        "curve": curve,
        "pathways": metric.merge(kinds, how="cross"),
        "layers": metric.merge(layers, how="cross").assign(tokens="answer"),
        "cells": cells,
        "routes": routes,
    }


def caption(shown: Figure | Fragment) -> str:
    assert isinstance(shown, Figure)
    return shown.html.split("<figcaption>")[1].replace("&#x27;", "'")


def drawn(show: Any, tables: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The panels of a figure's wide drawing."""
    kept: list[Any] = []

    def keep(draw: Any, name: str, alt: str, size: Any, panels: int, narrow_height: float) -> str:
        axes = list(Canvas(figsize=size).subplots(1, panels, squeeze=False).flat)
        draw(axes[0] if panels == 1 else axes)
        kept.extend(axes)
        return name

    monkeypatch.setattr("evolm.plotting._pictures", keep)
    show(tables, PARAMS)
    return kept


@pytest.mark.parametrize("show", FIGURES)
def test_every_figure_is_drawn_with_several_seeds_and_with_one(show: Any, drawn_once: None) -> None:
    shown = show(a_record(3), PARAMS)
    assert isinstance(shown, Figure)
    assert shown.name.startswith("grokking-pathways-")
    assert "nan" not in (shown.alt + caption(shown)).replace("nan-", "")
    single = show(a_record(1), PARAMS)
    if show is figures_relations.readings:
        assert "no two seeds" in single.text
    else:
        assert "ne seed" in caption(single) or "first seed" in caption(single) or "1 seed" in caption(single)


@pytest.fixture
def drawn_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wide drawing alone, which is enough where only the data differ."""

    def picture(draw: Any, name: str, alt: str, size: Any, panels: int, narrow_height: float) -> str:
        axes = list(Canvas(figsize=size).subplots(1, panels, squeeze=False).flat)
        draw(axes[0] if panels == 1 else axes)
        return name

    monkeypatch.setattr("evolm.plotting._pictures", picture)


@pytest.mark.parametrize("show", FIGURES)
def test_every_figure_copes_with_absent_arms_groups_and_tables(show: Any, drawn_wide: None) -> None:
    record = a_record(2 if show is figures_relations.readings else 1)
    show({name: rows[rows["arm"] != "trained"] for name, rows in record.items()}, PARAMS)
    show({name: rows[rows["group"] == "random"] for name, rows in record.items()}, PARAMS)
    show({name: rows for name, rows in record.items() if name != "pathways"}, PARAMS)


@pytest.mark.parametrize("show", FIGURES)
def test_a_record_without_the_tables_gets_a_sentence(show: Any) -> None:
    for tables in ({}, {name: rows[rows["world"] == "other"] for name, rows in a_record(1).items()}):
        assert isinstance(show(tables, PARAMS), Fragment)


def test_nothing_memorised_is_said_and_drawn(drawn_wide: None) -> None:
    record = a_record(1)
    record["curve"]["dating_accuracy"] = 0.1
    assert "4 classes: never memorised, 100 % of held-out pairs right at the end" in caption(
        figures_lag.lag_curves(record, PARAMS)
    )
    assert isinstance(figures_metrics.metrics_beside_twin(record, PARAMS), Figure)
    assert isinstance(figures_layers.distance_by_layer(record, PARAMS), Fragment)
    assert isinstance(figures_relations.correlations_forest(record, PARAMS), Fragment)


def test_every_arm_has_a_look() -> None:
    assert {arm for group in RUN.values() for arm in group} == set(ARMS)


def test_numbers_in_words() -> None:
    assert [signed(v) for v in (0.051, -0.049, 0.001, -0.001, float("nan"))] == ["+0.05", "−0.05", "0.00", "0.00", "–"]
    assert in_words([0.1, 0.3]) == "+0.20"
    assert in_words([0.2, 0.2, 0.2]) == "+0.20 (+0.20 to +0.20)"


def test_the_lag_begins_where_the_group_is_memorised(drawn_wide: None) -> None:
    text = caption(figures_lag.lag_curves(a_record(2), PARAMS))
    assert "4 classes: memorised at step 50 with 26 % of held-out pairs right, 100 % at the end" in text
    assert "random labels: memorised at step 50 with 2 % of held-out pairs right, 2 % at the end" in text


def test_late_cells_generalise_later_by_the_planted_octaves(monkeypatch: pytest.MonkeyPatch, drawn_wide: None) -> None:
    record = a_record(2)
    # Cells 4 to 7 are late: half an octave a cell, so two octaves between the halves' means.
    assert "matched cells +2.00, " in caption(figures_lag.memorised_generalised(record, PARAMS))
    assert "the random group 0.00" in caption(figures_lag.memorised_generalised(record, PARAMS))
    left = drawn(figures_lag.memorised_generalised, record, monkeypatch)[0]
    halves = next(line for line in left.lines if line.get_label().startswith("early"))
    assert np.log2(halves.get_ydata()) == pytest.approx([4.75, 6.75])
    assert np.log2(halves.get_xdata()) == pytest.approx([1.75, 3.75])


def test_the_trained_line_is_the_mean_of_seeds_and_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    record = a_record(2)
    distance = drawn(figures_metrics.metrics_beside_twin, record, monkeypatch)[1]
    line = next(line for line in distance.lines if line.get_label() == ARMS["trained"].label)
    rows = record["pathways"].query("world == 'tables' and arm == 'trained' and group != 'random' and step > 0")
    rows = rows[(rows["quantity"] == "distance") & (rows["tokens"] == "answer")]
    assert line.get_ydata() == pytest.approx(rows.groupby("step")["value"].mean().to_numpy())


def test_raw_correlation_of_straight_lines_is_one_and_the_step_given_time_is_not_defined(drawn_wide: None) -> None:
    record = a_record(3)
    text = caption(figures_relations.correlations_forest(record, PARAMS))
    assert "the step itself +1.00 (+1.00 to +1.00)" in text
    timed = text.split("The r given the course of time: ")[1].split("The r of changes")[0]
    assert "the step itself" not in timed


def test_readings_tell_the_direction_that_the_paper_gives(drawn_wide: None) -> None:
    found = figures_relations.differences_of_readings(a_record(3)).set_index("name")
    assert set(found.index) == {"distance, 70 %", "distance, top-k, all tokens", "cosine", "C", "1 − C"}
    # From step 50 to 190 the lag spans .74 of the run, and the means of its fifths .8 or so of that.
    assert (found["trained"] < -0.04).all()
    assert (found["twin"] > 0.01).all()
    text = caption(figures_relations.readings(a_record(3), PARAMS))
    assert "Of 5 readings" in text


def test_layers_tell_early_and_late(drawn_wide: None) -> None:
    found = figures_layers.by_layer(a_record(1)).set_index(["arm", "quantity", "layer"])
    moved = found["late"] - found["early"]
    assert moved["trained"].max() < -0.04 < 0.01 < moved["scrambled"].min()
    assert set(found.loc["trained"].index) == {("distance", 0), ("distance", 1), ("cosine", 0)}


def test_ribbons_count_distinct_routes_and_keep_every_sample_a_place(drawn_wide: None) -> None:
    text = caption(figures_routes.ribbons(a_record(2), PARAMS))
    assert "4 classes 4 and 1, 10 classes 4 and 4 and random labels 4 and 4" in text
    routes = np.array([[2, 0], [0, 0], [2, 1], [0, 1]])
    places = figures_routes.heights(routes, 0, 1)
    assert sorted(np.diff(np.sort(places))) == pytest.approx([1, 1, 1 + figures_routes.GAP])
    assert places[[1, 3, 0, 2]].tolist() == sorted(places)  # by expert, then by the expert it goes to
    assert places.mean() == pytest.approx(1.5)  # centred


def test_the_slider_has_every_checkpoint_and_a_small_specification(drawn_wide: None) -> None:
    shown = figures_scrub.scrub(a_record(1), PARAMS)
    assert isinstance(shown, Figure)
    plot = shown.extra["application/vnd.plotly.v1+json"]
    marks = plot["layout"]["sliders"][0]["steps"]
    assert [int(mark["label"]) for mark in marks] == STEPS
    assert len(shown.html) < 300_000
    assert {trace["type"] for trace in plot["data"]} == {"scatter"}
    last = marks[-1]["args"]
    k4 = [value for value in last[0]["y"][0] if value is not None]
    assert np.round(np.array(k4)).tolist() == [1.0] * 12  # all in one expert at the end
    assert "right 100 %" in json.dumps(last[1]["annotations"][0])


def test_a_row_is_the_seeds_mean_and_interval_and_nothing_without_numbers() -> None:
    axes = Canvas().subplots()
    row(axes, [float("nan")], 0, Look("blue", "o", "-", "", ""))
    assert not axes.lines
    row(axes, [1.0, 2.0, 3.0], 0, Look("blue", "o", "-", "", ""))
    small, whisker, mean = (np.asarray(line.get_xdata(), float) for line in axes.lines)
    assert small.tolist() == [1, 2, 3]
    assert mean.tolist() == [2]
    low, high = whisker
    assert high - 2 == pytest.approx(2 - low)
    assert high > 4.4  # Student's t of two degrees: 4.3 / sqrt 3


def test_mixture_and_arms_give_the_planted_ends(drawn_wide: None) -> None:
    assert "Right at the end, trained: facts 100 % and random keys 2 %" in caption(
        figures_controls.mixture(a_record(2), PARAMS)
    )
    text = caption(figures_controls.arms(a_record(2), PARAMS))
    # The last fifth of the run: steps 160, 170, 180, 190 of 190.
    assert "trained 0.92, scrambled twin 0.02 and frozen router 0.92" in text
