"""pass@k: the probability that at least one of k samples is correct (Yue et al. 2025, App. A.2).

    pass_at_k(n=1024, c=[0, 3, 900], k=256)        unbiased, from c correct among n samples
    pass_at_k_curve(n, c, ks=(1, 16, 256))         (problems, ks)
    pass_at_k_from_p([0.01, 0.3], k=256)           where the success probability itself is known

With fewer than 4 k samples the estimate is noisy, and at k = n it is the bare fact "solved": choose n accordingly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


def pass_at_k(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> Array:
    """1 - C(n-c, k) / C(n, k): unbiased for pass@k, from c correct samples among n. The arguments broadcast.

    Raises ValueError where a number is not whole, k < 1, c < 0, c > n or k > n.
    """
    samples, correct, draws = np.broadcast_arrays(_whole("n", n), _whole("c", c), _whole("k", k))
    check_counts(samples, correct)
    check_draws(samples, draws)
    result = np.empty(samples.shape)
    for size in np.unique(samples):
        for draw in np.unique(draws[samples == size]):
            here = (samples == size) & (draws == draw)
            result[here] = _by_correct(int(size), int(draw), int(correct[here].max()))[correct[here]]
    return result


def pass_at_k_curve(n: ArrayLike, c: ArrayLike, ks: ArrayLike) -> Array:
    """pass@k of every problem for every k: (problems, ks), from n and c, each (problems,) or a scalar."""
    samples, correct = np.broadcast_arrays(np.atleast_1d(n), np.atleast_1d(c))
    return pass_at_k(samples[:, None], correct[:, None], np.atleast_1d(ks)[None])


def pass_at_k_from_p(p: ArrayLike, k: ArrayLike) -> Array:
    """1 - (1 - p)^k, without rounding loss for small p; p in [0, 1], k >= 1, broadcast."""
    probability, draws = np.asarray(p, float), _whole("k", k)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("a success probability lies outside [0, 1]; expected the chance that one sample is correct")
    if (draws < 1).any():
        raise ValueError(f"k is {draws.min()}; expected at least 1 sample")
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(draws * np.log1p(-probability)))


def usual_ks(n: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to n, n included: where curves are drawn."""
    if n < 1:
        raise ValueError(f"there are {n} samples per problem; expected at least 1")
    return (*(2**i for i in range((n - 1).bit_length())), n)


def check_counts(n: Counts, c: Counts) -> None:
    """Refuse counts that no experiment can give; n and c have one shape."""
    if (n < 1).any():
        raise ValueError(f"a problem has {n.min()} samples; expected at least 1, so leave problems without samples out")
    if (bad := np.flatnonzero((c < 0) | (c > n))).size:
        where = f"{c.flat[bad[0]]} correct among {n.flat[bad[0]]} samples (entry {bad[0]})"
        raise ValueError(f"{where} is not possible; expected between 0 and n correct")


def check_draws(n: Counts, k: Counts) -> None:
    """Refuse a k that the smallest n does not reach; the shapes broadcast."""
    n, k = np.broadcast_arrays(n, k)
    if (k < 1).any():
        raise ValueError(f"k is {k.min()}; expected at least 1 sample")
    if (k > n).any():
        short = int(n[k > n].min())
        wanted = f"ask for k up to {short}, or draw more samples (4 k of them give a steady estimate)"
        raise ValueError(f"pass@{int(k[k > n].max())} cannot be estimated from {short} samples of a problem; {wanted}")


def _by_correct(n: int, k: int, most: int) -> Array:
    """pass@k for c = 0 ... most of n samples, as 1 - prod_{j=n-c+1}^{n} (1 - k / j): summed logs, no cancellation."""
    j = np.arange(n, n - most, -1)
    # Beyond c = n - k every choice of k samples holds a correct one: the factor is 0, and stays so.
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.where(j > k, np.log1p(-k / np.maximum(j, 1)), -np.inf)
    return -np.expm1(np.concatenate([[0.0], np.cumsum(factors)]))


def _whole(name: str, values: ArrayLike | Sequence[Any]) -> Counts:
    array = np.asarray(values)
    if array.dtype.kind not in "iub":
        as_float = array.astype(float)
        if not np.isfinite(as_float).all() or (as_float != np.round(as_float)).any():
            raise ValueError(f"{name} holds a value that is not a whole number; expected counts of samples")
        array = as_float
    return array.astype(np.int64)
