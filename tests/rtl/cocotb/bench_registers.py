"""The register port at pin level: R1 (no tearing), R2 (every refusal), R4 (identity, the sticky error), under random pauses."""

import cocotb
from cocotb.triggers import RisingEdge, gather
from cocotbext.axi import AxiResp

from kvfpga.contract.commands import Hot
from kvfpga.device.regmap import BAR2_ENTRIES, BAR2_VAS, DOORBELLS, QUERY, REGISTERS, SCORES, TELEMETRY, BusErrorCode
from tests.rtl.cocotb.dut_bench import Bench

ENTRIES = 256
OPERANDS = [r.name for r in REGISTERS.values() if r.access == "rw" and not r.doorbell and not r.config and r.name != "ERROR"]
LOADS = [r for r in REGISTERS.values() if r.name in OPERANDS and r.name != "IRQ_ENABLE"]  # IRQ_ENABLE has 3 bits
WIDE = [r for r in LOADS if r.width == 64]
UNMAPPED, MISALIGNED, STROBE = BusErrorCode.UNMAPPED, BusErrorCode.MISALIGNED, BusErrorCode.STROBE
BUS = 1  # ERROR.bus


async def state(bench: Bench) -> list[int]:
    """Everything that a refused access must leave alone."""
    names = [*OPERANDS, "CTRL", "WEIGHT_R", "TIER_BASE3", "RESULT_STATUS", "COMPLETION_LEVEL"]
    counters = [r.name for r in REGISTERS.values() if r.telemetry and r.telemetry != "busy_cycles"]
    return [await bench.get(name) for name in names + counters]


@cocotb.test()
async def random_accesses(dut):
    """500 random writes and reads of operands read back what was written, 32 and 64 bits wide."""
    bench = await Bench(dut, seed=1, pause=0.3).start()
    expected = {register.name: 0 for register in LOADS}
    assert {"SCRATCH", "LOAD_VA", "PREFETCH_LEN"} <= set(expected)
    for _ in range(500):
        register = bench.random.choice(LOADS)
        if bench.random.random() < 0.5:
            expected[register.name] = bench.random.getrandbits(register.width)
            await bench.put(register.name, expected[register.name])
        else:
            assert await bench.get(register.name) == expected[register.name], register.name
    await bench.finish()


@cocotb.test()
async def many_in_flight(dut):
    """Reads and writes at once, as many in flight as the master has: none is lost, none is mixed up."""
    bench = await Bench(dut, seed=2, pause=0.4).start()
    values = {register.offset: bench.random.getrandbits(32) for register in LOADS if register.width == 32}
    for offset, value in values.items():
        await bench.write32(offset, value)
    target, *steady = values

    async def read() -> None:
        offset = bench.random.choice(steady)
        assert await bench.read32(offset) == values[offset]

    async def write(value: int) -> None:
        await bench.write32(target, value)

    for last in range(20):
        await gather(*(read() for _ in range(25)), *(write(1000 * last + n) for n in range(15)))
        assert await bench.read32(target) == 1000 * last + 14
    await bench.finish()


@cocotb.test()
async def writes_commit_with_the_high_word(dut):
    """R1: low words of several registers change nothing; each high word commits its own register whole."""
    bench = await Bench(dut, seed=3, pause=0.2).start()
    old = {register.name: bench.random.getrandbits(64) for register in WIDE}
    for name, value in old.items():
        await bench.put(name, value)
    for _ in range(3):
        new = {name: bench.random.getrandbits(64) for name in old}
        order = bench.random.sample(WIDE, len(WIDE))
        for register in order:
            await bench.write32(register.offset, new[register.name] & 0xFFFFFFFF)
        for name in old:
            assert await bench.get(name) == old[name], f"{name} changed before its high word"
        bench.random.shuffle(order)
        for register in order:
            await bench.write32(register.offset + 4, new[register.name] >> 32)
            assert await bench.get(register.name) == new[register.name], register.name
        old = new
    await bench.finish()


@cocotb.test()
async def reads_latch_with_the_low_word(dut):
    """R1: what is written between the two reads of a register does not tear them."""
    bench = await Bench(dut, seed=4, pause=0.2).start()
    for register in WIDE:
        old, new = bench.random.getrandbits(64), bench.random.getrandbits(64)
        await bench.put(register.name, old)
        low = await bench.read32(register.offset)
        await bench.put(register.name, new)
        assert low | await bench.read32(register.offset + 4) << 32 == old, register.name
        assert await bench.get(register.name) == new, register.name
    await bench.finish()


@cocotb.test()
async def identity(dut):
    """Every identity and capability register says what was built (R4)."""
    bench = await Bench(dut, seed=5, pause=0.2).start()
    assert await bench.get("DEVICE_ID") == 0x4B564350
    names = "ENTRIES LANES BLOCK_TOKENS HEAD_DIM BLOCK_BYTES DATA_BITS LOOKUP_PORTS FIFO_DEPTH".split()
    assert [await bench.get(f"CAP_{name}") for name in names] == [256, 8, 32, 128, 16384, 512, 3, 16]
    assert await bench.get("SCRATCH") == 0
    assert [await bench.get(f"T_{name.upper()}") for name in TELEMETRY if name != "busy_cycles"] == [0] * (len(TELEMETRY) - 1)
    await bench.finish()


def words_of(register) -> range:
    return range(register.offset, register.offset + register.width // 8, 4)


@cocotb.test()
async def unmapped_and_forbidden(dut):
    """R2: every word of the first 8 KiB that is not a register, samples of all the rest, every read-only and write-only
    register in the wrong direction: SLVERR, and nothing changes."""
    bench = await Bench(dut, seed=6).start()
    for register in LOADS:
        await bench.put(register.name, bench.random.getrandbits(register.width))
    before = await state(bench)
    readable = {word for r in REGISTERS.values() if "r" in r.access for word in words_of(r)}
    writable = {word for r in REGISTERS.values() if "w" in r.access for word in words_of(r)}
    holes = [word for word in range(0, 0x2000, 4)]
    windows = {*range(SCORES, QUERY + 64 * 2 * 128, 4), *DOORBELLS}  # PTABLE lies between those two
    drawn = [4 * bench.random.randrange(0x2000 // 4, 0x400000 // 4) for _ in range(100)]
    holes += [word for word in (*drawn, QUERY + 64 * 2 * 128, DOORBELLS.start - 4, DOORBELLS.stop) if word not in windows]
    holes += [0xFFFC, 0x10000, 0x10000 + REGISTERS["SCRATCH"].offset, 0x3FFFFC, 0x410000 - 4]
    holes += [BAR2_ENTRIES + 32 * ENTRIES, BAR2_VAS - 4, BAR2_VAS + 8 * ENTRIES, 0x7FFFFC]
    refusals = [(offset, way) for offset in holes for way, mapped in (("r", readable), ("w", writable)) if offset not in mapped]
    assert len(refusals) > 2000
    for n, (offset, way) in enumerate(refusals):
        look = n % 16 == 0  # looking costs more than the access
        if look:
            await bench.error()
        resp, data = await bench.read(offset) if way == "r" else (await bench.write(offset, 0xFFFFFFFF), 0)
        assert (resp, data) == (AxiResp.SLVERR, 0), f"{way} {offset:#x}"
        if look:
            assert await bench.error() == (BUS, UNMAPPED, offset), f"{way} {offset:#x}"
    for offset in (BAR2_ENTRIES, BAR2_ENTRIES + 32 * ENTRIES - 4, BAR2_VAS, BAR2_VAS + 8 * ENTRIES - 4):
        assert await bench.read32(offset) == 0
        assert await bench.write(offset, 1) == AxiResp.SLVERR
    await bench.error()
    assert await state(bench) == before
    await bench.finish()


@cocotb.test()
async def misaligned(dut):
    """R2: every misalignment, reads and writes, with whole and with partial strobes, wherever it points."""
    bench = await Bench(dut, seed=7, pause=0.2).start()
    before = await state(bench)
    places = [REGISTERS[name].offset for name in ("SCRATCH", "STEP_FAST", "LOAD_VA", "COMPLETION", "RESULT_CYCLES", "CTRL")]
    for place in [*places, BAR2_ENTRIES, BAR2_VAS, 0x1F00, 0x7FFFFC]:
        for shift in (1, 2, 3):
            offset = place + shift
            assert (await bench.read(offset))[0] == AxiResp.SLVERR
            assert await bench.error() == (BUS, MISALIGNED, offset)
            assert await bench.write(offset, 0xFFFFFFFF) == AxiResp.SLVERR
            assert await bench.error() == (BUS, MISALIGNED, offset)
            assert await bench.write_raw(offset, 0xFFFFFFFF, 0xF) == AxiResp.SLVERR
            assert await bench.error() == (BUS, MISALIGNED, offset)
    assert await state(bench) == before
    await bench.finish()


@cocotb.test()
async def partial_strobes(dut):
    """R2: a write that does not carry all four bytes is refused, be it an operand, half of one, a doorbell or a setting."""
    bench = await Bench(dut, seed=8, pause=0.2).start()
    await bench.put("LOAD_VA", 0x1122334455667788)
    before = await state(bench)
    high = REGISTERS["LOAD_VA"].offset + 4
    names = "SCRATCH STEP_FAST LOAD_VA CTRL WEIGHT_R ERROR".split()
    for offset in [*(REGISTERS[name].offset for name in names), high]:
        for strobes in range(15):
            assert await bench.write_raw(offset, 0xFFFFFFFF, strobes) == AxiResp.SLVERR, f"{offset:#x} {strobes:#x}"
            assert await bench.error() == (BUS, STROBE, offset)
    assert await state(bench) == before
    await bench.finish()


@cocotb.test()
async def the_first_error_is_kept(dut):
    """R4: offset and code of the first error stay until ERROR is cleared; writing 0 does not clear."""
    bench = await Bench(dut, seed=9, pause=0.3).start()
    scratch = REGISTERS["SCRATCH"].offset
    assert (await bench.read(0x1F00))[0] == AxiResp.SLVERR
    assert await bench.write_raw(scratch, 1, 3) == AxiResp.SLVERR
    assert (await bench.read(scratch + 1))[0] == AxiResp.SLVERR
    await bench.write32(REGISTERS["ERROR"].offset, 0)
    await bench.write32(REGISTERS["ERROR"].offset, 2)  # the other bit
    assert await bench.get("ERROR") == BUS | UNMAPPED << 8
    assert await bench.get("STATUS") >> 3 & 1
    assert await bench.error() == (BUS, UNMAPPED, 0x1F00)
    assert not await bench.get("STATUS") >> 3 & 1
    assert (await bench.read(scratch + 1))[0] == AxiResp.SLVERR
    assert await bench.error() == (BUS, MISALIGNED, scratch + 1)
    await bench.finish()


@cocotb.test()
async def no_error_is_lost_beside_a_write(dut):
    """R2: a read that fails is recorded at whatever moment of it a write goes through."""
    bench = await Bench(dut, seed=11).start()
    scratch, beyond = REGISTERS["SCRATCH"].offset, BAR2_VAS + 8 * ENTRIES
    for offset in (beyond, 0x1F00, scratch + 1):
        for cycles in range(16):
            reading = cocotb.start_soon(bench.read(offset))
            for _ in range(cycles):
                await RisingEdge(dut.clk)
            await bench.write32(scratch, cycles)
            assert (await reading)[0] == AxiResp.SLVERR
            assert (await bench.error())[2] == offset, f"{offset:#x}, a write {cycles} cycles behind"
    await bench.finish()


@cocotb.test()
async def telemetry_does_not_tear(dut):
    """R1 on counters that change between their two reads: the high word is that of the low word."""
    bench = await Bench(dut, seed=10, pause=0.2).start()
    last_va = REGISTERS["T_LAST_VA"].offset
    old = None
    for _ in range(10):
        new = bench.random.getrandbits(63)
        low = await bench.read32(last_va)
        await bench.execute(Hot(new, 1))
        value = low | await bench.read32(last_va + 4) << 32
        assert value == (old or 0)
        assert await bench.get("T_LAST_VA") == new
        old = new
    hits = REGISTERS["RTBD_HIT_COUNT"].offset
    assert await bench.read32(hits) == await bench.read32(hits + 4) == 0
    await bench.finish()
