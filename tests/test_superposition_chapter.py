"""The chapter's parameters, its experiment at a tiny scale, and every figure at parameters that no one planned for."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from evolm.finding import ParameterError
from evolm.findings.superposition import (
    FINDING,
    experiment,
    figures_explore,
    figures_overlap,
    figures_representation,
    figures_scaling,
    readings,
)
from evolm.plotting import Figure
from evolm.verdict import judge

TINY: dict[str, Any] = {
    "n": 24, "widths": [3, 5], "steps": 30, "batch_size": 16, "sweep_steps": [], "models": [], "seeds": 2,
}  # fmt: skip


def run(**overrides: Any) -> tuple[Any, dict[str, pd.DataFrame]]:
    params = FINDING.resolve("smoke", **{**TINY, **overrides})
    parts = [experiment.run_unit(params, unit, "cpu") for unit in experiment.units(params, "cpu")]
    names = {name for part in parts for name in part}
    return params, {name: pd.concat([part[name] for part in parts if name in part]) for name in names}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"widht": [4, 8]}, "did you mean 'widths'"),
        ({"widths": []}, "at least 1 item"),
        ({"widths": [8, 4]}, "must increase"),
        ({"widths": [4, 4]}, "twice"),
        ({"widths": ["4"]}, "valid integer"),
        ({"widths": [4, 500]}, "nothing to superpose"),
        ({"seeds": 0}, "greater than or equal to 1"),
        ({"seeds": "many"}, "valid integer"),
        ({"lr": float("nan")}, "finite number"),
        ({"alphas": [-1.0]}, "greater than or equal to 0"),
        ({"density": 5.0}, "lower the density or alpha"),
        ({"decays": [1.0]}, "at least 2 items"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_with_the_reason(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        FINDING.resolve("smoke", **overrides)


def test_every_parameter_has_a_unit_a_bound_and_a_description() -> None:
    for name, field in FINDING.params.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict), name
        assert extra["unit"], name
        assert field.description, name
        assert field.metadata, f"{name} has no bounds"


def test_core_claims_can_speak_at_the_cpu_preset() -> None:
    params = FINDING.resolve("cpu")
    assert [claim.name for claim in FINDING.claims if claim.core and claim.cannot_speak(params)] == []
    assert params.seeds >= 5


def test_units_have_unique_names_and_on_a_gpu_hold_all_seeds() -> None:
    params = FINDING.resolve("gpu", models=[])
    on_cpu, on_gpu = (experiment.units(params, device) for device in ("cpu", "cuda"))
    for units in (on_cpu, on_gpu):
        assert len({unit.name for unit in units}) == len(units)
    trained = [unit for unit in on_gpu if "seeds" in unit.arguments]
    assert all(unit.arguments["seeds"] == params.seed_list for unit in trained)
    assert len(on_cpu) > len(on_gpu)


def test_arms_of_one_law_hold_every_control_that_a_claim_names() -> None:
    params = FINDING.resolve("cpu")
    for alpha in params.alphas:
        assert {"strong", "weak", "zero-bias", "frozen", "neutral"} <= set(experiment.arms(params, alpha))
    assert "near-ideal" in experiment.arms(params, 2.0)


def test_the_sweeps_train_nothing_that_the_grid_has() -> None:
    params = FINDING.resolve("cpu", models=[])
    trained = [
        (arguments["n"], arguments["alpha"], arguments["steps"], model)
        for _, arguments in experiment._programs(params)
        for model in experiment.toy_models(params, arguments)
    ]
    assert len(trained) == len(set(trained))


def test_a_unit_gives_the_same_rows_whenever_it_runs() -> None:
    params = FINDING.resolve("smoke", **TINY)
    unit = experiment.units(params, "cpu")[0]
    first, again = (experiment.run_unit(params, unit, "cpu")["models"] for _ in range(2))
    pd.testing.assert_frame_equal(first, again)


def figures(params: Any, tables: dict[str, pd.DataFrame]) -> list[Figure]:
    drawn = (
        figures_representation.represented_against_decay,
        figures_representation.recovery_against_width,
        figures_representation.missing_share,
        figures_representation.frequency_sum,
        figures_overlap.overlap_map,
        figures_overlap.open_models,
        figures_scaling.loss_against_width,
        figures_scaling.exponent_against_law,
        figures_scaling.boundary,
        figures_scaling.counts,
        figures_explore.explore,
    )
    assert "all widths" in figures_scaling.fit_ranges(tables, params).text
    return [figures_representation.geometry(tables), *(draw(tables, params) for draw in drawn)]


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"seeds": 1, "widths": [4]},
        {"alphas": [0.5], "decays": [0.0, 0.2]},
        {"sweep_steps": [10, 20], "sweep_features": [40], "sweep_alpha": 0.7},
    ],
    ids=["two widths", "one width and seed", "one law, no negative decay", "sweeps at another law"],
)
def test_unplanned_parameters_give_verdicts_and_all_figures(overrides: dict[str, Any]) -> None:
    params, tables = run(**overrides)
    verdicts = judge(FINDING, tables, params, FINDING.module("estimands"))
    assert {v.verdict for v in verdicts} <= {"inconclusive", "not run at this scale", "not reproduced"}
    drawn = figures(params, tables)
    assert len({figure.name for figure in drawn}) == len(drawn)
    for sentence in (readings.recovery(tables, params), readings.frequency_sum(tables), readings.exponents(tables)):
        assert "nan" not in sentence
    assert "nan" not in readings.overlap(tables)
    assert "No open model" in readings.open_models(tables)


def test_few_seeds_are_never_more_than_inconclusive() -> None:
    params, tables = run(seeds=3, widths=[3, 4, 5, 7, 9, 11])
    for verdict in judge(FINDING, tables, params, FINDING.module("estimands")):
        assert verdict.verdict in ("inconclusive", "not run at this scale"), verdict
