"""Least squares of a power law with a floor, for thousands of series at once.

    predicted = predict_with_floor(log_x, log_y, at)      # log_x (size,), log_y (series, size), at (point,)

The model is y = exp(level) x^slope + exp(floor), fitted in log y. Applied to -log y it is a curve with a ceiling:
1 / y = x^a / A + 1 / c.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ITERATIONS = 60
#: Levenberg-Marquardt damping: its start, its factors after a step that helps or not, and where to give up.
DAMPING, EASE, STIFFEN, MOST = 1e-2, 0.3, 5.0, 1e9
#: A series has settled when a step lowers its cost by less than this share of it, plus next to nothing.
SMALL_GAIN, TINY_COST = 1e-9, 1e-16
#: Curvature added to every direction, so that a floor far below the data, which moves nothing, stays where it is.
RIDGE = 1e-9
#: Where the descents start: the slope in multiples of the straight line's, and the floor's depth below the lowest
#: value, in log units. No floor to speak of; one beside the curve; one that most of the curve has reached.
STARTS = ((1.0, 10.0), (1.5, 1.0), (5.0, 0.0))


def predict_with_floor(log_x: Array, log_y: Array, at: Array) -> Array:
    """Prediction (series, point) of `fit_with_floor` at log sizes `at`."""
    return _curve(fit_with_floor(log_x, log_y), at)[0]


def fit_with_floor(log_x: Array, log_y: Array) -> Array:
    """(series, 3): level at log x = 0, slope, and floor of the best of three fits, from `STARTS`.

    The slope keeps the sign of the straight line's, so that the floor lies where the curve is low. Where no
    floor helps, the fit is the straight line, with a floor far below.
    """
    centre, middle = log_x.mean(), log_y.mean(-1, keepdims=True)
    u, v = log_x - centre, log_y - middle
    slope, level = np.polyfit(u, v.T, 1)
    starts = [np.stack([level, steeper * slope, v.min(-1) - below], -1) for steeper, below in STARTS]
    fits = [_descend(u, v, start, np.sign(slope)) for start in starts]
    lowest = np.argmin([cost for _, cost in fits], axis=0)
    best = np.stack([parameters for parameters, _ in fits])[lowest, np.arange(len(v))]
    return np.stack([best[:, 0] - best[:, 1] * centre, best[:, 1], best[:, 2]], -1) + middle * [1.0, 0.0, 1.0]


def _curve(parameters: Array, u: Array) -> tuple[Array, Array]:
    """Values (series, size) and the power's share of each, which is the derivative by `level`."""
    level, slope, floor = (column[:, None] for column in parameters.T)
    power = level + slope * u
    values: Array = np.logaddexp(power, floor)
    return values, np.exp(power - values)


def _descend(u: Array, v: Array, start: Array, sign: Array) -> tuple[Array, Array]:
    """Parameters and cost of each series after Levenberg-Marquardt; a step that does not help is not taken."""
    parameters, damping = start.copy(), np.full(len(v), DAMPING)
    cost = ((_curve(parameters, u)[0] - v) ** 2).sum(-1)
    moving = np.arange(len(v))  # series that have not settled
    for _ in range(ITERATIONS):
        proposed = parameters[moving] - _step(parameters[moving], u, v[moving], damping[moving])
        proposed[:, 1] = sign[moving] * np.maximum(sign[moving] * proposed[:, 1], 0.0)
        proposed_cost = ((_curve(proposed, u)[0] - v[moving]) ** 2).sum(-1)
        gain = cost[moving] - proposed_cost
        better = moving[gain > 0]
        parameters[better], cost[better] = proposed[gain > 0], proposed_cost[gain > 0]
        damping[moving] *= np.where(gain > 0, EASE, STIFFEN)
        settled = ((gain > 0) & (gain < SMALL_GAIN * proposed_cost + TINY_COST)) | (damping[moving] > MOST)
        moving = moving[~settled]
        if len(moving) == 0:
            break
    return parameters, cost


def _step(parameters: Array, u: Array, v: Array, damping: Array) -> Array:
    """Damped Gauss-Newton step (series, 3), at most 3 log units along each parameter."""
    values, share = _curve(parameters, u)
    jacobian = np.stack([share, share * u, 1 - share], -1)  # (series, size, parameter)
    normal = np.einsum("nsi,nsj->nij", jacobian, jacobian)
    gradient = np.einsum("nsi,ns->ni", jacobian, values - v)
    stiff = damping[:, None] * (np.einsum("nii->ni", normal) + RIDGE)
    step = np.linalg.solve(normal + stiff[:, :, None] * np.eye(3), gradient[..., None])[..., 0]
    return np.clip(step, -3.0, 3.0)
