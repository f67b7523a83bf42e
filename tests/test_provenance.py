"""Provenance: what it says is so, it says nothing of the person, and a meter's seconds are the process's own."""

from __future__ import annotations

import getpass
import json
import platform
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from evolm import paths, provenance
from evolm.provenance import Meter, git_state


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    monkeypatch.setattr(paths, "checkout", lambda: tmp_path)
    return tmp_path


def test_versions_are_those_that_are_installed() -> None:
    import numpy
    import pandas

    facts = provenance.provenance()
    assert facts["python"] == platform.python_version()
    assert facts["packages"]["numpy"] == numpy.__version__
    assert facts["packages"]["pandas"] == pandas.__version__
    assert facts["hardware"]["gpu"] is None
    assert facts["hardware"]["cores"] >= 1
    assert facts["hardware"]["ram_bytes"] > 2**28
    assert json.loads(json.dumps(facts)) == facts


def test_it_names_no_person_no_machine_and_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "secret-person")
    monkeypatch.setenv("HOSTNAME", "secret-host")
    monkeypatch.setattr(platform, "node", lambda: "secret-host")
    monkeypatch.setattr(getpass, "getuser", lambda: "secret-person")
    text = json.dumps(provenance.provenance())
    assert "secret" not in text
    assert str(paths.PACKAGE.parent) not in text
    assert str(Path.home()) + "/" not in text
    assert set(provenance.provenance()) == {"python", "packages", "git", "hardware", "os"}


def test_the_commit_is_the_checkouts_and_edits_make_it_dirty(repository: Path) -> None:
    assert git_state() == {"commit": git(repository, "rev-parse", "HEAD"), "dirty": False}
    (repository / "code.py").write_text("x = 2\n")
    assert git_state() == {"commit": git(repository, "rev-parse", "HEAD"), "dirty": True}


def test_a_copy_inside_another_projects_repository_has_no_commit(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "vendored").mkdir()
    monkeypatch.setattr(paths, "checkout", lambda: repository / "vendored")
    assert git_state() is None


def test_no_checkout_no_repository_and_no_git_give_no_commit(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state() is None
    monkeypatch.undo()
    monkeypatch.setattr(paths, "checkout", lambda: None)
    assert git_state() is None
    monkeypatch.setattr(paths, "checkout", lambda: tmp_path_factory.mktemp("plain"))
    assert git_state() is None


def test_the_meter_counts_this_processs_cpu_seconds_and_not_its_sleep() -> None:
    before = time.process_time()
    with Meter() as meter:
        while time.process_time() - before < 0.2:
            pass
        time.sleep(0.2)
    after = time.process_time()
    assert meter.costs["cpu_s"] >= 0.19
    assert meter.costs["cpu_s"] <= after - before + 0.01
    assert meter.costs["wall_s"] >= 0.4
    assert meter.costs["gpu_s"] == 0.0
    assert meter.costs["gpu_peak_memory_bytes"] == 0


def test_the_meter_counts_children_that_were_reaped() -> None:
    spin = "import time\nwhile time.process_time() < 0.3: pass"
    with Meter() as meter:
        subprocess.run([sys.executable, "-c", spin], check=True)
    assert meter.costs["cpu_s"] >= 0.28  # the system counts children in hundredths


def test_peak_memory_includes_what_the_block_held() -> None:
    with Meter() as meter:
        held = bytearray(b"x") * 300_000_000
    assert meter.costs["peak_memory_bytes"] >= len(held)


def test_the_estimate_of_energy_is_named_and_follows_its_formula() -> None:
    with Meter() as meter:
        sum(range(10**6))
    energy = meter.costs["energy"]
    assert energy["method"] == "estimate: cpu_seconds x 10 W"
    assert energy["kwh"] == pytest.approx(meter.costs["cpu_s"] * 10.0 / 3.6e6)


@pytest.mark.filterwarnings("ignore:The save_to_")
def test_codecarbon_is_named_an_estimate_with_its_mode() -> None:
    pytest.importorskip("codecarbon")
    with Meter(codecarbon=True) as meter:
        time.sleep(0.1)
    assert meter.costs["energy"]["method"].startswith("estimate: codecarbon ")
    assert meter.costs["energy"]["kwh"] >= 0.0


@pytest.mark.parametrize("fails_at", ["import", "start", "stop"])
def test_a_codecarbon_that_fails_leaves_the_formula(monkeypatch: pytest.MonkeyPatch, fails_at: str) -> None:
    class Tracker:
        def __init__(self, **options: object) -> None: ...

        def start(self) -> None:
            assert fails_at != "start"

        def stop(self) -> None:
            raise RuntimeError("no power figures")

    module = types.SimpleNamespace(OfflineEmissionsTracker=Tracker)
    monkeypatch.setitem(sys.modules, "codecarbon", None if fails_at == "import" else module)
    with Meter(codecarbon=True) as meter:
        pass
    assert meter.costs["energy"]["method"].startswith("estimate: cpu_seconds")


class FakeEvent:
    def __init__(self, enable_timing: bool) -> None: ...

    def record(self) -> None: ...

    def elapsed_time(self, end: FakeEvent) -> float:
        return 2500.0  # milliseconds


@pytest.mark.parametrize("counter", [True, False])
def test_gpu_energy_is_a_measurement_only_with_a_counter(monkeypatch: pytest.MonkeyPatch, counter: bool) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 123)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: types.SimpleNamespace(uuid="abc"))
    readings = iter([1_000_000, 8_200_000])  # millijoules: 7200 J = 0.002 kWh
    nvml = types.SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: {"GPU-abc": "handle"}[uuid],
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(readings),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml if counter else None)
    with Meter("cuda") as meter:
        pass
    assert meter.costs["gpu_s"] == 2.5
    assert meter.costs["gpu_peak_memory_bytes"] == 123
    energy = meter.costs["energy"]
    if counter:
        assert energy == {"kwh": pytest.approx(0.002), "method": "measured: NVML counter (GPU board only)"}
    else:
        assert energy["method"] == "estimate: cpu_seconds x 10 W + gpu_seconds x 300 W"
        assert energy["kwh"] == pytest.approx((2.5 * 300.0 + meter.costs["cpu_s"] * 10.0) / 3.6e6)
