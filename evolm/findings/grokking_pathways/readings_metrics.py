"""Sentences on the metrics of pathways in arm A: beside the twin, in every reading, by layer. Tables in, Markdown out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evolm.findings.grokking_pathways import curves, estimands
from evolm.findings.grokking_pathways.curves import COSINE, DISTANCE, Reading
from evolm.findings.grokking_pathways.metrics import TOP
from evolm.findings.grokking_pathways.readings_words import (
    CHANGE,
    Found,
    Tables,
    Words,
    against,
    by_arm,
    changed,
    less,
    named,
    told,
)
from evolm.findings.grokking_pathways.tables import RANDOM
from evolm.wording import number, side

if TYPE_CHECKING:
    from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams

WORLD = "tables"
RENAMED = Reading("distance, shuffled", "answer", "0.7")
DISTANCES = ("distance", "distance, indices", "distance, characters")
#: 1 - C is C turned round, and no reading of its own.
CONSISTENCIES = ("cosine", "C", "cosine, outputs")
#: Of the distance less that of renamed experts, where pathways are closer than those.
TO_CHANCE = Words("towards chance", "away from chance", "not told from none")


def distance(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """The change of distance over the lag: as trained, in the twin, in the random group, with frozen routers."""
    return _beside(tables, DISTANCE, "The mean normalised distance of pathways", "below")


def consistency(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """The change of the cosine over the lag: as trained, in the twin, in the random group, with frozen routers."""
    text = _beside(tables, COSINE, "The mean cosine of consecutive layers", "above")
    if not text:
        return ""
    return (
        f"{text} {_undecayed(tables, params)}A vector added to all rows of a router changes this cosine and no route."
    )


def _undecayed(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """The change of the cosine where weights do not decay, beside what is gained there."""
    gained = by_arm(estimands.no_decay(tables, params))
    cosine = by_arm(curves.changes(tables, WORLD, ["trained", "no decay"], COSINE))
    if not ("no decay" in gained and "no decay" in cosine):
        return ""
    return (
        f"Without weight decay it changes by {changed(cosine['no decay'])}, over the lag in common with that arm, while held-out "
        f"accuracy there changes by {changed(gained['no decay'], 2)}. "
    )


def _beside(tables: Tables, reading: Reading, name: str, wanted: str) -> str:
    found = by_arm(curves.changes(tables, WORLD, estimands.TWIN, reading))
    if not {"trained", "scrambled"} <= set(found):
        return ""
    said = [
        f"{name} changes by {changed(found['trained'])} from the first to the last fifth of the lag in common with the "
        f"random-label twin. In the twin it changes by {changed(found['scrambled'])} over the same steps; {against(found, 'trained', 'scrambled')}."
    ]
    luck = by_arm(curves.changes(tables, WORLD, ["trained"], reading, [RANDOM]))
    if "trained" in luck:
        said.append(
            f"In the group of random labels of the same runs it changes by {changed(luck['trained'])} over that group's own lag."
        )
    frozen = by_arm(curves.changes(tables, WORLD, ["trained", "frozen router"], reading))
    if "frozen router" in frozen:
        said.append(
            f"With router weights that never learn it changes by {changed(frozen['frozen router'])}, over the lag in common with "
            "that arm; the hidden states that are routed still change there."
        )
    return " ".join([*said, _concluded(found, wanted)]).strip()


def _concluded(found: dict[str, pd.Series], wanted: str) -> str:
    """What the change and its difference from the twin's amount to; nothing for one seed."""
    own, beyond = side(found["trained"]), side(less(found, "trained", "scrambled"))
    if not own or not beyond:
        return ""
    if own != wanted:
        ahead = ", though beside the twin the trained models differ that way" if beyond == wanted else ""
        return f"**What the paper describes is not seen here{ahead}.**"
    if beyond == wanted:
        return "**It goes the paper's way, and further than where nothing can be generalised.**"
    if beyond != "alike":
        return "**It goes the paper's way, but where nothing can be generalised it goes further.**"
    if side(found["scrambled"]) != wanted:
        return "**It goes the paper's way; these seeds do not tell it from where nothing can be generalised.**"
    share = number(found["scrambled"].mean() / found["trained"].mean())
    return (
        f"**It goes the paper's way, but where nothing can be generalised it goes {share} times as far; these seeds do not tell "
        "them apart.**"
    )


def distance_readings(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Which readings of the distance fall, which rise, which beyond the twin; and whether that changes the answer."""
    found = _readings(tables, DISTANCES)
    return told(found, "distance", DISTANCE, lambda of: "below")


def consistency_readings(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """The same of consistency; the paper's C is counted as its formula has it: smoother pathways have a smaller C."""
    found = _readings(tables, CONSISTENCIES)
    text = told(found, "consistency", COSINE, lambda of: "below" if of.quantity == "C" else "above")
    if not text:
        return ""
    text += " C counts as more consistent where it falls, as its formula says; 1 − C is the same reading turned round."
    astray = [each for each in found if each.own != ("below" if each.reading.quantity == "C" else "above")]
    own = [each for each in astray if each.reading.quantity == "C"]
    among = f", the paper's own among them{named(own)}" if own else ""
    text += f" **{len(astray)} of {len(found)} do not go the paper's way{among}.**"
    if params.layers == 3:
        text += (
            " With three layers C is (1 − smaller / larger cosine) / 2: how unequal two cosines are, not how large. It has no bound "
            "where the larger is near 0, and such samples dominate the means over a group."
        )
    return text


def _readings(tables: Tables, quantities: tuple[str, ...]) -> list[Found]:
    """Every reading of some quantities that a record has. Raw counts of top-k are multiples of the normalised ones."""
    rows = curves.of_world(tables, "pathways", WORLD)
    keys = rows.loc[rows["quantity"].isin(quantities), ["quantity", "tokens", "rule"]].drop_duplicates()
    found = []
    for key in sorted(keys.itertuples(index=False), key=lambda row: (quantities.index(row.quantity), *row[1:])):
        if key.quantity == "distance, indices" and key.rule == TOP:
            continue
        values = by_arm(curves.changes(tables, WORLD, estimands.TWIN, Reading(*key)))
        if {"trained", "scrambled"} <= set(values):
            own, beyond = side(values["trained"]), side(less(values, "trained", "scrambled"))
            found.append(Found(Reading(*key), own, beyond))
    return found


def length(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """How many more or fewer experts are on a pathway, which moves any raw distance."""
    parts = []
    for tokens, words in (("answer", "at the answer's token"), ("all", "over all tokens")):
        found = by_arm(curves.changes(tables, WORLD, estimands.TWIN, Reading("length", tokens, "0.7")))
        if {"trained", "scrambled"} <= set(found):
            parts.append(f"{words} by {changed(found['trained'], 2)}, in the twin by {changed(found['scrambled'], 2)}")
    if not parts:
        return ""
    return f"Experts on a pathway that holds 70 % of the weight change {'; '.join(parts)}, over the lag in common with the twin."


def layers(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """The change of distance of each layer, as trained and in the twin."""
    rows = tables.get("layers", pd.DataFrame())
    starts = curves.lags(tables, WORLD, estimands.TWIN, curves.learnable(tables, WORLD)) if len(rows) else {}
    if not starts:
        return ""
    rows = rows[(rows["world"] == WORLD) & (rows["quantity"] == "distance") & (rows["tokens"] == "answer")]
    parts = []
    for layer in sorted(rows["layer"].unique()):
        found = {
            arm: _of_layer(rows[(rows["layer"] == layer) & (rows["arm"] == arm)], starts) for arm in estimands.TWIN
        }
        if all(len(values) for values in found.values()):
            parts.append(f"layer {layer + 1} {changed(found['trained'])}, twin {changed(found['scrambled'])}")
    if not parts:
        return ""
    return f"The change of the normalised distance over the lag in common with the twin, layer by layer: {'; '.join(parts)}."


def _of_layer(rows: pd.DataFrame, starts: dict[tuple[int, str], float]) -> pd.Series:
    """Seed -> change over the common lag, mean over groups."""
    runs = curves.by_run(rows[["seed", "group", "step", "value"]])
    values = [(key[0], curves.change_of(*run, starts[key])) for key, run in runs.items() if key in starts]
    found = pd.DataFrame(values, columns=["seed", "value"]).dropna()
    return found.groupby("seed")["value"].mean()


def shuffled(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """What remains of both metrics when experts lose their names, at the end, and how the distance moves beside that."""
    parts = []
    for name, kept, renamed in (
        ("distance", DISTANCE, RENAMED),
        ("cosine", COSINE, Reading("cosine, shuffled")),
    ):
        last = [_last(tables, reading) for reading in (kept, renamed)]
        if all(len(values) for values in last):
            parts.append(
                f"{name} {number(last[0].mean(), 3)}, and {number(last[1].mean(), 3)} with experts renamed at random"
            )
    if not parts:
        return ""
    return (
        f"At the end, learnable groups as trained: {'; '.join(parts)}. {_towards_chance(tables)}Distances are over all pairs of a "
        "table's samples: pairs of one cell are not told apart from others."
    )


def _towards_chance(tables: Tables) -> str:
    """The change of the distance less that of renamed experts, since longer pathways move what chance gives as well."""
    kept, renamed = (by_arm(curves.changes(tables, WORLD, estimands.TWIN, each)) for each in (DISTANCE, RENAMED))
    moved = {arm: (kept[arm] - renamed[arm]).dropna() for arm in estimands.TWIN if arm in kept and arm in renamed}
    if len(moved) < len(estimands.TWIN):
        return ""
    said = {
        arm: changed(values, 3, TO_CHANCE if _is_closer(tables, arm, values) else CHANGE)
        for arm, values in moved.items()
    }
    return (
        "What chance gives moves with the length of pathways. Over the lag in common with the twin, the distance less that of "
        f"renamed experts changes by {said['trained']}, in the twin by {said['scrambled']}. "
    )


def _is_closer(tables: Tables, arm: str, moved: pd.Series) -> bool:
    """Whether pathways are closer than chance at the end, and were before they moved."""
    gap = (_last(tables, DISTANCE, arm) - _last(tables, RENAMED, arm)).mean()
    return bool(gap < 0 and gap - moved.mean() < 0)


def _last(tables: Tables, reading: Reading, arm: str = "trained") -> pd.Series:
    rows = curves.series(tables, WORLD, arm, reading)
    rows = rows[rows["group"].isin(curves.learnable(tables, WORLD))]
    return rows[rows["step"] == rows["step"].max()].groupby("seed")["value"].mean().dropna()
