"""The command line through its real entry point: what it prints, refuses, and how it exits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import coin_project
import pytest
from coin_project import REPOSITORY, Project
from interrupts import interruptible

from evolm import arguments, cli
from evolm.finding import ParameterError

project = coin_project.project
HEAVY = ("torch", "pandas", "scipy", "numpy", "matplotlib", "papermill", "transformers")


def call(*words: str) -> int:
    """One command in this process through `main`; its exit code."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(words))
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The sentence on stderr of a command that is a usage mistake: exit code 2, one line, nothing on stdout."""
    assert call(*words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert said.err.startswith("evolm: ")
    return said.err


@pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "--json"], ["show", "coin-flips"], ["run", "--help"]])
def test_help_list_and_show_import_nothing_heavy(project: Project, words: list[str]) -> None:
    program = (
        "import sys\nfrom evolm.cli import main\n"
        "try:\n    main()\nfinally:\n    print('LOADED', *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.partition("LOADED")[2].split())
    assert "evolm.cli" in loaded
    assert not loaded & set(HEAVY)


def test_python_dash_m_and_the_installed_script_are_the_same_program(project: Project) -> None:
    done = project.evolm("list", "--json")
    assert done.returncode == 0
    listed = json.loads(done.stdout)
    assert [f["name"] for f in listed["findings"]] == ["coin-flips"]
    assert "overlap" in {i["name"] for i in listed["instruments"]}
    assert 'evolm = "evolm.cli:main"' in (REPOSITORY / "pyproject.toml").read_text()


def test_show_prints_claims_parameters_with_units_and_bounds_and_expected_times(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("show", "coin-flips") == 0
    text = capsys.readouterr().out
    for expected in (
        "heads-excess (core, superiority)",
        "control fair: a fair coin",
        "probability  float  ",
        "≥ 0, ≤ 1",
        "widths      [4,8]",
        "15 min of CPU",
    ):
        assert expected in text
    assert call("show", "coin-flips", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    widths = next(p for p in shown["parameters"] if p["name"] == "widths")
    assert widths["type"] == "list of int"
    assert widths["bounds"] == "each ≥ 1, ≤ 64, 1 or more"
    assert widths["presets"]["cpu"] == [4, 8]
    assert shown["presets"]["cpu"]["expected_time"] == "15 min of CPU time"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["show", "coin-flip"], "no finding 'coin-flip' - did you mean 'coin-flips'?"),
        (["run", "coin-flips", "-p", "bais=0.4"], "no parameter 'bais' - did you mean 'bias'?"),
        (["run", "coin-flips", "--preset", "cpuu"], "no preset 'cpuu' - did you mean 'cpu'?"),
        (["run", "coin-flips", "-p", "bias=much"], "bias = 'much' is refused"),
        (["run", "coin-flips", "-p", "bias=1.5"], "less than or equal to 1"),
        (["run", "coin-flips", "-p", "bias=NaN"], "finite number"),
        (["run", "coin-flips", "-p", "bias=Infinity"], "finite number"),
        (["run", "coin-flips", "-p", "widths=[]"], "at least 1"),
        (
            ["run", "coin-flips", "-p", "widths=[4,"],
            "widths needs a list, e.g. [4,8]; '[4,' is not valid JSON (missing ])",
        ),
        (["run", "coin-flips", "-p", "widths=4"], "widths needs a list, e.g. [4,8]; 4 is a single value, write [4]"),
        (["run", "coin-flips", "-p", "widths=[4,0]"], "widths[1] = 0 is refused"),
        (
            ["run", "coin-flips", "--preset", "paper"],
            "time on cpu not measured; 20 units. An interrupted run resumes. To",
        ),
        (["run", "coin-flips", "-p", "seeds=2.5"], "valid integer"),
        (["run", "coin-flips", "-p", "seeds=true"], "valid integer"),
        (["run", "coin-flips", "-p", "seeds=0"], "greater than or equal to 1"),
        (["run", "coin-flips", "-p", "bias"], "write -p name=value"),
        (["run", "coin-flips", "-p", "=3"], "write -p name=value"),
        (["run", "coin-flips", "-p", "bias="], "has no value"),
        (["run", "coin-flips", "-p", "preset=cpu"], "write --preset cpu"),
        (["run", "coin-flips", "-p", "bias=0.1", "-p", "bias=0.2"], "given twice"),
        (["run", "coin-flips", "-p", "bias=2", "-p", "flips=0"], "flips = 0 is refused"),
        (["run", "coin-flips", "--workers", "0"], "--workers"),
        (["run"], "Missing argument"),
        (["lst"], "list"),
        (["check", "coin"], "no finding 'coin'"),
        (["measure", "overlp", "model"], "did you mean 'overlap'?"),
        (["measure", "overlap", "model", "-o", "table.xls"], ".csv, .parquet or .json"),
        (
            ["measure", "overlap", "model", "-p", "null_draw=3"],
            "has no option 'null_draw' - did you mean 'null_draws'?",
        ),
        (["measure", "overlap", "model", "-p", "models=3"], "has no option 'models'"),
        (["measure", "overlap", "model", "-p", "seed=much"], "overlap: seed = much is refused"),
        (["measure", "width", "losses.csv", "--device", "cpu"], "instrument width has no option 'device'"),
        (["measure", "overlap", "model", "--device", "gpu"], "expected one of cpu, cuda"),
        (["assets", "fetch", "smollm"], "no asset 'smollm'"),
        (["book", "--preset", "smok"], "did you mean 'smoke'?"),
        (["record", "list", "coin"], "no finding 'coin'"),
    ],
)
def test_a_usage_mistake_is_one_sentence_with_the_nearest_name_and_exit_code_two(
    project: Project, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert sentence in refused(capsys, *words)
    assert not project.store.exists()


def test_a_failure_exits_one_without_a_traceback_and_with_one_under_evolm_debug(project: Project) -> None:
    quiet = project.evolm("record", "show", "abcdef")
    assert quiet.returncode == 1
    assert quiet.stderr == (
        "evolm: no record, local or kept, has a key that starts with 'abcdef': see `evolm record list`\n"
    )
    assert "Traceback" not in quiet.stderr
    loud = project.evolm("record", "show", "abcdef", EVOLM_DEBUG="1")
    assert loud.returncode == 1
    assert "Traceback" in loud.stderr


def test_run_prints_verdicts_record_and_page_from_any_folder(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = project.evolm("run", "coin-flips", "-p", "widths=[2,3]", "-o", "page.ipynb", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    (record,) = project.store.glob("coin-flips/*/manifest.json")
    assert json.loads(record.read_text())["params"]["widths"] == [2, 3]
    assert "reproduced" in done.stdout
    told = [f"record  {record.parent}", "page    page.ipynb", "open it with: jupyter lab page.ipynb"]
    assert done.stdout.splitlines()[-3:] == told
    assert "large-coin cannot speak at these parameters: too few flips" in done.stderr
    assert (elsewhere / "page.ipynb").is_file()


def test_an_interrupt_exits_130_keeps_finished_units_and_the_same_command_resumes(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "evolm", "run", "coin-flips"]
    environment = {**os.environ, "COIN_LOG": str(log), "COIN_PAUSE": "1"}
    running = subprocess.Popen(
        command, cwd=project.root, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible
    )
    while running.poll() is None and (not log.exists() or len(log.read_text().split()) < 3):
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "2 of 5 units are saved; the same command resumes" in told
    assert "Traceback" not in told
    monkeypatch.setenv("COIN_LOG", str(log))
    assert call("run", "coin-flips") == 0
    assert len(log.read_text().split()) == 3 + 3


def test_an_interrupt_of_the_notebook_exits_130_with_one_sentence_and_the_record_saved(
    project: Project, tmp_path: Path
) -> None:
    began = tmp_path / "began"
    coin_project.write_notebook(
        project.notebook,
        ["preset = 'smoke'", f"import pathlib, time\npathlib.Path({str(began)!r}).touch()\ntime.sleep(600)"],
    )
    command = [sys.executable, "-m", "evolm", "run", "coin-flips"]
    streams = {"stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen(command, cwd=project.root, start_new_session=True, preexec_fn=interruptible, **streams)
    while running.poll() is None and not began.exists():
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)  # as Ctrl-C does
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert told.splitlines()[-1] == "evolm: interrupted; the record is saved; the same command continues"
    assert "Traceback" not in told
    assert "zmq" not in told
    assert len(list(project.store.glob("coin-flips/*/manifest.json"))) == 1


def test_a_failing_cell_exits_one_and_names_the_cell_and_the_kept_notebook(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    coin_project.write_notebook(project.notebook, ["preset = 'smoke'", "1 / 0"])
    assert call("run", "coin-flips", "-o", str(project.root / "page.ipynb")) == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert "raised ZeroDivisionError: division by zero" in last
    assert str(project.root / "page.failed.ipynb") in last
    assert not (project.root / "page.ipynb").exists()


def test_measure_writes_tables_of_a_matrix_on_disk(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np
    import pandas as pd

    np.save(project.root / "rows.npy", np.random.default_rng(0).normal(size=(64, 8)).astype("float32"))
    table = project.root / "out" / "table.csv"
    words = ["measure", "overlap", str(project.root / "rows.npy"), "-p", "null_draws=1", "--device", "cpu"]
    assert call(*words, "-o", str(table), "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed) == len(pd.read_csv(table)) > 0
    assert {row["m"] for row in printed} == {8}

    assert call(*words) == 0
    short = capsys.readouterr()
    assert short.err == ""
    assert "rows: 64 rows of width 8. The mean squared cosine of two raw rows, times the width, is " in short.out
    assert max(map(len, short.out.splitlines())) <= 100
    (heads,) = [line for line in short.out.splitlines() if line.startswith("variant")]
    assert heads.split() == ["variant", "m·cos²", "interval", "random", "same", "spectrum", "Welch"]
    assert call(*words, "--wide") == 0
    assert "m_cos2_spectrum_se" in capsys.readouterr().out

    np.save(project.root / "across.npy", np.random.default_rng(0).normal(size=(8, 64)).astype("float32"))
    assert call("measure", "overlap", str(project.root / "across.npy"), "-p", "null_draws=1") == 0
    assert "across has 8 rows and 64 columns; expected one row per token" in capsys.readouterr().err


def test_record_commands_list_show_keep_import_verify_and_gc(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from evolm import finding, paths, runner
    from evolm.record import Store
    from evolm.runner import run_experiment

    monkeypatch.setattr(runner, "provenance", lambda device: {"git": {"commit": "abc", "dirty": True}})
    coin = finding.get("coin-flips")
    record = run_experiment(coin, coin.resolve("smoke"), preset="smoke", store=Store(project.store), progress=False)
    assert call("record", "list", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["key"], row["place"], row["preset"]) == (record.key, "local", "smoke")
    assert row["bytes"] == sum(file.stat().st_size for file in record.path.iterdir())

    assert call("record", "show", record.key[:8]) == 0
    shown = capsys.readouterr().out
    assert "parameter bias: 0.5" in shown
    assert "table flips: 10 rows" in shown

    assert call("record", "keep", record.key[:8]) == 0
    said = capsys.readouterr()
    assert "warning: this record was made with uncommitted changes" in said.err
    kept = project.root / "data" / "records" / "coin-flips" / record.key
    assert said.out.strip() == str(kept)
    assert call("record", "list", "--json") == 0
    assert [row["place"] for row in json.loads(capsys.readouterr().out)] == ["kept, local"]
    monkeypatch.setattr(paths, "checkout", lambda: None)
    assert call("record", "keep", record.key) == 1
    assert "kept in a source checkout" in capsys.readouterr().err

    monkeypatch.setenv("EVOLM_STORE", str(tmp_path / "other"))
    assert call("record", "import", str(kept)) == 0
    assert call("record", "verify") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 problems")
    damaged = tmp_path / "other" / "coin-flips" / record.key / "flips.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert call("record", "verify") == 1
    assert str(damaged) in capsys.readouterr().err
    assert call("record", "keep", str(damaged.parent)) == 1
    capsys.readouterr()

    (tmp_path / "other" / "coin-flips" / ".tmp-1").mkdir()
    assert call("record", "gc", "--older-than", "0") == 0
    assert capsys.readouterr().out.strip().endswith(".tmp-1")


def test_freeze_writes_the_lock_and_a_later_edit_shows(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("freeze", "coin-flips") == 0
    assert "heads-excess: frozen" in capsys.readouterr().out
    assert (project.manifest.parent / "claims.lock").is_file()


def test_shell_completion_offers_commands_and_findings(project: Project) -> None:
    def completed(line: str) -> list[str]:
        words = line.split(" ")
        env = {"_EVOLM_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        return project.evolm(**env).stdout.split()

    key = "0123456789abcdef"
    (project.store / "coin-flips" / key).mkdir(parents=True)
    assert "list" in completed("evolm li")
    assert completed("evolm show co") == ["coin-flips"]
    assert completed("evolm measure ov") == ["overlap"]
    assert completed("evolm record show 0123") == [key]
    assert completed("evolm run coin-flips -p fl") == ["flips="]
    assert completed("evolm measure overlap -p null") == ["null_draws="]


def test_without_a_command_the_help_is_printed_and_nothing_failed(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, known in (((), "measure"), (("record",), "keep")):
        assert call(*words) == 0
        said = capsys.readouterr()
        assert known in said.out
        assert said.err == ""


def test_an_expensive_run_starts_only_with_yes(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from evolm import runner

    monkeypatch.setattr(runner, "CODECARBON_FROM_CPU_SECONDS", float("inf"))  # it takes seconds to start
    text = project.manifest.read_text()
    project.manifest.write_text(text.replace("cpu_seconds=900.0", "cpu_seconds=7200.0"))
    sys.modules.pop("evolm.findings.coin_flips", None)
    said = refused(capsys, "run", "coin-flips", "--preset", "cpu")
    assert said == (
        "evolm: coin-flips at cpu: about 2.0 h of CPU time; 10 units. An interrupted run resumes. "
        "To start it, add --yes\n"
    )
    assert not project.store.exists()
    assert call("run", "coin-flips", "--preset", "cpu", "-p", "seeds=5", "-o", str(project.root / "short.ipynb")) == 0
    assert call("run", "coin-flips", "--preset", "cpu", "--yes") == 0
    assert call("run", "coin-flips", "--preset", "cpu") == 0  # what is there costs nothing


def test_run_warns_of_what_cannot_be_decided_and_says_why_it_was_not(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", "coin-flips", "-p", "seeds=3", "-p", "first_seed=998") == 0
    said = capsys.readouterr()
    assert "3 seeds cannot decide a claim; at least 5 are needed" in said.err
    assert "development seeds choose settings and never decide a claim: report seeds start at 1000" in said.err
    assert "\nheads-excess: inconclusive: 3 of at least 5 seeds" in said.out
    assert call("run", "coin-flips", "-p", "first_seed=995") == 0
    said = capsys.readouterr()
    assert "\nheads-excess: not assessable: development seeds choose settings and never decide a claim" in said.out
    key = next(line for line in said.out.splitlines() if line.startswith("record")).rpartition("/")[2]
    assert call("record", "keep", key) == 1
    assert "development seeds choose settings and never decide a claim; run it with -p first_seed=1000" in (
        capsys.readouterr().err
    )


def test_a_record_of_no_preset_is_listed_with_what_differs_and_not_kept(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", "coin-flips", "-p", "widths=[2,3]", "-p", "bias=0.4") == 0
    capsys.readouterr()
    assert call("record", "list") == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert "smoke" in row
    assert "bias=0.4" in row
    key = row.split()[0]
    assert call("record", "keep", key) == 1
    assert "it is smoke with bias=0.4 widths=[2,3]" in capsys.readouterr().err
    assert not (project.root / "data").exists()


def test_a_kept_record_of_the_same_run_is_copied_and_one_by_other_code_is_named(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import shutil

    assert call("run", "coin-flips") == 0
    capsys.readouterr()
    (folder,) = project.store.glob("coin-flips/*")
    shutil.copytree(folder, project.root / "data" / "records" / "coin-flips" / folder.name)
    shutil.rmtree(project.store)
    monkeypatch.setenv("COIN_LOG", str(tmp_path / "log"))
    assert call("run", "coin-flips") == 0
    assert f"the kept record {folder.name}" in capsys.readouterr().err
    assert folder.is_dir()
    assert not (tmp_path / "log").exists()

    shutil.rmtree(project.store)
    source = project.root / "site" / "coin_experiment.py"
    source.write_text(source.read_text().replace("scale=0.01", "scale=0.02"))
    sys.modules.pop("coin_experiment", None)
    assert call("run", "coin-flips") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"a kept record of these parameters exists ({folder.name}, " in said
    assert "made by other code: coin_experiment; computing again" in said
    assert len((tmp_path / "log").read_text().split()) == 5


def test_a_damaged_record_given_by_its_folder_is_told_where_it_is_and_no_command_that_is_not_one(
    project: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "downloads" / "record"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    assert call("record", "show", str(folder)) == 1
    said = capsys.readouterr().err
    assert str(folder / "manifest.json") in said
    assert "evolm run" not in said


def test_a_table_folds_into_the_terminal_and_a_long_list_says_how_many_it_holds() -> None:
    from evolm import terminal

    rows = [("a", "word " * 40, "x" * 10), ("b", "short", "y")]
    text = terminal.table(("name", "meaning", "end"), rows, 60)
    assert max(map(len, text.splitlines())) <= 60
    assert text.split().count("word") == 40
    assert terminal.table(("name", "end"), [("a", "b")], 60) == "name  end\na     b"
    assert terminal.shortened(list(range(27)), 16) == "[0,1,2, ... 27]"
    assert terminal.shortened(["facebook/opt-125m"] * 27, 20) == '["facebook/opt-125m", ... 27]'
    assert terminal.shortened([1, 2], 20) == "[1,2]"
    assert [terminal.count(n, "problem") for n in (0, 1, 2)] == ["0 problems", "1 problem", "2 problems"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 1e-3),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("[4,8,16]", [4, 8, 16]),
        ("(4, 8)", (4, 8)),
        ("[fair, loaded]", ["fair", "loaded"]),
        ('"3"', "3"),
        ("fair", "fair"),
        ("./a path", "./a path"),
    ],
)
def test_a_value_is_read_as_json_then_as_a_literal_then_as_text(text: str, value: object) -> None:
    assert arguments.assignments([f"name={text}"]) == {"name": value}


def test_null_means_as_in_the_preset() -> None:
    assert arguments.assignments(["bias=null", "flips=None"]) == {}


def test_several_mistakes_at_once_are_one_line() -> None:
    message, code = cli.explain(ParameterError("a is wrong\nb is wrong"))
    assert (message, code) == ("a is wrong; b is wrong", 2)


def test_an_internal_mistake_is_told_apart_from_a_refusal() -> None:
    assert cli.explain(TypeError("no"))[0].startswith("internal error, TypeError: no (EVOLM_DEBUG=1")
    assert cli.explain(OSError("disk full")) == ("disk full", 1)
