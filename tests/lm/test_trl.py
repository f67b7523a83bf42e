"""Parity with TRL on the same tensors, the settings' way into its configs, and one step of its trainer offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from copy_task import CopyTask
from tokenizers.processors import TemplateProcessing

from evolm.lm.advantages import group_relative, leave_one_out
from evolm.lm.architecture import tiny_llama
from evolm.lm.forward import decoder_for
from evolm.lm.optimise import build_optimiser
from evolm.lm.policy_update import PolicyUpdate
from evolm.lm.reinforce_settings import ReinforceSettings
from evolm.lm.rollout import Rollout
from evolm.lm.trl_bridge import NotInTRL, dataset, grpo_config, reward_function, rloo_config

trl = pytest.importorskip("trl")

GROUP, GROUPS, TIME, PROMPT = 4, 3, 6, 5
OFFLINE = {"use_cpu": True, "report_to": [], "save_strategy": "no", "disable_tqdm": True, "logging_strategy": "no"}


def settings_of(**more: Any) -> ReinforceSettings:
    given = {
        "steps": 1,
        "prompts_per_step": GROUPS,
        "group_size": GROUP,
        "max_new_tokens": TIME,
        "epochs": 2,
        "lr": 1e-9,
    }
    return ReinforceSettings(**{**given, "clip": None, **more})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A tiny Llama on disk, with weights large enough that its distributions are far from uniform."""
    tiny_llama(8, width=16, layers=2, heads=2, hidden=32, context=32, init_std=0.3, seed=0).save_pretrained(tmp_path)
    CopyTask().tokenizer.save_pretrained(tmp_path)
    return tmp_path


def trainer_of(saved: Path, settings: ReinforceSettings, task: CopyTask | None = None, **more: Any) -> Any:
    task = task or CopyTask(TIME)
    rloo = settings.algorithm == "rloo"
    config = (rloo_config if rloo else grpo_config)(settings, saved / "out", **{**OFFLINE, **more})
    # By its folder, so that TRL loads it as it would a model of the hub.
    return (trl.RLOOTrainer if rloo else trl.GRPOTrainer)(
        str(saved),
        reward_function(task, settings),
        args=config,
        train_dataset=dataset(task, task.problems("rl", 12, 0)),
        processing_class=task.tokenizer,
    )


def crafted(seed: int = 0) -> tuple[Rollout, torch.Tensor]:
    """Completions of random lengths, old and reference log-probabilities off the policy's, and rewards (groups, G).

    No token is <pad>, for which transformers' embedding has no gradient.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = GROUP * GROUPS
    prompts = torch.randint(1, 8, (GROUPS, PROMPT), generator=generator).tolist()
    lengths = torch.randint(1, TIME + 1, (rows, 1), generator=generator)
    rewards = torch.randint(2, (GROUPS, GROUP), generator=generator).float()
    rewards[0, :2] = torch.tensor([0.0, 1.0])
    rollout = Rollout(
        prompts=prompts,
        prompt_of=torch.arange(GROUPS).repeat_interleave(GROUP),
        tokens=torch.randint(1, 8, (rows, TIME), generator=generator),
        mask=(torch.arange(TIME) < lengths).float(),
        logprobs=-4 * torch.rand(rows, TIME, generator=generator),
        rewards=rewards.flatten(),
        raw_rewards=rewards.flatten(),
        well_formed=torch.ones(rows, dtype=torch.bool),
        greedy_rewards=torch.empty(0),
        reference_logprobs=-4 * torch.rand(rows, TIME, generator=generator),
    )
    return rollout, rewards


def both_losses(trainer: Any, settings: ReinforceSettings, rollout: Rollout, advantages: torch.Tensor) -> Any:
    """(ours, TRL's), each loss, gradient norm and share of what the clip holds, on the same weights."""
    model = trainer.model
    trainer.current_gradient_accumulation_steps = 1
    inputs = {
        "prompt_ids": torch.tensor(rollout.prompts)[rollout.prompt_of],
        "prompt_mask": torch.ones(rollout.rows, PROMPT, dtype=torch.long),
        "completion_ids": rollout.tokens,
        "completion_mask": rollout.mask.long(),
        "advantages": advantages,
        "old_per_token_logps": rollout.logprobs,
        "old_logps": (rollout.logprobs * rollout.mask).sum(1),
        "ref_per_token_logps": rollout.reference_logprobs,
        "num_items_in_batch": rollout.mask.sum(),
    }
    model.train()
    model.zero_grad()
    loss = trainer.compute_loss(model, inputs)
    loss.backward()
    norm = float(torch.cat([p.grad.flatten() for p in model.parameters()]).norm())
    theirs = float(loss), norm, trainer._metrics["train"]["clip_ratio/region_mean"][-1]
    model.zero_grad()
    update = PolicyUpdate(decoder_for(model), build_optimiser(model, settings), settings)
    stats = update(rollout, advantages[:, None])
    return (stats.loss, stats.grad_norm, stats.clip_fraction), theirs


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dapo"])
@pytest.mark.parametrize("more", [{}, {"kl_coef": 0.1}, {"entropy_coef": 0.05, "kl_coef": 0.02, "clip_high": 0.28}])
def test_grpo_and_dapo_losses_are_trls(saved: Path, loss_type: str, more: dict[str, Any]) -> None:
    algorithm = "dapo" if loss_type == "dapo" else "grpo"
    aggregate = "sequence" if loss_type == "grpo" else "token"
    settings = settings_of(algorithm=algorithm, aggregate=aggregate, dynamic_sampling=False, **more)
    trainer = trainer_of(saved, settings)
    assert trainer.args.loss_type == loss_type
    rollout, rewards = crafted()
    ours, theirs = both_losses(trainer, settings, rollout, group_relative(rewards).flatten())
    assert ours == pytest.approx(theirs, rel=2e-4, abs=1e-6)
    assert ours[1] > 1e-3
    assert 0 < ours[2] < 1


def test_rloo_loss_is_trls(saved: Path) -> None:
    settings = settings_of(algorithm="rloo", ratio="sequence", clip_low=0.9, clip_high=20.0)
    rollout, rewards = crafted(1)
    ours, theirs = both_losses(trainer_of(saved, settings), settings, rollout, leave_one_out(rewards).flatten())
    assert ours == pytest.approx(theirs, rel=2e-4, abs=1e-6)
    assert ours[1] > 1e-3
    assert 0 < ours[2] < 1


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_one_step_of_the_trainer_runs_offline_and_takes_our_advantages(saved: Path, algorithm: str) -> None:
    settings = settings_of(algorithm=algorithm, ratio="sequence" if algorithm == "rloo" else "token", lr=1e-2, epochs=1)
    trainer = trainer_of(saved, settings)
    before = torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()])
    trainer.train()
    assert trainer.state.global_step == 1
    rewards = torch.tensor(list(trainer._logs["rewards"]["verifier"])).view(GROUPS, GROUP)
    advantages = torch.tensor(list(trainer._logs["advantages"])).view(GROUPS, GROUP)
    torch.testing.assert_close(advantages, (leave_one_out if algorithm == "rloo" else group_relative)(rewards))
    if (rewards.amax(1) > rewards.amin(1)).any():
        assert not torch.equal(before, torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))


def test_the_reward_function_grades_as_the_task_does() -> None:
    task = CopyTask(3)
    rows = dataset(task, task.problems("rl", 4, 3))
    digits = [task.tokenizer.encode(prompt)[1] for prompt in rows["prompt"]]
    reward = reward_function(task)
    assert reward(completion_ids=[[d, 2] for d in digits], problem=rows["problem"], prompts=None) == [1.0] * 4
    assert reward(completion_ids=[[3]] * 4, problem=rows["problem"]) == [0.0] * 4
    long = reward_function(task, ReinforceSettings(overlong_buffer=2, max_new_tokens=3))
    assert long(completion_ids=[[d, 2, 2] for d in digits], problem=rows["problem"]) == [0.0] * 4
    assert reward.__name__ == "verifier"


def test_prompts_reach_trl_as_the_tokens_we_would_give(saved: Path) -> None:
    task = CopyTask(TIME, padding=2)
    problems = task.problems("rl", 6, 1)
    assert [task.tokenizer.encode(text) for text in dataset(task, problems)["prompt"]] == task.encode(problems)


def test_a_prompt_that_trl_would_tokenize_otherwise_is_refused() -> None:
    task = CopyTask(TIME)
    task.encode = lambda problems: [[1, 4, 3]] * len(problems)  # type: ignore[method-assign]
    task.tokenizer._tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    assert task.tokenizer(dataset(task, task.problems("rl", 1, 0))["prompt"][0])["input_ids"] == [1, 4, 3]
    task.tokenizer._tokenizer.post_processor = TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 2)])
    with pytest.raises(ValueError, match="does not come back as the same tokens"):
        dataset(task, task.problems("rl", 1, 0))


def test_the_geometry_of_updates_is_kept(tmp_path: Path) -> None:
    settings = ReinforceSettings(
        steps=10, prompts_per_step=16, group_size=8, mini_batches=4, epochs=2, rows_per_forward=16, max_new_tokens=32
    )
    config = grpo_config(settings, tmp_path, **OFFLINE)
    assert config.per_device_train_batch_size == 16
    assert config.gradient_accumulation_steps == 2  # 32 completions per update
    assert config.generation_batch_size == 128
    assert config.num_iterations == 2
    assert config.max_steps == 80
    cosine = settings.model_copy(update={"schedule": "cosine", "warmup_steps": 1, "final_lr": 0.1})
    assert grpo_config(cosine, tmp_path, **OFFLINE).warmup_steps == 8


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"algorithm": "ppo"}, "algorithm.adv_estimator=gae"),
        ({"algorithm": "remax"}, "algorithm.adv_estimator=remax"),
        ({"algorithm": "reinforce++"}, "algorithm.adv_estimator=reinforce_plus_plus"),
        ({"algorithm": "dapo"}, "verl's DAPO recipe"),
        ({"ratio": "sequence"}, "GSPO"),
        ({"policy_coef": 0.0}, "constant reward"),
        ({"max_new_tokens": None}, "set max_new_tokens"),
        ({"optimiser": "sgd", "momentum": 0.9}, "takes no momentum"),
        ({"rows_per_forward": 5}, "must divide the 12 completions"),
    ],
)
def test_what_trl_cannot_do_is_refused_with_where_it_can_be_had(
    more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(NotInTRL, match=message):
        grpo_config(settings_of(**more), tmp_path)


def test_rloo_refuses_what_its_trainer_has_otherwise(tmp_path: Path) -> None:
    with pytest.raises(NotInTRL, match="one action"):
        rloo_config(settings_of(algorithm="rloo"), tmp_path)
    with pytest.raises(NotInTRL, match="subtracts its KL"):
        rloo_config(settings_of(algorithm="rloo", ratio="sequence", kl_coef=0.1), tmp_path)
    with pytest.raises(NotInTRL, match="does not do grpo"):
        rloo_config(settings_of(), tmp_path)
