"""The stability gap in continued pre-training (Guo et al. 2024; replay: Qi et al. 2025): the manifest of the chapter."""

from evolm.finding import Citation, Finding
from evolm.findings.stability_gap.claims import CLAIMS, EXPECTED
from evolm.findings.stability_gap.parameters import PRESETS, StabilityGapParams, in_words

FINDING = Finding(
    name="stability-gap",
    title="The stability gap",
    sentence=(
        "The paper: when pre-training is continued on a new domain, accuracy on that very domain falls before it rises, "
        "while perplexity only falls; three strategies of data shrink the gap."
    ),
    citations=(
        Citation(
            key="guo2024stability",
            authors="Yiduo Guo, Jie Fu, Huishuai Zhang, Dongyan Zhao, Yikang Shen",
            year=2024,
            title="Efficient Continual Pre-training by Mitigating the Stability Gap",
            url="https://arxiv.org/abs/2406.14833",
        ),
        Citation(
            key="qi2025evolm",
            authors=(
                "Zhenting Qi, Fan Nie, Alexandre Alahi, James Zou, Himabindu Lakkaraju, Yilun Du, Eric Xing, Sham Kakade, "
                "Hanlin Zhang"
            ),
            year=2025,
            title="EvoLM: In Search of Lost Language Model Training Dynamics",
            url="https://arxiv.org/abs/2506.16029",
        ),
    ),
    params=StabilityGapParams,
    scale=in_words,
    presets=PRESETS,
    claims=CLAIMS,
    experiment="evolm.findings.stability_gap.experiment",
    estimands="evolm.findings.stability_gap.estimands",
    instrument="dip",
    deviations=(
        "The models have 0.3 million parameters and know facts of an invented world; the paper's have 0.4 to 8 billion and answer "
        "medical examinations. What is checked is a mechanism, not their numbers. Real text is read by a model of 0.9 million.",
        "Accuracy is measured after 1, 2, 3 ... of 250 updates; the paper's first point after the base lies 5 billion tokens later.",
        "Which facts later text holds is known here, so what comes back can be told from what is learnt anew; in the paper's "
        "corpora it cannot.",
        "The quality of a document is known here (clean, words in no order, wrong values) and hidden from the filter, which is a "
        "trigram's perplexity; the paper ranks the web with KenLM, and its baseline corpus is already ranked.",
        "Strategy III keeps what is general of a mixture like pre-training's at 20 % of the documents, drawn once (the paper's "
        "data-fixed); the paper's keeps 18 % of Llama's mixture. Strategy I reads a fifth of the documents five times.",
        "In the control of equal exposures good documents are diluted until as many of them are left as a random choice has. They still "
        "state about a tenth more that is right, since low perplexity goes with documents that state more.",
        "EvoLM replays 16 % of the tokens of continued pre-training and reports accuracy on the new domain; here 8 % of the documents are "
        "replayed, against 5 % in the corpus as it is, and what is measured is general ability. Replay cannot hold facts that no text holds any more.",
        "The record of the preset cpu has twelve seeds, that of gpu eight and many more arms. They are never pooled, and both are judged on their "
        "own (`evolm record list`); where the eight leave a core claim open the twelve may have decided it.",
        "The claims `dips-at-pre-training-rate` and `general-text-restores` were added after the first twelve seeds, and before the seeds that judge them.",
        "Gradients of held-out general and medical text are measured; the paper looks at relative changes of weights by layer.",
        "The learning rate is the one after which the baseline ends best, of six on development seeds 5 and 6 (every trial is in "
        "data/choices/stability-gap.csv). With all strategies half of it would have been a little better. How long bases are trained was tried by hand on development seeds before.",
        "On real text the medical corpus is abstracts and definitions of biology, a third of whose rows pre-training has read, as the "
        "paper's base models had read some; questions are cloze questions, since a model of this size answers no examination.",
    ),
    expected=EXPECTED,
)
