"""What an instrument measured, for a terminal: one sentence per model and its main columns.

    print(measurements.summary(table))
    measurements.warnings(table)         what looks wrong with what was measured

An instrument may say which columns are its main ones, as `SUMMARY = {column: heading}`; else those of `MAIN`
that its table has. A table of few columns is printed whole. A column `sentence` says what each part found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from evolm import terminal

if TYPE_CHECKING:
    import pandas as pd

FEW_COLUMNS = 10
MAIN = {
    "variant": "variant",
    "m_cos2": "m·cos²",
    "m_cos2_random": "random",
    "m_cos2_spectrum": "same spectrum",
    "m_cos2_welch": "Welch",
}
OVERLAP = {"model", "n", "m", "level", "low", "high", *MAIN}


def summary(table: pd.DataFrame, columns: Mapping[str, str] | None = None) -> str:
    """`table` in a few lines per model; `columns` are the main ones, with their headings."""
    chosen = dict(columns or {column: heading for column, heading in MAIN.items() if column in table})
    if not chosen or len(table.columns) <= FEW_COLUMNS:
        return str(table.to_string(index=False))
    parts = []
    keys = [column for column in ("model", "metric") if column in table]
    for _, rows in table.groupby(keys, sort=False) if keys else [((), table)]:
        name = str(rows["model"].iloc[0]) if "model" in rows else ""
        sentence = _overlap(name, rows) if set(table) >= OVERLAP else name
        if "sentence" in rows:
            sentence = f"{name}: {rows['sentence'].iloc[0]}"
        parts.append(f"{terminal.paragraph(sentence)}\n\n{_main(rows, chosen)}")
    parts.append("--wide prints every column; -o FILE writes them.")
    return "\n\n".join(parts)


def warnings(table: pd.DataFrame) -> list[str]:
    """One sentence per model whose matrix has fewer rows than columns."""
    if not {"model", "n", "m"} <= set(table):
        return []
    found = table.loc[table["n"] < table["m"], ["model", "n", "m"]].drop_duplicates()
    return [
        f"{row.model} has {row.n} rows and {row.m} columns; expected one row per token, so it is probably transposed"
        for row in found.itertuples()
    ]


def _main(rows: pd.DataFrame, chosen: Mapping[str, str]) -> str:
    """The chosen columns; an interval follows the first number where there is one."""
    bounded = {"low", "high"} <= set(rows) and not {"low", "high"} & set(chosen)
    first = next((column for column in chosen if rows[column].dtype.kind == "f"), None)
    heads: list[str] = []
    cells: list[list[str]] = [[] for _ in range(len(rows))]
    for column, heading in chosen.items():
        heads.append(heading)
        for line, value in zip(cells, rows[column], strict=True):
            line.append(_number(value) if isinstance(value, float) else str(value))
        if bounded and column == first:
            heads.append("interval")
            for line, low, high in zip(cells, rows["low"], rows["high"], strict=True):
                line.append("" if low != low and high != high else f"[{_number(low)}, {_number(high)}]")
    return terminal.table(heads, cells, terminal.width())


def _overlap(name: str, rows: pd.DataFrame) -> str:
    raw = rows.iloc[0]
    bounds = f"[{_number(raw['low'])}, {_number(raw['high'])}] at {100 * raw['level']:.3g} %"
    return (
        f"{name}: {raw['n']:,} rows of width {raw['m']:,}. The mean squared cosine of two {raw['variant']} rows, times "
        f"the width, is {_number(raw['m_cos2'])} {bounds}; random rows have {_number(raw['m_cos2_random'])}, Gaussian "
        f"rows with the same spectrum {_number(raw['m_cos2_spectrum'])}, and no rows less than "
        f"{_number(raw['m_cos2_welch'])} (Welch)."
    )


def _number(value: float) -> str:
    """Four digits, trailing zeros too: what is compared here often differs in the third."""
    return f"{value:#.4g}".rstrip(".").replace("-", "−")
