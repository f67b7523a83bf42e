"""Pre-training with our loop against transformers' Trainer, alternated in one process run.

    python benchmarks/pretrain.py                                    # both models, float32 and bfloat16, 3 rounds
    python benchmarks/pretrain.py --models 1.06M --steps 100 --rounds 5
    python benchmarks/pretrain.py --device cuda --batch-size 2048 --steps 500

Both train the same Llama from the same weights on the same batches in the same order, with fused AdamW, cosine
schedule, weight decay and clipping alike; `loss differs by` is the relative difference of the trained models' losses
on fresh data, and says that they computed the same thing. The Trainer is given what serves it best: its faster
attention (`--attention`; "sdpa" was half as fast in bfloat16), no log, no checkpoints, no worker processes.

Prints tokens per CPU second and per second (medians over rounds), ratios (median, and lowest to highest over rounds),
and the share of the GEMM peak: operations of the model's matrix products, forward and backward, per CPU second (per
second on a GPU), over those of large square products measured in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PrinterCallback, Trainer, TrainingArguments
from transformers.utils import logging

from evolm.lm.architecture import tiny_llama
from evolm.lm.token_data import IGNORED, TokenData, order
from evolm.lm.train import TrainSettings, train_on_tokens

MODELS = {
    "109k": {"vocab_size": 64, "width": 64, "layers": 2, "heads": 2, "hidden": 192},
    "1.06M": {"vocab_size": 64, "width": 128, "layers": 4, "heads": 4, "hidden": 512},
}
LENGTH = 64  # tokens per sequence
Seconds = tuple[float, float]  # of the processor, and by the clock


def timed(work: Callable[[], object], device: str) -> Seconds:
    if device == "cuda":
        torch.cuda.synchronize()
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.process_time() - cpu, time.perf_counter() - wall


def gemm_peak(dtype: str, device: str) -> float:
    """Operations per CPU second (per second on a GPU) of large square products; the best of several."""
    size = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in "ab")
    seconds = [timed(lambda: [a @ b for _ in range(4)], device)[device == "cuda"] / 4 for _ in range(6)]
    return 2 * size**3 / min(seconds)


def operations_per_token(model: LlamaForCausalLM) -> float:
    """Of the matrix products, forward and backward: 6 per weight, and attention's products over the whole length."""
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() == 2)  # head = embedding
    return 6.0 * (weights + 2 * model.config.num_hidden_layers * LENGTH * model.config.hidden_size)


def random_sequences(count: int, vocab_size: int, seed: int) -> TokenData:
    """Sequences with something to learn: each token is the last plus a step that its sequence keeps to, or noise."""
    generator = torch.Generator().manual_seed(seed)
    start, step = torch.randint(vocab_size, (2, count, 1), generator=generator)
    tokens = (start + step * torch.arange(LENGTH)) % vocab_size  # (count, LENGTH)
    noise = torch.randint(vocab_size, (count, LENGTH), generator=generator)
    tokens = torch.where(torch.rand(count, LENGTH, generator=generator) < 0.1, noise, tokens)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[:, 0] = False
    return TokenData(tokens, mask)


def trainer_for(
    model: LlamaForCausalLM, rows: Tensor, settings: TrainSettings, device: str, attention: str, folder: str
) -> Trainer:
    """transformers' Trainer, which reads `rows`, (steps x batch, time), from first to last."""
    model.set_attn_implementation(attention)
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        train_sampling_strategy="sequential",
        learning_rate=settings.lr,
        lr_scheduler_type="cosine",
        weight_decay=settings.weight_decay,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        max_grad_norm=settings.clip or 0.0,
        optim="adamw_torch_fused",
        bf16=settings.dtype == "bfloat16",
        use_cpu=device == "cpu",
        dataloader_pin_memory=device == "cuda",
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    targets = rows.clone()
    targets[:, 0] = IGNORED  # nothing predicts it, but the Trainer would count it into the mean
    data = [{"input_ids": row, "labels": target} for row, target in zip(rows, targets, strict=True)]
    trainer = Trainer(model, arguments, train_dataset=data)
    trainer.remove_callback(PrinterCallback)
    return trainer


@torch.no_grad()
def loss_on(model: LlamaForCausalLM, tokens: Tensor) -> float:
    tokens = tokens.to(model.device)
    return float(model(tokens, labels=tokens).loss)


def compare(name: str, dtype: str, options: argparse.Namespace) -> str:
    def fresh() -> LlamaForCausalLM:
        return tiny_llama(**MODELS[name], context=LENGTH, seed=0).to(options.device)

    batch, vocab_size = options.batch_size, MODELS[name]["vocab_size"]
    data, unseen = random_sequences(20_000, vocab_size, 0), random_sequences(512, vocab_size, 1)
    spent: dict[str, list[Seconds]] = {"ours": [], "Trainer": []}
    losses: dict[str, float] = {}
    peak = 0.0
    for number in range(-1, options.rounds):  # round -1 warms up
        settings = TrainSettings(
            steps=options.steps if number >= 0 else 5,
            batch_size=batch,
            lr=2e-3,
            schedule="cosine",
            weight_decay=0.1,
            dtype=dtype,  # type: ignore[arg-type]
        )
        peak = max(peak, gemm_peak(dtype, options.device))
        seen = torch.cat(
            [torch.from_numpy(order(len(data), batch, step, settings.seed)) for step in range(settings.steps)]
        )
        ours, theirs = fresh(), fresh()
        with tempfile.TemporaryDirectory() as folder:
            trainer = trainer_for(theirs, data.tokens[seen], settings, options.device, options.attention, folder)
            snapshots = train_on_tokens(ours, data, settings, progress=False)  # lazy: nothing runs yet
            work: dict[str, Callable[[], object]] = {"ours": partial(list, snapshots), "Trainer": trainer.train}
            for arm in spent if number % 2 else reversed(spent):
                seconds = timed(work[arm], options.device)
                if number >= 0:
                    spent[arm].append(seconds)
        losses = {"ours": loss_on(ours, unseen.tokens), "Trainer": loss_on(theirs, unseen.tokens)}
    return report(name, dtype, spent, losses, peak, operations_per_token(fresh()), options)


def report(
    name: str,
    dtype: str,
    spent: dict[str, list[Seconds]],
    losses: dict[str, float],
    peak: float,
    operations: float,
    options: argparse.Namespace,
) -> str:
    tokens = options.steps * options.batch_size * LENGTH
    differs = abs(losses["ours"] / losses["Trainer"] - 1)
    lines = [
        f"{name} {dtype}   batch {options.batch_size} x {LENGTH}, {options.steps} steps, {options.rounds} rounds   "
        f"GEMM peak {peak / 1e9:.0f} GFLOP/s   loss {losses['ours']:.4f}, differs by {differs:.1e}"
    ]
    for arm, seconds in spent.items():
        cpu, wall = (statistics.median(column) for column in zip(*seconds, strict=True))
        share = tokens * operations / (wall if options.device == "cuda" else cpu) / peak
        lines.append(
            f"  {arm:<8} {tokens / cpu:10,.0f} tokens/CPU s {tokens / wall:10,.0f} tokens/s   {share:4.0%} of peak"
        )
    for column, kind in enumerate(("CPU", "wall")):
        pairs = zip(spent["Trainer"], spent["ours"], strict=True)
        ratios = sorted(theirs[column] / ours[column] for theirs, ours in pairs)
        middle = statistics.median(ratios)
        lines.append(f"  ratio    {middle:5.2f}x {kind:<4} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--dtypes", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=64, help="sequences")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--attention", choices=["eager", "sdpa"], default="eager", help="the Trainer's")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=UserWarning, module="accelerate|transformers")
    print(f"torch {torch.__version__}, {options.device}, {options.threads} thread(s)")
    for name in options.models:
        for dtype in options.dtypes:
            print(compare(name, dtype, options), flush=True)


if __name__ == "__main__":
    main()
