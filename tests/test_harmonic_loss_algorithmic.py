"""One program of the harmonic-loss chapter: who reads what, when it is measured, and how histories are summed up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evolm.findings.harmonic_loss import algorithmic
from evolm.findings.harmonic_loss.algorithmic import BATCH, LEARNT, Data, measured_epochs, plane, summary, trained
from evolm.findings.harmonic_loss.replicas import Arm, Head, Replicas
from evolm.findings.harmonic_loss.tasks import TASKS, Task, modular_addition, shuffled

ARMS = {
    "cross-entropy": Arm(Head("dot"), lr=4e-3, decay=0.3),
    "harmonic": Arm(Head("harmonic", 4.0), lr=4e-3, decay=0.1),
    "harmonic, untied": Arm(Head("harmonic", 4.0), lr=4e-3, decay=0.1, tied=False),
}
SEEDS = [2, 5]
TINY = modular_addition(7)


def run(**overrides: Any) -> dict[str, pd.DataFrame]:
    given: dict[str, Any] = {"arms": ARMS, "seeds": SEEDS, "share": 0.6, "epochs": 12, "curves": True, "pictures": 1}
    return trained(TINY, **(given | overrides))


# --- what a seed reads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("split", ["clean", "shuffled"])
def test_parts_are_those_of_the_split(name: str, split: Any) -> None:
    task = TASKS[name]()
    data = Data.of(task, 0.7, split, SEEDS)
    for row, seed in enumerate(SEEDS):
        train, test = task.split(0.7, seed)
        answers = (shuffled(task, seed) if split == "shuffled" else task).answers
        for part, wanted in (("train", train), ("test", test), ("unseen", test)):
            weights = data.parts[part][row]
            assert set(weights.tolist()) <= {0.0, 1.0}
            here = weights.bool()
            found = zip(map(tuple, data.inputs[row][here].tolist()), data.answers[row][here].tolist(), strict=True)
            asked = zip(map(tuple, task.inputs[wanted].tolist()), answers[wanted].tolist(), strict=True)
            assert sorted(found) == sorted(asked)
        batched = data.inputs[row, data.train[row]].tolist()
        assert sorted(batched) == sorted(task.inputs[train].tolist())


def test_parts_of_the_authors_split_count_samples_and_unseen_holds_no_twin_of_them() -> None:
    task = modular_addition()
    data = Data.of(task, 0.8, "leaky", SEEDS)
    for row, seed in enumerate(SEEDS):
        train, test = task.leaky_split(0.8, seed)
        counts = {part: weights[row].numpy() for part, weights in data.parts.items()}
        assert np.array_equal(counts["train"], np.bincount(train, minlength=961))
        assert np.array_equal(counts["test"], np.bincount(test, minlength=961))
        known = {tuple(pair) for pair in task.inputs[train].tolist()}
        fresh = [not {(a, b), (b, a)} & known for a, b in task.inputs.tolist()]
        assert np.array_equal(counts["unseen"], np.array(fresh, float))
        assert (counts["unseen"] * counts["train"]).sum() == 0
        assert 100 < counts["unseen"].sum() < 300  # (1 - 2/961)^800 of 961, about 181


@settings(max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 10**6), st.floats(0.3, 0.9))
def test_an_epoch_gives_every_training_example_once_but_for_the_rest(seed: int, epoch: int, share: float) -> None:
    task = modular_addition(13)
    data = Data.of(task, share, "clean", [seed, seed + 1])
    batches = data.batches([seed, seed + 1], epoch)
    count = data.train.shape[1]
    assert len(batches) == max(1, count // BATCH)
    assert {inputs.shape for inputs, _ in batches} == {(2, min(BATCH, count), 2)}
    for row in range(2):
        asked = [tuple(pair) for inputs, _ in batches for pair in inputs[row].tolist()]
        assert len(set(asked)) == len(asked)
        assert set(asked) <= {tuple(pair) for pair in task.inputs[task.split(share, seed + row)[0]].tolist()}
        assert all(((inputs[row].sum(1) % 13) == answers[row]).all() for inputs, answers in batches)


def test_the_order_is_of_the_seed_and_the_epoch() -> None:
    data = Data.of(TINY, 0.6, "clean", SEEDS)
    one, again, later = (data.batches(SEEDS, epoch)[0][0] for epoch in (4, 4, 5))
    alone = Data.of(TINY, 0.6, "clean", SEEDS[1:]).batches(SEEDS[1:], 4)[0][0]
    assert torch.equal(one, again)
    assert not torch.equal(one, later)
    assert torch.equal(one[1], alone[0])


# --- when it is measured ---------------------------------------------------------------------------------------


@given(st.integers(1, 10**5))
def test_epochs_are_measured_one_by_one_and_then_ever_further_apart(epochs: int) -> None:
    found = measured_epochs(epochs)
    assert found[0] == 1
    assert found[-1] == epochs
    for before, after in pairwise(found):
        assert 1 <= after - before <= max(1, algorithmic.SPACING * before + 0.5)
    assert len(found) <= 20 + math.log(epochs) / math.log(1 + algorithmic.SPACING)


# --- how a history is summed up ----------------------------------------------------------------------------------

STEPS = [0, *measured_epochs(256)]


def history(train: Any, test: Any, norm: Any = 1.0, steps: Sequence[int] = STEPS) -> dict[str, np.ndarray]:
    """One replica whose curves are functions of the epoch, or constants."""

    def curve(value: Any) -> np.ndarray:
        return np.array([[value(step) if callable(value) else value for step in steps]], float)

    return {
        "train_accuracy": curve(train),
        "test_accuracy": curve(test),
        "norm": curve(norm),
        "vector_norm": curve(norm),
        "ev2": curve(0.5),
    }


def summed(*args: Any, steps: Sequence[int] = STEPS) -> dict[str, Any]:
    return summary(history(*args, steps=steps), np.array(steps)).iloc[0].to_dict()


def test_events_are_the_first_measurement_at_95_per_cent() -> None:
    found = summed(lambda t: LEARNT if t >= 20 else 0.9, lambda t: 1.0 if t >= 100 else 0.0)
    assert found["fit_seen"]
    assert found["generalised_seen"]
    assert found["fit_epoch"] == min(step for step in STEPS if step >= 20)
    assert found["generalised_epoch"] == min(step for step in STEPS if step >= 100)


def test_a_run_that_never_gets_there_is_censored_at_its_end() -> None:
    found = summed(lambda t: 1.0 if t >= 3 else 0.0, lambda t: 0.9499 * t / 256)
    assert (found["fit_seen"], found["fit_epoch"]) == (True, 3)
    assert (found["generalised_seen"], found["generalised_epoch"]) == (False, 256)


def test_an_event_is_the_first_crossing_even_where_it_falls_again() -> None:
    found = summed(1.0, lambda t: 1.0 if 10 <= t < 15 else 0.2)
    assert (found["generalised_seen"], found["generalised_epoch"]) == (True, 10)
    assert found["test_accuracy"] == 0.2  # the end is the end


def test_a_time_is_at_least_one_epoch_so_that_it_has_a_logarithm() -> None:
    assert summed(1.0, 1.0)["generalised_epoch"] == 1


def test_delay_is_the_doublings_that_memory_is_ahead() -> None:
    """Known from epoch 1, generalised from 16: four doublings; the width of a measurement is the error."""
    late = summed(lambda t: float(t >= 1), lambda t: float(t >= 16))
    assert late["delay"] == pytest.approx(4, abs=0.1)
    assert summed(1.0, 0.5)["delay"] == pytest.approx(8 * 0.5)
    assert summed(0.7, 0.7)["delay"] == 0


def test_a_failed_run_has_a_delay_and_one_that_never_fits_has_none() -> None:
    assert summed(1.0, 0.0)["delay"] == pytest.approx(8)  # as long as the run: 256 epochs
    assert summed(0.0, 0.0)["delay"] == 0
    assert summed(0.3, 0.6)["delay"] == 0  # more right on test is no lead of memory


def test_learnt_is_the_mean_accuracy_over_the_doublings() -> None:
    assert summed(1.0, 0.4)["learnt"] == pytest.approx(0.4)
    assert summed(1.0, lambda t: math.log2(max(t, 1)) / 8)["learnt"] == pytest.approx(0.5, abs=1e-6)


def test_slopes_are_those_of_planted_powers_after_a_quarter_of_the_run() -> None:
    def norm(epoch: int) -> float:
        return 99.0 if epoch < 0.25 * 256 else 3.0 * epoch**0.37

    found = summed(1.0, 1.0, norm)
    assert found["norm_slope"] == pytest.approx(0.37, abs=1e-9)
    assert found["vector_norm_slope"] == pytest.approx(0.37, abs=1e-9)
    assert found["norm_growth"] == pytest.approx(3.0 * 256**0.37 / 99.0)


@pytest.mark.parametrize("worst", [math.nan, math.inf])
def test_a_run_whose_norm_is_no_number_has_no_slope_and_keeps_its_row(worst: float) -> None:
    found = summed(lambda t: 0.03, lambda t: 0.03, lambda t: worst if t > 100 else 1.0)
    assert math.isnan(found["norm_slope"])
    assert (found["generalised_seen"], found["delay"]) == (False, 0)


def test_replicas_are_summed_up_row_by_row() -> None:
    parts = [history(1.0, lambda t: float(t >= 10)), history(0.2, 0.1), history(1.0, 1.0, lambda t: 1 + t)]
    together = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rows = summary(together, np.array(STEPS))
    for place, part in enumerate(parts):
        pd.testing.assert_frame_equal(
            rows.iloc[[place]].reset_index(drop=True), summary(part, np.array(STEPS)), check_exact=True
        )


# --- a whole program -------------------------------------------------------------------------------------------


def test_a_program_gives_a_row_per_arm_and_seed_in_the_order_of_its_replicas() -> None:
    tables = run()
    assert list(zip(tables["models"]["arm"], tables["models"]["seed"], strict=True)) == [
        (arm, seed) for arm in ARMS for seed in SEEDS
    ]
    assert set(tables["models"][["task", "split", "share"]].apply(tuple, axis=1)) == {("addition", "clean", 0.6)}
    curves = tables["curves"]
    assert len(curves) == len(ARMS) * len(SEEDS) * 13
    ends = tables["models"].set_index(["arm", "seed"])
    for replica, rows in curves.groupby(["arm", "seed"]):
        assert rows["epoch"].tolist() == [0, *range(1, 13)]
        last = ends.loc[replica]
        for name in ("train_accuracy", "test_accuracy", "vector_norm", "ev2", "train_loss"):
            assert rows[name].iloc[-1] == pytest.approx(last[name], rel=1e-6)
    first = curves[curves["epoch"] == 0].groupby("seed")["vector_norm"]
    assert (first.nunique() == [2, 2]).all()  # one for tied arms, one for the head of its own
    assert run(curves=False, pictures=0).keys() == {"models"}


def test_training_lowers_the_loss_of_every_arm() -> None:
    curves = run(epochs=40)["curves"]
    start, end = (curves[curves["epoch"] == epoch].set_index(["arm", "seed"])["train_loss"] for epoch in (0, 40))
    assert (end < 0.7 * start).all()


def test_a_falling_rate_goes_linearly_to_zero_and_a_plain_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    step = Replicas.step

    def watched(nets: Replicas, inputs: Tensor, answers: Tensor, rate: float = 1.0) -> None:
        seen.append(rate)
        step(nets, inputs, answers, rate)

    monkeypatch.setattr(Replicas, "step", watched)
    run(epochs=10)
    assert set(seen) == {1.0}
    seen.clear()
    run(epochs=10, falling=True)
    np.testing.assert_allclose(seen, np.linspace(1, 0, len(seen), endpoint=False))


def test_a_program_gives_the_same_bits_twice_and_for_a_seed_alone() -> None:
    one, again = run(), run()
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, again[name], check_exact=True)
    alone = run(seeds=SEEDS[1:])["models"].set_index("arm")
    among = one["models"].query("seed == 5").set_index("arm")
    for name in ("train_accuracy", "test_accuracy", "delay"):
        assert (alone[name] == among[name]).all()
    np.testing.assert_allclose(alone["norm"], among["norm"], rtol=1e-4)


def test_curves_are_measured_at_the_seeds_own_examples() -> None:
    """Against a plain count: the network's choices on each seed's own training and test pairs."""
    task, arms = TINY, {"cross-entropy": ARMS["cross-entropy"]}
    data = Data.of(task, 0.6, "clean", SEEDS)
    nets = Replicas([8, 6], list(arms.values()), SEEDS, places=2, classes=7, tokens=7)
    for epoch in range(1, 30):
        for inputs, answers in data.batches(SEEDS, epoch):
            nets.step(inputs, answers)
    found = algorithmic.measure(nets, data, task)
    for row, seed in enumerate(SEEDS):
        for part, chosen in zip(("train", "test"), task.split(0.6, seed), strict=True):
            inputs = torch.from_numpy(np.stack([task.inputs[chosen]] * 2))
            logits = nets.logits(nets.features(inputs)).detach()[row].double()
            answers = torch.from_numpy(task.answers[chosen])
            right = (logits.argmax(-1) == answers).double().mean()
            nats = torch.nn.functional.cross_entropy(logits, answers)
            assert float(found[f"{part}_accuracy"][row]) == pytest.approx(float(right), abs=1e-6)
            assert float(found[f"{part}_loss"][row]) == pytest.approx(float(nats), rel=1e-4)
        vectors = nets.weights["embedding"][row].detach().double().numpy()
        variances = np.linalg.eigvalsh(np.cov(vectors.T))
        assert float(found["ev2"][row]) == pytest.approx(variances[-2:].sum() / variances.sum(), abs=1e-6)


def test_the_authors_split_scores_unseen_pairs_below_published_ones_when_all_is_memorised() -> None:
    """A model that knows its training set and nothing else: test accuracy is the leak, unseen accuracy is chance."""
    task = modular_addition()
    data = Data.of(task, 0.8, "leaky", [3])

    class Rote:
        arms = (None,)

        def features(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(
                torch.where(data.parts["train"] > 0, data.answers, 30 - data.answers), 31
            )

        def logits(self, features: torch.Tensor) -> torch.Tensor:
            return features.float()

        def class_vectors(self) -> torch.Tensor:
            return torch.randn(1, 31, 4, generator=torch.Generator().manual_seed(0))

        def norm(self) -> torch.Tensor:
            return torch.ones(1)

    found = algorithmic.measure(Rote(), data, task)  # type: ignore[arg-type]
    train, test = task.leaky_split(0.8, 3)
    known = np.isin(test, train) | (task.answers[test] == 15)
    assert float(found["train_accuracy"]) == 1
    assert float(found["test_accuracy"]) == pytest.approx(known.mean(), abs=1e-6)
    fresh = ~np.isin(task.twins, task.twins[train])
    assert float(found["unseen_accuracy"]) == pytest.approx((task.answers[fresh] == 15).mean(), abs=1e-6)


# --- geometry of the tokens --------------------------------------------------------------------------------------


def test_a_planted_ring_of_any_winding_is_the_shape_of_addition() -> None:
    angle = 2 * np.pi * np.arange(31) / 31
    for frequency in (1, 4, 11):
        ring = torch.from_numpy(np.stack([np.cos(frequency * angle), np.sin(frequency * angle)], 1))[None]
        assert float(algorithmic.task_shape(ring, modular_addition())) == pytest.approx(1)
    noise = torch.randn(200, 31, 16, generator=torch.Generator().manual_seed(0))
    assert float(algorithmic.task_shape(noise, modular_addition()).mean()) < 0.2


@pytest.mark.parametrize("name", ["lattice", "equivalence", "tree", "permutations"])
def test_tokens_that_lie_as_the_task_does_are_explained_by_it(name: str) -> None:
    task: Task = TASKS[name]()
    generator = torch.Generator().manual_seed(1)
    planted = torch.from_numpy(task.shape) @ torch.randn(task.shape.shape[1], 16, generator=generator).double()
    assert float(algorithmic.task_shape(planted[None], task)) == pytest.approx(1)
    noise = torch.randn(1, len(planted), 16, generator=generator).double()
    assert float(algorithmic.task_shape(noise, task)) < 0.5


def test_the_plane_holds_the_two_largest_components_of_the_first_seeds() -> None:
    nets = Replicas([8, 6], list(ARMS.values()), SEEDS, places=2, classes=7, tokens=7)
    replicas = pd.DataFrame([{"arm": arm, "seed": seed} for arm in ARMS for seed in SEEDS])
    drawn = plane(nets, TINY, replicas, 1)
    assert set(drawn["seed"]) == {SEEDS[0]}
    assert set(drawn["arm"]) == set(ARMS)
    for place, arm in enumerate(ARMS):
        points = drawn[drawn["arm"] == arm].sort_values("token")[["x", "y"]].to_numpy()
        vectors = nets.class_vectors()[2 * place].detach().double().numpy()
        directions = np.linalg.eigh(np.cov(vectors.T))[1][:, :-3:-1]  # (width, 2), largest first
        theirs = (vectors - vectors.mean(0)) @ directions
        theirs *= np.sign((points * theirs).sum(0))  # an axis may point either way
        np.testing.assert_allclose(points, theirs, atol=1e-6)
