"""The compiled device, held touch by touch against the reference model and the Verilated RTL, both driven by a replay."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfpga.contract import rank_tables
from kvfpga.contract.commands import Set
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lab import compiled, replay
from kvfpga.lab import stream as streams
from kvfpga.lab.device_policy import LEARNT, orders
from kvfpga.lab.replay import ReplayOptions
from kvfpga.lab.traces import Request, Trace
from kvfpga.lockstep.reference import Reference
from kvfpga.policy.hints import Hints

CLASSES = 16


class Tiny(Reference):
    """The reference model with a directory of any size, which no device has. Where a replay programs FILL_AGE it gets `fill_age`.
    `samples`: what each STEP leaves."""

    def __init__(self, entries, fill_age):
        super().__init__(ReferenceModel(256, classes=CLASSES))
        self.entries = self.model.entries = entries
        self.fill_age = fill_age
        self.samples = []

    def execute_many(self, commands):
        results = []
        for command in commands:
            is_age = command == Set("FILL_AGE", 1)
            results += super().execute_many([Set("FILL_AGE", self.fill_age) if is_age else command])
            if command.name == "step":
                told = self.model.telemetry()
                self.samples.append((told["current_step"], told["t1_used"], told["theta"], told["pool"]))
        return results


def trace_of(requests):
    """A trace of (step, output tokens, runs of blocks)."""
    return Trace("t", "mooncake", "ms", False, 16, "", [Request(100.0 * s, 9, out, tuple(runs)) for s, out, runs in requests])


def compare(found, summary):
    """An Outcome beside the summary of a replay: every touch, then every number that both have."""
    assert found.hits.tolist() == summary.hits.tolist()
    counters = summary.counters
    assert found.hits.sum() == counters["hits_t1"]
    assert (found.prefetches, found.evictions) == (counters["prefetch_triggers"], counters["evict_triggers"])
    assert (found.loads, found.unloads, found.unplaced) == (summary.loads, summary.unloads, summary.unplaced)
    assert found.steps == summary.steps


def by_age(stream, classes=256):
    """The hints of `ranked-age`."""
    same = np.zeros(stream.touches, np.uint8)
    order = np.concatenate([np.array(orders(int(size)), np.uint8) for size in np.diff(stream.offsets)])
    return Hints(same, order, same, rank_tables.by_age(classes)[None], np.zeros(stream.requests, np.int32))


def random_hints(stream, draw, tables=3):
    """Classes, orders and tables without any sense: few codes and few orders, so that there are ties of both kinds."""

    def some(most):
        return draw.integers(0, most, stream.touches, dtype=np.uint8)

    codes = draw.integers(0, draw.choice([0, 2, 255]), (tables, CLASSES, 64), dtype=np.uint8, endpoint=True)
    table_of = np.sort(draw.integers(-1, tables, stream.requests)).astype(np.int32)
    falling = np.maximum(0, 255 - (stream.depths >> int(draw.integers(0, 4)))).astype(np.uint8)
    return Hints(some(CLASSES), draw.choice([falling, some(3)]), some(CLASSES), codes, table_of)


RUNS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=4)
REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 1, 2, 7, 40, 3000]),  # steps since the request before
        st.sampled_from([0, 1, 1, 2, 3, 9, 60]),
        RUNS,
    ),
    min_size=1,
    max_size=14,
).filter(lambda requests: any(runs for _, _, runs in requests))


@settings(max_examples=300, deadline=None)
@given(
    requests=REQUESTS,
    entries=st.integers(1, 60),
    share=st.sampled_from([0.0, 0.1, 0.4, 0.9, 1.0]),
    unload_batch=st.integers(1, 8),
    fill_age=st.sampled_from([1, 1, 0, 2, 5, 255]),
    seed=st.integers(0, 1000),
)
def test_the_ranked_device_touch_by_touch(requests, entries, share, unload_batch, fill_age, seed):
    steps = np.cumsum([gap for gap, *_ in requests]).tolist()
    trace = trace_of([(step, *rest) for step, (_, *rest) in zip(steps, requests)])
    stream = streams.of(trace)
    hints = random_hints(stream, np.random.default_rng(seed))
    capacity = round(share * entries)
    dut = Tiny(entries, fill_age)
    options = ReplayOptions(t1_capacity=capacity, policy=LEARNT, unload_batch=unload_batch, check_every=0, sample=0)
    summary = replay.replay(dut, trace, options, hints=hints)
    found = compiled.run_ranked(
        stream, hints, capacity, entries=entries, unload_batch=unload_batch, fill_age=fill_age, sample_every=1
    )
    compare(found, summary)
    assert list(zip(*(column.tolist() for column in found.samples))) == dut.samples
    assert found.searched == dut.telemetry()["ranked_steps"]
