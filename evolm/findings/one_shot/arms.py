"""The arms: what is done to a base model, on one example or on the full set.

    model, log, history = tune(arm, params, base, task, example, seed, on_step)

Every arm has the same number of steps and of samples per step, and its learning rate was chosen for it on development
seeds (`choose`). `one`, `format`, `random`, `zero` differ in the reward alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from evolm.findings.one_shot.examples import mislabelled
from evolm.lm.forward import decoder_for
from evolm.lm.reinforce import ReinforceSettings, reinforce
from evolm.lm.rewards import REWARDS
from evolm.lm.sample import sample
from evolm.lm.stages import continue_pretrain
from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.base import Array, Grades, Problem
from evolm.lm.token_data import TokenData
from evolm.lm.train import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from evolm.findings.one_shot.parameters import OneShotParams

OnStep = Callable[[int, "PreTrainedModel"], None]
MOMENTUM = 0.9
#: Samples of the example that imitation learns from, as many as 20 steps of reinforcement draw.
IMITATED = 2560
#: Weights of the further terms where an arm has one; the decay is decoupled, per unit of learning rate.
KL, ENTROPY, DECAY = 0.01, 0.003, 0.1


@dataclass(frozen=True)
class Arm:
    """One way to tune. `rate` names the learning rate of the presets; `options` are settings of reinforcement."""

    name: str
    rate: str = "one"
    label: Any = None
    options: dict[str, Any] = field(default_factory=dict)


class Tuned(NamedTuple):
    """A tuned model, the log of its training and, where it trained on many problems, right answers per pass."""

    model: PreTrainedModel
    log: pd.DataFrame
    history: pd.DataFrame


ONE, FULL = Arm("one"), Arm("full", rate="full")
#: On the control examples.
CONTROLS = (
    Arm("format", rate="format", options={"reward": "format"}),
    Arm("random", options={"reward": "random"}),
    Arm("imitate", rate="imitate"),
)
#: On all prompts, or once.
SINGLE = (Arm("format-full", rate="format", options={"reward": "format"}), Arm("zero", options={"reward": "zero"}))
#: On the control examples, one thing changed.
VARIANTS = {
    "updates": Arm("one-updates", rate="updates", options={"mini_batches": 8}),
    "other": Arm("one-other", rate="other", options={"other": True}),
    "other-updates": Arm("one-other-updates", rate="other_updates", options={"other": True, "mini_batches": 8}),
    "no-std": Arm("one-no-std", options={"scale_by_std": False}),
    "entropy": Arm("one-entropy", options={"entropy_coef": ENTROPY}),
    "entropy-only": Arm("entropy-only", options={"entropy_coef": ENTROPY, "policy_coef": 0.0}),
    "decay": Arm("one-decay", options={"weight_decay": DECAY}),
    "decay-only": Arm("decay-only", options={"weight_decay": DECAY, "policy_coef": 0.0}),
    "kl": Arm("one-kl", options={"kl_coef": KL}),
    "near": Arm("near", label="near"),
    "guessable": Arm("guessable", label="guessable"),
    "unguessable": Arm("unguessable", label="unguessable"),
}


def tune(
    arm: Arm,
    params: OneShotParams,
    base: PreTrainedModel,
    task: AutomatonTask,
    problems: Sequence[Problem],
    seed: int,
    on_step: OnStep,
) -> Tuned:
    """A copy of `base` tuned on `problems`, one or many; `on_step(step, model)` is called as the training goes on."""
    model = copy.deepcopy(base)
    if arm.name == "imitate":
        return Tuned(model, _imitate(model, params, task, problems[0], seed, on_step), pd.DataFrame())
    if arm.label is not None:
        problems = [mislabelled(task, problem, arm.label, seed) for problem in problems]
    settings = settings_of(arm, params, seed)
    rows = list(problems) if len(problems) > 1 else list(problems) * params.prompts_per_step
    history = History(settings.group_size, len(rows))
    reward = history if arm.name == "full" else None
    result = reinforce(model, task, settings, problems=rows, reward=reward, on_step=on_step, progress=False)
    return Tuned(model, result.log, history.table() if reward is not None else pd.DataFrame())


def settings_of(arm: Arm, params: OneShotParams, seed: int) -> ReinforceSettings:
    """The chapter's settings of reinforcement, changed as the arm says."""
    options = dict(arm.options)
    other = options.pop("other", False)
    sgd = (params.optimiser == "sgd") != other
    chosen: dict[str, Any] = {
        "algorithm": "grpo",
        "steps": params.rl_steps,
        "optimiser": "sgd" if sgd else "adamw",
        "lr": getattr(params, f"lr_{arm.rate}"),
        "prompts_per_step": params.prompts_per_step,
        "group_size": params.group_size,
        "weight_decay": 0.0,
        "seed": seed,
        "dtype": "bfloat16",
        "keep_optimiser": False,
    }
    return ReinforceSettings(**{**chosen, **({"momentum": MOMENTUM} if sgd else {}), **options})


class History:
    """The verifier's reward, which also keeps how many rollouts of each problem were right in every pass.

    `reinforce` takes problems in turn and gives the rows of a step prompt by prompt.
    """

    def __init__(self, group_size: int, problems: int) -> None:
        self.group_size, self.problems = group_size, problems
        self._shares: list[Array] = []

    def __call__(self, grades: Grades, rng: np.random.Generator) -> Any:
        rewards = REWARDS["verifier"](grades, rng)
        self._shares.append(rewards.reshape(-1, self.group_size).mean(1))
        return rewards

    def table(self) -> pd.DataFrame:
        """problem, epoch (from 0), accuracy: complete passes only."""
        shares = np.concatenate(self._shares)
        epochs = len(shares) // self.problems
        problem, epoch = np.tile(np.arange(self.problems), epochs), np.repeat(np.arange(epochs), self.problems)
        return pd.DataFrame({"problem": problem, "epoch": epoch, "accuracy": shares[: len(problem)].astype(float)})


def _imitate(
    model: PreTrainedModel, params: OneShotParams, task: AutomatonTask, problem: Problem, seed: int, on_step: OnStep
) -> pd.DataFrame:
    """Fine-tune on the model's own right completions of one problem, as many updates of as many sequences."""
    encoded = task.encode([problem])
    options: dict[str, Any] = {"eos": int(task.eos), "pad": int(task.pad), "seed": seed}
    found = sample(decoder_for(model), encoded, IMITATED, max_new_tokens=task.max_new_tokens, **options).expand(seed)
    right = task.grade([problem] * len(found.tokens), found.tokens, found.lengths).correct
    if not right.any():  # nothing to learn from: the model stays as it is
        for step in range(1, params.rl_steps + 1):
            on_step(step, model)
        return pd.DataFrame()
    completions = found.tokens.cpu()[np.flatnonzero(right)]
    rows = torch.from_numpy(np.resize(np.arange(len(completions)), params.rl_steps * params.batch))
    tokens = torch.cat([torch.tensor(encoded).expand(len(rows), -1), completions[rows]], 1)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[:, : len(encoded[0])] = False
    options = {"optimiser": params.optimiser, "momentum": MOMENTUM if params.optimiser == "sgd" else 0.0}
    options |= {"lr": params.lr_imitate, "weight_decay": 0.0, "dtype": "bfloat16", "batch_size": params.batch}
    wanted = TrainSettings(steps=params.every, seed=seed, **options)
    state, logs = None, []
    for done in range(params.every, params.rl_steps + 1, params.every):  # in parts, to be measured in between
        part = slice((done - params.every) * params.batch, done * params.batch)
        data = TokenData(tokens[part], mask[part])
        result = continue_pretrain(model, data, wanted, parent=None, optimiser=state, progress=False)
        state = result.optimiser
        logs.append(result.log)
        on_step(done, model)
    return pd.concat(logs, ignore_index=True)
