"""The figure of distances on images: accuracy against two measures of structure. Tables in, drawings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from evolm.findings.harmonic_loss.experiment import Tables
from evolm.findings.harmonic_loss.figure_parts import log_axis
from evolm.findings.harmonic_loss.figure_style import STYLE
from evolm.findings.harmonic_loss.vision import LAYERS
from evolm.fragments import Fragment
from evolm.panels import below, is_narrow, sentence
from evolm.plotting import Figure, colour, figure

if TYPE_CHECKING:
    from evolm.findings.harmonic_loss.parameters import HarmonicLossParams

#: Operations per coordinate of a pair of example and class, by formula: a multiply-add, a sum, a comparison, a quotient
#: and a power count as one each. What is computed once per example or per class is left out.
OPERATIONS = {
    "cross-entropy": 1, "normalised": 1, "squared distance": 1, "euclidean": 1, "cosine": 1, "mahalanobis": 1,
    "manhattan": 2, "chebyshev": 2, "hamming": 2, "bray-curtis-abs": 2, "minkowski": 3, "bray-curtis": 4, "canberra": 4,
}  # fmt: skip
#: Distances that a claim of the second paper is about.
CLAIMED = ("cosine", "bray-curtis", "mahalanobis")
COLUMNS = {"ev2": "variance in 2 dimensions (PC2 EV)", "nc1": "NC1: within over between classes"}


def heads_of(tables: Tables, images: str) -> pd.DataFrame:
    """Rows behind the network with their head's name, for distances without the word harmonic."""
    rows = tables.get("vision", pd.DataFrame(columns=["images", "backbone", "arm", "seed", "test_accuracy", *COLUMNS]))
    rows = rows[(rows["images"] == images) & (rows["backbone"] == "network")]
    rows = rows.assign(name=rows["arm"].str.removeprefix("harmonic, "))
    return rows[rows["name"].isin(list(OPERATIONS))]


def shade(name: str) -> str:
    """Hue of a head: its own of the five, else purple where a claim is about the distance and grey where none is."""
    if name == "euclidean":
        return STYLE["harmonic"].shade
    return STYLE[name].shade if name in STYLE else "purple" if name in CLAIMED else "grey"


def distances(tables: Tables, params: HarmonicLossParams, images: str = "digits") -> Figure | Fragment:
    """Test accuracy of every head behind a network against the variance in a plane and against collapse."""
    rows = heads_of(tables, images)
    if rows.empty:
        return sentence(f"This record holds no networks on {images}; a run with {images} among its images has them.")
    names = [name for name in OPERATIONS if name in set(rows["name"])]
    by = rows.groupby("name")

    def draw(panels: list[Any]) -> None:
        for axes, (column, title) in zip(panels, COLUMNS.items(), strict=True):
            for number, name in enumerate(names, 1):
                _point(axes, by.get_group(name), column, number)
            axes.set_xlabel(title)
            axes.set_ylabel("test accuracy" if is_narrow(axes) or axes is panels[0] else "")
        log_axis(panels[1].xaxis, 0.85 * rows["nc1"].min(), 1.15 * rows["nc1"].max())
        below(panels, 3, 1)

    means = by[["test_accuracy", *COLUMNS]].mean().loc[names]
    right, flat, tight = means["test_accuracy"].idxmax(), means["ev2"].idxmax(), means["nc1"].idxmin()
    said = (
        f"Highest accuracy: {right}, {means['test_accuracy'].max():.3f} (cross-entropy "
        f"{_at(means, 'test_accuracy')}). Most variance in two dimensions: {flat}, {means['ev2'].max():.2f} (cross-entropy "
        f"{_at(means, 'ev2', 2)}). Least NC1: {tight}, {means['nc1'].min():.2f} (cross-entropy {_at(means, 'nc1', 2)})"
    )
    seeds = rows["seed"].nunique()
    width = LAYERS["network"][-1]
    return figure(
        draw,
        name="harmonic-loss-distances" if images == "digits" else f"harmonic-loss-distances-{images}",
        panels=2,
        size=(7.8, 5.4),
        narrow_height=9.6,
        alt=f"{len(names)} heads behind a small network on {images}: test accuracy against two measures of structure. {said}.",
        caption=f"Heads behind a small network on {images}; vermillion: harmonic with the first paper's distance, purple: distances that "
        "a claim of the second paper is about, grey: its others. Left: share of the variance of standardised test features in two "
        "dimensions, the second paper's PC2 EV. Right: variation within classes over that between them; less is nearer to class centres. "
        f"{said}. In brackets: operations per pair of example and class in units of the width ({width} here), an estimate by formula in which "
        "a power costs as much as a sum, and no measure of time or energy; heads at 1 run as a matrix product, Mahalanobis after a map of each "
        f"vector (width² each). {'One seed.' if seeds == 1 else f'Means over {seeds} seeds; whiskers: their range.'}",
    )


def _point(axes: Any, rows: pd.DataFrame, column: str, number: int) -> None:
    """A head's mean with its ranges, a number in the mark."""
    name, hue = rows["name"].iloc[0], colour(shade(rows["name"].iloc[0]))
    x, y = rows[column].mean(), rows["test_accuracy"].mean()
    front = 2 * (name == "euclidean")  # the first paper's own, which others would cover
    if len(rows) > 1:
        axes.hlines(y, rows[column].min(), rows[column].max(), color=hue, lw=1, alpha=0.45)
        axes.vlines(x, rows["test_accuracy"].min(), rows["test_accuracy"].max(), color=hue, lw=1, alpha=0.45)
    axes.plot(x, y, "o", ms=12.5, color=hue, mec=colour("background"), mew=0.8, zorder=3 + front)
    axes.text(
        x, y, str(number), ha="center", va="center_baseline", fontsize=8, color=colour("background"), zorder=4 + front
    )
    label = f"{number} {name} ({OPERATIONS[name]})"
    axes.plot([], [], "o", ms=7, color=hue, label=label)


def _at(means: pd.DataFrame, column: str, digits: int = 3) -> str:
    """Cross-entropy's mean, or that there is none."""
    return f"{float(means[column].loc['cross-entropy']):.{digits}f}" if "cross-entropy" in means.index else "absent"
