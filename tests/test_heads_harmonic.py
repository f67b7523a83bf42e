"""Harmonic logits and heads: the paper's formula, scale invariance, distance zero, controls, loss in parts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from evolm.heads.distances import DISTANCES, distance
from evolm.heads.harmonic import CLOSEST, distance_logits, harmonic_logits, softmax_distance_logits
from evolm.heads.head import DistanceHead, NormalisedLinear
from evolm.heads.loss import harmonic_cross_entropy

FREE_OF_UNITS = [name for name, one in DISTANCES.items() if one.degree is not None]


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@settings(max_examples=20)
@given(exponent=st.floats(0.25, 40), classes=st.integers(1, 8), seed=st.integers(0, 999))
def test_probabilities_are_powers_of_distances(exponent: float, classes: int, seed: int) -> None:
    d = drawn(5, classes, seed=seed).abs() + 0.01
    p = d**-exponent / (d**-exponent).sum(-1, keepdim=True)
    torch.testing.assert_close(harmonic_logits(d, exponent).softmax(-1), p)
    torch.testing.assert_close(harmonic_logits(d.square(), exponent, squared=True), -exponent * d.log())
    target = torch.zeros(5, dtype=torch.long)
    torch.testing.assert_close(F.cross_entropy(harmonic_logits(d, exponent), target), -p[:, 0].log().mean())


def test_the_authors_exponent_is_half_of_ours() -> None:
    x, w = drawn(6, 5, seed=1), drawn(4, 5, seed=2)
    in_code = ((x[:, None] - w).square().sum(-1) + 1e-12) ** -3.0
    ours = distance_logits("euclidean", x, w, exponent=6.0).softmax(-1)
    torch.testing.assert_close(ours, in_code / in_code.sum(-1, keepdim=True), rtol=1e-6, atol=0)


@pytest.mark.parametrize("form", ["harmonic", "softmax"])
@pytest.mark.parametrize("name", DISTANCES)
def test_a_head_gives_what_distance_and_logits_give_step_by_step(name: str, form: Any) -> None:
    x, w = drawn(2, 6, 5, seed=3), drawn(2, 4, 5, seed=4)
    x[0, 0], x[1, 2], w[0, 1] = w[0, 2], 0, 0  # distance zero, and zero vectors
    d = distance(name, x, w)
    if form == "harmonic":
        expected = harmonic_logits(d, 3.0)
        found = distance_logits(name, x, w, form=form, exponent=3.0)
    else:
        expected = softmax_distance_logits(d, 0.7, power=1)
        found = distance_logits(name, x, w, form=form, temperature=0.7, power=1)
        torch.testing.assert_close(distance_logits(name, x, w, form=form), -d.square())
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", FREE_OF_UNITS)
@pytest.mark.parametrize("c", [1e-6, 1e6])
def test_the_unit_of_x_and_w_changes_no_probability_even_at_distance_zero(name: str, c: float) -> None:
    x, w = drawn(6, 5, seed=1, dtype=torch.float32), drawn(4, 5, seed=2, dtype=torch.float32)
    x[0] = w[1]
    before = distance_logits(name, x, w, exponent=2.0).softmax(-1)
    after = distance_logits(name, c * x, c * w, exponent=2.0).softmax(-1)
    torch.testing.assert_close(after, before, rtol=2e-3, atol=1e-5)
    assert float(before[0, 1]) > 0.99


def test_where_no_unit_matters_the_gradient_has_no_part_along_the_scale() -> None:
    for name in FREE_OF_UNITS:
        x, w = drawn(6, 5, seed=1).requires_grad_(), drawn(4, 5, seed=2).requires_grad_()
        loss = F.cross_entropy(distance_logits(name, x, w, exponent=2.0), torch.tensor([0, 1, 2, 3, 0, 1]))
        dx, dw = torch.autograd.grad(loss, (x, w))
        along = float(
            ((dx * x).sum() + (dw * w).sum()).detach()
        )  # Euler: the derivative of the loss at c = 1 of c x, c w
        assert abs(along) < 1e-12 * float(dx.norm() + dw.norm()) + 1e-13, name


@pytest.mark.parametrize("name", [name for name in DISTANCES if name != "hamming-hard"])
def test_gradients_of_the_loss_are_those_of_finite_differences(name: str) -> None:
    x, w = drawn(2, 3, 4, seed=5).requires_grad_(), drawn(2, 3, 4, seed=6).requires_grad_()
    exponent = torch.tensor([1.0, 6.0], dtype=torch.float64).view(2, 1, 1).requires_grad_()
    target = torch.tensor([0, 1, 2, 2, 1, 0])

    def loss(x: Tensor, w: Tensor, exponent: Tensor) -> Tensor:
        return F.cross_entropy(distance_logits(name, x, w, exponent=exponent).flatten(0, 1), target)

    assert torch.autograd.gradcheck(loss, (x, w, exponent))


def test_a_second_derivative_is_refused_and_not_wrong() -> None:
    x, w = drawn(3, 4, seed=5).requires_grad_(), drawn(2, 4, seed=6).requires_grad_()
    loss = F.cross_entropy(distance_logits("euclidean", x, w), torch.tensor([0, 1, 1]))
    (dx,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


def test_the_logarithm_goes_on_as_its_tangent_below_the_bound() -> None:
    rest = torch.ones(99, dtype=torch.float64)

    def first(value: float) -> tuple[float, float]:
        """Logit and derivative, for exponent 1, of one distance among 99 of length 1."""
        d = torch.tensor([value], dtype=torch.float64, requires_grad=True)
        logit = harmonic_logits(torch.cat([d, rest])[None], 1.0)[0, 0]
        (slope,) = torch.autograd.grad(logit, d)
        return float(logit.detach()), float(slope)

    bound = CLOSEST * math.sqrt(0.99)  # the root mean square of 99 ones and a zero
    above, below = first(bound * (1 + 1e-7)), first(bound * (1 - 1e-7))
    assert above[0] == pytest.approx(-math.log(bound), rel=1e-6)
    assert above == pytest.approx(below, rel=1e-6)
    # Below: log(b) + (d^2 / b^2 - 1) / 2, with derivative d / b^2.
    assert first(bound / 2) == pytest.approx((-math.log(bound) + 3 / 8, -0.5 / bound), rel=1e-6)
    assert first(0.0) == pytest.approx((-math.log(bound) + 0.5, 0.0), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("exponent", [1.0, 28.0])
@pytest.mark.parametrize("name", DISTANCES)
def test_an_example_on_a_class_vector_has_a_finite_loss_and_gradient(
    name: str, exponent: float, dtype: torch.dtype
) -> None:
    w = drawn(4, 6, seed=7, dtype=dtype).requires_grad_()
    for target in (0, 1):  # on the right class, and on a wrong one
        x = w.detach()[:1].clone().requires_grad_()
        loss = F.cross_entropy(distance_logits(name, x, w, exponent=exponent), torch.tensor([target]))
        gradients = torch.autograd.grad(loss, (x, w))
        assert math.isfinite(float(loss.detach()))
        assert float(loss.detach()) < 0.01 if target == 0 else float(loss.detach()) > 1
        assert all(bool(torch.isfinite(g).all()) for g in gradients)


def test_where_every_class_is_at_distance_zero_all_are_equally_likely() -> None:
    w = torch.ones(5, 3, requires_grad=True)
    loss = F.cross_entropy(distance_logits("euclidean", torch.ones(2, 3), w, exponent=4.0), torch.tensor([0, 3]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(5))
    assert w.grad is not None
    assert not w.grad.any()


def test_replicas_may_have_exponents_of_their_own() -> None:
    x, w = drawn(3, 6, 5, seed=1), drawn(3, 4, 5, seed=2)
    exponents = torch.tensor([1.0, 4.0, 16.0])
    together = distance_logits("euclidean", x, w, exponent=exponents.view(3, 1, 1))
    for r, exponent in enumerate(exponents.tolist()):
        torch.testing.assert_close(together[r], distance_logits("euclidean", x[r], w[r], exponent=exponent))


def test_softmax_over_squared_distances_is_a_linear_head_with_tied_biases() -> None:
    x, w = drawn(6, 5, seed=1), drawn(4, 5, seed=2)
    linear = F.linear(x, 2 * w / 0.3, -w.square().sum(-1) / 0.3)
    found = distance_logits("euclidean", x, w, form="softmax", temperature=0.3)
    torch.testing.assert_close(found.softmax(-1), linear.softmax(-1))


def test_a_normalised_linear_head_is_the_softmax_of_cosine_distances() -> None:
    linear = NormalisedLinear(6, 4, scale=3.0, dtype=torch.float64)
    head = DistanceHead(6, 4, distance="cosine", form="softmax", power=1, temperature=1 / 3, dtype=torch.float64)
    head.weight = linear.weight
    x = drawn(5, 6, seed=1)
    torch.testing.assert_close(linear(x).softmax(-1), head(x).softmax(-1))
    torch.testing.assert_close(linear(x), 3 * F.cosine_similarity(x[:, None], linear.weight, dim=-1))


def test_lengths_of_weights_do_not_count_in_a_normalised_head_and_those_of_features_only_if_asked() -> None:
    x = drawn(5, 6, seed=1, dtype=torch.float32)
    for normalise, factor in ((True, 1.0), (False, 2.0)):
        head = NormalisedLinear(6, 4, normalise_features=normalise)
        before = head(x)
        with torch.no_grad():
            head.weight.mul_(torch.tensor([[0.1], [1.0], [5.0], [100.0]]))
        torch.testing.assert_close(head(x), before)
        torch.testing.assert_close(head(2 * x), factor * before)


def test_the_scale_of_a_normalised_head_is_trained_or_fixed() -> None:
    x = drawn(5, 6, seed=1, dtype=torch.float32)
    for learnt in (True, False):
        head = NormalisedLinear(6, 4, learn_scale=learnt)
        F.cross_entropy(head(x), torch.zeros(5, dtype=torch.long)).backward()
        assert (head.log_scale.grad is not None) is learnt
        assert head.scale == pytest.approx(math.sqrt(6))
        with torch.no_grad():
            head.log_scale.add_(1.0)
        head.reset_parameters()
        assert head.scale == pytest.approx(math.sqrt(6))


@pytest.mark.parametrize("name", DISTANCES)
def test_a_head_reads_any_number_of_dimensions_and_keeps_its_state(name: str) -> None:
    head, other = DistanceHead(6, 4, distance=name), DistanceHead(6, 4, distance=name)
    x = drawn(2, 3, 6, seed=1, dtype=torch.float32)
    assert head(x).shape == (2, 3, 4)
    torch.testing.assert_close(head(x)[1, 2], head(x[1, 2]), rtol=1e-4, atol=1e-4)
    assert head(x[:0]).shape == (0, 3, 4)
    other.load_state_dict(head.state_dict())
    assert torch.equal(head(x), other(x))


def test_a_heads_exponent_is_the_square_root_of_its_width_and_its_weights_those_of_a_linear_layer() -> None:
    head = DistanceHead(64, 500)
    assert head.exponent == 8
    assert float(head.weight.detach().abs().max()) <= 1 / 8
    assert float(head.weight.detach().std()) == pytest.approx(1 / 8 / math.sqrt(3), rel=0.02)
    assert "euclidean, harmonic, exponent=8" in repr(head)
    assert "p=3" in repr(DistanceHead(4, 2, distance="minkowski", p=3))


def test_a_head_can_be_made_without_memory_and_filled_later() -> None:
    source = DistanceHead(6, 4, distance="mahalanobis")
    with torch.device("meta"):
        heads = [DistanceHead(6, 4, distance=name) for name in DISTANCES]
        assert "learnt from 2" in repr(NormalisedLinear(4, 2))
    empty = next(head for head in heads if head.distance == "mahalanobis")
    assert empty.weight.is_meta
    empty.load_state_dict(source.state_dict(), assign=True)
    x = drawn(3, 6, dtype=torch.float32)
    assert torch.equal(empty(x), source(x))


@pytest.mark.parametrize("name", ["mahalanobis", "mahalanobis-diagonal"])
def test_a_mahalanobis_head_starts_as_the_euclidean_one_and_trains_its_precision(name: str) -> None:
    head, plain = DistanceHead(6, 4, distance=name, dtype=torch.float64), DistanceHead(6, 4, dtype=torch.float64)
    plain.weight = head.weight
    x = drawn(5, 6, seed=1)
    torch.testing.assert_close(head(x), plain(x))
    F.cross_entropy(head(x), torch.zeros(5, dtype=torch.long)).backward()
    assert head.precision is not None
    assert head.precision.grad is not None
    assert head.precision.grad.abs().max() > 1e-3
    with torch.no_grad():
        head.precision.add_(drawn(*head.precision.shape, seed=2))
    assert not torch.allclose(head(x), plain(x))


def test_harmonic_centres_stay_bounded_on_separable_data_where_linear_weights_grow() -> None:
    """Theorem 1 of the paper: the linear head's loss has its infimum at infinity, the harmonic head's does not."""
    x = torch.cat([drawn(20, 4, seed=s, dtype=torch.float32) * 0.1 + 2 * torch.eye(4)[s] for s in range(4)])
    labels = torch.arange(4).repeat_interleave(20)
    growth = {}
    for kind, head in (("harmonic", DistanceHead(4, 4, exponent=4.0)), ("linear", nn.Linear(4, 4, bias=False))):
        torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(0))
        optimiser = torch.optim.Adam(head.parameters(), lr=0.1)
        norms = []
        for _ in range(300):
            optimiser.zero_grad()
            logits = head(x)
            F.cross_entropy(logits, labels).backward()
            optimiser.step()
            norms.append(float(head.weight.detach().norm()))
        assert bool((logits.argmax(-1) == labels).all())
        growth[kind] = norms[-1] / norms[149]
    assert growth["harmonic"] < 1.01
    assert growth["linear"] > 1.05


@pytest.mark.parametrize("at_once", [1, 7, 1000])
@pytest.mark.parametrize("name", ["euclidean", "mahalanobis", "manhattan"])
def test_a_loss_in_parts_equals_the_loss_of_all_logits(name: str, at_once: int) -> None:
    head = DistanceHead(6, 5, distance=name, exponent=3.0, dtype=torch.float64)
    x, targets = drawn(4, 5, 6, seed=1).requires_grad_(), torch.arange(20).view(4, 5) % 5
    targets[0, :3] = -100
    whole = F.cross_entropy(head(x).flatten(0, 1), targets.flatten())
    parts = head.loss(x, targets, max_logits=5 * at_once)
    torch.testing.assert_close(parts, whole)
    wanted = (x, *head.parameters())
    for one, other in zip(torch.autograd.grad(3 * parts, wanted), torch.autograd.grad(3 * whole, wanted), strict=True):
        torch.testing.assert_close(one, other)


def test_a_loss_in_parts_of_bfloat16_weights_adds_up_in_float32() -> None:
    x, w = drawn(512, 8, seed=1, dtype=torch.bfloat16), drawn(5, 8, seed=2, dtype=torch.bfloat16)
    targets = torch.arange(512) % 5
    whole, parts = (one.detach().clone().requires_grad_() for one in (w, w))
    F.cross_entropy(distance_logits("euclidean", x, whole), targets).backward()
    harmonic_cross_entropy(x, parts, targets, max_logits=5).backward()
    assert parts.grad is not None
    assert whole.grad is not None
    assert parts.grad.dtype == torch.bfloat16
    torch.testing.assert_close(parts.grad, whole.grad)


def test_a_loss_in_parts_needs_no_gradient_and_may_have_nothing_to_count() -> None:
    x, w = drawn(4, 6), drawn(3, 6, seed=1)
    with torch.no_grad():
        assert not harmonic_cross_entropy(x, w, torch.zeros(4, dtype=torch.long)).requires_grad
    assert math.isnan(float(harmonic_cross_entropy(x, w, torch.full((4,), -100))))
    assert math.isnan(float(harmonic_cross_entropy(x[:0], w, torch.zeros(0, dtype=torch.long))))


@pytest.mark.parametrize("exponent", [0.0, -1.0, math.inf, math.nan])
def test_an_exponent_that_is_no_positive_number_is_refused(exponent: float) -> None:
    with pytest.raises(ValueError, match="expected a positive number"):
        harmonic_logits(torch.ones(2, 3), exponent)
    with pytest.raises(ValueError, match="expected a positive number"):
        DistanceHead(4, 2, exponent=exponent)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": "cosin"}, "did you mean 'cosine'"),
        ({"form": "harmonics"}, "expected 'harmonic' or 'softmax'"),
        ({"form": "softmax", "power": 3}, "expected 1 or 2"),
        ({"form": "softmax", "temperature": 0.0}, "expected a positive number"),
        ({"distance": "minkowski", "p": 0.5}, "expected 1 or more"),
        ({"p": 3}, "takes no option 'p'"),
        ({"distance": "mahalanobis", "factor": torch.eye(4)}, "head.precision"),
    ],
)
def test_a_head_that_cannot_compute_is_refused_when_it_is_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistanceHead(4, 2, **options)


def test_sizes_scales_and_targets_that_make_no_sense_are_refused() -> None:
    for make in (DistanceHead, NormalisedLinear):
        with pytest.raises(ValueError, match="at least one of each"):
            make(4, 0)
    with pytest.raises(ValueError, match="positive"):
        NormalisedLinear(4, 2, scale=-1.0)
    with pytest.raises(ValueError, match="alike but for batch"):
        DistanceHead(4, 2)(torch.ones(3, 5))
    with pytest.raises(ValueError, match="one target per vector"):
        DistanceHead(4, 2).loss(torch.ones(3, 4), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="max_logits"):
        DistanceHead(4, 2).loss(torch.ones(3, 4), torch.zeros(3, dtype=torch.long), max_logits=0)
