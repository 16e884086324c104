"""Doorbells, results, interrupt and soft reset at pin level, under random pauses: R5, R16 (completion records), R4."""

import cocotb
from cocotb.triggers import gather
from cocotbext.axi import AxiResp

from kvfpga.contract.commands import Evict, Lookup, Prefetch, ReleaseIndex, Set, ShareIndex, Step, Touch, UnloadRequest
from kvfpga.contract.errors import BusError
from kvfpga.device.regmap import BAR2_ENTRIES, REGISTERS, TELEMETRY, BusErrorCode, Code, Opcode
from tests.rtl.cocotb.dut_bench import BLOCK, VA, Bench, filled, load

FIFO_DEPTH, RESULTS_KEPT = 16, 32
STEP, SCRATCH, CTRL = (REGISTERS[name].offset for name in ("STEP_FAST", "SCRATCH", "CTRL"))
BUS = 1


@cocotb.test()
async def the_fifo_holds_16(dut):
    """R5: behind a command that waits for its turn, exactly 16 doorbells are taken, the rest get SLVERR and do nothing."""
    bench = await filled(dut, seed=1, blocks=1)
    bench.hold_memory()
    await bench.ring(Evict(VA, 1))
    await bench.clocks(50)
    assert await bench.result() is not None  # the eviction: ended, its block is under way and holds up whatever is next
    taken = [await bench.write(STEP, n) == AxiResp.OKAY for n in range(1, 40)]
    assert taken == [True] * FIFO_DEPTH + [False] * (39 - FIFO_DEPTH)
    assert await bench.error() == (BUS, BusErrorCode.FIFO_FULL, STEP)
    status = await bench.get("STATUS")
    assert status >> 8 & 31 == FIFO_DEPTH and status & 3 == 3
    for refused in ("WINDOW", "RTBD_SHARE", "LOAD_TIER", "CTRL"):
        assert await bench.write(REGISTERS[refused].offset, 1 if refused != "CTRL" else 4) == AxiResp.SLVERR
    await bench.put("LOAD_TOKEN_START", 99)  # no doorbell: always
    assert await bench.get("LOAD_TOKEN_START") == 99
    bench.hold_memory(False)
    await bench.idle()
    assert [await bench.result() for _ in range(FIFO_DEPTH)] == [(Opcode.STEP, Code.OK, 1, None)] * FIFO_DEPTH
    assert await bench.result() is None
    assert (await bench.get("T_CURRENT_STEP"), await bench.get("T_STEP_COUNT")) == (FIFO_DEPTH, FIFO_DEPTH)
    await bench.finish()


@cocotb.test()
async def a_command_that_is_being_formed_has_its_place(dut):
    """R5: doorbells as fast as the bus allows, of the command with the most operands: as many results as were taken, also of
    those that come while the one before is still being put together."""
    for first in range(3):
        bench = await filled(dut, seed=10 + first, blocks=1, pause=0.0)
        bench.hold_memory()
        await bench.ring(Evict(VA, 1))
        await bench.clocks(50)
        assert await bench.result() is not None
        for n in range(first):
            await bench.ring(Step(n))
        writes = [bench.write(REGISTERS["LOAD_TIER"].offset, 9) for _ in range(24)]  # no such tier
        taken = [answer == AxiResp.OKAY for answer in await gather(*writes)]
        assert taken == [True] * (FIFO_DEPTH - first) + [False] * (24 - FIFO_DEPTH + first)
        bench.hold_memory(False)
        await bench.idle()
        results = [await bench.result() for _ in range(FIFO_DEPTH)]
        assert [result[0] for result in results] == [Opcode.STEP] * first + [Opcode.LOAD] * (FIFO_DEPTH - first)
        assert await bench.result() is None
        await bench.finish()


@cocotb.test()
async def a_64_bit_doorbell_on_a_full_fifo(dut):
    """R5: the high word is refused; the register's low word was taken, and a later doorbell works."""
    bench = await filled(dut, seed=2, blocks=1, pause=0.0)
    bench.hold_memory()
    await bench.ring(Evict(VA, 1))
    for n in range(FIFO_DEPTH):
        await bench.ring(Step(n))
    offset = REGISTERS["STEP_ADVANCE"].offset
    assert await bench.write(offset, 500) == AxiResp.OKAY
    assert await bench.write(offset + 4, 0) == AxiResp.SLVERR
    assert await bench.error() == (BUS, BusErrorCode.FIFO_FULL, offset + 4)
    bench.hold_memory(False)
    await bench.idle()
    assert await bench.get("T_CURRENT_STEP") == FIFO_DEPTH - 1
    await bench.put("STEP_ADVANCE", 600)
    await bench.idle()
    assert await bench.get("T_CURRENT_STEP") == 600
    await bench.finish()


@cocotb.test()
async def no_command_is_lost(dut):
    """R5: 600 random doorbells as fast as they go, results read in between: one result for each accepted, in order."""
    bench = await filled(dut, seed=3, blocks=150, tier=0)
    bench.pause(0.1)
    while await bench.result():
        pass
    accepted, refused, results = [], 0, []
    step = 0
    for _ in range(600):
        step += 1
        command, code, opcode = bench.random.choice([
            *[(Step(step), Code.OK, Opcode.STEP)] * 8, (ShareIndex(7), Code.OK, Opcode.SHARE_INDEX),
            (ReleaseIndex(250), Code.ERR_NOT_FOUND, Opcode.RELEASE_INDEX), (Set("WINDOW", 256), Code.ERR_RANGE, Opcode.SET),
            (UnloadRequest(1 << 16), Code.ERR_RANGE, Opcode.UNLOAD_REQUEST), (Lookup(1, 0, 0, 64), Code.OK, Opcode.LOOKUP),
        ])  # fmt: skip
        try:
            await bench.ring(command)
            accepted.append((opcode, code))
        except BusError:
            refused += 1
        while len(accepted) - len(results) > RESULTS_KEPT - 4 and (found := await bench.result()):
            results.append(found[:2])
    await bench.idle()
    while found := await bench.result():
        results.append(found[:2])
    assert results == accepted
    assert refused > 20 and len(accepted) > 150, (refused, len(accepted))
    assert await bench.get("T_RESULTS_LOST") == 0
    await bench.finish()


@cocotb.test()
async def passes_over_one_row_beside_directory_reads(dut):
    """A read of the window takes the row port from a pass at any moment, its first cycle included: no row is left out."""
    blocks = 12
    bench = await filled(dut, seed=12, blocks=blocks)
    reading = True

    async def look() -> None:
        while reading:
            await bench.read32(BAR2_ENTRIES + 32 * bench.random.randrange(256))

    looking = [cocotb.start_soon(look()) for _ in range(4)]
    shares, uses = [0] * blocks, [1] * blocks
    for _ in range(150):
        index = bench.random.randrange(blocks)
        command = bench.random.choice([ShareIndex(index), ShareIndex(index), ReleaseIndex(index), Touch(1, 0, 0, 32 * index)])
        await bench.clocks(bench.random.randrange(8))
        await bench.ring(command)
        while not (result := await bench.result()):
            pass
        assert result[1:3] == (Code.OK, 1), command
        if isinstance(command, Touch):
            uses[index] += 1
        else:
            shares[index] = max(0, shares[index] + (1 if isinstance(command, ShareIndex) else -1))
    reading = False
    for task in looking:
        await task
    entries = [await bench.entry(index) for index in range(blocks)]
    assert [(entry >> 210 & 255, entry >> 228 & 255) for entry in entries] == list(zip(shares, uses))
    await bench.finish()


@cocotb.test()
async def unread_results_are_dropped_oldest_first(dut):
    """A host that never reads results stops nothing: the last 32 stay, the others are counted."""
    bench = await Bench(dut, seed=4).start()
    for n in range(50):
        await bench.ring(Step(n) if n % 3 else Set("WINDOW", n))
        await bench.idle()
    kept = [await bench.result() for _ in range(RESULTS_KEPT)]
    assert [found[0] for found in kept] == [Opcode.STEP if n % 3 else Opcode.SET for n in range(50 - RESULTS_KEPT, 50)]
    assert await bench.result() is None
    assert await bench.get("T_RESULTS_LOST") == 50 - RESULTS_KEPT
    await bench.finish()


@cocotb.test()
async def the_interrupt(dut):
    """The line rises for what IRQ_ENABLE names and falls when that is read or cleared; disabled, it stays low."""
    bench = await filled(dut, seed=5, blocks=3, pause=0.2)
    while await bench.result():
        pass
    causes = {"result": 1, "completion": 2, "error": 4}
    for n, (cause, enable) in enumerate(causes.items()):
        for enabled in (0, 7 & ~enable, enable):
            await bench.put("IRQ_ENABLE", 0)
            if cause == "result":
                await bench.ring(Step(await bench.get("T_CURRENT_STEP")))
            elif cause == "completion":
                index = n + (enabled == enable)
                await bench.ring(Evict(VA + index * BLOCK, 1))
                await bench.idle()
                await bench.result()
                if enabled != enable and enabled:  # the other two blocks are still in tier 1
                    await bench.execute(Prefetch(VA + index * BLOCK, 1, 0))
            else:
                assert (await bench.read(0x1F00))[0] == AxiResp.SLVERR
            await bench.idle()
            assert not dut.irq.value
            await bench.put("IRQ_ENABLE", enabled)
            await bench.clocks(2)
            assert bool(dut.irq.value) == (enabled == enable), f"{cause}: IRQ_ENABLE={enabled}"
            assert (await bench.get("STATUS") >> 4 & 1) == (enabled == enable)
            if cause == "result":
                assert await bench.result()
            elif cause == "completion":
                assert await bench.completions()
            else:
                await bench.error()
            await bench.clocks(2)
            assert not dut.irq.value, f"{cause}: still high"
    # and while it is enabled, the line rises by itself
    await bench.put("IRQ_ENABLE", 1)
    assert not dut.irq.value
    await bench.ring(Step(5))
    await bench.idle()
    await bench.clocks(2)  # on its way into the queue
    assert dut.irq.value
    await bench.finish()


@cocotb.test()
async def soft_reset_while_blocks_move(dut):
    """R4: in the middle of DMA on both channels: what is on the bus ends properly, registers can be read meanwhile, doorbells
    are refused; then everything has its reset value, SCRATCH too, and the directory is empty. Blocks that were not reached
    keep their bytes, no block is half written."""
    bench = await filled(dut, seed=6, blocks=6)
    for n in range(6, 9):
        await bench.execute(load(n, tier=2))
        bench.memory_bytes.write((2 * 256 + n) * BLOCK, bench.random.randbytes(BLOCK))
    await bench.execute(Set("WEIGHT_R", 77))
    await bench.execute(Set("STRICT", 0))
    await bench.put("SCRATCH", 0xCAFE)
    await bench.put("LOAD_VA", 0x1234)
    await bench.put("IRQ_ENABLE", 7)
    before = {(tier, n): bench.memory_bytes.read((tier * 256 + n) * BLOCK, BLOCK) for tier in (1, 2) for n in range(9)}
    bench.pause(0.25)
    await bench.ring(Evict(VA, 6 * BLOCK))
    await bench.ring(Prefetch(VA + 6 * BLOCK, 3 * BLOCK, 0))
    for n in range(8):
        await bench.ring(Step(n))
    while bench.memory.both < 400:
        await bench.clocks(1)
    assert not bench.memory.quiet()
    await bench.write32(CTRL, 5)
    draining = 0
    while await bench.get("STATUS") >> 2 & 1:
        draining += 1
        if draining < 5:
            assert await bench.write(STEP, 100) == AxiResp.SLVERR
            assert await bench.get("ERROR") == BUS | BusErrorCode.RESETTING << 8 or draining > 1
        assert await bench.get("DEVICE_ID") == 0x4B564350
    assert draining >= 3, "it did not wait for the DMA"
    await bench.idle()
    assert bench.memory.quiet()
    for name in ("SCRATCH", "LOAD_VA", "IRQ_ENABLE", "ERROR", "COMPLETION_LEVEL", "LOAD_ID"):
        assert await bench.get(name) == 0, name
    assert await bench.result() is None and await bench.completions() == []
    assert (await bench.get("WEIGHT_R"), await bench.get("EVICT_THRESH"), await bench.get("CTRL")) == (1, 0x1000, 4)
    for name in TELEMETRY:
        assert name == "busy_cycles" or await bench.get(f"T_{name.upper()}") == 0, name
    for index in range(9):
        assert await bench.entry(index) == 0
    moved = 0
    for (tier, n), content in before.items():
        now = bench.memory_bytes.read((tier * 256 + n) * BLOCK, BLOCK)
        if now == content:
            continue
        moved += 1
        assert now == before[3 - tier, n], "half a block"
    assert moved >= 2
    assert await bench.execute(load(0)) == (Code.OK, 1, 0)
    assert (await bench.execute(Lookup(1, 0, 0, 5)))[1:] == (1, 0)
    assert await bench.execute(Lookup(1, 0, 0, 32)) == (Code.OK, 0, None), "a key of before the reset"
    assert await bench.read32(BAR2_ENTRIES + 32) == 0
    await bench.finish()


@cocotb.test()
async def accesses_around_soft_resets(dut):
    """Reads in flight when a soft reset strikes are all answered, time after time; a reset on a full FIFO is taken."""
    bench = await filled(dut, seed=7, blocks=1, pause=0.3)
    reads = []

    async def read() -> None:
        reads.append(await bench.read32(REGISTERS["DEVICE_ID"].offset))

    for n in range(12):
        before = [cocotb.start_soon(read()) for _ in range(bench.random.randrange(6))]
        await bench.write32(SCRATCH, n + 1)
        await bench.clocks(bench.random.randrange(4))
        await bench.write32(CTRL, 5)
        after = [cocotb.start_soon(read()) for _ in range(bench.random.randrange(6))]
        for task in before + after:
            await task
        await bench.idle()
        assert await bench.get("SCRATCH") == 0
    assert set(reads) == {0x4B564350} and len(reads) > 30
    bench.pause(0)
    await bench.execute(load(0))
    bench.hold_memory()
    await bench.ring(Evict(VA, 1))
    while await bench.write(STEP, 1) == AxiResp.OKAY:
        pass
    await bench.write32(CTRL, 5)
    bench.hold_memory(False)
    await bench.idle()
    assert await bench.get("T_STEP_COUNT") == 0 and await bench.get("STATUS") == 0
    await bench.finish()
