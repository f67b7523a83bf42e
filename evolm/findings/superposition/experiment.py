"""The superposition experiment: which toy models are trained, and the real models measured beside them.

Tables: `models`, one row per seed x trained toy model; `picture`, the two-dimensional models of the first
figure; `vectors`, the output vectors of open language models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from evolm import assets
from evolm.findings.superposition.data import frequencies
from evolm.findings.superposition.measure import measure, recovered
from evolm.findings.superposition.program import Decoder, Program, ToyModel, Training
from evolm.unit import Unit

if TYPE_CHECKING:
    from evolm.findings.superposition.parameters import SuperpositionParams

#: The picture in two dimensions: few enough features that each can be seen; seconds at any preset.
PICTURE = Training(n=6, alpha=0.5, batch_size=256, steps=3000, lr=0.01, density=0.25)
PICTURE_DECAYS = {"weak": 1.0, "neutral": 0.0, "strong": -1.0}


def arms(params: SuperpositionParams, alpha: float) -> dict[str, tuple[float, Decoder, float]]:
    """Arm -> (decay, decoder, bias standard deviation) of the main grid at one frequency law.

    `strong` and `weak` are the paper's two regimes, `near-ideal` the decay at which a steep law's model keeps about
    m features; `neutral` (no decay) and `frozen` (untrained directions) are controls.
    """
    low, high = min(params.decays), max(params.decays)
    table: dict[str, tuple[float, Decoder, float]] = {
        "strong": (low, "relu", params.bias_std),
        "weak": (high, "relu", params.bias_std),
        "neutral": (0.0, "relu", params.bias_std),
        "zero-bias": (low, "relu", 0.0),
        "frozen": (0.0, "frozen", params.bias_std),
    }
    if alpha > 1:
        table["near-ideal"] = (params.ideal_decay, "relu", params.bias_std)
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
        for i, name in enumerate(assets.readable(params.models))
    )
    return found


def _programs(params: SuperpositionParams) -> list[tuple[str, dict[str, Any]]]:
    base = {"n": params.n, "steps": params.steps, "alpha": params.sweep_alpha}
    grids = [(f"grid_alpha={alpha:g}", {**base, "kind": "grid", "alpha": alpha}) for alpha in params.alphas]
    starts = [
        (f"start_steps={steps}", {**base, "kind": "start", "steps": steps, "biases": biases})
        for steps in sorted({*params.sweep_steps, params.steps})
        if params.sweep_steps and (biases := _biases(params, steps))
    ]
    counts = [(f"features={n}", {**base, "kind": "features", "n": n}) for n in params.sweep_features if n != params.n]
    return [*grids, *starts, *counts]


def _biases(params: SuperpositionParams, steps: int) -> list[float]:
    """Bias starts to train at one length: those that the main grid has already are not trained twice."""
    in_grid = (0.0, params.bias_std) if steps == params.steps and params.sweep_alpha in params.alphas else ()
    return [bias for bias in params.sweep_bias if bias not in in_grid]


def toy_models(params: SuperpositionParams, program: dict[str, Any]) -> dict[ToyModel, str]:
    """The models of one program -> the arm they are."""
    kind, alpha = program["kind"], program["alpha"]
    chosen = arms(params, alpha)
    if kind == "start":
        chosen = {f"bias={bias:g}": (min(params.decays), "relu", bias) for bias in program["biases"]}
    elif kind == "features":
        chosen = {"strong": chosen["strong"]}
    models = {
        ToyModel(width, decay, decoder, bias): arm
        for arm, (decay, decoder, bias) in chosen.items()
        for width in params.widths
    }
    if kind == "grid" and alpha == params.middle_alpha:
        for decay in params.decays:  # the decay axis of one figure; both ends and the middle are arms already
            models.setdefault(ToyModel(params.middle_width, decay, "relu", params.bias_std), "decay")
            models.setdefault(ToyModel(params.middle_width, decay, "linear", params.bias_std), "linear")
    return models


def _columns(params: SuperpositionParams, arguments: dict[str, Any]) -> float:
    models = toy_models(params, arguments)
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
    models = toy_models(params, given)
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
        w, b = program.weights[0, span.start : span.start + 2], program.weights[0, span.stop - 1]
        columns = {"x": w[0].tolist(), "y": w[1].tolist(), "recovered": recovered(w, b, "relu").tolist()}
        frames.append(pd.DataFrame({"arm": arm, "feature": range(PICTURE.n), "frequency": p, **columns}))
    return pd.concat(frames, ignore_index=True)


def key_data(params: SuperpositionParams) -> dict[str, str]:
    """Which of the real models are here to be read."""
    return assets.presence(params.models)
