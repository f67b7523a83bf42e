"""Figures of what is represented and how it overlaps: tables in, drawings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evolm.findings.superposition import estimands
from evolm.findings.superposition.figure_style import below, cycle, spread, thin
from evolm.plotting import Figure, colour, figure, plain_ticks

if TYPE_CHECKING:
    from evolm.findings.superposition.parameters import SuperpositionParams

Tables = dict[str, pd.DataFrame]


def geometry(tables: Tables) -> Figure:
    """Six features in two dimensions, from weak to strong superposition: the picture that explains the word."""
    rows = tables["picture"]
    titles = {"weak": "Weak", "neutral": "No decay", "strong": "Strong"}  # from positive to negative decay

    def draw(panels: list[Any]) -> None:
        for axes, (arm, title) in zip(panels, titles.items(), strict=True):
            part = rows[rows["arm"] == arm]
            kept = int((np.hypot(part["x"], part["y"]) > 0.5).sum())
            shade = colour("blue" if arm == "strong" else "vermillion" if arm == "weak" else "green")
            circle = np.linspace(0, 2 * np.pi, 200)
            axes.plot(np.cos(circle), np.sin(circle), color=colour("grid"), lw=1, zorder=1)
            for _, feature in part.iterrows():
                width = 1.5 + 4 * feature["frequency"] / rows["frequency"].max()
                axes.plot([0, feature["x"]], [0, feature["y"]], color=shade, lw=width, solid_capstyle="round", zorder=2)
                axes.plot(feature["x"], feature["y"], "o", color=shade, ms=6, zorder=3)
            axes.set(
                title=f"{title}: {kept} of {len(part)} kept", xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal"
            )
            axes.set_xticks([-1, 0, 1])
            axes.set_yticks([-1, 0, 1])
            axes.set(xlabel="dimension 1", ylabel="dimension 2")

    counts = (
        rows.assign(norm=np.hypot(rows["x"], rows["y"])).groupby("arm")["norm"].apply(lambda n: int((n > 0.5).sum()))
    )
    return figure(
        draw,
        name="superposition-geometry",
        panels=3,
        size=(7.6, 3.1),
        alt="Three pictures of six feature directions in a plane. "
        + " ".join(f"{titles[arm]}: {counts[arm]} features longer than one half." for arm in titles)
        + " Under strong superposition they spread around the circle.",
        caption="Six features in two dimensions, trained three times. Each stroke is the direction of one "
        "feature, thicker "
        "when the feature is more frequent; the circle has radius 1. Positive decay keeps what fits side by "
        "side and drops "
        "the rest; negative decay keeps everything and pays in overlap.",
    )


def represented_against_decay(tables: Tables, params: SuperpositionParams) -> Figure:
    """Fractions by norm and by recovery against weight decay, at the middle width, beside the linear control."""
    middle = params.widths[len(params.widths) // 2]
    rows = estimands.grid(tables, alpha=params.sweep_alpha, width=middle)
    rows = rows[(rows["bias_std"] == params.bias_std) & (rows["decoder"] != "frozen")]
    series = [
        ("relu", "recovered", "blue", "o", "recovered"),
        ("relu", "represented", "sky", "s", "row norm above ½"),
        ("linear", "recovered", "grey", "X", "control, linear decoder: recovered"),
        ("linear", "represented", "orange", "v", "control, linear decoder: norm above ½"),
    ]

    def draw(axes: Any) -> None:
        for decoder, column, shade, marker, label in series:
            by = rows[rows["decoder"] == decoder].groupby("decay")[column]
            axes.fill_between(by.min().index, by.min(), by.max(), color=colour(shade), alpha=0.2, lw=0)
            axes.plot(by.mean().index, by.mean(), color=colour(shade), marker=marker, label=label)
        axes.axhline(middle / params.n, color=colour("ink"), lw=1, ls="--", label="m/n: one dimension per feature")
        axes.set(
            xlabel="weight decay γ (below 0: norms pulled to 1)", ylabel="fraction of features", ylim=(-0.03, 1.03)
        )
        below(axes)

    return figure(
        draw,
        name="superposition-decay",
        size=(7.2, 4.8),
        narrow_height=5.4,
        alt="Fraction of features represented and recovered against weight decay: both fall as decay grows, and "
        "the linear "
        "decoder recovers almost none.",
        caption=f"What weight decay sets, at width {middle} and α = {params.sweep_alpha:g}: means over "
        f"{params.seeds} seeds, bands "
        "their range. The norm measure is 1 under negative decay by definition; recovery is what the model can "
        "give back.",
    )


def frequency_sum(tables: Tables, params: SuperpositionParams) -> Figure:
    """Measured loss of the weak arm against Eq. 4 with the measured represented set, and with p shuffled."""
    rows = estimands.grid(tables, arm="weak")

    def draw(axes: Any) -> None:
        both = np.concatenate([rows["loss"], rows["predicted_by_norm"]])
        ends = [both.min() * 0.8, both.max() * 1.25]
        axes.plot(ends, ends, color=colour("ink"), lw=1, ls="--", label="Eq. 4 exactly")
        for column, shade, marker, label in (
            ("predicted_shuffled", "grey", "X", "control: frequencies shuffled"),
            ("predicted_by_norm", "vermillion", "^", "Eq. 4 with the measured set"),
        ):
            part = rows if column == "predicted_by_norm" else rows[rows["alpha"] > 0]
            axes.plot(
                part[column], part["loss"], ls="none", marker=marker, color=colour(shade), alpha=0.6, ms=5, label=label
            )
        axes.set(xscale="log", yscale="log", xlabel="loss that Eq. 4 predicts", ylabel="test loss")
        below(axes, columns=1)

    return figure(
        draw,
        name="superposition-frequency-sum",
        size=(6.4, 4.4),
        alt="Test loss of weakly superposed models against the loss that Eq. 4 predicts: the points lie on the "
        "diagonal; with "
        "the frequencies shuffled they do not.",
        caption="Weak superposition: every point is one model (all widths, laws and seeds). The loss is what "
        "the missing "
        "features would have contributed; with the same number of features but the wrong ones, the prediction is lost.",
    )


def overlaps(tables: Tables, params: SuperpositionParams) -> Figure:
    """m <cos^2> of strong rows against width, and of open models raw, centred, and without leading components."""
    rows = estimands.grid(tables)
    rows = rows[rows["strong_count"] >= 2 * rows["width"]].assign(
        level=lambda f: f["mean_cos2"] * f["width"], welch=lambda f: f["welch_cos2"] * f["width"]
    )
    vectors = tables.get("vectors")
    real = vectors is not None and len(vectors) > 0

    def toy(axes: Any) -> None:
        for arm in ("strong", "zero-bias", "frozen"):
            part = rows[rows["arm"] == arm]
            if len(part):
                spread(axes, part, "width", "level", arm)
        strong = rows[rows["arm"] == "zero-bias"].groupby("width")["welch"].mean()
        axes.plot(strong.index, strong, color=colour("purple"), ls=":", lw=2, label="Welch level (tight frame)")
        axes.axhline(1, color=colour("ink"), lw=1, ls="--", label="random directions")
        axes.set(xscale="log", title="Toy models", xlabel="width m (dimensions)", ylabel="m × mean squared cosine")
        axes.set_xlim(min(params.widths) * 0.95, max(params.widths) * 1.05)
        plain_ticks(axes.xaxis, thin(params.widths))

    def draw(panels: Any) -> None:
        panels = panels if isinstance(panels, list) else [panels]
        toy(panels[0])
        if vectors is not None and real:
            _open_models(panels[1], vectors)
        below(panels[0])

    return figure(
        draw,
        name="superposition-overlaps",
        panels=2 if real else 1,
        size=(7.6, 4.8),
        narrow_height=8.2 if real else 5.0,
        alt="Left: m times the mean squared cosine of strongly represented features against width; one means "
        "random. Right: "
        "the same for open language models, far above one as they are, near one without their leading components.",
        caption="How much strongly represented features overlap: 1 is what random directions give, below 1 is "
        "better packed. "
        + (
            "Right: output vectors of open models, as they are, centred, and without leading principal components."
            if real
            else "No open model is measured in this run."
        ),
    )


def _open_models(axes: Any, vectors: pd.DataFrame) -> None:
    variants = list(dict.fromkeys(vectors["variant"]))
    for (name, part), shade, marker in zip(
        vectors.groupby("model", sort=False),
        cycle(("blue", "vermillion", "green", "purple")),
        cycle("os^D"),
        strict=False,
    ):
        at = [variants.index(v) for v in part["variant"]]
        axes.plot(at, part["m_cos2"], marker=marker, color=colour(shade), label=f"{name} (m = {part['m'].iloc[0]})")
        axes.plot(at, part["m_cos2_welch"], color=colour(shade), ls=":", lw=1)
    axes.axhline(1, color=colour("ink"), lw=1, ls="--")
    axes.set(yscale="log", title="Open models")
    labels = [v.replace("centred, ", "− ").replace(" removed", "") for v in variants]
    axes.set_xticks(range(len(variants)), labels, rotation=25, ha="right")
    axes.legend(loc="upper right")
