"""A small language model on real text under several heads, until its held-out loss is below a trigram's.

    tables = trained(head, seed, Size(width=128, layers=3, steps=4000))      # "text", "text_training"

The model is transformers' Llama with tied embeddings, its linear head replaced by `evolm.heads.replace_head`: token
vectors stay the class vectors. Text, tokenizer and trigram are those of the stability-gap chapter's speeches.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from evolm.findings.harmonic_loss.replicas import Head
from evolm.findings.stability_gap.text_world import text_rows, text_stream, text_tokenizer
from evolm.heads.replace import replace_head
from evolm.instruments.geometry_measures import effective_rank, explained_variance
from evolm.lm.architecture import tiny_llama
from evolm.lm.ngram import NGram
from evolm.lm.optimise import OptimiserSettings, build_optimiser, set_lr
from evolm.lm.token_data import order

DOMAIN, LENGTH = "general", 64
ROWS = 16
#: Updates per row of the log, and per window in which the gradient norm's unsteadiness is taken.
LOGGED = 20
#: Spread of the first weights: the decoder's default is lost beside features of norm sqrt(width).
INIT_STD = 0.05
#: An update counts as a jump where its gradient norm is more than so many times the window's median.
JUMP = 2.0


class Size(NamedTuple):
    """Of a language model, and of its training in updates."""

    width: int
    layers: int
    steps: int


def trained(
    arm: str, head: Head, lr: float, seed: int, size: Size, *, test: bool = True, device: str = "cpu"
) -> dict[str, pd.DataFrame]:
    """Train one model; `test=False` measures on the validation part instead, to choose by.

    `text` is a row: held-out loss beside the trigram's, geometry of token vectors and features, and how unsteady the
    gradient norm is after warm-up. `text_training` has the loss and the gradient norm on the way.
    """
    steps = size.steps
    model = language_model(head, size.width, size.layers, seed).to(device)
    rows = text_rows(DOMAIN, "train", LENGTH).tokens.to(device)
    settings = OptimiserSettings(
        steps=steps, lr=lr, schedule="cosine", final_lr=0.1, warmup_steps=steps // 20, betas=(0.9, 0.95),
        weight_decay=0.1,
    )  # fmt: skip
    optimiser = build_optimiser(model, settings)
    log = []
    for step in range(steps):
        batch = rows[torch.from_numpy(order(len(rows), ROWS, step, seed))]
        loss = token_loss(model, batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip or float("inf"))
        set_lr(optimiser, settings.lr_at(step))
        optimiser.step()
        log.append((float(loss.detach()), float(norm)))
    losses, norms = np.array(log).T
    labels: dict[str, Any] = {"arm": arm, "seed": seed}
    part = "test" if test else "validation"
    row = {**labels, **_end(model, part), **steadiness(norms[settings.warmup_steps :])}
    return {"text": pd.DataFrame([row]), "text_training": _windows(losses, norms).assign(**labels)}


def language_model(head: Head, width: int, layers: int, seed: int) -> Any:
    """A Llama with this head, its token vectors tied to it."""
    shape = {"heads": 4, "hidden": 3 * width, "context": 2 * LENGTH}
    model = tiny_llama(len(text_tokenizer()), width, layers, **shape, init_std=INIT_STD, seed=seed)
    if head.form == "dot":
        return model
    if head.form == "harmonic":
        return replace_head(model, distance=head.distance, exponent=head.knob)
    raise ValueError(f"no language model is trained with the head {head.form!r}; expected 'dot' or 'harmonic'")


def token_loss(model: Any, tokens: Tensor) -> Tensor:
    """Mean loss of each row's tokens but the first, in nats."""
    logits = model(tokens[:, :-1], use_cache=False).logits.float()  # (row, token, vocabulary)
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def steadiness(norms: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    """How unsteady gradient norms (update,) are, whatever their scale and trend.

    `unsteadiness`: spread of log norms about their window's median. `jumps`: share of updates whose norm is more than
    twice that. The second paper counts clipped updates at a fixed bound, which a loss's scale decides.
    """
    count = len(norms) // LOGGED * LOGGED
    logs = np.log(norms[:count]).reshape(-1, LOGGED)
    about = logs - np.median(logs, axis=1, keepdims=True)
    return {"unsteadiness": float(np.sqrt((about**2).mean())), "jumps": float((about > np.log(JUMP)).mean())}


def _windows(losses: np.ndarray[Any, Any], norms: np.ndarray[Any, Any]) -> pd.DataFrame:
    count = len(losses) // LOGGED * LOGGED
    parts = [values[:count].reshape(-1, LOGGED).mean(1) for values in (losses, norms)]
    return pd.DataFrame({"step": LOGGED * np.arange(1, count // LOGGED + 1), "loss": parts[0], "grad_norm": parts[1]})


@torch.no_grad()
def _end(model: Any, part: Any) -> dict[str, float]:
    """Held-out loss and the trigram's, and the geometry of token vectors and of held-out features."""
    device = next(model.parameters()).device
    rows = text_rows(DOMAIN, part, LENGTH)
    blocks = rows.tokens.to(device).split(64)
    nats = sum(float(token_loss(model, block)) * len(block) for block in blocks) / len(rows)
    features = model.model(blocks[0], use_cache=False).last_hidden_state.flatten(0, 1)  # (token, width)
    vectors = model.get_input_embeddings().weight
    return {
        "nats": nats,
        "trigram": _trigram(part),
        "vector_rank": float(effective_rank(vectors).entropy),
        "feature_rank": float(effective_rank(features).entropy),
        "vector_ev10": float(explained_variance(vectors, k=10)),
        "feature_ev10": float(explained_variance(features, k=10)),
        "vector_norm": float(vectors.square().sum().sqrt()),
    }


@lru_cache
def _trigram(part: Any) -> float:
    """Nats per token of an interpolated trigram of the training text, its discounts fitted on the validation part."""
    validation = text_rows(DOMAIN, "validation", LENGTH)
    trigram = NGram.count(text_stream(DOMAIN, "train"), len(text_tokenizer())).fitted(validation.tokens)
    rows = text_rows(DOMAIN, part, LENGTH)
    return float(trigram.nats_per_token(rows.tokens, rows.mask))
