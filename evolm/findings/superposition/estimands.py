"""What each claim estimates, one number per seed and arm, from the tables of a record.

Functions named by the claims take `(tables, params)` and return the frame of their kind (see `evolm.evidence`).
The figures draw the same quantities, so what is judged is what is seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from evolm.findings.superposition.parameters import SuperpositionParams

Tables = dict[str, pd.DataFrame]
NO_EVIDENCE = pd.DataFrame()


def grid(tables: Tables, kind: str = "grid", **where: object) -> pd.DataFrame:
    """Rows of the trained models of one kind of program, further narrowed by equality on columns."""
    rows = tables["models"][tables["models"]["kind"] == kind]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def per_seed(rows: pd.DataFrame, value: pd.Series, by: str = "arm") -> pd.DataFrame:
    """Mean of `value` over everything but seed and arm: columns seed, arm, value."""
    frame = rows.assign(value=value).dropna(subset=["value"])
    means = frame.groupby(["seed", by])["value"].mean().reset_index()
    return means.rename(columns={by: "arm"})


def recovered_follows_decay(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """Recovered fraction of each arm less that of the weak arm, mean over widths at the middle law."""
    return _above_weak(tables, params, "recovered")


def represented_follows_decay(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """The same for the fraction of rows with norm above 1/2."""
    return _above_weak(tables, params, "represented")


def _above_weak(tables: Tables, params: SuperpositionParams, column: str) -> pd.DataFrame:
    rows = grid(tables, alpha=params.middle_alpha)
    wide = per_seed(rows, rows[column]).pivot(index="seed", columns="arm", values="value")
    above = wide[["strong", "neutral", "frozen"]].sub(wide["weak"], axis=0)
    return above.melt(ignore_index=False, var_name="arm").reset_index()


def frequency_sum_error(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """|predicted / loss - 1| of Eq. 4, mean over widths and skewed laws.

    Controls: the weak arm with p shuffled against its rows, and the models without decay, which superpose. The flat
    law is left out: shuffling a constant changes nothing, so there the control could not fail.
    """
    rows = grid(tables)
    rows = rows[rows["alpha"] > 0]
    weak, neutral = rows[rows["arm"] == "weak"], rows[rows["arm"] == "neutral"]
    frames = [
        per_seed(weak, (weak["predicted_by_norm"] / weak["loss"] - 1).abs()),
        per_seed(weak.assign(arm="shuffled"), (weak["predicted_shuffled"] / weak["loss"] - 1).abs()),
        per_seed(neutral, (neutral["predicted_by_norm"] / neutral["loss"] - 1).abs()),
    ]
    return pd.concat(frames)


def losses(rows: pd.DataFrame) -> pd.DataFrame:
    """Loss against width, per seed: the frame of a `form` claim."""
    return rows.rename(columns={"width": "x", "loss": "y"})[["seed", "x", "y"]].sort_values(["seed", "x"])


def strong_flat(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    return losses(grid(tables, arm="strong", alpha=0.0))


def strong_flat_zero_bias(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    return losses(grid(tables, arm="zero-bias", alpha=0.0))


def strong_steep(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    return losses(grid(tables, arm="strong", alpha=2.0))


def strong_steep_zero_bias(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    return losses(grid(tables, arm="zero-bias", alpha=2.0))


def weak_steep(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    return losses(grid(tables, arm="near-ideal", alpha=2.0))


def exponents(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Exponent -d log L / d log m of a straight fit over all widths, one row per combination of `by`."""
    from evolm.intervals import fit_power_law, local_slopes

    found = []
    for key, part in rows.groupby(by):
        ordered = part.sort_values("width")
        if ordered["width"].nunique() < 2:
            continue
        x, y = ordered["width"].to_numpy(float), ordered["loss"].to_numpy(float)
        fit, local = fit_power_law(x, y), -local_slopes(x, y)
        measured = {"exponent": float(fit.exponent), "r2": float(fit.r2), "first": local[0], "last": local[-1]}
        found.append({**dict(zip(by, key, strict=True)), **measured})
    return pd.DataFrame(found, columns=[*by, "exponent", "r2", "first", "last"])


#: Ranges of widths that a straight line can be fitted over; the paper fits two of its three laws from the third on.
FIT_RANGES = ("all widths", "without the smallest", "from the third on", "m² below 2n", "m² above 2n")


def exponents_by_range(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """Exponents of the strong and zero-bias arms over each range of `FIT_RANGES`, per seed and law."""
    rows = grid(tables)
    rows = rows[rows["arm"].isin(["strong", "zero-bias"])]
    widths = sorted(rows["width"].unique())
    edge = (2 * params.n) ** 0.5
    chosen = (widths, widths[1:], widths[2:], [w for w in widths if w <= edge], [w for w in widths if w >= edge])
    found = [
        exponents(rows[rows["width"].isin(part)], ["seed", "alpha", "arm"]).assign(range=name)
        for name, part in zip(FIT_RANGES, chosen, strict=True)
    ]
    return pd.concat([frame for frame in found if len(frame)] or found[:1])


def starts(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """Rows of the strong regime at the sweep's law, for every bias start and training length."""
    main = grid(tables, alpha=params.sweep_alpha)
    rows = pd.concat([grid(tables, kind="start"), main[main["arm"].isin(["strong", "zero-bias"])]])
    return rows.drop_duplicates(["seed", "bias_std", "steps", "width"])


def exponent_by_bias(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """Exponents of the strong regime at the sweep's law and the main grid's length, random bias against zero."""
    main = grid(tables, alpha=params.sweep_alpha)
    found = exponents(main[main["arm"].isin(["strong", "zero-bias"])], ["seed", "arm"])
    return found.rename(columns={"exponent": "value"})[["seed", "arm", "value"]]


def exponent_by_steps(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """Exponents with the authors' random bias at each training length, as arms of an equivalence claim."""
    rows = starts(tables, params)
    return _by_setting(rows[rows["bias_std"] == params.bias_std], "steps")


def feature_counts(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """Rows of the strong arm at the sweep's law for every feature count: the sweep and the main grid."""
    return pd.concat([grid(tables, kind="features"), grid(tables, alpha=params.sweep_alpha, arm="strong")])


def exponent_by_features(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """Exponents of the strong arm at each feature count, as arms of an equivalence claim."""
    return _by_setting(feature_counts(tables, params), "n")


def _by_setting(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Exponents per seed and value of a column; the lowest value is the arm that others are compared with."""
    found = exponents(rows, ["seed", column])
    if found[column].nunique() < 2:
        return NO_EVIDENCE
    arm = ["lowest" if value == found[column].min() else f"{column}={value}" for value in found[column]]
    return pd.DataFrame({"seed": found["seed"], "arm": arm, "value": found["exponent"]})


def gap_closed(rows: pd.DataFrame) -> pd.Series:
    """Share of the way from random vectors (0) to the Welch level (1): (1/m - <cos^2>) / (1/m - welch).

    NaN where fewer rows than 2m are strong: near m rows the two levels differ by less than a run's noise.
    """
    share = (rows["random_cos2"] - rows["mean_cos2"]) / (rows["random_cos2"] - rows["welch_cos2"])
    return share.where(rows["strong_count"] >= 2 * rows["width"])


def overlap_gap(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """`gap_closed` of the strong arm, of untrained directions and of training without decay; mean of matched cells."""
    rows = grid(tables)
    return matched(rows, gap_closed(rows), ["strong", "frozen", "neutral"])


def overlap_gap_flat(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """The same at the flattest law of the record, against untrained directions only."""
    rows = grid(tables, alpha=min(params.alphas))
    return matched(rows, gap_closed(rows), ["strong", "frozen"])


def overlap_gap_steep(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """The same at the steepest law of the record, against untrained directions only."""
    rows = grid(tables, alpha=max(params.alphas))
    return matched(rows, gap_closed(rows), ["strong", "frozen"])


def overlap_variance(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """1 - variance of cos^2 over that of random vectors: 0 for random, 1 for equiangular; mean of matched cells."""
    rows = grid(tables)
    evenness = 1 - rows["cos2_variance"] / rows["random_cos2_variance"]
    return matched(rows, evenness.where(rows["strong_count"] >= 2 * rows["width"]), ["strong", "frozen", "neutral"])


def matched(rows: pd.DataFrame, value: pd.Series, arms: list[str]) -> pd.DataFrame:
    """Mean per seed and arm over the cells (law x width) in which every one of the arms has a value."""
    frame = rows.assign(value=value)
    wide = frame[frame["arm"].isin(arms)].pivot(index=["seed", "alpha", "width"], columns="arm", values="value")
    if missing := [arm for arm in arms if arm not in wide]:
        wide[missing] = float("nan")
    means = wide[arms].dropna().groupby("seed").mean()
    return means.melt(ignore_index=False, var_name="arm").reset_index()


def _vectors(tables: Tables, column: str, variant: str, low: str = "low", high: str = "high") -> pd.DataFrame:
    if "vectors" not in tables or tables["vectors"].empty:
        return NO_EVIDENCE
    rows = tables["vectors"]
    rows = rows[rows["variant"] == variant]
    return pd.DataFrame({"unit": rows["model"], "value": rows[column], "low": rows[low], "high": rows[high]})


def open_models_represented(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """Share of output vectors with a norm above half the mean norm; Wilson interval over rows."""
    frame = _vectors(tables, "represented_half", "raw")
    if frame.empty:
        return frame
    from scipy.stats import binomtest

    rows = tables["vectors"][tables["vectors"]["variant"] == "raw"]
    counts = zip((rows["represented_half"] * rows["n"]).round().astype(int), rows["n"], strict=True)
    bounds = [binomtest(int(k), int(n)).proportion_ci(method="wilson") for k, n in counts]
    return frame.assign(low=[b.low for b in bounds], high=[b.high for b in bounds])


def open_models_overlap(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """m <cos^2> over all pairs of output vectors as they are; jackknife interval over rows."""
    return _vectors(tables, "m_cos2", "raw")


def open_models_overlap_without_components(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """m <cos^2> after centring and removing the five leading principal components."""
    return _vectors(tables, "m_cos2", "centred, 5 PCs removed")
