"""The instrument one-shot: the ranking in closed form, bad tables named, and runs of a small model end to end."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evolm import describe, measurements
from evolm.cli import main
from evolm.instruments import one_shot
from evolm.instruments.causal_model import open_model
from evolm.instruments.one_shot import measure_models, measure_one_shot
from evolm.instruments.one_shot_gains import model_rows
from evolm.instruments.one_shot_held_out import Outcome, SharedProblems, check_apart, split
from evolm.instruments.one_shot_paper import paper_runs, paper_settings
from evolm.instruments.one_shot_ranking import BadRollouts, rank_examples, rank_file
from evolm.instruments.one_shot_training import OneShotOptions, Runs
from evolm.instruments.passk_statistics import Settings
from evolm.lm.architecture import tiny_llama
from evolm.lm.tasks.automaton import AutomatonSettings, AutomatonTask
from evolm.lm.tasks.base import Problem
from evolm.lm.tasks.jsonl import JsonlTask
from evolm.lm.vocabulary import word_tokenizer

KEPT = Path(__file__).parents[1] / "data" / "checkpoints" / "rlvr-boundary"
CONFIG: dict[str, Any] = {"cue": 1.0, "emit_start": True, "answer_states": 8, "world_seed": 0}
SMALL: dict[str, Any] = {"pool": 4, "steps": 6, "prompts_per_step": 4, "group_size": 4, "examples": 2}
TINY: dict[str, Any] = {**SMALL, "held_out": 24, "samples": 4, "device": "cpu", "draws": 100}


def shares(accuracy: dict[str, list[float]], rollouts: int = 8) -> pd.DataFrame:
    """A row per problem and epoch."""
    rows = [(name, epoch, value) for name, values in accuracy.items() for epoch, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["problem", "epoch", "accuracy"]).assign(rollouts=rollouts)


def ranked(table: pd.DataFrame, **options: Any) -> pd.DataFrame:
    return rank_examples(table, **options).set_index("problem")


# --- ranking ----------------------------------------------------------------------------------------------


def test_the_score_is_the_variance_over_epochs_by_hand() -> None:
    table = ranked(shares({"rising": [0, 0.25, 0.5, 0.75], "sure": [1] * 4, "alternating": [0, 1, 0, 1]}))
    assert list(table.index) == ["alternating", "rising", "sure"]
    assert list(table["rank"]) == [1, 2, 3]
    assert table["score"].to_dict() == {"alternating": 0.25, "rising": 0.078125, "sure": 0.0}
    assert table["trend"]["rising"] == pytest.approx(1)
    assert table["trend"]["alternating"] == pytest.approx(0.2)
    assert math.isnan(table["trend"]["sure"])
    noise = 0.75 * np.mean([0, 0.25 * 0.75, 0.5 * 0.5, 0.75 * 0.25]) / 7
    assert table["noise"]["rising"] == pytest.approx(noise)
    assert table["excess"]["rising"] == pytest.approx(0.078125 - noise)
    assert table["noise"]["alternating"] == 0


def test_a_quarter_over_eight_rollouts_is_the_largest_noise() -> None:
    """.25 / 8 = .031, the floor that most scores of the paper's 1,209 examples lie below."""
    p, n, epochs = 0.5, 8, 50
    right = np.random.default_rng(0).binomial(n, p, (4000, epochs))
    table = rank_examples(shares({str(i): list(row / n) for i, row in enumerate(right)}))
    assert table["noise"].mean() == pytest.approx((1 - 1 / epochs) * p * (1 - p) / n, rel=0.01)
    assert table["score"].mean() == pytest.approx(table["noise"].mean(), rel=0.01)
    assert table["trend"].mean() == pytest.approx(1 / (epochs - 1), rel=0.1)


def test_excess_is_unbiased_for_the_variance_of_the_true_accuracies() -> None:
    true = np.linspace(0.1, 0.9, 6)
    n = np.array([4, 8, 4, 8, 4, 8])
    right = np.random.default_rng(1).binomial(n, true, (4000, 6))
    table = rank_examples(
        pd.DataFrame(
            {
                "problem": np.repeat(np.arange(4000), 6),
                "epoch": np.tile(np.arange(6), 4000),
                "accuracy": (right / n).ravel(),
                "rollouts": np.tile(n, 4000),
            }
        )
    )
    assert table["excess"].mean() == pytest.approx(true.var(), abs=4 * table["excess"].std() / 4000**0.5)
    assert table["score"].mean() > true.var() + 0.01


def test_ties_share_a_rank_in_the_order_of_the_table() -> None:
    table = rank_examples(shares({"never": [0] * 3, "b": [0, 0, 1], "always": [1] * 3, "a": [1, 1, 0]}))
    assert list(table["problem"]) == ["b", "a", "never", "always"]
    assert list(table["rank"]) == [1, 1, 3, 3]
    assert list(table["ties"]) == [2, 2, 2, 2]
    # .1 + .2 - .3 and its like must not part ties: the same accuracies in another order.
    rounding = ranked(shares({"c": [0.1, 0.2, 0.7], "d": [0.7, 0.1, 0.2], "e": [0.1] * 3}, rollouts=10))
    assert list(rounding["ties"]) == [2, 2, 1]
    assert rounding["score"]["e"] == 0


def test_first_and_last_are_means_over_a_fifth_of_the_epochs() -> None:
    table = ranked(shares({"a": [0, 0.5, *[0.5] * 6, 1, 0.5], "b": [0.25, 1, 0]}))
    assert (table["first"]["a"], table["last"]["a"]) == (0.25, 0.75)
    assert (table["first"]["b"], table["last"]["b"]) == (0.25, 0)
    assert (table["epochs"]["a"], table["rollouts"]["a"]) == (10, 80)


@st.composite
def logs(draw: st.DrawFn) -> pd.DataFrame:
    """Rollouts of a few problems, each with epochs of its own, in any order."""
    rows = []
    for problem in range(draw(st.integers(1, 5))):
        for epoch in draw(st.lists(st.integers(0, 30), min_size=2, max_size=6, unique=True)):
            rows += [(problem, epoch, r) for r in draw(st.lists(st.integers(0, 1), min_size=1, max_size=5))]
    return pd.DataFrame(draw(st.permutations(rows)), columns=["problem", "epoch", "correct"])


@settings(max_examples=50)
@given(logs())
def test_the_vectorised_ranking_equals_numpy_problem_by_problem(log: pd.DataFrame) -> None:
    table = ranked(log)
    for problem, rows in log.groupby("problem"):
        by_epoch = rows.groupby("epoch")["correct"].agg(["mean", "size"])
        s, n, row = by_epoch["mean"].to_numpy(), by_epoch["size"].to_numpy(), table.loc[problem]
        assert row["score"] == pytest.approx(s.var(), abs=1e-12)
        assert row["mean"] == pytest.approx(s.mean())
        assert (row["epochs"], row["rollouts"]) == (len(s), len(rows))
        if row["score"] > 0:
            line = np.corrcoef(by_epoch.index.to_numpy(float), s)[0, 1] ** 2
            assert row["trend"] == pytest.approx(line, abs=1e-9)
        if (n > 1).all():
            assert row["noise"] == pytest.approx((1 - 1 / len(s)) * np.mean(s * (1 - s) / (n - 1)))
        else:
            assert pd.isna(row["noise"])
    assert (np.diff(table["score"]) <= 0).all()
    assert (table["rank"] == [1 + (table["score"] > value).sum() for value in table["score"]]).all()


@settings(max_examples=50)
@given(logs())
def test_shares_single_rollouts_steps_and_row_order_give_one_ranking(log: pd.DataFrame) -> None:
    expected = ranked(log).sort_index()
    shared = log.groupby(["problem", "epoch"])["correct"].agg(["mean", "size"]).reset_index()
    shared = shared.set_axis(["problem", "step", "accuracy", "rollouts"], axis=1)
    for other in (shared, log.sample(frac=1, random_state=0), log.astype({"correct": bool})):
        pd.testing.assert_frame_equal(ranked(other).sort_index(), expected, check_index_type=False)


def test_accuracy_of_known_rollouts_needs_no_column() -> None:
    table = shares({"a": [0, 0.5], "b": [1, 0.25]})
    pd.testing.assert_frame_equal(rank_examples(table.drop(columns="rollouts"), rollouts=8), rank_examples(table))


# --- files ------------------------------------------------------------------------------------------------


def rollouts_table() -> pd.DataFrame:
    rows = [(p, e, r) for p, c in (("a", (0, 2)), ("b", (1, 1))) for e in (0, 1) for r in (np.arange(3) < c[e])]
    return pd.DataFrame(rows, columns=["problem", "epoch", "correct"]).astype({"correct": int})


def test_every_format_gives_the_same_ranking(tmp_path: Path) -> None:
    long = rollouts_table()
    long.to_csv(tmp_path / "log.csv", index=False)
    long.to_parquet(tmp_path / "log.parquet", index=False)
    (tmp_path / "log.jsonl").write_text(long.to_json(orient="records", lines=True) + "\n")
    listed = long.groupby(["problem", "epoch"])["correct"].agg(list).reset_index()
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "log.jsonl").write_text(listed.to_json(orient="records", lines=True))
    expected = measure_models([tmp_path / "log.csv"])
    assert list(expected["example"]) == ["a", "b"]
    assert list(expected["model"].unique()) == ["log"]
    for file in ("log.parquet", "log.jsonl", "lists/log.jsonl"):
        pd.testing.assert_frame_equal(measure_models([tmp_path / file]), expected)


def test_models_of_one_table_are_ranked_apart(tmp_path: Path) -> None:
    one, other = rollouts_table(), rollouts_table().replace({"problem": {"a": "b", "b": "a"}})
    pd.concat([one.assign(model="m"), other.assign(model="n")]).to_csv(tmp_path / "log.csv", index=False)
    table = measure_models([str(tmp_path / "log.csv")], top=1)
    assert table[["model", "example"]].to_numpy().tolist() == [["m", "a"], ["n", "b"]]


def test_notes_say_what_a_score_is_worth(tmp_path: Path) -> None:
    table = shares({"up": [0, 0.5, 1], "flat": [0.5, 0.375, 0.5], "no": [0] * 3, "nil": [0] * 3, "yes": [1] * 3})
    table.to_csv(tmp_path / "log.csv", index=False)
    notes = measure_models([tmp_path / "log.csv"]).set_index("example")["note"]
    assert notes["up"].startswith("rank 1 of 5; noise alone 0.")
    assert notes["up"].endswith("0.00 to 1.00, a line explains 100%")
    assert "no more than noise" in notes["flat"]
    assert notes["no"] == "rank 3 of 5, shared by 3; never solved"
    assert "always solved" in notes["yes"]
    rollouts_table().drop_duplicates(["problem", "epoch"]).assign(correct=[0, 1, 1, 1]).to_csv(tmp_path / "one.csv")
    assert "noise not known" in measure_models([tmp_path / "one.csv"])["note"].iloc[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"corect": [1, 0]}, "lacks the column correct .or accuracy.* did you mean 'corect'"),
        ({"correct": [1, 2]}, "row 2: correct is 2; expected 1 or 0"),
        ({"correct": [1, 0.5]}, "row 2: correct is 0.5.*a column rollouts"),
        ({"correct": [float("nan"), 1]}, "row 1: correct is empty"),
        ({"correct": ["yes", "true"]}, "row 1: correct is yes"),
        ({"correct": [1, 0], "epoch": [0, "late"]}, "row 2: epoch is late; expected a number"),
        ({"correct": [1, 0], "epoch": [0, float("inf")]}, "row 2: epoch is inf"),
        ({"correct": [1, 0], "epoch": [3, 3]}, "1 of 1 problems were seen in one epoch only .a, for one."),
        ({"correct": [1, 0], "problem": ["a", None]}, "row 2: problem is empty"),
        ({"correct": [1, 0.5], "rollouts": [8, 1.5]}, "row 2: rollouts is 1.5; expected a whole number"),
        ({"correct": [1, 0], "rollouts": [0, 8]}, "row 1: rollouts is 0"),
        ({"correct": [1, 0], "epoch": [1, 1], "sample": [4, 4]}, "row 2: sample is 4; expected each sample"),
    ],
)
def test_bad_tables_are_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRollouts, match=words):
        rank_examples(pd.DataFrame({"problem": ["a", "a"], "epoch": [0, 1]} | change))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['{"problem": "a", "epoch": 0, "correct": 1}', "", "oops"], "line 3: this is not JSON"),
        (["[1, 0]"], "line 1: expected an object"),
        (["", '{"problem": "a", "epoch": 0, "correct": [1, 3]}'], r"line 2: correct is \[1, 3\]"),
        (['{"problem": "a", "epoch": 0, "correct": []}'], "line 1: correct is"),
        (["", '{"problem": "a", "epoch": 0, "correct": 4}'], "line 2: correct is 4"),
        (["", ""], "holds no rows"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, lines: list[str], words: str) -> None:
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    with pytest.raises(BadRollouts, match=words):
        rank_file(tmp_path / "log.jsonl")


def test_empty_missing_and_strange_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "heads.csv").write_text("problem,epoch,correct\n")
    (tmp_path / "bad.parquet").write_text("no parquet")
    for name, words in (("empty", "cannot be read as a table"), ("heads", "holds no rows"), ("none", "no table")):
        with pytest.raises(BadRollouts, match=words):
            rank_file(tmp_path / f"{name}.csv")
    with pytest.raises(BadRollouts, match="cannot be read as a table"):
        rank_file(tmp_path / "bad.parquet")
    with pytest.raises(ValueError, match="is not a table of rollouts"):
        measure_models(["smollm2-135m"])
    with pytest.raises(ValueError, match="steps is about training models"):
        measure_models([tmp_path / "heads.csv"], steps=3)
    with pytest.raises(TypeError, match="no option 'stepz'"):
        measure_models([tmp_path / "heads.csv"], stepz=3)
    with pytest.raises(ValueError, match="are about tables"):
        measure_models(["m"], problems="automaton", top=3)
    with pytest.raises(ValueError, match="no tables"):
        measure_models([])


# --- runs of a small model --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    torch.set_num_threads(1)
    saved = tmp_path_factory.mktemp("log") / "rollouts.csv"
    before = digest(KEPT)
    table = measure_models([KEPT], problems="automaton", config=CONFIG, save=str(saved), **TINY)
    assert digest(KEPT) == before, "the model on disk has changed"
    return table, saved


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.iterdir()))).hexdigest()


def rows_of(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    found = table[table["quantity"] == quantity]
    assert len(found), quantity
    return found


@pytest.mark.parametrize("suffix", ["", ", pass@1"])
def test_a_small_model_is_measured_end_to_end(measured: tuple[pd.DataFrame, Path], suffix: str) -> None:
    table, _ = measured
    base = float(rows_of(table, f"base{suffix}")["value"].iloc[0])
    for role in ("variance", "random"):
        one = rows_of(table, f"one example ({role}){suffix}")
        gains = rows_of(table, f"gain, one example ({role}){suffix}")
        assert len(one) == len(gains) == SMALL["examples"]
        assert one["example"].is_unique
        np.testing.assert_allclose(gains["value"], one["value"] - base, atol=1e-12)
        spread = rows_of(table, f"expected range of gain ({role}){suffix}").iloc[0]
        assert (spread["low"], spread["high"]) == (gains["value"].min(), gains["value"].max())
        assert spread["value"] == pytest.approx(gains["value"].mean())
        mean = rows_of(table, f"expected gain ({role}){suffix}").iloc[0]
        assert math.isnan(mean["low"])
        assert "3 examples or more" in mean["note"]
        rows_of(table, f"share of the full-set gain ({role}){suffix}")
    first = rows_of(table, f"one example (variance){suffix}").iloc[0]
    form = rows_of(table, f"format-only{suffix}").iloc[0]
    assert form["example"] == rows_of(table, f"random reward{suffix}")["example"].iloc[0] == first["example"]
    beyond = rows_of(table, f"gain beyond format-only{suffix}").iloc[0]
    assert beyond["value"] == pytest.approx(first["value"] - form["value"])
    bounded = table[table["low"].notna()]
    assert ((bounded["low"] <= bounded["value"] + 1e-12) & (bounded["value"] <= bounded["high"] + 1e-12)).all()


def test_the_saved_rollouts_rank_as_the_run_did(measured: tuple[pd.DataFrame, Path]) -> None:
    table, saved = measured
    ranking = measure_models([saved])
    assert list(ranking["example"][:2]) == list(rows_of(table, "one example (variance)")["example"])
    assert set(ranking["epochs"]) == {SMALL["steps"]}
    assert set(ranking["rollouts"]) == {SMALL["steps"] * SMALL["group_size"]}
    assert set(ranking["model"]) == {str(KEPT)}
    assert "rank 1 of 4" in rows_of(table, "one example (variance)")["note"].iloc[0]


@pytest.fixture(scope="module")
def runs() -> Runs:
    torch.set_num_threads(1)
    options = OneShotOptions(**SMALL, held_out=24, samples=4, config=CONFIG, epochs=3)
    return Runs(open_model(str(KEPT), "cpu"), "automaton", options)


def test_no_training_sees_a_held_out_problem(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    encode = AutomatonTask.encode

    def watched(task: AutomatonTask, problems: Any) -> Any:
        seen.update(problem.id for problem in problems)
        return encode(task, problems)

    held_out, base = list(runs.held_out), runs.base
    with monkeypatch.context() as patch:
        patch.setattr(AutomatonTask, "encode", watched)
        patch.setattr(Runs, "_evaluate", lambda self, model: base)
        with Runs(open_model(str(KEPT), "cpu"), "automaton", runs.options) as fresh:
            seen.clear()
            model_rows(fresh, Settings(draws=10))
    assert seen == {problem.id for problem in runs.pool}
    assert not seen & {problem.id for problem in held_out}


def test_a_run_is_made_once_and_leaves_the_model_as_it_was(runs: Runs) -> None:
    before = {name: tensor.clone() for name, tensor in runs.policy.state_dict().items()}
    assert runs.one(runs.pool[0]) is runs.one(runs.pool[0])
    full = runs.full()
    assert all(torch.equal(before[name], tensor) for name, tensor in runs.policy.state_dict().items())
    assert runs.full() is full
    assert runs.ranking()["epochs"].max() == 3  # the first three of six passes


def test_the_same_call_gives_the_same_outcome(runs: Runs) -> None:
    again = Runs(open_model(str(KEPT), "cpu"), "automaton", runs.options)
    np.testing.assert_array_equal(again.base.sampled, runs.base.sampled)
    np.testing.assert_array_equal(again.one(runs.pool[1]).sampled, runs.one(runs.pool[1]).sampled)


class MadeUpRuns:
    """Outcomes as they would be if one example gave `one` of the full set's gain, and form half of that."""

    def __init__(self, one: float, full: float = 0.6) -> None:
        self.options = OneShotOptions(**SMALL | {"examples": 3})
        self.pool, self.gain, self.one_share = [Problem(name, name, name) for name in "abcd"], full, one
        self.base = self._outcome(0.2)

    def _outcome(self, level: float) -> Outcome:
        right = (np.arange(500) < round(500 * level)).astype(float)
        return Outcome(right, right, right, 0.9)

    def full(self) -> Outcome:
        return self._outcome(0.2 + self.gain)

    def ranking(self) -> pd.DataFrame:
        return rank_examples(shares({"c": [0, 1], "b": [0, 0.5], "a": [0.5, 0.5], "d": [0, 0.25]}))

    def one(self, problem: Problem, reward: str = "verifier") -> Outcome:
        told = {"verifier": 1.0, "format": 0.5, "random": 0.0}[reward]
        return self._outcome(0.2 + self.gain * self.one_share * told)


def test_planted_gains_come_back() -> None:
    made_up: Any = MadeUpRuns(one=0.8)
    table = pd.DataFrame(model_rows(made_up, Settings(draws=500)))
    share = rows_of(table, "share of the full-set gain (variance)").iloc[0]
    assert share["value"] == pytest.approx(0.8)
    assert share["low"] < 0.8 < share["high"]
    assert rows_of(table, "gain beyond format-only")["value"].iloc[0] == pytest.approx(0.24)
    assert rows_of(table, "gain, random reward")["value"].iloc[0] == 0
    expected = rows_of(table, "expected gain (random)").iloc[0]
    assert expected["value"] == pytest.approx(0.48)
    assert expected["low"] == pytest.approx(expected["high"])  # three equal examples
    assert list(rows_of(table, "one example (variance)")["example"]) == ["c", "b", "d"]


def test_a_share_of_no_gain_is_left_out() -> None:
    made_up: Any = MadeUpRuns(one=0.5, full=0.0)
    table = pd.DataFrame(model_rows(made_up, Settings(draws=200)))
    row = rows_of(table, "share of the full-set gain (random), pass@1").iloc[0]
    assert math.isnan(row["value"])
    assert "left out" in row["note"]


# --- problems of a file -----------------------------------------------------------------------------------

WORDS = [str(i) for i in range(10)] + ["plus", "is"]


@pytest.fixture
def sums(tmp_path: Path) -> str:
    rows = [{"prompt": f"{i} plus {j} is", "answer": str(i + j)} for i in range(5) for j in range(5)]
    (tmp_path / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(tmp_path / "sums.jsonl")


@pytest.fixture
def model(tmp_path: Path) -> str:
    tokenizer = word_tokenizer(WORDS)
    tiny_llama(len(tokenizer), width=16, hidden=32, init_std=0.3, seed=0).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_a_file_is_parted_and_every_problem_of_the_pool_may_be_an_example(model: str, sums: str) -> None:
    options = {**TINY, "examples": 4, "max_new_tokens": 3, "optimiser": "sgd", "grader": "last_number"}
    table = measure_one_shot([model], sums, **options)
    assert set(table["problems"]) == {21}
    top, drawn = (set(rows_of(table, f"one example ({role})")["example"]) for role in ("variance", "random"))
    assert top == drawn  # the whole pool, each trained on once
    assert "t-interval over 4 examples" in rows_of(table, "expected gain (random)")["note"].iloc[0]


def test_the_parts_of_a_file_share_nothing(sums: str) -> None:
    task = JsonlTask(sums, word_tokenizer(WORDS), grader="last_number", split="test")
    pool, held_out = split(task, 10, 200, seed=3)
    assert (len(pool), len(held_out)) == (10, 15)
    assert {p.id for p in [*pool, *held_out]} == {p.id for p in task.all_problems}
    assert split(task, 10, 200, seed=4)[0] != pool
    with pytest.raises(ValueError, match="holds 25 problems: a pool of 24 leaves fewer than 2"):
        split(task, 24, 200, seed=0)
    with pytest.raises(SharedProblems, match="in the training pool and among the held-out"):
        check_apart(task, pool, [*held_out, pool[0]])
    renamed = Problem("another", pool[0].prompt, "0")
    with pytest.raises(SharedProblems, match="problem another"):
        check_apart(task, pool, [renamed])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 1}, "are 1 whole passes over 4 problems"),
        ({"epochs": 7}, "6 whole passes over 4 problems and epochs is 7"),
        ({"examples": 5}, "examples is 5, but the pool holds 4"),
        ({"held_out": 0}, "held_out 0"),
        ({"template": "four-shot"}, "need.* to end with EOS"),
        ({"save": "log.txt"}, "name a file that ends in"),
        ({"config": {"cue": 1}}, "config is for tasks"),
        ({"level": 2.0}, "level 2.0"),
    ],
)
def test_bad_options_are_refused_before_a_model_is_opened(sums: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measure_one_shot(["nowhere"], sums, **(TINY | options))


def test_models_and_files_that_are_not_there_are_named(sums: str, tmp_path: Path, model: str) -> None:
    with pytest.raises(ValueError, match="there is no problem file"):
        measure_one_shot([model], str(tmp_path / "none.jsonl"), **TINY)
    with pytest.raises(ValueError, match="each once"):
        measure_one_shot([model, model], sums, **TINY)
    with pytest.raises(ValueError, match="cannot be opened as a language model"):
        measure_one_shot([str(tmp_path)], sums, **TINY)
    with pytest.raises(ValueError, match="tokenizer is not the automaton task's"):
        measure_one_shot([model], "automaton", **TINY)


def test_the_learning_rate_follows_optimiser_and_size() -> None:
    large, small = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    large.weight = torch.nn.Parameter(torch.empty(10_000_000, 1, device="meta"))
    assert OneShotOptions().reinforcement(large, "verifier", 9).lr == 1e-6
    assert OneShotOptions().reinforcement(small, "verifier", 9).lr == 3e-4
    assert OneShotOptions(lr=0.5).reinforcement(large, "format", 9).lr == 0.5
    sgd = OneShotOptions(optimiser="sgd").reinforcement(small, "random", 9)
    assert (sgd.lr, sgd.momentum, sgd.reward, sgd.max_new_tokens) == (3e-3, 0.9, "random", 9)


# --- the paper's size -------------------------------------------------------------------------------------

OFFLINE: dict[str, Any] = {"use_cpu": True, "bf16": False, "report_to": [], "save_strategy": "no"}
OFFLINE |= {"disable_tqdm": True, "logging_strategy": "no", "use_vllm": False}


def test_the_hyperparameters_are_those_of_the_paper() -> None:
    s = paper_settings()
    assert (s.lr, s.weight_decay, s.kl_coef, s.entropy_coef, s.temperature) == (1e-6, 0.01, 1e-3, 1e-3, 0.6)
    assert (s.prompts_per_step, s.group_size, s.steps, s.max_new_tokens, s.clip, s.clip_low) == (
        (128, 8, 2000, 3072, 1.0, 0.2)
    )
    assert (s.updates_per_step, paper_settings(updates=8).updates_per_step) == (1, 8)
    assert (s.algorithm, s.schedule, s.scale_by_std, s.aggregate) == ("grpo", "constant", True, "token")


def automaton() -> tuple[AutomatonTask, Problem]:
    task = AutomatonTask(AutomatonSettings(**CONFIG))
    return task, task.problems("rl", 1, 0)[0]


@pytest.mark.parametrize(("updates", "accumulation", "steps"), [(1, 8, 2000), (8, 1, 16_000)])
def test_eight_devices_share_a_batch_as_the_released_configuration_does(
    tmp_path: Path, updates: int, accumulation: int, steps: int
) -> None:
    pytest.importorskip("trl")
    task, example = automaton()
    runs = paper_runs("m", task, example, output_dir=tmp_path, devices=8, settings={"updates": updates}, **OFFLINE)
    assert list(runs) == ["one-shot", "format-only", "random reward"]
    for name, run in runs.items():
        config = run.config
        assert (config.per_device_train_batch_size, config.steps_per_generation) == (16, 8)
        assert (config.gradient_accumulation_steps, config.max_steps) == (accumulation, steps)
        assert (config.save_steps, config.num_generations) == (20 * updates, 8)
        assert (config.loss_type, config.beta, config.entropy_coef) == ("bnpo", 0.001, 0.001)
        assert len(run.dataset) == 128
        assert len(set(run.dataset["prompt"])) == 1
        assert config.output_dir.endswith(name.replace(" ", "-"))
    with pytest.raises(ValueError, match="cannot be shared by 7 devices"):
        paper_runs("m", task, example, devices=7, **OFFLINE)


def test_the_three_rewards_differ_and_see_completions_only() -> None:
    pytest.importorskip("trl")
    task, example = automaton()
    runs = paper_runs("m", task, example, **OFFLINE)
    x, method, chain = (np.array([example.facts[name]]) for name in ("x", "method", "chain"))
    right = task.completions(x, method, chain)[0].tolist()
    wrong = task.completions(x, method, (chain + 1) % task.settings.states)[0].tolist()
    given: dict[str, Any] = {
        "completion_ids": [right, wrong, right[:-1]] * 20,
        "problem": runs["one-shot"].dataset["problem"][:60],
    }
    told = {name: np.reshape(run.reward(**given), (20, 3)) for name, run in runs.items()}
    assert (told["one-shot"] == [1, 0, 0]).all()
    assert (told["format-only"] == [1, 1, 0]).all()
    assert 0.2 < told["random reward"].mean() < 0.8
    assert (told["random reward"].min(0) == 0).all()


def test_each_process_tosses_coins_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl")
    task, example = automaton()
    coins = []
    for rank in ("0", "1", "0"):
        monkeypatch.setenv("RANK", rank)
        run = paper_runs("m", task, example, **OFFLINE)["random reward"]
        coins.append(run.reward(completion_ids=[[1]] * 64, problem=run.dataset["problem"][:64]))
    assert coins[0] == coins[2] != coins[1]


@pytest.mark.parametrize("name", ["one-shot", "format-only", "random reward"])
def test_one_step_of_each_run_goes_through_trl_offline(tmp_path: Path, name: str) -> None:
    pytest.importorskip("trl")
    task, example = automaton()
    small = {"copies": 4, "steps": 1, "max_new_tokens": 12, "temperature": 1.0, "dtype": "float32", "lr": 1e-2}
    run = paper_runs(str(KEPT), task, example, output_dir=tmp_path, settings=small, **OFFLINE)[name]
    trainer = run.trainer()
    before = torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()])
    trainer.train()
    assert trainer.state.global_step == 1
    assert len(trainer._logs["prompt"]) == 32
    assert not torch.equal(before, torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))


# --- the command line -------------------------------------------------------------------------------------


def test_the_command_ranks_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "one-shot" in describe.instruments()
    assert {"problems", "top", "rollouts", "steps", "optimiser", "device"} <= set(describe.options("one-shot") or [])
    rollouts_table().to_csv(tmp_path / "log.csv", index=False)
    arguments = ["measure", "one-shot", str(tmp_path / "log.csv")]
    assert _exit_code([*arguments, "-o", str(tmp_path / "out.csv")]) == 0
    assert list(pd.read_csv(tmp_path / "out.csv")["rank"]) == [1, 2]
    assert _exit_code(arguments) == 0
    printed = capsys.readouterr().out
    assert "historical variance" in printed
    assert "rank 1 of 2" in printed
    assert _exit_code([*arguments, "-p", "top=many"]) != 0
    assert _exit_code([*arguments, "-p", "topp=3"]) != 0


def test_both_tables_are_summed_up_by_the_same_columns(measured: tuple[pd.DataFrame, Path]) -> None:
    table, saved = measured
    for one in (table, measure_models([saved])):
        text = measurements.summary(one, one_shot.SUMMARY)
        assert "--wide" in text
    assert "interval" in measurements.summary(table, one_shot.SUMMARY)


def test_the_paper_module_imports_nothing_heavy() -> None:
    code = "import sys, evolm.instruments.one_shot_paper as m; print([x for x in ('torch', 'trl') if x in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def _exit_code(arguments: list[str]) -> Any:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return stop.value.code
