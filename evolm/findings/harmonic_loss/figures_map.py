"""Maps over exponent, distance and share of the data: accuracy, epochs, variance in a plane. Tables in, drawings out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from evolm.findings.harmonic_loss.algorithmic import LEARNT, WIDTH
from evolm.findings.harmonic_loss.arms import BESIDE
from evolm.findings.harmonic_loss.experiment import Tables
from evolm.findings.harmonic_loss.figure_style import STYLE
from evolm.findings.harmonic_loss.map_cells import beside, mapped
from evolm.fragments import Fragment
from evolm.panels import each, in_columns, is_narrow, listed, percent, sentence
from evolm.plotting import Figure, colour, figure

if TYPE_CHECKING:
    from evolm.findings.harmonic_loss.parameters import HarmonicLossParams

#: Column of `cells` -> title of its panels, hue.
COSTS = {"epoch": "epochs", "ev2": "EV"}


class Layout(NamedTuple):
    """Rows and columns of every panel, and the distances that have one."""

    names: Sequence[str]
    exponents: list[float]
    others: list[str]
    shares: list[float]

    @property
    def height(self) -> float:
        """Of a panel, in inches."""
        return 0.42 * (len(self.exponents) + len(self.others)) + 1.1


def layout(found: pd.DataFrame, others: pd.DataFrame, params: HarmonicLossParams) -> Layout:
    there = set(found["distance"])
    names = [name for name in params.map_distances if name in there] or sorted(there)
    exponents = sorted(set(found["exponent"]), reverse=True)
    return Layout(
        names, exponents, [head for head in BESIDE if head in set(others["arm"])], sorted(set(found["share"]))
    )


def exponent_map(tables: Tables, params: HarmonicLossParams) -> Figure | Fragment:
    """Test accuracy and runs that learnt, over exponent and share of the pairs, a panel per distance."""
    found, others = mapped(tables), beside(tables)
    if found.empty:
        return sentence(
            "This record holds no map of exponent, distance and share of the pairs; a run with map_exponents, "
            "map_distances and map_shares has it."
        )
    plan = layout(found, others, params)

    def draw(panels: Any) -> None:
        in_columns(each(panels), 3)
        for place, (axes, name) in enumerate(zip(each(panels), plan.names, strict=True)):
            accuracy = _grid(found[found["distance"] == name], others, "accuracy", plan)
            learnt, runs = (
                _grid(found[found["distance"] == name], others, column, plan) for column in ("learnt", "runs")
            )
            words = np.char.add(np.char.mod("%.0f\n", 100 * accuracy), _fractions(learnt, runs))
            _draw(axes, accuracy, words, "blue", 1.0)
            _name(axes, plan, name, first=place % 3 == 0, last=axes is each(panels)[-1])

    said = "; ".join(_ends(found[found["distance"] == name], name) for name in plan.names)
    runs = int(found["runs"].max())
    return figure(
        draw,
        name="harmonic-loss-map",
        panels=len(plan.names),
        size=(7.8, plan.height * -(-len(plan.names) // 3)),
        narrow_height=plan.height * len(plan.names),
        alt=f"Maps of test accuracy over the exponent of harmonic loss and the share of the pairs, one per distance. {said}.",
        caption="Harmonic loss on addition mod 31, over its exponent n and the share of the pairs that is trained on, one map per "
        f"distance, all else as chosen for the Euclidean one. In each cell: test accuracy at the end in %, mean over {runs} "
        f"{'seed' if runs == 1 else 'seeds'}, and below it how many runs end with {percent(LEARNT)}. The paper recommends the root "
        f"of the width, {WIDTH**0.5:g} here. {_below(plan)}{said}.",
    )


def exponent_costs(tables: Tables, params: HarmonicLossParams) -> Figure | Fragment:
    """Epochs until test pairs are known, and variance in a plane where they are, over exponent and share, per distance."""
    found, others = mapped(tables), beside(tables)
    if found.empty:
        return sentence(
            "This record holds no map, so epochs and planes are not drawn over exponent and share of the pairs."
        )
    plan = layout(found, others, params)
    top = max([1.0, *(time for time in found["epoch"] if np.isfinite(time))])

    def draw(panels: Any) -> None:
        in_columns(panels, len(plan.names))
        for place, axes in enumerate(panels):
            (column, title), name = list(COSTS.items())[place // len(plan.names)], plan.names[place % len(plan.names)]
            values = _grid(found[found["distance"] == name], others, column, plan)
            if column == "epoch":
                # More than half of the runs never get there: no shade, a dash.
                words = np.where(np.isinf(values), "–", np.char.mod("%.0f", values))
                _draw(
                    axes,
                    np.where(np.isinf(values), 0.0, np.log(values) / np.log(top) if top > 1 else 0.0),
                    words,
                    "vermillion",
                    1.0,
                )
            else:
                _draw(axes, values, np.char.mod("%.0f", 100 * values), "blue", 1.0)
            _name(
                axes,
                plan,
                f"{title}, {name}",
                first=place % len(plan.names) == 0,
                last=place >= len(panels) - len(plan.names),
            )

    said = "; ".join(_costs(found[found["distance"] == name], name) for name in plan.names)
    runs = int(found["runs"].max())
    return figure(
        draw,
        name="harmonic-loss-map-costs",
        panels=2 * len(plan.names),
        size=(max(7.8, 2.6 * len(plan.names)), 2 * plan.height),
        narrow_height=2 * plan.height * len(plan.names),
        alt="Maps over the exponent of harmonic loss and the share of the pairs: epochs until the test pairs are known, and the "
        f"variance in two dimensions. {said}.",
        caption=f"The same runs. Above: the first epoch by which half of {runs} {'seed has' if runs == 1 else 'seeds have'} "
        f"{percent(LEARNT)} of the test pairs right (dash: more than half never do; shades are logarithmic). Below: share of the "
        "tokens' variance in two dimensions in %, of the runs that end with the task learnt (empty: none), since a plane "
        f"that computes nothing is no evidence. {_below(plan)}{said}.",
    )


def _grid(found: pd.DataFrame, others: pd.DataFrame, column: str, plan: Layout) -> NDArray[np.float64]:
    """A column of cells as (row, share): exponents from the top, then the other heads; NaN where nothing was run."""
    main = found.pivot(index="exponent", columns="share", values=column).reindex(
        index=plan.exponents, columns=plan.shares
    )
    if not plan.others:
        return main.to_numpy(float)
    rest = others.pivot(index="arm", columns="share", values=column).reindex(index=plan.others, columns=plan.shares)
    return np.concatenate([main.to_numpy(float), rest.to_numpy(float)])


def _fractions(learnt: NDArray[np.float64], runs: NDArray[np.float64]) -> NDArray[np.str_]:
    return np.char.add(np.char.mod("%.0f/", learnt), np.char.mod("%.0f", runs))


def _draw(axes: Any, values: NDArray[np.float64], words: NDArray[np.str_], hue: str, top: float) -> None:
    """Cells shaded from the page's colour (0) to a hue (`top`), each with its words; one that is NaN stays empty."""
    shades = LinearSegmentedColormap.from_list("cells", [colour("background"), colour(hue)])
    axes.pcolormesh(values, cmap=shades, vmin=0, vmax=top, edgecolors=colour("grid"), lw=0.5)
    for (i, j), value in np.ndenumerate(values):
        if not np.isnan(value):
            ink = colour("background" if value > 0.6 * top else "ink")
            axes.text(j + 0.5, i + 0.5, words[i, j], ha="center", va="center", fontsize=8, color=ink, linespacing=0.95)
    axes.grid(False)
    axes.invert_yaxis()


def _name(axes: Any, plan: Layout, title: str, *, first: bool, last: bool) -> None:
    """Title, ticks and names of axes, those where they are needed; a line above the other heads."""
    axes.set_title(title, fontsize=10.5)
    axes.set_ylabel("exponent n" if is_narrow(axes) or first else "")
    axes.set_xlabel("share of the pairs" if not is_narrow(axes) or last else "")
    axes.set_xticks(np.arange(len(plan.shares)) + 0.5, [f"{100 * share:g}%" for share in plan.shares])
    rows = [*(f"{n:g}" for n in plan.exponents), *(STYLE[head].short for head in plan.others)]
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows if is_narrow(axes) or first else [""] * len(rows))
    if plan.others:
        axes.axhline(len(plan.exponents), color=colour("ink"), lw=1.2)


def _below(plan: Layout) -> str:
    """What stands below the line, in a sentence; empty where nothing does."""
    heads = listed([STYLE[head].short for head in plan.others])
    return f"Below the line: {heads} as chosen, at the shares that were run, the same in every panel. " if heads else ""


def _ends(found: pd.DataFrame, name: str) -> str:
    """The best exponent at the smallest share, in words."""
    some = found[found["share"] == found["share"].min()]
    best = some.loc[some["accuracy"].idxmax()]
    return (
        f"{name}: at {percent(best['share'])} of the pairs n = {best['exponent']:g} is best with "
        f"{percent(best['accuracy'])} ({best['learnt']:.0f} of {best['runs']:.0f} runs learnt)"
    )


def _costs(found: pd.DataFrame, name: str) -> str:
    """The fastest exponent at the largest share, and the one with most variance in a plane there, in words."""
    some = found[found["share"] == found["share"].max()]
    where = f"{name}: at {percent(some['share'].iloc[0])} of the pairs"
    if not np.isfinite(some["epoch"].min()):
        return f"{where} no exponent brings half of the runs there"
    fast = some.loc[some["epoch"].idxmin()]
    text = f"{where} n = {fast['exponent']:g} is fastest with {fast['epoch']:.0f} epochs"
    if some["ev2"].isna().all():
        return text
    flat = some.loc[some["ev2"].idxmax()]
    return f"{text}, and n = {flat['exponent']:g} flattest with {percent(flat['ev2'])}"
