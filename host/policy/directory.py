"""What the device's directory holds during a replay, kept by the rule of lab/plan.py: it is the learner's memory.

A block has a slot while it is in the directory, in whatever tier, and what is known of it lies in arrays by slot. When no slot is
free, the blocks that have been out of use longest are unloaded, a batch at a time, never those of an active request; and what
was known of them is lost. So the memory is bounded, and no block is thought to be in a tier that is in none.
"""

from __future__ import annotations

from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NOWHERE = -1
"""The slot of a block that is not in the directory."""


class Directory:
    def __init__(self, entries: int, unload_batch: int):
        self.entries = entries
        self.unload_batch = unload_batch
        self.block_of = np.full(entries, NOWHERE, dtype=np.int64)
        self.users = np.zeros(entries, dtype=np.int32)
        """Active requests that use the block of a slot."""
        self._slot_of: dict[int, int] = {}
        self._free = list(range(entries - 1, -1, -1))
        self._left = np.zeros(entries, dtype=np.int64)
        """The departure, counted from 1, that left the block of a slot out of use."""
        self._departures = 0
        self._idle: deque[tuple[int, NDArray[np.int64]]] = deque()
        """Departures in order, each with its slots in order; those that are in use again are passed over."""

    def clear(self) -> None:
        """Nothing is held, and nothing in use."""
        self.block_of[:] = NOWHERE
        self.users[:] = 0
        self._left[:] = 0
        self._slot_of.clear()
        self._idle.clear()
        self._free = list(range(self.entries - 1, -1, -1))

    def find(self, blocks: Sequence[int]) -> NDArray[np.int64]:
        """The slot of each block."""
        return np.fromiter(map(self._slot_of.get, blocks, repeat(NOWHERE)), np.int64, len(blocks))

    def held(self) -> NDArray[np.int64]:
        """The slots that hold a block, ascending."""
        return np.flatnonzero(self.block_of >= 0)

    def make_room(self, wanted: int) -> NDArray[np.int64]:
        """Unloads batches until `wanted` blocks find room, or nothing is left to unload. Returns the slots that became free."""
        gone: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
        while len(self._free) < wanted and len(batch := self._coldest()):
            for block in self.block_of[batch].tolist():
                del self._slot_of[block]
            self.block_of[batch] = NOWHERE
            self._free += batch[::-1].tolist()
            gone.append(batch)
        return np.concatenate(gone)

    def place(self, blocks: Sequence[int]) -> NDArray[np.int64]:
        """Slots for blocks that have none, as far as there are free ones; in the order of `blocks`."""
        slots = [self._free.pop() for _ in range(min(len(blocks), len(self._free)))]
        self._slot_of.update(zip(blocks, slots, strict=False))
        found = np.array(slots, dtype=np.int64)
        self.block_of[found] = blocks[: len(slots)]
        return found

    def use(self, slots: NDArray[np.int64]) -> None:
        """An active request uses these, each given once."""
        self.users[slots] += 1

    def leave(self, slots: NDArray[np.int64]) -> None:
        """It is complete. Its last block goes out of use first: the front of a prefix is of use without its end."""
        self.users[slots] -= 1
        idle = slots[self.users[slots] == 0]
        if len(idle):
            self._departures += 1
            self._left[idle] = self._departures
            self._idle.append((self._departures, idle[np.argsort(-self.block_of[idle])]))

    def _coldest(self) -> NDArray[np.int64]:
        """The next batch to unload, taken off the idle ones: `unload_batch` slots, or fewer where there are no more."""
        found: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
        missing = self.unload_batch
        while missing and self._idle:
            departure, slots = self._idle.popleft()
            still = slots[(self.users[slots] == 0) & (self._left[slots] == departure)]
            found.append(still[:missing])
            if len(still) > missing:
                self._idle.appendleft((departure, still[missing:]))
            missing -= len(found[-1])
        batch = np.concatenate(found)
        self._left[batch] = 0
        return batch
