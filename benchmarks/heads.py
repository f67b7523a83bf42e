"""Distance heads against a linear one and against the naive forms, side by side in one process run.

    python benchmarks/heads.py                              # three sizes, then every distance at one of them
    python benchmarks/heads.py --sizes vocabulary --rounds 20
    python benchmarks/heads.py --device cuda --threads 8

One step is the head's forward pass, the mean cross-entropy and the gradients of features and class vectors. The arms:

- `linear`: a product and cross-entropy, what the head replaces;
- `harmonic`: our Euclidean head; `in parts`: the same loss by `harmonic_cross_entropy`, which never holds all logits;
- `by hand`: the product written out with autograd, no guard at distance zero and no shift;
- `cdist`: `torch.cdist` and a logarithm; `broadcast`: the difference of all pairs. Neither is finite at distance zero.

Arms take turns. Prints medians of CPU and wall time, their ratio to `linear`, and the most memory that was allocated
during a step beyond the inputs (by PyTorch's own count). The second table has every distance, beside its broadcast form
where it is short to write.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from evolm.heads.distances import DISTANCES
from evolm.heads.harmonic import distance_logits
from evolm.heads.loss import harmonic_cross_entropy

#: Beyond this a broadcast form is not run: bytes of one (batch, classes, width) tensor.
LARGEST = 2**30
EXPONENT = 4.0
Arm = Callable[[Tensor, Tensor], Tensor]  # features, class vectors -> logits


@dataclass(frozen=True)
class Size:
    replicas: int
    batch: int
    classes: int
    width: int

    @property
    def pairs(self) -> int:
        """Bytes of a float32 tensor of all coordinates of all pairs."""
        return 4 * self.replicas * self.batch * self.classes * self.width


SIZES = {
    "replicas": Size(100, 32, 31, 16),  # the modular addition of the chapter, a hundred models together
    "classifier": Size(1, 256, 100, 512),
    "vocabulary": Size(1, 1024, 8192, 256),
}


def linear(x: Tensor, w: Tensor) -> Tensor:
    return x @ w.mT


def by_hand(x: Tensor, w: Tensor) -> Tensor:
    squares = x.square().sum(-1, keepdim=True) + w.square().sum(-1).unsqueeze(-2) - 2 * x @ w.mT
    return -EXPONENT / 2 * squares.log()


def cdist(x: Tensor, w: Tensor) -> Tensor:
    return -EXPONENT * torch.cdist(x, w).log()


def broadcast(x: Tensor, w: Tensor) -> Tensor:
    return -EXPONENT / 2 * (x.unsqueeze(-2) - w.unsqueeze(-3)).square().sum(-1).log()


def harmonic(x: Tensor, w: Tensor) -> Tensor:
    return distance_logits("euclidean", x, w, exponent=EXPONENT)


def step_of(logits: Arm, x: Tensor, w: Tensor, targets: Tensor) -> Callable[[], Tensor]:
    def step() -> Tensor:
        loss = F.cross_entropy(logits(x, w).flatten(0, -2), targets)
        torch.autograd.grad(loss, (x, w))
        return loss.detach()

    return step


def step_in_parts(x: Tensor, w: Tensor, targets: Tensor) -> Callable[[], Tensor]:
    def step() -> Tensor:
        # A part costs as much as some passes over w: with as many rows as the width that is little beside its products.
        at_once = w.shape[-2] * w.shape[-1]
        loss = harmonic_cross_entropy(x[0], w[0], targets, exponent=EXPONENT, max_logits=at_once)
        torch.autograd.grad(loss, (x, w))
        return loss.detach()

    return step


def naive(name: str) -> Arm | None:
    """The broadcast form of a distance's harmonic logits, where it is a line."""

    def of(distances: Arm) -> Arm:
        return lambda x, w: -EXPONENT * distances(x.unsqueeze(-2), w.unsqueeze(-3)).log()

    forms: dict[str, Arm] = {
        "euclidean": lambda x, w: (x - w).square().sum(-1).sqrt(),
        "squared-euclidean": lambda x, w: (x - w).square().sum(-1),
        "cosine": lambda x, w: 1 - F.cosine_similarity(x, w, dim=-1),
        "manhattan": lambda x, w: (x - w).abs().sum(-1),
        "minkowski": lambda x, w: (x - w).abs().pow(1.5).sum(-1).pow(1 / 1.5),
        "chebyshev": lambda x, w: (x - w).abs().amax(-1),
        "bray-curtis": lambda x, w: (x - w).abs().sum(-1) / (x + w).abs().sum(-1),
        "bray-curtis-abs": lambda x, w: (x - w).abs().sum(-1) / (x.abs() + w.abs()).sum(-1),
        "canberra": lambda x, w: ((x - w).abs() / (x.abs() + w.abs())).sum(-1),
        "hamming": lambda x, w: (x.sigmoid() - w.sigmoid()).abs().sum(-1),
    }
    return of(forms[name]) if name in forms else None


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def timed(step: Callable[[], Tensor], device: str, repeats: int) -> tuple[float, float]:
    """CPU and wall seconds of one step."""
    synchronise(device)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        step()
    synchronise(device)
    return (time.process_time() - cpu) / repeats, (time.perf_counter() - wall) / repeats


def peak(step: Callable[[], Tensor], device: str) -> int:
    """The most bytes that `step` had allocated at one time."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        synchronise(device)
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    held, most = 0, 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def measured(steps: dict[str, Callable[[], Tensor]], rounds: int, device: str) -> dict[str, tuple[float, float, int]]:
    """Median CPU and wall seconds, and peak bytes, of each arm; they take turns."""
    once = {name: timed(step, device, 3)[1] for name, step in steps.items()}  # warms up too
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for number in range(rounds):
        for name in steps if number % 2 else reversed(steps):
            spent[name].append(timed(steps[name], device, max(1, min(50, round(0.02 / once[name])))))
    medians = {name: [statistics.median(column) for column in zip(*each, strict=True)] for name, each in spent.items()}
    return {name: (cpu, wall, peak(steps[name], device)) for name, (cpu, wall) in medians.items()}


def vectors(size: Size, device: str) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size.replicas, size.batch, size.width, generator=generator)
    w = torch.randn(size.replicas, size.classes, size.width, generator=generator)
    targets = torch.randint(size.classes, (size.replicas * size.batch,), generator=generator)
    return x.to(device).requires_grad_(), w.to(device).requires_grad_(), targets.to(device)


def arms(name: str, size: Size, rounds: int, device: str) -> str:
    x, w, targets = vectors(size, device)
    forms: dict[str, Arm] = {"linear": linear, "harmonic": harmonic, "by hand": by_hand, "cdist": cdist}
    if size.pairs <= LARGEST:
        forms["broadcast"] = broadcast
    steps = {key: step_of(form, x, w, targets) for key, form in forms.items()}
    if name == "vocabulary":
        steps["in parts"] = step_in_parts(x, w, targets)
    losses = {key: float(step()) for key, step in steps.items() if key != "linear"}
    differs = max(abs(loss / losses["harmonic"] - 1) for loss in losses.values())
    found = measured(steps, rounds, device)
    lines = [
        f"{name}: {size.replicas} x {size.batch} x {size.classes} classes, width {size.width}   "
        f"loss {losses['harmonic']:.4f}, differs by {differs:.1e}"
    ]
    for key, values in found.items():
        lines.append(row(key, values, found["linear"]))
    if "broadcast" not in forms:
        lines.append(f"  broadcast not run: one of its tensors has {size.pairs / 2**30:.1f} GiB")
    return "\n".join(lines)


def row(name: str, values: tuple[float, float, int], base: tuple[float, float, int]) -> str:
    cpu, wall, memory = values
    return (
        f"  {name:<24} {1e3 * cpu:9.2f} CPU ms {1e3 * wall:9.2f} ms   {cpu / base[0]:6.2f}x CPU "
        f"{wall / base[1]:6.2f}x wall   {memory / 2**20:8.1f} MiB {memory / base[2]:6.2f}x"
    )


def distances(size: Size, rounds: int, device: str) -> str:
    x, w, targets = vectors(size, device)
    steps: dict[str, Callable[[], Tensor]] = {"linear": step_of(linear, x, w, targets)}
    for name in DISTANCES:

        def logits(x: Tensor, w: Tensor, name: str = name) -> Tensor:
            return distance_logits(name, x, w, exponent=EXPONENT)

        steps[name] = step_of(logits, x, w, targets)
        form = naive(name)
        if form is not None:
            steps[f"  {name}, broadcast"] = step_of(form, x, w, targets)
    found = measured(steps, rounds, device)
    lines = [f"every distance: {size.replicas} x {size.batch} x {size.classes} classes, width {size.width}"]
    lines += [row(key, values, found["linear"]) for key, values in found.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--distances", choices=[*SIZES, "none"], default="replicas", help="size of the second table")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    print(f"torch {torch.__version__}, {options.device}, {options.threads} thread(s)")
    for name in options.sizes:
        print(arms(name, SIZES[name], options.rounds, options.device), flush=True)
    if options.distances != "none":
        print(distances(SIZES[options.distances], options.rounds, options.device), flush=True)


if __name__ == "__main__":
    main()
