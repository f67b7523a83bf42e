"""The phase diagram, the variants of reinforcement and the open models: tables in, drawings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evolm.findings.rlvr_boundary.estimands import MARGIN, curves
from evolm.findings.rlvr_boundary.figure_style import (
    STYLE,
    Tables,
    algorithm,
    band,
    bayes,
    cue_title,
    last,
    look,
)
from evolm.fragments import Fragment
from evolm.panels import below, change_map, is_narrow, seeds_of
from evolm.plotting import Figure, colour, figure, plain_ticks, sequential

if TYPE_CHECKING:
    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams

#: A map needs as many cue levels and models over training as this.
FEWEST_CUES, FEWEST_STEPS = 4, 2
FINE = np.linspace(0, 1, 101)


def change_of_coverage(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """pass@k_max less the base's, test problems, temperature 1: columns seed, cue, arm, step, value, base."""
    rows = curves(tables, [params.k_max], arm=["base", "rl", "rft"], temperature=1.0)
    base = rows[rows["arm"] == "base"].set_index(["seed", "cue"])["value"].rename("base")
    rows = rows[rows["arm"] != "base"].join(base, on=["seed", "cue"])
    return rows.assign(value=rows["value"] - rows["base"])


def limit(rows: pd.DataFrame) -> np.ndarray:
    """Coverage of best routing by the cue alone less the base's, over `FINE`: where reinforcement heads."""
    base = rows.groupby("cue")["base"].mean()
    coverage = np.array([bayes(cue).coverage for cue in FINE])
    return coverage - np.interp(FINE, base.index, base)


def phase(tables: Tables, params: RlvrBoundaryParams) -> Figure:
    """The map where there are cue levels and checkpoints for one, the lines otherwise."""
    drawn = phase_map(tables, params)
    return drawn if isinstance(drawn, Figure) else phase_lines(tables, params)


def phase_lines(tables: Tables, params: RlvrBoundaryParams) -> Figure:
    """Change of coverage against the cue at the checkpoints, with the closed form as the limit."""
    rows = change_of_coverage(tables, params)
    steps = sorted(rows.loc[rows["arm"] == "rl", "step"].unique())
    reach = limit(rows)
    inside = (min(params.cues) <= FINE) & (max(params.cues) >= FINE)

    def draw(axes: Any) -> None:
        axes.axhline(0, color=colour("muted"), lw=1)
        for shade, step in zip(sequential(len(steps)), steps, strict=True):
            part = rows[(rows["arm"] == "rl") & (rows["step"] == step)].groupby("cue")["value"]
            if step == steps[-1] and params.seeds > 1:
                axes.fill_between(part.min().index, part.min(), part.max(), color=shade, alpha=0.2, lw=0)
            axes.plot(part.mean().index, part.mean(), color=shade, marker="s", label=f"RL, step {step}")
        band(axes, last(rows[rows["arm"] == "rft"]), "cue", STYLE["rft"], markers=True)
        axes.plot(
            FINE[inside], reach[inside], color=colour("ink"), ls="--", lw=1.5, label="limit: best routing by the cue"
        )
        axes.set(xlabel="cue: how often the prompt is right", ylabel=f"change of pass@{params.k_max}")
        axes.set_xlim(-0.03, 1.03)
        below(axes, 2)

    return figure(
        draw,
        name="rlvr-boundary-phase-lines",
        size=(7.2, 5.2),
        narrow_height=6.0,
        alt=f"Change of pass@{params.k_max} against the base over the cue, a line per step of reinforcement. All lines lie "
        "below zero at low cues and rise to it, or a little above, as the cue becomes reliable; with more steps they sink "
        "towards the dashed limit of best routing by the cue.",
        caption=f"Where coverage narrows: pass@{params.k_max} less the base's. {seeds_of(params.seeds)} Dashed: the closed form, in "
        "expectation over problems. A policy that sees the cue alone and maximises reward ends there, so narrowing below "
        "cue 1 is expected by construction; what is measured is how far finite training goes.",
    )


def phase_map(tables: Tables, params: RlvrBoundaryParams) -> Figure | Fragment:
    """Change of coverage over cue and step; a sentence where there are too few cue levels for a map."""
    rows = change_of_coverage(tables, params)
    rows = rows[rows["arm"] == "rl"]
    grid = rows.groupby(["step", "cue"])["value"].mean().unstack()
    if grid.shape[0] < FEWEST_STEPS or grid.shape[1] < FEWEST_CUES:
        words = f"The map over cue and step needs {FEWEST_CUES} cue levels; this run has {grid.shape[1]}."
        return Fragment(f"<p>{words}</p>", words)
    losing, growing = (grid < -MARGIN).sum().sum(), (grid > MARGIN).sum().sum()

    def in_cell(value: float) -> str:
        return f"{100 * value:+.0f}".replace("-", "−") if abs(value) >= MARGIN else "0"

    def draw(axes: Any) -> None:
        change_map(axes, grid, in_cell, f"change of pass@{params.k_max}", fonts=(7.5, 9))
        labels = [f"{cue:g}" for cue in grid.columns]
        axes.set_xticks(np.arange(len(labels)) + 0.5, labels, fontsize=9 if is_narrow(axes) else 10)
        axes.set_yticks(np.arange(len(grid)) + 0.5, [str(step) for step in grid.index])
        axes.set(xlabel="cue: how often the prompt is right", ylabel="RL step")

    return figure(
        draw,
        name="rlvr-boundary-phase",
        size=(7.6, 4.4),
        narrow_height=5.4,
        alt=f"Map of the change of pass@{params.k_max} against the base, cue across and step of reinforcement up, with the "
        f"change in points in each cell: {losing} of {grid.size} cells lose coverage, {growing} gain. Losses are deepest at "
        "low cues after many steps.",
        caption=f"The phase diagram: change of pass@{params.k_max} against the base in points, means over {params.seeds} "
        "seeds. Red: coverage narrows; blue: it grows; 0: less than half a point either way.",
    )


def algorithms(tables: Tables, params: RlvrBoundaryParams) -> Figure | Fragment:
    """pass@1 and coverage of every variant of reinforcement at the core cue, against the base's coverage."""
    rows = tables["success"]
    arms = [arm for arm in rows["arm"].unique() if arm.startswith("rl-")]
    if not arms:
        words = (
            "This run has one algorithm and one setting; the preset gpu compares six, with KL, entropy and group sizes."
        )
        return Fragment(f"<p>{words}</p>", words)
    arms = ["base", "rl", *arms]
    found = last(curves(tables, [1, params.k_max], arm=arms, cue=params.core_cue, temperature=1.0))
    stats = found.groupby(["arm", "k"])["value"].agg(["mean", "min", "max"])
    numbers: dict[Any, Any] = stats.to_dict("index")  # (arm, k) -> mean, min, max
    most = numbers["base", params.k_max]["mean"]
    names = [f"{algorithm(params.algorithms[0])}, 1 update" if arm == "rl" else look(arm).short for arm in arms]

    def draw(axes: Any) -> None:
        axes.axvline(most, color=colour("blue"), lw=1.2, ls="--", label=f"pass@{params.k_max} of the base")
        for place, arm in enumerate(arms):
            shade = colour("blue" if arm == "base" else "vermillion")
            ends = [numbers[arm, k]["mean"] for k in (1, params.k_max)]
            axes.plot(ends, [place] * 2, color=shade, lw=1, alpha=0.5)
            for k, mean, face in zip((1, params.k_max), ends, (shade, colour("background")), strict=True):
                low, high = numbers[arm, k]["min"], numbers[arm, k]["max"]
                label = f"pass@{k}" if arm == "rl" else None
                style = {"marker": "o", "color": shade, "mfc": face, "mew": 1.5, "ls": "none"}
                axes.hlines(place, low, high, color=shade, lw=2.5, alpha=0.5)
                axes.plot(mean, place, label=label, **style)
        axes.set_yticks(range(len(arms)), names)
        axes.set(xlim=(0, 1), ylim=(len(arms) - 0.4, -0.6), title=cue_title(params.core_cue))
        axes.set_xlabel("share of problems solved")
        axes.grid(False, axis="y")
        below(axes, 3)

    tall = 0.33 * len(arms)
    return figure(
        draw,
        name="rlvr-boundary-algorithms",
        size=(7.2, tall + 1.6),
        narrow_height=tall + 2.2,
        alt=f"pass@1 and pass@{params.k_max} of each algorithm and setting of reinforcement, against the base's "
        f"pass@{params.k_max}: how far the filled mark lies from the dashed line is the sampling-efficiency gap.",
        caption=f"Variants of reinforcement at cue {params.core_cue:g}. Filled: pass@1; open: coverage; thick lines: the "
        f"range of {params.seeds} seeds. The distance from a filled mark to the dashed line is the paper's sampling-efficiency gap. "
        f"KL, entropy and group sizes are varied on the first algorithm, with as many samples in all and one update per "
        f"rollout; the algorithms below it take {params.compared_updates}, so that clips can act.",
    )


def open_models(tables: Tables, params: RlvrBoundaryParams) -> Figure | Fragment:
    """pass@k of open models on their problems with intervals, beside what guessing would score."""
    rows = tables.get("open_models", pd.DataFrame())
    if rows.empty:
        words = "No open model was measured in this run: none is named, or its weights are not here."
        return Fragment(f"<p>{words}</p>", words)
    models = list(dict.fromkeys(rows.loc[rows["quantity"] == "pass@k", "model"]))

    def draw(axes: Any) -> None:
        shades = ["blue", "vermillion", "green", "purple", "orange", "sky", "grey"] * 3
        for model, shade, marker in zip(models, shades, "os^DvPX" * 3, strict=False):
            part = rows[(rows["model"] == model) & (rows["quantity"] == "pass@k")].sort_values("k")
            axes.fill_between(part["k"], part["low"], part["high"], color=colour(shade), alpha=0.2, lw=0)
            axes.plot(part["k"], part["value"], color=colour(shade), marker=marker, label=model.rpartition("/")[2])
        guess = rows[rows["quantity"] == "guess: answer marginal"].drop_duplicates("k").sort_values("k")
        axes.plot(guess["k"], guess["value"], color=colour("ink"), ls=":", lw=1.3, label="guess: answer marginal")
        for same in rows.loc[rows["quantity"] == "guess: majority answer", "value"].iloc[:1]:  # at every k
            axes.axhline(same, color=colour("ink"), ls="--", lw=1.3, label="guess: majority answer")
        ks = sorted(rows.loc[rows["quantity"] == "pass@k", "k"].unique())
        axes.set(xscale="log", ylim=(-0.02, 1.02), xlabel="samples k", ylabel="pass@k")
        plain_ticks(axes.xaxis, ks if len(ks) < 7 else ks[::2])
        below(axes, 2)

    return figure(
        draw,
        name="rlvr-boundary-open-models",
        size=(7.2, 4.8),
        narrow_height=5.4,
        alt="pass@k of open models against the number of samples k, with intervals over problems, and "
        "curves of guessing.",
        caption=f"The instrument on open models: {params.model_problems} problems ({_asked(params)}), "
        f"{params.model_samples} samples each, prompt: {params.model_template}. Bands: 95 % bootstrap intervals over problems. 'Answer marginal' draws "
        "answers as often as they occur among the problems; 'majority answer' gives the most frequent one.",
    )


def _asked(params: RlvrBoundaryParams) -> str:
    return "short word problems of the project" if params.model_task == "words" else params.model_task
