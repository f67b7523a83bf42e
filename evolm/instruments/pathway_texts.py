"""The texts that are routed: read from a file, checked, turned into tokens, and which of their tokens count.

    texts = read_texts("texts.jsonl")                 .txt: a text per line; .jsonl: {"text": ..., "group": ...}
    encoded = encode(texts, tokenizer, max_tokens=512, readings=["all", "answer"])

A line of the second form may hold "prompt" and "answer" instead of "text". Readings: `all` tokens; those `answer`
positions that predict the answer's tokens; the `last` token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from evolm.instruments.dip_cells import json_lines

Reading = Literal["all", "answer", "last"]
SUFFIXES = (".txt", ".jsonl")
#: A text of fewer tokens has no course through the model to speak of.
FEWEST_TOKENS = 2


@dataclass(frozen=True)
class Text:
    """What is routed: a prompt, its answer (empty where there is none), a group (empty likewise), and its line."""

    prompt: str
    answer: str
    group: str
    place: str


@dataclass(frozen=True)
class Encoded:
    """Token ids of each text, and for each reading the first and the last position that counts, end excluded."""

    ids: list[list[int]]
    spans: dict[str, list[tuple[int, int]]]
    groups: list[str]
    truncated: int

    def batch(self, rows: Sequence[int], pad: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Tokens, attention mask and a mask for each reading: each (sample, token), padded on the right."""
        longest = max(len(self.ids[i]) for i in rows)
        tokens = torch.tensor([self.ids[i] + [pad] * (longest - len(self.ids[i])) for i in rows])
        at = torch.arange(longest)
        attention = at < torch.tensor([len(self.ids[i]) for i in rows])[:, None]
        masks = {}
        for reading, spans in self.spans.items():
            first, end = torch.tensor([spans[i] for i in rows]).T
            masks[reading] = (at >= first[:, None]) & (at < end[:, None])
        return tokens, attention, masks


def read_texts(path: str) -> list[Text]:
    """The texts of a .txt or .jsonl file. Raises ValueError with the line."""
    file = Path(path)
    if file.suffix not in SUFFIXES or not file.is_file():
        raise ValueError(f"there is no file of texts {path}; expected one that ends in {' or '.join(SUFFIXES)}")
    if file.suffix == ".txt":
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        texts = [Text(line.strip(), "", "", f"{path}, line {at}") for at, line in enumerate(lines, 1) if line.strip()]
    else:
        texts = [_text(row, f"{path}, line {number}") for number, row in json_lines(file)]
    if not texts:
        raise ValueError(f"{path} holds no text; expected one in each line")
    if len({bool(text.group) for text in texts}) > 1:
        bare = next(text for text in texts if not text.group)
        raise ValueError(f"{bare.place} has no group, and others have; give every text one, or none")
    counts = {group: [text.group for text in texts].count(group) for group in {text.group for text in texts}}
    for group, count in counts.items():
        if count < 2:
            where = f"group {group!r} of {path}" if group else path
            raise ValueError(f"{where} has a single text, and a distance needs two; add more")
    return texts


def _text(row: Any, place: str) -> Text:
    if not isinstance(row, dict):
        raise ValueError(f'{place}: expected an object such as {{"text": "..."}}, or with "prompt" and "answer"')
    whole = "text" in row
    fields: list[Any] = [row.get("text")] if whole else [row.get("prompt"), row.get("answer")]
    if not all(isinstance(value, str) and value.strip() for value in fields):
        wanted = '"text"' if whole else '"text", or "prompt" and "answer"'
        raise ValueError(f"{place}: {wanted} is missing, empty or no text; expected words in it")
    group = row.get("group", "")
    if isinstance(group, bool) or not isinstance(group, (str, int)):
        raise ValueError(f"{place}: the group is {group!r}; expected a name or a number")
    return Text(fields[0], fields[1] if not whole else "", str(group), place)


def encode(texts: Sequence[Text], tokenizer: Any, max_tokens: int, readings: Sequence[Reading]) -> Encoded:
    """Tokens of the texts, cut to `max_tokens`, and the positions of each reading.

    Raises ValueError for a text of fewer than two tokens, and for `answer` where a text has none or it is cut off.
    """
    if max_tokens < FEWEST_TOKENS:
        raise ValueError(f"max_tokens is {max_tokens}; expected {FEWEST_TOKENS} or more")
    if unknown := [reading for reading in readings if reading not in get_args(Reading)]:
        raise ValueError(f"tokens is {unknown[0]!r}; expected {', '.join(get_args(Reading))}, or several of them")
    ids: list[list[int]] = []
    spans: dict[str, list[tuple[int, int]]] = {reading: [] for reading in readings}
    truncated = 0
    for text in texts:
        start, whole = _tokens(text, tokenizer)
        if len(whole) < FEWEST_TOKENS:
            count = f"{len(whole)} token" + "s" * (len(whole) != 1)
            raise ValueError(f"{text.place} has {count}; expected {FEWEST_TOKENS} or more: lengthen or drop it")
        cut = whole[:max_tokens]
        truncated += len(cut) < len(whole)
        if "answer" in readings and not 0 < start < len(cut):
            reason = "is cut off by max_tokens" if 0 < start < len(whole) else "is missing or has no tokens of its own"
            raise ValueError(f"{text.place}: the answer {reason}; expected a prompt with an answer, or tokens=all")
        ids.append(cut)
        # A position's routing serves the prediction of the next token: those of the answer begin one before it.
        every = {"all": (0, len(cut)), "answer": (start - 1, len(cut) - 1), "last": (len(cut) - 1, len(cut))}
        for reading in readings:
            spans[reading].append(every[reading])
    return Encoded(ids, spans, [text.group for text in texts], truncated)


def _tokens(text: Text, tokenizer: Any) -> tuple[int, list[int]]:
    """Where the answer starts (0: there is none) and all tokens, without an end token that the tokenizer adds."""
    if not text.answer:
        return 0, _without_end(tokenizer, tokenizer(text.prompt).input_ids)
    prompt = text.prompt.rstrip()
    answer = text.answer if text.answer[:1].isspace() else f" {text.answer}"
    start = len(_without_end(tokenizer, tokenizer(prompt).input_ids))
    return start, _without_end(tokenizer, tokenizer(prompt + answer).input_ids)


def _without_end(tokenizer: Any, ids: list[int]) -> list[int]:
    return ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else ids
