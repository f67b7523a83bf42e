"""The exploratory claims: what the paper adds to its main result, what else could make it, and real text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from evolm.finding import Claim

if TYPE_CHECKING:
    from evolm.findings.stability_gap.parameters import StabilityGapParams

WORLD = "tiny models on a synthetic world of facts; a seed redraws world, corpora, initialisation and order"
TEXT = (
    "a Llama of 0.9 million parameters on speeches and medical text; a seed redraws initialisation, order and questions, "
    "and not the text"
)
UNIT = "share of questions"
OURS = "not in the paper"
NO_GENERAL = "the medical corpus with no general text at all"
ZERO = "the whole corpus once, zero by definition"
DEPTH = "accuracy at the start less that at the minimum, whose step is chosen on the other half of the questions"
RISE = "accuracy at the end less that at the minimum, whose step is chosen on the other half of the questions"


def _needs(group: str) -> Callable[[StabilityGapParams], str | None]:
    return lambda params: None if group in params.groups else f"needs {group} in groups"


def _needs_rates(*rates: float) -> Callable[[StabilityGapParams], str | None]:
    return lambda params: (
        None if {*rates} <= {*params.rates} and {0.0, 0.05} <= {*params.residuals} else f"needs {rates[0]:g} in rates"
    )


def _needs_text(params: StabilityGapParams) -> str | None:
    return None if params.text_seeds else "needs text_seeds above 0"


def _shrinks(name: str, arm: str, words: str, paper: str) -> Claim:
    return Claim(
        name=name,
        statement=f"{words} the dip shallower.",
        paper=paper,
        kind="superiority",
        measure="shrinkage",
        estimand="depth of the dip in the baseline less that in this arm",
        unit=UNIT,
        delta=0.01,
        arm=arm,
        controls={"baseline": ZERO},
        scope=WORLD + "; one strategy alone, at equal tokens and under an equal schedule" * (arm != "all"),
        core=False,
        cannot_speak=_needs("factorial") if arm != "all" else lambda params: None,
    )


STRATEGIES = (
    Claim(
        name="strategies-at-equal-tokens",
        statement="At equal tokens the three strategies together beat the whole corpus.",
        paper="its strategies and its baseline never have the same number of tokens",
        asks="us",
        kind="superiority",
        measure="strategies_equal",
        estimand="accuracy on the domain's task at the end less the baseline's",
        unit=UNIT,
        delta=0.01,
        arm="all",
        controls={"baseline": ZERO},
        scope=WORLD,
        core=False,
    ),
    _shrinks("together-shrink-the-dip", "all", "All three strategies make", "its strategies recover sooner than the whole corpus does"),
    _shrinks("epochs-shrink-the-dip", "epochs", "Several epochs over a subset make", "Strategy I: recovers sooner, best at 4 epochs"),
    _shrinks("quality-shrinks-the-dip", "quality", "A subset of low perplexity makes", "Strategy II: the lowest 5B beat random ones"),
    _shrinks("mix-shrinks-the-dip", "mix", "A mixture like pre-training's makes", "Strategy III, which it never tries alone"),
    Claim(
        name="quality-beyond-exposures",
        statement="A subset of low perplexity ends higher also where it states no more that is right.",
        paper="not told apart: a better subset also repeats what is right more often",
        asks="us",
        kind="superiority",
        measure="exposures",
        estimand="accuracy on the domain's task at the end less the baseline's",
        unit=UNIT,
        delta=0.01,
        arm="quality, diluted",
        controls={"baseline": ZERO},
        scope=WORLD + "; good documents diluted with medical filler until they state as much that is right as random ones",
        core=False,
        cannot_speak=_needs("confounds"),
    ),
)  # fmt: skip

ACCOUNT = (
    Claim(
        name="task-recovers",
        statement="The domain's task rises again because a little general text is left in the corpus.",
        paper="accuracy rises from 5B tokens on; the corpus is web text, some of it general",
        kind="superiority",
        measure="task_recovery",
        estimand=RISE,
        unit=UNIT,
        delta=0.05,
        arm="baseline",
        controls={"no general": NO_GENERAL + ": the account predicts no recovery"},
        scope=WORLD + "; all questions about medical facts, new ones among them",
        core=False,
    ),
    Claim(
        name="dips-at-pre-training-rate",
        statement="At the peak learning rate of pre-training accuracy on the domain's own task falls before it rises.",
        paper="re-warms to 3e-4 (1.1 billion parameters) or 3e-5 (3 billion), whichever served; no other rate is shown to dip",
        asks="us",
        kind="superiority",
        measure="dip_at_peak",
        estimand=DEPTH,
        unit=UNIT,
        delta=0.01,
        arm="residual 0.05, rate 0.002",
        controls={"null, rate 0.002": "more general text under the same rate"},
        scope=WORLD
        + "; added after twelve seeds had shown little of a dip at the rate that ends best, before these seeds",
        core=False,
        cannot_speak=_needs_rates(2e-3),
    ),
    Claim(
        name="general-text-restores",
        statement="At twice that rate the domain's task rises again only where a little general text is left.",
        paper="its account: recovery awaits the gradient of general text",
        asks="us",
        kind="superiority",
        measure="recovery_above",
        estimand=RISE,
        unit=UNIT,
        delta=0.05,
        arm="residual 0.05, rate 0.004",
        controls={"residual 0, rate 0.004": NO_GENERAL},
        scope=WORLD + "; added before these seeds, on what development seeds had shown",
        core=False,
        cannot_speak=_needs_rates(4e-3),
    ),
    Claim(
        name="loss-falls-meanwhile",
        statement="While accuracy falls, perplexity on the domain's text falls, too.",
        paper="perplexity on medical terms only falls",
        kind="superiority",
        measure="meanwhile",
        estimand="loss on held-out medical text at the start less that where the task's accuracy is lowest",
        unit="nats per token",
        delta=0.02,
        arm="baseline",
        controls={"null": "more general text for as many updates: it must not lower it"},
        scope=WORLD,
        core=False,
    ),
    Claim(
        name="form-not-knowledge",
        statement="What falls is the ability to answer in the form asked for, not the knowledge.",
        paper="knowledge rises by plasticity, and following instructions awaits stability",
        kind="superiority",
        measure="forms",
        estimand=DEPTH,
        unit=UNIT,
        delta=0.05,
        arm="questions",
        controls={
            "statements": "the same facts to be completed as statements in general style: knowledge without the form"
        },
        scope=WORLD + "; facts of pre-training",
        core=False,
    ),
    Claim(
        name="replayed-kinds-are-kept",
        statement="A small share of replayed general text keeps what it holds.",
        paper="EvoLM does not tell apart what replay holds and what it does not",
        asks="us",
        kind="equivalence",
        measure="spared",
        estimand="accuracy at the start less that at the end, as the mean over two kinds of question",
        unit=UNIT,
        delta=0.0,
        margin=0.1,
        arm="replay",
        controls={"no general": NO_GENERAL + ": it must forget, or there is nothing to prevent"},
        scope=WORLD + "; general facts that later general text still states, and sums",
        core=False,
    ),
)

CONFOUNDS = (
    Claim(
        name="rewarming-alone-dips",
        statement="Warming the learning rate up again makes general ability dip with no new text at all.",
        paper="re-warming and re-decaying is one of its baselines; no run continues on the same text",
        asks="us",
        kind="superiority",
        measure="rewarming",
        estimand=DEPTH,
        unit=UNIT,
        delta=0.05,
        arm="null",
        controls={"base": "no update, zero by definition"},
        scope=WORLD + "; general facts and sums, mean over three kinds",
        core=False,
    ),
    Claim(
        name="recovery-is-annealing",
        statement="The task rises again because the learning rate decays.",
        paper="not in the paper: its recovery coincides with the cosine's decay",
        asks="us",
        kind="superiority",
        measure="annealing",
        estimand=RISE,
        unit=UNIT,
        delta=0.05,
        arm="baseline",
        controls={"constant": "the same at a constant rate"},
        scope=WORLD,
        core=False,
        cannot_speak=_needs("confounds"),
    ),
    Claim(
        name="fresh-state-deepens",
        statement="The dip comes of an optimiser that starts afresh.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure="fresh_state",
        estimand=DEPTH,
        unit=UNIT,
        delta=0.01,
        arm="baseline",
        controls={"kept state": "AdamW goes on with the moments that pre-training left"},
        scope=WORLD,
        core=False,
        cannot_speak=_needs("confounds"),
    ),
    Claim(
        name="warm-up-softens",
        statement="Without warm-up the dip is deeper.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure="warming_up",
        estimand=DEPTH,
        unit=UNIT,
        delta=0.01,
        arm="no warm-up",
        controls={"baseline": "ten updates of warm-up"},
        scope=WORLD,
        core=False,
        cannot_speak=_needs("confounds"),
    ),
)

REAL_TEXT = (
    Claim(
        name="text-dips",
        statement="On real text, too, accuracy on the domain falls before it rises.",
        paper="as for the synthetic world, at 410 million to 8 billion parameters",
        kind="superiority",
        measure="text_dip",
        estimand=DEPTH,
        unit=UNIT,
        delta=0.01,
        arm="baseline",
        controls={"null": "more of the general text under the same learning rate"},
        scope=TEXT + "; cloze questions of four choices from held-out medical documents",
        core=False,
        cannot_speak=_needs_text,
    ),
    Claim(
        name="text-loss-falls",
        statement="On real text perplexity on the domain's text falls from the first steps.",
        paper="perplexity on medical terms only falls",
        kind="superiority",
        measure="text_loss",
        estimand="loss on held-out medical text at the start less that when the learning rate has warmed up",
        unit="nats per token",
        delta=0.02,
        arm="baseline",
        controls={"null": "more of the general text for as many updates"},
        scope=TEXT,
        core=False,
        cannot_speak=_needs_text,
    ),
    Claim(
        name="text-replay-prevents-forgetting",
        statement="On real text a small share of replayed general text prevents forgetting.",
        paper="EvoLM, as for the synthetic world",
        kind="equivalence",
        measure="text_forgetting",
        estimand="general cloze accuracy at the start less that at the end",
        unit=UNIT,
        delta=0.0,
        margin=0.05,
        arm="replay",
        controls={"baseline": "medical text alone: it must forget, or there is nothing to prevent"},
        scope=TEXT + "; 8 % of rows; cloze questions of four choices from held-out speeches",
        core=False,
        cannot_speak=_needs_text,
    ),
)

EXPLORED = (*STRATEGIES, *ACCOUNT, *CONFOUNDS, *REAL_TEXT)
