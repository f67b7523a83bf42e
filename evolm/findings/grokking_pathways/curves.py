"""From the tables of a record to windows, changes and series: what figures and claims both start from.

A group's *lag* begins when it is memorised: at the first measurement from which on two in a row have an accuracy of at
least .9 on the half of the training samples that is there for dating. A *change* is the mean over the last fifth of the
lag less that over its first fifth. Where two arms are compared both are read from the later of their memorisations on,
so that neither has more time.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evolm.findings.grokking_pathways.metrics import ANSWER, NO_RULE
from evolm.findings.grokking_pathways.schedule import EARLY
from evolm.findings.grokking_pathways.tables import RANDOM

Tables = dict[str, pd.DataFrame]
Array = NDArray[np.float64]
Places = Mapping[tuple[str, ...], NDArray[np.intp]]
#: Accuracy of a group that is memorised, and at how many measurements in a row.
MEMORISED, IN_A_ROW = 0.9, 2
#: Share of the lag at each of its ends whose mean is taken, and the fewest measurements of a lag that can be read.
END, FEWEST = 0.2, 5
#: Columns that are read of each table, for records without it.
KEY = ("world", "seed", "arm", "group")
COLUMNS = {
    "curve": (*KEY, "step", "dating_accuracy", "test_accuracy", "train_nats"),
    "pathways": (*KEY, "step", "quantity", "tokens", "rule", "value"),
    "cells": (*KEY, "memorised", "generalised"),
}
WORDS = ("world", "arm", "group", "quantity", "tokens", "rule")
#: Domains of the mixture in which held-out answers can be known, and be right or wrong as a whole.
TEXT_GROUPS = ("facts", "copy", "sums")

#: Kept by `_places`.
PLACES: dict[int, Places] = {}
NOWHERE = np.array([], np.intp)
#: No group is memorised.
NEVER = pd.Series([], index=pd.MultiIndex.from_arrays([[], [], []], names=["seed", "arm", "group"]), dtype=float)


class Reading(NamedTuple):
    """One reading of a metric: what, at which tokens, and by which rule pathways are built."""

    quantity: str
    tokens: str = ANSWER
    rule: str = NO_RULE


DISTANCE = Reading("distance", ANSWER, "0.7")
COSINE = Reading("cosine")


def of_world(tables: Tables, table: str, world: str) -> pd.DataFrame:
    """The rows of one world; none where there is no such table."""
    if table in tables:
        return tables[table][tables[table]["world"] == world]
    return pd.DataFrame({name: pd.Series(dtype=object if name in WORDS else float) for name in COLUMNS[table]})


def _places(rows: pd.DataFrame) -> Places:
    """(world, arm, quantity, tokens, rule) -> which rows have them.

    Found once per table, and forgotten with it: a page asks hundreds of times, and comparing words is slow.
    """
    if id(rows) not in PLACES:
        weakref.finalize(rows, PLACES.pop, id(rows))
        found = rows.groupby(["world", "arm", *Reading._fields], sort=False).indices
        PLACES[id(rows)] = cast(Places, found)
    return PLACES[id(rows)]


def learnable(tables: Tables, world: str) -> list[str]:
    """Groups of a world whose held-out samples can be known."""
    groups = of_world(tables, "curve", world)["group"].unique().tolist()
    return [name for name in groups if name != RANDOM and (world != "text" or name in TEXT_GROUPS)]


def memorised(tables: Tables, world: str, first: int = 2 * EARLY) -> pd.Series:
    """(seed, arm, group) -> the step at which a group is memorised, among the evenly spaced ones; none if never.

    With `first` 0 among all measurements: when it is memorised, where the other is from when on changes are read.
    """
    rows = of_world(tables, "curve", world)
    wide = rows.pivot(index=["seed", "arm", "group"], columns="step", values="dating_accuracy").sort_index(axis=1)
    wide = wide.iloc[:, first:]
    there = wide.to_numpy(float) >= MEMORISED  # (run, step)
    together = np.logical_and.reduce([there[:, i : there.shape[1] + 1 - IN_A_ROW + i] for i in range(IN_A_ROW)])
    steps = wide.columns.to_numpy(float)[: together.shape[1]]
    ever = together.any(1)
    return pd.Series(steps[together[ever].argmax(1)], index=wide.index[ever], dtype=float) if ever.any() else NEVER


def known_when_memorised(tables: Tables, world: str) -> pd.DataFrame:
    """By group and seed: the trained arm's `step` of memorising, its held-out accuracy `then` and at the `end`.

    `step` and `then` are NaN for what is never memorised.
    """
    rows = of_world(tables, "curve", world)
    rows = rows[rows["arm"] == "trained"].sort_values("step")
    dates = memorised(tables, world, first=0).reindex(pd.MultiIndex.from_frame(rows[["seed", "arm", "group"]]))
    rows = rows.assign(date=dates.to_numpy())
    runs = rows.groupby(["group", "seed"])
    found = pd.DataFrame({"step": runs["date"].first(), "end": runs["test_accuracy"].last()})
    then = rows[rows["step"] >= rows["date"]].groupby(["group", "seed"])["test_accuracy"].first()
    return found.assign(then=then).reset_index()


def first_date(tables: Tables, world: str) -> float:
    """The earliest step that can be a date of memorisation: the first of the evenly spaced measurements."""
    steps: list[float] = sorted(of_world(tables, "curve", world)["step"].unique())
    return steps[2 * EARLY]


def lags(tables: Tables, world: str, arms: Sequence[str], groups: Iterable[str]) -> dict[tuple[int, str], float]:
    """(seed, group) -> where the lag begins for all of `arms`; groups that one of them never memorises are left out."""
    dates = memorised(tables, world)
    found = {}
    at = dates.to_dict()
    for seed in dates.index.unique("seed"):
        for group in groups:
            starts = [at.get((seed, arm, group), np.nan) for arm in arms]
            if not np.isnan(starts).any():
                found[int(seed), group] = float(max(starts))
    return found


def series(tables: Tables, world: str, arm: str, reading: Reading | str) -> pd.DataFrame:
    """seed, group, step, value of a metric's reading, or of a column of the table `curve`."""
    columns = ["seed", "group", "step"]
    if isinstance(reading, str):
        rows = of_world(tables, "curve", world)
        return rows[rows["arm"] == arm][[*columns, reading]].rename(columns={reading: "value"})
    if "pathways" not in tables:
        return of_world(tables, "pathways", world)[[*columns, "value"]]
    rows = tables["pathways"]
    return rows[[*columns, "value"]].iloc[_places(rows).get((world, arm, *reading), NOWHERE)]


def changes(
    tables: Tables, world: str, arms: Sequence[str], reading: Reading | str, groups: Sequence[str] | None = None
) -> pd.DataFrame:
    """seed, arm, value: change over the lag that all `arms` have in common, mean over groups."""
    names = learnable(tables, world) if groups is None else list(groups)
    starts = lags(tables, world, arms, names)
    found = []
    for arm in arms:
        values: dict[int, list[float]] = {}
        for key, run in by_run(series(tables, world, arm, reading)).items():
            if key in starts and np.isfinite(change := change_of(*run, starts[key])):
                values.setdefault(key[0], []).append(change)
        found += [{"seed": seed, "arm": arm, "value": float(np.mean(each))} for seed, each in values.items()]
    return pd.DataFrame(found, columns=["seed", "arm", "value"])


def by_run(rows: pd.DataFrame) -> dict[tuple[int, str], tuple[Array, Array]]:
    """(seed, group) -> steps and values, in rising order of the step, from seed, group, step, value."""
    wide = rows.pivot(index=["seed", "group"], columns="step", values="value").sort_index(axis=1)
    steps, values = wide.columns.to_numpy(float), wide.to_numpy(float)
    return {(int(seed), str(group)): (steps, values[i]) for i, (seed, group) in enumerate(wide.index)}


def change_of(steps: Array, values: Array, start: float) -> float:
    """Mean over the last fifth of what is measured from `start` on less that over its first; NaN if too little."""
    early, late = fifths(steps, values, start)
    return late - early


def fifths(steps: Array, values: Array, start: float) -> tuple[float, float]:
    """Means over the first and over the last fifth of what is measured from `start` on; NaN if too little."""
    inside = values[(steps >= start) & np.isfinite(values)]
    if len(inside) < FEWEST:
        return float("nan"), float("nan")
    ends = max(1, round(END * len(inside)))
    return float(inside[:ends].mean()), float(inside[-ends:].mean())


def ends(tables: Tables, world: str, arms: Sequence[str], column: str = "test_accuracy") -> pd.DataFrame:
    """seed, arm, value: a column of `curve` at the end (mean of the last fifth), mean over learnable groups."""
    rows = of_world(tables, "curve", world)
    rows = rows[rows["group"].isin(learnable(tables, world)) & rows["arm"].isin(arms)]
    late = rows[rows["step"] >= (1 - END) * rows["step"].max()]
    return late.groupby(["seed", "arm"])[column].mean().rename("value").reset_index()


def over_run(tables: Tables, world: str, arms: Sequence[str]) -> pd.DataFrame:
    """seed, arm, value: held-out accuracy, mean over the logarithm of the step and over learnable groups."""
    rows = of_world(tables, "curve", world)
    rows = rows[rows["arm"].isin(arms) & rows["group"].isin(learnable(tables, world)) & (rows["step"] > 0)]
    found = []
    for (seed, arm), run in rows.groupby(["seed", "arm"]):
        by_step = run.groupby("step")["test_accuracy"].mean()
        at = np.log(by_step.index.to_numpy(float))
        mean = float(np.trapezoid(by_step.to_numpy(float), at) / (at[-1] - at[0]))
        found.append({"seed": seed, "arm": arm, "value": mean})
    return pd.DataFrame(found, columns=["seed", "arm", "value"])


def joined(tables: Tables, world: str, arm: str, readings: Mapping[str, Reading]) -> pd.DataFrame:
    """seed, group, step, accuracy, loss and each reading by its name, over each group's own lag."""
    curve = of_world(tables, "curve", world)
    table = curve[curve["arm"] == arm][["seed", "group", "step", "test_accuracy", "train_nats"]].rename(
        columns={"test_accuracy": "accuracy", "train_nats": "loss"}
    )
    for name, reading in readings.items():
        table = table.merge(series(tables, world, arm, reading).rename(columns={"value": name}))
    starts = lags(tables, world, [arm], learnable(tables, world))
    start = [starts.get(key, np.inf) for key in zip(table["seed"], table["group"], strict=True)]
    return table[table["step"] >= np.array(start, float)].sort_values(["group", "seed", "step"], ignore_index=True)
