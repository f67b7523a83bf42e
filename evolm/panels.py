"""What figures of one or several panels share: titles of axes where needed, one legend below, maps, captions' words.

A drawing gets one `Axes`, or a list of them (see `evolm.plotting`); these take either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

from evolm.fragments import Fragment
from evolm.theme import colour

DASHED, DOTTED, DASHDOT = (0, (5, 2.5)), (0, (1, 1.3)), (0, (6, 2, 1, 2))


class Look(NamedTuple):
    """How an arm is drawn: hue, marker, line style, its name in a legend and on an axis."""

    shade: str
    marker: str
    line: Any
    label: str
    short: str


def each(panels: Any) -> list[Any]:
    """The panels as a list: a figure of one panel gets it bare."""
    return panels if isinstance(panels, list) else [panels]


def is_narrow(axes: Any) -> bool:
    """Whether this is the drawing for a phone."""
    return bool(axes.figure.get_figwidth() < 5)


def below(panels: Any, columns: int = 2, narrow: int = 1) -> None:
    """One legend under all panels, every entry once, whichever panel it came from."""
    entries: dict[str, Any] = {}
    for axes in each(panels):
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    axes = each(panels)[0]
    ncols = narrow if is_narrow(axes) else columns
    axes.figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=ncols)


def outer_labels(panels: Any, xlabel: str, ylabel: str) -> None:
    """Axis titles where they are needed: y once per row, x once per column."""
    panels = each(panels)
    for axes in panels:
        alone = is_narrow(axes)
        if alone or axes is panels[0]:
            axes.set_ylabel(ylabel)
        if not alone or axes is panels[-1]:
            axes.set_xlabel(xlabel)


def in_columns(panels: list[Any], columns: int) -> None:
    """On a wide page rows of so many panels; on a phone they stay one above the other."""
    if len(panels) > columns and not is_narrow(panels[0]):
        grid = panels[0].figure.add_gridspec(-(-len(panels) // columns), columns)
        for place, axes in enumerate(panels):
            axes.set_subplotspec(grid[place // columns, place % columns])


def banded_line(
    axes: Any,
    by_seed: pd.DataFrame,
    shown: Look,
    *,
    alpha: float = 0.13,
    marks: int = 6,
    halves: bool = False,
    **more: Any,
) -> None:
    """Mean over columns (seeds) against the index, and as a band their range, or their middle half with `halves`.

    Nothing where there are no rows.
    """
    if by_seed.empty:
        return
    mean = by_seed.mean(axis=1)
    if by_seed.shape[1] > 1:
        low, high = by_seed.quantile([0.25, 0.75] if halves else [0.0, 1.0], axis=1).to_numpy()
        axes.fill_between(mean.index, low, high, color=colour(shown.shade), alpha=alpha, lw=0, zorder=2)
    style = {"color": colour(shown.shade), "ls": shown.line, "lw": 2.0, "label": shown.label, "zorder": 3}
    points = {"marker": shown.marker, "ms": 4.5, "markevery": max(1, len(mean) // marks)}
    axes.plot(mean.index, mean, **{**style, **points, **more})


def change_map(
    axes: Any, grid: pd.DataFrame, cell: Callable[[float], str], label: str, *, fonts: tuple[float, float]
) -> None:
    """A map of changes, losses and gains in two hues around 0, with `cell` of each value in its cell; NaN stays empty.

    `fonts` are the sizes of the cells' text in the narrow and the wide drawing; `label` is the colour bar's.
    """
    values, small = grid.to_numpy(float), is_narrow(axes)
    top = max(float(np.nanmax(np.abs(values))), 0.01)
    shades = LinearSegmentedColormap.from_list("change", [colour("vermillion"), colour("background"), colour("blue")])
    picture = axes.pcolormesh(values, cmap=shades, norm=TwoSlopeNorm(0, -top, top), edgecolors=colour("grid"), lw=0.5)
    for (i, j), value in np.ndenumerate(values):
        if not np.isnan(value):
            ink = colour("background" if abs(value) > 0.6 * top else "ink")
            text = cell(value)
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=fonts[not small], color=ink)
    axes.grid(False)
    bar = axes.figure.colorbar(picture, ax=axes, location="bottom" if small else "right", aspect=30)
    bar.set_label(label)
    bar.outline.set_visible(False)


def seeds_of(seeds: int) -> str:
    """The sentence of a caption on lines and bands."""
    return "One seed." if seeds == 1 else f"Means over {seeds} seeds; bands and whiskers: their range."


def listed(items: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def sentence(words: str) -> Fragment:
    """What stands in the place of a figure whose numbers a record lacks."""
    return Fragment(f"<p>{words}</p>", words)


def percent(value: float) -> str:
    """A share in words: 27 %."""
    return f"{100 * value:.0f} %"


def in_points(value: float, digits: int = 0) -> str:
    """A difference of shares in points: +27, or to a tenth of one, where effects are small: +0.8."""
    rounded = f"{100 * value:+.{digits}f}"
    return "0" if not float(rounded) else rounded.replace("-", "−")
