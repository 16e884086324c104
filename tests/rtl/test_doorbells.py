"""The page of doorbells in the RTL: STEP for user space, beside a driver that does not know of it (decision D35)."""

from __future__ import annotations

import pytest

from kvfpga.contract.commands import Load
from kvfpga.contract.errors import BusError
from kvfpga.device.codec import bits
from kvfpga.device.device import Device
from kvfpga.device.regmap import DOORBELLS, REGISTERS, BusErrorCode, Opcode
from kvfpga.transport.mmio import Batch
from kvfpga.transport.sim.verilated import VerilatorSim
from tests.helpers.small_device import DATA_BITS, ENTRIES, LANES

RESULT, TAKE, STEP, WIDE_STEP, ERROR = (
    REGISTERS[name].offset for name in ("RESULT_STATUS", "RESULT_CYCLES", "STEP_FAST", "STEP_ADVANCE", "ERROR")
)
RING, RING_FAST = REGISTERS["RING_STEP"].offset, REGISTERS["RING_STEP_FAST"].offset
FIELDS = REGISTERS["RESULT_STATUS"].fields


@pytest.fixture
def sim():
    with VerilatorSim(ENTRIES, LANES, DATA_BITS) as sim:
        yield sim


def results(sim) -> list[tuple[int, int, int]]:
    """(opcode, code, rung) of all that wait."""
    sim.wait_idle()
    found = []
    while bits(status := sim.read32(RESULT), FIELDS["valid"]):
        found.append((bits(status, FIELDS["opcode"]), bits(status, FIELDS["code"]), bits(status, FIELDS["rung"])))
        sim.read32(TAKE)
    return found


def fill(sim) -> None:
    """So that a STEP takes much longer than a write."""
    Device(sim).execute_many([Load(1, 0, 0, 32 * i, 32 * i + 31, 16384 * i) for i in range(ENTRIES)])


def step_of(sim) -> int:
    return sim.read64(REGISTERS["T_CURRENT_STEP"].offset)


def ring(sim, count: int, first: int = 1) -> int:
    """How many of so many rings behind each other, in one go, the device takes."""
    batch = Batch()
    for step in range(first, first + count):
        batch.write(RING_FAST, step)
    try:
        sim.run(batch)
    except BusError as error:
        assert error.offset == RING_FAST
        assert bits(sim.read32(ERROR), REGISTERS["ERROR"].fields["code"]) == BusErrorCode.FIFO_FULL
        sim.write32(ERROR, 1)
        return error.position
    return count


def test_both_aliases_step_and_their_results_say_so(sim):
    sim.write64(RING, 5)
    assert results(sim) == [(Opcode.STEP, 0, 1)] and step_of(sim) == 5
    sim.write32(RING_FAST, 9)
    assert results(sim) == [(Opcode.STEP, 0, 1)] and step_of(sim) == 9
    sim.write32(STEP, 10)
    sim.write64(WIDE_STEP, 11)
    assert results(sim) == [(Opcode.STEP, 0, 0)] * 2 and step_of(sim) == 11


@pytest.mark.parametrize("step", [3, 1 << 32])
def test_a_ring_is_refused_as_any_step_is(sim, step):
    sim.write32(STEP, 4)
    sim.write64(RING, step)
    assert [(code != 0, rung) for _, code, rung in results(sim)] == [(False, 0), (True, 1)]
    assert step_of(sim) == 4


def test_the_page_reads_as_zero_and_has_nothing_else(sim):
    sim.write64(RING, (1 << 33) | 1)
    sim.write32(RING_FAST, 7)
    assert sim.read_burst(DOORBELLS.start, 1024).tolist() == [0] * 1024
    for offset in DOORBELLS[::4]:
        if offset not in (RING, RING + 4, RING_FAST):
            with pytest.raises(BusError):
                sim.write32(offset, 1)
    for offset in (DOORBELLS.start + 2, RING + 1):
        with pytest.raises(BusError):
            sim.read32(offset)
    results(sim)
    assert step_of(sim) == 7 and sim.read32(REGISTERS["CTRL"].offset) == 4
    assert sim.read32(REGISTERS["CAP_DOORBELLS"].offset) == DOORBELLS.start


def test_halves_of_a_ring_and_of_a_drivers_step_do_not_meet(sim):
    """R1, of two who write at the same time: each high word commits its own low word."""
    sim.write32(WIDE_STEP, 20)
    sim.write32(RING, 30)
    sim.write32(WIDE_STEP + 4, 0)
    results(sim)
    assert step_of(sim) == 20
    sim.write32(RING + 4, 0)
    results(sim)
    assert step_of(sim) == 30


def test_rings_leave_half_of_the_queue_to_the_driver(sim):
    fill(sim)
    taken = ring(sim, 40)
    assert 8 <= taken < 12  # some may have run meanwhile
    batch = Batch()
    for step in range(8):
        batch.write(STEP, 100 + step)
    sim.run(batch)
    found = results(sim)
    assert found == [(Opcode.STEP, 0, 1)] * taken + [(Opcode.STEP, 0, 0)] * 8


def test_a_drivers_commands_in_the_lower_half_keep_rings_out(sim):
    fill(sim)
    batch = Batch()
    for step in range(12):
        batch.write(STEP, step)
    batch.write(RING_FAST, 50)
    with pytest.raises(BusError) as caught:
        sim.run(batch)
    assert caught.value.position == 12
    assert results(sim) == [(Opcode.STEP, 0, 0)] * 12 and step_of(sim) == 11


def test_rings_stop_while_results_wait(sim):
    """So that the queue of 32 never drops one of a driver's."""
    for step in range(1, 9):
        sim.write32(RING_FAST, step)
        sim.wait_idle()
    assert ring(sim, 1, 9) == 0
    sim.write32(STEP, 10)
    sim.wait_idle()
    assert sim.read64(REGISTERS["T_RESULTS_LOST"].offset) == 0
    assert results(sim) == [(Opcode.STEP, 0, 1)] * 8 + [(Opcode.STEP, 0, 0)]
    assert ring(sim, 1, 11) == 1


def test_the_query_buffer_of_the_largest_keys_has_the_pages_place():
    with VerilatorSim(ENTRIES, LANES, DATA_BITS, block_tokens=32, head_dim=256, nmce=True) as sim:
        assert sim.read32(REGISTERS["CAP_DOORBELLS"].offset) == 0
        sim.write32(RING_FAST, 0x3C00)
        assert sim.read32(RING_FAST) == 0x3C00
        sim.wait_idle()
        assert sim.read64(REGISTERS["T_STEP_COUNT"].offset) == 0
