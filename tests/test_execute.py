"""Executing a notebook: the right interpreter, from any folder, whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

import coin_project
import nbformat
import pytest
from coin_project import Project, write_notebook

from evolm import execute, finding, forecast
from evolm.finding import ParameterError

project = coin_project.project


def outputs(page: Path) -> str:
    notebook = nbformat.read(page, as_version=4)
    return "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


def test_a_run_gives_a_record_and_a_page_that_computed_nothing_itself(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coin = finding.get("coin-flips")
    monkeypatch.setenv("COIN_LOG", str(tmp_path / "log"))
    record, page = execute.run(coin, "smoke", {"bias": 0.4}, progress=False)
    assert record.params["bias"] == 0.4
    assert (tmp_path / "log").read_text().split() == [f"seed={seed}" for seed in range(1000, 1005)]
    assert page == project.root / ".evolm" / "pages" / f"coin-flips-smoke-{record.key[:8]}.ipynb"
    injected = [
        c for c in nbformat.read(page, as_version=4).cells if "injected-parameters" in c.metadata.get("tags", [])
    ]
    assert injected[0].source.splitlines()[1:] == ['preset = "smoke"', "bias = 0.4"]
    assert "reproduced" in outputs(page)
    assert "evolm run coin-flips --preset smoke -p bias=0.4" in outputs(page)


def test_the_notebook_runs_in_its_own_folder_under_this_interpreter_whatever_kernels_are_installed(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = tmp_path / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    (kernels / "kernel.json").write_text('{"argv": ["/nowhere/python", "{connection_file}"], "display_name": "x"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    foreign = tmp_path / "elsewhere"
    foreign.mkdir()
    monkeypatch.chdir(foreign)
    write_notebook(
        project.notebook, ["x = 1", "import os, sys\nprint(sys.executable, os.getcwd(), os.environ['EVOLM_STORE'])"]
    )
    execute.execute_notebook(project.notebook, Path("page.ipynb"), {"x": 2}, progress=False)
    said = outputs(foreign / "page.ipynb")
    assert said.split() == [sys.executable, str(project.notebook.parent), str(project.store)]
    assert Path.cwd() == foreign


def test_a_failing_cell_keeps_what_was_executed_and_leaves_an_older_page_alone(project: Project) -> None:
    page = project.root / "page.ipynb"
    page.write_text("the older page")
    write_notebook(
        project.notebook, ["x = 1", "print('before')", "raise ValueError('no such width')", "print('after')"]
    )
    with pytest.raises(execute.ExecutionError, match=r"In \[3\] raised ValueError: no such width.*page.failed.ipynb"):
        execute.execute_notebook(project.notebook, page, {}, progress=False)
    assert page.read_text() == "the older page"
    said = outputs(page.with_name("page.failed.ipynb"))
    assert "before" in said
    assert "after" not in said
    write_notebook(project.notebook, ["x = 1"])
    execute.execute_notebook(project.notebook, page, {}, progress=False)
    assert sorted(p.name for p in page.parent.glob("*page*")) == ["page.ipynb"]


def test_a_dead_kernel_is_said_in_a_sentence(project: Project) -> None:
    write_notebook(project.notebook, ["x = 1", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"])
    with pytest.raises(execute.ExecutionError, match="kernel died"):
        execute.execute_notebook(project.notebook, project.root / "page.ipynb", {}, progress=False)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"bais": 0.4}, "did you mean 'bias'"),
        ({"bias": "much"}, "bias = 'much' is refused"),
        ({"bias": 1.5}, "less than or equal to 1"),
        ({"bias": float("nan")}, "finite number"),
        ({"widths": []}, "at least 1"),
        ({"widths": [4, 0]}, "greater than or equal to 1"),
        ({"flips": 2.5}, "valid integer"),
        ({"law": "crooked"}, "'fair' or 'loaded'"),
    ],
)
def test_a_bad_parameter_is_refused_before_anything_starts(
    project: Project, monkeypatch: pytest.MonkeyPatch, overrides: dict[str, object], sentence: str
) -> None:
    monkeypatch.setattr(execute, "execute_notebook", lambda *a, **k: pytest.fail("a kernel was started"))
    with pytest.raises(ParameterError, match=sentence):
        execute.run(finding.get("coin-flips"), "smoke", overrides)
    assert not project.store.exists()


def test_a_missing_notebook_or_an_unwritable_page_is_said_before_the_run(project: Project) -> None:
    coin = finding.get("coin-flips")
    with pytest.raises(ValueError, match=r"must be a file name that ends in \.ipynb"):
        execute.run(coin, "smoke", out=Path("page.html"))
    project.notebook.unlink()
    with pytest.raises(FileNotFoundError, match="coin-flips has no notebook"):
        execute.run(coin, "smoke")
    assert not project.store.exists()


def test_a_long_run_says_its_cost_and_what_is_saved_and_a_short_or_finished_one_does_not(project: Project) -> None:
    import pandas as pd

    from evolm.record import Store
    from evolm.runner import plan_run, run_experiment

    coin, store = finding.get("coin-flips"), Store(project.store)
    assert forecast.cost_message(coin, "smoke", coin.resolve("smoke"), store) is None
    params = coin.resolve("cpu")
    message = forecast.cost_message(coin, "cpu", params, store)
    assert message is not None
    assert "about 15 min of CPU time; 10 units" in message
    plan = plan_run(coin, params, store)
    for unit in plan.units[:6]:
        shards, cost = store.shards(coin.name, plan.key), {"cpu_s": 1.0}
        shards.save(unit.name, {"flips": pd.DataFrame({"seed": [unit.arguments["seed"]]})}, cost)
    message = forecast.cost_message(coin, "cpu", params, store)
    assert message is not None
    assert "about 6 min of CPU time; 6 of 10 units are saved already" in message
    afresh = forecast.cost_message(coin, "cpu", params, store, fresh=True)
    assert afresh is not None
    assert "15 min of CPU time; 10 units" in afresh
    twice = forecast.cost_message(coin, "cpu", coin.resolve("cpu", seeds=20), store)
    assert twice is not None
    assert "30 min" in twice
    store.shards(coin.name, plan.key).discard()
    run_experiment(coin, params, store=store, progress=False)
    assert forecast.cost_message(coin, "cpu", params, store) is None
