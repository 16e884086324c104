"""The bring-up on the small simulator, sound and with one fault at a time: each fault must fail in its row, with its hint.

A fault is a wrapper around the simulator that spoils accesses as broken hardware would.
"""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from kvfpga import bringup
from kvfpga.bringup import Options, memory
from kvfpga.bringup.diagnosis import address_of, pattern
from kvfpga.contract.commands import Load
from kvfpga.contract.errors import BusError, TargetError, UsageError
from kvfpga.device.device import Device
from kvfpga.device.regmap import BAR2_ENTRIES, BAR2_VAS, DEVICE_ID, REGISTERS
from kvfpga.transport.mmio import Batch, Mmio, Op, OpKind
from tests.helpers.small_device import LEAST

ENTRIES, BLOCK_BYTES = 256, 16384
WINDOW = ENTRIES * BLOCK_BYTES
QUICK = Options(memory_bytes=1 << 17, link_words=2000)
WITHOUT_SPEED = Options(memory_bytes=1 << 17, link_words=2000, skip=("speed",))
SCRATCH, ERROR = REGISTERS["SCRATCH"].offset, REGISTERS["ERROR"].offset


class Board(Mmio):
    """A sound board. What a fault changes: `seen` (what a read shows), `sent` (what a write carries; None: it vanishes),
    `read32`/`write32` (single accesses), `memory_read`, `memory_write`, `place` (where an address leads)."""

    name = "board"

    def __init__(self, sim):
        self.sim = sim
        sim.reset()

    def seen(self, offset: int, word: int) -> int:
        return word

    def sent(self, offset: int, value: int) -> int | None:
        return value

    def place(self, addr: int) -> int:
        return addr

    # ---- registers -----------------------------------------------------------------------------------------------
    def read32(self, offset):
        return self.seen(offset, self.sim.read32(offset))

    def write32(self, offset, value):
        value = self.sent(offset, value)
        if value is not None:
            self.sim.write32(offset, value)

    def read_burst(self, offset, words):
        batch = Batch()
        batch.burst(offset, words)
        return self.run(batch).words

    def run(self, batch):
        passed, offsets = Batch(), []
        for op in batch:
            match op.kind:
                case OpKind.READ:
                    offsets += range(op.offset, op.offset + 4 * op.value, 4)
                case OpKind.WRITE | OpKind.WRITE64:
                    low = self.sent(op.offset, op.value)
                    high = self.sent(op.offset + 4, op.high) if op.kind == OpKind.WRITE64 else 0
                    if low is None or high is None:
                        continue
                    op = Op(op.kind, op.offset, low, high)
            passed.append(op)
        words, records = self.sim.run(passed)
        seen = [self.seen(offset, word) for offset, word in zip(offsets, words.tolist())]
        return type(self.sim.run(Batch()))(np.array(seen, np.uint32), records)

    def wait_idle(self, budget=None):
        return self.sim.wait_idle(budget)

    # ---- memory --------------------------------------------------------------------------------------------------
    def memory_read(self, addr, size):
        return self.sim.memory_read(self.place(addr), size)

    def memory_write(self, addr, data):
        self.sim.memory_write(self.place(addr), data)

    def close(self):
        pass


@pytest.fixture(scope="module")
def sim(small_sim):
    """Memory is left as the test before left it, as a board's would be."""
    return small_sim[0]


def failing(report) -> dict[str, tuple[str, str]]:
    """"step/check" of the failed rows: (found, look at)."""
    assert all(row.look_at for row in report.failed), "every failed row has a hint"
    return {f"{row.step}/{row.name}": (row.detail, row.look_at) for row in report.failed}


def only(report, name: str) -> tuple[str, str]:
    """The one row that failed."""
    found = failing(report)
    assert list(found) == [name]
    return found[name]


# ---- a sound board -------------------------------------------------------------------------------------------------
def test_a_sound_board_passes_and_is_left_reset(sim):
    board = Board(sim)
    ticks = []
    report = bringup.run(board, QUICK, sim.build_id, lambda *tick: ticks.append(tick))
    assert report.ok and report.exit_code == 0, failing(report)
    assert {row.step for row in report.rows} == set(bringup.STEPS)
    assert {row.verdict for row in report.rows} == {"pass"}
    assert {text for _, _, text in ticks} > set(bringup.STEPS)
    device = Device(sim)
    assert device.telemetry()["step_count"] == device.telemetry()["valid_entries"] == 0
    assert sim.read32(SCRATCH) == sim.read32(ERROR) == 0


def test_figures_of_a_sound_board(sim):
    report = bringup.run(Board(sim), QUICK)
    figures = {f"{row.step}/{row.name}": row.figures for row in report.rows}
    assert figures["memory/march, tier 3"] == {"bytes": 1 << 17, "wrong_words": 0}
    assert figures["directory/march, complement"] == {"entries": ENTRIES}
    link = figures["link/error rate"]
    assert link["words"] >= 2000 and link["errors"] == 0 and link["error_rate_bound"] == 3 / link["words"]
    assert figures["commands/lockstep"]["refusals"] >= 30 and figures["commands/lockstep"]["differences"] == 0
    assert figures["speed/step to trigger"]["cycles"] == sim_step_to_trigger(sim)
    assert 1 < figures["speed/DMA"]["bytes_per_cycle"] <= 2 * 128 / 8
    for name in ("register read", "register write", "checked step"):
        assert figures[f"speed/{name}"]["median_seconds"] > 0
    lockstep = next(row for row in report.rows if row.step == "commands").detail
    assert "refused with 8 codes" in lockstep, "all that these commands can answer with"


def sim_step_to_trigger(sim) -> int:
    from kvfpga.contract.commands import Step

    device = Device(sim)
    device.soft_reset()
    device.execute(Load(1, 0, 0, 0, 31, 0x1000))
    device.execute(Step(1))
    return device.telemetry()["step_to_trigger_cycles"]


def test_cycles_are_times_where_the_clock_is_known(sim):
    class Uart(Board):
        bridge = SimpleNamespace(clock_hz=50_000_000)

    report = bringup.run(Uart(sim), Options(only=("speed",)))
    row = next(row for row in report.rows if row.name == "step to trigger")
    assert row.detail == f"{row.figures['cycles']} cycles ({row.figures['cycles'] * 20} ns at 50 MHz)"
    assert "MB/s" in report.rows[-1].detail


def test_what_is_not_wanted_is_left_alone(sim):
    board = Board(sim)
    sim.write32(SCRATCH, 0x1234)
    sim.write64(REGISTERS["LOAD_VA"].offset, 0x5678_0000_9ABC)
    Device(sim).execute(Load(1, 0, 0, 0, 31, 0x1000))
    report = bringup.run(board, Options(only=("registers", "link"), link_words=500))
    assert report.ok and [row.step for row in report.rows if row.step not in ("registers", "link")] == ["identity"] * 4
    assert sim.read32(SCRATCH) == 0x1234 and Device(sim).telemetry()["valid_entries"] == 1
    assert sim.read64(REGISTERS["LOAD_VA"].offset) == 0x1000, "as the LOAD left it"


def test_blocks_in_the_directory_are_not_destroyed_unless_forced(sim):
    board = Board(sim)
    Device(sim).execute(Load(1, 0, 0, 0, 31, 0x1000))
    with pytest.raises(UsageError, match="holds 1 block,") as caught:
        bringup.run(board, QUICK)
    assert "--force" in caught.value.remedy
    assert [row.step for row in caught.value.partial.rows] == ["identity"] * 4
    assert Device(sim).telemetry()["valid_entries"] == 1
    assert bringup.run(board, Options(force=True, only=("directory",), directory_entries=4)).ok
    assert Device(sim).telemetry()["valid_entries"] == 0


def test_a_march_over_nothing_is_refused(sim):
    with pytest.raises(UsageError, match="a directory march over 0 entries"):
        bringup.run(Board(sim), Options(only=("directory",), directory_entries=0))


def test_tiers_stay_where_the_board_has_them(sim):
    board = Board(sim)
    bases = [0x1_0000_0000 * (4 - tier) for tier in range(4)]
    report = bringup.run(board, Options(tier_bases=bases, memory_bytes=1 << 16, only=("memory", "commands", "directory")))
    assert report.ok, failing(report)
    assert [Device(sim).settings()[f"TIER_BASE{tier}"] for tier in range(4)] == bases
    assert bringup.run(board, Options(only=("directory",), directory_entries=4)).ok
    assert [Device(sim).settings()[f"TIER_BASE{tier}"] for tier in range(4)] == bases, "found there, so kept"
    sim.reset()


def test_small_blocks(tmp_path):
    """As the bring-up build of a UART board has them, with memory that ends behind tier 3."""
    from kvfpga.transport.sim.verilated import VerilatorSim

    with VerilatorSim(**LEAST) as small:
        small.memory_limit(4 * 256 * 256 - 1)
        report = bringup.run(small, Options(), small.build_id)
    assert report.ok, failing(report)
    marches = [row.detail for row in report.rows if row.name.startswith("march, tier")]
    assert len(marches) == 4 and all(text.startswith("all 65,536 bytes") for text in marches)


def test_a_step_that_does_not_exist(sim):
    with pytest.raises(UsageError, match="ballroom") as caught:
        bringup.run(Board(sim), Options(only=("ballroom",)))
    assert "directory" in caught.value.remedy


# ---- identity ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ([0xFFFFFFFF] * 5, "dead link"),
        ([0] * 5, "clock or reset"),
        ([0x5043564B, 1, 2, 3, 4], "reverse order"),
        ([0x564B4350, 1, 2, 3, 4], "byte lanes are exchanged"),
        ([1, 2, DEVICE_ID, 3, 4], "BAR offset: DEVICE_ID is 8 bytes further on"),
        ([0x12345678, 1, 2, 3, 4], "bitstream"),
    ],
)
def test_wrong_device_id(sim, words, hint):
    class Wrong(Board):
        def seen(self, offset, word):
            return dict(zip(range(0x40, 0x54, 4), words)).get(offset, word)

    report = bringup.run(Wrong(sim), QUICK)
    detail, look_at = only(report, "identity/device")
    assert hint in look_at and f"{words[0]:#010x}" in detail
    skipped = [row for row in report.rows if row.verdict == "skipped"]
    assert [row.step for row in skipped] == list(bringup.STEPS)[1:]
    assert all("identity" in row.detail for row in skipped) and report.exit_code == 3


def test_another_register_map(sim):
    class Older(Board):
        def seen(self, offset, word):
            return word ^ 1 if offset == REGISTERS["REGMAP_HASH"].offset else word

    assert "bitstream" in only(bringup.run(Older(sim), QUICK), "identity/register map")[1]


def test_wrong_build_id_is_told_and_the_rest_goes_on(sim):
    report = bringup.run(Board(sim), WITHOUT_SPEED, expected_build_id=0x1234)
    detail, look_at = only(report, "identity/build")
    assert f"{sim.build_id:#018x}" in detail and "0x0000000000001234" in detail and "bitstream" in look_at
    assert not [row for row in report.rows if row.verdict == "skipped"]


@pytest.mark.parametrize(("name", "value"), [("CAP_ENTRIES", 300), ("CAP_BLOCK_BYTES", 4096), ("CAP_LANES", 0)])
def test_implausible_capabilities(sim, name, value):
    class Odd(Board):
        def seen(self, offset, word):
            return value if offset == REGISTERS[name].offset else word

    detail, look_at = only(bringup.run(Odd(sim), QUICK), "identity/capabilities")
    assert str(value) in detail and "bitstream" in look_at


def test_nothing_answers(sim):
    class Nobody(Board):
        def run(self, batch):
            raise BusError(0x40, False)

    assert "BAR offset" in only(bringup.run(Nobody(sim), QUICK), "identity/device")[1]


# ---- registers -----------------------------------------------------------------------------------------------------
REGISTERS_ONLY = Options(only=("registers",))


def test_a_stuck_bit_of_one_register(sim):
    class Stuck(Board):
        def seen(self, offset, word):
            return word & ~(1 << 5) if offset == SCRATCH else word

    found = failing(bringup.run(Stuck(sim), REGISTERS_ONLY))
    detail, look_at = found["registers/read and write"]
    assert detail == "SCRATCH: bit 5 stuck at 0" and "register block" in look_at


def test_a_stuck_data_line(sim):
    class Stuck(Board):
        def sent(self, offset, value):
            return value | 1 << 7 if offset != ERROR else value

    detail, look_at = failing(bringup.run(Stuck(sim), REGISTERS_ONLY))["registers/read and write"]
    assert "data bit 7 stuck at 1 in 21 registers" in detail and "data lines" in look_at  # IRQ_ENABLE has no bit 7


def test_exchanged_byte_lanes_of_the_register_bus(sim):
    class Swapped(Board):
        def sent(self, offset, value):
            return int.from_bytes(np.frombuffer(value.to_bytes(4, "little"), np.uint8)[[0, 2, 1, 3]].tobytes(), "little")

    detail, look_at = failing(bringup.run(Swapped(sim), REGISTERS_ONLY))["registers/read and write"]
    assert "lane 1 carries 2, 2 carries 1" in detail and "byte lanes" in look_at


def test_an_aliasing_address_line_of_the_register_bus(sim):
    class Alias(Board):
        """BOOST_ADDR answers as PREFETCH_ADDR."""

        def run(self, batch):
            through = Batch()
            for op in batch:
                through.append(op._replace(offset=op.offset | 0x100 if op.offset == 0x200 else op.offset))
            return super().run(through)

    found = failing(bringup.run(Alias(sim), REGISTERS_ONLY))
    detail, look_at = found["registers/address lines"]
    assert "BOOST_ADDR shows what was written to PREFETCH_ADDR: address bit 8" in detail and "address lines" in look_at
    assert "registers/read and write" not in found


def test_a_read_only_register_that_takes_writes(sim):
    class Writable(Board):
        stored = None

        def seen(self, offset, word):
            return word if self.stored is None or offset != REGISTERS["CAP_LOOKUP_PORTS"].offset else self.stored

        def write32(self, offset, value):
            if offset == REGISTERS["CAP_LOOKUP_PORTS"].offset:
                self.stored = value
            else:
                super().write32(offset, value)

    detail, look_at = only(bringup.run(Writable(sim), REGISTERS_ONLY), "registers/read-only")
    assert detail == "CAP_LOOKUP_PORTS took a write: 0x3 became 0xfffffffc" and "bitstream" in look_at


def test_a_bridge_that_drops_write_responses(sim):
    class Deaf(Board):
        def write32(self, offset, value):
            try:
                super().write32(offset, value)
            except BusError:
                pass

    found = failing(bringup.run(Deaf(sim), REGISTERS_ONLY))
    assert set(found) == {"registers/read-only", "registers/bus errors"}
    assert "not answered with a bus error" in found["registers/read-only"][0]
    assert all("BRESP" in look_at for _, look_at in found.values())


def test_an_unmapped_offset_that_answers_0(sim):
    class Open(Board):
        def read32(self, offset):
            return 0 if offset == 0x2FFC else super().read32(offset)

    detail, look_at = only(bringup.run(Open(sim), REGISTERS_ONLY), "registers/bus errors")
    assert detail == "an unmapped read of 0x2ffc was answered with 0x0" and "RRESP" in look_at


def test_an_access_that_is_refused_before_it_reaches_the_device(sim):
    class Short(Board):
        def read32(self, offset):
            if offset >= 0x10000 and offset < BAR2_ENTRIES:
                raise BusError(offset, False)
            return super().read32(offset)

    detail, look_at = only(bringup.run(Short(sim), REGISTERS_ONLY), "registers/bus errors")
    assert "0x200000 did not reach the device" in detail and "BAR" in look_at


def test_an_error_that_is_recorded_at_another_offset(sim):
    class Shifted(Board):
        def seen(self, offset, word):
            return word + 0x1000 if offset == REGISTERS["ERROR_OFFSET"].offset else word

    detail, look_at = only(bringup.run(Shifted(sim), REGISTERS_ONLY), "registers/bus errors")
    assert "an unmapped read of 0x4 was recorded as code 1 at 0x1004" in detail and "address lines" in look_at


def test_what_a_target_cannot_send_is_no_fault(sim):
    class Aligned(Board):
        def read32(self, offset):
            if offset & 3:
                raise BusError(offset, False, detail="MISALIGNED; not sent")
            return super().read32(offset)

    report = bringup.run(Aligned(sim), REGISTERS_ONLY)
    assert report.ok and "4 that this target cannot send" in report.rows[-1].detail


@pytest.mark.parametrize(
    ("what", "text"), [("low", "took effect without the high word"), ("latch", "does not latch the high one")]
)
def test_tearing(sim, what, text):
    class Torn(Board):
        """Words take effect by themselves, or are read without the latch."""

        def write32(self, offset, value):
            if what == "low" and offset == REGISTERS["LOAD_VA"].offset:
                self.sim.write64(offset, self.sim.read64(offset) >> 32 << 32 | value)
            else:
                super().write32(offset, value)

        def read32(self, offset):
            if what == "latch" and offset == REGISTERS["LOAD_VA"].offset + 4:
                return self.sim.read64(offset - 4) >> 32
            return super().read32(offset)

    detail, look_at = only(bringup.run(Torn(sim), REGISTERS_ONLY), "registers/64-bit tearing")
    assert f"LOAD_VA: {'its low word ' if what == 'low' else 'reading the low word '}{text}" in detail and "buffer" in look_at


# ---- memory --------------------------------------------------------------------------------------------------------
MEMORY_ONLY = Options(only=("memory",), memory_bytes=1 << 17)


def test_patterns_tell_their_address():
    addresses = np.random.default_rng(3).integers(0, 1 << 63, 1000, np.uint64)
    assert (address_of(pattern(addresses)) == addresses).all()
    assert len(set(pattern(np.arange(4096)).tolist())) == 4096


@pytest.mark.parametrize("limit", [None, 8, 24, 65544, 1 << 17, WINDOW, 1 << 40])
def test_samples_reach_from_the_start_to_the_end_of_a_window(limit):
    tier = memory.Tier(1, 0x400000, WINDOW)
    pieces = list(memory.pieces(tier, limit))
    assert pieces[0][0] == tier.base and all(tier.base <= at and at + size <= tier.base + WINDOW for at, size in pieces)
    assert all(at % 8 == size % 8 == 0 and size for at, size in pieces)
    assert sum(size for _, size in pieces) >= min(limit or WINDOW, WINDOW)
    if len(pieces) > 1:
        assert sum(pieces[-1]) == tier.base + WINDOW
        assert all(a + size <= b for (a, size), (b, _) in zip(pieces, pieces[1:]))


class Words(Board):
    """Memory whose 64-bit words at `addr` are read as `spoil` makes them."""

    def memory_read(self, addr, size):
        first, end = addr // 8 * 8, -(-(addr + size) // 8) * 8
        words = np.frombuffer(super().memory_read(first, end - first), "<u8").copy()
        spoiled = self.spoil(np.arange(first, end, 8, np.uint64), words)
        return spoiled.astype("<u8").tobytes()[addr - first : addr - first + size]


def in_tier(number: int, addresses: np.ndarray) -> np.ndarray:
    return addresses // np.uint64(WINDOW) == number


def test_a_stuck_data_bit_of_the_memory(sim):
    class Stuck(Words):
        def spoil(self, addresses, words):
            return np.where(in_tier(2, addresses), words & ~np.uint64(1 << 13), words)

    found = failing(bringup.run(Stuck(sim), MEMORY_ONLY))
    detail, look_at = found["memory/march, tier 2"]
    assert "data bit 13 (byte lane 1) of every 64-bit word stuck at 0" in detail and "data line" in look_at
    assert {name for name in found if "march" in name} == {"memory/march, tier 2"}


def test_a_stuck_bit_in_one_word_of_a_wide_memory_bus(sim):
    class Stuck(Words):
        def spoil(self, addresses, words):
            return np.where(addresses % np.uint64(16) == 8, words | np.uint64(1 << 3), words)

    detail, _ = failing(bringup.run(Stuck(sim), MEMORY_ONLY))["memory/march, tier 0"]
    assert "data bit 67 of the 128-bit memory bus (byte lane 0 of word 1) stuck at 1" in detail


@pytest.mark.parametrize("bit", [3, 12, 16, 21])
def test_an_address_line_that_is_stuck(sim, bit):
    class Alias(Board):
        def place(self, addr):
            return addr & ~(1 << bit)

        def pieces(self, addr, size):
            """Such that the line stays the same within each."""
            while size:
                length = min(size, (1 << bit) - addr % (1 << bit))
                yield addr, length
                addr, size = addr + length, size - length

        def memory_read(self, addr, size):
            return b"".join(self.sim.memory_read(self.place(at), length) for at, length in self.pieces(addr, size))

        def memory_write(self, addr, data):
            for at, length in self.pieces(addr, len(data)):
                self.sim.memory_write(self.place(at), data[at - addr : at - addr + length])

    found = failing(bringup.run(Alias(sim), Options(only=("memory",), memory_bytes=None if bit > 12 else 1 << 15)))
    detail, look_at = found["memory/address lines"]
    assert f"address bit {bit} aliases" in detail and "address lines" in look_at
    assert f"addresses alias: address bit {bit}" in found["memory/march, tier 1"][0]


def test_tiers_that_share_memory(sim):
    class Narrow(Board):
        def place(self, addr):
            return addr % (2 * WINDOW)

    found = failing(bringup.run(Narrow(sim), MEMORY_ONLY))
    detail, look_at = found["memory/address lines"]
    assert "tiers 0 and 2 share memory" in detail and "address bit 23 aliases" in detail
    assert "TIER_BASE" in look_at
    assert "address bit 23" in found["memory/march, tier 0"][0]


def test_windows_that_overlap(sim):
    options = Options(only=("memory",), memory_bytes=1 << 12, tier_bases=(0, WINDOW, WINDOW // 2, 1 << 30))
    report = bringup.run(Board(sim), options)
    detail, look_at = failing(report)["memory/address lines"]
    assert "tiers 0 and 2 overlap" in detail and "TIER_BASE" in look_at
    sim.reset()


def test_exchanged_byte_lanes_of_the_memory(sim):
    class Swapped(Words):
        def spoil(self, addresses, words):
            return words.view(np.uint8).reshape(-1, 8)[:, [0, 1, 3, 2, 4, 5, 6, 7]].copy().view("<u8")[:, 0]

    found = failing(bringup.run(Swapped(sim), MEMORY_ONLY))
    for row in ("memory/byte lanes", "memory/march, tier 0"):
        detail, look_at = found[row]
        assert "lane 2 carries 3, 3 carries 2" in detail and "WSTRB" in look_at


def test_a_dead_byte_lane(sim):
    class Dead(Words):
        def spoil(self, addresses, words):
            return words | np.uint64(0xFF << 40)

    detail, look_at = failing(bringup.run(Dead(sim), MEMORY_ONLY))["memory/march, tier 3"]
    assert "byte lane 5 always 0xff" in detail and "byte lanes" in look_at


def test_write_strobes_that_are_ignored(sim):
    class NoStrobes(Board):
        """Every write goes to whole 64-bit words."""

        def memory_write(self, addr, data):
            first, end = addr // 8 * 8, -(-(addr + len(data)) // 8) * 8
            super().memory_write(first, bytes(addr - first) + data + bytes(end - addr - len(data)))

    detail, look_at = only(bringup.run(NoStrobes(sim), MEMORY_ONLY), "memory/byte lanes")
    assert "disturb their neighbours" in detail and "strobes" in look_at


def test_writes_that_do_not_arrive(sim):
    class Lossy(Board):
        """Tier 1 takes the first fill and nothing more."""

        writes = 0

        def memory_write(self, addr, data):
            if WINDOW <= addr < 2 * WINDOW and len(data) > 1000:
                self.writes += 1
                if self.writes > 2:  # two chunks
                    return
            super().memory_write(addr, data)

    detail, look_at = only(bringup.run(Lossy(sim), MEMORY_ONLY), "memory/march, tier 1")
    assert "writes do not arrive" in detail and "strobes" in look_at


def test_memory_that_is_not_calibrated(sim):
    class Noisy(Words):
        random = np.random.default_rng(5)

        def spoil(self, addresses, words):
            flips = self.random.integers(0, 1 << 63, words.size, np.uint64) * (self.random.random(words.size) < 0.02)
            return words ^ flips.astype(np.uint64)

    detail, look_at = failing(bringup.run(Noisy(sim), MEMORY_ONLY))["memory/march, tier 0"]
    assert "errors without a pattern" in detail and "DDR calibration" in look_at


def test_memory_that_ends_before_the_tiers_do(sim):
    class Small(Board):
        def place(self, addr):
            if addr >= 3 * WINDOW:
                raise TargetError(f"the board's memory answered {addr:#x} with DECERR")
            return addr

    found = failing(bringup.run(Small(sim), MEMORY_ONLY))
    assert set(found) == {"memory/address lines", "memory/byte lanes", "memory/march, tier 3"}
    assert all("size of the memory" in look_at for _, look_at in found.values())


# ---- directory -----------------------------------------------------------------------------------------------------
DIRECTORY_ONLY = Options(only=("directory",))


def test_a_stuck_bit_in_one_word_of_the_directory(sim):
    class Stuck(Board):
        def seen(self, offset, word):
            return word & ~(1 << 9) if offset == BAR2_ENTRIES + 32 * 17 + 4 * 5 else word

    found = failing(bringup.run(Stuck(sim), DIRECTORY_ONLY))
    details = " ".join(detail for detail, _ in found.values())
    assert "1 of 256 entries wrong, the first 17: priority bit 7 stuck at 0" in details
    assert all("block RAM" in look_at for _, look_at in found.values())


def test_a_bit_that_stays_when_an_entry_is_freed(sim):
    class Stuck(Board):
        def seen(self, offset, word):
            return word | 1 << 12 if offset == BAR2_ENTRIES + 32 * 200 + 4 * 7 else word

    found = failing(bringup.run(Stuck(sim), DIRECTORY_ONLY))
    assert len(found) == 2
    assert all("freed: 1 of 256 entries wrong, the first 200: valid bit 0 stuck at 1" in detail for detail, _ in found.values())


def test_a_stuck_host_address(sim):
    class Stuck(Board):
        def seen(self, offset, word):
            return word & ~(1 << 30) if offset >= BAR2_VAS and offset & 4 else word

    detail, look_at = failing(bringup.run(Stuck(sim), DIRECTORY_ONLY))["directory/march, first half"]
    assert "host addresses wrong" in detail and "bit 62 stuck at 0" in detail and "block RAM" in look_at


def test_an_aliasing_index_of_the_directory_window(sim):
    class Alias(Board):
        def run(self, batch):
            through = Batch()
            for op in batch:
                if op.kind == OpKind.READ and BAR2_ENTRIES <= op.offset < BAR2_VAS:
                    for word in range(op.value):
                        through.read((op.offset + 4 * word) & ~(32 << 3))
                else:
                    through.append(op)
            return super().run(through)

    detail, look_at = failing(bringup.run(Alias(sim), DIRECTORY_ONLY))["directory/march, first half"]
    assert "128 of 256 entries wrong, the first 8: entry 8 shows entry 0, index address bit 3" in detail
    assert "BAR2" in look_at


def test_a_sampled_directory_sees_entries_that_alias_into_it(sim):
    class Alias(Board):
        """Reads of entry 128 show entry 0."""

        def run(self, batch):
            through = Batch()
            for op in batch:
                at = BAR2_ENTRIES + 32 * 128
                through.append(op._replace(offset=BAR2_ENTRIES) if op.kind == OpKind.READ and op.offset == at else op)
            return super().run(through)

    report = bringup.run(Board(sim), Options(only=("directory",), directory_entries=64))
    assert report.ok and "64 entries of 256" in report.rows[-1].detail
    report = bringup.run(Alias(sim), Options(only=("directory",), directory_entries=64))
    assert "the first 128" in failing(report)["directory/march, first half"][0]


def test_an_entry_that_is_never_given_out(sim):
    class Skipping(Board):
        """LOAD answers with the index behind the one it took."""

        def seen(self, offset, word):
            return word + 1 if offset == REGISTERS["RESULT_INDEX"].offset else word

    detail, look_at = failing(bringup.run(Skipping(sim), DIRECTORY_ONLY))["directory/march, first half"]
    assert "load answered OK, matched 1, entry 1, expected OK, matched 1, entry 0" in detail and "free map" in look_at


# ---- link ----------------------------------------------------------------------------------------------------------
class OneInThousand(Board):
    """Corrupts every thousandth word that is read, once `armed`."""

    armed, words = True, 0

    def seen(self, offset, word):
        self.words += self.armed
        return word ^ (1 << self.words // 1000 % 32) if self.armed and self.words % 1000 == 0 else word


def test_a_link_that_corrupts_one_read_in_a_thousand(sim):
    report = bringup.run(OneInThousand(sim), Options(only=("link",)))
    detail, look_at = only(report, "link/error rate")
    figures = report.failed[0].figures
    assert figures["error_rate"] == pytest.approx(1e-3, rel=0.05) and figures["errors"] == figures["words"] // 1000
    assert "words wrong" in detail and "cable" in look_at and "baud" in look_at


def test_a_bad_link_does_not_stop_the_other_steps(sim):
    board = OneInThousand(sim)
    board.armed = False

    def progress(done, total, step):
        board.armed = step == "link"

    report = bringup.run(board, WITHOUT_SPEED, progress=progress)
    assert list(failing(report)) == ["link/error rate"] and report.exit_code == 3
    assert {row.step for row in report.rows} == set(bringup.STEPS) - {"speed"}
    sim.reset()


def test_one_bad_data_line_of_the_link(sim):
    class OneBit(OneInThousand):
        def seen(self, offset, word):
            return word & ~(1 << 6) if super().seen(offset, word) != word else word

    detail, look_at = only(bringup.run(OneBit(sim), Options(only=("link",), link_words=60_000)), "link/error rate")
    assert "bit 6 stuck at 0" in detail and "this data line" in look_at


def test_what_the_transport_counts_is_shown(sim):
    class Repairing(Board):
        link = {"repeats": 7, "damaged": 0, "name": "x"}

        def run(self, batch):
            self.link = self.link | {"repeats": self.link["repeats"] + 1}
            return super().run(batch)

    row = bringup.run(Repairing(sim), Options(only=("link",), link_words=2000)).rows[-1]
    assert row.name == "what the transport counts" and row.figures["repeats"] > 0 and "damaged" not in row.detail


@pytest.mark.parametrize("accesses", [3, 40, 300, 800])
def test_a_link_that_dies_midway(sim, accesses):
    class Dying(Board):
        left = accesses

        def run(self, batch):
            self.use()
            return super().run(batch)

        def read32(self, offset):
            self.use()
            return super().read32(offset)

        def use(self):
            self.left -= 1
            if self.left < 0:
                raise TargetError("no answer", "is the cable in?")

    with pytest.raises(TargetError, match="stopped answering in step .*: no answer") as caught:
        bringup.run(Dying(sim), QUICK)
    assert caught.value.remedy == "is the cable in?"
    partial = caught.value.partial
    assert partial.rows[-1].verdict == "fail" and partial.rows[-1].detail == "no answer"
    assert partial.rows[0].verdict == "pass"
    sim.reset()


def test_a_link_that_dies_into_all_ones(sim):
    class Ones(Board):
        """Nothing raises: every read is all ones once the directory is being filled."""

        dead = False

        def seen(self, offset, word):
            self.dead |= offset >= BAR2_ENTRIES
            return 0xFFFFFFFF if self.dead else word

    with pytest.raises(TargetError, match="stopped answering in step directory") as caught:
        bringup.run(Ones(sim), Options(skip=("registers", "memory")))
    assert [row.step for row in caught.value.partial.rows][-1] == "directory"
    sim.reset()


def test_a_command_that_hangs_is_a_failed_step(sim):
    class Hanging(Board):
        """The first STEP of the lockstep test never ends; then the device is well again."""

        def run(self, batch):
            step = REGISTERS["STEP_FAST"].offset
            if not self.hung and any(op.kind == OpKind.WRITE and op.offset == step for op in batch):
                self.hung = True
                from kvfpga.contract.errors import IdleTimeout

                raise IdleTimeout("the device is still busy", "`kvfpga reg read STATUS` says with what")
            return super().run(batch)

        hung = False

    report = bringup.run(Hanging(sim), Options(only=("commands", "speed")))
    detail, look_at = only(report, "commands/commands")
    assert "still busy" in detail and "STATUS" in look_at
    assert [row.verdict for row in report.rows if row.step == "speed"] == ["pass"] * 8


# ---- commands ------------------------------------------------------------------------------------------------------
class Deviating(Board):
    """The guards counter is off by one."""

    def seen(self, offset, word):
        return word + 1 if offset == REGISTERS["T_GUARDS"].offset else word


def test_a_difference_between_hardware_and_model(sim):
    report = bringup.run(Deviating(sim), Options(only=("commands",)))
    detail, look_at = only(report, "commands/lockstep")
    assert "guards: 1, not 0" in detail and "simulator" in look_at
    assert report.differs and report.exit_code == 4


def test_a_device_that_evicts_nothing(sim):
    class Idle(Board):
        """STEP is never sent in the step that measures it."""

        def sent(self, offset, value):
            return 0 if offset == REGISTERS["STEP_FAST"].offset else value

    found = failing(bringup.run(Idle(sim), Options(only=("speed",))))
    assert list(found) == ["speed/speed"]


# ---- report and command line ---------------------------------------------------------------------------------------
def test_report_as_json_and_as_table(sim):
    report = bringup.run(Deviating(sim), Options(only=("commands",)))
    found = json.loads(json.dumps(report.to_json()))
    assert (found["command"], found["target"], found["ok"], found["differs"]) == ("bringup", "board", False, True)
    assert set(found["rows"][0]) == {"step", "name", "verdict", "detail", "look_at", "figures"}
    from rich.console import Console

    console = Console(width=200, file=io.StringIO())
    console.print(report.table())
    text = console.file.getvalue()
    assert "look at" in text and "lockstep" in text and "1 failed" in text


@pytest.fixture
def command(sim, tmp_path, monkeypatch):
    """`kvfpga --json bringup …` on a board of this class: (exit code, JSON, stderr)."""
    from kvfpga.cli.main import cli
    from kvfpga.targets.target import Target

    def call(kind, *words, before=("--json",)):
        kind.build_id = sim.build_id
        monkeypatch.setattr(Target, "open_mmio", lambda self, *_: kind(sim))
        result = CliRunner().invoke(cli, [*before, "--session", str(tmp_path / "s"), "bringup", *words], prog_name="kvfpga")
        return result.exit_code, json.loads(result.stdout) if result.stdout.startswith("{") else result.stdout, result.stderr

    yield call
    sim.reset()


def test_cli_of_a_sound_board(command):
    code, found, stderr = command(Board, "--memory-bytes", "65536", "--link-words", "1000")
    assert (code, found["ok"], stderr) == (0, True, "")
    assert {row["step"] for row in found["rows"]} == set(bringup.STEPS)
    code, text, _ = command(Board, "--only", "identity", before=())
    assert code == 0 and "4 checks, all passed" in text and "KV-CPU 2.0" in text


def test_cli_steps_are_those_of_the_package():
    from kvfpga.cli.bringup import STEPS

    assert STEPS == tuple(bringup.STEPS)


def test_cli_exit_codes_of_failures(command):
    code, found, stderr = command(Board, "--only", "identity", "--build-id", "0x1234")
    assert (code, found["ok"]) == (3, False) and "1 failed" in stderr
    code, found, stderr = command(Deviating, "--only", "commands")
    assert (code, found["differs"]) == (4, True)
    code, found, _ = command(Board, "--skip", "memory", "--memory", "full", "--only", "memory", "--only", "link")
    assert code == 0 and {row["step"] for row in found["rows"]} == {"identity", "link"}


def test_cli_shows_the_report_of_a_link_that_died(command):
    class Dead(Board):
        def seen(self, offset, word):
            return word

        def memory_write(self, addr, data):
            self.read32 = self.memory_write = self.run = self.fail
            self.fail()

        def fail(self, *_):
            raise TargetError("no answer", "is the cable in?")

    code, found, stderr = command(Dead)
    assert code == 3 and "stopped answering in step memory" in stderr and "is the cable in?" in stderr
    assert [row["step"] for row in found["rows"]][-1] == "memory" and not found["ok"]


@pytest.mark.parametrize(
    ("before", "words", "text"),
    [
        (("--target", "model"), (), "no hardware"),
        (("--trace", "x.vcd"), (), "no waveform"),
        ((), ("--only", "ballroom"), "ballroom"),
        ((), ("--memory-bytes", "many"), "many"),
    ],
)
def test_cli_usage(command, before, words, text):
    code, _, stderr = command(Board, *words, before=before)
    assert code == 2 and text in stderr
