"""The experiment of the chapter on grokking pathways: arm A, many passes over tables, and arm B, one over a mixture.

Every table has `world` ("tables", "tables, wide" and other scales, "modular", "text"), `seed`, `arm` and, but for
`training`, `group`:

- `curve`: step, dating_accuracy and train_accuracy (each on half of the training samples), test_accuracy, train_nats,
  test_nats (per answer; the text's per character of it);
- `pathways`: step, quantity, tokens, rule, value: every reading of the metrics (`evolm.findings.grokking_pathways
  .metrics`) on up to 64 training samples of the half that does not date memorisation;
- `layers`: step, quantity (distance, cosine), tokens, layer, value; a cosine is that of a layer with the next;
- `cells`: cell, memorised, trained, generalised, held_out: mean log2 dates at which its training samples (dating half)
  and held-out samples are mastered, and how many there are; tables and modular arithmetic only;
- `training`: step, nats (mean since the last measurement), weight_norm, router_norm, imbalance (of the load, mean over
  layers), dispersion (of routing weights within groups; not of the mixture);
- `routes`: step, sample, layer, rank, expert, weight of 16 samples a group, of the first seed's trained arm on tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from evolm.findings.grokking_pathways.arms import PAIR, Arm, arms_of, followed, labels_of, shape_of
from evolm.findings.grokking_pathways.measure import Bench
from evolm.findings.grokking_pathways.tables import World, hidden_classes, modular
from evolm.findings.grokking_pathways.text_experiment import run_text
from evolm.findings.stability_gap.text_world import text_hashes
from evolm.unit import Unit

if TYPE_CHECKING:
    from evolm.findings.grokking_pathways.model import Shape
    from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams

Tables = dict[str, pd.DataFrame]
#: Whose routes are kept for the picture.
PICTURED = "trained"


def units(params: GrokkingPathwaysParams, device: str) -> list[Unit]:
    """One per seed and world; the dense model and each other scale have units of their own."""
    dense = any(arm.dense for arm in arms_of(params).values())
    sparse = sum(not arm.dense for arm in arms_of(params).values())
    kinds: list[tuple[str, list[int], float]] = [("tables", params.seed_list, sparse * params.steps * params.batch)]
    if dense:
        kinds.append(("tables-dense", params.seed_list, 0.7 * params.steps * params.batch))
    scale_cost = 2 * params.steps * params.batch
    kinds += [
        (f"tables-{scale.replace(' ', '-')}", params.scale_seed_list, 2.0 * scale_cost) for scale in params.scales
    ]
    size = params.modular_width / params.width
    kinds.append(("modular", params.modular_seed_list, 2 * size * params.modular_steps * params.modular_batch))
    kinds.append(("text", params.text_seed_list, 2 * 40 * params.text_steps * params.text_batch))
    return [
        Unit(name=f"{kind}.seed={seed}", arguments={"kind": kind, "seed": seed}, cost=cost)
        for kind, seeds, cost in kinds
        for seed in seeds
    ]


def run_unit(params: GrokkingPathwaysParams, unit: Unit, device: str) -> Tables:
    """Train and measure the arms of one seed in one world."""
    kind, seed = unit.arguments["kind"], unit.arguments["seed"]
    if kind == "text":
        return labelled(run_text(params, seed, device), "text", seed)
    if kind == "modular":
        return labelled(run_modular(params, seed, device), "modular", seed)
    world = hidden_classes(params.classes, params.symbols, params.fraction, params.random_fraction, seed=seed)
    scale = next((name for name in params.scales if kind == f"tables-{name.replace(' ', '-')}"), None)
    if scale:
        tables = on_pairs(PAIR, world, shape_of(params, world, scale), params, seed, device)
        return labelled(tables, f"tables, {scale}", seed)
    wanted = kind == "tables-dense"
    arms = {name: arm for name, arm in arms_of(params).items() if arm.dense == wanted}
    shape = shape_of(params, world)
    tables = on_pairs(arms, world, shape.dense() if wanted else shape, params, seed, device, seed == params.first_seed)
    return labelled(tables, "tables", seed)


def on_pairs(
    arms: dict[str, Arm],
    world: World,
    shape: Shape,
    params: GrokkingPathwaysParams,
    seed: int,
    device: str,
    pictured: bool = False,
    **changes: Any,
) -> Tables:
    """Train some arms of one shape together on pairs of operands; `changes` replace what the parameters say."""
    settings = {name: getattr(params, name) for name in ("steps", "checkpoints", "batch", "rate", "decay", "aux")}
    strengths = {"dispersion": params.penalty, "norm": params.norm_penalty}
    bench = Bench(
        world, arms, labels_of(arms, world, seed), seed, params.thresholds, device, PICTURED if pictured else None
    )
    for checkpoint in followed(arms, world, shape, seed, penalties=strengths, device=device, **{**settings, **changes}):
        bench.measure(checkpoint)
    return bench.tables()


def run_modular(params: GrokkingPathwaysParams, seed: int, device: str) -> Tables:
    """Modular arithmetic: the trained arm and its scrambled twin."""
    world = modular(params.p, seed=seed)
    small = params.model_copy(update={"width": params.modular_width})
    return on_pairs(
        PAIR, world, shape_of(small, world), params, seed, device, steps=params.modular_steps,
        batch=params.modular_batch, rate=params.modular_rate, decay=params.modular_decay,
    )  # fmt: skip


def labelled(tables: Tables, world: str, seed: int) -> Tables:
    """The tables with their world and seed in the first columns."""
    for frame in tables.values():
        frame.insert(0, "world", world)
        frame.insert(1, "seed", seed)
    return tables


def key_data(params: GrokkingPathwaysParams) -> dict[str, str]:
    """The real text where a run reads it."""
    return text_hashes() if params.text_seeds else {}
