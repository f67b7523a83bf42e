"""Figures of loss against width and of the exponents: tables in, drawings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import NullFormatter

from evolm.findings.superposition import estimands
from evolm.findings.superposition.figure_style import STYLE, by_law, spread, thin
from evolm.fragments import Fragment, table
from evolm.panels import below
from evolm.plotting import Figure, colour, figure, plain_ticks, sequential

if TYPE_CHECKING:
    from evolm.findings.superposition.parameters import SuperpositionParams

Tables = dict[str, pd.DataFrame]


def loss_against_width(tables: Tables, params: SuperpositionParams) -> Figure:
    """Both regimes and the controls, one panel per frequency law, with the paper's exponents drawn in."""

    def one(axes: Any, rows: pd.DataFrame, alpha: float) -> None:
        widths = np.array(sorted(rows["width"].unique()), float)
        for arm in STYLE:
            spread(axes, rows[rows["arm"] == arm], "width", "loss", arm)
        axes.axhline(rows["ceiling"].iloc[0], color=colour("muted"), lw=1, ls=(0, (1, 2)), label="ceiling: the mean")
        ideal = rows.groupby("width")["ideal_weak"].first()
        axes.plot(ideal.index, ideal, color=colour("vermillion"), lw=1, ls="--", label="Eq. 4, the m most frequent")
        exponent = 1.0 if alpha <= 1.5 else 2 * (alpha - 1)
        strong = rows[rows["arm"] == "strong"].groupby("width")["loss"].mean()
        if len(strong):
            anchor = float(np.exp(np.log(strong).mean() + exponent * np.log(strong.index.to_numpy(float)).mean()))
            line = anchor * widths**-exponent
            axes.plot(widths, line, color=colour("blue"), lw=1, ls="--", label="paper, strong")
            axes.text(widths[-1], line[-1], f" {exponent:g}", color=colour("blue"), va="center")
        axes.axvline((2 * params.n) ** 0.5, color=colour("muted"), lw=1, ls=":", label="m² = 2n")
        axes.set(yscale="log", title=f"α = {alpha:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())

    return by_law(
        one,
        estimands.grid(tables),
        name="superposition-loss",
        ylabel="test loss  E|y − x|²",
        height=4.8,
        alt="Test loss against width on log axes, a panel per frequency law. Strong superposition falls below weak as "
        "width grows; at the flatter laws its curves steepen.",
        caption=f"Loss against width, {_features(params)}. Lines are means over {params.seeds} seeds, bands their whole "
        "range. Dashed blue: the paper's exponent (its value at the right end), placed through the middle of the strong "
        "arm. Dashed red: Eq. 4 for a model that keeps exactly the m most frequent features.",
    )


def exponent_against_law(tables: Tables, params: SuperpositionParams) -> Figure:
    """Fitted exponents against the exponent of the frequency law, with the three lines of the theory."""
    found = estimands.exponents(estimands.grid(tables), ["seed", "alpha", "arm"])

    def draw(axes: Any) -> None:
        grid = np.linspace(min(found["alpha"].min(), 0), max(found["alpha"].max(), 2), 100)
        axes.plot(
            grid,
            np.maximum(1, 2 * (grid - 1)),
            color=colour("blue"),
            lw=1,
            ls="--",
            label="paper, strong: 1, then 2(α−1)",
        )
        axes.plot(
            grid[grid >= 1],
            grid[grid >= 1] - 1,
            color=colour("vermillion"),
            lw=1,
            ls="--",
            label="paper, weak: α−1 for α>1",
        )
        for shift, arm in zip((-0.03, 0.03, 0, 0, 0), STYLE, strict=True):
            part = found[found["arm"] == arm]
            shade, marker, label = STYLE[arm]
            axes.plot(
                part["alpha"] + shift, part["exponent"], ls="none", marker=marker, color=colour(shade), alpha=0.45, ms=4
            )
            mean = part.groupby("alpha")["exponent"].mean()
            axes.plot(mean.index + shift, mean, marker=marker, ms=7, color=colour(shade), label=label)
        axes.set(
            xlabel=r"exponent α of the frequency law  $p_i \propto i^{-\alpha}$", ylabel="exponent of loss in width"
        )
        axes.set_ylim(bottom=min(0, found["exponent"].min()) - 0.1)
        below(axes)

    return figure(
        draw,
        name="superposition-exponents",
        size=(7.2, 4.8),
        narrow_height=5.6,
        alt="Exponent of loss against width, for each frequency law and arm, beside the paper's theory lines.",
        caption="Exponents of a straight log-log fit over all widths: small marks are seeds, large ones their "
        "mean. A fit over "
        "a curved line depends on the widths chosen; the table below shows how much.",
    )


def boundary(tables: Tables, params: SuperpositionParams) -> Figure:
    """Where the exponent is 1: training length and bias start, local exponents, distance to the ceiling."""
    started = estimands.exponents(estimands.starts(tables, params), ["seed", "bias_std", "steps"])
    rows = estimands.grid(tables)
    slopes = local_slopes(rows[rows["arm"].isin(["strong", "zero-bias"])], "arm")
    at_law = slopes[slopes["alpha"] == params.sweep_alpha]

    def draw(panels: list[Any]) -> None:
        biases = sorted(started["bias_std"].unique())
        for bias, shade in zip(biases, sequential(len(biases)), strict=True):
            by = started[started["bias_std"] == bias].groupby("steps")["exponent"]
            panels[0].fill_between(by.min().index, by.min(), by.max(), color=shade, alpha=0.25, lw=0)
            panels[0].plot(by.mean().index, by.mean(), color=shade, marker="o", label=f"bias from N(0, {bias:g}²)")
        for arm in ("strong", "zero-bias"):
            spread(panels[1], at_law[at_law["arm"] == arm], "width", "slope", arm)
            part, (shade, marker, _) = slopes[slopes["arm"] == arm], STYLE[arm]
            panels[2].plot(part["share"], part["slope"], ls="none", marker=marker, ms=4, alpha=0.5, color=colour(shade))
        for axes, data in zip(panels, (started, at_law, slopes), strict=True):
            axes.axhline(1, color=colour("ink"), lw=1, ls="--")
            axes.set_xscale("log" if len(data) else "linear")  # a log axis without data cannot be drawn
        panels[0].set(title="Longer training", xlabel="training steps", ylabel="exponent over all widths")
        panels[1].set(title="Local exponents", xlabel="width m between two sizes", ylabel="between neighbours")
        panels[1].axvline((2 * params.n) ** 0.5, color=colour("muted"), lw=1, ls=":", label="m² = 2n")
        panels[2].set(title="Near the ceiling", xlabel="loss / ceiling", ylabel="between neighbours")
        plain_ticks(panels[0].xaxis, thin(sorted(started["steps"].unique())))
        plain_ticks(panels[1].xaxis, thin(sorted(rows["width"].unique())))
        _joint_legend(panels[:2])

    return figure(
        draw,
        name="superposition-boundary",
        panels=3,
        size=(7.6, 4.4),
        alt="Left: exponent against training length for each bias start. Middle: the exponent between neighbouring widths "
        "rises with width. Right: it is low where the loss is near the ceiling and high far below it, at every law.",
        caption=f"Where the exponent is 1 (dashed). Left: the same models (α = {params.sweep_alpha:g}) trained for "
        "different lengths from different bias starts; N(0, 1²) is the authors'. Middle: the exponent between neighbouring "
        "widths at that law; a power law would be a flat line. Right: the same for all laws, against the loss as a share of "
        "the ceiling, which is the loss of predicting the mean.",
    )


def counts(tables: Tables, params: SuperpositionParams) -> Figure:
    """Local exponents for several feature counts, against width and against m^2/2n: which of the two they follow."""
    slopes = local_slopes(estimands.feature_counts(tables, params), "n")
    found = sorted(slopes["n"].unique())

    def draw(panels: list[Any]) -> None:
        for n, shade in zip(found, sequential(len(found)), strict=True):
            by = slopes[slopes["n"] == n].groupby("width")["slope"]
            low, middle, high = by.min(), by.mean(), by.max()
            for axes, x in zip(panels, (middle.index, middle.index**2 / (2 * n)), strict=True):
                axes.fill_between(x, low, high, color=shade, alpha=0.25, lw=0)
                axes.plot(x, middle, color=shade, marker="o", label=f"n = {n} features")
        for axes, label in zip(panels, ("width m between two sizes", "m² / 2n"), strict=True):
            axes.axhline(1, color=colour("ink"), lw=1, ls="--")
            axes.set(xscale="log" if len(slopes) else "linear", xlabel=label)
        panels[0].set(title="Against width", ylabel="exponent between neighbours")
        panels[1].set(title="Against m² / 2n")
        plain_ticks(panels[0].xaxis, thin(params.widths))
        below(panels[0], columns=3)

    return figure(
        draw,
        name="superposition-feature-counts",
        panels=2,
        size=(7.6, 4.0),
        alt="Exponent between neighbouring widths for several feature counts, against width and against m squared over 2n.",
        caption=f"The strong arm at α = {params.sweep_alpha:g} with other numbers of features. Where the curves fall on each "
        "other is what the exponent follows: the width alone, or the number of nearly orthogonal directions, about m²/2, "
        "relative to the number of features.",
    )


def fit_ranges(tables: Tables, params: SuperpositionParams) -> Fragment:
    """What a straight line gives over other ranges of widths: mean exponent [lowest, highest seed]."""
    found = estimands.exponents_by_range(tables, params)
    laws = sorted(found["alpha"].unique())
    columns = [f"α = {alpha:g}, {name}" for alpha in laws for name in ("random bias", "bias from zero")]
    rows = []
    for name in estimands.FIT_RANGES:
        cells = []
        for alpha in laws:
            for arm in ("strong", "zero-bias"):
                part = found[(found["range"] == name) & (found["alpha"] == alpha) & (found["arm"] == arm)]["exponent"]
                cells.append(f"{part.mean():.2f} [{part.min():.2f}, {part.max():.2f}]" if len(part) else "–")
        rows.append((name, *cells))
    return table(("Fitted over", *columns), rows, caption="Exponent by the range of widths that is fitted")


def local_slopes(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Exponent between neighbouring widths at their geometric mean, and their loss as a share of the ceiling."""
    found = []
    for (seed, label, alpha), part in rows.groupby(["seed", by, "alpha"]):
        ordered = part.sort_values("width")
        x, y = np.log(ordered["width"].to_numpy(float)), np.log(ordered["loss"].to_numpy(float))
        middles, slopes = np.exp((x[1:] + x[:-1]) / 2), -np.diff(y) / np.diff(x)
        shares = np.exp((y[1:] + y[:-1]) / 2) / ordered["ceiling"].iloc[0]
        labels = {"seed": seed, by: label, "alpha": alpha}
        found.append(pd.DataFrame({**labels, "width": middles, "slope": slopes, "share": shares}))
    return pd.concat(found) if found else pd.DataFrame(columns=["seed", by, "alpha", "width", "slope", "share"])


def _joint_legend(panels: list[Any]) -> None:
    """One legend for panels that show different series."""
    entries = [entry for axes in panels for entry in zip(*axes.get_legend_handles_labels(), strict=True)]
    narrow = panels[0].figure.get_figwidth() < 5
    handles, labels = [handle for handle, _ in entries], [label for _, label in entries]
    panels[0].figure.legend(handles, labels, loc="outside lower center", ncols=1 if narrow else 3)


def _features(params: SuperpositionParams) -> str:
    return f"{params.n} features, {params.steps:,} training steps"
