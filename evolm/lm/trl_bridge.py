"""The same reinforcement settings for TRL's trainers, for models that our own loop is too small for.

    config = grpo_config(settings, "runs/grpo", use_vllm=True)
    trainer = trl.GRPOTrainer(model, reward_function(task, settings), config, train_dataset=dataset(task, problems),
                              processing_class=tokenizer)

On one device, with the same rollouts, TRL then computes the loss that `evolm.lm.reinforce` computes (tested). What TRL
cannot express is refused with a sentence that says where it can be had. Any field of the config can be given by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from evolm.lm.reinforce_settings import ReinforceSettings
from evolm.lm.rewards import REWARDS, RewardFunction, checked, overlong_penalty
from evolm.lm.tasks.base import Problem, Task

#: verl's name for each algorithm, `algorithm.adv_estimator`.
VERL_ESTIMATORS: Mapping[str, str] = {
    "ppo": "gae",
    "grpo": "grpo",
    "rloo": "rloo",
    "remax": "remax",
    "reinforce++": "reinforce_plus_plus",
    "dapo": "grpo",
}


class NotInTRL(ValueError):
    """TRL's trainers cannot do what the settings ask for. The message says what can."""


def grpo_config(settings: ReinforceSettings, output_dir: str | Path, **more: Any) -> Any:
    """`trl.GRPOConfig` of a GRPO run, or of DAPO without dynamic sampling. Raises NotInTRL, ImportError.

    The token mean is TRL's "bnpo" for GRPO and "dapo" for DAPO, which divides by a rollout's tokens instead of a
    mini-batch's; the mean of completions' means is its "grpo".
    """
    if settings.algorithm not in ("grpo", "dapo"):
        raise NotInTRL(_elsewhere(settings.algorithm, "GRPOTrainer"))
    if settings.dynamic_sampling:
        raise NotInTRL(
            "TRL has no dynamic sampling (dropping groups that all agree and drawing others). Set "
            "dynamic_sampling=False, or use verl's DAPO recipe: algorithm.adv_estimator=grpo with "
            "algorithm.filter_groups.enable=True."
        )
    if settings.ratio != "token":
        raise NotInTRL(
            "TRL's GRPOTrainer has no ratio of whole completions (its 'sequence' is GSPO's mean); use 'token'."
        )
    by_token = "dapo" if settings.algorithm == "dapo" else "bnpo"
    fields = {
        "loss_type": by_token if settings.aggregate == "token" else "grpo",
        "scale_rewards": "group" if settings.scale_by_std else "none",
        "beta": settings.kl_coef,
        "use_bias_correction_kl": False,  # plain k3, as here; TRL's default weighs it by the ratio
        "entropy_coef": settings.entropy_coef,
    }
    return _trl().GRPOConfig(**{**_shared(settings, output_dir), **fields, **more})


def rloo_config(settings: ReinforceSettings, output_dir: str | Path, **more: Any) -> Any:
    """`trl.RLOOConfig` of an RLOO run. Raises NotInTRL, ImportError.

    RLOOTrainer takes a completion as one action, hence ratio="sequence", and has its KL in the reward, not in the loss.
    """
    if settings.algorithm != "rloo":
        raise NotInTRL(_elsewhere(settings.algorithm, "RLOOTrainer"))
    if settings.ratio != "sequence":
        raise NotInTRL(
            "TRL's RLOOTrainer takes a completion as one action; set ratio='sequence' to train the same here."
        )
    if settings.kl_coef or settings.entropy_coef:
        raise NotInTRL(
            "TRL's RLOOTrainer subtracts its KL (log-ratio, not k3) from the reward and has no entropy term; set "
            "kl_coef and entropy_coef to 0 and give beta= yourself, or use verl's algorithm.adv_estimator=rloo."
        )
    return _trl().RLOOConfig(**{**_shared(settings, output_dir), "beta": 0.0, "normalize_advantages": False, **more})


def reward_function(
    task: Task, settings: ReinforceSettings | None = None, reward: RewardFunction | None = None
) -> Callable[..., list[float]]:
    """TRL's kind of reward function for rows of `dataset(task, ...)`: the named reward, with DAPO's length penalty.

    Like ours it grades the completion's tokens only. Raises BadReward where a reward is not a finite number.
    """
    settings = settings or ReinforceSettings()
    give, rng, calls = reward or REWARDS[settings.reward], np.random.default_rng(settings.seed), 0
    limit = settings.max_new_tokens or task.max_new_tokens

    def graded(*, completion_ids: Sequence[Sequence[int]], problem: Sequence[str], **_: Any) -> list[float]:
        nonlocal calls
        lengths = np.array([len(ids) for ids in completion_ids])
        tokens = np.zeros((len(lengths), max(1, lengths.max(initial=0))), np.int64)
        for row, ids in zip(tokens, completion_ids, strict=True):
            row[: len(ids)] = ids
        grades = task.grade([Problem(**json.loads(text)) for text in problem], tokens, lengths)
        rewards = checked(give(grades, rng), len(lengths), settings.reward, calls)
        calls += 1
        if settings.overlong_buffer:
            rewards = rewards + overlong_penalty(lengths, limit, settings.overlong_buffer)
        return [float(value) for value in rewards]

    graded.__name__ = settings.reward if reward is None else getattr(reward, "__name__", "reward")
    return graded


def dataset(task: Task, problems: Sequence[Problem], tokenizer: Any = None) -> Any:
    """`datasets.Dataset` with columns prompt (text) and problem (JSON, which the reward function reads back).

    TRL tokenizes the text again; raises ValueError where that would not give the tokens that the task gives.
    """
    try:
        from datasets import Dataset
    except ImportError as error:
        raise _missing("datasets") from error
    prompts = [_as_text(tokenizer or task.tokenizer, ids) for ids in task.encode(problems)]
    columns = {"prompt": prompts, "problem": [json.dumps(asdict(problem)) for problem in problems]}
    return Dataset.from_dict(columns)


def _as_text(tokenizer: Any, ids: list[int]) -> str:
    """Text that the tokenizer turns into `ids`, with or without the special tokens that it puts first by itself."""
    own = len(tokenizer("")["input_ids"])
    for start in (0, own):
        text = str(tokenizer.decode(ids[start:], clean_up_tokenization_spaces=False))
        if tokenizer(text)["input_ids"] == ids:
            return text
    raise ValueError(
        f"the prompt {tokenizer.decode(ids)!r} does not come back as the same tokens when TRL tokenizes its text. "
        "Use a tokenizer that adds no end token to a text, or give TRL a dataset of your own with a column 'problem'."
    )


def _shared(settings: ReinforceSettings, output_dir: str | Path) -> dict[str, Any]:
    """What both configs have: batch geometry, sampling, clipping, optimiser."""
    if settings.policy_coef != 1:
        raise NotInTRL("TRL always weighs the policy gradient by 1; for 0 give it a constant reward (reward='zero').")
    if settings.max_new_tokens is None:
        raise NotInTRL("set max_new_tokens: TRL has no task to take it from, and would stop at a default of its own.")
    if settings.optimiser == "sgd" and settings.momentum:
        raise NotInTRL(
            "transformers' Trainer takes no momentum by name; set momentum=0, or give the trainer "
            "optimizers=(torch.optim.SGD(...), None)."
        )
    rows = settings.prompts_per_step * settings.group_size // settings.mini_batches  # completions per update
    at_once = min(settings.rows_per_forward or rows, rows)
    if rows % at_once:
        raise NotInTRL(f"rows_per_forward ({at_once}) must divide the {rows} completions of an update.")
    updates = settings.updates_per_step
    cosine = {"lr_scheduler_kwargs": {"min_lr_rate": settings.final_lr}} if settings.schedule == "cosine" else {}
    return {
        "output_dir": str(output_dir),
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": rows // at_once,
        "steps_per_generation": rows // at_once * settings.mini_batches,
        "num_iterations": settings.epochs,
        "max_steps": settings.steps * updates,
        "num_generations": settings.group_size,
        "max_completion_length": settings.max_new_tokens,
        "temperature": settings.temperature,
        "epsilon": settings.clip_low,
        "epsilon_high": settings.clip_high,
        "optim": "adamw_torch" if settings.optimiser == "adamw" else "sgd",
        "adam_beta1": settings.betas[0],
        "adam_beta2": settings.betas[1],
        "learning_rate": settings.lr,
        "lr_scheduler_type": {"warmup": "constant_with_warmup", "cosine": "cosine_with_min_lr"}.get(
            settings.schedule, "constant"
        ),
        "warmup_steps": settings.warmup_steps * updates,
        **cosine,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.clip or 0.0,
        "bf16": settings.dtype == "bfloat16",
        "seed": settings.seed,
        "disable_dropout": True,
    }


def _elsewhere(algorithm: str, trainer: str) -> str:
    return (
        f"TRL's {trainer} does not do {algorithm}. At this scale use verl with "
        f"algorithm.adv_estimator={VERL_ESTIMATORS[algorithm]}, or for a small model evolm.lm.reinforce."
    )


def _trl() -> Any:
    try:
        import trl
    except ImportError as error:
        raise _missing("trl") from error
    return trl


def _missing(package: str) -> ImportError:
    return ImportError(f"{package} is not installed; it comes with: pip install 'evolm[paper]'")
