"""`evolm measure INSTRUMENT MODEL...`: an instrument on models of one's own."""

from __future__ import annotations

import importlib
import inspect
import typing
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolm import arguments, describe
from evolm.cli_output import AsJson, Assignments, complete_instruments, say
from evolm.finding import ParameterError, nearest

if TYPE_CHECKING:
    import pandas as pd

DEVICES = ("cpu", "cuda")


def measure(
    instrument: Annotated[
        str, typer.Argument(help="Name of an instrument, see `evolm list`.", autocompletion=complete_instruments)
    ],
    models: Annotated[
        list[str],
        typer.Argument(
            help="What it measures. overlap: checkpoint folders, .safetensors or .npy files, asset names or hub ids; "
            "width: tables of losses (.csv, .parquet); "
            "passk: tables of correct samples (.csv, .parquet, .jsonl, .npy), or models with -p problems=FILE; "
            "one-shot: tables of logged rollouts (.csv, .parquet, .jsonl), or models with -p problems=FILE or TASK; "
            "dip: tables of step and metric (.csv, .parquet, .jsonl), or checkpoints with -p probes=FILE; "
            "geometry: classifiers or embeddings as for overlap, or checkpoints of one run, with -p features=FILE "
            "for accuracy and neural collapse; "
            "pathways: checkpoints of a mixture of experts (folders, assets, hub ids), with -p texts=FILE."
        ),
    ],
    param: Assignments = [],  # noqa: B006 - typer copies it
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: the instrument's own.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Table to write: .csv, .parquet or .json.")] = None,
    wide: Annotated[bool, typer.Option("--wide", help="Print every column.")] = False,
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
    _check_names(instrument, options)
    _check_device(options)
    from evolm import measurements

    module = importlib.import_module(f"evolm.instruments.{instrument.replace('-', '_')}")
    _check_types(instrument, module, options)
    table: pd.DataFrame = getattr(module, describe.MEASURE_FUNCTION)(models, **options)
    for warning in measurements.warnings(table):
        say(f"evolm: warning: {warning}")
    if out is not None:
        _write(table, out)
        say(f"wrote {out}")
    if as_json:
        print(table.to_json(orient="records", indent=2))
    elif out is None:
        print(table.to_string(index=False) if wide else measurements.summary(table, getattr(module, "SUMMARY", None)))


def _check_names(instrument: str, options: dict[str, Any]) -> None:
    """Refuse an option that the instrument does not take, before anything heavy is imported."""
    taken = describe.options(instrument)
    for name in options:
        if taken is not None and name not in taken:
            raise ParameterError(f"instrument {instrument} has no option {name!r}{nearest(name, taken)}")


def _check_device(options: dict[str, Any]) -> None:
    """Refuse a device that this machine does not have."""
    wanted = options.get("device", "cpu")
    if wanted == "cpu":
        return
    if wanted not in DEVICES:
        raise ParameterError(f"the device is {wanted!r}; expected one of {', '.join(DEVICES)}, or leave it out")
    import torch

    if not torch.cuda.is_available():
        raise ParameterError("the device is 'cuda', but torch sees no GPU here; leave it out, or see `evolm doctor`")


def _check_types(instrument: str, module: ModuleType, options: dict[str, Any]) -> None:
    """Refuse a value of the wrong type, by the annotations of the functions that take it."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    hints: dict[str, Any] = {}
    for name in (f"measure_{instrument.replace('-', '_')}", describe.MEASURE_FUNCTION):
        if inspect.isfunction(function := getattr(module, name, None)):
            hints |= typing.get_type_hints(function)
    for name, value in options.items():
        if name not in hints:
            continue
        try:
            TypeAdapter(hints[name], config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
        except ValidationError as error:
            shown = describe.argument(value)
            raise ParameterError(f"{instrument}: {name} = {shown} is refused: {error.errors()[0]['msg']}") from None


def _write(table: pd.DataFrame, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".csv":
        table.to_csv(out, index=False)
    elif out.suffix == ".parquet":
        table.to_parquet(out, index=False)
    else:
        table.to_json(out, orient="records", indent=2)
