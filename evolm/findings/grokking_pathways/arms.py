"""The arms of the chapter: how each model is trained, and the controls that tell what a pathway's change means.

    for checkpoint in followed(CORE, params, world, shape_of(params, world), seed, device): ...

All arms of a seed see the same sequences in the same order from the same initial weights, so that they are pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from evolm.findings.grokking_pathways.model import Shape, tiny_olmoe
from evolm.findings.grokking_pathways.prefixes import Tree
from evolm.findings.grokking_pathways.program import Pass, Penalty, Program
from evolm.findings.grokking_pathways.schedule import measured_steps
from evolm.findings.grokking_pathways.tables import World
from evolm.lm.token_data import order

if TYPE_CHECKING:
    from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams

#: Updates over which the learning rate rises; after them it is constant, so that no decay can make a trend.
WARMUP = 10


@dataclass(frozen=True)
class Arm:
    """One way to train. `None` takes the run's parameter.

    `scrambled`: labels dealt out at random, so that only memory helps. `frozen`: the router never moves. `dense`: one
    expert as wide as all active ones. `penalty`: on the dispersion of routing within a group, on the routers' norms, or
    none, with a `strength`.
    """

    scrambled: bool = False
    frozen: bool = False
    dense: bool = False
    decay: float | None = None
    aux: float | None = None
    penalty: Literal["dispersion", "norm"] | None = None
    strength: float | None = None


TRAINED = Arm()
#: What the core claims need: the model of the paper, its twin without anything to generalise, routers left at random.
CORE = {"trained": TRAINED, "scrambled": Arm(scrambled=True), "frozen router": Arm(frozen=True)}
CONTROLS = {"no decay": Arm(decay=0.0), "dense": Arm(dense=True)}
BALANCE = {
    f"aux {aux:g}{', scrambled' * scrambled}": Arm(aux=aux, scrambled=scrambled)
    for aux in (0.0, 0.1)
    for scrambled in (False, True)
}
INTERVENTION = {"penalised": Arm(penalty="dispersion"), "norm penalised": Arm(penalty="norm")}
ARMS: Mapping[str, Mapping[str, Arm]] = {
    "core": CORE, "controls": CONTROLS, "balance": BALANCE, "intervention": INTERVENTION
}  # fmt: skip
#: The arms of a scale other than the run's, and of modular arithmetic: a claim's arm and its twin.
PAIR = {"trained": TRAINED, "scrambled": Arm(scrambled=True)}


class Checkpoint(NamedTuple):
    """A program after `step` updates, with the mean loss of each of its arms since the last checkpoint."""

    step: int
    program: Program
    names: tuple[str, ...]
    nats: Tensor  # (replica,); NaN at the start


def arms_of(params: GrokkingPathwaysParams) -> dict[str, Arm]:
    """Every arm of a run on tables, by name."""
    return {name: arm for group in ARMS if group in params.groups for name, arm in ARMS[group].items()}


def shape_of(params: GrokkingPathwaysParams, world: World, scale: str | None = None) -> Shape:
    """The model's sizes, or those of one of the other scales."""
    shape = Shape(world.vocabulary, params.width, params.layers, 4, params.experts, params.active, params.hidden)
    changes: dict[str, dict[str, int]] = {
        "narrow": {"width": max(16, params.width // 16 * 8)},
        "wide": {"width": 2 * params.width, "hidden": 2 * params.hidden},
        "many experts": {"experts": 4 * params.experts, "active": 2 * params.active, "hidden": params.hidden // 2},
        "deep": {"layers": 2 * params.layers},
    }
    return shape if scale is None else replace(shape, **changes[scale])


def followed(
    arms: Mapping[str, Arm],
    world: World,
    shape: Shape,
    seed: int,
    *,
    steps: int,
    checkpoints: int,
    batch: int,
    rate: float,
    decay: float,
    aux: float = 0.01,
    penalties: Mapping[str, float] | None = None,
    device: str = "cpu",
) -> Iterator[Checkpoint]:
    """Train arms of one shape together, yielding at each measured step. Dense arms go into a program of their own."""
    names = tuple(arms)
    program = Program(
        [tiny_olmoe(shape, seed=seed)] * len(arms),
        decay=[decay if arm.decay is None else arm.decay for arm in arms.values()],
        aux=[aux if arm.aux is None else arm.aux for arm in arms.values()],
        frozen=[i for i, arm in enumerate(arms.values()) if arm.frozen],
        device=device,
    )
    labels = labels_of(arms, world, seed).to(device)  # (replica, sample)
    penalty = _penalty(arms, penalties or {}, device)
    trained = np.flatnonzero(world.train)
    since: list[Tensor] = []
    for step, measured in _marked(steps, measured_steps(steps, checkpoints)):
        if measured:
            nats = torch.stack(since).mean(0) if since else torch.full((len(arms),), float("nan"))
            yield Checkpoint(step, program, names, nats.cpu())
            since = []
        if step < steps:
            rows = trained[order(len(trained), batch, step, seed)]
            tree = Tree.of(world.sequences[rows], device)
            since.append(program.step(tree, labels[:, rows], rate * min(1.0, (step + 1) / WARMUP), penalty))


def _marked(steps: int, measured: list[int]) -> Iterator[tuple[int, bool]]:
    chosen = set(measured)
    return ((step, step in chosen) for step in range(steps + 1))


def labels_of(arms: Mapping[str, Arm], world: World, seed: int) -> Tensor:
    """(replica, sample): each arm's labels of every pair of the world."""
    twin = world.scrambled(seed)
    return torch.from_numpy(np.stack([(twin if arm.scrambled else world).labels for arm in arms.values()]))


def _penalty(arms: Mapping[str, Arm], strengths: Mapping[str, float], device: str) -> Penalty | None:
    """What is added to each replica's loss, (replica,); None where no arm is penalised."""
    if not any(arm.penalty for arm in arms.values()):
        return None

    def strength_of(arm: Arm, kind: str) -> float:
        if arm.penalty != kind:
            return 0.0
        return strengths[kind] if arm.strength is None else arm.strength

    of = {
        kind: torch.tensor([strength_of(arm, kind) for arm in arms.values()], device=device)
        for kind in ("dispersion", "norm")
    }

    def added(tree: Tree, found: Pass, program: Program) -> Tensor:
        norms = sum(w.square().sum((1, 2)) for name, w in program.weights.items() if name.endswith("mlp.gate.weight"))
        spread = dispersion([logits[:, tree.starts[2] :] for logits in found.router_logits], tree.task)
        return of["dispersion"] * spread + of["norm"] * norms

    return added


def dispersion(router_logits: list[Tensor], group: Tensor) -> Tensor:
    """Mean squared distance of a sample's routing weights to its group's mean, summed over layers: (replica,).

    `router_logits` of each layer are (replica, sample, expert), `group` (sample,) numbers from 0. 0 where all samples
    of a group are routed alike. Differentiable.
    """
    members = torch.nn.functional.one_hot(group).to(router_logits[0].dtype)  # (sample, group)
    share = members / members.sum(0).clamp(min=1)
    total = router_logits[0].new_zeros(router_logits[0].shape[0])
    for logits in router_logits:
        p = logits.softmax(-1)
        mean = share.mT @ p  # (replica, group, expert)
        total = total + (p - members @ mean).square().sum(-1).mean(-1)
    return total
