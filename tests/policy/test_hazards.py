"""What is counted, and what is made of it."""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfpga.contract.parameters import BUCKETS
from kvfpga.policy.classes import Group
from kvfpga.policy.constants import DEFAULT
from kvfpga.policy.hazards import Counts, fit
from tests.helpers.plain_ranked import bucket

SPAN = st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(0, 300), st.booleans())
"""(class, first age, how much longer, does a touch end it?)"""


@given(st.lists(SPAN, max_size=12), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), max_size=5))
def test_spans_are_counted_step_by_step(spans, still):
    counts, hits, exposures = Counts(3), Counter(), Counter()
    for of, begin, longer, touched in spans:
        end = begin + longer
        counts.lasted(np.array([of]), np.array([begin]), times=-1)
        counts.lasted(np.array([of]), np.array([end]))
        exposures.update((of, bucket(age)) for age in range(begin + 1, end + 1))
        if touched:
            counts.hit(np.array([of]), np.array([end]))
            if end:
                hits[of, bucket(end)] += 1
    for of, age in still:
        exposures.update((of, bucket(age)) for age in range(1, age + 1))
    now = np.array(still, dtype=np.int64).reshape(-1, 2)
    for _ in range(2):  # asking changes nothing
        assert_cells(counts.hits(), hits)
        assert_cells(counts.exposures(now[:, 0], now[:, 1]), exposures)


def assert_cells(found, expected):
    assert {(int(of), int(b)): int(found[of, b]) for of, b in np.argwhere(found)} == {k: n for k, n in expected.items() if n}


# ---- the fit -----------------------------------------------------------------------------------------------------------

LEVELS = np.array([[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
GROUP = Group(0, 4, LEVELS, (2, 2, 1, 1))


def plainly(hits, exposures, event, constants):
    """The recipe of the fit, class by class and bucket by bucket."""
    ages, classes = range(BUCKETS), range(len(hits))
    hit, exposed = ([sum(float(row[b]) for row in values) for b in ages] for values in (hits, exposures))
    mean = (sum(hit) + event) / (sum(exposed) + event)
    for _ in range(constants.smoothings):
        hit, exposed = ([(v[max(0, b - 1)] + 2 * v[b] + v[min(BUCKETS - 1, b + 1)]) / 4 for b in ages] for v in (hit, exposed))
    steady = hits.sum() / (hits.sum() + constants.steady_events * event)
    pooled, before = [], mean
    for b in ages:
        before = (hit[b] + event) / (exposed[b] + event / before)
        pooled.append(steady * before + (1 - steady) * (hit[b] + event) / (exposed[b] + event / mean))
    prior, cell = constants.factor_events * event, constants.prior_events * event
    axes = range(len(LEVELS))
    factor = [[[1.0] * 16 for _ in range(GROUP.sizes[axis])] for axis in axes]

    def times(of, b, but=None):
        return prod(factor[axis][LEVELS[axis][of]][b // 4] for axis in axes if axis != but)

    for _ in range(constants.rounds):
        for axis in axes:
            new = []
            for level in range(GROUP.sizes[axis]):
                mine = [of for of in classes if LEVELS[axis][of] == level]
                seen = [sum(hits[of][b] for of in mine for b in range(4 * a, 4 * a + 4)) for a in range(16)]
                due = [
                    sum(exposures[of][b] * pooled[b] * times(of, b, axis) for of in mine for b in range(4 * a, 4 * a + 4))
                    for a in range(16)
                ]
                over = (sum(seen) + prior) / (sum(due) + prior)
                new.append([(seen[a] + prior) / (due[a] + prior / over) for a in range(16)])
            factor[axis] = new
    found = []
    for of in classes:
        shape = [pooled[b] * times(of, b) for b in ages]
        scale = (sum(hits[of]) + cell) / (sum(x * q for x, q in zip(exposures[of], shape, strict=True)) + cell)
        found.append([min(1.0, (hits[of][b] + cell) / (exposures[of][b] + cell / (shape[b] * scale))) for b in ages])
    return np.array(found)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from([1.0, 7.5]))
def test_the_fit_follows_its_recipe(random, event):
    exposures = np.array([[random.randrange(10 ** random.randrange(7)) for _ in range(BUCKETS)] for _ in range(4)])
    hits = np.array([[random.randrange(x // 5 + 1) for x in row] for row in exposures.tolist()])
    assert fit(hits, exposures, event, GROUP, DEFAULT) == pytest.approx(plainly(hits, exposures, event, DEFAULT), rel=1e-9)


def test_a_class_with_many_hits_has_the_hazard_that_was_seen():
    exposures = np.full((4, BUCKETS), 10**12)
    hits = np.array([[10**9], [10**7], [10**6], [10**8]]) * np.ones(BUCKETS, dtype=np.int64)
    assert fit(hits, exposures, 1.0, GROUP, DEFAULT) == pytest.approx(hits / exposures, rel=1e-3)


def test_a_class_never_seen_is_what_its_levels_make_of_it():
    """Twice the hazard with the second level of one axis, three times with that of the other: six times with both."""
    exposures = np.full((4, BUCKETS), 10**9)
    exposures[3] = 0
    hits = (exposures * np.array([[0.0001], [0.0003], [0.0002], [0]])).astype(np.int64)
    assert fit(hits, exposures, 1.0, GROUP, DEFAULT)[3] == pytest.approx(np.full(BUCKETS, 0.0006), rel=0.02)


def test_an_age_that_nothing_has_reached_is_like_the_one_before_once_there_was_much_to_see():
    exposures, hits = np.zeros((4, BUCKETS), dtype=np.int64), np.zeros((4, BUCKETS), dtype=np.int64)
    exposures[:, :40], hits[:, :40] = 10**9, 10**6
    hits[:, 36:40] = 10**4
    found = fit(hits, exposures, 1.0, GROUP, DEFAULT)
    assert found[:, 63] == pytest.approx(found[:, 39], rel=0.02)


def test_where_nothing_was_seen_all_classes_are_alike():
    nothing = np.zeros((4, BUCKETS), dtype=np.int64)
    found = fit(nothing, nothing, 1.0, GROUP, DEFAULT)
    assert (found == found[0, 0]).all()
