"""Step 2: every register of the map by its access mode, and the bus errors of contract R1 and R2.

Nothing with a side effect is touched: doorbells, settings and CTRL are not written, the queues (RESULT_CYCLES,
COMPLETION) not read. What is written is put back, and ERROR is left clear.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np

from ..contract.errors import BusError
from ..device.regmap import BAR2_ENTRIES, BAR2_VAS, REGISTERS, BusErrorCode, Register
from ..transport.mmio import Batch
from .bench import Bench, Finding
from .diagnosis import FEW_BITS, Stuck, address_bits, lane_order, name_bits, stuck_bits, stuck_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLAIN = [r for r in REGISTERS.values() if r.access == "rw" and not (r.doorbell or r.config or r.name == "ERROR")]
"""Registers that only store: operands, SCRATCH, IRQ_ENABLE."""
NAMES = [r.name for r in PLAIN]
READ_ONLY = [r for r in REGISTERS.values() if r.access == "r"]
LIVE = ("STATUS", "ERROR_OFFSET", "RTBD_", "RESULT_", "COMPLETION", "DIGEST", "T_")
"""What may change by itself, or because a write was refused: not compared around one."""
UNMAPPED = (0x0004, 0x0070, 0x02F0, 0x07FC, 0x0F00, 0x1F00, 0x2FFC, 0x1_0000, 0x20_0000, BAR2_ENTRIES - 4)
"""Offsets at which the map has nothing; BAR2 behind the last entry comes on top."""
KIND = {BusErrorCode.UNMAPPED: "an unmapped", BusErrorCode.MISALIGNED: "a misaligned"}
COMMON = 3
"""A bit that is wrong in so many registers is not their fault."""

ERROR, DEVICE_ID = (REGISTERS[name].offset for name in ("ERROR", "DEVICE_ID"))
ERROR_FIELDS = REGISTERS["ERROR"].fields
NOT_SENT = "not sent"
"""In the BusError of a target that cannot put such an access on the bus, and refuses it itself."""
DROPPED = "the bridge or interconnect drops the AXI response (RRESP, BRESP), or answers in the device's place"
ADDRESS = "address lines and address width of the register bus; BAR offset and size"
LANES = "byte lanes of the register bus (wiring, endianness of the bridge)"
DATA = "data lines of the register bus: bridge, width converters, clock crossing"
SELDOM = "the link (step link); clock and timing of the register bus"
STORAGE = "the register block: timing report of the build, or the bitstream"


def run(bench: Bench) -> None:
    steps = (read_only, read_write, address_lines, tearing, refusals)
    for number, step in enumerate(steps):
        step(bench)
        bench.tick(number + 1, len(steps))


# ---- read-only -----------------------------------------------------------------------------------------------------
def read_only(bench: Bench) -> None:
    """Each word refuses a write with a bus error, and keeps its value; BAR2 as well."""
    entries = bench.device.entries
    places = [(f"{r.name} word {w}" if r.width == 64 else r.name, r.offset + 4 * w, _stable(r))
              for r in READ_ONLY for w in range(r.width // 32)]  # fmt: skip
    places += [("BAR2 entries", BAR2_ENTRIES + at, True) for at in (0, 32 * entries - 4)]
    places += [("BAR2 addresses", BAR2_VAS + at, True) for at in (0, 8 * entries - 4)]
    findings = []
    for name, offset, stable in places:
        clear_errors(bench)  # a target that learns of bus errors from ERROR sees a new one only when it is clear
        before = bench.mmio.read32(offset) if stable else 0
        accepted = not _refused(bench, offset, ~before & 0xFFFFFFFF)
        after = bench.mmio.read32(offset) if stable else 0
        if before != after:
            findings.append(Finding(f"{name} took a write: {before:#x} became {after:#x}",
                                    "the bitstream: its register block lets read-only registers be written"))  # fmt: skip
            _refused(bench, offset, before)
        elif accepted:
            findings.append(Finding(f"a write to {name} was not answered with a bus error", DROPPED))
    clear_errors(bench)
    bench.conclude("read-only", f"{len(places)} words refuse writes", findings)


def _stable(register: Register) -> bool:
    return not register.name.startswith(LIVE)


def _refused(bench: Bench, offset: int, value: int) -> bool:
    try:
        bench.mmio.write32(offset, value)
    except BusError:
        return True
    return False


# ---- read and write ------------------------------------------------------------------------------------------------
def read_write(bench: Bench) -> None:
    """Walking ones and zeros through every plain register, each in one batch."""
    saved = bench.device.read_registers(NAMES)
    found: dict[str, tuple[NDArray[np.uint64], NDArray[np.uint64]]] = {}
    try:
        for register in PLAIN:
            values = walking(register.width) & np.uint64(mask(register))
            batch, slots = Batch(), []
            for value in values.tolist():
                bench.device.append_write(batch, register.name, value)
                slots.append(_read(batch, register))
            found[register.name] = values, _values(bench.mmio.run(batch).words, slots, register)
    finally:
        _restore(bench, saved)
    wrong = {name: pair for name, pair in found.items() if (pair[0] != pair[1]).any()}
    patterns = sum(values.size for values, _ in found.values())
    bench.conclude("read and write", f"{len(PLAIN)} registers, {patterns:,} patterns", diagnose(wrong))


def mask(register: Register) -> int:
    """The bits that the register has."""
    return sum((1 << field.width) - 1 << field.low for field in register.fields.values())


def walking(width: int) -> NDArray[np.uint64]:
    """uint64: walking ones, walking zeros, and a few more of `width` bits."""
    full = (1 << width) - 1
    ones = [1 << bit for bit in range(width)]
    more = [0, full, 0x5555555555555555 & full, 0xAAAAAAAAAAAAAAAA & full, 0x0123456789ABCDEF & full, 0xFEDCBA9876543210 & full]
    return np.array([*ones, *(full & ~one for one in ones), *more], np.uint64)


def diagnose(wrong: dict[str, tuple[NDArray[np.uint64], NDArray[np.uint64]]]) -> list[Finding]:
    """What is wrong with registers, from (written, read) of each: first what they have in common."""
    orders = Counter(filter(None, (_lanes(*pair) for pair in wrong.values())))
    if orders and orders.most_common(1)[0][1] >= min(COMMON, len(wrong)):
        return [Finding(orders.most_common(1)[0][0], LANES)]
    stuck = {name: stuck_bits(*pair) for name, pair in wrong.items()}
    common = _common(stuck)
    if common:
        return [Finding(f"data {stuck_text(common) or name_bits(common.others) + ' unreliable'} in {len(wrong)} registers", DATA)]
    findings = []
    for name, (written, read) in wrong.items():
        count = int((written != read).sum())
        text = stuck_text(stuck[name]) or f"{count} of {written.size} patterns wrong"
        rare = count < written.size // 8 and not stuck_text(stuck[name])
        findings.append(Finding(f"{name}: {text}", SELDOM if rare else STORAGE))
    return findings


def _common(stuck: dict[str, Stuck]) -> Stuck | None:
    """The few bits of the 32-bit bus that are wrong, in several registers and no other bit."""
    folded = [Stuck(*(bits & 0xFFFFFFFF | bits >> 32 for bits in each)) for each in stuck.values()]
    if len(folded) < COMMON:
        return None
    every = Stuck(*(np.bitwise_or.reduce([bits[i] for bits in folded]).item() for i in range(3)))
    return every if (every.at_0 | every.at_1 | every.others).bit_count() <= FEW_BITS else None


def _lanes(written: NDArray[np.uint64], read: NDArray[np.uint64]) -> str:
    """Over the low words, whose patterns tell lanes apart."""
    one, other = ((values & np.uint64(0xFFFFFFFF)).astype("<u4").view(np.uint8).reshape(-1, 4) for values in (written, read))
    return lane_order(one, other)


# ---- address lines -------------------------------------------------------------------------------------------------
def address_lines(bench: Bench) -> None:
    """A value of its own into every plain register, then all are read back: two that answer as one share an address."""
    saved = bench.device.read_registers(NAMES)
    own = {r.name: (0x9E3779B97F4A7C15 * (r.offset + 1)) & mask(r) for r in PLAIN}
    try:
        batch = Batch()
        for register in PLAIN:
            bench.device.append_write(batch, register.name, own[register.name])
        slots = {r.name: _read(batch, r) for r in PLAIN}
        words = bench.mmio.run(batch).words
        read = {r.name: int(_values(words, [slots[r.name]], r)[0]) for r in PLAIN}
    finally:
        _restore(bench, saved)
    owner = defaultdict(list)
    for name, value in own.items():
        owner[value].append(name)
    findings = []
    for name, value in read.items():
        if value == own[name]:
            continue
        others = [other for other in owner.get(value, ()) if other != name]
        if not others:
            findings.append(Finding(f"{name} reads {value:#x} after {own[name]:#x} was written", f"{STORAGE}; {DATA}"))
            continue
        bits = address_bits([REGISTERS[name].offset], [REGISTERS[others[0]].offset])
        findings.append(Finding(f"{name} shows what was written to {others[0]}" + (f": {bits}" if bits else ""), ADDRESS))
    bench.conclude("address lines", f"{len(PLAIN)} registers hold values of their own", findings)


# ---- tearing -------------------------------------------------------------------------------------------------------
def tearing(bench: Bench) -> None:
    """R1: a low word alone changes nothing, the high word commits; reading the low word latches the high one."""
    mmio, saved = bench.mmio, bench.device.read_registers(NAMES)
    old, new = 0x1111111122222222, 0xAAAAAAAABBBBBBBB
    registers = [r for r in PLAIN if r.width == 64]
    findings = []
    look = "the register block (buffer_writes, buffer_reads), or a bridge that merges or reorders accesses"
    try:
        for register in registers:
            mmio.write64(register.offset, old)
            mmio.write32(register.offset, new & 0xFFFFFFFF)
            if mmio.read64(register.offset) != old:
                findings.append(Finding(f"{register.name}: its low word took effect without the high word", look))
            mmio.write32(register.offset + 4, new >> 32)
            low = mmio.read32(register.offset)
            if low != new & 0xFFFFFFFF:
                findings.append(Finding(f"{register.name}: writing the high word did not commit both", look))
            mmio.write64(register.offset, old)
            if mmio.read32(register.offset + 4) != new >> 32:
                findings.append(Finding(f"{register.name}: reading the low word does not latch the high one", look))
    finally:
        _restore(bench, saved)
    bench.conclude("64-bit tearing", f"{len(registers)} registers keep R1", findings)


# ---- refusals ------------------------------------------------------------------------------------------------------
def refusals(bench: Bench) -> None:
    """R2: what is not there answers with a bus error, which ERROR keeps until 1 is written to it."""
    entries, findings, not_sent = bench.device.entries, [], 0
    behind = [BAR2_ENTRIES + 32 * entries, BAR2_VAS + 8 * entries] if entries < 65536 else []
    cases = [(offset, BusErrorCode.UNMAPPED) for offset in (*UNMAPPED, *behind)]
    cases += [(DEVICE_ID + byte, BusErrorCode.MISALIGNED) for byte in (1, 2, 3)]
    cases += [(BAR2_ENTRIES + 2, BusErrorCode.MISALIGNED)]
    for offset, code in cases:
        for is_write in (False, True):
            clear_errors(bench)
            what = f"{KIND[code]} {'write to' if is_write else 'read of'} {offset:#x}"
            try:
                if is_write:
                    bench.mmio.write32(offset, 0)
                else:
                    value = bench.mmio.read32(offset)
                findings.append(Finding(f"{what} was answered" + ("" if is_write else f" with {value:#x}"), DROPPED))
            except BusError as error:
                if NOT_SENT in error.message:
                    not_sent += 1
                else:
                    findings += _recorded(bench, what, offset, code)
    clear_errors(bench)
    if bench.mmio.read32(ERROR):
        findings.append(Finding(f"ERROR reads {bench.mmio.read32(ERROR):#x} after 1 was written to its bits", STORAGE))
    text = f"{2 * len(cases) - not_sent} accesses answered with a bus error"
    bench.conclude("bus errors", text + (f", {not_sent} that this target cannot send" if not_sent else ""), findings)


def _recorded(bench: Bench, what: str, offset: int, code: BusErrorCode) -> list[Finding]:
    """ERROR and ERROR_OFFSET after a bus error."""
    error, where = bench.mmio.read_burst(ERROR, 2).tolist()
    bus, field = error >> ERROR_FIELDS["bus"].low & 1, ERROR_FIELDS["code"]
    seen = error >> field.low & (1 << field.width) - 1
    if not bus:
        return [Finding(f"{what} did not reach the device: ERROR is clear", f"something before the device answered; {ADDRESS}")]
    if (seen, where) != (code, offset):
        return [Finding(f"{what} was recorded as code {seen} at {where:#x}", ADDRESS)]
    return []


def clear_errors(bench: Bench) -> None:
    bench.mmio.write32(ERROR, 1 << ERROR_FIELDS["bus"].low | 1 << ERROR_FIELDS["dma"].low)


# ---- plain registers -----------------------------------------------------------------------------------------------
def _read(batch: Batch, register: Register) -> int:
    return (batch.read64 if register.width == 64 else batch.read)(register.offset)


def _values(words: NDArray[np.uint32], slots: list[int], register: Register) -> NDArray[np.uint64]:
    places = np.array(slots)
    values: NDArray[np.uint64] = words[places].astype(np.uint64)
    if register.width == 64:
        values |= words[places + 1].astype(np.uint64) << np.uint64(32)
    return values


def _restore(bench: Bench, saved: dict[str, int]) -> None:
    batch = Batch()
    for register in PLAIN:
        bench.device.append_write(batch, register.name, saved[register.name])
    bench.mmio.run(batch)
