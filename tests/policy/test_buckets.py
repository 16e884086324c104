"""The learner's age buckets are those of the device."""

from __future__ import annotations

import numpy as np
import pytest

from kvfpga.policy import buckets
from tests.helpers.plain_ranked import bucket


def test_every_age_is_in_the_bucket_of_r43():
    ages = np.concatenate([np.arange(5_000), 1 << np.arange(13, 32), (1 << np.arange(13, 32)) - 2])
    assert buckets.of(ages).tolist() == [bucket(int(age)) for age in ages]


def test_the_buckets_follow_each_other_without_a_gap():
    assert (buckets.FIRST[1:] - buckets.FIRST[:-1] == buckets.WIDTHS[:-1]).all()
    assert all(width & (width - 1) == 0 for width in buckets.WIDTHS.tolist())


@pytest.mark.parametrize("number, least", [(0, 0), (1, 1), (2, 2), (3, 3), (6, 6), (7, 7), (8, 9), (24, 159), (63, 131071)])
def test_the_youngest_age_of_a_bucket(number, least):
    assert buckets.FIRST[number] == least
