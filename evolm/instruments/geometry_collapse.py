"""Neural collapse: do features, class means and class vectors meet in one simplex?

    simplex(w)                                    NC2 of any set of class vectors
    collapse(features, labels, w)["nc1"]          NC1 to NC4, with the accuracy beside

Papyan, Han & Donoho (2020), with h the features, mu_c the mean of class c, mu_G the mean of the class means, M the
rows mu_c - mu_G, W the rows w_c of the head, C the number of classes:

    NC1   tr(S_W S_B^+) / C                          S_W, S_B: covariance within and between classes
    NC2   sd/mean of the lengths; sd of the cosines; mean |cos + 1/(C - 1)|, of M and of W
    NC3   || W/|W|_F - M/|M|_F ||_F^2
    NC4   share of examples where the head does not choose the nearest class mean
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Pairs of more rows than this are taken among so many evenly spaced ones.
PAIRED_ROWS = 2048


def simplex(w: Tensor, *, max_rows: int = PAIRED_ROWS) -> dict[str, Tensor]:
    """How far the rows of `w`, (..., classes, width), are from a simplex equiangular tight frame; each value (...).

    - `equinorm`: sd/mean of the lengths (Papyan et al., Fig. 2); `equiangularity`: sd of the cosines over pairs of
      classes (Fig. 3); `maximal_angle`: mean of |cos + 1/(C - 1)| over pairs (Fig. 4).
    - `distance`: || WW'/|WW'|_F - (I - 11'/C)/sqrt(C - 1) ||_F (Zhu et al. 2021), 0 for the simplex, never
      below `simplex_floor`; it is exact to about 1e-8.

    Rows are taken as they are: softmax does not see a vector that is added to all of them, so take the rows' mean
    off first unless you want the paper's own numbers. Rows of length 0 have no cosine and are left out of pairs.
    Above `max_rows` classes the pairs are those of so many evenly spaced rows. A replica that is not finite, or all
    zero, gets NaN. Raises ValueError for fewer than two classes.
    """
    if w.ndim < 2 or w.shape[-2] < 2 or w.shape[-1] < 1:
        raise ValueError(f"class vectors have shape {list(w.shape)}; expected (..., classes, width), classes >= 2")
    classes = w.shape[-2]
    rows = w.double()
    rows = rows / rows.abs().amax((-2, -1), keepdim=True)  # all zero: 0/0, so NaN
    lengths = rows.norm(dim=-1)  # (..., classes)
    inner = rows.square().sum((-2, -1)) - rows.sum(-2).square().sum(-1) / classes  # <WW', I - 11'/C>
    cosine = inner / ((rows.mT @ rows).norm(dim=(-2, -1)) * math.sqrt(classes - 1))
    picked = torch.linspace(0, classes - 1, min(classes, max_rows), device=w.device).round().long()
    spread, gap = _pairs(rows[..., picked, :], lengths[..., picked], -1 / (classes - 1))
    return {
        "equinorm": lengths.std(-1, correction=0) / lengths.mean(-1),
        "equiangularity": spread,
        "maximal_angle": gap,
        "distance": (2 - 2 * cosine).clamp(min=0).sqrt(),
    }


def simplex_floor(classes: int, width: int) -> float:
    """Least `distance` of `simplex`: 0 up to classes = width + 1, then sqrt(2 - 2 sqrt(width/(classes - 1)))."""
    return math.sqrt(2 - 2 * math.sqrt(min(1.0, width / (classes - 1))))


def collapse(
    features: Tensor,
    labels: Tensor,
    w: Tensor,
    *,
    bias: Tensor | None = None,
    predictions: Tensor | None = None,
    centred: bool = True,
) -> dict[str, Tensor]:
    """Neural collapse of `features`, (..., n, width), of the classes `labels`, (..., n), under the head `w`.

    `w` is (..., classes, width). Keys, each (...): `accuracy`; `nc1`; `nc2_<measure>_means` and `nc2_<measure>_head`
    for the four measures of `simplex`; `nc3`; `nc4`, the share of disagreement. The head's choice is `predictions`,
    (..., n), where given, else the largest w.h + bias: give predictions for a head that does not take inner products.
    `centred` takes the mean row off the head for NC2 and NC3; False keeps the paper's raw W. Every class weighs the
    same, as in the paper's balanced data. A replica that is not finite gets NaN.
    Raises ValueError for shapes that do not fit, labels out of range, and a class without examples.
    """
    width, classes = w.shape[-1], w.shape[-2]
    labels = check_examples(features, labels, w)
    h, w = features.double(), w.double()
    batch = torch.broadcast_shapes(h.shape[:-2], w.shape[:-2], labels.shape[:-1])
    h, w = h.expand(*batch, *h.shape[-2:]), w.expand(*batch, classes, width)
    labels = labels.expand(*batch, labels.shape[-1])
    counts = _counts(labels, classes)  # (..., classes)
    sums = torch.zeros(*batch, classes, width, dtype=h.dtype, device=h.device)
    means = sums.scatter_add_(-2, labels[..., None].expand(h.shape), h) / counts[..., None]  # (..., classes, width)
    spread = means - means.mean(-2, keepdim=True)
    head = w - w.mean(-2, keepdim=True) if centred else w
    if predictions is None:
        logits = h @ w.mT if bias is None else h @ w.mT + bias.double()[..., None, :]
        predictions = logits.argmax(-1)
    nearest = torch.cdist(h, means).argmin(-1)  # (..., n)
    found = {
        "accuracy": (predictions == labels).double().mean(-1),
        "nc1": _within_over_between(h, labels, means, spread, counts),
        "nc3": (head / _size(head) - spread / _size(spread)).square().sum((-2, -1)),
        "nc4": (predictions != nearest).double().mean(-1),
    }
    for name, vectors in (("means", spread), ("head", head)):
        found |= {f"nc2_{measure}_{name}": value for measure, value in simplex(vectors).items()}
    whole = h.isfinite().all(-1).all(-1) & w.isfinite().all(-1).all(-1)
    return {name: torch.where(whole, value, math.nan) for name, value in found.items()}


def check_examples(features: Tensor, labels: Tensor, w: Tensor) -> Tensor:
    """`labels` as int64, if features (..., n, width), labels (..., n) and vectors (..., classes, width) fit together.

    Raises ValueError for shapes that do not fit, labels that are no class, and a class without examples.
    """
    if w.ndim < 2 or w.shape[-2] < 2:
        raise ValueError(f"class vectors have shape {list(w.shape)}; expected (..., classes, width), classes >= 2")
    classes = w.shape[-2]
    if features.ndim < 2 or labels.ndim < 1 or features.shape[-2] != labels.shape[-1]:
        shapes = f"features have shape {list(features.shape)} and labels {list(labels.shape)}"
        raise ValueError(f"{shapes}; expected (..., n, width) and (..., n)")
    if features.shape[-1] != w.shape[-1]:
        raise ValueError(
            f"features are {features.shape[-1]} wide and class vectors {w.shape[-1]}; expected the features that this "
            "head reads"
        )
    if labels.is_floating_point() and not (labels == labels.round()).all():
        raise ValueError("labels are not whole numbers; expected the index of a class for each example")
    labels = labels.to(features.device, torch.int64)
    if not labels.numel() or int(labels.min()) < 0 or int(labels.max()) >= classes:
        seen = f"from {int(labels.min())} to {int(labels.max())}" if labels.numel() else "none"
        raise ValueError(f"labels are {seen}; expected the index of one of {classes} classes, 0 to {classes - 1}")
    if (missing := (_counts(labels, classes) == 0).nonzero()).numel():
        raise ValueError(f"class {int(missing[0, -1])} has no examples; give some of every class")
    return labels


def _counts(labels: Tensor, classes: int) -> Tensor:
    counts = torch.zeros(*labels.shape[:-1], classes, dtype=torch.int64, device=labels.device)
    return counts.scatter_add_(-1, labels, torch.ones_like(labels))


def _within_over_between(h: Tensor, labels: Tensor, means: Tensor, spread: Tensor, counts: Tensor) -> Tensor:
    """tr(S_W S_B^+) / C, (...), from the thin decomposition of the class means: no width x width matrix."""
    classes = counts.shape[-1]
    whole = spread.isfinite().all(-1).all(-1)
    _, size, axes = torch.linalg.svd(torch.where(whole[..., None, None], spread, 0), full_matrices=False)
    index = labels[..., None].expand(h.shape)
    rest = (h - means.gather(-2, index)) @ axes.mT  # (..., n, r): deviations from the class mean, in the span of M
    weight = (1 / (counts * classes)).gather(-1, labels)  # (..., n), every class the same
    within = (rest.square() * weight[..., None]).sum(-2)  # (..., r), the diagonal of S_W there
    between = size.square() / classes
    used = size > 1e-10 * size.amax(-1, keepdim=True)
    ratio = torch.where(used, within / between, 0).sum(-1) / classes
    return torch.where(used.any(-1), ratio, math.nan)


def _pairs(rows: Tensor, lengths: Tensor, target: float) -> tuple[Tensor, Tensor]:
    """Standard deviation of the cosines over pairs of rows with a length, and their mean distance from `target`."""
    there = lengths > 1e-12 * lengths.amax(-1, keepdim=True)  # (..., rows)
    unit = torch.where(there[..., None], rows / lengths[..., None], 0)
    pairs = there[..., :, None] & there[..., None, :]
    pairs = pairs & ~torch.eye(rows.shape[-2], dtype=torch.bool, device=rows.device)
    cosines = unit @ unit.mT  # (..., rows, rows)
    count = pairs.sum((-2, -1)).double()
    mean = (cosines * pairs).sum((-2, -1)) / count
    gap = ((cosines - target).abs_() * pairs).sum((-2, -1)) / count
    spread = ((cosines - mean[..., None, None]).square_() * pairs).sum((-2, -1)) / count
    return spread.sqrt(), gap


def _size(matrix: Tensor) -> Tensor:
    return matrix.norm(dim=(-2, -1), keepdim=True)
