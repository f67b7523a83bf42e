"""The experiment of the harmonic-loss chapter: algorithmic tasks, images and a language model under many heads.

Tables. `models`: a row per task, split, share, arm and seed, with times, accuracies, geometry, norms (`algorithmic`);
`curves`, `vectors`: histories and planes of the main program. `vision`, `vision_curves`, `centres`, `hull`: images
(`vision`). `text`, `text_training`: the language model (`text`). `group` says which program a row of `models` is from:
addition, undecayed, data, authors, split, task, map, or beside (other heads at the map's shares).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from evolm.findings.harmonic_loss import algorithmic, arms, vision
from evolm.findings.harmonic_loss.replicas import Arm
from evolm.findings.harmonic_loss.tasks import TASKS
from evolm.images import digests, load_images
from evolm.unit import Unit

if TYPE_CHECKING:
    from evolm.findings.harmonic_loss.parameters import HarmonicLossParams

Tables = dict[str, pd.DataFrame]
#: Programs whose chosen rates fall to zero; the authors' rate stays, as in their code, and slopes need one that does.
FALLING = ("addition", "data", "task", "map", "beside")
#: Programs of at most `slow_seeds` seeds; images have `image_seeds`.
SLOW = ("authors", "split", "task", "map", "beside")
#: Seeds of one program: enough to fill it, few enough that a run has units for two processes.
TOGETHER = 8
PICTURES = 2
#: Epochs of programs without decay, and of other splits, as a share of the authors' long ones.
UNDECAYED, SPLIT = 0.2, 0.15
#: Larger sets of images than this take fewer passes, in proportion, but some.
SMALL_SET, FEWEST_EPOCHS = 20_000, 5
#: What an update of one layer of the language model costs, in units of one replica's on addition.
TEXT_COST = 125.0


def units(params: HarmonicLossParams, device: str) -> list[Unit]:
    """Programs of up to eight seeds; the language model one by one."""
    found = []
    for program in programs(params):
        most = params.slow_seeds if program["group"] in SLOW else None
        own = params.seed_list[: params.image_seeds if program["group"] == "images" else most]
        for first in range(0, len(own), TOGETHER):
            seeds = own[first : first + TOGETHER]
            named = {key: value for key, value in program.items() if value is not None}
            name = ".".join(f"{key}={value}" for key, value in named.items()).replace("/", "_").replace(" ", "_")
            name = f"{name}.seeds={seeds[0]}-{seeds[-1]}"
            given = {**program, "seeds": seeds}
            found.append(Unit(name=name, arguments=given, cost=_cost(params, program) * len(seeds)))
    for seed in params.text_seed_list:
        for arm in arms.TEXT:
            cost = TEXT_COST * params.text_steps * params.text_layers * (params.text_width / 128) ** 2
            program = {"group": "text", "arm": arm, "seeds": [seed]}
            found.append(Unit(name=f"group=text.arm={arm}.seeds={seed}", arguments=program, cost=cost))
    return found


def programs(params: HarmonicLossParams) -> list[dict[str, Any]]:
    """What is trained for every few seeds."""
    found: list[dict[str, Any]] = [
        {"group": "addition", "share": params.share},
        {"group": "undecayed", "share": params.share},
        *({"group": "data", "share": share} for share in params.shares),
        *({"group": "authors", "share": share} for share in (params.share, *params.authors_shares)),
        *({"group": "split", "split": split} for split in params.splits),
        *({"group": "task", "task": task} for task in params.tasks),
    ]
    found += [
        {"group": "map", "distance": distance, "share": share}
        for distance in params.map_distances
        for share in params.map_shares
    ]
    trained = (params.share, *params.shares)
    found += [{"group": "beside", "share": share} for share in params.map_shares if share not in trained]
    return found + [
        {"group": "images", "images": name, "backbone": backbone}
        for name in params.images
        for backbone in vision.LAYERS
        if _present(name)
    ]


def arms_of(params: HarmonicLossParams, program: dict[str, Any]) -> dict[str, Arm]:
    """The arms of one program, neighbours of one form side by side, so that they are computed at once."""
    match program["group"]:
        case "addition":
            found = arms.addition_arms()
        case "undecayed":
            found = arms.UNDECAYED
        case "map":
            found = arms.exponent_arms(params.map_exponents, program["distance"])
        case "beside":
            found = {name: arms.CHOSEN[name] for name in arms.BESIDE}
        case "authors" | "split":
            found = arms.AUTHORS
        case _:
            found = arms.CHOSEN
    return dict(sorted(found.items(), key=lambda item: (item[1].head.form, item[1].head.distance, item[1].head.power)))


def run_unit(params: HarmonicLossParams, unit: Unit, device: str) -> Tables:
    """Train and measure one program."""
    torch.set_flush_denormal(True)  # Adam's second moment decays into denormals, which are slow
    try:
        return _run(params, unit.arguments, device)
    finally:
        torch.set_flush_denormal(False)


def _run(params: HarmonicLossParams, given: dict[str, Any], device: str) -> Tables:
    group, seeds = given["group"], given["seeds"]
    if group == "text":
        from evolm.findings.harmonic_loss import text  # transformers takes seconds, and only this needs it

        arm = arms.TEXT[given["arm"]]
        size = text.Size(params.text_width, params.text_layers, params.text_steps)
        return text.trained(given["arm"], arm.head, arm.lr, seeds[0], size, device=device)
    if group == "images":
        images = load_images(given["images"])
        linear = given["backbone"] == "linear"
        chosen = arms.linear_arms(images.images[0].numel()) if linear else arms.NETWORK
        epochs = image_epochs(params, len(images.labels))
        return vision.trained(images, given["backbone"], chosen, seeds, epochs=epochs, device=device)
    tables = algorithmic.trained(
        TASKS[given.get("task", "addition")](),
        arms_of(params, given),
        seeds,
        share=given.get("share", params.share),
        epochs=epochs_of(params, group),
        split=given.get("split", "clean"),
        falling=group in FALLING,
        curves=group in ("addition", "undecayed", "authors"),
        pictures=PICTURES if group in ("addition", "authors", "task") and params.first_seed in seeds else 0,
        device=device,
    )
    return {name: table.assign(group=group) for name, table in tables.items()}


def epochs_of(params: HarmonicLossParams, group: str) -> int:
    """Passes over the data: more at the authors' slow rate, and where norms are watched long after the fit."""
    long = {"authors": 1.0, "undecayed": UNDECAYED, "split": SPLIT}
    return round(params.long_epochs * long[group]) if group in long else params.epochs


def image_epochs(params: HarmonicLossParams, count: int) -> int:
    """Passes over a set of `count` images."""
    return max(min(FEWEST_EPOCHS, params.image_epochs), round(params.image_epochs * min(1.0, SMALL_SET / count / 2)))


def _cost(params: HarmonicLossParams, program: dict[str, Any]) -> float:
    if program["group"] == "images":
        pixels, count = (784, 60_000) if program["images"] != "digits" else (64, 1300)
        heads = len(arms.LINEAR if program["backbone"] == "linear" else arms.NETWORK)
        width = 10 if program["backbone"] == "linear" else 128
        return image_epochs(params, count) * count / vision.BATCH * heads * (0.2 + pixels * width / 20_000)
    task = TASKS[program.get("task", "addition")]()
    share = program.get("share", params.share)
    examples = share * (task.pool or len(task.answers))
    return epochs_of(params, program["group"]) * examples / algorithmic.BATCH * len(arms_of(params, program))


def _present(name: str) -> bool:
    """Whether a set of images can be read without fetching it: a chapter never downloads one."""
    return digests((name,))[name] != "absent"


def key_data(params: HarmonicLossParams) -> dict[str, str]:
    """Hashes of the images and of the text that a run reads; a set that is not here is left out of the run."""
    found = digests(params.images)
    if params.text_seeds:
        from evolm.findings.stability_gap.text_world import text_hashes

        found |= text_hashes()
    return found
