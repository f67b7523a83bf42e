"""The base models: pre-trained on named methods, then on text whose method is hidden, with slips and faults.

    task, model = base_model(params, seed)        # trained once per seed and kept in the cache

Pre-training shows clean chains whose method
the prompt names; continued pre-training hides the method behind a cue that its writers follow a quarter of the time,
so the model knows every method and not which one to use. One method (5) is almost never used unasked; another is
absent altogether.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from evolm import paths
from evolm.lm.architecture import tiny_llama
from evolm.lm.checkpoint import load_checkpoint, save_checkpoint
from evolm.lm.stages import StageResult, continue_pretrain, pretrain
from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.automaton_world import AutomatonSettings
from evolm.lm.tasks.corpus import CorpusSettings, corpus
from evolm.lm.token_data import TokenData
from evolm.lm.train import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams

RARE = 5
BATCH = 128
#: Chosen on development seeds 5 to 7: with the usual 0.02 the same loss takes five times as long.
INIT_STD = 0.08
BETAS = (0.9, 0.99)
LR = 3e-3
KEPT_SEED = 0
#: Named methods, clean chains: what there is to know.
NAMED = CorpusSettings(style_prompts=1.0, noisy=0.0, run_on=0.0, cut_short=0.0)


def task_of(params: RlvrBoundaryParams, seed: int, cue: float) -> AutomatonTask:
    """The task of a seed's world. An answer is the whole chain, so what a verifier accepts can be listed."""
    world = KEPT_SEED if params.base == "kept" else seed
    return AutomatonTask(AutomatonSettings(world_seed=world, cue=cue, emit_start=True, answer_states=8))


def base_model(params: RlvrBoundaryParams, seed: int, device: str = "cpu") -> PreTrainedModel:
    """The base model of a seed: the kept one, or trained here and kept in the cache for the seed's other units."""
    if params.base == "kept":
        return load_checkpoint(kept_base()).model.to(device)  # type: ignore[arg-type]
    folder = paths.cache() / "bases" / _key(params, seed, device)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            task = task_of(params, seed, params.core_cue)
            result = train(params, task, seed, device)
            save_checkpoint(folder, result.model, task.tokenizer, result.lineage)
    return load_checkpoint(folder).model.to(device)  # type: ignore[arg-type]


def train(params: RlvrBoundaryParams, task: AutomatonTask, seed: int, device: str = "cpu") -> StageResult:
    """Pre-train and continue, from nothing; a function of the arguments."""
    model = tiny_llama(task.vocab_size, params.width, params.layers, init_std=INIT_STD, seed=seed)
    model.to(device)  # type: ignore[arg-type]
    first = _data(task, NAMED, params.pretrain_steps, seed)
    settings: dict[str, Any] = {"batch_size": BATCH, "lr": LR, "betas": BETAS, "dtype": "bfloat16", "seed": seed}
    begun = pretrain(model, first, TrainSettings(steps=params.pretrain_steps, **settings), progress=False)
    mixture = CorpusSettings(rare_method=RARE, rare_prior=params.rare_prior, style_prompts=0.2)
    second = _data(task, mixture, params.continue_steps, seed + 10**6)
    cosine = TrainSettings(steps=params.continue_steps, schedule="cosine", **settings)
    return continue_pretrain(model, second, cosine, parent=begun.id, progress=False)


def kept_base() -> Path:
    """Where the small base model lies that travels with the project."""
    return paths.resource("data") / "checkpoints" / "rlvr-boundary"


def weights_of(folder: Path) -> str:
    """The sha256 of a checkpoint's weights."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _data(task: AutomatonTask, settings: CorpusSettings, steps: int, seed: int) -> TokenData:
    return TokenData(*corpus(task, settings, steps * BATCH, seed))  # every sequence is seen once


def _key(params: RlvrBoundaryParams, seed: int, device: str) -> str:
    """Of all that decides the weights: settings, seed, device and the sources that train."""
    from evolm.sources import source_closure
    from evolm.tables import canonical_json, sha256

    fields = ("width", "layers", "pretrain_steps", "continue_steps", "rare_prior", "core_cue")
    chosen: dict[str, Any] = {name: getattr(params, name) for name in fields}
    return sha256(canonical_json({**chosen, "seed": seed, "device": device, "sources": source_closure(__name__)}))[:16]
