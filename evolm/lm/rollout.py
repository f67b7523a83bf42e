"""One rollout: prompts, the group of completions sampled for each, and what they earned.

    rollout = collect(decoder, Source(task, tokenizer, REWARDS["verifier"]), settings, step=0)
    rollout.select(torch.tensor([0, 1]))   # its first two completions

Rows are completions, a group's rows side by side. Everything drawn comes from (settings.seed, step), so that a run
which resumes at a step draws what an uninterrupted one draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from evolm.lm.advantages import mixed_groups
from evolm.lm.completions import Samples
from evolm.lm.forward import Decoder
from evolm.lm.reinforce_settings import ReinforceSettings
from evolm.lm.rewards import RewardFunction, checked, overlong_penalty
from evolm.lm.sample import sample
from evolm.lm.tasks.base import Grades, Problem, Task

# Independent streams of one seed: prompts, samples, random rewards, mini-batch order.
PROMPTS, SAMPLES, REWARDS, ORDER = range(4)


@dataclass(frozen=True)
class Rollout:
    """Completions of some prompts. `prompt_of` names each row's prompt; the mask is 1 up to and with the end token.

    `logprobs` are the sampler's, of the policy as it was. `rewards` are what the loss sees, with DAPO's length penalty;
    `raw_rewards` are without. `facts` describe everything that was sampled, also what dynamic sampling dropped.
    """

    prompts: list[list[int]]
    prompt_of: Tensor  # (rows,)
    tokens: Tensor  # (rows, time)
    mask: Tensor  # (rows, time) float
    logprobs: Tensor  # (rows, time)
    rewards: Tensor  # (rows,)
    raw_rewards: Tensor  # (rows,)
    well_formed: Tensor  # (rows,) bool
    greedy_rewards: Tensor  # (groups,) of ReMax; empty where it is not used
    facts: Mapping[str, float] = field(default_factory=dict)
    reference_logprobs: Tensor | None = None  # (rows, time)

    @property
    def rows(self) -> int:
        """Number of completions."""
        return len(self.tokens)

    def select(self, rows: Tensor) -> Rollout:
        """The completions `rows`, with all prompts."""
        reference = self.reference_logprobs
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in PER_ROW}
        return replace(self, **columns, reference_logprobs=None if reference is None else reference[rows])


PER_ROW = ("prompt_of", "tokens", "mask", "logprobs", "rewards", "raw_rewards", "well_formed")


def rows_of(groups: Tensor, size: int) -> Tensor:
    """Indices of all rows of these groups, groups side by side."""
    return (groups[:, None] * size + torch.arange(size, device=groups.device)).flatten()


def seed_of(*numbers: int) -> int:
    """A 31-bit seed that depends on all of `numbers`."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> 1)


@dataclass(frozen=True)
class Source:
    """Where rollouts come from: a task's verifier, its tokenizer, a reward, and fixed problems where there are any."""

    task: Task
    tokenizer: Any
    reward: RewardFunction
    problems: Sequence[Problem] | None = None

    @property
    def eos(self) -> int:
        """The token that ends a completion."""
        return int(self.tokenizer.eos_token_id)

    @property
    def pad(self) -> int:
        """What stands after it: tokenizers of base models often have no padding token."""
        return self.eos if self.tokenizer.pad_token_id is None else int(self.tokenizer.pad_token_id)

    def ask(self, count: int, draws_before: int, seed: int) -> list[Problem]:
        """`count` problems: fresh ones of the split "rl", or the fixed ones in turn."""
        if self.problems is None:
            return self.task.problems("rl", count, seed)
        return [self.problems[(draws_before * count + i) % len(self.problems)] for i in range(count)]


def collect(decoder: Decoder, source: Source, settings: ReinforceSettings, step: int) -> Rollout:
    """Sample the rollout of `step`.

    With dynamic sampling (Yu et al. 2025, Eq. 11), groups that all agree are dropped and others drawn in their place,
    at most `max_draws` times; the rollout is then as large as what was found, and holds no row where nothing was.
    """
    size, wanted = settings.group_size, settings.prompts_per_step
    draws = settings.max_draws if settings.dynamic_sampling else 1
    parts: list[Rollout] = []
    mixed: list[Tensor] = []
    for draw in range(draws):
        parts.append(_draw(decoder, source, settings, step, step * draws + draw))
        mixed.append(mixed_groups(parts[-1].raw_rewards.view(-1, size)))  # (groups,)
        if sum(int(groups.sum()) for groups in mixed) >= wanted:
            break
    everything, is_mixed = _joined(parts), torch.cat(mixed)
    used = is_mixed.nonzero()[:wanted, 0] if settings.dynamic_sampling else torch.arange(wanted, device=is_mixed.device)
    facts = {**_facts(everything), "mixed_groups": float(is_mixed.float().mean()), "groups_drawn": float(len(is_mixed))}
    facts["groups_used"] = float(len(used))
    if len(used) == len(is_mixed):
        return replace(everything, facts=facts)
    greedy = everything.greedy_rewards[used] if len(everything.greedy_rewards) else everything.greedy_rewards
    return replace(everything.select(rows_of(used, size)), greedy_rewards=greedy, facts=facts)


def _facts(rollout: Rollout) -> dict[str, float]:
    tokens = rollout.mask.sum()
    return {
        "reward": float(rollout.raw_rewards.mean()),
        "entropy": -float((rollout.logprobs * rollout.mask).sum() / tokens),
        "length": float(tokens / rollout.rows),
        "well_formed": float(rollout.well_formed.float().mean()),
    }


def _draw(decoder: Decoder, source: Source, settings: ReinforceSettings, step: int, draw: int) -> Rollout:
    """The `draw`-th batch of prompts of the whole run, `group_size` completions of each."""
    count, size, task = settings.prompts_per_step, settings.group_size, source.task
    limit = settings.max_new_tokens or task.max_new_tokens
    asked = source.ask(count, draw, seed_of(settings.seed, draw, PROMPTS))
    prompts = task.encode(asked)
    rng = np.random.default_rng(seed_of(settings.seed, draw, REWARDS))
    name = getattr(source.reward, "__name__", "reward")

    def sampled(n: int, temperature: float) -> tuple[Samples, Grades, Tensor]:
        samples = sample(
            decoder,
            prompts,
            n,
            max_new_tokens=limit,
            eos=source.eos,
            pad=source.pad,
            temperature=temperature,
            seed=seed_of(settings.seed, draw, SAMPLES),
            method="lockstep",
        )
        grades = task.grade([asked[i] for i in samples.prompt.tolist()], samples.tokens, samples.lengths)
        rewards = checked(source.reward(grades, rng), count * n, name, step)
        return samples, grades, torch.from_numpy(rewards).to(decoder.device)

    samples, grades, raw = sampled(size, settings.temperature)
    greedy = sampled(1, 0.0)[2] if settings.algorithm == "remax" else raw.new_empty(0)
    time = torch.arange(int(samples.lengths.max()), device=decoder.device)
    rewards = raw
    if settings.overlong_buffer:
        penalty = overlong_penalty(samples.lengths.cpu().numpy(), limit, settings.overlong_buffer)
        rewards = raw + torch.from_numpy(penalty).to(raw.device)
    return Rollout(
        prompts=prompts,
        prompt_of=samples.prompt.clone(),  # cloned: the sampler's tensors may not take part in a gradient
        tokens=samples.tokens[:, : len(time)].clone(),
        mask=(time < samples.lengths[:, None]).float(),
        logprobs=samples.logprobs[:, : len(time)].clone(),
        rewards=rewards,
        raw_rewards=raw,
        well_formed=torch.from_numpy(np.asarray(grades.well_formed)).to(raw.device),
        greedy_rewards=greedy,
    )


def _joined(parts: list[Rollout]) -> Rollout:
    """Several draws as one; the shorter ones padded at the end, where their mask is 0."""
    if len(parts) == 1:
        return parts[0]
    time = max(part.tokens.shape[1] for part in parts)
    shifts = np.cumsum([0] + [len(part.prompts) for part in parts]).tolist()
    columns: dict[str, Any] = {}
    for name in PER_ROW:
        tensors = [getattr(part, name) for part in parts]
        if tensors[0].ndim == 2:
            tensors = [functional.pad(tensor, (0, time - tensor.shape[1])) for tensor in tensors]
        if name == "prompt_of":
            tensors = [tensor + shift for tensor, shift in zip(tensors, shifts, strict=False)]
        columns[name] = torch.cat(tensors)
    greedy = torch.cat([part.greedy_rewards for part in parts])
    return replace(parts[0], prompts=[p for part in parts for p in part.prompts], greedy_rewards=greedy, **columns)


def padded_rows(rollout: Rollout) -> tuple[Tensor, Tensor]:
    """Prompt and completion of every row, (rows, longest) padded on the right, and prompt lengths (rows,)."""
    longest, device = max(map(len, rollout.prompts)), rollout.tokens.device
    table = torch.tensor([prompt + [0] * (longest - len(prompt)) for prompt in rollout.prompts], device=device)
    lengths = torch.tensor([len(prompt) for prompt in rollout.prompts], device=device)[rollout.prompt_of]
    prompts = table[rollout.prompt_of]  # (rows, longest)
    if int(lengths.min()) == longest:
        return torch.cat([prompts, rollout.tokens], dim=1), lengths
    joined = torch.cat([prompts, torch.zeros_like(rollout.tokens)], dim=1)
    at = lengths[:, None] + torch.arange(rollout.tokens.shape[1], device=device)  # (rows, time)
    return joined.scatter(1, at, rollout.tokens), lengths


def completion_logits(decoder: Decoder, rollout: Rollout, group_size: int) -> Tensor:
    """Logits (rows, time, vocab) that each completion token was drawn from; differentiable.

    A group's rows, side by side, share their prompt, which is computed once for all of them.
    """
    tokens, lengths = padded_rows(rollout)
    start, time = int(lengths.min()) - 1, rollout.tokens.shape[1]
    logits = decoder.logits(tokens[:, :-1], start, group_size)  # the last token predicts nothing that was sampled
    first = lengths - 1 - start  # (rows,) where each row's first token is predicted
    if not first.any():
        return logits
    at = first[:, None] + torch.arange(time, device=logits.device)  # (rows, time)
    return logits.gather(1, at[..., None].expand(-1, -1, logits.shape[-1]))
