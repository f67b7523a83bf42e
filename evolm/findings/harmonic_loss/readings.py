"""Sentences on time and delay on addition whose numbers come from a record: tables in, Markdown out.

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
    PAIR,
    Tables,
    delta,
    doublings,
    learnt,
    less,
    mean,
    median_epoch,
    present,
)
from evolm.panels import listed, percent
from evolm.paths import resource
from evolm.wording import high, number, side, with_interval

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
        f"{_short(found)}**At the authors' rate, decay and start** ({params.long_epochs} of their 7000 epochs, on a split that leaks nothing) the median epoch at which {percent(LEARNT)} of the test pairs are right is: {authors}. **When every head "
        f"gets the rate, decay and knob that one search chose for it**, it is: {chosen}. {tuning(tables, params)}{_late_fits(found['as chosen'], params)}"
    )


def _short(found: dict[str, pd.DataFrame]) -> str:
    """Who generalises sooner at either settings, which head is fastest, and whether there is a delay to shorten."""
    if any(rows["seed"].nunique() < 2 for rows in found.values()):
        return ""
    authors, rows = found["at the authors' settings"], found["as chosen"]
    middle = rows.groupby("arm")["generalised_epoch"].median()
    return (
        f"Of harmonic loss and cross-entropy, tuned alike, {_sooner(rows)}; the fastest head of all is {middle.idxmin()}. At the authors' settings {_sooner(authors)}."
        f"{_room(found)}\n\n"
    )


def _sooner(rows: pd.DataFrame) -> str:
    """Which of the two generalises sooner, by accuracy over training and by the epoch of 95 %, in plain words."""
    winners = {"above": "harmonic loss", "below": "cross-entropy"}
    accuracy = winners.get(side(less(rows, *PAIR, "learnt")))
    epoch = winners.get(side(doublings(rows, *reversed(PAIR))))
    if accuracy == epoch:
        return f"{epoch} generalises sooner" if epoch else "neither generalises sooner for certain"
    first = f"{epoch} has" if epoch else "neither has for certain"
    ahead = f"{accuracy} is ahead" if accuracy else "neither is ahead for certain"
    return f"{first} {percent(LEARNT)} of the test pairs right sooner, and by mean accuracy over training {ahead}"


def _late_fits(rows: pd.DataFrame, params: HarmonicLossParams) -> str:
    """Heads whose runs wait for the rate to fall before they fit, which says how the rate was chosen and not what the head can do."""
    late = rows["fit_epoch"].astype(float) > params.epochs / 2
    waiting = {head: int(late[rows["arm"] == head].sum()) for head in HEADS}
    if not (said := [f"{head} {runs}" for head, runs in waiting.items() if runs]):
        return ""
    runs = rows["seed"].nunique()
    return (
        f" As chosen some runs do not even have {percent(LEARNT)} of the training pairs before the second half of the epochs, when their rate has halved ({listed(said)} of {runs} each): "
        f"a rate at the edge of stability, and no limit of the head.{_same_rate()}"
    )


def _same_rate() -> str:
    """How cross-entropy scored in the search at harmonic loss's own rate and decay, by share of the pairs."""
    from evolm.findings.harmonic_loss.arms import CHOSEN

    own, other = CHOSEN["cross-entropy"], CHOSEN["harmonic"]
    scores = _trials().groupby(["head", "knob", "lr", "decay", "share"])["score"].mean()
    wanted = [
        ("cross-entropy", own.head.knob, own.lr, own.decay),
        ("cross-entropy", own.head.knob, other.lr, other.decay),
        ("harmonic", other.head.knob, other.lr, other.decay),
    ]
    parts = []
    for share in sorted(scores.index.unique("share"), reverse=True):
        found = [number(float(scores[(*settings, share)])) for settings in wanted if (*settings, share) in scores.index]
        if len(found) == len(wanted):
            parts.append(f"on {percent(share)} of the pairs {', '.join(found)}")
    if not parts:
        return ""
    return f" In the search cross-entropy as chosen, cross-entropy at harmonic loss's rate and decay, and harmonic loss scored, in this order: {'; '.join(parts)}."


def tuning(tables: Tables, params: HarmonicLossParams) -> str:
    """What tuning does to the gap between harmonic loss and cross-entropy."""
    found = of_settings(tables, params)
    if not all(present(rows, "harmonic", "cross-entropy") for rows in found.values()) or len(found) < len(EITHER):
        return ""
    measures = {
        "in mean test accuracy over the doublings of training, that is over the logarithm of the epoch": (
            lambda rows: less(rows, *PAIR, "learnt"),
            "above",
        ),
        f"in doublings of the epoch at which {percent(LEARNT)} of test pairs are right (runs that never get there at their last epoch)": (
            lambda rows: doublings(rows, *PAIR),
            "below",
        ),
    }
    parts = []
    for name, (measure, better) in measures.items():
        gaps = {words: measure(rows) for words, rows in found.items()}
        parts.append(
            f"{name}, {listed([f'{with_interval(gap)} {words}{_ahead(gap, better)}' for words, gap in gaps.items()])}"
        )
    return f"Harmonic loss less cross-entropy, paired by seed: {'; '.join(parts)}."


def _ahead(gap: pd.Series, better: str) -> str:
    """Which of the two an interval puts ahead, in brackets; of one seed nothing."""
    where = side(gap)
    if where in ("", "alike"):
        return " (the interval of this mean includes 0)" if where else ""
    return f" ({'harmonic loss' if where == better else 'cross-entropy'} is ahead)"


def settings(tables: Tables, params: HarmonicLossParams) -> str:
    """What the search gave each head, from the arms themselves."""
    from evolm.findings.harmonic_loss.arms import CHOSEN

    trials = _trials()
    scores = trials.groupby(["head", "knob", "lr", "decay"])["score"].mean().groupby("head").max().to_dict()
    parts = [
        f"{name}: rate {arm.lr:g}, decay {arm.decay:g}, knob {arm.head.knob:g}"
        + (f", score {number(scores[name])}" if name in scores else "")
        for name, arm in CHOSEN.items()
    ]
    meaning = (
        " The score is mean test accuracy over the doublings of training, on development seeds and over two shares of the pairs; as the best of a "
        "search it flatters."
    )
    return f"The search gave: {'; '.join(parts)}.{f'{meaning}{_edges(trials)}' if scores else ''}"


def _trials() -> pd.DataFrame:
    """Every trial on addition: head, knob, lr, decay, share, seed, score; none where the file is not at hand."""
    file = resource("data") / "choices" / "harmonic-loss.csv"
    if not file.exists():
        return pd.DataFrame(columns=["head", "knob", "lr", "decay", "share", "seed", "score"])
    trials = pd.read_csv(file)
    return trials[trials["experiment"] == "addition"]


def _edges(trials: pd.DataFrame) -> str:
    """Choices that are the smallest or the largest that the search tried, beyond which something better may lie."""
    from evolm.findings.harmonic_loss.arms import CHOSEN

    said = []
    for name, arm in CHOSEN.items():
        own = trials[trials["head"] == name]
        for what, tried, value in (
            ("knob", own["knob"], arm.head.knob),
            ("rate", own["lr"], arm.lr),
            ("decay", own["decay"], arm.decay),
        ):
            ends = {tried.min(): "smallest", tried.max(): "largest"}
            if value in ends:
                said.append(f"the {what} of {name} ({ends[value]})")
    if not said:
        return ""
    return f" At the edge of what was tried: {listed(said)}; beyond it these heads may do better still."


def delay(tables: Tables, params: HarmonicLossParams) -> str:
    """Delay by head at both settings, as an area and as the doublings between two epochs, and whether it has room to be shorter."""
    found = of_settings(tables, params)
    if not found:
        return ""
    areas, epochs = [], []
    for words, rows in found.items():
        heads = [head for head in HEADS if present(rows, head)]
        late, early = (rows[name].astype(float).clip(lower=1) for name in ("generalised_epoch", "fit_epoch"))
        middle = (late / early).map(np.log2).groupby(rows["arm"]).median()
        means = {head: mean(rows, head, "delay") for head in heads}
        areas.append(f"{words}, {listed([f'{head} {number(value)}' for head, value in means.items()])}")
        epochs.append(f"{words}, {listed([f'{head} {number(middle[head])}' for head in heads])}")
    return (
        f"Mean delay in doublings of training: {'; '.join(areas)}. Doublings from the epoch at which {percent(LEARNT)} of train pairs are right to that of "
        f"test pairs, medians over runs, those that never get there at their last epoch: {'; '.join(epochs)}.{_room(found)} A run that learns neither "
        f"part has no delay, either; {_neither(found)}."
    )


def _room(found: dict[str, pd.DataFrame]) -> str:
    """Whether cross-entropy as chosen has a delay that could be shortened by what the claim asks for."""
    rows = found.get("as chosen", pd.DataFrame(columns=["arm"]))
    smallest = delta("less-delay")
    if not present(rows, "cross-entropy") or not mean(rows, "cross-entropy", "delay") < 2 * smallest:
        return ""
    all_short = all(mean(rows, head, "delay") < 2 * smallest for head in HEADS if present(rows, head))
    text = (
        f" As chosen {'no head has' if all_short else 'cross-entropy has not'} much delay to shorten (cross-entropy's is {number(mean(rows, 'cross-entropy', 'delay'))} doublings, and {number(smallest)} is "
        "the smallest effect that counts), so the verdict on delay says little about grokking"
    )
    authors = found.get("at the authors' settings", pd.DataFrame(columns=["arm"]))
    grokking = present(authors, "cross-entropy") and mean(authors, "cross-entropy", "delay") >= 2 * smallest
    return f"{text}; grokking is at the authors' settings." if grokking else f"{text}."


def _neither(found: dict[str, pd.DataFrame]) -> str:
    """How many runs reach 95 % of neither part, by settings and head."""
    parts = []
    for words, rows in found.items():
        neither = rows[~(rows["fit_seen"].astype(bool) | rows["generalised_seen"].astype(bool))]
        parts.append(f"{len(neither)} of {len(rows)} {words}{_by_head(neither)}")
    return f"such runs are {listed(parts)}"


def _by_head(rows: pd.DataFrame) -> str:
    """How many rows each head has, in brackets; nothing where there are none."""
    said = [f"{head} {count}" for head in HEADS if (count := int((rows["arm"] == head).sum()))]
    return f" ({listed(said)})" if said else ""


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
            f"the distance by {with_interval(alone)}{share}; that of the distance alone less harmonic loss's is {with_interval(form)}: {adds[side(form)]}."
        )
    return " ".join(said)


def specific(tables: Tables, params: HarmonicLossParams) -> str:
    """Which controls have a shorter delay than cross-entropy, too, and how each stands to harmonic loss's."""
    said, level = [], []
    for words, rows in of_settings(tables, params).items():
        others = [head for head in HEADS if head not in PAIR and present(rows, head)]
        if not others or not present(rows, *PAIR) or rows["seed"].nunique() < 2:
            continue
        sooner = [head for head in others if side(less(rows, "cross-entropy", head, "delay")) == "above"]
        more = {head: less(rows, head, "harmonic", "delay") for head in others}
        short = [head for head, gap in more.items() if high(gap) < delta("less-delay")]
        said.append(
            f"{words}, {listed(sooner) or 'none'} {_has(sooner)} a shorter delay than cross-entropy, and {listed(short) or 'none'} {_has(short)} one as short "
            f"as harmonic loss's{_others({head: gap for head, gap in more.items() if head not in short})}"
        )
        level += [f"{head} {words}" for head in short if head in sooner]
    if not said:
        return ""
    limit = f"As short: the interval of the control's delay less harmonic loss's ends below {number(delta('less-delay'))}, the smallest effect that counts."
    last = f" What a control does as much is not specific to harmonic loss: {listed(level)}." if level else ""
    return f"Of the controls: {'; '.join(said)}. {limit}{last}"


def _others(more: dict[str, pd.Series]) -> str:
    """The controls whose delay is longer than harmonic loss's, and those that are not told apart from it."""
    parts = []
    for words, wanted in (("longer", ("above",)), ("not told apart", ("alike",))):
        heads = [f"{head} (difference {with_interval(gap)})" for head, gap in more.items() if side(gap) in wanted]
        parts += [f"{words}: {listed(heads)}"] if heads else []
    return "".join(f"; {part}" for part in parts)


def _has(items: Sequence[object]) -> str:
    return "have" if len(items) > 1 else "has"


def failures(tables: Tables, params: HarmonicLossParams) -> str:
    """Runs that never get there, and runs that got there and end without it: both are counted, none is dropped."""
    parts = []
    for words, rows in of_settings(tables, params).items():
        seen = rows["generalised_seen"].astype(bool)
        lost = rows[seen & (rows["test_accuracy"] < LEARNT)]
        again = f", and of the others {len(lost)} end below it again{_by_head(lost)}" if len(lost) else ""
        parts.append(
            f"{words}, {int((~seen).sum())} of {len(rows)} never get {percent(LEARNT)} of test pairs right{_by_head(rows[~seen])}{again}"
        )
    return f"Runs of the five heads: {'; '.join(parts)}. All of them count." if parts else ""
