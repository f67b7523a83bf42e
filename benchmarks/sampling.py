"""The sampler against transformers' generate, side by side in one process run.

    python benchmarks/sampling.py                          # B = 64, 512, 2048, then n = 1024 of one prompt
    python benchmarks/sampling.py --rows 512 --repeats 1 --dtypes float32
    python benchmarks/sampling.py --rows --entropies 2     # the tree alone
    python benchmarks/sampling.py --device cuda

The model is a Llama of 1.06M parameters (4 layers of width 128); prompts have 16 tokens, completions 48, none of
which ends early. Sampler and generate alternate; medians over repeats. `of peak` counts the products with the model's
weights, prompts included, as a share of the speed of one large product of the same dtype, measured in the same run.
`products` is what they take by themselves, in their own shapes: the limit for any sampler that computes every row.
What separates us from it are attention, norms, gates and rotations and reading the cache; drawing the tokens is under
1 %.

Of many samples of one prompt it is the distinct prefixes that cost, and their number depends on the model's entropy.
The models compared have 2 and 6 nats per completion (a model tuned by reinforcement and its base in the routing
task, whose perplexities are 1.25 and 1.9 over 10 tokens), made by scaling the logits of random weights, and as much
as the vocabulary allows (inf: random weights as they are).
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from evolm.lm.architecture import tiny_llama
from evolm.lm.completions import Samples
from evolm.lm.forward import decoder_for
from evolm.lm.sample import sample

VOCAB, PROMPT, NEW = 64, 16, 48
LAYERS, WIDTH, HIDDEN = 4, 128, 512
#: Multiply-adds of the weight matrices for one token: in the layers, and for its logits.
IN_LAYERS, FOR_LOGITS = LAYERS * (4 * WIDTH**2 + 3 * WIDTH * HIDDEN), WIDTH * VOCAB


@dataclass
class Timing:
    """Seconds of each repeat."""

    cpu: list[float]
    wall: list[float]

    def median(self) -> tuple[float, float]:
        return statistics.median(self.cpu), statistics.median(self.wall)

    def busy(self, device: str) -> list[float]:
        """Seconds at work: on the CPU those of a thread, which other programs on the machine lengthen less."""
        return self.wall if device == "cuda" else [seconds / torch.get_num_threads() for seconds in self.cpu]


def alternate(works: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, Timing]:
    """CPU and wall seconds of each of `works`, in turns, after one turn that is not counted."""
    timings = {name: Timing([], []) for name in works}
    for repeat in range(repeats + 1):
        for name, work in works.items():
            if device == "cuda":
                torch.cuda.synchronize()
            cpu, wall = time.process_time(), time.perf_counter()
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            if repeat:
                timings[name].cpu.append(time.process_time() - cpu)
                timings[name].wall.append(time.perf_counter() - wall)
    return timings


def gemm_peak(dtype: torch.dtype, device: str, size: int) -> float:
    """FLOP per second of one large square product."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in "ab")
    timing = alternate({"product": lambda: a @ b}, 10, device)["product"]
    return 2 * size**3 / min(timing.busy(device))


def own_products(rows: int, dtype: torch.dtype, device: str) -> Callable[[], None]:
    """The matrix products of the prompts and of `NEW` steps of `rows` rows, and nothing else."""
    shapes = [(3 * WIDTH, WIDTH), (WIDTH, WIDTH), (2 * HIDDEN, WIDTH), (WIDTH, HIDDEN)]
    weights = [torch.randn(shape, device=device).to(dtype) for shape in shapes * LAYERS + [(VOCAB, WIDTH)]]
    inputs = {width: torch.randn(rows, width, device=device).to(dtype) for width in (WIDTH, HIDDEN)}

    def work() -> None:
        # A prompt of t tokens costs as much as t steps, but for the logits; the last new token is never read.
        for step in range(PROMPT + NEW - 1):
            for weight in weights if step >= PROMPT - 1 else weights[:-1]:
                torch.nn.functional.linear(inputs[weight.shape[1]], weight)

    return work


def build(entropy: float) -> Any:
    """The model, its logits scaled until its completions have `entropy` nats."""
    model = tiny_llama(VOCAB, width=WIDTH, layers=LAYERS, heads=4, hidden=HIDDEN, context=PROMPT + NEW, seed=0).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    if math.isinf(entropy):
        return model
    low, high = 0.0, 12.0
    for _ in range(12):
        scale = math.exp((low + high) / 2)
        model.model.norm.weight.data.fill_(scale)
        drawn = ours(decoder_for(model), prompts(1), 256, "auto")()
        nats = -float((drawn.count * drawn.logprobs.sum(1)).sum() / 256)
        low, high = ((low + high) / 2, high) if nats > entropy else (low, (low + high) / 2)
    return model


def prompts(rows: int) -> list[list[int]]:
    return torch.randint(4, VOCAB, (rows, PROMPT), generator=torch.Generator().manual_seed(0)).tolist()


def ours(decoder: Any, given: list[list[int]], n: int, method: Any) -> Callable[[], Samples]:
    return lambda: sample(decoder, given, n, max_new_tokens=NEW, eos=None, pad=0, seed=0, method=method)


def theirs(model: Any, given: list[list[int]], n: int) -> Callable[[], Any]:
    tokens = torch.tensor(given, device=model.device)
    mask = torch.ones_like(tokens)
    options = {"do_sample": True, "top_k": 0, "top_p": 1.0, "max_new_tokens": NEW, "num_return_sequences": n}
    return lambda: model.generate(tokens, attention_mask=mask, **options)


def table(timings: dict[str, Timing], tokens: int, read: dict[str, int], peak: float, device: str) -> str:
    """One line per way: seconds, new tokens per second, share of the peak, ratios to generate.

    `read` says how many tokens, prompts included, each way has to put through the model for `tokens` new ones.
    """
    lines = []
    for name, timing in timings.items():
        (cpu, wall), (cpu_0, wall_0) = timing.median(), timings["generate"].median()
        share = 2 * (IN_LAYERS + FOR_LOGITS) * read[name] / statistics.median(timing.busy(device)) / peak
        ratio = "" if name == "generate" else f"   {cpu_0 / cpu:5.1f}x CPU {wall_0 / wall:5.1f}x wall"
        speed = f"{tokens / wall:10,.0f} tokens/s  {share:6.1%} of peak"
        lines.append(f"  {name:<9} {cpu:7.2f} CPU s {wall:7.2f} s wall {speed}{ratio}")
    return "\n".join(lines)


def many_prompts(rows: int, dtype: torch.dtype, device: str, repeats: int, peak: float) -> str:
    model, given = build(math.inf).to(device), prompts(rows)
    works: dict[str, Callable[[], object]] = {
        "generate": theirs(copy.deepcopy(model).to(dtype), given, 1),
        "sampler": ours(decoder_for(model, dtype), given, 1, "lockstep"),
        "products": own_products(rows, dtype, device),
    }
    read = dict.fromkeys(works, rows * (PROMPT + NEW - 1))
    lines = table(alternate(works, repeats, device), rows * NEW, read, peak, device)
    return f"{str(dtype)[6:]}, {rows} prompts, one sample each\n{lines}"


def one_prompt(entropy: float, n: int, dtype: torch.dtype, device: str, repeats: int, peak: float) -> str:
    model, given = build(entropy).to(device), prompts(1)
    decoder = decoder_for(model, dtype)
    works: dict[str, Callable[[], object]] = {
        "generate": theirs(copy.deepcopy(model).to(dtype), given, n),
        "tree": ours(decoder, given, n, "tree"),
        "auto": ours(decoder, given, n, "auto"),
        "lockstep": ours(decoder, given, n, "lockstep"),
    }
    drawn = ours(decoder, given, n, "tree")()
    found = sum(len(drawn.tokens[:, :t].unique(dim=0)) for t in range(1, NEW))  # the last token is never read
    read = dict.fromkeys(works, PROMPT + n * (NEW - 1)) | {"tree": PROMPT + found}
    read["generate"] = n * (PROMPT + NEW - 1)
    read["auto"] = min(read["tree"], read["lockstep"])
    nats = -float((drawn.count * drawn.logprobs.sum(1)).sum() / n)
    title = f"{str(dtype)[6:]}, one prompt, {n} samples, {nats:.1f} nats per completion: "
    prefixes = f"{found} distinct prefixes to read of {n * (NEW - 1)}, {n * (NEW - 1) / found:.1f}x fewer"
    return f"{title}{prefixes}\n{table(alternate(works, repeats, device), n * NEW, read, peak, device)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[64, 512, 2048], help="batch sizes")
    parser.add_argument("--n", type=int, default=1024, help="samples of one prompt")
    parser.add_argument(
        "--entropies", type=float, nargs="*", default=[2.0, 6.0, math.inf], help="nats per completion of the models"
    )
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.device}, {arguments.threads} thread(s)")
    for dtype in (getattr(torch, name) for name in arguments.dtypes):
        peak = gemm_peak(dtype, arguments.device, 1024 if arguments.device == "cpu" else 8192)
        print(f"{str(dtype)[6:]}: one large product at {peak / 1e9:,.0f} GFLOP/s")
        shared = (dtype, arguments.device, arguments.repeats, peak)
        for rows in arguments.rows:
            print(many_prompts(rows, *shared), flush=True)
        for entropy in arguments.entropies:
            print(one_prompt(entropy, arguments.n, *shared), flush=True)


if __name__ == "__main__":
    main()
