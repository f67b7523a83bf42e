"""What a notebook talks to: its parameters, its record, its verdicts, and the page around them.

    chapter = Chapter.open("superposition", globals())    right after the cell tagged `parameters`
    chapter.run()                                         the record, computed or found in the store
    chapter.claims_table()

`open` refuses a parameter that does not exist, however it came in: plain papermill only warns about one.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from evolm import chapter_tables, describe, forecast, judging, lock, paths, scoreboard, typeset
from evolm.badges import worded
from evolm.finding import Finding, ParameterError, Params, get, nearest
from evolm.fragments import CodeBlock, Fragment, folded, labelled, verdict_text
from evolm.record import Record, Store
from evolm.verdict import Verdict

if TYPE_CHECKING:
    from evolm.plotting import Figure

#: Public names that IPython itself puts into a notebook's namespace.
IPYTHON_NAMES = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})
SIMPLE = (type(None), bool, int, float, str, list, tuple, dict, set)
#: Where a notebook remembers that its parameters have been read once.
OPENED = "_evolm_parameters_read"


class Chapter:
    """One finding at one setting, as a notebook shows it. Needs `run()` before anything that speaks of the record."""

    def __init__(self, finding: Finding, preset: str, params: Params) -> None:
        self.finding = finding
        self.preset = preset
        self.params = params
        self._record: Record | None = None
        self._read: dict[str, dict[str, pd.DataFrame]] = {}

    @classmethod
    def open(cls, name: str, namespace: dict[str, Any]) -> Chapter:
        """The chapter with the parameters that `namespace` holds: `preset` and any field of the finding's Params.

        None means "as in the preset". Raises `ParameterError` for a name that is neither, with the nearest one,
        and for a value of the wrong type or out of bounds.
        """
        finding = get(name)
        given = parameters_in(namespace, finding)
        preset = given.pop("preset", None) or "smoke"
        if not isinstance(preset, str):
            raise ParameterError(f"preset = {preset!r} must be text, one of: {', '.join(finding.presets)}")
        chapter = cls(finding, preset, finding.resolve(preset, **given))
        namespace[OPENED] = True
        return chapter

    def run(self, progress: bool = True) -> Record:
        """The record of these parameters: from the store, else a kept one, else computed (after saying how long)."""
        from evolm.runner import run_experiment

        store = Store(paths.store())
        kept = forecast.take_kept(self.finding, self.params, store)
        cost = forecast.cost_message(self.finding, self.preset, self.params, store)
        for message in filter(None, [kept, cost]):
            if progress:
                print(message)
        self._record = run_experiment(self.finding, self.params, preset=self.preset, store=store, progress=progress)
        return self._record

    @property
    def record(self) -> Record:
        if self._record is None:
            raise RuntimeError("this chapter has no record yet: call chapter.run() first")
        return self._record

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        return self.record.tables()

    @cached_property
    def verdicts(self) -> list[Verdict]:
        return judging.verdicts(self.finding, self.record)

    @cached_property
    def kept(self) -> list[Record]:
        """The finding's kept records, smallest scale first; `scoreboard.label(record)` says what each one is."""
        return judging.kept(self.finding)

    @cached_property
    def judged(self) -> list[tuple[Record, Sequence[Verdict]]]:
        """Kept records that speak for a preset, with their verdicts."""
        return judging.judged(self.finding)

    def beside(
        self, draw: Callable[[Mapping[str, pd.DataFrame], Params], Figure | Fragment], *, fold: bool = True
    ) -> Fragment:
        """A figure or table of the larger run, and the same of the smaller folded under it: this run and the best kept.

        `draw` is called with the tables and parameters of each; both are labelled, and their data never mix.
        `fold=False` leaves the smaller one out, where it would add nothing.
        """
        shown = []
        for record in self.largest_first[: None if fold else 1]:
            drawn = draw(self._tables_of(record), judging.params_of(self.finding, record))
            mine = record is self.record
            if not mine and not isinstance(drawn, Fragment):
                drawn = drawn.renamed("kept")
            shown.append((("This run: " if mine else "Kept record: ") + scoreboard.label(record), drawn))
        return labelled(*shown[0]) + folded(*shown[1]) if len(shown) > 1 else labelled(*shown[0])

    @property
    def largest_first(self) -> list[Record]:
        """This run's record and the best kept one (where it is another), the larger scale first."""
        others = [r for r in self.kept if judging.preset_of(self.finding, r) and r.key != self.record.key]
        return judging.smallest_first(self.finding, [self.record, *others[-1:]])[::-1]

    @property
    def leading(self) -> tuple[dict[str, pd.DataFrame], Params]:
        """Tables and parameters of the record that figures show first, for the sentences that read them."""
        record = self.largest_first[0]
        return self._tables_of(record), judging.params_of(self.finding, record)

    def _tables_of(self, record: Record) -> dict[str, pd.DataFrame]:
        """The tables of a record, read and checked once per page."""
        if record.key not in self._read:
            self._read[record.key] = record.tables()
        return self._read[record.key]

    @cached_property
    def freeze(self) -> Mapping[str, str]:
        """Claim name -> `frozen <date>`, `revised after data <date>`, `not frozen`, ..."""
        return lock.status(self.finding)

    def label(self) -> str:
        """This run in a few words: preset (`custom` where it differs from it), hardware, date."""
        return scoreboard.label(self.record)

    def badges(self) -> Fragment:
        """One line per core claim: the verdict of the best kept evidence, and of this run."""
        lines, texts = [], []
        mine = {verdict.claim: verdict for verdict in self.verdicts}
        for claim in (c for c in self.finding.claims if c.core):
            sources = [("this run, " + (self.record.preset or "custom"), mine[claim.name])]
            if kept := judging.best_of(self.judged, claim.name):
                sources.insert(0, ("kept, " + scoreboard.label(kept[0]), kept[1]))
            ours = claim.asks == "us"
            shown = " ".join(
                f"<span>{scoreboard.badge(verdict.verdict, ours=ours)} <small>{escape(where)}</small></span>"
                for where, verdict in sources
            )
            statement = typeset.html(claim.statement)
            lines.append(
                f'<li class="evolm-stacked" data-claim="{claim.name}"><span>{statement}</span><div>{shown}</div></li>'
            )
            told = "; ".join(f"{verdict_text(verdict.verdict)} ({where})" for where, verdict in sources)
            texts.append(f"{claim.statement} {told}")
        return Fragment(f'<div class="evolm-card"><ul>{"".join(lines)}</ul></div>', "\n".join(texts))

    def claims_table(self) -> Fragment:
        """Every claim: the paper, this run's estimate with interval, controls and verdict, and the best kept run's."""
        return chapter_tables.claims(self.finding, self.verdicts, self.label(), self.judged, self.freeze)

    def provenance_table(self) -> Fragment:
        """The parameters with their units, then versions, commit, hardware, date and what the run cost."""
        chosen = chapter_tables.parameters(self.finding, self.preset, self.params)
        return chosen + chapter_tables.provenance(self.record)

    def rerun_command(self) -> CodeBlock:
        """The command that makes exactly this page again, and the same with plain papermill."""
        described = (self.finding, self.preset, self.params)
        return CodeBlock(
            f"{describe.run_command(*described)}\n\n# the same with plain papermill, from the root of a checkout\n"
            f"{describe.papermill_command(*described)}"
        )

    def deviations(self) -> Fragment:
        """Where this differs from the paper, from the preset's parameters, and from what was frozen."""
        sentences = list(self.finding.deviations)
        for name, value in describe.overrides(self.finding, self.preset, self.params).items():
            usual = describe.plain(getattr(self.finding.resolve(self.preset), name))
            sentences.append(f"This run has {name} = {value}; the preset {self.preset} has {usual}.")
        sentences += lock.changes(self.finding)
        items = "".join(f"<li>{typeset.html(sentence)}</li>" for sentence in sentences)
        return Fragment(f"<ul>{items}</ul>", "\n".join(f"- {sentence}" for sentence in sentences))

    def value(self, claim: str, what: str = "estimate", *, kept: bool = False) -> str:
        """One number for a sentence: `estimate`, `low`, `high`, `interval`, `full`, `level`, `seeds`, `verdict`,
        `controls`, `paper`, `predicted`, `delta`, `margin` or `unit`; of this run, or of the best kept evidence.

        Text, ready to be printed; `full` is estimate, interval and unit together. Raises `KeyError` for other names.
        """
        declared = self.finding.claim(claim)
        if not kept:
            verdict = next(v for v in self.verdicts if v.claim == claim)
        elif found := judging.best_of(self.judged, claim):
            verdict = found[1]
        else:
            return "(no kept record)"
        return chapter_tables.spoken(declared, verdict, what)

    def told(self, claim: str, what: str = "estimate", *, controls: bool = True) -> str:
        """One number for a sentence with its interval and verdict, in Markdown, from the best kept record.

        With `controls`, what each control shows as well, but for those that repeat the number itself.
        """
        declared, found = self.finding.claim(claim), judging.best_of(self.judged, claim)
        if found is None:
            return "no kept record speaks about it yet"
        verdict = found[1]
        number, interval, shown = (
            chapter_tables.spoken(declared, verdict, name) for name in (what, "interval", "controls")
        )
        beside = [text for text in shown.split("; ") if text and not text.startswith(f"{number} ")] if controls else []
        word = f"*{worded(verdict.verdict, ours=declared.asks == 'us')}*"
        return f"**{number}** {interval} ({'; '.join([word, *beside])})"


def parameters_in(namespace: Mapping[str, Any], finding: Finding) -> dict[str, Any]:
    """What a notebook's cell of parameters says, None left out; raises `ParameterError` for an unknown name."""
    valid = {"preset", *finding.params.model_fields}
    public = {k: v for k, v in namespace.items() if not k.startswith("_") and k not in IPYTHON_NAMES}
    unknown = {name for name, value in public.items() if name not in valid and isinstance(value, SIMPLE)}
    if namespace.get(OPENED):
        # Run a second time, the namespace holds what later cells defined: only cells that set the preset count.
        unknown &= _assigned_with_preset(namespace.get("In", ()))
    for name in sorted(unknown):
        raise ParameterError(f"{finding.name} has no parameter {name!r}{nearest(name, valid)}")
    code = (types.ModuleType, types.FunctionType, type)
    return {k: v for k, v in public.items() if k in valid and v is not None and not isinstance(v, code)}


def _assigned_with_preset(cells: Any) -> set[str]:
    """Names assigned by executed cells that also assign `preset`: cells of parameters, as papermill marks them."""
    found: set[str] = set()
    for source in cells:
        try:
            body = ast.parse(source).body
        except SyntaxError:  # magics
            continue
        targets = [t for node in body if isinstance(node, ast.Assign) for t in node.targets]
        targets += [node.target for node in body if isinstance(node, ast.AnnAssign)]
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        found |= names if "preset" in names else set()
    return found
