"""The figure of exponents on addition: epochs, delay and variance in a plane. Tables in, drawings out."""

from __future__ import annotations

from typing import Any

import pandas as pd

from evolm.findings.harmonic_loss.algorithmic import LEARNT
from evolm.findings.harmonic_loss.arms import CHOSEN, PLAIN, RECOMMENDED, swept
from evolm.findings.harmonic_loss.estimands import Tables
from evolm.findings.harmonic_loss.figure_style import STYLE, heads_in, rows_of
from evolm.findings.harmonic_loss.figures_curves import Scale
from evolm.fragments import Fragment
from evolm.panels import DASHED, DOTTED, below, is_narrow, listed, percent, sentence
from evolm.plotting import Figure, colour, figure, plain_ticks

#: Column of `models` -> title of its panel over exponents.
OVER_EXPONENTS = {
    "generalised_epoch": f"epochs to {percent(LEARNT)} of test",
    "delay": "delay, doublings",
    "ev2": "EV where learnt",
}


def exponents(tables: Tables, params: Scale) -> Figure | Fragment:
    """Time, delay and explained variance against the exponent of harmonic loss, beside cross-entropy and distance."""
    rows = _by_exponent(tables)
    if rows.empty:
        return sentence("This record holds no arms with other exponents of harmonic loss.")
    levels = rows_of(tables, "models", group="addition")
    levels = levels[levels["head"].isin(["cross-entropy", "distance"])]
    own = PLAIN["harmonic"].knob

    def draw(panels: Any) -> None:
        for axes, (column, title) in zip(panels, OVER_EXPONENTS.items(), strict=True):
            for at, name, dash in ((own, "authors' code", DOTTED), (RECOMMENDED, "root of the width", DASHED)):
                axes.axvline(at, color=colour("muted"), lw=1.1, ls=dash, label=f"n = {at:g}, {name}", zorder=1)
            for head in heads_in(levels):
                part = _fair(levels[levels["head"] == head], column)
                look = STYLE[head]
                if len(part):
                    label = f"{look.short}, as chosen"
                    axes.axhline(
                        part[column].agg(_middle(column)), color=colour(look.shade), ls=look.line, lw=1.6, label=label
                    )
            _points(axes, _fair(rows, column), column)
            axes.set_xscale("log", base=2)
            plain_ticks(axes.xaxis, sorted(rows["n"].unique()))
            axes.set_ylim(bottom=0)
            axes.set_title(title)
            if not is_narrow(axes) or axes is panels[-1]:
                axes.set_xlabel("exponent n")
        below(panels, 2)

    said = _said(rows, levels)
    seeds = rows["seed"].nunique()
    return figure(
        draw,
        name="harmonic-loss-exponents",
        panels=len(OVER_EXPONENTS),
        size=(7.8, 4.2),
        narrow_height=9.6,
        alt=f"Three panels against the exponent of harmonic loss on a logarithmic axis. Median epochs until {percent(LEARNT)} of "
        f"test pairs are right: {said}.",
        caption=f"Harmonic loss on addition at each exponent n, all else as chosen at n = {CHOSEN['harmonic'].head.knob:g}: epochs until "
        f"{percent(LEARNT)} of test pairs are right (open: not reached, at the last epoch), delay (doublings of training in "
        "which train pairs are known and test pairs are not), and the variance explained in two dimensions (EV, share of 1), "
        f"of the runs only that learnt. Median epochs: {said}. Horizontal lines: the other heads as chosen. "
        f"{'One seed.' if seeds == 1 else f'Points: {seeds} seeds; lines: the median of epochs, else the mean.'}",
    )


def _by_exponent(tables: Tables) -> pd.DataFrame:
    """Rows of addition whose arm is an exponent, with its `n`."""
    if "models" not in tables or tables["models"].empty:
        return pd.DataFrame(columns=["n"])
    rows = tables["models"]
    rows = rows[rows["group"] == "addition"]
    n = rows["arm"].map(swept()).astype(float)
    found = rows.assign(n=n)[n.notna()]
    return found if found["n"].nunique() > 1 else found.iloc[:0]


def _fair(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows that a panel shows: geometry only where the task was learnt."""
    return rows[rows["test_accuracy"] >= LEARNT] if column == "ev2" else rows


def _middle(column: str) -> str:
    """Epochs are censored, so that they have a median and no mean."""
    return "median" if column == "generalised_epoch" else "mean"


def _points(axes: Any, rows: pd.DataFrame, column: str) -> None:
    """Seeds as small points, open where censored, and their middle as a line."""
    look = STYLE["harmonic"]
    hue = colour(look.shade)
    middle = rows.groupby("n")[column].agg(_middle(column))
    axes.plot(middle.index, middle, color=hue, marker=look.marker, label="harmonic", zorder=4)
    late = ~rows["generalised_seen"].astype(bool) & (column == "generalised_epoch")
    for part, face in ((rows[~late], hue), (rows[late], colour("background"))):
        axes.plot(part["n"], part[column], "o", ms=4, color=hue, mfc=face, alpha=0.6, zorder=3)


def _said(rows: pd.DataFrame, levels: pd.DataFrame) -> str:
    """Median epochs by exponent and of the other heads, and how many runs were not there, in words."""
    parts = [f"{middle:.0f} at n = {n:g}" for n, middle in rows.groupby("n")["generalised_epoch"].median().items()]
    other = levels.groupby("head")["generalised_epoch"].median()
    parts += [f"{other[head]:.0f} under {STYLE[head].short}" for head in heads_in(levels)]
    never = int((~rows["generalised_seen"].astype(bool)).sum())
    return f"{listed(parts)}; {never} of {len(rows)} harmonic runs never get there"
