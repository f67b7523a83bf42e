"""Chooses learning rate, weight decay and strengths of the penalties, on development seeds.

    python -m evolm.findings.grokking_pathways.choose data/choices/grokking-pathways.csv

Rate and decay are those with which held-out accuracy rises most between memorisation and the end, mean over learnable
groups: where nothing is gained during the lag no metric could follow it. Settings under which training pairs are
forgotten again, mean accuracy of some group below .95 over the second half of the run, are out: there is no lag in
them. Of the penalties on dispersion the one is chosen with which held-out accuracy is highest over the run, so that the
intervention is tried at its best; of those on the routers' norms the one that leaves the dispersion nearest to what
that penalty leaves. No choice looks at how a metric moves with accuracy. Report seeds are refused.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from evolm.finding import FIRST_REPORT_SEED
from evolm.findings.grokking_pathways import curves
from evolm.findings.grokking_pathways.arms import Arm, shape_of
from evolm.findings.grokking_pathways.curves import Tables
from evolm.findings.grokking_pathways.experiment import labelled, on_pairs
from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams
from evolm.findings.grokking_pathways.tables import hidden_classes

SEEDS = (5, 6)
RATES, DECAYS = (1.5e-3, 3e-3, 6e-3), (0.5, 1.0, 1.5, 2.0)
DISPERSION, NORM = (0.1, 0.3, 1.0, 3.0), (0.01, 0.03, 0.1, 0.3, 1.0)
#: Lowest mean accuracy of a group on training pairs over the second half of a run that counts as memorised.
HELD = 0.95


def tried(arms: dict[str, Arm], params: GrokkingPathwaysParams, seed: int) -> Tables:
    """The tables of some arms on one development seed."""
    if seed >= FIRST_REPORT_SEED:
        raise ValueError(f"seed {seed} is a report seed; settings are chosen on seeds below {FIRST_REPORT_SEED}")
    torch.set_num_threads(1)
    world = hidden_classes(params.classes, params.symbols, params.fraction, params.random_fraction, seed=seed)
    return labelled(on_pairs(arms, world, shape_of(params, world), params, seed, "cpu"), "tables", seed)


def trials(seed: int, base: GrokkingPathwaysParams | None = None) -> pd.DataFrame:
    """choice, rate, decay, seed, gain, held, end of every rate and decay; `base` has all other parameters."""
    arms = {f"{decay:g}": Arm(decay=decay) for decay in DECAYS}
    found = []
    for rate in RATES:
        params = (base or GrokkingPathwaysParams()).model_copy(update={"rate": rate})
        tables = tried(arms, params, seed)
        late = tables["curve"][tables["curve"]["step"] >= params.steps / 2]
        held = late.groupby(["arm", "group"])["dating_accuracy"].mean().groupby("arm").min()
        for name in arms:
            gain = curves.changes(tables, "tables", [name], "test_accuracy")["value"].mean()
            end = curves.ends(tables, "tables", [name])["value"].mean()
            row = {"choice": "optimiser", "rate": rate, "decay": float(name), "seed": seed}
            found.append({**row, "gain": gain, "held": held[name], "end": end})
    return pd.DataFrame(found)


def penalty_trials(seed: int, rate: float, decay: float, base: GrokkingPathwaysParams | None = None) -> pd.DataFrame:
    """choice, strength, seed, over_run (held-out accuracy), dispersion (at the end) of every penalty, and of none."""
    params = (base or GrokkingPathwaysParams()).model_copy(update={"rate": rate, "decay": decay})
    arms = {"trained": Arm(strength=0.0)}
    arms |= {f"penalised {strength:g}": Arm(penalty="dispersion", strength=strength) for strength in DISPERSION}
    arms |= {f"norm penalised {strength:g}": Arm(penalty="norm", strength=strength) for strength in NORM}
    tables = tried(arms, params, seed)
    training = tables["training"]
    late = training[training["step"] >= (1 - curves.END) * params.steps].groupby("arm")["dispersion"].mean()
    reached = curves.over_run(tables, "tables", list(arms)).set_index("arm")["value"]
    return pd.DataFrame(
        {
            "choice": name.rstrip("0123456789. "),
            "strength": arm.strength,
            "seed": seed,
            "over_run": reached[name],
            "dispersion": late[name],
        }
        for name, arm in arms.items()
    )


def chosen(table: pd.DataFrame) -> tuple[float, float]:
    """The rate and decay with the highest mean gain, of those that keep training pairs memorised."""
    means = table[table["choice"] == "optimiser"].groupby(["rate", "decay"], as_index=False)[["gain", "held"]].mean()
    kept = means[means["held"] >= HELD]
    if kept.empty:
        raise ValueError(f"no setting keeps every group memorised (accuracy {HELD:g}); try smaller rates and decays")
    rate, decay = kept[["rate", "decay"]].to_numpy(float)[kept["gain"].to_numpy().argmax()]
    return float(rate), float(decay)


def chosen_penalties(table: pd.DataFrame) -> tuple[float, float]:
    """Strengths of the penalty on dispersion and of the one on norms."""
    own, other = (
        table[table["choice"] == name].groupby("strength")[["over_run", "dispersion"]].mean()
        for name in ("penalised", "norm penalised")
    )
    best = own.index.to_numpy()[own["over_run"].to_numpy().argmax()]
    apart = (other["dispersion"] - own["dispersion"].to_numpy()[own["over_run"].to_numpy().argmax()]).abs()
    return float(best), float(apart.index.to_numpy()[apart.to_numpy().argmin()])


def main(file: str) -> None:
    """Try everything, write every trial and print what is chosen."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        first = pd.concat(tqdm(pool.map(trials, SEEDS), total=len(SEEDS), desc="choose", unit="seed"))
        rate, decay = chosen(first)
        count = len(SEEDS)
        second = pd.concat(
            tqdm(pool.map(penalty_trials, SEEDS, [rate] * count, [decay] * count), total=count, desc="penalties")
        )
    table = pd.concat([first, second], ignore_index=True)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    order = ["choice", "rate", "decay", "strength", "seed"]
    table[[*order, *(name for name in table if name not in order)]].sort_values(order).to_csv(
        file, index=False, float_format="%.6g"
    )
    print(first.groupby(["rate", "decay"])[["gain", "held", "end"]].mean().round(3).to_string())
    print(second.groupby(["choice", "strength"])[["over_run", "dispersion"]].mean().round(4).to_string())
    print({"rate, decay": (rate, decay), "penalty, norm_penalty": chosen_penalties(second)})


if __name__ == "__main__":
    main(*sys.argv[1:])
