"""The map of exponent, distance and share of the data. Tables in, drawings out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap

from evolm.findings.harmonic_loss.algorithmic import LEARNT, WIDTH
from evolm.findings.harmonic_loss.experiment import Tables
from evolm.findings.harmonic_loss.figure_parts import in_columns
from evolm.fragments import Fragment
from evolm.panels import is_narrow, percent, sentence
from evolm.plotting import Figure, colour, figure

if TYPE_CHECKING:
    from evolm.findings.harmonic_loss.parameters import HarmonicLossParams

SWEPT = re.compile(r"harmonic, n = ([\d.e+-]+)(?:, (.+))?")


def mapped(tables: Tables) -> pd.DataFrame:
    """distance, exponent, share, accuracy (mean), learnt and runs (counts); empty where there is no map."""
    columns = ["distance", "exponent", "share"]
    rows = tables.get("models", pd.DataFrame(columns=["group", "arm"]))
    rows = rows[(rows["group"] == "map") & rows["arm"].str.fullmatch(SWEPT.pattern).astype(bool)]
    if rows.empty:
        return pd.DataFrame(columns=columns)
    parts = rows["arm"].str.extract(SWEPT)
    rows = rows.assign(
        exponent=parts[0].astype(float), distance=parts[1].fillna("euclidean"), know=rows["test_accuracy"] >= LEARNT
    )
    by = rows.groupby(columns)
    return by.agg(accuracy=("test_accuracy", "mean"), learnt=("know", "sum"), runs=("seed", "nunique")).reset_index()


def exponent_map(tables: Tables, params: HarmonicLossParams) -> Figure | Fragment:
    """Test accuracy and runs that learnt, over exponent and share of the pairs, a panel per distance."""
    cells = mapped(tables)
    if cells.empty:
        return sentence(
            "This record holds no map of exponent, distance and share of the pairs; a run with map_exponents, "
            "map_distances and map_shares has it."
        )
    names = [name for name in params.map_distances if name in set(cells["distance"])] or sorted(set(cells["distance"]))
    shares, exponents = sorted(set(cells["share"])), sorted(set(cells["exponent"]), reverse=True)

    def draw(panels: Any) -> None:
        panels = panels if isinstance(panels, list) else [panels]
        in_columns(panels, 3)
        for place, (axes, name) in enumerate(zip(panels, names, strict=True)):
            _cells(axes, cells[cells["distance"] == name], exponents, shares)
            axes.set_title(name)
            axes.set_ylabel("exponent n" if is_narrow(axes) or place % 3 == 0 else "")
            axes.set_xlabel("share of the pairs" if not is_narrow(axes) or axes is panels[-1] else "")

    said = "; ".join(_ends(cells[cells["distance"] == name], name) for name in names)
    height = 0.42 * len(exponents) + 1.1
    runs = int(cells["runs"].max())
    return figure(
        draw,
        name="harmonic-loss-map",
        panels=len(names),
        size=(7.8, height * -(-len(names) // 3)),
        narrow_height=height * len(names),
        alt=f"Maps of test accuracy over the exponent of harmonic loss and the share of the pairs, one per distance. {said}.",
        caption="Harmonic loss on addition mod 31, over its exponent n and the share of the pairs that is trained on, one map per "
        f"distance, all else as chosen for the Euclidean one. In each cell: test accuracy at the end in %, mean over {runs} "
        f"{'seed' if runs == 1 else 'seeds'}, and below it how many runs reached {percent(LEARNT)}. The paper recommends the root "
        f"of the width, {WIDTH**0.5:g} here. {said}.",
    )


def _cells(axes: Any, cells: pd.DataFrame, exponents: list[float], shares: list[float]) -> None:
    """Rows are exponents from the top, columns shares; a cell that was not run stays empty."""
    grid = cells.pivot(index="exponent", columns="share", values="accuracy").reindex(index=exponents, columns=shares)
    runs = cells.set_index(["exponent", "share"])
    counts = {place: f"{row.learnt}/{row.runs}" for place, row in zip(runs.index, runs.itertuples(), strict=True)}
    shades = LinearSegmentedColormap.from_list("accuracy", [colour("background"), colour("blue")])
    axes.pcolormesh(grid.to_numpy(float), cmap=shades, vmin=0, vmax=1, edgecolors=colour("grid"), lw=0.5)
    for (i, j), value in np.ndenumerate(grid.to_numpy(float)):
        if not np.isnan(value):
            ink = colour("background" if value > 0.6 else "ink")
            text = f"{100 * value:.0f}\n{counts[exponents[i], shares[j]]}"
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=8, color=ink, linespacing=0.95)
    axes.grid(False)
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(shares)) + 0.5, [f"{100 * share:g}%" for share in shares])
    axes.set_yticks(np.arange(len(exponents)) + 0.5, [f"{n:g}" for n in exponents])


def _ends(cells: pd.DataFrame, name: str) -> str:
    """The best exponent at the smallest share, in words."""
    some = cells[cells["share"] == cells["share"].min()]
    best = some.loc[some["accuracy"].idxmax()]
    return (
        f"{name}: at {percent(best['share'])} of the pairs n = {best['exponent']:g} is best with "
        f"{percent(best['accuracy'])} ({best['learnt']:.0f} of {best['runs']:.0f} runs learnt)"
    )
