"""Harmonic loss (Baek et al. 2025, arXiv 2502.01628): logits from distances, and their control.

    loss = F.cross_entropy(harmonic_logits(distance("euclidean", x, w), exponent=4.0), target)
    logits = distance_logits("euclidean", x, w, exponent=4.0)          # the same, faster

p_i = d_i^-n / sum_j d_j^-n, which is a softmax of -n log d. **The exponent is that of the distance d**, as in the
paper. The authors' code raises d^2 + 1e-4 to the power -n, so its n is half the paper's: code n=1 is n=2 here. For the
Euclidean distance the paper recommends the square root of the width, and uses 1 in its own small tasks.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from evolm.heads.distances import check_options, checked, named
from evolm.heads.matmul import full_precision, safe_sqrt, squared_euclidean

Form = Literal["harmonic", "softmax"]

#: Below this share of a row's root mean square distance the logarithm goes on as its tangent. Relative, so that
#: probabilities have no unit; by a matrix product float32 resolves distances of about 3e-4 of that length.
CLOSEST = 1e-4


def harmonic_logits(d: Tensor, exponent: float | Tensor, *, squared: bool = False, closest: float = CLOSEST) -> Tensor:
    """-n log d, (..., batch, classes), from distances `d` (or from their squares, with `squared`).

    `exponent` n is a positive number, or a tensor that broadcasts to `d` (replicas with exponents of their own).
    The logarithm is exact down to `closest` times the root mean square of d over the classes, and from there to d = 0
    its tangent in d^2: value and gradient are finite and continuous, the gradient with respect to d is 0 at d = 0, and
    scaling x and w together changes no probability. The bound is held fixed in the gradient, which exists once: for
    second derivatives write -n log d. Where all distances of a row are 0 its logits are equal. Raises ValueError for an
    exponent that is no positive number.
    """
    if not isinstance(exponent, Tensor) and not 0 < exponent < math.inf:
        raise ValueError(f"exponent is {exponent}; expected a positive number, such as the square root of the width")
    squares = d if squared else d.square()
    least = squares.detach().mean(-1, keepdim=True) * closest**2  # (..., batch, 1)
    # A row of zeros, or of squares that underflow, has any other bound: no gradient is divided by zero.
    least = torch.where(least > torch.finfo(least.dtype).tiny, least, 1.0)
    if isinstance(exponent, Tensor):
        if exponent.requires_grad:
            return _TangentLog.apply(squares, least, -0.5) * exponent
        exponent = exponent.to(d.dtype)
    logits: Tensor = _TangentLog.apply(squares, least, -0.5 * exponent)
    return logits


def softmax_distance_logits(
    d: Tensor, temperature: float | Tensor = 1.0, *, power: Literal[1, 2] = 2, squared: bool = False
) -> Tensor:
    """-d^power / temperature, (..., batch, classes): what is left of harmonic loss without its logarithm.

    `d` are distances (or their squares, with `squared`). For the Euclidean distance and power 2, |x|^2 is the same for
    every class, so this is a linear head with weights 2 w / T and biases -|w|^2 / T.
    """
    if power not in (1, 2):
        raise ValueError(f"power is {power}; expected 1 or 2")
    if not isinstance(temperature, Tensor) and not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; expected a positive number")
    if power == 2:
        return (d if squared else d.square()) / -temperature
    return (safe_sqrt(d) if squared else d) / -temperature


def distance_logits(
    name: str,
    x: Tensor,
    w: Tensor,
    *,
    form: Form = "harmonic",
    exponent: float | Tensor | None = None,
    temperature: float | Tensor = 1.0,
    power: Literal[1, 2] = 2,
    **options: Any,
) -> Tensor:
    """Logits (..., batch, classes) of a distance head from `x` (..., batch, width) and `w` (..., classes, width).

    `form` "harmonic" is `harmonic_logits` with `exponent` (default: the square root of the width), "softmax" is
    `softmax_distance_logits` with `temperature` and `power`; `options` are those of the distance. Where the distance is
    Euclidean after a map, no root is taken. Raises what `distance` and these raise.
    """
    found = named(name)
    check_options(found, options)
    x, w = checked(x, w)
    squared = found.image is not None
    with full_precision(x):
        if found.image is not None:
            d = squared_euclidean(*found.image(x, w, **options))  # (..., batch, classes), and so below
        else:
            d = found.function(x, w, **options)
        if form == "harmonic":
            return harmonic_logits(d, math.sqrt(x.shape[-1]) if exponent is None else exponent, squared=squared)
        if form == "softmax":
            return softmax_distance_logits(d, temperature, power=power, squared=squared)
    raise ValueError(f"form is {form!r}; expected 'harmonic' or 'softmax'")


class _TangentLog(torch.autograd.Function):
    """factor * log s where s >= `least`, factor * (log(least) + s / least - 1) below; differentiable once.

    The gradient is factor / max(s, least). What is large is made once: on a CPU a new tensor costs more than the work.
    """

    @staticmethod
    def forward(ctx: Any, s: Tensor, least: Tensor, factor: float | Tensor) -> Tensor:
        bounded = torch.maximum(s, least)
        ctx.save_for_backward(bounded)
        ctx.factor = factor
        logs = bounded.log()
        # On a GPU, looking whether any s needs the tangent would be waiting.
        if s.device.type != "cpu" or (s.numel() and bool(s.min() < least.max())):
            logs += s.div(least).sub_(1).clamp_(max=0)
        return logs.mul_(factor)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (bounded,) = ctx.saved_tensors
        return torch.div(gradients[0], bounded).mul_(ctx.factor), None, None
