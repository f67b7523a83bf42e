"""Parameters and presets of the stability-gap chapter."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from evolm.finding import Params, parameter

Share = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1)]


class StabilityGapParams(Params):
    """Parameters of the synthetic world's base, of what continues it, and of the real text."""

    width: int = parameter(96, "width of the language model", unit="dimensions", ge=16, le=1024)
    layers: int = parameter(2, "layers of the language model", unit="layers", ge=1, le=32)
    pretrain_steps: int = parameter(900, "updates of pre-training", unit="updates", ge=1, le=10**6)
    pretrain_batch: int = parameter(32, "documents per update of pre-training", unit="documents", ge=1, le=4096)
    steps: int = parameter(250, "updates of continued pre-training", unit="updates", ge=20, le=10**6)
    batch: int = parameter(24, "documents per update of continued pre-training", unit="documents", ge=1, le=4096)
    rate: float = parameter(2e-3, "peak learning rate of all stages", unit="per step", gt=0, le=1)
    warmup: int = parameter(10, "updates over which the rate rises again", unit="updates", ge=1, le=10**5)
    documents: int = parameter(12_000, "documents of the medical corpus", unit="documents", ge=100, le=10**7)
    residual: Share = parameter(
        0.05, "share of general text in the medical corpus", unit="share of documents", ge=0, lt=1
    )
    replay: Share = parameter(0.08, "share of general text where it is replayed", unit="share of documents", ge=0, lt=1)
    mix: Share = parameter(0.2, "share of general text in the mixture strategy", unit="share of documents", ge=0, lt=1)
    epochs: int = parameter(5, "passes over the subset of the strategy of several epochs", unit="passes", ge=2, le=100)
    groups: tuple[Literal["core", "factorial", "confounds"], ...] = parameter(
        ("core",), "groups of arms", unit="-", min_length=1, max_length=3
    )
    residuals: tuple[Share, ...] = parameter((), "shares of general text on the map", unit="share", max_length=8)
    rates: tuple[Rate, ...] = parameter((), "peak learning rates on the map", unit="per step", max_length=8)

    @model_validator(mode="after")
    def _make_sense_together(self) -> StabilityGapParams:
        if "core" not in self.groups:
            raise ValueError(f"groups = {list(self.groups)} lacks 'core', which all others are compared with")
        if self.documents < self.steps * self.batch:
            raise ValueError(
                f"documents = {self.documents} are fewer than the {self.steps * self.batch} that one pass of "
                f"{self.steps} updates of {self.batch} reads"
            )
        if self.warmup >= (short := round(0.4 * self.steps)):
            raise ValueError(f"warmup = {self.warmup} leaves none of the {short} updates of the short arms at the peak")
        if self.width % 8:
            raise ValueError(f"width = {self.width} is no multiple of 8, as four heads of an even width need")
        if bool(self.residuals) != bool(self.rates):
            raise ValueError("a map needs both residuals and rates")
        return self
