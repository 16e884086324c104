"""What stands in the learner's place: the age table once, order alone, and the same directory."""

from __future__ import annotations

import numpy as np

from kvfpga.contract import rank_tables
from kvfpga.policy.by_age import ByAge
from kvfpga.policy.learner import Learner


def test_it_tells_order_alone_and_its_table_once():
    brain = ByAge(64, entries=100, unload_batch=4, classes=16)
    assert (brain.table(0) == rank_tables.by_age(16)).all()
    assert brain.table(1000) is None
    told = brain.arrive(1000, np.arange(3), 192)
    assert (told.classes.tolist(), told.orders.tolist()) == ([0, 0, 0], [255, 254, 253])
    assert brain.grow(told, 1001, np.array([9])).orders.tolist() == [252]
    assert brain.complete(told, 1002, 50) is told.classes
    assert ByAge(64, entries=100, unload_batch=4, classes=None).table(0) is None


def test_it_keeps_the_directory_that_the_learner_keeps():
    rng = np.random.default_rng(1)
    brains = ByAge(64, entries=40, unload_batch=4, classes=None), Learner(64, entries=40, unload_batch=4)
    for step in range(300):
        blocks = np.unique(rng.integers(0, 80, rng.integers(1, 12)))
        told = [brain.arrive(step, blocks, 64 * len(blocks)) for brain in brains]
        for brain, one in zip(brains, told):
            brain.complete(one, step, 10)
        if step % 100 == 99:
            for brain in brains:
                brain.forget(step)
        first, second = (brain.history.directory.block_of.tolist() for brain in brains)
        assert first == second
