"""pass@k of a base model and models tuned from it: where curves cross, and which problems each can solve.

    evolm measure passk samples.parquet                            columns model, problem, correct
    evolm measure passk base.npy tuned.npy                         (problems, samples) booleans
    evolm measure passk smollm2-135m ./tuned -p problems=words.jsonl -p n=256 -p template=four-shot
    measure_booleans({"base": base, "tuned": tuned})               the same from arrays

Yue et al. (2025): pass@k is the chance that one of k samples is right; a tuned model that leads at k = 1 may be
overtaken at large k, and may solve few problems that its base does not. The table has a row per model, quantity and
k, with bootstrap intervals over problems, paired between models; the first model is the base. Beside each statistic
stands what would produce it anyway: a second draw of the base, and guessing.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from evolm.instruments import passk_files, passk_statistics
from evolm.instruments.passk_files import Outcomes
from evolm.instruments.passk_statistics import Row, Settings
from evolm.lm.passk import check_draws, pass_at_k_from_p, usual_ks

SUMMARY = {"quantity": "quantity", "k": "k", "value": "value", "note": "note"}


def measure_models(
    models: Iterable[str | Path],
    *,
    problems: str | None = None,
    ks: Sequence[int] | None = None,
    level: float = 0.95,
    draws: int = 2000,
    margin: float = 0.005,
    seed: int = 0,
    **options: Any,
) -> pd.DataFrame:
    """Tables of correct samples (without `problems`), or models that answer `problems`; the first is the base.

    Tables: .csv, .parquet, .jsonl, .npy (see `evolm.instruments.passk_files`); one may hold several models.
    `options` are those of `measure_passk`, for models only. `ks`: where pass@k is given, default 1, 2, 4 ... n.
    Columns: model, base, quantity, k, value, low, high, level, problems, fewest_samples, most_samples, note.
    """
    names = [str(model) for model in models]
    shared: dict[str, Any] = {"ks": ks, "level": level, "draws": draws, "margin": margin, "seed": seed}
    if problems is not None:
        return measure_passk(names, problems, **shared, **options)
    known = inspect.signature(measure_passk).parameters
    if unknown := [name for name in options if name not in known]:
        raise TypeError(f"measure_models() has no option {unknown[0]!r}")
    if options:
        raise ValueError(f"{', '.join(options)} is about sampling models: say on which problems, problems=FILE or TASK")
    if strangers := [name for name in names if Path(name).suffix not in passk_files.SUFFIXES]:
        raise ValueError(
            f"{strangers[0]} is not a table of correct samples ({', '.join(passk_files.SUFFIXES)}); to sample it as a "
            "model, say on which problems: problems=FILE.jsonl, or the name of a task"
        )
    outcomes = [outcome for name in names for outcome in passk_files.read_outcomes(name)]
    return measure_booleans(outcomes, **shared)


def measure_booleans(
    tables: Mapping[str, Any] | pd.DataFrame | Sequence[Outcomes],
    *,
    ks: Sequence[int] | None = None,
    answers: Sequence[str] | None = None,
    level: float = 0.95,
    draws: int = 2000,
    margin: float = 0.005,
    seed: int = 0,
) -> pd.DataFrame:
    """Everything that correct and wrong samples tell, as `measure_models` lays it out; the first model is the base.

    `tables`: (problems, samples) booleans by model, or a table with columns model, problem, correct (and sample,
    answer). `answers` (problems,) are gold answers, for the guess curves. Problems may have unequal numbers of
    samples: k goes up to the smallest. Raises ValueError for a k beyond that, for models whose problems differ, and
    for a sample that is neither right nor wrong.
    """
    settings = Settings(level, draws, margin, seed)
    if isinstance(tables, pd.DataFrame):
        outcomes = passk_files.from_table(tables)
    elif isinstance(tables, Mapping):
        outcomes = [passk_files.from_matrix(str(name), matrix) for name, matrix in tables.items()]
    else:
        outcomes = list(tables)
    outcomes = passk_files.aligned(outcomes)
    base, fewest = outcomes[0], min(int(o.n.min()) for o in outcomes)
    chosen = usual_ks(fewest) if ks is None else sorted({int(k) for k in ks})
    for outcome in outcomes:
        check_draws(outcome.n, np.array(chosen)[:, None])
    tables_by_model = []
    for outcome in outcomes:
        rows = passk_statistics.curve_rows(outcome, chosen, settings)
        if outcome is not base:
            rows += passk_statistics.difference_rows(base, outcome, chosen, settings)
            rows += passk_statistics.crossover_rows(base, outcome, settings)
            rows += passk_statistics.set_rows(base, outcome, settings)
        tables_by_model.append(_laid_out(rows, outcome.model, base, outcome, settings))
    gold = next((o.answers for o in outcomes if o.answers), None) if answers is None else tuple(map(str, answers))
    if gold is not None:
        if len(gold) != len(base.problems):
            raise ValueError(f"there are {len(gold)} answers for {len(base.problems)} problems; expected one for each")
        rows = passk_statistics.guess_rows(gold, chosen, settings)
        tables_by_model.append(_laid_out(rows, "guess", base, base, settings))
    return pd.concat(tables_by_model, ignore_index=True)


def measure_passk(
    models: Sequence[str],
    problems: str,
    *,
    n: int = 64,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 256,
    template: str | None = None,
    grader: Literal["math", "last_number"] = "math",
    stop: str | None = None,
    count: int | None = None,
    config: dict[str, Any] | None = None,
    perplexity_samples: int = 8,
    max_rows: int | None = None,
    device: str | None = None,
    save: str | None = None,
    ks: Sequence[int] | None = None,
    level: float = 0.95,
    draws: int = 2000,
    margin: float = 0.005,
    seed: int = 0,
) -> pd.DataFrame:
    """Sample every model n times on `problems`, grade, and measure; the first model is the base.

    `models`: folders, assets, hub ids. `problems`: a JSONL file of prompts and answers, a reasoning_gym dataset, or
    "automaton"; `config` has the options of the latter two; `count` keeps to so many problems. `template`: text around
    {prompt}, "chat", or "four-shot" (worked arithmetic examples; a completion ends with its line). `grader`: how a
    file's answers are compared. `stop`: a text of one token that ends a completion, besides EOS. Choose n at least 4
    times the largest k that matters.

    Besides what `measure_booleans` reports: the share of completions that ended, and the perplexity of
    `perplexity_samples` completions per problem under the model itself and under the base (median per problem, mean
    over problems; left out, and said so, where the tokenizers differ). `save`: a .csv or .parquet file for the samples'
    booleans, which `measure_models` reads again. When memory runs out the batch is halved, with a warning.
    """
    from evolm.instruments.passk_models import DrawOptions, draw_models

    settings = Settings(level, draws, margin, seed)
    if save is not None and Path(save).suffix not in (".csv", ".parquet"):
        raise ValueError(f"cannot save samples as {save!r}; name a file that ends in .csv or .parquet")
    if ks is not None:
        check_draws(np.array([n]), np.array(ks))
    options = DrawOptions(
        n=n,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        seed=seed,
        template=template,
        grader=grader,
        stop=stop,
        count=count,
        config=config or {},
        perplexity_samples=perplexity_samples,
        max_rows=max_rows,
        device=device,
    )
    drawn = []
    for one in draw_models(list(models), problems, options):
        drawn.append(one)
        if save is not None:  # after every model: what was drawn survives the next one's failure
            table = pd.concat([d.table() for d in drawn], ignore_index=True)
            table.to_csv(save, index=False) if Path(save).suffix == ".csv" else table.to_parquet(save, index=False)
    outcomes = [d.outcomes for d in drawn]
    tables = [measure_booleans(outcomes, ks=ks, level=level, draws=draws, margin=margin, seed=seed)]
    base = outcomes[0]
    for d in drawn:
        rows = [passk_statistics.table_row("completions that ended", n, d.ended)]
        for scorer, values in d.perplexity.items():
            rows += _perplexity_rows(f"perplexity under {scorer}", values, settings)
        tables.append(_laid_out(rows, d.outcomes.model, base, d.outcomes, settings))
    for name, p in drawn[0].levels.items():
        curve = pass_at_k_from_p(np.asarray(p)[:, None], np.array(chosen := ks or usual_ks(n))[None])
        rows = passk_statistics.mean_rows(f"chance: {name}", chosen, curve, settings)
        tables.append(_laid_out(rows, "guess", base, base, settings))
    result = pd.concat(tables, ignore_index=True)
    order = {name: i for i, name in enumerate([*(o.model for o in outcomes), "guess"])}
    return result.sort_values("model", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _perplexity_rows(quantity: str, values: np.ndarray | None, settings: Settings) -> list[Row]:
    if values is None:
        return [passk_statistics.table_row(quantity, 1, note="left out: another tokenizer than the base's")]
    return passk_statistics.mean_rows(quantity, [1], values, settings)


def _laid_out(rows: list[Row], model: str, base: Outcomes, outcomes: Outcomes, settings: Settings) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["quantity", "k", "value", "low", "high", "note"])
    facts = {"level": settings.level, "problems": len(outcomes.problems)}
    facts |= {"fewest_samples": int(outcomes.n.min()), "most_samples": int(outcomes.n.max())}
    table = table.assign(model=model, base=base.model, **facts)
    return table[["model", "base", "quantity", "k", "value", "low", "high", *facts, "note"]]
