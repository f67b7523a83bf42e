"""The published fit of 27 language models' loss against their width, and the interval its noise allows.

    honest_interval(shared_share=0.5)           (low, high) of the exponent
    fit_width(simulated_losses(0.5, seed=0))    the instrument on losses like theirs

Source: Liu, Liu & Gore (2025), Fig. 6b and `LLMs/nonlinearfit-3.ipynb` of github.com/liuyz0/SuperpositionScaling:
L = C / m^alpha + L0[family, dataset] over 27 models and 4 datasets, 18 parameters for 108 points, reported
alpha = 0.91 +- 0.04. The losses themselves are not in that repository and were not available to us. What is
here redraws them around the published fit with its published mean squared error, normal noise. How much of
that noise all datasets of a model share cannot be told without the losses, so it is an argument.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

from evolm.instruments.width import WidthDesign

EXPONENT = 0.9098
COEFFICIENT = 476.0763
#: Mean over the 108 points of the squared residual, nats^2: the last value that the notebook prints.
MEAN_SQUARED_ERROR = 0.0052
#: The notebook's "Error in slope"; the paper prints 0.04.
REPORTED_ERROR = 0.036
DATASETS = ("wikitext", "c4", "pile", "bookcorpus")
#: Offsets L0 in nats, in the order of `DATASETS`.
OFFSETS = {
    "opt": (2.2074, 2.2745, 1.7193, 2.1845),
    "Qwen": (1.6079, 2.1009, 1.4890, 1.9348),
    "gpt2": (2.3018, 2.3546, 1.9413, 2.2961),
    "pythia": (2.1407, 2.2998, 1.5203, 2.2415),
}
#: Hidden widths. opt-350m embeds 512 and computes in 1024; the authors use 1024.
WIDTHS = {
    "opt": {
        "opt-125m": 768,
        "opt-350m": 1024,
        "opt-1.3b": 2048,
        "opt-2.7b": 2560,
        "opt-6.7b": 4096,
        "opt-13b": 5120,
        "opt-30b": 7168,
        "opt-66b": 9216,
    },
    "Qwen": {
        "Qwen2.5-0.5B": 896,
        "Qwen2.5-1.5B": 1536,
        "Qwen2.5-3B": 2048,
        "Qwen2.5-7B": 3584,
        "Qwen2.5-14B": 5120,
        "Qwen2.5-32B": 5120,
        "Qwen2.5-72B": 8192,
    },
    "gpt2": {"gpt2": 768, "gpt2-medium": 1024, "gpt2-large": 1280, "gpt2-xl": 1600},
    "pythia": {
        "pythia-70m": 512,
        "pythia-160m": 768,
        "pythia-410m": 1024,
        "pythia-1b": 2048,
        "pythia-1.4b": 2048,
        "pythia-2.8b": 2560,
        "pythia-6.9b": 4096,
        "pythia-12b": 5120,
    },
}


def fitted_losses() -> pd.DataFrame:
    """The published curve at the 108 points: columns model, family, dataset, width, loss (nats)."""
    rows = [
        (model, family, dataset, width, COEFFICIENT / width**EXPONENT + offset)
        for family, models in WIDTHS.items()
        for model, width in models.items()
        for dataset, offset in zip(DATASETS, OFFSETS[family], strict=True)
    ]
    return pd.DataFrame(rows, columns=["model", "family", "dataset", "width", "loss"])


def simulated_losses(shared_share: float, seed: int) -> pd.DataFrame:
    """`fitted_losses` with one draw of noise, of which the datasets of a model share `shared_share` in [0, 1].

    The noise is scaled so that a fit leaves the published mean squared error on average.
    """
    table = fitted_losses()
    design = WidthDesign(table)
    noise = design.noise(np.random.default_rng(seed), 1, _variance(design, shared_share) ** 0.5, shared_share)
    return table.assign(loss=table["loss"] + noise[0])


@cache
def honest_interval(
    shared_share: float, *, level: float = 0.95, draws: int = 4000, seed: int = 0
) -> tuple[float, float]:
    """Interval of the published exponent, as `fit_width` would give it on residuals of which models share this much.

    The Monte Carlo standard error of an end is 0.003 to 0.005 at 4,000 draws.
    """
    table = fitted_losses()
    design = WidthDesign(table)
    spread = _variance(design, shared_share), shared_share
    return design.interval(table["loss"].to_numpy(), EXPONENT, spread, level, draws, seed)


def _variance(design: WidthDesign, shared_share: float) -> float:
    """Noise variance, nats^2, of which a fit leaves `MEAN_SQUARED_ERROR` per point on average."""
    return design.points * MEAN_SQUARED_ERROR / design.expected_squares(shared_share)
