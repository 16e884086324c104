"""How likely the blocks of a class are touched at an age: counted, and made steady where little has been seen.

A block is of a class from a touch until the next one, or until it leaves the directory. Each step of it is an exposure in the
bucket of the block's age (R43), the touch that ends it a hit in the bucket of the age that it comes at. A touch in the step of
the one before is neither: no STEP, so no decision, lies between. All of them are whole numbers, counted exactly.

The hazard of a class at an age, hits over exposures, is drawn towards what its levels along the axes (classes.py) make expected:
a log-linear model, fitted in proportion, axis by axis. Only + - * / are used, and every sum runs in the order of the classes, so
that every machine finds the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..contract.parameters import BUCKETS
from . import buckets
from .classes import AXES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .classes import Group
    from .constants import Constants

BANDS = BUCKETS // 4
"""Four buckets, an octave of ages, are one band where levels are fitted."""


class Counts:
    """Hits and exposures by class and bucket. What is reported is noted, and counted when somebody asks."""

    def __init__(self, classes: int):
        self._shape = (classes, BUCKETS)
        self._spans = _Spans(self._shape)
        self._hits = np.zeros(self._shape, dtype=np.int64)
        self._noted: list[tuple[NDArray[np.int64], NDArray[np.int64], int]] = []
        self._noted_hits: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def lasted(self, classes: NDArray[np.int64], ages: NDArray[np.int64], times: int = 1) -> None:
        """Blocks of these classes have been so from their touch, at age 0, to these ages. `times` -1 takes it back: so counts
        what is of a class from a later age on."""
        self._noted.append((classes, ages, times))

    def hit(self, classes: NDArray[np.int64], ages: NDArray[np.int64]) -> None:
        """Blocks of these classes are touched at these ages."""
        self._noted_hits.append((classes, ages))

    def hits(self) -> NDArray[np.int64]:
        """int64[classes, 64]"""
        if self._noted_hits:
            classes, ages = (np.concatenate(parts) for parts in zip(*self._noted_hits, strict=True))
            self._noted_hits.clear()
            self._hits += _totals(_cells(classes, buckets.of(ages)), (ages > 0).astype(np.int64), self._shape).astype(np.int64)
        return self._hits

    def exposures(self, classes: NDArray[np.int64], ages: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[classes, 64]: the steps that blocks were of a class at the ages of a bucket, ages from 1 on. The arguments are of
        the blocks that still are, and how long by now."""
        if self._noted:
            of, until, times = zip(*self._noted, strict=True)
            self._spans.add(np.concatenate(of), np.concatenate(until), np.repeat(times, [len(part) for part in until]))
            self._noted.clear()
        now = _Spans(self._shape)
        now.add(classes, ages, np.ones(len(ages), dtype=np.int64))
        return self._spans.exposures() + now.exposures()


class _Spans:
    """Times that blocks were of a class, each from age 0 on. One that ended in a bucket was exposed in all of each bucket
    before."""

    def __init__(self, shape: tuple[int, int]):
        self._shape = shape
        self._ended = np.zeros(shape, dtype=np.int64)
        self._within = np.zeros(shape, dtype=np.int64)
        """Exposures in the bucket that a span ended in."""

    def add(self, classes: NDArray[np.int64], ages: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        """Sums of bincount are floats, exact below 2^53."""
        last = buckets.of(ages)
        cells = _cells(classes, last)
        exposed = np.where(last > 0, ages - buckets.FIRST[last] + 1, 0)
        self._ended += _totals(cells, times, self._shape).astype(np.int64)
        self._within += _totals(cells, times * exposed, self._shape).astype(np.int64)

    def exposures(self) -> NDArray[np.int64]:
        beyond = np.cumsum(self._ended[:, ::-1], axis=1)[:, ::-1] - self._ended
        return beyond * np.where(np.arange(BUCKETS) > 0, buckets.WIDTHS, 0) + self._within


def _cells(classes: NDArray[np.int64], within: NDArray[np.int64]) -> NDArray[np.int64]:
    return classes * BUCKETS + within


def fit(
    hits: NDArray[np.int64], exposures: NDArray[np.int64], event: float, group: Group, constants: Constants
) -> NDArray[np.float64]:
    """float64[classes, 64]: the hazard a step of each class at each age. `event`: the blocks of a returning request."""
    pooled = _pooled(hits, exposures, event, constants)
    expected = exposures * pooled
    factors = _factors(_bands(hits), _bands(expected), constants.factor_events * event, group, constants.rounds)
    bent = np.repeat(factors, BUCKETS // BANDS, axis=1) * pooled
    prior = constants.prior_events * event
    scale = (_row_totals(hits) + prior) / (_row_totals(exposures * bent) + prior)
    hazard = bent * scale[:, np.newaxis]
    return np.minimum(1.0, (hits + prior) * hazard / (exposures * hazard + prior))


def _pooled(hits: NDArray[np.int64], exposures: NDArray[np.int64], event: float, constants: Constants) -> NDArray[np.float64]:
    """float64[64]: the hazard over all classes, smoothed over neighbouring buckets. Where little was seen of an age, as of those
    that nothing has reached yet, it is drawn to a guess: that it goes on as at the age before. While there were few events it is
    the mean of all ages instead, since early on the greater part of what will return has not had the time to."""
    hit, exposed = hits.sum(axis=0), exposures.sum(axis=0)
    total = int(hit.sum())
    mean = (total + event) / (int(exposed.sum()) + event)
    steady = total / (total + constants.steady_events * event)
    for _ in range(constants.smoothings):
        hit, exposed = _smoothed(hit), _smoothed(exposed)
    weight = 4.0**constants.smoothings
    found = np.empty(BUCKETS)
    before = mean
    for bucket, (touched, steps) in enumerate(zip(hit.tolist(), exposed.tolist(), strict=True)):
        before, otherwise = ((touched / weight + event) / (steps / weight + event / guess) for guess in (before, mean))
        found[bucket] = steady * before + (1 - steady) * otherwise
    return found


def _smoothed(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Four times the mean with (1, 2, 1) / 4; the ends are their own neighbours."""
    padded: NDArray[np.int64] = np.concatenate([values[:1], values, values[-1:]])
    return padded[:-2] + 2 * padded[1:-1] + padded[2:]


def _factors(
    hits: NDArray[np.float64], expected: NDArray[np.float64], prior: float, group: Group, rounds: int
) -> NDArray[np.float64]:
    """float64[classes, bands]: how many times the pooled hazard the levels of a class make it."""
    cells = [(levels[:, np.newaxis] * BANDS + np.arange(BANDS)).ravel() for levels in group.levels]
    shape = [(size, BANDS) for size in group.sizes]
    factors = [np.ones(one) for one in shape]
    for _ in range(rounds):
        for axis in AXES:
            others = expected
            for other in AXES:
                if other != axis:
                    others = others * factors[other][group.levels[other]]
            hit, foreseen = (_totals(cells[axis], values, shape[axis]) for values in (hits, others))
            level = (_row_totals(hit) + prior) / (_row_totals(foreseen) + prior)
            factors[axis] = (hit + prior) / (foreseen + prior / level[:, np.newaxis])
    found = np.ones_like(expected)
    for axis in AXES:
        found = found * factors[axis][group.levels[axis]]
    return found


def _bands(values: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    parts = values.astype(np.float64).reshape(len(values), BANDS, -1)
    return np.cumsum(parts, axis=2)[:, :, -1]


def _row_totals(values: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Summed from the first column to the last, which numpy's sum does not promise."""
    return np.cumsum(values, axis=1)[:, -1].astype(np.float64)


def _totals(
    cells: NDArray[np.int64], values: NDArray[np.int64] | NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """The values of each cell summed, in order."""
    return np.bincount(cells, values.ravel(), shape[0] * shape[1]).reshape(shape).astype(np.float64, copy=False)
