"""What is measured during training: accuracies on probes, losses on held-out text, and gradients of both kinds of text.

bench = Bench(world, seed)
bench.accuracy(model)       # a row per probe and half of it
bench.losses(model)
bench.gradients(model)      # stability (general) against plasticity (medical)
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import PreTrainedModel

from evolm.findings.stability_gap.corpora import general_text, medical_text
from evolm.findings.stability_gap.facts import FactWorld, Probe
from evolm.lm.forward import decoder_for

#: Held-out rows for losses and gradients, of each kind of text.
HELD_OUT = 48


class Bench:
    """The probes and held-out text of a world. Probes have two halves: one chooses a step, the other is read there."""

    def __init__(self, world: FactWorld, seed: int) -> None:
        facts = world.facts
        asked = {name: world.asking("medical", facts[name]) for name in ("absent", "repeated", "new")}
        lost = {tuple(row) for row in facts["general lost"].tolist()}
        is_lost = np.array([tuple(row) in lost for row in facts["general asked"].tolist()])
        asked |= {
            "general kept": world.asking("general", facts["general asked"][~is_lost]),
            "general lost": world.asking("general", facts["general asked"][is_lost]),
            "sums": world.adding(),
        }
        stated = {f"{name}, stated": world.stating("medical", facts[name]) for name in ("absent", "repeated")}
        stated["general lost, stated"] = world.stating("general", facts["general asked"][is_lost])
        self.probes = {**asked, **stated}
        rng = np.random.default_rng([world.seed, seed, 5])
        self.halves = {name: rng.permutation(len(probe.answers)) % 2 for name, probe in self.probes.items()}
        clean = medical_text(world, np.zeros(HELD_OUT, np.int64), rng)
        texts = {
            "general": general_text(world, HELD_OUT, seed + 2 * 10**6),
            "medical": clean,
            "general, later": general_text(world, HELD_OUT, seed + 4 * 10**6, later=True),
        }
        self.texts = {name: torch.from_numpy(rows) for name, rows in texts.items()}

    @torch.no_grad()
    def accuracy(self, model: PreTrainedModel) -> pd.DataFrame:
        """probe, half, items, accuracy (the likeliest word is right), valid (it is of that kind), p (of the answer)."""
        rows = []
        for name, probe in self.probes.items():
            found = _scores(model, probe)
            for half in (0, 1):
                part = found[self.halves[name] == half]
                means = part.mean(0)
                values = {"accuracy": means[0], "valid": means[1], "p": means[2]}
                rows.append({"probe": name, "half": half, "items": len(part), **values})
        return pd.DataFrame(rows)

    @torch.no_grad()
    def losses(self, model: PreTrainedModel) -> pd.DataFrame:
        """text, nats: mean loss per token on held-out general text, medical text, and general text of later kind."""
        rows = [{"text": name, "nats": float(loss(model, tokens))} for name, tokens in self.texts.items()]
        return pd.DataFrame(rows)

    def gradients(self, model: PreTrainedModel) -> pd.DataFrame:
        """stability, plasticity, cosine: norms of the gradients of general and medical text, and how far they agree."""
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        flat = []
        for name in ("general", "medical"):
            gradient = torch.autograd.grad(loss(model, self.texts[name]), parameters)
            flat.append(torch.cat([part.flatten() for part in gradient]))
        general, medical = flat
        cosine = F.cosine_similarity(general, medical, dim=0)
        norms = {"stability": float(general.norm()), "plasticity": float(medical.norm())}
        return pd.DataFrame([{**norms, "cosine": float(cosine)}])


def _scores(model: PreTrainedModel, probe: Probe) -> np.ndarray:
    """(rows, 3): is the likeliest next word right, is it of the right kind, and the right one's probability."""
    prompts, answers = torch.from_numpy(probe.prompts), torch.from_numpy(probe.answers)
    logits = decoder_for(model).logits(prompts.to(model.device), prompts.shape[1] - 1)[:, 0].float().cpu()
    top = logits.argmax(-1)
    valid = (top[:, None] == torch.from_numpy(np.ascontiguousarray(probe.candidates))).any(1)
    p = logits.softmax(-1).gather(1, answers[:, None])[:, 0]
    scores: np.ndarray = torch.stack([(top == answers).float(), valid.float(), p], 1).numpy()
    return scores


def loss(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Mean loss over all tokens but the first of each row (rows, time), in nats."""
    tokens = tokens.to(model.device)
    logits = decoder_for(model).logits(tokens[:, :-1], 0)
    return F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())


def measured_steps(steps: int, spacing: float) -> list[int]:
    """Updates after which to measure: 1, 2, 3 ... and then each a share `spacing` later than the last, to the end."""
    found, step = [], 1
    while step < steps:
        found.append(step)
        step = max(step + 1, round(step * (1 + spacing)))
    return [*found, steps]
