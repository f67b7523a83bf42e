"""What each claim estimates, one number per seed and arm, from the tables of a record.

Functions named by the claims take `(tables, params)` and return the frame of their kind (see `evolm.evidence`).
Success probabilities are exact, so pass@k of a model is the mean over problems of 1 - (1 - p)^k, without sampling
noise, and what two independent sets of k samples would solve follows in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evolm.lm.passk import pass_at_k_from_p

if TYPE_CHECKING:
    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams

Tables = dict[str, pd.DataFrame]
NO_EVIDENCE = pd.DataFrame()
#: The largest k of a curve, and the grid up to it.
MOST = 1024
KS = sorted({round(2 ** (i / 6)) for i in range(6 * MOST.bit_length() - 5)})
#: Curves cross where the base leads by more than this: at a common ceiling, smaller leads are rounding.
MARGIN = 0.005


def curves(tables: Tables, ks: Sequence[int], problems: str = "test", **where: Any) -> pd.DataFrame:
    """pass@k of every model: seed, cue, arm, step, temperature, k, value.

    `where` keeps the rows whose columns hold a value or one of a list, as in `cue=0.5, arm=["base", "rl"]`: to select
    first keeps the work small where there are many arms and cue levels.
    """
    ks, rows = list(ks), tables["success"]
    for column, value in {"set": problems, **where}.items():
        rows = rows[rows[column].isin(value if isinstance(value, list) else [value])]
    keys = ["seed", "cue", "arm", "step", "temperature"]
    p = rows["p"].to_numpy(float)
    columns = pd.DataFrame(pass_at_k_from_p(p[:, None], np.array(ks)), columns=ks, index=rows.index)
    wide = pd.concat([rows[keys], columns], axis=1).groupby(keys)[ks].mean().reset_index()
    return wide.melt(keys, var_name="k")


def final(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of every arm's last step."""
    return rows[rows["step"] == rows.groupby(["seed", "cue", "arm"])["step"].transform("max")]


def by_arm(tables: Tables, cue: float, k: int, problems: str = "test") -> pd.DataFrame:
    """pass@k at temperature 1 and the last step: seeds down, arms across."""
    rows = final(curves(tables, [k], problems, cue=cue, temperature=1))
    return rows.pivot(index="seed", columns="arm", values="value")


def tall(wide: pd.DataFrame, arms: list[str]) -> pd.DataFrame:
    """Columns seed, arm, value, for the arms there are."""
    there = [arm for arm in arms if arm in wide]
    return wide[there].melt(ignore_index=False, var_name="arm").dropna().reset_index()


def crossing_k(base: np.ndarray, tuned: np.ndarray) -> int | None:
    """The first k at which the base is ahead by `MARGIN` after the tuned model was; both are pass@k over `KS`."""
    behind, led = base - tuned > MARGIN, np.maximum.accumulate(tuned - base) > MARGIN
    found = np.flatnonzero(behind & led)
    return KS[found[0]] if len(found) else None


def gain(tables: Tables, cue: float, k: int = 1, problems: str = "test") -> pd.DataFrame:
    """pass@k less the base's: seeds down, arms across."""
    wide = by_arm(tables, cue, k, problems)
    return wide.sub(wide["base"], axis=0)


def gain_at_one(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """Lead at k = 1 of reinforcement at its end, and of the other rewards at the best of their measured steps."""
    return _rewards(tables, params, lambda lead, deficit: lead)


def crossing(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """The smaller of the lead at k = 1 and the deficit at k_max: above 0 only where the curves cross."""
    return _rewards(tables, params, lambda lead, deficit: lead.where(lead < deficit, deficit))


def _rewards(
    tables: Tables, params: RlvrBoundaryParams, of: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
) -> pd.DataFrame:
    rows = curves(tables, [1, params.k_max], cue=params.core_cue, temperature=1)
    base = rows[rows["arm"] == "base"].pivot(index="seed", columns="k", values="value")
    found = []
    for arm in {"rl", "random", "format"} & set(rows["arm"]):
        part = rows[rows["arm"] == arm]
        part = final(part) if arm == "rl" else part
        one, most = (
            part[part["k"] == k].pivot(index="seed", columns="step", values="value") for k in (1, params.k_max)
        )
        value = of(one.sub(base[1], axis=0), -most.sub(base[params.k_max], axis=0)).max(axis=1)
        found.append(pd.DataFrame({"seed": value.index, "arm": arm, "value": value.to_numpy()}))
    return pd.concat(found, ignore_index=True) if found else NO_EVIDENCE


def coverage_lost(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    return tall(-gain(tables, params.core_cue, params.k_max), ["rl", "rft"])


def coverage_lost_unhinted(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    return _lost_at(tables, params, min(params.cues))


def coverage_lost_hinted(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    return _lost_at(tables, params, max(params.cues))


def _lost_at(tables: Tables, params: RlvrBoundaryParams, cue: float) -> pd.DataFrame:
    return tall(-gain(tables, cue, params.k_max), ["rl", "rft"])


def solved_outside(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    return _outside(tables, params, params.core_cue)


def solved_outside_hinted(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    return _outside(tables, params, max(params.cues))


def _outside(tables: Tables, params: RlvrBoundaryParams, cue: float) -> pd.DataFrame:
    """Expected share of rare problems solved in k_max samples of the arm and in none of k_max of the base.

    `second-draw` is the base against itself: what two independent draws of one model give.
    """
    table = solvable_sets(tables, params, cue, "rare")
    value = table["other_only"].where(table["arm"] != "base")
    frame = table.assign(value=value.fillna(table["base_only"]), coverage=table["base"])
    frame["arm"] = frame["arm"].replace({"base": "second-draw"})
    return frame.loc[frame["arm"].isin(["rl", "second-draw"]), ["seed", "arm", "value", "coverage"]]


def solvable_sets(tables: Tables, params: RlvrBoundaryParams, cue: float, problems: str = "test") -> pd.DataFrame:
    """Expected 2x2 table of problems solved in k_max samples by the base and by each arm, per seed; shares of problems.

    Columns: seed, arm, both, base_only, other_only, neither, base (its coverage).
    """
    rows = tables["success"]
    rows = final(rows[(rows["set"] == problems) & (rows["temperature"] == 1) & (rows["cue"] == cue)])
    solved = rows.assign(s=pass_at_k_from_p(rows["p"].to_numpy(float), params.k_max))
    wide = solved.pivot(index=["seed", "problem"], columns="arm", values="s")
    parts = []
    for arm in wide.columns:
        a, b = wide["base"], wide[arm]
        cells = {"both": a * b, "base_only": a * (1 - b), "other_only": (1 - a) * b, "neither": (1 - a) * (1 - b)}
        means = pd.DataFrame({**cells, "base": a}).groupby("seed").mean().reset_index()
        parts.append(means.assign(arm=arm))
    return pd.concat(parts, ignore_index=True)


def narrowing(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """Coverage at the first checkpoint less coverage at the last step, at the core cue and at the highest."""
    rows = curves(tables, [params.k_max], arm="rl", temperature=1)
    order = rows.sort_values("step").groupby(["seed", "cue"])
    if (order["step"].nunique() < 2).all():
        return NO_EVIDENCE
    fall = (order["value"].first() - order["value"].last()).unstack("cue")
    names = {params.core_cue: "rl", max(params.cues): "hinted"}
    return tall(fall.rename(columns=names), ["rl", "hinted"])


def rare_found(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """Gain of coverage on problems of the rarely used method where the prompt names it."""
    return tall(gain(tables, max(params.cues), params.k_max, "rare"), ["rl", "rft"])


def rare_lost(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """Loss of coverage on problems of the rarely used method at the core cue."""
    return tall(-gain(tables, params.core_cue, params.k_max, "rare"), ["rl", "rft"])


def likely_under_base(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """The base's mean log perplexity of its own samples at temperature 1 less that of an arm's, in nats."""
    rows = tables["perplexity"]
    rows = rows[rows["cue"] == params.core_cue].assign(nats=lambda r: np.log(r["under_base"].astype(float)))
    rows["arm"] = rows["arm"].where((rows["arm"] != "base") | (rows["temperature"] == 1), "cooled")
    wide = rows.groupby(["seed", "arm"])["nats"].mean().unstack("arm")
    return tall(-wide.sub(wide["base"], axis=0), ["rl", "cooled"])


def above_bayes(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """pass@1 less what Bayes-optimal routing by the cue would score on these problems without slips."""
    wide = by_arm(tables, params.core_cue, 1)
    return tall(wide.sub(bayes_level(tables, params.core_cue), axis=0), ["rl", "base"])


def bayes_level(tables: Tables, cue: float) -> pd.Series:
    """Per seed, the share of test problems that Bayes-optimal routing by the cue sends to the right method."""
    levels = tables["levels"]
    rows = levels[(levels["set"] == "test") & (levels["cue"] == cue)]
    return rows.groupby("seed")["bayes"].mean()


def distilled(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """Gain of coverage over the base."""
    return tall(gain(tables, params.core_cue, params.k_max), ["distil", "distil-known", "rl"])


def efficiency_gap(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """The base's coverage less an arm's pass@1 (the paper's sampling-efficiency gap)."""
    most = by_arm(tables, params.core_cue, params.k_max)["base"]
    named = curves(tables, [1], cue=params.core_cue, arm="named")
    one = by_arm(tables, params.core_cue, 1).assign(named=named.groupby("seed")["value"].max())
    return tall(-one.sub(most, axis=0), ["rl", "named"])


def iteration(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """Coverage lost by fine-tuning on own correct samples, drawn once and drawn anew in rounds."""
    wide = -gain(tables, params.core_cue, params.k_max)
    rounds = max(params.rft_rounds)
    return tall(wide.rename(columns={f"rft-{rounds}": "rft-rounds"}), ["rft-rounds", "rft"])


def algorithms_gain(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """pass@1 of every algorithm at the core cue."""
    return _compared(tables, params, 1)


def algorithms_coverage(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """Coverage of every algorithm at the core cue."""
    return _compared(tables, params, params.k_max)


def _compared(tables: Tables, params: RlvrBoundaryParams, k: int) -> pd.DataFrame:
    """The chapter's algorithm as `rl`, at as many updates per rollout as the others."""
    names = [f"rl-{name}" for name in params.algorithms]
    if len(names) < 2:
        return NO_EVIDENCE
    wide = by_arm(tables, params.core_cue, k)
    return tall(wide[[name for name in names if name in wide]].rename(columns={names[0]: "rl"}), ["rl", *names])


def below_envelope(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """Coverage of the cooled base less an arm's at the same pass@1: that of the base at its middle temperature.

    Between an arm's checkpoints (the base is its step 0), coverage is interpolated over pass@1.
    """
    if not params.temperatures:
        return NO_EVIDENCE
    rows = curves(tables, [1, params.k_max], cue=params.core_cue)
    middle = sorted(params.temperatures)[len(params.temperatures) // 2]
    found = []
    for seed, part in rows.groupby("seed"):
        cooled = part[(part["arm"] == "base") & (part["temperature"] == middle)].set_index("k")["value"]
        for arm in {"rl", "rft"} & set(part["arm"]) if len(cooled) else ():
            path = frontier(part[(part["temperature"] == 1) & part["arm"].isin(["base", arm])], params.k_max)
            value = cooled[params.k_max] - _at(path, cooled[1], params.k_max)
            found.append({"seed": seed, "arm": arm, "value": value})
    return pd.DataFrame(found, columns=["seed", "arm", "value"])


def frontier(rows: pd.DataFrame, k_max: int) -> pd.DataFrame:
    """pass@1 and pass@k_max of every model among `rows`, by rising pass@1: columns 1 and k_max."""
    wide = rows.pivot(index=["arm", "step", "temperature"], columns="k", values="value")
    return wide.reset_index().sort_values(by=[1])  # type: ignore[list-item]


def _at(path: pd.DataFrame, pass_at_1: float, k_max: int) -> float:
    return float(np.interp(pass_at_1, path[1], path[k_max]))


def warmed(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """The base's coverage less the tuned model's best over sampling temperatures."""
    rows = final(curves(tables, [params.k_max], cue=params.core_cue))
    best = rows.groupby(["seed", "arm"])["value"].max().unstack("arm")
    base = rows[rows["temperature"] == 1].pivot(index="seed", columns="arm", values="value")["base"]
    return tall(-best.sub(base, axis=0), ["rl", "rft"])


def imitation_ahead(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """The smaller of an arm's leads over reinforcement, at k = 1 and at k_max: above 0 where it is better at both."""
    rounds = {f"rft-{max(params.rft_rounds)}": "rft-rounds"}
    one, most = (by_arm(tables, params.core_cue, k).rename(columns=rounds) for k in (1, params.k_max))
    if "rl" not in one:
        return NO_EVIDENCE
    one, most = one.sub(one["rl"], axis=0), most.sub(most["rl"], axis=0)
    return tall(one.where(one < most, most), ["rft-rounds", "rft"])


def open_models_at_one(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """pass@1 of open models; bootstrap interval over problems."""
    return _open_models(tables, 1)


def open_models_at_many(tables: Tables, params: RlvrBoundaryParams) -> pd.DataFrame:
    """pass@k of open models at the largest power of two that is a quarter of the samples drawn, or less."""
    return _open_models(tables, quarter(params))


def quarter(params: RlvrBoundaryParams) -> int:
    """The k of the open models' claim: four times as many samples are drawn."""
    return 2 ** int(np.log2(max(params.model_samples // 4, 1)))


def _open_models(tables: Tables, k: int) -> pd.DataFrame:
    if "open_models" not in tables:
        return NO_EVIDENCE
    rows = tables["open_models"]
    rows = rows[(rows["quantity"] == "pass@k") & (rows["k"] == k)]
    return rows.rename(columns={"model": "unit"})[["unit", "value", "low", "high"]]
