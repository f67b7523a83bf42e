"""What an experiment is cut into. On its own, because all that an experiment imports is part of its key."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Unit(BaseModel):
    """The smallest piece of an experiment that is saved, resumed and run in its own process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.=-]+$")
    arguments: dict[str, Any] = {}
    cost: float = Field(1.0, description="relative cost, for the time estimate")
