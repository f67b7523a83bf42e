"""What each claim estimates, one number per seed and arm, from the tables of a record.

Functions named by the claims take `(tables, params)` and return the frame of their kind (see `evolm.evidence`). An
effect is relative to the start of the same run, or to the baseline of the same seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evolm.findings.stability_gap import curves
from evolm.findings.stability_gap.curves import ABILITIES, KEPT, STATEMENTS, TASK, UNSEEN

if TYPE_CHECKING:
    from evolm.findings.stability_gap.parameters import StabilityGapParams

Tables = dict[str, pd.DataFrame]
NO_EVIDENCE = pd.DataFrame()
TEXT = "text_curve"


def chosen(rows: pd.DataFrame, column: str, *arms: str) -> pd.DataFrame:
    """seed, arm, value of some arms."""
    found = rows[rows["arm"].isin(arms)]
    return found.assign(value=found[column])[["seed", "arm", "value"]].reset_index(drop=True)


def over_baseline(values: pd.DataFrame, *arms: str, sign: int = 1) -> pd.DataFrame:
    """Each arm's value less the baseline's of its seed, times `sign`; the baseline itself is zero."""
    base = values[values["arm"] == "baseline"].set_index("seed")["value"]
    rows = chosen(values, "value", *arms, "baseline")
    return rows.assign(value=sign * (rows["value"] - rows["seed"].map(base))).dropna()


def standing(rows: pd.DataFrame, arm: str) -> pd.DataFrame:
    """No update at all, as a control: zero for each seed of an arm."""
    return chosen(rows, "seed", arm).assign(arm="base", value=0.0)


# --- core ------------------------------------------------------------------------------------------------------


def dip(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """Depth of the dip in the domain's task, and of the null shift's under the same schedule."""
    return chosen(curves.dips(curves.accuracy(tables, TASK)), "depth", "baseline", "null")


def recovery(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """How much comes back by the end of facts that no later text holds; and without any general text."""
    return chosen(curves.dips(curves.accuracy(tables, UNSEEN)), "recovery", "baseline", "no general")


def forgetting(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """What is missing of general ability at the end, with replayed general text and with none."""
    return chosen(curves.dips(curves.abilities(tables, ABILITIES)), "lost", "replay", "no general")


def strategies(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """The domain's task at the end over the plain corpus: all strategies, and that corpus, on 40 % of the tokens."""
    return over_baseline(curves.ends(curves.accuracy(tables, TASK)), "all, 40 %", "baseline, 40 %")


# --- what the paper adds ---------------------------------------------------------------------------------------


def strategies_equal(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """The domain's task at the end over the plain corpus once, with all strategies at equal tokens."""
    return over_baseline(curves.ends(curves.accuracy(tables, TASK)), "all")


def shrinkage(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """How much shallower than the baseline's the dip is, by strategy."""
    depths = curves.dips(curves.accuracy(tables, TASK)).rename(columns={"depth": "value"})
    return over_baseline(depths, "all", "epochs", "quality", "mix", sign=-1)


def task_recovery(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """How far the domain's task rises from its lowest point, with a little general text and with none."""
    return chosen(curves.dips(curves.accuracy(tables, TASK)), "recovery", "baseline", "no general")


def meanwhile(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """How far loss on medical text has fallen where the task's accuracy is lowest, and in the null shift by then."""
    if "losses" not in tables:
        return NO_EVIDENCE
    lows = curves.dips(curves.accuracy(tables, TASK)).query("arm == 'baseline'")
    return _fallen(tables["losses"], dict(zip(lows["seed"], lows["step"], strict=True)))


def _fallen(losses: pd.DataFrame, steps: Mapping[Any, float]) -> pd.DataFrame:
    """seed, arm, value: loss on medical text at the start less that at each seed's step, interpolated by line."""
    found = []
    rows = losses[(losses["text"] == "medical") & losses["arm"].isin(["baseline", "null"]) & losses["seed"].isin(steps)]
    for (seed, arm), run in rows.sort_values("step").groupby(["seed", "arm"]):
        then = np.interp(steps[seed], run["step"], run["nats"])
        found.append({"seed": seed, "arm": arm, "value": run["nats"].iloc[0] - then})
    return pd.DataFrame(found, columns=["seed", "arm", "value"])


def forms(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """Depth of the fall in questions, and in statements of the same facts."""
    asked = curves.dips(curves.accuracy(tables, [name.removesuffix(", stated") for name in STATEMENTS]))
    stated = curves.dips(curves.accuracy(tables, STATEMENTS))
    parts = {"questions": asked, "statements": stated}
    return pd.concat(chosen(rows, "depth", "baseline").assign(arm=name) for name, rows in parts.items())


def spared(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """What of the replayed kinds of general ability is missing at the end."""
    return chosen(curves.dips(curves.abilities(tables, KEPT)), "lost", "replay", "no general")


PEAK = (2e-3, 4e-3)
#: The arms of the map at the peak rate of pre-training, and at twice that.
AT_PEAK, NULL_AT_PEAK = f"residual 0.05, rate {PEAK[0]:g}", f"null, rate {PEAK[0]:g}"
ABOVE, ABOVE_WITHOUT = f"residual 0.05, rate {PEAK[1]:g}", f"residual 0, rate {PEAK[1]:g}"


def dip_at_peak(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """Depth of the task's dip at the peak rate of pre-training, and of the null shift's at that rate."""
    return chosen(curves.dips(curves.accuracy(tables, TASK)), "depth", AT_PEAK, NULL_AT_PEAK)


def recovery_above(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """How far the task rises from its lowest point at twice that rate, with a little general text and with none."""
    return chosen(curves.dips(curves.accuracy(tables, TASK)), "recovery", ABOVE, ABOVE_WITHOUT)


# --- what else could make it -----------------------------------------------------------------------------------


def rewarming(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """Depth of the dip in general ability when nothing but the learning rate changes."""
    rows = chosen(curves.dips(curves.abilities(tables, ABILITIES)), "depth", "null")
    return pd.concat([rows, standing(rows, "null")])


def annealing(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """How far the task rises from its lowest point under the cosine, and at a constant rate."""
    return chosen(curves.dips(curves.accuracy(tables, TASK)), "recovery", "baseline", "constant")


def fresh_state(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """Depth of the task's dip with a fresh optimiser, and with the state that pre-training left."""
    return chosen(curves.dips(curves.accuracy(tables, TASK)), "depth", "baseline", "kept state")


def warming_up(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """Depth of the task's dip without warm-up, and with it."""
    return chosen(curves.dips(curves.accuracy(tables, TASK)), "depth", "no warm-up", "baseline")


def exposures(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """The task at the end over the baseline, with good documents that state as much as the baseline's do."""
    return over_baseline(curves.ends(curves.accuracy(tables, TASK)), "quality, diluted")


# --- real text -------------------------------------------------------------------------------------------------


def text_dip(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """Depth of the dip in medical cloze questions, and of the null shift's."""
    return chosen(curves.dips(curves.accuracy(tables, ["medical"], table=TEXT)), "depth", "baseline", "null")


def text_forgetting(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """What is missing of general cloze accuracy at the end, with replay and with none."""
    return chosen(curves.dips(curves.accuracy(tables, ["general"], table=TEXT)), "lost", "replay", "baseline")


def text_loss(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """How far loss on medical text has fallen when the learning rate has warmed up."""
    if "text_losses" not in tables:
        return NO_EVIDENCE
    losses = tables["text_losses"]
    return _fallen(losses, dict.fromkeys(losses["seed"].unique(), float(params.warmup)))
