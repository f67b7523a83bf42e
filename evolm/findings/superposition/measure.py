"""What is measured on a trained toy model: loss, represented features, overlaps (Liu, Liu, Gore 2025, sections 3-4)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from evolm.findings.superposition.data import MEAN_SQUARE, SparseBatches, frequencies
from evolm.findings.superposition.program import Program

EVALUATION_BATCHES, EVALUATION_SIZE = 16, 1024
PROBES = (0.25, 0.75, 1.25, 1.75)  # values at which a feature is shown alone: the middles of Uniform(0, 2)'s quarters
RECOVERED = 0.5  # a feature is recovered when the error left is less than half of the probes' energy
REPRESENTED, STRONG = 0.5, 1.0  # row norms of phi_1/2 and phi_1


def decode(h: Tensor, b: Tensor, w: Tensor, decoder: str) -> Tensor:
    """y of the toy model for hidden states h: (batch, m) x (m, n) + (n,) -> (batch, n)."""
    y = torch.addmm(b, h, w)
    return y if decoder == "linear" else y.clamp_(min=0)


def measure(program: Program) -> pd.DataFrame:
    """One row per seed and model of a trained program; all models of a seed meet the same fresh data."""
    training = program.training
    p = frequencies(training.n, training.alpha, training.density)
    rows = []
    for s, seed in enumerate(program.seeds):
        stream = iter(SparseBatches(p, EVALUATION_SIZE, [seed, 2]))
        x = np.concatenate([next(stream).dense(EVALUATION_SIZE, training.n) for _ in range(EVALUATION_BATCHES)])
        xs = torch.from_numpy(x).to(program.weights)  # (sample, feature)
        order = np.random.default_rng([seed, 3]).permutation(training.n)
        for model, span in zip(program.models, program.rows, strict=True):
            w, b = program.weights[s, span.start : span.stop - 1], program.weights[s, span.stop - 1]
            rows.append(
                {
                    "seed": seed, "n": training.n, "alpha": training.alpha, "width": model.width,
                    "decay": model.decay, "decoder": model.decoder, "bias_std": model.bias_std,
                    "steps": training.steps, "density": training.density,
                    **loss_parts(xs, w, b, model.decoder),
                    "ceiling": float((MEAN_SQUARE * p - p**2).sum()),
                    "ideal_weak": float(MEAN_SQUARE * p[model.width :].sum()),
                    **representation(w, b, model.decoder, p, order),
                    **overlaps(w),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def evaluate_loss(x: Tensor, w: Tensor, b: Tensor, decoder: str) -> float:
    """Mean over samples of |y - x|^2. x (sample, n), w (m, n), b (n,)."""
    return loss_parts(x, w, b, decoder)["loss"]


def loss_parts(x: Tensor, w: Tensor, b: Tensor, decoder: str) -> dict[str, float]:
    """The loss, and the part of it that is features which are active and not recovered."""
    total, active = 0.0, torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    for part in x.split(EVALUATION_SIZE):
        error = decode(part @ w.T, b, w, decoder).sub_(part).square_()
        total += float(error.sum(dtype=torch.float64))
        active += error.mul_(part > 0).sum(0, dtype=torch.float64)
    missing = active[~recovered(w, b, decoder)].sum()
    return {"loss": total / len(x), "loss_missing": float(missing) / len(x)}


def recovered(w: Tensor, b: Tensor, decoder: str) -> Tensor:
    """(n,) which features the model gives back when shown alone; cross-talk to other features counts as error."""
    unit = torch.eye(len(b)).to(w)  # (feature, n): each feature alone
    error = torch.zeros(len(b)).to(w)
    for value in PROBES:
        error += (decode(value * unit @ w.T, b, w, decoder) - value * unit).square().sum(1)
    return error < RECOVERED * sum(value**2 for value in PROBES)


def representation(w: Tensor, b: Tensor, decoder: str, p: np.ndarray, order: np.ndarray) -> dict[str, float]:
    """Fractions of features represented by norm and by function, and the losses that Eq. 4 predicts from each.

    Eq. 4: L = <v^2> * (sum of p over the features that are not represented). `order` shuffles p against
    the rows: the control in which the prediction must fail.
    """
    norms = w.norm(dim=0)
    by_norm, by_function = (norms > REPRESENTED).cpu().numpy(), recovered(w, b, decoder).cpu().numpy()
    return {
        "represented": float(by_norm.mean()),
        "strong": float((norms > STRONG).double().mean()),
        "recovered": float(by_function.mean()),
        "predicted_by_norm": float(MEAN_SQUARE * p[~by_norm].sum()),
        "predicted_by_recovery": float(MEAN_SQUARE * p[~by_function].sum()),
        "predicted_shuffled": float(MEAN_SQUARE * p[order][~by_norm].sum()),
    }


def overlaps(w: Tensor) -> dict[str, float]:
    """Squared cosines between strongly represented rows (norm > 1), beside those of random and ETF-like vectors.

    Random unit vectors: cos^2 ~ Beta(1/2, (m-1)/2), mean 1/m, variance 2(m-1)/(m^2(m+2)). The lowest
    possible mean for v vectors is the Welch level (v-m)/(m(v-1)), which an equiangular tight frame meets.
    """
    m = w.shape[0]
    rows = w.T[w.norm(dim=0) > STRONG].double()
    count = len(rows)
    out = {"strong_count": float(count), "random_cos2": 1 / m, "random_cos2_variance": 2 * (m - 1) / (m**2 * (m + 2))}
    if count <= m + 1:  # too few rows to be in superposition: nothing to compare
        return {**out, "welch_cos2": np.nan, "mean_cos2": np.nan, "cos2_variance": np.nan}
    unit = rows / rows.norm(dim=1, keepdim=True)
    cos2 = (unit @ unit.T)[~torch.eye(count, dtype=torch.bool, device=w.device)].square_()
    return {
        **out,
        "welch_cos2": (count - m) / (m * (count - 1)),
        "mean_cos2": float(cos2.mean()),
        "cos2_variance": float(cos2.var()),
    }
