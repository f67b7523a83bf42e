"""Superposition scaling (Liu, Liu, Gore 2025): the manifest of the chapter."""

from evolm.finding import Citation, Finding
from evolm.findings.superposition.claims import CLAIMS, EXPECTED
from evolm.findings.superposition.parameters import PRESETS, SuperpositionParams, in_words

FINDING = Finding(
    name="superposition",
    title="Superposition and neural scaling",
    sentence=(
        "The paper: a model that packs more features than it has dimensions loses accuracy to their overlap, "
        "and that overlap "
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
    scale=in_words,
    presets=PRESETS,
    claims=CLAIMS,
    experiment="evolm.findings.superposition.experiment",
    estimands="evolm.findings.superposition.estimands",
    instrument="overlap",
    deviations=(
        "The toy models are smaller than the paper's: at preset cpu 200 features, widths 5 to 40 and batches of "
        "256 over "
        "6,000 steps, so that a feature of the flat law is seen 7,700 times; the paper's small experiment has 1,000 "
        "features, widths 10 to 100 and batches of 2,048 over 20,000 steps, so that it is seen 41,000 times.",
        "The ratio m/n is 0.025 to 0.2 here and 0.01 to 0.1 in the paper's small experiment; m^2/2n is 0.06 to 4 here and "
        "0.05 to 5 there, so both cross m^2 = 2n. The smallest width here sits close to the ceiling.",
        "Every cell is run with several seeds; the paper runs each once.",
        "Adam's decay is written as the paper's Eq. 5; the bias is not decayed, as in the authors' code. The "
        "loss is summed "
        "over features where the authors' code takes the mean.",
        "All arms of a seed see the same batches, which pairs them; the paper draws each run's data anew.",
        "A feature counts as recovered when the model, shown that feature alone at four values, leaves less "
        "than half of "
        "their energy as error; the paper counts row norms, which negative decay pulls to 1.",
        "The authors start the bias at random, N(0, 1). The chapter does too, and also starts it at 0 and at "
        "N(0, 0.25).",
        "The exponent is fitted over all widths; for two of its three laws the paper fits from the third point on. The "
        "table of fit ranges shows what that changes.",
        "The claims were first frozen and judged on seeds 100 to 107. A review then asked for stricter controls "
        "(training "
        "without decay), a saturating alternative and a weak arm nearer to the ideal; the claims were rewritten, those "
        "seeds count as development since, and what is judged here are seeds from 1,000 on.",
    ),
    expected=EXPECTED,
)
