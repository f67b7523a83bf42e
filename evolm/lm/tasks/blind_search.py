"""How often strategies that do not know the method of an automaton problem answer it: exact, by dynamic programming.

All three give probabilities per sample, (problems,). Inputs x are (problems, steps + 1), chains (problems, steps).
"""

from __future__ import annotations

import numpy as np

from evolm.lm.tasks.automaton_world import AutomatonWorld
from evolm.lm.tasks.base import Array


def answer_marginal(world: AutomatonWorld, chains: Array) -> Array:
    """Probability that the answer of an independent problem of the environment is this problem's answer.

    Over random inputs the states of a chain under method m are a Markov chain whose transition from a to b has
    the share of symbols x with T_m[x][a] = b.
    """
    s = world.settings
    total = np.zeros(len(chains))
    for prior, table in zip(s.prior, world.tables, strict=True):
        transition = (table[:, :, None] == np.arange(s.states)).mean(0)  # (before, after)
        start = np.full((len(chains), s.states), 1 / s.states)
        weights = np.broadcast_to(transition, (len(chains), s.steps, s.states, s.states))
        total += prior * _reaches(start, weights, chains, s.answer_states)
    return total


def step_blind(world: AutomatonWorld, x: Array, chains: Array) -> Array:
    """Success when each step is a legal successor: T_m[x_i][y_{i-1}] under a known method m drawn anew at each step."""
    s = world.settings
    known = world.tables[: s.absent]
    legal = (known[..., None] == np.arange(s.states)).mean(0)  # (x, before, after)
    start = np.eye(s.states)[x[:, 0]]
    return _reaches(start, legal[x[:, 1:]], chains, s.answer_states)


def random_routing(world: AutomatonWorld, x: Array, chains: Array) -> Array:
    """Success when one known method is drawn at random and carried out without a slip."""
    s = world.settings
    hits = np.zeros(len(chains))
    for method in range(s.absent):
        other = world.chains(x, np.full(len(x), method))
        hits += (other[:, -s.answer_states :] == chains[:, -s.answer_states :]).all(1)
    return hits / s.absent


def _reaches(start: Array, weights: Array, chains: Array, answer_states: int) -> Array:
    """Probability that a walk from `start`, (problems, states), visits the last `answer_states` of `chains`.

    `weights` (problems, steps, before, after) are the transition probabilities of each step.
    """
    steps = chains.shape[1]
    rows = np.arange(len(chains))
    mass = start
    for step in range(steps):
        mass = np.einsum("pa,pab->pb", mass, weights[:, step])
        if step >= steps - answer_states:
            reached = mass[rows, chains[:, step]]
            mass = np.zeros_like(mass)
            mass[rows, chains[:, step]] = reached
    return mass.sum(1)
