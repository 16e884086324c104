"""LRU, the cache that every other is held against: on a miss it takes the block in, and evicts the one used longest ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class Lru:
    """A cache of `capacity` blocks, empty at first."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self._blocks: OrderedDict[Hashable, None] = OrderedDict()  # coldest first

    def touch(self, block: Hashable) -> bool:
        """Was it there? It is now."""
        if block in self._blocks:
            self._blocks.move_to_end(block)
            return True
        if self.capacity > 0:
            if len(self._blocks) == self.capacity:
                self._blocks.popitem(last=False)
            self._blocks[block] = None
        return False

    def clear(self) -> None:
        self._blocks.clear()
