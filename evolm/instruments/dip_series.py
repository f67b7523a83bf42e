"""Answers of a series of checkpoints to multiple-choice probes: a table of step, task, item, correct.

    answers(["ckpt-0", "ckpt-100"], Questions(["domain.jsonl"]), None)

A probe is a line {"prompt": ..., "choices": [...], "answer": index}. The choice with the largest log-likelihood per
token, given the prompt, is the model's. Every checkpoint must share the first one's tokenizer.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from evolm.instruments.causal_model import OpenModel, logits_room, open_model, same_vocabulary
from evolm.instruments.dip_cells import BadSeries, json_lines
from evolm.lm.memory import fitting

#: Metrics of an lm_eval sample that say whether it was right, the first that is there is taken.
RIGHT = ("acc", "exact_match", "acc_norm")


@dataclass(frozen=True)
class Questions:
    """What checkpoints are asked: files of probes, tasks of lm_eval, so many items of each, where."""

    probes: Sequence[str] = field(default_factory=list)
    tasks: Sequence[str] = field(default_factory=list)
    limit: int | None = None
    device: str | None = None


@dataclass(frozen=True)
class Probe:
    """A prompt, its choices, and the index of the right one."""

    prompt: str
    choices: tuple[str, ...]
    answer: int


def answers(
    checkpoints: Sequence[str], questions: Questions, steps: Sequence[float] | None, save: str | None = None
) -> pd.DataFrame:
    """One row per checkpoint, task and item; `save` is written after every checkpoint, which a later failure keeps."""
    at = checkpoint_steps(checkpoints, steps)
    probes = {Path(path).stem: read_probes(path)[: questions.limit] for path in questions.probes}
    if len(probes) < len(questions.probes):
        raise BadSeries("two files of probes have one name; rename one, so that the table can tell them apart")
    evaluate = _lm_eval() if questions.tasks else None
    tables, tokenizer = [], None
    for name, step in zip(checkpoints, at, strict=True):
        rows = []
        if probes:
            model = open_model(name, questions.device)
            tokenizer = tokenizer or model.tokenizer
            if not same_vocabulary(tokenizer, model.tokenizer):
                raise BadSeries(
                    f"{name} and {checkpoints[0]} have different tokenizers, so they are not checkpoints of one run; "
                    "measure them apart"
                )
            rows = [
                {"task": task, "item": i, "correct": right}
                for task, asked in probes.items()
                for i, right in enumerate(answered(model, asked))
            ]
        if evaluate is not None:
            rows += _task_rows(evaluate, name, questions)
        tables.append(pd.DataFrame(rows).assign(checkpoint=name, step=step))
        table = pd.concat(tables, ignore_index=True)[["checkpoint", "step", "task", "item", "correct"]]
        if save is not None:
            table.to_csv(save, index=False) if Path(save).suffix == ".csv" else table.to_parquet(save, index=False)
    return table


def checkpoint_steps(checkpoints: Sequence[str], steps: Sequence[float] | None) -> list[float]:
    """Steps as given, or the numbers that the checkpoints' names end in."""
    if steps is not None:
        if len(steps) != len(checkpoints):
            raise BadSeries(f"there are {len(steps)} steps for {len(checkpoints)} checkpoints; expected one for each")
        return [float(step) for step in steps]
    found = []
    for name in checkpoints:
        number = re.search(r"(\d+)$", name.rstrip("/"))
        if number is None:
            example = ",".join(str(100 * i) for i in range(len(checkpoints)))
            raise BadSeries(f"the name of {name} ends in no step; rename it (ckpt-100), or say -p steps={example}")
        found.append(float(number[1]))
    return found


def read_probes(path: str) -> list[Probe]:
    """The probes of a JSONL file. Raises BadSeries with the line."""
    if not Path(path).is_file():
        raise BadSeries(f"there is no file of probes {path}; expected JSON lines with prompt, choices and answer")
    probes = [_probe(row, f"{path}, line {number}") for number, row in json_lines(Path(path))]
    if not probes:
        raise BadSeries(f"{path} is empty; expected JSON lines with prompt, choices and answer")
    return probes


def _probe(row: Any, place: str) -> Probe:
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        raise BadSeries(f'{place}: expected an object with "prompt" (a text), "choices" and "answer"')
    choices, answer = row.get("choices"), row.get("answer")
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c.strip() for c in choices):
        raise BadSeries(f"{place}: choices is {choices!r}; expected a list of two texts or more")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise BadSeries(f"{place}: answer is {answer!r}; expected the index of a choice, 0 to {len(choices) - 1}")
    return Probe(row["prompt"], tuple(choices), answer)


@torch.inference_mode()
def answered(model: OpenModel, probes: Sequence[Probe]) -> list[bool]:
    """Whether each probe's right choice has the largest log-likelihood per token."""
    pairs = [_tokens(model, probe.prompt, choice) for probe in probes for choice in probe.choices]
    longest = max(len(prompt) + len(choice) for prompt, choice in pairs)
    if longest > model.decoder.max_length:
        raise BadSeries(
            f"a probe is {longest} tokens long, and {model.name} reads {model.decoder.max_length}; shorten it"
        )
    order = sorted(range(len(pairs)), key=lambda i: sum(map(len, pairs[i])))  # alike in length: little padding
    room = max(1, logits_room(model) // (longest * model.decoder.vocab_size))
    scores, done = [0.0] * len(pairs), 0
    while done < len(order):
        part, room = fitting(partial(_scores, model, [pairs[i] for i in order[done:]]), room)
        for i, score in zip(order[done:], part, strict=False):
            scores[i] = score
        done += len(part)
    found, start = [], 0
    for probe in probes:
        mine = scores[start : start + len(probe.choices)]
        others = [score for i, score in enumerate(mine) if i != probe.answer]
        found.append(mine[probe.answer] > max(others))  # a tie is not an answer
        start += len(probe.choices)
    return found


def _tokens(model: OpenModel, prompt: str, choice: str) -> tuple[list[int], list[int]]:
    """Tokens of the prompt and of the choice after it, a space between them where neither brings one."""
    text = prompt.rstrip()
    after = choice if choice[:1].isspace() else f" {choice}"
    ids = model.tokenizer(text + after).input_ids
    start = len(_without_end(model, model.tokenizer(text).input_ids))
    ids = _without_end(model, ids)
    if not 0 < start < len(ids):
        raise BadSeries(
            f"{prompt!r} with the choice {choice!r} gives {model.name} no tokens to compare; mend the probe"
        )
    return ids[:start], ids[start:]


def _without_end(model: OpenModel, ids: list[int]) -> list[int]:
    eos = model.tokenizer.eos_token_id
    return ids[:-1] if len(ids) > 1 and ids[-1] == eos else ids


def _scores(model: OpenModel, pairs: Sequence[tuple[list[int], list[int]]], most: int) -> list[float]:
    """Log-likelihood per token of the first `most` choices."""
    pairs = pairs[:most]
    longest = max(len(prompt) + len(choice) for prompt, choice in pairs)
    rows = [[*prompt, *choice, *[0] * (longest - len(prompt) - len(choice))] for prompt, choice in pairs]
    tokens = torch.tensor(rows, device=model.decoder.device)  # (rows, time), padded on the right
    logits = model.decoder.logits(tokens)[:, :-1]  # (rows, time - 1, vocab)
    surprise = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none").cpu()
    scored = zip(surprise, pairs, strict=True)
    return [-float(row[len(p) - 1 : len(p) - 1 + len(c)].mean()) for row, (p, c) in scored]


def _lm_eval() -> Any:
    try:
        return importlib.import_module("lm_eval").simple_evaluate
    except ImportError:
        raise BadSeries(
            "tasks are those of lm_eval, which is not installed: pip install lm_eval, or use probes=FILE.jsonl"
        ) from None


def _task_rows(evaluate: Any, name: str, questions: Questions) -> list[dict[str, Any]]:
    """Right and wrong answers to every item of the tasks, by lm_eval."""
    place = {} if questions.device is None else {"device": questions.device}
    found = evaluate(
        model="hf",
        model_args={"pretrained": name},
        tasks=list(questions.tasks),
        limit=questions.limit,
        log_samples=True,
        **place,
    )
    rows = []
    for task, samples in found["samples"].items():
        metric = next((metric for metric in RIGHT if samples and metric in samples[0]), None)
        if metric is None:
            raise BadSeries(
                f"task {task} of lm_eval says of no answer whether it is right; expected {' or '.join(RIGHT)}"
            )
        rows += [{"task": task, "item": s["doc_id"], "correct": bool(s[metric])} for s in samples]
    return rows
