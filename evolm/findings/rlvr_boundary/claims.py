"""The claims of the pass@k boundary chapter, fixed in `claims.lock` before the report seeds were run."""

from __future__ import annotations

from evolm.finding import Claim
from evolm.findings.rlvr_boundary.claims_explored import CORE, EXPLORED, RFT

RANDOM = "a reward of coin tosses, at the best of its measured steps: training itself must not do it"
FORMAT = "a reward for form, right or wrong, at the best of its measured steps: learning the form must not do it"

CLAIMS = (
    Claim(
        name="gain-at-one",
        statement="Reinforcement with a verifier raises pass@1.",
        paper="10.2 to 25.1 % on Omni-MATH test after 150 steps of GRPO, 28.3 % after 450 (Tab. 3)",
        paper_value=0.149,
        kind="superiority",
        measure="gain_at_one",
        estimand="pass@1 less the base's",
        unit="share of problems",
        delta=0.05,
        arm="rl",
        controls={"random": RANDOM, "format": FORMAT},
        scope=CORE,
        core=True,
    ),
    Claim(
        name="curves-cross",
        statement="The base model is behind at one sample and ahead at many: the pass@k curves cross.",
        paper="crossing between k = 10 and 1,000 on all benchmarks (Fig. 2); in Tab. 2, RL leads at k = 256 in 10 of 18",
        kind="superiority",
        measure="crossing",
        estimand="the smaller of the lead at k = 1 and the deficit at k_max",
        unit="share of problems",
        delta=0.02,
        arm="rl",
        controls={"random": RANDOM, "format": FORMAT},
        scope=CORE,
        core=True,
    ),
    Claim(
        name="coverage-lost",
        statement="Reinforcement loses coverage at large k, more than imitation of the same verifier's choices does.",
        paper="69.1 to 63.9 % at k = 256 on Omni-MATH test after 450 steps (Tab. 3)",
        paper_value=0.052,
        kind="superiority",
        measure="coverage_lost",
        estimand="the base's pass@k_max less the arm's",
        unit="share of problems",
        delta=0.05,
        arm="rl",
        controls={"rft": RFT},
        scope=CORE + "; arms matched in updates and samples, not in pass@1",
        core=True,
    ),
    Claim(
        name="inside-the-base",
        statement="What the tuned model solves with many samples, the base solves with as many: on problems whose method "
        "the base hardly ever uses, where this can fail.",
        paper="solved by RL alone: 0 of AIME24 at k = 1,024; 1.0 % of MATH500 at k = 128 (late Tab. 2)",
        paper_value=0.0,
        kind="non_inferiority",
        measure="solved_outside",
        estimand="share solved in k_max samples of the tuned model and none of the base's",
        unit="share of rare problems",
        delta=0.0,
        margin=0.05,
        arm="rl",
        controls={"second-draw": "the base against itself: two draws of one model differ by chance"},
        scope=CORE
        + ", problems of the rare method; of all problems the base covers nearly all that it could ever solve",
        core=True,
    ),
    *EXPLORED,
)

#: Verdicts last seen and accepted, by preset; `evolm check` tells when a record says something else.
EXPECTED: dict[str, dict[str, str]] = {
    "cpu": {
        "gain-at-one": "reproduced",
        "curves-cross": "reproduced",
        "coverage-lost": "reproduced",
        "inside-the-base": "reproduced",
        "coverage-lost-unhinted": "reproduced",
        "coverage-lost-hinted": "not reproduced",
        "inside-the-base-hinted": "inconclusive",
        "rare-method-found": "inconclusive",
        "rare-method-lost": "inconclusive",
        "longer-training-narrows": "reproduced",
        "loss-beyond-cooling": "reproduced",
        "loss-despite-warming": "reproduced",
        "iteration-narrows": "reproduced",
        "imitation-ahead": "reproduced",
        "likely-under-base": "inconclusive",
        "routing-by-the-cue": "reproduced",
        "distillation-expands": "reproduced",
        "efficiency-gap": "reproduced",
        "algorithms-alike-at-one": "not run at this scale",
        "algorithms-alike-at-many": "not run at this scale",
        "open-models-at-one": "measured",
        "open-models-at-many": "measured",
    },
}
