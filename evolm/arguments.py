"""What a person types after `-p`: `name=value`, the value as JSON, a Python literal, or bare text.

    arguments.assignments(["widths=[4,8]", "law=power"])   {"widths": [4, 8], "law": "power"}

Types and bounds are not judged here: `Finding.resolve` does that for every way in.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from typing import Any

from evolm.finding import ParameterError


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
