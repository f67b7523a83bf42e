"""Which checkpoints are measured: folders, assets, hub ids, or revisions of one hub id; their steps and accuracies.

    chosen = checkpoints(["allenai/OLMoE-1B-7B-0924"], revisions=["step5000-tokens20B"], steps=None)
    chosen = checkpoints(["allenai/OLMoE-1B-7B-0924"], revisions="paper", steps=None, yes=True)
    known = read_accuracy("accuracy.csv", chosen)             columns step or model, accuracy, and if you like loss

`revisions="paper"` stands for the ten of Li, Fan & Zhou (2025). Their names are derived from steps and tokens, so they
are looked up among the repository's branches first: one that is missing is an error, never replaced by a neighbour.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from evolm.finding import nearest
from evolm.instruments.dip_cells import numbers

PAPER_MODEL = "allenai/OLMoE-1B-7B-0924"
#: Section 4 of the paper: 5, 125, 245 ... thousand steps.
PAPER_STEPS = (5, 125, 245, 370, 490, 615, 735, 855, 980, 1100)
#: Tokens of one step of OLMoE, in billions: 1,024 sequences of 4,096.
PAPER_STEP_TOKENS = 4.194304e-3
#: A revision's weights: 6.9 billion parameters of two bytes.
PAPER_GIGABYTES = 14


@dataclass(frozen=True)
class Checkpoint:
    """A model by name and hub revision, and the step that it is of (0 where there is one and it names none)."""

    name: str
    revision: str | None
    step: float

    @property
    def shown(self) -> str:
        """Its name for a table."""
        return self.revision or self.name


def paper_revisions() -> list[str]:
    """Branch names of the paper's ten checkpoints, such as step5000-tokens20B."""
    return [f"step{1000 * k}-tokens{int(1000 * k * PAPER_STEP_TOKENS)}B" for k in PAPER_STEPS]


def paper_cost(name: str) -> str:
    """What the paper's ten revisions cost, in a sentence."""
    count = len(PAPER_STEPS)
    return (
        f"the paper's {count} revisions of {name} are {count} x {PAPER_GIGABYTES} GB = {count * PAPER_GIGABYTES} GB to "
        f"download and keep, and each needs {PAPER_GIGABYTES} GB of GPU memory, or {2 * PAPER_GIGABYTES} GB of memory "
        "on a CPU; the time has not been measured"
    )


def checkpoints(
    names: Sequence[str],
    revisions: str | Sequence[str] | None,
    steps: Sequence[float] | None,
    *,
    yes: bool = False,
) -> list[Checkpoint]:
    """The checkpoints in order of their steps. Raises ValueError for none, for unclear steps, and before a download
    of the paper's size unless `yes`, in which case its cost is printed."""
    if not names:
        raise ValueError("there are no models; give a mixture of experts, or the checkpoints of one")
    if revisions is None:
        chosen: list[tuple[str, str | None]] = [(name, None) for name in names]
    else:
        if len(names) != 1 or Path(names[0]).exists():
            raise ValueError(f"revisions are those of one hub id, and the models are {', '.join(names)}")
        chosen = [(names[0], revision) for revision in _revisions(names[0], revisions, yes)]
    if len(set(chosen)) < len(chosen):
        raise ValueError("a checkpoint is given twice; expected each once")
    at = _steps([revision or name for name, revision in chosen], steps)
    found = [Checkpoint(name, revision, step) for (name, revision), step in zip(chosen, at, strict=True)]
    found.sort(key=lambda checkpoint: checkpoint.step)
    for one, other in pairwise(found):
        if one.step == other.step:
            raise ValueError(f"{one.shown} and {other.shown} are both of step {one.step:g}; say -p steps=...")
    return found


def read_accuracy(path: str, chosen: Sequence[Checkpoint]) -> pd.DataFrame:
    """Accuracy, and loss where there is one, of each checkpoint, in their order: columns accuracy, loss.

    Rows are found by the column `step`, or by `model`: a checkpoint's name, its folder's name or its revision. Raises
    ValueError with what is missing.
    """
    file = Path(path)
    if file.suffix != ".csv" or not file.is_file():
        raise ValueError(f"there is no table of accuracies {path}; expected a .csv with step or model, and accuracy")
    try:
        table = pd.read_csv(file, skipinitialspace=True)
    except pd.errors.EmptyDataError:
        table = pd.DataFrame()
    if "accuracy" not in table or not {"step", "model"} & set(table):
        hint = "" if "accuracy" in table else nearest("accuracy", map(str, table))
        said = f"its columns are {', '.join(map(str, table)) or 'none'}{hint}"
        raise ValueError(f"{path} needs a column accuracy and one of step and model; {said}")
    columns = [name for name in ("accuracy", "loss") if name in table]
    values = pd.DataFrame({name: numbers(table, name, path) for name in columns})
    keys = numbers(table, "step", path) if "step" in table else table["model"].astype(str)
    if (twice := np.flatnonzero(keys.duplicated())).size:
        raise ValueError(f"{path}, row {twice[0] + 1}: {keys.iloc[twice[0]]} is there already; keep one row for each")
    rows = []
    for checkpoint in chosen:
        wanted = [checkpoint.step] if "step" in table else _names(checkpoint)
        at = np.flatnonzero(keys.isin(wanted))
        if at.size != 1:
            raise ValueError(
                f"{path} has {'no row' if not at.size else 'several rows'} for {checkpoint.shown} (step "
                f"{checkpoint.step:g}); expected one for every checkpoint"
            )
        rows.append(int(at[0]))
    return values.iloc[rows].reset_index(drop=True)


def _names(checkpoint: Checkpoint) -> list[str]:
    folder = Path(checkpoint.name)
    return [checkpoint.revision] if checkpoint.revision else [checkpoint.name, folder.name, checkpoint.name.rstrip("/")]


def _steps(shown: Sequence[str], steps: Sequence[float] | None) -> list[float]:
    if steps is not None:
        if len(steps) != len(shown):
            raise ValueError(f"there are {len(steps)} steps for {len(shown)} checkpoints; expected one for each")
        return [float(step) for step in steps]
    found = []
    for name in shown:
        number = re.search(r"step[-_]?(\d+)", Path(name).name) or re.search(r"(\d+)$", name.rstrip("/"))
        if number is None and len(shown) > 1:
            example = ",".join(str(100 * i) for i in range(len(shown)))
            raise ValueError(f"the name of {name} holds no step; rename it (ckpt-100), or say -p steps=[{example}]")
        found.append(float(number[1]) if number else 0.0)
    return found


def _revisions(name: str, revisions: str | Sequence[str], yes: bool) -> list[str]:
    if revisions != "paper":
        return [part.strip() for part in revisions.split(",")] if isinstance(revisions, str) else list(revisions)
    cost = paper_cost(name)
    if name != PAPER_MODEL:
        raise ValueError(
            f"revisions=paper are those of {PAPER_MODEL}, not of {name}; name that model, or the revisions"
        )
    if not yes:
        raise ValueError(f"{cost}. To go on, say -p yes=true")
    print(f"evolm: {cost}", file=sys.stderr)
    wanted = paper_revisions()
    known = _known_revisions(name, wanted)
    if missing := [revision for revision in wanted if revision not in known]:
        same = [branch for branch in sorted(known) if branch.startswith(missing[0].split("-")[0] + "-")]
        also = f"; of the same step there is {same[0]}" if same else ""
        raise ValueError(
            f"{name} has no revision {missing[0]} ({len(missing)} of {len(wanted)} are missing){also}. Nothing is put "
            "in its place: name the revisions yourself, -p revisions=A,B,..."
        )
    return wanted


def _known_revisions(name: str, wanted: Sequence[str]) -> set[str]:
    """Branches of the repository; those of `wanted` that are on this machine where the hub cannot be reached."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    kept = {r for r in wanted if isinstance(try_to_load_from_cache(name, "config.json", revision=r), str)}
    if kept == set(wanted):
        return kept
    try:
        return {branch.name for branch in HfApi().list_repo_refs(name).branches}
    except Exception as error:  # the HTTP library, and so its error class, differs between hub versions
        reason = re.sub(r"\s+", " ", str(error))[:120] or type(error).__name__
        missing = [revision for revision in wanted if revision not in kept]
        raise ValueError(
            f"the branches of {name} cannot be listed, and these are not on this machine: {', '.join(missing)} "
            f"({reason}). Where there is a network: hf download {name} --revision {missing[0]}, and so on"
        ) from None
