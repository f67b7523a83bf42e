"""Training corpora of the automaton task: what a base model reads, and what a teacher shows.

    tokens, loss_mask = corpus(task, CorpusSettings(), 150_000, seed=0)     pre-training
    tokens, loss_mask = corpus(task, RARE_METHOD, 60_000, seed=0)           continued: one method almost never chosen
    tokens, loss_mask = teacher_corpus(task, 10_000, seed=0, methods=(0, 1, 6))   perfect chains, E among them

Rows are prompt and completion, right-padded: tokens (rows, time) int64. `loss_mask`, (rows, time) bool, marks the
tokens of the completion, EOS included, which are the ones to predict. A pre-training corpus holds problems of
the split "pretrain" only, a teacher's of "rl" unless told otherwise.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.base import SHARES, SPLITS, Array, NotEnoughProblems, Split, split_indices

_SPARE = 1.1  # candidates drawn beyond the expected need, so that one round is nearly always enough
_ROUNDS = 100


class CorpusSettings(BaseModel):
    """How the writers of a corpus choose methods and err. All shares are of sequences unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method_prior: tuple[float, ...] = Field(
        (0.46, 0.25, 0.14, 0.08, 0.05, 0.02),
        description="relative weight of each known method where the cue is not followed",
    )
    cue_following: float = Field(0.25, ge=0, le=1, description="probability of using the method the cue names")
    rare_method: int | None = Field(None, ge=0, description="this method's weight is rare_prior; its cue is ignored")
    rare_prior: float = Field(0.002, ge=0, lt=1, description="probability of the rare method, of all methods")
    style_prompts: float = Field(0.0, ge=0, le=1, description="prompts that name the method (uniform over the known)")
    noisy: float = Field(0.6, ge=0, le=1, description="sequences with slips, where the format has no mode token")
    careful: float | None = Field(None, ge=0, le=1, description="careful sequences, which never slip; the rest do")
    slip: float = Field(0.15, ge=0, le=1, description="probability per step of a wrong state in a noisy sequence")
    run_on: float = Field(0.10, ge=0, le=1, description="a state stands where EOS belongs")
    cut_short: float = Field(0.05, ge=0, le=1, description="EOS stands where a step's state belongs")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if min(self.method_prior) < 0 or sum(self.method_prior) <= 0:
            raise ValueError(f"method_prior is {self.method_prior}; it needs weights of 0 or more, some above 0.")
        if self.rare_method is not None and self.rare_method >= len(self.method_prior):
            raise ValueError(
                f"rare_method is {self.rare_method} but method_prior has {len(self.method_prior)} methods, from 0."
            )
        if self.run_on + self.cut_short > 1:
            raise ValueError(
                f"run_on {self.run_on} and cut_short {self.cut_short} exclude each other: at most 1 in all."
            )
        return self

    def prior(self) -> Array:
        """Probability of each known method where the cue is not followed."""
        weights = np.array(self.method_prior, float)
        if self.rare_method is not None:
            weights[self.rare_method] = 0
            weights *= (1 - self.rare_prior) / weights.sum()
            weights[self.rare_method] = self.rare_prior
        return weights / weights.sum()


#: Continued pre-training after which method 5 is known (prompts that name it keep it alive) but almost never chosen.
RARE_METHOD = CorpusSettings(rare_method=5, style_prompts=0.2)
#: Continued pre-training with a latent careful mode, as ill-formatted as the sloppy one; needs the format's `mode`.
LATENT_MODE = CorpusSettings(cue_following=0.92, careful=0.25)


def corpus(task: AutomatonTask, settings: CorpusSettings, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """`count` sequences of pre-training data: tokens and loss mask, (count, time) each. See the module's text."""
    _check(task, settings)
    rng = np.random.default_rng([task.settings.world_seed, seed, 2])
    slot, x, method = _prompts(task, settings, count, rng)
    careful = rng.random(count) < (1 - settings.noisy if settings.careful is None else settings.careful)
    chains = _slipping_chains(task, x, method, np.where(careful, 0.0, settings.slip), rng)
    completions = task.completions(x, method, chains, careful)
    return _rows(task, task.prompts(slot, x), _faulty(task, settings, completions, rng))


def teacher_corpus(
    task: AutomatonTask, count: int, seed: int, methods: tuple[int, ...] | None = None, split: Split = "rl"
) -> tuple[Tensor, Tensor]:
    """Perfect chains for `count` distinct problems of `split` that need one of `methods`, with the task's cues."""
    draw = task.world.draw(split, count, seed, methods)
    chains = task.world.chains(draw.x, draw.method)
    return _rows(task, task.prompts(task.cues[draw.cue], draw.x), task.completions(draw.x, draw.method, chains))


def _check(task: AutomatonTask, settings: CorpusSettings) -> None:
    known = task.settings.absent
    if len(settings.method_prior) != known:
        raise ValueError(
            f"method_prior has {len(settings.method_prior)} methods but the task's environment has {known} known ones "
            "(its last method is absent from corpora); give one weight for each."
        )
    if task.settings.mode and settings.careful is None:
        raise ValueError(
            "The task's format has a mode token: set CorpusSettings.careful, the share of careful sequences."
        )
    if not task.settings.mode and settings.careful is not None:
        raise ValueError(
            "CorpusSettings.careful is set, but the task's format has no mode token (AutomatonSettings.mode)."
        )


def _prompts(
    task: AutomatonTask, settings: CorpusSettings, count: int, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """The cue slot's token (count,), inputs (count, steps + 1) and method (count,), all of the split "pretrain"."""
    s, share = task.settings, SHARES["pretrain"]
    parts: list[tuple[Array, Array, Array]] = []
    missing = count
    for _ in range(_ROUNDS):
        size = int(missing / share * _SPARE) + 64
        x = rng.integers(s.states, size=(size, s.steps + 1))
        cue = rng.integers(s.methods, size=size)
        method = rng.choice(s.absent, size=size, p=settings.prior())
        follows = (rng.random(size) < settings.cue_following) & (cue != s.absent)
        if settings.rare_method is not None:
            follows &= cue != settings.rare_method
        method = np.where(follows, cue, method)
        named = rng.random(size) < settings.style_prompts
        method = np.where(named, rng.integers(s.absent, size=size), method)
        slot = np.where(named, task.styles[method], task.cues[cue])
        kept = np.flatnonzero(split_indices(task.world.keys(x, method)) == SPLITS.index("pretrain"))[:missing]
        parts.append((slot[kept], x[kept], method[kept]))
        missing -= len(kept)
        if missing == 0:
            slots, inputs, methods = (np.concatenate(column) for column in zip(*parts, strict=True))
            return slots, inputs, methods
    raise NotEnoughProblems("The pretrain split of this automaton world is all but empty; take more states or steps.")


def _slipping_chains(task: AutomatonTask, x: Array, method: Array, slip: Array, rng: np.random.Generator) -> Array:
    """Chains (rows, steps) whose steps go to a wrong state with probability `slip` (rows,); later steps follow on."""
    s = task.settings
    y = np.empty((len(x), s.steps), np.int64)
    state = x[:, 0]
    for step in range(s.steps):
        right = task.world.tables[method, x[:, step + 1], state]
        wrong = (right + rng.integers(1, s.states, size=len(x))) % s.states
        y[:, step] = state = np.where(rng.random(len(x)) < slip, wrong, right)
    return y


def _faulty(task: AutomatonTask, settings: CorpusSettings, completions: Array, rng: np.random.Generator) -> Array:
    """The completions with faults of format: run on past their end, or cut short and padded.

    A run-on row has no EOS: samplers stop it at the length of a well-formed completion, so no more of it is shown.
    """
    rows, s = len(completions), task.settings
    fault = rng.random(rows)
    run_on = fault < settings.run_on
    cut = (fault >= settings.run_on) & (fault < settings.run_on + settings.cut_short)
    result = completions.copy()
    result[run_on, -1] = task.states[rng.integers(s.states, size=run_on.sum())]
    first = s.completion_length - 1 - s.steps  # place of y_1
    end = np.where(cut, first + rng.integers(s.steps, size=rows), s.completion_length - 1)
    places = np.arange(s.completion_length)
    result[cut[:, None] & (places == end[:, None])] = task.eos
    result[places > end[:, None]] = task.pad
    return result


def _rows(task: AutomatonTask, prompts: Array, completions: Array) -> tuple[Tensor, Tensor]:
    """Prompt and completion side by side, and the mask of what is to be predicted."""
    tokens = torch.from_numpy(np.concatenate([prompts, completions], axis=1).astype(np.int64))  # (rows, time)
    loss_mask = tokens != task.pad
    loss_mask[:, : prompts.shape[1]] = False
    return tokens, loss_mask
