"""Chooses learning rates, the entropy bonus and the saturation threshold, on development seeds and validation problems.

    python -m evolm.findings.one_shot.choose data/choices/one-shot.csv

The protocol: every setting gets a grid of four values, and more beyond an edge that wins. Values whose held-out
pass@1 at the last step, mean over development seeds and the control examples, is within `TIE` of the best are ties, and
the largest of them is taken: it gets further in as many steps. The threshold of saturation is the highest that four of
five runs on an example of the kind `switch` reach in the first two thirds of their steps. Report seeds are refused, and
a development seed cannot see the split "test" (`protocol`), so nothing here is chosen on what the chapter reports.
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

from evolm.findings.one_shot.arms import FORM, FULL, IMITATE, ONE, VARIANTS, WORKED, Arm
from evolm.findings.one_shot.examples import kinds_of
from evolm.findings.one_shot.experiment import Part
from evolm.findings.one_shot.parameters import OneShotParams
from evolm.findings.one_shot.protocol import check_development

SEEDS, EXAMPLES = (5, 6), 3
SGD, ADAMW = (3e-4, 1e-3, 3e-3, 1e-2), (1e-5, 3e-5, 1e-4, 3e-4)
#: Parameter -> the arm that is tried and its grid. The later ones build on the first.
GRIDS: dict[str, tuple[Arm, tuple[float, ...]]] = {
    "lr_one": (ONE, SGD),
    "lr_full": (FULL, (*SGD, 3e-2)),
    "lr_format": (FORM, SGD),
    "lr_imitate": (IMITATE, SGD),
    "lr_worked": (WORKED, SGD),
    "lr_updates": (VARIANTS["updates"], (1e-4, *SGD)),
    "lr_other": (VARIANTS["other"], ADAMW),
    "lr_other_updates": (VARIANTS["other-updates"], (3e-6, *ADAMW)),
    "lr_entropy": (VARIANTS["entropy-only"], (1e-5, 3e-5, 1e-4, *SGD)),
    "entropy_coef": (VARIANTS["entropy"], (0.003, 0.01, 0.03, 0.1, 0.3)),
}
TIE = 0.01
REACHED, IN_TIME = 0.8, 2 / 3


def trial(seed: int, name: str, value: float) -> list[dict[str, Any]]:
    """One value of one parameter on one development seed: a row per example."""
    check_development(seed)
    import torch

    torch.set_num_threads(1)
    arm, _ = GRIDS[name]
    steps = OneShotParams().rl_steps
    params = OneShotParams.model_validate({"first_seed": seed, "seeds": 1, name: value, "every": steps})
    rows = []
    for example in [-1] if arm is FULL else range(EXAMPLES):
        part = Part(params, "latent", seed, "cpu")
        problems = part.pool if arm is FULL else [part.pool[part.drawn[example]]]
        part.run(arm, example, problems)
        tables = part.tables()
        last = tables["accuracy"]
        score = float((last["pass_at_1"] * last["problems"]).sum() / last["problems"].sum())
        reached = tables["saturation"].set_index("threshold")["step"].to_dict() if "saturation" in tables else {}
        kind = "" if arm is FULL else kinds_of(part.task, problems)[0]
        facts = {"seed": seed, "parameter": name, "value": value, "example": example, "kind": kind}
        facts |= {"set": last["set"].iloc[0], "score": score}
        rows.append(facts | {f"reached_{threshold:g}": step for threshold, step in reached.items()})
    return rows


def chosen(table: pd.DataFrame) -> dict[str, float]:
    """Parameter -> the largest of the values that tie for the best mean score over seeds and examples."""
    means = table.groupby(["parameter", "value"])["score"].mean().reset_index()
    ties = means[means["score"] >= means.groupby("parameter")["score"].transform("max") - TIE]
    best = ties.groupby("parameter")["value"].max()
    return {str(name): float(value) for name, value in best.items()}


def chosen_threshold(table: pd.DataFrame) -> float:
    """The highest threshold that enough of the runs on a `switch` example reach in time, at the chosen rate."""
    runs = table[(table["parameter"] == "lr_one") & (table["value"] == chosen(table)["lr_one"])]
    runs = runs[runs["kind"] == "switch"]
    steps = OneShotParams().rl_steps * IN_TIME
    columns = [str(name) for name in table.columns if str(name).startswith("reached_")]
    enough = [float(name.removeprefix("reached_")) for name in columns if (runs[name] <= steps).mean() >= REACHED]
    if not enough:
        raise ValueError("no threshold is reached by enough runs; train longer, or allow lower thresholds")
    return max(enough)


def main(file: str) -> None:
    """Try the grids, write every trial to `file` and print what was chosen."""
    tasks = [(seed, name, value) for seed, (name, (_, grid)) in product(SEEDS, GRIDS.items()) for value in grid]
    for seed in SEEDS:  # its base model, once
        Part(OneShotParams(first_seed=seed, seeds=1), "latent", seed, "cpu")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(trial, *task) for task in tasks]
        rows = [row for future in tqdm(futures, desc="choose", unit="trial") for row in future.result()]
    table = pd.DataFrame(rows).sort_values(["parameter", "value", "seed", "example"], ignore_index=True)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(file, index=False, float_format="%.6g")
    print(table.groupby(["parameter", "value"])["score"].mean().unstack().round(3).to_string())
    print({**chosen(table), "saturation": chosen_threshold(table)})


if __name__ == "__main__":
    main(sys.argv[1])
