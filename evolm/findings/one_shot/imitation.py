"""Supervised training on one example: on the model's own completions of it, or on the worked solution.

    log = imitate("right", model, params, task, problem, seed, on_step)

`right`: its own completions that are right, which is rejection sampling on one prompt. `any`: its own, right or wrong,
the control in which nothing is selected. `worked`: the one right chain in the careful mode, as a teacher would show it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from evolm.lm.forward import decoder_for
from evolm.lm.sample import sample
from evolm.lm.stages import continue_pretrain
from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.base import Problem
from evolm.lm.token_data import TokenData
from evolm.lm.train import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from evolm.findings.one_shot.parameters import OneShotParams

Shown = Literal["right", "any", "worked"]
#: Own completions that are drawn, as many as 20 steps of reinforcement draw.
DRAWN = 2560


def imitate(
    shown: Shown,
    model: PreTrainedModel,
    params: OneShotParams,
    task: AutomatonTask,
    problem: Problem,
    seed: int,
    on_step: Callable[[int, PreTrainedModel], None],
    *,
    lr: float,
    momentum: float,
) -> pd.DataFrame:
    """Train `model` in place, as many updates on as many sequences as reinforcement has; the log of the losses.

    Without a right completion to imitate the model stays as it is, and the log is empty.
    """
    completions = completions_of(shown, model, task, problem, seed)
    if not len(completions):
        for step in range(params.every, params.rl_steps + 1, params.every):
            on_step(step, model)
        return pd.DataFrame()
    prompt = torch.tensor(task.encode([problem]))  # (1, time)
    rows = torch.arange(params.rl_steps * params.batch) % len(completions)
    tokens = torch.cat([prompt.expand(len(rows), -1), completions[rows]], 1)
    ends = completions[rows] == task.eos
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[:, prompt.shape[1] :] = ends.cumsum(1) - ends.int() == 0  # up to the first EOS: padding is no sample
    options: dict[str, Any] = {"optimiser": params.optimiser, "lr": lr, "weight_decay": 0.0, "dtype": "bfloat16"}
    options |= {"momentum": momentum if params.optimiser == "sgd" else 0.0, "batch_size": params.batch, "seed": seed}
    settings = TrainSettings(steps=params.every, **options)
    state, logs = None, []
    for done in range(params.every, params.rl_steps + 1, params.every):  # in parts, to be measured in between
        part = slice((done - params.every) * params.batch, done * params.batch)
        data = TokenData(tokens[part], mask[part])
        result = continue_pretrain(model, data, settings, parent=None, optimiser=state, progress=False)
        state = result.optimiser
        logs.append(result.log)
        on_step(done, model)
    return pd.concat(logs, ignore_index=True)


def completions_of(shown: Shown, model: PreTrainedModel, task: AutomatonTask, problem: Problem, seed: int) -> Tensor:
    """The completions to learn from, (rows, time) token ids; none where the model never solves the problem."""
    if shown == "worked":
        facts = {name: np.array([problem.facts[name]], np.int64) for name in ("x", "method", "chain")}
        return torch.from_numpy(task.completions(facts["x"], facts["method"], facts["chain"]))
    options: dict[str, Any] = {"eos": int(task.eos), "pad": int(task.pad), "seed": seed}
    prompts = task.encode([problem])
    found = sample(decoder_for(model), prompts, DRAWN, max_new_tokens=task.max_new_tokens, **options).expand(seed)
    tokens = found.tokens.cpu()
    if shown == "any":
        return tokens
    right = task.grade([problem] * len(tokens), tokens, found.lengths).correct
    return tokens[torch.from_numpy(right)]
