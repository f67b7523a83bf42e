"""The cells of a table of steps: numbers, booleans, JSON lines, each refused by file and row.

numbers(table, "accuracy", "run.csv")      finite numbers
boolean("True")                            True; None for what is neither right nor wrong
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

TRUE, FALSE = {"true", "1", "1.0", "yes"}, {"false", "0", "0.0", "no"}


class BadSeries(ValueError):
    """A series of checkpoints or a table of one cannot be used; the message says where and why."""


def numbers(table: pd.DataFrame, column: str, place: str) -> pd.Series[float]:
    values = pd.to_numeric(table[column], errors="coerce").astype(float)
    if (bad := np.flatnonzero(~np.isfinite(values))).size:
        row, found = table.index[bad[0]] + 1, table[column].iloc[bad[0]]
        said = "empty or NaN" if pd.isna(found) else repr(found) if isinstance(found, str) else f"{found}"
        more = f" ({bad.size} such rows)" if bad.size > 1 else ""
        raise BadSeries(f"{place}, row {row}: {column} is {said}; expected a finite number: mend or drop it{more}")
    return values


def json_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines."""
    rows = []
    for number, row in json_lines(path):
        if not isinstance(row, dict):
            raise BadSeries(f'{path}, line {number}: expected an object such as {{"step": 0, "accuracy": 0.43}}')
        rows.append(row)
    return rows


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Number and value of every line that is not blank."""
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadSeries(f"{path}, line {number}: this is not JSON ({error})") from None


def boolean(value: object) -> bool | None:
    """A boolean however it is written; None where it is none."""
    if isinstance(value, str):
        text = value.strip().lower()
        return True if text in TRUE else False if text in FALSE else None
    if isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)) and value in (0, 1):
        return bool(value)
    return None
