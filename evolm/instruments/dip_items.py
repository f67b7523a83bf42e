"""Right and wrong answers by step and item: checked, and brought into one order of items.

    means, outcomes = item_outcomes(table, "items.csv")      columns step, item, correct, run

The same items must be answered at every step, so that a step can be chosen on some of them and read on the others.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from evolm.instruments.dip_cells import BadSeries, boolean
from evolm.instruments.dip_statistics import Array


def item_outcomes(table: pd.DataFrame, place: str) -> tuple[pd.DataFrame, dict[str, dict[float, Array]]]:
    """Mean of each run and step (run, step, value), and by run and step the outcomes (items,), items in one order.

    `table` has the columns run, step, item, correct. Raises BadSeries for an item without a name, an answer that is
    neither right nor wrong, one that is there twice, and items that differ between the steps of a run.
    """
    if (empty := np.flatnonzero(table["item"].isna())).size:
        raise BadSeries(f"{place}, row {table.index[empty[0]] + 1}: item is empty; expected a name in every row")
    correct = [boolean(value) for value in table["correct"]]
    if bad := [i for i, value in enumerate(correct) if value is None]:
        found = f"{place}, row {table.index[bad[0]] + 1}: correct is {table['correct'].iloc[bad[0]]!s}"
        raise BadSeries(f"{found}; expected true or false, or 1 or 0 ({len(bad)} such rows)")
    table = table.assign(value=np.array(correct, float), item=table["item"].map(str))
    if (twice := np.flatnonzero(table.duplicated(["run", "step", "item"]))).size:
        row = table.iloc[twice[0]]
        found = f"{place}, row {table.index[twice[0]] + 1}: item {row['item']} of step {row['step']:g}"
        raise BadSeries(f"{found} is there already; expected each item once a step, runs told apart by a column run")
    outcomes: dict[str, dict[float, Array]] = {}
    means = []
    for name, rows in table.groupby("run", sort=False):
        run, steps = str(name), {}
        items: list[str] | None = None
        for step, answers in rows.groupby("step", sort=False):
            here = dict(zip(answers["item"], answers["value"], strict=True))
            items = list(here) if items is None else items
            if set(items) != set(here):
                example = sorted(set(items) ^ set(here))[0]
                raise BadSeries(
                    f"{place}: the items of step {step:g} are not those of the first step ({example}, for one); keep "
                    "the items that every step has"
                )
            steps[float(str(step))] = np.array([here[item] for item in items])
            means.append(
                {"run": run, "step": float(str(step)), "value": answers["value"].mean(), "row": answers.index[0]}
            )
        outcomes[run] = steps
    return pd.DataFrame(means).set_index("row"), outcomes
