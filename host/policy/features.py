"""What a runtime knows of a request as it arrives, from the blocks that the directory still holds.

A request continues an earlier one where it begins with nearly all of its whole blocks. Its parent is the last request that
touched the deepest block of the prefix that it shares. A prefix that is shared and does not continue anything, as a document in
front of many questions, is common property, and its blocks are known by how often they are touched and at what intervals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..contract.errors import UsageError
from .directory import Directory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .constants import Constants


class Features(NamedTuple):
    """Of a request. Gaps are in steps; -1 where there has been none.

    blocks       how many it touches
    shared       how many of them, from the first on, were in the directory
    whole        of its blocks are full; behind them comes a partial one, if any
    turn         0 where it continues nothing
    session_gap  between the turns of its session: halfway from what it was to the newest
    new_tokens   behind the shared prefix
    touches      int32[shared]: how often requests have touched the block, this one included
    own_gaps     float64[shared]: between the touches of the block, like the session's
    output_length of the answer in tokens; -1 until the request is complete
    """

    blocks: int
    shared: int
    whole: int
    turn: int
    session_gap: float
    new_tokens: int
    touches: NDArray[np.int32]
    own_gaps: NDArray[np.float64]
    output_length: int = -1


class Arrival(NamedTuple):
    """A request in the directory.

    serial    its number, from 0
    parent    the serial of the request that it continues, -1 for none
    slots     int64[blocks]: where each of its blocks lies, -1 where it found no room
    own       int64: the same slots, each once, without the -1
    returned  int64: those that were there before, each once; `ages`: how many steps ago each was touched
    unloaded  int64: the slots whose blocks had to leave, some of them among `own` again; `unloaded_ages` likewise
    depth     how many blocks of the request come before these: 0, but for what it grows by
    """

    serial: int
    step: int
    features: Features
    parent: int
    slots: NDArray[np.int64]
    own: NDArray[np.int64]
    returned: NDArray[np.int64]
    ages: NDArray[np.int64]
    unloaded: NDArray[np.int64]
    unloaded_ages: NDArray[np.int64]
    depth: int = 0


class _Found(NamedTuple):
    """Where blocks lie, -1 where nowhere; which of them are `known`; and of these their ages, touches and gaps, this touch
    included."""

    slots: NDArray[np.int64]
    known: NDArray[np.bool_]
    ages: NDArray[np.int64]
    touches: NDArray[np.int32]
    own_gaps: NDArray[np.float64]


class History:
    """Per slot, of its block and of the request that touched it last; valid where the directory holds a block."""

    def __init__(self, entries: int, unload_batch: int, block_tokens: int, constants: Constants):
        self.directory = Directory(entries, unload_batch)
        self.block_tokens = block_tokens
        self.continuation = constants.continuation
        self.serial = -1
        self.step = 0
        self.touched = np.zeros(entries, dtype=np.int64)
        """The step of the last touch."""
        self.toucher = np.full(entries, -1, dtype=np.int64)
        """The serial of the request that touched it last."""
        self._mention = np.zeros(entries, dtype=np.int64)
        self._touches = np.zeros(entries, dtype=np.int32)
        self._own_gap = np.zeros(entries)
        self._whole = np.zeros(entries, dtype=np.int64)
        self._turn = np.zeros(entries, dtype=np.int64)
        self._session_gap = np.zeros(entries)

    def arrive(self, step: int, blocks: NDArray[np.int64], input_length: int) -> Arrival:
        """A request touches its blocks, and what it misses is loaded. Whoever keeps more by slot must read it at `returned` and
        `unloaded` before writing at `own`."""
        self.at(step)
        self.serial += 1
        found = self._find(step, blocks)
        shared = len(blocks) if found.known.all() else int(np.argmin(found.known))
        parent, turn, session_gap = self._parent(found.slots[:shared], found.ages)
        whole = input_length // self.block_tokens
        new = input_length - shared * self.block_tokens
        features = Features(
            len(blocks), shared, whole, turn, session_gap, new, found.touches[:shared], found.own_gaps[:shared]
        )
        return self._touch(step, blocks, found, self.serial, parent, features, max(1, whole))

    def grow(self, arrival: Arrival, step: int, blocks: NDArray[np.int64], generated: bool) -> Arrival:
        """A request, `arrival` what it touched last, touches further blocks behind those: the rest of its prompt, or what it has
        `generated`. The result stands beside `arrival`, and is completed by itself."""
        self.at(step)
        found = self._find(step, blocks)
        before = arrival.features
        features = before._replace(
            blocks=len(blocks), shared=0, whole=0 if generated else len(blocks), touches=found.touches[:0],
            own_gaps=found.own_gaps[:0], new_tokens=before.new_tokens + (0 if generated else len(blocks) * self.block_tokens),
        )  # fmt: skip
        depth = arrival.depth + before.blocks
        grown = self._touch(step, blocks, found, arrival.serial, arrival.parent, features, depth + len(blocks))
        return grown._replace(depth=depth)

    def forget(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All blocks are void, and no request is active any more. Returns the slots that held one, and how many steps ago each
        was touched."""
        self.at(step)
        held = self.directory.held()
        self.directory.clear()
        return held, step - self.touched[held]

    def _find(self, step: int, blocks: NDArray[np.int64]) -> _Found:
        slots = self.directory.find(blocks.tolist())
        known = slots >= 0
        here = slots[known]
        ages = step - self.touched[here]
        return _Found(slots, known, ages, self._touches[here] + np.int32(1), _halfway(self._own_gap[here], ages))

    def _touch(
        self, step: int, blocks: NDArray[np.int64], found: _Found, serial: int, parent: int, features: Features, whole: int
    ) -> Arrival:
        """Touches what was found, and loads the rest. `whole`: of the request's blocks, those that are full."""
        here = found.slots[found.known]
        self._touches[here] = found.touches
        self._own_gap[here] = found.own_gaps
        once = self._once(here)
        returned = here[once]
        self.directory.use(returned)
        placed, unloaded = self._load(blocks, found.slots, ~found.known)
        unloaded_ages = step - self.touched[unloaded]
        own = np.concatenate([returned, placed])
        self.touched[own] = step
        self.toucher[own] = serial
        self._whole[own] = whole
        self._turn[own] = features.turn
        self._session_gap[own] = features.session_gap
        return Arrival(serial, step, features, parent, found.slots, own, returned, found.ages[once], unloaded, unloaded_ages)

    def complete(self, arrival: Arrival, step: int) -> None:
        """The request's blocks go out of use, as far as no other uses them."""
        self.at(step)
        self.directory.leave(arrival.own)

    def at(self, step: int) -> None:
        """UsageError where time would go back."""
        if step < self.step:
            raise UsageError(f"step {step} after step {self.step}", "report arrivals and ends in order of time")
        self.step = step

    def _parent(self, shared: NDArray[np.int64], ages: NDArray[np.int64]) -> tuple[int, int, float]:
        """Serial of the request that is continued, turn and session gap of the one that does."""
        if len(shared) > 1:
            last = shared[-1]
            if len(shared) >= self.continuation * float(self._whole[last]) - 1:
                gap = _halfway(self._session_gap[last : last + 1], ages[len(shared) - 1 : len(shared)])
                return int(self.toucher[last]), int(self._turn[last]) + 1, float(gap[0])
        return -1, 0, -1.0

    def _load(
        self, blocks: NDArray[np.int64], slots: NDArray[np.int64], missing: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places what is missing, as far as there is room, and writes its slots into `slots`. Returns them, each once, and the
        slots of what was unloaded for it."""
        lacking = blocks[missing].tolist()
        wanted = list(dict.fromkeys(lacking))
        unloaded = self.directory.make_room(len(wanted))
        placed = self.directory.place(wanted)
        self.directory.use(placed)
        self._touches[placed] = 1
        self._own_gap[placed] = -1.0
        slots[missing] = placed if len(placed) == len(lacking) else self.directory.find(lacking)
        return placed, unloaded

    def _once(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """True at one mention of each slot."""
        index = np.arange(len(slots))
        self._mention[slots] = index
        found: NDArray[np.bool_] = self._mention[slots] == index
        return found


def _halfway(gaps: NDArray[np.float64], newest: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each gap halfway to its newest value; that itself where there was none (-1)."""
    return np.where(gaps < 0, newest, 0.5 * gaps + 0.5 * newest)
