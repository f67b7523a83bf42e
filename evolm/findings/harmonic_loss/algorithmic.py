"""One program of the chapter: a task, a split, some arms and some seeds, trained together and measured on the way.

    tables = trained(task, arms, seeds, share=0.8, epochs=1500)      # "models", "curves", "vectors"

`models` has a row per arm and seed: times to fit and to generalise, the area between both curves, geometry and norms
at the end. `curves` has its history, `vectors` the embedding's principal plane of some seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from evolm.findings.harmonic_loss.replicas import Arm, Replicas
from evolm.findings.harmonic_loss.tasks import Task, shuffled
from evolm.instruments.geometry_measures import (
    effective_rank,
    explained_variance,
    fourier_share,
    lattice_fit,
    norm_slope,
)

Split = Literal["clean", "leaky", "shuffled"]
#: Width of an embedding, and of the hidden layer (Baek et al. 2025, appendix).
WIDTH, HIDDEN = 16, 100
BATCH = 32
#: A part counts as learnt from the first measurement at which its accuracy is so high.
LEARNT = 0.95
#: Measured epochs lie so far apart, as a share of the number done.
SPACING = 0.08
#: The slope of the log norm is taken over the last part of a run: from this share of its epochs on.
LATE = 0.25


@dataclass(frozen=True)
class Data:
    """What the seeds of a program read: tokens (seed, example, place) and answers (seed, example).

    `parts`: how often an example is in `train`, `test` and `unseen`, each (seed, example); unseen leaves out what train
    holds, twins included. `train`: the places of training examples, (seed, training example).
    """

    inputs: Tensor
    answers: Tensor
    parts: dict[str, Tensor]
    train: Tensor

    @classmethod
    def of(cls, task: Task, share: float, split: Split, seeds: Sequence[int], device: str = "cpu") -> Data:
        """Raises ValueError where a part would be empty."""
        rows = [_of_seed(shuffled(task, seed) if split == "shuffled" else task, share, split, seed) for seed in seeds]
        inputs, answers, train, test, unseen, order = (
            torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)
        )
        parts = {"train": train, "test": test, "unseen": unseen}
        moved = {name: weights.to(device, torch.float32) for name, weights in parts.items()}
        return cls(inputs.to(device), answers.to(device), moved, order.to(device))

    def batches(self, seeds: Sequence[int], epoch: int) -> list[tuple[Tensor, Tensor]]:
        """An epoch's batches, (seed, batch, place) and (seed, batch), in each seed's own order; the rest is left."""
        size = min(BATCH, self.train.shape[1])
        orders = [
            torch.randperm(self.train.shape[1], generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
            for seed in seeds
        ]
        chosen = self.train.gather(1, torch.stack(orders).to(self.train.device))  # (seed, train example)
        cuts = [chosen[:, i : i + size] for i in range(0, chosen.shape[1] - size + 1, size)]
        rows = torch.arange(len(seeds), device=chosen.device)[:, None]
        return [(self.inputs[rows, cut], self.answers[rows, cut]) for cut in cuts]


def _of_seed(task: Task, share: float, split: Split, seed: int) -> tuple[NDArray[Any], ...]:
    train, test = (task.leaky_split if split == "leaky" else task.split)(share, seed)
    # Every example of the task in a leaky split, whose parts' union differs from seed to seed.
    used = np.arange(len(task.answers)) if split == "leaky" else np.union1d(train, test)
    counts = [np.bincount(np.searchsorted(used, part), minlength=len(used)) for part in (train, test)]
    fresh = ~np.isin(task.twins[used], task.twins[train])
    places = np.searchsorted(used, train)
    return task.inputs[used], task.answers[used], *counts, (fresh * 1), places


def measured_epochs(epochs: int) -> list[int]:
    """The first epochs one by one, then ever more apart, and the last."""
    found = [1]
    while found[-1] < epochs:
        found.append(min(epochs, max(found[-1] + 1, round(found[-1] * (1 + SPACING)))))
    return found


def trained(
    task: Task,
    arms: Mapping[str, Arm],
    seeds: Sequence[int],
    *,
    share: float,
    epochs: int,
    split: Split = "clean",
    falling: bool = False,
    curves: bool = False,
    pictures: int = 0,
    device: str = "cpu",
) -> dict[str, pd.DataFrame]:
    """Train every arm on every seed; `curves` keeps their histories, `pictures` the plane of so many seeds.

    `falling`: the learning rate falls linearly to zero, so that what is read at the end does not depend on where a
    run stands in its last oscillation. Else it stays.
    """
    data = Data.of(task, share, split, seeds, device)
    nets = Replicas(
        [HIDDEN, WIDTH],
        list(arms.values()),
        seeds,
        places=task.inputs.shape[1],
        classes=task.vocabulary,
        tokens=task.vocabulary,
        device=device,
    )
    history, steps = [measure(nets, data, task)], [0]
    at = set(measured_epochs(epochs))
    for epoch in range(1, epochs + 1):
        batches = data.batches(seeds, epoch)
        for done, (inputs, answers) in enumerate(batches, start=(epoch - 1) * len(batches)):
            nets.step(inputs, answers, 1 - done / (epochs * len(batches)) if falling else 1.0)
        if epoch in at:
            history.append(measure(nets, data, task))
            steps.append(epoch)
    labels = {"task": task.name, "split": split, "share": share}
    replicas = pd.DataFrame([{**labels, "arm": arm, "seed": seed} for arm in arms for seed in seeds])
    run = {name: torch.stack([row[name] for row in history], 1).double().cpu().numpy() for name in history[0]}
    tables = {"models": pd.concat([replicas, summary(run, np.array(steps))], axis=1)}
    if curves:
        tables["curves"] = _long(replicas, run, steps)
    if pictures:
        tables["vectors"] = plane(nets, task, replicas, pictures)
    return tables


@torch.no_grad()
def measure(nets: Replicas, data: Data, task: Task) -> dict[str, Tensor]:
    """Accuracy by part, loss on train, norms and geometry of the task's tokens, each (replica,)."""
    logits = nets.logits(nets.features(data.inputs))  # (replica, example, token)
    copies = len(nets.arms)
    answers = data.answers.repeat(copies, 1)  # (replica, example)
    right = (logits.argmax(-1) == answers).float()
    nats = logits.logsumexp(-1) - logits.gather(-1, answers[..., None])[..., 0]
    parts = {name: weights.repeat(copies, 1) for name, weights in data.parts.items()}
    found = {f"{name}_accuracy": (right * w).sum(1) / w.sum(1).clamp(min=1) for name, w in parts.items()}
    found |= {f"{name}_loss": (nats * w).sum(1) / w.sum(1) for name, w in parts.items() if name != "unseen"}
    vectors = nets.class_vectors()
    tokens = vectors[:, : len(task.shape)]  # those that have a place in the task's geometry
    found["norm"], found["vector_norm"] = nets.norm(), vectors.square().sum((1, 2)).sqrt()
    found["ev2"], found["shape"] = explained_variance(tokens), task_shape(tokens, task)
    found["rank"] = effective_rank(tokens).participation
    return found


def task_shape(vectors: Tensor, task: Task) -> Tensor:
    """Share of the variance of tokens (replica, token, width) that the task's own coordinates explain, (replica,).

    For addition, the best single frequency of the ring, since any winding serves (Baek et al. 2025, Fig. 3).
    """
    if task.name == "addition":
        return fourier_share(vectors).share
    return lattice_fit(vectors, torch.from_numpy(task.shape))


def summary(run: Mapping[str, NDArray[Any]], steps: NDArray[Any]) -> pd.DataFrame:
    """One row per replica of a history: each quantity is (replica, measurement), the first of them before training."""
    train, test = run["train_accuracy"], run["test_accuracy"]
    found: dict[str, NDArray[Any]] = {}
    for name, accuracy in (("fit", train), ("generalised", test)):
        reached = accuracy >= LEARNT
        seen = np.asarray(reached.any(1))
        found[f"{name}_seen"] = seen
        found[f"{name}_epoch"] = np.where(seen, steps[reached.argmax(1)], steps[-1]).clip(min=1)
    doublings = np.log2(steps[1:])
    # Doublings of training time during which the model knows what it has seen and not what it has not.
    found["delay"] = np.trapezoid((train - test)[:, 1:].clip(min=0), doublings, axis=1)
    found["learnt"] = np.trapezoid(test[:, 1:], doublings, axis=1) / doublings[-1]
    late = steps >= LATE * steps[-1]
    for name in ("norm", "vector_norm"):
        found[f"{name}_slope"] = norm_slope(
            torch.from_numpy(steps[late].astype(float)), torch.from_numpy(run[name][:, late])
        ).numpy()
        found[f"{name}_growth"] = run[name][:, -1] / run[name][:, 0]
    ends = {name: values[:, -1] for name, values in run.items()}
    return pd.DataFrame({**found, **ends})


def _long(replicas: pd.DataFrame, run: Mapping[str, NDArray[Any]], steps: Sequence[int]) -> pd.DataFrame:
    """Histories as rows: labels, epoch, quantities."""
    long = replicas.loc[replicas.index.repeat(len(steps))].reset_index(drop=True)
    kept = ("train_accuracy", "test_accuracy", "train_loss", "test_loss", "norm", "vector_norm", "ev2", "shape")
    columns = {name: run[name].ravel().astype(np.float32) for name in kept}
    return long.assign(epoch=np.tile(steps, len(replicas)), **columns)


@torch.no_grad()
def plane(nets: Replicas, task: Task, replicas: pd.DataFrame, seeds: int) -> pd.DataFrame:
    """The tokens of the first `seeds` seeds of every arm in their two leading principal components: token, x, y."""
    tokens = nets.class_vectors()[:, : len(task.shape)].double().cpu()
    centred = tokens - tokens.mean(1, keepdim=True)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    flat = centred @ directions[:, :2].mT  # (replica, token, 2)
    first = replicas["seed"].isin(list(nets.seeds)[:seeds]).to_numpy()
    frames = [
        pd.DataFrame({"token": range(len(points)), "x": points[:, 0], "y": points[:, 1]}).assign(
            **{str(name): replicas[name].iloc[place] for name in replicas}
        )
        for place, points in enumerate(flat.numpy())
        if first[place]
    ]
    return pd.concat(frames, ignore_index=True)
