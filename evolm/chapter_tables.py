"""The tables of a chapter, drawn from verdicts and manifests; `evolm.chapter` decides what goes into them.

claims(finding, verdicts, "smoke, laptop, 2026-11-20", judged, freeze)
parameters(finding, "cpu", params) + provenance(record)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evolm import claim_blocks, describe, judging
from evolm.badges import interval, number, with_unit
from evolm.finding import Claim, Finding, Params
from evolm.fragments import Cell, Fragment, table
from evolm.scoreboard import label
from evolm.typeset import typeset

if TYPE_CHECKING:
    from evolm.record import Record
    from evolm.verdict import ControlEffect, Verdict


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
        evidence = {
            "The paper": Cell.lines(typeset(claim.paper)),
            "Best kept evidence": _verdict_cell(claim, found[1], label(found[0]))
            if found
            else Cell.lines("no kept record speaks about it"),
            "This run": _verdict_cell(claim, mine[claim.name], this_run),
        }
        small = claim_blocks.small_print(claim, freeze.get(claim.name, ""))
        blocks[claim.core].append(claim_blocks.block(claim.name, claim.statement, evidence, small))
    core, exploratory = blocks[True], blocks[False]
    html = claim_blocks.stacked([block.html for block in core], [block.html for block in exploratory])
    return Fragment(html, "\n\n".join(block.text for block in core + exploratory))


def parameters(finding: Finding, preset: str, params: Params) -> Fragment:
    """Every parameter with its unit, and what the preset has where this run differs from it."""
    values = params.model_dump()
    rows = []
    for row in describe.parameters(finding):
        value, usual = describe.plain(values[row["name"]]), row["presets"][preset]
        differs = "" if value == usual else f"preset {preset}: {_spaced(usual)}"
        rows.append((row["name"], Cell.lines(_spaced(value), differs), row["unit"], typeset(row["description"])))
    return table(("Parameter", "Value", "Unit", "Meaning"), rows, caption=f"Parameters (preset {preset})")


def _spaced(value: Any) -> str:
    """A value with room after its commas, so that a long list can be broken into lines."""
    return describe.argument(value).replace(",", ", ")


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
        "controls": "; ".join(_control(claim, effect) for effect in verdict.controls),
        "paper": number(claim.paper_value),
        "predicted": number(claim.predicted),
        "delta": number(claim.delta),
        "margin": number(claim.margin),
        "unit": claim.unit,
    }
    if what not in said:
        raise KeyError(f"nothing called {what!r} can be said of a claim; there are: {', '.join(said)}")
    return said[what]


def _control(claim: Claim, effect: ControlEffect) -> str:
    """What a control shows: by how much the arm exceeds it or, for other kinds, the control's number."""
    value = f"{number(effect.estimate)} {interval(effect.low, effect.high)}".strip()
    exceeded = claim.kind in ("superiority", "non_inferiority")
    return f"{value} over “{effect.name}”" if exceeded else f"“{effect.name}” {value}"


def _verdict_cell(claim: Claim, verdict: Verdict, where: str) -> Cell:
    lines = (*claim_blocks.verdict_lines(claim, verdict), where)
    return claim_blocks.verdict_cell(verdict.verdict, lines, core=claim.core, ours=claim.asks == "us")
