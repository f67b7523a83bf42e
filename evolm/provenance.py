"""Where a record comes from and what it cost: versions, commit, hardware; seconds, memory, energy.

    provenance(device="cpu")                # a JSON-ready dict, without host name, user name or paths
    with Meter(device="cpu") as meter:
        ...
    meter.costs                             # {"cpu_s", "gpu_s", "wall_s", "peak_memory_bytes", "energy", ...}

Energy is a measurement only where a GPU's own counter gives one, and then of the GPU board alone; otherwise
it is an estimate by formula, and its `method` says so with the formula's constants.
"""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from evolm import __version__, paths

PACKAGES = ("torch", "numpy", "pandas", "scipy", "transformers")
#: Assumed draw of one busy CPU core with its share of memory and board, in watts; server cores lie between 4 and 15.
WATTS_PER_CPU_CORE = 10.0
#: Assumed draw of a GPU whose counter cannot be read, in watts: a mid-range data-centre board.
WATTS_PER_GPU = 300.0
JOULES_PER_KWH = 3.6e6


def provenance(device: str = "cpu") -> dict[str, Any]:
    """Versions, commit, hardware and system of this run; nothing in it names a person or a machine."""
    memory = psutil.virtual_memory().total
    hardware = {"cpu": _cpu_model(), "cores": cpu_count(), "ram_bytes": memory, "gpu": _gpu_name(device)}
    return {
        "python": platform.python_version(),
        "packages": {"evolm": __version__, **{name: _version(name) for name in PACKAGES}},
        "git": git_state(),
        "hardware": hardware,
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def git_state() -> dict[str, Any] | None:
    """`{"commit", "dirty"}` of the checkout that runs; None outside one, or without git."""
    root = paths.checkout()
    if root is None or _git(root, "rev-parse", "--show-prefix") != "":
        return None  # a copy unpacked inside some other project's repository has not that project's commit
    commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")
    return {"commit": commit, "dirty": bool(changes)} if commit else None


def cpu_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Meter:
    """Measures what happens inside a `with` block; read `costs` after it.

    `cpu_s`: user and system seconds of this process, all its threads, and the children reaped inside the block.
    `gpu_s`: seconds between two CUDA events at the ends of the block; 0 on a CPU. `peak_memory_bytes`: the
    largest resident size that this process or a reaped child has had so far. `energy`: `{"kwh", "method"}`;
    with `codecarbon=True` its offline tracker is asked, which costs seconds to start, where it is installed.
    """

    def __init__(self, device: str = "cpu", *, codecarbon: bool = False) -> None:
        self.costs: dict[str, Any] = {}
        self._on_gpu = device.startswith("cuda")
        self._codecarbon = codecarbon

    def __enter__(self) -> Meter:
        self._tracker = _start_codecarbon() if self._codecarbon and not self._on_gpu else None
        if self._on_gpu:
            import torch

            torch.cuda.reset_peak_memory_stats()
            self._counter = _GpuCounter()
            self._event = torch.cuda.Event(enable_timing=True)
            self._event.record()
        self._started, self._wall, self._cpu = time.time(), time.perf_counter(), _cpu_seconds()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        gpu_seconds, gpu_memory = self._stop_gpu() if self._on_gpu and kind is None else (0.0, 0)
        cpu_seconds = _cpu_seconds() - self._cpu
        self.costs = {
            "cpu_s": cpu_seconds,
            "gpu_s": gpu_seconds,
            "wall_s": time.perf_counter() - self._wall,
            "started": self._started,
            "peak_memory_bytes": _peak_memory(),
            "gpu_peak_memory_bytes": gpu_memory,
        }
        self.costs["energy"] = self._energy(cpu_seconds, gpu_seconds)

    def _stop_gpu(self) -> tuple[float, int]:
        import torch

        end = torch.cuda.Event(enable_timing=True)
        end.record()
        torch.cuda.synchronize()
        return self._event.elapsed_time(end) / 1000.0, torch.cuda.max_memory_allocated()

    def _energy(self, cpu_seconds: float, gpu_seconds: float) -> dict[str, Any]:
        if self._tracker is not None and (estimate := _stop_codecarbon(self._tracker)) is not None:
            return estimate
        if self._on_gpu and (joules := self._counter.joules()) is not None:
            return {"kwh": joules / JOULES_PER_KWH, "method": "measured: NVML counter (GPU board only)"}
        method = f"estimate: cpu_seconds x {WATTS_PER_CPU_CORE:g} W"
        joules = cpu_seconds * WATTS_PER_CPU_CORE
        if self._on_gpu:
            method += f" + gpu_seconds x {WATTS_PER_GPU:g} W"
            joules += gpu_seconds * WATTS_PER_GPU
        return {"kwh": joules / JOULES_PER_KWH, "method": method}


class _GpuCounter:
    """The current GPU's total-energy counter (Volta and later), read through NVML where that is installed."""

    def __init__(self) -> None:
        self._handle: Any = None
        try:
            import pynvml
            import torch

            pynvml.nvmlInit()
            uuid = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
            self._start = self._read()
        except Exception:  # no pynvml, no driver, an old board, a partition: the estimate takes its place
            self._handle = None

    def _read(self) -> float:
        import pynvml

        return pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1000.0  # millijoules to joules

    def joules(self) -> float | None:
        return None if self._handle is None else self._read() - self._start


def _start_codecarbon() -> Any:
    """A started offline tracker, or None where there is none: an estimate of energy must never cost a run."""
    try:
        from codecarbon import OfflineEmissionsTracker

        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # its start-up chatter breaks the progress bar
        # The country decides the grams of CO2, which are not reported; energy does not depend on it.
        tracker = OfflineEmissionsTracker(
            country_iso_code="DEU", save_to_file=False, log_level="critical", allow_multiple_runs=True
        )
        tracker.start()
    except Exception:
        return None
    return tracker


def _stop_codecarbon(tracker: Any) -> dict[str, Any] | None:
    try:
        tracker.stop()
        kwh = float(tracker.final_emissions_data.energy_consumed)
        modes = [getattr(part, "_mode", None) for part in tracker._hardware]
    except Exception:
        return None
    mode = next((mode for mode in modes if mode), "unknown mode")
    return {"kwh": kwh, "method": f"estimate: codecarbon {_version('codecarbon')}, {mode}, whole machine"}


def _cpu_seconds() -> float:
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def _peak_memory() -> int:
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB elsewhere
    return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _gpu_name(device: str) -> str | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.get_device_name()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
