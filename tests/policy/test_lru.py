"""LRU beside the slowest way to say what it is."""

from __future__ import annotations

import random

import pytest

from kvfpga.policy.lru import Lru


@pytest.mark.parametrize("capacity", [0, 1, 3, 10])
def test_it_holds_what_was_used_last(capacity):
    draw, lru, used = random.Random(3), Lru(capacity), []
    for _ in range(2000):
        block = draw.randrange(15)
        newest = list(dict.fromkeys(reversed(used)))[:capacity]
        assert lru.touch(block) == (block in newest)
        used = [*used, block][-200:]
        if draw.random() < 0.01:
            lru.clear()
            used = []
