"""The experiment of the pass@k boundary: base models, what is done to them, and exact pass@k before and after.

Tables: `success`, success probability of one sample per problem, model and temperature; `evaluations`, how it was
found; `training`, logs of reinforcement; `usage`, which method is announced; `perplexity`, one sample per problem;
`levels`, problems and chance levels; `open_models`, the instrument's rows for open models on word problems.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from evolm import assets, paths
from evolm.findings.rlvr_boundary.arms import Arm, control_arms, main_arms, sweep_arms, tune
from evolm.findings.rlvr_boundary.base import RARE, base_model, kept_base, task_of, weights_of
from evolm.findings.rlvr_boundary.measure import Bench
from evolm.unit import Unit

if TYPE_CHECKING:
    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams

Tables = dict[str, pd.DataFrame]
#: The low-temperature control of the perplexities.
COOL = 0.6
LOG_EVERY = 5
#: Open models are sampled at the paper's temperature; the number of rows holds memory down.
OPEN_TEMPERATURE, OPEN_ROWS = 0.6, 64


def units(params: RlvrBoundaryParams, device: str) -> list[Unit]:
    """Per seed: every cue level with reinforcement and fine-tuning; the controls; the sweeps."""
    found = []
    for seed in params.seed_list:
        for cue in params.cues:
            found.append(_unit(f"cue={cue:g}", params, main_arms(params), seed, cue, envelope=True))
        parts = {"controls": control_arms(params), "sweeps": sweep_arms(params)}
        found += [_unit(name, params, arms, seed, params.core_cue) for name, arms in parts.items() if arms]
    return found + [
        Unit(name=f"model_{i}", arguments={"kind": "model", "model": name}, cost=2e5)
        for i, name in enumerate(assets.readable(params.models))
    ]


def _unit(
    name: str, params: RlvrBoundaryParams, arms: list[Arm], seed: int, cue: float, *, envelope: bool = False
) -> Unit:
    steps = sum(params.rl_steps if arm.kind == "rl" else params.rft_steps for arm in arms)
    extra = len(params.temperatures) + len(params.rl_temperatures) + 3 if envelope else 0
    measured = len(arms) + extra
    cost = 100 * steps + 2 * measured * (params.problems + params.rare_problems)
    if cue == params.cues[0] and envelope and params.base == "train":
        cost += 30 * (params.pretrain_steps + params.continue_steps)  # the first of a seed trains the base
    given = {"kind": "arms", "seed": seed, "cue": cue, "part": name, "envelope": envelope}
    return Unit(name=f"{name}_seed={seed}", arguments=given, cost=cost)


def run_unit(params: RlvrBoundaryParams, unit: Unit, device: str) -> Tables:
    """Tune and measure the arms of one part, or measure one open model."""
    given = unit.arguments
    if given["kind"] == "model":
        return {"open_models": open_model(params, given["model"], device)}
    seed, cue = given["seed"], given["cue"]
    task, base = task_of(params, seed, cue), base_model(params, seed, device)
    bench = Bench(params, seed, cue, task, base, RARE)
    collected = _Collected()
    if given["envelope"]:
        collected.add(levels=bench.levels())
        measure_base(bench, collected)
    arms = {"controls": control_arms, "sweeps": sweep_arms}.get(given["part"], main_arms)(params)
    for arm in arms:
        measure_arm(arm, bench, collected)
    return collected.tables()


def measure_base(bench: Bench, collected: _Collected) -> None:
    """The base at every temperature, and with the method named in the prompt."""
    base = bench.base
    for temperature in sorted({1.0, *bench.params.temperatures}):
        collected.success(bench.success(base, "base", 0, temperature))
    for temperature in sorted({1.0, min(bench.params.temperatures, default=1.0)}):
        collected.success(bench.success(base, "named", 0, temperature, named=True))
    collected.add(usage=bench.usage(base, "base", 0))
    for temperature in (1.0, COOL):
        collected.add(perplexity=bench.perplexities(base, "base", temperature))


def measure_arm(arm: Arm, bench: Bench, collected: _Collected) -> None:
    """Tune, and measure at the checkpoints and at the end; the chapter's own runs at every temperature too."""
    params = bench.params
    chosen = _checkpoints(arm, params)

    def on_step(step: int, model: Any) -> None:
        if step in chosen:
            collected.success(bench.success(model, arm.name, step))
            collected.add(usage=bench.usage(model, arm.name, step))

    model, log = tune(arm, params, bench.base, bench.task, bench.seed, on_step)
    last = {"rl": params.rl_steps, "rft": params.rft_steps, "distil": params.distil_steps}[arm.kind]
    warmer = params.rl_temperatures if arm.name == "rl" else ()
    for temperature in sorted({1.0, *warmer}):
        collected.success(bench.success(model, arm.name, last, temperature))
    collected.add(usage=bench.usage(model, arm.name, last), perplexity=bench.perplexities(model, arm.name))
    if arm.kind == "rl":
        collected.add(training=_thinned(log).assign(seed=bench.seed, cue=bench.cue, arm=arm.name))


def _checkpoints(arm: Arm, params: RlvrBoundaryParams) -> set[int]:
    """Steps before the last at which an arm is measured: all for the verifier's reward, the first for other rewards."""
    steps = sorted(params.checkpoints) if arm.kind == "rl" else []
    return set(steps[:1] if "reward" in arm.options else steps)


def _thinned(log: pd.DataFrame) -> pd.DataFrame:
    """Means over a few steps: what a figure shows, in a fraction of the rows."""
    block = (log["step"] - 1) // LOG_EVERY
    return log.groupby(block).mean().reset_index(drop=True)


class _Collected:
    """Frames by table, in the order in which they were made."""

    def __init__(self) -> None:
        self._frames: dict[str, list[pd.DataFrame]] = {}

    def add(self, **frames: pd.DataFrame) -> None:
        for name, frame in frames.items():
            self._frames.setdefault(name, []).append(frame)

    def success(self, found: tuple[pd.DataFrame, pd.DataFrame]) -> None:
        self.add(success=found[0], evaluations=found[1])

    def tables(self) -> Tables:
        return {name: pd.concat(frames, ignore_index=True) for name, frames in self._frames.items()}


def open_model(params: RlvrBoundaryParams, name: str, device: str) -> pd.DataFrame:
    """The instrument `passk` on one open model."""
    from evolm.instruments.passk import measure_passk

    options: dict[str, Any] = {"n": params.model_samples, "count": params.model_problems, "device": device}
    if params.model_task == "words":
        problems = str(paths.resource("data") / "problems" / "arithmetic-words.jsonl")
        options["grader"] = "last_number"
    else:
        problems = params.model_task
    options |= {"template": params.model_template, "max_new_tokens": params.model_tokens, "max_rows": OPEN_ROWS}
    return measure_passk([name], problems, temperature=OPEN_TEMPERATURE, seed=params.first_seed, **options)


def key_data(params: RlvrBoundaryParams) -> dict[str, str]:
    """The kept base model where a run starts from it, and which open models are here to be measured."""
    kept = {"base": weights_of(kept_base())} if params.base == "kept" else {}
    return assets.presence(params.models) | kept
