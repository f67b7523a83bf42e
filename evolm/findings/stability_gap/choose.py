"""Chooses the learning rates of continued pre-training, on development seeds.

    python -m evolm.findings.stability_gap.choose data/choices/stability-gap.csv data/choices/stability-gap-text.csv

A rate that serves the baseline badly would make every strategy look good, and one that is too high makes any dip. So
the rate is the one after which the baseline, the plain medical corpus once, answers most questions of the domain's task
at the end. The other arms are tried as well, to show what they would have chosen. On real text it is the rate after
which the baseline's loss on the medical validation part is lowest. Report seeds are refused.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from evolm.finding import FIRST_REPORT_SEED
from evolm.findings.stability_gap import curves, text_experiment
from evolm.findings.stability_gap.arms import CORE
from evolm.findings.stability_gap.corpora import Library
from evolm.findings.stability_gap.curves import ABILITIES, TASK, UNSEEN
from evolm.findings.stability_gap.experiment import Run, pretrained
from evolm.findings.stability_gap.facts import FactWorld
from evolm.findings.stability_gap.parameters import StabilityGapParams
from evolm.findings.stability_gap.probes import Bench
from evolm.findings.stability_gap.text_world import text_rows

SEEDS = (5, 6)
RATES = (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
TEXT_RATES = (1e-3, 2e-3, 4e-3, 8e-3)
ARMS = ("baseline", "null", "no general", "replay", "all", "all, 40 %")


def trials(seed: int) -> pd.DataFrame:
    """rate, arm, probes, seed, depth, recovery, lost, end of every rate and arm on one development seed."""
    _check(seed)
    torch.set_num_threads(1)
    params = StabilityGapParams(first_seed=seed, seeds=1)
    world = FactWorld(seed)
    base, bench = pretrained(params, world, seed, "cpu"), Bench(world, seed)
    library = Library.of(world, params.documents, params.clean, seed)
    found = []
    for rate in RATES:
        run = Run(seed, bench)
        for name in ARMS:
            run.follow(name, replace(CORE[name], rate=rate), params, base, world, library)
        tables = run.tables()
        measured = {"task": curves.accuracy(tables, TASK), "unseen": curves.accuracy(tables, UNSEEN)}
        measured["general"] = curves.abilities(tables, ABILITIES)
        for name, rows in measured.items():
            ends = curves.ends(rows).rename(columns={"value": "end"})
            found.append(curves.dips(rows).merge(ends).assign(probes=name, rate=rate))
    return pd.concat(found)[["rate", "arm", "probes", "seed", "depth", "recovery", "lost", "step", "end"]]


def text_trials(seed: int) -> pd.DataFrame:
    """rate, seed, nats: loss on the validation part of the medical text after the baseline, on real text."""
    _check(seed)
    torch.set_num_threads(1)
    params = StabilityGapParams(first_seed=seed, text_seeds=1)
    base = text_experiment.pretrained(params, seed, "cpu")
    validation = text_rows("medical", "validation", text_experiment.LENGTH)
    found = []
    for rate in TEXT_RATES:
        tried = params.model_copy(update={"text_rate": rate})
        *_, model = (model for _, model in text_experiment.continued("baseline", tried, base, seed))
        found.append({"rate": rate, "seed": seed, "nats": text_experiment.held_out_loss(model, validation)})
    return pd.DataFrame(found)


def chosen(table: pd.DataFrame, arm: str = "baseline") -> float:
    """The rate with the highest mean accuracy on the domain's task at the end of an arm."""
    rows = table[(table["arm"] == arm) & (table["probes"] == "task")]
    return _best(rows.groupby("rate")["end"].mean())


def chosen_for_text(table: pd.DataFrame) -> float:
    """The rate with the lowest mean loss on medical text."""
    return _best(-table.groupby("rate")["nats"].mean())


def _best(scores: pd.Series) -> float:
    return float(scores.index.to_numpy()[scores.to_numpy().argmax()])


def _check(seed: int) -> None:
    if seed >= FIRST_REPORT_SEED:
        raise ValueError(f"seed {seed} is a report seed; rates are chosen on seeds below {FIRST_REPORT_SEED}")


def main(facts: str, text: str) -> None:
    """Try all rates in both worlds, write every trial and print what each arm would choose."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        both = [pool.map(function, SEEDS) for function in (trials, text_trials)]
        tables = [pd.concat(tqdm(found, total=len(SEEDS), desc="choose", unit="seed")) for found in both]
    for file, table, order in (
        (facts, tables[0], ["rate", "arm", "probes", "seed"]),
        (text, tables[1], ["rate", "seed"]),
    ):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        table.sort_values(order).to_csv(file, index=False, float_format="%.6g")
    print(tables[0].groupby(["probes", "arm", "rate"])[["depth", "recovery", "end"]].mean().round(3).to_string())
    print(tables[1].groupby("rate")["nats"].mean().round(3).to_string())
    print({**{arm: chosen(tables[0], arm) for arm in ARMS}, "real text": chosen_for_text(tables[1])})


if __name__ == "__main__":
    main(*sys.argv[1:])
