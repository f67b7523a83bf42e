"""Sentences on shares of the pairs and on the authors' split whose numbers come from a record: tables in, Markdown out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evolm.findings.harmonic_loss import estimands
from evolm.findings.harmonic_loss.algorithmic import LEARNT
from evolm.findings.harmonic_loss.arms import BESIDE
from evolm.findings.harmonic_loss.experiment import epochs_of
from evolm.findings.harmonic_loss.map_cells import beside, mapped
from evolm.findings.harmonic_loss.readings_words import (
    AUTHORS,
    HEADS,
    PAIR,
    Tables,
    learnt,
    less,
    mean,
    present,
)
from evolm.panels import listed, percent
from evolm.wording import side, with_interval

if TYPE_CHECKING:
    from evolm.findings.harmonic_loss.parameters import HarmonicLossParams

#: Mean accuracy above which no head has room to show that it needs less data.
CEILING = 0.9


def less_data(tables: Tables, params: HarmonicLossParams) -> str:
    """Accuracy at the smaller shares and how many runs learn, by head; how soon, and whether the end can decide at all."""
    rows = estimands.models(tables, "data")
    ends, more, sooner, full = [], [], [], []
    for share in sorted(rows["share"].unique()):
        part = rows[rows["share"] == share]
        right = {head: mean(part, head, "test_accuracy") for head in HEADS if present(part, head)}
        if not right:
            continue
        heads = [f"{head} {percent(value)} ({learnt(part, head)})" for head, value in right.items()]
        ends.append(f"on {percent(share)} of the pairs {listed(heads)}")
        if present(part, *PAIR):
            more.append(f"{with_interval(less(part, *PAIR, 'test_accuracy'))} on {percent(share)}")
            sooner.append(f"{with_interval(less(part, *PAIR, 'learnt'))} on {percent(share)}")
        if min(right.values()) > CEILING:
            full.append(percent(share))
    if not ends:
        return ""
    text = f"Test accuracy at the end, and runs that ever reach {percent(LEARNT)}: {'; '.join(ends)}."
    if full:
        text += f" On {listed(full)} every head ends above {percent(CEILING)}: accuracy at the end is at its ceiling there and cannot decide."
    if sooner:
        text += f" Accuracy at the end, harmonic loss less cross-entropy: {listed(more)}. An epoch of fewer pairs has fewer updates."
        text += (
            f" Mean test accuracy over the doublings of training, harmonic loss less cross-entropy: {listed(sooner)}."
        )
    return text


def sweep(tables: Tables, params: HarmonicLossParams) -> str:
    """From how little data each distance and exponent learns, and how soon with the most; the other heads beside them."""
    found, others = mapped(tables), beside(tables)
    if found.empty:
        return ""
    least = [f"{name} {_least(found[found['distance'] == name])}" for name in found["distance"].unique()]
    heads = [f"{head} {_share(_enough(others[others['arm'] == head]))}" for head in BESIDE if present(others, head)]
    most = found["share"].max()
    soon = [f"{name} {_soon(cells)}" for name, cells in found[found["share"] == most].groupby("distance", sort=False)]
    text = f"Least share of the pairs, of those on the map, from which at least half of the runs end with the task: {'; '.join(least)}."
    if heads:
        text += f" As chosen, of the shares that they were run at: {listed(heads)}."
    return f"{text} Median epochs until {percent(LEARNT)} of the test pairs are right, on {percent(most)} of the pairs: {'; '.join(soon)}."


def _least(cells: pd.DataFrame) -> str:
    """Exponents by the least share from which half of their runs learn."""
    by_share: dict[float, list[str]] = {}
    for n, part in cells.groupby("exponent"):
        by_share.setdefault(_enough(part), []).append(f"{n:g}")
    return ", ".join(f"{_share(share)} at n = {listed(exponents)}" for share, exponents in sorted(by_share.items()))


def _enough(cells: pd.DataFrame) -> float:
    """The least share with half of the runs; infinite where none has."""
    return float(min(cells.loc[2 * cells["learnt"] >= cells["runs"], "share"], default=np.inf))


def _share(share: float) -> str:
    return percent(share) if np.isfinite(share) else "none"


def _soon(cells: pd.DataFrame) -> str:
    """Median epochs by exponent."""
    times = [
        f"{epoch:.0f} at n = {n:g}" if np.isfinite(epoch) else f"never at n = {n:g}"
        for n, epoch in cells.sort_values("exponent")[["exponent", "epoch"]].itertuples(index=False)
    ]
    return listed(times)


def edge(tables: Tables, params: HarmonicLossParams) -> str:
    """Heads that learn in fewer runs from the largest share of the pairs than from a smaller one, with the chosen rates."""
    rows = pd.concat([estimands.models(tables, group, task="addition") for group in ("data", "addition")])
    if rows.empty or rows["seed"].nunique() < 2:
        return ""
    most = rows["share"].max()
    parts = []
    for head in HEADS:
        part = rows[rows["arm"] == head]
        seen = part["generalised_seen"].astype(bool).groupby(part["share"]).mean()
        if most not in seen.index or not seen[most] < seen.max():
            continue
        best = float(seen.index[seen == seen.max()].max())
        said = [f"in {learnt(part[part['share'] == share], head)} runs on {percent(share)}" for share in (best, most)]
        parts.append(f"{head} learns {said[0]} of the pairs and {said[1]}")
    if not parts:
        return ""
    return (
        f"As chosen, {'; '.join(parts)}. More pairs make an epoch longer and not the task harder, so that fewer runs that learn would point to a rate at the "
        "edge of stability; a few runs may be chance."
    )


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
    gaps = listed([f"{head} {with_interval(values)}" for head, values in gives.items()])
    flattered = [head for head, values in gives.items() if side(values) == "above"]
    text = (
        f"After {epochs_of(params, 'split')} epochs, as published and on pairs of which neither order is trained on, test accuracy is, in this order: {'; '.join(parts)}. The first less the second: "
        f"{gaps}."
    )
    if not flattered:
        return text
    most = max(flattered, key=lambda head: float(np.mean(gives[head])))
    first = f", {most} most" if len(flattered) > 1 else ""
    return (
        f"{text} The leak flatters {listed(flattered)}{first}: what is memorised is scored as if it had been generalised. A head that has learnt the task has no "
        "gap, so the leak flatters what has not generalised by then, and need not be there after the authors' 7,000 epochs."
    )
