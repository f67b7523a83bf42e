"""Every figure of the one-shot chapter can be drawn from any record, and shows the numbers that it should."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Canvas

from evolm import panels, plotting
from evolm.findings.one_shot import arms, curves, figure_style, published
from evolm.findings.one_shot import figures_ablation as ablations
from evolm.findings.one_shot import figures_alignment as alignments
from evolm.findings.one_shot import figures_controls as controls
from evolm.findings.one_shot import figures_inside as insides
from evolm.findings.one_shot import figures_training as trainings
from evolm.findings.one_shot.examples import ORDER
from evolm.findings.one_shot.parameters import Base
from evolm.fragments import Fragment
from evolm.plotting import Figure, theme

Tables = dict[str, pd.DataFrame]
FIGURES: tuple[Callable[[Tables, Any], Figure | Fragment], ...] = (
    trainings.training_curves, trainings.post_saturation, controls.controls, alignments.spread, alignments.alignment,
    alignments.transfer_matrix, insides.inside, insides.mechanism, ablations.ablation,
)  # fmt: skip
CONTROLS = ("format", "format-full", "random", "imitate", "imitate-any", "worked", "zero")
#: Where held-out pass@1 goes: on the base `latent`, from .27.
ENDS = {
    "one": 0.71, "full": 0.81, "format": 0.3, "format-full": 0.31, "random": 0.26, "imitate": 0.45, "imitate-any": 0.28,
    "worked": 0.6, "zero": 0.27, "one-updates": 0.66, "random-updates": 0.22, "one-long": 0.74, "one-other": 0.28,
    "one-other-updates": 0.35, "one-no-std": 0.68, "one-entropy": 0.72, "entropy-only": 0.3, "decay-only": 0.27,
    "one-decay": 0.7, "one-kl": 0.64, "near": 0.35, "guessable": 0.2, "unguessable": 0.27, "ranked": 0.7,
}  # fmt: skip
START, FORM = 0.27, 0.72
FIRST = [arm.name for arm in arms.FIRST]
#: Arms whose logs hold no reward.
SUPERVISED = ("imitate", "imitate-any", "worked")
#: Groups of held-out problems: the method that they need, their kind.
GROUPS = [*product(range(curves.ABSENT), ("switch", "either")), (curves.ABSENT, "unknown")]


@dataclass(frozen=True)
class Scale:
    """The parameters that figures read."""

    seeds: int = 2
    rl_steps: int = 150
    every: int = 15
    examples: int = 10
    control_examples: int = 3
    saturation: float = 0.9
    optimiser: str = "sgd"

    @property
    def seed_list(self) -> list[int]:
        return list(range(self.seeds))


RECORDS: dict[str, tuple[Scale, dict[str, Any]]] = {
    "one seed": (Scale(seeds=1), {}),
    "five seeds": (Scale(seeds=5, examples=4), {}),
    "two examples, two checkpoints, no controls": (
        Scale(seeds=2, rl_steps=24, every=12, examples=2, control_examples=1),
        {"arms": ("one", "full")},
    ),
    "one example, nothing saturates, latent only": (
        Scale(seeds=1, examples=1, control_examples=1, saturation=0.999),
        {"bases": ("latent",)},
    ),
    "variants": (Scale(seeds=2, examples=4), {"arms": tuple(ENDS)}),
}


def a_record(
    params: Scale,
    arms: tuple[str, ...] = ("one", "full", *CONTROLS),
    bases: tuple[str, ...] = tuple(figure_style.BASES),
) -> Tables:
    """Tables as the experiment lays them out, with made-up numbers."""
    rng = np.random.default_rng(0)
    examples = some_examples(params, "ranked" in arms, rng)
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in ("accuracy", "inside", "training", "saturation")}
    levels = []
    for seed, base in product(params.seed_list, bases):
        offset = 0.02 * rng.normal()
        start = (START if base != "absent" else 0.25) + offset
        measure(parts, params, rng, {"seed": seed, "base": base, "arm": "base", "example": -1}, 0, start, 0.25)
        known = {
            "forced careful": 0.78,
            "cooled": 0.275,
            "known methods": 0.91,
            "blind search": 0.001,
            "answer guess": 0.2,
        }
        levels += [(seed, base, name, value + offset) for name, value in known.items()]
        for arm in arms if base == "latent" else [arm for arm in arms if arm in ("one", "full")]:
            for example in indices(params, arm)[: None if base == "latent" else params.control_examples]:
                where = {"seed": seed, "base": base, "arm": arm, "example": example}
                telling = example < 0 or kind_of(example) == "switch"
                gains = {
                    "latent": 1.0,
                    "scattered": 0.35 if arm == "full" else 0.08,
                    "absent": 0.02,
                    "noisy": 0.1,
                    "low-cue": 0.6,
                }[base] * telling
                end = start + gains * (ENDS[arm] - START) * (1 + 0.1 * rng.normal())
                train(parts, params, rng, where, end, start)
    tables = {name: pd.concat(found, ignore_index=True) for name, found in parts.items()}
    tables["levels"] = pd.DataFrame(levels, columns=["seed", "base", "quantity", "value"])
    return tables | {"examples": examples}


def some_examples(params: Scale, ranked: bool, rng: np.random.Generator) -> pd.DataFrame:
    index = [*range(params.examples), *(indices(params, "ranked") if ranked else [])]
    rows = pd.DataFrame(list(product(params.seed_list, index)), columns=["seed", "example"])
    kind = rows["example"].map(kind_of)
    either = kind == "either"
    p = np.where(either, rng.uniform(0.5, 0.8, len(rows)), rng.uniform(0.0005, 0.25, len(rows)))
    p[kind == "unknown"] = 1e-5
    chosen = np.where(rows["example"] >= 100, "ranked", "draw")
    score = np.where(kind == "switch", rng.uniform(0.02, 0.15, len(rows)), rng.uniform(0, 0.03, len(rows)))
    needed = np.where(kind == "unknown", curves.ABSENT, rng.integers(0, 6, len(rows)))
    return rows.assign(
        base="latent", chosen=chosen, needed=needed, kind=kind, base_p=p, base_greedy=either.astype(float), score=score,
        mean=0.5,
    )  # fmt: skip


def kind_of(example: int) -> str:
    """As the examples are drawn; those that are ranked are all worth their place."""
    return "switch" if example >= 100 else ORDER[example % len(ORDER)]


def indices(params: Scale, arm: str) -> list[int]:
    if arm in ("full", "format-full"):
        return [-1]
    if arm in FIRST:
        return [0]
    if arm == "ranked":
        return [100 + i for i in range(params.control_examples)]
    return list(range(params.examples if arm == "one" else params.control_examples))


def train(
    parts: dict[str, list[pd.DataFrame]], params: Scale, rng: np.random.Generator, where: dict[str, Any], end: float,
    start: float,
) -> None:  # fmt: skip
    """One run: it turns from `start` to `end` at a step of its own."""
    turn = params.rl_steps * rng.uniform(0.2, 0.5)

    def at(step: Any, low: float, high: float) -> Any:
        return low + (high - low) / (1 + np.exp(-(step - turn) / (0.05 * params.rl_steps)))

    steps = params.rl_steps * (arms.LONGER if where["arm"] == "one-long" else 1)
    for step in range(params.every, steps + 1, params.every):
        careful = float(at(step, 0.25, 0.25 + (end - start) * 1.2))
        value = float(at(step, start, end)) + 0.01 * rng.normal()
        measure(parts, params, rng, where, step, value, careful)
    if where["arm"] in SUPERVISED:
        return
    logged, coin = np.arange(5, steps + 1, 5), where["arm"].startswith("random")
    top = 0.5 if coin else 0.2 if where["arm"] == "zero" else 0.98
    reward = at(logged, 0.5 if coin else 0.2, top) + 0.01 * rng.normal(size=len(logged))
    parts["training"].append(pd.DataFrame({"step": logged, "reward": reward, "entropy": 0.5}).assign(**where))
    ten = pd.Series(reward, index=logged).rolling(2).mean()
    reached = ten.index[ten >= params.saturation]
    first = float(reached[0]) if len(reached) else np.nan
    reaching = [{**where, "threshold": threshold, "step": first} for threshold in (params.saturation, 0.5)]
    parts["saturation"].append(pd.DataFrame(reaching))


def measure(
    parts: dict[str, list[pd.DataFrame]], params: Scale, rng: np.random.Generator, where: dict[str, Any], step: int,
    greedy: float, careful: float,
) -> None:  # fmt: skip
    ends = step in (0, params.rl_steps)
    rows = []
    for split, (needed, kind) in product(("validation", "test"), GROUPS):
        shift = (0.2 if kind == "either" else -0.1) + 0.02 * rng.normal()
        value: float = 0.0 if kind == "unknown" else min(1.0, max(0.0, greedy / 0.9 + shift))
        more = 0.05 if where["base"] == "absent" else 0.3
        passes = [value, *(min(1.0, value * k**more) if ends else np.nan for k in (16, 256))]
        rows.append((split, needed, kind, 11 if kind == "either" else 30, value, *passes))
    columns = ["set", "needed", "kind", "problems", "greedy", "pass_at_1", "pass_at_16", "pass_at_256"]
    parts["accuracy"].append(pd.DataFrame(rows, columns=columns).assign(step=step, **where))
    entropy = 0.5 if step == 0 else 0.35 + 0.01 * rng.normal()
    form = 0.95 if where["arm"].startswith("format") and step else FORM
    inner = {"careful": careful, "right_style": 0.4 + greedy / 3, "well_formed": form, "entropy": entropy}
    parts["inside"].append(pd.DataFrame([{**where, "step": step, **inner}]))


@pytest.mark.parametrize("record", RECORDS)
def test_every_figure_copes_with_absent_arms_bases_and_variants(record: str, drawn_once: None) -> None:
    params, options = RECORDS[record]
    tables = a_record(params, **options)
    names = []
    for draw in FIGURES:
        shown = draw(tables, params)
        text = shown.text if isinstance(shown, Fragment) else shown.alt
        assert len(text) > 60, draw.__name__
        assert "nan" not in re.findall(r"\w+", shown.html), draw.__name__
        if isinstance(shown, Figure):
            names.append(shown.name)
            caption = re.search(r"<figcaption>(.*)</figcaption>", shown.html)
            assert caption is not None
            assert len(caption[1]) > 60, draw.__name__
    assert len(set(names)) == len(names)
    assert all(name.startswith("one-shot-") for name in names)


def test_all_four_drawings_of_a_figure_are_in_it() -> None:
    params = Scale(seeds=1, examples=2, control_examples=1)
    html = insides.inside(a_record(params), params).html
    assert html.count("data:image/svg+xml") + html.count("data:image/png") == 4


def test_a_run_without_variants_or_saturation_says_so_in_a_sentence(drawn_once: None) -> None:
    params, options = RECORDS["one example, nothing saturates, latent only"]
    tables = a_record(params, **options)
    for draw in (ablations.ablation, trainings.post_saturation):
        assert isinstance(draw(tables, params), Fragment)


# --- aggregations -----------------------------------------------------------------------------------------


def accuracies(*rows: tuple[Any, ...]) -> Tables:
    """The table `accuracy` from (arm, example, step, set, needed, problems, pass_at_1)."""
    columns = ["arm", "example", "step", "set", "needed", "problems", "pass_at_1"]
    table = pd.DataFrame(rows, columns=columns).assign(seed=0, base="latent", kind="switch")
    return {"accuracy": table.assign(greedy=table["pass_at_1"].where(table["step"].isin([0, 20])))}


PLANTED = accuracies(
    ("base", -1, 0, "test", 0, 30, 0.2), ("base", -1, 0, "test", 1, 10, 0.6),
    ("base", -1, 0, "validation", 0, 10, 0.2),
    ("one", 0, 10, "test", 0, 30, 0.5), ("one", 0, 10, "test", 1, 10, 0.7),
    ("one", 0, 20, "test", 0, 30, 0.4), ("one", 0, 20, "test", 1, 10, 0.8),
    ("one", 0, 10, "validation", 0, 10, 0.6), ("one", 0, 20, "validation", 0, 10, 0.6),
)  # fmt: skip


def test_heldout_weighs_groups_by_their_problems_and_leaves_out_what_was_not_measured() -> None:
    rows = curves.heldout(PLANTED, arm="one").set_index("step")["value"]
    assert rows.to_dict() == pytest.approx({10: (15 + 7) / 40, 20: (12 + 8) / 40})
    assert curves.heldout(PLANTED, "greedy", arm="one")["step"].tolist() == [20]
    assert curves.heldout(PLANTED, arm="one", needed=1)["value"].tolist() == [0.7, 0.8]
    assert curves.heldout(PLANTED, set="validation", arm="base")["value"].tolist() == [0.2]


def test_gain_is_over_the_base_on_the_same_problems() -> None:
    assert curves.gain(PLANTED, arm="one")["value"].to_numpy() == pytest.approx([22 / 40 - 0.3, 20 / 40 - 0.3])
    assert curves.gain(PLANTED, needed=0, step=20)["value"].tolist() == pytest.approx([0.2])
    assert curves.final(curves.gain(PLANTED))["step"].tolist() == [20]


def test_a_gain_without_its_base_is_refused() -> None:
    rows = PLANTED["accuracy"]
    with pytest.raises(ValueError, match="seed 0 has no pass_at_1 of the base 'latent'"):
        curves.gain({"accuracy": rows[rows["arm"] == "one"]})


def test_runs_start_from_their_base() -> None:
    rows = curves.from_base(curves.heldout(PLANTED))
    assert rows["step"].tolist() == [0, 10, 20]
    assert rows["value"].iloc[0] == pytest.approx(0.3)
    assert set(rows["arm"]) == {"one"}


def test_the_best_checkpoint_is_chosen_on_validation_and_is_the_first_of_equals() -> None:
    assert curves.best_checkpoint(PLANTED)[["arm", "step"]].to_numpy().tolist() == [["one", 10]]
    better = PLANTED["accuracy"].copy()
    better.loc[(better["set"] == "validation") & (better["step"] == 20), "pass_at_1"] = 0.61
    assert curves.best_checkpoint({"accuracy": better})["step"].tolist() == [20]


def test_the_training_reward_is_a_mean_of_ten_steps_of_the_same_run() -> None:
    run = pd.DataFrame({"step": [5, 10, 15], "reward": [0.0, 0.4, 0.8]}).assign(seed=0, base="latent", example=0)
    rows = curves.training_reward({"training": pd.concat([run.assign(arm="one"), run.assign(arm="full")])}, arm="one")
    assert rows[["step", "value"]].to_numpy() == pytest.approx(np.array([[10, 0.2], [15, 0.6]]))


@pytest.mark.parametrize(
    ("reached", "since", "change"),
    [(3.0, [0, 10], [0, -0.05]), (10.0, [0, 10], [0, -0.05]), (11.0, [], []), (21.0, [], [])],
)
def test_what_follows_saturation_is_counted_from_the_next_measurement(reached: float, since: Any, change: Any) -> None:
    row = {"seed": 0, "base": "latent", "arm": "one", "example": 0}
    steps = [{**row, "threshold": 0.95, "step": reached}, {**row, "threshold": 0.9, "step": 1.0}]
    rows = curves.after_saturation({**PLANTED, "saturation": pd.DataFrame(steps)}, 0.95, arm="one")
    assert rows["since"].tolist() == since
    assert rows["value"].tolist() == pytest.approx(change)


def test_transfer_pairs_the_example_with_every_method_of_the_test_problems() -> None:
    tables = PLANTED | {"examples": pd.DataFrame({"seed": [0], "example": [0], "needed": [1]})}
    rows = curves.transfer(tables, "latent").set_index(["trained", "tested"])["value"]
    assert rows.to_dict() == pytest.approx({(1, 0): 0.2, (1, 1): 0.2})


# --- plotted numbers --------------------------------------------------------------------------------------


def drawn(shown: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of the wide, light drawing of a figure."""
    kept: list[Any] = []

    def pictures(draw: Any, name: str, alt: str, size: tuple[float, float], panels: int, narrow_height: float) -> str:
        with theme("light"):
            kept.extend(Canvas(figsize=size).subplots(1, panels, squeeze=False).flat)
            draw(kept[0] if panels == 1 else kept)
        return name

    monkeypatch.setattr(plotting, "_pictures", pictures)
    shown()
    return kept


def test_the_rows_of_controls_are_means_over_examples_at_the_fixed_and_the_chosen_step() -> None:
    params = Scale(seeds=2, examples=4, control_examples=2)
    tables = a_record(params)
    rows = dict(controls.control_rows(tables))
    assert list(rows) == ["one", "one, same", "full", *CONTROLS, "cooled", "forced careful"]
    gains = curves.gain(tables, base="latent", arm="one", step=params.rl_steps)
    assert rows["one"]["fixed"].to_numpy() == pytest.approx(gains.groupby("seed")["value"].mean().to_numpy())
    same = gains[gains["example"] < 2].groupby("seed")["value"].mean()
    assert rows["one, same"]["fixed"].to_numpy() == pytest.approx(same.to_numpy())
    base = curves.heldout(tables, base="latent", arm="base").set_index("seed")["value"]
    forced = figure_style.level(tables, "forced careful") - base
    assert rows["forced careful"].set_index("seed")["fixed"].to_dict() == pytest.approx(forced.to_dict())


def test_the_marks_of_controls_lie_at_the_means(monkeypatch: pytest.MonkeyPatch) -> None:
    params = Scale(seeds=3, examples=3, control_examples=3)
    tables = a_record(params)
    here, there = drawn(lambda: controls.controls(tables, params), monkeypatch)
    rows = controls.control_rows(tables)
    large = [mark for mark in here.get_lines() if mark.get_markersize() == 8]
    assert [mark.get_xdata()[0] for mark in large] == pytest.approx([found["fixed"].mean() for _, found in rows])
    assert [label.get_text() for label in here.get_yticklabels()] == [figure_style.STYLE[arm].short for arm, _ in rows]
    paper = [x for mark in there.get_lines()[1:] for x in mark.get_xdata()]
    assert paper == pytest.approx([0.368, 0.376, 0.376, 0.294, 0.256, 0.29, 0.038])


def test_variants_are_compared_with_one_on_their_own_examples() -> None:
    params, options = RECORDS["variants"]
    tables = a_record(params, **options)
    rows = dict(ablations.variant_rows(tables))
    assert list(rows) == ["one", *ablations.VARIANTS]
    gains = curves.final(curves.gain(tables, base="latent", arm="one"))
    same = gains[gains["example"] < params.control_examples].groupby("seed")["value"].mean()
    assert rows["one"].set_index("seed")["fixed"].to_dict() == pytest.approx(same.to_dict())


def test_bases_are_compared_on_the_examples_that_all_of_them_have() -> None:
    params = Scale(seeds=1, examples=4, control_examples=2)
    rows = alignments.on_shared_examples(curves.gain(a_record(params), arm=["base", "one", "full"]))
    assert set(rows.loc[rows["arm"] == "one", "example"]) == {0, 1}
    assert set(rows.loc[rows["arm"] == "full", "example"]) == {-1}


def named(axes: Any, label: str) -> Any:
    """The one line with this label."""
    (found,) = [mark for mark in axes.get_lines() if mark.get_label() == label]
    return found


def test_examples_are_drawn_in_the_look_of_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    params = Scale(seeds=2)
    tables = a_record(params)
    gains = curves.final(curves.gain(tables, base="latent", arm="one"))
    spread = drawn(lambda: alignments.spread(tables, params), monkeypatch)
    held = drawn(lambda: trainings.training_curves(tables, params), monkeypatch)[1]
    for kind, shown in figure_style.KINDS.items():
        own = [example for example in range(params.examples) if kind_of(example) == kind]
        values = gains.loc[gains["example"].isin(own), "value"].to_numpy()
        for axes in spread:
            marks = named(axes, shown.label)
            assert marks.get_marker() == shown.marker
            assert sorted(marks.get_ydata()) == pytest.approx(sorted(values))
        with theme("light"):
            shade = plotting.colour(shown.shade)
        thin = [mark for mark in held.get_lines() if mark.get_linewidth() == 0.9 and mark.get_color() == shade]
        assert len(thin) == params.seeds * len(own), kind


#: Of two runs on telling examples one reaches the threshold at step 8, the other at 15; that on the third is not told.
LATE = accuracies(
    *[("base", -1, 0, "test", 0, 10, 0.2), ("full", -1, 10, "test", 0, 10, 0.1), ("full", -1, 30, "test", 0, 10, 0.9)],
    *[("one", 0, step, "test", 0, 10, value) for step, value in ((10, 0.3), (20, 0.4), (30, 0.5))],
    *[("one", 1, step, "test", 0, 10, value) for step, value in ((10, 0.2), (20, 0.5), (30, 0.3))],
    *[("one", 2, step, "test", 0, 10, value) for step, value in ((10, 0.1), (20, 0.1), (30, 0.9))],
    *[("format", 1, step, "test", 0, 10, value) for step, value in ((10, 0.9), (20, 0.2), (30, 0.25))],
    *[("one-long", 0, step, "test", 0, 10, value) for step, value in ((10, 0.3), (30, 0.4), (120, 0.7))],
)
REACHED = {("one", 0): 8.0, ("one", 1): 15.0, ("one", 2): 8.0, ("one-long", 0): 8.0, ("format", 1): 3.0}


def late_tables(*arms: str) -> Tables:
    rows = [
        {"seed": 0, "base": "latent", "arm": arm, "example": example, "threshold": 0.9, "step": step}
        for (arm, example), step in REACHED.items()
        if arm in arms
    ]
    examples = pd.DataFrame({"seed": 0, "example": [0, 1, 2], "kind": ["switch", "switch", "either"]})
    accuracy = LATE["accuracy"][LATE["accuracy"]["arm"].isin(["base", "full", *arms])]
    return {"accuracy": accuracy, "saturation": pd.DataFrame(rows), "examples": examples}


def test_saturated_runs_on_telling_examples_stand_beside_form_over_the_same_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables, params = late_tables("one", "format"), Scale(seeds=1, rl_steps=30, every=10)
    (axes,) = drawn(lambda: trainings.post_saturation(tables, params), monkeypatch)
    thin = [mark.get_xydata() for mark in axes.get_lines() if mark.get_linewidth() == 0.9]
    assert [run.ravel().tolist() for run in thin] == [
        pytest.approx([0, 0, 10, 0.1, 20, 0.2]),
        pytest.approx([0, 0, 10, -0.2]),
    ]
    mean, form = (axes.get_lines()[-1], named(axes, "control: reward for form, same steps"))
    assert mean.get_label() == figure_style.STYLE["one"].label
    assert mean.get_xydata() == pytest.approx(np.array([[0, 0], [10, -0.05], [20, 0.2]]))
    assert form.get_xydata() == pytest.approx(np.array([[0, 0], [10, 0.05]]))  # from step 20 on, as its example's run
    assert not [mark for mark in axes.get_lines() if mark.get_label() == figure_style.STYLE["full"].label]


def test_runs_of_four_times_the_steps_have_a_panel_that_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    tables, params = late_tables("one", "format", "one-long"), Scale(seeds=1, rl_steps=30, every=10)
    first, second = drawn(lambda: trainings.post_saturation(tables, params), monkeypatch)
    shown = figure_style.STYLE["one-long"]
    longer = named(second, shown.label)
    assert longer.get_xydata() == pytest.approx(np.array([[0, 0], [20, 0.1], [110, 0.4]]))
    thin = [mark for mark in second.get_lines() if mark.get_linewidth() == 0.9]
    assert [run.get_xydata()[-1].tolist() for run in thin] == [pytest.approx([110, 0.4])]
    assert longer.get_linestyle() != named(second, figure_style.STYLE["one"].label).get_linestyle()
    assert shown.label not in [mark.get_label() for mark in first.get_lines()]
    for axes in (first, second):
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        marks = np.concatenate([mark.get_xydata() for mark in axes.get_lines() if mark.get_label()[0] != "_"])
        assert (marks.min(0) >= [left, low]).all()
        assert (marks.max(0) <= [right, high]).all()
    assert first.get_xlim()[1] <= params.rl_steps


def test_without_a_saturated_run_on_a_telling_example_there_is_no_figure() -> None:
    tables = late_tables("one", "format")
    tables["examples"]["kind"] = "either"
    assert isinstance(trainings.post_saturation(tables, Scale(seeds=1, rl_steps=30)), Fragment)


def test_cells_of_the_matrix_hold_the_gain_in_points_and_missing_ones_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    params = Scale(seeds=1)
    tables = PLANTED | {"examples": pd.DataFrame({"seed": [0], "example": [0], "needed": [1]})}
    axes = drawn(lambda: alignments.transfer_matrix(tables, params), monkeypatch)[0]
    assert [(text.get_position(), text.get_text()) for text in axes.texts] == [((0.5, 1.5), "+20"), ((1.5, 1.5), "+20")]


def test_parts_start_where_the_one_before_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = pd.DataFrame({"part": ["form", "elicitation", "left"], "value": [0.1, 0.3, -0.02]})
    parts = parts.assign(low=parts["value"] - 0.01, high=parts["value"] + 0.01)
    axes = drawn(lambda: controls.decomposition(parts, Scale()), monkeypatch)[0]
    assert [bar.get_x() for bar in axes.patches] == pytest.approx([0, 0.1, 0.4])
    assert [text.get_text() for text in axes.texts] == ["+10", "+30", "−2"]


# --- looks and published numbers --------------------------------------------------------------------------


def test_every_arm_and_base_of_the_experiment_has_a_look_of_its_own() -> None:
    every = [arm.name for arm in (arms.ONE, arms.FULL, *arms.CONTROLS, *arms.FIRST, *arms.VARIANTS.values())]
    every += ["format-full", "ranked", "base"]
    assert set(every) <= set(figure_style.STYLE)
    assert {arm.name for arm in arms.VARIANTS.values()} | {"ranked"} == set(ablations.VARIANTS)
    looks = [figure_style.STYLE[arm] for arm in every]
    assert len({look.label for look in looks}) == len({look.short for look in looks}) == len(every)
    assert set(get_args(Base)) == set(figure_style.BASES)


def test_every_kind_of_example_has_a_look_of_its_own() -> None:
    kinds = figure_style.KINDS
    assert set(kinds) == set(ORDER)
    for column in zip(*kinds.values(), strict=True):
        assert len(set(column)) == len(kinds)


def test_controls_are_shown_on_the_examples_that_they_are_run_on() -> None:
    assert {arm.name for arm in arms.CONTROLS} == set(controls.SINGLE_CONTROLS)
    assert {arm.name for arm in arms.FIRST} == set(controls.FIRST_ONLY)
    every = {arm.name for arm in (arms.ONE, arms.FULL, arms.FORM_FULL, *arms.CONTROLS, *arms.FIRST)}
    assert set(controls.TRAINED) == every | {"one, same"}


def test_differences_are_written_in_points() -> None:
    assert [panels.in_points(value) for value in (0.274, -0.03, 0.004, -0.004)] == ["+27", "−3", "0", "0"]
    assert figure_style.points(0.274) == "+27 points"


def test_published_gains_are_over_the_published_base() -> None:
    assert published.gains(published.LOSS)["entropy-only"] == pytest.approx([0.274])
    assert set(published.LABELS) | set(published.LOSS) | set(published.MATH500) <= set(figure_style.STYLE)
