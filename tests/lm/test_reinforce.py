"""The reinforcement loop: it learns, repeats itself, resumes, skips exactly, and says clearly what is wrong."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from copy_task import CopyTask
from pydantic import ValidationError
from transformers import LlamaForCausalLM

from evolm.lm.architecture import tiny_llama, tiny_olmoe
from evolm.lm.checkpoint import CheckpointError, load_checkpoint
from evolm.lm.critic import Critic
from evolm.lm.forward import decoder_for
from evolm.lm.optimise import build_optimiser
from evolm.lm.policy_loss import token_logprobs
from evolm.lm.policy_update import PolicyUpdate, advantages_for, clip_gradient
from evolm.lm.reinforce import ReinforceSettings, reinforce
from evolm.lm.rewards import REWARDS, BadReward, overlong_penalty
from evolm.lm.rollout import Rollout, Source, collect, completion_logits
from evolm.lm.tasks.base import Grades

ALGORITHMS = ["ppo", "grpo", "rloo", "remax", "reinforce++", "dapo"]


def model(seed: int = 0) -> LlamaForCausalLM:
    return tiny_llama(8, width=16, layers=1, heads=2, hidden=32, context=16, seed=seed)


def quick(**more: Any) -> ReinforceSettings:
    return ReinforceSettings(**{"steps": 3, "prompts_per_step": 4, "group_size": 8, "lr": 1e-2, **more})


def weights(of: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in of.parameters()])


def rollout_of(settings: ReinforceSettings, task: CopyTask, policy: Any, step: int = 0) -> Rollout:
    source = Source(task, task.tokenizer, REWARDS[settings.reward])
    return collect(decoder_for(policy), source, settings, step)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns_to_copy(algorithm: str) -> None:
    settings = quick(algorithm=algorithm, steps=40, prompts_per_step=16, max_draws=2, lr=2e-2, critic_lr=2e-2)
    log = reinforce(model(), CopyTask(), settings).log
    assert log.reward.iloc[0] < 0.3
    assert log.reward.tail(10).mean() > 0.6  # guessing among the four digits gives a quarter
    assert list(log.step) == list(range(1, 41))


@pytest.mark.parametrize("more", [{"optimiser": "sgd", "lr": 0.1, "momentum": 0.9}, {"dtype": "bfloat16", "epochs": 2}])
def test_the_other_optimiser_and_precision_learn_too(more: dict[str, Any]) -> None:
    log = reinforce(model(), CopyTask(), quick(steps=40, prompts_per_step=16, **more)).log
    assert log.reward.rolling(5).mean().max() > 0.35


def test_a_seed_repeats_a_run_bit_for_bit_and_another_does_not() -> None:
    first, again, other = (reinforce(model(), CopyTask(), quick(seed=seed, epochs=2)) for seed in (1, 1, 2))
    assert torch.equal(weights(first.model), weights(again.model))
    pd.testing.assert_frame_equal(first.log, again.log)
    assert first.id == again.id != other.id


class Interrupted(Exception):
    """What stops a run in the middle."""


@pytest.mark.parametrize(
    "settings",
    [
        quick(algorithm="ppo", steps=5, checkpoint_every=2),
        quick(algorithm="grpo", steps=5, checkpoint_every=2, kl_coef=0.1, optimiser="sgd", momentum=0.9),
        quick(algorithm="dapo", steps=5, checkpoint_every=2, epochs=2, mini_batches=2),
    ],
)
def test_an_interrupted_run_resumes_to_the_same_result(settings: ReinforceSettings, tmp_path: Path) -> None:
    def stop(step: int, _: Any) -> None:
        if step == 3:
            raise Interrupted

    whole = reinforce(model(), CopyTask(), settings)
    with pytest.raises(Interrupted):
        reinforce(model(), CopyTask(), settings, folder=tmp_path, on_step=stop)
    seen: list[int] = []
    resumed = reinforce(model(), CopyTask(), settings, folder=tmp_path, on_step=lambda step, _: seen.append(step))
    assert seen == [3, 4, 5]
    assert torch.equal(weights(whole.model), weights(resumed.model))
    pd.testing.assert_frame_equal(whole.log, resumed.log)
    assert list(resumed.checkpoints) == [2, 4, 5]
    assert load_checkpoint(resumed.checkpoints[5]).id == whole.id


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    settings = quick(steps=1, prompts_per_step=16)
    reinforce(model(), CopyTask(), settings, folder=tmp_path)
    with pytest.raises(CheckpointError, match="another run"):
        reinforce(model(), CopyTask(), settings.model_copy(update={"lr": 1e-3}), folder=tmp_path)
    with pytest.raises(CheckpointError, match="another run"):
        reinforce(model(), CopyTask(padding=1), settings, folder=tmp_path)


@pytest.mark.parametrize("more", [{"reward": "zero"}, {"policy_coef": 0.0}])
def test_where_there_is_nothing_to_learn_nothing_moves(more: dict[str, Any]) -> None:
    policy = model()
    before = weights(policy).clone()
    reinforce(policy, CopyTask(), quick(**more))
    assert torch.equal(weights(policy), before)


def test_weight_decay_goes_on_without_reward() -> None:
    policy = model()
    before = weights(policy).norm()
    reinforce(policy, CopyTask(), quick(reward="zero", weight_decay=0.5))
    assert weights(policy).norm() < before


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "remax", "reinforce++"])
def test_leaving_out_groups_without_advantage_is_exact(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = quick(algorithm=algorithm, prompts_per_step=16, group_size=4, epochs=2)
    task, policies = CopyTask(), [model(), model()]
    rollout = rollout_of(settings, task, policies[0])
    advantages = advantages_for(rollout, settings)
    if algorithm != "reinforce++":  # whose baseline is the batch's, so that no group is without
        assert not advantages.view(16, -1).any(1).all()
    stats = []
    for policy, everything in zip(policies, (False, True), strict=True):
        if everything:
            monkeypatch.setattr(PolicyUpdate, "_groups_that_matter", lambda self, whole, a: torch.arange(16))
        optimiser = build_optimiser(policy, settings)
        stats.append(PolicyUpdate(decoder_for(policy), optimiser, settings)(rollout, advantages))
    assert stats[0].loss == pytest.approx(stats[1].loss, abs=1e-6)
    assert stats[0].grad_norm == pytest.approx(stats[1].grad_norm, rel=1e-4)
    gradients = [torch.cat([p.grad.flatten() for p in policy.parameters()]) for policy in policies]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "more", [{}, {"ratio": "sequence"}, {"aggregate": "sequence", "kl_coef": 0.1, "entropy_coef": 0.1}]
)
def test_an_update_in_parts_is_the_update_as_a_whole(more: dict[str, Any]) -> None:
    settings = quick(**more, epochs=2, rows_per_forward=8)
    stats = []
    for one in (settings, settings.model_copy(update={"rows_per_forward": None})):
        policy = model()
        rollout = rollout_of(one, CopyTask(3), policy)
        reference = token_logprobs(completion_logits(decoder_for(model(1)), rollout, 8), rollout.tokens).detach()
        object.__setattr__(rollout, "reference_logprobs", reference)
        optimiser = build_optimiser(policy, one)
        stats.append(PolicyUpdate(decoder_for(policy), optimiser, one)(rollout, advantages_for(rollout, one)))
    assert stats[0].loss == pytest.approx(stats[1].loss, abs=1e-6)
    assert stats[0].grad_norm == pytest.approx(stats[1].grad_norm, rel=1e-4)


@pytest.mark.parametrize("build", [model, lambda: tiny_olmoe(8, width=16, layers=1, heads=2, hidden=16, seed=0)])
def test_training_sees_the_samplers_logprobs_whatever_the_prompts_lengths(build: Any) -> None:
    policy, task = build(), CopyTask(3, padding=2)
    rollout = rollout_of(quick(prompts_per_step=8), task, policy)
    assert len({len(prompt) for prompt in rollout.prompts}) == 2
    logits = completion_logits(decoder_for(policy), rollout, 8)
    logprobs = token_logprobs(logits, rollout.tokens) * rollout.mask
    torch.testing.assert_close(logprobs, rollout.logprobs, atol=2e-5, rtol=1e-4)
    row = 9  # of the second prompt
    prompt, length = rollout.prompts[int(rollout.prompt_of[row])], int(rollout.mask[row].sum())
    alone = policy(torch.tensor([prompt + rollout.tokens[row, :length].tolist()])).logits[0, len(prompt) - 1 : -1]
    torch.testing.assert_close(logits[row, :length], alone, atol=2e-5, rtol=1e-4)


def test_one_update_per_rollout_never_clips_and_many_do() -> None:
    once = reinforce(model(), CopyTask(), quick(lr=5e-2)).log
    assert (once.clip_fraction == 0).all()
    often = reinforce(model(), CopyTask(), quick(lr=5e-2, epochs=4, mini_batches=2)).log
    assert often.clip_fraction.max() > 0.05


def test_the_log_describes_the_rollout() -> None:
    log = reinforce(model(), CopyTask(1), quick(steps=1, prompts_per_step=64, reward="random"), reference=model()).log
    row = log.iloc[0]
    assert row.reward == pytest.approx(0.5, abs=0.12)
    assert row.entropy == pytest.approx(math.log(8), abs=0.05)
    assert row.well_formed == pytest.approx(0.5, abs=0.15)  # four digits of eight words
    assert row.kl == pytest.approx(0, abs=1e-6)
    assert (row.length, row.groups_drawn, row.groups_used) == (1, 64, 64)
    assert row.mixed_groups > 0.9


def test_the_kl_term_holds_the_policy_to_where_it_began() -> None:
    task, steps = CopyTask(), {"steps": 25, "prompts_per_step": 8}
    free = reinforce(model(), task, quick(**steps), reference=model()).log
    held = reinforce(model(), task, quick(**steps, kl_coef=20.0)).log
    assert held.kl.iloc[-1] < 0.1 * free.kl.iloc[-1]


def test_entropy_alone_moves_in_the_direction_of_its_sign() -> None:
    task, base = CopyTask(1), model()
    reinforce(base, task, quick(steps=10, prompts_per_step=16))
    ends = {}
    for sign in (-1, 1):
        policy = model()
        policy.load_state_dict(base.state_dict())
        log = reinforce(policy, task, quick(steps=8, policy_coef=0.0, entropy_coef=sign, prompts_per_step=16)).log
        ends[sign] = log.entropy.iloc[-1] - log.entropy.iloc[0]
    assert ends[-1] < 0 < ends[1]


def test_the_critic_learns_the_return_and_leaves_the_policy_alone() -> None:
    policy, settings = model(), quick(algorithm="ppo", prompts_per_step=8, critic_lr=1e-2, rows_per_forward=16)
    before = weights(policy).clone()
    rollout = rollout_of(settings, CopyTask(3), policy)
    critic = Critic(policy, settings)
    values = critic.values(rollout)
    assert not values.any()
    returns = rollout.rewards[:, None] * rollout.mask
    losses = [critic.update(rollout, values, returns) for _ in range(60)]
    assert losses[0] == pytest.approx(0.5 * float(returns.square().sum() / rollout.mask.sum()), rel=1e-4)
    assert losses[-1] < 0.7 * losses[0]
    assert torch.equal(weights(policy), before)
    assert policy.lm_head.out_features == 8


def test_a_tokenizer_without_a_padding_token_will_do() -> None:
    task = CopyTask()
    task.tokenizer.pad_token = None
    assert Source(task, task.tokenizer, REWARDS["verifier"]).pad == task.tokenizer.eos_token_id
    assert len(reinforce(model(), task, quick(steps=1)).log) == 1


def test_fixed_problems_come_in_turn_and_one_can_fill_the_batch() -> None:
    task = CopyTask()
    problems = task.problems("rl", 3, seed=5)
    source = Source(task, task.tokenizer, REWARDS["verifier"], problems)
    settings = quick(prompts_per_step=2)
    seen = [collect(decoder_for(model()), source, settings, step).prompts for step in range(3)]
    assert seen == [task.encode([problems[i] for i in pair]) for pair in ((0, 1), (2, 0), (1, 2))]
    one = Source(task, task.tokenizer, REWARDS["verifier"], problems[:1] * 4)
    assert collect(decoder_for(model()), one, quick(), 7).prompts == task.encode(problems[:1] * 4)


def test_dynamic_sampling_keeps_mixed_groups_only_and_refills() -> None:
    settings = quick(algorithm="dapo", group_size=2, prompts_per_step=6)
    rollout = rollout_of(settings, CopyTask(), model())
    rewards = rollout.rewards.view(-1, 2)
    assert rewards.shape == (6, 2)
    assert (rewards.sum(1) == 1).all()
    assert rollout.facts["groups_drawn"] > 6 == rollout.facts["groups_used"]
    assert rollout.facts["reward"] < 0.5  # of everything drawn, not of what was kept


def test_dynamic_sampling_that_finds_nothing_stops_and_teaches_nothing() -> None:
    policy = model()
    before = weights(policy).clone()
    log = reinforce(policy, CopyTask(), quick(algorithm="dapo", reward="zero", max_draws=3, steps=1)).log
    assert log.groups_used.tolist() == [0]
    assert log.groups_drawn.tolist() == [12]
    assert torch.equal(weights(policy), before)


def test_named_rewards_read_the_grades_alone() -> None:
    grades = Grades(np.array([True, False, False]), np.array([True, True, False]), np.array([True, False, False]))
    rng = np.random.default_rng(0)
    assert REWARDS["verifier"](grades, rng).tolist() == [1, 0, 0]
    assert REWARDS["format"](grades, rng).tolist() == [1, 1, 0]
    assert REWARDS["zero"](grades, rng).tolist() == [0, 0, 0]
    many = Grades(*(np.zeros(4000, bool) for _ in range(3)))
    assert REWARDS["random"](many, rng).mean() == pytest.approx(0.5, abs=0.04)


def test_the_length_penalty_grows_over_the_buffer() -> None:
    assert overlong_penalty(np.array([1, 8, 9, 10, 12]), 12, 4).tolist() == [0, 0, -0.25, -0.5, -1]
    rollout = rollout_of(quick(algorithm="grpo", overlong_buffer=2), CopyTask(3), model())
    assert not torch.equal(rollout.rewards, rollout.raw_rewards)
    assert (rollout.rewards <= rollout.raw_rewards).all()


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (
            lambda grades, rng: np.where(np.arange(len(grades.correct)) == 3, np.nan, 0.0),
            "nan to completion 3 at step 0",
        ),
        (lambda grades, rng: np.full(32, np.inf), "32 of 32 are not finite"),
        (lambda grades, rng: np.zeros(2), "one number for each of 32 completions"),
    ],
)
def test_a_reward_that_is_no_number_is_named(reward: Any, message: str) -> None:
    with pytest.raises(BadReward, match=message):
        reinforce(model(), CopyTask(), quick(), reward=reward)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"algorithm": "grpo", "group_size": 1}, "compares the samples of one prompt"),
        ({"mini_batches": 3, "prompts_per_step": 4}, "must divide prompts_per_step"),
        ({"algorithm": "ppo", "group_size": 1, "prompts_per_step": 1}, "one completion per step is not enough"),
        ({"algorithm": "trpo"}, "Input should be"),
        ({"learning_rate": 1e-3}, "Extra inputs"),
        ({"temperature": 0.0}, "greater than 0"),
    ],
)
def test_settings_that_make_no_run_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ReinforceSettings(**given)


def test_dapo_brings_its_own_defaults_and_they_can_be_overridden() -> None:
    dapo = ReinforceSettings(algorithm="dapo")
    assert (dapo.clip_low, dapo.clip_high, dapo.dynamic_sampling, dapo.aggregate) == (0.2, 0.28, True, "token")
    assert ReinforceSettings(algorithm="dapo", clip_high=0.3).clip_high == 0.3
    assert ReinforceSettings().clip_high == 0.2


def test_a_run_that_cannot_begin_says_why() -> None:
    task = CopyTask()
    with pytest.raises(ValueError, match="problems is empty"):
        reinforce(model(), task, quick(), problems=[])
    with pytest.raises(ValueError, match="KL needs the same tokens"):
        reinforce(model(), task, quick(), reference=tiny_llama(9, width=16, layers=1, seed=0))
    task.tokenizer.eos_token = None
    with pytest.raises(ValueError, match="has no eos_token"):
        reinforce(model(), task, quick())
    task.tokenizer = None
    with pytest.raises(ValueError, match="brings no tokenizer"):
        reinforce(model(), task, quick())


def test_a_policy_that_diverged_is_named() -> None:
    policy = model()
    with torch.no_grad():
        policy.model.norm.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="diverged"):
        reinforce(policy, CopyTask(), quick())
    parameter = torch.zeros(2, requires_grad=True)
    parameter.grad = torch.tensor([1.0, torch.inf])
    with pytest.raises(FloatingPointError, match="norm is inf: the policy has diverged"):
        clip_gradient([parameter], 1.0)
