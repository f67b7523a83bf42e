"""Commands about what records say: `compare`, `check`, `freeze`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from evolm import describe, terminal
from evolm.cli_output import (
    AsJson,
    FindingName,
    Key,
    complete_findings,
    finding_named,
    kept_store,
    local_store,
    print_json,
    record_named,
    say,
)
from evolm.finding import findings

if TYPE_CHECKING:
    from evolm.check import Line
    from evolm.compare import Comparison, Difference
    from evolm.verdict import Verdict


def compare(a: Key, b: Key, as_json: AsJson = False) -> None:
    """Two records claim by claim: estimates, whether the intervals overlap, and what differs behind them."""
    from evolm.compare import compare as compare_records

    first, second = record_named(a), record_named(b)
    result = compare_records(finding_named(first.finding), first, second)
    if as_json:
        print_json(result.as_json())
    else:
        print(_comparison(result))


def _comparison(result: Comparison) -> str:
    overlap = {True: "overlap", False: "APART", None: "no interval"}
    claims = [
        (c.claim, _estimate(c.a), _estimate(c.b), overlap[c.overlapping], c.a.verdict, c.b.verdict)
        for c in result.claims
    ]
    return "\n".join(
        [
            f"a: {result.a}\nb: {result.b}\n",
            terminal.table(("claim", "a", "b", "intervals", "verdict of a", "of b"), claims, terminal.width()),
            _differences("parameters", result.parameters),
            _differences("environment", result.environment),
        ]
    )


def _estimate(verdict: Verdict) -> str:
    from evolm.badges import interval, number

    return f"{number(verdict.estimate)} {interval(verdict.low, verdict.high)}".strip()


def _differences(what: str, differences: tuple[Difference, ...]) -> str:
    if not differences:
        return f"\nno difference in {what}"
    rows = [(d.name, describe.argument(d.a), describe.argument(d.b)) for d in differences]
    return "\n" + terminal.table((what, "a", "b"), rows, terminal.width())


def check(
    name: Annotated[str | None, typer.Argument(help="Only this finding.", autocompletion=complete_findings)] = None,
    as_json: AsJson = False,
) -> None:
    """Judge kept and local records again: exit 1 when a verdict changed, 2 when a core claim is undecided."""
    from evolm.check import check as check_records

    chosen = [finding_named(name)] if name else list(findings().values())
    report = check_records(chosen, local_store(), kept_store())
    if as_json:
        print_json(report.as_json())
        raise typer.Exit(report.exit_code)
    columns = ("finding", "claim", "preset", "record", "store", "verdict", "remark")
    print(terminal.table(columns, [_row(line) for line in report.lines]))
    for problem in report.problems:
        say(f"problem: {problem}")
    for sentence in report.undecided:
        say(f"undecided: {sentence}")
    for remark in report.remarks:
        say(f"remark: {remark}")
    if report.custom:
        was = "was" if len(report.custom) == 1 else "were"
        say(f"{terminal.count(len(report.custom), 'record')} with parameters of no preset {was} not judged")
    count = terminal.count
    say(
        f"{count(len(report.lines), 'verdict')}, {len(report.changes)} changed, "
        f"{count(len(report.problems), 'problem')}, {count(len(report.undecided), 'core claim')} undecided in the best "
        "kept evidence"
    )
    raise typer.Exit(report.exit_code)


def _row(line: Line) -> tuple[str, ...]:
    expected = "none accepted yet" if line.expected is None else f"expected: {line.expected}"
    remark = f"CHANGED, {expected}" if line.changed else "as expected" if line.expected else expected
    place = ", ".join(name for name, there in (("kept", line.kept), ("local", line.local)) if there)
    return line.finding, line.claim, line.preset, line.key, place, line.found, remark


def freeze(name: FindingName) -> None:
    """Write the hashes of a finding's claims into claims.lock, before its report seeds are run."""
    from datetime import date

    from evolm import lock

    finding = finding_named(name)
    records_exist = bool(local_store().records(finding.name) or kept_store().records(finding.name))
    changed = lock.freeze(finding, date.today(), records_exist)
    for claim, state in lock.status(finding).items():
        print(f"{claim}: {state}" + (" (written now)" if claim in changed else ""))
