"""The learner: what it counts, what it tells, and that it knows nothing beforehand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfpga.contract.errors import UsageError
from kvfpga.policy.learner import Learner
from tests.helpers.plain_ranked import bucket

RUN = st.tuples(st.integers(0, 20), st.integers(1, 8))
REQUESTS = st.lists(st.tuples(st.integers(0, 25), st.integers(1, 30), st.lists(RUN, max_size=2)), max_size=15)


class PerStep:
    """Counts a group of classes block by block and step by step. `since`: from what age on a block has its class."""

    def __init__(self):
        self.held: dict[int, tuple[int, int, int]] = {}  # block → class, step of the touch, since
        self.hits, self.exposures = Counter(), Counter()

    def step(self, now):
        for of, touched, since in self.held.values():
            if now - touched > since:
                self.exposures[of, bucket(now - touched)] += 1

    def touch(self, now, block):
        of, touched, _ = self.held.pop(block, (None, now, 0))
        if of is not None and now > touched:
            self.hits[of, bucket(now - touched)] += 1


@settings(max_examples=100, deadline=None)
@given(REQUESTS, st.integers(20, 60))
def test_it_counts_every_step_and_touch_of_every_block(requests, entries):
    learner = Learner(64, entries=entries, unload_batch=4)
    arrival, completion = PerStep(), PerStep()
    active, now = [], 0

    def advance(until):
        nonlocal now
        while now < until:
            now += 1
            arrival.step(now)
            completion.step(now)
            for end, number, told, output, blocks in sorted(active, key=lambda one: one[:2]):
                if end == now:
                    active.remove((end, number, told, output, blocks))
                    still = {block: arrival.held[block][1] for block in blocks if block in arrival.held}
                    learner.complete(told, now, output)
                    found = learner.plan.completion.classify(told.arrival.features._replace(output_length=output))
                    for block, of in zip(blocks, found.tolist(), strict=True):
                        if still.get(block) == told.arrival.step and last_toucher[block] == number:
                            completion.held[block] = of - 80, told.arrival.step, now - told.arrival.step

    last_toucher = {}
    for number, (gap, output, runs) in enumerate(requests):
        advance(now + gap)
        blocks = [first + n for first, count in runs for n in range(count)]
        told = learner.arrive(now, np.array(blocks), 64 * len(blocks) - 5)
        for counted in (arrival, completion):
            for block in dict.fromkeys(blocks):
                counted.touch(now, block)
        in_directory = set(learner.history.directory.block_of.tolist())
        for counted in (arrival, completion):
            counted.held = {block: state for block, state in counted.held.items() if block in in_directory}
        for block, of in zip(blocks, learner.plan.arrival.classify(told.arrival.features).tolist(), strict=True):
            if block in in_directory:
                arrival.held[block] = of, now, 0
                last_toucher[block] = number
        active.append((now + output, number, told, output, blocks))
    advance(now + 40)
    for (_, hits, exposures), expected in zip(learner.counted(now), (arrival, completion), strict=True):
        assert cells(hits) == dict(expected.hits)
        assert cells(exposures) == dict(expected.exposures)


def cells(found):
    return {(int(of), int(b)): int(found[of, b]) for of, b in np.argwhere(found)}


def test_the_first_table_ranks_by_age_and_the_next_comes_after_15_seconds():
    learner = Learner(64)
    first = learner.table(1000)
    assert first.shape == (256, 64)
    assert (np.diff(first[0].astype(int)) < 0).all()
    assert (first == first[0]).all()
    assert learner.table(1149) is None
    assert learner.table(1150) is not None
    assert learner.table(1151) is None


def test_a_table_is_not_changed_after_it_was_handed_out():
    learner = Learner(64)
    first = learner.table(0)
    before = first.copy()
    learner.arrive(0, np.arange(100), 6400)
    assert learner.table(200) is not first
    assert (first == before).all()


def test_what_comes_back_soon_outranks_what_never_does():
    """Sessions with a short first prompt go on after 5 s, those with a long one never do."""
    learner = Learner(64, entries=4096)

    def visit(step, first, size):
        told = learner.arrive(step, np.arange(first, first + size), 64 * size)
        learner.complete(told, step, 10)
        return told.classes[0]

    learner.table(0)
    for second in range(0, 3000, 10):
        visit(second * 10, second * 10, 4)
        visit(second * 10, second * 10 + 10, 50)
        visit(second * 10 + 50, second * 10, 4)
    table = learner.table(30_150)
    back, gone = visit(30_150, 50_000, 4), visit(30_150, 50_010, 50)
    assert table[back, bucket(10)] > table[gone, bucket(10)] + 20


def test_a_request_comes_to_its_end_on_a_device_without_classes_at_completion():
    learner = Learner(64, classes=128)
    told = learner.arrive(0, np.arange(5), 320)
    assert learner.complete(told, 4, 100).tolist() == told.classes.tolist()


def test_an_end_before_the_arrival_is_refused():
    learner = Learner(64)
    told = learner.arrive(7, np.arange(5), 320)
    with pytest.raises(UsageError, match="step 6 after step 7"):
        learner.complete(told, 6, 100)


def test_what_is_generated_belongs_to_its_request():
    """Each piece is counted from its own touch on, and whoever begins with all of it goes on with the session."""
    learner = Learner(64, entries=100, unload_batch=4)
    prompt = learner.arrive(0, np.arange(3), 3 * 64)
    answer = learner.grow(prompt, 5, np.arange(3, 5))
    assert [told.orders.tolist() for told in (prompt, answer)] == [[255, 254, 253], [252, 251]]
    assert set(answer.classes.tolist()) == {0}  # behind the prompt's whole blocks
    for told in (prompt, answer):
        learner.complete(told, 10, 100)
    (_, hits, _), _ = learner.counted(10)
    assert not hits.any()
    again = learner.arrive(20, np.arange(8), 8 * 64)
    assert (again.arrival.features.turn, again.arrival.features.shared) == (1, 5)
    assert again.arrival.parent == prompt.arrival.serial
    (_, hits, _), _ = learner.counted(20)
    assert cells(hits) == {(int(prompt.classes[0]), bucket(20)): 3, (0, bucket(15)): 2}


def test_the_rest_of_a_prompt_counts_as_its_beginning_does():
    whole, pieces = Learner(64, entries=100), Learner(64, entries=100)
    at_once = whole.arrive(0, np.arange(40), 40 * 64)
    first = pieces.arrive(0, np.arange(10), 10 * 64)
    rest = pieces.grow(first, 0, np.arange(10, 40), generated=False)
    assert at_once.arrival.features.new_tokens == rest.arrival.features.new_tokens == 2560
    assert rest.classes.tolist() == at_once.classes[10:].tolist()
    assert [*first.orders, *rest.orders] == at_once.orders.tolist()


def test_what_is_in_use_is_not_unloaded_until_every_piece_has_ended():
    learner = Learner(64, entries=8, unload_batch=8)
    prompt = learner.arrive(0, np.arange(3), 192)
    answer = learner.grow(prompt, 1, np.arange(3, 5))
    learner.complete(prompt, 2, 64)
    other = learner.arrive(3, np.arange(100, 108), 512)  # there is room for six
    assert sorted(learner.history.directory.block_of[answer.arrival.slots].tolist()) == [3, 4]
    assert (other.arrival.slots < 0).sum() == 2


def test_after_everything_was_cleared_nothing_is_known_but_what_was_learnt():
    learner = Learner(64, entries=50, unload_batch=4)
    learner.arrive(0, np.arange(5), 320)
    learner.forget(7)
    (_, hits, exposures), _ = learner.counted(100)
    assert not hits.any() and exposures.sum() == 5 * 7  # until then, and no step further
    assert learner.arrive(101, np.arange(5), 320).arrival.features.shared == 0
    assert len(learner.arrive(102, np.arange(100, 145), 45 * 64).arrival.own) == 45  # all places are free again
