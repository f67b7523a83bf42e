"""`evolm record list | show | keep | import | verify | gc`: the local store and the kept records."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolm import describe, judging, paths, terminal
from evolm.cli_output import (
    AsJson,
    Key,
    complete_findings,
    finding_named,
    kept_store,
    local_store,
    print_json,
    record_named,
    say,
)
from evolm.finding import findings

if TYPE_CHECKING:
    from evolm.record import Record

record_app = typer.Typer(help="Records: what runs produced.", rich_markup_mode=None)


@record_app.callback(invoke_without_command=True)
def _records(context: typer.Context) -> None:
    """Records: what runs produced."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@record_app.command("list")
def list_(
    finding: Annotated[str | None, typer.Argument(help="Only this finding.", autocompletion=complete_findings)] = None,
    as_json: AsJson = False,
) -> None:
    """Local and kept records."""
    if finding is not None:
        finding_named(finding)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    with warnings.catch_warnings(record=True) as damaged:
        warnings.simplefilter("always")
        for place, store in (("kept", kept_store()), ("local", local_store())):
            for record in store.records(finding):
                row = rows.setdefault((record.finding, record.key), {**_facts(record), "places": []})
                row["places"].append(place)
    for warning in damaged:
        say(f"evolm: {warning.message}")
    listed = [{**row, "place": ", ".join(row.pop("places"))} for _, row in sorted(rows.items())]
    if as_json:
        print_json(listed)
        return
    shown = [
        (
            row["key"],
            row["finding"],
            row["preset"],
            _differences(row),
            row["place"],
            row["started"],
            describe.duration(row["cpu_s"]),
            f"{row['bytes'] / 1e6:.1f} MB",
            row["hardware"],
        )
        for row in listed
    ]
    heads = ("key", "finding", "preset", "with", "place", "started", "CPU time", "size", "hardware")
    print(terminal.table(heads, shown, terminal.width()))


def _differences(row: dict[str, Any]) -> str:
    if not row["readable"]:
        return "parameters that are no longer accepted"
    return " ".join(f"{name}={terminal.shortened(value, 24)}" for name, value in row["overrides"].items())


def _facts(record: Record) -> dict[str, Any]:
    """One record as `record list` tells it: the nearest preset, what differs from it, when, where, and its cost."""
    from evolm.machine import hardware, started

    finding = findings().get(record.finding)
    preset, readable = record.preset, False
    overrides: dict[str, Any] = {}
    if finding is not None:
        try:
            nearest, overrides = describe.nearest_preset(finding, judging.params_of(finding, record))
            preset, readable = nearest, True
        except judging.UnreadableRecordError:
            pass
    return {
        "key": record.key,
        "finding": record.finding,
        "preset": preset,
        "overrides": overrides,
        "readable": readable,
        "started": started(record),
        "cpu_s": (record.manifest.get("costs") or {}).get("cpu_s"),
        "bytes": sum(file.stat().st_size for file in record.path.iterdir()),
        "hardware": hardware(record),
        "path": str(record.path),
    }


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
    _check_kept(record)
    git = (record.manifest.get("provenance") or {}).get("git") or {}
    if git.get("dirty"):
        say("evolm: warning: this record was made with uncommitted changes: its commit does not say all")
    if not git:
        say("evolm: warning: this record names no commit, so it does not say how to remake it")
    print(kept_store().import_(record.path).path)


def _check_kept(record: Record) -> None:
    """Refuse a record that no page would show: what is kept is evidence."""
    finding = finding_named(record.finding)
    params = judging.params_of(finding, record)
    if judging.has_development_seeds(params):
        raise ValueError(
            f"record {record.key} is not kept: {judging.DEVELOPMENT}; run it with "
            f"-p first_seed={judging.first_report_seed(params)}"
        )
    if judging.preset_of(finding, record) is None:
        preset, differs = describe.nearest_preset(finding, params)
        raise ValueError(
            f"record {record.key} is not kept: no page would show it, because only a preset's own run is judged, and "
            f"it is {preset} with {describe.assignments(differs)}. It can be read and compared where it is"
        )


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
        roots = ", ".join(str(store.root) for store in stores.values())
        print(f"{terminal.count(len(found), 'problem')} in {roots}")
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
    say(f"{terminal.count(len(removed), 'leftover')} removed")
