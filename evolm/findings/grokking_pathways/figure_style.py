"""What the figures share: looks of arms and groups, axes of steps, rows with intervals, words of captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from evolm.findings.grokking_pathways import curves
from evolm.findings.grokking_pathways.curves import Reading, Tables
from evolm.findings.grokking_pathways.tables import RANDOM
from evolm.intervals import seed_interval
from evolm.panels import DASHDOT, DASHED, DOTTED, Look, banded_line
from evolm.plotting import colour
from evolm.wording import number

#: The same in every figure: hue, marker, line, label, short.
ARMS = {
    "trained": Look("blue", "o", "-", "trained", "trained"),
    "scrambled": Look("grey", "s", DASHED, "scrambled twin (labels at random)", "scrambled twin"),
    "frozen router": Look("orange", "^", DASHDOT, "router frozen at random", "frozen router"),
    "no decay": Look("green", "v", "-", "no weight decay", "no weight decay"),
    "dense": Look("purple", "P", "-", "dense (one expert)", "dense"),
    "aux 0": Look("sky", "<", "-", "no load balancing", "no balancing"),
    "aux 0, scrambled": Look("grey", "<", DASHED, "no load balancing, twin", "no balancing, twin"),
    "aux 0.1": Look("sky", ">", "-", "ten times the balancing", "10 × balancing"),
    "aux 0.1, scrambled": Look("grey", ">", DASHED, "ten times the balancing, twin", "10 × balancing, twin"),
    "penalised": Look("vermillion", "D", "-", "dispersion penalised", "dispersion penalised"),
    "norm penalised": Look("vermillion", "X", DOTTED, "router norms penalised", "norms penalised"),
}
#: The random group of the trained run, which shares its routers.
SAME_RUN = Look("vermillion", "D", DOTTED, "random group of the same run", "random group")
#: Hues and markers of the learnable groups, from the easiest on.
GROUP_LOOKS = (("green", "^"), ("blue", "o"), ("purple", "s"), ("orange", "v"), ("sky", "P"), ("grey", "X"))
#: Seeds from which an interval can be drawn without covering everything.
FEW = 3
#: Labels on an axis of steps.
MOST_TICKS = 6


class Scale(Protocol):
    """What these figures need to know of a run's parameters."""

    @property
    def symbols(self) -> int: ...

    @property
    def classes(self) -> tuple[int, ...]: ...


def groups_of(names: Iterable[object], params: Scale) -> list[str]:
    """The groups of the tables that there are: from few to many hidden classes, then the random one."""
    there = {str(name) for name in names}
    return [name for name in (*(f"k{k}" for k in sorted(params.classes)), RANDOM) if name in there]


def group_name(group: str) -> str:
    """k4 -> 4 classes; other worlds' groups keep their names."""
    return "random labels" if group == RANDOM else f"{group[1:]} classes" if group[1:].isdigit() else group


def group_look(group: str, params: Scale) -> Look:
    """How a group of the tables is drawn."""
    if group == RANDOM:
        return Look("vermillion", "D", DOTTED, group_name(group), group_name(group))
    place = sorted(params.classes).index(int(group[1:]))
    hue, marker = GROUP_LOOKS[place % len(GROUP_LOOKS)]
    return Look(hue, marker, "-", group_name(group), group_name(group))


def rows_of(tables: Tables, table: str, **where: object) -> pd.DataFrame:
    """Rows of a table whose columns hold these values; an empty one with these columns where there is no such table."""
    rows = tables.get(table, pd.DataFrame(columns=[*{**where, "arm": "", "seed": "", "group": "", "step": ""}]))
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def per_seed(rows: pd.DataFrame, column: str = "value") -> pd.DataFrame:
    """Steps down, seeds across: mean over the groups in `rows`; without step 0, which has no place on a log axis."""
    seen = rows[rows["step"] > 0]
    return seen.groupby(["step", "seed"])[column].mean().unstack("seed") if len(seen) else pd.DataFrame()


def line(axes: Any, found: pd.DataFrame, shown: Look, **more: Any) -> None:
    """Mean over seeds of (step, seed) and their range as a band. Nothing where there are no rows."""
    banded_line(axes, found, shown, alpha=0.15, **more)


def step_axis(axis: Any, low: float, high: float) -> None:
    """A logarithmic axis (`axes.xaxis`) of steps, labelled with a few plain numbers."""
    axes = axis.axes
    (axes.set_xscale if axis.axis_name == "x" else axes.set_yscale)("log", base=2)
    for marks in ((1, 2, 5), (1, 3), (1,)):
        ticks = [n * 10**k for k in range(8) for n in marks if low <= n * 10**k <= high]
        if len(ticks) <= MOST_TICKS:
            break
    axis.set_ticks(ticks, labels=[f"{tick:,}".replace(",", " ") for tick in ticks])
    axis.set_minor_locator(NullLocator())
    axis.set_view_interval(low, high, ignore=True)


def lag_start(tables: Tables, world: str, arms: Sequence[str], groups: Sequence[str]) -> float | None:
    """The step where a lag begins, geometric mean over seeds and groups; None if nothing is memorised."""
    starts = list(curves.lags(tables, world, arms, groups).values())
    return float(np.exp(np.mean(np.log(starts)))) if starts else None


def interval(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % interval over seeds; NaN ends with fewer than `FEW` seeds."""
    found = np.asarray(values, float)
    if len(found) < FEW:
        return float(found.mean()), float("nan"), float("nan")
    low, high = seed_interval(found)
    return float(found.mean()), float(low), float(high)


def row(axes: Any, values: Iterable[float], place: float, shown: Look, *, hollow: bool = False, **more: Any) -> None:
    """Seeds as small marks, their mean as a large one and its 95 % interval as a whisker; nothing without a number."""
    found = np.array([value for value in values if np.isfinite(value)])
    if not len(found):
        return
    shade = colour(shown.shade)
    mean, low, high = interval(found)
    if len(found) > 1:
        axes.plot(found, [place] * len(found), ls="none", marker=shown.marker, ms=3, color=shade, alpha=0.4, mew=0)
    if np.isfinite(low):
        axes.plot([low, high], [place, place], color=shade, lw=1.6, zorder=3, solid_capstyle="butt")
    style = {"marker": shown.marker, "ms": 7, "color": shade, "mfc": colour("background") if hollow else shade}
    axes.plot(mean, place, ls="none", mew=1.5, zorder=4, **{**style, **more})


def name_rows(axes: Any, names: Sequence[str], *, shown: bool = True) -> None:
    """Rows from the top, named where `shown`; no lines across."""
    axes.set_yticks(range(len(names)), names if shown else [""] * len(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")


def signed(value: float, digits: int = 2) -> str:
    """+0.05, −0.01, 0.00 without a sign; a dash for what is not defined."""
    return number(value, digits, sign=True) if np.isfinite(value) else "–"


def plain(value: float, digits: int = 2) -> str:
    """The same without a plus."""
    return signed(value, digits).removeprefix("+")


def in_words(values: Iterable[float], digits: int = 2) -> str:
    """Mean, and from three seeds on its 95 % interval: +0.06 (+0.04 to +0.08)."""
    found = [value for value in values if np.isfinite(value)]
    if not found:
        return "–"
    mean, low, high = interval(found)
    within = f" ({signed(low, digits)} to {signed(high, digits)})" if np.isfinite(low) else ""
    return signed(mean, digits) + within


def seeds_as_rows(seeds: int) -> str:
    """The sentence of a caption on rows of marks."""
    if seeds == 1:
        return "One seed, so without intervals."
    whisker = "; whiskers: its 95 % interval" if seeds >= FEW else ""
    return f"Small marks: {seeds} seeds; large: their mean{whisker}."


def reading_of(tables: Tables, world: str, arm: str, reading: Reading | str, groups: Sequence[str]) -> pd.DataFrame:
    """Steps down, seeds across: a reading of one arm, mean over some groups."""
    rows = curves.series(tables, world, arm, reading)
    return per_seed(rows[rows["group"].isin(groups)])
