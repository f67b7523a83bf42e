"""Gradients over training: what general and medical text ask of the weights, and whether they agree. Tables in."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.ticker import NullFormatter

from evolm.findings.stability_gap.curves import Tables
from evolm.findings.stability_gap.figure_style import STYLE, Scale, arm_lines, seeds_in, signed, step_axis
from evolm.fragments import Fragment
from evolm.panels import below, is_narrow, listed, sentence
from evolm.plotting import Figure, colour, figure

#: Arms shown, the main one first.
ARMS = ("baseline", "null", "no general", "replay", "all")
#: Panels: column of the table `gradients`, title.
QUANTITIES = {"stability": "norm, general text", "plasticity": "norm, medical text", "cosine": "cosine of the two"}
NORMS = ("stability", "plasticity")


def gradient_curves(tables: Tables, quantity: str) -> pd.DataFrame:
    """One column of `gradients`: seed, arm, step, value."""
    rows = tables.get("gradients", pd.DataFrame(columns=["seed", "arm", "step", quantity]))
    return rows.rename(columns={quantity: "value"})[["seed", "arm", "step", "value"]]


def gradients(tables: Tables, params: Scale) -> Figure | Fragment:
    """Norms of the stability and the plasticity gradient and their cosine, against the update."""
    rows = {quantity: gradient_curves(tables, quantity) for quantity in QUANTITIES}
    shown = [arm for arm in ARMS if arm in set(rows["cosine"]["arm"])]
    if not shown:
        return sentence("This record holds no gradients of the arms that the figure of gradients compares.")

    def draw(panels: list[Any]) -> None:
        for axes, (quantity, title) in zip(panels, QUANTITIES.items(), strict=True):
            if quantity == "cosine":
                axes.axhline(0, color=colour("muted"), lw=1)
            arm_lines(axes, rows[quantity], shown)
            step_axis(axes, params.steps)
            axes.set_title(title)
            if quantity in NORMS:
                _norm_axis(axes, rows, shown)
            if not is_narrow(axes) or axes is panels[-1]:
                axes.set_xlabel("update")
        below(panels, 2)

    said = _starts_and_ends(rows, shown)
    return figure(
        draw,
        name="stability-gap-gradients",
        panels=len(QUANTITIES),
        size=(8.2, 4.2),
        narrow_height=9.6,
        alt=f"Three panels over {params.steps} updates: norm of the gradient of general text, norm of that of medical text, "
        f"and the cosine between them, one line per arm. {said}",
        caption="Gradients of the mean loss on held-out general text (what stability asks for) and on held-out clean medical "
        "text (plasticity) with respect to all weights: their norms, on one logarithmic scale, and the cosine between "
        f"them, below 0 where a step for one harms the other. {said} {seeds_in(rows['cosine'])}",
    )


def _norm_axis(axes: Any, rows: dict[str, pd.DataFrame], arms: list[str]) -> None:
    """One logarithmic scale for both norms, labelled with plain numbers."""
    values = pd.concat([rows[name].loc[rows[name]["arm"].isin(arms), "value"] for name in NORMS])
    axes.set_yscale("log")
    axes.set_ylim(0.8 * values.min(), 1.25 * values.max())
    low, high = axes.get_ylim()
    ticks = [tick for tick in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100) if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_formatter(NullFormatter())


def _starts_and_ends(rows: dict[str, pd.DataFrame], arms: list[str]) -> str:
    """Norms and cosine at the base and where the arms end, in sentences; the cosine's extremes in between."""
    starts = {name: found.loc[found["step"] == 0, "value"].mean() for name, found in rows.items()}
    last = {name: _at_the_end(found) for name, found in rows.items()}
    norms = [f"{STYLE[arm].short} {last['stability'][arm]:.2g} and {last['plasticity'][arm]:.2g}" for arm in arms]
    cosines = [f"{signed(last['cosine'][arm])} ({STYLE[arm].short})" for arm in arms]
    means = rows["cosine"][rows["cosine"]["arm"].isin(arms)].groupby(["arm", "step"])["value"].mean()
    return (
        f"The base's norms are {starts['stability']:.2g} (general) and {starts['plasticity']:.2g} (medical), their cosine "
        f"{signed(starts['cosine'])}. At the end the norms are, in this order: {'; '.join(norms)}; the cosine is "
        f"{listed(cosines)}. Over all arms and steps the mean cosine lies between {signed(means.min())} and {signed(means.max())}."
    )


def _at_the_end(rows: pd.DataFrame) -> pd.Series:
    """Mean over seeds at each run's last measurement, by arm."""
    last = rows.sort_values("step").groupby(["arm", "seed"])["value"].last()
    return last.groupby("arm").mean()
