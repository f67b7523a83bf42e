"""Expert pathways of a mixture-of-experts model: routing weights, pathways, their distance, entropy and load.

    weights = routing_weights(stacked(output.router_logits, batch=32))     # (sample, token, layer, expert)
    average = token_average(weights, mask)                                 # (sample, layer, expert)
    paths = pathways_cumulative(average)                                   # the paper's, threshold 0.7
    mean_pairwise(as_text(paths), 2000, rng)                               # the paper's D; also length-normalised
    mean_pairwise(as_symbols(paths), 2000, rng)                            # the same with expert indices as letters

Li, Fan & Zhou (2025), section 4.1: in each layer the experts are ranked by their routing weight, averaged over tokens,
and the leading ones are kept until their weights sum to more than a threshold; D is the Levenshtein distance of two
samples' pathways. Distances and consistency have modules of their own, and are imported here, so that this one names
every measure. Nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evolm.instruments.pathway_consistency import Consistency, consistency, consistency_of
from evolm.instruments.pathway_distance import (
    Distances,
    MeanDistance,
    Pathway,
    as_symbols,
    as_text,
    drawn_pairs,
    layer_distances,
    mean_pairwise,
    pair_distances,
)

__all__ = [
    "Consistency",
    "Distances",
    "MeanDistance",
    "Pathway",
    "as_symbols",
    "as_text",
    "consistency",
    "consistency_of",
    "distinct_pathways",
    "drawn_pairs",
    "expert_load",
    "layer_distances",
    "load_imbalance",
    "mean_pairwise",
    "pair_distances",
    "path_length",
    "pathways_cumulative",
    "pathways_topk",
    "routing_entropy",
    "routing_weights",
    "stacked",
    "token_average",
]

#: Rows of routers that were meant to be probabilities sum to 1 up to this: bfloat16 over hundreds of experts.
SUM_TOLERANCE = 2e-2


def stacked(router_logits: Sequence[Tensor], batch: int) -> Tensor:
    """What transformers returns as `router_logits`, one (batch x token, expert) per layer, as one tensor.

    Returns (sample, token, layer, expert). Raises ValueError where the layers have different numbers of experts.
    """
    if len(router_logits) == 0:
        raise ValueError("there are no router logits: a dense model, or output_router_logits=True was not asked for")
    shapes = sorted({tuple(layer.shape) for layer in router_logits})
    if len(shapes) > 1:
        raise ValueError(f"the layers' router logits have shapes {shapes}; expected one number of experts throughout")
    if shapes[0][0] % batch:
        raise ValueError(f"router logits have {shapes[0][0]} rows, and the batch {batch} samples: they do not divide")
    layers = torch.stack([layer.reshape(batch, -1, layer.shape[-1]) for layer in router_logits])
    return layers.permute(1, 2, 0, 3)  # (sample, token, layer, expert)


def routing_weights(router_logits: Tensor, *, already_probabilities: bool = False) -> Tensor:
    """Softmax over the experts, the last dimension, in float32: shape as `router_logits` (..., expert).

    Some releases of transformers 5 returned probabilities as router logits (its issue 45120), and their softmax would
    be almost uniform. So logits that are probabilities in every row are refused, unless `already_probabilities` says
    that they are: then they are checked, and returned with rows that sum to 1. Raises ValueError.
    """
    logits = router_logits.float()
    if logits.ndim < 2 or logits.shape[-1] < 2 or not logits.numel():
        raise ValueError(f"router logits have shape {tuple(logits.shape)}; expected (..., expert), two experts or more")
    if not bool(torch.isfinite(logits).all()):
        raise ValueError("router logits hold a value that is not finite; look at the checkpoint, or run it in float32")
    sums = logits.sum(-1)
    are_probabilities = bool((logits >= 0).all()) and bool(((sums - 1).abs() <= SUM_TOLERANCE).all())
    if already_probabilities:
        if not are_probabilities:
            raise ValueError(
                "these routers do not return probabilities: a row has a negative value or does not sum to 1; leave "
                "already_probabilities out"
            )
        return logits / sums[..., None]
    if are_probabilities:
        raise ValueError(
            "every row of the router logits is a probability distribution already (all >= 0, sum 1), as some releases "
            "of transformers returned them; say already_probabilities=True, or upgrade transformers"
        )
    return logits.softmax(-1)


def token_average(weights: Tensor, mask: Tensor) -> Tensor:
    """Mean routing weights over the tokens where `mask` (sample, token) is true: (sample, layer, expert).

    `weights` is (sample, token, layer, expert). The mask chooses the reading: all tokens without padding, those of the
    answer, or the last one. Raises ValueError for a sample without a token.
    """
    inside = mask.to(weights.device, weights.dtype)
    if weights.ndim != 4 or inside.shape != weights.shape[:2]:
        found = f"weights have shape {tuple(weights.shape)} and the mask {tuple(mask.shape)}"
        raise ValueError(f"{found}; expected (sample, token, layer, expert) and (sample, token)")
    counts = inside.sum(1)
    if bool((counts == 0).any()):
        raise ValueError(f"sample {int((counts == 0).nonzero()[0])} has no token that counts; leave it out")
    return torch.einsum("stle,st->sle", weights, inside) / counts[:, None, None]


def pathways_cumulative(weights: Tensor, threshold: float = 0.7) -> list[Pathway]:
    """The paper's pathways: in each layer the fewest leading experts whose weights sum to more than `threshold`.

    `weights` is (sample, layer, expert), averaged over tokens, rows summing to 1. Experts come in descending order of
    weight; of equal ones the lower index first. Raises ValueError.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"the threshold is {threshold}; expected a share of routing weight between 0 and 1")
    values, order = _ranked(weights)
    # How many leading sums stay at or below the threshold; one expert more exceeds it.
    counts = ((values.cumsum(-1) <= threshold).sum(-1) + 1).clamp(max=weights.shape[-1])
    return _paths(order, counts)


def pathways_topk(weights: Tensor, k: int) -> list[Pathway]:
    """The `k` heaviest experts of each layer, in descending order; `weights` as for `pathways_cumulative`."""
    if not 1 <= k <= weights.shape[-1]:
        raise ValueError(f"k is {k} of {weights.shape[-1]} experts; expected 1 to {weights.shape[-1]}")
    _, order = _ranked(weights)
    return _paths(order, torch.full(order.shape[:2], k))


def path_length(paths: Sequence[Pathway]) -> NDArray[np.int64]:
    """Experts on each sample's pathway, over all layers: (sample,)."""
    return np.array([sum(map(len, path)) for path in paths], np.int64)


def distinct_pathways(paths: Sequence[Pathway]) -> int:
    """How many different pathways there are."""
    return len(set(paths))


def routing_entropy(weights: Tensor) -> Tensor:
    """Entropy of routing weights (..., expert) in nats: (...). At most log(experts)."""
    return torch.special.entr(weights).sum(-1)


def expert_load(weights: Tensor, k: int) -> Tensor:
    """Share of all choices that fall on each expert when every row takes its `k` heaviest: (layer, expert).

    `weights` is (row, layer, expert); rows are tokens where the load of the model's own routing is meant.
    """
    if not 1 <= k <= weights.shape[-1]:
        raise ValueError(f"k is {k} of {weights.shape[-1]} experts; expected 1 to {weights.shape[-1]}")
    chosen = torch.zeros_like(weights).scatter_(-1, weights.topk(k, dim=-1).indices, 1.0)
    return chosen.mean(0) / k


def load_imbalance(load: Tensor) -> Tensor:
    """How far the busiest expert is above an even share, max(load) x experts - 1: (layer,), 0 when balanced.

    `load` is (layer, expert), rows summing to 1. This is MaxVio of Wang et al. (2024), arXiv 2408.15664.
    """
    return load.amax(-1) * load.shape[-1] - 1


def _ranked(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weights in float64, heaviest first, and whose they are: each (sample, layer, expert)."""
    if weights.ndim != 3 or not weights.numel():
        raise ValueError(f"weights have shape {tuple(weights.shape)}; expected (sample, layer, expert), none empty")
    values, order = weights.double().sort(dim=-1, descending=True, stable=True)
    sums = values.sum(-1)
    if bool((values[..., -1] < 0).any()) or bool(((sums - 1).abs() > SUM_TOLERANCE).any()):
        raise ValueError("routing weights are no probabilities over the experts; pass what routing_weights returns")
    return values, order


def _paths(order: Tensor, counts: Tensor) -> list[Pathway]:
    return [
        tuple(tuple(layer[:count]) for layer, count in zip(sample, kept, strict=True))
        for sample, kept in zip(order.tolist(), counts.tolist(), strict=True)
    ]
