"""Figures of the two metrics over training, beside what cannot generalise. Tables in, drawings out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evolm.findings.grokking_pathways import curves
from evolm.findings.grokking_pathways.claims import CLAIMS
from evolm.findings.grokking_pathways.curves import COSINE, DISTANCE, Reading, Tables
from evolm.findings.grokking_pathways.estimands import TWIN
from evolm.findings.grokking_pathways.figure_style import (
    ARMS,
    SAME_RUN,
    Scale,
    in_words,
    lag_start,
    line,
    reading_of,
    step_axis,
)
from evolm.findings.grokking_pathways.tables import RANDOM
from evolm.fragments import Fragment
from evolm.panels import Look, below, is_narrow, listed, seeds_of, sentence
from evolm.plotting import Figure, colour, figure

#: Panels: title, label of the axis, what is read.
PANELS: dict[str, tuple[str, Reading | str]] = {
    "held-out accuracy": ("share right", "test_accuracy"),
    "distance of pathways": ("edit distance ÷ length", DISTANCE),
    "consistency of layers": ("mean cosine", COSINE),
}
#: What the paper reports over its lag: a fall of the distance by this share, a move of its C by so much.
PAPER = {claim.name: float(claim.paper_value or 0) for claim in CLAIMS}
FALL, RISE = PAPER["distance-falls"], PAPER["consistency-rises"]


def metrics_beside_twin(tables: Tables, params: Scale) -> Figure | Fragment:
    """Held-out accuracy, distance and cosine against the step: trained, its twin, a frozen router, the random group."""
    known = curves.learnable(tables, "tables")
    shown: dict[str, tuple[Look, str, list[str]]] = {
        arm: (ARMS[arm], arm, known) for arm in (*TWIN, "frozen router")
    } | {"random group": (SAME_RUN, "trained", [RANDOM])}
    found = {
        title: {
            name: rows
            for name, (_, arm, groups) in shown.items()
            if len(rows := reading_of(tables, "tables", arm, what, groups))
        }
        for title, (_, what) in PANELS.items()
    }
    if not all("trained" in lines for lines in found.values()):
        return sentence("This record holds no pathways of the trained arm on tables, so its metrics are not drawn.")
    start = lag_start(tables, "tables", TWIN, known) or lag_start(tables, "tables", ["trained"], known)

    def draw(panels: list[Any]) -> None:
        for axes, (title, lines) in zip(panels, found.items(), strict=True):
            steps = lines["trained"].index.to_numpy(float)
            for name, rows in lines.items():
                own = name == "trained"
                line(axes, rows, shown[name][0], lw=2.6 if own else 1.8, zorder=3.5 if own else 3)
            if start:
                axes.axvspan(start, steps[-1], color=colour("blue"), alpha=0.06, lw=0, zorder=0)
                if PANELS[title][1] == DISTANCE:
                    _paper(axes, lines["trained"], start)
            step_axis(axes.xaxis, steps[0], steps[-1])
            axes.set_title(title)
            axes.set_ylabel(PANELS[title][0])
            axes.set_xlabel("step" if not is_narrow(axes) or axes is panels[-1] else "")
        below(panels, 2)

    said = "; ".join(f"{title} {_changes(tables, what)}" for title, (_, what) in PANELS.items())
    shade = f"Shaded: the lag, from step {start:.0f} on. Change over it" if start else "Change over the lag"
    return figure(
        draw,
        name="grokking-pathways-metrics",
        panels=3,
        size=(8.6, 4.2),
        narrow_height=9.6,
        alt="Held-out accuracy, distance of pathways and consistency against the step, for the trained model and what cannot "
        f"generalise beside it. Change over the lag: {said}.",
        caption="Means over the groups with a rule. The twin learns labels dealt out at random, and the random group shares "
        "the trained model's routers: neither has anything to generalise. Distance: share of experts to be changed to turn one "
        "training pathway into another. Consistency: cosine of the routing embeddings of consecutive layers. Arrow: what the paper "
        f"reports of the distance, a fall by {100 * FALL:.0f} %; its consistency moves by {RISE:.2f} of C, another unit than the cosine, and "
        f"has no arrow. {shade}: {said}. "
        f"{seeds_of(found['held-out accuracy']['trained'].shape[1])}",
    )


def _paper(axes: Any, trained: pd.DataFrame, start: float) -> None:
    """An arrow from the distance where the lag begins, down by the share by which the paper's falls."""
    mean = trained.mean(axis=1)
    level, _ = curves.fifths(mean.index.to_numpy(float), mean.to_numpy(float), start)
    to = level * (1 - FALL)
    if not np.isfinite(to):
        return
    at = float(mean.index[-1]) * 0.75
    axes.plot([start, at], [level, level], color=colour("ink"), lw=0.8, ls=":", zorder=4)
    axes.annotate(
        "", (at, to), (at, level), zorder=5, arrowprops={"arrowstyle": "-|>", "color": colour("ink"), "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
    )  # fmt: skip
    axes.annotate(
        "paper", (at, to), (0, -2), textcoords="offset points", ha="center", va="top", fontsize=9.5, color=colour("ink"), zorder=5
    )  # fmt: skip


def _changes(tables: Tables, reading: Reading | str) -> str:
    """trained +0.20 (...), scrambled twin 0.00 (...), frozen router ..., random group ..."""
    parts = curves.changes(tables, "tables", TWIN, reading)
    for arm, groups in (("frozen router", None), ("trained", [RANDOM])):
        rows = curves.changes(tables, "tables", [arm], reading, groups)
        parts = pd.concat([parts, rows.assign(arm="random group" if groups else arm)])
    names = {**{arm: ARMS[arm].short for arm in (*TWIN, "frozen router")}, "random group": SAME_RUN.short}
    said = [
        f"{name} {in_words(parts.loc[parts['arm'] == arm, 'value'], 3)}"
        for arm, name in names.items()
        if arm in set(parts["arm"])
    ]
    return listed(said) or "not read, as too little of a lag was measured"
