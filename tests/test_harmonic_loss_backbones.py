"""The paper-scale command of the harmonic-loss chapter on tiny models: heads, data, training, checkpoints, refusals."""

from __future__ import annotations

import json
import math
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, ResNetForImageClassification

from evolm.cli import main as evolm
from evolm.findings.harmonic_loss import backbone_data, backbone_models, backbone_training, backbones
from evolm.findings.harmonic_loss.backbone_data import PADDING, Images, Text, shifted_and_mirrored
from evolm.findings.harmonic_loss.backbone_models import (
    HeadChoice,
    described,
    head_of,
    image_model,
    keep,
    language_model,
    logits_of,
    loss_and_hits,
    reopened,
)
from evolm.findings.harmonic_loss.backbone_training import (
    Cost,
    Output,
    checkpoint_steps,
    estimate,
    features_of,
    held_out,
    train,
)
from evolm.findings.stability_gap import text_world
from evolm.findings.stability_gap.text_world import text_tokenizer
from evolm.heads.head import DistanceHead, NormalisedLinear
from evolm.images import ImageSet, load_images, split
from evolm.instruments.geometry import measure_models
from evolm.lm.optimise import OptimiserSettings
from evolm.lm.train import TrainingDiverged

HEADS = {
    "linear": HeadChoice(),
    "harmonic": HeadChoice("harmonic"),
    "cosine": HeadChoice("harmonic", "cosine", 6.0),
    "mahalanobis": HeadChoice("harmonic", "mahalanobis", 3.0),
    "softmax": HeadChoice("softmax", "euclidean"),
    "normalised": HeadChoice("normalised"),
}
TINY_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
SGD = OptimiserSettings(steps=30, lr=0.05, schedule="cosine", optimiser="sgd", momentum=0.9, clip=None)


@pytest.fixture(autouse=True)
def _tiny_resnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backbone_models.RESNETS, "resnet-tiny", TINY_RESNET)


def classifier(name: str, head: HeadChoice, seed: int = 0, side: int = 8, channels: int = 1) -> Any:
    return image_model(name, classes=10, channels=channels, side=side, head=head, seed=seed, width=6)


@cache
def digits(**how: Any) -> Images:
    return Images(load_images("digits"), **({"seed": 3, "batch": 64} | how))


@cache
def colours() -> ImageSet:
    """Ten classes of 8 x 8 pixels in three channels of different brightness."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(200, 3, 8, 8, generator=generator) * torch.tensor([1.0, 0.5, 0.1]).view(3, 1, 1)
    return ImageSet("colours", "CC0", tuple("abcdefghij"), images, torch.arange(200) % 10, test_count=40)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny GPT-2 with a tokenizer, as a hub id would give them."""
    folder = tmp_path_factory.mktemp("models") / "gpt2"
    torch.manual_seed(1)
    size: dict[str, Any] = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 48, "initializer_range": 0.3}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(text_tokenizer()), **size)).save_pretrained(folder)
    text_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("text") / "book.txt"
    file.write_text("\n".join(d.text for d in text_world.split("general", "validation")[:3])[:30_000], encoding="utf-8")
    return str(file)


# --- heads and models --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("backbone", ["cnn", "resnet-tiny"])
def test_a_head_stands_in_the_last_place_and_reads_what_the_linear_one_did(backbone: str, name: str) -> None:
    model, plain = classifier(backbone, HEADS[name]).eval(), classifier(backbone, HeadChoice()).eval()
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    head = head_of(model)
    assert {"linear": torch.nn.Linear, "normalised": NormalisedLinear}.get(name, DistanceHead) is type(head)
    seen: list[torch.Tensor] = []
    for one in (model, plain):
        head_of(one).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    logits = logits_of(model, images)
    logits_of(plain, images)
    torch.testing.assert_close(seen[0], seen[1])  # one seed, one backbone, whatever the head
    torch.testing.assert_close(logits, head(seen[0]).float())
    torch.testing.assert_close(head.weight, head_of(plain).weight)


def test_the_exponent_is_as_asked_and_else_the_root_of_the_width() -> None:
    assert head_of(classifier("cnn", HEADS["cosine"])).exponent == 6
    assert head_of(classifier("cnn", HEADS["harmonic"])).exponent == pytest.approx(math.sqrt(24))


@pytest.mark.parametrize(("side", "small"), [(32, True), (63, True), (64, False), (224, False)])
def test_small_images_get_a_stem_that_loses_nothing(side: int, small: bool) -> None:
    model = classifier("resnet-tiny", HeadChoice(), side=side, channels=3)
    assert isinstance(model, ResNetForImageClassification)
    stem = model.resnet.embedder(torch.randn(2, 3, side, side))
    assert stem.shape == (2, 8, side, side) if small else (2, 8, -(-side // 4), -(-side // 4))


@pytest.mark.parametrize(("name", "parameters"), [("resnet-18", 11_173_962), ("resnet-50", 23_520_842)])
def test_resnets_are_those_of_the_paper(name: str, parameters: int) -> None:
    """Parameters as published for CIFAR-10 with a stem of 3 x 3: 11.17 and 23.52 million."""
    with torch.device("meta"):
        model = ResNetForImageClassification(
            backbone_models.ResNetConfig(num_channels=3, num_labels=10, **backbone_models.RESNETS[name])
        )
        stem = model.resnet.embedder.embedder
        stem.convolution = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_weights_are_of_the_seed_and_torchs_own_state_stays() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (classifier("cnn", HEADS["harmonic"], seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.fc.weight, other.fc.weight)


# --- data ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 9), st.integers(2, 9))
def test_images_are_moved_as_a_loop_would_and_half_are_mirrored(seed: int, n: int, height: int, width: int) -> None:
    images = torch.rand(n, 2, height, width, generator=torch.Generator().manual_seed(seed))
    found = shifted_and_mirrored(images, torch.Generator().manual_seed(seed))
    padded = F.pad(images, [PADDING] * 4)
    for before, after in zip(padded, found, strict=True):
        every = [
            before[:, i : i + height, j : j + width]
            for i in range(2 * PADDING + 1) for j in range(2 * PADDING + 1)
        ]  # fmt: skip
        assert any(torch.equal(after, cut) or torch.equal(after, cut.flip(-1)) for cut in every)


def test_every_place_and_both_hands_come_up() -> None:
    marked = torch.zeros(4000, 1, 3, 3)
    marked[:, 0, 1, 2] = 1.0  # right of the middle
    found = shifted_and_mirrored(marked, torch.Generator().manual_seed(0))
    inside = found.sum((1, 2, 3)) > 0
    rows, columns = (
        found[inside, 0].flatten(1).argmax(1).div(3, rounding_mode="floor"),
        found[inside, 0].flatten(1).argmax(1) % 3,
    )
    assert torch.bincount(rows * 3 + columns, minlength=9).min() > 20
    # The pixel stays inside for 3 of 9 moves down and 3 of 9 across.
    assert float(inside.float().mean()) == pytest.approx(1 / 9, abs=4.5 * math.sqrt(8 / 81 / 4000))


@pytest.mark.parametrize("part", ["test", "validation"])
def test_training_and_held_out_images_do_not_meet(part: Any) -> None:
    images = load_images("digits")
    data = digits(held_out=part)
    divided = split(images, 3, validation=0.1 if part == "validation" else 0.0)
    tested = torch.cat([labels for _, labels in data.held_out()])
    assert torch.equal(tested, images.labels[getattr(divided, part)])
    raw = images.images
    mean, spread = raw[divided.train].mean(), raw[divided.train].std()
    torch.testing.assert_close(
        torch.cat([pixels for pixels, _ in data.held_out()]), (raw[getattr(divided, part)] - mean) / spread
    )
    steps = len(divided.train) // 64
    seen = torch.cat([data.batch(step)[1] for step in range(steps)])
    assert (
        torch.bincount(seen, minlength=10).sub(torch.bincount(images.labels[divided.train], minlength=10)).abs().sum()
        <= 64
    )


def test_channels_are_standardised_over_training_images_alone() -> None:
    images = colours()
    data = Images(images, seed=0, batch=160, augment=False)
    pixels, labels = data.batch(0)  # all training images, once
    torch.testing.assert_close(pixels.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(pixels.std((0, 2, 3)), torch.ones(3), atol=1e-4, rtol=0)
    assert torch.equal(torch.cat([labels for _, labels in data.held_out()]), images.labels[-40:])
    assert len(labels) == 160


def test_colour_images_are_augmented_by_seed_and_step_and_digits_are_not() -> None:
    data = Images(colours(), seed=0, batch=160)
    plain = Images(colours(), seed=0, batch=160, augment=False)
    assert torch.equal(data.batch(2)[0], data.batch(2)[0])
    assert not torch.equal(data.batch(2)[0], plain.batch(2)[0])
    assert torch.equal(data.batch(2)[1], plain.batch(2)[1])
    one, other = (next(iter(images.held_out()))[0] for images in (data, plain))
    assert torch.equal(one, other)
    pixels = {tuple(x.flatten().tolist()) for x in digits()._pixels}
    assert all(tuple(x.flatten().tolist()) in pixels for x in digits().batch(5)[0])


def test_text_is_cut_into_rows_and_its_last_tenth_is_held_out(book: str) -> None:
    data = Text.of(book, text_tokenizer(), length=16, batch=4, seed=0)
    text = Path(book).read_text(encoding="utf-8")
    ids = text_tokenizer()(text[: round(0.9 * len(text))], add_special_tokens=False).input_ids
    assert data.train.flatten().tolist() == ids[: len(ids) // 16 * 16]
    ids = text_tokenizer()(text[round(0.9 * len(text)) :], add_special_tokens=False).input_ids
    held = torch.cat([torch.cat([tokens[:, :1], following], 1) for tokens, following in data.held_out()])
    assert held.flatten().tolist() == ids[: len(ids) // 16 * 16]
    tokens, following = data.batch(7)
    assert tokens.shape == following.shape == (4, 15)
    assert torch.equal(tokens[:, 1:], following[:, :-1])


def test_the_projects_own_text_is_split_by_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_world, "split", lambda domain, part: [text_world.Document("1", "x", f"{domain} {part}")])
    assert backbone_data._parts("speeches") == ("general train", "general test")


def test_text_that_is_none_is_refused(tmp_path: Path, book: str) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 au lait")
    for source, said in (
        (str(tmp_path / "none.txt"), "there is no text .*none.txt; expected a UTF-8 file, or speeches"),
        (str(tmp_path), "there is no text"),
        (str(tmp_path / "empty.txt"), "a part of 0 tokens, and rows have 16"),
        (str(tmp_path / "latin.txt"), "no UTF-8 text .* at byte 3"),
    ):
        with pytest.raises(ValueError, match=said):
            Text.of(source, text_tokenizer(), length=16, batch=1, seed=0)
    with pytest.raises(ValueError, match="rows have 1;"):
        Text.of(book, text_tokenizer(), length=1, batch=1, seed=0)
    with pytest.raises(ValueError, match=r"batch = 0; expected 1 to \d+, the training rows"):
        Text.of(book, text_tokenizer(), length=16, batch=0, seed=0)
    with pytest.raises(ValueError, match=r"batch = 5000; expected 1 to \d+, the training images of digits"):
        Images(load_images("digits"), seed=0, batch=5000)


# --- training --------------------------------------------------------------------------------------------------


def output(folder: Path, head: HeadChoice, name: str = "cnn", **how: Any) -> Output:
    size = {"classes": 10, "channels": 1, "side": 8, "width": 6}
    return Output(folder, described(head, image_model=name, size=size), **({"log_every": 10, "checkpoints": 3} | how))


@pytest.mark.parametrize(("name", "backbone"), [(name, "cnn") for name in HEADS] + [("cosine", "resnet-tiny")])
def test_a_few_updates_lower_the_loss_and_the_checkpoint_is_the_model(name: str, backbone: str, tmp_path: Path) -> None:
    model = classifier(backbone, HEADS[name])
    log = train(model, digits(), SGD, output(tmp_path, HEADS[name], backbone))
    assert log["step"].tolist() == [8, 10, 15, 20, 30]
    assert log["loss"].iloc[-1] < 0.75 * log["loss"].iloc[0]
    assert log["accuracy"].iloc[-1] > log["accuracy"].iloc[0]
    assert (log["grad_norm"] > 0).all()
    assert log["held_out_loss"].notna().tolist() == [True, False, True, False, True]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "training.csv"), log)
    images, labels = next(digits().held_out())
    again = reopened(tmp_path / "step-000030")
    assert not again.training
    torch.testing.assert_close(logits_of(again, images), logits_of(model.eval(), images))
    assert held_out(again, digits())["held_out_loss"] == pytest.approx(log["held_out_loss"].iloc[-1], rel=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-000008",
        "step-000015",
        "step-000030",
        "training.csv",
    ]
    assert len(labels) == 256


def test_training_is_what_a_plain_loop_of_torch_does(tmp_path: Path) -> None:
    head = HeadChoice("harmonic", "manhattan", 3.0)
    settings = OptimiserSettings(
        steps=6, lr=0.1, schedule="cosine", warmup_steps=2, optimiser="sgd", momentum=0.9, weight_decay=1e-2, clip=None
    )
    model, plain = classifier("cnn", head), classifier("cnn", head)
    log = train(model, digits(), settings, output(tmp_path, head, log_every=1, checkpoints=1))
    matrices = [p for p in plain.parameters() if p.dim() > 1]
    gains = [p for p in plain.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 1e-2}, {"params": gains, "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    losses = []
    for step in range(6):
        rate = 0.1 * (step + 1) / 2 if step < 2 else 0.05 * (1 + math.cos(math.pi * (step - 2) / 4))
        for group in optimiser.param_groups:
            group["lr"] = rate
        images, labels = digits().batch(step)
        loss = F.cross_entropy(plain(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        assert log["lr"][step] == pytest.approx(rate)
    assert log["loss"].tolist() == pytest.approx(losses, rel=1e-4)
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_the_log_has_means_since_its_last_row(tmp_path: Path) -> None:
    settings = OptimiserSettings(steps=6, lr=0.05, optimiser="sgd", clip=None)
    fine = train(
        classifier("cnn", HeadChoice()),
        digits(),
        settings,
        output(tmp_path / "fine", HeadChoice(), log_every=1, checkpoints=1),
    )
    coarse = train(
        classifier("cnn", HeadChoice()),
        digits(),
        settings,
        output(tmp_path / "coarse", HeadChoice(), log_every=3, checkpoints=1),
    )
    for name in ("loss", "accuracy", "grad_norm"):
        assert coarse[name].tolist() == pytest.approx(fine[name].to_numpy().reshape(2, 3).mean(1).tolist(), rel=1e-5)


def test_a_run_that_diverges_says_so_and_keeps_its_log(tmp_path: Path) -> None:
    wild = OptimiserSettings(steps=20, lr=1e25, optimiser="sgd", clip=None)
    with pytest.raises(TrainingDiverged, match=r"the loss is (nan|inf) by update \d+; lower the rate"):
        train(
            classifier("cnn", HeadChoice()), digits(), wild, output(tmp_path, HeadChoice(), log_every=1, checkpoints=1)
        )
    assert len(pd.read_csv(tmp_path / "training.csv")) >= 1


def test_held_out_loss_is_over_all_images_at_once_in_eval_mode() -> None:
    model = classifier("cnn", HEADS["harmonic"]).train()
    found = held_out(model, digits())
    assert model.training
    images, labels = (torch.cat(parts) for parts in zip(*digits().held_out(), strict=True))
    with torch.no_grad():
        loss, accuracy = loss_and_hits(model.eval(), images, labels)
    assert found == pytest.approx({"held_out_loss": float(loss), "held_out_accuracy": float(accuracy)}, rel=1e-5)


def test_features_are_what_the_head_reads_with_its_own_choices(tmp_path: Path) -> None:
    model = classifier("cnn", HEADS["cosine"])
    found = features_of(model, digits(), most=300)
    assert {name: len(values) for name, values in found.items()} == {"features": 300, "labels": 300, "predictions": 300}
    images, labels = (torch.cat(parts)[:300] for parts in zip(*digits().held_out(), strict=True))
    with torch.no_grad():
        torch.testing.assert_close(found["features"], model.eval().features(images).mean((2, 3)))
        assert torch.equal(found["predictions"], model(images).argmax(-1))
    assert torch.equal(found["labels"], labels)
    assert len(head_of(model)._forward_pre_hooks) == 0


@given(st.integers(1, 10**6), st.integers(1, 20))
def test_checkpoints_lie_at_halves_and_end_with_the_last(steps: int, count: int) -> None:
    found = checkpoint_steps(steps, count)
    assert found[-1] == steps
    assert found[0] >= 1
    assert found == sorted(set(found))
    assert len(found) <= count
    assert all(abs(2 * before - after) <= 2 for before, after in pairwise(found))


def test_an_estimate_changes_nothing_and_counts_what_there_is() -> None:
    model = classifier("cnn", HEADS["harmonic"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cost = estimate(model, digits(), SGD)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert cost.updates == 30
    assert 0 < cost.seconds_per_update < 10


def test_a_cost_is_in_hours_or_where_it_is_short_in_seconds() -> None:
    assert (
        str(Cost(124_439_808, 10_000, 0.36))
        == "124,439,808 parameters, 10,000 updates (0.36 s each here): about 1.0 hours"
    )
    assert str(Cost(10, 100, 0.05)).endswith("about 5 seconds")


# --- language models -------------------------------------------------------------------------------------------


def test_a_language_model_is_random_unless_its_own_weights_are_asked_for(gpt2: str) -> None:
    saved = AutoModelForCausalLM.from_pretrained(gpt2)
    own, _ = language_model(gpt2, HeadChoice(), seed=0, pretrained=True)
    drawn, again, other = (language_model(gpt2, HeadChoice(), seed=seed)[0] for seed in (0, 0, 1))
    weight = "transformer.wte.weight"
    assert torch.equal(own.state_dict()[weight], saved.state_dict()[weight])
    assert torch.equal(drawn.state_dict()[weight], again.state_dict()[weight])
    assert not torch.equal(drawn.state_dict()[weight], other.state_dict()[weight])
    assert not torch.equal(drawn.state_dict()[weight], saved.state_dict()[weight])


def test_the_plain_loss_of_text_is_that_of_transformers(gpt2: str, book: str) -> None:
    model, tokenizer = language_model(gpt2, HeadChoice(), seed=0, pretrained=True)
    data = Text.of(book, tokenizer, length=16, batch=4, seed=0)
    tokens, following = data.batch(0)
    whole = torch.cat([tokens, following[:, -1:]], 1)
    with torch.no_grad():
        theirs = model.eval()(input_ids=whole, labels=whole).loss
        mine, _ = loss_and_hits(model, tokens, following)
    assert float(mine) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize("name", ["linear", "harmonic", "mahalanobis", "normalised"])
def test_a_language_model_trains_and_its_checkpoint_is_the_model(
    name: str, gpt2: str, book: str, tmp_path: Path
) -> None:
    model, tokenizer = language_model(gpt2, HEADS[name], seed=0)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    data = Text.of(book, tokenizer, length=16, batch=8, seed=0)
    settings = OptimiserSettings(steps=16, lr=1e-2, schedule="cosine", betas=(0.9, 0.95))
    log = train(model, data, settings, Output(tmp_path, described(HEADS[name]), tokenizer, log_every=4, checkpoints=2))
    assert log["loss"].iloc[-1] < log["loss"].iloc[0]
    again = reopened(tmp_path / "step-000016")
    tokens, _ = data.batch(0)
    with torch.no_grad():
        torch.testing.assert_close(logits_of(again, tokens), logits_of(model.eval(), tokens))
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight
    library = AutoModelForCausalLM.from_pretrained(tmp_path / "step-000016")  # class vectors, with a linear head
    assert torch.equal(library.get_output_embeddings().weight, model.get_output_embeddings().weight)
    assert not (tmp_path / "step-000016" / "features.safetensors").exists()


def test_a_folder_that_is_no_checkpoint_of_these_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no run\.json; expected a checkpoint of"):
        reopened(tmp_path)


def test_a_checkpoint_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    model = classifier("cnn", HeadChoice())
    monkeypatch.setattr(backbone_models, "save_model", full)
    with pytest.raises(OSError, match="no space left"):
        keep(tmp_path / "step-1", model, {})
    assert list(tmp_path.iterdir()) == []


# --- commands --------------------------------------------------------------------------------------------------


def command(*words: Any) -> None:
    backbones.main([str(word) for word in words])


def test_without_yes_the_cost_is_all_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("digits", tmp_path / "run", "--width", 6, "--head", "harmonic", "--steps", 40, "--device", "cpu")
    told = capsys.readouterr().out
    assert "cnn with a harmonic head on digits, cpu" in told
    assert "parameters, 40 updates (" in told
    assert f"6 checkpoints in {tmp_path / 'run'}" in told
    assert "nothing was trained; say --yes to go on" in told
    assert not (tmp_path / "run").exists()


def test_the_command_trains_what_measure_geometry_reads_as_a_series(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    how = ("--head", "harmonic", "--distance", "cosine", "--exponent", 5, "--lr", 0.05, "--batch", 64)
    command(
        "digits", run, "--width", 6, *how, "--steps", 24, "--checkpoints", 4, "--seed", 2, "--device", "cpu", "--yes"
    )
    told = capsys.readouterr().out
    assert f"evolm measure geometry {run}/step-*" in told
    written = json.loads((run / "step-000024" / "run.json").read_text())
    assert written["head"] == {"kind": "harmonic", "distance": "cosine", "exponent": 5.0}
    assert (written["image_model"], written["images"], written["seed"]) == ("cnn", "digits", 2)
    assert reopened(run / "step-000024").fc.exponent == 5
    series = sorted(map(str, run.glob("step-*")))
    table = measure_models(series, draws=40)
    assert table["step"].dropna().unique().tolist() == [3, 6, 12, 24]
    assert "slope of log norm" in set(table["quantity"])
    norms = table[table["quantity"] == "norm"]["value"].tolist()
    assert norms == pytest.approx(
        [float(load_file(f"{path}/model.safetensors")["fc.weight"].norm()) for path in series]
    )
    last = run / "step-000024"
    alone = measure_models([str(last)], features=str(last / "features.safetensors"), draws=40).set_index("quantity")
    log = pd.read_csv(run / "training.csv")
    assert alone.loc["accuracy", "value"] == pytest.approx(log["held_out_accuracy"].iloc[-1], abs=1e-6)  # 359 images
    with pytest.raises(SystemExit) as ended:
        evolm(["measure", "geometry", *series, "-p", "draws=40"])
    assert ended.value.code == 0
    assert "slope of log norm" in capsys.readouterr().out


def test_the_command_trains_a_language_model_on_a_file(
    gpt2: str, book: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    size = ("--length", 16, "--batch", 4, "--steps", 6, "--checkpoints", 2, "--device", "cpu", "--yes")
    command("text", run, "--model", gpt2, "--head", "harmonic", "--text", book, *size, "--dtype", "bfloat16")
    assert f"evolm measure geometry {run}/step-*" in capsys.readouterr().out
    table = measure_models(sorted(map(str, run.glob("step-*"))), rows=range(40), draws=40)
    assert table["step"].dropna().unique().tolist() == [3, 6]
    assert set(table["width"]) == {16}
    log = pd.read_csv(run / "training.csv")
    assert {"step", "loss", "accuracy", "grad_norm"} <= set(log)
    assert np.isfinite(log["loss"]).all()


def test_defaults_are_those_of_the_field(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpt2: str, book: str) -> None:
    asked: list[tuple[Any, OptimiserSettings]] = []

    def noted(model: Any, data: Any, settings: OptimiserSettings, **_: Any) -> Cost:
        asked.append((data, settings))
        return Cost(1, 1, 1.0)

    monkeypatch.setattr(backbones, "estimate", noted)
    command("digits", tmp_path / "a", "--width", 4)
    command("text", tmp_path / "b", "--model", gpt2, "--text", book, "--length", 16)
    (_, images), (text, language) = asked
    assert (images.optimiser, images.momentum, images.lr, images.schedule) == ("sgd", 0.9, 0.1, "cosine")
    assert images.clip is None
    assert images.steps == 30 * math.ceil(1797 / 128)
    assert images.warmup_steps == images.steps // 20
    assert (language.optimiser, language.lr, language.betas, language.weight_decay) == ("adamw", 6e-4, (0.9, 0.95), 0.1)
    assert (language.steps, language.clip, text.rows) == (10_000, 1.0, 8)


def test_short_names_of_cifar_are_hub_ids(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def load(name: str) -> ImageSet:
        asked.append(name)
        return colours()

    monkeypatch.setattr(backbones, "load_images", load)
    for name in ("cifar10", "cifar100", "somebody/pictures"):
        command(name, tmp_path / "x", "--model", "resnet-tiny", "--batch", 8, "--steps", 2)
    assert asked == ["uoft-cs/cifar10", "uoft-cs/cifar100", "somebody/pictures"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["digits", "--model", "resnet-51"], "there is no image model 'resnet-51' - did you mean 'resnet-50'?"),
        (["digits", "--head", "harmonik"], "there is no head 'harmonik' - did you mean 'harmonic'?"),
        (["digits", "--head", "harmonic", "--distance", "cosin"], "did you mean 'cosine'?"),
        (["digits", "--head", "harmonic", "--exponent", "-2"], "exponent is -2.0; expected a positive number"),
        (["digits", "--exponent", "2"], "an exponent is a harmonic head's, and this one is linear"),
        (["digits", "--head", "normalised", "--distance", "cosine"], "a normalised head has no distance"),
        (["digits", "--text", "book.txt"], "--text, --length and --pretrained are of text; leave them out"),
        (["digits", "--pretrained"], "--text, --length and --pretrained are of text; leave them out"),
        (["digits", "--steps", "0"], "--steps is 0: Input should be greater than 0"),
        (["digits", "--lr", "-1"], "--lr is -1.0: Input should be greater than 0"),
        (["digits", "--weight-decay", "-1"], "--weight-decay is -1.0"),
        (["digits", "--steps", "10", "--warmup", "10"], "warmup_steps=10 of 10 steps leaves none at the peak"),
        (["digits", "--batch", "0"], "batch = 0; expected 1 to"),
        (["digits", "--log-every", "0"], "--log-every and --checkpoints must be 1 or more"),
        (["digits", "--width", "0"], "--width is 0"),
        (["digits", "--seed", "-1"], "--seed is -1"),
        (["digit"], "there are no images called 'digit' - did you mean 'digits'?"),
        (["cifar10"], "the images uoft-cs/cifar10 are not on this machine"),
        (["text"], "the language model openai-community/gpt2 cannot be opened"),
        (["text", "--model", "no-such-folder"], "hf download no-such-folder --local-dir FOLDER"),
    ],
)
def test_what_makes_no_run_is_refused_in_a_sentence(words: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as refused:
        command(words[0], tmp_path / "run", *words[1:], "--device", "cpu")
    assert str(refused.value).startswith("error: ")
    assert said in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_there_a_gpu_that_is_not_and_rows_too_long_are_refused(tmp_path: Path, gpt2: str) -> None:
    with pytest.raises(SystemExit, match="exists; name another folder"):
        command("digits", tmp_path, "--device", "cpu")
    with pytest.raises(SystemExit, match=r"--length is 49, and .* has 48 positions"):
        command("text", tmp_path / "run", "--model", gpt2, "--length", 49, "--device", "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="torch sees no GPU here: say --device cpu"):
            command("digits", tmp_path / "run", "--device", "cuda")


def test_a_run_that_diverges_ends_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="error: the loss is nan by update"):
        command(
            "digits",
            tmp_path / "run",
            "--width",
            4,
            "--lr",
            1e25,
            "--steps",
            9,
            "--log-every",
            1,
            "--device",
            "cpu",
            "--yes",
        )


def test_an_interrupt_says_where_the_log_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backbones, "train", interrupted)
    with pytest.raises(SystemExit, match=r"interrupted; what was measured is in .*training\.csv"):
        command("digits", tmp_path / "run", "--width", 4, "--steps", 4, "--device", "cpu", "--yes")


def test_the_first_update_which_warms_up_is_not_in_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def update(*_: Any) -> tuple[torch.Tensor, None, None]:
        calls.append(1)
        return torch.zeros(()), None, None

    ticks = iter([0.0, 100.0, 100.0, 101.0, 101.0, 102.0, 102.0, 106.0])
    monkeypatch.setattr(backbone_training, "_update", update)
    monkeypatch.setattr(backbone_training.time, "perf_counter", lambda: next(ticks))
    cost = estimate(classifier("cnn", HeadChoice()), digits(), SGD)
    assert len(calls) == backbone_training.TIMED + 1
    assert cost.seconds_per_update == pytest.approx(2.0)
