"""One claim as a block of a page: its statement, its evidence in columns, the small print.

    block(claim.name, claim.statement, {"The paper": Cell.lines(claim.paper), "This run": cell}, small_print(claim))

The scoreboard and the table of claims in a chapter are both made of these blocks. Columns stand beside each
other where there is room and below each other on a phone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from evolm import typeset
from evolm.badges import badge, interval, number, with_unit
from evolm.finding import Claim
from evolm.fragments import Cell, verdict_text

if TYPE_CHECKING:
    from evolm.verdict import Verdict

#: What the number beside a control is, by the kind of its claim.
CONTROL_WORDS = {"equivalence": "control", "form": "held-out error above that of the form"}


def block(name: str, statement: str, evidence: Mapping[str, Cell], small: Iterable[str]) -> Cell:
    """The statement, a column per source of evidence, then the small print."""
    small = [line for line in small if line]
    columns = "".join(f"<div><b>{escape(title)}</b><p>{cell.html}</p></div>" for title, cell in evidence.items())
    html = (
        f'<section class="evolm-block" data-claim="{escape(name)}"><h4>{typeset.html(statement)}</h4>'
        f'<div class="evolm-evidence">{columns}</div>'
        f"<small>{' '.join(typeset.html(line) for line in small)}</small></section>"
    )
    told = [statement, *(f"  {title}: {cell.text}" for title, cell in evidence.items()), *(f"  {s}" for s in small)]
    return Cell(html, "\n".join(told))


def stacked(core: Sequence[str], exploratory: Sequence[str]) -> str:
    """Blocks of the core claims, and those of the exploratory ones folded below them."""
    more = "".join(exploratory)
    count = f"{len(exploratory)} exploratory claim" + ("s" if len(exploratory) > 1 else "")
    folded = f"<details><summary>{count}</summary>{more}</details>" if more else ""
    return f'<div class="evolm-blocks">{"".join(core)}{folded}</div>'


def small_print(claim: Claim, frozen: str = "") -> tuple[str, ...]:
    """What was fixed about a claim beforehand: role, estimand, sizes, controls with their reason, scope."""
    role = ("core claim" if claim.core else "exploratory") + f", {claim.kind.replace('_', ' ')}"
    size = [f"smallest effect that counts {number(claim.delta)}"] if claim.delta else []
    size += [f"margin ±{number(claim.margin)}"] if claim.margin else []
    size += [f"predicted {number(claim.predicted)}"] if claim.predicted is not None else []
    lines = (
        f"{claim.name}: {role}" + (f", {frozen}." if frozen else "."),
        f"Estimated: {claim.estimand}.",
        f"{'; '.join(size).capitalize()} ({claim.unit})." if size else "",
        *(f"Control {name}: {why}." for name, why in claim.controls.items()),
        f"Scope: {claim.scope}.",
    )
    return tuple(line for line in lines if line)


def verdict_lines(claim: Claim, verdict: Verdict) -> tuple[str, ...]:
    """The estimate with its interval, then each control, the seeds and what the engine noted."""
    bounds = interval(verdict.low, verdict.high, verdict.level)
    word = CONTROL_WORDS.get(claim.kind, "less control")
    return (
        f"{with_unit(number(verdict.estimate), verdict.unit)} {bounds}".strip(),
        *(f"{word} {c.name}: {number(c.estimate)} {interval(c.low, c.high)}".strip() for c in verdict.controls),
        f"{verdict.seeds} seeds" if verdict.seeds else "",
        verdict.note,
    )


def verdict_cell(verdict: str, lines: Sequence[str], *, core: bool, ours: bool) -> Cell:
    """A badge over the lines that stand behind it."""
    shown = Cell.lines(*(typeset.typeset(line) for line in lines))
    text = f"{verdict_text(verdict, core=core, ours=ours)}: {shown.text}"
    return Cell(f"{badge(verdict, core=core, ours=ours)}<br>{shown.html}", text)
