"""Bus programs: the operations in the body of a RUN (docs/uart-bridge.md), made from a `Batch`, and its reply taken apart again.

Accesses at ascending offsets become one operation, whatever batch operations they come from; `places` remembers which, so that
a bus error can be told in the batch's terms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import repeat
from typing import NamedTuple

from ...contract.errors import TargetError
from ...contract.wording import counted
from ..mmio import Batch, OpKind
from .link import MISMATCH, Bridge, Reply

HEADER_BYTES = 5
MOST_WORDS = 255
WAIT_UNIT = 1024
"""Clock cycles."""
LONGEST_WAIT = 0.01
"""Seconds that the bridge may spend in the waits of one frame before it answers MORE."""


class Kind(IntEnum):
    READ = 1
    WRITE = 2
    WAIT_IDLE = 3
    DRAIN = 4
    MEM_READ = 5
    MEM_WRITE = 6


class Status(IntEnum):
    """Of a reply; NO_SESSION and BAD_SEQUENCE end in link.py."""

    OK = 0
    MORE = 1
    SLVERR = 2
    DECERR = 3
    NO_ANSWER = 4
    BAD_PROGRAM = 5


class Operation(NamedTuple):
    """`count`, `offset`, `operands` as on the wire. `places`: for each word its operation in the batch."""

    kind: Kind
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls on an operation
    offset: int
    operands: bytes = b""
    places: Sequence[int] = ()

    @property
    def size(self) -> int:
        return HEADER_BYTES + len(self.operands)

    @property
    def least_reply(self) -> int:
        """Bytes of its data; for a DRAIN those of one that finds nothing."""
        return {Kind.READ: 4 * self.count, Kind.MEM_READ: 8 * self.count, Kind.DRAIN: 4}.get(self.kind, 0)

    @property
    def address(self) -> int:
        """Of a MEM operation."""
        return int.from_bytes(self.operands[:8], "little")

    def encode(self) -> bytes:
        return bytes((self.kind, self.count)) + self.offset.to_bytes(3, "little") + self.operands


def compile_batch(batch: Batch, bridge: Bridge) -> list[Operation]:
    """The operations that do what `batch` says, none larger than the bridge's buffers."""
    most = {
        Kind.READ: min(MOST_WORDS, bridge.reply_buffer // 4),
        Kind.WRITE: min(MOST_WORDS, (bridge.request_buffer - HEADER_BYTES) // 4),
    }
    done: list[Operation] = []
    kind, start = Kind.READ, 0  # of the accesses at ascending offsets that are being gathered
    words: list[int] = []
    places: list[int] = []

    def flush() -> None:
        for first in range(0, len(words), most[kind]):
            part = slice(first, first + most[kind])
            values = b"".join(word.to_bytes(4, "little") for word in words[part]) if kind == Kind.WRITE else b""
            done.append(Operation(kind, len(words[part]), start + 4 * first, values, places[part]))
        words.clear()
        places.clear()

    def access(wanted: Kind, offset: int, values: Iterable[int], place: int) -> None:
        nonlocal kind, start
        if wanted != kind or offset != start + 4 * len(words):
            flush()
            kind, start = wanted, offset
        words.extend(values)
        places.extend(repeat(place, len(words) - len(places)))

    for place, op in enumerate(batch):
        match op.kind:
            case OpKind.READ:
                access(Kind.READ, op.offset, repeat(0, op.value), place)
            case OpKind.WRITE:
                access(Kind.WRITE, op.offset, (op.value,), place)
            case OpKind.WRITE64:
                access(Kind.WRITE, op.offset, (op.value, op.high), place)
            case OpKind.WAIT_IDLE:
                flush()
                done.append(Operation(Kind.WAIT_IDLE, 0, 0, places=(place,)))
            case OpKind.DRAIN:
                flush()
                done.append(Operation(Kind.DRAIN, op.value, op.offset, places=(place,)))
            # OpKind.CLOCK: the clock of a board runs by itself
    flush()
    return done


def read_memory(addr: int, size: int, bridge: Bridge) -> list[Operation]:
    """MEM_READs of all beats that [addr, addr+size) touches."""
    most = min(MOST_WORDS, bridge.reply_buffer // 8)
    first = addr // 8
    last = (addr + size + 7) // 8 if size else first
    return [
        Operation(Kind.MEM_READ, min(most, last - beat), 0, (8 * beat).to_bytes(8, "little")) for beat in range(first, last, most)
    ]


def write_memory(addr: int, data: bytes, bridge: Bridge) -> list[Operation]:
    """MEM_WRITEs of these bytes and no others: strobes leave out what is not theirs."""
    if not data:
        return []
    most = min(MOST_WORDS, (bridge.request_buffer - HEADER_BYTES - 8) // 8)
    before, behind = addr % 8, -(addr + len(data)) % 8
    beats = bytes(before) + data + bytes(behind)
    found = []
    for at in range(0, len(beats), 8 * most):
        part = beats[at : at + 8 * most]
        first = 0xFF << before & 0xFF if at == 0 else 0xFF
        last = 0xFF >> behind if at + len(part) == len(beats) else 0xFF
        address = (addr - before + at).to_bytes(8, "little")
        found.append(Operation(Kind.MEM_WRITE, len(part) // 8, first | last << 8, address + part))
    return found


def fill_frame(operations: Sequence[Operation], bridge: Bridge) -> int:
    """How many of the operations go into one frame: at least one."""
    request = reply = count = 0
    for operation in operations:
        request += operation.size
        reply += operation.least_reply
        if count and (request > bridge.request_buffer or reply > bridge.reply_buffer):
            break
        count += 1
    return count


def encode_frame(operations: Sequence[Operation], bridge: Bridge) -> tuple[bytes, int, float]:
    """Body of a RUN, bytes of data that it is likely to give, and the longest time of its waits in seconds."""
    waits = sum(operation.kind == Kind.WAIT_IDLE for operation in operations)
    units = max(1, int(LONGEST_WAIT * bridge.clock_hz / WAIT_UNIT / max(1, waits)))
    limited = (o._replace(offset=min(units, 0xFFFFFF)) if o.kind == Kind.WAIT_IDLE else o for o in operations)
    body = b"".join(operation.encode() for operation in limited)
    seconds = waits * units * WAIT_UNIT / bridge.clock_hz if waits else 0.0
    return body, sum(operation.least_reply for operation in operations), seconds


class Answers:
    """What operations have answered so far: `words` and `beats` as bytes, `records` as numbers, in order."""

    def __init__(self) -> None:
        self.words = bytearray()
        self.beats = bytearray()
        self.records: list[int] = []

    def take(self, operations: Sequence[Operation], reply: Reply) -> None:
        """The data of a reply to these operations: of the ones that were done, and of a DRAIN that was done in part."""
        data, at = reply.data, 0
        if reply.position > len(operations):
            raise _does_not_fit(reply)
        for operation in operations[: reply.position]:
            if operation.kind == Kind.DRAIN:
                end = self._drain(data, at, operation.count)
                if end is None:
                    raise _does_not_fit(reply)
                at = end
                continue
            size = operation.least_reply
            if len(data) < at + size:
                raise _does_not_fit(reply)
            if size:
                (self.words if operation.kind == Kind.READ else self.beats).extend(data[at : at + size])
            at += size
        if reply.status == Status.MORE and operations[reply.position :][:1] and operations[reply.position].kind == Kind.DRAIN:
            at = self._records(data, at, operations[reply.position].count)
        if reply.status in (Status.OK, Status.MORE) and at != len(data):
            raise _does_not_fit(reply)

    def _records(self, data: bytes, at: int, valid_bit: int) -> int:
        """Valid records from `at` on; where they end."""
        while at + 8 <= len(data) and (record := int.from_bytes(data[at : at + 8], "little")) >> valid_bit & 1:
            self.records.append(record)
            at += 8
        return at

    def _drain(self, data: bytes, at: int, valid_bit: int) -> int | None:
        """A whole drain, with the low word that ended it; None where that is not there."""
        at = self._records(data, at, valid_bit)
        ended = len(data) >= at + 4 and not int.from_bytes(data[at : at + 4], "little") >> valid_bit & 1
        return at + 4 if ended else None


def _does_not_fit(reply: Reply) -> TargetError:
    came = counted(len(reply.data), "byte")
    return TargetError(
        f"the bridge answered with {came} at operation {reply.position}, which do not fit the request", MISMATCH
    )
