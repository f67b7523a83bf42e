"""Chooses learning rate, decay and knob of every head by one search, on development seeds.

    python -m evolm.findings.harmonic_loss.choose data/choices/harmonic-loss.csv

Every head has as many trials as any other: the same rates and decays, and as many values of its one knob, which is the
exponent of harmonic loss and a scale of logits elsewhere. On addition the score is the mean accuracy on test pairs over
the doublings of training, averaged over two shares of data: how soon and how well it generalises. On images it is
accuracy on validation images, on text loss on the validation part. Report seeds are refused.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from evolm.finding import FIRST_REPORT_SEED
from evolm.findings.harmonic_loss import algorithmic, vision
from evolm.findings.harmonic_loss.replicas import Arm, Head
from evolm.findings.harmonic_loss.tasks import modular_addition
from evolm.images import load_images

SEEDS, ADDITION_SEEDS = (5, 6), (5, 6, 7, 8)
RATES = (4e-3, 1.6e-2, 3.2e-2, 6.4e-2, 2.56e-1)
DECAYS = (0.03, 0.1, 0.3)
#: As long as a report's run, since a rate that falls to zero has another effect over another time.
SHARES, EPOCHS = (0.5, 0.8), 200
#: Four values of each form's knob.
HEADS: dict[str, list[Head]] = {
    "cross-entropy": [Head("dot", knob) for knob in (0.015625, 0.0625, 0.25, 1.0)],
    "normalised": [Head("normalised", knob) for knob in (1.25, 2.5, 5.0, 10.0)],
    "squared distance": [Head("softmax", knob) for knob in (0.005, 0.02, 0.1, 0.5)],
    "distance": [Head("softmax", knob, power=1) for knob in (0.25, 0.5, 1.0, 2.0)],
    "harmonic": [Head("harmonic", knob) for knob in (1.0, 2.0, 4.0, 8.0)],
}
IMAGE_RATES, IMAGE_EPOCHS = (3e-3, 1e-2, 3e-2), 40
IMAGE_KNOBS = (1.0, 4.0, 16.0)
IMAGE_DISTANCES = (
    "euclidean", "cosine", "manhattan", "minkowski", "chebyshev", "bray-curtis", "bray-curtis-abs", "canberra",
    "hamming", "mahalanobis",
)  # fmt: skip
#: One layer: the paper's exponent is the root of the number of pixels, the authors' code has twice that.
LINEAR_HEADS: dict[str, list[Head]] = {
    "cross-entropy": [Head("dot")],
    "squared distance": [Head("softmax", 1.0)],
    "harmonic": [Head("harmonic", 8.0)],
    "harmonic, authors'": [Head("harmonic", 16.0)],
}
TEXT_RATES, TEXT_STEPS = (2e-3, 4e-3, 8e-3), 500
#: Further rates of the head that has one knob where others have two.
BETWEEN = (1e-3, 2.8e-3, 5.7e-3)
TEXT_HEADS: dict[str, list[Head]] = {
    "cross-entropy": [Head("dot")],
    "harmonic": [Head("harmonic", knob) for knob in (11.3, 45.0)],
    "cosine": [Head("harmonic", knob, "cosine") for knob in (4.0, 16.0)],
}


class Job(NamedTuple):
    """A part of the search that one process does."""

    function: Callable[..., pd.DataFrame]
    arguments: tuple[object, ...]


def arms_of(heads: dict[str, list[Head]], rates: Sequence[float], decays: Sequence[float]) -> dict[str, Arm]:
    """Every trial of every head, named so that its settings can be read back."""
    return {
        f"{name}|{head.knob:g}|{rate:g}|{decay:g}": Arm(head, rate, decay)
        for name, variants in heads.items()
        for head in variants
        for rate in rates
        for decay in decays
    }


def addition_trials(share: float, seed: int) -> pd.DataFrame:
    """experiment, arm, seed, score: mean test accuracy over the doublings of training."""
    arms = arms_of(HEADS, RATES, DECAYS)
    found = algorithmic.trained(modular_addition(), arms, _checked([seed]), share=share, epochs=EPOCHS, falling=True)
    models = found["models"]
    return models[["arm", "seed", "share"]].assign(experiment="addition", score=models["learnt"])


def image_heads() -> dict[str, list[Head]]:
    """The heads behind the network, by name."""
    found = {
        "cross-entropy": [Head("dot", knob) for knob in (0.25, 1.0, 4.0)],
        "normalised": [Head("normalised", knob) for knob in (5.0, 10.0, 20.0)],
        "squared distance": [Head("softmax", knob) for knob in (0.1, 0.3, 1.0)],
    }
    return found | {name: [Head("harmonic", knob, name) for knob in IMAGE_KNOBS] for name in IMAGE_DISTANCES}


def image_trials(backbone: vision.Backbone) -> pd.DataFrame:
    """experiment, arm, seed, score: accuracy on validation images of the digits."""
    heads = image_heads() if backbone == "network" else LINEAR_HEADS
    arms = arms_of(heads, IMAGE_RATES, (0.0,))
    digits = load_images("digits")
    found = vision.trained(digits, backbone, arms, _checked(SEEDS), epochs=IMAGE_EPOCHS, test=False)["vision"]
    return found[["arm", "seed"]].assign(experiment=backbone, score=found["test_accuracy"])


def text_rates(name: str) -> tuple[float, ...]:
    """Learning rates of a head on text: every head has six trials."""
    return TEXT_RATES if len(TEXT_HEADS[name]) > 1 else tuple(sorted((*TEXT_RATES, *BETWEEN)))


def text_trials(name: str, lr: float) -> pd.DataFrame:
    """experiment, arm, seed, score: minus the loss on the validation part, after a part of the updates of a report."""
    from evolm.findings.harmonic_loss import text  # transformers takes seconds, and only this needs it

    rows = []
    for label, arm in arms_of({name: TEXT_HEADS[name]}, (lr,), (0.1,)).items():
        for seed in _checked(SEEDS[:1]):
            size = text.Size(width=128, layers=3, steps=TEXT_STEPS)
            table = text.trained(label, arm.head, arm.lr, seed, size, test=False)
            rows.append({"experiment": "text", "arm": label, "seed": seed, "score": -table["text"]["nats"][0]})
    return pd.DataFrame(rows)


def chosen(table: pd.DataFrame, experiment: str) -> dict[str, tuple[float, float, float]]:
    """Head -> knob, rate, decay with the best mean score; of equal scores the first, so the smallest."""
    rows = table[table["experiment"] == experiment]
    scores = rows.groupby(["head", "knob", "lr", "decay"])["score"].mean()
    best = scores.groupby("head").idxmax()
    return {str(head): (float(knob), float(lr), float(decay)) for head, knob, lr, decay in best}


def _checked(seeds: Sequence[int]) -> Sequence[int]:
    if report := [seed for seed in seeds if seed >= FIRST_REPORT_SEED]:
        raise ValueError(f"seed {report[0]} is a report seed; settings are chosen on seeds below {FIRST_REPORT_SEED}")
    return seeds


def _run(job: Job) -> pd.DataFrame:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    return job.function(*job.arguments)


def main(file: str, *experiments: str) -> None:
    """Try everything, write every trial, and print what each head is given. `experiments` limits it to some."""
    parts = {
        "addition": [Job(addition_trials, (share, seed)) for share in reversed(SHARES) for seed in ADDITION_SEEDS],
        "linear": [Job(image_trials, ("linear",))],
        "network": [Job(image_trials, ("network",))],
        "text": [Job(text_trials, (name, lr)) for name in TEXT_HEADS for lr in text_rates(name)],
    }
    wanted = experiments or tuple(parts)
    jobs = [job for name in wanted for job in parts[name]]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        table = pd.concat(pool.map(_run, jobs), ignore_index=True)
    settings = table.pop("arm").str.split("|", expand=True)
    numbers = {name: settings[place].astype(float) for place, name in enumerate(("knob", "lr", "decay"), start=1)}
    table = table.assign(head=settings[0], **numbers)
    path = Path(file)
    if path.exists():  # other parts of the search stay as they are
        before = pd.read_csv(path)
        table = pd.concat([before[~before["experiment"].isin(wanted)], table])
    order = ["experiment", "head", "knob", "lr", "decay", "share", "seed"]
    path.parent.mkdir(parents=True, exist_ok=True)
    table.reindex(columns=[*order, "score"]).sort_values(order).to_csv(path, index=False, float_format="%.6g")
    for name in wanted:
        print(name, chosen(table, name))


if __name__ == "__main__":
    main(*sys.argv[1:])
