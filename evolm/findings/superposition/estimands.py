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


def follows_decay(tables: Tables, params: SuperpositionParams, column: str) -> pd.DataFrame:
    """Fraction of features under the lowest decay less that under the highest, mean over widths; both decoders."""
    rows = grid(tables, alpha=params.sweep_alpha)
    wide = per_seed(rows, rows[column]).pivot(index="seed", columns="arm", values="value")
    effects = {"relu": wide["strong"] - wide["weak"], "linear": wide["linear-strong"] - wide["linear-weak"]}
    return pd.concat([pd.DataFrame({"seed": e.index, "arm": arm, "value": e.to_numpy()}) for arm, e in effects.items()])


def recovered_follows_decay(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    return follows_decay(tables, params, "recovered")


def represented_follows_decay(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    return follows_decay(tables, params, "represented")


def frequency_sum_error(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """|predicted / loss - 1| of Eq. 4 in the weak arm, mean over widths and skewed laws; control: p shuffled.

    The flat law is left out: shuffling a constant changes nothing, so there the control could not fail.
    """
    rows = grid(tables, arm="weak")
    rows = rows[rows["alpha"] > 0]
    frames = [
        per_seed(rows.assign(arm=arm), (rows[column] / rows["loss"] - 1).abs())
        for arm, column in (("weak", "predicted_by_norm"), ("shuffled", "predicted_shuffled"))
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
    return losses(grid(tables, arm="weak", alpha=2.0))


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


def exponent_by_bias(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """Exponents of the strong regime at `sweep_alpha` under the two bias initialisations."""
    rows = grid(tables, alpha=params.sweep_alpha)
    found = exponents(rows[rows["arm"].isin(["strong", "zero-bias"])], ["seed", "arm"])
    return found.rename(columns={"exponent": "value"})[["seed", "arm", "value"]]


def training_lengths(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """Rows of the strong regime at `sweep_alpha` for every training length: the sweep and the main grid."""
    main = grid(tables, alpha=params.sweep_alpha)
    rows = pd.concat([grid(tables, kind="steps"), main[main["arm"].isin(["strong", "zero-bias"])]])
    return rows.drop_duplicates(["seed", "arm", "steps", "width"])


def exponent_by_steps(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """Exponents of the strong arm at each training length, as arms of an equivalence claim."""
    rows = training_lengths(tables, params)
    found = exponents(rows[rows["arm"] == "strong"], ["seed", "steps"])
    if found["steps"].nunique() < 2:
        return NO_EVIDENCE
    shortest = found["steps"].min()
    arm = [f"{steps} steps" if steps != shortest else "shortest" for steps in found["steps"]]
    return pd.DataFrame({"seed": found["seed"], "arm": arm, "value": found["exponent"]})


def feature_counts(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """Rows of the strong regime at `sweep_alpha` for every feature count: the sweep and the main grid."""
    main = grid(tables, alpha=params.sweep_alpha)
    rows = pd.concat([grid(tables, kind="features"), main[main["arm"].isin(["strong", "zero-bias"])]])
    return rows.drop_duplicates(["seed", "arm", "n", "width"])


def exponent_by_features(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """Exponents of the strong arm at each feature count, as arms of an equivalence claim."""
    rows = feature_counts(tables, params)
    found = exponents(rows[rows["arm"] == "strong"], ["seed", "n"])
    if found["n"].nunique() < 2:
        return NO_EVIDENCE
    arm = ["fewest" if n == found["n"].min() else f"{n} features" for n in found["n"]]
    return pd.DataFrame({"seed": found["seed"], "arm": arm, "value": found["exponent"]})


def gap_closed(rows: pd.DataFrame) -> pd.Series:
    """Share of the way from random vectors (0) to the Welch level (1): (1/m - <cos^2>) / (1/m - welch).

    NaN where fewer rows than 2m are strong: near m rows the two levels differ by less than a run's noise.
    """
    share = (rows["random_cos2"] - rows["mean_cos2"]) / (rows["random_cos2"] - rows["welch_cos2"])
    return share.where(rows["strong_count"] >= 2 * rows["width"])


def overlap_gap(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """`gap_closed` of the strong arm and of frozen random directions, mean over laws and widths with enough rows."""
    return _gap_of(tables, "strong")


def overlap_gap_zero_bias(tables: Tables, params: SuperpositionParams) -> pd.DataFrame:
    """The same with the bias started at zero."""
    return _gap_of(tables, "zero-bias")


def _gap_of(tables: Tables, arm: str) -> pd.DataFrame:
    rows = grid(tables)
    rows = rows[rows["arm"].isin([arm, "frozen"])]
    return per_seed(rows, gap_closed(rows))


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
