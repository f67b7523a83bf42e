"""Sentences of the chapter whose numbers come from a record: tables in, Markdown out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from evolm.findings.stability_gap import curves
from evolm.findings.stability_gap.curves import ABILITIES, TASK, UNSEEN
from evolm.findings.stability_gap.figure_style import FACTS, setting
from evolm.findings.stability_gap.figures_map import swept
from evolm.intervals import seed_interval
from evolm.panels import in_points, listed, percent

if TYPE_CHECKING:
    from evolm.findings.stability_gap.parameters import StabilityGapParams

Tables = dict[str, pd.DataFrame]


def dips_of(tables: Tables, probes: tuple[str, ...], arm: str, *, by_kind: bool = False) -> pd.DataFrame:
    """Depth, recovery and what is lost, one row per seed, of an arm."""
    rows = curves.abilities(tables, probes) if by_kind else curves.accuracy(tables, probes)
    return curves.dips(rows[rows["arm"] == arm])


def end_of(tables: Tables, probes: tuple[str, ...], arm: str, *, by_kind: bool = False) -> float:
    """Mean accuracy at the end of an arm."""
    rows = curves.abilities(tables, probes) if by_kind else curves.accuracy(tables, probes)
    return float(curves.ends(rows[rows["arm"] == arm])["value"].mean())


def start_of(tables: Tables, probes: tuple[str, ...], *, by_kind: bool = False) -> float:
    """Mean accuracy of the base models."""
    rows = curves.abilities(tables, probes) if by_kind else curves.accuracy(tables, probes)
    return float(rows.loc[(rows["arm"] == "baseline") & (rows["step"] == 0), "value"].mean())


def size(value: float, digits: int = 0) -> str:
    """Points whose direction the sentence says: 17, or 1.7."""
    return in_points(value, digits).removeprefix("+")


def with_interval(values: pd.Series) -> str:
    """A mean in points with its 95 % interval over seeds, where there are seeds for one."""
    numbers = 100 * values.to_numpy(float)
    mean = f"{size(values.mean(), 1)} points"
    if len(numbers) < 2:
        return mean
    low, high = seed_interval(numbers)
    return f"{mean} [{size(float(low) / 100, 1)}, {size(float(high) / 100, 1)}]"


def answer(tables: Tables, params: StabilityGapParams) -> str:
    """What the chapter finds, in a paragraph."""
    task, unseen = dips_of(tables, TASK, "baseline"), dips_of(tables, UNSEEN, "baseline")
    null = dips_of(tables, ABILITIES, "null", by_kind=True)
    depth = _grid(curves.dips(curves.accuracy(tables, TASK)), "depth").get(params.residual, {})
    top = max((rate for rate in depth if rate > params.rate), default=None)
    higher = f"at {top / params.rate:.0f} times it by {size(depth[top])}; " if top else ""
    return (
        "**Here the dip is bought with the learning rate, and it is forgetting under cover of learning.** At the rate after which the plain "
        f"corpus ends best, accuracy on the domain's task falls by {size(task['depth'].mean(), 1)} points; {higher}it ends "
        f"{size(-task['lost'].mean())} above its start. Facts that nothing states again fall by {size(unseen['depth'].mean())} points all the "
        f"same, and {size(unseen['recovery'].mean())} come back: what rises is what is read again, and what is new. General ability does make "
        f"a V with no new text at all, when the learning rate alone is warmed up: {size(null['depth'].mean())} points down, "
        f"{size(null['recovery'].mean())} up again."
    )


def by_fate(tables: Tables, params: StabilityGapParams) -> str:
    """The baseline's fall and rise, fact by fact, by what becomes of them."""
    parts = []
    for name in (*TASK, "general lost", "general kept"):
        found = dips_of(tables, (name,), "baseline")
        low = start_of(tables, (name,)) - found["depth"].mean()
        parts.append(
            f"{FACTS[name].short} {percent(start_of(tables, (name,)))} → {percent(low)} → {percent(end_of(tables, (name,), 'baseline'))}"
        )
    return f"Start, lowest and end, by kind of fact: {'; '.join(parts)}."


def _grid(rows: pd.DataFrame, column: str) -> dict[Any, dict[Any, float]]:
    """Share of general text -> learning rate -> mean of a column of `rows`."""
    return {share: dict(found) for share, found in swept(rows, column).T.to_dict().items()}


def falsifier(tables: Tables, params: StabilityGapParams) -> str:
    """What the share of general text does to the recovery of the task, by learning rate."""
    rows = curves.dips(curves.accuracy(tables, TASK))
    depth, rise = (_grid(rows, column) for column in ("depth", "recovery"))
    if 0.0 not in depth:
        return ""
    some = params.residual if params.residual in depth else max(depth)
    said = [
        f"at {rate:g} it falls {size(depth[0.0][rate])} and rises {size(rise[0.0][rate])} points without any, "
        f"{size(depth[some][rate])} and {size(rise[some][rate])} with {setting(some)}"
        for rate in depth[some]
    ]
    return f"The domain's task, by learning rate and share of general text: {'; '.join(said)}."


def abilities(tables: Tables, params: StabilityGapParams) -> str:
    """General ability at the end, by kind and arm."""
    arms = {"baseline": f"the corpus as it is ({setting(params.residual)} general text)", "no general": "no general text",
            "replay": f"{setting(params.replay)} replayed", "all": "all strategies", "null": "general text alone"}  # fmt: skip
    parts = [
        f"{words}: " + ", ".join(f"{FACTS[kind].short} {percent(end_of(tables, (kind,), arm))}" for kind in ABILITIES)
        for arm, words in arms.items()
    ]
    starts = listed([f"{FACTS[kind].short} {percent(start_of(tables, (kind,)))}" for kind in ABILITIES])
    return f"Bases answer of general questions: {starts}. At the end, with {'; '.join(parts)}."


def shares(tables: Tables, params: StabilityGapParams) -> str:
    """How much of the fall in general ability the null shift has as well."""
    base, null = (dips_of(tables, ABILITIES, arm, by_kind=True) for arm in ("baseline", "null"))
    paired = base.set_index("seed")["depth"] - null.set_index("seed")["depth"]
    return (
        f"General ability (mean of three kinds) falls by {with_interval(base['depth'])} in the baseline and by {with_interval(null['depth'])} "
        f"in the null shift, which reads general text alone; the difference is {with_interval(paired)}. At the end the baseline has lost "
        f"{with_interval(base['lost'])} and the null shift {with_interval(null['lost'])}."
    )


def filtered(tables: Tables, params: StabilityGapParams) -> str:
    """What the quality filter lets through."""
    means = tables["filter"].groupby("kind")[["corpus", "chosen"]].mean().to_dict()
    parts = [
        f"{kind} {percent(means['corpus'][kind])} → {percent(means['chosen'][kind])}"
        for kind in ("clean", "junk", "wrong")
    ]
    return (
        f"The filter ranks by perplexity, from the corpus to what it chooses: {', '.join(parts)}. It sees words in no order "
        "and cannot see a wrong value, so the share of false statements rises with the share of good documents."
    )


def rates(tables: Tables, params: StabilityGapParams) -> str:
    """Depth and end of the baseline by learning rate, where the map has them."""
    rows = curves.accuracy(tables, TASK)
    depth = _grid(curves.dips(rows), "depth").get(params.residual)
    ends = _grid(curves.ends(rows), "value").get(params.residual)
    if not depth or not ends:
        return ""
    parts = [f"{rate:g}: {size(depth[rate], 1)} and {percent(ends[rate])}" for rate in depth]
    return (
        f"Points of the dip and accuracy at the end by peak learning rate, with {setting(params.residual)} general text: {'; '.join(parts)}. "
        f"The chapter's rate, {params.rate:g}, is the one after which the baseline ended best on development seeds."
    )


def real_text(tables: Tables, params: StabilityGapParams) -> str:
    """The base beside its trigram, and what becomes of both kinds of question."""
    if "text_base" not in tables:
        return ""
    nats = tables["text_base"].groupby(["text", "reader"])["nats"].mean().to_dict()
    base, trigram = nats["general", "base"], nats["general", "trigram"]
    below = (
        tables["text_base"]
        .pivot_table(index=["seed", "text"], columns="reader", values="nats")
        .xs("general", level="text")
    )
    ahead = int((below["base"] < below["trigram"]).sum())
    said = []
    for probe in ("medical", "general"):
        rows = curves.accuracy(tables, [probe], table="text_curve")
        ends = curves.ends(rows).groupby("arm")["value"].mean()
        start = rows.loc[rows["step"] == 0, "value"].mean()
        said.append(
            f"{probe} {percent(start)} → {percent(ends['baseline'])} on medical text alone, {percent(ends['replay'])} with replay, "
            f"{percent(ends['low rate'])} at a tenth of the rate, {percent(ends['null'])} on more general text"
        )
    return (
        f"The bases read held-out speeches at {base:.3f} nats per token, an interpolated trigram of the same text at {trigram:.3f} "
        f"({ahead} of {len(below)} below it). Cloze questions of four choices, from the base to the end: {'; '.join(said)}."
    )
