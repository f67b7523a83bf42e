"""The tables of a chapter, drawn from verdicts and manifests; `evolm.chapter` decides what goes into them.

claims(finding, verdicts, "smoke, laptop, 2026-11-20", judged, freeze)
parameters(finding, "cpu", params) + provenance(record)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from evolm import describe, judging
from evolm.finding import Claim, Finding, Params
from evolm.fragments import Cell, Fragment, table, verdict_text
from evolm.scoreboard import badge, interval, label, number, with_unit

if TYPE_CHECKING:
    from evolm.record import Record
    from evolm.verdict import Verdict

#: What the number beside a control is, by the kind of its claim.
CONTROL_WORDS = {"equivalence": "control", "form": "held-out error above that of the form"}


def claims(
    finding: Finding,
    verdicts: Sequence[Verdict],
    this_run: str,
    judged: Sequence[tuple[Record, Sequence[Verdict]]],
    freeze: Mapping[str, str],
) -> Fragment:
    """One block per claim: the paper, the best kept evidence and this run side by side; exploratory ones folded."""
    mine = {verdict.claim: verdict for verdict in verdicts}
    blocks: dict[bool, list[Cell]] = {True: [], False: []}
    for claim in finding.claims:
        found = judging.best_of(judged, claim.name)
        blocks[claim.core].append(
            _block(
                claim,
                freeze.get(claim.name, ""),
                {
                    "The paper": Cell.lines(claim.paper),
                    "Best kept evidence": _verdict_cell(claim, found[1], label(found[0]))
                    if found
                    else Cell.lines("no kept record speaks about it"),
                    "This run": _verdict_cell(claim, mine[claim.name], this_run),
                },
            )
        )
    core, more = ("".join(block.html for block in blocks[which]) for which in (True, False))
    folded = f"<details><summary>{len(blocks[False])} exploratory claims</summary>{more}</details>" if more else ""
    texts = [block.text for which in (True, False) for block in blocks[which]]
    return Fragment(f'<div class="evolm-blocks">{core}{folded}</div>', "\n\n".join(texts))


def _block(claim: Claim, frozen: str, evidence: Mapping[str, Cell]) -> Cell:
    """A claim's statement, then a column per source of evidence, then the small print."""
    role = ("core claim" if claim.core else "exploratory") + f", {claim.kind.replace('_', ' ')}"
    print_ = [f"{claim.name}: {role}" + (f", {frozen}." if frozen else "."), f"Estimated: {claim.estimand}."]
    size = [f"smallest effect that counts {number(claim.delta)}"] if claim.delta else []
    size += [f"margin ±{number(claim.margin)}"] if claim.margin else []
    size += [f"predicted {number(claim.predicted)}"] if claim.predicted is not None else []
    print_.append(f"{'; '.join(size).capitalize()} ({claim.unit})." if size else "")
    print_ += [f"Control {name}: {why}." for name, why in claim.controls.items()] + [f"Scope: {claim.scope}."]
    columns = "".join(f"<div><b>{escape(title)}</b><p>{cell.html}</p></div>" for title, cell in evidence.items())
    small = " ".join(escape(line) for line in print_ if line)
    html = (
        f'<section class="evolm-block" data-claim="{escape(claim.name)}"><h4>{escape(claim.statement)}</h4>'
        f'<div class="evolm-evidence">{columns}</div><small>{small}</small></section>'
    )
    told = [claim.statement, *(f"  {title}: {cell.text}" for title, cell in evidence.items())]
    return Cell(html, "\n".join([*told, *(f"  {line}" for line in print_ if line)]))


def parameters(finding: Finding, preset: str, params: Params) -> Fragment:
    """Every parameter with its unit, and what the preset has where this run differs from it."""
    values = params.model_dump()
    rows = []
    for row in describe.parameters(finding):
        value, usual = describe.plain(values[row["name"]]), row["presets"][preset]
        differs = "" if value == usual else f"preset {preset}: {describe.argument(usual)}"
        rows.append((row["name"], Cell.lines(describe.argument(value), differs), row["unit"], row["description"]))
    return table(("Parameter", "Value", "Unit", "Meaning"), rows, caption=f"Parameters (preset {preset})")


def provenance(record: Record) -> Fragment:
    """What produced the record: date, hardware, versions, commit; and what it cost."""
    told = [(name, value) for name, value in facts(record.manifest) if value]
    return table(("What", "Value"), told, caption="Provenance and cost of this run")


def facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A record's manifest in words, one row per fact; unknown ones are empty."""
    source, costs = manifest.get("provenance") or {}, manifest.get("costs") or {}
    hardware, git, energy = source.get("hardware") or {}, source.get("git") or {}, costs.get("energy") or {}
    inputs = manifest.get("key_inputs") or {}
    packages = [f"{name} {version}" for name, version in (source.get("packages") or {}).items() if version]
    dirty = " with uncommitted changes" if git.get("dirty") else ""
    return [
        ("record", str(manifest.get("key", ""))),
        ("preset", str(manifest.get("preset", ""))),
        ("seeds", describe.argument(manifest.get("seeds") or [])),
        ("started", str(manifest.get("started", ""))),
        ("commit", f"{git.get('commit', '')}{dirty}"),
        ("device", " ".join(str(inputs[k]) for k in ("device", "dtype") if k in inputs)),
        ("processor", f"{hardware.get('cpu', '')}, {hardware.get('cores', '?')} cores" if hardware else ""),
        ("memory", _gigabytes(hardware.get("ram_bytes"))),
        ("GPU", str(hardware.get("gpu") or "")),
        ("system", str(source.get("os", ""))),
        ("versions", ", ".join([f"Python {source['python']}" if "python" in source else "", *packages]).strip(", ")),
        ("wall time", _seconds(costs.get("wall_s"))),
        ("CPU time", _seconds(costs.get("cpu_s"))),
        ("GPU time", _seconds(costs.get("gpu_s"))),
        ("peak memory", _gigabytes(costs.get("peak_memory_bytes"))),
        ("peak GPU memory", _gigabytes(costs.get("gpu_peak_memory_bytes"))),
        ("energy", f"{energy['kwh'] * 1000:.3g} Wh ({energy.get('method', '')})" if "kwh" in energy else ""),
    ]


def _seconds(value: float | None) -> str:
    return describe.duration(value) if value else ""


def _gigabytes(value: float | None) -> str:
    return f"{value / 1e9:.3g} GB" if value else ""


def spoken(claim: Claim, verdict: Verdict, what: str) -> str:
    """One thing about a claim as text for a sentence; raises `KeyError` when there is no such thing to say."""
    bounds = interval(verdict.low, verdict.high)
    said: dict[str, str] = {
        "estimate": number(verdict.estimate),
        "low": number(verdict.low),
        "high": number(verdict.high),
        "interval": bounds or "(no interval)",
        "full": with_unit(f"{number(verdict.estimate)} {bounds}".strip(), verdict.unit),
        "level": f"{100 * verdict.level:.3g} %" if verdict.level else "–",
        "seeds": str(verdict.seeds),
        "verdict": verdict.verdict,
        "note": verdict.note,
        "paper": number(claim.paper_value),
        "predicted": number(claim.predicted),
        "delta": number(claim.delta),
        "margin": number(claim.margin),
        "unit": claim.unit,
    }
    if what not in said:
        raise KeyError(f"nothing called {what!r} can be said of a claim; there are: {', '.join(said)}")
    return said[what]


def _verdict_cell(claim: Claim, verdict: Verdict, where: str) -> Cell:
    bounds = interval(verdict.low, verdict.high, verdict.level)
    lines = [f"{with_unit(number(verdict.estimate), verdict.unit)} {bounds}".strip()]
    word = CONTROL_WORDS.get(claim.kind, "less control")
    lines += [f"{word} {c.name}: {number(c.estimate)} {interval(c.low, c.high)}".strip() for c in verdict.controls]
    lines.append(f"{verdict.seeds} seeds" if verdict.seeds else "")
    lines.append(verdict.note)
    lines.append(where)
    shown = Cell.lines(*lines)
    look = {"core": claim.core, "ours": claim.asks == "us"}
    html = f"{badge(verdict.verdict, **look)}<br>{shown.html}"
    return Cell(html, f"{verdict_text(verdict.verdict, **look)}: {shown.text}")
