"""Figures of when it works: which example, which base, and to which methods it carries. Tables in, drawings out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evolm.findings.one_shot.curves import ABSENT, Tables, final, gain, heldout, per_seed, transfer
from evolm.findings.one_shot.figure_style import BASES, CORE, KINDS, STYLE, Scale, points
from evolm.fragments import Fragment
from evolm.panels import (
    below,
    change_map,
    each,
    in_points,
    is_narrow,
    listed,
    outer_labels,
    percent,
    seeds_of,
    sentence,
)
from evolm.plotting import Figure, colour, figure, plain_ticks

#: Where the axis of success probabilities starts; what is lower is drawn there.
LEAST = 1e-3


def example_gains(tables: Tables) -> pd.DataFrame:
    """Columns of the table `examples` and `gain`, the held-out one at the last step, for every example trained on."""
    rows = final(gain(tables, base=CORE, arm=["base", "one", "ranked"]))
    found = rows[["seed", "example", "value"]].rename(columns={"value": "gain"})
    return tables["examples"].merge(found.drop_duplicates(["seed", "example"]), on=["seed", "example"])


def spread(tables: Tables, params: Scale) -> Figure:
    """Gain of every example against its success probability under the base, and against its historical score."""
    rows = example_gains(tables)
    rows["start"] = rows["base_p"].astype(float).clip(lower=LEAST)
    scored = rows.dropna(subset=["score"])
    columns = [("start", rows, "success probability under the base")]
    if len(scored):
        columns.append(("score", scored, "historical variance score"))

    def draw(panels: Any) -> None:
        for axes, (column, found, label) in zip(each(panels), columns, strict=True):
            _scatter(axes, found, column)
            axes.set_xlabel(label)
        each(panels)[0].set_xscale("log")
        each(panels)[0].set_xlim(LEAST / 1.3, 1.3)
        plain_ticks(each(panels)[0].xaxis, [LEAST, 0.01, 0.1, 1])
        if len(columns) > 1:
            each(panels)[-1].locator_params(axis="x", nbins=5)
        for axes in each(panels):
            axes.set_ylim(min(-0.05, rows["gain"].min() - 0.03), rows["gain"].max() + 0.06)
            if is_narrow(axes) or axes is each(panels)[0]:
                axes.set_ylabel("gain of held-out accuracy")
        below(panels, 2)

    drawn = rows[rows["chosen"] == "draw"]
    words = _by_kind(drawn)
    ranked = (rows["chosen"] == "ranked").any()
    return figure(
        draw,
        name="one-shot-spread",
        panels=len(columns),
        size=(7.8, 4.8),
        narrow_height=3.2 * len(columns) + 1.6,
        alt=f"Gain of held-out accuracy of {len(drawn)} runs on one drawn example each, by how likely the base solves the "
        f"example and by what can solve it: {words}.",
        caption=f"The spread over examples: one mark per seed and example, {len(drawn)} in all, at the fixed last step. The "
        f"examples were drawn before any run, and their kinds follow from the task. Gains: {words}."
        + (" Ringed: examples that the historical variance score picks instead." if ranked else "")
        + (" The score is the variance of an example's accuracy over the passes of a full-set run." if len(scored) else "")
        + (f" Probabilities below {LEAST:g} are drawn there." if (rows["base_p"] < LEAST).any() else ""),
    )  # fmt: skip


def _scatter(axes: Any, rows: pd.DataFrame, column: str) -> None:
    axes.axhline(0, color=colour("muted"), lw=1)
    for kind, shown in KINDS.items():
        part = rows[rows["kind"] == kind]
        if len(part):
            style = {
                "color": colour(shown.shade),
                "marker": shown.marker,
                "ls": "none",
                "ms": 6,
                "alpha": 0.75,
                "mew": 0,
            }
            axes.plot(part[column], part["gain"], **style, label=shown.label)
    ringed = rows[rows["chosen"] == "ranked"]
    if len(ringed):
        ring = {"marker": "o", "ls": "none", "ms": 11, "mfc": "none", "mew": 1.4, "color": colour("ink")}
        axes.plot(ringed[column], ringed["gain"], **ring, label="chosen by variance")


def _by_kind(rows: pd.DataFrame) -> str:
    """Range of the gains of the examples of each kind, in words."""
    found = []
    for kind, shown in KINDS.items():
        part = rows.loc[rows["kind"] == kind, "gain"]
        if len(part):
            runs = "1 run" if len(part) == 1 else f"{len(part)} runs"
            found.append(f"{in_points(part.min())} to {points(part.max())} where {shown.label} ({runs})")
    return listed(found)


def on_shared_examples(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows whose example was run on every base that has the arm: other bases have the first few examples only."""
    bases = rows.groupby(["arm", "example"])["base"].transform("nunique")
    return rows[bases == rows.groupby("arm")["base"].transform("nunique")]


def alignment(tables: Tables, params: Scale) -> Figure:
    """Held-out gain against the base's pass@1 and pass@16, for bases with and without the latent method."""
    ks = ("pass_at_1", "pass_at_16")
    gains = per_seed(final(on_shared_examples(gain(tables, arm=["base", "one", "full"]))))
    shared = on_shared_examples(gain(tables, arm=["base", "one"]))["example"].nunique()
    starts = {k: heldout(tables, k, arm="base").set_index(["seed", "base"])["value"].rename(k) for k in ks}
    rows = gains.join(starts[ks[0]], ["seed", "base"]).join(starts[ks[1]], ["seed", "base"])
    bases = [base for base in BASES if (rows["base"] == base).any()]

    def draw(panels: list[Any]) -> None:
        for axes, k in zip(panels, ks, strict=True):
            axes.axhline(0, color=colour("muted"), lw=1)
            for base in bases:
                for arm in ("full", "one"):
                    _cloud(axes, rows[(rows["base"] == base) & (rows["arm"] == arm)], base, k, filled=arm == "one")
            axes.set(title=f"by the base's {k.replace('_at_', '@')}", xlim=(0, 1))
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        ink = {"color": colour("ink"), "marker": "o", "ls": "none", "mew": 1.5}
        panels[0].plot([], [], **ink, label="filled: " + STYLE["one"].label)
        panels[0].plot([], [], **ink, mfc=colour("background"), label="open: " + STYLE["full"].label)
        outer_labels(panels, "share of held-out problems", "gain of held-out accuracy")
        below(panels, 2)

    means = rows[rows["arm"] == "one"].groupby("base")[["value", "pass_at_16"]].mean()
    numbers = [(base, means["value"][base], means["pass_at_16"][base]) for base in bases if base in means.index]
    words = "; ".join(f"{base} {points(more)} (pass@16 {percent(before)})" for base, more, before in numbers)
    return figure(
        draw,
        name="one-shot-alignment",
        panels=2,
        size=(7.8, 4.6),
        narrow_height=7.6,
        alt=f"Gain against what the base solves before, base by base. Gain of RL on one example: {words}.",
        caption=f"Is high pass@k of the base enough? Gain of held-out pass@1 at the last step against the base's pass@1 and "
        f"pass@16 at temperature 1. One example gains, by base: {words}; the same "
        f"{shared} {'example' if shared == 1 else 'examples'} on every base. Small marks: seeds; large: means"
        + (" of one seed." if params.seeds == 1 else f" over {params.seeds} seeds."),
    )  # fmt: skip


def _cloud(axes: Any, rows: pd.DataFrame, base: str, k: str, *, filled: bool) -> None:
    """Seeds small, their mean large."""
    if rows.empty:
        return
    shown = BASES[base]
    face = colour(shown.shade) if filled else colour("background")
    style = {"color": colour(shown.shade), "marker": shown.marker, "ls": "none", "mew": 1.5, "mfc": face}
    if len(rows) > 1:
        axes.plot(rows[k], rows["value"], **{**style, "ms": 3.5, "alpha": 0.5, "mew": 1})
    axes.plot(
        rows[k].mean(),
        rows["value"].mean(),
        **{**style, "ms": 8 if filled else 11},
        zorder=4,
        label=shown.label if filled else None,
    )


def transfer_matrix(tables: Tables, params: Scale) -> Figure | Fragment:
    """Gain by method of the training example (rows) and of the test problems (columns); means over runs."""
    rows = transfer(tables, CORE)
    if rows.empty:
        return sentence("This record has no run on a single example, so there is no transfer between methods to show.")
    tested, trained = sorted(rows["tested"].unique()), sorted(rows["trained"].unique())
    methods = sorted({*tested, *trained} - {ABSENT})
    mean = rows.groupby(["trained", "tested"])["value"].mean().unstack().reindex(methods, columns=tested)
    runs = rows.drop_duplicates(["seed", "example"])["trained"].value_counts().reindex(mean.index, fill_value=0)

    def draw(axes: Any) -> None:
        change_map(axes, mean, in_points, "gain of held-out accuracy", fonts=(9, 10))
        for place, method in enumerate(mean.index):
            if method in mean.columns:  # a frame around the example's own method
                left = list(mean.columns).index(method)
                right, low, high = left + 1, place, place + 1
                frame = [left, right, right, left, left], [low, low, high, high, low]
                axes.plot(*frame, color=colour("ink"), lw=1.5, clip_on=False)
        names = [f"{method}" + ("\nabsent" if method == ABSENT else "") for method in mean.columns]
        axes.set_xticks(np.arange(len(names)) + 0.5, names)
        axes.set_yticks(np.arange(len(mean)) + 0.5, [f"{method} ({runs[method]})" for method in mean.index])
        axes.set(xlabel="method of the test problems", ylabel="method of the example (runs)")
        axes.invert_yaxis()

    same = rows["trained"] == rows["tested"]
    known = rows["tested"] != ABSENT
    words = f"{points(rows[same]['value'].mean())} on the example's own method"
    words += f", {points(rows[known & ~same]['value'].mean())} on the other known ones"
    words += f", {points(rows[~known]['value'].mean())} on the absent one" if (~known).any() else ""
    return figure(
        draw,
        name="one-shot-transfer",
        size=(7.2, 4.6),
        narrow_height=5.4,
        alt=f"Map of the gain by method of the training example and of the test problems. Means: {words}.",
        caption=f"Does it carry to other methods? Gain of pass@1 in points at the last step, means over seeds and "
        f"examples; the examples cover {len(set(trained) - {ABSENT})} of {len(mean)} known methods, and empty rows are methods that no example "
        f"needs. Framed: the example's own method. Means: {words}. {seeds_of(params.seeds).split(';')[0].rstrip('.')}.",
    )  # fmt: skip
