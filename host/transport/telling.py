"""Tell every call through the seam to a log, with how long it took: what `kvfpga --verbose` shows.

The logger is `kvfpga.calls`, of Python's logging. A call is one line at level INFO; what a batch consists of, access by access
with the words read, is at DEBUG:

    write STEP_FAST 0x78 · 4.1 µs
    batch of 4: write STEP_FAST 0x78, wait, read RESULT_STATUS 6 words, … · 183.2 µs
    memory_read 0x400000 16384 bytes · 55.0 µs
    read STATUS · 5.1 µs · BusError

Where nobody wants that, no `TellingMmio` is made, and nothing is slower.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .mmio import Batch, BatchResult, Mmio, Op, OpKind, PassingMmio

if TYPE_CHECKING:
    from typing import TypeVar

    from numpy.typing import NDArray

    Answer = TypeVar("Answer")

LOGGER = logging.getLogger("kvfpga.calls")
OPERATIONS_SHOWN = 4
"""Of a batch, in its one line."""
WORDS_SHOWN = 8
"""Of what one access of a batch reads."""


class TellingMmio(PassingMmio):
    """Passes everything on to `inner` and tells it. `name_of` makes a name of an offset. Anything beyond the seam is untold."""

    def __init__(self, inner: Mmio, name_of: Callable[[int], str], clock: Callable[[], float] = time.perf_counter):
        super().__init__(inner)
        self._name_of, self._clock = name_of, clock

    def read32(self, offset: int) -> int:
        return self._tell(f"read {self._name_of(offset)}", lambda: self.inner.read32(offset), hex)

    def write32(self, offset: int, value: int) -> None:
        self._tell(f"write {self._name_of(offset)} {value:#x}", lambda: self.inner.write32(offset, value))

    def read64(self, offset: int) -> int:
        return self._tell(f"read {self._name_of(offset)}", lambda: self.inner.read64(offset), hex)

    def write64(self, offset: int, value: int) -> None:
        self._tell(f"write {self._name_of(offset)} {value:#x}", lambda: self.inner.write64(offset, value))

    def read_burst(self, offset: int, words: int) -> NDArray[np.uint32]:
        return self._tell(f"read {self._name_of(offset)} {words} words", lambda: self.inner.read_burst(offset, words))

    def write_burst(self, offset: int, values: Iterable[int]) -> None:
        values = list(values)
        self._tell(f"write {self._name_of(offset)} {len(values)} words", lambda: self.inner.write_burst(offset, values))

    def run(self, batch: Batch) -> BatchResult:
        shown = [self._operation(op) for _, op in zip(range(OPERATIONS_SHOWN), batch)]
        more = ", …" if len(batch) > OPERATIONS_SHOWN else ""
        found = self._tell(f"batch of {len(batch)}: {', '.join(shown)}{more}", lambda: self.inner.run(batch))
        if LOGGER.isEnabledFor(logging.DEBUG):
            self._tell_operations(batch, found)
        return found

    def memory_read(self, addr: int, size: int) -> bytes:
        return self._tell(f"memory_read {addr:#x} {size} bytes", lambda: self.inner.memory_read(addr, size))

    def memory_write(self, addr: int, data: bytes) -> None:
        self._tell(f"memory_write {addr:#x} {len(data)} bytes", lambda: self.inner.memory_write(addr, data))

    def memory_read_blocks(self, addrs: NDArray[np.uint64], size: int) -> NDArray[np.uint8]:
        return self._tell(f"memory_read {len(addrs)} × {size} bytes", lambda: self.inner.memory_read_blocks(addrs, size))

    def wait_idle(self, budget: float | None = None) -> int:
        return self._tell("wait", lambda: self.inner.wait_idle(budget))

    # ---- lines -------------------------------------------------------------------------------------------------------
    def _tell(self, what: str, perform: Callable[[], Answer], shown: Callable[[Any], str] | None = None) -> Answer:
        begun = self._clock()
        try:
            answer = perform()
        except Exception as error:
            LOGGER.info("%s · %.1f µs · %s", what, 1e6 * (self._clock() - begun), type(error).__name__)
            raise
        took = 1e6 * (self._clock() - begun)
        LOGGER.info("%s%s · %.1f µs", what, f" {shown(answer)}" if shown else "", took)
        return answer

    def _operation(self, op: Op) -> str:
        match op.kind:
            case OpKind.READ:
                return f"read {self._name_of(op.offset)}" + (f" {op.value} words" if op.value > 1 else "")
            case OpKind.WRITE | OpKind.WRITE64:
                return f"write {self._name_of(op.offset)} {op.high << 32 | op.value:#x}"
            case OpKind.DRAIN:
                return f"drain {self._name_of(op.offset)}"
            case OpKind.CLOCK:
                return f"clock {op.value} cycles"
        return "wait"

    def _tell_operations(self, batch: Batch, found: BatchResult) -> None:
        at = 0
        for op in batch:
            words = found.words[at : at + op.value].tolist() if op.kind == OpKind.READ else []
            at += len(words)
            values = "".join(f" {word:#x}" for word in words[:WORDS_SHOWN]) + (" …" if len(words) > WORDS_SHOWN else "")
            LOGGER.debug("  %s%s", self._operation(op), f":{values}" if words else "")
