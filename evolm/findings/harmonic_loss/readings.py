"""Sentences of the chapter on addition whose numbers come from a record: tables in, Markdown out.

What a sentence concludes follows the interval over seeds; where there is none, it concludes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evolm.findings.harmonic_loss import estimands
from evolm.findings.harmonic_loss.algorithmic import LEARNT
from evolm.findings.harmonic_loss.readings_words import (
    AUTHORS,
    EITHER,
    HEADS,
    Tables,
    learnt,
    less,
    mean,
    median_epoch,
    number,
    present,
    side,
    with_interval,
)
from evolm.panels import listed, percent

if TYPE_CHECKING:
    from evolm.findings.harmonic_loss.parameters import HarmonicLossParams


def of_settings(tables: Tables, params: HarmonicLossParams) -> dict[str, pd.DataFrame]:
    """Words for the settings -> rows of addition by head, for settings that have any; heads without their suffix."""
    found = {}
    for words, group, suffix in (("at the authors' settings", "authors", AUTHORS), ("as chosen", "addition", "")):
        rows = estimands.models(tables, group, share=params.share)
        rows = rows[rows["arm"].isin([head + suffix for head in HEADS])]
        if len(rows):
            found[words] = rows.assign(arm=rows["arm"].str.removesuffix(suffix) if suffix else rows["arm"])
    return found


def answer(tables: Tables, params: HarmonicLossParams) -> str:
    """The chapter in a paragraph."""
    found = of_settings(tables, params)
    if len(found) < len(EITHER) or not all(present(rows, "harmonic", "cross-entropy") for rows in found.values()):
        return ""
    authors, chosen = (
        listed(
            [f"{head} {median_epoch(rows, head)} ({learnt(rows, head)} runs)" for head in HEADS if present(rows, head)]
        )
        for rows in found.values()
    )
    return (
        f"**At the authors' rate and decay** the median epoch at which {percent(LEARNT)} of the test pairs are right is: {authors}. **When every head "
        f"gets the rate, decay and knob that one search chose for it**, it is: {chosen}. {tuning(tables, params)}"
    )


def tuning(tables: Tables, params: HarmonicLossParams) -> str:
    """What tuning does to the gap between harmonic loss and cross-entropy."""
    found = of_settings(tables, params)
    if not all(present(rows, "harmonic", "cross-entropy") for rows in found.values()) or len(found) < len(EITHER):
        return ""
    gaps = {words: less(rows, "harmonic", "cross-entropy", "learnt") for words, rows in found.items()}
    parts = [f"{with_interval(values)} {words}" for words, values in gaps.items()]
    before, after = (side(values) for values in gaps.values())
    conclusions = {
        ("above", "above"): "So harmonic loss is ahead at either setting.",
        ("above", "alike"): "So harmonic loss is ahead until both are tuned; then these seeds do not tell them apart.",
        ("above", "below"): "So which of the two is ahead is decided by the tuning.",
        ("below", "below"): "So cross-entropy is ahead at either setting.",
        ("below", "alike"): "So cross-entropy is ahead until both are tuned; then these seeds do not tell them apart.",
        ("below", "above"): "So which of the two is ahead is decided by the tuning.",
        ("alike", "alike"): "These seeds tell the two apart at neither setting.",
        ("alike", "above"): "So harmonic loss is ahead with the chosen settings alone.",
        ("alike", "below"): "So cross-entropy is ahead with the chosen settings alone.",
    }
    said = f"Mean test accuracy over the doublings of training, harmonic loss less cross-entropy: {'; '.join(parts)}."
    return f"{said} {conclusions[before, after]}" if before and after else said


def settings(tables: Tables, params: HarmonicLossParams) -> str:
    """What the search gave each head, from the arms themselves."""
    from evolm.findings.harmonic_loss.arms import CHOSEN

    parts = [f"{name}: rate {arm.lr:g}, decay {arm.decay:g}, knob {arm.head.knob:g}" for name, arm in CHOSEN.items()]
    return f"The search gave: {'; '.join(parts)}."


def delay(tables: Tables, params: HarmonicLossParams) -> str:
    """Delay by head at both settings, in doublings of training."""
    parts = [
        words + ", " + listed([f"{head} {number(mean(rows, head, 'delay'))}" for head in HEADS if present(rows, head)])
        for words, rows in of_settings(tables, params).items()
    ]
    return f"Mean delay in doublings of training: {'; '.join(parts)}." if parts else ""


def ingredients(tables: Tables, params: HarmonicLossParams) -> str:
    """How much of the shorter delay the distance alone explains, and what the harmonic form adds."""
    said = []
    for words, rows in of_settings(tables, params).items():
        if not present(rows, "harmonic", "distance", "cross-entropy"):
            continue
        whole = less(rows, "cross-entropy", "harmonic", "delay")
        alone, form = (less(rows, *pair, "delay") for pair in (("cross-entropy", "distance"), ("distance", "harmonic")))
        share = (
            f", {percent(alone.mean() / whole.mean())} of the whole" if side(whole) == side(alone) == "above" else ""
        )
        adds = {
            "above": "the harmonic form shortens it further",
            "below": "the harmonic form lengthens it again",
            "alike": "these seeds do not tell what the harmonic form adds from nothing",
            "": "one seed tells no more",
        }
        said.append(
            f"{words[0].upper()}{words[1:]} cross-entropy's delay exceeds harmonic loss's by {with_interval(whole)} doublings, and that of softmax over minus "
            f"the distance by {with_interval(alone)}{share}; that of the distance alone exceeds harmonic loss's by {with_interval(form)}: {adds[side(form)]}."
        )
    return " ".join(said)


def specific(tables: Tables, params: HarmonicLossParams) -> str:
    """Which controls show a shorter delay than cross-entropy's, too, and which of them as short a one."""
    said, level = [], []
    for words, rows in of_settings(tables, params).items():
        others = [head for head in HEADS if head not in ("cross-entropy", "harmonic") and present(rows, head)]
        if not others or not present(rows, "harmonic", "cross-entropy"):
            continue
        sooner = [head for head in others if side(less(rows, "cross-entropy", head, "delay")) == "above"]
        alike = [head for head in others if side(less(rows, head, "harmonic", "delay")) in ("alike", "below")]
        if rows["seed"].nunique() > 1:
            first = f"{listed(sooner) or 'none'} {_has(sooner)} a shorter delay than cross-entropy"
            said.append(
                f"{words}, {first}, and {listed(alike) or 'none'} {_has(alike)} one as short as harmonic loss's, as far as these seeds tell"
            )
            level.append(bool(alike))
    if not said:
        return ""
    last = " Where a control does as much, the effect is not specific to harmonic loss." if any(level) else ""
    return f"Of the controls: {'; '.join(said)}.{last}"


def _has(items: Sequence[object]) -> str:
    return "have" if len(items) > 1 else "has"


def less_data(tables: Tables, params: HarmonicLossParams) -> str:
    """Accuracy at the smaller shares and how many runs learn, by head."""
    rows = estimands.models(tables, "data")
    parts = []
    for share in sorted(rows["share"].unique()):
        part = rows[rows["share"] == share]
        heads = [
            f"{head} {percent(mean(part, head, 'test_accuracy'))} ({learnt(part, head)})"
            for head in HEADS
            if present(part, head)
        ]
        parts.append(f"on {percent(share)} of the pairs {listed(heads)}")
    return f"Test accuracy at the end, and runs that ever reach {percent(LEARNT)}: {'; '.join(parts)}." if parts else ""


def failures(tables: Tables, params: HarmonicLossParams) -> str:
    """Runs that never get there, and runs that got there and end without it: both are counted, none is dropped."""
    parts = []
    for words, rows in of_settings(tables, params).items():
        seen = rows["generalised_seen"].astype(bool)
        lost = rows[seen & (rows["test_accuracy"] < LEARNT)]
        said = [f"{head} {count}" for head in HEADS if (count := int((lost["arm"] == head).sum()))]
        again = f", and of the others {len(lost)} end below it again ({listed(said)})" if len(lost) else ""
        parts.append(
            f"{words}, {int((~seen).sum())} of {len(rows)} never get {percent(LEARNT)} of test pairs right{again}"
        )
    return f"Runs of the five heads: {'; '.join(parts)}. All of them count." if parts else ""


def leak(tables: Tables, params: HarmonicLossParams) -> str:
    """What the authors' split gives away."""
    rows = estimands.models(tables, "split", split="leaky")
    found = {head: rows[rows["arm"] == head + AUTHORS].set_index("seed") for head in HEADS}
    found = {head: part for head, part in found.items() if len(part)}
    if not found:
        return ""
    parts = [
        f"{head} {percent(part['test_accuracy'].mean())} and {percent(part['unseen_accuracy'].mean())}"
        for head, part in found.items()
    ]
    gives = {head: part["test_accuracy"] - part["unseen_accuracy"] for head, part in found.items()}
    flattered = [head for head, values in gives.items() if side(values) == "above"]
    most = max(gives, key=lambda head: float(np.mean(gives[head])))
    text = f"As published and on pairs of which neither order is trained on, test accuracy is, in this order: {'; '.join(parts)}."
    if not flattered:
        return text
    first = f", {most} most" if len(flattered) > 1 else ""
    return f"{text} The leak flatters {listed(flattered)}{first}: what is memorised is scored as if it had been generalised."
