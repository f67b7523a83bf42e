"""Checkpoints open everywhere, know where they come from, survive a kill, and refuse what they are not."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from evolm import __version__
from evolm.lm import checkpoint
from evolm.lm.architecture import tiny_llama, tiny_olmoe
from evolm.lm.checkpoint import CheckpointError, load_checkpoint, read_lineage, save_checkpoint
from evolm.lm.lineage import Lineage, tensors_hash, weights_hash
from evolm.lm.vocabulary import word_tokenizer

WORDS = [f"w{i}" for i in range(16)]
TOKENIZER = word_tokenizer(WORDS)
LINEAGE = Lineage(stage="pretrain", start="0" * 16, data="d" * 16, settings={"lr": 1e-3}, steps=7)
SMALL = {"vocab_size": 20, "width": 16, "layers": 1, "hidden": 32}


@pytest.mark.parametrize("build", [tiny_llama, tiny_olmoe])
def test_transformers_opens_a_checkpoint_and_computes_the_same_logits(build: object, tmp_path: Path) -> None:
    model = build(**SMALL, seed=1)  # type: ignore[operator]
    save_checkpoint(tmp_path / "base", model, TOKENIZER, LINEAGE)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    text = "<bos> w3 w0 w15 <eos>"
    tokens = torch.tensor([tokenizer.encode(text)])
    assert type(opened) is type(model)
    assert tokenizer.decode(tokens[0]) == text
    assert torch.equal(opened(tokens).logits, model(tokens).logits)


def test_a_checkpoint_gives_back_all_that_was_saved(tmp_path: Path) -> None:
    model, log = tiny_llama(**SMALL, seed=1), pd.DataFrame({"step": [1, 2], "loss": [3.5, 0.1]})
    state = {"exp_avg/model.norm.weight": torch.arange(16.0), "step/model.norm.weight": torch.tensor(7.0)}
    saved_id = save_checkpoint(tmp_path / "base", model, TOKENIZER, LINEAGE, state, log)
    base = load_checkpoint(tmp_path / "base", tokenizer=TOKENIZER)
    assert base.id == saved_id == LINEAGE.id(weights_hash(model))
    assert base.lineage == read_lineage(tmp_path / "base") == LINEAGE
    assert base.lineage.version == __version__
    assert weights_hash(base.model) == weights_hash(model)
    kept = base.optimiser()
    assert kept is not None
    assert tensors_hash(kept) == tensors_hash(state)
    pd.testing.assert_frame_equal(base.log(), log)
    suffixes = {path.suffix for path in (tmp_path / "base").iterdir()}
    assert suffixes <= {".json", ".safetensors", ".parquet", ".jinja"}, "nothing is pickled"


def test_the_id_changes_with_the_weights_and_with_every_part_of_the_lineage() -> None:
    weights, others = weights_hash(tiny_llama(**SMALL, seed=1)), weights_hash(tiny_llama(**SMALL, seed=2))
    changes: list[dict[str, Any]] = [
        {"stage": "finetune"},
        {"parent": "x"},
        {"start": "1"},
        {"data": "e"},
        {"settings": {}},
        {"steps": 8},
    ]
    lineages = [LINEAGE, *(LINEAGE.model_copy(update=change) for change in changes)]
    assert len({lineage.id(weights) for lineage in lineages} | {LINEAGE.id(others)}) == 8
    assert LINEAGE.at(9).differing(LINEAGE) == []
    assert LINEAGE.differing(lineages[2]) == ["parent"]


def test_any_save_pretrained_folder_opens_as_an_imported_model(tmp_path: Path) -> None:
    tiny_llama(**SMALL, seed=1).save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    found = load_checkpoint(tmp_path)
    assert found.lineage.stage == "imported"
    assert found.optimiser() is None
    assert found.log().empty


def test_a_checkpoint_with_another_tokenizer_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "base", tiny_llama(**SMALL, seed=1), TOKENIZER, LINEAGE)
    with pytest.raises(CheckpointError, match=r"with another tokenizer: 20 tokens .* were expected"):
        load_checkpoint(tmp_path / "base", tokenizer=word_tokenizer(WORDS[::-1]))
    word_tokenizer(WORDS[::-1]).save_pretrained(tmp_path / "base")
    with pytest.raises(CheckpointError, match=r"the vocabulary of .* it was altered"):
        load_checkpoint(tmp_path / "base")
    with pytest.raises(CheckpointError, match="embeds 20 tokens and the tokenizer has 21"):
        save_checkpoint(tmp_path / "new", tiny_llama(**SMALL, seed=1), word_tokenizer([*WORDS, "more"]), LINEAGE)
    assert not (tmp_path / "new").exists()


def _remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _truncate_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])


def _drop_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "q_proj" not in k}, folder / "model.safetensors", {"format": "pt"})


def _change_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] += 1e-7
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _other_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))


def _bad_lineage(folder: Path) -> None:
    (folder / "lineage.json").write_text('{"id": "x", "lineage": {"stage": ')


def _remove(folder: Path) -> None:
    shutil.rmtree(folder)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove, "no such folder"),
        (_empty, "a folder without config.json"),
        (_remove_weights, "could not be opened"),
        (_truncate_weights, "could not be opened"),
        (_drop_a_weight, "missing_keys .*q_proj"),
        (_change_a_weight, "the weights of .* altered"),
        (_other_shape, "mismatched_keys"),
        (_bad_lineage, "no readable lineage.json"),
    ],
)
def test_a_damaged_checkpoint_is_refused_by_name(damage: object, message: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "base", tiny_llama(**SMALL, seed=1), TOKENIZER, LINEAGE)
    damage(tmp_path / "base")  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tmp_path / "base")
    assert str(tmp_path / "base") in str(caught.value)


def test_a_folder_that_is_no_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("the only copy")
    with pytest.raises(CheckpointError, match="no checkpoint of ours; nothing was changed"):
        save_checkpoint(tmp_path, tiny_llama(**SMALL, seed=1), TOKENIZER, LINEAGE)
    assert (tmp_path / "thesis.txt").read_text() == "the only copy"


def _save_and_die(folder: Path, calls: int) -> int:
    """A child process that kills itself with SIGKILL after so many of the disk operations of saving; its status."""
    child = os.fork()
    if child == 0:
        counter = itertools.count(1)

        def counted(work: Callable[..., None]) -> Callable[..., None]:
            def wrapper(*arguments: object) -> None:
                work(*arguments)
                if next(counter) == calls:
                    os.kill(os.getpid(), signal.SIGKILL)

            return wrapper

        checkpoint._flush, os.rename = counted(checkpoint._flush), counted(os.rename)
        save_checkpoint(folder, tiny_llama(**SMALL, seed=2), TOKENIZER, Lineage(stage="finetune", steps=1))
        os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX fork and signals")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_kill_at_any_moment_of_saving_leaves_the_old_or_the_new_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    old = save_checkpoint(folder, tiny_llama(**SMALL, seed=1), TOKENIZER, LINEAGE)
    outcomes = []
    for calls in range(1, 20):
        status = _save_and_die(folder, calls)
        found = load_checkpoint(folder, tokenizer=TOKENIZER)
        outcomes.append(found.lineage.stage)
        assert (found.id == old) == (found.lineage.stage == "pretrain")
        assert save_checkpoint(folder, tiny_llama(**SMALL, seed=1), TOKENIZER, LINEAGE) == old
        assert [path.name for path in tmp_path.iterdir()] == ["base"], "the next save clears what the kill left"
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert status == 0, "the child never finished a save"
    switch = outcomes.index("finetune")
    assert outcomes == ["pretrain"] * switch + ["finetune"] * (len(outcomes) - switch)
    assert 5 < switch < len(outcomes) - 1
