"""Replicas trained together against what one would write for each alone: torch's modules, AdamW and evolm's heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from evolm.findings.harmonic_loss.replicas import Arm, Head, Replicas
from evolm.heads.head import DistanceHead, NormalisedLinear

TOKENS, PLACES, LAYERS, BATCH = 9, 2, [12, 5], 6
SEEDS = (3, 8)
#: Every form and every kind of distance, with rates, decays and knobs that all differ; forms are not all neighbours.
ARMS: dict[str, Arm] = {
    "dot": Arm(Head("dot", 1.0), lr=2e-3, decay=0.3),
    "dot, scaled": Arm(Head("dot", 0.25), lr=5e-3),
    "normalised": Arm(Head("normalised", 10.0), lr=4e-3, decay=0.1),
    "squared distance": Arm(Head("softmax", 0.1), lr=8e-3, decay=1.0),
    "distance": Arm(Head("softmax", 2.0, power=1), lr=2e-3, decay=0.2),
    "manhattan, softmax": Arm(Head("softmax", 0.5, "manhattan", power=1), lr=3e-3),
    "harmonic": Arm(Head("harmonic", 4.0), lr=2e-3, decay=0.1),
    "harmonic, n = 1": Arm(Head("harmonic", 1.0), lr=1.6e-2, decay=3.0),
    "cosine": Arm(Head("harmonic", 8.0, "cosine"), lr=4e-3, decay=0.05),
    "manhattan": Arm(Head("harmonic", 2.0, "manhattan"), lr=2e-3, decay=0.1),
    "bray-curtis": Arm(Head("harmonic", 2.0, "bray-curtis-abs"), lr=2e-3, decay=0.1),
    "dot, again": Arm(Head("dot", 4.0), lr=1e-3, decay=0.5),
    "mahalanobis": Arm(Head("harmonic", 3.0, "mahalanobis"), lr=4e-3, decay=0.2),
    "mahalanobis, softmax": Arm(Head("softmax", 0.3, "mahalanobis"), lr=2e-3, decay=0.1),
}  # fmt: skip
UNTIED = {f"{name}, untied": replace(ARMS[name], tied=False) for name in ("dot", "harmonic", "cosine", "mahalanobis")}
AS_HEADS = {f"{name}, as its head": replace(ARMS[name], first="head") for name in ("dot", "harmonic")}
MIXED = ARMS | UNTIED | AS_HEADS


class Alone(nn.Module):
    """One network as a user would write it: embedding (or none), layers with SiLU between, a head of evolm.heads."""

    def __init__(self, arm: Arm, first: dict[str, Tensor]) -> None:
        super().__init__()
        sizes = [first[f"w{layer}"].shape for layer in range(sum(name.startswith("w") for name in first))]
        self.embedding = nn.Embedding(*first["embedding"].shape).double() if "embedding" in first else None
        self.layers = nn.ModuleList(nn.Linear(rows, columns).double() for rows, columns in sizes)
        classes, width = first["head"].shape
        self.knob, self.lr = arm.head.knob, arm.lr
        self.head = _head(arm.head, width, classes).double()
        with torch.no_grad():
            for layer, linear in enumerate(self.layers):
                linear.weight.copy_(first[f"w{layer}"].T)
                linear.bias.copy_(first[f"b{layer}"][0])
            self.head.weight.copy_(first["head"])
            if self.embedding is not None:
                self.embedding.weight.copy_(first["embedding"])
        if self.embedding is not None and arm.tied:
            self.head.weight = self.embedding.weight
        self.optimiser = torch.optim.AdamW(self.parameters(), lr=arm.lr, weight_decay=arm.decay)

    def features(self, inputs: Tensor) -> Tensor:
        x = inputs if self.embedding is None else self.embedding(inputs).flatten(1)
        for layer, linear in enumerate(self.layers):
            x = linear(x) if layer == 0 else linear(F.silu(x))
        return x

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(inputs))
        return logits * self.knob if isinstance(self.head, nn.Linear) else logits

    def step(self, inputs: Tensor, answers: Tensor, rate: float) -> None:
        self.optimiser.param_groups[0]["lr"] = rate * self.lr
        self.optimiser.zero_grad()
        F.cross_entropy(self(inputs), answers).backward()
        self.optimiser.step()


def _head(head: Head, width: int, classes: int) -> nn.Module:
    if head.form == "dot":
        return nn.Linear(width, classes, bias=False)
    if head.form == "normalised":
        return NormalisedLinear(width, classes, scale=head.knob, learn_scale=False)
    if head.form == "harmonic":
        return DistanceHead(width, classes, distance=head.distance, exponent=head.knob)
    how: dict[str, Any] = {"form": "softmax", "temperature": 1 / head.knob, "power": head.power}
    return DistanceHead(width, classes, distance=head.distance, **how)


def nets_of(arms: Sequence[Arm], seeds: Sequence[int] = SEEDS, dtype: torch.dtype = torch.float64) -> Replicas:
    return Replicas(LAYERS, arms, seeds, places=PLACES, classes=TOKENS, tokens=TOKENS, dtype=dtype)


def batches(steps: int, seeds: Sequence[int] = SEEDS) -> list[tuple[Tensor, Tensor]]:
    """Each seed's own, whichever seeds are beside it: (seed, batch, place) and (seed, batch)."""
    drawn = []
    for step in range(steps):
        generators = [torch.Generator().manual_seed(1000 * seed + step) for seed in seeds]
        rows = [torch.randint(TOKENS, (BATCH, PLACES + 1), generator=generator) for generator in generators]
        both = torch.stack(rows)
        drawn.append((both[..., :PLACES], both[..., PLACES]))
    return drawn


def weights_of(nets: Replicas, replica: int) -> dict[str, Tensor]:
    return {name: weight[replica].detach().clone() for name, weight in nets.weights.items()}


def compare(nets: Replicas, arms: Sequence[Arm], drawn: Sequence[tuple[Tensor, Tensor]], seeds: Sequence[int]) -> None:
    """Train both ways, and hold every weight that bears the function against its partner's."""
    alone = [Alone(arm, weights_of(nets, a * len(seeds) + s)) for a, arm in enumerate(arms) for s in range(len(seeds))]
    for done, (inputs, answers) in enumerate(drawn):
        rate = 1 - done / len(drawn)
        nets.step(inputs, answers, rate)
        for replica, model in enumerate(alone):
            model.step(inputs[replica % len(seeds)], answers[replica % len(seeds)], rate)
    for replica, model in enumerate(alone):
        found = weights_of(nets, replica)
        for layer, linear in enumerate(model.layers):
            torch.testing.assert_close(found[f"w{layer}"].T, linear.weight.detach(), rtol=1e-6, atol=1e-7)
            torch.testing.assert_close(found[f"b{layer}"][0], linear.bias.detach(), rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(
            nets.class_vectors()[replica].detach(), model.head.weight.detach(), rtol=1e-6, atol=1e-7
        )
        if model.embedding is not None:
            torch.testing.assert_close(found["embedding"], model.embedding.weight.detach(), rtol=1e-6, atol=1e-7)
        if getattr(model.head, "precision", None) is not None:
            precision = model.head.precision.detach()
            assert float(precision.abs().max()) > 0
            torch.testing.assert_close(found["metric"], precision, rtol=1e-6, atol=1e-7)
    inputs, answers = drawn[0]
    loss, accuracy = nets.evaluate(inputs, answers)
    for replica, model in enumerate(alone):
        seed = replica % len(seeds)
        logits = model(inputs[seed]).detach()
        assert float(loss[replica]) == pytest.approx(float(F.cross_entropy(logits, answers[seed])), rel=1e-7)
        assert float(accuracy[replica]) == float((logits.argmax(-1) == answers[seed]).double().mean())


def test_all_arms_and_seeds_together_train_as_each_alone() -> None:
    """Every form of head, tied and not, with rates, decays and knobs of their own, for a few steps."""
    compare(nets_of(list(MIXED.values())), list(MIXED.values()), batches(6), SEEDS)


@pytest.mark.parametrize("name", MIXED)
def test_an_arm_without_others_trains_as_alone(name: str) -> None:
    compare(nets_of([MIXED[name]]), [MIXED[name]], batches(3), SEEDS)


@pytest.mark.parametrize("layers", [[], [7], [7, 6, 4]])
def test_numbers_instead_of_tokens_and_any_number_of_layers(layers: list[int]) -> None:
    arms = [replace(ARMS[name], tied=True) for name in ("dot", "squared distance", "harmonic", "mahalanobis")]
    nets = Replicas(layers, arms, SEEDS, places=5, classes=3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    drawn = [
        (torch.rand(2, 8, 5, generator=generator, dtype=torch.float64), torch.randint(3, (2, 8), generator=generator))
        for _ in range(5)
    ]
    assert "embedding" not in nets.weights
    compare(nets, arms, drawn, SEEDS)


def test_in_float32_it_is_the_same_to_float32() -> None:
    arms = list(MIXED.values())
    double, single = nets_of(arms), nets_of(arms, dtype=torch.float32)
    for inputs, answers in batches(3):
        double.step(inputs, answers)
        single.step(inputs, answers)
    for mine, exact in zip(single.loss(*batches(1)[0]).tolist(), double.loss(*batches(1)[0]).tolist(), strict=True):
        assert mine == pytest.approx(exact, rel=2e-3)
    assert {weight.dtype for weight in single.weights.values()} == {torch.float32}


# --- what arms share ---------------------------------------------------------------------------------------------


def test_arms_of_a_seed_share_their_first_weights_and_seeds_do_not() -> None:
    alike = ARMS | UNTIED
    nets = nets_of(list(alike.values()))
    for name, weight in nets.weights.items():
        by_arm = weight.detach().view(len(alike), len(SEEDS), *weight.shape[1:])
        assert (by_arm == by_arm[:1]).all(), name
        if name != "metric":
            assert not torch.equal(by_arm[0, 0], by_arm[0, 1]), name


def test_first_weights_have_the_law_of_torchs_own_layers() -> None:
    """`nn.Linear`: uniform within 1/sqrt(fan-in). `nn.Embedding`: standard normal."""
    nets = Replicas([400, 300], [ARMS["dot"]], [5], places=2, classes=500, tokens=500)
    torch.manual_seed(0)
    theirs = {"w0": nn.Linear(600, 400).weight, "w1": nn.Linear(400, 300).weight, "b1": nn.Linear(400, 300).bias}
    theirs |= {"head": nn.Linear(300, 500, bias=False).weight, "embedding": nn.Embedding(500, 300).weight}
    for name, reference in theirs.items():
        mine, reference = nets.weights[name].detach().double().flatten(), reference.detach().double().flatten()
        # Two samples of one law; 1.2/sqrt(N) is the sd of the difference of sds, at most.
        assert float(mine.std() / reference.std()) == pytest.approx(1, abs=6 / math.sqrt(len(reference))), name
        assert abs(float(mine.mean())) < 4.5 * float(mine.std()) / math.sqrt(len(mine)), name
        if name != "embedding":
            assert float(mine.abs().max()) <= float(reference.abs().max()) * 1.02, name


def test_a_seed_has_its_first_weights_whatever_is_beside_it() -> None:
    alone, among = nets_of([ARMS["harmonic"]], [8]), nets_of([ARMS["dot"], ARMS["harmonic"]], [3, 8, 1])
    for name, weight in alone.weights.items():
        assert torch.equal(weight[0], among.weights[name][4]), name


def test_the_order_of_arms_changes_nothing() -> None:
    names = list(MIXED)
    other = names[::-1][3:] + names[::-1][:3]
    one, two = (nets_of([MIXED[name] for name in order]) for order in (names, other))
    for inputs, answers in batches(5):
        one.step(inputs, answers)
        two.step(inputs, answers)
    loss = [nets.loss(*batches(1)[0]).detach().view(-1, len(SEEDS)) for nets in (one, two)]
    for place, name in enumerate(names):
        torch.testing.assert_close(loss[0][place], loss[1][other.index(name)], rtol=1e-9, atol=1e-12)


def test_a_seed_trains_alike_alone_and_among_others() -> None:
    arms = [ARMS["dot"], ARMS["harmonic"]]
    alone, among = nets_of(arms, [8]), nets_of(arms, [3, 8])
    for own, all_of_them in zip(batches(5, [8]), batches(5, [3, 8]), strict=True):
        alone.step(*own)
        among.step(*all_of_them)
    for name, weight in alone.weights.items():
        torch.testing.assert_close(weight, among.weights[name][[1, 3]], rtol=1e-9, atol=1e-12)


def test_training_twice_gives_the_same_bits() -> None:
    runs = []
    for _ in range(2):
        nets = nets_of(list(MIXED.values()), dtype=torch.float32)
        for inputs, answers in batches(4):
            nets.step(inputs, answers)
        runs.append(nets.weights)
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_tied_vectors_begin_as_an_embedding_or_as_the_heads_linear_layer() -> None:
    """Standard normal, or uniform within one over the root of the width; a head of its own begins as one either way."""
    arms = [ARMS["dot"], AS_HEADS["dot, as its head"], replace(AS_HEADS["dot, as its head"], tied=False)]
    nets = Replicas([7, 16], arms, range(20), places=2, classes=50, tokens=50)
    usual, small, untied = nets.weights["embedding"].detach().view(3, 20, 50, 16)
    head = nets.weights["head"].detach().view(3, 20, 50, 16)
    assert float(usual.std()) == pytest.approx(1, abs=0.02)
    assert float(small.abs().max()) <= 1 / 4
    assert float(small.std()) == pytest.approx(1 / 4 / math.sqrt(3), abs=0.005)
    assert torch.equal(small, head[1])
    assert torch.equal(untied, usual)
    with pytest.raises(ValueError, match="9 tokens cannot begin as 4 class vectors"):
        Replicas([7, 16], arms, (0,), places=2, classes=4, tokens=9)


# --- norms and decay -------------------------------------------------------------------------------------------


def test_the_norm_is_of_the_weights_that_bear_the_function() -> None:
    """A tied replica's own head weights bear nothing, even where another arm's do."""
    arms = [ARMS["dot"], replace(ARMS["dot"], tied=False), ARMS["harmonic"]]
    for chosen in (arms, arms[:1], arms[1:2]):
        nets = nets_of(chosen)
        for replica, norm in enumerate(nets.norm().tolist()):
            own = weights_of(nets, replica)
            used = [weight for name, weight in own.items() if name != "head" or not chosen[replica // 2].tied]
            assert norm == pytest.approx(math.sqrt(sum(float(weight.square().sum()) for weight in used)), rel=1e-12)


def test_weights_without_a_gradient_only_decay() -> None:
    """A token that is in no batch, under cross-entropy without ties: p -> p (1 - lr decay) per step, as AdamW does."""
    arm = Arm(Head("dot"), lr=1e-2, decay=0.5, tied=False)
    nets = nets_of([arm])
    before = nets.weights["embedding"].detach().clone()
    inputs, answers = torch.zeros(2, BATCH, PLACES, dtype=torch.int64), torch.ones(2, BATCH, dtype=torch.int64)
    for _ in range(3):
        nets.step(inputs, answers)
    torch.testing.assert_close(nets.weights["embedding"][:, 1:].detach(), before[:, 1:] * (1 - 1e-2 * 0.5) ** 3)
    assert not torch.allclose(nets.weights["embedding"][:, 0].detach(), before[:, 0] * (1 - 1e-2 * 0.5) ** 3)


def test_one_network_that_diverges_leaves_the_others_as_they_are() -> None:
    wild = Arm(Head("dot", 1.0), lr=1e200)
    alone, beside = nets_of([ARMS["dot"]]), nets_of([ARMS["dot"], wild])
    for inputs, answers in batches(4):
        alone.step(inputs, answers)
        beside.step(inputs, answers)
    assert not beside.weights["w0"][2:].isfinite().all()
    for name, weight in alone.weights.items():
        torch.testing.assert_close(weight, beside.weights[name][:2], rtol=1e-9, atol=1e-12)
