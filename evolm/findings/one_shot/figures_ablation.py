"""The ablation grid: optimisers, steps, terms of the loss, labels, choice of examples. Tables in, a drawing out."""

from __future__ import annotations

from typing import Any

import pandas as pd

from evolm.findings.one_shot import published
from evolm.findings.one_shot.curves import Tables, final, gain
from evolm.findings.one_shot.figure_style import CORE, STYLE, Scale, paper_rows, point_rows, share_height
from evolm.fragments import Fragment
from evolm.panels import in_points, is_narrow, sentence
from evolm.plotting import Figure, colour, figure

#: Groups of rows; `one` on the variants' examples stands above the first.
GROUPS = {
    "optimiser": ("one-updates", "random-updates", "one-other", "one-other-updates"),
    "steps": ("one-long",),
    "loss": ("one-no-std", "one-entropy", "one-decay", "one-kl", "entropy-only", "decay-only"),
    "label": ("near", "guessable", "unguessable"),
    "choice": ("ranked",),
}
VARIANTS = tuple(arm for group in GROUPS.values() for arm in group)


def variant_rows(tables: Tables) -> list[tuple[str, pd.DataFrame]]:
    """`one` on the examples that variants were run on, then every variant: each with seed and fixed (gain)."""
    rows = final(gain(tables, base=CORE, arm=["base", "one", *VARIANTS]))
    there = [arm for arm in VARIANTS if (rows["arm"] == arm).any()]
    if not there:
        return []
    shared = rows.loc[rows["arm"].isin(VARIANTS) & (rows["arm"] != "ranked"), "example"].unique()
    same = (rows["arm"] != "one") | rows["example"].isin(shared) | (len(shared) == 0)
    means = rows[same].groupby(["arm", "seed"])["value"].mean().rename("fixed").reset_index()
    return [(arm, means[means["arm"] == arm][["seed", "fixed"]]) for arm in ("one", *there)]


def ablation(tables: Tables, params: Scale) -> Figure | Fragment:
    """Gain of every variant of RL on one example, the paper's beside it; a sentence where there are none."""
    rows = variant_rows(tables)
    if not rows:
        return sentence(
            "This run has one optimiser, one loss and the right labels; the preset gpu varies optimiser, updates per "
            "rollout, steps, the terms of the loss, the label and the choice of examples."
        )
    arms = [arm for arm, _ in rows]
    other = {"sgd": "AdamW"}.get(params.optimiser, "SGD")
    names = [STYLE[arm].short.replace("other optimiser", other).replace("other,", f"{other},") for arm in arms]
    values = {**published.gains(published.LABELS), **published.gains(published.LOSS)}
    paper = {arm: found for arm, found in values.items() if arm in arms}

    def draw(panels: list[Any]) -> None:
        share_height(panels, [len(rows), len(paper)])
        point_rows(panels[0], rows, names)
        paper_rows(panels[1], arms, paper)
        for axes, title in zip(panels, ("here", "paper: MATH500"), strict=True):
            shown = [arm for arm in arms if arm in paper] if axes is panels[1] and is_narrow(axes) else arms
            _rules(axes, shown)
            axes.set(title=title, xlabel="gain of held-out accuracy")

    tall = 0.34 * len(rows)
    means = "; ".join(
        f"{name} {in_points(found['fixed'].mean())}" for name, (_, found) in zip(names, rows, strict=True)
    )
    return figure(
        draw,
        name="one-shot-ablation",
        panels=2,
        size=(7.8, tall + 1.2),
        narrow_height=tall + 0.3 * len(paper) + 2.4,
        alt=f"Gain of held-out accuracy of every variant of RL on one example, in points: {means}.",
        caption="Variants of RL on one example, on the same examples each (but for those chosen by variance): optimiser and "
        "updates per rollout, four times the steps, terms of the loss, wrong labels, choice of the example, each at its own "
        "last step. Large: means over examples and "
        f"{params.seeds} {'seed' if params.seeds == 1 else 'seeds'}; small: seeds; lines: their range. Right: the paper's "
        "gains (Tab. 5 and its runs on labels); its runs of weight decay and of decay alone differ in that KL was on in the "
        "latter, and its near labels are the two nearest to the true value.",
    )  # fmt: skip


def _rules(axes: Any, arms: list[str]) -> None:
    """A thin line between the groups."""
    group = {arm: name for name, members in GROUPS.items() for arm in members}
    for place in range(1, len(arms)):
        if group.get(arms[place]) != group.get(arms[place - 1]):
            axes.axhline(place - 0.5, color=colour("grid"), lw=1.2)
