"""Two records of one finding side by side: each claim's estimates and verdicts, and what differs behind them.

comparison = compare.compare(finding, record_a, record_b)
comparison.claims[0].overlapping          True, False, or None where an interval is missing
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from evolm import describe, judging
from evolm.finding import Finding
from evolm.scoreboard import label

if TYPE_CHECKING:
    from evolm.record import Record
    from evolm.verdict import Verdict

HASH_LENGTH = 64


@dataclass(frozen=True)
class ClaimComparison:
    """One claim in both records; `overlapping` says whether the two intervals share a point."""

    claim: str
    core: bool
    a: Verdict
    b: Verdict
    overlapping: bool | None
    same_verdict: bool


@dataclass(frozen=True)
class Difference:
    """One parameter or one fact of the environment that is not the same; None where a record lacks it."""

    name: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Comparison:
    a: str
    b: str
    claims: tuple[ClaimComparison, ...]
    parameters: tuple[Difference, ...]
    environment: tuple[Difference, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "a": self.a,
            "b": self.b,
            "claims": [
                {
                    "claim": c.claim,
                    "core": c.core,
                    "overlapping": c.overlapping,
                    "same_verdict": c.same_verdict,
                    "a": c.a.model_dump(mode="json"),
                    "b": c.b.model_dump(mode="json"),
                }
                for c in self.claims
            ],
            "parameters": [asdict(d) for d in self.parameters],
            "environment": [asdict(d) for d in self.environment],
        }


def compare(finding: Finding, a: Record, b: Record) -> Comparison:
    """Both records judged now and compared; raises `ValueError` when they are of different findings."""
    for record in (a, b):
        if record.finding != finding.name:
            raise ValueError(f"record {record.key} is of {record.finding}, not of {finding.name}: they do not compare")
    of_b = {verdict.claim: verdict for verdict in judging.verdicts(finding, b)}
    claims = tuple(_claim(verdict, of_b[verdict.claim]) for verdict in judging.verdicts(finding, a))
    return Comparison(
        a=f"{a.key} ({label(a)})",
        b=f"{b.key} ({label(b)})",
        claims=claims,
        parameters=_differences(a.params, b.params),
        environment=_differences(_environment(a), _environment(b)),
    )


def overlapping(a: Verdict, b: Verdict) -> bool | None:
    """Whether two intervals share a point; an open side reaches to infinity; None where an interval is missing."""
    if (a.low is None and a.high is None) or (b.low is None and b.high is None):
        return None
    lows = [v.low for v in (a, b) if v.low is not None]
    highs = [v.high for v in (a, b) if v.high is not None]
    return not lows or not highs or max(lows) <= min(highs)


def _claim(a: Verdict, b: Verdict) -> ClaimComparison:
    return ClaimComparison(a.claim, a.core, a, b, overlapping(a, b), a.verdict == b.verdict)


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Difference, ...]:
    names = sorted(a.keys() | b.keys())
    pairs = ((name, describe.plain(a.get(name)), describe.plain(b.get(name))) for name in names)
    return tuple(Difference(*pair) for pair in pairs if pair[1] != pair[2])


def _environment(record: Record) -> dict[str, Any]:
    """Versions, commit, hardware, device and the sources' hashes, as flat names."""
    parts = {**(record.manifest.get("provenance") or {}), **(record.manifest.get("key_inputs") or {})}
    return dict(_flat(parts))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}: {key}" if name else str(key))
    else:
        is_hash = isinstance(value, str) and len(value) == HASH_LENGTH
        yield name, value[:12] if is_hash else value
