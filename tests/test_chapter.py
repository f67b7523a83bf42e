"""What a notebook says of itself: parameters read and checked, verdicts and provenance shown, commands exact."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import coin_project
import nbformat
import pandas as pd
import papermill
import pytest
from coin_project import Project, write_notebook

from evolm import arguments, execute, finding, lock
from evolm.chapter import Chapter
from evolm.finding import ParameterError
from evolm.plotting import Figure
from evolm.record import Store
from evolm.runner import run_experiment

project = coin_project.project


def namespace(**parameters: Any) -> dict[str, Any]:
    """What a fresh IPython kernel holds when the cell of parameters has run."""
    hidden = {"In": ["", "preset = 'smoke'"], "Out": {}, "exit": object(), "quit": object(), "open": open, "_i1": "x"}
    imported = {"math": math, "Path": Path, "get_ipython": lambda: None, "__name__": "__main__"}
    return {**hidden, **imported, **parameters}


class Balanced(HTMLParser):
    """Fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        if tag not in ("br", "meta", "img"):
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def tags_of(fragment: Any) -> set[str]:
    parser = Balanced()
    parser.feed(fragment._repr_html_())
    assert parser.stack == []
    return parser.seen


def opened(project: Project, **parameters: Any) -> Chapter:
    chapter = Chapter.open("coin-flips", namespace(**parameters))
    chapter.run(progress=False)
    return chapter


def test_parameters_come_from_the_notebook_and_none_means_as_in_the_preset(project: Project) -> None:
    chapter = Chapter.open("coin-flips", namespace(preset="cpu", bias=0.4, seeds=None, widths=[2, 3]))
    assert (chapter.preset, chapter.params.bias, chapter.params.seeds, chapter.params.widths) == (
        "cpu",
        0.4,
        10,
        (2, 3),
    )
    assert Chapter.open("coin-flips", namespace()).preset == "smoke"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"bais": 0.4}, "no parameter 'bais' - did you mean 'bias'"),
        ({"prest": "cpu"}, "did you mean 'preset'"),
        ({"seed": 3}, "did you mean 'seeds'"),
        ({"width": [3]}, "did you mean 'widths'"),
        ({"unrelated": None}, "no parameter 'unrelated'"),
        ({"bias": "0.4"}, "bias = '0.4' is refused"),
        ({"bias": float("nan")}, "finite"),
        ({"preset": "cpuu"}, "did you mean 'cpu'"),
        ({"preset": 3}, "must be text"),
    ],
)
def test_a_parameter_that_cannot_be_meant_is_refused(project: Project, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        Chapter.open("coin-flips", namespace(**given))


def test_reopening_ignores_what_later_cells_defined_but_not_a_typo_in_the_parameters(project: Project) -> None:
    names = namespace(preset="smoke")
    Chapter.open("coin-flips", names)
    names.update(total=3, bais=0.1)
    names["In"] += ["total = 3; bais = 0.1", "%matplotlib inline"]
    assert Chapter.open("coin-flips", names).preset == "smoke"
    names["In"] += ["preset = 'smoke'\nbais: float = 0.1"]
    with pytest.raises(ParameterError, match="did you mean 'bias'"):
        Chapter.open("coin-flips", names)


def test_plain_papermill_with_a_misspelt_parameter_stops_in_the_first_cell(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    monkeypatch.chdir(foreign)
    with pytest.raises(papermill.exceptions.PapermillExecutionError, match="did you mean 'bias'"):
        papermill.execute_notebook(
            execute._without_templates(project.notebook), "out.ipynb", {"bais": 0.4}, progress_bar=False
        )
    done = nbformat.read("out.ipynb", as_version=4)
    ran = [c for c in done.cells if c.cell_type == "code" and c.execution_count]
    assert len(ran) == 3  # the parameters, the injected ones, and the cell that refuses
    assert not project.store.exists()


def test_a_chapter_before_its_run_says_what_to_do(project: Project) -> None:
    with pytest.raises(RuntimeError, match=r"call chapter.run\(\) first"):
        _ = Chapter.open("coin-flips", namespace()).tables


def test_badges_show_this_run_and_beside_it_the_best_kept_evidence(project: Project) -> None:
    coin = finding.get("coin-flips")
    alone = opened(project, bias=0.0)
    assert "kept" not in repr(alone.badges())
    assert "not reproduced (this run, custom" in repr(alone.badges())
    kept = Store(project.root / "data" / "records")
    for preset in ("cpu", "smoke"):
        run_experiment(coin, coin.resolve(preset), preset="custom", store=kept, progress=False)
    run_experiment(coin, coin.resolve("gpu", bias=0.0), store=kept, progress=False)  # nobody's preset: no evidence
    chapter = opened(project, bias=0.0)
    assert len(chapter.kept) == 3
    assert [record.params["seeds"] for record, _ in chapter.judged] == [5, 10]
    shown = chapter.badges()
    assert tags_of(shown) >= {"li", "span"}
    assert shown.html.index("evolm-badge") < shown.html.index("kept, ") < shown.html.index("this run")
    assert "✓ reproduced (kept, " in repr(shown)
    assert "&lt;b&gt;heads&lt;/b&gt;" in shown.html
    assert "<b>heads" not in shown.html
    assert "large-coin" not in shown.html


def test_every_claim_has_paper_estimate_controls_lock_and_scale(project: Project) -> None:
    table = opened(project).claims_table()
    assert tags_of(table) >= {"section", "h4", "details"}
    for expected in ("0.5 (Fig. 1)", "less control fair: 0.50", "not frozen", "5 seeds", "too few flips"):
        assert expected in table.html
    assert "exploratory: not run at this scale" in table.html
    assert table.html.index("heads-excess") < table.html.index("large-coin")
    assert "no kept record speaks about it" in repr(table)


def drawing(tables: Mapping[str, pd.DataFrame], params: Any) -> Figure:
    return Figure(
        "coins", f"{len(tables['flips'])} rows of {params.seeds} seeds", f'<img id="coins" alt="{params.seeds}">'
    )


def test_a_figure_shows_the_larger_run_first_and_the_other_folded_and_labelled(project: Project) -> None:
    alone = opened(project).beside(drawing)
    assert tags_of(alone) == {"style", "p", "img"}
    assert "This run: smoke" in repr(alone)
    coin = finding.get("coin-flips")
    run_experiment(
        coin, coin.resolve("cpu"), preset="cpu", store=Store(project.root / "data" / "records"), progress=False
    )
    both = opened(project).beside(drawing)
    assert both.html.index("Kept record: cpu") < both.html.index("<details") < both.html.index("This run: smoke")
    assert both.html.count('id="coins"') == both.html.count('id="coins-kept"') == 1
    larger = Chapter.open("coin-flips", namespace(preset="gpu"))
    larger.run(progress=False)
    turned = larger.beside(drawing)
    assert turned.html.index("This run: gpu") < turned.html.index("<details") < turned.html.index("Kept record: cpu")


def test_what_a_record_says_is_escaped(project: Project) -> None:
    chapter = opened(project)
    source = chapter.record.manifest["provenance"]
    source["os"] = "<script>alert(1)</script>"
    shown = chapter.provenance_table()
    assert "script" not in tags_of(shown)
    assert "&lt;script&gt;" in shown.html


def test_provenance_shows_parameters_with_units_and_the_measured_cost(project: Project) -> None:
    shown = repr(opened(project, bias=0.4).provenance_table())
    for expected in (
        "probability",
        "preset smoke: 0.5",
        "Python 3",
        "torch 2",
        "CPU time",
        "peak memory",
        "Wh (estimate",
    ):
        assert expected in shown


def test_the_rerun_command_gives_the_same_parameters_again(project: Project) -> None:
    chapter = Chapter.open("coin-flips", namespace(preset="cpu", bias=0.4, widths=[2, 3], law="fair"))
    block = chapter.rerun_command()
    assert block._repr_markdown_().startswith("```bash\n")
    words = shlex.split(repr(block).splitlines()[0])
    assert words[:5] == ["evolm", "run", "coin-flips", "--preset", "cpu"]
    given = arguments.assignments(words[6::2])
    assert set(given) == {"bias", "widths", "law"}
    assert finding.get("coin-flips").resolve("cpu", **given) == chapter.params
    plain = Chapter.open("coin-flips", namespace(preset="gpu")).rerun_command()
    assert repr(plain).splitlines()[0] == "evolm run coin-flips --preset gpu"


def test_the_plain_papermill_command_gives_the_same_parameters_again(project: Project) -> None:
    from papermill.cli import papermill as command

    chapter = Chapter.open("coin-flips", namespace(preset="cpu", bias=0.4, widths=[2, 3]))
    words = shlex.split(repr(chapter.rerun_command()).splitlines()[-1])
    parsed = command.make_context("papermill", words[1:]).params
    assert parsed["parameters"] == (("preset", "cpu"),)
    assert parsed["parameters_yaml"] == ("bias: 0.4", "widths: [2,3]")


def test_numbers_for_prose_come_from_the_verdicts(project: Project) -> None:
    chapter = opened(project)
    verdict = chapter.verdicts[0]
    assert chapter.value("heads-excess") == f"{verdict.estimate:.3g}"
    assert chapter.value("heads-excess", "seeds") == "5"
    assert chapter.value("heads-excess", "paper") == "0.5"
    assert chapter.value("heads-excess", "full").endswith("] probability")
    assert chapter.value("large-coin") == "–"
    assert chapter.value("heads-excess", kept=True) == "(no kept record)"
    with pytest.raises(KeyError, match="there are: estimate"):
        chapter.value("heads-excess", "estmate")
    with pytest.raises(KeyError, match="did you mean 'heads-excess'"):
        chapter.value("head-excess")


def test_a_number_is_told_with_its_interval_verdict_and_controls_from_the_best_kept_record(project: Project) -> None:
    assert opened(project).told("heads-excess") == "no kept record speaks about it yet"
    coin = finding.get("coin-flips")
    kept = Store(project.root / "data" / "records")
    run_experiment(coin, coin.resolve("cpu"), preset="cpu", store=kept, progress=False)
    chapter = opened(project)
    number, interval, verdict, controls = (
        chapter.value("heads-excess", what, kept=True) for what in ("estimate", "interval", "verdict", "controls")
    )
    assert controls
    bare = f"**{number}** {interval} (*{verdict}*)"
    assert chapter.told("heads-excess", controls=False) == bare
    beside = [text for text in controls.split("; ") if not text.startswith(f"{number} ")]
    assert chapter.told("heads-excess") == "; ".join([bare[:-1], *beside]) + ")"
    with pytest.raises(KeyError, match="did you mean 'heads-excess'"):
        chapter.told("head-excess")


def test_deviations_name_the_paper_and_the_parameters_that_differ(project: Project) -> None:
    chapter = Chapter.open("coin-flips", namespace(widths=[2]))
    assert repr(chapter.deviations()).splitlines() == [
        "- Coins are simulated.",
        "- This run has widths = [2]; the preset smoke has [4, 8].",
    ]


def test_deviations_name_what_changed_since_the_claims_were_frozen(project: Project) -> None:
    lock.freeze(finding.get("coin-flips"), "2026-11-01", records_exist=False)
    assert len(repr(opened(project).deviations()).splitlines()) == 1
    experiment = project.root / "site" / "coin_experiment.py"
    experiment.write_text(experiment.read_text() + "MORE = 1\n")
    assert repr(opened(project).deviations()).splitlines()[-1] == (
        "- The experiment's code has changed since the claims were frozen on 2026-11-01."
    )


def test_the_chapter_runs_in_a_kernel_with_parameters_no_one_planned_for(project: Project, tmp_path: Path) -> None:
    page = tmp_path / "page.ipynb"
    write_notebook(project.notebook, [*coin_project.CELLS[:3], "print(sorted(chapter.tables), chapter.kept)"])
    execute.execute_notebook(project.notebook, page, {"seeds": 3, "widths": [4, 8, 16]}, progress=False)
    printed = nbformat.read(page, as_version=4).cells[-1].outputs[0].text
    assert printed == "['flips'] []\n"
