"""A task that a two-layer model learns in seconds: say again the digit that the prompt shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evolm.lm.tasks.base import Array, Chance, Grades, Problem, Split, as_numpy
from evolm.lm.vocabulary import BOS_ID, SEP_ID, word_tokenizer

DIGITS = ["d0", "d1", "d2", "d3"]


class CopyTask:
    """Prompt `<bos> d <sep>`, with `padding` more separators for odd digits; right is `d` as the first token."""

    name = "copy"

    def __init__(self, max_new_tokens: int = 2, *, padding: int = 0) -> None:
        self.max_new_tokens, self.padding = max_new_tokens, padding
        self.tokenizer: Any = word_tokenizer(DIGITS)
        self.first = self.tokenizer.convert_tokens_to_ids("d0")

    def problems(self, split: Split, count: int, seed: int) -> list[Problem]:
        drawn = np.random.default_rng(seed).integers(len(DIGITS), size=count)
        return [Problem(str(d), DIGITS[d], DIGITS[d], {"digit": int(d)}) for d in drawn]

    def encode(self, problems: Sequence[Problem]) -> list[list[int]]:
        digits = [problem.facts["digit"] for problem in problems]
        return [[BOS_ID, self.first + d, SEP_ID] + [SEP_ID] * (self.padding * (d % 2)) for d in digits]

    def grade(self, problems: Sequence[Problem], tokens: Any, lengths: Any) -> Grades:
        said = as_numpy(tokens)[:, 0] - self.first
        correct: Array = said == np.array([problem.facts["digit"] for problem in problems])
        return Grades(correct, (said >= 0) & (said < len(DIGITS)), correct)

    def chance(self, problems: Sequence[Problem]) -> Chance:
        return Chance(np.full(len(problems), 1 / len(DIGITS)), np.full(len(problems), 1 / len(DIGITS)))
