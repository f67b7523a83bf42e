"""What sampling gives back, and how one token is drawn: `Samples`, `Sampling`.

    sampling = Sampling(max_new_tokens=16, eos=2, pad=0, temperature=0.7)
    token, logprob = sampling.draw(logits, uniform)

A token is drawn by inverting the cumulative distribution (in float64) at one uniform number, so a row's draws
depend on its own logits and numbers alone, whatever else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Method = Literal["lockstep", "tree", "hf", "vllm"]


@dataclass
class Samples:
    """Sampled completions, one per row; all tensors on the model's device.

    tokens: (rows, T) int64, the completion alone, `pad` after its end. lengths: (rows,) int64, counting the eos.
    ended: (rows,) bool, whether an eos was emitted. logprobs: (rows, T) float32, nats: log-probability of each token
    under the distribution it was drawn from, 0 after the end; for greedy decoding under the model's own
    (temperature 1). prompt: (rows,) int64, index of the row's prompt. count: (rows,) int64, how many of the n
    independent samples of its prompt the row stands for; over the rows of a prompt they sum to n.
    """

    tokens: Tensor
    lengths: Tensor
    ended: Tensor
    logprobs: Tensor
    prompt: Tensor
    count: Tensor
    method: Method

    def __len__(self) -> int:
        return len(self.tokens)

    def expand(self, seed: int) -> Samples:
        """The same samples with one row each, n per prompt, prompts in order, shuffled within each prompt.

        The rows of a prompt are then independent draws in random order: any k of them are k samples.
        """
        prompt = self.prompt.cpu().numpy().repeat(self.count.cpu().numpy())
        order = np.lexsort((np.random.default_rng(seed).random(len(prompt)), prompt))
        rows = torch.arange(len(self)).repeat_interleave(self.count.cpu())[torch.from_numpy(order)]
        return self.select(rows.to(self.tokens.device), torch.ones_like(rows, device=self.tokens.device))

    def select(self, rows: Tensor, count: Tensor | None = None) -> Samples:
        """The rows with these indices, in this order, with their own counts or those given."""
        return Samples(
            self.tokens[rows],
            self.lengths[rows],
            self.ended[rows],
            self.logprobs[rows],
            self.prompt[rows],
            self.count[rows] if count is None else count,
            self.method,
        )


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn.

    temperature: logits are divided by it; 0 is greedy decoding. top_p: only the smallest set of most likely tokens
    whose probability, after the temperature, reaches it. eos: the token that ends a completion; None: none does.
    Raises ValueError for a setting outside its range.
    """

    max_new_tokens: int
    eos: int | None
    pad: int
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; expected at least 1")
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ValueError(f"temperature is {self.temperature}; expected 0 (greedy) or a positive number")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; expected more than 0 and at most 1 (1 keeps every token)")

    def logprobs(self, logits: Tensor) -> Tensor:
        """Log-probability of each token as the next one, (rows, vocabulary) float32, from logits of that shape.

        Minus infinity outside the nucleus. Greedy decoding (temperature 0) reports the model's own distribution.
        """
        logits = logits.float()
        if self.temperature == 0:
            return logits.log_softmax(-1)
        if self.temperature != 1:
            logits = logits / self.temperature
        if self.top_p < 1:
            logits = logits.masked_fill(self._outside_nucleus(logits), -torch.inf)
        return logits.log_softmax(-1)

    def draw(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """One token per row and its log-probability, (rows,) each, from `uniform` (rows,) float64 in [0, 1)."""
        logprobs = self.logprobs(logits)  # (rows, vocabulary)
        if self.temperature == 0:
            token = logits.argmax(-1, keepdim=True)
        else:
            cdf = logprobs.exp().cumsum(-1, dtype=torch.float64)
            # The first token whose cdf exceeds the target has a probability above 0, also where rounding ends the
            # cdf a little off 1: the target is always below the cdf's own end.
            token = torch.searchsorted(cdf, uniform[:, None] * cdf[:, -1:], right=True)
        return token[:, 0], logprobs.gather(-1, token)[:, 0]

    def lengths(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Lengths with the eos, and whether there is one, (rows,) each, of completions (rows, T)."""
        full = torch.full((len(tokens),), tokens.shape[1], device=tokens.device)
        if self.eos is None:
            return full, torch.zeros_like(full, dtype=torch.bool)
        is_eos = tokens == self.eos
        ended = is_eos.any(-1)
        return torch.where(ended, is_eos.int().argmax(-1) + 1, full), ended

    def _outside_nucleus(self, logits: Tensor) -> Tensor:
        """True for tokens below the nucleus, (rows, vocabulary); transformers' rule, so that results agree."""
        ascending, order = logits.sort(-1)
        outside = ascending.softmax(-1).cumsum(-1) <= 1 - self.top_p
        outside[:, -1] = False
        return torch.zeros_like(outside).scatter(-1, order, outside)


def check_prompts(prompts: Sequence[Sequence[int]], n: int, vocab_size: int | None = None) -> None:
    """Raises ValueError, in a sentence, where `prompts` or `n` cannot be sampled from."""
    if n < 1:
        raise ValueError(f"n is {n}; expected at least one sample per prompt")
    if len(prompts) == 0:
        raise ValueError("there are no prompts; expected at least one list of token ids")
    for index, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise ValueError(f"prompt {index} is empty; expected at least one token id, such as <bos>")
        if min(prompt) < 0 or (vocab_size is not None and max(prompt) >= vocab_size):
            expected = "0 or more" if vocab_size is None else f"0 to {vocab_size - 1}"
            raise ValueError(
                f"prompt {index} holds token ids {min(prompt)} to {max(prompt)}; the model's are {expected}: "
                "was it encoded with another tokenizer?"
            )


def check_lengths(prompts: Sequence[Sequence[int]], max_new_tokens: int, max_length: int) -> None:
    """Raises ValueError where a prompt and its completion do not fit the model's context of `max_length` tokens."""
    index, longest = max(((i, len(prompt)) for i, prompt in enumerate(prompts)), key=lambda pair: pair[1])
    if longest >= max_length:
        raise ValueError(f"prompt {index} has {longest} tokens and the model's context {max_length}; shorten it")
    if longest + max_new_tokens > max_length:
        raise ValueError(
            f"prompt {index} has {longest} tokens, which with max_new_tokens = {max_new_tokens} exceeds the model's "
            f"context of {max_length}; ask for at most {max_length - longest} new tokens"
        )
