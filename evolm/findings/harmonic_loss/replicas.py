"""Trains many small classifiers as one program: heads x learning rates x decays x seeds.

    nets = Replicas([16, 32], arms, seeds=[0, 1], tokens=31, places=2)   # two hidden layers behind an embedding
    nets.step(inputs, answers)                                           # (seed, batch, place), (seed, batch)

One network after another spends its time on starting operations, since each is tiny. Here each weight of all replicas
is one tensor (replica, ...), replicas lying arm by arm and within an arm seed by seed, so that a layer is one batched
product. All arms of a seed share their first weights and their batches, which pairs them. Only heads differ, and each
is computed for the arms that have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from evolm.heads.harmonic import distance_logits
from evolm.heads.matmul import cholesky_factor

Form = Literal["dot", "normalised", "softmax", "harmonic"]
BETAS, EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class Head:
    """How class vectors and features give logits, and the one knob of each form.

    `dot`: cross-entropy's inner product, times `knob`. `normalised`: the cosine, times `knob`. `softmax`: minus the
    distance to the `power`, times `knob`. `harmonic`: minus `knob` times the logarithm of the distance, so that softmax
    over it is d^-n over its sum with n = `knob` (Baek et al. 2025, Eq. 3).
    """

    form: Form = "dot"
    knob: float = 1.0
    distance: str = "euclidean"
    power: Literal[1, 2] = 2


@dataclass(frozen=True)
class Arm:
    """A head with its learning rate, and its decay as AdamW takes it: p -= lr * decay * p.

    `tied`: class vectors are the embedding. They begin as `first` does: standard normal, as torch's `Embedding`, or
    uniform within one over the root of the width, as the head's `Linear`, which are seven times smaller at width 16.
    """

    head: Head
    lr: float
    decay: float = 0.0
    tied: bool = True
    first: Literal["embedding", "head"] = "embedding"


class Replicas:
    """Weights and AdamW state of all arms and seeds.

    `layers` are the widths of the layers, SiLU behind each but the last, whose output the head compares with the class
    vectors; without any the input itself is. With `tokens` the input is `places` tokens, each embedded in as many
    dimensions as the last layer has, and the class vectors are the embedding (arm `tied`) or `classes` rows of their
    own; else it is `places` numbers.
    """

    def __init__(
        self,
        layers: Sequence[int],
        arms: Sequence[Arm],
        seeds: Sequence[int],
        *,
        places: int,
        classes: int,
        tokens: int | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.arms, self.seeds, self.tokens, self.classes = tuple(arms), tuple(seeds), tokens, classes
        self.weights = _initial(layers, seeds, places, classes, tokens, len(arms), device, dtype)
        self.depth = len(layers)
        if tokens is not None:
            self._begin_as_heads([arm.tied and arm.first == "head" for arm in arms])
        if any(arm.head.distance == "mahalanobis" for arm in arms):
            width = self.weights["head"].shape[-1]  # a factor of the precision matrix, at first the identity
            self.weights["metric"] = self.weights["head"].new_zeros(len(self), width, width).requires_grad_()
        self.momentum = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        self.variance = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        self._lr = self._per_replica([arm.lr for arm in arms])
        self._shrink = self._lr * self._per_replica([arm.decay for arm in arms])
        tied = self._per_replica([tokens is not None and arm.tied for arm in arms])
        self._tied = tied.bool()
        self._runs = _runs([arm.head for arm in arms], len(seeds))
        self.steps_done = 0

    def __len__(self) -> int:
        return len(self.arms) * len(self.seeds)

    def _per_replica(self, values: Sequence[float]) -> Tensor:
        like = next(iter(self.weights.values()))
        return torch.tensor(values).to(like).repeat_interleave(len(self.seeds)).view(-1, 1, 1)

    @torch.no_grad()
    def _begin_as_heads(self, chosen: Sequence[bool]) -> None:
        """The embedding of these arms begins as their head's own weights do."""
        if not any(chosen):
            return
        if self.tokens != self.classes:
            raise ValueError(f"{self.tokens} tokens cannot begin as {self.classes} class vectors: their numbers differ")
        embedding, head = self.weights["embedding"], self.weights["head"]
        embedding.copy_(torch.where(self._per_replica(chosen).bool(), head, embedding))

    def class_vectors(self) -> Tensor:
        """(replica, class, width): rows of the embedding where tied, else the head's own."""
        if self.tokens is None or not self._tied.any():
            return self.weights["head"]
        embedding = self.weights["embedding"]
        if self._tied.all():
            return embedding
        return torch.where(self._tied, embedding, self.weights["head"])

    def features(self, inputs: Tensor) -> Tensor:
        """(replica, batch, width) of `inputs` (seed, batch, place), the same for every arm."""
        copies = len(self.arms)
        if self.tokens is None:
            x = inputs.repeat(copies, 1, 1)  # (replica, batch, place)
        else:
            embedding = self.weights["embedding"]  # (replica, token, width)
            first = torch.arange(len(self), device=inputs.device).view(-1, 1, 1) * self.tokens
            x = F.embedding(inputs.repeat(copies, 1, 1) + first, embedding.view(-1, embedding.shape[-1])).flatten(2)
        for layer in range(self.depth):
            x = torch.baddbmm(self.weights[f"b{layer}"], x, self.weights[f"w{layer}"])
            x = F.silu(x) if layer < self.depth - 1 else x
        return x

    def logits(self, features: Tensor) -> Tensor:
        """(replica, batch, class), each run of arms with one head at once."""
        vectors, metric = self.class_vectors(), self.weights.get("metric")
        parts = [head(features[run], vectors[run], None if metric is None else metric[run]) for run, head in self._runs]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def loss(self, inputs: Tensor, answers: Tensor) -> Tensor:
        """(replica,): mean loss over a batch, in nats; `answers` is (seed, batch)."""
        logits = self.logits(self.features(inputs))
        wanted = answers.repeat(len(self.arms), 1)  # (replica, batch)
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted).mean(1)

    def step(self, inputs: Tensor, answers: Tensor, rate: float = 1.0) -> None:
        """One AdamW update of every replica on its seed's batch, at the share `rate` of each arm's learning rate."""
        # The sum of means: a replica's gradient is that of its own loss.
        total = self.loss(inputs, answers).sum()
        gradients = torch.autograd.grad(total, list(self.weights.values()), allow_unused=True)
        self.steps_done += 1
        first, second = (1 - beta**self.steps_done for beta in BETAS)
        with torch.no_grad():
            for (name, weight), gradient in zip(self.weights.items(), gradients, strict=True):
                if gradient is None:
                    continue
                self.momentum[name].lerp_(gradient, 1 - BETAS[0])
                self.variance[name].mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
                update = self.variance[name].div(second).sqrt_().add_(EPSILON).reciprocal_().mul_(self.momentum[name])
                weight.mul_(1 - rate * self._shrink).sub_(update.mul_(self._lr * (rate / first)))

    @torch.no_grad()
    def evaluate(self, inputs: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and accuracy, each (replica,), over all of a part."""
        logits = self.logits(self.features(inputs))
        wanted = answers.repeat(len(self.arms), 1)
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted).mean(1)
        return loss, (logits.argmax(-1) == wanted).to(logits).mean(1)

    @torch.no_grad()
    def norm(self) -> Tensor:
        """(replica,): Frobenius norm of all weights that bear the function, biases included."""
        squares = {name: weight.square().sum((1, 2)) for name, weight in self.weights.items()}  # (replica,)
        squares["head"] = squares["head"].masked_fill(self._tied.flatten(), 0)
        return torch.stack(list(squares.values())).sum(0).sqrt()


def _initial(
    layers: Sequence[int],
    seeds: Sequence[int],
    places: int,
    classes: int,
    tokens: int | None,
    arms: int,
    device: str,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """torch's own initialisation of `Embedding` and `Linear`, drawn from each seed and repeated for each arm."""
    width = layers[-1] if layers else places
    sizes = [places if tokens is None else places * width, *layers]
    drawn: dict[str, list[Tensor]] = {}
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + 7)

        def uniform(rows: int, columns: int, fan_in: int, generator: torch.Generator = generator) -> Tensor:
            bound = 1 / math.sqrt(fan_in)
            return (torch.rand(rows, columns, generator=generator, dtype=torch.float64) * 2 - 1) * bound

        if tokens is not None:
            normal = torch.randn(tokens, width, generator=generator, dtype=torch.float64)
            drawn.setdefault("embedding", []).append(normal)
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            drawn.setdefault(f"w{layer}", []).append(uniform(fan_in, fan_out, fan_in))
            drawn.setdefault(f"b{layer}", []).append(uniform(1, fan_out, fan_in))
        drawn.setdefault("head", []).append(uniform(classes, width, width))
    return {
        name: torch.stack(rows).to(device, dtype).repeat(arms, 1, 1).requires_grad_() for name, rows in drawn.items()
    }


Logits = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def _runs(heads: Sequence[Head], seeds: int) -> list[tuple[slice, Logits]]:
    """Neighbouring arms whose heads differ in numbers alone: the replicas they are, and what gives their logits."""
    found: list[tuple[slice, Logits]] = []
    start = 0
    for _, same in groupby(heads, key=lambda head: (head.form, head.distance, head.power)):
        run = list(same)
        stop = start + len(run) * seeds
        found.append((slice(start, stop), _logits(run, seeds)))
        start = stop
    return found


def _logits(heads: Sequence[Head], seeds: int) -> Logits:
    """Features (replica, batch, width), class vectors (replica, class, width) and metric -> (replica, batch, class)."""

    form, measure, power = heads[0].form, heads[0].distance, heads[0].power
    knobs = torch.tensor([head.knob for head in heads]).repeat_interleave(seeds).view(-1, 1, 1)

    def logits(x: Tensor, w: Tensor, metric: Tensor | None) -> Tensor:
        knob = knobs.to(x)
        if form == "dot":
            return torch.bmm(x, w.mT) * knob
        if form == "normalised":
            return torch.bmm(F.normalize(x, dim=-1), F.normalize(w, dim=-1).mT) * knob
        options: dict[str, Any] = {}
        if measure == "mahalanobis" and metric is not None:
            options["factor"] = cholesky_factor(metric)
        if form == "harmonic":
            return distance_logits(measure, x, w, exponent=knob, **options)
        return distance_logits(measure, x, w, form="softmax", temperature=1 / knob, power=power, **options)

    return logits
