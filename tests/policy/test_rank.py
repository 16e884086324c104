"""Ranks against the best of all holding times, codes against whole numbers."""

from __future__ import annotations

from fractions import Fraction
from math import inf, nextafter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfpga.contract.parameters import BUCKETS
from kvfpga.policy import buckets, rank


def best_holding(hazards: list[float], start: int) -> float:
    """The most hits per step over every last bucket to hold a block in, one step at a time."""
    left, hits, steps, best = 1.0, 0.0, 0.0, 0.0
    for bucket in range(start, BUCKETS):
        for _ in range(int(buckets.WIDTHS[bucket])):
            hits += left * hazards[bucket]
            steps += left
            left *= 1 - hazards[bucket]
        best = max(best, hits / steps)
    return best


@settings(max_examples=5, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1e-6, 1e-4, 0.003, 0.2, 1.0]), min_size=BUCKETS, max_size=BUCKETS))
def test_a_rank_is_the_best_of_all_holding_times(hazards):
    found = rank.gittins(np.array([hazards]))[0]
    for start in (0, 1, 7, 30, 44, 63):
        assert found[start] == pytest.approx(best_holding(hazards, start), rel=1e-9)


def test_small_hazards_lose_no_precision():
    """With a constant hazard every holding time is worth the same: the hazard itself."""
    hazard = np.full((1, BUCKETS), 2.0**-40)
    assert rank.gittins(hazard)[0] == pytest.approx(2.0**-40, rel=1e-12)


def code_of(value: float) -> int:
    """floor(10 log2(1 + 2^24 v)), at most 255, in whole numbers."""
    power = (1 + Fraction(value) * 2**24) ** 10
    return min(255, (power.numerator // power.denominator).bit_length() - 1)


@given(st.floats(0, 2))
def test_a_code_is_exact(value):
    assert rank.codes(np.array([value]))[0] == code_of(value)


def test_a_code_begins_at_its_threshold_and_not_before():
    for code, least in enumerate(rank.THRESHOLDS.tolist(), start=1):
        assert code_of(least) == code
        assert code_of(nextafter(least, -inf)) == code - 1
