"""Sentences of the chapter whose numbers come from a record: tables in, Markdown out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evolm.findings.one_shot import curves, estimands
from evolm.findings.one_shot.parts import PARTS, parts

if TYPE_CHECKING:
    from evolm.findings.one_shot.parameters import OneShotParams

Tables = dict[str, pd.DataFrame]
LATENT = "latent"


def mean_level(tables: Tables, quantity: str, base: str = LATENT) -> float:
    """A quantity of the table `levels`, mean over seeds."""
    return float(curves.kept(tables["levels"], base=base, quantity=quantity)["value"].mean())


def mean_start(tables: Tables, quantity: str, base: str = LATENT) -> float:
    """A held-out quantity of the untrained base, mean over seeds."""
    return float(curves.heldout(tables, quantity, base=base, arm="base")["value"].mean())


def gate(tables: Tables, params: OneShotParams) -> str:
    """Is there something to elicit, and is it neither there already nor had by cooling?"""
    one, greedy, many = (mean_start(tables, name) for name in ("pass_at_1", "greedy", "pass_at_16"))
    return (
        f"The base answers {one:.0%} of the held-out problems right at temperature 1 and {greedy:.0%} greedily; with 16 samples "
        f"{many:.0%}. Made to open in the careful mode it answers {mean_level(tables, 'forced careful'):.0%} and "
        f"{mean_level(tables, 'forced careful, greedy'):.0%} (greedily), with no training at all. Cooled to temperature 0.2 it stays at "
        f"{mean_level(tables, 'cooled'):.0%}: its likeliest way is the sloppy one. {mean_level(tables, 'known methods'):.0%} of the "
        f"problems need a method that it has ever seen; blind search would solve {mean_level(tables, 'blind search'):.1e} per sample."
    )


#: Kind of example -> what is said of it.
KINDS = {
    "switch": "have an answer that only the careful mode gives",
    "either": "are solved by both modes",
    "unknown": "need the method that is in no corpus",
}


def spread(tables: Tables, params: OneShotParams) -> str:
    """The ten examples: how many gain, and what sets them apart."""
    rows = estimands.of(estimands.gains(tables, base=LATENT), "one")
    said = [
        f"{len(part)} {words} and gain {part['value'].mean():+.1%} on average ({part['value'].min():+.1%} to "
        f"{part['value'].max():+.1%})"
        for kind, words in KINDS.items()
        if len(part := curves.of_kind(tables, rows, kind))
    ]
    return f"Of the {len(rows)} runs on one example " + "; ".join(said) + "."


def saturation(tables: Tables, params: OneShotParams) -> str:
    """How many runs on a telling example saturate, when, and how far they had come by then."""
    chosen = {"base": LATENT, "arm": "one"}
    steps = curves.of_kind(tables, curves.saturated(tables, params.saturation, **chosen), "switch")["step"]
    if not steps.notna().any():
        return f"No run on a telling example reaches a training reward of {params.saturation:g} in {params.rl_steps} steps."
    runs = curves.of_kind(tables, curves.after_saturation(tables, params.saturation, **chosen), "switch")
    begun = runs[runs["since"] == 0].drop(columns="value")
    before = curves.gain(tables, base=LATENT, arm=["base", "one"]).merge(begun, on=[*curves.RUN, "step"])["value"]
    gained = f" By then they have gained {before.mean():+.1%}." if len(before) else ""
    return (
        f"{int(steps.notna().sum())} of {len(steps)} runs on an example that only the careful mode solves reach a training reward of "
        f"{params.saturation:g} (mean of ten steps), the median at step {steps.median():.0f} of {params.rl_steps}; {len(begun)} of them "
        f"are measured again after that.{gained}"
    )


def made_of(tables: Tables, params: OneShotParams) -> str:
    """What is form, what is elicitation and what is left."""
    found, form = (parts(tables, params, arm).set_index("part") for arm in ("one", "format"))

    def told(table: pd.DataFrame, part: str) -> str:
        value, low, high = table.loc[part, ["value", "low", "high"]]
        return f"{value:+.1%} [{low:+.1%}, {high:+.1%}]"

    turned, formed, rest = (told(found, part) for part in PARTS)
    return (
        f"One example gains {found['value'].sum():+.1%} of pass@1 on average. **Elicitation** is {turned}: the base as it was, opening "
        f"in the careful mode as often as the tuned model does. **Form** is {formed} on top: completions that end where they should. "
        f"**What is left** is {rest}: routing and execution, which one example can hone or spoil. A reward for form alone gains "
        f"{form['value'].sum():+.1%} in all, of which {told(form, PARTS[1])} is form and {told(form, PARTS[0])} is the mode."
    )


def bases(tables: Tables, params: OneShotParams) -> str:
    """Gain by kind of base, beside its pass@k."""
    rows = estimands.gains(tables)
    said = []
    for base in params.bases:
        part = rows[rows["base"] == base]
        one, full = estimands.of(part, "one", params)["value"].mean(), estimands.of(part, "full")["value"].mean()
        few, many = (mean_start(tables, name, base) for name in ("pass_at_1", "pass_at_16"))
        said.append(f"*{base}*: pass@1 {few:.0%}, pass@16 {many:.0%}; one example {one:+.1%}, full set {full:+.1%}")
    return "By kind of base. " + "; ".join(said) + "."


def ranking(tables: Tables, params: OneShotParams) -> str:
    """What the historical variance sees, and how noisy it is."""
    rows = tables["examples"]
    drawn = rows[rows["chosen"] == "draw"]
    gains = estimands.of(estimands.gains(tables, base=LATENT), "one")
    both = drawn.merge(gains[["seed", "example", "value"]], on=["seed", "example"])
    by = both.groupby("seed")[["score", "value"]]
    rank = by.apply(lambda part: part["score"].corr(part["value"], "spearman")).dropna()
    epochs = int(tables["history"].groupby("seed")["epoch"].nunique().mean()) if "history" in tables else 0
    score = (
        f"The score is the variance of an example's accuracy over up to {epochs} passes of the full-set run, with {params.group_size} "
        "rollouts each. "
    )
    if rank.empty:
        return score + "The examples of this run are too few, or their scores too alike, to be ranked."
    return score + (
        f"Over the examples drawn, its rank correlation with the gain is {rank.mean():.2f} (mean over seeds; {rank.min():.2f} to "
        f"{rank.max():.2f})."
    )
