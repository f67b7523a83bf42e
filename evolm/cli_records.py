"""`evolm record list | show | keep | import | verify | gc`: the local store and the kept records."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from evolm import describe, paths
from evolm.cli_output import AsJson, Key, finding_named, kept_store, local_store, print_json, record_named, say

record_app = typer.Typer(help="Records: what runs produced.", no_args_is_help=True, rich_markup_mode=None)


@record_app.command("list")
def list_(
    finding: Annotated[str | None, typer.Argument(help="Only this finding.")] = None, as_json: AsJson = False
) -> None:
    """Local and kept records."""
    from evolm.machine import hardware, started

    if finding is not None:
        finding_named(finding)
    rows = []
    with warnings.catch_warnings(record=True) as damaged:
        warnings.simplefilter("always")
        for place, store in (("local", local_store()), ("kept", kept_store())):
            for record in store.records(finding):
                facts = {"key": record.key, "finding": record.finding, "preset": record.preset, "place": place}
                where = {"started": started(record), "hardware": hardware(record)}
                rows.append({**facts, **where, "path": str(record.path)})
    for warning in damaged:
        say(f"evolm: {warning.message}")
    if as_json:
        print_json(rows)
        return
    columns = ("key", "finding", "preset", "place", "started", "hardware")
    print(describe.text_table(columns, [[str(row[column]) for column in columns] for row in rows]))


@record_app.command()
def show(key: Key, as_json: AsJson = False) -> None:
    """One record: parameters, provenance, cost, tables and where it is."""
    record = record_named(key)
    if as_json:
        print_json({**record.manifest, "path": str(record.path)})
        return
    print(f"{record.finding} {record.key}\n{record.path}\n")
    from evolm.chapter_tables import facts

    values = {f"parameter {name}": describe.argument(value) for name, value in record.params.items()}
    tables = {f"table {name}": f"{table['rows']} rows" for name, table in record.manifest["tables"].items()}
    for name, value in [*facts(record.manifest), *values.items(), *tables.items()]:
        if value:
            print(f"{name}: {value}")


@record_app.command()
def keep(key: Key) -> None:
    """Copy a record into data/records of the checkout, where it becomes part of the project."""
    if paths.checkout() is None:
        raise ValueError(
            "records are kept in a source checkout (data/records), and this evolm is installed from a wheel: "
            "clone the project, install it with pip install -e . and keep the record there"
        )
    record = record_named(key)
    git = (record.manifest.get("provenance") or {}).get("git") or {}
    if git.get("dirty"):
        say("evolm: warning: this record was made with uncommitted changes: its commit does not say all")
    if not git:
        say("evolm: warning: this record names no commit, so it does not say how to remake it")
    print(kept_store().import_(record.path).path)


@record_app.command("import")
def import_(folder: Annotated[Path, typer.Argument(help="A record's folder, the one with manifest.json.")]) -> None:
    """Copy a record from elsewhere into the local store, verified."""
    print(local_store().import_(folder).path)


@record_app.command()
def verify(as_json: AsJson = False) -> None:
    """Read every record in full; fails when one is damaged."""
    stores = {"local": local_store(), "kept": kept_store()}
    problems = {place: store.verify() for place, store in stores.items()}
    found = [problem for of_store in problems.values() for problem in of_store]
    if as_json:
        print_json(problems)
    else:
        for problem in found:
            say(f"evolm: {problem}")
        print(f"{len(found)} problems in {', '.join(str(store.root) for store in stores.values())}")
    if found:
        raise typer.Exit(1)


@record_app.command()
def gc(
    older_than: Annotated[float, typer.Option(min=0, help="Hours since a leftover was last touched.")] = 24.0,
) -> None:
    """Remove what interrupted runs left in the local store; such a run then starts from the beginning."""
    removed = local_store().gc(older_than=older_than * 3600)
    for path in removed:
        print(path)
    say(f"{len(removed)} leftovers removed")
