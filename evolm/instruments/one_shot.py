"""Reinforcement on one example: which to choose, what gain to expect, and how much of it a reward for form gives.

    evolm measure one-shot rollouts.parquet                        rank problems by historical variance
    evolm measure one-shot ./base -p problems=words.jsonl -p steps=100 -p save=rollouts.csv
    evolm measure one-shot ./base -p problems=automaton -p 'config={"emit_start":true}' -p optimiser=sgd
    rank_examples(frame)                                           the ranking of a frame
    paper_runs(model, task, example)                               GRPO of the paper's size, through TRL

Wang et al. (2025): RLVR on one well-chosen example does almost as well as on 1,209. Whether that holds for a model is
measured here with a small one: the same number of steps on a pool of problems, on the examples of the pool that the
score ranks first, on examples drawn by chance, and on one example with rewards that do not know the answer. The range
over examples is the result; the best example is not.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from evolm.instruments import one_shot_ranking
from evolm.instruments.one_shot_paper import paper_runs
from evolm.instruments.one_shot_ranking import rank_examples

if TYPE_CHECKING:
    from evolm.instruments.one_shot_training import Runs

__all__ = ["measure_models", "measure_one_shot", "paper_runs", "rank_examples"]

SUMMARY = {"quantity": "quantity", "example": "example", "value": "value", "note": "note"}
#: A ranking as the command prints it: a problem is the example of its row, the score its value.
RENAMED = {"problem": "example", "score": "value"}


def measure_models(
    models: Iterable[str | Path],
    *,
    problems: str | None = None,
    rollouts: int | None = None,
    top: int | None = None,
    level: float = 0.95,
    seed: int = 0,
    **options: Any,
) -> pd.DataFrame:
    """Tables of logged rollouts (without `problems`), whose problems are ranked, or models that are trained on some.

    Tables: .csv, .parquet, .jsonl (see `evolm.instruments.one_shot_ranking`); one may hold several models. `rollouts`:
    how many each row is of, where the table does not say; `top` keeps that many rows per model. Columns: model,
    quantity, example, value (the score), rank, noise, excess, trend, mean, first, last, epochs, rollouts, ties, note.
    `options`, `level` and `seed` are those of `measure_one_shot`, which lays out what models give.
    """
    names = [str(model) for model in models]
    if problems is not None:
        if rollouts is not None or top is not None:
            raise ValueError("rollouts and top are about tables; leave them out with problems=FILE or TASK")
        return measure_one_shot(names, problems, level=level, seed=seed, **options)
    known = inspect.signature(measure_one_shot).parameters
    if unknown := [name for name in options if name not in known]:
        raise TypeError(f"measure_models() has no option {unknown[0]!r}")
    if options:
        raise ValueError(f"{', '.join(options)} is about training models: say on which problems, problems=FILE or TASK")
    if strangers := [name for name in names if Path(name).suffix not in one_shot_ranking.SUFFIXES]:
        raise ValueError(
            f"{strangers[0]} is not a table of rollouts ({', '.join(one_shot_ranking.SUFFIXES)}); to train it as a "
            "model, say on which problems: problems=FILE.jsonl, or the name of a task"
        )
    ranked = [found for name in names for found in one_shot_ranking.rank_file(name, rollouts=rollouts)]
    if not ranked:
        raise ValueError("there are no tables; give at least one of logged rollouts")
    return pd.concat([_laid_out(model, table, top) for model, table in ranked], ignore_index=True)


def measure_one_shot(
    models: Sequence[str],
    problems: str,
    *,
    pool: int = 32,
    epochs: int | None = None,
    steps: int = 60,
    prompts_per_step: int = 16,
    group_size: int = 8,
    optimiser: Literal["adamw", "sgd"] = "adamw",
    lr: float | None = None,
    momentum: float = 0.9,
    kl_coef: float = 0.0,
    entropy_coef: float = 0.0,
    examples: int = 3,
    held_out: int = 200,
    samples: int = 8,
    temperature: float = 1.0,
    max_new_tokens: int = 256,
    template: str | None = None,
    grader: Literal["math", "last_number"] = "math",
    config: dict[str, Any] | None = None,
    rows_per_forward: int | None = None,
    save: str | None = None,
    device: str | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Train copies of every model with GRPO on the pool and on single examples of it, and test them on other problems.

    `models`: folders, assets, hub ids; they are only read. `problems`: a JSONL file of prompts and answers, of which
    `pool` are trained on and `held_out` of the others tested on; or "automaton" or a reasoning_gym dataset with its
    `config`, whose splits rl and test they are. `template` and `grader` as in passk. Every run takes `steps` of
    `prompts_per_step` x `group_size` samples. The ranking is that of the run on the pool, its first `epochs` passes
    (default: all). `examples` are taken from its top, and as many drawn from the pool by the seed.

    `lr` without a value is 1e-6, the paper's, for AdamW on 10 million parameters or more, 3e-4 below, .003 for sgd.
    The optimisers can differ much in what one example does: try both. `temperature` is that of rollouts and of the
    `samples` per held-out problem that give pass@1. `save`: a .csv or .parquet file for the logged rollouts, which
    `measure_models` ranks again.

    Rows, by greedy decoding and as pass@1: base, full set, one example (variance and random), format-only and random
    reward (on the example ranked first), with the share of well-formed samples in the note; the gains over the base;
    the expected gain and its range over examples; the share of the full set's gain; the gain beyond format-only on
    the same example. The full set gains what pool and steps allow: its share says little where they are few. Intervals
    are a paired bootstrap over problems, but for the expected gain, a t-interval over examples, and its range, whose
    ends are the lowest and the highest. Columns: model, quantity, example, value, low, high, level, problems, samples,
    pool, steps, note.
    """
    from evolm.instruments.causal_model import open_model
    from evolm.instruments.one_shot_gains import model_rows
    from evolm.instruments.one_shot_training import OneShotOptions, Runs
    from evolm.instruments.passk_statistics import Settings

    settings = Settings(level, draws, 0.0, seed)
    chosen = OneShotOptions(
        pool=pool,
        epochs=epochs,
        steps=steps,
        prompts_per_step=prompts_per_step,
        group_size=group_size,
        optimiser=optimiser,
        lr=lr,
        momentum=momentum,
        kl_coef=kl_coef,
        entropy_coef=entropy_coef,
        examples=examples,
        held_out=held_out,
        samples=samples,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        template=template,
        grader=grader,
        config=config or {},
        rows_per_forward=rows_per_forward,
        seed=seed,
    )
    _check(models, problems, grader, config, save)
    tables, logs = [], []
    for name in models:
        with Runs(open_model(name, device), problems, chosen) as runs:
            runs.full()
            logs.append(runs.log.assign(model=name))
            if save is not None:  # before the other runs: what was logged survives their failure
                log = pd.concat(logs, ignore_index=True)
                log.to_csv(save, index=False) if Path(save).suffix == ".csv" else log.to_parquet(save, index=False)
            rows = pd.DataFrame(model_rows(runs, settings))
        tables.append(rows.assign(model=name, **_facts(runs, level)))
    columns = ["model", "quantity", "example", "value", "low", "high", "level", "problems", "samples", "pool", "steps"]
    return pd.concat(tables, ignore_index=True)[[*columns, "note"]]


def _facts(runs: Runs, level: float) -> dict[str, Any]:
    options = runs.options
    facts = {"problems": len(runs.held_out), "samples": options.samples, "pool": len(runs.pool), "steps": options.steps}
    return {"level": level, **facts}


def _laid_out(model: str, ranking: pd.DataFrame, top: int | None) -> pd.DataFrame:
    """A ranking with a note for each problem: what to make of its score."""
    shown = ranking.head(len(ranking) if top is None else top)
    notes = [_note(row, len(ranking)) for row in shown.itertuples(index=False)]
    shown = shown.assign(model=model, quantity="historical variance", note=notes).rename(columns=RENAMED)
    first = ["model", "quantity", "example", "value"]
    return shown.astype({"example": str})[[*first, *shown.columns.difference([*first, "note"], sort=False), "note"]]


def _note(row: Any, problems: int) -> str:
    parts = [f"rank {row.rank} of {problems}"]
    if row.ties > 1:
        parts[0] += f", shared by {row.ties}"
    if row.score == 0:
        return f"{parts[0]}; " + {0.0: "never solved", 1.0: "always solved"}.get(row.mean, "always the same accuracy")
    if row.noise == row.noise:  # not NaN
        parts.append("no more than noise" if row.excess <= 0 else f"noise alone {row.noise:.3f}")
    else:
        parts.append("one rollout per epoch: noise not known")
    return "; ".join([*parts, f"{row.first:.2f} to {row.last:.2f}, a line explains {row.trend:.0%}"])


def _check(models: Sequence[str], problems: str, grader: Any, config: dict[str, Any] | None, save: str | None) -> None:
    """Refuse what cannot work before a model is opened for it."""
    if not models or len(set(models)) < len(models):
        raise ValueError(f"the models are {', '.join(models) or 'none'}; expected one or more, each once")
    if save is not None and Path(save).suffix not in (".csv", ".parquet"):
        raise ValueError(f"cannot save rollouts as {save!r}; name a file that ends in .csv or .parquet")
    if Path(problems).suffix != ".jsonl":
        return
    from evolm.lm.tasks.jsonl import read_problems

    if config:
        raise ValueError("config is for tasks that make their problems; leave it out with a file")
    if not Path(problems).is_file():
        raise ValueError(f"there is no problem file {problems}; expected JSON lines with prompt and answer")
    read_problems(problems, grader)
