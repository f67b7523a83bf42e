"""What pathways measure, as rows: every metric of one checkpoint, and its relation to accuracy over checkpoints.

    values = measured(routing, router, layers, groups, Settings())       one checkpoint
    table = related(values_of_all, accuracy)                             the statistics beside each series

Metric names say their reading: "distance, cumulative, indices, normalised".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from evolm.instruments import pathway_measures as measures
from evolm.instruments.pathway_consistency import TWO_LAYERS
from evolm.instruments.pathway_models import Routing
from evolm.instruments.pathway_statistics import statistics_rows

Array = NDArray[np.float64]
ALL, BETWEEN = "all texts", "between groups"
SERIES = ["metric", "tokens", "group", "layer"]
#: Columns of the statistics, and where statistics_rows has them.
STATISTICS = {
    "pearson": ("pearson", ""),
    "spearman": ("spearman", ""),
    "partial_step": ("partial pearson", "step"),
    "partial_log_step": ("partial pearson", "log step"),
    "partial_curve": ("partial pearson", "curve"),
    "partial_rank": ("partial spearman", "step"),
    "difference": ("difference pearson", ""),
    "lead": ("lead", "curve"),
}
#: Those whose p, by circular shifts, is in a column of its own.
WITH_P = ("partial_step", "partial_log_step", "partial_curve", "partial_rank", "difference")


@dataclass(frozen=True)
class Settings:
    """How pathways are read: `threshold` of cumulative weight, `k` experts (the model's own: None), pairs drawn."""

    threshold: float = 0.7
    k: int | None = None
    max_pairs: int = 2000
    each_layer: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """One number: its metric, group, layer ("all" or a layer's index), and how many samples or pairs are behind it."""

    metric: str
    group: str
    layer: str
    value: float
    items: int
    note: str = ""


def measured(
    routing: Routing, router: Tensor, layers: Sequence[int], groups: Sequence[str], settings: Settings
) -> pd.DataFrame:
    """Every metric of one checkpoint: metric, tokens, group, layer, value, items, note."""
    tables = []
    for reading, average in routing.average.items():
        rows = [*_distances(average, routing.k, layers, groups, settings)]
        rows += _by_sample(average, routing.entropy[reading], router, layers, groups, settings)
        tables.append(pd.DataFrame(rows).assign(tokens=reading))
    imbalance = measures.load_imbalance(routing.load)
    rows = [
        Row("load imbalance", ALL, "all", float(imbalance.mean()), 0, "of the model's own choices, mean over layers")
    ]
    rows += [Row("load imbalance", ALL, str(at), float(v), 0) for at, v in zip(layers, imbalance, strict=True)]
    tables.append(pd.DataFrame(rows).assign(tokens="all"))
    table = pd.concat(tables, ignore_index=True)
    return table if settings.each_layer else table[table["layer"] == "all"].reset_index(drop=True)


def _distances(average: Tensor, k: int, layers: Sequence[int], groups: Sequence[str], settings: Settings) -> list[Row]:
    """Mean edit distances in every reading, over all layers and within each. The same pairs in every checkpoint."""
    readings = {
        "cumulative": measures.pathways_cumulative(average, settings.threshold),
        "top-k": measures.pathways_topk(average, settings.k or k),
    }
    pairs = _pairs(groups, settings)
    rows = []
    for kind, paths in readings.items():
        for letters, text in (("indices", False), ("characters", True)):
            strings = measures.as_text(paths) if text else measures.as_symbols(paths)
            for group, chosen in pairs.items():
                whole = measures.pair_distances(strings, chosen)
                each = measures.layer_distances(paths, chosen, text=text)
                for name, total, by_layer in (
                    ("raw", whole.raw, each.raw),
                    ("normalised", whole.normalised, each.normalised),
                ):
                    metric = f"distance, {kind}, {letters}, {name}"
                    rows.append(Row(metric, group, "all", float(total.mean()), len(chosen)))
                    means = zip(layers, by_layer.mean(1), strict=True)
                    rows += [Row(metric, group, str(at), float(mean), len(chosen)) for at, mean in means]
    return rows


def _by_sample(
    average: Tensor, entropy: Tensor, router: Tensor, layers: Sequence[int], groups: Sequence[str], settings: Settings
) -> list[Row]:
    """Means over the samples of each group: path length, distinct pathways, consistency, entropy."""
    paths = measures.pathways_cumulative(average, settings.threshold)
    lengths = np.array([[len(layer) for layer in path] for path in paths], float)  # (sample, layer)
    consistent = measures.consistency(average, router) if len(layers) > 1 else None
    rows = []
    for group, chosen in _members(groups).items():
        count = len(chosen)
        distinct = measures.distinct_pathways([paths[i] for i in chosen]) / count
        rows.append(Row("path length", group, "all", float(lengths[chosen].sum(1).mean()), count))
        rows.append(Row("distinct pathways", group, "all", distinct, count, "share of the samples"))
        rows.append(Row("routing entropy", group, "all", float(entropy[chosen].mean()), count, "of a token, nats"))
        for at, layer in enumerate(layers):
            rows.append(Row("path length", group, str(layer), float(lengths[chosen, at].mean()), count))
            rows.append(Row("routing entropy", group, str(layer), float(entropy[chosen, at].mean()), count))
        if consistent is None:
            rows.append(Row("cosine", group, "all", math.nan, 0, "one layer with a router: no consecutive layers"))
            continue
        with_direction = int(np.isfinite(consistent.cosine[chosen]).sum())
        rows.append(Row("cosine", group, "all", _mean(consistent.cosine[chosen]), with_direction))
        for at, layer in enumerate(layers[1:]):  # of a layer with the one before it
            rows.append(Row("cosine", group, str(layer), _mean(consistent.cosines[chosen, at]), count))
        undefined = float(np.isnan(consistent.c[chosen]).mean())
        note = TWO_LAYERS if consistent.reason else ""
        if not note and undefined:
            note = f"not defined for {100 * undefined:.0f} % of the samples, whose largest cosine is not positive"
        defined = round(count * (1 - undefined))
        rows.append(Row("C", group, "all", _mean(consistent.c[chosen]), defined, note))
        rows.append(Row("S = 1 - C", group, "all", _mean(consistent.s[chosen]), defined, note))
    return rows


def related(tables: Sequence[pd.DataFrame], steps: Sequence[float], accuracy: pd.DataFrame | None) -> pd.DataFrame:
    """The checkpoints' tables as one, with the statistics of each series beside it where accuracies are given.

    A `loss` in `accuracy` becomes a metric of its own, with the same statistics, to compare with. `why` says why there
    are none.
    """
    if accuracy is not None and "loss" in accuracy:
        tables = [_with_loss(t, float(v)) for t, v in zip(tables, accuracy["loss"], strict=True)]
    table = pd.concat([t.assign(at=at) for at, t in enumerate(tables)], ignore_index=True)
    at = np.asarray(steps, float)
    table["step"] = at[table["at"]]
    if accuracy is None or len(steps) == 1:
        said = "one checkpoint: measured, without statistics" if len(steps) == 1 else "no accuracies given"
        return table.assign(**_nothing(said), accuracy=math.nan)
    right = accuracy["accuracy"].to_numpy(float)
    table["accuracy"] = right[table["at"]]
    found, series = [], table.groupby(SERIES, sort=False).ngroup().to_numpy()
    values, checkpoints = table["value"].to_numpy(float), table["at"].to_numpy(int)
    for number in range(series.max() + 1):
        here = (series == number) & np.isfinite(values)
        found.append(_statistics(at[checkpoints[here]], values[here], right[checkpoints[here]]))
    return pd.concat([table, pd.DataFrame(found).iloc[series].reset_index(drop=True)], axis=1)


def _statistics(steps: Array, values: Array, accuracy: Array) -> dict[str, Any]:
    """Columns of one series: its statistics, and why there are none."""
    if not values.size:
        return _nothing("not assessable: the metric is not defined at any checkpoint")
    rows = {(row[0], row[1]): row for row in statistics_rows(steps, values, accuracy)}
    columns: dict[str, Any] = {name: rows[place][2] for name, place in STATISTICS.items()}
    columns |= {f"p_{name}": rows[STATISTICS[name]][3] for name in WITH_P}
    note = rows["pearson", ""][4]
    return {**columns, "why": note if note.startswith("not assessable") else ""}


def _nothing(why: str) -> dict[str, Any]:
    return {**dict.fromkeys((*STATISTICS, *(f"p_{name}" for name in WITH_P)), math.nan), "why": why}


def _with_loss(table: pd.DataFrame, loss: float) -> pd.DataFrame:
    row = Row("loss", ALL, "all", loss, 0, "as given")
    return pd.concat([table, pd.DataFrame([row]).assign(tokens="all")], ignore_index=True)


def _members(groups: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Samples of each group; all of them, where there are several groups, first."""
    names = np.array(groups)
    found = {ALL: np.arange(len(names))}
    return found | {str(group): np.flatnonzero(names == group) for group in dict.fromkeys(groups) if group}


def _pairs(groups: Sequence[str], settings: Settings) -> dict[str, NDArray[np.int64]]:
    """Pairs of samples: of all texts, within each group, and between groups where there are several."""
    rng = np.random.default_rng(settings.seed)
    members = _members(groups)
    pairs = {g: m[measures.drawn_pairs(len(m), settings.max_pairs, rng)] for g, m in members.items()}
    named = [g for g in members if g != ALL]
    if len(named) > 1:
        names = np.array(groups)
        one, other = rng.integers(0, len(names), (2, 4 * settings.max_pairs + 100))
        across = np.flatnonzero(names[one] != names[other])[: settings.max_pairs]
        pairs[BETWEEN] = np.stack([one[across], other[across]], 1)
    return pairs


def _mean(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan
