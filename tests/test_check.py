"""`evolm check`: a verdict that moved either way exits 1, an open core claim exits 2, else 0."""

from __future__ import annotations

import json
import sys

import coin_project
import pytest
from coin_project import Project

from evolm import cli, finding
from evolm.record import Record, Store
from evolm.runner import run_experiment

project = coin_project.project


def check(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, list]]:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["check", "--json", *words])
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == stopped.value.code
    return told["exit_code"], told


def freeze(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["freeze", "coin-flips"])
    capsys.readouterr()


def run(project: Project, preset: str = "smoke", *, kept: bool, **overrides: object) -> Record:
    coin = finding.get("coin-flips")
    store = Store(project.root / "data" / "records" if kept else project.store)
    # Not labelled with the preset: which preset a record is of shows in its parameters.
    return run_experiment(coin, coin.resolve(preset, **overrides), store=store, progress=False)


def edit_manifest(project: Project, old: str, new: str) -> None:
    text = project.manifest.read_text()
    assert old in text
    project.manifest.write_text(text.replace(old, new))
    sys.modules.pop("evolm.findings.coin_flips", None)


def test_everything_as_expected_and_decided_exits_zero(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    freeze(capsys)
    run(project, kept=True)
    run(project, kept=False)
    code, told = check(capsys)
    assert code == 0, told
    # Both stores hold it: judged once.
    assert [(line["kept"], line["local"], line["found"]) for line in told["lines"]] == [
        (True, True, "reproduced"),
        (True, True, "not run at this scale"),
    ]
    run(project, "cpu", kept=False)
    assert [(line["kept"], line["local"]) for line in check(capsys)[1]["lines"][2:]] == [(False, True)] * 2
    assert check(capsys, "coin-flips")[0] == 0


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    ("expected", "why"), [("not reproduced", "it improved"), ("inconclusive", "it was open"), ("not specific", "")]
)
def test_a_verdict_that_differs_from_the_expected_one_exits_one(
    project: Project, capsys: pytest.CaptureFixture[str], kept: bool, expected: str, why: str
) -> None:
    freeze(capsys)
    run(project, kept=kept)
    edit_manifest(project, '"heads-excess": "reproduced"', f'"heads-excess": "{expected}"')
    code, told = check(capsys)
    assert code == 1, why
    assert [line["claim"] for line in told["lines"] if line["changed"]] == ["heads-excess"]


def test_a_worse_verdict_of_changed_estimands_exits_one(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run(project, kept=True)
    estimands = project.root / "site" / "coin_estimands.py"
    estimands.write_text('def excess(tables, params):\n    return tables["flips"].assign(value=0.0)\n')
    sys.modules.pop("coin_estimands", None)
    freeze(capsys)
    code, told = check(capsys)
    assert code == 1
    assert told["lines"][0]["found"] == "not reproduced"


def test_an_undecided_core_claim_of_the_best_kept_evidence_exits_two(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    freeze(capsys)
    code, told = check(capsys)
    assert code == 2
    assert told["undecided"] == ["coin-flips: no kept record can speak about heads-excess"]
    run(project, kept=True)
    assert check(capsys)[0] == 0
    # A larger scale that leaves it open outweighs the smaller one that decided.
    edit_manifest(project, 'overrides={"seeds": 10}', 'overrides={"seeds": 3}')
    edit_manifest(
        project,
        'expected={"smoke"',
        'expected={"cpu": {"heads-excess": "inconclusive", "large-coin": SILENT}, "smoke"',
    )
    run(project, "cpu", kept=True)
    code, told = check(capsys)
    assert code == 2
    assert told["undecided"][0].startswith("coin-flips: heads-excess is inconclusive at cpu. 3 of")


def test_a_kept_record_without_accepted_verdicts_counts_and_a_local_one_does_not(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    freeze(capsys)
    run(project, kept=True)
    run(project, "paper", kept=False)
    assert check(capsys)[0] == 0
    run(project, "paper", kept=True)
    code, told = check(capsys)
    assert code == 1
    assert {(line["preset"], line["expected"]) for line in told["lines"] if line["changed"]} == {("paper", None)}


def test_a_record_with_parameters_of_its_own_is_not_judged_against_a_preset(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    freeze(capsys)
    record = run(project, kept=False, bias=0.0)
    told = check(capsys)[1]
    assert told["lines"] == []
    assert told["custom"] == [record.key]
    with pytest.raises(SystemExit):
        cli.main(["check"])
    assert "1 record with parameters of no preset was not judged" in capsys.readouterr().err


def test_development_seeds_keep_their_estimates_and_decide_nothing(project: Project) -> None:
    from evolm import judging

    coin = finding.get("coin-flips")
    for bias, decided in ((0.5, "reproduced"), (0.0, "not reproduced")):
        report = judging.verdicts(coin, run(project, kept=False, bias=bias))[0]
        assert report.verdict == decided
        for first_seed in (0, 996):  # one seed below 1000 is enough
            development = judging.verdicts(coin, run(project, kept=False, bias=bias, first_seed=first_seed))[0]
            assert development.verdict == "not assessable"
            assert development.note.startswith("development seeds choose settings and never decide a claim")
            assert development.estimate == pytest.approx(report.estimate, abs=0.05)
            assert development.low is not None
        few = judging.verdicts(coin, run(project, kept=False, bias=bias, first_seed=0, seeds=2))[0]
        assert few.verdict == "inconclusive"


def test_damage_an_unfrozen_claim_and_a_stale_expectation_are_problems(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    record = run(project, kept=True)
    code, told = check(capsys)
    assert code == 1
    assert told["problems"] == [
        "coin-flips: heads-excess, large-coin not frozen as stated now: run `evolm freeze coin-flips`"
    ]
    freeze(capsys)
    assert check(capsys)[0] == 0
    edit_manifest(project, '{"heads-excess": "reproduced"', '{"tails": "reproduced", "heads-excess": "reproduced"')
    assert "'tails', which is no claim any more" in check(capsys)[1]["problems"][0]
    edit_manifest(project, '"tails": "reproduced", ', "")
    table = record.path / "flips.parquet"
    table.write_bytes(table.read_bytes()[:-10])
    code, told = check(capsys)
    assert code == 1
    assert str(table) in told["problems"][0]


def test_a_claim_edited_after_the_data_stays_visible_but_is_no_problem_once_frozen_again(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    freeze(capsys)
    run(project, kept=True)
    edit_manifest(project, "So do large ones.", "So do the largest.")
    assert check(capsys)[0] == 1
    freeze(capsys)
    assert check(capsys)[0] == 0
    from evolm import lock

    assert lock.status(finding.get("coin-flips"))["large-coin"].startswith("revised after data")


def test_the_text_says_what_changed(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run(project, kept=True)
    edit_manifest(project, '"heads-excess": "reproduced"', '"heads-excess": "inconclusive"')
    with pytest.raises(SystemExit):
        cli.main(["check"])
    said = capsys.readouterr()
    assert "CHANGED, expected: inconclusive" in said.out
    assert "2 verdicts, 1 changed, 1 problem, 0 core claims undecided in the best kept evidence" in said.err


def test_an_experiment_changed_since_the_freeze_is_a_remark_and_no_failure(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    freeze(capsys)
    run(project, kept=True)
    assert check(capsys)[1]["remarks"] == []
    edit_manifest(project, 'overrides={"seeds": 12}', 'overrides={"seeds": 13}')
    code, told = check(capsys)
    assert code == 0
    assert len(told["remarks"]) == 1
    assert told["remarks"][0].startswith("coin-flips: The parameters of preset 'gpu' have changed since")
    with pytest.raises(SystemExit):
        cli.main(["check"])
    assert "remark: coin-flips: The parameters of preset 'gpu'" in capsys.readouterr().err
