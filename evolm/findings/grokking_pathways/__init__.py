"""Grokking pathways in mixtures of experts (Li, Fan & Zhou 2025): the manifest of the chapter."""

from evolm.finding import Citation, Finding
from evolm.findings.grokking_pathways.claims import CLAIMS, EXPECTED
from evolm.findings.grokking_pathways.parameters import PRESETS, GrokkingPathwaysParams, in_words

FINDING = Finding(
    name="grokking-pathways",
    title="Grokking pathways",
    sentence=(
        "The paper: while a mixture of experts generalises after it has memorised, the pathways of training data through "
        "its experts come closer to each other and more consistent across layers, and that tells held-out accuracy "
        "without held-out data."
    ),
    citations=(
        Citation(
            key="li2025grokking",
            authors="Ziyue Li, Chenrui Fan, Tianyi Zhou",
            year=2025,
            title="Grokking in LLM Pretraining? Monitor Memorization-to-Generalization without Test",
            url="https://arxiv.org/abs/2506.21551",
        ),
    ),
    params=GrokkingPathwaysParams,
    scale=in_words,
    presets=PRESETS,
    claims=CLAIMS,
    experiment="evolm.findings.grokking_pathways.experiment",
    estimands="evolm.findings.grokking_pathways.estimands",
    instrument="pathways",
    deviations=(
        "Arm A reads its data many times, as grokking needs at this size; the paper's model reads them about once. Arm B reads a "
        "mixture with real text about once, and is judged on its own.",
        "The models have a tenth of a million parameters, three layers and eight experts; OLMoE has 7 billion, 16 layers and 64 experts. "
        "What is checked is a mechanism and a way to measure, not its numbers.",
        "Held-out data are matched with training data by the classes that made them, where the paper matches by sentence embeddings.",
        "A sample is mastered when it is right at nine of ten later measurements; the paper's rule, at most one later error of ten, "
        "would depend on how often is measured here.",
        "Memorisation is dated by accuracy on half of the training samples, and pathways are those of the other half; the paper dates and "
        "measures the same samples, so that they are still by selection.",
        "Consistency is the raw mean cosine of consecutive layers. The paper's C is 1 less a ratio of it, falls when pathways become more "
        "consistent, and has no value where no cosine is positive; it is kept as a further reading.",
        "The paper counts characters of a string; distances here are of experts and over the longer length, since a raw distance grows "
        "with the length of the pathways. Every reading is in the record.",
        "The learning rate is constant after ten updates, so that its decay can make no trend. Rate, decay of weights and the strengths of "
        "both penalties were chosen by code on development seeds 5 and 6 (data/choices/grokking-pathways.csv): where held-out accuracy "
        "rises most after memorisation, never by what a metric does. The kind of task was chosen by hand before, since modular arithmetic "
        "needs more steps than `cpu` has.",
        "Arm B has no lag that could be dated, as hardly anything is memorised before it is generalised; its changes are over the second "
        "half of the run.",
        "Three frozen texts of controls are wrong in a word, and stay as they were frozen: the penalty on norms was chosen to leave routing "
        "as little dispersed as the other one does, so it flattens routing and does not leave distances as they were; metrics at other "
        "steps of a run keep its level, and not its trend; that the paper's r are over four to six checkpoints is what its rank correlations imply.",
        "Distances are between pairs of a whole table; pairs of one cell, which alone have a reason to be routed alike, are not told apart.",
        "After its first run the experiment's code was moved between two files, to keep presets out of the key of a record; the cpu record was "
        "made again by the code as it is now, and its tables are equal to the bit. The preset gpu was made smaller before it was first run.",
        "Min-K% filtering, fine-tuning of each checkpoint and the bound of the paper's theory are not part of this; "
        "its own ten checkpoints are one command of `evolm measure pathways`.",
    ),
    expected=EXPECTED,
)
