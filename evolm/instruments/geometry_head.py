"""What a head tells by itself: its spread, its ring, its simplex, each beside random or shuffled rows."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from evolm.instruments import geometry_null as nulls
from evolm.instruments.geometry_measures import (
    circle_evenness,
    effective_rank,
    explained_variance,
    fourier_null,
    fourier_share,
    simplex,
    simplex_floor,
)
from evolm.instruments.geometry_quantities import Quantity, Settings

#: A ring of more rows than this is not looked for: a vocabulary has no order to find.
RING_CLASSES = 1024
RANDOM, SHUFFLED = "random rows", "rows shuffled"


def head_quantities(w: Tensor, settings: Settings) -> list[Quantity]:
    """The geometry of the rows of `w`, (classes, width), float64 and finite, against random and shuffled rows."""
    classes, width = w.shape
    null = nulls.random_rows(classes, width, draws=settings.draws, seed=settings.seed, k=settings.k)
    ranks = effective_rank(w)
    variance = explained_variance(w, settings.k)
    raw, centred = simplex(w), simplex(w - w.mean(0))
    paired = f", over {nulls.PAIRED_ROWS} rows" if classes > nulls.PAIRED_ROWS else ""
    floor = simplex_floor(classes, width)

    def against_random(name: str, value: Tensor, measure: str, note: str = "", larger: bool = False) -> Quantity:
        found = nulls.summary(null[measure], float(value), settings.level, larger=larger)
        return Quantity(name, float(value), against=RANDOM, null=found, note=note)

    def in_simplex(name: str, measure: str, more: str = "") -> Quantity:
        note = f"0 in a simplex{more}; {float(raw[measure]):.3g} for the rows with their mean, as in the paper"
        return against_random(f"NC2 {name}, head", centred[measure], measure, note)

    return [
        against_random(f"variance in {settings.k} PCs", variance, "explained_variance", larger=True),
        against_random("effective rank, entropy", ranks.entropy, "entropy", f"at most {min(classes - 1, width)}"),
        against_random("effective rank, participation", ranks.participation, "participation"),
        *_ring(w, null, settings),
        in_simplex("sd/mean of norms", "equinorm", f" (null{paired})" if paired else ""),
        in_simplex("sd of cosines", "equiangularity", paired),
        in_simplex("|cos + 1/(C-1)|", "maximal_angle", paired),
        in_simplex("distance to simplex", "distance", f", at least {floor:.3g} in this width" if floor else ""),
        Quantity("norm", float(w.norm()), note="Frobenius, mean included"),
    ]


def _ring(w: Tensor, null: Mapping[str, Tensor], settings: Settings) -> list[Quantity]:
    """How far the rows, in their order, go round a circle; nothing where there are too few or too many."""
    classes, width = w.shape
    if not 3 <= classes <= RING_CLASSES:
        return []
    share, frequency = fourier_share(w)
    draws = nulls.affordable(settings.draws, classes, width)
    found = nulls.summary(fourier_null(w, draws, settings.seed), float(share), settings.level, larger=True)
    turns = f"frequency {int(frequency)} of {classes} rows"
    if classes == 3:
        turns = "three rows always give 1"
    even = circle_evenness(w)
    radius = nulls.summary(null["radius"], float(even.radius), settings.level, larger=True)
    angle = nulls.summary(null["angle"], float(even.angle), settings.level, larger=True)
    return [
        Quantity("variance at the best frequency", float(share), against=SHUFFLED, null=found, note=turns),
        Quantity("circle: evenness of radii", float(even.radius), against=RANDOM, null=radius, note="1 - sd/mean"),
        Quantity("circle: evenness of angles", float(even.angle), against=RANDOM, null=angle, note="1 - sd/mean"),
    ]
