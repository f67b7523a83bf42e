"""The policy-gradient loss: what it is at ratio 1, where the clip acts, and that parts add up to the whole."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evolm.lm.policy_loss import (
    clipped_surrogate,
    clipped_tokens,
    importance_ratio,
    kl_k3,
    masked_mean,
    token_entropy,
    token_logprobs,
    value_loss,
)


def batch(seed: int = 0, rows: int = 5, time: int = 4, vocab: int = 7) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (rows, time, vocab), tokens and mask (rows, time), advantages (rows, 1)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, time, vocab, generator=generator, dtype=torch.float64).requires_grad_()
    tokens = torch.randint(vocab, (rows, time), generator=generator)
    lengths = torch.randint(1, time + 1, (rows, 1), generator=generator)
    advantages = torch.randn(rows, 1, generator=generator, dtype=torch.float64)
    return logits, tokens, (torch.arange(time) < lengths).double(), advantages


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_and_entropy_are_those_of_the_softmax(temperature: float) -> None:
    logits, tokens, _, _ = batch()
    probabilities = (logits / temperature).softmax(-1)
    torch.testing.assert_close(
        token_logprobs(logits, tokens, temperature), probabilities.gather(2, tokens[..., None])[..., 0].log()
    )
    torch.testing.assert_close(token_entropy(logits, temperature), -(probabilities * probabilities.log()).sum(-1))
    torch.testing.assert_close(token_entropy(torch.zeros(1, 1, 8)), torch.full((1, 1), math.log(8)))


@pytest.mark.parametrize("how", ["token", "sequence"])
def test_at_ratio_one_the_gradient_is_the_plain_policy_gradient(how: str) -> None:
    logits, tokens, mask, advantages = batch()
    logprobs = token_logprobs(logits, tokens)
    ratio = importance_ratio(logprobs, logprobs.detach(), mask)
    loss = masked_mean(clipped_surrogate(ratio, advantages, 0.2, 0.2), mask, how)  # type: ignore[arg-type]
    (ours,) = torch.autograd.grad(loss, logits, retain_graph=True)
    weight = mask / mask.sum() if how == "token" else mask / mask.sum(1, keepdim=True) / len(mask)
    (plain,) = torch.autograd.grad(-(advantages * logprobs * weight).sum(), logits)
    torch.testing.assert_close(ours, plain)


def test_at_ratio_one_a_whole_completion_is_one_action() -> None:
    logits, tokens, mask, advantages = batch()
    logprobs = token_logprobs(logits, tokens)
    ratio = importance_ratio(logprobs, logprobs.detach(), mask, "sequence")  # (rows, 1)
    loss = masked_mean(clipped_surrogate(ratio, advantages, 0.2, 0.2), torch.ones_like(ratio), "sequence")
    (ours,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (plain,) = torch.autograd.grad(-(advantages[:, 0] * (logprobs * mask).sum(1)).mean(), logits)
    torch.testing.assert_close(ours, plain)


@given(st.floats(-3, 3), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
@settings(deadline=None, max_examples=50)
def test_nothing_is_clipped_at_ratio_one(advantage: float, low: float, high: float) -> None:
    one, a = torch.ones(1, 1), torch.full((1, 1), advantage)
    assert not clipped_tokens(one, a, low, high).any()
    assert clipped_surrogate(one, a, low, high).item() == pytest.approx(-advantage)


@given(
    st.floats(0.05, 3.0), st.floats(-2, 2).filter(lambda a: abs(a) > 1e-3), st.floats(0.05, 0.4), st.floats(0.05, 0.4)
)
@settings(deadline=None, max_examples=100)
def test_tokens_called_clipped_are_those_without_gradient(ratio: float, a: float, low: float, high: float) -> None:
    if min(abs(ratio - 1 + low), abs(ratio - 1 - high)) < 1e-5:
        return
    variable = torch.tensor([ratio], requires_grad=True)
    advantage = torch.tensor([a])
    (gradient,) = torch.autograd.grad(clipped_surrogate(variable, advantage, low, high).sum(), variable)
    assert bool(clipped_tokens(variable, advantage, low, high)) == (gradient.item() == 0)


def test_the_upper_clip_of_dapo_lets_a_rising_token_go_further() -> None:
    ratio, advantage = torch.tensor([1.25, 0.75]), torch.tensor([1.0, -1.0])
    assert clipped_tokens(ratio, advantage, 0.2, 0.2).tolist() == [True, True]
    assert clipped_tokens(ratio, advantage, 0.2, 0.28).tolist() == [False, True]


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_k3_is_never_negative_and_zero_between_equals(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    assert (kl_k3(p, q) >= -1e-12).all()
    assert not kl_k3(p, p).any()


def test_k3_averages_to_the_kl_divergence_under_the_policy() -> None:
    policy, reference = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.2, 0.6]).double()
    expectation = (policy * kl_k3(policy.log(), reference.log())).sum()
    torch.testing.assert_close(expectation, (policy * (policy / reference).log()).sum())


@pytest.mark.parametrize("how", ["token", "sequence"])
def test_parts_with_the_wholes_divisor_add_up_to_the_whole(how: str) -> None:
    _, _, mask, _ = batch()
    values = torch.arange(mask.numel(), dtype=torch.float64).view_as(mask)
    divisor = mask.sum() if how == "token" else torch.tensor(float(len(mask)))
    parts = [masked_mean(values[i], mask[i], how, divisor) for i in (slice(0, 2), slice(2, 5))]  # type: ignore[arg-type]
    torch.testing.assert_close(parts[0] + parts[1], masked_mean(values, mask, how))  # type: ignore[arg-type]


def test_the_two_means_differ_by_the_weight_of_long_rows() -> None:
    values, mask = torch.tensor([[1.0, 0.0, 0.0], [4.0, 4.0, 4.0]]), torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    assert masked_mean(values, mask, "token").item() == pytest.approx(13 / 4)
    assert masked_mean(values, mask, "sequence").item() == pytest.approx(5 / 2)
    assert masked_mean(values[:0], mask[:0], "token").item() == 0
    assert masked_mean(values[:0], mask[:0], "sequence").item() == 0


def test_the_critics_loss_is_half_the_squared_error_and_is_held_near_the_old_value() -> None:
    mask, returns = torch.ones(1, 2), torch.tensor([[1.0, 1.0]])
    values = torch.tensor([[0.0, 0.5]])
    assert value_loss(values, values, returns, mask, 0.2).item() == pytest.approx(0.5 * (1 + 0.25) / 2)
    # From 0 to .9 is held at .2, so the loss counts the error there: .8 squared.
    moved = value_loss(torch.tensor([[0.9]]), torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1), 0.2)
    assert moved.item() == pytest.approx(0.5 * 0.64)
