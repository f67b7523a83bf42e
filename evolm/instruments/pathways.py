"""Expert pathways of a mixture of experts over its checkpoints: do they tell of accuracy more than the step does?

    evolm measure pathways ckpt-0 ckpt-100 ckpt-200 -p texts=texts.txt
    evolm measure pathways ckpt-* -p texts=texts.jsonl -p accuracy=accuracy.csv -p layers=each -o table.csv
    evolm measure pathways allenai/OLMoE-1B-7B-0924 -p texts=texts.txt -p revisions=paper -p accuracy=accuracy.csv

Li, Fan & Zhou (2025): while a model generalises after it has memorised, the pathways of training samples through its
experts come closer to each other and become more consistent across layers, and both correlate with test accuracy. Here
every reading of their metrics stands beside the others, and beside each raw correlation stands what is left of it
without the step, with a p by circular shifts: over a few trending checkpoints a raw |r| is near 1 for anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evolm.instruments import pathway_checkpoints, pathway_texts
from evolm.instruments.pathway_checkpoints import Checkpoint
from evolm.instruments.pathway_models import Moe, Routing, open_moe, route
from evolm.instruments.pathway_table import SERIES, Settings, measured, related

SUMMARY = {"step": "step", "tokens": "tokens", "group": "group", "layer": "layer", "value": "value", "note": "note"}
#: Fewer checkpoints than this cannot give a p of .05 by shifts.
FEW = 20
COLUMNS = (
    *("model", "checkpoint", "step", "metric", "tokens", "group", "layer", "value", "items", "accuracy", "points"),
    *("pearson", "spearman", "partial_step", "p_partial_step", "partial_log_step", "p_partial_log_step"),
    *("partial_curve", "p_partial_curve", "partial_rank", "p_partial_rank", "difference", "p_difference", "lead"),
    *("note", "sentence"),
)


def measure_models(
    models: Iterable[str | Path],
    *,
    texts: str | None = None,
    accuracy: str | None = None,
    revisions: str | Sequence[str] | None = None,
    steps: float | Sequence[float] | None = None,
    tokens: str | Sequence[str] = "all",
    threshold: float = 0.7,
    k: int | None = None,
    layers: str = "all",
    max_pairs: int = 2000,
    max_tokens: int = 512,
    batch_size: int = 16,
    already_probabilities: bool = False,
    yes: bool = False,
    device: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Pathways of `texts` through mixtures of experts of transformers, the checkpoints of one run.

    Models: folders, assets or hub ids; or one hub id with `revisions`, a list of its branches, or `paper` for the ten
    of the paper (140 GB: its cost is said first, `yes` goes on). Steps are read from the names, or given as `steps`.
    `texts`: a .txt (a text per line) or .jsonl (`text`, or `prompt` and `answer`; `group`), see
    `evolm.instruments.pathway_texts`. `accuracy`: a .csv with step or model, accuracy, and if you like loss.

    `tokens`: over which routing weights are averaged: all, answer (positions that predict it), last; or several.
    `threshold`: of cumulative weight, 0.7 as in the paper; `k`: of top-k pathways, the model's own number if None.
    `layers`: `each` adds a row for every layer. `max_pairs`: pairs of samples behind a distance. `max_tokens`: texts
    are cut there. `already_probabilities`: for releases of transformers whose routers returned probabilities.

    One row per checkpoint, metric, tokens, group and layer; statistics of a series (evolm.instruments.
    pathway_statistics) are repeated in its rows. Columns: model, checkpoint, step, metric, tokens, group, layer,
    value, items (samples or pairs), accuracy, points, pearson, spearman, partial_step, partial_log_step, partial_curve
    and partial_rank (given the step), difference, their p_..., lead (in checkpoints), note, sentence.
    """
    if texts is None:
        raise ValueError("say what to route: -p texts=FILE, a .txt with a text per line or a .jsonl")
    if layers not in ("all", "each"):
        raise ValueError(f"layers is {layers!r}; expected all (over all layers) or each (and a row for every layer)")
    if batch_size < 1 or max_pairs < 1:
        raise ValueError(f"batch_size is {batch_size} and max_pairs {max_pairs}; expected 1 or more")
    readings: list[Any] = [part.strip() for part in tokens.split(",")] if isinstance(tokens, str) else list(tokens)
    asked = pathway_texts.read_texts(texts)
    given = None if steps is None else [steps] if isinstance(steps, (int, float)) else list(steps)
    chosen = pathway_checkpoints.checkpoints([str(model) for model in models], revisions, given, yes=yes)
    known = None if accuracy is None else pathway_checkpoints.read_accuracy(accuracy, chosen)
    settings = Settings(threshold, k, max_pairs, layers == "each", seed)
    tables, notes = _measured(
        chosen, partial(pathway_texts.encode, asked, readings=readings), settings, max_tokens, device,
        partial(route, batch_size=batch_size, already_probabilities=already_probabilities),
    )  # fmt: skip
    return _finished(related(tables, [checkpoint.step for checkpoint in chosen], known), chosen, notes)


def _measured(
    chosen: Sequence[Checkpoint],
    encode: Callable[..., pathway_texts.Encoded],
    settings: Settings,
    max_tokens: int,
    device: str | None,
    route_all: Callable[[Moe, pathway_texts.Encoded], Routing],
) -> tuple[list[pd.DataFrame], list[str]]:
    """A table for each checkpoint, which must be of one run, and what to say of them all. One is open at a time."""
    tables: list[pd.DataFrame] = []
    notes: list[str] = []
    encoded, vocabulary, shape = None, None, None
    for checkpoint in chosen:
        moe = open_moe(checkpoint.name, checkpoint.revision, device)
        own = None if moe.tokenizer is None else moe.tokenizer.get_vocab()
        if encoded is None:
            if own is None:
                raise ValueError(f"{moe.name} has no tokenizer; save one with it: tokenizer.save_pretrained(FOLDER)")
            encoded = encode(tokenizer=moe.tokenizer, max_tokens=min(max_tokens, moe.context))
            vocabulary, shape = own, moe.router_rows.shape
            notes += [f"{encoded.truncated} of {len(encoded.ids)} texts are cut"] if encoded.truncated else []
        elif own not in (None, vocabulary):
            raise ValueError(_not_one_run(moe.name, chosen[0].shown, "tokenizers"))
        router = moe.router_rows
        if router.shape != shape:
            raise ValueError(_not_one_run(moe.name, chosen[0].shown, "layers, experts or widths"))
        tables.append(measured(route_all(moe, encoded), router, moe.layers, encoded.groups, settings))
        del moe  # before the next one is opened
    return tables, notes


def _finished(table: pd.DataFrame, chosen: Sequence[Checkpoint], notes: Sequence[str]) -> pd.DataFrame:
    """Names, notes and a sentence for every series; columns in their order."""
    first, last = chosen[0], chosen[-1]
    name = first.name if len(chosen) == 1 or first.name == last.name else f"{first.name} to {last.name}"
    table["model"], table["points"] = name, len(chosen)
    if (table["step"] % 1 == 0).all():
        table["step"] = table["step"].astype("int64")
    table["checkpoint"] = [chosen[at].shown for at in table["at"]]
    table["order"] = table.groupby(SERIES, sort=False).ngroup()
    table = table.sort_values(["order", "at"], kind="stable").reset_index(drop=True)
    ends = table.drop_duplicates("order"), table.drop_duplicates("order", keep="last")
    pairs = zip(ends[0].to_dict("records"), ends[1].to_dict("records"), strict=True)
    sentences = np.array([_sentence(first, last, len(chosen), notes) for first, last in pairs], object)
    table["sentence"] = sentences[table["order"]]
    return table[list(COLUMNS)]


def _sentence(first: Mapping[Any, Any], last: Mapping[Any, Any], count: int, notes: Sequence[str]) -> str:
    """What a series of `count` checkpoints does, by its rows at the ends, and what it has to do with accuracy."""
    said = f"{first['metric']} is {_number(first['value'])}"
    if count > 1:
        said += f" at step {first['step']:,.12g} and {_number(last['value'])} at step {last['step']:,.12g}"
    if first["why"]:
        said += f"; {first['why']}"
    else:
        said += f"; its raw r with accuracy is {_number(first['pearson'])}"
        if math.isfinite(first["partial_curve"]):
            said += f", without the course over steps {_number(first['partial_curve'])}"
            said += f" (p = {first['p_partial_curve']:.2g})"
        elif math.isfinite(first["partial_step"]):
            said += f", given the step {_number(first['partial_step'])} (p = {first['p_partial_step']:.2g})"
        else:
            said += ", and nothing can be said without the step"
        if math.isfinite(first["difference"]):
            said += f", of changes {_number(first['difference'])} (p = {first['p_difference']:.2g})"
        if count < FEW:
            said += f"; over {count} checkpoints no p is below {1 / count:.2g}"
    return "; ".join([said, *notes]) + "."


def _number(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.3g}".replace("-", "−")


def _not_one_run(name: str, first: str, what: str) -> str:
    return f"{name} and {first} have different {what}, so they are not checkpoints of one run; measure them apart"
