"""A dip as a picture: the series, its baseline with the noise around it, the worst point, the recovery.

    dip_figure(pairs, settings)               an `evolm.plotting.Figure`, light and dark, wide and narrow
    save(pairs, settings, Path("dip.svg"))    the light, wide drawing as .svg, .png or .pdf; all of them as .html

`pairs` are (Series, Dip), one panel each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from scipy import special

from evolm.instruments import dip_words
from evolm.instruments.dip_results import Dip, Settings
from evolm.instruments.dip_tables import Series
from evolm.panels import below, each
from evolm.plotting import Figure, colour, figure, theme

Pairs = Sequence[tuple[Series, Dip]]
MOST_PANELS = 12
#: Steps over more than this many factors of ten of the first later one get a log axis.
DECADES = 1.7
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>body{{font-family:sans-serif;margin:1rem;max-width:60rem}}
@media (prefers-color-scheme:dark){{body{{background:#14181e;color:#ced6dd}}}}</style>
<script>document.documentElement.dataset.theme=matchMedia("(prefers-color-scheme:dark)").matches?"dark":"light"</script>
{figure}</html>
"""


def dip_figure(pairs: Pairs, settings: Settings, name: str = "dip") -> Figure:
    """All panels in one figure; the caption says in words what each shows."""
    draw, (wide, high) = _drawing(pairs, settings), _size(pairs)
    said = " ".join(dip_words.sentence(series, dip) for series, dip in pairs)
    band = f"Band: where {100 * settings.level:g} % of points lie if nothing changes; wide bars: intervals."
    return figure(
        draw,
        name=name,
        alt=said,
        caption=f"{said} {band}",
        size=(wide, high),
        panels=len(pairs),
        narrow_height=3.3 * len(pairs) + 0.5,
    )


def save(pairs: Pairs, settings: Settings, out: Path) -> None:
    """Write the figure to `out`, in the format that its name ends in."""
    if len(pairs) > MOST_PANELS:
        raise ValueError(f"{len(pairs)} metrics do not fit into one figure; choose some, -p metric=NAME,NAME")
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".html":
        title = ", ".join(dict.fromkeys(series.metric for series, _ in pairs))
        html = PAGE.format(title=title.replace("<", ""), figure=dip_figure(pairs, settings).html)
        out.write_text(html, encoding="utf-8")
        return
    with theme("light"):
        canvas = Canvas(figsize=_size(pairs, upright=True), layout="constrained")
        panels = list(canvas.subplots(len(pairs), 1, squeeze=False).flat)
        _drawing(pairs, settings)(panels)
        canvas.savefig(out, dpi=200)


def _size(pairs: Pairs, upright: bool = False) -> tuple[float, float]:
    """Inches of the wide drawing."""
    return (7.2, 3.3 * len(pairs) + 0.7) if upright else (max(7.2, 4.6 * len(pairs)), 4.2)


def _drawing(pairs: Pairs, settings: Settings) -> Callable[[Any], None]:
    def draw(panels: Any) -> None:
        axes = each(panels)
        for one, (series, dip) in zip(axes, pairs, strict=True):
            _panel(one, series, dip, settings)
            stacked = len(axes) == 1 or one.get_subplotspec().get_gridspec().ncols == 1
            one.set_xlabel("" if stacked and one is not axes[-1] else "step")
        labels = {label for one in axes for label in one.get_legend_handles_labels()[1]}
        below(axes, columns=4 if len(labels) < 5 else 3, narrow=2)

    return draw


def _panel(axes: Any, series: Series, dip: Dip, settings: Settings) -> None:
    steps, values = series.steps, series.values
    mean, blue = values.mean(0), colour("blue")
    base, sign = float(mean[0]), -1 if series.lower_is_better else 1
    half = dip.noise * special.ndtri((1 + settings.level) / 2) * math.sqrt(2 / len(values))
    if half > 0:
        axes.axhspan(base - half, base + half, color=colour("grey"), alpha=0.16, lw=0, label="noise")
    axes.axhline(base, color=colour("muted"), lw=1.2, ls=(0, (4, 2)), label="baseline")
    for run in values if len(values) > 1 else []:
        axes.plot(steps, run, color=blue, lw=0.8, alpha=0.35)
    label = f"mean of {len(values)} runs" if len(values) > 1 else None  # one line has its axis' name
    marks = {"marker": "o", "ms": 3.5} if steps.size <= 80 else {}
    axes.plot(steps, mean, color=blue, lw=1.6 if steps.size <= 300 else 0.8, label=label, **marks)
    if dip.found:
        _depth(axes, dip, base, sign)
        _recovery(axes, dip, steps, base)
    _steps_axis(axes, steps)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.margins(y=0.12)
    axes.set_ylabel(series.metric)
    axes.set_title(_title(series, dip), fontsize=10.5)


def _depth(axes: Any, dip: Dip, base: float, sign: int) -> None:
    """An arrow from the baseline as long as the corrected depth, its interval as a whisker."""
    red, at = colour("vermillion"), dip.step.value
    foot = base - sign * dip.depth.value
    ends = sorted((base - sign * dip.depth.low, base - sign * dip.depth.high))
    axes.plot([at, at], ends, color=red, lw=5, alpha=0.3, solid_capstyle="butt", zorder=3)
    axes.plot([at, at], [base, foot], color=red, lw=1.6, zorder=4)
    axes.plot([at], [foot], color=red, marker="v" if sign > 0 else "^", ms=7, ls="", zorder=5, label="corrected depth")


def _recovery(axes: Any, dip: Dip, steps: Any, base: float) -> None:
    """A mark on the baseline where the curve is back, its interval beside it; an arrow off the end if it is not."""
    green, last = colour("green"), float(steps[-1])
    low, high = (min(edge, last) for edge in (dip.recovery.low, dip.recovery.high))
    if math.isfinite(low) and high > low:
        axes.plot([low, high], [base, base], color=green, lw=5, alpha=0.35, solid_capstyle="butt", zorder=3)
    back = math.isfinite(dip.recovery.value)
    label = "back at baseline" if back else "not back by the end"
    at = dip.recovery.value if back else last
    mark = {"marker": "D" if back else ">", "ms": 7, "ls": "", "color": green}
    axes.plot([at], [base], **mark, zorder=5, label=label, clip_on=False)


def _steps_axis(axes: Any, steps: Any) -> None:
    later = steps[steps > 0]
    if len(later) > 2 and math.log10(later[-1] / later[0]) > DECADES:
        axes.set_xscale("symlog", linthresh=float(later[0]), linscale=0.4)
        top, first = math.floor(math.log10(later[-1])), math.ceil(math.log10(later[0]))
        ticks = [10.0**i for i in range(first, top + 1)]
        ticks += [t * m for t in ticks for m in (2, 5) if t * m <= later[-1]] if len(ticks) < 4 else []
        axes.set_xticks(sorted({*ticks, *([0.0] if steps[0] <= 0 else [])}))
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        span = np.ptp(steps)
        axes.set_xlim(steps[0] - 0.03 * span, steps[-1] + 0.03 * span)
    unit, letter = next(((u, c) for u, c in ((1e9, "B"), (1e6, "M")) if steps[-1] >= u), (1.0, ""))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step / unit:g}{letter if step else ''}")


def _title(series: Series, dip: Dip) -> str:
    place = Path(series.source).name if Path(series.source).suffix else series.metric
    if not dip.found:
        return f"{place}: {'no dip beyond noise' if math.isfinite(dip.depth.value) else 'noise not known'}"
    word = "rises" if series.lower_is_better else "falls"
    return f"{place}: {word} by {dip_words.number(dip.depth)}"
