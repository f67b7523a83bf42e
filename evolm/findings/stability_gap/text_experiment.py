"""The experiment on real text: a small Llama pre-trained on speeches and a little medicine, then continued on medicine.

Tables: `text_base`, the base's held-out loss and probes beside a trigram's; `text_curve`, cloze accuracy by half;
`text_losses`, loss on held-out text.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel

from evolm.findings.stability_gap.arms import BETAS, DECAY
from evolm.findings.stability_gap.corpora import as_data
from evolm.findings.stability_gap.probes import loss, measured_steps
from evolm.findings.stability_gap.text_probes import Probes, cloze_probes, marks, model_logprobs
from evolm.findings.stability_gap.text_world import DOMAINS, text_rows, text_stream, text_tokenizer
from evolm.lm.architecture import tiny_llama
from evolm.lm.ngram import NGram
from evolm.lm.token_data import TokenData
from evolm.lm.train import TrainSettings, train_on_tokens

if TYPE_CHECKING:
    from evolm.findings.stability_gap.parameters import StabilityGapParams

Tables = dict[str, pd.DataFrame]
#: What is read in continued pre-training: share of medical rows, and of how many times the rate. The rest is general.
TEXT_ARMS: dict[str, tuple[float, float]] = {
    "baseline": (1.0, 1.0), "null": (0.0, 1.0), "replay": (0.92, 1.0), "low rate": (1.0, 0.1),
}  # fmt: skip
LENGTH = 64
#: One row in so many of the medical text is in pre-training, as the paper's bases had read some; the others come later.
KNOWN = 3
CONTEXT, HELD_OUT = 64, 128
PRETRAIN_ROWS = 16
SPACING = 0.3


def run_text(params: StabilityGapParams, seed: int, device: str) -> Tables:
    """Pre-train, continue in every arm, measure. A seed redraws initialisation, order and probes; the text is one."""
    bench = TextBench(params, seed)
    base = pretrained(params, seed, device)
    found: dict[str, list[pd.DataFrame]] = {
        "text_base": [bench.beside_trigram(base)],
        "text_curve": [],
        "text_losses": [],
    }

    def measure(arm: str, step: int, model: PreTrainedModel) -> None:
        found["text_curve"].append(bench.accuracy(model).assign(arm=arm, step=step))
        found["text_losses"].append(bench.losses(model).assign(arm=arm, step=step))

    steps = measured_steps(params.text_steps, SPACING)
    for name in TEXT_ARMS:
        measure(name, 0, base)
        for step, model in continued(name, params, base, seed):
            if step in steps:
                measure(name, step, model)
    return {name: pd.concat(frames, ignore_index=True).assign(seed=seed) for name, frames in found.items()}


def pretrained(params: StabilityGapParams, seed: int, device: str) -> PreTrainedModel:
    """The base of a seed: all speeches of the training part and every `KNOWN`th medical row, over and over."""
    model = tiny_llama(
        len(text_tokenizer()),
        params.text_width,
        params.text_layers,
        heads=4,
        hidden=3 * params.text_width,
        context=2 * CONTEXT,
        seed=seed,
    )
    model.to(device)  # type: ignore[arg-type]
    data = as_data(torch.cat([_rows("general"), _medical(known=True)]))
    settings = _settings(params.text_pretrain_rate, params.text_pretrain_steps, PRETRAIN_ROWS, seed)
    warmup = params.text_pretrain_steps // 20
    for _ in train_on_tokens(
        model, data, settings.model_copy(update={"warmup_steps": warmup, "checkpoint_every": 0}), progress=False
    ):
        pass
    return model


def continued(
    arm: str, params: StabilityGapParams, base: PreTrainedModel, seed: int
) -> Iterator[tuple[int, PreTrainedModel]]:
    """Continue a copy of the base in one arm, yielding after every update."""
    model = copy.deepcopy(base)
    settings = _settings(params.text_rate * TEXT_ARMS[arm][1], params.text_steps, params.text_batch, seed)
    settings = settings.model_copy(update={"warmup_steps": params.warmup})
    for snapshot in train_on_tokens(model, read_by(arm, params, seed), settings, progress=False):
        yield snapshot.step, model


def read_by(arm: str, params: StabilityGapParams, seed: int) -> TokenData:
    """What an arm reads: medical rows that pre-training had not, and general rows that it had."""
    rng = np.random.default_rng([seed, 7])
    rows = params.text_steps * params.text_batch
    medical = round(TEXT_ARMS[arm][0] * rows)
    drawn = [_endless(_medical(known=False), medical, rng), _endless(_rows("general"), rows - medical, rng)]
    return as_data(torch.cat(drawn)[torch.from_numpy(rng.permutation(rows))])


class TextBench:
    """Cloze probes in two halves and held-out rows of both kinds of text, from test documents."""

    def __init__(self, params: StabilityGapParams, seed: int) -> None:
        count = params.text_probes
        self.probes = {domain: cloze_probes(domain, count, context=CONTEXT, seed=seed) for domain in DOMAINS}
        rng = np.random.default_rng([seed, 8])
        self.halves = {domain: rng.permutation(count) % 2 for domain in DOMAINS}
        self.texts = {domain: _held_out(domain) for domain in DOMAINS}

    def accuracy(self, model: PreTrainedModel) -> pd.DataFrame:
        """probe, half, items, accuracy: the share of probes whose right word has the highest mean log probability."""
        found = {domain: marks(probes, model_logprobs(probes, model)) for domain, probes in self.probes.items()}
        return pd.DataFrame(row for domain, right in found.items() for row in self._by_half(domain, right))

    def _by_half(self, domain: str, right: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
        parts = [right[self.halves[domain] == half] for half in (0, 1)]
        return [
            {"probe": domain, "half": half, "items": len(part), "accuracy": part.mean()}
            for half, part in enumerate(parts)
        ]

    @torch.no_grad()
    def losses(self, model: PreTrainedModel) -> pd.DataFrame:
        """text, nats: mean loss per token on held-out rows."""
        return pd.DataFrame({"text": domain, "nats": float(loss(model, rows))} for domain, rows in self.texts.items())

    def beside_trigram(self, model: PreTrainedModel) -> pd.DataFrame:
        """text, reader, nats, accuracy: base and interpolated trigram on all of the test text and on the probes."""
        found = []
        for domain, probes in self.probes.items():
            trigram = _trigram(domain)
            test = text_rows(domain, "test", LENGTH)
            nats = {"trigram": trigram.nats_per_token(test.tokens, test.mask), "base": held_out_loss(model, test)}
            right = {"trigram": _trigram_marks(probes, trigram), "base": marks(probes, model_logprobs(probes, model))}
            found += [
                {"text": domain, "reader": who, "nats": nats[who], "accuracy": float(right[who].mean())} for who in nats
            ]
        return pd.DataFrame(found)


def _trigram(domain: str) -> NGram:
    """A trigram of a domain's training text, all of it; its discounts fitted on the validation part."""
    validation = text_rows(domain, "validation", LENGTH)
    return NGram.count(text_stream(domain, "train"), len(text_tokenizer())).fitted(validation.tokens)


def _trigram_marks(probes: Probes, trigram: NGram) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return marks(probes, trigram.logprobs(probes.rows))


@torch.no_grad()
def held_out_loss(model: PreTrainedModel, data: TokenData) -> float:
    """Mean loss over all rows, in nats per token."""
    parts = data.tokens.split(HELD_OUT)
    return float(sum(loss(model, rows) * len(rows) for rows in parts) / len(data.tokens))


def _held_out(domain: str) -> torch.Tensor:
    """Rows spread over a domain's test text."""
    rows = text_rows(domain, "test", LENGTH).tokens
    return rows[np.linspace(0, len(rows) - 1, min(HELD_OUT, len(rows))).round().astype(int)]


def _rows(domain: str) -> torch.Tensor:
    return text_rows(domain, "train", LENGTH).tokens


def _medical(*, known: bool) -> torch.Tensor:
    rows = _rows("medical")
    return rows[(torch.arange(len(rows)) % KNOWN == 0) == known]


def _endless(rows: torch.Tensor, count: int, rng: np.random.Generator) -> torch.Tensor:
    """`count` rows, every one once before any comes again."""
    passes = [rng.permutation(len(rows)) for _ in range(-(-count // len(rows)))]
    return rows[torch.from_numpy(np.concatenate([*passes, np.empty(0, np.int64)])[:count].astype(np.int64))]


def _settings(rate: float, steps: int, batch: int, seed: int) -> TrainSettings:
    return TrainSettings(
        steps=steps,
        batch_size=batch,
        lr=rate,
        schedule="cosine",
        final_lr=0.1,
        betas=BETAS,
        weight_decay=DECAY,
        dtype="bfloat16",
        checkpoint_every=1,
        seed=seed,
    )
