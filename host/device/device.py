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

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from ..contract import commands as cmd
from ..contract.commands import Command, Result
from ..contract.errors import BusError, TargetError
from ..contract.parameters import BUCKETS, Parameters
from ..contract.settings import RANKED
from ..transport.mmio import Batch
from .answers import (
    ASK_PASS_DIGEST,
    ASK_RESULT,
    ASK_TELEMETRY,
    State,
    ask_digest,
    ask_scores,
    digests_of,
    pass_digests_of,
    policy_behind,
    results_of,
    rows,
    telemetry_of,
    with_scores,
)  # fmt: skip
from .codec import OPERANDS, RESET_BIT, SETTINGS, STRICT_BIT, fitting, writes
from .regmap import BAR2_ENTRIES, BAR2_VAS, DEVICE_ID, MAJOR_VERSION, PTABLE, QUERY, REGISTERS, REGMAP_HASH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..transport.mmio import Mmio

BURST_ENTRIES = 4096
"""Entries read back in one go: 128 KiB, so that progress can be shown and memory stays small."""


CAPABILITIES = sum(name.startswith("CAP_") for name in REGISTERS)
"""Capability registers, side by side from CAP_ENTRIES on."""


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
    classes: int
    nmce: int
    doorbells: int

    @property
    def parameters(self) -> Parameters:
        """The build parameters that it says of itself. UsageError where no design has them."""
        return Parameters(*(getattr(self, field.name) for field in fields(Parameters)))


class Look(NamedTuple):
    """Where a device is looked at while it runs commands. Numbers of commands, each ascending.

    telemetry: behind how many commands the counters are read.
    digest: at which of those DIGEST is asked for, which costs a pass.
    passed: before how many commands the next one is a STEP whose PASS_DIGEST is read, which costs nothing (R25): it is the
    DIGEST of what those have left. The STEP must be one that the device accepts.
    """

    telemetry: Sequence[int] = ()
    digest: Sequence[int] = ()
    passed: Sequence[int] = ()


NOWHERE = Look()


class Stretch(NamedTuple):
    """Commands that run one behind the other, and what is read behind the last: see Look. `passed` is meant of the first, which a
    STEP is then. `batch` does it; `answers` says where in its words the result of each command begins, and `scores` the same of
    what SCORES shows behind a command, by the command's place."""

    commands: Sequence[Command]
    passed: bool
    telemetry: bool
    digest: bool
    batch: Batch
    answers: Sequence[int]
    scores: Mapping[int, int]


class Shown(NamedTuple):
    """What a device has shown of itself: behind stretches with `telemetry`, and in stretches with `passed`."""

    states: list[State]
    passed: list[int]


class Device:
    """A KV-CPU behind `mmio`. Building one identifies it, and refuses what cannot be trusted (`TargetError`)."""

    def __init__(self, mmio: Mmio):
        self.mmio = mmio
        self.identity = self.identify()
        self.entries = self.identity.entries
        self.block_bytes = self.identity.block_bytes
        self.classes = self.identity.classes
        self.nmce = bool(self.identity.nmce)
        self._ask_digest = ask_digest(0, self.entries)
        self._ranked: bool | None = None

    # ---- identity --------------------------------------------------------------------------------------------------
    def identify(self) -> Identity:
        """Ask who answers, before anything else is believed (R4): device id, register map, then the capabilities."""
        try:
            words = self.mmio.read_burst(REGISTERS["DEVICE_ID"].offset, 5).tolist()
        except BusError as error:
            raise TargetError(
                f"no KV-CPU answers at {self.mmio.name}: {error.message}", "is the right bitstream loaded?"
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
        capabilities = self.mmio.read_burst(REGISTERS["CAP_ENTRIES"].offset, CAPABILITIES).tolist()
        return Identity(f"{version >> 16}.{version & 0xFFFF}", build_high << 32 | build_low, *capabilities)

    # ---- commands --------------------------------------------------------------------------------------------------
    def execute(self, command: Command) -> Result:
        """Run one command and wait until the device is idle. A refusal is a Result with an ERR_ code, no exception."""
        return self.execute_many([command])[0]

    def execute_many(self, commands: Sequence[Command]) -> list[Result]:
        """The same for several, in one batch; each runs alone, as if it had been sent by itself."""
        return self.run(self.stretches(commands))[0]

    def execute_checked(self, command: Command) -> tuple[Result, dict[str, int], int]:
        """(result, telemetry, digest of the whole directory) in one batch."""
        results, telemetry, digest = self.execute_many_checked([command])
        return results[0], telemetry, digest

    def execute_many_checked(self, commands: Sequence[Command]) -> tuple[list[Result], dict[str, int], int]:
        """Several commands, then telemetry and digest of what they left."""
        end = [len(commands)]
        results, shown = self.run(self.stretches(commands, Look(end, end)))
        return results, shown.states[0].telemetry, cast(int, shown.states[0].digest)

    def stretches(self, commands: Sequence[Command], look: Look = NOWHERE) -> list[Stretch]:
        """`commands` ready to `run`: a new stretch begins wherever the device is looked at. Nothing is sent yet. UsageError for
        a field that no register has room for.

        TOUCH_HINT keeps what was last written (R41), so it is written before the first LOAD or TOUCH and then where it changes;
        what it held before is not believed, for another process may have written it."""
        strict, hint = True, None
        if any(type(c) is cmd.Set and c.setting == "CLEAR_COUNTERS" for c in commands):
            strict = bool(self.mmio.read32(REGISTERS["CTRL"].offset) & STRICT_BIT)
        found, first = [], 0
        telemetry, digest, passed = map(set, look)
        for end in sorted({*telemetry, *(passed - {0}), *([len(commands)] if commands else [])}):
            batch, answers, scores = Batch(), [], {}
            for place, command in enumerate(commands[first:end]):
                for name, value in writes(command, strict):
                    if name == "TOUCH_HINT":
                        if value == hint:
                            continue
                        hint = value
                    self.append_write(batch, name, value)
                if type(command) is cmd.Set and command.setting == "STRICT":
                    strict = bool(command.value)
                if type(command) is cmd.Score and self.nmce:
                    batch.wait_idle()
                    scores[place] = batch.words
                    batch.join(ask_scores(self.identity.block_tokens, bool(command.flags & cmd.NUMERATORS)))
                answers.append(batch.words)
                batch.join(ASK_RESULT)
                if not place and first in passed:
                    batch.join(ASK_PASS_DIGEST)
            if end in telemetry:
                batch.join(ASK_TELEMETRY)
            if end in digest:
                batch.join(self._ask_digest)
            looks = first in passed, end in telemetry, end in digest
            found.append(Stretch(commands[first:end], *looks, batch, answers, scores))
            first = end
        return found

    def run(self, stretches: Sequence[Stretch]) -> tuple[list[Result], Shown]:
        """All of them in one batch: the result of each command, and what was to be read between them."""
        batch = Batch()
        answers: list[int] = []
        scores: dict[int, int] = {}
        passed: list[int] = []
        telemetry: list[int] = []
        digests: list[int] = []
        for stretch in stretches:
            place = batch.words
            if stretch.passed:
                passed.append(place + stretch.answers[0] + ASK_RESULT.words)
            scores |= {len(answers) + number: place + at for number, at in stretch.scores.items()}
            answers += [place + at for at in stretch.answers]
            batch.join(stretch.batch)
            if stretch.telemetry:
                telemetry.append(batch.words - ASK_TELEMETRY.words - stretch.digest * self._ask_digest.words)
            if stretch.digest:
                digests.append(batch.words - self._ask_digest.words)
        commands = [command for stretch in stretches for command in stretch.commands]
        ranked, self._ranked = self._is_ranked(commands), None  # not known where the batch breaks off
        answer = self.mmio.run(batch)
        self._ranked = policy_behind(commands, ranked)
        results = results_of(commands, rows(answer.words, answers, ASK_RESULT.words), answer.records, bool(ranked))
        for number, at in scores.items():
            results[number] = with_scores(results[number], answer.words[at : answers[number]], self.identity.block_tokens)
        counters = iter(telemetry_of(rows(answer.words, telemetry, ASK_TELEMETRY.words)))
        hashes = iter(digests_of(rows(answer.words, digests, self._ask_digest.words)))
        states = [State(next(counters), next(hashes) if s.digest else None) for s in stretches if s.telemetry]
        return results, Shown(states, pass_digests_of(rows(answer.words, passed, ASK_PASS_DIGEST.words)))

    def _is_ranked(self, commands: Sequence[Command]) -> bool | None:
        """Is the ranked policy in force? The device is asked once, and only where there is a STEP, whose triggers come in another
        order then; None: nobody asked yet."""
        if self._ranked is None and any(type(command) is cmd.Step for command in commands):
            return self.mmio.read32(REGISTERS["POLICY"].offset) == RANKED
        return self._ranked

    def append_write(self, batch: Batch, name: str, value: int) -> None:
        """Write a register by its name, whatever its width. UsageError for a value that it has no room for, unless the device
        itself refuses that, or that the target does not take."""
        register = REGISTERS[name]
        if not self.mmio.takes_all:
            self.mmio.check_write(register.offset, value, alone=False)
        (batch.write64 if register.width == 64 else batch.write)(register.offset, fitting(register, value))

    def append_command(self, batch: Batch, command: Command) -> None:
        """Write all registers of a command, the doorbell last; what it answers is left to the caller."""
        for name, value in writes(command):
            self.append_write(batch, name, value)

    # ---- what the device shows -------------------------------------------------------------------------------------
    def telemetry(self) -> dict[str, int]:
        """Every counter of the register map by its key, in its order (R23)."""
        return telemetry_of(self.mmio.run(ASK_TELEMETRY).words[None])[0]

    def digest(self, lo: int = 0, hi: int | None = None) -> int:
        """The device's hash over the valid entries in [lo, hi) (R24); `hi` None is ENTRIES."""
        return digests_of(self.mmio.run(ask_digest(lo, self.entries if hi is None else hi)).words[None])[0]

    def settings(self) -> dict[str, int]:
        """The settings in force, by their names in `commands.Set`."""
        found = self.read_registers([*(name for name in SETTINGS if name != "STRICT"), "CTRL"])
        found["STRICT"] = int(bool(found.pop("CTRL") & STRICT_BIT))
        self._ranked = found["POLICY"] == RANKED
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

    def read_table(self) -> NDArray[np.uint8]:
        """uint8[classes, 64]: the codes in the idle bank of PTABLE (R45)."""
        words = self.mmio.read_burst(PTABLE, self.classes * BUCKETS // 4)
        return words.astype("<u4").view(np.uint8).reshape(self.classes, BUCKETS)

    def read_tables(self) -> NDArray[np.uint8]:
        """uint8[2, classes, 64]: both banks by their numbers. Each is made the idle one in turn; afterwards they are as
        before."""
        first = self.mmio.read32(REGISTERS["PTABLE_COMMIT"].offset)
        found = np.empty((2, self.classes, BUCKETS), np.uint8)
        for bank in (1 - first, first):
            found[bank] = self.read_table()
            self.execute(cmd.Set("PTABLE_COMMIT", 1))
        return found

    def write_table(self, codes: NDArray[np.uint8]) -> None:
        """Write them all."""
        self.mmio.write_burst(PTABLE, np.ascontiguousarray(codes, np.uint8).view("<u4").ravel().tolist())

    def read_queries(self, slot: int = 0, count: int = cmd.QUERY_SLOTS) -> NDArray[np.uint16]:
        """uint16[count, HEAD_DIM]: the bits of the queries in `count` slots from `slot` on (R30)."""
        size = self.identity.head_dim // 2
        words = self.mmio.read_burst(QUERY + 4 * size * slot, size * count)
        return words.astype("<u4").view(np.uint16).reshape(count, -1)

    def write_queries(self, slot: int, bits: NDArray[np.uint16]) -> None:
        """Write uint16[n, HEAD_DIM] into n slots from `slot` on."""
        words = np.ascontiguousarray(bits, "<u2").view("<u4").ravel().tolist()
        self.mmio.write_burst(QUERY + 2 * self.identity.head_dim * slot, words)

    def read_entries(self, lo: int = 0, hi: int | None = None) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        """(uint32[n, 8] entries, uint64[n] vas) of the indices [lo, hi) from BAR2."""
        hi = self.entries if hi is None else hi
        raw, vas = np.empty((hi - lo, 8), np.uint32), np.empty(hi - lo, np.uint64)
        for first in range(lo, hi, BURST_ENTRIES):
            count = min(BURST_ENTRIES, hi - first)
            rows = slice(first - lo, first - lo + count)
            raw[rows] = self.mmio.read_burst(BAR2_ENTRIES + 32 * first, 8 * count).reshape(count, 8)
            vas[rows] = self.mmio.read_burst(BAR2_VAS + 8 * first, 2 * count).astype("<u4").view("<u8")
        return raw, vas

    # ---- reset -----------------------------------------------------------------------------------------------------
    def soft_reset(self) -> None:
        """CTRL.soft_reset (R4): the DMA channels drain, everything gets its reset value; memory keeps its bytes (D20)."""
        batch = Batch()
        batch.write(REGISTERS["CTRL"].offset, RESET_BIT | STRICT_BIT)
        batch.wait_idle()
        self._ranked = None
        self.mmio.run(batch)
