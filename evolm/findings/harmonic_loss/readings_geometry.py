"""Sentences on geometry, exponents and norms whose numbers come from a record: tables in, Markdown out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evolm.findings.harmonic_loss import estimands
from evolm.findings.harmonic_loss.algorithmic import LATE, LEARNT
from evolm.findings.harmonic_loss.arms import UNTIED, swept
from evolm.findings.harmonic_loss.experiment import epochs_of
from evolm.findings.harmonic_loss.readings import of_settings
from evolm.findings.harmonic_loss.readings_words import (
    AUTHORS,
    GUESSED,
    HEADS,
    Tables,
    chance_ev,
    doublings,
    ends,
    learnt,
    less,
    mean,
    median_epoch,
    present,
)
from evolm.panels import listed, percent
from evolm.wording import number, side, with_interval

if TYPE_CHECKING:
    from evolm.findings.harmonic_loss.parameters import HarmonicLossParams

#: Share of the variance from which on tokens lie in a plane.
FLAT = 0.95


def plane(tables: Tables, params: HarmonicLossParams) -> str:
    """Explained variance by settings, where the task is learnt and where answers are random."""
    parts = []
    for words, rows in of_settings(tables, params).items():
        if present(rows, "harmonic", "cross-entropy"):
            two = [f"{percent(mean(rows, head, 'ev2'))} under {name} ({ends(rows, head)} runs end above {percent(LEARNT)})"
                   for head, name in (("harmonic", "harmonic loss"), ("cross-entropy", "cross-entropy"))]  # fmt: skip
            parts.append(f"{words}, {listed(two)}")
    text = f"Share of the tokens' variance in two dimensions: {'; '.join(parts)}." if parts else ""
    if parts:
        text += f" Points drawn at random, as an embedding begins at any scale, have {percent(chance_ev())}."
    if parts and "authors" in parts[0]:
        text += (
            f" The authors' settings have {params.long_epochs:,} epochs here and an embedding that begins as a linear layer does, as theirs; as chosen it begins with "
            "variance 1. The two settings differ in rate, decay, exponent and epochs, too, so that their difference has no single cause. The paper reports nearly all of it after 7,000 epochs."
        )
    parts = [text, _own(tables, params), _flat_without_learning(tables), _random(tables)]
    return " ".join(said for said in parts if said)


def stuck(tables: Tables, params: HarmonicLossParams) -> str:
    """Which comes first at the authors' settings under harmonic loss, the plane or the task; and who never leaves it."""
    arm = f"harmonic{AUTHORS}"
    rows = estimands.models(tables, "authors", share=params.share, arm=arm)
    if rows.empty or "curves" not in tables:
        return ""
    history = tables["curves"]
    history = history[(history["group"] == "authors") & (history["arm"] == arm) & (history["share"] == params.share)]
    flat = history[history["ev2"] >= FLAT].sort_values("epoch").groupby("seed").first()
    if flat.empty:
        return ""
    text = (
        f"Under harmonic loss there the plane comes first: {len(flat)} of {len(rows)} runs have {percent(FLAT)} of the variance in it at some time, first at epoch "
        f"{flat['epoch'].median():.0f} (median), when {percent(flat['train_accuracy'].mean())} of their training pairs are right."
    )
    left = rows[rows["test_accuracy"].astype(float) < LEARNT]
    if left.empty:
        return text
    ends = [f"{percent(left[f'{part}_accuracy'].mean())} of {part} pairs" for part in ("train", "test")]
    return (
        f"{text} **{len(left)} of {len(rows)} end below {percent(LEARNT)}**: on average they have {listed(ends)} right, where chance has {percent(GUESSED)}, and {percent(left['ev2'].mean())} of "
        "the variance in the plane. They have generalised in part and without a gap: a perfect plane is no evidence that the task is solved. Such runs count as 0 in the claim, "
        "so that the threshold, more than the variance, sets its estimate and its interval."
    )


def _own(tables: Tables, params: HarmonicLossParams) -> str:
    """Explained variance of the runs that learnt with class vectors of their own, and how it differs from the embedding's."""
    rows = estimands.models(tables, "addition", share=params.share)
    right = rows[rows["test_accuracy"].astype(float) >= LEARNT]
    parts = []
    for head in UNTIED:
        arm = f"{head}, untied"
        if not present(rows, arm):
            continue
        shown = f"{percent(mean(right, arm, 'ev2'))}" if present(right, arm) else "no run that learnt"
        paired = less(right, arm, head, "ev2") if present(right, arm, head) else pd.Series(dtype=float)
        gap = f", {with_interval(paired)} over the head's tied runs" if len(paired) else ""
        parts.append(f"{head} {shown} ({ends(rows, arm)} runs end above {percent(LEARNT)}{gap})")
    return (
        f"Class vectors of their own, which begin small, of the runs that learnt: {'; '.join(parts)}; whether tying or the first size makes the difference is not tested."
        if parts
        else ""
    )


def _flat_without_learning(tables: Tables) -> str:
    """Explained variance of the runs of addition that end without having the task, beside those that have it."""
    rows = estimands.models(tables, "addition")
    right = rows["test_accuracy"].astype(float) >= LEARNT if len(rows) else pd.Series(dtype=bool)
    if not len(rows) or right.all():
        return ""
    flat, learned = rows.loc[~right, "ev2"].astype(float), rows.loc[right, "ev2"].astype(float)
    arm = rows.loc[~right, "arm"].to_numpy()[flat.to_numpy().argmax()]
    text = (
        f"Of {len(rows)} runs with chosen rates and decays {len(flat)} end below {percent(LEARNT)} of test pairs, with up to {percent(flat.max())} of the "
        f"variance in two dimensions ({arm})"
    )
    if not len(learned):
        return f"{text}."
    return f"{text} and {percent(flat.mean())} on average; the others have {percent(learned.mean())} on average."


def _random(tables: Tables) -> str:
    """Explained variance under random answers."""
    rows = estimands.models(tables, "split", split="shuffled")
    if not present(rows, f"harmonic{AUTHORS}", f"cross-entropy{AUTHORS}"):
        return ""
    heads = [head for head in HEADS if present(rows, head + AUTHORS)]
    known = [
        f"{head} {percent(mean(rows, head + AUTHORS, 'ev2'))} (of the answers memorised: {percent(mean(rows, head + AUTHORS, 'train_accuracy'))})"
        for head in heads
    ]
    return (
        f"Where answers are drawn at random, so that nothing can be learnt, it is, at the authors' settings: {listed(known)}. Heads that have memorised less are "
        "no fair control of each other."
    )


def exponents(tables: Tables, params: HarmonicLossParams) -> str:
    """What the exponent sets, all else as chosen."""
    rows = estimands.models(tables, "addition")
    names = {arm: n for arm, n in swept().items() if present(rows, arm)}
    if len(names) < 2:
        return ""
    times = [f"{median_epoch(rows, arm)} at n = {n:g} ({learnt(rows, arm)} runs)" for arm, n in names.items()]
    text = f"Median epochs until {percent(LEARNT)} of test pairs are right: {listed(times)}."
    flat = rows[rows["arm"].isin(list(names)) & (rows["test_accuracy"] >= LEARNT)].groupby("arm")["ev2"].mean()
    if len(flat):
        shares = [f"{percent(flat[arm])} at n = {n:g}" for arm, n in names.items() if arm in flat.index]
        text += f" Variance in two dimensions, of the runs that end with the task learnt: {listed(shares)}."
    return text + _against_chosen(rows, names)


def _against_chosen(rows: pd.DataFrame, names: dict[str, float]) -> str:
    """Doublings of the epoch at every exponent over the chosen one's, paired by seed; nothing without it."""
    others = {arm: n for arm, n in names.items() if arm != "harmonic"}
    if "harmonic" not in names or not others:
        return ""
    words = {"above": " (slower)", "below": " (faster)", "alike": " (the interval includes 0)", "": ""}
    gaps = {n: doublings(rows, arm, "harmonic") for arm, n in others.items()}
    parts = [f"{with_interval(gap)} at n = {n:g}{words[side(gap)]}" for n, gap in gaps.items()]
    return (
        f" Doublings of that epoch over n = {names['harmonic']:g}, paired by seed, runs that never get there at their last epoch: {listed(parts)}. Rate and decay are "
        f"those that were tuned for n = {names['harmonic']:g}, so the others may be undersold."
    )


def _small(rows: pd.DataFrame) -> str:
    """Late slopes of what begins small, and how much of the training pairs it has by the end."""
    parts = []
    for head in HEADS:
        part = rows[rows["arm"] == f"{head}, no decay, small"]
        if len(part):
            slope = number(part["slope"].mean(), 3, sign=True)
            parts.append(
                f"{head} {slope} (with {percent(part['train_accuracy'].mean())} of training pairs right at the end)"
            )
    if not parts:
        return ""
    return (
        f" Begun seven times smaller, as the linear layer is that the authors tie the embedding to: {listed(parts)}. Harmonic loss is unchanged when all lengths are "
        "scaled together, so it has no minimum at any one length; that a norm comes to rest is a matter of training, and where the training pairs are not fitted it is no slope after "
        "the fit."
    )


def _over_harmonic(slopes: pd.DataFrame) -> str:
    """By how much the slopes of the claim's controls exceed harmonic loss's."""
    others = [head for head in ("cross-entropy", "normalised") if present(slopes, f"{head}, no decay")]
    if not others or not present(slopes, "harmonic, no decay"):
        return ""
    gaps = {head: less(slopes, f"{head}, no decay", "harmonic, no decay", "slope") for head in others}
    parts = [f"{with_interval(gap, 3)} under {head}" for head, gap in gaps.items()]
    return f" Paired by seed, the slope exceeds harmonic loss's by {listed(parts)}; what the normalised head does as well is no matter of distances."


def norms(tables: Tables, params: HarmonicLossParams) -> str:
    """Late slopes without decay, and whether the fit was over by then."""
    rows = estimands.models(tables, "undecayed")
    if rows.empty:
        return ""
    slopes = rows.assign(slope=rows["vector_norm_slope"].astype(float).fillna(estimands.DIVERGED))
    parts = [
        f"{head} {number(mean(slopes, f'{head}, no decay', 'slope'), 3, sign=True)}"
        for head in HEADS
        if present(rows, f"{head}, no decay")
    ]
    late = LATE * epochs_of(params, "undecayed")
    rows = rows[rows["arm"].isin([f"{head}, no decay" for head in HEADS])]
    fitted = (rows["fit_seen"].astype(bool) & (rows["fit_epoch"] <= late)).mean()
    lost = int(slopes["vector_norm_slope"].isna().sum())
    diverged = f" Runs that diverged count as {estimands.DIVERGED:g}: {lost}." if lost else ""
    control = (
        " The normalised head bounds logits without a distance and is as blind to the scale of its weights; its slope is a control."
        if present(rows, "normalised, no decay")
        else ""
    )
    return (
        f"Slopes of log norm against log epoch over the last {percent(1 - LATE)} of the run: {listed(parts)}. By their start {percent(float(fitted))} of "
        f"the runs had fitted {percent(LEARNT)} of the training pairs. A slope of 0 is a norm that stands still, but a norm that grows as the logarithm of time has a slope that falls to 0, too, so a "
        f"slope of 0 is no proof of rest.{control}{_over_harmonic(slopes)}{diverged}{_small(slopes)}"
    )
