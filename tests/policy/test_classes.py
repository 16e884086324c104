"""The classes: how many there are, which one a block gets, and what a small device gets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfpga.contract.errors import UsageError
from kvfpga.policy.classes import plan
from kvfpga.policy.constants import DEFAULT
from kvfpga.policy.features import Features

WHOLE = plan(256, DEFAULT, 100.0, final=True)
SMALL = plan(16, DEFAULT, 100.0)


def features(blocks=4, shared=0, whole=3, turn=0, gap=-1.0, new=100, touches=1, own_gap=-1.0, output=-1):
    return Features(
        blocks, shared, whole, turn, gap, new, np.full(shared, touches, np.int32), np.full(shared, float(own_gap)), output
    )


def test_a_device_of_256_classes_has_80_at_arrival_168_at_completion_and_8_for_last_requests():
    assert [scheme.classes for scheme in WHOLE] == [80, 168, 8]
    assert [scheme.first for scheme in WHOLE] == [0, 80, 248]
    assert [(group.first, group.classes) for group in WHOLE.groups] == [(0, 80), (80, 176)]


@pytest.mark.parametrize(
    ("classes", "at_arrival", "completes"), [(16, 15, False), (32, 15, False), (64, 15, False), (128, 80, False), (256, 80, True)]
)
def test_a_smaller_device_gets_fewer_classes(classes, at_arrival, completes):
    found = plan(classes, DEFAULT, 100.0)
    assert found.arrival.classes == at_arrival
    assert (found.completion is not None) == completes


def test_last_requests_need_256_classes():
    with pytest.raises(UsageError, match="needs 256 classes; this device has 128"):
        plan(128, DEFAULT, 100.0, final=True)


def test_limits_for_which_no_class_is_left_are_refused():
    with pytest.raises(UsageError, match="needs 22 classes; this device has 16"):
        plan(16, DEFAULT._replace(session_gaps_s=tuple(range(1, 11))), 100.0)


def test_kinds_lie_where_the_prompt_has_them():
    """Two shared blocks, one new, a partial one; a prompt without a partial one has none."""
    found = WHOLE.arrival.classify(features(shared=2, turn=1, gap=10, touches=2, own_gap=10))
    own, later, partial = found[0], found[2], found[3]
    assert found.tolist() == [own, own, later, partial]
    assert len({own, later, partial}) == 3
    assert partial not in WHOLE.arrival.classify(features(whole=4))


def test_a_shared_block_is_common_where_it_is_touched_more_often_than_its_session_has_turns():
    def shared(turn, touches):
        return WHOLE.arrival.classify(features(shared=2, turn=turn, gap=10, touches=touches, own_gap=10))[0]

    common = shared(0, 3)
    assert shared(2, 4) == shared(1, 3) == common
    assert shared(2, 3) != common


def test_levels_begin_at_their_limits():
    def new(tokens):
        return int(WHOLE.arrival.classify(features(new=tokens))[0])

    assert new(499) == new(0) == new(-5)
    assert new(500) == new(499) + 1
    assert new(1999) == new(500)
    assert new(1 << 40) == new(0) + 3


def test_gaps_are_counted_in_steps():
    def later(step_ms, gap):
        return plan(256, DEFAULT, step_ms).arrival.classify(features(turn=1, gap=gap))[0]

    assert later(100, 199) != later(100, 200)
    assert later(50, 399) != later(50, 400)
    assert later(50, 399) == later(100, 199)


REQUEST = st.builds(
    features,
    blocks=st.integers(3, 6),
    shared=st.integers(0, 3),
    whole=st.integers(0, 8),
    turn=st.integers(0, 7),
    gap=st.integers(-1, 3000),
    new=st.integers(0, 20_000),
    touches=st.integers(1, 40),
    own_gap=st.integers(-1, 3000),
    output=st.integers(0, 1000),
)


@given(REQUEST)
def test_a_class_is_of_its_own_scheme(request):
    for scheme in (*WHOLE, SMALL.arrival):
        found = scheme.classify(request).astype(int) - scheme.first
        assert len(found) == request.blocks
        assert ((found >= 0) & (found < scheme.classes)).all()


def test_every_class_can_occur():
    seen = {scheme: set() for scheme in (WHOLE.arrival, WHOLE.completion, WHOLE.final)}
    for turn in (0, 1, 2, 3, 5):
        for new in (0, 500, 2_000, 10_000):
            for gap in (10, 200, 600, 2_000):
                for output in (0, 100, 400):
                    base = dict(shared=2, turn=turn, gap=gap, new=new, output=output)
                    for scheme, found in seen.items():
                        found.update(scheme.classify(features(**base, touches=turn + 1)).tolist())
    for touches in (2, 3, 5, 9, 17):
        for own_gap in (1, 20, 50, 120, 300, 800, 2_000):
            for scheme, found in seen.items():
                found.update(scheme.classify(features(shared=2, touches=touches, own_gap=own_gap)).tolist())
    for scheme, found in seen.items():
        assert sorted(found) == list(range(scheme.first, scheme.first + scheme.classes))
