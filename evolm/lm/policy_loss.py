"""The policy-gradient loss of all six algorithms, and the terms beside it. Pure tensor functions.

    loss = policy_coef * mean(-min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A))      (Schulman et al. 2017, Eq. 7)
           + kl_coef * mean(k3(policy || reference)) - entropy_coef * mean(entropy)

where rho = pi(token) / pi_old(token). What differs between the algorithms is A (`evolm.lm.advantages`), the two clip
bounds (DAPO's are apart) and what "mean" averages over. Shapes: (rows, time), mask 1 up to and with the end token.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Aggregate = Literal["token", "sequence"]
RatioLevel = Literal["token", "sequence"]


def token_logprobs(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """log pi(token) under softmax(logits / temperature): (rows, time, vocab) and (rows, time) -> (rows, time).

    Cross-entropy, not log_softmax and gather: its backward pass is one fused kernel.
    """
    scaled = logits if temperature == 1.0 else logits / temperature
    flat = functional.cross_entropy(scaled.flatten(0, -2), tokens.flatten(), reduction="none")
    return -flat.view_as(tokens)


def token_entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy in nats of softmax(logits / temperature), (rows, time, vocab) -> (rows, time)."""
    logprobs = functional.log_softmax(logits / temperature, dim=-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def importance_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor, level: RatioLevel = "token") -> Tensor:
    """pi / pi_old: per token (rows, time), or of whole completions (rows, 1), as RLOO with one action per answer."""
    difference = (logprobs - old_logprobs) * mask
    return (difference if level == "token" else difference.sum(dim=1, keepdim=True)).exp()


def clipped_surrogate(ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """-min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A), elementwise; PPO has .2/.2, DAPO .2/.28."""
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)


def clipped_tokens(ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """bool: where the clip takes the gradient away, i.e. the update already went far enough in A's direction."""
    return ((ratio < 1 - clip_low) & (advantages < 0)) | ((ratio > 1 + clip_high) & (advantages > 0))


def kl_k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """Per-token estimate of KL(policy || reference): r - 1 - log r with r = pi_ref / pi.

    Schulman's k3: unbiased for samples of the policy, and never negative.
    """
    log_ratio = reference_logprobs - logprobs
    return log_ratio.exp() - log_ratio - 1


def masked_mean(values: Tensor, mask: Tensor, how: Aggregate, divisor: Tensor | None = None) -> Tensor:
    """Mean over tokens of the batch ("token": DAPO, verl) or over completions of their own means ("sequence": GRPO).

    `divisor` is the number of tokens or of completions of the whole mini-batch, where only a part of it is at hand;
    the parts then add up to the whole. The mean of nothing is 0.
    """
    if how == "token":
        total, count = (values * mask).sum(), mask.sum()
    else:
        total = ((values * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)).sum()
        count = mask.new_tensor(float(len(mask)))
    return total / (count if divisor is None else divisor).clamp(min=1)


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float) -> Tensor:
    """PPO's critic: half the squared error over tokens, the worse of the value and the value held within `clip` of old.

    All (rows, time) -> scalar.
    """
    held = old_values + (values - old_values).clamp(-clip, clip)
    error = torch.maximum((values - returns).square(), (held - returns).square())
    return 0.5 * masked_mean(error, mask, "token")
