"""Parameters and presets of the harmonic-loss chapter."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from evolm.finding import Params, Preset, parameter

Share = Annotated[float, Field(gt=0, lt=1)]
Exponent = Annotated[float, Field(gt=0, le=1024)]
Distance = Literal[
    "euclidean", "cosine", "manhattan", "minkowski", "chebyshev", "bray-curtis", "bray-curtis-abs", "canberra",
    "hamming", "mahalanobis",
]  # fmt: skip
MAP = ("map_exponents", "map_distances", "map_shares")
OtherTask = Literal["lattice", "equivalence", "tree", "permutations"]


class HarmonicLossParams(Params):
    """Parameters of the algorithmic tasks, the images and the language model."""

    slow_seeds: int = parameter(
        8, "at most so many seeds of all but addition at chosen settings: it is slow or beside the point", unit="seeds",
        ge=1, le=256,
    )  # fmt: skip
    image_seeds: int = parameter(8, "at most so many seeds of images", unit="seeds", ge=1, le=256)
    share: Share = parameter(0.8, "share of the pairs of addition that are trained on", unit="share", gt=0, lt=1)
    epochs: int = parameter(200, "passes over the training examples", unit="epochs", ge=8, le=10**6)
    shares: tuple[Share, ...] = parameter(
        (0.35, 0.4, 0.45),
        "smaller shares, between chance and ceiling, for the claim on data",
        unit="share",
        max_length=16,
    )
    long_epochs: int = parameter(
        2000, "passes at the authors' rate, which is slow; fewer without decay", unit="epochs", ge=20, le=10**6
    )
    authors_shares: tuple[Share, ...] = parameter(
        (0.5,), "smaller shares at the authors' settings", unit="share", max_length=16
    )
    splits: tuple[Literal["leaky", "shuffled"], ...] = parameter(
        ("leaky", "shuffled"), "further splits: the authors' own, and answers that nothing determines", unit="-"
    )
    tasks: tuple[OtherTask, ...] = parameter(
        ("lattice", "equivalence", "tree", "permutations"), "further tasks of the paper", unit="-", max_length=4
    )
    map_exponents: tuple[Exponent, ...] = parameter((), "exponents on the map", unit="exponent", max_length=16)
    map_distances: tuple[Distance, ...] = parameter((), "distances on the map", unit="-", max_length=10)
    map_shares: tuple[Share, ...] = parameter((), "shares of the pairs on the map", unit="share", max_length=16)
    images: tuple[str, ...] = parameter(
        ("digits",), "sets of images: digits, mnist, or a hub id", unit="-", max_length=8
    )
    image_epochs: int = parameter(40, "passes over digits; a larger set has fewer", unit="epochs", ge=4, le=10**5)
    text_seeds: int = parameter(0, "seeds of the language model", unit="seeds", ge=0, le=256)
    text_width: int = parameter(128, "width of the language model", unit="dimensions", ge=16, le=4096)
    text_layers: int = parameter(3, "its layers", unit="layers", ge=1, le=64)
    text_steps: int = parameter(4000, "its updates", unit="updates", ge=40, le=10**7)

    @property
    def text_seed_list(self) -> list[int]:
        return list(range(self.first_seed, self.first_seed + self.text_seeds))

    @model_validator(mode="after")
    def _make_sense_together(self) -> HarmonicLossParams:
        given = [bool(getattr(self, name)) for name in MAP]
        if any(given) and not all(given):
            raise ValueError(
                f"a map needs map_exponents, map_distances and map_shares; given are {list(self.map_exponents)}, "
                f"{list(self.map_distances)} and {list(self.map_shares)}"
            )
        for name in ("shares", "authors_shares"):
            if max(smaller := getattr(self, name), default=0.0) >= self.share:
                raise ValueError(f"{name} = {list(smaller)} must all be smaller than share = {self.share}")
        for name in ("shares", "authors_shares", "splits", "tasks", "images", *MAP):
            if len(set(values := getattr(self, name))) < len(values):
                raise ValueError(f"{name} = {list(values)} names one twice")
        if self.text_width % 8:
            raise ValueError(f"text_width = {self.text_width} is no multiple of 8, as four heads of an even width need")
        return self


def in_words(params: HarmonicLossParams) -> str:
    """The scale of a run as a reader wants to know it."""
    text = f"; a language model of real text with {params.text_seeds} seeds" if params.text_seeds else ""
    return (
        f"{params.seeds} seeds of addition mod 31 in networks of width 16, {len(params.tasks)} further tasks, "
        f"images of {' and '.join(params.images) or 'none'}{text}"
    )


PRESETS = {
    "smoke": Preset(
        description="the chapter end to end, small: addition with two seeds, one further task, digits",
        overrides={
            "seeds": 2,
            "epochs": 40,
            "shares": (0.4,),
            "long_epochs": 120,
            "authors_shares": (),
            "splits": ("leaky",),
            "tasks": ("lattice",),
            "image_epochs": 10,
        },
        cpu_seconds=45,
    ),
    "cpu": Preset(
        description="core claims with 12 seeds (5 where runs are slow), all five tasks, distances on digits",
        overrides={"seeds": 12, "first_seed": 1400, "slow_seeds": 5, "image_seeds": 5, "authors_shares": ()},
        cpu_seconds=1105,
    ),
    "gpu": Preset(
        description="32 further seeds (10 where runs are slow): the map of exponents and distances, MNIST",
        overrides={
            "seeds": 32,
            "first_seed": 3000,
            "slow_seeds": 10,
            "image_seeds": 4,
            "authors_shares": (),
            "map_exponents": (1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
            "map_distances": ("euclidean", "manhattan", "cosine"),
            "map_shares": (0.3, 0.4, 0.5, 0.6, 0.8),
            "images": ("digits", "mnist"),
        },
        cpu_seconds=3810,
        note="its time on a GPU has not been measured; it resumes; `-p text_seeds=4` adds a language model",
    ),
    "paper": Preset(
        description="the paper's training length, CIFAR images, a language model of GPT-2 small's size",
        overrides={
            "seeds": 20,
            "slow_seeds": 20,
            "image_seeds": 20,
            "epochs": 2000,
            "long_epochs": 7000,
            "images": ("mnist", "uoft-cs/cifar10", "uoft-cs/cifar100"),
            "text_seeds": 3,
            "text_width": 768,
            "text_layers": 12,
            "text_steps": 10_000,
        },
        note="its time has not been measured: days on a CPU; images come from the hub (about 280 MB)",
    ),
}
