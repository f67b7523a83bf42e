"""A tiny finding for tests of the runner: importable by spawned workers, steered through the environment.

`FAKE_LOG`: a file that gets a line per unit that starts. `FAKE_FAIL` and `FAKE_DIE`: the unit that raises, or
whose process is killed. `FAKE_GATE`: `<unit>:<file>`; that unit waits until the file exists.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd

from evolm.finding import PRESET_NAMES, Citation, Finding, Params, Preset, parameter
from evolm.unit import Unit


class FakeParams(Params):
    rows: int = parameter(3, "rows of each unit's table", unit="rows", ge=0, le=100)
    delay: float = parameter(0.0, "pause in each unit", unit="seconds", ge=0.0, le=60.0)


def units(params: FakeParams, device: str) -> list[Unit]:
    # Costs rise with the seed, so that the last unit starts first.
    return [Unit(name=f"seed={seed}", arguments={"seed": seed}, cost=float(seed)) for seed in params.seed_list]


def run_unit(params: FakeParams, unit: Unit, device: str) -> dict[str, pd.DataFrame]:
    if log := os.environ.get("FAKE_LOG"):
        with open(log, "a") as stream:
            stream.write(f"{unit.name}\n")
    if os.environ.get("FAKE_FAIL") == unit.name:
        raise ValueError("the loss is not finite")
    if os.environ.get("FAKE_DIE") == unit.name:
        os.kill(os.getpid(), signal.SIGKILL)
    gated, _, gate = os.environ.get("FAKE_GATE", "").partition(":")
    while gated == unit.name and not Path(gate).exists():
        time.sleep(0.02)
    time.sleep(params.delay)
    seed = unit.arguments["seed"]
    noise = np.random.default_rng(seed).normal(size=params.rows)
    values = pd.DataFrame({"seed": seed, "arm": "arm", "step": np.arange(params.rows), "value": noise})
    return {"values": values, "odd": pd.DataFrame({"seed": [seed]})} if seed % 2 else {"values": values}


FINDING = Finding(
    name="fake",
    title="Fake",
    sentence="A finding for tests.",
    citations=(Citation(key="none", authors="None", year=2024, title="None", url="https://example.org"),),
    params=FakeParams,
    presets={name: Preset(description=name, overrides={"seeds": 4, "first_seed": 100}) for name in PRESET_NAMES},
    claims=(),
    experiment="fake_experiment",
    estimands="fake_experiment",
)


#: Runs the finding in a process of its own, for tests that kill it: store, seeds, delay, workers.
DRIVER = """
import sys
from pathlib import Path
import fake_experiment
from evolm.record import Store
from evolm.runner import run_experiment
store, seeds, delay, workers = sys.argv[1:]
params = fake_experiment.FINDING.resolve("smoke", seeds=int(seeds), delay=float(delay))
record = run_experiment(
    fake_experiment.FINDING, params, preset="smoke", store=Store(Path(store)), workers=int(workers), progress=False
)
print(record.key)
"""
