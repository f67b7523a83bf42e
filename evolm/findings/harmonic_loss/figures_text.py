"""The figure of the language model: loss and gradient norm over training. Tables in, drawings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evolm.findings.harmonic_loss.experiment import Tables
from evolm.findings.harmonic_loss.figure_parts import log_axis
from evolm.findings.harmonic_loss.figure_style import STYLE, line, seeds_in
from evolm.fragments import Fragment
from evolm.panels import DASHED, DOTTED, Look, below, is_narrow, sentence
from evolm.plotting import Figure, colour, figure

if TYPE_CHECKING:
    from evolm.findings.harmonic_loss.parameters import HarmonicLossParams

LOOKS = {
    "cross-entropy": STYLE["cross-entropy"],
    "harmonic": STYLE["harmonic"],
    "cosine": Look("purple", "D", DOTTED, "harmonic, cosine distance", "harmonic with cosine distance"),
}


def text_curves(tables: Tables, params: HarmonicLossParams) -> Figure | Fragment:
    """Loss and gradient norm of the language model against the update, beside the trigram."""
    lacking = [name for name in ("text", "text_training") if name not in tables or tables[name].empty]
    shown = [] if lacking else [arm for arm in LOOKS if arm in set(tables["text_training"]["arm"])]
    if not shown:
        return sentence(
            "This record holds no language model; a run with text_seeds of 1 or more has its loss over training."
        )
    ends, rows = tables["text"], tables["text_training"].rename(columns={"step": "epoch"})
    trigram = float(ends["trigram"].mean())

    def draw(panels: list[Any]) -> None:
        panels[0].axhline(trigram, color=colour("ink"), lw=1.1, ls=DASHED, label="trigram, held-out")
        for axes, column in zip(panels, ("loss", "grad_norm"), strict=True):
            for arm in shown:
                line(axes, rows[rows["arm"] == arm], column, LOOKS[arm], lw=1.9 if column == "loss" else 1.0)
            axes.set_xscale("log")
            if not is_narrow(axes) or axes is panels[-1]:
                axes.set_xlabel("update")
        for arm in shown:
            look, nats = LOOKS[arm], ends.loc[ends["arm"] == arm, "nats"].mean()
            panels[0].plot(params.text_steps * 1.18, nats, ls="none", marker=look.marker, ms=6.5, color=colour(look.shade),
                           mfc=colour("background"), mew=1.5, clip_on=False)  # fmt: skip
        panels[0].set_title("loss")
        panels[0].set_ylabel("nats per token")
        panels[1].set_title("norm of the gradient")
        log_axis(panels[1].yaxis, 0.8 * rows["grad_norm"].min(), 1.25 * rows["grad_norm"].max())
        below(panels, 2)

    by = ends.groupby("arm")
    said = "; ".join(
        f"{LOOKS[arm].short} {by['nats'].mean()[arm]:.3f} nats, unsteadiness {by['unsteadiness'].mean()[arm]:.2f}"
        for arm in shown
        if arm in by.groups
    )
    return figure(
        draw,
        name="harmonic-loss-text",
        panels=2,
        size=(7.8, 4.0),
        narrow_height=6.8,
        alt=f"Loss and gradient norm over {params.text_steps} updates, a line per head. Held-out loss at the end: {said}; the "
        f"trigram's is {trigram:.3f} nats.",
        caption="A language model on real text with tied token vectors. Left: loss on the training batches, hollow marks at the "
        "right: held-out loss at the end. Right: norm of the gradient before clipping, whose scale is each loss's own. Both are "
        f"means over 20 updates. Held-out loss, and spread of the log gradient norm about its running median: {said}. The trigram "
        f"has counted the same training text and has {trigram:.3f} nats. {seeds_in(rows)}",
    )
