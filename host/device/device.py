"""Typed commands on one KV-CPU, through the seam (contract sections 2 to 4).

A command becomes one `Batch`: operand writes ending in the doorbell, wait until idle, read the result, take the
completion records. `execute_checked` puts telemetry and DIGEST of the whole directory into the same batch, so that a
checked command still costs one call into the target. Nothing here knows which target that is, and nothing here knows
what the right answer would be: that is `lockstep`'s business.

    with open_target() as mmio:
        device = Device(mmio)
        device.execute(Step(120)).triggers
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..contract import commands as cmd
from ..contract.commands import EVICT, PREFETCH, Command, Result, Trigger
from ..contract.errors import BusError, DeviceRefused, TargetError
from ..contract.parameters import Parameters
from ..transport.mmio import Batch
from .codec import OPERANDS, RESET_BIT, SETTINGS, STRICT_BIT, bits, fitting, opcode_of, writes
from .regmap import BAR2_ENTRIES, BAR2_VAS, DEVICE_ID, MAJOR_VERSION, REGISTERS, REGMAP_HASH, TELEMETRY, Code, Opcode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..transport.mmio import BatchResult, Mmio

BURST_ENTRIES = 4096
"""Entries read back in one go: 128 KiB, so that progress can be shown and memory stays small."""

RESULT_WORDS = 6
"""RESULT_STATUS to RESULT_CYCLES lie side by side; reading the last one takes the result off its queue."""
CHANNELS = (EVICT, PREFETCH)
"""By their number in a completion record."""
SHOWS_PLACE = (cmd.Lookup, cmd.Touch)
"""Commands whose Result names tier and physical address."""


class Identity(NamedTuple):
    """Who answers: the identity and capability registers (R4)."""

    version: str
    build_id: int
    entries: int
    lanes: int
    block_tokens: int
    head_dim: int
    block_bytes: int
    data_bits: int
    lookup_ports: int
    fifo_depth: int

    @property
    def parameters(self) -> Parameters:
        """The build parameters that it says of itself. UsageError where no design has them."""
        return Parameters(*(getattr(self, field.name) for field in fields(Parameters)))


class _Reads(NamedTuple):
    """Where one command's answers are in a batch's words."""

    result: slice
    level: int


class Device:
    """A KV-CPU behind `mmio`. Building one identifies it, and refuses what cannot be trusted (`TargetError`)."""

    def __init__(self, mmio: Mmio):
        self.mmio = mmio
        self.identity = self.identify()
        self.entries = self.identity.entries
        self.block_bytes = self.identity.block_bytes

    # ---- identity --------------------------------------------------------------------------------------------------
    def identify(self) -> Identity:
        """Ask who answers, before anything else is believed (R4): device id, register map, then the capabilities."""
        try:
            words = self.mmio.read_burst(REGISTERS["DEVICE_ID"].offset, 5).tolist()
        except BusError as error:
            raise TargetError(
                f"no KV-CPU answers at {self.mmio.name}: {error}", "is the right bitstream loaded?"
            ) from error
        device_id, version, build_low, build_high, regmap_hash = words
        if device_id == 0xFFFFFFFF:
            raise TargetError(
                f"{self.mmio.name} reads as all ones: a dead link", "is the board powered and its link up?"
            )
        if device_id != DEVICE_ID:
            raise TargetError(
                f"{self.mmio.name} answers as device {device_id:#010x}, not as a KV-CPU ({DEVICE_ID:#010x})",
                "check the target's address, and that the right bitstream is loaded",
            )
        if regmap_hash != REGMAP_HASH or version >> 16 != MAJOR_VERSION:
            raise TargetError(
                f"{self.mmio.name} has register map {regmap_hash:#010x}, this kvfpga has {REGMAP_HASH:#010x}",
                "use the kvfpga that the design was built with, or build the design again (`make regs` after a change)",
            )
        capabilities = self.mmio.read_burst(REGISTERS["CAP_ENTRIES"].offset, 8).tolist()
        return Identity(f"{version >> 16}.{version & 0xFFFF}", build_high << 32 | build_low, *capabilities)

    # ---- commands --------------------------------------------------------------------------------------------------
    def execute(self, command: Command) -> Result:
        """Run one command and wait until the device is idle. A refusal is a Result with an ERR_ code, no exception."""
        return self.execute_many([command])[0]

    def execute_many(self, commands: Sequence[Command]) -> list[Result]:
        """The same for several, in one batch; each runs alone, as if it had been sent by itself."""
        batch = Batch()
        reads = self._append(batch, commands)
        return self._results(commands, reads, self.mmio.run(batch))

    def execute_checked(self, command: Command) -> tuple[Result, dict[str, int], int]:
        """(result, telemetry, digest of the whole directory) in one batch."""
        results, telemetry, digest = self.execute_many_checked([command])
        return results[0], telemetry, digest

    def execute_many_checked(self, commands: Sequence[Command]) -> tuple[list[Result], dict[str, int], int]:
        """Several commands, then telemetry and digest of what they left."""
        batch = Batch()
        reads = self._append(batch, commands)
        telemetry = self._append_telemetry(batch)
        digest = self._append_digest(batch, 0, self.entries)
        answer = self.mmio.run(batch)
        results = self._results(commands, reads, answer)
        return results, self._telemetry(answer, telemetry), self._digest(answer, digest)

    def _append(self, batch: Batch, commands: Sequence[Command]) -> list[_Reads]:
        strict = True
        if any(type(c) is cmd.Set and c.setting == "CLEAR_COUNTERS" for c in commands):
            strict = bool(self.mmio.read32(REGISTERS["CTRL"].offset) & STRICT_BIT)
        reads = []
        for command in commands:
            for name, value in writes(command, strict):
                self._append_write(batch, name, value)
            if type(command) is cmd.Set and command.setting == "STRICT":
                strict = bool(command.value)
            batch.wait_idle()
            result = batch.burst(REGISTERS["RESULT_STATUS"].offset, RESULT_WORDS)
            level = batch.read(REGISTERS["COMPLETION_LEVEL"].offset)
            batch.drain(REGISTERS["COMPLETION"].offset)
            reads.append(_Reads(result, level))
        return reads

    @staticmethod
    def _append_write(batch: Batch, name: str, value: int) -> None:
        register = REGISTERS[name]
        (batch.write64 if register.width == 64 else batch.write)(register.offset, fitting(register, value))

    def _results(self, commands: Sequence[Command], reads: list[_Reads], answer: BatchResult) -> list[Result]:
        words, records = answer.words, answer.records
        results, taken = [], 0
        for command, slots in zip(commands, reads):
            level = int(words[slots.level])
            triggers = self._triggers(records[taken : taken + level])
            results.append(self._result(command, words[slots.result].tolist(), triggers))
            taken += level
        if taken != len(records):
            raise TargetError(f"{len(records)} completion records came, COMPLETION_LEVEL announced {taken}")
        return results

    @staticmethod
    def _result(command: Command, words: list[int], triggers: tuple[Trigger, ...]) -> Result:
        status, matched, phys_low, phys_high, index, cycles = words
        code = _code(status, opcode_of(command))
        if not bits(status, _STATUS["has_index"]):
            return Result(code, matched, None, triggers, cycles=cycles)
        if not isinstance(command, SHOWS_PLACE):
            return Result(code, matched, index, triggers, cycles=cycles)
        tier, phys_addr = bits(status, _STATUS["tier"]), phys_high << 32 | phys_low
        return Result(code, matched, index, triggers, tier, phys_addr, cycles)

    @staticmethod
    def _triggers(records: NDArray[np.uint64]) -> tuple[Trigger, ...]:
        """Completion records (R16) as triggers in the order queued: a pass goes through the entries by index, so that
        is the order of the indices, while the records of the two channels come as the memory lets them."""
        if not len(records):
            return ()
        index = bits(records, _RECORD["index"])
        order = np.argsort(index, kind="stable")
        failed = bits(records, _RECORD["error"]) == 1
        if failed.any():
            raise TargetError(
                f"the memory answered the DMA of block {index[failed][0]} with an error", "see `kvfpga reg read ERROR`"
            )
        names = ("index", "channel", "from_tier", "to_tier")
        columns = (bits(records, _RECORD[name])[order].tolist() for name in names)
        return tuple(Trigger(i, CHANNELS[channel], source, target) for i, channel, source, target in zip(*columns))

    # ---- what the device shows -------------------------------------------------------------------------------------
    def telemetry(self) -> dict[str, int]:
        """Every counter of the register map by its key, in its order (R23)."""
        batch = Batch()
        where = self._append_telemetry(batch)
        return self._telemetry(self.mmio.run(batch), where)

    def digest(self, lo: int = 0, hi: int | None = None) -> int:
        """The device's hash over the valid entries in [lo, hi) (R24); `hi` None is ENTRIES."""
        batch = Batch()
        where = self._append_digest(batch, lo, self.entries if hi is None else hi)
        return self._digest(self.mmio.run(batch), where)

    def settings(self) -> dict[str, int]:
        """The settings in force, by their names in `commands.Set`."""
        found = self.read_registers([*(name for name in SETTINGS if name != "STRICT"), "CTRL"])
        found["STRICT"] = int(bool(found.pop("CTRL") & STRICT_BIT))
        return found

    def operands(self) -> dict[str, int]:
        """What was last written to the registers that commands are made of, doorbells included; 0 after a reset."""
        return self.read_registers(OPERANDS)

    def read_registers(self, names: Sequence[str]) -> dict[str, int]:
        """The values of registers by name, in one batch."""
        batch = Batch()
        slots = {n: (batch.read64 if REGISTERS[n].width == 64 else batch.read)(REGISTERS[n].offset) for n in names}
        words = self.mmio.run(batch).words.tolist()
        return {
            name: words[slot] | words[slot + 1] << 32 if REGISTERS[name].width == 64 else words[slot]
            for name, slot in slots.items()
        }

    def read_entries(
        self, lo: int = 0, hi: int | None = None, progress: Callable[[int], None] | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        """(uint32[n, 8] entries, uint64[n] vas) of the indices [lo, hi) from BAR2. `progress(n)` after n entries."""
        hi = self.entries if hi is None else hi
        raw, vas = np.empty((hi - lo, 8), np.uint32), np.empty(hi - lo, np.uint64)
        for first in range(lo, hi, BURST_ENTRIES):
            count = min(BURST_ENTRIES, hi - first)
            rows = slice(first - lo, first - lo + count)
            raw[rows] = self.mmio.read_burst(BAR2_ENTRIES + 32 * first, 8 * count).reshape(count, 8)
            vas[rows] = self.mmio.read_burst(BAR2_VAS + 8 * first, 2 * count).astype("<u4").view("<u8")
            if progress:
                progress(count)
        return raw, vas

    @staticmethod
    def _append_telemetry(batch: Batch) -> slice:
        return batch.burst(REGISTERS["T_CURRENT_STEP"].offset, 2 * len(TELEMETRY))

    @staticmethod
    def _telemetry(answer: BatchResult, where: slice) -> dict[str, int]:
        values = np.ascontiguousarray(answer.words[where], "<u4").view("<u8")
        return dict(zip(TELEMETRY, values.tolist()))

    @staticmethod
    def _append_digest(batch: Batch, lo: int, hi: int) -> tuple[slice, int]:
        batch.write(REGISTERS["DIGEST_FIRST"].offset, lo)
        batch.write(REGISTERS["DIGEST_END"].offset, hi)
        batch.wait_idle()
        result = batch.burst(REGISTERS["RESULT_STATUS"].offset, RESULT_WORDS)
        return result, batch.read64(REGISTERS["DIGEST"].offset)

    @staticmethod
    def _digest(answer: BatchResult, where: tuple[slice, int]) -> int:
        result, slot = where
        code = _code(int(answer.words[result][0]), Opcode.DIGEST)
        if code != "OK":
            raise DeviceRefused(code, f"the device refused the range of a DIGEST: {code}")
        return int(answer.words[slot]) | int(answer.words[slot + 1]) << 32

    # ---- reset -----------------------------------------------------------------------------------------------------
    def soft_reset(self) -> None:
        """CTRL.soft_reset (R4): the DMA channels drain, everything gets its reset value; memory keeps its bytes (D20)."""
        batch = Batch()
        batch.write(REGISTERS["CTRL"].offset, RESET_BIT | STRICT_BIT)
        batch.wait_idle()
        self.mmio.run(batch)


def _code(status: int, opcode: Opcode) -> str:
    """The name of the code in a RESULT_STATUS that must belong to `opcode`."""
    code = bits(status, _STATUS["code"])
    if not bits(status, _STATUS["valid"]):
        raise TargetError(f"the device left no result for {opcode.name}", "`kvfpga reset` starts it anew")
    if bits(status, _STATUS["opcode"]) != opcode or code not in _CODES:
        raise TargetError(
            f"the device answered {opcode.name} with result status {status:#010x}, which belongs to another command",
            "somebody else may be using the device; `kvfpga reset` starts it anew",
        )
    return _CODES[code]


_CODES = {code.value: code.name for code in Code}
_STATUS = REGISTERS["RESULT_STATUS"].fields
_RECORD = REGISTERS["COMPLETION"].fields
