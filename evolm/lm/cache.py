"""Keys and values of what a decoder has read, for rows that advance in lock-step."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor

#: The store grows by this many positions at a time: batched products want it whole and contiguous.
BLOCK = 16


class Cache:
    """Per layer, keys and values (rows, kv heads, room, head_dim), filled up to `length`; zeros behind it.

    `capacity` is the most tokens a row may hold; `padding` (rows,) says how many of the first are padding.
    """

    def __init__(self, new: Callable[[int], Tensor], layers: int, capacity: int, rows: int) -> None:
        self._new = new  # room -> zeros of one layer's store for one row
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers
        self.capacity, self.rows = capacity, rows
        self.length = 0
        self.padding: Tensor | None = None

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append (rows, kv heads, time, head_dim); all of the layer's store as (rows x kv heads, room, head_dim)."""
        end = self.length + keys.shape[2]
        found = []
        for stores, new in ((self.keys, keys), (self.values, values)):
            store = self._with_room(stores[layer], end)
            store[:, :, self.length : end] = new
            stores[layer] = store
            found.append(store.flatten(0, 1))
        return found[0], found[1]

    def _with_room(self, store: Tensor | None, end: int) -> Tensor:
        if store is not None and store.shape[2] >= end:
            return store
        room = min(-(-end // BLOCK) * BLOCK, max(self.capacity, end))
        grown = self._new(room).expand(self.rows, -1, -1, -1).clone()
        if store is not None:
            grown[:, :, : self.length] = store[:, :, : self.length]
        return grown

    def move(self, source: Tensor, target: Tensor) -> None:
        """Write the rows `source` over the rows `target`, in place."""
        for store in (*self.keys, *self.values, self.padding):
            if store is not None and len(target):
                store[target] = store[source]

    def first(self, rows: int) -> Cache:
        """The first `rows` as a view: what is written there is written here, until the view has to grow."""
        view = copy.copy(self)
        view.rows = rows
        view.keys, view.values = (
            [None if store is None else store[:rows] for store in stores] for stores in (self.keys, self.values)
        )
        view.padding = None if self.padding is None else self.padding[:rows]
        return view

    def shares_memory_with(self, other: Cache) -> bool:
        """Whether the two still are views of one store."""
        mine, theirs = self.keys[0], other.keys[0]
        return mine is not None and theirs is not None and mine.data_ptr() == theirs.data_ptr()

    def select(self, rows: Tensor) -> Cache:
        """A cache of the given rows (any number of times each): to retire, to repeat and to branch."""
        chosen = Cache(self._new, len(self.keys), self.capacity, len(rows))
        chosen.keys = [None if keys is None else keys[rows] for keys in self.keys]
        chosen.values = [None if values is None else values[rows] for values in self.values]
        chosen.length = self.length
        chosen.padding = None if self.padding is None else self.padding[rows]
        return chosen
