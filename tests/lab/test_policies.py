"""LRU, LFU and optimal hit counts, against naive versions of themselves."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfpga.lab.policies import lfu, lru, optimal
from kvfpga.lab.policies.table import POLICIES, baselines
from tests.helpers.traces import AGENTS, CHATS, ids, rows

streams = st.lists(st.integers(0, 12), max_size=120)
capacities = st.integers(0, 14)


def as_array(stream) -> np.ndarray:
    return np.array(stream, np.int64)


def naive_hits(stream, capacity, victim) -> int:
    """`victim(cache, now)` picks whom to evict; cache: block → (references since it came in, last reference)."""
    cache, hits = {}, 0
    for now, block in enumerate(stream):
        if block in cache:
            hits += 1
        elif len(cache) >= capacity:
            if not capacity:
                continue
            del cache[victim(cache, now)]
        cache[block] = (cache.get(block, (0, 0))[0] + 1, now)
    return hits


@given(streams, capacities)
def test_lru(stream, capacity):
    assert lru.hits(as_array(stream), capacity) == naive_hits(stream, capacity, lambda c, now: min(c, key=lambda b: c[b][1]))


@given(streams, capacities)
def test_lfu(stream, capacity):
    assert lfu.hits(as_array(stream), capacity) == naive_hits(stream, capacity, lambda c, now: min(c, key=lambda b: c[b]))


@given(streams, capacities)
def test_optimal_is_belady(stream, capacity):
    def farthest(cache, now):
        return max(cache, key=lambda b: stream.index(b, now) if b in stream[now:] else len(stream))

    assert optimal.hits(as_array(stream), capacity) == naive_hits(stream, capacity, farthest)


@given(st.lists(st.integers(0, 4), max_size=12), st.integers(1, 4))
def test_optimal_is_the_best_of_all_choices(stream, capacity):
    @lru_cache(None)
    def best(now: int, cache: frozenset) -> int:
        if now == len(stream):
            return 0
        block = stream[now]
        if block in cache:
            return 1 + best(now + 1, cache)
        if len(cache) < capacity:
            return best(now + 1, cache | {block})
        return max(best(now + 1, cache - {out} | {block}) for out in cache)

    assert optimal.hits(as_array(stream), capacity) == best(0, frozenset())


def test_a_long_stream_sweeps_the_heap():
    """Enough hits at a small capacity to make the optimal policy drop what has passed, more than once."""
    stream = np.random.default_rng(1).integers(0, 6, 20_000)
    nexts = stream.tolist()

    def farthest(cache, now):
        return max(cache, key=lambda b: next((i for i in range(now, len(nexts)) if nexts[i] == b), len(nexts)))

    assert optimal.hits(as_array(stream), 4) == naive_hits(nexts, 4, farthest)


def test_everything_fits():
    found = baselines([3, 1, 3, 3, 2, 1], 3)
    assert (found.references, found.capacity, found.hits["lru"], found.hits["lfu"], found.hits["optimal"]) == (6, 3, 3, 3, 3)
    assert found.rate("lru") == 0.5


def test_an_empty_stream_has_a_rate():
    assert [baselines([], 8).rate(policy) for policy in POLICIES] == [0, 0, 0]


@pytest.mark.parametrize("capacity", [16, 64, 256])
@pytest.mark.parametrize("path", [CHATS, AGENTS], ids=lambda path: path.stem)
def test_figures_of_a_whole_trace(path, capacity):
    stream = [block for row in rows(path) for block in ids(row)]
    later = {}  # places of each block, the last one first
    for place in reversed(range(len(stream))):
        later.setdefault(stream[place], []).append(place)

    def next_use(block, now):
        places = later[block]
        while places and places[-1] < now:
            places.pop()
        return places[-1] if places else len(stream)

    found = baselines(stream, capacity)
    assert found.references == len(stream)
    assert found.hits["lru"] == naive_hits(stream, capacity, lambda c, now: min(c, key=lambda b: c[b][1]))
    assert found.hits["lfu"] == naive_hits(stream, capacity, lambda c, now: min(c, key=lambda b: c[b]))
    assert found.hits["optimal"] == naive_hits(stream, capacity, lambda c, now: max(c, key=lambda b: next_use(b, now)))
