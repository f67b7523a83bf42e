"""Token frequency beside an embedding matrix: count a text's tokens, split rows into frequent and rare.

counts = count_tokens(tokenizer, "corpus.txt", rows=source.n)
measure_overlap(source, frequency=counts)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

#: Groups of rows: the upper and lower half of the tokens that were seen, and the others.
FREQUENT, RARE, UNSEEN = 0, 1, 2


def count_tokens(tokenizer: Any, text_path: str | Path, rows: int) -> np.ndarray:
    """Counts (rows,) of each token id in a UTF-8 text file, for `measure_overlap(frequency=...)`.

    `tokenizer` is any `transformers` tokenizer; `rows` is the embedding's n, often padded beyond it.
    """
    counts = np.zeros(rows, dtype=np.int64)
    with Path(text_path).open(encoding="utf-8") as text:
        while lines := text.readlines(1 << 20):
            for ids in tokenizer(lines, add_special_tokens=False)["input_ids"]:
                if ids and max(ids) >= rows:
                    raise ValueError(f"the tokenizer makes id {max(ids)}, but the matrix has {rows} rows: not a pair")
                counts += np.bincount(ids, minlength=rows).astype(np.int64) if ids else 0
    return counts


def open_tokenizer(model: str | Path, revision: str | None = None) -> Any:
    """The tokenizer of a checkpoint folder, an asset or a hub id; raises `ValueError` where there is none."""
    from transformers import AutoTokenizer

    from evolm import assets

    known = not Path(model).exists() and str(model) in assets.registry()
    try:
        return AutoTokenizer.from_pretrained(assets.path(str(model)) if known else model, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{model} has no tokenizer that can be read, so a corpus cannot be counted for it: give a checkpoint "
            f"folder that holds one, or leave the corpus out ({type(error).__name__})"
        ) from None


def frequency_groups(frequency: np.ndarray | None, n: int) -> Tensor | None:
    """Group of each row, (n,): the upper and lower half of the tokens seen, by rank, and the unseen."""
    if frequency is None:
        return None
    if frequency.shape != (n,):
        raise ValueError(
            f"frequency has shape {frequency.shape}; expected one count per row, ({n},): "
            f"pad the ids that the tokenizer never makes with zeros (`count_tokens` does)"
        )
    if not np.isfinite(frequency).all() or (frequency < 0).any():
        raise ValueError("frequency holds a value that is negative or not finite; expected counts")
    groups = torch.full((n,), UNSEEN)
    order = np.argsort(-frequency, kind="stable")[: int((frequency > 0).sum())]
    half = len(order) // 2
    groups[torch.from_numpy(order[:half].copy())] = FREQUENT
    groups[torch.from_numpy(order[half:].copy())] = RARE
    return groups


def frequency_columns(frequency: np.ndarray | None, norms: np.ndarray) -> dict[str, float]:
    """How many tokens were seen, and the rank correlation of count and row norm; nothing without counts."""
    if frequency is None:
        return {}
    varies = np.ptp(frequency) > 0 and np.ptp(norms) > 0
    rho = float(stats.spearmanr(frequency, norms).statistic) if varies else np.nan
    return {"tokens_seen": int((frequency > 0).sum()), "norm_frequency_spearman": rho}
