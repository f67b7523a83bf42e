"""One way to run any causal language model: natively where that is faster, through transformers elsewhere.

    decoder = decoder_for(model)                      # LlamaDecoder, or TransformersDecoder for other architectures
    decoder.logits(tokens)                            # (rows, time, vocab), differentiable
    cache = decoder.new_cache(rows=64, length=48)
    logits = decoder.prefill(prompts, cache)          # (rows, vocab)
    logits = decoder.step(tokens, cache)

Both give float32 logits. After the weights changed, call `refresh` before the next `prefill` or `step`.
"""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

import torch
from torch import Tensor

from evolm.lm.cache import Cache
from evolm.lm.llama import LlamaDecoder, unsupported

__all__ = ["Cache", "Decoder", "LlamaDecoder", "TransformersDecoder", "decoder_for"]


class Decoder(Protocol):
    """What training, sampling and certification need of a model."""

    model: Any
    dtype: torch.dtype
    vocab_size: int
    max_length: int

    @property
    def device(self) -> torch.device: ...
    def refresh(self) -> None: ...
    def logits(self, tokens: Tensor, start: int = 0, group: int = 1) -> Tensor: ...
    def new_cache(self, rows: int, length: int) -> Any: ...
    def prefill(self, tokens: Tensor, cache: Any, padding: Tensor | None = None) -> Tensor: ...
    def step(self, tokens: Tensor, cache: Any) -> Tensor: ...


def decoder_for(model: Any, dtype: torch.dtype | None = None) -> Decoder:
    """The decoder of a transformers causal language model; a decoder is given back as it is.

    `dtype` (default: float32 natively, the model's own through transformers) is that of the matrix products.
    """
    if isinstance(model, LlamaDecoder | TransformersDecoder):
        return model
    if not unsupported(model.config):
        return LlamaDecoder(model, dtype)
    return TransformersDecoder(model, dtype)


class TransformersDecoder:
    """Any causal language model through its own forward pass and transformers' dynamic cache."""

    def __init__(self, model: Any, dtype: torch.dtype | None = None) -> None:
        self.model = model
        self.dtype = dtype or next(model.parameters()).dtype
        self.vocab_size = int(model.config.vocab_size)
        self.max_length = int(getattr(model.config, "max_position_embeddings", 2**31))

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    def refresh(self) -> None:
        """Nothing is kept between calls."""

    def logits(self, tokens: Tensor, start: int = 0, group: int = 1) -> Tensor:
        """As `LlamaDecoder.logits`; a shared prompt is computed for every row."""
        with self._autocast():
            logits: Tensor = self.model(tokens, use_cache=False).logits
        return logits[:, start:].float()

    def new_cache(self, rows: int, length: int) -> TransformersCache:
        """A cache that grows; `length` is only checked."""
        return TransformersCache(rows, length)

    @torch.no_grad()
    def prefill(self, tokens: Tensor, cache: TransformersCache, padding: Tensor | None = None) -> Tensor:
        """As `LlamaDecoder.prefill`."""
        cache.padding = padding if padding is not None and bool(padding.any()) else None
        return self._advance(tokens, cache)

    @torch.no_grad()
    def step(self, tokens: Tensor, cache: TransformersCache) -> Tensor:
        """As `LlamaDecoder.step`."""
        return self._advance(tokens[:, None], cache)

    def _advance(self, tokens: Tensor, cache: TransformersCache) -> Tensor:
        first, length = cache.length, cache.length + tokens.shape[1]
        if length > min(cache.capacity, self.max_length):
            raise ValueError(
                f"{length} tokens do not fit: the cache holds {cache.capacity}, the model {self.max_length}"
            )
        at = torch.arange(length, device=tokens.device)
        given: dict[str, Tensor] = {}
        if cache.padding is not None:
            padding = cache.padding[:, None]
            given["attention_mask"] = (at >= padding).long()
            given["position_ids"] = (at[first:] - padding).clamp(min=0)
        with self._autocast():
            out = self.model(tokens, past_key_values=cache.past, use_cache=True, logits_to_keep=1, **given)
        cache.past, cache.length = out.past_key_values, length
        return out.logits[:, -1].float()

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        own = next(self.model.parameters()).dtype
        return contextlib.nullcontext() if own == self.dtype else torch.autocast(self.device.type, self.dtype)


class TransformersCache:
    """transformers' dynamic cache behind the interface of `Cache`."""

    def __init__(self, rows: int, capacity: int, past: Any = None, length: int = 0) -> None:
        self.rows, self.capacity = rows, capacity
        self.past, self.length = past, length
        self.padding: Tensor | None = None

    def select(self, rows: Tensor) -> TransformersCache:
        """As `Cache.select`."""
        from transformers import DynamicCache

        past = DynamicCache()
        for i, layer in enumerate(self.past.layers):
            past.update(layer.keys[rows], layer.values[rows], i)
        chosen = TransformersCache(len(rows), self.capacity, past, self.length)
        chosen.padding = None if self.padding is None else self.padding[rows]
        return chosen
