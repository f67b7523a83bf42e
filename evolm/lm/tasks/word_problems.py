"""Short arithmetic word problems of our own wording, one or two steps, with small whole numbers.

    word_problems(40, seed=0)                 [{"prompt": "Ada has 7 red and 5 ...", "answer": "12"}, ...]
    python -m evolm.lm.tasks.word_problems --count 40 --seed 0 > arithmetic-words.jsonl

What `JsonlTask` reads. Every answer follows from the numbers by the template's own formula, is a whole number from 1
to 150, and every problem of a list is different. `FOUR_SHOT` is a template for models without a chat format.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NAMES = ("Ada", "Ben", "Chidi", "Dana", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jun", "Kofi", "Lena")
THINGS = ("marbles", "stickers", "apples", "pencils", "shells", "coins", "cards", "buttons")
LARGEST = 150
#: The numbers of a problem; those whose answer is below 1 or above LARGEST are drawn again.
SMALLEST_NUMBER, LARGEST_NUMBER = 2, 12
FOUR_SHOT = (
    "Question: Mia has 4 pears and buys 3 more. How many pears does she have?\nAnswer: 4 + 3 = 7. The answer is 7.\n\n"
    "Question: A shelf holds 6 books. How many books do 3 such shelves hold?\nAnswer: 6 * 3 = 18. The answer is 18.\n\n"
    "Question: Tom had 10 nuts, ate 4 and found 5 more. How many nuts does he have?\n"
    "Answer: 10 - 4 = 6. 6 + 5 = 11. The answer is 11.\n\n"
    "Question: 12 cups are packed into boxes of 4. How many boxes are there?\nAnswer: 12 / 4 = 3. The answer is 3.\n\n"
    "Question: {prompt}\nAnswer:"
)


@dataclass(frozen=True)
class Template:
    """A wording with {name}, {other}, {thing} and the numbers {a}, {b}, {c}, and the answer from those numbers."""

    text: str
    answer: Callable[[int, int, int], int]
    steps: int


TEMPLATES = (
    Template(
        "{name} has {a} {thing} and finds {b} more. How many {thing} does {name} have now?", lambda a, b, c: a + b, 1
    ),
    Template("{name} had {a} {thing} and lost {b} of them. How many {thing} are left?", lambda a, b, c: a - b, 1),
    Template("A bag holds {a} {thing}. How many {thing} do {b} such bags hold?", lambda a, b, c: a * b, 1),
    Template("{name} is {a} years old. {other} is {b} years older. How old is {other}?", lambda a, b, c: a + b, 1),
    Template(
        "{name} needs {a} {thing} and has {b} so far. How many {thing} are still missing?", lambda a, b, c: a - b, 1
    ),
    Template(
        "{name} has {a} {thing}, {other} has {b}, a friend has {c}. How many {thing} do the three have together?",
        lambda a, b, c: a + b + c,
        2,
    ),
    Template(
        "{name} buys {a} boxes with {b} {thing} each and gives {c} {thing} to {other}. "
        "How many {thing} does {name} keep?",
        lambda a, b, c: a * b - c,
        2,
    ),
    Template(
        "There are {a} {thing} in a jar. {name} takes out {b}, and {other} puts in {c}. "
        "How many {thing} are in the jar then?",
        lambda a, b, c: a - b + c,
        2,
    ),
    Template(
        "{name} collects {a} {thing} a day for {b} days. {other} collects {c} {thing} in all. "
        "How many {thing} do they have together?",
        lambda a, b, c: a * b + c,
        2,
    ),
    Template(
        "A ticket costs {a} euros and a drink costs {b} euros. {name} buys one of each for {c} people. "
        "How many euros does {name} pay?",
        lambda a, b, c: (a + b) * c,
        2,
    ),
)


def word_problems(count: int, seed: int) -> list[dict[str, str]]:
    """`count` different problems, templates in turn, drawn from `seed`; a shorter list begins a longer one."""
    if count < 1:
        raise ValueError(f"count is {count}; expected at least one problem")
    rng = np.random.default_rng(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        prompt, answer = _instance(TEMPLATES[len(found) % len(TEMPLATES)], rng)
        found.setdefault(prompt, answer)
    return [{"prompt": prompt, "answer": answer} for prompt, answer in found.items()]


def _instance(template: Template, rng: np.random.Generator) -> tuple[str, str]:
    name, other = rng.choice(NAMES, 2, replace=False)
    thing = rng.choice(THINGS)
    while True:
        a, b, c = (int(number) for number in rng.integers(SMALLEST_NUMBER, LARGEST_NUMBER + 1, 3))
        # Without the last number too, so that nothing is taken out of a jar that is not in it.
        if 1 <= template.answer(a, b, c) <= LARGEST and (template.steps == 1 or template.answer(a, b, 0) >= 0):
            break
    text = template.text.format(name=name, other=other, thing=thing, a=a, b=b, c=c)
    return text, str(template.answer(a, b, c))


def main() -> None:
    """Print problems as JSON lines."""
    parser = argparse.ArgumentParser(description="Print arithmetic word problems as JSON lines.")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for row in word_problems(options.count, options.seed):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
