"""Sentences on arms and on real text whose numbers come from a record: tables in, Markdown out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evolm.findings.stability_gap import curves
from evolm.findings.stability_gap.curves import ABILITIES, TASK
from evolm.findings.stability_gap.figure_style import FACTS, setting, signed
from evolm.findings.stability_gap.readings import Tables, by_rate, end_of, fall, size, start_of, with_interval
from evolm.panels import listed, percent

if TYPE_CHECKING:
    from evolm.findings.stability_gap.parameters import StabilityGapParams

#: Share of the task's questions that counts as good, for how soon an arm gets there.
GOOD = 0.8


def sooner(tables: Tables, params: StabilityGapParams) -> str:
    """When the task is first four fifths right, and what 40 % of the tokens give with strategies and without."""
    rows = curves.whole(curves.accuracy(tables, TASK))
    first = rows[rows["value"] >= GOOD].groupby(["arm", "seed"])["step"].min()
    ends = curves.ends(curves.accuracy(tables, TASK)).set_index(["arm", "seed"])["value"]
    less = ends["all, 40 %"] - ends["baseline, 40 %"]
    seeds = rows["seed"].nunique()
    reached = [
        f"{words} at update {first[arm].median():.0f} ({len(first[arm])} of {seeds} seeds)"
        for arm, words in (("all", "with all three strategies"), ("baseline", "on the plain corpus"))
        if arm in first.index.get_level_values("arm")
    ]
    said = (
        f" The task is first {percent(GOOD)} right {listed(reached)}, median of the seeds that get there."
        if reached
        else ""
    )
    return f"On 40 % of the tokens the strategies end {with_interval(less)} above the plain corpus on as many.{said}"


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
    """How much each kind of general question falls in the baseline and in the null shift."""
    parts = []
    for kind in ABILITIES:
        base, null = (fall(tables, kind, arm) for arm in ("baseline", "null"))
        parts.append(
            f"{FACTS[kind].short} {with_interval(base['depth'])} against {with_interval(null['depth'])}, of which "
            f"{size(base['regained'].mean())} and {size(null['regained'].mean())} are regained"
        )
    p = curves.whole(curves.accuracy(tables, ("repeated",), "p"))
    low = {arm: p[p["arm"] == arm].groupby("step")["value"].mean().min() for arm in ("baseline", "null")}
    return (
        f"Fall in the baseline against the null shift, by kind: {'; '.join(parts)}. Facts sit at the ceiling, where accuracy could hide what the null "
        f"shift does; the mean probability of the right answer to known medical questions is lowest at {low['baseline']:.2f} in the baseline and at {low['null']:.2f} there."
    )


def gradients(tables: Tables, params: StabilityGapParams) -> str:
    """Where the two gradients of the baseline disagree most, and what general text asks for by the end."""
    rows = tables["gradients"][tables["gradients"]["arm"].isin(["baseline", "no general"])]
    means = rows.groupby(["arm", "step"])[["cosine", "stability", "plasticity"]].mean()
    base, without = means.loc["baseline"], means.loc["no general"]
    low, high = (int(place) for place in (base["cosine"].to_numpy().argmin(), base["cosine"].to_numpy().argmax()))
    return (
        f"At the start general text asks for little (norm {base['stability'].iloc[0]:.2f}; medical text {base['plasticity'].iloc[0]:.2f}). The cosine of the "
        f"two lies between {signed(base['cosine'].iloc[low])} (update {base.index[low]}) and {signed(base['cosine'].iloc[high])} (update {base.index[high]}) in the "
        f"baseline and ends at {signed(without['cosine'].iloc[-1])} with no general text, where most is forgotten. "
        f"The norm of general text's gradient grows with its loss, to {base['stability'].iloc[-1]:.2f} and {without['stability'].iloc[-1]:.2f}."
    )


def filtered(tables: Tables, params: StabilityGapParams) -> str:
    """What the quality filter lets through."""
    means = tables["filter"].groupby("kind")[["corpus", "chosen"]].mean().to_dict()
    parts = [
        f"{kind} {percent(means['corpus'][kind])} → {percent(means['chosen'][kind])}"
        for kind in ("clean", "junk", "wrong")
    ]
    return (
        f"The filter ranks by perplexity. From the corpus to the {params.steps * params.batch:,} documents that it ranks first: {', '.join(parts)}. It sees words in "
        f"no order and hardly sees a wrong value. (With {params.epochs} passes only the first {-(-params.steps * params.batch // params.epochs):,} are read.)"
    )


def rates(tables: Tables, params: StabilityGapParams) -> str:
    """Depth and end of the baseline by learning rate, where the map has them."""
    rows = curves.accuracy(tables, TASK)
    depth = by_rate(curves.dips(rows), "depth").get(params.residual)
    ends = by_rate(curves.ends(rows), "value").get(params.residual)
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
    falls = curves.dips(curves.accuracy(tables, ["medical"], table="text_curve"))
    low, null = (falls.loc[falls["arm"] == arm, "depth"] for arm in ("baseline", "null"))
    return (
        f"The bases read held-out speeches at {base:.3f} nats per token, an interpolated trigram of the same text at {trigram:.3f} "
        f"({ahead} of {len(below)} below it). Cloze questions of four choices, from the base to the end: {'; '.join(said)}. On medical text alone "
        f"medical accuracy first falls by {with_interval(low)}; on more general text, it falls by {with_interval(null)}. "
        "That text holds no medicine, so here the null shift measures forgetting as well as re-warming."
    )


def text_loss(tables: Tables, params: StabilityGapParams) -> str:
    """Loss on medical text in the baseline of real text: start, end of warm-up, highest and last, means over seeds."""
    if "text_losses" not in tables:
        return ""
    rows = tables["text_losses"]
    means = rows[rows["text"] == "medical"].groupby(["arm", "step"])["nats"].mean()
    nats, null = means.loc["baseline"], means.loc["null"]
    warm = np.interp(params.warmup, nats.index, nats)
    return (
        f"In itself that loss is {nats.iloc[0]:.3f} nats at the start, {warm:.3f} when the rate has warmed up, {nats.max():.3f} at its highest (update "
        f"{nats.index.to_numpy()[nats.to_numpy().argmax()]}) and {nats.iloc[-1]:.3f} at the last, means over seeds; on more general text it rises to {null.max():.3f}."
    )
