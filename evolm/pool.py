"""Runs units of one experiment and saves each as it finishes: here, or in processes of one thread each.

    run_units(job, units, workers=2, progress=Progress(...))

The process that runs a unit saves it, so that nothing finished is lost when any process is killed. Workers
are spawned, not forked (torch threads and CUDA do not survive a fork), and end by themselves when this
process does, however it ends.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

from tqdm import tqdm

from evolm.finding import Params
from evolm.provenance import Meter
from evolm.record import Store
from evolm.unit import Unit

#: Read by OpenMP, MKL and OpenBLAS when they start: a worker is one core, and one thread sums in one order.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class UnitFailed(RuntimeError):
    """A unit of an experiment raised, or its process died; the message names it."""


@dataclass(frozen=True)
class Job:
    """What a process needs to know to run any unit of one run and to save it."""

    finding: str
    experiment: str
    params: Params
    device: str
    root: Path
    key: str

    def run(self, unit: Unit) -> None:
        """Run one unit, measure its cost, save both. Raises `UnitFailed`, or `StoreError` from the disk."""
        try:
            with Meter(self.device) as meter:
                module = importlib.import_module(self.experiment)
                if "torch" in sys.modules:  # not imported for this alone, which takes seconds
                    from evolm.bfloat16 import multiply_through_float32

                    multiply_through_float32()
                tables = module.run_unit(self.params, unit, self.device)
        except Exception as error:
            raise UnitFailed(f"unit {unit.name} of {self.finding} failed: {type(error).__name__}: {error}") from error
        Store(self.root).shards(self.finding, self.key).save(unit.name, tables, meter.costs)


class Progress:
    """A bar on stderr over the summed cost of all units, with the time that remains."""

    def __init__(self, finding: str, units: Sequence[Unit], missing: Sequence[Unit], *, shown: bool) -> None:
        self._finding, self._units, self._done = finding, len(units), len(units) - len(missing)
        self._total = total = sum(unit.cost for unit in units)
        self._bar = tqdm(
            total=total,
            initial=max(0.0, total - sum(unit.cost for unit in missing)),  # sums of floats may end just outside
            desc=self._title(),
            bar_format="{desc} {percentage:3.0f}%|{bar:24}| {elapsed}<{remaining}",
            ascii=True,
            smoothing=0,
            file=sys.stderr,
            disable=not shown,
        )

    def finished(self, unit: Unit) -> None:
        self._done += 1
        self._bar.set_description_str(self._title(), refresh=False)
        self._bar.n = min(self._bar.n + unit.cost, self._total)  # not `update`, which draws as its clock says
        self._bar.refresh()

    def tick(self) -> None:
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()

    def _title(self) -> str:
        return f"{self._finding}: {self._done}/{self._units} units"


def run_units(job: Job, units: Sequence[Unit], workers: int, progress: Progress) -> None:
    """Run and save `units`, in this process (one worker, or a GPU) or in several.

    The first unit that fails stops the others and is raised; what had finished stays saved.
    """
    workers = min(workers, len(units))
    try:
        if workers > 1 and job.device == "cpu":
            _run_in_processes(job, units, workers, progress)
        else:
            with _one_thread_here() if job.device == "cpu" else contextlib.nullcontext():
                for unit in units:
                    job.run(unit)
                    progress.finished(unit)
    finally:
        progress.close()


def _run_in_processes(job: Job, units: Sequence[Unit], workers: int, progress: Progress) -> None:
    context = multiprocessing.get_context("spawn")
    reader, lifeline = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, initializer=_begin_worker, initargs=(reader,))
    try:
        with _environment_of_workers(job):  # `submit` spawns
            futures = {pool.submit(job.run, unit): unit for unit in units}
        for future in _as_finished(futures, progress):
            future.result()
            progress.finished(futures[future])
    except BrokenProcessPool:
        lifeline.close()
        raise UnitFailed(
            f"a worker process of {job.finding} died; out of memory is the usual cause. What had finished is saved: "
            "the same command resumes, and with EVOLM_WORKERS=1 needs the least memory."
        ) from None
    except BaseException:
        lifeline.close()  # ends the workers now, in the middle of their units
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        lifeline.close()
        reader.close()


def _as_finished(futures: dict[Future[None], Unit], progress: Progress) -> Iterator[Future[None]]:
    pending = set(futures)
    # A terminal sees the clock run; a log or a notebook's output is written only when a unit finishes.
    period = 1.0 if sys.stderr.isatty() else None
    while pending:
        done, pending = wait(pending, timeout=period, return_when=FIRST_COMPLETED)
        progress.tick() if not done else None
        yield from done


def _begin_worker(lifeline: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent alone answers it
    threading.Thread(target=_die_with_parent, args=(lifeline,), daemon=True).start()


def _die_with_parent(lifeline: Connection) -> None:
    # Nothing is ever sent: the read ends when the parent closes its end, or is killed and so closes it.
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)


@contextlib.contextmanager
def _environment_of_workers(job: Job) -> Iterator[None]:
    """What spawned processes inherit: one thread each, no traceback of their own on Ctrl-C while they start."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    os.environ.update(ONE_THREAD)
    main = sys.modules["__main__"]
    if type(job.params).__module__ != "__main__":
        # A worker would import the main module anew. It needs nothing of it, and a script read from a pipe,
        # or one without `if __name__ == "__main__"`, cannot be imported.
        sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _one_thread_here() -> Iterator[None]:
    """One torch thread, as in a worker: the same sums in the same order, so the same bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
