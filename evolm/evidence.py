"""From the frame of a claim's `measure` function to the samples and rules that decide it.

    evidence = gather(claim, frame)        # rules, what to show, or why nothing can be decided

Columns by kind: superiority, equivalence, non-inferiority `seed, arm, value` (and `coverage`); form
`seed, x, y`; event `seed, arm, time, observed`; single model `unit, value, low, high`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from types import MappingProxyType

import numpy as np
import pandas as pd
from scipy import stats

from evolm import decisions
from evolm.decisions import PairedMedian, Rule, Sample, SeedMean
from evolm.finding import Claim
from evolm.intervals import FORMS, fit_power_law, held_out_error, local_slopes, log_time_ratio

COLUMNS = MappingProxyType(
    {
        "superiority": ("seed", "arm", "value"),
        "equivalence": ("seed", "arm", "value"),
        "non_inferiority": ("seed", "arm", "value"),
        "form": ("seed", "x", "y"),
        "event": ("seed", "arm", "time", "observed"),
        "single_model": ("unit", "value", "low", "high"),
    }
)
LABELS = ("seed", "arm", "unit")
MIN_SIZES = 6
MIN_OBSERVED = 0.8
MAX_COVERAGE = 0.98
#: An alternative form whose held-out error is the power law's to within this, in every seed, has become it.
INERT = 1e-4
BENDS = MappingProxyType({"bent": "no bend", "offset": "no offset", "saturating": "no ceiling"})


class CannotSpeakError(Exception):
    """The record holds too little for this claim; the message says what is missing."""


@dataclass(frozen=True)
class Evidence:
    """What decides a claim and what is shown of it; `unassessable` says why no verdict may be drawn."""

    rules: list[Rule]
    shown: Sample
    controls: dict[str, Sample]
    note: str = ""
    unassessable: str = ""
    seeds: int = field(init=False)

    def __post_init__(self) -> None:
        fewest = min(bound.sample.seeds for rule in self.rules for bound in rule.bounds)
        object.__setattr__(self, "seeds", fewest)


def gather(claim: Claim, frame: pd.DataFrame) -> Evidence:
    """Samples and rules of an interval-based claim.

    Raises `CannotSpeakError` when arms or sizes are missing and `ValueError` on a malformed frame.
    """
    builders = {
        "superiority": _superiority,
        "equivalence": _equivalence,
        "non_inferiority": _non_inferiority,
        "form": _form,
        "event": _event,
    }
    return builders[claim.kind](claim, checked(claim, frame))


def checked(claim: Claim, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, with the columns of the claim's kind and finite numbers in them."""
    missing = [name for name in COLUMNS[claim.kind] if name not in frame.columns]
    if missing:
        wanted = ", ".join(COLUMNS[claim.kind])
        raise ValueError(f"claim {claim.name!r}: {claim.measure} must return columns {wanted}; missing: {missing}")
    for name in (*COLUMNS[claim.kind], *({"coverage"} & set(frame.columns))):
        column = frame[name]
        if column.isna().any() or (name not in LABELS and not np.isfinite(column.to_numpy(float)).all()):
            raise ValueError(
                f"claim {claim.name!r}: column {name!r} of {claim.measure} holds NaN or infinity; "
                "evidence must be finite, so mend the measure or drop the seed there and say so"
            )
    return frame


def _superiority(claim: Claim, frame: pd.DataFrame) -> Evidence:
    wide = _by_seed(claim, frame, "value", (claim.arm, *claim.controls))
    arm = SeedMean(wide[claim.arm].dropna().to_numpy(float))
    differences = {name: _difference(wide, claim.arm, name) for name in claim.controls}
    return Evidence(decisions.superiority(arm, list(differences.values()), claim.delta), arm, {**differences})


def _equivalence(claim: Claim, frame: pd.DataFrame) -> Evidence:
    wide = _by_seed(claim, frame, "value", (claim.arm, *claim.controls))
    arms = [claim.arm, *(name for name in wide.columns if name != claim.arm and name not in claim.controls)]
    assert claim.margin is not None
    if len(arms) == 1:
        deviations: dict[str, Sample] = {claim.arm: _mean(wide, claim.arm)}
        controls: dict[str, Sample] = {name: _mean(wide, name) for name in claim.controls}
    else:
        deviations = {f"{a} - {b}": _difference(wide, a, b) for a, b in combinations(arms, 2)}
        controls = {name: _difference(wide, claim.arm, name) for name in claim.controls}
    widest = max(deviations, key=lambda name: abs(float(deviations[name].estimate)))
    rules = decisions.equivalence(list(deviations.values()), list(controls.values()), claim.margin)
    note = f"largest of {len(deviations)} differences: {widest}" if len(deviations) > 1 else ""
    return Evidence(rules, deviations[widest], controls, note)


def _non_inferiority(claim: Claim, frame: pd.DataFrame) -> Evidence:
    wide = _by_seed(claim, frame, "value", (claim.arm, *claim.controls))
    assert claim.margin is not None
    differences: dict[str, Sample] = {name: _difference(wide, claim.arm, name) for name in claim.controls}
    reason = ""
    if "coverage" in frame.columns:
        coverage = frame[frame["arm"].isin(list(claim.controls))].groupby("arm")["coverage"].mean().max()
        if coverage > MAX_COVERAGE:
            reason = f"the control already covers {coverage:.1%}: above {MAX_COVERAGE:.0%} nothing is left to exceed it"
    rules = decisions.non_inferiority(list(differences.values()), claim.margin)
    return Evidence(rules, _mean(wide, claim.arm), differences, unassessable=reason)


def _form(claim: Claim, frame: pd.DataFrame) -> Evidence:
    _positive(claim, frame, "x", "y")
    if frame.duplicated(["seed", "x"]).any():
        raise ValueError(f"claim {claim.name!r}: {claim.measure} returned a size twice for one seed; aggregate first")
    wide = frame.pivot(index="seed", columns="x", values="y").dropna(axis="columns")  # sizes that every seed has
    if wide.shape[1] < MIN_SIZES:
        raise CannotSpeakError(f"{wide.shape[1]} sizes are too few for a form: it needs {MIN_SIZES}")
    x, y = wide.columns.to_numpy(float), wide.to_numpy(float)  # (size,), (seed, size)
    exponent, differences = form_samples(x, y)
    assert claim.predicted is not None
    assert claim.margin is not None
    rules = decisions.form(exponent, list(differences.values()), claim.predicted, claim.margin, claim.delta)
    r2, local = fit_power_law(x, y).r2.mean(), -local_slopes(x, y).mean(0)
    notes = [
        f"R² {r2:.3f} over {len(x)} sizes from {x[0]:g} to {x[-1]:g}; local exponent {local[0]:.2f} at the "
        f"small end, {local[-1]:.2f} at the large end"
    ]
    inert = [name for name, d in differences.items() if np.abs(d.values).max() < INERT]
    notes += [f"the {name} form fits {BENDS[name]}: it is the power law here" for name in inert]
    return Evidence(rules, exponent, {**differences}, "; ".join(notes))


def form_samples(x: np.ndarray, y: np.ndarray) -> tuple[SeedMean, dict[str, SeedMean]]:
    """The exponent, and for each other form the power law's held-out error less its own; `y` is (..., seed, size)."""
    errors = {form: held_out_error(x, y, form) for form in FORMS}
    return SeedMean(fit_power_law(x, y).exponent), {f: SeedMean(errors["power"] - errors[f]) for f in FORMS[1:]}


def _event(claim: Claim, frame: pd.DataFrame) -> Evidence:
    _positive(claim, frame, "time")
    times = _by_seed(claim, frame, "time", (claim.arm, *claim.controls))
    seen = _by_seed(claim, frame, "observed", (claim.arm, *claim.controls))
    ratios: dict[str, Sample] = {}
    notes = []
    for name in claim.controls:
        both = _shared(times, claim.arm, name)
        pair = [(times.loc[both, a].to_numpy(float), seen.loc[both, a].to_numpy(bool)) for a in (claim.arm, name)]
        ratios[name] = PairedMedian(*log_time_ratio(*pair[0], *pair[1]))
        censored = [stats.CensoredData(uncensored=t[o], right=t[~o]) for t, o in pair]
        notes.append(f"logrank against {name}: p = {stats.logrank(*censored).pvalue:.2g}")
    share = seen[claim.arm].dropna().to_numpy(float).mean()
    notes.append(f"event seen in {share:.0%} of the arm's seeds")
    reason = f"the event was seen in under {MIN_OBSERVED:.0%} of the seeds" if share < MIN_OBSERVED else ""
    closest = min(ratios.values(), key=lambda ratio: np.nan_to_num(float(ratio.estimate), nan=np.inf))
    return Evidence(decisions.event(list(ratios.values()), claim.delta), closest, ratios, "; ".join(notes), reason)


def _by_seed(claim: Claim, frame: pd.DataFrame, column: str, needed: tuple[str, ...]) -> pd.DataFrame:
    """One row per seed, one column per arm; NaN where an arm lacks that seed."""
    if frame.duplicated(["seed", "arm"]).any():
        raise ValueError(
            f"claim {claim.name!r}: {claim.measure} returned several rows for one seed and arm; a seed is the unit, "
            "so aggregate within it first"
        )
    wide = frame.pivot(index="seed", columns="arm", values=column)
    if absent := [name for name in needed if name not in wide.columns]:
        raise CannotSpeakError(f"the record holds no rows of arm {', '.join(map(repr, absent))}")
    return wide


def _mean(wide: pd.DataFrame, arm: str) -> SeedMean:
    return SeedMean(wide[arm].dropna().to_numpy(float))


def _difference(wide: pd.DataFrame, arm: str, control: str) -> SeedMean:
    both = wide.loc[_shared(wide, arm, control)]
    return SeedMean(both[arm].to_numpy(float) - both[control].to_numpy(float))


def _shared(wide: pd.DataFrame, arm: str, control: str) -> pd.Index:
    """Seeds that both arms ran: only these are pairs."""
    both = wide[[arm, control]].dropna().index
    if len(both) == 0:
        raise CannotSpeakError(f"arms {arm!r} and {control!r} share no seed, so nothing can be paired")
    return both


def _positive(claim: Claim, frame: pd.DataFrame, *columns: str) -> None:
    for name in columns:
        if (frame[name].to_numpy(float) <= 0).any():
            raise ValueError(f"claim {claim.name!r}: column {name!r} must be positive, since its logarithm is used")
