"""What the heads hold in memory: the largest tensor that any operation makes, forward and backward."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from evolm.heads import coordinates
from evolm.heads.blocks import by_blocks
from evolm.heads.distances import DISTANCES, distance
from evolm.heads.head import DistanceHead

BATCH, CLASSES, WIDTH = 24, 60, 40


class _Largest(TorchDispatchMode):
    """Sees every operation, those of the backward pass too, and keeps the size of the largest result."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                # An expanded view takes the memory of what it expands.
                self.elements = max(self.elements, leaf.untyped_storage().nbytes() // leaf.element_size())
        return result


@contextmanager
def largest() -> Iterator[_Largest]:
    with _Largest() as seen:
        yield seen


def vectors(batch: int = BATCH, classes: int = CLASSES, width: int = WIDTH) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(n, width, generator=generator, dtype=torch.float64) for n in (batch, classes))
    return x.requires_grad_(), w.requires_grad_()


@pytest.mark.parametrize("form", ["harmonic", "softmax"])
@pytest.mark.parametrize("name", [name for name, one in DISTANCES.items() if one.matmul])
def test_where_a_product_suffices_nothing_is_larger_than_the_logits(name: str, form: Any) -> None:
    head = DistanceHead(WIDTH, CLASSES, distance=name, form=form)
    x = torch.randn(BATCH, WIDTH, requires_grad=True)
    largest_of_linear = max(BATCH * CLASSES, CLASSES * WIDTH, BATCH * WIDTH)
    with largest() as seen:
        F.cross_entropy(head(x), torch.zeros(BATCH, dtype=torch.long)).backward()
    assert BATCH * CLASSES <= seen.elements <= largest_of_linear


def test_the_naive_form_is_larger_so_the_measurement_can_see_it() -> None:
    x, w = vectors()
    with largest() as seen:
        (x[:, None] - w).square().sum(-1).log().sum().backward()
    assert seen.elements == BATCH * CLASSES * WIDTH


@pytest.mark.parametrize("name", [name for name, one in DISTANCES.items() if not one.matmul])
def test_the_others_stay_within_the_stated_budget(name: str) -> None:
    x, w = vectors()
    budget = 2 * BATCH * CLASSES
    options = {"weight_power": 0.5} if name == "canberra-weighted" else {}
    with largest() as seen:
        distance(name, x, w, max_elements=budget, **options).sum().backward()
    assert seen.elements <= max(budget, BATCH * CLASSES, CLASSES * WIDTH)


@pytest.mark.parametrize("budget", [1, 7, 12, 50, 120, 300, 10**9])
@pytest.mark.parametrize("name", ["canberra", "minkowski", "chebyshev-smooth"])
def test_blocks_of_any_size_give_the_same_distances_and_gradients(name: str, budget: int) -> None:
    x, w = (one.detach().view(3, 2, -1, 4).requires_grad_() for one in vectors(30, 36, 4))  # six replicas
    whole, blocks = distance(name, x, w), distance(name, x, w, max_elements=budget)
    torch.testing.assert_close(whole, blocks)
    weights = torch.arange(180.0, dtype=torch.float64).view(3, 2, 5, 6)
    for one, other in zip(
        torch.autograd.grad((whole * weights).sum(), (x, w)),
        torch.autograd.grad((blocks * weights).sum(), (x, w)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("replicas", [1, 4])
def test_blocks_never_hold_more_than_the_budget_where_one_pair_fits(replicas: int) -> None:
    x, w = (one.view(replicas, -1, WIDTH) for one in vectors())
    seen: list[int] = []

    def function(x: Tensor, w: Tensor) -> Tensor:
        seen.append(x.numel() * w.shape[-2])
        return x @ w.mT

    for budget in (WIDTH, 3 * WIDTH + 1, BATCH * WIDTH, 10 * BATCH * WIDTH - 1, BATCH * CLASSES * WIDTH // 8):
        seen.clear()
        found = by_blocks(function, x, w, budget)
        assert max(seen) <= budget
        assert sum(seen) == x.numel() * w.shape[-2]
        torch.testing.assert_close(found, x @ w.mT)


@pytest.mark.parametrize("name", ["chebyshev-smooth", "canberra", "minkowski"])
def test_blocks_are_forgotten_before_the_next_and_made_again_for_the_gradient(name: str) -> None:
    x, w = vectors()
    budget = BATCH * WIDTH * 2  # 30 blocks

    def step() -> None:
        distance(name, x, w, max_elements=budget).sum().backward()

    of_everything = 8 * BATCH * CLASSES * WIDTH  # bytes of one tensor of all coordinates of all pairs
    assert peak_bytes(step) < of_everything
    assert peak_bytes(lambda: (x[:, None] - w).abs().sum(-1).sum().backward()) >= of_everything


def peak_bytes(step: Callable[[], object]) -> int:
    """The most that `step` had allocated at one time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    held = [event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(held))


def test_the_minkowski_family_would_hold_everything_if_written_out() -> None:
    """What `torch.cdist` spares here on a CPU; on a GPU, where its gradient has a buffer of that size, blocks do."""
    x, w = vectors()
    with largest() as seen:
        coordinates.manhattan(x, w).sum().backward()
    assert seen.elements == max(BATCH * CLASSES, CLASSES * WIDTH)


def test_a_loss_in_parts_never_holds_all_logits() -> None:
    head, x = DistanceHead(4, 1000), torch.randn(200, 4, requires_grad=True)
    targets = torch.arange(200)
    with largest() as seen:
        head.loss(x, targets, max_logits=20_000).backward()
    assert seen.elements == 20_000
    with largest() as seen:
        F.cross_entropy(head(x), targets).backward()
    assert seen.elements == 200_000
