"""What routing by the cue alone can reach: the closed form behind "reinforcement narrows" in the automaton task.

A policy that maximises expected reward and sees only the cue token c must put all its probability on
argmax_m P(m | c). Off the cue's word it then solves nothing, however many samples are drawn, so its coverage at any k
is sum_c max_m P(m, c): below cue 1 the narrowing is there by construction. With false cues uniform over the M tokens,
P(m, c) = p_m (cue [m = c] + (1 - cue) / M), and method j is worth its own cue exactly where
cue / (1 - cue) > (p_0 - p_j) / (M p_j), p_0 being the most frequent known method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evolm.lm.tasks.automaton_world import AutomatonSettings
from evolm.lm.tasks.base import Array


@dataclass(frozen=True)
class BayesRouting:
    """`route` (cue token,): the known method to use; `coverage`: share of problems it solves without slips.

    `by_method` (method,): share of each method's problems that are solved. `thresholds` (method,): the cue
    above which a method is used on its own cue; infinite for the absent one.
    """

    route: Array
    coverage: float
    by_method: Array
    thresholds: Array


def bayes_routing(settings: AutomatonSettings, cue: float | None = None) -> BayesRouting:
    """Expected-reward-optimal routing among the known methods at `cue` (default: that of the settings)."""
    cue = settings.cue if cue is None else cue
    if not 0 <= cue <= 1:
        raise ValueError(f"cue is {cue}; it is a probability, between 0 and 1.")
    prior, methods = np.array(settings.prior), settings.methods
    likelihood = cue * np.eye(methods) + (1 - cue) / methods  # (method, cue token)
    joint = prior[:, None] * likelihood
    route = joint[: settings.absent].argmax(0)  # ties go to the lower index
    tokens = np.arange(methods)
    by_method = np.zeros(methods)
    np.add.at(by_method, route, likelihood[route, tokens])
    with np.errstate(divide="ignore"):
        ratio = (prior[: settings.absent].max() - prior) / (methods * prior)
    thresholds = np.where(np.isinf(ratio), 1.0, ratio / (1 + np.where(np.isinf(ratio), 0, ratio)))
    thresholds[settings.absent] = np.inf
    return BayesRouting(route, float(joint[route, tokens].sum()), by_method, thresholds)
