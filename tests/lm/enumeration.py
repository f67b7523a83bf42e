"""The law of a model's completions, by transformers' forward over every prefix, and a test of counts against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from scipy import stats

from evolm.lm.completions import Samples, Sampling

Completion = tuple[int, ...]
EOS, PAD = 2, 0


class Narrow:
    """A decoder that runs out of memory above `limit` rows, and notes how many rows each call had."""

    def __init__(self, decoder: Any, limit: int = 10**9) -> None:
        self.decoder, self.limit = decoder, limit
        self.prefilled: list[int] = []
        self.stepped: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.decoder, name)

    def prefill(self, tokens: torch.Tensor, cache: Any, padding: torch.Tensor | None = None) -> torch.Tensor:
        self.prefilled.append(len(tokens))
        return self.decoder.prefill(tokens, cache, padding)

    def step(self, tokens: torch.Tensor, cache: Any) -> torch.Tensor:
        if len(tokens) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory, says the test")
        self.stepped.append(len(tokens))
        return self.decoder.step(tokens, cache)


@torch.no_grad()
def reference_logprobs(model: Any, samples: Samples, prompts: list[list[int]], sampling: Sampling) -> torch.Tensor:
    """Log-probability of each sampled token by transformers' forward, each row alone, without padding or cache."""
    found = torch.zeros_like(samples.logprobs)
    for row, (owner, length) in enumerate(zip(samples.prompt.tolist(), samples.lengths.tolist(), strict=True)):
        prompt, completion = prompts[owner], samples.tokens[row, :length]
        logits = model(torch.cat([torch.tensor(prompt), completion])[None]).logits[0, len(prompt) - 1 : -1]
        found[row, :length] = sampling.logprobs(logits).gather(1, completion[:, None])[:, 0]
    return found


@torch.no_grad()
def next_probabilities(model: Any, tokens: list[int], temperature: float = 1.0, top_p: float = 1.0) -> list[float]:
    """Next-token probabilities after one sequence, with the nucleus written out."""
    p = (model(torch.tensor([tokens])).logits[0, -1].double() / temperature).softmax(0).tolist()
    kept: set[int] = set()
    for token in sorted(range(len(p)), key=lambda token: -p[token]):
        if sum(p[k] for k in kept) >= top_p:
            break
        kept.add(token)
    mass = sum(p[k] for k in kept)
    return [p[token] / mass if token in kept else 0.0 for token in range(len(p))]


def completion_law(model: Any, prompt: list[int], steps: int, **settings: float) -> dict[Completion, float]:
    """Probability of every completion of up to `steps` tokens, ended by EOS or by its length."""
    law: dict[Completion, float] = {}
    growing: dict[Completion, float] = {(): 1.0}
    for step in range(steps):
        longer: dict[Completion, float] = {}
        for completion, probability in growing.items():
            for token, p in enumerate(next_probabilities(model, [*prompt, *completion], **settings)):
                done = token == EOS or step + 1 == steps
                if p > 0:
                    (law if done else longer)[(*completion, token)] = probability * p
        growing = longer
    return law


def completion_counts(samples: Samples, prompt: int = 0) -> Counter[Completion]:
    """How many of a prompt's samples are each completion."""
    counts: Counter[Completion] = Counter()
    for tokens, length, owner, count in zip(
        samples.tokens.tolist(), samples.lengths.tolist(), samples.prompt.tolist(), samples.count.tolist(), strict=True
    ):
        if owner == prompt:
            counts[tuple(tokens[:length])] += count
    return counts


def fit(counts: Mapping[Any, int], law: Mapping[Any, float]) -> float:
    """p-value of a chi-square test that `counts` are drawn from `law`; cells expected below 5 are taken together."""
    assert set(counts) <= set(law), "an outcome of probability 0"
    total = sum(counts.values())
    large = [outcome for outcome, p in law.items() if total * p >= 5]
    observed = [counts.get(outcome, 0) for outcome in large]
    expected = [total * law[outcome] for outcome in large]
    if (rest := total - sum(expected)) >= 5:
        observed.append(total - sum(observed))
        expected.append(rest)
    scale = sum(observed) / sum(expected)
    return float(stats.chisquare(observed, [scale * cell for cell in expected]).pvalue)
