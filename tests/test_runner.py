"""The runner: same tables whatever the order, nothing computed twice, every failure a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import types
import warnings
from pathlib import Path

import fake_experiment
import pandas as pd
import pytest
from fake_experiment import DRIVER, FINDING

from evolm import provenance
from evolm.finding import Finding, Params
from evolm.pool import Progress
from evolm.record import DamagedRecord, Record, Store
from evolm.runner import UnitFailed, choose_device, plan_run, run_experiment, total_costs, worker_count
from evolm.unit import Unit

ROOT = Path(__file__).resolve().parent.parent
SMOKE = FINDING.resolve("smoke")


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the fake experiment writes the name of each unit that starts."""
    monkeypatch.setenv("EVOLM_DEVICE", "cpu")
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    monkeypatch.delenv("EVOLM_WORKERS", raising=False)
    (tmp_path / "log").touch()
    return tmp_path / "log"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def run(store: Store, finding: Finding = FINDING, params: Params = SMOKE, **options: object) -> Record:
    return run_experiment(
        finding, params, **{"preset": "smoke", "store": store, "workers": 1, "progress": False} | options
    )


def finding_with(monkeypatch: pytest.MonkeyPatch, **attributes: object) -> Finding:
    """The fake finding with parts of its experiment's module replaced, in this process."""
    for name, value in attributes.items():
        monkeypatch.setattr(fake_experiment, name, value, raising=False)
    return FINDING


def test_tables_come_in_the_order_of_the_units_not_of_their_costs(store: Store, log: Path) -> None:
    record = run(store)
    assert log.read_text().split() == ["seed=103", "seed=102", "seed=101", "seed=100"]  # the costliest first
    assert record.tables()["values"]["seed"].tolist() == [s for s in (100, 101, 102, 103) for _ in range(3)]
    assert record.tables()["odd"]["seed"].tolist() == [101, 103]


def test_the_manifest_says_what_ran_on_what_and_what_it_cost(store: Store) -> None:
    manifest = run(store).manifest
    assert manifest["preset"] == "smoke"
    assert manifest["params"] == {"seeds": 4, "first_seed": 100, "rows": 3, "delay": 0.0}
    assert manifest["seeds"] == [100, 101, 102, 103]
    assert manifest["key_inputs"]["device"] == "cpu"
    assert "fake_experiment" in manifest["key_inputs"]["sources"]
    assert set(manifest["costs"]) == {
        "cpu_s", "gpu_s", "wall_s", "peak_memory_bytes", "gpu_peak_memory_bytes", "energy",
    }  # fmt: skip
    assert manifest["started"].endswith("+00:00")
    assert str(ROOT) not in str(manifest)


def test_the_commit_and_the_versions_are_those_at_the_start_of_the_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"commit": "first", "torch": "1.0"}
    monkeypatch.setattr(provenance, "git_state", lambda: {"commit": state["commit"], "dirty": False})
    monkeypatch.setattr(provenance, "_version", lambda name: state["torch"])
    run_unit = fake_experiment.run_unit

    def run_unit_and_commit(params: Params, unit: Unit, device: str) -> dict[str, pd.DataFrame]:
        state.update(commit="second", torch="2.0")
        return run_unit(params, unit, device)

    source = run(store, finding_with(monkeypatch, run_unit=run_unit_and_commit)).manifest["provenance"]
    assert state["commit"] == "second"
    assert source["git"] == {"commit": "first", "dirty": False}
    assert source["packages"]["torch"] == "1.0"


def test_two_processes_give_the_bits_of_one(store: Store, tmp_path: Path, log: Path) -> None:
    one = run(store, workers=1)
    two = run(Store(tmp_path / "other"), workers=2)
    assert two.manifest["tables"] == one.manifest["tables"]
    assert two.key == one.key
    assert len(log.read_text().split()) == 8


def test_a_record_that_is_there_is_returned_and_nothing_runs(store: Store, log: Path) -> None:
    first = run(store)
    log.write_text("")
    assert run(store) == first
    assert log.read_text() == ""


def test_a_damaged_record_is_refused_and_fresh_replaces_it(store: Store, log: Path) -> None:
    first = run(store)
    good = first.manifest["tables"]
    (first.path / "odd.parquet").write_bytes(b"PAR1")
    log.write_text("")
    with pytest.raises(DamagedRecord, match=r"odd\.parquet"):
        run(store)
    assert log.read_text() == ""
    assert run(store, fresh=True).manifest["tables"] == good
    assert len(log.read_text().split()) == 4
    assert store.verify() == []


def test_a_damaged_shard_is_refused_by_name_and_fresh_forgets_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAIL", "seed=100")
    with pytest.raises(UnitFailed):
        run(store)
    monkeypatch.delenv("FAKE_FAIL")
    [table] = store.root.glob("fake/.partial-*/unit-seed=102/values.parquet")
    table.write_bytes(table.read_bytes()[:-1])
    with pytest.raises(DamagedRecord, match=r"unit-seed=102/values\.parquet.*delete the folder"):
        run(store)
    run(store, fresh=True)
    assert store.verify() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_unit_is_named_and_the_others_are_not_run_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, log: Path, workers: int
) -> None:
    monkeypatch.setenv("FAKE_FAIL", "seed=100")
    with pytest.raises(UnitFailed, match="unit seed=100 of fake failed: ValueError: the loss is not finite"):
        run(store, workers=workers)
    assert store.records() == []
    plan = plan_run(FINDING, SMOKE, store)
    assert plan.saved <= {"seed=101", "seed=102", "seed=103"}
    assert len(plan.saved) >= 2
    monkeypatch.delenv("FAKE_FAIL")
    log.write_text("")
    record = run(store, workers=workers)
    assert sorted(log.read_text().split()) == sorted(unit.name for unit in plan.missing)
    assert record.tables()["values"]["seed"].nunique() == 4


def test_a_worker_that_is_killed_is_reported_with_what_to_do(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_DIE", "seed=100")
    with pytest.raises(UnitFailed, match=r"out of memory.*EVOLM_WORKERS=1"):
        run(store, workers=2)
    monkeypatch.delenv("FAKE_DIE")
    assert plan_run(FINDING, SMOKE, store).saved
    run(store)


def test_fresh_recomputes_everything_and_keeps_the_old_record_until_then(
    store: Store, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(store)
    log.write_text("")
    monkeypatch.setenv("FAKE_FAIL", "seed=100")
    with pytest.raises(UnitFailed):
        run(store, fresh=True)
    assert run(store) == first
    monkeypatch.delenv("FAKE_FAIL")
    log.write_text("")
    run(store, fresh=True)
    assert len(log.read_text().split()) == 4


def test_parameters_that_differ_from_the_presets_are_recorded_as_custom(store: Store) -> None:
    params = FINDING.resolve("smoke", rows=2)
    assert run(store, params=params).preset == "custom"


def test_parameters_data_and_sources_change_the_key(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {plan_run(FINDING, SMOKE, store).key, plan_run(FINDING, FINDING.resolve("smoke", rows=2), store).key}
    finding_with(monkeypatch, key_data=lambda params: {"corpus": "sha256 of it"})
    keys.add(plan_run(FINDING, SMOKE, store).key)
    finding_with(monkeypatch, DTYPE="float64")
    keys.add(plan_run(FINDING, SMOKE, store).key)
    monkeypatch.setattr("evolm.runner.source_closure", lambda module: {module: "another"})
    keys.add(plan_run(FINDING, SMOKE, store).key)
    assert len(keys) == 5


def test_finish_sees_the_joined_tables(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def finish(params: Params, tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        return {"mean": tables["values"].groupby("seed", as_index=False)["value"].mean()}

    record = run(store, finding_with(monkeypatch, finish=finish))
    assert record.tables()["mean"]["seed"].tolist() == [100, 101, 102, 103]


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_no_units_or_two_of_one_name_are_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    finding = finding_with(monkeypatch, units=lambda params, device: [Unit(name=name) for name in names])
    with pytest.raises(ValueError, match="at least one unit, each with its own name"):
        run(store, finding)


def test_an_interrupt_says_what_is_saved(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fake_experiment.run_unit

    def interrupted_at_101(params: Params, unit: Unit, device: str) -> dict[str, pd.DataFrame]:
        if unit.name == "seed=101":
            raise KeyboardInterrupt
        return real(params, unit, device)

    finding = finding_with(monkeypatch, run_unit=interrupted_at_101)
    with pytest.raises(KeyboardInterrupt, match="interrupted: 2 of 4 units are saved; the same command resumes"):
        run(store, finding)
    with pytest.raises(KeyboardInterrupt, match="the same command without --fresh resumes"):
        run(store, finding, fresh=True)
    monkeypatch.setattr(fake_experiment, "run_unit", real)
    run(store)
    finding_with(monkeypatch, run_unit=interrupted_at_101)
    with pytest.raises(KeyboardInterrupt, match="the record that was there before stands"):
        run(store, finding, fresh=True)


def test_units_run_on_one_torch_thread_which_is_given_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = []

        def run_unit(params: Params, unit: Unit, device: str) -> dict[str, pd.DataFrame]:
            seen.append(torch.get_num_threads())
            return {}

        run(store, finding_with(monkeypatch, run_unit=run_unit))
        assert seen == [1, 1, 1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_environment_of_this_process_is_left_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    run(store, workers=2)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("how", ["from a pipe", "as a file"])
def test_a_main_that_cannot_be_imported_can_start_workers(store: Store, tmp_path: Path, how: str) -> None:
    """As in a notebook's kernel, or in a script without `if __name__ == "__main__"`."""
    (tmp_path / "script.py").write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    main = "-" if how == "from a pipe" else str(tmp_path / "script.py")
    command = [sys.executable, main, str(store.root), "2", "0", "2"]
    done = subprocess.run(command, input=DRIVER, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [record.key for record in store.records()] == done.stdout.split()


def test_the_bar_counts_units_on_stderr_in_ascii_and_can_be_silenced(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    run(store, progress=True)
    shown = capsys.readouterr()
    assert "fake: 4/4 units 100%" in shown.err
    assert shown.err.isascii()
    assert shown.out == ""
    run(store, fresh=True, progress=False)
    assert capsys.readouterr().err == ""


# --- device and workers -------------------------------------------------------------------------------------------


def test_an_unknown_device_is_refused_with_the_ones_there_are(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setenv("EVOLM_DEVICE", "tpu")
    with pytest.raises(ValueError, match="EVOLM_DEVICE is 'tpu'; expected one of cpu, cuda"):
        run(store)


def test_the_device_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", fake)
    assert choose_device() == "cpu"  # as EVOLM_DEVICE says
    monkeypatch.delenv("EVOLM_DEVICE")
    assert choose_device() == "cuda"
    fake.cuda.is_available = lambda: False
    assert choose_device() == "cpu"
    monkeypatch.setenv("EVOLM_DEVICE", "cuda")
    with pytest.raises(ValueError, match="torch sees no GPU"):
        choose_device()


def test_the_number_of_workers_comes_from_the_call_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_count(3) == 3
    monkeypatch.setenv("EVOLM_WORKERS", "5")
    assert worker_count() == 5
    assert worker_count(3) == 3
    for bad in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("EVOLM_WORKERS", bad)
        with pytest.raises(ValueError, match="a whole number from 1"):
            worker_count()
    with pytest.raises(ValueError, match="number of workers is 0"):
        worker_count(0)


# --- costs ----------------------------------------------------------------------------------------------------------


def cost(started: float, wall: float, cpu: float, memory: int, method: str = "estimate: a") -> dict[str, object]:
    energy = {"kwh": cpu / 10, "method": method}
    peak = {"peak_memory_bytes": memory, "gpu_peak_memory_bytes": 0}
    return {"started": started, "wall_s": wall, "cpu_s": cpu, "gpu_s": 0.5, "energy": energy, **peak}


def test_the_cost_of_a_run_adds_up_over_an_interruption() -> None:
    # Two units side by side, a pause of 1000 s, a third: 0-10 and 5-12, then 1012-1020.
    units = [cost(1012.0, 8.0, 3.0, 5), cost(0.0, 10.0, 4.0, 9), cost(5.0, 7.0, 2.0, 7, "estimate: b")]
    total = total_costs(units, {"kwh": 99.0, "method": "estimate: cpu_seconds"})
    assert total["wall_s"] == 20.0
    assert total["cpu_s"] == 9.0
    assert total["gpu_s"] == 1.5
    assert total["peak_memory_bytes"] == 9
    assert total["started"] == 0.0
    assert total["energy"] == {"kwh": pytest.approx(0.9), "method": "estimate: a; estimate: b"}


def test_energy_is_codecarbons_where_it_watched_the_run() -> None:
    watched = {"kwh": 99.0, "method": "estimate: codecarbon 3, cpu_load, whole machine"}
    assert total_costs([cost(0.0, 1.0, 1.0, 1)], watched)["energy"] == watched


# --- progress -------------------------------------------------------------------------------------------------------


def test_the_bar_never_passes_its_end_whatever_the_order_of_the_sums(capsys: pytest.CaptureFixture[str]) -> None:
    units = [Unit(name=f"u{cost}", arguments={}, cost=cost) for cost in (0.3, 0.2, 0.1)]
    assert sum(unit.cost for unit in units) < sum(unit.cost for unit in reversed(units))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bar = Progress("toy", units, units, shown=True)
        for unit in reversed(units):
            bar.finished(unit)
        bar.close()
    assert "toy: 3/3 units 100%" in capsys.readouterr().err
