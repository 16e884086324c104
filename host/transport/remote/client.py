"""A device that another process or another host shares, as a target: `Mmio` over unix:PATH or tcp://HOST:PORT (docs/remote.md).

The server is `kvfpga serve --listen` (server.py). A batch is one round trip, so a checked command is one. The device and
its state stay where they are, as a board's do: what lies above the seam has its own reference and compares it here.

    with RemoteMmio("tcp://lab3:7300") as mmio:
        Device(mmio).execute(Step(120))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ...contract.errors import BusError, TargetError, UsageError
from ..mmio import Batch, BatchMmio, BatchResult, check_memory_range
from . import keys as remote_keys
from . import protocol as wire
from .link import Link

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAIT_SECONDS = 600.0


class RemoteMmio(BatchMmio):
    """Connects, and waits for its place. keys: None are the user's (not needed for unix:PATH). wait: seconds to stay in the
    queue, None for ever. say: gets a line for people at every step of the queue.

    TargetError says why there is no connection, no place, or no server any more; errors of the device are those of any target.
    Several threads may use it; their requests take turns.
    """

    blank_memory = False
    """Whoever had the device before may have left bytes in its memory, a simulation's too."""

    def __init__(
        self, address: str, keys: remote_keys.Keys | None = None, wait: float | None = WAIT_SECONDS,
        say: Callable[[str], None] = lambda text: None,
    ):  # fmt: skip
        self.name = address
        self._link = Link(address, keys, wait, say)

    @property
    def device_name(self) -> str:
        """How the server calls the device, such as "sim"."""
        return self._link.welcome.name

    @property
    def shared(self) -> bool:
        """May others change the device between two batches?"""
        return self._link.welcome.shared

    def close(self) -> None:
        self._link.close()

    # ---- registers -----------------------------------------------------------------------------------------------------
    def read32(self, offset: int) -> int:
        if not 0 <= offset < 1 << 32:
            raise BusError(offset, False, detail="outside the register space")
        return self._number(wire.Read32, offset)

    def write32(self, offset: int, value: int) -> None:
        if not 0 <= value < 1 << 32:
            raise UsageError(f"{value:#x} does not fit into the register at {offset:#x}")
        if not 0 <= offset < 1 << 32:
            raise BusError(offset, True, detail="outside the register space")
        self._link.ask(wire.Value, wire.Write32, offset, value)

    def read_burst(self, offset: int, words: int) -> NDArray[np.uint32]:
        Batch().burst(offset, words)  # refuses what is outside the register space
        return np.frombuffer(self._link.ask(wire.Data, wire.ReadBurst, offset, words).data, "<u4").astype(np.uint32)

    def run(self, batch: Batch) -> BatchResult:
        answer = self._link.ask(wire.Ran, wire.Run, wire.pack_batch(batch))
        words, records = np.frombuffer(answer.words, "<u4"), np.frombuffer(answer.records, "<u8")
        return BatchResult(words.astype(np.uint32), records.astype(np.uint64))

    def wait_idle(self, budget: float | None = None) -> int:
        return self._number(wire.WaitIdle, None if budget is None else min(budget, wire.LONGEST_WAIT))

    def _number(self, kind: type[wire.Access], *arguments: object) -> int:
        value = self._link.ask(wire.Value, kind, *arguments).value
        if value is None:
            raise TargetError(f"{self.name} answered {kind.__name__} without a number", "use the same kvfpga on both sides")
        return value

    @property
    def clock_cycles(self) -> int | None:
        return self._link.ask(wire.Value, wire.ClockCycles).value

    # ---- memory --------------------------------------------------------------------------------------------------------
    def memory_read(self, addr: int, size: int) -> bytes:
        check_memory_range(addr, size)
        parts = []
        for first in range(0, size, wire.MEMORY_BYTES):
            length = min(wire.MEMORY_BYTES, size - first)
            parts.append(self._link.ask(wire.Data, wire.MemoryRead, addr + first, length).data)
        return b"".join(parts)

    def memory_write(self, addr: int, data: bytes) -> None:
        check_memory_range(addr, len(data))
        for first in range(0, len(data), wire.MEMORY_BYTES):
            self._link.ask(wire.Value, wire.MemoryWrite, addr + first, bytes(data[first : first + wire.MEMORY_BYTES]))

    def memory_read_blocks(self, addrs: NDArray[np.uint64], size: int) -> NDArray[np.uint8]:
        if size > wire.MEMORY_BYTES:
            return super().memory_read_blocks(addrs, size)
        addrs = np.ascontiguousarray(addrs, "<u8")
        if len(addrs):
            check_memory_range(int(addrs.max()), size)
        found = np.empty((len(addrs), size), np.uint8)
        at_once = wire.MEMORY_BYTES // max(size, 8)
        for first in range(0, len(addrs), at_once):
            data = self._link.ask(wire.Data, wire.MemoryReadBlocks, addrs[first : first + at_once].tobytes(), size).data
            found[first : first + at_once] = np.frombuffer(data, np.uint8).reshape(-1, size) if size else 0
        return found
