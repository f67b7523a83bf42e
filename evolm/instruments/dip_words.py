"""What a dip is in one sentence, and as rows of a table.

sentence(series, dip)          "accuracy falls by 0.11 [0.07, 0.15] at step 10, is back at step 50 ..."
rows(series, dip, settings)    one row per quantity
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from evolm.instruments.dip_results import Dip, Estimate, Settings
from evolm.instruments.dip_tables import Series

COLUMNS = (
    *("model", "metric", "quantity", "value", "low", "high", "level", "p", "censored", "points", "runs", "items"),
    *("lower_is_better", "note", "sentence"),
)


def sentence(series: Series, dip: Dip) -> str:
    """What was found, in words."""
    falls, fall = ("rises", "rise") if series.lower_is_better else ("falls", "fall")
    by, side = number(dip.depth), "above" if series.lower_is_better else "below"
    if math.isnan(dip.depth.value):
        seen = f"{plain(abs(dip.depth_seen))} {side if dip.depth_seen >= 0 else _other(side)} its baseline"
        return f"{series.metric} is at worst {seen}, at step {dip.step.value:,.12g}; {dip.notes[0]}."
    if not dip.found:
        seen = f"the worst point, at step {dip.step.value:,.12g}, is "
        seen += f"{plain(abs(dip.depth_seen), dip.depth)} {side if dip.depth_seen >= 0 else _other(side)} the baseline"
        if not math.isnan(dip.depth_by_noise.value):
            seen += f", where noise alone gives {plain(dip.depth_by_noise.value, dip.depth)} on average"
        return (
            f"{series.metric} shows no dip that stands out from noise: {seen}; corrected, the {fall} is {by}{_p(dip)}."
        )
    parts = [f"{series.metric} {falls} by {by} at step {dip.step.value:,.12g}"]
    last = series.steps[-1]
    if math.isinf(dip.recovery.value):
        parts[0] += f", and is not back by step {last:,.12g}"
    else:
        parts[0] += f", is back at step {_step(dip.recovery, last)}"
    share = dip.forgetting
    bounds = f" [{100 * share.low:.0f}, {100 * share.high:.0f}]"
    parts.append(f"{100 * share.value:.0f} %{bounds} of it is forgetting without return")
    return "; ".join(parts) + "."


def rows(series: Series, dip: Dip, settings: Settings) -> pd.DataFrame:
    """One row per quantity, with the sentence beside."""
    unit = f"{series.metric} x steps"
    notes = "; ".join([*series.notes, *dip.notes])
    back = f"not recovered by step {series.steps[-1]:g}" if math.isinf(dip.recovery.value) else ""
    unclear = "" if dip.found else "not defined: no depth that stands out from noise"
    listed: list[tuple[str, Estimate, str]] = [
        ("depth", dip.depth, dip.method),
        ("depth as seen", Estimate(dip.depth_seen), "baseline less the worst point: biased, deeper than the truth"),
        ("depth by noise alone", dip.depth_by_noise, "of a curve that never gets worse; interval: where it lies"),
        ("step of the worst point", dip.step, ""),
        ("area", dip.area, unit),
        ("area as seen", Estimate(dip.area_seen), f"{unit}, biased"),
        ("area per log10 step", dip.log_area, f"{series.metric} x log10 steps"),
        ("recovery step", dip.recovery, unclear or back),
        (
            "forgetting share",
            dip.forgetting,
            unclear or "of the depth, still missing over the last fifth of the points",
        ),
        ("end, less baseline", _end(series, dip.end), "mean of the last fifth of the points"),
        ("noise of a point", Estimate(dip.noise), notes),
    ]
    skipped = set() if settings.log_steps else {"area per log10 step"}
    if len(series.values) > 1:
        skipped.add("depth by noise alone")
    table = pd.DataFrame(
        [
            {"quantity": name, "value": e.value, "low": e.low, "high": e.high, "note": note}
            for name, e, note in listed
            if name not in skipped
        ]
    )
    facts = {
        "model": series.source,
        "metric": series.metric,
        "level": settings.level,
        "p": np.where(table["quantity"] == "depth", dip.p, math.nan),
        "censored": (table["quantity"] == "recovery step") & (table["value"] == math.inf),
        "points": len(series.steps),
        "runs": len(series.values),
        "items": 0 if series.outcomes is None else series.outcomes.shape[1],
        "lower_is_better": series.lower_is_better,
        "sentence": sentence(series, dip)
        + (f" {notes[0].upper()}{notes[1:]}." if notes and not math.isnan(dip.depth.value) else ""),
    }
    return table.assign(**facts)[list(COLUMNS)]


def number(estimate: Estimate) -> str:
    """`0.11 [0.07, 0.15]`: as many decimals as the interval bears."""
    if math.isnan(estimate.low):
        return plain(estimate.value)
    return f"{plain(estimate.value, estimate)} [{plain(estimate.low, estimate)}, {plain(estimate.high, estimate)}]"


def plain(value: float, like: Estimate | None = None) -> str:
    """A number with two digits, or with the decimals of an interval."""
    width = abs(value) if like is None else (like.high - like.low) / 2
    if not (math.isfinite(width) and width > 1e-9 * abs(value)):
        return f"{value:.4g}".replace("-", "−")
    size = math.floor(math.log10(width))
    digits = 2 if like is None or width < 2 * 10.0**size else 1  # of the value alone; of an interval's half-width
    text = f"{value:.{min(max(0, digits - 1 - size), 12)}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def _end(series: Series, end: Estimate) -> Estimate:
    """The change at the end in the metric's own direction."""
    return Estimate(-end.value, -end.high, -end.low) if series.lower_is_better else end


def _step(estimate: Estimate, last: float) -> str:
    shown, low, high = (f"{float(f'{step:.3g}'):,.12g}" for step in (estimate.value, estimate.low, estimate.high))
    if math.isnan(estimate.low):
        return shown
    return f"{shown} [{low}, {high if math.isfinite(estimate.high) else f'later than {last:g}'}]"


def _p(dip: Dip) -> str:
    return f" (p = {dip.p:.2g})" if math.isfinite(dip.p) else ""


def _other(side: str) -> str:
    return "above" if side == "below" else "below"
