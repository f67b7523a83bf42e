"""Stages learn what their data say, equal a written-out reference, and resume to the same bits, even after a kill."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, PreTrainedModel

from evolm.lm import train
from evolm.lm.architecture import tiny_llama, tiny_olmoe
from evolm.lm.checkpoint import CheckpointError, load_checkpoint
from evolm.lm.lineage import weights_hash
from evolm.lm.memory import SmallerBatch
from evolm.lm.optimise import OptimiserSettings, build_optimiser, load_optimiser_tensors, optimiser_tensors
from evolm.lm.stages import StageResult, continue_pretrain, finetune, pretrain
from evolm.lm.token_data import TokenData, order
from evolm.lm.train import TrainingDiverged, TrainSettings, train_on_tokens
from evolm.lm.vocabulary import word_tokenizer

TOKENIZER = word_tokenizer([f"w{i}" for i in range(8)])
SETTINGS = TrainSettings(steps=12, batch_size=8, lr=3e-3, schedule="cosine", warmup_steps=2, checkpoint_every=5)
MEASURED = ["step", "tokens", "loss", "grad_norm", "lr"]  # the log's other columns are times


def small_model(seed: int = 0) -> PreTrainedModel:
    return tiny_llama(12, width=16, layers=2, heads=2, hidden=32, seed=seed)


def successors(rows: int = 60, length: int = 7, seed: int = 0) -> TokenData:
    """Counting modulo 8 from a random start: the first token is free, all others are determined."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, length + 1, rows)
    chains = [
        [4 + (start + i) % 8 for i in range(n)] for start, n in zip(rng.integers(0, 8, rows), lengths, strict=True)
    ]
    return TokenData.from_completions([[1, chain[0], 3] for chain in chains], [[*chain[1:], 2] for chain in chains])


def run(model: PreTrainedModel, settings: TrainSettings = SETTINGS, **options: Any) -> StageResult:
    return pretrain(model, successors(), settings, progress=False, **options)


# ---------------------------------------------------------------- what one update computes


def reference(model: PreTrainedModel, data: TokenData, settings: TrainSettings) -> list[float]:
    """The textbook loop: HF forward, a loss written out, per-group decay, torch's clipping and plain optimisers."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimiser: torch.optim.Optimizer
    if settings.optimiser == "adamw":
        optimiser = torch.optim.AdamW(groups, lr=1.0, betas=settings.betas, foreach=False)
    else:
        optimiser = torch.optim.SGD(groups, lr=1.0, momentum=settings.momentum, foreach=False)
    losses = []
    for step in range(settings.steps):
        rows = torch.from_numpy(order(len(data), settings.batch_size, step, settings.seed))
        tokens, mask = data.tokens[rows], data.mask[rows]
        logprobs = model(tokens).logits.log_softmax(-1)[:, :-1].gather(2, tokens[:, 1:, None])[..., 0]
        loss = -logprobs[mask[:, 1:]].mean()
        optimiser.zero_grad()
        loss.backward()
        if settings.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        for group in optimiser.param_groups:
            group["lr"] = settings.lr_at(step)
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("build", [small_model, lambda: tiny_olmoe(12, 16, 1, 2, 16, 4, 2, seed=0)])
@pytest.mark.parametrize(
    "change",
    [
        {"weight_decay": 0.1, "clip": 0.3, "betas": (0.9, 0.95)},
        {"optimiser": "sgd", "momentum": 0.9, "lr": 0.05, "clip": None, "schedule": "constant", "warmup_steps": 0},
    ],
)
def test_training_equals_the_textbook_loop(build: Callable[[], PreTrainedModel], change: dict[str, Any]) -> None:
    settings = TrainSettings(**{**SETTINGS.model_dump(), "log_every": 1, **change})
    model, other, data = build(), build(), successors()
    result = pretrain(model, data, settings, progress=False)
    assert result.log["loss"].to_list() == pytest.approx(reference(other, data, settings), rel=1e-5)
    for (name, mine), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=2e-5), name


def test_loss_is_taken_on_the_masked_tokens_alone() -> None:
    data = successors()
    changed = TokenData(data.tokens.clone(), data.mask)
    ends = torch.from_numpy(data.lengths)[:, None] <= torch.arange(data.tokens.shape[1])
    changed.tokens[ends] = 7  # what follows the last loss-bearing token is padding, whatever it says
    weights = [weights_hash(pretrain(small_model(), d, SETTINGS, progress=False).model) for d in (data, changed)]
    assert weights[0] == weights[1]
    assert data.hash != changed.hash


def test_a_stage_learns_what_is_determined_and_logs_its_way() -> None:
    settings = TrainSettings(steps=120, batch_size=32, lr=1e-2, schedule="cosine", log_every=20)
    model = small_model()
    result = run(model, settings)
    assert list(result.log) == [*MEASURED, "seconds", "tokens_per_s"]
    assert result.log["step"].to_list() == [20, 40, 60, 80, 100, 120]
    assert result.log["loss"].iloc[0] > 1.0
    assert result.log["loss"].iloc[-1] < 0.5  # the length is random: stopping costs what it costs
    prediction = model(torch.tensor([[1, 6, 3, 7, 8]])).logits[0, 2:4, 4:].argmax(-1) + 4
    assert prediction.tolist() == [7, 8]
    read = sum(int(successors().lengths[order(60, 32, step, 0)].sum()) for step in range(120))
    assert result.log["tokens"].iloc[-1] == read
    assert result.log["seconds"].is_monotonic_increasing


def test_bfloat16_trains_float32_weights_to_about_the_same_loss() -> None:
    settings = TrainSettings(steps=40, batch_size=16, lr=5e-3)
    full, half = (run(small_model(), settings.model_copy(update={"dtype": d})) for d in ("float32", "bfloat16"))
    assert all(p.dtype == torch.float32 for p in half.model.parameters())
    assert half.log["loss"].iloc[-1] == pytest.approx(full.log["loss"].iloc[-1], rel=0.05)
    assert half.log["loss"].iloc[-1] != full.log["loss"].iloc[-1]


def test_a_batch_that_does_not_fit_is_taken_in_halves_to_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(small_model())
    backward = train._Update._backward

    def limited(self: Any, rows: Any, total: int) -> torch.Tensor:
        if len(rows) > 3:
            raise torch.OutOfMemoryError("too large")
        return backward(self, rows, total)

    monkeypatch.setattr(train._Update, "_backward", limited)
    with pytest.warns(SmallerBatch) as warned:
        halved = run(small_model())
    assert [str(warning.message).rpartition(" ")[2] for warning in warned] == ["4", "2"], "said once for each halving"
    np.testing.assert_allclose(halved.log[MEASURED], whole.log[MEASURED], rtol=1e-4)


def with_dropout() -> PreTrainedModel:
    model = tiny_olmoe(12, 16, 2, 2, 16, 4, 2, seed=0)
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.3
    return model


def test_dropout_draws_from_the_stages_seed_and_leaves_mode_and_global_random_state_alone() -> None:
    models = [with_dropout().eval() for _ in range(2)]
    for number, model in enumerate(models):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        run(model)
        assert torch.equal(torch.get_rng_state(), before)
        assert not model.training
    assert weights_hash(models[0]) == weights_hash(models[1])
    plain = tiny_olmoe(12, 16, 2, 2, 16, 4, 2, seed=0)
    assert weights_hash(run(plain).model) != weights_hash(models[0]), "dropout was not active"


# ---------------------------------------------------------------- order and settings


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 5), st.integers(1, 6))
@hypothesis_settings(max_examples=60, deadline=None)
def test_every_epoch_sees_every_sequence_once(sequences: int, batch_size: int, seed: int, epochs: int) -> None:
    steps = math.ceil(sequences * epochs / batch_size)
    stream = np.concatenate([order(sequences, batch_size, step, seed) for step in range(steps)])
    assert all(len(order(sequences, batch_size, step, seed)) == batch_size for step in range(steps))
    for epoch in range(epochs):
        assert sorted(stream[epoch * sequences : (epoch + 1) * sequences]) == list(range(sequences))


def test_the_order_depends_on_seed_and_epoch() -> None:
    first, second = order(100, 100, 0, 0), order(100, 100, 1, 0)
    assert list(first) != list(second)
    assert list(first) != list(order(100, 100, 0, 1))


def test_schedules_follow_their_formulas() -> None:
    base: dict[str, Any] = {"steps": 10, "lr": 2.0}
    assert [OptimiserSettings(**base).lr_at(step) for step in (0, 5, 9)] == [2.0] * 3
    warm = OptimiserSettings(**base, schedule="warmup", warmup_steps=4)
    assert [warm.lr_at(step) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    cosine = OptimiserSettings(**base, schedule="cosine", warmup_steps=2, final_lr=0.1)
    assert [cosine.lr_at(0), cosine.lr_at(2), cosine.lr_at(6), cosine.lr_at(10)] == pytest.approx([1.0, 2.0, 1.1, 0.2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "greater than 0"),
        ({"lr": float("nan")}, "finite"),
        ({"schedule": "constant", "warmup_steps": 3}, "no effect"),
        ({"schedule": "warmup"}, "needs warmup_steps"),
        ({"schedule": "cosine", "warmup_steps": 12}, "none at the peak"),
        ({"betas": (0.9, 1.0)}, "from 0 to below 1"),
        ({"momentum": 0.9}, "momentum is sgd's"),
        ({"learning_rate": 1e-3}, "Extra inputs"),
        ({"dtype": "float16"}, "bfloat16"),
        ({"batch_size": "8"}, "valid integer"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSettings(**{"steps": 12, "batch_size": 8, "lr": 1e-3, **change})


# ---------------------------------------------------------------- bad data


@pytest.mark.parametrize(
    ("tokens", "mask", "message"),
    [
        (torch.ones(3, dtype=torch.int64), torch.ones(3, dtype=torch.bool), r"\(sequences, time\)"),
        (torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool), "torch.int64"),
        (torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 4, dtype=torch.bool), "tokens' shape"),
        (torch.ones(0, 3, dtype=torch.int64), torch.ones(0, 3, dtype=torch.bool), "no sequences"),
        (torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.bool), "first token"),
        (torch.ones(2, 3, dtype=torch.int64), torch.tensor([[0, 1, 0], [0, 0, 0]]).bool(), "sequence 1 bears no loss"),
    ],
)
def test_tensors_that_are_no_data_are_refused(tokens: torch.Tensor, mask: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenData(tokens, mask)


def test_an_empty_completion_is_refused_by_number() -> None:
    with pytest.raises(ValueError, match="sequence 1 has an empty completion"):
        TokenData.from_completions([[1, 4], [1, 5]], [[2], []])
    with pytest.raises(ValueError, match="2 prompts and 1 completions"):
        TokenData.from_completions([[1, 4], [1, 5]], [[2]])


def test_data_of_another_tokenizer_or_length_are_refused() -> None:
    for tokens, message in (
        ([[1, 12]], "token id 12 .* embeds 0 to 11"),
        ([[1] * 65], "65 tokens and the model reads 64"),
    ):
        data = TokenData.from_completions([row[:1] for row in tokens], [row[1:] for row in tokens])
        with pytest.raises(ValueError, match=message):
            pretrain(small_model(), data, SETTINGS, progress=False)


def test_a_loss_that_is_no_number_stops_the_stage_and_says_when() -> None:
    settings = TrainSettings(steps=20, batch_size=8, lr=1e30, clip=None, optimiser="sgd", log_every=20)
    with pytest.raises(TrainingDiverged, match=r"the loss is (nan|inf) at update [23]; lower lr"):
        run(small_model(), settings)


# ---------------------------------------------------------------- checkpoints, lineage, resuming


def same_result(one: StageResult, other: StageResult) -> None:
    assert one.id == other.id
    assert weights_hash(one.model) == weights_hash(other.model)
    pd.testing.assert_frame_equal(one.log[MEASURED], other.log[MEASURED])
    assert one.optimiser is not None
    assert other.optimiser is not None
    assert set(one.optimiser) == set(other.optimiser)
    assert all(torch.equal(tensor, other.optimiser[name]) for name, tensor in one.optimiser.items())


@pytest.mark.parametrize(
    ("build", "change"),
    [(small_model, {}), (small_model, {"optimiser": "sgd", "momentum": 0.9}), (with_dropout, {"dtype": "bfloat16"})],
)
def test_an_interrupted_stage_resumes_to_the_same_bits(
    build: Callable[[], PreTrainedModel], change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS.model_copy(update=change)
    whole = run(build(), settings)
    update = train._Update.__call__

    def interrupted(self: Any, step: int) -> Any:
        if step == 7:
            raise KeyboardInterrupt
        return update(self, step)

    monkeypatch.setattr(train._Update, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(build(), settings, tokenizer=TOKENIZER, folder=tmp_path / "base")
    started: list[int] = []

    def counted(self: Any, step: int) -> Any:
        started.append(step)
        return update(self, step)

    monkeypatch.setattr(train._Update, "__call__", counted)
    resumed = run(build(), settings, tokenizer=TOKENIZER, folder=tmp_path / "base")
    assert started == list(range(5, 12))
    same_result(resumed, whole)
    finished = run(build(), settings, tokenizer=TOKENIZER, folder=tmp_path / "base")
    assert len(started) == 7, "a finished stage is not run again"
    same_result(finished, whole)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX fork and signals")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_stage_killed_by_the_kernel_resumes_to_the_same_bits(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        update = train._Update.__call__

        def slowly(self: Any, step: int) -> Any:
            time.sleep(0.05)
            return update(self, step)

        train._Update.__call__ = slowly  # type: ignore[method-assign]
        run(small_model(), tokenizer=TOKENIZER, folder=tmp_path)
        os._exit(0)
    while not (tmp_path / "step-000005").is_dir():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the stage ended early"
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not (tmp_path / "step-000012").exists()
    resumed = run(small_model(), tokenizer=TOKENIZER, folder=tmp_path)
    same_result(resumed, run(small_model()))


def test_every_checkpoint_is_kept_and_opens_and_only_the_last_holds_the_optimiser(tmp_path: Path) -> None:
    result = run(small_model(), tokenizer=TOKENIZER, folder=tmp_path)
    assert list(result.checkpoints) == [5, 10, 12]
    opened = [load_checkpoint(folder, tokenizer=TOKENIZER) for folder in result.checkpoints.values()]
    assert [checkpoint.lineage.steps for checkpoint in opened] == [5, 10, 12]
    assert [checkpoint.optimiser() is None for checkpoint in opened] == [True, True, False]
    assert len({checkpoint.id for checkpoint in opened}) == 3
    assert opened[-1].id == result.id
    tokens = successors().tokens[:4]
    last = AutoModelForCausalLM.from_pretrained(result.checkpoints[12])
    assert torch.equal(last(tokens).logits, result.model(tokens).logits)
    without = run(
        small_model(), SETTINGS.model_copy(update={"keep_optimiser": False}), tokenizer=TOKENIZER, folder=tmp_path / "b"
    )
    assert without.optimiser is None
    assert load_checkpoint(without.checkpoints[12]).optimiser() is None


def test_lineage_names_parent_data_and_settings() -> None:
    base = run(small_model())
    tuned = finetune(copy.deepcopy(base.model), successors(seed=1), SETTINGS, parent=base.id, progress=False)
    assert (base.lineage.stage, base.lineage.parent) == ("pretrain", None)
    assert (tuned.lineage.stage, tuned.lineage.parent) == ("finetune", base.id)
    assert tuned.lineage.data == successors(seed=1).hash != base.lineage.data
    assert TrainSettings.model_validate_json(json.dumps(tuned.lineage.settings)) == SETTINGS
    assert tuned.lineage.steps == 12
    assert tuned.id != base.id


@pytest.mark.parametrize("what", ["settings", "data", "start"])
def test_a_folder_of_another_run_is_refused(what: str, tmp_path: Path) -> None:
    run(small_model(), tokenizer=TOKENIZER, folder=tmp_path)
    model = small_model(seed=1 if what == "start" else 0)
    settings = SETTINGS.model_copy(update={"lr": 1e-3}) if what == "settings" else SETTINGS
    data = successors(seed=1) if what == "data" else successors()
    before = weights_hash(model)
    with pytest.raises(CheckpointError, match=rf"of another run: its {what} differ"):
        pretrain(model, data, settings, tokenizer=TOKENIZER, folder=tmp_path, progress=False)
    assert weights_hash(model) == before


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give tokenizer="):
        run(small_model(), folder=tmp_path)


def test_continued_pretraining_takes_the_optimiser_on_or_starts_it_anew() -> None:
    settings = TrainSettings(steps=10, batch_size=8, lr=3e-3)
    base = run(small_model(), settings.model_copy(update={"steps": 6}))
    rest = settings.model_copy(update={"steps": 4})

    def go_on(optimiser: dict[str, torch.Tensor] | None) -> StageResult:
        model = copy.deepcopy(base.model)
        return continue_pretrain(model, successors(), rest, parent=base.id, optimiser=optimiser, progress=False)

    kept, fresh = go_on(base.optimiser), go_on(None)
    assert kept.optimiser is not None
    assert fresh.optimiser is not None
    assert float(kept.optimiser["step/model.norm.weight"]) == 10
    assert float(fresh.optimiser["step/model.norm.weight"]) == 4
    assert kept.lineage.start != fresh.lineage.start
    # The same updates on the same batches, once in one stage and once in two, are the same training.
    first = TokenData(successors().tokens[:8], successors().mask[:8])
    in_one = pretrain(small_model(), first, settings, progress=False)
    halves = pretrain(small_model(), first, settings.model_copy(update={"steps": 5}), progress=False)
    again = settings.model_copy(update={"steps": 5})
    in_two = continue_pretrain(halves.model, first, again, parent=halves.id, optimiser=halves.optimiser, progress=False)
    for mine, theirs in zip(in_two.model.parameters(), in_one.model.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_optimiser_state_of_another_kind_or_model_is_refused() -> None:
    model, settings = small_model(), OptimiserSettings(steps=1, lr=0.1)
    state = run(model).optimiser
    assert state is not None
    sgd = build_optimiser(model, OptimiserSettings(steps=1, lr=0.1, optimiser="sgd"))
    with pytest.raises(ValueError, match="this optimiser needs"):
        load_optimiser_tensors(sgd, model, state)
    for other, message in ((tiny_llama(12, 32, 2, seed=0), "has shape"), (tiny_llama(12, 16, 1, seed=0), "not train")):
        with pytest.raises(ValueError, match=message):
            load_optimiser_tensors(build_optimiser(other, settings), other, state)
    same = build_optimiser(model, settings)
    load_optimiser_tensors(same, model, state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in optimiser_tensors(same, model).items())


def test_accelerate_with_one_process_trains_the_same_model() -> None:
    accelerate = pytest.importorskip("accelerate")
    alone = run(small_model())
    together = run(small_model(), accelerator=accelerate.Accelerator(cpu=True))
    np.testing.assert_allclose(together.log[MEASURED], alone.log[MEASURED], rtol=1e-4)
    for mine, theirs in zip(together.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=2e-5)
    assert together.optimiser is not None


def _train_as(rank: int, port: int, folder: Path) -> None:
    """What each of two processes does that `accelerate launch` or torchrun would start."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    AcceleratorState._reset_state(reset_partial_state=True)  # of the process that this one was forked from
    PartialState._reset_state()
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"})
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    signal.alarm(60)  # rather than wait for ever for the other one
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    settings = SETTINGS.model_copy(update={"batch_size": 9})  # five sequences for the one, four for the other
    result = run(small_model(), settings, accelerator=accelerator, tokenizer=TOKENIZER, folder=folder)
    assert weights_hash(result.model) == weights_hash(load_checkpoint(folder / "step-000012").model)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_accelerate_with_two_processes_trains_what_one_trains(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(2):
        if (child := os.fork()) == 0:
            try:
                _train_as(rank, port, tmp_path)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    alone = run(small_model(), SETTINGS.model_copy(update={"batch_size": 9}))
    together = load_checkpoint(tmp_path / "step-000012")
    np.testing.assert_allclose(together.log()[MEASURED], alone.log[MEASURED], rtol=1e-4)
    for mine, theirs in zip(together.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=2e-5)


def test_a_stage_of_a_few_seconds_shows_a_bar_with_its_loss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "BAR_AFTER", 0.0)
    pretrain(small_model(), successors(), SETTINGS)
    shown = capsys.readouterr().err
    assert "pretrain:" in shown
    assert "/12" in shown
    run(small_model())
    assert capsys.readouterr().err == ""


def test_the_loop_yields_at_checkpoints_and_at_the_end() -> None:
    steps = [snapshot.step for snapshot in train_on_tokens(small_model(), successors(), SETTINGS, progress=False)]
    assert steps == [5, 10, 12]
