"""Runs the experiment of a finding and commits its record.

    record = run_experiment(finding, params, preset="cpu", store=Store(paths.store()))

A record that is in the store already is returned. Else the units that an earlier, interrupted run has not
saved are run (`evolm.pool`): on a CPU in processes of one thread each, the costliest first; on a GPU one
after another in this process. A resumed run gives the same tables as an uninterrupted one, in the order of
`units(params, device)` whatever the order in which they finished.

The experiment's module has `units(params, device) -> list[Unit]` and `run_unit(params, unit, device) ->
dict[str, DataFrame]`; it may have `key_data(params) -> dict` (hashes of data and checkpoints), `finish(params,
tables) -> tables`, and `DTYPE`. Environment: `EVOLM_DEVICE` (cpu or cuda) overrides the device, `EVOLM_WORKERS`
the number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from evolm.finding import Finding, Params
from evolm.pool import Job, Progress, UnitFailed, run_units
from evolm.provenance import Meter, cpu_count, provenance
from evolm.record import Record, Shards, Store, StoreError, record_key
from evolm.sources import source_closure
from evolm.unit import Unit

__all__ = ["Plan", "RunInterrupted", "UnitFailed", "choose_device", "plan_run", "run_experiment", "worker_count"]

DEVICES = ("cpu", "cuda")
#: codecarbon takes about four CPU seconds to start, so short runs are left to the formula.
CODECARBON_FROM_CPU_SECONDS = 300.0


class RunInterrupted(KeyboardInterrupt):
    """The run was stopped from the keyboard; the message says what is saved and how to go on."""


@dataclass(frozen=True)
class Plan:
    """One run before it starts: its key, its units, and which of them an earlier run has saved."""

    key: str
    key_inputs: dict[str, Any]
    units: list[Unit]
    saved: frozenset[str]

    @property
    def device(self) -> str:
        return str(self.key_inputs["device"])

    @property
    def missing(self) -> list[Unit]:
        """Units still to run, the costliest first."""
        return sorted((unit for unit in self.units if unit.name not in self.saved), key=lambda unit: -unit.cost)


def plan_run(finding: Finding, params: Params, store: Store, *, fresh: bool = False) -> Plan:
    """What running `finding` at `params` would do; with `fresh`, as if nothing were saved.

    Raises `DamagedRecord` when a saved unit is damaged.
    """
    module = finding.module("experiment")
    device = choose_device()
    key_inputs = {
        "sources": source_closure(finding.experiment),
        "data": module.key_data(params) if hasattr(module, "key_data") else {},
        "device": device,
        "dtype": str(getattr(module, "DTYPE", "float32")),
    }
    key = record_key(finding.name, params.model_dump(mode="json"), **key_inputs)
    units: list[Unit] = list(module.units(params, device))
    names = [unit.name for unit in units]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{finding.experiment}.units must give at least one unit, each with its own name; got {names}")
    saved = [] if fresh else _saved(store.shards(finding.name, key), names)
    return Plan(key, key_inputs, units, frozenset(saved))


def run_experiment(
    finding: Finding,
    params: Params,
    *,
    preset: str = "custom",
    store: Store,
    workers: int | None = None,
    fresh: bool = False,
    progress: bool = True,
) -> Record:
    """The record of `finding` at `params`: found in `store`, or computed and committed to it.

    `fresh` forgets saved units and, once everything is recomputed, replaces the record. `workers` is the
    number of processes on a CPU (default: `EVOLM_WORKERS`, else the cores there are; 1 runs in this process).
    Raises `UnitFailed` naming the unit, `RunInterrupted`, `StoreError` or `DamagedRecord`.
    """
    workers = worker_count(workers)
    plan = plan_run(finding, params, store, fresh=fresh)
    shards = store.shards(finding.name, plan.key)
    if fresh:
        shards.discard()
    elif record := _verified(store, finding, plan):
        return record
    source = provenance(plan.device)  # now: by the end of a long run the checkout may be at another commit
    job = Job(finding.name, finding.experiment, params, plan.device, store.root, plan.key)
    bar = Progress(finding.name, plan.units, plan.missing, shown=progress)
    try:
        with Meter(codecarbon=_worth_codecarbon(finding, preset, plan)) as meter:
            run_units(job, plan.missing, workers, bar)
    except KeyboardInterrupt:
        raise RunInterrupted(_after_interrupt(store, finding, plan, fresh=fresh)) from None

    finished = [shards.load(unit.name) for unit in plan.units]
    if any(shard is None for shard in finished):
        # Another process ran the same key, committed it, and with that removed the units.
        if record := _verified(store, finding, plan):
            return record
        raise StoreError(f"saved units of {finding.name} were removed while it ran; run the same command again")
    parts = [shard for shard in finished if shard is not None]
    tables = _joined([tables for tables, _ in parts])
    module = finding.module("experiment")
    if hasattr(module, "finish"):
        tables = module.finish(params, tables)
    costs = total_costs([cost for _, cost in parts], meter.costs["energy"])
    manifest = _manifest(finding, params, preset, plan, source, costs)
    return store.commit(finding.name, plan.key, tables, manifest, replace=fresh)


def choose_device() -> str:
    """`EVOLM_DEVICE`, else cuda where there is a GPU, else cpu. Raises ValueError when that cannot be had."""
    wanted = os.environ.get("EVOLM_DEVICE")
    if wanted == "cpu":
        return "cpu"
    if wanted and wanted not in DEVICES:
        raise ValueError(f"EVOLM_DEVICE is {wanted!r}; expected one of {', '.join(DEVICES)}, or unset it to choose")
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("EVOLM_DEVICE is 'cuda', but torch sees no GPU here; unset it, or see `evolm doctor`")
    return "cuda" if torch.cuda.is_available() else "cpu"


def worker_count(workers: int | None = None) -> int:
    """`workers`, else `EVOLM_WORKERS`, else the cores that this process may use. Raises ValueError below 1."""
    given = workers if workers is not None else os.environ.get("EVOLM_WORKERS") or cpu_count()
    try:
        count = int(given)
    except ValueError:
        count = 0
    if count < 1:
        raise ValueError(
            f"the number of workers is {given!r}; expected a whole number from 1 (EVOLM_WORKERS or workers)"
        )
    return count


def total_costs(units: Sequence[Mapping[str, Any]], run_energy: Mapping[str, Any]) -> dict[str, Any]:
    """The cost of a whole run from its units' costs, whenever each of them ran.

    CPU and GPU seconds are sums; `wall_s` is the time during which at least one unit ran; peak memory is the
    largest of any one process. Energy is codecarbon's when it watched all of the run, else the units' sum.
    """
    energy = dict(run_energy)
    if "codecarbon" not in energy["method"]:
        methods = sorted({unit["energy"]["method"] for unit in units})
        energy = {"kwh": sum(unit["energy"]["kwh"] for unit in units), "method": "; ".join(methods)}
    return {
        "cpu_s": sum(unit["cpu_s"] for unit in units),
        "gpu_s": sum(unit["gpu_s"] for unit in units),
        "wall_s": _covered([(unit["started"], unit["started"] + unit["wall_s"]) for unit in units]),
        "peak_memory_bytes": max(unit["peak_memory_bytes"] for unit in units),
        "gpu_peak_memory_bytes": max(unit["gpu_peak_memory_bytes"] for unit in units),
        "started": min(unit["started"] for unit in units),
        "energy": energy,
    }


def _covered(spans: Sequence[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _joined(parts: Sequence[Mapping[str, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    names = sorted({name for part in parts for name in part})
    return {name: pd.concat([part[name] for part in parts if name in part], ignore_index=True) for name in names}


def _manifest(
    finding: Finding, params: Params, preset: str, plan: Plan, source: dict[str, Any], costs: dict[str, Any]
) -> dict[str, Any]:
    as_preset = preset in finding.presets and finding.resolve(preset) == params
    started = datetime.fromtimestamp(costs.pop("started"), UTC).isoformat(timespec="seconds")
    return {
        "preset": preset if as_preset else "custom",
        "params": params.model_dump(mode="json"),
        "seeds": params.seed_list,
        "key_inputs": plan.key_inputs,
        "started": started,
        "provenance": source,
        "costs": costs,
    }


def _verified(store: Store, finding: Finding, plan: Plan) -> Record | None:
    record = store.find(finding.name, plan.key)
    if record is not None:
        record.verify()
    return record


def _saved(shards: Shards, names: Sequence[str]) -> list[str]:
    return [name for name in names if shards.load(name) is not None]


def _worth_codecarbon(finding: Finding, preset: str, plan: Plan) -> bool:
    expected = finding.presets[preset].cpu_seconds if preset in finding.presets else None
    return plan.device == "cpu" and not plan.saved and (expected or 0.0) >= CODECARBON_FROM_CPU_SECONDS


def _after_interrupt(store: Store, finding: Finding, plan: Plan, *, fresh: bool) -> str:
    saved = _saved(store.shards(finding.name, plan.key), [unit.name for unit in plan.units])
    how = "the same command resumes"
    if fresh:
        how = "the same command without --fresh resumes"
        if (store.root / finding.name / plan.key).exists():
            how = "the record that was there before stands, and --fresh starts over"
    return f"interrupted: {len(saved)} of {len(plan.units)} units are saved; {how}"
