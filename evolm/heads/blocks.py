"""Distances that need every coordinate of every pair, within a stated memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

#: The most elements that one (batch, classes, width) intermediate may hold; a few of them live at once.
MAX_ELEMENTS = 2**24
#: On a CPU, about as many as stay in a core's cache: larger blocks are slower.
CACHED_ELEMENTS = 2**17
Pairwise = Callable[[Tensor, Tensor], Tensor]
Place = tuple[slice, slice, slice]  # replicas, rows of x, rows of w


def by_blocks(function: Pairwise, x: Tensor, w: Tensor, max_elements: int) -> Tensor:
    """`function(x, w)`, (..., batch, classes), by blocks of replicas, rows and classes.

    `function` may hold some tensors of as many elements as x (..., batch, width) and w (..., classes, width) have pairs
    of coordinates. Where that is more than `max_elements`, each block is computed on its own and once more in the
    backward pass, so that no more than a block's intermediates exist at any time: memory is bounded, for a third pass.
    """
    places = block_places(x, w, max_elements)
    if len(places) <= 1:
        return function(x, w)
    flat_x, flat_w = _flat(x), _flat(w)
    blocks = [_recomputed(function, flat_x[r, b], flat_w[r, c]) for r, b, c in places]
    columns = len({c.start for _, _, c in places})
    rows = [torch.cat(blocks[i : i + columns], -1) for i in range(0, len(blocks), columns)]
    height = len({b.start for _, b, _ in places})
    replicas = [torch.cat(rows[i : i + height], -2) for i in range(0, len(rows), height)]
    return torch.cat(replicas).view(*x.shape[:-1], w.shape[-2])


def block_places(x: Tensor, w: Tensor, max_elements: int) -> list[Place]:
    """Blocks whose pairs have at most `max_elements` coordinates (one pair, where that has more), row by row."""
    if max_elements < 1:
        raise ValueError(f"max_elements is {max_elements}; expected the largest number of elements of an intermediate")
    replicas, batch, classes, width = x.shape[:-2].numel(), x.shape[-2], w.shape[-2], w.shape[-1]
    rows = max(1, min(batch, max_elements // width))
    columns = max(1, min(classes, max_elements // (width * rows)))
    if rows < batch or columns < classes:
        together = 1
    else:
        together = max(1, min(replicas, max_elements // max(1, batch * classes * width)))
    return [
        (slice(r, r + together), slice(b, b + rows), slice(c, c + columns))
        for r in range(0, replicas, together)
        for b in range(0, batch, rows)
        for c in range(0, classes, columns)
    ]


def coordinate_sum(
    x: Tensor,
    w: Tensor,
    term: Pairwise,
    slopes: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    max_elements: int,
) -> Tensor:
    """sum_k term(x_k, w_k), (..., batch, classes), differentiable once, keeping nothing but x and w in between.

    `term` takes x (..., batch, 1, width) and w (..., 1, classes, width); `slopes` gives its derivatives by x and by w,
    which may be overwritten. Both work by blocks of at most `max_elements`.
    """
    places = block_places(x, w, max_elements if x.is_cuda else min(max_elements, CACHED_ELEMENTS))
    total: Tensor = _CoordinateSum.apply(_flat(x), _flat(w), term, slopes, places)
    return total.view(*x.shape[:-1], w.shape[-2])


class _CoordinateSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, term: Any, slopes: Any, places: list[Place]) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.slopes, ctx.places = slopes, places
        total = x.new_empty(*x.shape[:-1], w.shape[-2])  # (replica, batch, classes)
        for r, b, c in places:
            torch.sum(term(x[r, b].unsqueeze(-2), w[r, c].unsqueeze(-3)), -1, out=total[r, b, c])
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        x, w = ctx.saved_tensors
        dx, dw = torch.zeros_like(x), torch.zeros_like(w)
        for r, b, c in ctx.places:
            by_x, by_w = ctx.slopes(x[r, b].unsqueeze(-2), w[r, c].unsqueeze(-3))
            upstream = gradients[0][r, b, c].unsqueeze(-1)
            dx[r, b] += by_x.mul_(upstream).sum(-2)
            dw[r, c] += by_w.mul_(upstream).sum(-3)
        return dx, dw, None, None, None


def _flat(x: Tensor) -> Tensor:
    """With one dimension of replicas."""
    return x.reshape(x.shape[:-2].numel(), *x.shape[-2:])


def _recomputed(function: Pairwise, x: Tensor, w: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return function(x, w)
    block: Tensor = checkpoint(function, x, w, use_reentrant=False, preserve_rng_state=False)
    return block
