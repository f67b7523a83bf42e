"""Harmonic cross-entropy over a large vocabulary, without ever holding all logits.

    loss = harmonic_cross_entropy(hidden, weight, targets, exponent=28.0)
    loss = head.loss(hidden, targets)                          # the same for a DistanceHead

Logits of (tokens x vocabulary), their logarithms and their gradients are what fills memory at the end of a language
model. Here they are made for some tokens at a time, and each part's gradient is taken before the next part is made.
Nothing is computed twice, but a part costs some passes over the class vectors: it should have more rows than the width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from evolm.heads.harmonic import distance_logits

#: The most logits that exist at one time.
MAX_LOGITS = 2**24
IGNORED = -100  # PyTorch's and transformers' label of a token that bears no loss


def harmonic_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    distance: str = "euclidean",
    ignore_index: int = IGNORED,
    max_logits: int = MAX_LOGITS,
    **how: Any,
) -> Tensor:
    """Mean of -log p(target) in nats, over `targets` (...) that are not `ignore_index`.

    `hidden` is (..., width), `weight` (classes, width); `how` are the arguments of `distance_logits` (exponent, form,
    options of the distance), tensors among them get their gradients. Equal to `F.cross_entropy` of all logits, nan
    where no target counts, but it can be differentiated once only. Raises ValueError for targets of another shape.
    """
    if targets.shape != hidden.shape[:-1]:
        found = f"targets have shape {tuple(targets.shape)} and hidden {tuple(hidden.shape)}"
        raise ValueError(f"{found}; expected one target per vector of hidden")
    if max_logits < 1:
        raise ValueError(f"max_logits is {max_logits}; expected a positive number")
    names = [name for name, value in how.items() if isinstance(value, Tensor)]
    fixed = {name: value for name, value in how.items() if name not in names}

    def total(rows: Tensor, wanted: Tensor, weight: Tensor, *tensors: Tensor) -> Tensor:
        given: dict[str, Any] = fixed | dict(zip(names, tensors, strict=True))
        logits = distance_logits(distance, rows, weight, **given)
        return F.cross_entropy(logits, wanted, ignore_index=ignore_index, reduction="sum")

    rows, wanted = hidden.reshape(targets.numel(), hidden.shape[-1]), targets.reshape(-1)
    # Parts of a gradient are added up in float32, whatever the weights are kept in.
    tensors = [one.to(torch.promote_types(one.dtype, torch.float32)) for one in (weight, *(how[n] for n in names))]
    at_once = max(1, max_logits // weight.shape[-2])
    summed: Tensor = _InParts.apply(total, at_once, wanted, rows, *tensors)
    return summed / (wanted != ignore_index).sum()


class _InParts(torch.autograd.Function):
    """`total(rows, wanted, *tensors)`, a sum over rows, with its gradient taken part by part in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, total: Callable[..., Tensor], at_once: int, wanted: Tensor, rows: Tensor, *tensors: Tensor
    ) -> Tensor:
        inputs = (rows, *tensors)
        needed = [place for place, needs in enumerate(ctx.needs_input_grad[3:]) if needs]
        gradients = {place: torch.zeros_like(inputs[place]) for place in needed}
        losses = []
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            given = [rows[part].detach(), *(one.detach() for one in tensors)]
            for place in needed:
                given[place].requires_grad_()
            with torch.set_grad_enabled(bool(needed)):
                loss = total(given[0], wanted[part], *given[1:])
            losses.append(loss.detach())
            if needed:
                found = torch.autograd.grad(loss, [given[place] for place in needed])
                for place, gradient in zip(needed, found, strict=True):
                    (gradients[place][part] if place == 0 else gradients[place]).add_(gradient)
        ctx.places = needed
        ctx.save_for_backward(*gradients.values())
        return torch.stack(losses).sum() if losses else rows.sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        result: list[Tensor | None] = [None] * len(ctx.needs_input_grad)
        for place, gradient in zip(ctx.places, ctx.saved_tensors, strict=True):
            result[3 + place] = gradient * upstream[0].to(gradient.dtype)
        return tuple(result)
