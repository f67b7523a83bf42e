"""What the records say as pages show it: the scoreboard of all findings, and the summary on the first page.

    rows = scoreboard.rows(finding, [(record, verdicts)])
    HTML(STYLE + scoreboard.claims_html(rows))    # in a notebook; `scoreboard_html(rows)` on the book's page

Everything that comes from a record or a manifest is escaped. Badges and numbers are those of `evolm.badges`,
the block of one claim is that of `evolm.claim_blocks`, as in the chapters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from pydantic import ValidationError

from evolm import claim_blocks, terminal, typeset
from evolm.badges import OUR_WORDS, SIGNS, STYLE, badge, interval, number, with_unit, worded
from evolm.finding import PRESET_NAMES, Finding
from evolm.fragments import Cell
from evolm.judging import SILENT
from evolm.machine import hardware, started

if TYPE_CHECKING:
    from evolm.record import Record
    from evolm.verdict import Verdict

__all__ = [
    "OUR_WORDS",
    "SIGNS",
    "STYLE",
    "Row",
    "badge",
    "claims_html",
    "interval",
    "label",
    "number",
    "rows",
    "scale",
    "scoreboard_html",
    "side_by_side",
    "summary_html",
    "with_unit",
    "worded",
]


@dataclass(frozen=True)
class Row:
    """One claim as one record judged it, ready to print; nothing in it is escaped yet."""

    finding: str
    title: str
    sentence: str
    claim: str
    statement: str
    core: bool
    paper: str
    verdict: str
    evidence: tuple[str, ...]
    small: tuple[str, ...]
    preset: str
    label: str
    key: str
    ours: bool = False
    scale: str = ""

    @property
    def source(self) -> str:
        """Which record it was judged from, and how large that run was."""
        return f"{self.label}: {self.scale}" if self.scale else self.label


def rows(finding: Finding, judged: Iterable[tuple[Record, Sequence[Verdict]]]) -> list[Row]:
    """One row per record and claim: the largest scale first (the best evidence there is), core claims first."""
    found = []
    for record, verdicts in sorted(judged, key=lambda pair: -_scale(pair[0].preset)):
        for verdict in sorted(verdicts, key=lambda v: not v.core):
            claim = finding.claim(verdict.claim)
            found.append(
                Row(
                    finding=finding.name,
                    title=finding.title,
                    sentence=finding.sentence,
                    claim=claim.name,
                    statement=claim.statement,
                    core=claim.core,
                    paper=claim.paper,
                    verdict=verdict.verdict,
                    evidence=claim_blocks.verdict_lines(claim, verdict),
                    small=claim_blocks.small_print(claim),
                    preset=record.preset or "own parameters",
                    label=label(record),
                    key=record.key,
                    ours=claim.asks == "us",
                    scale=scale(finding, record),
                )
            )
    return found


def label(record: Record) -> str:
    """`cpu, AMD EPYC, 2026-11-20`: what a reader must know before trusting a number."""
    return ", ".join(part for part in (record.preset, hardware(record), started(record)) if part)


def scale(finding: Finding, record: Record) -> str:
    """How large the record's run was, in the finding's own words; empty where its parameters no longer fit."""
    try:
        return finding.scale(finding.params.model_validate(record.params))
    except ValidationError:
        return ""


def claims_html(rows: Sequence[Row]) -> str:
    """The claims of one record, a block each: verdict, estimate and controls beside the paper's words."""
    blocks: dict[bool, list[str]] = {True: [], False: []}
    for row in rows:
        evidence = {
            "Here": claim_blocks.verdict_cell(row.verdict, row.evidence, core=row.core, ours=row.ours),
            "The paper": Cell.lines(typeset.typeset(row.paper)),
        }
        blocks[row.core].append(claim_blocks.block(row.claim, row.statement, evidence, row.small).html)
    return claim_blocks.stacked(blocks[True], blocks[False])


def scoreboard_html(rows: Sequence[Row]) -> str:
    """Every finding with its best evidence open and the records of smaller scale folded below it."""
    parts = [f'{STYLE}<div class="evolm-board">']
    for _, group in groupby(rows, key=lambda row: row.finding):
        for position, (_, record) in enumerate(groupby(group, key=lambda row: row.key)):
            claims = list(record)
            first, source = claims[0], escape(claims[0].source)
            if position == 0:
                link = f'<a href="../notebooks/{escape(first.finding)}.html">{escape(first.title)}</a>'
                parts.append(f"<h2>{link}</h2><p>{typeset.html(first.sentence)}</p>")
                parts.append(f'<h3 class="evolm-record">Judged from: {source}</h3>{claims_html(claims)}')
            else:
                parts.append(f"<details><summary>also: {source}</summary>{claims_html(claims)}</details>")
    return "".join(parts) + "</div>"


def summary_html(rows: Sequence[Row]) -> str:
    """One card per finding for the first page: its sentence, and the core verdicts of the best evidence."""
    cards = []
    for _, group in groupby(rows, key=lambda row: row.finding):
        of_finding = list(group)
        first = of_finding[0]
        best = [row for row in of_finding if row.key == first.key and row.core]
        items = "".join(
            f'<li data-claim="{escape(row.claim)}"><span>{badge(row.verdict, ours=row.ours)}</span>'
            f"<span>{typeset.html(row.statement)}</span></li>"
            for row in best
        )
        cards.append(
            f'<div class="evolm-card"><h3><a href="../notebooks/{escape(first.finding)}.html">{escape(first.title)}'
            f"</a></h3><p>{typeset.html(first.sentence)}</p><ul>{items}</ul>"
            f"<p><small>Judged from: {escape(first.source)}</small></p></div>"
        )
    return STYLE + "".join(cards)


def side_by_side(rows: Sequence[Row], this_run: Collection[str]) -> str:
    """For a terminal: claim by claim the best evidence, and what the records with the keys `this_run` say."""
    claims: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        claims.setdefault((row.finding, row.claim), []).append(row)
    lines = []
    for (finding, claim), of_claim in claims.items():
        best = next((row for row in of_claim if row.verdict != SILENT), of_claim[0])
        mine = next((row for row in of_claim if row.key in this_run), None)
        lines.append((finding, claim, f"{_said(best)} ({best.preset})", _said(mine) if mine else "–"))
    return terminal.table(("finding", "claim", "best evidence", "this run"), lines)


def _said(row: Row) -> str:
    return worded(row.verdict, core=row.core, ours=row.ours)


def _scale(preset: str | None) -> int:
    return PRESET_NAMES.index(preset) if preset in PRESET_NAMES else -1
