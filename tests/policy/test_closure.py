"""A block is worth what lies behind it, and nothing else changes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kvfpga.policy.closure import closed

CODES = st.lists(st.integers(0, 255), min_size=8, max_size=8)
PROMPT = st.lists(st.integers(0, 7), max_size=30)


def walked(classes: list[int], codes: list[int], lead: int) -> list[int]:
    """Block by block, from the deepest on."""
    found, giver = list(classes), None
    for place in reversed(range(len(classes))):
        if giver is None or codes[classes[place]] >= codes[giver]:
            giver = classes[place]
        elif codes[giver] - codes[classes[place]] >= lead:
            found[place] = giver
    return found


@given(PROMPT, CODES, st.integers(1, 20))
def test_a_prompt_is_closed_as_a_walk_over_it_would(classes, codes, lead):
    found = closed(np.array(classes, np.uint8), np.array(codes, np.uint8), lead)
    assert found.tolist() == walked(classes, codes, lead)


@given(PROMPT, CODES)
def test_with_a_lead_of_one_no_block_is_worth_less_than_one_behind_it(classes, codes):
    values = np.array(codes)[closed(np.array(classes, np.uint8), np.array(codes, np.uint8), 1)]
    assert (np.diff(values) <= 0).all()


def test_a_block_a_little_below_what_lies_behind_it_keeps_its_class():
    codes = np.array([100, 103, 104], np.uint8)
    assert closed(np.array([0, 1], np.uint8), codes, 4).tolist() == [0, 1]
    assert closed(np.array([0, 2], np.uint8), codes, 4).tolist() == [2, 2]
