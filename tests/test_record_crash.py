"""Records survive what happens to processes: kill -9 at any moment, two writers of one key, an interrupted run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import fake_experiment
import psutil
import pytest
from fake_experiment import DRIVER, FINDING
from interrupts import interruptible

from evolm.record import Record, Store
from evolm.runner import plan_run, run_experiment

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
SEEDS, DELAY = 5, 0.1


def start(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "EVOLM_DEVICE": "cpu", **environment}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=interruptible, **streams)


def kill_9(process: subprocess.Popen[str]) -> None:
    """Kill the process alone, as the kernel would, and see that its workers end by themselves."""
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    alive = psutil.wait_procs(workers, timeout=30)[1]
    for worker in alive:
        worker.kill()
    assert alive == [], "workers outlived the process that started them"


def until(condition: object, process: subprocess.Popen[str]) -> None:
    while not condition():  # type: ignore[operator]
        if process.poll() is not None:
            pytest.fail(f"the process ended early: {process.communicate()[1]}")
        time.sleep(0.005)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def bits(record: Record) -> dict[str, str]:
    record.verify()
    return {name: entry["sha256"] for name, entry in record.manifest["tables"].items()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """sha256 of each table of the run that the killed ones must end up equal to."""
    process = start(DRIVER, store := tmp_path_factory.mktemp("whole"), SEEDS, DELAY, 1)
    out, error = process.communicate()
    assert process.returncode == 0, error
    record = Store(store).find("fake", out.strip())
    assert record is not None
    return bits(record)


@pytest.mark.parametrize(("units_before", "workers"), [(0, 2), (1, 2), (2, 1), (3, 2), (5, 2)])
def test_a_run_killed_at_any_moment_resumes_to_the_same_record(
    tmp_path: Path, uninterrupted: dict[str, str], monkeypatch: pytest.MonkeyPatch, units_before: int, workers: int
) -> None:
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    params = FINDING.resolve("smoke", seeds=SEEDS, delay=DELAY)
    monkeypatch.setenv("EVOLM_DEVICE", "cpu")
    monkeypatch.setenv("FAKE_LOG", str(log))
    process = start(DRIVER, store.root, SEEDS, DELAY, workers, FAKE_LOG=str(log))
    until(lambda: len(list(store.root.glob("fake/.partial-*/unit-*"))) >= units_before, process)
    time.sleep(random.Random(units_before).uniform(0.0, DELAY))
    kill_9(process)

    plan = plan_run(FINDING, params, store)
    finished = store.find("fake", plan.key)
    assert finished is not None or len(plan.saved) >= units_before
    record = run_experiment(FINDING, params, preset="smoke", store=store, workers=1, progress=False)

    assert bits(record) == uninterrupted
    runs = Counter(lines(log))
    assert set(runs) == {unit.name for unit in fake_experiment.units(params, "cpu")}
    assert all(runs[name] == 1 for name in plan.saved), "a finished unit was computed again"
    assert store.verify() == []
    assert [record.key for record in store.records()] == [plan.key]
    store.gc(older_than=0.0)
    assert sorted(path.name for path in (store.root / "fake").iterdir()) == [plan.key]


WRITER = """
import sys
from pathlib import Path
import numpy as np
import pandas as pd
from evolm.record import Store
store, rng = Store(Path(sys.argv[1])), np.random.default_rng(0)
tables = {name: pd.DataFrame({"x": rng.normal(size=20_000)}) for name in ("a", "b", "c")}
for number in range(100_000):
    key = f"{number:016x}"
    store.shards("toy", key).save("only", {"a": tables["a"]}, {})
    store.commit("toy", key, tables, {})
    store.commit("toy", key, tables, {"params": {"again": 1}}, replace=True)
    print(key, flush=True)
"""


@pytest.mark.parametrize("moment", [random.Random(17 * i).uniform(0.0, 0.15) for i in range(5)])
def test_a_writer_killed_at_a_random_moment_leaves_only_whole_records(tmp_path: Path, moment: float) -> None:
    process = start(WRITER, tmp_path)
    assert process.stdout is not None
    announced = process.stdout.readline().strip()
    time.sleep(moment)
    process.kill()
    announced_later = process.communicate()[0].split()
    store = Store(tmp_path)
    assert store.verify() == []
    assert {announced, *announced_later} <= {record.key for record in store.records()}
    for record in store.records():
        assert {name: len(frame) for name, frame in record.tables().items()} == {"a": 20_000, "b": 20_000, "c": 20_000}
    store.gc(older_than=0.0)
    assert list((tmp_path / "toy").glob(".*")) == []


RIVAL = """
import sys, time
from pathlib import Path
import pandas as pd
from evolm.record import Store
store, name, barrier = Store(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3])
frame = pd.DataFrame({"writer": [name] * 2000, "x": range(2000)})
(barrier / name).touch()
while len(list(barrier.iterdir())) < 2:
    pass
for number in range(25):
    key = f"{number:016x}"
    store.shards("toy", key).save("only", {"t": frame}, {})
    print(key, store.commit("toy", key, {"t": frame}, {}).tables()["t"]["writer"][0])
"""


def test_two_writers_of_the_same_keys_at_once_both_get_one_whole_record(tmp_path: Path) -> None:
    barrier = tmp_path / "barrier"
    barrier.mkdir()
    rivals = [start(RIVAL, tmp_path / "store", name, barrier) for name in ("one", "two")]
    answers = []
    for process in rivals:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        answers.append(out.splitlines())
    assert answers[0] == answers[1]  # whoever won a key, both were given the winner's record
    assert len(answers[0]) == 25
    store = Store(tmp_path / "store")
    assert store.verify() == []
    assert len(store.records()) == 25
    assert list((store.root / "toy").glob(".tmp-*")) == []


def test_two_runs_of_the_same_key_at_once_give_one_record(tmp_path: Path, uninterrupted: dict[str, str]) -> None:
    gate = tmp_path / "gate"
    runs = [
        start(DRIVER, tmp_path / "store", SEEDS, DELAY, 1, FAKE_GATE=f"seed=104:{gate}", FAKE_LOG=str(tmp_path / name))
        for name in ("one", "two")
    ]
    for name, process in zip(("one", "two"), runs, strict=True):
        until(lambda name=name: lines(tmp_path / name), process)
    gate.touch()
    keys = []
    for process in runs:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        keys.append(out.strip())
    store = Store(tmp_path / "store")
    [record] = store.records()
    assert keys == [record.key, record.key]
    assert bits(record) == uninterrupted
    assert store.verify() == []


def test_ctrl_c_keeps_the_finished_units_and_says_how_to_go_on(tmp_path: Path, uninterrupted: dict[str, str]) -> None:
    gate = tmp_path / "gate"
    process = start(DRIVER, tmp_path / "store", SEEDS, DELAY, 2, FAKE_GATE=f"seed=101:{gate}")
    until(lambda: len(list(tmp_path.glob("store/fake/.partial-*/unit-*"))) == 4, process)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # a terminal signals the whole group
    _, error = process.communicate(timeout=60)
    assert (
        error.strip()
        .splitlines()[-1]
        .endswith("RunInterrupted: interrupted: 4 of 5 units are saved; the same command resumes")
    )
    assert error.count("Traceback") == 1  # the workers said nothing
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    gate.touch()
    log = tmp_path / "log"
    again = start(DRIVER, tmp_path / "store", SEEDS, DELAY, 2, FAKE_LOG=str(log))
    out, error = again.communicate(timeout=120)
    assert again.returncode == 0, error
    assert lines(log) == ["seed=101"]
    record = Store(tmp_path / "store").find("fake", out.strip())
    assert record is not None
    assert bits(record) == uninterrupted
