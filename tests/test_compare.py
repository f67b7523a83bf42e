"""Comparing two records: intervals that overlap or not, and what differs behind them."""

from __future__ import annotations

import json
from dataclasses import replace

import coin_project
import pytest
from coin_project import Project
from hypothesis import given
from hypothesis import strategies as st

from evolm import finding
from evolm.compare import compare, overlapping
from evolm.record import Record, Store
from evolm.runner import run_experiment
from evolm.verdict import Verdict

project = coin_project.project
ends = st.none() | st.floats(-5, 5)


def verdict(low: float | None, high: float | None) -> Verdict:
    return Verdict(claim="c", kind="superiority", core=True, verdict="measured", unit="1", low=low, high=high)


def run(project: Project, **overrides: object) -> Record:
    coin = finding.get("coin-flips")
    return run_experiment(coin, coin.resolve("smoke", **overrides), store=Store(project.store), progress=False)


@given(ends, ends, ends, ends)
def test_overlap_is_symmetric_and_true_exactly_when_a_point_is_shared(
    a: float | None, b: float | None, c: float | None, d: float | None
) -> None:
    first = verdict(*sorted((a, b))) if a is not None and b is not None else verdict(a, b)
    second = verdict(*sorted((c, d))) if c is not None and d is not None else verdict(c, d)
    shared = overlapping(first, second)
    assert shared == overlapping(second, first)
    if (first.low is None and first.high is None) or (second.low is None and second.high is None):
        assert shared is None
        return
    candidates = [x for x in (a, b, c, d) if x is not None]

    def inside(v: Verdict, x: float) -> bool:
        return (v.low is None or v.low <= x) and (v.high is None or x <= v.high)

    assert shared == any(inside(first, x) and inside(second, x) for x in candidates)


def test_intervals_apart_and_changed_parameters_are_named(project: Project) -> None:
    first, second = run(project), run(project, bias=0.05, widths=[2])
    result = compare(finding.get("coin-flips"), first, second)
    heads, large = result.claims
    assert (heads.claim, heads.overlapping, heads.same_verdict) == ("heads-excess", False, False)
    assert (large.overlapping, large.same_verdict) == (None, True)
    assert [(d.name, d.a, d.b) for d in result.parameters] == [("bias", 0.5, 0.05), ("widths", [4, 8], [2])]
    assert result.environment == ()


def test_a_record_made_by_other_code_or_versions_says_so(project: Project) -> None:
    first = run(project)
    source = project.root / "site" / "coin_experiment.py"
    source.write_text(source.read_text().replace("scale=0.01", "scale=0.02"))
    second = run(project)
    second.manifest["provenance"]["packages"]["torch"] = "1.0"
    result = compare(finding.get("coin-flips"), first, second)
    assert {d.name for d in result.environment} == {"packages: torch", "sources: coin_experiment"}
    assert result.claims[0].overlapping is True
    assert result.parameters == ()


def test_records_of_different_findings_do_not_compare(project: Project) -> None:
    first = run(project)
    other = replace(first, manifest={**first.manifest, "finding": "dice"})
    with pytest.raises(ValueError, match="is of dice, not of coin-flips"):
        compare(finding.get("coin-flips"), first, other)


def test_the_command_prints_both_and_the_json_holds_the_same(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    from evolm.cli import main

    keys = run(project).key, run(project, bias=0.05).key
    with pytest.raises(SystemExit) as stopped:
        main(["compare", *keys])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "APART" in text
    assert "no difference in environment" in text
    with pytest.raises(SystemExit):
        main(["compare", *keys, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["claims"][0]["overlapping"] is False
    assert told["claims"][0]["a"]["verdict"] == "reproduced"
    assert told["parameters"] == [{"name": "bias", "a": 0.5, "b": 0.05}]
