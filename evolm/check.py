"""Do the records still say what the manifests expect? Every record of a preset judged again, now.

    report = check.check([finding], Store(paths.store()), Store(paths.kept_records()))
    report.exit_code        1: something changed or is damaged; 2: a core claim is undecided; 0: as expected

A verdict that improved is a change too: the manifest's `expected` is what a person has looked at.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from evolm import judging, lock
from evolm.finding import Finding

if TYPE_CHECKING:
    from evolm.record import Record, Store
    from evolm.verdict import Verdict

Judged = list[tuple["Record", "list[Verdict]"]]


@dataclass(frozen=True)
class Line:
    """One claim of one record: what it says now beside what the manifest expects (None: nothing yet)."""

    finding: str
    claim: str
    core: bool
    preset: str
    key: str
    kept: bool
    local: bool
    expected: str | None
    found: str

    @property
    def changed(self) -> bool:
        """Whether a person must look: the verdict differs, or a kept record has none accepted."""
        return self.found != self.expected if self.expected is not None else self.kept


@dataclass(frozen=True)
class Report:
    lines: tuple[Line, ...]
    problems: tuple[str, ...]
    undecided: tuple[str, ...]
    remarks: tuple[str, ...] = ()  # worth knowing, no failure
    custom: tuple[str, ...] = ()  # keys of records that are nobody's preset and so are not judged

    @property
    def changes(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.changed)

    @property
    def exit_code(self) -> int:
        if self.changes or self.problems:
            return 1
        return 2 if self.undecided else 0

    def as_json(self) -> dict[str, Any]:
        return {
            "exit_code": self.exit_code,
            "lines": [{**asdict(line), "changed": line.changed} for line in self.lines],
            "problems": list(self.problems),
            "undecided": list(self.undecided),
            "remarks": list(self.remarks),
            "custom": list(self.custom),
        }


def check(chosen: Iterable[Finding], local: Store, kept: Store) -> Report:
    """Judge what both stores hold of the chosen findings; damage and an unfrozen claim are problems.

    A record that both stores hold is judged once. A change of the experiment or of a preset since the claims were
    frozen is a remark.
    """
    problems = [*kept.verify(), *local.verify()]
    lines: list[Line] = []
    undecided: list[str] = []
    remarks: list[str] = []
    custom: set[str] = set()
    for finding in chosen:
        problems += [*_lock_problems(finding), *_expectations_without_claim(finding)]
        of_kept, of_local = _records(finding, kept), _records(finding, local)
        custom |= {record.key for record in (*of_kept, *of_local) if judging.preset_of(finding, record) is None}
        kept_judged = _judged(finding, of_kept, problems)
        both = {record.key for record, _ in kept_judged} & {record.key for record in of_local}
        only_local = [record for record in of_local if record.key not in both]
        for record, verdicts in kept_judged:
            lines += _lines(finding, record, verdicts, kept=True, local=record.key in both)
        for record, verdicts in _judged(finding, only_local, problems):
            lines += _lines(finding, record, verdicts, kept=False, local=True)
        undecided += _undecided(finding, kept_judged)
        remarks += [f"{finding.name}: {sentence}" for sentence in lock.changes(finding)]
    return Report(tuple(lines), tuple(dict.fromkeys(problems)), tuple(undecided), tuple(remarks), tuple(sorted(custom)))


def _records(finding: Finding, store: Store) -> list[Record]:
    """What can be read of a finding, smallest scale first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged records are named by `Store.verify`
        return judging.smallest_first(finding, store.records(finding.name))


def _judged(finding: Finding, records: Iterable[Record], problems: list[str]) -> Judged:
    """Records of a preset with their verdicts, in the order given; what cannot be judged becomes a problem."""
    judged: Judged = []
    for record in records:
        try:
            if judging.preset_of(finding, record):
                judged.append((record, judging.verdicts(finding, record)))
        except (RuntimeError, OSError, ValueError) as error:
            problems.append(f"{finding.name}: record {record.key} cannot be judged: {error}")
    return judged


def _lines(finding: Finding, record: Record, verdicts: Sequence[Verdict], *, kept: bool, local: bool) -> Iterator[Line]:
    preset = judging.preset_of(finding, record)
    assert preset is not None  # `_judged` keeps only records of a preset
    expected = finding.expected.get(preset, {})
    for v in verdicts:
        yield Line(finding.name, v.claim, v.core, preset, record.key, kept, local, expected.get(v.claim), v.verdict)


def _lock_problems(finding: Finding) -> list[str]:
    """Claims whose wording or measurement is not the frozen one; a dated revision is no problem, it is shown."""
    unfrozen = [name for name, state in lock.status(finding).items() if state in ("not frozen", "edited since frozen")]
    if not unfrozen:
        return []
    return [f"{finding.name}: {', '.join(unfrozen)} not frozen as stated now: run `evolm freeze {finding.name}`"]


def _expectations_without_claim(finding: Finding) -> Iterator[str]:
    names = {claim.name for claim in finding.claims}
    for preset, expected in finding.expected.items():
        for name in expected.keys() - names:
            yield f"{finding.name}: a verdict is expected at {preset} of {name!r}, which is no claim any more"


def _undecided(finding: Finding, kept: Judged) -> Iterator[str]:
    """Core claims that the best kept evidence leaves open."""
    for claim in (c for c in finding.claims if c.core):
        best = judging.best_of(kept, claim.name)
        if best is None:
            yield f"{finding.name}: no kept record can speak about {claim.name}"
        elif best[1].verdict in judging.UNDECIDED:
            preset = judging.preset_of(finding, best[0])
            yield f"{finding.name}: {claim.name} is {best[1].verdict} at {preset}. {best[1].note}".strip()
