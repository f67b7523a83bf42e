"""Sentences on other sizes, balancing, the intervention, modular arithmetic and arm B. Tables in, Markdown out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolm.findings.grokking_pathways import curves, estimands
from evolm.findings.grokking_pathways.curves import COSINE, DISTANCE, Reading
from evolm.findings.grokking_pathways.readings_words import (
    Tables,
    against,
    by_arm,
    changed,
    less,
    number,
    side,
    with_interval,
)
from evolm.findings.grokking_pathways.relations import second_half
from evolm.panels import listed

if TYPE_CHECKING:
    from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams

BOTH = (("distance", DISTANCE), ("consistency", COSINE))
LARGER = "`evolm run grokking-pathways --preset gpu`"
BALANCE = """`evolm run grokking-pathways --preset cpu -p 'groups=["core","balance"]'`"""
ARITHMETIC = "`evolm run grokking-pathways --preset gpu -p modular_seeds=5`, hours on a GPU"


def arms(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """What arm A and arm B are, with the sizes of this record."""
    pairs = round(params.fraction * params.symbols**2)
    passes = params.steps * params.batch / (len(params.classes) * pairs + params.random_fraction * params.symbols**2)
    text = (
        f"**Arm A, many passes**: tables of {params.symbols} x {params.symbols} pairs with hidden classes, read about "
        f"{passes:,.0f} times in {params.steps:,} updates. This is grokking in the strict sense. "
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
    return f"The distance changes: {'. And '.join(parts)}."


def intervention(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Whether penalising the dispersion of routing within a group brings generalisation forward."""
    found = by_arm(estimands.intervention(tables, params))
    if not {"penalised", "norm penalised", "trained"} <= set(found):
        return f"Whether closer pathways would *bring* generalisation needs the group `intervention` ({LARGER})."
    text = (
        "Held-out accuracy, mean over the run on a logarithmic axis, is "
        f"{with_interval(found['trained'])} as trained, {with_interval(found['penalised'])} with a penalty on how far the "
        f"pathways of a group are apart, and {with_interval(found['norm penalised'])} with one on the routers' norms."
    )
    gaps = [side(less(found, "penalised", other)) for other in ("trained", "norm penalised")]
    if not all(gaps):
        return text
    if gaps == ["above", "above"]:
        return f"{text} Closer pathways bring generalisation forward."
    if gaps[0] == "above":
        return f"{text} The penalty helps, but not more than one that leaves distances alone."
    return f"{text} Closer pathways do not bring generalisation forward here, as far as these seeds tell."


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
    return f"Changes over the lag, {words}: {'. And '.join(parts)}." if parts else ""


def mixture(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Arm B: what is known at the end by domain, what was ever memorised first, and both metrics beside the twin."""
    rows = curves.of_world(tables, "curve", "text")
    if not len(rows):
        return f"This record has no arm B: it needs `text_seeds` above 0 ({LARGER})."
    last = rows[rows["step"] == rows["step"].max()].groupby(["arm", "group", "seed"])["test_accuracy"].mean()
    known = [
        f"{group} {number(last['trained', group].mean())} (twin {number(last['scrambled', group].mean())})"
        for group in curves.learnable(tables, "text")
        if {("trained", group), ("scrambled", group)} <= set(last.index.droplevel("seed"))
    ]
    dates = curves.memorised(tables, "text")
    early = sum(arm == "trained" and group in curves.TEXT_GROUPS for _, arm, group in dates.index)
    runs = rows.loc[(rows["arm"] == "trained") & rows["group"].isin(curves.TEXT_GROUPS), ["seed", "group"]]
    text = f"Held-out answers that are right at the end: {listed(known)}." if known else ""
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
