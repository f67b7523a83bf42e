"""Arm B: an OLMoE that reads a mixture with real text about once, and what is measured meanwhile.

    tables = run_text(params, seed=5, device="cpu")

The model is transformers' own, sequences are long and tokens differ, so nothing is shared between prefixes. Training
documents that are followed are among the first tenth that is read: they are met once, or a few times where they are
repeated, and then no more for the rest of the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from numpy.typing import NDArray
from torch import Tensor
from transformers import OlmoeForCausalLM

from evolm.findings.grokking_pathways.metrics import Routing, group_metrics
from evolm.findings.grokking_pathways.mixture import DOMAINS, LENGTH, Documents, Mixture
from evolm.findings.grokking_pathways.model import Shape, tiny_olmoe
from evolm.findings.grokking_pathways.schedule import measured_steps
from evolm.instruments.pathway_measures import expert_load, load_imbalance, routing_weights, stacked, token_average
from evolm.lm.optimise import OptimiserSettings, build_optimiser, set_lr
from evolm.lm.token_data import order

if TYPE_CHECKING:
    from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams

Tables = dict[str, pd.DataFrame]
#: Documents of each domain that are followed, of those trained on and of those held out; half of the former is dated.
FOLLOWED, HELD_OUT = 48, 40
#: They are among the first ones read: this share of all, or twice as many as are needed.
EARLY_SHARE = 0.1
WARMUP = 20
ARMS = ("trained", "scrambled")


class Probe(NamedTuple):
    """What a model does on some documents."""

    correct: NDArray[np.bool_]  # (document,) every character of the answer is the likeliest
    nats: NDArray[np.float64]  # (document,) mean over the answer's characters
    weights: Tensor  # (document, token, layer, expert)
    outputs: Tensor  # (document, layer, width) what experts add, mean over the tokens that predict the answer


def text_shape(params: GrokkingPathwaysParams, world: Mixture) -> Shape:
    """The model's sizes on the mixture."""
    return Shape(
        world.vocabulary, params.text_width, params.layers, 4, params.experts, params.active, 2 * params.hidden, LENGTH
    )


def run_text(params: GrokkingPathwaysParams, seed: int, device: str) -> Tables:
    """The tables of one seed: `curve`, `training`, `pathways`, `layers`; a group is a domain."""
    world = Mixture(seed)
    frames: dict[str, list[pd.DataFrame]] = {}
    for arm in ARMS:
        count = round(params.text_steps * params.text_batch / params.text_passes)
        documents = world.documents(count, scrambled=arm == "scrambled")
        followed = early(documents)
        held_out = {domain: world.held_out(domain, HELD_OUT) for domain in DOMAINS}
        model = tiny_olmoe(text_shape(params, world), aux=params.aux, seed=seed).to(device)  # type: ignore[arg-type]
        for step, nats in trained(model, documents, params, seed):
            kept = _measured(model, followed, held_out, params, seed, step)
            kept["training"][0].insert(0, "nats", nats)
            for name, parts in kept.items():
                for part in parts:
                    part.insert(0, "arm", arm)
                    part.insert(1 + ("group" in part), "step", step)
                frames.setdefault(name, []).extend(parts)
    return {name: pd.concat(parts, ignore_index=True) for name, parts in frames.items()}


def early(documents: Documents) -> dict[str, Documents]:
    """Documents of each domain among the first that are read."""
    found = {}
    for number, domain in enumerate(DOMAINS):
        rows = np.flatnonzero(documents.domain == number)
        few = rows[: max(2 * FOLLOWED, round(EARLY_SHARE * len(rows)))]
        chosen = few[np.linspace(0, len(few) - 1, min(FOLLOWED, len(few))).round().astype(int)]
        found[domain] = documents.chosen(chosen)
    return found


def trained(
    model: OlmoeForCausalLM, documents: Documents, params: GrokkingPathwaysParams, seed: int
) -> Iterator[tuple[int, float]]:
    """Train on every document in turn, yielding (update, mean nats since the last) at each measured step."""
    device = next(model.parameters()).device
    settings = OptimiserSettings(
        steps=params.text_steps, lr=params.text_rate, schedule="warmup", warmup_steps=WARMUP, betas=(0.9, 0.98),
        weight_decay=0.1,
    )  # fmt: skip
    optimiser = build_optimiser(model, settings)
    tokens = torch.from_numpy(documents.tokens).to(device)
    targets = torch.from_numpy(np.where(documents.loss, documents.tokens, -100)).to(device)
    chosen = set(measured_steps(params.text_steps, params.text_checkpoints))
    since: list[Tensor] = []
    for step in range(params.text_steps + 1):
        if step in chosen:
            yield step, float(torch.stack(since).mean()) if since else float("nan")
            since = []
        if step == params.text_steps:
            return
        rows = order_of(len(tokens), params, step, seed)
        found = model(tokens[rows])
        nats = F.cross_entropy(found.logits[:, :-1].flatten(0, 1), targets[rows, 1:].flatten(), ignore_index=-100)
        optimiser.zero_grad(set_to_none=True)
        (nats + params.aux * found.aux_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        set_lr(optimiser, settings.lr_at(step))
        optimiser.step()
        since.append(nats.detach())


def order_of(documents: int, params: GrokkingPathwaysParams, step: int, seed: int) -> NDArray[np.int64]:
    """Which documents an update reads: in turn in the first pass, so that the early ones are early; then at random."""
    first = step * params.text_batch
    if first + params.text_batch <= documents:
        return np.arange(first, first + params.text_batch)
    return order(documents, params.text_batch, step, seed)


@torch.no_grad()
def probed(model: OlmoeForCausalLM, documents: Documents) -> Probe:
    """How a model answers some documents, and by which experts."""
    device = next(model.parameters()).device
    added: list[Tensor] = []
    layers: Any = model.model.layers
    hooks = [layer.mlp.register_forward_hook(lambda *parts: added.append(parts[2])) for layer in layers]
    try:
        tokens = torch.from_numpy(documents.tokens).to(device)
        found = model(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    asked = torch.from_numpy(documents.answer[:, 1:]).to(device)
    targets = tokens[:, 1:]
    nats = F.cross_entropy(found.logits[:, :-1].transpose(1, 2), targets, reduction="none") * asked
    right = (found.logits[:, :-1].argmax(-1) == targets) | ~asked
    weights = routing_weights(stacked(found.router_logits, len(tokens)))
    share = (asked / asked.sum(1, keepdim=True))[:, :, None]
    outputs = torch.stack([(layer[:, :-1] * share).sum(1) for layer in added], 1)
    means = nats.sum(1) / asked.sum(1)
    return Probe(right.all(1).cpu().numpy(), means.double().cpu().numpy(), weights.cpu(), outputs.cpu())


def _measured(
    model: OlmoeForCausalLM, followed: dict[str, Documents], held_out: dict[str, Documents],
    params: GrokkingPathwaysParams, seed: int, step: int,
) -> dict[str, list[pd.DataFrame]]:  # fmt: skip
    frames: dict[str, list[pd.DataFrame]] = {"curve": [], "pathways": [], "layers": [], "training": []}
    layers: Any = model.model.layers
    router = torch.stack([layer.mlp.gate.weight.detach().cpu() for layer in layers])
    for domain in DOMAINS:
        inside, outside = probed(model, followed[domain]), probed(model, held_out[domain])
        half = np.arange(len(inside.correct)) % 2
        accuracy = {
            "group": domain,
            "dating_accuracy": inside.correct[half == 0].mean(),
            "train_accuracy": inside.correct[half == 1].mean(),
            "test_accuracy": outside.correct.mean(),
            "train_nats": inside.nats[half == 1].mean(),
            "test_nats": outside.nats.mean(),
        }
        frames["curve"].append(pd.DataFrame([accuracy]))
        scored = np.flatnonzero(half == 1)
        weights, rows = inside.weights[scored], followed[domain].chosen(scored)
        # The token that predicts a character stands before it; fillers count nowhere.
        before = np.pad(rows.answer[:, 1:], ((0, 0), (0, 1)))
        text = np.pad(rows.loss[:, 1:], ((0, 0), (0, 1)))
        averages = [token_average(weights, torch.from_numpy(mask)) for mask in (before, text)]
        rng = np.random.default_rng([seed, 4, step])
        found = group_metrics(
            Routing(averages[0], averages[1], router, inside.outputs[scored]), params.active, params.thresholds, rng
        )
        for name, frame in (("pathways", found.quantities), ("layers", found.layers)):
            frame.insert(0, "group", domain)
            frames[name].append(frame)
        if domain == "prose":
            of_tokens = inside.weights[torch.from_numpy(followed[domain].loss)]  # (token, layer, expert)
            load = load_imbalance(expert_load(of_tokens, params.active))
            frames["training"].append(pd.DataFrame([{**_norms(model), "imbalance": float(load.mean())}]))
    return frames


def _norms(model: OlmoeForCausalLM) -> dict[str, float]:
    squares = {name: float(weight.detach().square().sum()) for name, weight in model.named_parameters()}
    gates = sum(value for name, value in squares.items() if name.endswith("mlp.gate.weight"))
    return {"weight_norm": sum(squares.values()) ** 0.5, "router_norm": gates**0.5}
