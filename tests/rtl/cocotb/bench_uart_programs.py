"""Programs of RUN: every operation, every status, and what was on the buses afterwards (docs/uart-bridge.md, "RUN")."""

from collections import deque

import cocotb
from cocotb.triggers import ClockCycles, Timer
from cocotbext.axi import AxiResp

from tests.rtl.cocotb.uart_bench import (
    BAD_PROGRAM,
    DECERR,
    MORE,
    NO_ANSWER,
    OK,
    PERIOD,
    SLVERR,
    Bench,
    drain,
    mem_read,
    mem_write,
    operation,
    read,
    wait_idle,
    words,
    write,
)  # fmt: skip

RECORD = 1 << 31


def register_write(offset: int, value: int) -> tuple:
    return "w", offset, value.to_bytes(4, "little")


@cocotb.test()
async def registers(dut):
    """Words at ascending offsets, up to 255 in an operation, each once and in the order of the program."""
    bench = await Bench(dut, seed=1).start()
    values = [bench.random.getrandbits(32) for _ in range(255)]
    values[:3] = 0x7E7E7E7E, 0x7D7D7D7D, 0x5E7D5D7E
    outcome = await bench.run(write(0x0FFF00, *values), read(0x0FFF00, 255))
    assert outcome[:3] == (OK, 0, 2) and words(outcome.data) == values
    places = [0x0FFF00 + 4 * i for i in range(255)]
    expected = [register_write(*pair) for pair in zip(places, values, strict=True)] + [("r", place) for place in places]
    assert bench.registers.log == expected and not bench.memory.log
    bench.registers.log.clear()

    expected, program, values = [], [], []
    for _ in range(60):
        place, value = 4 * bench.random.randrange(1 << 21), bench.random.getrandbits(32)
        expected += [register_write(place, value), ("r", place)]
        program += [write(place, value), read(place)]
        values.append(value)
    outcome = await bench.run(*program)
    assert outcome[:3] == (OK, 0, 120) and words(outcome.data) == values and bench.registers.log == expected
    assert await bench.run() == (OK, 0, 0, b"")
    bench.registers.bytes.clear()
    assert await bench.run(*(read(0x10, 1 << bit) for bit in range(8))) == (OK, 0, 8, bytes(4 * 255)), "each bit of a count"


@cocotb.test()
async def memory(dut):
    """Beats, up to 255; strobes of the first and the last; the longest program that fits."""
    bench = await Bench(dut, seed=2).start()
    data = bench.random.randbytes(8 * 252)
    base = (1 << 63) + 0x1000
    assert await bench.run(mem_write(base, data), operation(3, 0, 0), operation(3, 0, 0), operation(3, 0, 0)) == (OK, 0, 4, b"")
    assert await bench.run(mem_read(base, 252)) == (OK, 0, 1, data)
    assert [entry[:2] for entry in bench.memory.log] == [(way, base + 8 * i) for way in "wr" for i in range(252)]
    assert not bench.registers.log
    assert await bench.run(mem_read(base, 255)) == (OK, 0, 1, data + bytes(24))

    image = bytearray(64)
    cases = (0, 1, 0xFF, 0xFF), (8, 1, 0xF0, 0x3F), (16, 3, 0xC0, 0x0F), (40, 2, 0x81, 0x42), (56, 1, 0xF0, 0x0F)
    for at, beats, first, last in cases:
        data = bench.random.randbytes(8 * beats)
        assert (await bench.run(mem_write(0x2000 + at, data, first, last))).status == OK
        strobes = [0xFF] * beats
        strobes[0] &= first
        strobes[-1] &= last
        for i in range(8 * beats):
            if strobes[i // 8] >> i % 8 & 1:
                image[at + i] = data[i]
    assert (await bench.run(mem_read(0x2000, 8))).data == image


@cocotb.test()
async def waits(dut):
    """WAIT_IDLE: at once, in time, out of time; nothing behind it before."""
    bench = await Bench(dut, seed=3).start()
    assert await bench.run(wait_idle(0)) == (OK, 0, 1, b"")
    dut.device_idle.value = 0
    assert await bench.run(read(0x10), wait_idle(0), write(0x20, 1)) == (MORE, 0, 1, bytes(4))
    before = bench.sink.count()
    start = cocotb.utils.get_sim_time("ns")
    assert await bench.run(wait_idle(8)) == (MORE, 0, 0, b"")
    waited = (cocotb.utils.get_sim_time("ns") - start) / PERIOD
    assert 8 * 1024 < waited < 8 * 1024 + 8000 and bench.sink.count() == before

    async def later() -> None:
        await ClockCycles(dut.clk, 6000)
        assert not bench.registers.writes()
        dut.device_idle.value = 1

    cocotb.start_soon(later())
    assert await bench.run(wait_idle((1 << 24) - 1), write(0x20, 2)) == (OK, 0, 2, b"")
    assert bench.registers.log[1:] == [register_write(0x20, 2)]


@cocotb.test()
async def drains(dut):
    """DRAIN: records until a low word without its bit, whichever bit that is; a reply that is full asks for the rest."""
    bench = await Bench(dut, seed=4).start()
    queues = bench.registers.queues
    for bit, offset in ((31, 0x680), (0, 0x104), (17, 0x7FFFF0)):
        lows = [bench.random.getrandbits(32) | 1 << bit for _ in range(5)] + [bench.random.getrandbits(32) & ~(1 << bit)]
        highs = [bench.random.getrandbits(32) for _ in range(5)]
        queues[offset], queues[offset + 4] = deque(lows), deque(highs)
        bench.registers.log.clear()
        outcome = await bench.run(drain(offset, bit), write(0x20, bit))
        assert outcome[:3] == (OK, 0, 2)
        assert words(outcome.data) == [word for pair in zip(lows, highs) for word in pair] + lows[-1:]  # noqa: B905
        assert bench.registers.log == [("r", offset), ("r", offset + 4)] * 5 + [("r", offset), register_write(0x20, bit)]

    lows, highs = [RECORD + i for i in range(300)], [bench.random.getrandbits(32) for i in range(300)]
    queues[0x680], queues[0x684] = deque([*lows, 7]), deque(highs)
    program = [read(0x10, 3), drain(0x680), write(0x30, 1)]
    writes = bench.registers.writes()
    outcome = await bench.run(*program)  # 3 words, then records: 254, and one word is left over
    assert outcome[:3] == (MORE, 0, 1) and len(outcome.data) == 12 + 8 * 254 and bench.registers.writes() == writes
    rest = await bench.run(*program[1:])
    assert rest[:3] == (OK, 0, 2)
    assert words(outcome.data[12:] + rest.data) == [word for pair in zip(lows, highs) for word in pair] + [7]  # noqa: B905
    queues[0x680] = deque([RECORD, 0])
    assert await bench.run(read(0x2000, 255), read(0x2000, 255), read(0x2000), drain(0x680)) == (MORE, 0, 3, bytes(4 * 511))
    assert len(queues[0x680]) == 2, "a record was taken that has no room"


@cocotb.test()
async def full_reply(dut):
    """READ and MEM_READ without room are not begun; the reply's last byte can be used."""
    bench = await Bench(dut, seed=5).start()
    assert await bench.run(mem_read(0, 255), read(0, 2), write(0, 1)) == (OK, 0, 3, bytes(2048))
    writes = bench.registers.writes()
    assert await bench.run(mem_read(0, 255), read(0, 3), write(0, 1)) == (MORE, 0, 1, bytes(2040))
    assert await bench.run(mem_read(0, 254), mem_read(0, 3), write(0, 1)) == (MORE, 0, 1, bytes(2032))
    assert bench.registers.writes() == writes


@cocotb.test()
async def bus_errors(dut):
    """SLVERR and DECERR of both ports: which operation, which word; what came before is in the reply, nothing comes behind."""
    bench = await Bench(dut, seed=6).start()
    end = write(0x40, 1)
    for response, status in ((AxiResp.SLVERR, SLVERR), (AxiResp.DECERR, DECERR)):
        for port in (bench.registers, bench.memory):
            port.refuse = {0x108: response}
            port.log.clear()
        assert await bench.run(read(0x0), read(0x100, 4), end) == (status, 2, 1, bytes(12))
        assert await bench.run(write(0x100, 1, 2, 3, 4), end) == (status, 2, 0, b"")
        assert bench.registers.log == [("r", 0), ("r", 0x100), ("r", 0x104), ("r", 0x108)] + [
            register_write(0x100, 1), register_write(0x104, 2), register_write(0x108, 3),
        ]  # fmt: skip
        assert await bench.run(mem_read(0xF8, 4), end) == (status, 2, 0, bytes(16))
        assert await bench.run(wait_idle(0), mem_write(0x108, bytes(16)), end) == (status, 0, 1, b"")
        assert [entry[:2] for entry in bench.memory.log] == [("r", 0xF8), ("r", 0x100), ("r", 0x108), ("w", 0x108)]
        bench.registers.queues = {0x680: deque([RECORD, RECORD, 0])}
        bench.registers.refuse = {0x684: response}
        assert await bench.run(drain(0x680), end) == (status, 1, 0, RECORD.to_bytes(4, "little"))
        bench.registers.refuse = {0x680: response}
        assert await bench.run(drain(0x680), end) == (status, 0, 0, b"")
        bench.registers.refuse = {}
        bench.registers.bytes.clear()
        bench.memory.bytes.clear()
    # Behind the last offset of the space, which the bridge answers itself: it must not come round to the first.
    bench.registers.log.clear()
    assert await bench.run(read(0x7FFFFC, 2)) == (DECERR, 1, 0, bytes(4))
    assert await bench.run(write(0xFFFFFC, 1, 2)) == (DECERR, 0, 0, b"")
    bench.registers.queues = {0x7FFFFC: deque([RECORD])}
    assert await bench.run(drain(0x7FFFFC)) == (DECERR, 1, 0, RECORD.to_bytes(4, "little"))
    assert bench.registers.log == [("r", 0x7FFFFC)] * 2


@cocotb.test()
@cocotb.parametrize(dead=["registers", "memory"], way=["address", "response"])
async def no_answer(dut, dead, way):
    """A slave that is silent for 2^16 cycles is not asked again; the other bus goes on. Reset brings it back."""
    bench = await Bench(dut, seed=7).start()
    silent, port = (bench.registers, bench.axil) if dead == "registers" else (bench.memory, bench.axi)
    ours, other = read(0), mem_write(0, bytes(8))
    offered, data = write(0x10, 1, 2), b""
    if dead == "memory":
        ours, other, offered, data = other, ours, mem_read(0x10, 2), bytes(4)
    if way == "address":
        port.write_if.aw_channel.pause = True
        port.read_if.ar_channel.pause = True
    else:
        silent.delay = None
    start = cocotb.utils.get_sim_time("ns")
    assert await bench.run(other, offered, write(0x20, 1)) == (NO_ANSWER, 0, 1, data)
    waited = (cocotb.utils.get_sim_time("ns") - start) / PERIOD
    assert 65536 < waited < 65536 + 12000
    if way == "address":  # the slave wakes up: the access that it was offered is still there, and no other comes
        port.write_if.aw_channel.pause = False
        port.read_if.ar_channel.pause = False
        await Timer(100 * PERIOD, "ns")
    log = list(silent.log)
    assert len(log) == 1
    start = cocotb.utils.get_sim_time("ns")
    assert await bench.run(other, ours) == (NO_ANSWER, 0, 1, data)
    assert (await bench.run(ours)).status == NO_ANSWER
    assert silent.log == log and (cocotb.utils.get_sim_time("ns") - start) / PERIOD < 20000
    dut.rst.value = 1
    await ClockCycles(dut.clk, 5)
    silent.delay = 0
    dut.rst.value = 0
    await ClockCycles(dut.clk, 5)
    bench.sequence = 0
    await bench.hello()
    assert (await bench.run(ours, other)).status == OK


@cocotb.test()
async def bad_programs(dut):
    """BAD_PROGRAM: nothing of the operation, everything before it, nothing behind it."""
    bench = await Bench(dut, seed=8).start()
    bad = [operation(kind, 1, 0) for kind in (0, 7, 8, 0x81, 0xFF)]
    bad += [read(0, 0), write(0), mem_read(0, 0), mem_write(0, b"")]
    bad += [drain(0, 32), drain(0, 255)]
    bad += [mem_read(address, 1) for address in (1, 2, 4, 0x1007)] + [mem_write(12, bytes(8))]
    for whole in (read(0), write(0, 1), write(0, 1, 2, 3), mem_read(0, 1), mem_write(0, bytes(16)), drain(0)):
        bad += [whole[:length] for length in {1, 4, len(whole) - 1}]
    for program in bad:
        for port in (bench.registers, bench.memory):
            port.log.clear()
        cut = program if program[0] in range(1, 7) else program + write(0x40, 1)
        assert await bench.run(read(0x10, 2), write(0x20, 5), cut) == (BAD_PROGRAM, 0, 2, bytes(8)), program.hex()
        assert bench.registers.log == [("r", 0x10), ("r", 0x14), register_write(0x20, 5)] and not bench.memory.log
        assert (await bench.run(program)).status == BAD_PROGRAM
    assert await bench.run(write(0x24, 9)) == (OK, 0, 1, b"")
