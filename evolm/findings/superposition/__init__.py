"""Superposition scaling (Liu, Liu, Gore 2025): the manifest of the chapter."""

from evolm.finding import Citation, Finding
from evolm.findings.superposition.claims import CLAIMS, EXPECTED
from evolm.findings.superposition.parameters import PRESETS, SuperpositionParams

FINDING = Finding(
    name="superposition",
    title="Superposition and neural scaling",
    sentence=(
        "A model that packs more features than it has dimensions loses accuracy to their overlap, and that overlap "
        "shrinks as a power of the width: superposition alone gives a scaling law."
    ),
    citations=(
        Citation(
            key="liu2025superposition",
            authors="Yizhou Liu, Ziming Liu, Jeff Gore",
            year=2025,
            title="Superposition yields robust neural scaling",
            url="https://arxiv.org/abs/2505.10465",
        ),
    ),
    params=SuperpositionParams,
    presets=PRESETS,
    claims=CLAIMS,
    experiment="evolm.findings.superposition.experiment",
    estimands="evolm.findings.superposition.estimands",
    instrument="overlap",
    deviations=(
        "The toy models are smaller than the paper's (200 features and 6,000 steps at preset cpu, 80 and 2,000 at "
        "smoke; the paper has 1,000 and 20,000) and see batches of 256 instead of 2,048.",
        "Every cell is run with several seeds; the paper runs each once.",
        "Adam's decay is written as the paper's Eq. 5; the bias is not decayed, as in the authors' code.",
        "All arms of a seed see the same batches, which pairs them; the paper draws each run's data anew.",
        "A feature counts as recovered when the model, shown it alone, leaves less than half of its energy as "
        "error; the paper counts row norms, which negative decay fixes by definition.",
        "The authors start the bias at random, N(0, 1). The chapter does too, and repeats everything with zero.",
        "The exponent is fitted over all widths; for two of its three laws the paper fits from the third point on.",
    ),
    expected=EXPECTED,
)
