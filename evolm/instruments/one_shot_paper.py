"""One-example GRPO of the paper's size through TRL, with the two rewards that do not know the answer beside it.

    task = JsonlTask("train.jsonl", tokenizer, template="chat", max_new_tokens=3072)
    for name, run in paper_runs("Qwen/Qwen2.5-Math-1.5B", task, task.all_problems[0]).items():
        run.trainer().train()                       # "one-shot", "format-only", "random reward"

Start the script with `accelerate launch --num_processes 8`. Hyperparameters are those of Wang et al. (2025, App. B);
128 copies of the example fill a batch, each a group of 8 of its own. Rewards see completions only: the paper's prompt
itself holds an empty box, which a reward for form would find in every row. Needs `pip install 'evolm[paper]'`.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from evolm.lm.reinforce_settings import ReinforceSettings
    from evolm.lm.rewards import RewardName
    from evolm.lm.tasks.base import Problem, Task

#: Runs of one example by the reward that they get.
PAPER_REWARDS: Mapping[str, RewardName] = {"one-shot": "verifier", "format-only": "format", "random reward": "random"}
COPIES, GROUP_SIZE, STEPS, SAVE_EVERY = 128, 8, 2000, 20


@dataclass(frozen=True)
class PaperRun:
    """What one `trl.GRPOTrainer` takes: its config, dataset and reward function, and the model's name or folder."""

    model: str
    config: Any
    dataset: Any
    reward: Callable[..., Any]
    tokenizer: Any

    def trainer(self, **more: Any) -> Any:
        """The trainer; `more` are further arguments of it, such as callbacks."""
        import trl

        given = {"args": self.config, "train_dataset": self.dataset, "processing_class": self.tokenizer}
        return trl.GRPOTrainer(self.model, self.reward, **{**given, **more})


def paper_settings(
    reward: RewardName = "verifier",
    *,
    updates: Literal[1, 8] = 1,
    copies: int = COPIES,
    steps: int = STEPS,
    max_new_tokens: int = 3072,
    rows_per_device: int = 16,
    seed: int = 0,
    **more: Any,
) -> ReinforceSettings:
    """The paper's hyperparameters as our own settings; `more` replaces any of them.

    `steps` are rollouts of `copies` x 8 samples, each followed by `updates` optimiser steps. The paper says 8; its
    released configuration, with 8 GPUs, comes to 1, where the ratio is 1 and the clip never acts.
    """
    from evolm.lm.reinforce_settings import ReinforceSettings

    chosen: dict[str, Any] = {
        "algorithm": "grpo",
        "reward": reward,
        "steps": steps,
        "prompts_per_step": copies,
        "group_size": GROUP_SIZE,
        "mini_batches": updates,
        "lr": 1e-6,
        "weight_decay": 0.01,
        "kl_coef": 0.001,
        "entropy_coef": 0.001,  # a bonus; the paper writes the sign of a loss, -0.001
        "temperature": 0.6,
        "max_new_tokens": max_new_tokens,
        "rows_per_forward": rows_per_device,
        "dtype": "bfloat16",
        "seed": seed,
    }
    return ReinforceSettings(**{**chosen, **more})


def paper_runs(
    model: str,
    task: Task,
    example: Problem,
    *,
    output_dir: str | Path = "one-shot",
    devices: int | None = None,
    settings: Mapping[str, Any] | None = None,
    **config: Any,
) -> dict[str, PaperRun]:
    """Three runs on `example`, the same but for the reward: "one-shot", "format-only" and "random reward".

    `devices`: GPUs that share a batch; default what accelerate set (WORLD_SIZE), else 1. `settings` are arguments of
    `paper_settings`, `config` fields of `trl.GRPOConfig`; vLLM generates where it is installed. Each run writes to
    `output_dir`/its name, a checkpoint every 20 rollouts. Raises ValueError where the devices do not share a batch
    evenly, NotInTRL, and ImportError without TRL.
    """
    from evolm.lm import trl_bridge

    shared, runs = int(os.environ.get("WORLD_SIZE", 1)) if devices is None else devices, {}
    for name, reward in PAPER_REWARDS.items():
        chosen = paper_settings(reward, **(settings or {}))
        fields = {
            "save_strategy": "steps",
            "save_steps": SAVE_EVERY * chosen.updates_per_step,
            **_generation(),
            **_geometry(chosen, shared),
            **config,
        }
        rank = int(os.environ.get("RANK", 0))  # each process tosses coins of its own
        own = chosen.model_copy(update={"seed": chosen.seed + 1000 * rank})
        runs[name] = PaperRun(
            model=model,
            config=trl_bridge.grpo_config(chosen, Path(output_dir) / name.replace(" ", "-"), **fields),
            dataset=trl_bridge.dataset(task, [example] * chosen.prompts_per_step),
            reward=trl_bridge.reward_function(task, own),
            tokenizer=task.tokenizer,
        )
    return runs


def _geometry(settings: ReinforceSettings, devices: int) -> dict[str, int]:
    """Batch fields of each of `devices`: together they take the completions of an update, and of a rollout."""
    rollout = settings.prompts_per_step * settings.group_size
    update = rollout // settings.mini_batches
    rows = min(settings.rows_per_forward or update, update)
    if devices < 1 or update % (rows * devices):
        raise ValueError(
            f"an update of {update} completions cannot be shared by {devices} devices, {rows} at a time; choose "
            "devices, and rows_per_device in settings, whose product divides it"
        )
    return {
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": update // (rows * devices),
        "steps_per_generation": rollout // (rows * devices),
    }


def _generation() -> dict[str, Any]:
    if importlib.util.find_spec("vllm") is None:
        return {}
    return {"use_vllm": True, "vllm_mode": "colocate", "vllm_importance_sampling_correction": False}
