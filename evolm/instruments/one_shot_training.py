"""Reinforcement of a small model on many problems and on one, and what each run scores on problems it never saw.

    runs = Runs(open_model("./base"), "problems.jsonl", OneShotOptions(steps=60))
    runs.base, runs.full()                                  what was measured, before and after the pool
    runs.ranking()                                          the pool, by historical variance in that run
    runs.one(runs.pool[3]), runs.one(runs.pool[3], "format")

Every run starts from the same weights, takes as many steps and draws with the same seed; a model on disk is only read.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from evolm.instruments.causal_model import OpenModel
from evolm.instruments.one_shot_held_out import Outcome, evaluate, split
from evolm.instruments.one_shot_ranking import rank_examples
from evolm.instruments.passk_models import DrawOptions, open_task
from evolm.lm.forward import decoder_for
from evolm.lm.reinforce import ReinforceSettings, reinforce
from evolm.lm.rewards import RewardFunction, RewardName
from evolm.lm.rollout_log import RolloutLog
from evolm.lm.tasks.base import Problem, Task

#: Models of at least this many parameters start from the learning rate of the paper.
LARGE = 10_000_000
LARGE_LR, SMALL_LR, SGD_LR = 1e-6, 3e-4, 3e-3
#: The last training rewards whose mean is reported.
LAST = 10


@dataclass(frozen=True)
class OneShotOptions:
    """How models are trained and tested; `measure_one_shot` says what each means."""

    pool: int = 32
    epochs: int | None = None
    steps: int = 60
    prompts_per_step: int = 16
    group_size: int = 8
    optimiser: Literal["adamw", "sgd"] = "adamw"
    lr: float | None = None
    momentum: float = 0.9
    kl_coef: float = 0.0
    entropy_coef: float = 0.0
    examples: int = 3
    held_out: int = 200
    samples: int = 8
    temperature: float = 1.0
    max_new_tokens: int = 256
    template: str | None = None
    grader: Literal["math", "last_number"] = "math"
    config: dict[str, Any] = field(default_factory=dict)
    rows_per_forward: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.prompts_per_step, self.samples, self.held_out, self.examples) < 1 or self.pool < 2:
            raise ValueError(
                f"steps {self.steps}, prompts_per_step {self.prompts_per_step}, samples {self.samples}, held_out "
                f"{self.held_out}, examples {self.examples}, pool {self.pool}: expected positive numbers, a pool of 2"
            )
        if self.examples > self.pool:
            raise ValueError(f"examples is {self.examples}, but the pool holds {self.pool}; lower examples")
        passes = self.steps * self.prompts_per_step // self.pool
        if passes < 2 or (self.epochs or 2) < 2 or (self.epochs or 2) > passes:
            raise ValueError(
                f"{self.steps} steps of {self.prompts_per_step} prompts are {passes} whole passes over {self.pool} "
                f"problems and epochs is {self.epochs}; a ranking needs 2 passes or more, so raise steps or lower pool"
            )
        if self.template == "four-shot":
            raise ValueError("template four-shot ends completions at a line; training needs them to end with EOS")

    def reinforcement(self, model: torch.nn.Module, reward: RewardName, longest: int) -> ReinforceSettings:
        """GRPO with one update per rollout, as the released code of the paper does on eight GPUs.

        `longest` is the task's own limit of a completion's tokens.
        """
        large = sum(p.numel() for p in model.parameters()) >= LARGE
        usual = SGD_LR if self.optimiser == "sgd" else LARGE_LR if large else SMALL_LR
        on_gpu = next(model.parameters()).is_cuda
        return ReinforceSettings(
            reward=reward,
            steps=self.steps,
            prompts_per_step=self.prompts_per_step,
            group_size=self.group_size,
            optimiser=self.optimiser,
            lr=usual if self.lr is None else self.lr,
            momentum=self.momentum if self.optimiser == "sgd" else 0.0,
            kl_coef=self.kl_coef,
            entropy_coef=self.entropy_coef,
            temperature=self.temperature,
            max_new_tokens=min(longest, self.max_new_tokens),
            rows_per_forward=self.rows_per_forward,
            dtype="bfloat16" if on_gpu else "float32",
            keep_optimiser=False,
            seed=self.seed,
        )


class Runs:
    """A model, its pool of training problems and its held-out ones. Runs are made when asked for, each once."""

    def __init__(self, model: OpenModel, source: str, options: OneShotOptions) -> None:
        self.name, self.options = model.name, options
        self.policy = model.decoder.model.float()  # half precision cannot hold small updates
        drawn = DrawOptions(
            max_new_tokens=options.max_new_tokens,
            template=options.template,
            grader=options.grader,
            config=options.config,
        )
        self.task = cast(Task, open_task(source, model.tokenizer, drawn))
        self.pool, self.held_out = split(self.task, options.pool, options.held_out, options.seed)
        self.base = self._evaluate(self.policy)
        self.log = pd.DataFrame()
        self._done: dict[tuple[str, ...], Outcome] = {}
        self._bar: Any = None

    def __enter__(self) -> Runs:
        total = self.options.steps * (3 + 2 * self.options.examples)
        self._bar = tqdm(total=total, desc=self.name, unit="step", disable=None)
        self._threads = torch.get_num_threads()
        if self.policy.num_parameters() < LARGE:
            torch.set_num_threads(1)  # more are slower where products are this small
        return self

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self._threads)
        self._bar.close()

    def full(self) -> Outcome:
        """Reinforcement on the whole pool, its problems in turn; `log` then holds its rollouts."""
        if ("full",) not in self._done:
            log = RolloutLog([p.id for p in self.pool], self.options.prompts_per_step, self.options.group_size)
            self._done["full",] = self._train("full set", self.pool, "verifier", log)
            self.log = log.table()
        return self._done["full",]

    def ranking(self) -> pd.DataFrame:
        """The pool by historical variance over the first `epochs` passes of the run on all of it."""
        self.full()
        return rank_examples(self.log[self.log["epoch"] < (self.options.epochs or np.inf)])

    def one(self, problem: Problem, reward: RewardName = "verifier") -> Outcome:
        """Reinforcement on this problem alone: every prompt of every step is it, in groups of its own."""
        key = (problem.id, reward)
        if key not in self._done:
            self._done[key] = self._train(f"one example, {reward} reward", [problem], reward)
        elif self._bar is not None:
            self._bar.total -= self.options.steps  # drawn by chance and ranked at the top: one run serves both
        return self._done[key]

    def _train(
        self, label: str, problems: Sequence[Problem], reward: RewardName, log: RewardFunction | None = None
    ) -> Outcome:
        model = copy.deepcopy(self.policy)
        settings = self.options.reinforcement(model, reward, self.task.max_new_tokens)
        if self._bar is not None:
            self._bar.set_postfix_str(label)

        def count(step: int, _: Any) -> None:
            if self._bar is not None:
                self._bar.update()

        result = reinforce(model, self.task, settings, problems=problems, reward=log, on_step=count, progress=False)
        return replace(self._evaluate(model), reward=float(result.log["reward"].tail(LAST).mean()))

    def _evaluate(self, model: Any) -> Outcome:
        decoder = decoder_for(model, torch.bfloat16 if next(model.parameters()).is_cuda else None)
        return evaluate(
            decoder,
            self.task,
            self.held_out,
            samples=self.options.samples,
            temperature=self.options.temperature,
            max_new_tokens=self.options.max_new_tokens,
            seed=self.options.seed,
        )
