"""Which samples were correct: read from files and arrays, checked, and lined up problem by problem.

    read_outcomes("samples.parquet")        one Outcomes per model in the file
    from_matrix("base", correct)            correct: (problems, samples) booleans
    from_table(frame)                       columns model, problem, correct; sample and answer if you like

Files: .csv and .parquet tables as above; .npy matrices; .jsonl whose lines are rows of such a table, objects
{"problem": ..., "correct": [true, false, ...]}, or bare lists, one per problem. A file without a model's name
holds the model that the file is named for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evolm.lm.passk import Counts, check_counts

SUFFIXES = (".csv", ".parquet", ".jsonl", ".npy")
TRUE, FALSE = {"true", "1", "1.0", "yes"}, {"false", "0", "0.0", "no"}


class BadOutcomes(ValueError):
    """A table of correct and wrong samples cannot be used; the message says where and why."""


@dataclass(frozen=True)
class Outcomes:
    """`c` correct of `n` samples of each problem, (problems,) each, for one model; `answers` are the gold ones."""

    model: str
    problems: tuple[str, ...]
    n: Counts
    c: Counts
    answers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.problems:
            raise BadOutcomes(f"{self.model} has no problems; expected at least one row of samples")
        if len(set(self.problems)) < len(self.problems):
            twice = next(p for i, p in enumerate(self.problems) if p in self.problems[:i])
            raise BadOutcomes(f"problem {twice} stands twice in {self.model}; expected each problem once")
        check_counts(self.n, self.c)

    def reordered(self, problems: tuple[str, ...]) -> Outcomes:
        """The same counts with the problems in this order."""
        at = {problem: i for i, problem in enumerate(self.problems)}
        order = np.array([at[problem] for problem in problems])
        answers = None if self.answers is None else tuple(self.answers[i] for i in order)
        return Outcomes(self.model, problems, self.n[order], self.c[order], answers)


def aligned(outcomes: Sequence[Outcomes]) -> list[Outcomes]:
    """The models with their problems in the first one's order. Refuses other problems, and a name given twice."""
    if not outcomes:
        raise BadOutcomes("there are no models; give at least one table or checkpoint, the base first")
    base, names = outcomes[0], [o.model for o in outcomes]
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise BadOutcomes(f"two of the models are called {twice}; rename one, so that the table can tell them apart")
    for other in outcomes[1:]:
        only_base, only_other = (set(a.problems) - set(b.problems) for a, b in ((base, other), (other, base)))
        if only_base or only_other:
            example = sorted(only_base or only_other)[0]
            raise BadOutcomes(
                f"{base.model} and {other.model} did not answer the same problems: {len(only_base)} are only in the "
                f"first and {len(only_other)} only in the second ({example}, for one); keep the shared ones in both"
            )
    return [o.reordered(base.problems) for o in outcomes]


def from_matrix(model: str, correct: Any) -> Outcomes:
    """A (problems, samples) array of booleans, or of zeros and ones."""
    matrix = np.asarray(correct)
    if matrix.ndim != 2 or not matrix.size:
        raise BadOutcomes(f"{model} is an array of shape {matrix.shape}; expected (problems, samples), neither 0")
    wrong = np.argwhere((matrix != 0) & (matrix != 1)) if matrix.dtype.kind in "biuf" else np.zeros((1, 2), int)
    if len(wrong):
        row, column = wrong[0]
        found = f"sample {column + 1} of problem {row + 1} in {model} is {matrix[row, column]!s}"
        raise BadOutcomes(f"{found}; expected true or false, or 1 or 0, for every sample")
    c = (matrix == 1).sum(1).astype(np.int64)
    names = tuple(str(i) for i in range(len(matrix)))
    return Outcomes(model, names, np.full(len(matrix), matrix.shape[1], np.int64), c)


def from_table(table: pd.DataFrame, model: str = "base", place: str = "the table") -> list[Outcomes]:
    """Rows of one sample each, by model in order of appearance; without a column `model` all belong to `model`."""
    if missing := [column for column in ("problem", "correct") if column not in table]:
        raise BadOutcomes(f"{place} lacks the column {missing[0]}; expected problem and correct, and model if several")
    table = table.reset_index(drop=True)
    table = table if "model" in table else table.assign(model=model)
    for column in ("model", "problem"):
        if (empty := np.flatnonzero(table[column].isna())).size:
            raise BadOutcomes(f"{place}, row {empty[0] + 1}: {column} is empty; expected a name in every row")
    correct = np.array([_boolean(value) for value in table["correct"]], dtype=object)
    if (bad := np.flatnonzero([value is None for value in correct])).size:
        found = f"{place}, row {bad[0] + 1}: correct is {table['correct'].iloc[bad[0]]!s}"
        raise BadOutcomes(f"{found}; expected true or false, or 1 or 0 ({bad.size} such rows)")
    if "sample" in table and (twice := np.flatnonzero(table.duplicated(["model", "problem", "sample"]))).size:
        row = table.iloc[twice[0]]
        found = f"sample {row['sample']} of problem {row['problem']} in {row['model']}"
        raise BadOutcomes(f"{place}, row {twice[0] + 1}: {found} is there already; expected each sample once")
    table = table.assign(correct=correct.astype(np.int64), problem=table["problem"].map(_name))
    return [_counted(str(name), rows) for name, rows in table.groupby("model", sort=False)]


def read_outcomes(path: str | Path) -> list[Outcomes]:
    """The models in a .csv, .parquet, .npy or .jsonl file. Raises BadOutcomes."""
    path = Path(path)
    if path.suffix not in SUFFIXES or not path.is_file():
        raise BadOutcomes(f"there is no table {path}; expected a file that ends in {', '.join(SUFFIXES)}")
    if path.suffix == ".npy":
        try:
            return [from_matrix(path.stem, np.load(path, allow_pickle=False))]
        except (ValueError, EOFError, OSError) as error:
            if isinstance(error, BadOutcomes):
                raise
            raise BadOutcomes(f"{path} is not a plain .npy array ({error}); save booleans with numpy.save") from None
    if path.suffix == ".jsonl":
        rows = pd.DataFrame(list(_json_rows(path)))
        return from_table(rows, path.stem, str(path))
    try:
        table = pd.read_csv(path, dtype={"problem": str}) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise BadOutcomes(f"{path} cannot be read as a table: {error}") from None
    return from_table(table, path.stem, str(path))


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of one sample each; a line's number is its problem's name where it has none."""
    seen: dict[tuple[str, str], int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadOutcomes(f"{path}, line {number}: this is not JSON ({error})") from None
        row = {"correct": row} if isinstance(row, list) else row
        if not isinstance(row, dict) or "correct" not in row:
            raise BadOutcomes(f'{path}, line {number}: expected a list of booleans, or an object with "correct"')
        row.setdefault("problem", str(number - 1))
        if not isinstance(row["correct"], list):
            yield row
            continue
        key = (str(row.get("model", "")), str(row["problem"]))
        if seen.setdefault(key, number) != number:
            raise BadOutcomes(f"{path}, line {number}: problem {key[1]} is that of line {seen[key]} already")
        if not row["correct"]:
            raise BadOutcomes(f"{path}, line {number}: problem {key[1]} has no samples; expected at least one")
        for sample, correct in enumerate(row["correct"]):
            if _boolean(correct) is None:
                found = f"sample {sample + 1} is {correct!r}"
                raise BadOutcomes(f"{path}, line {number}: {found}; expected true or false, or 1 or 0")
            yield {**row, "correct": correct, "sample": sample}


def _counted(model: str, rows: pd.DataFrame) -> Outcomes:
    groups = rows.groupby("problem", sort=False)
    counts = groups["correct"].agg(["size", "sum"])
    answers = None
    if "answer" in rows and not rows["answer"].isna().any():
        if (groups["answer"].nunique() > 1).any():
            raise BadOutcomes(f"a problem of {model} has two different answers; expected one gold answer per problem")
        answers = tuple(groups["answer"].first().map(_name))
    problems = tuple(str(problem) for problem in counts.index)
    return Outcomes(model, problems, counts["size"].to_numpy(np.int64), counts["sum"].to_numpy(np.int64), answers)


def _boolean(value: Any) -> bool | None:
    """A boolean however it is written; None where it is none: empty, NaN, a score between 0 and 1."""
    if isinstance(value, str):
        text = value.strip().lower()
        return True if text in TRUE else False if text in FALSE else None
    if isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)) and value in (0, 1):
        return bool(value)
    return None


def _name(value: Any) -> str:
    """A problem's or answer's name: 3 and 3.0 are the same, as different writers of tables spell it."""
    return str(int(value)) if isinstance(value, (float, np.floating)) and float(value).is_integer() else str(value)
