"""Parameters and presets of the pass@k boundary chapter."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from evolm.finding import Params, Preset, parameter

Algorithm = Literal["ppo", "grpo", "rloo", "remax", "reinforce++", "dapo"]
Share = Annotated[float, Field(ge=0, le=1)]
Temperature = Annotated[float, Field(gt=0, le=5)]


class RlvrBoundaryParams(Params):
    """Parameters of the base models, of reinforcement, and of what is measured on them."""

    first_seed: int = parameter(
        2000, "first seed; claims were written on those below, 1000 to 1007 among them", unit="seed", ge=0, le=10**6
    )
    base: Literal["train", "kept"] = parameter(
        "train", "pre-train a base model for every seed, or start from the small one kept with the project", unit="-"
    )
    cues: tuple[Share, ...] = parameter(
        (0.0, 0.5, 1.0), "how often the prompt names the right method", unit="probability", min_length=1, max_length=21
    )
    core_cue: float = parameter(0.5, "cue level of the core claims and of the sweeps", unit="probability", ge=0, le=1)
    width: int = parameter(64, "width of the language model", unit="dimensions", ge=16, le=1024)
    layers: int = parameter(2, "layers of the language model", unit="layers", ge=1, le=32)
    pretrain_steps: int = parameter(300, "updates of pre-training: named methods", unit="updates", ge=1, le=10**6)
    continue_steps: int = parameter(
        400, "updates of continued pre-training: unnamed methods, slips, faults", unit="updates", ge=1, le=10**6
    )
    rare_prior: float = parameter(
        0.01, "how often the corpus uses the rare method unasked", unit="probability", ge=0, le=0.5
    )
    rl_steps: int = parameter(125, "steps of reinforcement", unit="steps", ge=1, le=10**5)
    rl_lr: float = parameter(3e-4, "learning rate of reinforcement (AdamW)", unit="per step", gt=0, le=1)
    checkpoints: tuple[Annotated[int, Field(ge=1, le=10**5)], ...] = parameter(
        (25, 50, 100), "steps of reinforcement at which the model is measured besides the last", unit="steps",
        max_length=20,
    )  # fmt: skip
    prompts_per_step: int = parameter(32, "prompts per step of reinforcement", unit="prompts", ge=1, le=4096)
    group_size: int = parameter(16, "samples per prompt", unit="samples", ge=2, le=1024)
    algorithms: tuple[Algorithm, ...] = parameter(
        ("grpo",), "algorithms compared at the core cue; the first one is the chapter's", unit="-", min_length=1,
        max_length=6,
    )  # fmt: skip
    compared_updates: int = parameter(
        4, "updates per rollout of the algorithms compared: with one, no clip acts", unit="updates", ge=1, le=64
    )
    kl_coefs: tuple[Annotated[float, Field(gt=0, le=10)], ...] = parameter(
        (), "further runs at the core cue with a KL term of this weight", unit="per nat", max_length=8
    )
    entropy_coefs: tuple[Annotated[float, Field(ge=-1, le=1)], ...] = parameter(
        (), "further runs at the core cue with an entropy bonus of this weight", unit="per nat", max_length=8
    )
    group_sizes: tuple[Annotated[int, Field(ge=2, le=1024)], ...] = parameter(
        (), "further runs at the core cue with this many samples per prompt, as many in all", unit="samples",
        max_length=8,
    )  # fmt: skip
    rft_steps: int = parameter(
        125, "updates of rejection-sampling fine-tuning: as many as reinforcement has", unit="updates", ge=1, le=10**5
    )
    rft_rounds: tuple[Annotated[int, Field(ge=1, le=64)], ...] = parameter(
        (1,), "rounds of sampling that those updates are spread over, at the core cue", unit="rounds", min_length=1,
        max_length=4,
    )  # fmt: skip
    distil_steps: int = parameter(
        125,
        "updates of distillation, with and without the absent method",
        unit="updates",
        ge=0,
        le=10**5,
    )
    temperatures: tuple[Temperature, ...] = parameter(
        (0.1, 0.2, 0.4, 0.6, 0.8), "temperatures of the base's envelope, besides 1", unit="-", max_length=16
    )
    rl_temperatures: tuple[Temperature, ...] = parameter(
        (1.5, 2.0), "temperatures of the tuned model's envelope, besides 1", unit="-", max_length=16
    )
    problems: int = parameter(500, "held-out problems", unit="problems", ge=10, le=100_000)
    rare_problems: int = parameter(100, "held-out problems of the rare method", unit="problems", ge=5, le=100_000)
    k_max: int = parameter(256, "the k at which coverage is judged", unit="samples", ge=2, le=10**6)
    models: tuple[str, ...] = parameter(
        (), "open models whose pass@k is measured: asset names, folders or hub ids", unit="models",
        max_length=16,
    )  # fmt: skip
    model_task: str = parameter(
        "words",
        "what the open models are asked: words (problems of the project), a JSONL file or a reasoning_gym dataset",
        unit="-",
    )
    model_template: str = parameter("four-shot", "prompt of the open models: four-shot or chat", unit="-")
    model_tokens: int = parameter(48, "longest answer of the open models", unit="tokens", ge=1, le=100_000)
    model_problems: int = parameter(24, "problems given to the open models", unit="problems", ge=4, le=10_000)
    model_samples: int = parameter(16, "samples per problem of the open models", unit="samples", ge=4, le=4096)

    @model_validator(mode="after")
    def _make_sense_together(self) -> RlvrBoundaryParams:
        lists = ("cues", "algorithms", "checkpoints", "kl_coefs", "entropy_coefs", "group_sizes", "rft_rounds")
        for name in (*lists, "temperatures", "rl_temperatures", "models"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} = {list(values)} names a value twice")
        if self.core_cue not in self.cues:
            raise ValueError(f"core_cue = {self.core_cue:g} is not among the cues {list(self.cues)}")
        if late := [step for step in self.checkpoints if step >= self.rl_steps]:
            raise ValueError(f"checkpoints = {late} lie at or after the last step; rl_steps is {self.rl_steps}")
        if max(self.rft_rounds) > self.rft_steps:
            raise ValueError(
                f"rft_rounds = {max(self.rft_rounds)} are more than the {self.rft_steps} updates of rft_steps"
            )
        if len(self.algorithms) > 1 and self.prompts_per_step % self.compared_updates:
            raise ValueError(
                f"compared_updates = {self.compared_updates} must divide the {self.prompts_per_step} prompts of a step"
            )
        batch = self.prompts_per_step * self.group_size
        if odd := [size for size in self.group_sizes if batch % size]:
            raise ValueError(f"group_sizes = {odd} do not divide the {batch} samples of a step")
        if self.base == "kept" and (self.width, self.layers) != (64, 2):
            raise ValueError("the kept base model has width 64 and 2 layers; set base='train' for another")
        return self


def in_words(params: RlvrBoundaryParams) -> str:
    """The scale of a run as a reader wants to know it."""
    cues = ", ".join(f"{cue:g}" for cue in params.cues)
    return f"{params.rl_steps} RL steps at cue {cues}; {params.problems} problems, {params.seeds} seeds"


PRESETS = {
    "smoke": Preset(
        description="the chapter end to end, small: the kept base model, 24 steps at two cue levels",
        overrides={
            "seeds": 2,
            "base": "kept",
            "cues": (0.5, 1.0),
            "rl_steps": 24,
            "checkpoints": (8,),
            "rft_steps": 24,
            "distil_steps": 0,
            "temperatures": (0.2, 0.5),
            "rl_temperatures": (1.5,),
            "problems": 50,
            "rare_problems": 20,
        },
        cpu_seconds=60,
    ),
    "cpu": Preset(
        description="core claims and controls at three cue levels, 8 seeds with a base model each",
        overrides={"seeds": 8, "rft_rounds": (1, 4), "models": ("smollm2-135m",)},
        cpu_seconds=1700,
    ),
    "gpu": Preset(
        description="the phase diagram: eleven cue levels, six algorithms, KL, entropy and group sizes, longer RL",
        overrides={
            "seeds": 8,
            "cues": tuple(i / 10 for i in range(11)),
            "rl_steps": 1000,
            "checkpoints": (10, 25, 50, 100, 200, 500),
            "rft_steps": 1000,
            "rft_rounds": (1, 4, 16),
            "distil_steps": 400,
            "algorithms": ("grpo", "ppo", "rloo", "remax", "reinforce++", "dapo"),
            "kl_coefs": (0.001, 0.01, 0.1),
            "entropy_coefs": (-0.003, 0.003, 0.01),
            "group_sizes": (8, 64),
            "rare_problems": 300,
        },
        note="its time on a GPU has not been measured; on two CPU cores it takes most of a day, and resumes",
    ),
    "paper": Preset(
        description="pass@k of the paper's own base and tuned models from the hub, on generated school mathematics",
        overrides={
            "seeds": 1,
            "models": ("Qwen/Qwen2.5-7B", "hkust-nlp/Qwen-2.5-7B-SimpleRL-Zoo"),
            "model_task": "gsm_symbolic",
            "model_template": "chat",
            "model_tokens": 2048,
            "model_problems": 500,
            "model_samples": 1024,
        },
        note="reads about 30 GB of weights from the hub and samples a million completions; its time has not been "
        "measured, and on a CPU it is out of reach; for problems of your own there is `evolm measure passk`",
    ),
}
