"""The arms: what is done to a base model, on one example or on the full set.

    model, log, history = tune(arm, params, base, task, example, seed, on_step)

Every arm has the same number of steps and of samples per step. Where an arm names a learning rate, that was chosen for
it on development seeds (`choose`); all others run at that of `one`, or of the reward for form.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from evolm.findings.one_shot.examples import mislabelled
from evolm.findings.one_shot.imitation import Shown, imitate
from evolm.lm.reinforce import ReinforceSettings, reinforce
from evolm.lm.rollout_log import RolloutLog
from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.base import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from evolm.findings.one_shot.parameters import OneShotParams

OnStep = Callable[[int, "PreTrainedModel"], None]
MOMENTUM = 0.9
#: Weight of the KL term, ten times the paper's. With this decay matrices shrink by 7 % in 125 steps at 3e-3: learning
#: rate x decay x steps / (1 - momentum) = 0.075, some thousand times the paper's.
KL, DECAY = 0.01, 0.02
#: How much longer the arm `long` trains.
LONGER = 4


@dataclass(frozen=True)
class Arm:
    """One way to tune. `rate` names the learning rate of the presets; `options` are settings of reinforcement, whose
    values may name a parameter; `times` multiplies the steps. With `shown` it is supervised instead.
    """

    name: str
    rate: str = "one"
    label: Any = None
    shown: Shown | None = None
    times: int = 1
    options: dict[str, Any] = field(default_factory=dict)


class Tuned(NamedTuple):
    """A tuned model, the log of its training and, where it trained on many problems, right answers per pass."""

    model: PreTrainedModel
    log: pd.DataFrame
    history: pd.DataFrame


ONE, FULL = Arm("one"), Arm("full", rate="full")
FORM = Arm("format", rate="format", options={"reward": "format"})
IMITATE = Arm("imitate", rate="imitate", shown="right")
WORKED = Arm("worked", rate="worked", shown="worked")
#: On the control examples.
CONTROLS = (FORM, IMITATE, WORKED)
#: On the first example alone: what they do cannot hang on the answer to it.
FIRST = (
    Arm("random", options={"reward": "random"}),
    Arm("zero", options={"reward": "zero"}),
    Arm("imitate-any", rate="imitate", shown="any"),
)
FORM_FULL = Arm("format-full", rate="format", options={"reward": "format"})
#: On the control examples, one thing changed.
VARIANTS = {
    "updates": Arm("one-updates", rate="updates", options={"mini_batches": 8}),
    "other": Arm("one-other", rate="other", options={"other": True}),
    "other-updates": Arm("one-other-updates", rate="other_updates", options={"other": True, "mini_batches": 8}),
    "random-updates": Arm("random-updates", rate="updates", options={"reward": "random", "mini_batches": 8}),
    "no-std": Arm("one-no-std", options={"scale_by_std": False}),
    "entropy": Arm("one-entropy", options={"entropy_coef": "entropy_coef"}),
    "entropy-only": Arm("entropy-only", rate="entropy", options={"entropy_coef": 1.0, "policy_coef": 0.0}),
    "decay": Arm("one-decay", options={"weight_decay": DECAY}),
    "decay-only": Arm("decay-only", options={"weight_decay": DECAY, "policy_coef": 0.0}),
    "kl": Arm("one-kl", options={"kl_coef": KL}),
    "long": Arm("one-long", times=LONGER),
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
    if arm.shown is not None:
        how = {"lr": getattr(params, f"lr_{arm.rate}"), "momentum": MOMENTUM}
        losses = imitate(arm.shown, model, params, task, problems[0], seed, on_step, **how)
        return Tuned(model, losses, pd.DataFrame())
    if arm.label is not None:
        problems = [mislabelled(task, problem, arm.label, seed) for problem in problems]
    settings = settings_of(arm, params, seed)
    rows = list(problems) if len(problems) > 1 else list(problems) * params.prompts_per_step
    log = RolloutLog(range(len(rows)), settings.prompts_per_step, settings.group_size) if arm is FULL else None
    result = reinforce(model, task, settings, problems=rows, reward=log, on_step=on_step, progress=False)
    return Tuned(model, result.log, pd.DataFrame() if log is None else log.table())


def settings_of(arm: Arm, params: OneShotParams, seed: int) -> ReinforceSettings:
    """The chapter's settings of reinforcement, changed as the arm says."""
    options = {
        name: getattr(params, value) if isinstance(value, str) and name != "reward" else value
        for name, value in arm.options.items()
    }
    other = options.pop("other", False)
    sgd = (params.optimiser == "sgd") != other
    chosen: dict[str, Any] = {
        "algorithm": "grpo",
        "steps": params.rl_steps * arm.times,
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
