"""A task from a user's own file: one JSON object per line, {"prompt": ..., "answer": ..., "id": ... if you like}.

    task = JsonlTask("problems.jsonl", tokenizer, template="Question: {prompt}\\nAnswer:")
    task = JsonlTask("problems.jsonl", tokenizer, grader="last_number", split="test")

The whole file is read and checked first; what is wrong with it is said with the line's number. Answers are compared
as mathematics by math_verify, or (`grader="last_number"`, for word problems) by the last number of the completion.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from evolm.lm.tasks.base import Chance, NotEnoughProblems, Problem, Split, check_split, problem_id, split_of_id
from evolm.lm.tasks.math_answers import judge_last_number, judge_math, last_number, readable_references
from evolm.lm.tasks.text import TextTask, answer_chance

Grader = Literal["math", "last_number"]


class BadProblemFile(ValueError):
    """A problem file has a line that cannot be used; the message names it."""


class JsonlTask(TextTask):
    """The problems of the JSONL file at `path`, in splits by the hash of the prompt.

    `split` puts the whole file into that split instead: for a file that is a test set already.
    """

    def __init__(
        self,
        path: str | Path,
        tokenizer: Any,
        template: str | None = None,
        *,
        grader: Grader = "math",
        split: Split | None = None,
        max_new_tokens: int = 256,
    ) -> None:
        super().__init__(Path(path).stem, tokenizer, template, max_new_tokens)
        if grader not in get_args(Grader):
            raise ValueError(f"There is no grader {grader!r}; choose one of {', '.join(get_args(Grader))}.")
        if split is not None:
            check_split(split)
        self.grader, self.split = grader, split
        self.all_problems = read_problems(path, grader)

    def problems(self, split: Split, count: int, seed: int) -> list[Problem]:
        """`count` problems of `split`, in an order drawn from `seed`; a shorter list begins a longer one."""
        check_split(split)
        held = [p for p in self.all_problems if (self.split or split_of_id(p.id)) == split]
        if len(held) < count:
            whole = '; pass split="test" to use the whole file as one split' if self.split is None else ""
            raise NotEnoughProblems(
                f"The {split} split of {self.name} holds {len(held)} of the file's {len(self.all_problems)} problems, "
                f"and {count} were asked for{whole}."
            )
        return [held[i] for i in np.random.default_rng(seed).permutation(len(held))[:count]]

    def judge(self, pairs: Sequence[tuple[Problem, str]]) -> list[tuple[bool, bool]]:
        """An answer that cannot be read is wrong."""
        judge = judge_math if self.grader == "math" else judge_last_number
        return judge([(problem.answer, text) for problem, text in pairs])

    def chance(self, problems: Sequence[Problem]) -> Chance:
        """Guessing from the answers of the file's other problems: see `answer_chance`."""
        return answer_chance(problems, self.all_problems, leave_one_out=True)


def read_problems(path: str | Path, grader: Grader = "math") -> list[Problem]:
    """All problems of a JSONL file, in its order. Raises BadProblemFile, or FileNotFoundError."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise BadProblemFile(f"{path}, line {line}: the text is not UTF-8; save the file as UTF-8.") from error
    # Not splitlines(): JSON strings may hold other line separators of Unicode.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    problems = [_problem(f"{path}, line {number}", number, line) for number, line in lines]
    if not problems:
        raise BadProblemFile(f'{path} holds no problems; write one {{"prompt": ..., "answer": ...}} on each line.')
    _refuse_repeats(path, "prompt", [(problem, problem.id) for problem in problems])
    _refuse_repeats(path, "id", [(problem, problem.facts["id"]) for problem in problems if "id" in problem.facts])
    _refuse_unreadable(path, problems, grader)
    return problems


def _problem(place: str, number: int, line: str) -> Problem:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadProblemFile(f"{place}: this is not JSON ({error}); each line holds one object.") from error
    if not isinstance(row, dict):
        raise BadProblemFile(f'{place}: expected an object with "prompt" and "answer", found {type(row).__name__}.')
    for key in ("prompt", "answer"):
        if key not in row:
            raise BadProblemFile(f'{place}: the key "{key}" is missing; found {", ".join(row) or "no keys"}.')
    prompt, answer = row["prompt"], row["answer"]
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = format(Decimal(str(answer)), "f")  # 1e-07 would read as an expression in e
    for key, value in (("prompt", prompt), ("answer", answer)):
        if not isinstance(value, str) or not value.strip():
            raise BadProblemFile(f'{place}: "{key}" is {value!r}; expected a text that is not empty.')
    facts = {"line": number} | ({"id": str(row["id"])} if row.get("id") is not None else {})
    # White space makes no other problem.
    return Problem(problem_id(" ".join(prompt.split())), prompt, answer.strip(), facts)


def _refuse_repeats(path: Path, key: str, identities: list[tuple[Problem, str]]) -> None:
    first: dict[str, int] = {}
    for problem, identity in identities:
        line = problem.facts["line"]
        if first.setdefault(identity, line) != line:
            raise BadProblemFile(f'{path}, line {line}: the "{key}" is that of line {first[identity]} already.')


def _refuse_unreadable(path: Path, problems: list[Problem], grader: Grader) -> None:
    """Refuse reference answers that the grader cannot read: no completion could be right."""
    answers = [problem.answer for problem in problems]
    if grader == "math":
        readable = readable_references(answers)
        hint = "expected a number or an expression, or \\text{...} for words"
    else:
        readable = [last_number(answer) is not None for answer in answers]
        hint = "the grader last_number expected a number in it"
    for problem, good in zip(problems, readable, strict=True):
        if not good:
            line = problem.facts["line"]
            raise BadProblemFile(f"{path}, line {line}: the answer {problem.answer!r} cannot be parsed; {hint}.")
