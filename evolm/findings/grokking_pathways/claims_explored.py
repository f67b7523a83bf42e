"""The exploratory claims: the lag, other readings, correlations beside time, load balance, intervention, scale, arm B."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from evolm.finding import Claim

if TYPE_CHECKING:
    from evolm.findings.grokking_pathways.parameters import GrokkingPathwaysParams

WORLD = "arm A, many passes: tiny OLMoE models on tables of hidden classes; a seed redraws tables, split, initialisation and order"
MODULAR = "arm A, many passes: arithmetic modulo a prime, split by unordered pair; a seed redraws split, initialisation and order"
TEXT = "arm B, about one pass: characters of facts, copies, sums, keys and real speeches; a seed redraws all but the speeches"
OCTAVES = "doublings of the step"
ACCURACY = "accuracy"
OURS = "not in the paper"
TWIN = "the same pairs with labels dealt out at random: memorised alike, and there is nothing to generalise"
DISTANCE_FALL = "mean pairwise distance over the first fifth of the lag less that over its last fifth, mean over groups"
COSINE_RISE = (
    "mean cosine of consecutive layers over the last fifth of the lag less that over its first, mean over groups"
)
GAIN = "held-out accuracy over the last fifth of the lag less that over its first fifth, mean over groups"
NORMALISED, COSINE = "normalised edit distance", "mean cosine"
CannotSpeak = Callable[["GrokkingPathwaysParams"], str | None]


def _needs(group: str) -> CannotSpeak:
    return lambda params: None if group in params.groups else f"needs {group} in groups"


def _needs_scale(scale: str) -> CannotSpeak:
    return lambda params: None if scale in params.scales else f"needs {scale} in scales"


def _needs_modular(params: GrokkingPathwaysParams) -> str | None:
    return None if params.modular_seeds else "needs modular_seeds above 0"


def _needs_text(params: GrokkingPathwaysParams) -> str | None:
    return None if params.text_seeds else "needs text_seeds above 0"


def _distance(
    name: str, measure: str, words: str, scope: str, cannot: CannotSpeak | None = None, **other: str
) -> Claim:
    return Claim(
        name=name,
        statement=f"{words} the distance between training pathways falls, and more than in the scrambled twin.",
        paper=other.get("paper", OURS),
        asks="us",
        kind="superiority",
        measure=measure,
        estimand=other.get("estimand", DISTANCE_FALL),
        unit=NORMALISED,
        delta=0.02,
        arm=other.get("arm", "trained"),
        controls={other.get("twin", "scrambled"): TWIN},
        scope=scope,
        core=False,
        **({"cannot_speak": cannot} if cannot else {}),
    )


def _cosine(name: str, measure: str, words: str, scope: str, cannot: CannotSpeak) -> Claim:
    return Claim(
        name=name,
        statement=f"{words} training pathways become more consistent, and more than in the scrambled twin.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure=measure,
        estimand=COSINE_RISE,
        unit=COSINE,
        delta=0.03,
        arm="trained",
        controls={"scrambled": TWIN},
        scope=scope,
        core=False,
        cannot_speak=cannot,
    )


LAG = (
    Claim(
        name="generalises-after-memorising",
        statement="Held-out accuracy goes on rising after a group is memorised.",
        paper="lags of 120 to 485 thousand steps between memorising and generalising, in mathematics",
        kind="superiority",
        measure="gain",
        estimand=GAIN,
        unit=ACCURACY,
        delta=0.05,
        arm="trained",
        controls={"random group": "random labels in the same run: memorised, and no held-out pair can be known"},
        scope=WORLD,
        core=False,
    ),
    Claim(
        name="local-within-tables",
        statement="Also among the cells of one table, those memorised later generalise later.",
        paper="groups are of one domain, whose data differ in difficulty",
        kind="superiority",
        measure="order_within",
        estimand="mean date at which held-out cells of a table are mastered: late less early ones, mean over tables",
        unit=OCTAVES,
        delta=0.25,
        arm="matched",
        controls={"random pairing": "which held-out cell belongs to which training cell is dealt out at random"},
        scope=WORLD,
        core=False,
    ),
    Claim(
        name="later-memorised-lags-longer",
        statement="What is memorised later takes longer to generalise.",
        paper="lags of 120k, 365k, 370k and 485k steps for groups memorised at 5k, 125k, 245k and 370k",
        kind="superiority",
        measure="lag_grows",
        estimand="lag of cells memorised late less that of cells memorised early",
        unit=OCTAVES,
        delta=0.25,
        arm="matched",
        controls={
            "random pairing": "held-out cells dealt out at random: what is memorised late then has the shorter lag"
        },
        scope=WORLD + "; on a logarithmic axis, where the paper's own lags shrink",
        core=False,
    ),
    Claim(
        name="harder-later",
        statement="Groups with more hidden classes generalise later.",
        paper="harder groups generalise later",
        kind="superiority",
        measure="harder_later",
        estimand="held-out accuracy over the second half of the run: fewest classes less most classes",
        unit=ACCURACY,
        delta=0.1,
        arm="trained",
        controls={"scrambled": TWIN},
        scope=WORLD,
        core=False,
    ),
    Claim(
        name="decay-drives-the-lag",
        statement="Without weight decay less is gained after memorisation.",
        paper="its model is trained with a weight decay of .1",
        asks="us",
        kind="superiority",
        measure="no_decay",
        estimand=GAIN,
        unit=ACCURACY,
        delta=0.05,
        arm="trained",
        controls={"no decay": "no weight decay"},
        scope=WORLD,
        core=False,
        cannot_speak=_needs("controls"),
    ),
    Claim(
        name="frozen-routers-generalise-alike",
        statement="With routers that stay as they were drawn, generalisation is the same.",
        paper="pathways are said to be the mechanism by which generalisation comes",
        asks="us",
        kind="equivalence",
        measure="frozen_alike",
        estimand="held-out accuracy at the end, trained less frozen routers",
        unit=ACCURACY,
        delta=0.0,
        margin=0.1,
        arm="frozen router",
        controls={"scrambled": "trained less its twin: they must differ, or there is no generalisation to lose"},
        scope=WORLD,
        core=False,
    ),
    Claim(
        name="dense-generalises-alike",
        statement="A dense model of as many active parameters, with no pathways at all, generalises the same.",
        paper=OURS,
        asks="us",
        kind="equivalence",
        measure="dense_alike",
        estimand="held-out accuracy at the end, trained less dense",
        unit=ACCURACY,
        delta=0.0,
        margin=0.1,
        arm="dense",
        controls={"scrambled": "trained less its twin: they must differ"},
        scope=WORLD,
        core=False,
        cannot_speak=_needs("controls"),
    ),
)

READINGS = (
    Claim(
        name="characters-fall",
        statement="The paper's own distance, counted in characters over all tokens, falls.",
        paper="from about 555 to 525 characters, averaged over all tokens",
        paper_value=0.054,
        kind="superiority",
        measure="characters_fall",
        estimand="fall over the lag as a share of the distance where the lag begins, mean over groups",
        unit="share",
        delta=0.03,
        arm="trained",
        controls={"scrambled": TWIN},
        scope=WORLD + "; it also counts how long pathways are",
        core=False,
    ),
    _distance("all-tokens-fall", "all_tokens_fall", "Averaged over all tokens, as the paper may mean it,", WORLD),
    _distance("top-k-falls", "top_k_falls", "Counted over the experts that act,", WORLD),
    Claim(
        name="distance-falls-beyond-its-run",
        statement="Distance falls more in groups that generalise than in the random group beside them.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure="distance_in_run",
        estimand=DISTANCE_FALL,
        unit=NORMALISED,
        delta=0.02,
        arm="trained",
        controls={"random group": "random labels in the same run, which share the routers"},
        scope=WORLD,
        core=False,
    ),
    Claim(
        name="c-rises",
        statement="The paper's C rises, as its table's sign asks for.",
        paper="positive correlations of C with accuracy, although a lower C is the smoother pathway by its formula",
        kind="superiority",
        measure="c_rises",
        estimand="C over the last fifth of the lag less that over its first fifth, mean over groups",
        unit="C",
        delta=0.03,
        arm="trained",
        controls={"scrambled": TWIN},
        scope=WORLD + "; samples whose largest cosine is not positive have no C",
        core=False,
    ),
    Claim(
        name="outputs-agree",
        statement="What consecutive layers' experts add becomes more alike.",
        paper="one reading of its weighted expert embeddings",
        kind="superiority",
        measure="outputs_agree",
        estimand="mean cosine of consecutive layers' expert outputs, last fifth of the lag less first fifth",
        unit=COSINE,
        delta=0.03,
        arm="trained",
        controls={"scrambled": TWIN},
        scope=WORLD,
        core=False,
    ),
    Claim(
        name="consistency-is-learnt",
        statement="Consistency rises because routers are trained.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure="frozen_rises",
        estimand=COSINE_RISE,
        unit=COSINE,
        delta=0.03,
        arm="trained",
        controls={"frozen router": "routers that stay as they were drawn"},
        scope=WORLD,
        core=False,
    ),
)

CORRELATIONS = (
    Claim(
        name="distance-correlates-beyond-step",
        statement="During the lag distance correlates with held-out accuracy more strongly than the step does.",
        paper="r of -.93 to -.98, with no trend taken out",
        paper_value=0.95,
        kind="superiority",
        measure="raw_distance",
        estimand="-r of distance with held-out accuracy over the lag, mean over groups",
        unit="r",
        delta=0.02,
        arm="metric",
        controls={"step": "r of the step itself with held-out accuracy"},
        scope=WORLD,
        core=False,
    ),
    Claim(
        name="consistency-correlates-beyond-step",
        statement="During the lag consistency correlates with held-out accuracy more strongly than the step does.",
        paper="r of .93 to .99, with no trend taken out",
        paper_value=0.95,
        kind="superiority",
        measure="raw_cosine",
        estimand="r of the mean cosine with held-out accuracy over the lag, mean over groups",
        unit="r",
        delta=0.02,
        arm="metric",
        controls={"step": "r of the step itself with held-out accuracy"},
        scope=WORLD,
        core=False,
    ),
    Claim(
        name="distance-correlates-given-time",
        statement="Distance correlates with held-out accuracy also when the course of time is taken out of both.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure="detrended_distance",
        estimand="-r of distance with held-out accuracy given step, log step and its square, mean over groups",
        unit="r",
        delta=0.1,
        arm="metric",
        controls={"shifted": "mean over all circular shifts of the detrended series"},
        scope=WORLD,
        core=False,
    ),
    Claim(
        name="consistency-correlates-given-time",
        statement="Consistency correlates with held-out accuracy also when the course of time is taken out of both.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure="detrended_cosine",
        estimand="r of the mean cosine with held-out accuracy given step, log step and its square, mean over groups",
        unit="r",
        delta=0.1,
        arm="metric",
        controls={"shifted": "mean over all circular shifts of the detrended series"},
        scope=WORLD,
        core=False,
    ),
    Claim(
        name="changes-correlate",
        statement="From one measurement to the next, consistency and held-out accuracy change together.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure="differences",
        estimand="r of the changes of the mean cosine and of held-out accuracy, mean over groups",
        unit="r",
        delta=0.1,
        arm="trained",
        controls={"none": "zero by definition"},
        scope=WORLD,
        core=False,
    ),
    Claim(
        name="loss-does-not-track",
        statement="Training loss tracks held-out accuracy less well than consistency does.",
        paper="|r| of .04 to .79 for training loss, of .25 to .87 for its moving average",
        kind="superiority",
        measure="loss_tracks",
        estimand="|r| of the mean cosine with held-out accuracy over the lag, mean over groups",
        unit="|r|",
        delta=0.1,
        arm="trained",
        controls={"loss": "|r| of the smoothed training loss"},
        scope=WORLD + "; weight decay keeps the loss moving after memorisation",
        core=False,
    ),
)

CAUSES = (
    _distance(
        "distance-falls-without-balancing", "unbalanced_distance", "Without load balancing", WORLD, _needs("balance"),
        arm="aux 0", twin="aux 0, scrambled",
    ),
    _distance(
        "distance-falls-with-more-balancing", "balanced_distance", "With ten times the load balancing", WORLD,
        _needs("balance"), arm="aux 0.1", twin="aux 0.1, scrambled",
    ),
    Claim(
        name="penalty-brings-generalisation",
        statement="Penalising how far pathways of a group are apart brings generalisation forward.",
        paper="no intervention; its bound relates routing to the effective dimension of a kernel",
        asks="us",
        kind="superiority",
        measure="intervention",
        estimand="held-out accuracy, mean over the run on a logarithmic axis and over groups",
        unit=ACCURACY,
        delta=0.02,
        arm="penalised",
        controls={
            "trained": "no penalty",
            "norm penalised": "a penalty on the routers' norms that leaves distances as far apart",
        },
        scope=WORLD + "; strengths chosen on development seeds",
        core=False,
        cannot_speak=_needs("intervention"),
    ),
)  # fmt: skip

SCALE = (
    _distance("distance-falls-when-wide", "wide_distance", "At twice the width", WORLD, _needs_scale("wide")),
    _cosine("consistency-rises-when-wide", "wide_cosine", "At twice the width", WORLD, _needs_scale("wide")),
    _distance(
        "distance-falls-with-many-experts", "experts_distance", "With four times as many experts", WORLD,
        _needs_scale("many experts"),
    ),
    _cosine(
        "consistency-rises-with-many-experts", "experts_cosine", "With four times as many experts", WORLD,
        _needs_scale("many experts"),
    ),
    _distance("distance-falls-when-deep", "deep_distance", "With twice as many layers", WORLD, _needs_scale("deep")),
    _cosine("consistency-rises-when-deep", "deep_cosine", "With twice as many layers", WORLD, _needs_scale("deep")),
)  # fmt: skip

OTHER_WORLDS = (
    Claim(
        name="modular-generalises-after-memorising",
        statement="In modular arithmetic held-out accuracy goes on rising after a group is memorised.",
        paper="as for the groups of OLMoE's data",
        kind="superiority",
        measure="modular_gain",
        estimand=GAIN,
        unit=ACCURACY,
        delta=0.05,
        arm="trained",
        controls={"random group": "random labels in the same run"},
        scope=MODULAR,
        core=False,
        cannot_speak=_needs_modular,
    ),
    _distance("modular-distance-falls", "modular_distance", "In modular arithmetic", MODULAR, _needs_modular),
    _cosine("modular-consistency-rises", "modular_cosine", "In modular arithmetic", MODULAR, _needs_modular),
    Claim(
        name="modular-metrics-predict-accuracy",
        statement="In modular arithmetic both metrics tell held-out accuracy without held-out data.",
        paper="|r| of .93 to .99 with held-out accuracy, with no trend taken out",
        kind="superiority",
        measure="modular_prediction",
        estimand="error on a seed left out of a prediction by step and smoothed loss, less that with both metrics as well",
        unit=ACCURACY,
        delta=0.005,
        arm="trained",
        controls={"shifted": "the metrics of the same run at other steps"},
        scope=MODULAR,
        core=False,
        cannot_speak=_needs_modular,
    ),
    _distance(
        "text-distance-falls", "text_distance", "Near one pass over a mixture", TEXT, _needs_text,
        estimand="mean pairwise distance over the first fifth of the run's second half less that over its last fifth",
    ),
    _cosine("text-consistency-rises", "text_cosine", "Near one pass over a mixture", TEXT, _needs_text),
)  # fmt: skip

EXPLORED = (*LAG, *READINGS, *CORRELATIONS, *CAUSES, *SCALE, *OTHER_WORLDS)
