"""Verdicts as HTML: badges, the table of claims, the scoreboard of all findings, the summary on the first page.

    rows = scoreboard.rows(finding, [(record, verdicts)])
    HTML(scoreboard.table(rows))                # in a notebook; `scoreboard_html(rows)` on the book's page

Everything that comes from a record or a manifest is escaped. A verdict is always a word and a sign, never
a colour alone; a wide table scrolls inside its own box, so that the page does not scroll sideways.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from pydantic import ValidationError

from evolm.finding import PRESET_NAMES, Finding
from evolm.machine import hardware, started
from evolm.theme import MODES, PALETTE, VERDICT_COLOURS

if TYPE_CHECKING:
    from evolm.record import Record
    from evolm.verdict import Verdict

SIGNS = {
    "reproduced": "✓",
    "not reproduced": "✕",
    "not specific": "≈",
    "inconclusive": "?",
    "measured": "●",
    "not assessable": "–",
    "not run at this scale": "○",
}


#: Verdicts on a statement that is ours and not a paper's.
OUR_WORDS = {"reproduced": "holds", "not reproduced": "does not hold"}
#: Below this a number is rounding noise of the arithmetic that made it.
NOTHING = 1e-6


def _style() -> str:
    light, dark = (
        "".join(f"{prefix} .evolm-{hue}{{--evolm-hue:{value}}}" for hue, value in PALETTE[mode].items())
        for mode, prefix in zip(MODES, ("", 'html[data-theme="dark"]'), strict=True)
    )
    jupyter = dark.replace('html[data-theme="dark"]', 'body[data-jp-theme-light="false"]')
    return f"""<style>
{light}{dark}{jupyter}
.evolm-badge{{display:inline-flex;align-items:center;gap:.4em;padding:.1em .6em .1em .15em;border-radius:1em;
border:1px solid var(--evolm-hue);font-size:.875rem;line-height:1.4;white-space:nowrap;font-weight:600}}
.evolm-badge i{{display:inline-block;width:1.35em;height:1.35em;line-height:1.35em;border-radius:50%;text-align:center;
font-style:normal;font-weight:700;background:var(--evolm-hue);color:#fff}}
html[data-theme="dark"] .evolm-badge i,body[data-jp-theme-light="false"] .evolm-badge i{{color:#10141a}}
.evolm-scroll{{overflow-x:auto;max-width:100%;margin:1rem 0}}
.evolm-claims{{border-collapse:collapse;font-size:.875rem;min-width:58rem;width:100%;line-height:1.45}}
.evolm-claims caption{{caption-side:top;text-align:left;padding:.25rem 0 .5rem;font-weight:600}}
.evolm-claims th,.evolm-claims td{{padding:.5rem .75rem .5rem 0;text-align:left!important;vertical-align:top;
border-bottom:1px solid rgba(128,138,150,.35);background:none!important;white-space:normal}}
.evolm-claims td.evolm-number{{white-space:nowrap;font-variant-numeric:tabular-nums}}
.evolm-claims th[scope="row"]{{width:26%}}
.evolm-claims small{{display:block;opacity:.85;font-size:.95em;font-weight:400}}
.evolm-card{{border:1px solid rgba(128,138,150,.35);border-radius:.6rem;padding:1rem 1.25rem;margin:1rem 0}}
.evolm-card h3{{margin:0 0 .25rem;font-size:1.15rem}}
.evolm-card p{{margin:.25rem 0 .75rem}}
.evolm-card ul{{list-style:none;margin:0;padding:0}}
.evolm-card li{{display:grid;grid-template-columns:13rem 1fr;gap:.25rem 1rem;padding:.4rem 0;margin:0;
border-top:1px solid rgba(128,138,150,.25);font-size:.92rem}}
@media (max-width:600px){{.evolm-card li{{grid-template-columns:1fr}}}}
.evolm-card li.evolm-stacked{{grid-template-columns:1fr}}
.evolm-stacked div{{display:flex;flex-wrap:wrap;gap:.35rem 1.5rem}}
.evolm-source{{font-size:.85rem;opacity:.85;margin:.5rem 0 0}}
.evolm-block{{border-top:1px solid rgba(128,138,150,.35);padding:1rem 0;font-size:.9rem;line-height:1.5}}
.evolm-block h4{{margin:0 0 .5rem;font-size:1.02rem}}
.evolm-block small{{display:block;opacity:.85;font-size:.95em}}
.evolm-evidence{{display:grid;grid-template-columns:repeat(auto-fit,minmax(12.5rem,1fr));
gap:.5rem 1.25rem;margin-bottom:.4rem}}
.evolm-evidence p{{margin:.15rem 0 0}}
</style>"""


STYLE = _style()


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
    estimate: str
    interval: str
    controls: tuple[str, ...]
    note: str
    preset: str
    label: str
    key: str
    ours: bool = False
    scale: str = ""


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
                    estimate=with_unit(number(verdict.estimate), verdict.unit),
                    interval=interval(verdict.low, verdict.high, verdict.level),
                    controls=tuple(
                        f"{c.name}: {number(c.estimate)} {interval(c.low, c.high)}".strip() for c in verdict.controls
                    ),
                    note=verdict.note,
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


def number(value: float | None) -> str:
    """Three significant digits; a dash where there is no number."""
    if value is None or not math.isfinite(value):
        return "–"
    return "0" if abs(value) < NOTHING else f"{value:.3g}".replace("-", "−")


def with_unit(text: str, unit: str) -> str:
    return text if unit in ("", "1") or text == "–" else f"{text} {unit}"


def interval(low: float | None, high: float | None, level: float | None = None) -> str:
    """`[low, high]`, with the confidence level where it is given; empty when neither end is known."""
    if low is None and high is None:
        return ""
    return f"[{number(low)}, {number(high)}]" + (f" at {100 * level:.3g} %" if level else "")


def worded(verdict: str, *, core: bool = True, ours: bool = False) -> str:
    """A verdict as it is shown: what no paper said cannot be reproduced, and exploratory always says that it is."""
    word = OUR_WORDS.get(verdict, verdict) if ours else verdict
    return word if core else f"exploratory: {word}"


def badge(verdict: str, *, core: bool = True, ours: bool = False) -> str:
    """A verdict as a coloured sign with its word."""
    hue, sign = VERDICT_COLOURS.get(verdict, "grey"), SIGNS.get(verdict, "?")
    word = worded(verdict, core=core, ours=ours)
    return f'<span class="evolm-badge evolm-{hue}"><i aria-hidden="true">{sign}</i>{escape(word)}</span>'


def table(rows: Sequence[Row], caption: str = "", *, style: bool = True) -> str:
    """The claims of one record as a table in a box that scrolls sideways by itself."""
    caption = caption or (f"{rows[0].title}: {rows[0].label}" if rows else "no claim was judged")
    body = "".join(_table_row(row) for row in rows)
    names = ("Claim", "Verdict", "Here, with its interval", "The paper", "Arm minus control")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return (
        f"{STYLE if style else ''}"
        f'<div class="evolm-scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f'<table class="evolm-claims"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def scoreboard_html(rows: Sequence[Row]) -> str:
    """Every finding with its best evidence open and the records of smaller scale folded below it."""
    parts = [f'{STYLE}<div class="evolm-wide">']
    for _, group in groupby(rows, key=lambda row: row.finding):
        for position, (_, record) in enumerate(groupby(group, key=lambda row: row.key)):
            of_record = list(record)
            if position == 0:
                first = of_record[0]
                link = f'<a href="../notebooks/{escape(first.finding)}.html">{escape(first.title)}</a>'
                parts.append(f"<h2>{link}</h2><p>{escape(first.sentence)}</p>{table(of_record, style=False)}")
            else:
                summary = escape(f"also: {of_record[0].label}")
                parts.append(f"<details><summary>{summary}</summary>{table(of_record, style=False)}</details>")
    return "".join(parts) + "</div>"


def summary_html(rows: Sequence[Row]) -> str:
    """One card per finding for the first page: its sentence, and the core verdicts of the best evidence."""
    cards = []
    for _, group in groupby(rows, key=lambda row: row.finding):
        of_finding = list(group)
        first = of_finding[0]
        best = [row for row in of_finding if row.key == first.key and row.core]
        judged = escape(f"{first.label}: {first.scale}" if first.scale else first.label)
        items = "".join(
            f'<li data-claim="{escape(row.claim)}"><span>{badge(row.verdict, ours=row.ours)}</span>'
            f"<span>{escape(row.statement)}</span></li>"
            for row in best
        )
        cards.append(
            f'<div class="evolm-card"><h3><a href="../notebooks/{escape(first.finding)}.html">{escape(first.title)}'
            f"</a></h3><p>{escape(first.sentence)}</p><ul>{items}</ul>"
            f"<p><small>Judged from: {judged}</small></p></div>"
        )
    return STYLE + "".join(cards)


def _table_row(row: Row) -> str:
    controls = "<br>".join(escape(c) for c in row.controls) or "–"
    note = f"<small>{escape(row.note)}</small>" if row.note else ""
    return (
        f'<tr data-claim="{escape(row.claim)}"><th scope="row">{escape(row.claim)}'
        f"<small>{escape(row.statement)}</small></th>"
        f"<td>{badge(row.verdict, core=row.core, ours=row.ours)}{note}</td>"
        f'<td class="evolm-number"><b>{escape(row.estimate)}</b><small>{escape(row.interval)}</small></td>'
        f"<td>{escape(row.paper)}</td><td>{controls}</td></tr>"
    )


def _scale(preset: str | None) -> int:
    return PRESET_NAMES.index(preset) if preset in PRESET_NAMES else -1
