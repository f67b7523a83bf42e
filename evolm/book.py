"""Build the book: run the findings, stage what they gave beside the prose, and render it strictly.

    result = book.build("smoke")
    print(result.report())

The pages are made in `_build/staged/` and moved to `_build/html/` in one step when all of them are
complete, so an interrupted or failed build leaves the last good book as it was.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolm import finding, machine, paths, scoreboard
from evolm.finding import Finding

if TYPE_CHECKING:
    from evolm.record import Record
    from evolm.verdict import Verdict

Judged = list[tuple["Record", "Sequence[Verdict]"]]
#: Runs one finding at a preset and writes its executed notebook to the path; gives the record of that run.
Execute = Callable[[Finding, str, Path], "Record"]
REPORT_LINES = 40
PLOTLY_MIME = "application/vnd.plotly.v1+json"  # JupyterLab's own; the page has the same figure as HTML
COLOUR_CODES = re.compile(r"\x1b\[[0-9;]*m")
#: Cells that set parameters: the page folds them, because its table of parameters says the same.
PARAMETER_TAGS = {"parameters", "injected-parameters"}


class BookError(RuntimeError):
    """The book could not be built; the message says which step failed and what to do."""


@dataclass(frozen=True)
class BuildResult:
    """Where the pages are, and every verdict that they show, best evidence first."""

    html: Path
    rows: tuple[scoreboard.Row, ...]
    seconds: float
    keys: frozenset[str] = frozenset()  # of the records that this build ran or found

    @property
    def index(self) -> Path:
        return self.html / "index.html"

    def report(self) -> str:
        """One line per claim, the best evidence beside this run's verdict, and the page to open."""
        here = Path.cwd()
        page = self.index.relative_to(here) if self.index.is_relative_to(here) else self.index
        return f"{scoreboard.side_by_side(self.rows, self.keys)}\n\n{self.seconds:.0f} s; open {page}"


def build(
    preset: str = "smoke",
    out: Path | None = None,
    *,
    root: Path | None = None,
    findings: Iterable[Finding] | None = None,
    execute: Execute | None = None,
    judged: Callable[[Finding, Record], Judged] | None = None,
) -> BuildResult:
    """Execute every finding at `preset`, stage the pages and render them into `out`.

    `root` is the checkout with `_config.yml` (default: the one this package lives in), `out` defaults to
    `<root>/_build/html`. `execute` is how a finding is run, `judged` gives the evidence to show: the kept
    records and the fresh one, with their verdicts. Raises `BookError` when rendering gives a single
    warning; what was in `out` is then untouched.
    """
    root = root or paths.checkout()
    if root is None or not (root / "_config.yml").is_file():
        raise BookError("the book is built from a source checkout: no _config.yml was found; clone the project first")
    started = time.monotonic()
    out = (out or root / "_build" / "html").absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    chosen = list(finding.findings().values() if findings is None else findings)
    with _only_builder(out.parent):
        _recover(out)
        staged = out.parent / "staged"
        _stage_sources(root, staged)
        _check_contents(staged, chosen)
        rows, runs = _run_findings(chosen, preset, staged, execute or _execute, judged or _judged)
        _execute_prose(root, staged)
        _write_generated(staged, rows, machine.page(runs))
        _say("pages: rendering with Sphinx, every warning an error")
        _render(staged)
        _swap(staged / "_build" / "html", out)
    keys = frozenset(run.record.key for run in runs)
    return BuildResult(out, tuple(rows), time.monotonic() - started, keys)


def _say(phase: str) -> None:
    """A line per phase: a build takes minutes, and a terminal that says nothing looks stuck."""
    print(f"evolm book: {phase}", file=sys.stderr, flush=True)


def _execute(which: Finding, preset: str, page: Path) -> Record:
    from evolm import execute

    record, _ = execute.run(which, preset, out=page)
    return record


def _judged(which: Finding, fresh: Record) -> Judged:
    from evolm import judging

    known: Judged = [*judging.judged(which)]
    if fresh.key not in {record.key for record, _ in known}:
        known.append((fresh, judging.verdicts(which, fresh)))
    return known


def _run_findings(
    chosen: Sequence[Finding], preset: str, staged: Path, execute: Execute, judged: Callable[[Finding, Record], Judged]
) -> tuple[list[scoreboard.Row], list[machine.Run]]:
    rows, runs = [], []
    for which in chosen:
        page = staged / "notebooks" / f"{which.name}.ipynb"
        begun = time.monotonic()
        _say(f"{which.name}: preset {preset}, running the experiment or finding its record, then the notebook")
        record = execute(which, preset, page)
        runs.append(machine.Run(which.title, which.name, record, time.monotonic() - begun))
        _tidy(page)
        rows += scoreboard.rows(which, judged(which, record))
    return rows, runs


def _stage_sources(root: Path, staged: Path) -> None:
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml", "CONTRIBUTING.md"):  # the last is included by a page
        shutil.copyfile(root / name, staged / name)
    ignore = shutil.ignore_patterns("*.ipynb", ".ipynb_checkpoints", "__pycache__", "*.py")
    shutil.copytree(root / "book", staged / "book", ignore=ignore)
    (staged / "notebooks").mkdir()


def _execute_prose(root: Path, staged: Path) -> None:
    """Execute the notebooks among the prose pages (Method): they draw kept tables and take no parameters."""
    from evolm import execute

    for source in sorted((root / "book").glob("*.ipynb")):
        page = staged / "book" / source.name
        _say(f"{source.stem}: executing its notebook")
        execute.execute_notebook(source, page, {}, progress=False)
        _tidy(page)


def _tidy(page: Path) -> None:
    """Fold the cells that set parameters, and drop papermill's notes, which hold this machine's folders."""
    notebook = json.loads(page.read_text(encoding="utf-8"))
    notebook["metadata"].pop("papermill", None)
    for cell in notebook["cells"]:
        cell["metadata"].pop("papermill", None)
        tags: list[Any] = cell["metadata"].get("tags", [])
        if PARAMETER_TAGS & set(tags) and "hide-input" not in tags:
            cell["metadata"]["tags"] = [*tags, "hide-input"]
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):
                output["data"].pop(PLOTLY_MIME, None)
    page.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_generated(staged: Path, rows: Sequence[scoreboard.Row], machine_page: str) -> None:
    generated = staged / "book" / "_generated"
    generated.mkdir(exist_ok=True)
    (generated / "scoreboard.html").write_text(scoreboard.scoreboard_html(rows), encoding="utf-8")
    (generated / "summary.html").write_text(scoreboard.summary_html(rows), encoding="utf-8")
    (staged / "book" / "machine.md").write_text(machine_page, encoding="utf-8")


def _check_contents(staged: Path, chosen: Sequence[Finding]) -> None:
    contents = (staged / "_toc.yml").read_text(encoding="utf-8")
    missing = [which.name for which in chosen if f"notebooks/{which.name}\n" not in contents + "\n"]
    if missing:
        raise BookError(f"_toc.yml does not list {', '.join(missing)}: add '- file: notebooks/{missing[0]}'")


def _render(staged: Path) -> None:
    """`jupyter-book build` with every warning an error, in the interpreter that runs this."""
    # -n: broken references, -W: warnings are errors, --keep-going: report all of them at once.
    main = "from jupyter_book.cli.main import main; main()"  # the package has no __main__
    command = [sys.executable, "-c", main, "build", str(staged), "-n", "-W", "--keep-going", "-q"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", env=environment
    )
    if done.returncode or not (staged / "_build" / "html" / "index.html").is_file():
        reports = sorted((staged / "_build" / "html" / "reports").glob("*"))
        text = "\n".join([done.stdout, *(f"{r.name}:\n{r.read_text(encoding='utf-8')}" for r in reports)])
        text = COLOUR_CODES.sub("", text)
        complaints = [line for line in text.splitlines() if "WARNING" in line or "ERROR" in line]
        tail = "\n".join(complaints[-REPORT_LINES:] or text.splitlines()[-REPORT_LINES:])
        raise BookError(f"jupyter-book refused the pages in {staged} (every warning is an error):\n{tail}")


def _swap(fresh: Path, out: Path) -> None:
    """Replace the pages by two renames; `_recover` mends what a kill between them leaves."""
    old = _previous(out)
    if out.exists():
        os.rename(out, old)
    os.rename(fresh, out)
    shutil.rmtree(old, ignore_errors=True)


def _recover(out: Path) -> None:
    old = _previous(out)
    if old.exists():
        if out.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, out)


def _previous(out: Path) -> Path:
    return out.with_name(f".{out.name}-previous")


def _only_builder(folder: Path) -> Any:
    """Hold the folder's lock; raises `BookError` when another build is at work there."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".book.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        raise BookError(f"another build is writing to {folder}: wait for it to end") from None
