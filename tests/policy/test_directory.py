"""The learner's directory holds what the planner of a replay puts into the device's."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfpga.lab.device_policy import Ranked
from kvfpga.lab.plan import Planner
from kvfpga.lab.traces import Request
from kvfpga.policy.constants import DEFAULT
from kvfpga.policy.features import History

RUN = st.tuples(st.integers(0, 30), st.integers(1, 12))
REQUESTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9), st.lists(RUN, max_size=3)), max_size=25)


@settings(max_examples=200, deadline=None)
@given(REQUESTS, st.integers(1, 24), st.integers(1, 6))
def test_it_holds_what_the_planner_loaded(requests, entries, batch):
    planner = Planner(entries, 32, 4096, Ranked("ranked"), unload_batch=batch)
    history = History(entries, batch, 32, DEFAULT)
    step, active = 0, []
    for gap, output, runs in requests:
        step += gap
        request = Request(step * 100.0, 100, output, tuple(runs))
        for _ in (*planner.advance(request), *planner.arrive(request)):
            pass
        for end, number, arrival in sorted(active):
            if end <= step:
                history.complete(arrival, end)
                active.remove((end, number, arrival))
        arrival = history.arrive(step, request.blocks, request.input_length)
        active.append((step + max(1, output), arrival.serial, arrival))
        held = history.directory.block_of[history.directory.held()]
        assert sorted(held.tolist()) == sorted(planner.users)


def test_a_slot_that_was_given_away_is_unloaded_for_its_new_block_only():
    """Block 1 leaves, its slot goes to block 3; then block 2, idle for longer than 3, has to go first."""
    history = History(2, 1, 32, DEFAULT)

    def visit(step, *blocks):
        history.complete(history.arrive(step, np.array(blocks), 64), step + 1)

    visit(0, 1)
    visit(2, 2)
    visit(4, 3)
    visit(6, 4)
    assert sorted(history.directory.block_of.tolist()) == [3, 4]
