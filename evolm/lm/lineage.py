"""Where a checkpoint comes from: its stage, its parent, its data and its settings, and the id they give it.

    lineage = Lineage(stage="finetune", parent=base.id, start=weights_hash(model), data=data.hash,
                      settings=settings.model_dump(mode="json"), steps=200)
    lineage.id(weights_hash(model))             # 16 hex digits

Two checkpoints have one id exactly when their weights and their lineage are equal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from evolm import __version__
from evolm.tables import canonical_json

DIGITS = 16
#: The stage of a model that no stage of ours made: a hub model, or any `save_pretrained` folder.
IMPORTED = "imported"


class Lineage(BaseModel):
    """What made a checkpoint. `settings` holds whatever the stage took, as plain JSON values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str = Field(min_length=1, description="pretrain, continue_pretrain, finetune, reinforce or imported")
    parent: str | None = Field(default=None, description="id of the checkpoint that the stage began from")
    start: str | None = Field(default=None, description="hash of the weights and optimiser state it began from")
    data: str | None = Field(default=None, description="hash of the data")
    settings: dict[str, Any] = Field(default_factory=dict)
    steps: int = Field(default=0, ge=0, description="updates done so far")
    version: str = Field(default=__version__, description="version of evolm that ran the stage")

    def id(self, weights: str) -> str:
        """The checkpoint's name: a hash of this lineage and of `weights`, a `weights_hash`."""
        return _short(hashlib.sha256(canonical_json([self.model_dump(mode="json"), weights])))

    def at(self, steps: int) -> Lineage:
        """The same stage after `steps` updates."""
        return self.model_copy(update={"steps": steps})

    def differing(self, other: Lineage) -> list[str]:
        """Names of what keeps both from being moments of one stage; empty where only steps or versions differ."""
        here, there = self.model_dump(), other.model_dump()
        return [name for name in here if name not in ("steps", "version") and here[name] != there[name]]


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """16 hex digits of names, types, shapes and bits of `tensors`; their order and device do not matter."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        bits: Any = tensor.reshape(-1).view(torch.uint8).numpy()
        digest.update(bits)
    return _short(digest)


def weights_hash(model: torch.nn.Module) -> str:
    """`tensors_hash` of the model's state: parameters and saved buffers."""
    return tensors_hash(model.state_dict())


def _short(digest: Any) -> str:
    return str(digest.hexdigest())[:DIGITS]
