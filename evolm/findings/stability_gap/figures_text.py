"""The figure of real text: cloze accuracy and held-out loss of both domains over training. Tables in, drawings out."""

from __future__ import annotations

from typing import Any, Protocol

import pandas as pd

from evolm.findings.stability_gap import curves
from evolm.findings.stability_gap.curves import Tables
from evolm.findings.stability_gap.figure_style import arm_lines, seeds_in, size_in_points, step_axis
from evolm.findings.stability_gap.figures_curves import losses
from evolm.fragments import Fragment
from evolm.panels import DASHDOT, DASHED, DOTTED, Look, below, in_columns, is_narrow, percent, sentence
from evolm.plotting import Figure, colour, figure


class TextScale(Protocol):
    """What this figure needs to know of a run's parameters."""

    @property
    def text_steps(self) -> int: ...


#: What an arm of real text reads, the main one first; hues and markers are those of the same arm in the synthetic world.
LOOKS = {
    "baseline": Look("vermillion", "s", "-", "medical text", "medical text"),
    "null": Look("grey", "X", DASHDOT, "control: more general text (null shift)", "null shift"),
    "replay": Look("orange", "P", DASHED, "8 % general text replayed", "replay"),
    "low rate": Look("sky", "v", DOTTED, "a tenth of the learning rate", "a tenth of the rate"),
}
TEXTS = ("medical", "general")
TABLES = ("text_curve", "text_losses", "text_base")
#: A cloze probe has four candidates.
CHANCE = 0.25


def levels(tables: Tables, reader: str) -> pd.DataFrame:
    """Mean over seeds of a reader's loss and cloze accuracy before any arm: index text, columns nats and accuracy."""
    rows = tables["text_base"]
    return rows[rows["reader"] == reader].groupby("text")[["nats", "accuracy"]].mean()


def text_curves(tables: Tables, params: TextScale) -> Figure | Fragment:
    """Cloze accuracy on medical and general documents above, held-out loss of both below, against the update."""
    if any(name not in tables or tables[name].empty for name in TABLES):
        return _lacking()
    by_half = {text: curves.accuracy(tables, [text], table="text_curve") for text in TEXTS}
    shown = [arm for arm in LOOKS if arm in set(by_half["medical"]["arm"])]
    if not shown:
        return _lacking()
    trigram = levels(tables, "trigram")
    right = {text: curves.whole(rows) for text, rows in by_half.items()}
    panes = [(f"cloze accuracy, {text}", right[text], trigram["accuracy"][text]) for text in TEXTS]
    panes += [(f"loss, {text} text", losses(tables, text, "text_losses"), trigram["nats"][text]) for text in TEXTS]

    def draw(panels: list[Any]) -> None:
        in_columns(panels, 2)
        for axes, (title, rows, level) in zip(panels, panes, strict=True):
            start = rows.loc[rows["step"] == 0, "value"].mean()
            axes.axhline(start, color=colour("muted"), lw=1, label="base model", zorder=1)
            axes.axhline(level, color=colour("ink"), lw=1.1, ls=DASHED, label="trigram", zorder=1)
            if axes in panels[:2]:
                axes.axhline(
                    CHANCE, color=colour("ink"), lw=1.1, ls=DOTTED, label=f"chance ({percent(CHANCE)})", zorder=1
                )
            arm_lines(axes, rows, shown, LOOKS)
            step_axis(axes, params.text_steps)
            axes.set_title(title)
        _same_scale(panels[:2])
        for axes in panels:
            if is_narrow(axes) or axes in panels[::2]:
                axes.set_ylabel("share right" if axes in panels[:2] else "nats per token")
            if axes is panels[-1] or (axes is panels[2] and not is_narrow(axes)):
                axes.set_xlabel("update")
        below(panels, 2)

    said = _falls_and_ends(by_half, shown)
    return figure(
        draw,
        name="stability-gap-text",
        panels=4,
        size=(7.8, 6.6),
        narrow_height=12.0,
        alt=f"Four panels over {params.text_steps} updates on a logarithmic axis: cloze accuracy on medical and on general "
        f"documents, and loss on held-out text of both, one line per arm. {said}.",
        caption="Real text: a small model pre-trained on speeches and a little medical text, after each measured update of "
        "continued pre-training; the axis is linear from 0 to 1. Above: which of four words stood at the end of a passage "
        f"from a held-out document (chance is {percent(CHANCE)}); below: loss on held-out text. The trigram has counted all "
        f"training text of its domain; its loss is over all held-out text, of which the curves take a part. {_beside(tables)} {said}; "
        "the fall is the start less the lowest point, which is found on one half of the probes and read on the other. "
        f"{seeds_in(right['medical'])}",
    )


def _lacking() -> Fragment:
    return sentence(
        "This record holds no measurements on real text; a run with text_seeds of 1 or more has cloze accuracy and loss of "
        "both domains over training."
    )


def _same_scale(panels: list[Any]) -> None:
    """One scale of shares for panels that stand side by side."""
    ends = [axes.get_ylim() for axes in panels]
    for axes in panels:
        axes.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))


def _beside(tables: Tables) -> str:
    """Loss of base and trigram on held-out general text, in a sentence."""
    base, trigram = (float(levels(tables, reader)["nats"]["general"]) for reader in ("base", "trigram"))
    side = "below" if base <= trigram else "above"
    return (
        f"On all held-out general text the base's loss is {base:.2f} nats per token, {abs(base - trigram):.2f} {side} the "
        f"trigram's {trigram:.2f}."
    )


def _falls_and_ends(by_half: dict[str, pd.DataFrame], arms: list[str]) -> str:
    """Where accuracy starts, and how far each arm's falls and where it ends, in words, the main arm first."""
    starts = {text: rows.loc[rows["step"] == 0, "value"].mean() for text, rows in by_half.items()}
    falls = curves.dips(by_half["medical"]).groupby("arm")["depth"].mean()
    ends = {text: curves.ends(rows).groupby("arm")["value"].mean() for text, rows in by_half.items()}
    parts = [
        f"{LOOKS[arm].short} {size_in_points(falls[arm])}, {percent(ends['medical'][arm])}, {percent(ends['general'][arm])}"
        for arm in arms
    ]
    return (
        f"Accuracy starts at {percent(starts['medical'])} (medical) and {percent(starts['general'])} (general). Fall and end "
        f"of medical accuracy, and end of general accuracy: {'; '.join(parts)}"
    )
