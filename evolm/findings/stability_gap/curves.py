"""Accuracy over training, where it is lowest and what comes after: what figures and claims both start from.

All functions take the tables of a record. A probe's items are in two halves: the step of the minimum is chosen on one
and depth and recovery are read on the other, both ways, and averaged. The minimum of a noisy flat curve is not a dip.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

Tables = dict[str, pd.DataFrame]
#: Questions of the domain's task: facts known before and still read, known and never read again, and new ones.
TASK = ("absent", "repeated", "new")
#: Questions about facts that pre-training taught and that nothing read later holds.
UNSEEN = ("absent", "general lost")
#: General ability: what general text asks, seen again or not, and sums; and what of it later general text goes on with.
ABILITIES = ("general kept", "general lost", "sums")
KEPT = ("general kept", "sums")
#: Statements, in general style, of facts that are asked for as well.
STATEMENTS = ("absent, stated", "repeated, stated", "general lost, stated")


def accuracy(tables: Tables, probes: Sequence[str], quantity: str = "accuracy", table: str = "curve") -> pd.DataFrame:
    """A quantity of some probes, mean over items: seed, arm, step, half, value. No rows without the table."""
    rows = tables.get(table, pd.DataFrame(columns=["seed", "arm", "step", "half", "probe", "items", quantity]))
    rows = rows[rows["probe"].isin(list(probes))]
    sums = (
        rows.assign(value=rows[quantity] * rows["items"])
        .groupby(["seed", "arm", "step", "half"])[["value", "items"]]
        .sum()
    )
    return (sums["value"] / sums["items"]).rename("value").reset_index()


def abilities(tables: Tables, probes: Sequence[str], quantity: str = "accuracy") -> pd.DataFrame:
    """The same as the mean over kinds of probe, however many items each has: there are far more sums than facts."""
    parts = [accuracy(tables, [probe], quantity) for probe in probes]
    return pd.concat(parts).groupby(["seed", "arm", "step", "half"])["value"].mean().reset_index()


def whole(rows: pd.DataFrame) -> pd.DataFrame:
    """Both halves together: seed, arm, step, value."""
    return rows.groupby(["seed", "arm", "step"])["value"].mean().reset_index()


#: Measurements whose mean is a run's end.
LAST = 3


def dips(rows: pd.DataFrame) -> pd.DataFrame:
    """seed, arm, depth, recovery, lost, step of every run: how far accuracy falls, how much comes back, what does not.

    `depth` is the start less the value at the chosen step, `recovery` the end less that value, `lost` the start less
    the end; the end is the mean of the last three measurements. `step` is the mean of the halves' steps.
    """
    columns = ["seed", "arm", "depth", "recovery", "lost", "step"]
    if rows.empty:
        return pd.DataFrame(columns=columns)
    wide = rows.pivot(index=["seed", "arm"], columns=["half", "step"], values="value").sort_index(axis=1)
    steps = wide[0].columns.to_numpy(float)
    values = np.stack([wide[half].to_numpy(float) for half in (0, 1)])  # (half, run, step), NaN where not measured
    low = np.nanargmin(values, axis=2)[:, :, None]  # where the chooser is lowest
    there = ~np.isnan(values)
    last = there & (there[:, :, ::-1].cumsum(2)[:, :, ::-1] <= LAST)
    ends = np.where(last, values, 0).sum(2) / last.sum(2)
    starts = np.take_along_axis(values, there.argmax(2)[:, :, None], 2)[:, :, 0]
    lows = np.take_along_axis(values[::-1], low, 2)[:, :, 0]  # read on the other half
    starts, ends = starts[::-1], ends[::-1]
    parts = (starts - lows, ends - lows, starts - ends, steps[low[:, :, 0]])
    means = pd.DataFrame(np.stack([part.mean(0) for part in parts], 1), index=wide.index, columns=columns[2:])
    return means.reset_index()


def areas(rows: pd.DataFrame) -> pd.DataFrame:
    """seed, arm, value: mean shortfall below the start over the run, by the trapezium rule; a rise is none."""
    found = []
    for (seed, arm), run in whole(rows).groupby(["seed", "arm"]):
        run = run.sort_values("step")
        below = (run["value"].iloc[0] - run["value"]).clip(lower=0).to_numpy()
        steps = run["step"].to_numpy(float)
        found.append({"seed": seed, "arm": arm, "value": float(np.trapezoid(below, steps) / steps[-1])})
    return pd.DataFrame(found, columns=["seed", "arm", "value"])


def ends(rows: pd.DataFrame) -> pd.DataFrame:
    """seed, arm, value: the mean of a run's last measurements, `LAST` of them."""
    last = whole(rows).sort_values("step").groupby(["seed", "arm"]).tail(LAST)
    return last.groupby(["seed", "arm"])["value"].mean().reset_index()
