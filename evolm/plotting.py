"""One theme for every figure: light and dark, wide and narrow, safe for colour-blind readers.

    def draw(axes):                       # reads tables, draws, computes nothing
        axes.loglog(widths, loss, color=colour("blue"), marker="o")

    figure(draw, name="superposition-loss", alt="Loss falls with width ...", caption="Loss against width.")

`draw` is called for every variant, or for the light ones only where all its colours are the theme's and can be
swapped: it must take them from `colour` and leave no trace. With `panels=2` it gets a list of axes: side by side on a
wide page, one above the other on a phone.
`interactive` does the same for plotly, with a static figure wherever plotly does not run.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from evolm.theme import (
    DARK_OF,
    MARKERS,
    MODES,
    Mode,
    colour,
    plain_ticks,
    plotly_template,
    sequential,
    theme,
    verdict_colour,
)

__all__ = [
    "MARKERS",
    "Figure",
    "colour",
    "figure",
    "interactive",
    "plain_ticks",
    "sequential",
    "theme",
    "verdict_colour",
]

NARROW_SCREEN = 600  # CSS pixels: below this the narrow drawing is shown
NARROW_WIDTH = 3.9  # inches: a 390-pixel screen without its margins shows the 11-point text at full size
PNG_ABOVE = 300_000  # bytes of SVG above which a bitmap is the smaller and faster choice
HEX_COLOUR = re.compile(rb"#[0-9a-f]{6}\b")

STYLE = f"""<style>
.evolm-figure{{margin:.5rem 0;max-width:100%}}
.evolm-figure img{{display:block;width:100%;height:auto;margin:0 auto;padding:0!important;background:none!important;
border-radius:0!important}}
.evolm-figure figcaption{{font-size:.9em;color:inherit!important;font-weight:400!important;
margin:.5rem auto 0;max-width:44rem;text-align:left}}
html[data-theme="dark"] .evolm-figure .only-dark,
body[data-jp-theme-light="false"] .evolm-figure .only-dark{{display:block!important}}
html[data-theme="dark"] .evolm-figure .only-light,
body[data-jp-theme-light="false"] .evolm-figure .only-light{{display:none!important}}
@media (max-width:{NARROW_SCREEN}px){{.evolm-figure img{{max-width:{NARROW_WIDTH * 110:.0f}px!important}}}}
</style>"""


@dataclass(frozen=True)
class Figure:
    """A finished figure: what a notebook shows as HTML, or as its alternative text where HTML is not shown."""

    name: str
    alt: str
    html: str
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def renamed(self, suffix: str) -> Figure:
        """The same figure under another name, for a second one of its kind on a page."""
        name = f"{self.name}-{suffix}"
        return replace(self, name=name, html=self.html.replace(f'id="{self.name}"', f'id="{name}"'))

    def _repr_html_(self) -> str:
        return self.html

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/html": self.html, "text/plain": self.alt, **self.extra}


def figure(
    draw: Callable[[Any], None],
    *,
    name: str,
    alt: str,
    caption: str,
    size: tuple[float, float] = (7.2, 4.0),
    panels: int = 1,
    narrow_height: float | None = None,
) -> Figure:
    """Draw in both themes and both widths, and give one piece of HTML that shows the one that fits.

    `draw` gets one `Axes`, or a list of `panels` of them; `size` is that of the wide drawing in inches and
    `narrow_height` the height of the narrow one. `name` is unique in the book: start it with the finding's name.
    Raises `ValueError` without alternative text or caption: a figure that some readers cannot get is not finished.
    """
    _check(name, alt, caption)
    pictures = _pictures(draw, name, alt, size, panels, narrow_height or 3.1 * panels)
    html = (
        f'{STYLE}<figure class="evolm-figure" id="{name}">{pictures}<figcaption>{escape(caption)}</figcaption></figure>'
    )
    return Figure(name, alt, html)


def interactive(
    draw: Callable[[], Any],
    *,
    fallback: Callable[[Any], None],
    name: str,
    alt: str,
    caption: str,
    height: int = 440,
    size: tuple[float, float] = (7.2, 4.0),
    panels: int = 1,
) -> Figure:
    """A plotly figure that the book draws with its own copy of plotly.js, and a static one everywhere else.

    `draw()` returns a `plotly.graph_objects.Figure` of traces that the basic bundle has (scatter, bar, pie), using
    `colour`; it is called once per theme. `fallback` draws the static figure, as for `figure`; `height` is in CSS
    pixels. JupyterLab uses its own plotly renderer. Nothing is fetched from a network.
    """
    _check(name, alt, caption)
    specs: dict[Mode, Any] = {}
    for mode in MODES:
        with theme(mode):
            plot = draw().update_layout(template=plotly_template(mode), height=height, autosize=True)
            specs[mode] = json.loads(plot.to_json())
    # "</script>" inside a string would end the element; \u003c is the same character to a JSON parser.
    payload = json.dumps(specs, sort_keys=True).replace("<", "\\u003c")
    html = (
        f'{STYLE}<figure class="evolm-figure evolm-interactive" id="{name}">'
        f'<div class="evolm-plot" role="img" aria-label="{escape(alt)}" style="display:none;height:{height}px"></div>'
        f'<div class="evolm-fallback">{_pictures(fallback, name, alt, size, panels, 3.1 * panels)}</div>'
        f'<script type="application/json" class="evolm-spec">{payload}</script>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
    return Figure(name, alt, html, {"application/vnd.plotly.v1+json": specs["light"]})


def _check(name: str, alt: str, caption: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise ValueError(f"figure name {name!r}: use lower-case letters, digits and hyphens, starting with a letter")
    for what, text in (("alternative text (alt)", alt), ("caption", caption)):
        if not text.strip():
            raise ValueError(f"figure {name!r} has no {what}: say in a sentence what a reader should see in it")


def _pictures(
    draw: Callable[[Any], None], name: str, alt: str, size: tuple[float, float], panels: int, narrow_height: float
) -> str:
    """One `<picture>` per theme, each with its narrow and wide drawing."""
    wide = _themed(draw, name, size, (1, panels))
    narrow = _themed(draw, name, (NARROW_WIDTH, narrow_height), (panels, 1))
    parts = []
    for mode in MODES:
        hidden = "display:none;" if mode == "dark" else ""
        parts.append(
            f'<picture><source media="(max-width:{NARROW_SCREEN}px)" srcset="{narrow[mode]}">'
            f'<img class="only-{mode}" src="{wide[mode]}" alt="{escape(alt)}" '
            f'style="{hidden}max-width:{size[0] * 110:.0f}px"></picture>'
        )
    return "".join(parts)


def _themed(
    draw: Callable[[Any], None], name: str, size: tuple[float, float], grid: tuple[int, int]
) -> dict[Mode, str]:
    """One width in both themes, as data URIs: SVG, or PNG at twice the pixels when the SVG is too large."""
    kind, light = _render(draw, name, "light", size, grid)
    swapped = in_dark(light) if kind == "image/svg+xml" else None
    dark = (kind, swapped) if swapped else _render(draw, name, "dark", size, grid)
    return {"light": _data_uri(kind, light), "dark": _data_uri(*dark)}


def in_dark(svg: bytes) -> bytes | None:
    """A light drawing in the dark theme's colours, in half the time of drawing it; None if it has any other colour."""
    found = {colour.decode() for colour in HEX_COLOUR.findall(svg)}
    if b"<image" in svg or not found <= DARK_OF.keys():
        return None
    return HEX_COLOUR.sub(lambda match: DARK_OF[match[0].decode()].encode(), svg)


def _render(
    draw: Callable[[Any], None], name: str, mode: Mode, size: tuple[float, float], grid: tuple[int, int]
) -> tuple[str, bytes]:
    """Draw one variant: its kind and its bytes."""
    with theme(mode), mpl.rc_context({"svg.hashsalt": name}):
        canvas = Canvas(figsize=size, layout="constrained")
        axes = list(canvas.subplots(*grid, squeeze=False).flat)
        draw(axes[0] if len(axes) == 1 else axes)
        svg = io.BytesIO()
        # As `savefig` would, without its drawing of everything once more in advance.
        FigureCanvasSVG(canvas).print_svg(svg, metadata={"Date": None, "Creator": None})
        if len(svg.getvalue()) <= PNG_ABOVE:
            return "image/svg+xml", svg.getvalue()
        png = io.BytesIO()
        canvas.savefig(png, format="png", dpi=220, metadata={"Software": None})
        return "image/png", png.getvalue()


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
