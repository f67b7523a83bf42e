"""Distances coordinate by coordinate: the Minkowski family, Bray-Curtis, Canberra and Hamming, with their variants.

Each takes x (..., batch, width) and w (..., classes, width) and gives (..., batch, classes). Definitions are SciPy's
where SciPy has them. The variants are those of the code published with arXiv 2603.10225 (`rethinking-harmonic-loss`),
less its absolute epsilons, which would make every distance depend on the units; where ours differs otherwise, the
docstring says so. Its stochastic Gumbel variant of Hamming is left out: a distance here depends on its arguments alone.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from evolm.heads.blocks import MAX_ELEMENTS, by_blocks, coordinate_sum
from evolm.heads.matmul import euclidean, safe_sqrt

#: Bray-Curtis distances of signed vectors have poles where their denominator is 0: it counts as at least this share of
#: sum (|x| + |w|), so the distance is at most 100. (The authors' code has 0.01 in the units of x and w.)
LEAST_SUM = 1e-2
#: In `chebyshev_smooth`, the least standard deviation, as a share of the mean absolute difference.
LEAST_SPREAD = 1e-3


def minkowski(x: Tensor, w: Tensor, p: float = 1.5, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """(sum_k |x_k - w_k|^p)^(1/p), for `p` from 1 to infinity. At distance zero the gradient is zero.

    Powers are taken as they are: with a large finite `p` they leave the range of floats unless differences are near 1.
    """
    if not p >= 1:
        raise ValueError(f"p is {p}; expected 1 or more (below 1 it is no distance)")
    if p == 2:
        return euclidean(x, w)
    if p in (1, math.inf):
        if not x.is_cuda:
            return torch.cdist(x, w, p=p)
        # Its gradient on a GPU holds a (batch, classes, width) buffer.
        return by_blocks(partial(torch.cdist, p=p), x, w, max_elements)

    def term(x: Tensor, w: Tensor) -> Tensor:
        return _power_((x - w).abs_(), p)

    def slopes(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        difference = x - w  # (..., batch, classes, width)
        slope = difference.sign().mul_(_power_(difference.abs_(), p - 1)).mul_(p)
        return slope, -slope

    total = coordinate_sum(x, w, term, slopes, max_elements)  # (..., batch, classes)
    positive = total > 0
    return torch.where(positive, torch.where(positive, total, 1) ** (1 / p), 0)


def manhattan(x: Tensor, w: Tensor, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """sum_k |x_k - w_k|."""
    return minkowski(x, w, 1.0, max_elements)


def chebyshev(x: Tensor, w: Tensor, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """max_k |x_k - w_k|; the gradient goes to the largest difference alone."""
    return minkowski(x, w, math.inf, max_elements)


def chebyshev_smooth(x: Tensor, w: Tensor, softness: float = 1.0, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """sum_k softmax(u / softness)_k u_k with u = |x - w| / std(|x - w|), the authors' "Chebyshev" for images.

    Dividing by the standard deviation over coordinates makes it blind to how far x is from w: twice the difference is
    the same distance. It is 0 at x = w (ours; there the quotient is undefined).
    """
    if x.shape[-1] < 2:
        raise ValueError("chebyshev-smooth divides by a standard deviation over coordinates; the width must be above 1")
    if not softness > 0:
        raise ValueError(f"softness is {softness}; expected a positive number")

    def block(x: Tensor, w: Tensor) -> Tensor:
        difference = _differences(x, w)  # (..., batch, classes, width)
        mean = difference.mean(-1, keepdim=True)
        residual = difference - mean
        variance = torch.linalg.vecdot(residual, residual).unsqueeze(-1) / (x.shape[-1] - 1)
        squared_spread = torch.maximum(variance, (LEAST_SPREAD * mean).square())  # (..., batch, classes, 1)
        u = difference / torch.where(squared_spread > 0, safe_sqrt(squared_spread), 1)
        return torch.linalg.vecdot((u / softness).softmax(-1), u)

    return by_blocks(block, x, w, max_elements)


def bray_curtis(x: Tensor, w: Tensor, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """sum |x - w| / sum |x + w|, SciPy's: at most 1 for vectors without negative entries, unbounded towards w = -x.

    It is bounded by 100 here (`LEAST_SUM`), and the distance between two zero vectors is 0 (SciPy: nan).
    """
    sums = torch.maximum(manhattan(x, -w, max_elements), LEAST_SUM * _sizes(x, w))
    return _quotient(manhattan(x, w, max_elements), sums)


def bray_curtis_signed(x: Tensor, w: Tensor, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """sum |x - w| / |sum (x + w)|, the authors': as `bray_curtis` without negative entries, with many poles otherwise.

    Signed vectors whose entries add up to little are far from everything. Bounded and defined as `bray_curtis`.
    """
    sums = torch.maximum(_outer_sum(x.sum(-1), w.sum(-1)).abs(), LEAST_SUM * _sizes(x, w))
    return _quotient(manhattan(x, w, max_elements), sums)


def bray_curtis_abs(x: Tensor, w: Tensor, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """sum |x - w| / sum (|x| + |w|), in [0, 1]; 0 between two zero vectors."""
    return _quotient(manhattan(x, w, max_elements), _sizes(x, w))


def bray_curtis_normalised(x: Tensor, w: Tensor, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """Half the sum of | |x|/sum|x| - |w|/sum|w| |, in [0, 1]: the total variation distance of the magnitudes.

    It sees neither signs nor lengths. A zero vector counts as the uniform one, as in the authors' code.
    """
    return 0.5 * manhattan(_shares(x), _shares(w), max_elements)


def canberra(x: Tensor, w: Tensor, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """sum_k |x_k - w_k| / (|x_k| + |w_k|), with 0/0 = 0 as in SciPy: at most the width."""
    return _canberra(x, w, 0.0, max_elements)


def canberra_robust(x: Tensor, w: Tensor, min_denominator: float = 1e-3, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """sum_k |x_k - w_k| / max(|x_k| + |w_k|, min_denominator): smooth through zero, but it depends on the units."""
    if not min_denominator > 0:
        raise ValueError(f"min_denominator is {min_denominator}; expected a positive number")
    return _canberra(x, w, min_denominator, max_elements)


def canberra_weighted(x: Tensor, w: Tensor, weight_power: float = 1.0, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """sum_k v_k |x_k - w_k| / (|x_k| + |w_k|) with weights v_k proportional to (|x_k| + |w_k|)^weight_power, sum 1.

    At the authors' power of 1 the weights cancel the denominators: it is `bray_curtis_abs`, and computed as such.
    """
    if weight_power == 1:
        return bray_curtis_abs(x, w, max_elements)
    if not weight_power >= 0:
        raise ValueError(f"weight_power is {weight_power}; expected 0 or more")

    def block(x: Tensor, w: Tensor) -> Tensor:
        size = _magnitudes(x, w)  # (..., batch, classes, width)
        weight = torch.where(size > 0, torch.where(size > 0, size, 1) ** weight_power, 0)
        terms = _quotient(_differences(x, w), size)
        return _quotient(torch.linalg.vecdot(weight, terms), weight.sum(-1))

    return by_blocks(block, x, w, max_elements)


def hamming(
    x: Tensor, w: Tensor, threshold: float = 0.0, softness: float = 1.0, max_elements: int = MAX_ELEMENTS
) -> Tensor:
    """sum_k |s(x_k) - s(w_k)| with s(v) = sigmoid((v - threshold) / softness): a soft count of differing bits.

    As `softness` falls it becomes the width times SciPy's `hamming` of the bits v > threshold.
    """
    soft_x, soft_w = (_bits(v, threshold, softness) for v in (x, w))
    return manhattan(soft_x, soft_w, max_elements)


def hamming_hard(
    x: Tensor, w: Tensor, threshold: float = 0.0, softness: float = 1.0, max_elements: int = MAX_ELEMENTS
) -> Tensor:
    """The number of coordinates in which the bits v > threshold differ, with the gradient of soft bits.

    (Straight-through, as in the authors' code, whose soft bits are not shifted by the threshold and ours are.)
    """
    bits = []
    for v in (x, w):
        soft = _bits(v, threshold, softness)
        bits.append((v > threshold).to(v.dtype) + (soft - soft.detach()))
    return manhattan(bits[0], bits[1], max_elements)


def _canberra(x: Tensor, w: Tensor, least: float, max_elements: int) -> Tensor:
    """sum_k |x_k - w_k| / max(|x_k| + |w_k|, least), with 0/0 = 0 where `least` is 0."""

    def parts(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """x - w and the denominator, never 0: (..., batch, classes, width) both."""
        return x - w, (x.abs() + w.abs()).clamp_(min=least or torch.finfo(x.dtype).tiny)

    def term(x: Tensor, w: Tensor) -> Tensor:
        difference, size = parts(x, w)
        return difference.abs_().div_(size)

    def slopes(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        difference, size = parts(x, w)
        sign = difference.sign()
        quotient = difference.abs_().div_(size)  # q: the derivative by x is (sign(x - w) - q sign(x)) / size
        if least:  # where the denominator is held, it has no derivative
            quotient.masked_fill_(size <= least, 0)
        by_x = torch.addcmul(sign, quotient, x.sign(), value=-1).div_(size)
        by_w = torch.addcmul(sign.neg_(), quotient, w.sign(), value=-1).div_(size)
        return by_x, by_w

    return coordinate_sum(x, w, term, slopes, max_elements)


def _power_(a: Tensor, p: float) -> Tensor:
    """a^p in place, a >= 0; the general power of a tensor takes many times what these take."""
    if p == 0.5:
        return a.sqrt_()
    if p == 1.5:
        return a.mul_(a.sqrt())
    return a if p == 1 else a.pow_(p)


def _differences(x: Tensor, w: Tensor) -> Tensor:
    return (x.unsqueeze(-2) - w.unsqueeze(-3)).abs()  # (..., batch, classes, width)


def _magnitudes(x: Tensor, w: Tensor) -> Tensor:
    return x.abs().unsqueeze(-2) + w.abs().unsqueeze(-3)  # (..., batch, classes, width)


def _outer_sum(x: Tensor, w: Tensor) -> Tensor:
    return x.unsqueeze(-1) + w.unsqueeze(-2)  # (..., batch, classes)


def _sizes(x: Tensor, w: Tensor) -> Tensor:
    return _outer_sum(x.abs().sum(-1), w.abs().sum(-1))  # (..., batch, classes)


def _quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """With 0/0 = 0; a zero denominator is only ever given with a zero numerator."""
    return numerator / torch.where(denominator > 0, denominator, 1)


def _shares(v: Tensor) -> Tensor:
    size = v.abs().sum(-1, keepdim=True)  # (..., 1)
    return torch.where(size > 0, v.abs() / torch.where(size > 0, size, 1), 1 / v.shape[-1])


def _bits(v: Tensor, threshold: float, softness: float) -> Tensor:
    if not softness > 0:
        raise ValueError(f"softness is {softness}; expected a positive number")
    return torch.sigmoid((v - threshold) / softness)
