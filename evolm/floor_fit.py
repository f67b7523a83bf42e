"""Least squares of a power law with a floor, for thousands of series at once.

    predicted = predict_with_floor(log_x, log_y, at)      # log_x (size,), log_y (series, size), at (point,)

The model is log y = log(exp(level + slope u) + exp(floor)), u = log x less its mean. Applied to -log y with a
rising power it is a curve with a ceiling: 1 / y = x^a / A + 1 / c.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ITERATIONS = 100
#: Levenberg-Marquardt damping: its start, its factors after a step that helps or not, and its bounds.
DAMPING, EASE, STIFFEN, LEAST, MOST = 1e-2, 0.3, 5.0, 1e-12, 1e12
#: Curvature added to every direction, so that a floor far below the data, which moves nothing, stays where it is.
RIDGE = 1e-9
#: Floors below the lowest value at which the two descents start, in log units: none to speak of, and a near one.
STARTS = ((1.0, 10.0), (1.5, 1.0))


def predict_with_floor(log_x: Array, log_y: Array, at: Array) -> Array:
    """Prediction (series, point) at log sizes `at` of the better of two fits, started without and with a floor.

    The slope keeps the sign of the straight line's, so that the floor lies where the curve is low. Where no
    floor helps, the fit is the straight line.
    """
    centre, middle = log_x.mean(), log_y.mean(-1, keepdims=True)
    u, v = log_x - centre, log_y - middle
    slope, level = np.polyfit(u, v.T, 1)
    fits = []
    for steeper, below in STARTS:
        start = np.stack([level, steeper * slope, v.min(-1) - below], -1)
        fits.append(_descend(u, v, start, np.sign(slope)))
    (first, first_cost), (second, second_cost) = fits
    best = np.where((second_cost < first_cost)[:, None], second, first)
    return _curve(best, at - centre)[0] + middle


def _curve(parameters: Array, u: Array) -> tuple[Array, Array]:
    """Values (series, size) and the power's share of each, which is the derivative by `level`."""
    level, slope, floor = (column[:, None] for column in parameters.T)
    power = level + slope * u
    values: Array = np.logaddexp(power, floor)
    return values, np.exp(power - values)


def _descend(u: Array, v: Array, start: Array, sign: Array) -> tuple[Array, Array]:
    """Parameters and cost of each series after Levenberg-Marquardt; a step that does not help is not taken."""
    parameters, damping = start.copy(), np.full(len(v), DAMPING)
    values, share = _curve(parameters, u)
    cost = ((values - v) ** 2).sum(-1)
    identity = np.eye(3)
    for _ in range(ITERATIONS):
        jacobian = np.stack([share, share * u, 1 - share], -1)  # (series, size, parameter)
        normal = np.einsum("nsi,nsj->nij", jacobian, jacobian)
        gradient = np.einsum("nsi,ns->ni", jacobian, values - v)
        scale = np.einsum("nii->ni", normal) + RIDGE
        step = np.linalg.solve(normal + damping[:, None, None] * scale[:, :, None] * identity, gradient[..., None])
        proposed = parameters - np.clip(step[..., 0], -3.0, 3.0)
        proposed[:, 1] = sign * np.maximum(sign * proposed[:, 1], 0.0)
        proposed_values, proposed_share = _curve(proposed, u)
        proposed_cost = ((proposed_values - v) ** 2).sum(-1)
        better = proposed_cost < cost
        parameters = np.where(better[:, None], proposed, parameters)
        values, share = (
            np.where(better[:, None], *pair) for pair in ((proposed_values, values), (proposed_share, share))
        )
        cost = np.where(better, proposed_cost, cost)
        damping = np.clip(damping * np.where(better, EASE, STIFFEN), LEAST, MOST)
    return parameters, cost
