"""Every figure of the stability-gap chapter can be drawn from any record, and shows the numbers that it should."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Canvas

from evolm import panels, plotting
from evolm.findings.stability_gap import arms, curves, figure_style
from evolm.findings.stability_gap import figures_curves as over_time
from evolm.findings.stability_gap import figures_gradients as slopes
from evolm.findings.stability_gap import figures_map as settings
from evolm.findings.stability_gap.parameters import StabilityGapParams
from evolm.findings.stability_gap.probes import measured_steps
from evolm.fragments import Fragment
from evolm.intervals import seed_interval
from evolm.plotting import Figure, theme

Tables = dict[str, pd.DataFrame]
FIGURES: tuple[Callable[[Tables, Any], Figure | Fragment], ...] = (
    over_time.v_curves, over_time.old_and_new, settings.residual_map, settings.factorial, slopes.gradients,
)  # fmt: skip
#: Probe -> items of a half, accuracy of the base, where it ends.
PROBES = {
    "absent": (48, 1.0, 0.45), "repeated": (48, 1.0, 0.97), "new": (96, 0.09, 0.9), "general kept": (34, 1.0, 0.98),
    "general lost": (34, 1.0, 0.02), "sums": (200, 0.95, 0.3), "absent, stated": (48, 1.0, 0.43),
    "repeated, stated": (48, 1.0, 0.96), "general lost, stated": (34, 1.0, 0.1),
}  # fmt: skip
PARAMS = StabilityGapParams(
    seeds=3, steps=40, groups=("core", "factorial", "confounds"), residuals=(0.0, 0.005, 0.2), rates=(5e-4, 2e-3)
)


def a_record(params: StabilityGapParams, only: tuple[str, ...] | None = None) -> Tables:
    """Tables as the experiment lays them out, with made-up numbers."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[dict[str, Any]]] = {"curve": [], "losses": [], "gradients": [], "filter": []}
    for seed in params.seed_list:
        for kind, corpus, chosen in (("clean", 0.5, 0.8), ("junk", 0.35, 0.0), ("wrong", 0.15, 0.2)):
            rows["filter"].append({"seed": seed, "kind": kind, "corpus": corpus, "chosen": chosen})
        for number, (name, arm) in enumerate(arms.arms_of(params).items()):
            if only is None or name in only:
                steps = [0, *measured_steps(round(params.steps * arm.share), 0.15)]
                for step in steps:
                    measure(rows, {"seed": seed, "arm": name, "step": step}, params.steps, 0.02 * number, rng)
    return {name: pd.DataFrame(found) for name, found in rows.items() if found}


def measure(
    rows: dict[str, list[dict[str, Any]]], where: dict[str, Any], steps: int, shift: float, rng: np.random.Generator
) -> None:
    done = np.log1p(where["step"]) / np.log1p(steps)
    for probe, (items, start, end) in PROBES.items():
        for half in (0, 1):
            value = start + done * (end - start) - shift * done * (1 - done) + 0.02 * rng.normal() * (done > 0)
            scores = {"accuracy": float(np.clip(value, 0, 1)), "valid": 1 - 0.1 * done, "p": 0.5}
            rows["curve"].append({**where, "probe": probe, "half": half, "items": items, **scores})
    for text, start in (("general", 1.1), ("medical", 2.0)):
        rows["losses"].append({**where, "text": text, "nats": start + shift * done})
    norms = {"stability": 0.2 + 2 * done, "plasticity": 1.2 - 0.5 * done, "cosine": 0.3 * done - 0.05 + shift / 10}
    rows["gradients"].append({**where, **norms})


RECORDS: dict[str, tuple[StabilityGapParams, tuple[str, ...] | None]] = {
    "everything, three seeds": (PARAMS, None),
    "core, one seed": (StabilityGapParams(seeds=1, steps=40), None),
    "everything, one seed": (PARAMS.model_copy(update={"seeds": 1}), None),
    "baseline alone": (StabilityGapParams(seeds=2, steps=20, warmup=2), ("baseline",)),
    "without the baseline": (PARAMS, ("null", "replay", "all, 40 %")),
    "confounds alone": (PARAMS, tuple(arms.CONFOUNDS)),
    "some of the map": (PARAMS, ("baseline", "residual 0, rate 0.0005", "residual 0.2, rate 0.002")),
}


@pytest.mark.parametrize("record", RECORDS)
def test_every_figure_copes_with_absent_arms(record: str, drawn_once: None) -> None:
    params, only = RECORDS[record]
    tables = a_record(params, only)
    names = []
    for draw in FIGURES:
        shown = draw(tables, params)
        text = shown.text if isinstance(shown, Fragment) else shown.alt
        assert len(text) > 60, draw.__name__
        assert "nan" not in re.findall(r"\w+", shown.html), draw.__name__
        if isinstance(shown, Figure):
            names.append(shown.name)
    assert len(set(names)) == len(names)
    assert all(name.startswith("stability-gap-") for name in names)
    if record == "everything, three seeds":
        assert len(names) == len(FIGURES)


def test_all_four_drawings_of_a_figure_are_in_it() -> None:
    params = RECORDS["core, one seed"][0]
    shown = over_time.v_curves(a_record(params), params)
    assert isinstance(shown, Figure)
    assert shown.html.count("data:image/svg+xml") + shown.html.count("data:image/png") == 4


def test_a_record_without_the_arms_says_so_in_a_sentence() -> None:
    params, only = RECORDS["confounds alone"]
    tables = a_record(params, only)
    for draw in FIGURES:
        assert isinstance(draw(tables, params), Fragment), draw.__name__
    core = RECORDS["core, one seed"][0]
    said = settings.factorial(a_record(core), core)
    assert isinstance(said, Fragment)
    assert "lacks quality, epochs, mix, epochs + quality, quality + mix and epochs + mix." in said.text
    assert "no arms that vary" in getattr(settings.residual_map(a_record(core), core), "text", "")


def test_a_record_whose_seeds_all_lack_a_corner_says_so() -> None:
    tables = a_record(PARAMS)
    rows = tables["curve"]
    for seed, arm in zip(PARAMS.seed_list, ("quality", "mix", "all"), strict=True):
        rows = rows[(rows["seed"] != seed) | (rows["arm"] != arm)]
    said = settings.factorial({**tables, "curve": rows}, PARAMS)
    assert "no seed with all of them" in getattr(said, "text", "")


# --- numbers against hand computation ---------------------------------------------------------------------


def runs(values: dict[str, list[float]], probe: str = "absent", **more: Any) -> pd.DataFrame:
    """The table `curve` of runs that are measured at steps 0, 1, 2 ..., both halves alike."""
    rows = [
        {
            "seed": 0,
            "arm": arm,
            "step": step,
            "probe": probe,
            "half": half,
            "items": 10,
            "accuracy": value,
            "valid": 1.0,
        }
        for arm, run in values.items()
        for step, value in enumerate(run)
        for half in (0, 1)
    ]
    return pd.DataFrame(rows).assign(**more)


def test_effects_are_differences_of_means_over_corners() -> None:
    corners = dict(zip(settings.CORNERS, (1.0, 4.0, 2.0, 9.0, 7.0, 20.0, 5.0, 30.0), strict=True))
    rows = pd.DataFrame([{"seed": 0, "arm": arm, "value": value} for arm, value in corners.items()])
    rows = pd.concat([rows, rows[:7].assign(seed=1)])  # the second seed lacks a corner
    found = settings.effects(rows)
    assert set(found["seed"]) == {0}
    by_hand = {
        "quality": (4 + 7 + 20 + 30 - 1 - 2 - 9 - 5) / 4,
        "epochs": (2 + 7 + 5 + 30 - 1 - 4 - 9 - 20) / 4,
        "mix": (9 + 20 + 5 + 30 - 1 - 4 - 2 - 7) / 4,
        "quality × epochs": (1 + 7 + 9 + 30 - 4 - 2 - 20 - 5) / 4,
        "quality × mix": (1 + 20 + 2 + 30 - 4 - 9 - 7 - 5) / 4,
        "epochs × mix": (1 + 5 + 4 + 30 - 2 - 9 - 7 - 20) / 4,
        "quality × epochs × mix": (4 + 2 + 9 + 30 - 1 - 7 - 20 - 5) / 4,
    }
    assert found.set_index("effect")["value"].to_dict() == pytest.approx(by_hand)


def test_an_interaction_is_half_of_what_an_effect_changes_by() -> None:
    values = {arm: 1.0 * (set(used) >= {"quality", "mix"}) for arm, used in settings.CORNERS.items()}
    rows = pd.DataFrame([{"seed": 0, "arm": arm, "value": value} for arm, value in values.items()])
    found = settings.effects(rows).set_index("effect")["value"]
    assert found["quality × mix"] == pytest.approx((1 - 0) / 2)
    assert found["quality"] == found["mix"] == pytest.approx(0.5)
    assert found["epochs"] == found["quality × epochs"] == found["quality × epochs × mix"] == pytest.approx(0)


def test_corners_of_the_factorial_are_the_arms_that_use_its_strategies() -> None:
    every = {**arms.CORE, **arms.FACTORIAL}
    for name, used in settings.CORNERS.items():
        arm = every[name]
        uses = {"quality": arm.quality, "epochs": arm.repeated, "mix": arm.general == "mix"}
        assert {factor for factor, on in uses.items() if on} == set(used), name
        assert arm.share == 1, name
    assert len(set(settings.CORNERS.values())) == 8


def test_the_map_reads_share_and_rate_from_the_names_that_the_experiment_gives() -> None:
    names = list(arms.swept(PARAMS))
    dips = pd.DataFrame({"seed": 0, "arm": [*names, "baseline"], "depth": [*range(len(names)), 99]})
    dips = pd.concat([dips, dips.assign(seed=1, depth=dips["depth"] + 2)])
    grid = settings.swept(dips, "depth")
    assert [float(share) for share in grid.index] == [*PARAMS.residuals, settings.NULL_SHARE]
    assert [float(rate) for rate in grid.columns] == sorted(PARAMS.rates)
    assert grid.to_numpy().ravel().tolist() == [1, 2, 3, 4, 5, 6, 7, 8]  # the mean of n and n + 2; the null shift last


def test_facts_are_means_over_items_of_one_arm() -> None:
    table = runs({"baseline": [1.0, 0.5], "null": [0.0, 0.0]})
    table.loc[table["half"] == 1, ["items", "accuracy"]] = [30, 0.1]
    found = over_time.facts({"curve": table})
    assert list(found) == ["absent"]
    assert found["absent"]["value"].tolist() == pytest.approx([0.55, 0.3])
    assert set(found["absent"]["arm"]) == {"baseline"}


# --- what is drawn and said -------------------------------------------------------------------------------


def drawn(shown: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], str]:
    """The axes of the wide, light drawing of a figure, and its caption."""
    kept: list[Any] = []

    def pictures(draw: Any, name: str, alt: str, size: tuple[float, float], panels: int, narrow_height: float) -> str:
        with theme("light"):
            kept.extend(Canvas(figsize=size).subplots(1, panels, squeeze=False).flat)
            draw(kept[0] if panels == 1 else kept)
        return name

    monkeypatch.setattr(plotting, "_pictures", pictures)
    caption = re.search("<figcaption>(.*)</figcaption>", shown().html)
    assert caption is not None
    return kept, html.unescape(caption[1])


def named(axes: Any, label: str) -> Any:
    """The one line with this label."""
    (found,) = [mark for mark in axes.get_lines() if mark.get_label() == label]
    return found


PLANTED = runs({"baseline": [0.8, 0.5, 0.6, 0.6, 0.9, 0.9, 0.9], "null": [0.8] * 7})


def test_curves_show_means_over_seeds_and_the_caption_their_fall_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    curve = pd.concat([PLANTED, PLANTED.assign(seed=1, accuracy=PLANTED["accuracy"] - 0.1)])
    losses = curve[curve["half"] == 0].assign(nats=[2.0, 2.4, 1.5, 1.4, 1.3, 1.2, 1.0] * 4)
    tables = {"curve": curve, "losses": pd.concat([losses.assign(text=text) for text in ("medical", "general")])}
    (above, left, _), caption = drawn(lambda: over_time.v_curves(tables, PARAMS), monkeypatch)
    line = named(above, figure_style.STYLE["baseline"].label)
    assert line.get_ydata() == pytest.approx([0.75, 0.45, 0.55, 0.55, 0.85, 0.85, 0.85])
    assert line.get_xdata()[0] == 0
    assert named(left, figure_style.STYLE["null"].label).get_ydata()[1] == pytest.approx(2.4)
    assert "Accuracy starts at 75 %. Fall and end: baseline 30 points, 85 %; null shift 0 points, 75 %;" in caption
    assert "2.00 at the start, 2.40 at its highest, 1.00 at the end." in caption
    assert "Means over 2 seeds" in caption
    place, below = above.get_subplotspec(), left.get_subplotspec()
    assert (place.rowspan.stop, place.colspan.stop - place.colspan.start) == (below.rowspan.start, 2)
    assert above.get_xlim()[0] < 0 < above.transData.transform((1, 0))[0] - above.transData.transform((0, 0))[0]


def test_questions_and_statements_of_the_same_facts_share_a_hue(monkeypatch: pytest.MonkeyPatch) -> None:
    curve = pd.concat([PLANTED, PLANTED.assign(probe="absent, stated", accuracy=PLANTED["accuracy"] - 0.2)])
    panels, caption = drawn(lambda: over_time.old_and_new({"curve": curve}, PARAMS), monkeypatch)
    dashed, solid, guess = panels[0].get_lines()
    assert list(guess.get_ydata()) == [1 / 16, 1 / 16]
    assert solid.get_label() == figure_style.FACTS["absent"].label
    assert solid.get_color() == dashed.get_color()
    assert (solid.get_ydata() - dashed.get_ydata()).tolist() == pytest.approx([0.2] * 7)
    assert "known and never read again 80 % to 90 %." in caption
    assert "in points: +20 (known and never read again)." in caption


def test_cells_of_the_map_hold_points_and_the_caption_their_range(monkeypatch: pytest.MonkeyPatch) -> None:
    falls = {
        "residual 0, rate 0.001": [0.8, 0.3, 0.3, 0.3, 0.3],
        "residual 0.1, rate 0.002": [0.8, 0.6, 0.7, 0.7, 0.7],
        "null, rate 0.002": [0.8, 0.75, 0.8, 0.8, 0.8],
    }
    panels, caption = drawn(lambda: settings.residual_map({"curve": runs(falls)}, PARAMS), monkeypatch)
    texts = [[(text.get_position(), text.get_text()) for text in axes.texts] for axes in panels]
    lost, regained = [((0.5, 0.5), "50"), ((1.5, 1.5), "20")], [((0.5, 0.5), "0"), ((1.5, 1.5), "10")]
    assert texts == [[*lost, ((1.5, 2.5), "5")], [*regained, ((1.5, 2.5), "5")], lost, regained]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["0 %", "10 %", "null shift"]
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["1", "2"]
    assert "5 points (null shift, rate 0.002) to 50 points (0 % general text, rate 0.001) are lost" in caption


def test_rows_of_the_factorial_hold_means_and_intervals_in_points(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = a_record(PARAMS)
    (left, right), caption = drawn(lambda: settings.factorial(tables, PARAMS), monkeypatch)
    for axes, read in ((left, curves.ends), (right, curves.areas)):
        rows = settings.effects(read(curves.accuracy(tables, curves.TASK)))
        means = rows.groupby("effect", sort=False)["value"].mean() * 100
        large = [mark.get_xdata()[0] for mark in axes.get_lines() if mark.get_markersize() == 7]
        assert large == pytest.approx(means.tolist())
        (low, _), (high, _) = axes.collections[0].get_segments()[0]
        values = 100 * rows.loc[rows["effect"] == "quality", "value"]
        assert (low, high) == pytest.approx(seed_interval(values))
    assert [label.get_text() for label in left.get_yticklabels()] == list(means.index)
    assert "clean from 50 % to 80 %, junk from 35 % to 0 %" in caption
    assert f"{PARAMS.epochs} passes" in caption


def test_gradients_start_at_the_base_and_the_caption_says_where_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(0, 0, 0.2, 1.2, -0.1), (0, 9, 2.0, 0.6, 0.3), (1, 0, 0.4, 1.0, -0.1), (1, 9, 4.0, 0.4, 0.1)]
    table = pd.DataFrame(rows, columns=["seed", "step", "stability", "plasticity", "cosine"]).assign(arm="baseline")
    panels, caption = drawn(lambda: slopes.gradients({"gradients": table}, PARAMS), monkeypatch)
    lines = [named(axes, figure_style.STYLE["baseline"].label).get_ydata().tolist() for axes in panels]
    assert lines == [pytest.approx(values) for values in ([0.3, 3.0], [1.1, 0.5], [-0.1, 0.2])]
    assert panels[0].get_ylim() == panels[1].get_ylim()
    assert "base's norms are 0.3 (general) and 1.1 (medical), their cosine −0.10" in caption
    assert "baseline 3 and 0.5; the cosine is +0.20 (baseline)" in caption


def test_every_arm_of_the_experiment_has_a_look_of_its_own() -> None:
    every = {**arms.CORE, **arms.FACTORIAL, **arms.CONFOUNDS}
    assert set(every) == set(figure_style.STYLE)
    for looks in (figure_style.STYLE, figure_style.FACTS):
        assert (
            len({look.label for look in looks.values()}) == len({look.short for look in looks.values()}) == len(looks)
        )
        assert len({look[:3] for look in looks.values()}) == len(looks)
    core = [figure_style.STYLE[arm] for arm in arms.CORE]
    assert len({look.shade for look in core}) == len({look.marker for look in core}) == len(core)
    assert {name for name in PROBES if not name.endswith(over_time.STATED)} == set(figure_style.FACTS)


def test_points_are_written_with_their_sign_or_without() -> None:
    assert [panels.in_points(value) for value in (0.274, -0.03, 0.004, -0.004)] == ["+27", "−3", "0", "0"]
    assert [panels.in_points(value, 1) for value in (0.0074, -0.03, -0.0004)] == ["+0.7", "−3.0", "0"]
    said = [figure_style.size_in_points(value) for value in (0.274, 0.01, -0.01, -0.001)]
    assert said == ["27 points", "1 point", "−1 point", "0 points"]
