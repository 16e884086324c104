"""The serial line itself: rates, deviation, noise, breaks, wrong stop bits, glitches."""

import cocotb
from cocotb.triggers import Timer

from tests.rtl.cocotb.uart_bench import BAUD, CLK_HZ, NAK, OK, PERIOD, Bench, frame, read, words, write

STOP_ERRORS = 2


async def talk(bench: Bench, count: int = 3) -> None:
    """Requests and replies that have every level change in them."""
    values = [0x00FF55AA, 0x7E7D8001, *(bench.random.getrandbits(32) for _ in range(count))]
    outcome = await bench.run(write(0x100, *values), read(0x100, len(values)))
    assert outcome[:3] == (OK, 0, 2) and words(outcome.data) == values


@cocotb.test()
@cocotb.parametrize(clocks_per_bit=[8.0, 8.33, 8.68, 9.5, 25.0, 33.33, 108.5, 868])
async def rates(dut, clocks_per_bit):
    """Few and many clocks in a bit, whole numbers of them or not."""
    bench = await Bench(dut, 10, CLK_HZ / clocks_per_bit).start()
    await talk(bench, 0 if clocks_per_bit > 500 else 3)
    assert (await bench.stats())[1:3] == [0, 0]


@cocotb.test()
@cocotb.parametrize(clocks_per_bit=[8.33, 33.33, 108.5], percent=[2, -2])
async def deviation(dut, clocks_per_bit, percent):
    """The other side's clock is 2 % off, either way, over long runs of bytes without a pause."""
    told = CLK_HZ / clocks_per_bit
    bench = await Bench(dut, 11, told * (1 + percent / 100), told).start()
    await talk(bench, 40 if clocks_per_bit < 100 else 3)
    assert (await bench.stats())[1:3] == [0, 0]


@cocotb.test()
async def sent_edges(dut):
    """Every edge of the transmitter is within a clock of the exact rate."""
    bench = await Bench(dut, seed=1).start(hello=False)
    edges = []

    async def watch() -> None:
        while True:
            await dut.uart_tx.value_change
            edges.append(cocotb.utils.get_sim_time("ns"))

    cocotb.start_soon(watch())
    await bench.hello()
    exact, start = 1e9 / BAUD, edges[0]
    seen = 0
    for edge in edges:
        bits = (edge - start) / exact
        if bits > 9.6:  # a new byte
            start = edge
        else:
            assert abs(bits - round(bits)) * exact <= PERIOD, f"an edge {bits} bits behind the start"
            seen += 1
    assert seen > 100


@cocotb.test()
async def noise(dut):
    """After any mess the next flag is a new start: no write, no wrong reply, and the next request is answered."""
    bench = await Bench(dut, seed=2).start()
    for _ in range(30):
        for _ in range(bench.random.randrange(1, 60)):
            await bench.level(bench.random.getrandbits(1), bench.random.uniform(0.02, 3))
        await bench.level(1, 12)
        await bench.send(b"~")
        await Timer(round(120 * bench.bit), "ns")  # a NAK's time
        while bench.frames:
            assert bench.frames.popleft().kind == NAK
        await talk(bench, 0)
    assert bench.registers.writes() == 60


@cocotb.test()
async def noise_before_a_request(dut):
    """Rubbish right before the opening flag costs a NAK, not the request."""
    bench = await Bench(dut, seed=3).start()
    await bench.send(b"rubbish" + frame(3, 0, 9))
    assert [(await bench.reply()).kind for _ in range(2)] == [NAK, 0x83]


@cocotb.test()
async def breaks(dut):
    """A break is one byte with a wrong stop bit, however long it lasts; within a frame it costs that frame."""
    bench = await Bench(dut, seed=4).start()
    for length in (12, 100, 1000):
        await bench.level(0, length)
        await bench.level(1, 5)
        assert (await bench.ask(b"~")).kind == NAK
    await bench.source.write(frame(2, bench.session, 0, write(0, 1))[:-4])
    await bench.source.wait()
    await bench.level(0, 30)
    await bench.level(1, 3)
    assert (await bench.ask(b"~")).kind == NAK
    assert (await bench.stats())[STOP_ERRORS] == 4 and not bench.registers.log
    await talk(bench)


@cocotb.test()
async def wrong_stop_bits(dut):
    """A byte without its stop bit spoils its frame, wherever it stands."""
    bench = await Bench(dut, seed=5).start()
    data = frame(2, bench.session, 0, write(0x10, 1))
    for at in (1, 4, 8, len(data) - 2):
        await bench.send(data[:at])
        await bench.byte_without_stop(data[at])
        assert (await bench.ask(data[at + 1 :])).kind == NAK
    assert (await bench.stats())[STOP_ERRORS] == 4 and not bench.registers.log
    await talk(bench)


@cocotb.test()
async def glitches(dut):
    """Pulses much shorter than a bit are no start bits, and do not turn a bit."""
    bench = await Bench(dut, seed=6, baud=250_000).start()
    for length in (0.02, 0.1, 0.3):
        for _ in range(5):
            await bench.level(0, length)
            await bench.level(1, 1.5)
    for bit in (0, *(0x7E >> i & 1 for i in range(8)), 1):  # a flag with a pulse in each bit, in the middle of it
        await bench.level(bit, 0.48)
        await bench.level(1 - bit, 0.04)
        await bench.level(bit, 0.48)
    assert (await bench.ask(frame(3, 0, 9)[1:])).kind == 0x83
    assert (await bench.stats())[:3] == [3, 0, 0]
