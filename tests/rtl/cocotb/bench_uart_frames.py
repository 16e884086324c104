"""Frames, sessions and sequences: exactly once, whatever happens to the bytes (docs/uart-bridge.md)."""

import struct

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, Timer

from tests.rtl.cocotb.uart_bench import (
    BAD_SEQUENCE,
    CLK_HZ,
    GREETING,
    HELLO,
    NAK,
    NO_SESSION,
    OK,
    RUN,
    STATS,
    Bench,
    Frame,
    frame,
    operation,
    read,
    result,
    sealed,
    stuffed,
    wait_idle,
    words,
    write,
)  # fmt: skip

ACCEPTED, DAMAGED, STOP_ERRORS, EXECUTED, REPEATED, DROPPED, REFUSED, RESERVED = range(8)


@cocotb.test()
async def hello(dut):
    """The greeting; what is not one stays without answer."""
    bench = await Bench(dut, seed=1).start(hello=False)
    body = struct.pack("<4sBBHHHI", b"KVUB", 1, 0, 2048, 2048, 0, CLK_HZ)
    for sequence in (0, 0x7E, 255):
        assert await bench.hello(sequence) == (HELLO | 0x80, bench.session, sequence, body)
    assert await bench.ask(frame(HELLO, 0xFFFF, 0, b"KVUB\x63and more")) == (HELLO | 0x80, 0xFFFF, 0, body)  # says its version
    await bench.send(frame(HELLO, 0, 0, GREETING))
    await bench.send(frame(HELLO, 5, 0, b"KVUC\x01"))
    await bench.send(frame(HELLO, 5, 0, b"KVUB"))
    await bench.send(frame(HELLO, 5, 0))
    for kind in (0, 4, 0x81, 0x82, 0x9F, 0xFF):
        await bench.send(frame(kind, bench.session, 0, GREETING))
    await bench.silence()
    assert result(await bench.ask(frame(RUN, 0xFFFF, 0))).status == OK, "the session is the last one that was greeted"


@cocotb.test()
async def exactly_once(dut):
    """A repetition gets the stored reply and touches no bus; all other sequences are refused and leave that reply alone."""
    bench = await Bench(dut, seed=2).start()
    first = frame(RUN, bench.session, 0, write(0x10, 1) + read(0x10) + read(0x10))
    answers = [await bench.ask(first) for _ in range(3)]
    assert len(set(answers)) == 1 and result(answers[0]) == (OK, 0, 3, struct.pack("<II", 1, 1)) and len(bench.registers.log) == 3
    second = frame(RUN, bench.session, 1, write(0x10, 2) + read(0x10))
    answer = await bench.ask(second)
    assert result(answer) == (OK, 0, 2, struct.pack("<I", 2)) and len(bench.registers.log) == 5
    for sequence in (0, 3, 128, 255):  # 0: the one before the last
        refused = await bench.ask(frame(RUN, bench.session, sequence, write(0x10, 3)))
        assert refused == (RUN | 0x80, bench.session, sequence, bytes([BAD_SEQUENCE, 0, 0, 0]))
    assert await bench.ask(frame(RUN, bench.session, 1, write(0x10, 4))) == answer, "the sequence decides, not the content"
    stats = await bench.stats()
    assert stats[EXECUTED:] == [2, 3, 0, 4, 0] and stats[DAMAGED] == stats[STOP_ERRORS] == 0
    assert await bench.ask(second) == answer and len(bench.registers.log) == 5


@cocotb.test()
async def sequences_wrap(dut):
    """255 is followed by 0, and only a new session starts again by itself."""
    bench = await Bench(dut, seed=3).start()
    assert result(await bench.ask(frame(RUN, bench.session, 255))).status == BAD_SEQUENCE  # nothing to repeat yet
    for _ in range(255):
        assert (await bench.run()).status == OK
    for value in range(3):
        assert (await bench.run(write(0x10, value))).status == OK
    assert bench.sequence == 2 and bench.registers.writes() == 3 and (await bench.stats())[EXECUTED] == 258


@cocotb.test()
async def sessions(dut):
    """HELLO with the current session changes nothing, with another one starts anew; RUN needs the current one."""
    bench = await Bench(dut, seed=4).start(hello=False)
    for session in (0, 1, 0x7D01):  # before any HELLO
        refused = await bench.ask(frame(RUN, session, 0, write(0, 1)))
        assert refused == (RUN | 0x80, session, 0, bytes([NO_SESSION, 0, 0, 0]))
    await bench.hello()
    assert (await bench.run(write(0x10, 1))).status == OK
    second = frame(RUN, bench.session, 1, write(0x10, 2) + read(0x10))
    answer = await bench.ask(second)
    await bench.hello(77)
    assert await bench.ask(second) == answer and bench.registers.writes() == 2
    old, bench.session, bench.sequence = bench.session, 0x1234, 0
    await bench.hello()
    refused = await bench.ask(second)
    assert refused == (RUN | 0x80, old, 1, bytes([NO_SESSION, 0, 0, 0]))
    assert result(await bench.ask(frame(RUN, bench.session, 1))).status == BAD_SEQUENCE
    assert result(await bench.ask(frame(RUN, bench.session, 255))).status == BAD_SEQUENCE
    assert (await bench.run(read(0x10))).data == struct.pack("<I", 2)
    assert bench.registers.writes() == 2 and (await bench.stats())[REFUSED] == 6


@cocotb.test()
async def damaged_frames(dut):
    """Wrong CRC, too short, too long, bad escapes: NAK, nothing is executed, and the next good one is answered."""
    bench = await Bench(dut, seed=5).start()
    assert (await bench.run(write(0x10, 1))).status == OK
    payload = sealed(struct.pack("<BHB", RUN, bench.session, 1) + write(0x10, 2))
    nak = Frame(NAK, bench.session, 0, b"")
    bad = [stuffed(payload[:cut]) for cut in (1, 3, 7, 8, 12, len(payload) - 1)]
    bad += [stuffed(payload + b"\0"), stuffed(payload[1:]), stuffed(payload[:8] + payload[9:])]
    for _ in range(40):
        at, bit = bench.random.randrange(len(payload)), bench.random.randrange(8)
        bad.append(stuffed(payload[:at] + bytes([payload[at] ^ 1 << bit]) + payload[at + 1 :]))
    bad += [b"~" + payload + b"}~", b"~}~", b"~}}]~", b"~" + payload[:5] + b"}" + payload[5:] + b"~"]
    bad += [b"~" + payload + bytes(2100) + b"~"]
    for data in bad:
        assert await bench.ask(data) == nak, data.hex()
    assert bench.registers.writes() == 1
    stats = await bench.stats()
    assert stats[DAMAGED] == len(bad) and stats[EXECUTED] == 1 and stats[DROPPED] == 0
    assert result(await bench.ask(stuffed(payload))).status == OK and bench.registers.writes() == 2
    await bench.send(b"~~~~~")  # nothing between flags is nothing
    await bench.silence()


@cocotb.test()
async def buffer_limits(dut):
    """A body of 2048 bytes is taken whole, one of 2049 is damaged."""
    bench = await Bench(dut, seed=6).start()
    program = b"".join(write(0x100 + 4 * i, 0x7E7D0000 + i) for i in range(227)) + operation(3, 0, 0)
    assert len(program) == 2048
    assert await bench.run(program) == (OK, 0, 228, b"")
    assert bench.registers.log == [("w", 0x100 + 4 * i, struct.pack("<I", 0x7E7D0000 + i)) for i in range(227)]
    assert (await bench.ask(frame(RUN, bench.session, 1, program + b"\0"))).kind == NAK
    assert (await bench.ask(frame(RUN, bench.session, 1, bytes(4000)))).kind == NAK
    assert len(bench.registers.log) == 227


@cocotb.test()
async def shared_flags(dut):
    """One flag may end a frame and begin the next; a request that comes while a reply goes out waits for its turn."""
    bench = await Bench(dut, seed=7).start()
    requests = [frame(STATS, 0, sequence) for sequence in range(2)]
    await bench.send(requests[0] + requests[1][1:])
    assert [(await bench.reply()).sequence for _ in range(2)] == [0, 1]
    # While a long reply is sent there is room for one request; the one behind that is dropped.
    bench.sequence = 1
    await bench.send(frame(RUN, bench.session, 0, read(0, 100)))
    await Timer(200_000, "ns")  # it is executed
    for sequence in (5, 6, 7):
        await bench.send(frame(STATS, 0, sequence))
    assert (await bench.reply()).kind == RUN | 0x80 and (await bench.reply()).sequence == 5
    await bench.silence()
    assert (await bench.stats())[DROPPED] == 2


@cocotb.test()
async def while_a_program_runs(dut):
    """What comes meanwhile is dropped and counted, and leaves the running program alone; a damaged frame has no NAK then."""
    bench = await Bench(dut, seed=8).start()
    bench.registers.delay = 100_000  # ns
    program = b"".join(write(4 * i, i) for i in range(20))
    await bench.send(frame(RUN, bench.session, 0, program))
    other = frame(RUN, bench.session, 1, b"".join(write(0x1000, 9) for i in range(20)))
    for data in (frame(RUN, bench.session, 0, program), other, frame(STATS, 0, 3), b"~damaged~", frame(HELLO, 99, 0, GREETING)):
        await bench.send(data)
    assert not bench.frames, "too early: make the program slower"
    assert result(await bench.reply()) == (OK, 0, 20, b"")
    await bench.silence()
    assert bench.registers.log == [("w", 4 * i, struct.pack("<I", i)) for i in range(20)]
    bench.registers.delay = 0
    stats = await bench.stats()
    assert stats == [3, 1, 0, 1, 0, 4, 0, 0]  # HELLO, RUN, STATS taken; one damaged; four dropped
    bench.sequence = 1
    assert (await bench.run(read(0, 20))).data == struct.pack("<20I", *range(20))


@cocotb.test()
async def statistics(dut):
    """STATS answers without a session, counts all its eight numbers, and reset clears them."""
    bench = await Bench(dut, seed=9).start(hello=False)
    assert await bench.stats() == [1, 0, 0, 0, 0, 0, 0, 0]
    await bench.hello()
    assert (await bench.run()).status == OK
    for sequence in (0, 0, 7):
        await bench.ask(frame(RUN, bench.session, sequence))
    assert (await bench.ask(b"~12345678~")).kind == NAK
    await bench.send(frame(0x44, 1, 2))
    await bench.byte_without_stop(0x55)
    assert (await bench.ask(b"~")).kind == NAK
    assert await bench.stats() == [8, 2, 1, 1, 2, 0, 1, 0]
    dut.rst.value = 1
    await Timer(1000, "ns")
    dut.rst.value = 0
    assert await bench.stats() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert words((await bench.ask(frame(STATS, 0xABCD, 1, b"ignored"))).body)[0] == 2


@cocotb.test()
async def busy_without_a_gap(dut):
    """`busy` from the first bit of a request to the last one of its reply, and not beyond: a clock may stop when it is low."""
    bench = await Bench(dut, seed=10).start()
    falls = 0

    async def watch() -> None:
        nonlocal falls
        while True:
            await FallingEdge(dut.busy)
            falls += 1

    await ClockCycles(dut.clk, 400)
    assert dut.busy.value == 0
    cocotb.start_soon(watch())
    for program in ((), (read(0x10, 40),), (write(0x10, 1), wait_idle(4), read(0x7E0))):
        falls = 0
        assert (await bench.run(*program)).status == OK
        await ClockCycles(dut.clk, 400)
        assert (falls, dut.busy.value) == (1, 0)


@cocotb.test()
async def reset_in_a_reply(dut):
    """Nothing more of it comes, and the next requests are answered as ever."""
    bench = await Bench(dut, seed=11).start()
    await bench.send(frame(RUN, bench.session, 0, read(0x10, 200)))
    for bits in (1, 30, 31, 32, 33, 100):
        await FallingEdge(dut.uart_tx)
        await Timer(round(bits * bench.bit), "ns")
        await bench.reset()
        await bench.silence()
        assert not bench.gathered, "bytes of a reply from before"
        assert await bench.stats() == [1, 0, 0, 0, 0, 0, 0, 0]
        await bench.hello()
        await bench.send(frame(RUN, bench.session, 0, read(0x10, 200)))
