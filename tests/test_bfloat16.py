"""Products of bfloat16 through float32: the values of exact arithmetic rounded once, and only for bfloat16."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evolm import bfloat16

#: Half a unit in the last of bfloat16's eight places, and a little for sums that lie by the middle of two numbers.
ROUNDING = 2.0**-8 * 1.001


@pytest.fixture
def replaced() -> Iterator[None]:
    """The kernels replaced on any processor, for one test."""
    if not hasattr(torch.library, "get_kernel"):
        pytest.skip("PyTorch before 2.9")
    kernels = bfloat16.replace_kernels()
    yield
    kernels._destroy()


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_rounded_once(found: Tensor, exact: Tensor, terms: Tensor) -> None:
    """`terms` is the sum of the absolute products: cancellation leaves float32's error of those."""
    assert found.dtype is torch.bfloat16
    assert bool(((found.double() - exact).abs() <= ROUNDING * exact.abs() + 1e-6 * terms).all())


@pytest.mark.usefixtures("replaced")
def test_products_are_exact_ones_rounded_once() -> None:
    a, b, c = normal(33, 200), normal(200, 17, seed=1), normal(17, seed=2)
    exact, terms = a.double() @ b.double(), a.double().abs() @ b.double().abs()
    assert_rounded_once(a @ b, exact, terms)
    assert_rounded_once(functional.linear(a, b.mT, c), exact + c.double(), terms + c.double().abs())
    assert_rounded_once(a.view(3, 11, 200) @ b, exact.view(3, 11, 17), terms.view(3, 11, 17))
    many, others = normal(5, 7, 64), normal(5, 64, 9, seed=3)
    assert_rounded_once(many @ others, many.double() @ others.double(), many.double().abs() @ others.double().abs())
    started = normal(5, 7, 9, seed=4)
    found = torch.baddbmm(started, many, others, beta=0.5, alpha=2.0)
    exact = 0.5 * started.double() + 2.0 * many.double() @ others.double()
    assert_rounded_once(found, exact, started.double().abs() + 2.0 * many.double().abs() @ others.double().abs())


@pytest.mark.usefixtures("replaced")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_types_keep_their_bits(dtype: torch.dtype) -> None:
    a, b = normal(6, 50, dtype=dtype), normal(50, 4, seed=1, dtype=dtype)
    out = torch.empty(6, 4, dtype=dtype)
    assert torch.equal(a @ b, torch.mm(a, b, out=out))  # `out=` is another kernel, which is not replaced


@pytest.mark.parametrize("masked", [False, True])
def test_training_has_the_gradients_of_the_kernels_that_were_replaced(masked: bool) -> None:
    before = gradients(masked)
    kernels = bfloat16.replace_kernels() if hasattr(torch.library, "get_kernel") else None
    after = gradients(masked)
    if kernels is not None:
        kernels._destroy()
    for old, new in zip(before, after, strict=True):
        assert old.dtype is new.dtype is torch.float32
        torch.testing.assert_close(new, old, rtol=0.02, atol=0.02 * float(old.abs().mean()))


def gradients(masked: bool) -> list[Tensor]:
    """Of one layer of attention under autocast, for its inputs and its weights."""
    hidden = normal(3, 10, 32, dtype=torch.float32).requires_grad_()
    weight = normal(96, 32, seed=1, dtype=torch.float32).requires_grad_()
    mask = normal(10, 10, seed=2) if masked else None
    with torch.autocast("cpu", torch.bfloat16):
        q, k, v = functional.linear(hidden, weight).view(3, 10, 3, 4, 8).permute(2, 0, 3, 1, 4)
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=not masked)
    out.float().pow(2).sum().backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    return [hidden.grad, weight.grad]


def test_nothing_is_replaced_where_the_processor_has_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfloat16, "has_instructions", lambda: True)
    assert bfloat16.multiply_through_float32.__wrapped__() is None
