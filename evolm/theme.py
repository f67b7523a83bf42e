"""The colours and the matplotlib, seaborn and plotly settings that every figure shares, light and dark.

    with theme("dark"):
        axes.plot(x, y, color=colour("blue"))

Figures are made by `evolm.plotting`, which enters the theme; a drawing function only asks for colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import matplotlib as mpl
from cycler import cycler
from matplotlib.ticker import NullLocator

Mode = Literal["light", "dark"]
MODES: tuple[Mode, ...] = ("light", "dark")

# Okabe and Ito's hues, darkened on white and lightened on black until each has a
# contrast of 3:1 to the page and every pair stays apart (Lab distance 12) for readers without red or green cones.
PAGE: dict[Mode, dict[str, str]] = {
    "light": {"background": "#ffffff", "ink": "#222832", "muted": "#5b6470", "grid": "#e3e6ea"},
    "dark": {"background": "#14181e", "ink": "#ced6dd", "muted": "#9ca6b0", "grid": "#2f3740"},
}
PALETTE: dict[Mode, dict[str, str]] = {
    "light": {
        "blue": "#0072b2",
        "vermillion": "#d55e00",
        "green": "#008f68",
        "purple": "#a84081",
        "orange": "#885400",
        "sky": "#3a96cf",
        "grey": "#5a5a5a",
    },
    "dark": {
        "blue": "#4a9fe0",
        "vermillion": "#f27d3a",
        "green": "#26c395",
        "purple": "#d38bc1",
        "orange": "#f0b429",
        "sky": "#8fd0f7",
        "grey": "#b7babf",
    },
}
#: Hex colour in the light theme -> the one that stands for the same in the dark theme.
DARK_OF = {
    light: themes["dark"][name] for themes in (PAGE, PALETTE) for name, light in themes["light"].items()
}  # fmt: skip
#: Colour is never the only difference: draw series with these in the same order as the palette.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
VERDICT_COLOURS = {
    "reproduced": "green",
    "not reproduced": "vermillion",
    "not specific": "purple",
    "inconclusive": "orange",
    "measured": "blue",
    "not assessable": "grey",
    "not run at this scale": "grey",
}

_mode: ContextVar[Mode] = ContextVar("evolm_theme", default="light")


def colour(name: str) -> str:
    """Hex colour of a hue (`blue`, ...) or page part (`ink`, `muted`, `grid`, `background`) in the current theme."""
    mode = _mode.get()
    known = PALETTE[mode] | PAGE[mode]
    if name not in known:
        raise ValueError(f"there is no colour {name!r}; there are: {', '.join(known)}")
    return known[name]


def verdict_colour(verdict: str) -> str:
    """Hex colour that stands for a verdict in the current theme; raises `ValueError` for an unknown one."""
    if verdict not in VERDICT_COLOURS:
        raise ValueError(f"there is no verdict {verdict!r}; there are: {', '.join(VERDICT_COLOURS)}")
    return colour(VERDICT_COLOURS[verdict])


def sequential(n: int) -> list[str]:
    """`n` ordered colours (cividis) for an ordered quantity such as width, without the ends that fade into the page."""
    low, high = (0.0, 0.8) if _mode.get() == "light" else (0.35, 1.0)
    ramp = mpl.colormaps["cividis"]
    return [mpl.colors.to_hex(ramp(low + (high - low) * (i / max(n - 1, 1)))) for i in range(n)]


def plain_ticks(axis: Any, values: Sequence[float]) -> None:
    """Label an axis (`axes.xaxis`) at these values only, as plain numbers: for widths or seeds on a log scale."""
    axis.set_ticks(list(values), labels=[f"{value:g}" for value in values])
    axis.set_minor_locator(NullLocator())


@contextmanager
def theme(mode: Mode) -> Iterator[None]:
    """Matplotlib, seaborn and `colour` in one of the two themes, for the time of the context."""
    import seaborn as sns

    if mode not in MODES:
        raise ValueError(f"there is no theme {mode!r}; there are: {', '.join(MODES)}")
    page = PAGE[mode]
    settings = {
        **sns.axes_style("whitegrid"),
        **sns.plotting_context("notebook", font_scale=1.0),
        "font.size": 11,
        "axes.labelsize": 11,
        "axes.titlesize": 11.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "legend.fontsize": 10,
        "legend.frameon": False,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "lines.linewidth": 1.8,
        "lines.markersize": 5.5,
        "axes.prop_cycle": cycler(color=list(PALETTE[mode].values())),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": page["muted"],
        "axes.facecolor": page["background"],
        "figure.facecolor": page["background"],
        "savefig.facecolor": page["background"],
        "grid.color": page["grid"],
        "text.color": page["ink"],
        "axes.labelcolor": page["ink"],
        "axes.titlecolor": page["ink"],
        "xtick.color": page["muted"],
        "ytick.color": page["muted"],
        "xtick.labelcolor": page["ink"],
        "ytick.labelcolor": page["ink"],
        "font.family": ["DejaVu Sans"],
        "svg.fonttype": "path",
    }
    token = _mode.set(mode)
    try:
        with mpl.rc_context(settings):
            yield
    finally:
        _mode.reset(token)


def plotly_template(mode: Mode) -> Any:
    """The same theme as a plotly template; plotly is imported here because most figures do not need it."""
    import plotly.graph_objects as go

    page = PAGE[mode]
    axis = {"gridcolor": page["grid"], "linecolor": page["muted"], "zerolinecolor": page["grid"], "automargin": True}
    return go.layout.Template(
        layout={
            "paper_bgcolor": page["background"],
            "plot_bgcolor": page["background"],
            "font": {"color": page["ink"], "size": 13},
            "colorway": list(PALETTE[mode].values()),
            "xaxis": {**axis, "title": {"standoff": 8}},
            "yaxis": axis,
            "margin": {"l": 10, "r": 10, "t": 30, "b": 10},
            # At the foot of the whole figure: measured from the plot it would cover the axis title on a phone.
            "legend": {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0},
            "hoverlabel": {"bgcolor": page["background"], "font": {"color": page["ink"]}},
        }
    )
