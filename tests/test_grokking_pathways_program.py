"""Models trained together on shared prefixes are transformers' OLMoE, to the last gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evolm.findings.grokking_pathways import arms
from evolm.findings.grokking_pathways.arms import dispersion
from evolm.findings.grokking_pathways.model import Shape, tiny_olmoe
from evolm.findings.grokking_pathways.prefixes import Tree
from evolm.findings.grokking_pathways.program import BETAS, EPSILON, Program
from evolm.lm.optimise import OptimiserSettings, build_optimiser

SHAPES = {
    "usual": Shape(23, 32, experts=8, active=2, hidden=8),
    "deep, many experts": Shape(23, 32, layers=4, experts=12, active=5, hidden=4),
    "dense": Shape(23, 32, experts=8, active=2, hidden=8).dense(),
}
RATE = 0.01


def sequences(count: int = 60, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([20 + rng.integers(0, 3, count), rng.integers(0, 20, count), rng.integers(0, 20, count)], 1)


def some_labels(replicas: int, count: int = 60) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 20, (replicas, count)))


# --- prefixes -------------------------------------------------------------------------------------------------


@given(arrays(np.int64, st.tuples(st.integers(1, 30), st.just(3)), elements=st.integers(0, 5)))
@settings(max_examples=60)
def test_prefixes_are_distinct_and_lead_back_to_every_sequence(rows: np.ndarray) -> None:
    tree = Tree.of(rows)
    assert torch.equal(tree.at_each_position(tree.tokens[None])[0], torch.from_numpy(rows))
    assert torch.equal(tree.at_each_position(tree.depth[None])[0], torch.tensor([[0, 1, 2]]).expand(len(rows), -1))
    assert tree.starts[1] == len(np.unique(rows[:, 0]))
    assert tree.starts[2] - tree.starts[1] == len(np.unique(rows[:, :2], axis=0))
    for start, end in ((0, tree.starts[1]), (tree.starts[1], tree.starts[2]), (tree.starts[2], None)):
        assert float(tree.weight[start:end].sum()) == len(rows)


@pytest.mark.parametrize("shape", [(4, 2), (0, 3), (5,)])
def test_sequences_of_another_length_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(sequence, 3\)"):
        Tree.of(np.zeros(shape, np.int64))


# --- parity with the library ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_logits_routers_outputs_losses_and_gradients_are_the_librarys(name: str) -> None:
    models = [tiny_olmoe(SHAPES[name], aux=aux, seed=seed) for seed, aux in ((0, 0.01), (1, 0.3))]
    program = Program(models, aux=[0.01, 0.3])
    rows, labels = sequences(), some_labels(2)
    tree = Tree.of(rows)
    nats, balance, found = program.losses(tree, labels)
    (nats + program.aux * balance).sum().backward()
    outputs = program.forward(tree, outputs=True).outputs
    for replica, model in enumerate(models):
        added: list[torch.Tensor] = []
        for layer in model.model.layers:
            layer.mlp.register_forward_hook(lambda *parts, kept=added: kept.append(parts[2]))
        theirs = model(torch.from_numpy(rows))
        loss = F.cross_entropy(theirs.logits[:, -1], labels[replica])
        close = {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(found.logits[replica], theirs.logits[:, -1], **close)
        torch.testing.assert_close(nats[replica], loss, **close)
        torch.testing.assert_close(balance[replica], theirs.aux_loss, **close)
        for own, other in zip(found.router_logits, theirs.router_logits, strict=True):
            everywhere = tree.at_each_position(own)[replica]
            torch.testing.assert_close(everywhere.flatten(0, 1), other, **close)
        for own, other in zip(outputs, added, strict=True):
            torch.testing.assert_close(own[replica], other[:, -1], **close)
        (loss + model.router_aux_loss_coef * theirs.aux_loss).backward()
        for key, parameter in model.named_parameters():
            torch.testing.assert_close(program.weights[key].grad[replica], parameter.grad, rtol=1e-3, atol=1e-6)


def test_load_balancing_is_really_in_the_librarys_loss() -> None:
    model = tiny_olmoe(SHAPES["usual"], aux=0.5, seed=0)
    rows = torch.from_numpy(sequences())
    found = model(rows, labels=rows)
    without = F.cross_entropy(found.logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten())
    torch.testing.assert_close(found.loss, without + 0.5 * found.aux_loss)
    assert float(found.aux_loss.detach()) > 1


def test_no_embedding_is_frozen_as_padding() -> None:
    model = tiny_olmoe(SHAPES["usual"], seed=0)
    assert model.config.pad_token_id is None
    rows = torch.from_numpy(sequences()).clamp(max=1)
    model(rows).logits[:, -1, 5].sum().backward()
    gradient = model.get_input_embeddings().weight.grad
    assert float(gradient[0].abs().sum()) > 0
    assert float(gradient[1].abs().sum()) > 0


def test_updates_are_those_of_the_librarys_optimiser_with_a_decay_each() -> None:
    models = [tiny_olmoe(SHAPES["usual"], seed=3) for _ in range(2)]
    program, decays = Program(models, decay=[0.0, 1.5]), (0.0, 1.5)
    rows, labels = sequences(), some_labels(2)
    for _ in range(3):
        program.step(Tree.of(rows), labels, RATE)
    for replica, decay in enumerate(decays):
        model = tiny_olmoe(SHAPES["usual"], seed=3)
        optimiser = build_optimiser(model, OptimiserSettings(steps=3, lr=RATE, betas=BETAS, weight_decay=decay))
        optimiser.param_groups[0]["eps"] = optimiser.param_groups[1]["eps"] = EPSILON
        for _ in range(3):
            found = model(torch.from_numpy(rows))
            optimiser.zero_grad()
            (F.cross_entropy(found.logits[:, -1], labels[replica]) + 0.01 * found.aux_loss).backward()
            optimiser.step()
        for own, (name, other) in zip(program.to_olmoe(replica).parameters(), model.named_parameters(), strict=True):
            # Adam divides by the root of the second moment, so that gradients near zero are of either sign.
            assert float((own - other).abs().mean()) < 1e-4 * RATE, name


def test_replicas_do_not_touch_each_other() -> None:
    shape, rows, labels = SHAPES["usual"], sequences(), some_labels(3)
    together = Program([tiny_olmoe(shape, seed=s) for s in (0, 1, 2)], decay=[1.0, 0.0, 0.5])
    alone = Program([tiny_olmoe(shape, seed=1)], decay=0.0)
    for _ in range(2):
        together.step(Tree.of(rows), labels, RATE)
        alone.step(Tree.of(rows), labels[1:2], RATE)
    for name, weight in alone.weights.items():
        torch.testing.assert_close(together.weights[name][1], weight[0], rtol=1e-3, atol=1e-5)


def test_frozen_routers_never_move_and_all_else_does() -> None:
    shape = SHAPES["usual"]
    program = Program([tiny_olmoe(shape, seed=0)] * 2, decay=1.0, frozen=[1])
    before = {name: weight.detach().clone() for name, weight in program.weights.items()}
    for turn in range(3):
        program.step(Tree.of(sequences(seed=turn)), some_labels(2), RATE)
    for name, weight in program.weights.items():
        assert not torch.equal(weight[0], before[name][0]), name
        assert torch.equal(weight[1], before[name][1]) == name.endswith("mlp.gate.weight"), name
    assert torch.equal(
        program.routers()[1], torch.stack([before[f"model.layers.{i}.mlp.gate.weight"][1] for i in range(3)])
    )


def test_a_dense_model_has_the_active_parameters_of_the_sparse_one() -> None:
    sparse, dense = (tiny_olmoe(SHAPES[name], seed=0) for name in ("usual", "dense"))
    count = {
        name: sum(p.numel() for n, p in m.named_parameters() if "experts" in n)
        for name, m in (("sparse", sparse), ("dense", dense))
    }
    assert count["dense"] * 8 == count["sparse"] * 2


def test_models_of_several_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        Program([tiny_olmoe(SHAPES["usual"], seed=0), tiny_olmoe(SHAPES["dense"], seed=0)])


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"layers": 2}, "at least 3 layers"),
        ({"active": 9}, "9 active of 8 experts"),
        ({"width": 30}, "even whole width"),
    ],
)
def test_sizes_that_make_no_model_are_refused(sizes: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Shape(20, **sizes)


# --- what the intervention penalises --------------------------------------------------------------------------


def test_dispersion_is_the_mean_squared_distance_to_the_groups_mean() -> None:
    rng = np.random.default_rng(0)
    logits = [torch.from_numpy(rng.normal(size=(2, 9, 4))) for _ in range(3)]
    group = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 0])
    expected = torch.zeros(2, dtype=torch.float64)
    for layer in logits:
        p = layer.softmax(-1)
        for sample in range(9):
            mean = p[:, group == group[sample]].mean(1)
            expected += ((p[:, sample] - mean) ** 2).sum(-1) / 9
    torch.testing.assert_close(dispersion(logits, group), expected)


def test_dispersion_is_zero_for_equal_pathways_and_differentiable() -> None:
    same = [torch.randn(1, 1, 5, generator=torch.Generator().manual_seed(0)).expand(1, 6, 5)]
    assert float(dispersion(same, torch.tensor([0, 0, 0, 1, 1, 1]))) == pytest.approx(0, abs=1e-12)
    logits = torch.randn(1, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dispersion([x], torch.tensor([0, 0, 1, 1, 2, 2])), logits)


def test_penalties_lower_what_they_penalise_and_leave_other_arms_alone() -> None:
    from evolm.findings.grokking_pathways.tables import hidden_classes

    world = hidden_classes((3,), 16, 0.5, 0.5, seed=0)
    shape = Shape(world.vocabulary, 16, hidden=8)
    chosen = {"trained": arms.TRAINED, **arms.INTERVENTION}
    options = {"steps": 30, "checkpoints": 10, "batch": 64, "rate": 5e-3, "decay": 0.1}
    strong = {"dispersion": 30.0, "norm": 1.0}
    *_, last = arms.followed(chosen, world, shape, 0, penalties=strong, **options)
    *_, plain = arms.followed({"trained": arms.TRAINED}, world, shape, 0, **options)
    found = last.program.forward(tree := Tree.of(world.sequences[world.train]))
    spread = dispersion([logits[:, tree.starts[2] :] for logits in found.router_logits], tree.task)
    norms = last.program.routers().flatten(1).norm(dim=1)
    assert float(spread[1]) < 0.5 * float(spread[0])
    assert float(norms[2]) < 0.5 * float(norms[0])
    for name, weight in plain.program.weights.items():
        torch.testing.assert_close(last.program.weights[name][0], weight[0], rtol=1e-2, atol=1e-3)
