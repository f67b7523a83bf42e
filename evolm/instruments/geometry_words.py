"""What was found, in sentences: one for a head, one for the growth of a series."""

from __future__ import annotations

import math
from collections.abc import Sequence

from evolm.instruments.embeddings import EmbeddingSource
from evolm.instruments.geometry_growth import Growth
from evolm.instruments.geometry_quantities import Quantity

NO_ACCURACY = (
    "No accuracy stands beside it, and a run that has learnt nothing can have a high share too: give features=FILE"
)


def head_sentence(source: EmbeddingSource, rows: int, quantities: Sequence[Quantity]) -> str:
    """Spread, ring, accuracy and convexity of one head."""
    found = {quantity.name: quantity for quantity in quantities}
    spread = quantities[0]
    role = source.provenance.get("role", "")
    text = f"{rows:,} rows of width {source.m:,}" + (f" ({source.tensor}, {role})" if role else "")
    text += f"; {spread.name} is {number(spread.value)}{_null(spread)}"
    if ring := found.get("variance at the best frequency"):
        text += f", and {ring.name} of the row order is {number(ring.value)}{_null(ring)}"
    accuracy = found.get("accuracy")
    if accuracy is None:
        return f"{text}. {NO_ACCURACY}."
    text += f". Accuracy is {interval(accuracy.value, accuracy.low, accuracy.high)} {accuracy.note}"
    if hull := found.get("distance from the hull / from the mean"):
        text += f". The distance of a class vector from its class's hull is {number(hull.value)} of that from its mean"
        text += _null(hull)
    return text + "."


def growth_sentence(growth: Growth) -> str:
    """How the norm went, and what that says."""
    judged = growth.judged
    if math.isnan(judged.value):
        return f"Growth of the norm is not assessable: {growth.note}."
    where = "Over the later half, the" if growth.later else "The"
    shown = interval(judged.value, judged.low, judged.high)
    text = f"{where} norm goes as step^{shown} from step {judged.first:,.12g} to {judged.last:,.12g}"
    return f"{text}, {judged.points} checkpoints: {growth.verdict}. {growth.note[0].upper()}{growth.note[1:]}."


def interval(value: float, low: float, high: float) -> str:
    """`0.98 [0.97, 0.99]`, or the number alone where there is no interval."""
    return number(value) + ("" if math.isnan(low) else f" [{number(low)}, {number(high)}]")


def number(value: float) -> str:
    """Three digits, with a true minus."""
    return f"{value:.3g}".replace("-", "−")


def _null(quantity: Quantity) -> str:
    null = quantity.null
    if "null" not in null:
        return ""
    bounds = [null.get(end, math.nan) for end in ("null_low", "null_high")]
    return f" ({quantity.against}: {interval(null['null'], *bounds)})"
