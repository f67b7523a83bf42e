"""The interactive picture: pathways of samples at every checkpoint, moved by a slider. Tables in, drawings out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evolm.findings.grokking_pathways import curves
from evolm.findings.grokking_pathways.curves import COSINE, DISTANCE, Reading, Tables
from evolm.findings.grokking_pathways.figure_style import Scale, group_look, group_name, groups_of, plain
from evolm.findings.grokking_pathways.figures_routes import heaviest
from evolm.fragments import Fragment
from evolm.panels import is_narrow, percent, sentence
from evolm.plotting import Figure, colour, interactive

#: Share of an expert's height over which its samples are spread; empty layers between two groups.
SPREAD, APART = 0.6, 0.7
READ: dict[str, Reading | str] = {"right": "test_accuracy", "distance": DISTANCE, "cosine": COSINE}


def scrub(tables: Tables, params: Scale) -> Figure | Fragment:
    """Every sample as a line through its heaviest experts, groups side by side, with a slider for the step."""
    rows = heaviest(tables)
    groups = groups_of(rows["group"].unique(), params)
    if not groups:
        return sentence("This record keeps no routes of samples, so there are no checkpoints to scrub through.")
    layers, experts = 1 + int(rows["layer"].max()), 1 + int(rows["expert"].max())
    steps = sorted(int(step) for step in rows["step"].unique())
    at = {group: [n * (layers - 1 + APART) + layer for layer in range(layers)] for n, group in enumerate(groups)}
    xs = {group: _lines(np.tile(at[group], (_samples(rows, group), 1))) for group in groups}
    ys = {step: [_lines(places(rows, group, step)) for group in groups] for step in steps}
    read = _read(tables, int(rows["seed"].iloc[0]))
    said = {step: [_words(read, group, step) for group in groups] for step in steps}
    ends = max(at[groups[-1]])

    def draw() -> Any:
        import plotly.graph_objects as go

        plot = go.Figure()
        for group, y in zip(groups, ys[steps[-1]], strict=True):
            look = group_look(group, params)
            plot.add_scatter(
                x=xs[group], y=y, mode="lines", name=look.label, line={"color": colour(look.shade), "width": 2.2},
                opacity=0.75, hoverinfo="skip", showlegend=False,
            )  # fmt: skip
        marks = [
            {
                "label": str(step),
                "method": "update",
                "args": [{"y": ys[step]}, {"annotations": _notes(groups, at, said[step])}],
            }
            for step in steps
        ]
        slider = {"steps": marks, "active": len(steps) - 1, "currentvalue": {"prefix": "step "}, "pad": {"t": 36}}
        ticks = {
            "tickvals": [x for group in groups for x in at[group]],
            "ticktext": [str(n + 1) for _ in groups for n in range(layers)],
        }
        plot.update_xaxes(title="layer, by group", range=[-0.25, ends + 0.25], showgrid=False, zeroline=False, **ticks)
        plot.update_yaxes(title="expert", range=[experts - 0.4, -0.6], tickvals=list(range(experts)), zeroline=False,
                          ticktext=[str(n + 1) for n in range(experts)])  # fmt: skip
        return plot.update_layout(
            sliders=[slider], annotations=_notes(groups, at, said[steps[-1]]), margin={"t": 90, "r": 10}
        )

    def fallback(axes: Any) -> None:
        for group, words in zip(groups, said[steps[-1]], strict=True):
            look = group_look(group, params)
            for line in places(rows, group, steps[-1]):
                axes.plot(at[group], line, color=colour(look.shade), alpha=0.7, lw=1.6)
            middle = (at[group][0] + at[group][-1]) / 2
            axes.text(
                middle,
                -0.75,
                "\n".join(words),
                ha="center",
                va="bottom",
                fontsize=8 if is_narrow(axes) else 9.5,
                color=colour("ink"),
            )
        axes.set(
            ylim=(experts - 0.4, -0.6),
            xlim=(-0.25, ends + 0.25),
            xlabel=f"layer, by group, at step {steps[-1]}",
            ylabel="expert",
        )
        axes.set_xticks([x for group in groups for x in at[group]], [str(n + 1) for _ in groups for n in range(layers)])
        axes.set_yticks(range(experts), [str(n + 1) for n in range(experts)])
        axes.grid(False, axis="x")

    return interactive(
        draw,
        fallback=fallback,
        name="grokking-pathways-scrub",
        height=500,
        size=(7.8, 4.4),
        alt=f"Lines of samples through the experts of {layers} layers, a bundle per group. At step {steps[-1]}: "
        + "; ".join(", ".join(words) for words in said[steps[-1]]) + ".",
        caption=f"Each line is a training sample: its heaviest expert in each layer, {_samples(rows, groups[0])} samples a group, at any of "
        f"{len(steps)} checkpoints from step {steps[0]} to {steps[-1]} (move the slider). Above: held-out accuracy of the group, distance of its "
        "pathways, cosine of consecutive layers at that step, which are measured on more samples than are drawn. The first seed's "
        "trained model.",
    )  # fmt: skip


def _samples(rows: pd.DataFrame, group: str) -> int:
    return int(rows.loc[rows["group"] == group, "sample"].nunique())


def places(rows: pd.DataFrame, group: str, step: int) -> np.ndarray:
    """(sample, layer): the heaviest expert, moved a little by the sample, so that lines do not hide each other."""
    here = rows[(rows["group"] == group) & (rows["step"] == step)]
    experts = here.pivot(index="sample", columns="layer", values="expert").sort_index(axis=1).to_numpy(float)
    shift = SPREAD * (np.arange(len(experts)) / max(len(experts) - 1, 1) - 0.5)
    return np.round(experts + shift[:, None], 2)


def _lines(values: np.ndarray) -> list[float | None]:
    """Rows one after the other with a gap behind each, as plotly draws many lines in one trace."""
    return [value for line in values.tolist() for value in (*line, None)]


def _read(tables: Tables, seed: int) -> dict[tuple[str, str, int], float]:
    """(what, group, step) -> what is read of the seed's trained arm; without what the record lacks."""
    found = {}
    for name, reading in READ.items():
        rows = curves.series(tables, "tables", "trained", reading)
        rows = rows[rows["seed"] == seed]
        for group, step, value in zip(rows["group"], rows["step"], rows["value"], strict=True):
            found[name, str(group), int(step)] = float(value)
    return found


def _words(found: dict[tuple[str, str, int], float], group: str, step: int) -> list[str]:
    """The group's name, and what is read of it at a step."""
    read = {name: found[name, group, step] for name in READ if (name, group, step) in found}
    return [
        group_name(group),
        *(f"{name} {percent(v) if name == 'right' else plain(v)}" for name, v in read.items()),
    ]


def _notes(groups: list[str], at: dict[str, list[float]], said: list[list[str]]) -> list[dict[str, Any]]:
    """What stands above each bundle."""
    return [
        {
            "text": f"<b>{words[0]}</b><br>" + "<br>".join(words[1:]), "x": (at[group][0] + at[group][-1]) / 2, "y": 1.01, "yref": "paper",
            "xanchor": "center", "yanchor": "bottom", "showarrow": False, "font": {"size": 11},
        }
        for group, words in zip(groups, said, strict=True)
    ]  # fmt: skip
