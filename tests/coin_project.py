"""A tiny project with one finding, `coin-flips`, and its notebook: for tests of the command line and the pages.

Use `pytest_plugins = ("coin_project",)` and the fixture `project`. Child processes (workers, kernels,
`python -m evolm`) see it too, through a `sitecustomize` on PYTHONPATH.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

MANIFEST = """
from typing import Annotated, Literal
from pydantic import Field
from evolm.finding import Citation, Claim, Finding, Params, Preset, parameter

class CoinParams(Params):
    bias: float = parameter(0.5, "how much heads are favoured", unit="probability", ge=0.0, le=1.0)
    flips: int = parameter(10, "flips per seed", unit="flips", ge=1, le=1000)
    widths: tuple[Annotated[int, Field(ge=1, le=64)], ...] = parameter((4, 8), "widths", unit="units", min_length=1)
    law: Literal["fair", "loaded"] = parameter("loaded", "which coin", unit="name")

SILENT = "not run at this scale"
SHARED = dict(unit="probability", delta=0.1, scope="this coin", paper="0.5 (Fig. 1)", paper_value=0.5,
              estimand="excess of heads", controls={"fair": "a fair coin has no excess"}, arm="loaded")
FINDING = Finding(
    name="coin-flips", title="Coin flips", sentence="A loaded coin shows <heads> more often.",
    citations=(Citation(key="coin", authors="A. Coin", year=2020, title="Flips", url="https://example.org"),),
    params=CoinParams,
    presets={
        "smoke": Preset(description="five coins", overrides={"seeds": 5}, cpu_seconds=1.0),
        "cpu": Preset(description="ten coins", overrides={"seeds": 10}, cpu_seconds=900.0),
        "gpu": Preset(description="twelve coins", overrides={"seeds": 12}, gpu_seconds=600.0),
        "paper": Preset(description="twenty coins", overrides={"seeds": 20}),
    },
    claims=(
        Claim(name="heads-excess", statement="Loaded coins show <b>heads</b>.", kind="superiority", measure="excess",
              core=True, **SHARED),
        Claim(name="large-coin", statement="So do large ones.", kind="superiority", measure="excess", core=False,
              cannot_speak=lambda params: "too few flips" if params.flips < 100 else None, **SHARED),
    ),
    experiment="coin_experiment", estimands="coin_estimands",
    deviations=("Coins are simulated.",),
    expected={"smoke": {"heads-excess": "reproduced", "large-coin": SILENT}},
)
"""

# COIN_LOG: a file that gets a line per unit that runs. COIN_PAUSE: seconds that each unit takes.
EXPERIMENT = """
import os
import time
import numpy as np
import pandas as pd
from evolm.unit import Unit

def units(params, device):
    return [Unit(name=f"seed={s}", arguments={"seed": s}) for s in params.seed_list]

def run_unit(params, unit, device):
    seed = unit.arguments["seed"]
    if log := os.environ.get("COIN_LOG"):
        with open(log, "a") as stream:
            stream.write(f"{unit.name}\\n")
    time.sleep(float(os.environ.get("COIN_PAUSE", 0)))
    noise = np.random.default_rng(seed).normal(scale=0.01, size=2)
    values = [params.bias + noise[0], noise[1]]
    return {"flips": pd.DataFrame({"seed": seed, "arm": ["loaded", "fair"], "value": values})}
"""

ESTIMANDS = """
def excess(tables, params):
    return tables["flips"]
"""

CELLS = [
    'preset = "smoke"\nbias = None',
    'from evolm.chapter import Chapter\nchapter = Chapter.open("coin-flips", globals())',
    "chapter.run()\nchapter.badges()",
    "chapter.claims_table()",
    "chapter.provenance_table()",
    "chapter.rerun_command()",
]


@dataclass(frozen=True)
class Project:
    """Where the project, its store and its notebook are, and how to run evolm on it as a person would."""

    root: Path
    store: Path

    @property
    def notebook(self) -> Path:
        return self.root / "notebooks" / "coin-flips.ipynb"

    @property
    def manifest(self) -> Path:
        return self.root / "findings" / "coin_flips" / "__init__.py"

    def evolm(self, *arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """`python -m evolm ...` in a process of its own."""
        command = [sys.executable, "-m", "evolm", *arguments]
        return subprocess.run(
            command, cwd=cwd or self.root, env={**os.environ, **env}, capture_output=True, text=True, timeout=300
        )


def write_notebook(path: Path, cells: list[str]) -> None:
    """A notebook of code cells whose first one is tagged `parameters`."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    # A kernel name that no machine has: what runs must be the interpreter of the test.
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def _site(root: Path) -> str:
    return f"""
import sys
from pathlib import Path
sys.path.append({str(REPOSITORY)!r})
import evolm.findings, evolm.paths
evolm.findings.__path__ = [{str(root / "findings")!r}]
evolm.paths.checkout = lambda: Path({str(root)!r})
evolm.paths.resource = lambda name: Path({str(root)!r}) / name
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The coin project, for this process and every child."""
    import evolm.findings
    from evolm import paths

    root = tmp_path / "pro{ject}"  # papermill formats paths: braces must not matter
    package, site = root / "findings" / "coin_flips", root / "site"
    package.mkdir(parents=True)
    site.mkdir()
    (package / "__init__.py").write_text(MANIFEST)
    (site / "coin_experiment.py").write_text(EXPERIMENT)
    (site / "coin_estimands.py").write_text(ESTIMANDS)
    (site / "sitecustomize.py").write_text(_site(root))
    made = Project(root, root / ".evolm" / "records")
    write_notebook(made.notebook, CELLS)
    for module in ("coin_experiment", "coin_estimands", "evolm.findings.coin_flips"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(REPOSITORY)]))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(evolm.findings, "__path__", [str(root / "findings")])
    monkeypatch.setattr(paths, "checkout", lambda: root)
    monkeypatch.setattr(paths, "resource", lambda name: root / name)
    for name, value in {"EVOLM_STORE": str(made.store), "EVOLM_WORKERS": "1", "EVOLM_DEVICE": "cpu"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # tests edit modules within a second
    monkeypatch.delenv("EVOLM_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    yield made
    for module in ("coin_experiment", "coin_estimands", "evolm.findings.coin_flips"):
        sys.modules.pop(module, None)
