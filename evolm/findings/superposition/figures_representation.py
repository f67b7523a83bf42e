"""Figures of what is represented and what its loss is made of: tables in, drawings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evolm.findings.superposition import estimands
from evolm.findings.superposition.experiment import PICTURE
from evolm.findings.superposition.figure_style import by_law, spread
from evolm.panels import below
from evolm.plotting import Figure, colour, figure

if TYPE_CHECKING:
    from evolm.findings.superposition.parameters import SuperpositionParams

Tables = dict[str, pd.DataFrame]


def geometry(tables: Tables) -> Figure:
    """Six features in two dimensions, from weak to strong superposition: the picture that explains the word."""
    rows = tables["picture"]
    titles = {"weak": "γ = 1", "neutral": "γ = 0", "strong": "γ = −1"}
    back = rows.groupby("arm")["recovered"].sum()

    def draw(panels: list[Any]) -> None:
        circle = np.linspace(0, 2 * np.pi, 200)
        for axes, (arm, title) in zip(panels, titles.items(), strict=True):
            part = rows[rows["arm"] == arm]
            axes.plot(np.cos(circle), np.sin(circle), color=colour("grid"), lw=1, zorder=1)
            for _, feature in part.iterrows():
                shade = colour("blue" if feature["recovered"] else "vermillion")
                width = 1.5 + 4 * feature["frequency"] / rows["frequency"].max()
                axes.plot([0, feature["x"]], [0, feature["y"]], color=shade, lw=width, solid_capstyle="round", zorder=2)
                axes.plot(feature["x"], feature["y"], "o" if feature["recovered"] else "X", color=shade, ms=7, zorder=3)
            axes.set(title=f"{title}: {back[arm]} of {len(part)}", xlim=(-1.35, 1.35), ylim=(-1.35, 1.35))
            axes.set(xlabel="dimension 1", ylabel="dimension 2", aspect="equal")
            axes.set_xticks([-1, 0, 1])
            axes.set_yticks([-1, 0, 1])

    return figure(
        draw,
        name="superposition-geometry",
        panels=3,
        size=(7.6, 3.1),
        alt="Three pictures of six feature directions in a plane: "
        + ", ".join(f"at {titles[arm]} the model gives back {back[arm]}" for arm in titles)
        + ". The lower the decay, the more directions share the plane.",
        caption="Six features in two dimensions, trained under three weight decays γ. Each stroke is the direction of one "
        "feature, thicker when it is more frequent; blue dots are features that the model gives back, red crosses those "
        "that it does not. Opposite directions hardly disturb each other through the ReLU, so even positive decay keeps "
        f"more than two. One seed, α = {PICTURE.alpha:g}, {PICTURE.density:g} active features per sample, bias from zero.",
    )


def represented_against_decay(tables: Tables, params: SuperpositionParams) -> Figure:
    """Fractions by norm and by recovery against weight decay, at the middle width and law, beside a linear decoder."""
    rows = estimands.grid(tables, alpha=params.middle_alpha, width=params.middle_width)
    rows = rows[(rows["bias_std"] == params.bias_std) & (rows["decoder"] != "frozen")]
    series = [
        ("relu", "recovered", "blue", "o", "recovered"),
        ("relu", "represented", "sky", "s", "row norm above ½"),
        ("linear", "recovered", "grey", "X", "linear decoder: recovered"),
        ("linear", "represented", "orange", "v", "linear decoder: norm above ½"),
    ]

    def draw(axes: Any) -> None:
        for decoder, column, shade, marker, label in series:
            by = rows[rows["decoder"] == decoder].groupby("decay")[column]
            axes.fill_between(by.min().index, by.min(), by.max(), color=colour(shade), alpha=0.2, lw=0)
            axes.plot(by.mean().index, by.mean(), color=colour(shade), marker=marker, label=label)
        axes.axhline(
            params.middle_width / params.n, color=colour("ink"), lw=1, ls="--", label="m/n: one dimension per feature"
        )
        axes.set(xlabel="weight decay γ (below 0: norms pulled to 1)", ylabel="fraction of features")
        axes.set_ylim(-0.03, 1.03)
        below(axes)

    return figure(
        draw,
        name="superposition-decay",
        size=(7.2, 4.8),
        narrow_height=5.4,
        alt="Fraction of features represented and recovered against weight decay: both fall as decay grows; the linear "
        "decoder never exceeds one dimension per feature.",
        caption=f"What weight decay sets, at width {params.middle_width} and α = {params.middle_alpha:g}: means over "
        f"{params.seeds} seeds, bands their range. A linear decoder cannot give back more features than it has dimensions "
        "(dashed): a ceiling for it, not a test.",
    )


def recovery_against_width(tables: Tables, params: SuperpositionParams) -> Figure:
    """Recovered fraction against width for every arm, one panel per frequency law."""

    def one(axes: Any, rows: pd.DataFrame, alpha: float) -> None:
        for arm in ("strong", "zero-bias", "neutral", "weak", "frozen"):
            spread(axes, rows[rows["arm"] == arm], "width", "recovered", arm)
        widths = np.array(sorted(rows["width"].unique()))
        axes.plot(widths, widths / params.n, color=colour("ink"), lw=1, ls="--", label="m/n: one dimension per feature")
        axes.set(title=f"α = {alpha:g}", ylim=(-0.03, 1.03))

    return by_law(
        one,
        estimands.grid(tables),
        name="superposition-recovery",
        ylabel="fraction recovered",
        alt="Recovered fraction against width for each arm, a panel per frequency law.",
        caption="How many features each model gives back, means over seeds and their range. At the smallest width negative "
        "decay does not help; at larger ones the strong arm with its random bias stays behind the one that started at zero.",
    )


def missing_share(tables: Tables, params: SuperpositionParams) -> Figure:
    """Share of the loss that is features which are active and not given back; the rest is overlap and bias."""
    rows = estimands.grid(tables)
    rows = rows.assign(share=rows["loss_missing"] / rows["loss"])

    def one(axes: Any, part: pd.DataFrame, alpha: float) -> None:
        for arm in ("strong", "zero-bias", "weak"):
            spread(axes, part[part["arm"] == arm], "width", "share", arm)
        axes.set(title=f"α = {alpha:g}", ylim=(-0.03, 1.03))

    return by_law(
        one,
        rows,
        name="superposition-missing",
        ylabel="share of the loss",
        alt="Share of the loss that comes from features the model does not give back, against width, per law.",
        caption="What the loss is made of: the share that is active features which the model does not give back. Where it is "
        "high, the curve of loss against width is about how many features come back; those that do not may be silent, or lost "
        "in overlap.",
    )


def frequency_sum(tables: Tables, params: SuperpositionParams) -> Figure:
    """Measured loss against Eq. 4 with the measured represented set; controls: p shuffled, and no decay."""
    rows = estimands.grid(tables)
    rows = rows[rows["alpha"] > 0]
    series = [
        ("weak", "predicted_shuffled", "grey", "X", "control: weak, frequencies shuffled"),
        ("neutral", "predicted_by_norm", "purple", "D", "control: no decay"),
        ("weak", "predicted_by_norm", "vermillion", "^", "weak, with its own represented set"),
    ]

    def draw(axes: Any) -> None:
        ends = [rows["loss"].min() * 0.8, rows["loss"].max() * 1.25]
        axes.plot(ends, ends, color=colour("ink"), lw=1, ls="--", label="Eq. 4 exactly")
        for arm, column, shade, marker, label in series:
            part = rows[(rows["arm"] == arm) & (rows[column] > 0)]
            look = {"marker": marker, "color": colour(shade), "alpha": 0.6, "ms": 5, "label": label}
            axes.plot(part[column], part["loss"], ls="none", **look)
        axes.set(xscale="log", yscale="log", xlabel="loss that Eq. 4 predicts", ylabel="test loss")
        below(axes, columns=2)

    return figure(
        draw,
        name="superposition-frequency-sum",
        size=(7.2, 4.8),
        alt="Test loss against the loss that Eq. 4 predicts: weakly superposed models lie on or near the diagonal; with "
        "shuffled frequencies they do not, and without decay they leave it as the loss falls.",
        caption="Every point is one model: all widths and seeds at the skewed laws. The loss of a weakly superposed model is "
        "what its missing features would have contributed. With other features of the same number it is not. Without decay it "
        "still nearly is where little is shared; where the loss is low the models lose more than Eq. 4 says, to overlap and to "
        "features that are long enough to count but are not given back.",
    )
