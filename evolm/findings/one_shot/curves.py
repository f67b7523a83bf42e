"""Held-out accuracy, its gain over the base, and what follows saturation: what figures and claims both start from.

A run is one training of one arm: seed, base, arm and example (-1 where an arm has no single example). All functions
take the tables of a record and return one row per run and step, or fewer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evolm.lm.tasks.automaton_world import AutomatonSettings

Tables = dict[str, pd.DataFrame]
#: The headline measure: exact, where greedy decoding only sees the likeliest completion.
PRIMARY = "pass_at_1"
#: The method that no base has seen.
ABSENT = AutomatonSettings().absent
#: What tells runs apart.
RUN = ["seed", "base", "arm", "example"]
#: Steps that the training reward is averaged over: the window in the definition of saturation.
WINDOW = 10


def kept(rows: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows whose columns hold a value or one of a list, as in `base="latent", arm=["one", "full"]`."""
    for column, value in where.items():
        rows = rows[rows[column].isin(value if isinstance(value, list) else [value])]
    return rows


def heldout(tables: Tables, quantity: str = PRIMARY, set: str = "test", **where: Any) -> pd.DataFrame:
    """A quantity of the table `accuracy` as the mean over problems: seed, base, arm, example, step, value.

    `where` may keep some of the problems (`needed`, `kind`) or of the runs. Steps at which the quantity was
    not measured are left out.
    """
    rows = kept(tables["accuracy"], set=set, **where)
    rows = rows[(rows["problems"] > 0) & rows[quantity].notna()]
    solved = rows[quantity].astype(float) * rows["problems"]
    sums = rows.assign(value=solved).groupby([*RUN, "step"])[["value", "problems"]].sum()
    return (sums["value"] / sums["problems"]).rename("value").reset_index()


def gain(tables: Tables, quantity: str = PRIMARY, set: str = "test", **where: Any) -> pd.DataFrame:
    """`heldout` less that of the untrained base (step 0) of the same seed, on the same problems.

    Raises `ValueError` where a run's base was not measured.
    """
    problems = {column: value for column, value in where.items() if column not in ("arm", "example", "step")}
    base = heldout(tables, quantity, set, **{**problems, "arm": "base"})
    rows = heldout(tables, quantity, set, **where)
    rows = rows[rows["arm"] != "base"].join(base.set_index(["seed", "base"])["value"].rename("start"), ["seed", "base"])
    if len(lost := rows[rows["start"].isna()]):
        seed, name = lost.iloc[0][["seed", "base"]]
        raise ValueError(f"seed {seed} has no {quantity} of the base {name!r} at step 0, so no gain can be taken")
    return rows.assign(value=rows["value"] - rows["start"]).drop(columns="start")


def final(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of every run's last step: the fixed one."""
    return rows[rows["step"] == rows.groupby(RUN)["step"].transform("max")]


def per_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """`value` as the mean over examples: seed, base, arm, step, value."""
    return rows.groupby(["seed", "base", "arm", "step"])["value"].mean().reset_index()


def from_base(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of every run with its base's, step 0, before them; `rows` has those of the arm `base` too."""
    trained = rows[rows["arm"] != "base"]
    start = rows[rows["arm"] == "base"].drop(columns=["arm", "example"])
    begun = trained[RUN].drop_duplicates().merge(start, on=["seed", "base"])
    return pd.concat([begun, trained]).sort_values([*RUN, "step"], ignore_index=True)


def best_checkpoint(tables: Tables) -> pd.DataFrame:
    """The trained step of every run with the best pass@1 on validation problems, the first of equals."""
    rows = heldout(tables, set="validation")
    rows = rows[rows["step"] > 0].sort_values([*RUN, "step"], ignore_index=True)
    return rows.loc[rows.groupby(RUN)["value"].idxmax(), [*RUN, "step"]]


def training_reward(tables: Tables, **where: Any) -> pd.DataFrame:
    """Mean training reward of the last `WINDOW` steps: seed, base, arm, example, step, value."""
    rows = kept(tables["training"], **where).sort_values([*RUN, "step"])
    spacing = rows.groupby(RUN)["step"].diff().min()
    window = max(1, round(WINDOW / spacing)) if spacing > 0 else 1
    mean = rows.groupby(RUN)["reward"].transform(lambda reward: reward.rolling(window).mean())
    return rows[[*RUN, "step"]].assign(value=mean).dropna(subset=["value"])


def saturated(tables: Tables, threshold: float, **where: Any) -> pd.DataFrame:
    """Seed, base, arm, example, step: where the training reward first reached the threshold; NaN where it never did."""
    rows = kept(tables["saturation"], **where)
    return rows.loc[np.isclose(rows["threshold"].astype(float), threshold), [*RUN, "step"]]


def after_saturation(tables: Tables, threshold: float, **where: Any) -> pd.DataFrame:
    """Change of `heldout` since saturation, of runs that are measured again after it: seed, base, arm, example, step,
    since, value.

    It is counted from the first measured step at or after saturation, so a rise before that step is not in it.
    """
    steps = saturated(tables, threshold, **where).dropna(subset=["step"]).rename(columns={"step": "reached"})
    rows = heldout(tables, **where).merge(steps, on=RUN)
    rows = _since_first(rows[rows["step"] >= rows["reached"]].drop(columns="reached"))
    return rows[rows.groupby(RUN)["since"].transform("max") > 0]


def over_same_steps(tables: Tables, runs: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Change of `heldout` of another arm on the same examples over the steps of `runs` (of `after_saturation`)."""
    begun = (runs["step"] - runs["since"]).rename("begun")
    window = runs.assign(begun=begun).groupby(["seed", "base", "example"])[["begun", "step"]].max()
    rows = heldout(tables, arm=arm).merge(window.rename(columns={"step": "end"}).reset_index())
    return _since_first(rows[rows["step"].between(rows["begun"], rows["end"])].drop(columns=["begun", "end"]))


def _since_first(rows: pd.DataFrame) -> pd.DataFrame:
    """`since`, the steps since a run's first row, and `value` less that row's."""
    rows = rows.sort_values([*RUN, "step"])
    first = rows.groupby(RUN)[["step", "value"]].transform("first")
    return rows.assign(since=rows["step"] - first["step"], value=rows["value"] - first["value"])


def of_kind(tables: Tables, rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of runs on examples of a kind: `switch`, `either` or `unknown`."""
    known = tables["examples"][["seed", "example", "kind"]]
    return rows.merge(known[known["kind"] == kind].drop(columns="kind"), on=["seed", "example"])


def transfer(tables: Tables, base: str, arm: str = "one") -> pd.DataFrame:
    """Gain at the last step by method of the test problems: seed, example, trained (the example's), tested, value."""
    methods = sorted(kept(tables["accuracy"], set="test", base=base)["needed"].unique())
    parts = [final(gain(tables, base=base, arm=["base", arm], needed=m)).assign(tested=m) for m in methods]
    rows = pd.concat(parts) if parts else pd.DataFrame(columns=[*RUN, "step", "value", "tested"])
    known = tables["examples"][["seed", "example", "needed"]].rename(columns={"needed": "trained"})
    return rows.merge(known, on=["seed", "example"])[["seed", "example", "trained", "tested", "value"]]
