"""What is measured on a model: accuracy on held-out problems, and what has changed inside.

    bench = Bench(params, task, seed)
    bench.accuracy(model)       # a row per group of problems
    bench.inside(model)                     # one row

Which problems a run may look at follows from its seed (`protocol`).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from evolm.findings.one_shot.examples import kinds_of
from evolm.findings.one_shot.protocol import splits_of
from evolm.lm.certify import certified
from evolm.lm.forward import Decoder, decoder_for
from evolm.lm.passk import pass_at_k_from_p
from evolm.lm.sample import sample
from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.base import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from evolm.findings.one_shot.parameters import OneShotParams

KS = (1, 16, 256)
TOLERANCE = 1e-7
#: Prompts sampled at temperature 1 for the format and the entropy of completions.
SAMPLED = 200
COOL = 0.2


class Bench:
    """The held-out problems of one world, and the measurements made on them."""

    def __init__(self, params: OneShotParams, task: AutomatonTask, seed: int) -> None:
        self.params, self.task, self.seed = params, task, seed
        counts = {"validation": params.validation_problems, "test": params.problems}
        self.sets = {split: task.problems(split, counts[split], seed=seed) for split in splits_of(seed)}

    @property
    def report(self) -> list[Problem]:
        """The last of the splits: what the seed's results are about."""
        return list(self.sets.values())[-1]

    @cached_property
    def _places(self) -> pd.DataFrame:
        frames = []
        for split, problems in self.sets.items():
            needed = [problem.facts["method"] for problem in problems]
            frames.append(pd.DataFrame({"set": split, "needed": needed, "kind": kinds_of(self.task, problems)}))
        return pd.concat(frames, ignore_index=True)

    def accuracy(self, model: PreTrainedModel) -> pd.DataFrame:
        """set, needed, kind, problems, greedy, pass_at_1, pass_at_16, pass_at_256: means over groups of problems.

        Greedy decoding is deterministic, and pass@k at temperature 1 comes from exact success probabilities.
        """
        decoder = decoder_for(model)
        problems = [problem for part in self.sets.values() for problem in part]
        columns: dict[str, Any] = {"greedy": greedy(decoder, self.task, problems).astype(float)}
        p = success(decoder, self.task, problems)
        columns |= {f"pass_at_{k}": pass_at_k_from_p(p, k) for k in KS}
        grouped = self._places.assign(**columns).groupby(["set", "needed", "kind"])
        return grouped.mean().assign(problems=grouped.size()).reset_index()

    @torch.no_grad()
    def inside(self, model: PreTrainedModel) -> pd.DataFrame:
        """careful, right_style, well_formed, entropy: means over prompts of the reported split."""
        decoder, problems = decoder_for(model), self.report
        modes = next_tokens(decoder, self.task.encode(problems))[:, self.task.modes]  # (problem, mode)
        needed = self.task.styles[[problem.facts["method"] for problem in problems]]
        right = np.zeros(len(problems))
        for mode, weight in zip(self.task.modes, modes.T, strict=True):
            prompts = [[*ids, int(mode)] for ids in self.task.encode(problems)]
            right += weight * next_tokens(decoder, prompts)[np.arange(len(problems)), needed]
        found = sample(decoder, self.task.encode(problems[:SAMPLED]), 1, **self._options(temperature=1.0))
        grades = self.task.grade(problems[:SAMPLED], found.tokens, found.lengths)
        row = {"careful": modes[:, 0].mean(), "right_style": right.mean(), "well_formed": grades.well_formed.mean()}
        entropy = float(-found.logprobs.sum() / found.lengths.sum())
        return pd.DataFrame([{name: float(value) for name, value in row.items()} | {"entropy": entropy}])

    def levels(self, model: PreTrainedModel) -> pd.DataFrame:
        """quantity, value: what the base does when it is told the mode or cooled, and what guessing scores."""
        decoder, problems = decoder_for(model), self.report
        chance = self.task.chance(problems)
        values = {
            "forced careful": success(decoder, ModeGiven(self.task), problems).mean(),
            "forced careful, greedy": greedy(decoder, ModeGiven(self.task), problems).mean(),
            "cooled": success(decoder, self.task, problems, COOL).mean(),
            "known methods": np.mean([p.facts["method"] != self.task.settings.absent for p in problems]),
            "blind search": chance.blind_search.mean(),
            "answer guess": chance.answer_guess.mean(),
        }
        return pd.DataFrame({"quantity": list(values), "value": [float(value) for value in values.values()]})

    def _options(self, temperature: float) -> dict[str, Any]:
        return _options(self.task, temperature, self.seed)


class ModeGiven:
    """The task once the mode has been chosen: prompts end with `careful`, completions begin with the style."""

    def __init__(self, task: AutomatonTask) -> None:
        self._careful = int(task.modes[0])
        self._rest = AutomatonTask(task.settings.model_copy(update={"mode": False}))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rest, name)

    def encode(self, problems: Sequence[Problem]) -> list[list[int]]:
        return [[*ids, self._careful] for ids in self._rest.encode(problems)]


def greedy(decoder: Decoder, task: Any, problems: Sequence[Problem]) -> np.ndarray:
    """Whether greedy decoding is right, (problems,) bool."""
    found = sample(decoder, task.encode(problems), 1, **_options(task, 0.0, 0))
    correct: np.ndarray = task.grade(problems, found.tokens, found.lengths).correct
    return correct


def success(decoder: Decoder, task: Any, problems: Sequence[Problem], temperature: float = 1.0) -> np.ndarray:
    """Success probability of one sample, (problems,), to within `TOLERANCE`."""
    found = certified(decoder, task, problems, tolerance=TOLERANCE, temperature=temperature)
    return ((found["low"] + found["high"]) / 2).to_numpy(float)


def next_tokens(decoder: Decoder, prompts: Sequence[Sequence[int]]) -> np.ndarray:
    """Probabilities (prompt, vocab) of the token after each prompt; prompts of one length."""
    tokens = torch.tensor(prompts, device=decoder.device)
    logits = decoder.prefill(tokens, decoder.new_cache(*tokens.shape))
    probabilities: np.ndarray = logits.softmax(-1).cpu().numpy()
    return probabilities


def _options(task: Any, temperature: float, seed: int) -> dict[str, Any]:
    options: dict[str, Any] = {"eos": int(task.eos), "pad": int(task.pad), "temperature": temperature, "seed": seed}
    return options | {"max_new_tokens": task.max_new_tokens}
