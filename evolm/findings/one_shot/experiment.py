"""The experiment of the one-shot chapter: base models, what one example and what many do to them, and all controls.

Tables: `accuracy`, held-out accuracy by group of problems; `inside`, mode, method, form and entropy; `training`, logs;
`saturation`, when the training reward reached a threshold; `examples`; `levels`; `history`, the full set's rollouts;
`open_models`, the instrument's rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evolm import assets, paths
from evolm.findings.one_shot.arms import CONTROLS, FIRST, FORM_FULL, FULL, ONE, VARIANTS, Arm, tune
from evolm.findings.one_shot.base import base_model, kept_base, weights_of, world_of
from evolm.findings.one_shot.examples import FIRST_RANKED, draw, kinds_of, pool_of
from evolm.findings.one_shot.measure import Bench, greedy, success
from evolm.findings.one_shot.world import task_of
from evolm.instruments.one_shot_ranking import rank_examples
from evolm.lm.forward import decoder_for
from evolm.unit import Unit

if TYPE_CHECKING:
    from evolm.findings.one_shot.parameters import OneShotParams

Tables = dict[str, pd.DataFrame]
LOG_EVERY = 5
WINDOW, THRESHOLDS = 10, (0.9, 0.95, 0.98, 0.99)
#: Main-arm examples per unit: units are what runs side by side.
TOGETHER = 5


def units(params: OneShotParams, device: str) -> list[Unit]:
    """Per seed: the examples, the full set and the ranked examples, the controls, each further base, each variant."""
    found = []
    for seed in params.seed_list:
        for first in range(0, params.examples, TOGETHER):
            count = min(TOGETHER, params.examples - first)
            found.append(_unit(params, seed, "one", f"one-{first}", count, first=first))
        ranked = params.control_examples * ("ranked" in params.variants)
        found.append(_unit(params, seed, "full", "full", 2 + len(FIRST) + ranked))
        found.append(_unit(params, seed, "controls", "controls", len(CONTROLS) * params.control_examples))
        for base in params.bases[1:]:
            found.append(_unit(params, seed, "base", base, 1 + params.control_examples, base=base))
        for variant in params.variants:
            if variant != "ranked":
                runs = params.control_examples * VARIANTS[variant].times
                found.append(_unit(params, seed, "variant", variant, runs))
    models = [{"kind": "model", "model": name} for name in assets.readable(params.models)]
    return found + [Unit(name=f"model_{i}", arguments=given, cost=1e6) for i, given in enumerate(models)]


def _unit(params: OneShotParams, seed: int, kind: str, name: str, runs: int, **more: Any) -> Unit:
    cost = runs * (params.rl_steps * params.batch / 128 + 0.03 * params.problems)
    if kind == "base" and params.start == "train":
        cost += 0.5 * (params.pretrain_steps + params.continue_steps)
    arguments = {"kind": kind, "seed": seed, "part": name, "base": "latent", **more}
    return Unit(name=f"{name}_seed={seed}", arguments=arguments, cost=cost)


def run_unit(params: OneShotParams, unit: Unit, device: str) -> Tables:
    """Tune and measure the arms of one part of one seed, or one open model."""
    given = unit.arguments
    if given["kind"] == "model":
        return {"open_models": open_model(params, given["model"], device)}
    part = Part(params, given["base"], given["seed"], device)
    control = range(params.control_examples)
    match given["kind"]:
        case "one":
            for example in range(given["first"], min(given["first"] + TOGETHER, params.examples)):
                part.one(ONE, example)
        case "full":
            part.measure_base()
            history = part.full()
            part.run(FORM_FULL, -1, part.pool)
            for arm in FIRST:
                part.one(arm, 0)
            ranked = part.describe_examples(history)
            if "ranked" in params.variants:
                for number, place in enumerate(ranked[: params.control_examples]):
                    part.run(Arm("ranked"), FIRST_RANKED + number, [part.pool[place]])
        case "controls":
            for arm in CONTROLS:
                for example in control:
                    part.one(arm, example)
        case "base":
            part.measure_base()
            part.full()
            for example in control:
                part.one(ONE, example)
        case "variant":
            for example in control:
                part.one(VARIANTS[given["part"]], example)
    return part.tables()


class Part:
    """One base model of one seed, its problems, and the rows collected about it."""

    def __init__(self, params: OneShotParams, base: Any, seed: int, device: str) -> None:
        self.params, self.seed, self.base_name = params, seed, base
        self.base = base_model(params, base, seed, device)
        self.task = task_of(world_of(params, seed))
        self.bench = Bench(params, self.task, seed)
        self.pool = pool_of(params, self.task)
        self.drawn = draw(params, self.task, self.pool)
        self._frames: dict[str, list[pd.DataFrame]] = {}

    def tables(self) -> Tables:
        return {name: pd.concat(frames, ignore_index=True) for name, frames in self._frames.items()}

    def _add(self, table: str, frame: pd.DataFrame, **labels: Any) -> None:
        labels = {"seed": self.seed, "base": self.base_name, **labels}
        for place, (name, value) in enumerate(labels.items()):
            frame.insert(place, name, value)
        self._frames.setdefault(table, []).append(frame)

    def measure_base(self) -> None:
        """The base at step 0, and what it does when it is told the mode or cooled."""
        labels = {"arm": "base", "example": -1, "step": 0}
        self._add("accuracy", self.bench.accuracy(self.base), **labels)
        self._add("inside", self.bench.inside(self.base), **labels)
        self._add("levels", self.bench.levels(self.base))

    def one(self, arm: Arm, example: int) -> None:
        """An arm on one of the examples drawn."""
        self.run(arm, example, [self.pool[self.drawn[example]]])

    def full(self) -> pd.DataFrame:
        """The full set; its rollouts' accuracies by pass."""
        history = self.run(FULL, -1, self.pool)
        self._add("history", history.drop(columns="rollouts"))
        return history

    def run(self, arm: Arm, example: int, problems: list[Any]) -> pd.DataFrame:
        """Tune, measuring every so many steps and at the end."""
        params = self.params
        labels = {"arm": arm.name, "example": example}

        def on_step(step: int, model: Any) -> None:
            if step % params.every == 0:
                self._add("accuracy", self.bench.accuracy(model), **labels, step=step)
                self._add("inside", self.bench.inside(model), **labels, step=step)

        tuned = tune(arm, params, self.base, self.task, problems, self._seed(example), on_step)
        if "reward" in tuned.log:
            self._add("saturation", saturation(tuned.log, {*THRESHOLDS, params.saturation}), **labels)
            self._add("training", thinned(tuned.log), **labels)
        return tuned.history

    def _seed(self, example: int) -> int:
        """Of sampling: its own for every example."""
        return self.seed * 1000 + example + 1

    def describe_examples(self, history: pd.DataFrame) -> list[int]:
        """What is known of every example; places in the pool by falling historical variance, ties by place."""
        scored = rank_examples(history).set_index("problem").sort_index()
        ranked = scored.sort_values("rank", kind="stable").index.tolist()
        places = dict(enumerate(self.drawn))
        if "ranked" in self.params.variants:
            places |= {FIRST_RANKED + i: place for i, place in enumerate(ranked[: self.params.control_examples])}
        problems, decoder = [self.pool[place] for place in places.values()], decoder_for(self.base)
        columns = {
            "example": list(places),
            "chosen": ["ranked" if i >= FIRST_RANKED else "draw" for i in places],
            "needed": [problem.facts["method"] for problem in problems],
            "kind": kinds_of(self.task, problems),
            "base_p": success(decoder, self.task, problems),
            "base_greedy": greedy(decoder, self.task, problems).astype(float),
            "score": scored.loc[list(places.values()), "score"].to_numpy(),
            "mean": scored.loc[list(places.values()), "mean"].to_numpy(),
        }
        self._add("examples", pd.DataFrame(columns))
        return [int(place) for place in ranked]


def saturation(log: pd.DataFrame, thresholds: Iterable[float] = THRESHOLDS) -> pd.DataFrame:
    """threshold, step: the first step whose ten-step mean of the training reward reaches it; NaN where none does."""
    mean = log["reward"].rolling(WINDOW).mean().to_numpy()
    reached = {threshold: np.flatnonzero(mean >= threshold) for threshold in sorted(thresholds)}
    steps = [float(log["step"].iloc[found[0]]) if len(found) else np.nan for found in reached.values()]
    return pd.DataFrame({"threshold": list(reached), "step": steps})


def thinned(log: pd.DataFrame) -> pd.DataFrame:
    """Means over a few steps, labelled by the last of them: what a figure shows, in a fraction of the rows."""
    kept = log[["step", "reward", "entropy", "well_formed", "clip_fraction", "grad_norm"]]
    by = kept.groupby((kept["step"] - 1) // LOG_EVERY)
    return by.mean().assign(step=by["step"].max()).reset_index(drop=True)


def open_model(params: OneShotParams, name: str, device: str) -> pd.DataFrame:
    """The instrument `one-shot` on one open model."""
    from evolm.instruments.one_shot import measure_one_shot

    options: dict[str, Any] = {"steps": params.model_steps, "examples": params.examples, "device": device}
    problems = params.model_task
    if problems == "words":  # 40 short problems: fewer to train on, and the rest to test on
        problems = str(paths.resource("data") / "problems" / "arithmetic-words.jsonl")
        options |= {"grader": "last_number", "pool": 16, "held_out": 24}
    return measure_one_shot([name], problems, seed=params.first_seed, **options)


def key_data(params: OneShotParams) -> dict[str, str]:
    """The kept base model where a run starts from it, and which open models are here to be trained."""
    kept = {"base": weights_of(kept_base())} if params.start == "kept" else {}
    return assets.presence(params.models) | kept
