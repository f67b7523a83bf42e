"""Harmonic loss (Baek et al. 2025; other distances: Miller-Golub et al. 2026): the manifest of the chapter."""

from evolm.finding import Citation, Finding
from evolm.findings.harmonic_loss.claims import CLAIMS, EXPECTED
from evolm.findings.harmonic_loss.parameters import PRESETS, HarmonicLossParams, in_words

FINDING = Finding(
    name="harmonic-loss",
    title="Harmonic loss",
    sentence=(
        "The paper: a loss over distances to class centres instead of inner products converges to finite weights, needs less data, "
        "groks less, and lays representations out in the geometry of the task."
    ),
    citations=(
        Citation(
            key="baek2025harmonic",
            authors="David D. Baek, Ziming Liu, Riya Tyagi, Max Tegmark",
            year=2025,
            title="Harmonic Loss Trains Interpretable AI Models",
            url="https://arxiv.org/abs/2502.01628",
        ),
        Citation(
            key="millergolub2026distances",
            authors=(
                "Maxwell Miller-Golub, Kamil Faber, Marcin Pietron, Panpan Zheng, Pasquale Minervini, Roberto Corizzo"
            ),
            year=2026,
            title="Rethinking the Harmonic Loss via Non-Euclidean Distance Layers",
            url="https://arxiv.org/abs/2603.10225",
        ),
    ),
    params=HarmonicLossParams,
    scale=in_words,
    presets=PRESETS,
    claims=CLAIMS,
    experiment="evolm.findings.harmonic_loss.experiment",
    estimands="evolm.findings.harmonic_loss.estimands",
    instrument="geometry",
    deviations=(
        "The exponent n is that of the distance, as in the paper. The authors' code raises the squared distance plus 1e-4 to the power "
        "-n, so that what it calls 1 in the small tasks is 2 here; the guard at distance zero is relative here, so that the loss keeps no scale.",
        "Rate, decay and knob of every head come from one search with as many trials for each, on development seeds and on addition "
        "(images and text have their own; one layer has its knob fixed, and on text, where cross-entropy has twice the rates in place of a knob, the largest exponents tried were best, so that larger ones may be better still); the authors' settings are arms of their own. The knob is the exponent of harmonic loss and a scale of the logits elsewhere.",
        "Splits keep pairs together whose answer is the same when they are swapped. The authors draw 1,000 samples with "
        "replacement and split them at random; that split is run at their settings, and scored on pairs that nothing gives away besides.",
        "Runs last 200 epochs with the chosen settings, whose rates are higher, and 2,000 with the authors', but 400 without decay and "
        "300 on the leaky and the shuffled split; the authors' own last 7,000. A run that has not learnt by then counts as one that has not, and times are censored there.",
        "Delay is the area between train and test accuracy over the logarithm of time, which every run has. The paper compares two "
        "epochs and leaves out runs that lack one; that comparison is here as an event, with failures censored.",
        "A plane counts only where 95 % of test pairs are right: runs that stop below have as flat a plane, and count as 0.",
        "Rates of the chosen settings fall linearly to zero. In a first record (seeds 1000 to 1007) they stayed, and runs still oscillated at the end, "
        "so that the claims on delay and on data could not be decided. Then the search was done again with falling rates, the seeds are fresh, and the "
        "margin of norms-stand-still was narrowed from .05 to .02, since cross-entropy's own slope lay inside the wider one.",
        "A second record (seeds 1100 to 1113) had embeddings at the authors' settings that began with variance 1, half as many epochs there, and a search over 100 epochs on two "
        "seeds; its smaller shares lay at the ceiling, and finite-centres asked for a difference of .05 where cross-entropy's slope was .048. Then the search was done again over 200 epochs on four "
        "seeds, the smaller shares became those between which test accuracy rises, the smallest difference of slopes that counts became .02, as for norms-stand-still, planes "
        "are held against chance, and the seeds are fresh again.",
        "A third record (seeds 1200 to 1213) began small without decay, too. Harmonic loss had then not fitted when the slope of its norm is taken, and the norm grew by a slope of .42; "
        "since the claim is about what happens after the fit, runs without decay begin with variance 1 again, and those that begin small stand beside them. The seeds are fresh once more.",
        "In a fourth record (seeds 1300 to 1313, and 2000 to 2015 with the map) three controls had the smallest knob that was tried. Then a smaller knob and a rate between were added "
        "to the search, which moved one setting, the scale of the normalised head; the programs without decay got as many seeds as the others, as a core claim is about them, the larger preset got 32, since 17 would have decided "
        "the delay, and other heads stand beside the map at every share. The seeds are fresh.",
        "The class vectors of the toy networks are their embedding, as in the authors'. Networks whose heads have weights of their own are told of, and drawn hollow, beside the planes.",
        "With the chosen settings embeddings begin with variance 1, as torch's do; at the authors' settings they begin as the linear "
        "layer does that they are tied to in the authors' code, seven times smaller. Class vectors of their own begin so, too.",
        "Of the second paper the abstract, the code and one figure could be read, and no table. Its logits for small networks grow with the distance, so "
        "that the farthest class wins; here the nearest does. Its emissions are not measured here: only a GPU's own counters would count.",
        "On real text the model has 0.9 million parameters and tied token vectors; the paper's has 124 million.",
    ),
    expected=EXPECTED,
)
