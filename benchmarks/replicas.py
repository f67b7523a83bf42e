"""Replicas of the harmonic-loss chapter trained together against one at a time, side by side in one process run.

    python benchmarks/replicas.py                            # 5 heads x 3 decays x 1, 4 and 20 seeds
    python benchmarks/replicas.py --seeds 4 --steps 200
    python benchmarks/replicas.py --device cuda

A replica is the chapter's network on addition mod 31: embedding 16, a hidden layer of 100, a tied head, batches of 32.
`together` is `Replicas`, all heads, decays and seeds as one program. Two loops stand for what one would write instead,
from `nn.Embedding`, `nn.Linear` and a head in a line or two: `loop` with `torch.optim.AdamW` as it comes, `loop, fused`
with its fused kernel. Both train some of the replicas (`--alone`, every head among them) from the same weights on the
same batches, one after the other. Sides take turns, and the fastest of `--rounds` counts. Prints seconds per replica
and step and their ratio; `loss differs by` is the largest relative difference of a replica's loss after all steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from evolm.findings.harmonic_loss.algorithmic import HIDDEN, WIDTH, Data
from evolm.findings.harmonic_loss.replicas import Arm, Head, Replicas
from evolm.findings.harmonic_loss.tasks import MODULUS, modular_addition

RATE = 2e-3
DECAYS = (0.0, 0.01, 0.1)
HEADS = (
    Head("dot"),
    Head("normalised", 10.0),
    Head("softmax", 0.1),
    Head("softmax", 1.0, power=1),
    Head("harmonic", 4.0),
)
Batch = tuple[Tensor, Tensor]


class Network(nn.Module):
    """One replica as one would write it."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head
        self.embedding = nn.Embedding(MODULUS, WIDTH)
        self.layers = nn.Sequential(nn.Linear(2 * WIDTH, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, WIDTH))

    def forward(self, tokens: Tensor) -> Tensor:
        x, w = self.layers(self.embedding(tokens).flatten(1)), self.embedding.weight
        if self.head.form == "dot":
            return self.head.knob * F.linear(x, w)
        if self.head.form == "normalised":
            return self.head.knob * F.linear(F.normalize(x, dim=-1), F.normalize(w, dim=-1))
        if self.head.form == "softmax":
            return -self.head.knob * torch.cdist(x, w) ** self.head.power
        return -self.head.knob * torch.cdist(x, w).log()

    def start_from(self, weights: dict[str, Tensor], replica: int) -> Network:
        first, second = self.layers[0], self.layers[2]
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        with torch.no_grad():
            self.embedding.weight.copy_(weights["embedding"][replica])
            for layer, linear in enumerate((first, second)):
                linear.weight.copy_(weights[f"w{layer}"][replica].T)
                linear.bias.copy_(weights[f"b{layer}"][replica, 0])
        return self


def train_alone(network: Network, decay: float, batches: Sequence[Batch], seed: int, fused: bool) -> Tensor:
    """Train on all batches of the `seed`-th seed; the loss on the first of them afterwards."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=decay, fused=fused or None)
    for inputs, answers in batches:
        optimiser.zero_grad()
        F.cross_entropy(network(inputs[seed]), answers[seed]).backward()
        optimiser.step()
    with torch.no_grad():
        return F.cross_entropy(network(batches[0][0][seed]), batches[0][1][seed])


def train_together(nets: Replicas, batches: Sequence[Batch]) -> Tensor:
    """Train on all batches; each replica's loss on the first of them afterwards."""
    for inputs, answers in batches:
        nets.step(inputs, answers)
    with torch.no_grad():
        return nets.loss(*batches[0])


def batches_of(seeds: Sequence[int], steps: int, device: str) -> list[Batch]:
    data = Data.of(modular_addition(), 0.8, "clean", seeds, device)
    found: list[Batch] = []
    epoch = 0
    while len(found) < steps:
        epoch += 1
        found += data.batches(seeds, epoch)
    return found[:steps]


def fastest(sides: Mapping[str, Callable[[], object]], rounds: int, device: str) -> dict[str, tuple[float, float]]:
    """CPU and wall seconds of each side, the least of its rounds; they take turns."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            cpu, wall = time.process_time(), time.perf_counter()
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            spent[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {name: (min(cpu for cpu, _ in each), min(wall for _, wall in each)) for name, each in spent.items()}


def compare(count: int, steps: int, alone: int, rounds: int, device: str) -> str:
    arms = [Arm(head, RATE, decay) for head in HEADS for decay in DECAYS]
    seeds = list(range(count))
    batches = batches_of(seeds, steps, device)
    # Replicas lie arm by arm; these are spread over all of them, so every head is among them.
    chosen = [place * len(arms) * count // alone for place in range(min(alone, len(arms) * count))]
    ends: dict[str, Tensor] = {}

    def fresh() -> Replicas:
        return Replicas([HIDDEN, WIDTH], arms, seeds, places=2, classes=MODULUS, tokens=MODULUS, device=device)

    def together() -> None:
        ends["together"] = train_together(fresh(), batches)

    def loop(fused: bool) -> None:
        first = fresh().weights
        losses = []
        for replica in chosen:
            arm = arms[replica // count]
            network = Network(arm.head).to(device).start_from(first, replica)
            losses.append(train_alone(network, arm.decay, batches, replica % count, fused))
        ends["loop, fused" if fused else "loop"] = torch.stack(losses)

    sides = {"together": together, "loop": lambda: loop(False), "loop, fused": lambda: loop(True)}
    found = fastest(sides, rounds, device)
    here = ends["together"][torch.tensor(chosen, device=device)]
    differs = max(float((ends[name] / here - 1).abs().max()) for name in ("loop", "loop, fused"))
    per = {name: len(chosen) if name != "together" else len(arms) * count for name in sides}
    lines = [f"{len(arms)} arms x {count} seeds, {steps} steps   loss differs by {differs:.1e}"]
    each = {name: tuple(1e6 * seconds / per[name] / steps for seconds in times) for name, times in found.items()}
    for name, (cpu, wall) in each.items():
        base = each["together"]
        ratio = "" if name == "together" else f"   {cpu / base[0]:6.1f}x CPU {wall / base[1]:6.1f}x wall"
        lines.append(f"  {name:<12} {cpu:9.1f} CPU us {wall:9.1f} us per replica-step{ratio}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 4, 20])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--alone", type=int, default=15, help="replicas that are trained one at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    print(f"torch {torch.__version__}, {options.device}, {options.threads} thread(s)")
    batches_of([0], 1, options.device)  # warm-up
    for count in options.seeds:
        print(compare(count, options.steps, options.alone, options.rounds, options.device), flush=True)


if __name__ == "__main__":
    main()
