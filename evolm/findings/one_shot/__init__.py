"""RLVR with one training example (Wang et al. 2025): the manifest of the chapter."""

from evolm.finding import Citation, Finding
from evolm.findings.one_shot.claims import CLAIMS, EXPECTED
from evolm.findings.one_shot.parameters import PRESETS, OneShotParams, in_words

FINDING = Finding(
    name="one-shot",
    title="One training example",
    sentence=(
        "The paper: reinforcement on a single, well-chosen example raises held-out accuracy almost as far as on more "
        "than a thousand."
    ),
    citations=(
        Citation(
            key="wang2025oneexample",
            authors=(
                "Yiping Wang, Qing Yang, Zhiyuan Zeng, Liliang Ren, Liyuan Liu, Baolin Peng, Hao Cheng, Xuehai He, "
                "Kuan Wang, Jianfeng Gao, Weizhu Chen, Shuohang Wang, Simon Shaolei Du, Yelong Shen"
            ),
            year=2025,
            title="Reinforcement Learning for Reasoning in Large Language Models with One Training Example",
            url="https://arxiv.org/abs/2504.20571",
        ),
    ),
    params=OneShotParams,
    scale=in_words,
    presets=PRESETS,
    claims=CLAIMS,
    experiment="evolm.findings.one_shot.experiment",
    estimands="evolm.findings.one_shot.estimands",
    instrument="one-shot",
    deviations=(
        "The models have 0.1 million parameters and one synthetic task; the paper's have 1.5 to 7 billion and answer "
        "mathematics. What is checked is a mechanism, not their numbers.",
        "The world was designed so that a base model has a reliable way that it seldom takes. Whether one example turns it on "
        "is measured; that such a way exists in the paper's models is the paper's and later authors' reading, not ours.",
        "The reliable way hangs on one token that all prompts share, so what one example can do to other prompts is one bit: "
        "transfer between methods, gain over form and the spread over examples all follow mostly from whether it is turned. About two "
        "fifths of the pool cannot turn it, so the mean over random examples must stay behind the full set; the paper's were picked.",
        "An earlier state of the chapter was run on seeds 1000 to 1004 and reviewed. Then claims were revised (saturation at a "
        "higher threshold, over equal steps, on examples that have something to teach), examples were drawn within kinds instead of "
        "from the whole pool, the learning rate of one example was raised among ties and the runs shortened from 150 to 125 steps. All "
        "was chosen on development seeds and frozen again before the first of the seeds reported here, from 2000 on.",
        "The record of ten seeds (preset gpu, from seed 3000) was planned after that of five (cpu) had left three core claims open. Its "
        "controls have one example, telling in every world, where the five-seed record has two telling ones and one that both modes "
        "solve: claims on the examples that the controls have ask an easier question there. The records are never pooled, and both "
        "are judged on their own (`evolm record list`): of the five-seed record's core claims the first is not reproduced, the "
        "others are inconclusive.",
        "Saturation is a mean training reward of 0.95, where the paper's runs are close to 1, and what follows it are about as many "
        "steps again; the paper follows its runs for well over a thousand.",
        "Runs have 125 steps of 128 samples (16 groups of 8); the paper's have up to 2,000 steps of 1,024 (128 groups of 8). The "
        "variant `long` has four times the steps.",
        "The headline measure is pass@1 at temperature 1, exact; greedy accuracy, the paper's on MATH500, stands beside it.",
        "Results are of the fixed last step; the paper reports the best of up to 100 checkpoints, chosen on the test sets.",
        "Plain SGD with momentum is the chapter's optimiser, without KL, entropy bonus or weight decay, and one update per "
        "rollout; the paper uses AdamW with all three. The other choices are arms of the preset gpu.",
        "Settings that an arm names were chosen for it on development seeds 5 and 6 and validation problems, by "
        "`evolm.findings.one_shot.choose` (every trial is in data/choices/one-shot.csv); other arms and the further bases run at "
        "the rates of `one`, `full` and the reward for form. How long base models are trained, and the optimiser, was tried by hand on "
        "development seeds before: shorter training often fails to teach what the careful mode is for.",
        "Examples are drawn by a published seed within kinds, ten per world, six, three and one of the kinds that the pool has in "
        "about these shares, hopeless ones included; the paper's were picked by historical variance. The full set has 256 problems.",
    ),
    expected=EXPECTED,
)
