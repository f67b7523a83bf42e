"""Distances between many vectors and many class vectors for which one matrix product suffices.

    squared_euclidean(x, w)            # (..., batch, width), (..., classes, width) -> (..., batch, classes)

No (batch, classes, width) tensor exists, forward or backward. |x - w|^2 = |x|^2 + |w|^2 - 2 x.w loses digits where
vectors are long beside their distances, so both sides are first shifted by the mean class vector, which no distance
notices: the absolute error of the square is then some roundings of |x - c|^2 + |w - c|^2, with c that mean.

Mahalanobis distances are Euclidean after a map of x and w, here called an image: heads use that to skip a root which
their logarithm would undo.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

Image = tuple[Tensor, Tensor]


def full_precision(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """A context without autocast: a product in bfloat16 would leave nothing of the difference of two squares."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()


def squared_euclidean(x: Tensor, w: Tensor) -> Tensor:
    """|x_i - w_j|^2, never negative: (..., batch, classes)."""
    centre = w.detach().mean(-2, keepdim=True)  # (..., 1, width); a constant, as no distance depends on it
    squares: Tensor = _SquaredEuclidean.apply(x - centre, w - centre)
    return squares


def euclidean(x: Tensor, w: Tensor) -> Tensor:
    """|x_i - w_j|. At distance zero the gradient, which has no direction, is zero."""
    return safe_sqrt(squared_euclidean(x, w))


def cosine(x: Tensor, w: Tensor) -> Tensor:
    """1 - x.w / (|x| |w|), in [0, 2]. A zero vector has no direction: its cosine is 0, its distance 1, its gradient 0.

    (SciPy gives nan there. A layer that has died would otherwise end a whole batch of replicas.)
    """
    distances: Tensor = _OneMinusProduct.apply(directions(x), directions(w))
    return distances


def mahalanobis(x: Tensor, w: Tensor, factor: Tensor | None = None) -> Tensor:
    """The root of (x - w)^T L L^T (x - w), where `factor` L (..., width, width) is a factor of the precision matrix.

    L L^T is the inverse covariance, SciPy's `VI`. `cholesky_factor` makes a trainable L. Default: the identity.
    """
    return euclidean(*linear_image(x, w, factor))


def mahalanobis_diagonal(x: Tensor, w: Tensor, scale: Tensor | None = None) -> Tensor:
    """The root of sum_k scale_k^2 (x_k - w_k)^2, `scale` (..., width): an inverse standard deviation per coordinate."""
    return euclidean(*scaled_image(x, w, scale))


def plain_image(x: Tensor, w: Tensor) -> Image:
    """x and w themselves."""
    return x, w


def linear_image(x: Tensor, w: Tensor, factor: Tensor | None = None) -> Image:
    """x L and w L: their Euclidean distance is the Mahalanobis distance of x and w."""
    if factor is None:
        return x, w
    _check_option("factor", factor, (*x.shape[:-2], x.shape[-1], x.shape[-1]))
    factor = factor.to(x.dtype)
    return x @ factor, w @ factor


def scaled_image(x: Tensor, w: Tensor, scale: Tensor | None = None) -> Image:
    """x and w with each coordinate times its `scale` (..., width)."""
    if scale is None:
        return x, w
    _check_option("scale", scale, (*x.shape[:-2], x.shape[-1]))
    scale = scale.to(x.dtype).unsqueeze(-2)  # (..., 1, width)
    return x * scale, w * scale


def cholesky_factor(raw: Tensor) -> Tensor:
    """The lower triangular L (..., width, width) of any `raw`: its strict lower part, and exp of its diagonal.

    L L^T is positive definite whatever `raw` is. Zeros give the identity, so a head starts as the Euclidean one and
    weight decay pulls it back there.
    """
    return raw.tril(-1) + torch.diag_embed(raw.diagonal(dim1=-2, dim2=-1).exp())


def directions(x: Tensor) -> Tensor:
    """`x` (..., width) at length 1; zero vectors stay zero, and so does their gradient."""
    unit: Tensor = _Directions.apply(x)
    return unit


def safe_sqrt(squared: Tensor) -> Tensor:
    """The square root, with gradient 0 instead of infinity at 0."""
    root: Tensor = _SafeSqrt.apply(squared)
    return root


def _check_option(name: str, value: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(value.shape) != expected:
        raise ValueError(f"{name} has shape {tuple(value.shape)}; expected {expected}, to fit x and w")


class _SquaredEuclidean(torch.autograd.Function):
    """The squares by one product, and with G the gradient, dx = 2 (G 1 x - G w) and dw = 2 (G^T 1 w - G^T x).

    Rounding below zero is cut off, and the gradient passes there: it is that of the exact square.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        lengths = torch.linalg.vecdot(x, x).unsqueeze(-1) + torch.linalg.vecdot(w, w).unsqueeze(-2)
        return _add_product_(lengths, x, w.mT, beta=1, alpha=-2).clamp_(min=0)  # (..., batch, classes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (g,), (x, w) = gradients, ctx.saved_tensors
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _add_product_(x * g.sum(-1, keepdim=True), g, w, beta=2, alpha=-2)
        if ctx.needs_input_grad[1]:
            dw = _add_product_(w * g.sum(-2).unsqueeze(-1), g.mT, x, beta=2, alpha=-2)
        return dx, dw


class _OneMinusProduct(torch.autograd.Function):
    """1 - x w^T, within [0, 2]; the gradient passes where rounding is cut off."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        ones = x.new_ones(*x.shape[:-1], w.shape[-2])
        return _add_product_(ones, x, w.mT, beta=1, alpha=-1).clamp_(0, 2)  # (..., batch, classes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (g,), (x, w) = gradients, ctx.saved_tensors
        dx = _add_product_(torch.zeros_like(x), g, w, beta=0, alpha=-1)
        return dx, _add_product_(torch.zeros_like(w), g.mT, x, beta=0, alpha=-1)


class _Directions(torch.autograd.Function):
    """u = x / |x|, with du = (g - u u.g) / |x|."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        largest = x.abs().amax(-1, keepdim=True)  # (..., 1): divided out first, so that no square under- or overflows
        unit = x / torch.where(largest > 0, largest, 1)
        length = torch.linalg.vecdot(unit, unit).sqrt_().unsqueeze(-1)
        length = torch.where(largest > 0, length, torch.inf)
        unit = unit.div_(length)
        ctx.save_for_backward(x, unit, torch.where(largest > 0, length * largest, torch.inf))
        return unit

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (g,), (x, unit, length) = gradients, ctx.saved_tensors
        if torch.is_grad_enabled():  # asked for a second derivative, for which the length is no constant
            length = torch.where(length < torch.inf, torch.linalg.vector_norm(x, dim=-1, keepdim=True), torch.inf)
        return (g - unit * torch.linalg.vecdot(unit, g).unsqueeze(-1)) / length


class _SafeSqrt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, squared: Tensor) -> Tensor:
        root = squared.sqrt()
        ctx.save_for_backward(root)
        return root

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (root,) = ctx.saved_tensors
        # Where the root is 0 the quotient is infinite or nan, and is not taken.
        return torch.where(root > 0, 0.5 * gradients[0] / root, 0)


def _add_product_(sums: Tensor, a: Tensor, b: Tensor, beta: float, alpha: float) -> Tensor:
    """beta * sums + alpha * a @ b in place of `sums`, which autocast leaves alone; any number of leading dimensions."""
    if a.dim() == 2:
        return sums.addmm_(a, b, beta=beta, alpha=alpha)
    leading = a.shape[:-2]
    a, b = a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])
    return sums.reshape(-1, *sums.shape[-2:]).baddbmm_(a, b, beta=beta, alpha=alpha).view(*leading, *sums.shape[-2:])
