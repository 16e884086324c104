"""The seam: registers, bursts, bulk memory and wait-until-idle of one device, whatever it is reached through.

Every target (simulator, XDMA, UART bridge) is an `Mmio`; everything above this file holds one and cannot tell which. A
target must provide single 32-bit accesses, memory and `wait_idle`; the rest has a plain implementation here that a
target overrides where it can do it faster.

A `Batch` is a list of accesses that a target may carry out in one go. The order of accesses is the order of effects:
a read behind a write is made after the write was answered, and the other way round. Reads behind each other may be in
flight together. A bus error ends the batch with `BusError.position`: the writes behind it are not made; reads that were
in flight already are, and their data is dropped.

    batch = Batch()
    batch.write64(0x0200, addr)
    where = batch.burst(0x0660, 6)
    words = mmio.run(batch).words[where]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sized
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..contract.errors import BusError, CutOff, TargetError, UsageError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray
    from typing_extensions import Self

SPACE_BYTES = 1 << 23
"""Size of the register space, BAR0 and BAR2 (contract section 2)."""
ENDLESS = 1 << 20
"""Records of one batch: more than any queue of the device holds, so when they come they do not end. fpga/sim/axil_master.h has
the number too."""


class OpKind(IntEnum):
    """Operations of a batch. The numbers are shared with fpga/sim/axil_master.h."""

    READ = 0  # value: number of words
    WRITE = 1
    WRITE64 = 2
    WAIT_IDLE = 3
    DRAIN = 4  # value: the valid bit
    CLOCK = 5  # value: cycles; does nothing on a board, whose clock runs by itself


class Op(NamedTuple):
    """One operation; `high` is the upper word of a WRITE64."""

    kind: OpKind
    offset: int
    value: int
    high: int


class Batch:
    """A list of accesses, built call by call, run by `Mmio.run` as often as wanted.

    Reads return where their words will be in `BatchResult.words`: `read` and `read64` the (first) index, `burst` a
    slice.
    """

    def __init__(self) -> None:
        self.ops = array("I")  # four words for each operation: kind, offset, value, high
        self.words = 0

    def __len__(self) -> int:
        return len(self.ops) // 4

    def __iter__(self) -> Iterator[Op]:
        for at in range(0, len(self.ops), 4):
            kind, offset, value, high = self.ops[at : at + 4]
            yield Op(OpKind(kind), offset, value, high)

    def write(self, offset: int, value: int) -> None:
        self._add(OpKind.WRITE, offset, 1, value)

    def write64(self, offset: int, value: int) -> None:
        """Low word, then high word, which commits (R1)."""
        self._add(OpKind.WRITE64, offset, 2, value & 0xFFFFFFFF, value >> 32)

    def read(self, offset: int) -> int:
        return self.burst(offset, 1).start

    def read64(self, offset: int) -> int:
        """Low word, which latches the high one (R1), then high word."""
        return self.burst(offset, 2).start

    def burst(self, offset: int, words: int) -> slice[int, int, None]:
        """`words` words at ascending offsets."""
        self._add(OpKind.READ, offset, words, words)
        self.words += words
        return slice(self.words - words, self.words)

    def wait_idle(self) -> None:
        self._add(OpKind.WAIT_IDLE, 0, 0, 0)

    def drain(self, offset: int, valid_bit: int = 31) -> None:
        """64-bit reads at `offset` until the low word comes without its valid bit; the valid ones become records. TargetError
        where they do not end."""
        self._add(OpKind.DRAIN, offset, 2, valid_bit)

    def clock(self, cycles: int) -> None:
        """Let the simulated clock run, whatever the device does meanwhile."""
        self._add(OpKind.CLOCK, 0, 0, cycles)

    def join(self, other: Batch) -> None:
        """Everything that another batch does, behind what this one does already."""
        self.ops += other.ops
        self.words += other.words

    def append(self, op: Op) -> None:
        """An operation as it comes out of another batch."""
        words = op.value if op.kind == OpKind.READ else 1
        self._add(op.kind, op.offset, words, op.value, op.high)
        if op.kind == OpKind.READ:
            self.words += op.value

    def _add(self, kind: int, offset: int, words: int, value: int, high: int = 0) -> None:
        if offset < 0 or offset + 4 * words > SPACE_BYTES:
            raise UsageError(f"offset {offset:#x} is outside the register space of {SPACE_BYTES:#x} bytes")
        try:
            self.ops.extend((kind, offset, value, high))
        except OverflowError:
            del self.ops[len(self.ops) & ~3 :]  # array.extend may have taken the first items
            raise UsageError(f"{value | high << 32:#x} does not fit into the register at {offset:#x}") from None


class BatchResult(NamedTuple):
    """`words`: uint32, everything read, in order. `records`: uint64, everything drained, in order."""

    words: NDArray[np.uint32]
    records: NDArray[np.uint64]


class Mmio(ABC):
    """A device's address spaces. Offsets are bytes in the register space, addresses are bytes in the AXI4 memory
    space."""

    name: str
    """How the target is called in messages, such as "sim" or "xdma:/dev/xdma0"."""
    blank_memory = False
    """Does memory that nobody has written read as zero, and the query buffer too? Only a simulation's does."""
    reaches_memory = True
    """Are there bytes behind `memory_read` and `memory_write`? A driver keeps those of blocks to itself."""
    takes_all = True
    """Is every write of a register for this target to take? Else `check_write` is asked before anything is recorded or run."""
    unwanted: Callable[[], bool] | None = None
    """Asked now and then while a batch or a wait runs: True ends it with CutOff. For who runs them for others."""

    # ---- what a target must have -------------------------------------------------------------------------------------
    @abstractmethod
    def read32(self, offset: int) -> int:
        """One 32-bit read. BusError as contract R2 says."""

    @abstractmethod
    def write32(self, offset: int, value: int) -> None:
        """One 32-bit write."""

    @abstractmethod
    def memory_read(self, addr: int, size: int) -> bytes:
        """Bytes of the AXI4 memory space, behind the device's back."""

    @abstractmethod
    def memory_write(self, addr: int, data: bytes) -> None:
        """Put bytes into the AXI4 memory space, behind the device's back."""

    @abstractmethod
    def wait_idle(self, budget: float | None = None) -> int:
        """Wait until nothing is queued, running or in flight. Clock cycles that took, 0 where nobody can tell.

        `budget`: cycles in simulation, seconds on a board; None is the target's own idea of far too long. IdleTimeout
        when it runs out.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the target. Nothing may be called after it but close()."""

    def check_write(self, offset: int, value: int, alone: bool) -> None:  # noqa: B027
        """UsageError where nobody may write that here, `alone` or as a part of a command."""

    def bound_memory(self, most: int) -> None:  # noqa: B027  # most targets have nothing to do
        """Let the memory of a simulation hold `most` bytes, in pages, and no more. A board has what it has."""

    def _go_on(self) -> None:
        """To be called between operations, and in long waits."""
        if self.unwanted and self.unwanted():
            raise CutOff(f"{self.name}: a batch was cut off, because nobody waits for it", "reset the device and begin again")

    # ---- what follows from that --------------------------------------------------------------------------------------
    @property
    def clock_cycles(self) -> int | None:
        """Cycles since the clock started; None on boards."""
        return None

    def read64(self, offset: int) -> int:
        """Low word first: reading it latches the high one (R1)."""
        low = self.read32(offset)
        return low | self.read32(offset + 4) << 32

    def write64(self, offset: int, value: int) -> None:
        """High word last: writing it commits (R1)."""
        self.write32(offset, value & 0xFFFFFFFF)
        self.write32(offset + 4, value >> 32)

    def read_burst(self, offset: int, words: int) -> NDArray[np.uint32]:
        """uint32[words] from ascending offsets."""
        return np.fromiter((self.read32(offset + 4 * i) for i in range(words)), np.uint32, words)

    def write_burst(self, offset: int, values: Iterable[int]) -> None:
        """Words to ascending offsets."""
        for i, value in enumerate(values):
            self.write32(offset + 4 * i, int(value))

    def memory_read_blocks(self, addrs: NDArray[np.uint64], size: int) -> NDArray[np.uint8]:
        """uint8[len(addrs), size]: `size` bytes from each address."""
        data = b"".join(self.memory_read(int(addr), size) for addr in addrs)
        return np.frombuffer(data, np.uint8).reshape(len(addrs), size)

    def run(self, batch: Batch) -> BatchResult:
        """Carry out a batch."""
        words: list[int] = []
        records: list[int] = []
        for position, op in enumerate(batch):
            self._go_on()
            try:
                self._run_one(op, words, records)
            except BusError as error:
                error.position = position
                raise
        return BatchResult(np.array(words, np.uint32), np.array(records, np.uint64))

    def _run_one(self, op: Op, words: list[int], records: list[int]) -> None:
        match op.kind:
            case OpKind.READ if op.value == 1:
                words.append(self.read32(op.offset))
            case OpKind.READ:
                words.extend(self.read_burst(op.offset, op.value).tolist())
            case OpKind.WRITE:
                self.write32(op.offset, op.value)
            case OpKind.WRITE64:
                self.write64(op.offset, op.high << 32 | op.value)
            case OpKind.WAIT_IDLE:
                self.wait_idle()
            case OpKind.DRAIN:
                while (low := self.read32(op.offset)) >> op.value & 1:
                    records.append(self.read32(op.offset + 4) << 32 | low)
                    check_end(records, op.offset)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Simulation(Mmio):
    """A device that lives in this process and can be put back to what it was. `idle_budget`: the most cycles of a wait."""

    idle_budget: int

    @property
    @abstractmethod
    def build_id(self) -> int:
        """What the BUILD_ID register of this design says."""

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Checkpoint of device and memory into one file, written in place."""

    @abstractmethod
    def restore(self, path: str | os.PathLike[str]) -> None:
        """Go back to a checkpoint of this very build. Else SessionError."""

    @abstractmethod
    def trace_start(self, path: str | os.PathLike[str]) -> None:
        """Write a waveform from here on."""


class BatchMmio(Mmio):
    """A target that carries a whole batch in one go: accesses of several words are batches of one operation."""

    @abstractmethod
    def run(self, batch: Batch) -> BatchResult:
        """As `Mmio.run`, in as few exchanges as the target can."""

    def read64(self, offset: int) -> int:
        return int.from_bytes(self.read_burst(offset, 2).tobytes(), "little")

    def write64(self, offset: int, value: int) -> None:
        batch = Batch()
        batch.write64(offset, value)
        self.run(batch)

    def read_burst(self, offset: int, words: int) -> NDArray[np.uint32]:
        batch = Batch()
        batch.burst(offset, words)
        return self.run(batch).words

    def write_burst(self, offset: int, values: Iterable[int]) -> None:
        batch = Batch()
        for i, value in enumerate(values):
            batch.write(offset + 4 * i, int(value))
        self.run(batch)


class PassingMmio(Mmio):
    """Stands in front of `inner`, to write down or show what is called. It is as `inner` is: name, facts and limits are inner's,
    and so is anything beyond the seam (save, trace, link…)."""

    def __init__(self, inner: Mmio):
        self.inner, self.name = inner, inner.name
        self.blank_memory, self.reaches_memory, self.takes_all = inner.blank_memory, inner.reaches_memory, inner.takes_all

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def unwanted(self) -> Callable[[], bool] | None:
        return self.inner.unwanted

    @unwanted.setter
    def unwanted(self, asked: Callable[[], bool] | None) -> None:
        self.inner.unwanted = asked

    @property
    def clock_cycles(self) -> int | None:
        return self.inner.clock_cycles

    def check_write(self, offset: int, value: int, alone: bool) -> None:
        self.inner.check_write(offset, value, alone)

    def bound_memory(self, most: int) -> None:
        self.inner.bound_memory(most)

    def close(self) -> None:
        self.inner.close()


def check_end(records: Sized, offset: int) -> None:
    """TargetError where a drain at `offset` has come by more records than there can be."""
    if len(records) > ENDLESS:
        raise endless(offset)


def endless(offset: int) -> TargetError:
    return TargetError(
        f"the records at offset {offset:#x} do not end: none of {ENDLESS:,} came without its valid bit",
        "drain a queue, by its own valid bit; where that is one, reset the device",
    )


def check_memory_range(addr: int, size: int) -> None:
    """UsageError where [addr, addr+size) is not inside the 64-bit AXI4 memory space."""
    if not (0 <= addr and 0 <= size and addr + size <= 1 << 64):
        raise UsageError(f"memory range {addr:#x}+{size:#x} is outside the 64-bit space")
