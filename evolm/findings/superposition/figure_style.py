"""What the figures of the chapter share: one look per arm, bands over seeds, a legend below the panels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from evolm.panels import below
from evolm.plotting import Figure, colour, figure, plain_ticks

#: arm -> colour, marker, label; the same in every figure.
STYLE = {
    "strong": ("blue", "o", "strong (authors' random bias)"),
    "zero-bias": ("green", "s", "strong, bias from zero"),
    "weak": ("vermillion", "^", "weak"),
    "neutral": ("purple", "D", "control: no decay"),
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


def by_law(
    one: Callable[[Any, pd.DataFrame, float], None],
    rows: pd.DataFrame,
    *,
    name: str,
    ylabel: str,
    alt: str,
    caption: str,
    height: float = 3.9,
) -> Figure:
    """A panel per frequency law (the ends and the middle where there are more than three), width on a log axis."""
    laws = sorted(rows["alpha"].unique())
    laws = laws if len(laws) <= 3 else [laws[0], laws[len(laws) // 2], laws[-1]]
    widths = sorted(rows["width"].unique())

    def draw(panels: Any) -> None:
        panels = panels if isinstance(panels, list) else [panels]
        for axes, alpha in zip(panels, laws, strict=True):
            one(axes, rows[rows["alpha"] == alpha], alpha)
            axes.set(xscale="log", xlabel="width m (dimensions)")
            plain_ticks(axes.xaxis, thin(widths))
        panels[0].set_ylabel(ylabel)
        below(panels[0])

    tall = 3.0 * len(laws) + 1.6
    panels = len(laws)
    return figure(draw, name=name, alt=alt, caption=caption, panels=panels, size=(7.6, height), narrow_height=tall)


def thin(widths: Iterable[float]) -> list[float]:
    """Every other tick where all would run into each other."""
    ticks = list(widths)
    return ticks if len(ticks) <= 3 else ticks[::2]


def cycle(values: Iterable[str]) -> list[str]:
    return list(values) * 16
