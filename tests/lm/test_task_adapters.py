"""Tasks taken in from elsewhere: reasoning_gym's datasets and a user's own file of prompts and answers."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from evolm.lm.tasks import math_answers
from evolm.lm.tasks.base import Grades, NotEnoughProblems, Problem, Task, split_of_id
from evolm.lm.tasks.gym import GymTask, evaluates_text
from evolm.lm.tasks.jsonl import BadProblemFile, JsonlTask, read_problems
from evolm.lm.tasks.math_answers import judge_last_number, judge_math, last_number
from evolm.lm.tasks.text import TextTask, answer_chance

needs_gym = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="reasoning_gym, of the extra 'paper', is not installed"
)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, with <bos> before a text and <eos> after it, as some real tokenizers have it."""
    vocabulary = {"<eos>": 0, "<bos>": 1, "<pad>": 2}
    vocabulary |= {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), len(vocabulary))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<eos>", 0), ("<bos>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


def grade(task: TextTask, problems: list[Problem], texts: list[str], end: bool = True) -> Grades:
    """Grades of completions given as texts, with EOS after each unless told otherwise."""
    rows = [task.tokenizer(text, add_special_tokens=False).input_ids + [0] * end for text in texts]
    tokens = np.full((len(rows), max(map(len, rows), default=0) + 1), 2)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return task.grade(problems, tokens, np.array([len(row) for row in rows], np.int64))


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


# reasoning_gym ------------------------------------------------------------------------------------------------------


@needs_gym
def test_gym_problems_are_distinct_split_by_question_and_the_same_again(tokenizer: PreTrainedTokenizerFast) -> None:
    task = GymTask("chain_sum", tokenizer, min_terms=2, max_terms=3)
    assert isinstance(task, Task)
    sets = {split: {p.id for p in task.problems(split, 150, 0)} for split in ("rl", "validation", "test")}
    assert all(len(ids) == 150 and {split_of_id(i) for i in ids} == {split} for split, ids in sets.items())
    assert (
        task.problems("test", 20, 5)
        == GymTask("chain_sum", tokenizer, min_terms=2, max_terms=3).problems("test", 60, 5)[:20]
    )
    assert {p.id for p in task.problems("test", 50, 1)} != {p.id for p in task.problems("test", 50, 2)}


@needs_gym
def test_a_gym_score_counts_only_when_it_is_full(tokenizer: PreTrainedTokenizerFast) -> None:
    task = GymTask("chain_sum", tokenizer)
    problem = task.problems("test", 1, 0)[0]
    dataset, entry = task._entry(problem)
    near = f"{problem.answer} or so"
    assert 0 < dataset.score_answer(near, entry) < 1
    texts = [problem.answer, near, f"so <answer> {problem.answer}</answer>", f"<answer>{near}</answer>", "", "<eos>"]
    grades = grade(task, [problem] * 6, texts)
    assert grades.correct.tolist() == [True, False, True, False, False, False]
    assert grades.well_formed.tolist() == [True, True, True, True, False, False]
    assert grades.valid.tolist() == grades.correct.tolist()
    assert not grade(task, [problem], [problem.answer], end=False).well_formed.any()


@needs_gym
def test_a_gym_scorer_that_raises_counts_as_wrong(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = GymTask("prime_factorization", tokenizer)
    problem = task.problems("test", 1, 0)[0]
    dataset, entry = task._entry(problem)
    with pytest.raises(ValueError, match="invalid literal"):
        dataset.score_answer("two times three", entry)
    grades = grade(task, [problem] * 2, ["two times three", problem.answer])
    assert grades.correct.tolist() == [False, True]


@needs_gym
def test_a_gym_problem_can_be_graded_where_it_was_not_drawn(tokenizer: PreTrainedTokenizerFast) -> None:
    problems = GymTask("number_sorting", tokenizer).problems("test", 3, 0)
    moved = [Problem(**json.loads(json.dumps(vars(p)))) for p in problems]
    elsewhere = GymTask("number_sorting", tokenizer)
    assert grade(elsewhere, moved, [p.answer for p in moved]).correct.all()
    with pytest.raises(ValueError, match="is not one of gcd"):
        grade(GymTask("gcd", tokenizer), moved, ["1"] * 3)


@needs_gym
def test_gym_tasks_that_run_answers_as_code_are_refused(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    for name in ("codeio", "countdown", "n_queens", "string_insertion", "simple_integration", "composite"):
        with pytest.raises(ValueError, match="must never be run"):
            GymTask(name, tokenizer)
    trace = tmp_path / "ran"
    hostile = f"__import__('pathlib').Path({str(trace)!r}).touch()"
    for name in ("basic_arithmetic", "bitwise_arithmetic", "number_sorting", "propositional_logic", "chain_sum"):
        assert not evaluates_text(name)
        task = GymTask(name, tokenizer)
        problem = task.problems("test", 1, 0)[0]
        assert not grade(task, [problem] * 2, [hostile, f"[{hostile}]"]).correct.any()
    assert not trace.exists()


@needs_gym
def test_gym_chance_is_the_frequency_of_the_answer(tokenizer: PreTrainedTokenizerFast) -> None:
    guessable, hard = (GymTask(name, tokenizer) for name in ("syllogism", "number_sorting"))
    assert guessable.chance(guessable.problems("test", 100, 0)).table().loc["answer guess", 256] > 0.99
    assert hard.chance(hard.problems("test", 100, 0)).table().loc["answer guess", 256] < 0.01
    task = GymTask("gcd", tokenizer)
    problems = task.problems("test", 200, 0)
    guess = task.chance(problems).answer_guess
    own = Counter(p.answer for p in problems)
    top = own.most_common(1)[0][0]
    assert guess[[p.answer == top for p in problems]].mean() == pytest.approx(own[top] / 200, abs=0.12)


@needs_gym
def test_gym_options_and_names_are_checked_at_once(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="near it are chain_sum"):
        GymTask("chain_sun", tokenizer)
    with pytest.raises(ValueError, match="refused the options"):
        GymTask("chain_sum", tokenizer, terms=4)
    with pytest.raises(ValueError, match="refused the options"):
        GymTask("chain_sum", tokenizer, min_terms=9, max_terms=2)
    with pytest.raises(ValueError, match="seed is not an option"):
        GymTask("chain_sum", tokenizer, seed=3)
    few = GymTask("chain_sum", tokenizer, min_terms=2, max_terms=2, min_digits=1, max_digits=1)
    with pytest.raises(NotEnoughProblems, match="distinct problems of the 5000 asked for"):
        few.problems("test", 5000, 0)
    with pytest.raises(ValueError, match="no split 'dev'"):
        few.problems("dev", 1, 0)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ImportError, match=r"pip install 'evolm\[paper\]'"):
        GymTask("chain_sum", tokenizer)


# Files --------------------------------------------------------------------------------------------------------------

GOOD = {"prompt": "What is 7 + 5?", "answer": "12"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "a", "answer": "1"', "line 3: this is not JSON"),
        ("[1, 2]", "line 3: expected an object .* found list"),
        ({"prompt": "a"}, 'line 3: the key "answer" is missing; found prompt'),
        ({"answer": "1", "question": "a"}, 'line 3: the key "prompt" is missing; found answer, question'),
        ({"prompt": "a", "answer": "  "}, 'line 3: "answer" is .* not empty'),
        ({"prompt": "", "answer": "1"}, 'line 3: "prompt" is .* not empty'),
        ({"prompt": "a", "answer": None}, 'line 3: "answer" is None'),
        ({"prompt": "a", "answer": True}, 'line 3: "answer" is True'),
        ({"prompt": " What is  7 + 5?\n", "answer": "12"}, 'line 3: the "prompt" is that of line 1 already'),
        ({"prompt": "a", "answer": "1", "id": "x"}, 'line 3: the "id" is that of line 2 already'),
        ({"prompt": "a", "answer": "???"}, r"line 3: the answer '\?\?\?' cannot be parsed"),
        ({"prompt": "a", "answer": "I do not know"}, "line 3: the answer 'I do not know' cannot be parsed"),
        ('{"prompt": "a", "answer": NaN}', "line 3: the answer 'NaN' cannot be parsed"),
        ('{"prompt": "a", "answer": ' + "9" * 5000 + "}", "line 3: this is not JSON"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(tmp_path: Path, line: object, message: str) -> None:
    path = write(tmp_path / "problems.jsonl", GOOD, {"prompt": "b", "answer": 3, "id": "x"}, line)
    with pytest.raises(BadProblemFile, match=message):
        read_problems(path)


def test_empty_absent_and_undecodable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadProblemFile, match="holds no problems"):
        read_problems(write(tmp_path / "empty.jsonl", "", "  "))
    with pytest.raises(FileNotFoundError):
        read_problems(tmp_path / "absent.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "a", "answer": 1}\n{"prompt": "caf\xe9", "answer": 2}\n')
    with pytest.raises(BadProblemFile, match="line 2: the text is not UTF-8"):
        read_problems(tmp_path / "latin.jsonl")
    with pytest.raises(BadProblemFile, match=r"line 1: the answer 'x' cannot be parsed; .* expected a number"):
        read_problems(write(tmp_path / "words.jsonl", {"prompt": "a", "answer": "x"}), grader="last_number")


def test_blank_lines_byte_order_mark_numbers_and_odd_separators_are_taken_in(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    rows = ['{"prompt": "a\u2028b", "answer": 1e-7}', "", '{"prompt": "\\ud800", "answer": 12, "id": 7}', ""]
    path.write_text("\r\n".join(rows), encoding="utf-8-sig", newline="")
    first, second = read_problems(path)
    assert (first.prompt, first.answer, first.facts) == ("a\u2028b", "0.0000001", {"line": 1})
    assert (second.answer, second.facts) == ("12", {"line": 3, "id": "7"})


def test_a_file_is_split_by_its_prompts_or_kept_whole(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    path = write(tmp_path / "sums.jsonl", *({"prompt": f"{i} + {i}?", "answer": 2 * i} for i in range(200)))
    task = JsonlTask(path, tokenizer, grader="last_number")
    assert isinstance(task, Task)
    assert task.name == "sums"
    counts = {}
    for split in ("pretrain", "rl", "validation", "test"):
        held = [p for p in task.all_problems if split_of_id(p.id) == split]
        counts[split] = len(held)
        assert {p.id for p in task.problems(split, len(held), 0)} == {p.id for p in held}
    assert sum(counts.values()) == 200
    with pytest.raises(NotEnoughProblems, match=f"holds {counts['test']} of the file's 200 .*use the whole file"):
        task.problems("test", 200, 0)
    whole = JsonlTask(path, tokenizer, grader="last_number", split="test")
    order = [p.id for p in whole.problems("test", 200, 1)]
    assert order[:30] == [p.id for p in whole.problems("test", 30, 1)]
    assert order != [p.id for p in whole.problems("test", 200, 2)]
    with pytest.raises(NotEnoughProblems, match="rl split of sums holds 0"):
        whole.problems("rl", 1, 0)


MATHS = [
    ("12", "So 7 + 5 = 12.", True),
    ("12", "The answer is \\boxed{12}", True),
    ("12", "It is 13.", False),
    ("0.5", "Hence $\\frac{1}{2}$.", True),
    ("\\frac{1}{2}", "\\boxed{0.5}", True),
    ("1,000", "about $1000$", True),
    ("x + 1", "$1 + x$", True),
    ("\\left(3, \\frac{\\pi}{2}\\right)", "$(3, \\pi/2)$", True),
    ("\\left(3, \\frac{\\pi}{2}\\right)", "$3$", False),
    ("\\text{Evelyn}", "\\boxed{\\text{Evelyn}}", True),
    ("12 apples", "12", True),
]


@pytest.mark.parametrize(("reference", "completion", "right"), MATHS)
def test_answers_are_compared_as_mathematics(reference: str, completion: str, right: bool) -> None:
    assert judge_math([(reference, completion)]) == [(right, True)]


def test_completions_without_an_answer_are_wrong_and_not_well_formed(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    path = write(tmp_path / "sums.jsonl", GOOD)
    texts = ["12", "", "   ", "no idea", "$\\frac{$", "[12", "</think>", "\x00\ufffd"]
    for grader in ("math", "last_number"):
        task = JsonlTask(path, tokenizer, grader=grader, split="test")  # type: ignore[arg-type]
        grades = grade(task, task.problems("test", 1, 0) * len(texts), texts)
        assert grades.correct.tolist() == [
            text in ("12", "[12") and (grader == "last_number" or text == "12") for text in texts
        ]
        assert not grades.well_formed[[1, 2, 3, 4, 6, 7]].any()
        cut = grade(task, task.problems("test", 1, 0), ["12"], end=False)
        assert cut.correct.all()
        assert not cut.well_formed.any()
        assert task.grade([], np.zeros((0, 4), np.int64), np.zeros(0, np.int64)).correct.shape == (0,)
        none = task.grade(task.problems("test", 1, 0), np.zeros((1, 0), np.int64), np.zeros(1, np.int64))
        assert not none.correct.any()
        assert not none.well_formed.any()


def test_the_prompt_is_not_graded_though_it_holds_the_answer(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    path = write(tmp_path / "told.jsonl", {"prompt": "Write \\boxed{12}. The answer is 12.", "answer": "12"})
    for grader in ("math", "last_number"):
        task = JsonlTask(path, tokenizer, grader=grader, split="test")  # type: ignore[arg-type]
        problem = task.problems("test", 1, 0)[0]
        assert not grade(task, [problem] * 2, ["I will.", "13"]).correct.any()


def test_answers_are_graded_off_the_main_thread_as_on_it() -> None:
    pairs = [(reference, completion) for reference, completion, _ in MATHS] + [("12", ""), ("???", "12")]
    results: list[list[tuple[bool, bool]]] = []
    thread = threading.Thread(target=lambda: results.append(judge_math(pairs)))
    thread.start()
    thread.join()
    assert results == [judge_math(pairs)]


def test_hostile_answers_are_neither_run_nor_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(math_answers, "_SECONDS", 1)
    trace = tmp_path / "ran"
    hostile = f"__import__('pathlib').Path({str(trace)!r}).touch()"
    texts = [hostile, f"${hostile}$", f"\\boxed{{{hostile}}}", "$9^{9^{9^{9}}}$", "9**9**9**9"]
    assert not any(right for right, _ in judge_math([("72", text) for text in texts]))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 12 apples", Fraction(12)),
        ("12,345.50 dollars.", Fraction("12345.5")),
        ("2, 3, 4", Fraction(4)),
        ("from -3", Fraction(-3)),
        ("5-3", Fraction(3)),
        ("10.", Fraction(10)),
        (".5", Fraction(1, 2)),
        ("none", None),
        ("1" * 5000, None),
        ("٣", None),
    ],
)
def test_the_last_number_of_a_text_is_read_exactly(text: str, number: Fraction | None) -> None:
    assert last_number(text) == number
    assert judge_last_number([("12", text)]) == [(number == 12, number is not None)]


def test_answer_chance_leaves_each_problem_out_of_its_own_pool() -> None:
    problems = [Problem(str(i), "", answer) for i, answer in enumerate(["A", "a", "a ", "b"])]
    chance = answer_chance(problems, problems, leave_one_out=True)
    assert chance.answer_guess == pytest.approx([2 / 3, 2 / 3, 2 / 3, 0])
    assert chance.blind_search == pytest.approx([1 / 2, 1 / 2, 1 / 2, 0])
    assert answer_chance(problems, problems).answer_guess == pytest.approx([3 / 4, 3 / 4, 3 / 4, 1 / 4])
    assert chance.table((1, 2)).loc["answer guess", 2] == pytest.approx(np.mean([1 - (1 / 3) ** 2] * 3 + [0]))


def test_chance_is_unknown_where_there_is_no_reference_answer() -> None:
    problems = [Problem("0", "", ""), Problem("1", "", "b")]
    chance = answer_chance(problems, [*problems, Problem("2", "", "")])
    assert np.isnan(chance.answer_guess).tolist() == np.isnan(chance.blind_search).tolist() == [True, False]
    assert chance.table((1,)).loc["answer guess", 1] == pytest.approx(1 / 3)
    assert np.isnan(answer_chance(problems[:1], problems).table().to_numpy()).all()


def test_prompts_go_in_through_the_template_and_are_not_closed(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    path = write(tmp_path / "sums.jsonl", {"prompt": "{x} {prompt}?", "answer": 1})
    plain = JsonlTask(path, tokenizer, split="test")
    framed = JsonlTask(path, tokenizer, "{Q}: {prompt}\nA:", split="test")
    for task, text in ((plain, "{x} {prompt}?"), (framed, "{Q}: {x} {prompt}?\nA:")):
        ids = task.encode(task.all_problems)[0]
        assert ids[0] == 1
        assert 0 not in ids
        assert tokenizer.decode(ids[1:]) == text
    spoken = byte_tokenizer()
    with pytest.raises(ValueError, match="no chat template"):
        JsonlTask(path, spoken, "chat")
    spoken.chat_template = "<bos>{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    ids = JsonlTask(path, spoken, "chat").encode(plain.all_problems)[0]
    assert spoken.decode(ids) == "<bos>user: {x} {prompt}?\nassistant:"
    with pytest.raises(ValueError, match="no place for the prompt"):
        JsonlTask(path, tokenizer, "Q: {question}")
    with pytest.raises(ValueError, match="needs a tokenizer"):
        JsonlTask(path, None)
    with pytest.raises(ValueError, match="There is no grader 'exact'"):
        JsonlTask(path, tokenizer, grader="exact")  # type: ignore[arg-type]
