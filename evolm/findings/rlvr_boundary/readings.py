"""Sentences of the chapter whose numbers come from a record: tables in, Markdown out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evolm.findings.rlvr_boundary import estimands, published
from evolm.lm.passk import pass_at_k_from_p

if TYPE_CHECKING:
    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams

Tables = dict[str, pd.DataFrame]
#: A lead smaller than this is no lead: at the ceiling curves tie.
MARGIN = 0.005
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
    """The first k, up to 1,024, from which the tuned model is behind by more than `MARGIN` after having led."""
    ks = np.unique(np.geomspace(1, 1024, 121).astype(int))
    rows = tables["success"]
    rows = rows[(rows["seed"] == seed) & (rows["cue"] == cue) & (rows["set"] == "test") & (rows["temperature"] == 1)]
    rows = estimands.final(rows)
    curve = {
        arm: pass_at_k_from_p(rows.loc[rows["arm"] == arm, "p"].to_numpy(float)[:, None], ks).mean(0)
        for arm in ("base", "rl")
    }
    behind = curve["base"] - curve["rl"] > MARGIN
    led = np.maximum.accumulate(curve["rl"] - curve["base"]) > MARGIN
    found = np.flatnonzero(behind & led)
    return int(ks[found[0]]) if len(found) else None


def closed_form(tables: Tables, params: RlvrBoundaryParams) -> str:
    """Where finite reinforcement sits against Bayes-optimal routing by the cue."""
    parts = []
    for cue in params.cues:
        bayes = estimands.bayes_level(tables, cue).mean()
        one, many = (estimands.by_arm(tables, cue, k)["rl"].mean() for k in (1, params.k_max))
        parts.append(f"at cue {cue:g} the formula gives {bayes:.0%}, and the tuned models have {one:.0%} at k = 1 and "
                     f"{many:.0%} at k = {params.k_max}")  # fmt: skip
    return "On these problems " + "; ".join(parts) + "."


def rare(tables: Tables, params: RlvrBoundaryParams) -> str:
    """In how many seeds the rarely used method was found or lost."""
    k, parts = params.k_max, []
    for cue in params.cues:
        wide = estimands.by_arm(tables, cue, k, "rare")
        counts = ", ".join(f"{name} in {int((wide[arm] > FOUND).sum())}" for arm, name in NAMES.items() if arm in wide)
        parts.append(
            f"at cue {cue:g} the base covers {wide['base'].mean():.0%} of them, and more than half is covered by {counts}"
        )
    return f"Problems of the rare method, {k} samples, {params.seeds} seeds: " + "; ".join(parts) + "."


NAMES = {"rl": "reinforcement", "rft": "fine-tuning on own samples"}


def damage(tables: Tables, params: RlvrBoundaryParams) -> str:
    """What the two control rewards do to the model."""
    one, many = (estimands.by_arm(tables, params.core_cue, k) for k in (1, params.k_max))
    if not {"random", "format"} <= set(one):
        return ""
    told = " and ".join(
        f"{one[arm].mean():.1%} at k = 1 and {many[arm].mean():.0%} at k = {params.k_max} with a {name}"
        for arm, name in (("random", "random reward"), ("format", "reward for format"))
    )
    return (
        f"The two control rewards end at {told}; the base has {one['base'].mean():.1%} and {many['base'].mean():.0%}. At this "
        "learning rate both do damage: group-normalised advantages are as large when the reward says nothing as when it says "
        "all. Losing coverage is therefore nothing that only a verifier's reward can do."
    )


def own_tables() -> str:
    """How clear-cut the paper's own tables are."""
    at_or_above, cells = published.base_behind()
    low, high = min(published.gaps().values()), max(published.gaps().values())
    falls = ", ".join(f"{published.LONGER[step][1][1]:g}" for step in published.LONGER)
    return (
        f"The paper's text says that the base always overtakes. Its Table 2 has reinforcement at or above the base at k = 256 "
        f"in {at_or_above} of {cells} cells, and the gap between the base's pass@256 and the tuned model's pass@1, which the text "
        f"puts above 40 points for all six algorithms, runs from {low:g} to {high:g} on its first set. What is firm is the trend "
        f"with training: {falls} % on Omni-MATH test after 150, 300 and 450 steps, from {published.BASE[1][1]:g} %. So this "
        "chapter treats the finding as a question of regime."
    )


def open_models(tables: Tables, params: RlvrBoundaryParams) -> str:
    """pass@k of open models on word problems, beside guessing."""
    if "open_models" not in tables:
        return "No open model was measured in this record."
    parts = []
    for name, rows in tables["open_models"].groupby("model", sort=False):
        value = dict(zip(zip(rows["quantity"], rows["k"], strict=True), rows["value"], strict=True))
        k = estimands.quarter(params)
        guess = value.get(("guess: answer marginal", k), float("nan"))
        parts.append(
            f"{name!s} solves {value['pass@k', 1]:.0%} of {params.model_problems} word problems with one sample and "
            f"{value['pass@k', k]:.0%} with {k}; drawing answers from the other problems' answers gives {guess:.0%} with {k}"
        )
    return "; ".join(parts) + "."
