"""The figures of real text and of the confounds: drawn from any record, with the numbers that they should show."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Canvas

from evolm import plotting
from evolm.findings.stability_gap import arms, figure_style, text_experiment, text_probes
from evolm.findings.stability_gap import figures_confounds as conditions
from evolm.findings.stability_gap import figures_text as real
from evolm.findings.stability_gap.parameters import StabilityGapParams
from evolm.findings.stability_gap.probes import measured_steps
from evolm.fragments import Fragment
from evolm.intervals import seed_interval
from evolm.plotting import Figure, theme

Tables = dict[str, pd.DataFrame]
PARAMS = StabilityGapParams(seeds=5, steps=200, groups=("core", "confounds"), text_seeds=3, text_steps=180)


def text_record(params: StabilityGapParams, only: tuple[str, ...] = tuple(text_experiment.TEXT_ARMS)) -> Tables:
    """Tables as the experiment on real text lays them out, with made-up numbers."""
    rng = np.random.default_rng(0)
    shape = {"baseline": (0.06, 0.2), "null": (0.0, 0.0), "replay": (0.04, 0.06), "low rate": (0.01, 0.05)}
    found: dict[str, list[dict[str, Any]]] = {"text_curve": [], "text_losses": [], "text_base": []}
    for seed in params.text_seed_list:
        for text, nats in (("general", 4.2), ("medical", 4.6)):
            for reader, more in (("base", 0.0), ("trigram", 0.15)):
                row = {"text": text, "reader": reader, "nats": nats + more + 0.01 * (seed % 5), "accuracy": 0.5 - more}
                found["text_base"].append({"seed": seed, **row})
        for arm in only:
            fall, forgets = shape[arm]
            for step in (0, *measured_steps(params.text_steps, 0.3)):
                done = np.log1p(step) / np.log1p(params.text_steps)
                where = {"seed": seed, "arm": arm, "step": step}
                levels = {"medical": 0.5 - 4 * fall * done * (1 - done) + fall * done, "general": 0.6 - forgets * done}
                for text, value in levels.items():
                    for half in (0, 1):
                        share = value + 0.02 * rng.normal() * (step > 0)
                        found["text_curve"].append(
                            {**where, "probe": text, "half": half, "items": 200, "accuracy": share}
                        )
                    nats = 4.2 + forgets * done if text == "general" else 4.6 - 5 * fall * done
                    found["text_losses"].append({**where, "text": text, "nats": nats + 0.01 * rng.normal()})
    return {name: pd.DataFrame(rows) for name, rows in found.items()}


def a_record(params: StabilityGapParams, only: tuple[str, ...] | None = None) -> Tables:
    """The table `curve` as the experiment lays it out, with made-up numbers: a fall and a partial return."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for name, arm in arms.arms_of(params).items():
        if only is not None and name not in only:
            continue
        for seed in params.seed_list:
            depth = (0.02 if arm.text == "general" else 0.45 if arm.schedule == "constant" else 0.35) * rng.uniform(
                0.8, 1.2
            )
            for step in (0, *measured_steps(round(params.steps * arm.share), 0.15)):
                done = np.log1p(step) / np.log1p(params.steps)
                value = 0.6 - depth * min(1.0, 2.5 * done) + 0.7 * depth * max(0.0, done - 0.4) / 0.6
                for probe in ("absent", "repeated", "new", "sums"):
                    for half in (0, 1):
                        share = value + 0.01 * rng.normal() * (step > 0)
                        rows.append(
                            {
                                "seed": seed, "arm": name, "step": step, "probe": probe,
                                "half": half, "items": 48, "accuracy": share,
                            }
                        )  # fmt: skip
    return {"curve": pd.DataFrame(rows)}


@pytest.fixture
def drawn_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two drawings, wide and narrow, instead of four that are written out."""

    def pictures(draw: Any, name: str, alt: str, size: tuple[float, float], panels: int, narrow_height: float) -> str:
        for inches, grid in ((size, (1, panels)), ((3.9, narrow_height), (panels, 1))):
            with theme("light"):
                draw(list(Canvas(figsize=inches).subplots(*grid, squeeze=False).flat))
        return name

    monkeypatch.setattr(plotting, "_pictures", pictures)


def drawn(shown: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], str]:
    """The axes of the wide, light drawing of a figure, and its caption."""
    kept: list[Any] = []

    def pictures(draw: Any, name: str, alt: str, size: tuple[float, float], panels: int, narrow_height: float) -> str:
        with theme("light"):
            kept.extend(Canvas(figsize=size).subplots(1, panels, squeeze=False).flat)
            draw(kept)
        return name

    monkeypatch.setattr(plotting, "_pictures", pictures)
    return kept, caption_of(shown())


def caption_of(shown: Figure | Fragment) -> str:
    assert isinstance(shown, Figure)
    assert not re.search(r"\bnan\b", shown.html)
    found = re.search("<figcaption>(.*)</figcaption>", shown.html)
    assert found is not None
    return html.unescape(found[1])


def named(axes: Any, label: str) -> list[Any]:
    """Its lines with this label."""
    return [mark for mark in axes.get_lines() if mark.get_label() == label]


def test_both_figures_are_drawn_wide_and_narrow_light_and_dark() -> None:
    params = PARAMS.model_copy(update={"seeds": 2, "text_seeds": 2})
    for shown in (
        real.text_curves(text_record(params), params),
        conditions.confounds(a_record(params), params),
    ):
        assert isinstance(shown, Figure)
        assert shown.name.startswith("stability-gap-")
        assert shown.html.count("data:image/svg+xml") + shown.html.count("data:image/png") == 4


# --- real text --------------------------------------------------------------------------------------------


def planted(medical: list[float], general: list[float], arm: str = "baseline", seed: int = 0) -> Tables:
    """One run measured at steps 0, 1, 2 ...: both halves alike, losses that are ten less ten times the accuracy."""
    where = {"seed": seed, "arm": arm}
    runs = {"medical": medical, "general": general}
    points = [(text, step, value) for text, run in runs.items() for step, value in enumerate(run)]
    curve = [
        {**where, "step": step, "probe": text, "half": half, "items": 50, "accuracy": value}
        for text, step, value in points
        for half in (0, 1)
    ]
    losses = [{**where, "step": step, "text": text, "nats": 10 - 10 * value} for text, step, value in points]
    base = [
        {"seed": seed, "text": text, "reader": reader, "nats": nats + seed, "accuracy": 0.4 + 0.1 * seed}
        for text, reader, nats in (
            ("medical", "base", 5.0),
            ("medical", "trigram", 4.0),
            ("general", "base", 3.25),
            ("general", "trigram", 3.75),
        )
    ]
    return {"text_curve": pd.DataFrame(curve), "text_losses": pd.DataFrame(losses), "text_base": pd.DataFrame(base)}


def together(*parts: Tables) -> Tables:
    return {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}


TWO_SEEDS = together(
    planted([0.50, 0.40, 0.60, 0.60, 0.60], [0.70, 0.60, 0.50, 0.50, 0.50]),
    planted([0.60, 0.40, 0.70, 0.70, 0.70], [0.80, 0.60, 0.50, 0.50, 0.50], seed=1),
)


def test_lines_are_means_over_seeds_between_base_trigram_and_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    panels, _ = drawn(lambda: real.text_curves(TWO_SEEDS, PARAMS), monkeypatch)
    assert [axes.get_title(loc="left") for axes in panels] == [
        "cloze accuracy, medical", "cloze accuracy, general", "loss, medical text", "loss, general text"
    ]  # fmt: skip
    means = [[0.55, 0.40, 0.65, 0.65, 0.65], [0.75, 0.60, 0.50, 0.50, 0.50]]
    means += [[10 - 10 * value for value in run] for run in means]
    trigrams = [0.45, 0.45, 4.5, 4.25]
    for axes, run, level in zip(panels, means, trigrams, strict=True):
        (line,) = named(axes, "medical text")
        assert line.get_ydata() == pytest.approx(run)
        assert named(axes, "base model")[0].get_ydata() == pytest.approx([run[0]] * 2)
        assert named(axes, "trigram")[0].get_ydata() == pytest.approx([level] * 2)
    chances = [named(axes, "chance (25 %)") for axes in panels]
    assert [len(found) for found in chances] == [1, 1, 0, 0]
    assert chances[0][0].get_ydata() == pytest.approx([0.25, 0.25])
    assert panels[0].get_ylim() == panels[1].get_ylim()
    places = [axes.get_subplotspec() for axes in panels]
    assert [(place.rowspan.start, place.colspan.start) for place in places] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_the_caption_says_how_base_trigram_and_arms_compare(drawn_both_ways: None) -> None:
    replay = [planted([0.55] * 5, [0.75] * 4 + [0.60], arm="replay", seed=seed) for seed in (0, 1)]
    tables = together(TWO_SEEDS, *replay)
    tables["text_base"] = TWO_SEEDS["text_base"]
    caption = caption_of(real.text_curves(tables, PARAMS))
    assert "the base's loss is 3.75 nats per token, 0.50 below the trigram's 4.25." in caption
    assert "chance is 25 %" in caption
    assert "Accuracy starts at 55 % (medical) and 75 % (general)." in caption
    # falls of .10 and .20; ends of .60 and .70; general ends: the mean of .75, .75 and .60 is .70
    assert "medical text 15 points, 65 %, 50 %; replay 0 points, 55 %, 70 %;" in caption
    assert "Means over 2 seeds" in caption


def test_a_base_that_is_worse_than_a_trigram_is_said_to_be(drawn_both_ways: None) -> None:
    base = TWO_SEEDS["text_base"]
    worse = base.assign(nats=base["nats"] + (base["reader"] == "base") * 1.0)
    assert "4.75 nats per token, 0.50 above the trigram's 4.25" in caption_of(
        real.text_curves({**TWO_SEEDS, "text_base": worse}, PARAMS)
    )


def test_one_seed_and_a_single_arm_of_real_text_are_enough(drawn_both_ways: None) -> None:
    one = PARAMS.model_copy(update={"text_seeds": 1})
    assert "One seed." in caption_of(real.text_curves(text_record(one), one))
    caption = caption_of(real.text_curves(text_record(one, ("replay",)), one))
    assert "replay" in caption
    assert "null shift" not in caption


@pytest.mark.parametrize("absent", real.TABLES)
def test_a_record_without_real_text_says_so(absent: str) -> None:
    without = {name: rows for name, rows in TWO_SEEDS.items() if name != absent}
    for tables in (without, {**without, absent: TWO_SEEDS[absent][:0]}, {}):
        said = real.text_curves(tables, PARAMS)
        assert isinstance(said, Fragment)
        assert "text_seeds" in said.text
    strange = {**TWO_SEEDS, "text_curve": TWO_SEEDS["text_curve"].assign(arm="another")}
    assert isinstance(real.text_curves(strange, PARAMS), Fragment)


def test_every_arm_of_real_text_has_a_look_of_its_own_that_says_what_the_experiment_does() -> None:
    assert list(real.LOOKS) == list(text_experiment.TEXT_ARMS)
    for part in ("shade", "marker", "line", "label", "short"):
        assert len({str(getattr(look, part)) for look in real.LOOKS.values()}) == len(real.LOOKS), part
    for arm in set(real.LOOKS) & set(figure_style.STYLE):
        assert real.LOOKS[arm][:3] == figure_style.STYLE[arm][:3]
    medical, _ = text_experiment.TEXT_ARMS["replay"]
    assert real.LOOKS["replay"].label.startswith(f"{100 * (1 - medical):.0f} % general")
    assert text_experiment.TEXT_ARMS["low rate"] == (1.0, 0.1)
    assert inspect.signature(text_probes.cloze_probes).parameters["choices"].default == 1 / real.CHANCE


# --- confounds --------------------------------------------------------------------------------------------


def falling(depths: dict[str, list[float]]) -> Tables:
    """Arm -> depth by seed, of runs that fall by it from .9 and regain half of it; both halves alike."""
    rows = [
        {
            "seed": seed,
            "arm": arm,
            "step": step,
            "probe": probe,
            "half": half,
            "items": 9,
            "accuracy": 0.9 - part * depth,
        }
        for arm, found in depths.items()
        for seed, depth in enumerate(found)
        for step, part in enumerate((0, 0.3, 1, 0.5, 0.5, 0.5))
        for probe in ("absent", "repeated", "new")
        for half in (0, 1)
    ]
    return {"curve": pd.DataFrame(rows)}


DEPTHS = {
    "baseline": [0.30, 0.40, 0.50], "null": [0.00, 0.02, 0.04], "constant": [0.60, 0.50, 0.64],
    "constant, null": [0.10, 0.08, 0.12], "baseline, cut": [0.30, 0.36, 0.42],
}  # fmt: skip


def test_rows_hold_means_intervals_and_seeds_in_points(monkeypatch: pytest.MonkeyPatch) -> None:
    panels, caption = drawn(lambda: conditions.confounds(falling(DEPTHS), PARAMS), monkeypatch)
    for axes, part in zip(panels, (1, 0.5), strict=True):
        medical, null = (named(axes, label) for label in ("medical text", figure_style.STYLE["null"].label))
        assert [mark.get_xdata()[0] for mark in medical] == pytest.approx([40 * part, 58 * part, 36 * part])
        assert [mark.get_xdata()[0] for mark in null] == pytest.approx([2 * part, 10 * part])
        assert [mark.get_ydata()[0] for mark in medical] == pytest.approx([-0.2, 0.8, 2.0])
        assert [mark.get_ydata()[0] for mark in null] == pytest.approx([0.2, 1.2])
        small = [mark.get_xdata().tolist() for mark in axes.get_lines() if mark.get_markersize() == 3]
        assert small[0] == pytest.approx([30 * part, 40 * part, 50 * part])
        (low, _), (high, _) = axes.collections[0].get_segments()[0]
        assert (low, high) == pytest.approx(seed_interval([30 * part, 40 * part, 50 * part]))
    labels = [label.get_text().split("\n")[0] for label in panels[0].get_yticklabels()]
    assert labels == ["as it is (cosine,", "constant rate", "stopped"]
    assert not any(label.get_text() for label in panels[1].get_yticklabels())
    assert "depth of the dip 40 (2) as it is, 58 (10) at a constant rate, 36 stopped at 40 %;" in caption
    assert "recovery by the end 20 (1) as it is, 29 (5) at a constant rate, 18 stopped at 40 %." in caption
    assert "Small: 3 seeds; large and line: mean and 95 % interval." in caption
    assert "40 % of the tokens" not in caption
    assert "stopped at 40 % is the first part" in caption


def test_the_caption_pairs_medical_text_and_null_shift_by_seed(drawn_both_ways: None) -> None:
    caption = caption_of(conditions.confounds(falling(DEPTHS), PARAMS))
    low, high = (float(end) for end in seed_interval([30.0, 38.0, 46.0]))
    assert f"38 points (95 % interval {low:+.0f} to {high:+.0f}) as it is".replace("-", "−") in caption
    unpaired = falling(DEPTHS)["curve"]
    unpaired = unpaired[(unpaired["arm"] != "constant, null") | (unpaired["seed"] == 1)]
    assert ", 42 points at a constant rate." in caption_of(conditions.confounds({"curve": unpaired}, PARAMS))


def test_one_seed_has_no_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    one = falling({arm: found[:1] for arm, found in DEPTHS.items()})
    panels, caption = drawn(lambda: conditions.confounds(one, PARAMS), monkeypatch)
    assert not panels[0].collections
    assert "One seed, so no intervals." in caption
    assert "paired by seed: 30 points as it is, 50 points at a constant rate." in caption


def test_a_record_without_arms_to_compare_says_which_groups_a_run_needs() -> None:
    core = PARAMS.model_copy(update={"seeds": 1, "groups": ("core",)})
    records = [a_record(core), {}, {"curve": a_record(core)["curve"][:0]}]
    for there in (("baseline", "null"), ("constant", "constant, null"), ("baseline", "constant"), ("baseline, cut",)):
        records.append(falling({arm: DEPTHS[arm] for arm in there}))
    for tables in records:
        said = conditions.confounds(tables, PARAMS)
        assert isinstance(said, Fragment)
        assert 'groups = ("core", "confounds")' in said.text


def test_rows_are_the_confounds_of_the_experiment_with_their_null_shifts() -> None:
    names = [arm for row in conditions.CONDITIONS for arm in row.arms]
    every = {**arms.CORE, **arms.CONFOUNDS}
    assert {"baseline", "null", *arms.CONFOUNDS} - {"quality, diluted"} <= set(names) <= set(every)
    assert len(names) == len(set(names))
    assert [row.null for row in conditions.CONDITIONS[-2:]] == [None, None]
    for row in conditions.CONDITIONS:
        if row.null:
            assert (every[row.arm].text, every[row.null].text) == ("medical", "general")
    assert arms.SHORT == 0.4
