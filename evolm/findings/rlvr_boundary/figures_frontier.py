"""Figures of pass@1 against coverage, and of both over training: tables in, drawings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from evolm.findings.rlvr_boundary import published
from evolm.findings.rlvr_boundary.estimands import curves
from evolm.findings.rlvr_boundary.figure_style import (
    Tables,
    arms_of,
    cue_title,
    cues_of,
    look,
    rounds_of,
)
from evolm.panels import below, outer_labels, seeds_of
from evolm.plotting import Figure, colour, figure, plain_ticks, sequential

if TYPE_CHECKING:
    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams

#: Arms that are drawn as a path, with the values written beside it.
PATHS = {"base": "base, by sampling temperature", "rl": "RL, by step"}
#: Yue et al., Tab. 3, Omni-MATH test: step of GRPO -> pass@1 and pass@256.
PAPER = {step: [cell / 100 for cell in row[1]] for step, row in {0: published.BASE, **published.LONGER}.items()}


def frontier(tables: Tables, params: RlvrBoundaryParams) -> Figure:
    """pass@1 against pass@k_max at the core cue, all arms, and a close-up of the two paths."""
    more = ["named", "rft", *rounds_of(tables), "distil", "distil-known", "random", "format"]
    points = _points(tables, params, [params.core_cue], more)
    near = [part for arm, part in points[params.core_cue].items() if arm in ("base", "rl") or arm.startswith("rft")]
    xs, ys = pd.concat([part[1] for part in near]), pd.concat([part[params.k_max] for part in near])
    window = (max(xs.min(), xs.max() / 2) - 0.03, xs.max() + 0.05, ys.min() - 0.04, ys.max() + 0.04)

    def draw(panels: list[Any]) -> None:
        whole, close = panels
        _one(whole, points[params.core_cue], params.k_max, label=False)
        whole.add_patch(
            Rectangle(window[::2], window[1] - window[0], window[3] - window[2], fill=False, ec=colour("muted"))
        )
        whole.set(xlim=(-0.03, 1.0), ylim=(-0.03, 1.04), title=cue_title(params.core_cue))
        close.set(xlim=window[:2], ylim=window[2:], title="close-up")
        _one(close, points[params.core_cue], params.k_max)
        _finish(panels, params)

    return _figure(
        draw, params, name="rlvr-boundary-frontier", panels=2, size=(7.8, 5.9), narrow_height=9.4,
        caption_end=" Diamond: the coolest base with the method named in the prompt. Open marks: variants of the arm of "
        "the same colour.",
    )  # fmt: skip


def _points(
    tables: Tables, params: RlvrBoundaryParams, cues: list[float], more: list[str]
) -> dict[float, dict[str, Any]]:
    """By cue and arm, pass@1 and coverage of every seed and place on the arm's path (temperature, step)."""
    rows = curves(tables, [1, params.k_max], cue=cues, arm=["base", "rl", *more])
    cool = min((1.0, *params.temperatures))
    named = (rows["arm"] != "named") | (rows["temperature"] == cool)
    start = rows[(rows["arm"] == "base") & (rows["temperature"] == 1)].assign(arm="rl")
    rows = pd.concat([rows[named & ((rows["temperature"] == 1) | rows["arm"].isin(["base", "named"]))], start])
    place = rows["step"].where(rows["arm"] != "base", rows["temperature"])
    wide = rows.assign(place=place).pivot_table(index=["cue", "arm", "seed", "place"], columns="k", values="value")
    found: dict[float, dict[str, Any]] = {}
    for cue in cues:
        found[cue] = {}
        for arm in arms_of(tables, ["base", "rl", *more], cue):
            part: Any = wide.xs((cue, arm), level=("cue", "arm"))
            ends = part.index.get_level_values("place") == part.index.get_level_values("place").max()
            found[cue][arm] = part if arm in ("base", "rl") else part[ends]
    return found


def _one(axes: Any, points: dict[str, Any], k_max: int, *, label: bool = True) -> None:
    """Paths of the base and of RL, points of the other arms: means solid, single seeds at the end of a path faint."""
    for arm, part in points.items():
        shown, mean = look(arm), part.groupby("place").mean()
        style = shown.point_style()
        end = part.xs(mean.index[-1], level="place")
        if len(end) > 1:
            axes.plot(end[1], end[k_max], **{**style, "ms": 3, "alpha": 0.35})
        if arm not in ("base", "rl"):
            axes.plot(mean[1], mean[k_max], **{**style, "ms": 8}, label=shown.label, zorder=4)
            continue
        axes.plot(mean[1], mean[k_max], color=colour(shown.shade), lw=1.5)
        mean = mean[mean.index > 0]  # RL starts at the base's point
        axes.plot(mean[1], mean[k_max], **style, label=PATHS[arm], zorder=3)
        if label:
            _write(axes, mean[[1, k_max]].to_numpy(), list(mean.index), colour(shown.shade), below_path=arm == "rl")


def _write(axes: Any, xy: Any, values: list[float], shade: str, *, below_path: bool) -> None:
    """Values beside their points, from the last one back, leaving out those that would cover the one before."""
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    written: list[tuple[float, float]] = []
    for value, (x, y) in zip(values[::-1], xy[::-1], strict=True):
        if not (x0 <= x <= x1 and y0 <= y <= y1):
            continue
        near = (abs(x - u) < 0.1 * (x1 - x0) and abs(y - v) < 0.06 * (y1 - y0) for u, v in written)
        if not any(near):
            written.append((x, y))
            shift, align = ((6, -11), "left") if below_path else ((-5, 4), "right")
            place = {"textcoords": "offset points", "xytext": shift, "ha": align}
            halo = [withStroke(linewidth=2.5, foreground=colour("background"))]
            axes.annotate(f"{value:g}", (x, y), fontsize=9, color=shade, path_effects=halo, zorder=5, **place)


def _finish(panels: Any, params: RlvrBoundaryParams) -> None:
    outer_labels(panels, "pass@1", f"pass@{params.k_max} (coverage)")
    below(panels, 2)


def _figure(draw: Any, params: RlvrBoundaryParams, *, caption_end: str, **how: Any) -> Figure:
    seeds = "One seed." if params.seeds == 1 else f"Means over {params.seeds} seeds; faint: where single seeds end."
    return figure(
        draw,
        alt=f"pass@1 on the horizontal against pass@{params.k_max} on the vertical axis. Cooling the base moves right and "
        "then down along a curve; reinforcement moves right with its steps, and down too where the cue is unreliable, near "
        "the curve of the cooled base. One round of fine-tuning on own correct samples keeps more coverage.",
        caption=f"One sample against many: right is pass@1, up is coverage at k = {params.k_max}. Arms are to be compared at "
        "equal pass@1, so against the curve of the base sampled at lower temperatures, which needs no training. " + seeds
        + caption_end,
        **how,
    )  # fmt: skip


def over_training(tables: Tables, params: RlvrBoundaryParams) -> Figure:
    """pass@1 and coverage against the step of reinforcement, a line per cue; the paper's own trend beside them."""
    cues = cues_of(params)
    rows = curves(tables, [1, params.k_max], cue=cues, arm=["base", "rl"], temperature=1.0)
    steps = sorted(rows["step"].unique())
    steps_there, (one, many) = list(PAPER), zip(*PAPER.values(), strict=True)

    def draw(panels: list[Any]) -> None:
        for axes, k in zip(panels[:2], (1, params.k_max), strict=True):
            for shade, marker, cue in zip(sequential(len(cues)), "osD", cues, strict=False):
                part = rows[(rows["k"] == k) & (rows["cue"] == cue)].groupby("step")["value"]
                if params.seeds > 1:
                    axes.fill_between(part.min().index, part.min(), part.max(), color=shade, alpha=0.2, lw=0)
                axes.plot(part.mean().index, part.mean(), color=shade, marker=marker, label=f"cue {cue:g}")
            axes.set(xlabel="RL step (0: base)", title=f"here: pass@{k}")
            _step_axis(axes, steps)
        paper = panels[2]
        paper.plot(steps_there, many, color=colour("vermillion"), marker="^", label="paper, pass@256")
        paper.plot(steps_there, one, color=colour("vermillion"), marker="v", mfc="none", ls="--", label="paper, pass@1")
        paper.set(xlabel="RL step (0: base)", title="paper: Omni-MATH")
        plain_ticks(paper.xaxis, steps_there)
        for axes in panels:
            axes.set_ylim(-0.02, 1.02)
        outer_labels(panels, "RL step (0: base)", "share of problems solved")
        below(panels, 5)

    return figure(
        draw,
        name="rlvr-boundary-training",
        panels=3,
        size=(7.8, 4.0),
        narrow_height=8.6,
        alt=f"pass@1 and pass@{params.k_max} over steps of reinforcement, a line per cue level, and the paper's values beside "
        "them: pass@1 rises everywhere; coverage falls where the cue is unreliable and holds where it is always right, while "
        "in the paper it falls slowly.",
        caption=f"Training longer: pass@1 and coverage (pass@{params.k_max}) at the checkpoints. {seeds_of(params.seeds)} Right: the "
        "paper's Tab. 3, GRPO from Qwen2.5-7B on Omni-MATH test; its coverage falls from "
        f"{many[0]:.1%} to {many[-1]:.1%} in {steps_there[-1]} steps. Steps are not comparable between the two.",
    )


def _step_axis(axes: Any, steps: list[int]) -> None:
    """Linear where the checkpoints are few; logarithmic with a place for 0 where they span decades."""
    after = [step for step in steps if step]
    if after and after[-1] / after[0] > 20:
        axes.set_xscale("symlog", linthresh=after[0], linscale=0.6)
        plain_ticks(axes.xaxis, [0, *after[::2]] if len(after) > 4 else [0, *after])
    elif after:
        plain_ticks(axes.xaxis, [0, *after] if len(after) < 4 else [0, *after[1::2]])
