"""The exploratory claims: the ends of the cue knob, what the controls leave open, what the paper did not ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolm.finding import Claim

if TYPE_CHECKING:
    from evolm.findings.rlvr_boundary.parameters import RlvrBoundaryParams


def _needs_extremes(params: RlvrBoundaryParams) -> str | None:
    return None if min(params.cues) < params.core_cue else "needs a cue level below the core one"


def _needs_hinted(params: RlvrBoundaryParams) -> str | None:
    return None if max(params.cues) > params.core_cue else "needs a cue level above the core one"


def _needs_checkpoints_and_hints(params: RlvrBoundaryParams) -> str | None:
    return _needs_hinted(params) if params.checkpoints else "needs a checkpoint before the last step"


def _needs_rounds(params: RlvrBoundaryParams) -> str | None:
    return None if max(params.rft_rounds) > 1 else "needs rft_rounds above 1"


def _needs_temperatures(params: RlvrBoundaryParams) -> str | None:
    return None if min(params.temperatures, default=1) < 1 else "needs a temperature below 1 in temperatures"


def _needs_warm(params: RlvrBoundaryParams) -> str | None:
    return None if max(params.rl_temperatures, default=1) > 1 else "needs a temperature above 1 in rl_temperatures"


def _needs_distillation(params: RlvrBoundaryParams) -> str | None:
    return None if params.distil_steps else "needs distil_steps above 0"


def _needs_algorithms(params: RlvrBoundaryParams) -> str | None:
    return None if len(params.algorithms) > 1 else "needs more than one algorithm"


WORLD = "tiny models on one synthetic task; a seed redraws world, corpus, initialisation, problems and sampling"
CORE = WORLD + "; the cue level core_cue"
OURS = "not in the paper"
OPEN = "the named models on the problems of model_task alone; rows are problems"
RFT = "as many updates on the base's own correct samples: imitation must not do as much"

EXPLORED = (
    Claim(
        name="coverage-lost-unhinted",
        statement="Where the prompt says nothing about the method, reinforcement loses coverage.",
        paper="the same claim, at one end of a knob that the paper does not have",
        kind="superiority",
        measure="coverage_lost_unhinted",
        estimand="the base's pass@k_max less the arm's",
        unit="share of problems",
        delta=0.05,
        arm="rl",
        controls={"rft": RFT},
        scope=WORLD + "; the lowest cue level",
        core=False,
        cannot_speak=_needs_extremes,
    ),
    Claim(
        name="coverage-lost-hinted",
        statement="Where the prompt names the method, reinforcement still loses coverage.",
        paper="the same claim, at the other end of the knob",
        kind="superiority",
        measure="coverage_lost_hinted",
        estimand="the base's pass@k_max less the arm's",
        unit="share of problems",
        delta=0.05,
        arm="rl",
        controls={"rft": RFT},
        scope=WORLD + "; the highest cue level",
        core=False,
        cannot_speak=_needs_hinted,
    ),
    Claim(
        name="inside-the-base-hinted",
        statement="It holds where the prompt names the method, too.",
        paper="the same claim, at the other end of the knob",
        paper_value=0.0,
        kind="non_inferiority",
        measure="solved_outside_hinted",
        estimand="share solved in k_max samples of the tuned model and none of the base's",
        unit="share of rare problems",
        delta=0.0,
        margin=0.05,
        arm="rl",
        controls={"second-draw": "the base against itself"},
        scope=WORLD + "; the highest cue level",
        core=False,
        cannot_speak=_needs_hinted,
    ),
    Claim(
        name="rare-method-found",
        statement="A method that the base knows and hardly ever uses is found by reinforcement where the prompt names it.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure="rare_found",
        estimand="pass@k_max on problems of the rare method less the base's",
        unit="share of rare problems",
        delta=0.1,
        arm="rl",
        controls={"rft": RFT},
        scope=WORLD + "; the highest cue level, problems of the rare method",
        core=False,
        cannot_speak=_needs_hinted,
    ),
    Claim(
        name="rare-method-lost",
        statement="At the core cue level the rarely used method is lost.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure="rare_lost",
        estimand="the base's pass@k_max on problems of the rare method less the arm's",
        unit="share of rare problems",
        delta=0.1,
        arm="rl",
        controls={"rft": RFT},
        scope=CORE + ", problems of the rare method",
        core=False,
    ),
    Claim(
        name="longer-training-narrows",
        statement="Longer training narrows: coverage falls from the first checkpoint to the last step.",
        paper="68.3, 66.6, 63.9 % at k = 256 after 150, 300, 450 steps on Omni-MATH test (Tab. 3)",
        paper_value=0.044,
        kind="superiority",
        measure="narrowing",
        estimand="pass@k_max at the first checkpoint less that at the last step",
        unit="share of problems",
        delta=0.03,
        arm="rl",
        controls={"hinted": "the same training where the prompt names the method: training as such must not narrow"},
        scope=CORE,
        core=False,
        cannot_speak=_needs_checkpoints_and_hints,
    ),
    Claim(
        name="loss-beyond-cooling",
        statement="At equal pass@1 reinforcement keeps less coverage than the base that is merely cooled.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure="below_envelope",
        estimand="pass@k_max of the base at its middle temperature, less the arm's at the same pass@1",
        unit="share of problems",
        delta=0.01,
        arm="rl",
        controls={"rft": RFT},
        scope=CORE + "; an arm's coverage is interpolated between its checkpoints",
        core=False,
        cannot_speak=_needs_temperatures,
    ),
    Claim(
        name="loss-despite-warming",
        statement="Sampling the tuned model at a higher temperature does not bring all of the lost coverage back.",
        paper="RL sampled at the base's entropy stays below the base (late Fig. 18)",
        kind="superiority",
        measure="warmed",
        estimand="the base's pass@k_max less the tuned model's best over the temperatures tried",
        unit="share of problems",
        delta=0.03,
        arm="rl",
        controls={"rft": "fine-tuning on own correct samples, at temperature 1"},
        scope=CORE,
        core=False,
        cannot_speak=_needs_warm,
    ),
    Claim(
        name="iteration-narrows",
        statement="Fine-tuning on own correct samples loses more coverage when they are drawn anew in rounds.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure="iteration",
        estimand="the base's pass@k_max less the arm's",
        unit="share of problems",
        delta=0.03,
        arm="rft-rounds",
        controls={"rft": "the same number of samples and updates, all samples drawn from the base"},
        scope=CORE,
        core=False,
        cannot_speak=_needs_rounds,
    ),
    Claim(
        name="imitation-ahead",
        statement="Fine-tuning on own correct samples in rounds is ahead of reinforcement at one sample and at many.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure="imitation_ahead",
        estimand="the smaller of the leads over reinforcement, at k = 1 and at k_max",
        unit="share of problems",
        delta=0.0,
        arm="rft-rounds",
        controls={"rft": "one round: wide, and behind at one sample"},
        scope=CORE + "; as many samples drawn and updates made; each with a learning rate of its own",
        core=False,
        cannot_speak=_needs_rounds,
    ),
    Claim(
        name="likely-under-base",
        statement="The base finds the tuned model's answers more likely than its own, beyond what cool sampling explains.",
        paper="PPL_base(Y_RL) in the low part of PPL_base(Y_base) (Fig. 7)",
        kind="superiority",
        measure="likely_under_base",
        estimand="mean log perplexity of the base's own samples less that of the arm's, under the base",
        unit="nats per token",
        delta=0.02,
        arm="rl",
        controls={"cooled": "the base's own samples at temperature 0.6: cool sampling must not do as much"},
        scope=CORE,
        core=False,
    ),
    Claim(
        name="routing-by-the-cue",
        statement="After reinforcement pass@1 is what Bayes-optimal routing by the cue gives.",
        paper=OURS,
        asks="us",
        kind="equivalence",
        measure="above_bayes",
        estimand="pass@1 less the share of problems that Bayes routing sends to the right method",
        unit="share of problems",
        delta=0.0,
        margin=0.1,
        arm="rl",
        controls={"base": "before reinforcement it is far from that"},
        scope=CORE,
        core=False,
    ),
    Claim(
        name="distillation-expands",
        statement="Distillation from a teacher that has a method the base lacks adds coverage.",
        paper="R1-distilled models above the base at all k (Fig. 8)",
        kind="superiority",
        measure="distilled",
        estimand="pass@k_max less the base's",
        unit="share of problems",
        delta=0.03,
        arm="distil",
        controls={
            "distil-known": "a teacher without that method: better execution alone must not do it",
            "rl": "reinforcement",
        },
        scope=CORE + "; the teacher is the generator, with perfect chains",
        core=False,
        cannot_speak=_needs_distillation,
    ),
    Claim(
        name="efficiency-gap",
        statement="After reinforcement pass@1 stays far below the base's coverage; naming the method closes the gap.",
        paper="above 40 points for all six algorithms on Omni-MATH test: 41.0 to 45.3 (Tab. 2)",
        paper_value=0.43,
        kind="superiority",
        measure="efficiency_gap",
        estimand="the base's pass@k_max less the arm's pass@1",
        unit="share of problems",
        delta=0.1,
        arm="rl",
        controls={"named": "the base, cooled, the method named in the prompt: what choosing right would give"},
        scope=CORE,
        core=False,
    ),
    Claim(
        name="algorithms-alike-at-one",
        statement="Six algorithms reach the same pass@1.",
        paper="23.8 to 28.1 % on Omni-MATH test (Tab. 2)",
        kind="equivalence",
        measure="algorithms_gain",
        estimand="largest difference of pass@1 between two algorithms",
        unit="share of problems",
        delta=0.0,
        margin=0.05,
        arm="rl",
        scope=CORE + "; equal steps and learning rate; several updates per rollout; DAPO draws more samples per step",
        core=False,
        cannot_speak=_needs_algorithms,
    ),
    Claim(
        name="algorithms-alike-at-many",
        statement="Six algorithms keep the same coverage.",
        paper="67.0 to 69.7 % at k = 256 on Omni-MATH test (Tab. 2)",
        kind="equivalence",
        measure="algorithms_coverage",
        estimand="largest difference of pass@k_max between two algorithms",
        unit="share of problems",
        delta=0.0,
        margin=0.05,
        arm="rl",
        scope=CORE + "; equal steps and learning rate; several updates per rollout; DAPO draws more samples per step",
        core=False,
        cannot_speak=_needs_algorithms,
    ),
    Claim(
        name="open-models-at-one",
        statement="Open models answer short problems with one sample.",
        paper=OURS,
        asks="us",
        kind="single_model",
        measure="open_models_at_one",
        estimand="pass@1 at temperature 0.6",
        unit="share of problems",
        delta=0.0,
        scope=OPEN,
        core=False,
    ),
    Claim(
        name="open-models-at-many",
        statement="With more samples they solve more of them.",
        paper=OURS,
        asks="us",
        kind="single_model",
        measure="open_models_at_many",
        estimand="pass@k at a quarter of the samples drawn or less, a power of two",
        unit="share of problems",
        delta=0.0,
        scope=OPEN,
        core=False,
    ),
)
