"""A causal language model with its tokenizer, by name, and how likely it finds completions.

model = open_model("smollm2-135m")                       # or a folder, or a hub id
perplexities(model, prompts, completions)                # (problems,), medians over each problem's completions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from evolm.lm.forward import Decoder, decoder_for
from evolm.lm.memory import fitting
from evolm.lm.passk import Array

#: Logits (rows x vocabulary) that one step may hold, and how many such steps are scored at once.
LOGITS = {"cpu": 2**24, "cuda": 2**28}
SCORED_AT_ONCE = 4


@dataclass(frozen=True)
class OpenModel:
    """A model and its tokenizer, by the name it was asked for."""

    name: str
    decoder: Decoder
    tokenizer: Any


def open_model(name: str, device: str | None = None) -> OpenModel:
    """A causal language model from a folder, an asset or a hub id. Raises ValueError where there is none."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from evolm import assets

    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    known = not Path(name).exists() and name in assets.registry()
    source = assets.path(name) if known else name
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        # Half precision costs accuracy and saves no time on a CPU.
        dtype = torch.float32 if place == "cpu" else "auto"
        model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{name} cannot be opened as a language model ({reason}); give a folder with a model and its tokenizer, an "
            "asset (`evolm assets`), or a hub id that this machine can reach"
        ) from None
    return OpenModel(name, decoder_for(model.to(place).eval()), tokenizer)


def same_vocabulary(one: Any, other: Any) -> bool:
    """Whether two tokenizers give the same tokens the same ids, so that one model can read the other's output."""
    return bool(one.get_vocab() == other.get_vocab())


@torch.inference_mode()
def perplexities(
    model: OpenModel, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[list[int]]]
) -> Array:
    """Median over each problem's completions of exp(-mean log p(token | prompt, tokens before)): (problems,).

    `completions` are token ids, (problems, some, time), EOS included; the model is taken at temperature 1.
    """
    values = []
    for prompt, texts in zip(tqdm(prompts, desc=f"scored by {model.name}", disable=None), completions, strict=True):
        longest = max(map(len, texts))
        room = max(1, SCORED_AT_ONCE * logits_room(model) // (longest * model.decoder.vocab_size))
        found: list[float] = []
        while len(found) < len(texts):
            part = texts[len(found) :]
            scores, room = fitting(partial(_scores, model, prompt, part), room)
            found += scores
        values.append(float(np.median(found)))
    return np.array(values)


def _scores(model: OpenModel, prompt: Sequence[int], completions: Sequence[list[int]], most: int) -> list[float]:
    """Perplexities of the first `most` completions."""
    completions = completions[:most]
    longest = max(map(len, completions))
    rows = [[*prompt, *text, *[0] * (longest - len(text))] for text in completions]
    tokens = torch.tensor(rows, device=model.decoder.device)  # (rows, time), padded on the right
    logits = model.decoder.logits(tokens, start=len(prompt) - 1, group=len(rows))[:, :-1]  # (rows, longest, vocab)
    target = tokens[:, len(prompt) :]
    surprise = torch.nn.functional.cross_entropy(logits.transpose(1, 2), target, reduction="none")  # (rows, longest)
    lengths = torch.tensor([len(text) for text in completions], device=tokens.device)
    inside = torch.arange(longest, device=tokens.device) < lengths[:, None]
    mean = torch.where(inside, surprise, 0.0).sum(1) / lengths
    return [float(value) for value in mean.exp()]


def logits_room(model: OpenModel) -> int:
    """How many logits one step may hold where the model is."""
    return LOGITS.get(torch.device(model.decoder.device).type, LOGITS["cpu"])
