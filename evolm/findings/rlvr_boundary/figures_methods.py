"""Figures of which method a model reaches for, and of the rarely used one: tables in, drawings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evolm.findings.rlvr_boundary.base import RARE
from evolm.findings.rlvr_boundary.estimands import curves
from evolm.findings.rlvr_boundary.figure_style import (
    CHANCE,
    STYLE,
    Tables,
    bayes,
    cue_title,
    cues_of,
    last,
    per_cue,
    world,
)
from evolm.findings.rlvr_boundary.figures_passk import chance_curves
from evolm.panels import below, each, is_narrow, listed, outer_labels
from evolm.plotting import Figure, colour, figure, plain_ticks, sequential

if TYPE_CHECKING:
    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams

#: Bars of the usage figure: what it stands for, label.
BARS = {"needed": "task", "base": "base", "rl": "RL", "rft": "RFT", "bayes": "best\nby cue"}


def usage(tables: Tables, params: RlvrBoundaryParams) -> Figure:
    """Which method is announced before and after, and how much of it is the one that the problem needs."""
    cues = cues_of(params)
    shares: dict[Any, Any] = {(cue, bar): announced(tables, bar, cue) for cue in cues for bar in BARS}
    bars = [bar for bar in BARS if any(shares[cue, bar] is not None for cue in cues)]
    best = {cue: float(shares[cue, "bayes"]["right"].sum()) for cue in cues}
    names = [*(f"method {method}" for method in range(world().absent)), "absent method"]
    names[RARE] += " (rare)"

    def draw(panels: Any) -> None:
        for axes, cue in zip(each(panels), cues, strict=True):
            for place, bar in enumerate(bars):
                _stack(axes, place, shares[cue, bar], names)
            level = best[cue]
            axes.axhline(level, color=colour("ink"), lw=1.2, ls="--", label="best routing by the cue alone")
            axes.set(title=cue_title(cue), ylim=(0, 1.0), xlim=(-0.6, len(bars) - 0.4))
            axes.set_xticks(range(len(bars)), [BARS[bar] for bar in bars], fontsize=9 if not is_narrow(axes) else 10)
            axes.grid(False, axis="x")
        outer_labels(panels, "", "share of samples")
        below(panels, 4)

    return figure(
        draw,
        name="rlvr-boundary-usage",
        panels=len(cues),
        size=(7.8, 5.2),
        narrow_height=3.0 * len(cues) + 2.4,
        alt="Stacked bars of the method that a sample announces, a panel per cue level: the base spreads over the methods "
        "and is seldom right; after reinforcement a few methods are left, nearly always announced where best routing by "
        "the cue would announce them, and the frequent method has swallowed the others where the cue is unreliable.",
        caption="What explains all curves: the method that a sample announces first. Filled: it is the one that the problem "
        "needs. Pale: it is another, and the sample is lost. 'Task' is the mix of the problems. 'Best by cue' is the "
        "closed form: a policy that sees the cue alone and maximises reward; once a model has become it, further samples "
        "repeat the same choice, and its filled part (dashed) is all that it ever solves. The base has never seen the absent "
        "method and almost never uses the rare one unasked. Means over seeds.",
    )


def announced(tables: Tables, bar: str, cue: float) -> pd.DataFrame | None:
    """Share of samples that announce each method, where it is needed (`right`) and where not (`wrong`)."""
    methods = world().methods
    needed = needed_share(tables, cue)
    if bar == "needed":
        mix = needed.groupby("method").mean().reindex(range(methods), fill_value=0.0)
        return pd.DataFrame({"right": mix, "wrong": 0.0})
    if bar == "bayes":
        return _best(tables, cue)
    rows = tables["usage"]
    rows = rows[(rows["cue"] == cue) & (rows["arm"] == bar)]
    if rows.empty:
        return None
    rows = rows[rows["step"] == rows["step"].max()].rename(columns={"needed": "method"})
    share = needed.rename("share").reset_index()
    rows = rows.merge(share, on=["seed", "method"])  # a method that no test problem needs has no weight
    rows = rows.assign(weight=rows["probability"] * rows["share"] / rows["seed"].nunique())
    kind = np.where(rows["method"] == rows["used"], "right", "wrong")
    table = rows.groupby(["used", kind])["weight"].sum().unstack(fill_value=0.0)
    return table.reindex(index=range(methods), columns=["right", "wrong"], fill_value=0.0)


def _best(tables: Tables, cue: float) -> pd.DataFrame:
    """The same for best routing: hits on these problems, misses in the proportions of the closed form."""
    prior, route = np.array(world().prior), bayes(cue).route
    joint = prior[:, None] * (cue * np.eye(len(prior)) + (1 - cue) / len(prior))  # (needed method, cue token)
    used = joint @ np.eye(len(prior))[route]  # (needed, used)
    missed = used.sum(0) - np.diag(used)
    rows = tables["levels"]
    rows = rows[(rows["set"] == "test") & (rows["cue"] == cue)]
    right = rows["bayes"].groupby(rows["method"]).sum().reindex(range(len(prior)), fill_value=0) / len(rows)
    return pd.DataFrame({"right": right, "wrong": missed / missed.sum() * (1 - right.sum())})


def needed_share(tables: Tables, cue: float) -> pd.Series:
    """Share of test problems that need each method: index (seed, method)."""
    rows = tables["levels"]
    rows = rows[(rows["set"] == "test") & (rows["cue"] == cue)]
    counts = rows.groupby(["seed", "method"]).size().unstack(fill_value=0)
    return pd.Series(counts.div(counts.sum(axis=1), axis=0).stack())


def _stack(axes: Any, place: int, shares: pd.DataFrame | None, names: list[str]) -> None:
    """One bar: what is announced rightly below, in full colour; what is announced wrongly on top, pale."""
    if shares is None:  # an arm that these parameters do not have
        return
    shades = [*sequential(len(names) - 1), colour("purple")]
    bottom = 0.0
    for column, alpha in (("right", 1.0), ("wrong", 0.4)):
        for shade, name, height in zip(shades, names, shares[column], strict=True):
            label = name if column == "right" and place == 0 else None
            edge = {"edgecolor": colour("background"), "linewidth": 0.6}
            # The page's colour first: it keeps grid lines out of the pale.
            axes.bar(place, height, 0.82, bottom=bottom, color=colour("background"), lw=0)
            axes.bar(place, height, 0.82, bottom=bottom, color=shade, alpha=alpha, label=label, **edge)
            bottom += height


def rare_method(tables: Tables, params: RlvrBoundaryParams) -> Figure:
    """Coverage of the problems that need the rarely used method over training: every seed a line."""
    cues = cues_of(params)
    rows = curves(tables, [params.k_max], "rare", cue=cues, arm=["base", "rl"], temperature=1.0)
    after = last(curves(tables, [params.k_max], "rare", cue=cues, arm="rft"))
    end = params.rl_steps * 1.14
    ended = last(rows[rows["arm"] == "rl"]).set_index(["cue", "seed"])["value"]
    started = rows[rows["arm"] == "base"].set_index(["cue", "seed"])["value"]
    better = (ended > started.reindex(ended.index)).groupby("cue").sum()
    found = [f"{better[cue]} of {params.seeds} at cue {cue:g}" for cue in cues]
    guess = {cue: rare_guess(tables, cue, params.k_max) for cue in cues}

    def one(axes: Any, cue: float) -> None:
        here = rows[rows["cue"] == cue]
        for seed, part in here.groupby("seed"):
            part = part.sort_values("step")
            first = seed == min(here["seed"])
            line = {"color": colour("vermillion"), "lw": 1.2, "alpha": 0.75}
            label = "RL, a line per seed" if first else None
            axes.plot(part["step"], part["value"], marker="s", ms=3.5, label=label, **line)
        base = here[here["arm"] == "base"]
        axes.plot(base["step"], base["value"], **STYLE["base"].point_style(), label=STYLE["base"].label, zorder=3)
        rft = after[after["cue"] == cue]
        axes.plot([end] * len(rft), rft["value"], **STYLE["rft"].point_style(), label=STYLE["rft"].label, zorder=3)
        axes.axhline(guess[cue], color=colour("ink"), lw=1.2, ls=CHANCE["blind_search"][0], label="blind search")
        axes.set(ylim=(-0.04, 1.04), xlim=(-0.06 * end, 1.06 * end))
        plain_ticks(axes.xaxis, [0, params.rl_steps // 3, 2 * params.rl_steps // 3, params.rl_steps])

    return figure(
        per_cue(one, cues, xlabel="RL step", ylabel=f"pass@{params.k_max}, rare method"),
        name="rlvr-boundary-rare",
        panels=len(cues),
        size=(7.8, 4.0),
        narrow_height=2.4 * len(cues) + 1.8,
        alt=f"pass@{params.k_max} on problems of the rarely used method over steps of reinforcement, a line per seed and a "
        f"panel per cue level. Seeds that end above where they started: {listed(found)}.",
        caption=f"Problems ({params.rare_problems} per seed) that need method {RARE}, which the base almost never uses "
        "unasked. Reinforcement can only reward what it samples: whether it samples the method often enough, before it has "
        "settled on others, is an event in each seed. Triangles: fine-tuning on own correct samples, as it ends.",
    )


def rare_guess(tables: Tables, cue: float, k: int) -> float:
    """pass@k of blind search on the rare method's problems."""
    levels = tables["levels"]
    rare = levels[levels["set"] == "rare"].assign(set="test")
    return float(chance_curves({"levels": rare}, cue, [k])["blind_search"].iloc[0])
