"""Distances of the heads: against SciPy and slow loops in float64, gradients, zero vectors, precision, bad input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from torch import Tensor

from evolm.heads import coordinates
from evolm.heads.distances import DISTANCES, distance
from evolm.heads.matmul import cholesky_factor, directions

#: Options that make a distance general, where its defaults are a special case.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "minkowski": [{"p": 1.5}, {"p": 3.0}, {"p": 1.0}, {"p": 2.0}, {"p": math.inf}],
    "canberra-robust": [{}, {"min_denominator": 1.0}],
    "canberra-weighted": [{}, {"weight_power": 0.5}],
    "hamming": [{}, {"threshold": 0.5, "softness": 0.3}],
    "chebyshev-smooth": [{}, {"softness": 0.5}],
}
EVERY = [(name, options) for name in DISTANCES for options in OPTIONS.get(name, [{}])]


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def one_pair(name: str, x: np.ndarray, w: np.ndarray, **o: Any) -> float:
    """The definition, for two vectors, written out as plainly as possible."""
    a = np.abs(x - w)
    size = np.abs(x) + np.abs(w)
    match name:
        case "squared-euclidean":
            return float((a**2).sum())
        case "bray-curtis-signed":
            return float(a.sum() / abs((x + w).sum()))
        case "bray-curtis-abs":
            return float(a.sum() / size.sum())
        case "bray-curtis-normalised":
            p, q = np.abs(x) / np.abs(x).sum(), np.abs(w) / np.abs(w).sum()
            return float(np.abs(p - q).sum() / (p + q).sum())
        case "canberra-robust":
            return float(sum(a[k] / max(size[k], o.get("min_denominator", 1e-3)) for k in range(len(x))))
        case "canberra-weighted":
            v = size ** o.get("weight_power", 1.0)
            return float((v / v.sum() * a / size).sum())
        case "chebyshev-smooth":
            u = a / a.std(ddof=1)
            v = np.exp(u / o.get("softness", 1.0))
            return float((v / v.sum() * u).sum())
        case "hamming":
            soft = [1 / (1 + np.exp(-(v - o.get("threshold", 0.0)) / o.get("softness", 1.0))) for v in (x, w)]
            return float(np.abs(soft[0] - soft[1]).sum())
    raise AssertionError(name)


def expected(name: str, x: np.ndarray, w: np.ndarray, **options: Any) -> np.ndarray:
    """SciPy's value where SciPy has the distance, the loop's elsewhere."""
    width = x.shape[-1]
    match name:
        case "euclidean" | "cosine" | "chebyshev" | "canberra":
            return cdist(x, w, name)
        case "manhattan":
            return cdist(x, w, "cityblock")
        case "minkowski":
            p = options["p"]
            return cdist(x, w, "chebyshev") if p == math.inf else cdist(x, w, "minkowski", p=p)
        case "bray-curtis":
            return cdist(x, w, "braycurtis")
        case "mahalanobis":
            factor = options["factor"].numpy()
            return cdist(x, w, "mahalanobis", VI=factor @ factor.T)
        case "mahalanobis-diagonal":
            return cdist(x, w, "seuclidean", V=options["scale"].numpy() ** -2.0)
        case "hamming-hard":
            return cdist(x > 0, w > 0, "hamming") * width
    return np.array([[one_pair(name, a, b, **options) for b in w] for a in x])


def trained(name: str, width: int, seed: int = 9) -> dict[str, Tensor]:
    """A precision that is not the identity, for the distances that have one."""
    if name == "mahalanobis":
        return {"factor": cholesky_factor(0.5 * drawn(width, width, seed=seed))}
    return {"scale": drawn(width, seed=seed).exp()} if name == "mahalanobis-diagonal" else {}


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_values_are_those_of_scipy_or_of_the_plain_definition(name: str, options: dict[str, Any]) -> None:
    x, w = drawn(7, 5, seed=1) + 0.3, drawn(4, 5, seed=2)
    options = options | trained(name, 5)
    torch.testing.assert_close(
        distance(name, x, w, **options), torch.from_numpy(expected(name, x.numpy(), w.numpy(), **options))
    )


@settings(max_examples=25)
@given(batch=st.integers(1, 5), classes=st.integers(1, 5), width=st.integers(2, 6), seed=st.integers(0, 999))
def test_scipy_agrees_for_any_shape(batch: int, classes: int, width: int, seed: int) -> None:
    x, w = drawn(batch, width, seed=seed), 3 * drawn(classes, width, seed=seed + 1)
    for name in ("euclidean", "cosine", "manhattan", "chebyshev", "canberra", "mahalanobis", "mahalanobis-diagonal"):
        options = trained(name, width, seed)
        found = distance(name, x, w, **options)
        torch.testing.assert_close(found, torch.from_numpy(expected(name, x.numpy(), w.numpy(), **options)))


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_replicas_are_computed_each_on_its_own(name: str, options: dict[str, Any]) -> None:
    x, w = drawn(2, 3, 4, 5, seed=3), drawn(2, 3, 6, 5, seed=4)
    learnt = {key: torch.stack([value] * 6).view(2, 3, *value.shape) for key, value in trained(name, 5).items()}
    together = distance(name, x, w, **options, **learnt)
    assert together.shape == (2, 3, 4, 6)
    alone = distance(name, x[1, 2], w[1, 2], **options, **trained(name, 5))
    torch.testing.assert_close(together[1, 2], alone)


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_gradients_are_those_of_finite_differences(name: str, options: dict[str, Any]) -> None:
    if name == "hamming-hard":
        pytest.skip("its gradient is not that of its value; tested below")
    x, w = drawn(2, 3, 4, seed=5).requires_grad_(), drawn(2, 2, 4, seed=6).requires_grad_()
    learnt = {k: torch.stack([v, 2 * v]).requires_grad_() for k, v in trained(name, 4).items()}

    def value(x: Tensor, w: Tensor, *rest: Tensor) -> Tensor:
        return distance(name, x, w, **options, **dict(zip(learnt, rest, strict=True)))

    assert torch.autograd.gradcheck(value, (x, w, *learnt.values()))


@pytest.mark.parametrize("name", [name for name, one in DISTANCES.items() if one.matmul])
def test_second_derivatives_exist_where_a_product_suffices(name: str) -> None:
    x, w = drawn(3, 4, seed=5).requires_grad_(), drawn(2, 4, seed=6).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x, w: distance(name, x, w), (x, w))


@pytest.mark.parametrize(("name", "options"), EVERY)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_at_distance_zero_value_and_gradient_are_finite(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    w = drawn(4, 6, seed=7, dtype=dtype).requires_grad_()
    x = w.detach().clone().requires_grad_()
    found = distance(name, x, w, **options)
    # A product resolves squared distances to some roundings, and roots of them to the root of that.
    close = 1e-3 if found.dtype == torch.float32 else 1e-7
    assert float(found.detach().diagonal().abs().max()) < close
    found.sum().backward()
    assert x.grad is not None
    assert w.grad is not None
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(w.grad).all()


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_zero_vectors_have_finite_distances_and_gradients(name: str, options: dict[str, Any]) -> None:
    x, w = drawn(3, 6, seed=8), drawn(4, 6, seed=9)
    x[0], w[0] = 0, 0
    x, w = x.requires_grad_(), w.requires_grad_()
    found = distance(name, x, w, **options)
    assert torch.isfinite(found).all()
    found.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert float(found.detach()[0, 0]) == (1.0 if name == "cosine" else 0.0)


def test_registry_marks_exactly_the_distances_that_scipy_leaves_undefined_at_zero() -> None:
    zero = np.zeros((1, 3))
    with np.errstate(invalid="ignore"):
        for name, theirs in {"cosine": "cosine", "bray-curtis": "braycurtis", "euclidean": "euclidean"}.items():
            assert bool(np.isnan(cdist(zero, zero, theirs))) is DISTANCES[name].undefined_at_zero
    # 0/0 = 0 is SciPy's definition for Canberra, and ours.
    x, w = np.array([[0.0, 0.0, 2.0]]), np.array([[0.0, 1.0, 1.0]])
    assert float(distance("canberra", torch.tensor(x), torch.tensor(w))) == cdist(x, w, "canberra")


def test_a_zero_vector_is_at_a_right_angle_to_everything_and_pulls_nothing() -> None:
    x, w = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True), drawn(3, 4).requires_grad_()
    found = distance("cosine", x, w)
    assert (found == 1).all()
    found.sum().backward()
    assert x.grad is not None
    assert w.grad is not None
    assert not x.grad.any()
    assert not w.grad.any()


def test_directions_survive_lengths_whose_squares_do_not() -> None:
    x = torch.tensor([[3e-30, 4e-30], [3e30, -4e30]])
    torch.testing.assert_close(directions(x), torch.tensor([[0.6, 0.8], [0.6, -0.8]]))


@pytest.mark.parametrize("name", ["bray-curtis", "bray-curtis-signed"])
def test_bray_curtis_of_signed_vectors_is_bounded_at_its_poles(name: str) -> None:
    x = drawn(1, 5, seed=1)
    w = torch.cat([-x, -x + 1e-9])  # SciPy: infinite
    torch.testing.assert_close(distance(name, x, w), torch.full((1, 2), 1 / coordinates.LEAST_SUM).double())


def test_all_forms_of_bray_curtis_agree_on_vectors_without_negative_entries() -> None:
    x, w = drawn(6, 5, seed=1).abs(), drawn(4, 5, seed=2).abs()
    theirs = torch.from_numpy(cdist(x.numpy(), w.numpy(), "braycurtis"))
    for name in ("bray-curtis", "bray-curtis-signed", "bray-curtis-abs"):
        torch.testing.assert_close(distance(name, x, w), theirs)
    one = [v / v.sum(-1, keepdim=True) for v in (x, w)]
    torch.testing.assert_close(distance("bray-curtis-normalised", x, w), distance("bray-curtis", *one))


@settings(max_examples=10)
@given(log_scale=st.floats(-6, 6), seed=st.integers(0, 999))
def test_scaling_both_sides_scales_by_the_stated_degree(log_scale: float, seed: int) -> None:
    c = 10.0**log_scale
    x, w = drawn(4, 5, seed=seed), drawn(3, 5, seed=seed + 1)
    for name, options in EVERY:
        degree = DISTANCES[name].degree
        if degree is not None:
            scaled = distance(name, c * x, c * w, **options)
            torch.testing.assert_close(scaled, c**degree * distance(name, x, w, **options), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", [name for name, one in DISTANCES.items() if one.degree is None])
def test_distances_without_a_degree_have_none(name: str) -> None:
    x, w = drawn(4, 5, seed=1), drawn(3, 5, seed=2)
    options: dict[str, Any] = {"min_denominator": 1.0} if name == "canberra-robust" else {"threshold": 0.5}
    ratio = distance(name, 3 * x, 3 * w, **options) / distance(name, x, w, **options)
    ratio = ratio[torch.isfinite(ratio)]
    assert float(ratio.max() / ratio.min()) > 1.05


@settings(max_examples=10)
@given(seed=st.integers(0, 999))
def test_a_shift_changes_no_distance_of_the_minkowski_family_and_a_turn_no_euclidean_one(seed: int) -> None:
    x, w, shift = drawn(4, 5, seed=seed), drawn(3, 5, seed=seed + 1), 100 * drawn(5, seed=seed + 2)
    for name in ("euclidean", "manhattan", "minkowski", "chebyshev", "chebyshev-smooth"):
        torch.testing.assert_close(distance(name, x + shift, w + shift), distance(name, x, w), rtol=1e-9, atol=1e-9)
    turn = torch.linalg.qr(drawn(5, 5, seed=seed + 3)).Q
    for name in ("euclidean", "cosine"):
        torch.testing.assert_close(distance(name, x @ turn, w @ turn), distance(name, x, w))


def test_weighted_canberra_at_the_authors_power_is_bray_curtis_of_absolute_values() -> None:
    x, w = drawn(6, 5, seed=1), drawn(4, 5, seed=2)
    near = distance("canberra-weighted", x, w, weight_power=1 + 1e-9)  # by the general way
    torch.testing.assert_close(distance("canberra-weighted", x, w), near, rtol=1e-7, atol=0)
    torch.testing.assert_close(distance("bray-curtis-abs", x, w), near, rtol=1e-7, atol=0)


def test_the_smooth_chebyshev_does_not_see_how_far_x_is() -> None:
    x, step = drawn(1, 5, seed=1), drawn(1, 5, seed=2)
    near, far = distance("chebyshev-smooth", x, x + step), distance("chebyshev-smooth", x, x + 7 * step)
    torch.testing.assert_close(near, far)


def test_soft_hamming_becomes_scipys_count_as_it_cools() -> None:
    x, w = drawn(8, 6, seed=1), drawn(5, 6, seed=2)
    found = distance("hamming", x, w, threshold=0.2, softness=1e-6)
    torch.testing.assert_close(found, torch.from_numpy(cdist(x > 0.2, w > 0.2, "hamming") * 6))


def test_the_gradient_of_hard_hamming_is_that_of_soft_bits_where_they_differ() -> None:
    x, w = torch.tensor([[1.0, 1.0, -2.0]], requires_grad=True), torch.tensor([[-1.0, 2.0, 0.5]])
    found = distance("hamming-hard", x, w)
    assert float(found.detach()) == 2
    found.sum().backward()
    s = torch.sigmoid(x.detach())
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.tensor([[1.0, 0.0, -1.0]]) * s * (1 - s))


def test_any_raw_matrix_makes_a_positive_definite_precision_and_zeros_the_identity() -> None:
    factor = cholesky_factor(drawn(3, 4, 4))
    assert (torch.linalg.eigvalsh(factor @ factor.mT) > 0).all()
    torch.testing.assert_close(torch.linalg.cholesky(factor @ factor.mT), factor)
    assert torch.equal(cholesky_factor(torch.zeros(4, 4)), torch.eye(4))


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_error_of_a_product_is_some_roundings_of_the_spread_whatever_the_input_precision(
    dtype: torch.dtype, offset: float
) -> None:
    width = 256
    x, w = ((drawn(30, width, seed=s) + offset).to(dtype) for s in (1, 2))
    found = distance("euclidean", x, w)
    assert found.dtype == torch.float32
    x64, w64 = x.double(), w.double()
    exact = (x64[:, None] - w64).square().sum(-1)
    centre = w64.mean(0)
    spread = (x64 - centre).square().sum(-1)[:, None] + (w64 - centre).square().sum(-1)
    # A float32 sum of `width` terms errs by at most width/2 units of its last place; the centre's own rounding enters
    # as a coordinate's.
    coordinate = (offset * torch.finfo(torch.float32).eps) ** 2 * width + 1e-3 * offset * torch.finfo(torch.float32).eps
    bound = torch.finfo(torch.float32).eps * width / 2 * spread + coordinate * spread
    assert ((found.double() ** 2 - exact).abs() < bound).all()
    assert float(bound.max()) < 0.1


@pytest.mark.parametrize("name", [name for name, one in DISTANCES.items() if one.matmul])
def test_autocast_does_not_reach_into_a_distance(name: str) -> None:
    x, w = (drawn(n, 16, seed=n, dtype=torch.float32).requires_grad_() for n in (8, 5))
    options = {key: value.float() for key, value in trained(name, 16).items()}
    plain = distance(name, x, w, **options)
    gradient = torch.autograd.grad(plain.sum(), (x, w))
    with torch.autocast("cpu", torch.bfloat16):
        cast = distance(name, x, w, **options)
    cast_gradient = torch.autograd.grad(cast.sum(), (x, w))  # outside, as PyTorch asks for
    assert torch.equal(cast, plain)
    for one, other in zip(gradient, cast_gradient, strict=True):
        assert torch.equal(one, other)


def test_an_empty_batch_has_no_distances() -> None:
    assert distance("euclidean", torch.zeros(0, 3), torch.ones(2, 3)).shape == (0, 2)
    assert distance("canberra", torch.zeros(0, 3), torch.ones(2, 3)).shape == (0, 2)


@pytest.mark.parametrize(
    ("name", "x", "w", "options", "message"),
    [
        ("euclidian", (2, 3), (4, 3), {}, "did you mean 'euclidean'"),
        ("euclidean", (2, 3), (4, 5), {}, "alike but for batch and classes"),
        ("euclidean", (6, 2, 3), (4, 3), {}, "alike but for batch and classes"),
        ("euclidean", (3,), (4, 3), {}, "alike but for batch and classes"),
        ("euclidean", (2, 3), (0, 3), {}, "at least one class"),
        ("euclidean", (2, 0), (4, 0), {}, "one coordinate"),
        ("euclidean", (2, 3), (4, 3), {"p": 3}, "takes no option 'p'; its options: none"),
        ("minkowski", (2, 3), (4, 3), {"p": 0.5}, "expected 1 or more"),
        ("minkowski", (2, 3), (4, 3), {"p": math.nan}, "expected 1 or more"),
        ("minkowski", (2, 3), (4, 3), {"q": 1}, "its options: p, max_elements"),
        ("chebyshev-smooth", (2, 1), (4, 1), {}, "width must be above 1"),
        ("chebyshev-smooth", (2, 3), (4, 3), {"softness": 0}, "positive"),
        ("canberra-robust", (2, 3), (4, 3), {"min_denominator": 0}, "positive"),
        ("canberra-weighted", (2, 3), (4, 3), {"weight_power": -1}, "0 or more"),
        ("canberra", (2, 3), (4, 3), {"max_elements": 0}, "max_elements"),
        ("hamming", (2, 3), (4, 3), {"softness": -1}, "positive"),
        ("mahalanobis", (2, 3), (4, 3), {"factor": torch.eye(4)}, r"expected \(3, 3\)"),
        ("mahalanobis-diagonal", (2, 3), (4, 3), {"scale": torch.ones(3, 1)}, r"expected \(3,\)"),
    ],
)
def test_what_has_no_distance_is_refused(
    name: str, x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        distance(name, torch.ones(x), torch.ones(w), **options)


def test_integers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"call \.float\(\) first"):
        distance("hamming", torch.ones(2, 3, dtype=torch.long), torch.ones(4, 3))
