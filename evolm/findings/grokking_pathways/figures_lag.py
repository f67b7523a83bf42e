"""Figures of the lag: accuracy and loss per group, and when each cell is memorised and generalised. Tables in, drawings out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evolm.findings.grokking_pathways import curves
from evolm.findings.grokking_pathways.curves import MEMORISED, Tables
from evolm.findings.grokking_pathways.figure_style import (
    ARMS,
    Scale,
    group_look,
    group_name,
    groups_of,
    lag_start,
    line,
    per_seed,
    plain,
    rows_of,
    signed,
    step_axis,
)
from evolm.findings.grokking_pathways.relations import late_less_early
from evolm.findings.grokking_pathways.tables import RANDOM
from evolm.fragments import Fragment
from evolm.panels import DASHED, DOTTED, Look, below, each, in_columns, is_narrow, listed, percent, seeds_of, sentence
from evolm.plotting import Figure, colour, figure

HELD_OUT = Look("blue", "o", "-", "held-out accuracy", "held-out")
TRAINING = Look("ink", "", "-", "training accuracy", "training")
LOSS = Look("orange", "", "-", "training loss, share of its start", "loss")
TWIN = ARMS["scrambled"]._replace(label="held-out accuracy of the scrambled twin", marker="")


def lag_curves(tables: Tables, params: Scale) -> Figure | Fragment:
    """Training and held-out accuracy and training loss against the step, a panel per group."""
    rows = rows_of(tables, "curve", world="tables")
    rows, twin = rows[rows["arm"] == "trained"], rows[rows["arm"] == "scrambled"]
    groups = groups_of(rows["group"].unique(), params)
    if not groups:
        return sentence("This record holds no curves of the tables, so the lag of each group is not drawn.")
    first = rows[rows["step"] == rows["step"].min()].set_index(["seed", "group"])["train_nats"]
    start = [first.get(key, np.nan) for key in zip(rows["seed"], rows["group"], strict=True)]
    rows = rows.assign(share=rows["train_nats"].to_numpy(float) / np.array(start, float))
    dates = {group: lag_start(tables, "tables", ["trained"], [group]) for group in groups}
    dated = curves.known_when_memorised(tables, "tables")
    steps = dated.groupby("group")["step"].median().dropna()

    def draw(panels: Any) -> None:
        in_columns(each(panels), 2)
        for place, (axes, group) in enumerate(zip(each(panels), groups, strict=True)):
            here = rows[rows["group"] == group]
            _one_group(axes, here, twin[twin["group"] == group], (steps.get(group), dates[group]), 1 / params.symbols)
            axes.set_title(group_name(group))
            axes.set_ylabel("share" if is_narrow(axes) or place % 2 == 0 else "")
            axes.set_xlabel("step" if is_narrow(axes) or place >= len(groups) - 2 else "")
        below(panels, 2)

    said = "; ".join(_lag_of(dated[dated["group"] == group], group) for group in groups)
    return figure(
        draw,
        name="grokking-pathways-lag",
        panels=len(groups),
        size=(7.8, 3.1 * -(-len(groups) // 2) + 0.8),
        narrow_height=2.6 * len(groups) + 1.6,
        alt="Accuracy on training and held-out pairs and training loss against the step on a logarithmic axis, a panel per "
        f"group. {said}.",
        caption="Accuracy on training pairs (thin, dark), on held-out pairs (thick) and training loss (as a share of the "
        f"loss at step 0). Line: the step at which a group is memorised ({percent(MEMORISED)} of its dating half right, twice in a "
        "row; median over seeds). Shaded: from when on changes are read, the first evenly spaced measurement after it. Chance is one of "
        f"{params.symbols} symbols; the twin's labels are as common as the group's, but follow no rule. {said}. "
        f"{seeds_of(rows['seed'].nunique())}",
    )


def _one_group(
    axes: Any, rows: pd.DataFrame, twin: pd.DataFrame, dates: tuple[float | None, float | None], chance: float
) -> None:
    last = float(rows["step"].max())
    line(axes, per_seed(rows, "share"), LOSS, lw=1.2, marker=None)
    line(axes, per_seed(rows, "dating_accuracy"), TRAINING, lw=1.3, marker=None)
    line(axes, per_seed(twin, "test_accuracy"), TWIN, lw=1.6, marker=None)
    line(axes, per_seed(rows, "test_accuracy"), HELD_OUT, lw=2.6)
    axes.axhline(chance, color=colour("muted"), lw=1.1, ls=DOTTED, label="chance", zorder=1)
    date, read = dates
    if read:
        axes.axvspan(read, last, color=colour("blue"), alpha=0.06, lw=0, zorder=0)
    if date:
        axes.axvline(date, color=colour("muted"), lw=1, zorder=1)
        axes.text(date * 1.04, 1.15, f"memorised at {date:.0f}", va="center", fontsize=9.5, color=colour("ink"))
    step_axis(axes.xaxis, max(1.0, float(rows.loc[rows["step"] > 0, "step"].min())), last)
    axes.set_ylim(-0.03, 1.24)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])


def _lag_of(runs: pd.DataFrame, group: str) -> str:
    """Held-out accuracy when memorised and at the end, in words."""
    known = runs.dropna()
    if known.empty:
        return f"{group_name(group)}: never memorised, {percent(runs['end'].mean())} of held-out pairs right at the end"
    return (
        f"{group_name(group)}: memorised at step {known['step'].median():.0f} with {percent(known['then'].mean())} of held-out pairs right, "
        f"{percent(known['end'].mean())} at the end"
    )


def memorised_generalised(tables: Tables, params: Scale) -> Figure | Fragment:
    """When a cell's held-out pairs are mastered against when its training pairs are; halves' means, random pairing."""
    rows = curves.of_world(tables, "cells", "tables")
    rows = rows[rows["arm"] == "trained"]
    known, luck = rows[rows["group"] != RANDOM], rows[rows["group"] == RANDOM]
    if known.empty:
        return sentence(
            "This record holds no cells of the tables, so dates of memorising and generalising are not drawn."
        )
    parts = {"groups with a rule": known} | ({"random labels": luck} if len(luck) else {})
    dates = rows[["memorised", "generalised"]].to_numpy(float)
    ends = 2 ** (np.nanmin(dates) - 0.15), 2 ** (np.nanmax(dates) + 0.15)

    def draw(panels: Any) -> None:
        for axes, (title, part) in zip(each(panels), parts.items(), strict=True):
            for group in groups_of(part["group"].unique(), params):
                look, cells = group_look(group, params), part[part["group"] == group]
                at = (2 ** cells[name].to_numpy(float) for name in ("memorised", "generalised"))
                axes.plot(*at, look.marker, ms=4.2, color=colour(look.shade), alpha=0.45, mew=0, label=look.label)
            axes.plot(ends, ends, color=colour("muted"), lw=1.1, ls=DOTTED, label="at once: no lag")
            mean = 2 ** float(part.groupby("seed")["generalised"].mean().mean())
            axes.axhline(mean, color=colour("muted"), lw=1.4, ls=DASHED, label="mean of all: what random pairing gives")
            x, y = _halves(part)
            axes.plot(2**x, 2**y, "-o", color=colour("ink"), ms=10, lw=2.4, zorder=5, label="early and late half, mean")
            step_axis(axes.xaxis, *ends)
            step_axis(axes.yaxis, *ends)
            axes.set_title(title)
            axes.set_xlabel("step: training pairs mastered")
            axes.set_ylabel("step: held-out pairs mastered" if is_narrow(axes) or axes is each(panels)[0] else "")
        below(panels, 2)

    found = late_less_early(tables, "tables", within=False).groupby("arm")["value"].mean()
    said = listed([f"{_ARM[arm]} {signed(found[arm])}" for arm in _ARM if arm in found])
    seeds = rows["seed"].nunique()
    return figure(
        draw,
        name="grokking-pathways-cells",
        panels=len(parts),
        size=(7.8, 5.0),
        narrow_height=3.4 * len(parts) + 2.0,
        alt="Each cell's date of generalising against its date of memorising, on logarithmic axes, and the means of an early and "
        f"a late half. How many doublings of the step later held-out pairs of the late half are mastered: {said}.",
        caption="Each small mark is a cell, the pairs of one class with another: the step by which its training pairs are "
        "mastered, and the step by which its held-out pairs are (geometric means; never counts as the end). Large: means of the "
        "cells memorised before and after the median. Late half less early half, in doublings of the step: "
        f"{said}. The lag itself is partly by construction; the slope against random pairing is not. "
        f"{len(known)} cells of {seeds} {'seed' if seeds == 1 else 'seeds'} follow a rule; held-out pairs are mastered at step "
        f"{plain(2 ** float(known['generalised'].mean()), 0)} and training pairs at {plain(2 ** float(known['memorised'].mean()), 0)} on average.",
    )


#: Arms of `late_less_early` in words.
_ARM = {"matched": "matched cells", "random pairing": "random pairing", "random group": "the random group"}


def _halves(part: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Mean log2 dates, memorised and generalised, of the early and the late cells of each seed, over seeds."""
    middle = part.groupby("seed")["memorised"].transform("median")
    late = np.where(part["memorised"] > middle, 1, np.where(part["memorised"] < middle, 0, -1))
    sided = part.assign(late=late)[late >= 0]
    means = sided.groupby(["late", "seed"])[["memorised", "generalised"]].mean().groupby("late").mean()
    return means["memorised"].to_numpy(float), means["generalised"].to_numpy(float)
