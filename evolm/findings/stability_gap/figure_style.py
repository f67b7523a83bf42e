"""What the figures of the chapter share: one look per arm and kind of fact, lines over training, words of captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pandas as pd
from matplotlib.ticker import NullLocator

from evolm.panels import DASHDOT, DASHED, DOTTED, Look, banded_line, is_narrow, seeds_of


class Scale(Protocol):
    """What figures need to know of a run's parameters."""

    @property
    def steps(self) -> int: ...
    @property
    def residual(self) -> float: ...
    @property
    def replay(self) -> float: ...
    @property
    def mix(self) -> float: ...
    @property
    def epochs(self) -> int: ...


#: The same in every figure. Arms of different groups share hues and are never lines of one panel.
STYLE = {
    "baseline": Look("vermillion", "s", "-", "medical corpus as it is (baseline)", "baseline"),
    "null": Look("grey", "X", DASHDOT, "control: more general text (null shift)", "null shift"),
    "no general": Look("purple", "^", DOTTED, "control: no general text at all", "no general text"),
    "replay": Look("orange", "P", DASHED, "general text replayed", "replay"),
    "all": Look("blue", "o", "-", "all three strategies", "all three"),
    "all, 40 %": Look("green", "D", DASHED, "all three, 40 % of the tokens", "all three, 40 %"),
    "epochs": Look("sky", "v", "-", "several epochs", "epochs"),
    "quality": Look("green", "v", "-", "quality filter", "quality"),
    "mix": Look("purple", "v", "-", "mixture", "mix"),
    "epochs + quality": Look("sky", "P", DASHED, "several epochs, quality filter", "epochs + quality"),
    "epochs + mix": Look("sky", "X", DASHDOT, "several epochs, mixture", "epochs + mix"),
    "quality + mix": Look("green", "X", DASHDOT, "quality filter, mixture", "quality + mix"),
    "constant": Look("sky", "D", "-", "constant rate", "constant"),
    "constant, null": Look("sky", "D", DASHDOT, "null shift, constant rate", "constant, null"),
    "no warm-up": Look("blue", "D", "-", "no warm-up", "no warm-up"),
    "no warm-up, null": Look("blue", "D", DASHDOT, "null shift, no warm-up", "no warm-up, null"),
    "kept state": Look("green", "s", "-", "optimiser's state kept", "kept state"),
    "kept state, null": Look("green", "s", DASHDOT, "null shift, optimiser's state kept", "kept state, null"),
    "quality, diluted": Look("green", "o", DOTTED, "quality filter, equal exposures", "quality, diluted"),
    "baseline, 40 %": Look("sky", "v", DASHED, "baseline, 40 % of the tokens", "baseline, 40 %"),
    "baseline, cut": Look("vermillion", "v", DOTTED, "baseline, stopped at 40 %", "baseline, cut"),
}
#: Kinds of fact, by when they were taught: hue, marker, line, label, short.
FACTS = {
    "absent": Look("vermillion", "s", "-", "known, never read again", "known and never read again"),
    "repeated": Look("orange", "P", "-", "known, read again", "known and read again"),
    "new": Look("blue", "o", "-", "new", "new"),
    "general lost": Look("purple", "^", "-", "general, never read again", "general and never read again"),
    "general kept": Look("green", "D", "-", "general, read again", "general and read again"),
    "sums": Look("grey", "X", "-", "sums", "sums"),
}


def arm_lines(axes: Any, rows: pd.DataFrame, arms: Sequence[str], looks: Mapping[str, Look] = STYLE) -> None:
    """A line per arm of those that have rows; the first is on top, and first in the legend."""
    for place, arm in enumerate(arms):
        line(axes, rows[rows["arm"] == arm], looks[arm], zorder=3 + 0.9 * (1 - place / len(arms)))


def line(axes: Any, rows: pd.DataFrame, shown: Look, **more: Any) -> None:
    """Mean over seeds of `value` against `step`; the range over seeds as a band. Nothing where there are no rows."""
    banded_line(axes, rows.pivot_table(index="step", columns="seed", values="value"), shown, **{"lw": 1.9, **more})


def step_axis(axes: Any, steps: int, *, roomy: bool = False) -> None:
    """A logarithmic axis of updates that has a place for 0: linear from 0 to 1. `roomy` ones get ticks near the end."""
    axes.set_xscale("symlog", linthresh=1, linscale=0.35)
    ticks = [
        0,
        *(tick for tick in (1, 10, 100, 1000, 10_000, 100_000) if tick < (0.6 if roomy else 0.3) * steps),
        steps,
    ]
    axes.set_xticks(ticks, [f"{tick:,}".replace(",", " ") for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(-0.08, 1.12 * steps)


def one_above_two(panels: list[Any]) -> None:
    """On a wide page the first of three panels gets a row of its own, the other two share one below it."""
    if not is_narrow(panels[0]):
        grid = panels[0].figure.add_gridspec(2, 2, height_ratios=[1.45, 1])
        for axes, place in zip(panels, (grid[0, :], grid[1, 0], grid[1, 1]), strict=True):
            axes.set_subplotspec(place)


def seeds_in(rows: pd.DataFrame) -> str:
    """The sentence of a caption on lines and bands, by the seeds that there are."""
    return seeds_of(rows["seed"].nunique())


def marks_of(seeds: int) -> str:
    """What the marks of a row of effects are, by the number of seeds; without a full stop."""
    return (
        "One seed, so no intervals" if seeds == 1 else f"Small: {seeds} seeds; large and line: mean and 95 % interval"
    )


def setting(share: float) -> str:
    """A share that was set, with the digits that it needs: 0 %, 0.5 %, 20 %."""
    return f"{100 * share:g} %"


def size_in_points(value: float) -> str:
    """A fall or a rise whose direction the sentence says: 27 points; 1 point."""
    number = whole_points(value)
    return f"{number} point{'' if number in ('1', '−1') else 's'}"


def whole_points(value: float) -> str:
    """The same without its unit: 27."""
    rounded = f"{100 * value:.0f}"
    return "0" if rounded == "-0" else rounded.replace("-", "−")


def signed(value: float) -> str:
    """A cosine with its sign: +0.12, 0, −0.30."""
    rounded = f"{value:+.2f}"
    return "0" if rounded in ("+0.00", "-0.00") else rounded.replace("-", "−")
