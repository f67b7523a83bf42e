"""What changes inside the model over training: mode, routing, form, entropy. Tables in, a drawing out."""

from __future__ import annotations

from typing import Any

import pandas as pd

from evolm.findings.one_shot.curves import Tables, final, from_base, kept, per_seed
from evolm.findings.one_shot.figure_style import CORE, STYLE, Scale, line, percent
from evolm.panels import below, is_narrow, listed, seeds_of
from evolm.plotting import Figure, figure

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
        f"well-formed samples at {_ends(rows['well_formed'])}.",
    )


def _ends(rows: pd.DataFrame) -> str:
    """The base's value and where the arms end, in words."""
    start = per_seed(rows[rows["step"] == 0])["value"].mean()
    means = final(rows).groupby("arm")["value"].mean()
    ends = [f"{percent(means[arm])} ({STYLE[arm].short})" for arm in reversed(ARMS) if arm in means]
    return listed([*ends, f"{percent(start)} before"])
