"""Figures over training: reward and held-out accuracy, and what follows saturation. Tables in, drawings out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evolm.findings.one_shot.curves import (
    RUN,
    Tables,
    after_saturation,
    final,
    from_base,
    heldout,
    of_kind,
    over_same_steps,
    saturated,
    training_reward,
)
from evolm.findings.one_shot.figure_style import CORE, KINDS, STYLE, Scale, level, level_line, line
from evolm.fragments import Fragment
from evolm.panels import below, each, listed, outer_labels, percent, seeds_of, sentence
from evolm.plotting import Figure, colour, figure

#: Arms of the curves, the main one last and so on top.
CURVES = ["random", "format", "full", "one"]
#: Horizontal levels of the held-out panel.
LEVELS = ("base", "forced careful", "known methods")


def training_curves(tables: Tables, params: Scale) -> Figure:
    """Training reward and held-out accuracy against the RL step, single examples thin, means bold."""
    reward = training_reward(tables, base=CORE, arm=CURVES)
    held = from_base(heldout(tables, base=CORE, arm=["base", *CURVES]))
    levels = {name: level(tables, name) for name in LEVELS[1:]}
    levels["base"] = heldout(tables, base=CORE, arm="base").set_index("seed")["value"]
    steps = saturated(tables, params.saturation, base=CORE, arm="one")["step"]
    middle = float(steps.median()) if steps.notna().any() else None

    def draw(panels: list[Any]) -> None:
        for axes, rows, title in zip(panels, (reward, held), ("training reward", "held-out accuracy"), strict=True):
            _singles(axes, tables, rows[rows["arm"] == "one"])
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
        "controls is their own: for form, or by a coin (on one example per seed). Ticks and vertical line: the step, and its "
        f"median, at which the reward on the one example reaches {params.saturation:g}; {reached} reach it. Horizontal: the base, the base with the careful mode "
        "forced, and the share of problems whose method the base has seen.",
    )


def _singles(axes: Any, tables: Tables, rows: pd.DataFrame) -> None:
    """A thin line per run on one example, in the look of the example's kind."""
    for kind, shown in KINDS.items():
        part = of_kind(tables, rows, kind)
        how = {"color": colour(shown.shade), "ls": shown.line}
        for _, run in part.groupby(RUN):  # dashes and dots are fainter
            axes.plot(run["step"], run["value"], **how, lw=0.9, alpha=0.45 if kind == "switch" else 0.7, zorder=1.8)
        if len(part):
            axes.plot([], [], **how, lw=1.3, label=f"one run: {shown.label}")


def _ends(held: pd.DataFrame) -> str:
    """Where the arms end, in words."""
    means = final(held).groupby("arm")["value"].mean()
    return listed([f"{percent(means[arm])} ({STYLE[arm].short})" for arm in reversed(CURVES) if arm in means])


def _lower(words: str) -> str:
    return words[0].lower() + words[1:]


def saturated_runs(tables: Tables, params: Scale) -> dict[str, pd.DataFrame]:
    """Change since saturation on examples that only the careful mode solves; `format` over the same steps as `one`."""
    chosen = {"base": CORE, "arm": ["one", "one-long"]}
    rows = of_kind(tables, after_saturation(tables, params.saturation, **chosen), "switch")
    one, longer = (rows[rows["arm"] == arm] for arm in ("one", "one-long"))
    return {"one": one, "one-long": longer, "format": over_same_steps(tables, one, "format")}


def post_saturation(tables: Tables, params: Scale) -> Figure | Fragment:
    """Change of held-out accuracy after saturation, every run aligned at it; the reward for form over the same steps."""
    rows = saturated_runs(tables, params)
    one = rows["one"]
    if one.empty:
        return sentence(
            f"No run on an example that only the careful mode solves reached a training reward of {params.saturation:g} "
            "before its last measured step, so there is nothing to see after saturation."
        )

    # The longer runs have a panel of their own: on their axis the others would be a tuft at its left end.
    shown = {f"{params.rl_steps} steps": ("one", "format")}
    if len(rows["one-long"]):
        shown["four times the steps"] = ("one-long", "one")
    values = pd.concat(rows.values())["value"]
    edge = 0.05 * (values.max() - values.min()) or 0.01

    def draw(panels: Any) -> None:
        for axes, (title, (main, beside)) in zip(each(panels), shown.items(), strict=True):
            axes.axhline(0, color=colour("muted"), lw=1)
            for i, (_, run) in enumerate(rows[main].groupby(RUN)):
                how = {"color": colour(STYLE[main].shade), "lw": 0.9, "alpha": 0.4}
                axes.plot(run["since"], run["value"], **how, label=None if i else "one run each")
            for arm in (beside, main):
                label = "control: reward for form, same steps" if arm == "format" else STYLE[arm].label
                _mean_of_half(axes, rows[arm], arm, label)
            axes.set(title=title if len(shown) > 1 else "", ylim=(values.min() - edge, values.max() + edge))
        outer_labels(panels, "RL steps since saturation", "change of held-out accuracy")
        below(panels, 2)

    said = _changes(rows)
    return figure(
        draw,
        name="one-shot-post-saturation",
        panels=len(shown),
        size=(7.8 if len(shown) > 1 else 7.2, 4.6),
        narrow_height=3.2 * len(shown) + 1.6,
        alt=f"Change of held-out accuracy against the steps since the training reward reached {params.saturation:g}: a thin "
        f"line per run, and means. At the last step: {said}.",
        caption=f"After saturation, on examples that only the careful mode solves: held-out pass@1 less that at the first "
        f"measured step at which the ten-step mean of the training reward had reached {params.saturation:g}, for runs that "
        f"are measured again later. The control is the reward for form over the same steps of the same examples, where it "
        f"was run. Change at each run's last step, mean over seeds and range of runs: {said}. Thick: means, and the range "
        "of the seeds' means, as far as half of the runs go.",
    )  # fmt: skip


def _changes(rows: dict[str, pd.DataFrame]) -> str:
    """Change at the last step of each arm's runs in words: mean over seeds, as in the claim, and range over runs."""
    said = []
    for arm, part in rows.items():
        if len(part):
            last = final(part)
            numbers = last.groupby("seed")["value"].mean().mean(), last["value"].min(), last["value"].max()
            mean, low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in numbers)
            runs = "1 run" if len(last) == 1 else f"{len(last)} runs"
            said.append(f"{STYLE[arm].short} {mean} points ({low} to {high}; {runs})")
    return listed(said)


def _mean_of_half(axes: Any, rows: pd.DataFrame, arm: str, label: str) -> None:
    """Mean over runs as far as at least half of them go, so that the line does not end on one early run."""
    runs = rows.groupby("since")["value"].count()
    far = runs.index[runs >= np.ceil(runs.max() / 2)].max() if len(runs) else 0
    aligned = rows[rows["since"] <= far]
    line(axes, aligned.assign(step=aligned["since"]), arm, label=label)
