"""What the figures of the chapter share: one look per arm, base and kind of example, lines and points, words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import pandas as pd

from evolm.findings.one_shot.curves import per_seed
from evolm.panels import DASHDOT, DASHED, DOTTED, Look, banded_line, in_points, is_narrow
from evolm.plotting import colour

#: The base of every figure but the one that compares bases.
CORE = "latent"


class Scale(Protocol):
    """What figures need to know of a run's parameters."""

    @property
    def seeds(self) -> int: ...
    @property
    def rl_steps(self) -> int: ...
    @property
    def examples(self) -> int: ...
    @property
    def control_examples(self) -> int: ...
    @property
    def saturation(self) -> float: ...
    @property
    def optimiser(self) -> str: ...


#: The same in every figure; arms that share a hue are never in one panel but as rows with their names.
STYLE = {
    "base": Look("ink", "o", DOTTED, "base model", "base"),
    "one": Look("vermillion", "s", "-", "RL on one example", "one example"),
    "one, same": Look("vermillion", "s", "-", "RL on the controls' examples", "on controls' examples"),
    "full": Look("blue", "o", "-", "RL on the full set", "full set"),
    "format": Look("orange", "P", DASHED, "control: reward for form, one example", "form reward"),
    "format-full": Look("orange", "P", DASHED, "control: reward for form, full set", "full form reward"),
    "random": Look("grey", "X", DASHDOT, "control: random reward, one example", "random reward"),
    "imitate": Look("green", "^", DASHED, "fine-tuned on own correct samples", "imitation"),
    "imitate-any": Look("green", "X", DASHED, "control: fine-tuned on all own samples", "unselected imitation"),
    "worked": Look("green", "s", DASHED, "fine-tuned on the worked solution", "worked solution"),
    "zero": Look("grey", "d", "-", "control: no update", "no update"),
    "cooled": Look("sky", "v", "-", "base, cooled", "cooled base"),
    "forced careful": Look("purple", "D", DASHED, "base, careful mode forced", "forced careful"),
    "known methods": Look("ink", "_", DASHDOT, "share with a known method", "known methods"),
    "one-updates": Look("vermillion", "v", "-", "eight updates per rollout", "eight updates"),
    "random-updates": Look("grey", "v", DASHDOT, "random reward, eight updates", "random, eight updates"),
    "one-long": Look("vermillion", "^", DASHDOT, "one example, four times the steps", "four times the steps"),
    "one-other": Look("vermillion", "D", "-", "the other optimiser", "other optimiser"),
    "one-other-updates": Look("vermillion", "P", "-", "the other optimiser, eight updates", "other, eight updates"),
    "one-no-std": Look("purple", "^", "-", "not divided by the group's std", "without group std"),
    "one-entropy": Look("purple", "D", "-", "with entropy bonus", "with entropy bonus"),
    "one-decay": Look("purple", "v", "-", "with weight decay", "with weight decay"),
    "one-kl": Look("purple", "P", "-", "with KL term", "with KL term"),
    "entropy-only": Look("orange", "D", "-", "entropy bonus alone", "entropy alone"),
    "decay-only": Look("orange", "v", "-", "weight decay alone", "weight decay alone"),
    "near": Look("green", "^", "-", "near label", "near label"),
    "guessable": Look("green", "D", "-", "guessable wrong label", "guessable label"),
    "unguessable": Look("green", "v", "-", "unguessable wrong label", "unguessable label"),
    "ranked": Look("blue", "^", "-", "examples chosen by variance", "chosen by variance"),
}
#: Bases: hue, marker, line, label, short.
BASES = {
    "latent": Look("vermillion", "s", "-", "latent (a mode token switches)", "latent"),
    "scattered": Look("purple", "^", "-", "scattered (same skill, no switch)", "scattered"),
    "absent": Look("grey", "X", "-", "absent (the skill is not there)", "absent"),
    "noisy": Look("orange", "P", "-", "noisy (a switch, and random slips)", "noisy"),
    "low-cue": Look("sky", "D", "-", "low-cue (switch, but an unreliable cue)", "low-cue"),
}
#: Kinds of example, by what can solve them: hue, marker, line, label, short.
KINDS = {
    "switch": Look("vermillion", "s", "-", "only the careful mode solves it", "careful mode only"),
    "either": Look("purple", "^", (0, (3, 1.5)), "both modes solve it", "both modes"),
    "unknown": Look("green", "X", DOTTED, "its method is in no corpus", "unknown method"),
}


def line(axes: Any, rows: pd.DataFrame, arm: str, **more: Any) -> None:
    """Mean over examples, then seeds, of `value` against `step`; the range of the seeds' means as a band."""
    by_seed = per_seed(rows).pivot_table(index="step", columns="seed", values="value")
    banded_line(axes, by_seed, STYLE[arm], alpha=0.16, marks=5, **{"lw": 2.2, "ms": 5, **more})


def point_rows(axes: Any, rows: Sequence[tuple[str, pd.DataFrame]], names: Sequence[str] | None = None) -> None:
    """One row per arm, from the top: the column `fixed` as faint points, mean and range; `chosen` as open marks."""
    axes.axvline(0, color=colour("muted"), lw=1)
    for place, (arm, found) in enumerate(rows):
        shown = STYLE[arm]
        style: dict[str, Any] = {"marker": shown.marker, "color": colour(shown.shade), "ls": "none", "mew": 1.5}
        if len(found) > 1:
            axes.hlines(place, found["fixed"].min(), found["fixed"].max(), color=colour(shown.shade), lw=2, alpha=0.5)
            axes.plot(found["fixed"], [place] * len(found), **{**style, "ms": 3, "alpha": 0.45})
        axes.plot(found["fixed"].mean(), place, **{**style, "ms": 8}, zorder=4)
        if "chosen" in found and found["chosen"].notna().any():
            # Lower by a third of a row: the two are often the same number.
            open_mark = {**style, "ms": 6, "mfc": colour("background"), "mew": 1.3}
            axes.plot(found["chosen"].mean(), place + 0.33, **open_mark, zorder=3)
    axes.set_yticks(range(len(rows)), names or [STYLE[arm].short for arm, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(False, axis="y")


def paper_rows(axes: Any, arms: Sequence[str], gains: dict[str, list[float]]) -> None:
    """The paper's gains in the rows of the panel beside it; on a phone, rows of its own."""
    axes.axvline(0, color=colour("muted"), lw=1)
    shown = [arm for arm in arms if arm in gains] if is_narrow(axes) else list(arms)
    for place, arm in enumerate(shown):
        values = gains.get(arm, [])
        style: dict[str, Any] = {"marker": STYLE[arm].marker, "color": colour(STYLE[arm].shade), "ls": "none", "ms": 8}
        style |= {"alpha": 0.7, "mew": 1}  # two that touch stay two
        axes.plot(values, [place] * len(values), **style)
    axes.set_yticks(range(len(shown)), [STYLE[arm].short for arm in shown] if is_narrow(axes) else [])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(False, axis="y")


def share_height(panels: Sequence[Any], rows: Sequence[int]) -> None:
    """On a phone, panels one above the other get a height in keeping with their rows."""
    if is_narrow(panels[0]):
        panels[0].get_gridspec().set_height_ratios([max(n, 1) for n in rows])


def level(tables: dict[str, pd.DataFrame], quantity: str, base: str = CORE) -> pd.Series:
    """A quantity of the table `levels` by seed; empty where it was not measured."""
    rows = tables["levels"]
    rows = rows[(rows["quantity"] == quantity) & (rows["base"] == base)].dropna(subset=["value"])
    return rows.set_index("seed")["value"].astype(float)


def level_line(axes: Any, values: pd.Series, name: str) -> None:
    """The mean over seeds of a level as a horizontal line."""
    if len(values):
        shown = STYLE[name]
        axes.axhline(values.mean(), color=colour(shown.shade), ls=shown.line, lw=1.3, label=shown.label, zorder=1.5)


def points(value: float) -> str:
    """The same with its unit: +27 points."""
    return f"{in_points(value)} points"
