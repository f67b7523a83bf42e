"""Trains every model of one frequency law as one program: widths x weight decays x decoders x seeds.

The toy model (Liu, Liu, Gore 2025, Eq. 1-3):  h = W^T x,  y = relu(W h + b),  L = E|y - x|^2.

One-model-at-a-time training spends its time on dense random numbers and on elementwise passes over
(batch, feature) arrays. Here all models of a seed see the same batch, as sparse entries, and the gradient
is written by hand, so that the only dense work left is three matrix products and one clamp per model:

- the bias is a last row of the weights beside a constant 1 in h, so no pass adds or sums it;
- x is subtracted from y only where x is not zero; elsewhere y itself is the residual;
- the encoder's half of the gradient touches only active features;
- the weights of all models lie in one (row, feature) buffer, so that encoding, Adam and decay are one
  operation each, whatever the number of models. Rows are hidden units: this order keeps every product wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from evolm.findings.superposition.data import SparseBatch, SparseBatches, frequencies

Decoder = Literal["relu", "linear", "frozen"]
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
WARMUP, FINAL_LR = 0.1, 0.05  # the paper's schedule: linear warm-up over a tenth, cosine to 5 %


@dataclass(frozen=True)
class ToyModel:
    """One model of the grid. `decay` < 0 pulls row norms towards 1, > 0 towards 0 (paper, Eq. 5).

    `decoder`: "relu" is the paper's; "linear" drops the ReLU; "frozen" keeps random unit directions and
    trains only a gain per feature and the bias.
    """

    width: int
    decay: float
    decoder: Decoder = "relu"
    bias_std: float = 1.0


@dataclass(frozen=True)
class Training:
    """What all models of one program share."""

    n: int
    alpha: float
    batch_size: int
    steps: int
    lr: float
    density: float = 1.0


def lr_at(step: int, steps: int, peak: float) -> float:
    """Learning rate of step `step` (from 0) of `steps`: linear warm-up, then cosine to 5 % of `peak`."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (FINAL_LR + (1 - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * progress)))


def initial_weights(model: ToyModel, n: int, seed: int) -> Tensor:
    """(width + 1, n): W ~ N(0, 1/m) above, b ~ N(0, bias_std^2) as last row.

    Models of one width share W and the bias's direction, whatever their decay: arms are paired within a seed.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + model.width)
    w = torch.randn(n, model.width, generator=generator, dtype=torch.float64) / math.sqrt(model.width)
    b = torch.randn(n, 1, generator=generator, dtype=torch.float64) * model.bias_std
    if model.decoder == "frozen":
        w = w / w.norm(dim=1, keepdim=True)
    return torch.cat([w, b], dim=1).T.contiguous()


class Program:
    """Weights, gradients and Adam state of all models and seeds, and one training step over all of them.

    `weights` is (seed, row, feature); model k owns `rows[k]`, the last of them its bias.
    """

    def __init__(
        self,
        models: Sequence[ToyModel],
        training: Training,
        seeds: Sequence[int],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.models, self.training, self.seeds = tuple(models), training, tuple(seeds)
        self.rows, stop = [], 0
        for model in models:
            self.rows.append(slice(stop, stop := stop + model.width + 1))
        initial = [torch.cat([initial_weights(model, training.n, seed) for model in models]) for seed in seeds]
        self.weights = torch.stack(initial).to(device, dtype)  # (seed, row, feature)
        self.grad, self.momentum, self.variance, self._update = (torch.zeros_like(self.weights) for _ in range(4))
        batch = (len(seeds), stop, training.batch_size)
        self._h, self._dh = torch.empty(batch).to(self.weights), torch.empty(batch).to(self.weights)
        self._y = torch.empty(len(seeds), training.batch_size, training.n).to(self.weights)  # (seed, batch, feature)
        p = frequencies(training.n, training.alpha, training.density)
        self._streams = [iter(SparseBatches(p, training.batch_size, [seed, 1])) for seed in seeds]
        self._prepare_views()
        self._prepare_decay()
        self._bias_rows = torch.tensor([rows.stop - 1 for rows in self.rows], device=device)
        self._directions = {  # of the frozen models; their gain is the weight's length along its direction
            k: self.weights[:, rows.start : rows.stop - 1].clone()
            for k, rows in enumerate(self.rows)
            if models[k].decoder == "frozen"
        }
        self.steps_done = 0

    def _prepare_views(self) -> None:
        """Each model's part of every buffer, cut once: at these sizes cutting costs as much as multiplying."""
        alone = len(self.seeds) == 1
        self._multiply = torch.mm if alone else torch.bmm

        def views(buffer: Tensor) -> tuple[Tensor, Tensor]:
            part = buffer[0] if alone else buffer
            return part, part.transpose(-1, -2)

        self._y_views = views(self._y)
        self._views = [
            (views(self.weights[:, r])[0], *views(self._h[:, r]), views(self.grad[:, r])[0], views(self._dh[:, r])[0])
            for r in self.rows
        ]

    def _prepare_decay(self) -> None:
        owner = [k for k, rows in enumerate(self.rows) for _ in range(rows.start, rows.stop)]
        self._owner = torch.tensor(owner, device=self.weights.device)  # (row,) -> model
        self._owns = torch.zeros(len(self.models), len(owner)).to(self.weights)  # (model, row) bias rows left out
        for k, rows in enumerate(self.rows):
            self._owns[k, rows.start : rows.stop - 1] = 1
        decay = torch.tensor([0.0 if m.decoder == "frozen" else m.decay for m in self.models]).to(self.weights)
        self._decay = decay[:, None]  # (model, 1)
        self._is_weight = self._owns.sum(0)[:, None]  # (row, 1)

    def train(self, progress: Callable[[int], None] | None = None) -> Program:
        """Runs all steps; `progress` hears every hundred steps how many more are done."""
        torch.set_flush_denormal(True)  # Adam's second moment decays into denormals, which are slow
        try:
            for step in range(self.training.steps):
                self.step(lr_at(step, self.training.steps, self.training.lr))
                if progress and (step + 1) % 100 == 0:
                    progress(100)
        finally:
            torch.set_flush_denormal(False)
        return self

    @torch.no_grad()
    def step(self, lr: float) -> None:
        self.gradient([next(stream) for stream in self._streams])
        self._adam(lr)
        self._apply_decay(lr)

    @torch.no_grad()
    def gradient(self, batches: Sequence[SparseBatch]) -> None:
        """Fills `grad` with the derivative of the batch mean of |y - x|^2, for every model and seed."""
        sample, feature, value = self._join(batches)  # each (entry,); sample and feature count through the seeds
        self._encode(sample, feature, value)
        position = sample * self.training.n + feature % self.training.n
        flat, y, y_t, multiply = self._y.view(-1), *self._y_views, self._multiply
        for model, (w, h, h_t, grad, dh) in zip(self.models, self._views, strict=True):
            multiply(h_t, w, out=y)
            if model.decoder != "linear":
                y.clamp_(min=0)
            active = flat.index_select(0, position)
            slope = 1 if model.decoder == "linear" else active.sign()  # derivative of the ReLU
            flat.index_copy_(0, position, active - value * slope)  # y is now the residual, times that derivative
            multiply(h, y, out=grad)
            multiply(w, y_t, out=dh)
        self._add_encoder_gradient(sample, feature, value)
        self.grad.mul_(2 / self.training.batch_size)
        for k, u in self._directions.items():  # every row of a frozen model carries the gain's gradient
            inside = self.grad[:, self.rows[k].start : self.rows[k].stop - 1]
            inside.copy_((inside * u).sum(1, keepdim=True).expand_as(inside))

    def _join(self, batches: Sequence[SparseBatch]) -> tuple[Tensor, Tensor, Tensor]:
        size, n, device = self.training.batch_size, self.training.n, self.weights.device
        sample = [torch.from_numpy(b.rows + s * size) for s, b in enumerate(batches)]
        feature = [torch.from_numpy(b.features + s * n) for s, b in enumerate(batches)]
        value = torch.cat([torch.from_numpy(b.values) for b in batches]).to(self.weights)
        return torch.cat(sample).to(device), torch.cat(feature).to(device), value

    def _encode(self, sample: Tensor, feature: Tensor, value: Tensor) -> None:
        seeds, total, size = self._h.shape
        by_feature = self.weights.transpose(1, 2).reshape(-1, total)  # (seed * feature, row)
        h = self.weights.new_zeros(seeds * size, total)
        h.index_add_(0, sample, by_feature.index_select(0, feature).mul_(value[:, None]))
        self._h.copy_(h.view(seeds, size, total).transpose(1, 2))
        self._h.index_fill_(1, self._bias_rows, 1)

    def _add_encoder_gradient(self, sample: Tensor, feature: Tensor, value: Tensor) -> None:
        seeds, total, _ = self._h.shape
        self._dh.index_fill_(1, self._bias_rows, 0)  # the constant 1 does not depend on any weight
        dh = self._dh.transpose(1, 2).reshape(-1, total).index_select(0, sample).mul_(value[:, None])
        by_feature = self.weights.new_zeros(seeds * self.training.n, total).index_add_(0, feature, dh)
        self.grad.add_(by_feature.view(seeds, self.training.n, total).transpose(1, 2))

    def _adam(self, lr: float) -> None:
        self.steps_done += 1
        self.momentum.lerp_(self.grad, 1 - BETA1)
        self.variance.mul_(BETA2).addcmul_(self.grad, self.grad, value=1 - BETA2)
        correction = math.sqrt(1 - BETA2**self.steps_done)
        torch.sqrt(self.variance, out=self._update).add_(EPSILON * correction)
        torch.div(self.momentum, self._update, out=self._update)
        for k, u in self._directions.items():
            self._update[:, self.rows[k].start : self.rows[k].stop - 1].mul_(u)
        self.weights.add_(self._update, alpha=-lr * correction / (1 - BETA1**self.steps_done))

    def _apply_decay(self, lr: float) -> None:
        """W_i -= lr * decay * W_i for decay >= 0, and lr * decay * W_i (1/|W_i| - 1) below: an attractor at norm 1."""
        norms = torch.matmul(self._owns, torch.square(self.weights)).sqrt_().clamp_(min=1e-12)  # (seed, model, feature)
        factor = torch.where(self._decay >= 0, 1 - lr * self._decay, 1 - lr * self._decay * (1 / norms - 1))
        factor = factor.expand_as(norms).index_select(1, self._owner)
        self.weights.mul_(torch.where(self._is_weight > 0, factor, 1))
