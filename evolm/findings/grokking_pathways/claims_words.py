"""What the claims of the chapter share: scopes, estimands and units in words, and claims of one shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from evolm.finding import Claim

if TYPE_CHECKING:
    from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams

WORLD = "arm A, many passes: tiny OLMoE models on tables of hidden classes; a seed redraws tables, split, initialisation and order"
MODULAR = "arm A, many passes: arithmetic modulo a prime, split by unordered pair; a seed redraws split, initialisation and order"
TEXT = "arm B, about one pass: characters of facts, copies, sums, keys and real speeches; a seed redraws all but the speeches"
OCTAVES = "doublings of the step"
ACCURACY = "accuracy"
OURS = "not in the paper"
TWIN = "the same pairs with labels dealt out at random: memorised alike, and there is nothing to generalise"
DISTANCE_FALL = "mean pairwise distance over the first fifth of the lag less that over its last fifth, mean over groups"
COSINE_RISE = (
    "mean cosine of consecutive layers over the last fifth of the lag less that over its first, mean over groups"
)
GAIN = "held-out accuracy over the last fifth of the lag less that over its first fifth, mean over groups"
NORMALISED, COSINE = "normalised edit distance", "mean cosine"
CannotSpeak = Callable[["GrokkingPathwaysParams"], str | None]


def needs(group: str) -> CannotSpeak:
    return lambda params: None if group in params.groups else f"needs {group} in groups"


def distance_claim(
    name: str, measure: str, words: str, scope: str, cannot: CannotSpeak | None = None, **other: str
) -> Claim:
    return Claim(
        name=name,
        statement=f"{words} the distance between training pathways falls, and more than in the scrambled twin.",
        paper=other.get("paper", OURS),
        asks="us",
        kind="superiority",
        measure=measure,
        estimand=other.get("estimand", DISTANCE_FALL),
        unit=NORMALISED,
        delta=0.02,
        arm=other.get("arm", "trained"),
        controls={other.get("twin", "scrambled"): TWIN},
        scope=scope,
        core=False,
        **({"cannot_speak": cannot} if cannot else {}),
    )
