"""What each claim estimates, one number per seed and arm, from the tables of a record.

Functions named by the claims take `(tables, params)` and return the frame of their kind (see `evolm.evidence`). Signs
are such that the claim predicts a positive number. Seeds are the units: groups are averaged within a seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evolm.findings.grokking_pathways import curves
from evolm.findings.grokking_pathways.curves import COSINE, DISTANCE, Reading
from evolm.findings.grokking_pathways.relations import (
    correlated,
    late_less_early,
    left_out,
    relative_changes,
    second_half,
    smoothed,
)
from evolm.findings.grokking_pathways.tables import RANDOM
from evolm.instruments.pathway_statistics import (
    correlation,
    detrended,
    difference_correlation,
    partial_correlation,
    shift_null,
)

if TYPE_CHECKING:
    from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams

Tables = dict[str, pd.DataFrame]
TWIN = ("trained", "scrambled")
METRICS = {"distance": DISTANCE, "cosine": COSINE}


def negated(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with falls counted as positive."""
    return frame.assign(value=-frame["value"])


def zero(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A control that is zero by definition, for every seed of `frame`, beside it."""
    return pd.concat([frame, pd.DataFrame({"seed": frame["seed"].unique(), "arm": name, "value": 0.0})])


# --- core ------------------------------------------------------------------------------------------------------


def order_of_generalising(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """How much later, in doublings of the step, held-out cells are mastered whose training cells are memorised late."""
    return late_less_early(tables, "tables", within=False)


def distance_falls(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """How far the normalised distance falls during the lag, and in the twin without anything to generalise."""
    return negated(curves.changes(tables, "tables", TWIN, DISTANCE))


def consistency_rises(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """How far the mean cosine of consecutive layers rises during the lag, and in the twin."""
    return curves.changes(tables, "tables", TWIN, COSINE)


def prediction(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """By how much both metrics lower the error of held-out accuracy in a seed left out, beyond step and loss."""
    return _predicted(tables, "tables")


# --- the lag ---------------------------------------------------------------------------------------------------


def gain(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """How far held-out accuracy rises after memorisation: of learnable groups, and of the random group beside them."""
    learnt = curves.changes(tables, "tables", ["trained"], "test_accuracy")
    luck = curves.changes(tables, "tables", ["trained"], "test_accuracy", [RANDOM])
    return pd.concat([learnt, luck.assign(arm="random group")])


def order_within(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The same as `order_of_generalising` among the cells of one table, mean over tables."""
    return late_less_early(tables, "tables", within=True)


def lag_grows(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """By how many doublings the lag of late cells is longer than that of early ones."""
    return late_less_early(tables, "tables", within=False, lag=True)


def harder_later(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """Held-out accuracy at memorisation and after of the group of fewest classes less that of most."""
    rows = curves.of_world(tables, "curve", "tables")
    rows = rows[rows["step"] >= rows["step"].max() / 2]
    found = []
    for arm in TWIN:
        easy, hard = (
            rows[(rows["arm"] == arm) & (rows["group"] == f"k{k}")].groupby("seed")["test_accuracy"].mean()
            for k in (min(params.classes), max(params.classes))
        )
        gap = (easy - hard).dropna()
        found.append(pd.DataFrame({"seed": gap.index, "arm": arm, "value": gap.to_numpy(float)}))
    return pd.concat(found, ignore_index=True)


def no_decay(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """Held-out accuracy gained during the lag, with weight decay and without."""
    return curves.changes(tables, "tables", ["trained", "no decay"], "test_accuracy")


def frozen_alike(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """Held-out accuracy at the end, trained less frozen routers; and trained less its scrambled twin."""
    return _against_trained(tables, "frozen router")


def dense_alike(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """Held-out accuracy at the end, trained less dense; and trained less its scrambled twin."""
    return _against_trained(tables, "dense")


# --- other readings --------------------------------------------------------------------------------------------


def characters_fall(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """How far the paper's raw distance in characters falls during the lag, over all tokens, as a share of its start."""
    reading = Reading("distance, characters", "all", "0.7")
    return negated(relative_changes(tables, "tables", list(TWIN), reading))


def all_tokens_fall(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The fall of the normalised distance of pathways that are averaged over all tokens."""
    return negated(curves.changes(tables, "tables", TWIN, Reading("distance", "all", "0.7")))


def top_k_falls(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The fall of the normalised distance of pathways of the experts that act."""
    return negated(curves.changes(tables, "tables", TWIN, Reading("distance", "answer", "top-k")))


def distance_in_run(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The fall of distance in learnable groups, and in the random group of the same run, which shares the routers."""
    learnt = curves.changes(tables, "tables", ["trained"], DISTANCE)
    luck = curves.changes(tables, "tables", ["trained"], DISTANCE, [RANDOM])
    return negated(pd.concat([learnt, luck.assign(arm="random group")]))


def c_rises(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The rise of the paper's C, the reading that its table's sign asks for."""
    return curves.changes(tables, "tables", TWIN, Reading("C"))


def outputs_agree(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The rise of the cosine of what consecutive layers' experts add."""
    return curves.changes(tables, "tables", TWIN, Reading("cosine, outputs"))


def frozen_rises(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The rise of the cosine with trained routers, and with routers that never move."""
    return curves.changes(tables, "tables", ["trained", "frozen router"], COSINE)


# --- correlations ----------------------------------------------------------------------------------------------


def raw_distance(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """-r of distance and held-out accuracy during the lag, and r of the step with that accuracy."""
    return _raw(tables, DISTANCE, -1)


def raw_cosine(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """r of the cosine and held-out accuracy during the lag, and r of the step with that accuracy."""
    return _raw(tables, COSINE, 1)


def detrended_distance(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """-r of distance and held-out accuracy given the course of time, and with the series shifted."""
    return _given_time(tables, DISTANCE, -1)


def detrended_cosine(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """r of the cosine and held-out accuracy given the course of time, and with the series shifted."""
    return _given_time(tables, COSINE, 1)


def differences(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """r of the changes of the cosine and of held-out accuracy from one measurement to the next."""
    return zero(correlated(tables, COSINE, lambda x, y, at: difference_correlation(x, y)), "none")


def loss_tracks(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """|r| of the cosine with held-out accuracy, and |r| of the smoothed training loss."""
    cosine = correlated(tables, COSINE, lambda x, y, at: abs(float(correlation(x, y))))
    loss = correlated(tables, "loss", lambda x, y, at: abs(float(correlation(smoothed(x), y))))
    return pd.concat([cosine, loss.assign(arm="loss")])


# --- load balancing, intervention, scale, other worlds ---------------------------------------------------------


def unbalanced_distance(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The fall of distance without load balancing, and in its twin."""
    return negated(curves.changes(tables, "tables", ["aux 0", "aux 0, scrambled"], DISTANCE))


def balanced_distance(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The fall of distance with ten times the load balancing, and in its twin."""
    return negated(curves.changes(tables, "tables", ["aux 0.1", "aux 0.1, scrambled"], DISTANCE))


def intervention(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """Held-out accuracy, mean over the run on a logarithmic axis: dispersion penalised, router norms, neither."""
    return curves.over_run(tables, "tables", ["penalised", "norm penalised", "trained"])


def wide_distance(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The fall of distance in a model of twice the width."""
    return negated(curves.changes(tables, "tables, wide", TWIN, DISTANCE))


def wide_cosine(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The rise of the cosine in a model of twice the width."""
    return curves.changes(tables, "tables, wide", TWIN, COSINE)


def experts_distance(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The fall of distance in a model of four times as many experts."""
    return negated(curves.changes(tables, "tables, many experts", TWIN, DISTANCE))


def experts_cosine(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The rise of the cosine in a model of four times as many experts."""
    return curves.changes(tables, "tables, many experts", TWIN, COSINE)


def deep_distance(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The fall of distance in a model of twice as many layers."""
    return negated(curves.changes(tables, "tables, deep", TWIN, DISTANCE))


def deep_cosine(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The rise of the cosine in a model of twice as many layers."""
    return curves.changes(tables, "tables, deep", TWIN, COSINE)


def modular_gain(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """How far held-out accuracy in modular arithmetic rises after memorisation, and of the random group."""
    learnt = curves.changes(tables, "modular", ["trained"], "test_accuracy")
    luck = curves.changes(tables, "modular", ["trained"], "test_accuracy", [RANDOM])
    return pd.concat([learnt, luck.assign(arm="random group")])


def modular_distance(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The fall of distance in modular arithmetic, and in its twin."""
    return negated(curves.changes(tables, "modular", TWIN, DISTANCE))


def modular_cosine(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The rise of the cosine in modular arithmetic, and in its twin."""
    return curves.changes(tables, "modular", TWIN, COSINE)


def modular_prediction(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The same as `prediction` in modular arithmetic."""
    return _predicted(tables, "modular", frozen=False)


def text_distance(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The fall of distance on the mixture over the second half of its one pass, and in its twin."""
    return negated(second_half(tables, "text", list(TWIN), DISTANCE))


def text_cosine(tables: Tables, params: GrokkingPathwaysParams) -> pd.DataFrame:
    """The rise of the cosine on the mixture over the second half of its one pass, and in its twin."""
    return second_half(tables, "text", list(TWIN), COSINE)


# --- how -------------------------------------------------------------------------------------------------------


def _predicted(tables: Tables, world: str, frozen: bool = True) -> pd.DataFrame:
    """Arms `trained`, `shifted` (the metrics of the same run at other steps) and `frozen router` (its own run's)."""
    parts = [left_out(tables, world, "trained", METRICS, shifted=shifted) for shifted in (False, True)]
    if frozen:
        parts.append(left_out(tables, world, "frozen router", METRICS))
    return pd.concat(parts, ignore_index=True)


def _raw(tables: Tables, reading: Reading, sign: int) -> pd.DataFrame:
    metric = correlated(tables, reading, lambda x, y, at: sign * float(correlation(x, y)))
    step = correlated(tables, "loss", lambda x, y, at: float(correlation(at, y)))
    return pd.concat([metric.assign(arm="metric"), step.assign(arm="step")], ignore_index=True)


def _given_time(tables: Tables, reading: Reading, sign: int) -> pd.DataFrame:
    metric = correlated(tables, reading, lambda x, y, at: sign * partial_correlation(at, x, y))
    null = correlated(
        tables, reading, lambda x, y, at: sign * float(shift_null(detrended(at, x), detrended(at, y)).null.mean())
    )
    return pd.concat([metric.assign(arm="metric"), null.assign(arm="shifted")], ignore_index=True)


def _against_trained(tables: Tables, arm: str) -> pd.DataFrame:
    """Arms `arm` and `scrambled`: the trained arm's accuracy at the end less theirs."""
    rows = curves.ends(tables, "tables", ["trained", "scrambled", arm])
    trained = rows[rows["arm"] == "trained"].set_index("seed")["value"]
    rows = rows[rows["arm"] != "trained"]
    return rows.assign(value=rows["seed"].map(trained) - rows["value"]).dropna().reset_index(drop=True)
