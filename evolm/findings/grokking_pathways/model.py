"""The chapter's models: transformers' OLMoE at toy size, with the settings without which its router misleads.

    model = tiny_olmoe(Shape(vocabulary=44), seed=0)      # an OlmoeForCausalLM of 106k parameters

The library's pad token would freeze the embedding of a real token, so there is none; the load-balancing loss is absent
unless router logits are asked for, so they are; `grouped_mm` is its fastest implementation of experts on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import OlmoeConfig, OlmoeForCausalLM

#: Base of the rotary positions. Sequences are short, so the angles of the default 10,000 would all but vanish.
ROPE_BASE = 1000.0
NORM_EPS = 1e-5


@dataclass(frozen=True)
class Shape:
    """Sizes of a model. `hidden` is the width of each expert; one expert makes a dense model."""

    vocabulary: int
    width: int = 64
    layers: int = 3
    heads: int = 4
    experts: int = 8
    active: int = 2
    hidden: int = 16
    context: int = 3
    init_std: float = 0.08

    def __post_init__(self) -> None:
        if self.layers < 3:
            raise ValueError(
                f"{self.layers} layers have {max(0, self.layers - 1)} pairs of neighbours; consistency across layers "
                "needs at least 3 layers"
            )
        if not 1 <= self.active <= self.experts:
            raise ValueError(f"{self.active} active of {self.experts} experts; expected 1 to {self.experts}")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(
                f"width {self.width} with {self.heads} heads: rotary positions need heads of an even whole width"
            )

    def dense(self) -> Shape:
        """One expert, always chosen, as wide as all active ones together: the same number of active parameters."""
        return Shape(
            self.vocabulary, self.width, self.layers, self.heads, 1, 1, self.hidden * self.active, self.context,
            self.init_std,
        )  # fmt: skip


def tiny_olmoe(shape: Shape, *, aux: float = 0.01, seed: int) -> OlmoeForCausalLM:
    """An OLMoE with tied embeddings, float32 on the CPU, its weights drawn from `seed`.

    `aux` is the coefficient of the load-balancing loss. The global random state stays as it was.
    """
    config = OlmoeConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_experts=shape.experts,
        num_experts_per_tok=shape.active,
        max_position_embeddings=shape.context,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
        rms_norm_eps=NORM_EPS,
        initializer_range=shape.init_std,
        tie_word_embeddings=True,
        output_router_logits=True,
        router_aux_loss_coef=aux,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
    )
    config._experts_implementation = "grouped_mm"
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return OlmoeForCausalLM(config)
