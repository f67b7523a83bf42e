"""Sentences on what the metrics tell of held-out accuracy, and on what decides the claims. Tables in, Markdown out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evolm import judging
from evolm.findings.grokking_pathways import FINDING, curves, estimands
from evolm.findings.grokking_pathways.curves import COSINE, DISTANCE, Reading
from evolm.findings.grokking_pathways.readings_words import (
    Tables,
    by_arm,
    less,
)
from evolm.findings.grokking_pathways.relations import correlated
from evolm.instruments.pathway_prediction import held_out_errors
from evolm.instruments.pathway_statistics import correlation, partial_correlation, pooled_shift_null, swapped_null
from evolm.intervals import seed_interval
from evolm.panels import listed
from evolm.verdict import Verdict, judge
from evolm.wording import number, side, with_interval

if TYPE_CHECKING:
    from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams

WORLD = "tables"
#: A correlation below this is called weak: it explains less than a tenth of what varies.
WEAK = 0.3


def correlations(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Raw r of both metrics and of the step itself with held-out accuracy over the lag."""
    cosine, distance = (by_arm(f(tables, params)) for f in (estimands.raw_cosine, estimands.raw_distance))
    if not {"metric", "step"} <= set(cosine) or "metric" not in distance:
        return ""
    text = (
        f"Over each group's own lag, held-out accuracy has r = {with_interval(cosine['step'])} with the step itself, which knows nothing "
        f"of the model; {with_interval(cosine['metric'])} with consistency; and {with_interval(distance['metric'])} with "
        "the distance, its sign turned so that the paper's would be positive. The paper's r are .93 to .99, over four to "
        "six checkpoints, as its rank correlations imply."
    )
    found = [("consistency", less(cosine, "metric", "step")), ("the distance", less(distance, "metric", "step"))]
    words = {"above": "is higher", "below": "is lower", "alike": "is not told from it"}
    parts = [f"that of {name} {words[side(gap)]} ({with_interval(gap)})" for name, gap in found if side(gap)]
    return f"{text} Beside the step's r, {listed(parts)}." if parts else text


def given_time(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """What is left of the correlations without the course of time, and whether seeds fit their own accuracy best."""
    parts, left = [], {}
    for name, reading, estimate in (
        ("consistency", COSINE, estimands.detrended_cosine), ("distance", DISTANCE, estimands.detrended_distance)
    ):  # fmt: skip
        values = by_arm(estimate(tables, params)).get("metric")
        if values is not None:
            parts.append(f"{name} {with_interval(values)}{_by_shifts(tables, reading)}")
            left[name] = values
    if not parts:
        return ""
    text = (
        f"Given the step, its logarithm and the square of that, r over each group's own lag is: {'; '.join(parts)} (signs "
        "as above). Of series moved round in time the mean r is zero by construction; p is the share of such moves, over seeds and "
        "groups, that give as much, and is on the small side, since the groups of a seed share its routers."
    )
    changes = by_arm(estimands.differences(tables, params)).get("trained")
    if changes is not None:
        text += f" The changes of consistency and accuracy from one measurement to the next have r = {with_interval(changes)}."
    return " ".join(part for part in (text, _swapped(tables), _beyond_time(left)) if part)


def _by_shifts(tables: Tables, reading: Reading) -> str:
    """p of r given time, pooled over seeds and groups, each moved by its own amount; empty where none has an r."""
    rows = curves.joined(tables, WORLD, "trained", {"metric": reading})
    runs = []
    for _, run in rows.groupby(["group", "seed"]):
        step, metric, accuracy = (run[column].to_numpy(float) for column in ("step", "metric", "accuracy"))
        if len(run) >= 2 * curves.FEWEST and np.isfinite(partial_correlation(step, metric, accuracy)):
            runs.append((step, metric, accuracy))
    return f" (p = {number(pooled_shift_null(runs).p)})" if runs else ""


def _swapped(tables: Tables) -> str:
    """Raw r of a seed's metric with its own accuracy and with that of other seeds, mean over groups."""
    parts = []
    for metric, name, sign in (("cosine", "consistency", 1), ("distance", "the distance", -1)):
        own, others, p = [], [], []
        for group in _common(tables):
            x, y = (group.pivot(index="run", columns="step", values=of).to_numpy(float) for of in (metric, "accuracy"))
            r = sign * correlation(x[:, None], y[None])  # (run, run): metric of one, accuracy of the other
            if np.isfinite(r).all():
                own.append(r.diagonal().mean())
                others.append(r[~np.eye(len(r), dtype=bool)].mean())
                p.append(number(swapped_null(x, y).p))
        if p:
            mean, swapped = (number(float(np.mean(values))) for values in (own, others))
            parts.append(f"{name} {mean} and {swapped} (p by swapping seeds, group by group: {', '.join(p)})")
    if not parts:
        return ""
    return (
        "Over the lag that all seeds have in common, the raw r with a seed's own accuracy and with that of *other* seeds, which is "
        f"the course of time alone, is: {'; '.join(parts)}."
    )


def _beyond_time(left: dict[str, pd.Series]) -> str:
    """Which metrics have a relation given time, and how strong that of the others can be; nothing for one seed."""
    if not all(side(values) for values in left.values()):
        return ""
    shown = [name for name, values in left.items() if side(values) == "above"]
    rest = [name for name in left if name not in shown]
    parts = [f"{listed(shown)} {_has(shown)} a relation with accuracy that these seeds show"] if shown else []
    if rest:
        most = max(float(seed_interval(left[name].to_numpy(float))[1]) for name in rest)
        relation = "at most a weak relation" if most < WEAK else "no relation that these seeds show"
        parts.append(f"{listed(rest)} {_has(rest)} {relation} (r below {number(most)}, by the intervals)")
    return f"Beyond the course of time, {'; '.join(parts)}."


def _has(items: list[str]) -> str:
    return "have" if len(items) > 1 else "has"


def _common(tables: Tables, *, levelled: bool = False) -> Iterator[pd.DataFrame]:
    """Rows of each group over the lag that all its seeds have in common, as `relations.left_out` takes them.

    Columns run, step, accuracy, loss, distance, cosine. With `levelled` metrics are less their mean over the first five
    measurements of each seed's own lag. Groups of fewer than three seeds are left out.
    """
    rows = curves.joined(tables, WORLD, "trained", estimands.METRICS)
    names = list(estimands.METRICS)
    if levelled and len(rows):
        rows[names] -= rows.groupby(["group", "seed"])[names].transform(
            lambda values: values.iloc[: curves.FEWEST].mean()
        )
    for _, group in rows.groupby("group"):
        start = group.groupby("seed")["step"].min().max()
        common = group[group["step"] >= start].rename(columns={"seed": "run"})
        points = common.groupby("run").size()
        if len(points) >= 3 and points.min() >= curves.FEWEST:
            yield common


def loss(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Whether training loss tracks held-out accuracy less well than consistency does."""
    found = by_arm(estimands.loss_tracks(tables, params))
    if not {"trained", "loss"} <= set(found):
        return ""
    raw = correlated(tables, "loss", lambda x, y, at: abs(float(correlation(x, y)))).set_index("seed")["value"]
    text = (
        f"|r| with held-out accuracy, over each group's own lag, is {with_interval(raw)} for the loss of training samples, {with_interval(found['loss'])} "
        f"for its moving average, and {with_interval(found['trained'])} for consistency. The paper says that training loss "
        "does not track: .04 to .79, and .25 to .87 for its moving average."
    )
    words = {
        "above": "Here, too, consistency tracks better than the averaged loss does.",
        "below": "Here the averaged loss, which costs nothing, tracks better.",
        "alike": "These seeds do not tell consistency and the averaged loss apart.",
        "": "",
    }
    return f"{text} {words[side(less(found, 'trained', 'loss'))]}".strip()


def prediction(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """By how much both metrics lower the error of a prediction for a seed that was left out."""
    found = by_arm(estimands.prediction(tables, params))
    if "trained" not in found:
        return "Predicting a seed from others needs three seeds or more."
    parts = [
        f"{with_interval(found[arm], 4)} for {words}"
        for arm, words in (
            ("shifted", "metrics of the same run at other steps, which keep the seed's level and lose its timing"),
            ("frozen router", "those of router weights that never learn"),
        )
        if arm in found
    ]
    text = (
        "Added to the step and the averaged loss, do both metrics improve a prediction that is learnt from other seeds? Without "
        f"them it errs by {with_interval(_left_out(tables)['baseline_error'], 4)} of accuracy on the seed left out, over the lag "
        f"that all seeds have in common. With them the error falls by {with_interval(found['trained'], 4)}; below zero it grows"
    )
    beside = f". Beside it: {'; and '.join(parts)}." if parts else "."
    words = {
        "above": "They help.",
        "below": "They make it worse.",
        "alike": "These seeds do not tell that from no help.",
        "": "",
    }
    levelled = _left_out(tables, levelled=True)["difference"]
    return (
        f"{text}{beside} {words[side(found['trained'])]} Levels differ between seeds: with each metric less its mean over the "
        f"first five measurements of its seed's own lag it falls by {with_interval(levelled, 4)} (exploratory)."
    )


def _left_out(tables: Tables, *, levelled: bool = False) -> pd.DataFrame:
    """Seed -> baseline_error and difference, in accuracy, mean over groups."""
    errors = [
        held_out_errors(group, list(estimands.METRICS), time="each") for group in _common(tables, levelled=levelled)
    ]
    return pd.concat(errors).groupby("run")[["baseline_error", "difference"]].mean()


def specific(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Each core claim: specific, shown by a control as well, too small, or undecided and what would decide it."""
    if not len(tables.get("curve", pd.DataFrame())):
        return ""
    if judging.has_development_seeds(params):
        return "These are development seeds: they choose settings, and decide no claim."
    return "\n".join(f"- {statement} {_decided(verdict)}" for statement, verdict in _core(tables, params))


def _core(tables: Tables, params: GrokkingPathwaysParams) -> list[tuple[str, Verdict]]:
    core = [claim for claim in FINDING.claims if claim.core]
    found = {verdict.claim: verdict for verdict in judge(core, tables, params, estimands)}
    return [(claim.statement, found[claim.name]) for claim in core]


def _decided(verdict: Verdict) -> str:
    """A verdict in words, with what it takes where it is open."""
    if verdict.verdict == "reproduced":
        return "**Specific**: it is larger than in every control, by more than the smallest effect that counts."
    if verdict.verdict == "not specific":
        return "**Not specific**: a control shows it as much."
    if verdict.verdict == "not reproduced":
        return "**Not seen**: what there is, is less than the smallest effect that counts."
    if not verdict.seeds:
        return f"**Not run at this scale**: {verdict.note or 'this record has nothing about it'}."
    takes = (
        f"about {verdict.seeds_needed} seeds would decide if the estimates stay as they are"
        if verdict.seeds_needed
        else verdict.note or "nothing that could be judged"
    )
    return f"**Undecided** with {verdict.seeds} seed{'s' * (verdict.seeds > 1)}: {takes}."
