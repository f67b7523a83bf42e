"""Edit distances between many expert pathways: ours (rapidfuzz in C), and what one would write instead, side by side.

    python benchmarks/pathways.py                    # 16 layers of 64 experts as in OLMoE, and 3 layers of 8
    python benchmarks/pathways.py --samples 400

Two loops stand for what one would write instead: the plain table of Wagner and Fischer, and the same with a row at a
time in numpy. Each side takes its turn on the same samples, in three readings: the paper's text, expert indices as
letters, and the indices of one layer; the loops on the first pairs only. Prints medians of pairs per CPU second and
ratios. Ours compares equal strings once, which is part of the gain where strings are short. Distances are compared on
the pairs that all sides did.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import rapidfuzz
import torch
from numpy.typing import NDArray

from evolm.instruments.pathway_measures import as_symbols, as_text, drawn_pairs, pair_distances, pathways_cumulative

Pairs = NDArray[np.int64]
#: Pairs that the slow sides do in a turn.
FEW = 10


def ours(strings: Sequence[str], pairs: Pairs) -> list[int]:
    return [int(distance) for distance in pair_distances(strings, pairs).raw]


def plain(strings: Sequence[str], pairs: Pairs) -> list[int]:
    """Wagner and Fischer's table in Python, two rows at a time."""
    found = []
    for i, j in pairs:
        one, other = strings[i], strings[j]
        row = list(range(len(other) + 1))
        for a, letter in enumerate(one, 1):
            before, row = row, [a]
            for b, match in enumerate(other, 1):
                row.append(min(before[b] + 1, row[b - 1] + 1, before[b - 1] + (letter != match)))
        found.append(row[-1])
    return found


def by_rows(strings: Sequence[str], pairs: Pairs) -> list[int]:
    """The same with numpy: a row of the table at a time, insertions by a running minimum."""
    found = []
    for i, j in pairs:
        one, other = (np.frombuffer(strings[k].encode("utf-32-le"), np.uint32) for k in (i, j))
        steps = np.arange(len(other) + 1)
        row = steps.copy()
        for a, letter in enumerate(one, 1):
            best = np.minimum(row[1:] + 1, row[:-1] + (other != letter))
            row = np.minimum.accumulate(np.concatenate([[a], best]) - steps) + steps
        found.append(int(row[-1]))
    return found


def compare(samples: int, layers: int, experts: int, sharpness: float, max_pairs: int, rounds: int) -> None:
    """One size of model: `sharpness` is the spread of the logits that routing weights are a softmax of."""
    generator = torch.Generator().manual_seed(0)
    weights = (sharpness * torch.randn(samples, layers, experts, generator=generator)).softmax(-1)
    paths = pathways_cumulative(weights)
    pairs = drawn_pairs(samples, max_pairs, np.random.default_rng(0))
    for name, strings in (
        ("text", as_text(paths)),
        ("indices", as_symbols(paths)),
        ("indices of a layer", as_symbols([path[:1] for path in paths])),
    ):
        sides: dict[str, tuple[Callable[[], list[int]], int]] = {
            "ours": (partial(ours, strings, pairs), len(pairs)),
            "numpy rows": (partial(by_rows, strings, pairs[:FEW]), FEW),
            "python": (partial(plain, strings, pairs[:FEW]), FEW),
        }
        speed: dict[str, list[float]] = {side: [] for side in sides}
        told: dict[str, list[int]] = {}
        for turn in range(rounds + 1):
            for side, (work, count) in sides.items():
                start = time.process_time()
                told[side] = work()
                if turn:  # the first turn warms up
                    speed[side].append(count / max(time.process_time() - start, 1e-9))
        same = all(told["ours"][:FEW] == told[side] for side in sides if side != "ours")
        length = np.mean([len(text) for text in strings])
        print(f"{layers} layers, {experts} experts, {name}: {length:.0f} letters, {len(pairs):,} pairs; same: {same}")
        best = statistics.median(speed["ours"])
        for side, values in speed.items():
            median = statistics.median(values)
            print(f"  {side:11s} {median:12,.0f} pairs per CPU second {best / median:9.1f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=50_000, help="pairs that our side does in a turn, at most")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(f"rapidfuzz {rapidfuzz.__version__}, numpy {np.__version__}, one thread, {chosen.samples} samples")
    compare(chosen.samples, 16, 64, 1.0, chosen.pairs, chosen.rounds)
    compare(chosen.samples, 3, 8, 1.0, chosen.pairs, chosen.rounds)


if __name__ == "__main__":
    main()
