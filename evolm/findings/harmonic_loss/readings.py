"""Sentences of the chapter whose numbers come from a record: tables in, Markdown out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evolm.findings.harmonic_loss import estimands
from evolm.findings.harmonic_loss.algorithmic import LEARNT
from evolm.panels import listed, percent

if TYPE_CHECKING:
    from evolm.findings.harmonic_loss.parameters import HarmonicLossParams

Tables = dict[str, pd.DataFrame]
CHANCE = 1 / 31


def mean(rows: pd.DataFrame, arm: str, column: str) -> float:
    """Mean over seeds of an arm; NaN where it has no rows."""
    return float(rows.loc[rows["arm"] == arm, column].astype(float).mean())


def learnt(rows: pd.DataFrame, arm: str) -> str:
    """How many runs of an arm reach 95 % of test pairs: `8 of 8`."""
    seen = rows.loc[rows["arm"] == arm, "generalised_seen"].astype(bool)
    return f"{int(seen.sum())} of {len(seen)}"


def median_epoch(rows: pd.DataFrame, arm: str) -> str:
    """Median epoch until 95 % of test pairs are right; `more than N` where half of the runs never get there."""
    part = rows[rows["arm"] == arm]
    times = np.sort(np.where(part["generalised_seen"].astype(bool), part["generalised_epoch"], np.inf))
    middle = times[(len(times) - 1) // 2]
    return f"{middle:.0f}" if np.isfinite(middle) else f"more than {part['generalised_epoch'].max():.0f}"


def signed(value: float) -> str:
    """A slope with its sign: +0.05."""
    return f"{value:+.3f}".replace("-", "−")


def present(rows: pd.DataFrame, *arms: str) -> bool:
    """Whether a group has all of some arms."""
    return set(arms) <= set(rows["arm"])


def answer(tables: Tables, params: HarmonicLossParams) -> str:
    """The chapter in a paragraph."""
    chosen = estimands.models(tables, "addition")
    authors = estimands.models(tables, "authors", share=params.share)
    if not present(chosen, "cross-entropy", "harmonic") or not present(authors, "harmonic, authors'"):
        return ""
    plain, theirs = "cross-entropy, authors'", "harmonic, authors'"
    return (
        f"**At the authors' rate and decay** harmonic loss knows 95 % of the test pairs after {median_epoch(authors, theirs)} epochs (median; "
        f"{learnt(authors, theirs)} runs) and cross-entropy after {median_epoch(authors, plain)} ({learnt(authors, plain)}). Softmax over the plain "
        f"distance takes {median_epoch(authors, 'distance, authors' + chr(39))}, cross-entropy over normalised vectors "
        f"{median_epoch(authors, 'normalised, authors' + chr(39))}. **When every head gets the rate, decay and knob that one search chose for it**, "
        f"cross-entropy takes {median_epoch(chosen, 'cross-entropy')} epochs ({learnt(chosen, 'cross-entropy')} runs) and harmonic loss "
        f"{median_epoch(chosen, 'harmonic')} ({learnt(chosen, 'harmonic')}). {_ahead(authors, chosen)}"
    )


def _ahead(authors: pd.DataFrame, chosen: pd.DataFrame) -> str:
    """Whether both settings name the same head as the sooner one, by mean accuracy over the doublings of training."""
    leads = [
        mean(rows, f"harmonic{suffix}", "learnt") > mean(rows, f"cross-entropy{suffix}", "learnt")
        for rows, suffix in ((authors, ", authors'"), (chosen, ""))
    ]
    if leads[0] == leads[1]:
        return f"{'Harmonic loss' if leads[0] else 'Cross-entropy'} is ahead either way."
    return "So which of the two is ahead is decided by the tuning."


def settings(tables: Tables, params: HarmonicLossParams) -> str:
    """What the search gave each head, from the arms themselves."""
    from evolm.findings.harmonic_loss.arms import CHOSEN

    parts = [f"{name}: rate {arm.lr:g}, decay {arm.decay:g}, knob {arm.head.knob:g}" for name, arm in CHOSEN.items()]
    return f"The search gave: {'; '.join(parts)}."


def delay(tables: Tables, params: HarmonicLossParams) -> str:
    """Delay by head at both settings, in doublings of training."""
    parts = []
    for group, words, suffix in (("addition", "as chosen", ""), ("authors", "at the authors' settings", ", authors'")):
        rows = estimands.models(tables, group, share=params.share)
        found = [
            f"{name} {mean(rows, name + suffix, 'delay'):.2f}"
            for name in ("cross-entropy", "normalised", "squared distance", "distance", "harmonic")
            if present(rows, name + suffix)
        ]
        if found:
            parts.append(f"{words}, {listed(found)}")
    return f"Mean delay in doublings of training: {'; '.join(parts)}." if parts else ""


def plane(tables: Tables, params: HarmonicLossParams) -> str:
    """Explained variance by settings, where the task is learnt and where answers are random."""
    authors = estimands.models(tables, "authors", share=params.share)
    chosen = estimands.models(tables, "addition")
    random = estimands.models(tables, "split", split="shuffled")
    parts = []
    if present(authors, "harmonic, authors'", "cross-entropy, authors'"):
        parts.append(
            f"At the authors' settings two dimensions hold {percent(mean(authors, 'harmonic, authors' + chr(39), 'ev2'))} of the tokens' variance "
            f"under harmonic loss and {percent(mean(authors, 'cross-entropy, authors' + chr(39), 'ev2'))} under cross-entropy after "
            f"{params.long_epochs:,} epochs; the paper reports nearly all of it after 7,000."
        )
    if present(chosen, "harmonic", "cross-entropy"):
        parts.append(
            f"With the chosen settings it is {percent(mean(chosen, 'harmonic', 'ev2'))} against {percent(mean(chosen, 'cross-entropy', 'ev2'))}; "
            f"{learnt(chosen, 'harmonic')} and {learnt(chosen, 'cross-entropy')} runs generalise."
        )
    if present(chosen, "harmonic, untied"):
        rows = chosen[chosen["arm"] == "harmonic, untied"]
        flat = rows[rows["test_accuracy"] < LEARNT]
        if len(flat):
            parts.append(
                f"Of the harmonic runs with class vectors of their own, {len(flat)} of {len(rows)} end below {percent(LEARNT)} of test pairs, with an "
                f"explained variance of {percent(float(flat['ev2'].mean()))}: a plane alone is no evidence of learning."
            )
    if present(random, "harmonic, authors'", "cross-entropy, authors'"):
        parts.append(
            f"Where answers are drawn at random it is {percent(mean(random, 'harmonic, authors' + chr(39), 'ev2'))} under harmonic loss and "
            f"{percent(mean(random, 'cross-entropy, authors' + chr(39), 'ev2'))} under cross-entropy, though nothing can be learnt."
        )
    return " ".join(parts)


def exponents(tables: Tables, params: HarmonicLossParams) -> str:
    """What the exponent sets, all else as chosen."""
    rows = estimands.models(tables, "addition")
    found = [
        (n, arm) for n, arm in ((n, f"harmonic, n = {n:g}") for n in (1.0, 2.0, 4.0, 8.0, 16.0)) if present(rows, arm)
    ]
    if not found:
        return ""
    parts = [f"{median_epoch(rows, arm)} at n = {n:g} ({learnt(rows, arm)} runs)" for n, arm in found]
    return f"Median epochs until 95 % of test pairs are right: {listed(parts)}."


def less_data(tables: Tables, params: HarmonicLossParams) -> str:
    """Accuracy at the smaller shares, by head."""
    rows = estimands.models(tables, "data")
    parts = []
    for share in sorted(rows["share"].unique()):
        part = rows[rows["share"] == share]
        heads = [
            f"{name} {percent(mean(part, name, 'test_accuracy'))}"
            for name in ("cross-entropy", "normalised", "squared distance", "distance", "harmonic")
            if present(part, name)
        ]
        parts.append(f"on {percent(share)} of the pairs {listed(heads)}")
    return f"Test accuracy at the end: {'; '.join(parts)}." if parts else ""


def norms(tables: Tables, params: HarmonicLossParams) -> str:
    """Late slopes without decay, and whether the fit was over by then."""
    rows = estimands.models(tables, "undecayed")
    if rows.empty:
        return ""
    parts = [
        f"{name} {signed(mean(rows, name + ', no decay', 'vector_norm_slope'))}"
        for name in ("cross-entropy", "normalised", "squared distance", "distance", "harmonic")
        if present(rows, name + ", no decay")
    ]
    late = 0.25 * rows["generalised_epoch"].max()
    fitted = (rows["fit_seen"].astype(bool) & (rows["fit_epoch"] <= late)).mean()
    return (
        f"Slopes of log norm against log epoch over the last three quarters of the run: {listed(parts)}. By their start {percent(float(fitted))} of the "
        "runs had fitted 95 % of the training pairs. A slope of 0 is a norm that stands still, 0.5 that of a random walk."
    )


def leak(tables: Tables, params: HarmonicLossParams) -> str:
    """What the authors' split gives away."""
    rows = estimands.models(tables, "split", split="leaky")
    plain = "cross-entropy, authors'"
    if not present(rows, plain):
        return ""
    parts = [
        f"{arm.removesuffix(', authors' + chr(39))} {percent(mean(rows, arm, 'test_accuracy'))} and {percent(mean(rows, arm, 'unseen_accuracy'))}"
        for arm in (plain, "distance, authors'", "harmonic, authors'")
        if present(rows, arm)
    ]
    return (
        f"As published and on pairs of which neither order is trained on, test accuracy is, in this order: {'; '.join(parts)}. "
        "The leak makes memory look like generalisation."
    )


def tasks(tables: Tables, params: HarmonicLossParams) -> str:
    """Accuracy and explained variance on the other tasks."""
    parts = []
    for task in params.tasks:
        rows = estimands.models(tables, "task", task=task)
        if present(rows, "harmonic", "cross-entropy"):
            said = [
                f"{name} {percent(mean(rows, name, 'test_accuracy'))} (variance {percent(mean(rows, name, 'ev2'))})"
                for name in ("cross-entropy", "distance", "harmonic")
                if present(rows, name)
            ]
            parts.append(f"{task}: {', '.join(said)}")
    return f"Test accuracy, and variance in two dimensions: {'; '.join(parts)}." if parts else ""


def convexity(tables: Tables, params: HarmonicLossParams) -> str:
    """How far class vectors of digits are from the hull of their class."""
    if "hull" not in tables:
        return ""
    rows = tables["hull"][tables["hull"]["images"] == "digits"]
    parts = [
        f"{arm} {mean(rows, arm, 'relative'):.2f} (negative weights {percent(mean(rows, arm, 'negative'))})"
        for arm in ("cross-entropy", "squared distance", "harmonic", "harmonic, authors'")
        if present(rows, arm)
    ]
    return (
        f"Distance from the hull of the class over distance from its mean: {listed(parts)}. 0 would be a weighted mean of images, as the theorem has it "
        "up to terms that it calls negligible; images have no negative pixel, so neither has a weighted mean of them. The exact gradient also pushes a "
        "class vector away from the examples of other classes."
    )


def distances(tables: Tables, params: HarmonicLossParams) -> str:
    """Accuracy of the network by head, best first."""
    rows = estimands.vision(tables, params.images[0], "network") if params.images else pd.DataFrame()
    if rows.empty:
        return ""
    means = rows.groupby("arm")["test_accuracy"].mean().sort_values(ascending=False)
    spread = float(rows.groupby("arm")["test_accuracy"].std().mean()) if rows["seed"].nunique() > 1 else float("nan")
    parts = [f"{arm} {100 * accuracy:.1f} %" for arm, accuracy in means.to_dict().items()]
    noise = (
        f" Seeds of one head spread by {100 * spread:.1f} points (standard deviation)." if np.isfinite(spread) else ""
    )
    return f"Test accuracy on {params.images[0]}, best first: {'; '.join(parts)}.{noise}"


def text(tables: Tables, params: HarmonicLossParams) -> str:
    """The language model: losses beside the trigram's, unsteadiness, ranks."""
    if "text" not in tables:
        return (
            "No language model was trained in this record: it needs `text_seeds` above 0, as the preset `gpu` has it."
        )
    rows = tables["text"]
    below = (rows["nats"] < rows["trigram"]).sum()
    parts = [
        f"{arm} {part['nats'].mean():.3f} nats, gradients' spread {part['unsteadiness'].mean():.3f}, token vectors of effective rank "
        f"{part['vector_rank'].mean():.0f}"
        for arm, part in rows.groupby("arm")
    ]
    return (
        f"{'; '.join(parts)}. {below} of {len(rows)} models are below the trigram's {rows['trigram'].iloc[0]:.3f} nats."
    )
