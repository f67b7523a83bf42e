"""Figures of what relates metrics to generalising: correlations, and every reading. Tables in, drawings out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from evolm.findings.grokking_pathways import curves
from evolm.findings.grokking_pathways.curves import COSINE, DISTANCE, Reading, Tables
from evolm.findings.grokking_pathways.figure_style import Scale, in_words, name_rows, row, seeds_as_rows, signed
from evolm.findings.grokking_pathways.metrics import ALL, NO_RULE, TOP
from evolm.findings.grokking_pathways.relations import Array, Statistic, correlated, smoothed
from evolm.fragments import Fragment
from evolm.instruments.pathway_statistics import (
    correlation,
    detrended,
    difference_correlation,
    partial_correlation,
    shift_null,
)
from evolm.intervals import critical_value
from evolm.panels import Look, below, is_narrow, listed, sentence
from evolm.plotting import Figure, colour, figure

#: |r| that the paper reports of its metrics.
PAPER = (0.93, 0.99)


class Series(NamedTuple):
    """A row: its name, what is read (None: the step itself), the sign that the claim gives it, its hue and marker."""

    name: str
    reading: Reading | str | None
    sign: int
    shade: str
    marker: str


SERIES = (
    Series("distance (fall)", DISTANCE, -1, "blue", "o"),
    Series("cosine (rise)", COSINE, 1, "blue", "o"),
    Series("paper's C (rise)", Reading("C"), 1, "sky", "^"),
    Series("1 − C (rise)", Reading("S"), 1, "sky", "^"),
    Series("training loss (fall)", "loss", -1, "orange", "s"),
    Series("the step itself", None, 1, "vermillion", "D"),
)


def _raw(x: Array, y: Array, at: Array) -> float:
    return float(correlation(x, y))


def _partial(x: Array, y: Array, at: Array) -> float:
    return partial_correlation(at, x, y)


def _differences(x: Array, y: Array, at: Array) -> float:
    return difference_correlation(x, y)


def _quantile(share: float) -> Statistic:
    """An end of what circular shifts of the detrended series give; their mean where the share is NaN."""

    def of_null(x: Array, y: Array, at: Array) -> float:
        null = shift_null(detrended(at, x), detrended(at, y)).null
        return float(null.mean() if np.isnan(share) else np.quantile(null, share))

    return of_null


#: Panels: title, statistic.
GIVEN_TIME = "r given the course of time"
STATISTICS: dict[str, Statistic] = {"raw r": _raw, GIVEN_TIME: _partial, "r of changes": _differences}


def _of(series: Series, statistic: Statistic) -> Statistic:
    """The statistic with the row's sign; NaN where a series is not finite or does not move."""

    def found(x: Array, y: Array, at: Array) -> float:
        metric = at if series.reading is None else smoothed(x) if series.reading == "loss" else x
        steady = [values for values in (metric, y) if not np.isfinite(values).all() or np.ptp(values) == 0]
        timed = series.reading is None and statistic is not _raw  # the step given the step
        return float("nan") if steady or timed else series.sign * statistic(metric, y, at)

    return found


def _values(tables: Tables, series: Series, statistic: Statistic) -> Array:
    reading = "loss" if series.reading is None else series.reading
    return correlated(tables, reading, _of(series, statistic))["value"].to_numpy(float)


def correlations_forest(tables: Tables, params: Scale) -> Figure | Fragment:
    """Correlation with held-out accuracy over the lag: raw, given time beside a null, of changes; a row per series."""
    found = {title: [_values(tables, series, each) for series in SERIES] for title, each in STATISTICS.items()}
    if not any(len(values) for values in found["raw r"]):
        return sentence("This record holds no lag long enough for a correlation, so none is drawn.")
    null = [[_mean(_values(tables, series, _quantile(q))) for q in (0.025, np.nan, 0.975)] for series in SERIES]

    def draw(panels: list[Any]) -> None:
        for axes, (title, rows) in zip(panels, found.items(), strict=True):
            axes.axvline(0, color=colour("muted"), lw=1)
            if title == "raw r":
                axes.axvspan(*PAPER, color=colour("green"), alpha=0.35, lw=0, label="the paper's |r|")
            for place, (series, values) in enumerate(zip(SERIES, rows, strict=True)):
                if title == GIVEN_TIME:
                    _null(axes, null[place], place)
                row(axes, values, place, Look(series.shade, series.marker, "-", "", ""))
                if not len(values):
                    axes.text(0, place, "  not defined", va="center", fontsize=9, color=colour("muted"))
            name_rows(axes, [series.name for series in SERIES], shown=is_narrow(axes) or axes is panels[0])
            axes.set_xlim(-1.06, 1.06)
            axes.set_title(title if is_narrow(axes) else title.replace("the course of ", ""))
            axes.set_xlabel("r with held-out accuracy" if not is_narrow(axes) or axes is panels[-1] else "")
        below(panels, 2)

    said = ". ".join(
        f"The {title}: "
        + listed([f"{s.name} {in_words(values)}" for s, values in zip(SERIES, rows, strict=True) if len(values)])
        for title, rows in found.items()
    )
    return figure(
        draw,
        name="grokking-pathways-correlations",
        panels=3,
        size=(8.6, 3.8),
        narrow_height=8.6,
        alt=f"Correlations with held-out accuracy within the lag, a row per series. {said}.",
        caption="Correlation with held-out accuracy over each group's own lag, mean over groups, with the sign that makes the "
        "paper's claim positive. Left: raw; two curves that both rise agree whatever they are, and the step itself is such a "
        "curve. Middle: after step, log step and its square are taken out of both; grey: 95 % range for one group of one "
        "seed when its series is moved round in time, as wide as luck, and zero on average by construction. Right: of the changes from one measurement to the next. The loss is smoothed over "
        f"five measurements. {said}. {seeds_as_rows(max(len(values) for values in found['raw r']))}",
    )


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _null(axes: Any, ends: list[float], place: int) -> None:
    low, middle, high = ends
    if np.isfinite(middle):
        label = "shifted in time: mean, 95 % range" if place == 0 else ""
        axes.barh(
            place, high - low, left=low, height=0.5, color=colour("grey"), alpha=0.28, lw=0, label=label, zorder=1
        )
        axes.plot([middle] * 2, [place - 0.25, place + 0.25], color=colour("grey"), lw=1.4, zorder=2)


#: Direction in which the paper says that a quantity moves; 0 where it says nothing, or its formula and table differ.
DIRECTION = {"distance": -1, "distance, indices": -1, "distance, characters": -1, "cosine": 1}
#: Outside of the interval around 0 as the paper says, the other way, without a direction; and inside.
OUTSIDE = {
    1: Look("blue", "o", "", "beyond the twin, as the paper says", ""),
    -1: Look("vermillion", "X", "", "beyond the twin, the other way", ""),
    0: Look("purple", "D", "", "beyond the twin, no direction in the paper", ""),
}
INSIDE = Look("grey", "o", "", "not told apart from the twin", "")
NAMES = {
    "distance, indices": "indices, raw",
    "distance, characters": "characters, raw",
    "S": "1 − C",
    "distinct": "distinct pathways",
}
FAMILIES = (("distance", "distance, indices", "distance, characters"), ("cosine", "C", "S", "cosine, outputs"))
TWIN = ("trained", "scrambled")


def differences_of_readings(tables: Tables) -> pd.DataFrame:
    """A row per reading: family, name, direction, trained and twin (mean changes), seeds, mean and spread of their difference."""
    rows = curves.of_world(tables, "pathways", "tables")
    rows = rows[rows["arm"].isin(TWIN)]
    kinds = rows[["quantity", "tokens", "rule"]].drop_duplicates()
    found = []
    for quantity, tokens, rule in kinds.itertuples(index=False):
        reading = Reading(quantity, tokens, rule)
        by = curves.changes(tables, "tables", TWIN, reading).pivot(index="seed", columns="arm", values="value")
        if not set(TWIN) <= set(by) or (by := by.dropna()).empty:
            continue
        difference = (by["trained"] - by["scrambled"]).to_numpy(float)
        spread = float(difference.std(ddof=1)) if len(difference) > 1 else float("nan")
        how = "" if rule == NO_RULE else f", {rule}" if rule == TOP else f", {100 * float(rule):g} %"
        name = f"{NAMES.get(quantity, quantity)}{how}{', all tokens' if tokens == ALL else ''}"
        family = next((place for place, names in enumerate(FAMILIES) if quantity in names), len(FAMILIES))
        means = by["trained"].mean(), by["scrambled"].mean()
        found.append((family, name, DIRECTION.get(quantity, 0), *means, len(by), difference.mean(), spread))
    columns = ["family", "name", "direction", "trained", "twin", "seeds", "mean", "spread"]
    return pd.DataFrame(found, columns=columns).sort_values(["family", "name"], ignore_index=True)


def readings(tables: Tables, params: Scale) -> Figure | Fragment:
    """Change over the lag less the twin's, in standard deviations between seeds, for every reading of the record."""
    found = differences_of_readings(tables)
    found = found[found["spread"] > 0].reset_index(drop=True)
    if found.empty:
        return sentence(
            "This record holds no two seeds of the trained arm and its twin, so the readings cannot be set against the spread "
            "between seeds."
        )
    found = found.assign(d=found["mean"] / found["spread"])
    half = float(critical_value(int(found["seeds"].max()), 0.05) / np.sqrt(found["seeds"].max()))
    sign = np.where(found["direction"] == 0, 0, np.sign(found["d"]) * found["direction"]).astype(int)
    beyond = found["d"].abs().to_numpy(float) > half

    def draw(axes: Any) -> None:
        axes.axvspan(-half, half, color=colour("muted"), alpha=0.13, lw=0, zorder=0)
        axes.axvline(0, color=colour("muted"), lw=1)
        for place, value in enumerate(found["d"]):
            look = OUTSIDE[sign[place]] if beyond[place] else INSIDE
            fill = colour(look.shade) if beyond[place] else colour("background")
            axes.plot(
                value, place, look.marker, ms=7, color=colour(look.shade), mfc=fill, mew=1.5, label=look.label, zorder=3
            )
            axes.plot([0, value], [place, place], color=colour(look.shade), lw=1.2, alpha=0.6, zorder=2)
        for edge_row in np.flatnonzero(np.diff(found["family"])):
            axes.axhline(edge_row + 0.5, color=colour("grid"), lw=1, zorder=0)
        name_rows(axes, found["name"].tolist())
        axes.tick_params(axis="y", labelsize=9)
        edge = 1.1 * max(float(found["d"].abs().max()), min(half, 4.0))
        axes.set_xlim(-edge, edge)
        axes.set_xlabel("difference ÷ its sd over seeds", x=0 if is_narrow(axes) else 0.5)
        below(axes, 2)

    outside = [
        f"{found['name'][i]} {signed(found['trained'][i], 3)} (twin {signed(found['twin'][i], 3)})"
        for i in np.flatnonzero(beyond)
    ]
    as_said = int((beyond & (sign == 1)).sum())
    said = (
        f"Of {len(found)} readings, {len(outside)} move beyond the twin's change, {as_said} of them as the paper says of distance or "
        "cosine" + (f": {'; '.join(outside)}" if outside else "")
    )
    return figure(
        draw,
        name="grokking-pathways-readings",
        size=(7.8, 0.235 * len(found) + 1.6),
        narrow_height=0.235 * len(found) + 2.2,
        alt=f"A row per reading of the metrics: change over the lag less that of the scrambled twin. {said}.",
        caption="Change over the lag in common with the twin, trained less scrambled twin, divided by the standard deviation of that "
        f"difference over {int(found['seeds'].max())} seeds; grey: 95 % interval around no difference, for every row. Rows: what is "
        "measured, by which rule pathways are built (share of routing weight, or the experts that act), and at which tokens (the "
        "answer's where nothing is said). The band is guarded against skewed noise, so a row lies outside by luck more seldom than one "
        f"in twenty, and inside does not mean no difference. {said}.",
    )
