"""A small book with one made-up finding: it has every kind of thing that a page can show, and runs nothing."""

from __future__ import annotations

import json
import re
import shutil
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from evolm import paths, plotting
from evolm.finding import Citation, Claim, Finding, Params
from evolm.verdict import ControlEffect, Verdict

WIDTHS = [4, 8, 16, 32, 64]
LOSS = [1.1 / m for m in WIDTHS]


def draw_lines(axes: Any) -> None:
    for number, hue in enumerate(("blue", "vermillion", "green")):
        values = [loss * (1 + number) for loss in LOSS]
        axes.loglog(WIDTHS, values, color=plotting.colour(hue), marker=plotting.MARKERS[number], label=f"arm {number}")
    axes.set(xlabel="model width m", ylabel="loss", title="Loss against width")
    plotting.plain_ticks(axes.xaxis, WIDTHS)
    axes.legend()


def draw_two(axes: Any) -> None:
    for panel in axes:
        draw_lines(panel)


def draw_plotly() -> Any:
    import plotly.graph_objects as go

    return go.Figure(go.Scatter(x=WIDTHS, y=LOSS, mode="lines+markers", name="loss <script>", line={"width": 3}))


@cache
def figures() -> list[plotting.Figure]:
    return [
        plotting.figure(draw_lines, name="demo-loss", alt="Loss falls with width in three arms", caption="Loss < 2."),
        plotting.figure(draw_two, name="demo-two", alt="Two panels of falling loss", caption="Two panels.", panels=2),
        plotting.interactive(
            draw_plotly,
            fallback=draw_lines,
            name="demo-plotly",
            alt="Loss falls with width",
            caption="Hover for values.",
        ),
    ]


class DemoParams(Params):
    """Nothing but seeds."""


def finding() -> Finding:
    claims = (
        _claim("loss-falls", "Loss falls with width as a power law with an exponent near one.", core=True),
        _claim("fraction-follows-decay", "The represented fraction follows weight decay.", core=True),
        _claim("overlaps-etf", "Overlaps lie <b>below</b> those of random vectors.", core=False),
    )
    preset = {"description": "demo"}
    return Finding.model_validate(
        {
            "name": "demo",
            "title": "Superposition yields robust scaling",
            "sentence": "A model that stores more features than it has dimensions loses in proportion to 1/m.",
            "citations": (
                Citation(
                    key="liu2025superposition",
                    authors="Liu, Liu, Gore",
                    year=2025,
                    title="Superposition",
                    url="https://x.org",
                ),
            ),
            "params": DemoParams,
            "presets": dict.fromkeys(("smoke", "cpu", "gpu", "paper"), preset),
            "claims": claims,
            "experiment": "none",
            "estimands": "none",
        }
    )


def _claim(name: str, statement: str, *, core: bool) -> Claim:
    return Claim(
        name=name, statement=statement, paper="1.01 ± 0.05, Figure 1", kind="superiority", measure="m",
        estimand="the difference", unit="nats", delta=0.1, controls={"frozen": "no training"}, scope="toy", core=core,
    )  # fmt: skip


def record(preset: str, day: str) -> Any:
    manifest = {
        "provenance": {"hardware": {"cpu": "AMD EPYC <7B13>", "gpu": None}},
        "started": f"{day}T10:00:00Z",
        "costs": {"cpu_s": 812.4, "wall_s": 420.0},
    }
    return SimpleNamespace(key=f"{preset}{'0' * 20}", preset=preset, manifest=manifest, params={})


def judged() -> list[tuple[Any, list[Verdict]]]:
    frozen = ControlEffect(name="frozen <i>rows</i>", estimate=0.42, low=0.3, high=0.55)
    common: dict[str, Any] = {"kind": "superiority", "unit": "nats", "level": 0.983, "seeds": 8, "controls": [frozen]}

    def verdicts(first: str, second: str) -> list[Verdict]:
        return [
            Verdict(claim="loss-falls", core=True, verdict=first, estimate=1.02, low=0.91, high=1.13, **common),
            Verdict(claim="fraction-follows-decay", core=True, verdict=second, estimate=-0.3, low=-0.5, high=0.1,
                    seeds_needed=14, note="The half-width is above delta.", **common),
            Verdict(claim="overlaps-etf", core=False, verdict="not specific", estimate=0.2, low=0.1, high=0.3,
                    **common),
        ]  # fmt: skip

    return [
        (record("smoke", "2026-11-20"), verdicts("inconclusive", "not run at this scale")),
        (record("cpu", "2026-11-19"), verdicts("reproduced", "inconclusive")),
    ]


def write_notebook(path: Path) -> None:
    """An executed notebook of the demo finding, as papermill would leave it."""
    cells = [
        _markdown(
            "# Superposition yields robust scaling\n\nWith overlaps $1/m$ the loss is\n\n$$L(m) = C\\, m^{-1}$$\n"
        ),
        _code("preset = 'smoke'", [], tags=["parameters"]),
        *(_code("figure", [_output(figure._repr_mimebundle_())]) for figure in figures()),
        _markdown("Scope and limits are in {cite:p}`liu2025superposition`.\n"),
    ]
    notebook = {
        "cells": [{**cell, "id": f"cell-{number}"} for number, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
            "papermill": {"output_path": str(path)},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(notebook))


def _markdown(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def _code(source: str, outputs: list[Any], tags: list[str] | None = None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"tags": tags or []}
    return {"cell_type": "code", "metadata": metadata, "source": source, "outputs": outputs, "execution_count": 1}


def _output(bundle: dict[str, Any]) -> dict[str, Any]:
    return {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": bundle}


def make_root(folder: Path) -> Path:
    """A checkout with the real prose, configuration and assets, whose one chapter is the demo finding."""
    root = paths.checkout()
    assert root is not None
    for name in ("_config.yml", "CONTRIBUTING.md"):
        shutil.copyfile(root / name, folder / name)
    shutil.copytree(root / "book", folder / "book", ignore=shutil.ignore_patterns("__pycache__"))
    for page in (folder / "book").glob("*.md"):
        page.write_text(re.sub(r"notebooks/[a-z-]+(?=[.)\n])", "notebooks/demo", page.read_text()))
    lines = [
        re.sub(r"notebooks/[a-z-]+", "notebooks/demo", line) for line in (root / "_toc.yml").read_text().splitlines()
    ]
    chapter = next(line for line in lines if "notebooks/demo" in line)
    kept = [line for i, line in enumerate(lines) if line != chapter or i == lines.index(chapter)]
    (folder / "_toc.yml").write_text("\n".join(kept) + "\n")
    return folder


def execute(which: Finding, preset: str, page: Path) -> Any:
    write_notebook(page)
    return judged()[0][0]
