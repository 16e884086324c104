"""`--target kvcpu:/dev/kvcpu0`: a device behind its Linux driver (decision D35).

Device and lockstep speak registers, the driver takes commands; this translates between the two. A write to an operand is kept
here. A write to a doorbell or a setting becomes one command, which the driver runs among those of others; its answer stands in
RESULT until it is read, and the records of the moves behind it in COMPLETION, as a device has it. All other registers are the
device's own, read through the driver, and the directory is its mapping.

What the driver keeps to itself is refused: where memory is (TIER_BASE), its interrupts and errors, the results of SCORE, and the
bytes of blocks. So blocks are compared by their entries, and not by their bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from .contract.errors import BusError, NoMemoryError, UsageError
from .device.codec import FORMS, RESET_BIT
from .device.regmap import BAR2_ENTRIES, BAR2_VAS, DOORBELLS, PTABLE, REGISTERS, SCORES, Opcode, Register
from .transport.kvcpu.node import Move, Node
from .transport.mmio import Batch, BatchResult, Mmio

_WORDS = {r.offset + 4 * word: (r, word) for r in REGISTERS.values() for word in range(r.width // 32)}
_RESULT, _COMPLETION, _STATUS = (REGISTERS[name] for name in ("RESULT_STATUS", "COMPLETION", "STATUS"))
_TAKES_RESULT, _LEVEL = REGISTERS["RESULT_CYCLES"].offset, REGISTERS["COMPLETION_LEVEL"].offset
_SCRATCH, _ENTRIES = REGISTERS["SCRATCH"].offset, REGISTERS["CAP_ENTRIES"].offset
_RESULT_WORDS = (_TAKES_RESULT - _RESULT.offset) // 4 + 1
_BEFORE = {form.opcode.name: tuple(name for name, _ in form.writes[:-1]) for form in FORMS.values()}
_BEFORE["DIGEST"] = ("DIGEST_FIRST",)
"""The operands of each command."""
_KEPT = {name for names in _BEFORE.values() for name in names}
_DRIVERS = {"TIER_BASE0", "TIER_BASE1", "TIER_BASE2", "TIER_BASE3", "SCORE_FLAGS", "RING_STEP", "RING_STEP_FAST"}
"""Doorbells and settings that the driver does not let others write."""


def _field(register: Register, name: str, value: int) -> int:
    return value << register.fields[name].low


class NodeMmio(Mmio):
    """The device of one node."""

    reaches_memory = takes_all = False

    def __init__(self, path: str):
        self.name = f"kvcpu:{path}"
        self._node = Node(path)
        self._operands: dict[str, int] = {}
        self._low: dict[str, int] = {}
        self._results: deque[list[int]] = deque()
        self._record_high = 0
        self._entries: int | None = None
        self._in_batch = False

    # ---- reads -------------------------------------------------------------------------------------------------------
    def read32(self, offset: int) -> int:
        return int(self.read_burst(offset, 1)[0])

    def read64(self, offset: int) -> int:
        return int.from_bytes(self.read_burst(offset, 2).tobytes(), "little")

    def read_burst(self, offset: int, words: int) -> NDArray[np.uint32]:
        if offset % 4:
            raise BusError(offset, False, detail="MISALIGNED; not sent")
        if offset >= BAR2_ENTRIES:
            return np.array(self._directory(offset, words), np.uint32)
        if any(at in _OURS for at in range(offset, offset + 4 * words, 4)):
            return np.array([self._ours(at) if at in _OURS else self._node.read(at, 1)[0]
                             for at in range(offset, offset + 4 * words, 4)], np.uint32)  # fmt: skip
        self._must_be_there(offset, words)
        return np.array(self._node.read(offset, words), np.uint32)

    def _directory(self, offset: int, words: int) -> list[int]:
        if self._entries is None:
            self._entries = self._node.read(_ENTRIES, 1)[0]
        first, size = (BAR2_VAS, 8) if offset >= BAR2_VAS else (BAR2_ENTRIES, 32)
        end = first + size * self._entries
        if offset + 4 * words > end:
            raise BusError(max(offset, end), False, detail="no entry there; not sent")
        return self._node.directory((offset - BAR2_ENTRIES) // 4, words)

    def _must_be_there(self, offset: int, words: int) -> None:
        for at in range(offset, offset + 4 * words, 4):
            if SCORES <= at < PTABLE:
                _refuse(f"SCORES at {at:#x}: the driver takes the result of a SCORE, and its scores with it")
            known = at in _WORDS and "r" in _WORDS[at][0].access
            if not known and not PTABLE <= at < DOORBELLS.start:
                raise BusError(at, False, detail="UNMAPPED; not sent")

    def _ours(self, offset: int) -> int:
        """A word of what the driver has taken off the device for us."""
        if offset == _STATUS.offset:
            ready = {"result_ready": bool(self._results), "completion_ready": bool(self._node.moves())}
            status = self._node.read(offset, 1)[0]
            for name, is_set in ready.items():
                status = status & ~_field(_STATUS, name, 1) | _field(_STATUS, name, is_set)
            return status
        if offset == _LEVEL:
            return len(self._node.moves())
        if offset == _COMPLETION.offset:
            moves = self._node.moves()
            record = _record(moves.popleft()) if moves else 0
            self._record_high = record >> 32
            return record & 0xFFFFFFFF
        if offset == _COMPLETION.offset + 4:
            return self._record_high
        result = self._results[0] if self._results else [0] * _RESULT_WORDS
        if offset == _TAKES_RESULT and self._results:
            self._results.popleft()
        return result[(offset - _RESULT.offset) // 4]

    # ---- writes ------------------------------------------------------------------------------------------------------
    def check_write(self, offset: int, value: int, alone: bool) -> None:
        """An operand alone would be forgotten with this process: it goes with its command."""
        register, _ = _WORDS.get(offset, (None, 0))
        if register is None or "w" not in register.access or register.name == "SCRATCH":
            return
        if register.name in _KEPT:
            if alone:
                _refuse(f"a write of {value:#x} to {register.name}, alone,")
        elif not (register.doorbell or register.config) or register.name in _DRIVERS:
            _refuse(f"a write of {value:#x} to {register.name}")

    def write32(self, offset: int, value: int) -> None:
        if offset % 4:
            raise BusError(offset, True, detail="MISALIGNED; not sent")
        if not 0 <= value < 1 << 32:
            raise UsageError(f"{value:#x} does not fit into the register at {offset:#x}")
        if offset == _SCRATCH or PTABLE <= offset < DOORBELLS.start:
            self._node.write(offset, [value])
            return
        register, word = _WORDS.get(offset, (None, 0))
        if register is None or "w" not in register.access:
            raise BusError(offset, True, detail="UNMAPPED; not sent")
        if register.width == 64 and not word:
            self._low[register.name] = value
            return
        self._commit(register, value << 32 | self._low.get(register.name, 0) if word else value)

    def write_burst(self, offset: int, values: Iterable[int]) -> None:
        every = [int(value) for value in values]
        if PTABLE <= offset and offset + 4 * len(every) <= DOORBELLS.start and offset % 4 == 0:
            self._node.write(offset, every)
        else:
            super().write_burst(offset, every)

    def run(self, batch: Batch) -> BatchResult:
        """Operands and the doorbell of a command are in one batch."""
        self._in_batch = True
        try:
            return super().run(batch)
        finally:
            self._in_batch = False

    def _commit(self, register: Register, value: int) -> None:
        name = register.name
        self.check_write(register.offset, value, alone=not self._in_batch)
        if name in _KEPT:
            self._operands[name] = value
        elif name == "CTRL" and value & RESET_BIT:
            self._node.reset()
            self._operands.clear()
            self._low.clear()
            self._results.clear()
            self._node.moves().clear()
        else:
            self._run(register, value)

    def _run(self, register: Register, value: int) -> None:
        operands = [(REGISTERS[name], self._operands.get(name, 0)) for name in _BEFORE.get(register.doorbell or "", ())]
        answer = self._node.run([(r.offset, r.width // 8, v) for r, v in [*operands, (register, value)]])
        opcode = Opcode[register.doorbell] if register.doorbell else Opcode.SET
        status = {"code": answer.code, "opcode": opcode, "has_index": answer.entry is not None, "tier": answer.tier, "valid": 1}
        low, high = answer.phys_addr & 0xFFFFFFFF, answer.phys_addr >> 32
        word = sum(_field(_RESULT, field, int(number)) for field, number in status.items())
        self._results.append([word, answer.matched, low, high, answer.entry or 0, answer.cycles])

    # ---- the rest ----------------------------------------------------------------------------------------------------
    def wait_idle(self, budget: float | None = None) -> int:
        """The driver has its own idea of far too long."""
        self._node.idle()
        return 0

    def memory_read(self, addr: int, size: int) -> bytes:
        raise NoMemoryError(self.name)

    def memory_write(self, addr: int, data: bytes) -> None:
        raise NoMemoryError(self.name)

    def close(self) -> None:
        self._node.close()


_OURS = {
    _STATUS.offset, _LEVEL, _COMPLETION.offset, _COMPLETION.offset + 4,
    *range(_RESULT.offset, _TAKES_RESULT + 4, 4),
}  # fmt: skip


def _record(move: Move) -> int:
    fields = {
        "index": move.block, "channel": int(move.prefetch), "from_tier": move.from_tier, "to_tier": move.to_tier,
        "error": int(move.failed), "valid": 1, "step": move.step,
    }  # fmt: skip
    return sum(_field(_COMPLETION, name, value) for name, value in fields.items())


def _refuse(what: str) -> NoReturn:
    raise UsageError(
        f"{what} does not go through the node: the driver takes whole commands, and keeps what else changes the device to itself",
        "give the command that it belongs to (`kvfpga --help`); or take the module out and reach the card another way",
    )
