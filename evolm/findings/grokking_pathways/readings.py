"""Sentences on the lag of arm A, whose numbers come from a record: tables in, Markdown out.

What a sentence concludes follows the interval over seeds; where there is none, it concludes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evolm.findings.grokking_pathways import curves, estimands
from evolm.findings.grokking_pathways.readings_words import (
    Tables,
    Words,
    against,
    by_arm,
    changed,
    group_words,
    less,
)
from evolm.findings.grokking_pathways.tables import RANDOM
from evolm.intervals import seed_interval
from evolm.panels import listed, percent
from evolm.wording import number, side, with_interval

if TYPE_CHECKING:
    from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams

WORLD = "tables"
#: Held-out accuracy within which two arms are called alike, that of the claims on frozen routers and dense models.
MARGIN = 0.1
#: Of the order within a table, and of the lag of what is memorised late.
WITHIN = Words("so training and held-out data are tied cell by cell", "the other way round", "not told from none")
LONGER = Words("what is memorised late lags longer", "what is memorised late lags less", "not told from none")


def answer(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """The chapter in a paragraph."""
    gained, order, distance, cosine = (
        by_arm(estimate(tables, params))
        for estimate in (
            estimands.gain, estimands.order_of_generalising, estimands.distance_falls, estimands.consistency_rises
        )
    )  # fmt: skip
    said = []
    if "trained" in gained:
        said.append(
            f"**After a group is memorised**, over its own lag, its held-out accuracy changes by {changed(gained['trained'], 2)}."
        )
    if "matched" in order:
        said.append(
            f"What is memorised late generalises {with_interval(order['matched'])} doublings of the step after what is "
            f"memorised early."
        )
    for name, found, sign in (("distance between pathways", distance, -1), ("consistency across layers", cosine, 1)):
        if {"trained", "scrambled"} <= set(found):
            own, twin = (sign * found[arm] for arm in ("trained", "scrambled"))
            said.append(
                f"**Meanwhile the {name}** changes by {changed(own)}; in the twin, where nothing can be generalised, "
                f"by {changed(twin)} over the same steps."
            )
    raw = by_arm(estimands.raw_cosine(tables, params))
    if {"metric", "step"} <= set(raw):
        said.append(
            f"**Held-out accuracy** has r = {with_interval(raw['step'])} with the step itself, and "
            f"{with_interval(raw['metric'])} with consistency. Whether the metrics *tell* it is judged by what they add to the "
            "step and the training loss on a seed that was not fitted: to rise with it is not enough, since the step does."
        )
    return " ".join(said)


def lag(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """When each group of the trained arm is memorised, and what is known of its held-out pairs then and at the end."""
    parts, dated = [], curves.known_when_memorised(tables, WORLD)
    for group in [*curves.learnable(tables, WORLD), RANDOM]:
        runs = dated[dated["group"] == group]
        known = runs.dropna()
        if known.empty:
            continue
        parts.append(
            f"{group_words(group)} at update {number(known['step'].median(), 0)} (median; {len(known)} of {len(runs)} seeds), "
            f"with {percent(known['then'].mean())} of held-out pairs right then and {percent(known['end'].mean())} at the end"
        )
    if not parts:
        return ""
    return (
        f"Groups are memorised: {'; '.join(parts)}. Memorised means {curves.MEMORISED:g} or more right at "
        f"{curves.IN_A_ROW} measurements in a row, of the half of the training samples that is kept for dating; pathways "
        "are those of the other half, so that they are not still by selection. Changes are read from the first evenly spaced "
        f"measurement after that on, never before update {number(curves.first_date(tables, WORLD), 0)}."
    )


def order(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Whether what is memorised later generalises later, beside random pairings, within a table, and for the lag."""
    found = by_arm(estimands.order_of_generalising(tables, params))
    if "matched" not in found:
        return ""
    text = (
        f"Held-out cells whose training cells are memorised late are mastered {with_interval(found['matched'])} doublings "
        "of the step after the early ones"
    )
    luck = [(name, found[name]) for name in ("random pairing", "random group") if name in found]
    beside = [f"{with_interval(values)} under {name}" for name, values in luck if name == "random pairing"]
    beside += [f"{with_interval(values)} in the group of random labels" for name, values in luck if name[7:] == "group"]
    text += f", beside {listed(beside)}." if beside else "."
    gap = less(found, "matched", "random pairing")
    text += {
        "above": " That is more than chance, between tables and within them.",
        "alike": " These seeds do not tell this from chance.",
        "below": " A random pairing does more.",
        "": "",
    }[side(gap)]
    within, longer = (
        by_arm(estimate(tables, params)).get("matched") for estimate in (estimands.order_within, estimands.lag_grows)
    )
    if within is not None:
        text += f" Among the cells of one table alone it is {changed(within, 2, WITHIN)}."
    text += _unfinished(tables)
    if longer is not None:
        text += (
            " The lag of late cells less that of early ones, in doublings of the step, is "
            f"{changed(longer, 2, LONGER)}."
        )
    return text


def _unfinished(tables: Tables) -> str:
    """Which share of cells counts as the end since no held-out pair of theirs is ever mastered, by table."""
    cells = curves.of_world(tables, "cells", WORLD)
    cells = cells[cells["arm"] == "trained"]
    never = cells["generalised"] >= cells["generalised"].max()
    shares = [
        f"{percent(float(never[cells['group'] == group].mean()))} with {group_words(group)}"
        for group in curves.learnable(tables, WORLD)
        if (cells["group"] == group).any()
    ]
    return (
        f" Of the cells {listed(shares)} have no held-out pair mastered by the end, and are dated there."
        if shares
        else ""
    )


def harder(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Held-out accuracy over the second half of the run, by the number of hidden classes."""
    rows = curves.of_world(tables, "curve", WORLD)
    rows = rows[(rows["arm"] == "trained") & (rows["step"] >= rows["step"].max() / 2)]
    parts = [
        f"{group_words(group)} {with_interval(rows[rows['group'] == group].groupby('seed')['test_accuracy'].mean())}"
        for group in curves.learnable(tables, WORLD)
    ]
    if not parts:
        return ""
    gap = by_arm(estimands.harder_later(tables, params)).get("trained", pd.Series(dtype=float))
    text = f"Held-out accuracy over the second half of the run: {listed(parts)}."
    words = {
        "above": "With more classes less is generalised by the same step",
        "below": "With more classes more is generalised by the same step",
        "alike": "These seeds tell no order",
    }
    return f"{text} {words[side(gap)]}." if side(gap) else text


def needs(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """What generalises as well as the trained model: frozen random routers, a dense model, no weight decay, the twin."""
    arms = [
        ("frozen router", "With router weights that stay as they were drawn"),
        ("dense", "A dense model of as many active parameters, which has no pathways"),
        ("no decay", "Without weight decay"),
        ("scrambled", "The random-label twin"),
    ]
    found = by_arm(curves.ends(tables, WORLD, ["trained", *[arm for arm, _ in arms]]))
    if "trained" not in found:
        return ""
    said = [f"Held-out accuracy at the end is {with_interval(found['trained'])} as trained."]
    for arm, words in arms:
        gap = less(found, "trained", arm)
        if len(gap):
            said.append(f"{words}: {with_interval(found[arm])}, which is {with_interval(gap)} less{_alike(gap)}.")
    return " ".join(said)


def _alike(gap: pd.Series) -> str:
    """What a loss of accuracy amounts to: alike within the margin of the claims, worse, better, or not told."""
    if not side(gap):
        return ""
    low, high = seed_interval(gap.to_numpy(float))
    if low > -MARGIN and high < MARGIN:
        beside = {"above": ", though not quite as well", "below": ", and better", "alike": ""}[side(gap)]
        return f": it generalises alike, within {MARGIN:g}{beside}"
    return {
        "above": ": it generalises less",
        "below": ": it generalises more",
        "alike": ": these seeds do not tell which is better",
    }[side(gap)]


def decay(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """What is gained after memorisation with weight decay and without."""
    found = by_arm(estimands.no_decay(tables, params))
    if not {"trained", "no decay"} <= set(found):
        return "Whether weight decay drives the lag needs the group `controls`, which this record lacks."
    text = (
        f"From the later of both memorisations on, held-out accuracy gains {with_interval(found['trained'])} with weight "
        f"decay and {with_interval(found['no decay'])} without"
    )
    return f"{text}; {against(found, 'trained', 'no decay', 2)}."
