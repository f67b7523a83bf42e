"""The instrument passk: planted differences come back, nulls stay null, bad tables and problems are named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evolm import describe
from evolm.cli import main
from evolm.instruments.causal_model import open_model, perplexities, same_vocabulary
from evolm.instruments.passk import measure_booleans, measure_models, measure_passk
from evolm.instruments.passk_files import BadOutcomes, Outcomes, from_matrix, from_table, read_outcomes
from evolm.instruments.passk_statistics import (
    Settings,
    crossover_rows,
    curve_rows,
    guess_levels,
    mcnemar_p,
    second_draw,
    set_rows,
    solved_sets,
)
from evolm.lm.architecture import tiny_llama
from evolm.lm.passk import pass_at_k
from evolm.lm.tasks.jsonl import BadProblemFile
from evolm.lm.tasks.word_problems import FOUR_SHOT, LARGEST, word_problems
from evolm.lm.vocabulary import word_tokenizer

PROBLEMS = Path(__file__).parents[1] / "data" / "problems" / "arithmetic-words.jsonl"
QUICK: dict[str, Any] = {"draws": 200}


def drawn(p: np.ndarray, n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((len(p), n)) < p[:, None]


def value(table: pd.DataFrame, model: str, quantity: str, k: int) -> float:
    row = table[(table["model"] == model) & (table["quantity"] == quantity) & (table["k"] == k)]
    assert len(row) == 1, (model, quantity, k)
    return float(row["value"].iloc[0])


@pytest.fixture(scope="module")
def crossing() -> dict[str, np.ndarray]:
    """A base with a small chance everywhere, and a tuned model that is sure of 40 % and blind to the rest."""
    p = np.full(100, 0.1)
    return {"base": drawn(p, 64, 1), "tuned": drawn(np.where(np.arange(100) < 40, 0.9, 0.0), 64, 2)}


# --- curves and crossing ----------------------------------------------------------------------------------


def test_curves_equal_the_estimator_of_the_paper(crossing: dict[str, np.ndarray]) -> None:
    table = measure_booleans(crossing, ks=[1, 7, 64], **QUICK)
    for name, correct in crossing.items():
        for k in (1, 7, 64):
            paper = [
                1 - math.comb(64 - int(c), k) / math.comb(64, k) if 64 - c >= k else 1.0 for c in correct.sum(axis=1)
            ]
            assert value(table, name, "pass@k", k) == pytest.approx(float(np.mean(paper)), abs=1e-9)


def test_the_crossing_is_found_where_the_curves_cross(crossing: dict[str, np.ndarray]) -> None:
    table = measure_booleans(crossing, **QUICK)
    row = table[table["quantity"] == "crossover k"].iloc[0]
    # 1 - .9^k passes .4 at k = 5.
    assert 4 <= row["value"] <= 7
    assert row["low"] <= row["value"] <= row["high"]
    assert value(table, "tuned", "pass@k, less base", 1) > 0.2
    assert value(table, "tuned", "pass@k, less base", 64) < -0.5


@pytest.mark.parametrize(
    ("base_p", "tuned_p", "words"),
    [(0.1, 0.5, "not overtaken"), (0.5, 0.1, "the base leads"), (0.0, 0.0, "within the margin")],
)
def test_no_crossing_is_a_result_and_says_who_leads(base_p: float, tuned_p: float, words: str) -> None:
    base, tuned = (
        from_matrix(name, drawn(np.full(50, p), 8, i))
        for i, (name, p) in enumerate([("base", base_p), ("tuned", tuned_p)])
    )
    row = crossover_rows(base, tuned, Settings(**QUICK))[0]
    assert math.isnan(row["value"])
    assert words in row["note"]


def test_differences_are_paired_by_problem() -> None:
    hard = np.random.default_rng(0).random(200)
    base = drawn(hard, 200, 1)
    table = measure_booleans({"base": base, "tuned": base | drawn(np.full(200, 0.02), 200, 2)}, ks=[1], **QUICK)
    curve = table[(table["model"] == "tuned") & (table["quantity"] == "pass@k")].iloc[0]
    difference = table[table["quantity"] == "pass@k, less base"].iloc[0]
    assert difference["high"] - difference["low"] < 0.2 * (curve["high"] - curve["low"])
    assert difference["low"] > 0


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    truth = float(np.mean(1 - (1 - np.random.default_rng(99).beta(0.5, 2, 200_000)) ** 4))
    hits = 0
    for seed in range(60):
        rows = curve_rows(from_matrix("m", drawn(rng.beta(0.5, 2, 60), 32, seed)), [4], Settings(level=0.9, draws=200))
        hits += rows[0]["low"] <= truth <= rows[0]["high"]
    assert 45 <= hits <= 60


def test_a_seed_gives_the_same_table_again(crossing: dict[str, np.ndarray]) -> None:
    pd.testing.assert_frame_equal(measure_booleans(crossing, **QUICK), measure_booleans(crossing, **QUICK))


# --- solvable sets ----------------------------------------------------------------------------------------


def test_two_draws_of_one_model_show_no_more_than_the_second_draw_null() -> None:
    p = np.random.default_rng(5).beta(0.3, 6, 300)
    table = measure_booleans({"base": drawn(p, 128, 1), "again": drawn(p, 128, 2)}, draws=500, level=0.99)
    for quantity in ("base only, less second draw", "tuned only, less second draw"):
        row = table[table["quantity"] == quantity].iloc[0]
        assert row["low"] <= 0 <= row["high"]
    assert value(table, "again", "McNemar p", 128) > 0.01
    assert value(table, "again", "second draw of base only", 64) > 0.01


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_second_draw_is_the_hypergeometric_expectation(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 40))
    k, c = data.draw(st.integers(1, n // 2)), data.draw(st.integers(0, n))
    # First draw without a correct sample, second draw of k among the n - k others with one.
    expected = math.comb(n - c, k) / math.comb(n, k) * float(pass_at_k(n - k, min(c, n - k), k)) if c <= n - k else 0.0
    outcomes = Outcomes("m", ("a",), np.array([n]), np.array([c]))
    assert second_draw(outcomes, k)[0] == pytest.approx(expected, abs=1e-12)


def test_the_four_sets_add_up_and_are_plain_counts_when_k_is_n(crossing: dict[str, np.ndarray]) -> None:
    base, tuned = (from_matrix(name, matrix) for name, matrix in crossing.items())
    for k in (1, 8, 64):
        np.testing.assert_allclose(sum(solved_sets(base, tuned, k)), 1)
    plain = (crossing["base"].any(1) & ~crossing["tuned"].any(1)).mean()
    assert solved_sets(base, tuned, 64).base_only.mean() == pytest.approx(plain)
    note = next(row["note"] for row in set_rows(base, tuned, Settings(**QUICK)) if row["quantity"] == "McNemar p")
    assert note == f"solved only by base: {round(100 * plain)}, only by tuned: 0"


def test_mcnemar_equals_the_binomial_by_hand() -> None:
    assert mcnemar_p(0, 0) == 1
    assert mcnemar_p(3, 3) == 1
    assert mcnemar_p(0, 5) == pytest.approx(2 / 32)
    assert mcnemar_p(7, 1) == pytest.approx(2 * 9 / 256)


# --- guessing ---------------------------------------------------------------------------------------------


def test_guess_levels_equal_leave_one_out_by_hand() -> None:
    answers = ["A", "a ", "b", "b", "c"]
    marginal, majority = guess_levels(answers)
    np.testing.assert_allclose(marginal, [0.25, 0.25, 0.25, 0.25, 0])
    # For an "a", the others' most frequent answer is b; for the c it is a or b, never c.
    np.testing.assert_allclose(majority, 0)
    np.testing.assert_allclose(guess_levels(["x"] * 3)[1], 1)
    np.testing.assert_allclose(guess_levels(["x", "x", "y"])[1], [0.5, 0.5, 0])


def test_guess_rows_come_from_answers_in_the_file(tmp_path: Path) -> None:
    rows = [{"problem": i, "sample": j, "correct": 0, "answer": i % 2} for i in range(30) for j in range(4)]
    pd.DataFrame(rows).to_csv(tmp_path / "m.csv", index=False)
    table = measure_models([tmp_path / "m.csv"], **QUICK)
    assert value(table, "guess", "guess: answer marginal", 1) == pytest.approx(14 / 29)
    assert value(table, "guess", "guess: answer marginal", 4) == pytest.approx(1 - (15 / 29) ** 4)


# --- files ------------------------------------------------------------------------------------------------


def test_every_format_gives_the_same_table(tmp_path: Path, crossing: dict[str, np.ndarray]) -> None:
    long = pd.concat(
        [
            pd.DataFrame({"model": name, "problem": np.repeat(np.arange(100), 64), "correct": matrix.ravel()})
            for name, matrix in crossing.items()
        ]
    )
    long = long.assign(sample=np.tile(np.arange(64), 200))
    long.to_csv(tmp_path / "long.csv", index=False)
    long.to_parquet(tmp_path / "long.parquet", index=False)
    (tmp_path / "long.jsonl").write_text(long.to_json(orient="records", lines=True))
    for name, matrix in crossing.items():
        np.save(tmp_path / f"{name}.npy", matrix)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row.astype(int).tolist()) for row in matrix))
    expected = measure_booleans(crossing, **QUICK)
    for files in (
        ["long.csv"],
        ["long.parquet"],
        ["long.jsonl"],
        ["base.npy", "tuned.npy"],
        ["base.jsonl", "tuned.npy"],
    ):
        pd.testing.assert_frame_equal(measure_models([tmp_path / file for file in files], **QUICK), expected)
    pd.testing.assert_frame_equal(measure_booleans(long, **QUICK), expected)


def test_models_may_list_their_problems_in_another_order() -> None:
    rows = [("base", p, i < c) for p, c in (("a", 1), ("b", 4)) for i in range(4)]
    rows += [("tuned", p, i < c) for p, c in (("b", 4), ("a", 1)) for i in range(4)]
    table = measure_booleans(pd.DataFrame(rows, columns=["model", "problem", "correct"]), **QUICK)
    assert (table.loc[table["quantity"] == "pass@k, less base", ["low", "high"]] == 0).all(axis=None)


def test_unequal_sample_counts_stop_at_the_smallest() -> None:
    rows = [("m", "a", i == 0) for i in range(8)] + [("m", "b", i == 0) for i in range(3)]
    table = measure_booleans(pd.DataFrame(rows, columns=["model", "problem", "correct"]), **QUICK)
    assert table["k"].max() == 3
    assert (table["fewest_samples"].iloc[0], table["most_samples"].iloc[0]) == (3, 8)
    assert value(table, "m", "pass@k", 2) == pytest.approx((2 / 8 + 2 / 3) / 2)


def test_no_correct_sample_anywhere_is_a_result() -> None:
    table = measure_booleans({"base": np.zeros((30, 8)), "tuned": np.zeros((30, 8))}, **QUICK)
    assert (table.loc[table["quantity"] == "pass@k", "value"] == 0).all()
    assert (table.loc[table["quantity"] == "pass@k", "note"] == "no correct sample").all()
    assert value(table, "tuned", "solved by neither", 8) == 1
    assert value(table, "tuned", "McNemar p", 8) == 1


def test_one_problem_and_one_sample_leave_no_interval_and_no_second_draw() -> None:
    table = measure_booleans({"base": np.ones((1, 1)), "tuned": np.zeros((1, 1))}, **QUICK)
    assert table["low"].isna().all()
    assert table["note"].str.contains("no second draw").any()
    assert table["note"].str.contains("only 1 problem:").any()


def test_k_beyond_the_samples_is_refused(crossing: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="pass@128 cannot be estimated from 64 samples"):
        measure_booleans(crossing, ks=[1, 128])
    with pytest.raises(ValueError, match="pass@9 cannot be estimated from 8 samples"):
        measure_passk(["nowhere"], "x.jsonl", n=8, ks=[9])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", 0, float("nan"))], "row 1: correct is nan"),
        ([("a", 0, 1), ("a", 1, 0.5)], "row 2: correct is 0.5"),
        ([("a", 0, 1), (None, 1, 1)], "row 2: problem is empty"),
        ([("a", 0, 1), ("a", 0, 0)], "sample 0 of problem a in base is there already"),
    ],
)
def test_bad_rows_are_named(rows: list[tuple[Any, ...]], words: str) -> None:
    with pytest.raises(BadOutcomes, match=words):
        from_table(pd.DataFrame(rows, columns=["problem", "sample", "correct"]))


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.array([[1.0, np.nan]]), "sample 2 of problem 1 in m is nan"),
        (np.array([[0, 2]]), "is 2"),
        (np.array([1, 0]), r"shape \(2,\)"),
        (np.zeros((0, 4)), r"shape \(0, 4\)"),
        (np.array([["yes"]]), "expected true or false"),
    ],
)
def test_bad_matrices_are_refused(matrix: np.ndarray, words: str) -> None:
    with pytest.raises(BadOutcomes, match=words):
        from_matrix("m", matrix)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["[1, 0]", "[1, oops]"], "line 2: this is not JSON"),
        (["[1, 0]", '{"problem": "a"}'], "line 2: expected a list of booleans"),
        (["[1, 0]", "", "[1, NaN]"], "line 3: sample 2 is nan"),
        (["[1]", "[]"], "line 2: problem 1 has no samples"),
        (['{"problem": "a", "correct": [1]}'] * 2, "line 2: problem a is that of line 1 already"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, lines: list[str], words: str) -> None:
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    with pytest.raises(BadOutcomes, match=words):
        read_outcomes(tmp_path / "m.jsonl")


def test_pickled_missing_and_strange_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(BadOutcomes, match=r"not a plain \.npy"):
        read_outcomes(tmp_path / "pickled.npy")
    with pytest.raises(BadOutcomes, match="there is no table"):
        read_outcomes(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match="is not a table of correct samples"):
        measure_models(["smollm2-135m"])
    (tmp_path / "m.csv").write_text("problem,right\n1,1\n")
    with pytest.raises(BadOutcomes, match="lacks the column correct"):
        read_outcomes(tmp_path / "m.csv")


def test_models_that_cannot_be_compared_are_refused() -> None:
    rows = [("base", "a", 1), ("base", "b", 1), ("tuned", "a", 1), ("tuned", "c", 1)]
    with pytest.raises(BadOutcomes, match="1 are only in the first and 1 only in the second"):
        measure_booleans(pd.DataFrame(rows, columns=["model", "problem", "correct"]))
    with pytest.raises(BadOutcomes, match="two of the models are called m"):
        measure_booleans([from_matrix("m", np.ones((2, 2)))] * 2)
    with pytest.raises(BadOutcomes, match="no models"):
        measure_booleans({})
    with pytest.raises(ValueError, match="1 answers for 2 problems"):
        measure_booleans({"m": np.ones((2, 2))}, answers=["x"])


# --- models -----------------------------------------------------------------------------------------------

WORDS = [str(i) for i in range(10)] + ["plus", "is"]


def save_model(folder: Path, seed: int, words: list[str] = WORDS) -> str:
    tokenizer = word_tokenizer(words)
    tiny_llama(len(tokenizer), width=16, hidden=32, init_std=0.3, seed=seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [save_model(folder / name, seed) for seed, name in enumerate(("base", "tuned"))]


@pytest.fixture
def problems(tmp_path: Path) -> str:
    rows = [{"prompt": f"{i} plus {j} is", "answer": str(i + j)} for i in range(4) for j in range(4) if i + j < 10]
    (tmp_path / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(tmp_path / "sums.jsonl")


SMALL: dict[str, Any] = {"n": 8, "max_new_tokens": 4, "grader": "last_number", "device": "cpu", "draws": 50}


def test_models_are_sampled_graded_and_scored(models: list[str], problems: str, tmp_path: Path) -> None:
    saved = tmp_path / "samples.parquet"
    table = measure_models(models, problems=problems, save=str(saved), **SMALL)
    assert list(table["model"].unique()) == [*models, "guess"]
    assert set(table["base"]) == {models[0]}
    again = measure_models([saved], draws=50)
    shared = table[table["quantity"].isin(again["quantity"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(shared, again, check_dtype=False)
    assert value(table, models[0], "pass@k", 8) > 0
    for model in models:
        assert value(table, model, "perplexity under itself", 1) >= 1
    assert value(table, models[0], "perplexity under base", 1) == value(table, models[0], "perplexity under itself", 1)
    assert value(table, models[1], "perplexity under base", 1) > value(table, models[1], "perplexity under itself", 1)


def test_a_model_against_itself_draws_other_samples(models: list[str], problems: str, tmp_path: Path) -> None:
    table = measure_models([models[0], save_model(tmp_path / "copy", 0)], problems=problems, **SMALL)
    assert (table.loc[table["quantity"] == "pass@k, less base", "value"] != 0).any()


def test_perplexities_equal_the_forward_pass_by_hand(models: list[str]) -> None:
    model = open_model(models[0], "cpu")
    prompt, completions = [5, 14, 6], [[7, 2], [8, 9, 10, 2], [2]]
    by_hand = []
    for text in completions:
        with torch.no_grad():
            logprobs = model.decoder.model(torch.tensor([prompt + text])).logits[0].log_softmax(-1)
        by_hand.append(math.exp(-np.mean([float(logprobs[2 + t, v]) for t, v in enumerate(text)])))
    assert perplexities(model, [prompt], [completions])[0] == pytest.approx(np.median(by_hand), rel=1e-4)


def test_another_tokenizer_leaves_out_what_needs_the_same(models: list[str], problems: str, tmp_path: Path) -> None:
    other = save_model(tmp_path / "other", 3, words=WORDS[::-1])
    table = measure_models([models[0], other], problems=problems, **SMALL)
    row = table[(table["model"] == other) & (table["quantity"] == "perplexity under base")].iloc[0]
    assert math.isnan(row["value"])
    assert "another tokenizer" in row["note"]
    assert value(table, other, "perplexity under itself", 1) >= 1
    assert not same_vocabulary(word_tokenizer(WORDS), word_tokenizer(WORDS[::-1]))


def test_a_completion_ends_at_the_stop_word_too(models: list[str], problems: str) -> None:
    stopped = measure_models(models[:1], problems=problems, stop="is", **{**SMALL, "n": 64, "max_new_tokens": 8})
    free = measure_models(models[:1], problems=problems, **{**SMALL, "n": 64, "max_new_tokens": 8})
    assert value(stopped, models[0], "completions that ended", 64) > value(
        free, models[0], "completions that ended", 64
    )
    with pytest.raises(ValueError, match="expected a text of one token"):
        measure_models(models[:1], problems=problems, stop="is is", **SMALL)


def test_out_of_memory_halves_the_batch_and_gives_the_same_problems(
    models: list[str], problems: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evolm.lm.llama import LlamaDecoder

    step = LlamaDecoder.step

    def failing(self: Any, tokens: torch.Tensor, cache: Any) -> torch.Tensor:
        if len(tokens) > 16:
            raise torch.OutOfMemoryError
        return step(self, tokens, cache)

    monkeypatch.setattr(LlamaDecoder, "step", failing)
    with pytest.warns(UserWarning, match="out of memory"):
        table = measure_models(models[:1], problems=problems, max_rows=64, **SMALL)
    assert table["problems"].max() == 16


def test_a_bad_problem_file_is_named_with_its_line(models: list[str], tmp_path: Path) -> None:
    good = '{"prompt": "1 plus 1 is", "answer": "2"}'
    for second, words in (
        ("oops", "line 2: this is not JSON"),
        ('{"prompt": "2 is", "answer": "a word"}', "line 2: the answer 'a word' cannot be parsed"),
        (good, 'line 2: the "prompt" is that of line 1'),
    ):
        (tmp_path / "bad.jsonl").write_text(f"{good}\n{second}\n")
        with pytest.raises(BadProblemFile, match=words):
            measure_models(models[:1], problems=str(tmp_path / "bad.jsonl"), **SMALL)


def test_an_unreadable_or_empty_completion_is_wrong_not_an_error(models: list[str], problems: str) -> None:
    from evolm.instruments.passk_models import DrawOptions, choose_problems, open_task

    options = DrawOptions(grader="last_number")
    tokenizer = open_model(models[0], "cpu").tokenizer
    task = open_task(problems, tokenizer, options)
    asked = [choose_problems(task, options)[0]] * 2  # 0 plus 0 is 0
    plus, zero, eos = (tokenizer.convert_tokens_to_ids(word) for word in ("plus", "0", "<eos>"))
    tokens = np.array([[eos, eos], [plus, eos]])
    assert not task.grade(asked, tokens, np.array([1, 2])).correct.any()
    assert task.grade(asked[:1], np.array([[zero, eos]]), np.array([2])).correct.all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0}, "n 0"),
        ({"count": 99}, "holds 16 problems, and 99 were asked for"),
        ({"save": "x.txt"}, "name a file that ends in"),
        ({"config": {"cue": 1}}, "config is for tasks"),
        ({"level": 1.0}, "level 1.0"),
    ],
)
def test_bad_options_are_refused(models: list[str], problems: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measure_models(models[:1], problems=problems, **(SMALL | options))


def test_options_about_sampling_need_problems_and_models_must_exist(problems: str, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.ones((3, 4)))
    with pytest.raises(ValueError, match="n is about sampling models"):
        measure_models([tmp_path / "m.npy"], n=5)
    with pytest.raises(ValueError, match="cannot be opened as a language model"):
        measure_models([tmp_path], problems=problems, **SMALL)
    with pytest.raises(ValueError, match="each once, the base first"):
        measure_models([tmp_path, tmp_path], problems=problems, **SMALL)
    with pytest.raises(ValueError, match="there is no problem file"):
        measure_models([tmp_path], problems=str(tmp_path / "none.jsonl"), **SMALL)


def test_a_reasoning_gym_task_is_opened_by_its_name() -> None:
    pytest.importorskip("reasoning_gym")
    from evolm.instruments.passk_models import DrawOptions, choose_problems, open_task

    options = DrawOptions(count=5, config={"min_terms": 2, "max_terms": 2})
    task = open_task("chain_sum", word_tokenizer(WORDS), options)
    assert len(choose_problems(task, options)) == 5


def test_the_automaton_task_is_measured_through_its_own_tokenizer(models: list[str], tmp_path: Path) -> None:
    from evolm.lm.tasks.automaton import AutomatonTask

    task = AutomatonTask()
    tiny_llama(task.vocab_size, width=16, hidden=32, seed=0).save_pretrained(tmp_path / "automaton")
    task.tokenizer.save_pretrained(tmp_path / "automaton")
    options = {**SMALL, "grader": "math", "count": 4, "max_new_tokens": 16}
    table = measure_models([str(tmp_path / "automaton")], problems="automaton", **options)
    assert value(table, "guess", "chance: random routing", 1) > value(table, "guess", "chance: blind search", 1)
    with pytest.raises(ValueError, match="tokenizer is not the automaton task's"):
        measure_models(models[:1], problems="automaton", **options)


# --- word problems and the command line -------------------------------------------------------------------


def test_the_kept_problems_are_what_the_generator_makes() -> None:
    kept = [json.loads(line) for line in PROBLEMS.read_text().splitlines()]
    assert kept == word_problems(40, seed=0)
    assert len({row["prompt"] for row in kept}) == 40
    assert all(1 <= int(row["answer"]) <= LARGEST for row in kept)
    assert word_problems(10, seed=0) == kept[:10]
    assert word_problems(10, seed=1) != kept[:10]
    assert FOUR_SHOT.count("Question:") == 5


def test_no_word_problems_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="at least one problem"):
        word_problems(0, seed=0)


def test_the_command_measures_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "passk" in describe.instruments()
    assert {"problems", "ks", "n", "template", "device"} <= set(describe.options("passk") or [])
    np.save(tmp_path / "base.npy", np.eye(40, 8))
    np.save(tmp_path / "tuned.npy", np.ones((40, 8)))
    out = tmp_path / "out.csv"
    arguments = ["measure", "passk", str(tmp_path / "base.npy"), str(tmp_path / "tuned.npy"), "-p", "ks=[1,8]"]
    assert _exit_code([*arguments, "-o", str(out)]) == 0
    assert set(pd.read_csv(out)["k"]) == {1, 4, 8}
    assert _exit_code(arguments) == 0
    assert "crossover k" in capsys.readouterr().out
    assert _exit_code([*arguments, "-p", "draws=many"]) != 0


def _exit_code(arguments: list[str]) -> Any:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return stop.value.code
