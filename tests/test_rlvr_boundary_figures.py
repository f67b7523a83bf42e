"""Every figure of the pass@k boundary chapter can be drawn from any record, small, partial or with sweeps."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Canvas

from evolm import plotting
from evolm.findings.rlvr_boundary import FINDING, estimands
from evolm.findings.rlvr_boundary import figures_frontier as frontiers
from evolm.findings.rlvr_boundary import figures_methods as methods
from evolm.findings.rlvr_boundary import figures_passk as curves
from evolm.findings.rlvr_boundary import figures_phase as phase
from evolm.findings.rlvr_boundary import figures_problems as problems
from evolm.findings.rlvr_boundary.arms import control_arms, main_arms, sweep_arms
from evolm.findings.rlvr_boundary.experiment import _checkpoints
from evolm.findings.rlvr_boundary.figure_style import bayes, known_share, look, world
from evolm.fragments import Fragment
from evolm.instruments.passk import measure_booleans
from evolm.lm.passk import pass_at_k_from_p
from evolm.plotting import Figure, theme

Tables = dict[str, pd.DataFrame]
FIGURES: tuple[Callable[[Tables, Any], Figure | Fragment], ...] = (
    curves.passk_curves, curves.explorer, methods.usage, methods.rare_method, problems.histograms,
    problems.solvable_sets, problems.perplexities, frontiers.frontier,
    frontiers.over_training, phase.phase_lines, phase.phase_map, phase.algorithms, phase.open_models,
)  # fmt: skip
RECORDS: dict[str, dict[str, Any]] = {
    "one seed, two cues, no distillation": {"seeds": 1, "cues": (0.5, 1.0), "distil_steps": 0, "checkpoints": (20,)},
    "no checkpoints, no temperatures": {"checkpoints": (), "temperatures": (), "rl_temperatures": ()},
    "one cue": {"cues": (0.5,), "seeds": 2},
    "three seeds, five cues, sweeps": {
        "seeds": 3,
        "cues": (0.0, 0.3, 0.5, 0.8, 1.0),
        "algorithms": ("grpo", "remax"),
        "kl_coefs": (0.01,),
        "entropy_coefs": (-0.003,),
        "group_sizes": (8,),
        "rft_rounds": (1, 4, 16),
    },
}


def a_record(**overrides: Any) -> tuple[Any, Tables]:
    """Parameters and tables as the experiment lays them out, with made-up numbers."""
    params: Any = FINDING.resolve("cpu", **{"seeds": 2, "problems": 20, "rare_problems": 5, "models": (), **overrides})
    rng = np.random.default_rng(0)
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in ("success", "usage", "perplexity", "levels")}
    places = pd.DataFrame({"set": ["test"] * 20 + ["rare"] * 5, "problem": [*range(20), *range(5)]})
    needed = np.r_[np.arange(20) % world().methods, [5] * 5]
    for seed, cue in product(params.seed_list, params.cues):
        labels = {"seed": seed, "cue": cue}
        routed = bayes(cue).route[needed] == needed
        chance: dict[str, Any] = {
            "answer_guess": 1e-8,
            "blind_search": 1e-5,
            "random_routing": np.where(needed == 6, 0, 1 / 6),
        }
        tables["levels"].append(places.assign(method=needed, cue_right=True, bayes=routed, **chance, **labels))
        arms = main_arms(params) + ((control_arms(params) + sweep_arms(params)) if cue == params.core_cue else [])
        cooled = [("base", 0, t) for t in {1.0, *params.temperatures}]
        runs = cooled + [("named", 0, t) for t in {1.0, *params.temperatures[:1]}]
        runs += [(arm.name, params.rl_steps, 1.0) for arm in arms]
        runs += [(arm.name, step, 1.0) for arm in arms for step in sorted(_checkpoints(arm, params))]
        runs += [("rl", params.rl_steps, temperature) for temperature in params.rl_temperatures]
        for arm, step, temperature in runs:
            p = np.where(needed == 6, 0, rng.beta(0.3, 0.5, len(places))).astype(np.float32)
            where = labels | {"arm": arm, "step": step}
            tables["success"].append(places.assign(p=p, temperature=temperature, **where))
            if temperature == 1 and arm != "named":
                shares = rng.dirichlet(np.ones(world().methods), size=len(set(needed)))
                pairs = [(m, used, shares[m, used]) for m in sorted(set(needed)) for used in range(shares.shape[1])]
                tables["usage"].append(pd.DataFrame(pairs, columns=["needed", "used", "probability"]).assign(**where))
        for arm, temperature in [("base", 1.0), ("base", 0.6), ("rl", 1.0), ("rft", 1.0)]:
            found = {"problem": range(20), "correct": rng.random(20) < 0.4, "under_base": 1 + rng.gamma(1.0, size=20)}
            where = labels | {"arm": arm, "temperature": temperature}
            tables["perplexity"].append(pd.DataFrame(found).assign(**where))
    return params, {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


def open_models_table() -> pd.DataFrame:
    """Rows as two units leave them: the instrument on one model each, so that the guesses are there twice."""
    rng = np.random.default_rng(0)
    drawn = {name: rng.random((12, 16)) < p for name, p in (("ours/tiny", 0.1), ("large", 0.6))}
    answers = ["3", "3", "5", *map(str, range(9))]
    parts = [measure_booleans({name: right}, answers=answers, draws=20) for name, right in drawn.items()]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One drawing, wide and light, instead of four that are written out."""

    def pictures(draw: Any, name: str, alt: str, size: tuple[float, float], panels: int, narrow_height: float) -> str:
        with theme("light"):
            axes = list(Canvas(figsize=size).subplots(1, panels, squeeze=False).flat)
            draw(axes[0] if panels == 1 else axes)
        return name

    monkeypatch.setattr(plotting, "_pictures", pictures)


@pytest.mark.parametrize("record", RECORDS)
def test_every_figure_copes_with_absent_arms_cues_and_tables(record: str, drawn_once: None) -> None:
    params, tables = a_record(**RECORDS[record])
    if params.kl_coefs:
        tables["open_models"] = open_models_table()
    names = []
    for draw in FIGURES:
        shown = draw(tables, params)
        text = shown.text if isinstance(shown, Fragment) else shown.alt
        assert len(text) > 60, draw.__name__
        assert "nan" not in re.findall(r"\w+", text), draw.__name__
        if isinstance(shown, Figure):
            names.append(shown.name)
            caption = re.search(r"<figcaption>(.*)</figcaption>", shown.html)
            assert caption is not None
            assert len(caption[1]) > 60, draw.__name__
    assert len(set(names)) == len(names)
    assert all(name.startswith("rlvr-boundary-") for name in names)


def test_all_four_drawings_of_a_figure_are_in_it() -> None:
    params, tables = a_record(seeds=1)
    html = phase.phase_lines(tables, params).html
    assert html.count("data:image/svg+xml") + html.count("data:image/png") == 4


def test_a_run_without_a_map_or_variants_says_so_in_a_sentence(drawn_once: None) -> None:
    params, tables = a_record(cues=(0.5, 1.0), seeds=1)
    for draw in (phase.phase_map, phase.algorithms, phase.open_models):
        assert isinstance(draw(tables, params), Fragment)
    assert phase.phase(tables, params).name == "rlvr-boundary-phase-lines"


def test_curves_cross_where_the_base_leads_by_the_margin_and_ties_do_not_count() -> None:
    ks = estimands.KS
    base = pd.DataFrame({"k": ks, "arm": "base", "value": np.linspace(0.1, 0.9, len(ks))})

    def against(tuned: Any) -> int | None:
        return curves.crossing(pd.concat([base, base.assign(arm="rl", value=tuned)]))

    flat = np.full(len(ks), 0.5)
    assert against(flat) == next(k for k, p in zip(ks, base["value"], strict=True) if p > 0.505)
    assert against(np.maximum(flat, base["value"])) is None  # equal from where they meet
    assert against(base["value"] - 0.05) is None  # behind at every k: nothing to be overtaken
    assert curves.crossing(base) is None


def test_chance_curves_are_means_over_test_problems() -> None:
    params, tables = a_record(seeds=1)
    found = curves.chance_curves(tables, params.core_cue, [1, 64])
    known = known_share(tables, params.core_cue)
    np.testing.assert_allclose(found["random_routing"], known * pass_at_k_from_p(1 / 6, [1, 64]))


@pytest.mark.parametrize("bar", ["needed", "base", "rl", "bayes"])
def test_what_is_announced_adds_up_to_every_sample(bar: str) -> None:
    params, tables = a_record()
    for cue in params.cues:
        shares = methods.announced(tables, bar, cue)
        assert shares is not None
        assert shares.to_numpy().sum() == pytest.approx(1)
        if bar == "bayes":
            assert shares["right"].sum() == pytest.approx(estimands.bayes_level(tables, cue).mean())


def test_the_limit_of_the_phase_diagram_is_best_routing_less_the_base() -> None:
    params, tables = a_record(seeds=1)
    rows = phase.change_of_coverage(tables, params)
    base = rows[rows["cue"] == 1.0]["base"].iloc[0]
    assert phase.limit(rows)[-1] == pytest.approx(1 - world().prior[-1] - base)


def test_every_arm_that_an_experiment_can_have_has_a_look_of_its_own() -> None:
    params: Any = FINDING.resolve("gpu")
    arms = ["base", "named", *(arm.name for arm in main_arms(params) + control_arms(params) + sweep_arms(params))]
    assert len({look(arm).label for arm in arms}) == len(arms)
    assert len({look(arm).short for arm in arms}) == len(arms)
