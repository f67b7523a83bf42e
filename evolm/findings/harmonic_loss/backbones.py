"""Trains image classifiers and language models at the papers' scale under a head of your choice. For a GPU.

    python -m evolm.findings.harmonic_loss.backbones cifar10 runs/cosine --model resnet-50 --head harmonic \\
        --distance cosine --exponent 22 --yes
    python -m evolm.findings.harmonic_loss.backbones text runs/gpt2 --model openai-community/gpt2 --head harmonic \\
        --text book.txt --yes
    evolm measure geometry runs/cosine/step-*

The first word is a set of images ("cifar10", "cifar100", "digits", "mnist", a folder of parquet files or a hub id) or
"text"; the second a folder for log and checkpoints. What a run costs is printed first, from a few timed updates;
without `--yes` that is all. Defaults are the usual ones of cross-entropy: SGD with momentum and a cosine for images (He
et al. 2016), AdamW for text. Another head wants a rate of its own: `--held-out validation` is for choosing it. No
chapter or record uses this module.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import ValidationError

from evolm.assets import MissingAsset
from evolm.findings.harmonic_loss.backbone_data import OWN_TEXT, Data, Images, Text
from evolm.findings.harmonic_loss.backbone_models import (
    CNN,
    RESNETS,
    HeadChoice,
    Kind,
    described,
    image_model,
    language_model,
)
from evolm.findings.harmonic_loss.backbone_training import FEATURES, LOG, Output, checkpoint_steps, estimate, train
from evolm.heads.distances import DISTANCES
from evolm.images import load_images
from evolm.lm.optimise import OptimiserSettings
from evolm.lm.train import TrainingDiverged

TEXT = "text"
SHORT = {"cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100"}
#: What is meant where nothing is said, for images and for text.
IMAGE_DEFAULTS = {"model": CNN, "batch": 128, "lr": 0.1, "weight_decay": 5e-4}
TEXT_DEFAULTS = {"model": "openai-community/gpt2", "batch": 8, "lr": 6e-4, "weight_decay": 0.1}
EPOCHS, STEPS, LENGTH = 30, 10_000, 1024


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = found.add_argument
    add("data", help="cifar10, cifar100, digits, mnist, a folder of parquet files, a hub id of images, or text")
    add("out", type=Path, help="new folder to write log and checkpoints to")
    add("--model", help=f"{CNN}, {', '.join(RESNETS)}; of text a folder, an asset or a hub id")
    add("--head", default="linear", help=f"{', '.join(get_args(Kind))}")
    add("--distance", help=f"of harmonic and softmax heads: {', '.join(DISTANCES)}")
    add("--exponent", type=float, help="of harmonic heads, that of the distance; default the root of the width")
    add("--steps", type=int, help=f"updates; default {EPOCHS} passes over images, {STEPS:,} on text")
    add("--batch", type=int, help="images or rows per update")
    add("--lr", type=float, help="peak learning rate")
    add("--weight-decay", type=float, help="of matrices, not of norms' gains")
    add("--warmup", type=int, default=None, help="updates over which the rate rises; default 5 %%")
    add("--held-out", choices=["test", "validation"], default="test", help="images that are measured on")
    add("--width", type=int, default=64, help=f"of the first stage of a {CNN}")
    add("--text", help=f"a UTF-8 file, or {OWN_TEXT}, the project's own (default)")
    add("--length", type=int, help=f"tokens of a row; default {LENGTH}")
    add("--pretrained", action="store_true", help="of text: begin from the model's own weights, not from random ones")
    add("--dtype", choices=["float32", "bfloat16"], default="float32", help="bfloat16 is autocast")
    add("--device", help="cuda, cuda:1 or cpu; found where left out")
    add("--seed", type=int, default=0)
    add("--log-every", type=int, default=50, help="updates per row of the log")
    add("--checkpoints", type=int, default=8, help="how many are kept, each at half the updates of the next")
    add("--yes", action="store_true", help="go on after the cost is printed")
    return found


def run(told: argparse.Namespace) -> None:
    """Print the cost, and with `yes` train. Raises ValueError or `MissingAsset` before anything is trained."""
    device = told.device or ("cuda" if torch.cuda.is_available() else "cpu")
    _check(told, device)
    head = HeadChoice(told.head, told.distance, told.exponent)
    model, data, settings, output = (_text if told.data == TEXT else _images)(told, head, device)
    model.to(device)
    bfloat16 = told.dtype == "bfloat16"
    kept = len(checkpoint_steps(settings.steps, told.checkpoints))
    print(f"{told.model} with a {told.head} head on {told.data}, {device}", flush=True)
    print(f"{estimate(model, data, settings, bfloat16=bfloat16)}, and {kept} checkpoints in {told.out}", flush=True)
    if not told.yes:
        print("nothing was trained; say --yes to go on")
        return
    log = train(model, data, settings, output, seed=told.seed, bfloat16=bfloat16)
    print(log.dropna().to_string(index=False, float_format="%.4f"))
    print(f"evolm measure geometry {told.out}/step-*")
    last = told.out / f"step-{settings.steps:06d}"
    if (last / FEATURES).exists():
        print(f"evolm measure geometry {last} -p features={last / FEATURES}")


def _check(told: argparse.Namespace, device: str) -> None:
    """Raises ValueError for options that make no run, before anything is loaded."""
    of_text = told.text is not None or told.length is not None or told.pretrained
    wrong = [
        (of_text and told.data != TEXT, "--text, --length and --pretrained are of text; leave them out"),
        ("cuda" in device and not torch.cuda.is_available(), "torch sees no GPU here: say --device cpu"),
        (told.log_every < 1 or told.checkpoints < 1, "--log-every and --checkpoints must be 1 or more"),
        (told.width < 1, f"--width is {told.width}; expected 1 or more"),
        (told.seed < 0, f"--seed is {told.seed}; expected 0 or more"),
        (told.out.exists(), f"{told.out} exists; name another folder to write to"),
    ]
    if found := next((message for bad, message in wrong if bad), None):
        raise ValueError(found)


def _images(told: argparse.Namespace, head: HeadChoice, device: str) -> tuple[Any, Data, OptimiserSettings, Output]:
    _fill(told, IMAGE_DEFAULTS)
    images = load_images(SHORT.get(told.data, told.data))
    data = Images(images, seed=told.seed, batch=told.batch, held_out=told.held_out, device=device)
    _, channels, side, _ = images.images.shape
    size = {"classes": len(images.classes), "channels": channels, "side": side, "width": told.width}
    model = image_model(told.model, head=head, seed=told.seed, **size)
    epoch = -(-(len(images.labels) - images.test_count) // told.batch)
    steps = EPOCHS * epoch if told.steps is None else told.steps
    settings = _settings(told, steps, optimiser="sgd", momentum=0.9, clip=None)
    described_run = described(head, image_model=told.model, size=size, images=images.name, seed=told.seed)
    return model, data, settings, Output(told.out, described_run, None, told.log_every, told.checkpoints)


def _text(told: argparse.Namespace, head: HeadChoice, device: str) -> tuple[Any, Data, OptimiserSettings, Output]:
    _fill(told, TEXT_DEFAULTS | {"text": OWN_TEXT, "length": LENGTH})
    model, tokenizer = language_model(told.model, head, seed=told.seed, pretrained=told.pretrained)
    most = getattr(model.config, "max_position_embeddings", None) or told.length
    if told.length > most:
        raise ValueError(f"--length is {told.length}, and {told.model} has {most} positions; give a shorter one")
    data = Text.of(told.text, tokenizer, length=told.length, batch=told.batch, seed=told.seed, device=device)
    settings = _settings(told, STEPS if told.steps is None else told.steps, betas=(0.9, 0.95))
    described_run = described(head, language_model=told.model, text=told.text, seed=told.seed)
    return model, data, settings, Output(told.out, described_run, tokenizer, told.log_every, told.checkpoints)


def _settings(told: argparse.Namespace, steps: int, **more: Any) -> OptimiserSettings:
    warmup = max(0, steps // 20) if told.warmup is None else told.warmup
    try:
        return OptimiserSettings(
            steps=steps, lr=told.lr, schedule="cosine", warmup_steps=warmup, weight_decay=told.weight_decay, **more
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"--{part} is {first['input']}: " for part in first["loc"]).replace("_", "-")
        raise ValueError(where + first["msg"].removeprefix("Value error, ")) from None


def _fill(told: argparse.Namespace, defaults: dict[str, Any]) -> None:
    for name, value in defaults.items():
        if getattr(told, name) is None:
            setattr(told, name, value)


def main(arguments: Sequence[str] | None = None) -> None:
    told = parser().parse_args(arguments)
    try:
        run(told)
    except KeyboardInterrupt:
        raise SystemExit(f"interrupted; what was measured is in {told.out / LOG}") from None
    except (ValueError, OSError, MissingAsset, TrainingDiverged) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
