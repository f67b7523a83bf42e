"""Trains OLMoE models of one shape together on sequences of three tokens, each prefix computed once.

    program = Program([tiny_olmoe(shape, seed=0) for _ in range(4)], decay=[1.0, 0.0, 1.0, 1.0], frozen=[2])
    loss = program.step(tree, labels, lr=2e-3)          # labels: (replica, sequence)
    program.to_olmoe(0)                                 # the first replica as the library's class

The models are transformers' OLMoE to the last weight, and logits, router logits, loss and gradients are the library's
(tests say to what precision). What makes it faster: sequences [task, a, b] of a batch share their beginnings, and what
a causal model computes at a position depends on what precedes it alone, so there is one row per distinct prefix; all
experts are one product and those not chosen get a gate of zero, which at these widths is quicker than sorting rows by
expert; the last layer's experts run at the last position only; and replicas (arms of one seed, which see the same
sequences with labels of their own) are one batched product, which saves the cost of starting many small ones.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor
from transformers import OlmoeForCausalLM

from evolm.findings.grokking_pathways.model import NORM_EPS, ROPE_BASE
from evolm.findings.grokking_pathways.prefixes import LENGTH, Tree

BETAS, EPSILON = (0.9, 0.98), 1e-8


class Pass(NamedTuple):
    """What a forward pass gives; rows are those of the tree."""

    logits: Tensor  # (replica, leaf, vocabulary) at the last position
    router_logits: list[Tensor]  # of each layer, (replica, row, expert)
    outputs: list[Tensor]  # what each layer's experts add, (replica, leaf, width); empty unless asked for


class Program:
    """Weights of all replicas, one stacked tensor per weight of the model, and AdamW over them.

    `decay` and `aux` (the coefficient of load balancing) may differ between replicas; decay acts on matrices, not on
    norms' gains. The routers of the replicas in `frozen` never move.
    """

    def __init__(
        self,
        models: Sequence[OlmoeForCausalLM],
        decay: Sequence[float] | float = 0.0,
        aux: Sequence[float] | float = 0.01,
        frozen: Sequence[int] = (),
        device: str = "cpu",
    ) -> None:
        self.config: Any = models[0].config
        if any(_sizes(model.config) != _sizes(self.config) for model in models):
            raise ValueError("the models of one program must have one shape; train other shapes in another program")
        self.model = models[0]
        states = [dict(model.named_parameters()) for model in models]
        self.weights = {
            name: torch.stack([state[name].detach() for state in states]).to(device).requires_grad_()
            for name in states[0]
        }
        self.decay, self.aux = (
            torch.tensor(np.broadcast_to(value, len(models)).astype(np.float32), device=device)
            for value in (decay, aux)
        )
        self.moving = torch.ones(len(models), 1, 1, device=device)
        self.moving[list(frozen)] = 0
        self.optimiser = torch.optim.AdamW(
            list(self.weights.values()), betas=BETAS, eps=EPSILON, weight_decay=0.0, fused=True
        )
        self.rotation = _rotation(self.config.hidden_size // self.config.num_attention_heads, device)

    # --- forward -----------------------------------------------------------------------------------------------

    def forward(self, tree: Tree, outputs: bool = False) -> Pass:
        """Logits at the last position, and router logits of every row."""
        embedding = self.weights["model.embed_tokens.weight"]  # (replica, vocabulary, width)
        h = _rows(embedding, tree.tokens)  # (replica, row, width)
        routed, made = [], []
        last = self.config.num_hidden_layers - 1
        for layer in range(last + 1):
            h = h + self._attention(layer, self._normed(h, layer, "input_layernorm"), tree)
            x = self._normed(h, layer, "post_attention_layernorm")
            routed.append(x @ self._weight(layer, "mlp.gate").mT)  # (replica, row, expert)
            gated = routed[-1]
            if layer == last:  # nothing reads the other rows any more
                h, x, gated = (part[:, tree.starts[2] :] for part in (h, x, gated))
            moved = self._experts(layer, x, gated)
            if outputs:
                made.append(moved[:, -tree.leaves :])
            h = h + moved
        h = _rms(h, self.weights["model.norm.weight"])
        return Pass(h @ embedding.mT, routed, made)

    def _weight(self, layer: int, name: str) -> Tensor:
        return self.weights[f"model.layers.{layer}.{name}.weight"]

    def _normed(self, x: Tensor, layer: int, name: str) -> Tensor:
        return _rms(x, self._weight(layer, name))

    def _attention(self, layer: int, x: Tensor, tree: Tree) -> Tensor:
        weights = [self._weight(layer, f"self_attn.{name}_proj") for name in "qkv"]
        q, k, v = (x @ torch.cat(weights, 1).mT).chunk(3, -1)  # (replica, row, width)
        # Queries and keys take the same steps, so they take them as twice as many replicas.
        gains = torch.cat([self._weight(layer, f"self_attn.{name}_norm") for name in "qk"])
        both = _rms(torch.cat([q, k]), gains).unflatten(-1, (self.config.num_attention_heads, -1))
        cos, sin = (part[tree.depth][:, None] for part in self.rotation)  # (row, 1, half a head)
        q, k = _rotated(both, cos, sin).chunk(2)  # (replica, row, head, head width)
        kv = torch.cat([k, v.unflatten(-1, q.shape[2:])], -1)  # (replica, row, head, 2 * head width)
        reached = [(kv, 0)]
        for rows, start in ((tree.root, tree.starts[1]), (tree.parent, tree.starts[2])):
            reached.append((_rows(kv.flatten(2), rows).unflatten(-1, kv.shape[2:]), start))
        q = q * q.shape[-1] ** -0.5
        scores = []
        for there, start in reached:
            score = (q[:, start:] * there[..., : q.shape[-1]]).sum(-1)  # (replica, row, head)
            scores.append(F.pad(score, (0, 0, start, 0), value=float("-inf")) if start else score)
        shares = torch.stack(scores).softmax(0)
        mixed = shares[0][..., None] * kv[..., q.shape[-1] :]
        for share, (there, start) in zip(shares[1:], reached[1:], strict=True):
            mixed = mixed + F.pad(share[:, start:, :, None] * there[..., q.shape[-1] :], (0, 0, 0, 0, start, 0))
        return mixed.flatten(2) @ self._weight(layer, "self_attn.o_proj").mT

    def _experts(self, layer: int, x: Tensor, router_logits: Tensor) -> Tensor:
        """What the chosen experts add, (replica, row, width): each by its share of the softmax over all experts."""
        p = router_logits.softmax(-1)
        chosen = p.topk(self.config.num_experts_per_tok, -1).indices
        shares = p * torch.zeros_like(p).scatter_(-1, chosen, 1.0)  # (replica, row, expert)
        up = self.weights[f"model.layers.{layer}.mlp.experts.gate_up_proj"]  # (replica, expert, 2 * hidden, width)
        down = self.weights[f"model.layers.{layer}.mlp.experts.down_proj"]  # (replica, expert, width, hidden)
        # Two products, not one halved afterwards: what follows them is quicker on whole rows.
        gate, value = ((x @ part.flatten(1, 2).mT).unflatten(-1, part.shape[1:3]) for part in up.chunk(2, 2))
        hidden = F.silu(gate) * value * shares[..., None]  # (replica, row, expert, hidden)
        return hidden.flatten(2) @ down.transpose(2, 3).flatten(1, 2)

    # --- training ----------------------------------------------------------------------------------------------

    def losses(self, tree: Tree, labels: Tensor) -> tuple[Tensor, Tensor, Pass]:
        """Mean cross-entropy of `labels` (replica, leaf) in nats, and load-balancing loss, both (replica,)."""
        found = self.forward(tree)
        nats = F.cross_entropy(found.logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
        return nats.mean(1), self.balance(tree, found.router_logits), found

    def balance(self, tree: Tree, router_logits: list[Tensor]) -> Tensor:
        """The library's load-balancing loss, (replica,): experts x sum of share chosen x mean probability."""
        total = tree.weight.sum() * len(router_logits)
        chosen = mean = router_logits[0].new_zeros(())
        for logits in router_logits:
            p = logits.softmax(-1)
            top = p.detach().topk(self.config.num_experts_per_tok, -1).indices
            chosen = chosen + tree.weight @ torch.zeros_like(p).scatter_(-1, top, 1.0)
            mean = mean + tree.weight @ p
        return self.config.num_experts * (chosen * mean).sum(-1) / total**2

    def step(self, tree: Tree, labels: Tensor, lr: float, penalty: Penalty | None = None) -> Tensor:
        """One update of every replica: cross-entropy, load balancing and what `penalty` gives, (replica,).

        Returns the cross-entropy before the update, (replica,) in nats.
        """
        self.optimiser.zero_grad(set_to_none=True)
        nats, balance, found = self.losses(tree, labels)
        loss = nats + self.aux * balance
        if penalty is not None:
            loss = loss + penalty(tree, found, self)
        loss.sum().backward()
        self.update(lr)
        return nats.detach()

    @torch.no_grad()
    def update(self, lr: float) -> None:
        """AdamW with a decay per replica, from the gradients that are there."""
        shrink = 1 - lr * self.decay  # (replica,)
        for name, weight in self.weights.items():
            if name.endswith("mlp.gate.weight"):
                assert weight.grad is not None
                weight.grad *= self.moving
        matrices = [weight for weight in self.weights.values() if weight.dim() > 2]
        factors = [
            (torch.where(self.moving.flatten() > 0, shrink, 1.0) if name.endswith("mlp.gate.weight") else shrink).view(
                -1, *[1] * (weight.dim() - 1)
            )
            for name, weight in self.weights.items()
            if weight.dim() > 2
        ]
        torch._foreach_mul_(matrices, factors)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.step()

    @torch.no_grad()
    def routers(self) -> Tensor:
        """Router rows of every replica: (replica, layer, expert, width)."""
        layers = range(self.config.num_hidden_layers)
        return torch.stack([self._weight(layer, "mlp.gate") for layer in layers], 1)

    @torch.no_grad()
    def norm(self) -> Tensor:
        """Euclidean norm of all weights of each replica: (replica,)."""
        squares = [weight.flatten(1).square().sum(1) for weight in self.weights.values()]
        return torch.stack(squares).sum(0).sqrt()

    def to_olmoe(self, replica: int) -> OlmoeForCausalLM:
        """A copy of one replica as transformers' class."""
        model = copy.deepcopy(self.model)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self.weights[name][replica])
        return model


#: What is added to the loss of each replica, (replica,).
Penalty = Callable[[Tree, Pass, Program], Tensor]


def _sizes(config: Any) -> tuple[Any, ...]:
    names = (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_experts num_experts_per_tok"
    )
    return tuple(getattr(config, name) for name in names.split())


def _rms(x: Tensor, gain: Tensor) -> Tensor:
    """x / root mean square over the width, times each replica's gain: (replica, row, width)."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + NORM_EPS) * gain[:, None]


def _rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The halves of each head, (..., head width), turned against each other; angles are of one half."""
    low, high = heads.chunk(2, -1)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], -1)


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """(replica, chosen row, ...) of (replica, row, ...): an embedding, whose gradient is the quickest on a CPU."""
    replicas, count = x.shape[:2]
    offset = torch.arange(replicas, device=x.device)[:, None] * count
    return F.embedding(offset + rows, x.flatten(0, 1))


def _rotation(head_width: int, device: str) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles, (position, half a head)."""
    rates = ROPE_BASE ** -(torch.arange(0, head_width, 2, device=device) / head_width)
    angles = torch.arange(LENGTH, device=device)[:, None] * rates
    return angles.cos(), angles.sin()
