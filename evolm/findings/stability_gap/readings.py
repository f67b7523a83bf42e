"""Sentences of the chapter whose numbers come from a record: tables in, Markdown out."""

from __future__ import annotations

from math import isfinite, nan
from typing import TYPE_CHECKING, Any

import pandas as pd

from evolm.findings.stability_gap import curves
from evolm.findings.stability_gap.curves import TASK, UNSEEN
from evolm.findings.stability_gap.figure_style import FACTS, setting
from evolm.findings.stability_gap.figures_map import NULL_SHARE, swept
from evolm.intervals import seed_interval
from evolm.panels import in_points, percent

if TYPE_CHECKING:
    from evolm.findings.stability_gap.parameters import StabilityGapParams

Tables = dict[str, pd.DataFrame]


def dips_of(tables: Tables, probes: tuple[str, ...], arm: str) -> pd.DataFrame:
    """Depth, recovery and what is lost, one row per seed, of an arm."""
    rows = curves.accuracy(tables, probes)
    return curves.dips(rows[rows["arm"] == arm])


def end_of(tables: Tables, probes: tuple[str, ...], arm: str) -> float:
    """Mean accuracy at the end of an arm."""
    rows = curves.accuracy(tables, probes)
    return float(curves.ends(rows[rows["arm"] == arm])["value"].mean())


def start_of(tables: Tables, probes: tuple[str, ...]) -> float:
    """Mean accuracy of the base models."""
    rows = curves.accuracy(tables, probes)
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


def fall(tables: Tables, kinds: str | tuple[str, ...], arm: str = "baseline") -> pd.DataFrame:
    """Start less lowest, and last less lowest, of one kind of question or several: a row per seed. The last is one measurement."""
    rows = curves.accuracy(tables, (kinds,) if isinstance(kinds, str) else kinds)
    rows = rows[rows["arm"] == arm]
    final = curves.whole(rows[rows["step"] == rows["step"].max()]).set_index("seed")["value"]
    found = curves.dips(rows).set_index("seed")
    start = curves.whole(rows[rows["step"] == 0]).set_index("seed")["value"]
    return found.assign(start=start, low=start - found["depth"], last=final, regained=final - start + found["depth"])


def by_rate(rows: pd.DataFrame, column: str) -> dict[Any, dict[Any, float]]:
    """Share of general text -> learning rate -> mean of a column of `rows`."""
    return {share: dict(found) for share, found in swept(rows, column).T.to_dict().items()}


def answer(tables: Tables, params: StabilityGapParams) -> str:
    """What the chapter finds, in a paragraph."""
    task, again, gone = dips_of(tables, TASK, "baseline"), fall(tables, "repeated"), fall(tables, "absent")
    depth = by_rate(curves.dips(curves.accuracy(tables, TASK)), "depth")
    shift, null = depth.get(params.residual, {}), depth.get(NULL_SHARE, {})
    top = max((rate for rate in shift if isfinite(null.get(rate, nan)) and rate > params.rate), default=None)
    higher = (
        f", and at {top / params.rate:.0f} times the rate {size(shift[top])} (the null shift: {size(null[top])})"
        if top
        else ""
    )
    sums = fall(tables, "sums", "null")
    return (
        f"**Known facts fall, and what comes back is what is read again.** At the rate after which the plain corpus ends best, medical facts that "
        f"are known and read again fall by {size(again['depth'].mean())} points and regain {size(again['regained'].mean())}. Those that nothing states "
        f"again fall by {size(gone['depth'].mean())} and regain {size(gone['regained'].mean())} by the last update. In the average over all medical questions "
        f"{size(task['depth'].mean(), 1)} points are left of the fall, since new facts rise meanwhile{higher}. Warming the learning rate up, with no new "
        f"text at all, costs addition {size(sums['depth'].mean())} points, {size(sums['regained'].mean())} of which return."
    )


def by_fate(tables: Tables, params: StabilityGapParams) -> str:
    """The baseline's fall and rise, fact by fact, by what becomes of them."""
    parts = []
    for name in (*TASK, "general kept", "general lost"):
        means = fall(tables, name).mean(numeric_only=True)
        parts.append(
            f"{FACTS[name].short} {percent(means['start'])} → {percent(means['low'])} → {percent(means['last'])}"
        )
    return f"Start, lowest and last measurement, by kind of fact: {'; '.join(parts)}."


def at_the_last(tables: Tables, params: StabilityGapParams) -> str:
    """The claim's estimand ends with the mean of three measurements; the same at the last alone."""
    found = fall(tables, UNSEEN)
    return (
        f"That estimand takes the end as the mean of the last {curves.LAST} measurements; in a curve that is still falling they lie above its lowest point. "
        f"At the last measurement alone there come back {with_interval(found['regained'])}; the lowest point lies at update {found['step'].median():.0f} of "
        f"{params.steps} in the median seed. Both kinds are in it, facts of entities that are spoken of in other relations (medical) and of "
        "entities that are never named again (general), which fall later."
    )


def without_general(tables: Tables, params: StabilityGapParams) -> str:
    """Known facts that are read again, with general text and with none: does rereading alone restore them?"""
    parts = []
    for arm, words in (("baseline", "with"), ("no general", "without")):
        found = fall(tables, "repeated", arm)
        parts.append(
            f"{words} general text by {with_interval(found['depth'])}, and regain {with_interval(found['regained'])}"
        )
    return f"In that rise are new facts. Known ones that are read again fall {'; '.join(parts)}."


def wrong_kinds(tables: Tables, params: StabilityGapParams) -> str:
    """Of wrong answers, the share that is not even of the right kind, by arm."""
    rows = tables["curve"]
    rows = rows[(rows["step"] > 0) & rows["probe"].isin(["absent", "repeated", "general lost", "general kept"])]
    wrong = rows.assign(wrong=(1 - rows["accuracy"]) * rows["items"], strange=(1 - rows["valid"]) * rows["items"])
    sums = wrong.groupby("arm")[["wrong", "strange"]].sum()
    share = (sums["strange"] / sums["wrong"].clip(lower=1e-9)).to_dict()
    return (
        f"Of the wrong answers about known facts {percent(share['baseline'])} are not even a value of the relation that the question names in the baseline, and "
        f"{percent(share['no general'])} with no general text."
    )


def loss_bump(tables: Tables, params: StabilityGapParams) -> str:
    """Does loss on medical text only fall? The largest rise between two measurements of the same run, in nats."""
    rows = tables["losses"]
    rows = rows[(rows["text"] == "medical") & rows["arm"].isin(["baseline", "all"])].sort_values("step")
    rise = rows.groupby(["arm", "seed"])["nats"].apply(lambda nats: float((nats - nats.cummin()).max()))
    return (
        f"Does it *only* fall? Within a run of the baseline it rises again by up to {rise['baseline'].mean():.3f} nats (mean over seeds of the largest "
        f"rise), with all strategies, whose filter leaves out words in no order, by {rise['all'].mean():.3f}."
    )


def falsifier(tables: Tables, params: StabilityGapParams) -> str:
    """What the share of general text does to the recovery of the task, by learning rate."""
    rows = curves.dips(curves.accuracy(tables, TASK))
    depth, rise = (by_rate(rows, column) for column in ("depth", "recovery"))
    if 0.0 not in depth:
        return ""
    some = params.residual if params.residual in depth else max(share for share in depth if share < NULL_SHARE)
    said = [
        f"at {rate:g} it falls {size(depth[0.0][rate])} and rises {size(rise[0.0][rate])} points without any, "
        f"{size(depth[some][rate])} and {size(rise[some][rate])} with {setting(some)}"
        for rate in depth[some]
    ]
    return f"The domain's task, by learning rate and share of general text: {'; '.join(said)}."
