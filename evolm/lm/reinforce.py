"""Reinforcement from a verifier: sample groups of completions, turn rewards into advantages, step, repeat.

    result = reinforce(model, task, ReinforceSettings(algorithm="grpo", steps=200, lr=3e-4, seed=0))
    result.model, result.log                                   # trained in place; one row per step
    reinforce(model, task, settings, problems=[one] * 128)     # one-example RL
    reinforce(model, task, settings, on_step=lambda step, model: measure(model) if step % 40 == 0 else None)

The six algorithms of Yue et al. 2025 share this loop and differ in `evolm.lm.advantages`; DAPO also in its upper clip
and in drawing again for groups that all agree, PPO in its critic.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from evolm.lm.critic import Critic
from evolm.lm.forward import Decoder, decoder_for
from evolm.lm.lineage import Lineage, weights_hash
from evolm.lm.optimise import build_optimiser, load_optimiser_tensors, optimiser_tensors, set_lr
from evolm.lm.policy_loss import kl_k3, masked_mean, token_logprobs
from evolm.lm.policy_update import PolicyUpdate, UpdateStats, advantages_for, critic_advantages
from evolm.lm.reinforce_settings import ReinforceSettings
from evolm.lm.rewards import REWARDS, RewardFunction
from evolm.lm.rollout import ORDER, PROMPTS, Rollout, Source, collect, completion_logits, rows_of, seed_of
from evolm.lm.stage_folder import StageFolder
from evolm.lm.stages import StageResult
from evolm.lm.tasks.base import Problem, Task
from evolm.lm.train import BAR_AFTER
from evolm.tables import canonical_json

__all__ = ["ReinforceSettings", "Reinforcement", "reinforce"]

OnStep = Callable[[int, PreTrainedModel], None]


def reinforce(
    model: PreTrainedModel,
    task: Task,
    settings: ReinforceSettings,
    *,
    parent: str | None = None,
    reference: PreTrainedModel | None = None,
    problems: Sequence[Problem] | None = None,
    reward: RewardFunction | None = None,
    tokenizer: Any = None,
    folder: str | Path | None = None,
    on_step: OnStep | None = None,
    progress: bool = True,
) -> StageResult:
    """Train `model` in place on the task's split "rl", or on `problems` in turn; a function of the arguments.

    A log row describes the rollout and the updates of one step: step (from 1), reward, entropy (nats per token: mean of
    -log p of what was sampled), kl (k3 to the reference, per token; NaN without one), clip_fraction, length (tokens),
    mixed_groups (share of the prompts drawn), well_formed, groups_drawn, groups_used, loss, value_loss (PPO),
    grad_norm (before clipping), lr; NaN where there was no update.

    `reference` is that of the KL term and of the logged kl; where `kl_coef` asks for one and none is given it is the
    model as it was. `reward` replaces the named one. `on_step(step, model)` is called after every step. With `folder`,
    checkpoints are written to `folder/step-000100` and so on, and the same call made again goes on from the last to the
    same result. Raises BadReward, FloatingPointError where the policy diverges, CheckpointError for a folder of another
    run, and ValueError.
    """
    tokenizer = tokenizer or task.tokenizer
    _check(model, settings, reference, problems, tokenizer)
    source = Source(task, tokenizer, reward or REWARDS[settings.reward], problems)
    lineage = _lineage(source, settings, weights_hash(model), parent, reference)
    if settings.kl_coef and reference is None:
        reference = copy.deepcopy(model)
    run = Reinforcement(model, settings, source, reference)
    rows: list[dict[str, float]] = []
    begin = 0
    shelf = None if folder is None else StageFolder(Path(folder), tokenizer)
    if shelf and (last := shelf.last(lineage, settings.steps)):
        model.load_state_dict(last.model.state_dict())
        begin, log = last.lineage.steps, last.log()
        records = [] if log is None else log.to_dict("records")
        rows = [{str(name): value for name, value in record.items()} for record in records]
        run.load(last.optimiser() or {})
    was_training = model.training
    model.eval()  # dropout would make the ratio differ from 1 where nothing has changed
    try:
        steps = range(begin, settings.steps)
        for step in tqdm(steps, desc="reinforce", unit="step", delay=BAR_AFTER, leave=False, disable=not progress):
            rows.append({"step": step + 1, **run.step(step)})
            done = step + 1
            if on_step is not None:
                on_step(done, model)
            kept = done == settings.steps or (settings.checkpoint_every and done % settings.checkpoint_every == 0)
            if shelf and kept:
                state = run.state() if done < settings.steps or settings.keep_optimiser else None
                shelf.keep(model, lineage.at(done), state, pd.DataFrame(rows))
    finally:
        model.train(was_training)
    end = lineage.at(settings.steps)
    return StageResult(
        model=model,
        log=pd.DataFrame(rows),
        lineage=end,
        id=end.id(weights_hash(model)),
        checkpoints=shelf.checkpoints() if shelf else {},
        optimiser=run.state() if settings.keep_optimiser else None,
    )


class Reinforcement:
    """The state of a run: policy, optimiser, reference and, for PPO, a critic. `step` does one step of it."""

    def __init__(
        self, model: PreTrainedModel, settings: ReinforceSettings, source: Source, reference: PreTrainedModel | None
    ) -> None:
        dtype = getattr(torch, settings.dtype)
        self.model, self.settings, self.source = model, settings, source
        self.decoder = decoder_for(model, dtype)
        self.reference = None if reference is None else decoder_for(reference, dtype)
        self.optimiser = build_optimiser(model, settings)
        self.update = PolicyUpdate(self.decoder, self.optimiser, settings)
        self.critic = Critic(model, settings) if settings.algorithm == "ppo" else None

    def step(self, step: int) -> dict[str, float]:
        """One rollout and its updates; the row of the log."""
        settings = self.settings
        set_lr(self.optimiser, settings.lr_at(step))
        rollout = collect(self.decoder, self.source, settings, step)
        if self.reference is not None:
            rollout = _with_reference(rollout, self.reference, settings)
        stats, value_losses = self._updates(rollout, step) if rollout.rows else ([], [])
        mean = {name: _mean([getattr(one, name) for one in stats]) for name in ("clip_fraction", "loss", "grad_norm")}
        return {
            **rollout.facts,
            "kl": _kl(rollout),
            **mean,
            "value_loss": _mean(value_losses),
            "lr": settings.lr_at(step),
        }

    def _updates(self, rollout: Rollout, step: int) -> tuple[list[UpdateStats], list[float]]:
        settings, stats, value_losses = self.settings, [], []
        if self.critic is not None:
            values = self.critic.values(rollout)
            advantages, returns = critic_advantages(rollout, values, settings)
        else:
            advantages = advantages_for(rollout, settings)
        for rows in _mini_batches(rollout, settings, step):
            part = rollout if len(rows) == rollout.rows else rollout.select(rows)
            stats.append(self.update(part, advantages[rows]))
            if self.critic is not None:
                value_losses.append(self.critic.update(part, values[rows], returns[rows]))
        return stats, value_losses

    def state(self) -> dict[str, Tensor]:
        """Everything beside the weights that the next step depends on."""
        critic = {} if self.critic is None else {f"critic/{name}": x for name, x in self.critic.state().items()}
        return optimiser_tensors(self.optimiser, self.model) | critic

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`."""
        own = {name: tensor for name, tensor in state.items() if not name.startswith("critic/")}
        load_optimiser_tensors(self.optimiser, self.model, own)
        self.decoder.refresh()
        if self.critic is not None and state:
            self.critic.load({name.removeprefix("critic/"): state[name] for name in state.keys() - own.keys()})


def _mini_batches(rollout: Rollout, settings: ReinforceSettings, step: int) -> Iterator[Tensor]:
    """Rows of each update: whole groups, in a new order for every pass."""
    groups = rollout.rows // settings.group_size
    rng = np.random.default_rng(seed_of(settings.seed, step, ORDER))
    for _ in range(settings.epochs):
        if settings.mini_batches == 1:
            yield torch.arange(rollout.rows, device=rollout.tokens.device)
            continue
        for part in np.array_split(rng.permutation(groups), settings.mini_batches):
            if len(part):  # dynamic sampling may have found fewer groups than there are mini-batches
                yield rows_of(torch.from_numpy(part).to(rollout.tokens.device), settings.group_size)


@torch.no_grad()
def _with_reference(rollout: Rollout, reference: Decoder, settings: ReinforceSettings) -> Rollout:
    """The rollout with the reference's log-probabilities of its tokens."""
    size, parts = settings.group_size, []
    groups = torch.arange(rollout.rows // size, device=rollout.tokens.device)
    for some in groups.split(max(1, (settings.rows_per_forward or rollout.rows) // size)):
        part = rollout.select(rows_of(some, size))
        parts.append(token_logprobs(completion_logits(reference, part, size), part.tokens, settings.temperature))
    return replace(rollout, reference_logprobs=torch.cat(parts)) if len(groups) else rollout


def _kl(rollout: Rollout) -> float:
    if rollout.reference_logprobs is None:
        return float("nan")
    return float(masked_mean(kl_k3(rollout.logprobs, rollout.reference_logprobs), rollout.mask, "token"))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _lineage(
    source: Source,
    settings: ReinforceSettings,
    start: str,
    parent: str | None,
    reference: PreTrainedModel | None,
) -> Lineage:
    """What a checkpoint of this run says of it; two calls with one lineage are one run."""
    fixed = source.problems or source.ask(settings.prompts_per_step, 0, seed_of(settings.seed, 0, PROMPTS))
    data = [source.task.encode(fixed), [problem.answer for problem in fixed]]  # of fresh problems, the first step's
    described = getattr(source.task, "settings", None)
    more = {
        "task": source.task.name,
        "task_settings": described.model_dump(mode="json") if isinstance(described, BaseModel) else None,
        "reward_function": getattr(source.reward, "__qualname__", type(source.reward).__qualname__),
        "fixed_problems": None if source.problems is None else len(source.problems),
        "reference": None if reference is None else weights_hash(reference),
    }
    digest = hashlib.sha256(canonical_json(data)).hexdigest()[:16]
    taken = settings.model_dump(mode="json") | more
    return Lineage(stage="reinforce", parent=parent, start=start, data=digest, settings=taken)


def _check(
    model: PreTrainedModel,
    settings: ReinforceSettings,
    reference: PreTrainedModel | None,
    problems: Sequence[Problem] | None,
    tokenizer: Any,
) -> None:
    if tokenizer is None:
        raise ValueError("the task brings no tokenizer; give tokenizer=, the one that the model was trained with")
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no eos_token; set one, so that a completion can end")
    if problems is not None and not problems:
        raise ValueError("problems is empty; give at least one, or None for fresh problems of the split 'rl'")
    if reference is not None and reference.config.vocab_size != model.config.vocab_size:
        sizes = f"{reference.config.vocab_size} tokens, the model {model.config.vocab_size}"
        raise ValueError(f"the reference has a vocabulary of {sizes}; KL needs the same tokens in both")
