"""Figures over training: accuracy, epochs until test pairs are known, norms without decay. Tables in, drawings out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy.stats import CensoredData, ecdf, logrank

from evolm.findings.harmonic_loss.algorithmic import LATE, LEARNT
from evolm.findings.harmonic_loss.estimands import DIVERGED, Tables
from evolm.findings.harmonic_loss.figure_style import (
    STYLE,
    epoch_axis,
    heads_in,
    in_words,
    line,
    rows_of,
    seeds_in,
)
from evolm.findings.harmonic_loss.readings_words import GUESSED, median_epoch
from evolm.fragments import Fragment
from evolm.panels import DOTTED, below, each, is_narrow, listed, outer_labels, percent, sentence
from evolm.plotting import Figure, colour, figure

#: Group of a record -> title of its panel, in the order of the panels.
SETTINGS = {"addition": "settings as chosen", "authors": "the authors' settings"}


class Scale(Protocol):
    """What these figures need to know of a run's parameters."""

    @property
    def share(self) -> float: ...


def by_settings(tables: Tables, table: str, params: Scale) -> dict[str, pd.DataFrame]:
    """Title of a panel -> rows of the five heads on addition at those settings; without settings that have none."""
    found = {title: rows_of(tables, table, group=group, share=params.share) for group, title in SETTINGS.items()}
    return {title: rows for title, rows in found.items() if len(rows)}


def accuracy_curves(tables: Tables, params: Scale) -> Figure | Fragment:
    """Accuracy on train (thin) and test pairs (thick) against the epoch, a panel per kind of settings."""
    shown = by_settings(tables, "curves", params)
    if not shown:
        return sentence("This record holds no histories of addition, so accuracy over training is not drawn.")

    def draw(panels: Any) -> None:
        for axes, (title, rows) in zip(each(panels), shown.items(), strict=True):
            axes.axhline(GUESSED, color=colour("muted"), lw=1.1, ls=DOTTED, label=f"chance ({percent(GUESSED)})")
            for head in heads_in(rows):
                # An epoch 0 has no place on a logarithmic axis.
                seen = rows[(rows["head"] == head) & (rows["epoch"] > 0)]
                by = seen.groupby("epoch")["train_accuracy"].mean()
                axes.plot(by.index, by, color=colour(STYLE[head].shade), lw=0.9, alpha=0.8, zorder=2)
                line(axes, seen, "test_accuracy", STYLE[head], lw=2.4)
            epoch_axis(axes, int(rows["epoch"].max()))
            axes.set_ylim(-0.03, 1.05)
            axes.set_title(title)
        outer_labels(panels, "epoch", "share right")
        below(panels, 2)

    said = "; ".join(f"{title}: {_ends(rows)}" for title, rows in shown.items())
    return figure(
        draw,
        name="harmonic-loss-accuracy",
        panels=len(shown),
        size=(7.8, 4.4),
        narrow_height=3.2 * len(shown) + 1.4,
        alt=f"Accuracy against the epoch on a logarithmic axis, a line per head, by settings. Test accuracy at the end, {said}.",
        caption=f"Addition modulo 31 with {percent(params.share)} of the pairs trained on: share of train pairs (thin, without "
        "band) and of test pairs (thick) that are right, after each measured epoch; an epoch is a pass over the training "
        f"pairs. Test accuracy at the end, {said}. {seeds_in(*shown.values())}",
    )


def _ends(rows: pd.DataFrame) -> str:
    """Mean test accuracy of the last epoch by head, in words."""
    last = rows[rows["epoch"] == rows["epoch"].max()].groupby("head")["test_accuracy"].mean()
    return listed([f"{STYLE[head].short} {percent(last[head])}" for head in heads_in(rows)])


def censored(rows: pd.DataFrame) -> CensoredData:
    """Epochs until test pairs are known; a run that never knows them is censored at its last epoch."""
    return CensoredData.right_censored(
        rows["generalised_epoch"].to_numpy(float), ~rows["generalised_seen"].to_numpy(bool)
    )


def survival(tables: Tables, params: Scale) -> Figure | Fragment:
    """Share of runs that do not yet know the test pairs, against the epoch (Kaplan and Meier 1958)."""
    shown = by_settings(tables, "models", params)
    if not shown:
        return sentence("This record holds no models of addition, so times until they generalise are not drawn.")

    def draw(panels: Any) -> None:
        for axes, (title, rows) in zip(each(panels), shown.items(), strict=True):
            last = int(rows["generalised_epoch"].max())
            for head in heads_in(rows):
                _steps(axes, rows[rows["head"] == head], head, last)
            epoch_axis(axes, last)
            axes.set_ylim(-0.03, 1.06)
            axes.set_title(title)
        outer_labels(panels, "epoch", "share of runs not there yet")
        below(panels, 2)

    said = ". ".join(f"{title.capitalize()}: {_times(rows)}" for title, rows in shown.items())
    seeds = listed([f"{rows['seed'].nunique()} ({title})" for title, rows in shown.items()])
    return figure(
        draw,
        name="harmonic-loss-survival",
        panels=len(shown),
        size=(7.8, 4.2),
        narrow_height=3.2 * len(shown) + 1.4,
        alt="Falling steps, one line per head: the share of runs that do not yet know the test pairs, against the epoch on a "
        f"logarithmic axis. {said}.",
        caption=f"Share of runs in which fewer than {percent(LEARNT)} of the test pairs have been right so far, against the "
        "epoch (Kaplan-Meier estimate). A run that never gets there is censored at its last epoch (cross). "
        f"{said}. Seeds: {seeds}.",
    )


def _steps(axes: Any, rows: pd.DataFrame, head: str, last: int) -> None:
    """The Kaplan-Meier curve of one head from epoch 1 to the last, with a cross for what is censored."""
    look, curve = STYLE[head], ecdf(censored(rows)).sf
    x, y = np.array([1.0, *curve.quantiles, last]), np.array([1.0, *curve.probabilities, curve.probabilities[-1]])
    axes.step(x, y, where="post", color=colour(look.shade), ls=look.line, lw=2, label=look.label)
    axes.plot(curve.quantiles, curve.probabilities, look.marker, color=colour(look.shade), ms=4.5)
    late = np.unique(rows.loc[~rows["generalised_seen"].astype(bool), "generalised_epoch"].to_numpy(float))
    if len(late):
        axes.plot(late, curve.evaluate(late), "x", color=colour(look.shade), ms=9, mew=1.8, zorder=4)


def _times(rows: pd.DataFrame) -> str:
    """Median epochs, what is censored by head, and log-rank tests of every head against cross-entropy, in words."""
    heads = heads_in(rows)
    found = {head: rows[rows["head"] == head] for head in heads}
    never = {head: int((~part["generalised_seen"].astype(bool)).sum()) for head, part in found.items()}
    parts = [f"{STYLE[head].short} {count}" for head, count in never.items() if count]
    medians = [f"{STYLE[head].short} {median_epoch(part, part['arm'].iloc[0])}" for head, part in found.items()]
    text = f"median epoch {', '.join(medians)}; "
    text += f"censored are {listed(parts)} of {rows['seed'].nunique()} each" if parts else "no run is censored"
    if "cross-entropy" not in found:
        return text
    tests = {head: _against(part, found["cross-entropy"]) for head, part in found.items() if head != "cross-entropy"}
    said = [f"{STYLE[head].short} {p}" for head, p in tests.items() if p]
    return f"{text}; log-rank tests against cross-entropy, one by one: {', '.join(said)}" if said else text


def _against(part: pd.DataFrame, other: pd.DataFrame) -> str:
    """p of a log-rank test in words; empty without two runs of each and an event in either."""
    if min(len(part), len(other)) < 2 or not (part["generalised_seen"].any() or other["generalised_seen"].any()):
        return ""
    with np.errstate(invalid="ignore"):  # 0 / 0 where all runs of both get there at once
        p = float(logrank(censored(part), censored(other)).pvalue)
    return "undefined" if np.isnan(p) else f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"


def norms(tables: Tables, params: Scale) -> Figure | Fragment:
    """Norm of all class vectors relative to epoch 1, without decay, and how fast it still grows late."""
    rows = rows_of(tables, "curves", group="undecayed")
    if rows.empty:
        return sentence("This record holds no histories without decay, so the growth of norms is not drawn.")
    rows = rows[rows["epoch"] > 0].sort_values("epoch")
    first = rows.groupby(["head", "seed"])["vector_norm"].transform("first")
    rows = rows.assign(growth=rows["vector_norm"].astype(float) / first)

    def draw(axes: Any) -> None:
        axes.axhline(1, color=colour("muted"), lw=1.1, ls=DOTTED, label="norm at epoch 1", zorder=1)
        for head in heads_in(rows):
            line(axes, rows[rows["head"] == head], "growth", STYLE[head])
        axes.set_yscale("log")
        epoch_axis(axes, int(rows["epoch"].max()))
        low, high = float(np.nanmin(rows["growth"])), float(np.nanmax(rows["growth"]))
        ticks = [
            tick for tick in (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 100, 1000) if 0.9 * low < tick < 1.1 * high
        ]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("epoch")
        axes.set_ylabel("norm of class vectors" + ("" if is_narrow(axes) else ", relative to epoch 1"))
        below(axes, 2)

    said = _slopes(tables)
    return figure(
        draw,
        name="harmonic-loss-norms",
        size=(7.0, 4.8),
        narrow_height=5.2,
        alt=f"Norm of the class vectors over that at epoch 1, a line per head, both axes logarithmic. {said}.",
        caption="Addition without weight decay at the authors' rate: norm of all class vectors over that at epoch 1. The paper: "
        "the minimum of harmonic loss is at finite weights, so that their norm stops growing, and cross-entropy has none. "
        f"{said}. {seeds_in(rows)}",
    )


def _slopes(tables: Tables) -> str:
    """Late slopes of the log norm by head, mean and range over seeds, in words."""
    rows = rows_of(tables, "models", group="undecayed")
    if rows.empty:
        return "This record holds no late slopes"
    slopes = rows["vector_norm_slope"].astype(float)
    rows = rows.assign(slope=slopes.fillna(DIVERGED))
    parts = [
        f"{STYLE[head].short} {in_words(list(rows.loc[rows['head'] == head, 'slope']))}" for head in heads_in(rows)
    ]
    lost = int(slopes.isna().sum())
    diverged = f"; runs that diverged count as {DIVERGED:g}: {lost}" if lost else ""
    return (
        f"Slope of the log norm against the log epoch, from {percent(LATE)} of the epochs on (0 is a norm at rest): "
        f"{', '.join(parts)}{diverged}"
    )
