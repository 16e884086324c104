"""What a host sees of registers beside commands, on a simulation: refusals, full FIFO, reset (R2, R4, R5, R41), interrupt,
and what SCOREs show that a command of the lockstep never sees (R32, R34).

Each function takes a fresh device and raises TargetError at the first thing that is not as the contract has it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kvfpga.contract.commands import Command, Evict, Load, Lookup, Score, Set, Step, Unload
from kvfpga.contract.errors import BusError, TargetError
from kvfpga.device.answers import EXPS, HALVES, LARGEST, RESULT_WORDS
from kvfpga.device.codec import writes
from kvfpga.device.device import Device
from kvfpga.device.entries import decode_entries
from kvfpga.device.registers import SCORE_BYTES
from kvfpga.device.regmap import REGISTERS, SCORES
from kvfpga.transport.mmio import Batch
from tests.helpers.key_collisions import SLOTS, WAYS, colliding

DOORBELLS = 40
"""More than the FIFO and the engine take while one pass runs."""
LOOKS = 400
"""Reads of a register that take longer than three SCOREs."""


def refusals(device: Device) -> None:
    """An access that is refused says so, sets a sticky bit, and the first of several is remembered until somebody clears it."""
    mmio, version = device.mmio, REGISTERS["VERSION"].offset
    unmapped, aside = 0xF000, REGISTERS["SCRATCH"].offset + 2
    for first, later in ((unmapped, version), (version, aside), (aside, unmapped)):
        expect("ERROR before any refusal", _errors(device), (0, 0))
        expect(f"the offset of the first refusal, {first:#x}", _refused(device, first), first)
        code = _field(device, "code")
        _refused(device, later)
        expect("the first offset, behind a second refusal", _errors(device), (1, first))
        expect("the first code, behind a second refusal", _field(device, "code"), code)
        mmio.write32(REGISTERS["ERROR"].offset, 1)


def full_fifo(device: Device) -> None:
    """A doorbell that finds the FIFO full is refused, and all others' commands run."""
    _load(device, device.entries)
    batch, accepted = Batch(), DOORBELLS
    for step in range(1, DOORBELLS + 1):
        batch.write(REGISTERS["STEP_FAST"].offset, step)
    try:
        device.mmio.run(batch)
    except BusError as error:
        accepted = error.position or 0
    device.mmio.wait_idle()
    expect("commands that ran", device.telemetry()["step_count"], accepted)
    expect("whether a full FIFO refuses", accepted < DOORBELLS, True)
    expect("its sticky error", _errors(device), (1, REGISTERS["STEP_FAST"].offset))


def cycles(device: Device) -> None:
    """RESULT_CYCLES is how long a command took (R5): a STEP that moves nothing a cycle a row and a few, a SCORE as long beside
    another one as alone."""
    device.execute_many([Set("EVICT_THRESH", 0), Set("PREFETCH_THRESH", 0xFFFF)])
    _load(device, device.entries)
    rows = device.entries // device.identity.lanes
    for step in (1, 2, 3):
        (taken,) = _cycles_of(device, Step(step))
        expect(f"whether STEP {step} over {rows} rows takes {taken} cycles", rows <= taken < 2 * rows, True)
    (alone,) = _cycles_of(device, Score(1, 0, 0, 0, slot=0))
    first, second = _cycles_of(device, Score(1, 0, 0, 0, slot=0), Score(1, 0, 0, 32, slot=0))
    expect("cycles of a SCORE in front of another one", first, alone)
    expect(f"whether one behind it takes more than {alone} cycles", second > alone, True)


def lookups_behind_an_overflow(device: Device) -> None:
    """Once the only key that the index had no room for is freed, a key that is not there costs no pass again (R12)."""
    keys = colliding(device.entries, WAYS * SLOTS + 1, 0x2345)
    absent = Lookup(*keys[-1])
    (before,) = _cycles_of(device, absent)
    for n, (request, layer, head, start) in enumerate(keys):
        device.execute_many([Load(request, layer, head, start, start + 31, 0x1000000 + n * device.block_bytes)])
    device.execute_many([Unload(0x1000000 + WAYS * SLOTS * device.block_bytes, device.block_bytes)])
    (behind,) = _cycles_of(device, absent)
    expect("cycles of a LOOKUP behind an overflow", behind, before)


def _cycles_of(device: Device, *commands: Command) -> list[int]:
    """Of commands that are rung one behind the other."""
    batch = Batch()
    for command in commands:
        device.append_command(batch, command)
    batch.wait_idle()
    for _ in commands:
        batch.burst(REGISTERS["RESULT_STATUS"].offset, RESULT_WORDS)
    return device.mmio.run(batch).words[RESULT_WORDS - 1 :: RESULT_WORDS].tolist()


def reset(device: Device) -> None:
    """SCRATCH is zero behind a reset, which is how a host knows of one."""
    device.mmio.write32(REGISTERS["SCRATCH"].offset, 0xA5C3_3C5A)
    expect("SCRATCH", device.mmio.read32(REGISTERS["SCRATCH"].offset), 0xA5C3_3C5A)
    device.soft_reset()
    expect("SCRATCH behind a reset", device.mmio.read32(REGISTERS["SCRATCH"].offset), 0)


def hint_of_a_reset(device: Device) -> None:
    """TOUCH_HINT is 0 behind a reset (R41): a LOAD, rung before anybody writes it, gives a block without class and order."""
    batch = Batch()
    batch.write(REGISTERS["TOUCH_HINT"].offset, 0x1FFFF)
    device.mmio.run(batch)
    device.soft_reset()
    batch = Batch()
    for name, value in writes(Load(1, 0, 0, 0, 31, 0x1000000)):
        if name != "TOUCH_HINT":
            device.append_write(batch, name, value)
    batch.wait_idle()
    device.mmio.run(batch)
    entry = decode_entries(device.read_entries(0, 1)[0])
    expect("valid, class and order of the block", [int(entry[name][0]) for name in ("valid", "class", "order")], [1, 0, 0])


def interrupt(device: Device) -> None:
    """STATUS.irq stands for what is there and asked for by IRQ_ENABLE, and for nothing else."""
    device.execute_many([Load(1, 0, 0, 0, 31, 0x1000000)])
    _expect_interrupt(device, "nothing")
    _ring(device, Lookup(1, 0, 0, 0))
    _expect_interrupt(device, "result")
    device.mmio.read_burst(REGISTERS["RESULT_STATUS"].offset, RESULT_WORDS)
    _ring(device, Evict(0x1000000, device.block_bytes))
    device.mmio.read_burst(REGISTERS["RESULT_STATUS"].offset, RESULT_WORDS)
    _expect_interrupt(device, "completion")
    batch = Batch()
    batch.drain(REGISTERS["COMPLETION"].offset)
    device.mmio.run(batch)
    _refused(device, 0xF000)
    _expect_interrupt(device, "error")


def unasked_numerators(device: Device) -> None:
    """The window shows no numerators, largest score or sum of a SCORE whose flag did not ask for them (R32)."""
    device.execute_many([Load(1, 0, 0, 0, 31, 0x1000000)])
    _ring(device, Score(1, 0, 0, 0, slot=0))
    for offset, words in ((EXPS, device.identity.block_tokens), (LARGEST, 2)):
        shown = device.mmio.read_burst(SCORES + offset, words).tolist()
        expect(f"SCORES from {offset:#x} on, not asked for", shown, [0] * words)


def window_of_scores(device: Device) -> None:
    """Behind a SCORE that asked for all, the window shows what D33 has in it, each part to its end, and zeros elsewhere."""
    rows, ones = device.identity.block_tokens, np.ones(device.identity.head_dim, np.float16)
    device.mmio.memory_write(device.entries * device.block_bytes, ones.tobytes() * rows)  # block 0 in tier 1
    device.write_queries(0, ones.view(np.uint16))
    device.execute_many([Load(1, 0, 0, 0, rows - 1, 0x1000000)])
    _ring(device, Score(1, 0, 0, 0, slot=0, flags=1))
    shown = np.flatnonzero(device.mmio.read_burst(SCORES, SCORE_BYTES // 4)) * 4
    parts = ((0, rows), (EXPS, rows), (HALVES, rows // 2), (LARGEST, 2))
    expect("offsets in SCORES that are not 0", shown.tolist(), [part + 4 * n for part, words in parts for n in range(words)])


def behind_scores(device: Device) -> None:
    """A STEP does nothing until the SCOREs in front of it are done (R34)."""
    _load(device, 2)
    batch = Batch()
    for command in (Score(1, 0, 0, 0, slot=0), Score(1, 0, 0, 32, slot=0), Step(7)):
        device.append_command(batch, command)
    device.mmio.run(batch)
    looks = 0
    while True:
        step = device.mmio.read32(REGISTERS["T_CURRENT_STEP"].offset)
        if device.mmio.read32(REGISTERS["T_BLOCKS_SCORED"].offset) == 2:
            break
        expect("the step while a SCORE in front of it is under way", step, 0)
        looks += 1
    expect("whether it was looked at meanwhile", looks > 0, True)
    device.mmio.wait_idle()
    expect("the step at last", device.mmio.read32(REGISTERS["T_CURRENT_STEP"].offset), 7)


def scores_that_nobody_takes(device: Device) -> None:
    """Two SCOREs keep their numbers until their results are taken, and a third one waits for that (R34)."""
    rows, dim = device.identity.block_tokens, device.identity.head_dim
    device.write_queries(0, np.ones(dim, np.float16).view(np.uint16))
    for n in range(3):
        key = np.full(rows * dim, n + 1, np.float16)
        device.mmio.memory_write((device.entries + n) * device.block_bytes, key.tobytes())  # block n in tier 1
    _load(device, 3)
    batch, scored = Batch(), REGISTERS["T_BLOCKS_SCORED"].offset
    for n in range(3):
        device.append_command(batch, Score(1, 0, 0, 32 * n, slot=0))
    device.mmio.run(batch)
    found = [device.mmio.read32(scored) for _ in range(LOOKS)]
    expect("blocks scored at last, while nobody takes a result", found[-1], 2)
    shown = []
    for n in range(3):
        while device.mmio.read32(scored) < min(n + 2, 3):
            pass
        shown.append(device.mmio.read_burst(SCORES, 1).view(np.float32)[0])
        device.mmio.read_burst(REGISTERS["RESULT_STATUS"].offset, RESULT_WORDS)
    expect("scores of keys of 1, 2 and 3", shown, [shown[0], 2 * shown[0], 3 * shown[0]])


CHECKS: tuple[Callable[[Device], None], ...] = (
    refusals, full_fifo, cycles, reset, hint_of_a_reset, interrupt, unasked_numerators, window_of_scores,
    behind_scores, scores_that_nobody_takes, lookups_behind_an_overflow,
)  # fmt: skip


def expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise TargetError(f"{what}: {found}, expected {expected}")


def _load(device: Device, count: int) -> None:
    """As many blocks of request 1, one behind the other from its first token on."""
    device.execute_many([Load(1, 0, 0, 32 * n, 32 * n + 31, 0x1000000 + n * device.block_bytes) for n in range(count)])


def _refused(device: Device, offset: int) -> int:
    """Access `offset` in a way that is refused: a write where there is a register, else a read. ERROR_OFFSET."""
    try:
        if offset == REGISTERS["VERSION"].offset:
            device.mmio.write32(offset, 1)
        else:
            device.mmio.read32(offset)
    except BusError:
        return device.mmio.read32(REGISTERS["ERROR_OFFSET"].offset)
    raise TargetError(f"an access to {offset:#x} was not refused")


def _ring(device: Device, command: Command) -> None:
    """A command whose result nobody takes."""
    batch = Batch()
    device.append_command(batch, command)
    batch.wait_idle()
    device.mmio.run(batch)


def _expect_interrupt(device: Device, there: str) -> None:
    """`there`: the field of IRQ_ENABLE for what there is, and only that."""
    enable, status = REGISTERS["IRQ_ENABLE"], REGISTERS["STATUS"]
    for name, field in enable.fields.items():
        for asked in (1 << field.low, 7 ^ 1 << field.low, 0):
            device.mmio.write32(enable.offset, asked)
            wanted = there != "nothing" and bool(asked >> enable.fields[there].low & 1)
            found = device.mmio.read32(status.offset) >> status.fields["irq"].low & 1
            expect(f"STATUS.irq with IRQ_ENABLE={asked:#x} and {there} there ({name})", found, int(wanted))
    device.mmio.write32(enable.offset, 0)


def _errors(device: Device) -> tuple[int, int]:
    """(ERROR.bus, ERROR_OFFSET)"""
    return _field(device, "bus"), device.mmio.read32(REGISTERS["ERROR_OFFSET"].offset)


def _field(device: Device, name: str) -> int:
    field = REGISTERS["ERROR"].fields[name]
    return device.mmio.read32(REGISTERS["ERROR"].offset) >> field.low & (1 << field.width) - 1
