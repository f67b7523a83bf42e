"""Sentences on other sizes, balancing, the intervention, modular arithmetic and arm B. Tables in, Markdown out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evolm.findings.grokking_pathways import FINDING, curves, estimands
from evolm.findings.grokking_pathways.curves import COSINE, DISTANCE, Reading
from evolm.findings.grokking_pathways.readings_words import (
    Tables,
    Words,
    against,
    by_arm,
    changed,
    less,
)
from evolm.findings.grokking_pathways.relations import second_half
from evolm.intervals import seed_interval
from evolm.panels import listed
from evolm.wording import number, with_interval

if TYPE_CHECKING:
    from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams

BOTH = (("distance", DISTANCE), ("consistency", COSINE))
#: Held-out accuracy above the twin's from which a domain counts as known at all.
KNOWN = 0.1
UNDECIDED = (
    "**Nothing generalises here, so this arm decides nothing about generalisation**: it stands for the course of both "
    "metrics alone."
)
PENALTIES = {
    "trained": "without a penalty",
    "penalised": "with one on how far the routing of a group's samples disperses",
    "norm penalised": "with one on the routers' norms",
}
#: Of the distance under the norm penalty less that under the other.
APART = Words("the first brings pathways closer", "the norm penalty brings pathways closer", "not told from none")
LARGER = "`evolm run grokking-pathways --preset gpu`"
BALANCE = """`evolm run grokking-pathways --preset cpu -p 'groups=["core","balance"]'`"""
ARITHMETIC = "`evolm run grokking-pathways --preset gpu -p modular_seeds=5`, hours on a GPU"


def arms(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """What arm A and arm B are, with the sizes of this record."""
    pairs = round(params.fraction * params.symbols**2)
    passes = params.steps * params.batch / (len(params.classes) * pairs + params.random_fraction * params.symbols**2)
    text = (
        f"**Arm A, many passes**: tables of {params.symbols} x {params.symbols} pairs with hidden classes, read about "
        f"{passes:,.0f} times in {params.steps:,} updates. Held-out accuracy goes on rising long after training accuracy is full. "
    )
    if not params.text_seeds:
        return f"{text}**Arm B, about one pass** over a mixture with real text, is not part of this record ({LARGER})."
    return (
        f"{text}**Arm B, about one pass**: {params.text_steps * params.text_batch:,} documents of facts, copies, sums, keys "
        f"and real speeches, each read about {_times(params.text_passes)}, as a language model reads its data."
    )


def _times(passes: float) -> str:
    return "once" if round(passes, 1) == 1 else f"{passes:g} times"


def balancing(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """The change of distance without load balancing, and with ten times as much."""
    parts = []
    for arm, words in (("aux 0", "without load balancing"), ("aux 0.1", "with ten times as much of it")):
        twin = f"{arm}, scrambled"
        found = by_arm(curves.changes(tables, "tables", [arm, twin], DISTANCE))
        if {arm, twin} <= set(found):
            parts.append(
                f"{words} {changed(found[arm])}, in its twin {changed(found[twin])}; {against(found, arm, twin)}"
            )
    if not parts:
        return f"What load balancing does to the distance needs the group `balance` ({BALANCE})."
    return f"The distance changes over the lag in common with the twin: {'. And '.join(parts)}."


def intervention(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Whether penalising the dispersion of routing within a group brings generalisation forward, and what else it does."""
    found = by_arm(estimands.intervention(tables, params))
    if not set(PENALTIES) <= set(found):
        return f"Whether closer pathways would *bring* generalisation needs the group `intervention` ({LARGER})."
    ends = {name: {arm: _at_end(tables, arm, reading) for arm in PENALTIES} for name, reading in BOTH}
    said = [
        f"{words} {with_interval(found[arm])}"
        + "".join(f", {name} {number(ends[name][arm].mean(), 3)}" for name, _ in BOTH if len(ends[name][arm]))
        for arm, words in PENALTIES.items()
    ]
    text = (
        "Held-out accuracy, mean over the run on a logarithmic axis, with distance and consistency over the last fifth of "
        f"the run: {'; '.join(said)}. The strength of the norm penalty was chosen to leave routing about as little dispersed as "
        "the first penalty does: it is a control that flattens routing."
    )
    apart = less(ends["distance"], "norm penalised", "penalised")
    if len(apart):
        text += f" Distance at the end under the norm penalty less that under the first: {changed(apart, 3, APART)}."
    delta = float(FINDING.claim("penalty-brings-generalisation").delta)
    gaps = [
        (words, less(found, "penalised", arm))
        for arm, words in (("trained", "no penalty"), ("norm penalised", "that on norms"))
    ]
    told = [f"beside {words} {with_interval(gap)}{_beside_delta(gap, delta)}" for words, gap in gaps if len(gap)]
    if told:
        text += f" What the first penalty gains in accuracy, of which {delta:g} counts: {'; '.join(told)}."
    if len(told) == len(gaps) and all(
        len(gap) > 1 and seed_interval(gap.to_numpy(float))[0] > delta for _, gap in gaps
    ):
        text += " This penalty brings generalisation forward."
    return f"{text} The first penalty also makes routing independent of the operands, so what it does cannot be put down to distance alone."


def _beside_delta(gap: pd.Series, delta: float) -> str:
    """What the interval of a gain says beside the smallest that counts; empty for one seed."""
    if len(gap) < 2:
        return ""
    low, high = (float(end) for end in seed_interval(gap.to_numpy(float)))
    if low > delta:
        return " (more than counts)"
    if high < 0:
        return " (it loses)"
    if high < delta:
        return " (above zero, but less than counts)" if low > 0 else " (less than counts)"
    return f" ({'above zero, but ' if low > 0 else ''}not told whether it counts)"


def _at_end(tables: Tables, arm: str, reading: Reading) -> pd.Series:
    """Seed -> a metric over the last fifth of the run, mean over learnable groups."""
    rows = curves.series(tables, "tables", arm, reading)
    late = rows["group"].isin(curves.learnable(tables, "tables")) & (
        rows["step"] >= (1 - curves.END) * rows["step"].max()
    )
    return rows[late].groupby("seed")["value"].mean().dropna()


def sizes(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Both metrics beside the twin in models of other sizes."""
    worlds = [f"tables, {scale}" for scale in params.scales]
    parts = [said for world in worlds if (said := _both(tables, world, f"size *{world[8:]}*"))]
    return " ".join(parts) if parts else f"Other sizes of the model need `scales` ({LARGER})."


def arithmetic(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Modular arithmetic: what is gained after memorisation, and both metrics beside the twin."""
    found = by_arm(estimands.modular_gain(tables, params))
    if "trained" not in found:
        return f"Modular arithmetic needs more steps than `cpu` has: `modular_seeds` above 0 ({ARITHMETIC})."
    gained = (
        f"Arithmetic modulo {params.p}: held-out accuracy changes by {changed(found['trained'], 2)} after memorisation."
    )
    return f"{gained} {_both(tables, 'modular', 'arithmetic')}".strip()


def _both(tables: Tables, world: str, words: str) -> str:
    """The change of both metrics over the lag of a world, beside its twin's."""
    parts = []
    for name, reading in BOTH:
        found = by_arm(curves.changes(tables, world, estimands.TWIN, reading))
        if {"trained", "scrambled"} <= set(found):
            parts.append(
                f"{name} {changed(found['trained'])}, twin {changed(found['scrambled'])}; {against(found, 'trained', 'scrambled')}"
            )
    return f"Changes over the lag in common with the twin, {words}: {'. And '.join(parts)}." if parts else ""


def mixture(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Arm B: what is known at the end by domain, what was ever memorised first, and both metrics beside the twin."""
    rows = curves.of_world(tables, "curve", "text")
    if not len(rows):
        return f"This record has no arm B: it needs `text_seeds` above 0 ({LARGER})."
    last = rows[rows["step"] == rows["step"].max()].groupby(["group", "arm"])["test_accuracy"].mean().unstack("arm")
    last = last.reindex(curves.learnable(tables, "text"), columns=["trained", "scrambled"]).dropna()
    known = [f"{group} {number(own)} (twin {number(twin)})" for group, own, twin in last.itertuples()]
    dates = curves.memorised(tables, "text")
    early = sum(arm == "trained" and group in curves.TEXT_GROUPS for _, arm, group in dates.index)
    runs = rows.loc[(rows["arm"] == "trained") & rows["group"].isin(curves.TEXT_GROUPS), ["seed", "group"]]
    text = f"Held-out answers that are right at the end: {listed(known)}." if known else ""
    if known and (last["trained"] - last["scrambled"]).max() < KNOWN:
        text = f"{UNDECIDED} {text}"
    text += (
        f" Of {len(runs.drop_duplicates())} domains of runs {early} are ever memorised; no lag is dated here, and changes are "
        "over the second half of the run."
    )
    parts = [said for name, reading in BOTH if (said := _second_half(tables, name, reading))]
    return f"{text} {' '.join(parts)}".strip()


def _second_half(tables: Tables, name: str, reading: Reading) -> str:
    found = by_arm(second_half(tables, "text", list(estimands.TWIN), reading))
    if not {"trained", "scrambled"} <= set(found):
        return ""
    beside = against(found, "trained", "scrambled")
    own, twin = changed(found["trained"]), changed(found["scrambled"])
    return f"The {name} changes by {own}, in the twin by {twin}; {beside}."
