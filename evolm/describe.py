"""Findings, parameters and instruments in words: what `evolm list`, `evolm show` and the pages print.

    describe.parameters(finding)                     one row per parameter: type, unit, bounds, presets
    describe.run_command(finding, "cpu", params)     the command that makes this run again

Nothing here imports torch, pandas or scipy: listing findings must take a fraction of a second.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import pkgutil
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evolm import terminal
from evolm.finding import PRESET_NAMES, Claim, Finding, Params, Preset

#: What an instrument's module must define to be one: `measure_models(names, ...) -> DataFrame`.
MEASURE_FUNCTION = "measure_models"
#: The plain text of a table on a page: never folded, for a page has no terminal's width.
text_table = terminal.table


def duration(seconds: float | None) -> str:
    """Seconds as a person would say them: `45 s`, `12 min`, `3.5 h`."""
    if seconds is None:
        return "not measured"
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def expected_time(preset: Preset) -> str:
    """The measured cost of a preset in one phrase."""
    costs = []
    if preset.cpu_seconds is not None:
        costs.append(f"{duration(preset.cpu_seconds)} of CPU time")
    if preset.gpu_seconds is not None:
        costs.append(f"{duration(preset.gpu_seconds)} on one data-centre GPU")
    return " or ".join(costs) or "not measured"


def plain(value: Any) -> Any:
    """A parameter's value as JSON knows it: tuples become lists."""
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def parameters(finding: Finding) -> list[dict[str, Any]]:
    """One row per parameter: name, type, unit, bounds, description, and its value in every preset."""
    resolved = {preset: finding.resolve(preset).model_dump() for preset in PRESET_NAMES}
    schema = finding.params.model_json_schema()
    rows = []
    for name, field in schema["properties"].items():
        field = _dereference(field, schema)
        rows.append(
            {
                "name": name,
                "type": _type(field, schema),
                "unit": field.get("unit", ""),
                "bounds": _bounds(field, schema),
                "description": field.get("description", ""),
                "presets": {preset: plain(values[name]) for preset, values in resolved.items()},
            }
        )
    return rows


def claim(claim: Claim) -> dict[str, Any]:
    return claim.model_dump(mode="json")


def finding(finding: Finding) -> dict[str, Any]:
    """Everything that `evolm show --json` prints."""
    return {
        "name": finding.name,
        "title": finding.title,
        "sentence": finding.sentence,
        "citations": [c.model_dump() for c in finding.citations],
        "instrument": finding.instrument,
        "claims": [claim(c) for c in finding.claims],
        "parameters": parameters(finding),
        "presets": {
            name: {**preset.model_dump(), "expected_time": expected_time(preset)}
            for name, preset in sorted(finding.presets.items(), key=lambda item: PRESET_NAMES.index(item[0]))
        },
        "deviations": list(finding.deviations),
    }


def instruments() -> dict[str, str]:
    """Name -> first line of its docstring, for every module of `evolm.instruments` that can measure models.

    The sources are read, not imported: instruments need torch.
    """
    import evolm.instruments as package

    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("_") or (tree := _source(f"{package.__name__}.{info.name}")) is None:
            continue
        if MEASURE_FUNCTION in _names(tree):
            found[info.name.replace("_", "-")] = (ast.get_docstring(tree) or info.name).splitlines()[0]
    return found


def options(instrument: str) -> list[str] | None:
    """Names that `evolm measure INSTRUMENT -p` takes; None where the source does not tell.

    They are the keyword-only parameters of its `measure_models`, which may pass others on as `**options`: then
    those of its `measure_<instrument>` too.
    """
    name = instrument.replace("-", "_")
    tree = _source(f"evolm.instruments.{name}")
    functions = {node.name: node.args for node in tree.body if isinstance(node, ast.FunctionDef)} if tree else {}
    outer, inner = functions.get(MEASURE_FUNCTION), functions.get(f"measure_{name}")
    if outer is None or (outer.kwarg and inner is None):
        return None
    passed = inner.kwonlyargs if outer.kwarg and inner else []
    return [argument.arg for argument in (*outer.kwonlyargs, *passed)]


def overrides(finding: Finding, preset: str, params: Params) -> dict[str, Any]:
    """The parameters that differ from the preset's own."""
    base = finding.resolve(preset).model_dump()
    return {name: plain(value) for name, value in params.model_dump().items() if value != base[name]}


def nearest_preset(finding: Finding, params: Params) -> tuple[str, dict[str, Any]]:
    """The preset that differs in the fewest parameters, and what differs from it."""
    differences = {preset: overrides(finding, preset, params) for preset in PRESET_NAMES}
    nearest = min(differences, key=lambda preset: len(differences[preset]))
    return nearest, differences[nearest]


def assignments(values: Mapping[str, Any]) -> str:
    """Parameters as they are typed after `-p`: `seeds=3 widths=[4,8]`."""
    return " ".join(f"{name}={argument(value)}" for name, value in values.items())


def run_command(finding: Finding, preset: str, params: Params) -> str:
    """The exact `evolm run` that makes this run again."""
    parts = ["evolm", "run", finding.name, "--preset", preset]
    for name, value in overrides(finding, preset, params).items():
        parts += ["-p", f"{name}={argument(value)}"]
    return shlex.join(parts)


def papermill_command(finding: Finding, preset: str, params: Params) -> str:
    """The same run with plain papermill, from the root of a checkout."""
    parts = ["papermill", f"notebooks/{finding.name}.ipynb", f"{finding.name}-{preset}.ipynb", "-p", "preset", preset]
    for name, value in overrides(finding, preset, params).items():
        # -y takes YAML, which knows lists; plain -p would pass "[4, 8]" as text.
        parts += ["-y", f"{name}: {argument(value)}"]
    return shlex.join(parts)


def argument(value: Any) -> str:
    """A value as `-p name=value` reads it back."""
    return value if isinstance(value, str) and not _reads_as_other(value) else json.dumps(value, separators=(",", ":"))


def _reads_as_other(text: str) -> bool:
    from evolm.arguments import value

    return value(text) != text


def _source(module: str) -> ast.Module | None:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _names(tree: ast.Module) -> set[str]:
    """Names that a module defines or imports at its top level."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    return names


def _dereference(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in field:
        return field
    return {**schema["$defs"][field["$ref"].rsplit("/", 1)[-1]], **{k: v for k, v in field.items() if k != "$ref"}}


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    field = _dereference(field, schema)
    if "anyOf" in field:
        return " or ".join(_type(option, schema) for option in field["anyOf"])
    if "enum" in field or "const" in field:
        return "one of " + ", ".join(map(str, field.get("enum", [field.get("const")])))
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), schema)}"
    return {"integer": "int", "number": "float", "string": "text", "boolean": "bool", "null": "none"}.get(
        field.get("type", ""), "value"
    )


def _bounds(field: dict[str, Any], schema: dict[str, Any]) -> str:
    field = _dereference(field, schema)
    parts = [
        f"{sign} {_number(field[key])}"
        for sign, key in (("≥", "minimum"), (">", "exclusiveMinimum"), ("≤", "maximum"), ("<", "exclusiveMaximum"))
        if key in field
    ]
    if items := _bounds(field["items"], schema) if field.get("type") == "array" and "items" in field else "":
        parts.append(f"each {items}")
    parts += [
        f"{field[key]} {word}" for word, key in (("or more", "minItems"), ("or fewer", "maxItems")) if key in field
    ]
    for option in field.get("anyOf", []):
        if text := _bounds(option, schema):
            parts.append(text)
    return ", ".join(parts)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"
