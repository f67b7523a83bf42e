"""Samples of models on a set of problems, graded, and how likely each model finds them.

    for drawn in draw_models(["smollm2-135m", "./tuned"], "words.jsonl", DrawOptions(n=64, template="four-shot")):
        drawn.outcomes, drawn.correct, drawn.perplexity["itself"]

The first model is the base. Every model is given the problems through its own tokenizer. Models are open one at a
time, the base beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from evolm.instruments.causal_model import OpenModel, logits_room, open_model, perplexities, same_vocabulary
from evolm.instruments.passk_files import Outcomes
from evolm.lm.passk import Array
from evolm.lm.sample import Samples, sample
from evolm.lm.tasks.base import Problem

MOST_ROWS = 2048
#: A template of worked examples, whose completions end with their line.
FOUR_SHOT_TEMPLATE = "four-shot"
#: Problems of a task that makes as many as are asked for.
USUAL_COUNT = 100


@dataclass(frozen=True)
class DrawOptions:
    """How models are sampled; `measure_passk` says what each means."""

    n: int = 64
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0
    template: str | None = None
    grader: Literal["math", "last_number"] = "math"
    stop: str | None = None
    count: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    perplexity_samples: int = 8
    max_rows: int | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if self.n < 1 or self.max_new_tokens < 1 or self.perplexity_samples < 0 or (self.count or 1) < 1:
            found = f"n {self.n}, max_new_tokens {self.max_new_tokens}, count {self.count}"
            raise ValueError(f"{found}, perplexity_samples {self.perplexity_samples}: expected positive numbers")


@dataclass(frozen=True)
class Drawn:
    """One model's samples: `correct` (problems, n); `perplexity` by scorer, (problems,), None where it has no sense."""

    outcomes: Outcomes
    correct: Array
    ended: float
    perplexity: dict[str, Array | None]
    levels: dict[str, Array]

    def table(self) -> pd.DataFrame:
        """One row per sample: model, problem, sample, correct, answer."""
        problems, n = self.correct.shape
        known = self.outcomes.answers or ("",) * problems
        columns = {"problem": np.repeat(self.outcomes.problems, n), "sample": np.tile(np.arange(n), problems)}
        columns |= {"correct": self.correct.ravel(), "answer": np.repeat(known, n)}
        return pd.DataFrame({"model": self.outcomes.model, **columns})


def draw_models(names: Sequence[str], problems: str, options: DrawOptions) -> Iterator[Drawn]:
    """Sample every model on `problems`: a JSONL file, "automaton", or the name of a reasoning_gym dataset."""
    _check_problems(problems, options)
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"the models are {', '.join(names) or 'none'}; expected one or more, each once, the base first"
        )
    base = None
    for index, name in enumerate(names):
        model = open_model(name, options.device)
        base = base or model
        yield draw_model(model, base, problems, options, index)


def draw_model(model: OpenModel, base: OpenModel, source: str, options: DrawOptions, index: int = 0) -> Drawn:
    """One model's samples, graded, and scored under itself and the base. `index` keeps models' noise apart."""
    task = open_task(source, model.tokenizer, options)
    problems = choose_problems(task, options)
    prompts = task.encode(problems)
    rows = options.max_rows or max(1, min(MOST_ROWS, logits_room(model) // model.decoder.vocab_size))
    correct, ended, kept = np.zeros((len(problems), options.n), bool), 0, []
    for first in tqdm(range(0, len(problems), group := max(1, rows // options.n)), desc=model.name, disable=None):
        chosen = slice(first, first + group)
        samples = _samples(model, task, prompts[chosen], options, rows, (index, first))
        answered = [problem for problem in problems[chosen] for _ in range(options.n)]
        grades = task.grade(answered, samples.tokens.cpu(), samples.lengths.cpu())
        correct[chosen] = np.asarray(grades.correct).reshape(-1, options.n)
        ended += int(samples.ended.sum())
        kept += _first_samples(samples, options)
    perplexity: dict[str, Array | None] = {}
    if options.perplexity_samples:
        perplexity["itself"] = perplexities(model, prompts, kept)
        same = model is base or same_vocabulary(model.tokenizer, base.tokenizer)
        under = perplexity["itself"] if model is base else perplexities(base, prompts, kept) if same else None
        perplexity["base"] = under
    counts = correct.sum(1).astype(np.int64)
    names, answers = tuple(p.id for p in problems), tuple(p.answer for p in problems)
    outcomes = Outcomes(model.name, names, np.full(len(problems), options.n, np.int64), counts, answers)
    levels = {} if Path(source).suffix == ".jsonl" else task.chance(problems).levels()
    return Drawn(outcomes, correct, ended / correct.size, perplexity, levels)


def open_task(source: str, tokenizer: Any, options: DrawOptions) -> Any:
    """The task whose problems `source` names, for one model's tokenizer."""
    if Path(source).suffix == ".jsonl":
        from evolm.lm.tasks.jsonl import JsonlTask
        from evolm.lm.tasks.word_problems import FOUR_SHOT

        limit, grader = options.max_new_tokens, options.grader
        template = FOUR_SHOT if options.template == FOUR_SHOT_TEMPLATE else options.template
        return JsonlTask(source, tokenizer, template, split="test", grader=grader, max_new_tokens=limit)
    if source == "automaton":
        from evolm.lm.tasks.automaton import AutomatonSettings, AutomatonTask

        task = AutomatonTask(AutomatonSettings(**options.config))
        if not same_vocabulary(task.tokenizer, tokenizer):
            raise ValueError("the model's tokenizer is not the automaton task's; give a model that was trained on it")
        return task
    from evolm.lm.tasks.gym import GymTask

    limit = options.max_new_tokens
    return GymTask(source, tokenizer, template=options.template, max_new_tokens=limit, **options.config)


def _check_problems(source: str, options: DrawOptions) -> None:
    """Refuse a problem file that cannot be used before a model is opened for it."""
    if Path(source).suffix != ".jsonl":
        return
    from evolm.lm.tasks.jsonl import read_problems

    if not Path(source).is_file():
        raise ValueError(f"there is no problem file {source}; expected JSON lines with prompt and answer")
    if options.config:
        raise ValueError("config is for tasks that make their problems; leave it out with a file")
    read_problems(source, options.grader)


def choose_problems(task: Any, options: DrawOptions) -> list[Problem]:
    """The first `count` problems of a file (all of them unless told), or `count` of a task's test split."""
    if hasattr(task, "all_problems"):
        held: list[Problem] = task.all_problems
        if len(held) < (options.count or 1):
            raise ValueError(f"{task.name} holds {len(held)} problems, and {options.count} were asked for")
        return held[: options.count]
    chosen: list[Problem] = task.problems("test", options.count or USUAL_COUNT, options.seed)
    return chosen


def _samples(
    model: OpenModel, task: Any, prompts: Sequence[list[int]], options: DrawOptions, rows: int, key: tuple[int, int]
) -> Samples:
    """n samples of each prompt, one row each, prompts in order."""
    tokenizer, (seed, order) = model.tokenizer, np.random.SeedSequence([options.seed, *key]).generate_state(2).tolist()
    eos = int(tokenizer.eos_token_id)
    line = "\n" if options.template == FOUR_SHOT_TEMPLATE else None
    stop = _stop_token(tokenizer, options.stop or line)
    pad = eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    settings = {"temperature": options.temperature, "top_p": options.top_p, "seed": seed, "max_rows": rows}
    limit = min(task.max_new_tokens, options.max_new_tokens)
    samples = sample(model.decoder, prompts, options.n, max_new_tokens=limit, eos=stop, pad=pad, **settings)
    if stop != eos:  # a completion may end with EOS before its line does
        is_eos = samples.tokens == eos
        at_eos = torch.where(is_eos.any(1), is_eos.int().argmax(1) + 1, samples.lengths)
        samples.lengths = torch.minimum(samples.lengths, at_eos)
        samples.ended = samples.ended | is_eos.any(1)
    return samples.expand(seed=order)


def _first_samples(samples: Samples, options: DrawOptions) -> list[list[list[int]]]:
    """Tokens of the first few samples of each problem, for scoring."""
    count = min(options.perplexity_samples, options.n)
    tokens, lengths = samples.tokens.tolist(), samples.lengths.tolist()
    starts = range(0, len(tokens), options.n)
    return [[tokens[i][: lengths[i]] for i in range(start, start + count)] for start in starts]


def _stop_token(tokenizer: Any, stop: str | None) -> int:
    """The token that ends a completion: the tokenizer's EOS, or the one that `stop` is."""
    if stop is None:
        return int(tokenizer.eos_token_id)
    ids = tokenizer(stop, add_special_tokens=False).input_ids
    if len(ids) != 1:
        raise ValueError(
            f"stop is {stop!r}, which is {len(ids)} tokens of this tokenizer; expected a text of one token"
        )
    return int(ids[0])
