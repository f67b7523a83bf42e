"""Loss against width: with which power of their width does the loss of trained models fall?

    fit_width(read_losses("losses.csv"))        one exponent for all families, with an interval
    measure_models(["losses.csv"])
    evolm measure width losses.csv

A table has one row per model and dataset: model, family, dataset, width, loss (nats per token). The fit is
that of Liu, Liu & Gore (2025, Fig. 6b): L = C / m^alpha + L0[family, dataset], least squares, one C and
one alpha for all, one free offset per family and dataset. Their error of alpha takes the fitted offsets
for known, and all points for independent although the datasets of one model share its noise; `fit_width`
does neither. For a given alpha the offsets drop out by centring each family-dataset cell and C is a
projection, so alpha is found in one dimension (variable projection) and again in every bootstrap draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

Array = np.ndarray[Any, np.dtype[Any]]
COLUMNS = ("model", "family", "dataset", "width", "loss")
STEP = 0.02
#: Exponents that are searched: near 0 the curve is a logarithm, beyond 8 a step after the narrowest model.
EXPONENTS = STEP * np.arange(1, 401)


@dataclass(frozen=True)
class WidthFit:
    """What `fit_width` found: L = coefficient / width^exponent + offset, and how sure the exponent is.

    `low` and `high` bound the exponent; an infinite end means that the losses set no bound on that side.
    `offsets` has columns family, dataset, offset. `rmse` is the root of the mean squared residual.
    `naive_error` is the standard error with the offsets held fixed. `shared_share` is the estimated share
    of the noise variance that all datasets of a model have in common.
    """

    exponent: float
    low: float
    high: float
    coefficient: float
    offsets: pd.DataFrame
    rmse: float
    naive_error: float
    points: int
    models: int
    shared_share: float


class WidthDesign:
    """Which points of `table` share a width, an offset and a model. Losses go in as (..., points), in its order."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.width = table["width"].to_numpy(float)
        groups = table.groupby(["family", "dataset"], sort=False)
        model, names = pd.factorize(table["model"])
        self.points, self.models, self.cells = len(table), len(names), groups.ngroups
        self.in_model = np.eye(self.models)[model]  # (points, models)
        self.in_cell = np.eye(self.cells)[groups.ngroup()]  # (points, cells)
        # Degrees of freedom that the fit leaves between models and within them; both of its curve's lie between.
        self.between = min(self.models - table["family"].nunique(), self.points - self.cells) - 2
        self.within = self.points - self.cells - 2 - self.between
        self.points_per_model = float(self.points - (self.in_model.sum(0) ** 2).sum() / self.points) / (self.models - 1)
        curves = self.centred(self.curve(EXPONENTS))
        self._directions = curves / np.linalg.norm(curves, axis=-1, keepdims=True)  # (exponents, points)

    def centred(self, values: Array) -> Array:
        """`values`, (..., points), less their mean within each family and dataset."""
        return values - (values @ self.in_cell / self.in_cell.sum(0)) @ self.in_cell.T

    def curve(self, exponent: Any) -> Array:
        """m^-a, (..., points)."""
        return self.width ** -np.asarray(exponent, float)[..., None]

    def project(self, exponent: float, loss: Array) -> tuple[float, Array]:
        """C and the residuals, (points,), of the least-squares fit of `loss` with this exponent."""
        curve, centred = self.centred(self.curve(exponent)), self.centred(loss)
        coefficient = float(curve @ centred / (curve @ curve))
        return coefficient, centred - coefficient * curve

    def exponents(self, losses: Array) -> Array:
        """Least-squares exponents of `losses` (draws, points), to about 1e-4; infinite where at an edge of the search.

        The sum of squares that a curve explains, on the grid of `EXPONENTS` and through the top's parabola.
        """
        explained = (self.centred(losses) @ self._directions.T) ** 2  # (draws, exponents)
        best = explained.argmax(-1)
        inner = np.clip(best, 1, len(EXPONENTS) - 2)
        left, top, right = (np.take_along_axis(explained, inner[:, None] + k, -1)[:, 0] for k in (-1, 0, 1))
        bend = np.minimum(left - 2 * top + right, -np.finfo(float).tiny)
        found = EXPONENTS[inner] + STEP * np.clip((right - left) / (-2 * bend), -1, 1)
        return np.select([best == 0, best == len(EXPONENTS) - 1], [-np.inf, np.inf], found)

    def noise(self, rng: np.random.Generator, draws: int, scale: float, shared_share: float) -> Array:
        """Normal noise (draws, points) of standard deviation `scale`, one part per model and one per point."""
        by_model = rng.normal(size=(draws, self.models)) @ self.in_model.T
        by_point = rng.normal(size=(draws, self.points))
        return scale * (shared_share**0.5 * by_model + (1 - shared_share) ** 0.5 * by_point)

    def expected_squares(self, shared_share: float) -> float:
        """Expected residual sum of squares of a fit to noise of variance 1, whose share per model is given."""
        return shared_share * self.points_per_model * self.between + (1 - shared_share) * (self.between + self.within)

    def variance(self, residuals: Array) -> tuple[float, float]:
        """Noise variance and the share of it, in [0, 1], that the points of a model have in common.

        One-way analysis of variance of `residuals`, (points,), by model; 0 where no model has two points.
        """
        squares = float(((residuals @ self.in_model) ** 2 / self.in_model.sum(0)).sum())
        total = float(residuals @ residuals)
        if self.within <= 0 or total == 0:
            return total / self.expected_squares(0), 0.0
        by_point = max(total - squares, 0) / self.within
        by_model = max(squares / self.between - by_point, 0) / self.points_per_model
        share = by_model / (by_model + by_point)
        return total / self.expected_squares(share), share

    def interval(
        self, fitted: Array, exponent: float, spread: tuple[float, float], level: float, draws: int, seed: int
    ) -> tuple[float, float]:
        """Interval of the exponent: refits to `fitted`, (points,), with noise of `spread` = (variance, shared share).

        Percentiles, moved away from `exponent` by the ratio of Student's t to the normal quantile at the degrees of
        freedom between models, because the variance is an estimate too. In simulations at 95 % and 9 to 27 models
        bare percentiles cover 90 to 95 %, reflected ones 89 to 95 %, these 94 to 98 %.
        """
        noise = self.noise(np.random.default_rng(seed), draws, spread[0] ** 0.5, spread[1])
        away = self.exponents(fitted + noise) - self.exponents(fitted[None])
        tails = (1 - level) / 2, (1 + level) / 2
        widening = stats.t.ppf(tails[1], self.between) / stats.norm.ppf(tails[1])
        low, high = exponent + widening * np.quantile(away, tails, method="closest_observation")
        return float(low), float(high)


def fit_width(table: pd.DataFrame, *, level: float = 0.95, draws: int = 400, seed: int = 0) -> WidthFit:
    """The exponent of loss against width over all families and datasets of `table`, with its interval at `level`.

    The interval is a parametric bootstrap of `draws` refits, offsets included (`WidthDesign.variance`, `.interval`).
    Raises ValueError for a table that `check_losses` refuses, for losses that do not fall as a power of width,
    and for a level and draws that give no interval.
    """
    numbers = isinstance(level, float) and isinstance(draws, int)
    if not numbers or not 0 < level < 1 or not draws * (1 - level) >= 2:
        raise ValueError(f"level {level} with {draws} draws gives no interval; expected level < 1 - 2/draws, and > 0")
    table = check_losses(table)
    design, loss = WidthDesign(table), table["loss"].to_numpy(float)
    exponent = _exponent(design, loss)
    coefficient, residuals = design.project(exponent, loss)
    if coefficient < 0:
        raise ValueError("the losses rise with width; the exponent of a fall cannot be measured on them")
    excess = coefficient / design.width**exponent + residuals  # L - L0
    offsets = table.assign(offset=loss - excess).groupby(["family", "dataset"], sort=False)["offset"].mean()
    variance, share = design.variance(residuals)
    low, high = design.interval(loss - residuals, exponent, (variance, share), level, draws, seed)
    return WidthFit(
        exponent=exponent,
        low=low,
        high=high,
        coefficient=coefficient,
        offsets=offsets.reset_index(),
        rmse=float(np.sqrt((residuals**2).mean())),
        naive_error=naive_error(design.width, excess, coefficient, exponent),
        points=design.points,
        models=design.models,
        shared_share=share,
    )


def naive_error(width: Array, excess: Array, coefficient: float, exponent: float) -> float:
    """Standard error of the exponent with C and the offsets L0 held fixed, as in the authors' notebook.

    sqrt(sum (log(L - L0) - log(C / m^alpha))^2 / sum (log m - mean log m)^2 / (N - 3)), over all N points, a
    log that is undefined set to 0. `excess` is L - L0, (points,).
    """
    log_width = np.log(width)
    missed = np.log(np.where(excess > 0, excess, 1.0)) - (np.log(coefficient) - exponent * log_width)
    return float(np.sqrt((missed**2).sum() / ((log_width - log_width.mean()) ** 2).sum() / (len(width) - 3)))


def check_losses(table: pd.DataFrame) -> pd.DataFrame:
    """`table` reduced to `COLUMNS`, width and loss as floats; a ValueError says what keeps it from being fitted."""
    if missing := [column for column in COLUMNS if column not in table]:
        raise ValueError(f"the table lacks {', '.join(missing)}; expected the columns {', '.join(COLUMNS)}")
    table = table[list(COLUMNS)].reset_index(drop=True)
    for column in COLUMNS[:3]:
        if (empty := np.flatnonzero(table[column].isna())).size:
            raise ValueError(f"row {empty[0] + 1} has no {column}; expected a name in every row")
    for column in COLUMNS[3:]:
        values = pd.to_numeric(table[column], errors="coerce").astype(float)
        if (bad := np.flatnonzero(~np.isfinite(values) | ((values <= 0) & (column == "width")))).size:
            row = table.loc[bad[0]]
            wanted = "a positive number" if column == "width" else "a finite number"
            raise ValueError(f"{column} of {row['model']} on {row['dataset']} is {row[column]}; expected {wanted}")
        table[column] = values
    for model, rows in table.groupby("model"):
        if rows["dataset"].duplicated().any() or len(rows[["family", "width"]].drop_duplicates()) > 1:
            raise ValueError(f"{model} has two losses on a dataset, two families or two widths; expected one of each")
    for (family, dataset), rows in table.groupby(["family", "dataset"]):
        if rows["width"].nunique() < 2:
            found = f"family {family} has one width on {dataset}, which its free offset fits exactly"
            raise ValueError(f"{found}; give models of two widths or more, or leave these rows out")
    needed, (models, widths) = table["family"].nunique() + 3, table[["model", "width"]].nunique()
    if models < needed or widths < 3 or len(table) < table.groupby(["family", "dataset"]).ngroups + 3:
        few = f"{models} models of {widths} widths are too few"
        raise ValueError(f"{few}; expected at least {needed} models of 3 widths, on the same datasets")
    return table


def read_losses(path: str | Path) -> pd.DataFrame:
    """The table in a .csv or .parquet file; `fit_width` checks it."""
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    path = Path(path)
    if path.suffix not in readers or not path.is_file():
        raise ValueError("there is no such table; expected a .csv or .parquet file with " + ", ".join(COLUMNS))
    return readers[path.suffix](path)


def measure_models(
    models: Iterable[str | Path], *, level: float = 0.95, draws: int = 400, seed: int = 0
) -> pd.DataFrame:
    """`fit_width`, with its options, of each table in `models`, paths of .csv or .parquet files: one row per table."""
    columns = ("exponent", "low", "high", "naive_error", "points", "models", "rmse", "shared_share")
    records = []
    for path in models:
        try:
            fit = fit_width(read_losses(path), level=level, draws=draws, seed=seed)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        records.append({"table": str(path), **{column: getattr(fit, column) for column in columns}, "level": level})
    return pd.DataFrame(records)


def _exponent(design: WidthDesign, loss: Array) -> float:
    """The least-squares exponent: the best of the grid, refined."""
    start = float(design.exponents(loss[None])[0])
    if not np.isfinite(start):
        searched = f"between {EXPONENTS[0]:g} and {EXPONENTS[-1]:g}"
        raise ValueError(f"no exponent {searched} fits best: the losses do not fall as a power of width")

    def squares(exponent: float) -> float:
        return float((design.project(exponent, loss)[1] ** 2).sum())

    bounds = start - STEP, start + STEP
    return float(optimize.minimize_scalar(squares, bounds=bounds, method="bounded", options={"xatol": 1e-11}).x)
