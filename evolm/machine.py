"""The book's machine page: on what the pages were made, with which versions, and what each chapter cost.

`page(runs)` gives MyST Markdown; `evolm.book` stages it as `book/machine.md`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from evolm import __version__

if TYPE_CHECKING:
    from evolm.record import Record

#: The packages whose version can change a number on a page.
PACKAGES = (
    "torch", "transformers", "numpy", "scipy", "pandas", "matplotlib", "seaborn", "plotly",
    "papermill", "jupyter-book", "sphinx",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One chapter of this build: its record, and the seconds from start to executed page."""

    title: str
    name: str
    record: Record
    page_seconds: float


def page(runs: Sequence[Run]) -> str:
    """The whole page. A record found in the store cost its time when it was made, not in this build."""
    chapters = _table(
        ("chapter", "record", "time"),
        (
            (
                f"[{_plain(run.title)}](../notebooks/{run.name}.ipynb)",
                f"`{run.record.key[:12]}`, {_plain(_source(run.record))}",
                f"CPU {_seconds(run.record, 'cpu_s')}, wall {_seconds(run.record, 'wall_s')}, "
                f"page {run.page_seconds:.1f} s",
            )
            for run in runs
        ),
    )
    versions = _table(("package", "version"), ((name, _version(name)) for name in PACKAGES))
    here = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU threads, Python {platform.python_version()}"
    return (
        "# Machine\n\nThis page is written by every build.\n\n"
        f"## This build\n\nevolm {_plain(__version__)}; the pages were rendered on {_plain(here)}.\n\n"
        f"## Chapters\n\n{chapters}\n\n"
        "CPU and wall time are those of the record when it was made; the time of the page is what this build took to "
        "run or find the record and to execute the notebook.\n\n"
        f"## Versions\n\n{versions}\n"
    )


def hardware(record: Record) -> str:
    """The GPU where one was used, else the CPU."""
    made_on = (record.manifest.get("provenance") or {}).get("hardware") or {}
    return str(made_on.get("gpu") or made_on.get("cpu") or "")


def started(record: Record) -> str:
    """The day on which the run began."""
    return str(record.manifest.get("started") or "")[:10]


def _source(record: Record) -> str:
    return ", ".join(part for part in (record.preset or "own parameters", started(record), hardware(record)) if part)


def _seconds(record: Record, name: str) -> str:
    value = (record.manifest.get("costs") or {}).get(name)
    return f"{value:.1f} s" if isinstance(value, (int, float)) else "not recorded"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table in a box that scrolls sideways by itself."""
    lines = [head, ["---"] * len(head), *body]
    links = ("[", "`")
    rows = (
        " | ".join(cell if cell.startswith(links) or cell == "---" else _plain(cell) for cell in row) for row in lines
    )
    return "::::{div} evolm-scroll\n" + "\n".join(f"| {row} |" for row in rows) + "\n::::"


def _plain(text: str) -> str:
    """Text from a record as text: nothing in it is read as markup."""
    return "".join(f"&#{ord(c)};" if c in "<>&|`*_[]{}$\\" else c for c in text.replace("\n", " "))
