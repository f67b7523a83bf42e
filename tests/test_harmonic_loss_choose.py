"""The search for rates, decays and knobs of the harmonic-loss chapter, and that its arms are what it chose."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from evolm.finding import FIRST_REPORT_SEED
from evolm.findings.harmonic_loss import arms, choose
from evolm.findings.harmonic_loss.replicas import Arm, Head
from evolm.paths import resource

FILE = resource("data") / "choices" / "harmonic-loss.csv"


@cache
def kept() -> pd.DataFrame:
    return pd.read_csv(FILE)


def trials(experiment: str, scores: Mapping[tuple[str, float, float, float], tuple[float, ...]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "experiment": experiment,
                "head": head,
                "knob": knob,
                "lr": lr,
                "decay": decay,
                "seed": seed,
                "score": score,
            }
            for (head, knob, lr, decay), each in scores.items()
            for seed, score in enumerate(each)
        ]
    )


# --- choosing --------------------------------------------------------------------------------------------------


def test_the_best_mean_over_seeds_is_chosen_for_each_head() -> None:
    table = trials(
        "addition",
        {
            ("a", 1.0, 0.1, 0.0): (0.9, 0.1),  # the best single seed is no reason
            ("a", 1.0, 0.2, 0.0): (0.6, 0.6),
            ("a", 2.0, 0.1, 0.3): (0.5, 0.5),
            ("b", 4.0, 0.4, 0.0): (-2.0, -2.0),  # a loss, sign turned
            ("b", 4.0, 0.8, 0.0): (-1.0, -1.5),
        },
    )
    other = trials("linear", {("a", 9.0, 9.0, 9.0): (1.0, 1.0)})
    found = choose.chosen(pd.concat([table, other]).sample(frac=1, random_state=0), "addition")
    assert found == {"a": (1.0, 0.2, 0.0), "b": (4.0, 0.8, 0.0)}


def test_of_equal_scores_the_smallest_settings_are_chosen() -> None:
    table = trials("text", {("a", knob, lr, 0.1): (1.0,) for knob, lr in itertools.product((8.0, 2.0), (0.4, 0.2))})
    assert choose.chosen(table, "text") == {"a": (2.0, 0.2, 0.1)}


def test_a_trial_that_diverged_is_not_chosen() -> None:
    table = trials("text", {("a", 1.0, 0.1, 0.1): (-5.0, -5.0), ("a", 1.0, 9.0, 0.1): (float("nan"), float("nan"))})
    assert choose.chosen(table, "text") == {"a": (1.0, 0.1, 0.1)}


def test_names_of_trials_hold_their_settings() -> None:
    found = choose.arms_of({"a, b": [Head("dot", 0.0625), Head("dot", 4.0)]}, (1e-3, 0.256), (0.0, 0.03))
    assert len(found) == 2 * 2 * 2
    for name, arm in found.items():
        head, knob, lr, decay = name.split("|")
        assert head == "a, b"
        assert Arm(Head("dot", float(knob)), float(lr), float(decay)) == arm


# --- what is tried ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [(FIRST_REPORT_SEED,), (5, FIRST_REPORT_SEED + 3)])
def test_report_seeds_are_refused_before_anything_is_trained(
    seeds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "SEEDS", seeds)
    monkeypatch.setattr(choose, "ADDITION_SEEDS", seeds)
    for module in (choose.algorithmic, choose.vision):
        monkeypatch.setattr(module, "trained", lambda *args, **kwargs: pytest.fail("trained on report seeds"))
    for attempt in (lambda: choose.addition_trials(0.5, seeds[-1]), lambda: choose.image_trials("linear")):
        with pytest.raises(ValueError, match=f"seed {seeds[-1]} is a report seed; .* below {FIRST_REPORT_SEED}"):
            attempt()


def test_the_seeds_of_the_search_are_no_report_seeds() -> None:
    assert max(*choose.SEEDS, *choose.ADDITION_SEEDS) < FIRST_REPORT_SEED


def test_every_head_has_as_many_trials_as_any_other() -> None:
    assert {len(variants) for variants in choose.HEADS.values()} == {4}
    assert {len(variants) for variants in choose.image_heads().values()} == {3}
    assert {len(variants) * len(choose.text_rates(name)) for name, variants in choose.TEXT_HEADS.items()} == {6}
    assert set(choose.HEADS) == set(arms.CHOSEN)
    for heads in (choose.HEADS, choose.image_heads(), choose.TEXT_HEADS, choose.LINEAR_HEADS):
        for variants in heads.values():
            assert len({head.knob for head in variants}) == len(variants)
            assert len({(head.form, head.distance, head.power) for head in variants}) == 1


@pytest.mark.parametrize("backbone", ["linear", "network"])
def test_images_are_chosen_on_validation_images(backbone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def trained(images: Any, kind: str, tried: Mapping[str, Arm], seeds: Any, **how: Any) -> dict[str, pd.DataFrame]:
        asked.append({"kind": kind, **how})
        rows = [{"arm": arm, "seed": seed, "test_accuracy": 0.5} for arm in tried for seed in seeds]
        return {"vision": pd.DataFrame(rows)}

    monkeypatch.setattr(choose.vision, "trained", trained)
    table = choose.image_trials(backbone)
    assert asked == [{"kind": backbone, "epochs": choose.IMAGE_EPOCHS, "test": False}]
    assert set(table["experiment"]) == {backbone}


def test_a_search_writes_every_trial_and_keeps_what_it_did_not_do_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parts that are not searched again stay as they are, those that are replace their rows."""
    file = tmp_path / "deep" / "choices.csv"
    monkeypatch.setattr(choose, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(choose, "_run", lambda job: job.function(*job.arguments))

    def scored(name: str, score: float) -> Any:
        def run(*_: Any) -> pd.DataFrame:
            named = choose.arms_of({"a": [Head("dot", 1.0), Head("dot", 2.0)]}, (0.1,), (0.0,))
            return pd.DataFrame(
                [{"experiment": name, "arm": arm, "seed": 5, "score": score + i} for i, arm in enumerate(named)]
            )

        return run

    monkeypatch.setattr(choose, "image_trials", scored("linear", 0.1))
    choose.main(str(file), "linear")
    monkeypatch.setattr(choose, "addition_trials", scored("addition", 0.7))
    choose.main(str(file), "addition")
    table = pd.read_csv(file)
    assert list(table.columns) == ["experiment", "head", "knob", "lr", "decay", "share", "seed", "score"]
    assert table.groupby("experiment")["score"].max().to_dict() == {"addition": 1.7, "linear": 1.1}
    monkeypatch.setattr(choose, "image_trials", scored("linear", 0.3))
    choose.main(str(file), "linear")
    assert pd.read_csv(file).groupby("experiment")["score"].max().to_dict() == {"addition": 1.7, "linear": 1.3}
    assert "linear {'a': (2.0, 0.1, 0.0)}" in capsys.readouterr().out


class InThisProcess:
    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, function: Any, jobs: Any) -> Any:
        return map(function, jobs)


def test_a_job_of_the_search_runs_on_one_thread_and_without_denormals() -> None:
    before = torch.get_num_threads()
    try:
        seen = choose._run(choose.Job(lambda: pd.DataFrame([{"threads": torch.get_num_threads()}]), ()))
        assert seen["threads"][0] == 1
        assert float(torch.tensor([1e-40]) * 1.0) == 0
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


# --- what is kept ----------------------------------------------------------------------------------------------


Rates = tuple[float, ...]


def grids() -> dict[str, tuple[dict[str, list[Head]], Rates | dict[str, Rates], Rates, tuple[int, ...]]]:
    """Heads, rates (of all heads, or by head), decays and seeds of each search."""
    return {
        "addition": (choose.HEADS, choose.RATES, choose.DECAYS, choose.ADDITION_SEEDS),
        "linear": (choose.LINEAR_HEADS, choose.IMAGE_RATES, (0.0,), choose.SEEDS),
        "network": (choose.image_heads(), choose.IMAGE_RATES, (0.0,), choose.SEEDS),
        "text": (
            choose.TEXT_HEADS,
            {name: choose.text_rates(name) for name in choose.TEXT_HEADS},
            (0.1,),
            choose.SEEDS[:1],
        ),
    }


def searched() -> list[str]:
    return list(kept()["experiment"].unique())


def test_the_searches_that_the_cpu_preset_rests_on_are_kept() -> None:
    assert {"addition", "linear", "network"} <= set(searched()) <= set(grids())


@pytest.mark.parametrize("experiment", grids())
def test_the_kept_file_holds_every_trial_of_the_search_and_no_other(experiment: str) -> None:
    if experiment not in searched():
        pytest.skip(f"{experiment} has not been searched yet")
    heads, rates, decays, seeds = grids()[experiment]
    rows = kept()[kept()["experiment"] == experiment]
    shares = choose.SHARES if experiment == "addition" else (None,)
    expected = {
        (name, head.knob, rate, decay, share, seed)
        for name, variants in heads.items()
        for head, rate, decay, share, seed in itertools.product(
            variants, rates[name] if isinstance(rates, dict) else rates, decays, shares, seeds
        )
    }
    columns = rows[["head", "knob", "lr", "decay", "share", "seed"]].astype(object)
    found = [tuple(None if pd.isna(value) else value for value in row) for row in columns.itertuples(index=False)]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert rows["score"].notna().all()


@pytest.mark.parametrize("experiment", grids())
def test_the_arms_are_what_the_kept_trials_choose(experiment: str) -> None:
    if experiment not in searched():
        pytest.skip(f"{experiment} has not been searched yet")
    used = {"addition": arms.CHOSEN, "linear": arms.LINEAR, "network": arms.NETWORK, "text": arms.TEXT}[experiment]
    found = {
        name.removeprefix("harmonic, ") if experiment == "network" else name: (arm.head.knob, arm.lr, arm.decay)
        for name, arm in used.items()
    }
    assert found == choose.chosen(kept(), experiment)


@pytest.mark.parametrize("experiment", grids())
def test_the_arms_have_the_heads_that_were_searched(experiment: str) -> None:
    heads = grids()[experiment][0]
    used = {"addition": arms.CHOSEN, "linear": arms.LINEAR, "network": arms.NETWORK, "text": arms.TEXT}[experiment]
    for name, arm in used.items():
        searched = heads[name.removeprefix("harmonic, ") if experiment == "network" else name][0]
        same = (arm.head.form, arm.head.distance, arm.head.power)
        assert same == (searched.form, searched.distance, searched.power), name


def test_no_choice_of_addition_lies_at_the_edge_of_rates_beyond_which_more_was_to_be_had() -> None:
    """The largest rate tried is chosen for no head: the search reached past the best."""
    assert all(lr < max(choose.RATES) for _, lr, _ in choose.chosen(kept(), "addition").values())
