"""Run one finding from parameters to page: validate, compute the record, execute the notebook.

    record, page = execute.run(evolm.finding.get("superposition"), "cpu", {"seeds": 8})

The experiment runs in this process, so the terminal shows its progress and an interrupt keeps what is
finished; the notebook then finds the record in the same store and computes nothing. The page appears
under its name only when it is complete.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import site
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolm import describe, paths
from evolm.finding import Finding, Params
from evolm.forecast import cautions, forecast, take_kept
from evolm.terminal import paragraph

if TYPE_CHECKING:
    from evolm.record import Record

ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class ExecutionError(RuntimeError):
    """A notebook cell raised; the message holds the cell's error and where the partial notebook is."""


def run(
    finding: Finding,
    preset: str = "smoke",
    overrides: Mapping[str, Any] | None = None,
    *,
    fresh: bool = False,
    workers: int | None = None,
    out: Path | None = None,
    progress: bool = True,
) -> tuple[Record, Path]:
    """The record of one run and its executed page.

    `overrides` are parameters that differ from the preset's; `fresh` computes even where a record exists;
    `workers` is the number of processes (None: chosen by the runner); `out` is the page's path, by default
    `pages/` beside the store. Raises `ParameterError` before anything starts and `ExecutionError`
    when a cell raises, `RunInterrupted` on an interrupt. A kept record of exactly this run is copied, not computed.
    """
    overrides = dict(overrides or {})
    params = finding.resolve(preset, **overrides)
    source = notebook(finding)
    check_page(out)

    from evolm.record import Store
    from evolm.runner import RunInterrupted, run_experiment

    store = Store(paths.store())
    kept = "" if fresh else take_kept(finding, params, store)
    expected = forecast(finding, preset, params, store, fresh=fresh)
    if progress:
        cost = expected.sentence if expected.worth_saying else ""
        for sentence in filter(None, [kept, cost, *([] if expected.here else cautions(finding, params))]):
            print(paragraph(sentence), file=sys.stderr)
    record = run_experiment(
        finding, params, preset=preset, store=store, workers=workers, fresh=fresh, progress=progress
    )
    page = out or default_page(finding, preset, params, record)
    try:
        execute_notebook(source, page, {"preset": preset, **_injected(params, overrides)}, progress=progress)
    except KeyboardInterrupt:
        how = "the same command without --fresh continues" if fresh else "the same command continues"
        raise RunInterrupted(f"interrupted; the record is saved; {how}") from None
    return record, page


def notebook(finding: Finding) -> Path:
    """The finding's notebook; raises `FileNotFoundError` naming where it was expected."""
    path = paths.resource("notebooks") / f"{finding.name}.ipynb"
    if not path.is_file():
        raise FileNotFoundError(f"{finding.name} has no notebook: expected {path}")
    return path


def check_page(out: Path | None) -> None:
    """Refuse a page that could not be written, before anything is computed for it."""
    if out is not None and (out.suffix != ".ipynb" or out.is_dir()):
        raise ValueError(f"the page {str(out)!r} must be a file name that ends in .ipynb")


def default_page(finding: Finding, preset: str, params: Params, record: Record) -> Path:
    """`pages/<finding>-<preset>.ipynb` beside the store; a run with other parameters carries its key in the name."""
    changed = f"-{record.key[:8]}" if describe.overrides(finding, preset, params) else ""
    return paths.store().absolute().parent / "pages" / f"{finding.name}-{preset}{changed}.ipynb"


def execute_notebook(source: Path, page: Path, parameters: Mapping[str, Any], *, progress: bool = True) -> None:
    """Execute `source` with papermill into `page`, which appears only when every cell has succeeded.

    A failed run leaves what was executed beside it, as `<page>.failed.ipynb`, and raises `ExecutionError`.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    page = page.absolute()
    page.parent.mkdir(parents=True, exist_ok=True)
    staged = page.with_name(f".{page.stem}-{secrets.token_hex(4)}.ipynb")
    failed = page.with_name(f"{page.stem}.failed.ipynb")
    # Parameters are validated by now; papermill would warn about those that the notebook does not list.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        papermill.execute_notebook(
            _without_templates(source.absolute()),
            _without_templates(staged),
            parameters=dict(parameters),
            cwd=source.absolute().parent,
            progress_bar=progress,
            kernel_manager_class=_kernel_manager(),
            shutdown_kernel="immediate",  # asked politely, an interrupted kernel prints a traceback of its own
        )
    except (PapermillExecutionError, DeadKernelError) as error:
        os.replace(staged, failed)
        raise ExecutionError(f"{source.name} stopped: {_cell_error(error)}. What was executed is in {failed}") from None
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    os.replace(staged, page)
    failed.unlink(missing_ok=True)


def _injected(params: Params, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides as JSON values, after validation: papermill writes them into a cell as Python literals."""
    values = params.model_dump(mode="json")
    return {name: values[name] for name in overrides}


def _without_templates(path: Path) -> str:
    # papermill formats paths with str.format: a brace in a folder's name would raise.
    return str(path).replace("{", "{{").replace("}", "}}")


def _cell_error(error: Any) -> str:
    if not hasattr(error, "ename"):
        return f"the kernel died ({error}); not enough memory is the usual reason"
    message = ANSI_COLOUR.sub("", str(error.evalue)).strip()
    return f"cell In [{error.exec_count}] raised {error.ename}" + (f": {message}" if message else "")


def _kernel_manager() -> type:
    """A kernel manager that starts this very interpreter, whatever kernel specs the user's Jupyter folders hold."""
    import zmq
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    spec = KernelSpec(**get_kernel_dict())
    spec.env = {"EVOLM_STORE": str(paths.store().absolute()).replace("$", "$$")}
    root = str(paths.PACKAGE.parent)
    if root not in site.getsitepackages():
        # Run from a checkout that is not installed: the kernel must import the same package as this process.
        spec.env["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])).replace("$", "$$")

    class ThisInterpreter(AsyncKernelManager):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            if self.has_trait("transport_encryption"):  # since jupyter_client 8.9; kernels warn without it
                self.transport_encryption = "auto" if zmq.has("curve") else "disabled"

        @property
        def kernel_spec(self) -> KernelSpec:
            return spec

    return ThisInterpreter
