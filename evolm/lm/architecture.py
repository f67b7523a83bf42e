"""The suite's own small models: transformers' Llama and OLMoE at toy sizes, initialised from a seed.

    model = tiny_llama(vocab_size=34, seed=0)                  # 109k parameters: two layers of width 64
    model = tiny_llama(64, width=128, layers=4, heads=4, hidden=512, seed=0)          # 1.06M parameters
    model = tiny_olmoe(34, experts=8, experts_per_token=2, seed=0)

Both are the library's unchanged classes, so everything that opens a Llama or an OLMoE opens them. Token ids 0
to 3 are <pad> <bos> <eos> <sep>, as `evolm.lm.vocabulary.word_tokenizer` numbers them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from transformers import LlamaConfig, LlamaForCausalLM, OlmoeConfig, OlmoeForCausalLM, PreTrainedModel

from evolm.lm.vocabulary import BOS_ID, EOS_ID, PAD_ID

Model = TypeVar("Model", bound=PreTrainedModel)


def tiny_llama(
    vocab_size: int,
    width: int = 64,
    layers: int = 2,
    heads: int = 2,
    hidden: int = 192,
    context: int = 64,
    rope_base: float = 1000.0,
    init_std: float = 0.02,
    *,
    seed: int,
) -> LlamaForCausalLM:
    """A Llama with tied embeddings, float32 on the CPU, its weights drawn from `seed`.

    `width` is the residual stream's, `hidden` the feed-forward layer's; `context` is in tokens; weight matrices are
    normal with standard deviation `init_std`. The global random state stays as it was. Raises ValueError for sizes
    that make no model.
    """
    config = LlamaConfig(
        **_shared(vocab_size, width, layers, heads, hidden, context, rope_base, init_std),
        rms_norm_eps=1e-5,
    )
    return _initialised(lambda: LlamaForCausalLM(config), seed)


def tiny_olmoe(
    vocab_size: int,
    width: int = 64,
    layers: int = 2,
    heads: int = 2,
    hidden: int = 64,
    experts: int = 8,
    experts_per_token: int = 2,
    context: int = 64,
    rope_base: float = 1000.0,
    init_std: float = 0.02,
    *,
    seed: int,
) -> OlmoeForCausalLM:
    """An OLMoE with tied embeddings, as `tiny_llama`; `hidden` is the width of each of a layer's `experts`.

    Raises ValueError for sizes that make no model, more experts per token than experts among them.
    """
    if not 1 <= experts_per_token <= experts:
        raise ValueError(f"experts_per_token is {experts_per_token} of {experts} experts; expected 1 to {experts}")
    config = OlmoeConfig(
        **_shared(vocab_size, width, layers, heads, hidden, context, rope_base, init_std),
        num_experts=experts,
        num_experts_per_tok=experts_per_token,
    )
    return _initialised(lambda: OlmoeForCausalLM(config), seed)


def parameter_count(model: PreTrainedModel) -> int:
    """Number of trainable scalars, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _shared(
    vocab_size: int, width: int, layers: int, heads: int, hidden: int, context: int, rope_base: float, init_std: float
) -> dict[str, Any]:
    sizes = {"vocab_size": vocab_size, "width": width, "layers": layers, "heads": heads, "hidden": hidden}
    for name, value in {**sizes, "context": context, "rope_base": rope_base, "init_std": init_std}.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}; expected a positive number")
    if width % heads or (width // heads) % 2:
        found = f"width {width} with {heads} heads gives heads of {width / heads:g} dimensions"
        raise ValueError(f"{found}; rotary positions need an even whole number: change width or heads")
    if vocab_size <= EOS_ID:
        raise ValueError(f"vocab_size is {vocab_size}; expected at least {EOS_ID + 1}, for <pad>, <bos> and <eos>")
    return {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": hidden,
        "max_position_embeddings": context,
        "rope_parameters": {"rope_type": "default", "rope_theta": float(rope_base)},
        "initializer_range": init_std,
        "tie_word_embeddings": True,
        "pad_token_id": PAD_ID,
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
    }


def _initialised(build: Callable[[], Model], seed: int) -> Model:
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would also reseed every GPU, which the fork does not restore.
        torch.default_generator.manual_seed(seed)
        return build()
