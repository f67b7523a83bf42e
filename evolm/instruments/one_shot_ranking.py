"""Which training example to keep: problems ranked by the historical variance of their accuracy.

    rank_examples(frame)                    columns problem, epoch (or step), and correct, or accuracy and rollouts
    read_rollouts("rollouts.jsonl")         one such frame per model in the file

Wang et al. (2025, Sec. 2) score an example by v_i = var(s_i1, ..., s_iE), s_ie its rollouts' accuracy in epoch e of an
RLVR run, and train on the top ones. A variance over epochs is noise of few rollouts too, and most of what is left is
often the trend of learning: both stand beside the score.

Files: .csv, .parquet and .jsonl tables, a row per rollout (correct: true or false, 1 or 0) or per problem and epoch
(correct or accuracy: the share that was right, of `rollouts`). A line of a .jsonl may list the rollouts of its epoch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evolm.finding import nearest

Array = np.ndarray[Any, np.dtype[Any]]
SUFFIXES = (".csv", ".parquet", ".jsonl")
#: Names that each column may go by; the first is the usual one.
EPOCH, CORRECT = ("epoch", "step"), ("correct", "accuracy")
#: Variances that differ in no more than rounding are ties.
DIGITS = 12
#: `first` and `last` are means over this share of the epochs: one epoch of few rollouts says little.
ENDS = 0.2


class BadRollouts(ValueError):
    """A table of rollouts cannot be ranked; the message says where and why."""


def rank_examples(table: pd.DataFrame, *, rollouts: int | None = None) -> pd.DataFrame:
    """One row per problem, the highest score first; problems of one score share its rank, in the table's order.

    `table`: rows in any order; those of one problem and epoch are pooled, each weighing as many rollouts as it has
    (column `rollouts`, or `rollouts` for all rows; 1 without either). Steps may stand for epochs: a problem's epochs
    are those in which it was seen, and may differ between problems.

    Columns: problem; rank; score, the population variance over epochs (the released code takes its root, which ranks
    alike); noise, what the binomial noise of that many rollouts adds to the score in expectation, (1 - 1/E) times
    the mean over epochs of s (1 - s) / (n - 1), unbiased for p (1 - p) / n (NaN where an epoch has one rollout);
    excess, score - noise, unbiased for the variance of the true accuracies, and so below 0 at times; trend, the share
    of the score that a straight line over epochs explains (NaN at score 0; noise alone gives 1 / (E - 1)); mean, over
    epochs; first and last, mean over the first and last fifth of them; epochs; rollouts, in all; ties, how many
    problems have this score. Raises BadRollouts.
    """
    return _ranked(_tidy(table.set_axis(range(1, len(table) + 1)), "the table", "row", rollouts))


def read_rollouts(path: str | Path) -> list[tuple[str, pd.DataFrame]]:
    """Model and rollouts of each model in a file (column `model`, else the file's name). Raises BadRollouts.

    The frames' index is the row or, in a .jsonl file, the line that each rollout came from; `rank_file` uses it.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES or not path.is_file():
        raise BadRollouts(f"there is no table {path}; expected a file that ends in {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".jsonl":
            found = list(_json_rows(path))
            table = pd.DataFrame([row for _, row in found], index=[number for number, _ in found])
        else:
            table = pd.read_csv(path, dtype={"problem": str}) if path.suffix == ".csv" else pd.read_parquet(path)
            table = table.set_axis(range(1, len(table) + 1))
    except (ValueError, OSError) as error:
        if isinstance(error, BadRollouts):
            raise
        raise BadRollouts(f"{path} cannot be read as a table: {error}") from None
    if "model" not in table:
        return [(path.stem, table)]
    return [(str(model), rows) for model, rows in table.groupby("model", sort=False, dropna=False)]


def rank_file(path: str | Path, *, rollouts: int | None = None) -> list[tuple[str, pd.DataFrame]]:
    """Model and ranking, as `rank_examples` gives it, of each model in a file. Raises BadRollouts."""
    unit = "line" if Path(path).suffix == ".jsonl" else "row"
    return [(model, _ranked(_tidy(rows, str(path), unit, rollouts))) for model, rows in read_rollouts(path)]


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and row; a line that lists its rollouts gives the share that was right."""
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadRollouts(f"{path}, line {number}: this is not JSON ({error})") from None
        if not isinstance(row, dict):
            raise BadRollouts(f'{path}, line {number}: expected an object with "problem", "epoch" and "correct"')
        listed = row.get("correct")
        if isinstance(listed, list):
            if not listed or any(value not in (0, 1) for value in listed):
                raise BadRollouts(f"{path}, line {number}: correct is {listed}; expected rollouts, each 1 or 0")
            row |= {"correct": sum(listed) / len(listed), "rollouts": len(listed)}
        yield number, row


def _tidy(table: pd.DataFrame, place: str, unit: str, rollouts: int | None) -> pd.DataFrame:
    """Checked columns problem, epoch, accuracy, rollouts; a row per problem and epoch, sorted by epoch."""
    if table.empty:
        raise BadRollouts(f"{place} holds no rows; expected rollouts with problem, epoch and correct")
    names = {column: _column(table, column, place) for column in (("problem",), EPOCH, CORRECT)}
    problem = table[names["problem",]]
    _refuse(problem.isna(), problem, "a name in every row", place, unit)
    epoch = _numbers(table[names[EPOCH]])
    _refuse(~np.isfinite(epoch), table[names[EPOCH]], "a number", place, unit)
    accuracy = _numbers(table[names[CORRECT]])
    counts = table["rollouts"] if "rollouts" in table else pd.Series(rollouts or 1, table.index)
    n = _numbers(counts)
    _refuse(~(np.isfinite(n) & (n >= 1) & (n == np.round(n))), counts, "a whole number of at least 1", place, unit)
    hint = "1 or 0, or a share of right answers with a column rollouts (or rollouts=8, if each row is of 8)"
    _refuse(~((accuracy >= 0) & (accuracy <= 1)), table[names[CORRECT]], hint, place, unit)
    _refuse((n == 1) & ~accuracy.isin([0, 1]), table[names[CORRECT]], hint, place, unit)
    if "sample" in table:
        again = table.duplicated([names["problem",], names[EPOCH], "sample"])
        _refuse(again, table["sample"], "each sample of a problem and epoch once", place, unit)
    rows = pd.DataFrame({"problem": problem, "epoch": epoch, "right": accuracy * n, "rollouts": n})
    order = pd.factorize(problem)[0]
    pooled = rows.assign(order=order).groupby(["order", "epoch"], as_index=False)
    found = pooled.agg(problem=("problem", "first"), right=("right", "sum"), rollouts=("rollouts", "sum"))
    once = found.groupby("order")["epoch"].transform("size") < 2
    if once.any():
        example, most = found.loc[once, "problem"].iloc[0], f"{once.sum()} of {found['order'].nunique()} problems"
        raise BadRollouts(
            f"{place}: {most} were seen in one {names[EPOCH]} only ({example}, for one); a variance needs two or more, "
            "so leave them out or log more"
        )
    return found.assign(accuracy=found["right"] / found["rollouts"])


def _ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """The table of `rank_examples` from `_tidy` rows, which are sorted by problem, then epoch."""
    code, s, n = (rows[name].to_numpy() for name in ("order", "accuracy", "rollouts"))
    epochs = np.bincount(code)  # (problems,), as is every sum

    def mean(values: Array) -> Array:
        return np.bincount(code, values) / epochs

    centred = s - mean(s)[code]
    time = rows["epoch"].to_numpy(float)
    time = time - mean(time)[code]
    score = mean(centred**2).round(DIGITS)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = (1 - 1 / epochs) * mean(np.where(n > 1, s * (1 - s) / (n - 1), np.nan))
        trend = np.where(score > 0, mean(time * centred) ** 2 / (mean(time**2) * mean(centred**2)), np.nan)
    place = np.arange(len(code)) - (np.cumsum(epochs) - epochs)[code]  # (rows,) which of its problem's epochs
    some = np.maximum(1, (ENDS * epochs).astype(int))
    first, last = place < some[code], place >= (epochs - some)[code]
    table = pd.DataFrame(
        {
            "problem": rows.groupby("order")["problem"].first().to_numpy(),
            "rank": pd.Series(-score).rank(method="min").astype(int),
            "score": score,
            "noise": noise,
            "excess": score - noise,
            "trend": np.clip(trend, 0, 1),
            "mean": mean(s),
            "first": np.bincount(code, s * first) / some,
            "last": np.bincount(code, s * last) / some,
            "epochs": epochs,
            "rollouts": np.bincount(code, n).astype(int),
        }
    )
    table["ties"] = table.groupby("rank")["rank"].transform("size")
    return table.sort_values("rank", kind="stable", ignore_index=True)


def _column(table: pd.DataFrame, names: tuple[str, ...], place: str) -> str:
    """The first of `names` that the table has."""
    for name in names:
        if name in table:
            return name
    near = nearest(names[0], [str(column) for column in table])
    raise BadRollouts(f"{place} lacks the column {' (or '.join(names)}{')' * (len(names) - 1)}{near}")


def _numbers(values: pd.Series) -> pd.Series:
    """As floats; NaN where a value is no number. Written booleans are 1 and 0."""
    if not pd.api.types.is_numeric_dtype(values):
        values = values.astype(str).str.strip().str.lower().replace({"true": "1", "false": "0"})
    return pd.to_numeric(values, errors="coerce").astype(float)


def _refuse(bad: Any, values: pd.Series, expected: str, place: str, unit: str) -> None:
    """Raise for the first bad value, with its row or line."""
    if (at := np.flatnonzero(bad)).size:
        value = "empty" if pd.isna(values.iloc[at[0]]) else values.iloc[at[0]]
        found = f"{place}, {unit} {values.index[at[0]]}: {values.name} is {value}"
        more = f" ({at.size} such {unit}s)" if at.size > 1 else ""
        raise BadRollouts(f"{found}; expected {expected}{more}")
