"""What relates two things in a record: pairs of cells, a metric and accuracy over a lag, a seed and the others.

Each function gives one number per seed and arm. Groups are averaged within a seed, which is the unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evolm.findings.grokking_pathways import curves
from evolm.findings.grokking_pathways.curves import Reading, Tables
from evolm.findings.grokking_pathways.tables import RANDOM
from evolm.instruments.pathway_prediction import held_out_errors

Array = NDArray[np.float64]
#: (metric, accuracy, step) of one group of one run -> a number.
Statistic = Callable[[Array, Array, Array], float]
COLUMNS = ["seed", "arm", "value"]
#: Shuffles of which held-out cell belongs to which training cell.
PAIRINGS = 200


def seed_means(arm: str, values: Iterable[tuple[Any, float]]) -> pd.DataFrame:
    """seed, arm, value: mean over each seed's finite values."""
    table = pd.DataFrame(list(values), columns=["seed", "value"])
    table = table[np.isfinite(table["value"].to_numpy(float))]
    means = table.groupby("seed")["value"].mean()
    return pd.DataFrame({"seed": means.index.to_numpy(int), "arm": arm, "value": means.to_numpy(float)})


def late_less_early(tables: Tables, world: str, *, within: bool, lag: bool = False) -> pd.DataFrame:
    """When held-out cells are mastered: those whose training cells are memorised late less the early ones, in octaves.

    Arms `matched`, `random pairing` (mean over shuffles of which held-out cell belongs to which training cell) and
    `random group`. `within`: among the cells of one table, mean over tables. `lag`: less when they were memorised.
    """
    rows = curves.of_world(tables, "cells", world)
    rows = rows[rows["arm"] == "trained"]
    values: dict[str, list[tuple[Any, float]]] = {"matched": [], "random pairing": [], "random group": []}
    for seed in rows["seed"].unique():
        cells = rows[rows["seed"] == seed]
        rng = np.random.default_rng([int(seed), 5])
        known, luck = cells[cells["group"] != RANDOM], cells[cells["group"] == RANDOM]
        for part in [cells for _, cells in known.groupby("group")] if within else [known]:
            when, then = (part[name].to_numpy(float) for name in ("memorised", "generalised"))
            values["matched"].append((seed, float(_late_early(when, then, lag))))
            values["random pairing"].append((seed, float(_late_early(when, _dealt(then, rng), lag).mean())))
        when, then = (luck[name].to_numpy(float) for name in ("memorised", "generalised"))
        values["random group"].append((seed, float(_late_early(when, then, lag))))
    return pd.concat([seed_means(arm, each) for arm, each in values.items()], ignore_index=True)


def _dealt(values: Array, rng: np.random.Generator) -> Array:
    """The same values dealt out to other cells, `PAIRINGS` times: (pairing, cell)."""
    return rng.permuted(np.tile(values, (PAIRINGS, 1)), axis=1)


def _late_early(when: Array, then: Array, lag: bool) -> Array:
    """Mean of `then` (..., cell) over the cells later than the median less that over the earlier; NaN without any."""
    middle = np.median(when) if len(when) else np.nan
    late, early = when > middle, when < middle
    if not (late.any() and early.any()):
        return np.full(then.shape[:-1], np.nan)
    value = then - when if lag else then
    found: Array = value[..., late].mean(-1) - value[..., early].mean(-1)
    return found


def correlated(
    tables: Tables, reading: Reading | str, statistic: Statistic, arm: str = "trained", world: str = "tables"
) -> pd.DataFrame:
    """seed, arm, value: a statistic of a metric and held-out accuracy over each learnable group's lag.

    `reading` may name a column of `curves.joined` instead, such as "loss".
    """
    name = reading if isinstance(reading, str) else "metric"
    rows = curves.joined(tables, world, arm, {} if isinstance(reading, str) else {"metric": reading})
    values = []
    for (_, seed), run in rows.groupby(["group", "seed"]):
        if len(run) >= 2 * curves.FEWEST:
            metric, accuracy, step = (run[column].to_numpy(float) for column in (name, "accuracy", "step"))
            values.append((seed, statistic(metric, accuracy, step)))
    return seed_means(arm, values)


def left_out(
    tables: Tables, world: str, arm: str, metrics: Mapping[str, Reading], *, shifted: bool = False
) -> pd.DataFrame:
    """Error of the baseline on a seed left out less the error with the metrics: seed, arm, value, in accuracy.

    The baseline is the other seeds' mean at each step and the smoothed training loss. A group counts where three seeds
    or more share five measured steps of its lag. With `shifted` each run's metrics are moved by half of its lag.
    """
    rows = curves.joined(tables, world, arm, metrics)
    values: list[tuple[Any, float]] = []
    for _, group in rows.groupby("group"):
        start = group.groupby("seed")["step"].min().max()  # where the last seed's lag begins
        common = group[group["step"] >= start].rename(columns={"seed": "run"})
        points = common.groupby("run").size()
        if len(points) < 3 or points.min() < curves.FEWEST:
            continue
        if shifted:
            rolled = common.groupby("run")[list(metrics)].transform(np.roll, int(points.min()) // 2)
            common = common.assign(**{name: rolled[name] for name in metrics})
        errors = held_out_errors(common, list(metrics), time="each")
        values += list(zip(errors["run"], errors["difference"], strict=True))
    return seed_means("shifted" if shifted else arm, values)


def relative_changes(tables: Tables, world: str, arms: list[str], reading: Reading) -> pd.DataFrame:
    """seed, arm, value: change over the common lag as a share of the metric where the lag begins."""
    starts = curves.lags(tables, world, arms, curves.learnable(tables, world))
    found = []
    for arm in arms:
        values = []
        for key, (steps, metric) in curves.by_run(curves.series(tables, world, arm, reading)).items():
            if key in starts:
                level = metric[steps >= starts[key]][: curves.FEWEST].mean()
                values.append((key[0], curves.change_of(steps, metric, starts[key]) / level))
        found.append(seed_means(arm, values))
    return pd.concat(found, ignore_index=True)


def second_half(tables: Tables, world: str, arms: list[str], reading: Reading) -> pd.DataFrame:
    """seed, arm, value: change over the second half of a run, where nothing is memorised first and there is no lag."""
    found, groups = [], curves.learnable(tables, world)
    for arm in arms:
        runs = curves.by_run(curves.series(tables, world, arm, reading)).items()
        changes = [(seed, curves.change_of(*run, run[0][-1] / 2)) for (seed, group), run in runs if group in groups]
        found.append(seed_means(arm, changes))
    return pd.concat(found, ignore_index=True)


def smoothed(values: Array, width: int = 5) -> Array:
    """Mean over the last measurements, `width` of them, as in the baseline of `left_out`."""
    means: Array = pd.Series(values).rolling(width, min_periods=1).mean().to_numpy(float)
    return means
