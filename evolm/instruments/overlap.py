"""Overlap of output vectors: how close are the rows of a (vocabulary x width) matrix to orthogonal?

    measure_overlap(torch.randn(5000, 64), name="random").rows()
    measure_models(["smollm2-135m", "EleutherAI/pythia-70m", "./my-checkpoint"])
    evolm measure overlap MODEL...

Superposition theory (Liu, Liu & Gore 2025, Fig. 6a) expects a mean squared cosine near 1/m between the
n output vectors of width m. That alone says little: random rows give exactly 1/m. So each number stands
beside what would produce it anyway: random rows, the Welch (equiangular) level, which is a lower bound,
and Gaussian rows with the same covariance spectrum. Since the mean squared cosine of unit rows is a
function of their spectrum alone, 1/(effective dimension), the variance of cos^2 between pairs, which
the spectrum does not fix, is reported too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from evolm.instruments.embeddings import EmbeddingSource, open_output_embedding
from evolm.instruments.pair_statistics import (
    Blocks,
    measure_pairs,
    moments,
    random_level,
    random_sd,
    random_variance,
    simulate_pairs,
    welch_level,
)
from evolm.instruments.token_frequency import (
    FREQUENT,
    RARE,
    count_tokens,
    frequency_columns,
    frequency_groups,
    open_tokenizer,
)

NORM_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: A row whose norm is below this fraction of the root-mean-square norm is rounding, not a direction.
ZERO_NORM = 1e-10
PROVENANCE = ("source", "tensor", "role", "revision", "licence", "dtype", "note")


@dataclass(frozen=True)
class OverlapResult:
    """What `measure_overlap` found for one matrix. `norms` are the raw row norms, (n,)."""

    name: str
    provenance: dict[str, Any]
    norms: np.ndarray
    table: pd.DataFrame

    def rows(self) -> pd.DataFrame:
        """The tidy table, one row per variant; `measure_overlap` says what the columns mean."""
        return self.table.copy()


@torch.no_grad()
def measure_overlap(
    matrix: Tensor | EmbeddingSource,
    *,
    name: str | None = None,
    device: str | torch.device = "cpu",
    block_rows: int = 8192,
    components_removed: Sequence[int] = (0, 1, 5),
    null_draws: int = 3,
    frequency: np.ndarray | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> OverlapResult:
    """Norms and pairwise overlaps of the rows of `matrix` (n tokens, m columns), against their nulls.

    Variants: `raw`, then `centred` rows with each number k of leading principal components in
    `components_removed` taken out (a k that leaves nothing is skipped). `frequency`, (n,) token counts,
    adds the last columns. `m_` stands for "m times", `cos2` for the squared cosine of a pair i != j.

    - `represented_half`: share of rows with norm above half the mean norm. The paper's phi_1/2 counts
      norms above 1/2 in toy units, where a represented feature has norm near 1; a language model has no
      such unit, so the mean norm stands in. `norm_above_half` is the literal share, of no unit.
    - `m_cos2`, `low`, `high`: the mean over all pairs, exact, and its delete-one-row jackknife interval
      at `level`. Rows are the units, as if sampled; mean and components are held fixed.
    - `m_cos2_random`, `_random_sd`: isotropic rows, closed form, m/(m-k); `_random_simulated` checks it.
    - `m_cos2_welch`: the least any n rows can have.
    - `m_cos2_spectrum`: Gaussian rows with this variant's covariance spectrum, mean of `null_draws`
      simulations with its standard error; `_spectrum_approx` is m sum(l^2)/(sum l)^2. The spectrum of a
      sample is a little steeper than the true one, which raises both by about m/n of their value.
    - `cos2_variance`, over `pairs_sampled` pairs of randomly chosen rows; the same for both nulls.
    - `zero_rows`: rows without a direction in this variant, left out of every cosine.
    - `norm_frequency_spearman` over all rows; `m_cos2_frequent` and `_rare` within the upper and lower
      half of the `tokens_seen` at least once.

    Memory is one block and a few m x m matrices, float64; the matrix is read 1 + 2 x variants times.
    Raises ValueError for fewer than two rows, a value that is not finite, or a frequency of wrong length.
    """
    source = EmbeddingSource.from_tensor(matrix, name or "matrix") if isinstance(matrix, Tensor) else matrix
    _check(source, components_removed)
    blocks = _float64_blocks(source, torch.device(device), block_rows)
    mean, second_moment, norms = moments(blocks)
    if (bad := np.flatnonzero(~np.isfinite(norms))).size:
        raise ValueError(f"row {bad[0]} of {source.name} holds a value that is not finite ({bad.size} such rows)")
    if not norms.any():
        raise ValueError(f"every row of {source.name} is zero: there are no directions to compare")
    smallest = ZERO_NORM * float(np.sqrt((norms**2).mean()))
    eigenvalues, eigenvectors = torch.linalg.eigh(second_moment - torch.outer(mean, mean))
    spectrum, components = eigenvalues.flip(0).clamp(min=0), eigenvectors.flip(1).T  # (m,), (m, m), leading first
    groups = frequency_groups(frequency, source.n)

    shared = {"model": name or source.name, "n": source.n, "m": source.m}
    shared |= _norm_columns(norms) | frequency_columns(frequency, norms)
    records = [
        shared
        | {"variant": "raw", "components_removed": 0}
        | _variant_columns(blocks, source.n, source.m, 0, smallest, groups, level, seed)
        | _null_columns(torch.linalg.eigvalsh(second_moment).clamp(min=0), source.n, 0, null_draws, seed)
    ]
    for k in components_removed:
        if k < min(source.m, source.n - 1):
            label = "centred" if k == 0 else f"centred, {k} PC{'s' if k > 1 else ''} removed"
            transformed = _residuals(blocks, mean, components[:k])
            records.append(
                shared
                | {"variant": label, "components_removed": k}
                | _variant_columns(transformed, source.n, source.m, k, smallest, groups, level, seed)
                | _null_columns(spectrum[k:], source.n, k, null_draws, seed)
            )
    return OverlapResult(name or source.name, dict(source.provenance), norms, pd.DataFrame(records))


def measure_models(
    models: Iterable[str | Path],
    *,
    revision: str | None = None,
    tensor: str | None = None,
    corpus: str | None = None,
    **options: Any,
) -> pd.DataFrame:
    """`measure_overlap` of each model's output embedding, stacked, with where each came from.

    A model is a checkpoint folder, a `.safetensors` or `.npy` file, an asset name or a hub id; `corpus` a UTF-8
    text whose tokens, counted with the model's own tokenizer, tell frequent rows from rare ones; `options` are
    those of `measure_overlap`. Raises what `open_output_embedding` raises, and `ValueError` for a model without
    a tokenizer where a corpus is given.
    """
    models = list(models)
    sources = [open_output_embedding(model, revision, tensor) for model in models]
    tables = []
    for model, source in zip(models, sources, strict=True):
        if corpus is not None:
            tokenizer = open_tokenizer(model, revision)
            options = {**options, "frequency": count_tokens(tokenizer, corpus, source.n)}
        origin = {key: source.provenance.get(key, "") for key in PROVENANCE}
        tables.append(measure_overlap(source, **options).rows().assign(**origin))
    return pd.concat(tables, ignore_index=True)


def _check(source: EmbeddingSource, components_removed: Sequence[int]) -> None:
    if source.n < 2 or source.m < 1:
        raise ValueError(f"{source.name} is {source.n} x {source.m}; an overlap needs at least two rows and one column")
    if any(k < 0 for k in components_removed) or len(set(components_removed)) < len(components_removed):
        raise ValueError(f"components_removed is {tuple(components_removed)}; expected distinct numbers from 0 up")


def _float64_blocks(source: EmbeddingSource, device: torch.device, block_rows: int) -> Blocks:
    return lambda: (block.to(device).double() for block in source.blocks(block_rows))


def _residuals(blocks: Blocks, mean: Tensor, components: Tensor) -> Blocks:
    """Rows minus `mean` (m,), minus their part in the span of the orthonormal `components` (k, m)."""

    def residuals() -> Iterable[Tensor]:
        for x in blocks():
            x = x - mean
            yield x - (x @ components.T) @ components if len(components) else x

    return residuals


def _norm_columns(norms: np.ndarray) -> dict[str, float]:
    mean = float(norms.mean())
    columns = {"norm_mean": mean, "represented_half": float((norms > mean / 2).mean())}
    columns["norm_above_half"] = float((norms > 0.5).mean())
    return columns | {f"norm_q{round(100 * q):02d}": float(np.quantile(norms, q)) for q in NORM_QUANTILES}


def _variant_columns(
    blocks: Blocks, n: int, m: int, k: int, smallest: float, groups: Tensor | None, level: float, seed: int
) -> dict[str, Any]:
    pairs = measure_pairs(blocks, n, smallest=smallest, groups=groups, seed=seed)
    half_width = float(stats.norm.ppf(0.5 + level / 2)) * pairs.cos2_se
    columns: dict[str, Any] = {
        "rows_used": pairs.rows,
        "zero_rows": pairs.zero_rows,
        "mean_cos": pairs.mean_cos,
        "mean_cos2": pairs.mean_cos2,
        "m_cos2": m * pairs.mean_cos2,
        "low": m * (pairs.mean_cos2 - half_width),
        "high": m * (pairs.mean_cos2 + half_width),
        "level": level,
        "effective_dimension": 1 / pairs.mean_cos2 if pairs.mean_cos2 > 0 else np.nan,
        "m_cos2_welch": m * welch_level(pairs.rows, m - k),
        "cos2_variance": pairs.cos2_variance,
        "pairs_sampled": pairs.pairs_sampled,
    }
    if groups is not None:
        columns |= {"m_cos2_frequent": m * pairs.group_cos2[FREQUENT], "m_cos2_rare": m * pairs.group_cos2[RARE]}
    return columns


def _null_columns(spectrum: Tensor, n: int, k: int, draws: int, seed: int) -> dict[str, float]:
    """Nulls for `spectrum`, the (m - k,) eigenvalues of the variant's second moment."""
    width = len(spectrum)
    m = width + k
    isotropic = simulate_pairs(torch.ones_like(spectrum), n, draws, seed)
    matched = simulate_pairs(spectrum, n, draws, seed + 1)
    total = float(spectrum.sum())
    return {
        "m_cos2_random": m * random_level(width),
        "m_cos2_random_sd": m * random_sd(n, width),
        "m_cos2_random_simulated": m * isotropic.mean_cos2,
        "m_cos2_spectrum": m * matched.mean_cos2,
        "m_cos2_spectrum_se": m * matched.cos2_se,
        "m_cos2_spectrum_approx": m * float((spectrum**2).sum()) / total**2 if total > 0 else np.nan,
        "cos2_variance_random": random_variance(width),
        "cos2_variance_spectrum": matched.cos2_variance,
    }
