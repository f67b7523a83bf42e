"""The forward pass of a Llama, for models small enough that everything around the matrix products counts.

    decoder = LlamaDecoder(model)                 # model: transformers' LlamaForCausalLM, its weights and no copies
    logits = decoder.logits(tokens)               # (rows, time, vocab), differentiable
    logits = decoder.logits(tokens, start=11, group=16)

It computes what `transformers` computes. What makes it faster: the projections of a layer are fused, norm and rotation
have a gradient written by hand, attention is a few batched products, and a prompt that a group of rows shares is
computed once. With `start`, only positions from there on are returned, so the last layer does nothing for the others
but keys and values. With `group`, rows come in groups that share `tokens[:, :start]`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from evolm.lm.cache import Cache
from evolm.lm.llama_ops import Norm, Rotate, causal, rotated


class LlamaDecoder:
    """`LlamaForCausalLM` computed natively: training forward, prefill and steps with a static cache.

    `dtype` is that of the matrix products (the weights keep their own). Norms, attention and the residual stream stay
    in float32. Raises `ValueError` for a variant that this does not compute (`supports` says which).
    """

    def __init__(self, model: Any, dtype: torch.dtype | None = None) -> None:
        if reason := unsupported(model.config):
            raise ValueError(f"this Llama is not computed natively: {reason}; use the transformers forward")
        config = model.config
        self.model = model
        self.dtype = dtype or torch.float32
        self.vocab_size = int(config.vocab_size)
        self.max_length = int(config.max_position_embeddings)
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.scale = self.head_dim**-0.5
        self.eps = config.rms_norm_eps
        frequencies = model.model.rotary_emb.inv_freq.float()
        angles = torch.arange(self.max_length, device=frequencies.device)[:, None] * frequencies  # (time, head_dim / 2)
        self.cos, self.sin = angles.cos(), angles.sin()
        self._fused: list[dict[str, Tensor]] | None = None

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.lm_head.weight.device
        return device

    def refresh(self) -> None:
        """Forget the fused inference weights: call it after the model's weights changed."""
        self._fused = None

    # ---------------------------------------------------------------- training: the whole sequence at once

    def logits(self, tokens: Tensor, start: int = 0, group: int = 1) -> Tensor:
        """Logits (rows, time - start, vocab), float32, of `tokens` (rows, time), padded on the right.

        The logits at position t predict token t + 1. With `group` above 1, rows g*group to (g+1)*group - 1 must share
        `tokens[:, :start]`, which is then computed once for all of them.
        """
        rows, time = tokens.shape
        prompts, own = rows // group, time - start
        shared = prompts * start  # how many of the flattened positions are prompt positions
        flat = torch.cat([tokens[::group, :start].reshape(-1), tokens[:, start:].reshape(-1)])
        embedding = self.model.model.embed_tokens
        x = F.embedding(flat, embedding.weight, embedding.padding_idx).float()  # (position, width)
        layers = self.model.model.layers
        for layer in layers:
            a, last = layer.self_attn, layer is layers[-1]
            y = Norm.apply(x, layer.input_layernorm.weight, self.eps, self.dtype)
            qkv = self._linear(y, torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight])).float()
            attended = self._attend(qkv, prompts, start, group, own, last)
            if last:
                x = x.split([shared, rows * own])[1]
            x = x + self._linear(attended.to(self.dtype), a.o_proj.weight)
            y = Norm.apply(x, layer.post_attention_layernorm.weight, self.eps, self.dtype)
            gated = F.silu(self._linear(y, layer.mlp.gate_proj.weight)) * self._linear(y, layer.mlp.up_proj.weight)
            x = x + self._linear(gated, layer.mlp.down_proj.weight)
        x = Norm.apply(x, self.model.model.norm.weight, self.eps, self.dtype)
        return self._linear(x, self.model.lm_head.weight).float().view(rows, own, -1)

    def _linear(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight.to(self.dtype))

    def _attend(self, qkv: Tensor, prompts: int, start: int, group: int, own: int, last: bool) -> Tensor:
        """Causal attention of the prompts among themselves, and of every row over its prompt and itself.

        `qkv` is (position, query, key and value heads); so is the result, in the last layer without prompt positions.
        """
        rows, repeat = prompts * group, self.heads // self.kv_heads
        of_prompts, of_rows = qkv.split([prompts * start, rows * own])
        q, k, v = self._split_heads(of_rows, rows, own, start)
        # (row x kv head, repeat x time, time)
        scores = torch.baddbmm(causal(own, q).repeat(repeat, 1), q, k.transpose(1, 2), alpha=self.scale)
        if not start:
            return self._join_heads(torch.bmm(scores.softmax(-1), v), rows, own)
        q_prompt, k_prompt, v_prompt = self._split_heads(of_prompts, prompts, start, 0)
        to_prompt = torch.bmm(self._by_prompt(q, group), k_prompt.transpose(1, 2)) * self.scale
        weights = torch.cat([self._by_row(to_prompt, group, q.shape[1]), scores], -1).softmax(-1)
        on_prompt, on_own = weights.split([start, own], -1)
        from_prompt = self._by_row(torch.bmm(self._by_prompt(on_prompt, group), v_prompt), group, q.shape[1])
        attended = self._join_heads(torch.baddbmm(from_prompt, on_own, v), rows, own)
        if last:
            return attended
        mask = causal(start, q).repeat(repeat, 1)
        among = torch.baddbmm(mask, q_prompt, k_prompt.transpose(1, 2), alpha=self.scale).softmax(-1)
        return torch.cat([self._join_heads(torch.bmm(among, v_prompt), prompts, start), attended])

    def _split_heads(self, qkv: Tensor, rows: int, time: int, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries (row x kv head, repeat x time, head_dim), rotated keys, values (row x kv head, time, ...)."""
        kv, repeat = self.kv_heads, self.heads // self.kv_heads
        cos, sin = self.cos[first : first + time], self.sin[first : first + time]
        parts = qkv.split([self.heads * self.head_dim, kv * self.head_dim, kv * self.head_dim], -1)
        q, k, v = (part.view(rows, time, -1, self.head_dim).transpose(1, 2) for part in parts)
        q = Rotate.apply(q.reshape(rows * kv, repeat, time, self.head_dim), cos, sin).flatten(1, 2)
        k = Rotate.apply(k.reshape(rows * kv, time, self.head_dim), cos, sin)
        return q, k, v.reshape(rows * kv, time, self.head_dim)

    def _join_heads(self, x: Tensor, rows: int, time: int) -> Tensor:
        return x.view(rows, self.heads, time, self.head_dim).transpose(1, 2).reshape(rows * time, -1)

    def _by_prompt(self, x: Tensor, group: int) -> Tensor:
        """(row x kv head, n, m) -> (prompt x kv head, group x n, m): one product for all rows of a prompt."""
        _, n, m = x.shape
        return x if group == 1 else x.view(-1, group, self.kv_heads, n, m).transpose(1, 2).reshape(-1, group * n, m)

    def _by_row(self, x: Tensor, group: int, n: int) -> Tensor:
        """The way back: (prompt x kv head, group x n, m) -> (row x kv head, n, m)."""
        m = x.shape[-1]
        return x if group == 1 else x.view(-1, self.kv_heads, group, n, m).transpose(1, 2).reshape(-1, n, m)

    # ---------------------------------------------------------------- inference: a static cache, one token per step

    def new_cache(self, rows: int, length: int) -> Cache:
        """Room for `rows` sequences of up to `length` tokens."""
        one = self.model.lm_head.weight.new_zeros(1, self.kv_heads, 1, self.head_dim, dtype=self.dtype)
        return Cache(lambda room: one.expand(-1, -1, room, -1), self.model.config.num_hidden_layers, length, rows)

    @torch.no_grad()
    def prefill(self, tokens: Tensor, cache: Cache, padding: Tensor | None = None) -> Tensor:
        """Read prompts (rows, time), left-padded by `padding` (rows,); logits (rows, vocab) at the last position.

        Give every row at least one token of its own.
        """
        if padding is not None and bool(padding.any()):
            cache.padding = padding
        return self._advance(tokens, cache)

    @torch.no_grad()
    def step(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Append `tokens` (rows,) and give the logits (rows, vocab) of what follows."""
        return self._advance(tokens[:, None], cache)

    def _advance(self, tokens: Tensor, cache: Cache) -> Tensor:
        rows, time = tokens.shape
        first, length = cache.length, cache.length + time
        room = min(cache.capacity, self.max_length)
        if length > room:
            raise ValueError(
                f"{length} tokens do not fit: the cache holds {cache.capacity}, the model {self.max_length}"
            )
        cos, sin = self.cos[first:length], self.sin[first:length]
        x = self.model.model.embed_tokens.weight[tokens].float()  # (rows, time, width)
        layers = self._weights()
        for i, weights in enumerate(layers):
            qkv = F.linear(self._normed(x), weights["qkv"]).view(rows, time, -1, self.head_dim).transpose(1, 2)
            q, k, v = qkv.split([self.heads, self.kv_heads, self.kv_heads], 1)
            keys, values = cache.write(i, rotated(k, cos, sin), v)
            if i == len(layers) - 1:  # only the last position is asked for
                q, x, time = q[:, :, -1:], x[:, -1:], 1
            q = rotated(q, cos[-time:], sin[-time:]).reshape(rows * self.kv_heads, -1, self.head_dim)
            scores = torch.bmm(q, keys.transpose(1, 2)).float().mul_(self.scale).view(rows, self.heads, time, -1)
            weight = self._visible(scores, cache, length).softmax(-1).to(values.dtype)
            attended = torch.bmm(weight.view(rows * self.kv_heads, -1, weight.shape[-1]), values)
            attended = attended.view(rows, self.heads, time, self.head_dim).transpose(1, 2).reshape(rows, time, -1)
            x += F.linear(attended, weights["o"])
            gate, up = F.linear(self._normed(x), weights["gate_up"]).chunk(2, -1)
            x += F.linear(F.silu(gate).mul_(up), weights["down"])
        cache.length = length
        return F.linear(self._normed(x[:, -1]), self._head).float()

    def _visible(self, scores: Tensor, cache: Cache, length: int) -> Tensor:
        """Attention `scores` (rows, heads, time, room) with minus infinity ahead of each query and at padding."""
        time = scores.shape[2]
        scores[..., length:] = -torch.inf
        if time > 1:
            scores[..., :length] += torch.full((time, length), -torch.inf, device=scores.device).triu_(
                length - time + 1
            )
        if cache.padding is not None:
            behind = torch.arange(length, device=scores.device) < cache.padding[:, None]  # (row, length)
            # A query inside the padding sees nothing at all; what it gives is never read, but must not be NaN.
            scores[..., :length].masked_fill_(behind[:, None, None], torch.finfo(scores.dtype).min)
        return scores

    def _normed(self, x: Tensor) -> Tensor:
        """RMS-normalised, without the weight, which the next matrix has taken in."""
        scale = torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(self.eps).rsqrt_()
        return (x * scale.unsqueeze(-1)).to(self.dtype)

    def _weights(self) -> list[dict[str, Tensor]]:
        """Per layer, fused and in the compute dtype; made once, until `refresh`."""
        if self._fused is None:
            with torch.no_grad():
                self._fused = [self._fuse(layer) for layer in self.model.model.layers]
                self._head = (self.model.lm_head.weight * self.model.model.norm.weight).to(self.dtype)
        return self._fused

    def _fuse(self, layer: Any) -> dict[str, Tensor]:
        a, mlp = layer.self_attn, layer.mlp
        before, after = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        qkv = torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]) * before
        gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]) * after
        fused = {"qkv": qkv, "o": a.o_proj.weight, "gate_up": gate_up, "down": mlp.down_proj.weight}
        return {name: weight.to(self.dtype) for name, weight in fused.items()}


def unsupported(config: Any) -> str:
    """Why `LlamaDecoder` cannot compute a model of this configuration; empty when it can."""
    if config.model_type != "llama":
        return f"its type is {config.model_type!r}"
    if config.hidden_act != "silu":
        return f"its activation is {config.hidden_act!r}"
    if getattr(config, "attention_dropout", 0.0):
        return "it has attention dropout"
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        return "its projections have biases"
    if config.rope_parameters["rope_type"] != "default":
        return f"its rotary embedding is {config.rope_parameters['rope_type']!r}"
    return ""
