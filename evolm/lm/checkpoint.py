"""Checkpoints: plain `save_pretrained` folders that also know where they come from.

    save_checkpoint("runs/base", model, tokenizer, Lineage(stage="pretrain", steps=1400))
    base = load_checkpoint("runs/base")           # .model .tokenizer .lineage .id .optimiser() .log()
    AutoModelForCausalLM.from_pretrained("runs/base")       # the same weights

Beside the library's files there are `lineage.json` (`evolm.lm.lineage`, the id, hashes of weights and vocabulary)
and, where given, `optimiser.safetensors` and `log.parquet`. A folder is written beside its place and renamed into
it, so that a kill at any moment leaves the previous checkpoint or the new one. One process writes a folder; any
number read it. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from evolm.lm.lineage import IMPORTED, Lineage, weights_hash
from evolm.lm.vocabulary import vocabulary_hash

LINEAGE, OPTIMISER, LOG = "lineage.json", "optimiser.safetensors", "log.parquet"


class CheckpointError(ValueError):
    """A folder is not the checkpoint that was asked for. The message says what was found and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """What `load_checkpoint` found in `folder`. `id` is a hash of weights and lineage."""

    folder: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    lineage: Lineage
    id: str

    def optimiser(self) -> dict[str, Tensor] | None:
        """The optimiser's state (`evolm.lm.optimise.optimiser_tensors`), or None where it was not kept."""
        path = self.folder / OPTIMISER
        return load_file(path) if path.is_file() else None

    def log(self) -> pd.DataFrame:
        """The stage's log up to this checkpoint; empty where there is none."""
        path = self.folder / LOG
        return pd.read_parquet(path) if path.is_file() else pd.DataFrame()


def save_checkpoint(
    folder: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    lineage: Lineage,
    optimiser: Mapping[str, Tensor] | None = None,
    log: pd.DataFrame | None = None,
) -> str:
    """Write the checkpoint, in place of any that is there, and return its id.

    Raises `CheckpointError` for a tokenizer that the model cannot embed and for a folder that holds something else.
    """
    folder = Path(folder)
    _check_vocabulary(model, tokenizer, f"{folder} was not saved")
    if folder.exists() and not (folder / LINEAGE).is_file():
        raise CheckpointError(f"{folder} exists and is no checkpoint of ours; nothing was changed. Give another folder")
    weights = weights_hash(model)
    identity = {"id": lineage.id(weights), "weights": weights, "vocabulary": vocabulary_hash(tokenizer)}
    _finish_interrupted_swap(folder)
    temporary = folder.with_name(f".{folder.name}.tmp-{secrets.token_hex(8)}")
    try:
        with _no_progress_bars():
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        if optimiser is not None:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in optimiser.items()}, temporary / OPTIMISER
            )
        if log is not None:
            log.to_parquet(temporary / LOG, index=False)
        text = json.dumps({**identity, "lineage": lineage.model_dump(mode="json")}, indent=1, sort_keys=True)
        (temporary / LINEAGE).write_text(text + "\n", encoding="utf-8")
        for file in temporary.iterdir():  # the library's own files would be their writer's alone
            file.chmod((temporary / LINEAGE).stat().st_mode)
        _swap(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return identity["id"]


def load_checkpoint(
    folder: str | Path,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    device: str | torch.device = "cpu",
) -> Checkpoint:
    """The checkpoint in `folder`, its weights and vocabulary checked against `lineage.json`.

    A folder without `lineage.json`, any `save_pretrained` folder, is opened too: its stage is "imported". With
    `tokenizer`, the checkpoint must number the same tokens in the same way. Raises `CheckpointError`.
    """
    asked, folder = Path(folder), _readable(Path(folder))
    if not (folder / "config.json").is_file():
        found = "a folder without config.json" if folder.is_dir() else "no such folder"
        raise CheckpointError(f"{asked} is no checkpoint: {found}; expected one that save_pretrained wrote")
    model, own = _open(asked, folder, device)
    _check_vocabulary(model, own, f"{asked} does not fit together")
    if tokenizer is not None and vocabulary_hash(own) != vocabulary_hash(tokenizer):
        raise CheckpointError(
            f"{asked} is a checkpoint with another tokenizer: {_describe(own)} where "
            f"{_describe(tokenizer)} were expected; its token ids mean other words. Give one of this vocabulary"
        )
    weights = weights_hash(model)
    if not (folder / LINEAGE).is_file():
        lineage = Lineage(stage=IMPORTED)
        return Checkpoint(folder, model, own, lineage, lineage.id(weights))
    identity, lineage = _read_lineage(asked, folder)
    for what, true in (("weights", weights), ("vocabulary", vocabulary_hash(own)), ("id", lineage.id(weights))):
        if identity.get(what) != true:
            raise CheckpointError(
                f"the {what} of {asked} are not what its {LINEAGE} says ({true}, not {identity.get(what)}): "
                f"it was altered. Restore it, or remove {LINEAGE} to open it as an imported model"
            )
    return Checkpoint(folder, model, own, lineage, lineage.id(weights))


def read_lineage(folder: str | Path) -> Lineage:
    """The lineage of a checkpoint, without opening its weights. Raises `CheckpointError`."""
    return _read_lineage(Path(folder), _readable(Path(folder)))[1]


def _read_lineage(asked: Path, folder: Path) -> tuple[dict[str, str], Lineage]:
    try:
        identity = json.loads((folder / LINEAGE).read_text(encoding="utf-8"))
        return identity, Lineage(**identity.pop("lineage"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise CheckpointError(f"{asked} has no readable {LINEAGE}: {type(error).__name__}: {error}") from None


def _open(asked: Path, folder: Path, device: str | torch.device) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    options = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        with _no_progress_bars():
            opened: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **options)
            model, report = opened
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library's errors for a damaged folder are of many types
        raise CheckpointError(f"{asked} could not be opened: {type(error).__name__}: {error}") from error
    # The library fills what is missing or of another shape with random numbers, and only warns.
    for what in ("missing_keys", "mismatched_keys"):
        if report[what]:
            name = sorted(map(str, report[what]))[0]
            raise CheckpointError(f"the weights in {asked} are not those of its config.json: {what} {name}, ...")
    return model.to(device), tokenizer


def _check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, consequence: str) -> None:
    embedding: Any = model.get_input_embeddings()
    rows = embedding.weight.shape[0]
    if len(tokenizer) > rows:
        found = f"the model embeds {rows} tokens and the tokenizer has {len(tokenizer)}"
        raise CheckpointError(f"{consequence}: {found}; expected the tokenizer that the model was trained with")


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """transformers draws a bar for every file it writes or reads: too many under a stage's own."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _describe(tokenizer: PreTrainedTokenizerBase) -> str:
    return f"{len(tokenizer)} tokens (hash {vocabulary_hash(tokenizer)})"


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")


def _readable(folder: Path) -> Path:
    """`folder`, or where a writer that was killed between its two renames has left what was there."""
    return _previous(folder) if not folder.exists() and _previous(folder).is_dir() else folder


def _finish_interrupted_swap(folder: Path) -> None:
    previous = _previous(folder)
    if previous.is_dir() and not folder.exists():
        os.rename(previous, folder)
    shutil.rmtree(previous, ignore_errors=True)
    for leftover in folder.parent.glob(f".{folder.name}.tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _swap(temporary: Path, folder: Path) -> None:
    for path in (*temporary.rglob("*"), temporary):
        _flush(path)
    if folder.exists():
        os.rename(folder, _previous(folder))
    os.rename(temporary, folder)
    _flush(folder.parent)
    shutil.rmtree(_previous(folder), ignore_errors=True)


def _flush(path: Path) -> None:
    """Have the disk hold the file, or the folder's list of names, before what relies on it."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder; its rename is durable without
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
