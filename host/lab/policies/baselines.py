"""What a plain cache would have hit on the same references: LRU, LFU and the optimum, to stand beside the device's T1.

Each function takes the block references of a run in the order they were made (any sequence of integers, or a numpy
array) and the capacity in blocks, and returns how many references found their block in the cache. The cache starts
empty; a reference that misses always brings its block in (no bypass), evicting one block when the cache is full.

- LRU evicts the block whose last reference is longest ago.
- LFU evicts the block with the fewest references since it came in (an evicted block starts again at one); among
  equals, the one whose last reference is longest ago.
- Optimal is Belady's MIN: it evicts the block whose next reference is farthest away. No cache of that capacity can hit
  more often (without bypass), so it is the upper bound for the other two and for the device.

These definitions reproduce, to the last hit, the figures in `stats_*.json` beside the project's traces
(tests/test_cache_baselines.py).

All three run in O(n) or O(n log capacity) and cost about half a microsecond to a microsecond per reference.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

References = Sequence[int] | np.ndarray


POLICIES = ("lru", "lfu", "optimal")


class Baselines(NamedTuple):
    """Hit counts of one reference stream at one capacity."""

    references: int
    capacity: int
    lru: int
    lfu: int
    optimal: int

    def rate(self, policy: str) -> float:
        """The hit rate of `policy` (one of POLICIES), 0 to 1; 0 for an empty stream."""
        return getattr(self, policy) / self.references if self.references else 0.0


def baselines(references: References, capacity: int) -> Baselines:
    """All three policies on the same stream."""
    stream = _as_array(references)
    return Baselines(
        len(stream),
        capacity,
        lru_hits(stream, capacity),
        lfu_hits(stream, capacity),
        optimal_hits(stream, capacity),
    )


def lru_hits(references: References, capacity: int) -> int:
    if capacity <= 0:
        return 0
    cache: OrderedDict[int, None] = OrderedDict()  # coldest first
    hits = 0
    for block in _as_array(references).tolist():
        if block in cache:
            hits += 1
            cache.move_to_end(block)
            continue
        if len(cache) == capacity:
            cache.popitem(last=False)
        cache[block] = None
    return hits


def lfu_hits(references: References, capacity: int) -> int:
    if capacity <= 0:
        return 0
    count: dict[int, int] = {}  # of the cached blocks only
    # Blocks by count, and by last reference within one count: a block enters a bucket when it is referenced, so the
    # order of entry is the order of last reference.
    buckets: defaultdict[int, OrderedDict[int, None]] = defaultdict(OrderedDict)
    fewest = 1  # lowest count in the cache, where there is one
    hits = 0
    for block in _as_array(references).tolist():
        seen = count.get(block)
        if seen is not None:
            hits += 1
            bucket = buckets[seen]
            del bucket[block]
            if not bucket:
                del buckets[seen]
                if seen == fewest:
                    fewest = seen + 1
            count[block] = seen + 1
            buckets[seen + 1][block] = None
            continue
        if len(count) == capacity:
            bucket = buckets[fewest]
            victim, _ = bucket.popitem(last=False)
            del count[victim]
            if not bucket:
                del buckets[fewest]
        count[block] = 1
        buckets[1][block] = None
        fewest = 1
    return hits


def optimal_hits(references: References, capacity: int) -> int:
    if capacity <= 0:
        return 0
    stream = _as_array(references)
    never = len(stream)
    cached = bytearray(never + 1)  # cached[i]: the block of reference i is in the cache and i is its next reference
    # The next references of the cached blocks, negated: the top is the farthest. Entries that have passed lie below
    # every live one, so the top is always live, and what has passed is swept out now and then.
    farthest: list[int] = []
    held = hits = 0
    for now, upcoming in enumerate(_next_references(stream).tolist()):
        if cached[now]:
            hits += 1
        elif held == capacity:
            cached[-heapq.heappop(farthest)] = 0
        else:
            held += 1
        cached[upcoming] = 1
        heapq.heappush(farthest, -upcoming)
        if len(farthest) > 4 * capacity + 64:
            farthest = [position for position in farthest if -position > now]
            heapq.heapify(farthest)
    return hits


def _next_references(stream: np.ndarray) -> np.ndarray:
    """For each reference the position of the next one to the same block; len(stream) where there is none."""
    order = np.argsort(stream, kind="stable")
    upcoming = np.full(len(stream), len(stream), dtype=np.int64)
    same = stream[order[1:]] == stream[order[:-1]]
    upcoming[order[:-1][same]] = order[1:][same]
    return upcoming


def _as_array(references: References) -> np.ndarray:
    return np.asarray(references, dtype=np.int64)
