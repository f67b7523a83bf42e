"""Many samples of one prompt as a tree: each distinct prefix is computed once, however many samples share it.

At every prefix the number of samples that reach it is split over the next tokens by a multinomial draw. That is
how often each token comes up in so many independent draws, so the completions with their counts are distributed
exactly as n independent samples; only their order carries nothing (`Samples.expand` shuffles). All prompts grow
together, level by level. The work is that of the distinct prefixes: little where the model is sure, and that of
lock-step rows plus copies of the cache where it is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolm.lm.completions import Samples, Sampling
from evolm.lm.forward import Cache, Decoder
from evolm.lm.lockstep import Prompts, continue_rows, in_chunks, prefill, uniform_numbers
from evolm.lm.memory import fitting

#: Samples started together, per row of a batch: bounds how many half-grown branches wait, each holding a cache.
SAMPLES_PER_ROW = 64


@dataclass
class Prefixes:
    """Distinct prefixes of one length t, on the model's device.

    parent: (rows,) the row of the cache that holds all of a prefix but its last token. prompt: (rows,). count:
    (rows,) samples that share it. tokens, logprobs: (rows, t).
    """

    parent: Tensor
    prompt: Tensor
    count: Tensor
    tokens: Tensor
    logprobs: Tensor

    def __getitem__(self, rows: Tensor | slice) -> Prefixes:
        return Prefixes(*(getattr(self, field.name)[rows] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.count)


@dataclass
class Branch:
    """Prefixes that wait for their next token, and the cache of their parents."""

    prefixes: Prefixes
    cache: Any


def sample_tree(
    decoder: Decoder, prompts: Prompts, n: int, sampling: Sampling, *, seed: int, max_rows: int, switch: bool
) -> Samples:
    """Distinct completions of each of `prompts` with the number of its n samples that each stands for.

    With `switch`, branches where half the samples or more have a prefix of their own go on as lock-step rows: little
    is left to share, and rows that do not branch need no copies of the cache. A completion may then come in several
    rows. `seed` and `max_rows` together decide the draws.
    """
    grower = Grower(decoder, sampling, seed, max_rows, switch)
    together = min(max_rows, max(1, SAMPLES_PER_ROW * max_rows // n))
    parts = [
        part for i in range(0, len(prompts), together) for part in grower.grow(prompts[i : i + together], n, first=i)
    ]
    T, pad = sampling.max_new_tokens, sampling.pad
    prompt, count = torch.cat([part.prompt for part in parts]), torch.cat([part.count for part in parts])
    tokens = torch.cat([_widened(part.tokens, T, pad) for part in parts])
    logprobs = torch.cat([_widened(part.logprobs, T, 0.0) for part in parts])
    samples = Samples(tokens, *sampling.lengths(tokens), logprobs, prompt, count, "tree")
    return samples.select(prompt.argsort(stable=True))


class Grower:
    """Grows the trees of prompts: `grow` yields their completions."""

    def __init__(self, decoder: Decoder, sampling: Sampling, seed: int, max_rows: int, switch: bool) -> None:
        self.decoder, self.sampling, self.max_rows, self.switch = decoder, sampling, max_rows, switch
        self.rng = np.random.default_rng(seed)

    def grow(self, prompts: Prompts, n: int, first: int) -> Iterator[Prefixes]:
        """The completions of `prompts`, the first of which has index `first`, in parts of one length each."""
        cache, logits = prefill(self.decoder, prompts, self.sampling.max_new_tokens)
        row = torch.arange(len(prompts), device=logits.device)
        nothing = torch.empty((len(row), 0), device=logits.device)
        prefixes = Prefixes(row, first + row, torch.full_like(row, n), nothing.long(), nothing)
        # Depth first over pieces of at most max_rows, so that few branches wait while one is followed to its end.
        waiting: list[Branch] = []
        while True:
            if self.switch and len(prefixes) > 1 and 2 * len(prefixes) >= int(prefixes.count.sum()):
                yield from self.finish(prefixes, cache, logits)
            else:
                children = self.children(prefixes, logits)
                over = self.is_over(children)
                yield children[over]
                if not over.all():
                    waiting.append(Branch(children[~over], cache))
            if not waiting:
                return
            prefixes, cache, logits = self.step(waiting)

    def step(self, waiting: list[Branch]) -> tuple[Prefixes, Any, Tensor]:
        """Runs the model on (part of) the branch on top of `waiting`: its prefixes, their cache and next logits.

        What is left of the branch goes back, so prefixes once drawn stay drawn also when memory runs out.
        """
        branch = waiting.pop()
        pieces = -(-len(branch.prefixes) // self.max_rows)
        asked = -(-len(branch.prefixes) // pieces)
        in_place = isinstance(branch.cache, Cache) and asked == len(branch.prefixes) <= branch.cache.rows
        if in_place:
            branch = moved(branch)

        def run(rows: int) -> tuple[Any, Tensor]:
            parent, cache = branch.prefixes.parent[:rows], branch.cache
            if not (in_place and rows == asked):
                spare = min(rows // 2, self.max_rows - rows) if isinstance(cache, Cache) else 0
                cache = cache.select(torch.cat([parent, parent[:1].expand(spare)]))
            return step_first(self.decoder, branch.prefixes.tokens[:rows, -1], cache)

        (cache, logits), rows = fitting(run, asked)
        if rows < asked:
            self.max_rows = rows
        if rows < len(branch.prefixes):
            waiting.append(Branch(branch.prefixes[rows:], branch.cache))
        return branch.prefixes[:rows], cache, logits

    def children(self, prefixes: Prefixes, logits: Tensor) -> Prefixes:
        """The prefixes one token longer that the samples go on to, those of one parent side by side."""
        every = self.sampling.logprobs(logits)  # (rows, vocabulary)
        if self.sampling.temperature == 0:
            token, count = logits.argmax(-1), prefixes.count
            parent = torch.arange(len(token), device=token.device)
        else:
            counts = prefixes.count.cpu().numpy()
            split = split_counts(counts, every.exp().cpu().numpy(), self.rng)
            parent, token, count = (torch.from_numpy(part).to(logits.device) for part in split)
        tokens = torch.cat([prefixes.tokens[parent], token[:, None]], 1)  # (children, t + 1)
        logprobs = torch.cat([prefixes.logprobs[parent], every[parent, token][:, None]], 1)
        return Prefixes(parent, prefixes.prompt[parent], count, tokens, logprobs)

    def is_over(self, prefixes: Prefixes) -> Tensor:
        """(rows,) bool: whether a prefix has ended or has the full length."""
        if prefixes.tokens.shape[1] == self.sampling.max_new_tokens or self.sampling.eos is None:
            full = prefixes.tokens.shape[1] == self.sampling.max_new_tokens
            return torch.full_like(prefixes.count, full, dtype=torch.bool)
        return prefixes.tokens[:, -1] == self.sampling.eos

    def finish(self, prefixes: Prefixes, cache: Any, logits: Tensor) -> Iterator[Prefixes]:
        """One lock-step row per sample of `prefixes`, to the end; `cache` and `logits` are the prefixes'."""
        rows = torch.arange(len(prefixes), device=logits.device).repeat_interleave(prefixes.count)
        steps = self.sampling.max_new_tokens - prefixes.tokens.shape[1]
        uniforms = uniform_numbers(len(rows), steps, seed=int(self.rng.integers(2**62)))

        def complete(start: int, stop: int) -> Prefixes:
            chosen, numbers = rows[start:stop], uniforms[start:stop]
            following = continue_rows(self.decoder, cache.select(chosen), logits[chosen], numbers, self.sampling)
            before = prefixes[chosen]
            tokens, logprobs = (
                torch.cat(pair, 1) for pair in zip((before.tokens, before.logprobs), following, strict=True)
            )
            return Prefixes(chosen, before.prompt, torch.ones_like(chosen), tokens, logprobs)

        yield from in_chunks(len(rows), self.max_rows, complete)


def moved(branch: Branch) -> Branch:
    """The branch with each prefix in the cache row of its number, for which as few rows as possible are copied.

    A parent's first child takes over its row; other children go where parents ended, or to spare rows.
    """
    prefixes, cache = branch.prefixes, branch.cache
    parent, rows = prefixes.parent, len(prefixes)
    number = torch.arange(rows, device=parent.device)
    first = torch.full((cache.rows,), rows, device=parent.device).scatter_reduce_(0, parent, number, "amin")[:rows]
    stays = first < rows  # (rows,): whether the prefix of a row's number is the parent's own first child
    others = torch.ones_like(stays)
    others[first[stays]] = False
    order = first.masked_scatter(~stays, number[others])
    target = (~stays).nonzero()[:, 0]
    # No row is overwritten before it was read: a parent below `rows` stays, and those above are not written to.
    cache.move(parent[order[target]], target)
    prefixes = prefixes[order]
    prefixes.parent = number
    return Branch(prefixes, cache)


def step_first(decoder: Decoder, tokens: Tensor, cache: Any) -> tuple[Any, Tensor]:
    """Steps the first len(tokens) rows of a cache; the cache, with any spare rows it still has, and the logits."""
    rows = len(tokens)
    if rows == cache.rows:
        logits = decoder.step(tokens, cache)
        return cache, logits
    used = cache.first(rows)
    logits = decoder.step(tokens, used)
    if not used.shares_memory_with(cache):  # it had to grow, by which it left the spare rows behind
        return used, logits
    cache.length = used.length
    return cache, logits


def split_counts(
    counts: np.ndarray, probabilities: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Splits counts (rows,) over the tokens of `probabilities` (rows, vocabulary): row, token, count of each child.

    All three are (children,) int64, by ascending row, every count at least 1; those of a row sum to its own. Rows of
    one sample are drawn by inverting their distribution, which is much quicker than a multinomial of one.
    """
    several, single = np.flatnonzero(counts > 1), np.flatnonzero(counts == 1)
    p = probabilities[several].astype(np.float64)
    # The likeliest token first: the multinomial goes through the tokens until nothing is left to give away.
    swap, here = p.argmax(1), np.arange(len(p))
    p[here, swap], p[:, 0] = p[:, 0], p[here, swap]
    p /= p.sum(1, keepdims=True)
    split = rng.multinomial(counts[several], p)  # (rows, vocabulary)
    # It gives the last token what rounding leaves over, be its probability 0 or not.
    left_over = np.where(p[:, -1] == 0, split[:, -1], 0)
    split[:, 0] += left_over
    split[:, -1] -= left_over
    row, column = split.nonzero()
    token = np.where(column == 0, swap[row], np.where(column == swap[row], 0, column))
    cdf = probabilities[single].cumsum(1, dtype=np.float64)
    target = rng.random(len(single)) * cdf[:, -1]
    drawn = (cdf <= target[:, None]).sum(1)
    parent = np.concatenate([several[row], single])
    order = parent.argsort(kind="stable")
    count = np.concatenate([split[row, column], np.ones_like(single)])
    return parent[order], np.concatenate([token, drawn])[order], count[order]


def _widened(values: Tensor, width: int, fill: float) -> Tensor:
    """`values` (rows, t) filled up to (rows, width)."""
    return torch.nn.functional.pad(values, (0, width - values.shape[1]), value=fill)
