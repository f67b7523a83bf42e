"""Figures of geometry on addition: planes of tokens, variance as evidence, exponents. Tables in, drawings out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from evolm.findings.harmonic_loss.algorithmic import LEARNT
from evolm.findings.harmonic_loss.arms import PLAIN, RECOMMENDED
from evolm.findings.harmonic_loss.estimands import Tables
from evolm.findings.harmonic_loss.figure_style import STYLE, heads_in, rows_of, two_rows
from evolm.findings.harmonic_loss.figures_curves import Scale
from evolm.fragments import Fragment
from evolm.instruments.geometry_measures import fourier_share
from evolm.panels import DASHED, DOTTED, below, each, is_narrow, listed, percent, sentence
from evolm.plotting import Figure, colour, figure, plain_ticks

#: Group and head of the planes, in the order of the panels.
PLANES = [(group, head) for group in ("authors", "addition") for head in ("cross-entropy", "harmonic")]
#: Column of `models` -> title of its panel over exponents.
OVER_EXPONENTS = {
    "generalised_epoch": f"epochs to {percent(LEARNT)} of test",
    "delay": "delay, doublings",
    "ev2": "EV where learnt",
}


def planes(tables: Tables, params: Scale) -> Figure | Fragment:
    """Embeddings of the first seed in their principal plane, tokens joined in the order of their best frequency."""
    seed, shown = _planes(tables, params)
    if not shown:
        return sentence("This record holds no planes of addition: they come with its histories and models.")

    def draw(panels: Any) -> None:
        panels = each(panels)
        two_rows(panels)
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
                f"{title}\n{percent(model['test_accuracy'])} right, EV {percent(model['ev2'])}", fontsize=10.5
            )
            axes.set_aspect("equal", adjustable="datalim")
            axes.set_xticks([])
            axes.set_yticks([])

    said = "; ".join(f"{t} {percent(m['test_accuracy'])} and {percent(m['ev2'])}" for t, _, _, _, m in shown)
    return figure(
        draw,
        name="harmonic-loss-planes",
        panels=len(shown),
        size=(7.4, 7.4) if len(shown) == 4 else (2.6 * len(shown) + 1.5, 4.0),
        narrow_height=3.7 * len(shown),
        alt=f"{len(shown)} small planes with the embedded numbers, joined in ring order. Test accuracy and explained variance: "
        f"{said}.",
        caption="The 31 numbers of addition modulo 31 in the two leading principal components of their embedding, in units of the "
        "embedding; axes differ between panels. A line joins them in the order of the single frequency of the ring that "
        "explains most of the plane, so that a clean ring is a circle. The title has the share of test pairs that are right "
        f"and the variance explained in two dimensions (EV): {said}. One seed, {seed}.",
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
    if rows.empty and random.empty:
        return sentence("This record holds no models of addition, so variance is not drawn against accuracy.")

    def draw(axes: Any) -> None:
        axes.axvline(LEARNT, color=colour("muted"), lw=1.1, ls=DOTTED, label=f"counts as learnt ({percent(LEARNT)})")
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
            noise = random[random["head"] == head]
            if len(noise):
                axes.plot(noise["test_accuracy"], noise["ev2"], "x", color=hue, ms=8, mew=1.7)
        if len(random):
            axes.plot([], [], "x", color=colour("ink"), ms=8, mew=1.7, label="random answers (hue of the head)")
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("test accuracy at the end")
        axes.set_ylabel("EV in two dimensions")
        below(axes, 2)

    said = _stuck(rows, random)
    runs = len(rows) + len(random)
    return figure(
        draw,
        name="harmonic-loss-evidence",
        size=(7.0, 5.2),
        narrow_height=5.6,
        alt=f"A scatter of {runs} runs: variance explained in two dimensions against test accuracy. {said}",
        caption="Variance of the embedding that two dimensions explain (EV, share of 1) against the share of test pairs that "
        "are right at the end: addition at settings as chosen and the authors', at all shares of the pairs; a point per run. "
        f"{said} So a claim about the geometry of the task counts only runs that learnt it. {runs} runs, "
        f"{max(part['seed'].nunique() for part in (rows, random))} seeds.",
    )


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


def exponents(tables: Tables, params: Scale) -> Figure | Fragment:
    """Time, delay and explained variance against the exponent of harmonic loss, beside cross-entropy and distance."""
    rows = _by_exponent(tables)
    if rows.empty:
        return sentence("This record holds no arms with other exponents of harmonic loss.")
    levels = rows_of(tables, "models", group="addition")
    levels = levels[levels["head"].isin(["cross-entropy", "distance"])]
    own = PLAIN["harmonic"].knob

    def draw(panels: Any) -> None:
        for axes, (column, title) in zip(panels, OVER_EXPONENTS.items(), strict=True):
            for at, name, dash in ((own, "authors' code", DOTTED), (RECOMMENDED, "root of the width", DASHED)):
                axes.axvline(at, color=colour("muted"), lw=1.1, ls=dash, label=f"n = {at:g}, {name}", zorder=1)
            for head in heads_in(levels):
                part = _fair(levels[levels["head"] == head], column)
                look = STYLE[head]
                if len(part):
                    label = f"{look.short}, mean"
                    axes.axhline(part[column].mean(), color=colour(look.shade), ls=look.line, lw=1.6, label=label)
            _points(axes, _fair(rows, column), column)
            axes.set_xscale("log", base=2)
            plain_ticks(axes.xaxis, sorted(rows["n"].unique()))
            axes.set_ylim(bottom=0)
            axes.set_title(title)
            if not is_narrow(axes) or axes is panels[-1]:
                axes.set_xlabel("exponent n")
        below(panels, 2)

    said = _said(rows, levels)
    seeds = rows["seed"].nunique()
    return figure(
        draw,
        name="harmonic-loss-exponents",
        panels=len(OVER_EXPONENTS),
        size=(7.8, 4.2),
        narrow_height=9.6,
        alt=f"Three panels against the exponent of harmonic loss on a logarithmic axis. Mean epochs until {percent(LEARNT)} of "
        f"test pairs are right: {said}.",
        caption=f"Harmonic loss on addition at each exponent n, all else as chosen at n = {RECOMMENDED:g}: epochs until "
        f"{percent(LEARNT)} of test pairs are right (open: not reached, at the last epoch), delay (doublings of training in "
        "which train pairs are known and test pairs are not), and the variance explained in two dimensions (EV, share of 1), "
        f"of the runs only that learnt. Mean epochs: {said}. Horizontal lines: means of the other heads as chosen. "
        f"{'One seed.' if seeds == 1 else f'Points: {seeds} seeds; line: their mean.'}",
    )


def _by_exponent(tables: Tables) -> pd.DataFrame:
    """Rows of addition whose arm is an exponent, with its `n`."""
    if "models" not in tables or tables["models"].empty:
        return pd.DataFrame(columns=["n"])
    rows = tables["models"]
    n = rows["arm"].str.extract(r"^harmonic, n = ([\d.]+)$")[0].astype(float)
    return rows.assign(n=n)[n.notna() & (rows["group"] == "addition")]


def _fair(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows that a panel shows: geometry only where the task was learnt."""
    return rows[rows["test_accuracy"] >= LEARNT] if column == "ev2" else rows


def _points(axes: Any, rows: pd.DataFrame, column: str) -> None:
    """Seeds as small points, open where censored, and their mean as a line."""
    look = STYLE["harmonic"]
    hue = colour(look.shade)
    mean = rows.groupby("n")[column].mean()
    axes.plot(mean.index, mean, color=hue, marker=look.marker, label="harmonic", zorder=4)
    late = ~rows["generalised_seen"].astype(bool) & (column == "generalised_epoch")
    for part, face in ((rows[~late], hue), (rows[late], colour("background"))):
        axes.plot(part["n"], part[column], "o", ms=4, color=hue, mfc=face, alpha=0.6, zorder=3)


def _said(rows: pd.DataFrame, levels: pd.DataFrame) -> str:
    """Mean epochs by exponent and of the other heads, and how many runs were not there, in words."""
    parts = [f"{mean:.0f} at n = {n:g}" for n, mean in rows.groupby("n")["generalised_epoch"].mean().items()]
    other = levels.groupby("head")["generalised_epoch"].mean()
    parts += [f"{other[head]:.0f} under {STYLE[head].short}" for head in heads_in(levels)]
    never = int((~rows["generalised_seen"].astype(bool)).sum())
    return f"{listed(parts)}; {never} of {len(rows)} harmonic runs never get there"
