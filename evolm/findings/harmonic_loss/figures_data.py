"""Figures of data: shares of the pairs, the split that leaks, the further tasks, the map. Tables in, drawings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evolm.findings.harmonic_loss.algorithmic import LEARNT
from evolm.findings.harmonic_loss.experiment import SPLIT, Tables
from evolm.findings.harmonic_loss.figure_parts import by_head, dots, log_axis, name_rows, seeds_as_dots
from evolm.findings.harmonic_loss.figure_style import STYLE, heads_in, line, rows_of, seeds_in
from evolm.findings.harmonic_loss.readings_words import GUESSED
from evolm.findings.harmonic_loss.tasks import SAMPLES, TASKS
from evolm.fragments import Fragment
from evolm.panels import DASHED, DOTTED, Look, below, in_columns, is_narrow, percent, sentence
from evolm.plotting import Figure, colour, figure

if TYPE_CHECKING:
    from evolm.findings.harmonic_loss.parameters import HarmonicLossParams

#: Shares that lie no further apart have one name between them.
ROOM = 0.06
ORDER = ("addition", "lattice", "equivalence", "tree", "permutations")


def data_shares(tables: Tables, params: HarmonicLossParams) -> Figure | Fragment:
    """Accuracy on unseen pairs, and epochs until they are known, over the share that is trained on."""
    chosen = pd.concat(
        [rows_of(tables, "models", group="data"), rows_of(tables, "models", group="addition", share=params.share)]
    )
    authors = rows_of(tables, "models", group="authors")
    if len(authors) and authors["share"].nunique() < 2:  # a single share is no curve
        authors = authors.iloc[:0]
    sets = [("chosen settings", chosen, params.epochs), ("authors' settings", authors, params.long_epochs)]
    sets = [(name, rows, last) for name, rows, last in sets if len(rows)]
    if not sets:
        return sentence("This record holds no runs of addition at several shares of the pairs.")

    def draw(panels: list[Any]) -> None:
        in_columns(panels, 2)
        for place, (name, rows, last) in enumerate(sets):
            _accuracies(panels[2 * place], rows)
            _times(panels[2 * place + 1], rows, last)
            for axes in panels[2 * place : 2 * place + 2]:
                axes.set_title(name)
                _share_axis(axes, [share for _, part, _ in sets for share in part["share"]])
                if is_narrow(axes) or place == len(sets) - 1:
                    axes.set_xlabel("share of the pairs trained on")
        below(panels, 2)

    said = ". ".join(_smallest(name, rows) for name, rows, _ in sets)
    return figure(
        draw,
        name="harmonic-loss-data",
        panels=2 * len(sets),
        size=(7.8, 3.2 * len(sets) + 0.9),
        narrow_height=2.9 * 2 * len(sets) + 1.2,
        alt="Test accuracy, and epochs until it is 95 %, against the share of the pairs that is trained on, a line per "
        f"head. {said}.",
        caption="Addition mod 31, with every pair and its swapped twin on one side of the split. Left: accuracy on unseen "
        f"pairs at the end (chance is {percent(GUESSED)}). {seeds_in(*(rows for _, rows, _ in sets))} Right: epochs until "
        f"that accuracy is {percent(LEARNT)}; the line is the median, hollow marks are runs that were not there at the "
        f"last epoch ({', '.join(f'{last} with {name}' for name, _, last in sets)}) and count as if they got there then. "
        f"{said}.",
    )


def _accuracies(axes: Any, rows: pd.DataFrame) -> None:
    """Mean of final test accuracy over seeds against the share, with their middle half."""
    axes.axhline(GUESSED, color=colour("ink"), lw=1.1, ls=DOTTED, label=f"chance ({percent(GUESSED)})")
    for head in heads_in(rows):
        line(axes, rows[rows["head"] == head], "test_accuracy", STYLE[head], over="share")
    axes.set_ylim(-0.03, 1.05)
    axes.set_ylabel("test accuracy")


def _times(axes: Any, rows: pd.DataFrame, last: int) -> None:
    """Median epochs to know unseen pairs against the share; each censored run a hollow mark at the last epoch."""
    axes.axhline(last, color=colour("muted"), lw=1, ls=DASHED, label="last epoch")
    heads = heads_in(rows)
    for place, head in enumerate(heads):
        part, shown = rows[rows["head"] == head], STYLE[head]
        shade = colour(shown.shade)
        axes.plot(part.groupby("share")["generalised_epoch"].median(), color=shade, ls=shown.line)
        spread = 0.006 * (place - (len(heads) - 1) / 2)
        for seen, face in ((True, shade), (False, colour("background"))):
            some = part[part["generalised_seen"].astype(bool) == seen]
            axes.plot(some["share"] + spread, some["generalised_epoch"], ls="none", marker=shown.marker, ms=4.5,
                      color=shade, mfc=face, mew=1.1, zorder=3)  # fmt: skip
    log_axis(axes.yaxis, 0.85 * rows["generalised_epoch"].min(), 1.15 * last)
    axes.set_ylabel(f"epochs to {percent(LEARNT)}")


def _share_axis(axes: Any, shares: list[float]) -> None:
    names, last = [], -1.0
    for share in sorted(set(shares)):  # a name needs room
        names.append(percent(share) if share - last > ROOM else "")
        last = share if names[-1] else last
    axes.set_xticks(sorted(set(shares)), names)
    axes.set_xlim(min(shares) - 0.04, max(shares) + 0.04)


def _smallest(name: str, rows: pd.DataFrame) -> str:
    """Final accuracy at the smallest share, and runs that never knew unseen pairs, in words."""
    share = rows["share"].min()
    some = rows[rows["share"] == share]
    found = {}
    for head in heads_in(some):
        part = some[some["head"] == head]
        learnt = int(part["generalised_seen"].astype(bool).sum())
        found[head] = f"{percent(part['test_accuracy'].mean())} ({learnt} of {len(part)} runs learnt it)"
    return f"With {name} and {percent(share)} of the pairs, accuracy at the end is: {by_head(found)}"


def leak(tables: Tables, params: HarmonicLossParams) -> Figure | Fragment:
    """What the authors' split says, and what is left of it on pairs that nothing gives away."""
    rows = rows_of(tables, "models", group="split", split="leaky")
    if rows.empty:
        return sentence(
            "This record holds no runs on the authors' own split; a run with leaky among its splits has them."
        )
    epochs = round(SPLIT * params.long_epochs)
    clean = _clean(tables, params, epochs)
    heads = heads_in(rows)

    def draw(axes: Any) -> None:
        axes.axvline(GUESSED, color=colour("ink"), lw=1.1, ls=DOTTED, label=f"chance ({percent(GUESSED)})")
        for place, head in enumerate(heads):
            part = rows[rows["head"] == head]
            published, grey = Look(STYLE[head].shade, "o", "-", "", ""), Look("grey", "D", "-", "", "")
            beside = clean.loc[clean["head"] == head, "test_accuracy"]
            dots(axes, part["test_accuracy"], place - 0.22, published, label="authors' split, as published")
            dots(axes, part["unseen_accuracy"], place, published, open_=True, label="authors' split, unseen pairs")
            dots(axes, beside, place + 0.22, grey, label="clean split")
        name_rows(axes, [STYLE[head].short for head in heads])
        axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel("accuracy on test pairs")
        below(axes, 2, 1)

    means = rows.groupby("head")[["test_accuracy", "unseen_accuracy"]].mean()
    said = by_head(
        {head: f"{percent(means.test_accuracy[head])} and {percent(means.unseen_accuracy[head])}" for head in heads}
    )
    beside = clean.groupby("head")["test_accuracy"].mean()
    other = (
        f" On the clean split: {by_head({h: percent(beside[h]) for h in heads if h in beside})}." if len(beside) else ""
    )
    return figure(
        draw,
        name="harmonic-loss-leak",
        size=(7.2, 0.55 * len(heads) + 1.7),
        narrow_height=0.6 * len(heads) + 2.3,
        alt=f"Accuracy per head on the test samples of the authors' split and on those that training does not hold: {said}.",
        caption=f"Addition mod 31 at the authors' settings, after {epochs} epochs. The authors draw {SAMPLES:,} samples with "
        "replacement and split them at random, so that a test sample may be in training too, or its swapped twin. Accuracy "
        f"as published, and on the pairs of which neither is: {said}. The clean split ({percent(params.share)} of the pairs, "
        "twins kept together) trains on more distinct pairs, so it is no measure of the leak by itself; it is read at its "
        f"last measurement up to the same epoch.{other} {seeds_as_dots(rows['seed'].nunique())}",
    )


def _clean(tables: Tables, params: HarmonicLossParams, epochs: int) -> pd.DataFrame:
    """Accuracy on the clean split at the authors' settings after as many epochs: head, seed, test_accuracy."""
    rows = rows_of(tables, "curves", group="authors", share=params.share)
    if rows.empty:
        return rows.assign(test_accuracy=0.0)
    rows = rows[rows["epoch"] <= epochs]
    return rows[rows["epoch"] == rows["epoch"].max()]


def tasks(tables: Tables, params: HarmonicLossParams) -> Figure | Fragment:
    """Accuracy and explained variance of every head on every task."""
    main = rows_of(tables, "models", group="addition", share=params.share)
    rows = pd.concat([main, rows_of(tables, "models", group="task")])
    if rows.empty:
        return sentence("This record holds no runs of the tasks with the chosen settings.")
    shown, heads = [task for task in ORDER if task in set(rows["task"])], heads_in(rows)
    columns = {"test_accuracy": "test accuracy", "ev2": "variance in 2 dimensions"}

    def draw(panels: list[Any]) -> None:
        for axes, (column, title) in zip(panels, columns.items(), strict=True):
            _task_rows(axes, rows, column, shown, heads)
            name_rows(axes, shown, shown=is_narrow(axes) or axes is panels[0])
            axes.set_xlim(-0.03, 1.04)
            axes.set_title(title)
            axes.set_xlabel("share of test examples" if column == "test_accuracy" else "share of the variance")
        below(panels, 3)

    said = "; ".join(_of_task(rows[rows["task"] == task], task) for task in shown)
    return figure(
        draw,
        name="harmonic-loss-tasks",
        panels=2,
        size=(7.8, 0.85 * len(shown) + 1.9),
        narrow_height=2 * (0.75 * len(shown) + 1.2) + 1.6,
        alt=f"Test accuracy and explained variance of five heads on {len(shown)} tasks. {said}.",
        caption=f"The tasks of the paper with the chosen settings, after {params.epochs} epochs on {percent(params.share)} of the "
        "examples. Explained variance: share of the variance of the tokens' vectors in their two leading principal components; "
        f"hollow where not one run knew {percent(LEARNT)} of the test examples, since a plane that computes nothing is no "
        "geometry of the task. Ticks: chance, which is the share of the most frequent answer; dashed: the paper's 100 % for "
        "harmonic loss. Accuracy and variance, means over all runs: "
        f"{said}. {seeds_as_dots(rows['seed'].nunique())}",
    )


def _task_rows(axes: Any, rows: pd.DataFrame, column: str, shown: list[str], heads: list[str]) -> None:
    """A band of a row per task, a line of dots per head in it."""
    if column == "ev2":
        axes.axvline(1, color=colour("muted"), lw=1.2, ls=DASHED, label="paper: 100 %")
    for place, task in enumerate(shown):
        if column == "test_accuracy":
            axes.vlines(
                _chance(task), place - 0.42, place + 0.42, color=colour("ink"), lw=1.1, ls=DOTTED, label="chance"
            )
        for number, head in enumerate(heads):
            part = rows[(rows["task"] == task) & (rows["head"] == head)]
            hollow = column == "ev2" and not (part["test_accuracy"] >= LEARNT).any()
            row, look = place + 0.15 * (number - (len(heads) - 1) / 2), STYLE[head]
            dots(axes, part[column], row, look, open_=hollow, ms=6, label=look.label)
        axes.axhline(place + 0.5, color=colour("grid"), lw=0.8)


def _chance(task: str) -> float:
    """Share of the task's most frequent answer."""
    answers = TASKS[task]().answers
    return float(np.bincount(answers).max() / len(answers))


def _of_task(rows: pd.DataFrame, task: str) -> str:
    """Accuracy and explained variance of every head on a task, in words."""
    right, flat = (rows.groupby("head")[column].mean() for column in ("test_accuracy", "ev2"))
    return f"{task}: " + by_head({head: f"{percent(right[head])} and {percent(flat[head])}" for head in heads_in(rows)})
