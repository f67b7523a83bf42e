"""Parameters and presets of the one-shot chapter."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import model_validator

from evolm.finding import Params, Preset, parameter
from evolm.findings.one_shot.protocol import FIRST_REPORT_SEED

Base = Literal["latent", "scattered", "absent", "noisy", "low-cue"]
Variant = Literal[
    "updates", "other", "other-updates", "random-updates", "no-std", "entropy", "entropy-only", "decay", "decay-only",
    "kl", "long", "near", "guessable", "unguessable", "ranked",
]  # fmt: skip


def rate(default: float, of: str) -> float:
    """A learning rate that `evolm.findings.one_shot.choose` chose on development seeds."""
    chosen: float = parameter(default, f"learning rate of {of}", unit="per step", gt=0, le=1)
    return chosen


class OneShotParams(Params):
    """Parameters of the base models, of the training on one example and on many, and of what is measured."""

    first_seed: int = parameter(
        FIRST_REPORT_SEED, "the first seed; below this one they are for development", unit="-", ge=0
    )
    start: Literal["train", "kept"] = parameter(
        "train", "pre-train base models for every seed, or start from the small one kept with the project", unit="-"
    )
    bases: tuple[Base, ...] = parameter(
        ("latent", "scattered", "absent"), "kinds of base model; all but the first get one example and the full set",
        unit="-", min_length=1, max_length=5,
    )  # fmt: skip
    width: int = parameter(64, "width of the language model", unit="dimensions", ge=16, le=1024)
    layers: int = parameter(2, "layers of the language model", unit="layers", ge=1, le=32)
    pretrain_steps: int = parameter(500, "updates of pre-training: named methods", unit="updates", ge=1, le=10**6)
    continue_steps: int = parameter(700, "updates of continued pre-training: cues", unit="updates", ge=1, le=10**6)
    example_seed: int = parameter(
        250420571,
        "published seed that draws the pool and the examples (the paper's number)",
        unit="seed",
        ge=0,
        le=10**9,
    )
    pool: int = parameter(
        256, "problems of the full set, which examples are drawn from", unit="problems", ge=16, le=10**5
    )
    examples: int = parameter(
        10, "single examples that the main arm trains on, each alone", unit="examples", ge=1, le=99
    )
    control_examples: int = parameter(3, "of these, how many the controls train on, too", unit="examples", ge=1, le=99)
    rl_steps: int = parameter(125, "steps of every training run; results are of the last", unit="steps", ge=1, le=10**5)
    every: int = parameter(25, "steps between two measurements", unit="steps", ge=1, le=10**5)
    prompts_per_step: int = parameter(
        16, "prompts per step, all the same one in one-shot runs", unit="prompts", ge=1, le=4096
    )
    group_size: int = parameter(8, "samples per prompt", unit="samples", ge=2, le=1024)
    optimiser: Literal["sgd", "adamw"] = parameter("sgd", "optimiser of all arms but `other`", unit="-")
    lr_one: float = rate(3e-3, "one example, and of its variants that name none of their own")
    lr_full: float = rate(1e-2, "the full set")
    lr_format: float = rate(3e-3, "the reward for form")
    lr_imitate: float = rate(3e-3, "imitation of own completions")
    lr_worked: float = rate(3e-3, "supervised training on the worked example")
    lr_entropy: float = rate(3e-5, "the entropy bonus alone")
    entropy_coef: float = parameter(0.1, "weight of the entropy bonus beside the reward", unit="per nat", ge=0, le=10)
    lr_updates: float = rate(3e-4, "one example with eight updates per rollout")
    lr_other: float = rate(1e-4, "one example with the other optimiser")
    lr_other_updates: float = rate(3e-5, "one example with the other optimiser and eight updates per rollout")
    variants: tuple[Variant, ...] = parameter((), "further arms on the control examples", unit="-", max_length=15)
    saturation: float = parameter(
        0.95, "mean training reward over ten steps at which an example counts as learnt", unit="probability", gt=0, le=1
    )
    problems: int = parameter(500, "held-out problems", unit="problems", ge=20, le=100_000)
    validation_problems: int = parameter(
        200, "problems that checkpoints are chosen on", unit="problems", ge=20, le=100_000
    )
    models: tuple[str, ...] = parameter(
        (), "open models that the instrument trains on one example: asset names, folders or hub ids", unit="models",
        max_length=4,
    )  # fmt: skip
    model_task: str = parameter("words", "their problems: words, a JSONL file or a reasoning_gym dataset", unit="-")
    model_steps: int = parameter(60, "steps of each of their runs", unit="steps", ge=1, le=10**5)

    @property
    def batch(self) -> int:
        """Samples per step."""
        return self.prompts_per_step * self.group_size

    @model_validator(mode="after")
    def _make_sense_together(self) -> OneShotParams:
        for name in ("bases", "variants"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} = {list(values)} names a value twice")
        if self.bases[0] != "latent":
            raise ValueError(f"bases = {list(self.bases)} must begin with 'latent', the chapter's own")
        if self.rl_steps % self.every:
            raise ValueError(
                f"every = {self.every} does not divide rl_steps = {self.rl_steps}, so the last is not measured"
            )
        if self.control_examples > self.examples:
            raise ValueError(f"control_examples = {self.control_examples} are more than the {self.examples} examples")
        if self.examples > self.pool:
            raise ValueError(f"examples = {self.examples} are more than the {self.pool} problems of the pool")
        if self.pool % self.prompts_per_step:
            raise ValueError(f"prompts_per_step = {self.prompts_per_step} does not divide the pool of {self.pool}")
        if self.rl_steps * self.prompts_per_step < 2 * self.pool:
            raise ValueError(
                f"rl_steps = {self.rl_steps} make less than two passes over the pool of {self.pool}, too few for a "
                "variance; take more steps or a smaller pool"
            )
        if self.prompts_per_step % 8 and {"updates", "other-updates", "random-updates"} & set(self.variants):
            raise ValueError(f"prompts_per_step = {self.prompts_per_step} cannot be split into eight updates")
        if self.start == "kept" and ((self.width, self.layers) != (64, 2) or self.bases != ("latent",)):
            raise ValueError("the kept base is the latent one, of width 64 and 2 layers; set start='train' for others")
        return self


def in_words(params: OneShotParams) -> str:
    """The scale of a run as a reader wants to know it."""
    return (
        f"{params.examples} examples, each alone for {params.rl_steps} steps of {params.batch} samples; bases "
        f"{', '.join(params.bases)}; {params.problems} problems, {params.seeds} seeds"
    )


PRESETS = {
    "smoke": Preset(
        description="the chapter end to end, small: the kept base model, three examples",
        overrides={
            "seeds": 2,
            "start": "kept",
            "bases": ("latent",),
            "examples": 3,
            "control_examples": 1,
            "rl_steps": 32,
            "every": 16,
            "problems": 80,
            "validation_problems": 30,
        },
        cpu_seconds=60,
    ),
    "cpu": Preset(
        description="core claims and controls: ten examples and three kinds of base model in each of 5 seeds",
        overrides={"seeds": 5, "problems": 160, "validation_problems": 40},
        cpu_seconds=1550,
    ),
    "gpu": Preset(
        description="10 fresh seeds, five kinds of base; what drives it (optimisers, updates per rollout, loss terms, "
        "labels, choice by historical variance) on one telling example",
        overrides={
            "seeds": 10,
            "first_seed": 3000,
            "bases": get_args(Base),
            "control_examples": 1,
            "variants": get_args(Variant),
            "problems": 160,
            "validation_problems": 40,
        },
        cpu_seconds=4950,
        note="its time on a GPU has not been measured; on two CPU cores three quarters of an hour, and it resumes",
    ),
    "paper": Preset(
        description="one example, the form alone and coin tosses on a model of the paper, by the instrument `one-shot`",
        overrides={"seeds": 1, "examples": 3, "models": ("Qwen/Qwen2.5-Math-1.5B",), "model_task": "gsm_symbolic"},
        note="reads 3 GB of weights from the hub and trains them; its time has not been measured, and on a CPU it is "
        "out of reach; `evolm.instruments.one_shot_paper` makes the runs of the paper for TRL's trainer",
    ),
}
