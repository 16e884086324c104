"""The device's policy in a replay: what is programmed and when, what hint a block gets, whether blocks in use are shared.

`linear:PRESET` is the linear policy with the weights of a preset (R14 to R16), and blocks are shared while a request uses them.

`ranked-age` is the ranked one (R40) with the table `age`: tier 1 keeps what was used last. A deeper block of a prompt has a lower
order, so of blocks used at the same time the end of a prompt goes first, and its beginning stays whole. Nothing is shared: a
request's blocks cannot be hit by itself, and guarded ones would hold places that others could use.

`ranked` is the same with what the host learns on the way: a class for each touch, another one at the request's end, and tables
(`Hints` in policy/hints.py; the learner is policy/ranked.py). Nothing of it comes from beyond the trace, or from its future.

`ranked+announce` also has the device told which request comes next, as a host that queues them can: PREFETCH of its blocks with
the last STEP before it. A replay knows that from the trace's future. What each wants programmed: policy/programs.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..contract import presets, rank_tables
from ..contract.commands import hint_of
from ..contract.errors import UsageError
from ..contract.settings import RANKED
from ..policy import programs
from ..policy.orders import orders
from ..policy.programs import LEARNT as LEARNT
from ..policy.programs import RANKED_AGE as RANKED_AGE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..contract.commands import Set
    from ..policy.hints import Hints
    from .traces import Request

ANNOUNCED = "ranked+announce"
NAMES = (*programs.NAMES, ANNOUNCED)
LEARNING = (LEARNT, ANNOUNCED)
"""Those that take `Hints`."""


class DevicePolicy:
    """What every policy decides. `settings` are programmed before the first request. `shares`: are blocks shared (R20) while a
    request uses them? `announces`: is PREFETCH sent of a request's blocks before the STEP at which it arrives?"""

    shares = True
    announces = False

    def __init__(self, name: str, settings: Sequence[Set] = ()):
        self.name = name
        self.settings = settings

    def table(self, request: Request) -> NDArray[np.uint8] | None:
        """uint8[classes, 64] that ranks from before this request on (R45), or None: the table stays. Asked once a request, in the
        order of the trace."""
        return None

    def hints(self, request: Request) -> Sequence[int]:
        """What the TOUCH and the LOAD of each of the request's blocks carry (R41)."""
        return [0] * request.size

    def completion(self, request: Request) -> Sequence[int]:
        """The class of each of its blocks once the request has ended (R42); empty where they keep theirs."""
        return ()


class Ranked(DevicePolicy):
    """All blocks of class 0. `first_table`: in force before the first request, or None for what the device has."""

    shares = False

    def __init__(self, name: str, settings: Sequence[Set] = (), first_table: NDArray[np.uint8] | None = None):
        super().__init__(name, settings)
        self._due = first_table

    def table(self, request: Request) -> NDArray[np.uint8] | None:
        due, self._due = self._due, None
        return due

    def hints(self, request: Request) -> Sequence[int]:
        return [hint_of(0, order) for order in orders(request.size).tolist()]


class Hinted(Ranked):
    """What `hints` tell, to a device of `classes`. The requests must be those that the hints are of, in their order."""

    def __init__(self, name: str, hints: Hints, classes: int):
        super().__init__(name, programs.settings(LEARNT, hints.announced))
        if hints.tables.shape[1] != classes:
            raise UsageError(
                f"hints with {hints.tables.shape[1]} classes, for a device of {classes}", f"make them with classes={classes}"
            )
        self._told = hints
        self.announces = hints.announced
        self._at = slice(0, 0)  # the touches of the request
        self._number = -1
        self._in_force: int | None = None

    def table(self, request: Request) -> NDArray[np.uint8] | None:
        self._number += 1
        self._at = slice(self._at.stop, self._at.stop + request.size)
        number = int(self._told.table_of[self._number])
        if number == self._in_force:
            return None
        self._in_force = number
        return self._told.tables[number] if number >= 0 else rank_tables.zero(self._told.tables.shape[1])

    def hints(self, request: Request) -> Sequence[int]:
        told = zip(self._told.arrival[self._at].tolist(), self._told.orders[self._at].tolist(), strict=True)
        return [hint_of(class_id, order) for class_id, order in told]

    def completion(self, request: Request) -> Sequence[int]:
        arrival, completion = self._told.arrival[self._at], self._told.completion[self._at]
        return () if (arrival == completion).all() else completion.tolist()


def named(name: str, classes: int) -> DevicePolicy:
    """The policy of that name, one of NAMES but not of LEARNING, for a device whose table has `classes`."""
    check(name)
    if name == RANKED_AGE:
        return Ranked(name, programs.settings(name), rank_tables.by_age(classes))
    return DevicePolicy(name, programs.settings(name))


def in_force(settings: dict[str, int]) -> DevicePolicy:
    """The policy that a device with these settings has already. `linear` is one with weights that are no preset's."""
    if settings["POLICY"] == RANKED:
        return Ranked("ranked-as-set")
    weights = presets.weights(settings)
    return DevicePolicy(next((f"linear:{name}" for name, preset in presets.PRESETS.items() if preset == weights), "linear"))


def check(name: str) -> None:
    if name not in NAMES:
        raise UsageError(f"there is no policy {name!r} to replay with", f"policies: {', '.join(NAMES)}")
