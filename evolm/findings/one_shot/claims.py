"""The claims of the one-shot chapter, fixed in `claims.lock` before the report seeds were run."""

from __future__ import annotations

from evolm.finding import Claim
from evolm.findings.one_shot.claims_explored import EXPLORED, FORM, SCOPE, SHARED, needs_bases

CLAIMS = (
    Claim(
        name="one-equals-full",
        statement="Training on one example does as well as training on the full set.",
        paper="MATH500: 72.8 and 73.6 with one example (two examples tried), 73.6 with 1,209 (Tab. 8)",
        paper_value=0.0,
        kind="equivalence",
        measure="one_and_full",
        estimand="pass@1 after one example less that after the full set",
        unit="share of problems",
        delta=0.0,
        margin=0.05,
        arm="one",
        controls={"base": "before any training the two must differ by more than the margin"},
        scope=SCOPE + "; the mean over ten examples drawn by a published seed, of every kind that the pool has",
        core=True,
    ),
    Claim(
        name="beyond-form",
        statement="One example gains more than learning the form of an answer does.",
        paper="MATH500: 72.8 against 65.0 to 65.4 with a reward for form (Tab. 8, Tab. 14)",
        paper_value=0.074,
        kind="superiority",
        measure="beyond_form",
        estimand="pass@1 less the base's",
        unit="share of problems",
        delta=0.05,
        arm="one",
        controls={"format": FORM + "on the same example", "format-full": FORM + "on all prompts"},
        scope=SHARED,
        core=True,
    ),
    Claim(
        name="needs-a-switch",
        statement="One example works where the base has a reliable way of its own that one choice turns on, and not where "
        "the same skill is there without such a choice.",
        paper="36.0 to 72.8 on MATH500 for Qwen2.5-Math-1.5B, 40.8 to 45.8 for Llama-3.2-3B; a later paper says that it takes high "
        "pass@k of the base (Model-Task Alignment, 2508.21188)",
        kind="superiority",
        measure="alignment",
        estimand="pass@1 less the base's",
        unit="share of problems",
        delta=0.05,
        arm="latent",
        controls={
            "scattered": "as many right readings, but no token decides for the whole chain",
            "absent": "the right reading is not in the corpus",
        },
        scope=SHARED + "; the same examples on each kind of base",
        core=True,
        cannot_speak=needs_bases,
    ),
    Claim(
        name="post-saturation",
        statement="Held-out accuracy goes on rising after accuracy on the example has saturated.",
        paper="average of six benchmarks: +3.4 points from step 100 to 1,540 and +9.9 from 500 to 2,000 (two examples)",
        paper_value=0.034,
        kind="superiority",
        measure="post_saturation",
        estimand="pass@1 at the last step less that at the first measured step after saturation",
        unit="share of problems",
        delta=0.01,
        arm="one",
        controls={"format": "a reward for form over the same steps: going on must not do it by itself"},
        scope=SCOPE
        + "; examples that the careful mode alone solves; as many steps again as it took to saturate, the paper's are 2,000",
        core=True,
    ),
    *EXPLORED,
)

#: Verdicts last seen and accepted, by preset; `evolm check` tells when a record says something else.
EXPECTED: dict[str, dict[str, str]] = {
    "cpu": {
        "one-equals-full": "not reproduced",
        "beyond-form": "inconclusive",
        "needs-a-switch": "inconclusive",
        "post-saturation": "inconclusive",
        "share-of-full": "inconclusive",
        "telling-share-of-full": "inconclusive",
        "greedy-gain": "inconclusive",
        "cross-category": "inconclusive",
        "example-decides": "reproduced",
        "imitation-does-as-much": "reproduced",
        "worked-gains-more": "inconclusive",
        "full-without-switch": "inconclusive",
        "best-of-adds": "inconclusive",
        "policy-gradient-drives": "not run at this scale",
        "entropy-bonus-helps": "not run at this scale",
        "entropy-alone-helps": "not run at this scale",
        "optimiser-decides": "not run at this scale",
        "updates-alike": "not run at this scale",
        "coin-tosses-gain": "not run at this scale",
        "longer-helps": "not run at this scale",
        "scaling-alike": "not run at this scale",
        "guessable-label-harms": "not run at this scale",
        "variance-picks-well": "not run at this scale",
        "open-models": "not run at this scale",
    },
}
