"""The claims of the superposition chapter, fixed in `claims.lock` before the report seeds were run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolm.finding import Claim

if TYPE_CHECKING:
    from evolm.findings.superposition.parameters import SuperpositionParams


def _needs_both_decays(params: SuperpositionParams) -> str | None:
    if min(params.decays) < 0 < max(params.decays):
        return None
    return "needs a negative decay (strong superposition) and a positive one (weak)"


def _needs_skewed_law(params: SuperpositionParams) -> str | None:
    return _needs_both_decays(params) if any(a > 0 for a in params.alphas) else "needs a frequency law with alpha > 0"


def _needs_law(alpha: float, params: SuperpositionParams) -> str | None:
    return _needs_both_decays(params) if alpha in params.alphas else f"needs alpha = {alpha:g} among the alphas"


def _needs_flat(params: SuperpositionParams) -> str | None:
    return _needs_law(0.0, params)


def _needs_steep(params: SuperpositionParams) -> str | None:
    return _needs_law(2.0, params)


def _needs_sweep_law(params: SuperpositionParams) -> str | None:
    return _needs_law(params.sweep_alpha, params)


def _needs_lengths(params: SuperpositionParams) -> str | None:
    return _needs_sweep_law(params) if params.sweep_steps else "needs sweep_steps: training lengths to compare"


def _needs_feature_counts(params: SuperpositionParams) -> str | None:
    return _needs_sweep_law(params) if params.sweep_features else "needs sweep_features: feature counts to compare"


TOY = "toy models at the record's n, widths and training length; a seed redraws data, order and initialisation"
OPEN = "the named models alone; rows are the units, so the interval says nothing about other models"
OURS = "not in the paper"
FORM = "exponent of loss against width over all widths; the power law against bent, offset and saturating ones"
GAP = "share closed of the gap from random vectors (0) to the Welch level (1)"

CLAIMS = (
    Claim(
        name="recovery-follows-decay",
        statement="Weight decay sets how many features a model can give back: the lower the decay, the more.",
        paper="fraction of represented features near 1 at small or negative decay, near m/n at large decay (Fig. 3)",
        kind="superiority",
        measure="recovered_follows_decay",
        estimand="recovered fraction less that of the weak arm, mean over widths",
        unit="fraction of features",
        delta=0.1,
        arm="strong",
        controls={
            "neutral": "no decay at all: negative decay must give back more",
            "frozen": "untrained directions with a trained gain: negative decay must give back more",
        },
        scope=TOY + "; the middle frequency law",
        core=True,
        cannot_speak=_needs_both_decays,
    ),
    Claim(
        name="weak-loss-is-missing-frequency",
        statement="In weak superposition the loss is the summed frequency of the features that are not represented.",
        paper="L = <v^2> sum of p_i over ignored features (Eq. 4), on the 9 of 170 cells nearest to ideal (Fig. 4)",
        paper_value=0.0,
        kind="equivalence",
        measure="frequency_sum_error",
        estimand="|Eq. 4 / loss - 1|, represented set measured by row norm, mean over widths and skewed laws",
        unit="relative error",
        delta=0.0,
        margin=0.1,
        arm="weak",
        controls={
            "shuffled": "frequencies shuffled against rows: the same number of features, but not those",
            "neutral": "no decay: features share dimensions, and overlap adds loss that Eq. 4 does not know",
        },
        scope=TOY + "; highest decay of the record",
        core=True,
        cannot_speak=_needs_skewed_law,
    ),
    Claim(
        name="strong-exponent-flat",
        statement="In strong superposition with a flat frequency law the loss is a power law of width with exponent 1.",
        paper="near 1 for alpha below 1.5 (n = 1,000, Fig. 5e); 1.01 +- 0.05 for p ~ exp(-i/400) (n = 10,240, Fig. 1)",
        paper_value=1.0,
        kind="form",
        measure="strong_flat",
        estimand=FORM,
        unit="exponent",
        delta=0.1,
        margin=0.15,
        predicted=1.0,
        arm="strong",
        scope=TOY + "; alpha = 0, the authors' random bias, lowest decay of the record",
        core=True,
        cannot_speak=_needs_flat,
    ),
    Claim(
        name="overlap-below-random",
        statement="Under strong superposition, strongly represented features overlap less than random directions do.",
        paper="mean squared cosine of rows with norm above 1 near the Welch level, variance below random (Fig. 5)",
        paper_value=1.0,
        kind="superiority",
        measure="overlap_gap",
        estimand=GAP + ", mean over matched laws and widths",
        unit="share of the gap",
        delta=0.1,
        arm="strong",
        controls={
            "frozen": "untrained directions, strong rows picked alike: picking alone must not do it",
            "neutral": "trained without decay: what is special to strong superposition must not appear here",
        },
        scope=TOY + "; cells in which each arm has at least 2m strong rows",
        core=True,
        cannot_speak=_needs_both_decays,
    ),
    Claim(
        name="norm-follows-decay",
        statement="The share of rows with norm above 1/2 follows weight decay.",
        paper="phi_1/2 near 1 at small or negative decay, near m/n at large decay (Fig. 3)",
        kind="superiority",
        measure="represented_follows_decay",
        estimand="fraction with norm above 1/2 less that of the weak arm, mean over widths",
        unit="fraction of features",
        delta=0.1,
        arm="strong",
        controls={"neutral": "no decay at all", "frozen": "untrained directions with a trained gain"},
        scope=TOY + "; the middle frequency law; negative decay is defined as a pull of every norm to 1",
        core=False,
        cannot_speak=_needs_both_decays,
    ),
    Claim(
        name="overlap-below-untrained-flat",
        statement="At the flattest law, strong rows overlap less than untrained directions do.",
        paper="mean squared cosine of rows with norm above 1 near the Welch level (Fig. 5)",
        paper_value=1.0,
        kind="superiority",
        measure="overlap_gap_flat",
        estimand=GAP + ", mean over matched widths",
        unit="share of the gap",
        delta=0.1,
        arm="strong",
        controls={"frozen": "untrained directions, strong rows picked alike"},
        scope=TOY + "; the lowest alpha of the record",
        core=False,
        cannot_speak=_needs_both_decays,
    ),
    Claim(
        name="overlap-below-untrained-steep",
        statement="At the steepest law, strong rows overlap less than untrained directions do.",
        paper="mean squared cosine of rows with norm above 1 near the Welch level (Fig. 5)",
        paper_value=1.0,
        kind="superiority",
        measure="overlap_gap_steep",
        estimand=GAP + ", mean over matched widths",
        unit="share of the gap",
        delta=0.1,
        arm="strong",
        controls={"frozen": "untrained directions, strong rows picked alike"},
        scope=TOY + "; the highest alpha of the record",
        core=False,
        cannot_speak=_needs_both_decays,
    ),
    Claim(
        name="overlap-more-even-than-random",
        statement="Under strong superposition, the overlaps of strong rows vary less than those of random directions.",
        paper="variance of the squared cosines below that of random vectors (Fig. 5)",
        kind="superiority",
        measure="overlap_variance",
        estimand="1 - variance of cos^2 over its value for random vectors, mean over matched laws and widths",
        unit="share of the variance",
        delta=0.1,
        arm="strong",
        controls={"frozen": "untrained directions, strong rows picked alike", "neutral": "trained without decay"},
        scope=TOY + "; cells in which each arm has at least 2m strong rows",
        core=False,
        cannot_speak=_needs_both_decays,
    ),
    Claim(
        name="strong-exponent-steep",
        statement="In strong superposition with a steep frequency law (alpha = 2) the exponent is 2(alpha - 1) = 2.",
        paper="2(alpha - 1) for steep laws (section 3.3, Fig. 5e), 2 at alpha = 2",
        paper_value=2.0,
        kind="form",
        measure="strong_steep",
        estimand=FORM,
        unit="exponent",
        delta=0.1,
        margin=0.2,
        predicted=2.0,
        arm="strong",
        scope=TOY + "; alpha = 2, the authors' random bias",
        core=False,
        cannot_speak=_needs_steep,
    ),
    Claim(
        name="strong-exponent-flat-zero-bias",
        statement="The flat law's exponent of 1 also holds when the bias starts at zero.",
        paper=OURS,
        asks="us",
        kind="form",
        measure="strong_flat_zero_bias",
        estimand=FORM,
        unit="exponent",
        delta=0.1,
        margin=0.15,
        predicted=1.0,
        arm="zero-bias",
        scope=TOY + "; alpha = 0, bias started at zero",
        core=False,
        cannot_speak=_needs_flat,
    ),
    Claim(
        name="strong-exponent-steep-zero-bias",
        statement="The steep law's exponent of 2 also holds when the bias starts at zero.",
        paper=OURS,
        asks="us",
        kind="form",
        measure="strong_steep_zero_bias",
        estimand=FORM,
        unit="exponent",
        delta=0.1,
        margin=0.2,
        predicted=2.0,
        arm="zero-bias",
        scope=TOY + "; alpha = 2, bias started at zero",
        core=False,
        cannot_speak=_needs_steep,
    ),
    Claim(
        name="weak-exponent-steep",
        statement="In weak superposition near the ideal (about m features kept), alpha = 2 gives exponent alpha - 1.",
        paper="alpha - 1 for alpha > 1, on the cells nearest to ideal (Fig. 4)",
        paper_value=1.0,
        kind="form",
        measure="weak_steep",
        estimand=FORM,
        unit="exponent",
        delta=0.1,
        margin=0.15,
        predicted=1.0,
        arm="near-ideal",
        scope=TOY + "; alpha = 2, the decay ideal_decay, chosen on development seeds",
        core=False,
        cannot_speak=_needs_steep,
    ),
    Claim(
        name="exponent-free-of-bias-start",
        statement="The strong regime's exponent does not depend on how the bias starts.",
        paper=OURS,
        asks="us",
        kind="equivalence",
        measure="exponent_by_bias",
        estimand="exponent with the random bias less that with the bias started at zero",
        unit="exponent",
        delta=0.0,
        margin=0.15,
        arm="strong",
        scope=TOY + "; the sweep's frequency law",
        core=False,
        cannot_speak=_needs_sweep_law,
    ),
    Claim(
        name="exponent-free-of-training-length",
        statement="With the authors' random bias, the strong regime's exponent does not depend on the training length.",
        paper=OURS + ", whose runs all take 20,000 steps",
        asks="us",
        kind="equivalence",
        measure="exponent_by_steps",
        estimand="largest difference of the exponent between two training lengths",
        unit="exponent",
        delta=0.0,
        margin=0.15,
        arm="lowest",
        scope=TOY + "; the sweep's frequency law",
        core=False,
        cannot_speak=_needs_lengths,
    ),
    Claim(
        name="exponent-free-of-feature-count",
        statement="The exponent belongs to the width m and not to m^2/2n: it is the same for other feature counts.",
        paper="near 1 also for m = 50..150 at n = 1,000, where m^2/2 > n (Fig. 18)",
        kind="equivalence",
        measure="exponent_by_features",
        estimand="largest difference of the exponent between two feature counts",
        unit="exponent",
        delta=0.0,
        margin=0.15,
        arm="lowest",
        scope=TOY + "; the sweep's frequency law, the authors' random bias",
        core=False,
        cannot_speak=_needs_feature_counts,
    ),
    Claim(
        name="open-models-represent-all",
        statement="Open language models represent every token: no output vector has a norm near zero.",
        paper="norms nonzero and independent of m in 27 models (Fig. 20)",
        paper_value=1.0,
        kind="single_model",
        measure="open_models_represented",
        estimand="share of output vectors with a norm above half the mean norm",
        unit="fraction of tokens",
        delta=0.0,
        scope=OPEN,
        core=False,
    ),
    Claim(
        name="open-models-overlap",
        statement="The mean squared cosine of the output vectors of open language models is near 1/m.",
        paper="roughly 1/m in 27 models, no fit given (Fig. 6a)",
        paper_value=1.0,
        kind="single_model",
        measure="open_models_overlap",
        estimand="m times the mean squared cosine over all pairs; random rows give 1",
        unit="multiples of 1/m",
        delta=0.0,
        scope=OPEN,
        core=False,
    ),
    Claim(
        name="open-models-overlap-centred",
        statement="It is so once the common direction and the leading components are removed.",
        paper=OURS,
        asks="us",
        kind="single_model",
        measure="open_models_overlap_without_components",
        estimand="m times the mean squared cosine, centred and without the five leading components; random rows give 1",
        unit="multiples of 1/m",
        delta=0.0,
        scope=OPEN,
        core=False,
    ),
)

#: Verdicts last seen and accepted, by preset; `evolm check` tells when a record says something else.
EXPECTED: dict[str, dict[str, str]] = {
    "cpu": {
        "recovery-follows-decay": "reproduced",
        "weak-loss-is-missing-frequency": "reproduced",
        "strong-exponent-flat": "inconclusive",
        "overlap-below-random": "not specific",
        "norm-follows-decay": "reproduced",
        "overlap-below-untrained-flat": "reproduced",
        "overlap-below-untrained-steep": "inconclusive",
        "overlap-more-even-than-random": "inconclusive",
        "strong-exponent-steep": "inconclusive",
        "strong-exponent-flat-zero-bias": "not reproduced",
        "strong-exponent-steep-zero-bias": "inconclusive",
        "weak-exponent-steep": "inconclusive",
        "exponent-free-of-bias-start": "not reproduced",
        "exponent-free-of-training-length": "inconclusive",
        "exponent-free-of-feature-count": "not reproduced",
        "open-models-represent-all": "measured",
        "open-models-overlap": "measured",
        "open-models-overlap-centred": "measured",
    },
}
