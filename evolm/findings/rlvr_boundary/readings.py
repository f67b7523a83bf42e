"""Sentences of the chapter whose numbers come from a record: tables in, Markdown out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evolm.findings.rlvr_boundary import estimands, published
from evolm.findings.rlvr_boundary.base import RARE
from evolm.findings.rlvr_boundary.figure_style import bayes, world
from evolm.lm.passk import pass_at_k_from_p

if TYPE_CHECKING:
    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams

Tables = dict[str, pd.DataFrame]
FOUND = 0.5


def gate(tables: Tables, params: RlvrBoundaryParams) -> str:
    """Is the base in the regime where the question makes sense, and above what needs no model?"""
    cue, k = params.core_cue, params.k_max
    one, many = (estimands.by_arm(tables, cue, n)["base"].mean() for n in (1, k))
    rows = tables["levels"]
    rows = rows[(rows["set"] == "test") & (rows["cue"] == cue)]
    blind, routed = (
        pass_at_k_from_p(rows[name].to_numpy(float), k).mean() for name in ("blind_search", "random_routing")
    )
    return (
        f"At cue {cue:g} the base solves {one:.0%} of the held-out problems with one sample and {many:.0%} with {k}. "
        f"Blind search through well-formed chains would reach {blind:.2%} with {k} samples, so the base is {many / blind:,.0f} "
        f"times above it. But a program that knows all methods and picks one at random would reach {routed:.0%}: what the "
        "base has is the methods, what it lacks is which one to use. The last method is in no corpus at all, so a share of "
        "the problems is out of reach for base and reinforcement alike."
    )


def crossover(tables: Tables, params: RlvrBoundaryParams) -> str:
    """At which k the curves of base and tuned model cross, per cue."""
    parts = []
    for cue in params.cues:
        at = [k for seed in params.seed_list if (k := crossing_k(tables, seed, cue)) is not None]
        some = f"in {len(at)} of {params.seeds} seeds" if len(at) < params.seeds else "in every seed"
        where = f"at k = {min(at)} to {max(at)}" if at and min(at) < max(at) else f"at k = {at[0]}" if at else ""
        parts.append(
            f"at cue {cue:g} they cross {some}, {where}" if at else f"at cue {cue:g} they do not cross up to 1,024"
        )
    return "With a margin of half a point, " + "; ".join(parts) + "."


def crossing_k(tables: Tables, seed: int, cue: float) -> int | None:
    """Where the curves of one seed's base and tuned model cross, if they do up to k = 1,024."""
    rows = estimands.curves(tables, estimands.KS, seed=seed, cue=cue, temperature=1, arm=["base", "rl"])
    base, tuned = (rows[rows["arm"] == arm] for arm in ("base", "rl"))
    return estimands.crossing_k(base["value"].to_numpy(), estimands.final(tuned)["value"].to_numpy())


def closed_form(tables: Tables, params: RlvrBoundaryParams) -> str:
    """Where finite reinforcement sits against Bayes-optimal routing by the cue."""
    parts = []
    for cue in params.cues:
        formula = estimands.bayes_level(tables, cue).mean()
        one, many = (estimands.by_arm(tables, cue, k)["rl"].mean() for k in (1, params.k_max))
        parts.append(
            f"at cue {cue:g} the formula gives {formula:.0%}, and the tuned models have {one:.0%} at k = 1 and {many:.0%} at "
            f"k = {params.k_max}"
        )
    right, wrong = routed(tables, params)
    return (
        f"On these problems {'; '.join(parts)}. At cue {params.core_cue:g} that is {right[0]:.0%} at one sample on the problems that "
        f"the formula solves, and {wrong[0]:.1%} on the others, of which {wrong[1]:.0%} are still found with {params.k_max} samples: "
        "what finite training has not yet unlearnt."
    )


def routed(tables: Tables, params: RlvrBoundaryParams) -> tuple[tuple[float, float], tuple[float, float]]:
    """pass@1 and pass@k_max of the tuned model at the core cue: on problems that Bayes routing solves, and on others."""
    rows = estimands.final(tables["success"].query("arm == 'rl' and temperature == 1 and set == 'test'"))
    rows = rows[rows["cue"] == params.core_cue].merge(
        tables["levels"][["seed", "cue", "set", "problem", "bayes"]], on=["seed", "cue", "set", "problem"]
    )
    found = []
    for solved in (True, False):
        p = rows.loc[rows["bayes"] == solved, "p"].to_numpy(float)
        found.append((float(p.mean()), float(pass_at_k_from_p(p, params.k_max).mean())))
    return found[0], found[1]


def rare(tables: Tables, params: RlvrBoundaryParams) -> str:
    """In how many seeds the rarely used method was found, what lies outside the base there, and what the formula says."""
    threshold = bayes(params.core_cue).thresholds[RARE]  # of the prior alone, so of no cue in particular
    k, parts = params.k_max, []
    for cue in params.cues:
        wide = estimands.by_arm(tables, cue, k, "rare")
        counts = " and ".join(
            f"{name} in {int((wide[arm] > FOUND).sum())} of {len(wide)} seeds"
            for arm, name in NAMES.items()
            if arm in wide
        )
        sets = estimands.solvable_sets(tables, params, cue, "rare").groupby("arm")[["other_only", "base_only"]].mean()
        alone, again = float(sets["other_only"]["rl"]), float(sets["base_only"]["base"])
        parts.append(
            f"- at cue {cue:g} the base covers {wide['base'].mean():.0%} of them with {k} samples; {counts} end above one half; "
            f"{alone:.0%} are solved by the tuned model alone, where a second draw of the base gives "
            f"{again:.0%}"
        )
    return (
        f"Below cue {threshold:.2f} the formula routes away from the rare method, so that losing it is the optimum; above, it is "
        "worth using, and chance decides whether training samples it in time. Problems of the rare method:\n\n"
        + "\n".join(parts)
    )


NAMES = {"rl": "reinforcement", "rft": "fine-tuning on own samples"}


def outside_of_all(tables: Tables, params: RlvrBoundaryParams) -> str:
    """What the tuned model could at most solve alone among all problems: too little for that question to be open."""
    rows = tables["success"].query("arm == 'base' and temperature == 1 and set == 'test'")
    rows = rows[rows["cue"] == params.core_cue].merge(
        tables["levels"][["seed", "cue", "set", "problem", "method"]], on=["seed", "cue", "set", "problem"]
    )
    s = pass_at_k_from_p(rows["p"].to_numpy(float), params.k_max)
    absent = rows["method"].to_numpy() == world().absent
    room = float((np.where(absent, 0.0, 1 - s) - s * (1 - s)).mean())
    return (
        f"Of all problems a model that carries out every known method without a fault would have {room:.1%} to itself beyond what a "
        "second draw of the base gives: the base covers most of what it could ever solve. So the claim is judged on problems of the "
        "rare method (below), where there is room."
    )


def valid(tables: Tables, params: RlvrBoundaryParams) -> str:
    """Whether right answers rest on right reasoning."""
    rows = tables["perplexity"]
    right, sound = int(rows["correct"].sum()), int((rows["correct"] & rows["valid"]).sum())
    return (
        f"Of {right:,} right answers among {len(rows):,} graded samples of all arms, {sound:,} also announce the right method and have "
        "every step right. An answer here is its own reasoning, so counting valid reasoning only (CoT-Pass@K) changes little or nothing."
    )


def own_tables() -> str:
    """How clear-cut the paper's own tables are."""
    at_or_above, cells = published.base_behind()
    ceiling = published.base_behind_at_the_ceiling()
    (low, high), (low_train, high_train) = published.gaps(1), published.gaps(0)
    falls = ", ".join(f"{published.LONGER[step][1][1]:g}" for step in published.LONGER)
    return (
        f"The paper's tables are less clear-cut than its headline. In Table 2, at k = 256, reinforcement is at or above the base in "
        f"{at_or_above} of {cells} cells: {ceiling} on MATH500, where the base has {published.BASE[2][1]:g} % already, the others on "
        "Omni-MATH by less than a point. At this k these are ties and not overtakings. The gap between the base's pass@256 and the "
        f"tuned model's pass@1 is {low:g} to {high:g} points on Omni-MATH test and {low_train:g} to {high_train:g} on its training "
        f"set. What is firm is the trend with training: {falls} % on Omni-MATH test after 150, 300 and 450 steps, from "
        f"{published.BASE[1][1]:g} %. So this chapter treats the finding as a question of regime."
    )


def open_models(tables: Tables, params: RlvrBoundaryParams) -> str:
    """pass@k of open models on their problems, beside guessing."""
    if "open_models" not in tables:
        return "No open model was measured in this record."
    rows, k = tables["open_models"], estimands.quarter(params)
    guesses = rows.loc[(rows["quantity"] == "guess: answer marginal") & (rows["k"] == k), "value"]
    parts = []
    for name, part in rows[rows["quantity"] == "pass@k"].groupby("model", sort=False):
        told: dict[Any, Any] = part.set_index("k")[["value", "low", "high"]].to_dict("index")
        parts.append(
            f"{name!s} solves {told[1]['value']:.0%} [{told[1]['low']:.0%}, {told[1]['high']:.0%}] of "
            f"{params.model_problems} problems with one sample and {told[k]['value']:.0%} "
            f"[{told[k]['low']:.0%}, {told[k]['high']:.0%}] with {k}"
        )
    guess = (
        f" Answers drawn from those of the other problems reach {guesses.iloc[0]:.0%} with {k}." if len(guesses) else ""
    )
    return "; ".join(parts) + f".{guess} The intervals are over problems."
