"""Sentences of the chapter whose numbers come from a record: tables in, Markdown out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from evolm.findings.superposition import estimands

if TYPE_CHECKING:
    from evolm.findings.superposition.parameters import SuperpositionParams

Tables = dict[str, pd.DataFrame]


def recovery(tables: Tables, params: SuperpositionParams) -> str:
    """Where negative decay helps: against no decay per law, and at the smallest width."""
    rows = estimands.grid(tables)
    if not {"strong", "neutral"} <= set(rows["arm"]):
        return ""
    mean = rows.pivot_table(index="alpha", columns="arm", values="recovered", aggfunc="mean")
    gains = _listed((mean["strong"] - mean["neutral"]).items())
    least = rows[rows["width"] == rows["width"].min()]
    small = least.pivot_table(index="alpha", columns="arm", values="recovered", aggfunc="mean")
    flat = small.index.min()
    return (
        f"Against training without decay the strong arm gives back {gains} more of the features, averaged over widths; the "
        f"claim is judged at α = {params.middle_alpha:g} alone, and 0.1 is what counts. At the smallest width negative decay "
        f"gives nothing: at α = {flat:g} the model without decay recovers {small.loc[flat, 'neutral']:.0%} and the strong arm "
        f"{small.loc[flat, 'strong']:.0%}."
    )


def frequency_sum(tables: Tables) -> str:
    """Where Eq. 4 is worst in the weak arm."""
    rows = estimands.grid(tables, arm="weak")
    rows = rows[rows["alpha"] > 0]
    if rows.empty:
        return ""
    error = (rows["predicted_by_norm"] / rows["loss"] - 1).abs().groupby([rows["alpha"], rows["width"]]).mean()
    worst = error.reset_index(name="error").nlargest(1, "error").iloc[0]
    return (
        f"It is worst at α = {worst['alpha']:g} and width {worst['width']:g}, where it misses by {worst['error']:.0%} on "
        "average."
    )


def exponents(tables: Tables) -> str:
    """Straight-fit exponents of the strong arm beside those of training without decay."""
    found = estimands.exponents(estimands.grid(tables), ["seed", "alpha", "arm"])
    if not {"strong", "neutral"} <= set(found["arm"]):
        return ""
    mean = found.pivot_table(index="alpha", columns="arm", values="exponent")
    without, strong = (_listed(mean[arm].items()) for arm in ("neutral", "strong"))
    return (
        f"Nor is the exponent particular to negative decay: without any decay a straight fit gives {without}; the strong arm "
        f"has {strong}."
    )


def overlap(tables: Tables) -> str:
    """Strong less untrained, per law, over matched cells."""
    rows = estimands.grid(tables)
    differences = []
    for alpha, part in rows.groupby("alpha"):
        cells = estimands.matched(part, estimands.gap_closed(part), ["strong", "frozen"])
        wide = cells.pivot(index="seed", columns="arm", values="value") if len(cells) else pd.DataFrame()
        if len(wide):
            differences.append((alpha, (wide["strong"] - wide["frozen"]).mean()))
    return (
        f"By law, the strong arm closes {_listed(differences)} more than untrained directions do."
        if differences
        else ""
    )


def open_models(tables: Tables) -> str:
    """m <cos^2> of each model as it is and without its leading components, and how many vectors are short."""
    if "vectors" not in tables:
        return "No open model was measured in this record."
    parts = []
    for name, rows in tables["vectors"].groupby("model", sort=False):
        raw, last = rows.iloc[0], rows.iloc[-1]
        parts.append(
            f"{name} overlaps {raw['m_cos2']:.3g} times as much as random directions as it is and {last['m_cos2']:.3g} times "
            f"{last['variant']}, where random rows of its spectrum give {last['m_cos2_spectrum']:.3g}; "
            f"{1 - raw['represented_half']:.1%} of its vectors are shorter than half the mean norm"
        )
    return "; ".join(parts) + "."


def _listed(pairs: Iterable[tuple[Any, float]]) -> str:
    """`0.07 at α = 0, 0.14 at α = 1`."""
    return ", ".join(f"{value:.2f} at α = {alpha:g}" for alpha, value in pairs)
