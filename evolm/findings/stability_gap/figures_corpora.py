"""The figure over corpora of different quality: where the three strategies start to pay. Tables in, drawing out."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from evolm.findings.stability_gap import curves
from evolm.findings.stability_gap.curves import TASK, Tables
from evolm.findings.stability_gap.estimands import over_baseline
from evolm.findings.stability_gap.figure_style import STYLE, setting
from evolm.findings.stability_gap.parameters import StabilityGapParams
from evolm.fragments import Fragment
from evolm.intervals import seed_interval
from evolm.panels import DASHED, below, in_points, is_narrow, listed, sentence
from evolm.plotting import Figure, colour, figure

ARMS = ("all", "all, 40 %")
#: Mean of four medical tasks, all strategies on 20B tokens less the whole corpus on 50B (Guo et al. 2024).
PAPER = 0.033
CLEAN = re.compile(r"(.+), clean ([\d.e+-]+)")


def gains(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """clean, seed, arm, value: the task at the end less that of the plain corpus of the same quality."""
    ends = curves.ends(curves.accuracy(tables, TASK))
    parts = ends["arm"].astype(str).str.extract(CLEAN)
    ends = ends.assign(arm=parts[0].fillna(ends["arm"]), clean=parts[1].astype(float).fillna(params.clean))
    found = [over_baseline(rows, *ARMS).assign(clean=clean) for clean, rows in ends.groupby("clean")]
    rows = pd.concat([ends.iloc[:0], *found])
    return rows[rows["arm"] != "baseline"][["clean", "seed", "arm", "value"]]


def quality(tables: Tables, params: StabilityGapParams) -> Figure | Fragment:
    """What all three strategies gain over the plain corpus, against the share of good documents in the corpus."""
    rows = gains(tables, params)
    both = rows.groupby("clean")["arm"].nunique()
    shares = sorted(both.index[both == len(ARMS)])
    if len(shares) < 2:
        return sentence(
            "This record has corpora of one quality alone; a run with several `cleans` shows where the strategies pay."
        )
    means = rows.groupby(["arm", "clean"])["value"].mean()

    def draw(axes: Any) -> None:
        axes.axhline(0, color=colour("muted"), lw=1)
        axes.axhline(100 * PAPER, color=colour("muted"), lw=1.2, ls=DASHED, label="the paper, at 40 %")
        for place, arm in enumerate(ARMS):
            look, shift = STYLE[arm], 0.012 * (2 * place - 1)
            for share in shares:
                values = 100 * rows.query("arm == @arm and clean == @share")["value"].to_numpy()
                if len(values) > 1:
                    axes.vlines(share + shift, *seed_interval(values), color=colour(look.shade), lw=2)
            xs = [share + shift for share in shares]
            shown = {"color": colour(look.shade), "marker": look.marker, "ls": look.line, "label": look.label}
            axes.plot(xs, 100 * means[arm].loc[shares], lw=1.6, ms=6, **shown)
        axes.set_xticks(shares, [setting(share) for share in shares])
        axes.set_xlabel("good documents in the corpus")
        axes.set_ylabel("points over the plain corpus" if not is_narrow(axes) else "points")
        below([axes], 2)

    said = "; ".join(
        f"{STYLE[arm].short} {listed([f'{in_points(means[arm, share])} ({setting(share)})' for share in shares])}"
        for arm in ARMS
    )
    seeds = rows["seed"].nunique()
    return figure(
        draw,
        name="stability-gap-quality",
        size=(7.0, 3.9),
        narrow_height=4.6,
        alt="Points that the three strategies gain over the plain corpus against the share of good documents in it, one line at equal "
        f"tokens and one at 40 %. {said}.",
        caption="Accuracy on the domain's task at the end, less that after the plain corpus of the same quality once. Of the documents "
        f"that are not good 70 % are words in no order and 30 % state wrong values. In points: {said}. "
        f"The paper reports {in_points(PAPER, 1)} on the mean of four medical tasks, at 40 % of the tokens. "
        + ("One seed." if seeds == 1 else f"Means over {seeds} seeds with 95 % intervals."),
    )
