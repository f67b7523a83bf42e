"""What a person types after `-p`: `name=value`, the value as JSON, a Python literal, or bare text.

    arguments.assignments(["widths=[4,8]", "law=power"])    {"widths": [4, 8], "law": "power"}
    arguments.overrides(finding, "cpu", ["widths=[4,8]"])   the same, refused where the finding refuses it

Types and bounds are judged by `Finding.resolve`, as for every way in; here its sentences are put in the words of
what was typed.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from typing import Any

from evolm import describe
from evolm.finding import Finding, ParameterError

#: The item of a list as pydantic names it: `widths.1 = 0`.
ITEM = re.compile(r"^([\w-]+: \w+)\.(\d+) = ", re.MULTILINE)


def overrides(finding: Finding, preset: str, pairs: Iterable[str]) -> dict[str, Any]:
    """What was typed for a run of `finding`; raises `ParameterError` where no run can start with it."""
    given = assignments(pairs)
    if preset in finding.presets:
        for row in describe.parameters(finding):
            if row["type"].startswith("list of") and (item := given.get(row["name"])) is not None:
                _check_list(row["name"], item, row["presets"][preset])
    try:
        finding.resolve(preset, **given)
    except ParameterError as error:
        raise ParameterError(ITEM.sub(r"\1[\2] = ", str(error))) from None
    return given


def _check_list(name: str, given: Any, usual: list[Any]) -> None:
    if isinstance(given, (list, tuple)):
        return
    example = describe.argument(usual[:3] or ["a", "b"])
    problem = f"{describe.argument(given)} is a single value, write [{describe.argument(given)}]"
    if isinstance(given, str) and given.startswith("["):
        missing = "" if given.endswith("]") else " (missing ])"
        problem = f"{given!r} is not valid JSON{missing}"
    raise ParameterError(f"{name} needs a list, e.g. {example}; {problem}")


def assignments(pairs: Iterable[str]) -> dict[str, Any]:
    """Parsed `name=value` pairs; an empty value in the sense of `null` means "as in the preset" and is left out."""
    parsed: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise ParameterError(f"cannot read -p {pair!r}: write -p name=value, for example -p seeds=8")
        if not text.strip():
            raise ParameterError(f"-p {name}= has no value: write -p {name}=VALUE")
        if name == "preset":
            raise ParameterError(f"the preset is not a parameter: write --preset {text.strip()}")
        if name in parsed:
            raise ParameterError(f"-p {name} is given twice: give it once")
        parsed[name] = value(text)
    return {name: v for name, v in parsed.items() if v is not None}


def value(text: str) -> Any:
    """One value: JSON, else a Python literal, else a number such as `nan`, else a list of bare words, else text."""
    text = text.strip()
    for parse in (json.loads, ast.literal_eval, float):
        try:
            return parse(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    if text.startswith("[") and text.endswith("]") and "[" not in text[1:]:
        return [value(word) for word in text[1:-1].split(",")]
    return text
