"""How the command line speaks: JSON, tables, and which stores and findings the commands mean."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolm import describe, paths
from evolm.finding import Finding, ParameterError, findings, get

if TYPE_CHECKING:
    from evolm.record import Record, Store

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def complete_findings(incomplete: str) -> list[str]:
    return [name for name in findings() if name.startswith(incomplete)]


FindingName = Annotated[
    str, typer.Argument(help="Name of a finding, see `evolm list`.", autocompletion=complete_findings)
]


def complete_instruments(incomplete: str) -> list[str]:
    return [name for name in describe.instruments() if name.startswith(incomplete)]


def complete_keys(incomplete: str) -> list[str]:
    """Keys of local and kept records; their folders are listed, not read."""
    folders = [folder for root in (paths.store(), paths.kept_records()) for folder in root.glob("[!.]*/[!.]*")]
    return sorted({folder.name for folder in folders if folder.name.startswith(incomplete)})


def complete_parameters(ctx: typer.Context, incomplete: str) -> list[str]:
    """`name=` for every parameter of the finding, or option of the instrument, that the line names."""
    # After a bare `-p` nothing is parsed, and what came before it waits in `args`.
    said = ctx.params.get("name") or ctx.params.get("instrument") or (ctx.args[0] if ctx.args else "")
    if said in findings():
        names = list(findings()[said].params.model_fields)
    else:
        names = (describe.options(said) or []) if said in describe.instruments() else []
    return [f"{each}=" for each in names if each.startswith(incomplete)]


Key = Annotated[
    str,
    typer.Argument(help="The start of a record's key (6 digits or more), or its folder.", autocompletion=complete_keys),
]
Assignments = Annotated[
    list[str],
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=VALUE",
        help="A parameter; VALUE as JSON. Repeatable.",
        autocompletion=complete_parameters,
    ),
]


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

    stores = (local_store(), kept_store())
    folder = Path(reference)
    if (folder / "manifest.json").is_file():
        in_store = folder.absolute().parent.parent in [store.root.absolute() for store in stores]
        return Record.open(folder, mend=None if in_store else "copy the folder again from where it came")
    prefix = reference.rstrip("/").rpartition("/")[2]
    for store in stores:
        if any(record.name.startswith(prefix) for record in store.root.glob("[!.]*/[!.]*")):
            return store.find_by_prefix(prefix)  # which refuses a prefix that is short or fits several
    raise StoreError(f"no record, local or kept, has a key that starts with {prefix!r}: see `evolm record list`")
