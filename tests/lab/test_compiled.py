"""The compiled device, held touch by touch against the reference model and the Verilated RTL, both driven by a replay."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfpga.contract import presets
from kvfpga.contract.commands import Set
from kvfpga.contract.errors import UsageError
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lab import compiled, replay
from kvfpga.lab import stream as streams
from kvfpga.lab.device_policy import ANNOUNCED, LEARNING, LEARNT, NAMES
from kvfpga.lab.hinting import by_age
from kvfpga.lab.prove import prove
from kvfpga.lab.replay import ReplayOptions
from kvfpga.lab.traces import Request, Trace, load_trace
from kvfpga.lockstep.reference import Reference
from kvfpga.policy.hints import Hints
from tests.helpers.traces import AGENTS, CHATS

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
    """A trace of (steps since the request before, output tokens, runs of blocks)."""
    steps = np.cumsum([gap for gap, *_ in requests]).tolist()
    found = [Request(100.0 * step, 9, out, tuple(runs)) for step, (_, out, runs) in zip(steps, requests)]
    return Trace("t", "mooncake", "ms", False, 16, "", found)


def compare(found, summary):
    """An Outcome beside the summary of a replay: every touch, then every number that both have."""
    assert found.hits.tolist() == summary.hits.tolist()
    counters = summary.counters
    assert found.hits.sum() == counters["hits_t1"]
    assert (found.prefetches, found.evictions) == (counters["prefetch_triggers"], counters["evict_triggers"])
    assert (found.loads, found.unloads, found.unplaced) == (summary.loads, summary.unloads, summary.unplaced)
    assert found.steps == summary.steps


def random_hints(stream, draw, tables=3, classes=CLASSES, announced=False):
    """Classes, orders and tables without any sense: few codes and few orders, so that there are ties of both kinds."""

    def some(most):
        return draw.integers(0, most, stream.touches, dtype=np.uint8)

    codes = draw.integers(0, draw.choice([0, 2, 255]), (tables, classes, 64), dtype=np.uint8, endpoint=True)
    table_of = np.sort(draw.integers(-1, tables, stream.requests)).astype(np.int32)
    depths = np.arange(stream.touches) - np.repeat(stream.offsets[:-1], np.diff(stream.offsets))
    falling = np.maximum(0, 255 - (depths >> int(draw.integers(0, 4)))).astype(np.uint8)
    return Hints(some(classes), draw.choice([falling, some(3)]), some(classes), codes, table_of, announced=announced)


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


@settings(max_examples=100, deadline=None)
@given(
    requests=REQUESTS,
    entries=st.integers(1, 60),
    share=st.sampled_from([0.0, 0.1, 0.4, 0.9, 1.0]),
    unload_batch=st.integers(1, 8),
    fill_age=st.sampled_from([1, 1, 0, 2, 5, 255]),
    announced=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_ranked_device_touch_by_touch(requests, entries, share, unload_batch, fill_age, announced, seed):
    trace = trace_of(requests)
    stream = streams.of(trace)
    hints = random_hints(stream, np.random.default_rng(seed), announced=announced)
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


WEIGHTS = [
    "seed",
    "balanced",
    dict(w_r=0, w_f=16, w_s=128, w_d=64, evict=30000, prefetch=45000, window=20),
    dict(w_r=3, w_f=200, w_s=1, w_d=2, evict=1900, prefetch=1899, window=255),
    dict(w_r=0, w_f=0, w_s=4, w_d=0, evict=4, prefetch=30, window=9),
    dict(w_r=64, w_f=64, w_s=64, w_d=64, evict=0, prefetch=0, window=255),
    dict(w_r=250, w_f=0, w_s=2, w_d=2, evict=62000, prefetch=62000, window=3),
]


@settings(max_examples=60, deadline=None)
@given(
    requests=REQUESTS,
    entries=st.integers(1, 60),
    share=st.sampled_from([0.0, 0.1, 0.4, 0.9, 1.0]),
    unload_batch=st.integers(1, 8),
    weights=st.sampled_from(WEIGHTS),
)
def test_the_linear_device_touch_by_touch(requests, entries, share, unload_batch, weights):
    trace = trace_of(requests)
    stream = streams.of(trace)
    capacity = round(share * entries)
    dut = Tiny(entries, fill_age=1)
    for command in presets.sets(presets.PRESETS[weights] if isinstance(weights, str) else weights):
        dut.execute(command)
    summary = replay.replay(
        dut, trace, ReplayOptions(t1_capacity=capacity, unload_batch=unload_batch, check_every=0, sample=0)
    )
    found = compiled.run_linear(stream, weights, capacity, entries=entries, unload_batch=unload_batch, sample_every=1)
    compare(found, summary)
    assert list(zip(found.samples.step.tolist(), found.samples.t1_used.tolist())) == [sample[:2] for sample in dut.samples]


@pytest.mark.parametrize(("path", "entries", "t1_capacity"), [(CHATS, 1024, 128), (AGENTS, 2048, 256)], ids=["ids", "ranges"])
@pytest.mark.parametrize("policy", NAMES)
def test_every_touch_of_a_whole_trace(path, entries, t1_capacity, policy):
    proof = prove(Reference(ReferenceModel(entries)), load_trace(path), policy, t1_capacity)
    assert proof.different == 0 and proof.first is None
    compare(proof.outcome, proof.device)
    assert 0 < proof.outcome.hits.sum()
    on_demand = proof.device.baselines.hits["optimal"]
    assert (proof.outcome.hits.sum() > on_demand) == (policy == ANNOUNCED)  # what is fetched before it is touched needs no miss


@pytest.mark.parametrize("policy", [LEARNT, ANNOUNCED, "linear:balanced"])
def test_the_verilated_device_touch_by_touch(lockstep, policy):
    trace = load_trace(CHATS, 100)
    hints = None
    if policy in LEARNING:
        hints = random_hints(streams.of(trace), np.random.default_rng(1), classes=256, announced=policy == ANNOUNCED)
    proof = prove(lockstep, trace, policy, 40, hints=hints)
    assert proof.different == proof.device.differences == 0 and proof.device.checks >= 100
    assert proof.outcome.unloads and proof.outcome.evictions and proof.outcome.prefetches
    assert 0 < proof.outcome.hits.sum() < proof.device.touches


def test_one_plan_serves_every_capacity():
    stream = streams.of(load_trace(CHATS))
    hints = by_age(stream)
    planned = compiled.plan(stream, 1024)
    for capacity in (10, 100):
        again = compiled.run_ranked(stream, hints, capacity, entries=1024, planned=planned)
        assert (again.hits == compiled.run_ranked(stream, hints, capacity, entries=1024).hits).all()
        linear = compiled.run_linear(stream, "seed", capacity, entries=1024, planned=planned)
        assert (linear.hits == compiled.run_linear(stream, "seed", capacity, entries=1024).hits).all()


def test_a_plan_for_hints_with_announcements():
    stream = streams.of(load_trace(CHATS, 100))
    hints = by_age(stream)._replace(announced=True)
    with pytest.raises(UsageError, match="plan does not") as caught:
        compiled.run_ranked(stream, hints, 64, entries=1024, planned=compiled.plan(stream, 1024))
    assert "announced=True" in caught.value.remedy
    planned = compiled.plan(stream, 1024, announced=True)
    again = compiled.run_ranked(stream, hints, 64, entries=1024, planned=planned)
    assert (again.hits == compiled.run_ranked(stream, hints, 64, entries=1024).hits).all()


def test_samples_are_taken_every_so_many_steps():
    stream = streams.of(load_trace(CHATS))
    every = compiled.run_ranked(stream, by_age(stream), 64, entries=1024, sample_every=1).samples
    some = compiled.run_ranked(stream, by_age(stream), 64, entries=1024, sample_every=7).samples
    for column, whole in zip(some, every):
        assert (column == whole[6::7]).all() and len(column) > 10
    assert not any(map(len, compiled.run_ranked(stream, by_age(stream), 64, entries=1024).samples))


# ---- what it refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(arrival=np.zeros(3, np.uint8)), "hints for 3 touches"),
        (dict(table_of=np.full(2, 1, np.int32)), "table 1"),
        (dict(tables=np.zeros((1, 16, 63), np.uint8)), "hints for"),
        (dict(completion=np.full(4, 16, np.uint8)), "class 16"),
    ],
)
def test_hints_that_are_not_of_the_stream(change, words):
    stream = streams.of(trace_of([(0, 1, [(0, 2)]), (1, 1, [(0, 2)])]))
    with pytest.raises(UsageError, match=words):
        compiled.run_ranked(stream, by_age(stream)._replace(**change), 4, entries=16)


@pytest.mark.parametrize(
    "options", [dict(capacity=17), dict(capacity=-1), dict(fill_age=256), dict(unload_batch=0), dict(sample_every=-1)]
)
def test_arguments_out_of_range(options):
    stream = streams.of(trace_of([(0, 1, [(0, 2)])]))
    with pytest.raises(UsageError):
        compiled.run_ranked(stream, by_age(stream), **{"capacity": 4, "entries": 16, **options})


def test_a_trace_that_goes_on_beyond_the_last_step():
    stream = streams.of(trace_of([(0, 1 << 32, [(0, 2)])]))
    with pytest.raises(UsageError, match="steps end at"):
        compiled.run_ranked(stream, by_age(stream), 4)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("heavy", "balanced"),
        (dict(w_r=1), "w_r"),
        (presets.PRESETS["balanced"] | dict(w_s=256), "255"),
        (presets.PRESETS["balanced"] | dict(w_s=255), "wrap"),
        (presets.PRESETS["balanced"] | dict(prefetch=100), "20000"),
    ],
)
def test_weights_that_are_not_done_here(weights, words):
    stream = streams.of(trace_of([(0, 1, [(0, 2)])]))
    with pytest.raises(UsageError) as caught:
        compiled.run_linear(stream, weights, 4)
    assert words in f"{caught.value} {caught.value.remedy}"


def test_without_numba_it_says_what_to_install():
    code = "import sys; sys.modules['numba'] = None; import kvfpga.lab.compiled"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "kvfpga[lab]" in done.stderr and "UsageError" in done.stderr
