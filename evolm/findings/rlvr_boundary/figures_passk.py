"""Figures of pass@k against k: tables in, drawings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evolm.findings.rlvr_boundary.estimands import KS, MARGIN, MOST, crossing_k, curves
from evolm.findings.rlvr_boundary.figure_style import (
    CHANCE,
    STYLE,
    Tables,
    arms_of,
    band,
    cue_title,
    cues_of,
    known_share,
    last,
    look,
    per_cue,
)
from evolm.lm.passk import pass_at_k_from_p
from evolm.panels import below, listed, seeds_of
from evolm.plotting import Figure, colour, figure, interactive, plain_ticks, sequential

if TYPE_CHECKING:
    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams

TICKS = (1, 4, 16, 64, 256)


def passk_curves(tables: Tables, params: RlvrBoundaryParams) -> Figure:
    """pass@k against k at the lowest, core and highest cue, with what strategies that know less would score."""
    cues = cues_of(params)
    rows = last(curves(tables, KS, cue=cues, arm=["base", "rl", "rft", "random", "format"], temperature=1.0))
    cool = min((1.0, *params.temperatures))
    named = curves(tables, KS, cue=cues, arm="named", temperature=cool)
    chance = {cue: chance_curves(tables, cue, KS) for cue in cues}
    caps = {cue: known_share(tables, cue) for cue in cues}
    crossings = {cue: crossing(rows[rows["cue"] == cue]) for cue in cues}

    def one(axes: Any, cue: float) -> None:
        here = rows[rows["cue"] == cue]
        for arm in arms_of(tables, ["base", "rl", "rft"], cue):
            band(axes, here[here["arm"] == arm], "k", STYLE[arm])
        temperature = "" if cool == 1 else f" (T = {cool:g})"
        top = STYLE["named"]
        band(axes, named[named["cue"] == cue], "k", top._replace(label=top.label + temperature), ls="--", lw=1.5)
        for arm in arms_of(tables, ["random", "format"], cue):
            band(axes, here[here["arm"] == arm], "k", STYLE[arm], fill=0.08)
        axes.axhline(
            caps[cue], color=colour("muted"), lw=1, label="all problems but those of the absent method", zorder=1
        )
        for level, (dashes, label) in CHANCE.items():
            axes.plot(KS, chance[cue][level], color=colour("ink"), lw=1.3, ls=dashes, label=label, zorder=1.9)
        if k := crossings[cue]:
            axes.axvline(k, color=colour("muted"), lw=1, ls=":")
            axes.text(k * 1.12, 0.95, f"k = {k}", color=colour("ink"), fontsize=9.5)
        axes.set(xscale="log", ylim=(-0.02, 1.02), xlim=(1, MOST))
        plain_ticks(axes.xaxis, TICKS)

    found = [f"{cue_title(cue).split(':')[0]}: k = {k}" for cue, k in crossings.items() if k]
    crossed = f"The base overtakes RL at {listed(found)}" if found else "The base nowhere overtakes RL"
    return figure(
        per_cue(one, cues, xlabel="samples k", ylabel="pass@k", columns=2),
        name="rlvr-boundary-passk",
        panels=len(cues),
        size=(7.8, 5.4),
        narrow_height=2.5 * len(cues) + 2.7,
        alt="pass@k against the number of samples k, a panel per cue level. Reinforcement starts far above the base; "
        f"where the cue is unreliable its curve stays flat and the base's rises past it. {crossed}. Guessing stays at the "
        "bottom; picking a known method at random gives a curve like the base's.",
        caption=f"Share of {params.problems} held-out problems solved by at least one of k samples, at temperature 1. "
        f"{seeds_of(params.seeds)} Dotted vertical: where the base's mean curve passes that of RL by more than {MARGIN:g}. "
        "Dashed on top: the coolest base once the prompt names the right method, so what it can do when it need not "
        "choose. Thin black: strategies that know less. The controls were run at the core cue.",
    )


def chance_curves(tables: Tables, cue: float, ks: list[int]) -> pd.DataFrame:
    """pass@k of strategies that know less, mean over test problems: k down, strategies across."""
    rows = tables["levels"]
    rows = rows[(rows["set"] == "test") & (rows["cue"] == cue)]
    levels = {name: rows[name].dropna().to_numpy(float) for name in CHANCE if name in rows}
    curves = {name: pass_at_k_from_p(p[:, None], np.array(ks)).mean(0) for name, p in levels.items() if len(p)}
    return pd.DataFrame(curves, index=ks, columns=list(CHANCE), dtype=float)


def crossing(rows: pd.DataFrame) -> int | None:
    """Where the mean curves of base and tuned model cross; `rows` are those of one cue over `KS`."""
    wide = rows.pivot_table(index="k", columns="arm", values="value")
    return crossing_k(wide["base"].to_numpy(), wide["rl"].to_numpy()) if {"base", "rl"} <= set(wide) else None


def explorer(tables: Tables, params: RlvrBoundaryParams) -> Figure:
    """pass@k of every model over training: a menu for the cue, a slider for the step."""
    ks = [2**i for i in range(MOST.bit_length())]
    arms = arms_of(tables, ["base", "rl", "rft", "random", "format"])
    rows = curves(tables, ks, arm=arms, temperature=1.0)
    mean = rows.groupby(["cue", "arm", "step", "k"])["value"].mean()
    steps = [0, *sorted(set(rows.loc[rows["arm"] == "rl", "step"]))]
    shown = [(cue, arm) for cue in params.cues for arm in arms_of(tables, arms, cue)]

    def curve(cue: float, arm: str, step: int) -> list[float]:
        """What the slider shows at a step: the model of that step, of the base before the first."""
        have = sorted(set(mean.loc[cue, arm].index.get_level_values("step")))
        if arm == "rft":
            return [round(v, 4) for v in mean.loc[cue, arm, have[-1]]]
        before = [s for s in have if s <= step]
        return [round(v, 4) for v in (mean.loc[cue, arm, before[-1]] if before else mean.loc[cue, "base", 0])]

    ys = {step: [curve(cue, arm, step) for cue, arm in shown] for step in steps}

    def draw() -> Any:
        import plotly.graph_objects as go

        plot = go.Figure()
        for (cue, arm), y in zip(shown, ys[steps[-1]], strict=True):
            style = {"color": colour(look(arm).shade), "width": 2.5}
            plot.add_scatter(
                x=ks, y=y, mode="lines", name=look(arm).label, line=style, visible=bool(cue == params.core_cue),
                hovertemplate="k = %{x}: %{y:.1%}",
            )  # fmt: skip
        buttons = [
            {"label": f"cue {cue:g}", "method": "restyle", "args": [{"visible": [bool(cue == c) for c, _ in shown]}]}
            for cue in params.cues
        ]
        marks = [{"label": f"{step}", "method": "restyle", "args": [{"y": ys[step]}]} for step in steps]
        menu = {
            "buttons": buttons,
            "active": params.cues.index(params.core_cue),
            "x": 0,
            "xanchor": "left",
            "showactive": False,
        }
        slider = {"steps": marks, "active": len(steps) - 1, "currentvalue": {"prefix": "step "}, "x": 0.3, "len": 0.7}
        above = {"y": 1.03, "yanchor": "bottom"}
        plot.update_xaxes(type="log", title="samples k", tickvals=list(TICKS))
        plot.update_yaxes(title="pass@k", range=[0, 1], tickformat=".0%")
        return plot.update_layout(updatemenus=[menu | above], sliders=[slider | above | {"pad": {"b": 4, "t": 0}}])

    return _interactive(draw, rows, steps, params)


def _interactive(draw: Any, rows: pd.DataFrame, steps: list[int], params: RlvrBoundaryParams) -> Figure:
    here = rows[rows["cue"] == params.core_cue]
    by_step = here[here["arm"] == "rl"].groupby(["step", "k"])["value"].mean()
    base = here[here["arm"] == "base"].groupby("k")["value"].mean()

    def fallback(axes: Any) -> None:
        axes.plot(base.index, base, label="base", **STYLE["base"].line_style())
        for shade, step in zip(sequential(len(steps) - 1), steps[1:], strict=True):
            axes.plot(by_step[step].index, by_step[step], color=shade, label=f"step {step}")
        axes.set(
            xscale="log", ylim=(-0.02, 1.02), title=cue_title(params.core_cue), xlabel="samples k", ylabel="pass@k"
        )
        plain_ticks(axes.xaxis, TICKS)
        below(axes, 5, narrow=3)

    return interactive(
        draw,
        fallback=fallback,
        name="rlvr-boundary-explorer",
        height=520,
        alt="pass@k against k at successive steps of reinforcement: the left end of the curve rises step by step, and "
        "where the cue is unreliable the right end falls.",
        caption="pass@k over training. Choose a cue level in the menu and a step of reinforcement on the slider (0 is the "
        "base model); fine-tuning on own correct samples is shown as it ends. The controls were run at the core cue. "
        "Means over seeds.",
    )
