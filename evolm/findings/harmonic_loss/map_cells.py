"""Cells of the map over exponent, distance and share of the pairs, for figures and sentences: tables in, tables out."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from evolm.findings.harmonic_loss.algorithmic import LEARNT
from evolm.findings.harmonic_loss.arms import BESIDE
from evolm.findings.harmonic_loss.estimands import Tables

SWEPT = re.compile(r"harmonic, n = ([\d.e+-]+)(?:, (.+))?")


def cells(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """By some columns: mean accuracy, counts of runs and of those that learnt, epochs and variance in two dimensions.

    `epoch` is the first by which half of the runs know the test pairs (inf: never); `ev2` is of the runs that end with
    the task learnt (NaN: none).
    """
    know = rows["test_accuracy"] >= LEARNT
    epochs = rows["generalised_epoch"].astype(float).where(rows["generalised_seen"].astype(bool), np.inf)
    rows = rows.assign(know=know, epoch=epochs, ev2=rows["ev2"].astype(float).where(know))
    return (
        rows.groupby(by)
        .agg(
            accuracy=("test_accuracy", "mean"),
            learnt=("know", "sum"),
            runs=("seed", "nunique"),
            epoch=("epoch", lambda times: np.sort(times)[(len(times) - 1) // 2]),
            ev2=("ev2", "mean"),
        )
        .reset_index()
    )


def mapped(tables: Tables) -> pd.DataFrame:
    """`cells` by distance, exponent and share; empty where there is no map."""
    columns = ["distance", "exponent", "share"]
    rows = tables.get("models", pd.DataFrame(columns=["group", "arm"]))
    rows = rows[(rows["group"] == "map") & rows["arm"].str.fullmatch(SWEPT.pattern).astype(bool)]
    if rows.empty:
        return pd.DataFrame(columns=columns)
    parts = rows["arm"].str.extract(SWEPT)
    return cells(rows.assign(exponent=parts[0].astype(float), distance=parts[1].fillna("euclidean")), columns)


def beside(tables: Tables) -> pd.DataFrame:
    """`cells` of `BESIDE` as chosen, by head and share, from addition at every share that was run."""
    rows = tables.get("models", pd.DataFrame(columns=["group", "arm"]))
    rows = rows[rows["group"].isin(["addition", "data", "beside"]) & rows["arm"].isin(BESIDE)]
    return cells(rows, ["arm", "share"]) if len(rows) else pd.DataFrame(columns=["arm", "share"])
