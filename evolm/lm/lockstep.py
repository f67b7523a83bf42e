"""Sampling with all rows in step: one prefill per distinct prompt, then one token per row and step.

Prompts of unequal length are padded on the left, so that all rows share one position in the static cache. Rows
that have ended are retired once that saves more than the copy of the cache costs. A row's random numbers are
drawn beforehand, in the order of rows: a seed gives the same samples however the rows are cut into chunks, up to
the rounding of the matrix products, which may differ with the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from evolm.lm.completions import Samples, Sampling
from evolm.lm.forward import Cache, Decoder
from evolm.lm.memory import fitting
from evolm.lm.recorded_step import stepper_for

Part = TypeVar("Part")
Prompts = Sequence[Sequence[int]]


def sample_lockstep(
    decoder: Decoder, prompts: Prompts, n: int, sampling: Sampling, *, seed: int, max_rows: int
) -> Samples:
    """n rows for each of `prompts`, in their order: row i belongs to prompt i // n."""
    owner = torch.arange(len(prompts)).repeat_interleave(n)  # (rows,)
    uniforms = uniform_numbers(len(owner), sampling.max_new_tokens, seed)

    def complete(start: int, stop: int) -> tuple[Tensor, Tensor]:
        cache, logits = prefill(decoder, [prompts[i] for i in owner[start:stop]], sampling.max_new_tokens)
        return continue_rows(decoder, cache, logits, uniforms[start:stop], sampling)

    tokens, logprobs = (torch.cat(parts) for parts in zip(*in_chunks(len(owner), max_rows, complete), strict=True))
    owner = owner.to(tokens.device)
    return Samples(tokens, *sampling.lengths(tokens), logprobs, owner, torch.ones_like(owner), "lockstep")


def prefill(decoder: Decoder, prompts: Prompts, new_tokens: int) -> tuple[Cache, Tensor]:
    """A cache with one row per prompt and room for `new_tokens`, and the logits (rows, vocabulary) that follow.

    Equal prompts are computed once. Raises ValueError for logits that are not numbers.
    """
    first: dict[tuple[int, ...], int] = {}
    origin = torch.tensor([first.setdefault(tuple(prompt), len(first)) for prompt in prompts])  # (rows,)
    longest = max(map(len, first))
    padding = torch.tensor([longest - len(prompt) for prompt in first])
    tokens = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in first])  # (distinct, longest)
    cache = decoder.new_cache(len(first), longest + new_tokens)
    left = padding.to(decoder.device) if padding.any() else None
    logits = decoder.prefill(tokens.to(decoder.device), cache, left)
    if logits.isnan().any():
        raise ValueError("the model's logits are not numbers (NaN); its weights have diverged, or its dtype overflows")
    if len(first) < len(prompts):
        origin = origin.to(decoder.device)
        cache, logits = cache.select(origin), logits[origin]
    return cache, logits


def continue_rows(
    decoder: Decoder, cache: Cache, logits: Tensor, uniforms: Tensor, sampling: Sampling
) -> tuple[Tensor, Tensor]:
    """Tokens and log-probabilities, (rows, T) each, that follow the cached rows; T is the width of `uniforms`.

    `logits` (rows, vocabulary) are those of the first token; `uniforms` (rows, T) decide the draws.
    """
    (rows, steps), device = uniforms.shape, logits.device
    uniforms = uniforms.to(device).T.contiguous()  # (T, rows)
    tokens = torch.full((steps, rows), sampling.pad, device=device)
    logprobs = torch.zeros((steps, rows), device=device)
    stepper = stepper_for(decoder, cache, steps - 1)
    live: Tensor | slice = slice(None)  # which rows the cache holds
    ended = torch.zeros(rows, dtype=torch.bool, device=device)  # of those the cache holds
    for t in range(steps):
        token, logprob = sampling.draw(logits, uniforms[t, live])
        tokens[t, live] = token.masked_fill(ended, sampling.pad)
        logprobs[t, live] = logprob.masked_fill(ended, 0.0)
        if t + 1 == steps:
            break
        # Counting rows waits for a GPU to catch up, so there it is done at every eighth step only.
        if sampling.eos is not None:
            ended = ended | (token == sampling.eos)
            if (device.type == "cpu" or t % 8 == 7) and (dead := int(ended.sum())):
                if dead == len(ended):
                    break
                if retiring_pays(dead, len(ended), steps - 1 - t):
                    keep = (~ended).nonzero()[:, 0]
                    live = keep if isinstance(live, slice) else live[keep]
                    stepper, token, ended = stepper.select(keep, steps - 1 - t), token[keep], ended[keep]
        logits = stepper.step(token)
    return tokens.T.contiguous(), logprobs.T.contiguous()


def retiring_pays(dead: int, rows: int, steps: int) -> bool:
    """Whether dropping the dead of `rows` saves time when `steps` steps remain.

    Copying a row of the cache costs about as much as one to two of its steps; waiting for a quarter to die bounds
    what all copies of a run cost together.
    """
    return 4 * dead >= rows and dead * steps > 2 * (rows - dead)


def uniform_numbers(rows: int, steps: int, seed: int) -> Tensor:
    """(rows, steps) float64 in [0, 1), drawn on the CPU so that a seed means the same on every device."""
    return torch.rand((rows, steps), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def in_chunks(rows: int, size: int, work: Callable[[int, int], Part]) -> list[Part]:
    """work(start, stop) over consecutive chunks of at most `size` rows; fewer, with a warning, when memory ends."""
    parts: list[Part] = []
    start = 0
    while start < rows:
        asked, begin = min(size, rows - start), start
        part, fitted = fitting(lambda count: work(begin, begin + count), asked)  # noqa: B023
        parts.append(part)
        start += fitted
        if fitted < asked:
            size = fitted
    return parts
