"""Products of bfloat16 matrices where the processor has no instructions for them: through float32.

    multiply_through_float32()   # once in a process that trains; nothing where PyTorch multiplies bfloat16 well

Without AVX-512, or BF16 on Arm, PyTorch falls back on loops that are 15 to 45 times slower than its float32
products. A product of two bfloat16 numbers is exact in float32, and PyTorch sums such products in float32 too:
widening the inputs and rounding the result once gives the same values, but for the order of a sum.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

#: What `torch.autocast` runs in bfloat16 and these processors run slowly; attention's forward kernel is not.
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_scaled_dot_product_flash_attention_for_cpu_backward")


@functools.cache
def multiply_through_float32() -> torch.library.Library | None:
    """Replace this process's CPU kernels of `PRODUCTS` for bfloat16; other types go on to the kernels there were.

    Returns what keeps them so; None, and nothing is replaced, where the processor has the instructions, or
    PyTorch is older than 2.9 and cannot name the kernel that is replaced.
    """
    if has_instructions() or not hasattr(torch.library, "get_kernel"):
        return None
    return replace_kernels()


def has_instructions() -> bool:
    """Whether PyTorch multiplies bfloat16 through oneDNN on this processor: the check that it makes itself."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def replace_kernels() -> torch.library.Library:
    """The kernels of `PRODUCTS`, widened, in place as long as the library lives."""
    kernels = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of what is meant here: that a kernel is replaced
        for name in PRODUCTS:
            kernels.impl(name, widened(torch.library.get_kernel(f"aten::{name}", "CPU")), "CPU", with_keyset=True)
    return kernels


def widened(kernel: Any) -> Callable[..., Any]:
    """`kernel`, given float32 in place of bfloat16 tensors and its results rounded to bfloat16 again."""

    def call(keys: Any, *inputs: Any, **options: Any) -> Any:
        if all(getattr(value, "dtype", None) is not torch.bfloat16 for value in inputs):
            return kernel.call_boxed(keys, *inputs, **options)
        wide, named = tree_map_only(torch.Tensor, _widen, (inputs, options))
        return tree_map_only(torch.Tensor, torch.Tensor.bfloat16, kernel.call_boxed(keys, *wide, **named))

    return call


def _widen(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype is torch.bfloat16 else tensor
