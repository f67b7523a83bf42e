"""The exploratory claims: other readings, the authors' settings, further tasks, images, a language model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from evolm.finding import Claim

if TYPE_CHECKING:
    from evolm.findings.harmonic_loss.parameters import HarmonicLossParams

TOY = "networks of a few thousand parameters; a seed redraws split, initialisation and order"
SETTINGS = "; the authors' rate, decay and first weights, and d to the power -2, which is what their code has as 1"
OURS = "not in the paper"
CHANCE = "standard normal points in as many dimensions, which nothing has trained"
ZERO = "zero by definition"
DIGITS = "8 x 8 digits, 1,797 of them; a seed redraws division, initialisation and order"
MNIST = "MNIST; a seed redraws validation images, initialisation and order, and not the test images"
TEXT = (
    "a Llama of 0.9 million parameters on speeches, held-out loss below a trigram's; a seed redraws initialisation and order, "
    "and not the text"
)


def _needs(field: str, value: str) -> Callable[[HarmonicLossParams], str | None]:
    return lambda params: None if value in getattr(params, field) else f"needs {value} in {field}"


def _needs_text(params: HarmonicLossParams) -> str | None:
    return None if params.text_seeds else "needs text_seeds above 0"


def _distance(
    name: str, statement: str, paper: str, measure: str, arm: str, estimand: str, unit: str, delta: float
) -> Claim:
    return Claim(
        name=name,
        statement=statement,
        paper=paper,
        kind="superiority",
        measure=measure,
        estimand=estimand,
        unit=unit,
        delta=delta,
        arm=f"harmonic, {arm}",
        controls={
            "cross-entropy": ZERO,
            "normalised": "an inner product of vectors of length one",
            "harmonic, euclidean": "the first paper's distance",
        },
        scope=(MNIST if measure.endswith("mnist") else DIGITS) + "; a network of two layers behind each head",
        core=False,
        cannot_speak=_needs("images", "mnist" if measure.endswith("mnist") else "digits"),
    )


ADDITION = (
    Claim(
        name="less-delay-authors",
        statement="With the authors' settings, too, harmonic loss generalises with less delay.",
        paper="section 4: less grokking",
        kind="superiority",
        measure="delay_authors",
        estimand="area between train and test accuracy over the doublings of training, less that of cross-entropy, sign turned",
        unit="doublings",
        delta=0.25,
        arm="harmonic, authors'",
        controls={"cross-entropy, authors'": ZERO, "distance, authors'": "softmax over minus the distance"},
        scope=TOY + SETTINGS,
        core=False,
    ),
    Claim(
        name="less-data-authors",
        statement="With the authors' settings, too, harmonic loss needs less data.",
        paper="section 4: higher test accuracy at small shares",
        kind="superiority",
        measure="data_authors",
        estimand="test accuracy at the end less that of cross-entropy, mean over training on smaller shares of the pairs",
        unit="share of pairs",
        delta=0.05,
        arm="harmonic, authors'",
        controls={"cross-entropy, authors'": ZERO, "distance, authors'": "softmax over minus the distance"},
        scope=TOY + SETTINGS,
        core=False,
        cannot_speak=lambda params: None if params.authors_shares else "needs authors_shares",
    ),
    Claim(
        name="plane-chosen",
        statement="With the settings that generalise best, too, harmonic loss lays the tokens of addition out in a plane.",
        paper="Fig. 3: a circle in almost all runs, explained variance near 100 %",
        paper_value=1.0,
        kind="superiority",
        measure="geometry",
        estimand="variance of the tokens in two principal components, 0 where under 95 % of test pairs are right",
        unit="share of variance",
        delta=0.1,
        arm="harmonic",
        controls={
            "cross-entropy": "an inner product, chosen by the same search",
            "normalised": "an inner product of vectors of length one",
            "distance": "softmax over minus the distance",
            "chance": CHANCE,
        },
        scope=TOY + "; every head as chosen by one search, its rate falling to zero",
        core=False,
    ),
    Claim(
        name="one-winding",
        statement="The plane is a circle of one frequency.",
        paper="Fig. 3: the tokens lie on a circle in the order of some multiple",
        kind="superiority",
        measure="ring",
        estimand="share of the tokens' variance at the best frequency of the ring, 0 where under 95 % of test pairs are right",
        unit="share of variance",
        delta=0.1,
        arm="harmonic, authors'",
        controls={
            "cross-entropy, authors'": "an inner product at the authors' rate and decay",
            "normalised, authors'": "an inner product of vectors of length one",
            "distance, authors'": "softmax over minus the distance",
            "chance": CHANCE,
        },
        scope=TOY + SETTINGS,
        core=False,
    ),
    Claim(
        name="generalises-sooner",
        statement="Harmonic loss generalises in half as many epochs.",
        paper="Fig. 4: epochs to 90 % test accuracy against epochs to 90 % train accuracy, failed runs left out",
        kind="event",
        measure="sooner",
        estimand="log2 of the ratio of epochs until 95 % of test pairs are right, control over arm; failed runs are censored",
        unit="doublings",
        delta=1.0,
        arm="harmonic",
        controls={
            "cross-entropy": "an inner product, chosen by the same search",
            "normalised": "an inner product of vectors of length one",
            "distance": "softmax over minus the distance",
        },
        scope=TOY,
        core=False,
    ),
    Claim(
        name="norms-stand-still",
        statement="Under harmonic loss the norm of class vectors stands still.",
        paper="Theorem 1: a finite minimum",
        paper_value=0.0,
        kind="equivalence",
        measure="slope",
        estimand="slope of log norm of class vectors against log epoch after the fit, without decay",
        unit="slope",
        delta=0.0,
        margin=0.02,
        arm="harmonic, no decay",
        controls={"cross-entropy, no decay": "grows, by the theorem"},
        scope=TOY,
        core=False,
    ),
    Claim(
        name="leak-flatters",
        statement="The authors' split flatters cross-entropy: samples drawn with replacement put most test pairs, or their twins, into training.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure="leak",
        estimand="test accuracy as published; against the control, its excess over that on pairs of which neither order is trained on",
        unit="share of pairs",
        delta=0.05,
        arm="as published",
        controls={"unseen": "the same runs, pairs that nothing gives away"},
        scope=TOY + SETTINGS,
        core=False,
        cannot_speak=_needs("splits", "leaky"),
    ),
    Claim(
        name="plane-without-a-task",
        statement="Harmonic loss flattens the tokens where there is nothing to learn but random answers.",
        paper=OURS,
        asks="us",
        kind="superiority",
        measure="memory",
        estimand="explained variance in two components under random answers, less that of cross-entropy",
        unit="share of variance",
        delta=0.1,
        arm="harmonic, authors'",
        controls={"cross-entropy, authors'": ZERO},
        scope=TOY + "; answers drawn at random for each pair",
        core=False,
        cannot_speak=_needs("splits", "shuffled"),
    ),
)

TASKS = (
    Claim(
        name="lattice-plane",
        statement="Harmonic loss lays a lattice out in a plane.",
        paper="section 4: explained variance of 100 % with either ingredient, the distance or the harmonic form",
        paper_value=1.0,
        kind="superiority",
        measure="lattice_plane",
        estimand="variance of the points in two principal components, 0 where under 95 % of test examples are right",
        unit="share of variance",
        delta=0.1,
        arm="harmonic",
        controls={
            "cross-entropy": "an inner product, settings as chosen on addition",
            "normalised": "an inner product of vectors of length one",
            "squared distance": "softmax over minus the squared distance",
            "distance": "softmax over minus the distance, which the paper says suffices",
            "chance": CHANCE,
        },
        scope=TOY + "; rate, which falls to zero, decay and knob as chosen on addition",
        core=False,
        cannot_speak=_needs("tasks", "lattice"),
    ),
    Claim(
        name="residues-plane",
        statement="Harmonic loss lays the numbers of an equivalence out in a plane.",
        paper="section 4: equivalence classes in its figure of embeddings",
        kind="superiority",
        measure="residues",
        estimand="variance of the numbers in two principal components, 0 where under 95 % of test examples are right",
        unit="share of variance",
        delta=0.1,
        arm="harmonic",
        controls={
            "cross-entropy": "an inner product, settings as chosen on addition",
            "normalised": "an inner product of vectors of length one",
            "squared distance": "softmax over minus the squared distance",
            "distance": "softmax over minus the distance",
            "chance": CHANCE,
        },
        scope=TOY + "; rate, which falls to zero, decay and knob as chosen on addition",
        core=False,
        cannot_speak=_needs("tasks", "equivalence"),
    ),
    *(
        Claim(
            name=f"{task}-generalises",
            statement=f"Harmonic loss generalises better on {words}.",
            paper=paper,
            kind="superiority",
            measure=measure,
            estimand="test accuracy at the end less that of cross-entropy",
            unit="share of examples",
            delta=0.05,
            arm="harmonic",
            controls={
                "cross-entropy": ZERO,
                "distance": "softmax over minus the distance",
                "normalised": "an inner product of vectors of length one",
            },
            scope=TOY + "; rate, which falls to zero, decay and knob as chosen on addition",
            core=False,
            cannot_speak=_needs("tasks", needed),
        )
        for task, words, paper, measure, needed in (
            ("tree", "a family tree", "section 4: alone it finds the tree", "tree_accuracy", "tree"),
            (
                "permutations",
                "permutations",
                "section 4: fewer data and less grokking",
                "permutation_accuracy",
                "permutations",
            ),
        )
    ),
)

IMAGES = (
    Claim(
        name="centres-are-convex",
        statement="Class vectors of one layer are weighted means of their class's images.",
        paper="Theorem 3, up to terms called negligible; Fig. 6 shows weights with border pixels near 0",
        paper_value=0.0,
        kind="equivalence",
        measure="hull",
        estimand="distance of a class vector from the convex hull of its class's images over that from their mean, mean over classes",
        unit="ratio",
        delta=0.0,
        margin=0.1,
        arm="harmonic",
        controls={"cross-entropy": "an inner product, its vectors scaled to be nearest to their class's mean"},
        scope=DIGITS + "; all training images of a class, about 130, make the hull",
        core=False,
        cannot_speak=_needs("images", "digits"),
    ),
    Claim(
        name="one-layer-alike",
        statement="On MNIST one layer is as accurate with harmonic loss as with cross-entropy.",
        paper="section 5: 92.49 % against 92.50 %",
        paper_value=0.0,
        kind="equivalence",
        measure="one_layer",
        estimand="difference of test accuracy",
        unit="share of images",
        delta=0.0,
        margin=0.005,
        arm="harmonic",
        controls={},
        scope=MNIST,
        core=False,
        cannot_speak=_needs("images", "mnist"),
    ),
    *(
        _distance(f"cosine-more-accurate{suffix}", f"Of the distances cosine is the one with which a network is more accurate, on {where}.",
                  "second paper, abstract: cosine has the best trade-off of accuracy and emissions in vision",
                  measure, "cosine", "test accuracy less that under cross-entropy", "share of images", 0.002)
        for suffix, where, measure in (("", "digits", "cosine_accuracy"), ("-mnist", "MNIST", "cosine_mnist"))
    ),
    *(
        _distance(f"{name}-sharper", f"{name.capitalize()} concentrates features in two dimensions.",
                  "second paper, abstract: Bray-Curtis and Mahalanobis are more interpretable; measured there as PC2 EV",
                  "sharpness", name, "variance of standardised features in two components less that under cross-entropy",
                  "share of variance", 0.05)
        for name in ("bray-curtis", "mahalanobis")
    ),
    _distance("distances-collapse", "Euclidean harmonic loss makes features of a class collapse further.",
              "first paper: class vectors are class centres", "collapse", "euclidean",
              "log2 of cross-entropy's within-class spread (NC1) over the arm's", "doublings", 0.5).model_copy(
        update={"controls": {"cross-entropy": ZERO, "normalised": "an inner product of vectors of length one"}}
    ),
)  # fmt: skip


def _text(
    name: str, statement: str, measure: str, arm: str, estimand: str, unit: str, delta: float, paper: str
) -> Claim:
    return Claim(
        name=name,
        statement=statement,
        paper=paper,
        kind="superiority",
        measure=measure,
        estimand=estimand,
        unit=unit,
        delta=delta,
        arm=arm,
        controls={"cross-entropy": ZERO},
        scope=TEXT,
        core=False,
        cannot_speak=_needs_text,
    )


LANGUAGE = (
    Claim(
        name="text-loss-alike",
        statement="A language model with harmonic loss predicts as well as one with cross-entropy.",
        paper="section 6: GPT-2 small ends at 3.146 against 3.159 nats, with ten times the rate and half the warm-up",
        paper_value=-0.013,
        kind="equivalence",
        measure="text_loss",
        estimand="difference of held-out loss; rates chosen for each head",
        unit="nats per token",
        delta=0.0,
        margin=0.03,
        arm="harmonic",
        controls={},
        scope=TEXT,
        core=False,
        cannot_speak=_needs_text,
    ),
    _text(
        "text-steadier", "On text the gradients under the cosine distance are steadier.", "text_steadiness", "cosine",
        "spread of the log gradient norm about its window's median: cross-entropy's less the arm's", "log norm", 0.02,
        "second paper, abstract: cosine improves gradient and learning stability",
    ),
    _text(
        "text-structured", "On text the token vectors under the cosine distance fill fewer directions.", "text_structure",
        "cosine", "effective rank of token vectors over the width: cross-entropy's less the arm's", "share of the width", 0.05,
        "second paper, abstract: cosine strengthens the structure of representations; measured there as effective rank",
    ),
)  # fmt: skip

ENERGY = (
    Claim(
        name="less-energy",
        statement="The cosine distance saves energy.",
        paper="second paper, abstract: lower emissions in vision and language",
        kind="superiority",
        measure="energy",
        estimand="log2 of joules per update of cross-entropy over the arm's, by the GPU's counters",
        unit="doublings",
        delta=0.05,
        arm="cosine",
        controls={"cross-entropy": ZERO},
        scope="one GPU's own counters; never an estimate by formula",
        core=False,
    ),
)

EXPLORED: tuple[Claim, ...] = (*ADDITION, *TASKS, *IMAGES, *LANGUAGE, *ENERGY)
