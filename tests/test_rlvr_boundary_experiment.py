"""The pass@k boundary's experiment at a tiny scale: its tables, its arms, and its measurements against brute force."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import re
import shutil
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evolm import assets, judging, paths
from evolm.finding import ParameterError
from evolm.findings.rlvr_boundary import FINDING, base, estimands, experiment
from evolm.findings.rlvr_boundary.arms import Arm, control_arms, main_arms, reinforce_settings, sweep_arms, tune
from evolm.findings.rlvr_boundary.measure import PERPLEXITY_PROBLEMS, TOLERANCE, Bench, perplexity
from evolm.instruments.passk import measure_models
from evolm.lm.certify import certified
from evolm.lm.forward import decoder_for
from evolm.lm.passk import pass_at_k_from_p
from evolm.lm.sample import sample
from evolm.lm.tasks.base import SPLITS, split_indices
from evolm.lm.tasks.corpus import teacher_corpus
from evolm.lm.tasks.word_problems import word_problems
from evolm.verdict import judge

SEED = 2000
TINY: dict[str, Any] = {
    "seeds": 1, "cues": [0.0, 0.5, 1.0], "base": "kept", "rl_steps": 2, "checkpoints": [1], "rft_steps": 2,
    "rft_rounds": [1, 2], "distil_steps": 1, "algorithms": ["grpo", "remax"], "kl_coefs": [0.01],
    "entropy_coefs": [0.01], "group_sizes": [2], "prompts_per_step": 4, "group_size": 4, "temperatures": [0.2],
    "rl_temperatures": [1.5], "problems": 20, "rare_problems": 5, "k_max": 16, "models": [],
}  # fmt: skip
UNTRAINED = {"base": "train", "width": 16, "layers": 1, "pretrain_steps": 2, "continue_steps": 2}
LABELS = ["seed", "cue", "arm", "step", "temperature"]


def parameters(**overrides: Any) -> Any:
    return FINDING.resolve("smoke", **{**TINY, **overrides})


@cache
def ran() -> dict[str, dict[str, pd.DataFrame]]:
    """The tables of every unit of the tiny run, by the unit's name."""
    units = experiment.units(parameters(), "cpu")
    return {unit.name: experiment.run_unit(parameters(), unit, "cpu") for unit in units}


@cache
def merged() -> dict[str, pd.DataFrame]:
    names = {name for tables in ran().values() for name in tables}
    parts = {name: [tables[name] for tables in ran().values() if name in tables] for name in names}
    return {name: pd.concat(frames, ignore_index=True) for name, frames in parts.items()}


def bench(cue: float = 0.5, **overrides: Any) -> Bench:
    params = parameters(**overrides)
    task = base.task_of(params, SEED, cue)
    return Bench(params, SEED, cue, task, base.base_model(params, SEED), base.RARE)


def arms(params: Any) -> list[Arm]:
    return [*main_arms(params), *control_arms(params), *sweep_arms(params)]


# --- what a run holds -----------------------------------------------------------------------------------------


def test_units_are_the_cue_levels_the_controls_and_the_sweeps() -> None:
    expected = {f"{part}_seed={SEED}" for part in ("cue=0", "cue=0.5", "cue=1", "controls", "sweeps")}
    assert set(ran()) == expected
    wide: Any = FINDING.resolve("gpu")
    assert len(experiment.units(wide, "cpu")) == 8 * (11 + 2)
    bare = parameters(algorithms=["grpo"], kl_coefs=[], entropy_coefs=[], group_sizes=[])
    assert "sweeps" not in {unit.arguments["part"] for unit in experiment.units(bare, "cpu")}


def test_every_claim_finds_the_arms_and_controls_that_it_names() -> None:
    silent = {v.claim: v.note for v in judge(FINDING, merged(), parameters(), estimands) if "not run" in v.verdict}
    assert set(silent) == {"open-models-at-one", "open-models-at-many"}


def test_tables_have_a_row_per_problem_model_and_temperature() -> None:
    success, evaluations = merged()["success"], merged()["evaluations"]
    assert list(success.columns) == [*LABELS, "set", "problem", "p"]
    assert success.groupby(LABELS).size().eq(20 + 5).all()
    assert not success.duplicated([*LABELS, "set", "problem"]).any()
    assert success["p"].between(0, 1).all()
    assert list(evaluations.columns) == [*LABELS, "error", "exact", "expansions"]
    assert len(evaluations) == success.groupby(LABELS).ngroups
    assert (evaluations["error"] <= TOLERANCE / 2 + 1e-12).all()


def test_every_arm_is_measured_at_its_last_step_and_reinforcement_at_the_checkpoints_too() -> None:
    at_core = merged()["success"].query("cue == 0.5 and temperature == 1")
    steps = at_core.groupby("arm")["step"].agg(lambda column: sorted(set(column))).to_dict()
    lasts = {"rl": [1, 2], "rft": [2], "distil": [1]}
    assert steps == {"base": [0], "named": [0]} | {arm.name: lasts[arm.kind] for arm in arms(parameters())}
    usage = merged()["usage"].query("cue == 0.5").groupby("arm")["step"].agg(lambda column: sorted(set(column)))
    assert usage.to_dict() == {arm: there for arm, there in steps.items() if arm != "named"}
    by_arm = merged()["success"].query("cue == 0.5 and step != 1").groupby("arm")["temperature"].agg(set)
    assert (by_arm["base"], by_arm["named"], by_arm["rl"], by_arm["rft"]) == ({0.2, 1}, {0.2, 1}, {1, 1.5}, {1})


def test_other_rewards_are_measured_at_the_first_checkpoint_and_at_the_end_alone() -> None:
    params = parameters(rl_steps=4, checkpoints=[3, 1, 2], rft_rounds=[1], distil_steps=0)
    steps = {arm.name: experiment._checkpoints(arm, params) for arm in arms(params)}
    first = {name: {1} for name in ("random", "format")}
    assert steps == {**{name: {1, 2, 3} for name in steps}, **first, "rft": set()}
    collected = experiment._Collected()
    for arm in control_arms(params):
        experiment.measure_arm(arm, bench(rl_steps=4, checkpoints=[3, 1, 2], problems=10), collected)
    measured = collected.tables()["success"].groupby("arm")["step"].agg(set).to_dict()
    assert measured == {"random": {1, 4}, "format": {1, 4}}
    assert all(not experiment._checkpoints(arm, parameters(checkpoints=[])) for arm in arms(params))


def test_logs_usage_and_perplexities_cover_the_same_arms() -> None:
    tables, names = merged(), {arm.name for arm in arms(parameters())}
    assert set(tables["training"]["arm"]) == {arm.name for arm in arms(parameters()) if arm.kind == "rl"}
    for name in ("usage", "perplexity"):
        assert set(tables[name]["arm"]) == names | {"base"}, name
    usage = tables["usage"].groupby(["cue", "arm", "step", "needed"])["probability"]
    assert usage.size().eq(7).all()
    assert usage.sum().between(0, 1 + 1e-5).all()
    assert tables["perplexity"].groupby(["cue", "arm", "temperature"]).size().eq(20).all()
    at_base = tables["perplexity"].query("arm == 'base'")
    assert set(at_base["temperature"]) == {1.0, experiment.COOL}
    pd.testing.assert_series_equal(at_base["under_base"], at_base["under_self"], check_names=False)


def test_logs_are_thinned_to_means_over_a_few_steps() -> None:
    thinned = experiment._thinned(pd.DataFrame({"step": range(1, 13), "reward": np.arange(12.0)}))
    assert list(thinned["step"]) == [3, 8, 11.5]
    assert list(thinned["reward"]) == [2, 7, 10.5]


def test_levels_say_what_bayes_routing_sends_right_at_either_end_of_the_cue() -> None:
    levels = merged()["levels"]
    assert levels.groupby(["seed", "cue", "set"]).size().to_dict() == {
        (SEED, cue, name): count for cue in (0, 0.5, 1) for name, count in (("test", 20), ("rare", 5))
    }
    assert (levels.query("set == 'rare'")["method"] == base.RARE).all()
    absent, prior = levels["method"] == 6, levels["method"] == 0
    assert (levels["bayes"] == ~absent)[levels["cue"] == 1].all()
    assert (levels["bayes"] == prior)[levels["cue"] == 0].all()
    assert levels[levels["cue"] == 1]["cue_right"].all()


def test_a_unit_gives_the_same_tables_whenever_it_runs() -> None:
    unit = next(unit for unit in experiment.units(parameters(), "cpu") if unit.arguments["part"] == "cue=0.5")
    again = experiment.run_unit(parameters(), unit, "cpu")
    assert set(again) == set(ran()[unit.name])
    for name, table in again.items():
        pd.testing.assert_frame_equal(table, ran()[unit.name][name])


# --- measurements against transformers' own forward -----------------------------------------------------------


def hf_logprobs(model: Any, rows: torch.Tensor) -> torch.Tensor:
    """log-probabilities (rows, time - 1, vocab) of transformers' forward, at temperature 1."""
    with torch.no_grad():
        return model(input_ids=rows).logits[:, :-1].double().log_softmax(-1)


def brute_force(model: Any, task: Any, problem: Any, prompt: list[int], temperature: float) -> float:
    """Probability that a completion is graded correct, summed over every style and stated y_0."""
    s = task.settings
    chain = [task.states[state] for state in problem.facts["chain"]]
    listed = [[style, start, *chain, task.eos] for style, start in product(task.styles, task.states)]
    completions = torch.tensor(np.array(listed))  # (style x start, completion length)
    lengths = torch.full((len(completions),), s.completion_length)
    assert task.grade([problem] * len(completions), completions, lengths).correct.all()
    rows = torch.cat([torch.tensor([prompt] * len(completions)), completions], 1)
    with torch.no_grad():
        logits = model(input_ids=rows).logits[:, len(prompt) - 1 : -1].double() / temperature
    chosen = logits.log_softmax(-1).gather(-1, completions[..., None]).squeeze(-1)
    return float(chosen.sum(1).exp().sum())


@pytest.mark.parametrize(("temperature", "named"), [(1.0, False), (0.5, False), (1.6, False), (0.2, True)])
def test_success_is_the_sum_over_all_accepted_completions(temperature: float, named: bool) -> None:
    it = bench(problems=10, rare_problems=5)
    rows, how = it.success(it.base, "base", 0, temperature, named=named)
    encoded = it.task.forced_prompts(it.problems) if named else it.task.encode(it.problems)
    model = AutoModelForCausalLM.from_pretrained(base.kept_base())
    for place in (0, 3, 9, 10, 14):
        expected = brute_force(model, it.task, it.problems[place], encoded[place], temperature)
        assert rows["p"].iloc[place] == pytest.approx(expected, abs=TOLERANCE, rel=1e-4)
    assert how["error"].iloc[0] <= TOLERANCE / 2


def test_usage_is_the_first_tokens_distribution() -> None:
    it = bench(problems=30)
    table = it.usage(it.base, "base", 0)
    prompts = torch.tensor(it.task.encode(it.problems))
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(base.kept_base())(input_ids=prompts).logits[:, -1]
    styles = logits.softmax(-1)[:, it.task.styles].numpy()
    needed = np.array([problem.facts["method"] for problem in it.problems])
    for row in table.itertuples():
        assert row.probability == pytest.approx(styles[needed == row.needed, row.used].mean(), abs=1e-5)
    assert set(table["needed"]) == set(needed)


def test_perplexity_is_that_of_a_plain_forward_pass() -> None:
    it = bench(problems=60)
    prompts = it.task.encode(it.sets["test"])
    options: dict[str, Any] = {"eos": int(it.task.eos), "pad": int(it.task.pad), "max_new_tokens": 11, "seed": 3}
    found = sample(decoder_for(it.base), prompts, 1, **options)
    assert len(set(found.lengths.tolist())) > 1  # some rows are padded
    given = perplexity(it.base, prompts, found.tokens, found.lengths)
    model = AutoModelForCausalLM.from_pretrained(base.kept_base())
    for i, prompt in enumerate(prompts):
        completion = found.tokens[i, : found.lengths[i]]
        row = torch.cat([torch.tensor(prompt), completion])[None]
        logprobs = hf_logprobs(model, row)[0, len(prompt) - 1 :].gather(-1, completion[:, None])
        assert given[i] == pytest.approx(float((-logprobs.mean()).exp()), rel=1e-4)


def test_perplexities_take_one_sample_of_the_first_test_problems() -> None:
    it = bench(problems=PERPLEXITY_PROBLEMS + 10, rare_problems=5)
    table = it.perplexities(it.base, "base", 0.6)
    assert list(table["problem"]) == list(range(PERPLEXITY_PROBLEMS))
    assert (table["correct"] <= table["well_formed"]).all()
    cool, warm = (it.perplexities(it.base, "base", t)["under_base"].astype(float).map(np.log) for t in (0.3, 1.5))
    assert cool.mean() < warm.mean()


# --- arms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", arms(parameters()), ids=lambda arm: arm.name)
def test_an_arm_leaves_the_base_as_it_was_and_changes_its_own_copy(arm: Arm) -> None:
    it = bench(prompts_per_step=16)
    before = copy.deepcopy(it.base.state_dict())
    steps: list[int] = []
    model, log = tune(arm, it.params, it.base, it.task, SEED, lambda step, _: steps.append(step))
    after, tuned = it.base.state_dict(), model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not all(torch.equal(before[name], tuned[name]) for name in before)
    assert {tensor.data_ptr() for tensor in after.values()}.isdisjoint(tensor.data_ptr() for tensor in tuned.values())
    assert steps == ([1, 2] if arm.kind == "rl" else [])
    assert not log.empty


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_fine_tuning_on_own_samples_makes_as_many_updates_in_any_number_of_rounds(rounds: int) -> None:
    it = bench(prompts_per_step=64, rft_steps=4, rft_rounds=[1, 2, 3])
    _, log = tune(Arm("rft", "rft", {"rounds": rounds}), it.params, it.base, it.task, SEED, lambda *_: None)
    assert log.groupby("round")["step"].max().sum() == 4
    assert log["round"].nunique() == rounds
    assert log["reward"].between(0.01, 0.5).all()  # the share of right samples, not yet of a tuned model


def test_an_arm_gives_alone_what_it_gives_after_others() -> None:
    collected = experiment._Collected()
    arm = control_arms(parameters())[-1]
    experiment.measure_arm(arm, bench(), collected)
    among = ran()[f"controls_seed={SEED}"]["success"]
    among = among[among["arm"] == arm.name].reset_index(drop=True)
    pd.testing.assert_frame_equal(collected.tables()["success"], among)


def test_the_sweeps_keep_the_number_of_samples_per_step() -> None:
    params: Any = FINDING.resolve("gpu")
    sizes = {arm.name: arm.options for arm in sweep_arms(params) if "group_size" in arm.options}
    assert {o["group_size"] * o["prompts_per_step"] for o in sizes.values()} == {512}
    assert set(sizes) == {"rl-group=8", "rl-group=64"}


def test_algorithms_are_compared_at_several_updates_per_rollout_so_that_clips_can_act() -> None:
    params: Any = FINDING.resolve("gpu")
    compared = [arm for arm in sweep_arms(params) if "algorithm" in arm.options]
    assert [arm.options["algorithm"] for arm in compared] == list(params.algorithms)
    settings = [reinforce_settings(params, SEED, **arm.options) for arm in compared]
    assert {one.updates_per_step for one in settings} == {4}
    assert reinforce_settings(params, SEED).updates_per_step == 1


def test_fine_tuning_on_own_samples_without_a_right_one_leaves_the_model_as_it_is() -> None:
    params = parameters(**UNTRAINED)
    task = base.task_of(params, SEED, 0.5)
    blank = base.train(parameters(**{**UNTRAINED, "pretrain_steps": 1, "continue_steps": 1}), task, SEED).model
    model, log = tune(Arm("rft", "rft", {"rounds": 1}), params, blank, task, SEED, lambda *_: None)
    assert log.empty
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), blank.parameters(), strict=True))


# --- problems -------------------------------------------------------------------------------------------------


def test_test_problems_are_in_no_corpus_and_never_reinforced() -> None:
    it = bench(problems=200, rare_problems=50)
    tested = {problem.id for problem in it.problems}
    trained = {p.id for seed in range(SEED, SEED + 4) for p in it.task.problems("rl", 300, seed=seed)}
    trained |= {p.id for p in it.task.problems("rl", 300, seed=SEED * 64)}
    assert tested.isdisjoint(trained)
    corpora = {
        "pretrain": base._data(it.task, base.NAMED, 20, SEED).tokens,
        "rl": teacher_corpus(it.task, 2000, SEED, tuple(range(7)))[0],
    }
    for split, tokens in corpora.items():
        rows = tokens.numpy()
        states = np.searchsorted(it.task.states, rows[:, 2:11])  # after <bos> and cue: x_0 to x_8
        keys = it.task.world.keys(states, it.task.method_of(rows[:, 12:]))
        assert set(split_indices(keys)) == {SPLITS.index(split)}, split
        assert tested.isdisjoint(f"{key:016x}" for key in keys.tolist())


def test_cue_levels_of_a_seed_share_their_problems_and_seeds_do_not() -> None:
    one, other = (bench(cue) for cue in (0.0, 1.0))
    assert [p.id for p in one.problems] == [p.id for p in other.problems]
    assert [p.facts["cue"] for p in one.problems] != [p.facts["cue"] for p in other.problems]
    task = base.task_of(parameters(), SEED, 0.5)
    assert {p.id for p in task.problems("test", 100, SEED)}.isdisjoint(
        p.id for p in task.problems("test", 100, SEED + 1)
    )
    worlds = {base.task_of(parameters(**UNTRAINED), seed, 0.5).settings.world_seed for seed in (SEED, SEED + 1)}
    assert worlds == {SEED, SEED + 1}


# --- base models ----------------------------------------------------------------------------------------------


def test_the_base_of_a_seed_is_trained_once_and_anew_where_a_setting_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOLM_CACHE", str(tmp_path))
    trained: list[int] = []
    train = base.train

    def counted(params: Any, task: Any, seed: int, device: str = "cpu") -> Any:
        trained.append(seed)
        return train(params, task, seed, device)

    monkeypatch.setattr(base, "train", counted)
    params = parameters(**UNTRAINED)
    first, again = (base.base_model(params, SEED) for _ in range(2))
    assert trained == [SEED]
    assert first is not again
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    rl_only = parameters(**UNTRAINED, rl_lr=1e-4, problems=30)
    base.base_model(rl_only, SEED)
    assert trained == [SEED]  # what comes after the base is no part of it
    base.base_model(parameters(**{**UNTRAINED, "continue_steps": 3}), SEED)
    base.base_model(params, SEED + 1)
    assert trained == [SEED, SEED, SEED + 1]
    folders = [path for path in (tmp_path / "bases").iterdir() if path.is_dir()]
    assert len(folders) == 3
    shutil.rmtree(tmp_path / "bases" / base._key(params, SEED, "cpu"))
    remade = base.base_model(params, SEED)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), remade.parameters(), strict=True))


def test_a_unit_trains_its_own_base_where_none_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLM_CACHE", str(tmp_path))
    params = parameters(**UNTRAINED, cues=[0.5], checkpoints=[])
    unit = experiment.units(params, "cpu")[0]
    tables = experiment.run_unit(params, unit, "cpu")
    assert set(tables["success"]["arm"]) == {"base", "named", "rl", "rft"}
    assert len(list((tmp_path / "bases").glob("*/model.safetensors"))) == 1
    assert "base" not in experiment.key_data(params)
    assert experiment.key_data(parameters())["base"] == base.weights_of(base.kept_base())


def test_the_kept_base_opens_with_transformers_alone() -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(base.kept_base())
    tokenizer: Any = AutoTokenizer.from_pretrained(base.kept_base())
    it = bench()
    problem = it.problems[0]
    assert tokenizer(problem.prompt, add_special_tokens=False)["input_ids"] == it.task.encode([problem])[0]
    inputs = torch.tensor(it.task.encode([problem]))
    answer = model.generate(inputs, max_new_tokens=11, do_sample=False, eos_token_id=tokenizer.eos_token_id)
    assert tokenizer.decode(answer[0, inputs.shape[1]]).startswith("m")


@pytest.mark.parametrize("cue", [0.0, 0.5, 1.0])
def test_the_kept_base_leaves_room_to_gain_at_one_sample_and_to_lose_at_many(cue: float) -> None:
    task = base.task_of(parameters(), base.KEPT_SEED, cue)
    problems = task.problems("test", 300, seed=SEED)
    model = base.base_model(parameters(), base.KEPT_SEED)
    found = certified(decoder_for(model), task, problems, tolerance=TOLERANCE)
    one, many = (float(pass_at_k_from_p(found["low"], k).mean()) for k in (1, 256))
    blind = float(pass_at_k_from_p(task.chance(problems).blind_search, 256).mean())
    assert 0.05 <= one <= 0.35
    assert 2 * one <= many < 0.98
    assert many >= 10 * blind


# --- parameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"cue": [0.5]}, "did you mean 'cues'"),
        ({"cues": [0.5, 0.5]}, "cues = .* names a value twice"),
        ({"algorithms": ["grpo", "rloo"], "compared_updates": 5}, "compared_updates = 5 must divide the 4 prompts"),
        ({"algorithms": ["grpo", "grpo"]}, "algorithms = .* names a value twice"),
        ({"algorithms": ["gpro"]}, "algorithms.0 = 'gpro' is refused.*'grpo'"),
        ({"cues": [0.0, 1.0]}, "core_cue = 0.5 is not among the cues"),
        ({"cues": [0.5, 1.5]}, "less than or equal to 1"),
        ({"cues": []}, "at least 1 item"),
        ({"checkpoints": [1, 2]}, r"checkpoints = \[2\] lie at or after the last step; rl_steps is 2"),
        ({"group_sizes": [3]}, r"group_sizes = \[3\] do not divide the 16 samples of a step"),
        ({"width": 32}, "the kept base model has width 64 and 2 layers; set base='train'"),
        ({"base": "keep"}, "'train' or 'kept'"),
        ({"problems": 5}, "greater than or equal to 10"),
        ({"k_max": 1}, "greater than or equal to 2"),
        ({"rl_lr": float("nan")}, "finite number"),
        ({"temperatures": [0.0]}, "greater than 0"),
        ({"model_tokens": 0}, "greater than or equal to 1"),
        ({"rft_rounds": [1, 4]}, "rft_rounds = 4 are more than the 2 updates of rft_steps"),
        ({"seeds": "two"}, "valid integer"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_with_the_reason(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        parameters(**overrides)


def test_every_parameter_has_a_unit_and_a_description() -> None:
    for name, field in FINDING.params.model_fields.items():
        assert isinstance(field.json_schema_extra, dict), name
        assert field.json_schema_extra["unit"], name
        assert field.description, name


def test_claims_that_a_run_cannot_speak_about_say_what_it_lacks() -> None:
    def silent(**overrides: Any) -> dict[str, str]:
        params = parameters(**overrides)
        return {claim.name: reason for claim in FINDING.claims if (reason := claim.cannot_speak(params))}

    assert silent() == {}
    high = "needs a cue level above the core one"
    hinted = ("coverage-lost-hinted", "inside-the-base-hinted", "rare-method-found", "longer-training-narrows")
    assert silent(cues=[0.0, 0.5]) == dict.fromkeys(hinted, high)
    assert silent(checkpoints=[]) == {"longer-training-narrows": "needs a checkpoint before the last step"}
    assert set(silent(rft_rounds=[1])) == {"iteration-narrows", "imitation-ahead"}
    assert set(silent(temperatures=[])) == {"loss-beyond-cooling"}
    assert set(silent(rl_temperatures=[])) == {"loss-despite-warming"}


def test_presets_report_fresh_seeds_and_core_claims_can_speak_at_cpu() -> None:
    for preset in FINDING.presets:
        assert not judging.has_development_seeds(FINDING.resolve(preset)), preset
        assert min(FINDING.resolve(preset).seed_list) == 2000, preset  # the claims were written on those below
    assert judging.has_development_seeds(FINDING.resolve("smoke", first_seed=1999))
    params: Any = FINDING.resolve("cpu")
    assert [claim.name for claim in FINDING.claims if claim.core and claim.cannot_speak(params)] == []
    assert list(params.seed_list) == list(range(2000, 2008))
    assert params.problems >= 500
    assert (FINDING.presets["smoke"].cpu_seconds or 0) <= 120


def test_open_models_that_are_not_here_make_no_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLM_CACHE", str(tmp_path))
    params = parameters(models=["smollm2-135m", "./mine"])
    if "smollm2-135m" in assets.readable(params.models):
        pytest.skip("the asset lies outside the cache here")
    names = [unit.arguments.get("model") for unit in experiment.units(params, "cpu")]
    assert [name for name in names if name] == ["./mine"]
    assert experiment.key_data(params)["smollm2-135m"] == "absent"


def test_an_open_model_is_measured_on_the_projects_word_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def measured(models: list[str], problems: str, **options: Any) -> pd.DataFrame:
        asked.update(options, models=models, problems=problems)
        return pd.DataFrame({"model": models})

    monkeypatch.setattr("evolm.instruments.passk.measure_passk", measured)
    params = parameters(models=["./mine"], model_samples=8)
    (unit,) = (unit for unit in experiment.units(params, "cpu") if unit.arguments["kind"] == "model")
    assert list(experiment.run_unit(params, unit, "cpu")["open_models"]["model"]) == ["./mine"]
    assert Path(asked["problems"]) == paths.resource("data") / "problems" / "arithmetic-words.jsonl"
    assert (asked["n"], asked["count"], asked["seed"]) == (8, params.model_problems, SEED)
    assert (asked["template"], asked["grader"], asked["max_new_tokens"]) == ("four-shot", "last_number", 48)


def test_an_open_model_can_be_asked_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    from evolm.instruments import passk

    measure = passk.measure_passk
    asked: dict[str, Any] = {}

    def measured(models: list[str], problems: str, **options: Any) -> pd.DataFrame:
        inspect.signature(measure).bind(models, problems, **options)  # options that the instrument has
        asked.update(options, problems=problems)
        return pd.DataFrame({"model": models})

    monkeypatch.setattr(passk, "measure_passk", measured)
    chosen = {"model_task": "gsm_symbolic", "model_template": "chat", "model_tokens": 300, "model_problems": 7}
    experiment.open_model(parameters(**chosen), "./mine", "cpu")
    assert (asked["problems"], asked["template"], asked["max_new_tokens"]) == ("gsm_symbolic", "chat", 300)
    assert (asked["count"], asked["temperature"], asked["device"]) == (7, experiment.OPEN_TEMPERATURE, "cpu")
    assert "grader" not in asked  # a dataset grades itself


# --- what the documents say ------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[1]


def test_hashes_of_the_data_guide_are_those_of_the_files() -> None:
    said = dict(re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|$", (ROOT / "data" / "README.md").read_text(), re.M))
    kept, chosen = (
        [path.relative_to(ROOT / "data").as_posix() for path in (ROOT / "data").glob(pattern)]
        for pattern in ("checkpoints/*/*.safetensors", "choices/*.csv")
    )
    assert set(said) == {"problems/arithmetic-words.jsonl", "digits/digits.safetensors", *chosen, *kept}
    for name, expected in said.items():
        assert hashlib.sha256((ROOT / "data" / name).read_bytes()).hexdigest() == expected, name


def test_the_word_problems_are_what_their_command_makes() -> None:
    lines = (ROOT / "data" / "problems" / "arithmetic-words.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == word_problems(40, seed=0)


def test_the_samples_shown_in_the_readme_are_measured(tmp_path: Path) -> None:
    (shown,) = re.findall(r"^```json\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    (tmp_path / "samples.jsonl").write_text(shown)
    table = measure_models([tmp_path / "samples.jsonl"], draws=100)
    curves = table[(table["quantity"] == "pass@k") & table["k"].isin([1, 4])]  # base, then tuned
    assert list(curves["value"]) == pytest.approx([0.25, 1, 0.5, 0.5])
    assert {"crossover k", "solved by base only", "second draw of base only"} <= set(table["quantity"])


def test_the_small_models_of_the_readme_train_and_are_certified(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    (code,) = (block for block in blocks if "reinforce" in block)
    short = code.replace("steps=400", "steps=2").replace("400 * 128", "2 * 128").replace("steps=50", "steps=1")
    assert len(short) == len(code) - 5  # only the numbers of steps are smaller
    names: dict[str, Any] = {}
    exec(short, names)
    assert (names["bounds"]["low"] <= names["bounds"]["high"]).all()
    assert "low" in capsys.readouterr().out
