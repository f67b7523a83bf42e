"""Parameters and presets of the stability-gap chapter."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from evolm.finding import Params, Preset, parameter

Share = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1)]


class StabilityGapParams(Params):
    """Parameters of the synthetic world's base, of what continues it, and of the real text."""

    width: int = parameter(96, "width of the language model", unit="dimensions", ge=16, le=1024)
    layers: int = parameter(2, "layers of the language model", unit="layers", ge=1, le=32)
    pretrain_steps: int = parameter(900, "updates of pre-training", unit="updates", ge=1, le=10**6)
    pretrain_batch: int = parameter(32, "documents per update of pre-training", unit="documents", ge=1, le=4096)
    pretrain_rate: Rate = parameter(2e-3, "peak learning rate of pre-training", unit="per step", gt=0, le=1)
    steps: int = parameter(250, "updates of continued pre-training", unit="updates", ge=20, le=10**6)
    batch: int = parameter(24, "documents per update of continued pre-training", unit="documents", ge=1, le=4096)
    rate: Rate = parameter(1e-3, "peak learning rate of continued pre-training", unit="per step", gt=0, le=1)
    warmup: int = parameter(10, "updates over which the rate rises again", unit="updates", ge=1, le=10**5)
    documents: int = parameter(12_000, "documents of the medical corpus", unit="documents", ge=100, le=10**7)
    clean: Share = parameter(
        0.5, "share of good documents in the medical corpus", unit="share of documents", gt=0, lt=1
    )
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
    cleans: tuple[Share, ...] = parameter(
        (), "shares of good documents in further corpora", unit="share of documents", max_length=8
    )
    rates: tuple[Rate, ...] = parameter((), "peak learning rates on the map", unit="per step", max_length=8)

    text_seeds: int = parameter(0, "seeds of the real text", unit="seeds", ge=0, le=256)
    text_width: int = parameter(128, "width of the model of real text", unit="dimensions", ge=16, le=4096)
    text_layers: int = parameter(3, "its layers", unit="layers", ge=1, le=64)
    text_pretrain_steps: int = parameter(4000, "its updates of pre-training", unit="updates", ge=1, le=10**7)
    text_pretrain_rate: Rate = parameter(6e-3, "its peak learning rate of pre-training", unit="per step", gt=0, le=1)
    text_steps: int = parameter(180, "its updates of continued pre-training", unit="updates", ge=20, le=10**6)
    text_batch: int = parameter(32, "rows of 64 tokens per such update", unit="rows", ge=1, le=4096)
    text_rate: Rate = parameter(4e-3, "its peak learning rate of continued pre-training", unit="per step", gt=0, le=1)
    text_probes: int = parameter(400, "cloze probes of each domain", unit="probes", ge=20, le=400)

    @property
    def text_seed_list(self) -> list[int]:
        return list(range(self.first_seed, self.first_seed + self.text_seeds))

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
        for name in ("width", "text_width"):
            if (width := getattr(self, name)) % 8:
                raise ValueError(f"{name} = {width} is no multiple of 8, as four heads of an even width need")
        if bool(self.residuals) != bool(self.rates):
            raise ValueError(f"a map needs both: residuals = {list(self.residuals)}, rates = {list(self.rates)}")
        if self.clean in self.cleans or 0 in self.cleans:
            raise ValueError(f"cleans = {list(self.cleans)} must be above 0 and other than clean = {self.clean}")
        if self.text_seeds and self.warmup >= self.text_steps:
            raise ValueError(f"warmup = {self.warmup} leaves none of the text_steps = {self.text_steps} at the peak")
        return self


def in_words(params: StabilityGapParams) -> str:
    """The scale of a run as a reader wants to know it."""
    text = f"; real text: {params.text_seeds} seeds of {params.text_steps} updates" if params.text_seeds else ""
    return (
        f"{params.seeds} worlds of facts, each base continued for {params.steps} updates of {params.batch} documents "
        f"in {len(params.groups)} group{'s' if len(params.groups) > 1 else ''} of arms{text}"
    )


PRESETS = {
    "smoke": Preset(
        description="the chapter end to end, small: two worlds whose bases have learnt less, short runs",
        overrides={
            "seeds": 2,
            "width": 64,
            "pretrain_steps": 400,
            "steps": 50,
            "warmup": 5,
            "documents": 3000,
        },
        cpu_seconds=100,
    ),
    "cpu": Preset(
        description="core claims and their controls on 12 worlds of facts",
        overrides={"seeds": 12},
        cpu_seconds=1170,
    ),
    "gpu": Preset(
        description="8 further worlds: factorial of the strategies, confounds, maps of general text, learning "
        "rate and quality of the corpus; real text with a base below its trigram",
        overrides={
            "seeds": 8,
            "first_seed": 2000,
            "groups": ("core", "factorial", "confounds"),
            "residuals": (0.0, 0.02, 0.05, 0.2),
            "rates": (5e-4, 1e-3, 2e-3, 4e-3),
            "cleans": (0.1, 0.25, 0.8),
            "text_seeds": 5,
        },
        cpu_seconds=8000,
        note="its time on a GPU has not been measured; on two CPU cores over an hour, and it resumes",
    ),
    "paper": Preset(
        description="a larger model of facts and of real text, many seeds",
        overrides={
            "seeds": 12,
            "width": 256,
            "layers": 4,
            "groups": ("core", "factorial", "confounds"),
            "text_seeds": 12,
            "text_width": 512,
            "text_layers": 8,
        },
        note="its time has not been measured; the paper's own models and corpora are not part of it: measure their "
        "checkpoints with `evolm measure dip`",
    ),
}
