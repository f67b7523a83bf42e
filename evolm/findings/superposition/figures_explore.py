"""The interactive figure: every trained model of the main grid as a point to hover over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from evolm.findings.superposition import estimands
from evolm.findings.superposition.figure_style import STYLE, spread, thin
from evolm.panels import below
from evolm.plotting import Figure, colour, interactive, plain_ticks

if TYPE_CHECKING:
    from evolm.findings.superposition.parameters import SuperpositionParams

Tables = dict[str, pd.DataFrame]
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "x")  # plotly's names for the markers of STYLE


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
