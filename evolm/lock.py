"""Claims are frozen before their report seeds are run, and a later edit shows.

    freeze(finding, today="2026-11-20", records_exist=False)    # writes claims.lock beside the finding
    status(finding)                                             # {"slope": "frozen 2026-11-20", ...}
    changes(finding)                                            # what else is not as it was then, in sentences

The hash of a claim covers its fields, the syntax tree of its `measure` function with everything that it
uses at the top level of the estimands module, and of its `cannot_speak`. Beside the claims the lock holds one
hash of the experiment's code, as far as it lies in the experiment's own package, and one of the parameters of
each preset. Comments, docstrings and layout do not count. Modules are parsed, never imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from evolm import syntax
from evolm.finding import Claim, Finding
from evolm.sources import source_closure

LOCK_NAME = "claims.lock"
#: The lock's entry of what is run. No claim can have this name.
RUN = "_run"


def lock_path(finding: Finding) -> Path:
    """Where the lock of a finding lies: in the folder of its package."""
    return syntax.source_of(finding.package).parent / LOCK_NAME


def claim_hash(finding: Finding, claim: Claim) -> str:
    """SHA-256 of what the claim says and of the code that measures it."""
    tree = syntax.parse(syntax.source_of(finding.estimands))
    content = {
        "claim": claim.model_dump(mode="json", exclude_defaults=True),  # a field added later changes no hash
        "measure": syntax.definitions(tree, claim.measure, finding.estimands),
        "cannot_speak": syntax.callable_tree(claim.cannot_speak) if "cannot_speak" in claim.model_fields_set else None,
    }
    return _sha256(content)


def freeze(finding: Finding, today: date | str, records_exist: bool) -> list[str]:
    """Write the hash of every new or edited claim to the lock; returns the names of these claims.

    An edit of a frozen claim becomes a dated revision, marked when records existed already. Entries of
    claims that are gone stay: they were stated once. Experiment and presets are written anew while there
    are no records; from then on what was frozen first stands, so that `changes` keeps saying what changed.
    """
    lock, changed = _read(finding), []
    for claim in finding.claims:
        current = claim_hash(finding, claim)
        entry = lock.get(claim.name)
        if entry is None:
            lock[claim.name] = {"sha256": current, "frozen": str(today), "revisions": []}
        elif _latest(entry) != current:
            entry["revisions"].append({"sha256": current, "date": str(today), "after_data": records_exist})
        else:
            continue
        changed.append(claim.name)
    run = {"experiment": experiment_hash(finding), "presets": preset_hashes(finding)}
    new_run = RUN not in lock or (not records_exist and {**lock[RUN], **run} != lock[RUN])
    if new_run:
        lock[RUN] = {**run, "frozen": str(today), "after_data": records_exist}
    if changed or new_run:
        _write(lock_path(finding), lock)
    return changed


def status(finding: Finding) -> dict[str, str]:
    """What a page shows about each claim.

    `frozen <date>`, `revised before data <date>`, `revised after data <date>`, `edited since frozen`, or
    `not frozen`. A revision after data is never hidden by a later one.
    """
    lock = _read(finding)
    return {claim.name: _status(lock.get(claim.name), claim_hash(finding, claim)) for claim in finding.claims}


def changes(finding: Finding) -> list[str]:
    """What the claims do not say but a run depends on, and is not as it was frozen; one sentence each, or none."""
    lock = _read(finding)
    if not lock:
        return []  # `status` says that nothing is frozen
    if RUN not in lock:
        frozen = min(entry["frozen"] for entry in lock.values())
        return [
            f"Whether the experiment's code or the presets have changed since the claims were frozen on {frozen} "
            "is not recorded."
        ]
    run, presets = lock[RUN], preset_hashes(finding)
    since = f"since the claims were frozen on {run['frozen']}"
    if run["after_data"]:
        since = f"since they were recorded on {run['frozen']}, when records existed already"
    found = []
    if run["experiment"] != experiment_hash(finding):
        found.append(f"The experiment's code has changed {since}.")
    for name, current in presets.items():
        if run["presets"].get(name) != current:
            found.append(f"The parameters of preset {name!r} have changed {since}.")
    return found


def experiment_hash(finding: Finding) -> str:
    """SHA-256 of the experiment's module and of all that it imports of the package it lies in."""
    own = finding.experiment.rpartition(".")[0] + "."
    closure = source_closure(finding.experiment)
    return _sha256({name: code for name, code in closure.items() if name == finding.experiment or name.startswith(own)})


def preset_hashes(finding: Finding) -> dict[str, str]:
    """Preset -> SHA-256 of all parameters of a run at it."""
    return {name: _sha256(finding.resolve(name).model_dump(mode="json")) for name in finding.presets}


def _status(entry: dict[str, Any] | None, current: str) -> str:
    if entry is None:
        return "not frozen"
    if _latest(entry) != current:
        return "edited since frozen"
    if not entry["revisions"]:
        return f"frozen {entry['frozen']}"
    after = [revision for revision in entry["revisions"] if revision["after_data"]]
    when = "after" if after else "before"
    return f"revised {when} data {(after or entry['revisions'])[-1]['date']}"


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _latest(entry: dict[str, Any]) -> str:
    return str([entry, *entry["revisions"]][-1]["sha256"])


def _read(finding: Finding) -> dict[str, Any]:
    path = lock_path(finding)
    if not path.exists():
        return {}
    try:
        lock: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name, entry in lock.items():
            if name == RUN:
                entry["frozen"], entry["after_data"], entry["experiment"], entry["presets"].items()
                continue
            _latest(entry), entry["frozen"], [(r["date"], r["after_data"]) for r in entry["revisions"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a readable lock of claims ({error}); restore it from version control"
        ) from None
    return lock


def _write(path: Path, lock: dict[str, Any]) -> None:
    """Through a temporary sibling and a rename, so that the lock is never half written."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(lock, indent=2, sort_keys=True) + "\n")
        os.chmod(temporary, 0o644)  # mkstemp makes it private; the lock is part of the source
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
