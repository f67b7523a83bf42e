"""Sentences on what the metrics tell of held-out accuracy, and on what decides the claims. Tables in, Markdown out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evolm import judging
from evolm.findings.grokking_pathways import estimands
from evolm.findings.grokking_pathways.readings_words import Tables, by_arm, less, side, with_interval
from evolm.findings.grokking_pathways.relations import correlated
from evolm.instruments.pathway_statistics import correlation
from evolm.panels import listed

if TYPE_CHECKING:
    from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams
    from evolm.verdict import Verdict


def correlations(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Raw r of both metrics and of the step itself with held-out accuracy over the lag."""
    cosine, distance = (by_arm(f(tables, params)) for f in (estimands.raw_cosine, estimands.raw_distance))
    if not {"metric", "step"} <= set(cosine) or "metric" not in distance:
        return ""
    text = (
        f"Over the lag, held-out accuracy has r = {with_interval(cosine['step'])} with the step itself, which knows nothing "
        f"of the model; {with_interval(cosine['metric'])} with consistency; and {with_interval(distance['metric'])} with "
        "the distance, its sign turned so that the paper's would be positive. The paper's r are .93 to .99, over four to "
        "six checkpoints."
    )
    found = [("consistency", less(cosine, "metric", "step")), ("the distance", less(distance, "metric", "step"))]
    words = {"above": "more", "below": "less", "alike": "no differently"}
    parts = [f"{name} {words[side(gap)]} ({with_interval(gap)})" for name, gap in found if side(gap)]
    return f"{text} Beside the step, these correlate: {listed(parts)}." if parts else text


def given_time(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """What is left of the correlations without the course of time, and of the changes from one point to the next."""
    parts, told = [], []
    for name, estimate in (
        ("consistency", estimands.detrended_cosine), ("distance", estimands.detrended_distance)
    ):  # fmt: skip
        found = by_arm(estimate(tables, params))
        if {"metric", "shifted"} <= set(found):
            parts.append(
                f"{name} {with_interval(found['metric'])}, beside {with_interval(found['shifted'])} with one of the series shifted"
            )
            told.append((name, side(less(found, "metric", "shifted"))))
    if not parts:
        return ""
    text = f"Given the step, its logarithm and the square of that, r is: {'; '.join(parts)} (signs as above)."
    changes = by_arm(estimands.differences(tables, params)).get("trained")
    if changes is not None:
        text += f" The changes of consistency and accuracy from one measurement to the next have r = {with_interval(changes)}."
    if all(where for _, where in told):
        left = [name for name, where in told if where == "above"]
        text += f" Beyond the course of time {listed(left) if left else 'neither'} {_has(left)} a relation with accuracy that these seeds show."
    return text


def _has(items: list[str]) -> str:
    return "have" if len(items) > 1 else "has"


def loss(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Whether training loss tracks held-out accuracy less well than consistency does."""
    found = by_arm(estimands.loss_tracks(tables, params))
    if not {"trained", "loss"} <= set(found):
        return ""
    raw = correlated(tables, "loss", lambda x, y, at: abs(float(correlation(x, y)))).set_index("seed")["value"]
    text = (
        f"|r| with held-out accuracy is {with_interval(raw)} for the loss of training samples, {with_interval(found['loss'])} "
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
            ("shifted", "metrics of the same run at other steps"), ("frozen router", "those of routers that never learn")
        )
        if arm in found
    ]  # fmt: skip
    text = (
        "A prediction of held-out accuracy for a seed left out, from the step and the averaged training loss, errs less by "
        f"{with_interval(found['trained'], 4)} when both metrics are added"
    )
    beside = f", beside {listed(parts)}." if parts else "."
    words = {
        "above": "They help.",
        "below": "They make it worse.",
        "alike": "These seeds do not tell that from no help.",
        "": "",
    }
    return f"{text}{beside} {words[side(found['trained'])]}".strip()


def specific(tables: Tables, params: GrokkingPathwaysParams) -> str:
    """Each core claim: specific, shown by a control as well, too small, or undecided and what would decide it."""
    if not len(tables.get("curve", pd.DataFrame())):
        return ""
    if judging.has_development_seeds(params):
        return "These are development seeds: they choose settings, and decide no claim."
    return "\n".join(f"- {statement} {_decided(verdict)}" for statement, verdict in _core(tables, params))


def _core(tables: Tables, params: GrokkingPathwaysParams) -> list[tuple[str, Verdict]]:
    from evolm.findings.grokking_pathways.claims import CLAIMS
    from evolm.verdict import judge

    core = [claim for claim in CLAIMS if claim.core]
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
