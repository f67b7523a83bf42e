"""Figures over training: accuracy and loss of the arms, and what becomes of old and new facts. Tables in, drawings out."""

from __future__ import annotations

from typing import Any

import pandas as pd

from evolm.findings.stability_gap import curves
from evolm.findings.stability_gap.curves import TASK, Tables
from evolm.findings.stability_gap.facts import VALUES
from evolm.findings.stability_gap.figure_style import (
    FACTS,
    STYLE,
    Scale,
    arm_lines,
    line,
    one_above_two,
    seeds_in,
    setting,
    size_in_points,
    step_axis,
)
from evolm.fragments import Fragment
from evolm.panels import DASHED, DOTTED, below, in_points, is_narrow, listed, percent, sentence
from evolm.plotting import Figure, colour, figure, plain_ticks

#: Arms of the curves, the main one first.
CURVES = ("baseline", "null", "no general", "replay", "all", "all, 40 %")
#: Panels of facts: title and kinds.
MEDICAL, GENERAL_FACTS = ("absent", "repeated", "new"), ("general lost", "general kept", "sums")
STATED = ", stated"


def losses(tables: Tables, text: str, table: str = "losses") -> pd.DataFrame:
    """Loss on held-out text of a kind: seed, arm, step, value."""
    rows = tables[table]
    rows = rows[rows["text"] == text].rename(columns={"nats": "value"})
    return rows[["seed", "arm", "step", "value"]].reset_index(drop=True)


def v_curves(tables: Tables, params: Scale) -> Figure | Fragment:
    """Accuracy on the domain's task above, held-out loss of medical and general text below, against the update."""
    by_half = curves.accuracy(tables, TASK)
    task = curves.whole(by_half)
    shown = [arm for arm in CURVES if arm in set(task["arm"])]
    if not shown:
        return sentence("This record holds none of the arms that the curves of accuracy and loss compare.")
    rows = {"accuracy, medical questions": task, "loss, medical text": losses(tables, "medical")}
    rows["loss, general text"] = losses(tables, "general")

    def draw(panels: list[Any]) -> None:
        one_above_two(panels)
        for axes, (title, found) in zip(panels, rows.items(), strict=True):
            start = found.loc[found["step"] == 0, "value"].mean()
            axes.axhline(start, color=colour("muted"), lw=1, label="base model", zorder=1)
            arm_lines(axes, found, shown)
            step_axis(axes, params.steps, roomy=is_narrow(axes) or axes is panels[0])
            axes.set_title(title)
            axes.set_ylabel("share right" if axes is panels[0] else "nats per token")
        _log_nats(panels[2])
        for axes in panels:
            if not is_narrow(axes) or axes is panels[-1]:
                axes.set_xlabel("update")
        below(panels, 2)

    said = f"Fall and end: {_dips(by_half, shown)}"
    return figure(
        draw,
        name="stability-gap-curves",
        panels=3,
        size=(7.8, 7.0),
        narrow_height=11.0,
        alt=f"Three panels over {params.steps} updates on a logarithmic axis: accuracy on medical questions, and loss on "
        f"held-out medical and general text, one line per arm. {said}.",
        caption="Questions about medical facts (known ones read again or not, and new ones, all items alike) and loss on "
        "held-out text, after each update of continued pre-training; the axis is linear from 0 to 1, and that of the loss "
        f"on general text logarithmic. Of the documents {setting(params.residual)} are general text, "
        f"{setting(params.replay)} with replay and {setting(params.mix)} in the mixture of all three strategies. "
        f"Accuracy starts at {percent(_start(task))}. {said}; the fall is the start "
        "less the lowest point, which is found on one half of the items and read on the other. "
        f"{_loss_words(rows['loss, medical text'], shown[0])}{seeds_in(task)}",
    )


def _start(task: pd.DataFrame) -> float:
    return float(task.loc[task["step"] == 0].groupby("seed")["value"].mean().mean())


def _dips(by_half: pd.DataFrame, arms: list[str]) -> str:
    """How far each arm falls and where it ends, in words, the main arm first."""
    falls = curves.dips(by_half).groupby("arm")["depth"].mean()
    ends = curves.ends(by_half).groupby("arm")["value"].mean()
    return "; ".join(f"{STYLE[arm].short} {size_in_points(falls[arm])}, {percent(ends[arm])}" for arm in arms)


def _loss_words(rows: pd.DataFrame, arm: str) -> str:
    """Start, highest and last mean loss of an arm, in a sentence; empty where it was not measured."""
    means = rows[rows["arm"] == arm].groupby("step")["value"].mean()
    if means.empty:
        return ""
    start, top, end = means.iloc[0], means.max(), means.iloc[-1]
    return f"Loss on medical text ({STYLE[arm].short}): {start:.2f} at the start, {top:.2f} at its highest, {end:.2f} at the end. "


def _log_nats(axes: Any) -> None:
    """A logarithmic axis of loss with plain numbers: one arm's may be several times the others'."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    plain_ticks(axes.yaxis, [tick for tick in (0.5, 1, 1.5, 2, 3, 5, 10, 20) if low <= tick <= high])


def facts(tables: Tables, arm: str = "baseline", quantity: str = "accuracy") -> dict[str, pd.DataFrame]:
    """Probe -> its quantity over training in one arm: seed, arm, step, value. Probes without rows are left out."""
    names = [name + form for name in FACTS for form in ("", STATED)]
    found = {name: curves.whole(curves.accuracy(tables, [name], quantity)) for name in names}
    kept = {name: rows[rows["arm"] == arm] for name, rows in found.items()}
    return {name: rows for name, rows in kept.items() if len(rows)}


def old_and_new(tables: Tables, params: Scale) -> Figure | Fragment:
    """What becomes of facts in the baseline by when they were taught; questions against statements of the same facts."""
    right, valid = facts(tables), facts(tables, quantity="valid")
    if not right:
        return sentence("This record lacks the baseline arm, so it cannot show what becomes of old and of new facts.")
    titles = ("medical facts", "general facts", "answer of right kind")

    def draw(panels: list[Any]) -> None:
        for axes, kinds, found in zip(
            panels, (MEDICAL, GENERAL_FACTS, tuple(FACTS)), (right, right, valid), strict=True
        ):
            for name in kinds:
                for form in (STATED, ""):
                    if name + form in found and not (form and found is valid):
                        _fact_line(axes, found[name + form], name, bool(form))
            step_axis(axes, params.steps)
            axes.set(ylim=(-0.03, 1.03), title=titles[panels.index(axes)])
            if kinds is MEDICAL:
                axes.axhline(
                    1 / VALUES, color=colour("muted"), lw=1, ls=DOTTED, label="a guess among the values", zorder=1
                )
            if is_narrow(axes) or axes is panels[0]:
                axes.set_ylabel("share of probes")
            if not is_narrow(axes) or axes is panels[-1]:
                axes.set_xlabel("update")
        if any(name.endswith(STATED) for name in right):
            panels[2].plot([], [], color=colour("ink"), ls=DASHED, lw=1.2, label="the same facts as statements")
        below(panels, 3)

    said = _from_to(right)
    return figure(
        draw,
        name="stability-gap-facts",
        panels=3,
        size=(8.2, 4.4),
        narrow_height=9.6,
        alt=f"Three panels over {params.steps} updates of the baseline: medical facts, general facts, and whether the answer "
        f"is of the right kind, one line per kind of fact. From the base to the end: {said}.",
        caption="The baseline, by when facts were taught. Solid: questions answered right; dashed: statements of the same "
        "facts, in general style, completed right. Known facts were in pre-training; of these some are in the later text "
        "(read again), the others are nowhere in it. Right panel: the likeliest next word is a value of the relation that "
        f"is asked for (a number, for sums), right or wrong. Questions answered right, from the base to the mean of the "
        f"last {curves.LAST} measurements: {said}.{_gap(right)} {seeds_in(pd.concat(right.values()))}",
    )


def _fact_line(axes: Any, rows: pd.DataFrame, name: str, stated: bool) -> None:
    more: dict[str, Any] = {"ls": DASHED, "lw": 1.2, "label": "_", "marker": ""} if stated else {}
    line(axes, rows, FACTS[name], **more)


def _from_to(right: dict[str, pd.DataFrame]) -> str:
    """Base and end of every kind of question, in words."""
    parts = []
    for name, shown in FACTS.items():
        if name in right:
            start, end = _start(right[name]), curves.ends(right[name].assign(half=0))["value"].mean()
            parts.append(f"{shown.short} {percent(start)} to {percent(end)}")
    return listed(parts)


def _gap(right: dict[str, pd.DataFrame]) -> str:
    """Questions less statements of the same facts, in a sentence; empty where there are no statements."""
    pairs = [name for name in FACTS if name in right and name + STATED in right]
    if not pairs:
        return ""
    gaps = [float(right[name]["value"].mean() - right[name + STATED]["value"].mean()) for name in pairs]
    said = listed([f"{in_points(gap)} ({FACTS[name].short})" for name, gap in zip(pairs, gaps, strict=True)])
    return f" Questions less statements of the same facts, mean of all measurements, in points: {said}."
