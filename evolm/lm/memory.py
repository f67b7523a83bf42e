"""Out of memory: the batch is halved, said so, and the work goes on.

result, rows = fitting(lambda rows: sample(..., max_rows=rows), rows=8192)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


class SmallerBatch(UserWarning):
    """The batch that was asked for did not fit into memory."""


def fitting(run: Callable[[int], Result], rows: int) -> tuple[Result, int]:
    """`run(rows)` and the rows it ran with: halved, with a `SmallerBatch` warning, while memory runs out.

    Raises MemoryError where a single row does not fit. `run` starts afresh each time, so it must not keep anything.
    """
    while True:
        try:
            return run(rows), rows
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if rows <= 1:
                raise MemoryError("out of memory with a batch of one row; use a smaller model or more memory") from None
        # Outside the handler, so that the tensors of the failed run are no longer held by its traceback.
        rows //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        warnings.warn(f"out of memory with batches of {2 * rows} rows; going on with {rows}", SmallerBatch, 2)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on a GPU or on the CPU, where torch raises a bare RuntimeError."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
