"""What happens to a rollout: each algorithm's advantages, and one optimiser step on a mini-batch.

Groups whose advantages are all zero are left out of the forward pass where that is exact: with no KL and no entropy
term a row enters the loss only through rho * A, so at A = 0 both its loss and its gradient are zero whatever rho is.
The mean's divisor still counts such rows, and the optimiser still takes its step, for momentum and decay go on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from evolm.lm.advantages import at_last_token, batch_whitened, gae, greedy_baseline, group_relative, leave_one_out
from evolm.lm.advantages import whitened as whiten
from evolm.lm.forward import Decoder
from evolm.lm.memory import fitting
from evolm.lm.policy_loss import (
    clipped_surrogate,
    clipped_tokens,
    importance_ratio,
    kl_k3,
    masked_mean,
    token_entropy,
    token_logprobs,
)
from evolm.lm.reinforce_settings import ReinforceSettings
from evolm.lm.rollout import Rollout, completion_logits, rows_of


@dataclass(frozen=True)
class UpdateStats:
    """Of one optimiser step: the loss, the share of tokens held by the clip, the gradient's norm before clipping."""

    loss: float
    clip_fraction: float
    grad_norm: float


def advantages_for(rollout: Rollout, settings: ReinforceSettings) -> Tensor:
    """Advantages of every algorithm without a critic: (rows, 1), for REINFORCE++ (rows, time)."""
    rewards = rollout.rewards.view(-1, settings.group_size)  # (groups, group_size)
    match settings.algorithm:
        case "grpo" | "dapo":
            advantages = group_relative(rewards, scale_by_std=settings.scale_by_std)
        case "rloo":
            advantages = leave_one_out(rewards)
        case "remax":
            advantages = greedy_baseline(rewards, rollout.greedy_rewards)
        case "reinforce++":
            return batch_whitened(rollout.rewards, rollout.mask, settings.discount)
        case "ppo":
            raise ValueError("PPO's advantages come from its critic; use critic_advantages")
    return advantages.reshape(-1, 1)


def critic_advantages(rollout: Rollout, values: Tensor, settings: ReinforceSettings) -> tuple[Tensor, Tensor]:
    """PPO: advantages whitened over the batch's tokens, as verl does, and the critic's targets, (rows, time) each."""
    token_rewards = at_last_token(rollout.rewards, rollout.mask)
    advantages, returns = gae(token_rewards, values, rollout.mask, discount=settings.discount, trace=settings.trace)
    return whiten(advantages, rollout.mask), returns


class PolicyUpdate:
    """One optimiser step on a mini-batch, called as `update(rollout, advantages)`.

    Whole groups are computed together, `rows_per_forward` completions at a time; where memory runs out, half as many
    from then on, with a warning.
    """

    def __init__(self, decoder: Decoder, optimiser: torch.optim.Optimizer, settings: ReinforceSettings) -> None:
        self.decoder, self.optimiser, self.settings = decoder, optimiser, settings
        self.parameters = [p for group in optimiser.param_groups for p in group["params"]]
        rows = settings.rows_per_forward or settings.prompts_per_step * settings.group_size
        self.groups_at_once = max(1, rows // settings.group_size)

    def __call__(self, rollout: Rollout, advantages: Tensor) -> UpdateStats:
        """Advantages are (rows, 1) or (rows, time). Raises FloatingPointError for a gradient that is not finite."""
        groups = self._groups_that_matter(rollout, advantages)

        def accumulate(at_once: int) -> Tensor:
            self.optimiser.zero_grad()
            total = rollout.mask.new_zeros(2)  # loss, clipped fraction
            for part in groups.split(at_once) if len(groups) else ():
                rows = rows_of(part, self.settings.group_size)
                loss, clipped = self._loss(rollout, rollout.select(rows), advantages[rows])
                loss.backward()
                total += torch.stack([loss.detach(), clipped])
            return total

        total, self.groups_at_once = fitting(accumulate, self.groups_at_once)
        for parameter in self.parameters:
            if parameter.grad is None:  # nothing to learn here, but momentum and decay go on
                parameter.grad = torch.zeros_like(parameter)
        norm = clip_gradient(self.parameters, self.settings.clip)
        self.optimiser.step()
        self.decoder.refresh()
        return UpdateStats(float(total[0]), float(total[1]), norm)

    def _groups_that_matter(self, rollout: Rollout, advantages: Tensor) -> Tensor:
        groups = torch.arange(rollout.rows // self.settings.group_size, device=advantages.device)
        if self.settings.kl_coef or self.settings.entropy_coef:
            return groups
        active = advantages.ne(0).any(dim=1).view(len(groups), -1).any(dim=1)
        return groups[active & bool(self.settings.policy_coef)]

    def _loss(self, whole: Rollout, part: Rollout, advantages: Tensor) -> tuple[Tensor, Tensor]:
        """The part's share of the mini-batch's loss, and of its clipped fraction."""
        settings = self.settings
        logits = completion_logits(self.decoder, part, settings.group_size)  # (rows, time, vocab)
        logprobs = token_logprobs(logits, part.tokens, settings.temperature)
        # With one update per rollout the policy still is the one that sampled: the ratio is 1 but for rounding, and
        # taken as exactly 1 it gives the plain policy gradient.
        old = logprobs.detach() if settings.updates_per_step == 1 else part.logprobs
        ratio = importance_ratio(logprobs, old, part.mask, settings.ratio)  # (rows, time), or (rows, 1)
        held = clipped_tokens(ratio, advantages, settings.clip_low, settings.clip_high)
        surrogate = clipped_surrogate(ratio, advantages, settings.clip_low, settings.clip_high)
        tokens, rows = whole.mask.sum(), torch.tensor(float(whole.rows), device=logits.device)
        divisor = tokens if settings.aggregate == "token" else rows
        if settings.ratio == "sequence":
            clipped, policy = held.sum() / rows, surrogate.sum() / rows
        else:
            clipped = masked_mean(held, part.mask, "token", tokens)
            policy = masked_mean(surrogate, part.mask, settings.aggregate, divisor)
        loss = settings.policy_coef * policy
        if settings.kl_coef and part.reference_logprobs is not None:
            divergence = kl_k3(logprobs, part.reference_logprobs)
            loss = loss + settings.kl_coef * masked_mean(divergence, part.mask, settings.aggregate, divisor)
        if settings.entropy_coef:
            entropy = token_entropy(logits, settings.temperature)
            loss = loss - settings.entropy_coef * masked_mean(entropy, part.mask, "token", tokens)
        return loss, clipped


def clip_gradient(parameters: list[Tensor], limit: float | None) -> float:
    """Scale the gradients so that their joint norm is at most `limit`; returns the norm before."""
    norm = float(clip_grad_norm_(parameters, float("inf") if limit is None else limit))
    if not math.isfinite(norm):
        raise FloatingPointError(
            f"the gradient's norm is {norm}: the policy has diverged. Lower lr, or use dtype='float32'."
        )
    return norm
