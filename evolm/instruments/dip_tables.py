"""Series of (step, metric) from tables: read, checked, and refused by file, row and fix.

    read_series("run.csv", Reading())                          one Series per metric of the file
    read_series("run.csv", Reading(metric=["accuracy"]))       that column only
    from_table(frame, Reading(baseline_step=100), "my run")    the same from a frame

Files: .csv, .parquet, .jsonl, one row per step: `step`, metrics, and if you like `run` or `seed` (repeated runs), `n`
(test items behind a share), `stderr`, or `<metric>_n` and `<metric>_stderr`. Or one row per test item: `step`, `item`,
`correct`, and `task` if several. Steps rise within a run; the first one is the baseline.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from evolm.finding import nearest
from evolm.instruments.dip_cells import BadSeries, json_rows, numbers
from evolm.instruments.dip_items import item_outcomes
from evolm.instruments.dip_statistics import Array

SUFFIXES = (".csv", ".parquet", ".jsonl")
#: Columns that are no metric of their own, whatever their numbers.
OTHERS = {"step", "run", "seed", "n", "stderr", "item", "task", "epoch", "tokens", "lr", "learning_rate", "time", ""}
LOWER = re.compile(r"(^|[^a-z])(loss|perplexity|ppl|nll|cross_?entropy|error|err|bpb|bits_per_byte|mse|wer)([^a-z]|$)")


@dataclass(frozen=True)
class Reading:
    """How a table is read: which metrics (default: every numeric column), which direction, which baseline."""

    metric: Sequence[str] | None = None
    lower_is_better: bool | None = None
    baseline_step: float | None = None
    step: str = "step"


@dataclass(frozen=True)
class Series:
    """One metric over rising `steps` (points,): `values` (runs, points) as the table has them, the baseline first.

    `outcomes` (points, items) are the right and wrong answers behind a single run; `stderr` (runs, points) is the
    noise that the table states; `notes` say what was guessed or left out.
    """

    source: str
    metric: str
    steps: Array
    values: Array
    lower_is_better: bool = False
    outcomes: Array | None = None
    stderr: Array | None = None
    noise: str = ""
    notes: tuple[str, ...] = ()

    @property
    def oriented(self) -> Array:
        """`values` with the sign with which larger is better, (runs, points)."""
        return -self.values if self.lower_is_better else self.values


def read_series(path: str | Path, reading: Reading) -> list[Series]:
    """The metrics in a .csv, .parquet or .jsonl file. Raises BadSeries."""
    path = Path(path)
    if path.suffix not in SUFFIXES or not path.is_file():
        raise BadSeries(f"there is no table {path}; expected a file that ends in {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".jsonl":
            table = pd.DataFrame(json_rows(path))
        else:
            table = pd.read_csv(path, skipinitialspace=True) if path.suffix == ".csv" else pd.read_parquet(path)
    except pd.errors.EmptyDataError:
        table = pd.DataFrame()
    except (ValueError, OSError) as error:
        if isinstance(error, BadSeries):
            raise
        raise BadSeries(f"{path} cannot be read as a table: {error}") from None
    return from_table(table, reading, str(path))


def from_table(table: pd.DataFrame, reading: Reading, place: str = "the table") -> list[Series]:
    """The metrics of a frame, laid out as a file would be. Raises BadSeries."""
    if not len(table):
        raise BadSeries(f"{place} is empty; expected a row for each step, with the columns step and a metric")
    table = table.reset_index(drop=True).rename(columns=str)
    if reading.step not in table:
        same = [column for column in map(str, table) if column.lower().strip() == reading.step.lower()]
        if not same:
            hint = nearest(reading.step, table.columns)
            raise BadSeries(f"{place} has no column {reading.step!r}{hint}; name the column of steps, -p step=NAME")
        reading = Reading(reading.metric, reading.lower_is_better, reading.baseline_step, same[0])
    table = table.rename(columns={reading.step: "step"})
    table["step"] = numbers(table, "step", place)
    run = next((column for column in ("run", "seed") if column in table), None)
    if run is not None and (empty := np.flatnonzero(table[run].isna())).size:
        raise BadSeries(f"{place}, row {empty[0] + 1}: {run} is empty; expected a name in every row, or no such column")
    table["run"] = "" if run is None else table[run].map(str)
    if {"item", "correct"} <= set(table):
        return _item_series(table, reading, place)
    for name, rows in table.groupby("run", sort=False):
        _check_steps(rows["step"], place, str(name))
    table, steps, notes = _from_baseline(table, reading, place)
    return [_metric_series(table, steps, name, reading, place, notes) for name in _metrics(table, reading, place)]


def is_lower_better(metric: str, told: bool | None) -> tuple[bool, tuple[str, ...]]:
    """Whether less is better, and the note that says so where it was guessed from the metric's name."""
    if told is not None:
        return told, ()
    guessed = LOWER.search(metric.lower()) is not None
    return guessed, ("taken as lower is better, by its name",) if guessed else ()


def _metrics(table: pd.DataFrame, reading: Reading, place: str) -> list[str]:
    taken = [c for c in map(str, table) if c.lower() not in OTHERS and not c.startswith("Unnamed:")]
    taken = [c for c in taken if not any(c == f"{other}_{end}" for other in taken for end in ("n", "stderr"))]
    if reading.metric is not None:
        for name in reading.metric:
            if name not in table or name in ("step", "run"):
                raise BadSeries(f"{place} has no metric {name!r}{nearest(name, taken)}")
        return list(reading.metric)
    found = [c for c in taken if pd.api.types.is_numeric_dtype(table[c]) and table[c].dtype != bool]
    if not found and len(taken) == 1:
        found = taken  # a metric with a word in it: the check names the row
    if not found:
        said = f"its columns are {', '.join(c for c in map(str, table) if c != 'run') or 'none'}"
        raise BadSeries(f"{place} has no column of numbers beside step ({said}); name the metric, -p metric=NAME")
    return found


def _metric_series(
    table: pd.DataFrame, steps: Array, metric: str, reading: Reading, place: str, notes: tuple[str, ...]
) -> Series:
    values = _by_run(table.assign(value=numbers(table, metric, place)), "value")
    lower, guess = is_lower_better(metric, reading.lower_is_better)
    stderr, noise = _stated_noise(table, metric, values, place)
    return Series(place, metric, steps, values, lower, None, stderr, noise, (*notes, *guess))


def _stated_noise(table: pd.DataFrame, metric: str, values: Array, place: str) -> tuple[Array | None, str]:
    """Standard errors (runs, points) by the table's own columns, and where they come from in words."""
    for column in (f"{metric}_stderr", "stderr"):
        if column in table:
            errors = numbers(table, column, place)
            if (bad := np.flatnonzero(errors < 0)).size:
                found = f"{place}, row {table.index[bad[0]] + 1}: {column} is {errors.iloc[bad[0]]:g}"
                raise BadSeries(f"{found}; expected a standard error, 0 or more")
            return _by_run(table.assign(value=errors), "value"), "the standard errors of the table"
    own = f"{metric}_n" in table
    if not own and ("n" not in table or LOWER.search(metric.lower())):
        return None, ""  # items behind a share say nothing of a loss
    column = f"{metric}_n" if own else "n"
    counts = numbers(table, column, place)
    if (bad := np.flatnonzero((counts < 1) | (counts % 1 != 0))).size:
        found = f"{place}, row {table.index[bad[0]] + 1}: {column} is {counts.iloc[bad[0]]:g}"
        raise BadSeries(f"{found}; expected the number of test items behind the share")
    if not ((values >= 0) & (values <= 1)).all():
        worst = values.flat[np.abs(values - 0.5).argmax()]
        raise BadSeries(
            f"{place}: {metric} reaches {worst:g}, and {column} gives the items behind a share in [0, 1]; divide a "
            f"percentage by 100, or give {metric}_stderr instead"
        )
    n = _by_run(table.assign(value=counts), "value")
    share = (values * n + 1) / (n + 2)  # so that 0 of n is not thought exact
    return np.sqrt(share * (1 - share) / n), f"{n.min():g} items a point"


def _item_series(table: pd.DataFrame, reading: Reading, place: str) -> list[Series]:
    table = table.assign(task=table["task"].map(str) if "task" in table else "share correct")
    tasks = list(table["task"].unique())
    for name in reading.metric or []:
        if name not in tasks:
            raise BadSeries(f"{place} has no metric {name!r}{nearest(name, tasks)}")
    found = []
    for task in reading.metric or tasks:
        rows = table[table["task"] == task]
        table_of_means, by_run = item_outcomes(rows, place)
        for run, means in table_of_means.groupby("run", sort=False):
            _check_steps(means["step"], place, str(run))
        means, steps, notes = _from_baseline(table_of_means, reading, place)
        values = _by_run(means, "value")
        one = next(iter(by_run.values())) if len(by_run) == 1 else None
        outcomes = None if one is None else np.stack([one[step] for step in steps])
        lower = bool(reading.lower_is_better)
        found.append(Series(place, task, steps, values, lower, outcomes, notes=notes))
    return found


def _from_baseline(table: pd.DataFrame, reading: Reading, place: str) -> tuple[pd.DataFrame, Array, tuple[str, ...]]:
    """The rows from the baseline on, at the steps that all runs share; those steps; what was left out."""
    by_run = [set(rows["step"]) for _, rows in table.groupby("run")]
    shared, every = sorted(set.intersection(*by_run)), set.union(*by_run)
    notes: list[str] = []
    base = 0 if reading.baseline_step is None else reading.baseline_step
    if base not in shared:
        first = min(every)
        if reading.baseline_step is not None:
            near = min(every, key=lambda step: abs(step - base))
            where = "in every run" if base in every else f"(the nearest is {near:g})"
            raise BadSeries(f"{place} has no step {base:g} {where}; name a step of the table, -p baseline_step=STEP")
        raise BadSeries(
            f"{place} has no baseline: {'a run of it' if 0 in every else 'it'} has no step 0 (the first is {first:g}); "
            f"add the model before training as step 0, or take another step for it, -p baseline_step={first:g}"
        )
    if missing := len(every) - len(shared):
        notes.append(f"{missing} of {len(every)} steps are not in every run and are left out")
    if before := [step for step in shared if step < base]:
        notes.append(f"{len(before)} steps before step {base:g} are left out")
    shared = [step for step in shared if step >= base]
    if len(shared) < 2:
        raise BadSeries(
            f"{place} has a single point, step {base:g}; a dip needs a baseline and at least one later step"
        )
    return table[table["step"].isin(shared)], np.array(shared, float), tuple(notes)


def _check_steps(steps: pd.Series[float], place: str, run: str) -> None:
    """Refuse steps of a run that do not rise."""
    if not (bad := np.flatnonzero(np.diff(steps) <= 0)).size:
        return
    before, here, row = steps.iloc[bad[0]], steps.iloc[bad[0] + 1], steps.index[bad[0] + 1] + 1
    of = f" of run {run}" if run else ""
    if (steps == here).sum() > 1:
        fix = "keep one row for each, or tell repeated runs apart by a column run"
        raise BadSeries(f"{place}, row {row}: step {here:g}{of} is there already; {fix}")
    raise BadSeries(f"{place}, row {row}: step {here:g}{of} comes after step {before:g}; sort the rows by step")


def _by_run(table: pd.DataFrame, column: str) -> Array:
    """A column as (runs, points), runs in their order of appearance."""
    return np.stack([rows[column].to_numpy(float) for _, rows in table.groupby("run", sort=False)])
