"""The claims of the stability-gap chapter, fixed in `claims.lock` before the report seeds are run."""

from __future__ import annotations

from evolm.finding import Claim

WORLD = "tiny models on a synthetic world of facts; a seed redraws world, corpora, initialisation and order"
UNIT = "share of questions"

CLAIMS = (
    Claim(
        name="accuracy-dips",
        statement="At the start of continued pre-training accuracy on the domain's own task falls before it rises.",
        paper="mean of four medical tasks falls over the first 5B of 50B tokens, under one point, read off a plot",
        kind="superiority",
        measure="dip",
        estimand="accuracy at the start less that at the minimum, whose step is chosen on the other half of the questions",
        unit=UNIT,
        delta=0.05,
        arm="baseline",
        controls={"null": "more general text under the same warmed-up learning rate: warming up must not do it alone"},
        scope=WORLD + "; questions about medical facts: known and read again, known and not, new",
        core=True,
    ),
    Claim(
        name="unseen-recovers",
        statement="What was lost comes back as training goes on, also where nothing that is read holds it.",
        paper="the dip is one of stability, not of knowledge: general ability returns once a residual of general text restores it",
        kind="superiority",
        measure="recovery",
        estimand="accuracy at the end less that at the minimum, on facts that no later text holds",
        unit=UNIT,
        delta=0.05,
        arm="baseline",
        controls={"no general": "no general text at all: the account predicts no recovery"},
        scope=WORLD
        + "; questions about facts of pre-training that are absent from all later text, medical and general",
        core=True,
    ),
    Claim(
        name="replay-prevents-forgetting",
        statement="A small share of replayed general text prevents forgetting.",
        paper="EvoLM: GSM8K-Platinum 21.0 with 16 % of tokens replayed, 19.3 with none, 16.2 with 3 %",
        kind="superiority",
        measure="forgetting",
        estimand="accuracy at the end on what general text asks",
        unit=UNIT,
        delta=0.1,
        arm="replay",
        controls={"no general": "the medical corpus alone"},
        scope=WORLD + "; 8 % of documents; general facts that replay holds and such that it does not, and sums",
        core=True,
    ),
    Claim(
        name="strategies-beat-corpus",
        statement="Several epochs over a good subset, mixed like pre-training, beat the whole corpus at 40 % of its tokens.",
        paper="average of four medical tasks 40.7 on 20B tokens against 37.4 on 50B",
        paper_value=0.033,
        kind="superiority",
        measure="strategies",
        estimand="accuracy at the end on the domain's task",
        unit=UNIT,
        delta=0.01,
        arm="all, 40 %",
        controls={"baseline": "the whole corpus once"},
        scope=WORLD + "; each arm under a schedule of its own; the filter is a trigram's perplexity, as in the paper",
        core=True,
    ),
    Claim(
        name="strategies-at-equal-tokens",
        statement="The same at equal tokens.",
        paper="not in the paper: its strategies and its baseline never have the same number of tokens",
        asks="us",
        kind="superiority",
        measure="strategies_equal",
        estimand="accuracy at the end on the domain's task",
        unit=UNIT,
        delta=0.01,
        arm="all",
        controls={"baseline": "the whole corpus once"},
        scope=WORLD,
        core=False,
    ),
)
