"""What a head tells with examples of its classes: accuracy, neural collapse, convexity."""

from __future__ import annotations

import math

import torch
from scipy import stats
from torch import Tensor

from evolm.instruments.geometry_files import Examples
from evolm.instruments.geometry_measures import collapse, convexity
from evolm.instruments.geometry_quantities import Quantity, Settings

#: Classes, evenly spaced, whose hulls are measured at most.
HULL_CLASSES = 100
SHUFFLES = 11


def example_quantities(w: Tensor, examples: Examples, settings: Settings) -> list[Quantity]:
    """Accuracy, neural collapse and convexity of the head `w`, (classes, width), on examples of its classes."""
    predictions = examples.predict(w)
    accuracy = _share(int((examples.labels == predictions).sum()), len(predictions), settings.level)
    present, counts = examples.labels.unique(return_counts=True)
    of = f"on {len(examples.labels):,} examples"
    most = {"null": float(counts.max()) / len(examples.labels)}
    rows = [Quantity("accuracy", *accuracy, against="largest class", null=most, note=of)]
    if len(present) < 2:
        return rows
    labels = torch.searchsorted(present, examples.labels)
    head = w[present]
    if len(present) < len(w):  # the choice is among all classes, the geometry of those that have examples
        predictions = torch.where(torch.isin(predictions, present), torch.searchsorted(present, predictions), -1)
    few = f", {len(present)} of {len(w)} classes" if len(present) < len(w) else ""
    few += ", some of a single example" if int(counts.min()) == 1 else ""
    found = collapse(examples.features, labels, head, predictions=predictions)
    raw = collapse(examples.features, labels, head, predictions=predictions, centred=False)
    disagree = _share(round(float(found["nc4"]) * len(labels)), len(labels), settings.level)
    shuffled = _shuffled(examples.features, labels, head, settings.seed)
    rows += [
        Quantity(
            "NC1 within/between classes",
            float(found["nc1"]),
            against="labels shuffled",
            null={"null": shuffled},
            note=f"0 when collapsed{few}",
        ),
        *(
            Quantity(f"NC2 {name}, class means", float(found[f"nc2_{measure}_means"]), note="0 in a simplex" + few)
            for name, measure in (
                ("sd/mean of norms", "equinorm"),
                ("sd of cosines", "equiangularity"),
                ("|cos + 1/(C-1)|", "maximal_angle"),
                ("distance to simplex", "distance"),
            )
        ),
        Quantity(
            "NC3 head from class means",
            float(found["nc3"]),
            against="unrelated",
            null={"null": 2.0},
            note=f"0 when alike; {float(raw['nc3']):.3g} for the rows with their mean, as in the paper{few}",
        ),
        Quantity("NC4 not the nearest mean", *disagree, note=f"share, {of}{few}"),
    ]
    return rows + _convexity(head, examples.features, labels, settings)


def _convexity(head: Tensor, features: Tensor, labels: Tensor, settings: Settings) -> list[Quantity]:
    """Distances from hulls, as shares of the distance from the class mean; intervals span the classes."""
    generator = torch.Generator().manual_seed(settings.seed)
    picked = torch.linspace(0, len(head) - 1, min(len(head), HULL_CLASSES)).round().long()
    parts, names = [], []
    for new, c in enumerate(picked.tolist()):
        mine = (labels.cpu() == c).nonzero()[:, 0]
        mine = mine[torch.randperm(len(mine), generator=generator)[: settings.max_examples]]
        parts.append(mine)
        names.append(torch.full_like(mine, new))
    used = torch.cat(parts).to(labels.device)
    found = convexity(head[picked.to(head.device)], features[used], torch.cat(names).to(labels.device))
    most = max(map(len, parts))
    over = f"mean and range of {len(picked)} classes, {most} examples each at most"
    apart = found.to_mean > 1e-9 * found.other  # at the mean itself the ratio has no sense
    to_other = float(torch.where(apart, found.other / found.to_mean, math.nan).nanmean())
    rows = [
        _over_classes(
            "distance from the hull / from the mean",
            found.relative,
            f"0: a convex combination of its class; {over}",
            "hull of another class",
            {"null": to_other} if math.isfinite(to_other) else None,
        ),
        _over_classes("coordinates out of the class's range", found.outside, f"share; {over}"),
    ]
    if found.negative.isfinite().all():
        rows.append(_over_classes("negative weights", found.negative, f"share, where no example has one; {over}"))
    return rows


def _over_classes(
    name: str, values: Tensor, note: str, against: str = "", null: dict[str, float] | None = None
) -> Quantity:
    mean, low, high = float(values.mean()), float(values.min()), float(values.max())
    return Quantity(name, mean, low, high, against=against, null=null or {}, note=note)


def _share(hits: int, total: int, level: float) -> tuple[float, float, float]:
    """A share of examples with its Wilson interval."""
    interval = stats.binomtest(hits, total).proportion_ci(level, method="wilson")
    return hits / total, float(interval.low), float(interval.high)


def _shuffled(features: Tensor, labels: Tensor, head: Tensor, seed: int) -> float:
    """NC1 with the labels shuffled, the median of `SHUFFLES`: the inverse of S_B has a long tail."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(labels), generator=generator).to(labels.device) for _ in range(SHUFFLES)]
    values = [collapse(features, labels[order], head, predictions=labels)["nc1"] for order in orders]
    return float(torch.stack(values).median())
