"""Settings of reinforcement: one name picks the algorithm, every other field can still be set on its own.

ReinforceSettings(algorithm="dapo")           # upper clip .28, dynamic sampling
ReinforceSettings(algorithm="grpo", mini_batches=8, kl_coef=0.001)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from evolm.lm.optimise import OptimiserSettings
from evolm.lm.policy_loss import Aggregate, RatioLevel
from evolm.lm.rewards import RewardName

Algorithm = Literal["ppo", "grpo", "rloo", "remax", "reinforce++", "dapo"]

#: Where an algorithm's defaults are not everyone's (Yu et al. 2025, Sec. 3).
ALGORITHM_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"dapo": {"clip_high": 0.28, "dynamic_sampling": True}}


class ReinforceSettings(OptimiserSettings):
    """What a reinforcement run does. Ratios are per token and means over all tokens unless told, as in verl, which the
    controlled runs of Yue et al. 2025 used: then the algorithms differ in their advantages, not in their units.
    """

    algorithm: Algorithm = "grpo"
    reward: RewardName = "verifier"
    steps: int = Field(200, gt=0, description="rollouts, each followed by its updates")
    lr: float = Field(3e-4, gt=0, allow_inf_nan=False, description="peak learning rate, one per rollout")
    seed: int = Field(0, ge=0, description="draws prompts, samples, mini-batches and random rewards")

    prompts_per_step: int = Field(32, ge=1, description="prompts per rollout")
    group_size: int = Field(16, ge=1, description="samples per prompt")
    temperature: float = Field(1.0, gt=0, description="of sampling, and of the policy whose ratio is taken")
    max_new_tokens: int | None = Field(None, ge=1, description="tokens per completion; the task's own when not given")
    dynamic_sampling: bool = Field(False, description="drop groups whose rewards are all equal and draw others")
    max_draws: int = Field(10, ge=1, description="rollouts per step that dynamic sampling may draw")
    overlong_buffer: int = Field(
        0, ge=0, description="last tokens over which DAPO's length penalty grows to -1; 0: none"
    )

    epochs: int = Field(1, ge=1, description="passes over a rollout")
    mini_batches: int = Field(1, ge=1, description="updates per pass, each on its share of the prompts")
    clip_low: float = Field(0.2, gt=0, lt=1, description="the ratio is held above 1 - clip_low")
    clip_high: float = Field(0.2, gt=0, description="the ratio is held below 1 + clip_high")
    ratio: RatioLevel = Field("token", description="'sequence': a completion is one action (RLOO's paper, TRL)")
    aggregate: Aggregate = Field("token", description="'sequence': mean of each completion's mean (GRPO's paper)")
    scale_by_std: bool = Field(True, description="divide a group's advantages by its deviation (GRPO, DAPO)")
    policy_coef: float = Field(1.0, description="weight of the policy-gradient term; 0 leaves KL and entropy alone")
    kl_coef: float = Field(0.0, ge=0, description="weight of KL (k3) to the reference, in the loss")
    entropy_coef: float = Field(0.0, description="weight of the entropy bonus; negative lowers entropy")

    discount: float = Field(1.0, gt=0, le=1, description="per token (PPO, REINFORCE++)")
    trace: float = Field(1.0, ge=0, le=1, description="lambda of PPO's advantage estimation")
    critic_lr: float = Field(1e-3, gt=0, description="of PPO's critic, with AdamW")
    value_clip: float = Field(0.5, gt=0, description="how far PPO's value may move from the rollout's, as in verl")

    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of matrix products; weights stay float32")
    rows_per_forward: int | None = Field(
        None, ge=1, description="completions per forward pass; None: all of an update's"
    )
    checkpoint_every: int = Field(0, ge=0, description="steps between checkpoints; 0 keeps the last alone")
    keep_optimiser: bool = Field(True, description="whether the last checkpoint holds the optimiser's state")

    @model_validator(mode="before")
    @classmethod
    def _algorithm_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {**ALGORITHM_DEFAULTS.get(str(given.get("algorithm")), {}), **given}

    @model_validator(mode="after")
    def _coherent(self) -> ReinforceSettings:
        if self.group_size < 2 and (self.algorithm in ("grpo", "dapo", "rloo") or self.dynamic_sampling):
            raise ValueError(
                f"{self.algorithm} compares the samples of one prompt, but group_size is {self.group_size}; "
                "give at least 2"
            )
        if self.group_size * self.prompts_per_step < 2 and self.algorithm in ("ppo", "reinforce++"):
            raise ValueError(f"{self.algorithm} whitens over the batch; one completion per step is not enough")
        if self.prompts_per_step % self.mini_batches:
            raise ValueError(
                f"mini_batches ({self.mini_batches}) must divide prompts_per_step ({self.prompts_per_step}): "
                "a mini-batch holds whole groups"
            )
        return self

    @property
    def updates_per_step(self) -> int:
        """Optimiser steps per rollout. With one, the ratio is 1 and the clip never acts."""
        return self.epochs * self.mini_batches
