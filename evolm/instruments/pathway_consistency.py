"""Consistency of a pathway across layers: do consecutive layers route a sample in similar directions?

    found = consistency(average, router)            average (sample, layer, expert), router (layer, expert, width)
    found.cosine, found.c, found.s                  (sample,): mean raw cosine, the paper's C, and S = 1 - C
    consistency_of(outputs)                         the same of given embeddings (sample, layer, width)

Li, Fan & Zhou (2025), section 4.2: the routing embedding of sample i in layer l is e_il = sum_k g_lk W_l[k], with g the
routing weights and W_l[k] the router's row for expert k; C_i = 1 - mean_l cos(e_il, e_i,l+1) / (max_l cos + 1e-8).
By this formula a smaller C is smoother, while the paper's tables read as if a larger one were: look at the raw cosine
and at S first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
#: What the paper adds to the largest cosine.
EPSILON = 1e-8
#: With two layers there is one cosine: mean and largest are the same, and C is 0 whatever the model does.
TWO_LAYERS = "C compares a mean cosine with the largest one; with two layers there is one cosine, and C is 0 always"


@dataclass(frozen=True)
class Consistency:
    """Per sample. `cosines` (sample, layer - 1) of consecutive layers, NaN where an embedding is zero.

    `c` and `s` are NaN where the largest cosine is not positive: the ratio then loses its meaning (two negative
    numbers would look smooth). How often that is so is `undefined`. With two layers both are NaN, and `reason` says
    why.
    """

    cosines: Array
    cosine: Array
    max_cosine: Array
    c: Array
    s: Array
    reason: str = ""

    @property
    def undefined(self) -> float:
        """Share of samples without a C."""
        return float(np.isnan(self.c).mean())

    def frame(self) -> pd.DataFrame:
        """One row per sample: cosine, max_cosine, C, S."""
        return pd.DataFrame({"cosine": self.cosine, "max_cosine": self.max_cosine, "C": self.c, "S": self.s})


def consistency(weights: Tensor, router: Tensor) -> Consistency:
    """Consistency of routing embeddings, from weights (sample, layer, expert) and router rows (layer, expert, width).

    Raises ValueError for shapes that do not fit, and for a single layer.
    """
    if weights.ndim != 3 or router.ndim != 3 or weights.shape[1:] != router.shape[:2]:
        found = f"weights have shape {tuple(weights.shape)} and router rows {tuple(router.shape)}"
        raise ValueError(f"{found}; expected (sample, layer, expert) and (layer, expert, width)")
    layers = range(router.shape[0])
    return _consistency(weights[:, at].double() @ router[at].to(weights.device).double() for at in layers)


def consistency_of(embeddings: Tensor) -> Consistency:
    """Consistency of embeddings that are given, (sample, layer, width): those of expert outputs, for example."""
    if embeddings.ndim != 3:
        raise ValueError(f"embeddings have shape {tuple(embeddings.shape)}; expected (sample, layer, width)")
    return _consistency(embeddings[:, at].double() for at in range(embeddings.shape[1]))


@torch.no_grad()
def _consistency(layers: Iterable[Tensor]) -> Consistency:
    """From each layer's embeddings (sample, width), of which two are held at a time."""
    found: list[Tensor] = []
    before = None
    for here in layers:
        # Not cosine_similarity: it gives 0, not nothing, where an embedding is zero.
        here = here / here.norm(dim=-1, keepdim=True)
        if before is not None:
            found.append((before * here).sum(-1))
        before = here
    if not found:
        raise ValueError("consistency compares consecutive layers, and there is one; expected three layers or more")
    cosines = torch.stack(found, 1).clamp(-1, 1).cpu().numpy()  # (sample, layer - 1)
    mean, largest = cosines.mean(1), cosines.max(1)
    if len(found) == 1:
        nothing = np.full(len(mean), np.nan)
        return Consistency(cosines, mean, largest, nothing, nothing, TWO_LAYERS)
    with np.errstate(invalid="ignore"):
        s = np.where(largest > 0, mean / (largest + EPSILON), np.nan)
    return Consistency(cosines, mean, largest, 1 - s, s)
