"""Geometry of class vectors: closed forms, invariances, nulls, parity with scipy, and replicas that have none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from torch import Tensor

from evolm.instruments.geometry_measures import (
    circle_evenness,
    collapse,
    convexity,
    effective_rank,
    explained_variance,
    fourier_null,
    fourier_share,
    hull_distance,
    lattice_fit,
    norm_slope,
    simplex,
    simplex_floor,
)

SEEDS = st.integers(0, 9999)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthonormal(rows: int, width: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(gaussian(width, rows, seed=seed)).Q.T


def ring(classes: int, frequency: int = 1, width: int = 12, seed: int = 0) -> Tensor:
    """Classes round a circle in a plane of their own, off the origin."""
    angle = 2 * math.pi * frequency * torch.arange(classes, dtype=torch.float64) / classes
    return 3 + 2 * torch.stack([angle.cos(), angle.sin()], -1) @ orthonormal(2, width, seed)


def simplex_rows(classes: int, width: int, seed: int = 0) -> Tensor:
    centred = torch.eye(classes, dtype=torch.float64) - 1 / classes
    return torch.linalg.svd(centred).Vh[: classes - 1].T @ orthonormal(classes - 1, width, seed)


def collapsed(classes: int = 5, each: int = 8, width: int = 9, noise: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Features that sit at the corners of a simplex, but for noise; their labels; the head that reads them."""
    head = simplex_rows(classes, width)
    labels = torch.arange(classes).repeat(each)
    return 4 + 3 * head[labels] + noise * gaussian(len(labels), width, seed=1), labels, head


def moved(w: Tensor, seed: int, scale: float) -> Tensor:
    """`w` turned, scaled and shifted."""
    width = w.shape[-1]
    return scale * (w @ orthonormal(width, width, seed)) + gaussian(width, seed=seed + 1)


def test_a_ring_lies_in_a_plane_at_one_frequency_and_is_round_and_even() -> None:
    w = ring(31, frequency=7)
    assert explained_variance(w) == pytest.approx(1)
    assert explained_variance(w, 1) == pytest.approx(0.5)
    found = fourier_share(w)
    assert found.share == pytest.approx(1)
    assert found.frequency == 7
    assert list(circle_evenness(w)) == pytest.approx([1, 1])
    assert list(effective_rank(w)) == pytest.approx([2, 2])


def test_a_ring_out_of_order_is_as_round_but_turns_at_no_frequency() -> None:
    w = ring(31)[torch.randperm(31, generator=torch.Generator().manual_seed(0))]
    assert list(circle_evenness(w)) == pytest.approx([1, 1])
    assert fourier_share(w).share < 0.5


def test_a_mixture_of_two_frequencies_gives_the_larger_ones_share() -> None:
    angle = 2 * math.pi * torch.arange(17, dtype=torch.float64) / 17
    plane = [wave(k * angle) * size for k, size in ((2, 3.0), (5, 1.0)) for wave in (torch.cos, torch.sin)]
    w = torch.stack(plane, -1) @ orthonormal(4, 9)
    assert fourier_share(w).share == pytest.approx(0.9)
    assert fourier_share(w).frequency == 2
    assert explained_variance(w) == pytest.approx(0.9)


def test_what_only_alternates_is_no_circle() -> None:
    w = torch.tensor([1.0, -1.0]).repeat(4)[:, None] * gaussian(1, 5)
    assert fourier_share(w).share == pytest.approx(0)


def test_effective_rank_equals_its_definition_on_known_singular_values() -> None:
    singular = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    basis = torch.linalg.svd(torch.eye(7, dtype=torch.float64) - 1 / 7).U[:, :3]  # columns that sum to zero
    found = effective_rank(basis * singular @ orthonormal(3, 10))
    share = singular / singular.sum()
    assert found.entropy == pytest.approx(math.exp(-(share * share.log()).sum()))
    assert found.participation == pytest.approx(14**2 / (81 + 16 + 1))
    w = gaussian(6, 20)
    variances = torch.linalg.svdvals(w - w.mean(0)).square()
    assert explained_variance(w, 3) == pytest.approx(float(variances[:3].sum() / variances.sum()))


def test_random_rows_have_the_evenness_of_points_in_a_plane_and_shuffling_keeps_the_fourier_share() -> None:
    found = circle_evenness(gaussian(300, 400, 2))
    assert found.radius.mean() == pytest.approx(1 - math.sqrt(4 / math.pi - 1), abs=0.01)  # Rayleigh
    assert found.angle.mean() < 0.05  # gaps of uniform angles: sd = mean, nearly
    random = gaussian(400, 11, 6)  # any order is as good as another
    null = fourier_null(random, draws=20)
    assert float(null.mean()) == pytest.approx(float(fourier_share(random).share.mean()), abs=0.006)


def test_lattice_fit_explains_a_lattice_and_random_rows_as_much_as_chance() -> None:
    cells = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0)).double()
    assert lattice_fit(cells @ gaussian(2, 16) + 1, cells) == pytest.approx(1)
    assert lattice_fit(gaussian(500, 25, 16), cells).mean() == pytest.approx(2 / 24, abs=0.003)
    doubled = torch.cat([cells, cells.sum(1, keepdim=True)], 1)  # a coordinate that adds nothing
    w = gaussian(25, 16)
    assert lattice_fit(w, doubled) == pytest.approx(float(lattice_fit(w, cells)))
    residual = torch.linalg.lstsq(torch.cat([cells, torch.ones(25, 1)], 1), w).solution
    fitted = torch.cat([cells, torch.ones(25, 1)], 1) @ residual
    rest = (w - fitted).square().sum() / (w - w.mean(0)).square().sum()
    assert lattice_fit(w, cells) == pytest.approx(1 - float(rest))


def test_a_simplex_has_no_distance_from_a_simplex() -> None:
    for classes, width in ((2, 1), (4, 3), (10, 64)):
        found = simplex(simplex_rows(classes, width))
        assert all(float(value) == pytest.approx(0, abs=1e-7) for value in found.values())


def test_simplex_measures_equal_their_definitions() -> None:
    w = gaussian(7, 4) + 0.3
    found = simplex(w)
    gram = w @ w.T
    target = (torch.eye(7, dtype=torch.float64) - 1 / 7) / math.sqrt(6)
    assert found["distance"] == pytest.approx(float((gram / gram.norm() - target).norm()))
    lengths = w.norm(dim=1)
    assert found["equinorm"] == pytest.approx(float(lengths.std(correction=0) / lengths.mean()))
    cosines = (gram / lengths[:, None] / lengths)[~torch.eye(7, dtype=torch.bool)]
    assert found["equiangularity"] == pytest.approx(float(cosines.std(correction=0)))
    assert found["maximal_angle"] == pytest.approx(float((cosines + 1 / 6).abs().mean()))


def test_pairs_of_some_rows_stand_for_all_and_rows_without_length_have_no_angle() -> None:
    w = gaussian(3000, 6)
    full, part = simplex(w, max_rows=3000), simplex(w, max_rows=700)
    assert part["maximal_angle"] == pytest.approx(float(full["maximal_angle"]), rel=0.02)
    assert part["distance"] == full["distance"]
    padded = simplex(torch.cat([w[:50], torch.zeros(50, 6)]))
    assert padded["equiangularity"] == pytest.approx(float(simplex(w[:50])["equiangularity"]))


def test_no_rows_are_nearer_to_a_simplex_than_the_floor_of_their_width() -> None:
    assert simplex_floor(10, 9) == 0
    tight = torch.linalg.qr(torch.linalg.svd(torch.eye(10).double() - 1 / 10).U[:, :9] @ gaussian(9, 4)).Q
    assert simplex(tight)["distance"] == pytest.approx(simplex_floor(10, 4))
    assert (simplex(gaussian(50, 10, 4))["distance"] > simplex_floor(10, 4)).all()


def test_full_collapse_is_zero_in_every_measure() -> None:
    features, labels, head = collapsed()
    found = collapse(features, labels, head, bias=-4 * head.sum(1))
    assert found.pop("accuracy") == 1
    assert all(float(value) == pytest.approx(0, abs=1e-7) for value in found.values())


def test_collapse_equals_the_papers_definitions_with_explicit_matrices() -> None:
    features, labels, head = collapsed(classes=4, each=6, width=7, noise=0.8)
    head = head + 0.3 * gaussian(4, 7, seed=5)
    bias = gaussian(4, seed=6)
    means = torch.stack([features[labels == c].mean(0) for c in range(4)])
    spread = means - means.mean(0)
    rest = features - means[labels]
    within, between = rest.T @ rest / len(rest), spread.T @ spread / 4
    found = collapse(features, labels, head, bias=bias, centred=False)
    assert found["nc1"] == pytest.approx(float((within @ torch.linalg.pinv(between, rtol=1e-9)).trace() / 4))
    dual = head / head.norm() - spread / spread.norm()
    assert found["nc3"] == pytest.approx(float(dual.norm() ** 2))
    chosen = (features @ head.T + bias).argmax(1)
    nearest = torch.stack([(features - mean).norm(dim=1) for mean in means], 1).argmin(1)
    assert found["nc4"] == pytest.approx(float((chosen != nearest).double().mean()))
    assert found["accuracy"] == pytest.approx(float((chosen == labels).double().mean()))
    given = collapse(features, labels, head, predictions=nearest)
    assert given["nc4"] == 0
    assert given["nc2_distance_head"] == pytest.approx(float(simplex(head - head.mean(0))["distance"]))


def test_every_class_weighs_the_same_in_collapse() -> None:
    features, labels, head = collapsed(noise=0.5)
    first = labels == 0
    more = torch.cat([features, features[first], features[first]]), torch.cat([labels, labels[first], labels[first]])
    for name in ("nc1", "nc2_distance_means", "nc3"):
        assert collapse(*more, head)[name] == pytest.approx(float(collapse(features, labels, head)[name]))


@settings(max_examples=25)
@given(seed=SEEDS, scale=st.sampled_from([1e-6, 1.0, 1e5]), classes=st.integers(3, 12), width=st.integers(2, 14))
def test_turning_scaling_and_shifting_the_head_changes_nothing(
    seed: int, scale: float, classes: int, width: int
) -> None:
    w = gaussian(classes, width, seed=seed)
    spread = torch.linspace(1, 3, width)  # no two principal components alike
    other = moved(w * spread, seed, scale) if scale >= 1 else scale * (w * spread)
    coordinates = gaussian(classes, 2, seed=seed + 2)
    for measure in (
        explained_variance,
        lambda x: effective_rank(x).entropy,
        lambda x: effective_rank(x).participation,
        lambda x: fourier_share(x).share,
        lambda x: circle_evenness(x).radius,
        lambda x: lattice_fit(x, coordinates),
        lambda x: simplex(x - x.mean(0))["distance"],
    ):
        assert float(measure(other)) == pytest.approx(float(measure(w * spread)), rel=1e-6, abs=1e-7)


@settings(max_examples=15)
@given(seed=SEEDS, shift=st.integers(0, 30))
def test_turning_the_ring_of_classes_keeps_its_fourier_share(seed: int, shift: int) -> None:
    w = gaussian(31, 6, seed=seed)
    turned = fourier_share(w.roll(shift, 0))
    assert turned.share == pytest.approx(float(fourier_share(w).share))
    assert turned.frequency == fourier_share(w).frequency
    assert fourier_share(w.flip(0)).share == pytest.approx(float(turned.share))


def test_replicas_are_measured_as_if_alone_and_a_broken_one_spoils_no_other() -> None:
    good = [ring(11), gaussian(11, 12), ring(11, 3)]
    broken = [torch.full((11, 12), 5.0), gaussian(11, 12).index_fill(0, torch.tensor(2), math.nan)]
    broken += [gaussian(11, 12).index_fill(0, torch.tensor(2), math.inf), torch.zeros(11, 12)]
    batch = torch.stack([*good, *broken])
    coordinates = gaussian(11, 2)
    for measure in (
        explained_variance,
        lambda x: torch.stack(list(effective_rank(x)), -1),
        lambda x: fourier_share(x).share,
        lambda x: torch.stack(list(circle_evenness(x)), -1),
        lambda x: lattice_fit(x, coordinates),
    ):
        found = measure(batch)
        assert found[3:].isnan().all()
        torch.testing.assert_close(found[:3], torch.stack([measure(w) for w in good]))
    assert fourier_share(batch).frequency.tolist()[3:] == [0, 0, 0, 0]
    assert simplex(batch)["distance"].isnan().tolist() == [False] * 3 + [False, True, True, True]
    features, labels = torch.stack([gaussian(22, 12), gaussian(22, 12) * math.nan]), torch.arange(11).repeat(2)
    both = collapse(features, labels, ring(11))
    alone = collapse(features[0], labels, ring(11))
    for name, value in both.items():
        assert value[0] == pytest.approx(float(alone[name])), name
        assert value[1].isnan(), name


def test_single_precision_gives_nearly_the_same() -> None:
    w = gaussian(31, 16) + 5
    assert explained_variance(w.float()) == pytest.approx(float(explained_variance(w)), rel=1e-6)
    assert fourier_share(w.bfloat16()).share == pytest.approx(float(fourier_share(w).share), rel=0.1)


def test_hull_distance_is_zero_inside_and_exact_outside() -> None:
    square = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    vectors = torch.tensor([[0.3, 0.6], [1, 1], [0.5, 3], [4, 5], [-2, 0.5]])
    found = hull_distance(vectors, square)
    assert found.distance.tolist() == pytest.approx([0, 0, 2, 5, 2], abs=1e-9)
    torch.testing.assert_close(found.weights.sum(-1), torch.ones(5, dtype=torch.float64))
    assert (found.weights >= 0).all()
    torch.testing.assert_close(
        (found.weights @ square.double())[2:], torch.tensor([[0.5, 1], [1, 1], [0, 0.5]]).double()
    )
    assert hull_distance(vectors[0], vectors[:1]).distance == 0
    assert hull_distance(vectors[2], vectors[:1]).distance == pytest.approx(math.hypot(0.2, 2.4), rel=1e-6)


@settings(max_examples=25)
@given(seed=SEEDS, n=st.integers(1, 30), width=st.integers(1, 20), far=st.sampled_from([0.1, 1.0, 30.0, 1e4]))
def test_hull_distance_is_the_least_by_its_own_certificate(seed: int, n: int, width: int, far: float) -> None:
    """p is the nearest point of a hull if no example lies beyond the plane through p across v - p."""
    examples, vector = gaussian(n, width, seed=seed), far * gaussian(width, seed=seed + 1)
    found = hull_distance(vector, examples)
    nearest = found.weights @ examples
    away = vector - nearest
    assert found.distance == pytest.approx(float(away.norm()), rel=1e-9, abs=1e-9)
    beyond = ((examples - nearest) @ away).max()
    assert float(beyond) <= 1e-7 * max(1, float(away.norm()))


def test_hull_distance_agrees_with_a_general_optimiser() -> None:
    examples, vector = gaussian(6, 3).numpy(), gaussian(3, seed=4).numpy() * 3
    result = optimize.minimize(
        lambda x: ((x @ examples - vector) ** 2).sum(),
        np.full(6, 1 / 6),
        method="SLSQP",
        bounds=[(0, 1)] * 6,
        constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    found = hull_distance(torch.from_numpy(vector), torch.from_numpy(examples))
    assert found.distance == pytest.approx(math.sqrt(result.fun), rel=1e-6)


def test_convexity_tells_a_mean_of_examples_from_what_lies_beyond_them() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(40)
    features = torch.rand(120, 4, generator=generator, dtype=torch.float64) + 3 * torch.eye(4)[:3].double()[labels]
    means = torch.stack([features[labels == c].mean(0) for c in range(3)])
    mixture = torch.stack([features[labels == c][:5].mean(0) for c in range(3)])
    beyond = means - torch.tensor([0, 0, 0, 10.0])
    found = convexity(torch.stack([means, mixture, beyond]), features, labels)
    assert found.own[:2].max() < 1e-8
    assert found.relative[:2].max() < 1e-6
    assert (found.other[:2] > 1).all()
    assert found.negative.tolist() == [[0] * 3, [0] * 3, [0.25] * 3]
    assert found.outside.tolist() == [[0] * 3, [0] * 3, [0.25] * 3]
    assert ((found.own[2] > 9) & (found.relative[2] < 1)).all()
    torch.testing.assert_close(found.to_mean[2], torch.full((3,), 10.0).double())
    assert convexity(means, features - 1, labels).negative.isnan().all()
    assert convexity(means * math.nan, features, labels).own.isnan().all()


def test_norm_slope_recovers_planted_powers_and_a_bound() -> None:
    steps = [10, 100, 1000, 5000]
    at = torch.tensor(steps, dtype=torch.float64)
    norms = torch.stack([3 * at**0.5, 7 * at**0, 2 * at**-0.25, at.index_fill(0, torch.tensor(1), 0.0), at * math.inf])
    found = norm_slope(steps, norms)
    assert found[:3].tolist() == pytest.approx([0.5, 0, -0.25])
    assert found[3:].isnan().all()
    noisy = at**0.3 * (1 + 0.05 * gaussian(4))
    assert norm_slope(at, noisy) == pytest.approx(np.polyfit(at.log(), noisy.log(), 1)[0])
    assert norm_slope(at, 1e6 * noisy) == pytest.approx(float(norm_slope(at, noisy)))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: explained_variance(torch.ones(1, 4)), "classes >= 2"),
        (lambda: explained_variance(gaussian(4, 4), 0), "k is 0"),
        (lambda: fourier_share(gaussian(2, 4)), "classes >= 3"),
        (lambda: fourier_null(gaussian(5, 4), draws=0), "draws is 0"),
        (lambda: circle_evenness(gaussian(4)), "classes >= 3"),
        (lambda: simplex(gaussian(1, 4)), "classes >= 2"),
        (lambda: lattice_fit(gaussian(5, 4), gaussian(4, 2)), "a row per class"),
        (lambda: lattice_fit(gaussian(5, 4), torch.ones(5, 2)), "the same for all classes"),
        (lambda: lattice_fit(gaussian(5, 4), gaussian(5, 2) * math.nan), "not finite"),
        (lambda: norm_slope([10], torch.ones(1)), "two steps or more"),
        (lambda: norm_slope([10, 10], torch.ones(2)), "two steps or more"),
        (lambda: norm_slope([0, 10], torch.ones(2)), "leave step 0 out"),
        (lambda: norm_slope([1, 10], torch.ones(3)), "a norm for each step"),
        (lambda: hull_distance(gaussian(3), gaussian(4, 5)), "expected"),
        (lambda: hull_distance(gaussian(3), gaussian(0, 3)), "n >= 1"),
    ],
)
def test_what_has_no_geometry_is_refused(call, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.parametrize("measure", [collapse, lambda h, y, w: convexity(w, h, y)])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h, y, w: (h, y + 1, w), "labels are from 1 to 5; expected the index of one of 5 classes, 0 to 4"),
        (lambda h, y, w: (h, y - 1, w), "from -1"),
        (lambda h, y, w: (h, y + 0.5, w), "not whole numbers"),
        (lambda h, y, w: (h[:, 1:], y, w), "features are 8 wide and class vectors 9"),
        (lambda h, y, w: (h[1:], y, w), "features have shape"),
        (lambda h, y, w: (h[y != 3], y[y != 3], w), "class 3 has no examples"),
        (lambda h, y, w: (h[:0], y[:0], w), "labels are none"),
        (lambda h, y, w: (h, y, w[:1]), "classes >= 2"),
    ],
)
def test_examples_that_do_not_fit_the_head_are_refused(measure, change, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=said):
        measure(*change(*collapsed()))
