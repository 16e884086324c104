"""Record every call through the seam as JSON lines, and make the calls of such a file again on another target.

What went wrong on a board is thus had again in simulation, with waveforms. A line is one call: {"call": "read32", "offset": 64,
"answer": 1263952720}. A batch is one line; its answer is the words read and the records drained. A call that failed has "error",
the exception's name, in place of "answer". Memory that was read is written in hex up to 4 KiB and as its SHA-256 beyond; memory
that was written always in hex, because making the call again needs it.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np

from ..contract import files, inputs
from ..contract.errors import KvfpgaError, UsageError
from .mmio import Batch, BatchResult, Mmio, Op, OpKind, PassingMmio

if TYPE_CHECKING:
    from typing import TypeAlias, TypeVar

    from numpy.typing import NDArray

    Answer = TypeVar("Answer")
    Call: TypeAlias = dict[str, Any]  # a line of the file, as JSON has it

HEX_LIMIT = 4096
LONGEST = 8 * inputs.LARGEST_TEXT
"""Characters of a line that is made again."""
PART = 16 << 20
"""Bytes of memory that a line writes at most; what is longer is written, and written down, in parts. A line of LONGEST has room
for 128 MiB, as recordings of before may have them."""
MALFORMED = KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError, ctypes.ArgumentError
"""What a call of a file raises that no recording has."""


class RecordingMmio(PassingMmio):
    """Passes everything on to `inner` and writes it down: into the file `path`, and, with `keep`, into the list `calls`
    until `forget`. Anything beyond the seam is unrecorded."""

    def __init__(self, inner: Mmio, path: str | Path | None = None, keep: bool = False):
        super().__init__(inner)
        self.calls: list[Call] = []
        self._keep = keep
        self._file: TextIO | None = None
        if path:
            try:
                self._file = open(path, "w", opener=files.without_waiting)
            except OSError as error:
                raise _unwritable(path, error) from error
        self._write({"call": "open", "target": inner.name})

    def forget(self) -> None:
        """Drop the calls kept so far."""
        self.calls.clear()

    def read32(self, offset: int) -> int:
        return self._record("read32", {"offset": offset}, lambda: self.inner.read32(offset))

    def write32(self, offset: int, value: int) -> None:
        self._record("write32", {"offset": offset, "value": value}, lambda: self.inner.write32(offset, value))

    def read64(self, offset: int) -> int:
        return self._record("read64", {"offset": offset}, lambda: self.inner.read64(offset))

    def write64(self, offset: int, value: int) -> None:
        self._record("write64", {"offset": offset, "value": value}, lambda: self.inner.write64(offset, value))

    def read_burst(self, offset: int, words: int) -> NDArray[np.uint32]:
        return self._record("read_burst", {"offset": offset, "words": words}, lambda: self.inner.read_burst(offset, words))

    def write_burst(self, offset: int, values: Iterable[int]) -> None:
        values = [int(value) for value in values]
        self._record("write_burst", {"offset": offset, "values": values}, lambda: self.inner.write_burst(offset, values))

    def run(self, batch: Batch) -> BatchResult:
        operations = [[op.kind.name, *op[1:]] for op in batch]
        return self._record("run", {"ops": operations}, lambda: self.inner.run(batch))

    def memory_read(self, addr: int, size: int) -> bytes:
        return self._record("memory_read", {"addr": addr, "size": size}, lambda: self.inner.memory_read(addr, size))

    def memory_write(self, addr: int, data: bytes) -> None:
        for first in range(0, len(data) or 1, PART):
            self._memory_write(addr + first, data[first : first + PART])

    def memory_read_blocks(self, addrs: NDArray[np.uint64], size: int) -> NDArray[np.uint8]:
        arguments = {"addrs": [int(addr) for addr in addrs], "size": size}
        return self._record("memory_read_blocks", arguments, lambda: self.inner.memory_read_blocks(addrs, size))

    def wait_idle(self, budget: float | None = None) -> int:
        return self._record("wait_idle", {"budget": budget}, lambda: self.inner.wait_idle(budget))

    def flush(self) -> None:
        """Bring the file up to date."""
        if self._file:
            with self._into(self._file) as file:
                file.flush()

    def close(self) -> None:
        try:
            if self._file:
                with self._into(self._file) as file:
                    file.close()
        finally:
            super().close()

    def _memory_write(self, addr: int, data: bytes) -> None:
        arguments = {"addr": addr, "data": bytes(data).hex()}
        self._record("memory_write", arguments, lambda: self.inner.memory_write(addr, data))

    def _record(self, call: str, arguments: Call, perform: Callable[[], Answer]) -> Answer:
        entry = {"call": call, **arguments}
        try:
            answer = perform()
        except KvfpgaError as error:
            self._write({**entry, "error": type(error).__name__})
            with suppress(UsageError):  # there is something worse to tell
                self.flush()
            raise
        self._write({**entry, "answer": _plain(answer)})
        return answer

    def _write(self, entry: Call) -> None:
        if self._keep:
            self.calls.append(entry)
        if self._file:
            with self._into(self._file) as file:
                file.write(dump_call(entry))

    @contextmanager
    def _into(self, file: TextIO) -> Iterator[TextIO]:
        """UsageError where the file takes no more: then it is closed, and what comes is not in it."""
        try:
            yield file
        except OSError as error:
            self._file = None
            with suppress(OSError):
                file.close()
            raise _unwritable(file.name, error) from None


def _unwritable(path: str | Path, error: OSError) -> UsageError:
    return UsageError(f"cannot record into {path}: {files.why(error)}", "name a file that can be written")


def dump_call(entry: Call) -> str:
    """One call as a line of a recording."""
    return json.dumps(entry, separators=(",", ":")) + "\n"


class Discrepancy(NamedTuple):
    """A call of a recording that answered differently: its line (from 1), the recorded answer, and this target's.

    An answer is what "answer" holds in the file, or the name of an exception.
    """

    line: int
    call: str
    recorded: Any
    got: Any


def replay_recording(mmio: Mmio, path: str | Path) -> list[Discrepancy]:
    """Make the recorded calls again, those that failed included; where the answers differ.

    How long a wait took is not compared. Registers that count cycles are like any others: they differ between targets.
    """
    found = []
    for number, entry in recorded_calls(path):
        call = entry["call"]
        try:
            got = _plain(_PERFORM[call](mmio, entry))
        except KvfpgaError as error:
            got = type(error).__name__
        except MALFORMED as error:
            raise not_recorded(path, number, error) from None
        recorded = entry.get("error", entry.get("answer"))
        if recorded != got and not (call == "wait_idle" and isinstance(got, int) and isinstance(recorded, int)):
            found.append(Discrepancy(number, call, recorded, got))
    return found


def recorded_calls(path: str | Path) -> Iterator[tuple[int, Call]]:
    """The calls of a file, with their lines. UsageError where it is no recording."""
    number = 0
    try:
        for number, line in enumerate(inputs.text_lines(Path(path), LONGEST), 1):
            entry = inputs.strict_json(line)
            if entry["call"] not in _PERFORM:
                raise ValueError(f"there is no call {str(entry['call'])[:40]!r}")
            yield number, entry
    except UnicodeDecodeError as error:
        raise not_recorded(path, number + 1, error) from None
    except MALFORMED as error:
        raise not_recorded(path, number, error) from None


def not_recorded(path: str | Path, number: int, error: Exception) -> UsageError:
    return UsageError(
        f"{path}:{number} is not a line of a recording: {str(error)[:120]}", "record one with `kvfpga --record FILE …`"
    )


def _plain(answer: object) -> object:
    """An answer as JSON can hold it."""
    match answer:
        case BatchResult(words, records):
            return {"words": words.tolist(), "records": records.tolist()}
        case np.ndarray(dtype=np.uint32):
            return answer.tolist()
        case bytes() | np.ndarray():
            data = bytes(answer)
            return data.hex() if len(data) <= HEX_LIMIT else {"sha256": hashlib.sha256(data).hexdigest()}
    return answer


def _batch(operations: list[list[Any]]) -> Batch:
    batch = Batch()
    for kind, *rest in operations:
        batch.append(Op(OpKind[kind], *rest))
    return batch


_PERFORM: dict[str, Callable[[Mmio, Call], object]] = {
    "open": lambda mmio, e: None,
    "read32": lambda mmio, e: mmio.read32(e["offset"]),
    "write32": lambda mmio, e: mmio.write32(e["offset"], e["value"]),
    "read64": lambda mmio, e: mmio.read64(e["offset"]),
    "write64": lambda mmio, e: mmio.write64(e["offset"], e["value"]),
    "read_burst": lambda mmio, e: mmio.read_burst(e["offset"], e["words"]),
    "write_burst": lambda mmio, e: mmio.write_burst(e["offset"], e["values"]),
    "run": lambda mmio, e: mmio.run(_batch(e["ops"])),
    "memory_read": lambda mmio, e: mmio.memory_read(e["addr"], e["size"]),
    "memory_write": lambda mmio, e: mmio.memory_write(e["addr"], bytes.fromhex(e["data"])),
    "memory_read_blocks": lambda mmio, e: mmio.memory_read_blocks(np.array(e["addrs"], np.uint64), e["size"]),
    "wait_idle": lambda mmio, e: mmio.wait_idle(e["budget"]),
}
