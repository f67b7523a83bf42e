"""Sentences of the chapter that compare arms: what is sharpening, what imitation, what the controls do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evolm.findings.rlvr_boundary import estimands

if TYPE_CHECKING:
    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams

Tables = dict[str, pd.DataFrame]


def cooling(tables: Tables, params: RlvrBoundaryParams) -> str:
    """Coverage of the cooled base less reinforcement's, at the pass@1 of several temperatures that both reach."""
    rows = estimands.curves(tables, [1, params.k_max])
    rows = rows[rows["cue"] == params.core_cue]
    told = []
    for temperature in sorted(params.temperatures, reverse=True):
        found = [
            at
            for seed in params.seed_list
            if (at := _below(rows[rows["seed"] == seed], temperature, params.k_max)) is not None
        ]
        if len(found) == params.seeds:
            level, difference = np.mean(found, axis=0)
            told.append(f"{100 * difference:+.1f} points at a pass@1 of {level:.0%}".replace("-", "−"))
    return "The base's coverage less that of reinforcement, at equal pass@1: " + ", ".join(told) + "." if told else ""


def _below(rows: pd.DataFrame, temperature: float, k_max: int) -> tuple[float, float] | None:
    base = rows[(rows["arm"] == "base") & (rows["temperature"] == temperature)].set_index("k")["value"]
    path = estimands.frontier(rows[(rows["temperature"] == 1) & rows["arm"].isin(["base", "rl"])], k_max)
    if base.empty or not path[1].min() <= base[1] <= path[1].max():
        return None
    return float(base[1]), float(base[k_max] - np.interp(base[1], path[1], path[k_max]))


def imitation(tables: Tables, params: RlvrBoundaryParams) -> str:
    """pass@1 and coverage of reinforcement and of imitation in one round and in several."""
    one, most = (estimands.by_arm(tables, params.core_cue, k) for k in (1, params.k_max))
    names = {"rl": "reinforcement", "rft": "one round of imitation"}
    names |= {f"rft-{n}": f"{n} rounds" for n in params.rft_rounds if n > 1}
    told = [f"{name} {one[arm].mean():.0%} and {most[arm].mean():.0%}" for arm, name in names.items() if arm in one]
    return f"pass@1 and pass@{params.k_max} at cue {params.core_cue:g}: " + "; ".join(told) + "."


def warming(tables: Tables, params: RlvrBoundaryParams) -> str:
    """How far a higher sampling temperature restores the tuned model's coverage, and whether it was still rising."""
    rows = estimands.final(estimands.curves(tables, [params.k_max]))
    rows = rows[(rows["cue"] == params.core_cue) & (rows["arm"] == "rl")]
    by = rows.groupby("temperature")["value"].mean()
    if len(by) < 2:
        return ""
    rising = "where it was still rising" if by.idxmax() == by.index.max() else f"with its best at {by.idxmax():g}"
    steps = ", ".join(f"{value:.0%} at {temperature:g}" for temperature, value in by.items())
    return f"Sampled warmer, the tuned model covers {steps}, {rising}."


def damage(tables: Tables, params: RlvrBoundaryParams) -> str:
    """What the two control rewards do to the model, and why the loss at the core cue is something else."""
    one, most = (estimands.by_arm(tables, params.core_cue, k) for k in (1, params.k_max))
    if not {"random", "format"} <= set(one):
        return ""
    told = " and ".join(
        f"{one[arm].mean():.1%} at k = 1 and {most[arm].mean():.0%} at k = {params.k_max} with {name}"
        for arm, name in (("random", "a coin for a reward"), ("format", "a reward for form"))
    )
    text = (
        f"The two control rewards end at {told}; the base has {one['base'].mean():.1%} and {most['base'].mean():.0%}. "
        "Neither reward says what is right, and both move the model as far: advantages that are scaled within a group are as large when a coin decides, and largest for the "
        "lone failure when nearly every form is right. So the claims take these controls at the best of their measured steps."
    )
    if (hinted := max(params.cues)) == params.core_cue:
        return text
    there = estimands.by_arm(tables, hinted, params.k_max)
    return (
        f"{text} Whether such damage is what narrows at cue {params.core_cue:g} is told by the same training at cue {hinted:g}: there it goes from "
        f"{there['base'].mean():.0%} to {there['rl'].mean():.0%} at k = {params.k_max}."
    )


def perplexity(tables: Tables, params: RlvrBoundaryParams) -> str:
    """Mean log perplexity under the base, of the base's own samples, of cool ones, and of the tuned model's."""
    rows = tables["perplexity"]
    rows = rows[rows["cue"] == params.core_cue]
    nats = rows.assign(nats=np.log(rows["under_base"].astype(float))).groupby(["arm", "temperature"])["nats"].mean()
    cool = [t for arm, t in nats.index if arm == "base" and t < 1]
    malformed = 1 - rows.loc[(rows["arm"] == "base") & (rows["temperature"] == 1), "well_formed"].mean()
    base, cooled, tuned = nats["base", 1.0], nats["base", cool[0]], nats["rl", 1.0]
    return (
        f"Under the base, its own samples take {base:.3f} nats per token ({malformed:.0%} of them are malformed), its samples at temperature "
        f"{cool[0]:g} take {cooled:.3f}, and the tuned model's {tuned:.3f}: cooling alone makes up {(base - cooled) / (base - tuned):.0%} of the "
        "difference."
    )


def routing_bound(tables: Tables, params: RlvrBoundaryParams) -> str:
    """How much of the efficiency gap no policy that sees only the cue can close."""
    most = estimands.by_arm(tables, params.core_cue, params.k_max)["base"]
    bound = float((most - estimands.bayes_level(tables, params.core_cue)).mean())
    return (
        f"Of that gap {bound:.0%} is the routing bound itself: nothing that sees the cue alone can do better, whatever trains it; the "
        "rest is what training has left undone."
    )


def falls(tables: Tables, params: RlvrBoundaryParams) -> str:
    """Coverage at the checkpoints of the core cue."""
    rows = estimands.curves(tables, [params.k_max])
    rows = rows[(rows["cue"] == params.core_cue) & (rows["temperature"] == 1) & rows["arm"].isin(["base", "rl"])]
    by = rows.groupby("step")["value"].mean()
    steps = ", ".join(f"{value:.0%} after {step}" for step, value in by.items() if step)
    return f"At cue {params.core_cue:g} pass@{params.k_max} goes from {by[0]:.0%} to {steps} steps."
