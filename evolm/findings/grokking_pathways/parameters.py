"""Parameters and presets of the chapter on grokking pathways."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from evolm.finding import Params, Preset, parameter

Rate = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Group = Literal["core", "controls", "balance", "intervention"]
Scale = Literal["narrow", "wide", "many experts", "deep"]


class GrokkingPathwaysParams(Params):
    """Parameters of arm A (tables, and modular arithmetic), of its model, and of arm B (a mixture with real text)."""

    symbols: int = parameter(40, "operands of each table", unit="symbols", ge=8, le=512)
    classes: tuple[int, ...] = parameter(
        (4, 7, 10), "hidden classes of the operands, by group", unit="classes", min_length=1, max_length=6
    )
    fraction: Share = parameter(0.25, "share of a group's pairs that is trained on", unit="share", gt=0, lt=1)
    random_fraction: Share = parameter(0.2, "the same of the random group", unit="share", gt=0, lt=1)
    width: int = parameter(64, "width of the model", unit="dimensions", ge=16, le=2048)
    layers: int = parameter(3, "its layers; consistency across layers needs three", unit="layers", ge=3, le=64)
    experts: int = parameter(8, "experts of each layer", unit="experts", ge=2, le=256)
    active: int = parameter(2, "experts that each token takes", unit="experts", ge=1, le=64)
    hidden: int = parameter(16, "width of each expert", unit="dimensions", ge=4, le=4096)
    steps: int = parameter(800, "updates on tables", unit="updates", ge=10, le=10**7)
    batch: int = parameter(256, "pairs per update", unit="pairs", ge=8, le=2**20)
    rate: Rate = parameter(3e-3, "learning rate, constant after ten updates", unit="per step", gt=0, le=1)
    decay: float = parameter(1.0, "weight decay of matrices", unit="per unit of learning rate", ge=0, le=10)
    aux: float = parameter(0.01, "coefficient of the load-balancing loss", unit="-", ge=0, le=10)
    checkpoints: int = parameter(32, "evenly spaced measurements", unit="measurements", ge=10, le=1000)
    groups: tuple[Group, ...] = parameter(("core",), "groups of arms", unit="-", min_length=1, max_length=4)
    scales: tuple[Scale, ...] = parameter((), "other sizes of the model", unit="-", max_length=4)
    scale_seeds: int = parameter(0, "seeds of each of them", unit="seeds", ge=0, le=256)
    thresholds: tuple[Share, ...] = parameter(
        (0.7,), "routing weight that a pathway holds, by reading; the first is the paper's", unit="share",
        min_length=1, max_length=8,
    )  # fmt: skip
    penalty: float = parameter(0.3, "strength of the penalty on dispersion", unit="-", ge=0, le=1000)
    norm_penalty: float = parameter(0.03, "strength of the penalty on router norms", unit="-", ge=0, le=1000)

    modular_seeds: int = parameter(0, "seeds of modular arithmetic", unit="seeds", ge=0, le=256)
    p: int = parameter(97, "modulus, a prime", unit="-", ge=3, le=1009)
    modular_steps: int = parameter(20_000, "updates on modular arithmetic", unit="updates", ge=10, le=10**7)
    modular_batch: int = parameter(1024, "pairs per update", unit="pairs", ge=8, le=2**20)
    modular_width: int = parameter(128, "width of its model", unit="dimensions", ge=16, le=2048)
    modular_rate: Rate = parameter(1e-3, "its learning rate", unit="per step", gt=0, le=1)
    modular_decay: float = parameter(1.0, "its weight decay", unit="per unit of learning rate", ge=0, le=10)

    text_seeds: int = parameter(0, "seeds of the mixture with real text", unit="seeds", ge=0, le=256)
    text_steps: int = parameter(2000, "updates on the mixture", unit="updates", ge=40, le=10**7)
    text_batch: int = parameter(32, "rows of 48 tokens per update", unit="rows", ge=8, le=2**16)
    text_width: int = parameter(64, "width of its model", unit="dimensions", ge=16, le=2048)
    text_rate: Rate = parameter(3e-3, "its learning rate", unit="per step", gt=0, le=1)
    text_passes: float = parameter(1.0, "passes over its documents", unit="passes", gt=0, le=1.3)
    text_checkpoints: int = parameter(30, "its evenly spaced measurements", unit="measurements", ge=10, le=1000)

    @property
    def text_seed_list(self) -> list[int]:
        return list(range(self.first_seed, self.first_seed + self.text_seeds))

    @property
    def modular_seed_list(self) -> list[int]:
        return list(range(self.first_seed, self.first_seed + self.modular_seeds))

    @property
    def scale_seed_list(self) -> list[int]:
        return list(range(self.first_seed, self.first_seed + self.scale_seeds))

    @model_validator(mode="after")
    def _make_sense_together(self) -> GrokkingPathwaysParams:
        if "core" not in self.groups:
            raise ValueError(f"groups = {list(self.groups)} lacks 'core', which all others are compared with")
        if (
            len(set(self.classes)) < len(self.classes)
            or not 2 <= min(self.classes) <= max(self.classes) <= self.symbols
        ):
            raise ValueError(
                f"classes = {list(self.classes)} must be different numbers from 2 to symbols = {self.symbols}"
            )
        if self.active > self.experts:
            raise ValueError(f"active = {self.active} is more than experts = {self.experts}")
        if self.active == self.experts:
            raise ValueError(f"active = {self.active} leaves no choice among experts = {self.experts}")
        for name in ("width", "modular_width", "text_width"):
            if (width := getattr(self, name)) % 8:
                raise ValueError(f"{name} = {width} is no multiple of 8, as four heads of an even width need")
        pairs = round(min(self.fraction, self.random_fraction) * self.symbols**2)
        if pairs < 40:
            raise ValueError(f"a group has {pairs} training pairs; a distance between pathways needs 40")
        if bool(self.scales) != bool(self.scale_seeds):
            raise ValueError(f"scales = {list(self.scales)} and scale_seeds = {self.scale_seeds}: give both or neither")
        for steps, checkpoints in (
            ("steps", "checkpoints"), ("modular_steps", "checkpoints"), ("text_steps", "text_checkpoints")
        ):  # fmt: skip
            if getattr(self, steps) < getattr(self, checkpoints):
                raise ValueError(
                    f"{steps} = {getattr(self, steps)} has no room for {getattr(self, checkpoints)} measurements"
                )
        if self.modular_seeds and any(self.p % d == 0 for d in range(2, int(self.p**0.5) + 1)):
            raise ValueError(f"p = {self.p} is no prime, so multiplication modulo p would have groups of its own")
        return self


def in_words(params: GrokkingPathwaysParams) -> str:
    """The scale of a run as a reader wants to know it."""
    parts = [
        f"arm A: {params.seeds} worlds of tables, an OLMoE of {params.layers} layers of width {params.width} with "
        f"{params.experts} experts, {params.steps} updates of {params.batch} pairs"
    ]
    if params.modular_seeds:
        parts.append(f"arithmetic modulo {params.p}: {params.modular_seeds} seeds of {params.modular_steps} updates")
    if params.text_seeds:
        parts.append(f"arm B: {params.text_seeds} seeds of {params.text_steps} updates on a mixture with real text")
    return "; ".join(parts)


PRESETS = {
    "smoke": Preset(
        description="both arms end to end, small: two worlds of tables, and a short reading of the mixture",
        overrides={
            "seeds": 2,
            "steps": 120,
            "checkpoints": 10,
            "text_seeds": 1,
            "text_steps": 40,
            "text_batch": 8,
            "text_checkpoints": 10,
        },
        cpu_seconds=60,
    ),
    "cpu": Preset(
        description="core claims and their controls on 8 worlds of tables",
        overrides={"seeds": 8, "groups": ("core", "controls")},
        cpu_seconds=1150,
    ),
    "gpu": Preset(
        description="20 further worlds with the intervention, a wider model and one of more experts, and the mixture "
        "with real text",
        overrides={
            "seeds": 20,
            "first_seed": 2000,
            "groups": ("core", "intervention"),
            "scales": ("wide", "many experts"),
            "scale_seeds": 5,
            "text_seeds": 5,
            "text_steps": 800,
            "text_batch": 16,
        },
        cpu_seconds=5000,
        note="its time on a GPU has not been measured; on two CPU cores under an hour. Modular arithmetic to full "
        "generalisation is hours on a GPU: add -p modular_seeds=5",
    ),
    "paper": Preset(
        description="a larger model of every arm, longer: every control, load balancing, thresholds, other sizes, "
        "modular arithmetic",
        overrides={
            "seeds": 8,
            "first_seed": 3000,
            "width": 256,
            "layers": 8,
            "experts": 32,
            "active": 4,
            "steps": 20_000,
            "groups": ("core", "controls", "balance", "intervention"),
            "scales": ("narrow", "wide", "many experts", "deep"),
            "scale_seeds": 5,
            "thresholds": (0.7, 0.5, 0.6, 0.8),
            "modular_seeds": 8,
            "modular_width": 256,
            "modular_steps": 50_000,
            "text_seeds": 8,
            "text_width": 256,
            "text_steps": 20_000,
        },
        note="its time has not been measured; the paper's own model, OLMoE at ten revisions, is measured with `evolm "
        "measure pathways allenai/OLMoE-1B-7B-0924 -p revisions=paper`, which says first what it downloads",
    ),
}
