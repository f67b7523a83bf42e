"""What figures of one or several panels share: titles of axes where they are needed, one legend below.

A drawing gets one `Axes`, or a list of them (see `evolm.plotting`); these take either.
"""

from __future__ import annotations

from typing import Any


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
