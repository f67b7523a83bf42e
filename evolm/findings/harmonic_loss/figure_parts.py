"""Parts of several of the chapter's figures: rows of dots, panels in columns, numbers in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from evolm.panels import Look
from evolm.plotting import colour, plain_ticks


def dots(axes: Any, values: Iterable[float], row: float, shown: Look, *, open_: bool = False, **more: Any) -> None:
    """Seeds as small marks in a row and their mean as a large one, hollow where `open_`; without what is no number."""
    found = np.array([value for value in values if np.isfinite(value)])
    if not len(found):
        return
    shade = colour(shown.shade)
    if len(found) > 1:
        axes.plot(found, [row] * len(found), ls="none", marker=shown.marker, ms=3.2, color=shade, alpha=0.45, mew=0)
    style = {"marker": shown.marker, "ms": 7, "color": shade, "mfc": colour("background") if open_ else shade}
    axes.plot(found.mean(), row, ls="none", mew=1.5, zorder=4, **{**style, **more})


def name_rows(axes: Any, names: Sequence[str], *, shown: bool = True, room: float = 0.6) -> None:
    """Rows from the top, named where `shown`; no lines across."""
    axes.set_yticks(range(len(names)), names if shown else [""] * len(names))
    axes.set_ylim(len(names) - 1 + room, -room)
    axes.grid(False, axis="y")


def log_axis(axis: Any, low: float, high: float) -> None:
    """A logarithmic axis (`axes.xaxis`) of these limits, labelled with a few plain numbers."""
    {"x": axis.axes.set_xscale, "y": axis.axes.set_yscale}[axis.axis_name]("log")
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = (1, 2, 3, 5, 7) if high / low < 15 else (1, 2, 5) if high / low < 200 else (1,)
    ticks = [step * 10.0**power for power in powers for step in steps]
    plain_ticks(axis, [tick for tick in ticks if low <= tick <= high])
    axis.set_view_interval(low, high, ignore=True)


def seeds_as_dots(seeds: int) -> str:
    """The sentence of a caption on rows of dots."""
    return "One seed." if seeds == 1 else f"Small marks: {seeds} seeds; large: their mean."


def by_head(values: dict[str, str]) -> str:
    """harmonic 100 %, cross-entropy 78 %."""
    return ", ".join(f"{name} {value}" for name, value in values.items())
