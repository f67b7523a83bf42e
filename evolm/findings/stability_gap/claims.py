"""The claims of the stability-gap chapter, fixed in `claims.lock` before the report seeds are run."""

from __future__ import annotations

from evolm.finding import Claim
from evolm.findings.stability_gap.claims_explored import EXPLORED, NO_GENERAL, UNIT, WORLD

CLAIMS = (
    Claim(
        name="accuracy-dips",
        statement="At the start of continued pre-training accuracy on the domain's own task falls before it rises.",
        paper="mean of four medical tasks falls over the first 5B of 50B tokens, by less than a point as read off a plot",
        kind="superiority",
        measure="dip",
        estimand="accuracy at the start less that at the minimum, whose step is chosen on the other half of the questions",
        unit=UNIT,
        delta=0.01,
        arm="baseline",
        controls={"null": "more general text under the same warmed-up learning rate: warming up must not do it alone"},
        scope=WORLD + "; questions about medical facts: known and read again, known and not, new",
        core=True,
    ),
    Claim(
        name="unseen-recovers",
        statement="What was lost comes back as training goes on, also where nothing that is read holds it.",
        paper="the dip is one of stability and not of knowledge: ability returns once general text's gradient restores it",
        kind="superiority",
        measure="recovery",
        estimand="accuracy at the end less that at the minimum, whose step is chosen on the other half of the questions",
        unit=UNIT,
        delta=0.05,
        arm="baseline",
        controls={"no general": NO_GENERAL + ": the account predicts no recovery"},
        scope=WORLD + "; questions on facts of pre-training that are absent from all later text, medical and general",
        core=True,
    ),
    Claim(
        name="replay-prevents-forgetting",
        statement="A small share of replayed general text prevents forgetting.",
        paper="EvoLM: of 50B tokens of continued pre-training 8B replayed; GSM8K-Platinum 21.0, with none 19.3, with 1.6B 16.2",
        kind="equivalence",
        measure="forgetting",
        estimand="general ability at the start less that at the end, as the mean over three kinds of question",
        unit=UNIT,
        delta=0.0,
        margin=0.1,
        arm="replay",
        controls={"no general": NO_GENERAL + ": it must forget, or there is nothing to prevent"},
        scope=WORLD + "; 8 % of documents; general facts that replay holds, such that it does not, and sums",
        core=True,
    ),
    Claim(
        name="strategies-beat-corpus",
        statement="Several epochs over a good subset, mixed like pre-training, beat the whole corpus at 40 % of its tokens.",
        paper="average of four medical tasks 40.7 on 20B tokens against 37.4 on 50B",
        paper_value=0.033,
        kind="superiority",
        measure="strategies",
        estimand="accuracy on the domain's task at the end less the baseline's",
        unit=UNIT,
        delta=0.01,
        arm="all, 40 %",
        controls={
            "baseline": "the whole corpus once, zero by definition",
            "baseline, 40 %": "the corpus as it is on as many tokens: being shorter must not do it",
        },
        scope=WORLD + "; each arm under a schedule of its own; the filter is a trigram's perplexity, as in the paper",
        core=True,
    ),
    *EXPLORED,
)

#: Verdicts last seen and accepted, by preset; `evolm check` tells when a record says something else.
EXPECTED: dict[str, dict[str, str]] = {}
