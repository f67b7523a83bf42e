"""The figure of distance and consistency layer by layer, early in the lag against the end. Tables in, drawings out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evolm.findings.grokking_pathways import curves
from evolm.findings.grokking_pathways.curves import Tables
from evolm.findings.grokking_pathways.estimands import TWIN
from evolm.findings.grokking_pathways.figure_style import ARMS, Scale, plain, rows_of, signed
from evolm.findings.grokking_pathways.metrics import ANSWER
from evolm.fragments import Fragment
from evolm.panels import below, each, listed, seeds_of, sentence
from evolm.plotting import Figure, colour, figure

#: Quantity of the table -> title, label of the axis.
PANELS = {"distance": ("distance of pathways", "edit distance ÷ length"), "cosine": ("consistency", "cosine")}
#: How far the two arms stand from a layer's place.
APART = 0.14


def distance_by_layer(tables: Tables, params: Scale) -> Figure | Fragment:
    """Arrows from early in the lag to its end, per layer: distance and cosine, trained beside its twin."""
    found = by_layer(tables)
    quantities = [name for name in PANELS if name in set(found["quantity"])]
    if not quantities:
        return sentence("This record holds no readings by layer within a lag, so they are not drawn.")

    def draw(panels: Any) -> None:
        for axes, quantity in zip(each(panels), quantities, strict=True):
            here = found[found["quantity"] == quantity]
            for arm, side in zip(TWIN, (-APART, APART), strict=True):
                _arrows(axes, here[here["arm"] == arm], arm, side)
            layers = sorted(here["layer"].unique())
            names = [f"{n + 1}" if quantity == "distance" else f"{n + 1} to {n + 2}" for n in layers]
            axes.set_xticks(layers, names)
            axes.set_xlim(min(layers) - 0.5, max(layers) + 0.5)
            axes.grid(False, axis="x")
            axes.margins(y=0.15)
            axes.set_title(PANELS[quantity][0])
            axes.set_ylabel(PANELS[quantity][1])
            axes.set_xlabel("layer" if quantity == "distance" else "from layer to layer")
        below(panels, 2)

    said = "; ".join(f"{PANELS[quantity][0]}, {_moves(found, quantity)}" for quantity in quantities)
    return figure(
        draw,
        name="grokking-pathways-layers",
        panels=len(quantities),
        size=(7.8, 4.2),
        narrow_height=3.2 * len(quantities) + 1.2,
        alt="Arrows from the beginning of the lag to its end, layer by layer, of the trained model and its scrambled twin: "
        f"{said}.",
        caption=f"Hollow: mean over the first fifth of the lag that both have in common; filled: over its last fifth. At the answer's "
        f"token, pathways of the paper's threshold, means over the groups with a rule. From early to late, {said}. "
        f"{seeds_of(found['seed'].nunique())}",
    )


def by_layer(tables: Tables) -> pd.DataFrame:
    """arm, seed, quantity, layer, early, late: means of the first and the last fifth of the common lag, over groups."""
    rows = rows_of(tables, "layers", world="tables", tokens=ANSWER)
    arms = [arm for arm in TWIN if arm in set(rows["arm"])]
    starts = curves.lags(tables, "tables", arms, curves.learnable(tables, "tables")) if arms else {}
    found = []
    key: Any
    for key, run in rows.groupby(["arm", "seed", "group", "quantity", "layer"]) if starts else ():
        arm, seed, group, quantity, layer = key
        start = starts.get((int(seed), str(group)))
        if arm not in arms or start is None:
            continue
        steps, values = run.sort_values("step")[["step", "value"]].to_numpy(float).T
        early, late = curves.fifths(steps, values, start)
        if np.isfinite(early):
            found.append((arm, seed, group, quantity, int(layer), early, late))
    table = pd.DataFrame(found, columns=["arm", "seed", "group", "quantity", "layer", "early", "late"])
    return table.groupby(["arm", "seed", "quantity", "layer"])[["early", "late"]].mean().reset_index()


def _arrows(axes: Any, rows: pd.DataFrame, arm: str, side: float) -> None:
    look = ARMS[arm]
    shade = colour(look.shade)
    style: dict[str, Any] = {"ls": "none", "marker": look.marker, "color": shade, "zorder": 4, "mew": 1.5}
    for place, layer in enumerate(sorted(rows["layer"].unique())):
        part = rows[rows["layer"] == layer]
        early, late = part["early"].mean(), part["late"].mean()
        at = float(layer) + side
        if part["seed"].nunique() > 1:
            for shift, name in ((-0.05, "early"), (0.05, "late")):
                ends = [part[name].min(), part[name].max()]
                axes.plot([at + shift] * 2, ends, color=shade, lw=5, alpha=0.2, solid_capstyle="butt", zorder=2)
        arrow = {"arrowstyle": "-|>", "color": shade, "lw": 1.8, "shrinkA": 4, "shrinkB": 4}
        axes.annotate("", (at + 0.05, late), (at - 0.05, early), arrowprops=arrow, zorder=3)
        first = place == 0
        axes.plot(
            at - 0.05, early, ms=7, mfc=colour("background"), label=f"{look.short}, early in the lag" * first, **style
        )
        axes.plot(at + 0.05, late, ms=7, label=f"{look.short}, at the end" * first, **style)


def _moves(found: pd.DataFrame, quantity: str) -> str:
    """trained: layer 1 0.70 to 0.68 (−0.02), ..."""
    said = []
    for arm in TWIN:
        rows = found[(found["quantity"] == quantity) & (found["arm"] == arm)].groupby("layer")[["early", "late"]].mean()
        parts = [
            f"{_place(int(layer), quantity)} {plain(early)} to {plain(late)} ({signed(late - early)})"
            for layer, (early, late) in zip(rows.index, rows.to_numpy(float), strict=True)
        ]
        if parts:
            said.append(f"{ARMS[arm].short}: {', '.join(parts)}")
    return listed(said)


def _place(layer: int, quantity: str) -> str:
    return f"layer {layer + 1}" if quantity == "distance" else f"layers {layer + 1} to {layer + 2}"
