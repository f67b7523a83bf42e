"""Does a metric predict the accuracy of a run that was left out, beyond the step and the smoothed loss?

    held_out_errors(table, ["distance", "cosine"])       columns run, step, accuracy, loss and the metrics

For each run a ridge regression is fitted on the others, once on the baseline and once on baseline and metrics, and its
error on the run left out is compared. Runs (seeds) are the units: give `difference` to an interval over runs. The
baseline holds the course over steps, as it is chosen by `time`: against a straight line in the step any metric that is
a bent function of the step would win without knowing anything of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evolm.instruments.pathway_statistics import FEWEST, Given, time_columns

Array = NDArray[np.float64]
#: "each": one number per step, so that the baseline is the other runs' mean course.
Time = Literal["step", "log step", "curve", "each"]
#: Penalty on standardised coefficients, as a share of the rows: against collinearity only.
RIDGE = 1e-6


def held_out_errors(
    table: pd.DataFrame,
    metrics: Sequence[str],
    *,
    time: Time = "curve",
    loss: str | None = "loss",
    smooth: int = 5,
    ridge: float = RIDGE,
) -> pd.DataFrame:
    """Root-mean-square error of accuracy on each run left out: run, points, baseline_error, error, difference.

    `difference` is baseline_error - error, positive where the metrics help, in units of accuracy. `loss` names the
    column whose mean over the last `smooth` checkpoints is in the baseline; None leaves it out. Raises ValueError for
    missing columns, values that are not finite, and fewer than three runs of five checkpoints.
    """
    rows = _checked(table, [*metrics, *([loss] if loss else [])], smooth)
    known = [_standing_time(rows, time)]
    if loss:
        trailing = rows.groupby("run", sort=False)[loss].transform(lambda y: y.rolling(smooth, min_periods=1).mean())
        known.append(trailing.to_numpy(float)[:, None])
    baseline = np.concatenate(known, 1)
    features = np.concatenate([baseline, rows[list(metrics)].to_numpy(float)], 1)
    y, runs = rows["accuracy"].to_numpy(float), rows["run"].to_numpy()
    found = []
    for run in dict.fromkeys(runs):
        out = runs == run
        errors = [_error(x[~out], y[~out], x[out], y[out], ridge) for x in (baseline, features)]
        found.append(
            {
                "run": run,
                "points": int(out.sum()),
                "baseline_error": errors[0],
                "error": errors[1],
                "difference": errors[0] - errors[1],
            }
        )
    return pd.DataFrame(found)


def _standing_time(rows: pd.DataFrame, time: Time) -> Array:
    """Columns of the course over steps, (row, column)."""
    step = rows["step"].to_numpy(float)
    if time == "each":
        return (step[:, None] == np.unique(step)).astype(float)
    if time not in get_args(Given):
        raise ValueError(f"time is {time!r}; expected one of {', '.join(get_args(Time))}")
    return np.stack(time_columns(step, time), 1)


def _error(x: Array, y: Array, x_out: Array, y_out: Array, ridge: float) -> float:
    """Error on the rows left out of a ridge regression with an intercept, columns standardised on the rows kept."""
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    z = (x - mean) / scale
    weights = np.linalg.solve(z.T @ z + ridge * len(z) * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    predicted = y.mean() + ((x_out - mean) / scale) @ weights
    return float(np.sqrt(((predicted - y_out) ** 2).mean()))


def _checked(table: pd.DataFrame, columns: Sequence[str], smooth: int) -> pd.DataFrame:
    if missing := [name for name in ("run", "step", "accuracy", *columns) if name not in table]:
        raise ValueError(f"the table has no column {missing[0]!r}; expected run, step, accuracy and {columns}")
    if smooth < 1:
        raise ValueError(f"the loss is smoothed over {smooth} checkpoints; expected 1 or more")
    numbers = table[["step", "accuracy", *columns]].to_numpy(float)
    if not np.isfinite(numbers).all():
        row, column = np.argwhere(~np.isfinite(numbers))[0]
        name = ["step", "accuracy", *columns][column]
        raise ValueError(f"{name} in row {row + 1} is {numbers[row, column]}; expected finite numbers: drop such rows")
    counts = table.groupby("run").size()
    if len(counts) < 3 or counts.min() < FEWEST:
        found = f"there are {len(counts)} runs, the shortest of {counts.min() if len(counts) else 0} checkpoints"
        raise ValueError(f"not assessable: {found}; leaving one out needs three runs of {FEWEST} or more")
    return table.sort_values(["run", "step"], kind="stable")
