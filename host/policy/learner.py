"""The learner of the ranked policy: it is told what requests come and end, and says what to tell the device.

    learner = Learner(block_tokens=512)
    learner.table(step)                                     # uint8[classes, 64] to write now (R45), or None
    told = learner.arrive(step, blocks, input_length)       # told.classes, told.orders: with TOUCH and LOAD (R41)
    learner.grow(told, step, blocks)                        # further blocks of the same request: told anew
    learner.complete(told, step, output_length)             # classes for CLASS (R42)

A replay folds it over a trace (ranked.py); one that follows a running server is told what happens as it does. Steps are the
device's (R15), and do not go back. It starts cold, ranking by age, and learns as it goes: a table that was learnt on other
traffic does harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..contract.parameters import BUCKETS
from . import rank
from .classes import plan
from .closure import closed
from .constants import DEFAULT, Constants
from .features import History
from .hazards import Counts, fit
from .orders import orders

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .classes import Group
    from .features import Arrival

NO_CLASS = -1


class Told(NamedTuple):
    """uint8[blocks] each: what the device is told of a request's blocks as it arrives. `arrival` is for the learner."""

    classes: NDArray[np.uint8]
    orders: NDArray[np.uint8]
    arrival: Arrival


class Learner:
    """`entries` and `unload_batch`: of the directory and of who keeps it (directory.py). `classes`: of the device. `final`: will
    `complete` be told which requests are the last of their session? UsageError where the classes do not suffice."""

    def __init__(
        self,
        block_tokens: int,
        *,
        step_ms: float = 100.0,
        entries: int = 65536,
        unload_batch: int = 256,
        classes: int = 256,
        final: bool = False,
        constants: Constants = DEFAULT,
    ):
        self.constants = constants
        self.plan = plan(classes, constants, step_ms, final)
        self.history = History(entries, unload_batch, block_tokens, constants)
        self._groups = [_Learnt(group, entries) for group in self.plan.groups]
        self._event = [1, 1]
        """Blocks that came back, and the requests that brought them: those that brought more than one."""
        self._table = np.zeros((classes, BUCKETS), dtype=np.uint8)
        self._table[:] = 250 - 3 * np.arange(BUCKETS)
        self._every = constants.table_s * 1000 / step_ms
        self._learnt: int | None = None
        """The step of the last table."""

    def table(self, step: int) -> NDArray[np.uint8] | None:
        """The table that ranks from this step on, where it is time for a new one. To be asked before an arrival."""
        self.history.at(step)
        if self._learnt is None:
            self._learnt = step
            return self._table
        if step - self._learnt < self._every:
            return None
        self._learnt = step
        self._table = self._table.copy()
        event = self._event[0] / self._event[1]
        for group, hits, exposures in self.counted(step):
            hazards = fit(hits, exposures, event, group, self.constants)
            self._table[group.first : group.first + group.classes] = rank.codes(rank.gittins(hazards))
        return self._table

    def counted(self, step: int) -> list[tuple[Group, NDArray[np.int64], NDArray[np.int64]]]:
        """(classes, hits, exposures) of those at arrival, then of those at completion: what was seen by this step
        (hazards.py)."""
        self.history.at(step)
        held = self.history.directory.held()
        ages = step - self.history.touched[held]
        return [(learnt.group, *learnt.counted(held, ages)) for learnt in self._groups]

    def arrive(self, step: int, blocks: NDArray[np.int64], input_length: int) -> Told:
        """A request touches these blocks, in this order."""
        return self._told(self.history.arrive(step, blocks, input_length))

    def grow(self, told: Told, step: int, blocks: NDArray[np.int64], generated: bool = True) -> Told:
        """A request, `told` what was told of it last, touches further blocks: what it has `generated`, or the rest of a prompt
        that comes in pieces. Each piece is to be completed like the first."""
        return self._told(self.history.grow(told.arrival, step, blocks, generated))

    def _told(self, arrival: Arrival) -> Told:
        for learnt in self._groups:
            learnt.ended(arrival.returned, arrival.ages, touched=True)
            learnt.ended(arrival.unloaded, arrival.unloaded_ages, touched=False)
        came_back = int(np.count_nonzero(arrival.ages))
        if came_back > 1:
            self._event[0] += came_back
            self._event[1] += 1
        found = self.plan.arrival.classify(arrival.features)
        self._groups[0].began(arrival, found, np.ones(len(found), dtype=np.bool_), 0)
        return Told(self._closed(found), orders(arrival.depth + len(found))[arrival.depth :], arrival)

    def forget(self, step: int) -> None:
        """All blocks are void (the cache was cleared), and no request is active any more. What was learnt stays."""
        held, ages = self.history.forget(step)
        for learnt in self._groups:
            learnt.ended(held, ages, touched=False)

    def complete(self, told: Told, step: int, output_length: int, final: bool = False) -> NDArray[np.uint8]:
        """A request has ended. Returns uint8[blocks]: what to tell the device of those that no later request has touched.
        `final`: somebody says that it was its session's last."""
        arrival = told.arrival
        self.history.complete(arrival, step)
        scheme = self.plan.final if final and self.plan.final else self.plan.completion
        if scheme is None:
            return told.classes
        found = scheme.classify(arrival.features._replace(output_length=output_length))
        still = (arrival.slots >= 0) & (self.history.toucher[arrival.slots] == arrival.serial)
        self._groups[1].began(arrival, found, still, step - arrival.step)
        return self._closed(found)

    def _closed(self, found: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return closed(found, self._table[:, self.constants.closure_bucket], self.constants.closure_lead)


class _Learnt:
    """What is counted of a group of classes, and which of them the block of each slot has (from its group's `first` on)."""

    def __init__(self, group: Group, entries: int):
        self.group = group
        self.counts = Counts(group.classes)
        self.classes = np.full(entries, NO_CLASS, dtype=np.int64)

    def began(self, arrival: Arrival, found: NDArray[np.uint8], which: NDArray[np.bool_], age: int) -> None:
        """The blocks of a request `which` are of these classes from this age on. Where one is touched twice, the last touch
        counts."""
        slots = arrival.slots[which & (arrival.slots >= 0)]
        self.classes[slots] = found[which & (arrival.slots >= 0)].astype(np.int64) - self.group.first
        if age:
            own = slots if len(slots) == len(np.unique(slots)) else np.unique(slots)
            self.counts.lasted(self.classes[own], np.full(len(own), age), times=-1)

    def ended(self, slots: NDArray[np.int64], ages: NDArray[np.int64], touched: bool) -> None:
        """The blocks of these slots are of their classes no longer."""
        classes = self.classes[slots]
        if (some := classes != NO_CLASS).all():
            some = slice(None)
        self.counts.lasted(classes[some], ages[some])
        if touched:
            self.counts.hit(classes[some], ages[some])
        self.classes[slots] = NO_CLASS

    def counted(self, held: NDArray[np.int64], ages: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Hits, and exposures with those of the blocks held at present so far."""
        classes = self.classes[held]
        some = classes != NO_CLASS
        return self.counts.hits(), self.counts.exposures(classes[some], ages[some])
