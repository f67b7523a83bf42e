"""Optimisers of the stages: typed settings, learning-rate schedules, and state as plain named tensors.

    optimiser = build_optimiser(model, settings)
    set_lr(optimiser, settings.lr_at(step)); optimiser.step()
    load_optimiser_tensors(optimiser, model, optimiser_tensors(optimiser, model))

The state is saved by parameter name ("exp_avg/model.norm.weight"), so that safetensors can hold it and a later stage
can go on from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.optim import Optimizer


class OptimiserSettings(BaseModel):
    """How weights are updated. Shared by every stage that trains."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    steps: int = Field(gt=0, description="number of updates")
    lr: float = Field(gt=0, allow_inf_nan=False, description="peak learning rate")
    schedule: Literal["constant", "cosine", "warmup"] = Field(
        default="constant", description="after the rise over warmup_steps: cosine falls to final_lr, the others stay"
    )
    warmup_steps: int = Field(default=0, ge=0, description="updates over which the learning rate rises linearly")
    final_lr: float = Field(default=0.0, ge=0, le=1, description="share of the peak at which the cosine ends")
    optimiser: Literal["adamw", "sgd"] = "adamw"
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="AdamW's decay rates of its two averages")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="of matrices, not of norms' gains")
    clip: float | None = Field(default=1.0, gt=0, description="largest norm of the gradient; none if None")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.schedule == "constant" and self.warmup_steps:
            raise ValueError(f"warmup_steps={self.warmup_steps} has no effect on schedule 'constant'; choose 'warmup'")
        if self.schedule == "warmup" and not self.warmup_steps:
            raise ValueError("schedule 'warmup' needs warmup_steps, the number of updates over which it rises")
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps={self.warmup_steps} of {self.steps} steps leaves none at the peak")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}; expected two numbers from 0 to below 1")
        if self.optimiser == "adamw" and self.momentum:
            raise ValueError("momentum is sgd's; with optimiser='adamw' set betas instead")
        return self

    def lr_at(self, step: int) -> float:
        """Learning rate of update `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        if self.schedule != "cosine":
            return self.lr
        progress = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        return self.lr * (self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * progress)))


def build_optimiser(model: torch.nn.Module, settings: OptimiserSettings) -> Optimizer:
    """The optimiser over the model's trainable parameters; weight decay acts on those of two dimensions or more."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError("the model has no parameter that requires a gradient; there is nothing to train")
    groups = [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)


def set_lr(optimiser: Optimizer, lr: float) -> None:
    """The learning rate of the next update, in every group."""
    for group in optimiser.param_groups:
        group["lr"] = lr


def optimiser_tensors(optimiser: Optimizer, model: torch.nn.Module) -> dict[str, Tensor]:
    """The optimiser's state, copied: one tensor per quantity and parameter, named "quantity/parameter"."""
    return {
        f"{quantity}/{name}": torch.as_tensor(value).detach().clone()
        for name, parameter in model.named_parameters()
        for quantity, value in optimiser.state.get(parameter, {}).items()
        if value is not None
    }


def load_optimiser_tensors(optimiser: Optimizer, model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Set the optimiser's state to `tensors` of `optimiser_tensors`. Raises ValueError where they are of another model.

    Settings are not touched: momentum and averages go on, learning rate and decay are the new stage's.
    """
    wanted = {"exp_avg", "exp_avg_sq", "step"} if isinstance(optimiser, torch.optim.AdamW) else {"momentum_buffer"}
    found = {name.partition("/")[0] for name in tensors}
    if tensors and found != wanted:
        raise ValueError(f"the kept optimiser state holds {sorted(found)}; this optimiser needs {sorted(wanted)}")
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if strangers := sorted({name.partition("/")[2] for name in tensors} - set(parameters)):
        raise ValueError(f"the kept optimiser state is of another model: this one does not train {strangers[0]}")
    for name, tensor in tensors.items():
        quantity, _, parameter_name = name.partition("/")
        parameter = parameters[parameter_name]
        if quantity != "step" and tensor.shape != parameter.shape:
            shapes = f"{tuple(tensor.shape)}, the parameter {tuple(parameter.shape)}"
            raise ValueError(f"the kept optimiser state is of another model: {name} has shape {shapes}")
        optimiser.state[parameter][quantity] = tensor.detach().clone().to(parameter.device)
