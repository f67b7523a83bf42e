"""The supervised stages of a language model's life: pre-training, continued pre-training, fine-tuning.

    base = pretrain(tiny_llama(34, seed=0), data, TrainSettings(steps=1400, batch_size=256, lr=4e-3),
                    tokenizer=tokenizer, folder="runs/base")
    base.model, base.log, base.id, base.checkpoints          # {1400: runs/base/step-001400}
    tuned = finetune(copy.deepcopy(base.model), solved, settings, parent=base.id)

Each trains the model it is given, in place. With a folder it writes checkpoints (`evolm.lm.checkpoint`), and the same
call made again goes on from the last of them to the same result, bit for bit, as if it had never been interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from evolm.lm.lineage import Lineage, tensors_hash, weights_hash
from evolm.lm.stage_folder import StageFolder
from evolm.lm.token_data import TokenData
from evolm.lm.train import TrainSettings, train_on_tokens


@dataclass(frozen=True)
class StageResult:
    """What a stage made. `checkpoints` maps updates done to folders; it is empty where no folder was given.

    `optimiser` is the final state, for `continue_pretrain`; None where the settings do not keep it.
    """

    model: PreTrainedModel
    log: pd.DataFrame
    lineage: Lineage
    id: str
    checkpoints: dict[int, Path]
    optimiser: dict[str, Tensor] | None = None


def pretrain(
    model: PreTrainedModel,
    data: TokenData,
    settings: TrainSettings,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    folder: str | Path | None = None,
    accelerator: Any = None,
    progress: bool = True,
) -> StageResult:
    """Train a new model on `data` (`evolm.lm.train.train_on_tokens` says how, and what the log holds).

    With `folder`, checkpoints are written to `folder/step-000100` and so on, which takes a `tokenizer`, and an
    interrupted call resumes. Raises `CheckpointError` where the folder holds the checkpoints of another stage.
    """
    stage = Lineage(stage="pretrain")
    return _run(stage, model, data, settings, {}, tokenizer, folder, accelerator, progress)


def continue_pretrain(
    model: PreTrainedModel,
    data: TokenData,
    settings: TrainSettings,
    *,
    parent: str | None,
    optimiser: Mapping[str, Tensor] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    folder: str | Path | None = None,
    accelerator: Any = None,
    progress: bool = True,
) -> StageResult:
    """Train on from the checkpoint whose id is `parent`, as `pretrain`.

    `optimiser` is the state that was kept there (`StageResult.optimiser`, `Checkpoint.optimiser()`); None starts anew.
    """
    stage = Lineage(stage="continue_pretrain", parent=parent)
    return _run(stage, model, data, settings, dict(optimiser or {}), tokenizer, folder, accelerator, progress)


def finetune(
    model: PreTrainedModel,
    data: TokenData,
    settings: TrainSettings,
    *,
    parent: str | None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    folder: str | Path | None = None,
    accelerator: Any = None,
    progress: bool = True,
) -> StageResult:
    """Train the checkpoint whose id is `parent` with a new optimiser, as `pretrain`.

    For prompts and completions, `TokenData.from_completions` puts the loss on the completions.
    """
    stage = Lineage(stage="finetune", parent=parent)
    return _run(stage, model, data, settings, {}, tokenizer, folder, accelerator, progress)


def _run(
    stage: Lineage,
    model: PreTrainedModel,
    data: TokenData,
    settings: TrainSettings,
    optimiser: Mapping[str, Tensor],
    tokenizer: PreTrainedTokenizerBase | None,
    folder: str | Path | None,
    accelerator: Any,
    progress: bool,
) -> StageResult:
    shelf = _shelf(folder, tokenizer)
    origin = {"start": tensors_hash({**model.state_dict(), **optimiser}), "data": data.hash}
    lineage = stage.model_copy(update={**origin, "settings": settings.model_dump(mode="json")})
    begin, log = 0, pd.DataFrame()
    if shelf and (last := shelf.last(lineage, settings.steps)):
        model.load_state_dict(last.model.state_dict())
        begin, optimiser, log = last.lineage.steps, last.optimiser() or {}, last.log()
    snapshots = train_on_tokens(
        model,
        data,
        settings,
        begin=begin,
        log=log,
        optimiser=optimiser,
        accelerator=accelerator,
        label=stage.stage,
        progress=progress,
    )
    for snapshot in snapshots:
        log, optimiser = snapshot.log, snapshot.optimiser
        kept = optimiser if snapshot.step < settings.steps or settings.keep_optimiser else None
        if shelf and (accelerator is None or accelerator.is_main_process):
            shelf.keep(model, lineage.at(snapshot.step), kept, log)
    if accelerator is not None:
        accelerator.wait_for_everyone()
    return StageResult(
        model=model,
        log=log,
        lineage=lineage.at(settings.steps),
        id=lineage.at(settings.steps).id(weights_hash(model)),
        checkpoints=shelf.checkpoints() if shelf else {},
        optimiser=dict(optimiser) if settings.keep_optimiser else None,
    )


def _shelf(folder: str | Path | None, tokenizer: PreTrainedTokenizerBase | None) -> StageFolder | None:
    if folder is None:
        return None
    if tokenizer is None:
        raise ValueError("a stage that writes checkpoints needs the tokenizer that goes with them; give tokenizer=")
    return StageFolder(Path(folder), tokenizer)
