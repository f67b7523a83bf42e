"""What the gain of one example is made of: form, the mode turned, and the rest.

    parts(tables, params)        # part, value, low, high: adds up to the gain in pass@1

A base that opens in the careful mode with probability c succeeds with p = c p_c + (1 - c) p_s, where p_c is measured by
forcing the mode. Turning c into the tuned model's c' and changing nothing else gives the part of elicitation; raising
the share of well-formed completions w to w' on top of that gives the part of form; what the tuned model has beyond that
product, or has lost against it, is the rest: better or worse execution and routing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evolm.findings.one_shot import curves
from evolm.intervals import seed_interval

if TYPE_CHECKING:
    from evolm.findings.one_shot.parameters import OneShotParams

Tables = dict[str, pd.DataFrame]
PARTS = ("the mode turned", "form repaired", "the rest")


def by_run(tables: Tables, arm: str = "one") -> pd.DataFrame:
    """One row per run of an arm on the base `latent`: seed, example, and the three parts of its gain."""
    accuracy = curves.final(curves.heldout(tables, base="latent", arm=["base", arm])).rename(columns={"value": "p"})
    rows = accuracy.merge(tables["inside"], on=[*curves.RUN, "step"])
    start = rows[rows["arm"] == "base"].set_index("seed")
    forced = curves.kept(tables["levels"], base="latent", quantity="forced careful").set_index("seed")["value"]
    rows = rows[rows["arm"] == arm].join(start[["p", "careful", "well_formed"]].add_suffix("_0"), "seed")
    rows["forced"] = rows["seed"].map(forced)
    sloppy = (rows["p_0"] - rows["careful_0"] * rows["forced"]) / (1 - rows["careful_0"])
    turned = rows["careful"] * rows["forced"] + (1 - rows["careful"]) * sloppy
    formed = turned * rows["well_formed"] / rows["well_formed_0"]
    values = dict(zip(PARTS, (turned - rows["p_0"], formed - turned, rows["p"] - formed), strict=True))
    return rows[["seed", "example"]].assign(**values)


def parts(tables: Tables, params: OneShotParams, arm: str = "one") -> pd.DataFrame:
    """part, value, low, high: means over examples, then seeds, with 95 % intervals over seeds (none for one seed)."""
    means = by_run(tables, arm).groupby("seed")[list(PARTS)].mean()
    rows = []
    for part in PARTS:
        value = float(means[part].mean())
        low, high = seed_interval(means[part].to_numpy(float), 0.95) if len(means) > 1 else (value, value)
        rows.append({"part": part, "value": value, "low": float(low), "high": float(high)})
    return pd.DataFrame(rows)
