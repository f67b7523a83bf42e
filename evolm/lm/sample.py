"""Sampling completions from a language model: one call, several ways.

    samples = sample(model, prompts, n=8, max_new_tokens=16, eos=2, pad=0, seed=0)
    samples.tokens, samples.logprobs                 # (rows, T): rows 0 to 7 answer prompts[0]
    sample(model, prompts, n=1024, ...).expand(seed=1)                 # one row per sample again

Lock-step rows suit few samples of many prompts; a tree of shared prefixes suits many samples of each prompt, and
gives distinct completions with a `count`. Both draw from exactly the model's distribution, independently; "auto"
starts a tree for `TREE_FROM` samples or more, and goes on in lock-step wherever the samples have little in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from evolm.lm.completions import Samples, Sampling, check_lengths, check_prompts
from evolm.lm.forward import Decoder, decoder_for
from evolm.lm.lockstep import sample_lockstep
from evolm.lm.tree import sample_tree
from evolm.lm.vllm_backend import sample_vllm

__all__ = ["Samples", "sample"]

METHODS = ("auto", "lockstep", "tree", "vllm")
#: Samples per prompt from which "auto" grows a tree. Below, even a sure model leaves batches too small to fill a core.
TREE_FROM = 64
#: Rows per batch unless told. On a CPU products are at full speed from 128 rows; what lies between them leaves the
#: processor's cache above 512, which slows the smallest models by a third.
MAX_ROWS = {"cpu": 512, "cuda": 16384}


@torch.no_grad()
def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    n: int,
    *,
    max_new_tokens: int,
    eos: int | None,
    pad: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int,
    method: Literal["auto", "lockstep", "tree", "vllm"] = "auto",
    max_rows: int | None = None,
) -> Samples:
    """n independent samples of a completion of each prompt, given as token ids.

    model: a transformers causal language model or a `Decoder` of it; for "vllm" its name or folder, or a `vllm.LLM`.
    A completion ends with `eos` (None: never) or after `max_new_tokens`. `temperature` 0 is greedy decoding, whose
    log-probabilities are those at temperature 1; all others are those of the distribution sampled from, after
    `temperature` and `top_p`. The result is a function of the arguments: for lock-step `max_rows`, the largest
    batch, only matters to rounding. When memory runs out the batch is halved, with a warning.

    Raises ValueError, in a sentence, for no or empty prompts, token ids the model does not have, prompts that with
    `max_new_tokens` exceed its context, and settings outside their range.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    if max_rows is not None and max_rows < 1:
        raise ValueError(f"max_rows is {max_rows}; expected at least 1")
    sampling = Sampling(max_new_tokens, eos, pad, temperature, top_p)
    check_prompts(prompts, n)
    if method == "vllm":
        return sample_vllm(model, prompts, n, sampling, seed=seed)
    decoder: Decoder = model if hasattr(model, "prefill") else decoder_for(model)
    check_prompts(prompts, n, decoder.vocab_size)
    check_lengths(prompts, max_new_tokens, decoder.max_length)
    rows = max_rows or MAX_ROWS.get(torch.device(decoder.device).type, MAX_ROWS["cpu"])
    if method == "lockstep" or (method == "auto" and n < TREE_FROM):
        return sample_lockstep(decoder, prompts, n, sampling, seed=seed, max_rows=rows)
    return sample_tree(decoder, prompts, n, sampling, seed=seed, max_rows=rows, switch=method == "auto")
