"""Edit distance between expert pathways: as the paper's text, or with expert indices as letters.

    mean_pairwise(as_text(paths), 2000, rng)           the paper's D, which counts characters
    mean_pairwise(as_symbols(paths), 2000, rng)        the same, counting indices
    layer_distances(paths, drawn_pairs(len(paths), 2000, rng))

Li, Fan & Zhou (2025), section 4.1, write a pathway as a string and take the Levenshtein distance, averaged over pairs
of a group. Their totals look like counts of characters, their values by layer like counts of indices, so both are here,
raw and over the length of the longer string: a raw distance also grows with the pathways' length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

Array = NDArray[np.float64]
#: Experts of one sample, per layer, the heaviest first.
Pathway = tuple[tuple[int, ...], ...]
#: Symbols that one layer may use: more experts than any model has.
LAYER_SYMBOLS = 4096
#: Characters below are plain; those from here to 0xDFFF are surrogates, which text cannot hold.
SURROGATES = 0xD800


class Distances(NamedTuple):
    """Levenshtein distances of pairs, and the same over the longer one's length: each (pair,)."""

    raw: Array
    normalised: Array


class MeanDistance(NamedTuple):
    """Means over `pairs` pairs of samples."""

    raw: float
    normalised: float
    pairs: int


def as_text(paths: Sequence[Pathway]) -> list[str]:
    """The paper's string: indices joined by commas, layers by hyphens. Levenshtein then counts characters."""
    return ["-".join(",".join(map(str, layer)) for layer in path) for path in paths]


def as_symbols(paths: Sequence[Pathway], *, by_layer: bool = True) -> list[str]:
    """One character per expert index, so that Levenshtein counts indices.

    With `by_layer` expert 3 of layer 0 and expert 3 of layer 1 are different letters, else the same one. Letters mean
    the same in every call, so that pathways of different calls may be compared.
    """
    if any(index >= LAYER_SYMBOLS for path in paths for layer in path for index in layer):
        raise ValueError(f"an expert's index is {LAYER_SYMBOLS} or more, beyond what there are letters for")
    step = LAYER_SYMBOLS if by_layer else 0
    return ["".join(_letter(at * step + e) for at, layer in enumerate(path) for e in layer) for path in paths]


def pair_distances(strings: Sequence[str], pairs: NDArray[np.integer[Any]] | None = None) -> Distances:
    """Levenshtein distances of `pairs` (pair, 2) of indices into `strings`; by default of all i < j in rising order.

    Normalised: over the length of the longer string, in [0, 1]; 0 for two empty ones. Equal strings are compared once.
    """
    chosen = np.stack(np.triu_indices(len(strings), 1), 1) if pairs is None else np.asarray(pairs)
    if chosen.ndim != 2 or chosen.shape[1] != 2:
        raise ValueError(f"pairs have shape {chosen.shape}; expected (pair, 2) indices of strings")
    if chosen.size and not (chosen.min() >= 0 and chosen.max() < len(strings)):
        raise ValueError(f"a pair has index {chosen.max()} or {chosen.min()}, and there are {len(strings)} strings")
    place = {text: i for i, text in enumerate(dict.fromkeys(strings))}  # not np.unique: it drops trailing zeros
    kinds = list(place)
    one, other = np.array([place[text] for text in strings], int)[chosen].T
    if len(kinds) ** 2 <= 4 * len(chosen):  # a whole table is faster per pair, and no larger than what is asked for
        raw = process.cdist(kinds, kinds, scorer=Levenshtein.distance, dtype=np.int32)[one, other]
    else:
        raw = process.cpdist(
            [kinds[i] for i in one], [kinds[i] for i in other], scorer=Levenshtein.distance, dtype=np.int32
        )
    lengths = np.array([len(text) for text in kinds], int)
    longer = np.maximum(np.maximum(lengths[one], lengths[other]), 1)
    return Distances(raw.astype(float), raw / longer)


def mean_pairwise(strings: Sequence[str], max_pairs: int, rng: np.random.Generator) -> MeanDistance:
    """Mean distance over all pairs of samples, or over `max_pairs` of them drawn by `rng`, none twice.

    Raises ValueError for fewer than two samples, which have no distance.
    """
    distances = pair_distances(strings, drawn_pairs(len(strings), max_pairs, rng))
    return MeanDistance(float(distances.raw.mean()), float(distances.normalised.mean()), len(distances.raw))


def layer_distances(
    paths: Sequence[Pathway], pairs: NDArray[np.integer[Any]] | None = None, *, text: bool = False
) -> Distances:
    """Distances within each layer, (layer, pair); a letter is an expert index, or a character with `text`."""
    if not paths:
        raise ValueError("there are no pathways; expected those of two samples or more")
    written = as_text if text else as_symbols
    layers = [pair_distances(written([(path[at],) for path in paths]), pairs) for at in range(len(paths[0]))]
    return Distances(np.stack([layer.raw for layer in layers]), np.stack([layer.normalised for layer in layers]))


def drawn_pairs(samples: int, max_pairs: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Pairs i < j of samples, (pair, 2): all of them, or `max_pairs` drawn without replacement."""
    if samples < 2 or max_pairs < 1:
        raise ValueError(f"there are {samples} samples and at most {max_pairs} pairs; expected 2 and 1, or more")
    total = samples * (samples - 1) // 2
    if total <= max_pairs:
        return np.stack(np.triu_indices(samples, 1), 1)
    number = np.sort(rng.choice(total, max_pairs, replace=False, shuffle=False))
    # Pairs are numbered by their larger index j: those of j start at j (j - 1) / 2.
    larger = np.floor((1 + np.sqrt(1 + 8 * number.astype(float))) / 2).astype(np.int64)
    larger -= larger * (larger - 1) // 2 > number  # the root may round up
    return np.stack([number - larger * (larger - 1) // 2, larger], 1)


def _letter(number: int) -> str:
    return chr(number if number < SURROGATES else number + 0x800)
