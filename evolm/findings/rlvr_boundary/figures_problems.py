"""Figures over problems: success before and after, what is solved by whom, perplexities. Tables in, drawings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evolm.findings.rlvr_boundary import estimands
from evolm.findings.rlvr_boundary.experiment import COOL
from evolm.findings.rlvr_boundary.figure_style import (
    STYLE,
    Tables,
    arms_of,
    cue_title,
    cues_of,
    known_share,
    look,
    rounds_of,
)
from evolm.panels import below, is_narrow, seeds_of
from evolm.plotting import Figure, colour, figure

if TYPE_CHECKING:
    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams

#: Edges of the success probabilities; the lowest bin is what certification cannot tell from 0.
EDGES = (0.0, 1e-5, 1e-3, 1e-2, 0.1, 0.5, 0.9, 1.0)
BINS = ("< 10⁻⁵", "10⁻⁵–10⁻³", "10⁻³–1 %", "1–10 %", "10–50 %", "50–90 %", "> 90 %")
#: Cells of the 2x2 table: column, hue, label.
CELLS = (
    ("both", "grey", "both"),
    ("base_only", "blue", "base only"),
    ("other_only", "vermillion", "this arm only"),
    ("neither", "grid", "neither"),
)


def histograms(tables: Tables, params: RlvrBoundaryParams) -> Figure:
    """Success probability of single problems before and after, at the core cue."""
    arms = arms_of(tables, ["base", "rl", "rft"], params.core_cue)
    counts = {arm: shares_by_success(tables, params.core_cue, arm) for arm in arms}
    absent = 1 - known_share(tables, params.core_cue)

    def draw(axes: Any) -> None:
        width = 0.8 / len(arms)
        for place, arm in enumerate(arms):
            at = np.arange(len(BINS)) + (place - (len(arms) - 1) / 2) * width
            mean, low, high = (counts[arm].agg(edge).to_numpy() for edge in ("mean", "min", "max"))
            axes.bar(at, mean, width, color=colour(STYLE[arm].shade), label=STYLE[arm].label, ec=colour("background"))
            if len(counts[arm]) > 1:
                axes.vlines(at, low, high, color=colour("ink"), lw=1)
        axes.plot([-0.5, 0.5], [absent] * 2, color=colour("ink"), lw=1.5, ls="--", label="absent method: out of reach")
        axes.set_xticks(range(len(BINS)), BINS, rotation=35, ha="right", rotation_mode="anchor")
        axes.set(xlabel="chance that one sample is right", ylabel="share of problems", title=cue_title(params.core_cue))
        axes.grid(False, axis="x")
        below(axes)

    return figure(
        draw,
        name="rlvr-boundary-histograms",
        size=(7.4, 4.6),
        narrow_height=5.2,
        alt="Histogram of the success probability of single problems. For the base most problems lie between one and fifty "
        "per cent; after reinforcement they have moved to both ends: nearly always solved, or next to never.",
        caption=f"Success probability of a single sample, by problem, at cue {params.core_cue:g}. {seeds_of(params.seeds)} Mass "
        "moves to near certainty and to near zero: what is gained at one sample on the right is lost at many on the left. "
        f"With k = {params.k_max}, a problem below {np.log(2) / params.k_max:.2%} is more often missed than solved. Below "
        "10⁻⁵ is what the measurement cannot tell from zero. Dashed: share of problems that need the absent method.",
    )


def shares_by_success(tables: Tables, cue: float, arm: str) -> pd.DataFrame:
    """Share of test problems in each bin of success probability, last step, temperature 1: seeds down, bins across."""
    rows = tables["success"]
    rows = rows[(rows["set"] == "test") & (rows["cue"] == cue) & (rows["arm"] == arm) & (rows["temperature"] == 1)]
    rows = rows[rows["step"] == rows["step"].max()]
    bins = pd.cut(rows["p"], list(EDGES), labels=list(BINS), include_lowest=True)
    return pd.crosstab(rows["seed"], bins, normalize="index").reindex(columns=list(BINS), fill_value=0.0)


def solvable_sets(tables: Tables, params: RlvrBoundaryParams) -> Figure:
    """Who solves what in k_max samples: 2x2 shares per arm beside a second draw of the base."""
    cues = cues_of(params)
    more = [*rounds_of(tables), "distil", "distil-known", "random", "format"]
    shares = {}
    for cue in cues:
        arms = arms_of(tables, ["base", "rl", "rft", *(more if cue == params.core_cue else [])], cue)
        slim = {"success": tables["success"][tables["success"]["arm"].isin(arms)]}
        shares[cue] = estimands.solvable_sets(slim, params, cue).groupby("arm").mean().loc[arms]

    rows = [(cue, arm, shares[cue].loc[arm]) for cue in cues for arm in shares[cue].index]
    places = np.arange(len(rows)) + 0.9 * np.array([cues.index(cue) for cue, _, _ in rows])

    def draw(axes: Any) -> None:
        left = np.zeros(len(rows))
        for cell, shade, label in CELLS:
            width = np.array([float(row[cell]) for _, _, row in rows])
            alpha = 0.35 if cell == "both" else 1
            axes.barh(places, width, 0.78, left=left, color=colour(shade), alpha=alpha, label=label, lw=0)
            left = left + width
        columns = (1.25, 1.54) if is_narrow(axes) else (1.11, 1.24)
        for place, (_, _, row) in zip(places, rows, strict=True):
            for at, cell, shade in zip(columns, ("base_only", "other_only"), ("blue", "vermillion"), strict=True):
                axes.text(at, place, f"{row[cell]:.1%}", color=colour(shade), fontsize=9.5, ha="right", va="center")
        for cue in cues:
            first = places[[c for c, _, _ in rows].index(cue)]
            axes.text(0, first - 0.55, cue_title(cue), fontsize=10.5, fontweight="bold", va="bottom")
        axes.set_yticks(places, ["base again" if arm == "base" else look(arm).short for _, arm, _ in rows])
        axes.set(xlim=(0, columns[1]), ylim=(places[-1] + 0.6, -1.35))
        axes.set_xlabel("share of problems", x=0.5 / columns[1])
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.grid(False)
        below(axes, 4)

    tall = 0.27 * len(rows) + 0.3 * len(cues)
    return figure(
        draw,
        name="rlvr-boundary-sets",
        size=(7.4, tall + 1.1),
        narrow_height=tall + 1.9,
        alt="Stacked bars of the problems solved by both, by the base only, by the other model only, and by neither, grouped "
        "by cue level: the part that only the tuned model solves is hardly larger than between two draws of the base; "
        "where the cue is unreliable, the part that only the base solves is large.",
        caption=f"Expected shares of problems solved in k = {params.k_max} samples by the base and by each arm, drawn "
        "independently; means over seeds. 'base again' is the null: a second set of samples from the base itself. "
        "Numbers: base only, this arm only. The second, red, is what lies outside the base's reach at as many samples.",
    )


def perplexities(tables: Tables, params: RlvrBoundaryParams) -> Figure:
    """How likely each model's samples are under the base, split by whether they are correct."""
    rows = tables["perplexity"]
    rows = rows[rows["cue"] == params.core_cue]
    groups = [
        (f"base\nT = {temperature:g}", "base", rows[(rows["arm"] == "base") & (rows["temperature"] == temperature)])
        for temperature in (1.0, COOL)
    ]
    after = arms_of(tables, ["rl", "rft"], params.core_cue)
    groups += [(look(arm).short, arm, rows[(rows["arm"] == arm) & (rows["temperature"] == 1)]) for arm in after]
    groups = [group for group in groups if len(group[2])]
    logs = [np.log10(part["under_base"].to_numpy(float)) for _, _, part in groups]
    # Long tails of a few broken samples would flatten the rest.
    top = max(float(np.quantile(values, 0.99)) for values in logs)

    def draw(axes: Any) -> None:
        for place, ((_, arm, part), values) in enumerate(zip(groups, logs, strict=True)):
            for right, side, offset in ((True, "low", -0.02), (False, "high", 0.02)):
                chosen = values[part["correct"].to_numpy(bool) == right]
                _half_violin(axes, chosen[chosen <= top], place + offset, side, STYLE[arm].shade, pale=not right)
                if len(chosen):
                    sign = 1 if side == "high" else -1
                    axes.plot([place, place + 0.3 * sign], [np.median(chosen)] * 2, color=colour("ink"), lw=1.5)
            share = part["correct"].mean()
            axes.text(place, top * 1.03, f"{share:.0%} right", ha="center", fontsize=9.5, color=colour("ink"))
        axes.fill_between([], [], color=colour("grey"), label="correct samples (left halves)")
        axes.fill_between([], [], color=colour("grey"), alpha=0.35, label="other samples (right halves)")
        axes.plot([], [], color=colour("ink"), lw=1.5, label="median")
        axes.set_xticks(range(len(groups)), [name for name, _, _ in groups])
        axes.set(
            ylabel="perplexity per token under the base", ylim=(-0.01, top * 1.1), title=cue_title(params.core_cue)
        )
        ticks = [v for v in (1, 1.2, 1.5, 2, 3, 5, 10, 20, 50) if np.log10(v) <= top]
        axes.set_yticks(np.log10(ticks), [f"{v:g}" for v in ticks])
        axes.grid(False, axis="x")
        below(axes, 3)

    return figure(
        draw,
        name="rlvr-boundary-perplexity",
        size=(7.2, 4.8),
        narrow_height=5.2,
        alt="Perplexity under the base of samples of the base at two temperatures and of the tuned models, correct and other "
        "samples apart. What reinforcement says lies in the low part of what the base itself says, as the samples of a "
        "cooled base do, and among correct samples hardly anything differs.",
        caption=f"How surprising a sample is to the base model, cue {params.core_cue:g}, one sample per problem, all seeds "
        f"together; 1 is no surprise. Low perplexity after tuning says little by itself: the base at T = {COOL:g}, "
        "untrained, is low as well, and correct samples are likely ones whoever draws them. The top hundredth is cut off.",
    )


def _half_violin(axes: Any, values: np.ndarray, place: float, side: str, shade: str, *, pale: bool) -> None:
    if len(values) < 5 or np.ptp(values) < 1e-6:  # too few for a density
        axes.plot([place] * len(values), values, "_", color=colour(shade))
        return
    found = axes.violinplot(values, [place], widths=0.85, side=side, showextrema=False, points=120)
    for body in found["bodies"]:
        body.set(facecolor=colour(shade), edgecolor=colour(shade), alpha=0.35 if pale else 0.95)
