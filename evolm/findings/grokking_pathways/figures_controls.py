"""Figures of the controls: every arm, other sizes and worlds, and the mixture with real text. Tables in, drawings out."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from evolm.findings.grokking_pathways import curves
from evolm.findings.grokking_pathways.curves import COSINE, DISTANCE, TEXT_GROUPS, Reading, Tables
from evolm.findings.grokking_pathways.estimands import METRICS
from evolm.findings.grokking_pathways.figure_style import (
    ARMS,
    Scale,
    in_words,
    line,
    name_rows,
    reading_of,
    row,
    seeds_as_rows,
)
from evolm.findings.grokking_pathways.relations import second_half
from evolm.findings.grokking_pathways.tables import RANDOM
from evolm.fragments import Fragment
from evolm.panels import Look, below, is_narrow, listed, percent, seeds_of, sentence
from evolm.plotting import Figure, colour, figure

TWIN = ("trained", "scrambled")
CHANGES = {"distance of pathways": DISTANCE, "mean cosine": COSINE}


def arms(tables: Tables, params: Scale) -> Figure | Fragment:
    """Held-out accuracy at the end and the change of distance and cosine over the lag, a row per arm."""
    there = set(curves.of_world(tables, "curve", "tables")["arm"])
    names = [arm for arm in ARMS if arm in there]
    if not names:
        return sentence("This record holds no arms on tables, so they are not set beside each other.")
    found = {"held-out accuracy at the end": curves.ends(tables, "tables", names)}
    for title, reading in CHANGES.items():
        own = [curves.changes(tables, "tables", [arm], reading) for arm in names]
        found[f"change: {title}"] = pd.concat(own, ignore_index=True)

    def draw(panels: list[Any]) -> None:
        for place, (axes, (title, values)) in enumerate(zip(panels, found.items(), strict=True)):
            if place:
                axes.axvline(0, color=colour("muted"), lw=1)
            for number, arm in enumerate(names):
                mine = values.loc[values["arm"] == arm, "value"].to_numpy(float)
                row(axes, mine, number, ARMS[arm], hollow="scrambled" in arm)
                if not len(mine):
                    at = 0.5 if not values.size else 0.0
                    axes.text(at, number, "  none", va="center", fontsize=9, color=colour("muted"))
            name_rows(axes, [ARMS[arm].short for arm in names], shown=is_narrow(axes) or place == 0)
            axes.set_title(title if is_narrow(axes) else title.replace(" of pathways", "").replace(" at the end", ""))
            axes.set_xlabel(("share right", "edit distance ÷ length", "cosine")[place])
            axes.margins(x=0.12)
            axes.xaxis.set_major_locator(MaxNLocator(3 if place else 4))

    said = ". ".join(
        f"{title[0].upper()}{title[1:]}: {_by_arm(values, names, not title.startswith('change'))}"
        for title, values in found.items()
    )
    return figure(
        draw,
        name="grokking-pathways-arms",
        panels=3,
        size=(8.8, 0.42 * len(names) + 1.6),
        narrow_height=3 * (0.34 * len(names) + 1.3),
        alt=f"A row per arm: held-out accuracy at the end, and how distance and cosine change over the lag. {said}.",
        caption="Mean over the groups with a rule. Accuracy: the last fifth of the run. Changes: the last fifth of each arm's own lag "
        "less its first fifth; a dense model has no pathways, and an arm that memorises nothing has no lag. "
        f"{said}. {seeds_as_rows(found['held-out accuracy at the end']['seed'].nunique())}",
    )


def _by_arm(values: pd.DataFrame, names: list[str], level: bool = False) -> str:
    """trained +0.065 (+0.060 to +0.070), ...; of a `level` 0.65 (0.60 to 0.70)."""
    parts = ((arm, values.loc[values["arm"] == arm, "value"]) for arm in names)
    return (
        listed(
            [
                f"{ARMS[arm].short} {in_words(each, 2).replace('+', '') if level else in_words(each, 3)}"
                for arm, each in parts
                if len(each)
            ]
        )
        or "nothing to read"
    )


# --- other sizes and worlds ------------------------------------------------------------------------------------


def scales(tables: Tables, params: Scale) -> Figure | Fragment:
    """Change of distance and cosine over the lag, trained beside its twin, a row per size of the model and world."""
    there = curves.of_world(tables, "curve", "modular")["world"].unique().tolist() if "curve" in tables else []
    sizes = (
        [str(name) for name in tables["curve"]["world"].unique() if str(name).startswith("tables")]
        if "curve" in tables
        else []
    )
    worlds = [*sorted(sizes, key=lambda name: (name != "tables", name)), *there]
    found = {
        title: pd.concat(
            [curves.changes(tables, world, TWIN, reading).assign(world=world) for world in worlds], ignore_index=True
        )
        for title, reading in CHANGES.items()
        if len(worlds) > 1
    }
    shown = [world for world in worlds if any(world in set(rows["world"]) for rows in found.values())]
    if len(shown) < 2:
        return sentence(
            "Other sizes of the model and modular arithmetic need the parameters scales and modular_seeds; this record holds none."
        )
    names = [world.removeprefix("tables, ") if world != "tables" else "as it is" for world in shown]

    def draw(panels: list[Any]) -> None:
        for axes, (title, rows) in zip(panels, found.items(), strict=True):
            axes.axvline(0, color=colour("muted"), lw=1)
            for number, world in enumerate(shown):
                for arm, side in zip(TWIN, (-0.15, 0.15), strict=True):
                    mine = rows.loc[(rows["world"] == world) & (rows["arm"] == arm), "value"]
                    label = ARMS[arm].label if number == 0 else ""
                    row(axes, mine, number + side, ARMS[arm], hollow=arm != "trained", label=label)
            name_rows(axes, names, shown=is_narrow(axes) or axes is panels[0])
            axes.set_title(f"change: {title}")
            axes.locator_params(axis="x", nbins=5)
            axes.set_xlabel("edit distance ÷ length" if title != "mean cosine" else "cosine")
        below(panels, 2)

    said = ". ".join(
        f"{title[0].upper()}{title[1:]}: "
        + "; ".join(
            f"{name}, {_by_arm(rows[rows['world'] == world], list(TWIN))}"
            for name, world in zip(names, shown, strict=True)
        )
        for title, rows in found.items()
    )
    seeds = max(rows["seed"].nunique() for rows in found.values())
    return figure(
        draw,
        name="grokking-pathways-scales",
        panels=2,
        size=(7.8, 0.55 * len(shown) + 1.7),
        narrow_height=2 * (0.5 * len(shown) + 1.2) + 0.8,
        alt=f"A row per size of the model and world: change of distance and cosine over the lag, trained and twin. {said}.",
        caption="Change over the lag that a model and its scrambled twin have in common, mean over the groups with a rule, in models "
        f"of other sizes and on modular arithmetic where it was run. {said}. {seeds_as_rows(seeds)}",
    )


# --- the mixture -----------------------------------------------------------------------------------------------

DOMAINS = {
    "facts": Look("sky", "P", "-", "facts", "facts"),
    "copy": Look("green", "^", "-", "copying", "copying"),
    "sums": Look("purple", "s", "-", "sums", "sums"),
    RANDOM: Look("vermillion", "D", "-", "random keys", "random keys"),
}
TEXT_PANELS: dict[str, tuple[str, Reading | str]] = {
    "held-out accuracy": ("share right", "test_accuracy"),
    "distance of pathways": ("edit distance ÷ length", METRICS["distance"]),
    "consistency of layers": ("mean cosine", METRICS["cosine"]),
}


def mixture(tables: Tables, params: Scale) -> Figure | Fragment:
    """Arm B: held-out accuracy per domain, distance and cosine over the one pass, trained beside its twin."""
    curve = curves.of_world(tables, "curve", "text")
    if curve[curve["arm"] == "trained"].empty:
        return sentence("This record holds no mixture with real text (arm B), so it is not drawn.")
    exact = [name for name in TEXT_GROUPS if name in set(curve["group"])]
    last = int(curve["step"].max())

    def draw(panels: list[Any]) -> None:
        for axes, (title, (label, reading)) in zip(panels, TEXT_PANELS.items(), strict=True):
            domains = [name for name in DOMAINS if name in set(curve["group"])] if title == "held-out accuracy" else []
            for name in domains:
                line(axes, reading_of(tables, "text", "trained", reading, [name]), DOMAINS[name])
            for arm in TWIN if not domains else TWIN[1:]:
                look = ARMS[arm]._replace(label=f"{ARMS[arm].label}, mean of domains")
                line(axes, reading_of(tables, "text", arm, reading, exact), look)
            axes.axvspan(last / 2, last, color=colour("blue"), alpha=0.06, lw=0, zorder=0)
            axes.set_xlim(0, last)
            if domains:
                axes.set_ylim(-0.02, max(0.1, axes.get_ylim()[1]))
            axes.set_title(title)
            axes.set_ylabel(label)
            axes.set_xlabel("step" if not is_narrow(axes) or axes is panels[-1] else "")
        below(panels, 2)

    ends = curve[(curve["step"] == last) & (curve["arm"] == "trained")].groupby("group")["test_accuracy"].mean()
    right = listed([f"{DOMAINS[name].short} {percent(ends[name])}" for name in DOMAINS if name in ends])
    moved = []
    for name, reading in METRICS.items():
        if len(rows := second_half(tables, "text", [arm for arm in TWIN if arm in set(curve["arm"])], reading)):
            moved.append(f"{name} {_by_arm(rows, list(TWIN))}")
    said = f"Right at the end, trained: {right}" + (
        f". Change over the second half: {'; '.join(moved)}" if moved else ""
    )
    return figure(
        draw,
        name="grokking-pathways-mixture",
        panels=3,
        size=(8.6, 4.3),
        narrow_height=9.8,
        alt=f"Held-out accuracy by domain, distance of pathways and consistency over one pass of a mixture with text. {said}.",
        caption="Arm B: a mixture with real text, read about once, so nothing is memorised first and there is no lag; shaded: the "
        f"second half, over which changes are read. Distance and consistency are means of {listed(exact)}, trained (line) and twin "
        f"(dashed), at the answer. {said}. {seeds_of(curve['seed'].nunique())}",
    )
