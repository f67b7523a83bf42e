"""The arms: what is done to a base model before its pass@k is measured.

    result = tune(arm, params, base, task, seed, on_step)

`rl` is reinforcement with a verifier. Controls: `random` and `format` rewards, which do not know the answer; `rft`,
fine-tuning on the base's own correct samples for as many updates; `distil` and `distil-known`, fine-tuning on a
teacher's chains with and without the method that the base has never seen.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from evolm.lm.forward import decoder_for
from evolm.lm.reinforce import ReinforceSettings, reinforce
from evolm.lm.sample import sample
from evolm.lm.stages import finetune
from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.corpus import teacher_corpus
from evolm.lm.token_data import TokenData
from evolm.lm.train import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams

OnStep = Callable[[int, "PreTrainedModel"], None]
#: Samples per prompt when a model's correct samples are collected, and sequences per update of fine-tuning.
RFT_SAMPLES, RFT_BATCH = 16, 256
RFT_LR, DISTIL_LR = 1e-3, 2e-3


@dataclass(frozen=True)
class Arm:
    """One way to tune: `kind` is rl, rft, distil; `options` are settings that differ from the chapter's."""

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)


def main_arms(params: RlvrBoundaryParams) -> list[Arm]:
    """At every cue level."""
    return [Arm("rl", "rl"), Arm("rft", "rft", {"rounds": 1})]


def control_arms(params: RlvrBoundaryParams) -> list[Arm]:
    """At the core cue."""
    arms = [Arm("random", "rl", {"reward": "random"}), Arm("format", "rl", {"reward": "format"})]
    arms += [Arm(f"rft-{rounds}", "rft", {"rounds": rounds}) for rounds in params.rft_rounds if rounds > 1]
    if params.distil_steps:
        arms += [Arm("distil", "distil", {"absent": True}), Arm("distil-known", "distil", {"absent": False})]
    return arms


def sweep_arms(params: RlvrBoundaryParams) -> list[Arm]:
    """At the core cue: algorithms, KL, entropy and group sizes. Algorithms take several updates per rollout."""
    batch = params.prompts_per_step * params.group_size
    compared = params.algorithms if len(params.algorithms) > 1 else ()
    arms = [Arm(f"rl-{name}", "rl", {"algorithm": name, "mini_batches": params.compared_updates}) for name in compared]
    arms += [Arm(f"rl-kl={value:g}", "rl", {"kl_coef": value}) for value in params.kl_coefs]
    arms += [Arm(f"rl-entropy={value:g}", "rl", {"entropy_coef": value}) for value in params.entropy_coefs]
    sizes = [(size, {"group_size": size, "prompts_per_step": batch // size}) for size in params.group_sizes]
    return arms + [Arm(f"rl-group={size}", "rl", options) for size, options in sizes]


def tune(
    arm: Arm, params: RlvrBoundaryParams, base: PreTrainedModel, task: AutomatonTask, seed: int, on_step: OnStep
) -> tuple[PreTrainedModel, pd.DataFrame]:
    """A copy of `base` tuned as `arm` says, and its log; reinforcement calls `on_step(step, model)` after each step."""
    model = copy.deepcopy(base)
    if arm.kind == "rl":
        settings = reinforce_settings(params, seed, **arm.options)
        return model, reinforce(model, task, settings, on_step=on_step, progress=False).log
    if arm.kind == "rft":
        return model, _rejection_sampling(model, params, task, seed, **arm.options)
    methods = tuple(range(task.settings.methods if arm.options["absent"] else task.settings.absent))
    data = TokenData(*teacher_corpus(task, params.distil_steps * RFT_BATCH, seed, methods))
    return model, _finetune(model, data, params.distil_steps, DISTIL_LR, seed, "cosine")


def reinforce_settings(params: RlvrBoundaryParams, seed: int, **options: Any) -> ReinforceSettings:
    """The chapter's settings of reinforcement: one update per rollout, no KL, temperature 1."""
    chosen: dict[str, Any] = {
        "algorithm": params.algorithms[0],
        "steps": params.rl_steps,
        "lr": params.rl_lr,
        "prompts_per_step": params.prompts_per_step,
        "group_size": params.group_size,
        "weight_decay": 0.0,
        "seed": seed,
        "dtype": "bfloat16",
        "keep_optimiser": False,
    }
    return ReinforceSettings(**{**chosen, **options})


def _rejection_sampling(
    model: PreTrainedModel, params: RlvrBoundaryParams, task: AutomatonTask, seed: int, *, rounds: int
) -> pd.DataFrame:
    """`rft_steps` updates on the model's own correct samples, drawn anew at the start of each of `rounds` rounds.

    In all, as many samples are drawn as reinforcement draws.
    """
    prompts = params.rl_steps * params.prompts_per_step * params.group_size // (RFT_SAMPLES * rounds)
    logs, done = [], 0
    for i in range(rounds):
        problems = task.problems("rl", max(prompts, 1), seed=seed * 64 + i)
        encoded = task.encode(problems)
        options: dict[str, Any] = {"eos": int(task.eos), "pad": int(task.pad), "seed": seed * 64 + i}
        options["max_new_tokens"] = task.max_new_tokens
        found = sample(decoder_for(model, torch.bfloat16), encoded, RFT_SAMPLES, **options)
        right = task.grade([problems[j] for j in found.prompt.tolist()], found.tokens, found.lengths).correct
        chosen = np.flatnonzero(right)
        steps = params.rft_steps * (i + 1) // rounds - done
        done += steps
        if not len(chosen):  # nothing to learn from: the model stays as it is
            continue
        given = torch.tensor(encoded)[found.prompt.cpu()[chosen]]
        tokens = torch.cat([given, found.tokens.cpu()[chosen]], 1)
        mask = torch.ones_like(tokens, dtype=torch.bool)
        mask[:, : given.shape[1]] = False
        log = _finetune(model, TokenData(tokens, mask), steps, RFT_LR, seed, "constant")
        logs.append(log.assign(round=i, reward=float(right.mean()), examples=len(chosen)))
    return pd.concat(logs, ignore_index=True) if logs else pd.DataFrame()


def _finetune(model: PreTrainedModel, data: TokenData, steps: int, lr: float, seed: int, schedule: str) -> pd.DataFrame:
    settings: dict[str, Any] = {"schedule": schedule, "seed": seed, "dtype": "bfloat16", "weight_decay": 0.0}
    wanted = TrainSettings(steps=steps, batch_size=RFT_BATCH, lr=lr, **settings)
    return finetune(model, data, wanted, parent=None, progress=False).log
