"""The decoder's step on a GPU, recorded once as a CUDA graph and replayed: small kernels start faster than Python runs.

    stepper = stepper_for(decoder, cache, steps=47)
    logits = stepper.step(tokens)
    stepper = stepper.select(rows)

What changes from step to step, the position, is a tensor here, and attention goes over the cache's whole capacity.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from evolm.lm.forward import Cache, Decoder, LlamaDecoder
from evolm.lm.llama_ops import rotated

#: Recording costs about three steps; fewer than this are not worth it.
FEWEST_STEPS = 8


class Stepper(Protocol):
    """Rows of a cache that advance together.

    `step` takes tokens (rows,) and gives logits (rows, vocab), which the next call overwrites. `select` keeps the given
    rows, for at most `steps` more.
    """

    def step(self, tokens: Tensor) -> Tensor: ...
    def select(self, rows: Tensor, steps: int) -> Stepper: ...


def stepper_for(decoder: Decoder, cache: Any, steps: int) -> Stepper:
    """A recorded step where it pays: for a native Llama on a GPU that goes on for some steps."""
    native = isinstance(decoder, LlamaDecoder) and isinstance(cache, Cache)
    if native and decoder.device.type == "cuda" and steps >= FEWEST_STEPS:
        return RecordedStep(decoder, cache, steps)  # type: ignore[arg-type]
    return PlainStep(decoder, cache)


class PlainStep:
    """The decoder's own step."""

    def __init__(self, decoder: Decoder, cache: Any) -> None:
        self.decoder, self.cache = decoder, cache

    def step(self, tokens: Tensor) -> Tensor:
        return self.decoder.step(tokens, self.cache)

    def select(self, rows: Tensor, steps: int) -> Stepper:
        return stepper_for(self.decoder, self.cache.select(rows), steps)


class RecordedStep:
    """`decoder.step` for the next `steps` tokens of `cache`, whose contents it copies; recorded first on a GPU."""

    def __init__(self, decoder: LlamaDecoder, cache: Cache, steps: int) -> None:
        self.decoder, self.cache, device = decoder, cache, decoder.device
        self.room = cache.length + steps
        self.keys = [self._roomy(store) for store in cache.keys]
        self.values = [self._roomy(store) for store in cache.values]
        self.position = torch.tensor([cache.length], device=device)
        self.tokens = torch.zeros(cache.rows, dtype=torch.long, device=device)
        places = torch.arange(self.room, device=device)
        padded = torch.zeros((1, self.room), dtype=torch.bool, device=device)
        if cache.padding is not None:
            padded = places < cache.padding[:, None]
        self.places, self.padded = places, padded  # (room,), (rows or 1, room)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.logits = torch.empty(0, device=device)

    def step(self, tokens: Tensor) -> Tensor:
        self.tokens.copy_(tokens)
        if self.position.device.type == "cuda":
            if self.graph is None:
                self.graph = self._record()
            self.graph.replay()
        else:
            self.logits = self._compute()
        self.position += 1
        self.cache.length += 1
        return self.logits

    def select(self, rows: Tensor, steps: int) -> Stepper:
        chosen = Cache(self.cache._new, len(self.keys), self.cache.capacity, len(rows))
        chosen.keys[:] = [store[rows] for store in self.keys]
        chosen.values[:] = [store[rows] for store in self.values]
        chosen.length = self.cache.length
        chosen.padding = None if self.cache.padding is None else self.cache.padding[rows]
        return stepper_for(self.decoder, chosen, steps)

    def _record(self) -> torch.cuda.CUDAGraph:
        self.decoder._weights()  # fused before the recording, which must not allocate what outlives it
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # twice, so that libraries have chosen their kernels and workspaces
            for _ in range(2):
                self._compute()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.logits = self._compute()
        return graph

    @torch.no_grad()
    def _compute(self) -> Tensor:
        """As `LlamaDecoder._advance` for one token, without a number that Python knows changing between steps."""
        d, rows = self.decoder, len(self.tokens)
        cos, sin = d.cos[self.position], d.sin[self.position]  # (1, head_dim / 2)
        hidden = (self.padded | (self.places > self.position))[:, None, None]  # (rows or 1, 1, 1, room)
        x = d.model.model.embed_tokens.weight[self.tokens][:, None].float()  # (rows, 1, width)
        for keys, values, weights in zip(self.keys, self.values, d._weights(), strict=True):
            qkv = F.linear(d._normed(x), weights["qkv"]).view(rows, 1, -1, d.head_dim).transpose(1, 2)
            q, k, v = qkv.split([d.heads, d.kv_heads, d.kv_heads], 1)
            keys.index_copy_(2, self.position, rotated(k, cos, sin))
            values.index_copy_(2, self.position, v)
            q = rotated(q, cos, sin).reshape(rows * d.kv_heads, -1, d.head_dim)
            scores = torch.bmm(q, keys.flatten(0, 1).transpose(1, 2)).float().mul_(d.scale)
            scores = scores.view(rows, d.heads, 1, self.room).masked_fill(hidden, -torch.inf)
            weight = scores.softmax(-1).to(values.dtype).view(rows * d.kv_heads, -1, self.room)
            attended = torch.bmm(weight, values.flatten(0, 1)).view(rows, 1, -1)
            x = x + F.linear(attended, weights["o"])
            gate, up = F.linear(d._normed(x), weights["gate_up"]).chunk(2, -1)
            x = x + F.linear(F.silu(gate).mul_(up), weights["down"])
        return F.linear(d._normed(x[:, -1]), d._head).float()

    def _roomy(self, store: Tensor | None) -> Tensor:
        """A copy with room for all steps, zeros behind what is filled: (rows, kv heads, room, head_dim)."""
        assert store is not None, "the cache holds no prompt yet"
        filled = self.cache.length
        roomy = store.new_zeros((*store.shape[:2], self.room, store.shape[3]))
        roomy[:, :, :filled] = store[:, :, :filled]
        return roomy
