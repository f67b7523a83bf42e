"""Which records speak for a finding, and what they say (`evolm.verdict` decides, this finds and judges).

    judging.verdicts(finding, record)                      the record judged, claim by claim
    judging.judged(finding)                                kept records with their verdicts, smallest scale first
    judging.best_of(judging.judged(finding), claim.name)   the largest scale that can speak about a claim

A verdict is a function of a record and nothing else, so judging is repeated, never stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

from evolm import paths
from evolm.finding import PRESET_NAMES, Finding, Params

if TYPE_CHECKING:
    from evolm.record import Record
    from evolm.verdict import Verdict

#: Verdicts that leave a claim open.
UNDECIDED = ("inconclusive", "not assessable")
SILENT = "not run at this scale"
#: Verdicts that settle a claim, one way or the other.
DECIDED = ("reproduced", "not reproduced", "not specific")
DEVELOPMENT = "development seeds choose settings and never decide a claim"


class UnreadableRecordError(RuntimeError):
    """A record whose parameters the finding of today no longer accepts."""


def params_of(finding: Finding, record: Record) -> Params:
    """The record's parameters as the finding's own type; raises `UnreadableRecordError` when they no longer fit it."""
    try:
        return finding.params.model_validate(record.params)
    except ValidationError as error:
        names = ", ".join(sorted({str(item["loc"][0]) if item["loc"] else "all" for item in error.errors()}))
        raise UnreadableRecordError(
            f"record {record.key} of {finding.name} has parameters that {finding.name} no longer accepts ({names}): "
            f"run it again, or remove it"
        ) from None


def verdicts(finding: Finding, record: Record) -> list[Verdict]:
    """One verdict per claim; of a record with development seeds, none that decides.

    Raises `DamagedRecord` or `UnreadableRecordError`.
    """
    from evolm.verdict import judge

    params = params_of(finding, record)
    found = judge(finding.claims, record.tables(), params, finding.module("estimands"))
    return [_undecided(verdict) for verdict in found] if has_development_seeds(params) else found


def has_development_seeds(params: Params) -> bool:
    """Whether any seed of a run lies below the finding's first report seed."""
    return min(params.seed_list) < first_report_seed(params)


def first_report_seed(params: Params) -> int:
    """Where a finding's report seeds start: the default of its own `first_seed`."""
    return int(type(params).model_fields["first_seed"].default)


def _undecided(verdict: Verdict) -> Verdict:
    """The same numbers, without the decision."""
    if verdict.verdict not in DECIDED:
        return verdict
    note = "; ".join(filter(None, [DEVELOPMENT, verdict.note]))
    return verdict.model_copy(update={"verdict": "not assessable", "note": note, "seeds_needed": None})


def preset_of(finding: Finding, record: Record) -> str | None:
    """The preset that the record's parameters equal, its own label first; None when it is nobody's preset."""
    try:
        params = params_of(finding, record)
    except UnreadableRecordError:
        return None
    own_first = sorted(PRESET_NAMES, key=lambda name: name != record.preset)
    return next((name for name in own_first if finding.resolve(name) == params), None)


def kept(finding: Finding) -> list[Record]:
    """Kept records, smallest scale first; of one preset the oldest first."""
    from evolm.record import Store

    folder = paths.kept_records()
    return smallest_first(finding, Store(folder).records(finding.name)) if folder.is_dir() else []


def judged(finding: Finding) -> list[tuple[Record, Sequence[Verdict]]]:
    """Kept records that are a preset's own run, judged, smallest scale first."""
    return [(record, verdicts(finding, record)) for record in kept(finding) if preset_of(finding, record)]


def best_of(records: Sequence[tuple[Record, Sequence[Verdict]]], claim: str) -> tuple[Record, Verdict] | None:
    """The last record, in the order given, that can speak about a claim, with what it says; or None."""
    found = None
    for record, judgements in records:
        for verdict in judgements:
            if verdict.claim == claim and verdict.verdict != SILENT:
                found = (record, verdict)
    return found


def smallest_first(finding: Finding, records: Iterable[Record]) -> list[Record]:
    """By the preset whose parameters a record has, then by date; records of no preset come first."""

    def scale_and_date(record: Record) -> tuple[int, str]:
        preset = preset_of(finding, record)
        return PRESET_NAMES.index(preset) if preset else -1, str(record.manifest.get("started") or "")

    return sorted(records, key=scale_and_date)
