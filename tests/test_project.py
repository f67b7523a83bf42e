"""The files that say what to install agree: pyproject, lock, conda environment, hooks; and the tree is clean."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from environments import borrowing_environment, pip_into
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("book", "test", "paper", "energy")
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
CONDA_ENTRY = re.compile(r"^[a-z0-9][a-z0-9._-]*(=\d+(\.\d+)*|>=\d+(\.\d+)*(,<\d+(\.\d+)*)?)?$")
LOCKED = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.]*$")


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements(*extras: str) -> list[str]:
    project = pyproject()["project"]
    return [*project["dependencies"], *(r for extra in extras for r in project["optional-dependencies"][extra])]


def lock() -> dict[str, str]:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def pip_section() -> list[str]:
    (section,) = (entry["pip"] for entry in conda()["dependencies"] if isinstance(entry, dict))
    return section


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


# --- lock -------------------------------------------------------------------------------------------------


def test_lock_holds_plain_pins_only() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert lines == sorted(lines, key=str.lower)
    assert [line for line in lines if not LOCKED.match(line)] == []
    assert "evolm" not in lock()


def test_lock_pins_torch_without_a_build_so_that_cpu_and_gpu_builds_both_match() -> None:
    assert lock()["torch"] == "2.13.0"
    assert SpecifierSet("==2.13.0").contains("2.13.0+cpu")


@pytest.mark.parametrize("text", requirements(*EXTRAS, "dev"))
def test_lock_satisfies_every_requirement_of_pyproject(text: str) -> None:
    requirement = Requirement(text)
    assert requirement.specifier.contains(lock()[canonicalize_name(requirement.name)])


# --- conda ------------------------------------------------------------------------------------------------


def test_conda_environment_has_the_shape_that_conda_reads() -> None:
    assert set(conda()) == {"name", "channels", "dependencies"}
    assert conda()["channels"] == ["conda-forge"]
    plain = [entry for entry in conda()["dependencies"] if isinstance(entry, str)]
    assert [entry for entry in plain if not CONDA_ENTRY.match(entry)] == []
    assert {"pip", "c-compiler"} <= set(plain)


def test_conda_python_is_the_one_that_the_lock_was_made_with() -> None:
    (pin,) = (
        e.removeprefix("python=") for e in conda()["dependencies"] if isinstance(e, str) and e.startswith("python=")
    )
    assert f"# Python {pin}" in (ROOT / "requirements.lock").read_text()
    assert SpecifierSet(pyproject()["project"]["requires-python"]).contains(pin)


def test_conda_pip_section_is_pyproject_and_the_lock() -> None:
    assert pip_section() == ["-c requirements.lock", *requirements(*EXTRAS), "-e ."]


def test_conda_pip_section_installs_into_a_fresh_environment(tmp_path: Path) -> None:
    # Packages come from the running environment, which make builds from the same list and lock, so nothing is
    # fetched: --no-index turns anything that the section asks beyond that into an error.
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.lock"):
        shutil.copyfile(ROOT / name, clone / name)
    shutil.copytree(ROOT / "evolm", clone / "evolm", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("notebooks", "data"):
        (clone / name).mkdir()
    (clone / "section.txt").write_text("\n".join(pip_section()) + "\n")
    python = borrowing_environment(tmp_path / "venv")
    pip_into(python, "--no-index", "--no-build-isolation", "-r", "section.txt", cwd=clone)
    imported = subprocess.run(
        [python, "-c", "import evolm, jupyter_book, papermill, torch; print(evolm.__file__)"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(imported.stdout.strip()) == clone / "evolm" / "__init__.py"


# --- pre-commit -------------------------------------------------------------------------------------------


LANGUAGE = {"name": "python"}


def hooks() -> dict[str, dict]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    return {hook["id"]: hook for repository in config["repos"] for hook in repository["hooks"]}


def test_hooks_fetch_nothing() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    assert {hook["language"] for hook in hooks().values()} == {"system"}


def test_notebook_hook_strips_outputs_and_what_papermill_leaves(tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell("print(1)", execution_count=3, metadata={"tags": ["parameters"]})
    cell.metadata["papermill"] = {"duration": 1.5}
    cell.outputs = [nbformat.v4.new_output("stream", text="1\n")]
    kernel = {"name": "python3", "display_name": "Python 3"}
    metadata = {
        "kernelspec": kernel,
        "papermill": {"input_path": "here"},
        "language_info": LANGUAGE | {"version": "3.11.7"},
    }
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=metadata), tmp_path / "x.ipynb")
    program, *options = shlex.split(hooks()["nbstripout"]["entry"])
    assert program == ".venv/bin/nbstripout"
    subprocess.run([sys.executable, "-m", "nbstripout", *options, "x.ipynb"], cwd=tmp_path, check=True)
    stripped = nbformat.read(tmp_path / "x.ipynb", as_version=4)
    assert stripped.metadata == {"kernelspec": kernel, "language_info": LANGUAGE}
    assert stripped.cells[0].metadata == {"tags": ["parameters"]}
    assert (stripped.cells[0].outputs, stripped.cells[0].execution_count) == ([], None)


# --- the tree as a whole ------------------------------------------------------------------------------------


def test_license_is_the_whole_apache_2_text() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2
    assert pyproject()["project"]["license"] == "Apache-2.0"


def test_no_file_names_a_package_registry_or_a_machines_folder() -> None:
    forbidden = re.compile(rb"pypi\.org|pythonhosted\.org|--index-url|(?<![\w.])/(root|work|home/\w+)/")
    text = {".py", ".md", ".toml", ".yml", ".yaml", ".lock", ".cff", ".json", ".ipynb", ".html", ""}
    sources = [p for p in tracked() if p.suffix in text and "_vendor" not in p.parts and p != Path(__file__)]
    assert len(sources) > 20
    assert [str(p.relative_to(ROOT)) for p in sources if forbidden.search(p.read_bytes())] == []
