"""The automaton-routing task: its grader, its chance levels, its corpora and its splits."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.automaton_world import AutomatonSettings
from evolm.lm.tasks.base import (
    SHARES,
    SPLITS,
    NotEnoughProblems,
    Task,
    integer_keys,
    split_indices,
    split_of,
    split_of_id,
)
from evolm.lm.tasks.corpus import LATENT_MODE, RARE_METHOD, CorpusSettings, corpus, teacher_corpus
from evolm.lm.tasks.routing import bayes_routing

SMALL = AutomatonSettings(states=3, steps=3, prior=(0.5, 0.3, 0.2), answer_states=2)
TINY = AutomatonSettings(states=2, steps=2, prior=(0.6, 0.4), answer_states=1, mode=True, emit_start=True)


@pytest.fixture(scope="module")
def task() -> AutomatonTask:
    return AutomatonTask()


def perfect(task: AutomatonTask, problems: list) -> np.ndarray:
    x = np.array([p.facts["x"] for p in problems])
    method = np.array([p.facts["method"] for p in problems])
    return task.completions(x, method, task.world.chains(x, method))


def graded(task: AutomatonTask, problems: list, tokens: np.ndarray):
    """Grades of rows that stop at their first EOS."""
    ends = tokens == task.eos
    lengths = np.where(ends.any(1), ends.argmax(1) + 1, tokens.shape[1])
    return task.grade(problems, tokens, lengths)


def within(successes: int, trials: int, p: float) -> bool:
    """Whether a count is one that a binomial gives 99.99 times in 100."""
    return bool(stats.binomtest(int(successes), int(trials), p).pvalue > 1e-4)


# Problems and splits ------------------------------------------------------------------------------------------------


def test_the_task_keeps_the_protocol_and_its_text_is_its_tokens(task: AutomatonTask) -> None:
    assert isinstance(task, Task)
    problems = task.problems("test", 20, 0)
    for problem, ids in zip(problems, task.encode(problems), strict=True):
        assert task.tokenizer(problem.prompt, add_special_tokens=False).input_ids == ids
        assert problem.prompt.split()[2] == f"s{problem.facts['x'][0]}"
        assert problem.answer.split() == [f"s{y}" for y in problem.facts["chain"][-6:]]
        assert split_of_id(problem.id) == "test"


def test_a_chain_follows_the_tables_of_its_method(task: AutomatonTask) -> None:
    assert (np.sort(task.world.tables, axis=-1) == np.arange(13)).all()
    for problem in task.problems("rl", 10, 3):
        state = problem.facts["x"][0]
        for x, y in zip(problem.facts["x"][1:], problem.facts["chain"], strict=True):
            state = task.world.tables[problem.facts["method"], x, state]
            assert state == y


def test_the_world_seed_redraws_tables_and_split(task: AutomatonTask) -> None:
    other = AutomatonTask(AutomatonSettings(world_seed=1))
    assert (other.world.tables != task.world.tables).any()
    draw = task.world.draw("test", 400, 0)
    moved = split_indices(other.world.keys(draw.x, draw.method)) != SPLITS.index("test")
    assert within(moved.sum(), 400, 1 - SHARES["test"])


def test_no_problem_is_in_two_splits_and_a_longer_draw_begins_with_the_shorter(task: AutomatonTask) -> None:
    ids = [{p.id for p in task.problems(split, 3000, seed)} for split in SPLITS for seed in (0, 1)]
    assert all(len(one) == 3000 for one in ids)
    for (i, a), (j, b) in itertools.combinations(enumerate(ids), 2):
        assert i // 2 == j // 2 or not a & b
    assert task.problems("rl", 5000, 2)[:70] == task.problems("rl", 70, 2)


def test_a_small_world_is_split_without_remainder_and_says_when_a_split_is_used_up() -> None:
    task = AutomatonTask(SMALL)
    grid = np.array(list(itertools.product(range(3), *[range(3)] * 4)))  # method, x
    index = split_indices(task.world.keys(grid[:, 1:], grid[:, 0]))
    for number, split in enumerate(SPLITS):
        held = int((index == number).sum())
        assert len({p.id for p in task.problems(split, held, 0)}) == held
        with pytest.raises(NotEnoughProblems, match=f"{split} split .* about {held} distinct"):
            task.problems(split, held + 1, 0)


def test_problems_pair_across_cue_levels_and_a_cue_names_the_method_as_often_as_it_should(task: AutomatonTask) -> None:
    draws = {cue: task.with_cue(cue).world.draw("test", 4000, 7) for cue in (0.0, 0.5, 1.0)}
    for draw in draws.values():
        assert (draw.x == draws[0.0].x).all()
        assert (draw.method == draws[0.0].method).all()
    hit = {cue: draw.cue == draw.method for cue, draw in draws.items()}
    assert hit[1.0].all()
    assert (hit[0.5] | ~hit[0.0]).all()
    assert within(hit[0.0].sum(), 4000, 1 / 7)
    assert stats.chisquare(np.bincount(draws[0.0].cue, minlength=7)).pvalue > 1e-4
    assert within(hit[0.5].sum(), 4000, 0.5 + 0.5 / 7)


def test_methods_come_as_often_as_the_environment_says_and_can_be_restricted(task: AutomatonTask) -> None:
    draw = task.world.draw("rl", 5000, 0)
    for method, share in enumerate(task.settings.prior):
        assert within((draw.method == method).sum(), 5000, share)
    rare = task.problems("test", 200, 0, methods=(5, 6))
    assert {p.facts["method"] for p in rare} == {5, 6}
    with pytest.raises(ValueError, match="give some of 0 to 6"):
        task.problems("test", 10, 0, methods=(7,))
    with pytest.raises(ValueError, match="no split 'dev'"):
        task.problems("dev", 10, 0)  # type: ignore[arg-type]


def test_keys_are_those_of_splitmix64_and_fill_their_range_evenly() -> None:
    def reference(row: list[int]) -> int:
        key, full = 0, 2**64
        for value in row:
            key = ((key ^ value) + 0x9E3779B97F4A7C15) % full
            key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) % full
            key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) % full
            key ^= key >> 31
        return key

    rows = np.array(list(itertools.product(range(7), range(13), range(13), range(13), range(13))))
    keys = integer_keys(rows, salt=(13, 8))
    assert [int(k) for k in keys[:50]] == [reference([13, 8, *row]) for row in rows[:50].tolist()]
    assert len(np.unique(keys)) == len(rows)
    shares = np.bincount(split_indices(keys), minlength=4)
    assert stats.chisquare(shares, len(rows) * np.array(list(SHARES.values()))).pvalue > 1e-4
    buckets = np.bincount((keys >> np.uint64(54)).astype(int), minlength=1024)
    assert stats.chisquare(buckets).pvalue > 1e-4
    for column in range(5):  # the split says nothing about any one input
        table = stats.contingency.crosstab(rows[:, column], split_indices(keys)).count
        assert stats.chi2_contingency(table).pvalue > 1e-4


def test_texts_are_split_by_the_same_shares() -> None:
    counts = [0] * 4
    for i in range(4000):
        counts[SPLITS.index(split_of(f"problem {i}"))] += 1
    assert stats.chisquare(counts, 4000 * np.array(list(SHARES.values()))).pvalue > 1e-4
    assert sum(SHARES.values()) == pytest.approx(1)


# Grading ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [AutomatonSettings(), AutomatonSettings(mode=True), AutomatonSettings(emit_start=True, answer_states=8)]
)
def test_perfect_chains_are_valid_in_every_format(settings: AutomatonSettings) -> None:
    task = AutomatonTask(settings)
    problems = task.problems("test", 50, 0)
    grades = graded(task, problems, perfect(task, problems))
    assert grades.correct.all()
    assert grades.well_formed.all()
    assert grades.valid.all()
    assert (task.method_of(perfect(task, problems)) == [p.facts["method"] for p in problems]).all()


def test_each_fault_costs_what_it_should(task: AutomatonTask) -> None:
    problem = task.problems("test", 1, 0)[0]
    good = perfect(task, [problem])[0]
    other_state = {int(s): int(task.states[(i + 1) % 13]) for i, s in enumerate(task.states)}
    free_step, answer_step, style, run_on, pad_end = (good.copy() for _ in range(5))
    free_step[2] = other_state[int(good[2])]
    answer_step[4] = other_state[int(good[4])]
    style[0] = task.styles[(problem.facts["method"] + 1) % 7]
    run_on[-1] = task.states[0]
    pad_end[-1] = task.pad
    short = np.append(np.delete(good, 5), task.pad)
    cue = good.copy()
    cue[0] = task.cues[0]
    rows = np.stack([good, free_step, answer_step, style, run_on, pad_end, short, cue])
    grades = graded(task, [problem] * len(rows), rows)
    assert grades.correct.tolist() == [True, True, False, True, False, False, False, False]
    assert grades.well_formed.tolist() == [True, True, True, True, False, False, False, False]
    assert grades.valid.tolist() == [True, False, False, False, False, False, False, False]
    assert task.method_of(rows)[-1] == -1


def test_the_grader_sees_neither_the_prompt_nor_what_follows_the_end(task: AutomatonTask) -> None:
    problems = task.problems("test", 30, 1)
    tokens = perfect(task, problems)
    tokens[::3, 4] = task.states[0]
    lengths = np.full(30, 10)
    expected = task.grade(problems, tokens, lengths)
    blind = [replace(p, prompt="") for p in problems]
    longer = np.column_stack([tokens, np.full((30, 4), task.states[1])])
    for result in (
        task.grade(blind, tokens, lengths),
        task.grade(problems, longer, lengths),
        task.grade(problems, torch.tensor(tokens), torch.tensor(lengths)),
    ):
        for name in ("correct", "well_formed", "valid"):
            assert (getattr(result, name) == getattr(expected, name)).all()
    assert not task.grade(problems, tokens, lengths - 1).well_formed.any()


def test_empty_completions_and_empty_batches_have_defined_grades(task: AutomatonTask) -> None:
    problems = task.problems("test", 2, 0)
    for width in (0, 3):
        grades = task.grade(problems, np.zeros((2, width), np.int64), np.zeros(2, np.int64))
        assert not grades.well_formed.any()
        assert not grades.correct.any()
    assert task.grade([], np.zeros((0, 10), np.int64), np.zeros(0, np.int64)).correct.shape == (0,)
    assert task.encode([]) == []
    with pytest.raises(ValueError, match="one problem, one row and one length"):
        task.grade(problems, np.zeros((3, 10), np.int64), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="lengths from 11 to 11"):
        task.grade(problems, np.zeros((2, 10), np.int64), np.full(2, 11))


def accepted_by_steps(task: AutomatonTask, problem: object, alphabet: np.ndarray) -> set[tuple[int, ...]]:
    """All completions made of viable steps that end in a viable EOS."""
    done, prefixes = set(), torch.zeros(1, 0, dtype=torch.long)
    while len(prefixes):
        viable = task.viable(problem, prefixes)  # type: ignore[arg-type]
        row, token = viable.nonzero(as_tuple=True)
        assert set(token.tolist()) <= set(alphabet.tolist())
        grown = torch.cat([prefixes[row], token[:, None]], 1)
        ended = token == task.eos
        done |= set(map(tuple, grown[ended].tolist()))
        prefixes = grown[~ended]
    return done


@pytest.mark.parametrize("settings", [SMALL, TINY], ids=["plain", "mode and start"])
def test_a_completion_is_correct_exactly_when_every_step_was_viable(settings: AutomatonSettings) -> None:
    task = AutomatonTask(settings)
    alphabet = np.arange(task.vocab_size)
    if settings is TINY:  # every kind of token, but not every cue: 9^6 completions instead of 12^6
        alphabet = np.setdiff1d(alphabet, [task.pad, task.bos, task.cues[1]])
    for problem in task.problems("test", 2, 0):
        accepted = accepted_by_steps(task, problem, alphabet)
        places = np.indices([len(alphabet)] * settings.completion_length).reshape(settings.completion_length, -1)
        every = alphabet[places.T]
        correct = graded(task, [problem] * len(every), every).correct
        assert set(map(tuple, every[correct].tolist())) == accepted
        free = settings.chain_length - settings.answer_states
        assert len(accepted) == 2**settings.mode * settings.methods * settings.states**free


def test_a_lost_or_finished_prefix_has_no_viable_token(task: AutomatonTask) -> None:
    problem = task.problems("test", 1, 0)[0]
    good = torch.tensor(perfect(task, [problem]))
    lost = good.clone()
    lost[0, 0] = task.pad
    both = torch.cat([good, lost])
    for time in range(1, 10):
        viable = task.viable(problem, both[:, :time])
        assert viable[0, both[0, time]]
        assert not viable[1].any()
    assert not task.viable(problem, both).any()


def test_forced_prompts_name_the_method_in_the_cue_slot(task: AutomatonTask) -> None:
    problems = task.problems("test", 20, 0)
    for problem, plain, forced in zip(problems, task.encode(problems), task.forced_prompts(problems), strict=True):
        assert forced[1] == task.styles[problem.facts["method"]]
        assert forced[:1] + forced[2:] == plain[:1] + plain[2:]
    assert {ids[1] for ids in task.forced_prompts(problems, method=3)} == {task.styles[3]}


# Chance -------------------------------------------------------------------------------------------------------------


def test_blind_search_equals_full_enumeration_on_a_small_world() -> None:
    task = AutomatonTask(SMALL)
    problems = task.problems("rl", 15, 0)
    chance = task.chance(problems, execution=0.5)
    tables, last = task.world.tables, SMALL.answer_states
    for problem, blind, routed in zip(problems, chance.blind_search, chance.informed["random routing"], strict=True):
        x, answer = problem.facts["x"], problem.facts["chain"][-last:]
        hits = []
        for methods in itertools.product(range(SMALL.absent), repeat=SMALL.steps):
            chain = [x[0]]
            for method, symbol in zip(methods, x[1:], strict=True):
                chain.append(int(tables[method, symbol, chain[-1]]))
            hits.append((chain[-last:] == answer, len(set(methods)) == 1))
        assert blind == pytest.approx(np.mean([hit for hit, _ in hits]), abs=1e-12)
        assert routed == pytest.approx(0.5 * np.mean([hit for hit, one in hits if one]), abs=1e-12)


def test_the_answer_marginal_equals_full_enumeration_on_a_small_world() -> None:
    task = AutomatonTask(SMALL)
    inputs = np.array(list(itertools.product(range(3), repeat=4)))
    mass: dict[tuple[int, ...], float] = {}
    for method, prior in enumerate(SMALL.prior):
        for chain in task.world.chains(inputs, np.full(len(inputs), method)).tolist():
            answer = tuple(chain[-SMALL.answer_states :])
            mass[answer] = mass.get(answer, 0) + prior / len(inputs)
    problems = task.problems("rl", 15, 0)
    expected = [mass[tuple(p.facts["chain"][-SMALL.answer_states :])] for p in problems]
    assert task.chance(problems).answer_guess == pytest.approx(expected, abs=1e-12)


def test_blind_search_agrees_with_simulation_and_stays_below_the_gate() -> None:
    task = AutomatonTask(AutomatonSettings(states=5, steps=6, answer_states=3))
    problem = task.problems("test", 1, 0)[0]
    p = float(task.chance([problem]).blind_search[0])
    rng, draws = np.random.default_rng(0), 200_000
    state = np.full(draws, problem.facts["x"][0])
    alive = np.ones(draws, bool)
    for step in range(6):
        state = task.world.tables[rng.integers(6, size=draws), problem.facts["x"][step + 1], state]
        alive &= (step < 3) | (state == problem.facts["chain"][step])
    assert within(alive.sum(), draws, p)
    default = AutomatonTask()
    chance = default.chance(default.problems("test", 400, 0))
    assert chance.answer_guess.mean() < chance.blind_search.mean() < 1e-4
    assert chance.table((1, 256)).loc["random routing", 1] == pytest.approx(chance.informed["random routing"].mean())


# Routing by the cue -------------------------------------------------------------------------------------------------


def test_bayes_routing_covers_what_the_formula_says() -> None:
    settings = AutomatonSettings()
    coverage = [bayes_routing(settings, cue).coverage for cue in (0, 0.25, 0.5, 0.7, 0.9, 1)]
    assert np.round(coverage, 2).tolist() == [0.36, 0.40, 0.53, 0.67, 0.81, 0.88]
    thresholds = bayes_routing(settings, 0.5).thresholds
    assert thresholds[1:6] == pytest.approx([0.103, 0.202, 0.300, 0.417, 0.533], abs=6e-4)
    assert thresholds[6] == np.inf


@given(st.lists(st.floats(0.02, 1), min_size=3, max_size=5), st.floats(0, 1))
def test_bayes_routing_is_the_best_of_all_routings(weights: list[float], cue: float) -> None:
    prior = np.array(weights) / sum(weights)
    methods = len(prior)
    result = bayes_routing(AutomatonSettings(prior=tuple(prior), cue=cue))
    joint = prior[:, None] * (cue * np.eye(methods) + (1 - cue) / methods)
    best = max(
        sum(joint[m, c] for c, m in enumerate(route)) for route in itertools.product(range(methods - 1), repeat=methods)
    )
    assert result.coverage == pytest.approx(best)
    assert result.coverage == pytest.approx(float(prior @ result.by_method))


@pytest.mark.parametrize("method", range(1, 6))
def test_a_method_is_used_on_its_own_cue_just_above_its_threshold(method: int) -> None:
    settings = AutomatonSettings()
    threshold = bayes_routing(settings).thresholds[method]
    assert bayes_routing(settings, threshold + 1e-6).route[method] == method
    assert bayes_routing(settings, threshold - 1e-6).route[method] == 0


def test_bayes_routing_describes_the_environment_that_is_drawn(task: AutomatonTask) -> None:
    draw = task.with_cue(0.5).world.draw("test", 5000, 0)
    routing = bayes_routing(task.settings, 0.5)
    assert within((routing.route[draw.cue] == draw.method).sum(), 5000, routing.coverage)
    with pytest.raises(ValueError, match=r"cue is 1\.5"):
        bayes_routing(task.settings, 1.5)


# Corpora ------------------------------------------------------------------------------------------------------------


class Read:
    """A corpus taken apart again into prompts and what the completions hold."""

    def __init__(self, task: AutomatonTask, tokens: torch.Tensor, mask: torch.Tensor) -> None:
        s, array = task.settings, tokens.numpy()
        self.prompt, self.completion = array[:, : s.steps + 4], array[:, s.steps + 4 :]
        self.mask = mask.numpy()
        self.slot = self.prompt[:, 1]
        self.x = self.prompt[:, 2:-1] - task.states[0]
        self.method = task.method_of(self.completion)
        self.states = self.completion[:, 1 + s.mode : -1] - task.states[0]
        self.run_on = ~(self.completion == task.eos).any(1)
        self.whole = self.completion[:, -1] == task.eos
        self.short = ~self.run_on & ~self.whole


def test_a_corpus_errs_as_often_as_its_settings_say(task: AutomatonTask) -> None:
    count = 40_000
    tokens, mask = corpus(task, CorpusSettings(), count, seed=0)
    assert tokens.shape == mask.shape == (count, 22)
    read = Read(task, tokens, mask)
    assert within(read.run_on.sum(), count, 0.10)
    assert within(read.short.sum(), count, 0.05)
    full = ~read.short
    before = np.column_stack([read.x[:, 0], read.states[:, :-1]])
    right = read.states == task.world.tables[read.method[:, None], read.x[:, 1:], np.clip(before, 0, 12)]
    slips = ~right[full]
    noisy = slips.any(1)
    assert within(noisy.sum(), full.sum(), 0.6 * (1 - 0.85**8))
    assert within(slips[noisy].sum(), noisy.sum() * 8, 0.15 / (1 - 0.85**8))
    wrong_by = read.states[full] - task.world.tables[read.method[:, None], read.x[:, 1:], np.clip(before, 0, 12)][full]
    assert stats.chisquare(np.bincount((wrong_by % 13)[slips], minlength=13)[1:]).pvalue > 1e-4


def test_a_corpus_masks_its_prompts_and_its_padding(task: AutomatonTask) -> None:
    read = Read(task, *corpus(task, CorpusSettings(run_on=0.1, cut_short=0.4), 2000, seed=0))
    assert not read.mask[:, :12].any()
    assert (read.mask[:, 12:] == (read.completion != task.pad)).all()
    assert (read.completion[read.mask[:, 12:].sum(1) == 2, 1] == task.eos).all()
    ends = (read.completion == task.eos).sum(1)
    assert (ends[~read.run_on] == 1).all()
    after = np.cumsum(read.completion == task.eos, axis=1) - (read.completion == task.eos) > 0
    assert (read.completion[after] == task.pad).all()
    places = np.bincount((read.completion == task.eos)[read.short].argmax(1), minlength=9)[1:]
    assert stats.chisquare(places).pvalue > 1e-4  # at any of the eight steps


def test_a_corpus_follows_cue_and_prior_and_never_uses_the_absent_method(task: AutomatonTask) -> None:
    settings, count = CorpusSettings(), 40_000
    read = Read(task, *corpus(task, settings, count, seed=1))
    cue = read.slot - task.cues[0]
    assert stats.chisquare(np.bincount(cue, minlength=7)).pvalue > 1e-4
    assert read.method.max() == 5
    for method, share in enumerate(settings.prior()):
        on, off = cue == method, cue == task.settings.absent
        assert within((read.method[on] == method).sum(), on.sum(), 0.25 + 0.75 * share)
        assert within((read.method[off] == method).sum(), off.sum(), share)


def test_a_rare_method_is_kept_alive_by_prompts_that_name_it_only(task: AutomatonTask) -> None:
    count = 40_000
    read = Read(task, *corpus(task, RARE_METHOD, count, seed=0))
    named = np.isin(read.slot, task.styles)
    assert within(named.sum(), count, 0.2)
    assert (task.styles[read.method[named]] == read.slot[named]).all()
    assert stats.chisquare(np.bincount(read.method[named], minlength=6)).pvalue > 1e-4
    own_cue = read.slot == task.cues[5]
    assert within((read.method[own_cue] == 5).sum(), own_cue.sum(), 0.002)
    assert RARE_METHOD.prior()[5] == pytest.approx(0.002)
    assert RARE_METHOD.prior()[:5] == pytest.approx(0.998 * np.array([0.46, 0.25, 0.14, 0.08, 0.05]) / 0.98)


def test_careful_chains_never_slip_and_are_as_ill_formatted_as_sloppy_ones() -> None:
    task, count = AutomatonTask(AutomatonSettings(mode=True, emit_start=True)), 30_000
    read = Read(task, *corpus(task, LATENT_MODE, count, seed=0))
    careful = read.completion[:, 0] == task.modes[0]
    assert within(careful.sum(), count, 0.25)
    assert (careful | (read.completion[:, 0] == task.modes[1])).all()
    full = ~read.short
    assert (read.states[full, 0] == read.x[full, 0]).all()
    chains = task.world.chains(read.x, read.method)
    perfect_chain = (read.states[:, 1:] == chains).all(1)
    assert perfect_chain[full & careful].all()
    for rows in (careful, ~careful):
        assert within(read.run_on[rows].sum(), rows.sum(), 0.10)
        assert within(read.short[rows].sum(), rows.sum(), 0.05)


def test_corpora_keep_to_their_splits(task: AutomatonTask) -> None:
    for split, (tokens, mask) in {
        "pretrain": corpus(task, RARE_METHOD, 5000, seed=0),
        "rl": teacher_corpus(task, 1000, seed=0, methods=(0, 6)),
    }.items():
        read = Read(task, tokens, mask)
        assert (split_indices(task.world.keys(read.x, read.method)) == SPLITS.index(split)).all()  # type: ignore[arg-type]


def test_a_teacher_shows_perfect_chains_of_its_methods_only() -> None:
    task = AutomatonTask(AutomatonSettings(emit_start=True, answer_states=8))
    tokens, mask = teacher_corpus(task, 500, seed=0, methods=(1, 6))
    problems = task.problems("rl", 500, 0, methods=(1, 6))
    completions = tokens[:, 12:]
    assert mask[:, 12:].all()
    assert set(task.method_of(completions)) == {1, 6}
    assert task.grade(problems, completions, torch.full((500,), 11)).valid.all()
    assert tokens[:, :12].tolist() == task.encode(problems)


def test_the_same_seed_gives_the_same_corpus_and_another_seed_another(task: AutomatonTask) -> None:
    first, again, other = (corpus(task, CorpusSettings(), 100, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_settings_that_cannot_hold_are_refused(task: AutomatonTask) -> None:
    with pytest.raises(ValidationError, match="sum to 1"):
        AutomatonSettings(prior=(0.5, 0.4))
    with pytest.raises(ValidationError, match="a chain has only 4 states"):
        AutomatonSettings(steps=4)
    with pytest.raises(ValidationError, match="rare_method is 6"):
        CorpusSettings(rare_method=6)
    with pytest.raises(ValidationError, match="at most 1 in all"):
        CorpusSettings(run_on=0.6, cut_short=0.6)
    with pytest.raises(ValueError, match="6 known ones"):
        corpus(task, CorpusSettings(method_prior=(1.0, 1.0)), 10, 0)
    with pytest.raises(ValueError, match="has no mode token"):
        corpus(task, LATENT_MODE, 10, 0)
    with pytest.raises(ValueError, match=r"set CorpusSettings\.careful"):
        corpus(AutomatonTask(AutomatonSettings(mode=True)), CorpusSettings(), 10, 0)
