"""Advantages of the six algorithms: closed forms, algebraic identities, and a written-out reference for GAE."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evolm.lm.advantages import (
    at_last_token,
    batch_whitened,
    gae,
    greedy_baseline,
    group_relative,
    leave_one_out,
    mixed_groups,
    returns_to_go,
    whitened,
)


@st.composite
def reward_tables(draw: st.DrawFn) -> Tensor:
    groups, size = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    values = draw(st.lists(st.integers(-3, 3), min_size=groups * size, max_size=groups * size))
    return torch.tensor(values, dtype=torch.float64).view(groups, size)


@st.composite
def masks(draw: st.DrawFn) -> Tensor:
    rows, time = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    lengths = draw(st.lists(st.integers(1, time), min_size=rows, max_size=rows))
    return (torch.arange(time) < torch.tensor(lengths)[:, None]).double()


def gae_by_definition(rewards: Tensor, values: Tensor, lengths: list[int], discount: float, trace: float) -> Tensor:
    """Sum over l of (discount trace)^l delta_{t+l}, term by term."""
    out = torch.zeros_like(rewards)
    for i, length in enumerate(lengths):
        for t in range(length):
            for later in range(t, length):
                after = values[i, later + 1] if later + 1 < length else 0.0
                delta = rewards[i, later] + discount * after - values[i, later]
                out[i, t] += (discount * trace) ** (later - t) * delta
    return out


@given(reward_tables(), st.booleans())
@settings(deadline=None, max_examples=50)
def test_group_advantages_sum_to_zero_in_every_group(rewards: Tensor, scale: bool) -> None:
    zero = torch.zeros(len(rewards), dtype=torch.float64)
    torch.testing.assert_close(group_relative(rewards, scale_by_std=scale).sum(1), zero, atol=1e-9, rtol=0)
    torch.testing.assert_close(leave_one_out(rewards).sum(1), zero, atol=1e-9, rtol=0)


@given(reward_tables())
@settings(deadline=None, max_examples=50)
def test_leave_one_out_is_the_centred_reward_times_g_over_g_minus_1(rewards: Tensor) -> None:
    size = rewards.shape[1]
    torch.testing.assert_close(leave_one_out(rewards), size / (size - 1) * group_relative(rewards, scale_by_std=False))


@given(reward_tables(), st.floats(0.5, 20), st.floats(-5, 5))
@settings(deadline=None, max_examples=50)
def test_grpo_does_not_see_an_affine_change_of_the_reward(rewards: Tensor, gain: float, shift: float) -> None:
    # Up to the constant that keeps the deviation from zero: 1e-4 against deviations of .4 and more here.
    changed = group_relative(gain * rewards + shift)
    torch.testing.assert_close(changed, group_relative(rewards), atol=2e-3, rtol=2e-3)


def test_grpo_of_one_success_in_four_is_the_closed_form() -> None:
    advantages = group_relative(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    torch.testing.assert_close(advantages, torch.tensor([[1.5, -0.5, -0.5, -0.5]]), atol=1e-3, rtol=0)  # std = 1/2


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_groups_that_agree_have_no_advantage_and_are_not_mixed(reward: float) -> None:
    rewards = torch.full((2, 5), reward)
    assert not group_relative(rewards).any()
    assert not leave_one_out(rewards).any()
    assert not mixed_groups(rewards).any()
    assert mixed_groups(torch.tensor([[0.0, 1.0], [1.0, 1.0]])).tolist() == [True, False]


@pytest.mark.parametrize("advantage", [group_relative, leave_one_out])
def test_a_group_of_one_is_refused_with_what_to_do(advantage: object) -> None:
    with pytest.raises(ValueError, match=r"at least 2 samples per prompt.*Raise group_size"):
        advantage(torch.ones(3, 1))  # type: ignore[operator]


def test_remax_subtracts_the_greedy_answers_reward() -> None:
    rewards = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    expected = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    assert torch.equal(greedy_baseline(rewards, torch.tensor([1.0, 0.0])), expected)
    with pytest.raises(ValueError, match="one greedy reward per prompt"):
        greedy_baseline(rewards, torch.ones(3))


def test_the_reward_sits_on_the_last_token_of_each_row() -> None:
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    assert at_last_token(torch.tensor([2.0, 3.0]), mask).tolist() == [[0, 2, 0], [0, 0, 3]]


def test_returns_to_go_discount_what_comes_later() -> None:
    mask = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    rewards = torch.tensor([[1.0, 0.0, 4.0, 9.0]])
    assert returns_to_go(rewards, mask, 0.5).tolist() == [[2.0, 2.0, 4.0, 0.0]]


@given(masks(), st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_whitened_values_have_mean_0_and_variance_1_over_tokens_and_0_beyond(mask: Tensor, seed: int) -> None:
    values = torch.randn(mask.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    white = whitened(values, mask)
    assert not white[mask == 0].any()
    if mask.sum() > 2:
        tokens = white[mask == 1]
        assert abs(tokens.mean()) < 1e-9
        assert abs(tokens.var() - 1) < 1e-4


def test_reinforce_plus_plus_gives_a_row_one_weight_and_weighs_rows_by_length() -> None:
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    advantages = batch_whitened(torch.tensor([1.0, 0.0]), mask)
    # Over four tokens of value 1, 1, 1, 0: mean 3/4, variance (3/16 + 9/16) / 3 = 1/4.
    expected = torch.tensor([[0.5, 0.5, 0.5], [-1.5, 0.0, 0.0]])
    torch.testing.assert_close(advantages, expected, atol=1e-5, rtol=0)


def test_equal_rewards_give_reinforce_plus_plus_nothing_to_learn() -> None:
    assert not batch_whitened(torch.ones(3), torch.ones(3, 4)).any()


@given(masks(), st.floats(0, 1), st.floats(0, 1), st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_gae_equals_its_definition(mask: Tensor, discount: float, trace: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(mask.shape, generator=generator, dtype=torch.float64) * mask
    values = torch.randn(mask.shape, generator=generator, dtype=torch.float64)
    lengths = mask.sum(1).long().tolist()
    advantages, returns = gae(rewards, values, mask, discount=discount, trace=trace)
    torch.testing.assert_close(advantages, gae_by_definition(rewards, values, lengths, discount, trace))
    torch.testing.assert_close(returns, (advantages + values) * mask)


def test_gae_without_decay_is_the_return_minus_the_value() -> None:
    mask = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    values = torch.linspace(-1, 1, 8).view(2, 4)
    rewards = at_last_token(torch.tensor([1.0, 0.0]), mask)
    advantages, returns = gae(rewards, values, mask)
    torch.testing.assert_close(advantages, (returns_to_go(rewards, mask) - values) * mask)
    torch.testing.assert_close(returns, returns_to_go(rewards, mask))
