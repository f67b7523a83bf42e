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

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize

Array = np.ndarray[Any, np.dtype[Any]]
COLUMNS = ("model", "family", "dataset", "width", "loss")
#: Exponents that are searched. At 0 the curve is a logarithm, below 0 it falls ever faster; beyond 8 only the
#: narrowest model of a family is left to tell it from a step.
EXPONENTS = np.linspace(-2.0, 8.0, 501)
STEP = float(EXPONENTS[1] - EXPONENTS[0])


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
    """Which points share a width, an offset and a model: everything that the fit needs besides the losses.

    `table` has the columns model, family, dataset and width. Losses go in as (..., points), in its order.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self.width = table["width"].to_numpy(float)
        groups = table.groupby(["family", "dataset"], sort=False)
        model, names = pd.factorize(table["model"])
        self.points, self.models, self.cells = len(table), len(names), groups.ngroups
        self.in_model = np.eye(self.models)[model]  # (points, models)
        self.in_cell = np.eye(self.cells)[groups.ngroup()]  # (points, cells)
        self._log_width = np.log(self.width) - np.log(self.width).mean()
        curves = self.centred(self.curve(EXPONENTS))
        self._directions = curves / np.linalg.norm(curves, axis=-1, keepdims=True)  # (exponents, points)

    def centred(self, values: Array) -> Array:
        """`values`, (..., points), less their mean within each family and dataset."""
        return values - (values @ self.in_cell / self.in_cell.sum(0)) @ self.in_cell.T

    def curve(self, exponent: Any) -> Array:
        """(1 - w^-a) / a, (..., points), w the width over its geometric mean: -w^-a up to scale and offset.

        Unlike w^-a it passes smoothly through a = 0, where it is log w.
        """
        a = np.asarray(exponent, float)[..., None]
        return np.where(a == 0, self._log_width, -np.expm1(-a * self._log_width) / np.where(a == 0, 1, a))

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

    def residual_expectation(self, exponent: float, shared_share: float) -> float:
        """Expected residual sum of squares for noise of variance 1: points - parameters, less what models share."""
        by_model, by_point = self._mean_squares(exponent)[0]
        return float(shared_share * by_model + (1 - shared_share) * by_point)

    def variance(self, exponent: float, residuals: Array) -> tuple[float, float]:
        """Noise variance and the share of it, in [0, 1], that the points of a model have in common.

        One-way analysis of variance by model, by its expected mean squares under the linearised fit, so that
        the degrees of freedom that the fit took are counted. The share is 0 where no model has two points.
        """
        expected = self._mean_squares(exponent)
        found = np.array([residuals @ residuals, self._between(residuals)])
        share = 0.0
        if abs(np.linalg.det(expected / expected[0])) > 1e-9:
            by_model, by_point = np.linalg.solve(expected, found).clip(min=0)
            share = float(by_model / (by_model + by_point)) if by_model > 0 else 0.0
        return float(found[0]) / self.residual_expectation(exponent, share), share

    def _between(self, residuals: Array) -> float:
        return float(((residuals @ self.in_model) ** 2 / self.in_model.sum(0)).sum())

    def _mean_squares(self, exponent: float) -> Array:
        """Expected total and between-model sums of squares of residuals, for noise by model and noise by point."""
        h = 1e-3
        slope = self.curve(exponent + h) - self.curve(exponent - h)
        tangent, _ = np.linalg.qr(self.centred(np.stack([self.curve(exponent), slope])).T)  # (points, 2)
        left = self.centred(self.in_model.T).T
        left = self.in_model.T @ (left - tangent @ (tangent.T @ left))  # (models, models), Z' M Z
        size = self.in_model.sum(0)
        by_point = self.points - self.cells - 2
        return np.array([[np.trace(left), by_point], [(left**2 / size).sum(), (np.diag(left) / size).sum()]])


def fit_width(table: pd.DataFrame, *, level: float = 0.95, draws: int = 400, seed: int = 0) -> WidthFit:
    """The exponent of loss against width over all families and datasets of `table`, with its interval at `level`.

    The interval comes from `draws` parametric bootstrap refits, offsets included, to normal noise whose
    variance and whose share per model are those of the residuals (`WidthDesign.variance`); XXX.
    Raises ValueError for a table that cannot be fitted (see `check_losses`), for losses that rise with width
    or fix no exponent, and for too few draws.
    """
