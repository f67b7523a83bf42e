"""What is asked of a head, and what it tells: `Settings`, and `Quantity`s with their nulls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Settings:
    """`k` principal components, `draws` of each null, `level` of intervals, examples of a class for its hull."""

    k: int = 2
    draws: int = 200
    level: float = 0.95
    max_examples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.level < 1 and self.draws * (1 - self.level) >= 2):
            found = f"level {self.level} with {self.draws} draws gives no interval"
            raise ValueError(f"{found}; expected level > 0 and < 1 - 2/draws")
        if self.k < 1 or self.max_examples < 1:
            raise ValueError(f"k is {self.k} and max_examples {self.max_examples}; expected 1 or more of each")


@dataclass(frozen=True)
class Quantity:
    """A number, its interval, what it is compared with in words, that null, and how to read it."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    against: str = ""
    null: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


def as_row(quantity: Quantity, level: float) -> dict[str, Any]:
    """The columns of one quantity; `beside` is its null in words."""
    null = {name: quantity.null.get(name, math.nan) for name in ("null", "null_low", "null_high", "p")}
    beside = ""
    if quantity.null:
        beside = f"{quantity.against} {null['null']:.3g}"
        if math.isfinite(null["null_low"]):
            beside += f" [{null['null_low']:.3g}, {null['null_high']:.3g}]"
    return {
        "quantity": quantity.name,
        "value": quantity.value,
        "low": quantity.low,
        "high": quantity.high,
        "beside": beside.replace("-", "−") if "e-" not in beside else beside,
        **null,
        "level": level,
        "note": quantity.note,
    }
