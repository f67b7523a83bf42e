"""The arms: heads with the learning rate, decay and knob that each was given by the same search on development seeds.

Every trial is in data/choices/harmonic-loss.csv, and `evolm.findings.harmonic_loss.choose` made it. A shared rate
would decide the comparison; so would tuning the knob of harmonic loss, its exponent, and not the scale of the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from evolm.findings.harmonic_loss.algorithmic import WIDTH
from evolm.findings.harmonic_loss.replicas import Arm, Head

#: What the search chose on addition.
CHOSEN: dict[str, Arm] = {
    "cross-entropy": Arm(Head("dot", 0.0625), lr=0.064, decay=0.1),
    "normalised": Arm(Head("normalised", 1.25), lr=0.064, decay=0.03),
    "squared distance": Arm(Head("softmax", 0.02), lr=0.064, decay=0.1),
    "distance": Arm(Head("softmax", 1.0, power=1), lr=0.064, decay=0.1),
    "harmonic": Arm(Head("harmonic", 4.0), lr=0.016, decay=0.1),
}
#: The authors' rate and decay in their small tasks, under which their own head has d^2 to the power -1.
RATE, DECAY = 2e-3, 0.01
PLAIN: dict[str, Head] = {
    "cross-entropy": Head("dot"),
    "normalised": Head("normalised", 10.0),
    "squared distance": Head("softmax", 0.1),
    "distance": Head("softmax", 1.0, power=1),
    "harmonic": Head("harmonic", 2.0),
}
#: Their embedding is the weight of a linear layer, and begins as one.
AUTHORS: dict[str, Arm] = {
    f"{name}, authors'": Arm(head, RATE, DECAY, first="head") for name, head in PLAIN.items()
}  # fmt: skip
#: Without any decay norms are free to grow. What begins small has not fitted when the slope is taken: it stands beside.
UNDECAYED: dict[str, Arm] = {f"{name}, no decay": Arm(head, RATE) for name, head in PLAIN.items()} | {
    f"{name}, no decay, small": Arm(PLAIN[name], RATE, first="head") for name in ("cross-entropy", "harmonic")
}
#: Exponents at which harmonic loss is tried besides, all else as chosen; the paper recommends the root of the width.
EXPONENTS = (1.0, 2.0, 4.0, 8.0, 16.0)
RECOMMENDED = math.sqrt(WIDTH)
#: Heads that stand beside the map of exponents, as chosen.
BESIDE = ("distance", "squared distance", "normalised", "cross-entropy")
UNTIED = ("cross-entropy", "harmonic")


def addition_arms() -> dict[str, Arm]:
    """The main program: every head as chosen, other exponents of harmonic loss, and heads with weights of their own."""
    untied = {f"{name}, untied": replace(CHOSEN[name], tied=False) for name in UNTIED}
    return CHOSEN | exponent_arms(n for arm, n in swept().items() if arm != "harmonic") | untied


def exponent_arms(exponents: Iterable[float], distance: str = "euclidean") -> dict[str, Arm]:
    """Harmonic loss at each exponent, with the rate and decay chosen for it."""
    arm = CHOSEN["harmonic"]
    return {
        exponent_arm(n, distance): replace(arm, head=replace(arm.head, knob=n, distance=distance)) for n in exponents
    }


def swept() -> dict[str, float]:
    """Arms of addition -> the exponent of each, in rising order; the chosen one's is the arm `harmonic` itself."""
    own = CHOSEN["harmonic"].head.knob
    return {"harmonic" if n == own else exponent_arm(n): n for n in sorted({*EXPONENTS, own})}


def exponent_arm(n: float, distance: str = "euclidean") -> str:
    """The name of such an arm."""
    return f"harmonic, n = {n:g}" + ("" if distance == "euclidean" else f", {distance}")


#: What the search chose for one layer on the 64 pixels of digits, without decay. The paper's exponent is the root of
#: the width, and the authors' code has twice that.
LINEAR: dict[str, Arm] = {
    "cross-entropy": Arm(Head("dot"), lr=0.03),
    "squared distance": Arm(Head("softmax"), lr=0.03),
    "harmonic": Arm(Head("harmonic", 8.0), lr=0.01),
    "harmonic, authors'": Arm(Head("harmonic", 16.0), lr=0.01),
}
LINEAR_PIXELS = 64
#: What the search chose behind a network, without decay.
NETWORK: dict[str, Arm] = {
    "cross-entropy": Arm(Head("dot"), lr=0.01),
    "normalised": Arm(Head("normalised", 5.0), lr=0.01),
    "squared distance": Arm(Head("softmax", 0.3), lr=0.03),
} | {
    f"harmonic, {name}": Arm(Head("harmonic", knob, name), lr=lr)
    for name, knob, lr in (
        ("euclidean", 4.0, 0.01),
        ("cosine", 1.0, 0.03),
        ("manhattan", 4.0, 0.01),
        ("minkowski", 4.0, 0.01),
        ("chebyshev", 4.0, 0.01),
        ("bray-curtis", 4.0, 0.01),
        ("bray-curtis-abs", 4.0, 0.03),
        ("canberra", 16.0, 0.003),
        ("hamming", 4.0, 0.01),
        ("mahalanobis", 16.0, 0.01),
    )
}


def linear_arms(pixels: int) -> dict[str, Arm]:
    """One layer on images of so many pixels: the exponent grows as the root of their number."""
    grown = math.sqrt(pixels / LINEAR_PIXELS)
    return {
        name: replace(arm, head=replace(arm.head, knob=arm.head.knob * (grown if arm.head.form == "harmonic" else 1)))
        for name, arm in LINEAR.items()
    }


#: What the search chose for the language model.
TEXT: dict[str, Arm] = {
    "cross-entropy": Arm(Head("dot"), lr=2.8e-3, decay=0.1),
    "harmonic": Arm(Head("harmonic", 45.0), lr=4e-3, decay=0.1),
    "cosine": Arm(Head("harmonic", 16.0, "cosine"), lr=4e-3, decay=0.1),
}
