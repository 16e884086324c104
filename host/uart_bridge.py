"""A board behind a UART as a target: `Mmio` over the bridge of fpga/rtl/uart (docs/uart-bridge.md is the protocol).

A batch becomes as few exchanges as the bridge's buffers allow; a command with its complete check is one. What the line damages is
repeated and never executed twice (transport/uart/link.py). `link` counts what happened, `bridge_statistics()` asks the bridge for
its own counters.

    with UartBridge("/dev/ttyUSB0", 3_000_000) as mmio:
        Device(mmio).execute(Step(120))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .contract.errors import BusError, IdleTimeout, TargetError, UsageError
from .transport.mmio import SPACE_BYTES, Batch, BatchMmio, BatchResult, check_end, check_memory_range
from .transport.uart.bus_program import (
    Answers,
    Kind,
    Operation,
    Status,
    compile_batch,
    encode_frame,
    fill_frame,
    read_memory,
    write_memory,
)
from .transport.uart.link import BAUD, MISMATCH, PATIENCE, Bridge, Link, LinkStatistics, Reply

if TYPE_CHECKING:
    from numpy.typing import NDArray

IDLE_SECONDS = 10.0


class UartBridge(BatchMmio):
    """`port`: such as /dev/ttyUSB0. `patience`: seconds for which the link may stay silent or bad. `idle_budget`: seconds that a
    device may be busy before IdleTimeout.

    Opening begins a session with the bridge and touches no register. TargetError, within 2 s, says what is wrong.
    """

    def __init__(self, port: str, baud: int = BAUD, patience: float = PATIENCE, idle_budget: float = IDLE_SECONDS):
        self.name = f"uart:{port}@{baud}"
        self.idle_budget = idle_budget
        self._link = Link(port, baud, patience)

    @property
    def bridge(self) -> Bridge:
        """What the bridge said of itself."""
        return self._link.bridge

    @property
    def link(self) -> LinkStatistics:
        """Counters of this side of the link."""
        return self._link.statistics

    def bridge_statistics(self) -> dict[str, int]:
        """Counters of the other side, since its reset."""
        return self._link.bridge_statistics()

    def close(self) -> None:
        self._link.close()

    # ---- registers -----------------------------------------------------------------------------------------------------
    def read32(self, offset: int) -> int:
        if not 0 <= offset < SPACE_BYTES:
            raise BusError(offset, False, detail="outside the register space")
        return int.from_bytes(self._run([Operation(Kind.READ, 1, offset, places=(0,))]).words, "little")

    def write32(self, offset: int, value: int) -> None:
        if not 0 <= value < 1 << 32:
            raise UsageError(f"{value:#x} does not fit into the register at {offset:#x}")
        if not 0 <= offset < SPACE_BYTES:
            raise BusError(offset, True, detail="outside the register space")
        self._run([Operation(Kind.WRITE, 1, offset, value.to_bytes(4, "little"), (0,))])

    def run(self, batch: Batch) -> BatchResult:
        answers = self._run(compile_batch(batch, self._link.room))
        words = np.frombuffer(answers.words, "<u4").astype(np.uint32)
        return BatchResult(words, np.array(answers.records, np.uint64))

    def wait_idle(self, budget: float | None = None) -> int:
        self._run([Operation(Kind.WAIT_IDLE, 0, 0, places=(0,))], self.idle_budget if budget is None else budget)
        return 0

    # ---- memory --------------------------------------------------------------------------------------------------------
    def memory_read(self, addr: int, size: int) -> bytes:
        check_memory_range(addr, size)
        beats = self._run(read_memory(addr, size, self._link.room)).beats
        return bytes(beats[addr % 8 : addr % 8 + size])

    def memory_write(self, addr: int, data: bytes) -> None:
        check_memory_range(addr, len(data))
        self._run(write_memory(addr, bytes(data), self._link.room))

    def memory_read_blocks(self, addrs: NDArray[np.uint64], size: int) -> NDArray[np.uint8]:
        operations, places, beats = [], [], 0
        for addr in map(int, addrs):
            check_memory_range(addr, size)
            places.append(8 * beats + addr % 8)
            part = read_memory(addr, size, self._link.room)
            beats += sum(operation.count for operation in part)
            operations += part
        data = self._run(operations).beats
        found = np.empty((len(places), size), np.uint8)
        for row, place in enumerate(places):
            found[row] = np.frombuffer(data, np.uint8, size, place) if size else ()
        return found

    # ---- bus programs --------------------------------------------------------------------------------------------------
    def _run(self, operations: Sequence[Operation], budget: float | None = None) -> Answers:
        """Carry out operations in as many exchanges as it takes. `budget`: seconds of each wait."""
        answers, at = Answers(), 0
        budget = self.idle_budget if budget is None else budget
        waiting, since = -1, 0.0  # the WAIT_IDLE that has run out before, and when it began
        while at < len(operations):
            self._go_on()
            part = operations[at : at + fill_frame(operations[at:], self._link.room)]
            began = self._link.now()
            reply = self._link.run(*encode_frame(part, self.bridge))
            answers.take(part, reply)
            at += reply.position
            if reply.status == Status.MORE and reply.position < len(part):
                blocked = part[reply.position]
                if blocked.kind == Kind.WAIT_IDLE:
                    if waiting != at:
                        waiting, since = at, began
                    if self._link.now() - since >= budget:
                        raise IdleTimeout(
                            f"the device is still busy after {budget:g} s", "`kvfpga reg read STATUS` says with what"
                        )
                elif reply.position == 0 and not reply.data:
                    raise TargetError(f"the bridge of {self.name} never has room for a {blocked.kind.name}", MISMATCH)
                elif blocked.kind == Kind.DRAIN:
                    check_end(answers.records, blocked.offset)
            elif reply.status != Status.OK or reply.position != len(part):
                raise self._error(reply, part)
        return answers

    def _error(self, reply: Reply, part: Sequence[Operation]) -> TargetError:
        status = Status(reply.status) if reply.status in list(Status) else None
        operation = part[reply.position] if reply.position < len(part) else None
        if status in (None, Status.OK, Status.MORE, Status.BAD_PROGRAM) or operation is None:
            what = f"status {reply.status}" if status is None else status.name
            return TargetError(
                f"the bridge of {self.name} answered {what} to operation {reply.position} of {len(part)}",
                MISMATCH,
            )
        is_write = operation.kind in (Kind.WRITE, Kind.MEM_WRITE)
        access = "write to" if is_write else "read of"
        if operation.kind in (Kind.MEM_READ, Kind.MEM_WRITE):
            where = f"the {access} memory address {operation.address + 8 * reply.word:#x}"
            if status != Status.NO_ANSWER:
                return TargetError(
                    f"the board's memory answered {where} with {status.name}", "is this address within the four tiers?"
                )
        else:
            word = reply.word % 2 if operation.kind == Kind.DRAIN else reply.word
            offset = operation.offset + 4 * word
            place = operation.places[min(reply.word, len(operation.places) - 1)]
            if status != Status.NO_ANSWER:
                return BusError(offset, is_write, place, status.name)
            where = f"a {access} offset {offset:#x}"
        return TargetError(f"the board does not answer {where}", "reset the board: that bus is stuck")
