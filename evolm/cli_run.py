"""Commands that compute or fetch: `run`, `book`, `assets`, `doctor`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolm import arguments, paths, terminal
from evolm.cli_output import AsJson, Assignments, FindingName, finding_named, print_json, say
from evolm.finding import PRESET_NAMES, Finding, ParameterError, nearest

if TYPE_CHECKING:
    from evolm.record import Record
    from evolm.verdict import Verdict


def complete_presets(incomplete: str) -> list[str]:
    return [name for name in PRESET_NAMES if name.startswith(incomplete)]


PresetName = Annotated[str, typer.Option("--preset", help=", ".join(PRESET_NAMES), autocompletion=complete_presets)]


def run(
    name: FindingName,
    preset: PresetName = "smoke",
    param: Assignments = [],  # noqa: B006 - typer copies it
    fresh: Annotated[bool, typer.Option("--fresh", help="Compute even where a record or saved units exist.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start also what takes over an hour.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes on a CPU; default: one per core.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The executed notebook to write (.ipynb).")] = None,
) -> None:
    """Run a finding at a preset: compute its record, or find it, and execute its notebook."""
    finding = finding_named(name)
    overrides = arguments.overrides(finding, preset, param)  # a mistake is refused before torch is imported
    from evolm import execute
    from evolm.runner import RunInterrupted

    if not yes:
        _ask(finding, preset, overrides, fresh=fresh)
    try:
        record, page = execute.run(finding, preset, overrides, fresh=fresh, workers=workers, out=out)
    except RunInterrupted as stopped:
        say(f"evolm: {stopped}")
        raise typer.Exit(130) from None
    _print_verdicts(finding, record)
    print(f"\nrecord  {record.path}\npage    {page}\nopen it with: jupyter lab {shlex.quote(str(page))}")


def _ask(finding: Finding, preset: str, overrides: dict[str, Any], *, fresh: bool) -> None:
    """Let nobody start hours of computing unawares: a question in a terminal, a refusal elsewhere."""
    from evolm.forecast import forecast
    from evolm.record import Store

    params = finding.resolve(preset, **overrides)
    expected = forecast(finding, preset, params, Store(paths.store()), fresh=fresh)
    if not expected.needs_consent:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ParameterError(f"{expected.sentence} To start it, add --yes")
    say(terminal.paragraph(expected.sentence))
    if not typer.confirm("Start it?", err=True):
        raise typer.Exit(2)


def _print_verdicts(finding: Finding, record: Record) -> None:
    """Every claim in a table; below it, why each core claim came out as it did."""
    from evolm import judging
    from evolm.badges import interval, number

    verdicts = judging.verdicts(finding, record)
    rows = [
        (v.claim, "core" if v.core else "exploratory", v.verdict, number(v.estimate), interval(v.low, v.high), v.unit)
        for v in verdicts
    ]
    print(terminal.table(("claim", "", "verdict", "estimate", "interval", "unit"), rows))
    notes = [f"{v.claim}: {v.verdict}: {note}" for v in verdicts if v.core and (note := _why(finding, v))]
    for position, note in enumerate(notes):
        print(("" if position else "\n") + terminal.paragraph(note, indent="  "))


def _why(finding: Finding, verdict: Verdict) -> str:
    """The note of a verdict; where it has none and the claim did not hold, what was asked and what was seen."""
    from evolm.badges import interval, number, with_unit

    if verdict.note or verdict.verdict not in ("not reproduced", "not specific"):
        return verdict.note
    claim = finding.claim(verdict.claim)
    asked = [f"smallest effect that counts {with_unit(number(claim.delta), claim.unit)}"] if claim.delta else []
    asked += [f"margin ±{with_unit(number(claim.margin), claim.unit)}"] if claim.margin else []
    seen = [
        f"against control {c.name}: {number(c.estimate)} {interval(c.low, c.high)}".strip() for c in verdict.controls
    ]
    return "; ".join([*asked, *seen])


def book(preset: PresetName = "smoke") -> None:
    """Run every finding at a preset and build the book; prints where it is."""
    if preset not in PRESET_NAMES:
        raise ParameterError(f"there is no preset {preset!r}{nearest(preset, PRESET_NAMES)}")
    from evolm.book import build

    print(build(preset).report())


def doctor(as_json: AsJson = False) -> None:
    """What this machine has and lacks, and the command that mends it; fails when something required is missing."""
    from dataclasses import asdict

    from evolm import doctor as examination

    checks = examination.examine()
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            sign = "ok      " if check.ok else "MISSING " if check.required else "optional"
            print(f"{sign} {check.name}: {check.detail}" + (f"\n         {check.mend}" if check.mend else ""))
    if not examination.healthy(checks):
        raise typer.Exit(1)


assets_app = typer.Typer(help="Pretrained models and data sets that pages and instruments use.", rich_markup_mode=None)


@assets_app.callback(invoke_without_command=True)
def _assets(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        assets_list()


@assets_app.command("list")
def assets_list(as_json: AsJson = False) -> None:
    """Every asset: whether it is here, its size, licence and source."""
    from evolm import asset_catalogue as assets

    rows = assets.status()
    if as_json:
        print_json(rows)
        return
    table = [
        (
            r["name"],
            "here" if r["present"] else "absent",
            _megabytes(r["download_bytes"]),
            r["licence"],
            r["source"],
        )
        for r in rows
    ]
    print(terminal.table(("asset", "", "download", "licence", "source"), table))


@assets_app.command("fetch")
def assets_fetch(
    names: Annotated[list[str], typer.Argument(help="Assets to fetch, see `evolm assets list`.")],
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="Accept restrictive licences.")] = False,
) -> None:
    """Download, check and convert assets, once."""
    from evolm import asset_catalogue as assets

    for name in names:
        _asset_named(name)
    for name in names:
        print(assets.fetch(name, accept_licence=accept_licence))


@assets_app.command("verify")
def assets_verify() -> None:
    """Hash the files of every fetched asset again; fails when one was altered."""
    from evolm import asset_catalogue as assets

    present = [row["name"] for row in assets.status() if row["present"]]
    problems = [problem for name in present for problem in assets.verify(name)]
    for problem in problems:
        say(f"evolm: {problem}")
    print(f"{terminal.count(len(present), 'asset')} here, {terminal.count(len(problems), 'problem')}")
    if problems:
        raise typer.Exit(1)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


def _asset_named(name: str) -> None:
    from evolm import asset_catalogue as assets

    known = [row["name"] for row in assets.status()]
    if name not in known:
        raise ParameterError(f"there is no asset {name!r}{nearest(name, known)}")
