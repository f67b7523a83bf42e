"""What is measured on a model: exact success probabilities, which method it reaches for, and perplexities.

bench = Bench(params, seed, cue, task, base)
bench.success(model, "rl", step=200)          # one row per problem
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from evolm.lm.certify import certified
from evolm.lm.forward import decoder_for
from evolm.lm.sample import sample
from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.base import Problem
from evolm.lm.tasks.routing import bayes_routing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams

#: Width of the bounds on a success probability: pass@1024 then errs by less than 0.01 points.
TOLERANCE = 1e-7
PERPLEXITY_PROBLEMS = 200


class Bench:
    """The held-out problems of one seed and cue level, and the measurements made on them."""

    def __init__(
        self, params: RlvrBoundaryParams, seed: int, cue: float, task: AutomatonTask, base: PreTrainedModel, rare: int
    ) -> None:
        self.params, self.seed, self.cue, self.task, self.base = params, seed, cue, task, base
        self.sets = {
            "test": task.problems("test", params.problems, seed=seed),
            "rare": task.problems("test", params.rare_problems, seed=seed + 10**6, methods=(rare,)),
        }
        self.problems = [problem for part in self.sets.values() for problem in part]

    def _labelled(self, frame: pd.DataFrame, arm: str, **more: Any) -> pd.DataFrame:
        labels = {"seed": self.seed, "cue": self.cue, "arm": arm, **more}
        for place, (name, value) in enumerate(labels.items()):
            frame.insert(place, name, value)
        return frame

    @cached_property
    def _places(self) -> pd.DataFrame:
        return pd.DataFrame(
            [(name, i) for name, part in self.sets.items() for i in range(len(part))], columns=["set", "problem"]
        )

    def success(
        self, model: PreTrainedModel, arm: str, step: int, temperature: float = 1.0, *, named: bool = False
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Success probability of one sample of every problem, and one row on how it was found.

        `named` puts the problem's method into the prompt: what the model can do once it need not choose.
        """
        task = _MethodNamed(self.task) if named else self.task
        found = certified(decoder_for(model), task, self.problems, tolerance=TOLERANCE, temperature=temperature)
        p = ((found["low"] + found["high"]) / 2).to_numpy(np.float32)
        labels = {"step": step, "temperature": float(temperature)}
        rows = self._labelled(self._places.assign(p=p), arm, **labels)
        error = float((found["high"] - found["low"]).max()) / 2
        how = {"error": error, "exact": float((found["method"] == "exact").mean())}
        return rows, self._labelled(
            pd.DataFrame([{**how, "expansions": float(found["expansions"].mean())}]), arm, **labels
        )

    @torch.no_grad()
    def usage(self, model: PreTrainedModel, arm: str, step: int) -> pd.DataFrame:
        """Probability of announcing each method, mean over the problems that need a given one: exact, from one pass."""
        decoder = decoder_for(model)
        prompts = torch.tensor(self.task.encode(self.problems), device=decoder.device)
        logits = decoder.prefill(prompts, decoder.new_cache(*prompts.shape))
        styles = logits.softmax(-1)[:, self.task.styles].cpu().numpy()  # (problem, style)
        needed = np.array([problem.facts["method"] for problem in self.problems])
        rows = [
            {"needed": int(m), "used": used, "probability": float(styles[needed == m, used].mean())}
            for m in np.unique(needed)
            for used in range(styles.shape[1])
        ]
        return self._labelled(pd.DataFrame(rows), arm, step=step)

    def perplexities(self, model: PreTrainedModel, arm: str, temperature: float = 1.0) -> pd.DataFrame:
        """One sample per problem, its perplexity under the base and under the model itself (Yue et al., Sec. 4.1).

        The model samples at `temperature`; both perplexities are at temperature 1.
        """
        problems = self.sets["test"][:PERPLEXITY_PROBLEMS]
        prompts = self.task.encode(problems)
        options: dict[str, Any] = {"eos": int(self.task.eos), "pad": int(self.task.pad), "temperature": temperature}
        options |= {"max_new_tokens": self.task.max_new_tokens, "seed": self.seed}
        found = sample(decoder_for(model), prompts, 1, **options)
        grades = self.task.grade(problems, found.tokens, found.lengths)
        scores = {"correct": grades.correct, "valid": grades.valid, "well_formed": grades.well_formed}
        for name, judge in (("under_base", self.base), ("under_self", model)):
            scores[name] = perplexity(judge, prompts, found.tokens, found.lengths)
        return self._labelled(pd.DataFrame({"problem": range(len(problems)), **scores}), arm, temperature=temperature)

    def levels(self) -> pd.DataFrame:
        """What strategies that know less would score on each problem, per sample."""
        chance = self.task.chance(self.problems)
        methods = [problem.facts["method"] for problem in self.problems]
        cues = [problem.facts["cue"] == problem.facts["method"] for problem in self.problems]
        route = bayes_routing(self.task.settings).route
        bayes = [route[problem.facts["cue"]] == problem.facts["method"] for problem in self.problems]
        columns = {name.replace(" ", "_"): level for name, level in chance.levels().items()}
        frame = self._places.assign(method=methods, cue_right=cues, bayes=bayes, **columns)
        return self._labelled(frame, "chance").drop(columns="arm")


class _MethodNamed:
    """A task whose prompts name the method that the problem needs."""

    def __init__(self, task: AutomatonTask) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def encode(self, problems: Sequence[Problem]) -> list[list[int]]:
        return self._task.forced_prompts(problems)


@torch.no_grad()
def perplexity(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], tokens: torch.Tensor, lengths: torch.Tensor
) -> np.ndarray:
    """exp of the mean negative log-probability per token of completions (rows, time), given prompts of one length."""
    decoder = decoder_for(model)
    given = torch.tensor(prompts, device=tokens.device)
    rows = torch.cat([given, tokens], 1)
    logits = decoder.logits(rows[:, :-1], start=given.shape[1] - 1)  # (rows, time, vocab)
    chosen = logits.log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)  # (rows, time)
    inside = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    return (-(chosen * inside).sum(1) / lengths.clamp(min=1)).exp().cpu().numpy().astype(np.float32)
