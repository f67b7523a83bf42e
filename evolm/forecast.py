"""Before a run: what it will take, what it cannot decide, and whether a kept record makes it needless.

expected = forecast.forecast(finding, "cpu", params, store)
expected.sentence           what it will take, in words
expected.needs_consent      longer than an hour, or of unknown length
forecast.take_kept(finding, params, store)      copies the kept record of exactly this run, and says so
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from evolm import describe, judging, paths
from evolm.finding import Finding, Params
from evolm.machine import started
from evolm.terminal import count

if TYPE_CHECKING:
    from evolm.record import Record, Store
    from evolm.runner import Plan

#: Runs that take longer than this say so before they start.
WORTH_SAYING_SECONDS = 30.0
#: Runs that take longer than this start only when somebody said so.
CONSENT_SECONDS = 3600.0


@dataclass(frozen=True)
class Forecast:
    """One run before it starts. `seconds` are those of its missing units; None: not measured on this device."""

    finding: Finding
    preset: str
    device: str
    units: int
    saved: int
    seconds: float | None
    here: bool  # the record is in the local store already
    kept: bool  # a kept record of exactly this run can be copied

    @property
    def worth_saying(self) -> bool:
        return not self.here and (self.seconds is None or self.seconds >= WORTH_SAYING_SECONDS)

    @property
    def needs_consent(self) -> bool:
        needless = self.here or self.kept or self.saved == self.units
        return not needless and (self.seconds is None or self.seconds > CONSENT_SECONDS)

    @property
    def sentence(self) -> str:
        """`superposition at cpu: about 18 min of CPU time; 43 units. An interrupted run resumes ...`."""
        preset = self.finding.presets[self.preset]
        if self.seconds is not None:
            where = "on one data-centre GPU" if self.device.startswith("cuda") else "of CPU time"
            takes = f"about {describe.duration(self.seconds)} {where}"
        elif (known := describe.expected_time(preset)) != "not measured":
            takes = f"time on {self.device} not measured; the preset takes {known}"
        else:
            takes = f"time on {self.device} not measured"
        resumed = f"{self.saved} of {self.units} units are saved already" if self.saved else f"{self.units} units"
        note = f" {preset.note[:1].upper()}{preset.note[1:].removesuffix('.')}." if preset.note else ""
        return f"{self.finding.name} at {self.preset}: {takes}; {resumed}. An interrupted run resumes.{note}"


def forecast(finding: Finding, preset: str, params: Params, store: Store, *, fresh: bool = False) -> Forecast:
    """What running `finding` at `params` will take."""
    from evolm.record import Store
    from evolm.runner import plan_run

    plan = plan_run(finding, params, store, fresh=fresh)
    to_run = plan.units if fresh else plan.missing
    on_gpu = plan.device.startswith("cuda")
    whole = finding.presets[preset].gpu_seconds if on_gpu else finding.presets[preset].cpu_seconds
    seconds = None
    if whole is not None:
        # Units know only relative costs, so a run with other parameters is measured against the preset's own.
        usual = finding.module("experiment").units(finding.resolve(preset), plan.device)
        seconds = whole * sum(unit.cost for unit in to_run) / sum(unit.cost for unit in usual)
    local, kept = (
        not fresh and where.find(finding.name, plan.key) is not None for where in (store, Store(paths.kept_records()))
    )
    return Forecast(finding, preset, plan.device, len(plan.units), len(plan.units) - len(to_run), seconds, local, kept)


def cost_message(finding: Finding, preset: str, params: Params, store: Store, *, fresh: bool = False) -> str | None:
    """What a run will take and how many of its units are saved already; None where it is short or done."""
    expected = forecast(finding, preset, params, store, fresh=fresh)
    return expected.sentence if expected.worth_saying else None


def cautions(finding: Finding, params: Params) -> list[str]:
    """What a run of these parameters cannot decide, one sentence each."""
    from evolm.decisions import MIN_SEEDS

    found = []
    if params.seeds < MIN_SEEDS:
        found.append(f"{count(params.seeds, 'seed')} cannot decide a claim; at least {MIN_SEEDS} are needed")
    if judging.has_development_seeds(params):
        found.append(f"{judging.DEVELOPMENT}: report seeds start at {judging.first_report_seed(params)}")
    silent = [(reason, claim.name) for claim in finding.claims if (reason := claim.cannot_speak(params))]
    for reason, group in groupby(sorted(silent), key=lambda pair: pair[0]):
        names = [name for _, name in group]
        found.append(f"{', '.join(names)} cannot speak at these parameters: {reason}")
    return found


def take_kept(finding: Finding, params: Params, store: Store) -> str:
    """Copy the kept record of exactly this run into `store`, unless that has it; a sentence about it, or none.

    Where a kept record has these parameters but another key, the sentence names what made it another.
    """
    from evolm.record import Store
    from evolm.runner import plan_run

    plan = plan_run(finding, params, store)
    if store.find(finding.name, plan.key) is not None:
        return ""
    kept = Store(paths.kept_records())
    if same := kept.find(finding.name, plan.key):
        store.import_(same.path)
        return f"the kept record {same.key} ({started(same)}) has these parameters and this code: copied, not computed"
    alike = [record for record in judging.kept(finding) if _has(finding, record, params)]
    if not alike:
        return ""
    last = alike[-1]
    made = f"a kept record of these parameters exists ({last.key}, {started(last)}), made {_otherwise(last, plan)}"
    return f"{made}; computing again"


def _has(finding: Finding, record: Record, params: Params) -> bool:
    try:
        return judging.params_of(finding, record) == params
    except judging.UnreadableRecordError:
        return False


def _otherwise(record: Record, plan: Plan) -> str:
    """How a record of the same parameters came by another key."""
    theirs = record.manifest.get("key_inputs") or {}
    found = []
    if modules := _changed(theirs.get("sources"), plan.key_inputs["sources"]):
        found.append(f"by other code: {', '.join(modules)}")
    if data := _changed(theirs.get("data"), plan.key_inputs["data"]):
        found.append(f"from other data: {', '.join(data)}")
    names = [name for name in ("device", "dtype") if theirs.get(name) != plan.key_inputs[name]]
    found += [f"with {name} {theirs.get(name)}" for name in names]
    return ", ".join(found) or "otherwise"


def _changed(before: Any, after: Any) -> list[str]:
    before, after = before or {}, after or {}
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
