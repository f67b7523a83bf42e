"""Commands that compute or fetch: `run`, `measure`, `book`, `assets`, `doctor`."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolm import arguments, describe
from evolm.cli_output import AsJson, FindingName, finding_named, print_json, say
from evolm.finding import PRESET_NAMES, Finding, ParameterError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from evolm.record import Record

Assignments = Annotated[
    list[str], typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; VALUE as JSON. Repeatable.")
]


def complete_presets(incomplete: str) -> list[str]:
    return [name for name in PRESET_NAMES if name.startswith(incomplete)]


PresetName = Annotated[str, typer.Option("--preset", help=", ".join(PRESET_NAMES), autocompletion=complete_presets)]


def run(
    name: FindingName,
    preset: PresetName = "smoke",
    param: Assignments = [],  # noqa: B006 - typer copies it
    fresh: Annotated[bool, typer.Option("--fresh", help="Compute even where a record or saved units exist.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes on a CPU; default: one per core.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The executed notebook to write (.ipynb).")] = None,
) -> None:
    """Run a finding at a preset: compute its record, or find it, and execute its notebook."""
    finding = finding_named(name)
    overrides = arguments.assignments(param)
    finding.resolve(preset, **overrides)  # a mistake is refused before torch is imported
    from evolm import execute
    from evolm.runner import RunInterrupted

    try:
        record, page = execute.run(finding, preset, overrides, fresh=fresh, workers=workers, out=out)
    except RunInterrupted as stopped:
        say(f"evolm: {stopped}")
        raise typer.Exit(130) from None
    print(_verdict_table(finding, record))
    print(f"\nrecord  {record.path}\npage    {page}")


def _verdict_table(finding: Finding, record: Record) -> str:
    from evolm import judging
    from evolm.scoreboard import interval, number

    rows = [
        (v.claim, "core" if v.core else "exploratory", v.verdict, number(v.estimate), interval(v.low, v.high), v.unit)
        for v in judging.verdicts(finding, record)
    ]
    return describe.text_table(("claim", "", "verdict", "estimate", "interval", "unit"), rows)


def measure(
    instrument: Annotated[str, typer.Argument(help="Name of an instrument, see `evolm list`.")],
    models: Annotated[list[str], typer.Argument(help="Checkpoint folders, asset names or hub ids.")],
    param: Assignments = [],  # noqa: B006 - typer copies it
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: the instrument's own.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Table to write: .csv, .parquet or .json.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure models of your own with the instrument of a finding."""
    known = describe.instruments()
    if instrument not in known:
        raise ParameterError(f"there is no instrument {instrument!r}{nearest(instrument, known)}")
    if out is not None and out.suffix not in (".csv", ".parquet", ".json"):
        raise ParameterError(f"cannot write {str(out)!r}: name a file that ends in .csv, .parquet or .json")
    options: dict[str, Any] = arguments.assignments(param)
    if device is not None:
        options["device"] = device
    module = importlib.import_module(f"evolm.instruments.{instrument.replace('-', '_')}")
    measure_models = getattr(module, describe.MEASURE_FUNCTION)
    _check_options(instrument, measure_models, options)
    table: pd.DataFrame = measure_models(models, **options)
    if out is not None:
        _write(table, out)
        say(f"wrote {out}")
    if as_json:
        print(table.to_json(orient="records", indent=2))
    elif out is None:
        print(table.to_string(index=False))


def _check_options(instrument: str, function: Any, options: dict[str, Any]) -> None:
    """Refuse an option that the instrument does not take; one that passes options on decides by itself."""
    taken = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        return
    for name in options:
        if name not in taken:
            raise ParameterError(f"instrument {instrument} has no option {name!r}{nearest(name, taken)}")


def _write(table: pd.DataFrame, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".csv":
        table.to_csv(out, index=False)
    elif out.suffix == ".parquet":
        table.to_parquet(out, index=False)
    else:
        table.to_json(out, orient="records", indent=2)


def book(preset: PresetName = "smoke") -> None:
    """Run every finding at a preset and build the book; prints where it is."""
    if preset not in PRESET_NAMES:
        raise ParameterError(f"there is no preset {preset!r}{nearest(preset, PRESET_NAMES)}")
    from evolm.book import build

    result = build(preset)
    rows = [(row.finding, row.claim, row.verdict, row.label) for row in result.rows]
    print(describe.text_table(("finding", "claim", "verdict", "record"), rows))
    print(f"\n{result.index}")


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


assets_app = typer.Typer(help="Pretrained models that pages and instruments use.", rich_markup_mode=None)


@assets_app.callback(invoke_without_command=True)
def _assets(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        assets_list()


@assets_app.command("list")
def assets_list(as_json: AsJson = False) -> None:
    """Every asset: whether it is here, its size, licence and source."""
    from evolm import assets

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
    print(describe.text_table(("asset", "", "download", "licence", "source"), table))


@assets_app.command("fetch")
def assets_fetch(
    names: Annotated[list[str], typer.Argument(help="Assets to fetch, see `evolm assets list`.")],
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="Accept restrictive licences.")] = False,
) -> None:
    """Download, check and convert assets, once."""
    from evolm import assets

    for name in names:
        _asset_named(name)
    for name in names:
        print(assets.fetch(name, accept_licence=accept_licence))


@assets_app.command("verify")
def assets_verify() -> None:
    """Hash the files of every fetched asset again; fails when one was altered."""
    from evolm import assets

    present = [row["name"] for row in assets.status() if row["present"]]
    problems = [problem for name in present for problem in assets.verify(name)]
    for problem in problems:
        say(f"evolm: {problem}")
    print(f"{len(present)} assets here, {len(problems)} problems")
    if problems:
        raise typer.Exit(1)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


def _asset_named(name: str) -> None:
    from evolm import assets

    known = [row["name"] for row in assets.status()]
    if name not in known:
        raise ParameterError(f"there is no asset {name!r}{nearest(name, known)}")
