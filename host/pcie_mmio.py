"""An XDMA board as a target: `xdma:DIR`, a PCIe card behind the Xilinx XDMA driver (transport/xdma/nodes.py has its nodes).

Registers go through the mapped user BAR, or through pread/pwrite where mapping is refused; memory through h2c and c2h; long
waits sleep on the event node. The card is locked for this process. BAR0 and BAR2 of the contract lie at `bar_offsets` in the
user BAR, AXI address 0 of the tiers at `memory_offset` on the DMA channels.

Bus errors. PCIe cannot tell the processor that the device answered SLVERR: a read comes back as all ones, a write vanishes.
What can tell is the device's sticky ERROR register, and reading it costs a round trip; so it is read only where the register
map leaves a doubt:

- A plain register that the map allows is never refused (R2). No look, but for STATUS.error at the end of a batch with writes.
- A doorbell or setting may be (full FIFO, reset). STATUS.error is looked at before anything else is done; the wait for idle
  that usually follows reads STATUS anyway, so this costs nothing.
- Anything else ought to be refused: ERROR is looked at after each such access.

Nothing here ever clears ERROR, so that `kvfpga reg read ERROR` shows the first error on a board as it does in simulation.
While an earlier error stands in it, a new one cannot be seen there: then a doorbell is sent only after STATUS has shown room
for it, and what the map forbids counts as refused. What cannot go on the bus at all (misaligned, outside both BARs) is a
BusError too, as in simulation, but is never sent.

All ones is also what a dead link answers. DEVICE_ID tells which: it is never all ones. A dead link, a lost node or a failed
transfer ends the transport: every later call says the same.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .contract.commands import QUERY_SLOTS
from .contract.errors import BusError, IdleTimeout, TargetError, UsageError
from .contract.parameters import BUCKETS
from .device.regmap import (
    BAR2_ENTRIES,
    BAR2_VAS,
    DEVICE_ID,
    DOORBELLS,
    PTABLE,
    QUERY,
    REGISTERS,
    SCORES,
    BusErrorCode,
    Register,
)
from .transport.holder import lock
from .transport.mmio import SPACE_BYTES, Batch, BatchResult, Mmio, OpKind, check_end
from .transport.xdma import nodes as xdma_nodes

if TYPE_CHECKING:
    from typing import Concatenate, ParamSpec, TypeVar

    from numpy.typing import NDArray

    Arguments = ParamSpec("Arguments")
    Answer = TypeVar("Answer")

BAR0_BYTES = 1 << 16
BAR2_BYTES = SPACE_BYTES - BAR2_ENTRIES
ALL_ONES = 0xFFFFFFFF
IDLE_SECONDS = 60.0
"""How long a device may be busy: moving every block of the largest build takes a small part of it."""
SPIN_SECONDS = 0.001
"""Before a wait goes to sleep; most commands are shorter."""
NAP_MS = 5
"""The longest that a wait sleeps before it looks again: interrupts may be missing, or come early."""
_now = time.monotonic

(
    _DEVICE_ID, _STATUS, _ERROR, _ERROR_OFFSET, _CTRL, _IRQ_ENABLE, _CAP_ENTRIES, _CAP_FIFO_DEPTH, _CAP_CLASSES, _CAP_HEAD_DIM,
    _CAP_NMCE, _CAP_DOORBELLS,
) = (
    REGISTERS[name].offset
    for name in (
        "DEVICE_ID", "STATUS", "ERROR", "ERROR_OFFSET", "CTRL", "IRQ_ENABLE", "CAP_ENTRIES", "CAP_FIFO_DEPTH", "CAP_CLASSES",
        "CAP_HEAD_DIM", "CAP_NMCE", "CAP_DOORBELLS",
    )
)  # fmt: skip


def _mask(register: str, *names: str) -> int:
    fields = REGISTERS[register].fields
    return sum((1 << fields[name].width) - 1 << fields[name].low for name in names)


_BUSY, _RESETTING = _mask("STATUS", "busy", "dma_busy", "resetting"), _mask("STATUS", "resetting")
_ANY_ERROR = _mask("STATUS", "error")
_LEVEL = REGISTERS["STATUS"].fields["fifo_level"]
_BUS, _CODE = _mask("ERROR", "bus"), REGISTERS["ERROR"].fields["code"]
_CODE_NAMES = {code.value: code.name for code in BusErrorCode}
_RESET = _mask("CTRL", "soft_reset")
_WAKES = _mask("IRQ_ENABLE", "result", "completion")


def _offsets(chosen: Callable[[Register], object]) -> frozenset[int]:
    return frozenset(r.offset + word for r in REGISTERS.values() if chosen(r) for word in range(0, r.width // 8, 4))


READABLE = _offsets(lambda r: "r" in r.access)
QUEUES = _offsets(lambda r: r.doorbell or r.config)
"""Words whose write queues a command, and can be refused by a device that has no room for it."""
PLAIN = _offsets(lambda r: "w" in r.access) - QUEUES


def _guarded(
    method: Callable[Concatenate[PcieMmio, Arguments], Answer],
) -> Callable[Concatenate[PcieMmio, Arguments], Answer]:
    """A call that says what ended the transport; an OSError ends it."""

    @wraps(method)
    def call(self: PcieMmio, /, *arguments: Arguments.args, **options: Arguments.kwargs) -> Answer:
        if self._ended:
            raise TargetError(self._ended.message, self._ended.remedy)
        try:
            return method(self, *arguments, **options)
        except OSError as error:
            self._ended = xdma_nodes.trouble(error, self.name)
            raise self._ended from error

    return call


class PcieMmio(Mmio):
    """One card. `folder`: the nodes' folder, or a prefix such as /dev/xdma0. `bar_offsets`: of BAR0 and BAR2 in the user BAR.
    `memory_offset`: added to memory addresses. `bar_bytes`: size of the user BAR as the board file has it."""

    _bar: xdma_nodes.MappedBar | xdma_nodes.FileBar
    _channel: xdma_nodes.Channel

    def __init__(
        self, folder: str | Path, bar_offsets: tuple[int, int] = (0, BAR2_ENTRIES), memory_offset: int = 0,
        sysfs: str | Path = "/sys", bar_bytes: int | None = None,
    ):  # fmt: skip
        self.name = f"xdma:{folder}"
        self._ended: TargetError | None = None
        self._opened = ExitStack()
        self._events: int | None = None
        self._memory_offset = memory_offset
        self._bar0, bar2 = bar_offsets
        self._bar2 = bar2 - BAR2_ENTRIES
        self._pending: tuple[int, int] | None = None  # offset and position of a write that may have been refused
        self._written = False  # since ERROR was looked at
        self._stale = False  # an earlier bus error stands in ERROR
        self._entries: int | None = None
        self._depth: int | None = None
        self._windows: dict[bool, list[range]] | None = None
        need = xdma_nodes.check_layout({"BAR0": (self._bar0, BAR0_BYTES), "BAR2": (bar2, BAR2_BYTES)})
        try:
            nodes = xdma_nodes.find(folder)
            self._open(nodes, need, xdma_nodes.bar_size(nodes.user, sysfs, bar_bytes))
        except OSError as error:
            self.close()
            raise xdma_nodes.trouble(error, error.filename or self.name) from error
        except BaseException:
            self.close()
            raise

    def _open(self, nodes: xdma_nodes.Nodes, need: int, size: int | None) -> None:
        too_small = TargetError(
            f"the BAR of {nodes.user} is too small: "
            + (f"it has {size:#x} bytes, " if size else "")
            + f"BAR0 and BAR2 at their offsets need {need:#x}",
            f"build the bitstream with a user BAR of {need:#x} bytes or more, or correct `bar_offsets` in the board file",
        )
        if size is not None and size < need:
            raise too_small
        user = self._descriptor(nodes.user, os.O_RDWR)
        lock(user, nodes.user)
        try:
            self._bar = xdma_nodes.open_bar(user, need)
        except OSError:
            raise too_small from None
        self._opened.callback(self._bar.close)
        self._channel = xdma_nodes.Channel(nodes.h2c, nodes.c2h)
        self._opened.callback(self._channel.close)
        if nodes.events:
            with contextlib.suppress(OSError):  # only wakes earlier; polling does as well
                self._events = self._descriptor(nodes.events, os.O_RDONLY)
        self._check_link()
        if self._register(_DEVICE_ID) == DEVICE_ID:
            self._stale = bool(self._status() & _ANY_ERROR and self._register(_ERROR) & _BUS)

    def _descriptor(self, node: Path, flags: int) -> int:
        """Of a node that `close` closes."""
        fd = os.open(node, flags)
        self._opened.callback(os.close, fd)
        return fd

    # ---- registers ---------------------------------------------------------------------------------------------------
    @_guarded
    def read32(self, offset: int) -> int:
        return self._read(offset, 1)[0]

    @_guarded
    def write32(self, offset: int, value: int) -> None:
        self._write(offset, (value,))
        self._settle()

    @_guarded
    def write64(self, offset: int, value: int) -> None:
        self._write(offset, (value & ALL_ONES, value >> 32))
        self._settle()

    @_guarded
    def read_burst(self, offset: int, words: int) -> NDArray[np.uint32]:
        return np.array(self._read(offset, words), np.uint32)

    @_guarded
    def write_burst(self, offset: int, values: Iterable[int]) -> None:
        for i, value in enumerate(values):
            self._write(offset + 4 * i, (int(value),))
            if self._pending:
                self._settle()
        self._settle()

    @_guarded
    def run(self, batch: Batch) -> BatchResult:
        words: list[int] = []
        records: list[int] = []
        ops = batch.ops
        for position in range(len(ops) // 4):
            self._go_on()
            kind, offset, value, high = ops[4 * position : 4 * position + 4]
            if kind == OpKind.WAIT_IDLE:
                self._wait(IDLE_SECONDS)
                continue
            if self._pending:
                self._settle()
            try:
                if kind == OpKind.READ:
                    words += self._read(offset, value)
                elif kind == OpKind.WRITE:
                    self._write(offset, (value,), position)
                elif kind == OpKind.WRITE64:
                    self._write(offset, (value, high), position)
                elif kind == OpKind.DRAIN:
                    self._drain(offset, value, records)
            except BusError as error:
                error.position = position
                raise
        self._settle()
        return BatchResult(np.array(words, np.uint32), np.array(records, np.uint64))

    def _read(self, offset: int, count: int) -> list[int]:
        if not count:
            return []
        at = self._place(offset, count, False)
        words = [self._bar.load(at)] if count == 1 else self._bar.load_many(at, count)
        if ALL_ONES in words:
            self._check_link()
        first = self._unreadable(offset, count)
        if first is not None and self._register(_ERROR) & _BUS:
            raise self._bus_error(first, False, 0)
        return words

    def _write(self, offset: int, values: tuple[int, ...], position: int = 0) -> None:
        """Words of one register. Whether it was refused, `_settle` finds out."""
        for value in values:
            if not 0 <= value <= ALL_ONES:
                raise UsageError(f"{value:#x} does not fit into the register at {offset:#x}")
        at = self._place(offset, len(values), True)
        if offset in QUEUES and self._stale:
            self._check_room(offset, values[0])
        for i, value in enumerate(values):
            self._bar.store(at + 4 * i, value)
        self._written = True
        if not all(at in PLAIN or self._in_window(at, True) for at in range(offset, offset + 4 * len(values), 4)):
            self._pending = (offset, position)

    def _settle(self, status: int | None = None) -> None:
        """BusError if a write since the last look was refused. `status`: STATUS, where it has been read after that write."""
        if not self._written:
            return
        offset, position = self._pending or (None, 0)
        self._pending, self._written = None, False
        if status is None:
            status = self._status()
        if not status & _ANY_ERROR or not self._register(_ERROR) & _BUS:
            self._stale = False
        elif not self._stale or (offset is not None and offset not in QUEUES):
            raise self._bus_error(offset, True, position)

    def _bus_error(self, offset: int | None, is_write: bool, position: int) -> BusError:
        """The error that the device has recorded; where that is an earlier one, the same about `offset`."""
        code = self._register(_ERROR) >> _CODE.low & (1 << _CODE.width) - 1
        recorded = self._register(_ERROR_OFFSET)
        is_ours, self._stale = not self._stale and code != BusErrorCode.DMA, True
        if not is_ours:
            return BusError(recorded if offset is None else offset, is_write, position, "SLVERR")
        return BusError(recorded, is_write, position, f"SLVERR, {_CODE_NAMES.get(code, f'code {code}')}")

    def _check_room(self, offset: int, value: int) -> None:
        """Will the device take a command? For when its ERROR register could not tell."""
        if offset == _CTRL and value & _RESET:
            return
        if self._depth is None:
            self._depth = self._register(_CAP_FIFO_DEPTH)
        room = self._depth // 2 if offset in DOORBELLS else self._depth
        status = self._status()
        if status & _RESETTING or status >> _LEVEL.low & (1 << _LEVEL.width) - 1 >= room:
            reason = "RESETTING" if status & _RESETTING else "FIFO_FULL"
            raise BusError(offset, True, detail=f"{reason}; not sent")

    def _drain(self, offset: int, bit: int, records: list[int]) -> None:
        at = self._place(offset, 2, False)
        while (low := self._bar.load(at)) >> bit & 1:
            if low == ALL_ONES:
                self._check_link()
            records.append(self._bar.load(at + 4) << 32 | low)
            check_end(records, offset)

    def _place(self, offset: int, count: int, is_write: bool) -> int:
        """Where in the user BAR. BusError for what must not go there."""
        end = offset + 4 * count
        if offset & 3:
            raise BusError(offset, is_write, detail="MISALIGNED; not sent")
        if 0 <= offset and end <= BAR0_BYTES:
            return offset + self._bar0
        if BAR2_ENTRIES <= offset and end <= SPACE_BYTES:
            return offset + self._bar2
        bad = BAR0_BYTES if 0 <= offset < BAR0_BYTES else SPACE_BYTES if BAR2_ENTRIES <= offset < SPACE_BYTES else offset
        raise BusError(bad, is_write, detail="neither in BAR0 nor in BAR2; not sent")

    def _unreadable(self, offset: int, count: int) -> int | None:
        """The first of these words that the register map does not promise."""
        if offset < BAR2_ENTRIES:
            words = range(offset, offset + 4 * count, 4)
            return next((at for at in words if at not in READABLE and not self._in_window(at, False)), None)
        if self._entries is None:
            self._entries = self._register(_CAP_ENTRIES)
        end = BAR2_ENTRIES + 32 * self._entries if offset < BAR2_VAS else BAR2_VAS + 8 * self._entries
        return max(offset, end) if offset + 4 * count > end else None

    def _in_window(self, offset: int, is_write: bool) -> bool:
        """Is that a word of PTABLE, SCORES, the query buffer or the page of doorbells, which are as the device says?"""
        if not SCORES <= offset < BAR0_BYTES:
            return False
        if self._windows is None:
            classes, dim = self._register(_CAP_CLASSES), self._register(_CAP_HEAD_DIM)
            tables, queries = range(PTABLE, PTABLE + classes * BUCKETS, 4), range(QUERY, QUERY + 2 * QUERY_SLOTS * dim, 4)
            writable = [tables, queries] if self._register(_CAP_NMCE) else [tables]
            pages = [DOORBELLS] if self._register(_CAP_DOORBELLS) else []
            self._windows = {True: writable, False: [tables, queries, range(SCORES, PTABLE, 4), *pages]}
        return any(offset in window for window in self._windows[is_write])

    def _register(self, offset: int) -> int:
        return self._bar.load(offset + self._bar0)

    def _status(self) -> int:
        status = self._register(_STATUS)
        if status == ALL_ONES:
            self._check_link()
            raise self._end(f"STATUS of {self.name} reads as all ones on a live link", "is the right bitstream loaded?")
        return status

    def _check_link(self) -> None:
        """All ones came: is that a value, or is nobody there any more?"""
        if self._register(_DEVICE_ID) == ALL_ONES:
            raise self._end(
                f"{self.name} reads as all ones: a dead link",
                "is the board powered and programmed? After loading a bitstream, restart the host or rescan the bus",
            )

    def _end(self, message: str, remedy: str) -> TargetError:
        self._ended = TargetError(message, remedy)
        return self._ended

    # ---- waiting -----------------------------------------------------------------------------------------------------
    @_guarded
    def wait_idle(self, budget: float | None = None) -> int:
        """Seconds; 0 is returned: cycles are not counted here."""
        self._wait(IDLE_SECONDS if budget is None else budget)
        return 0

    def _wait(self, budget: float) -> None:
        status = self._status()
        self._settle(status)
        if not status & _BUSY:
            return
        started = _now()
        while _now() - started < min(SPIN_SECONDS, budget):
            if not self._status() & _BUSY:
                return
        enabled = self._register(_IRQ_ENABLE)
        self._bar.store(_IRQ_ENABLE + self._bar0, enabled | _WAKES)
        try:
            while self._status() & _BUSY:
                if _now() - started > budget:
                    raise IdleTimeout(f"the device is still busy after {budget:g} s", "`kvfpga reg read STATUS` says with what")
                self._go_on()
                self._nap()
        finally:
            if not self._ended:
                self._bar.store(_IRQ_ENABLE + self._bar0, enabled)

    def _nap(self) -> None:
        """Until an interrupt, or NAP_MS."""
        if self._events is None:
            time.sleep(NAP_MS / 1000)
            return
        poll = select.poll()
        poll.register(self._events, select.POLLIN)
        try:
            if poll.poll(NAP_MS) and not os.read(self._events, 4):
                self._events = None
        except OSError:  # no interrupts then: the status is asked again and again
            self._events = None

    # ---- memory ------------------------------------------------------------------------------------------------------
    @_guarded
    def memory_read(self, addr: int, size: int) -> bytes:
        return self._channel.read(self._memory(addr, size), size)

    @_guarded
    def memory_write(self, addr: int, data: bytes) -> None:
        self._channel.write(self._memory(addr, len(data)), bytes(data))

    def _memory(self, addr: int, size: int) -> int:
        """Where on the DMA channels. They take addresses of 63 bits: a file offset has a sign."""
        first = addr + self._memory_offset
        if addr < 0 or size < 0 or first < 0 or first + size > 1 << 63:
            raise UsageError(f"memory range {addr:#x}+{size:#x} is outside what XDMA reaches (63 address bits)")
        return first

    def close(self) -> None:
        self._opened.close()
        self._ended = self._ended or TargetError(f"{self.name} was closed")
