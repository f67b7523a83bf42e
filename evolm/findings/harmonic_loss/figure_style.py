"""What the figures of the chapter share: one look per head, their order, lines over training, words of captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.ticker import NullLocator

from evolm.findings.harmonic_loss.readings_words import AUTHORS
from evolm.panels import DASHDOT, DASHED, DOTTED, Look, banded_line, listed, seeds_of

#: The same in every figure: hue, marker, line, label, short.
STYLE = {
    "cross-entropy": Look("blue", "o", "-", "cross-entropy", "cross-entropy"),
    "normalised": Look("green", "^", DASHED, "normalised (cosine) cross-entropy", "normalised"),
    "squared distance": Look("orange", "v", DOTTED, "squared distance, softmax", "squared distance"),
    "distance": Look("purple", "D", DASHDOT, "distance, softmax", "distance"),
    "harmonic": Look("vermillion", "s", "-", "harmonic", "harmonic"),
}
#: What follows the head's name in that of an arm, besides `AUTHORS`.
UNDECAYED = ", no decay"


def base(arm: str) -> str:
    """The head that an arm trains: its name without what its group adds."""
    return arm.removesuffix(AUTHORS).removesuffix(UNDECAYED)


def rows_of(tables: dict[str, pd.DataFrame], table: str, **where: object) -> pd.DataFrame:
    """Rows of a table whose columns hold these values, with their `head`; of other arms than the five heads none.

    Without the table an empty one with the columns asked for, arm and seed.
    """
    if table not in tables or tables[table].empty:
        return pd.DataFrame(columns=[*where, "arm", "seed", "head"])
    rows = tables[table]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    rows = rows.assign(head=rows["arm"].map(base))
    return rows[rows["head"].isin(STYLE)]


def heads_in(rows: pd.DataFrame) -> list[str]:
    """The heads that have rows, in the order of `STYLE`."""
    return [head for head in STYLE if head in set(rows["head"])]


def line(axes: Any, rows: pd.DataFrame, column: str, shown: Look, *, over: str = "epoch", **more: Any) -> None:
    """Mean over seeds of a column against another, their middle half as a band. Nothing where there are no rows."""
    banded_line(axes, rows.pivot_table(index=over, columns="seed", values=column), shown, halves=True, **more)


def seeds_in(*parts: pd.DataFrame) -> str:
    """The sentence of a caption on lines and bands, by the seeds that each part has."""
    counts = list(dict.fromkeys(int(rows["seed"].nunique()) for rows in parts))
    if counts == [1]:
        return seeds_of(1)
    panels = ", panel by panel" if len(counts) > 1 else ""
    return f"Means over {listed([str(count) for count in counts])} seeds{panels}; bands: their middle half."


def in_words(values: Sequence[float], digits: int = 2) -> str:
    """Mean and, of several, range: 0.12 (0.10 to 0.15)."""
    mean = sum(values) / len(values)
    within = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{within}".replace("-", "−")


def epoch_axis(axes: Any, last: int) -> None:
    """A logarithmic axis of epochs from 1 to the last, in plain numbers; the last one replaces a tick too near it."""
    axes.set_xscale("log")
    ticks = [*(10**k for k in range(7) if 10**k < 0.4 * last), last]
    axes.set_xticks(ticks, [f"{tick:,}".replace(",", " ") for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(1, 1.08 * last)
