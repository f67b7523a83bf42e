"""Cloze questions on held-out real text: which of a few words stood at the end of this passage?

    probes = cloze_probes("medical", count=300, choices=4, context=96, seed=0)
    probes.chance                                       # 0.25, exactly
    accuracy(probes, model_logprobs(probes, model))     # a language model
    accuracy(probes, trigram.logprobs(probes.rows))     # an n-gram

A probe takes a content word of a test document. The true word competes with words that occur about as often in the
training text of the same source and have as many tokens; a candidate's score is its mean log probability per token
after the passage that precedes the word, so neither frequency nor length gives the answer away.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evolm.findings.stability_gap.text_world import DOMAINS, Document, encode, split
from evolm.lm.forward import decoder_for
from evolm.lm.vocabulary import BOS_ID, PAD_ID

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

WORD = re.compile(r"(?<= )[a-z]{5,}(?=[ .,;])")
SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z])")
#: A word is asked for if it occurs this often in its source's training text: rarer ones have no fair rivals, and the
#: most frequent are function words.
RAREST, FUNCTION_WORDS = 5, 100
#: Rivals occur at most this many times as often as the answer, and at least so many times less often.
FREQUENCY_RATIO = 1.5
#: Words that a sentence has before the gap, and sentences asked of one document.
BEFORE, PER_DOCUMENT = 6, 40
#: Words that share this many first letters count as forms of one word, and never compete.
STEM = 5
#: Characters of passage kept for each token of context, more than a token has, so that rows are full.
CHARACTERS = 8
#: Rows scored at a time.
BATCH = 64


@dataclass(frozen=True)
class Probes:
    """`rows` (probes * choices, T) are passages with a candidate at their end, right-padded; `mask` names its tokens.

    The candidates of probe `p` are rows `p * choices` on; `answers` (probes,) says which of them is right.
    """

    passages: tuple[str, ...]
    candidates: tuple[tuple[str, ...], ...]
    answers: Ints
    documents: tuple[str, ...]
    rows: Ints
    mask: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def chance(self) -> float:
        """Accuracy of a guess, exactly: every probe has as many candidates and one of them is right."""
        return 1.0 / len(self.candidates[0])


def cloze_probes(domain: str, count: int, choices: int = 4, context: int = 96, seed: int = 0) -> Probes:
    """Draw `count` probes from the domain's test documents, shared evenly among its sources.

    A row has at most `context` tokens. Raises ValueError where the documents have not enough sentences.
    """
    rng = np.random.default_rng([seed, len(domain), count])
    sources = DOMAINS[domain]
    shares = [count // len(sources) + (rank < count % len(sources)) for rank in range(len(sources))]
    drawn: list[tuple[Document, str, str, list[str]]] = []
    for source, share in zip(sources, shares, strict=True):
        documents, rivals = split(domain, "test", source=source), _rivals(domain, source)
        gaps = [gap for document in documents for gap in _gaps(document, context * CHARACTERS, rng)]
        found: list[tuple[Document, str, str, list[str]]] = []
        for place in rng.permutation(len(gaps)):
            if len(found) == share:
                break
            document, passage, word, sentence = gaps[place]
            if distractors := _distractors(word, sentence, rivals, choices - 1, rng):
                found.append((document, passage, word, distractors))
        if len(found) < share:
            raise ValueError(
                f"{source} has {len(found)} sentences to ask about; expected {share}: ask for fewer probes"
            )
        drawn += found
    answers = rng.integers(choices, size=count)
    candidates = tuple(
        tuple(np.insert(np.array(wrong, object), answer, word))
        for (_, _, word, wrong), answer in zip(drawn, answers, strict=True)
    )
    passages = tuple(passage for _, passage, _, _ in drawn)
    rows, mask = _rows(passages, candidates, context)
    return Probes(passages, candidates, answers, tuple(document.id for document, *_ in drawn), rows, mask)


def model_logprobs(probes: Probes, model: Any) -> Floats:
    """(rows, T) log probability in nats of every token of `probes.rows`, zero where it is no candidate's."""
    decoder, found = decoder_for(model), np.zeros(probes.rows.shape)
    begins = probes.mask.argmax(1)
    ends = begins + probes.mask.sum(1)
    by_length = np.argsort(ends, kind="stable")  # so that little of a batch is padding
    with torch.no_grad():
        for start in range(0, len(by_length), BATCH):
            batch = by_length[start : start + BATCH]
            begin, end = int(begins[batch].min()), int(ends[batch].max())
            tokens = torch.from_numpy(probes.rows[batch, :end]).to(decoder.device)
            logits = decoder.logits(tokens[:, :-1], begin - 1).log_softmax(-1)  # (rows, end - begin, vocab)
            chosen = logits.gather(-1, tokens[:, begin:, None])[..., 0]
            found[batch, begin:end] = chosen.double().cpu().numpy()
    return np.where(probes.mask, found, 0.0)


def marks(probes: Probes, logprobs: Floats) -> NDArray[np.bool_]:
    """(probes,) whether the right candidate has the highest mean log probability per token."""
    means = np.where(probes.mask, logprobs, 0.0).sum(1) / probes.mask.sum(1)
    scores = means.reshape(len(probes), -1)
    return np.asarray(scores.argmax(1) == probes.answers)


def accuracy(probes: Probes, logprobs: Floats) -> float:
    """Share of probes answered rightly."""
    return float(marks(probes, logprobs).mean())


@lru_cache
def _rivals(domain: str, source: str) -> dict[str, tuple[int, int]]:
    """Words to choose from: occurrences in the source's training text, and tokens after a space."""
    texts = [document.text for document in split(domain, "train", source=source)]
    counts = Counter(word for text in texts for word in WORD.findall(text))
    every = Counter(word for text in texts for word in text.lower().split())
    function = {word for word, _ in every.most_common(FUNCTION_WORDS)}
    words = sorted(word for word, times in counts.items() if times >= RAREST and word not in function)
    return {word: (counts[word], len(ids)) for word, ids in zip(words, encode([f" {w}" for w in words]), strict=True)}


def _gaps(document: Document, reach: int, rng: np.random.Generator) -> list[tuple[Document, str, str, str]]:
    """(document, up to `reach` characters before the gap, word, its sentence) in at most `PER_DOCUMENT` sentences."""
    found, start = [], 0
    for sentence in SENTENCE_END.split(document.text):
        words = [match for match in WORD.finditer(sentence) if sentence.count(" ", 0, match.start()) >= BEFORE]
        if words:
            match = words[rng.integers(len(words))]
            end = start + match.start() - 1
            begin = document.text.find(" ", end - reach) + 1 if end > reach else 0
            found.append((document, document.text[begin:end], match[0], sentence))
        start += len(sentence) + 1
    chosen = np.sort(rng.permutation(len(found))[:PER_DOCUMENT])
    return [found[place] for place in chosen]


def _distractors(
    word: str, sentence: str, rivals: dict[str, tuple[int, int]], count: int, rng: np.random.Generator
) -> list[str]:
    """`count` words as frequent and long as `word`, no form of it or of a word of `sentence`; none if too few."""
    if word not in rivals:
        return []
    times, tokens = rivals[word]
    stems = {other[:STEM] for other in re.findall(r"[a-z]+", sentence.lower())}
    fair = [
        other
        for other, (others, length) in rivals.items()
        if length == tokens
        and times / FREQUENCY_RATIO <= others <= times * FREQUENCY_RATIO
        and other[:STEM] not in stems
    ]
    chosen: list[str] = []
    for place in rng.permutation(len(fair)):
        if fair[place][:STEM] not in {other[:STEM] for other in chosen}:
            chosen.append(fair[place])
        if len(chosen) == count:
            return chosen
    return []


def _rows(
    passages: tuple[str, ...], candidates: tuple[tuple[str, ...], ...], context: int
) -> tuple[Ints, NDArray[np.bool_]]:
    """Token rows of at most `context`, and where the candidates are in them."""
    before = [[BOS_ID, *ids] for ids in encode(passages)]
    after = [encode([f" {word}" for word in words]) for words in candidates]
    rows = [(ids[len(word) - context :], word) for ids, words in zip(before, after, strict=True) for word in words]
    length = max(len(ids) + len(word) for ids, word in rows)
    tokens = np.full((len(rows), length), PAD_ID, np.int64)
    mask = np.zeros(tokens.shape, bool)
    for row, (ids, word) in enumerate(rows):
        end = len(ids) + len(word)
        tokens[row, :end] = [*ids, *word]
        mask[row, len(ids) : end] = True
    return tokens, mask
