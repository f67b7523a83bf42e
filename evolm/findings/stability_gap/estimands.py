"""What each claim estimates, one number per seed and arm, from the tables of a record.

Functions named by the claims take `(tables, params)` and return the frame of their kind (see `evolm.evidence`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evolm.findings.stability_gap import curves
from evolm.findings.stability_gap.curves import GENERAL, TASK, UNSEEN

if TYPE_CHECKING:
    from evolm.findings.stability_gap.parameters import StabilityGapParams

Tables = dict[str, pd.DataFrame]
NO_EVIDENCE = pd.DataFrame()


def chosen(rows: pd.DataFrame, column: str, *arms: str) -> pd.DataFrame:
    """seed, arm, value of some arms."""
    found = rows[rows["arm"].isin(arms)].rename(columns={column: "value"})
    return found[["seed", "arm", "value"]].reset_index(drop=True) if len(found) else NO_EVIDENCE


def dip(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """Depth of the dip in the domain's task, and of the null shift's under the same schedule."""
    return chosen(curves.dips(curves.accuracy(tables, TASK)), "depth", "baseline", "null")


def recovery(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """How much comes back by the end of facts that no later text holds; and without any general text."""
    return chosen(curves.dips(curves.accuracy(tables, UNSEEN)), "recovery", "baseline", "no general")


def forgetting(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """General ability at the end, with and without replayed general text."""
    return chosen(curves.ends(curves.accuracy(tables, GENERAL)), "value", "replay", "no general")


def strategies(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """The domain's task at the end: all three strategies on 40 % of the tokens, and the plain corpus on all."""
    return chosen(curves.ends(curves.accuracy(tables, TASK)), "value", "all, 40 %", "baseline")


def strategies_equal(tables: Tables, params: StabilityGapParams) -> pd.DataFrame:
    """The same at equal tokens."""
    return chosen(curves.ends(curves.accuracy(tables, TASK)), "value", "all", "baseline")
