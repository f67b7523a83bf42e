"""Images in the harmonic-loss chapter: parts, batches, what is measured of a trained layer, and hulls."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import Tensor

from evolm.findings.harmonic_loss import vision
from evolm.findings.harmonic_loss.replicas import Arm, Head, Replicas
from evolm.findings.harmonic_loss.vision import Parts, standardised, trained
from evolm.images import ImageSet, load_images, split

ARMS = {
    "cross-entropy": Arm(Head("dot"), lr=1e-2),
    "normalised": Arm(Head("normalised", 5.0), lr=1e-2),
    "harmonic": Arm(Head("harmonic", 4.0), lr=1e-2),
}
SEEDS = [4, 9]
CLASSES, SIDE, OF_EACH = 3, 4, 150


@cache
def toys() -> ImageSet:
    """Three classes of 4 x 4 images: a bright quarter each, in noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(CLASSES).repeat(OF_EACH)
    images = 0.4 * torch.rand(len(labels), 1, SIDE, SIDE, generator=generator)
    for index, (row, column) in enumerate(((0, 0), (0, 2), (2, 0))):
        images[labels == index, :, row : row + 2, column : column + 2] += 0.5
    return ImageSet("toys", "CC0", ("a", "b", "c"), images, labels)


@cache
def run(backbone: Any = "linear", **overrides: Any) -> dict[str, pd.DataFrame]:
    return trained(toys(), backbone, ARMS, SEEDS, **({"epochs": 8} | overrides))


# --- parts and batches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("test", [True, False])
def test_every_seed_has_the_parts_of_its_own_division(test: bool) -> None:
    images = load_images("digits")
    parts = Parts(images, SEEDS, test=test)
    for row, seed in enumerate(SEEDS):
        divided = split(images, seed)
        held_out = divided.test if test else divided.validation
        assert torch.equal(parts.test[0][row], images.images[held_out].flatten(1))
        assert torch.equal(parts.test[1][row], images.labels[held_out])
        assert torch.equal(parts.seen[0][row], images.images[divided.train[: vision.EVALUATED]].flatten(1))
    assert not torch.equal(parts.test[1][0], parts.test[1][1]) or not torch.equal(parts.test[0][0], parts.test[0][1])


def test_an_epoch_gives_training_images_once_each_and_none_that_are_held_out() -> None:
    parts = Parts(toys(), SEEDS, test=True)
    pixels = toys().images.flatten(1)
    place = {tuple(row): index for index, row in enumerate(pixels.tolist())}
    for row, seed in enumerate(SEEDS):
        train = set(split(toys(), seed).train.tolist())
        seen = [place[tuple(x)] for inputs, _ in parts.batches(SEEDS, 3) for x in inputs[row].tolist()]
        answers = [int(y) for _, labels in parts.batches(SEEDS, 3) for y in labels[row]]
        assert len(set(seen)) == len(seen) == len(train) // vision.BATCH * vision.BATCH
        assert set(seen) <= train
        assert answers == toys().labels[seen].tolist()


def test_batches_are_of_the_seed_and_the_epoch() -> None:
    both, alone = Parts(toys(), SEEDS, test=True), Parts(toys(), SEEDS[1:], test=True)
    first, again, later = (both.batches(SEEDS, epoch)[0][0] for epoch in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert torch.equal(first[1], alone.batches(SEEDS[1:], 1)[0][0][0])


# --- what is measured ------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(1e-3, 1e3))
def test_standardised_features_have_mean_zero_and_variance_one(seed: int, width: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.standard_normal((2, 30, width)) * scale * rng.uniform(0.1, 10, width) + rng.standard_normal(width)
    found = standardised(torch.from_numpy(raw)).numpy()
    np.testing.assert_allclose(found, (raw - raw.mean(1, keepdims=True)) / raw.std(1, keepdims=True), atol=1e-9)


def test_a_feature_that_never_changes_stays_zero_and_spoils_no_other() -> None:
    raw = torch.randn(1, 50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    raw[..., 1] = 7.0
    found = standardised(raw)
    assert (found[..., 1] == 0).all()
    assert found.isfinite().all()
    torch.testing.assert_close(found[..., [0, 2]].std(1, correction=0), torch.ones(1, 2, dtype=torch.float64))


def test_a_program_gives_a_row_per_arm_and_seed_with_their_histories() -> None:
    tables = run()
    replicas = [(arm, seed) for arm in ARMS for seed in SEEDS]
    assert list(zip(tables["vision"]["arm"], tables["vision"]["seed"], strict=True)) == replicas
    assert set(tables["vision"]["images"]) == {"toys"}
    ends = tables["vision"].set_index(["arm", "seed"])
    for replica, rows in tables["vision_curves"].groupby(["arm", "seed"]):
        assert rows["epoch"].tolist() == list(range(1, 9))
        for name in ("train_accuracy", "test_accuracy", "test_loss", "vector_norm"):
            assert rows[name].iloc[-1] == pytest.approx(ends.loc[replica, name], rel=1e-6)
    assert run("network").keys() == {"vision", "vision_curves"}


@pytest.mark.parametrize("backbone", ["linear", "network"])
def test_bright_quarters_are_learnt_by_every_head(backbone: Any) -> None:
    rows = run(backbone)["vision"]
    assert (rows["test_accuracy"] > 0.95).all()
    for name in ("ev2", "nc1", "nc3", "nc4"):
        assert np.isfinite(rows[name]).all(), name
    assert rows["ev2"].between(0, 1).all()


def test_training_twice_gives_the_same_bits() -> None:
    again = trained(toys(), "linear", ARMS, SEEDS, epochs=8)
    for name, table in run().items():
        pd.testing.assert_frame_equal(table, again[name], check_exact=True)


def test_choosing_looks_at_validation_images_alone() -> None:
    test, validation = run(), run(test=False)
    np.testing.assert_array_equal(test["vision"]["train_loss"], validation["vision"]["train_loss"])
    assert (test["vision"]["test_loss"] != validation["vision"]["test_loss"]).all()


def test_accuracy_and_loss_are_those_of_a_plain_count() -> None:
    parts = Parts(toys(), SEEDS, test=True)
    nets = Replicas((), list(ARMS.values()), SEEDS, places=SIDE**2, classes=CLASSES)
    found = vision._measured(nets, parts)
    for row in range(len(SEEDS)):
        weight = nets.weights["head"][row].detach()
        logits = parts.test[0][row] @ weight.T  # cross-entropy is the first arm
        assert float(found["test_accuracy"][row]) == pytest.approx(
            float((logits.argmax(-1) == parts.test[1][row]).float().mean()), abs=1e-6
        )
        assert float(found["test_loss"][row]) == pytest.approx(
            float(F.cross_entropy(logits, parts.test[1][row])), rel=1e-5
        )
        assert float(found["vector_norm"][row]) == pytest.approx(float(weight.norm()), rel=1e-5)


def test_an_arm_that_diverges_keeps_its_row_and_leaves_the_others_theirs() -> None:
    wild = ARMS | {"wild": Arm(Head("dot"), lr=1e30)}
    rows = trained(toys(), "network", wild, SEEDS, epochs=4)["vision"]
    sane = trained(toys(), "network", ARMS, SEEDS, epochs=4)["vision"]
    pd.testing.assert_frame_equal(rows[rows["arm"] != "wild"], sane, rtol=1e-4)
    lost = rows[rows["arm"] == "wild"]
    assert len(lost) == len(SEEDS)
    assert (lost["test_accuracy"] < 0.5).all()


# --- class vectors against the hull of their class -----------------------------------------------------------------


class Planted:
    """A layer whose class vectors are given: (replica, class, pixel)."""

    def __init__(self, vectors: Tensor, arms: list[Arm]) -> None:
        self.vectors, self.arms, self.seeds = vectors, arms, SEEDS

    def class_vectors(self) -> Tensor:
        return self.vectors


def hull_of(vectors: Tensor, head: Head) -> pd.DataFrame:
    parts = Parts(toys(), SEEDS, test=True)
    replicas = pd.DataFrame({"images": "toys", "arm": "planted", "seed": SEEDS})
    found = vision._hull(Planted(vectors, [Arm(head, 1e-2)]), parts, replicas)  # type: ignore[arg-type]
    return found[found["arm"] == "planted"]


def means() -> Tensor:
    """(seed, class, pixel): of the examples that make the hull."""
    parts = Parts(toys(), SEEDS, test=True)
    images, labels = parts.seen
    rows = []
    for row in range(len(SEEDS)):
        rows.append(torch.stack([images[row][labels[row] == index].mean(0) for index in range(CLASSES)]))
    return torch.stack(rows)


def test_a_mean_of_its_examples_is_inside_and_a_point_off_them_is_as_far_as_it_is() -> None:
    inside = hull_of(means(), Head("harmonic", 4.0))
    assert list(zip(inside["seed"], inside["class"], strict=True)) == [
        (seed, index) for seed in SEEDS for index in range(3)
    ]
    assert (inside["own"] < 1e-3).all()
    off = hull_of(-means(), Head("harmonic", 4.0))  # all pixels are positive, so these are no mean of any
    assert (off["relative"] > 0.5).all()
    assert (off["own"] > 1).all()


def test_hulls_are_shown_points_of_the_class_that_nothing_has_trained() -> None:
    """A held-out image of each class lies as far from the hull as the class's held-out image does; so its mean."""
    from scipy.optimize import nnls

    parts = Parts(toys(), SEEDS, test=True)
    replicas = pd.DataFrame({"images": "toys", "arm": "planted", "seed": SEEDS})
    nets = Planted(means(), [Arm(Head("harmonic", 4.0), 1e-2)])
    found = vision._hull(nets, parts, replicas).set_index(["arm", "seed", "class"])  # type: ignore[arg-type]
    (images, labels), (tested, answers) = ([part[1] for part in both] for both in (parts.seen, parts.test))
    for index in range(CLASSES):
        own, held_out = images[labels == index].double().numpy(), tested[answers == index].double().numpy()
        for arm, point in ((vision.HELD_OUT_IMAGE, held_out[0]), (vision.HELD_OUT_MEAN, held_out.mean(0))):
            # Weights that sum to one, by a row that weighs much.
            weights, _ = nnls(np.vstack([own.T, 1e3 * np.ones(len(own))]), np.append(point, 1e3))
            distance = np.linalg.norm(own.T @ weights - point) / np.linalg.norm(own.mean(0) - point)
            assert found.loc[(arm, SEEDS[1], index), "relative"] == pytest.approx(distance, abs=0.02)


def test_the_length_of_an_inner_products_vector_means_nothing() -> None:
    some = means() + 0.05 * torch.randn(means().shape, generator=torch.Generator().manual_seed(3))
    for form in ("dot", "normalised"):
        short, long = (hull_of(scale * some, Head(form)) for scale in (0.01, 30.0))
        np.testing.assert_allclose(short["own"], long["own"], rtol=1e-3, atol=1e-5)
    short, long = (hull_of(scale * some, Head("harmonic", 4.0)) for scale in (0.01, 30.0))
    assert (long["own"] > 10 * short["own"]).all()


@pytest.mark.parametrize("seed", range(5))
def test_that_length_is_the_one_nearest_to_the_mean_of_the_class(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    images = torch.rand(20, 6, generator=generator, dtype=torch.float64)
    labels = torch.arange(2).repeat(10)
    placed = vision._in_units_of_images(vectors, "dot", images, labels)
    for index in range(2):
        mean = images[labels == index].mean(0).numpy()
        w = vectors[index].numpy()
        best = minimize_scalar(
            lambda scale, w=w, mean=mean: ((scale * w - mean) ** 2).sum(), bounds=(0, 10), method="bounded"
        )
        np.testing.assert_allclose(placed[index].numpy(), best.x * w, atol=1e-3)
    for form in ("softmax", "harmonic"):
        assert vision._in_units_of_images(vectors, form, images, labels) is vectors


def test_pictures_of_class_vectors_are_of_the_first_seed() -> None:
    nets = Replicas((), list(ARMS.values()), SEEDS, places=SIDE**2, classes=CLASSES)
    replicas = pd.DataFrame([{"images": "toys", "arm": arm, "seed": seed} for arm in ARMS for seed in SEEDS])
    drawn = vision._centres(nets, replicas)
    assert set(drawn["seed"]) == {SEEDS[0]}
    for place, arm in enumerate(ARMS):
        values = drawn[drawn["arm"] == arm].pivot(index="class", columns="pixel", values="value").to_numpy()
        np.testing.assert_array_equal(values, nets.class_vectors()[2 * place].detach().numpy())
