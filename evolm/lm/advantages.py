"""Advantages of the six algorithms: how a reward becomes a weight on each sampled token. Pure tensor functions.

Six algorithms of Yue et al. 2025 (Tab. 2), by what they subtract from the reward:

- PPO: a learned critic's value, through generalised advantage estimation (Schulman et al. 2016, Eq. 16);
- GRPO, DAPO: the mean of the group, the samples of one prompt, over its deviation (Shao et al. 2024, Sec. 4.1.2);
- RLOO: the mean of the group's other samples (Ahmadian et al. 2024);
- ReMax: the reward of the greedy answer (Li et al. 2023);
- REINFORCE++: the mean over the whole batch, over its deviation (Hu 2025).

Rewards are (groups, group_size); per-token quantities are (rows, time) with a mask, 1 up to and with the end token.
"""

from __future__ import annotations

import torch
from torch import Tensor

STD_EPSILON = 1e-4  # as in TRL: keeps a group whose rewards differ by rounding from exploding
WHITEN_EPSILON = 1e-8


def group_relative(rewards: Tensor, *, scale_by_std: bool = True) -> Tensor:
    """GRPO: (r - mean_G) / std_G, (groups, group_size) -> same. Without `scale_by_std` only centred (Dr. GRPO).

    std is the sample deviation (G - 1 below). Raises ValueError for groups of one: they have no baseline.
    """
    _require_group(rewards, "GRPO and DAPO")
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    if not scale_by_std:
        return centred
    return centred / (rewards.std(dim=1, keepdim=True) + STD_EPSILON)


def leave_one_out(rewards: Tensor) -> Tensor:
    """RLOO: r_i minus the mean of the group's others, (groups, group_size) -> same. Equals G/(G-1) x centred."""
    _require_group(rewards, "RLOO")
    size = rewards.shape[1]
    others = (rewards.sum(dim=1, keepdim=True) - rewards) / (size - 1)
    return rewards - others


def greedy_baseline(rewards: Tensor, greedy_rewards: Tensor) -> Tensor:
    """ReMax: r(y) - r(greedy y). `rewards` (groups, group_size), `greedy_rewards` (groups,) -> (groups, group_size)."""
    if greedy_rewards.shape != rewards.shape[:1]:
        raise ValueError(
            f"ReMax needs one greedy reward per prompt: rewards have {rewards.shape[0]} prompts, "
            f"greedy_rewards has shape {tuple(greedy_rewards.shape)}."
        )
    return rewards - greedy_rewards[:, None]


def at_last_token(rewards: Tensor, mask: Tensor) -> Tensor:
    """Rewards (rows,) placed on each row's last token, (rows, time): a verifier speaks only at the end."""
    last = mask.sum(dim=1).long().clamp(min=1) - 1  # (rows,)
    return torch.zeros_like(mask, dtype=rewards.dtype).scatter(1, last[:, None], rewards[:, None]) * mask


def returns_to_go(token_rewards: Tensor, mask: Tensor, discount: float = 1.0) -> Tensor:
    """R_t = r_t + discount R_{t+1}, (rows, time) -> same; 0 where the mask is 0."""
    future = torch.zeros_like(token_rewards[:, 0])  # (rows,)
    out = torch.empty_like(token_rewards)
    for t in reversed(range(token_rewards.shape[1])):
        future = (token_rewards[:, t] + discount * future) * mask[:, t]
        out[:, t] = future
    return out


def whitened(values: Tensor, mask: Tensor) -> Tensor:
    """Values (rows, time) brought to mean 0 and deviation 1 over all unmasked tokens of the batch; 0 elsewhere."""
    count = mask.sum().clamp(min=1)
    mean = (values * mask).sum() / count
    centred = (values - mean) * mask
    variance = centred.square().sum() / (count - 1).clamp(min=1)
    return centred * torch.rsqrt(variance + WHITEN_EPSILON)


def batch_whitened(rewards: Tensor, mask: Tensor, discount: float = 1.0) -> Tensor:
    """REINFORCE++: return-to-go of rewards (rows,), whitened over the whole batch's tokens -> (rows, time)."""
    return whitened(returns_to_go(at_last_token(rewards, mask), mask, discount), mask)


def gae(
    token_rewards: Tensor, values: Tensor, mask: Tensor, *, discount: float = 1.0, trace: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, Eq. 16), `trace` being its lambda.

    delta_t = r_t + discount V_{t+1} - V_t;  A_t = sum_l (discount trace)^l delta_{t+l};  return_t = A_t + V_t.
    All (rows, time); beyond a row's end the value is 0. Returns (advantages, returns), both 0 where the mask is 0.
    """
    values = values * mask
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])  # (rows,) A_{t+1}
    value_after = torch.zeros_like(following)  # (rows,) V_{t+1}
    for t in reversed(range(values.shape[1])):
        delta = token_rewards[:, t] + discount * value_after - values[:, t]
        following = (delta + discount * trace * following) * mask[:, t]
        value_after = values[:, t]
        advantages[:, t] = following
    return advantages, (advantages + values) * mask


def mixed_groups(rewards: Tensor) -> Tensor:
    """(groups,) bool: groups (groups, group_size) whose rewards are not all equal; only these teach GRPO anything."""
    return rewards.amax(dim=1) > rewards.amin(dim=1)


def _require_group(rewards: Tensor, who: str) -> None:
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise ValueError(
            f"{who} need rewards of shape (groups, group_size) with at least 2 samples per prompt, as the group is "
            f"the baseline; got {tuple(rewards.shape)}. Raise group_size, or use reinforce++ or ppo."
        )
