"""Figures of data, images and text of the harmonic-loss chapter: every one copes with what a record lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import evolm.finding
from evolm.findings.harmonic_loss import (
    figure_style,
    figures_data,
    figures_distances,
    figures_images,
    figures_map,
    figures_text,
    map_cells,
)
from evolm.fragments import Fragment
from evolm.plotting import Figure

HEADS = ("cross-entropy", "normalised", "squared distance", "distance", "harmonic")
LAYER = ("cross-entropy", "squared distance", "harmonic", "harmonic, authors'")
NETWORK = ("cross-entropy", "normalised", *(f"harmonic, {name}" for name in ("euclidean", "cosine", "canberra")))
FIGURES = (
    figures_data.data_shares,
    figures_data.leak,
    figures_data.tasks,
    figures_map.exponent_map,
    figures_map.exponent_costs,
    figures_images.centres,
    figures_images.hulls,
    figures_images.layer_norms,
    figures_distances.distances,
    figures_text.text_curves,
)
#: Figures of one seed always, or that count runs.
COUNTED = (figures_images.centres, figures_map.exponent_map, figures_map.exponent_costs)
PARAMS: Any = evolm.finding.get("harmonic-loss").resolve("cpu", first_seed=20, seeds=2)
pytestmark = pytest.mark.usefixtures("drawn_once")


def _models(seeds: tuple[int, ...]) -> pd.DataFrame:
    """A row per program, head and seed: accuracy 0.9 for harmonic loss and 0.5 for the others."""
    programs = [("addition", "addition", "clean", 0.8), ("task", "lattice", "clean", 0.8)]
    programs += [("data", "addition", "clean", share) for share in (0.4, 0.6)]
    programs += [("authors", "addition", "clean", 0.5), ("authors", "addition", "clean", 0.8)]
    programs += [("split", "addition", "leaky", 0.8), ("map", "addition", "clean", 0.4)]
    rows = []
    for group, task, split, share in programs:
        arms = [f"{head}, authors'" if group in ("authors", "split") else head for head in HEADS]
        if group == "map":
            arms = [f"harmonic, n = {n}{rest}" for n in (2, 16) for rest in ("", ", manhattan")]
        for arm in arms:
            right = 0.96 if "n = 16" in arm else 0.9 if arm.startswith("harmonic") else 0.5
            times = {"generalised_epoch": 200 if right < 0.9 else 30, "generalised_seen": right >= 0.9}
            measured = {"test_accuracy": right, "unseen_accuracy": right - 0.3, "ev2": right / 2, **times}
            labels = {"group": group, "task": task, "split": split, "share": share, "arm": arm}
            rows += [{**labels, "seed": seed, **measured} for seed in seeds]
    return pd.DataFrame(rows)


def _tables(seeds: tuple[int, ...] = (20, 21)) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(0)

    def rows(arms: tuple[str, ...], **columns: Any) -> pd.DataFrame:
        return pd.concat([pd.DataFrame({"arm": arm, "seed": seed, **columns}) for arm in arms for seed in seeds])

    epochs = {"epoch": [1, 10, 250, 1000], "test_accuracy": [0.1, 0.4, 0.7, 1.0]}
    addition = {"group": "authors", "share": 0.8}
    layer: dict[str, Any] = {"images": "digits", "backbone": "linear"}
    ends = {"vector_norm_slope": [0.25], "test_accuracy": [0.9], "ev2": [0.5], "nc1": [0.4]}
    network = rows(NETWORK, images="digits", backbone="network", **ends)
    network.loc[network["arm"] == "harmonic, cosine", ["test_accuracy", "ev2"]] = [0.987, 0.654]
    grid = {"class": np.repeat(range(10), 64), "pixel": np.tile(range(64), 10), "value": rng.normal(size=640)}
    return {
        "models": _models(seeds),
        "curves": rows(tuple(f"{head}, authors'" for head in HEADS), **addition, **epochs),
        "vision": pd.concat([rows(LAYER, **layer, **ends), network]),
        "vision_curves": rows(LAYER, **layer, epoch=[1, 2, 4], vector_norm=[1.0, 2.0, 3.0]),
        "centres": rows(LAYER, images="digits", **grid),
        "hull": rows(LAYER, images="digits", **{"class": range(10), "relative": 0.8, "negative": 0.2}),
        "text": rows(tuple(figures_text.LOOKS), nats=[3.2], trigram=[3.5], unsteadiness=[0.1]),
        "text_training": rows(tuple(figures_text.LOOKS), step=[20, 40], loss=[5.0, 4.0], grad_norm=[1.0, 0.5]),
    }


@pytest.mark.parametrize("seeds", [(20,), (20, 21)])
@pytest.mark.parametrize("draw", FIGURES)
def test_a_whole_record_is_drawn(draw: Any, seeds: tuple[int, ...]) -> None:
    found = draw(_tables(seeds), PARAMS)
    assert isinstance(found, Figure)
    assert found.name.startswith("harmonic-loss-")
    if draw not in (
        figures_images.centres,
        figures_map.exponent_map,
        figures_map.exponent_costs,
    ):  # of one seed always; of counts of runs
        assert ("One seed" in found.html) == (len(seeds) == 1)
    assert "nan" not in found.alt + found.html.split("<figcaption>")[1]


@pytest.mark.parametrize("draw", FIGURES)
def test_a_record_without_the_tables_has_a_sentence(draw: Any) -> None:
    empty = {name: table.iloc[:0] for name, table in _tables().items()}
    assert isinstance(draw({}, PARAMS), Fragment)
    assert isinstance(draw(empty, PARAMS), Fragment)


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize("absent", ["cross-entropy", "harmonic"])
def test_an_arm_may_be_absent(draw: Any, absent: str) -> None:
    tables = {name: table[~table["arm"].str.fullmatch(f"{absent}(, authors')?")] for name, table in _tables().items()}
    found = draw(tables, PARAMS)
    assert isinstance(found, Figure)
    assert "nan" not in found.alt


def test_shares_need_no_runs_at_the_authors_settings() -> None:
    tables = _tables()
    rows = tables["models"]
    found = figures_data.data_shares({"models": rows[rows["group"] != "authors"]}, PARAMS)
    assert isinstance(found, Figure)
    assert "authors' settings" not in found.alt
    single = rows[(rows["group"] != "authors") | (rows["share"] == 0.8)]  # one share is no curve
    found = figures_data.data_shares({"models": single}, PARAMS)
    assert isinstance(found, Figure)
    assert "authors' settings" not in found.alt


def test_words_have_the_numbers_of_the_tables() -> None:
    tables = _tables()
    shares = figures_data.data_shares(tables, PARAMS)
    assert isinstance(shares, Figure)
    assert (
        "With chosen settings and 40 % of the pairs, accuracy at the end is: cross-entropy 50 % (0 of 2" in shares.alt
    )
    assert "harmonic 90 % (2 of 2 runs learnt it)" in shares.alt
    leak = figures_data.leak(tables, PARAMS)
    assert isinstance(leak, Figure)
    assert "harmonic 90 % and 60 %" in leak.alt
    # Read after as many epochs as the other split has, not at the end.
    assert "On the clean split: cross-entropy 70 %" in leak.html


def test_the_map_names_the_best_exponent_of_each_distance() -> None:
    found = figures_map.exponent_map(_tables(), PARAMS)
    assert isinstance(found, Figure)
    assert "manhattan: at 40 % of the pairs n = 16 is best with 96 % (2 of 2 runs learnt)" in found.alt
    cells = map_cells.mapped(_tables())
    first = cells[(cells["distance"] == "euclidean") & (cells["exponent"] == 2)]
    assert (first[["learnt", "runs"]].to_numpy() == [[0, 2]]).all()


def test_the_map_of_costs_has_medians_of_censored_times_and_planes_of_what_was_learnt() -> None:
    rows = _tables()["models"].reset_index(drop=True)
    best = (rows["group"] == "map") & (rows["arm"] == "harmonic, n = 16")
    rows.loc[best & (rows["seed"] == 21), ["generalised_epoch", "generalised_seen"]] = [200, False]
    rows.loc[rows["group"].isin(["map"]) & (rows["arm"] == "harmonic, n = 2"), "generalised_seen"] = False
    cells = map_cells.mapped({"models": rows}).set_index(["distance", "exponent"])
    assert cells.loc[("euclidean", 16.0), "epoch"] == 30  # half of two runs are there
    assert cells.loc[("euclidean", 2.0), "epoch"] == np.inf
    assert cells.loc[("euclidean", 16.0), "ev2"] == pytest.approx(0.48)
    assert cells["ev2"].isna().loc[("euclidean", 2.0)]
    found = figures_map.exponent_costs({"models": rows}, PARAMS)
    assert isinstance(found, Figure)
    assert (
        "euclidean: at 40 % of the pairs n = 16 is fastest with 30 epochs, and n = 16 flattest with 48 %" in found.alt
    )
    none = {"models": rows.assign(generalised_seen=False)}
    assert "no exponent brings half of the runs there" in getattr(figures_map.exponent_costs(none, PARAMS), "alt", "")


def test_heads_as_chosen_stand_below_the_exponents_at_the_shares_of_the_map() -> None:
    rows = _tables()["models"].reset_index(drop=True)
    rows = pd.concat([rows, rows[rows["group"] == "map"].assign(share=0.6, test_accuracy=0.2)])
    rows.loc[(rows["arm"] == "distance") & (rows["share"] == 0.6), "test_accuracy"] = 0.7
    found, others = map_cells.mapped({"models": rows}), map_cells.beside({"models": rows})
    plan = figures_map.layout(found, others, PARAMS)
    assert (plan.exponents, plan.others, plan.shares) == (
        [16.0, 2.0], ["distance", "squared distance", "normalised", "cross-entropy"], [0.4, 0.6]
    )  # fmt: skip
    grid = figures_map._grid(found[found["distance"] == "manhattan"], others, "accuracy", plan)
    np.testing.assert_allclose(grid, [[0.96, 0.2], [0.9, 0.2], [0.5, 0.7], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])


def test_distances_name_the_best_beside_cross_entropy() -> None:
    found = figures_distances.distances(_tables(), PARAMS)
    assert isinstance(found, Figure)
    assert "Highest accuracy: cosine, 0.987 (cross-entropy 0.900)" in found.alt
    assert "Most variance in two dimensions: cosine, 0.65 (cross-entropy 0.50)" in found.alt


def test_a_caption_counts_the_seeds_of_each_panel() -> None:
    few, many = pd.DataFrame({"seed": [1, 1, 2]}), pd.DataFrame({"seed": range(7)})
    assert figure_style.seeds_in(few, few) == "Means over 2 seeds; bands: their middle half."
    assert figure_style.seeds_in(few, many).startswith("Means over 2 and 7 seeds, panel by panel;")
    assert figure_style.seeds_in(few.iloc[:1]) == "One seed."


def test_shares_too_close_for_their_names_have_every_other_one() -> None:
    from matplotlib.figure import Figure as Canvas

    axes = Canvas().subplots()
    figures_data._share_axis(axes, [0.8, 0.35, 0.4, 0.45])
    assert list(axes.get_xticks()) == [0.35, 0.4, 0.45, 0.8]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["35 %", "", "45 %", "80 %"]


def test_every_distance_that_is_trained_has_its_operations() -> None:
    from evolm.findings.harmonic_loss.arms import NETWORK as TRAINED

    assert {name.removeprefix("harmonic, ") for name in TRAINED} == set(figures_distances.OPERATIONS)


def test_class_vectors_keep_their_places_and_signs() -> None:
    rows = pd.DataFrame(
        {"class": np.repeat([0, 1], 4), "pixel": np.tile(range(4), 2), "value": [0, 1, 2, 3, -4, 0, 0, 0]}
    )
    first, second = figures_images._pictures(rows)
    np.testing.assert_allclose(first, [[0, 0.25], [0.5, 0.75]])
    np.testing.assert_allclose(second, [[-1, 0], [0, 0]])
    whole = figures_images._mosaic([[first, second]])
    assert whole.shape == (2, 5)
    assert np.isnan(whole[:, 2]).all()
    np.testing.assert_allclose(whole[:, 3:], second)
