"""The whole UART board: bridge, core and tiers behind one serial line."""

import cocotb

from kvfpga.device.regmap import REGISTERS
from tests.rtl.cocotb.uart_bench import DECERR, OK, SLVERR, Bench, drain, mem_read, mem_write, read, wait_idle, words, write

ENTRIES, BLOCK = 256, 256
TIERS = 4 * ENTRIES * BLOCK


def register(name: str) -> int:
    return REGISTERS[name].offset


@cocotb.test()
async def identity(dut):
    """The core answers through the bridge, refusals included."""
    bench = await Bench(dut, seed=1).start()
    names = "DEVICE_ID CAP_ENTRIES CAP_LANES CAP_BLOCK_TOKENS CAP_HEAD_DIM CAP_BLOCK_BYTES CAP_DATA_BITS".split()
    outcome = await bench.run(wait_idle(1000), *(read(register(name)) for name in names))
    assert outcome.status == OK and words(outcome.data) == [0x4B564350, ENTRIES, 1, 32, 2, BLOCK, 64]
    assert (await bench.run(write(register("SCRATCH"), 0x12345678), read(register("SCRATCH")))).data == b"\x78\x56\x34\x12"
    assert (await bench.run(write(register("DEVICE_ID"), 1)))[:3] == (SLVERR, 0, 0)


@cocotb.test()
async def tiers(dut):
    """Memory: bytes where they belong up to the last one, DECERR behind it."""
    bench = await Bench(dut, seed=2).start()
    data = bench.random.randbytes(BLOCK)
    places = [0, TIERS // 2, TIERS - BLOCK]
    assert (await bench.run(*(mem_write(place, data[i:] + data[:i]) for i, place in enumerate(places)))).status == OK
    for i, place in enumerate(places):
        assert await bench.run(mem_read(place, BLOCK // 8)) == (OK, 0, 1, data[i:] + data[:i])
    assert (await bench.run(mem_write(0, bytes(16), first=0xF0, last=0x01))).status == OK
    assert (await bench.run(mem_read(0, 2))).data == data[:4] + bytes(5) + data[9:16]
    for beyond in (TIERS, 1 << 32, (1 << 64) - 8):
        assert (await bench.run(mem_write(beyond, bytes(8))))[:3] == (DECERR, 0, 0)
        assert (await bench.run(mem_read(beyond, 1)))[:3] == (DECERR, 0, 0)
    assert await bench.run(mem_read(TIERS - 16, 3)) == (DECERR, 2, 0, (data[2:] + data[:2])[-16:])
    assert (await bench.run(mem_read(0, 1))).data == data[:4] + bytes(4)


@cocotb.test()
async def migrations(dut):
    """A block is evicted and fetched back: DMA and bridge share the memory, the completions come by DRAIN."""
    bench = await Bench(dut, seed=3).start()

    def wide(name: str, value: int) -> bytes:
        return write(register(name), value & 0xFFFFFFFF, value >> 32)

    va, data = 0x7F0000000000, bench.random.randbytes(BLOCK)
    load = [
        write(register("LOAD_ID"), 1), write(register("LOAD_TOKEN_START"), 0), write(register("LOAD_TOKEN_END"), 31),
        wide("LOAD_VA", va), write(register("LOAD_TIER"), 1),
    ]  # fmt: skip
    tier1 = ENTRIES * BLOCK
    assert (await bench.run(wait_idle(1000), mem_write(tier1, data), *load, wait_idle(1000))).status == OK
    outcome = await bench.run(
        wide("IMEVICT_ADDR", va), wide("IMEVICT_LEN", BLOCK),
        wait_idle(1000), mem_read(2 * tier1, BLOCK // 8), drain(register("COMPLETION")),
    )  # fmt: skip
    assert outcome.status == OK and outcome.data[:BLOCK] == data
    record, _, last = words(outcome.data[BLOCK:])
    assert record == 1 << 31 | 2 << 19 | 1 << 17 and not last >> 31  # block 0, channel 0, from tier 1 to tier 2
    other = bench.random.randbytes(BLOCK)
    outcome = await bench.run(
        mem_write(2 * tier1, other),
        wide("PREFETCH_ADDR", va), wide("PREFETCH_LEN", BLOCK), wide("PREFETCH_STEP", 1),
        wait_idle(1000), mem_read(tier1, BLOCK // 8), drain(register("COMPLETION")),
    )  # fmt: skip
    assert outcome.status == OK and outcome.data[:BLOCK] == other
    assert words(outcome.data[BLOCK:])[0] == 1 << 31 | 1 << 19 | 2 << 17 | 1 << 16
