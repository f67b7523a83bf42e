"""Sentences on further tasks, images and the language model whose numbers come from a record: tables in, Markdown out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evolm.findings.harmonic_loss import estimands
from evolm.findings.harmonic_loss.algorithmic import LATE, LEARNT
from evolm.findings.harmonic_loss.arms import CHOSEN
from evolm.findings.harmonic_loss.readings_words import (
    HEADS,
    Tables,
    less,
    mean,
    present,
)
from evolm.findings.harmonic_loss.tasks import TASKS
from evolm.findings.harmonic_loss.vision import HELD_OUT_IMAGE, HELD_OUT_MEAN
from evolm.panels import listed, percent
from evolm.wording import number, side, with_interval

if TYPE_CHECKING:
    from evolm.findings.harmonic_loss.parameters import HarmonicLossParams

LAYER = ("cross-entropy", "squared distance", "harmonic", "harmonic, authors'")


def tasks(tables: Tables, params: HarmonicLossParams) -> str:
    """Accuracy and explained variance on the other tasks."""
    parts, never = [], []
    for task in params.tasks:
        rows = estimands.models(tables, "task", task=task)
        rows = rows[rows["arm"].isin(HEADS)]
        said = [
            f"{head} {percent(mean(rows, head, 'test_accuracy'))} (variance {percent(mean(rows, head, 'ev2'))})"
            for head in HEADS
            if present(rows, head)
        ]
        if not said:
            continue
        parts.append(f"{task}: {', '.join(said)}")
        if not rows["generalised_seen"].astype(bool).any():
            never.append(
                f" No run of any head has {percent(LEARNT)} of the test examples of {task} right within {params.epochs} epochs."
            )
        if task == "equivalence":
            answers = TASKS[task]().answers
            never.append(
                f" On {task} one answer to everything has {percent(np.bincount(answers).max() / len(answers))} right."
            )
    if not parts:
        return ""
    return f"Test accuracy, and variance in two dimensions: {'; '.join(parts)}.{''.join(never)} {_rates()}"


def _rates() -> str:
    """Where rates on other tasks come from, and how harmonic loss's stands to the others'."""
    own = CHOSEN["harmonic"].lr
    ratios = sorted({arm.lr / own for head, arm in CHOSEN.items() if head != "harmonic"})
    text = "Rate, decay and knob are those chosen on addition, not tuned to each task"
    if ratios == [1.0]:
        return f"{text}."
    return f"{text}; the other heads' rates are {listed([f'{ratio:.3g}' for ratio in ratios])} times harmonic loss's."


def convexity(tables: Tables, params: HarmonicLossParams) -> str:
    """How far class vectors of digits are from the hull of their class, and whether Theorem 3 holds to the letter."""
    if "hull" not in tables:
        return ""
    rows = tables["hull"][tables["hull"]["images"] == "digits"]
    parts = [
        f"{arm} {mean(rows, arm, 'relative'):.2f} (negative weights {percent(mean(rows, arm, 'negative'))})"
        for arm in LAYER
        if present(rows, arm)
    ]
    if not parts:
        return ""
    text = (
        f"Distance from the hull of the class over distance from its mean: {listed(parts)}. 0 would be a weighted mean of images, as Theorem 3 has it up "
        "to terms that it calls negligible; images have no negative pixel, so neither has a weighted mean of them."
    )
    text += _held_out(rows)
    text += f" Class vectors are those at the end of these epochs{_losses(tables)}, not at a minimum, so that a distance may be what training has left."
    if not present(rows, "harmonic"):
        return text
    by_seed = rows[rows["arm"] == "harmonic"].groupby("seed")[["relative", "negative"]].mean()
    far, negative = by_seed["relative"], by_seed["negative"]
    if side(far) == side(negative) == "above":
        return (
            f"{text} **At the end of these epochs class vectors are no weighted means of images**: under harmonic loss that ratio is {with_interval(far)} and the share of negative "
            f"weights {with_interval(negative)}, means over seeds. First weights are half negative, so some of it may be left over from the start, which a minimum would not have; but the exact gradient "
            "also pushes a class vector away from the examples of other classes."
        )
    return text


def _held_out(rows: pd.DataFrame) -> str:
    """What the same hulls make of held-out images, for a sense of the ratio; empty where the record has none."""
    parts = [
        f"{arm} {number(mean(rows, arm, 'relative'))}" for arm in (HELD_OUT_IMAGE, HELD_OUT_MEAN) if present(rows, arm)
    ]
    return f" For comparison: {listed(parts)}." if parts else ""


def _losses(tables: Tables) -> str:
    """Mean training loss of one layer on digits by head, in brackets; empty where the record has none."""
    rows = estimands.vision(tables, "digits", "linear")
    if "train_loss" not in rows:
        return ""
    parts = [f"{arm} {number(mean(rows, arm, 'train_loss'))}" for arm in LAYER if present(rows, arm)]
    return f" (mean training loss {listed(parts)})" if parts else ""


def network_norms(tables: Tables, params: HarmonicLossParams) -> str:
    """Late slopes of class vectors behind a network on digits, where they are no embedding."""
    rows = estimands.vision(tables, "digits", "network")
    arms = {"cross-entropy": "cross-entropy", "normalised": "normalised", "harmonic, euclidean": "harmonic"}
    arms = {arm: name for arm, name in arms.items() if present(rows, arm)}
    if "vector_norm_slope" not in rows or not arms:
        return ""
    rows = rows.assign(slope=rows["vector_norm_slope"].astype(float).fillna(estimands.DIVERGED))
    slopes = {name: rows[rows["arm"] == arm].set_index("seed")["slope"] for arm, name in arms.items()}
    parts = [f"{name} {with_interval(slope, 3)}" for name, slope in slopes.items()]
    text = f"Behind a network on digits, without decay, slopes of log norm of class vectors against log epoch over the last {percent(1 - LATE)} are: {listed(parts)}."
    if side(slopes.get("harmonic", pd.Series(dtype=float))) == "above":
        text += " So under harmonic loss they grow there, in networks whose class vectors are their own: this speaks against the core claim outside the toy."
    return text


def distances(tables: Tables, params: HarmonicLossParams) -> str:
    """Accuracy of the network by head, best first, and which heads are told from cross-entropy."""
    rows = estimands.vision(tables, params.images[0], "network") if params.images else pd.DataFrame()
    if rows.empty:
        return ""
    means = rows.groupby("arm")["test_accuracy"].mean().sort_values(ascending=False)
    parts = [f"{arm} {100 * accuracy:.1f} %" for arm, accuracy in means.to_dict().items()]
    text = f"Test accuracy on {params.images[0]}, best first: {'; '.join(parts)}."
    if rows["seed"].nunique() < 2:
        return text
    spread = float(rows.groupby("arm")["test_accuracy"].std().mean())
    text += f" Seeds of one head spread by {100 * spread:.1f} points (standard deviation)."
    if not present(rows, "cross-entropy"):
        return text
    beside = {
        str(arm): side(less(rows, str(arm), "cross-entropy", "test_accuracy"))
        for arm in means.index
        if arm != "cross-entropy"
    }
    above, below = ([arm for arm, where in beside.items() if where == wanted] for wanted in ("above", "below"))
    said = [
        f"{listed(heads)} {'are' if len(heads) > 1 else 'is'} {words} accurate than cross-entropy"
        for heads, words in ((above, "more"), (below, "less"))
        if heads
    ]
    rest = f"{len(beside) - len(above) - len(below)} of {len(beside)} are not told from it"
    return f"{text} Paired by seed, one by one at 95 %: {'; '.join([*said, rest])}."


def text(tables: Tables, params: HarmonicLossParams) -> str:
    """The language model: losses beside the trigram's, unsteadiness, ranks."""
    if "text" not in tables or tables["text"].empty:
        return "No language model was trained in this record: it needs `text_seeds` above 0, as `-p text_seeds=5` gives it."
    rows = tables["text"]
    below = int((rows["nats"] < rows["trigram"]).sum())
    parts = [
        f"{arm} {part['nats'].mean():.3f} nats, gradients' spread {part['unsteadiness'].mean():.3f}, token vectors of effective rank "
        f"{part['vector_rank'].mean():.0f}"
        for arm, part in rows.groupby("arm")
    ]
    levels = np.unique(rows["trigram"].round(3))
    level = f"{levels[0]:.3f}" if len(levels) == 1 else f"{levels.min():.3f} to {levels.max():.3f}"
    return f"{'; '.join(parts)}. {below} of {len(rows)} models are below the trigram's {level} nats."
