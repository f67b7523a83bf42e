"""What the figures of the chapter share: one look per arm, one band over seeds, one legend below the panels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from evolm.findings.rlvr_boundary import estimands
from evolm.lm.tasks.automaton_world import AutomatonSettings
from evolm.lm.tasks.routing import BayesRouting, bayes_routing
from evolm.panels import below, each, outer_labels
from evolm.plotting import colour

if TYPE_CHECKING:
    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams

Tables = dict[str, pd.DataFrame]


class Look(NamedTuple):
    """How an arm is drawn: hue, marker, line style, its name in a legend and on an axis."""

    shade: str
    marker: str
    line: str
    label: str
    short: str

    def line_style(self) -> dict[str, Any]:
        """Keywords of `Axes.plot` for a line without markers."""
        return {"color": colour(self.shade), "ls": self.line}

    def point_style(self) -> dict[str, Any]:
        """Keywords of `Axes.plot` for a point; open where the arm shares its hue with another."""
        face = colour(self.shade) if self.line == "-" else colour("background")
        return {"marker": self.marker, "ls": "none", "color": colour(self.shade), "mfc": face, "mew": 1.5}


#: The same in every figure. Arms that share a hue differ by marker and by an open, dashed drawing.
STYLE = {
    "base": Look("blue", "o", "-", "base model", "base"),
    "rl": Look("vermillion", "s", "-", "reinforcement (RL)", "RL"),
    "rft": Look("green", "^", "-", "fine-tuned on own correct samples (RFT)", "RFT"),
    "named": Look("sky", "D", "-", "base, method named in the prompt", "named"),
    "random": Look("grey", "X", "-", "control: random reward", "random"),
    "format": Look("orange", "P", "-", "control: reward for form", "form"),
    "distil": Look("purple", "v", "-", "distilled, absent method too", "distilled"),
    "distil-known": Look("purple", "v", "--", "distilled, known methods only", "dist. known"),
}
#: Curves of strategies that know less: column of `levels`, line style, label.
CHANCE = {
    "random_routing": ((0, (4, 1.5, 1, 1.5)), "knows every method, picks at random"),
    "blind_search": ((0, (1, 1.2)), "blind search, well-formed"),
    "answer_guess": ((0, (5, 3)), "answer guess"),
}
OPTIONS = {"kl=": "KL {}", "entropy=": "entropy {}", "group=": "group of {}"}


def look(arm: str) -> Look:
    """The look of any arm, those of rounds and sweeps included."""
    if arm in STYLE:
        return STYLE[arm]
    kind, _, option = arm.partition("-")
    if kind == "rft":
        marker = "<>d"[(int(option).bit_length() - 1) // 2 % 3]
        return Look("green", marker, "--", f"RFT in {option} rounds", f"RFT ×{option}")
    for start, words in OPTIONS.items():
        if option.startswith(start):
            name = words.format(option.removeprefix(start).replace("-", "−"))
            return Look("vermillion", "s", "--", f"RL, {name}", name)
    return Look("vermillion", "s", "--", f"RL by {algorithm(option)}", algorithm(option))


def algorithm(name: str) -> str:
    """An algorithm as its authors write it."""
    return {"remax": "ReMax"}.get(name, name.upper())


def last(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last step of every arm, temperature 1."""
    rows = rows[rows["temperature"] == 1]
    return estimands.final(rows) if len(rows) else rows


def cues_of(params: RlvrBoundaryParams) -> list[float]:
    """The cue levels that figures with a panel per cue show: the lowest, the core one, the highest."""
    return sorted({min(params.cues), params.core_cue, max(params.cues)})


def cue_title(cue: float) -> str:
    """What the cue says, short enough for a panel."""
    return f"cue {cue:g}" + {0.0: ": says nothing", 1.0: ": always right"}.get(cue, "")


def arms_of(tables: Tables, wanted: Sequence[str], cue: float | None = None) -> list[str]:
    """Those of `wanted` that the record has (at a cue level)."""
    rows = tables["success"]
    there = set((rows if cue is None else rows[rows["cue"] == cue])["arm"].unique())
    return [arm for arm in wanted if arm in there]


def rounds_of(tables: Tables) -> list[str]:
    """Arms of fine-tuning in several rounds, fewest rounds first."""
    arms = {arm for arm in tables["success"]["arm"].unique() if arm.startswith("rft-")}
    return sorted(arms, key=lambda arm: int(arm.removeprefix("rft-")))


def known_share(tables: Tables, cue: float) -> float:
    """Share of test problems that need a method which the base has seen: its cap, but for luck."""
    rows = tables["levels"]
    rows = rows[(rows["set"] == "test") & (rows["cue"] == cue)]
    return float((rows["method"] != world().absent).mean())


def world() -> AutomatonSettings:
    """The settings of the task that routing depends on: which methods there are, and how often each is needed."""
    return AutomatonSettings(emit_start=True, answer_states=8)


def bayes(cue: float) -> BayesRouting:
    """The closed form: routing by the cue alone, as well as can be."""
    return bayes_routing(world(), cue)


def band(
    axes: Any, rows: pd.DataFrame, x: str, shown: Look, *, markers: bool = False, fill: float = 0.2, **more: Any
) -> None:
    """Mean over seeds of `value` as a line, the seeds' whole range as a band."""
    if rows.empty:  # an arm that these parameters do not have
        return
    by = rows.groupby(x)["value"]
    mean = by.mean()
    if rows["seed"].nunique() > 1:
        axes.fill_between(mean.index, by.min(), by.max(), color=colour(shown.shade), alpha=fill, lw=0)
    marker = {"marker": shown.marker} if markers else {}
    axes.plot(mean.index, mean, **{"label": shown.label, **shown.line_style(), **marker, **more})


def per_cue(
    one: Callable[[Any, float], None], cues: Sequence[float], *, xlabel: str, ylabel: str, columns: int = 2
) -> Callable[[Any], None]:
    """A drawing with one panel per cue level, axis titles outside and one legend below."""

    def draw(panels: Any) -> None:
        for axes, cue in zip(each(panels), cues, strict=True):
            one(axes, cue)
            axes.set_title(cue_title(cue))
        outer_labels(panels, xlabel, ylabel)
        below(panels, columns)

    return draw
