"""What the chapter's sentences share: numbers by arm and seed, differences paired by seed, words for what they show.

A frame has seed, arm and value, as the estimands give it. What a sentence concludes follows the 95 % interval over
seeds; where there is none, it concludes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from evolm.findings.grokking_pathways.curves import Reading
from evolm.findings.grokking_pathways.metrics import ALL, ANSWER, NO_RULE, TOP
from evolm.findings.grokking_pathways.tables import RANDOM
from evolm.wording import side, with_interval

Tables = dict[str, pd.DataFrame]


class Words(NamedTuple):
    """What a number does whose interval lies above 0, below it, or on both sides."""

    above: str
    below: str
    alike: str

    def of(self, values: pd.Series) -> str:
        """The words for these values; empty for one seed."""
        return {"above": self.above, "below": self.below, "alike": self.alike, "": ""}[side(values)]


#: Of a change over time, and of a difference between the trained arm and another. The interval is guarded against
#: skewed noise, about twice as wide as Student's with eight seeds: what it does not tell may well be there.
CHANGE = Words("it rises", "it falls", "not told from none")
AGAINST = Words("higher than there", "lower than there", "not told from there")


def by_arm(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Arm -> its values by seed."""
    return {str(arm): part.set_index("seed")["value"].astype(float) for arm, part in frame.groupby("arm", sort=False)}


def less(found: dict[str, pd.Series], arm: str, other: str) -> pd.Series:
    """An arm's values less those of another, paired by seed, of seeds that have both."""
    nothing = pd.Series(dtype=float)
    return (found.get(arm, nothing) - found.get(other, nothing)).dropna()


def changed(values: pd.Series, digits: int = 3, words: Words = CHANGE) -> str:
    """A change with its interval and what it amounts to: `−0.012 [−0.020, −0.004] (it falls)`."""
    said = words.of(values)
    return _signed(values, digits) + (f" ({said})" if said else "")


def against(found: dict[str, pd.Series], arm: str, other: str, digits: int = 3) -> str:
    """By how much an arm exceeds another, paired by seed, with what it amounts to; empty where no seed has both."""
    gap = less(found, arm, other)
    return f"the difference is {changed(gap, digits, AGAINST)}" if len(gap) else ""


def _signed(values: pd.Series, digits: int) -> str:
    text = with_interval(values, digits)
    return text if text.startswith("−") or not float(text.split()[0]) else f"+{text}"


def group_words(name: str) -> str:
    """A group in words: `4 classes`."""
    if name.startswith("k") and name[1:].isdigit():
        return f"{name[1:]} classes"
    return "random labels" if name == RANDOM else name


def reading_words(quantity: str, tokens: str, rule: str) -> str:
    """A reading of a metric in words: `raw distance in characters, all tokens, top-k`."""
    what = {
        "distance": "normalised distance",
        "distance, indices": "raw distance in experts",
        "distance, characters": "raw distance in characters",
        "S": "1 − C",
        "cosine": "cosine",
        "cosine, outputs": "cosine of what experts add",
    }.get(quantity, quantity)
    where = {ALL: "all tokens", ANSWER: "the answer's token"}[tokens]
    how = "" if rule == NO_RULE else ", top-k" if rule == TOP else f", {100 * float(rule):.0f} % of weight"
    return f"{what}, {where}{how}"


class Found(NamedTuple):
    """What a reading does over the lag: where the change lies, and where its difference from the twin's lies."""

    reading: Reading
    own: str
    beyond: str

    @property
    def words(self) -> str:
        return reading_words(*self.reading)


def told(found: list[Found], what: str, fixed: Reading, wanted_of: Callable[[Reading], str]) -> str:
    """How many readings go the paper's way, the other way, and further than the twin; empty where nothing is concluded."""
    if not found or not all(each.own and each.beyond for each in found):
        return ""
    goes = [each for each in found if each.own == wanted_of(each.reading)]
    against_it = [each for each in found if each.own not in ("alike", wanted_of(each.reading))]
    beyond = [each for each in goes if each.beyond == each.own]
    text = (
        f"Of {len(found)} readings of {what}, over the lag in common with the twin, {len(goes)} go the paper's way{named(goes)}, "
        f"{len(against_it)} the other way{named(against_it)}; {len(beyond)} go its way and further than the twin{named(beyond)}."
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


def named(found: list[Found]) -> str:
    """Readings in brackets; empty for none."""
    return f" ({_list(found)})" if found else ""
