"""Blocks on their way through cocotbext-axi's memory: R16 and R22, both channels, strict and not, with pauses and with faults.

Device, Lockstep and reference model of kvfpga run here on top of the pins (`dut_bench.PinMmio`), so a whole lockstep session,
moved bytes included, goes through an AXI that nobody here wrote.
"""

import cocotb
from cocotb.task import bridge

from kvfpga.contract.commands import Evict, Hot, Lookup, Prefetch, Release, Set, Share, Step, Touch, Unload
from kvfpga.device.device import Device
from kvfpga.device.regmap import BusErrorCode, Code
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.lockstep import Lockstep
from tests.rtl.cocotb.dut_bench import BLOCK, VA, Bench, PinMmio, filled, load

DMA = 2
INFLIGHT, TIER_SHIFT = 1 << 238, 96


def place(tier: int, n: int) -> int:
    return (tier * 256 + n) * BLOCK


def session(bench: Bench, strict: int) -> None:
    """Some thirty commands over twelve blocks, compared after each: blocking code for `bridge`."""
    pins = Lockstep(Device(PinMmio(bench)), ReferenceModel(256))
    for command in (Set("EVICT_THRESH", 0), Set("PREFETCH_THRESH", 0xFFFF), Set("T1_CAPACITY", 9), Set("STRICT", strict)):
        assert pins.execute(command).code == "OK"
    for n in range(12):
        tier = (1, 2, 1, 3)[n % 4]
        for each in (1, 2, 3):
            pins.memory_write(place(each, n), bench.random.randbytes(BLOCK))
        assert pins.execute(load(n, tier)).code == "OK"
    assert len(pins.execute(Evict(VA, 4 * BLOCK)).triggers) == 2
    assert len(pins.execute(Prefetch(VA, 12 * BLOCK, 3)).triggers) == 5
    step = 3
    for _ in range(7):
        first = bench.random.randrange(12)
        addr, length = VA + first * BLOCK, bench.random.randrange(1, 2 * BLOCK)
        step += bench.random.randrange(3)
        pins.execute(bench.random.choice([
            Evict(addr, length), Prefetch(addr, length, step + 1), Touch(1, 0, 0, 32 * first), Hot(addr, 1), Step(step),
            Lookup(1, 0, 0, 32 * first), Share(addr, 1), Release(addr, 1),
        ]))  # fmt: skip
        step = pins.telemetry()["current_step"]
    assert len(pins.execute(Set("EVICT_THRESH", 0xFFFF)).triggers) == 0
    assert pins.execute(Step(step + 300)).triggers  # all that is not guarded goes at once
    pins.execute(Unload(VA, 4 * BLOCK))
    assert pins.differences == 0 and pins.checks > 25  # each of the whole directory, by its DIGEST, and of the bytes that moved


@cocotb.test()
async def lockstep_strict(dut):
    """A lockstep session at pin level with random pauses on all ten channels: no difference, no protocol error."""
    bench = await Bench(dut, seed=1, pause=0.2).start()
    await bridge(session)(bench, 1)
    await bench.finish()


@cocotb.test()
async def lockstep_not_strict(dut):
    """The same with CTRL.strict=0 (decision D21)."""
    bench = await Bench(dut, seed=2, pause=0.1).start()
    await bridge(session)(bench, 0)
    await bench.finish()


@cocotb.test()
async def both_channels_at_once(dut):
    """Six evictions and six prefetches overlap on the bus, with passes meanwhile (strict=0): all bytes arrive, each block is
    inflight until its record comes, an inflight block is not triggered again."""
    bench = await filled(dut, seed=3, blocks=6)
    for n in range(6, 12):
        bench.memory_bytes.write(place(2, n), bench.random.randbytes(BLOCK))
        await bench.execute(load(n, tier=2))
    await bench.execute(Set("STRICT", 0))
    await bench.execute(Set("EVICT_THRESH", 0))
    expected = {n: bench.memory_bytes.read(place(1 if n < 6 else 2, n), BLOCK) for n in range(12)}
    bench.hold_memory()
    await bench.ring(Evict(VA, 6 * BLOCK))
    await bench.ring(Prefetch(VA + 6 * BLOCK, 6 * BLOCK, 0))
    await bench.clocks(100)
    assert [bool(await bench.entry(n) & INFLIGHT) for n in range(12)] == [True] * 12, "all are queued or under way"
    await bench.ring(Evict(VA, 6 * BLOCK))
    await bench.ring(Step(1))
    await bench.clocks(200)
    assert (await bench.get("T_EVICT_TRIGGERS"), await bench.get("T_PREFETCH_TRIGGERS")) == (6, 6)
    assert await bench.get("T_T1_USED") == 6, "places change hands with the trigger"
    bench.hold_memory(False)
    bench.pause(0.15)
    seen = []
    while len(seen) < 12:
        for record in await bench.completions():
            n = record["index"]
            assert record["channel"] == (n >= 6) and (record["from_tier"], record["to_tier"]) == ((1, 2) if n < 6 else (2, 1))
            assert not record["error"] and record["step"] == 0
            entry = await bench.entry(n)
            assert not entry & INFLIGHT and entry >> TIER_SHIFT & 3 == record["to_tier"]
            assert entry >> TIER_SHIFT + 2 & (1 << 64) - 1 == place(record["to_tier"], n)
            assert bench.memory_bytes.read(place(record["to_tier"], n), BLOCK) == expected[n], f"block {n}"
            seen.append(n)
    assert [n for n in seen if n < 6] == list(range(6)) and [n for n in seen if n >= 6] == list(range(6, 12)), "R16: in order"
    assert bench.memory.both > 250, "the channels took turns block by block"
    assert {of: n for of, n in bench.memory.bursts.items() if n} == {("r", 0): 24, ("w", 0): 24, ("r", 1): 24, ("w", 1): 24}
    assert (await bench.get("T_EVICT_BYTES"), await bench.get("T_PREFETCH_BYTES")) == (6 * BLOCK, 6 * BLOCK)
    await bench.finish()


@cocotb.test()
async def fixed_priority_favours_evictions(dut):
    """CONTEND_POLICY=1 (R3, D22): while both want the bus, the eviction channel gets it."""
    last = {}
    for policy in (0, 1):
        bench = await filled(dut, seed=4, blocks=4)
        for n in range(4, 8):
            await bench.execute(load(n, tier=2))
        await bench.execute(Set("STRICT", 0))
        await bench.execute(Set("CONTEND_POLICY", policy))
        bench.hold_memory()
        await bench.ring(Prefetch(VA + 4 * BLOCK, 4 * BLOCK, 0))
        await bench.ring(Evict(VA, 4 * BLOCK))
        await bench.clocks(100)
        bench.hold_memory(False)
        await bench.idle()
        order = [record["channel"] for record in await bench.completions()]
        last[policy] = max(at for at, channel in enumerate(order) if channel == 0)
        await bench.finish()
    assert last[1] < last[0], last


async def fail(dut, seed: int, ways: str, tier: int) -> None:
    """Blocks 0..3 go 1→2, block 1 meets an error on `ways` in `tier`; then 4..7 go 2→1 and block 5 meets one."""
    bench = await filled(dut, seed, blocks=4)
    for n in range(4, 8):
        bench.memory_bytes.write(place(2, n), bench.random.randbytes(BLOCK))
        await bench.execute(load(n, tier=2))
    while await bench.result():
        pass
    await bench.put("IRQ_ENABLE", 4)
    bench.pause(0.1)
    for command, bad, source in ((Evict(VA, 4 * BLOCK), 1, 1), (Prefetch(VA + 4 * BLOCK, 4 * BLOCK, 0), 5, 2)):
        target = 3 - source
        where = place(source if "r" in ways else target, bad) + 3 * 4096 + 100  # in the last burst of four
        content = {n: bench.memory_bytes.read(place(source, n), BLOCK) for n in range(bad - 1, bad + 3)}
        used = await bench.get("T_T1_USED")
        errors = await bench.get("T_DMA_ERRORS")
        bench.memory_bytes.faults = [(where, where, ways)]
        bench.memory_bytes.armed = True
        assert (await bench.execute(command))[0] == Code.OK
        bench.memory_bytes.armed = False
        assert dut.irq.value
        assert await bench.error() == (DMA, BusErrorCode.DMA, 0)
        assert not dut.irq.value
        records = await bench.completions()
        assert [(r["index"], r["error"]) for r in records] == [(n, int(n == bad)) for n in sorted(content)]
        for n, bytes_ in content.items():
            entry, stays = await bench.entry(n), source if n == bad else target
            assert entry >> TIER_SHIFT & 3 == stays and not entry & INFLIGHT, f"block {n}"
            assert entry >> TIER_SHIFT + 2 & (1 << 64) - 1 == place(stays, n)
            assert bench.memory_bytes.read(place(stays, n), BLOCK) == bytes_, f"block {n}"
        assert await bench.get("T_T1_USED") == used + (-3 if source == 1 else 3)
        assert await bench.get("T_DMA_ERRORS") == errors + 1
        # once the memory is well again, so is the block
        assert (await bench.execute(command))[0] == Code.OK
        assert [(r["index"], r["error"]) for r in await bench.completions()] == [(bad, 0)]
        assert bench.memory_bytes.read(place(target, bad), BLOCK) == content[bad]
        assert await bench.get("T_T1_USED") == used + (-4 if source == 1 else 4)
    await bench.finish()


@cocotb.test()
async def read_errors(dut):
    """A read that fails: the block stays in its tier and is not inflight, its neighbours arrive, ERROR.dma, counter, places."""
    await fail(dut, 5, "r", 1)


@cocotb.test()
async def write_errors(dut):
    """The same for a write that fails."""
    await fail(dut, 6, "w", 2)
