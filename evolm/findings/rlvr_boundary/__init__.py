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
        "pass@k comes from success probabilities that are bounded to within 10^-7, so it has no sampling noise; the paper "
        "draws 128 to 1,024 samples.",
        "Sampling is at temperature 1 throughout, with the envelope of temperatures beside it; the paper samples at 0.6 with "
        "top-p 0.95.",
        "Reinforcement makes one update per batch of 512 samples (32 prompts of 16), without KL; the paper takes 8 samples "
        "per prompt. With one update per batch the ratio is 1 and no clip acts, DAPO's upper one included.",
        "Reinforcement and fine-tuning on own correct samples are matched in samples drawn and updates made. Learning rates "
        "are their own (3e-4 and 1e-3, distillation 2e-3), chosen on development seeds, and an update sees 512 samples of the "
        "first and 256 of the second.",
        "How well the prompt reveals the method is a knob of the task, swept here; nobody knows its value for the paper's "
        "problems.",
        "Some 12 % of the problems need a method that no corpus holds, so coverage is bounded; of the rest the base covers "
        "nearly all. Whether reinforcement leaves the base's reach is therefore judged on problems of the rare method.",
        "The fourth perplexity of the paper (of a stronger model's answers) is left out: an answer here has one chain.",
        "The claims were first frozen and judged on seeds 1000 to 1007. A review found that one core claim could not have "
        "failed and that two controls were models in ruins; claims were rewritten, those seeds count as development since, and "
        "what is judged here are seeds from 2000 on. The lock shows it as a revision after data.",
    ),
    expected=EXPECTED,
)
