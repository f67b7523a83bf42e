"""What one example gains, in numbers: levels, gains over the base, their range over examples, and what is form.

model_rows(runs, Settings(level=0.95))        # rows {quantity, example, value, low, high, note}

Held-out problems are the same for all models, so differences are paired by problem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evolm.instruments.one_shot_held_out import Outcome
from evolm.instruments.one_shot_training import Runs
from evolm.instruments.passk_statistics import Settings, resampled_means
from evolm.intervals import seed_interval
from evolm.lm.passk import Array
from evolm.lm.rewards import RewardName
from evolm.lm.tasks.base import Problem

Row = dict[str, Any]
#: What is measured of a model, and how its rows are called: greedy decoding is the plain name.
MEASURES: Mapping[str, str] = {"greedy": "", "sampled": ", pass@1"}
#: Rewards that do not know the answer, by the name of their rows.
BLIND: Mapping[str, RewardName] = {"format-only": "format", "random reward": "random"}
#: Fewer examples than this give no interval for their mean.
FEW_EXAMPLES = 3
#: Streams of the seed: which examples are drawn is not what the rollouts draw.
EXAMPLES = 1


@dataclass(frozen=True)
class Arm:
    """One trained model: the quantity that its rows are called by, its example if it has one, and what is known."""

    quantity: str
    outcome: Outcome
    example: str = ""
    note: str = ""


def model_rows(runs: Runs, settings: Settings) -> list[Row]:
    """Every row of one model, after all its runs."""
    base, full, ranking = runs.base, Arm("full set", runs.full(), note=_about(runs.full())), runs.ranking()
    by_role = {role: [_arm(runs, role, p, ranking) for p in found] for role, found in _chosen(runs, ranking).items()}
    first = next(p for p in runs.pool if p.id == by_role["variance"][0].example)
    blind = [Arm(label, o := runs.one(first, reward), first.id, _about(o)) for label, reward in BLIND.items()]
    arms = [full, *by_role["variance"], *by_role["random"], *blind]
    rows = [row for arm in (Arm("base", base, note=_about(base)), *arms) for row in _levels(arm, settings)]
    for name in MEASURES:
        rows += [_gain(arm, base, name, settings) for arm in arms]
        for role, chosen in by_role.items():
            rows += _expected([arm.outcome for arm in chosen], base, role, name, settings)
            rows.append(_share([arm.outcome for arm in chosen], full.outcome, base, role, name, settings))
        beyond = getattr(by_role["variance"][0].outcome, name) - getattr(blind[0].outcome, name)
        label = f"gain beyond format-only{MEASURES[name]}"
        rows.append(_mean(label, beyond, settings, first.id, "on one and the same example"))
    return rows


def _chosen(runs: Runs, ranking: pd.DataFrame) -> dict[str, list[Problem]]:
    """The top of the ranking, and as many problems of the pool drawn by the seed, before any run was seen."""
    by_id, count = {problem.id: problem for problem in runs.pool}, runs.options.examples
    drawn = np.random.default_rng([runs.options.seed, EXAMPLES]).permutation(len(runs.pool))[:count]
    return {"variance": [by_id[name] for name in ranking["problem"][:count]], "random": [runs.pool[i] for i in drawn]}


def _arm(runs: Runs, role: str, problem: Problem, ranking: pd.DataFrame) -> Arm:
    outcome = runs.one(problem)
    row = ranking[ranking["problem"] == problem.id].iloc[0]
    score = f"rank {row['rank']} of {len(ranking)}, variance {row['score']:.3f} with noise {row['noise']:.3f}"
    return Arm(f"one example ({role})", outcome, problem.id, f"{score}; {_about(outcome)}")


def _about(outcome: Outcome) -> str:
    reward = "" if np.isnan(outcome.reward) else f"; training reward {outcome.reward:.2f} at the end"
    return f"well formed {outcome.well_formed.mean():.2f}{reward}"


def _levels(arm: Arm, settings: Settings) -> list[Row]:
    greedy = _mean(arm.quantity, arm.outcome.greedy, settings, arm.example, arm.note)
    pass_at_1 = _mean(arm.quantity + MEASURES["sampled"], arm.outcome.sampled, settings, arm.example)
    return [greedy, pass_at_1]


def _gain(arm: Arm, base: Outcome, name: str, settings: Settings) -> Row:
    difference = getattr(arm.outcome, name) - getattr(base, name)
    return _mean(f"gain, {arm.quantity}{MEASURES[name]}", difference, settings, arm.example)


def _expected(outcomes: Sequence[Outcome], base: Outcome, role: str, name: str, settings: Settings) -> list[Row]:
    """Mean gain over examples with its t-interval, and the lowest and highest gain."""
    gains = np.array([(getattr(outcome, name) - getattr(base, name)).mean() for outcome in outcomes])
    low, high, note = np.nan, np.nan, f"{FEW_EXAMPLES} examples or more give an interval"
    if len(gains) >= FEW_EXAMPLES:
        low, high = (float(end) for end in seed_interval(gains, settings.level))
        note = f"t-interval over {len(gains)} examples"
    mean, suffix = float(gains.mean()), MEASURES[name]
    ends = f"lowest and highest of {len(gains)} examples"
    return [
        _row(f"expected gain ({role}){suffix}", mean, low, high, note=note),
        _row(f"expected range of gain ({role}){suffix}", mean, float(gains.min()), float(gains.max()), note=ends),
    ]


def _share(outcomes: Sequence[Outcome], full: Outcome, base: Outcome, role: str, name: str, settings: Settings) -> Row:
    """Mean gain of one example over the gain of the full set; not given where the latter may be nothing."""
    quantity, start = f"share of the full-set gain ({role}){MEASURES[name]}", getattr(base, name)
    one = np.mean([getattr(outcome, name) for outcome in outcomes], axis=0) - start
    draws = resampled_means(np.column_stack([one, getattr(full, name) - start]), settings)  # (draws, 2)
    tail = (1 - settings.level) / 2
    if np.quantile(draws[:, 1], tail, method="lower") <= 0:
        return _row(quantity, note="left out: the full set gains nothing that is beyond doubt")
    # A draw in which the full set gains nothing has no upper end.
    ratio = np.full(len(draws), np.inf) * np.where(draws[:, 0] < 0, -1, 1)
    np.divide(draws[:, 0], draws[:, 1], out=ratio, where=draws[:, 1] > 0)
    low, high = np.quantile(ratio, tail, method="lower"), np.quantile(ratio, 1 - tail, method="higher")
    value = one.mean() / (getattr(full, name) - start).mean()
    return _row(quantity, float(value), float(low), float(high), note=f"mean of {len(outcomes)} examples")


def _mean(quantity: str, values: Array, settings: Settings, example: str = "", note: str = "") -> Row:
    """Mean over problems of `values`, (problems,), with its bootstrap interval."""
    tail = (1 - settings.level) / 2
    low, high = np.quantile(resampled_means(values[:, None], settings)[:, 0], [tail, 1 - tail])
    return _row(quantity, float(values.mean()), float(low), float(high), example, note)


def _row(
    quantity: str, value: float = np.nan, low: float = np.nan, high: float = np.nan, example: str = "", note: str = ""
) -> Row:
    return {"quantity": quantity, "example": example, "value": value, "low": low, "high": high, "note": note}
