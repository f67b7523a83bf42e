"""vLLM behind `evolm.lm.sample`: for models of billions of parameters, on a GPU.

    sample("allenai/OLMo-2-0425-1B", prompts, 256, ..., method="vllm")

Takes the name or folder of a model, or a `vllm.LLM` that is loaded already. vLLM is not a dependency of this
package: install it with `pip install vllm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch

from evolm.lm.completions import Samples, Sampling


def sample_vllm(model: Any, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, *, seed: int) -> Samples:
    """n completions of each of `prompts`, in their order; tensors on the CPU.

    A model given by name is loaded such that its log-probabilities are those of the sampling distribution. A loaded
    `vllm.LLM` must have been given logprobs_mode="processed_logprobs" for that, unless temperature and top_p are 1.
    Raises ImportError without vLLM, TypeError for a model in memory, which vLLM cannot take over.
    """
    vllm = _import_vllm()
    mode = "raw_logprobs" if sampling.temperature == 0 else "processed_logprobs"
    if isinstance(model, str):
        model = vllm.LLM(model=model, seed=seed, logprobs_mode=mode)
    elif not isinstance(model, vllm.LLM):
        raise TypeError(
            f"vLLM cannot sample from a {type(model).__name__}; pass the model's folder or hub name, or a vllm.LLM "
            "(a model in memory can be saved with save_pretrained first)"
        )
    # A seed per prompt: vLLM counts on from it within a request, and would repeat itself from one prompt to the next.
    seeds = np.random.SeedSequence(seed).generate_state(len(prompts))
    settings = [
        vllm.SamplingParams(
            n=n,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_new_tokens,
            seed=int(prompt_seed),
            logprobs=0,
            stop_token_ids=[] if sampling.eos is None else [sampling.eos],
            ignore_eos=True,  # the model's own: `sampling.eos` is the one that counts
            detokenize=False,
        )
        for prompt_seed in seeds
    ]
    requests = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
    return _samples(model.generate(requests, settings, use_tqdm=False), sampling)


def _samples(results: Sequence[Any], sampling: Sampling) -> Samples:
    rows = [(index, completion) for index, result in enumerate(results) for completion in result.outputs]
    tokens = torch.full((len(rows), sampling.max_new_tokens), sampling.pad)
    logprobs = torch.zeros(tokens.shape)
    for row, (_, completion) in enumerate(rows):
        ids = list(completion.token_ids)
        tokens[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        # One dictionary per position, from token to its entry.
        chosen = [entries[token].logprob for token, entries in zip(ids, completion.logprobs, strict=True)]
        logprobs[row, : len(ids)] = torch.tensor(chosen)
    prompt = torch.tensor([index for index, _ in rows])
    return Samples(tokens, *sampling.lengths(tokens), logprobs, prompt, torch.ones_like(prompt), "vllm")


def _import_vllm() -> ModuleType:
    try:
        import vllm
    except ImportError:
        raise ImportError(
            'method="vllm" needs vLLM, which is not installed; run `pip install vllm` on a machine with a GPU, '
            'or use method="auto"'
        ) from None
    return vllm
