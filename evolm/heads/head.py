"""Heads in place of a classifier's last linear layer.

head = DistanceHead(64, 10)                                   # harmonic, Euclidean, exponent 8
F.cross_entropy(head(features), labels).backward()
DistanceHead(64, 10, distance="minkowski", p=3, exponent=4)
DistanceHead(64, 10, form="softmax")                          # control: softmax over -d^2
NormalisedLinear(64, 10)                                      # control: cross-entropy with normalised weights
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from evolm.heads.distances import check_options, named
from evolm.heads.harmonic import Form, distance_logits
from evolm.heads.loss import MAX_LOGITS, harmonic_cross_entropy
from evolm.heads.matmul import cholesky_factor, directions, full_precision


class DistanceHead(nn.Module):
    """Logits (..., out_features) of features (..., in_features) by their distances from one vector per class.

    `weight` (out_features, in_features) holds the class vectors, drawn as `nn.Linear` draws its own; it can be tied.
    There is no bias. `exponent` None is the square root of `in_features`, the paper's recommendation. Mahalanobis
    distances train `precision`, which starts at zero: the Euclidean distance (`cholesky_factor`). `options` are those
    of the distance; `form`, `temperature` and `power` as in `distance_logits`. Logits are float32 at least.

    Raises ValueError for sizes, names, options or exponents that make no head.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        distance: str = "euclidean",
        exponent: float | None = None,
        form: Form = "harmonic",
        temperature: float = 1.0,
        power: Literal[1, 2] = 2,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = _sizes(in_features, out_features)
        found = named(distance)
        if found.trainable in options and found.trainable:
            raise ValueError(f"{distance} trains its {found.trainable} itself; set head.precision instead")
        check_options(found, options)
        self.distance, self.form, self.options = distance, form, options
        self.exponent = math.sqrt(in_features) if exponent is None else float(exponent)
        self.temperature, self.power = float(temperature), power
        self.weight = nn.Parameter(torch.empty(out_features, in_features, device=device, dtype=dtype))
        shape = {"factor": (in_features, in_features), "scale": (in_features,)}.get(found.trainable)
        self.precision = nn.Parameter(torch.empty(shape, device=device, dtype=dtype)) if shape else None
        self.register_parameter("bias", None)  # libraries ask a head for it
        self.reset_parameters()
        with torch.no_grad():  # what the head cannot compute is refused now, not in the first step
            self(torch.zeros(1, in_features, device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """Draw the weights again, and forget what was learnt about the distance."""
        _draw(self.weight)
        if self.precision is not None:
            nn.init.zeros_(self.precision)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (..., out_features) of `x` (..., in_features)."""
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])  # (batch, in_features)
        logits = distance_logits(self.distance, rows, self.weight, **self._how())
        return logits.view(*x.shape[:-1], self.out_features)

    def loss(self, x: Tensor, targets: Tensor, max_logits: int = MAX_LOGITS) -> Tensor:
        """Mean cross-entropy of `x` (..., in_features) and `targets` (...), -100 for none: `harmonic_cross_entropy`."""
        how = self._how()
        return harmonic_cross_entropy(x, self.weight, targets, distance=self.distance, max_logits=max_logits, **how)

    def _how(self) -> dict[str, Any]:
        """The arguments of `distance_logits`, the trained option of a Mahalanobis distance among them."""
        how = {"form": self.form, "exponent": self.exponent, "temperature": self.temperature, "power": self.power}
        if self.precision is None:
            return how | self.options
        precision = self.precision.to(torch.promote_types(self.precision.dtype, torch.float32))
        learnt = {"factor": cholesky_factor(precision)} if precision.dim() == 2 else {"scale": precision.exp()}
        return how | self.options | learnt

    def extra_repr(self) -> str:
        how = f"exponent={self.exponent:g}" if self.form == "harmonic" else f"temperature={self.temperature:g}"
        own = "".join(f", {name}={value}" for name, value in self.options.items())
        return f"{self.in_features}, {self.out_features}, {self.distance}, {self.form}, {how}{own}"


class NormalisedLinear(nn.Module):
    """scale * cos(x, w): cross-entropy whose weights cannot grow. Features (..., in_features) to logits.

    `scale` starts at `scale` (None: the square root of `in_features`) and is trained unless `learn_scale` is False. It
    is kept as its logarithm, so it stays positive, and weight decay pulls it to 1. With `normalise_features` False the
    features keep their length, and the logits are scale * |x| cos(x, w). Up to a constant per row it is the
    `DistanceHead` of distance "cosine", form "softmax", power 1 and temperature 1/scale.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        scale: float | None = None,
        learn_scale: bool = True,
        normalise_features: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = _sizes(in_features, out_features)
        start = math.sqrt(in_features) if scale is None else float(scale)
        if not 0 < start < math.inf:
            raise ValueError(f"scale is {scale}; expected a positive number")
        self.start, self.normalise_features = start, normalise_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features, device=device, dtype=dtype))
        self.log_scale = nn.Parameter(torch.empty((), device=device, dtype=dtype), requires_grad=learn_scale)
        self.register_parameter("bias", None)  # libraries ask a head for it
        self.reset_parameters()

    @property
    def scale(self) -> float:
        """The factor before the cosine."""
        return math.exp(float(self.log_scale.detach()))

    def reset_parameters(self) -> None:
        """Draw the weights again, and put the scale back where it began."""
        _draw(self.weight)
        nn.init.constant_(self.log_scale, math.log(self.start))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (..., out_features) of `x` (..., in_features), float32 at least."""
        dtype = torch.promote_types(torch.promote_types(x.dtype, self.weight.dtype), torch.float32)
        with full_precision(x):
            rows = directions(x.to(dtype)) if self.normalise_features else x.to(dtype)
            return F.linear(rows, directions(self.weight.to(dtype))) * self.log_scale.to(dtype).exp()

    def extra_repr(self) -> str:
        learnt = "learnt from" if self.log_scale.requires_grad else "fixed at"
        return f"{self.in_features}, {self.out_features}, scale {learnt} {self.start:g}"


def _sizes(in_features: int, out_features: int) -> tuple[int, int]:
    if in_features < 1 or out_features < 1:
        raise ValueError(f"a head of {in_features} features and {out_features} classes; expected at least one of each")
    return in_features, out_features


def _draw(weight: nn.Parameter) -> None:
    """As `nn.Linear`: uniform within 1 / sqrt(in_features)."""
    bound = 1 / math.sqrt(weight.shape[1])
    nn.init.uniform_(weight, -bound, bound)
