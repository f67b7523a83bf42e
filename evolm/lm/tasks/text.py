"""What tasks in plain text share: prompts through a model's own tokenizer, and grading of decoded completions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evolm.lm.tasks.base import Array, Chance, Grades, Problem, as_numpy, check_rows

if TYPE_CHECKING:
    from torch import Tensor

CHAT = "chat"


class TextTask:
    """Encodes prompts and decodes completions; a task adds `judge`, which marks decoded texts.

    `template` is text around "{prompt}", or "chat" for the tokenizer's own chat template; without it the prompt goes
    in as it is. The grader gets the decoded completion and the problem's answer, never the prompt.
    """

    def __init__(self, name: str, tokenizer: Any, template: str | None, max_new_tokens: int) -> None:
        if tokenizer is None or tokenizer.eos_token_id is None:
            raise ValueError(f"The task {name} needs a tokenizer with an EOS token: give the model's own.")
        if template not in (None, CHAT) and "{prompt}" not in template:
            raise ValueError(f'The template {template!r} has no place for the prompt; write "{{prompt}}" there.')
        if template == CHAT and not getattr(tokenizer, "chat_template", None):
            raise ValueError('template="chat" was asked for, but this tokenizer has no chat template.')
        self.name, self.tokenizer, self.template, self.max_new_tokens = name, tokenizer, template, max_new_tokens

    def judge(self, pairs: Sequence[tuple[Problem, str]]) -> list[tuple[bool, bool]]:
        """(answer is right, an answer could be read) for each problem and the text of a completion."""
        raise NotImplementedError

    def encode(self, problems: Sequence[Problem]) -> list[list[int]]:
        """Prompt ids with the special tokens that the tokenizer itself puts before a text."""
        return [self._encode(problem.prompt) for problem in problems]

    def _encode(self, prompt: str) -> list[int]:
        if self.template == CHAT:
            turns = [{"role": "user", "content": prompt}]
            text = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            return list(self.tokenizer(text, add_special_tokens=False).input_ids)
        # Not str.format: prompts and templates may hold other braces.
        ids = self.tokenizer(prompt if self.template is None else self.template.replace("{prompt}", prompt)).input_ids
        # Some tokenizers close every text with EOS; a prompt is not closed.
        return list(ids[:-1] if ids and ids[-1] == self.tokenizer.eos_token_id else ids)

    def grade(self, problems: Sequence[Problem], tokens: Array | Tensor, lengths: Array | Tensor) -> Grades:
        """`correct`: the answer read from the completion is right. `well_formed`: it could be read, and EOS came.

        `valid` is `correct`: the reasoning of a text is not checked.
        """
        tokens, lengths = as_numpy(tokens), as_numpy(lengths)
        check_rows(problems, tokens, lengths)
        texts = self._texts(tokens, lengths)
        # Samples repeat themselves: each pair of problem and text is judged once.
        keys = [(problem.id, problem.answer, text) for problem, text in zip(problems, texts, strict=True)]
        pairs = dict(zip(keys, zip(problems, texts, strict=True), strict=True))
        marks = dict(zip(pairs, self.judge(list(pairs.values())), strict=True))
        rows = np.array([marks[key] for key in keys], bool).reshape(-1, 2)
        last = tokens[np.arange(len(tokens)), np.maximum(lengths, 1) - 1] if tokens.shape[1] else np.zeros(len(tokens))
        ended = (lengths > 0) & (last == self.tokenizer.eos_token_id)
        return Grades(rows[:, 0], rows[:, 1] & ended, rows[:, 0].copy())

    def _texts(self, tokens: Array, lengths: Array) -> list[str]:
        rows = [row[:length].tolist() for row, length in zip(tokens, lengths, strict=True)]
        return [text.strip() for text in self.tokenizer.batch_decode(rows, skip_special_tokens=True)] if rows else []


def answer_chance(problems: Sequence[Problem], pool: Sequence[Problem], leave_one_out: bool = False) -> Chance:
    """Chance levels from the answers of `pool`, by exact match of the text.

    `answer_guess` draws from the answers as often as they occur; `blind_search` draws each distinct answer as often
    as any other. `leave_one_out`: the pool holds the problems themselves, and each is taken out of its own pool.
    Where a problem has several right answers both levels are too low, and NaN where it has no reference answer.
    """
    total = Counter(answer_text(problem.answer) for problem in pool)
    texts = [answer_text(problem.answer) for problem in problems]
    others = np.array([total[text] if text else np.nan for text in texts], float) - leave_one_out
    guess = others / max(len(pool) - leave_one_out, 1)
    blind = np.where(np.isnan(others), np.nan, (others > 0) / max(len(total), 1))
    return Chance(guess, blind)


def answer_text(answer: str) -> str:
    """An answer as it is compared with others: case and white space aside."""
    return " ".join(answer.lower().split())
