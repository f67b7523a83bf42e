"""The folder that a stage writes its checkpoints to, and from which an interrupted stage goes on.

    shelf = StageFolder("runs/base", tokenizer)
    last = shelf.last(lineage, steps=1400)               # a Checkpoint of this very stage, or None
    shelf.keep(model, lineage.at(100), optimiser, log)   # runs/base/step-000100

Only the newest checkpoint holds the optimiser's state, for only that is resumed from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from evolm.lm.checkpoint import OPTIMISER, Checkpoint, CheckpointError, load_checkpoint, read_lineage, save_checkpoint
from evolm.lm.lineage import Lineage


@dataclass(frozen=True)
class StageFolder:
    """`folder/step-000100` and so on, all of one stage, with the tokenizer that goes into each."""

    folder: Path
    tokenizer: PreTrainedTokenizerBase

    def checkpoints(self) -> dict[int, Path]:
        """Checkpoint folders by updates done, in their order."""
        found = {path.name.removeprefix("step-"): path for path in self.folder.glob("step-*") if path.is_dir()}
        return {int(step): found[step] for step in sorted(filter(str.isdigit, found), key=int)}

    def last(self, lineage: Lineage, steps: int) -> Checkpoint | None:
        """The checkpoint that the stage of `lineage` goes on from: its newest with optimiser state, or its end.

        None where there is none. Raises `CheckpointError` where another stage has written to the folder.
        """
        resumable = None
        for step, path in self.checkpoints().items():
            if differing := read_lineage(path).differing(lineage):
                raise CheckpointError(
                    f"{path} is of another run: its {', '.join(differing)} differ from what was asked for. "
                    "Nothing was trained; give another folder, or remove this one"
                )
            if step == steps or (path / OPTIMISER).is_file():
                resumable = path
        return load_checkpoint(resumable, tokenizer=self.tokenizer) if resumable else None

    def keep(
        self, model: PreTrainedModel, lineage: Lineage, optimiser: Mapping[str, Tensor] | None, log: pd.DataFrame
    ) -> Path:
        """Save the model as the checkpoint after `lineage.steps` updates, and drop older optimiser states."""
        path = self.folder / f"step-{lineage.steps:06d}"
        save_checkpoint(path, model, self.tokenizer, lineage, optimiser, log)
        for step, older in self.checkpoints().items():
            if step < lineage.steps:
                (older / OPTIMISER).unlink(missing_ok=True)
        return path
