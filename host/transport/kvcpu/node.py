"""The node of the Linux driver, /dev/kvcpuN, by its ioctls for a host that checks the device (driver/include/uapi/linux/kvcpu.h).

Words and bytes only: a command is the registers that it is written to, its answer what the device's result said. The node is
open for one kvfpga at a time; other programs may use it as they like, and what they do is theirs.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from ...contract.errors import IdleTimeout, TargetError
from ..holder import lock

_ABI, _STORE, _TYPE = 1, 0x8, ord("K")
_REGISTER, _RUN, _ACCESS, _EVENT = (struct.Struct(f"={members}") for members in ("IIQ", "IIIIQIIIIQII", "IIIIQ", "IIQiIIIBBBBI"))
WORDS_AT_ONCE = 1024
EVENTS_AT_ONCE = 64
_MOVE = 2
DIRECTORY_BYTES = 1 << 22
NO_INDEX = 0xFFFFFFFF

_FORBIDDEN = "may not be used", "run as root, or let a udev rule for SUBSYSTEM kv_cpu give you the node"
_OTHER = "refused a call", "`dmesg` has the driver's reason; is it this kvfpga's module?"
_TROUBLE = {
    errno.ENOENT: ("is not there", "load the module (`insmod driver/kvcpu.ko`); `dmesg` says why it finds no device"),
    errno.EACCES: _FORBIDDEN, errno.EPERM: _FORBIDDEN,
    errno.ENOTTY: (
        "does not run commands by their registers",
        "that takes this kvfpga's kernel module; of a node that `kvfpga serve --uapi` made, name the target that is served",
    ),
    errno.ENODEV: ("has lost its device", "see that `lspci -d 1de5:` shows it; then load the module again"),
    errno.EIO: ("gave its device up: it answered wrongly, or not at all", "`dmesg` has the reason; load the module again"),
}  # fmt: skip


class Answer(NamedTuple):
    """What the device said of a command (R5). `entry` None: it names none."""

    code: int
    matched: int
    entry: int | None
    tier: int
    phys_addr: int
    cycles: int


class Move(NamedTuple):
    """A block that went from one tier to another. `failed`: the memory refused, and it stayed."""

    block: int
    prefetch: bool
    from_tier: int
    to_tier: int
    failed: bool
    step: int


def _request(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | _TYPE << 8 | number


RUN, ACCESS = _request(3, 24, _RUN.size), _request(1, 25, _ACCESS.size)
IDLE, RESET = _request(0, 26, 0), _request(0, 27, 0)


class Node:
    """The open node. OSErrors of the driver come as TargetError."""

    def __init__(self, path: str):
        self.path = path
        self._moves: deque[Move] = deque()
        with ExitStack() as opened:
            try:
                self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                opened.callback(os.close, self._fd)
                lock(self._fd, Path(path))
                self.idle()  # is it the driver's?
                mapped = mmap.mmap(self._fd, DIRECTORY_BYTES, mmap.MAP_SHARED, mmap.PROT_READ)
            except OSError as error:
                raise self._trouble(error) from error
            opened.callback(mapped.close)
            self._directory = memoryview(mapped).cast("I")
            opened.callback(self._directory.release)
            self._opened = opened.pop_all()

    def run(self, writes: Sequence[tuple[int, int, int]]) -> Answer:
        """One command: (offset, bytes, value) of its operands, and of its doorbell last. A refusal is an answer."""
        registers = ctypes.create_string_buffer(b"".join(_REGISTER.pack(*write) for write in writes))
        run = bytearray(_RUN.pack(_ABI, 0, len(writes), 0, ctypes.addressof(registers), *(0,) * 7))
        self._ioctl(RUN, run)
        *_, code, matched, index, tier, phys_addr, cycles, _ = _RUN.unpack(run)
        return Answer(code, matched, None if index == NO_INDEX else index, tier, phys_addr, cycles)

    def read(self, offset: int, count: int) -> list[int]:
        """Words of BAR0 from ascending offsets."""
        found: list[int] = []
        for first in range(0, count, WORDS_AT_ONCE):
            words = (ctypes.c_uint32 * min(WORDS_AT_ONCE, count - first))()
            self._access(0, offset + 4 * first, words)
            found += words
        return found

    def write(self, offset: int, values: Iterable[int]) -> None:
        """Words of BAR0 that only store, to ascending offsets."""
        every = [*values]
        for first in range(0, len(every), WORDS_AT_ONCE):
            part = every[first : first + WORDS_AT_ONCE]
            self._access(_STORE, offset + 4 * first, (ctypes.c_uint32 * len(part))(*part))

    def _access(self, flags: int, offset: int, words: ctypes.Array[ctypes.c_uint32]) -> None:
        self._ioctl(ACCESS, bytearray(_ACCESS.pack(_ABI, flags, offset, len(words), ctypes.addressof(words))))

    def directory(self, place: int, count: int) -> list[int]:
        """Words of BAR2, by their number."""
        return self._directory[place : place + count].tolist()

    def idle(self) -> None:
        """Until nothing is queued, running or moving. IdleTimeout after the driver's own time."""
        self._ioctl(IDLE)

    def reset(self) -> None:
        self._ioctl(RESET)

    def moves(self) -> deque[Move]:
        """Of blocks, told so far and taken by nobody; whoever looks may take them. TargetError where some were lost."""
        while True:
            try:
                events = os.read(self._fd, EVENTS_AT_ONCE * _EVENT.size)
            except BlockingIOError:
                return self._moves
            except OSError as error:
                raise self._trouble(error) from error
            for kind, lost, _, failed, _, _, index, source, to, prefetch, _, step in _EVENT.iter_unpack(events):
                if lost:
                    raise TargetError(
                        f"{self.path}: the driver keeps 256 moves of blocks, and {lost} more came before they were read",
                        "`kvfpga sync` takes the device's state as it is",
                    )
                if kind == _MOVE:
                    self._moves.append(Move(index, bool(prefetch), source, to, bool(failed), step))

    def _ioctl(self, request: int, argument: bytearray | int = 0) -> None:
        try:
            fcntl.ioctl(self._fd, request, argument)
        except OSError as error:
            raise self._trouble(error) from error

    def _trouble(self, error: OSError) -> TargetError:
        if error.errno == errno.ETIMEDOUT:
            return IdleTimeout(f"{self.path}: the device is still busy after a minute", "`dmesg` has what the driver knows")
        what, remedy = _TROUBLE.get(error.errno or 0, _OTHER)
        return TargetError(f"{self.path} {what}: {error.strerror or error}", remedy)

    def close(self) -> None:
        """Once is enough, and more do no harm: by then the number of the descriptor may be somebody else's."""
        self._opened.close()
