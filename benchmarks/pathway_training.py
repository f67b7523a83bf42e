"""Arms of an OLMoE trained together on shared prefixes, against transformers' own model, one after another.

    python benchmarks/pathway_training.py                   # 1, 2, 4 and 8 replicas, 30 updates a side and round
    python benchmarks/pathway_training.py --batch 64

Both sides see the same batches of [task, a, b], take the same loss with load balancing, and the same AdamW. Sides take
turns in one process; the figure is the median over rounds of CPU milliseconds per replica and update, and the ratio to
the library's with its fastest experts on a CPU (grouped_mm). That both compute the same is a test, not shown here.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from evolm.findings.grokking_pathways.model import Shape, tiny_olmoe
from evolm.findings.grokking_pathways.prefixes import Tree
from evolm.findings.grokking_pathways.program import BETAS, Program
from evolm.findings.grokking_pathways.tables import hidden_classes
from evolm.lm.token_data import order

REPLICAS = (1, 2, 4, 8)
RATE = 1e-3


def main() -> None:
    """Take turns, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    world = hidden_classes(seed=0)
    shape = Shape(world.vocabulary)
    trained = np.flatnonzero(world.train)

    def batches(turn: int) -> list[np.ndarray]:
        first = turn * chosen.updates
        return [trained[order(len(trained), chosen.batch, first + i, 0)] for i in range(chosen.updates)]

    model = tiny_olmoe(shape, seed=0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=1.0, fused=True)
    labels = torch.from_numpy(world.labels)

    def library(turn: int) -> None:
        for rows in batches(turn):
            optimiser.zero_grad(set_to_none=True)
            found = model(torch.from_numpy(world.sequences[rows]), logits_to_keep=1)
            nats = F.cross_entropy(found.logits[:, -1], labels[rows])
            (nats + 0.01 * found.aux_loss).backward()
            optimiser.step()

    def together(program: Program, count: int) -> Callable[[int], None]:
        def side(turn: int) -> None:
            for rows in batches(turn):
                program.step(Tree.of(world.sequences[rows]), labels[rows].expand(count, -1), RATE)

        return side

    sides: dict[str, tuple[Callable[[int], None], int]] = {"transformers": (library, 1)}
    for count in REPLICAS:
        program = Program([tiny_olmoe(shape, seed=0)] * count, decay=1.0)
        sides[f"{count} together"] = (together(program, count), count)
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(chosen.rounds + 1):
        for name, (side, count) in sides.items():
            start = time.process_time()
            side(turn)
            if turn:  # the first turn warms up
                spent[name].append((time.process_time() - start) / chosen.updates / count)
    print(f"torch {torch.__version__}, cpu, 1 thread, batches of {chosen.batch} sequences of 3 tokens")
    base = statistics.median(spent["transformers"])
    for name, each in spent.items():
        median = statistics.median(each)
        print(f"  {name:12s} {1e3 * median:7.1f} CPU ms per replica and update {base / median:6.2f}x")


if __name__ == "__main__":
    main()
