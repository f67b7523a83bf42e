"""Geometry of class vectors: planes, rings, simplexes, convex hulls and growth of any classifier head or embedding.

    evolm measure geometry ckpt-100 ckpt-1000 ckpt-10000 -p features=test.npz      one run: growth of the norm too
    evolm measure geometry head.npy -p "rows=[4,8,1,9]"                            these rows, as a ring in this order
    measure_models(["./classifier"], features="test.npz", head="distance")
    measure_geometry(w, features=features, labels=labels)                          the same from tensors

Baek et al. (2025): under harmonic loss class vectors settle at finite centres, convex combinations of their examples,
that lie as the task does (a circle for addition modulo p), where cross-entropy's grow without bound. Each number
stands beside what random or shuffled rows give. A high share of variance in two components is no evidence of learning
without accuracy beside it: give features and labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from evolm.instruments import geometry_words as words
from evolm.instruments.embeddings import EmbeddingSource
from evolm.instruments.geometry_examples import example_quantities
from evolm.instruments.geometry_files import Examples, from_arrays, open_head, read_examples, series_steps
from evolm.instruments.geometry_growth import Growth, Slope, norm_growth
from evolm.instruments.geometry_head import head_quantities
from evolm.instruments.geometry_quantities import Quantity, Settings, as_row

SUMMARY = {"quantity": "quantity", "value": "value", "beside": "beside", "note": "note"}
PROVENANCE = ("source", "tensor", "role", "revision", "licence", "dtype")
BOUND = 0.02


def measure_models(
    models: Iterable[str | Path],
    *,
    features: str | Sequence[str] | None = None,
    head: Literal["linear", "distance"] = "linear",
    rows: Sequence[int] | None = None,
    k: int = 2,
    steps: float | Sequence[float] | None = None,
    series: bool | None = None,
    growth_from: float | None = None,
    bound: float = BOUND,
    revision: str | Sequence[str] | None = None,
    tensor: str | None = None,
    max_examples: int = 1000,
    device: str = "cpu",
    draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Heads or embeddings of `models`; a block of rows per model, and one more for the growth of a series.

    A model is a checkpoint folder, a .safetensors or .npy file of (classes, width), an asset or a hub id. `tensor`
    names the matrix where the architecture is not known here; `rows` picks rows, in the order of the ring.

    `features`: a file of examples (`evolm.instruments.geometry_files`), or one for each model, for accuracy, neural
    collapse and convexity. `head`: how it chooses, by inner product, or by distance as the harmonic head does.
    `max_examples` of each class enter its hull.

    Models are checkpoints of one run if they differ only in the number that their names end in, or if `series` or
    `steps` says so; so are several `revision`s of one hub model. `growth_from`: the step from which the norm's slope
    counts, default the first above 0. Slopes below `bound` count as bounded.

    Columns: model, step, quantity, value, low, high, beside (the null in words), null, null_low, null_high, p (of the
    null, one-sided), level, note, verdict (of growth), classes, width, sentence, and where the matrix came from.
    Raises what `open_head`, `read_examples` and `series_steps` raise, and ValueError for a matrix without geometry.
    """
    settings = Settings(k, draws, level, max_examples, seed)
    names = [str(model) for model in models]
    labels, at, sources = _opened(names, revision, tensor, _numbers(steps), series)
    files = _files(features, labels)
    if rows is not None and features is not None:
        raise ValueError("rows picks some rows, and labels number all of them; give features or rows, not both")
    tables, norms = [], []
    for i, (label, source) in enumerate(zip(labels, sources, strict=True)):
        w = _matrix(source, label, rows, device)
        examples = None if files is None else read_examples(files[i], nearest=head == "distance")
        found = _quantities(w, examples, settings, label if files is None else files[i])
        norms.append(float(w.norm()))
        if at is None:
            alone = norm_growth([1.0], norms[-1:], level=level, bound=bound)
            found.append(Quantity("slope of log norm", alone.whole.value, note=f"not assessable: {alone.note}"))
        origin = {key: source.provenance.get(key, "") for key in PROVENANCE}
        step = float("nan") if at is None else at[i]
        facts = {"model": label, "step": step, "classes": len(w), "width": w.shape[1], **origin}
        tables.append(_table(found, settings, facts, words.head_sentence(source, len(w), found)))
    if at is not None:
        growth = norm_growth(at, norms, level=level, bound=bound, start=growth_from)
        facts = {"model": f"{labels[0]} to {labels[-1]}", "step": float("nan")}
        facts |= {"classes": len(w), "width": w.shape[1], **dict.fromkeys(PROVENANCE, "")}
        found = _growth_quantities(growth, norms)
        tables.append(_table(found, settings, facts, words.growth_sentence(growth), growth.verdict))
    return pd.concat(tables, ignore_index=True)


def measure_geometry(
    w: Tensor,
    *,
    features: Tensor | None = None,
    labels: Tensor | None = None,
    predictions: Tensor | None = None,
    name: str = "matrix",
    k: int = 2,
    max_examples: int = 1000,
    draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """One head in memory, (classes, width), with `features` (n, width) and `labels` (n,) if you have them.

    `predictions`, (n,), are the head's choices where it takes no inner products. Columns as for `measure_models`.
    Raises ValueError for a matrix without geometry, and for examples that do not fit it.
    """
    settings = Settings(k, draws, level, max_examples, seed)
    source = EmbeddingSource.from_tensor(w, name)
    matrix = _matrix(source, name, None, w.device)
    if (features is None) != (labels is None):
        raise ValueError("features and labels go together; give both or neither")
    examples = None if features is None or labels is None else from_arrays(features, labels, predictions, place=name)
    found = _quantities(matrix, examples, settings, name)
    facts = {"model": name, "step": float("nan"), "classes": len(matrix), "width": matrix.shape[1]}
    return _table(found, settings, facts, words.head_sentence(source, len(matrix), found))


def _opened(
    names: Sequence[str],
    revision: str | Sequence[str] | None,
    tensor: str | None,
    steps: Sequence[float] | None,
    series: bool | None,
) -> tuple[list[str], list[float] | None, list[EmbeddingSource]]:
    """What each model is called, its step where they are a series, and its matrix."""
    if not names:
        raise ValueError("there are no models; give a checkpoint, a file of class vectors, an asset or a hub id")
    if revision is None or isinstance(revision, str):
        at = series_steps(names, steps, series)
        labels, sources = list(names), [open_head(name, revision, tensor) for name in names]
    else:
        if len(names) > 1:
            raise ValueError(f"{len(revision)} revisions are of one model, and there are {len(names)}; give one")
        at = series_steps(revision, steps, series)
        labels = [f"{names[0]}@{each}" for each in revision]
        sources = [open_head(names[0], each, tensor) for each in revision]
    if at is not None:
        for label, source in zip(labels, sources, strict=True):
            if (source.n, source.m) != (sources[0].n, sources[0].m):
                shapes = f"{label} is {source.n} x {source.m} and {labels[0]} {sources[0].n} x {sources[0].m}"
                raise ValueError(f"{shapes}, so they are not checkpoints of one run; measure them apart (series=false)")
    return labels, at, sources


def _matrix(source: EmbeddingSource, name: str, rows: Sequence[int] | None, device: str | torch.device) -> Tensor:
    """The class vectors, (classes, width), float64, refused where they have no geometry."""
    w = torch.cat([block.to(device).double() for block in source.blocks()]) if source.n else torch.empty(0, source.m)
    if (bad := (~w.isfinite()).any(1).nonzero()).numel():
        raise ValueError(f"row {int(bad[0])} of {name} holds a value that is not finite ({len(bad)} such rows)")
    if rows is not None:
        if len(set(rows)) < len(rows) or any(not 0 <= row < source.n for row in rows):
            raise ValueError(f"rows are {list(rows)}; expected different rows of {name}, 0 to {source.n - 1}")
        w = w[torch.tensor(list(rows), dtype=torch.int64, device=w.device)]
    if len(w) < 2 or not source.m:
        raise ValueError(f"{name} has {len(w)} rows of width {source.m}; a geometry needs at least two class vectors")
    if not (w - w[0]).any():
        raise ValueError(f"all {len(w)} rows of {name} are the same; there is no geometry before training breaks that")
    return w


def _quantities(w: Tensor, examples: Examples | None, settings: Settings, place: str) -> list[Quantity]:
    found = head_quantities(w, settings)
    if examples is None:
        return found
    return found + example_quantities(w, examples.fitted(w, place), settings)


def _growth_quantities(growth: Growth, norms: Sequence[float]) -> list[Quantity]:
    def row(name: str, slope: Slope, note: str) -> Quantity:
        over = f"{slope.points} checkpoints, step {slope.first:g} to {slope.last:g}; " if slope.points > 1 else ""
        return Quantity(name, slope.value, slope.low, slope.high, note=over + note)

    found = [row("slope of log norm", growth.whole, f"{growth.verdict}; {growth.note}")]
    if growth.later is not None:
        found.append(row("slope of log norm, later half", growth.later, growth.verdict))
    ratio = norms[-1] / norms[0] if norms[0] else float("nan")
    return [*found, Quantity("norm, last/first", ratio)]


def _table(
    found: Sequence[Quantity], settings: Settings, facts: dict[str, Any], sentence: str, verdict: str = ""
) -> pd.DataFrame:
    table = pd.DataFrame([as_row(quantity, settings.level) for quantity in found])
    where = {name: facts.pop(name) for name in ("model", "step")}
    table = table.assign(verdict=verdict, **facts, sentence=sentence)
    return table.assign(**where)[[*where, *table.columns]]


def _files(features: str | Sequence[str] | None, labels: Sequence[str]) -> list[str] | None:
    """The file of examples of each model."""
    if features is None:
        return None
    if isinstance(features, str):
        return [features] * len(labels)
    if len(features) != len(labels):
        raise ValueError(f"there are {len(features)} files of features for {len(labels)} models; give one, or one each")
    return list(features)


def _numbers(steps: float | Sequence[float] | None) -> list[float] | None:
    return [float(steps)] if isinstance(steps, (int, float)) else None if steps is None else list(steps)
