"""Belady's MIN: evicts the block whose next reference is farthest away. Without bypass no cache of that capacity can hit more
often, so it is the upper bound for every policy and for the device. O(n log capacity).
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def hits(references: NDArray[np.int64], capacity: int) -> int:
    """How many of `references` (int64[n]) find their block in a cache of `capacity` blocks."""
    if capacity <= 0:
        return 0
    never = len(references)
    cached = bytearray(never + 1)  # cached[i]: the block of reference i is in the cache and i is its next reference
    # The next references of the cached blocks, negated: the top is the farthest. Entries that have passed lie below
    # every live one, so the top is always live, and what has passed is swept out now and then.
    farthest: list[int] = []
    held = found = 0
    for now, upcoming in enumerate(_next_references(references).tolist()):
        if cached[now]:
            found += 1
        elif held == capacity:
            cached[-heapq.heappop(farthest)] = 0
        else:
            held += 1
        cached[upcoming] = 1
        heapq.heappush(farthest, -upcoming)
        if len(farthest) > 4 * capacity + 64:
            farthest = [position for position in farthest if -position > now]
            heapq.heapify(farthest)
    return found


def _next_references(stream: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each reference the position of the next one to the same block; len(stream) where there is none."""
    order = np.argsort(stream, kind="stable")
    upcoming = np.full(len(stream), len(stream), dtype=np.int64)
    same = stream[order[1:]] == stream[order[:-1]]
    upcoming[order[:-1][same]] = order[1:][same]
    return upcoming
