"""One GRPO step, ours against TRL's GRPOTrainer, alternated in one process.

    python benchmarks/grpo.py                      # 16 prompts x 8 completions x 48 tokens, 1.06M-parameter Llama
    python benchmarks/grpo.py --steps 30
    python benchmarks/grpo.py --device cuda

A step is sampling, reward, advantages, one AdamW update; no KL. Both sides have the same model, prompts of 16 tokens,
completions of exactly 48, gradient clipping at 1, and rewards of a coin, so that every group is mixed and no side may
skip any. TRL's side is one `trainer.train()` in float32, from whose step-end callback our steps run in turn, in float32
and bfloat16. Each step is timed alone; the first of each is left out. Prints medians of CPU seconds and wall seconds
per step, their ratios, and the share of the matrix-product peak that the arithmetic of a step amounts to.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Literal

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

from evolm.lm.architecture import parameter_count, tiny_llama
from evolm.lm.reinforce import Reinforcement, ReinforceSettings
from evolm.lm.rewards import REWARDS
from evolm.lm.rollout import Source
from evolm.lm.tasks.base import Chance, Grades, Problem, Split
from evolm.lm.trl_bridge import dataset, grpo_config, reward_function
from evolm.lm.vocabulary import word_tokenizer

PROMPTS, GROUP, PROMPT, COMPLETION, VOCABULARY = 16, 8, 16, 48, 64
NEVER = -1  # an end token that no model emits: every completion is as long as may be


class RandomPrompts:
    """Prompts of random words; nothing is right or wrong, as the reward is a coin's."""

    name = "random prompts"
    max_new_tokens = COMPLETION

    def __init__(self) -> None:
        self.tokenizer: Any = word_tokenizer([f"w{i}" for i in range(VOCABULARY - 4)])

    def problems(self, split: Split, count: int, seed: int) -> list[Problem]:
        drawn = np.random.default_rng(seed).integers(4, VOCABULARY, (count, PROMPT))
        return [Problem(str(i), "", "", {"tokens": row}) for i, row in enumerate(drawn.tolist())]

    def encode(self, problems: Sequence[Problem]) -> list[list[int]]:
        return [problem.facts["tokens"] for problem in problems]

    def grade(self, problems: Sequence[Problem], tokens: Any, lengths: Any) -> Grades:
        nothing = np.zeros(len(problems), bool)
        return Grades(nothing, nothing, nothing)

    def chance(self, problems: Sequence[Problem]) -> Chance:
        return Chance(np.zeros(len(problems)), np.zeros(len(problems)))


class Clock:
    """CPU and wall seconds of single steps, by name."""

    def __init__(self, device: str) -> None:
        self.device, self.times = device, dict[str, list[tuple[float, float]]]()
        self.start()

    def start(self) -> None:
        self._synchronise()
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def stop(self, name: str) -> None:
        self._synchronise()
        took = time.process_time() - self._cpu, time.perf_counter() - self._wall
        self.times.setdefault(name, []).append(took)

    def median(self, name: str) -> tuple[float, float]:
        """Without the first step, which warms up."""
        cpu, wall = zip(*self.times[name][1:], strict=True)
        return statistics.median(cpu), statistics.median(wall)

    def _synchronise(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def model_on(device: str) -> Any:
    size = {"width": 128, "layers": 4, "heads": 4, "hidden": 512, "context": PROMPT + COMPLETION}
    return tiny_llama(VOCABULARY, **size, seed=0).to(device)  # type: ignore[arg-type]


def settings_of(steps: int, dtype: Literal["float32", "bfloat16"]) -> ReinforceSettings:
    return ReinforceSettings(
        algorithm="grpo",
        reward="random",
        steps=steps,
        prompts_per_step=PROMPTS,
        group_size=GROUP,
        max_new_tokens=COMPLETION,
        lr=1e-6,
        dtype=dtype,
    )


def our_steps(steps: int, device: str) -> dict[str, Callable[[int], object]]:
    task, tokenizer = RandomPrompts(), SimpleNamespace(eos_token_id=NEVER, pad_token_id=0)
    source = Source(task, tokenizer, REWARDS["random"])
    return {
        "ours, float32": Reinforcement(model_on(device), settings_of(steps, "float32"), source, None).step,
        "ours, bfloat16": Reinforcement(model_on(device), settings_of(steps, "bfloat16"), source, None).step,
    }


def race(steps: int, device: str, folder: str) -> Clock:
    import trl
    from transformers import TrainerCallback

    clock, ours, task = Clock(device), our_steps(steps + 1, device), RandomPrompts()

    class Alternate(TrainerCallback):
        """After each of TRL's steps, one of each of ours."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.stop("TRL, float32")
            for name, step in ours.items():
                clock.start()
                step(state.global_step - 1)
                clock.stop(name)
            clock.start()

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.start()

    settings = settings_of(steps + 1, "float32")
    forced = {"generation_kwargs": {"min_new_tokens": COMPLETION}, "use_cpu": device == "cpu", "report_to": []}
    quiet = {"save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True, "activation_checkpointing": False}
    reward: Any = reward_function(task, settings)
    trainer = trl.GRPOTrainer(
        model_on(device),
        reward,
        args=grpo_config(settings, folder, **forced, **quiet),
        train_dataset=dataset(task, task.problems("rl", PROMPTS * (steps + 1), 0)),
        processing_class=task.tokenizer,
        callbacks=[Alternate()],
    )
    trainer.train()
    return clock


def matmul_peak(dtype: torch.dtype, device: str, size: int = 1024) -> float:
    """Floating-point operations per second of a square matrix product."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in "ab")
    clock, best = Clock(device), 0.0
    for _ in range(20):
        clock.start()
        a @ b
        clock.stop("product")
        best = max(best, 2 * size**3 / clock.times["product"][-1][1])
    return best


def operations(parameters: int) -> float:
    """Matrix-product operations of a step that computes each shared prompt once: sampling 2, update 6 per weight."""
    tokens = PROMPTS * PROMPT + PROMPTS * GROUP * COMPLETION
    return 8.0 * parameters * tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        clock = race(arguments.steps, arguments.device, folder)
    parameters = parameter_count(model_on("cpu"))
    print(f"torch {torch.__version__}, {arguments.device}, {arguments.threads} thread(s), {parameters:,} parameters")
    print(
        f"{PROMPTS} prompts x {GROUP} completions x {COMPLETION} tokens, {arguments.steps} steps each, medians per step"
    )
    base = clock.median("TRL, float32")
    for name in clock.times:
        cpu, wall = clock.median(name)
        share = operations(parameters) / wall / matmul_peak(getattr(torch, name.split(", ")[1]), arguments.device)
        ratio = "" if name.startswith("TRL") else f"   {base[0] / cpu:4.1f}x CPU {base[1] / wall:4.1f}x wall"
        print(f"  {name:<15} {cpu:6.3f} CPU s {wall:6.3f} s wall   {share:4.0%} of the matrix-product peak{ratio}")


if __name__ == "__main__":
    main()
