"""What changes inside the model over training: mode, routing, form, entropy. Tables in, a drawing out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evolm.findings.one_shot.curves import Tables, final, from_base, heldout, kept, per_seed
from evolm.findings.one_shot.figure_style import CORE, KINDS, STYLE, Scale, level, line
from evolm.findings.one_shot.readings import TURNED, turned
from evolm.panels import below, in_points, is_narrow, listed, percent, seeds_of
from evolm.plotting import Figure, colour, figure

ARMS = ["imitate", "format", "full", "one"]
#: Panels: column of the table `inside`, title.
QUANTITIES = {
    "careful": "careful mode",
    "right_style": "right method",
    "well_formed": "well-formed",
    "entropy": "entropy, nats",
}


def inside_curves(tables: Tables, quantity: str) -> pd.DataFrame:
    """One column of `inside` from the base on: seed, base, arm, example, step, value."""
    rows = kept(tables["inside"], base=CORE, arm=["base", *ARMS]).rename(columns={quantity: "value"})
    return from_base(rows[["seed", "base", "arm", "example", "step", "value"]].dropna(subset=["value"]))


def mechanism(tables: Tables, params: Scale) -> Figure:
    """Gain of every run on one example against the probability of the careful mode that it ends with."""
    runs = turned(tables).merge(tables["examples"][["seed", "example", "kind"]], on=["seed", "example"])
    means = final(heldout(tables, base=CORE, arm="base"))["value"].mean(), level(tables, "forced careful").mean()
    careful = tables["inside"][(tables["inside"]["arm"] == "base") & (tables["inside"]["base"] == CORE)][
        "careful"
    ].mean()
    sloppy = (means[0] - careful * means[1]) / (1 - careful)

    def draw(axes: Any) -> None:
        ends = np.array([0.0, 1.0])
        line_of = ends * means[1] + (1 - ends) * sloppy - means[0]
        axes.plot(
            ends,
            line_of,
            color=colour("ink"),
            ls=(0, (5, 2.5)),
            lw=1.2,
            label="the base, mode probability changed alone",
        )
        axes.axhline(0, color=colour("muted"), lw=1)
        for kind, shown in KINDS.items():
            part = runs[runs["kind"] == kind]
            style = {
                "color": colour(shown.shade),
                "marker": shown.marker,
                "ls": "none",
                "ms": 6,
                "alpha": 0.7,
                "mew": 0,
            }
            axes.plot(part["careful"], part["value"], **style, label=shown.label)
        axes.set(
            xlim=(-0.03, 1.03), xlabel="probability of the careful mode at the end", ylabel="gain of held-out accuracy"
        )
        below(axes, 2)

    apart = runs["careful"] > TURNED
    clusters = {"above one half": runs[apart], "below it": runs[~apart]}
    gains = " and ".join(
        f"{in_points(part['value'].mean())} points {where} ({len(part)} {'run' if len(part) == 1 else 'runs'})"
        for where, part in clusters.items()
        if len(part)
    )
    return figure(
        draw,
        name="one-shot-mechanism",
        size=(7.2, 4.4),
        narrow_height=4.8,
        alt=f"Gain of every run on one example against its probability of the careful mode at the end: {gains}.",
        caption="One bit: the gain of each run on one example against the probability, over held-out prompts, that the tuned model opens in "
        f"the careful mode. Runs gain {gains}. Dashed: what the base would gain if nothing but that "
        f"probability changed. {params.seeds} {'seed' if params.seeds == 1 else 'seeds'}.",
    )


def inside(tables: Tables, params: Scale) -> Figure:
    """Probability of the careful mode and of the right method, share well-formed, entropy, against the step."""
    rows = {quantity: inside_curves(tables, quantity) for quantity in QUANTITIES}

    def draw(panels: list[Any]) -> None:
        for axes, (quantity, title) in zip(panels, QUANTITIES.items(), strict=True):
            for arm in ARMS:
                line(axes, rows[quantity][rows[quantity]["arm"] == arm], arm, lw=1.8)
            axes.set_title(title, fontsize=10.5)
            axes.set_xlim(0, params.rl_steps)
            axes.set_ylim(0, None if quantity == "entropy" else 1.03)
            axes.set_xticks([0, params.rl_steps // 2, params.rl_steps])
            if not is_narrow(axes) or axes is panels[-1]:
                axes.set_xlabel("RL step")
        below(panels, 2)

    return figure(
        draw,
        name="one-shot-inside",
        panels=len(QUANTITIES),
        size=(8.0, 3.7),
        narrow_height=9.0,
        alt="Four panels over training: probability of the careful mode, probability of the right method, share of "
        f"well-formed samples, entropy. Probability of the careful mode at the end: {_ends(rows['careful'])}.",
        caption="What changes inside, on held-out prompts at temperature 1: the probability that the model opens in the "
        "careful mode, the probability that it announces the method that is needed, the share of its samples that are "
        f"well-formed, and their entropy per token. {seeds_of(params.seeds)} The careful mode ends at {_ends(rows['careful'])}; "
        f"the right method at {_ends(rows['right_style'])}; well-formed samples at {_ends(rows['well_formed'])}.",
    )


def _ends(rows: pd.DataFrame) -> str:
    """The base's value and where the arms end, in words."""
    start = per_seed(rows[rows["step"] == 0])["value"].mean()
    means = final(rows).groupby("arm")["value"].mean()
    ends = [f"{percent(means[arm])} ({STYLE[arm].short})" for arm in reversed(ARMS) if arm in means]
    return listed([*ends, f"{percent(start)} before"])
