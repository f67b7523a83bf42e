"""A mixture-of-experts model of transformers, by name, and how it routes texts.

    moe = open_moe("allenai/OLMoE-1B-7B-0924", "step5000-tokens20B")     # or a folder, or an asset
    routing = route(moe, encoded, batch_size=16)

Router logits are those that the library records (`output_router_logits=True`, asked for in each call). On the first
batch they are compared with what the routers themselves chose, so that a model that routes by anything but a softmax
(sigmoids, groups of experts, a selection bias) is refused, not measured wrongly. Memory holds one batch, and a number
for every text, layer and expert.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from evolm.instruments.pathway_measures import routing_entropy, routing_weights, stacked, token_average
from evolm.instruments.pathway_texts import Encoded
from evolm.lm.memory import fitting

#: What configurations call the number of experts.
EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "spiece.model")
#: How far a router's own weights may be from ours: rounding to bfloat16.
OWN_TOLERANCE = 2e-2
#: Runs shorter than this show no progress bar, in seconds.
QUIET = 2.0


@dataclass(frozen=True)
class Moe:
    """An open model: `base` gives router logits, `routers` are its router modules by layer, the first first."""

    name: str
    base: Any
    tokenizer: Any
    routers: tuple[torch.nn.Module, ...]
    layers: tuple[int, ...]
    context: int

    @property
    def router_rows(self) -> Tensor:
        """Weights of the routers, (layer, expert, width), float32."""
        rows = []
        for router in self.routers:
            matrices = [p for name, p in router.named_parameters() if p.ndim == 2 and name.endswith("weight")]
            if len(matrices) != 1:
                raise ValueError(f"a router of {self.name} has {len(matrices)} weight matrices; expected one")
            rows.append(matrices[0].detach().float().cpu())
        return torch.stack(rows)


@dataclass(frozen=True)
class Routing:
    """How one model routes the texts.

    By reading: `average` weights (sample, layer, expert) over its tokens, and mean `entropy` of a token's routing
    (sample, layer). `load` (layer, expert): shares of the model's own choices over all tokens. `k`: experts that a
    token uses.
    """

    average: dict[str, Tensor]
    entropy: dict[str, Tensor]
    load: Tensor
    k: int


def open_moe(name: str, revision: str | None = None, device: str | None = None) -> Moe:
    """A mixture-of-experts model from a folder, an asset or a hub id. Raises ValueError where there is none."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from evolm import assets

    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    known = not Path(name).exists() and name in assets.registry()
    source, shown = assets.path(name) if known else name, f"{name} at {revision}" if revision else name
    with _said_plainly(shown, name, revision):
        config = AutoConfig.from_pretrained(source, revision=revision)
    _refuse_dense(config, shown)
    with _said_plainly(shown, name, revision):
        # Half precision costs accuracy and saves no time on a CPU.
        dtype = torch.float32 if place == "cpu" else "auto"
        model: Any = AutoModelForCausalLM.from_pretrained(source, revision=revision, dtype=dtype, use_safetensors=True)
    base = model.to(place).eval().base_model
    recorder = getattr(base, "_can_record_outputs", {}).get("router_logits")
    kind = getattr(recorder, "target_class", recorder)
    found = [(path, module) for path, module in base.named_modules() if kind and isinstance(module, kind)]
    if not found:
        raise ValueError(
            f"{shown} is a {type(model).__name__}, none of whose layers has a router that transformers records; "
            "expected a mixture of experts such as OLMoE, Mixtral or Qwen-MoE"
        )
    layers = tuple(
        next((int(part) for part in path.split(".") if part.isdigit()), at) for at, (path, _) in enumerate(found)
    )
    context = int(getattr(config.get_text_config(), "max_position_embeddings", None) or 2**31)
    tokenizer = _tokenizer(source, revision)
    return Moe(shown, base, tokenizer, tuple(module for _, module in found), layers, context)


@torch.inference_mode()
def route(moe: Moe, encoded: Encoded, batch_size: int, *, already_probabilities: bool = False) -> Routing:
    """Routing of every text, batch by batch, texts of one length together. Raises ValueError.

    `already_probabilities` is for transformers releases whose routers returned them.
    """
    order = sorted(range(len(encoded.ids)), key=lambda i: len(encoded.ids[i]))
    average: dict[str, list[Tensor]] = {reading: [] for reading in encoded.spans}
    entropy: dict[str, list[Tensor]] = {reading: [] for reading in encoded.spans}
    counts: Tensor | None = None
    k, tokens, done, rows = 0, 0, 0, batch_size
    with tqdm(total=len(order), desc=moe.name, unit="text", delay=QUIET, disable=None) as bar:
        while done < len(order):
            part, rows = fitting(partial(_route_some, moe, encoded, order[done:], k, already_probabilities), rows)
            k, counts = part.k, part.load if counts is None else counts + part.load
            for reading in encoded.spans:
                average[reading].append(part.average[reading])
                entropy[reading].append(part.entropy[reading])
            done += (size := len(part.average[next(iter(encoded.spans))]))
            tokens += sum(len(encoded.ids[i]) for i in order[done - size : done])
            bar.update(size)
    back = torch.tensor(order).argsort()
    assert counts is not None
    return Routing(
        {reading: torch.cat(parts)[back] for reading, parts in average.items()},
        {reading: torch.cat(parts)[back] for reading, parts in entropy.items()},
        counts / (tokens * k),
        k,
    )


def _route_some(moe: Moe, encoded: Encoded, order: Sequence[int], k: int, probabilities: bool, most: int) -> Routing:
    """Routing of the first `most` texts of `order`; `load` counts choices. The first batch (`k` 0) is checked."""
    device: torch.device = moe.base.device
    tokens, attention, masks = encoded.batch(order[:most], pad=0)
    with _recorded(moe.routers if k == 0 else ()) as chosen:
        out = moe.base(
            input_ids=tokens.to(device),
            attention_mask=attention.to(device, torch.long),
            output_router_logits=True,
            use_cache=False,
        )
    logits = stacked(getattr(out, "router_logits", None) or (), len(tokens))  # (sample, token, layer, expert)
    real = logits[attention.to(logits.device)]  # (token, layer, expert), without padding
    # Probabilities are told by all rows together, padding left out.
    flat = routing_weights(real, already_probabilities=probabilities)
    if k == 0:
        k = _check_choice(moe, flat, attention.flatten(), chosen)
    weights = torch.zeros_like(logits, dtype=torch.float32)
    weights[attention.to(logits.device)] = flat
    load = torch.zeros_like(flat).scatter_(-1, flat.topk(k, dim=-1).indices, 1.0).sum(0)
    of_tokens = routing_entropy(weights)[..., None]  # (sample, token, layer, 1)
    return Routing(
        {reading: token_average(weights, mask).cpu() for reading, mask in masks.items()},
        {reading: token_average(of_tokens, mask)[..., 0].cpu() for reading, mask in masks.items()},
        load.double().cpu(),
        k,
    )


def _check_choice(moe: Moe, weights: Tensor, real: Tensor, chosen: list[tuple[Any, ...]]) -> int:
    """Experts per token, from the routers' own outputs; refuse a model whose choice is not ours.

    `weights` (token, layer, expert) are without padding, `chosen` with it: per layer (logits, weights, indices).
    """
    k = 0
    for at, output in enumerate(chosen):
        if len(output) != 3 or output[2].dtype not in (torch.int64, torch.int32):
            raise ValueError(f"the routers of {moe.name} do not say which experts they chose; they are not known here")
        mine, keep = weights[:, at], real.to(weights.device)
        indices = output[2].reshape(len(keep), -1)[keep].long()
        k = indices.shape[-1]
        own = output[1].reshape(len(keep), -1)[keep].float()
        own = own if own.shape[-1] == k else own.gather(-1, indices)
        taken, best = mine.gather(-1, indices), mine.topk(k, dim=-1).values
        same = (taken.sum(-1) - best.sum(-1)).abs() <= OWN_TOLERANCE
        share = taken / taken.sum(-1, keepdim=True), own / own.sum(-1, keepdim=True)
        alike = ((share[0] - share[1]).abs() <= OWN_TOLERANCE).all(-1)
        if not bool((same & alike).all()):
            raise ValueError(
                f"{moe.name} ({type(moe.base).__name__}) does not route by a softmax over its experts (sigmoids, "
                "groups of experts or a bias): its pathways are not defined as in the paper, and are not measured"
            )
    return k


@contextmanager
def _recorded(routers: Sequence[torch.nn.Module]) -> Iterator[list[tuple[Any, ...]]]:
    """What each router returns while the block runs, in order; nothing stays on the model."""
    found: list[tuple[Any, ...]] = []
    hooks = [router.register_forward_hook(lambda _, __, output: found.append(tuple(output))) for router in routers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _refuse_dense(config: Any, shown: str) -> None:
    text = config.get_text_config()
    counts = [getattr(text, name, None) for name in EXPERT_COUNTS]
    if not any(isinstance(count, int) and count > 1 for count in counts):
        kind = (config.architectures or [config.model_type])[0]
        raise ValueError(
            f"{shown} is a dense model ({kind}): its configuration names no experts, so there are no pathways; "
            "expected a mixture of experts such as OLMoE, Mixtral or Qwen-MoE"
        )


def _tokenizer(source: str | Path, revision: str | None) -> Any:
    """The checkpoint's tokenizer; None where it has none, as some checkpoints of a run."""
    from transformers import AutoTokenizer

    folder = Path(source)
    if folder.is_dir() and not any((folder / file).is_file() for file in TOKENIZER_FILES):
        return None  # the library would make up an empty one
    try:
        return AutoTokenizer.from_pretrained(source, revision=revision)
    except (OSError, ValueError, KeyError):
        return None


@contextmanager
def _said_plainly(shown: str, name: str, revision: str | None) -> Iterator[None]:
    """Turn what the library raises into one sentence that says what is missing and how to get it."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        get = f"hf download {name}" + (f" --revision {revision}" if revision else "")
        raise ValueError(
            f"{shown} cannot be opened as a language model ({reason}); give a folder written by save_pretrained, an "
            f"asset (`evolm assets`), or a hub id that this machine can reach. Where there is a network: {get}"
        ) from None
