"""Chooses learning rates and the saturation threshold, on development seeds and the split "validation" alone.

    python -m evolm.findings.one_shot.choose data/choices/one-shot.csv

The protocol: every arm class gets a grid of four learning rates, and a fifth beyond an edge that wins; the one with the
highest held-out pass@1 at the last step is taken, mean over development seeds and the first examples drawn. The
threshold is the highest that four of five one-example runs reach in the first two thirds of their steps. Report seeds
are refused, and a development seed cannot see the split "test" (`measure.splits_of`), so nothing here is chosen on what
the chapter reports.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from evolm.finding import FIRST_REPORT_SEED
from evolm.findings.one_shot.arms import CONTROLS, FULL, ONE, VARIANTS, Arm
from evolm.findings.one_shot.experiment import Part
from evolm.findings.one_shot.parameters import OneShotParams

SEEDS, EXAMPLES = (5, 6), 3
SGD, ADAMW = (3e-4, 1e-3, 3e-3, 1e-2), (1e-5, 3e-5, 1e-4, 3e-4)
#: Rate -> the arm that is tried and the grid of its optimiser.
GRIDS: dict[str, tuple[Arm, tuple[float, ...]]] = {
    "one": (ONE, SGD),
    "full": (FULL, (*SGD, 3e-2)),
    "format": (CONTROLS[0], SGD),
    "imitate": (CONTROLS[2], SGD),
    "updates": (VARIANTS["updates"], (1e-4, *SGD)),
    "other": (VARIANTS["other"], ADAMW),
    "other_updates": (VARIANTS["other-updates"], (3e-6, *ADAMW)),
}
REACHED, IN_TIME = 0.8, 2 / 3


def trial(seed: int, name: str, lr: float) -> list[dict[str, Any]]:
    """One learning rate of one arm on one development seed: a row per example."""
    if seed >= FIRST_REPORT_SEED:
        raise ValueError(f"seed {seed} is a report seed; settings are chosen on seeds below {FIRST_REPORT_SEED}")
    import torch

    torch.set_num_threads(1)
    arm, _ = GRIDS[name]
    params = OneShotParams.model_validate({"first_seed": seed, "seeds": 1, f"lr_{name}": lr, "every": 150})
    rows = []
    for example in [-1] if arm is FULL else range(EXAMPLES):
        part = Part(params, "latent", seed, "cpu")
        part.run(arm, example, part.pool if arm is FULL else [part.pool[part.drawn[example]]])
        tables = part.tables()
        last = tables["accuracy"]
        value = float((last["pass_at_1"] * last["problems"]).sum() / last["problems"].sum())
        reached = tables["saturation"].set_index("threshold")["step"].to_dict() if "saturation" in tables else {}
        facts = {"seed": seed, "rate": name, "lr": lr, "example": example, "set": last["set"].iloc[0], "value": value}
        rows.append(facts | {f"reached_{threshold:g}": step for threshold, step in reached.items()})
    return rows


def chosen_rates(table: pd.DataFrame) -> dict[str, float]:
    """Rate -> the learning rate with the best mean over seeds and examples."""
    means = table.groupby(["rate", "lr"])["value"].mean()
    best = means.loc[means.groupby("rate").idxmax()].reset_index()
    return dict(zip(best["rate"], best["lr"].astype(float), strict=True))


def chosen_threshold(table: pd.DataFrame) -> float:
    """The highest threshold that enough of the one-example runs at the chosen rate reach in time."""
    runs = table[(table["rate"] == "one") & (table["lr"] == chosen_rates(table)["one"])]
    steps = OneShotParams().rl_steps * IN_TIME
    columns = [str(name) for name in table.columns if str(name).startswith("reached_")]
    enough = [float(name.removeprefix("reached_")) for name in columns if (runs[name] <= steps).mean() >= REACHED]
    if not enough:
        raise ValueError("no threshold is reached by enough runs; train longer, or allow lower thresholds")
    return max(enough)


def main(file: str) -> None:
    """Try the grids, write every trial to `file` and print what was chosen."""
    tasks = [(seed, name, lr) for seed, (name, (_, grid)) in product(SEEDS, GRIDS.items()) for lr in grid]
    for seed in SEEDS:  # its base model, once
        Part(OneShotParams(first_seed=seed, seeds=1), "latent", seed, "cpu")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(trial, *task) for task in tasks]
        rows = [row for future in tqdm(futures, desc="choose", unit="trial") for row in future.result()]
    table = pd.DataFrame(rows).sort_values(["rate", "lr", "seed", "example"], ignore_index=True)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(file, index=False, float_format="%.6g")
    print(table.groupby(["rate", "lr"])["value"].mean().unstack().round(3).to_string())
    print({**chosen_rates(table), "saturation": chosen_threshold(table)})


if __name__ == "__main__":
    main(sys.argv[1])
