"""The wheel alone is useful: installed in an empty folder with nothing else there, it lists, measures and runs.

Dependencies are borrowed from the running environment; its editable evolm is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from environments import borrowing_environment, pip_into

from evolm import finding

ROOT = Path(__file__).resolve().parent.parent
#: The smallest run of every finding that still goes end to end; a finding that is not named runs its smoke preset.
TINY = {
    "superposition": {
        "seeds": 1,
        "n": 40,
        "widths": [4, 8, 16],
        "steps": 60,
        "batch_size": 32,
        "sweep_steps": [],
        "sweep_features": [],
        "models": [],
    },
    "one-shot": {
        "seeds": 1,
        "examples": 1,
        "control_examples": 1,
        "rl_steps": 32,
        "every": 16,
        "problems": 20,
        "validation_problems": 20,
    },
    "stability-gap": {"seeds": 1, "width": 16, "layers": 1, "pretrain_steps": 21, "steps": 20, "warmup": 2},
    "harmonic-loss": {
        "seeds": 1,
        "epochs": 8,
        "long_epochs": 20,
        "shares": [],
        "authors_shares": [],
        "splits": [],
        "tasks": [],
        "image_epochs": 4,
    },
    "grokking-pathways": {
        "seeds": 1,
        "symbols": 20,
        "steps": 40,
        "checkpoints": 10,
        "text_seeds": 0,
    },
}


class Installed:
    """A fresh environment with the wheel in it, and the empty folder that commands are typed in."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder / "empty"
        self.folder.mkdir()
        self.python = borrowing_environment(folder / "venv")
        self.site = next((folder / "venv").glob("lib/python3*/site-packages"))
        pip_into(self.python, "--no-deps", "--no-index", wheel, cwd=self.folder)
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("EVOLM_", "PYTHON", "VIRTUAL_ENV"))}
        self.environment = {**keep, "HOME": str(folder / "home"), "XDG_DATA_HOME": "", "XDG_CACHE_HOME": ""}

    def run(self, *words: str | Path) -> str:
        done = subprocess.run(
            [self.python.with_name(str(words[0])), *words[1:]],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("installed"), wheel)


def test_wheel_carries_notebooks_data_and_license_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"evolm/_bundle/notebooks/{name}.ipynb" for name in finding.findings()} <= names
    assert "evolm/_bundle/data/README.md" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"evolm"}


def test_wheel_carries_every_source_and_resource_of_the_package(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "evolm", "data", "notebooks"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    sources = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    inside = {name.removeprefix("evolm/_bundle/") for name in zipfile.ZipFile(wheel).namelist()}
    assert sources - inside == set()


def test_the_wheels_own_package_is_what_is_imported(installed: Installed) -> None:
    imported = installed.run("python", "-c", "import evolm; print(evolm.__file__)")
    assert Path(imported.strip()) == installed.site / "evolm" / "__init__.py"


def test_wheel_lists_and_shows_every_finding(installed: Installed) -> None:
    listed = json.loads(installed.run("evolm", "list", "--json"))
    assert [entry["name"] for entry in listed["findings"]] == list(finding.findings())
    for name, known in finding.findings().items():
        shown = json.loads(installed.run("evolm", "show", name, "--json"))
        assert [claim["name"] for claim in shown["claims"]] == [claim.name for claim in known.claims]


def test_wheel_measures_a_model_on_disk(installed: Installed) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=96, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(installed.folder.parent / "model")
    rows = json.loads(installed.run("evolm", "measure", "overlap", "../model", "--json"))
    assert 96 in rows[0].values()
    assert 16 in rows[0].values()


@pytest.mark.parametrize("name", finding.findings())
def test_wheel_runs_a_finding_from_an_empty_folder(installed: Installed, name: str) -> None:
    overrides = TINY.get(name, {})
    words = [word for key, value in overrides.items() for word in ("-p", f"{key}={json.dumps(value)}")]
    installed.run("evolm", "run", name, "--preset", "smoke", *words, "-o", "page.ipynb")
    page = json.loads((installed.folder / "page.ipynb").read_text())
    assert any(cell.get("outputs") for cell in page["cells"])
    records = json.loads(installed.run("evolm", "record", "list", name, "--json"))
    (local,) = (record for record in records if record["place"] == "local")
    assert not Path(local["path"]).is_relative_to(installed.site)
    assert [path.name for path in installed.folder.iterdir()] == ["page.ipynb"]
