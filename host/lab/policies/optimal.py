"""Belady's MIN: evicts the block whose next reference is farthest away. O(n log capacity).

Without bypass no cache of that capacity can hit more often. A cache that need not take in what misses, as tier 1 need not, could,
but hardly does: on the recorded traces that were tried by 0.01 % of the references at 1,024 blocks, and by less at more. So this
is the upper bound that policies are measured by, as elsewhere.
"""

from __future__ import annotations

import heapq
from collections.abc import MutableSequence, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Marks = MutableSequence[int] | NDArray[np.bool_]


def hits(references: NDArray[np.int64], capacity: int) -> int:
    """How many of `references` (int64[n]) find their block in a cache of `capacity` blocks."""
    found = bytearray(len(references))
    mark(next_references(references).tolist(), capacity, bytearray(len(references) + 1), found)
    return sum(found)


def mark(upcoming: Sequence[int] | NDArray[np.int64], capacity: int, cached: Marks, found: Marks) -> None:
    """Write 1 into `found` for each reference that hits. `upcoming`: `next_references`; `cached`: n + 1 zeros to work with.

    Lists and bytearrays as they are, or arrays once the lab has compiled it; a loop of arrays is slow in plain Python.
    """
    if capacity <= 0:
        return
    # cached[i]: the block of reference i is in the cache and i is its next reference.
    # The next references of the cached blocks, negated: the top is the farthest. Entries that have passed lie below
    # every live one, so the top is always live, and what has passed is swept out now and then.
    farthest = [-position for position in upcoming[:0]]
    held = 0
    for now in range(len(upcoming)):
        if cached[now]:
            found[now] = 1
        elif held == capacity:
            cached[-heapq.heappop(farthest)] = 0
        else:
            held += 1
        cached[upcoming[now]] = 1
        heapq.heappush(farthest, -upcoming[now])
        if len(farthest) > 4 * capacity + 64:
            farthest = [position for position in farthest if -position > now]
            heapq.heapify(farthest)


def next_references(stream: NDArray[np.int64] | NDArray[np.int32]) -> NDArray[np.int64]:
    """For each reference the position of the next one to the same block; len(stream) where there is none."""
    order = np.argsort(stream, kind="stable")
    upcoming = np.full(len(stream), len(stream), dtype=np.int64)
    same = stream[order[1:]] == stream[order[:-1]]
    upcoming[order[:-1][same]] = order[1:][same]
    return upcoming
