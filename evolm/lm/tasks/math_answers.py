"""Whether the answer in a text equals a reference answer, as mathematics (math_verify) or by its last number.

math_verify reads LaTeX and plain expressions with its own grammars; no text is run as code. Its limit on the time of
one comparison is an alarm signal, which only a process's main thread can set: called from another thread,
`judge_math` hands the texts to a child process, this module run as a script.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

_SECONDS = 5  # per parse and per comparison
_CHILD_START = 60  # seconds that a child process may take to start
_NUMBER = re.compile(r"(?<![\d.)])-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\d.)])-?\.\d+", re.ASCII)
_LONGEST_NUMBER = 100  # characters; a longer one is not an answer but a run-on


def judge_math(pairs: Sequence[tuple[str, str]]) -> list[tuple[bool, bool]]:
    """(right, readable) for pairs of reference answer and completion. Works from any thread."""
    return _in_main_thread(pairs)


def readable_references(answers: Sequence[str]) -> list[bool]:
    """Which reference answers can be parsed as mathematics. Words can be, as \\text{words}."""
    return [readable for _, readable in _in_main_thread([(answer, None) for answer in answers])]


def _in_main_thread(pairs: Sequence[tuple[str, str | None]]) -> list[tuple[bool, bool]]:
    if not pairs or threading.current_thread() is threading.main_thread():
        return [_judge(reference, text) for reference, text in pairs]
    child = subprocess.run(
        [sys.executable, "-m", "evolm.lm.tasks.math_answers"],
        input=json.dumps(list(pairs)),
        capture_output=True,
        text=True,
        timeout=_CHILD_START + 3 * _SECONDS * len(pairs),
        check=False,
    )
    if child.returncode:
        raise RuntimeError(f"The process that grades answers failed: {child.stderr.strip()[-500:]}")
    return [(right, readable) for right, readable in json.loads(child.stdout)]


def _judge(reference: str, text: str | None) -> tuple[bool, bool]:
    """(right, readable) of a completion; without one, whether the reference itself is readable."""
    from math_verify import verify

    wanted = _reference(reference)
    if text is None:
        return False, bool(wanted)
    found = _parsed(text)
    if not found or not wanted:
        return False, bool(found)
    return bool(verify(list(wanted), list(found), timeout_seconds=_SECONDS, raise_on_error=False)), True


def judge_last_number(pairs: Sequence[tuple[str, str]]) -> list[tuple[bool, bool]]:
    """(right, readable) for pairs of reference answer and completion: its last number equals the reference."""
    numbers = [(last_number(reference), last_number(text)) for reference, text in pairs]
    return [(found is not None and found == wanted, found is not None) for wanted, found in numbers]


def last_number(text: str) -> Fraction | None:
    """The last decimal number in `text`, exactly; commas may group thousands. None where there is none."""
    found = _NUMBER.findall(text)
    if not found or len(found[-1]) > _LONGEST_NUMBER:
        return None
    return Fraction(found[-1].replace(",", ""))


@lru_cache(maxsize=4096)
def _reference(answer: str) -> tuple[Any, ...]:
    """What math_verify makes of a reference answer; empty where it finds no mathematics.

    An answer without dollar signs is read as LaTeX, unless it is prose: "Paris" would be the product of five letters.
    """
    marked = "$" in answer or "\\boxed" in answer
    prose = "\\" not in answer and re.search(r"[^\W\d_]{3}", answer)
    return _parsed(answer if marked or prose else f"${answer}$")


def _parsed(text: str) -> tuple[Any, ...]:
    """The expressions that math_verify finds in `text`, with their spelling; empty where there is only spelling."""
    from math_verify import parse

    found = parse(text, parsing_timeout=_SECONDS, raise_on_error=False)
    return tuple(found) if any(not isinstance(item, str) for item in found) else ()


if __name__ == "__main__":
    json.dump(_in_main_thread([(reference, text) for reference, text in json.load(sys.stdin)]), sys.stdout)
