"""Figures of overlap: of the toy models' strong rows, and of the output vectors of open models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evolm.findings.superposition import estimands
from evolm.findings.superposition.figure_style import cycle
from evolm.panels import below
from evolm.plotting import Figure, colour, figure

if TYPE_CHECKING:
    from evolm.findings.superposition.parameters import SuperpositionParams

Tables = dict[str, pd.DataFrame]


def overlap_map(tables: Tables, params: SuperpositionParams) -> Figure:
    """Share of the gap to the Welch level that is closed: the strong arm less each control, law by width."""
    rows = estimands.grid(tables)
    rows = rows.assign(gap=estimands.gap_closed(rows))
    wide = rows[rows["arm"].isin(["strong", "frozen", "neutral"])].pivot(
        index=["seed", "alpha", "width"], columns="arm", values="gap"
    )
    controls = {"frozen": "less untrained directions", "neutral": "less training without decay"}
    laws, widths = sorted(rows["alpha"].unique()), sorted(rows["width"].unique())

    def draw(panels: list[Any]) -> None:
        for axes, (control, title) in zip(panels, controls.items(), strict=True):
            missing = [arm for arm in ("strong", control) if arm not in wide]
            difference = wide["strong"] - wide[control] if not missing else pd.Series(dtype=float)
            cells = difference.groupby(["alpha", "width"]).mean() if len(difference) else difference
            grid = np.array([[cells.get((alpha, width), np.nan) for width in widths] for alpha in laws], float)
            axes.imshow(grid, cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
            for i, j in np.argwhere(np.isfinite(grid)):
                ink = "#ffffff" if abs(grid[i, j]) > 0.6 else "#222832"
                axes.text(
                    j, i, f"{grid[i, j]:+.2f}".replace("-", "−"), ha="center", va="center", color=ink, fontsize=9.5
                )
            axes.set_xticks(range(len(widths)), [str(width) for width in widths])
            axes.set_yticks(range(len(laws)), [f"α = {alpha:g}" for alpha in laws])
            axes.set(title=f"Strong {title}", xlabel="width m (dimensions)")
            axes.grid(False)

    return figure(
        draw,
        name="superposition-overlap-map",
        panels=2,
        size=(7.6, 2.9),
        narrow_height=5.6,
        alt="Two tables of law by width: how much better strong rows are packed than untrained directions, and than the "
        "rows of models that were trained without decay. Numbers stand in the cells.",
        caption="How much nearer to the Welch level strong rows are than a control's, as a share of the gap from random "
        "vectors (0) to that level (1); means over seeds. Empty: too few rows with norm above 1 to say. Positive "
        "means that the strong arm packs better.",
    )


def open_models(tables: Tables, params: SuperpositionParams) -> Figure:
    """m <cos^2> of open models raw, centred, and without leading components, beside what their spectrum gives."""
    vectors = tables.get("vectors", pd.DataFrame(columns=["model", "variant"]))
    variants = list(dict.fromkeys(vectors["variant"]))

    def draw(axes: Any) -> None:
        shades, markers = cycle(("blue", "vermillion", "green", "purple")), cycle("os^D")
        for (name, part), shade, marker in zip(vectors.groupby("model", sort=False), shades, markers, strict=False):
            at = [variants.index(v) for v in part["variant"]]
            label = f"{name} (m = {part['m'].iloc[0]})"
            axes.plot(at, part["m_cos2"], marker=marker, color=colour(shade), label=label)
            spectrum = f"{name}, random rows of the same spectrum"
            axes.plot(
                at, part["m_cos2_spectrum"], marker=marker, mfc="none", ls=":", color=colour(shade), label=spectrum
            )
        axes.axhline(1, color=colour("ink"), lw=1, ls="--", label="random directions: 1")
        axes.set(yscale="log", ylabel="m × mean squared cosine")
        if not variants:
            axes.text(0.5, 0.5, "no open model was measured in this run", ha="center", transform=axes.transAxes)
        labels = [v.replace("centred, ", "− ").replace(" removed", "") for v in variants]
        axes.set_xticks(range(len(variants)), labels)
        below(axes, columns=1)

    return figure(
        draw,
        name="superposition-open-models",
        size=(7.2, 5.2),
        narrow_height=5.8,
        alt="m times the mean squared cosine of the output vectors of open models: above one as they are, falling once the "
        "mean and the leading components are removed, each beside random rows of the same spectrum.",
        caption="Output vectors of open models: as they are, centred, and without their leading principal components. Open "
        "marks are random rows with the same covariance spectrum: what lies on them is explained by a few long directions "
        "and says nothing about how single tokens are arranged.",
    )
