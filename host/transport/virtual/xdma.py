"""A virtual XDMA board: a folder of FUSE nodes that behave as the XDMA driver's do, with the Verilated RTL behind them.

    xdma0_user      pread and pwrite move exactly one aligned 32-bit word and return 4, whatever larger count was asked for; a
                    misaligned offset is EPROTO; beyond the register space all ones are read and writes vanish, as they do where
                    the device answers SLVERR. mmap is refused
    xdma0_h2c_0, xdma0_c2h_0    bulk writes, reads, at the AXI address that the file offset says
    xdma0_events_0  a read blocks until the device's interrupt rises, and returns a 4-byte count; poll works

Unlike the driver: a count below 4 is EPROTO (the driver would move four bytes all the same, past the caller's buffer), an empty
transfer never gets here, and lseek on the user node works, because a FUSE file that refuses lseek refuses pread as well.

The simulated clock runs only while somebody asks or the device is busy; an idle board takes no processor time.

Faults (`Fault`) are for tests: they come at the N-th access, counted from 0 over register words and bulk transfers. Bytes are not
flipped: PCIe has its own CRC and repetition, and what arrives is right or does not arrive.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...contract.errors import BusError, KvfpgaError, TargetError, UsageError
from ..mmio import SPACE_BYTES
from ..sim.verilated import VerilatorSim

if TYPE_CHECKING:
    import ctypes

NAME = "xdma0"
USER, H2C, C2H, EVENTS = (f"/{NAME}_{name}" for name in ("user", "h2c_0", "c2h_0", "events_0"))
ALL_ONES = b"\xff\xff\xff\xff"
ACCESS_CYCLES = 500
"""Clock cycles that a busy device gets with each access: how fast a poll sees it advance."""
SLICE_CYCLES, SLICE_PAUSE = 2000, 0.0005
"""Cycles in one go, and seconds between, while a busy device is not asked anything."""


class Fault(NamedTuple):
    """What goes wrong at access `at`: ones (all ones for `argument` accesses, or for ever: a dead link), stall (it takes
    `argument` seconds), reset (the device is reset before it), gone, eio (ENODEV, EIO from there on)."""

    kind: str
    at: int
    argument: float | None = None


ARGUMENTS = {"ones": "may", "stall": "must", "reset": "no", "gone": "no", "eio": "no"}
"""The kinds of fault, and whether an argument follows."""


def fault(text: str) -> Fault:
    """KIND@N[:ARGUMENT]."""
    kind, _, rest = text.partition("@")
    at, _, argument = rest.partition(":")
    try:
        found = Fault(kind, int(at), float(argument) if argument else None)
        allowed = ARGUMENTS[kind]
        if found.at < 0 or (allowed == "no" and argument) or (allowed == "must" and not argument) or (found.argument or 0) < 0:
            raise ValueError
        return found
    except (ValueError, KeyError):
        raise UsageError(
            f"{text} is not a fault", "ones@N[:COUNT], stall@N:SECONDS, reset@N, gone@N, eio@N (N: number of accesses before it)"
        ) from None


class Card:
    """The simulated device, its clock, its interrupt, and what is wrong with it. Any thread may call. `stall(seconds)` passes the
    time of the fault of that name."""

    def __init__(self, sim: VerilatorSim, faults: Sequence[Fault] = (), stall: Callable[[float], None] = time.sleep):
        self.sim = sim
        self._stall = stall
        self.faults = faults
        self.accesses = 0
        self.event = threading.Condition()
        self.events = 0  # as the driver has it: 1 while an interrupt has not been taken
        self.on_event: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._busy = threading.Event()
        self._irq = False
        threading.Thread(target=self._run_clock, daemon=True).start()

    def load(self, offset: int) -> bytes:
        with self._lock:
            if self._is_dead() or offset >= SPACE_BYTES:
                return ALL_ONES
            try:
                word = self.sim.read32(offset).to_bytes(4, "little")
            except BusError:
                word = ALL_ONES
            self._advance(ACCESS_CYCLES)
            return word

    def store(self, offset: int, word: bytes) -> None:
        with self._lock:
            if self._is_dead() or offset >= SPACE_BYTES:
                return
            try:
                self.sim.write32(offset, int.from_bytes(word, "little"))
            except BusError:
                pass
            self._advance(ACCESS_CYCLES)

    def memory_read(self, addr: int, size: int) -> bytes:
        with self._lock:
            if self._is_dead():
                raise OSError(errno.EIO, "dead link")
            return self.sim.memory_read(addr, size)

    def memory_write(self, addr: int, data: bytes) -> None:
        with self._lock:
            if self._is_dead():
                raise OSError(errno.EIO, "dead link")
            self.sim.memory_write(addr, data)

    def take_event(self, given_up: Callable[[], bool]) -> int:
        """Wait for an interrupt and take it; 0 once `given_up()`."""
        with self.event:
            while not self.events:
                if given_up():
                    return 0
                self.event.wait(0.05)
            found, self.events = self.events, 0
            return found

    def _is_dead(self) -> bool:
        """Count an access, and let happen what is to happen with it."""
        number, self.accesses = self.accesses, self.accesses + 1
        dead = False
        for kind, at, argument in self.faults:
            if kind == "reset" and number == at:
                self.sim.reset(wait=False)
            elif kind == "stall" and number == at:
                self._stall(argument or 0.0)
            elif kind == "ones":
                dead |= at <= number and (argument is None or number < at + argument)
            elif kind in ("gone", "eio") and number >= at:
                raise OSError(errno.ENODEV if kind == "gone" else errno.EIO, f"fault {kind}@{at}")
        return dead

    def _advance(self, cycles: int) -> None:
        signals = self.sim.sim.io
        if not int(signals.idle):
            self.sim.clock(cycles)
        if not int(signals.idle):
            self._busy.set()
        irq = bool(int(signals.irq))
        if irq and not self._irq:
            with self.event:
                self.events = 1
                self.event.notify_all()
            self.on_event()
        self._irq = irq

    def _run_clock(self) -> None:
        while self._busy.wait():
            time.sleep(SLICE_PAUSE)
            with self._lock:
                self._busy.clear()
                self._advance(SLICE_CYCLES)


class Nodes:
    """The nodes, as FUSE operations (mfusepy's names and arguments). OSError is what the caller's system call ends with."""

    use_ns = True
    asks_for_interrupts = False
    """libfuse tells of interrupted requests only where it is asked to (from 3.17 on; before it always does)."""

    def __init__(
        self, card: Card, ready: Callable[[], None] = lambda: None, given_up: Callable[[], bool] = lambda: False,
        notify: Callable[[int], None] = lambda handle: None,
    ):  # fmt: skip
        """`ready()` once mounted. `given_up()`: is the request that this thread answers no longer wanted? `notify(handle)`:
        wake the poll that gave this handle."""
        self.card = card
        self._ready, self._given_up, self._notify = ready, given_up, notify
        self._polls: list[int] = []
        self.mounted = False
        card.on_event = self._wake

    def init_with_config(self, connection: object, config: Any) -> None:
        if config is not None and self.asks_for_interrupts:
            config.intr = 1
        self.mounted = True
        self._ready()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2, "st_uid": os.getuid(), "st_gid": os.getgid()}
        if path not in (USER, H2C, C2H, EVENTS):
            raise OSError(errno.ENOENT, path)
        size = SPACE_BYTES if path == USER else 0
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size, "st_uid": os.getuid(), "st_gid": os.getgid()}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *(name[1:] for name in (USER, H2C, C2H, EVENTS))]

    def open(self, path: str, flags: int) -> int:
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        return 0  # a device node has no length to cut

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        with _errors():
            if path == USER:
                _check_word(size, offset)
                return self.card.load(offset)
            if path == C2H:
                return self.card.memory_read(offset, size)
            if path == EVENTS:
                if size != 4 or offset & 3:
                    raise OSError(errno.EPROTO, "events are read as 4 bytes")
                if count := self.card.take_event(self._given_up):
                    return count.to_bytes(4, "little")
                raise OSError(errno.EAGAIN, "interrupted")
            raise OSError(errno.EINVAL, "not for reading")

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        with _errors():
            if path == USER:
                _check_word(len(data), offset)
                self.card.store(offset, data[:4])
                return 4
            if path == H2C:
                self.card.memory_write(offset, data)
                return len(data)
            raise OSError(errno.EINVAL, "not for writing")

    def poll(self, path: str, fh: int, handle: int | None, revents: ctypes._Pointer[ctypes.c_uint]) -> int:
        if path != EVENTS:
            revents[0] = select.POLLIN | select.POLLOUT
            return 0
        with self.card.event:
            revents[0] = select.POLLIN if self.card.events else 0
            if handle:
                self._polls.append(handle)
        return 0

    def _wake(self) -> None:
        with self.card.event:
            handles, self._polls = self._polls, []
        for handle in handles:
            self._notify(handle)


def _check_word(size: int, offset: int) -> None:
    if offset & 3 or size < 4:
        raise OSError(errno.EPROTO, "registers are accessed as aligned words of 4 bytes")


@contextmanager
def _errors() -> Iterator[None]:
    """What breaks in the simulation is told on stderr, and to the caller as a failed transfer."""
    try:
        yield
    except KvfpgaError as error:
        print(f"virtual XDMA board: {error}", file=sys.stderr, flush=True)
        raise OSError(errno.EIO, "the simulation failed") from error


def serve(
    folder: Path, sim: VerilatorSim, faults: Sequence[Fault] = (), ready: Callable[[], None] = lambda: None
) -> None:
    """Mount the nodes on an empty folder, made where there is none, until SIGINT or SIGTERM. `ready()` once they are there."""
    try:
        import mfusepy
    except (ImportError, OSError) as error:
        raise TargetError(f"FUSE is not installed: {error}", "install fuse3 (apt-get install fuse3) and mfusepy") from error
    _prepare(folder)
    library = mfusepy._libfuse

    def notify(handle: int) -> None:
        library.fuse_notify_poll(mfusepy.c_void_p(handle))
        library.fuse_pollhandle_destroy(mfusepy.c_void_p(handle))

    library.fuse_get_session.argtypes, library.fuse_get_session.restype = [mfusepy.c_void_p], mfusepy.c_void_p
    library.fuse_session_exited.argtypes = [mfusepy.c_void_p]

    def given_up() -> bool:
        session = library.fuse_get_session(library.fuse_get_context().contents.fuse)
        return bool(library.fuse_interrupted() or library.fuse_session_exited(session))

    nodes = Nodes(Card(sim, faults), ready, given_up, notify)
    nodes.asks_for_interrupts = (mfusepy.fuse_version_major, mfusepy.fuse_version_minor) >= (3, 17)
    quiet = {"max_idle_threads": 10} if mfusepy.fuse_version_major == 3 else {}  # its default makes libfuse 3.14 complain
    try:
        mfusepy.FUSE(nodes, str(folder), foreground=True, direct_io=True, fsname="kvfpga", **quiet)
    except RuntimeError as error:
        if nodes.mounted:
            return  # the signal that ended it
        raise TargetError(
            f"could not mount on {folder} (FUSE error {error})", "is fuse3 installed, and may /dev/fuse be opened?"
        ) from error


def _prepare(folder: Path) -> None:
    """An empty folder; a mount that a killed server left there is taken off."""
    try:
        try:
            os.stat(folder)
        except FileNotFoundError:
            folder.mkdir(parents=True)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            subprocess.run(["fusermount3", "-u", "-z", str(folder)], capture_output=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty", "name an empty or a new folder to mount the nodes on")
    except OSError as error:
        raise UsageError(f"cannot mount on {folder}: {error.strerror}", "name an empty or a new folder") from error
