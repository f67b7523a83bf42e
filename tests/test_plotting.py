"""The theme keeps its promises to every reader, and a figure is complete, escaped and the same each time."""

from __future__ import annotations

import base64
import itertools
import json
import re
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from evolm import plotting
from evolm.theme import MODES, PAGE, PALETTE, VERDICT_COLOURS, colour, sequential, theme, verdict_colour

RNG_LINES = np.random.default_rng(0).random((90, 150))
# Machado, Oliveira and Fernandes 2009: linear RGB as seen without red (protan) and without green (deutan) cones.
VISION = {
    "full": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def linear(hex_colour: str) -> np.ndarray:
    value = np.array([int(hex_colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def line(axes: Any) -> None:
    axes.plot([1, 2, 3], [3, 1, 2], color=colour("blue"))


def images(html: str) -> list[str]:
    return [base64.b64decode(c).decode() for c in re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", html)]


@pytest.mark.parametrize("mode", MODES)
def test_every_hue_stands_out_from_the_page_and_text_is_readable(mode):
    background = PAGE[mode]["background"]
    assert min(contrast(value, background) for value in PALETTE[mode].values()) >= 3
    assert contrast(PAGE[mode]["ink"], background) >= 7
    assert contrast(PAGE[mode]["muted"], background) >= 4.5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("vision", VISION)
def test_every_pair_of_hues_can_be_told_apart_without_red_or_green_cones(mode, vision):
    seen = [lab(VISION[vision] @ linear(value)) for value in PALETTE[mode].values()]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) >= 12


@pytest.mark.parametrize("mode", MODES)
def test_the_ramp_is_ordered_by_lightness_and_stays_visible(mode):
    with theme(mode):
        ramp = sequential(6)
    lightness = [lab(linear(c))[0] for c in ramp]
    assert lightness == sorted(lightness)
    assert min(contrast(c, PAGE[mode]["background"]) for c in ramp) >= 1.8


def test_every_verdict_has_a_colour_and_an_unknown_one_is_refused():
    assert all(verdict_colour(verdict).startswith("#") for verdict in VERDICT_COLOURS)
    with pytest.raises(ValueError, match="no verdict 'confirmed'"):
        verdict_colour("confirmed")


def test_the_theme_is_left_as_it_was_even_after_an_error():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with pytest.raises(RuntimeError, match="drawing failed"), theme("dark"):
        raise RuntimeError("drawing failed")
    assert dict(mpl.rcParams) == before
    assert colour("ink") == PAGE["light"]["ink"]


@pytest.mark.parametrize("missing", ["alt", "caption"])
def test_a_figure_without_words_is_refused(missing):
    words = {"alt": "a line", "caption": "A line.", missing: "  "}
    with pytest.raises(ValueError, match=r"figure 'test-line' has no"):
        plotting.figure(line, name="test-line", **words)
    with pytest.raises(ValueError, match=r"figure 'test-line' has no"):
        plotting.interactive(go.Figure, fallback=line, name="test-line", **words)


def test_a_name_that_could_not_be_an_anchor_is_refused():
    with pytest.raises(ValueError, match="lower-case"):
        plotting.figure(line, name="Loss vs width", alt="a line", caption="A line.")


def test_a_figure_holds_light_and_dark_wide_and_narrow_and_is_the_same_each_time():
    first, again = (plotting.figure(line, name="test-line", alt="a line", caption="A line.") for _ in range(2))
    assert first.html == again.html
    drawings = images(first.html)
    assert len(set(drawings)) == 4
    for mode, pair in zip(MODES, (drawings[:2], drawings[2:]), strict=True):
        assert all(PAGE[mode]["background"] in svg and PALETTE[mode]["blue"] in svg for svg in pair)
    assert "<dc:date>" not in "".join(drawings)
    assert first.html.count('alt="a line"') == 2


def test_panels_stand_side_by_side_when_wide_and_in_a_column_when_narrow():
    shapes = []

    def draw(axes: Any) -> None:
        shapes.append([(a.get_subplotspec().rowspan.start, a.get_subplotspec().colspan.start) for a in axes])

    plotting.figure(draw, name="test-panels", alt="two panels", caption="Two.", panels=2)
    assert shapes == [[(0, 0), (0, 1)], [(0, 0), (1, 0)]]


def everything(axes: Any) -> None:
    """Lines, marks, areas, words, a legend and a grid in the theme's colours."""
    for place, name in enumerate(PALETTE["light"]):
        axes.plot([0, 1], [place, 2], color=colour(name), marker="o", mfc=colour("background"), label=name)
    axes.fill_between([0, 1], [0, 1], [2, 3], color=colour("sky"), alpha=0.2, lw=0)
    axes.axhline(1, color=colour("muted"), ls="--")
    axes.text(0.5, 0.5, "words", color=colour("ink"))
    axes.set_title("title")
    axes.legend()


@pytest.mark.parametrize("draw", [line, everything])
def test_a_drawing_whose_colours_are_swapped_is_the_one_that_drawing_it_again_gives(draw):
    light, dark = (plotting._render(draw, "test-swap", mode, (5, 4), (1, 1)) for mode in MODES)
    swapped = plotting.in_dark(light[1])
    assert swapped is not None
    assert numbered(swapped) == numbered(dark[1]) != numbered(light[1])


def numbered(svg: bytes) -> bytes:
    """With matplotlib's identifiers, which are hashes of what they name, colours included, in order of appearance."""
    found: dict[bytes, bytes] = {}
    return re.sub(rb"\b[mph][0-9a-f]{10}\b", lambda match: found.setdefault(match[0], b"id%d" % len(found)), svg)


@pytest.mark.parametrize(
    "draw",
    [
        lambda axes: axes.plot([0, 1], [0, 1], color=sequential(3)[1]),
        lambda axes: axes.imshow(np.eye(3), cmap="cividis"),
    ],
)
def test_a_drawing_with_colours_of_its_own_is_drawn_again(draw):
    light, dark = (plotting._render(draw, "test-own", mode, (5, 4), (1, 1)) for mode in MODES)
    assert plotting.in_dark(light[1]) is None
    made = plotting.figure(draw, name="test-own", alt="a picture", caption="A picture.", size=(5, 4))
    assert dark[1].decode() in images(made.html)


def test_words_are_escaped_and_plain_text_is_the_alternative():
    made = plotting.figure(line, name="test-words", alt='a "line" <b>', caption="<script>x</script>")
    assert "<script>" not in made.html
    assert "<b>" not in made.html
    assert "&quot;line&quot;" in made.html
    assert made._repr_mimebundle_()["text/plain"] == 'a "line" <b>'


def test_a_drawing_with_too_many_marks_becomes_a_bitmap():
    made = plotting.figure(lambda axes: axes.plot(RNG_LINES), name="test-many", alt="many lines", caption="Many.")
    assert "data:image/png;base64," in made.html
    assert "image/svg" not in made.html


def test_an_interactive_figure_has_both_themes_and_a_static_twin_and_fetches_nothing():
    made = plotting.interactive(
        lambda: go.Figure(go.Scatter(x=[1, 2], y=[1, 2], name="</script><b>")),
        fallback=line, name="test-plotly", alt="a line", caption="A line.",
    )  # fmt: skip
    specs = re.findall(r'<script type="application/json" class="evolm-spec">(.*?)</script>', made.html)
    assert len(specs) == 1
    spec = json.loads(specs[0])
    for mode in MODES:
        assert spec[mode]["layout"]["template"]["layout"]["paper_bgcolor"] == PAGE[mode]["background"]
        assert spec[mode]["data"][0]["name"] == "</script><b>"
    assert len(images(made.html)) == 4
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", made.html)
