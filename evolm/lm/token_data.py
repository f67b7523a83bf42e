"""Training data as tensors: sequences of token ids, which of them bear loss, and the order they are seen in.

data = TokenData.from_completions([[1, 4, 3]], [[6, 2]])    # loss on 6 and 2
data = TokenData(tokens, mask)                              # (N, T) int64 and bool, right-padded
data.hash                                                   # 16 hex digits
rows = order(len(data), batch_size=256, step=7, seed=0)     # which sequences update 7 sees
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from evolm.lm.lineage import tensors_hash

#: The target of a position that bears no loss (`torch.nn.functional.cross_entropy`'s `ignore_index`).
IGNORED = -100

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class TokenData:
    """`tokens` (N, T) int64, right-padded, and `mask` (N, T) bool, true where the token's prediction bears loss.

    A token is predicted from those before it, so the first column bears none. Raises ValueError for other tensors.
    """

    tokens: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.tokens.dim() != 2 or self.tokens.dtype != torch.int64:
            found = f"{tuple(self.tokens.shape)} {self.tokens.dtype}"
            raise ValueError(f"tokens are {found}; expected (sequences, time) torch.int64")
        if self.mask.shape != self.tokens.shape or self.mask.dtype != torch.bool:
            found = f"{tuple(self.mask.shape)} {self.mask.dtype}"
            raise ValueError(f"mask is {found}; expected torch.bool of the tokens' shape {tuple(self.tokens.shape)}")
        if not len(self.tokens):
            raise ValueError("there are no sequences to train on; expected at least one")
        if bool(self.mask[:, :1].any()):
            raise ValueError("the first token of a sequence bears loss, but nothing precedes it to predict it from")
        empty = (~self.mask.any(1)).nonzero()
        if len(empty):
            raise ValueError(f"sequence {int(empty[0])} bears no loss anywhere; leave it out")

    @classmethod
    def from_completions(
        cls, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], pad: int = 0
    ) -> TokenData:
        """Sequences `prompt + completion`, loss on the completion. Raises ValueError naming an empty one."""
        if len(prompts) != len(completions):
            raise ValueError(f"{len(prompts)} prompts and {len(completions)} completions; expected one for each")
        length = max((len(p) + len(c) for p, c in zip(prompts, completions, strict=True)), default=0)
        tokens = np.full((len(prompts), length), pad, np.int64)
        mask = np.zeros(tokens.shape, bool)
        for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            for what, part in (("prompt", prompt), ("completion", completion)):
                if not len(part):
                    raise ValueError(f"sequence {row} has an empty {what}; expected at least one token, <bos> or <eos>")
            end = len(prompt) + len(completion)
            tokens[row, :end] = [*prompt, *completion]
            mask[row, len(prompt) : end] = True
        return cls(torch.from_numpy(tokens), torch.from_numpy(mask))

    @cached_property
    def hash(self) -> str:
        """Hash of tokens and mask: equal data, equal hash."""
        return tensors_hash({"tokens": self.tokens, "mask": self.mask})

    @cached_property
    def targets(self) -> Tensor:
        """(N, T) int64: the tokens that bear loss, `IGNORED` elsewhere."""
        return self.tokens.masked_fill(~self.mask, IGNORED)

    @cached_property
    def bearing(self) -> Indices:
        """(N,) tokens of each sequence that bear loss."""
        return self.mask.sum(1).cpu().numpy()

    @cached_property
    def starts(self) -> Indices:
        """(N,) the first token of each sequence that bears loss."""
        return self.mask.int().argmax(1).cpu().numpy()

    @cached_property
    def lengths(self) -> Indices:
        """(N,) tokens of each sequence up to the last that bears loss: what training reads of it."""
        ends = torch.arange(1, self.mask.shape[1] + 1, device=self.mask.device)  # (T,)
        return (self.mask * ends).amax(1).cpu().numpy()

    def __len__(self) -> int:
        return len(self.tokens)


def order(sequences: int, batch_size: int, step: int, seed: int) -> Indices:
    """Indices, (batch_size,), of the sequences that update `step` sees.

    Every epoch is a permutation drawn from `seed` and its number; batches cut the epochs, laid end to end, into
    equal parts. No state: any step can be asked for, which is what lets a stage resume at its place.
    """
    first, last = step * batch_size, (step + 1) * batch_size
    epochs = range(first // sequences, (last - 1) // sequences + 1)
    stream = np.concatenate([_permutation(sequences, epoch, seed) for epoch in epochs])
    return stream[first - epochs[0] * sequences :][:batch_size]


@lru_cache(maxsize=2)
def _permutation(sequences: int, epoch: int, seed: int) -> Indices:
    return np.random.default_rng([seed, epoch]).permutation(sequences)
