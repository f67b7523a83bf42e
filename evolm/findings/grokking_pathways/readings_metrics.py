"""Sentences on the metrics of pathways in arm A: beside the twin, in every reading, by layer. Tables in, Markdown out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from evolm.findings.grokking_pathways import curves, estimands
from evolm.findings.grokking_pathways.curves import COSINE, DISTANCE, Reading
from evolm.findings.grokking_pathways.metrics import TOP
from evolm.findings.grokking_pathways.readings_words import (
    Tables,
    against,
    by_arm,
    changed,
    less,
    number,
    reading_words,
    side,
)  # fmt: skip
from evolm.findings.grokking_pathways.tables import RANDOM
from evolm.panels import listed

if TYPE_CHECKING:
    from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams

WORLD = "tables"
DISTANCES = ("distance", "distance, indices", "distance, characters")
CONSISTENCIES = ("cosine", "S", "C", "cosine, outputs")


class Found(NamedTuple):
    """What a reading does over the lag: where the change lies, and where its difference from the twin's lies."""

    reading: Reading
    own: str
    beyond: str

    @property
    def words(self) -> str:
        return reading_words(*self.reading)


def distance(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """The change of distance over the lag: as trained, in the twin, in the random group, with frozen routers."""
    return _beside(tables, DISTANCE, "The mean normalised distance of pathways", "below")


def consistency(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """The change of the cosine over the lag: as trained, in the twin, in the random group, with frozen routers."""
    return _beside(tables, COSINE, "The mean cosine of consecutive layers", "above")


def _beside(tables: Tables, reading: Reading, name: str, wanted: str) -> str:
    found = by_arm(curves.changes(tables, WORLD, estimands.TWIN, reading))
    if not {"trained", "scrambled"} <= set(found):
        return ""
    said = [
        f"{name} changes by {changed(found['trained'])} from the first to the last fifth of the lag. In the random-label "
        f"twin it changes by {changed(found['scrambled'])} over the same steps; {against(found, 'trained', 'scrambled')}."
    ]
    luck = by_arm(curves.changes(tables, WORLD, ["trained"], reading, [RANDOM]))
    if "trained" in luck:
        said.append(f"In the group of random labels of the same runs it changes by {changed(luck['trained'])}.")
    frozen = by_arm(curves.changes(tables, WORLD, ["trained", "frozen router"], reading))
    if "frozen router" in frozen:
        said.append(f"With routers that never learn it changes by {changed(frozen['frozen router'])}.")
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
    further = "further" if beyond != "alike" else "as far, as these seeds tell"
    return f"**It goes the paper's way, but where nothing can be generalised it goes {further}.**"


def distance_readings(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Which readings of the distance fall, which rise, which beyond the twin; and whether that changes the answer."""
    found = _readings(tables, DISTANCES)
    return _told(found, "distance", DISTANCE, lambda of: "below")


def consistency_readings(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """The same of consistency; the paper's C is counted as its formula has it: smoother pathways have a smaller C."""
    found = _readings(tables, CONSISTENCIES)
    text = _told(found, "consistency", COSINE, lambda of: "below" if of.quantity == "C" else "above")
    return f"{text} C counts as more consistent where it falls, as its formula says." if text else ""


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


def _told(found: list[Found], what: str, fixed: Reading, wanted_of: Callable[[Reading], str]) -> str:
    if not found or not all(each.own and each.beyond for each in found):
        return ""
    goes = [each for each in found if each.own == wanted_of(each.reading)]
    against_it = [each for each in found if each.own not in ("alike", wanted_of(each.reading))]
    beyond = [each for each in goes if each.beyond == each.own]
    text = (
        f"Of {len(found)} readings of {what}, {len(goes)} go the paper's way{_named(goes)}, {len(against_it)} the other "
        f"way{_named(against_it)}; {len(beyond)} go its way and further than the twin{_named(beyond)}."
    )
    main = next((each for each in found if each.reading == fixed), None)
    if main is None:
        return text
    other = [each for each in found if (each in goes, each in beyond) != (main in goes, main in beyond)]
    if not other:
        return f"{text} So no reading changes the answer."
    return f"{text} Another answer than the fixed reading ({main.words}): {_list(other)}."


def _list(found: list[Found]) -> str:
    return "; ".join(each.words for each in found)


def _named(found: list[Found]) -> str:
    return f" ({_list(found)})" if found else ""


def length(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """How many more or fewer experts are on a pathway, which moves any raw distance."""
    parts = []
    for tokens, words in (("answer", "at the answer's token"), ("all", "over all tokens")):
        found = by_arm(curves.changes(tables, WORLD, estimands.TWIN, Reading("length", tokens, "0.7")))
        if {"trained", "scrambled"} <= set(found):
            parts.append(f"{words} by {changed(found['trained'], 2)}, in the twin by {changed(found['scrambled'], 2)}")
    return f"Experts on a pathway that holds 70 % of the weight change {'; '.join(parts)}." if parts else ""


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
    return f"The change of the normalised distance, layer by layer: {'; '.join(parts)}." if parts else ""


def _of_layer(rows: pd.DataFrame, starts: dict[tuple[int, str], float]) -> pd.Series:
    """Seed -> change over the common lag, mean over groups."""
    runs = curves.by_run(rows[["seed", "group", "step", "value"]])
    values = [(key[0], curves.change_of(*run, starts[key])) for key, run in runs.items() if key in starts]
    found = pd.DataFrame(values, columns=["seed", "value"]).dropna()
    return found.groupby("seed")["value"].mean()


def shuffled(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """What remains of both metrics at the end when experts lose their names: levels that lengths and weights alone give."""
    parts = []
    for name, kept, renamed in (
        ("distance", DISTANCE, Reading("distance, shuffled", "answer", "0.7")),
        ("cosine", COSINE, Reading("cosine, shuffled")),
    ):
        last = [_last(tables, reading) for reading in (kept, renamed)]
        if all(len(values) for values in last):
            parts.append(
                f"{name} {number(last[0].mean(), 3)}, and {number(last[1].mean(), 3)} with experts renamed at random"
            )
    return f"At the end, learnable groups as trained: {listed(parts)}." if parts else ""


def _last(tables: Tables, reading: Reading) -> pd.Series:
    rows = curves.series(tables, WORLD, "trained", reading)
    rows = rows[rows["group"].isin(curves.learnable(tables, WORLD))]
    return rows[rows["step"] == rows["step"].max()].groupby("seed")["value"].mean().dropna()
