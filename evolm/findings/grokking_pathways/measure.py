"""What is measured of arm A's models during training: accuracy, when each sample is mastered, and pathways.

    bench = Bench(world, seed, thresholds=(0.7,), active=2)
    for checkpoint in followed(...):
        bench.measure(checkpoint)
    bench.tables(steps)

Half of the training pairs date memorisation, pathways are those of the other half. A sample is *mastered* at the first
checkpoint at which its answer is right and from which on it is right at nine of ten checkpoints (the paper: mean
accuracy above .8 with at most one later error, over ten checkpoints). A date is log2 of the update; what is never
mastered is dated by the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from numpy.typing import NDArray
from torch import Tensor

from evolm.findings.grokking_pathways.arms import Arm, Checkpoint, dispersion
from evolm.findings.grokking_pathways.metrics import Routing, group_metrics
from evolm.findings.grokking_pathways.prefixes import Tree
from evolm.findings.grokking_pathways.program import Pass
from evolm.findings.grokking_pathways.tables import World
from evolm.instruments.pathway_measures import expert_load, load_imbalance, routing_weights

Tables = dict[str, pd.DataFrame]
#: Training pairs of each group whose pathways are compared, and held-out pairs of each group that are asked.
SAMPLES, HELD_OUT = 64, 300
#: Share of later checkpoints at which a mastered sample is right.
STEADY = 0.9
#: Samples of each group whose routes are kept for the picture.
PICTURED = 16


class Bench:
    """The samples of a world that are measured, and what was found of them. Only `seed` draws them."""

    def __init__(
        self, world: World, arms: dict[str, Arm], labels: Tensor, seed: int, thresholds: Sequence[float],
        device: str = "cpu", pictured: str | None = None,
    ) -> None:  # fmt: skip
        """`labels` are those of every arm, (replica, sample of the world). `pictured`: whose routes are kept."""
        rng = np.random.default_rng([seed, 3])
        held_out = [rng.permutation(np.flatnonzero(world.of(name) & ~world.train))[:HELD_OUT] for name in world.groups]
        self.rows = np.sort(np.concatenate([np.flatnonzero(world.train), *held_out]))
        self.world, self.arms, self.thresholds, self.pictured = world, arms, thresholds, pictured
        self.seed = seed
        self.train, self.half = world.train[self.rows], world.half[self.rows]
        self.group, self.cell = world.group[self.rows], world.cell[self.rows]
        self.labels = labels[:, self.rows].to(device)
        self.tree = Tree.of(world.sequences[self.rows], device)
        scored = self.train & (self.half == 1)
        self.compared = [rng.permutation(np.flatnonzero(scored & self._of(name)))[:SAMPLES] for name in world.groups]
        self.steps: list[int] = []
        self._correct: list[NDArray[np.bool_]] = []
        self._frames: dict[str, list[pd.DataFrame]] = {}

    def _of(self, group: str) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.group == self.world.groups.index(group)
        return found

    @torch.no_grad()
    def measure(self, checkpoint: Checkpoint) -> None:
        """Add what one checkpoint shows."""
        found = checkpoint.program.forward(self.tree, outputs=True)
        each = F.cross_entropy(found.logits.flatten(0, 1), self.labels.flatten(), reduction="none")
        nats = each.view(self.labels.shape).cpu().numpy()
        correct = (found.logits.argmax(-1) == self.labels).cpu().numpy()  # (replica, sample)
        self.steps.append(checkpoint.step)
        self._correct.append(correct)
        norms, routers = checkpoint.program.norm().cpu(), checkpoint.program.routers().cpu()
        experts = routers.shape[2]
        for replica, name in enumerate(checkpoint.names):
            p = None if experts == 1 else self._weights(found, replica)
            self._add("curve", self._accuracy(correct[replica], nats[replica]), name)
            kept = {
                "nats": float(checkpoint.nats[replica]),
                "weight_norm": float(norms[replica]),
                "router_norm": float(routers[replica].norm()),
                **self._routing(p, self._active(checkpoint)),
            }
            self._add("training", pd.DataFrame([kept]), name)
            outputs = torch.stack(found.outputs, 2)[replica].cpu()  # (sample, layer, width)
            for number, group in enumerate(self.world.groups):
                self._pathways(name, group, self.compared[number], p, routers[replica], outputs, checkpoint)

    def _routing(self, p: Tensor | None, active: int) -> dict[str, float]:
        """`imbalance` of the load, mean over layers, and `dispersion` of routing within groups; 0 for a dense model."""
        if p is None:
            return {"imbalance": 0.0, "dispersion": 0.0}
        load = load_imbalance(expert_load(p.flatten(0, 1), active))
        chosen = np.concatenate(self.compared)
        group = torch.from_numpy(self.group[chosen])
        # What the intervention penalises, of the training samples whose pathways are compared.
        spread = dispersion([p[chosen, -1, layer].log()[None] for layer in range(p.shape[2])], group)
        return {"imbalance": float(load.mean()), "dispersion": float(spread)}

    def _active(self, checkpoint: Checkpoint) -> int:
        return int(checkpoint.program.config.num_experts_per_tok)

    def _weights(self, found: Pass, replica: int) -> Tensor:
        """Routing weights of one replica, (sample, token, layer, expert)."""
        layers = [self.tree.at_each_position(logits[replica : replica + 1])[0] for logits in found.router_logits]
        return routing_weights(torch.stack(layers, 2)).cpu()

    def _accuracy(self, correct: NDArray[np.bool_], nats: NDArray[np.float32]) -> pd.DataFrame:
        rows = []
        for name in self.world.groups:
            of = self._of(name)
            dating, scored = (of & self.train & (self.half == half) for half in (0, 1))
            asked = of & ~self.train
            rows.append(
                {
                    "group": name,
                    "dating_accuracy": correct[dating].mean(),
                    "train_accuracy": correct[scored].mean(),
                    "test_accuracy": correct[asked].mean(),
                    "train_nats": nats[scored].mean(),
                    "test_nats": nats[asked].mean(),
                }
            )
        return pd.DataFrame(rows)

    def _pathways(
        self, arm: str, group: str, rows: NDArray[np.int64], p: Tensor | None, router: Tensor, outputs: Tensor,
        checkpoint: Checkpoint,
    ) -> None:  # fmt: skip
        chosen = torch.ones(len(rows), 1, outputs.shape[1], 1) if p is None else p[rows]
        routing = Routing(chosen[:, -1], chosen.mean(1), router, outputs[rows])
        # The same shuffles in every arm and group of a checkpoint: pairs differ by their models alone.
        rng = np.random.default_rng([self.seed, 4, checkpoint.step])
        found = group_metrics(routing, self._active(checkpoint), self.thresholds, rng)
        self._add("pathways", found.quantities, arm, group=group)
        if len(found.layers):
            self._add("layers", found.layers, arm, group=group)
        if arm == self.pictured:
            self._add("routes", _routes(chosen[:PICTURED, -1], self._active(checkpoint)), arm, group=group)

    def _add(self, table: str, frame: pd.DataFrame, arm: str, **labels: str) -> None:
        for place, (name, value) in enumerate({"arm": arm, **labels}.items()):
            frame.insert(place, name, value)
        frame.insert(1 + len(labels), "step", self.steps[-1])
        self._frames.setdefault(table, []).append(frame)

    def tables(self) -> Tables:
        """Every table, and `cells`: when the samples of each cell are mastered."""
        found = {name: pd.concat(frames, ignore_index=True) for name, frames in self._frames.items()}
        dates = mastered(np.array(self.steps), np.stack(self._correct))  # (replica, sample)
        found["cells"] = pd.concat([self._cells(name, at) for name, at in zip(self.arms, dates, strict=True)])
        return found

    def _cells(self, arm: str, dates: NDArray[np.float64]) -> pd.DataFrame:
        """arm, group, cell, memorised and trained (dating half), generalised and held_out: log2 dates and counts."""
        rows = pd.DataFrame({"group": np.array(self.world.groups)[self.group], "cell": self.cell, "date": dates})
        parts = []
        for what, count, chosen in (
            ("memorised", "trained", self.train & (self.half == 0)), ("generalised", "held_out", ~self.train)
        ):  # fmt: skip
            by_cell = rows[chosen].groupby(["group", "cell"], sort=False)["date"]
            parts.append(by_cell.agg(["mean", "size"]).set_axis([what, count], axis=1))
        both = pd.concat(parts, axis=1, join="inner").reset_index()
        both.insert(0, "arm", arm)
        return both.sort_values(["group", "cell"], ignore_index=True)


def mastered(steps: NDArray[np.int64], correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """log2 of the update at which each sample is mastered, from `correct` (checkpoint, ..., sample); the end if never.

    The start counts as the first update after it that was measured.
    """
    later = np.arange(len(steps), 0, -1).reshape(-1, *[1] * (correct.ndim - 1))
    steady = correct & (correct[::-1].cumsum(0)[::-1] >= STEADY * later)
    dates = np.log2(np.maximum(steps, steps[steps > 0].min()))
    return np.where(steady.any(0), dates[steady.argmax(0)], dates[-1])


def _routes(p: Tensor, active: int) -> pd.DataFrame:
    """sample, layer, rank, expert, weight of the heaviest experts of each sample; `p` is (sample, layer, expert)."""
    weight, expert = p.topk(min(active, p.shape[-1]), -1)
    sample, layer, rank = np.indices(weight.shape).reshape(3, -1)
    columns = {"sample": sample, "layer": layer, "rank": rank, "expert": expert.flatten(), "weight": weight.flatten()}
    return pd.DataFrame({name: np.asarray(values) for name, values in columns.items()})
