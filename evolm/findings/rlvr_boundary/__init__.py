"""RLVR and the pass@k boundary (Yue et al. 2025): the manifest of the chapter."""

from evolm.finding import Citation, Finding
from evolm.findings.rlvr_boundary.claims import CLAIMS, EXPECTED
from evolm.findings.rlvr_boundary.parameters import PRESETS, RlvrBoundaryParams, in_words

FINDING = Finding(
    name="rlvr-boundary",
    title="What reinforcement can and cannot add",
    sentence=(
        "The paper: reinforcement with verifiable rewards makes right answers more frequent, and does not make more "
        "problems solvable: with enough samples the base model solves as many, or more."
    ),
    citations=(
        Citation(
            key="yue2025reasoning",
            authors="Yang Yue, Zhiqi Chen, Rui Lu, Andrew Zhao, Zhaokai Wang, Yang Yue, Shiji Song, Gao Huang",
            year=2025,
            title="Does Reinforcement Learning Really Incentivize Reasoning Capacity in LLMs Beyond the Base Model?",
            url="https://arxiv.org/abs/2504.13837",
        ),
    ),
    params=RlvrBoundaryParams,
    scale=in_words,
    presets=PRESETS,
    claims=CLAIMS,
    experiment="evolm.findings.rlvr_boundary.experiment",
    estimands="evolm.findings.rlvr_boundary.estimands",
    instrument="passk",
    deviations=(
        "The models have 0.1 million parameters and one synthetic task; the paper's have 7 to 32 billion and answer "
        "mathematics, code and questions about pictures. What is checked is a mechanism, not their numbers.",
        "Every seed has its own world, base model and problems (at smoke, all seeds start from one base model that is kept "
        "with the project); the paper trains each model once.",
        "pass@k comes from exact success probabilities, so that it has no sampling noise at any k; the paper draws 128 "
        "to 1,024 samples.",
        "Sampling is at temperature 1 throughout, with the whole envelope of temperatures beside it; the paper samples "
        "at 0.6 with top-p 0.95.",
        "Reinforcement makes one update per batch of 512 samples (32 prompts of 16), without KL; the paper takes 8 samples "
        "per prompt.",
        "How well the prompt reveals the method is a knob of the task, swept here; nobody knows its value for the paper's "
        "problems.",
        "The fourth perplexity of the paper (of a stronger model's answers) is left out: an answer here has one chain.",
    ),
    expected=EXPECTED,
)
