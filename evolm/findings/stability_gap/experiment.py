"""The experiment of the stability-gap chapter: base models, every way to continue them, and what is measured meanwhile.

Tables: `curve`, accuracy on probes by half; `losses` on held-out text; `gradients` of both kinds of text; `filter`,
what the quality filter lets through; and those of `text_experiment`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from evolm.findings.stability_gap.arms import BETAS, DECAY, Arm, Base, arms_of, continued
from evolm.findings.stability_gap.corpora import Library, as_data, general_text
from evolm.findings.stability_gap.facts import FactWorld
from evolm.findings.stability_gap.probes import Bench, measured_steps
from evolm.findings.stability_gap.text_experiment import TEXT_ARMS, run_text
from evolm.findings.stability_gap.text_world import text_hashes
from evolm.lm.architecture import tiny_llama
from evolm.lm.train import TrainSettings, train_on_tokens
from evolm.unit import Unit

if TYPE_CHECKING:
    from evolm.findings.stability_gap.parameters import StabilityGapParams

Tables = dict[str, pd.DataFrame]
HEADS, INIT_STD = 4, 0.05
#: Measured updates lie this far apart at most, as a share of the number done; the first ones one by one.
SPACING = 0.2
#: An update on real text costs as much as so many documents of the synthetic world.
TEXT_COST = 60
#: Every how many measurements gradients are taken, too.
GRADIENTS = 4


def units(params: StabilityGapParams, device: str) -> list[Unit]:
    """One per seed and world: its base model is trained once, and every arm starts from it."""
    steps = sum(arm.share for arm in arms_of(params).values()) * params.steps
    costs = {"facts": params.pretrain_steps * params.pretrain_batch + steps * params.batch}
    costs["text"] = TEXT_COST * (params.text_pretrain_steps + 2 * len(TEXT_ARMS) * params.text_steps)
    seeds = {"facts": params.seed_list, "text": params.text_seed_list}
    return [
        Unit(name=f"{world}.seed={seed}", arguments={"world": world, "seed": seed}, cost=costs[world])
        for world in seeds
        for seed in seeds[world]
    ]


def run_unit(params: StabilityGapParams, unit: Unit, device: str) -> Tables:
    """Pre-train, continue in every arm, measure."""
    seed = unit.arguments["seed"]
    if unit.arguments["world"] == "text":
        return run_text(params, seed, device)
    world = FactWorld(seed)
    base = pretrained(params, world, seed, device)
    arms = arms_of(params)
    shares = dict.fromkeys((params.clean, *(arm.clean for arm in arms.values() if arm.clean is not None)))
    libraries = {clean: Library.of(world, params.documents, clean, seed) for clean in shares}
    run = Run(seed, Bench(world, seed))
    run.add("filter", filtered(params, libraries[params.clean]))
    for name, arm in arms.items():
        library = libraries[params.clean if arm.clean is None else arm.clean]
        run.follow(name, arm, params, base, world, library)
    return run.tables()


class Run:
    """The rows of one seed."""

    def __init__(self, seed: int, bench: Bench) -> None:
        self.seed, self.bench = seed, bench
        self._frames: dict[str, list[pd.DataFrame]] = {}

    def add(self, table: str, frame: pd.DataFrame, **labels: Any) -> None:
        for place, (name, value) in enumerate({"seed": self.seed, **labels}.items()):
            frame.insert(place, name, value)
        self._frames.setdefault(table, []).append(frame)

    def tables(self) -> Tables:
        return {name: pd.concat(frames, ignore_index=True) for name, frames in self._frames.items()}

    def follow(
        self, name: str, arm: Arm, params: StabilityGapParams, base: Base, world: FactWorld, library: Library
    ) -> None:
        """Continue in one arm; measure the base, the end, and steps evenly spaced on a logarithmic axis."""
        steps = measured_steps(round(params.steps * arm.share), SPACING)
        self._measure(name, 0, base.model, True)
        for step, model in continued(arm, params, base, world, library, self.seed):
            if step in steps:
                place = steps.index(step)
                self._measure(name, step, model, place % GRADIENTS == 0 or place == len(steps) - 1)

    def _measure(self, arm: str, step: int, model: Any, gradients: bool) -> None:
        labels = {"arm": arm, "step": step}
        self.add("curve", self.bench.accuracy(model), **labels)
        self.add("losses", self.bench.losses(model), **labels)
        if gradients:
            self.add("gradients", self.bench.gradients(model), **labels)


def pretrained(params: StabilityGapParams, world: FactWorld, seed: int, device: str) -> Base:
    """The base model of a seed: a small Llama after one pass over general text."""
    model = tiny_llama(
        world.vocab_size,
        params.width,
        params.layers,
        HEADS,
        hidden=round(8 / 3 * params.width),
        init_std=INIT_STD,
        seed=seed,
    )
    model.to(device)  # type: ignore[arg-type]
    data = as_data(general_text(world, params.pretrain_steps * params.pretrain_batch, seed))
    settings = TrainSettings(
        steps=params.pretrain_steps,
        batch_size=params.pretrain_batch,
        lr=params.pretrain_rate,
        warmup_steps=min(20, params.pretrain_steps - 1),
        schedule="cosine",
        betas=BETAS,
        weight_decay=DECAY,
        dtype="bfloat16",
        seed=seed,
    )
    *_, last = train_on_tokens(model, data, settings, progress=False)
    return Base(model, last.optimiser)


def filtered(params: StabilityGapParams, library: Library) -> pd.DataFrame:
    """kind, corpus, chosen: shares of each kind of document in the corpus, and in the part that the filter chooses."""
    best = pd.Series(library.kinds[library.nats.argsort(kind="stable")][: params.steps * params.batch])
    shares = {
        "corpus": pd.Series(library.kinds).value_counts(normalize=True),
        "chosen": best.value_counts(normalize=True),
    }
    return pd.DataFrame(shares).fillna(0.0).rename_axis("kind").reset_index()


def key_data(params: StabilityGapParams) -> dict[str, str]:
    """The real text where a run reads it."""
    return text_hashes() if params.text_seeds else {}
