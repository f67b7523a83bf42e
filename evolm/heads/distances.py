"""Every distance a head can compare with, by name, and what is known of each.

    distance("euclidean", x, w)      # (..., batch, width), (..., classes, width) -> (..., batch, classes)
    distance("minkowski", x, w, p=3)
    DISTANCES["bray-curtis"].description

Leading dimensions of `x` and `w` are replicas: models that train together.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from evolm.heads import coordinates, matmul
from evolm.heads.matmul import full_precision

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Distance:
    """What is known of a distance d(x, w) of vectors.

    - `matmul`: one matrix product suffices, and no (batch, classes, width) tensor is made.
    - `degree`: k where d(c x, c w) = |c|^k d(x, w), None where there is no such k. With any k harmonic probabilities
      do not depend on the unit of x and w; with k = 0 the distance itself does not.
    - `undefined_at_zero`: the quotient that defines it is 0/0 for two zero vectors (for one, in the case of cosine);
      what it is there by our definition is in the function's docstring.
    - `trainable`: its option that a head trains, "" where there is none.
    - `image`: the map of x and w after which d is their Euclidean distance, None where there is none.
    """

    name: str
    description: str
    function: Function
    matmul: bool = False
    degree: int | None = 1
    undefined_at_zero: bool = False
    trainable: str = ""
    image: Callable[..., tuple[Tensor, Tensor]] | None = None

    @property
    def scale_invariant(self) -> bool:
        """Whether d(c x, c w) = d(x, w) for c > 0."""
        return self.degree == 0

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the keyword arguments that `distance` takes for it."""
        return _options(self.function)


@cache
def _options(function: Function) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)[2:]


def _registry(*distances: Distance) -> Mapping[str, Distance]:
    return MappingProxyType({one.name: one for one in distances})


DISTANCES = _registry(
    Distance("euclidean", "straight-line length of x - w", matmul.euclidean, matmul=True, image=matmul.plain_image),
    Distance("squared-euclidean", "its square", matmul.squared_euclidean, matmul=True, degree=2),
    Distance("cosine", "1 - cosine of the angle", matmul.cosine, matmul=True, degree=0, undefined_at_zero=True),
    Distance(
        "mahalanobis",
        "Euclidean after a trained linear map",
        matmul.mahalanobis,
        matmul=True,
        trainable="factor",
        image=matmul.linear_image,
    ),
    Distance(
        "mahalanobis-diagonal",
        "Euclidean after a trained scale per coordinate",
        matmul.mahalanobis_diagonal,
        matmul=True,
        trainable="scale",
        image=matmul.scaled_image,
    ),
    Distance("manhattan", "sum |x - w|", coordinates.manhattan),
    Distance("minkowski", "(sum |x - w|^p)^(1/p)", coordinates.minkowski),
    Distance("chebyshev", "max |x - w|", coordinates.chebyshev),
    Distance("chebyshev-smooth", "softmax-weighted mean of |x - w| / std", coordinates.chebyshev_smooth, degree=0),
    Distance("bray-curtis", "sum |x - w| / sum |x + w|", coordinates.bray_curtis, degree=0, undefined_at_zero=True),
    Distance(
        "bray-curtis-signed",
        "sum |x - w| / |sum (x + w)|",
        coordinates.bray_curtis_signed,
        degree=0,
        undefined_at_zero=True,
    ),
    Distance(
        "bray-curtis-abs",
        "sum |x - w| / sum (|x| + |w|)",
        coordinates.bray_curtis_abs,
        degree=0,
        undefined_at_zero=True,
    ),
    Distance(
        "bray-curtis-normalised",
        "total variation between magnitudes that sum to 1",
        coordinates.bray_curtis_normalised,
        degree=0,
        undefined_at_zero=True,
    ),
    Distance("canberra", "sum of |x - w| / (|x| + |w|)", coordinates.canberra, degree=0, undefined_at_zero=True),
    Distance("canberra-robust", "with a least denominator, in fixed units", coordinates.canberra_robust, degree=None),
    Distance(
        "canberra-weighted",
        "coordinates weighted by a power of |x| + |w|",
        coordinates.canberra_weighted,
        degree=0,
        undefined_at_zero=True,
    ),
    Distance("hamming", "sum |s(x) - s(w)| with sigmoids s", coordinates.hamming, degree=None),
    Distance("hamming-hard", "number of differing bits, gradient of sigmoids", coordinates.hamming_hard, degree=None),
)


def distance(name: str, x: Tensor, w: Tensor, **options: Any) -> Tensor:
    """Distances between the rows of `x` (..., batch, width) and of `w` (..., classes, width): (..., batch, classes).

    Computed in float32 (float64 where the input is), under autocast too: half precision leaves nothing of small
    distances. Value and gradient are finite wherever x and w are, at distance zero and at zero vectors too. `options`
    are those that the distance names (`DISTANCES[name].options`).

    Raises ValueError for an unknown name or option, an option out of range, integers, and shapes that do not fit.
    """
    found = named(name)
    check_options(found, options)
    x, w = checked(x, w)
    with full_precision(x):
        return found.function(x, w, **options)


def named(name: str) -> Distance:
    """The distance of that name. Raises ValueError that names the nearest."""
    if name not in DISTANCES:
        near = difflib.get_close_matches(name, DISTANCES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"there is no distance {name!r}; {hint}known: {', '.join(DISTANCES)}")
    return DISTANCES[name]


def check_options(found: Distance, options: Mapping[str, Any]) -> None:
    """Raises ValueError for an option that the distance does not take."""
    if unknown := set(options) - set(found.options):
        takes = ", ".join(found.options) or "none"
        raise ValueError(f"{found.name} takes no option {sorted(unknown)[0]!r}; its options: {takes}")


def checked(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """`x` and `w` in float32 (float64 where either is). Raises ValueError where they have no distances."""
    if x.dim() < 2 or w.dim() < 2 or x.shape[:-2] != w.shape[:-2] or x.shape[-1] != w.shape[-1]:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and w {tuple(w.shape)}; expected (..., batch, width) and "
            "(..., classes, width), alike but for batch and classes"
        )
    if not w.shape[-2] or not w.shape[-1]:
        raise ValueError(f"w has shape {tuple(w.shape)}; expected at least one class and one coordinate")
    if not (x.is_floating_point() and w.is_floating_point()):
        raise ValueError(f"x is {x.dtype} and w {w.dtype}; expected floating point numbers: call .float() first")
    dtype = torch.promote_types(torch.promote_types(x.dtype, w.dtype), torch.float32)
    return x.to(dtype), w.to(dtype)
