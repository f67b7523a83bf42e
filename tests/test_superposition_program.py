"""The batched program against the straightforward loop: same data, same numbers, one model at a time with autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evolm.findings.superposition.data import SparseBatches, frequencies
from evolm.findings.superposition.program import Program, ToyModel, Training, initial_weights
from evolm.findings.superposition.reference import toy_loss, train_one

MODELS = [
    ToyModel(3, -1.0),
    ToyModel(5, 0.5, bias_std=0.0),
    ToyModel(4, 0.0, decoder="linear"),
    ToyModel(6, 0.0, decoder="frozen"),
    ToyModel(5, -0.3),
]
TRAINING = Training(n=20, alpha=1.0, batch_size=16, steps=40, lr=1e-2)


def loop(model: ToyModel, training: Training, seed: int) -> torch.Tensor:
    stream = SparseBatches(frequencies(training.n, training.alpha), training.batch_size, [seed, 1])
    dense = (torch.from_numpy(batch.dense(training.batch_size, training.n)).double() for batch in stream)
    return train_one(model, training, seed, dense)


def test_training_all_models_at_once_equals_training_each_alone() -> None:
    program = Program(MODELS, TRAINING, seeds=[7, 8], dtype=torch.float64).train()
    for s, seed in enumerate([7, 8]):
        for model, rows in zip(MODELS, program.rows, strict=True):
            torch.testing.assert_close(program.weights[s, rows], loop(model, TRAINING, seed), rtol=1e-8, atol=1e-8)


def test_gradient_equals_autograd_to_1e_8() -> None:
    program = Program(MODELS[:3], TRAINING, seeds=[1], dtype=torch.float64)
    batch = next(iter(SparseBatches(frequencies(20, 1.0), 16, 5)))
    program.gradient([batch])
    x = torch.from_numpy(batch.dense(16, 20)).double()
    for model, rows in zip(MODELS[:3], program.rows, strict=True):
        wb = program.weights[0, rows].clone().requires_grad_()
        toy_loss(x, wb[:-1].T, wb[-1], model.decoder).backward()
        assert float((program.grad[0, rows] - wb.grad).abs().max()) < 1e-8


def test_a_seed_gives_the_same_weights_alone_and_among_others() -> None:
    alone = Program(MODELS, TRAINING, seeds=[3]).train()
    among = Program(MODELS, TRAINING, seeds=[2, 3]).train()
    torch.testing.assert_close(alone.weights[0], among.weights[1], rtol=1e-4, atol=1e-5)


def test_frozen_models_keep_their_directions() -> None:
    model = ToyModel(6, 0.0, decoder="frozen")
    program = Program([model], TRAINING, seeds=[0]).train()
    before = initial_weights(model, 20, 0)[:-1].float()
    after = program.weights[0, :-1]
    cosine = torch.nn.functional.cosine_similarity(before, after, dim=0).abs()
    torch.testing.assert_close(cosine, torch.ones(20), rtol=0, atol=1e-5)
    assert not torch.allclose(after.norm(dim=0), torch.ones(20), atol=1e-3)


def test_negative_decay_pulls_row_norms_to_one() -> None:
    program = Program([ToyModel(4, -1.0)], TRAINING, seeds=[0])
    for _ in range(3000):
        program._apply_decay(0.01)
    torch.testing.assert_close(program.weights[0, :-1].norm(dim=0), torch.ones(20), rtol=0, atol=1e-4)
    torch.testing.assert_close(program.weights[0, -1], initial_weights(ToyModel(4, -1.0), 20, 0)[-1].float())


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 200), alpha=st.floats(0, 2), density=st.floats(0.05, 1))
def test_frequencies_sum_to_the_density_and_fall(n: int, alpha: float, density: float) -> None:
    p = frequencies(n, alpha, density)
    assert p.sum() == pytest.approx(density)
    assert (np.diff(p) <= 1e-15).all()
    assert p.max() < 1


def test_a_law_that_needs_a_probability_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match="lower the density"):
        frequencies(10, 2.0, density=3.0)


def test_sparse_batches_have_the_bernoulli_uniform_law() -> None:
    p, size, batches = frequencies(8, 1.0), 500, 200
    stream = iter(SparseBatches(p, size, 0))
    x = np.concatenate([next(stream).dense(size, 8) for _ in range(batches)])  # 100,000 samples
    active = x > 0
    error = np.sqrt(p * (1 - p) / len(x))
    assert (np.abs(active.mean(0) - p) < 4.5 * error).all()
    pairs = (active[:, 0] & active[:, 1]).mean()
    assert abs(pairs - p[0] * p[1]) < 4.5 * np.sqrt(p[0] * p[1] / len(x))
    values = x[active]
    assert abs(values.mean() - 1) < 4.5 * np.sqrt(1 / 3 / len(values))
    assert abs((values**2).mean() - 4 / 3) < 4.5 * np.sqrt((16 / 5 - 16 / 9) / len(values))


def test_batches_depend_on_the_seed_alone() -> None:
    p = frequencies(8, 1.0)
    first, again, other = (next(iter(SparseBatches(p, 4000, seed))).dense(4000, 8) for seed in (1, 1, 2))
    assert (first == again).all()
    assert not (first == other).all()
