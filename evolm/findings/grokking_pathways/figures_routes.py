"""Pictures of pathways: samples as ribbons through the experts, early in the lag against its end. Tables in, drawings out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from evolm.findings.grokking_pathways import curves
from evolm.findings.grokking_pathways.curves import Tables
from evolm.findings.grokking_pathways.figure_style import Scale, group_name, groups_of, rows_of
from evolm.findings.grokking_pathways.tables import RANDOM
from evolm.fragments import Fragment
from evolm.panels import is_narrow, listed, sentence
from evolm.plotting import Figure, colour, figure

Ints = NDArray[np.int64]
#: Hues of the experts of the first layer, most used first; what is left over is grey.
HUES = ("blue", "vermillion", "green", "purple", "orange")
#: Space between two experts, in samples; half-width of an expert's bar, in layers.
GAP, BAR = 1.3, 0.045


class Moment(NamedTuple):
    """Routes of one group at one step: (sample, layer), the heaviest expert."""

    step: int
    experts: Ints


def heaviest(tables: Tables) -> pd.DataFrame:
    """Rows of the first seed's trained arm on tables, each token's heaviest expert: group, step, sample, layer, expert."""
    rows = rows_of(tables, "routes", world="tables", arm="trained", rank=0)
    return rows[rows["seed"] == rows["seed"].min()]


def moments(tables: Tables, params: Scale) -> dict[str, tuple[Moment, Moment]]:
    """Of the easiest, the hardest and the random group: routes where the lag begins, and at the end."""
    rows = heaviest(tables)
    groups = groups_of(rows["group"].unique(), params)
    known = [name for name in groups if name != RANDOM]
    dates = curves.memorised(tables, "tables").to_dict()
    found = {}
    for group in dict.fromkeys([*known[:1], *known[-1:], *groups[-1:]]):
        here = rows[rows["group"] == group]
        steps = np.sort(here["step"].unique())
        start = dates.get((here["seed"].iloc[0], "trained", group), steps[len(steps) // 4])
        early = int(steps[min(int(np.searchsorted(steps, start)), len(steps) - 1)])
        found[group] = _routes(here, early), _routes(here, int(steps[-1]))
    return found


def _routes(rows: pd.DataFrame, step: int) -> Moment:
    wide = rows[rows["step"] == step].pivot(index="sample", columns="layer", values="expert").sort_index(axis=1)
    return Moment(step, wide.to_numpy(np.int64))


def ribbons(tables: Tables, params: Scale) -> Figure | Fragment:
    """Samples as ribbons through their heaviest experts, at memorisation and at the end, by group."""
    found = moments(tables, params)
    if not found:
        return sentence("This record keeps no routes of samples, so no picture of pathways is drawn.")
    experts = 1 + max(int(moment.experts.max()) for pair in found.values() for moment in pair)

    def draw(panels: list[Any]) -> None:
        narrow = is_narrow(panels[0])
        places = [(group, late) for group in found for late in (0, 1)]
        rows, columns = (len(found), 2) if narrow else (2, len(found))
        grid = panels[0].figure.add_gridspec(rows, columns)
        for axes, (group, late) in zip(panels, places, strict=True):
            number = list(found).index(group)
            axes.set_subplotspec(grid[number, late] if narrow else grid[late, number])
            _ribbons(axes, found[group][late].experts, found[group][0].experts[:, 0], experts)
            when = f"step {found[group][late].step}"
            title = f"{group_name(group)}\n{when}" if narrow or not late else when
            axes.set_title(title, fontsize=10.5)

    said = listed(
        [f"{group_name(group)} {_distinct(early)} and {_distinct(late)}" for group, (early, late) in found.items()]
    )
    samples = max(len(moment.experts) for pair in found.values() for moment in pair)
    steps = {late: sorted({pair[late].step for pair in found.values()}) for late in (0, 1)}
    when = f"step {_between(steps[0])} and at step {_between(steps[1])}"
    return figure(
        draw,
        name="grokking-pathways-ribbons",
        panels=2 * len(found),
        size=(2.7 * len(found) + 0.1, 5.6),
        narrow_height=2.75 * len(found),
        alt=f"Ribbons, one per sample, that run from layer to layer through the experts which weigh most. Distinct routes of {samples} "
        f"samples, when memorised and at the end: {said}.",
        caption=f"{samples} training samples of a group run from left to right through the layers, each through its heaviest expert "
        "(bars; as tall as the samples that take it, number of the expert beside it). A sample's colour is its expert in the first "
        f"layer at memorisation, and stays: where colours part or join later, routes have changed. At {when}. "
        f"If pathways came together, there would be fewer and wider streams late than early. Distinct routes of {samples} samples, early and late: "
        f"{said}. The first seed's trained model.",
    )


def _between(steps: list[int]) -> str:
    return f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"


def _distinct(moment: Moment) -> int:
    return len(np.unique(moment.experts, axis=0))


def heights(routes: Ints, layer: int, beside: int) -> NDArray[np.float64]:
    """(sample,) place of each sample at a layer, experts from the top, in an expert by its place at the layer `beside`."""
    here, there = routes[:, layer], routes[:, beside]
    order = np.lexsort((np.arange(len(routes)), there, here))
    place = np.empty(len(routes))
    place[order] = np.arange(len(routes)) + GAP * np.cumsum(np.r_[0, np.diff(here[order]) > 0])
    return place - (place.max() - len(routes) + 1) / 2  # centred, whatever the number of gaps


def _ribbons(axes: Any, routes: Ints, first: Ints, experts: int) -> None:
    samples, layers = routes.shape
    used = np.bincount(first, minlength=experts)
    hues = {
        int(expert): hue for expert, hue in zip(np.argsort(-used, kind="stable"), HUES, strict=False) if used[expert]
    }
    for layer in range(layers - 1):
        start, end = heights(routes, layer, layer + 1), heights(routes, layer + 1, layer)
        for sample in range(samples):
            shade = colour(hues.get(int(first[sample]), "grey"))
            _ribbon(axes, layer + BAR, layer + 1 - BAR, start[sample], end[sample], shade)
    for layer in range(layers):
        place = heights(routes, layer, layer)
        for expert in np.unique(routes[:, layer]):
            mine = place[routes[:, layer] == expert]
            low, size = mine.min() - 0.5, len(mine)
            axes.add_patch(Rectangle((layer - BAR, low), 2 * BAR, size, color=colour("ink"), lw=0, zorder=4))
            right = layer == layers - 1
            axes.text(
                layer + (1.8 if right else -1.8) * BAR, low + size / 2, str(expert + 1), fontsize=8.5, va="center",
                ha="left" if right else "right", color=colour("ink"), zorder=5,
                path_effects=[withStroke(linewidth=2.2, foreground=colour("background"))],
            )  # fmt: skip
    tallest = samples + GAP * (min(experts, samples) - 1)
    middle = (samples - 1) / 2
    axes.set(xlim=(-0.25, layers - 0.75), ylim=(middle + tallest / 2 + 0.5, middle - tallest / 2 - 0.5), yticks=[])
    axes.set_xticks(range(layers), [f"layer {n + 1}" for n in range(layers)] if layers <= 3 else range(1, layers + 1))
    axes.tick_params(axis="x", labelsize=9, length=0)
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(False)


def _ribbon(axes: Any, left: float, right: float, start: float, end: float, shade: str) -> None:
    """A band of one sample's width from one height to another, level at both ends (a cubic Bezier curve)."""
    middle = (left + right) / 2
    up, down = (start - 0.5, end - 0.5), (start + 0.5, end + 0.5)
    points = [
        (left, up[0]), (middle, up[0]), (middle, up[1]), (right, up[1]),
        (right, down[1]), (middle, down[1]), (middle, down[0]), (left, down[0]), (left, up[0]),
    ]  # fmt: skip
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    axes.add_patch(PathPatch(Path(points, codes), facecolor=shade, alpha=0.7, lw=0, zorder=2))
