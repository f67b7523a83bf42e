"""Pieces of a Llama whose gradient is shorter by hand than by autograd: rotation and norm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def causal(time: int, like: Tensor) -> Tensor:
    """(time, time): 0 where a query may look, minus infinity ahead of it."""
    return torch.full((time, time), -torch.inf, device=like.device).triu_(1)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of `x` (..., time, head_dim) by `cos`, `sin` (time, head_dim / 2); halves as in transformers."""
    a, b = x.chunk(2, -1)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    first, second = out.chunk(2, -1)
    torch.mul(a, cos.to(x.dtype), out=first).addcmul_(b, sin.to(x.dtype), value=-1)
    torch.mul(b, cos.to(x.dtype), out=second).addcmul_(a, sin.to(x.dtype))
    return out


class Rotate(torch.autograd.Function):
    """`rotated` with its gradient: the rotation back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return rotated(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return rotated(gradients[0], cos, -sin), None, None


class Norm(torch.autograd.Function):
    """RMSNorm of float32 `x` (position, width) into `dtype`; with n = x/rms, dx = (gw - n<n, gw>/width) / rms."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        scale = torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(eps).rsqrt_().unsqueeze(-1)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight, scale = ctx.saved_tensors
        normed, g = x * scale, gradients[0].float()
        by_weight = normed * g
        shift = (by_weight @ weight).div_(x.shape[-1]).unsqueeze(-1)
        return (g * weight).addcmul_(normed, shift, value=-1).mul_(scale), by_weight.sum(0), None, None
