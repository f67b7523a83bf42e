"""Figures of loss against width and of the exponents: tables in, drawings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import NullFormatter

from evolm.findings.superposition import estimands
from evolm.findings.superposition.figure_style import STYLE, below, spread, thin
from evolm.plotting import Figure, colour, figure, interactive, plain_ticks

if TYPE_CHECKING:
    from evolm.findings.superposition.parameters import SuperpositionParams

Tables = dict[str, pd.DataFrame]
SYMBOLS = ("circle", "square", "triangle-up", "x")  # plotly's names for the markers of STYLE


def loss_against_width(tables: Tables, params: SuperpositionParams) -> Figure:
    """Both regimes and the frozen control, one panel per frequency law, with the paper's exponents drawn in."""
    rows = estimands.grid(tables)
    laws = _three(sorted(rows["alpha"].unique()))

    def draw(panels: Any) -> None:
        panels = panels if isinstance(panels, list) else [panels]
        for axes, alpha in zip(panels, laws, strict=True):
            part = rows[rows["alpha"] == alpha]
            widths = np.array(sorted(part["width"].unique()), float)
            for arm in STYLE:
                spread(axes, part[part["arm"] == arm], "width", "loss", arm)
            axes.axhline(
                part["ceiling"].iloc[0], color=colour("muted"), lw=1, ls=(0, (1, 2)), label="ceiling: predict the mean"
            )
            ideal = part.groupby("width")["ideal_weak"].first()
            ideal = ideal[ideal > 0]
            axes.plot(
                ideal.index, ideal, color=colour("vermillion"), lw=1, ls="--", label="Eq. 4, the m most frequent kept"
            )
            exponent = 1.0 if alpha <= 1.5 else 2 * (alpha - 1)
            strong = part[part["arm"] == "strong"].groupby("width")["loss"].mean()
            anchor = float(np.exp(np.log(strong).mean() + exponent * np.log(strong.index.to_numpy(float)).mean()))
            axes.plot(
                widths,
                anchor * widths**-exponent,
                color=colour("blue"),
                lw=1,
                ls="--",
                label="paper's exponent, strong",
            )
            axes.text(widths[-1], anchor * widths[-1] ** -exponent, f" {exponent:g}", color=colour("blue"), va="center")
            axes.set(xscale="log", yscale="log", title=f"α = {alpha:g}", xlabel="width m (dimensions)")
            axes.yaxis.set_minor_formatter(NullFormatter())
            plain_ticks(axes.xaxis, thin(widths))
        panels[0].set_ylabel("test loss  E|y − x|²")
        below(panels[0])

    return figure(
        draw,
        name="superposition-loss",
        panels=len(laws),
        size=(7.6, 4.6),
        narrow_height=3.0 * len(laws) + 1.6,
        alt=f"Test loss against width on log axes for frequency exponents {', '.join(f'{a:g}' for a in laws)}. Strong "
        "superposition falls below weak as width grows, along curves that steepen; frozen random directions "
        "fall slowly.",
        caption=f"Loss against width, {_features(params)}. Lines are means over {params.seeds} seeds, bands "
        "their whole range. "
        "Dashed blue: the paper's exponent (its value at the right end), placed through the middle of the strong arm. "
        "Dashed red: Eq. 4 for a model that keeps exactly the m most frequent features.",
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
        for shift, arm in zip((-0.03, 0.03, 0, 0), STYLE, strict=True):
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
        "a curved line depends on the widths chosen; the next figure shows how much.",
    )


def boundary(tables: Tables, params: SuperpositionParams) -> Figure:
    """Exponent against training length for both bias starts, and local slopes against width: where 1 holds."""
    sweep = estimands.exponents(estimands.training_lengths(tables, params), ["seed", "arm", "steps"])
    rows = estimands.grid(tables)
    slopes = _local_slopes(rows[rows["arm"].isin(["strong", "zero-bias"])])
    at_law = slopes[slopes["alpha"] == params.sweep_alpha]

    def draw(panels: list[Any]) -> None:
        for arm in ("strong", "zero-bias"):
            spread(panels[0], sweep[sweep["arm"] == arm], "steps", "exponent", arm)
            spread(panels[1], at_law[at_law["arm"] == arm], "width", "slope", arm)
            part, (shade, marker, _) = slopes[slopes["arm"] == arm], STYLE[arm]
            panels[2].plot(part["share"], part["slope"], ls="none", marker=marker, ms=4, alpha=0.5, color=colour(shade))
        for axes in panels:
            axes.axhline(1, color=colour("ink"), lw=1, ls="--", label="paper: 1")
            axes.set_xscale("log")
        panels[0].set(title="Longer training", xlabel="training steps", ylabel="exponent over all widths")
        panels[1].set(title="Local exponents", xlabel="width m between two sizes", ylabel="between neighbours")
        panels[1].axvline((2 * params.n) ** 0.5, color=colour("muted"), lw=1, ls=":", label="m² = 2n")
        panels[2].set(title="Near the ceiling", xlabel="loss / ceiling", ylabel="between neighbours")
        plain_ticks(panels[0].xaxis, thin(sorted(sweep["steps"].unique())))
        plain_ticks(panels[1].xaxis, thin(sorted(rows["width"].unique())))
        below(panels[1], columns=4)

    return figure(
        draw,
        name="superposition-boundary",
        panels=3,
        size=(7.6, 3.9),
        alt="Left: with a random bias the exponent grows with training length; started at zero it is high at once. "
        "Middle: the exponent between neighbouring widths rises with width. Right: it is low where the loss is near "
        "the ceiling and high far below it, at every law.",
        caption=f"Where the exponent is 1. Left: the same models (α = {params.sweep_alpha:g}) trained for different "
        "lengths, from the authors' random bias and from zero. Middle: the exponent between neighbouring widths; a "
        "power law would be a flat line. Right: the same for all laws, against the loss as a share of the ceiling, "
        "which is the loss of predicting the mean.",
    )


def _local_slopes(rows: pd.DataFrame) -> pd.DataFrame:
    """Exponent between neighbouring widths at their geometric mean, and their loss as a share of the ceiling."""
    found = []
    for (seed, arm, alpha), part in rows.groupby(["seed", "arm", "alpha"]):
        ordered = part.sort_values("width")
        x, y = np.log(ordered["width"].to_numpy(float)), np.log(ordered["loss"].to_numpy(float))
        middles, slopes = np.exp((x[1:] + x[:-1]) / 2), -np.diff(y) / np.diff(x)
        shares = np.exp((y[1:] + y[:-1]) / 2) / ordered["ceiling"].iloc[0]
        labels = {"seed": seed, "arm": arm, "alpha": alpha}
        found.append(pd.DataFrame({**labels, "width": middles, "slope": slopes, "share": shares}))
    return pd.concat(found) if found else pd.DataFrame(columns=["seed", "arm", "alpha", "width", "slope", "share"])


def explore(tables: Tables, params: SuperpositionParams) -> Figure:
    """Every trained model of the main grid as a point to hover over: loss against width, a menu for the law."""
    rows = estimands.grid(tables)
    rows = rows[rows["arm"].isin(list(STYLE))].sort_values(["alpha", "arm", "seed", "width"])
    laws = sorted(rows["alpha"].unique())
    shown = laws[len(laws) // 2]

    def draw() -> Any:
        import plotly.graph_objects as go

        plot = go.Figure()
        for alpha in laws:
            for symbol, (arm, (shade, _, label)) in zip(SYMBOLS, STYLE.items(), strict=True):
                part = rows[(rows["alpha"] == alpha) & (rows["arm"] == arm)]
                notes = part[["seed", "recovered", "represented", "strong_count"]].round(3).to_numpy().tolist()
                plot.add_scatter(
                    x=part["width"].tolist(),
                    y=part["loss"].round(5).tolist(),
                    customdata=notes,
                    mode="markers",
                    name=label,
                    visible=bool(alpha == shown),
                    marker={"color": colour(shade), "symbol": symbol, "size": 8, "opacity": 0.75},
                    hovertemplate="width %{x}, loss %{y:.4g}<br>seed %{customdata[0]:.0f}<br>recovered "
                    "%{customdata[1]:.0%}, "
                    "norm above ½ %{customdata[2]:.0%}<br>%{customdata[3]:.0f} rows with norm above 1",
                )
        buttons = [
            {
                "label": f"α = {alpha:g}",
                "method": "restyle",
                "args": [{"visible": [bool(alpha == other) for other in laws for _ in STYLE]}],
            }
            for alpha in laws
        ]
        menu = {
            "buttons": buttons,
            "active": laws.index(shown),
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
        }
        plot.update_xaxes(type="log", title="width m (dimensions)", tickvals=list(params.widths))
        return plot.update_yaxes(type="log", title="test loss", dtick="D2").update_layout(updatemenus=[menu])

    def fallback(axes: Any) -> None:
        part = rows[rows["alpha"] == shown]
        for arm in STYLE:
            spread(axes, part[part["arm"] == arm], "width", "loss", arm)
        axes.set(xscale="log", yscale="log", title=f"α = {shown:g}", xlabel="width m (dimensions)", ylabel="test loss")
        plain_ticks(axes.xaxis, thin(params.widths))
        below(axes)

    return interactive(
        draw,
        fallback=fallback,
        name="superposition-explore",
        alt="Every trained model as a point, loss against width; hovering shows its seed and what it recovers.",
        caption="Every model of the main grid. Choose a frequency law in the menu; hover over a point for what "
        "that model "
        "represents and recovers.",
    )


def _three(laws: list[float]) -> list[float]:
    """At most three frequency laws to give a panel each: the ends and the middle."""
    return laws if len(laws) <= 3 else [laws[0], laws[len(laws) // 2], laws[-1]]


def _features(params: SuperpositionParams) -> str:
    return f"{params.n} features, {params.steps:,} training steps"
