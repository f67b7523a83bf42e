"""The base models of the chapter, one of every kind per seed: pre-trained on named methods, then on cues.

model = base_model(params, "latent", seed)       # trained once and kept in the cache
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from evolm import paths
from evolm.findings.one_shot.world import CUED, MIXTURES, NAMED, BaseName, corpus_of, task_of
from evolm.lm.architecture import tiny_llama
from evolm.lm.checkpoint import load_checkpoint, save_checkpoint
from evolm.lm.stages import StageResult, continue_pretrain, pretrain
from evolm.lm.train import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from evolm.findings.one_shot.parameters import OneShotParams

BATCH = 128
#: Those of the chapter on the pass@k boundary.
INIT_STD, BETAS, LR = 0.08, (0.9, 0.99), 3e-3
KEPT_SEED = 0


def base_model(params: OneShotParams, base: BaseName, seed: int, device: str = "cpu") -> PreTrainedModel:
    """The base of a kind and seed: the kept one, or trained here and kept in the cache for the seed's other units."""
    if params.start == "kept":
        return load_checkpoint(kept_base()).model.to(device)  # type: ignore[arg-type]
    folder = paths.cache() / "bases" / _key(params, base, seed, device)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            result = train(params, base, seed, device)
            save_checkpoint(folder, result.model, task_of(seed).tokenizer, result.lineage)
    return load_checkpoint(folder).model.to(device)  # type: ignore[arg-type]


def train(params: OneShotParams, base: BaseName, seed: int, device: str = "cpu") -> StageResult:
    """Pre-train and continue, from nothing; a function of the arguments."""
    task = task_of(world_of(params, seed))
    model = tiny_llama(task.vocab_size, params.width, params.layers, init_std=INIT_STD, seed=seed)
    model.to(device)  # type: ignore[arg-type]
    settings: dict[str, Any] = {"batch_size": BATCH, "lr": LR, "betas": BETAS, "dtype": "bfloat16", "seed": seed}
    first = corpus_of(base, task, NAMED, params.pretrain_steps * BATCH, seed)
    begun = pretrain(model, first, TrainSettings(steps=params.pretrain_steps, **settings), progress=False)
    second = corpus_of(base, task, MIXTURES.get(base, CUED), params.continue_steps * BATCH, seed + 10**6)
    cosine = TrainSettings(steps=params.continue_steps, schedule="cosine", **settings)
    return continue_pretrain(model, second, cosine, parent=begun.id, progress=False)


def world_of(params: OneShotParams, seed: int) -> int:
    """The world that a seed lives in: its own, or that of the kept base."""
    return KEPT_SEED if params.start == "kept" else seed


def kept_base() -> Path:
    """Where the small base model lies that travels with the project."""
    return paths.resource("data") / "checkpoints" / "one-shot"


def weights_of(folder: Path) -> str:
    """The sha256 of a checkpoint's weights."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _key(params: OneShotParams, base: BaseName, seed: int, device: str) -> str:
    """Of all that decides the weights: settings, kind, seed, device and the sources that train."""
    from evolm.sources import source_closure
    from evolm.tables import canonical_json, sha256

    chosen = {name: getattr(params, name) for name in ("width", "layers", "pretrain_steps", "continue_steps")}
    facts = {**chosen, "base": base, "seed": seed, "device": device, "sources": source_closure(__name__)}
    return sha256(canonical_json(facts))[:16]
