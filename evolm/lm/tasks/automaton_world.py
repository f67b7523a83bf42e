"""The world of the routing task: transition tables, chains, problems as arrays, and their split.

A method m holds one random permutation of the states for every input symbol x. A problem is an input x_0..x_K and a
method m; its chain is y_0 = x_0, y_i = T_m[x_i][y_{i-1}]. Everything here is numpy over rows of problems.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from evolm.lm.tasks.base import SPLITS, Array, NotEnoughProblems, Split, check_split, integer_keys, split_indices

_CHUNK = 4096  # problems drawn at a time: fixed, so that a longer draw begins with a shorter one
_PATIENCE = 50  # chunks in a row without a new problem before a split counts as used up


class AutomatonSettings(BaseModel):
    """The knobs of the automaton-routing task. `world_seed` redraws tables and split; the rest names the format."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    states: int = Field(13, ge=2, le=256, description="states, and input symbols")
    steps: int = Field(8, ge=1, le=64, description="steps of a chain")
    prior: tuple[float, ...] = Field(
        (0.36, 0.20, 0.13, 0.09, 0.06, 0.04, 0.12),
        description="probability of each method in the environment; the last method, E, is absent from corpora",
    )
    cue: float = Field(1.0, ge=0, le=1, description="probability that the cue names the method; else it is uniform")
    answer_states: int = Field(6, ge=1, description="the answer is this many last states; those before are free")
    emit_start: bool = Field(False, description="completions state y_0 before y_1")
    mode: bool = Field(False, description="completions begin with a mode token, careful or sloppy")
    world_seed: int = Field(0, ge=0, description="draws the tables and the split")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.prior) < 2 or min(self.prior) < 0 or not np.isclose(sum(self.prior), 1):
            raise ValueError(
                f"prior is {self.prior}; it needs a probability for each of two or more methods, the last of them "
                "the absent one, that sum to 1."
            )
        if self.answer_states > self.steps:
            raise ValueError(
                f"answer_states is {self.answer_states} but a chain has only {self.steps} states; lower answer_states "
                "or raise steps."
            )
        return self

    @property
    def methods(self) -> int:
        """Number of methods, the absent one included."""
        return len(self.prior)

    @property
    def absent(self) -> int:
        """Index of E, the method that corpora never use."""
        return len(self.prior) - 1

    @property
    def chain_length(self) -> int:
        """States in a completion."""
        return self.steps + self.emit_start

    @property
    def completion_length(self) -> int:
        """Tokens of a well-formed completion: mode if there is one, style, states, EOS."""
        return self.mode + 1 + self.chain_length + 1


@dataclass(frozen=True)
class Draw:
    """Problems as arrays: inputs x (rows, steps + 1), method, cue and 64-bit key (rows,)."""

    x: Array
    method: Array
    cue: Array
    keys: Array

    def __getitem__(self, rows: Array | slice) -> Draw:
        return Draw(self.x[rows], self.method[rows], self.cue[rows], self.keys[rows])

    def __len__(self) -> int:
        return len(self.keys)


class AutomatonWorld:
    """Tables of one world, and problems drawn from its environment."""

    def __init__(self, settings: AutomatonSettings) -> None:
        self.settings = settings
        rng = np.random.default_rng([settings.world_seed, 0])
        identity = np.tile(np.arange(settings.states), (settings.methods, settings.states, 1))
        self.tables = rng.permuted(identity, axis=-1)  # (method, x, y before) -> y after

    @cached_property
    def salt(self) -> tuple[int, ...]:
        """What sets problems of this world apart from those of another."""
        return (self.settings.states, self.settings.steps, self.settings.methods, self.settings.world_seed)

    def keys(self, x: Array, method: Array) -> Array:
        """64-bit keys (rows,) of the problems. The cue has no part in them: a problem keeps its split at every cue."""
        return integer_keys(np.column_stack([method, x]), self.salt)

    def chains(self, x: Array, method: Array) -> Array:
        """y_1..y_K, (rows, steps), of inputs x (rows, steps + 1) under `method` (rows,)."""
        y = np.empty((len(x), self.settings.steps), np.int64)
        state = x[:, 0]
        for step in range(self.settings.steps):
            y[:, step] = state = self.tables[method, x[:, step + 1], state]
        return y

    def draw(self, split: Split, count: int, seed: int, methods: tuple[int, ...] | None = None) -> Draw:
        """`count` distinct problems of `split`; `methods` keeps to those methods, in the environment's proportions.

        The same seed gives the same x, method and uniform number behind the cue at every `cue`, and a longer draw
        begins with the shorter one. Fails with `NotEnoughProblems`, or ValueError for a split or methods not there.
        """
        check_split(split)
        prior = self._restricted(methods)
        rng = np.random.default_rng([self.settings.world_seed, seed, SPLITS.index(split), 1])
        found = self._chunk(rng, prior, split)
        idle = 0
        while len(found) < count:
            more = self._chunk(rng, prior, split)
            fresh = ~np.isin(more.keys, found.keys)
            idle = 0 if fresh.any() else idle + 1
            if idle == _PATIENCE:
                raise NotEnoughProblems(
                    f"The {split} split of this automaton world holds about {len(found)} distinct problems, and "
                    f"{count} were asked for; ask for fewer, or take more states or steps."
                )
            found = _joined(found, more[fresh])
        return found[:count]

    def _chunk(self, rng: np.random.Generator, prior: Array, split: Split) -> Draw:
        """The problems of `split` among a chunk of the environment's, first occurrences only."""
        s = self.settings
        x = rng.integers(s.states, size=(_CHUNK, s.steps + 1))
        method = rng.choice(s.methods, size=_CHUNK, p=prior)
        cue = np.where(rng.random(_CHUNK) < s.cue, method, rng.integers(s.methods, size=_CHUNK))
        keys = self.keys(x, method)
        first = np.unique(keys, return_index=True)[1]
        kept = np.zeros(_CHUNK, bool)
        kept[first] = True
        kept &= split_indices(keys) == SPLITS.index(split)
        return Draw(x, method, cue, keys)[kept]

    def _restricted(self, methods: tuple[int, ...] | None) -> Array:
        """The environment's prior kept to `methods` and normalised."""
        prior = np.array(self.settings.prior)
        if methods is not None:
            wrong = [m for m in methods if not 0 <= m < self.settings.methods]
            if wrong or not methods:
                raise ValueError(f"methods is {tuple(methods)}; give some of 0 to {self.settings.methods - 1}.")
            prior = np.where(np.isin(np.arange(len(prior)), methods), prior, 0.0)
            if prior.sum() == 0:
                raise ValueError(f"The environment's prior of methods {tuple(methods)} is 0; none can be drawn.")
        return prior / prior.sum()


def _joined(a: Draw, b: Draw) -> Draw:
    return Draw(*(np.concatenate(pair) for pair in zip(vars(a).values(), vars(b).values(), strict=True)))
