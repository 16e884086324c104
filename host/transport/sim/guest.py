"""A simulation as the hardware behind a virtual machine: the machine's accesses served, its memory lent to the device.

`GuestPort.serve` answers the register accesses that come over a vfio-user socket, lets the clock run and signals interrupts,
all in C++ (fpga/sim/guest_port.h), until there is something that Python has to do: then it says what, as a `Why`. With `note`,
it keeps what the guest wrote, and what it took out of queues, as `Access`es for whoever follows.

Memory of the guest that was lent is the device's at WINDOW + its address. What the device has read or written there is also
in the simulation's own memory (`memory_read`), as it was then.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from ctypes import c_int32, c_uint8, c_uint32, c_uint64, c_void_p
from enum import IntEnum, IntFlag
from typing import NamedTuple

from ...contract.errors import TargetError
from .verilated import VerilatorSim

WINDOW = 1 << 40
"""Where a guest's address 0 is for the device; the window is as large."""
BAR0_BYTES, BAR2_BYTES = 1 << 16, 1 << 22
PATIENCE_MS = 2
ROOM, DUE = 8192, 512
"""Accesses that are kept, and with which a look is due."""
HURRY = 4_000
"""Cycles that a command takes at most, but for its passes and what it moves."""


class Why(IntEnum):
    """What ended `serve`: as in fpga/sim/guest_port.h."""

    MESSAGE = 1
    LOOK = 2
    WAKE = 3
    GONE = 4
    CUT = 5
    STUCK = 6
    FULL = 7


class WordKind(IntFlag):
    """What is known of a word of BAR0: as in fpga/sim/guest_port.h."""

    NOTE_READ = 1
    IF_VALID = 2
    TAKES_RESULT = 4
    HALF = 8
    IN_ORDER = 16
    LOOK_BEHIND = 32
    NOTE_WRITE = 64
    SHOWS_RESULT = 128


class Access(NamedTuple):
    """A word that the guest wrote, or read out of a queue, at `offset` of BAR0 or, from 4 MiB on, of BAR2."""

    offset: int
    value: int
    is_write: bool


class Places(NamedTuple):
    """What the register loop reads by itself: a result, of so many words before the one that takes it off its queue, and STATUS,
    with the masks of two of its bits."""

    result_offset: int
    result_words: int
    status_offset: int
    dma_busy: int
    result_ready: int


class _Access(ctypes.Structure):
    _fields_ = [("offset", c_uint32), ("value", c_uint32), ("is_write", c_uint32)]


class _Port(ctypes.Structure):
    _fields_ = [
        ("socket", c_int32), ("interrupt", c_int32), ("wake", c_int32), ("patience", c_int32),
        ("room", c_uint32), ("noted", c_uint32), ("due", c_uint32), ("half", c_uint32),
        ("pressing", c_uint32), ("hurry", c_uint32),
        ("budget", c_uint64), ("reads", c_uint64), ("writes", c_uint64), ("refused", c_uint64), ("interrupts", c_uint64),
        ("result_offset", c_uint32), ("result_words", c_uint32), ("status_offset", c_uint32), ("dma_busy", c_uint32),
        ("result_ready", c_uint32), ("unused", c_uint32), ("notes", c_void_p), ("kinds", c_void_p),
    ]  # fmt: skip


_FUNCTIONS = {
    "kv_guest_serve": (c_int32, c_void_p),
    "kv_guest_open": (None, c_int32),
    "kv_guest_lend": (None, c_uint64, c_void_p, c_uint64, c_int32),
    "kv_guest_take_back": (None, c_uint64),
    "kv_guest_arm": (None,),
}
"""Result and argument types behind the handle."""


class GuestPort:
    """Serves the guest at the other end of `socket`. `wake`: a descriptor that ends `serve` when it can be read.

    The descriptors stay the caller's. `close` takes all memory back."""

    # The functions of the model's library, by _FUNCTIONS.
    _guest_serve: Callable[..., int]
    _guest_open: Callable[..., None]
    _guest_lend: Callable[..., None]
    _guest_take_back: Callable[..., None]
    _guest_arm: Callable[..., None]

    def __init__(self, sim: VerilatorSim, socket: int, wake: int):
        self._sim = sim
        for name, (result, *arguments) in _FUNCTIONS.items():
            function = sim.sim.lib[name]
            function.restype, function.argtypes = result, (c_void_p, *arguments)
            setattr(self, f"_{name[3:]}", function)
        self._kinds = (c_uint8 * (BAR0_BYTES // 4))()
        self._notes = (_Access * ROOM)()
        hurry = HURRY + 4 * sim.model.parameters.entries
        self._port = _Port(socket, -1, wake, PATIENCE_MS, ROOM, 0, DUE, hurry=hurry, budget=sim.idle_budget // 16)
        self._port.kinds = ctypes.addressof(self._kinds)
        self._guest_open(sim.handle, 1)

    def close(self) -> None:
        self._guest_open(self._sim.handle, 0)

    # ---- what is noted -----------------------------------------------------------------------------------------------
    def note(self, kinds: Mapping[int, WordKind], places: Places) -> None:
        """Note accesses from here on. `kinds` by the offsets of words."""
        for offset, kind in kinds.items():
            self._kinds[offset // 4] = kind
        for name, value in places._asdict().items():
            setattr(self._port, name, value)
        self._port.notes = ctypes.addressof(self._notes)

    def take_notes(self) -> list[Access]:
        """What was noted since the last time."""
        found = [Access(a.offset, a.value, bool(a.is_write)) for a in self._notes[: self._port.noted]]
        self._port.noted = 0
        return found

    def was_looked_at(self) -> None:
        """The look that was due has been taken."""
        self._port.pressing = 0

    def counts(self) -> dict[str, int]:
        """Accesses of the guest, those of them that the device refused, and interrupts signalled."""
        return {name: getattr(self._port, name) for name in ("reads", "writes", "refused", "interrupts")}

    # ---- serving -----------------------------------------------------------------------------------------------------
    def serve(self) -> Why:
        """Until there is something to do. TargetError where the simulation broke or the device stands still."""
        status = self._guest_serve(self._sim.handle, ctypes.byref(self._port))
        if status < 0:
            self._sim.clock(0)  # which says what is wrong with it
        why = Why(status)
        if why is Why.STUCK:
            raise TargetError(
                "the guest's device does not answer an access to a register",
                "mend its RTL: every access is answered (R2); `--target sim --trace FILE reg read` shows one",
            )
        return why

    def signal(self, interrupt: int) -> None:
        """Interrupts go to this eventfd; -1: to nobody. One that is pending is signalled at once."""
        self._port.interrupt = interrupt
        self._guest_arm(self._sim.handle)

    # ---- memory ------------------------------------------------------------------------------------------------------
    def lend(self, address: int, data: int, size: int, writable: bool) -> None:
        """`size` bytes at `data` in this process are the guest's memory at `address`. They must stay until `take_back`."""
        self._guest_lend(self._sim.handle, WINDOW + address, data, size, writable)

    def take_back(self, address: int) -> None:
        self._guest_take_back(self._sim.handle, WINDOW + address)
