"""Models at the papers' scale with another head: image classifiers and causal language models.

    head = HeadChoice("harmonic", "cosine", 22.0)
    model = image_model("resnet-50", classes=10, channels=3, side=32, head=head, seed=0)
    model, tokenizer = language_model("openai-community/gpt2", HeadChoice("harmonic"), seed=0)
    model = reopened("runs/harmonic/step-000100")            # any checkpoint that `keep` wrote

Heads are those of `evolm.heads` in place of the model's linear one; "linear" leaves it as it is. ResNets are those of
transformers with random weights. Checkpoints hold `model.safetensors` and `run.json`, which says how to build the
model again; language models are also plain `save_pretrained` folders.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, ResNetConfig, ResNetForImageClassification

from evolm import assets
from evolm.finding import nearest
from evolm.heads.head import DistanceHead, NormalisedLinear
from evolm.heads.replace import replace_head, restore_head

Kind = Literal["linear", "harmonic", "softmax", "normalised"]
WEIGHTS, RUN = "model.safetensors", "run.json"
#: He et al. (2016), table 1: what differs between the depths.
RESNETS: dict[str, dict[str, Any]] = {
    "resnet-18": {"hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"},
    "resnet-34": {"hidden_sizes": [64, 128, 256, 512], "depths": [3, 4, 6, 3], "layer_type": "basic"},
    "resnet-50": {"hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3], "layer_type": "bottleneck"},
}
CNN = "cnn"
#: Images of fewer pixels a side lose too much in the stem made for 224: they get one of 3 x 3, as is usual on CIFAR.
SMALL_SIDE = 64


@dataclass(frozen=True)
class HeadChoice:
    """The head in a model's last place. `exponent` (of harmonic heads) None is the square root of the width.

    `distance` is that of harmonic and softmax heads. Raises ValueError for a kind there is not, and for settings that
    the kind has no use for.
    """

    kind: Kind = "linear"
    distance: str | None = None
    exponent: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"there is no head {self.kind!r}{nearest(self.kind, get_args(Kind))}")
        if self.exponent is not None and self.kind != "harmonic":
            raise ValueError(f"an exponent is a harmonic head's, and this one is {self.kind}; leave the exponent out")
        if self.distance is not None and self.kind in ("linear", "normalised"):
            raise ValueError(f"a {self.kind} head has no distance; leave it out, or choose harmonic or softmax")

    def put_on(self, model: nn.Module) -> nn.Module:
        """`model`, changed in place. Raises ValueError for a distance there is not and an exponent that is none."""
        if self.kind == "linear":
            return model
        if self.kind == "normalised":
            return replace_head(model, kind="normalised")
        how = {} if self.exponent is None else {"exponent": self.exponent}
        return replace_head(model, distance=self.distance or "euclidean", form=self.kind, **how)  # type: ignore[arg-type]


class ConvNet(nn.Module):
    """Three stages of two 3 x 3 convolutions with batch norm, halving the side between; logits of the mean over pixels.

    Images (n, channels, side, side) to logits (n, classes); the stages are `width`, 2 and 4 times that wide.
    """

    def __init__(self, channels: int, classes: int, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for stage in (width, 2 * width, 4 * width):
            for _ in range(2):
                layers += [nn.Conv2d(before, stage, 3, padding=1, bias=False), nn.BatchNorm2d(stage), nn.ReLU()]
                before = stage
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-1])  # nothing is halved behind the last stage
        self.fc = nn.Linear(before, classes)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.features(images).mean((2, 3))  # (n, 4 width)
        logits: Tensor = self.fc(pooled)
        return logits


def image_model(
    name: str, *, classes: int, channels: int, side: int, head: HeadChoice, seed: int, width: int = 64
) -> nn.Module:
    """A classifier of `side` x `side` images with weights drawn from `seed`: "cnn" or one of `RESNETS`.

    `width` is that of the first stage of a "cnn". Raises ValueError for a name there is not, and what the head raises.
    """
    if name not in (CNN, *RESNETS):
        raise ValueError(f"there is no image model {name!r}{nearest(name, (CNN, *RESNETS))}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if name == CNN:
            return head.put_on(ConvNet(channels, classes, width))
        config = ResNetConfig(num_channels=channels, num_labels=classes, **RESNETS[name])  # type: ignore[call-arg]
        model = ResNetForImageClassification(config)
        if side < SMALL_SIDE:
            stem: Any = model.resnet.embedder
            stem.embedder.convolution = nn.Conv2d(channels, config.embedding_size, 3, padding=1, bias=False)
            stem.pooler = nn.Identity()
        return head.put_on(model)


def language_model(name: str, head: HeadChoice, *, seed: int, pretrained: bool = False) -> tuple[Any, Any]:
    """A causal language model in the shape of `name` (folder, asset or hub id), and that name's tokenizer.

    Weights are drawn from `seed`, or with `pretrained` those of `name` (safetensors). Raises ValueError where the model
    is not to be had, saying how to get it, and what the head raises.
    """
    source: Any = assets.path(name) if not Path(name).exists() and name in assets.registry() else name
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        if pretrained:
            model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, use_safetensors=True)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source), dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(
            f"the language model {name} cannot be opened ({reason}). Where there is a network, run: hf download {name} "
            "--local-dir FOLDER - then give FOLDER as --model; its config and tokenizer suffice unless it is pretrained"
        ) from None
    return head.put_on(model), tokenizer


def logits_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """Logits (..., classes), float32, of images (n, channels, side, side) or of tokens (n, time)."""
    found = model(inputs)
    logits: Tensor = getattr(found, "logits", found)
    return logits.float()


def head_of(model: nn.Module) -> nn.Module:
    """The layer whose outputs are the logits."""
    own = getattr(model, "get_output_embeddings", lambda: None)()
    layers = [own] if own is not None else list(model.modules())
    return [layer for layer in layers if isinstance(layer, (nn.Linear, DistanceHead, NormalisedLinear))][-1]


def keep(folder: Path, model: nn.Module, run: dict[str, Any], tokenizer: Any = None) -> Path:
    """Write a checkpoint; `run` holds what `reopened` builds the model from. Written beside its place and renamed."""
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}")
    temporary.mkdir(parents=True)
    try:
        if tokenizer is None:
            save_model(model, str(temporary / WEIGHTS))
        else:
            model.save_pretrained(temporary)  # type: ignore[operator]
            tokenizer.save_pretrained(temporary)
        (temporary / RUN).write_text(json.dumps(run, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def described(head: HeadChoice, **more: Any) -> dict[str, Any]:
    """What `keep` writes down and `reopened` reads: the head, and "name" and sizes of an image model."""
    return {"head": asdict(head), **more}


def reopened(folder: str | Path) -> Any:
    """The model of a checkpoint that `keep` wrote, in eval mode. Raises ValueError where there is none."""
    folder = Path(folder)
    if not (folder / RUN).is_file():
        raise ValueError(f"{folder} holds no {RUN}; expected a checkpoint of evolm.findings.harmonic_loss.backbones")
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    head = HeadChoice(**run["head"])
    if "image_model" in run:
        model = image_model(run["image_model"], head=head, seed=0, **run["size"])
        load_model(model, str(folder / WEIGHTS))
        return model.eval()
    opened = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    return (opened if head.kind == "linear" else restore_head(opened, folder)).eval()


def loss_and_hits(model: nn.Module, inputs: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy in nats, and the share of `answers` (n,) or (n, time) that are the first choice."""
    logits = logits_of(model, inputs).flatten(0, -2)  # (answer, class)
    wanted = answers.flatten()
    return F.cross_entropy(logits, wanted), (logits.detach().argmax(-1) == wanted).float().mean()
