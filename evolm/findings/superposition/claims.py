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


def _needs_linear_control(params: SuperpositionParams) -> str | None:
    if params.sweep_alpha not in params.alphas:
        return f"the linear control runs at sweep_alpha = {params.sweep_alpha:g}, which is not among the alphas"
    return _needs_both_decays(params)


def _needs_skewed_law(params: SuperpositionParams) -> str | None:
    return _needs_both_decays(params) if any(a > 0 for a in params.alphas) else "needs a frequency law with alpha > 0"


def _needs_law(alpha: float, params: SuperpositionParams) -> str | None:
    return _needs_both_decays(params) if alpha in params.alphas else f"needs alpha = {alpha:g} among the alphas"


def _needs_flat(params: SuperpositionParams) -> str | None:
    return _needs_law(0.0, params)


def _needs_steep(params: SuperpositionParams) -> str | None:
    return _needs_law(2.0, params)


def _needs_lengths(params: SuperpositionParams) -> str | None:
    return None if params.sweep_steps else "needs sweep_steps: training lengths to compare"


def _needs_feature_counts(params: SuperpositionParams) -> str | None:
    return None if params.sweep_features else "needs sweep_features: feature counts to compare"


TOY = "toy models at the record's n, widths and training length; a seed redraws data, order and initialisation"
OPEN = "the named models alone; rows are the units, so the interval says nothing about other models"
FLAT = "1.01 +- 0.05 (n = 10,240, p ~ exp(-i/400), Fig. 1); near 1 for flat laws (Fig. 5e)"
STEEP = "2(alpha - 1) for steep laws (section 3.3, Fig. 5e), 2 at alpha = 2"

CLAIMS = (
    Claim(
        name="recovery-follows-decay",
        statement="Weight decay sets how many features a model can give back: many below zero decay, few above.",
        paper="fraction of represented features near 1 at small or negative decay, near m/n at large decay (Fig. 3)",
        kind="superiority",
        measure="recovered_follows_decay",
        estimand="recovered fraction at the lowest decay less that at the highest, mean over widths",
        unit="fraction of features",
        delta=0.1,
        arm="relu",
        controls={"linear": "the same decays, linear decoder, which cannot superpose: decay alone must not do it"},
        scope=TOY,
        core=True,
        cannot_speak=_needs_linear_control,
    ),
    Claim(
        name="weak-loss-is-missing-frequency",
        statement="In weak superposition the loss is the summed frequency of the features that are not represented.",
        paper="L = <v^2> sum of p_i over ignored features (Eq. 4), on the 9 of 170 cells nearest to ideal (Fig. 4)",
        paper_value=0.0,
        kind="equivalence",
        measure="frequency_sum_error",
        estimand="|Eq. 4 / loss - 1| with the represented set measured by row norm, mean over widths and skewed laws",
        unit="relative error",
        delta=0.0,
        margin=0.1,
        arm="weak",
        controls={"shuffled": "frequencies shuffled against rows: the same number of features, but not those"},
        scope=TOY + "; highest decay of the record",
        core=True,
        cannot_speak=_needs_skewed_law,
    ),
    Claim(
        name="strong-exponent-flat",
        statement="In strong superposition with a flat frequency law the loss falls as 1/m: a power law, exponent 1.",
        paper=FLAT,
        paper_value=1.01,
        kind="form",
        measure="strong_flat",
        estimand="exponent of loss against width over all widths; power law against a bent and an offset one",
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
        statement="Strongly represented features overlap less than random directions do.",
        paper="mean squared cosine of rows with norm above 1 near the Welch level, variance below random (Fig. 5)",
        paper_value=1.0,
        kind="superiority",
        measure="overlap_gap",
        estimand="share closed of the gap from random vectors (0) to the Welch level (1), mean over laws and widths",
        unit="share of the gap",
        delta=0.1,
        arm="strong",
        controls={"frozen": "random directions, trained gain, strong rows picked alike: picking alone must not do it"},
        scope=TOY + "; mean over the record's frequency laws; widths with at least 2m strong rows",
        core=True,
        cannot_speak=_needs_both_decays,
    ),
    Claim(
        name="norm-follows-decay",
        statement="The share of rows with norm above 1/2 follows weight decay.",
        paper="phi_1/2 near 1 at small or negative decay, near m/n at large decay (Fig. 3)",
        kind="superiority",
        measure="represented_follows_decay",
        estimand="fraction with norm above 1/2 at the lowest decay less that at the highest, mean over widths",
        unit="fraction of features",
        delta=0.1,
        arm="relu",
        controls={"linear": "the same decays with a linear decoder"},
        scope=TOY + "; close to a tautology: negative decay is defined as a pull of every norm to 1",
        core=False,
        cannot_speak=_needs_linear_control,
    ),
    Claim(
        name="overlap-near-welch",
        statement="The overlaps of strongly represented features are nearer to a tight frame's than to random ones.",
        paper="mean squared cosine near (v - m) / (m (v - 1)) for v strong rows (Fig. 5)",
        paper_value=1.0,
        kind="superiority",
        measure="overlap_gap",
        estimand="share closed of the gap from random vectors (0) to the Welch level (1), mean over laws and widths",
        unit="share of the gap",
        delta=0.5,
        arm="strong",
        controls={"frozen": "random directions with a trained gain, strong rows picked alike"},
        scope=TOY + "; mean over the record's frequency laws",
        core=False,
        cannot_speak=_needs_both_decays,
    ),
    Claim(
        name="overlap-near-welch-zero-bias",
        statement="The same when the bias starts at zero instead of at random.",
        paper="not reported",
        kind="superiority",
        measure="overlap_gap_zero_bias",
        estimand="share closed of the gap from random vectors (0) to the Welch level (1), mean over laws and widths",
        unit="share of the gap",
        delta=0.5,
        arm="zero-bias",
        controls={"frozen": "random directions with a trained gain, strong rows picked alike"},
        scope=TOY + "; mean over the record's frequency laws",
        core=False,
        cannot_speak=_needs_both_decays,
    ),
    Claim(
        name="strong-exponent-steep",
        statement="In strong superposition with a steep frequency law (alpha = 2) the exponent is 2(alpha - 1) = 2.",
        paper=STEEP,
        paper_value=2.0,
        kind="form",
        measure="strong_steep",
        estimand="exponent of loss against width over all widths; power law against a bent and an offset one",
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
        paper="not reported; all of the paper's runs start the bias at random",
        kind="form",
        measure="strong_flat_zero_bias",
        estimand="exponent of loss against width over all widths; power law against a bent and an offset one",
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
        paper="not reported; all of the paper's runs start the bias at random",
        kind="form",
        measure="strong_steep_zero_bias",
        estimand="exponent of loss against width over all widths; power law against a bent and an offset one",
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
        statement="In weak superposition with alpha = 2 the exponent is alpha - 1 = 1.",
        paper="alpha - 1 for alpha > 1, on the cells nearest to ideal (Fig. 4)",
        paper_value=1.0,
        kind="form",
        measure="weak_steep",
        estimand="exponent of loss against width over all widths; power law against a bent and an offset one",
        unit="exponent",
        delta=0.1,
        margin=0.15,
        predicted=1.0,
        arm="weak",
        scope=TOY + "; alpha = 2, highest decay of the record",
        core=False,
        cannot_speak=_needs_steep,
    ),
    Claim(
        name="exponent-free-of-bias-start",
        statement="The strong regime's exponent does not depend on how the bias starts.",
        paper="not tested in the paper; the finding reads as a property of geometry",
        kind="equivalence",
        measure="exponent_by_bias",
        estimand="exponent with the random bias less that with the bias started at zero",
        unit="exponent",
        delta=0.0,
        margin=0.15,
        arm="strong",
        scope=TOY + "; the sweep's frequency law",
        core=False,
        cannot_speak=_needs_linear_control,
    ),
    Claim(
        name="exponent-free-of-training-length",
        statement="The strong regime's exponent does not depend on the length of training.",
        paper="not tested in the paper, whose runs all take 20,000 steps",
        kind="equivalence",
        measure="exponent_by_steps",
        estimand="largest difference of the exponent between two training lengths",
        unit="exponent",
        delta=0.0,
        margin=0.15,
        arm="shortest",
        scope=TOY + "; the sweep's frequency law, the authors' random bias",
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
        arm="fewest",
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
        paper="not reported",
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
EXPECTED = {
    "cpu": {
        "recovery-follows-decay": "reproduced",
        "weak-loss-is-missing-frequency": "reproduced",
        "strong-exponent-flat": "not reproduced",
        "overlap-below-random": "reproduced",
        "norm-follows-decay": "reproduced",
        "overlap-near-welch": "inconclusive",
        "overlap-near-welch-zero-bias": "inconclusive",
        "strong-exponent-steep": "inconclusive",
        "strong-exponent-flat-zero-bias": "not reproduced",
        "strong-exponent-steep-zero-bias": "inconclusive",
        "weak-exponent-steep": "not reproduced",
        "exponent-free-of-bias-start": "not reproduced",
        "exponent-free-of-training-length": "not reproduced",
        "exponent-free-of-feature-count": "not run at this scale",
        "open-models-represent-all": "measured",
        "open-models-overlap": "measured",
        "open-models-overlap-centred": "measured",
    },
}
