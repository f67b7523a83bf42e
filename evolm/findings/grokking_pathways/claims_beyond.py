"""The exploratory claims on load balance, the intervention, other sizes, modular arithmetic and arm B."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolm.finding import Claim
from evolm.findings.grokking_pathways.claims_words import (
    ACCURACY,
    COSINE,
    COSINE_RISE,
    GAIN,
    MODULAR,
    OURS,
    TEXT,
    TWIN,
    WORLD,
    CannotSpeak,
    distance_claim,
    needs,
)

if TYPE_CHECKING:
    from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams


def _needs_scale(scale: str) -> CannotSpeak:
    return lambda params: None if scale in params.scales else f"needs {scale} in scales"


def _needs_modular(params: GrokkingPathwaysParams) -> str | None:
    return None if params.modular_seeds else "needs modular_seeds above 0"


def _needs_text(params: GrokkingPathwaysParams) -> str | None:
    return None if params.text_seeds else "needs text_seeds above 0"


def _cosine(name: str, measure: str, words: str, scope: str, cannot: CannotSpeak) -> Claim:
    return Claim(
        name=name,
        statement=f"{words} training pathways become more consistent, and more than in the scrambled twin.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure=measure,
        estimand=COSINE_RISE,
        unit=COSINE,
        delta=0.03,
        arm="trained",
        controls={"scrambled": TWIN},
        scope=scope,
        core=False,
        cannot_speak=cannot,
    )


CAUSES = (
    distance_claim(
        "distance-falls-without-balancing", "unbalanced_distance", "Without load balancing", WORLD, needs("balance"),
        arm="aux 0", twin="aux 0, scrambled",
    ),
    distance_claim(
        "distance-falls-with-more-balancing", "balanced_distance", "With ten times the load balancing", WORLD,
        needs("balance"), arm="aux 0.1", twin="aux 0.1, scrambled",
    ),
    Claim(
        name="penalty-brings-generalisation",
        statement="Penalising how far pathways of a group are apart brings generalisation forward.",
        paper="no intervention; its bound relates routing to the effective dimension of a kernel",
        asks="us",
        kind="superiority",
        measure="intervention",
        estimand="held-out accuracy, mean over the run on a logarithmic axis and over groups",
        unit=ACCURACY,
        delta=0.02,
        arm="penalised",
        controls={
            "trained": "no penalty",
            "norm penalised": "a penalty on the routers' norms that leaves distances as far apart",
        },
        scope=WORLD + "; strengths chosen on development seeds",
        core=False,
        cannot_speak=needs("intervention"),
    ),
)  # fmt: skip

SCALE = (
    distance_claim("distance-falls-when-wide", "wide_distance", "At twice the width", WORLD, _needs_scale("wide")),
    _cosine("consistency-rises-when-wide", "wide_cosine", "At twice the width", WORLD, _needs_scale("wide")),
    distance_claim(
        "distance-falls-with-many-experts", "experts_distance", "With four times as many experts", WORLD,
        _needs_scale("many experts"),
    ),
    _cosine(
        "consistency-rises-with-many-experts", "experts_cosine", "With four times as many experts", WORLD,
        _needs_scale("many experts"),
    ),
    distance_claim("distance-falls-when-deep", "deep_distance", "With twice as many layers", WORLD, _needs_scale("deep")),
    _cosine("consistency-rises-when-deep", "deep_cosine", "With twice as many layers", WORLD, _needs_scale("deep")),
)  # fmt: skip

OTHER_WORLDS = (
    Claim(
        name="modular-generalises-after-memorising",
        statement="In modular arithmetic held-out accuracy goes on rising after a group is memorised.",
        paper="as for the groups of OLMoE's data",
        kind="superiority",
        measure="modular_gain",
        estimand=GAIN,
        unit=ACCURACY,
        delta=0.05,
        arm="trained",
        controls={"random group": "random labels in the same run"},
        scope=MODULAR,
        core=False,
        cannot_speak=_needs_modular,
    ),
    distance_claim("modular-distance-falls", "modular_distance", "In modular arithmetic", MODULAR, _needs_modular),
    _cosine("modular-consistency-rises", "modular_cosine", "In modular arithmetic", MODULAR, _needs_modular),
    Claim(
        name="modular-metrics-predict-accuracy",
        statement="In modular arithmetic both metrics tell held-out accuracy without held-out data.",
        paper="|r| of .93 to .99 with held-out accuracy, with no trend taken out",
        kind="superiority",
        measure="modular_prediction",
        estimand="error on a seed left out of a prediction by step and smoothed loss, less that with both metrics as well",
        unit=ACCURACY,
        delta=0.005,
        arm="trained",
        controls={"shifted": "the metrics of the same run at other steps"},
        scope=MODULAR,
        core=False,
        cannot_speak=_needs_modular,
    ),
    distance_claim(
        "text-distance-falls", "text_distance", "Near one pass over a mixture", TEXT, _needs_text,
        estimand="mean pairwise distance over the first fifth of the run's second half less that over its last fifth",
    ),
    _cosine("text-consistency-rises", "text_cosine", "Near one pass over a mixture", TEXT, _needs_text),
)  # fmt: skip

BEYOND = (*CAUSES, *SCALE, *OTHER_WORLDS)
