"""The loop that trains a paper-scale model: what it costs first, then a log and a series of checkpoints.

    cost = estimate(model, data, settings)                   # parameters, and hours from a few timed updates
    log = train(model, data, settings, Output(Path("runs/harmonic"), run))

`training.csv` has a row every so many updates: step, loss, accuracy and grad_norm (means since the last row; the norm
before clipping), lr, seconds; and where a checkpoint was kept held_out_loss and held_out_accuracy. Checkpoints lie at
halves of the number of updates, `step-000125` to `step-001000`. Those of images hold `features.safetensors` as well,
with which `evolm measure geometry` finds accuracy, collapse and convexity. A run that was stopped is not resumed.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from evolm.findings.harmonic_loss.backbone_data import Data, Images, Pair
from evolm.findings.harmonic_loss.backbone_models import head_of, keep, logits_of, loss_and_hits
from evolm.lm.optimise import OptimiserSettings, build_optimiser, set_lr
from evolm.lm.train import BAR_AFTER, TrainingDiverged

LOG, FEATURES = "training.csv", "features.safetensors"
#: Updates that are timed, behind one that is not, and held-out examples whose features are kept.
TIMED, FEATURES_KEPT = 3, 1000


@dataclass(frozen=True)
class Output:
    """Where a run goes: its folder, what `backbone_models.reopened` needs to know of the model, and how often."""

    folder: Path
    run: dict[str, Any]
    tokenizer: Any = None
    log_every: int = 50
    checkpoints: int = 8


@dataclass(frozen=True)
class Cost:
    """What a run takes on the machine it was estimated on; held-out measurements are not in it."""

    parameters: int
    updates: int
    seconds_per_update: float

    @property
    def hours(self) -> float:
        return self.updates * self.seconds_per_update / 3600

    def __str__(self) -> str:
        hours = f"{self.hours:.1f} hours" if self.hours >= 0.1 else f"{3600 * self.hours:.0f} seconds"
        each = f"{self.seconds_per_update:.3g} s each here"
        return f"{self.parameters:,} parameters, {self.updates:,} updates ({each}): about {hours}"


def estimate(model: nn.Module, data: Data, settings: OptimiserSettings, *, bfloat16: bool = False) -> Cost:
    """The cost of training, from a few updates of a copy: `model` stays as it is."""
    tried = copy.deepcopy(model).train()
    optimiser = build_optimiser(tried, settings)
    seconds = []
    for step in range(TIMED + 1):
        begun = time.perf_counter()
        loss, _, _ = _update(tried, optimiser, data.batch(step), settings, bfloat16)
        float(loss)  # waits for a GPU
        seconds.append(time.perf_counter() - begun)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters, settings.steps, sum(seconds[1:]) / TIMED)


def checkpoint_steps(steps: int, count: int) -> list[int]:
    """The last update and its halves, at most `count`, ascending: steps/4, steps/2, steps."""
    return sorted({max(1, round(steps / 2**i)) for i in range(count)} | {steps})


def train(
    model: nn.Module, data: Data, settings: OptimiserSettings, output: Output, *, seed: int = 0, bfloat16: bool = False
) -> pd.DataFrame:
    """Train `model` in place, write log and checkpoints, and return the log.

    `seed` is that of dropout, where there is any; the order of the data is `data`'s. `bfloat16` is autocast. Raises
    `TrainingDiverged` where the loss is no number.
    """
    torch.manual_seed(seed)
    optimiser = build_optimiser(model.train(), settings)
    kept = set(checkpoint_steps(settings.steps, output.checkpoints))
    rows: list[dict[str, float]] = []
    since: list[tuple[Tensor, Tensor, Tensor]] = []
    begun = time.perf_counter()
    bar = tqdm(range(settings.steps), desc=output.folder.name, unit="update", delay=BAR_AFTER, leave=False)
    for step in bar:
        set_lr(optimiser, settings.lr_at(step))
        since.append(_update(model, optimiser, data.batch(step), settings, bfloat16))
        done = step + 1
        if done not in kept and done % output.log_every:
            continue
        means = torch.tensor([[float(value) for value in values] for values in since]).double().mean(0).tolist()
        row = {"step": done, **dict(zip(("loss", "accuracy", "grad_norm"), means, strict=True))}
        if not math.isfinite(means[0]):
            raise TrainingDiverged(f"the loss is {means[0]} by update {done}; lower the rate")
        row |= {"lr": settings.lr_at(step), "seconds": time.perf_counter() - begun}
        if done in kept:
            row |= held_out(model, data, bfloat16=bfloat16)
            _keep(model, data, output, done)
        rows.append(row)
        since = []
        _write(pd.DataFrame(rows), output.folder / LOG)
    return pd.DataFrame(rows)


@torch.no_grad()
def held_out(model: nn.Module, data: Data, *, bfloat16: bool = False) -> dict[str, float]:
    """held_out_loss, in nats, and held_out_accuracy over all answers that are held out, in eval mode."""
    total = torch.zeros(2, dtype=torch.float64)
    count = 0
    with _evaluating(model):
        for inputs, answers in data.held_out():
            with _autocast(inputs, bfloat16):
                found = loss_and_hits(model, inputs, answers)
            total += torch.stack(found).double().cpu() * answers.numel()
            count += answers.numel()
    loss, accuracy = (total / count).tolist()
    return {"held_out_loss": loss, "held_out_accuracy": accuracy}


@torch.no_grad()
def features_of(model: nn.Module, data: Data, most: int = FEATURES_KEPT) -> dict[str, Tensor]:
    """`features` (n, width) that the head reads of held-out images, `labels` (n,), and the head's own `predictions`."""
    seen: list[Tensor] = []
    hook = head_of(model).register_forward_pre_hook(lambda _, given: seen.append(given[0].float().cpu()))
    labels: list[Tensor] = []
    chosen: list[Tensor] = []
    try:
        with _evaluating(model):
            for inputs, answers in data.held_out():
                chosen.append(logits_of(model, inputs).argmax(-1).cpu())
                labels.append(answers.cpu())
                if sum(map(len, labels)) >= most:
                    break
    finally:
        hook.remove()
    parts = {"features": seen, "labels": labels, "predictions": chosen}
    return {name: torch.cat(each)[:most].contiguous() for name, each in parts.items()}


def _update(
    model: nn.Module, optimiser: Optimizer, batch: Pair, settings: OptimiserSettings, bfloat16: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """One update: loss, accuracy and gradient norm, which stay where they are so that nothing waits for a GPU."""
    inputs, answers = batch
    optimiser.zero_grad(set_to_none=True)
    with _autocast(inputs, bfloat16):
        loss, accuracy = loss_and_hits(model, inputs, answers)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip or float("inf"))
    optimiser.step()
    return loss.detach(), accuracy, norm.detach()


def _keep(model: nn.Module, data: Data, output: Output, step: int) -> None:
    folder = keep(output.folder / f"step-{step:06d}", model, output.run, output.tokenizer)
    if isinstance(data, Images):
        save_file(features_of(model, data), folder / FEATURES)


def _autocast(inputs: Tensor, bfloat16: bool) -> Any:
    return torch.autocast(inputs.device.type, torch.bfloat16, enabled=bfloat16)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _write(table: pd.DataFrame, path: Path) -> None:
    """So that an interruption leaves a whole table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    table.to_csv(temporary, index=False)
    os.replace(temporary, path)
