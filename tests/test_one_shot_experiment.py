"""The one-shot experiment at a tiny scale: its world, its arms, its tables, and its measurements by brute force."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import torch

from evolm import judging, paths, sources
from evolm.finding import ParameterError
from evolm.findings.one_shot import (
    FINDING,
    arms,
    base,
    choose,
    estimands,
    examples,
    experiment,
    imitation,
    measure,
    world,
)
from evolm.findings.one_shot.arms import (
    CONTROLS,
    FIRST,
    FORM_FULL,
    FULL,
    IMITATE,
    ONE,
    VARIANTS,
    WORKED,
    Arm,
    settings_of,
    tune,
)
from evolm.findings.one_shot.curves import PRIMARY
from evolm.findings.one_shot.measure import Bench
from evolm.findings.one_shot.parameters import OneShotParams, Variant
from evolm.findings.one_shot.protocol import check_development, splits_of
from evolm.findings.one_shot.world import CONFUSED, CUED, NAMED, corpus_of, task_of, with_confusion
from evolm.lm.architecture import tiny_llama
from evolm.lm.checkpoint import save_checkpoint
from evolm.lm.forward import decoder_for
from evolm.lm.sample import sample
from evolm.lm.stages import pretrain
from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.base import Grades, Problem, as_numpy, split_indices, split_of_id
from evolm.lm.tasks.corpus import corpus
from evolm.lm.token_data import TokenData
from evolm.lm.train import TrainSettings
from evolm.verdict import judge

Tables = dict[str, pd.DataFrame]
SEED, DEVELOPMENT = 2000, 5
TINY: dict[str, Any] = {
    "seeds": 1, "start": "train", "bases": ["latent", "scattered", "absent"], "width": 16, "layers": 1,
    "pretrain_steps": 2, "continue_steps": 2, "pool": 16, "examples": 6, "control_examples": 2, "rl_steps": 4,
    "every": 2, "prompts_per_step": 8, "group_size": 2, "problems": 20, "validation_problems": 20, "models": [],
    "variants": ["updates", "other-updates", "entropy-only", "guessable", "ranked"],
}  # fmt: skip
TOLERANCE = measure.TOLERANCE
ARMS = (ONE, FULL, *CONTROLS, *FIRST, FORM_FULL, *VARIANTS.values())
SUPERVISED = {"imitate", "imitate-any", "worked"}
REINFORCED = [arm for arm in ARMS if arm.name not in SUPERVISED]
PROMPT = 12  # tokens: BOS, cue, x_0..x_8, SEP
ONE_SYMBOL, OTHER_SYMBOL = CONFUSED


def parameters(**overrides: Any) -> Any:
    return FINDING.resolve("smoke", **{**TINY, **overrides})


@pytest.fixture(scope="module", autouse=True)
def _small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of its own, and no more digits of a new model's probabilities than a table's form needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVOLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(measure, "TOLERANCE", 1e-3)
        patch.setattr(sources, "source_closure", cache(sources.source_closure))
        yield


@pytest.fixture
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "TOLERANCE", TOLERANCE)


@cache
def blank() -> Any:
    """A base model that has seen nothing to speak of."""
    return base.base_model(parameters(), "latent", SEED)


@cache
def ran() -> dict[str, Tables]:
    """The tables of every unit of the tiny run, by the unit's name."""
    return {unit.name: experiment.run_unit(parameters(), unit, "cpu") for unit in experiment.units(parameters(), "cpu")}


@cache
def merged() -> Tables:
    names = {name for tables in ran().values() for name in tables}
    parts = {name: [tables[name] for tables in ran().values() if name in tables] for name in names}
    return {name: pd.concat(frames, ignore_index=True) for name, frames in parts.items()}


def exchanged(symbol: int) -> int:
    return {ONE_SYMBOL: OTHER_SYMBOL, OTHER_SYMBOL: ONE_SYMBOL}.get(symbol, symbol)


# --- the world ------------------------------------------------------------------------------------------------

Settings = Any
CLEAN = CUED.model_copy(update={"run_on": 0.0, "cut_short": 0.0})


def rows_of(task: AutomatonTask, tokens: torch.Tensor) -> list[tuple[list[int], int, bool, list[int]]]:
    """Per row: inputs as states, the method announced, whether it is sloppy, the completion after mode and style."""
    state = {int(token): i for i, token in enumerate(task.states)}
    method = {int(token): i for i, token in enumerate(task.styles)}
    found = []
    for row in tokens.tolist():
        x = [state[token] for token in row[2:11]]
        found.append((x, method[row[13]], row[12] == int(task.modes[1]), row[14:]))
    return found


def chain(task: AutomatonTask, x: Sequence[int], method: int, *, sloppy: bool = False) -> list[int]:
    """A chain worked out step by step, the two symbols exchanged where it is sloppy."""
    state, states = x[0], []
    for symbol in x[1:]:
        state = int(task.world.tables[method][exchanged(symbol) if sloppy else symbol][state])
        states.append(state)
    return states


@pytest.mark.parametrize("settings", [NAMED, CUED], ids=["named", "cued"])
@pytest.mark.parametrize("kind", ["latent", "absent"])
def test_wrong_readings_rewrite_the_chains_of_sloppy_rows_and_nothing_else(kind: Any, settings: Settings) -> None:
    task = task_of(3)
    before, _ = corpus(task, settings, 400, 7)
    after = with_confusion(kind, task, before, settings, np.random.default_rng(0))
    state = {int(token): i for i, token in enumerate(task.states)}
    chains = slice(PROMPT + 3, PROMPT + 3 + 8)
    rest = [i for i in range(before.shape[1]) if not chains.start <= i < chains.stop]
    assert torch.equal(before[:, rest], after[:, rest])  # prompt, mode, method, y_0 and what stands for EOS
    rewritten = 0
    for row, (x, method, sloppy, _) in enumerate(rows_of(task, before)):
        expected = chain(task, x, method, sloppy=sloppy or kind == "absent")
        for step, (was, is_now) in enumerate(
            zip(before[row, chains].tolist(), after[row, chains].tolist(), strict=True)
        ):
            assert is_now == (int(task.states[expected[step]]) if was in state else was)  # cut short: left alone
        differs = not torch.equal(before[row], after[row])
        assert not differs or sloppy or kind == "absent"
        rewritten += differs
    assert rewritten > 50


def test_careful_rows_are_right_and_sloppy_ones_wrong_but_where_no_symbol_can_be_confused() -> None:
    task = task_of(0)
    data = corpus_of("latent", task, CLEAN, 1500, 1)
    lucky, modes = list[bool](), list[bool]()
    for x, method, sloppy, rest in rows_of(task, data.tokens):
        states = [list(task.states).index(token) for token in rest[1:-1]]
        holds = any(symbol in CONFUSED for symbol in x[1:])
        assert states == chain(task, x, method, sloppy=sloppy)
        if not sloppy or not holds:
            assert states == chain(task, x, method)
        if sloppy and holds:
            lucky.append(states == chain(task, x, method))
        modes.append(sloppy)
    assert np.mean(lucky) < 1 / 13  # both symbols lead to one state from one in 13
    assert np.mean(modes) == pytest.approx(1 - (CUED.careful or 0), abs=0.04)


def readings(task: AutomatonTask, tokens: torch.Tensor) -> pd.DataFrame:
    """Of every confusable symbol whose two readings lead to different states: row, sloppy, and whether it was confused.

    Raises where a step follows neither reading of its symbol.
    """
    found = []
    for row, (x, method, sloppy, rest) in enumerate(rows_of(task, tokens)):
        before = x[0]
        for symbol, token in zip(x[1:], rest[1:-1], strict=True):
            now = list(task.states).index(token)
            right, wrong = (int(task.world.tables[method][s][before]) for s in (symbol, exchanged(symbol)))
            assert now in (right, wrong)
            if right != wrong:
                found.append((row, sloppy, now == wrong))
            before = now
    return pd.DataFrame(found, columns=["row", "sloppy", "confused"])


def test_scattered_writers_confuse_every_symbol_at_the_stated_rate_whatever_the_mode_and_the_other_symbols() -> None:
    task = task_of(1)
    found = readings(task, corpus_of("scattered", task, CLEAN, 6000, 2).tokens)
    rate = 1 - (CUED.careful or 0)
    assert found["confused"].mean() == pytest.approx(rate, abs=0.02)
    assert found.groupby("sloppy")["confused"].mean().to_numpy() == pytest.approx([rate, rate], abs=0.035)
    assert found["sloppy"].mean() == pytest.approx(rate, abs=0.03)
    pairs = found.groupby("row")["confused"].agg(["size", "sum"]).query("size == 2")
    assert (pairs["sum"] == 2).mean() == pytest.approx(rate**2, abs=0.04)
    assert (pairs["sum"] == 0).mean() == pytest.approx((1 - rate) ** 2, abs=0.03)
    named = readings(task, corpus_of("scattered", task, NAMED, 3000, 2).tokens)
    assert named["confused"].mean() == pytest.approx(0.5, abs=0.03)


def test_absent_is_confused_always_and_latent_with_the_mode() -> None:
    task = task_of(1)
    assert readings(task, corpus_of("absent", task, CLEAN, 800, 2).tokens)["confused"].all()
    latent = readings(task, corpus_of("latent", task, CLEAN, 800, 2).tokens)
    assert (latent["confused"] == latent["sloppy"]).all()


def test_only_noisy_writers_slip_and_only_those_of_low_cue_leave_the_cue() -> None:
    task = task_of(2)
    slips = {"latent": 0.0, "noisy": 0.05, "low-cue": 0.0}
    clean = {"run_on": 0.0, "cut_short": 0.0}
    for kind, rate in slips.items():
        settings = world.MIXTURES.get(kind, CUED).model_copy(update=clean)
        wrong = followed = cues = 0
        rows = corpus_of(kind, task, settings, 1500, 4)  # type: ignore[arg-type]
        for (x, method, sloppy, rest), slot in zip(rows_of(task, rows.tokens), rows.tokens[:, 1].tolist(), strict=True):
            before = x[0]
            for symbol, token in zip(x[1:], rest[1:-1], strict=True):
                read = exchanged(symbol) if sloppy else symbol
                now = list(task.states).index(token)
                wrong += now != int(task.world.tables[method][read][before])
                before = now
            if slot in task.cues[:-1]:
                cues, followed = cues + 1, followed + (list(task.cues).index(slot) == method)
        assert wrong / (1500 * 8) == pytest.approx(rate * 12 / 13, abs=0.01), (
            kind
        )  # one slip in 13 is to the right state
        assert (wrong == 0) == (rate == 0), kind
        assert (followed / cues > 0.9) == (kind != "low-cue"), kind


def test_every_prompt_of_a_corpus_is_of_the_split_pretrain_and_is_trained_or_tested_on_by_nobody() -> None:
    task, params = (
        task_of(SEED),
        parameters(pool=256, prompts_per_step=16, problems=500, validation_problems=200, rl_steps=32),
    )
    bench = Bench(params, task, SEED)
    others = [examples.pool_of(params, task), *bench.sets.values()]
    ids = [{problem.id for problem in problems} for problems in others]
    assert [len(found) for found in ids] == [256, 200, 500]
    everybody = ids[0] | ids[1] | ids[2]
    assert len(everybody) == 256 + 200 + 500
    assert [{split_of_id(i) for i in found} for found in ids] == [{"rl"}, {"validation"}, {"test"}]
    for kind in get_args(world.BaseName):
        for settings in (NAMED, world.MIXTURES.get(kind, CUED)):
            found = rows_of(task, corpus_of(kind, task, settings, 500, SEED).tokens)
            keys = task.world.keys(np.array([x for x, *_ in found]), np.array([method for _, method, *_ in found]))
            assert set(split_indices(keys)) == {0}
            assert {f"{key:016x}" for key in keys.tolist()}.isdisjoint(everybody)


def test_confusing_is_an_exchange_that_leaves_the_first_state_alone() -> None:
    a, b = CONFUSED
    x = np.array([[a, a, b, 0, 3], [b, 1, 2, 3, 4]])
    assert world.confused(x).tolist() == [[a, b, a, 0, 3], [b, 1, 2, 3, 4]]
    assert (world.confused(world.confused(x)) == x).all()


def test_a_world_is_its_seeds_and_the_kept_base_has_one_world_for_all() -> None:
    assert base.world_of(parameters(), 1003) == 1003
    kept = FINDING.resolve("smoke")
    assert base.world_of(kept, 1003) == base.KEPT_SEED  # type: ignore[arg-type]
    assert not np.array_equal(task_of(1000).world.tables, task_of(1001).world.tables)
    settings = task_of(4).settings
    assert (settings.cue, settings.emit_start, settings.answer_states, settings.mode) == (1.0, True, 8, True)


# --- examples -------------------------------------------------------------------------------------------------


def kind(task: AutomatonTask, problem: Problem) -> str:
    """What the problem can teach, worked out symbol by symbol; the last of seven methods is in no corpus."""
    x, method = problem.facts["x"], problem.facts["method"]
    if method == 6:
        return "unknown"
    return "either" if chain(task, x, method, sloppy=True) == chain(task, x, method) else "switch"


def test_the_kind_of_a_problem_is_what_a_sloppy_chain_makes_of_it() -> None:
    task = task_of(SEED)
    problems = task.problems("rl", 3000, seed=3)
    by_hand = [kind(task, problem) for problem in problems]
    assert examples.kinds_of(task, problems) == by_hand
    assert examples.kinds_of(task, problems[::-1]) == by_hand[::-1]
    assert examples.kinds_of(task, []) == []
    for problem, found in zip(problems, by_hand, strict=True):
        holds = any(symbol in CONFUSED for symbol in problem.facts["x"][1:])
        assert holds or found != "switch"
        right = graded(task, problem, chain(task, problem.facts["x"], problem.facts["method"], sloppy=True))
        assert found == "unknown" or right == (found == "either")  # as the verifier has it
    either = [problem for problem, found in zip(problems, by_hand, strict=True) if found == "either"]
    met = sum(any(symbol in CONFUSED for symbol in problem.facts["x"][1:]) for problem in either)
    assert 0 < met < len(either) / 4  # both symbols may lead to one state


def test_the_draw_takes_of_each_kind_about_what_the_pool_has_of_it() -> None:
    task = task_of(SEED)
    found = [kind(task, problem) for problem in task.problems("rl", 3000, seed=3)]
    for name in set(found) | set(examples.ORDER):
        assert examples.ORDER.count(name) / len(examples.ORDER) == pytest.approx(found.count(name) / 3000, abs=0.05)


def drawn(params: Any, world_seed: int = SEED) -> list[int]:
    """Places of the examples in the pool of the world."""
    task = task_of(world_seed)
    return examples.draw(params, task, examples.pool_of(params, task))


@pytest.mark.parametrize("world_seed", [SEED, SEED + 1, DEVELOPMENT])
def test_examples_are_drawn_without_replacement_in_the_order_of_kinds_and_more_begin_with_fewer(
    world_seed: int,
) -> None:
    task = task_of(world_seed)
    pool = examples.pool_of(OneShotParams(), task)
    many = drawn(OneShotParams(examples=40), world_seed)
    assert len(many) == len(set(many)) == 40
    assert set(many) <= set(range(256))
    assert [kind(task, pool[place]) for place in many] == list(examples.ORDER) * 4
    for count in (1, 3, 10, 23):
        assert drawn(OneShotParams(examples=count, control_examples=1), world_seed) == many[:count]


def test_the_draw_follows_from_the_published_seed_and_the_kinds_alone() -> None:
    ten = drawn(OneShotParams())
    elsewhere = {"first_seed": 2007, "seeds": 9, "rl_steps": 50, "width": 16, "problems": 30, "lr_one": 0.5}
    assert drawn(OneShotParams.model_validate(elsewhere)) == ten
    task = task_of(SEED)
    pool = examples.pool_of(OneShotParams(), task)  # the same problems for every seed
    draws = [examples.draw(OneShotParams(example_seed=seed), task, pool) for seed in range(300)]
    firsts = [draw[0] for draw in draws]
    assert {kind(task, pool[place]) for place in firsts} == {"switch"}
    assert len(set(firsts)) > 100  # of about 156; 300 fair draws show 133
    assert max(firsts.count(place) for place in set(firsts)) < 12
    assert np.mean([place for draw in draws for place in draw]) == pytest.approx(127.5, abs=6)


def test_places_of_one_kind_come_in_one_order_in_every_world() -> None:
    shared = 0
    found = {}
    for world_seed in (SEED, SEED + 1):
        task, params = task_of(world_seed), OneShotParams(examples=40)
        kinds = [kind(task, problem) for problem in examples.pool_of(params, task)]
        found[world_seed] = {place: (kinds[place], i) for i, place in enumerate(drawn(params, world_seed))}
    first, second = found.values()
    for a, b in product(set(first) & set(second), repeat=2):
        if first[a][0] == first[b][0] and second[a][0] == second[b][0]:
            assert (first[a][1] < first[b][1]) == (second[a][1] < second[b][1])
            shared += a < b
    assert shared > 20


@pytest.mark.parametrize(("lacking", "enough"), [("either", 1), ("unknown", 6)])
def test_a_pool_that_runs_out_of_a_kind_is_refused_with_the_kind_and_what_to_do(lacking: str, enough: int) -> None:
    task = task_of(SEED)
    pool = [problem for problem in task.problems("rl", 64, seed=1) if kind(task, problem) != lacking]
    assert len(examples.draw(OneShotParams(examples=enough, control_examples=1), task, pool)) == enough
    few = OneShotParams(examples=enough + 1, control_examples=1)
    message = f"a pool of {len(pool)} has too few problems of the kind '{lacking}' for {enough + 1} examples"
    with pytest.raises(ValueError, match=f"{message}; raise pool or lower examples"):
        examples.draw(few, task, pool)


def test_the_pool_is_the_same_for_every_arm_of_a_world_and_another_in_another() -> None:
    params = parameters()
    ids = [problem.id for problem in examples.pool_of(params, task_of(SEED))]
    assert ids == [problem.id for problem in examples.pool_of(parameters(seeds=5, rl_steps=8), task_of(SEED))]
    assert set(ids).isdisjoint(problem.id for problem in examples.pool_of(params, task_of(SEED + 1)))


def graded(task: AutomatonTask, problem: Problem, states: Sequence[int]) -> bool:
    """What the verifier says of the completion `careful m0 y_0 states EOS`."""
    x = problem.facts["x"]
    tokens = task.completions(np.array([x]), np.array([0]), np.array([states]))
    return bool(task.grade([problem], tokens, np.array([tokens.shape[1]])).correct[0])


@pytest.mark.parametrize("label", get_args(examples.Label))
def test_a_wrong_label_is_paid_for_and_the_right_chain_is_not(label: examples.Label) -> None:
    task = task_of(SEED)
    sorts = set()
    for problem in task.problems("rl", 60, seed=1):
        wrong = examples.mislabelled(task, problem, label, seed=3)
        right, given = problem.facts["chain"], wrong.facts["chain"]
        assert graded(task, problem, right)
        assert graded(task, wrong, given)
        assert not graded(task, wrong, right)
        assert not graded(task, problem, given)
        assert wrong.answer == " ".join(f"s{state}" for state in given)
        assert (wrong.id, wrong.prompt, wrong.facts["x"]) == (problem.id, problem.prompt, problem.facts["x"])
        assert problem.facts["chain"] == right == chain(task, problem.facts["x"], problem.facts["method"])
        assert task.encode([wrong]) == task.encode([problem])
        sorts.add(kind_of(task, problem, given, label))
        assert examples.mislabelled(task, problem, label, seed=3) == wrong
    assert sorts == {"near": {"last"}, "guessable": {"sloppy", "other"}, "unguessable": {"nobody's"}}[label]


def kind_of(task: AutomatonTask, problem: Problem, given: Sequence[int], label: str) -> str:
    """Which wrong chain it is; raises where it is not the one that the label promises."""
    x, method = problem.facts["x"], problem.facts["method"]
    right, sloppy = chain(task, x, method), chain(task, x, method, sloppy=True)
    every = {m: [chain(task, x, m), chain(task, x, m, sloppy=True)] for m in range(task.settings.methods)}
    match label:
        case "near":
            assert given[:-1] == right[:-1]
            assert given[-1] != right[-1]
            return "last"
        case "guessable":
            if sloppy != right:
                assert given == sloppy
                return "sloppy"
            assert given == every[1 if method == 0 else 0][0]
            return "other"
    assert all(given not in chains for chains in every.values())
    return "nobody's"


def test_unguessable_labels_change_with_the_seed_and_the_problem() -> None:
    task = task_of(SEED)
    first, second = task.problems("rl", 2, seed=1)
    labels = [
        examples.mislabelled(task, p, "unguessable", s).facts["chain"] for p, s in product((first, second), (1, 2))
    ]
    assert len({tuple(label) for label in labels}) == 4


# --- splits ---------------------------------------------------------------------------------------------------


def test_development_seeds_see_validation_problems_alone() -> None:
    assert splits_of(0) == splits_of(1000) == splits_of(1999) == ("validation",)
    assert splits_of(2000) == splits_of(3000) == ("validation", "test")
    task = task_of(DEVELOPMENT)
    assert set(Bench(parameters(), task, DEVELOPMENT).sets) == {"validation"}
    assert {split_of_id(p.id) for p in Bench(parameters(), task, DEVELOPMENT).report} == {"validation"}
    assert {split_of_id(p.id) for p in Bench(parameters(), task_of(SEED), SEED).report} == {"test"}


@pytest.fixture
def tiny_choice(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`choose` at the tiny scale; the splits that any task is asked for."""
    asked: list[str] = []
    draw = AutomatonTask.problems

    def watched(self: AutomatonTask, split: Any, *arguments: Any, **options: Any) -> list[Problem]:
        asked.append(split)
        return draw(self, split, *arguments, **options)

    class Small:
        rl_steps = TINY["rl_steps"]

        @staticmethod
        def model_validate(values: dict[str, Any]) -> OneShotParams:
            return OneShotParams.model_validate({**TINY, **values})

    monkeypatch.setattr(AutomatonTask, "problems", watched)
    monkeypatch.setattr(choose, "OneShotParams", Small)
    monkeypatch.setattr(choose, "EXAMPLES", 2)
    return asked


@pytest.mark.parametrize("name", choose.GRIDS)
def test_settings_are_chosen_on_validation_problems_of_development_seeds(name: str, tiny_choice: list[str]) -> None:
    rows = choose.trial(DEVELOPMENT, name, 1e-3)
    assert set(tiny_choice) == {"rl", "validation"}
    assert [row["example"] for row in rows] == ([-1] if name == "lr_full" else [0, 1])
    facts = {(row["seed"], row["parameter"], row["value"], row["set"]) for row in rows}
    assert facts == {(DEVELOPMENT, name, 1e-3, "validation")}
    assert [row["kind"] for row in rows] == ([""] if name == "lr_full" else list(examples.ORDER[:2]))
    assert all(0 <= row["score"] <= 1 for row in rows)
    reached = {f"reached_{threshold:g}" for threshold in experiment.THRESHOLDS}
    assert {key for row in rows for key in row if key.startswith("reached_")} == (
        reached if name not in ("lr_imitate", "lr_worked") else set()
    )


@pytest.mark.parametrize("name", choose.GRIDS)
@pytest.mark.usefixtures("tiny_choice")
def test_a_trial_trains_the_arm_with_the_value_that_it_tries(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    def reinforced(model: Any, task: Any, settings: Any, **options: Any) -> Any:
        given.append(settings.entropy_coef if name == "entropy_coef" else settings.lr)
        raise InterruptedError

    def imitated(*arguments: Any, lr: float, momentum: float) -> Any:
        given.append(lr)
        raise InterruptedError

    monkeypatch.setattr(arms, "reinforce", reinforced)
    monkeypatch.setattr(arms, "imitate", imitated)
    for value in choose.GRIDS[name][1][:2]:
        with pytest.raises(InterruptedError):
            choose.trial(DEVELOPMENT, name, value)
    assert given == list(choose.GRIDS[name][1][:2])


@pytest.mark.parametrize("seed", [2000, 2004, 5000])
def test_nothing_is_chosen_on_a_report_seed(seed: int) -> None:
    message = f"seed {seed} is a report seed; settings are chosen on seeds below 2000"
    with pytest.raises(ValueError, match=message):
        check_development(seed)
    with pytest.raises(ValueError, match=message):
        choose.trial(seed, "lr_one", 1e-3)


def test_seeds_that_an_earlier_state_reported_count_as_development() -> None:
    for seed in (0, *choose.SEEDS, 1000, 1004, 1999):
        check_development(seed)
        assert judging.has_development_seeds(FINDING.resolve("cpu", first_seed=seed))
    assert max(choose.SEEDS) < 1000  # fresh then, too


def test_a_trial_measures_what_the_chapter_reports(tiny_choice: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []

    def planted(self: Bench, model: Any) -> pd.DataFrame:
        steps.append(1)
        return pd.DataFrame({"set": "validation", "problems": [30, 10], PRIMARY: [0.2, 0.6], "greedy": [1.0, 1.0]})

    monkeypatch.setattr(Bench, "accuracy", planted)
    rows = choose.trial(DEVELOPMENT, "lr_one", 1e-3)
    assert [row["score"] for row in rows] == pytest.approx([0.3] * 2)  # by problem
    assert len(steps) == 2  # the last step alone


def own_grid(name: str) -> tuple[float, ...]:
    """The four values that a parameter starts from."""
    if name == "entropy_coef":
        return (0.003, 0.01, 0.03, 0.1)
    return choose.ADAMW if "other" in name else choose.SGD


def test_every_setting_that_an_arm_names_has_a_grid_of_four_or_more_beyond_an_edge() -> None:
    rates = {name for name in OneShotParams.model_fields if name.startswith("lr_")}
    assert set(choose.GRIDS) == rates | {"entropy_coef"}
    assert {f"lr_{arm.rate}" for arm in ARMS} <= rates
    for name, (arm, grid) in choose.GRIDS.items():
        own = own_grid(name)
        assert f"lr_{arm.rate}" == name or arm.options[name] == name
        assert ("other" in name) == arm.options.get("other", False)
        assert len(own) == 4
        assert own in (grid[:4], grid[-4:])
        assert [b / a for a, b in pairwise(grid)] == pytest.approx([10**0.5] * (len(grid) - 1), rel=0.06)


def scores(**means: dict[float, float]) -> pd.DataFrame:
    """Trials with these mean scores, by parameter and value; single runs lie half a point above and below."""
    rows = [
        (name, value, example, mean + (0.5 if example else -0.5))
        for name, by_value in means.items()
        for value, mean in by_value.items()
        for example in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["parameter", "value", "example", "score"])


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ({1e-3: 0.60, 3e-3: 0.70, 1e-2: 0.50}, 3e-3),  # the best
        ({1e-3: 0.600, 3e-3: 0.592, 1e-2: 0.50}, 3e-3),  # a tie: the larger
        ({1e-3: 0.592, 3e-3: 0.600, 1e-2: 0.50}, 3e-3),  # and not the smaller
        ({1e-3: 0.600, 3e-3: 0.588, 1e-2: 0.50}, 1e-3),  # no tie
        ({1e-3: 0.600, 3e-3: 0.593, 1e-2: 0.585}, 3e-3),  # a tie is one with the best
        ({1e-3: 0.600, 3e-3: 0.40, 1e-2: 0.595}, 1e-2),  # with a worse one between
        ({1e-2: 0.595, 3e-3: 0.40, 1e-3: 0.600}, 1e-2),  # in any order of rows
    ],
)
def test_the_largest_of_the_values_that_tie_for_the_best_mean_is_chosen(
    means: dict[float, float], expected: float
) -> None:
    assert choose.chosen(scores(lr_one=means)) == {"lr_one": expected}
    other = {1e-4: 0.9, 3e-4: 0.1}  # of a parameter of its own, with a best of its own
    assert choose.chosen(scores(lr_other=other, lr_one=means)) == {"lr_one": expected, "lr_other": 1e-4}


IN_TIME = OneShotParams().rl_steps * 2 // 3
LATE = float(IN_TIME + 1)
TRIALS = pd.DataFrame(
    [
        ("lr_one", 1e-3, 0, "switch", 0.5, 40.0, 60.0, np.nan), ("lr_one", 1e-3, 1, "switch", 0.7, 50.0, 70.0, np.nan),
        ("lr_one", 1e-3, 2, "switch", 0.6, LATE, 80.0, 90.0), ("lr_one", 1e-3, 3, "switch", 0.6, 60.0, IN_TIME, 120.0),
        ("lr_one", 1e-3, 4, "switch", 0.6, 60.0, LATE, 120.0),
        *(("lr_one", 1e-3, 5 + i, "either", 0.6, LATE, LATE, 1.0) for i in range(5)),
        *(("lr_one", 1e-3, 10 + i, "unknown", 0.6, np.nan, np.nan, 1.0) for i in range(5)),
        ("lr_one", 1e-2, 0, "switch", 0.9, 1.0, 1.0, 1.0), ("lr_one", 1e-2, 1, "switch", 0.1, 1.0, 1.0, 1.0),
        ("lr_full", 1e-3, -1, "", 0.2, 1.0, 1.0, 1.0), ("lr_format", 1e-3, 0, "switch", 0.3, 1.0, 1.0, 1.0),
    ],
    columns=["parameter", "value", "example", "kind", "score", "reached_0.9", "reached_0.95", "reached_0.99"],
)  # fmt: skip


def test_the_strictest_threshold_that_four_of_five_runs_on_a_switch_example_reach_in_time_is_chosen() -> None:
    assert choose.chosen(TRIALS)["lr_one"] == 1e-3
    assert choose.chosen_threshold(TRIALS) == 0.95
    slow = TRIALS.assign(**{"reached_0.95": LATE})
    assert choose.chosen_threshold(slow) == 0.9
    never = slow.assign(**{"reached_0.9": np.nan})
    with pytest.raises(ValueError, match="no threshold is reached by enough runs"):
        choose.chosen_threshold(never)


def test_the_defaults_are_what_the_kept_trials_choose() -> None:
    table = pd.read_csv(paths.resource("data") / "choices" / "one-shot.csv")
    assert set(table["set"]) == {"validation"}
    assert set(table["seed"]) == set(choose.SEEDS)
    for name, (arm, grid) in choose.GRIDS.items():
        tried = table[table["parameter"] == name].groupby("value").size()
        assert sorted(tried.index) == pytest.approx(sorted(grid)), name
        assert set(tried) == {len(choose.SEEDS) * (1 if arm is FULL else choose.EXAMPLES)}, name
    defaults = OneShotParams()
    found = choose.chosen(table)
    assert found == pytest.approx({name: getattr(defaults, name) for name in choose.GRIDS})
    for name, (_, grid) in choose.GRIDS.items():
        ends = {own_grid(name)[0], own_grid(name)[-1]} & {grid[0], grid[-1]}
        assert all(found[name] != pytest.approx(end) for end in ends), f"{name}: go on"
    assert choose.chosen_threshold(table) == defaults.saturation
    assert defaults.saturation in experiment.THRESHOLDS


# --- arms -----------------------------------------------------------------------------------------------------


class Recording(AutomatonTask):
    """A task that pays a new model for an even first token, and keeps whom it graded, and how."""

    def __init__(self, seed: int = SEED, *, pays: bool = True) -> None:
        super().__init__(task_of(seed).settings)
        self.pays = pays
        self.calls: list[tuple[list[Problem], Grades]] = []

    def grade(self, problems: Sequence[Problem], tokens: Any, lengths: Any) -> Grades:
        first = as_numpy(tokens)[:, 0]
        correct = (first % 2 == 0) & self.pays
        grades = Grades(correct, first % 3 == 0, correct)
        self.calls.append((list(problems), grades))
        return grades


def tuned(arm: Arm, task: AutomatonTask | None = None, *, many: bool = False, **overrides: Any) -> Any:
    """The arm on the first example, or on the pool; what `tune` gives, and the steps it called at."""
    params, steps = parameters(**overrides), list[int]()
    task = task or Recording()
    pool = examples.pool_of(params, task)
    problems = pool if many else [pool[examples.draw(params, task, pool)[0]]]
    return tune(arm, params, blank(), task, problems, 77, lambda step, model: steps.append(step)), steps


@pytest.mark.parametrize("preset", ["cpu", "gpu"])
def test_every_arm_takes_as_many_steps_of_128_samples_and_long_four_times_as_many(preset: str) -> None:
    params: Any = FINDING.resolve(preset)
    assert params.batch == 128
    for arm in REINFORCED:
        settings, name = settings_of(arm, params, 3), arm.name
        assert settings.prompts_per_step * settings.group_size == 128, name
        assert settings.steps == params.rl_steps * (4 if name == "one-long" else 1), name
        assert (settings.algorithm, settings.seed, settings.temperature, settings.clip) == ("grpo", 3, 1.0, 1.0), name
        assert settings.updates_per_step == (8 if "updates" in name else 1), name


def test_arms_differ_from_one_in_what_their_name_says_and_in_nothing_else() -> None:
    chosen = {name: 0.05 + 0.05 * i for i, name in enumerate(choose.GRIDS)}  # no two alike
    params: Any = FINDING.resolve("gpu", **chosen)
    plain = settings_of(ONE, params, 3).model_dump()
    assert (plain["optimiser"], plain["momentum"], plain["reward"]) == ("sgd", 0.9, "verifier")
    assert (plain["weight_decay"], plain["kl_coef"], plain["entropy_coef"], plain["policy_coef"]) == (0, 0, 0, 1)
    adamw = {"optimiser": "adamw", "momentum": 0.0}
    changes: dict[str, dict[str, Any]] = {
        "one": {}, "random": {"reward": "random"}, "zero": {"reward": "zero"}, "full": {"lr": params.lr_full},
        "format": {"reward": "format", "lr": params.lr_format},
        "format-full": {"reward": "format", "lr": params.lr_format},
        "one-updates": {"mini_batches": 8, "lr": params.lr_updates},
        "one-other": {**adamw, "lr": params.lr_other},
        "one-other-updates": {**adamw, "mini_batches": 8, "lr": params.lr_other_updates},
        "random-updates": {"reward": "random", "mini_batches": 8, "lr": params.lr_updates},
        "one-no-std": {"scale_by_std": False}, "one-entropy": {"entropy_coef": params.entropy_coef},
        "entropy-only": {"entropy_coef": 1.0, "policy_coef": 0.0, "lr": params.lr_entropy},
        "one-decay": {"weight_decay": arms.DECAY}, "decay-only": {"weight_decay": arms.DECAY, "policy_coef": 0.0},
        "one-kl": {"kl_coef": arms.KL}, "one-long": {"steps": 4 * params.rl_steps},
        "near": {}, "guessable": {}, "unguessable": {},
    }  # fmt: skip
    assert set(changes) == {arm.name for arm in REINFORCED}
    for arm in REINFORCED:
        given = settings_of(arm, params, 3).model_dump()
        assert {key: value for key, value in given.items() if value != plain[key]} == changes[arm.name], arm.name


def test_the_decay_shrinks_matrices_by_as_much_as_its_comment_says() -> None:
    """Decoupled decay inside momentum: each step takes lr x decay / (1 - momentum) of a weight off, in the long run."""
    weight, velocity = 1.0, 0.0
    for _ in range(125):
        velocity = arms.MOMENTUM * velocity + arms.DECAY * weight
        weight -= 3e-3 * velocity
    assert 1 - weight == pytest.approx(0.07, abs=0.01)


def test_the_other_optimiser_is_the_one_that_the_arms_do_not_use() -> None:
    turned = {arm.name: settings_of(arm, parameters(optimiser="adamw"), 3) for arm in REINFORCED}
    others = {"one-other", "one-other-updates"}
    assert {name: (s.optimiser, s.momentum) for name, s in turned.items()} == {
        name: ("sgd", 0.9) if name in others else ("adamw", 0.0) for name in turned
    }


@pytest.mark.parametrize("arm", REINFORCED, ids=lambda arm: arm.name)
def test_a_run_samples_its_one_example_or_the_whole_pool_in_turn(arm: Arm) -> None:
    task, many = Recording(), arm.name.endswith("full")
    before = {name: tensor.clone() for name, tensor in blank().state_dict().items()}
    (model, log, history), steps = tuned(arm, task, many=many)
    params = parameters()
    pool = examples.pool_of(params, task)
    asked = [problem for problems, _ in task.calls for problem in problems]
    total = params.rl_steps * (4 if arm.name == "one-long" else 1)
    assert [len(problems) for problems, _ in task.calls] == [params.batch] * total
    if many:
        assert [p.id for p in asked] == [p.id for _ in range(2) for p in pool for _ in range(params.group_size)]
    else:
        example = pool[examples.draw(params, task, pool)[0]]
        assert {problem.prompt for problem in asked} == {example.prompt}
        answer = examples.mislabelled(task, example, arm.label, 77).answer if arm.label else example.answer
        assert {problem.answer for problem in asked} == {answer}
    assert steps == list(log["step"]) == list(range(1, total + 1))
    assert history.empty == (arm.name != "full")
    assert all(torch.equal(tensor, blank().state_dict()[name]) for name, tensor in before.items())
    moved = not all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())
    assert moved == (arm.name != "zero")


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_zero_reward_leaves_every_weight_bit_for_bit(optimiser: str) -> None:
    (model, log, _), _ = tuned(FIRST[1], optimiser=optimiser)
    assert FIRST[1].name == "zero"
    assert (log["grad_norm"] == 0).all()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), blank().parameters(), strict=True))


def test_the_history_is_the_share_of_right_rollouts_of_every_problem_in_every_pass() -> None:
    task = Recording()
    (_, log, history), _ = tuned(FULL, task, many=True, rl_steps=6, every=2, group_size=4)
    pool = examples.pool_of(parameters(), task)
    place = {problem.id: i for i, problem in enumerate(pool)}
    right: dict[tuple[int, int], list[bool]] = {}
    for step, (problems, grades) in enumerate(task.calls):
        for problem, correct in zip(problems, grades.correct, strict=True):
            right.setdefault((step // 2, place[problem.id]), []).append(bool(correct))  # 8 of 16 problems a step
    assert {len(rollouts) for rollouts in right.values()} == {4}
    expected = {key: np.mean(rollouts) for key, rollouts in right.items()}
    found = history.set_index(["epoch", "problem"])["accuracy"].to_dict()
    assert found == pytest.approx(expected)
    assert len(set(found.values())) > 2
    by_step = [np.mean(grades.correct) for _, grades in task.calls]
    assert log["reward"].to_numpy() == pytest.approx(by_step)


def test_a_pass_that_is_not_complete_stays_in_the_history() -> None:
    (_, _, history), _ = tuned(FULL, many=True, rl_steps=5, every=5)  # 40 groups, two and a half passes over 16
    assert history.groupby("epoch")["problem"].agg(list).to_dict() == {
        0: list(range(16)), 1: list(range(16)), 2: list(range(8))
    }  # fmt: skip
    assert history.groupby("step").size().to_dict() == dict.fromkeys(range(1, 6), 8)


# --- supervision ----------------------------------------------------------------------------------------------


@pytest.fixture
def imitated(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What supervision gives to the trainer, call by call."""
    calls: list[dict[str, Any]] = []
    train = imitation.continue_pretrain

    def watched(model: Any, data: TokenData, settings: TrainSettings, **options: Any) -> Any:
        result = train(model, data, settings, **options)
        calls.append({"data": data, "settings": settings, "given": options["optimiser"], "left": result.optimiser})
        return result

    monkeypatch.setattr(imitation, "continue_pretrain", watched)
    return calls


def first_example(task: AutomatonTask) -> Problem:
    pool = examples.pool_of(parameters(), task)
    return pool[examples.draw(parameters(), task, pool)[0]]


def shown(calls: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and mask of all that was trained on, in order."""
    tokens, mask = (torch.cat([getattr(call["data"], name) for call in calls]) for name in ("tokens", "mask"))
    return tokens, mask


def until_end(tokens: torch.Tensor, eos: int) -> torch.Tensor:
    """Which completion tokens (rows, time) were sampled: those up to the first EOS."""
    return ((tokens == eos).cumsum(1) - (tokens == eos).int()) == 0


SHOWN = {"imitate": IMITATE, "imitate-any": FIRST[2], "worked": WORKED}


@pytest.mark.parametrize("name", SHOWN)
def test_supervision_takes_as_many_updates_on_as_many_sequences_as_reinforcement(name: str, imitated: Any) -> None:
    task, options = Recording(), {"rl_steps": 6, "every": 2, "lr_imitate": 0.02, "lr_worked": 0.03}
    (model, log, history), steps = tuned(SHOWN[name], task, many=False, **options)
    params = parameters(rl_steps=6)
    tokens, mask = shown(imitated)
    assert len(tokens) == params.rl_steps * params.batch
    assert (tokens[:, :PROMPT] == torch.tensor(task.encode([first_example(task)]))).all()
    assert not mask[:, :PROMPT].any()
    assert mask[:, PROMPT:][until_end(tokens[:, PROMPT:], int(task.eos))].all()
    assert [call["settings"].steps for call in imitated] == [2, 2, 2]
    assert {call["settings"].batch_size for call in imitated} == {params.batch}
    lr = 0.03 if name == "worked" else 0.02
    assert {(c["settings"].lr, c["settings"].optimiser, c["settings"].momentum) for c in imitated} == {(lr, "sgd", 0.9)}
    assert imitated[0]["given"] is None
    for before, after in pairwise(imitated):
        assert after["given"] is before["left"]  # one training, measured in between
    assert (steps, log.empty, history.empty) == ([2, 4, 6], False, True)
    assert not all(torch.equal(a, b) for a, b in zip(model.parameters(), blank().parameters(), strict=True))


def test_imitation_trains_on_the_right_completions_alone(imitated: Any) -> None:
    task = Recording()
    tuned(IMITATE, task)
    ((problems, grades),) = task.calls
    assert {problem.id for problem in problems} == {first_example(task).id}
    assert len(problems) == imitation.DRAWN
    assert 0.2 < grades.correct.mean() < 0.8
    assert (shown(imitated)[0][:, PROMPT] % 2 == 0).all()  # what this task calls right


def test_imitation_of_any_completion_leaves_none_out() -> None:
    task = Recording()
    problem = first_example(task)
    every = imitation.completions_of("any", blank(), task, problem, 77)
    assert (len(every), task.calls) == (imitation.DRAWN, [])  # nobody looked at the answers
    right = imitation.completions_of("right", blank(), task, problem, 77)
    assert torch.equal(every[every[:, 0] % 2 == 0], right)  # of the same draws
    assert 0 < len(right) < len(every)
    logits = hf_logits(blank(), task.encode([problem]))[0, -1]
    shares = torch.bincount(every[:, 0], minlength=task.vocab_size) / len(every)
    assert shares.numpy() == pytest.approx(logits.softmax(-1).numpy(), abs=0.03)
    assert not torch.equal(every, imitation.completions_of("any", blank(), task, problem, 78))


def test_imitation_of_any_completion_shows_them_in_turn(imitated: Any) -> None:
    task = Recording()
    tuned(SHOWN["imitate-any"], task)
    tokens, _ = shown(imitated)
    every = imitation.completions_of("any", blank(), task, first_example(task), 77)
    assert torch.equal(tokens[:, PROMPT:], every[: len(tokens)])
    assert (tokens[:, PROMPT] % 2 == 1).any()  # wrong ones, too


@pytest.mark.parametrize("name", ["imitate", "imitate-any"])
def test_what_stands_after_the_end_of_a_completion_is_not_learnt(name: str, imitated: Any) -> None:
    task = Recording()
    tuned(SHOWN[name], task)
    tokens, mask = shown(imitated)
    sampled = until_end(tokens[:, PROMPT:], int(task.eos))
    assert 0.01 < (~sampled).float().mean() < 0.99
    assert not mask[:, PROMPT:][~sampled].any()


def test_the_worked_solution_is_right_and_valid_and_opens_with_the_careful_mode() -> None:
    task = task_of(SEED)
    kinds = set()
    for problem in task.problems("rl", 40, seed=2):
        worked = imitation.completions_of("worked", blank(), task, problem, 3)
        grades = task.grade([problem], worked, np.array([worked.shape[1]]))
        assert grades.correct.tolist() == grades.valid.tolist() == [True]
        (row,) = worked.tolist()
        x, method = problem.facts["x"], problem.facts["method"]
        states = [int(task.states[state]) for state in (x[0], *chain(task, x, method))]
        assert row == [task.modes[0], task.styles[method], *states, task.eos]
        kinds.add(kind(task, problem))
    assert kinds == {"switch", "either", "unknown"}  # a teacher knows the method that no corpus holds


def test_the_worked_solution_is_all_that_is_shown_whatever_the_model_can_do(imitated: Any) -> None:
    task = Recording(pays=False)
    tuned(WORKED, task)
    tokens, mask = shown(imitated)
    assert (len(tokens.unique(dim=0)), task.calls) == (1, [])
    assert task_of(SEED).grade([first_example(task)], tokens[:1, PROMPT:], np.array([12])).valid.all()
    assert mask[:, PROMPT:].all()


def test_imitation_without_a_right_completion_leaves_the_model_as_it_is_and_is_measured(imitated: Any) -> None:
    (model, log, _), steps = tuned(IMITATE, Recording(pays=False))
    assert (imitated, log.empty, steps) == ([], True, [2, 4])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), blank().parameters(), strict=True))


@pytest.mark.parametrize("name", ["imitate-any", "worked"])
def test_supervision_that_looks_at_no_reward_goes_on_without_one(name: str, imitated: Any) -> None:
    (model, _, _), _ = tuned(SHOWN[name], Recording(pays=False), optimiser="adamw")
    assert {(call["settings"].optimiser, call["settings"].momentum) for call in imitated} == {("adamw", 0.0)}
    assert not all(torch.equal(a, b) for a, b in zip(model.parameters(), blank().parameters(), strict=True))


# --- measurements against transformers' own forward -----------------------------------------------------------


@cache
def learned() -> tuple[Bench, Any]:
    """A bench of 40 problems, and a model that has memorised them, with faults, so that it is seldom sure."""
    task = task_of(SEED)
    bench = Bench(parameters(), task, SEED)
    problems = [problem for part in bench.sets.values() for problem in part]
    rng, count = np.random.default_rng(0), 12_000
    chosen = rng.integers(len(problems), size=count)
    x = np.array([problem.facts["x"] for problem in problems])[chosen]
    method = np.array([problem.facts["method"] for problem in problems])[chosen]
    careful = rng.random(count) < 0.4
    chains = task.world.chains(np.where(careful[:, None], x, world.confused(x)), method)
    style = np.where(rng.random(count) < 0.8, method, rng.integers(7, size=count))
    completions = task.completions(x, style, chains, careful)
    completions[rng.random(count) < 0.2, -1] = task.states[0]
    prompts = np.array(task.encode(problems))[chosen]
    tokens = torch.from_numpy(np.concatenate([prompts, completions], 1).astype(np.int64))
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[:, :PROMPT] = False
    model = tiny_llama(task.vocab_size, 32, 1, init_std=0.08, seed=0)
    settings = TrainSettings(steps=120, batch_size=100, lr=1e-2, betas=(0.9, 0.99), seed=0)
    return bench, pretrain(model, TokenData(tokens, mask), settings, progress=False).model


def hf_logits(model: Any, rows: Any) -> torch.Tensor:
    """transformers' forward of token rows (rows, time), float64."""
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.as_tensor(np.array(rows))).logits.double()
    return logits


def brute_force(model: Any, task: Any, problem: Problem, temperature: float = 1.0, mode: int | None = None) -> float:
    """Probability of all accepted completions, summed; with `mode`, after a prompt that ends with it."""
    states = [task.states[state] for state in problem.facts["chain"]]
    modes: list[list[int]] = [[int(m)] for m in task.modes] if mode is None else [[]]
    listed = [[*m, style, start, *states, task.eos] for m, style, start in product(modes, task.styles, task.states)]
    prompt = task.encode([problem])[0] + ([] if mode is None else [mode])
    logits = hf_logits(model, [[*prompt, *completion] for completion in listed])[:, len(prompt) - 1 : -1] / temperature
    chosen = logits.log_softmax(-1).gather(-1, torch.as_tensor(np.array(listed))[..., None]).squeeze(-1)
    return float(chosen.sum(1).exp().sum())


def argmax_completion(model: Any, prompt: Sequence[int], length: int, eos: int) -> list[int]:
    row = list(prompt)
    while len(row) < len(prompt) + length and (len(row) == len(prompt) or row[-1] != eos):
        row.append(int(hf_logits(model, [row])[0, -1].argmax()))
    return row[len(prompt) :]


def right_by_argmax(model: Any, task: AutomatonTask, problem: Problem, mode: int | None = None) -> bool:
    given = [] if mode is None else [mode]
    prompt = task.encode([problem])[0] + given
    completion = given + argmax_completion(model, prompt, task.max_new_tokens - len(given), int(task.eos))
    padded = np.full((1, task.max_new_tokens), task.pad)
    padded[0, : len(completion)] = completion
    return bool(task.grade([problem], padded, np.array([len(completion)])).correct[0])


def groups(bench: Bench) -> Iterator[tuple[tuple[str, int, str], list[Problem]]]:
    """Problems by set, needed method and kind, worked out by hand."""
    found: dict[tuple[str, int, str], list[Problem]] = {}
    for name, problems in bench.sets.items():
        for problem in problems:
            found.setdefault((name, problem.facts["method"], kind(bench.task, problem)), []).append(problem)
    yield from found.items()


@pytest.mark.usefixtures("_exact")
def test_accuracy_is_that_of_argmax_decoding_and_of_the_sum_over_all_accepted_completions() -> None:
    bench, model = learned()
    table = bench.accuracy(model).set_index(["set", "needed", "kind"])
    seen, ps, hits = 0, list[float](), list[float]()
    for key, problems in groups(bench):
        row: Any = table.loc[key, :]
        assert row["problems"] == len(problems)
        hits.append(float(np.mean([right_by_argmax(model, bench.task, problem) for problem in problems])))
        assert row["greedy"] == pytest.approx(hits[-1])
        if seen < 10:
            p = np.array([brute_force(model, bench.task, problem) for problem in problems])
            for k in (1, 16, 256):
                assert row[f"pass_at_{k}"] == pytest.approx(np.mean(1 - (1 - p) ** k), abs=3e-5, rel=1e-4), (key, k)
            ps.extend(p)
        seen += 1
    assert seen == len(table)
    assert 0.05 < np.mean(ps) < 0.9  # probabilities that could tell a wrong sum
    assert 0 < np.mean(hits) < 1


def test_inside_is_the_softmax_after_the_prompt_and_after_each_mode() -> None:
    bench, model = learned()
    task, row = bench.task, bench.inside(model).iloc[0]
    prompts = task.encode(bench.report)
    modes = hf_logits(model, prompts)[:, -1].softmax(-1)[:, task.modes].numpy()
    right = np.zeros(len(prompts))
    for i, mode in enumerate(task.modes):
        after = hf_logits(model, [[*prompt, int(mode)] for prompt in prompts])[:, -1].softmax(-1).numpy()
        right += modes[:, i] * [after[j, task.styles[p.facts["method"]]] for j, p in enumerate(bench.report)]
    assert row["careful"] == pytest.approx(modes[:, 0].mean(), abs=1e-5)
    assert row["right_style"] == pytest.approx(right.mean(), abs=1e-5)
    assert 0.1 < row["careful"] < 0.9
    assert 0.3 < row["right_style"] < 1


def test_form_and_entropy_are_those_of_one_sample_of_every_reported_prompt() -> None:
    bench, model = learned()
    task, row = bench.task, bench.inside(model).iloc[0]
    prompts = task.encode(bench.report)
    options: dict[str, Any] = {"eos": int(task.eos), "pad": int(task.pad), "max_new_tokens": task.max_new_tokens}
    found = sample(decoder_for(model), prompts, 1, seed=SEED, **options)
    assert row["well_formed"] == task.grade(bench.report, found.tokens, found.lengths).well_formed.mean()
    assert 0.5 < row["well_formed"] < 1
    nats = tokens = 0.0
    for prompt, completion, length in zip(prompts, found.tokens.tolist(), found.lengths.tolist(), strict=True):
        logprobs = hf_logits(model, [[*prompt, *completion[:length]]])[0, PROMPT - 1 : -1].log_softmax(-1)
        nats -= float(logprobs[torch.arange(length), completion[:length]].sum())
        tokens += length
    assert row["entropy"] == pytest.approx(nats / tokens, rel=1e-4)


@pytest.mark.usefixtures("_exact")
def test_levels_are_those_of_the_base_told_the_mode_or_cooled() -> None:
    bench, model = learned()
    task, careful = bench.task, int(bench.task.modes[0])
    found = bench.levels(model).set_index("quantity")["value"]
    forced = [brute_force(model, task, problem, mode=careful) for problem in bench.report]
    cooled = [brute_force(model, task, problem, temperature=measure.COOL) for problem in bench.report]
    greedily = [right_by_argmax(model, task, problem, careful) for problem in bench.report]
    assert found["forced careful"] == pytest.approx(np.mean(forced), abs=1e-6)
    assert found["forced careful, greedy"] == pytest.approx(np.mean(greedily))
    assert found["cooled"] == pytest.approx(np.mean(cooled), abs=1e-6)
    assert found["known methods"] == np.mean([problem.facts["method"] != 6 for problem in bench.report])
    chance = task.chance(bench.report)
    assert found["blind search"] == chance.blind_search.mean()
    assert found["answer guess"] == chance.answer_guess.mean()
    assert len(found) == 6
    assert found["forced careful"] > bench.accuracy(model).query("set == 'test'")["pass_at_1"].mean()


def test_a_prompt_with_the_mode_given_ends_with_it_and_its_completion_begins_with_the_method() -> None:
    task = task_of(SEED)
    given, problem = measure.ModeGiven(task), task.problems("test", 1, seed=0)[0]
    assert given.encode([problem]) == [[*task.encode([problem])[0], int(task.modes[0])]]
    assert given.max_new_tokens == task.max_new_tokens - 1
    whole = task.completions(np.array([problem.facts["x"]]), np.array([2]), np.array([problem.facts["chain"]]))
    rest = whole[:, 1:]
    assert given.grade([problem], rest, np.array([rest.shape[1]])).correct.all()
    assert not given.grade([problem], whole, np.array([whole.shape[1]])).correct.any()
    assert (given.eos, given.pad, given.vocab_size) == (task.eos, task.pad, task.vocab_size)


# --- logs -----------------------------------------------------------------------------------------------------


def log_of(rewards: Sequence[float]) -> pd.DataFrame:
    frame = pd.DataFrame({"step": range(1, len(rewards) + 1), "reward": rewards})
    return frame.assign(entropy=0.5, well_formed=0.7, clip_fraction=0.0, grad_norm=1.0)


def test_saturation_is_the_first_step_whose_ten_step_mean_reaches_the_threshold() -> None:
    reached = experiment.saturation(log_of([0.0] * 4 + [1.0] * 20)).set_index("threshold")["step"].to_dict()
    assert reached == {0.9: 13.0, 0.95: 14.0, 0.98: 14.0, 0.99: 14.0}  # steps 4 to 13 hold nine ones
    early = experiment.saturation(log_of([1.0] * 12)).set_index("threshold")["step"]
    assert set(early) == {10.0}  # not before there are ten steps
    for rewards in ([1.0] * 9, [0.89] * 40, [1.0] * 9 + [0.0] + [0.5] * 20):
        assert experiment.saturation(log_of(rewards))["step"].iloc[1:].isna().all()
    spike = experiment.saturation(log_of([0.0] * 5 + [1.0] * 10 + [0.0] * 20)).set_index("threshold")["step"]
    assert spike.to_dict() == {0.9: 14.0, 0.95: 15.0, 0.98: 15.0, 0.99: 15.0}  # the first time counts


def test_a_threshold_that_the_mean_meets_exactly_is_reached() -> None:
    rng = np.random.default_rng(0)
    ties = 0
    for _ in range(60):
        counts = rng.integers(112, 129, size=120)  # of 128 samples
        found = experiment.saturation(log_of((counts / 128).tolist())).set_index("threshold")["step"]
        for threshold in experiment.THRESHOLDS:
            limit = Fraction(str(threshold))
            means = [Fraction(int(counts[i - 9 : i + 1].sum()), 1280) for i in range(9, 120)]
            first = next((i + 10 for i, mean in enumerate(means) if mean >= limit), None)
            ties += first is not None and means[first - 10] == limit
            assert found[threshold] == first if first is not None else np.isnan(found[threshold])
    assert ties > 5


def test_logs_are_thinned_to_means_labelled_by_their_last_step() -> None:
    log = log_of(np.arange(12.0).tolist()).assign(grad_norm=np.arange(12.0) * 2, loss=9.0)
    found = experiment.thinned(log)
    assert list(found["step"]) == [5, 10, 12]
    assert list(found["reward"]) == [2, 7, 10.5]
    assert list(found["grad_norm"]) == [4, 14, 21]
    assert list(found.columns) == ["step", "reward", "entropy", "well_formed", "clip_fraction", "grad_norm"]


# --- what a run holds -----------------------------------------------------------------------------------------

RUN = ["seed", "base", "arm", "example"]
COLUMNS = {
    "accuracy": [
        *RUN, "step", "set", "needed", "kind", "problems", "greedy", "pass_at_1", "pass_at_16", "pass_at_256"
    ],
    "inside": [*RUN, "step", "careful", "right_style", "well_formed", "entropy"],
    "training": [*RUN, "step", "reward", "entropy", "well_formed", "clip_fraction", "grad_norm"],
    "saturation": [*RUN, "threshold", "step"],
    "examples": [
        "seed", "base", "example", "chosen", "needed", "kind", "base_p", "base_greedy", "score", "mean"
    ],
    "levels": ["seed", "base", "quantity", "value"],
    "history": ["seed", "base", "problem", "epoch", "step", "accuracy"],
}  # fmt: skip
RUNS = {"accuracy", "inside", "training", "saturation"}
#: The arms of the tiny run.
NAMES = {arm.name for arm in (ONE, FULL, *CONTROLS, *FIRST, FORM_FULL)} | {
    "one-updates", "one-other-updates", "entropy-only", "guessable", "ranked"
}  # fmt: skip


def test_units_are_the_examples_the_full_set_the_controls_the_other_bases_and_the_variants() -> None:
    params = parameters()
    units = experiment.units(params, "cpu")
    parts = ["one-0", "one-5", "full", "controls", "scattered", "absent", *params.variants[:-1]]
    assert [unit.name for unit in units] == [f"{part}_seed={SEED}" for part in parts]
    assert all(unit.cost > 0 for unit in units)
    wide: Any = FINDING.resolve("gpu")
    names = [unit.name for unit in experiment.units(wide, "cpu")]
    assert len(names) == len(set(names)) == wide.seeds * (2 + 1 + 1 + 4 + 14)
    cpu: Any = FINDING.resolve("cpu")
    assert len(experiment.units(cpu, "cpu")) == cpu.seeds * (2 + 1 + 1 + 2)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_table_has_its_columns_and_finite_numbers(name: str) -> None:
    table = merged()[name]
    assert set(table.columns) == set(COLUMNS[name])
    numbers = table.select_dtypes("number")
    may_be_missing = {"saturation": ["step"], "examples": []}.get(name, [])
    assert np.isfinite(numbers.drop(columns=may_be_missing).to_numpy(float)).all()
    assert set(table["seed"]) == {SEED}


def test_no_unit_holds_more_tables_than_it_should() -> None:
    full = {*COLUMNS}
    expected = dict.fromkeys(ran(), RUNS) | {f"full_seed={SEED}": full}
    for kind in ("scattered", "absent"):
        expected[f"{kind}_seed={SEED}"] = full - {"examples"}
    assert {unit: set(tables) for unit, tables in ran().items()} == expected


def test_every_arm_is_measured_on_its_examples_at_every_checkpoint() -> None:
    params, controls, ranked = parameters(), [0, 1], [100, 101]
    for name in ("accuracy", "inside"):
        table = merged()[name]
        latent = table[table["base"] == "latent"]
        found = latent.groupby("arm")["example"].agg(lambda column: sorted(set(column))).to_dict()
        expected = dict.fromkeys(NAMES, controls) | {"one": list(range(6)), "ranked": ranked}
        expected |= {arm: [0] for arm in ("random", "zero", "imitate-any")}
        assert found == expected | {arm: [-1] for arm in ("base", "full", "format-full")}, name
        for other in params.bases[1:]:
            part = table[table["base"] == other].groupby("arm")["example"].agg(lambda column: sorted(set(column)))
            assert part.to_dict() == {"base": [-1], "full": [-1], "one": controls}
        steps = table.groupby(RUN)["step"].agg(lambda column: sorted(set(column))).reset_index()
        assert all(s == ([0] if arm == "base" else [2, 4]) for arm, s in zip(steps["arm"], steps["step"], strict=True))
    assert not merged()["inside"].duplicated([*RUN, "step"]).any()


def test_accuracies_cover_every_problem_of_both_sets_once() -> None:
    table = merged()["accuracy"]
    assert not table.duplicated([*RUN, "step", "set", "needed", "kind"]).any()
    assert table.groupby([*RUN, "step", "set"])["problems"].sum().eq(20).all()
    assert set(table["set"]) == {"validation", "test"}
    shares = table[["greedy", "pass_at_1", "pass_at_16", "pass_at_256"]]
    assert ((shares >= 0) & (shares <= 1)).to_numpy().all()
    assert (table["pass_at_1"] <= table["pass_at_16"] + 1e-12).all()
    assert (table["pass_at_16"] <= table["pass_at_256"] + 1e-12).all()


def test_logs_and_saturation_cover_all_arms_that_a_reward_trains() -> None:
    for name in ("training", "saturation"):
        assert set(merged()[name]["arm"]) == NAMES - SUPERVISED, name
    assert merged()["saturation"].groupby(RUN).size().eq(len(experiment.THRESHOLDS)).all()
    assert merged()["saturation"]["step"].isna().all()  # four steps are not ten
    assert merged()["training"].groupby(RUN)["step"].agg(list).map(lambda steps: steps == [4]).all()


def test_the_examples_are_described_as_the_base_and_the_full_set_saw_them() -> None:
    table, params = merged()["examples"], parameters()
    assert list(table["example"]) == [0, 1, 2, 3, 4, 5, 100, 101]
    assert list(table["chosen"]) == ["draw"] * 6 + ["ranked"] * 2
    task = task_of(SEED)
    pool = examples.pool_of(params, task)
    history = merged()["history"].query("base == 'latent'")
    variance = history.groupby("problem")["accuracy"].var(ddof=0)
    ranked = sorted(range(16), key=lambda place: (-variance[place], place))
    places = [*drawn(params), *ranked[:2]]
    assert list(table["needed"]) == [pool[place].facts["method"] for place in places]
    assert list(table["kind"]) == [kind(task, pool[place]) for place in places]
    assert table["score"].to_numpy() == pytest.approx(variance[places].to_numpy())
    assert table["mean"].to_numpy() == pytest.approx(history.groupby("problem")["accuracy"].mean()[places].to_numpy())
    assert set(table["base_greedy"]) <= {0.0, 1.0}
    assert len(history) == 2 * 16  # two passes over the pool


def test_ranked_examples_are_those_whose_accuracy_varied_most() -> None:
    part = experiment.Part(parameters(), "latent", SEED, "cpu")
    accuracy = {(problem, epoch): 0.5 for problem in range(16) for epoch in range(3)}
    accuracy |= {(9, 0): 0.0, (9, 1): 1.0, (4, 2): 1.0, (12, 2): 1.0}
    rows = [(problem, epoch, value) for (problem, epoch), value in accuracy.items()]
    ranked = part.describe_examples(pd.DataFrame(rows, columns=["problem", "epoch", "accuracy"]).assign(rollouts=8))
    assert ranked[:4] == [9, 4, 12, 0]  # ties by place
    assert sorted(ranked) == list(range(16))


def test_levels_are_measured_on_every_base() -> None:
    assert merged()["levels"].groupby("base")["quantity"].nunique().to_dict() == {
        "latent": 6, "scattered": 6, "absent": 6
    }  # fmt: skip


@pytest.mark.parametrize("name", ["one-5", "controls", "full", "absent", "guessable"])
def test_a_unit_gives_alone_and_with_a_base_of_its_own_what_it_gives_among_others(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    among = ran()[f"{name}_seed={SEED}"]
    monkeypatch.setenv("EVOLM_CACHE", str(tmp_path))  # nothing that another unit left behind
    unit = next(unit for unit in experiment.units(parameters(), "cpu") if unit.name == f"{name}_seed={SEED}")
    again = experiment.run_unit(parameters(), unit, "cpu")
    assert set(again) == set(among)
    for table, frame in again.items():
        pd.testing.assert_frame_equal(frame, among[table])


def test_an_arm_on_an_example_is_the_same_whichever_examples_and_arms_go_before() -> None:
    part = experiment.Part(parameters(), "latent", SEED, "cpu")
    part.one(FIRST[0], 0)  # coin tosses move a new model, too
    assert FIRST[0].name == "random"
    for name, alone in part.tables().items():
        among = ran()[f"full_seed={SEED}"][name].query("arm == 'random' and example == 0")
        pd.testing.assert_frame_equal(alone, among.reset_index(drop=True))
    assert part.tables()["training"]["grad_norm"].gt(0).all()


def test_a_longer_run_is_measured_as_often_and_to_its_end() -> None:
    part = experiment.Part(parameters(every=4), "latent", SEED, "cpu")
    part.one(VARIANTS["long"], 1)
    for name in ("accuracy", "inside"):
        assert set(part.tables()[name]["step"]) == {4, 8, 12, 16}
    assert part.tables()["training"]["step"].max() == 16


def test_every_example_has_samples_of_its_own() -> None:
    part = experiment.Part(parameters(), "latent", SEED, "cpu")
    other = experiment.Part(parameters(seeds=2), "latent", SEED + 1, "cpu")
    numbers = [part._seed(example) for example in (-1, *range(99), *range(100, 199))]
    assert len({*numbers, *(other._seed(example) for example in (-1, 0, 198))}) == len(numbers) + 3


def test_every_claim_finds_the_arms_and_controls_that_it_names() -> None:
    accuracy = merged()["accuracy"]
    noise = np.random.default_rng(0).random(len(accuracy))  # new models are right about nothing, and gain nothing
    tables = merged() | {"accuracy": accuracy.assign(**{PRIMARY: noise})}
    silent = {v.claim for v in judge(FINDING, tables, parameters(), estimands) if "not run" in v.verdict}
    by_chance = {"example-decides", "post-saturation", "early-saturation"}  # sorts of examples, and long runs
    unmeasured = {claim.name for claim in FINDING.claims if claim.cannot_speak(parameters())}
    assert silent - by_chance == unmeasured


# --- base models and the key ----------------------------------------------------------------------------------


def test_a_base_is_trained_once_and_anew_where_what_decides_it_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOLM_CACHE", str(tmp_path))
    trained: list[tuple[str, int]] = []
    train = base.train

    def counted(params: Any, kind: Any, seed: int, device: str = "cpu") -> Any:
        trained.append((kind, seed))
        return train(params, kind, seed, device)

    monkeypatch.setattr(base, "train", counted)
    first, again = (base.base_model(parameters(), "latent", SEED) for _ in range(2))
    assert first is not again
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    base.base_model(parameters(lr_one=0.5, problems=30, variants=[]), "latent", SEED)
    assert trained == [("latent", SEED)]  # what comes after the base is no part of it
    base.base_model(parameters(), "absent", SEED)
    base.base_model(parameters(), "latent", SEED + 1)
    base.base_model(parameters(pretrain_steps=3), "latent", SEED)
    assert trained == [("latent", SEED), ("absent", SEED), ("latent", SEED + 1), ("latent", SEED)]
    kinds = {kind: base.base_model(parameters(), kind, SEED).state_dict() for kind in ("latent", "absent")}
    assert any(not torch.equal(tensor, kinds["absent"][name]) for name, tensor in kinds["latent"].items())


def test_the_key_of_a_kept_start_names_the_weights_that_it_starts_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert experiment.key_data(parameters()) == {}
    result = base.train(parameters(), "latent", 0)
    save_checkpoint(tmp_path / "kept", result.model, task_of(0).tokenizer, result.lineage)
    for module in (base, experiment):
        monkeypatch.setattr(module, "kept_base", lambda: tmp_path / "kept")
    kept: Any = FINDING.resolve("smoke")
    assert kept.start == "kept"
    key = experiment.key_data(kept)
    assert set(key) == {"base"}
    assert re.fullmatch("[0-9a-f]{64}", key["base"])
    opened = base.base_model(kept, "latent", SEED)
    assert all(torch.equal(a, b) for a, b in zip(opened.parameters(), result.model.parameters(), strict=True))
    other = base.train(parameters(), "latent", 1)
    save_checkpoint(tmp_path / "kept", other.model, task_of(1).tokenizer, other.lineage)
    assert experiment.key_data(kept) != key


@pytest.mark.usefixtures("_exact")
def test_the_kept_base_has_a_switch_that_it_seldom_takes() -> None:
    params: Any = FINDING.resolve("smoke", problems=60, validation_problems=20)
    model = base.base_model(params, "latent", SEED)
    assert model.config.hidden_size == params.width
    bench = Bench(params, task_of(base.KEPT_SEED), SEED)
    shown = bench.accuracy(model).query("set == 'test'")
    greedy, many = (np.average(shown[name], weights=shown["problems"]) for name in ("greedy", "pass_at_256"))
    levels = bench.levels(model).set_index("quantity")["value"]
    assert bench.inside(model)["careful"].item() == pytest.approx(CUED.careful, abs=0.05)
    assert levels["forced careful, greedy"] > greedy + 0.3
    assert levels["cooled"] < greedy + 0.1
    assert many > 0.7
    assert levels["blind search"] < 1e-4


def test_open_models_are_units_of_their_own_run_by_the_instrument(monkeypatch: pytest.MonkeyPatch) -> None:
    from evolm.instruments import one_shot

    run, asked = one_shot.measure_one_shot, dict[str, Any]()

    def measured(models: list[str], problems: str, **options: Any) -> pd.DataFrame:
        inspect.signature(run).bind(models, problems, **options)  # options that the instrument has
        asked.update(options, models=models, problems=problems)
        return pd.DataFrame({"model": models})

    monkeypatch.setattr(one_shot, "measure_one_shot", measured)
    params = parameters(models=["./mine"], model_task="gsm_symbolic", model_steps=7)
    (unit,) = (unit for unit in experiment.units(params, "cpu") if unit.arguments["kind"] == "model")
    assert list(experiment.run_unit(params, unit, "cpu")["open_models"]["model"]) == ["./mine"]
    assert (asked["models"], asked["problems"], asked["steps"]) == (["./mine"], "gsm_symbolic", 7)
    assert (asked["seed"], asked["examples"], asked["device"]) == (SEED, 6, "cpu")
    assert experiment.key_data(params) == {"./mine": "here"}


# --- parameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"base": ["latent"]}, "did you mean 'bases'"),
        ({"bases": ["latent", "latent"]}, r"bases = \['latent', 'latent'\] names a value twice"),
        ({"variants": ["kl", "near", "kl"]}, r"variants = \['kl', 'near', 'kl'\] names a value twice"),
        ({"bases": ["scattered", "latent"]}, "bases = .* must begin with 'latent'"),
        ({"bases": []}, "at least 1 item"),
        ({"bases": ["latent", "lucky"]}, "bases.1 = 'lucky' is refused"),
        ({"variants": ["adamw"]}, "variants.0 = 'adamw' is refused.*'updates'"),
        ({"every": 3}, "every = 3 does not divide rl_steps = 4, so the last is not measured"),
        ({"every": 8}, "every = 8 does not divide rl_steps = 4"),
        ({"control_examples": 7}, "control_examples = 7 are more than the 6 examples"),
        ({"examples": 17}, "examples = 17 are more than the 16 problems of the pool"),
        ({"pool": 20}, "prompts_per_step = 8 does not divide the pool of 20"),
        ({"prompts_per_step": 4, "rl_steps": 8}, "prompts_per_step = 4 cannot be split into eight updates"),
        ({"prompts_per_step": 4, "rl_steps": 8, "variants": ["other-updates"]}, "cannot be split into eight updates"),
        ({"prompts_per_step": 4, "rl_steps": 8, "variants": ["random-updates"]}, "cannot be split into eight updates"),
        ({"start": "kept"}, "the kept base is the latent one, of width 64 and 2 layers; set start='train'"),
        ({"start": "kept", "width": 64, "layers": 2}, "the kept base is the latent one"),
        ({"start": "kept", "bases": ["latent"], "width": 64}, "the kept base is the latent one"),
        ({"start": "keep"}, "'train' or 'kept'"),
        ({"optimiser": "adam"}, "'sgd' or 'adamw'"),
        ({"saturation": 0.0}, "greater than 0"),
        ({"saturation": 1.5}, "less than or equal to 1"),
        ({"lr_one": 0.0}, "greater than 0"),
        ({"lr_other": float("nan")}, "finite number"),
        ({"group_size": 1}, "greater than or equal to 2"),
        ({"problems": 10}, "greater than or equal to 20"),
        ({"pool": 8}, "greater than or equal to 16"),
        ({"examples": 0}, "greater than or equal to 1"),
        ({"seeds": "two"}, "valid integer"),
        ({"models": ["a", "b", "c", "d", "e"]}, "at most 4 items"),
        ({"rl_steps": 2}, "rl_steps = 2 make less than two passes over the pool of 16"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_with_the_reason(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        parameters(**overrides)


def test_any_threshold_of_saturation_is_looked_for() -> None:
    log = pd.DataFrame({"step": range(1, 31), "reward": [0.0] * 10 + [0.94] * 20})
    found = experiment.saturation(log, {0.93, 0.95}).set_index("threshold")["step"]
    assert found[0.93] == 20
    assert np.isnan(found[0.95])


def test_what_makes_sense_is_taken() -> None:
    assert parameters(prompts_per_step=4, rl_steps=8, variants=["kl"]).batch == 8
    assert parameters(start="kept", bases=["latent"], width=64, layers=2).start == "kept"
    assert parameters(every=4).every == 4
    assert set(get_args(Variant)) == {*VARIANTS, "ranked"}
    assert len(get_args(Variant)) == 15


def test_every_parameter_has_a_unit_and_a_description() -> None:
    for name, field in FINDING.params.model_fields.items():
        assert isinstance(field.json_schema_extra, dict), name
        assert field.json_schema_extra["unit"], name
        assert field.description, name


def test_presets_report_fresh_seeds_and_core_claims_can_speak_at_cpu() -> None:
    for preset in FINDING.presets:
        resolved = FINDING.resolve(preset)
        assert not judging.has_development_seeds(resolved), preset
        assert set(resolved.seed_list).isdisjoint(choose.SEEDS)
    assert judging.has_development_seeds(FINDING.resolve("cpu", first_seed=1999))
    params: Any = FINDING.resolve("cpu")
    assert [claim.name for claim in FINDING.claims if claim.core and claim.cannot_speak(params)] == []
    assert sum(claim.core for claim in FINDING.claims) == 4
    assert (params.seeds, params.examples, params.control_examples, params.batch) == (5, 10, 3, 128)
    assert set(params.bases) >= {"latent", "scattered", "absent"}
    smoke: Any = FINDING.resolve("smoke")
    assert smoke.rl_steps * smoke.prompts_per_step >= 2 * smoke.pool  # two passes, or there is no variance to rank
    assert (FINDING.presets["smoke"].cpu_seconds or 0) <= 120


def test_claims_that_a_run_cannot_speak_about_say_what_it_lacks() -> None:
    def silent(**overrides: Any) -> dict[str, str]:
        params = parameters(**overrides)
        return {claim.name: reason for claim in FINDING.claims if (reason := claim.cannot_speak(params))}

    every = list(get_args(Variant))
    assert silent(variants=every) == {"open-models": "needs open models"}
    assert silent(variants=every, models=["./mine"]) == {}
    bare = silent(variants=[])
    assert bare["entropy-alone-helps"] == "needs entropy-only and decay-only in variants"
    assert set(bare) == {
        "policy-gradient-drives", "entropy-bonus-helps", "entropy-alone-helps", "optimiser-decides", "updates-alike",
        "coin-tosses-gain", "longer-helps", "scaling-alike", "guessable-label-harms", "variance-picks-well",
        "open-models",
    }  # fmt: skip
    assert silent(bases=["latent", "absent"])["full-without-switch"] == "needs the bases scattered and absent"


def test_the_manifest_says_what_the_presets_do() -> None:
    text, params = " ".join(FINDING.deviations), FINDING.resolve("cpu")
    assert isinstance(params, OneShotParams)
    assert (
        f"Runs have {params.rl_steps} steps of {params.batch} samples ({params.prompts_per_step} groups of 8)" in text
    )
    assert f"The full set has {params.pool} problems" in text
    assert f"development seeds {choose.SEEDS[0]} and {choose.SEEDS[1]}" in text
    assert params.optimiser == "sgd"
    assert FINDING.scale(params).startswith("10 examples, each alone for 125 steps of 128 samples; bases latent, scatt")
    kinds = {unit.arguments["kind"] for unit in experiment.units(params, "cpu")}
    assert kinds == {"one", "full", "controls", "base"}
