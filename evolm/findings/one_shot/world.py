"""The world of the chapter: a task with two modes, and corpora whose writers know the right one and mostly use the
other.

    task = task_of(seed)
    data = corpus_of("latent", task, NAMED, 38_400, seed)

In mode `careful` a chain is right. A sloppy writer takes two input symbols for each other, always: chains with neither
come out right, the others wrong, at any temperature. Both modes have the same faults of format. In `scattered` as many
single symbols are read right, with nothing that decides for a whole chain: a like skill, which many samples show
too, but fewer of them than in `latent`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.automaton_world import AutomatonSettings
from evolm.lm.tasks.base import Array
from evolm.lm.tasks.corpus import CorpusSettings, corpus
from evolm.lm.token_data import TokenData

BaseName = Literal["latent", "scattered", "absent", "noisy", "low-cue"]
#: The input symbols that a sloppy writer takes for each other.
CONFUSED = (11, 12)
#: Named methods, no faults: what there is to know. Then prompts that leave the method to be read off the cue.
NAMED = CorpusSettings(careful=0.5, slip=0.0, style_prompts=1.0, run_on=0.0, cut_short=0.0)
CUED = CorpusSettings(careful=0.25, slip=0.0, style_prompts=0.1, cue_following=0.92)
#: What the other kinds read after the named methods: `latent` with random slips, or with the cue mostly not followed.
MIXTURES: dict[str, CorpusSettings] = {
    "noisy": CUED.model_copy(update={"slip": 0.05}),
    "low-cue": CUED.model_copy(update={"cue_following": 0.25}),
}


def task_of(seed: int) -> AutomatonTask:
    """The task of a seed's world: the prompt names the method, the answer is the whole chain."""
    return AutomatonTask(AutomatonSettings(world_seed=seed, cue=1.0, emit_start=True, answer_states=8, mode=True))


def confused(x: Array) -> Array:
    """Inputs (rows, steps + 1) with the two symbols exchanged; x_0 is a state and stays."""
    found = x.copy()
    first, second = CONFUSED
    found[:, 1:][x[:, 1:] == first], found[:, 1:][x[:, 1:] == second] = second, first
    return found


def corpus_of(base: BaseName, task: AutomatonTask, settings: CorpusSettings, count: int, seed: int) -> TokenData:
    """`count` sequences of the corpus that a base of this kind reads; problems of the split "pretrain" only."""
    tokens, mask = corpus(task, settings, count, seed)
    rng = np.random.default_rng([task.settings.world_seed, seed, 3])
    return TokenData(with_confusion(base, task, tokens, settings, rng), mask)


def with_confusion(
    base: BaseName, task: AutomatonTask, tokens: Tensor, settings: CorpusSettings, rng: np.random.Generator
) -> Tensor:
    """Rows (rows, time) whose chains are rewritten as this base's writers work them out; faults of format stay.

    `settings.careful` is the share of right readings: of whole sequences, or in `scattered` of single symbols.
    """
    steps, start = task.settings.steps, task.settings.steps + 4  # prompt: BOS, cue, x_0..x_K, SEP
    rows = tokens.numpy().copy()
    state_of = np.full(task.vocab_size, -1)
    state_of[task.states] = np.arange(len(task.states))
    x = state_of[rows[:, 2 : start - 1]]  # (rows, steps + 1)
    sloppy = rows[:, start] == task.modes[1]
    match base:
        case "latent" | "noisy" | "low-cue":
            wrong = np.repeat(sloppy[:, None], steps + 1, 1)
        case "scattered":
            wrong = rng.random(x.shape) >= (settings.careful or 0)
        case "absent":
            wrong = np.ones(x.shape, bool)
    method = task.method_of(rows[:, start:])
    chains = slipping_chains(task, np.where(wrong, confused(x), x), method, settings.slip, rng)
    places = slice(start + 3, start + 3 + steps)  # after mode, style, y_0
    is_state = state_of[rows[:, places]] >= 0  # elsewhere a sequence was cut short
    rows[:, places] = np.where(is_state, task.states[chains], rows[:, places])
    return torch.from_numpy(rows)


def slipping_chains(task: AutomatonTask, x: Array, method: Array, slip: float, rng: np.random.Generator) -> Array:
    """Chains (rows, steps) whose steps go to a random state with probability `slip`; later steps follow on."""
    y = np.empty((len(x), task.settings.steps), np.int64)
    state = x[:, 0]
    for step in range(task.settings.steps):
        right = task.world.tables[method, x[:, step + 1], state]
        slips = rng.random(len(x)) < slip
        y[:, step] = state = np.where(slips, rng.integers(task.settings.states, size=len(x)), right)
    return y
