"""Overlap of output vectors: closed forms, planted answers, invariances, bad input, memory."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy import stats

from evolm.instruments.overlap import measure_models, measure_overlap
from evolm.instruments.pair_statistics import random_level, random_sd, random_variance, welch_level
from evolm.instruments.token_frequency import count_tokens

COS2_COLUMNS = ["mean_cos", "mean_cos2", "m_cos2", "low", "high", "cos2_variance"]


def gaussian(n: int, m: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def variant(matrix: torch.Tensor, name: str = "raw", **options: object) -> pd.Series:
    table = measure_overlap(matrix, null_draws=2, **options).rows().set_index("variant")
    return table.loc[name]


def simplex(n: int) -> torch.Tensor:
    """n unit vectors of width n-1 at equal angles, cos = -1/(n-1): the smallest equiangular tight frame."""
    centred = torch.eye(n, dtype=torch.float64) - 1 / n
    basis = torch.linalg.svd(centred).Vh[: n - 1]
    return torch.nn.functional.normalize(centred @ basis.T, dim=1)


def brute_force(x: torch.Tensor) -> tuple[float, float, float]:
    u = torch.nn.functional.normalize(x, dim=1)
    cos = (u @ u.T)[~torch.eye(len(u), dtype=torch.bool)]
    return float(cos.mean()), float((cos**2).mean()), float((cos**2).var(correction=0))


def test_orthonormal_rows_do_not_overlap() -> None:
    row = variant(torch.eye(12, dtype=torch.float64) * 3)
    assert row.mean_cos2 == pytest.approx(0, abs=1e-14)
    assert row.cos2_variance == pytest.approx(0, abs=1e-14)
    assert row.m_cos2_welch == 0


def test_exact_mean_and_variance_equal_enumeration_of_all_pairs() -> None:
    x = gaussian(200, 9) * torch.linspace(0.1, 3, 9) + 0.4
    row = variant(x)
    assert (row.mean_cos, row.mean_cos2, row.cos2_variance) == pytest.approx(brute_force(x), rel=1e-10)
    assert row.pairs_sampled == 200 * 199 // 2


def test_random_rows_overlap_by_one_over_m_with_the_predicted_spread_and_variance() -> None:
    n, m = 600, 24
    rows = pd.DataFrame([variant(gaussian(n, m, seed)) for seed in range(30)])
    z = (rows.m_cos2 - m * random_level(m)) / (m * random_sd(n, m))
    assert abs(z.mean()) < 4 / math.sqrt(30)
    assert 0.6 < z.std() < 1.5
    assert rows.cos2_variance.mean() == pytest.approx(random_variance(m), rel=0.02)
    assert rows.m_cos2_random.eq(1).all()
    assert rows.m_cos2_random_simulated.mean() == pytest.approx(1, abs=0.005)


def test_beta_law_gives_the_closed_forms_of_the_random_null() -> None:
    law = stats.beta(0.5, (24 - 1) / 2)
    assert random_level(24) == pytest.approx(law.mean())
    assert random_variance(24) == pytest.approx(law.var())


def test_simplex_attains_the_welch_level_with_no_variance() -> None:
    row = variant(simplex(9))
    assert row.mean_cos2 == pytest.approx(1 / 64)
    assert row.m_cos2 == pytest.approx(row.m_cos2_welch)
    assert row.cos2_variance == pytest.approx(0, abs=1e-14)
    assert row.high - row.low == pytest.approx(0, abs=1e-7)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(3, 40), m=st.integers(2, 12), seed=st.integers(0, 999), power=st.floats(0, 2))
def test_no_matrix_is_below_the_welch_level(n: int, m: int, seed: int, power: float) -> None:
    x = gaussian(n, m, seed) * torch.arange(1, m + 1, dtype=torch.float64) ** -power
    assert variant(x).mean_cos2 >= welch_level(n, m) - 1e-12


@settings(max_examples=20, deadline=None)
@given(exponent=st.integers(-6, 6), seed=st.integers(0, 999))
def test_cosines_do_not_depend_on_the_scale_of_the_matrix(exponent: int, seed: int) -> None:
    x = gaussian(60, 8, seed) + 0.3
    one, other = (measure_overlap(m, null_draws=1).rows() for m in (x, x * 10.0**exponent))
    np.testing.assert_allclose(one[COS2_COLUMNS], other[COS2_COLUMNS], rtol=1e-7, atol=1e-12)
    assert other.represented_half.equals(one.represented_half)


@settings(max_examples=15, deadline=None)
@given(block_rows=st.integers(1, 400))
def test_result_does_not_depend_on_the_block_size(block_rows: int) -> None:
    x = gaussian(300, 6) + 1
    x[17] = 0
    frequency = np.arange(300) % 50
    whole = measure_overlap(x, null_draws=1, frequency=frequency).rows()
    parts = measure_overlap(x, null_draws=1, frequency=frequency, block_rows=block_rows).rows()
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-9, atol=1e-12)


def test_centring_removes_a_planted_mean() -> None:
    x = gaussian(3000, 32)
    rows = measure_overlap(x + 2.0, null_draws=1).rows().set_index("variant")
    assert rows.m_cos2["raw"] > 15
    assert rows.mean_cos["raw"] == pytest.approx(0.8, abs=0.02)
    assert rows.m_cos2["centred"] == pytest.approx(1, abs=0.03)


def test_removing_components_undoes_as_many_planted_directions_and_no_fewer() -> None:
    x = gaussian(3000, 32)
    directions = torch.linalg.qr(gaussian(32, 3, seed=1)).Q.T  # (3, m)
    x += gaussian(3000, 3, seed=2) * 12 @ directions
    rows = measure_overlap(x, null_draws=1, components_removed=(0, 2, 3)).rows().set_index("variant")
    assert rows.m_cos2["centred"] > 5
    assert rows.m_cos2["centred, 2 PCs removed"] > 5
    assert rows.m_cos2["centred, 3 PCs removed"] == pytest.approx(32 / 29, abs=0.03)
    assert rows.m_cos2_random["centred, 3 PCs removed"] == pytest.approx(32 / 29)


def test_spectrum_null_explains_gaussian_rows_but_not_clustered_ones() -> None:
    scale = torch.linspace(0.2, 2, 16, dtype=torch.float64)
    plain = variant(gaussian(4000, 16) * scale)
    assert plain.m_cos2_spectrum == pytest.approx(plain.m_cos2, rel=0.02)
    assert plain.cos2_variance_spectrum == pytest.approx(plain.cos2_variance, rel=0.05)
    clustered = variant(gaussian(40, 16).repeat(100, 1) + 0.05 * gaussian(4000, 16, seed=1))
    assert clustered.cos2_variance > 1.5 * clustered.cos2_variance_spectrum


def test_jackknife_interval_equals_deleting_each_row() -> None:
    x = gaussian(25, 4) + 0.5
    left_out = np.array([brute_force(torch.cat([x[:i], x[i + 1 :]]))[1] for i in range(25)])
    se = math.sqrt(24 / 25 * ((left_out - left_out.mean()) ** 2).sum())
    row = variant(x, level=0.9)
    assert row.high - row.m_cos2 == pytest.approx(4 * se * stats.norm.ppf(0.95))
    assert row.m_cos2 - row.low == pytest.approx(row.high - row.m_cos2)


def test_jackknife_interval_covers_the_population_value() -> None:
    scale = torch.tensor([2.0, 1.0, 1.0, 0.5, 0.5, 0.5], dtype=torch.float64)
    truth = variant(gaussian(60_000, 6, seed=999) * scale).m_cos2
    rows = [variant(gaussian(150, 6, seed) * scale, components_removed=()) for seed in range(120)]
    covered = np.mean([r.low <= truth <= r.high for r in rows])
    assert covered >= stats.binom.ppf(0.001, 120, 0.95) / 120


def test_duplicates_overlap_fully_and_have_no_centred_direction() -> None:
    rows = measure_overlap(torch.full((10, 3), 0.1), null_draws=1).rows().set_index("variant")
    assert rows.mean_cos2["raw"] == pytest.approx(1)
    assert rows.rows_used["centred"] == 0
    assert rows.zero_rows["centred"] == 10
    assert math.isnan(rows.m_cos2["centred"])


def test_zero_rows_are_counted_and_left_out() -> None:
    x = gaussian(50, 5)
    padded = torch.cat([torch.zeros(7, 5, dtype=torch.float64), x])
    row = variant(padded)
    assert (row.n, row.rows_used, row.zero_rows) == (57, 50, 7)
    assert row.mean_cos2 == pytest.approx(variant(x).mean_cos2)
    assert row.represented_half == pytest.approx((padded.norm(dim=1) > padded.norm(dim=1).mean() / 2).double().mean())


def test_represented_share_is_relative_and_the_literal_one_is_not() -> None:
    x = torch.cat([torch.eye(6), 0.1 * torch.eye(6)[:3]]).double()
    assert variant(x).represented_half == pytest.approx(6 / 9)
    assert variant(x * 0.3).represented_half == pytest.approx(6 / 9)
    assert variant(x * 0.3).norm_above_half == 0


def test_frequency_correlates_norms_and_splits_the_seen_tokens() -> None:
    rare, frequent = simplex(9).repeat(2, 1), gaussian(18, 8) * 0.01 + 1.0
    unseen = gaussian(10, 8, seed=3)
    x = torch.cat([rare, frequent, unseen])
    frequency = np.concatenate([np.arange(1, 19), np.arange(100, 118), np.zeros(10)])
    row = variant(x, frequency=frequency)
    assert row.tokens_seen == 36
    assert row.m_cos2_frequent == pytest.approx(8 * brute_force(frequent)[1])
    assert row.m_cos2_rare == pytest.approx(8 * brute_force(rare)[1])
    assert row.norm_frequency_spearman == pytest.approx(stats.spearmanr(frequency, x.norm(dim=1)).statistic)


def test_a_component_count_that_leaves_nothing_is_skipped() -> None:
    assert list(measure_overlap(gaussian(20, 4), null_draws=1).rows().components_removed) == [0, 0, 1]


@pytest.mark.parametrize(
    ("matrix", "options", "message"),
    [
        (torch.ones(1, 4), {}, "at least two rows"),
        (torch.ones(4), {}, "a matrix"),
        (torch.zeros(4, 4), {}, "every row .* is zero"),
        (torch.tensor([[1.0, 2], [3, math.nan], [1, 1]]), {}, "row 1 of .* not finite"),
        (torch.tensor([[1.0, 2], [3, 1], [math.inf, 1]]), {}, "row 2 of .* not finite"),
        (torch.ones(4, 2), {"frequency": np.ones(3)}, "one count per row"),
        (torch.ones(4, 2), {"frequency": np.array([1, -1, 0, 0])}, "negative"),
        (torch.ones(4, 2), {"components_removed": (-1,)}, "from 0 up"),
        (torch.ones(4, 2), {"block_rows": 0}, "at least 1"),
    ],
)
def test_unusable_input_is_refused_in_a_sentence(matrix: torch.Tensor, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_overlap(matrix, **options)


def test_models_are_measured_from_files_and_carry_their_provenance(tmp_path: Path) -> None:
    x = gaussian(40, 6).float()
    np.save(tmp_path / "head.npy", x.numpy())
    save_file({"lm_head.weight": x, "other.weight": x + 1}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"tie_word_embeddings": False}))
    table = measure_models([tmp_path / "head.npy", tmp_path], null_draws=1)
    assert list(table.model.unique()) == ["head", tmp_path.name]
    assert table[table.model == tmp_path.name].tensor.eq("lm_head.weight").all()
    by_variant = table.pivot(index="variant", columns="model", values="m_cos2")
    assert by_variant["head"].equals(by_variant[tmp_path.name].rename("head"))


def test_tokens_of_a_text_are_counted_and_padded_to_the_matrix(tmp_path: Path) -> None:
    class Tokenizer:
        def __call__(self, lines: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
            return {"input_ids": [[len(word) for word in line.split()] for line in lines]}

    (tmp_path / "text.txt").write_text("a bb a\n\nccc\n")
    assert count_tokens(Tokenizer(), tmp_path / "text.txt", rows=6).tolist() == [0, 2, 1, 1, 0, 0]
    with pytest.raises(ValueError, match="not a pair"):
        count_tokens(Tokenizer(), tmp_path / "text.txt", rows=3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_exact_columns_as_the_cpu() -> None:
    x = gaussian(3000, 32) + 0.5
    frequency = np.arange(3000) % 7
    cpu, cuda = (measure_overlap(x, null_draws=1, frequency=frequency, device=d).rows() for d in ("cpu", "cuda"))
    exact = [*COS2_COLUMNS, "m_cos2_frequent", "m_cos2_rare", "norm_mean"]
    np.testing.assert_allclose(cpu[exact], cuda[exact], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(cpu.m_cos2_spectrum, cuda.m_cos2_spectrum, rtol=0.05)


MEMORY = """
import resource, sys, torch
from evolm.instruments.overlap import measure_models, measure_overlap
measure_overlap(torch.randn(9000, 256), null_draws=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
measure_models([sys.argv[1]], null_draws=1, components_removed=(0,), block_rows=4096)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_large_matrix_is_streamed_and_never_held_whole(tmp_path: Path) -> None:
    n, m = 100_000, 256
    save_file({"lm_head.weight": torch.randn(n, m).bfloat16()}, tmp_path / "big.safetensors")
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "big.safetensors")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
    whole_in_float32, kilobyte = n * m * 4, 1024
    assert grown * kilobyte < whole_in_float32 / 2


def test_a_corpus_is_counted_with_the_models_own_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["a", "b", "c", "d", "e", "[UNK]"])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    config = LlamaConfig(vocab_size=6, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(tmp_path / "model")
    (tmp_path / "corpus.txt").write_text("a a a b\na b c\n")
    rows = measure_models([tmp_path / "model"], corpus=str(tmp_path / "corpus.txt"), components_removed=(0,))
    assert set(rows["tokens_seen"]) == {3}
    (tmp_path / "rows.npy").parent.mkdir(exist_ok=True)
    np.save(tmp_path / "rows.npy", np.eye(4, dtype=np.float32))
    with pytest.raises(ValueError, match="no tokenizer that can be read"):
        measure_models([tmp_path / "rows.npy"], corpus=str(tmp_path / "corpus.txt"))
