"""The command line: `evolm list | show | run | measure | compare | check | record | assets | book | doctor`.

    evolm show superposition
    evolm run superposition --preset cpu -p seeds=8

Exit codes: 0 done; 1 it failed; 2 a usage mistake, or for `check` an undecided core claim; 130 interrupted.
`EVOLM_DEBUG=1` shows tracebacks. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from evolm import __version__, describe, terminal
from evolm.cli_evidence import check, compare, freeze
from evolm.cli_measure import measure
from evolm.cli_output import AsJson, FindingName, finding_named, print_json
from evolm.cli_records import record_app
from evolm.cli_run import assets_app, book, doctor, run
from evolm.finding import PRESET_NAMES, Finding, ParameterError, findings

#: Exceptions that mean a mistake in this program rather than a sentence for the person at the keyboard.
INTERNAL = (TypeError, AttributeError, LookupError, AssertionError, NameError, NotImplementedError)
#: typer's base of all usage errors; which package it comes from differs between releases.
UsageError = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="evolm",
    help="Findings about language-model training that anyone can re-run.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"evolm {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Findings about language-model training that anyone can re-run."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """What there is: findings with their claims and presets, and instruments."""
    known = list(findings().values())
    instruments = describe.instruments()
    if as_json:
        described = [{**describe.finding(f), "parameters": [p["name"] for p in describe.parameters(f)]} for f in known]
        print_json({"findings": described, "instruments": [{"name": n, "about": d} for n, d in instruments.items()]})
        return
    rows = [(f.name, _count(f), describe.expected_time(f.presets["cpu"]), f.title) for f in known]
    print(terminal.table(("finding", "claims", "time of preset cpu", "title"), rows, terminal.width()))
    print("\n" + terminal.table(("instrument", "measures"), list(instruments.items()), terminal.width()))
    print("\nevolm show FINDING says more; evolm measure INSTRUMENT MODEL... measures a model of your own.")


def _count(finding: Finding) -> str:
    core = sum(claim.core for claim in finding.claims)
    return f"{core} core, {len(finding.claims) - core} exploratory"


@app.command()
def show(name: FindingName, as_json: AsJson = False) -> None:
    """A finding: its claims, its parameters with units and bounds, its presets with their expected time."""
    finding = finding_named(name)
    if as_json:
        print_json(describe.finding(finding))
        return
    print(f"{finding.name}: {finding.title}\n\n{finding.sentence}")
    for cited in finding.citations:
        print(f"{cited.authors} ({cited.year}). {cited.title}. {cited.url}")
    print("\nClaims")
    for claim in finding.claims:
        print(f"\n  {claim.name} ({'core' if claim.core else 'exploratory'}, {claim.kind.replace('_', ' ')})")
        print(f"    {claim.statement}\n    paper: {claim.paper}")
        margin = f", margin {claim.margin:g}" if claim.margin is not None else ""
        print(f"    estimated: {claim.estimand} [{claim.unit}]; smallest effect that counts {claim.delta:g}{margin}")
        for arm, why in claim.controls.items():
            print(f"    control {arm}: {why}")
    print("\nParameters (-p name=value)\n")
    print(_parameter_tables(finding))
    print("\nPresets (--preset)\n")
    presets = [(p, describe.expected_time(finding.presets[p]), finding.presets[p].description) for p in PRESET_NAMES]
    print(terminal.table(("preset", "expected time", "what it runs"), presets, terminal.width()))


def _parameter_tables(finding: Finding) -> str:
    """What each parameter means, then its value in every preset; long lists are shortened."""
    width, described = terminal.width(), describe.parameters(finding)
    meanings = [(row["name"], row["description"], row["unit"], row["type"], row["bounds"]) for row in described]
    room = (width - max(len(row["name"]) for row in described)) // len(PRESET_NAMES) - 2
    values = [
        (row["name"], *(terminal.shortened(row["presets"][preset], room) for preset in PRESET_NAMES))
        for row in described
    ]
    return "\n\n".join(
        [
            terminal.table(("name", "meaning", "unit", "type", "bounds"), meanings, width),
            terminal.table(("in preset", *PRESET_NAMES), values, width),
        ]
    )


app.command()(run)
app.command()(measure)
app.command()(compare)
app.command()(check)
app.add_typer(record_app, name="record")
app.command()(freeze)
app.add_typer(assets_app, name="assets")
app.command()(book)
app.command()(doctor)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: runs one command and exits; every error is a sentence on stderr."""
    try:
        code = app(arguments, prog_name="evolm", standalone_mode=False)
    except Exception as error:
        if os.environ.get("EVOLM_DEBUG"):
            raise
        message, code = explain(error)
        print(f"evolm: {message}", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def explain(error: Exception) -> tuple[str, int]:
    """One sentence for an exception, and the exit code."""
    if isinstance(error, UsageError):
        return str(getattr(error, "format_message", error.__str__)()), 2
    if isinstance(error, typer.Abort):
        return "stopped", 130
    if isinstance(error, ParameterError):
        return "; ".join(str(error).splitlines()), 2
    if isinstance(error, INTERNAL):
        return f"internal error, {type(error).__name__}: {error} (EVOLM_DEBUG=1 shows where)", 1
    return str(error) or type(error).__name__, 1
