"""Sentences of the chapter whose numbers come from a record: tables in, Markdown out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evolm.findings.one_shot import curves, estimands
from evolm.findings.one_shot.parts import PARTS, by_run, parts
from evolm.intervals import seed_interval

if TYPE_CHECKING:
    from evolm.findings.one_shot.parameters import OneShotParams

Tables = dict[str, pd.DataFrame]
LATENT = "latent"
#: Above this probability of the careful mode it counts as turned; runs end far from it on either side.
TURNED = 0.5
#: Clipping that acts on a smaller share of tokens explains nothing.
NEVER = 1e-3


def mean_level(tables: Tables, quantity: str, base: str = LATENT) -> float:
    """A quantity of the table `levels`, mean over seeds."""
    return float(curves.kept(tables["levels"], base=base, quantity=quantity)["value"].mean())


def mean_start(tables: Tables, quantity: str, base: str = LATENT) -> float:
    """A held-out quantity of the untrained base, mean over seeds."""
    return float(curves.heldout(tables, quantity, base=base, arm="base")["value"].mean())


def mean_end(tables: Tables, quantity: str, arm: str, kind: str | None = None) -> float:
    """A held-out quantity of an arm on the base `latent` at the last step, mean over its runs, or those on a kind of example."""
    rows = curves.final(curves.heldout(tables, quantity, base=LATENT, arm=arm))
    return float((rows if kind is None else curves.of_kind(tables, rows, kind))["value"].mean())


def turned(tables: Tables, arm: str = "one") -> pd.DataFrame:
    """Runs of an arm on the base `latent` with their gain, and the probability of the careful mode at the last step."""
    rows = estimands.of(estimands.gains(tables, base=LATENT), arm)
    return rows.merge(tables["inside"][[*curves.RUN, "step", "careful"]], on=[*curves.RUN, "step"])


def answer(tables: Tables, params: OneShotParams) -> str:
    """What the chapter finds, in three sentences."""
    runs = curves.of_kind(tables, turned(tables), "switch")
    followed = curves.of_kind(
        tables, curves.after_saturation(tables, params.saturation, base=LATENT, arm="one"), "switch"
    )
    later = (
        f" Once it is solved nothing more follows ({curves.final(followed)['value'].mean():+.1%})."
        if len(followed)
        else ""
    )
    return (
        "**Here one example does one thing to other problems: it turns a switch that they all share.** It does so where only the "
        f"reliable way solves the example ({int((runs['careful'] > TURNED).sum())} of {len(runs)} such runs): pass@1 goes from "
        f"{mean_start(tables, 'pass_at_1'):.0%} to {mean_end(tables, 'pass_at_1', 'one', 'switch'):.0%}, about as far as forcing the "
        f"switch with no training at all ({mean_level(tables, 'forced careful'):.0%}); the full set reaches "
        f"{mean_end(tables, 'pass_at_1', 'full'):.0%}.{later} Other examples carry next to nothing over, and so do telling ones on base models "
        "that have the skill and no switch."
    )


def greedily(tables: Tables, params: OneShotParams) -> str:
    """The paper's own measure on examples like the paper's."""
    rows = curves.of_kind(tables, curves.final(curves.heldout(tables, "greedy", base=LATENT, arm="one")), "switch")
    forced = curves.kept(tables["levels"], base=LATENT, quantity="forced careful, greedy").set_index("seed")["value"]
    known = tables["examples"][tables["examples"]["chosen"] == "draw"]
    runs, cannot = (len(part) for part in (known, known[known["kind"] != "switch"]))
    same = int((rows["value"] - rows["seed"].map(forced)).abs().lt(1e-9).sum())
    return (
        f"The draw makes the verdict nearly certain: {cannot} of {runs} examples cannot turn the mode, so the mean over all cannot reach the "
        "full set. It does not answer the paper, whose examples were picked and whose answers were decoded greedily. Greedily a telling example "
        f"ends at {rows['value'].mean():.0%}, the full set at {mean_end(tables, 'greedy', 'full'):.0%} and the untrained base with the mode "
        f"forced at {forced.mean():.0%}; {same} of {len(rows)} runs equal the last exactly. No claim was made about this beforehand."
    )


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


def mechanism(tables: Tables, params: OneShotParams) -> str:
    """The gain follows from the mode: how many runs turned it, and the telling ones that did not."""
    runs = turned(tables)
    yes, no = runs[runs["careful"] > TURNED], runs[runs["careful"] <= TURNED]
    said = (
        f"{len(yes)} of {len(runs)} runs end with the careful mode turned (all above {yes['careful'].min():.0%}) and gain "
        f"{yes['value'].mean():+.1%}; the others end at or below {no['careful'].max():.0%} and gain {no['value'].mean():+.1%}."
        if len(yes) and len(no)
        else f"{len(yes)} of {len(runs)} runs end with the careful mode turned; the mean gain is {runs['value'].mean():+.1%}."
    )
    failed = curves.of_kind(tables, no, "switch")
    for run in failed.itertuples():
        seed = tables["levels"][(tables["levels"]["seed"] == run.seed) & (tables["levels"]["base"] == LATENT)]
        level = seed.set_index("quantity")["value"]
        said += (
            f" A telling example failed in seed {run.seed} (number {run.example}, {run.value:+.1%}): what is telling follows from the task, "
            "whether it tells *this* base something from what the base has learnt. With the mode forced that base answers "
            f"{level['forced careful, greedy']:.0%} greedily, of {level['known methods']:.0%} whose method it knows."
        )
    return said


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
    if len(runs):
        change = curves.final(runs)["value"]
        gained += (
            f" By the last step {int((change < 0).sum())} of them have lost a little (median {change.median():+.1%}) and the best has won "
            f"{change.max():+.1%}: once the mode is turned, the example has nothing more to share with other problems."
        )
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

    runs = by_run(tables)
    both = runs.groupby("seed")[[PARTS[1], PARTS[2]]].mean().sum(axis=1)
    low, high = seed_interval(both.to_numpy(float), 0.95) if len(both) > 1 else (both.iloc[0], both.iloc[0])
    kinds = curves.of_kind(tables, runs, "switch")[PARTS[0]].mean()
    return (
        f"One example gains {found['value'].sum():+.1%} of pass@1 on average. **Elicitation** is {told(found, PARTS[0])}: the base as it was, "
        f"opening in the careful mode as often as the tuned model does; of telling examples alone it is {kinds:+.1%}. **Form** is "
        f"{told(found, PARTS[1])} on top: completions that end where they should. **What is left**, routing and execution, is "
        f"{told(found, PARTS[2])}: no effect is seen on average. Form is measured on one sample per prompt, whose noise enters these two with "
        f"opposite signs; together they are {both.mean():+.1%} [{float(low):+.1%}, {float(high):+.1%}]. A reward for form alone gains "
        f"{form['value'].sum():+.1%} in all, of which {told(form, PARTS[1])} is form and {told(form, PARTS[0])} is the mode. Intervals are "
        "guarded against skew over few seeds, and wide for it."
    )


def supervised(tables: Tables, params: OneShotParams) -> str:
    """Shown worked out against reinforced, by kind of example."""
    rows = estimands.gains(tables, base=LATENT)
    said = []
    for kind, words in (("switch", "telling examples"), ("either", "examples that both modes solve")):
        shown, paid = (
            curves.of_kind(tables, estimands.of(rows, arm, params), kind)["value"] for arm in ("worked", "one")
        )
        if len(shown):
            said.append(f"{shown.mean():+.1%} against {paid.mean():+.1%} on {words}")
    return (
        "Worked out against reinforced: "
        + "; ".join(said)
        + ". A worked solution names the mode, whatever the example."
    )


def bases(tables: Tables, params: OneShotParams) -> str:
    """Gain by kind of base, beside its pass@k."""
    rows = estimands.gains(tables)
    said = []
    for base in params.bases:
        part = rows[rows["base"] == base]
        one, full = estimands.of(part, "one", params)["value"].mean(), estimands.of(part, "full")["value"].mean()
        few, many, most = (mean_start(tables, f"pass_at_{k}", base) for k in (1, 16, 256))
        said.append(
            f"*{base}*: pass@1 {few:.0%}, pass@16 {many:.0%}, pass@256 {most:.0%}; one example {one:+.1%}, full set {full:+.1%}"
        )
    told = "By kind of base. " + "; ".join(said) + "."
    if "scattered" in params.bases:
        rewards = curves.final(curves.training_reward(tables, base="scattered", arm="one"))["value"]
        told += (
            f" On *scattered* the example itself is learnt ({int((rewards >= params.saturation).sum())} of {len(rewards)} runs end with a "
            f"training reward above {params.saturation:g}), and nothing carries over."
        )
    return told + "".join(_switched(tables, params, base) for base in ("noisy", "low-cue") if base in params.bases)


def _switched(tables: Tables, params: OneShotParams, base: str) -> str:
    """What one example does to mode and routing of a further base that has the switch."""
    rows = curves.kept(tables["inside"], base=base, arm=["base", "one"])
    before, after = rows[rows["arm"] == "base"], curves.final(estimands.of(rows, "one", params))
    return (
        f" *{base}* has the switch as well: one example brings the careful mode to {after['careful'].mean():.0%}, and the method that is "
        f"needed is announced with probability {after['right_style'].mean():.0%}, before {before['right_style'].mean():.0%}."
    )


def ranking(tables: Tables, params: OneShotParams) -> str:
    """What the historical variance sees, and how noisy it is."""
    rows = tables["examples"]
    drawn = rows[rows["chosen"] == "draw"]
    gains = estimands.of(estimands.gains(tables, base=LATENT), "one")
    both = drawn.merge(gains[["seed", "example", "value"]], on=["seed", "example"])
    by = both.groupby("seed")[["score", "value"]]
    rank = by.apply(lambda part: part["score"].corr(part["value"], "spearman")).dropna()
    telling = curves.of_kind(tables, both.drop(columns="kind"), "switch").groupby("seed")[["score", "value"]]
    within = telling.apply(lambda part: part["score"].corr(part["value"], "spearman")).dropna()
    epochs = int(tables["history"].groupby("seed")["epoch"].nunique().mean()) if "history" in tables else 0
    score = (
        f"The score is the variance of an example's accuracy over up to {epochs} passes of the full-set run, with {params.group_size} "
        "rollouts each. "
    )
    if rank.empty:
        return score + "The examples of this run are too few, or their scores too alike, to be ranked."
    return score + (
        f"Over the examples drawn, its rank correlation with the gain is {rank.mean():.2f} (mean over seeds; {rank.min():.2f} to "
        f"{rank.max():.2f})" + (f"; among telling examples alone it is {within.mean():.2f}." if len(within) else ".")
    )


def clipped(tables: Tables, params: OneShotParams) -> str:
    """Whether clipping acted at all in the runs on coin tosses; nothing where a record has none."""
    rows = curves.kept(tables["training"], base=LATENT, arm="random-updates")
    if rows.empty:
        return ""
    share = rows["clip_fraction"].mean()
    idle = ", so that its bias could not act" if share < NEVER else ""
    return f" (clipping acted on {share:.1%} of their tokens{idle})"
