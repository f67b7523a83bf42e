"""The batched program against one model at a time, side by side in one process run.

    python benchmarks/superposition.py                 # n = 100, 200 (preset cpu), 300, 1000
    python benchmarks/superposition.py --n 10240       # large; wants a GPU
    python benchmarks/superposition.py --steps 200 --device cuda

Two loops stand for what one would write instead: `loop` draws dense batches with `torch.rand` (as the
authors' published scripts do), `loop, data given` is handed the program's own batches ready-made, so that
only the training differs. The second also proves that both compute the same thing: `loss differs by` is the
largest relative difference of the test loss over all models. Prints CPU seconds, wall seconds and ratios.

What bounds the program are its three matrix products per model, two thirds of the time at n = 300: the ratio falls as n
grows and the products outweigh what it saves.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from evolm.findings.superposition.data import SparseBatches, frequencies
from evolm.findings.superposition.measure import evaluate_loss
from evolm.findings.superposition.program import Program, ToyModel, Training
from evolm.findings.superposition.reference import dense_batch, train_one

WIDTHS = {
    100: (3, 5, 8, 12, 18, 25),
    200: (5, 8, 12, 18, 27, 40),
    300: (6, 9, 14, 21, 32, 48),
    1000: (10, 15, 25, 39, 63, 100),
}
WIDE = (8, 16, 32, 64, 128, 256)
ARMS = [(-1.0, "relu"), (0.0, "relu"), (0.5, "relu"), (1.0, "relu"), (-1.0, "linear"), (0.0, "frozen")]


def timed(work: Callable[[], object], device: str) -> tuple[float, float]:
    """CPU seconds and wall seconds of `work`."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.process_time() - cpu, time.perf_counter() - wall


def compare(n: int, steps: int, batch_size: int, seeds: list[int], device: str) -> str:
    models = [ToyModel(w, decay, decoder) for w in WIDTHS.get(n, WIDE) for decay, decoder in ARMS]  # type: ignore[arg-type]
    training = Training(n, 1.0, batch_size, steps, 1e-2)
    p = frequencies(n, training.alpha)

    def given(seed: int) -> list[Tensor]:
        stream = iter(SparseBatches(p, batch_size, [seed, 1]))
        return [torch.from_numpy(next(stream).dense(batch_size, n)).to(device) for _ in range(steps)]

    def drawn(seed: int) -> Iterator[Tensor]:
        generator, law = torch.Generator(device).manual_seed(seed), torch.from_numpy(p).float().to(device)
        while True:
            yield dense_batch(law, batch_size, generator)

    Program(models, replace(training, steps=20), seeds, device).train()  # warm-up
    trained: list[Program] = []
    fast = timed(lambda: trained.append(Program(models, training, seeds, device).train()), device)
    slow = timed(lambda: [train_one(m, training, s, drawn(s)) for s in seeds for m in models], device)
    ready = {s: given(s) for s in seeds}
    alone: dict[tuple[int, int], Tensor] = {}
    same = timed(
        lambda: alone.update(
            {(s, k): train_one(m, training, s, ready[s]) for s in seeds for k, m in enumerate(models)}
        ),
        device,
    )
    x = torch.cat(given(seeds[0])[: min(steps, 8)])
    worst = 0.0
    for k, (model, rows) in enumerate(zip(models, trained[0].rows, strict=True)):
        together = trained[0].weights[0, rows]
        losses = [evaluate_loss(x, w[:-1], w[-1], model.decoder) for w in (together, alone[seeds[0], k])]
        worst = max(worst, abs(losses[0] / losses[1] - 1))
    lines = [
        f"n={n:<6} batch={batch_size} models={len(models) * len(seeds)} steps={steps}   loss differs by {worst:.1e}"
    ]
    for name, (cpu, wall) in (("program", fast), ("loop", slow), ("loop, data given", same)):
        ratio = "" if name == "program" else f"   {cpu / fast[0]:5.1f}x CPU {wall / fast[1]:5.1f}x wall"
        lines.append(f"  {name:<17} {cpu:8.2f} CPU s {wall:8.2f} s wall{ratio}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[100, 200, 300, 1000], help="numbers of features")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.device}, {arguments.threads} thread(s)")
    for n in arguments.n:
        seeds = list(range(arguments.seeds))
        print(compare(n, arguments.steps, arguments.batch_size, seeds, arguments.device), flush=True)


if __name__ == "__main__":
    main()
