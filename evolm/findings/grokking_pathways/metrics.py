"""What is measured on the pathways of a group of samples at one checkpoint, in every reading that the paper admits.

    rows = group_metrics(Routing(answer, everywhere, router, outputs), active=2, thresholds=(0.7,), rng=rng)

Quantities, each at the answer's token and averaged over all tokens (`tokens`), where pathways are built by cumulative
weight or by top-k (`rule`):

| quantity | what it is |
|---|---|
| distance | mean Levenshtein distance over all pairs of samples, indices as letters, over the longer length |
| distance, indices / distance, characters | the same raw; characters are the paper's text |
| length, distinct | mean experts on a pathway; distinct pathways per sample |
| distance, shuffled | distance at the answer after each sample's experts were renamed at random: what lengths give |
| cosine, C, S | mean raw cosine of consecutive layers, the paper's C, and 1 - C |
| cosine, shuffled | cosine after the router's rows were renamed at random |
| cosine, outputs | the same of what the experts add, at the answer's token |
| entropy | of routing weights, mean over layers, in nats |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from evolm.instruments.pathway_measures import (
    Pathway,
    as_symbols,
    as_text,
    consistency,
    consistency_of,
    distinct_pathways,
    layer_distances,
    pair_distances,
    path_length,
    pathways_cumulative,
    pathways_topk,
    routing_entropy,
)

TOP = "top-k"
ANSWER, ALL = "answer", "all"
NO_RULE = "-"


class Routing(NamedTuple):
    """How the samples of a group are routed. `everywhere` is the average over all tokens."""

    answer: Tensor  # (sample, layer, expert) probabilities
    everywhere: Tensor  # (sample, layer, expert)
    router: Tensor  # (layer, expert, width) rows of the routers
    outputs: Tensor  # (sample, layer, width) what the experts add at the answer's token


class Metrics(NamedTuple):
    """`quantities`: quantity, tokens, rule, value. `layers`: quantity, tokens, layer, value."""

    quantities: pd.DataFrame
    layers: pd.DataFrame


def rule_name(threshold: float) -> str:
    """What the reading of a threshold is called."""
    return f"{threshold:g}"


def group_metrics(routing: Routing, active: int, thresholds: Sequence[float], rng: np.random.Generator) -> Metrics:
    """Every quantity of one group. With one expert (a dense model) there are outputs alone. `rng` shuffles."""
    rows: list[tuple[str, str, str, float]] = []
    layers: list[tuple[str, str, int, float]] = []
    rows.append(("cosine, outputs", ANSWER, NO_RULE, _mean(consistency_of(routing.outputs).cosine)))
    if routing.answer.shape[-1] == 1:
        return _frames(rows, layers)
    for tokens, weights in ((ANSWER, routing.answer), (ALL, routing.everywhere)):
        readings = {rule_name(threshold): pathways_cumulative(weights, threshold) for threshold in thresholds}
        readings[TOP] = pathways_topk(weights, active)
        for rule, paths in readings.items():
            rows += [(quantity, tokens, rule, value) for quantity, value in _of_paths(paths).items()]
        first = readings[rule_name(thresholds[0])]
        found = consistency(weights, routing.router)
        by_layer = layer_distances(first).normalised.mean(1)
        layers += [("distance", tokens, layer, float(value)) for layer, value in enumerate(by_layer)]
        layers += [("cosine", tokens, layer, _mean(c)) for layer, c in enumerate(found.cosines.T)]
        for quantity, value in (
            ("cosine", _mean(found.cosine)),
            ("C", _mean(found.c)),
            ("S", _mean(found.s)),
            ("entropy", float(routing_entropy(weights).mean())),
        ):
            rows.append((quantity, tokens, NO_RULE, value))
    return _frames(rows + _shuffled(routing, thresholds[0], rng), layers)


def _shuffled(routing: Routing, threshold: float, rng: np.random.Generator) -> list[tuple[str, str, str, float]]:
    """Distance and cosine at the answer's token when experts have lost their identity."""
    experts = routing.router.shape[1]
    renamed = _renamed(pathways_cumulative(routing.answer, threshold), experts, rng)
    distance = float(pair_distances(as_symbols(renamed)).normalised.mean())
    router = torch.stack([layer[torch.from_numpy(rng.permutation(experts))] for layer in routing.router])
    cosine = _mean(consistency(routing.answer, router).cosine)
    return [
        ("distance, shuffled", ANSWER, rule_name(threshold), distance), ("cosine, shuffled", ANSWER, NO_RULE, cosine)
    ]  # fmt: skip


def _of_paths(paths: list[Pathway]) -> dict[str, float]:
    symbols = pair_distances(as_symbols(paths))
    return {
        "distance": float(symbols.normalised.mean()),
        "distance, indices": float(symbols.raw.mean()),
        "distance, characters": float(pair_distances(as_text(paths)).raw.mean()),
        "length": float(path_length(paths).mean()),
        "distinct": distinct_pathways(paths) / len(paths),
    }


def _renamed(paths: list[Pathway], experts: int, rng: np.random.Generator) -> list[Pathway]:
    """Each sample's experts under other names, in each layer: pathways of the same lengths through other experts."""
    names = rng.permuted(np.tile(np.arange(experts), (len(paths) * len(paths[0]), 1)), axis=1).tolist()
    fresh = iter(names)
    return [tuple(tuple(name[e] for e in layer) for layer, name in zip(path, fresh, strict=False)) for path in paths]


def _mean(values: np.ndarray) -> float:
    """Mean of what is defined; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _frames(rows: list[tuple[str, str, str, float]], layers: list[tuple[str, str, int, float]]) -> Metrics:
    return Metrics(
        pd.DataFrame(rows, columns=["quantity", "tokens", "rule", "value"]),
        pd.DataFrame(layers, columns=["quantity", "tokens", "layer", "value"]),
    )
