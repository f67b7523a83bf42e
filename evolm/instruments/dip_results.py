"""What is asked of a series, and what it tells: `Settings`, and a `Dip` of `Estimate`s."""

from __future__ import annotations

from dataclasses import dataclass, field

NAN = float("nan")


@dataclass(frozen=True)
class Settings:
    """How sure: `level` of intervals, `draws` of the bootstrap; `log_steps`: areas over log10 of the step as well."""

    level: float = 0.95
    draws: int = 1000
    seed: int = 0
    log_steps: bool = False

    def __post_init__(self) -> None:
        if not (0 < self.level < 1 and self.draws * (1 - self.level) >= 2):
            found = f"level {self.level} with {self.draws} draws gives no interval"
            raise ValueError(f"{found}; expected level > 0 and < 1 - 2/draws")


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; NaN where there is none, infinite where it lies beyond the last step."""

    value: float = NAN
    low: float = NAN
    high: float = NAN


NONE = Estimate()


@dataclass(frozen=True)
class Dip:
    """What a series tells; depths and areas are positive where the metric gets worse, in its own unit."""

    depth_seen: float
    area_seen: float
    method: str
    depth: Estimate = NONE
    depth_by_noise: Estimate = NONE
    p: float = NAN
    step: Estimate = NONE
    area: Estimate = NONE
    log_area: Estimate = NONE
    recovery: Estimate = NONE
    forgetting: Estimate = NONE
    end: Estimate = NONE
    noise: float = NAN
    found: bool = False
    notes: list[str] = field(default_factory=list)
