"""What is known of a request as it arrives."""

from __future__ import annotations

import numpy as np
import pytest

from kvfpga.contract.errors import UsageError
from kvfpga.policy.constants import DEFAULT
from kvfpga.policy.features import History

TOKENS = 100


def history(entries=1000):
    return History(entries, 10, TOKENS, DEFAULT)


def arrive(known, step, blocks, partial=50):
    """A request of these blocks, the last of which is filled in part."""
    return known.arrive(step, np.array(blocks), (len(blocks) - 1) * TOKENS + partial)


def test_a_first_request_is_all_new():
    found = arrive(history(), 0, range(10)).features
    assert (found.shared, found.turn, found.whole, found.new_tokens) == (0, 0, 9, 950)


def test_a_request_with_all_of_an_earlier_ones_whole_blocks_continues_it():
    known = history()
    first = arrive(known, 0, range(10))
    second = arrive(known, 300, [*range(9), 20, 21])
    third = arrive(known, 400, [*range(9), 20, 30, 31])
    assert (second.parent, second.features.turn, second.features.session_gap) == (first.serial, 1, 300)
    assert (third.parent, third.features.turn, third.features.session_gap) == (second.serial, 2, 200)
    assert second.features.new_tokens == 1050 - 900


def test_a_shared_prefix_much_shorter_than_the_earlier_request_continues_nothing():
    known = history()
    arrive(known, 0, range(100))
    found = arrive(known, 10, [*range(80), 200, 201])
    assert (found.parent, found.features.turn, found.features.session_gap) == (-1, 0, -1)
    assert found.features.shared == 80


def test_one_shared_block_continues_nothing():
    known = history()
    arrive(known, 0, [1, 2])
    assert arrive(known, 10, [1, 3]).parent == -1


def test_the_touches_of_a_block_and_their_gaps_are_its_own():
    known = history()
    arrive(known, 0, [1, 2, 3])
    arrive(known, 100, [1, 2, 4, 5])
    found = arrive(known, 140, [1, 9, 2]).features
    assert found.shared == 1
    assert found.touches.tolist() == [3]
    assert found.own_gaps.tolist() == [70]
    assert arrive(known, 150, [2]).features.touches.tolist() == [4]


def test_a_block_that_is_mentioned_twice_is_touched_once():
    known = history()
    arrive(known, 0, [1, 1, 2])
    found = arrive(known, 10, [1, 1, 2])
    assert found.features.touches.tolist() == [2, 2, 2]
    assert sorted(found.returned.tolist()) == sorted(found.own.tolist())
    assert len(found.own) == 2


def test_what_was_unloaded_is_forgotten():
    known = history(entries=4)
    first = arrive(known, 0, range(4))
    known.complete(first, 1)
    gone = arrive(known, 10, [10, 11])
    assert gone.unloaded_ages.tolist() == [10] * 4
    known.complete(gone, 11)
    assert arrive(known, 20, range(4)).features.shared == 0


def test_what_finds_no_room_is_told_apart():
    known = history(entries=4)
    arrive(known, 0, [0, 1, 2])
    found = arrive(known, 1, [5, 6, 7])
    assert (found.slots >= 0).tolist() == [True, False, False]


def test_time_does_not_go_back():
    known = history()
    arrive(known, 5, [1])
    with pytest.raises(UsageError, match="step 4 after step 5"):
        arrive(known, 4, [2])
