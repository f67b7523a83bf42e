"""Measurements on models whose answers are known, and estimands on tables with planted effects."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from evolm.findings.superposition import FINDING, estimands
from evolm.findings.superposition.data import MEAN_SQUARE, SparseBatches, frequencies
from evolm.findings.superposition.measure import evaluate_loss, loss_parts, measure, overlaps, representation
from evolm.findings.superposition.program import Program, ToyModel, Training

N = 30
P = frequencies(N, 1.0)
ORDER = np.random.default_rng(0).permutation(N)


def samples(count: int = 200_000) -> torch.Tensor:
    stream, size = iter(SparseBatches(P, 2000, 3)), 2000
    return torch.cat([torch.from_numpy(next(stream).dense(size, N)) for _ in range(count // size)])


def test_a_model_with_room_for_every_feature_loses_nothing() -> None:
    w, b = torch.eye(N), torch.zeros(N)
    assert evaluate_loss(samples(2000), w, b, "relu") == 0
    assert representation(w, b, "relu", P, ORDER)["recovered"] == 1


def test_a_model_that_keeps_the_most_frequent_features_loses_exactly_the_rest() -> None:
    w = torch.eye(N)[:10]  # ten dimensions for the ten most frequent features
    found = representation(w, torch.zeros(N), "relu", P, ORDER)
    expected = MEAN_SQUARE * P[10:].sum()
    assert found["predicted_by_norm"] == pytest.approx(expected)
    assert found["predicted_by_recovery"] == pytest.approx(expected)
    assert found["represented"] == found["recovered"] == pytest.approx(10 / N)
    assert abs(found["predicted_shuffled"] / expected - 1) > 0.1
    parts = loss_parts(samples(), w, torch.zeros(N), "relu")
    assert parts["loss"] == pytest.approx(expected, rel=0.02)
    assert parts["loss_missing"] == pytest.approx(parts["loss"])  # nothing overlaps, so all of it is missing features


def test_loss_of_overlap_is_not_counted_as_missing() -> None:
    w, b = torch.eye(N), torch.full((N,), 0.05)  # every feature comes back, with a little noise everywhere
    parts = loss_parts(samples(5000), w, b, "relu")
    assert parts["loss"] == pytest.approx(N * 0.05**2, rel=1e-3)
    assert parts["loss_missing"] == 0


def test_predicting_the_mean_gives_the_ceiling() -> None:
    w, b = torch.zeros(2, N), torch.from_numpy(P).float()
    ceiling = (MEAN_SQUARE * P - P**2).sum()
    assert evaluate_loss(samples(), w, b, "relu") == pytest.approx(ceiling, rel=0.02)


def test_a_linear_decoder_recovers_no_feature_that_it_superposes() -> None:
    w = torch.randn(5, N, generator=torch.Generator().manual_seed(0))
    w = w / w.norm(dim=0)
    found = representation(w, torch.zeros(N), "linear", P, ORDER)
    assert found["represented"] == 1  # the norm alone would call all of them represented
    assert found["recovered"] == 0


def test_overlap_of_a_simplex_is_the_welch_level_and_of_orthogonal_rows_zero() -> None:
    corners = torch.eye(7) - 1 / 7  # 7 unit-angle vectors in 6 dimensions: a tight frame
    basis = torch.linalg.svd(corners).Vh[:6]
    simplex = 2 * (corners @ basis.T).T  # (6, 7), norms above 1
    simplex = torch.cat([simplex, -simplex], dim=1)  # 14 rows, more than m + 1
    found = overlaps(simplex)
    unit = simplex / simplex.norm(dim=0)
    cos2 = (unit.T @ unit).square()
    assert found["mean_cos2"] == pytest.approx(float((cos2.sum() - 14) / (14 * 13)), rel=1e-5)
    assert found["mean_cos2"] == pytest.approx(found["welch_cos2"], rel=1e-5)  # union of tight frames is tight
    assert math.isnan(overlaps(2 * torch.eye(5))["mean_cos2"])  # as many rows as dimensions: nothing to compare


def test_overlap_of_random_rows_is_one_over_m_with_the_beta_variance() -> None:
    found = overlaps(torch.randn(16, 3000, generator=torch.Generator().manual_seed(1)))
    assert found["mean_cos2"] == pytest.approx(1 / 16, rel=0.01)
    assert found["cos2_variance"] == pytest.approx(found["random_cos2_variance"], rel=0.05)
    assert found["welch_cos2"] < found["random_cos2"]


def test_measure_gives_one_row_per_seed_and_model_on_the_same_data() -> None:
    models = [ToyModel(2, -1.0), ToyModel(3, 1.0, "linear")]
    table = measure(Program(models, Training(N, 1.0, 16, 5, 0.01), seeds=[4, 5]).train())
    assert list(table["seed"]) == [4, 4, 5, 5]
    assert list(table["width"]) == [2, 3, 2, 3]
    assert np.isfinite(table[["loss", "recovered", "predicted_by_norm"]].to_numpy()).all()


def planted(exponent: dict[str, float], seeds: int = 6, noise: float = 0.01) -> pd.DataFrame:
    """A `models` table in which each arm's loss is a power of width with the given exponent, times noise."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "kind": "grid", "arm": arm, "alpha": alpha, "seed": seed, "width": width, "steps": 100, "n": N,
            "loss": width**-a * math.exp(noise * rng.standard_normal()),
        }
        for arm, a in exponent.items() for alpha in (0.0, 1.0)
        for seed in range(seeds) for width in (2, 3, 5, 8, 12, 18)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_exponents_of_planted_power_laws_are_recovered() -> None:
    found = estimands.exponents(planted({"strong": 1.0, "weak": 0.4}), ["seed", "arm", "alpha"])
    means = found.groupby("arm")["exponent"].mean()
    assert means["strong"] == pytest.approx(1.0, abs=0.02)
    assert means["weak"] == pytest.approx(0.4, abs=0.02)


def judged(name: str, models: pd.DataFrame) -> str:
    from evolm.verdict import judge

    return judge([FINDING.claim(name)], {"models": models}, FINDING.resolve("cpu"), estimands)[0].verdict


def test_a_planted_power_law_of_exponent_one_is_reproduced_and_others_are_not() -> None:
    assert judged("strong-exponent-flat", planted({"strong": 1.0})) == "reproduced"
    assert judged("strong-exponent-flat", planted({"strong": 1.4})) == "not reproduced"


def test_a_bent_curve_of_average_exponent_one_is_not_reproduced() -> None:
    models = planted({"strong": 0.0})
    x = np.log(models["width"] / 6.0)
    models["loss"] *= np.exp(-1.0 * x - 0.35 * x**2)
    assert judged("strong-exponent-flat", models) == "not reproduced"


def test_exponents_that_depend_on_the_bias_are_told_from_ones_that_do_not() -> None:
    same = planted({"strong": 1.2, "zero-bias": 1.2})
    apart = planted({"strong": 1.0, "zero-bias": 1.5})
    assert judged("exponent-free-of-bias-start", same) == "reproduced"
    assert judged("exponent-free-of-bias-start", apart) == "not reproduced"


def with_predictions(weak: float, neutral: float, shuffled: float) -> pd.DataFrame:
    """Losses of which Eq. 4 predicts these factors, each with a per cent of noise."""
    models = planted({"weak": 0.5, "neutral": 0.8})
    noise = np.exp(np.random.default_rng(1).normal(0, 0.01, (2, len(models))))
    factor = models["arm"].map({"weak": weak, "neutral": neutral})
    predicted = {"predicted_by_norm": factor * noise[0], "predicted_shuffled": shuffled * noise[1]}
    return models.assign(**{column: models["loss"] * values for column, values in predicted.items()})


@pytest.mark.parametrize(
    ("weak", "neutral", "shuffled", "expected"),
    [
        (1.0, 0.7, 2.0, "reproduced"),
        (1.0, 0.7, 1.0, "not specific"),  # any features of that number would do
        (1.0, 1.0, 2.0, "not specific"),  # it holds without decay as well
        (1.6, 0.7, 2.0, "not reproduced"),
        (0.0, 0.7, 2.0, "not reproduced"),  # a model that drops nothing: the error is one, and finite
    ],
)
def test_the_frequency_sum_holds_in_weak_superposition_only(
    weak: float, neutral: float, shuffled: float, expected: str
) -> None:
    assert judged("weak-loss-is-missing-frequency", with_predictions(weak, neutral, shuffled)) == expected


def test_overlap_that_training_without_decay_shows_as_well_is_not_specific() -> None:
    rng = np.random.default_rng(2)
    rows = planted({"strong": 1.0, "frozen": 1.0, "neutral": 1.0})
    rows = rows.assign(
        random_cos2=0.1, welch_cos2=0.08, strong_count=100.0, cos2_variance=1.0, random_cos2_variance=1.0
    )

    def closing(neutral: float) -> pd.DataFrame:
        share = rows["arm"].map({"strong": 0.6, "frozen": 0.0, "neutral": neutral}) + rng.normal(0, 0.02, len(rows))
        return rows.assign(mean_cos2=0.1 - 0.02 * share)

    assert judged("overlap-below-random", closing(0.0)) == "reproduced"
    assert judged("overlap-below-random", closing(0.6)) == "not specific"


def test_cells_that_one_arm_lacks_are_left_out_of_every_arm() -> None:
    rows = pd.DataFrame({"seed": 0, "alpha": 0.0, "width": [2, 3, 2, 3], "arm": ["a", "a", "b", "b"]})
    frame = estimands.matched(rows, pd.Series([1.0, 5.0, 2.0, np.nan]), ["a", "b"])
    assert dict(zip(frame["arm"], frame["value"], strict=True)) == {"a": 1.0, "b": 2.0}
    assert estimands.matched(rows, pd.Series([1.0, 5.0, 2.0, 2.0]), ["a", "c"]).empty


def test_gap_closed_is_zero_for_random_and_one_for_tight_and_silent_for_few_rows() -> None:
    rows = pd.DataFrame(
        {
            "random_cos2": 0.1, "welch_cos2": 0.08, "mean_cos2": [0.1, 0.08, 0.09],
            "strong_count": [100.0, 100.0, 12.0], "width": 10,
        }
    )  # fmt: skip
    assert list(estimands.gap_closed(rows))[:2] == pytest.approx([0, 1])
    assert math.isnan(list(estimands.gap_closed(rows))[2])
