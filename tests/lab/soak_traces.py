"""Real traces, which are never part of the repository: `make soak`. They are looked for in the folder that KVFPGA_TRACES
names, else in shared/traces beside the checkout. Small traces of our own are in tests/data/, and every `make test` has them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from kvfpga.lab.policies.table import baselines
from kvfpga.lab.replay import ReplayOptions, replay
from kvfpga.lab.traces import read_trace
from scripts.bench.replay import trace_folder
from tests.lab.test_ranked_replay import compare
from tests.lab.test_replay import Dut

FOLDER = trace_folder()


class Trace(NamedTuple):
    name: str
    stats_name: str

    @property
    def path(self) -> Path:
        return FOLDER / self.name

    def stats(self) -> dict:
        return json.loads((FOLDER / self.stats_name).read_text())


MOONCAKE = Trace("mooncake_conversation.jsonl", "stats_mooncake_conversation.json")
AGENTIC = Trace("cc_agentic_A.ranges.jsonl", "stats_cc_agentic_A.json")

if missing := [name for trace in (MOONCAKE, AGENTIC) for name in trace if not (FOLDER / name).is_file()]:
    pytest.exit(f"nothing to soak: no {missing[0]} in {FOLDER}; set KVFPGA_TRACES to the folder of the real traces", returncode=1)


@pytest.mark.parametrize("trace", [MOONCAKE, AGENTIC], ids=lambda trace: trace.name)
def test_real_traces_hold_what_their_notes_say(trace):
    stats = trace.stats()
    sizes = [sum(count for _, count in request.runs) for request in read_trace(trace.path)]
    assert len(sizes) == stats["requests"]
    assert sum(sizes) == stats["block_refs"]
    assert max(sizes) == stats["blocks_per_request_max"]


@pytest.mark.parametrize("capacity", [1024, 4096, 16384, 65536])
def test_known_figures_of_the_mooncake_trace(capacity):
    stream = np.concatenate([request.blocks for request in read_trace(MOONCAKE.path)])
    known = MOONCAKE.stats()["hits"][str(capacity)]
    found = baselines(stream, capacity)
    assert (found.hits["lru"], found.hits["lfu"], found.hits["optimal"]) == (known["LRU"], known["LFU"], known["MIN"])


def test_a_real_trace():
    s = replay(Dut(4096), MOONCAKE.path, ReplayOptions(limit=400, t1_capacity=1024, sample=200, check_every=0))
    assert (s.requests, s.unplaced, s.differences) == (400, 0, 0)
    assert s.unloads and s.sampled_moved > 50
    assert s.counters["release_refusals"] == 0
    assert s.counters["hits_t1"] <= s.baselines.hits["optimal"]


def test_a_real_trace_with_ranges():
    s = replay(Dut(16384), AGENTIC.path, ReplayOptions(limit=8, t1_capacity=4096, sample=50, check_every=0))
    assert (s.requests, s.unplaced, s.differences) == (8, 0, 0)
    assert s.counters["hits_t1"]


@pytest.mark.parametrize("t1_capacity, hits", [(1024, 13_181), (2048, 16_129), (4096, 26_505), (8192, 52_836), (16384, 76_938)])
def test_every_touch_of_a_real_trace_ranked_by_age(t1_capacity, hits):
    """`hits`: of a simulation of the ranked policy by others. It unloads by the last touch, a replay by the end of the last
    request that used a block, which makes less than a tenth of a point of the touches."""
    s = compare(MOONCAKE.path, 65536, t1_capacity)
    assert (s.touches, s.unplaced, s.counters["guards"]) == (288_500, 0, 0)
    assert abs(s.counters["hits_t1"] - hits) < s.touches / 1000
