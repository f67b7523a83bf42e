"""Success probabilities without sampling, against 1,024 samples per problem, side by side in one process run.

    python benchmarks/certify.py                       # 12 problems of the routing task, 3 rounds
    python benchmarks/certify.py --problems 50

The model is the base model of 0.1M parameters that is kept with the project, the task that of the pass@k chapter. Each
side takes its turn on the same problems: the sum over accepted completions with bounds 1e-7 apart, 1,024 samples per
problem by our sampler (which chooses the prefix tree), and by transformers' generate. Prints medians of CPU
milliseconds per problem, ratios, and what each says of pass@256. The samples' answer has an error that no longer
running removes but by the root of their number; the bounds have none to speak of.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from evolm.findings.rlvr_boundary.base import kept_base
from evolm.lm.certify import certified, count_correct
from evolm.lm.checkpoint import load_checkpoint
from evolm.lm.forward import decoder_for
from evolm.lm.passk import pass_at_k, pass_at_k_from_p
from evolm.lm.tasks.automaton import AutomatonTask
from evolm.lm.tasks.automaton_world import AutomatonSettings

SAMPLES, K = 1024, 256


def generate(model: Any, task: AutomatonTask, problems: list[Any]) -> np.ndarray[Any, Any]:
    """How many of 1,024 samples of each problem are correct, by transformers' generate; one problem per batch."""
    found = []
    for problem in problems:
        prompt = torch.tensor(task.encode([problem]))
        out = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=True, num_return_sequences=SAMPLES, top_k=0,
            max_new_tokens=task.max_new_tokens, eos_token_id=int(task.eos), pad_token_id=int(task.pad),
        )[:, prompt.shape[1] :]  # fmt: skip
        lengths = (out != int(task.pad)).sum(1)
        found.append(int(task.grade([problem] * SAMPLES, out, lengths).correct.sum()))
    return np.array(found)


def main() -> None:
    """Take turns, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model = load_checkpoint(kept_base()).model.eval()
    decoder, task = decoder_for(model), AutomatonTask(AutomatonSettings(cue=0.5, emit_start=True, answer_states=8))
    problems = task.problems("test", chosen.problems, seed=0)

    def summed() -> np.ndarray[Any, Any]:
        return pass_at_k_from_p(certified(decoder, task, problems, tolerance=1e-7)["low"].to_numpy(), K)

    sides: dict[str, Callable[[int], np.ndarray[Any, Any]]] = {
        "generate": lambda seed: pass_at_k(SAMPLES, generate(model, task, problems), K),
        "sampler": lambda seed: pass_at_k(SAMPLES, count_correct(decoder, task, problems, SAMPLES, seed=seed), K),
        "certified": lambda seed: summed(),
    }
    spent: dict[str, list[float]] = {name: [] for name in sides}
    told: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(chosen.rounds + 1):
        for name, side in sides.items():
            start = time.process_time()
            value = float(np.mean(side(turn)))
            if turn:  # the first turn warms up
                spent[name].append(time.process_time() - start)
                told[name].append(value)
    print(f"torch {torch.__version__}, cpu, 1 thread, {chosen.problems} problems, {SAMPLES:,} samples per problem")
    most = statistics.median(spent["generate"])
    for name in sides:
        median = statistics.median(spent[name])
        values = ", ".join(f"{value:.4f}" for value in told[name])
        each = 1e3 * median / chosen.problems
        print(f"  {name:10s} {each:8.1f} CPU ms per problem {most / median:7.1f}x   pass@{K}: {values}")


if __name__ == "__main__":
    main()
