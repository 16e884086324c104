"""The policies of `kvfpga lab`, request by request: libcachesim's LRU and MQ and our optimum beside plain versions of
themselves."""

from __future__ import annotations

from collections import OrderedDict
from itertools import takewhile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfpga.contract.errors import UsageError
from kvfpga.lab.kernels.jit import compiled
from kvfpga.lab.policies import lru, optimal
from kvfpga.lab.policies.contender import Options, Run
from kvfpga.lab.policies.contenders import CONTENDERS, USUAL, WITH_FINAL, chosen, named
from kvfpga.lab.sources import opened
from kvfpga.lab.stream import Stream

SAMPLE = opened("sample").stream
IN_PARTS = {"wtinylfu", "slru", "lirs", "twoq", "s3fifo", "clock2qplus", "clockpro", "cacheus"}
"""Their places are divided, and some are never filled."""
streams = st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=12), min_size=1, max_size=20)
capacities = st.integers(1, 8)


def stream_of(requests: list[list[int]]) -> Stream:
    """Requests of these blocks, a second apart."""
    ids, blocks = np.unique(np.concatenate(requests), return_inverse=True)
    sizes = np.array([len(request) for request in requests])
    count = len(requests)
    return Stream("t", np.arange(count) * 1000.0, sizes * 16, np.full(count, 5), np.concatenate([[0], np.cumsum(sizes)]),
                  blocks.astype(np.int32), ids.astype(np.int64), 16)  # fmt: skip


def run(policy: str, stream: Stream, capacity: int) -> Run:
    contender = named(policy)
    options = Options()
    return contender.run(stream, capacity, options, contender.prepare(stream, options) if contender.prepare else None)


def hits(policy: str, stream: Stream, capacity: int) -> int:
    return int(run(policy, stream, capacity).hits.sum())


def expected(requests: list[list[int]], found: list[bool]) -> list[tuple[int, int]]:
    """Hits and prefix hits of each request, where these touches hit."""
    touches = iter(found)
    of_requests = [[next(touches) for _ in request] for request in requests]
    return [(sum(touched), len(list(takewhile(bool, touched)))) for touched in of_requests]


def plain_lru(blocks: list[int], capacity: int) -> list[bool]:
    cache: OrderedDict[int, None] = OrderedDict()
    found = []
    for block in blocks:
        found.append(block in cache)
        cache[block] = None
        cache.move_to_end(block)
        if len(cache) > capacity:
            cache.popitem(last=False)
    return found


def plain_mq(blocks: list[int], capacity: int, queues: int = 8, history_per_block: int = 4) -> list[bool]:
    """Multi-queue (Zhou, Philbin, Li 2001): a block with 2^k to 2^(k+1) - 1 uses is in queue k; the victim is the oldest of the
    lowest queue, and its count is remembered in a history. Nothing expires in the few touches here."""
    queue: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(queues)]
    uses: dict[int, int] = {}
    history: OrderedDict[int, int] = OrderedDict()
    found = []
    for block in blocks:
        found.append(block in uses)
        before = uses.pop(block) if block in uses else history.pop(block, 0)
        for line in queue:
            line.pop(block, None)
        if len(uses) == capacity:
            victim, _ = next(line for line in queue if line).popitem(last=False)
            history[victim] = uses.pop(victim)
            if len(history) > history_per_block * capacity:
                history.popitem(last=False)
        uses[block] = before + 1
        queue[min(uses[block].bit_length() - 1, queues - 1)][block] = None
    return found


def plain_optimal(blocks: list[int], capacity: int) -> list[bool]:
    cache: set[int] = set()
    found = []
    for now, block in enumerate(blocks):
        found.append(block in cache)
        if block not in cache and len(cache) == capacity:
            later = blocks[now:]
            cache.remove(max(cache, key=lambda other: later.index(other) if other in later else len(blocks) + other))
        cache.add(block)
    return found


@settings(max_examples=60, deadline=None)  # the first compiles
@given(streams, capacities)
def test_lru_is_an_ordered_dict(requests, capacity):
    stream = stream_of(requests)
    found = run("lru", stream, capacity)
    assert list(zip(found.hits, found.prefix_hits)) == expected(requests, plain_lru(stream.blocks.tolist(), capacity))
    assert found.hits.sum() == lru.hits(stream.blocks.astype(np.int64), capacity)


@settings(max_examples=60, deadline=None)  # the first compiles
@given(streams, capacities)
def test_mq_keeps_the_counts_of_what_it_evicted(requests, capacity):
    stream = stream_of(requests)
    found = run("mq", stream, capacity)
    assert list(zip(found.hits, found.prefix_hits)) == expected(requests, plain_mq(stream.blocks.tolist(), capacity))


@settings(max_examples=60, deadline=None)  # the first compiles
@given(streams, capacities)
def test_the_optimum_hits_as_often_as_one_that_looks_ahead_by_hand(requests, capacity):
    stream = stream_of(requests)
    found = hits("optimal", stream, capacity)
    assert found == sum(plain_optimal(stream.blocks.tolist(), capacity))
    assert found == optimal.hits(stream.blocks.astype(np.int64), capacity)


def test_the_compiled_optimum_sweeps_what_has_passed():
    """Enough hits at a small capacity that its heap is swept many times."""
    blocks = np.random.default_rng(1).integers(0, 6, 5000)
    marks = np.zeros(5000, np.bool_)
    compiled(optimal.mark)(optimal.next_references(blocks), 4, np.zeros(5001, np.bool_), marks)
    assert marks.sum() == optimal.hits(blocks, 4) > 2500


@pytest.mark.parametrize("policy", [name for name in CONTENDERS if CONTENDERS[name].published])
def test_a_published_policy_hits_all_that_comes_back_where_all_fits_and_no_more_than_the_optimum_where_not(policy):
    first_touches = len(SAMPLE.ids)
    if policy not in IN_PARTS:
        assert hits(policy, SAMPLE, len(SAMPLE.ids)) == SAMPLE.touches - first_touches
    few = hits(policy, SAMPLE, 64)
    assert 0 < few <= hits("optimal", SAMPLE, 64)


def test_fills_of_a_plain_cache_are_its_misses():
    found = run("lru", SAMPLE, 64)
    assert found.fills == SAMPLE.touches - found.hits.sum()


def test_age_alone_hits_as_replay_does():
    """`ranked-age` of the lab is that of `kvfpga replay`: on a device of the reference model."""
    from kvfpga.hepc_ref import ReferenceModel
    from kvfpga.lab.replay import ReplayOptions, replay
    from kvfpga.lab.traces import SAMPLE as FILE
    from kvfpga.lockstep.reference import Reference

    summary = replay(Reference(ReferenceModel(512)), FILE, ReplayOptions(policy="ranked-age", t1_capacity=64, sample=0))
    contender = named("ranked-age")
    options = Options(entries=512)
    found = contender.run(SAMPLE, 64, options, contender.prepare(SAMPLE, options))
    assert found.hits.sum() == summary.counters["hits_t1"]


def test_what_runs_unless_said_otherwise():
    assert [row.name for row in chosen(None, Options())] == list(USUAL)
    assert [row.name for row in chosen(None, Options(final_accuracy=0.8))] == [*USUAL, WITH_FINAL]
    assert [row.name for row in chosen("mq, lru,mq", Options())] == ["mq", "lru"]


def test_an_unknown_policy_is_refused_by_name():
    with pytest.raises(UsageError, match="no policy 'mru' in the lab"):
        chosen("lru,mru", Options())


@pytest.mark.parametrize("options, named", [
    (Options(entries=0), "0 entries"), (Options(step_ms=0), "0 ms"), (Options(step_ms=float("nan")), "nan ms"),
    (Options(final_accuracy=1.5), "1.5"),
])  # fmt: skip
def test_options_out_of_range_are_refused_by_value(options, named):
    with pytest.raises(UsageError, match=named):
        options.checked()
