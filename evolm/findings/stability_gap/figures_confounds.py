"""The figure of what else could make or mend a dip: schedule, warm-up, optimiser state, length. Tables in, drawings out."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from evolm.findings.stability_gap import curves
from evolm.findings.stability_gap.curves import TASK, Tables
from evolm.findings.stability_gap.figure_style import STYLE, Scale, marks_of, size_in_points, whole_points
from evolm.fragments import Fragment
from evolm.intervals import seed_interval
from evolm.panels import Look, below, in_points, is_narrow, sentence
from evolm.plotting import Figure, colour, figure


class Condition(NamedTuple):
    """A row: the words for it in a caption and on the axis, the arm on medical text, the null shift's if there is one."""

    name: str
    shown: str
    arm: str
    null: str | None = None

    @property
    def arms(self) -> list[str]:
        return [arm for arm in (self.arm, self.null) if arm is not None]


#: Rows from the top; all others are compared with the first.
CONDITIONS = (
    Condition("as it is", "as it is (cosine,\nwarmed up,\nfresh optimiser)", "baseline", "null"),
    Condition("at a constant rate", "constant rate", "constant", "constant, null"),
    Condition("without warm-up", "no warm-up", "no warm-up", "no warm-up, null"),
    Condition("with the optimiser's state kept", "optimiser\nstate kept", "kept state", "kept state, null"),
    Condition("with 40 % of the tokens", "40 % of the\ntokens, own\nschedule", "baseline, 40 %"),
    Condition("stopped at 40 %", "stopped\nat 40 %", "baseline, cut"),
)
#: Panels: column of `curves.dips`, title.
QUANTITIES = {"depth": "depth of the dip", "recovery": "recovery by the end"}
#: The side of a row where medical text and the null shift are, and how far below a mean its seeds are.
APART, SEEDS = 0.2, 0.14
MEDICAL, NULL = STYLE["baseline"]._replace(label="medical text"), STYLE["null"]


def confounds(tables: Tables, params: Scale) -> Figure | Fragment:
    """Depth of the dip in the domain's task and recovery from it, medical text beside the null shift, by condition."""
    task = curves.dips(curves.accuracy(tables, TASK))
    there = set(task["arm"])
    rows = [condition for condition in CONDITIONS if there.issuperset(condition.arms)]
    paired = [condition for condition in rows if condition.null]
    if len(paired) < 2 or paired[0] is not CONDITIONS[0]:
        return sentence(
            'Other schedules, no warm-up and a kept optimiser state need the arms of groups = ("core", "confounds"); this '
            "record cannot set them beside the run as it is."
        )

    def draw(panels: list[Any]) -> None:
        for axes, (quantity, title) in zip(panels, QUANTITIES.items(), strict=True):
            axes.axvline(0, color=colour("muted"), lw=1)
            for place, condition in enumerate(rows):
                apart = APART if condition.null else 0.0
                _mark(axes, task, condition.arm, quantity, place - apart, MEDICAL)
                if condition.null:
                    _mark(axes, task, condition.null, quantity, place + apart, NULL)
            named = is_narrow(axes) or axes is panels[0]
            axes.set_yticks(range(len(rows)), [condition.shown if named else "" for condition in rows])
            axes.set_ylim(len(rows) - 0.45, -0.55)
            axes.grid(False, axis="y")
            axes.set_title(title)
            if not is_narrow(axes) or axes is panels[-1]:
                axes.set_xlabel("points")
        below(panels, 2)

    seeds = task.loc[task["arm"].isin([arm for row in rows for arm in row.arms]), "seed"].nunique()
    said = "; ".join(f"{title} {_means(task, rows, quantity)}" for quantity, title in QUANTITIES.items())
    return figure(
        draw,
        name="stability-gap-confounds",
        panels=len(QUANTITIES),
        size=(7.8, 1.6 + 0.62 * len(rows)),
        narrow_height=2.2 + 1.24 * len(rows),
        alt=f"Two panels with a row per condition of training, medical text beside the null shift. In points: {said}.",
        caption=f"What else could make or mend a dip within {params.steps} updates: how far the share of the domain's task "
        "that is right falls from the start to its lowest point, and how much comes back by the end, under other schedules "
        "and states of the optimiser, on medical text and on more general text (null shift). The lowest point is found on "
        f"one half of the items and read on the other. In points, medical text (null shift): {said}. "
        f"{_differences(task, paired)}{_short(rows)}{marks_of(seeds)}.",
    )


def _mark(axes: Any, dips: pd.DataFrame, arm: str, quantity: str, place: float, shown: Look) -> None:
    """One arm in points at a height: seeds small, mean and 95 % interval large."""
    values, shade = 100 * dips.loc[dips["arm"] == arm, quantity].to_numpy(), colour(shown.shade)
    if len(values) > 1:
        low, high = seed_interval(values)
        axes.hlines(place, low, high, color=shade, lw=2, zorder=2)
        axes.plot(values, [place + SEEDS] * len(values), marker="o", ls="none", color=shade, ms=3, alpha=0.5, mew=0)
    style = {"marker": shown.marker, "ls": "none", "color": shade, "ms": 7, "mew": 0, "label": shown.label}
    axes.plot(values.mean(), place, **style, zorder=4)


def _means(dips: pd.DataFrame, rows: list[Condition], quantity: str) -> str:
    """Means over seeds by condition, in whole points, the null shift's in brackets."""
    means = dips.groupby("arm")[quantity].mean()
    parts = []
    for row in rows:
        beside = f" ({whole_points(means[row.null])})" if row.null else ""
        parts.append(f"{whole_points(means[row.arm])}{beside} {row.name}")
    return ", ".join(parts)


def _differences(dips: pd.DataFrame, rows: list[Condition]) -> str:
    """How much deeper the dip on medical text is than the null shift's, paired by seed, in a sentence."""
    depth = dips.pivot(index="seed", columns="arm", values="depth")
    parts: list[str] = []
    for row in rows:
        values = (depth[row.arm] - depth[row.null]).dropna().to_numpy()
        if not len(values):
            continue
        within = ""
        if len(values) > 1:
            low, high = seed_interval(values)
            within = f" ({'' if parts else '95 % interval '}{in_points(float(low))} to {in_points(float(high))})"
        parts.append(f"{size_in_points(float(values.mean()))}{within} {row.name}")
    return f"Depth on medical text less that of the null shift, paired by seed: {', '.join(parts)}. " if parts else ""


def _short(rows: list[Condition]) -> str:
    """What the rows without a null shift are, in a sentence; empty where there are none."""
    what = {
        "baseline, 40 %": "in the run with 40 % of the tokens the rate comes down within them",
        "baseline, cut": "the run stopped at 40 % is the first part of the one as it is",
    }
    said = "; ".join(what[row.arm] for row in rows if row.arm in what)
    return f"{said[0].upper()}{said[1:]}. " if said else ""
