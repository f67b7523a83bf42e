"""The training loop that every supervised stage shares: next-token loss on the tokens that a mask names.

    settings = TrainSettings(steps=1400, batch_size=256, lr=4e-3, schedule="cosine", dtype="bfloat16")
    for snapshot in train_on_tokens(model, data, settings):
        snapshot.step, snapshot.log, snapshot.optimiser

What update `s` sees and draws depends on the seed and on `s` alone, so that a loop that starts at update `s` from the
weights and the optimiser state after `s` updates goes on exactly as one that was never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from pydantic import Field
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from tqdm import tqdm
from transformers import PreTrainedModel

from evolm.lm.forward import decoder_for
from evolm.lm.memory import fitting
from evolm.lm.optimise import (
    OptimiserSettings,
    build_optimiser,
    load_optimiser_tensors,
    optimiser_tensors,
    set_lr,
)
from evolm.lm.token_data import IGNORED, TokenData, order

#: Seconds of training after which a progress bar appears.
BAR_AFTER = 3.0


class TrainingDiverged(ArithmeticError):
    """The loss is no longer a number. The message says at which update."""


class TrainSettings(OptimiserSettings):
    """A supervised stage: how long, on what batches, at which precision, and what is kept."""

    batch_size: int = Field(gt=0, description="sequences per update, over all processes")
    seed: int = Field(default=0, ge=0, description="of the order of the data, and of dropout where there is any")
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="bfloat16 is autocast: weights and updates stay float32"
    )
    log_every: int = Field(default=10, gt=0, description="updates per row of the log")
    checkpoint_every: int = Field(default=0, ge=0, description="updates between checkpoints; 0 keeps the last alone")
    keep_optimiser: bool = Field(default=True, description="whether the last checkpoint holds the optimiser's state")


@dataclass(frozen=True)
class Snapshot:
    """The loop after `step` updates: its log and the optimiser's state. Training goes on: copy the model to keep it."""

    step: int
    log: pd.DataFrame
    optimiser: dict[str, Tensor]


def train_on_tokens(
    model: PreTrainedModel,
    data: TokenData,
    settings: TrainSettings,
    *,
    begin: int = 0,
    log: pd.DataFrame | None = None,
    optimiser: Mapping[str, Tensor] | None = None,
    accelerator: Any = None,
    label: str = "train",
    progress: bool = True,
) -> Iterator[Snapshot]:
    """Train `model` in place, yielding after every `checkpoint_every` updates and after the last.

    The loss is the mean cross-entropy, in nats, over a batch's masked tokens. A log row has step, tokens (read so far,
    padding aside), loss and grad_norm (means since the last row; the norm before clipping), lr, seconds, tokens_per_s.
    `begin`, `log` and `optimiser` go on from an earlier snapshot. With an `accelerate.Accelerator` every process
    takes its share of each batch. Where memory runs out a batch is taken in halves, with a warning. Raises
    `TrainingDiverged`, and ValueError for data that the model cannot read.
    """
    check_readable(model, data)
    step_of = _Update(model, data, settings, optimiser or {}, accelerator)
    meter = _Meter([] if log is None else log.to_dict("records"))
    bar = tqdm(
        total=settings.steps, initial=begin, desc=label, unit="step", delay=BAR_AFTER, leave=False, disable=not progress
    )
    was_training = model.training
    model.train()
    try:
        for step in range(begin, settings.steps):
            meter.add(*step_of(step))
            done = step + 1
            kept = done == settings.steps or (settings.checkpoint_every and done % settings.checkpoint_every == 0)
            if kept or done % settings.log_every == 0:
                bar.set_postfix(loss=f"{meter.close(done, settings.lr_at(step)):.3f}", refresh=False)
            bar.update()
            if kept:
                yield Snapshot(done, pd.DataFrame(meter.rows), step_of.state())
    finally:
        model.train(was_training)
        bar.close()


def check_readable(model: PreTrainedModel, data: TokenData) -> None:
    """Raises ValueError where `data` has token ids or lengths that `model` has no embedding or position for."""
    embedding: Any = model.get_input_embeddings()
    vocabulary, longest = embedding.weight.shape[0], getattr(model.config, "max_position_embeddings", None)
    low, high = int(data.tokens.min()), int(data.tokens.max())
    if low < 0 or high >= vocabulary:
        found = f"token id {low if low < 0 else high} is in the data, and the model embeds 0 to {vocabulary - 1}"
        raise ValueError(f"{found}; the data were encoded with another tokenizer")
    if longest is not None and data.tokens.shape[1] > longest:
        raise ValueError(f"sequences have {data.tokens.shape[1]} tokens and the model reads {longest}; shorten them")


class _Update:
    """One update of the weights: called with its number, it returns loss and gradient norm, and tokens read."""

    def __init__(
        self,
        model: PreTrainedModel,
        data: TokenData,
        settings: TrainSettings,
        state: Mapping[str, Tensor],
        accelerator: Any,
    ) -> None:
        self.model, self.settings, self.accelerator = model, settings, accelerator
        if accelerator is not None:
            model.to(accelerator.device)
        self.device = next(model.parameters()).device
        self.raw_optimiser = self.optimiser = build_optimiser(model, settings)
        load_optimiser_tensors(self.raw_optimiser, model, state)
        self.rank, self.processes, self.wrapped = 0, 1, model
        if accelerator is not None:
            self.wrapped, self.optimiser = accelerator.prepare(model, self.raw_optimiser)
            self.rank, self.processes = accelerator.process_index, accelerator.num_processes
        self.reduced = torch.bfloat16 if settings.dtype == "bfloat16" else None
        self.decoder = decoder_for(model, self.reduced)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.sequences, self.micro_batch = len(data), -(-settings.batch_size // self.processes)
        self.starts, self.lengths, self.bearing = data.starts, data.lengths, data.bearing
        self.tokens, self.targets = data.tokens.to(self.device), data.targets.to(self.device)

    def __call__(self, step: int) -> tuple[Tensor, Tensor, int]:
        batch = order(self.sequences, self.settings.batch_size, step, self.settings.seed)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            seed = int(np.random.SeedSequence([self.settings.seed, step, self.rank]).generate_state(1)[0])
            torch.manual_seed(seed) if devices else torch.default_generator.manual_seed(seed)
            loss = self._gradient(batch)
        norm = get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if self.settings.clip is not None:
            clip_grads_with_norm_(self.parameters, self.settings.clip, norm)
        set_lr(self.raw_optimiser, self.settings.lr_at(step))
        self.optimiser.step()
        return loss, norm, int(self.lengths[batch].sum())

    def _gradient(self, batch: np.ndarray[Any, Any]) -> Tensor:
        own, total = batch[self.rank :: self.processes], int(self.bearing[batch].sum())

        def accumulate(micro_batch: int) -> Tensor:
            self.optimiser.zero_grad(set_to_none=True)
            losses = [self._backward(own[i : i + micro_batch], total) for i in range(0, len(own), micro_batch)]
            return torch.stack(losses).sum()

        if self.accelerator is None:
            loss, self.micro_batch = fitting(accumulate, self.micro_batch)
            return loss
        return self.accelerator.reduce(accumulate(self.micro_batch), "sum")

    def _backward(self, rows: np.ndarray[Any, Any], total: int) -> Tensor:
        """Add to the gradient, and return, these rows' share of the batch's mean loss over `total` tokens."""
        start, length = int(self.starts[rows].min()), int(self.lengths[rows].max())
        index = torch.from_numpy(rows).to(self.device)
        logits = self._logits(self.tokens[index, : length - 1], start - 1)  # (rows, length - start, vocab)
        targets = self.targets[index, start:length]  # (rows, length - start)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum") / total
        if self.accelerator is None:
            loss.backward()
        else:  # its processes average their gradients, where the batch's mean is the sum of their shares
            self.accelerator.backward(loss * self.processes)
        return loss.detach()

    def _logits(self, tokens: Tensor, start: int) -> Tensor:
        if self.accelerator is None:
            return self.decoder.logits(tokens, start)
        # Through the wrapper, whose forward is what makes the processes' gradients meet.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.reduced is not None):
            logits: Tensor = self.wrapped(input_ids=tokens, use_cache=False).logits
        return logits[:, start:].float()

    def state(self) -> dict[str, Tensor]:
        return optimiser_tensors(self.raw_optimiser, self.model)


@dataclass
class _Meter:
    """Rows of the log, and what was measured since the last one; on a GPU nothing waits for it in between."""

    rows: list[dict[Any, Any]]
    losses: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    tokens: int = 0
    since: float = field(default_factory=time.perf_counter)

    def add(self, loss: Tensor, norm: Tensor, tokens: int) -> None:
        self.losses.append(loss)
        self.norms.append(norm)
        self.tokens += tokens

    def close(self, step: int, lr: float) -> float:
        """End a row after `step` updates, and return its loss."""
        losses, norms = torch.stack([*self.losses, *self.norms]).double().view(2, -1).cpu()
        if not bool(torch.isfinite(losses).all()):
            bad = step - len(losses) + int((~torch.isfinite(losses)).nonzero()[0]) + 1
            raise TrainingDiverged(
                f"the loss is {float(losses[bad - step - 1])} at update {bad}; lower lr or clip more"
            )
        now = time.perf_counter()
        last = self.rows[-1] if self.rows else {"tokens": 0, "seconds": 0.0}
        row = {"step": step, "tokens": last["tokens"] + self.tokens, "loss": float(losses.mean())}
        row |= {"grad_norm": float(norms.mean()), "lr": lr, "seconds": last["seconds"] + now - self.since}
        self.rows.append({**row, "tokens_per_s": self.tokens / (now - self.since)})
        self.losses, self.norms, self.tokens, self.since = [], [], 0, now
        return row["loss"]
