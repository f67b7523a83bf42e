"""Figures over settings: the map of residual general text and learning rate, and the factorial of strategies."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap

from evolm.findings.stability_gap import curves
from evolm.findings.stability_gap.curves import TASK, UNSEEN, Tables
from evolm.findings.stability_gap.figure_style import Scale, marks_of, setting, size_in_points, whole_points
from evolm.fragments import Fragment
from evolm.intervals import seed_interval
from evolm.panels import in_columns, in_points, is_narrow, listed, percent, sentence
from evolm.plotting import Figure, colour, figure

SWEPT = re.compile(r"(?:residual ([\d.e+-]+)|null), rate ([\d.e+-]+)")
#: The row of the null shift in a map: all that it reads is general text.
NULL_SHARE = 1.0
FACTORS = ("quality", "epochs", "mix")
#: Arm -> which factors it uses.
CORNERS: dict[str, tuple[str, ...]] = {
    "baseline": (), "quality": ("quality",), "epochs": ("epochs",), "mix": ("mix",),
    "epochs + quality": ("quality", "epochs"), "quality + mix": ("quality", "mix"), "epochs + mix": ("epochs", "mix"),
    "all": FACTORS,
}  # fmt: skip
EFFECTS = [terms for size in (1, 2, 3) for terms in combinations(FACTORS, size)]


def swept(dips: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over seeds of a column of `dips` by share of general text (rows) and rate (columns); empty without a map."""
    parts = dips["arm"].str.extract(SWEPT).astype(float)
    rows = dips.assign(residual=parts[0].fillna(NULL_SHARE), rate=parts[1]).dropna(subset=["rate"])
    return rows.pivot_table(index="residual", columns="rate", values=column, aggfunc="mean")


def residual_map(tables: Tables, params: Scale) -> Figure | Fragment:
    """Depth and recovery over the share of general text and the peak learning rate."""
    task, unseen = (curves.dips(curves.accuracy(tables, probes)) for probes in (TASK, UNSEEN))
    unseen = unseen.assign(arm=unseen["arm"].where(~unseen["arm"].str.startswith("null")))  # it reads those facts again
    grids = {
        "all medical questions: lost": swept(task, "depth"),
        "all medical questions: regained": swept(task, "recovery"),
        "facts never read again: lost": swept(unseen, "depth"),
        "facts never read again: regained": swept(unseen, "recovery"),
    }
    depth, rise, deeper, recovery = (grid.reindex(swept(task, "depth").index) for grid in grids.values())
    if depth.empty:
        return sentence(
            "This record holds no arms that vary the share of general text and the learning rate together; a run with "
            "residuals and rates has the map of depth and recovery over both."
        )
    seeds = task.loc[task["arm"].str.fullmatch(SWEPT), "seed"].nunique()
    top = max(float(np.nanmax(grid.to_numpy(float))) for grid in (depth, rise, deeper, recovery))

    def draw(panels: list[Any]) -> None:
        in_columns(panels, 2)
        for axes, title, grid in zip(panels, grids, (depth, rise, deeper, recovery), strict=True):
            _cells(axes, grid, "blue" if "regained" in title else "vermillion", max(top, 0.01))
            axes.set_title(title, fontsize=10.5)
            axes.set_ylabel("general text" if is_narrow(axes) or axes in panels[::2] else "")
            axes.set_xlabel("peak learning rate, 10⁻³" if is_narrow(axes) or axes in panels[2:] else "")

    said = (
        f"Of all medical questions {_range(depth)} are lost and {_range(rise)} regained; of those about facts never read again "
        f"{_range(deeper)} are lost and {_range(recovery)} regained."
    )
    return figure(
        draw,
        name="stability-gap-map",
        panels=len(grids),
        size=(7.8, 2 * (1.2 + 0.36 * len(depth))),
        narrow_height=4 * (1.2 + 0.36 * len(depth)),
        alt="Four maps over the share of general text and the learning rate: points lost and regained in the domain's task, and "
        f"in facts never read again. {said}",
        caption="Points lost from the start to the lowest step, and regained from there to the end, by the share of general "
        "text among the documents and by the peak learning rate; one scale of shades for all. The null shift reads general text "
        "alone, the facts of the lower row among it, so it has no place there. Facts never read again "
        "were in pre-training and are in no later text. The lowest step is found on one half of the items and read on the "
        f"other. {said} {'One seed.' if seeds == 1 else f'Means over {seeds} seeds.'}",
    )


def _cells(axes: Any, grid: pd.DataFrame, hue: str, top: float) -> None:
    """A map from the page's colour (0 and less) to a hue (`top`) with the points in its cells; NaN stays empty."""
    values = grid.to_numpy(float)
    shades = LinearSegmentedColormap.from_list("points", [colour("background"), colour(hue)])
    axes.pcolormesh(values, cmap=shades, vmin=0, vmax=top, edgecolors=colour("grid"), lw=0.5)
    for (i, j), value in np.ndenumerate(values):
        if not np.isnan(value):
            ink = colour("background" if value > 0.6 * top else "ink")
            axes.text(j + 0.5, i + 0.5, whole_points(value), ha="center", va="center", fontsize=10, color=ink)
    axes.grid(False)
    axes.set_xticks(np.arange(len(grid.columns)) + 0.5, [f"{1000 * rate:g}" for rate in grid.columns])
    axes.set_yticks(np.arange(len(grid)) + 0.5, [_row(share) for share in grid.index])


def _row(share: float) -> str:
    return "null shift" if share == NULL_SHARE else setting(share)


def _range(grid: pd.DataFrame) -> str:
    """The least and the largest cell and where they are, in words."""
    values = grid.to_numpy(float)
    parts = []
    for place in (np.nanargmin(values), np.nanargmax(values)):
        i, j = divmod(int(place), values.shape[1])
        share = grid.index[i]
        named = "null shift" if share == NULL_SHARE else f"{setting(share)} general text"
        where = f"{named}, rate {grid.columns[j]:g}"
        parts.append(f"{size_in_points(values[i, j])} ({where})")
    return " to ".join(parts)


def effects(rows: pd.DataFrame) -> pd.DataFrame:
    """effect, seed, value: every main effect and interaction of the strategies, from `value` of seed and arm.

    An effect is the mean over corners whose sign is + less that over the others; a corner's sign for several factors is
    the product of theirs. So an interaction of two is half of what the one's effect changes by where the other is used.
    Seeds that lack a corner are left out.
    """
    wide = rows[rows["arm"].isin(CORNERS)].pivot(index="seed", columns="arm", values="value")
    wide = wide.reindex(columns=list(CORNERS)).dropna()
    found = []
    for terms in EFFECTS:
        signs = np.array([np.prod([1 if term in used else -1 for term in terms]) for used in CORNERS.values()])
        values = wide.to_numpy(float) @ signs / (len(CORNERS) / 2)
        found += [
            {"effect": " × ".join(terms), "seed": seed, "value": v} for seed, v in zip(wide.index, values, strict=True)
        ]
    return pd.DataFrame(found, columns=["effect", "seed", "value"])


def factorial(tables: Tables, params: Scale) -> Figure | Fragment:
    """Main effects and interactions of the three strategies on end accuracy and on the area of the gap."""
    task = curves.accuracy(tables, TASK)
    found = {"end accuracy": effects(curves.ends(task)), "area of the gap": effects(curves.areas(task))}
    if found["end accuracy"].empty:
        absent = [name for name in CORNERS if name not in set(task["arm"])]
        return sentence(
            "Effects of the strategies need all eight ways to combine them at equal tokens; this record "
            + (f"lacks {listed(absent)}." if absent else "has no seed with all of them.")
        )

    def draw(panels: list[Any]) -> None:
        for axes, (title, rows) in zip(panels, found.items(), strict=True):
            _effect_rows(axes, rows)
            named = is_narrow(axes) or axes is panels[0]
            axes.set_yticks(range(len(EFFECTS)), [" × ".join(terms) if named else "" for terms in EFFECTS])
            axes.set_title(title)
            if not is_narrow(axes) or axes is panels[-1]:
                axes.set_xlabel("effect, points")

    seeds = found["end accuracy"]["seed"].nunique()
    said = "; ".join(f"on the {name} {_main(rows)}" for name, rows in found.items())
    return figure(
        draw,
        name="stability-gap-factorial",
        panels=2,
        size=(7.8, 3.8),
        narrow_height=6.6,
        alt=f"Two panels with a row per main effect and interaction of quality, epochs and mix. Main effects: {said}.",
        caption="What each strategy adds at equal tokens, over the eight ways to combine them: lowest perplexity instead of "
        f"random documents (quality), {params.epochs} passes over a smaller set instead of one (epochs), "
        f"{setting(params.mix)} instead of {setting(params.residual)} general text (mix). Questions of the domain's task: "
        "accuracy at the end, and mean shortfall below the start (less is better). Rows with × are interactions: half of "
        f"what the effect of one changes by where the other is used. Main effects: {said}. {marks_of(seeds)}.{_filter(tables)}",
    )


def _effect_rows(axes: Any, rows: pd.DataFrame) -> None:
    """One row per effect from the top, in points: seeds small, mean and 95 % interval large; interactions open."""
    axes.axvline(0, color=colour("muted"), lw=1)
    for place, terms in enumerate(EFFECTS):
        values = 100 * rows.loc[rows["effect"] == " × ".join(terms), "value"].to_numpy()
        main = len(terms) == 1
        shade = colour("blue" if main else "grey")
        if len(values) > 1:
            low, high = seed_interval(values)
            axes.hlines(place, low, high, color=shade, lw=2, zorder=2)
            axes.plot(values, [place + 0.28] * len(values), marker="o", ls="none", color=shade, ms=3, alpha=0.5, mew=0)
        face = shade if main else colour("background")
        axes.plot(
            values.mean(), place, marker="o" if main else "D", ls="none", color=shade, mfc=face, mew=1.6, ms=7, zorder=4
        )
    axes.set_ylim(len(EFFECTS) - 0.4, -0.6)
    axes.grid(False, axis="y")


def _main(rows: pd.DataFrame) -> str:
    """Main effects in words, with intervals where there are seeds for them."""
    parts = []
    for name in FACTORS:
        values = rows.loc[rows["effect"] == name, "value"].to_numpy()
        within = ""
        if len(values) > 1:
            low, high = seed_interval(values)
            within = f" ({in_points(float(low), 1)} to {in_points(float(high), 1)})"
        parts.append(f"{name} {in_points(float(values.mean()), 1)}{within}")
    return f"{listed(parts)} points"


def _filter(tables: Tables) -> str:
    """What the quality filter lets through, in a sentence; empty where it was not measured."""
    if "filter" not in tables or tables["filter"].empty:
        return ""
    means = tables["filter"].groupby("kind")[["corpus", "chosen"]].mean()
    parts = [
        f"{kind} from {percent(means.loc[kind, 'corpus'])} to {percent(means.loc[kind, 'chosen'])}"
        for kind in means.index
    ]
    return f" The filter takes documents by kind: {listed(parts)}."
