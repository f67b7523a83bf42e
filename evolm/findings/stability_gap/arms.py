"""The arms of continued pre-training: what is read, how often, and under which schedule.

for step, model in continued(ARMS["baseline"], params, base, world, library, seed): ...
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch import Tensor
from transformers import PreTrainedModel

from evolm.findings.stability_gap.corpora import Library, Recipe, as_data, general_text, mixture
from evolm.findings.stability_gap.facts import FactWorld
from evolm.lm.token_data import TokenData
from evolm.lm.train import TrainSettings, train_on_tokens

if TYPE_CHECKING:
    from evolm.findings.stability_gap.parameters import StabilityGapParams

BETAS, DECAY = (0.9, 0.95), 0.1


class Base(NamedTuple):
    """A pre-trained model and the state of its optimiser."""

    model: PreTrainedModel
    optimiser: dict[str, Tensor]


@dataclass(frozen=True)
class Arm:
    """One way to go on. `general` names the parameter that says how much of what is read is general text.

    `diluted` good documents are mixed with medical filler until they state as much that is right as random ones do.
    `share` of the steps, with data and schedule of its own or, if `cut`, the first part of the whole run. `rate`,
    `residual` and `clean` (share of good documents in the corpus), where given, take the place of the parameters.
    """

    text: Literal["medical", "general"] = "medical"
    quality: bool = False
    diluted: bool = False
    repeated: bool = False
    general: Literal["residual", "replay", "mix"] = "residual"
    share: float = 1.0
    cut: bool = False
    schedule: Literal["cosine", "constant"] = "cosine"
    warm: bool = True
    kept_state: bool = False
    rate: float | None = None
    residual: float | None = None
    clean: float | None = None


BASELINE = Arm()
NULL = Arm(text="general")
ALL = Arm(quality=True, repeated=True, general="mix")
SHORT = 0.4
#: The core claims' arms.
CORE = {
    "baseline": BASELINE,
    "null": NULL,
    "no general": Arm(residual=0.0),
    "replay": Arm(general="replay"),
    "all": ALL,
    "all, 40 %": replace(ALL, share=SHORT),
    "baseline, 40 %": Arm(share=SHORT),
}
#: The other corners of the factorial of strategies.
FACTORIAL = {
    "epochs": Arm(repeated=True),
    "quality": Arm(quality=True),
    "mix": Arm(general="mix"),
    "epochs + quality": Arm(repeated=True, quality=True),
    "epochs + mix": Arm(repeated=True, general="mix"),
    "quality + mix": Arm(quality=True, general="mix"),
}
#: What else could make or mend a dip, each with the null shift under the same conditions.
CONFOUNDS = {
    "constant": Arm(schedule="constant"),
    "constant, null": replace(NULL, schedule="constant"),
    "no warm-up": Arm(warm=False),
    "no warm-up, null": replace(NULL, warm=False),
    "kept state": Arm(kept_state=True),
    "kept state, null": replace(NULL, kept_state=True),
    "quality, diluted": Arm(quality=True, diluted=True),
    "baseline, cut": Arm(share=SHORT, cut=True),
}


def swept(params: StabilityGapParams) -> dict[str, Arm]:
    """General text against learning rate, the null shift at each, and corpora of other quality; empty without maps."""
    over_rates = {
        f"residual {share:g}, rate {rate:g}": Arm(residual=share, rate=rate)
        for share in params.residuals
        for rate in params.rates
    }
    nulls = {f"null, rate {rate:g}": replace(NULL, rate=rate) for rate in params.rates}
    corpora = {
        f"{name}, clean {share:g}": replace(CORE[name], clean=share)
        for share in params.cleans
        for name in ("baseline", "all", "all, 40 %")
    }
    return {**over_rates, **nulls, **corpora}


def arms_of(params: StabilityGapParams) -> dict[str, Arm]:
    """Every arm of a run, by name."""
    groups: dict[str, dict[str, Arm]] = {"core": CORE, "factorial": FACTORIAL, "confounds": CONFOUNDS}
    chosen = {name: arm for group in params.groups for name, arm in groups[group].items()}
    return {**chosen, **swept(params)}


def continued(
    arm: Arm, params: StabilityGapParams, base: Base, world: FactWorld, library: Library, seed: int
) -> Iterator[tuple[int, PreTrainedModel]]:
    """Continue a copy of the base, yielding after every update. The order of what is read is the data's own."""
    model = copy.deepcopy(base.model)
    steps = round(params.steps * arm.share)
    planned = params.steps if arm.cut else steps
    data = data_of(arm, params, world, library, planned * params.batch, seed)
    settings = settings_of(arm, params, planned, seed)
    state = base.optimiser if arm.kept_state else None
    for snapshot in train_on_tokens(model, data, settings, optimiser=state, progress=False):
        yield snapshot.step, model
        if snapshot.step == steps:
            return


def data_of(
    arm: Arm, params: StabilityGapParams, world: FactWorld, library: Library, rows: int, seed: int
) -> TokenData:
    """What an arm reads, in its order."""
    if arm.text == "general":
        return as_data(general_text(world, rows, seed + 3 * 10**6))
    general = getattr(params, arm.general) if arm.residual is None else arm.residual
    epochs = params.epochs if arm.repeated else 1
    recipe = Recipe(quality=arm.quality, diluted=arm.diluted, epochs=epochs, general=general)
    return mixture(world, library, recipe, rows, seed)


def settings_of(arm: Arm, params: StabilityGapParams, steps: int, seed: int) -> TrainSettings:
    """AdamW, warmed up again to the peak rate and, unless the arm keeps it constant, down by a cosine."""
    options: dict[str, Any] = {"schedule": "warmup" if arm.warm else "constant"}
    if arm.schedule == "cosine":
        options = {"schedule": "cosine", "final_lr": 0.1}
    return TrainSettings(
        steps=steps,
        batch_size=params.batch,
        lr=params.rate if arm.rate is None else arm.rate,
        warmup_steps=params.warmup if arm.warm else 0,
        betas=BETAS,
        weight_decay=DECAY,
        dtype="bfloat16",
        checkpoint_every=1,
        seed=seed,
        **options,
    )
