"""Figures of the controls beside the arms, and of the parts of the gain. Tables in, drawings out."""

from __future__ import annotations

from typing import Any

import pandas as pd

from evolm.findings.one_shot import published
from evolm.findings.one_shot.curves import Tables, best_checkpoint, final, gain, heldout
from evolm.findings.one_shot.figure_style import CORE, STYLE, Scale, level, paper_rows, point_rows, points, share_height
from evolm.panels import below, in_points, is_narrow, listed, seeds_of
from evolm.plotting import Figure, colour, figure

#: Rows from the top: arms that are trained, then what the untrained base does when it is sampled otherwise.
TRAINED = (
    "one", "one, same", "full", "format", "format-full", "random", "imitate", "imitate-any", "worked", "zero"
)  # fmt: skip
#: Controls that are trained on the first few of the main arm's examples, and those on the first alone.
SINGLE_CONTROLS = ["format", "imitate", "worked"]
FIRST_ONLY = ["random", "imitate-any", "zero"]
UNTRAINED = ("cooled", "forced careful")


def control_rows(tables: Tables, arms: tuple[str, ...] = (*TRAINED, *UNTRAINED)) -> list[tuple[str, pd.DataFrame]]:
    """Arms that the record has, each with seed, fixed (gain at the last step) and chosen (at the best checkpoint)."""
    trained = gain(tables, base=CORE)
    trained = pd.concat([trained, _on_same(trained)])
    best = best_checkpoint(tables)
    best = trained.merge(pd.concat([best, _on_same(best)]), on=["seed", "base", "arm", "example", "step"])
    fixed, chosen = (rows.groupby(["arm", "seed"])["value"].mean() for rows in (final(trained), best))
    wide = pd.DataFrame({"fixed": fixed, "chosen": chosen}).reset_index()
    base = heldout(tables, base=CORE, arm="base").set_index("seed")["value"]
    found: list[tuple[str, pd.DataFrame]] = []
    for arm in arms:
        rows = wide[wide["arm"] == arm][["seed", "fixed", "chosen"]]
        if arm in UNTRAINED:
            rows = (level(tables, arm) - base).dropna().rename("fixed").rename_axis("seed").reset_index()
        if len(rows):
            found.append((arm, rows))
    return found


def _on_same(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `one` on the examples that single-example controls have, as an arm; none if those are all."""
    one, other = rows["arm"] == "one", rows["arm"].isin(SINGLE_CONTROLS)
    same = rows[one & rows["example"].isin(rows.loc[other, "example"])]
    return same.assign(arm="one, same") if same["example"].nunique() < rows.loc[one, "example"].nunique() else same[:0]


def controls(tables: Tables, params: Scale) -> Figure:
    """Gain of every arm and control at the fixed last step and at the chosen checkpoint; the paper's beside it."""
    rows = control_rows(tables)
    arms = [arm for arm, _ in rows]
    paper = {arm: values for arm, values in published.gains(published.MATH500).items() if arm in arms}

    def draw(panels: list[Any]) -> None:
        here, there = panels
        share_height(panels, [len(rows), len(paper)])
        point_rows(here, rows)
        paper_rows(there, arms, paper)
        here.set_title("here")
        there.set_title("paper: MATH500")
        for axes in panels:
            axes.set_xlabel("gain of held-out accuracy")
        ink = {"color": colour("ink"), "marker": "o", "ls": "none"}
        here.plot([], [], **ink, label=f"fixed last step ({params.rl_steps})")
        here.plot([], [], **ink, mfc=colour("background"), label="checkpoint chosen on validation")
        below(panels, 2)

    tall = 0.42 * len(rows)
    untrained = (
        "The last rows are the untrained base, sampled at a low temperature or made to open in the careful mode. "
    )
    untrained *= any(arm in UNTRAINED for arm in arms)
    first = listed([STYLE[arm].short for arm in arms if arm in FIRST_ONLY])
    first = f"; {first}: the first alone" * bool(first)
    means = {arm: found["fixed"].mean() for arm, found in rows}
    values = listed([f"{STYLE[arm].short} {in_points(mean)}" for arm, mean in means.items()])
    several = f"{params.control_examples} " if params.control_examples > 1 else ""
    return figure(
        draw,
        name="one-shot-controls",
        panels=2,
        size=(7.8, tall + 1.6),
        narrow_height=tall + 0.34 * len(paper) + 3.4,
        alt=f"Gain of held-out accuracy over the base, a row per arm, in points: {values}. Beside it the paper's gains on MATH500.",
        caption=f"What each arm gains over the base on held-out problems. Filled: the fixed last step; open: the checkpoint "
        f"that is best on validation problems. {seeds_of(params.seeds)} RL on one example: {params.examples} per seed, "
        f"none of them chosen; its controls: the first {several}of them{first}. {untrained}Right: the paper's gains over its base "
        f"({published.BASE:g} %), at checkpoints chosen on the test sets; two marks are two examples or two settings, and "
        "its row without an update (Tab. 5) shows what such a choice alone gains.",
    )


def decomposition(parts: pd.DataFrame, params: Scale) -> Figure:
    """The gain as a sum of parts, each bar starting where the one above ends: columns part, value, low, high."""
    starts = parts["value"].cumsum().shift(fill_value=0.0)

    def draw(axes: Any) -> None:
        axes.axvline(0, color=colour("muted"), lw=1)
        shades = ("orange", "vermillion", "blue", "green", "purple", "sky", "grey")
        for place, (row, start) in enumerate(zip(parts.to_dict("records"), starts, strict=True)):
            shade = colour(shades[place % len(shades)])
            value, low, high = (float(row[edge]) for edge in ("value", "low", "high"))
            axes.barh(place, value, 0.55, left=start, color=shade, lw=0)
            axes.hlines(place, start + low, start + high, color=colour("ink"), lw=1.6)
            if place + 1 < len(parts):
                axes.vlines(start + value, place - 0.28, place + 1.28, color=colour("muted"), lw=1, ls=":")
            right = max(start, start + value, start + high)
            axes.annotate(in_points(value), (right, place), xytext=(5, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(parts)), [str(part) for part in parts["part"]])
        axes.set(xlabel="gain in pass@1", ylim=(len(parts) - 0.4, -0.6))
        axes.margins(x=0.25 if is_narrow(axes) else 0.1)
        axes.grid(False, axis="y")

    words = listed([f"{part} {points(value)}" for part, value in zip(parts["part"], parts["value"], strict=True)])
    return figure(
        draw,
        name="one-shot-parts",
        size=(7.2, 0.55 * len(parts) + 1.2),
        narrow_height=0.6 * len(parts) + 1.3,
        alt=f"Bars that add up to the gain of RL on one example in pass@1 at temperature 1: {words}.",
        caption=f"What the gain of RL on one example is made of, in pass@1 at temperature 1: {words}. Each bar starts where "
        f"the one above ends. Lines: intervals. {'One seed' if params.seeds == 1 else f'{params.seeds} seeds'}.",
    )
