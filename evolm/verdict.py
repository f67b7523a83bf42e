"""A record's tables and a finding's claims give verdicts, and nothing else enters.

    verdicts = judge(finding, record.tables(), params, finding.module("estimands"))

Core claims share one Holm correction at 5 % for the family; exploratory ones stand alone at 95 %. Every
interval shown is the one that decided. What each kind needs of its `measure` function is in
`evolm.evidence`, when it counts as reproduced in `evolm.decisions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from evolm.decisions import (
    ALPHA,
    INCONCLUSIVE,
    MAX_PLANNED_SEEDS,
    MIN_SEEDS,
    OUTCOMES,
    Sample,
    decide,
    favourable_p,
    holm,
    seeds_needed,
)
from evolm.evidence import CannotSpeakError, Evidence, checked, gather
from evolm.finding import Claim, Finding, Kind, nearest

MAX_NAMED = 8  # models that a note lists one by one
VerdictName = Literal[
    "reproduced",
    "not reproduced",
    "not specific",
    "inconclusive",
    "measured",
    "not assessable",
    "not run at this scale",
]


class ControlEffect(BaseModel):
    """One control: arm - control, paired by seed.

    For kind `form`, an alternative form: the power law's held-out error less its own, in log y. For
    `equivalence` of a single arm, the control's own deviation. An end is None where it is unbounded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    estimate: float | None
    low: float | None
    high: float | None


class Verdict(BaseModel):
    """What one record says about one claim. Numbers are in `unit`; None stands for unbounded or unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    claim: str
    kind: Kind
    core: bool
    verdict: VerdictName
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = 1 - ALPHA
    unit: str
    seeds: int = 0
    controls: list[ControlEffect] = []
    note: str = ""
    seeds_needed: int | None = None


def judge(
    claims: Finding | Iterable[Claim],
    tables: Mapping[str, pd.DataFrame],
    params: Any,
    estimands: ModuleType,
) -> list[Verdict]:
    """One verdict per claim, in their order.

    `estimands` holds the functions that the claims name in `measure`, each `(tables, params) -> DataFrame`.
    Raises `ValueError`, naming claim and column, when a frame is malformed or holds NaN or infinity.
    """
    claims = list(claims.claims if isinstance(claims, Finding) else claims)
    found = {claim.name: _evidence(claim, tables, params, estimands) for claim in claims}
    family = {c.name: e for c in claims if c.core and isinstance(e := found[c.name], Evidence)}
    alphas: dict[str, float] = {}
    if family:
        p_values = np.array([float(favourable_p(evidence.rules)) for evidence in family.values()])
        alphas = dict(zip(family, holm(p_values).tolist(), strict=True))
    return [
        _decided(claim, outcome, alphas.get(claim.name, ALPHA)) if isinstance(outcome, Evidence) else outcome
        for claim, outcome in ((claim, found[claim.name]) for claim in claims)
    ]


def _evidence(
    claim: Claim, tables: Mapping[str, pd.DataFrame], params: Any, estimands: ModuleType
) -> Evidence | Verdict:
    """The evidence of a claim, or its verdict already where no decision over seeds is to be made."""
    if reason := claim.cannot_speak(params):
        return _verdict(claim, "not run at this scale", note=reason)
    measure = getattr(estimands, claim.measure, None)
    if measure is None:
        known = [name for name in dir(estimands) if not name.startswith("_")]
        hint = nearest(claim.measure, known)
        raise ValueError(f"claim {claim.name!r}: {estimands.__name__} has no function {claim.measure!r}{hint}")
    frame = measure(tables, params)
    if frame is None or len(frame) == 0:
        return _verdict(claim, "not run at this scale", note="the record holds no rows for this claim")
    if claim.kind == "single_model":
        return _measured(claim, checked(claim, frame))
    try:
        return gather(claim, frame)
    except CannotSpeakError as reason:
        return _verdict(claim, "not run at this scale", note=str(reason))


def _measured(claim: Claim, frame: pd.DataFrame) -> Verdict:
    """The number of the only row, or each of several in the note, never pooled: models are no sample of anything."""
    rows = frame.sort_values("value", kind="stable").reset_index(drop=True)
    numbers: dict[str, float] = {}
    note = str(rows["unit"].iloc[0])
    if len(rows) == 1:
        row = rows.iloc[0]
        numbers = {"estimate": float(row["value"]), "low": float(row["low"]), "high": float(row["high"])}
    else:
        each = [f"{r.unit} {r.value:.3g} [{r.low:.3g}, {r.high:.3g}]" for r in rows.head(MAX_NAMED).itertuples()]
        more = f" and {len(rows) - MAX_NAMED} more" if len(rows) > MAX_NAMED else ""
        note = f"{len(rows)} measured, not pooled: {', '.join(each)}{more}"
    return _verdict(claim, "measured", note=f"{note}; interval over problems or rows, not over seeds", **numbers)


def _decided(claim: Claim, evidence: Evidence, alpha: float) -> Verdict:
    outcome = int(decide(evidence.rules, 1 - alpha))
    name, notes, needed = OUTCOMES[outcome], [evidence.note], None
    if evidence.unassessable:
        name, notes = "not assessable", [evidence.unassessable, evidence.note]
    elif outcome == INCONCLUSIVE:
        needed = seeds_needed(evidence.rules, alpha)
        notes = [_what_it_takes(evidence.seeds, needed), evidence.note]
    low, high = evidence.shown.interval(1 - alpha)
    if any(np.equal(*sample.interval(1 - alpha)) for sample in (evidence.shown, *evidence.controls.values())):
        notes.append("some values are equal in all seeds, so their interval has no width and means little")
    return _verdict(
        claim,
        name,
        estimate=_number(evidence.shown.estimate),
        low=_number(low),
        high=_number(high),
        level=1 - alpha,
        seeds=evidence.seeds,
        controls=[_control(name, sample, alpha) for name, sample in evidence.controls.items()],
        note="; ".join(filter(None, notes)),
        seeds_needed=needed,
    )


def _what_it_takes(seeds: int, needed: int | None) -> str:
    few = f"{seeds} of at least {MIN_SEEDS} seeds; " if seeds < MIN_SEEDS else ""
    if seeds < 2:
        return f"{few}one seed says nothing about the spread"
    if needed is None:
        return f"{few}the estimate sits on the boundary: more than {MAX_PLANNED_SEEDS} seeds would be needed"
    return f"{few}about {needed} seeds would decide if the estimates stay"


def _control(name: str, sample: Sample, alpha: float) -> ControlEffect:
    low, high = sample.interval(1 - alpha)
    return ControlEffect(name=name, estimate=_number(sample.estimate), low=_number(low), high=_number(high))


def _verdict(claim: Claim, verdict: str, **fields: Any) -> Verdict:
    known = {"claim": claim.name, "kind": claim.kind, "core": claim.core, "unit": claim.unit}
    return Verdict.model_validate({**known, "verdict": verdict, **fields})


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
