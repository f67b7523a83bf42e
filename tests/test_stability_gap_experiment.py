"""The stability-gap experiment at a tiny scale: its arms, what is measured, how curves are read, and its tables."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from pydantic import ValidationError

from evolm.findings.stability_gap import arms, corpora, curves, experiment, probes
from evolm.findings.stability_gap.arms import ALL, BASELINE, CONFOUNDS, CORE, FACTORIAL, NULL, Arm, Base
from evolm.findings.stability_gap.corpora import Library
from evolm.findings.stability_gap.facts import FactWorld
from evolm.findings.stability_gap.parameters import StabilityGapParams
from evolm.findings.stability_gap.probes import Bench
from evolm.lm.architecture import tiny_llama
from evolm.lm.train import train_on_tokens

Tables = dict[str, pd.DataFrame]
SEED = 3
TINY: dict[str, Any] = {
    "seeds": 1, "first_seed": SEED, "width": 16, "layers": 1, "pretrain_steps": 21, "pretrain_batch": 2,
    "steps": 20, "batch": 5, "warmup": 3, "documents": 200, "rate": 2e-3,
}  # fmt: skip
EVERY = {**CORE, **FACTORIAL, **CONFOUNDS}


def parameters(**overrides: Any) -> StabilityGapParams:
    return StabilityGapParams(**{**TINY, **overrides})


@cache
def world() -> FactWorld:
    return FactWorld(SEED)


@cache
def library() -> Library:
    return Library.of(world(), 200, 0.5, SEED)


@cache
def base() -> Base:
    return experiment.pretrained(parameters(), world(), SEED, "cpu")


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpora, "REFERENCE", 60)
        patch.setattr(probes, "HELD_OUT", 6)
        yield


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(world(), SEED)


def read_by(arm: Arm, rows: int = 100, **overrides: Any) -> torch.Tensor:
    return arms.data_of(arm, parameters(**overrides), world(), library(), rows, SEED).tokens


def holds(tokens: torch.Tensor, *words: str) -> torch.Tensor:
    """Which rows hold one of the words."""
    return torch.isin(tokens, torch.tensor([world().ids[word] for word in words])).any(1)


# --- steps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [20, 57, 100, 250, 4000])
def test_measured_steps_begin_one_by_one_and_end_with_the_last(steps: int) -> None:
    found = probes.measured_steps(steps, 0.15)
    assert found[:3] == [1, 2, 3]
    assert found[-1] == steps
    for before, after in pairwise(found):
        assert 1 <= after - before <= max(1, 0.15 * before + 0.5)
    assert len(found) < 12 + 10 * math.log(steps)


def test_one_step_is_measured_once() -> None:
    assert probes.measured_steps(1, 0.15) == [1]
    assert probes.measured_steps(2, 0.15) == [1, 2]


# --- arms -----------------------------------------------------------------------------------------------------


def settings(arm: Arm, steps: int = 250, **overrides: Any) -> dict[str, Any]:
    return arms.settings_of(arm, parameters(steps=250, documents=2000, warmup=10, **overrides), steps, 7).model_dump()


def test_arms_train_as_the_baseline_does_but_for_what_their_name_says() -> None:
    plain = settings(BASELINE)
    stated = {
        "steps": 250, "batch_size": 5, "lr": 2e-3, "warmup_steps": 10, "schedule": "cosine", "final_lr": 0.1,
        "betas": (0.9, 0.95), "weight_decay": 0.1, "optimiser": "adamw", "seed": 7, "dtype": "bfloat16",
        "checkpoint_every": 1,
    }  # fmt: skip
    assert stated.items() <= plain.items()
    changed: dict[str, set[str]] = {
        "constant": {"schedule", "final_lr"}, "constant, null": {"schedule", "final_lr"},
        "no warm-up": {"warmup_steps"}, "no warm-up, null": {"warmup_steps"},
    }  # fmt: skip
    for name, arm in EVERY.items():
        given = settings(arm)
        assert {key for key in plain if plain[key] != given[key]} == changed.get(name, set()), name
    assert settings(Arm(rate=1e-4)) == {**plain, "lr": 1e-4}


def test_the_constant_schedule_warms_up_like_the_others_and_stays() -> None:
    for name in ("constant", "constant, null"):
        rates = arms.settings_of(CONFOUNDS[name], parameters(), 20, 0)
        assert [rates.lr_at(step) for step in range(20)] == pytest.approx([2e-3 / 3, 4e-3 / 3, *[2e-3] * 18]), name
    flat = arms.settings_of(Arm(schedule="constant", warm=False), parameters(), 20, 0)
    assert {flat.lr_at(step) for step in range(20)} == {2e-3}


def test_the_null_shift_and_those_of_the_confounds_have_the_settings_of_their_partners() -> None:
    pairs = {"null": "baseline", "constant, null": "constant", "no warm-up, null": "no warm-up"}
    pairs["kept state, null"] = "kept state"
    for null, partner in pairs.items():
        assert replace(EVERY[null], text="medical") == EVERY[partner], null
        assert settings(EVERY[null]) == settings(EVERY[partner]), null
    assert replace(NULL, text="medical") == BASELINE


def test_arms_change_the_strategies_that_their_name_says() -> None:
    for name, arm in {**FACTORIAL, "all": ALL, "baseline": BASELINE}.items():
        words = {"epochs", "quality", "mix"} if name == "all" else set(name.split(" + "))
        assert (arm.repeated, arm.quality, arm.general == "mix") == tuple(
            w in words for w in ("epochs", "quality", "mix")
        )
        assert replace(arm, repeated=False, quality=False, general="residual") == BASELINE, name
    corners = {(arm.repeated, arm.quality, arm.general) for arm in (*FACTORIAL.values(), ALL, BASELINE)}
    assert len(corners) == 8


def test_what_arms_read_differs_from_the_baseline_in_what_their_name_says() -> None:
    plain, bare = read_by(BASELINE), read_by(CORE["no general"])
    assert len(plain) == 100
    known = {tuple(row) for row in library().tokens.tolist()}
    shares = {"baseline": 5, "no general": 0, "replay": 8, "mix": 20}
    for name, share in shares.items():
        tokens = read_by(EVERY[name])
        strange = torch.tensor([tuple(row) not in known for row in tokens.tolist()])
        assert int(strange.sum()) == share, name  # of 100 documents
        assert torch.equal(tokens[~strange], bare[~strange]), name  # the same ones, in the same places
    ranked = library().tokens[np.argsort(library().nats, kind="stable")]
    best = {tuple(row) for row in ranked[:100].tolist()}
    quality = {tuple(row) for row in read_by(EVERY["quality"]).tolist()}
    assert len(quality & best) == 95
    assert len(quality - known) == 5
    epochs = read_by(EVERY["epochs"])
    assert len(epochs) == 20
    assert int((epochs == bare[:20]).all(1).sum()) == 19
    everything = {tuple(row) for row in read_by(ALL).tolist()}
    assert len(everything) == 20
    assert len(everything & {tuple(row) for row in ranked[:20].tolist()}) == 16
    for name in ("constant", "no warm-up", "kept state"):
        assert torch.equal(read_by(CONFOUNDS[name]), plain), name
    assert torch.equal(read_by(Arm(residual=0.0)), bare)
    assert len(read_by(EVERY["epochs"], epochs=4)) == 25


def test_the_null_shift_reads_general_text_of_another_draw_than_pretraining() -> None:
    null = read_by(NULL)
    assert null.shape == (100, 48)
    asking = holds(null, "ask", "sum")
    assert float(asking.float().mean()) > 0.8  # six sentences, each of them with a probability of 0.4
    assert not (holds(read_by(CORE["no general"]), "ask", "sum")).any()
    pretraining = {tuple(row) for row in corpora.general_text(world(), 100, SEED).tolist()}  # as many documents
    assert not pretraining & {tuple(row) for row in null.tolist()}
    for name in ("constant, null", "no warm-up, null", "kept state, null"):
        assert torch.equal(read_by(CONFOUNDS[name]), null), name


def test_data_are_a_function_of_the_seed() -> None:
    for arm in (BASELINE, NULL, ALL):
        first, again, other = (
            arms.data_of(arm, parameters(), world(), library(), 100, seed).hash for seed in (SEED, SEED, 9)
        )
        assert first == again != other


def test_groups_and_maps_choose_the_arms() -> None:
    assert list(arms.arms_of(parameters())) == list(CORE)
    assert list(arms.arms_of(parameters(groups=("core", "factorial", "confounds")))) == list(EVERY)
    mapped = arms.arms_of(parameters(residuals=(0.0, 0.5), rates=(1e-3, 2e-3)))
    over = {f"residual {share}, rate {rate}" for share in ("0", "0.5") for rate in ("0.001", "0.002")}
    assert set(mapped) - set(CORE) == over | {"null, rate 0.001", "null, rate 0.002"}
    assert mapped["null, rate 0.002"] == replace(NULL, rate=2e-3)
    for name, arm in mapped.items():
        if name in over:
            _, share, _, rate = name.replace(",", "").split()
            assert arm == Arm(residual=float(share), rate=float(rate))
            assert settings(arm) == {**settings(BASELINE), "lr": float(rate)}


# --- continuing -----------------------------------------------------------------------------------------------


class Watch:
    """Follows an arm: what it was trained on, the learning rates, and the optimiser's state after the first update."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, arm: Arm, stop: int = 10**6) -> None:
        self.rates: list[float] = []
        self.tokens = 0
        self.first: dict[str, torch.Tensor] = {}

        def watched(model: Any, data: Any, *args: Any, **more: Any) -> Iterator[Any]:
            self.sequences = len(data)
            for snapshot in train_on_tokens(model, data, *args, **more):
                self.first = self.first or snapshot.optimiser
                self.rates = snapshot.log["lr"].tolist()
                self.tokens = int(snapshot.log["tokens"].iloc[-1])
                yield snapshot

        self.steps: list[int] = []
        with monkeypatch.context() as patch:
            patch.setattr(arms, "train_on_tokens", watched)
            for step, model in arms.continued(arm, parameters(), base(), world(), library(), SEED):
                self.steps.append(step)
                self.weights = {name: value.clone() for name, value in model.state_dict().items()}
                if step == stop:
                    break


def rate(step: int, steps: int, peak: float = 2e-3, warmup: int = 3) -> float:
    """The learning rate of an update, counted from 1: up in a line, down by a cosine to a tenth."""
    if step <= warmup:
        return peak * step / warmup
    turn = math.pi * (step - 1 - warmup) / (steps - warmup)
    return peak * (0.1 + 0.9 * (1 + math.cos(turn)) / 2)


def test_short_arms_have_a_schedule_of_their_own_and_cut_ones_the_first_part_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Watch(monkeypatch, BASELINE)
    short, cut = (Watch(monkeypatch, EVERY[name]) for name in ("baseline, 40 %", "baseline, cut"))
    assert whole.steps == list(range(1, 21))
    assert short.steps == cut.steps == list(range(1, 9))
    assert whole.rates == pytest.approx([rate(step, 20) for step in whole.steps])
    assert short.rates == pytest.approx([rate(step, 8) for step in short.steps])
    assert cut.rates == pytest.approx(whole.rates[:8])
    assert (whole.tokens, short.tokens, cut.tokens) == (20 * 5 * 48, 8 * 5 * 48, 8 * 5 * 48)
    assert (whole.sequences, short.sequences, cut.sequences) == (100, 40, 100)
    strategies = Watch(monkeypatch, CORE["all, 40 %"])
    assert strategies.rates == pytest.approx(short.rates)
    assert (strategies.steps, strategies.sequences, strategies.tokens) == (short.steps, 8, short.tokens)


def test_continuing_leaves_the_base_untouched_and_changes_its_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {name: value.clone() for name, value in base().model.state_dict().items()}
    state = {name: value.clone() for name, value in base().optimiser.items()}
    for arm in (BASELINE, CONFOUNDS["kept state"]):
        watch = Watch(monkeypatch, arm, stop=3)
        assert any(not torch.equal(value, weights[name]) for name, value in watch.weights.items())
    assert all(torch.equal(value, weights[name]) for name, value in base().model.state_dict().items())
    assert set(state) == set(base().optimiser)
    assert all(torch.equal(value, state[name]) for name, value in base().optimiser.items())
    assert all(
        parameter.grad is None or not parameter.grad.any() for parameter in copy.deepcopy(base().model).parameters()
    )


def test_kept_state_continues_from_the_optimiser_of_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first update's gradient is the same, so that the two states differ by the base's, decayed once."""
    kept, fresh = (Watch(monkeypatch, arm, stop=1) for arm in (CONFOUNDS["kept state"], BASELINE))
    compared = 0
    for name, value in base().optimiser.items():
        if name.startswith("step/"):
            assert (float(fresh.first[name]), float(kept.first[name]), float(value)) == (1, 22, 21)
            continue
        beta = 0.9 if name.startswith("exp_avg/") else 0.95
        torch.testing.assert_close(kept.first[name] - fresh.first[name], beta * value, rtol=1e-3, atol=1e-6)
        compared += bool(value.abs().max() > 1e-5)
    assert compared > 5
    null = Watch(monkeypatch, CONFOUNDS["kept state, null"], stop=1)
    assert {float(value) for name, value in null.first.items() if name.startswith("step/")} == {22}


def test_the_base_is_what_one_pass_over_general_text_makes_of_a_small_llama() -> None:
    params, again = parameters(), experiment.pretrained(parameters(), world(), SEED, "cpu")
    for name, value in base().model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    assert base().model.config.hidden_size == params.width
    assert base().model.config.num_hidden_layers == params.layers
    new = tiny_llama(world().vocab_size, 16, 1, 4, hidden=43, init_std=0.05, seed=SEED)
    text = torch.from_numpy(corpora.general_text(world(), 42, SEED))  # 21 updates of 2
    with torch.no_grad():
        before, after = (float(model(text, labels=text).loss) for model in (new, base().model))
    assert after < before
    with torch.no_grad():
        assert float(new(text, labels=text).loss) == pytest.approx(math.log(world().vocab_size), abs=0.3)


# --- measuring ------------------------------------------------------------------------------------------------


@cache
def sharp() -> Any:
    """A new model with opinions."""
    return tiny_llama(world().vocab_size, 16, 1, 4, hidden=43, init_std=0.5, seed=1)


@torch.no_grad()
def distribution(prompts: np.ndarray[Any, Any]) -> torch.Tensor:
    """(rows, vocabulary) probabilities of the next word, through transformers."""
    found: torch.Tensor = sharp()(torch.from_numpy(prompts)).logits[:, -1].softmax(-1)
    return found


def test_probes_hold_the_facts_of_their_name(bench: Bench) -> None:
    facts = {name: set(map(tuple, rows.tolist())) for name, rows in world().facts.items()}
    asked, lost = facts["general asked"], facts["general lost"]
    expected = {
        "absent": facts["absent"], "repeated": facts["repeated"], "new": facts["new"],
        "general kept": asked - lost, "general lost": asked & lost,
        "absent, stated": facts["absent"], "repeated, stated": facts["repeated"], "general lost, stated": asked & lost,
    }  # fmt: skip
    assert set(bench.probes) == {*expected, "sums"}
    words = world().words
    for name, fact in expected.items():
        texts = [[words[i] for i in row] for row in bench.probes[name].prompts.tolist()]
        letter = "g" if name.startswith("general") else "m"
        assert {text[0] for text in texts} == {"the" if name.endswith("stated") else "ask"}, name
        found = [(int(t[3].removeprefix(letter)), int(t[1].removeprefix(f"{letter}r"))) for t in texts]
        assert set(found) == fact, name
        assert len(found) == len(fact), name
    assert bench.probes["sums"].prompts.shape == (400, 6)


def test_halves_partition_the_items_in_equal_parts(bench: Bench) -> None:
    assert set(bench.halves) == set(bench.probes)
    for name, half in bench.halves.items():
        count = len(bench.probes[name].answers)
        assert len(half) == count
        assert sorted(np.bincount(half)) == [count // 2, count - count // 2], name
        assert not np.array_equal(half, np.arange(count) % 2), name  # drawn
    again = Bench(world(), SEED)
    assert all(np.array_equal(half, bench.halves[name]) for name, half in again.halves.items())


def test_accuracies_are_those_of_an_independent_argmax() -> None:
    """Answers are set to the likeliest word in some rows, and candidates to such as hold it in others."""
    bench, rng = Bench(world(), SEED), np.random.default_rng(0)
    tops, right, valid = {}, {}, {}
    for name, probe in bench.probes.items():
        tops[name] = distribution(probe.prompts).argmax(-1).numpy()
        hit, kind = rng.random(len(tops[name])) < 0.3, rng.random(len(tops[name])) < 0.6
        answers = np.where(hit, tops[name], (tops[name] + 1) % world().vocab_size)
        candidates = np.stack([np.where(kind, tops[name], answers + 1), answers + 2, np.zeros_like(answers)], 1)
        bench.probes[name] = probe._replace(answers=answers, candidates=candidates)
        right[name], valid[name] = hit, (candidates == tops[name][:, None]).any(1)
    table = bench.accuracy(sharp())
    assert len(table) == 2 * len(bench.probes)
    assert list(table.columns) == ["probe", "half", "items", "accuracy", "valid", "p"]
    rows = {(row["probe"], row["half"]): row for row in table.to_dict("records")}
    for name, probe in bench.probes.items():
        p = distribution(probe.prompts).numpy()[np.arange(len(probe.answers)), probe.answers]
        for half in (0, 1):
            part, row = bench.halves[name] == half, rows[name, half]
            assert row["items"] == part.sum()
            assert row["accuracy"] == pytest.approx(right[name][part].mean(), abs=1e-6), name
            assert row["valid"] == pytest.approx(valid[name][part].mean(), abs=1e-6), name
            assert row["p"] == pytest.approx(p[part].mean(), rel=1e-4), name
    assert 0.2 < table["accuracy"].mean() < 0.4
    assert 0.5 < table["valid"].mean() < 0.75


def test_held_out_text_is_general_or_clean_and_medical(bench: Bench) -> None:
    assert {name: tuple(text.shape) for name, text in bench.texts.items()} == dict.fromkeys(
        ("general", "medical", "general, later"), (6, 48)
    )
    assert int(holds(bench.texts["general"], "ask", "sum").sum()) >= 4
    assert not holds(bench.texts["medical"], "ask", "sum").any()
    library_rows = {tuple(row) for row in library().tokens.tolist()}
    assert not library_rows & {tuple(row) for row in bench.texts["medical"].tolist()}
    ids, truth = world().ids, world().truth["medical"]
    stated = 0
    for sentence in bench.texts["medical"].reshape(-1, 8).tolist():
        words = [world().words[i] for i in sentence]
        slots = {
            kind: [w for w in words if w.startswith(kind) and w[len(kind) :].isdigit()] for kind in ("m", "mr", "mv")
        }
        if slots["mv"]:
            entity, relation, value = int(slots["m"][0][1:]), int(slots["mr"][0][2:]), int(slots["mv"][0][2:])
            assert value == 16 * relation + truth[entity, relation]
            stated += 1
    assert 10 < stated < 34  # of 36, six in ten
    assert ids["ask"] not in bench.texts["medical"]


def test_losses_are_the_cross_entropy_of_every_token_but_the_first(bench: Bench) -> None:
    table = bench.losses(sharp()).set_index("text")["nats"]
    for name, text in bench.texts.items():
        with torch.no_grad():
            logprobs = sharp()(text).logits.log_softmax(-1)
        by_hand = [-float(logprobs[row, t - 1, text[row, t]]) for row in range(len(text)) for t in range(1, 48)]
        assert table[name] == pytest.approx(np.mean(by_hand), rel=1e-4)
    assert table["general"] != table["medical"]


def test_gradients_are_those_of_autograd(bench: Bench) -> None:
    flat = {}
    for name, text in bench.texts.items():
        model = copy.deepcopy(sharp())
        logits = model(text).logits[:, :-1]
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), text[:, 1:].reshape(-1))
        gradient = torch.autograd.grad(loss, list(model.parameters()))
        flat[name] = np.concatenate([part.double().numpy().ravel() for part in gradient])
    norms = {name: float(np.sqrt((vector**2).sum())) for name, vector in flat.items()}
    row = bench.gradients(sharp()).iloc[0]
    assert row["stability"] == pytest.approx(norms["general"], rel=1e-3)
    assert row["plasticity"] == pytest.approx(norms["medical"], rel=1e-3)
    cosine = flat["general"] @ flat["medical"] / norms["general"] / norms["medical"]
    assert row["cosine"] == pytest.approx(cosine, abs=1e-4)
    assert all(parameter.grad is None for parameter in sharp().parameters())  # training's own are left alone


# --- curves ---------------------------------------------------------------------------------------------------

STEPS = [0, 1, 2, 4, 8, 16]


def run_of(first: list[float], second: list[float] | None = None, arm: str = "a", seed: int = 0) -> pd.DataFrame:
    """A run's accuracy in two halves, at `STEPS`."""
    halves = [first, first if second is None else second]
    return pd.DataFrame(
        [
            {"seed": seed, "arm": arm, "step": step, "half": half, "value": value}
            for half, values in enumerate(halves)
            for step, value in zip(STEPS, values, strict=True)
        ]
    )


def test_depth_and_recovery_of_a_curve_that_both_halves_agree_on() -> None:
    found = curves.dips(run_of([0.8, 0.4, 0.6, 0.7, 0.7, 0.7]))
    assert found.to_dict("records") == [
        pytest.approx({"seed": 0, "arm": "a", "depth": 0.4, "recovery": 0.3, "lost": 0.1, "step": 1.0})
    ]


def test_the_step_is_chosen_on_one_half_and_read_on_the_other() -> None:
    first, second = [0.8, 0.2, 0.7, 0.6, 0.6, 0.6], [0.6, 0.5, 0.1, 0.4, 0.5, 0.9]
    found = curves.dips(run_of(first, second)).iloc[0]
    # Chosen on the first (step 1), read on the second: .6 - .5; the other way (step 2): .8 - .7.
    assert found["depth"] == pytest.approx((0.1 + 0.1) / 2)
    assert found["recovery"] == pytest.approx((0.6 - 0.5 + 0.6 - 0.7) / 2)
    assert found["lost"] == pytest.approx((0.6 - 0.6 + 0.8 - 0.6) / 2)
    assert found["step"] == 1.5


def test_a_curve_that_only_rises_has_no_dip_and_every_run_is_read_on_its_own() -> None:
    rows = [run_of([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), run_of([0.5, 0.5, 0.5, 0.4, 0.3, 0.2], arm="b")]
    rows.append(run_of([0.5, 0.1, 0.5, 0.5, 0.5, 0.5], seed=1))
    found = curves.dips(pd.concat(rows).sample(frac=1, random_state=0))
    runs = {(row.pop("seed"), row.pop("arm")): row for row in found.to_dict("records")}
    assert runs[0, "a"] == pytest.approx({"depth": 0, "recovery": 0.4, "lost": -0.4, "step": 0})
    assert runs[0, "b"] == pytest.approx({"depth": 0.3, "recovery": 0.1, "lost": 0.2, "step": 16})
    assert runs[1, "a"]["depth"] == pytest.approx(0.4)
    assert len(found) == 3


def test_flat_noise_has_no_mean_depth_where_the_naive_minimum_has_one() -> None:
    rng = np.random.default_rng(0)
    count, items = 1000, 40
    halves = rng.binomial(items, 0.5, size=(count, 2, len(STEPS))) / items
    rows = pd.concat([run_of(runs[0].tolist(), runs[1].tolist(), seed=seed) for seed, runs in enumerate(halves)])
    found = curves.dips(rows)
    for quantity in ("depth", "recovery", "lost"):
        error = found[quantity].std() / np.sqrt(count)
        assert abs(found[quantity].mean()) < 3.5 * error, quantity
        assert error < 0.005, quantity
    whole = halves.mean(1)
    assert (whole[:, 0] - whole.min(1)).mean() > 0.05


def test_a_planted_dip_is_read_in_full_on_average() -> None:
    rng = np.random.default_rng(1)
    curve = np.array([0.6, 0.3, 0.5, 0.6, 0.6, 0.6])
    halves = rng.binomial(200, curve, size=(200, 2, len(STEPS))) / 200
    found = curves.dips(
        pd.concat([run_of(runs[0].tolist(), runs[1].tolist(), seed=seed) for seed, runs in enumerate(halves)])
    )
    assert found["depth"].mean() == pytest.approx(0.3, abs=0.01)
    assert found["recovery"].mean() == pytest.approx(0.3, abs=0.01)


def test_areas_are_the_mean_shortfall_and_a_rise_counts_as_none() -> None:
    rows = [run_of([0.8, 0.4, 0.6, 0.7, 0.7, 0.7]), run_of([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], arm="b")]
    rows.append(run_of([0.5, 0.5, 0.9, 0.9, 0.9, 0.1], arm="c"))
    found = curves.areas(pd.concat(rows)).set_index("arm")["value"]
    # Shortfalls 0, .4, .2, .1, .1, .1 after 0, 1, 2, 4, 8, 16 updates.
    assert found["a"] == pytest.approx((0.2 * 1 + 0.3 * 1 + 0.15 * 2 + 0.1 * 4 + 0.1 * 8) / 16)
    assert found["b"] == 0
    assert found["c"] == pytest.approx(0.2 * 8 / 16)


def test_ends_are_means_of_the_last_three_measurements() -> None:
    rows = pd.concat([run_of([9, 9, 9, 0.3, 0.6, 0.9], [9, 9, 9, 0.5, 0.8, 1.1]), run_of([0, 0, 0, 1, 1, 1], seed=1)])
    found = curves.ends(rows.sample(frac=1, random_state=0))
    assert list(found.columns) == ["seed", "arm", "value"]
    assert found["value"].tolist() == pytest.approx([0.7, 1.0])


def test_several_probes_count_by_their_items() -> None:
    columns = ["seed", "arm", "step", "probe", "half", "items", "accuracy", "p"]
    rows = [
        (0, "a", 0, "absent", 0, 10, 0.5, 0.1),
        (0, "a", 0, "new", 0, 30, 0.1, 0.2),
        (0, "a", 0, "sums", 0, 99, 0.9, 0.9),
        (0, "a", 0, "new", 1, 30, 0.3, 0.4),
    ]
    tables = {"curve": pd.DataFrame(rows, columns=columns)}
    found = curves.accuracy(tables, ("absent", "new")).set_index("half")["value"]
    assert found.to_dict() == pytest.approx({0: (5 + 3) / 40, 1: 0.3})
    assert curves.accuracy(tables, ("absent", "new"), "p")["value"][0] == pytest.approx((1 + 6) / 40)
    whole = curves.whole(curves.accuracy(tables, ("absent", "new")))
    assert whole.to_dict("records") == [pytest.approx({"seed": 0, "arm": "a", "step": 0, "value": 0.25})]


# --- parameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"groups": ("factorial",)}, r"groups = \['factorial'\] lacks 'core'"),
        ({"groups": ("core", "all")}, "'core', 'factorial' or 'confounds'"),
        ({"groups": ()}, "groups\n.*at least 1 item"),
        ({"documents": 100, "steps": 21}, "documents = 100 are fewer than the 105 that one pass of 21 updates of 5"),
        ({"residuals": (0.1,)}, "a map needs both"),
        ({"rates": (0.1,)}, "a map needs both"),
        ({"residuals": (1.0,), "rates": (0.1,)}, "residuals.0\n.*less than 1"),
        ({"residuals": (0.1,), "rates": (0.0,)}, "rates.0\n.*greater than 0"),
        ({"epochs": 1}, "epochs\n.*greater than or equal to 2"),
        ({"mix": 1.0}, "mix\n.*less than 1"),
        ({"replay": -0.1}, "replay\n.*greater than or equal to 0"),
        ({"rate": 0.0}, "rate\n.*greater than 0"),
        ({"rate": float("nan")}, "rate\n.*finite number"),
        ({"steps": 10}, "steps\n.*greater than or equal to 20"),
        ({"batch": 2.5}, "batch\n.*valid integer"),
        ({"breadth": 3}, "breadth\n.*not permitted"),
        ({"width": 20}, "width = 20"),
        ({"warmup": 8}, "warmup = 8"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_by_name(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parameters(**overrides)


def test_what_makes_sense_is_taken() -> None:
    assert parameters(steps=20, batch=10).documents == 200
    assert parameters(groups=("confounds", "core")).groups == ("confounds", "core")
    assert parameters(warmup=7).warmup == 7  # one of eight updates of the short arms is at the peak
    assert parameters(width=24).width == 24
    assert StabilityGapParams().steps == 250


def test_every_parameter_has_a_unit_and_a_description() -> None:
    for name, field in StabilityGapParams.model_fields.items():
        assert isinstance(field.json_schema_extra, dict), name
        assert field.json_schema_extra["unit"], name
        assert field.description, name


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_a_short_pretraining_is_taken_too(steps: int) -> None:
    trained = experiment.pretrained(parameters(pretrain_steps=steps), world(), SEED, "cpu")
    assert {float(value) for name, value in trained.optimiser.items() if name.startswith("step/")} == {steps}


# --- the run --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_runs() -> tuple[Tables, Tables]:
    """The tables of two runs with two arms, measured a little less often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arms, "CORE", {name: CORE[name] for name in ("baseline", "all, 40 %")})
        patch.setattr(experiment, "SPACING", 1.0)
        (unit,) = experiment.units(parameters(), "cpu")
        return experiment.run_unit(parameters(), unit, "cpu"), experiment.run_unit(parameters(), unit, "cpu")


def test_a_run_gives_the_same_tables_twice(two_runs: tuple[Tables, Tables]) -> None:
    first, again = two_runs
    assert set(first) == set(again) == {"curve", "losses", "gradients", "filter"}
    for name, table in first.items():
        pd.testing.assert_frame_equal(table, again[name], check_exact=True)


def test_tables_hold_every_measurement_of_every_arm(two_runs: tuple[Tables, Tables]) -> None:
    tables, _ = two_runs
    steps = {"baseline": [0, 1, 2, 4, 8, 16, 20], "all, 40 %": [0, 1, 2, 4, 8]}
    gradients = {"baseline": [0, 1, 16, 20], "all, 40 %": [0, 1, 8]}  # every fourth, and the last
    for table, expected in (("curve", steps), ("losses", steps), ("gradients", gradients)):
        found = tables[table]
        assert set(found["seed"]) == {SEED}
        assert {arm: sorted(set(rows["step"])) for arm, rows in found.groupby("arm")} == expected, table
    assert len(tables["curve"]) == 12 * 18
    assert not tables["curve"].duplicated(["seed", "arm", "step", "probe", "half"]).any()
    assert all(np.isfinite(table.select_dtypes("number")).all(axis=None) for table in tables.values())
    start = tables["curve"][tables["curve"]["step"] == 0].drop(columns="arm")
    one, other = (start[(tables["curve"]["arm"] == arm).loc[start.index]].reset_index(drop=True) for arm in steps)
    pd.testing.assert_frame_equal(one, other)  # the base, before anything


def test_what_is_measured_at_the_start_and_the_end_are_the_base_and_the_continued_model(
    two_runs: tuple[Tables, Tables], bench: Bench
) -> None:
    tables, _ = two_runs
    *_, (_, last) = arms.continued(BASELINE, parameters(), base(), world(), library(), SEED)
    for step, model in ((0, base().model), (20, last)):
        for table, expected in (("curve", bench.accuracy(model)), ("losses", bench.losses(model))):
            rows = tables[table][(tables[table]["arm"] == "baseline") & (tables[table]["step"] == step)]
            got = rows.drop(columns=["seed", "arm", "step"]).reset_index(drop=True)
            pd.testing.assert_frame_equal(got, expected)


def test_the_filter_table_counts_kinds_in_the_corpus_and_among_the_chosen(two_runs: tuple[Tables, Tables]) -> None:
    table = two_runs[0]["filter"].set_index("kind")
    books = library()
    lowest = sorted(range(200), key=lambda i: float(books.nats[i]))[:100]
    for kind in ("clean", "junk", "wrong"):
        assert table.loc[kind, "corpus"] == pytest.approx((books.kinds == kind).mean())
        assert table.loc[kind, "chosen"] == pytest.approx((books.kinds[lowest] == kind).mean())
    assert table["corpus"].sum() == pytest.approx(1)
    assert table["chosen"].sum() == pytest.approx(1)


def test_units_are_seeds_and_cost_what_they_read() -> None:
    units = experiment.units(parameters(seeds=3), "cpu")
    assert [unit.name for unit in units] == ["facts.seed=3", "facts.seed=4", "facts.seed=5"]
    assert [unit.arguments for unit in units] == [{"world": "facts", "seed": seed} for seed in (3, 4, 5)]
    assert [unit.cost for unit in units] == pytest.approx([21 * 2 + (5 + 2 * 0.4) * 20 * 5] * 3)
