"""Figures of geometry on addition: planes of tokens, variance as evidence. Tables in, drawings out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from evolm.findings.harmonic_loss.algorithmic import LEARNT
from evolm.findings.harmonic_loss.estimands import Tables
from evolm.findings.harmonic_loss.figure_style import STYLE, rows_of
from evolm.findings.harmonic_loss.figures_curves import Scale
from evolm.findings.harmonic_loss.readings_words import chance_ev
from evolm.fragments import Fragment
from evolm.instruments.geometry_measures import fourier_share
from evolm.panels import DASHED, DOTTED, below, each, in_columns, listed, percent, sentence
from evolm.plotting import Figure, colour, figure

#: Group and head of the planes, in the order of the panels.
PLANES = [(group, head) for group in ("authors", "addition") for head in ("cross-entropy", "harmonic")]
UNTIED = ", untied"


def planes(tables: Tables, params: Scale) -> Figure | Fragment:
    """Embeddings of the first seed in their principal plane, tokens joined in the order of their best frequency."""
    seed, shown = _planes(tables, params)
    if not shown:
        return sentence("This record holds no planes of addition: they come with its histories and models.")

    def draw(panels: Any) -> None:
        panels = each(panels)
        if len(panels) == 4:
            in_columns(panels, 2)
        for axes, (title, points, order, head, model) in zip(panels, shown, strict=True):
            ring = points[[*order, order[0]]]
            axes.plot(*ring.T, color=colour(STYLE[head].shade), lw=0.9, alpha=0.55, zorder=2)
            axes.plot(*points.T, ls="none", marker=STYLE[head].marker, ms=5, color=colour(STYLE[head].shade), zorder=3)
            for token in order[:: max(1, len(order) // 8)]:
                axes.annotate(
                    str(token),
                    points[token],
                    xytext=(4, 3),
                    textcoords="offset points",
                    fontsize=9,
                    color=colour("ink"),
                )
            axes.set_title(
                f"{title}\n{percent(model['test_accuracy'])} right, EV {percent(model['ev2'])}, ring {percent(model['shape'])}",
                fontsize=9.5,
            )
            axes.set_aspect("equal", adjustable="datalim")
            axes.set_xticks([])
            axes.set_yticks([])

    said = "; ".join(
        f"{t} {percent(m['test_accuracy'])}, {percent(m['ev2'])} and {percent(m['shape'])}" for t, _, _, _, m in shown
    )
    return figure(
        draw,
        name="harmonic-loss-planes",
        panels=len(shown),
        size=(7.4, 7.4) if len(shown) == 4 else (2.6 * len(shown) + 1.5, 4.0),
        narrow_height=3.7 * len(shown),
        alt=f"{len(shown)} small planes with the embedded numbers, joined in ring order. Test accuracy, explained variance and ring share: "
        f"{said}.",
        caption="The 31 numbers of addition modulo 31 in the two leading principal components of their embedding, in units of the "
        "embedding; axes differ between panels. A line joins them in the order of the single frequency of the ring that "
        "explains most of the plane, so that a clean ring is a circle. The title has the share of test pairs that are "
        f"right, and the shares of the variance in two dimensions (EV) and at the best single frequency of the ring: {said}. One seed, {seed}.",
    )


Plane = tuple[str, NDArray[Any], NDArray[Any], str, "pd.Series[Any]"]


def _planes(tables: Tables, params: Scale) -> tuple[int | None, list[Plane]]:
    """The first seed, and per plane title, points (token, 2), tokens in ring order, head and row of `models`."""
    points, models = (
        rows_of(tables, name, share=params.share, task="addition", split="clean") for name in ("vectors", "models")
    )
    found: list[Plane] = []
    if points.empty or models.empty:
        return None, found
    seed = int(points["seed"].min())
    for group, head in PLANES:
        flat, model = (
            rows[(rows["group"] == group) & (rows["head"] == head) & (rows["seed"] == seed)]
            for rows in (points, models)
        )
        if len(flat) < 3 or model.empty:
            continue
        places = flat.sort_values("token")[["x", "y"]].to_numpy(float)
        frequency = int(fourier_share(torch.tensor(places)).frequency)
        order = np.argsort(frequency * np.arange(len(places)) % len(places), kind="stable")
        title = f"{STYLE[head].short}, {'authors' + chr(39) if group == 'authors' else 'as chosen'}"
        found.append((title, places, order, head, model.iloc[0]))
    return seed, found


def evidence(tables: Tables, params: Scale) -> Figure | Fragment:
    """Explained variance against test accuracy, a point per run: high variance without accuracy is no evidence."""
    rows = pd.concat([rows_of(tables, "models", group=group) for group in ("addition", "authors", "data")])
    random = rows_of(tables, "models", group="split", split="shuffled")
    own = _untied(tables)
    if rows.empty and random.empty:
        return sentence("This record holds no models of addition, so variance is not drawn against accuracy.")

    def draw(axes: Any) -> None:
        axes.axvline(LEARNT, color=colour("muted"), lw=1.1, ls=DOTTED, label=f"counts as learnt ({percent(LEARNT)})")
        axes.axhline(
            chance_ev(), color=colour("ink"), lw=1.1, ls=DASHED, label=f"EV of random points ({percent(chance_ev())})"
        )
        for head in STYLE:
            run, look = rows[rows["head"] == head], STYLE[head]
            hue = colour(look.shade)
            if len(run):
                axes.plot(
                    run["test_accuracy"],
                    run["ev2"],
                    look.marker,
                    color=hue,
                    ms=5.5,
                    alpha=0.75,
                    mew=0,
                    label=look.label,
                )
            free = own[own["head"] == head]
            if len(free):
                style = {"ls": "none", "marker": look.marker, "ms": 5.5, "color": hue, "mfc": "none", "mew": 1.3}
                axes.plot(free["test_accuracy"], free["ev2"], **style)
            noise = random[random["head"] == head]
            if len(noise):
                axes.plot(noise["test_accuracy"], noise["ev2"], "x", color=hue, ms=8, mew=1.7)
        if len(own):
            axes.plot([], [], "o", ms=5.5, color=colour("ink"), mfc="none", mew=1.3, label="own class vectors (hollow)")
        if len(random):
            axes.plot([], [], "x", color=colour("ink"), ms=8, mew=1.7, label="random answers (hue of the head)")
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("test accuracy at the end")
        axes.set_ylabel("EV in two dimensions")
        below(axes, 2)

    rows_and_own = pd.concat([rows, own])
    said = _stuck(rows_and_own, random)
    runs = len(rows_and_own) + len(random)
    return figure(
        draw,
        name="harmonic-loss-evidence",
        size=(7.0, 5.2),
        narrow_height=5.6,
        alt=f"A scatter of {runs} runs: variance explained in two dimensions against test accuracy. {said}",
        caption="Variance of the class vectors that two dimensions explain (EV, share of 1) against the share of test pairs that "
        "are right at the end: addition at settings as chosen and the authors', at all shares of the pairs; a point per run. Class "
        "vectors are the embedding, or, where hollow, weights of their own. As many points of that width, drawn from a standard normal, "
        f"have {percent(chance_ev())} on average (dashed). "
        f"{said} Claims about the geometry of the task count only runs that learnt it. {runs} runs, "
        f"{max(part['seed'].nunique() for part in (rows_and_own, random))} seeds.",
    )


def _untied(tables: Tables) -> pd.DataFrame:
    """Rows of addition whose class vectors are weights of their own, with their head."""
    rows = tables["models"] if "models" in tables else pd.DataFrame(columns=["group", "arm"])
    rows = rows[(rows["group"] == "addition") & rows["arm"].str.endswith(UNTIED)]
    return rows.assign(head=rows["arm"].str.removesuffix(UNTIED))


def _stuck(rows: pd.DataFrame, random: pd.DataFrame) -> str:
    """Explained variance of runs that learnt, that did not, and that had nothing to learn, in sentences."""
    right = rows["test_accuracy"].astype(float) >= LEARNT
    parts = {"runs that learnt": rows[right], "runs that did not": rows[~right], "runs with random answers": random}
    said = [
        f"{name} reach {percent(part['ev2'].min())} to {percent(part['ev2'].max())} ({len(part)})"
        for name, part in parts.items()
        if len(part)
    ]
    text = listed(said)
    return f"{text[0].upper()}{text[1:]}."
