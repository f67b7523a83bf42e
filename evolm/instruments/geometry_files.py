"""What the geometry instrument reads: class vectors, the examples of their classes, the steps of a series.

    head = open_head("./my-classifier")            # a classifier's head where the checkpoint has one
    examples = read_examples("features.npz")       # arrays features (n, width) and labels (n,)

A file of examples is .npz or .safetensors with the arrays `features` and `labels`, and if you like `predictions`
(n,) or `bias` (classes,); or .parquet with the columns `label`, `prediction` if you like, and either a column
`features` of lists or one number column per feature.
"""

from __future__ import annotations

import itertools
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from evolm.instruments.embeddings import INDEX, SINGLE, EmbeddingSource, open_output_embedding

#: Names of classifier heads, at the top of a checkpoint: there they win over a vocabulary's embedding.
CLASSIFIERS = (
    "classifier.weight",  # BERT, ViT
    "score.weight",  # decoders for sequence classification
    "classifier.out_proj.weight",  # RoBERTa
    "classifier.1.weight",  # ResNet
    "head.weight",
    "head.fc.weight",
    "fc.weight",
)
SUFFIXES = (".npz", ".safetensors", ".parquet")
WANTED = "expected features (n, width) and labels (n,)"


@dataclass(frozen=True)
class Examples:
    """`features` (n, width) float64 and `labels` (n,) int64, and how the head chooses where the file says so."""

    features: Tensor
    labels: Tensor
    predictions: Tensor | None = None
    bias: Tensor | None = None
    nearest: bool = False

    def fitted(self, w: Tensor, place: str) -> Examples:
        """These, on the device of `w`, (classes, width). Raises ValueError where they do not fit its classes."""
        if self.features.shape[1] != w.shape[1]:
            wide = f"{place}: features are {self.features.shape[1]} wide and class vectors {w.shape[1]}"
            raise ValueError(f"{wide}; give the features that this head reads")
        for name, values in (("labels", self.labels), ("predictions", self.predictions)):
            if values is not None and not 0 <= int(values.min()) <= int(values.max()) < len(w):
                seen = f"{place}: {name} go from {int(values.min())} to {int(values.max())}"
                raise ValueError(f"{seen}, and the head has {len(w)} classes; expected 0 to {len(w) - 1}")
        if self.bias is not None and self.bias.shape != (len(w),):
            raise ValueError(
                f"{place}: bias has shape {list(self.bias.shape)}; expected one for each of {len(w)} classes"
            )
        predictions, bias = (None if x is None else x.to(w.device) for x in (self.predictions, self.bias))
        return Examples(self.features.to(w.device), self.labels.to(w.device), predictions, bias, self.nearest)

    def predict(self, w: Tensor) -> Tensor:
        """The head's choice for each example, (n,): as stored, the nearest row of `w`, or the largest w.h + bias."""
        if self.predictions is not None:
            return self.predictions
        if self.nearest:
            return torch.cdist(self.features, w).argmin(-1)
        logits = self.features @ w.T
        return (logits if self.bias is None else logits + self.bias).argmax(-1)


def open_head(spec: str | Path, revision: str | None = None, tensor: str | None = None) -> EmbeddingSource:
    """The classifier head of a local checkpoint where it has one; else what `open_output_embedding` finds.

    Raises what that raises.
    """
    if tensor is None:
        names = _tensor_names(Path(spec))
        tensor = next((name for name in CLASSIFIERS if name in names), None)
        if tensor is not None:
            source = open_output_embedding(spec, revision, tensor)
            source.provenance["role"] = "classifier head"
            return source
    return open_output_embedding(spec, revision, tensor)


def read_examples(path: str | Path, *, nearest: bool = False) -> Examples:
    """The examples of a file (see the top of this module). Raises ValueError that names the file and what to mend."""
    path = Path(path)
    if path.suffix not in SUFFIXES or not path.is_file():
        raise ValueError(f"there is no file of features {path}; expected a file that ends in {', '.join(SUFFIXES)}")
    found = _from_parquet(path) if path.suffix == ".parquet" else _arrays(path)
    if missing := {"features", "labels"} - set(found):
        named = ", ".join(sorted(found)) or "nothing"
        raise ValueError(f"{path} holds {named} and no {' and no '.join(sorted(missing))}; {WANTED}")
    return from_arrays(
        found["features"],
        found["labels"],
        found.get("predictions"),
        found.get("bias"),
        nearest=nearest,
        place=str(path),
    )


def from_arrays(
    features: Tensor,
    labels: Tensor,
    predictions: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    nearest: bool = False,
    place: str = "examples",
) -> Examples:
    """Examples from `features` (n, width) and `labels` (n,), checked. Raises ValueError that begins with `place`."""
    if features.ndim != 2 or not features.numel():
        raise ValueError(f"{place}: features have shape {list(features.shape)}; {WANTED}, n >= 1")
    features = features.double()
    if (bad := (~features.isfinite()).any(1).nonzero()).numel():
        found = f"{place}, example {int(bad[0])}: a feature is not a finite number"
        raise ValueError(f"{found} ({len(bad)} such examples); mend or drop them")
    if nearest and not (predictions is None and bias is None):
        raise ValueError(f"{place} says how the head chooses (predictions or bias); leave head=distance out")
    labels = _classes(labels, "labels", len(features), place)
    chosen = None if predictions is None else _classes(predictions, "predictions", len(features), place)
    return Examples(features, labels, chosen, None if bias is None else bias.double(), nearest)


def series_steps(names: Sequence[str], steps: Sequence[float] | None, series: bool | None) -> list[float] | None:
    """Steps of checkpoints of one run, as given or as their names end in; None where they are no series.

    Left to itself (`series` None), names are a series if they differ in the number that they end in and in nothing
    else. Raises ValueError for steps that are not one for each, fall, or repeat, and for a name without one.
    """
    from evolm.instruments.dip_series import checkpoint_steps

    stems = [name.rstrip("/").removesuffix(".safetensors").removesuffix(".npy") for name in names]
    if steps is None and not series:
        alike = {re.sub(r"\d+$", "", stem) for stem in stems}
        if series is False or len(stems) < 2 or len(alike) > 1 or not all(re.search(r"\d$", s) for s in stems):
            return None
    found = checkpoint_steps(stems, steps)
    for i, (before, here) in enumerate(itertools.pairwise(found)):
        if here <= before:
            how = "is there already" if here == before else f"comes after step {before:g}"
            raise ValueError(f"step {here:g} of {names[i + 1]} {how}; give the checkpoints of one run in rising order")
    if found[0] < 0:
        raise ValueError(f"step {found[0]:g} of {names[0]} is negative; expected steps from 0 up")
    return found


def _tensor_names(path: Path) -> set[str]:
    """Names of the tensors of a local checkpoint; none where it is not one, which its reader then says."""
    try:
        if (path / INDEX).is_file():
            return set(json.loads((path / INDEX).read_text())["weight_map"])
        file = path / SINGLE if path.is_dir() else path
        if file.suffix != ".safetensors" or not file.is_file():
            return set()
        with safe_open(file, framework="pt") as opened:
            return set(opened.keys())
    except SafetensorError:
        return set()


def _arrays(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{path} cannot be read as arrays ({reason}); {WANTED}, saved as plain numbers") from None
    if strange := [name for name, array in arrays.items() if array.dtype.kind not in "fiub"]:
        raise ValueError(f"{path}: {strange[0]} holds {arrays[strange[0]].dtype} values; expected numbers")
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _from_parquet(path: Path) -> dict[str, Tensor]:
    try:
        table = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a table: {' '.join(str(error).split())[:120]}") from None
    names = {"label": "labels", "prediction": "predictions"}
    table = table.rename(columns={old: new for old, new in names.items() if old in table})
    found = {name: _numbers(table[name], path) for name in ("labels", "predictions") if name in table}
    if "features" in table:
        widths = {len(row) for row in table["features"]}
        if len(widths) > 1:
            raise ValueError(f"{path}: features have {min(widths)} to {max(widths)} numbers; expected one width")
        rows = [np.asarray(row, float) for row in table["features"]]
        return {**found, "features": torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, 0)}
    columns = [_numbers(table[name], path) for name in table if name not in found]
    return {**found, "features": torch.stack(columns, -1)} if columns else found


def _numbers(column: pd.Series[float], path: Path) -> Tensor:
    try:
        return torch.from_numpy(column.to_numpy(float, copy=True))
    except (ValueError, TypeError):
        raise ValueError(f"{path}: column {column.name} holds {column.dtype} values; expected numbers") from None


def _classes(values: Tensor, name: str, n: int, place: str) -> Tensor:
    """Labels or predictions as int64, (n,); whether they are classes of the head is checked where it is known."""
    if values.shape != (n,):
        raise ValueError(f"{place}: {name} have shape {list(values.shape)} for {n} examples; expected one for each")
    whole = values.double()
    if (bad := ((whole != whole.round()) | (whole < 0)).nonzero()).numel():
        i = int(bad[0])
        found = f"{place}, example {i}: {name} is {float(whole[i]):g}"
        raise ValueError(f"{found}; expected the index of a class, a whole number from 0 up")
    return values.to(torch.int64)
