"""The superposition experiment: which toy models are trained, and the real models measured beside them.

Tables: `models`, one row per seed x trained toy model; `picture`, the two-dimensional models of the first
figure; `vectors`, the output vectors of open language models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evolm.findings.superposition.data import frequencies
from evolm.findings.superposition.measure import measure
from evolm.findings.superposition.program import Program, ToyModel, Training
from evolm.unit import Unit

if TYPE_CHECKING:
    from evolm.findings.superposition.parameters import SuperpositionParams

#: The picture in two dimensions: few enough features that each can be seen; seconds at any preset.
PICTURE = Training(n=6, alpha=0.5, batch_size=256, steps=3000, lr=0.01, density=0.25)
PICTURE_DECAYS = {"weak": 1.0, "neutral": 0.0, "strong": -1.0}


def arms(params: SuperpositionParams, alpha: float) -> dict[str, tuple[float, str, float]]:
    """Arm -> (decay, decoder, bias standard deviation) of the main grid at one frequency law.

    `strong` and `weak` are the paper's two regimes; the rest are controls, two of them at one law only.
    """
    low, high = min(params.decays), max(params.decays)
    table: dict[str, tuple[float, str, float]] = {
        "strong": (low, "relu", params.bias_std),
        "weak": (high, "relu", params.bias_std),
        "zero-bias": (low, "relu", 0.0),
        "frozen": (0.0, "frozen", params.bias_std),
    }
    if alpha == params.sweep_alpha:
        table["neutral"] = (0.0, "relu", params.bias_std)
        table["linear-strong"] = (low, "linear", params.bias_std)
        table["linear-weak"] = (high, "linear", params.bias_std)
    return table


def units(params: SuperpositionParams, device: str) -> list[Unit]:
    """One program per frequency law and seed; on a GPU, per frequency law with all seeds in it."""
    groups = [params.seed_list] if device == "cuda" else [[seed] for seed in params.seed_list]
    found = []
    for seeds in groups:
        label = f"seed={seeds[0]}" if len(seeds) == 1 else f"seeds={seeds[0]}-{seeds[-1]}"
        for part, arguments in _programs(params):
            cost = arguments["steps"] * _columns(params, arguments)
            found.append(Unit(name=f"{part}_{label}", arguments={**arguments, "seeds": seeds}, cost=cost))
    found.append(Unit(name="picture", arguments={"kind": "picture"}, cost=2e3))
    found.extend(
        Unit(name=f"vectors_{i}", arguments={"kind": "vectors", "model": name}, cost=2e4)
        for i, name in enumerate(available(params))
    )
    return found


def _programs(params: SuperpositionParams) -> list[tuple[str, dict[str, Any]]]:
    base = {"n": params.n, "steps": params.steps}
    programs: list[tuple[str, dict[str, Any]]] = [
        (f"grid_alpha={alpha:g}", {**base, "kind": "grid", "alpha": alpha}) for alpha in params.alphas
    ]
    programs += [
        (f"steps={steps}", {**base, "kind": "steps", "alpha": params.sweep_alpha, "steps": steps})
        for steps in params.sweep_steps
        if steps != params.steps or params.sweep_alpha not in params.alphas
    ]
    programs += [
        (f"features={n}", {**base, "kind": "features", "alpha": params.sweep_alpha, "n": n})
        for n in params.sweep_features
        if n != params.n
    ]
    return programs


def toy_models(params: SuperpositionParams, kind: str, alpha: float) -> dict[ToyModel, str]:
    """The models of one program -> the arm they are."""
    low = min(params.decays)
    if kind == "grid":
        chosen = arms(params, alpha)
    else:
        chosen = {"strong": (low, "relu", params.bias_std), "zero-bias": (low, "relu", 0.0)}
    models = {
        ToyModel(width, decay, decoder, bias): arm  # type: ignore[arg-type]
        for arm, (decay, decoder, bias) in chosen.items()
        for width in params.widths
    }
    if kind == "grid" and alpha == params.sweep_alpha:
        middle = params.widths[len(params.widths) // 2]
        for decay in params.decays:  # the decay axis of one figure; the ends are arms already
            models.setdefault(ToyModel(middle, decay, "relu", params.bias_std), "decay")
            models.setdefault(ToyModel(middle, decay, "linear", params.bias_std), "linear-decay")
    return models


def _columns(params: SuperpositionParams, arguments: dict[str, Any]) -> float:
    models = toy_models(params, arguments["kind"], arguments["alpha"])
    return sum(model.width + 15 for model in models) * arguments["n"] * params.batch_size / 1e5


def run_unit(params: SuperpositionParams, unit: Unit, device: str) -> dict[str, pd.DataFrame]:
    """Trains and measures one program, or draws the picture's models, or measures one open model."""
    given = unit.arguments
    if given["kind"] == "picture":
        return {"picture": picture(params)}
    if given["kind"] == "vectors":
        from evolm.instruments.overlap import measure_models

        return {"vectors": measure_models([given["model"]], device=device)}
    training = Training(given["n"], given["alpha"], params.batch_size, given["steps"], params.lr, params.density)
    models = toy_models(params, given["kind"], given["alpha"])
    program = Program(list(models), training, given["seeds"], device).train()
    table = measure(program)
    table.insert(0, "kind", given["kind"])
    table.insert(1, "arm", list(models.values()) * len(given["seeds"]))
    return {"models": table}


def picture(params: SuperpositionParams) -> pd.DataFrame:
    """Six features in two dimensions under three decays: the arrows of the first figure."""
    models = [ToyModel(2, decay, "relu", bias_std=0.0) for decay in PICTURE_DECAYS.values()]
    program = Program(models, PICTURE, [params.first_seed]).train()
    p = frequencies(PICTURE.n, PICTURE.alpha, PICTURE.density)
    frames = []
    for arm, span in zip(PICTURE_DECAYS, program.rows, strict=True):
        x, y = np.asarray(program.weights[0, span.start : span.start + 2], dtype=float)
        frames.append(pd.DataFrame({"arm": arm, "feature": range(PICTURE.n), "frequency": p, "x": x, "y": y}))
    return pd.concat(frames, ignore_index=True)


def key_data(params: SuperpositionParams) -> dict[str, str]:
    """Which of the real models are here to be read: a record made without one of them is another record."""
    return {name: "here" if name in available(params) else "absent" for name in params.models}


def available(params: SuperpositionParams) -> list[str]:
    """The models of `params` that can be read now: a chapter never downloads an asset."""
    from evolm import assets

    absent = {row["name"] for row in assets.status() if not row["present"]}
    return [name for name in params.models if name not in absent]
