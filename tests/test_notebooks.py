"""Every notebook is clean to store, and runs with nbval and with plain papermill from a foreign folder.

Runs reuse the checkout's record store, so what one of them computed the others find.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
import yaml

from evolm import finding

pytestmark = pytest.mark.timeout(1800)  # one that waits for another process's runs, too
ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROSE = sorted((ROOT / "book").glob("*.ipynb"))
LONGEST_CELL = 40


@pytest.fixture(autouse=True)
def _alone(one_at_a_time: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    with one_at_a_time():
        yield


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def tags(cell: Any) -> list[str]:
    return cell.metadata.get("tags", [])


def vacuous_checks(cells: list[Any]) -> list[str]:
    """Ids of cells that nbval would compare with a stored output which is not there: they pass whatever happens."""
    checking = (cell for cell in cells if "nbval-check-output" in tags(cell) or "# NBVAL_CHECK_OUTPUT" in cell.source)
    return [cell.id for cell in checking if not cell.outputs]


def environment() -> dict[str, str]:
    """As a user's own: the checkout's store, and the package importable whether or not it is installed."""
    keep = {name: value for name, value in os.environ.items() if name != "EVOLM_STORE"}
    return {**keep, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


def run(*command: str | Path, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, env=environment(), capture_output=True, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"


def test_there_is_a_notebook_for_every_finding_and_no_other() -> None:
    assert NOTEBOOKS
    assert {path.stem for path in NOTEBOOKS} == set(finding.findings())


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Path:
    """A finding's notebook."""
    return request.param


@pytest.fixture(params=[*NOTEBOOKS, *PROSE], ids=lambda path: path.stem)
def stored(request: pytest.FixtureRequest) -> Path:
    """Any notebook that is stored here, the executable pages of the book's prose included."""
    return request.param


# --- lint -------------------------------------------------------------------------------------------------


def test_notebook_is_valid_and_its_cells_have_ids(stored: Path) -> None:
    nbformat.validate(read(stored))
    assert (read(stored).nbformat, read(stored).nbformat_minor) >= (4, 5)
    ids = [cell.get("id") for cell in read(stored).cells]
    assert all(ids)
    assert len(set(ids)) == len(ids)


def test_notebook_is_stored_stripped(stored: Path, tmp_path: Path) -> None:
    copy = tmp_path / stored.name
    copy.write_bytes(stored.read_bytes())
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    (entry,) = (hook["entry"] for hook in hooks if hook["id"] == "nbstripout")
    run("nbstripout", *shlex.split(entry)[1:], copy, cwd=tmp_path)
    assert read(copy) == read(stored), "outputs or run-time metadata are stored; run: pre-commit run --all-files"


def test_notebook_names_the_kernel_that_every_machine_has(stored: Path) -> None:
    assert read(stored).metadata.kernelspec.name == "python3"


def test_notebook_starts_with_a_title(stored: Path) -> None:
    first = read(stored).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")


def test_no_cell_is_compared_with_an_output_that_is_not_stored(stored: Path) -> None:
    assert vacuous_checks(code_cells(stored)) == []


def test_the_guard_sees_a_vacuous_comparison() -> None:
    tagged = nbformat.v4.new_code_cell("1 + 1", metadata={"tags": ["nbval-check-output"]})
    commented = nbformat.v4.new_code_cell("# NBVAL_CHECK_OUTPUT\n1 + 1")
    stored = nbformat.v4.new_code_cell("# NBVAL_CHECK_OUTPUT\n1 + 1")
    stored.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=1)]
    assert vacuous_checks([tagged, commented, stored]) == [tagged.id, commented.id]


def test_notebook_has_one_parameters_cell_and_it_is_the_first_code_cell(notebook: Path) -> None:
    tagged = [index for index, cell in enumerate(code_cells(notebook)) if "parameters" in tags(cell)]
    assert tagged == [0]


def test_notebook_cells_fit_a_screen(notebook: Path) -> None:
    lengths = {cell.id: len(cell.source.splitlines()) for cell in code_cells(notebook)}
    assert {name: length for name, length in lengths.items() if length > LONGEST_CELL} == {}


def test_notebook_lists_the_preset_and_only_parameters_that_exist(notebook: Path) -> None:
    listed = set(papermill.inspect_notebook(str(notebook)))
    assert "preset" in listed
    assert listed - {"preset"} <= set(finding.get(notebook.stem).params.model_fields)


# --- execution --------------------------------------------------------------------------------------------


def test_notebook_runs_with_nbval(notebook: Path, tmp_path: Path) -> None:
    # Not this project's pytest options: as a user would type it, from a folder of their own.
    options = ["--nbval-lax", "--nbval-cell-timeout=600", "-p", "no:cacheprovider", "-c", os.devnull]
    run("pytest", *options, "--rootdir", tmp_path, notebook, cwd=tmp_path)


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def executed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook executed at `smoke` by plain papermill in a folder that has nothing to do with the checkout."""
    folder = tmp_path_factory.mktemp(request.param.stem)
    out = folder / request.param.name
    run("papermill", request.param, out.name, "-p", "preset", "smoke", "--no-progress-bar", cwd=folder)
    return out


def test_plain_papermill_runs_it_from_a_foreign_folder_and_leaves_only_the_page(executed: Path) -> None:
    assert not read(executed).metadata.papermill.exception
    assert [path.name for path in executed.parent.iterdir()] == [executed.name]


def test_figures_are_named_after_their_finding_and_described_in_words(executed: Path) -> None:
    html = "\n".join(shown_html(executed))
    names = re.findall(r'<figure class="evolm-figure[^"]*" id="([^"]*)"', html)
    assert names
    assert [name for name in names if not name.startswith(f"{executed.stem}-")] == []
    assert len(set(names)) == len(names)
    assert [tag for tag in re.findall(r"<img [^>]*>", html) if not re.search(r'alt="[^"]{20,}"', tag)] == []


def shown_html(executed: Path) -> list[str]:
    outputs = (output for cell in code_cells(executed) for output in cell.outputs)
    return ["".join(output.data["text/html"]) for output in outputs if "text/html" in output.get("data", {})]
