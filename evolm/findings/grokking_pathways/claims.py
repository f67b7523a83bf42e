"""The claims of the chapter on grokking pathways, fixed in `claims.lock` before the report seeds are run."""

from __future__ import annotations

from evolm.finding import Claim
from evolm.findings.grokking_pathways.claims_explored import (
    COSINE_RISE,
    DISTANCE_FALL,
    EXPLORED,
    OCTAVES,
    TWIN,
    WORLD,
)

CLAIMS = (
    Claim(
        name="later-memorised-generalises-later",
        statement="Held-out data generalise in the order in which the training data they resemble are memorised.",
        paper="groups of mathematics memorised at steps 5k, 125k, 245k and 370k generalise at 125k, 490k, 615k and 855k",
        kind="superiority",
        measure="order_of_generalising",
        estimand="mean date at which held-out cells are mastered: those whose training cells are memorised late less those early",
        unit=OCTAVES,
        delta=0.25,
        arm="matched",
        controls={
            "random pairing": "which held-out cell belongs to which training cell is dealt out at random: the mean lag stays",
            "random group": "cells of the group with random labels: their held-out pairs cannot be known",
        },
        scope=WORLD
        + "; cells of all learnable tables together, an early half and a late half; never mastered counts as the end",
        core=True,
    ),
    Claim(
        name="distance-falls",
        statement="While held-out accuracy rises, the distance between training pathways falls.",
        paper="edit distance of training pathways falls from about 555 to 525 characters after memorisation, by 5 %",
        paper_value=0.054,
        kind="superiority",
        measure="distance_falls",
        estimand=DISTANCE_FALL,
        unit="normalised edit distance",
        delta=0.02,
        arm="trained",
        controls={"scrambled": TWIN},
        scope=WORLD + "; pathways of 70 % of routing weight at the answer's token; other readings are exploratory",
        core=True,
    ),
    Claim(
        name="consistency-rises",
        statement="While held-out accuracy rises, a training pathway becomes more consistent from layer to layer.",
        paper="consistency moves between .38 and .44 after memorisation; its correlation with accuracy is .93 to .99",
        paper_value=0.06,
        kind="superiority",
        measure="consistency_rises",
        estimand=COSINE_RISE,
        unit="mean cosine",
        delta=0.03,
        arm="trained",
        controls={"scrambled": TWIN},
        scope=WORLD
        + "; raw cosine of consecutive layers' routing embeddings, since the sign of the paper's C is doubtful",
        core=True,
    ),
    Claim(
        name="metrics-predict-accuracy",
        statement="Both metrics tell the held-out accuracy of a run without any held-out data.",
        paper="|r| of .93 to .99 with held-out accuracy, over four to six checkpoints of one run, with no trend taken out",
        paper_value=0.95,
        kind="superiority",
        measure="prediction",
        estimand="error on a seed left out of a prediction by step and smoothed loss, less that with both metrics as well",
        unit="accuracy",
        delta=0.005,
        arm="trained",
        controls={
            "shifted": "the metrics of the same run at other steps: they keep their trend and their seed",
            "frozen router": "the same metrics of routers that never learn",
        },
        scope=WORLD + "; within the lag; the step enters as the other seeds' mean at that step",
        core=True,
    ),
    *EXPLORED,
)

#: Verdicts last seen and accepted, by preset; `evolm check` tells when a record says something else.
EXPECTED: dict[str, dict[str, str]] = {}
