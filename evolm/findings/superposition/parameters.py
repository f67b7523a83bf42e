"""Parameters and presets of the superposition chapter."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from evolm.finding import Params, Preset, parameter

Width = Annotated[int, Field(ge=2, le=4096)]


class SuperpositionParams(Params):
    """Parameters of the toy-model grid and of the real models measured beside it."""

    n: int = parameter(200, "number of features", unit="features", ge=4, le=20_000)
    widths: tuple[Width, ...] = parameter(
        (5, 8, 12, 18, 27, 40), "widths m of the models, increasing", unit="dimensions", min_length=1, max_length=16
    )
    alphas: tuple[Annotated[float, Field(ge=0, le=3)], ...] = parameter(
        (0.0, 1.0, 2.0), "exponents of the frequency law p_i ~ i^-alpha", unit="exponent", min_length=1, max_length=20
    )
    decays: tuple[Annotated[float, Field(ge=-3, le=3)], ...] = parameter(
        (-1.0, -0.3, 0.0, 0.3, 1.0),
        "weight decays: the lowest makes the strong arm, the highest the weak one",
        unit="per unit of learning rate",
        min_length=2,
        max_length=20,
    )
    density: float = parameter(1.0, "expected number of active features per sample", unit="features", gt=0, le=20)
    bias_std: float = parameter(1.0, "standard deviation of the initial bias (the authors use 1)", unit="-", ge=0, le=5)
    batch_size: int = parameter(256, "samples per step", unit="samples", ge=8, le=65_536)
    steps: int = parameter(6000, "training steps of the main grid", unit="steps", ge=1, le=1_000_000)
    lr: float = parameter(0.01, "peak learning rate of Adam", unit="per step", gt=0, le=1)
    ideal_decay: float = parameter(
        0.2,
        "decay at which the weak arm of a steep law keeps about m features, chosen on development seeds",
        unit="per unit of learning rate",
        gt=0,
        le=3,
    )
    sweep_alpha: float = parameter(0.0, "frequency law of the sweeps", unit="exponent", ge=0, le=3)
    sweep_bias: tuple[Annotated[float, Field(ge=0, le=5)], ...] = parameter(
        (0.0, 0.5, 1.0), "bias starts of the sweep over training lengths", unit="-", min_length=1, max_length=12
    )
    sweep_steps: tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] = parameter(
        (),
        "training lengths at which the exponent is measured again, for both bias initialisations",
        unit="steps",
        max_length=12,
    )
    sweep_features: tuple[Annotated[int, Field(ge=4, le=20_000)], ...] = parameter(
        (), "feature counts at which the exponent is measured again", unit="features", max_length=12
    )
    models: tuple[str, ...] = parameter(
        (),
        "open models whose output vectors are measured: asset names, folders or hub ids",
        unit="models",
        max_length=64,
    )

    @property
    def middle_alpha(self) -> float:
        """The frequency law at which one law has to stand for all."""
        return self.alphas[len(self.alphas) // 2]

    @property
    def middle_width(self) -> int:
        return self.widths[len(self.widths) // 2]

    @model_validator(mode="after")
    def _make_sense_together(self) -> SuperpositionParams:
        for name in ("widths", "alphas", "decays", "sweep_steps", "sweep_bias", "sweep_features", "models"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} = {list(values)} names a value twice")
        if list(self.widths) != sorted(self.widths):
            raise ValueError(f"widths = {list(self.widths)} must increase")
        fewest = min((self.n, *self.sweep_features))
        if self.widths[-1] >= fewest:
            raise ValueError(f"widths up to {self.widths[-1]} leave nothing to superpose in {fewest} features")
        for alpha in {*self.alphas, self.sweep_alpha}:
            if (top := self.density / sum(i**-alpha for i in range(1, fewest + 1))) >= 1:
                raise ValueError(
                    f"alpha = {alpha:g} with density = {self.density:g} gives the first feature probability {top:.2f}; "
                    "lower the density or alpha"
                )
        return self


def in_words(params: SuperpositionParams) -> str:
    """The scale of a run as a reader wants to know it."""
    return (
        f"{params.n:,} features, widths {params.widths[0]} to {params.widths[-1]}, {params.steps:,} steps, "
        f"{params.seeds} seeds"
    )


ASSETS = ("smollm2-135m", "minilm-l6")
#: The paper's four families (Fig. 6a); only the output embedding of each is fetched.
FAMILIES = (
    *(f"facebook/opt-{size}" for size in ("125m", "350m", "1.3b", "2.7b", "6.7b", "13b", "30b", "66b")),
    *(f"openai-community/gpt2{size}" for size in ("", "-medium", "-large", "-xl")),
    *(f"Qwen/Qwen2.5-{size}" for size in ("0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B")),
    *(f"EleutherAI/pythia-{size}" for size in ("70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b")),
)

PRESETS = {
    "smoke": Preset(
        description="the whole chapter, small: 80 features, 2,000 steps",
        overrides={
            "seeds": 5,
            "n": 80,
            "widths": (3, 4, 6, 9, 13, 19),
            "decays": (-1.0, 0.0, 1.0),
            "batch_size": 128,
            "steps": 2000,
            "sweep_steps": (700,),
        },
        cpu_seconds=60,
    ),
    "cpu": Preset(
        description="core claims and controls: 200 features, 6,000 steps, 8 seeds",
        overrides={"seeds": 8, "sweep_steps": (3000, 9000), "sweep_features": (100, 400), "models": ASSETS},
        cpu_seconds=1180,
    ),
    "gpu": Preset(
        description="the grid of the paper's small experiment, with seeds: 1,000 features, 20,000 steps",
        overrides={
            "seeds": 8,
            "n": 1000,
            "widths": (10, 15, 25, 39, 63, 100),
            "alphas": (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
            "decays": (-1.0, -0.55, -0.3, -0.1, 0.0, 0.1, 0.3, 0.55, 1.0),
            "batch_size": 512,
            "steps": 20_000,
            "sweep_steps": (5000, 60_000),
            "sweep_bias": (0.0, 0.25, 0.5, 1.0),
            "sweep_features": (500, 2000),
            "models": ASSETS,
        },
        note="its time on a GPU has not been measured; on two CPU cores it takes days, and resumes",
    ),
    "paper": Preset(
        description="the paper's large experiment and its four model families from the hub",
        overrides={
            "seeds": 1,
            "n": 10_240,
            "widths": (8, 16, 32, 64, 128, 256, 512, 1024),
            "alphas": (0.0, 1.0, 1.2, 2.0),
            "decays": (-1.0, 0.0, 0.1),
            "batch_size": 2048,
            "steps": 20_000,
            "lr": 0.005,
            "models": FAMILIES,
        },
        note="one seed, as in the paper, so it can at best be inconclusive; reads about 12 GB of output "
        "embeddings from the hub; its time has not been measured, and on a CPU it takes weeks",
    ),
}
