"""The distinct beginnings of a batch of sequences: what a causal model has to compute once only.

tree = Tree.of(sequences)                  # (sequence, 3)
tree.at_each_position(rows)                # back to one entry per sequence and position
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LENGTH = 3


class Tree(NamedTuple):
    """The distinct prefixes of some sequences of three tokens: rows of one token, then of two, then the sequences."""

    tokens: Tensor  # (row,) the last token of each prefix
    depth: Tensor  # (row,) 0, 1 or 2: the position
    weight: Tensor  # (row,) how many sequences begin with it
    root: Tensor  # (row after the first level,) the row of its first token
    parent: Tensor  # (leaf,) the row of its first two tokens
    starts: tuple[int, int, int]  # where the three levels begin

    @classmethod
    def of(cls, sequences: NDArray[np.int64] | Tensor, device: str | torch.device = "cpu") -> Tree:
        """`sequences` is (sequence, 3). Raises ValueError for another length."""
        rows = np.asarray(sequences)
        if rows.ndim != 2 or rows.shape[1] != LENGTH or not len(rows):
            raise ValueError(f"sequences are of shape {rows.shape}; expected (sequence, {LENGTH}) and at least one")
        first, of_first, count_first = np.unique(rows[:, 0], return_inverse=True, return_counts=True)
        base = int(rows.max()) + 1
        _, where, of_second, count_second = np.unique(
            rows[:, 0] * base + rows[:, 1], return_index=True, return_inverse=True, return_counts=True
        )
        starts = (0, len(first), len(first) + len(where))
        parts = {
            "tokens": np.concatenate([first, rows[where, 1], rows[:, 2]]),
            "depth": np.repeat([0, 1, 2], [len(first), len(where), len(rows)]),
            "weight": np.concatenate([count_first, count_second, np.ones(len(rows))]).astype(np.float32),
            "root": np.concatenate([of_first[where], of_first]),
            "parent": len(first) + of_second,
        }
        return cls(**{name: torch.from_numpy(part).to(device) for name, part in parts.items()}, starts=starts)

    @property
    def leaves(self) -> int:
        """Number of sequences; they are the last rows, in their order."""
        return len(self.parent)

    @property
    def task(self) -> Tensor:
        """(leaf,) the number of each sequence's first token among those that there are."""
        return self.root[-self.leaves :]

    def at_each_position(self, rows: Tensor) -> Tensor:
        """(replica, sequence, 3, ...) from (replica, row, ...): every sequence's prefixes."""
        root, leaf = self.task, torch.arange(self.starts[2], rows.shape[1], device=rows.device)
        return torch.stack([rows[:, root], rows[:, self.parent], rows[:, leaf]], 2)
