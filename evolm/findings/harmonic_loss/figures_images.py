"""Figures of images: class vectors, hulls, distances, norms. Tables in, drawings out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap

from evolm.findings.harmonic_loss.arms import LINEAR
from evolm.findings.harmonic_loss.experiment import Tables
from evolm.findings.harmonic_loss.figure_parts import by_head, dots, log_axis, name_rows, seeds_as_dots
from evolm.findings.harmonic_loss.figure_style import STYLE, line, seeds_in
from evolm.findings.harmonic_loss.vision import HELD_OUT_IMAGE, HELD_OUT_MEAN
from evolm.fragments import Fragment
from evolm.instruments.geometry_hull import TOLERANCE
from evolm.panels import DASHDOT, DASHED, Look, below, each, is_narrow, percent, sentence
from evolm.plotting import Figure, colour, figure

if TYPE_CHECKING:
    from evolm.findings.harmonic_loss.parameters import HarmonicLossParams

IMAGES = "digits"
AUTHORS = "harmonic, authors'"
#: Arms of the single layer; the authors' code has twice the exponent that the paper recommends.
LOOKS = {
    "harmonic": STYLE["harmonic"]._replace(label=f"harmonic, n = {LINEAR['harmonic'].head.knob:g} (paper)"),
    AUTHORS: Look("vermillion", "P", DASHDOT, f"harmonic, n = {LINEAR[AUTHORS].head.knob:g} (authors' code)", "harmonic with the code's n"),
    "squared distance": STYLE["squared distance"],
    "cross-entropy": STYLE["cross-entropy"],
}  # fmt: skip
SEEN = ("harmonic", AUTHORS, "cross-entropy")
#: What the hulls make of images that nothing has trained.
REFERENCES = {
    HELD_OUT_IMAGE: Look("muted", "X", "", HELD_OUT_IMAGE, HELD_OUT_IMAGE),
    HELD_OUT_MEAN: Look("ink", "P", "", HELD_OUT_MEAN, HELD_OUT_MEAN),
}
IN_HULLS = LOOKS | REFERENCES


def _rows(tables: Tables, table: str, **where: object) -> pd.DataFrame:
    """Rows of a table of images that are digits; none where the record lacks them."""
    rows = tables.get(table, pd.DataFrame(columns=["images", "arm", "seed", *where]))
    for column, value in ({"images": IMAGES} | where).items():
        rows = rows[rows[column] == value]
    return rows


def _lacking(what: str) -> Fragment:
    return sentence(f"This record holds no {what}; a run with digits among its images has them.")


def centres(tables: Tables, params: HarmonicLossParams) -> Figure | Fragment:
    """Class vectors of the single layer on digits as signed images."""
    rows = _rows(tables, "centres")
    arms = [arm for arm in SEEN if arm in set(rows["arm"])]
    if not arms:
        return _lacking("class vectors of images")
    rows = rows[rows["seed"] == rows["seed"].min()]
    pictures = {arm: _pictures(rows[rows["arm"] == arm]) for arm in arms}
    side = pictures[arms[0]][0].shape[0]

    def draw(axes: Any) -> None:
        shades = LinearSegmentedColormap.from_list(
            "signed", [colour("vermillion"), colour("background"), colour("blue")]
        )
        axes.imshow(_mosaic(list(pictures.values())), cmap=shades, vmin=-1, vmax=1, interpolation="nearest")
        middles = (side + 1) * np.arange(len(pictures[arms[0]])) + side / 2 - 0.5
        axes.set_xticks(middles, [str(index) for index in range(len(middles))])
        names = _names(axes, arms)
        axes.set_yticks(
            (side + 1) * np.arange(len(arms)) + side / 2 - 0.5, names, fontsize=7.5 if is_narrow(axes) else 10
        )
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.grid(False)
        for edge in axes.spines.values():
            edge.set_visible(False)

    seed = rows["seed"].iloc[0]
    hull = _rows(tables, "hull", seed=seed) if "hull" in tables else pd.DataFrame({"arm": []})
    negative = {arm: hull.loc[hull["arm"] == arm, "negative"].mean() for arm in arms if arm in set(hull["arm"])}
    shares = {LOOKS[arm].short: percent(share) for arm, share in negative.items()}
    said = f" Share of negative weights: {by_head(shares)}." if shares else ""
    return figure(
        draw,
        name="harmonic-loss-centres",
        size=(7.8, 0.62 * len(arms) + 0.6),
        narrow_height=0.34 * len(arms) + 0.6,
        alt=f"The ten class vectors of each head as images of {side} by {side} pixels.{said}",
        caption=f"Class vectors of one layer on digits, as images: blue positive, vermillion negative, the page's colour 0; each row "
        "has a scale of its own, up to its largest weight. Pixels are not negative, so the weighted means of images that Theorem 3 "
        f"speaks of would have no vermillion.{said} Harmonic with n = {_knob('harmonic')} as the paper "
        f"recommends and {_knob(AUTHORS)} as the authors' code has it. One seed.",
    )


def _names(axes: Any, arms: list[str]) -> list[str]:
    """Short names, the long ones on two lines on a phone."""
    names = [IN_HULLS[arm].short for arm in arms]
    return [re.sub(" (with|of|image$)", r"\n\1", name) for name in names] if is_narrow(axes) else names


def _knob(arm: str) -> str:
    return f"{LINEAR[arm].head.knob:g}"


def _pictures(rows: pd.DataFrame) -> list[np.ndarray[Any, Any]]:
    """Each class's vector (pixel, pixel), classes in order, by the arm's largest weight."""
    wide = rows.pivot(index="class", columns="pixel", values="value").to_numpy(float)  # (class, pixel)
    side = round(wide.shape[1] ** 0.5)
    return list((wide / max(float(np.abs(wide).max()), 1e-12)).reshape(-1, side, side))


def _mosaic(rows: list[list[np.ndarray[Any, Any]]]) -> np.ndarray[Any, Any]:
    """Rows of pictures as one, with a gap of a pixel between them."""
    side = rows[0][0].shape[0]
    whole = np.full((len(rows) * (side + 1) - 1, len(rows[0]) * (side + 1) - 1), np.nan)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            whole[i * (side + 1) :, j * (side + 1) :][:side, :side] = picture
    return whole


def hulls(tables: Tables, params: HarmonicLossParams) -> Figure | Fragment:
    """How far class vectors are from the hull of their class, and how many of their weights are negative."""
    rows = _rows(tables, "hull")
    arms = [arm for arm in IN_HULLS if arm in set(rows["arm"])]
    if not arms:
        return _lacking("hulls of images")
    means = rows.groupby(["arm", "seed"])[["relative", "negative"]].mean()
    titles = {"relative": "distance from the hull", "negative": "negative weights"}
    units = {"relative": "relative to the mean's", "negative": "share"}

    def draw(panels: list[Any]) -> None:
        for axes, (column, title) in zip(panels, titles.items(), strict=True):
            axes.axvline(0, color=colour("muted"), lw=1.2, ls=DASHED, label="Theorem 3: 0")
            for place, arm in enumerate(arms):
                dots(axes, means.xs(arm)[column].tolist(), place, IN_HULLS[arm])
            name_rows(axes, _names(axes, arms), shown=is_narrow(axes) or axes is panels[0])
            axes.set_xlim(-0.03, max(1.0, 1.05 * means[column].max()) if column == "relative" else 0.75)
            axes.set_title(title)
            axes.set_xlabel(units[column])
        below(panels)

    of = means.groupby("arm").mean()
    said = by_head({IN_HULLS[arm].short: f"{of.relative[arm]:.2f} and {percent(of.negative[arm])}" for arm in arms})
    return figure(
        draw,
        name="harmonic-loss-hulls",
        panels=2,
        size=(7.8, 0.4 * len(arms) + 1.6),
        narrow_height=2 * (0.42 * len(arms) + 1.2) + 0.4,
        alt=f"Per head, distance of class vectors from the hull of their class, and share of negative weights: {said}.",
        caption="Class vectors of one layer on digits. Left: distance from the convex hull of all training images of the class, over that from "
        "their mean; 0 would be the weighted mean of images that Theorem 3 speaks of. Right: share of weights below 0, which no such mean has "
        f"(beyond {percent(TOLERANCE)} of the brightest pixel). The vectors of cross-entropy have no length of their own and get the one that brings them nearest to the mean. "
        "Beside them, what the same hulls make of images that were held out, and of their mean. "
        f"Means over the ten classes: {said}. {seeds_as_dots(rows['seed'].nunique())}",
    )


def layer_norms(tables: Tables, params: HarmonicLossParams) -> Figure | Fragment:
    """Norm of the single layer's weights against the epoch, and its late slope."""
    rows = _rows(tables, "vision_curves", backbone="linear")
    arms = [arm for arm in LOOKS if arm in set(rows["arm"])]
    if not arms:
        return _lacking("norms of a layer on images")
    ends = _rows(tables, "vision", backbone="linear")
    slopes = {arm: float(ends.loc[ends["arm"] == arm, "vector_norm_slope"].mean()) for arm in arms}

    def draw(axes: Any) -> None:
        for arm in arms:
            look = LOOKS[arm]
            line(axes, rows[rows["arm"] == arm], "vector_norm", look, label=f"{look.label}: slope {slopes[arm]:.2f}")
        log_axis(axes.xaxis, 0.9, 1.15 * rows["epoch"].max())
        log_axis(axes.yaxis, 0.85 * rows["vector_norm"].min(), 1.15 * rows["vector_norm"].max())
        axes.set_xlabel("epoch")
        axes.set_ylabel("norm of the weights")
        below(each(axes))

    said = by_head({LOOKS[arm].short: f"{slope:.2f}" for arm, slope in slopes.items()})
    return figure(
        draw,
        name="harmonic-loss-layer-norms",
        size=(7.2, 4.2),
        narrow_height=4.4,
        alt=f"Norm of the weights of one layer against the epoch, both axes logarithmic. Late slopes: {said}.",
        caption="Norm of the class vectors of one layer on digits, without weight decay; both axes are logarithmic. The slope is that "
        f"of the last two doublings of the epoch, 0 for weights that have ceased to grow: {said}. {seeds_in(rows)}",
    )
