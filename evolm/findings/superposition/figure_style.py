"""What the figures of the chapter share: one look per arm, bands over seeds, a legend below the panels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from evolm.plotting import colour

#: arm -> colour, marker, label; the same in every figure.
STYLE = {
    "strong": ("blue", "o", "strong (authors' random bias)"),
    "zero-bias": ("green", "s", "strong, bias from zero"),
    "weak": ("vermillion", "^", "weak"),
    "frozen": ("grey", "X", "control: frozen random directions"),
}


def spread(axes: Any, rows: pd.DataFrame, x: str, y: str, arm: str, label: str | None = None) -> None:
    """Mean over seeds as a line, the seeds' whole range as a band."""
    shade, marker, name = STYLE[arm]
    if rows.empty:  # an arm that these parameters do not have
        return
    by = rows.groupby(x)[y]
    axes.fill_between(by.min().index, by.min(), by.max(), color=colour(shade), alpha=0.2, lw=0)
    axes.plot(by.mean().index, by.mean(), color=colour(shade), marker=marker, label=label or name)


def below(axes: Any, columns: int = 2) -> None:
    """One legend under all panels of the figure that `axes` belongs to."""
    handles, labels = axes.get_legend_handles_labels()
    figure_ = axes.figure
    narrow = figure_.get_figwidth() < 5
    figure_.legend(handles, labels, loc="outside lower center", ncols=1 if narrow else columns)


def thin(widths: Iterable[float]) -> list[float]:
    """Every other tick where all would run into each other."""
    ticks = list(widths)
    return ticks if len(ticks) <= 3 else ticks[::2]


def cycle(values: Iterable[str]) -> list[str]:
    return list(values) * 16
