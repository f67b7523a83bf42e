"""What each claim estimates, one number per seed and arm, from the tables of a record.

Functions named by the claims take `(tables, params)` and return the frame of their kind (see `evolm.evidence`). A run
that fails counts: it is never dropped, and what it did not learn has no geometry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from evolm.findings.harmonic_loss.algorithmic import LEARNT, WIDTH
from evolm.findings.harmonic_loss.tasks import MODULUS, TASKS
from evolm.instruments.geometry_measures import explained_variance, fourier_share

if TYPE_CHECKING:
    from evolm.findings.harmonic_loss.parameters import HarmonicLossParams

Tables = dict[str, pd.DataFrame]
NO_EVIDENCE = pd.DataFrame()
#: Columns of `models`: where a row is from, and what claims read of it.
PLACES = ("group", "task", "split", "share", "arm", "seed")
QUANTITIES = (
    "delay", "vector_norm_slope", "ev2", "shape", "test_accuracy", "unseen_accuracy", "generalised_epoch",
    "generalised_seen",
)  # fmt: skip
#: The slope of a norm that ceased to be a number: it grew without bound, so as one that grows with the epoch.
DIVERGED = 1.0
BASE, AUTHORS_BASE = "cross-entropy", "cross-entropy, authors'"
CHANCE = "chance"


def models(tables: Tables, group: str, **where: Any) -> pd.DataFrame:
    """Rows of `models` of one group, and of a task, a split or an arm; none where the record has none."""
    rows = tables.get("models", pd.DataFrame(columns=[*PLACES, *QUANTITIES]))
    rows = rows[rows["group"] == group]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def values(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """seed, arm, value of a column."""
    return rows.assign(value=rows[column].astype(float))[["seed", "arm", "value"]].reset_index(drop=True)


def over(rows: pd.DataFrame, base: str, sign: int = 1) -> pd.DataFrame:
    """Each arm's value less that of `base` in the same seed, times `sign`; the base itself is zero.

    Seeds without the base are left out; a value that is no number is not, and `evolm.evidence` refuses it by name.
    """
    zero = rows[rows["arm"] == base].set_index("seed")["value"]
    rows = rows[rows["seed"].isin(zero.index)]
    return rows.assign(value=sign * (rows["value"] - rows["seed"].map(zero)))


def shaped(rows: pd.DataFrame, column: str = "ev2") -> pd.DataFrame:
    """seed, arm, value: a measure of geometry where the task was learnt, and 0 where it was not.

    A run that stops below 95 % counts as 0, also where it has most of the test pairs right: its plane is as flat.
    """
    return values(rows, column).assign(value=np.where(rows["test_accuracy"] >= LEARNT, rows[column].astype(float), 0.0))


def with_chance(rows: pd.DataFrame, tokens: int, measure: Callable[[Tensor], Tensor]) -> pd.DataFrame:
    """The same and the arm `chance`: the measure of as many standard normal points, which nothing has trained."""
    seeds = sorted(rows["seed"].unique())
    if not seeds:
        return rows
    drawn = [torch.randn(tokens, WIDTH, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    chance = pd.DataFrame({"seed": seeds, "arm": CHANCE, "value": measure(torch.stack(drawn)).double().numpy()})
    return pd.concat([rows, chance], ignore_index=True)


# --- core ------------------------------------------------------------------------------------------------------


def delay(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Doublings of training by which an arm's delay is shorter than that of cross-entropy."""
    return over(values(models(tables, "addition"), "delay"), BASE, -1)


def growth(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """How much flatter than cross-entropy's the log norm of class vectors is, late and without decay."""
    return over(_slopes(tables), f"{BASE}, no decay", -1)


def geometry(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Variance of the tokens in two dimensions, where addition was learnt, at both kinds of settings; and by chance."""
    rows = [models(tables, group, share=params.share) for group in ("authors", "addition")]
    return with_chance(shaped(pd.concat(rows)), MODULUS, explained_variance)


def data(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Test accuracy at the end less that of cross-entropy, mean over the smaller shares."""
    rows = values(models(tables, "data"), "test_accuracy")
    return over(rows.groupby(["seed", "arm"])["value"].mean().reset_index(), BASE)


# --- the authors' settings, and other readings -----------------------------------------------------------------


def delay_authors(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """As `delay`, at the authors' settings."""
    return over(values(models(tables, "authors", share=params.share), "delay"), AUTHORS_BASE, -1)


def data_authors(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """As `data`, at the authors' settings."""
    rows = models(tables, "authors")
    rows = values(rows[rows["share"] < params.share], "test_accuracy")
    return over(rows.groupby(["seed", "arm"])["value"].mean().reset_index(), AUTHORS_BASE)


def sooner(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Epochs until test pairs are known; runs that never get there are censored at the last."""
    rows = models(tables, "addition")
    return pd.DataFrame(
        {
            "seed": rows["seed"],
            "arm": rows["arm"],
            "time": rows["generalised_epoch"].astype(float),
            "observed": rows["generalised_seen"].astype(bool),
        }
    ).reset_index(drop=True)


def slope(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """The late slope itself, of one arm and its control."""
    rows = _slopes(tables)
    return rows[rows["arm"].isin(["harmonic, no decay", f"{BASE}, no decay"])].reset_index(drop=True)


def _slopes(tables: Tables) -> pd.DataFrame:
    """seed, arm, value: slopes of the log norm of class vectors; those of a run that diverged count as `DIVERGED`."""
    rows = values(models(tables, "undecayed"), "vector_norm_slope")
    return rows.assign(value=rows["value"].fillna(DIVERGED))


def ring(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Variance of the tokens at one frequency of the ring, where addition was learnt."""
    rows = [models(tables, group, share=params.share) for group in ("authors", "addition")]
    return with_chance(shaped(pd.concat(rows), "shape"), MODULUS, lambda tokens: fourier_share(tokens).share)


def leak(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Test accuracy of the authors' split, and of its pairs that no twin of is trained on."""
    rows = models(tables, "split", split="leaky", arm=AUTHORS_BASE)
    parts = {"as published": "test_accuracy", "unseen": "unseen_accuracy"}
    return pd.concat([values(rows, column).assign(arm=arm) for arm, column in parts.items()])


def memory(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Explained variance where answers are random, over that of cross-entropy there."""
    return over(values(models(tables, "split", split="shuffled"), "ev2"), AUTHORS_BASE)


# --- the other tasks -------------------------------------------------------------------------------------------


def lattice_plane(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Variance of the lattice's points in two dimensions, where it was learnt."""
    rows = shaped(models(tables, "task", task="lattice"))
    return with_chance(rows, len(TASKS["lattice"]().shape), explained_variance)


def residues(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Variance of the numbers in two dimensions, where equivalence was learnt."""
    rows = shaped(models(tables, "task", task="equivalence"))
    return with_chance(rows, len(TASKS["equivalence"]().shape), explained_variance)


def tree_accuracy(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Test accuracy on the tree over that of cross-entropy."""
    return over(values(models(tables, "task", task="tree"), "test_accuracy"), BASE)


def permutation_accuracy(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Test accuracy on permutations over that of cross-entropy."""
    return over(values(models(tables, "task", task="permutations"), "test_accuracy"), BASE)


# --- images ----------------------------------------------------------------------------------------------------


def vision(tables: Tables, images: str, backbone: str) -> pd.DataFrame:
    """Rows of one set of images and one backbone; none where the record lacks them."""
    if "vision" not in tables:
        return pd.DataFrame(columns=["images", "backbone", "arm", "seed"])
    rows = tables["vision"]
    return rows[(rows["images"] == images) & (rows["backbone"] == backbone)]


def hull(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Distance of class vectors of digits from the hull of their class, relative to that from its mean."""
    if "hull" not in tables:
        return NO_EVIDENCE
    rows = tables["hull"]
    rows = rows[(rows["images"] == "digits") & rows["arm"].isin(["harmonic", BASE])]
    return rows.groupby(["seed", "arm"])["relative"].mean().rename("value").reset_index()


def one_layer(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Accuracy of one layer on MNIST under both losses."""
    rows = vision(tables, "mnist", "linear")
    rows = rows[rows["arm"].isin(["harmonic", BASE])]
    return values(rows, "test_accuracy") if len(rows) else NO_EVIDENCE


def cosine_accuracy(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Accuracy of the network on digits over that under cross-entropy, by distance."""
    rows = vision(tables, "digits", "network")
    return over(values(rows, "test_accuracy"), BASE) if len(rows) else NO_EVIDENCE


def cosine_mnist(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """The same on MNIST."""
    rows = vision(tables, "mnist", "network")
    return over(values(rows, "test_accuracy"), BASE) if len(rows) else NO_EVIDENCE


def sharpness(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Variance of standardised features in two dimensions over that under cross-entropy, by distance."""
    rows = vision(tables, "digits", "network")
    return over(values(rows, "ev2"), BASE) if len(rows) else NO_EVIDENCE


def collapse(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """log2 of how much less features vary within classes (NC1) than under cross-entropy, by distance."""
    rows = vision(tables, "digits", "network")
    return over(values(rows.assign(log=np.log2(rows["nc1"])), "log"), BASE, -1) if len(rows) else NO_EVIDENCE


# --- language model --------------------------------------------------------------------------------------------


def _text(tables: Tables, column: str, sign: int) -> pd.DataFrame:
    if "text" not in tables:
        return NO_EVIDENCE
    return over(values(tables["text"], column), BASE, sign)


def text_loss(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Held-out loss under harmonic loss and under cross-entropy, in nats."""
    if "text" not in tables:
        return NO_EVIDENCE
    rows = values(tables["text"], "nats")
    return rows[rows["arm"].isin(["harmonic", BASE])].reset_index(drop=True)


def text_steadiness(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """How much steadier than cross-entropy's gradient norms are."""
    return _text(tables, "unsteadiness", -1)


def text_structure(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """How many fewer directions token vectors fill than under cross-entropy, as a share of the width."""
    rows = _text(tables, "vector_rank", -1)
    return rows.assign(value=rows["value"] / params.text_width) if len(rows) else rows


def energy(tables: Tables, params: HarmonicLossParams) -> pd.DataFrame:
    """Joules per update, which only a GPU's counters give."""
    return tables.get("energy", NO_EVIDENCE)
