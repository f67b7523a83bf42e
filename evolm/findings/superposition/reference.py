"""The toy model as one would write it on a blackboard: dense batches, autograd, one model at a time.

Slow on purpose. The chapter shows it, the tests hold `program.Program` equal to it, and
`benchmarks/superposition.py` measures what the difference buys.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from evolm.findings.superposition.program import ToyModel, Training, initial_weights, lr_at


def toy_loss(x: Tensor, w: Tensor, b: Tensor, decoder: str = "relu") -> Tensor:
    """Eq. 1-3: h = W^T x, y = relu(W h + b), mean of |y - x|^2. x (batch, n), w (n, m), b (n,)."""
    y = x @ w @ w.T + b
    return ((y if decoder == "linear" else torch.relu(y)) - x).square().sum(1).mean()


def dense_batch(p: Tensor, batch_size: int, generator: torch.Generator) -> Tensor:
    """x_i = u_i v_i with u_i ~ Bernoulli(p_i), v_i ~ Uniform(0, 2); (batch, n)."""
    active = torch.rand(batch_size, len(p), generator=generator, dtype=p.dtype) < p
    return active * torch.rand(batch_size, len(p), generator=generator, dtype=p.dtype) * 2


def train_one(model: ToyModel, training: Training, seed: int, batches: Iterable[Tensor]) -> Tensor:
    """Trained (width + 1, n) weights, bias last, of one model; dtype as in the batches."""
    batches = iter(batches)
    start = initial_weights(model, training.n, seed)
    first = next(batches)
    directions, b = start[:-1].T.to(first), start[-1].to(first).requires_grad_()
    frozen = model.decoder == "frozen"
    free = (torch.ones_like(directions[:, :1]) if frozen else directions.clone()).requires_grad_()
    optimiser = torch.optim.Adam([free, b])
    for step in range(training.steps):
        x = first if step == 0 else next(batches)
        optimiser.zero_grad()
        toy_loss(x, free * directions if frozen else free, b, model.decoder).backward()
        optimiser.param_groups[0]["lr"] = lr = lr_at(step, training.steps, training.lr)
        optimiser.step()
        if not frozen:
            with torch.no_grad():  # the paper's Eq. 5: towards norm 0 for decay >= 0, towards norm 1 below
                free -= lr * model.decay * free * (1.0 if model.decay >= 0 else 1 / free.norm(dim=1, keepdim=True) - 1)
    return torch.cat([free * directions if frozen else free, b[:, None]], dim=1).T.detach()
