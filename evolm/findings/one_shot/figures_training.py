"""Figures over training: reward and held-out accuracy, and what follows saturation. Tables in, drawings out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evolm.findings.one_shot.curves import (
    Tables,
    after_saturation,
    final,
    from_base,
    heldout,
    saturated,
    training_reward,
)
from evolm.findings.one_shot.figure_style import (
    CORE,
    STYLE,
    Scale,
    level,
    level_line,
    line,
    percent,
    sentence,
)
from evolm.fragments import Fragment
from evolm.panels import below, listed, outer_labels, seeds_of
from evolm.plotting import Figure, colour, figure

#: Arms of the curves, the main one last and so on top.
CURVES = ["random", "format", "full", "one"]
#: Horizontal levels of the held-out panel.
LEVELS = ("base", "forced careful", "known methods")
#: Single runs of one example: does it hold a confusable symbol, hue, line style, label.
SINGLE = (
    (True, "vermillion", "-", "single examples with a confusable symbol"),
    (False, "purple", (0, (3, 1.5)), "single examples without one"),
)


def training_curves(tables: Tables, params: Scale) -> Figure:
    """Training reward and held-out accuracy against the RL step, single examples thin, means bold."""
    reward = training_reward(tables, base=CORE, arm=CURVES)
    held = from_base(heldout(tables, base=CORE, arm=["base", *CURVES]))
    holds = tables["examples"].assign(holds=tables["examples"]["confusable"] > 0)[["seed", "example", "holds"]]
    levels = {name: level(tables, name) for name in LEVELS[1:]}
    levels["base"] = heldout(tables, base=CORE, arm="base").set_index("seed")["value"]
    steps = saturated(tables, params.saturation, base=CORE, arm="one")["step"]
    middle = float(steps.median()) if steps.notna().any() else None

    def draw(panels: list[Any]) -> None:
        for axes, rows, title in zip(panels, (reward, held), ("training reward", "held-out accuracy"), strict=True):
            _singles(axes, rows[rows["arm"] == "one"].merge(holds, on=["seed", "example"]))
            for arm in CURVES:
                line(axes, rows[rows["arm"] == arm], arm)
            if middle is not None:
                axes.axvline(middle, color=colour("ink"), lw=0.9, label="saturation, median of runs", zorder=1)
            axes.set(ylim=(-0.03, 1.03), xlim=(-0.02 * params.rl_steps, 1.02 * params.rl_steps), title=title)
        ticks = {"marker": "|", "ls": "none", "color": colour("ink"), "ms": 7, "mew": 0.8, "alpha": 0.7}
        panels[0].plot(steps, [params.saturation] * len(steps), **ticks, label="saturation of single runs")
        for name in LEVELS:
            level_line(panels[1], levels[name], name)
        outer_labels(panels, "RL step", "share")
        below(panels, 2)

    ends = _ends(held)
    reached = f"{steps.notna().sum()} of {len(steps)} runs"
    return figure(
        draw,
        name="one-shot-curves",
        panels=2,
        size=(7.8, 5.4),
        narrow_height=9.0,
        alt=f"Two panels over {params.rl_steps} steps: training reward and held-out accuracy, one thin line per training "
        f"example and a thick one per arm. Held-out accuracy starts at {percent(levels['base'].mean())} and ends at {ends}.",
        caption="Training reward (mean of ten steps) and pass@1 on held-out problems, at temperature 1. Thin: one run on one example "
        f"each. Thick: means over examples; {_lower(seeds_of(params.seeds))} Held-out accuracy ends at {ends}. The reward of the "
        "controls is their own: for form, or by a coin. Ticks and vertical line: the step, and its median, at which the reward on the one "
        f"example reaches {params.saturation:g}; {reached} reach it. Horizontal: the base, the base with the careful mode "
        "forced, and the share of problems whose method the base has seen.",
    )


def _singles(axes: Any, rows: pd.DataFrame) -> None:
    """A thin line per run on one example, solid where it holds a confusable symbol."""
    for holds, shade, style, label in SINGLE:
        for i, (_, run) in enumerate(rows[rows["holds"] == holds].groupby(["seed", "example"])):
            how = {"color": colour(shade), "ls": style, "lw": 0.9, "alpha": 0.45, "zorder": 1.8}
            axes.plot(run["step"], run["value"], **how, label=label if i == 0 else None)


def _ends(held: pd.DataFrame) -> str:
    """Where the arms end, in words."""
    means = final(held).groupby("arm")["value"].mean()
    return listed([f"{percent(means[arm])} ({STYLE[arm].short})" for arm in reversed(CURVES) if arm in means])


def _lower(words: str) -> str:
    return words[0].lower() + words[1:]


def post_saturation(tables: Tables, params: Scale) -> Figure | Fragment:
    """Change of held-out accuracy after saturation, every run on one example aligned at it."""
    rows = after_saturation(tables, params.saturation, base=CORE, arm=["one", "full"])
    runs = rows[rows["arm"] == "one"].groupby(["seed", "example"])
    later = runs.filter(lambda run: run["since"].max() > 0)
    if later.empty:
        return sentence(
            f"No run on one example in this record reached a training reward of {params.saturation:g} before its last measured step, so "
            "there is nothing to see after saturation."
        )
    change = final(later)["value"]

    def draw(axes: Any) -> None:
        axes.axhline(0, color=colour("muted"), lw=1)
        for i, (_, run) in enumerate(runs):
            how = {"color": colour("vermillion"), "lw": 0.9, "alpha": 0.4}
            axes.plot(run["since"], run["value"], **how, label="single examples" if i == 0 else None)
        for arm in ("full", "one"):
            part = rows[rows["arm"] == arm]
            if (part["since"] > 0).any():
                _mean_of_half(axes, part, arm)
        axes.set(xlabel="RL steps since saturation", ylabel="change of held-out accuracy")
        below(axes, 2)

    counts = f"{later.groupby(['seed', 'example']).ngroups} runs on one example"
    mean, low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in (change.mean(), change.min(), change.max()))
    spread = f"on average {mean} points, from {low} to {high} points"
    return figure(
        draw,
        name="one-shot-post-saturation",
        size=(7.2, 4.6),
        narrow_height=4.8,
        alt=f"Change of held-out accuracy against the steps since the training reward reached {params.saturation:g}: a thin "
        f"line for each of {counts}, and their mean. At the last step it is {spread}.",
        caption=f"After saturation: held-out pass@1 less that at the first measured step at which the ten-step mean "
        f"of the training reward had reached {params.saturation:g}. {counts[0].upper()}{counts[1:]} have later "
        f"measurements; at the fixed last step ({params.rl_steps}) the change is {spread}. Thick: means, and the range of "
        "the seeds' means, as far as half of the runs go.",
    )  # fmt: skip


def _mean_of_half(axes: Any, rows: pd.DataFrame, arm: str) -> None:
    """Mean over runs as far as at least half of them go, so that the line does not end on one early run."""
    runs = rows.groupby("since")["value"].count()
    far = runs.index[runs >= np.ceil(runs.max() / 2)].max() if len(runs) else 0
    aligned = rows[rows["since"] <= far]
    line(axes, aligned.assign(step=aligned["since"]), arm)
