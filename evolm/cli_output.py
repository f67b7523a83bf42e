"""How the command line speaks: JSON, tables, and which stores and findings the commands mean."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolm import paths
from evolm.finding import Finding, ParameterError, findings, get

if TYPE_CHECKING:
    from evolm.record import Record, Store

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def complete_findings(incomplete: str) -> list[str]:
    return [name for name in findings() if name.startswith(incomplete)]


FindingName = Annotated[
    str, typer.Argument(help="Name of a finding, see `evolm list`.", autocompletion=complete_findings)
]
Key = Annotated[str, typer.Argument(help="The start of a record's key (6 digits or more), or its folder.")]


def finding_named(name: str) -> Finding:
    """The finding, or a usage mistake that names the nearest one."""
    try:
        return get(name)
    except KeyError as error:
        raise ParameterError(error.args[0]) from None


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def say(message: str) -> None:
    """A remark that is not the command's result."""
    print(message, file=sys.stderr)


def local_store() -> Store:
    from evolm.record import Store

    return Store(paths.store())


def kept_store() -> Store:
    from evolm.record import Store

    return Store(paths.kept_records())


def record_named(reference: str) -> Record:
    """The record that a person means: its folder, or the start of its key, local or kept."""
    from evolm.record import Record, StoreError

    folder = Path(reference)
    if (folder / "manifest.json").is_file():
        return Record.open(folder)
    prefix = reference.rstrip("/").rpartition("/")[2]
    complaints = []
    for store in (local_store(), kept_store()):
        try:
            return store.find_by_prefix(prefix)
        except StoreError as error:
            complaints.append(str(error))
    raise StoreError(" ".join(complaints))
